//! Entries that are not delivered yet, although they are read: others, of another log of the
//! container, come before them. Pure.

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::position::{PerStream, Timestamp};

/// Which entries are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldBack {
    /// All.
    All,
    /// Those later than this.
    LaterThan(Timestamp),
}

/// The entries of a log that are held back.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    which: HoldBack,
    /// The first one of each stream: its time, and where it is.
    first: PerStream<Option<(Timestamp, StreamCheckpoint)>>,
}

impl Held {
    /// None yet.
    pub fn new(which: HoldBack) -> Held {
        Held {
            which,
            first: PerStream::default(),
        }
    }

    /// Whether the next entry of a stream is held back. All that follow one are. `at` returns where
    /// the stream resumes if it is not taken.
    pub fn holds(
        &mut self,
        index: usize,
        time: Timestamp,
        at: impl FnOnce() -> StreamCheckpoint,
    ) -> bool {
        let first = &mut self.first[index];
        let is_held = match self.which {
            HoldBack::All => true,
            HoldBack::LaterThan(limit) => time > limit,
        };
        if is_held && first.is_none() {
            *first = Some((time, at()));
        }
        first.is_some()
    }

    /// Whether nothing is taken, and no position moves.
    pub fn is_all(&self) -> bool {
        self.which == HoldBack::All
    }

    /// Where a stream resumes of which entries are held back.
    pub fn at(&self, index: usize) -> Option<StreamCheckpoint> {
        self.first[index].map(|(_, at)| at)
    }

    /// The time of the first one.
    pub fn since(&self) -> Option<Timestamp> {
        let first = self.first.into_iter().flatten();
        first.map(|(time, _)| time).min()
    }
}
