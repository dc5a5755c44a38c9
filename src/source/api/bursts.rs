//! Pauses of the Docker thread while logs are written, so that one wake-up serves many frames.
//!
//! The daemon sends each entry with a write of its own. A thread that reads again at once receives
//! them one by one, and each is a batch that wakes the host's thread, too, which takes many times
//! as long as decoding it. So, before it waits, the thread sleeps for about as long as 4 KiB take
//! to arrive, and at most 8 ms. A timer of the runtime would not do, since each frame would still
//! wake the thread. An entry after a silence is read at once.
//!
//! A sender is not held up: a Unix socket has room for about 280 frames however short they are,
//! which are 11 KB or more, so the pause becomes shorter long before the socket is full.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// A pause during which this many bytes of a body arrived was long enough.
const ENOUGH: usize = 4 * 1024;

/// The shortest pause. Below it, a wake-up costs less than the processor time that it saves.
const SHORTEST: Duration = Duration::from_micros(500);

/// The longest pause. A burst this long after the last one is the first of a flow.
const LONGEST: Duration = Duration::from_millis(8);

/// The bursts since the thread last waited, and its pauses.
#[derive(Debug, Default)]
pub struct Bursts {
    /// The largest burst of any body, in bytes; 0 if nothing arrived.
    largest: AtomicUsize,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    pause: Duration,
    /// When the last burst had been handled and its pause was over.
    last: Option<Instant>,
}

impl Bursts {
    /// Records that `bytes` of a body were handled without waiting for more.
    pub fn note(&self, bytes: usize) {
        self.largest.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Sleeps if logs are being written. Called on the thread before it waits.
    pub fn pause(&self) {
        let largest = self.largest.swap(0, Ordering::Relaxed);
        if largest == 0 {
            return;
        }
        let mut pace = lock(&self.pace);
        let pause = pace.after_burst(largest, Instant::now());
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        pace.last = Some(Instant::now());
    }
}

impl Pace {
    /// How long to sleep after a burst of `bytes`: twice as long as before if it was small, half as
    /// long if it was not, and not at all after a silence.
    fn after_burst(&mut self, bytes: usize, now: Instant) -> Duration {
        let is_flow = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < LONGEST);
        self.pause = match is_flow {
            false => Duration::ZERO,
            true if bytes < ENOUGH => (self.pause * 2).clamp(SHORTEST, LONGEST),
            true => (self.pause / 2).max(SHORTEST),
        };
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(pause: Duration) -> f64 {
        pause.as_secs_f64() * 1e3
    }

    #[test]
    fn a_pause_grows_with_small_bursts_and_shrinks_with_large_ones() {
        let start = Instant::now();
        let mut pace = Pace {
            last: Some(start),
            ..Pace::default()
        };
        let mut after = |bytes| millis(pace.after_burst(bytes, start));
        let growing: Vec<f64> = (0..6).map(|_| after(ENOUGH - 1)).collect();
        assert_eq!(growing, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]);
        let shrinking: Vec<f64> = (0..5).map(|_| after(ENOUGH)).collect();
        assert_eq!(shrinking, [4.0, 2.0, 1.0, 0.5, 0.5]);
    }

    #[test]
    fn a_burst_after_a_silence_is_not_followed_by_a_pause() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.after_burst(1, start), Duration::ZERO);
        pace.last = Some(start);
        assert_eq!(pace.after_burst(1, start + LONGEST / 2), SHORTEST);
        assert_eq!(pace.after_burst(1, start + LONGEST), Duration::ZERO);
    }

    #[test]
    fn nothing_that_arrived_is_no_burst() {
        let bursts = Bursts::default();
        bursts.pause();
        assert_eq!(lock(&bursts.pace).last, None);
        bursts.note(7);
        bursts.pause();
        assert!(lock(&bursts.pace).last.is_some());
        assert_eq!(bursts.largest.load(Ordering::Relaxed), 0);
    }
}
