//! Detects files of a log that were created but never opened. dockerd may rotate so fast
//! between two looks that a file is created *and* deleted unseen. The folder shows no trace of
//! it afterwards, but inotify reports each created name.
//!
//! The count errs on one side only: what it reports as missed was missed. Creations are
//! counted from the notices taken before a look, and openings at the look, so a file that is
//! opened before its notice is taken only hides a missed one until the notice arrives. The
//! files found at the first look may or may not be older than the watch; shortly afterwards
//! all their notices have arrived, and those without a notice were older.

use std::time::{Duration, Instant};

/// How long after an opening all notices of the opened files have certainly arrived: the
/// kernel sends them a few instructions after the name becomes visible.
const SETTLING: Duration = Duration::from_millis(20);

/// The count of one log.
#[derive(Debug, Default)]
pub struct CreateCounter {
    /// Files that inotify reported.
    made: u64,
    /// Files that were opened, or known, at a look.
    met: u64,
    last_met: Option<Instant>,
    /// Files older than the watch have been removed from `met`.
    is_settled: bool,
}

impl CreateCounter {
    /// Counts a new file that inotify reported.
    pub fn made(&mut self) {
        self.made += 1;
    }

    /// Counts files found at a look.
    pub fn met(&mut self, count: usize, now: Instant) {
        if count > 0 {
            self.met += count as u64;
            self.last_met = Some(now);
        }
    }

    /// Removes files older than the watch from the count, once their notices would have
    /// arrived. Call it when all pending notices have been taken and before the next look.
    pub fn settle(&mut self, now: Instant) {
        let is_due = self
            .last_met
            .is_some_and(|last| now.duration_since(last) >= SETTLING);
        if !self.is_settled && is_due {
            self.is_settled = true;
            self.met = self.met.min(self.made);
        }
    }

    /// Returns how many files were missed since the last call. Call it after a look that
    /// opened every file.
    pub fn take_missed(&mut self) -> u64 {
        if !self.is_settled {
            return 0;
        }
        let missed = self.made.saturating_sub(self.met);
        self.met += missed;
        missed
    }

    /// Restarts the count after lost notices.
    pub fn forget(&mut self, now: Instant) {
        *self = CreateCounter {
            last_met: Some(now),
            ..CreateCounter::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log whose first look found a file older than the watch.
    fn settled(start: Instant) -> CreateCounter {
        let mut creates = CreateCounter::default();
        creates.met(1, start);
        creates.settle(start + SETTLING);
        creates
    }

    #[test]
    fn files_that_were_made_and_never_met_are_missed_once() {
        let start = Instant::now();
        let mut creates = settled(start);
        for _ in 0..5 {
            creates.made();
        }
        creates.met(2, start);
        assert_eq!(creates.take_missed(), 3);
        assert_eq!(creates.take_missed(), 0);
    }

    #[test]
    fn a_file_that_is_met_before_its_notice_is_none_too_many() {
        let start = Instant::now();
        let mut creates = settled(start);
        creates.met(2, start);
        assert_eq!(creates.take_missed(), 0);
        creates.made();
        creates.made();
        assert_eq!(creates.take_missed(), 0);
    }

    #[test]
    fn what_came_and_went_before_the_first_look_is_missed() {
        let start = Instant::now();
        let mut creates = CreateCounter::default();
        for _ in 0..4 {
            creates.made();
        }
        creates.met(3, start);
        assert_eq!(creates.take_missed(), 0, "not certain yet");
        creates.settle(start + SETTLING);
        assert_eq!(creates.take_missed(), 1);
    }

    #[test]
    fn after_lost_notices_nothing_is_called_missed_that_was_met() {
        let start = Instant::now();
        let mut creates = settled(start);
        creates.made();
        creates.forget(start);
        creates.met(1, start);
        creates.settle(start + SETTLING);
        assert_eq!(creates.take_missed(), 0);
        creates.made();
        assert_eq!(creates.take_missed(), 1);
    }
}
