//! The threads of one instance (I5). The instance ends all of them, whoever started them: the
//! reader normally ends the threads it started, but cannot while it is blocked in a call into
//! an unresponsive file system.

use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::time::{clock_gettime, ClockId, Timespec};

use crate::lock::lock;

/// CPU time of this thread. Unlike elapsed time, it does not grow while other processes run.
pub fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or(0),
        u32::try_from(tv_nsec).unwrap_or(0),
    )
}

/// A thread that one thread starts and another may end.
pub trait EndThread: Send + Sync {
    /// Asks the thread to end and waits up to `patience`. Returns whether it has ended.
    fn end(&self, patience: Duration) -> bool;
}

/// A running thread and a channel that signals its end.
#[derive(Debug)]
pub struct OwnedThread {
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    /// Disconnected once the thread has dropped everything it owned.
    ended: Receiver<()>,
}

impl OwnedThread {
    /// Runs `body`, which must catch its own panics, on a new thread that inherits the
    /// caller's signal mask.
    pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<OwnedThread> {
        let (alive, ended) = channel::<()>();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            body();
            drop(alive);
        })?;
        Ok(OwnedThread {
            running: Mutex::new(Some(Running { thread, ended })),
        })
    }

    /// Waits up to `patience` for the thread to end. Returns whether it has ended.
    pub fn ends_within(&self, patience: Duration) -> bool {
        let Some(running) = lock(&self.running).take() else {
            return true;
        };
        if running.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            *lock(&self.running) = Some(running);
            return false;
        }
        let _ = running.thread.join();
        true
    }

    /// Waits for the thread to end, without a time limit.
    pub fn join(&self) {
        let running = lock(&self.running).take();
        if let Some(Running { thread, .. }) = running {
            let _ = thread.join();
        }
    }
}

/// The threads started by the reader that are still alive.
#[derive(Default)]
pub struct Threads {
    register: Mutex<Register>,
}

#[derive(Default)]
struct Register {
    is_closed: bool,
    /// A dangling entry belongs to a thread that the reader has ended itself.
    threads: Vec<Weak<dyn EndThread>>,
}

impl Threads {
    /// Starts a thread; an error if the instance is stopping. The caller owns the thread and
    /// ends it when dropping it.
    pub fn start<T: EndThread + 'static>(
        &self,
        start: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Arc<T>> {
        let mut register = lock(&self.register);
        if register.is_closed {
            return Err(io::Error::other("the input is stopping"));
        }
        let thread = Arc::new(start()?);
        register.threads.retain(|thread| thread.strong_count() > 0);
        let shared: Arc<dyn EndThread> = Arc::clone(&thread) as Arc<dyn EndThread>;
        register.threads.push(Arc::downgrade(&shared));
        Ok(thread)
    }

    /// Ends the remaining threads, within `patience` in total, and prevents new ones from
    /// starting. Returns whether all have ended.
    pub fn close(&self, patience: Duration) -> bool {
        let threads = {
            let mut register = lock(&self.register);
            register.is_closed = true;
            std::mem::take(&mut register.threads)
        };
        let until = Instant::now() + patience;
        let mut have_ended = true;
        for thread in threads.iter().filter_map(Weak::upgrade) {
            have_ended &= thread.end(until.saturating_duration_since(Instant::now()));
        }
        have_ended
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let register = lock(&self.register);
        write!(
            f,
            "Threads({}, is_closed: {})",
            register.threads.len(),
            register.is_closed
        )
    }
}

/// The message of a panic payload.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Ends when asked to, or never.
    struct Played {
        stop: Mutex<Option<Sender<()>>>,
        thread: OwnedThread,
    }

    impl Played {
        fn new() -> io::Result<Played> {
            let (stop, stopped) = channel::<()>();
            let thread = OwnedThread::spawn("played", move || {
                let _ = stopped.recv();
            })?;
            Ok(Played {
                stop: Mutex::new(Some(stop)),
                thread,
            })
        }
    }

    impl EndThread for Played {
        fn end(&self, patience: Duration) -> bool {
            drop(lock(&self.stop).take());
            self.thread.ends_within(patience)
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn threads_that_are_kept_are_ended_and_none_starts_afterwards() {
        let threads = Threads::default();
        let kept = threads.start(Played::new).unwrap();
        let dropped = threads.start(Played::new).unwrap();
        assert!(dropped.end(LONG));
        drop(dropped);
        assert!(threads.close(LONG));
        assert!(lock(&kept.thread.running).is_none(), "it was joined");
        assert!(threads.start(Played::new).is_err());
    }

    #[test]
    fn a_thread_that_does_not_end_is_left_behind() {
        struct Held(Played);
        impl EndThread for Held {
            fn end(&self, patience: Duration) -> bool {
                self.0.thread.ends_within(patience)
            }
        }
        let threads = Threads::default();
        let held = threads.start(|| Played::new().map(Held)).unwrap();
        assert!(!threads.close(Duration::from_millis(1)));
        drop(lock(&held.0.stop).take());
    }
}
