//! Where the folder of a container is: it may be found elsewhere, or be gone.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::runtime::file::stat_path;
use crate::runtime::{Found, Runtime};
use crate::source::container::Container;
use crate::source::file::feed::ReadContext;
use crate::source::file::tailer::Tailer;
use crate::source::services::Surroundings;

/// Where a container is found.
#[derive(Clone)]
pub struct Place {
    /// The runtime that finds it.
    pub runtime: Arc<dyn Runtime>,
    /// The index of the runtime's root.
    pub root: usize,
    /// The container there.
    pub found: Found,
}

impl Container {
    /// Whether it was found in another folder than before, be it under the same path: the root
    /// was copied, mounted over or is a symlink that leads elsewhere now.
    pub fn is_elsewhere(&self, found: &Found) -> bool {
        self.about.found().dir != found.dir || self.folder.is_other(&found.dir)
    }

    /// Whether its own folder, which still has its log, is covered by another one in which there is
    /// nothing: a mount.
    pub fn is_covered_by(&self, found: &Found) -> bool {
        found.dir.is_empty_folder() && self.has_log()
    }

    /// The same where another root lists it, whose path may lead to the same folder.
    pub fn is_in_another_folder(&self, found: &Found) -> bool {
        match self.folder.is_known() {
            true => self.folder.is_other(&found.dir),
            false => self.about.found().dir != found.dir,
        }
    }

    /// Is to continue in a copy of its folder that is written in place of it, once its open files are
    /// read. Returns whether it has any.
    pub fn leaves_for(&mut self, place: Place) -> bool {
        let has_open = self.tailer().is_some_and(Tailer::is_open) && !self.is_gone;
        self.next = has_open.then(|| Box::new(place));
        has_open
    }

    /// Its folder is the one that is written.
    pub fn stays(&mut self) {
        self.next = None;
    }

    /// Continues in the copy of its folder, if it is to. Everything here is read.
    pub(super) fn leave(
        &mut self,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> io::Result<bool> {
        let (Some(place), Some((tailer, _))) = (self.next.take(), self.log.tailer_mut()) else {
            return Ok(false);
        };
        let saved = tailer.close(context)?;
        self.move_to(*place, around);
        self.load_metadata(around);
        self.log.continue_in_copy(saved, &self.about, around);
        Ok(true)
    }

    /// Continues in another folder, perhaps of another root; files that are open are read to their
    /// end.
    pub fn move_to(&mut self, place: Place, around: &mut Surroundings<'_>) {
        let before = self.about.found().clone();
        self.next = None;
        if self.root != place.root {
            self.adopt(place.runtime, place.root, place.found.clone());
        }
        self.about.move_to(place.found);
        around.watch.forget_folders(around.key);
        self.log.move_from(&before, &self.about, around);
        // A refused watch has already been reported for another folder.
        let _ = self.watch_folder(around.watch, around.key);
    }

    /// Whether its folder is missing although its root is there: while that is being moved, all
    /// are missing. A folder that is elsewhere was not removed.
    pub(super) fn is_removed(&self) -> bool {
        let is_missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        stat_path(&self.about.found().dir).is_err_and(is_missing)
            && self.about.runtime().root().try_exists().unwrap_or(false)
            && !self.has_log()
    }

    /// Whether it exists somewhere else than where its runtime, which keeps containers in `places`
    /// now, lists it: the root or the folder was moved, unmounted or mounted over, and not deleted.
    pub fn is_out_of_sight(&self, places: &[PathBuf]) -> bool {
        let found = self.about.found();
        let is_in_place = self.folder.is_in_place(&found.dir)
            && places.iter().any(|place| found.origin.starts_with(place));
        !is_in_place && self.has_log()
    }

    /// Whether the file that its runtime writes is open and was not deleted. A log outside its
    /// folder stays when it is removed.
    fn has_log(&self) -> bool {
        self.tailer().is_some_and(Tailer::has_name) && !self.log.is_outside(&self.about)
    }
}
