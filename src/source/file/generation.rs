//! One file of a container's log, read from an offset on: complete lines only, never past the
//! last line feed, and only while it is still the same file.

use std::fs::File;
use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::runtime::file::{bytes_on_disk, open_regular, stat_file, FileId};
use crate::runtime::safe_path::SafePath;
use crate::source::file::content::{self, Content};
use crate::source::file::gaps::Missing;
use crate::source::file::generation::closed::Closed;
pub use crate::source::file::generation::read::Found;
use crate::source::file::head::{fingerprint_of_unread, KnownHead};
use crate::source::file::listing::ListedFile;
use crate::source::file::unfinished::Unfinished;

mod closed;
mod read;
mod seek;

/// Bytes per read.
pub const SLICE_BYTES: usize = 256 * 1024;
/// The longest entry that is kept whole. dockerd's are below 98,371 bytes plus the attributes,
/// whose size is unbounded.
pub const ENTRY_CAP: usize = 16 << 20;

/// A deleted file with unread data.
#[derive(Debug, Clone, Copy)]
pub struct HeldFile {
    /// Its number among the files of its container.
    pub number: u32,
    /// Its size on the disk, in bytes.
    pub bytes: u64,
    /// When it was found to have no name.
    pub since: Instant,
}

/// One file of a container's log.
pub struct Generation {
    /// Its number in the order of writing, for [`crate::format::position::Position`].
    pub number: u32,
    /// The run of the container that wrote it, if each run has its own files.
    pub run: u32,
    /// The file's identity.
    pub id: FileId,
    /// It was opened under a name that the runtime did not give it.
    pub is_renamed: bool,
    /// The name it was opened under; a rotation may have changed it since.
    pub path: SafePath,
    content: Content,
    /// Boxed, since few are closed.
    closed: Option<Box<Closed>>,
    /// Known once the first bytes have been read.
    layout: Option<Layout>,
    read_offset: u64,
    /// The last known size of a plain file; of a compressed one, its packed size.
    known_end: u64,
    /// When it was found to have no name any more, and its size on the disk.
    deleted: Option<(Instant, u64)>,
    /// Bytes that were seen after `read_offset` and are no longer there.
    vanished: u64,
    /// Nothing of it has been read, and a copy of it was found.
    pub is_copied: bool,
    /// Files before it were created and deleted unseen.
    pub follows_loss: bool,
    /// Those of them that were deleted while nothing was read.
    pub follows_missing: Option<Box<Missing>>,
    /// It has entries that were delivered from the file before it, at other offsets.
    pub repeats: bool,
    /// It was truncated, and what it holds since may be what it held before.
    pub is_overwritten: bool,
    /// How it began before that.
    head_before: Option<Box<KnownHead>>,
    /// The bytes before `read_offset`, which are compared at each read.
    marker: Vec<u8>,
    head: KnownHead,
    /// The entry at `read_offset` if it has no end yet.
    unfinished: Unfinished,
    /// Offset up to which whole entries were found.
    measured: u64,
    /// Bytes read, repeated reads included.
    bytes_read: u64,
    /// Bytes per read: more than a slice while an entry is longer than that.
    window: usize,
    /// Inside an entry longer than the cap: everything up to the line feed is skipped.
    is_skipping: bool,
}

impl Generation {
    /// Opens a file for reading from its start.
    pub fn open(path: &SafePath, is_gzip: bool) -> io::Result<Generation> {
        let content = Content::new(open_regular(path)?, is_gzip);
        Generation::new(path, 0, content)
    }

    /// Opens a listed file for reading from its start. Fails with `NotFound` if its name now
    /// belongs to another file.
    pub fn open_listed(file: &ListedFile) -> io::Result<Generation> {
        let mut generation = Generation::open(&file.path, file.rank.is_gzip)?;
        if generation.id != file.id {
            return Err(io::ErrorKind::NotFound.into());
        }
        generation.run = file.rank.run;
        generation.is_renamed = file.is_renamed;
        Ok(generation)
    }

    fn new(path: &SafePath, number: u32, content: Content) -> io::Result<Generation> {
        let (id, known_end) = stat_file(content.file()?)?;
        Ok(Generation {
            number,
            run: 0,
            id,
            is_renamed: false,
            path: path.clone(),
            content,
            closed: None,
            layout: None,
            read_offset: 0,
            known_end,
            deleted: None,
            vanished: 0,
            is_copied: false,
            follows_loss: false,
            follows_missing: None,
            repeats: false,
            is_overwritten: false,
            head_before: None,
            marker: Vec::new(),
            head: KnownHead::default(),
            unfinished: Unfinished::default(),
            measured: 0,
            bytes_read: 0,
            window: SLICE_BYTES,
            is_skipping: false,
        })
    }

    /// Returns the same open file for reading from its start, after a truncation.
    pub fn restarted(&self, number: u32) -> io::Result<Generation> {
        let head_before = match self.head.bytes.is_empty() {
            true => self.head_before.clone(),
            false => Some(Box::new(self.head.clone())),
        };
        Ok(Generation {
            run: self.run,
            is_overwritten: true,
            head_before,
            ..Generation::new(&self.path, number, self.content.restarted()?)?
        })
    }

    /// Offset of the next line to read.
    pub fn read_offset(&self) -> u64 {
        self.read_offset
    }

    /// Bytes read so far, repeated reads included: the cost of following a file.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes, as of the last check, that have not been read. Of a compressed file whose end
    /// has not been reached, its packed size.
    pub fn unread(&self) -> u64 {
        match &self.content {
            Content::Plain(_) => self.known_end.saturating_sub(self.read_offset),
            Content::Gzip(gzip, _) if gzip.is_at_end => {
                gzip.carried.len().saturating_sub(self.marker.len()) as u64
            }
            Content::Gzip(..) => self.known_end,
        }
    }

    /// The same without the entry at the end that has no end yet: only its writer can complete
    /// it.
    pub fn lag(&self) -> u64 {
        self.unread().saturating_sub(self.unfinished.length as u64)
    }

    /// Checks the file's size and whether it was deleted.
    pub fn survey(&mut self, now: Instant) -> io::Result<()> {
        let (size, deleted_bytes) = match self.content.file() {
            Ok(file) => bytes_on_disk(file)?,
            Err(_) => (self.size_while_closed()?, None),
        };
        if matches!(self.content, Content::Plain(_)) {
            // A shorter file was truncated, which the next read detects.
            self.known_end = self.known_end.max(size);
        }
        self.deleted = deleted_bytes.map(|bytes| match self.deleted {
            Some((since, _)) => (since, bytes),
            None => (now, bytes),
        });
        Ok(())
    }

    /// Whether it was found to have no name any more.
    pub fn is_deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// The disk space it holds if it was deleted and part of it is unread.
    pub fn held(&self) -> Option<HeldFile> {
        let (since, bytes) = self.deleted.filter(|_| self.unread() > 0)?;
        Some(HeldFile {
            number: self.number,
            bytes,
            since,
        })
    }

    /// Returns and resets the number of bytes that had been seen and were destroyed before
    /// they were read.
    pub fn take_vanished(&mut self) -> u64 {
        std::mem::take(&mut self.vanished)
    }

    /// Takes back a number that could not be counted yet.
    pub fn put_back_vanished(&mut self, bytes: u64) {
        self.vanished += bytes;
    }

    /// The fingerprint of the file's head, as far as it has been read.
    pub fn fingerprint(&self) -> Fingerprint {
        self.head.fingerprint
    }

    /// Whether a file with this head has this one's content or an earlier state of it, judged
    /// by what has been read.
    pub fn begins_like(&self, head: &[u8]) -> bool {
        self.head.begins_like(head)
    }

    /// Whether it began with the same entry as this head before it was truncated.
    pub fn began_like(&self, head: &[u8]) -> bool {
        let before = self.head_before.as_ref();
        before.is_some_and(|before| before.has_first_of(head))
    }

    /// Whether its content begins like this now, which is the head of another file.
    pub fn begins_with(&self, head: &[u8]) -> io::Result<bool> {
        Ok(!head.is_empty() && self.content.head()?.starts_with(head))
    }

    /// Whether it begins with all that another plain file has.
    pub fn begins_with_all_of(&self, other: &Generation) -> io::Result<bool> {
        let (Some(own), Some(other)) = (self.plain_file(), other.plain_file()) else {
            return Ok(false);
        };
        // That it has less shows there.
        content::have_same_before(own, other, stat_file(other)?.1)
    }

    /// Whether only a hole of NULs has been read yet, which does not identify a file.
    pub fn is_behind_hole(&self) -> bool {
        let mut known = self.head.bytes.iter().chain(&self.marker);
        known.all(|byte| *byte == 0)
    }

    /// The open file, compressed or not.
    pub fn file(&self) -> io::Result<&File> {
        self.content.file()
    }

    /// The open file if it is plain: compressed files are no longer written.
    pub fn plain_file(&self) -> Option<&File> {
        self.content.plain()
    }

    /// What is wrong with a compressed file, once its end has been reached.
    pub fn damage(&self) -> Option<&str> {
        self.content.damage()
    }

    /// Reads the file's current head, whatever its name; `None` if it is compressed.
    pub fn head_now(&self) -> io::Result<Option<Vec<u8>>> {
        let head = self.plain_file().map(|_| self.content.head());
        head.transpose()
    }

    /// Whether everything that was seen in it, or copied from it, is gone and none of it was
    /// read; `true` once per truncation.
    pub fn is_emptied(&mut self) -> bool {
        let is_known = self.known_end > 0 || self.is_copied;
        let is_emptied = self.read_offset == 0 && is_known && self.is_empty_now();
        if is_emptied {
            self.is_copied = false;
            self.vanished += std::mem::take(&mut self.known_end);
        }
        is_emptied
    }

    /// The content that was seen was truncated and is in these copies. What none of them has counts
    /// as vanished, as far as that can be told.
    pub fn is_copied_to(&mut self, copies: &[Generation]) {
        let seen = std::mem::take(&mut self.known_end).max(self.vanished);
        // How long an archive is shows at its end only.
        let sizes = copies.iter().map(|copy| match copy.plain_file() {
            Some(_) => copy.known_end,
            None => u64::MAX,
        });
        self.vanished = seen.saturating_sub(sizes.max().unwrap_or(u64::MAX));
        self.is_copied = false;
    }

    /// Whether there is something after the offset.
    pub fn has_more_now(&self) -> bool {
        match self.plain_file() {
            Some(file) => !stat_file(file).is_ok_and(|(_, size)| size <= self.read_offset),
            None => true,
        }
    }

    /// Whether the file is empty.
    pub fn is_empty_now(&self) -> bool {
        self.plain_file()
            .is_some_and(|file| stat_file(file).is_ok_and(|(_, size)| size == 0))
    }

    /// The file's format; judged by its name until its content shows it.
    pub fn layout(&self) -> Layout {
        self.layout.unwrap_or_else(|| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            Layout::by_name(&name)
        })
    }

    /// The time of the last entry that was read, if that is known.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.layout?.first_time(&self.marker)
    }

    /// Returns the checkpoint at `offset`; `preceding` holds at least the `MARKER_BYTES`
    /// before it, or all there are.
    pub fn resume_at(&self, offset: u64, preceding: &[u8]) -> StreamCheckpoint {
        let fingerprint = self.head.fingerprint_before(offset);
        StreamCheckpoint {
            fingerprint,
            marker: Marker::of(preceding),
            offset,
            inode: self.id.inode,
            birth: self.birth_of_log(fingerprint),
            ..StreamCheckpoint::default()
        }
    }

    /// The birth time of the log in the file. An archive was created later than its log,
    /// perhaps later than the files that follow, so its birth time is used only if nothing
    /// else identifies it.
    fn birth_of_log(&self, fingerprint: Fingerprint) -> u64 {
        match self.content {
            Content::Gzip(..) if fingerprint.length > 0 => 0,
            _ => self.id.birth,
        }
    }

    /// The checkpoint at the current offset.
    pub fn resume_here(&self) -> StreamCheckpoint {
        self.resume_at(self.read_offset, &self.marker)
    }

    /// The same, for a file of which nothing has been read: its current entries identify it
    /// even if it is compressed before the checkpoint is used.
    pub fn resume_at_start(&self) -> StreamCheckpoint {
        let checkpoint = self.resume_here();
        if self.read_offset > 0 {
            return checkpoint;
        }
        match self.content.head() {
            Ok(head) => {
                let fingerprint = fingerprint_of_unread(&head);
                StreamCheckpoint {
                    fingerprint,
                    birth: self.birth_of_log(fingerprint),
                    ..checkpoint
                }
            }
            Err(_) => checkpoint,
        }
    }
}

#[cfg(test)]
mod tests;
