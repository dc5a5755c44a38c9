//! A file that is closed between two reads, to free its descriptor. What was read of it is kept, so it
//! goes on as if it had been open all the time, once the same file is opened again.

use std::io;
use std::path::Path;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::runtime::file::{describe, is_permanent, last_name, open_regular, stat_file, stat_path};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{stamp_at, stamp_of, FolderStamp};
use crate::source::file::generation::Generation;

/// What is known of a closed file.
pub struct Closed {
    /// Its name by then.
    path: SafePath,
    /// Where reading stopped.
    at: StreamCheckpoint,
    /// The state of the file, if a change of it is certain to show.
    stamp: Option<FolderStamp>,
}

impl Generation {
    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Closes the file. Returns `false`, and does not, if it has no name in its folder: nobody could
    /// open it again.
    pub fn close(&mut self) -> bool {
        let Ok(file) = self.file() else {
            return true;
        };
        // The stamp, if this file is there.
        let stamp_of_it = |path: &SafePath| {
            let stat = path.stat().ok()?;
            (describe(&stat).0 == self.id).then(|| stamp_of(&stat))
        };
        let mut path = self.path.clone();
        let mut stamp = stamp_of_it(&path);
        if stamp.is_none() {
            let renamed = last_name(file);
            let name = renamed.as_deref().and_then(Path::file_name);
            path = path.at(self.path.with_file_name(name.unwrap_or_default()));
            stamp = stamp_of_it(&path);
        }
        let Some(stamp) = stamp else {
            return false;
        };
        let at = self.resume_at_start();
        self.closed = Some(Box::new(Closed { path, at, stamp }));
        self.content.close();
        true
    }

    /// Where reading stopped in a file that is closed.
    pub fn closed_at(&self) -> Option<StreamCheckpoint> {
        Some(self.closed.as_ref()?.at)
    }

    /// Whether a closed file may have been written, renamed or deleted since.
    pub fn may_have_changed(&self) -> bool {
        let is_same =
            |closed: &Closed| closed.stamp.is_some() && stamp_at(&closed.path) == closed.stamp;
        self.closed.as_ref().is_some_and(|closed| !is_same(closed))
    }

    /// The size of a closed file, if it still has its name.
    pub(super) fn size_while_closed(&self) -> io::Result<u64> {
        let closed = self.closed.as_ref().map(|closed| stat_path(&closed.path));
        match closed.transpose()? {
            Some((id, size)) if id == self.id => Ok(size),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Opens the file again if it is closed. Returns `false` if it has another name now.
    pub fn open_again(&mut self) -> io::Result<bool> {
        match &self.closed {
            Some(closed) => self.open_again_at(&closed.path.clone()),
            None => Ok(true),
        }
    }

    /// Opens a closed file again by this name. Returns `false` if that is not its name.
    pub fn open_again_at(&mut self, path: &SafePath) -> io::Result<bool> {
        let file = match open_regular(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_permanent(&error) => {
                return Ok(false);
            }
            opened => opened?,
        };
        if stat_file(&file)?.0 != self.id {
            return Ok(false);
        }
        self.content.open_again(file);
        self.closed = None;
        Ok(true)
    }
}
