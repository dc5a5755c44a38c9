//! Events that are logged for the operator. The reader's thread reports them; the host's
//! thread writes them to the host's log (I4). The text of an event names the container, file
//! or option concerned, never the payload.

use std::path::PathBuf;

use crate::runtime::{Api, Hides};
use crate::telemetry::event::deleted::DeletedEvent;

pub use crate::telemetry::level::Level;
use wording::{below, by_name};

pub mod deleted;
pub mod journal;
mod wording;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Event {
    #[error("following containers {}", below(roots))]
    Started { roots: Vec<PathBuf> },
    #[error("cannot list containers in {}: {reason}; new containers in it are not read; retrying every {seconds} s", path.display())]
    RootUnreadable {
        path: PathBuf,
        reason: String,
        seconds: f64,
    },
    #[error("containers in {} can be listed now", path.display())]
    RootReadable { path: PathBuf },
    #[error("{} is now a different folder (moved, mounted over, or a changed symlink); its containers are listed again, and each log is read on from where reading stopped", path.display())]
    RootMoved { path: PathBuf },
    #[error("containers are no longer listed though their logs still exist ({count}; the first is {name} ({short_id}) in {}): the folder was moved, unmounted or mounted over, or a setting names another one; open logs are still read, but files of later rotations and new containers there are not found, and after a restart of Fluent Bit nothing there is read; make the folder visible at that path again, or correct the setting", path.display())]
    OutOfSight {
        count: usize,
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("containers are in several folders ({count}; the first is {name} ({short_id}), in {} and in {}): of each, only the folder whose log was written last is read, here the first one; lines that are only in another one are not read, and if that one is written to, reading continues there; remove the copies, or leave their root out", path.display(), other.display())]
    Copied {
        count: usize,
        name: String,
        short_id: String,
        path: PathBuf,
        other: PathBuf,
    },
    #[error("container {name} ({short_id}) is written in two folders at once: it is read in {}, and what is written to it in {} is not read until writing to the first one stops; find out what writes to both, or leave one of the roots out", path.display(), other.display())]
    CopyWritten {
        name: String,
        short_id: String,
        path: PathBuf,
        other: PathBuf,
    },
    #[error("containers {other} ({other_id}) and {name} ({short_id}) run at once and write to the same log {}: their lines cannot be told apart, and all since the second one was created are delivered once, as lines of {name}; give each container a path of its own", path.display())]
    SharedLog {
        name: String,
        short_id: String,
        other: String,
        other_id: String,
        path: PathBuf,
    },
    #[error("cannot read {}: {reason}; {effect}; retrying every {seconds} s", path.display())]
    FolderUnreadable {
        path: PathBuf,
        reason: String,
        effect: Hides,
        seconds: f64,
    },
    #[error("{} {reason}; nothing of that user is read until that is fixed", path.display())]
    UserUnknown { path: PathBuf, reason: String },
    #[error("{} can be read now", path.display())]
    FolderReadable { path: PathBuf },
    #[error("no change notification for {}: {reason}; polling every {seconds} s instead", path.display())]
    WatchUnavailable {
        path: PathBuf,
        reason: String,
        seconds: f64,
    },
    #[error("container {name} ({short_id}) found")]
    ContainerFound { name: String, short_id: String },
    #[error("container {name} ({short_id}) is not read: {reason}")]
    ContainerExcluded {
        name: String,
        short_id: String,
        reason: String,
    },
    #[error("container {name} ({short_id}): {rules} cannot match containers of pods, or of nerdctl while containerd's database cannot be read: image and labels are only in the runtime's database; use name, namespace or pod")]
    RulesBlind {
        name: String,
        short_id: String,
        rules: String,
    },
    #[error("container {name} ({short_id}) is now read: no rule excludes it any longer")]
    ContainerIncluded { name: String, short_id: String },
    #[error("container {name} ({short_id}): its name, labels or environment variables exceed a limit and are cut in its records; its log lines are complete (see docs/content.md, Limits)")]
    MetadataCut { name: String, short_id: String },
    #[error("container {name} ({short_id}): Fluent Bit refuses its records but accepts those of other containers; reading its log is suspended until they are accepted, other containers are unaffected (see storage.total_limit_size of its outputs)")]
    RecordsWait { name: String, short_id: String },
    #[error("Fluent Bit accepted records for some of its conditional routes and refused them for others; retrying every {seconds} s until every route accepts them, so some routes receive them more than once (see storage.total_limit_size of the outputs, and Mem_Buf_Limit)")]
    TakenInPart { seconds: u64 },
    #[error("container {name} ({short_id}): Fluent Bit refused {records} records ({bytes} bytes of its log; the last one is {size} bytes with all its fields) for {seconds} s while it accepted later ones; they are lost, reading continues (see storage.total_limit_size of its outputs, and Partial_Max_Size)")]
    RecordsRefused {
        name: String,
        short_id: String,
        records: u64,
        bytes: u64,
        size: usize,
        seconds: f64,
    },
    #[error("container {name} ({short_id}): {problem}; label ignored, using the option")]
    LabelInvalid {
        name: String,
        short_id: String,
        problem: String,
    },
    #[error("container {name} ({short_id}): labels ignored, not allowed by Label_Hints: {labels}")]
    LabelIgnored {
        name: String,
        short_id: String,
        labels: String,
    },
    #[error("container {name} ({short_id}): label fluentbit.io/parser: parser `{parser}` took {millis} ms for one batch, which blocks all of Fluent Bit; it is no longer used for this container, whose lines are now delivered unparsed")]
    ParserSlow {
        name: String,
        short_id: String,
        parser: String,
        millis: u128,
    },
    #[error("container {name} ({short_id}): label fluentbit.io/parser: Fluent Bit has no parser `{parser}` (see its Parsers_File); lines are delivered unparsed")]
    ParserUnknown {
        name: String,
        short_id: String,
        parser: String,
    },
    #[error("container {name} ({short_id}): its log contains its own records as Fluent Bit prints them, so each line becomes another one; reading it is suspended for a minute, then longer, and its lines stay in its log; exclude the container (see Exclude), or do not print its records")]
    Loop { name: String, short_id: String },
    #[error(
        "container {name} ({short_id}) is read again: its log no longer contains its own records"
    )]
    LoopEnded { name: String, short_id: String },
    #[error("container {name} ({short_id}) is gone; its log was read to the end")]
    ContainerGone { name: String, short_id: String },
    #[error("container {name} ({short_id}) cannot be read: {reason}")]
    Unreadable {
        name: String,
        short_id: String,
        reason: String,
    },
    #[error("container {name} ({short_id}) is read through the {} API: {reason}", api.title())]
    StreamBegins {
        api: Api,
        name: String,
        short_id: String,
        reason: String,
    },
    #[error("container {name} ({short_id}) is read from its file again")]
    StreamEnds { name: String, short_id: String },
    #[error("cannot reach the {} API at {}: {reason}; containers read through it wait; retrying", api.title(), socket.display())]
    ApiUnreachable {
        api: Api,
        socket: PathBuf,
        reason: String,
    },
    #[error("the {} API at {} is reachable now", api.title(), socket.display())]
    ApiReachable { api: Api, socket: PathBuf },
    #[error("container {name} ({short_id}): reading through the {} API failed: {reason}; retrying, reading resumes where it stopped", api.title())]
    StreamBroke {
        api: Api,
        name: String,
        short_id: String,
        reason: String,
    },
    #[error("container {name} ({short_id}): the {} API no longer has all lines logged after the last record; the missing lines are lost; continuing with the oldest line it has", api.title())]
    StreamGap {
        api: Api,
        name: String,
        short_id: String,
    },
    #[error("container {name} ({short_id}): its log driver was changed to {driver}; {} was read to its end, reading continues where that driver writes", path.display())]
    DriverChanged {
        name: String,
        short_id: String,
        path: PathBuf,
        driver: String,
    },
    #[error("container {name} ({short_id}): cannot read its metadata {}: {reason}; its records lack it until it can be read", path.display())]
    MetadataUnreadable {
        name: String,
        short_id: String,
        path: PathBuf,
        reason: String,
    },
    #[error("container {name} ({short_id}): cannot read its log driver in {}: {reason}; its log is read from files if there are any, and rules about the driver have no effect on it", path.display())]
    DriverUnknown {
        name: String,
        short_id: String,
        path: PathBuf,
        reason: String,
    },
    #[error("container {name} ({short_id}): cannot read log {}: {reason}; retrying, other containers are unaffected", path.display())]
    LogUnreadable {
        name: String,
        short_id: String,
        path: PathBuf,
        reason: String,
    },
    #[error("container {name} ({short_id}): gave up on log file {}: {reason}; {unread} unread bytes in it are lost; continuing with its newer log files", path.display())]
    GenerationUnreadable {
        name: String,
        short_id: String,
        path: PathBuf,
        reason: String,
        unread: u64,
    },
    #[error("container {name} ({short_id}): rotated log {} cannot be read: {reason}; its lines that were not delivered before are lost (in logrotate, compress with gzip, or set delaycompress)", path.display())]
    RotatedUnreadable {
        name: String,
        short_id: String,
        path: PathBuf,
        reason: String,
    },
    #[error("cannot open {}: {reason}; logs that are already open are still read, the others wait (see LimitNOFILE of Fluent Bit's service)", path.display())]
    Shortage { path: PathBuf, reason: String },
    #[error("container {name} ({short_id}): log {} can be read now", path.display())]
    LogReadable {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): skipped {bytes} bytes near offset {offset} of {} that are not a valid log record; they are lost", path.display())]
    Corrupt {
        name: String,
        short_id: String,
        path: PathBuf,
        offset: u64,
        bytes: u64,
    },
    #[error("container {name} ({short_id}): {}: {entries} entries have no valid time; their records have the time at which they were read", path.display())]
    Untimed {
        name: String,
        short_id: String,
        path: PathBuf,
        entries: u64,
    },
    #[error("container {name} ({short_id}): {} was truncated; {unread} unread bytes are lost; reading it from the start", path.display())]
    Truncated {
        name: String,
        short_id: String,
        path: PathBuf,
        unread: u64,
    },
    #[error("container {name} ({short_id}): {} was truncated while it was not being read; unread data in it is lost; reading it from the start", path.display())]
    TruncatedMeanwhile {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): {} was truncated before it was read to the end, and no copy of it was found in its folder; at least {unread} unread bytes are lost, and everything written to it since the last check; reading it from the start", path.display())]
    TruncatedBehind {
        name: String,
        short_id: String,
        path: PathBuf,
        unread: u64,
    },
    #[error("container {name} ({short_id}): its log was rotated away before it was read to the end; lines written after {last} may be lost; continuing with the oldest file left")]
    GenerationLost {
        name: String,
        short_id: String,
        last: String,
    },
    #[error("containers that were read before are missing at this start ({count}): {ids}; if they were removed while Fluent Bit was not reading, the lines after their last delivered ones (the latest of {last}) are lost")]
    RemovedMeanwhile {
        count: usize,
        ids: String,
        last: String,
    },
    #[error("container {name} ({short_id}): {files} files of its log were rotated away before they could be opened; their contents are lost")]
    GenerationsMissed {
        name: String,
        short_id: String,
        files: u64,
    },
    #[error("container {name} ({short_id}): {} has the name of a log file but is not a regular file; it is skipped, the container's other log files are read", path.display())]
    NoFile {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): its folder has too many rotated logs; the {files} oldest are skipped and not delivered")]
    FilesPassedOver {
        name: String,
        short_id: String,
        files: u64,
    },
    #[error("container {name} ({short_id}): its folder has too many files that are not named after the log; {files} of them are not examined, so copies of the log among them are not delivered")]
    FilesUnexamined {
        name: String,
        short_id: String,
        files: u64,
    },
    #[error("container {name} ({short_id}): cut {bytes} bytes off {lines} lines longer than Partial_Max_Size; they are lost")]
    LinesCut {
        name: String,
        short_id: String,
        bytes: u64,
        lines: u64,
    },
    #[error("container {name} ({short_id}): {} is damaged: {reason}; what could be decompressed was delivered, the rest is lost", path.display())]
    DamagedArchive {
        name: String,
        short_id: String,
        path: PathBuf,
        reason: String,
    },
    #[error("DB {}: {problem}; renamed it to {} and started a new one; every log is read again from the beginning", path.display(), aside.display())]
    CheckpointSetAside {
        path: PathBuf,
        problem: String,
        aside: PathBuf,
    },
    #[error("DB {}: {problem}; nothing was changed, and no position in it is used", path.display())]
    CheckpointNotUsed { path: PathBuf, problem: String },
    #[error("DB {}: ignored {count} damaged entries; their logs are read again from the beginning", path.display())]
    CheckpointEntriesDamaged { path: PathBuf, count: usize },
    #[error("DB {}: cannot be written: {reason}; until then, positions are kept only in memory, and a restart delivers records again", path.display())]
    CheckpointUnwritable { path: PathBuf, reason: String },
    #[error("DB {} can be written again", path.display())]
    CheckpointWritable { path: PathBuf },
    #[error("{containers} containers already have their own metrics, which Fluent Bit keeps until it is reloaded or restarted; further containers are included in the totals only (see Metrics_Per_Container)")]
    MetricsExhausted { containers: usize },
    #[error("this Fluent Bit does not report how much memory an input's records use: Buffered_Limit has no effect, and a backlog or an output that is down can fill the memory; set Mem_Buf_Limit, or Buffered_Limit off")]
    MemoryUnknown,
    #[error("this Fluent Bit does not report whether Mem_Buf_Limit or storage.type bounds the memory of this input: Buffered_Limit is 24M in any case; set it to a size, or to off if one of them does")]
    BoundUnknown,
    #[error("no DB is set: positions are kept in memory, so each start and each reload {effect}; set DB to a file that only this input uses, such as /var/lib/fluent-bit/container_logs.db")]
    NoCheckpoint { effect: &'static str },
    #[error("option {option} has no effect: {reason}")]
    OptionInert { option: String, reason: String },
    #[error("another input of this process{} reads {count} of this input's containers, such as {name} ({short_id}): their lines are delivered twice; separate the two with Include, Exclude or the options that select users, or remove one of them", by_name(other))]
    SharedContainers {
        count: usize,
        name: String,
        short_id: String,
        other: String,
    },
    #[error("{option} `{tag}` is used literally: unlike in the tail input, a * is not replaced, and only Tag_Template has placeholders")]
    TagLiteral { option: &'static str, tag: String },
    #[error(transparent)]
    Deleted(DeletedEvent),
    #[error(transparent)]
    Journal(journal::JournalEvent),
    #[error("the reader thread has been blocked for {seconds} s while {doing}; nothing is read until it continues; unread lines stay in the log files")]
    ReaderStuck { seconds: u64, doing: String },
    #[error("the reader thread is running again")]
    ReaderBack,
    #[error("the reader thread stopped: {reason}; nothing is read until Fluent Bit is restarted; please report this")]
    ReaderStopped { reason: String },
}
