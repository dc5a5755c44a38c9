//! The places of a log: its files may be found in another folder.

use crate::runtime::{Found, LogFiles};
use crate::source::describe::Description;
use crate::source::follow::Follow;
use crate::source::log_source::{watch_log_folder, LogSource, Source};
use crate::source::services::Surroundings;

impl LogSource {
    /// The container's folder was at `before` and is elsewhere now. Its files keep their place
    /// among [`crate::runtime::Runtime::logs`].
    pub fn move_from(
        &mut self,
        before: &Found,
        about: &Description,
        around: &mut Surroundings<'_>,
    ) {
        let mut places = about.runtime().logs(before).into_iter();
        let index = places.position(|files| files == *self.files());
        let places = about.runtime().logs(about.found());
        let moved = places.into_iter().nth(index.unwrap_or_default());
        let moved = moved.unwrap_or_else(|| LogFiles::numbered(about.found().dir.clone()));
        self.follow.unwatch(around);
        self.follow = Follow::new(around.now);
        match &mut self.source {
            Source::Files { tailer, .. } => tailer.move_to(moved),
            Source::Api { files, .. } => *files = moved,
        }
        watch_log_folder(self.files(), about, around);
    }
}
