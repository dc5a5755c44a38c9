//! What happens to the files of one log: rotation, truncation, copying, compression and
//! deletion. Looks at its folder, and opens every file that may hold unread entries.

use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::TimeCursor;
use crate::delivery::link::Link;
use crate::runtime::file::{is_shortage, stat_path};
use crate::runtime::LogFiles;
use crate::source::file::copies::{copies_of, unread_copies, Copies};
use crate::source::file::create_counter::CreateCounter;
use crate::source::file::cut::seek_kept;
use crate::source::file::earlier::is_front_known;
use crate::source::file::feed::Feed;
use crate::source::file::gaps::Gaps;
use crate::source::file::generation::Generation;
use crate::source::file::known::{is_held, is_same, Head};
use crate::source::file::listing::{self, Listed, ListedFile};
use crate::source::file::losses::Losses;
use crate::source::file::open_files::OpenFiles;
use crate::source::file::opening::open_or_pass;
use crate::source::file::replaced::Copied;
use crate::source::file::search::Search;
pub use crate::source::file::start::Start;
use crate::source::file::successor::{is_extract_of, successor_of};

mod closed;
mod first;
mod held;

/// Attempts to open the files while a rotation changes their names.
const OPEN_ATTEMPTS: usize = 5;

/// Limit on the open files of a log in a user's storage, newest first. A user can create any
/// number of files, each takes a descriptor, and conmon keeps none.
const MOST_OF_USER: usize = 64;

/// The files of one log, and which of them are open.
pub struct Rotation {
    /// The log, by the names of its files.
    pub log: LogFiles,
    /// Where reading begins once a file is found; `None` at the head.
    start: Option<Box<Start>>,
    /// Those that are open.
    pub files: OpenFiles,
    /// The compressed ones that are being searched for a checkpoint.
    pub search: Search,
    pub(super) creates: CreateCounter,
    /// Where files are missing.
    pub gaps: Gaps,
    /// A file that somebody has made in the place of the one that was read before.
    pub copied: Option<Copied>,
    /// Nothing was unread in the file of `start` when that was last looked at.
    is_start_read: bool,
}

impl Rotation {
    /// Opens nothing yet.
    pub fn new(log: LogFiles, start: Start) -> Rotation {
        let mut rotation = Rotation {
            log,
            start: None,
            files: OpenFiles::default(),
            search: Search::default(),
            creates: CreateCounter::default(),
            gaps: Gaps::default(),
            copied: None,
            is_start_read: false,
        };
        rotation.start_at(start);
        rotation
    }

    /// Where reading begins once a file is found.
    pub fn start(&self) -> Start {
        self.start.as_deref().copied().unwrap_or(Start::Head)
    }

    /// Reading begins there once a file is found.
    pub fn start_at(&mut self, start: Start) {
        self.start = (start != Start::Head).then(|| Box::new(start));
    }

    /// The log is in another folder from now on, perhaps under the same name.
    pub fn move_to(&mut self, log: LogFiles) {
        self.log = log;
        // The notices so far were of the other folder.
        self.creates.forget(Instant::now());
    }

    /// Lists the folder and opens every file of the log that is not known yet. Cheap if nothing
    /// changed, but for files that the runtime did not name: the beginning of each is read.
    pub fn refresh(&mut self, feed: &mut Feed, link: &Link) -> io::Result<()> {
        let now = Instant::now();
        self.creates.settle(now);
        self.count_missing(feed, link, now, false);
        for _ in 0..OPEN_ATTEMPTS {
            let known = self.files.next_number;
            let listed = self.list(feed)?;
            if listed.has_changed && self.files.open.is_empty() {
                // Where reading begins depends on all files.
                continue;
            }
            let (metadata, surplus) = (feed.assembler.metadata(), listed.surplus as u64);
            feed.losses.passed_over(link, metadata, surplus);
            let unexamined = listed.unexamined as u64;
            feed.losses.unexamined(link, metadata, unexamined);
            feed.losses.no_file(link, listed.no_files.first());
            self.files.seen.keep_for(listed.files.len());
            let opened = match self.files.open.is_empty() {
                true => self.open_first(&listed, feed, link),
                false => self.open_newer(&listed.files, feed, link),
            };
            match opened {
                // A name changed between listing and opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            }
            // A search for what was truncated goes on.
            if self.search.is_under_way() {
                if self.files.open.is_empty() {
                    return Ok(());
                }
            } else {
                self.search.end();
            }
            let met = match known {
                0 => listed.files.len(),
                _ => (self.files.next_number - known) as usize,
            };
            self.creates.met(met, now);
            let missed = self.creates.take_missed();
            for file in self.files.open.iter_mut().filter(|_| missed > 0) {
                // Before which of the new ones they were is unknown.
                file.follows_loss |= file.number >= known;
            }
            feed.losses.missed(link, feed.assembler.metadata(), missed);
            return Ok(());
        }
        // The names keep changing; the next look catches up.
        Ok(())
    }

    /// Opens every listed file that is newer than those known.
    fn open_newer(&mut self, listed: &[ListedFile], feed: &Feed, link: &Link) -> io::Result<()> {
        let Some(newest) = self.files.open.back() else {
            return Ok(());
        };
        let is_current = |file: &ListedFile| file.is_current() && is_same(file.id, newest.id);
        if listed.last().is_some_and(is_current) {
            return self.open_unread_copies(listed);
        }
        let has_its_name = |file: &ListedFile| file.id == newest.id && !file.is_renamed;
        let is_away = !listed.iter().any(has_its_name);
        let mut newer = listed.len();
        while let (Some(file), Some(newest)) = (listed[..newer].last(), self.files.open.back()) {
            if is_held(file, &Head::of(file), newest)?
                || is_away && self.files.opens_successor(&listed[..newer])?
            {
                break;
            }
            newer -= 1;
        }
        let opened = self.open_unknown(&listed[newer..], &feed.losses, link)?;
        self.files.open.extend(opened);
        match self.open_unread_copies(listed) {
            // A name changed. Copies are searched for again before the first byte of their
            // original is taken.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Opens those of the listed files that are neither open nor read. One that goes on where another
    /// one ends is opened there.
    fn open_unknown(
        &mut self,
        listed: &[ListedFile],
        losses: &Losses,
        link: &Link,
    ) -> io::Result<Vec<Generation>> {
        let mut opened: Vec<Generation> = Vec::new();
        let current = listed.last().filter(|file| file.is_current());
        for file in listed {
            let head = Head::of(file);
            if self.files.holds(file, &head)? || self.files.has_content_of(file, &head, current)? {
                continue;
            }
            let newest = opened.last().or(self.files.open.back());
            let next = match (self.files.seen.find(file, &head)?, newest) {
                (Some(known), _) => match known.open_again(file)? {
                    None => continue,
                    again => again,
                },
                // A copy, which may get the name of the log.
                (None, Some(newest)) if is_extract_of(newest, file)? => continue,
                (None, Some(newest)) if file.is_current() || file.is_renamed => {
                    match successor_of(newest, file)? {
                        Some(successor) => Some(successor.into_file()),
                        None => open_or_pass(file, losses, link)?,
                    }
                }
                (None, _) => open_or_pass(file, losses, link)?,
            };
            if let Some(mut next) = next {
                next.number = self.files.next_number;
                opened.push(next);
            }
            self.files.next_number += 1;
        }
        Ok(opened)
    }

    /// Searches for copies again before the first byte of a file is taken; returns whether
    /// there were any.
    pub fn opens_unread_copies(&mut self, feed: &Feed) -> io::Result<bool> {
        let held = self.files.open.len();
        match self.list_copies(feed) {
            Ok(listed) => self.open_unread_copies(&listed)?,
            // Reading the open files frees descriptors.
            Err(error) if is_shortage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.files.open.len() > held)
    }

    /// Before the first byte of the front file is taken: drops what was taken before, if the file
    /// begins as one that was begun before, whatever its name, or if an earlier state of it was
    /// written over it.
    pub fn expect_known(&mut self, feed: &mut Feed) -> io::Result<()> {
        let is_known = is_front_known(&self.files)?;
        let front = self.files.open.front_mut();
        if front.is_some_and(|front| std::mem::take(&mut front.is_overwritten)) || is_known {
            feed.assembler.expect_known([true; 2], is_known);
        }
        Ok(())
    }

    /// Opens files that were created after a file of which nothing has been read yet.
    fn open_unread_copies(&mut self, listed: &[ListedFile]) -> io::Result<()> {
        for index in (0..self.files.open.len()).rev() {
            let copies = unread_copies(&self.files.open[index], listed, &self.files)?;
            if !copies.files.is_empty() {
                self.files.open[index].is_copied_to(&copies.files);
            }
            self.files.open[index].is_copied |= copies.is_under_way;
            self.insert_copies(index, copies.files);
        }
        Ok(())
    }

    fn insert_copies(&mut self, index: usize, copies: Vec<Generation>) {
        // They may be counted as created and are found only now.
        self.creates.met(copies.len(), Instant::now());
        for copy in copies.into_iter().rev() {
            self.files.open.insert(index, copy);
        }
    }

    /// Lists the files of the log that may be opened, oldest first, and counts those that may
    /// not.
    fn list(&self, feed: &Feed) -> io::Result<Listed> {
        let mut listed = listing::list(&self.log)?;
        let surplus = match feed.assembler.account().is_of_user() {
            true => listed.files.len().saturating_sub(MOST_OF_USER),
            false => 0,
        };
        listed.files.drain(..surplus);
        listed.surplus += surplus;
        Ok(listed)
    }

    /// The same, none if the folder is gone, and with it all copies. Fails with `NotFound` if one
    /// may be missing.
    fn list_copies(&self, feed: &Feed) -> io::Result<Vec<ListedFile>> {
        match self.list(feed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Ok(listed) if listed.has_changed => Err(io::ErrorKind::NotFound.into()),
            listed => Ok(listed?.files),
        }
    }

    /// Handles a truncation of the front file. If someone copied it first (logrotate's
    /// copytruncate), the unread rest is in the copy, and what was written since is in later
    /// copies. `is_behind` says that more may have been written than was seen. Returns `false` if
    /// a file must be decompressed further to tell.
    pub fn restart_truncated(
        &mut self,
        feed: &mut Feed,
        link: &Link,
        is_behind: bool,
    ) -> io::Result<bool> {
        let Some(front) = self.files.open.front() else {
            return Ok(true);
        };
        let (number, checkpoint) = (front.number, front.resume_here());
        let mut restarted = front.restarted(number)?;
        let (path, unread) = (front.path.to_path_buf(), front.unread());
        let (listed, copies) = if checkpoint.has_no_file() {
            (Vec::new(), Some(Copies::default()))
        } else {
            let listed = self.list_copies(feed)?;
            let search = &mut self.search;
            let copies = copies_of(front, &checkpoint, &listed, &self.files, search)?;
            (listed, copies)
        };
        let Some(copies) = copies else {
            return Ok(false);
        };
        self.search.end();
        if copies.rest.is_none() {
            // Its beginning may have been cut off, and the rest written over it.
            let taken = front.last_time().into_iter();
            let taken = taken.map(|time| TimeCursor { time, count: 1 });
            let cursors = taken.chain(feed.accepted.saved().map(|stream| stream.cursor));
            let cursors: Vec<_> = cursors.collect();
            seek_kept(&mut restarted, &checkpoint, &cursors)?;
        }
        feed.accepted.forget(number);
        match &copies.rest {
            Some(rest) => {
                // Written after it was copied; how long an archive is shows at its end only.
                let is_plain = rest.plain_file().is_some();
                let lost = unread.saturating_sub(rest.unread()) * u64::from(is_plain);
                feed.losses.truncated(link, path, lost);
            }
            None if restarted.read_offset() > 0 => {
                let lost = unread.saturating_sub(restarted.unread());
                feed.losses.truncated(link, path, lost);
            }
            None => {
                if unread > 0 {
                    feed.assembler.note_loss();
                }
                feed.flush_open(Some(front), link);
                match is_behind {
                    true => feed.losses.truncated_behind(link, path, unread),
                    false => feed.losses.truncated(link, path, unread),
                }
            }
        }
        feed.assembler.file_ended(Some(checkpoint));
        for file in copies.read {
            self.files.seen.remember(file);
        }
        self.files.open[0] = restarted;
        self.insert_copies(0, copies.rest.into_iter().collect());
        match self.open_unread_copies(&listed) {
            // A name changed; see `open_newer`.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            result => result.map(|()| true),
        }
    }

    /// Counts a new current file that inotify reported.
    pub fn file_made(&mut self, name: &str) {
        if self.log.rank_of(name).is_some_and(|rank| rank.age == 0) {
            self.creates.made();
        }
    }

    /// Handles lost inotify events.
    pub fn notices_lost(&mut self, now: Instant) {
        self.creates.forget(now);
    }

    /// Whether the log's name belongs to another file than the newest open one; for folders
    /// that cannot be watched.
    pub fn is_rotated(&self) -> bool {
        let newest = self.files.open.back();
        let current = match self.log.current() {
            Some(current) => Some(stat_path(current)),
            None => newest.map(|newest| stat_path(&newest.path)),
        };
        match (newest, current) {
            (Some(newest), Some(Ok((id, _)))) => newest.id != id,
            (None, Some(Ok(_))) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
