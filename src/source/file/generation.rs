//! One file of a container's log, read from a position on: whole lines only,
//! never past the last line feed, and only while it is still the same file.
//!
//! ```text
//!            marker            data: whole lines           rest
//! buffer  [ the last entry | line\n line\n … line\n | half a lin ]
//! file     ^ before read_offset  ^ read_offset       ^ where the next read begins
//! ```
//!
//! Each read begins a little before the position and compares those bytes with
//! what was there: this is how a file that was truncated and has grown past
//! the position again is told from one that merely grew, at no extra call. They
//! are the last entry, for the end of its text may well be the same again, and its
//! time stands before that, or is that of the piece before it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use memchr::{memchr, memrchr};
use rustix::fs::SeekFrom;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker, HEAD_BYTES, MARKER_BYTES};
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::layout::{Layout, Stretch};
use crate::format::local::wanted_bytes;
use crate::runtime::bounded_file::read_at_most;
use crate::runtime::file::{
    bytes_on_disk, open_regular, read_exact_at, read_up_to, stat_file, FileId,
};
use crate::runtime::safe_path::{Base, SafePath};
use crate::source::budget::HeldFile;
use crate::source::file::content;
use crate::source::file::content::GzipContent;
use crate::source::file::listing::ListedFile;

/// Bytes read at a time.
pub const SLICE_BYTES: usize = 256 * 1024;
/// The longest entry that is kept whole; dockerd's are below 98,371 bytes plus
/// the attributes, whose size nothing bounds.
pub const ENTRY_CAP: usize = 16 << 20;
/// An unfinished entry below this length may be one whose format is not known yet.
const TELLING_BYTES: usize = 64;
/// What is read at a time while a frame is longer than a slice: twice the longest, so
/// that each read decides on as many bytes as the next one has again.
const FRAME_WINDOW: usize = 2 << 20;
/// The longest stretch before the position that each read compares. The pieces that
/// runtimes cut fit into it.
const LONGEST_MARKER: usize = 32 * 1024;

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// `buffer[start..end]` holds whole entries that begin at `offset` in the
    /// file. Deal with them, then call [`Generation::consume`] with `end`.
    Entries {
        /// How they follow each other.
        layout: Layout,
        /// Index of the first entry.
        start: usize,
        /// Index behind the last whole one.
        end: usize,
        /// Bytes of the buffer that are valid.
        filled: usize,
        /// Offset in the file of the first entry.
        offset: u64,
        /// Whether the read stopped for want of room, not of bytes.
        has_more: bool,
    },
    /// Bytes that are no record were passed over: a hole of NULs, or an entry
    /// beyond [`ENTRY_CAP`].
    Skipped {
        /// Where they began.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Nothing new: the end, with an unfinished line of so many bytes.
    AtEnd {
        /// Bytes behind the last line feed.
        unfinished: usize,
    },
    /// The file is shorter than the position or holds other bytes before it.
    Truncated,
}

enum Content {
    Plain(File),
    Gzip(Box<GzipContent>),
}

/// One file of a container's log.
pub struct Generation {
    /// Its number in the order of writing, for [`crate::format::position::Position`].
    pub number: u32,
    /// Which run of the container wrote it, where each has files of its own.
    pub run: u32,
    /// Which file it is.
    pub id: FileId,
    /// The name it was opened under; a rotation may have changed it since.
    pub path: PathBuf,
    base: Arc<Base>,
    content: Content,
    /// Known once the first bytes were seen.
    layout: Option<Layout>,
    read_offset: u64,
    /// Where the file ended when that was last seen; of a compressed one, its
    /// packed size.
    known_end: u64,
    /// Since when it is known to have no name any more, and what it takes on the
    /// disk.
    deleted: Option<(Instant, u64)>,
    /// Bytes that were seen behind `read_offset` and are no longer there.
    vanished: u64,
    /// Nothing of it was read, and a copy of it was met.
    pub is_copied: bool,
    marker: Vec<u8>,
    fingerprint: Fingerprint,
    /// What the fingerprint was taken of.
    head: Vec<u8>,
    /// Bytes behind `read_offset` known to hold no end of an entry. They are read again
    /// when that has come.
    unfinished: usize,
    /// The last of them: while they are there, it is the same entry.
    unfinished_end: Vec<u8>,
    /// With so many of them an unfinished frame is whole.
    wanted: usize,
    /// Bytes that were read of a plain file, each as often as it was.
    bytes_read: u64,
    /// How much is read at a time: more while an entry is longer than a slice.
    window: usize,
    /// Inside an entry beyond the cap: pass over all up to the line feed.
    is_skipping: bool,
}

impl Generation {
    /// Opens a plain file, to be read from its start.
    pub fn open(path: &SafePath, number: u32) -> io::Result<Generation> {
        let file = open_regular(path)?;
        let (id, size) = stat_file(&file)?;
        Ok(Generation::new(
            path,
            number,
            id,
            size,
            Content::Plain(file),
        ))
    }

    /// Opens a compressed file, to be read from its start.
    pub fn open_gzip(path: &SafePath, number: u32) -> io::Result<Generation> {
        let file = open_regular(path)?;
        let (id, size) = stat_file(&file)?;
        Ok(Generation::new(
            path,
            number,
            id,
            size,
            Content::Gzip(Box::new(GzipContent::new(file))),
        ))
    }

    /// Opens a file that was listed, to be read from its start.
    pub fn open_listed(file: &ListedFile) -> io::Result<Generation> {
        let mut generation = match file.rank.is_gzip {
            true => Generation::open_gzip(&file.path, 0)?,
            false => Generation::open(&file.path, 0)?,
        };
        generation.run = file.rank.run;
        if generation.id == file.id {
            Ok(generation)
        } else {
            // The name leads elsewhere by now: as if it had not been there.
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn new(path: &SafePath, number: u32, id: FileId, size: u64, content: Content) -> Generation {
        Generation {
            number,
            run: 0,
            id,
            path: path.to_path_buf(),
            base: Arc::clone(path.base()),
            content,
            layout: None,
            read_offset: 0,
            known_end: size,
            deleted: None,
            vanished: 0,
            is_copied: false,
            marker: Vec::new(),
            fingerprint: Fingerprint::default(),
            head: Vec::new(),
            unfinished: 0,
            unfinished_end: Vec::new(),
            wanted: 0,
            bytes_read: 0,
            window: SLICE_BYTES,
            is_skipping: false,
        }
    }

    /// The name it was opened under, to look there again.
    pub fn safe_path(&self) -> SafePath {
        SafePath::below(&self.base, &self.path)
    }

    /// The same open file once more from its start, after a truncation.
    pub fn restarted(&self, number: u32) -> io::Result<Generation> {
        let restarted = match &self.content {
            Content::Plain(file) => {
                let (id, size) = stat_file(file)?;
                Generation::new(
                    &self.safe_path(),
                    number,
                    id,
                    size,
                    Content::Plain(file.try_clone()?),
                )
            }
            Content::Gzip(_) => Generation::open_gzip(&self.safe_path(), number)?,
        };
        Ok(Generation {
            run: self.run,
            ..restarted
        })
    }

    /// Offset of the next line to be read.
    pub fn read_offset(&self) -> u64 {
        self.read_offset
    }

    /// Bytes that were read of a plain file so far, each as often as it was: what
    /// following it has cost.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes that are there, as of the last time it was seen, and were not read.
    /// Of a compressed file whose end was not reached, its packed size.
    pub fn unread(&self) -> u64 {
        match &self.content {
            Content::Plain(_) => self.known_end.saturating_sub(self.read_offset),
            Content::Gzip(gzip) if gzip.is_at_end => {
                gzip.carried.len().saturating_sub(self.marker.len()) as u64
            }
            Content::Gzip(_) => self.known_end,
        }
    }

    /// Looks how much is in it, and whether it was deleted.
    pub fn survey(&mut self, now: Instant) -> io::Result<()> {
        let file = match &self.content {
            Content::Plain(file) => file,
            Content::Gzip(gzip) => gzip.file(),
        };
        let (size, deleted_bytes) = bytes_on_disk(file)?;
        if self.plain_file().is_some() {
            // One that is shorter now was truncated; reading finds out.
            self.known_end = self.known_end.max(size);
        }
        self.deleted = deleted_bytes.map(|bytes| match self.deleted {
            Some((since, _)) => (since, bytes),
            None => (now, bytes),
        });
        Ok(())
    }

    /// What is held with it, if it was deleted and something in it is unread.
    pub fn held(&self) -> Option<HeldFile> {
        let (since, bytes) = self.deleted.filter(|_| self.unread() > 0)?;
        Some(HeldFile {
            number: self.number,
            bytes,
            since,
        })
    }

    /// Bytes that had been seen and were destroyed before they were read.
    pub fn take_vanished(&mut self) -> u64 {
        std::mem::take(&mut self.vanished)
    }

    /// The head of the file, as far as it was read.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether a file with this head has this one's content, or what was there of
    /// it at some time. What we know is what we read.
    pub fn begins_like(&self, head: &[u8]) -> bool {
        head.starts_with(&self.head) || self.head.starts_with(head)
    }

    /// Whether nothing but a hole of NULs was read yet: that tells no file from
    /// another.
    pub fn is_behind_hole(&self) -> bool {
        let mut read = self.head.iter().chain(&self.marker);
        read.all(|byte| *byte == 0)
    }

    /// The open file, where it is a plain one: only those are still written.
    pub fn plain_file(&self) -> Option<&File> {
        match &self.content {
            Content::Plain(file) => Some(file),
            Content::Gzip(_) => None,
        }
    }

    /// What is wrong with a compressed file, once its end was reached.
    pub fn damage(&self) -> Option<&str> {
        match &self.content {
            Content::Plain(_) => None,
            Content::Gzip(gzip) => gzip.damage.as_deref(),
        }
    }

    /// Up to [`HEAD_BYTES`] from the start of the file at `path`.
    pub fn read_head(path: &SafePath, is_gzip: bool) -> io::Result<Vec<u8>> {
        let file = open_regular(path)?;
        if is_gzip {
            return Ok(content::read_head(file));
        }
        let mut head = Vec::new();
        read_at_most(file, HEAD_BYTES as u64, &mut head)?;
        Ok(head)
    }

    /// The head of the file as it is now, whatever its name; `None` for a
    /// compressed one.
    pub fn head_now(&self) -> io::Result<Option<Vec<u8>>> {
        let Content::Plain(file) = &self.content else {
            return Ok(None);
        };
        let mut head = vec![0; HEAD_BYTES];
        let length = read_up_to(file, &mut head, 0)?;
        head.truncate(length);
        Ok(Some(head))
    }

    /// Whether all that was seen in it, or copied from it, is gone and none of it was read; `true` once each time.
    pub fn is_emptied(&mut self) -> bool {
        let is_known = self.known_end > 0 || self.is_copied;
        let is_emptied = self.read_offset == 0 && is_known && self.is_empty_now();
        if is_emptied {
            self.is_copied = false;
            self.vanished += std::mem::take(&mut self.known_end);
        }
        is_emptied
    }

    /// Whether nothing has been written into it yet.
    pub fn is_empty_now(&self) -> bool {
        self.plain_file()
            .is_some_and(|file| stat_file(file).is_ok_and(|(_, size)| size == 0))
    }

    /// Moves to where `resume` says, if this is the file it was taken of; whether it is. Of
    /// a compressed file `None`, where unpacking up to there takes another call.
    pub fn seek(&mut self, resume: &StreamCheckpoint) -> io::Result<Option<bool>> {
        let head_bytes = resume.fingerprint.length as usize;
        if head_bytes == 0 {
            // Nothing was read of it yet: only its birth can tell.
            let is_same =
                resume.birth != 0 && (resume.inode, resume.birth) == (self.id.inode, self.id.birth);
            return Ok(Some(is_same && resume.offset == 0));
        }
        let marker_bytes = resume.marker.length as usize;
        let before = resume.offset.saturating_sub(marker_bytes as u64);
        let mut head = vec![0; head_bytes];
        let mut marker = vec![0; marker_bytes];
        match &mut self.content {
            Content::Plain(file) => {
                // Without a marker nothing else tells that the file is so long.
                let is_read = resume.offset <= stat_file(file)?.1
                    && read_exact_at(file, &mut head, 0)?
                    && read_exact_at(file, &mut marker, before)?;
                if !is_read || !resume.fingerprint.matches(&head) {
                    return Ok(Some(false));
                }
            }
            Content::Gzip(gzip) => {
                head.clear();
                match gzip.seek(before, resume)? {
                    Some(true) => marker.copy_from_slice(&gzip.carried[..marker_bytes]),
                    unfinished_or_other => return Ok(unfinished_or_other),
                }
            }
        }
        if !resume.marker.matches(&marker) {
            return Ok(Some(false));
        }
        self.read_offset = resume.offset;
        self.fingerprint = resume.fingerprint;
        self.head = head;
        self.marker = marker;
        Ok(Some(true))
    }

    /// Whether a position that was taken of this file is still in it.
    pub fn holds(&self, resume: &StreamCheckpoint) -> io::Result<bool> {
        // What is compressed does not change any more.
        let Content::Plain(file) = &self.content else {
            return Ok(true);
        };
        let mut head = vec![0; resume.fingerprint.length as usize];
        let mut marker = vec![0; resume.marker.length as usize];
        let before = resume.offset.saturating_sub(marker.len() as u64);
        Ok(read_exact_at(file, &mut head, 0)?
            && read_exact_at(file, &mut marker, before)?
            && resume.fingerprint.matches(&head)
            && resume.marker.matches(&marker))
    }

    /// Moves behind the last line there is now.
    pub fn seek_to_end(&mut self) -> io::Result<()> {
        let Content::Plain(file) = &self.content else {
            return Ok(());
        };
        let (_, size) = stat_file(file)?;
        let mut end = size;
        let layout = self.head_now()?.and_then(|head| Layout::detect(&head));
        if layout == Some(Layout::LocalFrames) {
            // What is unfinished at the end gives way to the next whole frame.
            return self.seek_to(end);
        }
        let mut block = vec![0; HEAD_BYTES.max(4096)];
        while end > 0 {
            if size - end > ENTRY_CAP as u64 {
                // A line that is too long to be kept is passed over to its end; a record may
                // begin right behind a hole.
                let mut last = [0];
                self.is_skipping = read_exact_at(file, &mut last, size - 1)? && last != [0];
                return self.seek_to(size);
            }
            let from = end.saturating_sub(block.len() as u64);
            let part = &mut block[..(end - from) as usize];
            if !read_exact_at(file, part, from)? {
                return Ok(());
            }
            if let Some(line_feed) = memrchr(b'\n', part) {
                end = from + line_feed as u64 + 1;
                break;
            }
            end = from;
        }
        self.seek_to(end)
    }

    fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        let Content::Plain(file) = &self.content else {
            return Ok(());
        };
        let marker_bytes = offset.min(MARKER_BYTES as u64);
        let mut marker = vec![0; marker_bytes as usize];
        let mut head = vec![0; offset.min(HEAD_BYTES as u64) as usize];
        if read_exact_at(file, &mut marker, offset - marker_bytes)?
            && read_exact_at(file, &mut head, 0)?
        {
            self.read_offset = offset;
            self.marker = marker;
            self.know_head(&head);
        }
        Ok(())
    }

    /// Reads on. `buffer` is the reader's, shared by all files; it grows where
    /// an entry is longer than it.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Found> {
        if self.unfinished > 0 && !self.may_be_finished(buffer)? {
            return Ok(Found::AtEnd {
                unfinished: self.unfinished,
            });
        }
        self.make_room(buffer);
        loop {
            let filled = self.fill(&mut buffer[..self.window])?;
            let start = self.marker.len();
            if filled < start || buffer[..start] != self.marker[..] {
                return Ok(Found::Truncated);
            }
            let data = &buffer[start..filled];
            let is_full = filled == self.window;
            self.note_end(data.len() as u64, is_full)?;
            if self.is_skipping {
                if let Some(found) = self.skip_to_line_feed(buffer, start, filled) {
                    return Ok(found);
                }
            } else if self.begins_with_hole(data) {
                return self.skip_nuls(buffer, start, filled);
            } else if let Stretch::Whole(length) = self.measure(data) {
                let (layout, end) = (self.layout(), start + length);
                self.grow_fingerprint(&buffer[..end]);
                return Ok(Found::Entries {
                    layout,
                    start,
                    end,
                    filled,
                    offset: self.read_offset,
                    has_more: is_full || end < filled && layout == Layout::LocalFrames,
                });
            } else if let Stretch::Corrupt(bytes) = self.measure(data) {
                let offset = self.read_offset;
                self.consume(buffer, start + bytes, filled);
                return Ok(Found::Skipped {
                    offset,
                    bytes: bytes as u64,
                });
            } else if is_full && self.window < ENTRY_CAP {
                self.keep_for_refill(&buffer[..filled]);
                self.widen(buffer);
            } else if is_full {
                self.is_skipping = true;
                self.keep_for_refill(&buffer[..filled]);
            } else {
                self.keep_for_refill(&buffer[..filled]);
                self.unfinished = data.len();
                self.wanted = if self.layout() == Layout::LocalFrames {
                    wanted_bytes(data)
                } else {
                    0
                };
                self.keep_unfinished_end(data);
                return Ok(Found::AtEnd {
                    unfinished: data.len(),
                });
            }
        }
    }

    /// Whether the unfinished entry may have its end by now, or is not the one any more
    /// that was seen. Only what has come behind it is read: an entry that grows by a byte
    /// a millisecond would otherwise be read again for each of them.
    fn may_be_finished(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        if let Content::Gzip(gzip) = &self.content {
            return Ok(!gzip.is_at_end);
        }
        if self.layout.is_none() && self.unfinished < TELLING_BYTES {
            return Ok(true);
        }
        // Not the whole window, which may be 16 MiB, and would be cleared for each byte.
        if buffer.len() < SLICE_BYTES {
            buffer.resize(SLICE_BYTES, 0);
        }
        loop {
            let Content::Plain(file) = &self.content else {
                return Ok(true);
            };
            let from = self.read_offset + (self.unfinished - self.unfinished_end.len()) as u64;
            let filled = read_up_to(file, &mut buffer[..SLICE_BYTES], from)?;
            self.bytes_read += filled as u64;
            let Some(grown) = buffer[..filled].strip_prefix(&self.unfinished_end[..]) else {
                return Ok(true);
            };
            let unfinished = self.unfinished + grown.len();
            let has_end = match self.layout() {
                Layout::JsonLines | Layout::CriLines => memchr(b'\n', grown).is_some(),
                // Within its footer it may already show that it is none.
                Layout::LocalFrames => unfinished + 4 > self.wanted && !grown.is_empty(),
            };
            let with_marker = self.marker.len() + unfinished;
            if has_end || with_marker >= ENTRY_CAP {
                self.widen_to(with_marker + 1);
                return Ok(true);
            }
            let is_full = filled == SLICE_BYTES;
            self.note_end(unfinished as u64, is_full)?;
            self.unfinished = unfinished;
            self.keep_unfinished_end(&buffer[..filled]);
            if !is_full {
                return Ok(false);
            }
        }
    }

    fn keep_unfinished_end(&mut self, seen: &[u8]) {
        let end = &seen[seen.len().saturating_sub(MARKER_BYTES)..];
        self.unfinished_end.clear();
        self.unfinished_end.extend_from_slice(end);
    }

    /// So many bytes are there behind the position; more only if the buffer is
    /// full.
    fn note_end(&mut self, bytes: u64, is_full: bool) -> io::Result<()> {
        let Content::Plain(file) = &self.content else {
            return Ok(());
        };
        let end = self.read_offset + bytes;
        if is_full {
            if self.known_end <= end {
                self.known_end = stat_file(file)?.1;
            }
            return Ok(());
        }
        // A torn line that gives way was never whole.
        let is_torn = self.known_end == self.read_offset + self.unfinished as u64;
        if !is_torn {
            self.vanished += self.known_end.saturating_sub(end);
        }
        self.known_end = end;
        Ok(())
    }

    /// How the file is divided; by its name as long as nothing better is known.
    pub fn layout(&self) -> Layout {
        self.layout.unwrap_or_else(|| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            if name.contains("-json.log") {
                Layout::JsonLines
            } else if name.starts_with("container.log") || name.starts_with("container-cached.log")
            {
                Layout::LocalFrames
            } else {
                Layout::CriLines
            }
        })
    }

    fn measure(&mut self, data: &[u8]) -> Stretch {
        if data.is_empty() {
            return Stretch::Incomplete;
        }
        if self.layout.is_none() {
            self.layout = Layout::detect(data);
        }
        self.layout().measure(data)
    }

    /// Whether a hole of NULs begins here. A frame begins with NULs too, of its
    /// length; only a stretch of nothing else is a hole for certain.
    fn begins_with_hole(&self, data: &[u8]) -> bool {
        match self.layout() {
            Layout::JsonLines | Layout::CriLines => {
                data.first() == Some(&0) && Layout::detect(data).is_none()
            }
            Layout::LocalFrames => data.len() > 64 && data.iter().all(|byte| *byte == 0),
        }
    }

    /// Makes the buffer large enough for the next read.
    fn make_room(&mut self, buffer: &mut Vec<u8>) {
        if let Content::Gzip(gzip) = &self.content {
            self.window = self.window.max(gzip.carried.len() + 1);
        }
        if buffer.len() < self.window {
            buffer.resize(self.window, 0);
        }
    }

    fn widen(&mut self, buffer: &mut Vec<u8>) {
        let least = if self.layout() == Layout::LocalFrames {
            FRAME_WINDOW
        } else {
            0
        };
        self.widen_to((self.window * 2).max(least));
        self.make_room(buffer);
    }

    /// What is read next holds so many bytes.
    fn widen_to(&mut self, bytes: usize) {
        self.window = self.window.max(bytes.next_power_of_two()).min(ENTRY_CAP);
    }

    /// Takes more of the head into the fingerprint; `read` is the marker and
    /// the whole lines behind it.
    fn grow_fingerprint(&mut self, read: &[u8]) {
        if self.fingerprint.is_complete() {
            return;
        }
        if self.read_offset == self.marker.len() as u64 {
            self.know_head(read);
        } else if let Content::Plain(file) = &self.content {
            let known = self.read_offset + (read.len() - self.marker.len()) as u64;
            let mut head = vec![0; known.min(HEAD_BYTES as u64) as usize];
            if read_exact_at(file, &mut head, 0).unwrap_or(false) {
                self.know_head(&head);
            }
        }
    }

    fn know_head(&mut self, read: &[u8]) {
        self.fingerprint = Fingerprint::of(read);
        self.head.clear();
        self.head
            .extend_from_slice(&read[..read.len().min(HEAD_BYTES)]);
    }

    /// A stream cannot be read twice: what was not consumed is carried over.
    fn keep_for_refill(&mut self, filled: &[u8]) {
        if let Content::Gzip(gzip) = &mut self.content {
            gzip.carried.clear();
            gzip.carried.extend_from_slice(filled);
        }
    }

    /// Fills the buffer with the marker and what follows; fewer bytes than it
    /// has room for means the end of the file.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = self.read_offset - self.marker.len() as u64;
        match &mut self.content {
            Content::Plain(file) => {
                let filled = read_up_to(file, buffer, from)?;
                self.bytes_read += filled as u64;
                Ok(filled)
            }
            Content::Gzip(gzip) => Ok(gzip.fill(buffer)),
        }
    }

    fn skip_to_line_feed(&mut self, buffer: &[u8], start: usize, filled: usize) -> Option<Found> {
        let data = &buffer[start..filled];
        let (end, found) = match memchr(b'\n', data) {
            Some(line_feed) => {
                self.is_skipping = false;
                (start + line_feed + 1, true)
            }
            None => (filled, false),
        };
        let offset = self.read_offset;
        self.consume(buffer, end, filled);
        if end == start && !found {
            return Some(Found::AtEnd { unfinished: 0 });
        }
        Some(Found::Skipped {
            offset,
            bytes: (end - start) as u64,
        })
    }

    /// Passes over the NULs at the start of a line. Where there are only NULs
    /// the file is probably sparse, and the kernel knows where data goes on.
    fn skip_nuls(&mut self, buffer: &[u8], start: usize, filled: usize) -> io::Result<Found> {
        let data = &buffer[start..filled];
        let mut nuls = data.iter().take_while(|byte| **byte == 0).count();
        if self.layout() == Layout::LocalFrames {
            // The last of them may be the head of a frame.
            nuls = nuls.saturating_sub(3);
        }
        let offset = self.read_offset;
        self.consume(buffer, start + nuls, filled);
        let mut bytes = nuls as u64;
        if nuls + 3 >= data.len() {
            if let Content::Plain(file) = &self.content {
                match rustix::fs::seek(file, SeekFrom::Data(self.read_offset)) {
                    Ok(next) if next > self.read_offset => {
                        bytes += next - self.read_offset;
                        self.read_offset = next;
                        self.marker = vec![0; self.marker.len()];
                    }
                    _ => {}
                }
            }
        }
        Ok(Found::Skipped { offset, bytes })
    }

    /// All before `buffer[end]` has been dealt with; `filled` bytes of the
    /// buffer are valid.
    pub fn consume(&mut self, buffer: &[u8], end: usize, filled: usize) {
        let start = self.marker.len();
        self.grow_fingerprint(&buffer[..end]);
        self.read_offset += (end - start) as u64;
        self.unfinished = 0;
        self.window = SLICE_BYTES;
        // Within an entry that is passed over, there is none to compare.
        let layout = self.layout.filter(|_| !self.is_skipping);
        let last_entry = layout.map_or(0, |layout| layout.last_entry(&buffer[..end]));
        let marker_start = end.saturating_sub(last_entry.clamp(MARKER_BYTES, LONGEST_MARKER));
        self.marker.clear();
        self.marker.extend_from_slice(&buffer[marker_start..end]);
        if let Content::Gzip(gzip) = &mut self.content {
            gzip.carried.clear();
            gzip.carried
                .extend_from_slice(&buffer[marker_start..filled]);
        }
    }

    /// Takes the head into the fingerprint, as far as it is read: marker and whole entries.
    pub fn know_up_to(&mut self, read: &[u8]) {
        if read.len() > self.head.len() {
            self.grow_fingerprint(read);
        }
    }

    /// The position at `offset`, with `preceding` the bytes before it (at
    /// least [`MARKER_BYTES`] of them, or all there are).
    pub fn resume_at(&self, offset: u64, preceding: &[u8]) -> StreamCheckpoint {
        let fingerprint = self.fingerprint_before(offset);
        StreamCheckpoint {
            fingerprint,
            marker: Marker::of(preceding),
            offset,
            inode: self.id.inode,
            birth: self.birth_of_log(fingerprint),
            ..StreamCheckpoint::default()
        }
    }

    /// The head as far as the position: a copy that was made when the file ended there
    /// has that, and no more. At the start, and behind a hole, what is known tells more.
    fn fingerprint_before(&self, offset: u64) -> Fingerprint {
        let before = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.head.get(..offset));
        match before {
            Some(head)
                if offset < u64::from(self.fingerprint.length)
                    && head.iter().any(|byte| *byte != 0) =>
            {
                Fingerprint::of(head)
            }
            _ => self.fingerprint,
        }
    }

    /// When the log in it was begun. An archive was made later than that, and perhaps
    /// later than the files that follow; its birth counts where nothing else tells it
    /// from others.
    fn birth_of_log(&self, fingerprint: Fingerprint) -> u64 {
        match self.content {
            Content::Gzip(_) if fingerprint.length > 0 => 0,
            _ => self.id.birth,
        }
    }

    /// The position that has been read up to.
    pub fn resume_here(&self) -> StreamCheckpoint {
        self.resume_at(self.read_offset, &self.marker)
    }

    /// The same where nothing was read yet: the entries that are there by now tell the
    /// file from others, should it be compressed before it is looked for.
    pub fn resume_at_start(&self) -> StreamCheckpoint {
        let resume = self.resume_here();
        let head = match &self.content {
            Content::Plain(_) => self.head_now().ok().flatten(),
            Content::Gzip(gzip) => Some(gzip.head()),
        };
        match head.filter(|_| self.read_offset == 0) {
            Some(head) => {
                let fingerprint = Fingerprint::of(&head[..self.telling(&head)]);
                StreamCheckpoint {
                    fingerprint,
                    birth: self.birth_of_log(fingerprint),
                    ..resume
                }
            }
            None => resume,
        }
    }

    /// How much of the head tells the file from others: whole entries, or a KiB of one.
    fn telling(&self, head: &[u8]) -> usize {
        match Layout::detect(head).map(|layout| layout.measure(head)) {
            Some(Stretch::Whole(length)) => length,
            Some(_) if head.len() == HEAD_BYTES => HEAD_BYTES,
            _ => 0,
        }
    }

    /// The bytes of the unfinished line at the end of the file.
    pub fn read_unfinished(&mut self, buffer: &mut Vec<u8>) -> io::Result<std::ops::Range<usize>> {
        self.widen_to(self.marker.len() + self.unfinished + 1);
        self.make_room(buffer);
        let mut filled = self.fill(&mut buffer[..self.window])?;
        while filled == self.window && self.window < ENTRY_CAP {
            self.keep_for_refill(&buffer[..filled]);
            self.widen(buffer);
            filled = self.fill(&mut buffer[..self.window])?;
        }
        self.keep_for_refill(&buffer[..filled]);
        Ok(self.marker.len().min(filled)..filled)
    }
}

#[cfg(test)]
mod tests;
