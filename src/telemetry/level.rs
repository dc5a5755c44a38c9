//! How serious a message is.

use crate::runtime::Hides;
use crate::telemetry::event::Event;

/// Severity of a log message, most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Data is lost or a human is needed.
    Error,
    /// Something went wrong and the plugin recovered or works around it.
    Warn,
    /// Start, recovery, and changes in what is read and from where.
    Info,
    /// Containers found or gone, and other details.
    Debug,
}

impl Level {
    /// All levels, most serious first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The name of the level.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

impl Event {
    /// How serious the event is.
    pub fn level(&self) -> Level {
        match self {
            Event::RootUnreadable { .. }
            | Event::FolderUnreadable {
                effect: Hides::Containers | Hides::LinkedLogs(_),
                ..
            }
            | Event::Shortage { .. }
            | Event::LogUnreadable { .. }
            | Event::GenerationUnreadable { .. }
            | Event::RotatedUnreadable { .. }
            | Event::GenerationLost { .. }
            | Event::TruncatedMeanwhile { .. }
            | Event::TruncatedBehind { .. }
            | Event::GenerationsMissed { .. }
            | Event::Truncated { unread: 1.., .. }
            | Event::RecordsRefused { .. }
            | Event::Loop { .. }
            | Event::ReaderStopped { .. }
            | Event::ReaderStuck { .. }
            | Event::CheckpointUnwritable { .. } => Level::Error,
            Event::WatchUnavailable { .. }
            | Event::OutOfSight { .. }
            | Event::Copied { .. }
            | Event::CopyWritten { .. }
            | Event::SharedLog { .. }
            | Event::FolderUnreadable { .. }
            | Event::UserUnknown { .. }
            | Event::MetadataUnreadable { .. }
            | Event::DriverUnknown { .. }
            | Event::RulesBlind { .. }
            | Event::LabelInvalid { .. }
            | Event::MetadataCut { .. }
            | Event::RecordsWait { .. }
            | Event::TakenInPart { .. }
            | Event::ParserUnknown { .. }
            | Event::ParserSlow { .. }
            | Event::Corrupt { .. }
            | Event::Untimed { .. }
            | Event::LinesCut { .. }
            | Event::FilesPassedOver { .. }
            | Event::FilesUnexamined { .. }
            | Event::NoFile { .. }
            | Event::RemovedMeanwhile { .. }
            | Event::Truncated { unread: 0, .. }
            | Event::DamagedArchive { .. }
            | Event::CheckpointSetAside { .. }
            | Event::CheckpointNotUsed { .. }
            | Event::CheckpointEntriesDamaged { .. }
            | Event::MemoryUnknown
            | Event::BoundUnknown
            | Event::NoCheckpoint { .. }
            | Event::OptionInert { .. }
            | Event::TagLiteral { .. }
            | Event::SharedContainers { .. }
            | Event::MetricsExhausted { .. }
            | Event::Unreadable { .. }
            | Event::ApiUnreachable { .. }
            | Event::StreamGap { .. }
            | Event::StreamBroke { .. } => Level::Warn,
            Event::Started { .. }
            | Event::RootMoved { .. }
            | Event::RootReadable { .. }
            | Event::ReaderBack
            | Event::FolderReadable { .. }
            | Event::LogReadable { .. }
            | Event::CheckpointWritable { .. }
            | Event::DriverChanged { .. }
            | Event::StreamBegins { .. }
            | Event::StreamEnds { .. }
            | Event::ApiReachable { .. }
            | Event::ContainerIncluded { .. }
            | Event::LoopEnded { .. }
            | Event::LabelIgnored { .. }
            | Event::ContainerExcluded { .. } => Level::Info,
            Event::Deleted(event) => event.level(),
            Event::Journal(event) => event.level(),
            Event::ContainerFound { .. } | Event::ContainerGone { .. } => Level::Debug,
        }
    }
}
