//! A log outside its container's folder, which other containers may have written as well: one after
//! another, as `podman run --replace` and units do. Each line is that of the container that was
//! created last before it.
//!
//! ```text
//! app.log   first first first first second second second
//!           ^ first was created     ^ second was created: `end` of the first one
//! ```

use std::path::PathBuf;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint, TimeCursor};
use crate::delivery::link::Link;
use crate::format::position::Timestamp;
use crate::runtime::LogFiles;
use crate::source::describe::Description;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;
use crate::source::log_source::{LogSource, Source};
use crate::telemetry::account::wall_clock;

impl LogSource {
    /// Whether its log is outside its container's folder.
    pub fn is_outside(&self, about: &Description) -> bool {
        is_outside(self.files(), about)
    }

    /// Its log, if that is outside its container's folder, and when the container was created. It may
    /// not be read yet.
    pub fn outside(&self, about: &Description) -> Option<(PathBuf, Timestamp)> {
        let listed = match self.tailer().is_some_and(Tailer::is_open) || self.is_passed_on {
            true => None,
            false => Some(about.runtime().logs(about.found()).into_iter().next()?),
        };
        let files = listed.as_ref().unwrap_or(self.files());
        let created = is_outside(files, about).then(|| created(about))??;
        Some((files.path.to_path_buf(), created))
    }

    /// Lines later than this are another container's. Returns whether that is new. Where that one
    /// was removed since, its lines are not read again.
    pub fn end_at(&mut self, end: Timestamp) -> bool {
        let is_new = self.end.is_none_or(|known| end < known);
        if is_new {
            self.end = Some(end);
        }
        is_new
    }

    /// Whether it has to leave later lines to another container.
    pub fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// The files to read, which were not opened yet, begin with the lines of containers that
    /// were created before.
    pub(super) fn begin_after_others(&mut self, about: &Description) {
        let Source::Files { tailer, .. } = &self.source else {
            return;
        };
        if tailer.is_open() || !self.is_outside(about) {
            return;
        }
        let (Some(created), start) = (created(about), tailer.start()) else {
            return;
        };
        let later = begin_after(start, created);
        if later != start {
            self.source = Source::of(about, self.files().clone(), later);
        }
    }

    /// Closes its files, of which the rest is another container's.
    pub fn pass_on(&mut self, link: &Link) {
        if let Some((tailer, _)) = self.tailer_mut() {
            tailer.leave_rest(link);
            self.is_passed_on = true;
        }
    }

    /// Reads on where another container of the same log stopped.
    pub fn go_on_at(&mut self, saved: ContainerCheckpoint, about: &Description, link: &Link) {
        link.begin_at(*about.id(), saved);
        (self.end, self.is_passed_on) = (None, false);
        self.source = Source::of(about, self.files().clone(), Start::Saved(saved));
    }
}

/// When it was created, by its metadata; `None` if that is unknown, or later than now.
fn created(about: &Description) -> Option<Timestamp> {
    let nanos = about.runtime().created(about.found())?;
    // A position in whole seconds would stand for the whole second.
    let is_whole = nanos % 1_000_000_000 == 0;
    let created = Timestamp::at(nanos.saturating_sub(u64::from(is_whole)));
    (created <= wall_clock()).then_some(created)
}

fn is_outside(files: &LogFiles, about: &Description) -> bool {
    !files.dir.starts_with(&about.found().dir)
}

/// A start that leaves out what is not later than `created`, where nothing was delivered yet.
fn begin_after(start: Start, created: Timestamp) -> Start {
    let after = StreamCheckpoint::after(created);
    match start {
        Start::Head => Start::Saved([after; 2]),
        Start::Saved(saved) => Start::Saved(saved.map(|stream| {
            let is_begun = stream.cursor != TimeCursor::default() && !stream.cursor.is_start();
            let is_before = stream.cursor.time < created;
            match stream.has_no_file() && !is_begun && is_before {
                true => after,
                false => stream,
            }
        })),
        start => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_nothing_was_delivered_reading_begins_at_the_creation() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let after = |seconds| Start::Saved([StreamCheckpoint::after(at(seconds)); 2]);
        assert_eq!(begin_after(Start::Head, at(5)), after(5));
        let nothing = Start::Saved(ContainerCheckpoint::default());
        assert_eq!(begin_after(nothing, at(5)), after(5));
        assert_eq!(begin_after(after(3), at(5)), after(5));
        assert_eq!(begin_after(after(7), at(5)), after(7));
        let mut delivered = StreamCheckpoint::default();
        delivered.cursor.time = at(3);
        let saved = Start::Saved([delivered; 2]);
        assert_eq!(begin_after(saved, at(5)), saved);
        assert_eq!(begin_after(Start::Last(3), at(5)), Start::Last(3));
    }
}
