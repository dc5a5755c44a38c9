//! Notification that `containers/` changed. A hint only: the rescan repairs
//! what it misses and stands in where it cannot be had.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex, TryLockError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::lock::lock;
use crate::runtime::network_fs::network_file_system;
use crate::threads::{EndThread, Threads};

/// How long the end of the watcher's thread is awaited; it has nothing to do
/// but end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A watch on the folder of containers.
pub struct RootWatch {
    changed: Arc<AtomicBool>,
    thread: Arc<WatcherThread>,
}

/// The thread that notify runs for it.
struct WatcherThread {
    /// Dropping it asks the thread to end.
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// Disconnected when the thread has dropped its handler.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl EndThread for WatcherThread {
    fn end(&self, patience: Duration) -> bool {
        let watcher = match self.watcher.try_lock() {
            Ok(mut watcher) => watcher.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            // A watch is being set, which a file system that does not answer holds up. The
            // call is made on that thread, so nobody can end it.
            Err(TryLockError::WouldBlock) => return false,
        };
        drop(watcher);
        lock(&self.ended).recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

impl RootWatch {
    /// Watches `dir`, not what is below. At each change `wake` is called, on a
    /// thread of the watcher's, one of `threads`; it must only wake the reader.
    pub fn new(
        dir: &Path,
        threads: &Threads,
        wake: impl Fn() + Send + 'static,
    ) -> Result<RootWatch, String> {
        if let Some(name) = network_file_system(dir) {
            return Err(format!("it is on a network file system ({name})"));
        }
        let changed = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&changed);
        let (alive, ended) = mpsc::channel();
        let handler = move |event: notify::Result<notify::Event>| {
            let _alive: &mpsc::Sender<()> = &alive;
            // Opening and reading the folder is our own doing.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                flag.store(true, Ordering::Release);
                wake();
            }
        };
        let start = || {
            let watcher = notify::recommended_watcher(handler).map_err(io::Error::other)?;
            Ok(WatcherThread {
                watcher: Mutex::new(Some(watcher)),
                ended: Mutex::new(ended),
            })
        };
        let thread = threads.start(start).map_err(|error| error.to_string())?;
        let watch = RootWatch { changed, thread };
        if let Some(watcher) = lock(&watch.thread.watcher).as_mut() {
            watcher
                .watch(dir, RecursiveMode::NonRecursive)
                .map_err(|error| error.to_string())?;
        }
        Ok(watch)
    }

    /// Whether something changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for RootWatch {
    fn drop(&mut self) {
        // The watcher only asks its thread to end; no thread of ours may
        // outlive cb_exit (I5), so wait until it has dropped the handler.
        self.thread.end(END_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_wakes_and_a_dropped_watch_leaves_no_thread() {
        let dir = tempfile::tempdir().unwrap();
        let (wake, woken) = mpsc::channel();
        let threads = Threads::default();
        let watch = RootWatch::new(dir.path(), &threads, move || {
            wake.send(()).unwrap_or_default()
        })
        .unwrap();
        assert!(watch.take_changed(), "the first look is always due");
        assert!(!watch.take_changed());
        std::fs::create_dir(dir.path().join("x")).unwrap();
        woken.recv_timeout(END_PATIENCE).unwrap();
        assert!(watch.take_changed());
        drop(watch);
        assert_eq!(
            woken.recv_timeout(END_PATIENCE),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    /// As where the reader, who keeps the watch, is held up in a call.
    #[test]
    fn the_instance_ends_the_thread_of_a_watch_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (wake, woken) = mpsc::channel();
        let threads = Threads::default();
        let watch = RootWatch::new(dir.path(), &threads, move || {
            wake.send(()).unwrap_or_default()
        })
        .unwrap();
        assert!(threads.close(END_PATIENCE));
        assert_eq!(
            woken.recv_timeout(END_PATIENCE),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
        drop(watch);
    }
}
