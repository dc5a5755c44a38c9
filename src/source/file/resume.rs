//! Which files of a container's log are open: where the first look begins,
//! which files a later look adds, and what a truncation means.
//!
//! A file is told from another by inode and birth time where the file system
//! has one, and by its content where it has none or dockerd compressed it.

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

/// How often opening is tried again while a rotation moves the names.
const OPEN_ATTEMPTS: usize = 5;

/// How many files of a log in a user's storage are opened, the newest of those there are: he
/// can make as many as he likes, of which each takes a descriptor, and conmon keeps none.
const MOST_OF_USER: usize = 64;

/// How far a birth time, by the kernel's clock that ticks, may be before the time of an
/// entry that was written earlier.
const CLOCK_TICK: u64 = 1_000_000_000;

/// Where a stream begins among the listed files.
type Place = (usize, u64);

/// What [`find`] found.
#[derive(Debug, Clone, Copy, Default)]
struct Begin {
    place: Place,
    /// Of the files before this one nothing on the disk tells what was accepted. The
    /// times of their entries do: those up to the last one that was taken.
    doubt_ends: usize,
}

impl Tailer {
    /// Looks at the folder and opens every file of the log that is not known
    /// yet. Cheap where nothing changed.
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
                // A name moved between listing and opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(()) if self.search.is_under_way() => return Ok(()),
                Ok(()) => {
                    self.search.end();
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
        // It keeps moving; the next look catches up.
        Ok(())
    }

    /// The files of the log, oldest first, as far as they are to be opened.
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
            // What appears later is new: it is read from its first byte.
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
                    // Where the other stream's is was found in vain, but for this.
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
            self.accepted = saved;
        }
        let first = match self.start {
            Start::End => listed.len() - 1,
            _ => places.iter().map(|(index, _)| *index).min().unwrap_or(0),
        };
        // As a rule there is one, and each is some hundred bytes.
        let mut generations = VecDeque::with_capacity(1);
        for (index, file) in listed.iter().enumerate().skip(first) {
            // One stream may begin in this file before where the other goes on.
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
        self.doubt_ends = (in_doubt > 0).then_some(in_doubt);
        self.next_number = (listed.len() - first) as u32;
        self.accepted_before = places.map(|(index, offset)| Position {
            generation: index.saturating_sub(first) as u32,
            offset,
        });
        self.generations = generations;
        if self.start == Start::End {
            self.accepted_before = PerStream::default();
            if let Some(current) = self.generations.back_mut() {
                current.seek_to_end()?;
                let resume = current.resume_here();
                self.push_progress(link, resume);
            }
        }
        // Should all files vanish and new ones come, they are new.
        self.start = Start::Head;
        Ok(())
    }

    /// The kernel tells of a new name in the folder.
    pub fn file_made(&mut self, name: &str) {
        if self.files.rank_of(name).is_some_and(|rank| rank.age == 0) {
            self.creates.made();
        }
    }

    /// The kernel did not tell of all names.
    pub fn notices_lost(&mut self, now: Instant) {
        self.creates.forget(now);
    }

    /// Files that came and went between two looks.
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
        // What was in it is not known; nor whether it was read to its end.
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
            // A name moved. They are looked for again before the first byte of
            // their file is taken.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Opens those of the listed files that are neither held nor seen.
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

    /// Looks once more for copies before the first byte of a file is taken;
    /// whether there were any.
    pub(in crate::source) fn opens_unread_copies(&mut self) -> io::Result<bool> {
        let held = self.generations.len();
        match listing::list(&self.files) {
            Ok(listed) => {
                self.open_unread_copies(&listed[passed_over(&listed, self.account())..])?
            }
            // The folder is gone, and its copies with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Reading what is open is what sets descriptors free.
            Err(error) if is_shortage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.generations.len() > held)
    }

    /// Files that appeared behind one of which nothing was read yet: copies of
    /// what it held before it was truncated (copytruncate).
    fn open_unread_copies(&mut self, listed: &[ListedFile]) -> io::Result<()> {
        for index in (0..self.generations.len()).rev() {
            let (copies, is_under_way) = self.unread_copies(&self.generations[index], listed)?;
            self.generations[index].is_copied |= is_under_way;
            // They may be files that were made and are met only now.
            self.creates.met(copies.len(), Instant::now());
            for copy in copies.into_iter().rev() {
                self.generations.insert(index, copy);
            }
        }
        Ok(())
    }

    /// The copies of one generation, oldest first, and whether there is one of what it
    /// holds now.
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
            // As long as a copy says what the file says, that was not truncated
            // after it yet.
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

    /// Whether a listed file is one that is open or was read before.
    fn is_known(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<bool> {
        for held in &self.generations {
            if is_held(file, head, held)? {
                return Ok(true);
            }
        }
        self.seen.knows(file, head)
    }

    /// The times of entries say what was accepted only of files whose heads do not.
    pub(in crate::source) fn end_doubt(&mut self) {
        let is_certain = |ends: u32| {
            self.generations
                .front()
                .is_some_and(|front| front.number >= ends)
        };
        if self.doubt_ends.is_some_and(is_certain) {
            self.doubt_ends = None;
            self.assembler
                .end_skip(self.accepted.map(|resume| !resume.is_by_time));
        }
    }

    /// A stream may have been accepted further than reading begins. What it was
    /// accepted of may be truncated before we come there.
    pub(in crate::source) fn check_accepted(&mut self) -> io::Result<()> {
        let Some(front) = self
            .generations
            .front()
            .filter(|front| front.read_offset() == 0)
        else {
            return Ok(());
        };
        for (before, resume) in self.accepted_before.iter_mut().zip(&self.accepted) {
            let is_here = before.generation == front.number && before.offset == resume.offset;
            if is_here && before.offset > 0 && !front.holds(resume)? {
                *before = Position::default();
            }
        }
        Ok(())
    }

    /// The front file was truncated in place. If someone copied it first
    /// (logrotate's copytruncate), what we had not read is in the copy, and
    /// what was written since is in the copies after it. `false` where a file must be
    /// unpacked further to tell.
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
        for accepted in &mut self.accepted_before {
            if accepted.generation <= number {
                *accepted = Position::default();
            }
        }
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

    /// Bytes of the front file were destroyed that had been seen and not read.
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

    /// The file that goes on where `resume` is, which is the end of what was read
    /// of `front`, and the unknown ones after it. And those that hold nothing but
    /// what was read. `None` where one must be unpacked further to tell.
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

    /// Whether the name of the log leads to another file than the newest one
    /// held: for folders that cannot be watched.
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

/// How many of the oldest listed files are not to be opened.
fn passed_over(listed: &[ListedFile], account: &Account) -> usize {
    match account.is_of_user() {
        true => listed.len().saturating_sub(MOST_OF_USER),
        false => 0,
    }
}

/// Why a saved position is in no file.
enum Lost {
    /// Its file was truncated.
    Truncated(std::path::PathBuf),
    /// Its file is gone; the time of the last entry taken from it.
    Generation(Timestamp),
}

/// What was copied before this time, by the kernel's clock, holds nothing that is unread of a
/// stream whose position is in no file any more.
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
        // The times of its entries say the rest.
        resume.cursor.time.since_epoch().saturating_sub(CLOCK_TICK)
    } else if is_furthest {
        // All that was taken of the other stream was taken before it as well.
        latest.since_epoch()
    } else {
        resume.cursor.time.since_epoch()
    })
}

/// A stream whose position is nowhere begins no earlier than the other one was found, as far
/// as that is known.
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
        // If it was further than the other. Whose archive it is, and so which was first, is known
        // of compressed files only: a copy is younger than what goes on after it.
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
        // Nothing of it is open, so what was not accepted of it is at most what was read together
        // with the last of the other, of one file.
        if saved[stream].is_mid_line {
            places[stream] = places[stream].max((index, 0));
        }
    }
}

/// Whether a position has nothing but a hole of NULs before it. That tells no file
/// from another, and the position is as good as one at the start.
fn is_behind_hole(resume: &StreamCheckpoint) -> bool {
    let length = resume.fingerprint.length as usize;
    length > 0
        && resume.fingerprint == Fingerprint::of(&vec![0; length])
        && resume.marker == Marker::of(&vec![0; resume.marker.length as usize])
}

/// Finds the file that a saved position was taken of: its index and the offset.
/// Where it is gone, the first file that may hold unread bytes. `None` where a file must be
/// unpacked further to tell.
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
    // What was copied, and in doubt is read by the times of its entries.
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
        // Both streams may be in one file: reading begins at the lower.
        let is_lower = found[index]
            .as_ref()
            .is_none_or(|other| resume.offset < other.read_offset());
        if is_lower {
            found[index] = Some(generation);
        }
        if resume.fingerprint.length == 0 {
            // Nothing was read of it yet, nor, unless it has a hole, of its copies.
            return copied(if is_hole { since } else { resume.birth }, index);
        }
        return Ok(certain((index, resume.offset)));
    }
    if let Some(index) = listed
        .iter()
        .position(|file| resume.birth != 0 && is_likely(file))
    {
        // The same file with other content: truncated while we were away.
        lost.get_or_insert(Lost::Truncated(listed[index].path.to_path_buf()));
        // It may have been copied several times since, and the copy with our
        // position be gone.
        return copied(since, index);
    }
    lost.get_or_insert(Lost::Generation(resume.cursor.time));
    let mut newer = listed.iter().position(|file| is_newer(file, resume));
    // The position may have been in a copy of what the current file held; that
    // file is older than its copies, and what it holds now is newer.
    if newer.is_none() && listed.last().is_some_and(ListedFile::is_current) {
        newer = Some(listed.len() - 1);
    }
    // An archive was born after its log was. The times of a pod's entries do not help: its
    // clock may step back, and its archives are read once more.
    let last_archive = listed.iter().rposition(|file| file.rank.is_gzip && !is_pod);
    let doubt_ends = last_archive.map_or(0, |index| index + 1);
    // All there is was read before: pass over the last file, to its very end.
    Ok(
        newer.map_or(certain((listed.len() - 1, u64::MAX)), |index| {
            Some(Begin {
                place: (index, 0),
                doubt_ends,
            })
        }),
    )
}

/// The first of the files right before another that came into being after `since`
/// and so are copies of what that file held before it was truncated: the index of
/// that file itself where there are none.
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

/// Whether a copy holds nothing but what was before a position: it was made before
/// the last lines that were read, and those were truncated away.
fn was_read_whole(file: &ListedFile, resume: &StreamCheckpoint) -> io::Result<bool> {
    let head = Head::of(file);
    let Some(head) = head.read()? else {
        return Ok(false);
    };
    // A hole tells no file from another.
    let is_hole = head.iter().all(|byte| *byte == 0);
    Ok(!is_hole && resume.fingerprint.matches(head) && stat_path(&file.path)?.1 <= resume.offset)
}

/// Whether an unknown file was copied from `held` after that was truncated at
/// least once since we read of it. A copy of what we did read begins like it,
/// even where it ends before our position: it was made before the last lines.
fn is_later_copy(file: &ListedFile, held: &Generation) -> io::Result<bool> {
    if file.rank.is_gzip || file.id.birth <= held.id.birth {
        return Ok(false);
    }
    Ok(Head::of(file)
        .read()?
        .is_some_and(|head| !held.begins_like(head)))
}

/// Whether a file may hold entries that came after a position whose own file is
/// gone. What is uncertain counts as newer: better twice than never.
fn is_newer(file: &ListedFile, resume: &StreamCheckpoint) -> bool {
    file.rank.is_gzip
        || file.id.birth == 0
        || file.id.birth >= resume.birth
        || was_written_since(file, resume.birth)
}

/// Whether a file older than the position's was written after that was made: the
/// position was in a copy of it (copytruncate), and it has been renamed since.
fn was_written_since(file: &ListedFile, birth: u64) -> bool {
    let Ok(stat) = file.path.stat() else {
        return false;
    };
    let modified =
        i128::from(stat.stx_mtime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_mtime.tv_nsec);
    modified > i128::from(birth)
}

/// As [`Generation::open_listed`], but a rotated file that will never open is said and
/// passed over.
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

/// Whether a listed file is one we hold: by birth where there is one, and else,
/// or where dockerd has compressed it since, by content. What we hold may have
/// grown since we read of it, so its head is looked at anew.
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
        // An archive whose writing was broken off holds less.
        Some(now) if file.rank.is_gzip => Ok(now.starts_with(head) && !head.is_empty()),
        Some(now) => Ok(head == now),
        None => Ok(held.fingerprint().matches(head)),
    }
}

#[cfg(test)]
mod tests;
