//! The moves from files to an API or to systemd's journal, and from there.

use std::sync::Arc;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::pipeline::assembler::Assembler;
use crate::source::describe::Description;
use crate::source::file::rotation::Start;
use crate::source::journal::journaled::Journaled;
use crate::source::journal::trust::Writer;
use crate::source::log_source::{LogSource, Source};
use crate::source::services::Surroundings;
use crate::telemetry::event::journal::JournalEvent;
use crate::telemetry::event::Event;

impl LogSource {
    /// Its records, if it is read from the journal.
    pub fn journaled_mut(&mut self) -> Option<&mut Journaled> {
        match &mut self.source {
            Source::Journal { journaled, .. } => Some(journaled),
            Source::Files { .. } | Source::Api { .. } => None,
        }
    }

    /// Ends reading the API or the journal, so that its files continue where that stopped.
    /// Returns whether either was read.
    pub(super) fn end_elsewhere(
        &mut self,
        about: &Description,
        around: &mut Surroundings<'_>,
    ) -> bool {
        let saved = match &mut self.source {
            Source::Files { .. } => return false,
            Source::Api { begun, .. } => {
                let streams = around.streams.as_mut();
                let released = streams.and_then(|streams| streams.release(about.id()));
                let mut saved = released.unwrap_or(**begun);
                for (saved, begun) in saved.iter_mut().zip(**begun) {
                    // It came no further than its place in the journal.
                    if saved.cursor == begun.cursor {
                        saved.journal = begun.journal;
                    }
                }
                saved
            }
            Source::Journal { journaled, .. } => {
                self.places.is_journal_read |= journaled.is_live;
                let found = about.found();
                around.journal.leave(&found.runtime_id(), around.key);
                journaled.hand_over(around.link)
            }
        };
        let start = self.start_after_api(saved);
        self.restart(about, start, around);
        true
    }

    /// Reads the API from now on, unless it is read already.
    pub(super) fn go_to_api(
        &mut self,
        about: &Description,
        reason: String,
        around: &mut Surroundings<'_>,
    ) {
        if matches!(self.source, Source::Journal { .. }) {
            self.end_elsewhere(about, around);
        }
        let Some(streams) = around.streams.as_mut() else {
            return;
        };
        let Source::Files { tailer, .. } = &mut self.source else {
            return streams.ask_again(about.id());
        };
        let (api, template) = (streams.api(), Arc::clone(about.template()));
        let is_at_end = matches!(tailer.start(), Start::End(_));
        let last = match tailer.start() {
            Start::Last(lines) => Some(lines),
            _ => None,
        };
        let saved = || tailer.hand_over();
        match streams.follow(*about.id(), template, about.driver(), last, saved) {
            Ok(begun) => {
                if is_at_end {
                    around.link.begin_at(*about.id(), begun);
                }
                let files = Box::new(tailer.files().clone());
                self.close_files(about, around);
                let begun = Box::new(begun);
                self.source = Source::Api { begun, files };
                let (name, short_id) = about.names();
                around.link.report(Event::StreamBegins {
                    api,
                    name,
                    short_id,
                    reason,
                });
            }
            Err(error) => self.report_failure(around.link, &error),
        }
    }

    /// The driver was changed from `journald` to another one: what the journal still has is read first.
    /// Returns whether it is.
    pub(super) fn reads_rest_of_journal(
        &mut self,
        about: &Description,
        around: &mut Surroundings<'_>,
    ) -> bool {
        let resumes_there = match &self.source {
            Source::Journal { journaled, .. } => !journaled.is_live,
            Source::Files { tailer, .. } => {
                let Start::Saved(saved) = tailer.start() else {
                    return false;
                };
                let is_there = |stream: &StreamCheckpoint| !stream.journal.is_none();
                !tailer.is_open() && !self.places.is_journal_read && saved.iter().any(is_there)
            }
            Source::Api { .. } => false,
        };
        let is_left = about.writes_to_journal() == Some(false);
        if !resumes_there || !is_left || around.journal.probe(around.now, around.link).is_err() {
            return false;
        }
        self.go_to_journal(about, around);
        matches!(self.source, Source::Journal { .. })
    }

    /// Reads the journal from now on, unless it is read already.
    pub fn go_to_journal(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        if matches!(self.source, Source::Api { .. }) {
            self.end_elsewhere(about, around);
        }
        let (Source::Files { tailer, .. }, Some(program)) =
            (&mut self.source, about.runtime().journal_writer())
        else {
            return;
        };
        let found = about.found();
        if let Err(error) = around.journal.join(found.runtime_id(), around.key) {
            return self.report_failure(around.link, &error);
        }
        let is_at_end = matches!(tailer.start(), Start::End(_));
        let last = match tailer.start() {
            Start::Last(lines) => Some(lines),
            _ => None,
        };
        let saved = tailer.hand_over();
        if is_at_end {
            around.link.begin_at(*about.id(), saved);
        }
        let uid = match &found.owner {
            None => 0,
            Some(_) => found.dir.stat().map_or(u32::MAX, |stat| stat.stx_uid),
        };
        let assembler = Assembler::new(Arc::clone(about.account()), Arc::clone(about.template()));
        let writer = Writer { program, uid };
        let journaled = Journaled::new(assembler, saved, writer, last, around.now);
        let files = Box::new(tailer.files().clone());
        self.close_files(about, around);
        self.source = Source::Journal {
            journaled: Box::new(journaled),
            files,
        };
        let (name, short_id) = about.names();
        let begins = JournalEvent::Begins { name, short_id };
        around.link.report(Event::Journal(begins));
    }
}
