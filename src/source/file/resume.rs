//! Where reading resumes after a restart: the place of a checkpoint among the listed files of
//! a log, as a plan that the tailer applies.
//!
//! A checkpoint belongs to the file whose content matches it: the hash of its head and of the
//! bytes before the offset. Inode and birth time only say which file is compared first, except
//! where nothing had been read.

use std::io;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::position::{PerStream, Position, Timestamp};
use crate::runtime::file::{is_permanent, nanos_of};
use crate::source::file::accepted::Accepted;
use crate::source::file::cut::seek_kept;
use crate::source::file::foreign::{examine, Examined};
use crate::source::file::generation::Generation;
use crate::source::file::known::{was_read_whole, Head};
use crate::source::file::listing::ListedFile;
use crate::source::file::replaced::Copied;
use crate::source::file::search::{Search, Sought};

/// The kernel's birth times advance in clock ticks, so one may precede the time of an entry
/// written earlier by up to this, in nanoseconds.
pub const CLOCK_TICK: u64 = 1_000_000_000;
/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Where reading begins.
#[derive(Default)]
pub struct Plan {
    /// Index of the first listed file to open; all later ones are opened as well.
    pub first: usize,
    /// That file, if it is open at the offset already. Otherwise it is read from its start.
    pub front: Option<Generation>,
    /// What was delivered.
    pub accepted: Accepted,
    /// The streams whose delivered entries are recognised by their times.
    pub by_time: PerStream<bool>,
    /// Why a checkpoint matches no file, unless that was counted before.
    pub lost: Option<Lost>,
    /// Its content is in a file that somebody has made in the place of its own.
    pub copied: Option<Copied>,
}

/// Why no file matches a checkpoint.
#[derive(Debug)]
pub enum Lost {
    /// Its file was truncated.
    Truncated(std::path::PathBuf),
    /// Its file is gone; the time of the last entry taken from it.
    Generation(Timestamp),
}

/// Where a stream begins.
#[derive(Default)]
struct Begin {
    /// Index of the listed file and offset in it.
    place: (usize, u64),
    /// In the files before this index, nothing on disk says what was accepted. Entry times do:
    /// entries up to the last one taken were.
    doubt_ends: usize,
    /// The file at `place`, if it is open at the offset.
    file: Option<Generation>,
    lost: Option<Lost>,
    copied: Option<Copied>,
}

impl Begin {
    fn at(index: usize, offset: u64) -> Begin {
        Begin {
            place: (index, offset),
            ..Begin::default()
        }
    }
}

/// Finds where to resume. `is_pod` says whether each run of the container has its own files;
/// `number` is that of the first file to open. `None` if a file must be decompressed further to tell.
pub fn plan(
    listed: &[ListedFile],
    saved: &ContainerCheckpoint,
    is_pod: bool,
    number: u32,
    search: &mut Search,
) -> io::Result<Option<Plan>> {
    let Some(stdout) = find(listed, saved, 0, is_pod, search)? else {
        return Ok(None);
    };
    let Some(stderr) = find(listed, saved, 1, is_pod, search)? else {
        // Keep the file of the other stream until the search ends.
        if let Some(file) = stdout.file {
            search.keep(file, &saved[0]);
        }
        return Ok(None);
    };
    let mut begins = [stdout, stderr];
    start_behind_other(listed, saved, &mut begins);
    let [stdout, stderr] = &mut begins;
    let begin = stdout.place.min(stderr.place);
    let doubt_ends = stdout.doubt_ends.max(stderr.doubt_ends);
    let in_doubt = doubt_ends.saturating_sub(begin.0) as u32;
    let mut by_time = saved.map(|checkpoint| checkpoint.is_by_time);
    by_time[0] |= stdout.doubt_ends > 0 && !saved[0].is_mid_line;
    by_time[1] |= stderr.doubt_ends > 0 && !saved[1].is_mid_line;
    let is_lost = [stdout.lost.is_some(), stderr.lost.is_some()];
    let uncounted =
        |lost: Option<Lost>, stream: usize| lost.filter(|_| !saved[stream].is_counted());
    let lost = uncounted(stdout.lost.take(), 0).or(uncounted(stderr.lost.take(), 1));
    Ok(Some(Plan {
        first: begin.0,
        lost,
        copied: stdout.copied.take().or(stderr.copied.take()),
        by_time,
        accepted: Accepted {
            before: [stdout.place, stderr.place].map(|(index, offset)| Position {
                generation: number + (index - begin.0) as u32,
                offset,
            }),
            saved: Some(Box::new(*saved)),
            doubt_ends: (in_doubt > 0).then_some(number + in_doubt),
            is_lost,
        },
        // One stream may begin in this file before the other one's offset.
        front: begins
            .into_iter()
            .filter(|stream| stream.place == begin)
            .find_map(|stream| stream.file),
    }))
}

/// Finds the file that the checkpoint of a stream was taken from, and the offset. If it is
/// gone, the first file that may hold unread data. `None` if a file must be decompressed
/// further to tell.
fn find(
    listed: &[ListedFile],
    saved: &ContainerCheckpoint,
    stream: usize,
    is_pod: bool,
    search: &mut Search,
) -> io::Result<Option<Begin>> {
    if saved[stream].has_no_file() {
        return Ok(Some(Begin::default()));
    }
    let since = copied_since(saved, stream);
    let is_hole = is_behind_hole(&saved[stream]);
    let checkpoint = &match is_hole {
        true => StreamCheckpoint {
            fingerprint: Fingerprint::default(),
            marker: Marker::default(),
            offset: 0,
            ..saved[stream]
        },
        false => saved[stream],
    };
    let is_likely = |file: &ListedFile| {
        let has_inode = checkpoint.is_counted() || file.id.inode == checkpoint.inode;
        has_inode && file.id.birth == checkpoint.birth
    };
    let (likely, others): (Vec<usize>, Vec<usize>) = (0..listed.len())
        .rev()
        .partition(|index| is_likely(&listed[*index]));
    for index in likely.into_iter().chain(others) {
        let file = match search.seek(&listed[index], checkpoint) {
            Ok(Sought::Here(file)) => *file,
            Ok(Sought::Elsewhere) => continue,
            Ok(Sought::Unfinished) => return Ok(None),
            Err(error) if is_permanent(&error) => continue,
            Err(error) => return Err(error),
        };
        let begin = match checkpoint.fingerprint.length {
            // Nothing of it had been read, nor of its copies, unless it has a hole.
            0 => begin_copied(
                listed,
                index,
                if is_hole { since } else { checkpoint.birth },
                checkpoint,
            )?,
            _ => Begin::at(index, checkpoint.offset),
        };
        let file = (begin.place.0 == index).then_some(file);
        return Ok(Some(Begin {
            file,
            copied: Copied::of(&listed[index], listed, checkpoint),
            ..begin
        }));
    }
    if let Some(file) = current_without_beginning(listed, saved, checkpoint)? {
        let last = listed.len() - 1;
        return Ok(Some(Begin {
            place: (last, file.read_offset()),
            file: Some(file),
            copied: Copied::of(&listed[last], listed, checkpoint),
            ..Begin::default()
        }));
    }
    if let Some(index) = begins_like_current(listed, checkpoint)? {
        // An earlier state of the file, as from a backup, or one that was edited: the times of
        // its entries say what was delivered.
        return Ok(Some(Begin {
            doubt_ends: index + 1,
            lost: Some(Lost::Generation(checkpoint.cursor.time)),
            ..Begin::at(index, 0)
        }));
    }
    let truncated = |file: &ListedFile| checkpoint.birth != 0 && is_likely(file);
    if let Some(index) = listed.iter().position(truncated) {
        // The same file with other content: truncated while this process was not running. It
        // may have been copied several times since, and the copy that the checkpoint matches
        // deleted.
        return Ok(Some(Begin {
            lost: Some(Lost::Truncated(listed[index].path.to_path_buf())),
            ..begin_copied(listed, index, since, checkpoint)?
        }));
    }
    Ok(Some(Begin {
        lost: Some(Lost::Generation(checkpoint.cursor.time)),
        ..begin_newer(listed, checkpoint, is_pod)
    }))
}

/// The current file, open behind what was read, if its beginning was cut off.
fn current_without_beginning(
    listed: &[ListedFile],
    saved: &ContainerCheckpoint,
    checkpoint: &StreamCheckpoint,
) -> io::Result<Option<Generation>> {
    let Some(current) = listed.last().filter(|file| file.is_current()) else {
        return Ok(None);
    };
    let mut file = match Generation::open_listed(current) {
        Err(error) if is_permanent(&error) => return Ok(None),
        opened => opened?,
    };
    let cursors = saved.map(|stream| stream.cursor);
    Ok(seek_kept(&mut file, checkpoint, &cursors)?.then_some(file))
}

/// The index of the current file if it begins as the file of a checkpoint whose offset it does
/// not have.
fn begins_like_current(
    listed: &[ListedFile],
    checkpoint: &StreamCheckpoint,
) -> io::Result<Option<usize>> {
    let Some((current, others)) = listed.split_last() else {
        return Ok(None);
    };
    if !current.is_current() {
        return Ok(None);
    }
    let head = Head::of(current);
    let is_it = head
        .read()?
        .is_some_and(|head| checkpoint.fingerprint.matches(head));
    Ok(is_it.then_some(others.len()))
}

/// Begins at the first copy of a listed file; entries of copies are compared by time.
fn begin_copied(
    listed: &[ListedFile],
    index: usize,
    since: u64,
    checkpoint: &StreamCheckpoint,
) -> io::Result<Begin> {
    let first = first_copy(&listed[..index], since, checkpoint)?;
    Ok(Begin {
        doubt_ends: if first < index { index } else { 0 },
        ..Begin::at(first, 0)
    })
}

/// Begins at the first file that may be newer than a checkpoint whose own file is gone.
fn begin_newer(listed: &[ListedFile], checkpoint: &StreamCheckpoint, is_pod: bool) -> Begin {
    let newer = listed.iter().position(|file| is_newer(file, checkpoint));
    let last = listed.len() - 1;
    // The checkpoint may be of a copy of the current file's earlier content. The current file
    // is older than its copies, but its content is newer.
    let Some(index) = newer.or_else(|| listed[last].is_current().then_some(last)) else {
        // Everything was read before: start at the very end of the last file.
        return Begin::at(last, u64::MAX);
    };
    // An archive is created after its log. Entry times of a pod do not help: its clock may
    // step back, so its archives are read again.
    let last_archive = listed.iter().rposition(|file| file.rank.is_gzip && !is_pod);
    Begin {
        doubt_ends: last_archive.map_or(0, |index| index + 1),
        ..Begin::at(index, 0)
    }
}

/// Returns a time, in nanoseconds of the kernel's clock: for a stream whose checkpoint matches
/// no file, copies made before it hold nothing unread.
fn copied_since(saved: &ContainerCheckpoint, stream: usize) -> u64 {
    let checkpoint = &saved[stream];
    let place = |checkpoint: &StreamCheckpoint| (checkpoint.birth, checkpoint.offset);
    let is_furthest = saved.iter().all(|other| place(other) <= place(checkpoint));
    let latest = saved
        .iter()
        .map(|checkpoint| checkpoint.cursor.time)
        .max()
        .unwrap_or_default();
    checkpoint.birth.max(if !checkpoint.is_mid_line {
        // The times of its entries decide the rest.
        checkpoint
            .cursor
            .time
            .since_epoch()
            .saturating_sub(CLOCK_TICK)
    } else if is_furthest {
        // Everything taken from the other stream was taken before it as well.
        latest.since_epoch()
    } else {
        checkpoint.cursor.time.since_epoch()
    })
}

/// Returns a time, in nanoseconds of the kernel's clock: a file that was not written since then
/// has nothing that comes after the checkpoint.
pub fn written_since(saved: &ContainerCheckpoint) -> u64 {
    let times = saved.iter().map(|checkpoint| checkpoint.cursor.time);
    let last = times.max().unwrap_or_default().since_epoch();
    last.saturating_add(CLOCK_TICK) * u64::from(last > 0)
}

/// The same for the files that cannot be read, among which the checkpoint's may be. None of them
/// has anything unread if reading resumes within the current file.
pub fn unreadable_since(saved: &ContainerCheckpoint, plan: &Plan, listed: &[ListedFile]) -> u64 {
    let is_current = listed.get(plan.first).is_some_and(ListedFile::is_current);
    let is_within = plan
        .front
        .as_ref()
        .is_some_and(|front| front.read_offset() > 0);
    let is_found = plan.accepted.is_lost == [false; 2];
    if is_found && is_current && is_within {
        return u64::MAX;
    }
    let last = saved.iter().map(|stream| stream.cursor.time).max();
    // Some programs keep the time of the original in whole seconds.
    let last = last.unwrap_or_default().since_epoch() / SECOND * SECOND;
    let birth = saved.iter().map(|stream| stream.birth).max();
    last.max(birth.filter(|_| is_found).unwrap_or_default())
}

/// Moves the start of a stream whose checkpoint matches no file up to the other stream's, as
/// far as that is certain.
fn start_behind_other(
    listed: &[ListedFile],
    saved: &ContainerCheckpoint,
    begins: &mut PerStream<Begin>,
) {
    for (stream, other) in [(0, 1), (1, 0)] {
        let index = begins[other].place.0;
        let is_found = begins[other].lost.is_none() && !saved[other].has_no_file();
        if begins[stream].lost.is_none() || !is_found {
            continue;
        }
        let place = &mut begins[stream].place;
        // This holds if the lost checkpoint is further than the other. Which log an archive
        // holds, and so which is older, is known only for compressed files: a copy is younger
        // than the file that continues after it.
        let (birth, birth_of_other) = (saved[stream].birth, saved[other].birth);
        let is_behind = listed[index].rank.is_gzip && birth_of_other != 0 && birth_of_other < birth;
        if is_behind && place.0 <= index {
            let is_last = index + 1 == listed.len();
            *place = if is_last {
                (index, u64::MAX)
            } else {
                (index + 1, 0)
            };
        }
        // Nothing of it is open, so what was not accepted of it is at most what was read from
        // one file together with the last of the other.
        if saved[stream].is_mid_line {
            *place = (*place).max((index, 0));
        }
    }
}

/// Whether everything before a checkpoint is a hole of NULs. That identifies no file, so the
/// checkpoint is treated as one at the start.
fn is_behind_hole(checkpoint: &StreamCheckpoint) -> bool {
    let length = checkpoint.fingerprint.length as usize;
    length > 0
        && checkpoint.fingerprint == Fingerprint::of(&vec![0; length])
        && checkpoint.marker == Marker::of(&vec![0; checkpoint.marker.length as usize])
}

/// Whether all entries of a file are later than this.
fn begins_after(file: &ListedFile, time: Timestamp) -> bool {
    let examined = examine(&file.path, file.id, None);
    matches!(examined, Ok(Examined::Log { first, .. }) if first > time)
}

/// Returns the index of the first of the files directly before another that were created after
/// `since`, and so are copies of that file's content before a truncation; if there are none,
/// the index of that file.
fn first_copy(
    before: &[ListedFile],
    since: u64,
    checkpoint: &StreamCheckpoint,
) -> io::Result<usize> {
    let mut first = before.len();
    for (index, file) in before.iter().enumerate().rev() {
        let is_older = match file.rank.is_gzip {
            // An archive is younger than the log in it.
            true => !begins_after(file, checkpoint.cursor.time),
            false => file.id.birth <= since,
        };
        if is_older || was_read_whole(file, checkpoint)? {
            break;
        }
        first = index;
    }
    Ok(first)
}

/// Whether a file may hold entries written after a checkpoint whose own file is gone.
/// Uncertain ones count as newer: duplicates are better than a loss.
fn is_newer(file: &ListedFile, checkpoint: &StreamCheckpoint) -> bool {
    file.rank.is_gzip
        || file.id.birth == 0
        || file.id.birth >= checkpoint.birth
        // The checkpoint was in a copy of it (copytruncate) that has been renamed since.
        || was_written_since(file, checkpoint.birth)
}

/// Whether a file was written after a time in nanoseconds of the kernel's clock.
pub fn was_written_since(file: &ListedFile, time: u64) -> bool {
    let stat = file.path.stat();
    stat.is_ok_and(|stat| nanos_of(stat.stx_mtime) > time)
}

#[cfg(test)]
mod tests;
