//! A file that took the name of the one being read and goes on where that ends: the data root was
//! copied to another disk, the log was copied and renamed (`cp -a`, `sed -i`), restored from a
//! backup, or copied up by overlayfs. Its bytes say so, not its identity. Whoever wrote the old
//! file may go on with that one, so both are kept:
//!
//! ```text
//! held file   [ read ....... | unread ... ]          read to its end first
//! successor   [ the same bytes .......... | new ]    then this, from where the bytes differ
//! ```

use std::io;

use crate::delivery::checkpoint::fingerprint::HEAD_BYTES;
use crate::runtime::file::{is_permanent, stat_file};
use crate::source::file::content::{have_same, have_same_before};
use crate::source::file::cut::{part_of, time_of_first};
use crate::source::file::generation::Generation;
use crate::source::file::known::is_older;
use crate::source::file::listing::ListedFile;
use crate::source::file::replaced::is_begun_by_hand;

/// A file that has the content of the one being read.
pub enum Successor {
    /// It holds all of the old file's content, or an earlier state of it, perhaps without the
    /// beginning; it is open behind what both have.
    After(Generation),
    /// It begins the same, or with a part of the old file, and something in it is changed: the times
    /// of its entries say what was delivered. It is open at the same offset if the change is behind
    /// that.
    Changed(Generation),
}

impl Successor {
    /// The file, to be read on where it is open.
    pub fn into_file(self) -> Generation {
        match self {
            Successor::After(next) => next,
            Successor::Changed(mut next) => {
                next.repeats = true;
                next
            }
        }
    }
}

/// Whether a listed file has the content of `held`, which it follows.
pub fn successor_of(held: &Generation, file: &ListedFile) -> io::Result<Option<Successor>> {
    if held.plain_file().is_none() || file.rank.is_gzip {
        return Ok(None);
    }
    match Generation::open_listed(file) {
        // It is reported when it is to be read.
        Err(error) if is_permanent(&error) => Ok(None),
        opened => follows(held, opened?),
    }
}

/// The same of a file that is open at its start.
pub fn follows(held: &Generation, mut next: Generation) -> io::Result<Option<Successor>> {
    let Some(old) = held.plain_file() else {
        return Ok(None);
    };
    let Some(new) = next.plain_file().filter(|_| next.run == held.run) else {
        return Ok(None);
    };
    let common = stat_file(old)?.1.min(stat_file(new)?.1);
    let head = common.min(HEAD_BYTES as u64);
    if common == 0 {
        return Ok(None);
    }
    if !have_same(old, new, 0, head)? {
        let is_older = is_begun_by_hand(&next)?;
        let part = part_of(held, next, is_older)?;
        return Ok(part.map(|(part, is_same)| match is_same {
            true => Successor::After(part),
            false => Successor::Changed(part),
        }));
    }
    if have_same_before(old, new, common)? {
        next.seek_to_end_before(common)?;
        // Less than an entry identifies nothing.
        return Ok((next.read_offset() > 0).then_some(Successor::After(next)));
    }
    if held.read_offset() > 0 && next.seek(&held.resume_here())? == Some(true) {
        return Ok(Some(Successor::Changed(next)));
    }
    let head = next.head_now()?.unwrap_or_default();
    let is_alike = held.fingerprint().matches(&head);
    // A line that is longer than the head may be the first of several files.
    let is_it = is_alike && time_of_first(held.file()?)? == time_of_first(next.file()?)?;
    Ok(is_it.then_some(Successor::Changed(next)))
}

/// Whether somebody has made a listed file of a part of `held`, and it has nothing else.
pub fn is_extract_of(held: &Generation, file: &ListedFile) -> io::Result<bool> {
    if !file.is_renamed || is_older(file.id, held.id) {
        return Ok(false);
    }
    Ok(match successor_of(held, file)? {
        Some(Successor::After(extract)) => !extract.has_more_now(),
        _ => false,
    })
}

/// Whether somebody has put a part of the log beside it: of the file of the runtime's that is listed
/// before it or behind it.
pub fn is_extract(listed: &[ListedFile], index: usize) -> io::Result<bool> {
    if !listed[index].is_renamed {
        return Ok(false);
    }
    let is_original = |file: &&ListedFile| !file.is_renamed && !file.rank.is_gzip;
    let before = listed[..index].iter().rev().find(is_original);
    let behind = listed[index + 1..].iter().find(is_original);
    for original in before.into_iter().chain(behind) {
        let is_it = match Generation::open_listed(original) {
            Err(error) if is_permanent(&error) => false,
            held => is_extract_of(&held?, &listed[index])?,
        };
        if is_it {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::checkpoint::fingerprint::Fingerprint;
    use crate::delivery::checkpoint::fingerprint::Marker;
    use crate::delivery::checkpoint::StreamCheckpoint;
    use crate::runtime::LogFiles;
    use crate::source::file::listing;

    /// Entries with these numbers, each with a time of its own.
    fn entries(numbers: std::ops::Range<usize>) -> String {
        let entry = |number| {
            format!("{{\"log\":\"line\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{number:09}Z\"}}\n")
        };
        numbers.map(entry).collect()
    }

    /// What a file with the second text is to one with the first, read up to an offset: its
    /// kind, and where it is open.
    fn found(old: &str, new: &str, read: usize) -> Option<(&'static str, usize)> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFiles::numbered(dir.path().join("x-json.log"));
        std::fs::write(&log.path, old).unwrap();
        let first = listing::list(&log).unwrap();
        let mut held = Generation::open_listed(&first.files[0]).unwrap();
        if read > 0 {
            let checkpoint = StreamCheckpoint {
                fingerprint: Fingerprint::of(&old.as_bytes()[..read]),
                marker: Marker::of(&old.as_bytes()[..read]),
                offset: read as u64,
                ..StreamCheckpoint::default()
            };
            assert_eq!(held.seek(&checkpoint).unwrap(), Some(true));
        }
        std::fs::write(dir.path().join("new"), new).unwrap();
        std::fs::rename(dir.path().join("new"), &log.path).unwrap();
        let listed = listing::list(&log).unwrap();
        let (kind, file) = match successor_of(&held, &listed.files[0]).unwrap()? {
            Successor::After(file) => ("after", file),
            Successor::Changed(file) => ("changed", file),
        };
        Some((kind, file.read_offset() as usize))
    }

    #[test]
    fn a_file_is_a_successor_by_what_it_holds_and_by_nothing_else() {
        let entry = entries(0..1).len();
        let old = entries(0..5_000);
        let after = |entries: usize| Some(("after", entries * entry));
        // A copy, the same written on, an earlier state, also one that ends in an entry.
        assert_eq!(found(&old, &old, 0), after(5_000));
        assert_eq!(found(&old, &entries(0..6_000), 70 * entry), after(5_000));
        assert_eq!(found(&old, &entries(0..3_000), 70 * entry), after(3_000));
        assert_eq!(found(&old, &old[..3_000 * entry - 9], 0), after(2_999));
        // What is unread was changed, or what was read.
        let edited = [entries(0..4_000), entries(4_001..5_000)].concat();
        assert_eq!(
            found(&old, &edited, 4_000 * entry),
            Some(("changed", 4_000 * entry))
        );
        assert_eq!(found(&old, &edited, 4_001 * entry), Some(("changed", 0)));
        // Its beginning was cut off, and perhaps the same written on.
        assert_eq!(found(&old, &entries(1..5_000), 70 * entry), after(4_999));
        assert_eq!(found(&old, &entries(1..6_000), 70 * entry), after(4_999));
        // Another log: no entry is the same, or not even one is there.
        assert_eq!(found(&old, &entries(5_000..9_000), 70 * entry), None);
        assert_eq!(found(&old, &old[..entry - 1], 70 * entry), None);
        assert_eq!(found(&old, "", 70 * entry), None);
        assert_eq!(found("", &old, 0), None);
    }
}
