//! Signs of life that do not depend on the reader: a reader blocked in a file system publishes
//! nothing, so the host's thread reports when it was last active.

use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

const NO_DB: u8 = 0;
const DB_WRITABLE: u8 = 1;
const DB_FAILS: u8 = 2;

/// State that each thread leaves for the other, without locks.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// Milliseconds from `started` to the start of the reader's last turn; `u64::MAX` once the
    /// reader has ended.
    last_turn: AtomicU64,
    db: AtomicU8,
}

impl Default for Health {
    /// For an instance that starts now; the start counts as a turn.
    fn default() -> Health {
        Health {
            started: Instant::now(),
            last_turn: AtomicU64::new(0),
            db: AtomicU8::new(NO_DB),
        }
    }
}

impl Health {
    /// For an instance whose reader made its last turn `seconds` ago.
    #[cfg(test)]
    pub fn as_of(seconds: u64) -> Health {
        Health {
            started: Instant::now() - Duration::from_secs(seconds),
            ..Health::default()
        }
    }

    /// The reader starts a turn.
    pub fn turn(&self) {
        let since_start = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_turn.store(since_start, Ordering::Relaxed);
    }

    /// The reader has ended normally: no further turn is due, and the age stays 0.
    pub fn end(&self) {
        self.last_turn.store(u64::MAX, Ordering::Relaxed);
    }

    /// Time since the reader's last turn; zero if none is due.
    pub fn since_last_turn(&self) -> Duration {
        let last_turn = Duration::from_millis(self.last_turn.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last_turn)
    }

    /// Sets whether offsets could be written to the DB.
    pub fn set_db_writable(&self, is_writable: bool) {
        self.db.store(
            if is_writable { DB_WRITABLE } else { DB_FAILS },
            Ordering::Relaxed,
        );
    }

    /// Whether offsets can be written; `None` without a DB.
    pub fn is_db_writable(&self) -> Option<bool> {
        let db = self.db.load(Ordering::Relaxed);
        (db != NO_DB).then_some(db == DB_WRITABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_turn_grows_without_the_reader() {
        let health = Health::as_of(100);
        assert!(health.since_last_turn() >= Duration::from_secs(100));
        health.turn();
        assert!(health.since_last_turn() < Duration::from_secs(90));
    }

    #[test]
    fn a_reader_that_has_ended_in_order_is_not_overdue() {
        let health = Health::as_of(100);
        health.end();
        assert_eq!(health.since_last_turn(), Duration::ZERO);
    }

    #[test]
    fn without_a_db_there_is_nothing_to_say_of_it() {
        let health = Health::default();
        assert_eq!(health.is_db_writable(), None);
        for is_writable in [true, false, true] {
            health.set_db_writable(is_writable);
            assert_eq!(health.is_db_writable(), Some(is_writable));
        }
    }
}
