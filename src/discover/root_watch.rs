//! Notification that `containers/` changed. A hint only: the rescan repairs
//! what it misses and stands in where it cannot be had.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::network_fs::network_file_system;

/// How long the end of the watcher's thread is awaited; it has nothing to do
/// but end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A watch on the folder of containers.
pub struct RootWatch {
    changed: Arc<AtomicBool>,
    watcher: Option<RecommendedWatcher>,
    /// Disconnected when the watcher's thread has dropped its handler.
    ended: mpsc::Receiver<()>,
}

impl RootWatch {
    /// Watches `dir`, not what is below. At each change `wake` is called, on a
    /// thread of the watcher's; it must only wake the reader.
    pub fn new(dir: &Path, wake: impl Fn() + Send + 'static) -> Result<RootWatch, String> {
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
        let mut watcher = notify::recommended_watcher(handler).map_err(|error| error.to_string())?;
        watcher.watch(dir, RecursiveMode::NonRecursive).map_err(|error| error.to_string())?;
        Ok(RootWatch { changed, watcher: Some(watcher), ended })
    }

    /// Whether something changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for RootWatch {
    fn drop(&mut self) {
        // The watcher only asks its thread to end; no thread of ours may
        // outlive cb_exit (I5), so wait until it has let go of the handler.
        self.watcher = None;
        let _ = self.ended.recv_timeout(END_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_wakes_and_a_dropped_watch_leaves_no_thread() {
        let dir = tempfile::tempdir().unwrap();
        let (wake, woken) = mpsc::channel();
        let watch = RootWatch::new(dir.path(), move || wake.send(()).unwrap_or_default()).unwrap();
        assert!(watch.take_changed(), "the first look is always due");
        assert!(!watch.take_changed());
        std::fs::create_dir(dir.path().join("x")).unwrap();
        woken.recv_timeout(END_PATIENCE).unwrap();
        assert!(watch.take_changed());
        drop(watch);
        assert_eq!(woken.recv_timeout(END_PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
