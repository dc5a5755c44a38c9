//! The files of one log that are open, in the order of writing, and those that were read.
//!
//! A file is held open from when it is found until it has been read to its end, whatever
//! happens to its name. So rotation and removal lose nothing that existed when it was found.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::source::file::generation::Generation;
use crate::source::file::generation::HeldFile;
use crate::source::file::known::{is_held, is_hole, is_older, Head, KnownFile, KnownFiles};
use crate::source::file::listing::ListedFile;
use crate::source::file::replaced::is_unwritten;
use crate::source::file::successor::{follows, successor_of, Successor};

/// The open files of one log.
#[derive(Default)]
pub struct OpenFiles {
    /// Oldest first; the front is read, the back is still written.
    pub open: VecDeque<Generation>,
    /// Those that were read or skipped.
    pub seen: KnownFiles,
    /// The number of the next file that is found; it only grows.
    pub next_number: u32,
    /// When the file after the front one was first found to have content.
    next_seen: Option<Instant>,
}

impl OpenFiles {
    /// The run of the container that wrote the front file.
    pub fn run(&self) -> Option<u32> {
        self.open.front().map(|front| front.run)
    }

    /// Whether the front file is compressed.
    pub fn is_front_archive(&self) -> bool {
        let front = self.open.front();
        front.is_some_and(|front| front.plain_file().is_none())
    }

    /// Whether a later file has content.
    pub fn has_next(&self) -> bool {
        self.open.iter().skip(1).any(Generation::has_more_now)
    }

    /// Whether a line may continue in a later file: a restarted container does not continue a
    /// line of its previous run.
    pub fn may_continue(&self) -> bool {
        let run = self.run();
        self.open
            .iter()
            .skip(1)
            .any(|next| Some(next.run) == run && next.has_more_now())
    }

    /// Returns until when the front file may still be written, `grace` after the next one was
    /// begun: containerd writes a half-read line to the old file before it continues in the
    /// next one.
    pub fn lingers_until(&mut self, grace: Duration, now: Instant) -> Option<Instant> {
        let (front, next) = (self.open.front()?, self.open.get(1)?);
        let is_last = self.open.len() == 2;
        if grace.is_zero() || !is_last || front.run != next.run || front.plain_file().is_none() {
            return None;
        }
        let due = *self.next_seen.get_or_insert(now) + grace;
        (now < due).then_some(due)
    }

    /// Opens the last listed file if it took the name of the newest open one and has its content.
    /// The older ones are then copies of files that were read or are open.
    pub fn opens_successor(&mut self, listed: &[ListedFile]) -> io::Result<bool> {
        let (Some(newest), Some((file, others))) = (self.open.back(), listed.split_last()) else {
            return Ok(false);
        };
        let Some(successor) = successor_of(newest, file)? else {
            return Ok(false);
        };
        self.add_successor(successor);
        for file in others {
            self.seen.remember(KnownFile::skipped(&Head::of(file))?);
        }
        Ok(true)
    }

    /// Adds a file that has the content of the newest open one.
    pub fn add_successor(&mut self, successor: Successor) {
        let mut next = successor.into_file();
        next.number = self.next_number;
        self.next_number += 1;
        self.add(next);
    }

    /// Adds a file that is newer than all others. Most logs have one, so there is room for no more.
    pub fn add(&mut self, file: Generation) {
        if self.open.is_empty() {
            self.open.reserve_exact(1);
        }
        self.open.push_back(file);
    }

    /// The front file is read to its end, and the next one has content, of which nothing was read. Before
    /// reading goes on there, moves it behind what both have: it may have been copied from the front file
    /// since it was opened. Returns whether it has nothing else, or not all of that yet, or was made of
    /// older entries by hand and not written since, so that the front file is the one that is written.
    pub fn next_is_copy(&mut self) -> io::Result<bool> {
        let (Some(front), Some(next)) = (self.open.front(), self.open.get(1)) else {
            return Ok(false);
        };
        if next.bytes_read() > 0 || next.plain_file().is_none() {
            return Ok(false);
        }
        let is_unwritten = is_unwritten(next)? && !is_older(next.id, front.id);
        let Some(successor) = follows(front, next.restarted(next.number)?)? else {
            // One under another name is in nobody's place.
            return Ok(is_unwritten && next.path == front.path);
        };
        let (end, successor) = (front.resume_here().marker, successor.into_file());
        let (here, repeats) = (successor.resume_here(), successor.repeats);
        let Some(next) = self.open.get_mut(1) else {
            return Ok(false);
        };
        next.repeats = repeats;
        let is_moved = next.seek(&here)? == Some(true);
        let is_whole = here.marker == end;
        let is_copy = is_moved && !repeats && (!is_whole || !self.has_next());
        Ok(is_copy || repeats && is_unwritten)
    }

    /// Moves the successor of the front file, if there is one, to the offset up to which the
    /// front file was read. Returns whether it holds the same up to there.
    pub fn lets_successor_go_on(&mut self) -> io::Result<bool> {
        let Some(checkpoint) = self.open.front().map(Generation::resume_here) else {
            return Ok(false);
        };
        match self.open.get_mut(1) {
            Some(next) if next.read_offset() > 0 => Ok(next.seek(&checkpoint)? == Some(true)),
            _ => Ok(false),
        }
    }

    /// Closes the front file, which is read no further.
    pub fn close_front(&mut self) -> Option<Generation> {
        let front = self.open.pop_front()?;
        self.next_seen = None;
        self.seen.remember(KnownFile::read(&front));
        Some(front)
    }

    /// Closes a file that has not been read to its end.
    pub fn drop_file(&mut self, index: usize) -> Option<Generation> {
        let dropped = self.open.remove(index)?;
        let head = dropped.head_now().ok().flatten().unwrap_or_default();
        self.seen.remember(KnownFile::unread(dropped.id, &head));
        Some(dropped)
    }

    /// Whether a file was found to be truncated before its first byte was read; true once per
    /// truncation.
    pub fn is_any_emptied(&mut self) -> bool {
        let emptied = self.open.iter_mut().map(Generation::is_emptied);
        emptied.fold(false, |is_any, is_emptied| is_any | is_emptied)
    }

    /// Bytes, as of the last check, that can be read and have not been.
    pub fn lag(&self) -> u64 {
        self.open.iter().map(Generation::lag).sum()
    }

    /// Whether a listed file is open, by its identity alone.
    pub fn is_open(&self, file: &ListedFile) -> bool {
        self.open.iter().any(|held| held.id == file.id)
    }

    /// Whether a listed file is open or was read before.
    pub fn knows(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<bool> {
        Ok(self.holds(file, head)? || self.seen.find(file, head)?.is_some())
    }

    /// Whether a listed file is open.
    pub fn holds(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<bool> {
        for held in &self.open {
            if is_held(file, head, held)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a file that somebody else has named begins like one that is open or was read
    /// before, so that it is a copy of it. `current` is the current file, unless that is open.
    pub fn has_content_of(
        &self,
        file: &ListedFile,
        head: &Head<'_>,
        current: Option<&ListedFile>,
    ) -> io::Result<bool> {
        if !file.is_renamed {
            return Ok(false);
        }
        let Some(head) = head.read()? else {
            return Ok(false);
        };
        if head.is_empty() {
            // The runtime may still write to a file that was renamed, but that is older than the one
            // that has its name; a copy is younger than its original.
            return Ok(current.is_some_and(|current| is_older(current.id, file.id)));
        }
        if is_hole(head) {
            return self.begins_with_all_of(file);
        }
        for held in &self.open {
            if held.head_now()?.is_some_and(|now| now.starts_with(head)) {
                return Ok(true);
            }
        }
        Ok(self.seen.has_begun_with(head))
    }

    /// The same by what is open, of a file whose head tells nothing.
    fn begins_with_all_of(&self, file: &ListedFile) -> io::Result<bool> {
        let file = Generation::open_listed(file)?;
        for held in &self.open {
            if held.begins_with_all_of(&file)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks the sizes and names of the open files. Returns the deleted ones that still have
    /// unread data.
    pub fn survey(&mut self, now: Instant) -> Vec<HeldFile> {
        let mut held = Vec::new();
        for generation in &mut self.open {
            // If a file cannot be checked, its last known state is kept.
            let _ = generation.survey(now);
            held.extend(generation.held());
        }
        held
    }
}
