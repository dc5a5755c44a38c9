//! Which files make up a container's log, oldest first. What their names say is
//! the runtime's to tell.
//!
//! dockerd names the current file `<id>-json.log` and rotates by renaming it
//! to `.1`, that to `.2` and so on; with compression the rotated ones become
//! `.N.gz` a moment later. Numbers may have holes, and an incomplete `.N.gz`
//! stands beside its `.N` until it is whole.

use std::cmp::Reverse;
use std::io;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::runtime::file::{describe, is_shortage, FileId};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{FileRank, LogFiles};

/// How many names a log's folder is read to; rotation leaves a few.
const MOST_NAMES: usize = 10_000;
/// How often the folder is listed until two listings agree.
const LISTINGS: usize = 10;

/// For a file of which the disk tells nothing: equal to no other's.
const UNKNOWN: FileId = FileId {
    device: 0,
    inode: 0,
    birth: 0,
};

/// A file of the log as the folder shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its place among the others, by its name.
    pub rank: FileRank,
    /// Where it is.
    pub path: SafePath,
    /// Which file that is.
    pub id: FileId,
}

impl ListedFile {
    /// Whether it is the file that its run of the container writes.
    pub fn is_current(&self) -> bool {
        self.rank.age == 0
    }
}

/// The files of the log, oldest first. While a rotation goes on, names move
/// from file to file; listings are repeated until one equals the one before.
pub fn list(log: &LogFiles) -> io::Result<Vec<ListedFile>> {
    let mut listed = list_once(log)?;
    for _ in 1..LISTINGS {
        let again = list_once(log)?;
        if again == listed {
            break;
        }
        listed = again;
    }
    Ok(listed)
}

fn list_once(log: &LogFiles) -> io::Result<Vec<ListedFile>> {
    let mut files = Vec::new();
    let folder = match log.dir.open_folder() {
        // A symlink is in its place.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(files),
        opened => opened?,
    };
    let entries = folder.entries(MOST_NAMES)?;
    if let Some(error) = entries.failure {
        return Err(error);
    }
    for (name, kind) in entries.names {
        let Some(rank) = log.rank_of(&name) else {
            continue;
        };
        if kind == FileType::Symlink {
            continue;
        }
        match folder.stat(&name) {
            Ok(stat) => files.push(ListedFile {
                rank,
                path: log.dir.join(name),
                id: describe(&stat).0,
            }),
            // It was renamed or deleted since; the next listing shows it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Of the others nothing is known less for it; that it cannot be opened is said then.
            Err(error) if rank.age > 0 && !is_shortage(&error) => {
                files.push(ListedFile {
                    rank,
                    path: log.dir.join(name),
                    id: UNKNOWN,
                });
            }
            Err(error) => return Err(error),
        }
    }
    // Highest age first; of .N and .N.gz the plain one, which is whole.
    files.sort_by_key(|file| (file.rank.run, Reverse(file.rank.age), file.rank.is_gzip));
    files.dedup_by_key(|file| (file.rank.run, file.rank.age));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_and_a_plain_file_before_its_unfinished_archive() {
        let dir = tempfile::tempdir().unwrap();
        for suffix in ["", ".1", ".1.gz", ".2.gz", ".10.gz", ".4"] {
            std::fs::write(dir.path().join(format!("x-json.log{suffix}")), suffix).unwrap();
        }
        std::fs::write(dir.path().join("config.v2.json"), "{}").unwrap();
        let listed = list(&LogFiles::numbered(dir.path().join("x-json.log"))).unwrap();
        let shown: Vec<_> = listed
            .iter()
            .map(|file| (file.rank.age, file.rank.is_gzip))
            .collect();
        assert_eq!(
            shown,
            [(10, true), (4, false), (2, true), (1, false), (0, false)]
        );
    }
}
