//! A lasting problem: reported once when it begins and once when it ends.
//!
//! Whether the problem exists and whether it was reported are tracked separately: a message
//! that did not fit into the event queue is retried at the next opportunity, and until then
//! the problem counts as not reported.

use std::time::Instant;

use crate::telemetry::metrics::Unread;
use crate::telemetry::throttle::REPORT_INTERVAL;

/// A problem, such as one that prevents a container or directory from being read.
#[derive(Debug)]
pub struct Trouble<R = Unread> {
    reason: Option<R>,
    is_reported: bool,
    /// Whether [`REPORT_INTERVAL`] lies between two reported beginnings, and the time of the last one.
    is_paced: bool,
    last: Option<Instant>,
}

impl<R> Default for Trouble<R> {
    fn default() -> Trouble<R> {
        Trouble {
            reason: None,
            is_reported: false,
            is_paced: false,
            last: None,
        }
    }
}

impl<R: Copy> Trouble<R> {
    /// A problem that does not exist yet and whose beginning is reported at most once a
    /// minute, since someone else may cause it to begin and end at will. The end of an unreported one is not reported either.
    pub fn paced() -> Trouble<R> {
        Trouble {
            is_paced: true,
            ..Trouble::default()
        }
    }

    /// An existing problem that is not reported unless it persists.
    pub fn unreported(reason: R) -> Trouble<R> {
        Trouble {
            reason: Some(reason),
            ..Trouble::default()
        }
    }

    /// Whether the problem exists.
    pub fn is_there(&self) -> bool {
        self.reason.is_some()
    }

    /// What the problem is; `None` if it does not exist.
    pub fn reason(&self) -> Option<R> {
        self.reason
    }

    /// Whether the beginning is still to be reported and a report is due.
    pub fn is_to_be_reported(&self) -> bool {
        self.is_unreported() && self.is_due(Instant::now())
    }

    /// Whether it exists and its beginning was not reported, whether or not a report is due.
    pub fn is_unreported(&self) -> bool {
        self.is_there() && !self.is_reported
    }

    /// Whether the beginning or the end is still to be reported. Not for problems that use
    /// [`Trouble::rest`], which look ended and reported.
    pub fn has_news(&self) -> bool {
        self.is_to_be_reported() || (!self.is_there() && self.is_reported)
    }

    fn is_due(&self, now: Instant) -> bool {
        let last = self.last.filter(|_| self.is_paced);
        last.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL)
    }

    /// The problem exists. Calls `report` unless it was already reported or no report is due;
    /// `report` returns whether the message was kept.
    pub fn begin(&mut self, reason: R, report: impl FnOnce() -> bool) {
        self.begin_at(reason, Instant::now(), report);
    }

    fn begin_at(&mut self, reason: R, now: Instant, report: impl FnOnce() -> bool) {
        self.reason = Some(reason);
        if !self.is_reported && self.is_due(now) && report() {
            self.is_reported = true;
            self.last = Some(now);
        }
    }

    /// The problem is over for now. Not reported, and neither is a recurrence if the problem
    /// was reported before.
    pub fn rest(&mut self) {
        self.reason = None;
    }

    /// The problem is over. Calls `report` if its beginning was reported.
    pub fn end(&mut self, report: impl FnOnce() -> bool) {
        self.reason = None;
        if self.is_reported && report() {
            self.is_reported = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_that_was_not_kept_is_tried_again_and_one_that_was_is_not() {
        let mut trouble = Trouble::default();
        trouble.begin(Unread::IoError, || false);
        assert!(trouble.is_there() && trouble.is_to_be_reported());
        trouble.begin(Unread::IoError, || true);
        assert!(!trouble.is_to_be_reported());
        trouble.begin(Unread::Permission, || panic!("it was reported"));
        assert_eq!(trouble.reason(), Some(Unread::Permission));
    }

    #[test]
    fn the_end_of_what_was_not_reported_is_not_reported_either() {
        let mut trouble = Trouble::default();
        trouble.begin(Unread::IoError, || false);
        trouble.end(|| panic!("nobody knows of it"));
        assert!(!trouble.is_there());
        trouble.begin(Unread::IoError, || true);
        trouble.end(|| false);
        let mut has_ended = false;
        trouble.end(|| {
            has_ended = true;
            true
        });
        assert!(has_ended, "its end was not kept the first time");
    }

    #[test]
    fn who_breaks_and_mends_something_all_the_time_is_reported_once_a_minute() {
        let mut trouble = Trouble::paced();
        let start = Instant::now();
        let (mut begun, mut ended) = (0, 0);
        let count = |counted: &mut u32| {
            *counted += 1;
            true
        };
        for tenth in 0..1_800 {
            let now = start + Duration::from_millis(100) * tenth;
            trouble.begin_at(Unread::IoError, now, || count(&mut begun));
            assert!(trouble.is_there());
            trouble.end(|| count(&mut ended));
        }
        assert_eq!((begun, ended), (3, 3), "in three minutes");
        // A problem that persists is reported as soon as a report is due.
        let now = start + Duration::from_secs(179);
        trouble.begin_at(Unread::IoError, now, || panic!("a minute has not passed"));
        trouble.begin_at(Unread::IoError, now + Duration::from_secs(1), || {
            count(&mut begun)
        });
        assert_eq!(begun, 4);
        assert!(!trouble.has_news());
        trouble.end(|| false);
        assert!(trouble.has_news());
    }
}
