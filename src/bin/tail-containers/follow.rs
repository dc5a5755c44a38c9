//! Runs the library until everything is read or somebody ends it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use fluent_bit_container_logs::delivery::host::Host;
use fluent_bit_container_logs::delivery::waker::Waker;
use fluent_bit_container_logs::ffi::signals::with_signals_blocked;
use fluent_bit_container_logs::plugin::Plugin;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::BorrowedFd;

use crate::arguments::Arguments;

/// Ends a loop, by Ctrl-C, SIGTERM or a key, or wakes it.
#[derive(Clone)]
pub struct Stop {
    waker: Arc<Waker>,
    is_asked: Arc<AtomicBool>,
}

impl Stop {
    /// One that a signal sets. There can be only one.
    pub fn at_signal() -> io::Result<Stop> {
        let stop = Stop {
            waker: Arc::new(Waker::new()?),
            is_asked: Arc::default(),
        };
        let set = stop.clone();
        ctrlc::set_handler(move || set.now()).map_err(io::Error::other)?;
        Ok(stop)
    }

    /// Ends the loop.
    pub fn now(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the loop is to end.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// Lets the loop go round once.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Waits until it is woken, `host_fd` is readable, or the time is over.
    pub fn wait(&self, host_fd: Option<BorrowedFd<'_>>, time: Option<Duration>) -> io::Result<()> {
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = vec![PollFd::new(&*self.waker, PollFlags::IN)];
        fds.extend(host_fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // What woke it is looked at after this.
        self.waker.clear();
        Ok(())
    }
}

/// Reads for `host` until everything is read or `stop` says so. `look` is called after
/// each hand-over and returns the longest time until its next call.
pub fn follow(
    arguments: &Arguments,
    host: &dyn Host,
    stop: &Stop,
    mut look: impl FnMut(&Plugin, bool) -> io::Result<Option<Duration>>,
) -> io::Result<()> {
    let config = arguments.config().map_err(io::Error::other)?;
    let plugin = with_signals_blocked(|| Plugin::start(config)).map_err(io::Error::other)?;
    let result = loop {
        plugin.drain(host);
        let is_last = plugin.is_done() || stop.is_asked();
        let wait = match look(&plugin, is_last) {
            Ok(_) if is_last => break Ok(()),
            Ok(wait) => wait,
            Err(error) => break Err(error),
        };
        if let Err(error) = stop.wait(Some(plugin.host_fd()), wait) {
            break Err(error);
        }
    };
    plugin.stop(host);
    result
}
