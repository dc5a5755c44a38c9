//! What a survey and a rescan ask of each container.

use std::time::Instant;

use crate::source::api::streams::Streams;
use crate::source::container::Container;
use crate::telemetry::metrics::{SourceKind, Unread};

/// A container as a survey counts it, and for how long that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Where its log comes from.
    pub source: SourceKind,
    /// Why it is not read although it should be.
    pub unread: Option<Unread>,
    /// Log files held open.
    pub files_open: u32,
    /// Split lines that are not complete yet.
    pub open_lines: u32,
    /// All of this holds until the container changes. Otherwise it depends on the time as well, on an
    /// API or on journald.
    pub is_lasting: bool,
    /// It needs no look until it changes: inotify reports changes of its folder.
    pub is_settled: bool,
}

impl Container {
    /// Summarizes it, and tells its account where its log comes from. `streams` are those of its API;
    /// `is_unwritten` says that journald stores nothing.
    pub fn summarize(
        &self,
        now: Instant,
        streams: Option<&Streams>,
        is_unwritten: bool,
    ) -> Summary {
        let source = self.log.kind();
        let driver = self.about.driver().map_or("", |driver| &driver.name);
        let is_excluded = self.about.is_excluded();
        let origin = (!is_excluded).then_some((driver, source));
        self.about.account().set_origin(origin);
        let mut unread = None;
        if !is_excluded && !self.is_gone {
            let is_lost = self.is_hidden || (is_unwritten && self.writes_to_journal());
            unread = self
                .log
                .unread(&self.about, now, self.is_remote, streams)
                .or(self.own_output.unread())
                .or(is_lost.then_some(Unread::Missing));
        }
        let (files_open, open_lines) = self
            .tailer()
            .map(|tailer| (tailer.files_open(), tailer.open_lines()))
            .unwrap_or_default();
        Summary {
            source,
            unread,
            files_open: u32::try_from(files_open).unwrap_or(u32::MAX),
            open_lines: u32::try_from(open_lines).unwrap_or(u32::MAX),
            is_lasting: !self.log.is_passing(&self.about, now) && !self.writes_to_journal(),
            is_settled: self.is_settled(),
        }
    }
}
