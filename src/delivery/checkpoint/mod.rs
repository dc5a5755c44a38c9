//! How far the host has accepted each container's log, and where reading resumes.
//!
//! Every stream of a container has a [`StreamCheckpoint`]: a file identified by its content,
//! and an offset in it. Entries of the stream that begin before the offset have been accepted,
//! none after it (I1, I2). Reading starts at the lower of the two offsets and skips what the
//! other stream has already delivered.

mod db_file;
mod entries;
pub mod fingerprint;
mod header;
mod inspection;
mod journal_place;
mod removal;
mod shared;
mod slot;
mod slot_writes;
mod store;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::format::position::{PerStream, Timestamp};
use crate::runtime::file::FileId;

pub use crate::delivery::checkpoint::db_file::CheckpointError;
pub use crate::delivery::checkpoint::inspection::{inspect, Inspection};
pub use crate::delivery::checkpoint::journal_place::JournalPlace;
pub use crate::delivery::checkpoint::shared::SharedCheckpoint;
pub use crate::delivery::checkpoint::store::{CheckpointStore, Opened};

/// The last accepted entry of a stream: its time, and the number of entries accepted with
/// exactly that time. Takes the place of an offset where there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeCursor {
    /// The runtime's time of the entry.
    pub time: Timestamp,
    /// Number of consecutive entries of this stream with this time; the pieces of a split line
    /// share one time. 0 if none was accepted yet: `time`, if set, is then that of the first one.
    /// [`u32::MAX`] if none was accepted yet, and none up to `time` is wanted.
    pub count: u32,
}

impl TimeCursor {
    /// Reading starts after this time: that of the first start, or that of a request.
    pub fn after(time: Timestamp) -> TimeCursor {
        TimeCursor {
            time,
            count: u32::MAX,
        }
    }

    /// Whether reading starts after its time, at which no entry was accepted.
    pub fn is_start(self) -> bool {
        self.count == u32::MAX
    }

    /// The cursor itself or, if no entry was accepted yet, one that starts at `time`.
    pub fn or_at(self, time: Timestamp) -> TimeCursor {
        if self == TimeCursor::default() {
            TimeCursor { time, count: 0 }
        } else {
            self
        }
    }

    /// Counts an accepted entry with this time.
    #[inline]
    pub fn advance(&mut self, time: Timestamp) {
        if self.count > 0 && self.time == time {
            self.count = self.count.saturating_add(1);
        } else {
            *self = TimeCursor { time, count: 1 };
        }
    }
}

/// Where a stream resumes: a file identified by its content, an offset in its uncompressed
/// bytes, and the last entry before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCheckpoint {
    /// Hash of the file's head, as far as it was known.
    pub fingerprint: Fingerprint,
    /// Hash of the bytes just before the offset.
    pub marker: Marker,
    /// Bytes from the start of the file, uncompressed.
    pub offset: u64,
    /// Inode number; only a hint, since numbers are reused. 0 once the file was found to be gone.
    pub inode: u64,
    /// Birth time in nanoseconds since 1970, or 0 if the file system has none. A rename does
    /// not change it.
    pub birth: u64,
    /// The last accepted entry.
    pub cursor: TimeCursor,
    /// Whether the cursor is ahead of the file: later entries came from the API.
    pub is_by_time: bool,
    /// Whether the last accepted entry belongs to a line that was delivered without its end,
    /// so that pieces with exactly the same time may follow.
    pub is_mid_line: bool,
    /// The last accepted entry's place in systemd's journal, if it was read from there.
    pub journal: JournalPlace,
}

impl StreamCheckpoint {
    /// Nothing was accepted yet, and reading starts after this time.
    pub fn after(time: Timestamp) -> StreamCheckpoint {
        StreamCheckpoint {
            cursor: TimeCursor::after(time),
            is_by_time: true,
            ..StreamCheckpoint::default()
        }
    }

    /// Whether it was taken from this file. Where the file system has no birth times, both are 0, and
    /// an inode number may have been reused.
    pub fn is_in(&self, file: FileId) -> bool {
        (self.inode, self.birth) == (file.inode, file.birth)
    }

    /// The same checkpoint, which starts after this time if nothing was accepted yet.
    pub fn or_after(self, time: Timestamp) -> StreamCheckpoint {
        if self.cursor != TimeCursor::default() {
            return self;
        }
        match self.has_no_file() {
            true => StreamCheckpoint::after(time),
            false => StreamCheckpoint {
                cursor: TimeCursor::after(time),
                ..self
            },
        }
    }

    /// Whether it refers to no file.
    pub fn has_no_file(&self) -> bool {
        self.fingerprint.length == 0 && self.birth == 0 && self.inode == 0
    }

    /// The same, once its file was found to be gone and counted as lost: no file has this inode
    /// number, and if its content is found again after all, reading resumes there.
    pub fn counted(self) -> StreamCheckpoint {
        StreamCheckpoint { inode: 0, ..self }
    }

    /// Whether its file was found to be gone, which is counted.
    pub fn is_counted(&self) -> bool {
        self.inode == 0 && !self.has_no_file()
    }

    /// Whether it is the start of a file that is known by its inode only: once that file is
    /// compressed, it cannot be found again.
    pub fn is_unbegun_file(&self) -> bool {
        self.fingerprint.length == 0 && self.offset == 0 && !self.has_no_file()
    }
}

/// When the plugin was started for the first time with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstStart {
    /// It is not over: it began at this time, now or in a process that ended before each container
    /// had its place in the checkpoint.
    Now(Timestamp),
    /// Earlier; `None` if the checkpoint does not say when.
    Earlier(Option<Timestamp>),
}

impl FirstStart {
    /// The time, if known.
    pub fn time(self) -> Option<Timestamp> {
        match self {
            FirstStart::Now(time) => Some(time),
            FirstStart::Earlier(time) => time,
        }
    }
}

/// Where both streams of a container resume.
pub type ContainerCheckpoint = PerStream<StreamCheckpoint>;

/// The streams whose checkpoint advances.
pub type Advance = PerStream<Option<StreamCheckpoint>>;
