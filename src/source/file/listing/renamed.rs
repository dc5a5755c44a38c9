//! Files whose names say nothing of their place: those that the runtime did not name, and those with
//! numbers that somebody else gave.

use std::cmp::Reverse;
use std::io;

use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::runtime::file::{describe, is_shortage, nanos_of, FileId};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{FileRank, LogFiles};
use crate::source::file::foreign::{examine, Examined, BEHIND_ALL};
use crate::source::file::listing::{Listed, ListedFile, UnreadableFile};

/// Limit on the files with names that the runtime did not give: each is opened to see what it is.
/// Those that are named after the log come first, and of these the newest. A user can create any
/// number.
pub const MOST_RENAMED: usize = 1_000;
const MOST_RENAMED_OF_USER: usize = 64;

/// A file that the runtime did not name, as found.
#[derive(Debug)]
pub struct Renamed {
    /// Its path.
    pub path: SafePath,
    /// Its identity.
    pub id: FileId,
    /// The run of the container.
    pub run: u32,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: u64,
    /// Whether there is nothing in it.
    pub is_empty: bool,
    /// Whether no other log is likely to have such a name.
    pub is_named_after_log: bool,
}

impl PartialEq for Renamed {
    /// It may still be written.
    fn eq(&self, other: &Renamed) -> bool {
        self.path == other.path && self.id == other.id && self.is_empty == other.is_empty
    }
}

impl Renamed {
    /// One with a number that says nothing.
    pub fn of_numbered(file: ListedFile) -> io::Result<Renamed> {
        let stat = file.path.stat()?;
        Ok(Renamed {
            id: file.id,
            run: file.rank.run,
            modified: nanos_of(stat.stx_mtime),
            is_empty: stat.stx_size == 0,
            is_named_after_log: true,
            path: file.path,
        })
    }
}

/// Limit on the files whose content says their place.
pub fn most_renamed(log: &LogFiles) -> usize {
    match log.dir.is_of_user() {
        true => MOST_RENAMED_OF_USER,
        false => MOST_RENAMED,
    }
}

/// Whether a name now belongs to another file than it did, or to none. If not, that its file could
/// not be opened lasts.
fn has_changed(path: &SafePath, id: FileId) -> bool {
    !path.stat().is_ok_and(|stat| describe(&stat).0 == id)
}

/// Adds the files of the log among those that the runtime did not name, each before the first
/// one that begins later.
pub fn place(log: &LogFiles, mut renamed: Vec<Renamed>, listed: &mut Listed) -> io::Result<()> {
    renamed.sort_by_key(|file| Reverse((file.is_named_after_log, file.modified)));
    let unexamined = renamed.split_off(most_renamed(log).min(renamed.len()));
    let is_named = |file: &&Renamed| file.is_named_after_log;
    listed.surplus = unexamined.iter().filter(is_named).count();
    listed.unexamined = unexamined.len() - listed.surplus;
    let layout = Layout::by_name(log.prefix());
    let mut found = Vec::new();
    for file in renamed {
        if file.is_empty {
            // The runtime may still write to one that was renamed before its first entry.
            found.push((BEHIND_ALL, false, file));
            continue;
        }
        let error = match examine(
            &file.path,
            file.id,
            file.is_named_after_log.then_some(layout),
        ) {
            Ok(Examined::Log {
                first,
                is_lines,
                is_gzip,
            }) => {
                if is_lines == layout.is_lines() {
                    found.push((first, is_gzip, file));
                }
                continue;
            }
            Ok(Examined::Unsupported(reason)) => io::Error::new(io::ErrorKind::Unsupported, reason),
            Ok(Examined::Other) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                listed.has_changed |= has_changed(&file.path, file.id);
                continue;
            }
            Err(error) if is_shortage(&error) => return Err(error),
            Err(error) => error,
        };
        if file.is_named_after_log {
            listed.unreadable.push(UnreadableFile {
                path: file.path,
                error,
                modified: file.modified,
            });
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut is_any_gone = false;
    let first_of = |file: &ListedFile| {
        if file.is_current() {
            return None;
        }
        match examine(&file.path, file.id, Some(layout)) {
            Ok(Examined::Log { first, .. }) => Some(first),
            examined => {
                let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
                is_any_gone |= examined.is_err_and(is_gone) && has_changed(&file.path, file.id);
                None
            }
        }
    };
    let mut firsts: Vec<Option<Timestamp>> = listed.files.iter().map(first_of).collect();
    listed.has_changed |= is_any_gone;
    // Of two that begin alike, one is a copy of the other's beginning.
    found.sort_by_key(|(first, _, file)| (*first, file.modified));
    for (first, is_gzip, file) in found {
        let is_behind = |(file_before, begins): (&ListedFile, &Option<Timestamp>)| {
            let run = file_before.rank.run;
            let is_later = begins.is_some_and(|begins| {
                begins > first || (begins == first && !file_before.is_renamed)
            });
            run > file.run || (run == file.run && (file_before.is_current() || is_later))
        };
        let place = listed.files.iter().zip(&firsts).position(is_behind);
        let place = place.unwrap_or(listed.files.len());
        let rank = FileRank {
            run: file.run,
            age: 1,
            is_gzip,
        };
        listed.files.insert(
            place,
            ListedFile {
                rank,
                path: file.path,
                id: file.id,
                is_renamed: true,
            },
        );
        firsts.insert(place, Some(first));
    }
    Ok(())
}
