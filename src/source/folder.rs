//! The folder of one container: whether its changes are noticed, and whether it changed since
//! the last look.

use std::io;

use crate::runtime::file::{stat_path, FileId};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{network_file_system, stamp, FolderStamp};
use crate::source::watch::FileWatch;

/// What is known of a container's folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// inotify reports each entry added to or removed from it.
    is_watched: bool,
    /// The folder that was to be watched: another one may have its path by now.
    id: Option<FileId>,
    /// The stamps of it and of the log's folder, taken right before the last look.
    looked_at: Option<[FolderStamp; 2]>,
}

impl Folder {
    /// Watches `dir` for entries added and removed.
    pub fn watch(&mut self, dir: &SafePath, watch: &mut FileWatch, key: usize) -> io::Result<()> {
        // If the watch is refused, the rescan finds the changes.
        self.is_watched = false;
        self.id = id_of(dir);
        self.is_watched = dir.with_path(|dir| {
            watch.watch_folder(key, dir)?;
            Ok(network_file_system(dir).is_none())
        })?;
        Ok(())
    }

    /// Whether inotify reports each entry added to or removed from it.
    pub fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Whether it is known which folder was to be watched.
    pub fn is_known(&self) -> bool {
        self.id.is_some()
    }

    /// Whether `dir` is another folder than the one that was to be watched.
    pub fn is_other(&self, dir: &SafePath) -> bool {
        self.id.is_some() && id_of(dir).is_some_and(|id| self.id != Some(id))
    }

    /// Whether the folder that was to be watched still is at `dir`.
    pub fn is_in_place(&self, dir: &SafePath) -> bool {
        id_of(dir).is_some_and(|id| self.id.is_none_or(|own| own == id))
    }

    /// Begins a look at `dir` and the log's folder.
    pub fn begin_look(&mut self, dir: &SafePath, of_log: &SafePath) {
        self.looked_at = stamps(dir, of_log);
    }

    /// Whether it may have changed since the last look without a notice. With `doubts_watch`,
    /// the stamp of a watched folder is checked too.
    pub fn may_have_changed(&self, dir: &SafePath, of_log: &SafePath, doubts_watch: bool) -> bool {
        (doubts_watch || !self.is_watched)
            && (self.looked_at.is_none() || self.looked_at != stamps(dir, of_log))
    }
}

fn id_of(dir: &SafePath) -> Option<FileId> {
    stat_path(dir).ok().map(|(id, _)| id)
}

fn stamps(dir: &SafePath, of_log: &SafePath) -> Option<[FolderStamp; 2]> {
    let stamp = |dir: &SafePath| dir.with_path(|path| Ok(stamp(path))).ok().flatten();
    let of_dir = stamp(dir)?;
    let of_log = if of_log == dir {
        of_dir
    } else {
        stamp(of_log)?
    };
    Some([of_dir, of_log])
}
