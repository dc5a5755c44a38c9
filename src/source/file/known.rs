//! Files of a log that were read or are passed over, so that none of them is taken for
//! a new one when it is met again.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;

use crate::delivery::checkpoint::fingerprint::Fingerprint;
use crate::runtime::file::{is_permanent, FileId};
use crate::source::file::generation::Generation;
use crate::source::file::listing::ListedFile;

/// How many are remembered at least: more than any sensible `max-file`. More only where
/// more files are there.
const SEEN_FILES: usize = 64;

/// A file that was read or is passed over.
#[derive(Debug, Clone, Copy)]
pub struct KnownFile {
    /// Which file.
    pub id: FileId,
    /// Its head, as far as it was known.
    pub fingerprint: Fingerprint,
}

/// The files of one log that were read, the one read first in front.
#[derive(Debug)]
pub struct KnownFiles {
    files: VecDeque<KnownFile>,
    /// How many are kept.
    cap: usize,
}

impl Default for KnownFiles {
    fn default() -> KnownFiles {
        KnownFiles {
            files: VecDeque::new(),
            cap: SEEN_FILES,
        }
    }
}

impl KnownFiles {
    /// So many files are there: each of them may have to be known. What is kept beyond
    /// that is of files that are gone.
    pub fn keep_for(&mut self, listed: usize) {
        self.cap = listed.max(SEEN_FILES);
        self.shrink();
    }

    /// It is read, and is no new file when it is met again.
    pub fn remember(&mut self, file: KnownFile) {
        self.files.push_back(file);
        self.shrink();
    }

    fn shrink(&mut self) {
        let surplus = self.files.len().saturating_sub(self.cap);
        self.files.drain(..surplus);
    }

    /// Whether a listed file is one of them.
    pub fn knows(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<bool> {
        for seen in self
            .files
            .iter()
            .filter(|seen| file.rank.is_gzip || seen.id == file.id)
        {
            // An inode number, and within a tick of the kernel's clock even a
            // birth time, may be another file's by now.
            let Some(head) = head.read()? else {
                return Ok(true);
            };
            let is_empty = seen.id == file.id && seen.fingerprint.length == 0 && head.is_empty();
            if is_empty || seen.fingerprint.matches(head) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Nothing was read yet.
    pub fn clear(&mut self) {
        self.files.clear();
    }
}

/// The head of a listed file, which is read when it is asked for first.
pub struct Head<'a> {
    file: &'a ListedFile,
    bytes: OnceCell<Option<Vec<u8>>>,
}

impl<'a> Head<'a> {
    /// The head of this file.
    pub fn of(file: &'a ListedFile) -> Head<'a> {
        Head {
            file,
            bytes: OnceCell::new(),
        }
    }

    /// `None` where it will never be readable.
    pub fn read(&self) -> io::Result<Option<&[u8]>> {
        let bytes = match self.bytes.get() {
            Some(bytes) => bytes,
            None => {
                let read = match Generation::read_head(&self.file.path, self.file.rank.is_gzip) {
                    Err(error) if is_permanent(&error) => None,
                    head => Some(head?),
                };
                self.bytes.get_or_init(|| read)
            }
        };
        Ok(bytes.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::LogFiles;
    use crate::source::file::listing;

    fn seen(number: u64) -> KnownFile {
        let id = FileId {
            device: 1,
            inode: number,
            birth: number,
        };
        KnownFile {
            id,
            fingerprint: Fingerprint::of(&number.to_le_bytes()),
        }
    }

    #[test]
    fn as_many_are_remembered_as_are_there_and_no_more_for_each_rotation() {
        let mut files = KnownFiles::default();
        // At a start, of a log with more files than any sensible one.
        files.keep_for(80);
        (0..80).for_each(|number| files.remember(seen(number)));
        assert_eq!(files.files.len(), 80);
        (80..1000).for_each(|number| files.remember(seen(number)));
        assert_eq!(files.files.len(), 80);
        files.keep_for(3);
        assert_eq!(files.files.len(), SEEN_FILES);
        assert_eq!(
            files.files.front().map(|file| file.id.inode),
            Some(1000 - SEEN_FILES as u64)
        );
    }

    #[test]
    fn the_head_of_a_file_is_read_once_for_all_that_it_is_compared_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        std::fs::write(&path, "first").unwrap();
        let listed = listing::list(&LogFiles::numbered(&path)).unwrap();
        let head = Head::of(&listed[0]);
        let mut files = KnownFiles::default();
        for number in 0..50 {
            files.remember(KnownFile {
                id: listed[0].id,
                ..seen(number)
            });
        }
        assert!(!files.knows(&listed[0], &head).unwrap());
        // A second reading would show it.
        std::fs::write(&path, "other").unwrap();
        files.remember(KnownFile {
            id: listed[0].id,
            fingerprint: Fingerprint::of(b"other"),
        });
        assert!(!files.knows(&listed[0], &head).unwrap());
        assert!(files.knows(&listed[0], &Head::of(&listed[0])).unwrap());
    }
}
