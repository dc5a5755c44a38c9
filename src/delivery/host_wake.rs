//! What wakes the host's thread: the bell, and every few seconds a timer, many times a
//! second while the host refuses something; it does not depend on the reader. The host
//! watches one descriptor, so both are behind an epoll instance, which itself is readable
//! when one of them is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags,
    Timespec,
};

use crate::lock::lock;

/// Time between two wake-ups by the timer.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Time between two wake-ups while the host refuses something.
pub const RETRY: Duration = Duration::from_millis(100);

/// The descriptor that the host watches.
#[derive(Debug)]
pub struct HostWake {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the interval is over, or a moment before.
    next: Mutex<Instant>,
    /// The timer fires earlier, to ask the host again.
    is_early: AtomicBool,
}

impl HostWake {
    /// Readable when `bell` is, and after each interval.
    pub fn new(bell: BorrowedFd<'_>) -> Result<HostWake, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        for (number, fd) in [bell, timer.as_fd()].into_iter().enumerate() {
            epoll::add(
                &epoll,
                fd,
                epoll::EventData::new_u64(number as u64),
                epoll::EventFlags::IN,
            )?;
        }
        let (next, is_early) = (Mutex::new(Instant::now()), AtomicBool::new(false));
        let wake = HostWake {
            epoll,
            timer,
            next,
            is_early,
        };
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

    /// Fires soon, beside the interval, where the host `is_to_be_asked` again: no reader
    /// has to live for that. To be called after each wake-up. Costs no system call where
    /// nothing changes.
    pub fn ask_again(&self, is_to_be_asked: bool) {
        if is_to_be_asked || self.is_early.load(Ordering::Relaxed) {
            self.is_early.store(is_to_be_asked, Ordering::Relaxed);
            let rest = lock(&self.next).saturating_duration_since(Instant::now());
            let delay = if is_to_be_asked {
                rest.min(RETRY)
            } else {
                rest
            };
            // As in `is_time`. Zero would mean never.
            let _ = self.arm(delay.max(Duration::from_millis(1)));
        }
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
        self.arm(delay)
    }

    fn arm(&self, delay: Duration) -> Result<(), Errno> {
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        let it_value = Timespec {
            tv_sec: seconds,
            tv_nsec: i64::from(delay.subsec_nanos()),
        };
        let timer = Itimerspec {
            it_interval: never,
            it_value,
        };
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
    use crate::delivery::waker::Waker;

    fn is_readable_within(wake: &HostWake, milliseconds: i64) -> bool {
        let time = Timespec {
            tv_sec: milliseconds / 1000,
            tv_nsec: milliseconds % 1000 * 1_000_000,
        };
        poll(
            &mut [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)],
            Some(&time),
        )
        .unwrap()
            > 0
    }

    #[test]
    fn while_the_host_is_to_be_asked_again_the_timer_fires_soon_and_the_interval_stays() {
        let bell = Waker::new().unwrap();
        let wake = HostWake::new(bell.as_fd()).unwrap();
        let next = *lock(&wake.next);
        for _ in 0..3 {
            wake.ask_again(true);
            assert!(!is_readable_within(&wake, 0));
            assert!(is_readable_within(&wake, 2_000));
            assert!(!wake.is_time(Instant::now()));
        }
        wake.ask_again(false);
        assert!(!is_readable_within(&wake, 300));
        assert_eq!(*lock(&wake.next), next);
        // The interval is over in the midst of it.
        wake.expire();
        wake.ask_again(true);
        assert!(is_readable_within(&wake, 2_000) && wake.is_time(Instant::now()));
        assert!(!is_readable_within(&wake, 0));
    }

    #[test]
    fn the_bell_wakes_and_the_timer_does_without_it() {
        let bell = Waker::new().unwrap();
        let wake = HostWake::new(bell.as_fd()).unwrap();
        assert!(!is_readable_within(&wake, 0));
        bell.wake();
        assert!(is_readable_within(&wake, 0));
        assert!(!wake.is_time(Instant::now()));
        bell.clear();
        assert!(!is_readable_within(&wake, 0));
        wake.set(Duration::from_millis(1)).unwrap();
        assert!(is_readable_within(&wake, 10_000));
        assert!(
            wake.is_time(Instant::now()),
            "never readable before it is time: the host would spin"
        );
        assert!(!is_readable_within(&wake, 0), "the next interval has begun");
        wake.set(Duration::from_millis(1)).unwrap();
        wake.stop();
        assert!(!is_readable_within(&wake, 20));
    }
}
