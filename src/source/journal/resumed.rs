//! A scan that is opened again after a failure. Pure but for the scan.

use std::time::{Duration, Instant};

use crate::delivery::checkpoint::JournalPlace;
use crate::source::journal::scan::{GivenUp, Scan};

/// How long to wait after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A scan, and where it is to be opened again.
#[derive(Default)]
pub(super) struct Resumed {
    pub scan: Option<Scan>,
    /// Where it is to be opened again.
    pub at: Option<JournalPlace>,
    /// Failures since the last entry that could be read.
    failures: u32,
    /// The entry whose fields could not be read then.
    failed: Option<JournalPlace>,
    /// Not before this time.
    pub retry: Option<Instant>,
    /// When it was opened again at once.
    reopened: Option<Instant>,
}

impl Resumed {
    /// Notes how far it came.
    pub fn note_place(&mut self) {
        let at = self.scan.as_ref().and_then(Scan::at);
        if at.is_some() && at != self.at {
            (self.at, self.failures) = (at, 0);
        }
    }

    /// Notes that it failed; returns whether it may be opened again at once. What is left of a
    /// removed file reads as zeros until its removal is noticed, which is no trouble.
    pub fn note_failure(&mut self, now: Instant) -> bool {
        self.note_place();
        self.failed = self.scan.take().as_ref().and_then(Scan::failed);
        self.failures += 1;
        let is_long_ago = |at| now.duration_since(at) >= RETRY_INTERVAL;
        let may_reopen = self.failures == 1 && self.reopened.is_none_or(is_long_ago);
        match may_reopen {
            true => self.reopened = Some(now),
            false => self.retry = Some(now + RETRY_INTERVAL),
        }
        may_reopen
    }

    /// What could not be read twice is not tried again. The first failure may have passed, and what
    /// was removed meanwhile is not there any more.
    pub fn given_up(&self) -> GivenUp {
        let is_twice = self.failures >= 2;
        GivenUp {
            entry: self.failed.filter(|_| is_twice),
            without_place: is_twice,
        }
    }
}
