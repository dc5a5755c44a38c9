//! Whether a file holds an earlier state of its log: a backup was copied over it, or into its place,
//! under whatever name of the log.
//! What was delivered is then told by the times of its entries. They tell nothing by themselves,
//! since a clock may be set back; one of these must hold as well:
//!
//! - The file begins with an entry with which it, or one before it, began when it was read.
//! - Nothing is known of what was read, and its first entry is older than the file, unless the file is
//!   the one that was read, and its entries were written to it when they say.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::source::file::cut::{time_of_first, time_of_last};
use crate::source::file::generation::Generation;
use crate::source::file::open_files::OpenFiles;

/// How much older its first entry must be. A runtime may write an entry late, and the clock of the
/// entries may be set back and that of the kernel not, or later.
const OLDER: u64 = 600 * 1_000_000_000;

/// How much later than its time an entry may be written.
const DELAY: Duration = Duration::from_secs(2);

/// Whether a plain file, of which nothing has been read, was made later than its first entry.
pub fn is_made_long_after_first_entry(file: &Generation) -> io::Result<bool> {
    let (Some(plain), birth) = (file.plain_file(), file.id.birth) else {
        return Ok(false);
    };
    let first = time_of_first(plain)?;
    Ok(first.is_some_and(|first| first.since_epoch().saturating_add(OLDER) < birth))
}

/// Whether a file is that of the position, truncated since, and was written by a runtime whose clock was
/// set back: its last entry is not later than the one at the position, and is as old as the last write.
/// That of a backup is older.
pub fn is_set_back(file: &Generation, saved: &ContainerCheckpoint) -> io::Result<bool> {
    let is_it = saved.iter().any(|stream| stream.is_in(file.id));
    let (Some(plain), true) = (file.plain_file(), is_it) else {
        return Ok(false);
    };
    let metadata = plain.metadata()?;
    let Some(last) = time_of_last(plain)? else {
        return Ok(false);
    };
    let read = saved.iter().map(|stream| stream.cursor.time).max();
    let last_written = metadata.modified()?.duration_since(UNIX_EPOCH);
    let since = Duration::from_nanos(last.since_epoch());
    let is_written_then = last_written.is_ok_and(|time| time.saturating_sub(since) < DELAY);
    Ok(is_written_then && read.is_some_and(|read| last <= read))
}

/// Whether the front file, of which nothing has been read since it was found or truncated, holds
/// what was read before. The age of a truncated one tells nothing: it is that before the truncation.
pub fn is_front_known(files: &OpenFiles) -> io::Result<bool> {
    let Some(front) = files.open.front() else {
        return Ok(false);
    };
    let head = front.head_now()?.unwrap_or_default();
    let is_front_again = front.is_overwritten && front.began_like(&head);
    Ok(is_front_again || files.seen.has_first_of(&head))
}
