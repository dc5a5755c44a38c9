//! A log that somebody else has made (`sed -i`, an editor, `cp` and `mv`, `rm` and `touch`): the runtime
//! goes on writing to the file that it opened, which nobody can open once it has no name. What is on
//! the disk tells, whatever the runtime and the format:
//!
//! - A runtime makes a file right before it writes the first entry to it, or before the container
//!   starts, and then writes to it: one that is older inside, and was not written since, is a copy.
//! - What was delivered of a file is in another one, and that file is not there any more.
//!
//! A copy of the whole folder looks alike, but is younger than what is in it; nothing of it is lost.

use std::io;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::position::Timestamp;
use crate::runtime::file::{nanos_of, stat_path, FileId};
use crate::runtime::last_run::LastRun;
use crate::runtime::safe_path::SafePath;
use crate::runtime::{Found, LogFiles, Runtime};
use crate::source::file::cut::{time_of_first, time_of_last};
use crate::source::file::foreign::{examine, Examined};
use crate::source::file::generation::Generation;
use crate::source::file::listing::{self, ListedFile};
use crate::telemetry::account::wall_clock;

/// How much later than it was made, in nanoseconds, the runtime has written to an empty file.
const DELAY: u64 = 2_000_000_000;
/// How far the times of entries, files and starts may be apart that belong together.
const NEAR: u64 = 1_000_000_000;

/// A file that somebody has made in the place of the one that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its path.
    pub path: SafePath,
    /// When it was made, in nanoseconds since 1970.
    pub since: u64,
}

impl Copied {
    /// `file` holds what was delivered up to `checkpoint`, in whatever file that was.
    pub fn of(
        file: &ListedFile,
        listed: &[ListedFile],
        checkpoint: &StreamCheckpoint,
    ) -> Option<Copied> {
        let is_other = checkpoint.birth != 0 && checkpoint.birth < file.id.birth;
        // What was compressed is a file of its own, and what was truncated has copies.
        let is_its_file = |other: &ListedFile| checkpoint.is_in(other.id);
        let may_be = is_other && !checkpoint.is_counted() && !file.rank.is_gzip;
        // A copy beside the log is in nobody's place, if its original may be in an archive since.
        let is_archived =
            |other: &ListedFile| other.rank.is_gzip && other.id.birth > checkpoint.birth;
        if !may_be
            || file.is_renamed && listed.iter().any(is_archived)
            || listed.iter().any(is_its_file)
            || birth_of_folder(&file.path)? > checkpoint.birth
        {
            return None;
        }
        Some(Copied {
            path: file.path.clone(),
            since: file.id.birth,
        })
    }
}

/// What the runtime says of a container.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// When it ran last.
    pub last: LastRun,
    /// When it was created, in nanoseconds since 1970, if that is known.
    pub created: Option<u64>,
}

impl Run {
    /// As the runtime that found a container says it now.
    pub fn of(runtime: &dyn Runtime, found: &Found) -> Run {
        Run {
            last: runtime.last_run(found),
            created: runtime.created(found),
        }
    }
}

/// Whether the newest file of a log is not written by the runtime. A log that was renamed and is
/// written on is read.
pub fn is_replaced(log: &LogFiles, run: &Run) -> bool {
    // Most are written.
    if log
        .current()
        .is_some_and(|path| !may_be_made_by_hand(path, run))
    {
        return false;
    }
    let listed = listing::list(log).unwrap_or_default().files;
    let Some(current) = newest(&listed) else {
        return false;
    };
    if is_after_rotation(current, &listed) || !is_made_by_hand(current, run) {
        return false;
    }
    let is_written_on = |file: &ListedFile| {
        let is_plain = file.is_renamed && !file.rank.is_gzip;
        is_plain && !is_made_by_hand(file, run)
    };
    !listed.iter().any(is_written_on)
}

/// Whether [`is_replaced`] may be true in a moment.
pub fn is_new(log: &LogFiles) -> bool {
    let listed = match log.current() {
        Some(_) => Vec::new(),
        None => listing::list(log).unwrap_or_default().files,
    };
    let path = log.current().or(newest(&listed).map(|file| &file.path));
    let stat = path.and_then(|path| stat_path(path).ok());
    stat.is_some_and(|(id, size)| size == 0 && !is_old(id))
}

/// The file that the runtime writes, by its name.
fn newest(listed: &[ListedFile]) -> Option<&ListedFile> {
    let newest = listed.iter().rfind(|file| !file.is_renamed);
    newest.filter(|file| file.is_current())
}

/// Whether a file was made while the container ran, and has no entry that is later.
fn may_be_made_by_hand(path: &SafePath, run: &Run) -> bool {
    let Ok((id, size)) = stat_path(path) else {
        return false;
    };
    // Where the kernel knows no birth times, nothing is known.
    if id.birth == 0 || !run.last.may_run_since_before(id.birth.saturating_sub(NEAR)) {
        return false;
    }
    if size == 0 {
        // Until its first line, a log is empty, and one that was truncated had been written to.
        return run.last.started.is_some() && is_old(id) && !is_written_since(path, id);
    }
    let last = Generation::open(path, false).and_then(|file| time_of_last(file.file()?));
    last.is_ok_and(|last| last.is_some_and(|last| is_before(last, id)))
}

/// Whether an entry is hardly later than a file: a copy of the file that it was written to takes time.
fn is_before(last: Timestamp, id: FileId) -> bool {
    last.since_epoch() < id.birth.saturating_add(NEAR)
}

/// The same, if what is in it was there before it, and its folder before that. Of an empty one, the
/// container.
fn is_made_by_hand(file: &ListedFile, run: &Run) -> bool {
    let folder = birth_of_folder(&file.path);
    let Some(folder) = folder.filter(|_| may_be_made_by_hand(&file.path, run)) else {
        return false;
    };
    match examine(&file.path, file.id, None) {
        Ok(Examined::Log { first, .. }) => is_between(first, folder, file.id),
        _ => run
            .created
            .is_none_or(|created| folder <= created.saturating_add(NEAR)),
    }
}

/// Whether an entry is older than its file, and its folder older than that.
fn is_between(first: Timestamp, folder: u64, id: FileId) -> bool {
    let first = first.since_epoch();
    folder <= first && first.saturating_add(NEAR) < id.birth
}

/// Whether an open file of lines begins with what was there before it, in a folder that was, too: no
/// runtime has begun it.
pub fn is_begun_by_hand(file: &Generation) -> io::Result<bool> {
    let Some(first) = file.plain_file().map(time_of_first).transpose()?.flatten() else {
        return Ok(false);
    };
    let folder = birth_of_folder(&file.path);
    Ok(folder.is_some_and(|folder| is_between(first, folder, file.id)))
}

/// Whether such a file has nothing that was written since it was made: whoever wrote the one before it
/// goes on with that.
pub fn is_unwritten(file: &Generation) -> io::Result<bool> {
    let last = time_of_last(file.file()?)?;
    Ok(is_begun_by_hand(file)? && last.is_none_or(|last| is_before(last, file.id)))
}

/// Whether a file was made in a rotation, which renamed the one before it.
fn is_after_rotation(current: &ListedFile, listed: &[ListedFile]) -> bool {
    let is_before = |file: &&ListedFile| {
        !file.is_renamed && !file.is_current() && file.rank.run == current.rank.run
    };
    let Some(stat) = listed.iter().rfind(is_before).map(|file| file.path.stat()) else {
        return false;
    };
    stat.is_ok_and(|stat| nanos_of(stat.stx_ctime).saturating_add(NEAR) >= current.id.birth)
}

/// When the folder of a file was made; a copy of it was made later than what is in it was begun.
fn birth_of_folder(path: &SafePath) -> Option<u64> {
    let folder = path.at(path.parent()?);
    stat_path(&folder).ok().map(|(id, _)| id.birth)
}

/// Whether a file was written to, or truncated, after it was made.
fn is_written_since(path: &SafePath, id: FileId) -> bool {
    let stat = path.stat();
    stat.is_ok_and(|stat| nanos_of(stat.stx_mtime) > id.birth.saturating_add(DELAY))
}

fn is_old(id: FileId) -> bool {
    wall_clock().since_epoch() > id.birth.saturating_add(DELAY)
}
