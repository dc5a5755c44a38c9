//! Whether a log is read at each cycle or when the kernel tells of a write to it.
//!
//! A read that brings nothing takes 0.6 µs, a notice with the read it asks for five
//! times that, and the writer pays for it too. So a log is watched while few reads
//! of it bring anything, and read at each cycle while it is written faster than that.

use std::time::Duration;

/// A log is sparse when at most so many of its last 32 reads brought anything.
const SPARSE_READS: u32 = 8;
/// A watched log is busy when so many times in a row what a read brought came within
/// two cycles of what the read before it brought.
const BUSY_READS: u32 = 8;

/// What the last reads of a log brought.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// One bit for each of the last reads, the newest lowest: whether it brought
    /// anything.
    recent: u32,
    in_a_row: u32,
}

impl Default for Pace {
    /// Of a log that nothing is known of, which may well be busy.
    fn default() -> Pace {
        Pace {
            recent: u32::MAX,
            in_a_row: 0,
        }
    }
}

impl Pace {
    /// A read brought something, so long after the last one that did.
    pub fn brought(&mut self, after: Duration, cycle: Duration) {
        self.recent = self.recent << 1 | 1;
        self.in_a_row = if after < cycle * 2 {
            self.in_a_row + 1
        } else {
            0
        };
    }

    /// A read brought nothing.
    pub fn brought_nothing(&mut self) {
        self.recent <<= 1;
    }

    /// Whether a log that is read at each cycle is better watched.
    pub fn is_sparse(&self) -> bool {
        self.recent.count_ones() <= SPARSE_READS
    }

    /// Whether a log that is watched is better read at each cycle.
    pub fn is_busy(&self) -> bool {
        self.in_a_row >= BUSY_READS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLE: Duration = Duration::from_millis(3);

    #[test]
    fn a_log_is_sparse_when_three_of_four_reads_brought_nothing() {
        let mut pace = Pace::default();
        for _ in 0..23 {
            pace.brought_nothing();
        }
        assert!(!pace.is_sparse());
        pace.brought_nothing();
        assert!(pace.is_sparse());
        // Every fourth read brings something: that is sparse still.
        for read in 0..64 {
            match read % 4 {
                0 => pace.brought(CYCLE * 4, CYCLE),
                _ => pace.brought_nothing(),
            }
            assert!(pace.is_sparse() && !pace.is_busy(), "after {read}");
        }
    }

    #[test]
    fn a_log_is_busy_when_its_lines_keep_coming_within_two_cycles() {
        let mut pace = Pace::default();
        for _ in 0..7 {
            pace.brought(CYCLE, CYCLE);
        }
        assert!(!pace.is_busy());
        pace.brought(CYCLE * 2, CYCLE);
        for _ in 0..7 {
            pace.brought(CYCLE, CYCLE);
        }
        assert!(!pace.is_busy(), "a pause begins the count anew");
        pace.brought(CYCLE, CYCLE);
        assert!(pace.is_busy());
    }
}
