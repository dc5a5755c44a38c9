//! `Rate_Limit`: how fast one container's log is read. Drops nothing: unread data stays in the
//! files. The time is an argument.

use std::io;
use std::time::{Duration, Instant};

use crate::source::file::feed::ReadContext;
use crate::source::file::tailer::{Step, Tailer};

/// The longest wait that a limit causes.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A limit on the average read rate, in bytes per second. Each read is followed by a wait in
/// proportion to its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateLimit {
    /// Zero means no limit.
    bytes_per_second: u64,
    /// Nothing is read before this time.
    due: Option<Instant>,
}

impl RateLimit {
    /// Creates a limit with nothing read yet.
    pub fn new(bytes_per_second: u64) -> RateLimit {
        RateLimit {
            bytes_per_second,
            due: None,
        }
    }

    /// Changes the limit. Earlier reads still count, unless the limit is zero.
    pub fn set(&mut self, bytes_per_second: u64) {
        self.bytes_per_second = bytes_per_second;
        if bytes_per_second == 0 {
            self.due = None;
        }
    }

    /// Whether there is a limit.
    pub fn is_on(&self) -> bool {
        self.bytes_per_second > 0
    }

    /// Returns when reading may continue, or `None` if it may now.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.due.filter(|due| *due > now)
    }

    /// Reads a slice of a log and records how much it was.
    pub(in crate::source) fn read_slice(
        &mut self,
        tailer: &mut Tailer,
        context: &mut ReadContext<'_>,
    ) -> io::Result<Step> {
        if !self.is_on() {
            return tailer.read_slice(context);
        }
        let before = tailer.account().figures().read.bytes;
        let step = tailer.read_slice(context);
        let bytes = tailer.account().figures().read.bytes - before;
        self.has_read(bytes, context.now);
        step
    }

    /// Records that `bytes` were read.
    pub fn has_read(&mut self, bytes: u64, now: Instant) {
        if self.bytes_per_second == 0 || bytes == 0 {
            return;
        }
        let seconds = bytes as f64 / self.bytes_per_second as f64;
        let wait = Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64()));
        let from = self.due.map_or(now, |due| due.max(now));
        self.due = from.checked_add(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_than_the_limit_is_read() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1000);
        let mut now = start;
        let mut read = 0;
        while now < start + Duration::from_secs(100) {
            match limit.waits_until(now) {
                Some(due) => now = due,
                None => {
                    limit.has_read(2500, now);
                    read += 2500;
                }
            }
        }
        assert_eq!(read, 100_000);
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1000);
        limit.has_read(1000, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(limit.waits_until(later), None);
        limit.has_read(500, later);
        assert_eq!(
            limit.waits_until(later),
            Some(later + Duration::from_millis(500))
        );
    }

    #[test]
    fn without_a_limit_nothing_waits_and_a_lifted_one_ends_the_wait() {
        let now = Instant::now();
        let mut limit = RateLimit::default();
        limit.has_read(u64::MAX, now);
        assert_eq!(limit.waits_until(now), None);
        limit.set(1);
        limit.has_read(u64::MAX, now);
        assert_eq!(limit.waits_until(now), Some(now + LONGEST_WAIT));
        limit.set(0);
        assert_eq!(limit.waits_until(now), None);
    }
}
