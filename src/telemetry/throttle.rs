//! Keeps the log short: messages that are logged once, or at most once a minute. In both cases
//! a message counts only if the event queue had room for it; otherwise it is tried again.

use std::time::{Duration, Instant};

use crate::telemetry::figures::Amount;

/// A message that is logged once.
#[derive(Debug, Default)]
pub struct Once {
    is_reported: bool,
}

impl Once {
    /// Calls `report` until it returns that the message was kept.
    pub fn report(&mut self, report: impl FnOnce() -> bool) {
        if !self.is_reported {
            self.is_reported = report();
        }
    }
}

/// Least time between two messages about the same thing.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Rate-limits the messages about one kind of loss and sums up the losses in between.
#[derive(Debug, Default)]
pub struct Paced {
    /// Boxed, since each container has many and hardly ever loses anything.
    losses: Option<Box<Losses>>,
}

#[derive(Debug, Default)]
struct Losses {
    /// The time of the last message.
    last: Option<Instant>,
    unsaid: Amount,
}

impl Paced {
    /// Adds a loss. If a message is due, calls `report` with the total since the last message;
    /// `report` returns whether the message was kept. If not, the next one includes the loss.
    pub fn add(&mut self, amount: Amount, now: Instant, report: impl FnOnce(Amount) -> bool) {
        let losses = self.losses.get_or_insert_default();
        losses.unsaid += amount;
        let is_early = losses
            .last
            .is_some_and(|last| now.duration_since(last) < REPORT_INTERVAL);
        if !is_early && report(losses.unsaid) {
            losses.last = Some(now);
            losses.unsaid = Amount::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(bytes: u64, records: u64) -> Amount {
        Amount { bytes, records }
    }

    #[test]
    fn what_is_logged_once_is_tried_until_it_is_kept() {
        let (mut once, mut calls) = (Once::default(), 0);
        for is_kept in [false, false, true, true] {
            once.report(|| {
                calls += 1;
                is_kept
            });
        }
        assert_eq!(calls, 3);
    }

    #[test]
    fn losses_of_one_kind_are_said_now_and_then_and_none_is_left_out() {
        let mut paced = Paced::default();
        let start = Instant::now();
        let mut said = |loss, after, is_kept| {
            let mut said = None;
            paced.add(loss, start + after, |amount| {
                said = Some(amount);
                is_kept
            });
            said
        };
        assert_eq!(
            said(amount(10, 1), Duration::ZERO, true),
            Some(amount(10, 1))
        );
        assert_eq!(said(amount(5, 1), Duration::from_secs(1), true), None);
        assert_eq!(said(amount(6, 1), Duration::from_secs(2), true), None);
        assert_eq!(
            said(amount(1, 1), REPORT_INTERVAL, false),
            Some(amount(12, 3)),
            "no room for it"
        );
        assert_eq!(
            said(amount(1, 1), REPORT_INTERVAL, true),
            Some(amount(13, 4))
        );
    }
}
