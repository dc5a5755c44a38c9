//! A log at rest: its files are closed, to free their descriptors. Everything else that is known of it
//! is kept.
//!
//! ```text
//!            nothing is unread, or too many files are open
//! open ───────────────────────────────────────────────▶ at rest
//!   ▲        written, renamed, deleted; a look              │
//!   ├─────────────────────────── the same files are there ──┤
//!   └──── resumed by its position, as after a restart ──────┘ one is not
//! ```

use std::io;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::delivery::link::Link;
use crate::source::file::generation::Generation;
use crate::source::file::tailer::Tailer;

/// How well a log can do without its descriptors, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rest {
    /// Everything was read, and nothing is to come.
    Ended,
    /// Everything was read.
    Idle,
    /// Nothing was read yet.
    Unbegun,
    /// Some of it was read. If the rest is deleted by the time it is its turn again, it is lost.
    Begun,
}

impl Rest {
    /// Whether everything was read.
    pub fn is_read(self) -> bool {
        matches!(self, Rest::Ended | Rest::Idle)
    }
}

/// A log that was silent for so long may be so again, and keeps nothing that only reading needs.
const RARE: Duration = Duration::from_secs(5);

/// How often the log is read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// It was not yet.
    None,
    /// Before the last time, it was silent for [`RARE`], or never read.
    Rare,
    Often,
}

impl Tailer {
    /// A slice that reached the end of the log has returned something.
    pub(super) fn note_read(&mut self, now: Instant) {
        let is_rare = now.duration_since(self.read_at) > RARE;
        self.reads = match self.reads {
            Reads::Rare | Reads::Often if !is_rare => Reads::Often,
            _ => Reads::Rare,
        };
        self.read_at = now;
        self.rest_if_rarely_read();
    }

    /// A slice has found nothing.
    pub(super) fn note_silence(&mut self, now: Instant) {
        if now.duration_since(self.read_at) > RARE {
            self.reads = Reads::Rare;
            self.rest_if_rarely_read();
        }
    }

    /// Frees what only reading needs unless it is needed again soon. Not later than at the end of what
    /// was read: of many logs that are read in turn, each has the memory that the last one left.
    fn rest_if_rarely_read(&mut self) {
        if self.reads != Reads::Often {
            self.feed.assembler.rest_for_long();
        }
    }

    /// Whether some of its files are closed.
    pub fn is_at_rest(&self) -> bool {
        self.rotation.files.open.iter().any(Generation::is_closed)
    }

    /// How well its files can be closed; `None` if none is open, or one is searched for.
    pub fn may_rest(&self) -> Option<Rest> {
        let files = &self.rotation.files.open;
        if self.rotation.search.is_under_way() || files.iter().all(Generation::is_closed) {
            return None;
        }
        Some(match self.is_read_to_end() && !self.has_more_now() {
            true if !self.metadata().is_running => Rest::Ended,
            true => Rest::Idle,
            false if files.iter().all(|file| file.bytes_read() == 0) => Rest::Unbegun,
            false => Rest::Begun,
        })
    }

    /// Whether nothing is unread or open, as of the last check. Of several files, the first one may still
    /// be written under a name that is deleted soon.
    fn is_read_to_end(&self) -> bool {
        let files = &self.rotation.files.open;
        let is_read = files.len() == 1 && files.iter().all(|file| file.unread() == 0);
        is_read && !self.feed.assembler.is_open()
    }

    /// Whether its files are open and were read to their end, as of the last check.
    pub fn is_open_and_read(&self) -> bool {
        !self.is_at_rest() && !self.rotation.search.is_under_way() && self.is_read_to_end()
    }

    /// Whether a log at rest has something to read, as far as that was reported.
    pub fn waits_at_rest(&self) -> bool {
        self.is_written_at_rest && self.is_at_rest()
    }

    /// Whether more was written than was seen. What is there may be what was written after a
    /// truncation, so it does not count as seen.
    fn has_more_now(&self) -> bool {
        let mut files = self.rotation.files.open.iter();
        files.any(|file| file.plain_file().is_some() && file.has_more_now())
    }

    /// Closes its files, unless it was found to be read to its end, and something was written since.
    pub fn rest(&mut self, rest: Rest) {
        let is_written = self.has_more_now();
        if is_written && rest.is_read() {
            return;
        }
        for file in &mut self.rotation.files.open {
            file.close();
        }
        self.is_written_at_rest = is_written;
    }

    /// Whether there may be something to read in a log at rest.
    pub(super) fn may_have_news(&self) -> bool {
        let may_have = |file: &Generation| file.unread() > 0 || file.may_have_changed();
        self.is_written_at_rest || self.rotation.files.open.iter().any(may_have)
    }

    /// A write to a log at rest was reported.
    pub fn is_written_at_rest(&mut self) {
        self.is_written_at_rest = true;
    }

    /// Opens the files of a log at rest again.
    pub fn wake(&mut self, link: &Link) -> io::Result<()> {
        if !self.is_at_rest() {
            return Ok(());
        }
        match self.rotation.open_again(&self.feed)? {
            true => self.note_unread(),
            false => self.resume(link)?,
        }
        Ok(())
    }

    /// One of its files is gone: finds by its position where to read on. A file that was read to its end
    /// and not written since is no loss, but what a container that runs may go on writing to it is.
    fn resume(&mut self, link: &Link) -> io::Result<()> {
        let is_read = self.is_read_to_end() && !self.is_written_at_rest;
        self.flush_open(link);
        let Some(front) = self.rotation.files.open.front() else {
            return Ok(());
        };
        let here = front.closed_at().unwrap_or_else(|| front.resume_here());
        let mut saved = self.feed.assembler.handed_over(here);
        if is_read && !self.metadata().is_running {
            saved = saved.map(StreamCheckpoint::counted);
            link.begin_at(*self.id(), saved);
        }
        self.feed.losses.resume();
        self.rotation.resume_at(saved, is_read);
        self.is_resumed = true;
        self.refresh(link)
    }

    /// Whether a file of it was found to be gone since the last call.
    pub fn take_resumed(&mut self) -> bool {
        std::mem::take(&mut self.is_resumed)
    }
}
