//! A log that was deleted or replaced by hand while nothing was read.

use std::path::PathBuf;

use crate::delivery::link::Link;
use crate::format::position::Timestamp;
use crate::format::rfc3339;
use crate::runtime::log_driver::LogDriver;
use crate::source::describe::Description;
use crate::source::file::replaced::{is_new, is_replaced, Copied, Run};
use crate::source::file::tailer::Tailer;
use crate::source::log_source::LogSource;
use crate::telemetry::event::deleted::DeletedEvent;
use crate::telemetry::event::Event;

impl LogSource {
    /// Whether a log that is not there now is lost, and the container may run: then this may be a
    /// moment of a rotation.
    pub(super) fn is_lost_if_running(&self, about: &Description) -> bool {
        let is_lost = self.tailer().is_some_and(Tailer::resumes_in_file);
        is_lost && about.template().metadata.is_running
    }

    /// Reports that a log is not there, if reading was to resume in one of its files.
    pub fn report_gone(&mut self, about: &Description, link: &Link) {
        let keeps_none = |driver: &LogDriver| !driver.has_own_file() && !driver.may_have_cache();
        // That the folder of a log outside of its container's is not here is told otherwise.
        let dir = &self.files().dir;
        let is_elsewhere = !dir.starts_with(&about.found().dir) && !dir.is_folder();
        if is_elsewhere || about.driver().is_some_and(keeps_none) {
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
                path: self.written(about),
            }));
        }
    }

    /// The file that the driver writes.
    pub(super) fn written(&self, about: &Description) -> PathBuf {
        let mut logs = about.runtime().logs(about.found()).into_iter();
        let written = logs.find(|files| about.writes_to(files) == Some(true));
        written.as_ref().unwrap_or(self.files()).path.to_path_buf()
    }

    /// Reports and counts, at the first look, that the log was replaced while nothing was read, until
    /// the runtime writes to it. While it is read, the file that was there before is open.
    pub(super) fn look_for_replacement(&mut self, about: &Description, link: &Link) {
        let is_resumed = |(tailer, _): (&mut Tailer, _)| tailer.take_resumed();
        let is_compared = self.places.is_compared && !self.tailer_mut().is_some_and(is_resumed);
        if is_compared && !self.places.is_replaced {
            return;
        }
        let was_replaced = self.places.is_replaced;
        if let Some(path) = about.runtime().missing_log(about.found()) {
            (self.places.is_compared, self.places.is_replaced) = (true, true);
            // While a container is removed, its log goes before the rest.
            if was_replaced && !self.places.is_newest_lost {
                let tailer = self.tailer_mut().map(|(tailer, _)| tailer);
                let is_lost = tailer.is_some_and(|tailer| tailer.lose_newest(&path, link));
                self.places.is_newest_lost = is_lost;
            }
            return;
        }
        self.places.is_newest_lost = false;
        let run = Run::of(about.runtime(), about.found());
        self.places.is_compared = !is_new(self.files());
        self.places.is_replaced = is_replaced(self.files(), &run);
        let is_begun = self.places.is_replaced && !was_replaced;
        let path = self.files().path.to_path_buf();
        let Some((tailer, _)) = self.tailer_mut() else {
            return;
        };
        let copied = tailer.take_copied();
        let copied = copied.filter(|copied| run.last.may_include(copied.since));
        let is_counted = (is_begun || copied.is_some()) && tailer.lose_replaced(link);
        let (name, short_id) = about.names();
        let event = match copied {
            _ if is_begun && run.last.is_running.is_none() => DeletedEvent::MayBeReplaced {
                name,
                short_id,
                path,
            },
            _ if is_begun => DeletedEvent::Replaced {
                name,
                short_id,
                path,
            },
            Some(Copied { path, since }) if is_counted => DeletedEvent::ReplacedBefore {
                name,
                short_id,
                path: path.to_path_buf(),
                since: rfc3339::format(Timestamp::at(since)),
            },
            _ => return,
        };
        link.report(Event::Deleted(event));
    }
}
