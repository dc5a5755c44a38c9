//! Change notifications for a runtime's root directory. Only a hint: the rescan catches what
//! the watch misses and replaces it where no watch can be set up.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex, TryLockError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::lock::lock;
use crate::runtime::network_fs::network_file_system;
use crate::threads::{EndThread, Threads};

/// How long to wait for the watcher's thread to end; it has nothing left to do.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A watch on a runtime's root directory.
pub struct RootWatch {
    changed: Arc<AtomicBool>,
    thread: Arc<WatcherThread>,
}

/// The thread that notify runs for the watch.
struct WatcherThread {
    /// Dropping it asks the thread to end.
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// Disconnected once the thread has dropped its handler.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl EndThread for WatcherThread {
    fn end(&self, patience: Duration) -> bool {
        let watcher = match self.watcher.try_lock() {
            Ok(mut watcher) => watcher.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            // A watch is being added, blocked in an unresponsive file system. The blocked
            // thread holds the watcher, so it cannot be ended.
            Err(TryLockError::WouldBlock) => return false,
        };
        drop(watcher);
        lock(&self.ended).recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

impl RootWatch {
    /// Watches `dir`, but nothing below it. On each change calls `wake` on the watcher's
    /// thread, one of `threads`; `wake` must do nothing but wake the reader.
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
            // Opening and reading the directory are the plugin's own accesses.
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
        // Dropping the watcher only asks its thread to end. No thread of the plugin may
        // outlive cb_exit (I5), so wait until the thread has dropped the handler.
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

    /// As when the reader, which owns the watch, is blocked in a call.
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
