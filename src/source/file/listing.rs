//! Lists the files of a container's log, oldest first. The runtime interprets their names.
//!
//! dockerd names the current file `<id>-json.log` and rotates by renaming it to `.1`, `.1` to
//! `.2` and so on; with compression, rotated files become `.N.gz` shortly afterwards. Numbers
//! may have gaps, and an incomplete `.N.gz` exists beside its `.N` until it is complete.

use std::cmp::Reverse;
use std::io;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::runtime::file::{describe, is_shortage, FileId};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{FileRank, LogFiles};

/// Limit on the names read from a log's folder; rotation leaves a few.
const MOST_NAMES: usize = 10_000;
/// Limit on the listings until two agree.
const LISTINGS: usize = 10;

/// The identity of a file that cannot be examined.
const UNKNOWN: FileId = FileId {
    device: 0,
    inode: 0,
    birth: 0,
};

/// A file of the log as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its order among the others, from its name.
    pub rank: FileRank,
    /// Its path.
    pub path: SafePath,
    /// Its identity.
    pub id: FileId,
}

impl ListedFile {
    /// Whether it is the current file of its run of the container.
    pub fn is_current(&self) -> bool {
        self.rank.age == 0
    }
}

/// Returns the files of the log, oldest first. During a rotation, names move from file to
/// file, so listings are repeated until one equals the one before.
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
        // The folder was replaced by a symlink.
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
            // The other files are still known; the failure is reported when this one is
            // opened.
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
    // Highest age first; of `.N` and `.N.gz`, keep the plain one, which is complete.
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
