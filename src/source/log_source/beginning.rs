//! Where a log begins for us that is to be read from the end of what exists.

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::runtime::log_driver::LogDriver;
use crate::source::choose;
use crate::source::describe::Description;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;
use crate::source::log_source::{LogSource, Source};
use crate::source::services::Surroundings;

impl LogSource {
    /// If reading is to begin at the end of what exists, stores where that is now, so that all
    /// that is written from now on is read, whenever that will be. `is_unstarted` says that a log
    /// without files has no lines yet.
    pub(super) fn begin(
        &mut self,
        about: &Description,
        is_unstarted: bool,
        around: &mut Surroundings<'_>,
    ) {
        if self.tailer().map(Tailer::start) != Some(Start::End) {
            return;
        }
        let has_files = match choose::reads_files(around.config, about.api()) {
            true => self.open_files(about, around),
            false => Ok(false),
        };
        let (Ok(false), Source::Files { tailer, .. }) = (has_files, &mut self.source) else {
            return;
        };
        let writes_file = about.driver().is_some_and(LogDriver::writes_file);
        let saved = match is_unstarted && (writes_file || about.api().is_none()) {
            // All that will be in its file is new.
            true => ContainerCheckpoint::default(),
            // Its lines may be elsewhere.
            false => tailer.hand_over(),
        };
        around.link.begin_at(*about.id(), saved);
        self.restart(about, Start::Saved(saved), around);
    }
}
