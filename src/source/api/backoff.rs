//! Computes the wait before the next attempt. Owns no clock.

use std::time::Duration;

/// The wait after a first failure.
const FIRST: Duration = Duration::from_millis(100);

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
