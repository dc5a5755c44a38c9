//! The files of one log: those that are open, in the order of writing, and which of the
//! listed ones are still to be opened.
//!
//! A file is held open from when it is found until it has been read to its end, whatever
//! happens to its name. So rotation and removal lose nothing that existed when it was found.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::fingerprint::Fingerprint;
use crate::delivery::link::Link;
use crate::runtime::file::{is_permanent, is_shortage, stat_path};
use crate::runtime::LogFiles;
use crate::source::budget::HeldFile;
use crate::source::file::copies::{unread_copies, Copies};
use crate::source::file::create_counter::CreateCounter;
use crate::source::file::generation::Generation;
use crate::source::file::known::{is_held, is_same, Head, KnownFile, KnownFiles};
use crate::source::file::listing::{self, ListedFile};
use crate::source::file::losses::Losses;
use crate::telemetry::account::Account;

/// Limit on the open files of a log in a user's storage, newest first. A user can create any
/// number of files, each takes a descriptor, and conmon keeps none.
const MOST_OF_USER: usize = 64;

/// The open files of one log.
pub struct OpenFiles {
    log: LogFiles,
    /// Limit on them.
    most: usize,
    /// Oldest first; the front is read, the back is still written.
    open: VecDeque<Generation>,
    next_number: u32,
    seen: KnownFiles,
    pub(super) creates: CreateCounter,
    /// When the file after the front one was first found to have content.
    next_seen: Option<Instant>,
}

impl OpenFiles {
    /// Opens nothing yet.
    pub fn new(log: LogFiles, account: &Account) -> OpenFiles {
        OpenFiles {
            log,
            most: match account.is_of_user() {
                true => MOST_OF_USER,
                false => usize::MAX,
            },
            open: VecDeque::new(),
            next_number: 0,
            seen: KnownFiles::default(),
            creates: CreateCounter::default(),
            next_seen: None,
        }
    }

    /// The files of the log, by name.
    pub fn log(&self) -> &LogFiles {
        &self.log
    }

    /// The number of the next file that is found; it only grows.
    pub fn next_number(&self) -> u32 {
        self.next_number
    }

    /// The open files, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Generation> {
        self.open.iter()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The oldest one.
    pub fn front(&self) -> Option<&Generation> {
        self.open.front()
    }

    /// The oldest one, to be read.
    pub fn front_mut(&mut self) -> Option<&mut Generation> {
        self.open.front_mut()
    }

    /// The newest one.
    pub fn back_mut(&mut self) -> Option<&mut Generation> {
        self.open.back_mut()
    }

    /// The files after the front one.
    fn next(&self) -> impl Iterator<Item = &Generation> {
        self.open.iter().skip(1)
    }

    /// Whether a later file has content.
    pub fn has_next(&self) -> bool {
        self.next().any(|next| !next.is_empty_now())
    }

    /// Whether a line may continue in a later file: a restarted container does not continue a
    /// line of its previous run.
    pub fn may_continue(&self) -> bool {
        let run = self.front().map(|front| front.run);
        self.next()
            .any(|next| Some(next.run) == run && !next.is_empty_now())
    }

    /// Returns until when the front file may still be written although the next one is:
    /// containerd writes a half-read line to the old file before it continues in the next one.
    pub fn lingers_until(&mut self, now: Instant) -> Option<Instant> {
        let (front, next) = (self.open.front()?, self.open.get(1)?);
        let (grace, is_last) = (self.log.grace, self.open.len() == 2);
        if grace.is_zero() || !is_last || front.run != next.run || front.plain_file().is_none() {
            return None;
        }
        let due = *self.next_seen.get_or_insert(now) + grace;
        (now < due).then_some(due)
    }

    /// Closes the front file, which is read no further.
    pub fn close_front(&mut self) -> Option<Generation> {
        let front = self.open.pop_front()?;
        self.next_seen = None;
        self.seen.remember(KnownFile {
            id: front.id,
            fingerprint: front.fingerprint(),
        });
        Some(front)
    }

    /// Closes all files.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Whether a file was found to be truncated before its first byte was read; true once per
    /// truncation.
    pub fn is_any_emptied(&mut self) -> bool {
        let emptied = self.open.iter_mut().map(Generation::is_emptied);
        emptied.fold(false, |is_any, is_emptied| is_any | is_emptied)
    }

    /// Bytes, as of the last check, that have not been read.
    pub fn unread(&self) -> u64 {
        self.open.iter().map(Generation::unread).sum()
    }

    /// Forgets which bytes were destroyed before they were read.
    pub fn forget_vanished(&mut self) {
        self.open.iter_mut().for_each(|one| _ = one.take_vanished());
    }

    /// Whether a listed file is open, by its identity alone.
    pub fn is_open(&self, file: &ListedFile) -> bool {
        self.open.iter().any(|held| held.id == file.id)
    }

    /// Whether a listed file is open or was read before.
    pub fn knows(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<bool> {
        for held in &self.open {
            if is_held(file, head, held)? {
                return Ok(true);
            }
        }
        self.seen.knows(file, head)
    }

    /// Lists the files of the log that may be opened, oldest first, and counts those that may
    /// not.
    pub fn list(&self) -> io::Result<(Vec<ListedFile>, usize)> {
        let mut listed = listing::list(&self.log)?;
        let surplus = listed.len().saturating_sub(self.most);
        listed.drain(..surplus);
        Ok((listed, surplus))
    }

    /// The same, none if the folder is gone, and with it all copies.
    pub fn list_copies(&self) -> io::Result<Vec<ListedFile>> {
        match self.list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => Ok(listed?.0),
        }
    }

    /// Opens the listed files from `first` on; none may be open. `front` is the first one, if
    /// it is open already.
    pub fn open_first(
        &mut self,
        listed: &[ListedFile],
        first: usize,
        mut front: Option<Generation>,
        losses: &Losses,
        link: &Link,
    ) -> io::Result<()> {
        self.seen.keep_for(listed.len());
        // Usually there is one, and each is some hundred bytes.
        let mut open = VecDeque::with_capacity(1);
        let mut number = self.next_number;
        for file in &listed[first..] {
            let opened = match front.take() {
                Some(front) => Some(front),
                None => open_or_pass(file, losses, link)?,
            };
            if let Some(mut opened) = opened {
                opened.number = number;
                open.push_back(opened);
            }
            number += 1;
        }
        self.seen.clear();
        for file in &listed[..first] {
            self.seen.remember(KnownFile::skipped(file)?);
        }
        (self.open, self.next_number) = (open, number);
        Ok(())
    }

    /// Opens every listed file that is newer than those known.
    pub fn open_newer(
        &mut self,
        listed: &[ListedFile],
        losses: &Losses,
        link: &Link,
    ) -> io::Result<()> {
        self.seen.keep_for(listed.len());
        let Some(newest) = self.open.back() else {
            return Ok(());
        };
        let is_current = |file: &ListedFile| file.is_current() && is_same(file.id, newest.id);
        if listed.last().is_some_and(is_current) {
            return self.open_unread_copies(listed);
        }
        let mut first_newer = 0;
        for (index, file) in listed.iter().enumerate().rev() {
            if is_held(file, &Head::of(file), newest)? {
                first_newer = index + 1;
                break;
            }
        }
        let opened = self.open_unknown(&listed[first_newer..], losses, link)?;
        self.open.extend(opened);
        match self.open_unread_copies(listed) {
            // A name changed. Copies are searched for again before the first byte of their
            // original is taken.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Opens those of the listed files that are neither open nor read.
    fn open_unknown(
        &mut self,
        listed: &[ListedFile],
        losses: &Losses,
        link: &Link,
    ) -> io::Result<Vec<Generation>> {
        let mut opened = Vec::new();
        for file in listed {
            if self.knows(file, &Head::of(file))? {
                continue;
            }
            if let Some(mut file) = open_or_pass(file, losses, link)? {
                file.number = self.next_number;
                opened.push(file);
            }
            self.next_number += 1;
        }
        Ok(opened)
    }

    /// Searches for copies again before the first byte of a file is taken; returns whether
    /// there were any.
    pub fn opens_unread_copies(&mut self) -> io::Result<bool> {
        let held = self.open.len();
        match self.list_copies() {
            Ok(listed) => self.open_unread_copies(&listed)?,
            // Reading the open files frees descriptors.
            Err(error) if is_shortage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.open.len() > held)
    }

    /// Opens files that were created after a file of which nothing has been read yet.
    fn open_unread_copies(&mut self, listed: &[ListedFile]) -> io::Result<()> {
        for index in (0..self.open.len()).rev() {
            let copies = unread_copies(&self.open[index], listed, self)?;
            self.open[index].is_copied |= copies.is_under_way;
            self.insert_copies(index, copies.files);
        }
        Ok(())
    }

    fn insert_copies(&mut self, index: usize, copies: Vec<Generation>) {
        // They may be counted as created and are found only now.
        self.creates.met(copies.len(), Instant::now());
        for copy in copies.into_iter().rev() {
            self.open.insert(index, copy);
        }
    }

    /// Reads the front file, which was truncated, as `restarted`, and its copies before it.
    pub fn restart_front(&mut self, restarted: Generation, copies: Copies) {
        let Copies { unread, read } = copies;
        read.into_iter().for_each(|file| self.seen.remember(file));
        self.open.pop_front();
        self.open.push_front(restarted);
        self.insert_copies(0, unread);
    }

    /// Counts a new current file that inotify reported.
    pub fn made(&mut self, name: &str) {
        if self.log.rank_of(name).is_some_and(|rank| rank.age == 0) {
            self.creates.made();
        }
    }

    /// Handles lost inotify events.
    pub fn notices_lost(&mut self, now: Instant) {
        self.creates.forget(now);
    }

    /// A look begins.
    pub fn settle(&mut self, now: Instant) {
        self.creates.settle(now);
    }

    /// A look that found `listed` files has opened every one from number `known` on. Returns
    /// how many files were created and deleted between two looks.
    pub fn take_missed(&mut self, known: u32, listed: usize, now: Instant) -> u64 {
        let met = match known {
            0 => listed,
            _ => (self.next_number - known) as usize,
        };
        self.creates.met(met, now);
        self.creates.take_missed()
    }

    /// Whether the log's name belongs to another file than the newest open one; for folders
    /// that cannot be watched.
    pub fn is_rotated(&self) -> bool {
        let newest = self.open.back();
        let current = match self.log.current() {
            Some(current) => Some(stat_path(current)),
            None => newest.map(|newest| stat_path(&newest.safe_path())),
        };
        match (newest, current) {
            (Some(newest), Some(Ok((id, _)))) => newest.id != id,
            (None, Some(Ok(_))) => true,
            _ => false,
        }
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

    /// The place of the file with this number.
    pub fn index_of(&self, number: u32) -> Option<usize> {
        self.open.iter().position(|file| file.number == number)
    }

    /// The file at a place.
    pub fn get(&self, index: usize) -> Option<&Generation> {
        self.open.get(index)
    }

    /// Reads `archive` instead of the file at a place.
    pub fn replace(&mut self, index: usize, archive: Generation) {
        self.open[index] = archive;
    }

    /// Closes a file that has not been read to its end.
    pub fn drop_file(&mut self, index: usize) -> Option<Generation> {
        let dropped = self.open.remove(index)?;
        let head = dropped.head_now().ok().flatten().unwrap_or_default();
        self.seen.remember(KnownFile {
            id: dropped.id,
            fingerprint: Fingerprint::of(&head),
        });
        Some(dropped)
    }
}

/// As [`Generation::open_listed`], but reports and skips a rotated file that can never be
/// opened.
fn open_or_pass(file: &ListedFile, losses: &Losses, link: &Link) -> io::Result<Option<Generation>> {
    match Generation::open_listed(file) {
        Err(error) if !file.is_current() && is_permanent(&error) => {
            let unread = stat_path(&file.path).map_or(0, |(_, size)| size);
            losses.unreadable(link, file.path.to_path_buf(), &error, unread);
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

#[cfg(test)]
mod tests;
