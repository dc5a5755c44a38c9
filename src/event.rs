//! What an operator may come to see. The reader's thread reports events; the
//! host's thread writes them to the host's log (I4). An event's text names the
//! container, file or option it is about, never the payload.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::discover::Hides;
use crate::host::Level;

/// Events held for the host's thread at the most; beyond it (the host does not
/// come round for them) further ones are only counted.
const HELD_EVENTS: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Event {
    #[error("following containers below {}", root.display())]
    Started { root: PathBuf },
    #[error("cannot read {}: {reason}; trying again every {seconds} s", path.display())]
    RootUnreadable { path: PathBuf, reason: String, seconds: f64 },
    #[error("{} can be read now", path.display())]
    RootReadable { path: PathBuf },
    #[error("cannot read {}: {reason}; {effect}; trying again every {seconds} s", path.display())]
    FolderUnreadable { path: PathBuf, reason: String, effect: Hides, seconds: f64 },
    #[error("{} can be read now", path.display())]
    FolderReadable { path: PathBuf },
    #[error("no change notification for {}: {reason}; looking by itself every {seconds} s instead", path.display())]
    WatchUnavailable { path: PathBuf, reason: String, seconds: f64 },
    #[error("container {name} ({short_id}) found")]
    ContainerFound { name: String, short_id: String },
    #[error("container {name} ({short_id}) is not read: {reason}")]
    ContainerExcluded { name: String, short_id: String, reason: String },
    #[error("container {name} ({short_id}) is read from now on: no rule excludes it any more")]
    ContainerIncluded { name: String, short_id: String },
    #[error("container {name} ({short_id}): {problem}; the option counts")]
    LabelInvalid { name: String, short_id: String, problem: String },
    #[error("container {name} ({short_id}): label fluentbit.io/parser: Fluent Bit has no parser `{parser}` (see its Parsers_File); lines stay as they are")]
    ParserUnknown { name: String, short_id: String, parser: String },
    #[error("container {name} ({short_id}) is gone, its log is read to the end")]
    ContainerGone { name: String, short_id: String },
    #[error("container {name} ({short_id}) cannot be read: {reason}")]
    Unreadable { name: String, short_id: String, reason: String },
    #[error("container {name} ({short_id}) is read through the Docker API: {reason}")]
    StreamBegins { name: String, short_id: String, reason: String },
    #[error("container {name} ({short_id}) is read from its file again")]
    StreamEnds { name: String, short_id: String },
    #[error("Docker API at {}: {reason}; trying again", socket.display())]
    ApiUnreachable { socket: PathBuf, reason: String },
    #[error("Docker API at {} answers", socket.display())]
    ApiReachable { socket: PathBuf },
    #[error("container {name} ({short_id}): the Docker API broke off: {reason}; trying again")]
    StreamBroke { name: String, short_id: String, reason: String },
    #[error("container {name} ({short_id}): the Docker API no longer has all that followed its last record; reading on from the oldest it has")]
    StreamGap { name: String, short_id: String },
    #[error("cannot read {}: {reason}; the container's records will lack what it says", path.display())]
    MetadataUnreadable { path: PathBuf, reason: String },
    #[error("cannot read {}: {reason}; trying again, other containers go on", path.display())]
    LogUnreadable { path: PathBuf, reason: String },
    #[error("cannot read {}: {reason}; {unread} bytes in it are lost, its container's newer logs are read on", path.display())]
    GenerationUnreadable { path: PathBuf, reason: String, unread: u64 },
    #[error("no further log can be opened: {reason}; those that are open go on, the others wait (see LimitNOFILE of Fluent Bit's service)")]
    Shortage { reason: String },
    #[error("{} can be read now", path.display())]
    LogReadable { path: PathBuf },
    #[error("{}: {bytes} bytes near offset {offset} are no record and were passed over", path.display())]
    Corrupt { path: PathBuf, offset: u64, bytes: u64 },
    #[error("{} was truncated with {unread} bytes unread; reading it from its start", path.display())]
    Truncated { path: PathBuf, unread: u64 },
    #[error("{} was truncated while nobody read it; what was unread in it is lost, reading it from its start", path.display())]
    TruncatedMeanwhile { path: PathBuf },
    #[error("the log of container {name} ({short_id}) was rotated past our position; what it wrote after {last} may be lost, reading on from the oldest file there is")]
    GenerationLost { name: String, short_id: String, last: String },
    #[error("container {name} ({short_id}): {files} files of its log were rotated away before they could be opened, and what was in them is lost")]
    GenerationsMissed { name: String, short_id: String, files: u64 },
    #[error("container {name} ({short_id}): a deleted file with {bytes} bytes unread was let go, and they are lost: {reason}")]
    HeldFileDropped { name: String, short_id: String, bytes: u64, reason: String },
    #[error("container {name} ({short_id}): {bytes} bytes were cut off {lines} lines, which were longer than Partial_Max_Size")]
    LinesCut { name: String, short_id: String, bytes: u64, lines: u64 },
    #[error("{}: {reason}; what could be unpacked was delivered", path.display())]
    DamagedArchive { path: PathBuf, reason: String },
    #[error("DB {}: {problem}; it was set aside as {} and every log is read from its first byte", path.display(), aside.display())]
    CheckpointSetAside { path: PathBuf, problem: String, aside: PathBuf },
    #[error("DB {}: {count} damaged entries were passed over; their logs are read from their first byte", path.display())]
    CheckpointEntriesDamaged { path: PathBuf, count: usize },
    #[error("DB {}: {reason}; positions are kept in memory until it can be written again", path.display())]
    CheckpointUnwritable { path: PathBuf, reason: String },
    #[error("DB {} is written again", path.display())]
    CheckpointWritable { path: PathBuf },
    #[error("no DB is set: positions live in memory and are lost at exit")]
    NoCheckpoint,
    #[error("the reader stopped: {reason}; nothing more is read until Fluent Bit is restarted")]
    ReaderStopped { reason: String },
}

impl Event {
    /// How serious it is.
    pub fn level(&self) -> Level {
        match self {
            Event::RootUnreadable { .. }
            | Event::FolderUnreadable { effect: Hides::Containers, .. }
            | Event::Shortage { .. }
            | Event::LogUnreadable { .. }
            | Event::GenerationUnreadable { .. }
            | Event::GenerationLost { .. }
            | Event::TruncatedMeanwhile { .. }
            | Event::GenerationsMissed { .. }
            | Event::HeldFileDropped { .. }
            | Event::Truncated { unread: 1.., .. }
            | Event::ReaderStopped { .. }
            | Event::CheckpointUnwritable { .. } => Level::Error,
            Event::WatchUnavailable { .. }
            | Event::FolderUnreadable { .. }
            | Event::MetadataUnreadable { .. }
            | Event::LabelInvalid { .. }
            | Event::ParserUnknown { .. }
            | Event::Corrupt { .. }
            | Event::LinesCut { .. }
            | Event::Truncated { unread: 0, .. }
            | Event::DamagedArchive { .. }
            | Event::CheckpointSetAside { .. }
            | Event::CheckpointEntriesDamaged { .. }
            | Event::NoCheckpoint
            | Event::Unreadable { .. }
            | Event::ApiUnreachable { .. }
            | Event::StreamGap { .. }
            | Event::StreamBroke { .. } => Level::Warn,
            Event::Started { .. }
            | Event::RootReadable { .. }
            | Event::FolderReadable { .. }
            | Event::LogReadable { .. }
            | Event::CheckpointWritable { .. }
            | Event::StreamBegins { .. }
            | Event::StreamEnds { .. }
            | Event::ApiReachable { .. }
            | Event::ContainerIncluded { .. }
            | Event::ContainerExcluded { .. } => Level::Info,
            Event::ContainerFound { .. } | Event::ContainerGone { .. } => Level::Debug,
        }
    }
}

/// Events on their way to the host's thread.
#[derive(Debug, Default)]
pub struct EventQueue {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    events: VecDeque<Event>,
    dropped: usize,
}

impl EventQueue {
    /// Adds an event; never blocks for long and never grows without bound.
    pub fn report(&self, event: Event) {
        if let Ok(mut held) = self.held.lock() {
            if held.events.len() < HELD_EVENTS {
                held.events.push_back(event);
            } else {
                held.dropped += 1;
            }
        }
    }

    /// Takes all events, and how many there was no room for.
    pub fn take(&self) -> (VecDeque<Event>, usize) {
        match self.held.lock() {
            Ok(mut held) => {
                let dropped = std::mem::take(&mut held.dropped);
                (std::mem::take(&mut held.events), dropped)
            }
            Err(_) => (VecDeque::new(), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_order_and_the_surplus_is_counted() {
        let queue = EventQueue::default();
        for _ in 0..HELD_EVENTS + 3 {
            queue.report(Event::NoCheckpoint);
        }
        let (events, dropped) = queue.take();
        assert_eq!((events.len(), dropped), (HELD_EVENTS, 3));
        assert_eq!(queue.take().1, 0);
    }
}
