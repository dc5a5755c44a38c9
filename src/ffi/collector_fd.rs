//! The descriptor that the host polls for an instance.
//!
//! If the host cannot watch it (`collector_start` in its `flb_input.c`: epoll is out of memory
//! or of watches), it *closes* it without notice and goes on. The number is then free and soon
//! reused: a waker written to through it would write into an unrelated file, and our own close
//! at exit would close that file. The host therefore gets a duplicate through which we never
//! read or write, and which we close only while it is still ours.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::OFlags;

/// No descriptor: it was closed.
const NONE: RawFd = -1;

/// A duplicate, for the host, of the descriptor that it watches for an instance.
#[derive(Debug)]
pub struct CollectorFd(AtomicI32);

/// Who closed the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It was still ours when we closed it.
    ByUs,
    /// The host had closed it, so nothing was ever handed over.
    ByHost,
}

impl CollectorFd {
    /// Duplicates `waker`.
    pub fn new(waker: BorrowedFd<'_>) -> std::io::Result<CollectorFd> {
        let duplicate = rustix::io::fcntl_dupfd_cloexec(waker, 0)?;
        Ok(CollectorFd(AtomicI32::new(duplicate.into_raw_fd())))
    }

    /// The number to pass to the host.
    pub fn number(&self) -> RawFd {
        self.0.load(Ordering::Acquire)
    }

    /// Closes it, unless the host has. `waker` is the descriptor passed to `new`.
    pub fn close(&self, waker: BorrowedFd<'_>) -> Closed {
        let number = self.0.swap(NONE, Ordering::AcqRel);
        if !is_duplicate(number, waker) {
            return Closed::ByHost;
        }
        // SAFETY: this is the duplicate made by `new`; nobody has closed it, and nobody else
        // will, since `self` no longer holds it.
        unsafe { libc::close(number) };
        Closed::ByUs
    }
}

/// Whether `number` refers to the same open file as `waker`. Status flags belong to the open
/// file, so a change made through one number is visible through the other. `O_APPEND` has no
/// effect on this kind of descriptor.
fn is_duplicate(number: RawFd, waker: BorrowedFd<'_>) -> bool {
    let Ok(flags) = rustix::fs::fcntl_getfl(waker) else {
        return false;
    };
    let shows = |flags: OFlags| {
        rustix::fs::fcntl_setfl(waker, flags).is_ok()
            && is_appending(number) == Some(flags.contains(OFlags::APPEND))
    };
    number != waker.as_raw_fd() && shows(flags ^ OFlags::APPEND) & shows(flags)
}

fn is_appending(number: RawFd) -> Option<bool> {
    // SAFETY: F_GETFL may be called with any number; a closed one returns an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    (flags >= 0).then_some(flags & libc::O_APPEND != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::waker::Waker;
    use std::os::fd::AsFd;

    #[test]
    fn a_duplicate_is_closed_once_and_one_that_the_host_closed_is_left_alone() {
        let (waker, other) = (Waker::new().unwrap(), Waker::new().unwrap());
        let flags = rustix::fs::fcntl_getfl(&waker).unwrap();
        let ours = CollectorFd::new(waker.as_fd()).unwrap();
        assert!(is_duplicate(ours.number(), waker.as_fd()));
        assert!(
            !is_duplicate(other.as_fd().as_raw_fd(), waker.as_fd()),
            "another waker is another file"
        );
        assert_eq!(ours.close(waker.as_fd()), Closed::ByUs);
        assert_eq!(
            ours.close(waker.as_fd()),
            Closed::ByHost,
            "there is nothing to close any more"
        );
        // The host closed it, and the number was reused.
        let lost = CollectorFd(AtomicI32::new(other.as_fd().as_raw_fd()));
        assert_eq!(lost.close(waker.as_fd()), Closed::ByHost);
        assert!(
            is_appending(other.as_fd().as_raw_fd()).is_some(),
            "his descriptor is still open"
        );
        assert_eq!(
            rustix::fs::fcntl_getfl(&waker).unwrap(),
            flags,
            "the flags are as they were"
        );
    }
}
