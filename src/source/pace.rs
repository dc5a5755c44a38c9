//! Decides whether a log is read at each cycle or watched.
//!
//! A read that returns nothing takes 0.6 µs, a notice and the read it causes five times that,
//! and the writer pays for the notice too. So a log is watched while few of its reads return
//! anything, and read at each cycle while it is written faster than that.

use std::time::Duration;

/// A log is sparse if at most this many of its last 32 reads returned anything.
const SPARSE_READS: u32 = 8;
/// A watched log is busy once this many reads in a row returned something within two cycles of
/// the read before.
const BUSY_READS: u32 = 8;

/// What the last reads of a log returned.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// One bit for each of the last 32 reads, the newest lowest: whether it returned anything.
    recent: u32,
    in_a_row: u32,
}

impl Default for Pace {
    /// The state of a log that nothing is known about: not sparse, since it may be busy.
    fn default() -> Pace {
        Pace {
            recent: u32::MAX,
            in_a_row: 0,
        }
    }
}

impl Pace {
    /// Records a read that returned something, `after` the last one that did.
    pub fn brought(&mut self, after: Duration, cycle: Duration) {
        self.recent = self.recent << 1 | 1;
        self.in_a_row = if after < cycle * 2 {
            self.in_a_row + 1
        } else {
            0
        };
    }

    /// Records a read that returned nothing.
    pub fn brought_nothing(&mut self) {
        self.recent <<= 1;
    }

    /// Whether a log that is read at each cycle should be watched.
    pub fn is_sparse(&self) -> bool {
        self.recent.count_ones() <= SPARSE_READS
    }

    /// Whether a watched log should be read at each cycle.
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
