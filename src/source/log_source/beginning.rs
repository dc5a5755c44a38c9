//! Where a log begins for us that is to be read from the end of what exists.

use crate::source::choose;
use crate::source::describe::Description;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;
use crate::source::log_source::{LogSource, Source};
use crate::source::services::Surroundings;

impl LogSource {
    /// If reading is to begin at the end of what exists, stores where that is now, so that all
    /// that is written from now on is read, whenever that will be. If there is nothing, all that
    /// has a later time than the first start will be.
    pub(super) fn begin(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        if !matches!(self.tailer().map(Tailer::start), Some(Start::End(_))) {
            return;
        }
        let has_files = match choose::reads_files(around.config, about.api()) {
            true => self.open_files(about, around),
            false => Ok(false),
        };
        let (Ok(false), Source::Files { tailer, .. }) = (has_files, &mut self.source) else {
            return;
        };
        let saved = tailer.hand_over();
        around.link.begin_at(*about.id(), saved);
        self.restart(about, Start::Saved(saved), around);
    }
}
