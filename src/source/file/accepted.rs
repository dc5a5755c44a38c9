//! What an earlier run delivered of a log, as positions in the files that are open now.

use std::io;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::position::{PerStream, Position};
use crate::source::file::generation::Generation;

/// What an earlier run delivered of each stream.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Entries that begin before this position were delivered.
    pub before: PerStream<Position>,
    /// The checkpoint that `before` was derived from, if there is one.
    pub saved: Option<Box<ContainerCheckpoint>>,
    /// The number of the first generation whose delivered entries are known by offset. In
    /// those before it, entries are compared by time.
    pub doubt_ends: Option<u32>,
    /// The streams whose checkpoint matches no file: whether they were delivered shows by the time
    /// of their first entry.
    pub is_lost: PerStream<bool>,
}

impl Accepted {
    /// Nothing says which entries were delivered, but their times.
    pub fn unknown() -> Accepted {
        Accepted {
            is_lost: [true; 2],
            ..Accepted::default()
        }
    }

    /// The checkpoint that it was derived from; the default if there is none.
    pub fn saved(&self) -> ContainerCheckpoint {
        self.saved.as_deref().copied().unwrap_or_default()
    }

    /// Offsets in the file with this number: entries that begin before them were delivered.
    pub fn within(&self, number: u32) -> PerStream<u64> {
        self.before
            .map(|before| match before.generation.cmp(&number) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => before.offset,
                std::cmp::Ordering::Greater => u64::MAX,
            })
    }

    /// Discards a stream's offset in `front` if the content it was taken from has been
    /// truncated before reading got there.
    pub fn check(&mut self, front: &Generation) -> io::Result<()> {
        if front.read_offset() > 0 {
            return Ok(());
        }
        let saved = self.saved();
        for (before, checkpoint) in self.before.iter_mut().zip(&saved) {
            let is_here = before.generation == front.number && before.offset == checkpoint.offset;
            if is_here && before.offset > 0 && !front.holds(checkpoint)? {
                *before = Position::default();
            }
        }
        Ok(())
    }

    /// Discards the offsets in the file with this number, which was truncated.
    pub fn forget(&mut self, number: u32) {
        for before in &mut self.before {
            if before.generation <= number {
                *before = Position::default();
            }
        }
    }

    /// Reading reaches the file with this number. Returns the streams whose comparison by
    /// entry times ends there, once: from here on files are identified by their heads.
    pub fn reaches(&mut self, number: u32) -> Option<PerStream<bool>> {
        self.doubt_ends.take_if(|ends| number >= *ends)?;
        Some(self.saved().map(|checkpoint| !checkpoint.is_by_time))
    }
}

/// The checkpoint of each stream once everything before `checkpoint` is delivered; a stream that
/// an earlier run took further than that, to the offset in `accepted`, does not move back.
pub fn advances(
    accepted: PerStream<u64>,
    checkpoint: StreamCheckpoint,
) -> PerStream<Option<StreamCheckpoint>> {
    accepted.map(|accepted| (checkpoint.offset >= accepted).then_some(checkpoint))
}
