//! One file of a container's log, read from an offset on: complete lines only, never past the
//! last line feed, and only while it is still the same file.
//!
//! ```text
//!            marker            data: whole lines           rest
//! buffer  [ the last entry | line\n line\n … line\n | half a lin ]
//! file     ^ before read_offset  ^ read_offset       ^ where the next read begins
//! ```
//!
//! Each read begins slightly before the offset and compares those bytes with what was read
//! there before. At no extra call, this distinguishes a file that was truncated and has grown
//! past the offset again from one that merely grew. The compared bytes are the whole last
//! entry, because the end of its text may well be the same again: its time is before the text,
//! or is in the piece before it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use memchr::{memchr, memrchr};

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker, HEAD_BYTES, MARKER_BYTES};
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::layout::{Layout, Stretch};
use crate::runtime::file::{
    bytes_on_disk, open_regular, read_exact_at, read_up_to, stat_file, FileId,
};
use crate::runtime::safe_path::{Base, SafePath};
use crate::source::budget::HeldFile;
use crate::source::file::content::{self, Content};
use crate::source::file::listing::ListedFile;

/// Bytes per read.
pub const SLICE_BYTES: usize = 256 * 1024;
/// The longest entry that is kept whole. dockerd's are below 98,371 bytes plus the attributes,
/// whose size is unbounded.
pub const ENTRY_CAP: usize = 16 << 20;
/// With fewer bytes than this, the format of an unfinished entry may still be unknown.
const TELLING_BYTES: usize = 64;
/// The longest marker compared at each read. The pieces that runtimes split lines into fit
/// into it.
const LONGEST_MARKER: usize = 32 * 1024;

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// `buffer[start..end]` holds complete entries that begin at `offset` in the file. The
    /// caller handles them and then calls [`Generation::consume`] with `end`.
    Entries {
        /// The format of the entries.
        layout: Layout,
        /// Index of the first entry.
        start: usize,
        /// Index after the last complete entry.
        end: usize,
        /// Bytes of the buffer that are valid.
        filled: usize,
        /// Offset of the first entry in the file.
        offset: u64,
        /// Whether there may be more to read now: the buffer was full, or frames are left in it.
        has_more: bool,
    },
    /// Bytes that are not part of a record were skipped: a hole of NULs, or an entry longer
    /// than [`ENTRY_CAP`].
    Skipped {
        /// Offset of the first one.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Nothing new: the end of the file, after an unfinished line.
    AtEnd {
        /// Bytes after the last line feed.
        unfinished: usize,
    },
    /// The file is shorter than the offset, or the bytes before the offset have changed.
    Truncated,
}

/// One file of a container's log.
pub struct Generation {
    /// Its number in the order of writing, for [`crate::format::position::Position`].
    pub number: u32,
    /// The run of the container that wrote it, if each run has its own files.
    pub run: u32,
    /// The file's identity.
    pub id: FileId,
    /// The name it was opened under; a rotation may have changed it since.
    pub path: PathBuf,
    base: Arc<Base>,
    content: Content,
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
    marker: Vec<u8>,
    fingerprint: Fingerprint,
    /// The bytes that the fingerprint was taken of.
    head: Vec<u8>,
    /// Bytes after `read_offset` known to contain no end of an entry. They are read again once
    /// the end has been written.
    unfinished: usize,
    /// The last of them: while they are unchanged, it is the same entry.
    unfinished_end: Vec<u8>,
    /// An unfinished frame is complete at this length.
    wanted: usize,
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
        generation.run = file.rank.run;
        if generation.id == file.id {
            Ok(generation)
        } else {
            // The name belongs to another file now, so the listed one is not found.
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn new(path: &SafePath, number: u32, content: Content) -> io::Result<Generation> {
        let (id, known_end) = stat_file(content.file())?;
        Ok(Generation {
            number,
            run: 0,
            id,
            path: path.to_path_buf(),
            base: Arc::clone(path.base()),
            content,
            layout: None,
            read_offset: 0,
            known_end,
            deleted: None,
            vanished: 0,
            is_copied: false,
            marker: Vec::new(),
            fingerprint: Fingerprint::default(),
            head: Vec::new(),
            unfinished: 0,
            unfinished_end: Vec::new(),
            wanted: 0,
            measured: 0,
            bytes_read: 0,
            window: SLICE_BYTES,
            is_skipping: false,
        })
    }

    /// The name it was opened under, for another access.
    pub fn safe_path(&self) -> SafePath {
        SafePath::below(&self.base, &self.path)
    }

    /// Returns the same open file for reading from its start, after a truncation.
    pub fn restarted(&self, number: u32) -> io::Result<Generation> {
        Ok(Generation {
            run: self.run,
            ..Generation::new(&self.safe_path(), number, self.content.restarted()?)?
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
            Content::Gzip(gzip) if gzip.is_at_end => {
                gzip.carried.len().saturating_sub(self.marker.len()) as u64
            }
            Content::Gzip(_) => self.known_end,
        }
    }

    /// Checks the file's size and whether it was deleted.
    pub fn survey(&mut self, now: Instant) -> io::Result<()> {
        let (size, deleted_bytes) = bytes_on_disk(self.content.file())?;
        if self.plain_file().is_some() {
            // A shorter file was truncated, which the next read detects.
            self.known_end = self.known_end.max(size);
        }
        self.deleted = deleted_bytes.map(|bytes| match self.deleted {
            Some((since, _)) => (since, bytes),
            None => (now, bytes),
        });
        Ok(())
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

    /// The fingerprint of the file's head, as far as it has been read.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether a file with this head has this one's content or an earlier state of it, judged
    /// by what has been read.
    pub fn begins_like(&self, head: &[u8]) -> bool {
        head.starts_with(&self.head) || self.head.starts_with(head)
    }

    /// Whether only a hole of NULs has been read yet, which does not identify a file.
    pub fn is_behind_hole(&self) -> bool {
        self.head.iter().chain(&self.marker).all(|byte| *byte == 0)
    }

    /// The open file if it is plain: compressed files are no longer written.
    pub fn plain_file(&self) -> Option<&File> {
        self.content.plain()
    }

    /// What is wrong with a compressed file, once its end has been reached.
    pub fn damage(&self) -> Option<&str> {
        self.content.damage()
    }

    /// Reads up to [`HEAD_BYTES`] from the start of the file at `path`.
    pub fn read_head(path: &SafePath, is_gzip: bool) -> io::Result<Vec<u8>> {
        content::read_head(path, is_gzip)
    }

    /// Reads the file's current head, whatever its name; `None` if it is compressed.
    pub fn head_now(&self) -> io::Result<Option<Vec<u8>>> {
        match self.content {
            Content::Plain(_) => self.content.head().map(Some),
            Content::Gzip(_) => Ok(None),
        }
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

    /// Whether the file is empty.
    pub fn is_empty_now(&self) -> bool {
        self.plain_file()
            .is_some_and(|file| stat_file(file).is_ok_and(|(_, size)| size == 0))
    }

    /// Moves to the offset of `resume` if it was taken from this file. Returns whether it was,
    /// or `None` if a compressed file must be decompressed further by another call.
    pub fn seek(&mut self, resume: &StreamCheckpoint) -> io::Result<Option<bool>> {
        if resume.fingerprint.length == 0 {
            // Nothing had been read from it, so only the birth time identifies it.
            let is_same =
                resume.birth != 0 && (resume.inode, resume.birth) == (self.id.inode, self.id.birth);
            return Ok(Some(is_same && resume.offset == 0));
        }
        let (head, marker) = match &mut self.content {
            // Without a marker, only the size shows that the file reaches the offset.
            Content::Plain(file) if resume.offset > stat_file(file)?.1 => return Ok(Some(false)),
            Content::Plain(file) => match read_known(file, resume)? {
                Some(known) => known,
                None => return Ok(Some(false)),
            },
            Content::Gzip(gzip) => match gzip.seek(resume)? {
                Some(true) => {
                    let marker = &gzip.carried[..resume.marker.length as usize];
                    (Vec::new(), marker.to_owned())
                }
                unfinished_or_other => return Ok(unfinished_or_other),
            },
        };
        self.read_offset = resume.offset;
        self.fingerprint = resume.fingerprint;
        self.head = head;
        self.marker = marker;
        Ok(Some(true))
    }

    /// Whether a checkpoint taken from this file still matches its content.
    pub fn holds(&self, resume: &StreamCheckpoint) -> io::Result<bool> {
        match &self.content {
            Content::Plain(file) => Ok(read_known(file, resume)?.is_some()),
            // A compressed file does not change.
            Content::Gzip(_) => Ok(true),
        }
    }

    /// Moves to the end of the last complete line.
    pub fn seek_to_end(&mut self) -> io::Result<()> {
        let Content::Plain(file) = &self.content else {
            return Ok(());
        };
        let (_, size) = stat_file(file)?;
        let mut end = size;
        let layout = self.head_now()?.and_then(|head| Layout::detect(&head));
        if layout.is_some_and(|layout| !layout.is_lines()) {
            // An unfinished frame at the end is skipped at the next complete one.
            return self.seek_to(end);
        }
        let mut block = vec![0; HEAD_BYTES.max(4096)];
        while end > 0 {
            if size - end > ENTRY_CAP as u64 {
                // A line too long to be kept is skipped to its end. A record may begin right
                // after a hole.
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

    /// Reads a slice. `buffer` is the reader's, shared by all files; it grows if an entry is
    /// longer.
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
                return Ok(self.skip_to_line_feed(buffer, start, filled));
            }
            match self.layout().hole(data) {
                0 => {}
                nuls => return Ok(self.skip_hole(buffer, start + nuls, filled)),
            }
            match self.measure(data) {
                Stretch::Whole(length) => {
                    let (layout, end) = (self.layout(), start + length);
                    self.measured = self.read_offset + length as u64;
                    self.grow_fingerprint(&buffer[..end]);
                    return Ok(Found::Entries {
                        layout,
                        start,
                        end,
                        filled,
                        offset: self.read_offset,
                        has_more: is_full || end < filled && !layout.is_lines(),
                    });
                }
                Stretch::Corrupt(bytes) => return Ok(self.skip(buffer, start + bytes, filled)),
                Stretch::Incomplete if is_full && self.window >= ENTRY_CAP => {
                    self.is_skipping = true;
                    return Ok(self.skip_to_line_feed(buffer, start, filled));
                }
                Stretch::Incomplete => self.content.carry(&buffer[..filled]),
            }
            if !is_full {
                self.unfinished = data.len();
                self.wanted = self.layout().wanted(data);
                self.keep_unfinished_end(data);
                return Ok(Found::AtEnd {
                    unfinished: data.len(),
                });
            }
            self.widen(buffer);
        }
    }

    /// Whether the unfinished entry may be complete now, or was replaced by another one. Reads
    /// only what was appended: an entry that grows by a byte per millisecond would otherwise
    /// be read again each time.
    fn may_be_finished(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        if let Content::Gzip(gzip) = &self.content {
            return Ok(!gzip.is_at_end);
        }
        if self.layout.is_none() && self.unfinished < TELLING_BYTES {
            return Ok(true);
        }
        // Not the whole window, which may be 16 MiB and would be cleared for each byte.
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
            let has_end = self.layout().may_end(grown, unfinished, self.wanted);
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

    /// Records that `bytes` exist after the offset; there may be more only if the buffer is
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
        // An unfinished line that is replaced was never complete.
        let is_torn = self.known_end == self.read_offset + self.unfinished as u64;
        if !is_torn {
            self.vanished += self.known_end.saturating_sub(end);
        }
        self.known_end = end;
        Ok(())
    }

    /// The file's format; judged by its name until its content shows it.
    pub fn layout(&self) -> Layout {
        self.layout.unwrap_or_else(|| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            Layout::by_name(&name)
        })
    }

    /// Where the whole entries end. Does not walk the frames of a slice again that ended early,
    /// however often that happens.
    fn measure(&mut self, data: &[u8]) -> Stretch {
        if data.is_empty() {
            return Stretch::Incomplete;
        }
        self.layout = self.layout.or_else(|| Layout::detect(data));
        let known = self.measured.saturating_sub(self.read_offset) as usize;
        let layout = self.layout();
        if !layout.is_lines() && (1..=data.len()).contains(&known) {
            return Stretch::Whole(known);
        }
        layout.measure(data)
    }

    /// Makes the buffer large enough for the next read.
    fn make_room(&mut self, buffer: &mut Vec<u8>) {
        self.window = self.window.max(self.content.carried() + 1);
        if buffer.len() < self.window {
            buffer.resize(self.window, 0);
        }
    }

    fn widen(&mut self, buffer: &mut Vec<u8>) {
        // Twice the longest entry, so that each read settles at least as many bytes as the next
        // one reads again.
        let least = 2 * self.layout().longest_entry();
        self.widen_to((self.window * 2).max(least));
        self.make_room(buffer);
    }

    /// The next read holds at least `bytes`, up to [`ENTRY_CAP`].
    fn widen_to(&mut self, bytes: usize) {
        self.window = self.window.max(bytes.next_power_of_two()).min(ENTRY_CAP);
    }

    /// Extends the fingerprint; `read` is the marker and the complete lines after it.
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

    /// Fills the buffer with the marker and what follows it. Fewer bytes than the buffer's
    /// length mean the end of the file.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = self.read_offset - self.marker.len() as u64;
        let filled = self.content.fill(buffer, from)?;
        self.bytes_read += filled as u64;
        Ok(filled)
    }

    /// Passes over everything before `buffer[end]`, which is not part of a record.
    fn skip(&mut self, buffer: &[u8], end: usize, filled: usize) -> Found {
        let offset = self.read_offset;
        self.consume(buffer, end, filled);
        Found::Skipped {
            offset,
            bytes: self.read_offset - offset,
        }
    }

    fn skip_to_line_feed(&mut self, buffer: &[u8], start: usize, filled: usize) -> Found {
        let line_feed = memchr(b'\n', &buffer[start..filled]);
        self.is_skipping = line_feed.is_none();
        let end = line_feed.map_or(filled, |line_feed| start + line_feed + 1);
        match self.skip(buffer, end, filled) {
            Found::Skipped { bytes: 0, .. } => Found::AtEnd { unfinished: 0 },
            found => found,
        }
    }

    /// Skips the NULs before `buffer[end]`. If little else was read, the file is probably
    /// sparse, and the kernel knows where its data continues.
    fn skip_hole(&mut self, buffer: &[u8], end: usize, filled: usize) -> Found {
        let offset = self.read_offset;
        self.consume(buffer, end, filled);
        if end + 3 >= filled {
            if let Some(next) = self.content.data_after(self.read_offset) {
                self.read_offset = next;
                self.marker.fill(0);
            }
        }
        Found::Skipped {
            offset,
            bytes: self.read_offset - offset,
        }
    }

    /// Marks everything before `buffer[end]` as handled; `filled` bytes of the buffer are
    /// valid.
    pub fn consume(&mut self, buffer: &[u8], end: usize, filled: usize) {
        let start = self.marker.len();
        self.grow_fingerprint(&buffer[..end]);
        self.read_offset += (end - start) as u64;
        self.unfinished = 0;
        self.window = SLICE_BYTES;
        // Inside a skipped entry there is no last entry to compare.
        let layout = self.layout.filter(|_| !self.is_skipping);
        let last_entry = layout.map_or(0, |layout| layout.last_entry(&buffer[..end]));
        let marker_start = end.saturating_sub(last_entry.clamp(MARKER_BYTES, LONGEST_MARKER));
        self.marker.clear();
        self.marker.extend_from_slice(&buffer[marker_start..end]);
        self.content.carry(&buffer[marker_start..filled]);
    }

    /// Extends the fingerprint to what has been read: the marker and complete entries.
    pub fn know_up_to(&mut self, read: &[u8]) {
        if read.len() > self.head.len() {
            self.grow_fingerprint(read);
        }
    }

    /// Returns the checkpoint at `offset`; `preceding` holds at least the [`MARKER_BYTES`]
    /// before it, or all there are.
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

    /// The fingerprint of the head up to the offset: a copy made when the file ended there has
    /// only that. At the start, and after a hole, everything known of the head is more
    /// specific.
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

    /// The birth time of the log in the file. An archive was created later than its log,
    /// perhaps later than the files that follow, so its birth time is used only if nothing
    /// else identifies it.
    fn birth_of_log(&self, fingerprint: Fingerprint) -> u64 {
        match self.content {
            Content::Gzip(_) if fingerprint.length > 0 => 0,
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
        let resume = self.resume_here();
        let head = self.content.head().ok();
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

    /// How many bytes of the head identify the file: complete entries, or a KiB of one.
    fn telling(&self, head: &[u8]) -> usize {
        match Layout::detect(head).map(|layout| layout.measure(head)) {
            Some(Stretch::Whole(length)) => length,
            Some(_) if head.len() == HEAD_BYTES => HEAD_BYTES,
            _ => 0,
        }
    }

    /// Reads to the end of the file. Returns where in the buffer the unread bytes are, the
    /// unfinished line last.
    pub fn read_unfinished(&mut self, buffer: &mut Vec<u8>) -> io::Result<std::ops::Range<usize>> {
        self.widen_to(self.marker.len() + self.unfinished + 1);
        self.make_room(buffer);
        let mut filled = self.fill(&mut buffer[..self.window])?;
        while filled == self.window && self.window < ENTRY_CAP {
            self.content.carry(&buffer[..filled]);
            self.widen(buffer);
            filled = self.fill(&mut buffer[..self.window])?;
        }
        self.content.carry(&buffer[..filled]);
        Ok(self.marker.len().min(filled)..filled)
    }
}

/// Reads the head and the marker of a checkpoint; `None` if the file has others.
fn read_known(file: &File, resume: &StreamCheckpoint) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = vec![0; resume.fingerprint.length as usize];
    let mut marker = vec![0; resume.marker.length as usize];
    let before = resume.offset.saturating_sub(marker.len() as u64);
    let is_same = read_exact_at(file, &mut head, 0)?
        && read_exact_at(file, &mut marker, before)?
        && resume.fingerprint.matches(&head)
        && resume.marker.matches(&marker);
    Ok(is_same.then_some((head, marker)))
}

#[cfg(test)]
mod tests;
