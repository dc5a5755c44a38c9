//! Which files of a container's log are open: where the first look begins, which files a later
//! look adds, and what a truncation means.
//!
//! Files are distinguished by inode and birth time if the file system has birth times;
//! otherwise, or if dockerd compressed the file, by content.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::position::{PerStream, Position, Timestamp};
use crate::format::rfc3339;
use crate::runtime::file::{is_permanent, is_shortage, stat_path};
use crate::source::file::generation::Generation;
use crate::source::file::known::{Head, KnownFile};
use crate::source::file::listing;
use crate::source::file::listing::ListedFile;
use crate::source::file::search::{Search, Sought};
use crate::source::file::tailer::{Start, Tailer};
use crate::telemetry::account::{Abandoned, Account, Amount};
use crate::telemetry::event::Event;

/// Attempts to open the files while a rotation changes their names.
const OPEN_ATTEMPTS: usize = 5;

/// Limit on the open files of a log in a user's storage, newest first. A user can create any
/// number of files, each takes a descriptor, and conmon keeps none.
const MOST_OF_USER: usize = 64;

/// The kernel's birth times advance in clock ticks, so one may precede the time of an entry
/// written earlier by up to this, in nanoseconds.
const CLOCK_TICK: u64 = 1_000_000_000;

/// Where a stream begins: index of the listed file and offset in it.
type Place = (usize, u64);

/// The result of [`find`].
#[derive(Debug, Clone, Copy, Default)]
struct Begin {
    place: Place,
    /// In the files before this index, nothing on disk says what was accepted. Entry times do:
    /// entries up to the last one taken were.
    doubt_ends: usize,
}

impl Tailer {
    /// Lists the folder and opens every file of the log that is not known yet. Cheap if
    /// nothing changed.
    pub fn refresh(&mut self, link: &Link) -> io::Result<()> {
        let now = Instant::now();
        self.creates.settle(now);
        for _ in 0..OPEN_ATTEMPTS {
            let known = self.next_number;
            let listed = self.listed(link)?;
            self.seen.keep_for(listed.len());
            let opened = if self.generations.is_empty() {
                self.open_first(&listed, link)
            } else {
                self.open_newer(&listed, link)
            };
            match opened {
                // A name changed between listing and opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(()) if self.generations.is_empty() && self.search.is_under_way() => {
                    return Ok(())
                }
                Ok(()) => {
                    // A search for what was truncated goes on.
                    if !self.search.is_under_way() {
                        self.search.end();
                    }
                    let met = if known == 0 {
                        listed.len()
                    } else {
                        (self.next_number - known) as usize
                    };
                    self.creates.met(met, now);
                    self.report_missed(link);
                    self.note_unread();
                    return Ok(());
                }
                error => return error,
            }
        }
        // The names keep changing; the next look catches up.
        Ok(())
    }

    /// Lists the files of the log that may be opened, oldest first.
    fn listed(&mut self, link: &Link) -> io::Result<Vec<ListedFile>> {
        let mut listed = listing::list(&self.files)?;
        let surplus = passed_over(&listed, self.account());
        listed.drain(..surplus);
        if surplus > 0 && !self.surplus_reported {
            let (name, short_id, files) = (
                self.metadata().title(),
                self.account().short_id(),
                surplus as u64,
            );
            self.surplus_reported = link.report(Event::FilesPassedOver {
                name,
                short_id,
                files,
            });
            let generations = if self.surplus_reported { files } else { 0 };
            self.account().abandon(Abandoned {
                bytes: 0,
                generations,
            });
        }
        Ok(listed)
    }

    fn open_first(&mut self, listed: &[ListedFile], link: &Link) -> io::Result<()> {
        if listed.is_empty() {
            // Files that appear later are new and are read from their first byte.
            if self.start == Start::End {
                self.start = Start::Head;
            }
            return Ok(());
        }
        let mut found: Vec<Option<Generation>> = listed.iter().map(|_| None).collect();
        let mut places: PerStream<Place> = [(0, 0); 2];
        let mut doubt_ends = 0;
        if let Start::Saved(saved) = self.start {
            let mut lost: PerStream<Option<Lost>> = [None, None];
            let mut by_time = saved.map(|resume| resume.is_by_time);
            let is_pod = self.files.current().is_none();
            for (index, resume) in saved.iter().enumerate() {
                let since = copied_since(&saved, index);
                let search = &mut self.search;
                let Some(begin) = find(
                    listed,
                    resume,
                    since,
                    is_pod,
                    search,
                    &mut found,
                    &mut lost[index],
                )?
                else {
                    // The file for the other stream was found already: keep it until the
                    // search ends.
                    found
                        .into_iter()
                        .flatten()
                        .for_each(|file| self.search.keep(file, &saved[0]));
                    return Ok(());
                };
                places[index] = begin.place;
                by_time[index] |= begin.doubt_ends > 0 && !resume.is_mid_line;
                doubt_ends = begin.doubt_ends.max(doubt_ends);
            }
            start_behind_other(listed, &saved, &lost, &mut places);
            if let Some(event) = lost.into_iter().flatten().next() {
                self.report_lost(link, event);
            }
            self.assembler.resume_from(&saved, by_time);
            self.accepted.saved = saved;
        }
        let first = match self.start {
            Start::End => listed.len() - 1,
            _ => places.iter().map(|(index, _)| *index).min().unwrap_or(0),
        };
        // Usually there is one, and each is some hundred bytes.
        let mut generations = VecDeque::with_capacity(1);
        for (index, file) in listed.iter().enumerate().skip(first) {
            // One stream may begin in this file before the other one's offset.
            let is_lowest = |generation: &Generation| {
                places
                    .iter()
                    .all(|(at, offset)| *at != index || *offset >= generation.read_offset())
            };
            let sought = found[index]
                .take()
                .filter(|generation| index == first && is_lowest(generation));
            let opened = match sought {
                Some(generation) => Some(generation),
                None => open_or_pass(file, self.account(), link)?,
            };
            if let Some(mut generation) = opened {
                generation.number = (index - first) as u32;
                generations.push_back(generation);
            }
        }
        self.seen.clear();
        for file in &listed[..first] {
            self.seen.remember(seen_file(file)?);
        }
        let in_doubt = doubt_ends.saturating_sub(first) as u32;
        self.accepted.doubt_ends = (in_doubt > 0).then_some(in_doubt);
        self.next_number = (listed.len() - first) as u32;
        self.accepted.before = places.map(|(index, offset)| Position {
            generation: index.saturating_sub(first) as u32,
            offset,
        });
        self.generations = generations;
        if self.start == Start::End {
            self.accepted.before = PerStream::default();
            if let Some(current) = self.generations.back_mut() {
                current.seek_to_end()?;
                let resume = current.resume_here();
                self.push_progress(link, resume);
            }
        }
        // If all files vanish and new ones appear, those are read from the start.
        self.start = Start::Head;
        Ok(())
    }

    /// Counts a new current file that inotify reported.
    pub fn file_made(&mut self, name: &str) {
        if self.files.rank_of(name).is_some_and(|rank| rank.age == 0) {
            self.creates.made();
        }
    }

    /// Handles lost inotify events.
    pub fn notices_lost(&mut self, now: Instant) {
        self.creates.forget(now);
    }

    /// Reports files that were created and deleted between two looks.
    fn report_missed(&mut self, link: &Link) {
        let files = self.creates.take_missed();
        if files == 0 {
            return;
        }
        self.account().abandon(Abandoned {
            bytes: 0,
            generations: files,
        });
        let (name, short_id) = (self.metadata().title(), self.account().short_id());
        self.missed.add(
            Amount {
                bytes: 0,
                records: files,
            },
            Instant::now(),
            |missed| {
                link.report(Event::GenerationsMissed {
                    name,
                    short_id,
                    files: missed.records,
                })
            },
        );
    }

    fn report_lost(&self, link: &Link, lost: Lost) {
        // Neither its content nor whether it was read to its end is known.
        self.account().abandon(Abandoned {
            bytes: 0,
            generations: 1,
        });
        link.report(match lost {
            Lost::Truncated(path) => Event::TruncatedMeanwhile { path },
            Lost::Generation(last) => Event::GenerationLost {
                name: self.metadata().title(),
                short_id: self.account().short_id(),
                last: rfc3339::format(last),
            },
        });
    }

    fn open_newer(&mut self, listed: &[ListedFile], link: &Link) -> io::Result<()> {
        let Some(newest) = self.generations.back() else {
            return Ok(());
        };
        let is_current =
            |file: &ListedFile| file.is_current() && file.id == newest.id && file.id.birth != 0;
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
        let opened = self.open_unknown(&listed[first_newer..], link)?;
        self.generations.extend(opened);
        match self.open_unread_copies(listed) {
            // A name changed. Copies are searched for again before the first byte of their
            // original is taken.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Opens those of the listed files that are neither open nor read.
    fn open_unknown(&mut self, listed: &[ListedFile], link: &Link) -> io::Result<Vec<Generation>> {
        let mut opened = Vec::new();
        for file in listed {
            if self.is_known(file, &Head::of(file))? {
                continue;
            }
            let opens = open_or_pass(file, self.account(), link)?;
            if let Some(mut generation) = opens {
                generation.number = self.next_number;
                opened.push(generation);
            }
            self.next_number += 1;
        }
        Ok(opened)
    }

    /// Searches for copies again before the first byte of a file is taken; returns whether
    /// there were any.
    pub(in crate::source) fn opens_unread_copies(&mut self) -> io::Result<bool> {
        let held = self.generations.len();
        match listing::list(&self.files) {
            Ok(listed) => {
                self.open_unread_copies(&listed[passed_over(&listed, self.account())..])?
            }
            // The folder is gone, and its copies with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Reading the open files frees descriptors.
            Err(error) if is_shortage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.generations.len() > held)
    }

    /// Opens files that were created after a file of which nothing has been read yet: copies
    /// of its content before a truncation (copytruncate).
    fn open_unread_copies(&mut self, listed: &[ListedFile]) -> io::Result<()> {
        for index in (0..self.generations.len()).rev() {
            let (copies, is_under_way) = self.unread_copies(&self.generations[index], listed)?;
            self.generations[index].is_copied |= is_under_way;
            // They may be counted as created and are found only now.
            self.creates.met(copies.len(), Instant::now());
            for copy in copies.into_iter().rev() {
                self.generations.insert(index, copy);
            }
        }
        Ok(())
    }

    /// Returns the unread copies of one generation, oldest first, and whether there is a copy
    /// of its current content.
    fn unread_copies(
        &self,
        held: &Generation,
        listed: &[ListedFile],
    ) -> io::Result<(Vec<Generation>, bool)> {
        let place = listed
            .iter()
            .position(|file| file.id == held.id && held.id.birth != 0);
        let Some(place) = place.filter(|_| held.read_offset() == 0) else {
            return Ok((Vec::new(), false));
        };
        let Some(head) = held.head_now()? else {
            return Ok((Vec::new(), false));
        };
        let (mut copies, mut is_under_way) = (Vec::new(), false);
        for file in listed[..place].iter().rev() {
            let of_copy = Head::of(file);
            let Some(copy) = of_copy.read()? else {
                continue;
            };
            if self.is_known(file, &of_copy)? {
                break;
            }
            // While the copy matches the start of the file, the file has not been truncated
            // yet.
            if copies.is_empty() && head.starts_with(copy) {
                is_under_way = true;
                continue;
            }
            let mut opened = Generation::open_listed(file)?;
            opened.number = held.number;
            copies.push(opened);
        }
        copies.reverse();
        Ok((copies, is_under_way))
    }

    /// Whether a listed file is open or was read before.
    fn is_known(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<bool> {
        for held in &self.generations {
            if is_held(file, head, held)? {
                return Ok(true);
            }
        }
        self.seen.knows(file, head)
    }

    /// Ends the comparison by entry times once reading reaches files identified by their
    /// heads.
    pub(in crate::source) fn end_doubt(&mut self) {
        let Some(front) = self.generations.front() else {
            return;
        };
        if let Some(streams) = self.accepted.reaches(front.number) {
            self.assembler.end_skip(streams);
        }
    }

    /// Handles a truncation of the front file. If someone copied it first (logrotate's
    /// copytruncate), the unread rest is in the copy, and what was written since is in later
    /// copies. Returns `false` if a file must be decompressed further to tell.
    pub(in crate::source) fn restart_truncated(&mut self, link: &Link) -> io::Result<bool> {
        let Some(front) = self.generations.front() else {
            return Ok(true);
        };
        let resume = front.resume_here();
        let number = front.number;
        let restarted = front.restarted(number)?;
        let (path, unread) = (front.path.clone(), front.unread());
        let mut search = std::mem::take(&mut self.search);
        let found = self.find_copies(front, &resume, &mut search);
        self.search = search;
        let Some((copies, read)) = found? else {
            return Ok(false);
        };
        self.search.end();
        self.accepted.forget(number);
        read.into_iter().for_each(|file| self.seen.remember(file));
        if copies.is_empty() {
            self.flush_open(link);
            self.report_vanished(link, unread);
        } else {
            self.report_truncated(link, path, 0);
        }
        self.assembler.file_ended(Some(resume));
        self.generations.pop_front();
        self.generations.push_front(restarted);
        self.creates.met(copies.len(), Instant::now());
        for copy in copies.into_iter().rev() {
            self.generations.push_front(copy);
        }
        Ok(true)
    }

    /// Counts and reports bytes of the front file that had been seen and were destroyed
    /// unread.
    pub(in crate::source) fn report_vanished(&mut self, link: &Link, unread: u64) {
        self.account().abandon(Abandoned {
            bytes: unread,
            generations: 0,
        });
        if let Some(path) = self.generations.front().map(|front| front.path.clone()) {
            self.report_truncated(link, path, unread);
        }
    }

    fn report_truncated(&mut self, link: &Link, path: std::path::PathBuf, unread: u64) {
        let amount = Amount {
            bytes: unread,
            records: 1,
        };
        self.truncated[usize::from(unread > 0)].add(amount, Instant::now(), |all| {
            link.report(Event::Truncated {
                path,
                unread: all.bytes,
            })
        });
    }

    /// Returns the file that continues at `resume`, the end of what was read of `front`, with
    /// the unknown files after it; and the files that hold only what was read. `None` if a
    /// file must be decompressed further to tell.
    fn find_copies(
        &self,
        front: &Generation,
        resume: &StreamCheckpoint,
        search: &mut Search,
    ) -> io::Result<Option<(Vec<Generation>, Vec<KnownFile>)>> {
        let (mut copies, mut read) = (Vec::new(), Vec::new());
        if resume.has_no_file() {
            return Ok(Some((copies, read)));
        }
        let listed = match listing::list(&self.files) {
            // The folder is gone, and its copies with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some((copies, read)))
            }
            listed => listed?,
        };
        let listed = &listed[passed_over(&listed, self.account())..];
        for file in listed.iter().filter(|file| !file.is_current()) {
            if self.generations.iter().any(|held| held.id == file.id) {
                continue;
            }
            let mut candidate = match search.seek(file, resume)? {
                Sought::Unfinished => return Ok(None),
                Sought::Here(candidate) => {
                    copies.clear();
                    *candidate
                }
                Sought::Elsewhere if self.is_known(file, &Head::of(file))? => continue,
                Sought::Elsewhere if copies.is_empty() && !is_later_copy(file, front)? => {
                    read.push(seen_file(file)?);
                    continue;
                }
                Sought::Elsewhere => Generation::open_listed(file)?,
            };
            candidate.number = front.number;
            copies.push(candidate);
        }
        Ok(Some((copies, read)))
    }

    /// Whether the log's name belongs to another file than the newest open one; for folders
    /// that cannot be watched.
    pub fn is_rotated(&self) -> bool {
        let newest = self.generations.back();
        let current = match self.files.current() {
            Some(current) => Some(stat_path(current)),
            None => newest.map(|newest| stat_path(&newest.safe_path())),
        };
        match (newest, current) {
            (Some(newest), Some(Ok((id, _)))) => newest.id != id,
            (None, Some(Ok(_))) => true,
            _ => false,
        }
    }
}

/// How many of the oldest listed files are not opened.
fn passed_over(listed: &[ListedFile], account: &Account) -> usize {
    match account.is_of_user() {
        true => listed.len().saturating_sub(MOST_OF_USER),
        false => 0,
    }
}

/// Why no file matches a checkpoint.
enum Lost {
    /// Its file was truncated.
    Truncated(std::path::PathBuf),
    /// Its file is gone; the time of the last entry taken from it.
    Generation(Timestamp),
}

/// Returns a time, in nanoseconds of the kernel's clock: for a stream whose checkpoint matches
/// no file, copies made before it hold nothing unread.
fn copied_since(saved: &ContainerCheckpoint, stream: usize) -> u64 {
    let resume = &saved[stream];
    let place = |resume: &StreamCheckpoint| (resume.birth, resume.offset);
    let is_furthest = saved.iter().all(|other| place(other) <= place(resume));
    let latest = saved
        .iter()
        .map(|resume| resume.cursor.time)
        .max()
        .unwrap_or_default();
    resume.birth.max(if !resume.is_mid_line {
        // The times of its entries decide the rest.
        resume.cursor.time.since_epoch().saturating_sub(CLOCK_TICK)
    } else if is_furthest {
        // Everything taken from the other stream was taken before it as well.
        latest.since_epoch()
    } else {
        resume.cursor.time.since_epoch()
    })
}

/// Moves the start of a stream whose checkpoint matches no file up to the other stream's, as
/// far as that is certain.
fn start_behind_other(
    listed: &[ListedFile],
    saved: &ContainerCheckpoint,
    lost: &PerStream<Option<Lost>>,
    places: &mut PerStream<Place>,
) {
    for (stream, other) in [(0, 1), (1, 0)] {
        let index = places[other].0;
        let is_found = lost[other].is_none() && !saved[other].has_no_file();
        if lost[stream].is_none() || !is_found {
            continue;
        }
        // This holds if the lost checkpoint is further than the other. Which log an archive
        // holds, and so which is older, is known only for compressed files: a copy is younger
        // than the file that continues after it.
        let (birth, birth_of_other) = (saved[stream].birth, saved[other].birth);
        let is_behind = listed[index].rank.is_gzip && birth_of_other != 0 && birth_of_other < birth;
        if is_behind && places[stream].0 <= index {
            let is_last = index + 1 == listed.len();
            places[stream] = if is_last {
                (index, u64::MAX)
            } else {
                (index + 1, 0)
            };
        }
        // Nothing of it is open, so what was not accepted of it is at most what was read from
        // one file together with the last of the other.
        if saved[stream].is_mid_line {
            places[stream] = places[stream].max((index, 0));
        }
    }
}

/// Whether everything before a checkpoint is a hole of NULs. That identifies no file, so the
/// checkpoint is treated as one at the start.
fn is_behind_hole(resume: &StreamCheckpoint) -> bool {
    let length = resume.fingerprint.length as usize;
    length > 0
        && resume.fingerprint == Fingerprint::of(&vec![0; length])
        && resume.marker == Marker::of(&vec![0; resume.marker.length as usize])
}

/// Finds the file that a checkpoint was taken from: its index and the offset. If it is gone,
/// the first file that may hold unread data. `None` if a file must be decompressed further to
/// tell.
fn find(
    listed: &[ListedFile],
    resume: &StreamCheckpoint,
    since: u64,
    is_pod: bool,
    search: &mut Search,
    found: &mut [Option<Generation>],
    lost: &mut Option<Lost>,
) -> io::Result<Option<Begin>> {
    if resume.has_no_file() {
        return Ok(Some(Begin::default()));
    }
    let certain = |place| {
        Some(Begin {
            place,
            doubt_ends: 0,
        })
    };
    // Begins at the first copy; entries of copies are compared by time.
    let copied = |since: u64, index: usize| -> io::Result<Option<Begin>> {
        let first = first_copy(&listed[..index], since, resume)?;
        Ok(Some(Begin {
            place: (first, 0),
            doubt_ends: if first < index { index } else { 0 },
        }))
    };
    let is_hole = is_behind_hole(resume);
    let at_start = StreamCheckpoint {
        fingerprint: Fingerprint::default(),
        marker: Marker::default(),
        offset: 0,
        ..*resume
    };
    let resume = if is_hole { &at_start } else { resume };
    let is_likely =
        |file: &ListedFile| file.id.inode == resume.inode && file.id.birth == resume.birth;
    let likely = (0..listed.len())
        .rev()
        .filter(|index| is_likely(&listed[*index]));
    let others = (0..listed.len())
        .rev()
        .filter(|index| !is_likely(&listed[*index]));
    for index in likely.chain(others) {
        let generation = match search.seek(&listed[index], resume) {
            Ok(Sought::Here(generation)) => *generation,
            Ok(Sought::Elsewhere) => continue,
            Ok(Sought::Unfinished) => return Ok(None),
            Err(error) if is_permanent(&error) => continue,
            Err(error) => return Err(error),
        };
        // Both streams may be in one file; reading begins at the lower offset.
        let is_lower = found[index]
            .as_ref()
            .is_none_or(|other| resume.offset < other.read_offset());
        if is_lower {
            found[index] = Some(generation);
        }
        if resume.fingerprint.length == 0 {
            // Nothing of it had been read, nor of its copies, unless it has a hole.
            return copied(if is_hole { since } else { resume.birth }, index);
        }
        return Ok(certain((index, resume.offset)));
    }
    if let Some(index) = listed
        .iter()
        .position(|file| resume.birth != 0 && is_likely(file))
    {
        // The same file with other content: truncated while this process was not running.
        lost.get_or_insert(Lost::Truncated(listed[index].path.to_path_buf()));
        // It may have been copied several times since, and the copy that the checkpoint
        // matches deleted.
        return copied(since, index);
    }
    lost.get_or_insert(Lost::Generation(resume.cursor.time));
    let mut newer = listed.iter().position(|file| is_newer(file, resume));
    // The checkpoint may be of a copy of the current file's earlier content. The current file
    // is older than its copies, but its content is newer.
    if newer.is_none() && listed.last().is_some_and(ListedFile::is_current) {
        newer = Some(listed.len() - 1);
    }
    // An archive is created after its log. Entry times of a pod do not help: its clock may
    // step back, so its archives are read again.
    let last_archive = listed.iter().rposition(|file| file.rank.is_gzip && !is_pod);
    let doubt_ends = last_archive.map_or(0, |index| index + 1);
    // Everything was read before: start at the very end of the last file.
    Ok(
        newer.map_or(certain((listed.len() - 1, u64::MAX)), |index| {
            Some(Begin {
                place: (index, 0),
                doubt_ends,
            })
        }),
    )
}

/// Returns the index of the first of the files directly before another that were created after
/// `since`, and so are copies of that file's content before a truncation; if there are none,
/// the index of that file.
fn first_copy(before: &[ListedFile], since: u64, resume: &StreamCheckpoint) -> io::Result<usize> {
    let mut first = before.len();
    for (index, file) in before.iter().enumerate().rev() {
        if file.rank.is_gzip || file.id.birth <= since || was_read_whole(file, resume)? {
            break;
        }
        first = index;
    }
    Ok(first)
}

/// Whether a copy holds only data before a checkpoint: it was made before the last lines were
/// read, and those were truncated away.
fn was_read_whole(file: &ListedFile, resume: &StreamCheckpoint) -> io::Result<bool> {
    let head = Head::of(file);
    let Some(head) = head.read()? else {
        return Ok(false);
    };
    // A hole does not identify a file.
    let is_hole = head.iter().all(|byte| *byte == 0);
    Ok(!is_hole && resume.fingerprint.matches(head) && stat_path(&file.path)?.1 <= resume.offset)
}

/// Whether an unknown file was copied from `held` after that was truncated at least once since
/// it was read. A copy of what was read begins the same, even if it ends before the offset
/// because it was made before the last lines.
fn is_later_copy(file: &ListedFile, held: &Generation) -> io::Result<bool> {
    if file.rank.is_gzip || file.id.birth <= held.id.birth {
        return Ok(false);
    }
    Ok(Head::of(file)
        .read()?
        .is_some_and(|head| !held.begins_like(head)))
}

/// Whether a file may hold entries written after a checkpoint whose own file is gone.
/// Uncertain ones count as newer: duplicates are better than a loss.
fn is_newer(file: &ListedFile, resume: &StreamCheckpoint) -> bool {
    file.rank.is_gzip
        || file.id.birth == 0
        || file.id.birth >= resume.birth
        || was_written_since(file, resume.birth)
}

/// Whether a file older than the checkpoint's was written after that was created: then the
/// checkpoint was in a copy of it (copytruncate) that has been renamed since.
fn was_written_since(file: &ListedFile, birth: u64) -> bool {
    let Ok(stat) = file.path.stat() else {
        return false;
    };
    let modified =
        i128::from(stat.stx_mtime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_mtime.tv_nsec);
    modified > i128::from(birth)
}

/// As [`Generation::open_listed`], but reports and skips a rotated file that can never be
/// opened.
fn open_or_pass(
    file: &ListedFile,
    account: &Account,
    link: &Link,
) -> io::Result<Option<Generation>> {
    match Generation::open_listed(file) {
        Ok(generation) => Ok(Some(generation)),
        Err(error) if !file.is_current() && is_permanent(&error) => {
            let (path, reason) = (file.path.to_path_buf(), error.to_string());
            let unread = stat_path(&file.path).map_or(0, |(_, size)| size);
            account.abandon(Abandoned {
                bytes: unread,
                generations: 1,
            });
            link.tally.read_errors.add_one();
            link.report(Event::GenerationUnreadable {
                path,
                reason,
                unread,
            });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn seen_file(file: &ListedFile) -> io::Result<KnownFile> {
    let head = Head::of(file);
    Ok(KnownFile {
        id: file.id,
        fingerprint: Fingerprint::of(head.read()?.unwrap_or_default()),
    })
}

/// Whether a listed file is one that is open: compared by birth time if there is one,
/// otherwise, or if dockerd compressed it since, by content. The open file may have grown
/// since it was read, so its head is read again.
fn is_held(file: &ListedFile, head: &Head<'_>, held: &Generation) -> io::Result<bool> {
    if file.id == held.id && held.id.birth != 0 {
        return Ok(true);
    }
    if file.id != held.id && !file.rank.is_gzip {
        return Ok(false);
    }
    let Some(head) = head.read()? else {
        return Ok(false);
    };
    match held.head_now()? {
        // An incomplete archive holds less.
        Some(now) if file.rank.is_gzip => Ok(now.starts_with(head) && !head.is_empty()),
        Some(now) => Ok(head == now),
        None => Ok(held.fingerprint().matches(head)),
    }
}

#[cfg(test)]
mod tests;
