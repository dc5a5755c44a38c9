//! How far the host has accepted each container's log, and where to go on.
//!
//! Every stream of a container has a [`StreamCheckpoint`]: a file known by its content
//! and an offset in it. Entries of the stream that begin before it have been
//! accepted; none behind it (I1, I2). Reading starts at the lower of the two
//! and passes over what the other stream has already delivered.

mod db_file;
pub mod fingerprint;
mod inspection;
mod shared;
mod slot;
mod store;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::format::position::{PerStream, Timestamp};

pub use crate::delivery::checkpoint::inspection::{inspect, Inspection};
pub use crate::delivery::checkpoint::shared::SharedCheckpoint;
pub use crate::delivery::checkpoint::store::{CheckpointError, CheckpointStore, Opened};

/// The last entry of a stream that was taken: its time, and how many entries
/// with that very time were taken. What a position is where there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeCursor {
    /// The runtime's time of the entry.
    pub time: Timestamp,
    /// Entries of this stream with this time, one after another. The pieces of a split
    /// line have one time. 0 where none was taken yet: what is wanted then begins at
    /// this time, if there is one.
    pub count: u32,
}

impl TimeCursor {
    /// As it is, or where none was taken yet, the time from which on entries are wanted.
    pub fn or_at(self, time: Timestamp) -> TimeCursor {
        if self == TimeCursor::default() {
            TimeCursor { time, count: 0 }
        } else {
            self
        }
    }

    /// Another entry with this time was taken.
    #[inline]
    pub fn advance(&mut self, time: Timestamp) {
        if self.count > 0 && self.time == time {
            self.count = self.count.saturating_add(1);
        } else {
            *self = TimeCursor { time, count: 1 };
        }
    }
}

/// A place to resume at: a file by its content and an offset in its plain
/// bytes, and the last entry before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCheckpoint {
    /// The head of the file, as far as it was known.
    pub fingerprint: Fingerprint,
    /// The bytes just before the offset.
    pub marker: Marker,
    /// Bytes from the start of the file, before any compression.
    pub offset: u64,
    /// Inode number; a hint, since numbers are reused.
    pub inode: u64,
    /// Birth time in nanoseconds since 1970, or 0 where the file system keeps
    /// none. Never changes while a file is renamed.
    pub birth: u64,
    /// The last entry taken.
    pub cursor: TimeCursor,
    /// The cursor is ahead of the file: entries after it came from the API.
    pub is_by_time: bool,
    /// The last entry taken was of a line that was delivered without its end: pieces with the
    /// very same time may follow.
    pub is_mid_line: bool,
}

/// Where both streams of a container resume.
pub type ContainerCheckpoint = PerStream<StreamCheckpoint>;

/// The streams whose resume position moves.
pub type Advance = PerStream<Option<StreamCheckpoint>>;
