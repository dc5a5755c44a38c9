//! A trouble that lasts: it is reported once when it begins, and once when it is over.
//!
//! That it is there and that it was reported are two things: a message for which there
//! was no room in the queue of events is tried again at the next occasion, and until then
//! the trouble does not count as reported.

use std::time::{Duration, Instant};

use crate::telemetry::metrics::Unread;

/// The least time between two messages that one trouble begins, where somebody else may have
/// it begin and end as often as he likes.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Something that keeps a container or a folder from being read, or the like.
#[derive(Debug)]
pub struct Trouble<R = Unread> {
    reason: Option<R>,
    is_reported: bool,
    /// How long after one beginning was reported the next may be, and when that was.
    interval: Duration,
    last: Option<Instant>,
}

impl<R> Default for Trouble<R> {
    fn default() -> Trouble<R> {
        Trouble {
            reason: None,
            is_reported: false,
            interval: Duration::ZERO,
            last: None,
        }
    }
}

impl<R: Copy> Trouble<R> {
    /// One that is not there, and of which no more than one beginning is reported in a
    /// minute: nor the end of one that was not.
    pub fn paced() -> Trouble<R> {
        Trouble {
            interval: REPORT_INTERVAL,
            ..Trouble::default()
        }
    }

    /// A trouble that is there and that nobody is told of unless it stays.
    pub fn unreported(reason: R) -> Trouble<R> {
        Trouble {
            reason: Some(reason),
            ..Trouble::default()
        }
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        self.reason.is_some()
    }

    /// What it is, if it is there.
    pub fn reason(&self) -> Option<R> {
        self.reason
    }

    /// Whether its message is still to be kept, and it is time for it.
    pub fn is_to_be_reported(&self) -> bool {
        self.is_there() && !self.is_reported && self.is_due(Instant::now())
    }

    /// The same, or that of its end, of one that never rests.
    pub fn has_news(&self) -> bool {
        self.is_to_be_reported() || (!self.is_there() && self.is_reported)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.last
            .is_none_or(|last| now.duration_since(last) >= self.interval)
    }

    /// It is there. `report` is called unless it was reported, and returns whether the
    /// message was kept.
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

    /// It is over for now, and should it come back, that is no news.
    pub fn rest(&mut self) {
        self.reason = None;
    }

    /// It is over. `report` is called if its beginning was reported.
    pub fn end(&mut self, report: impl FnOnce() -> bool) {
        self.reason = None;
        if self.is_reported && report() {
            self.is_reported = false;
        }
    }
}

#[cfg(test)]
mod tests {
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
        // One that stays is reported as soon as it is time.
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
