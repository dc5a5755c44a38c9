//! Whether the daemon answers, and how long to wait before the next attempt if it does not.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

/// The wait after a first failure.
const FIRST: Duration = Duration::from_millis(100);

/// Whether the daemon answers, by what became of all requests.
pub struct Reachability {
    is_reachable: Cell<Option<bool>>,
    last_answer: Cell<Option<Instant>>,
    /// Notified when the daemon answers again.
    is_back: Notify,
    report: Box<dyn Fn(Result<(), String>)>,
}

impl Reachability {
    /// Not known yet. `report` is called on each change, with the reason if the daemon does not
    /// answer.
    pub fn new(report: impl Fn(Result<(), String>) + 'static) -> Reachability {
        Reachability {
            is_reachable: Cell::new(None),
            last_answer: Cell::new(None),
            is_back: Notify::new(),
            report: Box::new(report),
        }
    }

    /// Records that the daemon has answered, even with an error.
    pub fn note_answer(&self) {
        self.last_answer.set(Some(Instant::now()));
        if self.is_reachable.replace(Some(true)) != Some(true) {
            (self.report)(Ok(()));
            self.is_back.notify_waiters();
        }
    }

    /// Records that a request begun at `begun` got no answer. If another one was answered in
    /// the meantime, only this request is affected.
    pub fn note_silence(&self, begun: Instant, reason: &str) {
        if self.last_answer.get().is_some_and(|answer| answer >= begun) {
            return;
        }
        if self.is_reachable.replace(Some(false)) != Some(false) {
            (self.report)(Err(reason.to_owned()));
        }
    }

    /// Waits before another attempt, but not longer than until an unreachable daemon answers
    /// another request.
    pub async fn pause(&self, wait: Duration) {
        let _ = timeout(wait, self.is_back.notified()).await;
    }
}

/// A wait that doubles with each consecutive failure.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    /// Creates a back-off that never exceeds `most`.
    pub fn up_to(most: Duration) -> Backoff {
        Backoff { next: FIRST, most }
    }

    /// Returns the wait after one more failure.
    pub fn after_failure(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        wait
    }

    /// Resets the wait after a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_starts_anew_after_a_success() {
        let mut backoff = Backoff::up_to(Duration::from_secs(10));
        let waits: Vec<u128> = (0..9)
            .map(|_| backoff.after_failure().as_millis())
            .collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        backoff.reset();
        assert_eq!(backoff.after_failure(), FIRST);
    }
}
