//! The state of a log's source, as metrics and rescans ask for it.

use std::time::Instant;

use crate::runtime::log_driver::LogDriver;
use crate::source::api::streams::Streams;
use crate::source::choose;
use crate::source::describe::Description;
use crate::source::log_source::{LogSource, Source, LOG_PATIENCE};
use crate::telemetry::metrics::{SourceKind, Unread};

impl LogSource {
    /// What it is, for metrics.
    pub fn kind(&self) -> SourceKind {
        match &self.source {
            Source::Api { .. } => SourceKind::Stream,
            Source::Journal { .. } => SourceKind::Journal,
            Source::Files { tailer, .. } if self.has_work() => choose::kind_of(tailer.files()),
            Source::Files { .. } => SourceKind::Nowhere,
        }
    }

    /// Whether another look may find another source, or report what could not be reported. Once it
    /// is read nowhere, a new name in its folder says that this may have changed.
    pub fn needs_a_look(&self) -> bool {
        let is_nowhere = matches!(
            &self.source,
            Source::Files {
                nowhere: Some(_),
                ..
            }
        );
        self.tailer().is_none()
            || self.places.is_over
            || self.places.has_turns()
            || self.places.is_replaced
            || (self.has_work() && !self.places.is_compared)
            || self.trouble.reason().is_some()
            || self.read_trouble.reason().is_some()
            || self.nowhere.is_to_be_reported()
            || self
                .tailer()
                .is_some_and(|tailer| tailer.grace().is_some() || tailer.has_gap())
            || (self.missing_since.is_some() && !is_nowhere)
    }

    /// Whether [`LogSource::needs_a_look`] is false until this source changes.
    pub fn is_settled(&self) -> bool {
        !self.needs_a_look() && !self.nowhere.is_unreported()
    }

    /// Whether [`LogSource::unread`] may change although neither this source nor the description does:
    /// with time, or by what an API reports.
    pub fn is_passing(&self, about: &Description, now: Instant) -> bool {
        let is_new = |since| now.duration_since(since) < LOG_PATIENCE;
        match &self.source {
            Source::Api { .. } => true,
            Source::Journal { .. } => false,
            Source::Files {
                nowhere: Some(_), ..
            } => false,
            Source::Files { .. } => {
                self.missing_since.is_some_and(is_new) || about.age(now) < LOG_PATIENCE
            }
        }
    }

    /// Returns why it is not read although it should be, or `None`. `streams` are those of its
    /// API.
    pub fn unread(
        &self,
        about: &Description,
        now: Instant,
        is_remote: bool,
        streams: Option<&Streams>,
    ) -> Option<Unread> {
        let trouble = self.trouble.reason().or(self.read_trouble.reason());
        match &self.source {
            Source::Api { .. } => streams.and_then(|streams| streams.unread(about.id())),
            Source::Journal { .. } => None,
            Source::Files {
                nowhere: Some(reason),
                ..
            } => Some(*reason),
            Source::Files { .. } if self.is_passed_on => None,
            Source::Files { .. } if trouble.is_some() => trouble,
            Source::Files { .. } if is_remote => Some(Unread::ApiUnavailable),
            // Only the rotated files of a log are read whose current one was deleted.
            Source::Files { tailer, .. } if about.is_known() && tailer.is_open() => {
                let is_late = |since| now.duration_since(since) >= LOG_PATIENCE;
                let is_missing = self.missing_since.is_some_and(is_late);
                (is_missing || self.places.is_replaced).then_some(Unread::Missing)
            }
            Source::Files { .. } => about.unread().or_else(|| {
                let is_missing = about.writes_files_now() && about.age(now) >= LOG_PATIENCE;
                is_missing.then_some(Unread::Missing)
            }),
        }
    }

    /// Notes that its files are missing; whether it may have been started so recently that
    /// they are still to come.
    pub(super) fn may_still_come(&mut self, about: &Description, now: Instant) -> bool {
        let since = *self.missing_since.get_or_insert(now);
        may_have_file(about) && now.duration_since(since) < LOG_PATIENCE
    }
}

/// Whether its driver writes a file, or is unknown.
fn may_have_file(about: &Description) -> bool {
    about.driver().is_none_or(LogDriver::has_own_file)
}
