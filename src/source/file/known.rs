//! Whether two files of a log are the same, or hold the same: files that are open, and files
//! that were read or skipped, so that none of them is taken for a new one when it is listed
//! again.
//!
//! An identity is certain only with a birth time. Without one, or if dockerd compressed the
//! file since, its head decides.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::layout::Layout;
use crate::runtime::file::{is_permanent, stat_path, FileId};
use crate::source::file::content;
use crate::source::file::generation::Generation;
use crate::source::file::listing::ListedFile;

/// The least number remembered: more than any sensible `max-file`. More are remembered only if
/// more files exist.
const SEEN_FILES: usize = 64;

/// A file that was read or skipped.
#[derive(Debug, Clone, Copy)]
pub struct KnownFile {
    /// Its identity.
    pub id: FileId,
    /// The fingerprint of its head, as far as it was known.
    pub fingerprint: Fingerprint,
    /// Where it ended when it was read to its end, and the bytes before that; `None` if it was not.
    end: Option<(u64, Marker)>,
    /// It was read under a name that the runtime did not give it: it may be an extract of a later one.
    is_renamed: bool,
}

impl KnownFile {
    /// A file that is not read any further.
    pub fn of(file: &Generation) -> KnownFile {
        KnownFile {
            id: file.id,
            fingerprint: file.fingerprint(),
            end: None,
            is_renamed: file.is_renamed,
        }
    }

    /// A file that was read to its end.
    pub fn read(file: &Generation) -> KnownFile {
        let here = file.resume_here();
        KnownFile {
            end: Some((here.offset, here.marker)),
            ..KnownFile::of(file)
        }
    }

    /// A file with this head that is not to be read.
    pub fn unread(id: FileId, head: &[u8]) -> KnownFile {
        KnownFile {
            id,
            fingerprint: Fingerprint::of(head),
            end: None,
            is_renamed: false,
        }
    }

    /// A listed file that is not to be read, by its head.
    pub fn skipped(head: &Head<'_>) -> io::Result<KnownFile> {
        let bytes = head.read()?.unwrap_or_default();
        Ok(KnownFile {
            is_renamed: head.file.is_renamed,
            ..KnownFile::unread(head.file.id, bytes)
        })
    }

    /// Opens the file behind what was read of it, if somebody has given it the name of the log again,
    /// or if it was written since. It is at its start if it has something else there.
    pub fn open_again(&self, file: &ListedFile) -> io::Result<Option<Generation>> {
        let (Some((offset, marker)), false) = (self.end, file.rank.is_gzip) else {
            return Ok(None);
        };
        if !file.is_current() && stat_path(&file.path)?.1 <= offset {
            return Ok(None);
        }
        let mut opened = Generation::open_listed(file)?;
        opened.seek(&StreamCheckpoint {
            fingerprint: self.fingerprint,
            marker,
            offset,
            ..StreamCheckpoint::default()
        })?;
        Ok(Some(opened))
    }

    /// Whether a file that begins with `head` begins with the first entry of this one, or with one of
    /// the same time that looks the same.
    fn has_first_of(&self, head: &[u8]) -> bool {
        let is_alike = !self.is_renamed && self.fingerprint.matches(head);
        is_alike && has_entry(&head[..self.fingerprint.length as usize])
    }
}

/// Whether a head has a whole entry, and so its time: a long line may be the first of several files.
fn has_entry(head: &[u8]) -> bool {
    Layout::detect(head).is_some_and(|layout| layout.first_time(head).is_some())
}

/// The files of one log that were read or skipped, oldest first.
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
    /// Adjusts the limit to the number of listed files, each of which may have to be known.
    /// Any more than that are files that no longer exist.
    pub fn keep_for(&mut self, listed: usize) {
        self.cap = listed.max(SEEN_FILES);
        self.shrink();
    }

    /// Adds a file that was read or skipped.
    pub fn remember(&mut self, file: KnownFile) {
        self.files.push_back(file);
        self.shrink();
    }

    fn shrink(&mut self) {
        let surplus = self.files.len().saturating_sub(self.cap);
        self.files.drain(..surplus);
    }

    /// The one of them that a listed file is.
    pub fn find(&self, file: &ListedFile, head: &Head<'_>) -> io::Result<Option<KnownFile>> {
        for seen in self
            .files
            .iter()
            .filter(|seen| file.rank.is_gzip || seen.id == file.id)
        {
            // An inode number, and within a tick of the kernel's clock even a birth time, may
            // have been reused.
            let Some(head) = head.read()? else {
                return Ok(Some(*seen));
            };
            let is_empty = seen.id == file.id && seen.fingerprint.length == 0 && head.is_empty();
            if is_empty || seen.fingerprint.matches(head) {
                return Ok(Some(*seen));
            }
        }
        Ok(None)
    }

    /// Whether one of them begins like this.
    pub fn has_begun_with(&self, head: &[u8]) -> bool {
        self.files.iter().any(|seen| seen.fingerprint.matches(head))
    }

    /// Whether one of them begins with the entry with which a file begins that has this head. It was
    /// begun already, if that entry is earlier than the last one taken: entries of one read have one
    /// time and may be alike, and a rotation may come between them.
    pub fn has_first_of(&self, head: &[u8]) -> bool {
        self.files.iter().any(|seen| seen.has_first_of(head))
    }
}

/// The head of a listed file, read at its first use.
pub struct Head<'a> {
    file: &'a ListedFile,
    bytes: OnceCell<Option<Vec<u8>>>,
}

impl<'a> Head<'a> {
    /// Creates it without reading.
    pub fn of(file: &'a ListedFile) -> Head<'a> {
        Head {
            file,
            bytes: OnceCell::new(),
        }
    }

    /// Returns the head, or `None` if it can never be read. Fails with `NotFound` if the name now
    /// belongs to another file.
    pub fn read(&self) -> io::Result<Option<&[u8]>> {
        let bytes = match self.bytes.get() {
            Some(bytes) => bytes,
            None => {
                let read = match content::read_head(&self.file.path, self.file.rank.is_gzip) {
                    Err(error) if is_permanent(&error) => None,
                    Ok((id, _)) if id != self.file.id => {
                        return Err(io::ErrorKind::NotFound.into());
                    }
                    read => Some(read?.1),
                };
                self.bytes.get_or_init(|| read)
            }
        };
        Ok(bytes.as_deref())
    }
}

/// Whether two identities are certainly those of one file.
pub fn is_same(one: FileId, other: FileId) -> bool {
    one == other && one.birth != 0
}

/// Whether a listed file is one that is open. The open file may have grown since it was read,
/// so its head is read again.
pub fn is_held(file: &ListedFile, head: &Head<'_>, held: &Generation) -> io::Result<bool> {
    if is_same(file.id, held.id) {
        return Ok(true);
    }
    if file.id != held.id && !file.rank.is_gzip {
        return Ok(false);
    }
    let Some(head) = head.read()? else {
        return Ok(false);
    };
    match held.head_now()? {
        // An incomplete archive holds less.
        Some(now) if file.rank.is_gzip => Ok(now.starts_with(head) && !head.is_empty()),
        Some(now) => Ok(head == now),
        None => Ok(held.fingerprint().matches(head)),
    }
}

/// Whether a file holds the beginning of a file after it, by their heads: a copy that was made by
/// hand, or that copytruncate is making. It has nothing that the other lacks.
pub fn begins_like_later(file: &Head<'_>, later: &[Head<'_>]) -> io::Result<bool> {
    let (Some(head), Some(newest)) = (file.read()?, later.last()) else {
        return Ok(false);
    };
    if head.is_empty() {
        // The runtime may still write to a file that was renamed, but that is older.
        return Ok(newest.file.id.birth < file.file.id.birth);
    }
    let is_alike = file.file.is_renamed && !is_hole(head);
    for other in later {
        let begins = other.read()?.is_some_and(|other| other.starts_with(head));
        // The original, which the runtime may still write to, while its copy has its name.
        let is_original = is_older(file.file.id, other.file.id);
        if begins && !is_original && (is_alike || is_beginning_of(file.file, other.file)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file was certainly made before another one.
pub fn is_older(one: FileId, other: FileId) -> bool {
    one.birth != 0 && one.birth < other.birth
}

/// The same by all that is in the files, as their heads do not tell: others begin with a hole, too,
/// and so may one that the runtime has rotated.
fn is_beginning_of(file: &ListedFile, other: &ListedFile) -> io::Result<bool> {
    if file.rank.is_gzip || other.rank.is_gzip {
        return Ok(false);
    }
    let file = Generation::open_listed(file)?;
    match Generation::open_listed(other) {
        Err(error) if is_permanent(&error) => Ok(false),
        other => other?.begins_with_all_of(&file),
    }
}

/// Whether there is only a hole of NULs in a head: a writer that does not append leaves one at a
/// truncation. It identifies no file.
pub fn is_hole(head: &[u8]) -> bool {
    head.iter().all(|byte| *byte == 0)
}

/// Whether an unknown file was copied from `held` after that was truncated at least once since
/// it was read. A copy of what was read begins the same, even if it ends before the offset
/// because it was made before the last lines.
pub fn is_later_copy(file: &Head<'_>, held: &Generation) -> io::Result<bool> {
    if file.file.id.birth <= held.id.birth {
        return Ok(false);
    }
    let head = file.read()?;
    Ok(head.is_some_and(|head| !held.begins_like(head)))
}

/// Whether a copy holds only data before a checkpoint: it was made before the last lines were
/// read, and those were truncated away.
pub fn was_read_whole(file: &ListedFile, checkpoint: &StreamCheckpoint) -> io::Result<bool> {
    let head = Head::of(file);
    let Some(head) = head.read()? else {
        return Ok(false);
    };
    // A hole does not identify a file.
    let is_hole = is_hole(head);
    Ok(!is_hole
        && checkpoint.fingerprint.matches(head)
        && stat_path(&file.path)?.1 <= checkpoint.offset)
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
        KnownFile::unread(id, &number.to_le_bytes())
    }

    #[test]
    fn as_many_are_remembered_as_are_there_and_no_more_for_each_rotation() {
        let mut files = KnownFiles::default();
        // At a start, with more files than any sensible log has.
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
        let listed = listing::list(&LogFiles::numbered(&path)).unwrap().files;
        let head = Head::of(&listed[0]);
        let mut files = KnownFiles::default();
        for number in 0..50 {
            files.remember(KnownFile {
                id: listed[0].id,
                ..seen(number)
            });
        }
        assert!(files.find(&listed[0], &head).unwrap().is_none());
        // A second read would see this.
        std::fs::write(&path, "other").unwrap();
        files.remember(KnownFile::unread(listed[0].id, b"other"));
        assert!(files.find(&listed[0], &head).unwrap().is_none());
        let again = Head::of(&listed[0]);
        assert!(files.find(&listed[0], &again).unwrap().is_some());
    }

    /// Files that begin with the same text are not the same for that.
    #[test]
    fn a_file_was_begun_already_if_it_begins_with_a_whole_entry_of_one_that_was_read() {
        let json = |text: &str, nanos: u32| {
            format!("{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{nanos:09}Z\"}}\n")
        };
        let cri = |nanos: u32| format!("2023-11-14T22:13:20.{nanos:09}+00:00 stdout F text\n");
        let long = "x".repeat(2_000) + "\\n";
        for (head, is_known) in [
            (json("a\\n", 1), true),
            (json("a", 1) + &json("a\\n", 2), true),
            (cri(1), true),
            // Its time is not known.
            (json(&long, 1), false),
            (json("a\\n", 1)[..50].to_owned(), false),
            ("\0".repeat(100), false),
            ("text\n".to_owned(), false),
            (String::new(), false),
        ] {
            let mut files = KnownFiles::default();
            files.remember(KnownFile::unread(seen(1).id, head.as_bytes()));
            let later = head.clone() + &json("later\\n", 9) + &cri(9);
            assert_eq!(files.has_first_of(later.as_bytes()), is_known, "{head}");
            assert!(!files.has_first_of(json("other\\n", 1).as_bytes()));
        }
    }
}
