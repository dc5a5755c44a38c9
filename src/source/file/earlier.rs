//! Whether a file holds an earlier state of its log: a backup was copied over it, or into its place,
//! under whatever name of the log.
//! What was delivered is then told by the times of its entries. They tell nothing by themselves,
//! since a clock may be set back; one of these must hold as well:
//!
//! - The file begins with an entry with which it, or one before it, began when it was read.
//! - It was overwritten, or nothing is known of what was read, and its first entry is older than the
//!   file.

use std::io;

use crate::source::file::cut::time_of_first;
use crate::source::file::generation::Generation;
use crate::source::file::open_files::OpenFiles;

/// How much older its first entry must be. A runtime may write an entry late, and the clock of the
/// entries may be set back and that of the kernel not, or later.
const OLDER: u64 = 600 * 1_000_000_000;

/// Whether a plain file, of which nothing has been read, was made later than its first entry.
pub fn is_older_inside(file: &Generation) -> io::Result<bool> {
    let (Some(plain), birth) = (file.plain_file(), file.id.birth) else {
        return Ok(false);
    };
    let first = time_of_first(plain)?;
    Ok(first.is_some_and(|first| first.since_epoch().saturating_add(OLDER) < birth))
}

/// Whether the front file, of which nothing has been read since it was found or truncated, holds
/// what was read before.
pub fn is_front_known(files: &OpenFiles) -> io::Result<bool> {
    let Some(front) = files.open.front() else {
        return Ok(false);
    };
    let head = front.head_now()?.unwrap_or_default();
    if files.seen.has_first_of(&head) {
        return Ok(true);
    }
    Ok(front.is_overwritten && (front.began_like(&head) || is_older_inside(front)?))
}
