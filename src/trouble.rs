//! A trouble that lasts: it is reported once when it begins, and once when it is over.
//!
//! That it is there and that it was reported are two things: a message for which there
//! was no room in the queue of events is tried again at the next occasion, and until then
//! the trouble does not count as reported.

use crate::metrics::Unread;

/// Something that keeps a container or a folder from being read, or the like.
#[derive(Debug)]
pub struct Trouble<R = Unread> {
    reason: Option<R>,
    is_reported: bool,
}

impl<R> Default for Trouble<R> {
    fn default() -> Trouble<R> {
        Trouble { reason: None, is_reported: false }
    }
}

impl<R: Copy> Trouble<R> {
    /// A trouble that is there and that nobody is told of unless it stays.
    pub fn unreported(reason: R) -> Trouble<R> {
        Trouble { reason: Some(reason), is_reported: false }
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        self.reason.is_some()
    }

    /// What it is, if it is there.
    pub fn reason(&self) -> Option<R> {
        self.reason
    }

    /// Whether its message is still to be kept.
    pub fn is_to_be_reported(&self) -> bool {
        self.is_there() && !self.is_reported
    }

    /// It is there. `report` is called unless it was reported, and returns whether the
    /// message was kept.
    pub fn begin(&mut self, reason: R, report: impl FnOnce() -> bool) {
        self.reason = Some(reason);
        if !self.is_reported {
            self.is_reported = report();
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
}
