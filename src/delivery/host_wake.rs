//! What wakes the host's thread: a waker, and a timer that fires every few seconds, or many
//! times a second while the host refuses something or is full, independently of the reader. The host
//! watches one descriptor, so both are added to an epoll instance, which is readable when
//! either of them is.

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

/// Interval of the timer.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Interval of the timer while the host refuses something.
pub const RETRY: Duration = Duration::from_millis(100);

/// The descriptor that the host watches.
#[derive(Debug)]
pub struct HostWake {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the interval ends, or slightly earlier.
    next: Mutex<Instant>,
    /// Whether the timer is set to fire early, to retry the host.
    is_early: AtomicBool,
}

impl HostWake {
    /// Readable whenever `waker`, a waker's descriptor, is, and after each interval.
    pub fn new(waker: BorrowedFd<'_>) -> Result<HostWake, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        for (number, fd) in [waker, timer.as_fd()].into_iter().enumerate() {
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

    /// Returns whether the interval has ended and, if so, starts the next one. Makes no system
    /// call otherwise.
    pub fn is_time(&self, now: Instant) -> bool {
        let is_time = now >= *lock(&self.next);
        if is_time {
            // The timer was set before, so the only possible error is a bad descriptor.
            let _ = self.set(INTERVAL);
        }
        is_time
    }

    /// Makes the timer fire after `early`, in addition to the interval, if the host is to be
    /// retried, which then works without a live reader. Call it after each wake-up. Makes no
    /// system call if the host neither is nor was to be retried.
    pub fn ask_again(&self, early: Option<Duration>) {
        if early.is_some() || self.is_early.load(Ordering::Relaxed) {
            self.is_early.store(early.is_some(), Ordering::Relaxed);
            let rest = lock(&self.next).saturating_duration_since(Instant::now());
            let delay = early.map_or(rest, |early| rest.min(early));
            // As in `is_time`. Zero would disarm the timer.
            let _ = self.arm(delay.max(Duration::from_millis(1)));
        }
    }

    /// Ends the interval now, for tests.
    #[cfg(test)]
    pub fn expire(&self) {
        *lock(&self.next) = Instant::now();
    }

    /// Disarms the timer until the next call of [`HostWake::is_time`]: only the waker wakes
    /// the host.
    pub fn stop(&self) {
        let _ = self.set(Duration::ZERO);
    }

    /// Arms the timer to fire once after `delay`; zero disarms it. The descriptor is not
    /// readable until then.
    fn set(&self, delay: Duration) -> Result<(), Errno> {
        // Computed first, so that it is past when the timer fires.
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
        let waker = Waker::new().unwrap();
        let wake = HostWake::new(waker.as_fd()).unwrap();
        let next = *lock(&wake.next);
        for _ in 0..3 {
            wake.ask_again(Some(RETRY));
            assert!(!is_readable_within(&wake, 0));
            assert!(is_readable_within(&wake, 2_000));
            assert!(!wake.is_time(Instant::now()));
        }
        wake.ask_again(None);
        assert!(!is_readable_within(&wake, 300));
        assert_eq!(*lock(&wake.next), next);
        // The interval ends during the retries.
        wake.expire();
        wake.ask_again(Some(RETRY));
        assert!(is_readable_within(&wake, 2_000) && wake.is_time(Instant::now()));
        assert!(!is_readable_within(&wake, 0));
    }

    #[test]
    fn the_bell_wakes_and_the_timer_does_without_it() {
        let waker = Waker::new().unwrap();
        let wake = HostWake::new(waker.as_fd()).unwrap();
        assert!(!is_readable_within(&wake, 0));
        waker.wake();
        assert!(is_readable_within(&wake, 0));
        assert!(!wake.is_time(Instant::now()));
        waker.clear();
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
