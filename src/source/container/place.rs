//! Where the folder of a container is: it may be found elsewhere, or be gone.

use std::io;
use std::path::PathBuf;

use crate::runtime::file::stat_path;
use crate::runtime::Found;
use crate::source::container::Container;
use crate::source::file::tailer::Tailer;
use crate::source::services::Surroundings;

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

    /// Continues in another folder; files that are open are read to their end.
    pub fn move_to(&mut self, found: Found, around: &mut Surroundings<'_>) {
        let before = self.about.found().clone();
        self.about.move_to(found);
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

    /// Whether the file that its runtime writes is open and was not deleted.
    fn has_log(&self) -> bool {
        self.tailer().is_some_and(Tailer::has_name)
    }
}
