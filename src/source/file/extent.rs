//! What the files of one log span, seen from outside: when they were made and last written, and
//! whether a checkpoint was taken from one of them. A container whose log driver was changed has
//! several logs.

use std::io;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::position::Timestamp;
use crate::runtime::file::nanos_of;
use crate::runtime::LogFiles;
use crate::source::file::foreign::{examine, Examined};
use crate::source::file::generation::Generation;
use crate::source::file::known::Head;
use crate::source::file::listing::{self, ListedFile};

/// How much later than its last entry a file may count as written: the runtime stamps an entry
/// before it writes it.
const WRITE_DELAY: u64 = 1_000_000_000;

/// Returns when a file of the log was last written, in nanoseconds of the kernel's clock.
pub fn last_written(log: &LogFiles) -> u64 {
    let files = listing::list(log).unwrap_or_default().files.into_iter();
    let written = files.filter_map(|file| Some(nanos_of(file.path.stat().ok()?.stx_mtime)));
    written.max().unwrap_or_default()
}

/// Whether all files of the log were made, and begin, after another log was last written. Files of a
/// copied folder were made late, whatever their entries are.
pub fn was_made_after(log: &LogFiles, other: &LogFiles) -> bool {
    let last = last_written(other);
    let begins_after = |file: &ListedFile| match examine(&file.path, file.id, None) {
        Ok(Examined::Log { first, .. }) => first.since_epoch() > last,
        // Nothing of it can be read.
        Ok(Examined::Unsupported(_) | Examined::Other) | Err(_) => true,
    };
    let is_after = |file: &ListedFile| file.id.birth > last && begins_after(file);
    listing::list(log).is_ok_and(|listed| listed.files.iter().all(is_after))
}

/// Returns which of these logs a checkpoint was taken from; they are in the order in which they
/// were written. `None` if it is from none of their files.
pub fn log_of(logs: &[LogFiles], checkpoint: &StreamCheckpoint) -> io::Result<Option<usize>> {
    if checkpoint.has_no_file() && checkpoint.cursor.count == 0 {
        return Ok(None);
    }
    let mut files = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        files.extend(
            listing::list(log)?
                .files
                .into_iter()
                .map(|file| (index, file)),
        );
    }
    let is_it = |file: &ListedFile| checkpoint.birth != 0 && checkpoint.is_in(file.id);
    if let Some((index, _)) = files.iter().find(|(_, file)| is_it(file)) {
        return Ok(Some(*index));
    }
    for (index, file) in &files {
        let head = Head::of(file);
        if head
            .read()?
            .is_some_and(|head| checkpoint.fingerprint.matches(head))
        {
            return Ok(Some(*index));
        }
    }
    // Its file is gone: entries of a log were written before its last change.
    let time = checkpoint.cursor.time;
    Ok(logs.iter().position(|log| may_be_later(log, time)))
}

/// Whether a log may have entries that are not earlier than this.
pub fn may_be_later(log: &LogFiles, time: Timestamp) -> bool {
    last_written(log).saturating_add(WRITE_DELAY) >= time.since_epoch()
}

/// Whether these logs hold the position of each stream, by their content.
pub fn have_read(logs: &[LogFiles], saved: &ContainerCheckpoint) -> io::Result<bool> {
    let mut files = Vec::new();
    for log in logs {
        files.extend(listing::list(log)?.files);
    }
    for stream in saved.iter().filter(|stream| !stream.has_no_file()) {
        let mut is_there = false;
        for file in files.iter().filter(|file| !file.rank.is_gzip) {
            is_there |= Generation::open_listed(file)?.seek(stream)? == Some(true);
        }
        if !is_there {
            return Ok(false);
        }
    }
    Ok(true)
}
