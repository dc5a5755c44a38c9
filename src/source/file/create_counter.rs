//! Whether every file of a log that was made was also opened. dockerd may rotate
//! so often between two looks that a file is made *and* deleted unseen; nothing
//! in the folder tells of it afterwards, but the kernel has told of each name
//! that was made.
//!
//! The count errs on one side only: what it calls missed was missed. Creations
//! are counted from the notices taken before a look, and openings at the look, so
//! a file that is opened before its notice is taken only hides a missed one until
//! the notice comes. The files of the first look may or may not be older than the
//! watch; a moment later all their notices have come, and each that has none
//! was.

use std::time::{Duration, Instant};

/// How long after an opening all notices of what was opened have surely come: the
/// kernel sends them a few instructions after the name can be seen.
const SETTLING: Duration = Duration::from_millis(20);

/// The count of one log.
#[derive(Debug, Default)]
pub struct CreateCounter {
    /// Files the kernel told of.
    made: u64,
    /// Files that were opened, or known, at a look.
    met: u64,
    last_met: Option<Instant>,
    /// Files met that are older than the watch are no longer in `met`.
    is_settled: bool,
}

impl CreateCounter {
    /// The kernel tells of a new file.
    pub fn made(&mut self) {
        self.made += 1;
    }

    /// Files were met at a look.
    pub fn met(&mut self, count: usize, now: Instant) {
        if count > 0 {
            self.met += count as u64;
            self.last_met = Some(now);
        }
    }

    /// All notices there were have been taken, and no look followed yet.
    pub fn settle(&mut self, now: Instant) {
        let is_due = self
            .last_met
            .is_some_and(|last| now.duration_since(last) >= SETTLING);
        if !self.is_settled && is_due {
            self.is_settled = true;
            self.met = self.met.min(self.made);
        }
    }

    /// After a look that met all there was: how many were missed since the last
    /// time.
    pub fn take_missed(&mut self) -> u64 {
        if !self.is_settled {
            return 0;
        }
        let missed = self.made.saturating_sub(self.met);
        self.met += missed;
        missed
    }

    /// Notices were lost: begins anew.
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

    /// A log whose first look met a file that is older than the watch.
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
