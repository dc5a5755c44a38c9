//! What wakes the host's thread: the bell, and every few seconds a timer, which does not
//! depend on the reader. The host watches one descriptor, so both are behind an epoll
//! instance, which itself is readable when one of them is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};

use crate::lock::lock;

/// Time between two wake-ups by the timer.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// The descriptor that the host watches.
#[derive(Debug)]
pub struct HostWake {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer fires, or a moment before.
    next: Mutex<Instant>,
}

impl HostWake {
    /// Readable when `bell` is, and after each interval.
    pub fn new(bell: BorrowedFd<'_>) -> Result<HostWake, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        for (number, fd) in [bell, timer.as_fd()].into_iter().enumerate() {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        }
        let wake = HostWake { epoll, timer, next: Mutex::new(Instant::now()) };
        wake.set(INTERVAL)?;
        Ok(wake)
    }

    /// Whether the interval is over; then the next one begins. Costs no system call
    /// while it is not.
    pub fn is_time(&self, now: Instant) -> bool {
        let is_time = now >= *lock(&self.next);
        if is_time {
            // It was set before: the only failure is a bad descriptor.
            let _ = self.set(INTERVAL);
        }
        is_time
    }

    /// The interval is over, as a test wants it.
    #[cfg(test)]
    pub fn expire(&self) {
        *lock(&self.next) = Instant::now();
    }

    /// Only the bell wakes the host from now on.
    pub fn stop(&self) {
        let _ = self.set(Duration::ZERO);
    }

    /// Fires after `delay`, once; never if that is zero. Not readable until then.
    fn set(&self, delay: Duration) -> Result<(), Errno> {
        // Taken first, so that it is past when the timer fires.
        *lock(&self.next) = Instant::now() + delay;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        let it_value = Timespec { tv_sec: seconds, tv_nsec: i64::from(delay.subsec_nanos()) };
        let timer = Itimerspec { it_interval: never, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer).map(drop)
    }
}

impl AsFd for HostWake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{poll, PollFd, PollFlags};

    use super::*;
    use crate::exchange::Bell;

    fn is_readable_within(wake: &HostWake, milliseconds: i64) -> bool {
        let time = Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
        poll(&mut [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)], Some(&time)).unwrap() > 0
    }

    #[test]
    fn the_bell_wakes_and_the_timer_does_without_it() {
        let bell = Bell::new().unwrap();
        let wake = HostWake::new(bell.as_fd()).unwrap();
        assert!(!is_readable_within(&wake, 0));
        bell.ring();
        assert!(is_readable_within(&wake, 0));
        assert!(!wake.is_time(Instant::now()));
        bell.silence();
        assert!(!is_readable_within(&wake, 0));
        wake.set(Duration::from_millis(1)).unwrap();
        assert!(is_readable_within(&wake, 10_000));
        assert!(wake.is_time(Instant::now()), "never readable before it is time: the host would spin");
        assert!(!is_readable_within(&wake, 0), "the next interval has begun");
        wake.set(Duration::from_millis(1)).unwrap();
        wake.stop();
        assert!(!is_readable_within(&wake, 20));
    }
}
