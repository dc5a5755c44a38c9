//! A container whose log is at rest.

use std::time::{Duration, Instant};

use crate::source::container::Container;
use crate::source::file::tailer::at_rest::Rest;
use crate::source::file::tailer::Tailer;
use crate::source::services::Surroundings;

impl Container {
    /// How well the files of its log can be closed, if any is open, and how long it has been silent.
    pub fn may_rest(&self, now: Instant) -> Option<(Rest, Duration)> {
        let rest = self.log.tailer()?.may_rest()?;
        Some((rest, self.log.follow.silence(now)))
    }

    /// Whether its log is at rest and has something to read.
    pub fn waits_at_rest(&self) -> bool {
        self.log.tailer().is_some_and(Tailer::waits_at_rest)
    }

    /// Closes the files of its log if they are open and were read to their end.
    pub fn rest_if_read(&mut self, around: &mut Surroundings<'_>) {
        if self.log.tailer().is_some_and(Tailer::is_open_and_read) {
            self.rest(Rest::Idle, around);
        }
    }

    /// Closes the files of its log. One that was read to its end is watched, so that a notice opens it
    /// again.
    pub fn rest(&mut self, rest: Rest, around: &mut Surroundings<'_>) {
        let Some((tailer, follow)) = self.log.tailer_mut() else {
            return;
        };
        if rest.is_read() && !follow.is_polled() && !follow.is_watched(tailer) {
            follow.watch_or_poll(tailer, around);
        }
        tailer.rest(rest);
    }
}
