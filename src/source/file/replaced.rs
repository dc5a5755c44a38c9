//! The log of a running container that somebody else has made (`sed -i`, an editor, `cp` and `mv`,
//! `rm` and `touch`): the runtime goes on writing to the file that it opened, which nobody can open
//! once it has no name. What is on the disk tells: the runtime makes a file right before it writes
//! the first entry to it, or before the container starts, and then writes to it.

use crate::runtime::file::{stat_path, FileId};
use crate::runtime::safe_path::SafePath;
use crate::runtime::LogFiles;
use crate::source::file::cut::last_time;
use crate::source::file::foreign::{examine, Examined};
use crate::source::file::generation::Generation;
use crate::source::file::listing::{self, ListedFile};
use crate::telemetry::account::wall_clock;

/// How much later than it was made, in nanoseconds, the runtime has written to a file, and how much
/// older than the file its first entry may be.
const DELAY: u64 = 2_000_000_000;

/// Whether the current file of a log, of a container that was `started` then, in nanoseconds since
/// 1970, is not written by the runtime. A log that was renamed and is written on is read.
pub fn is_replaced(log: &LogFiles, started: u64) -> bool {
    let Some((path, (id, size))) = log.current().and_then(|it| Some((it, stat_path(it).ok()?)))
    else {
        return false;
    };
    // Where the kernel knows no birth times, nothing is known.
    if id.birth <= started.saturating_add(DELAY / 2) || !is_made_by_hand(path, id, size) {
        return false;
    }
    let is_written_on = |file: &ListedFile| {
        let is_plain = file.is_renamed && !file.rank.is_gzip;
        is_plain
            && !stat_path(&file.path).is_ok_and(|(id, size)| is_made_by_hand(&file.path, id, size))
    };
    !listing::list(log).is_ok_and(|listed| listed.files.iter().any(is_written_on))
}

/// Whether [`is_replaced`] may be true in a moment.
pub fn is_new(log: &LogFiles) -> bool {
    let stat = log.current().and_then(|path| stat_path(path).ok());
    stat.is_some_and(|(id, size)| size == 0 && !is_old(id))
}

/// Whether a file was written to, or truncated, after it was made.
fn is_written_since(path: &SafePath, id: FileId) -> bool {
    let stat = path.stat();
    stat.is_ok_and(|stat| listing::modified(&stat) > id.birth.saturating_add(DELAY))
}

fn is_old(id: FileId) -> bool {
    wall_clock().since_epoch() > id.birth.saturating_add(DELAY)
}

fn is_made_by_hand(path: &SafePath, id: FileId, size: u64) -> bool {
    if size == 0 {
        // One that was truncated had been written to.
        return is_old(id) && !is_written_since(path, id);
    }
    let Ok(Examined::Log { first, .. }) = examine(path, id, None) else {
        return false;
    };
    let is_older = |time: u64, by: u64| time.saturating_add(by) < id.birth;
    if !is_older(first.since_epoch(), DELAY / 2) {
        return false;
    }
    let Ok(file) = Generation::open(path, false) else {
        return false;
    };
    let last = last_time(file.file(), file.layout(), size);
    last.is_ok_and(|last| last.is_some_and(|last| is_older(last.since_epoch(), 0)))
}
