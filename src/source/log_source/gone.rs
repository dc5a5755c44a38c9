//! A log that was deleted or replaced by hand while nothing was read.

use crate::delivery::link::Link;
use crate::runtime::log_driver::LogDriver;
use crate::runtime::Api;
use crate::source::describe::Description;
use crate::source::file::replaced::{is_new, is_replaced};
use crate::source::log_source::LogSource;
use crate::source::services::Surroundings;
use crate::telemetry::event::deleted::DeletedEvent;
use crate::telemetry::event::Event;

impl LogSource {
    /// Its files will be there once it is started.
    pub(super) fn begin_later(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        self.report_gone(about, around.link);
        self.begin(about, around);
    }

    /// Reports that the log of a container that does not run, or is not known to, is not there, if
    /// reading was to resume in it.
    pub fn report_gone(&mut self, about: &Description, link: &Link) {
        let has_own_file = about.driver().is_none_or(LogDriver::has_own_file);
        if !has_own_file || about.api() != Some(Api::Docker) {
            return;
        }
        let Some((tailer, _)) = self.tailer_mut() else {
            return;
        };
        if tailer.lose_saved(link) {
            let (name, short_id) = about.names();
            link.report(Event::Deleted(DeletedEvent::Log {
                name,
                short_id,
                path: self.files().path.to_path_buf(),
            }));
        }
    }

    /// Reports and counts, at the first look, that the log was replaced while nothing was read, until
    /// the runtime writes to it. While it is read, the file that was there before is open.
    pub(super) fn look_for_replacement(&mut self, about: &Description, link: &Link) {
        if self.places.is_compared && !self.places.is_replaced {
            return;
        }
        let is_known = self.places.is_replaced;
        let started = about.runtime().started(about.found());
        self.places.is_compared = started.is_none() || !is_new(self.files());
        self.places.is_replaced = started.is_some_and(|started| is_replaced(self.files(), started));
        if !self.places.is_replaced || is_known {
            return;
        }
        if let Some((tailer, _)) = self.tailer_mut() {
            tailer.lose_replaced(link);
        }
        let (name, short_id) = about.names();
        link.report(Event::Deleted(DeletedEvent::Replaced {
            name,
            short_id,
            path: self.files().path.to_path_buf(),
        }));
    }
}
