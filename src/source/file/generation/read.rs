//! Reads a file slice by slice.
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

use std::io;
use std::ops::Range;

use memchr::memchr;

use crate::delivery::checkpoint::fingerprint::{HEAD_BYTES, MARKER_BYTES};
use crate::format::layout::{Layout, Stretch};
use crate::runtime::file::stat_file;
use crate::source::file::generation::{Generation, ENTRY_CAP, SLICE_BYTES};
use crate::source::file::unfinished::Unfinished;

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

impl Generation {
    /// Reads a slice. `buffer` is the reader's, shared by all files; it grows if an entry is
    /// longer.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Found> {
        if self.unfinished.length > 0 && !self.may_be_finished(buffer)? {
            return Ok(Found::AtEnd {
                unfinished: self.unfinished.length,
            });
        }
        loop {
            let filled = self.fill(buffer)?;
            let start = self.marker.len();
            let Some(data) = buffer[..filled].strip_prefix(&self.marker[..]) else {
                return Ok(Found::Truncated);
            };
            let is_full = filled == self.window;
            self.note_end(data.len(), is_full)?;
            if self.is_skipping {
                return Ok(self.skip_to_line_feed(buffer, start, filled));
            }
            let nuls = self.layout().hole(data);
            if nuls > 0 {
                return Ok(self.skip_hole(buffer, start + nuls, filled));
            }
            match self.measure(data) {
                Stretch::Whole(length) => {
                    let (layout, end) = (self.layout(), start + length);
                    self.measured = self.read_offset + length as u64;
                    self.grow_head(&buffer[..end]);
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
                self.unfinished = Unfinished::of(data, self.layout());
                return Ok(Found::AtEnd {
                    unfinished: data.len(),
                });
            }
            self.widen();
        }
    }

    /// Whether the unfinished entry may be complete now, or was replaced by another one. Reads
    /// only what was appended.
    fn may_be_finished(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        if self.plain_file().is_none() {
            // A compressed file does not grow.
            return Ok(false);
        }
        if self.layout.is_none() && self.unfinished.length < TELLING_BYTES {
            return Ok(true);
        }
        // Not the whole window, which may be 16 MiB and would be cleared for each byte.
        if buffer.len() < SLICE_BYTES {
            buffer.resize(SLICE_BYTES, 0);
        }
        loop {
            let from = self.read_offset + self.unfinished.known_from() as u64;
            let filled = self.content.fill(&mut buffer[..SLICE_BYTES], from)?;
            self.bytes_read += filled as u64;
            let grows = self.unfinished.grow(&buffer[..filled], self.layout());
            let with_marker = self.marker.len() + self.unfinished.length;
            if !grows || with_marker >= ENTRY_CAP {
                self.widen_to(with_marker + filled + 1);
                return Ok(true);
            }
            let is_full = filled == SLICE_BYTES;
            self.note_end(self.unfinished.length, is_full)?;
            if !is_full {
                return Ok(false);
            }
        }
    }

    /// Records that `bytes` exist after the offset; there may be more only if the buffer is
    /// full.
    fn note_end(&mut self, bytes: usize, is_full: bool) -> io::Result<()> {
        let Some(file) = self.content.plain() else {
            return Ok(());
        };
        let end = self.read_offset + bytes as u64;
        if is_full {
            if self.known_end <= end {
                self.known_end = stat_file(file)?.1;
            }
            return Ok(());
        }
        // An unfinished line that is replaced was never complete.
        if self.known_end != self.read_offset + self.unfinished.length as u64 {
            self.vanished += self.known_end.saturating_sub(end);
        }
        self.known_end = end;
        Ok(())
    }

    /// Where the whole entries end. Does not walk the frames of a slice again that ended early,
    /// however often that happens.
    fn measure(&mut self, data: &[u8]) -> Stretch {
        if data.is_empty() {
            return Stretch::Incomplete;
        }
        self.layout = self.layout.or_else(|| Layout::detect(data));
        let layout = self.layout();
        let known = self.measured.saturating_sub(self.read_offset) as usize;
        if !layout.is_lines() && (1..=data.len()).contains(&known) {
            return Stretch::Whole(known);
        }
        layout.measure(data)
    }

    /// The next read holds twice as much. It holds at least two of the longest entry, so that
    /// each read settles as many bytes as the next one reads again.
    fn widen(&mut self) {
        self.widen_to(2 * self.window.max(self.layout().longest_entry()));
    }

    /// The next read holds at least `bytes`, up to [`ENTRY_CAP`].
    fn widen_to(&mut self, bytes: usize) {
        self.window = self.window.max(bytes.next_power_of_two()).min(ENTRY_CAP);
    }

    /// Fills the buffer with the marker and what follows it. Returns the number of valid bytes;
    /// fewer than `window` mean the end of the file.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.window = self.window.max(self.content.carried() + 1);
        if buffer.len() < self.window {
            buffer.resize(self.window, 0);
        }
        let from = self.read_offset - self.marker.len() as u64;
        let filled = self.content.fill(&mut buffer[..self.window], from)?;
        self.bytes_read += filled as u64;
        Ok(filled)
    }

    /// Extends what is known of the head; `read` is the marker and the complete lines after it.
    fn grow_head(&mut self, read: &[u8]) {
        // What was read before and not taken may be gone: another file was to be read first.
        if self.head.fingerprint.is_complete() && self.read_offset > 0 {
            return;
        }
        let from = self.read_offset - self.marker.len() as u64;
        if self.head.grow(from, read) {
            return;
        }
        if let Ok(Some(head)) = self.head_now() {
            let known = (from + read.len() as u64).min(HEAD_BYTES as u64);
            if let Some(head) = head.get(..known as usize) {
                self.head.set(head);
            }
        }
    }

    /// Passes over everything before `buffer[end]`, which is not part of a record.
    fn skip(&mut self, buffer: &[u8], end: usize, filled: usize) -> Found {
        let offset = self.read_offset;
        self.consume(buffer, end, filled);
        self.skipped_from(offset)
    }

    fn skipped_from(&self, offset: u64) -> Found {
        let bytes = self.read_offset - offset;
        Found::Skipped { offset, bytes }
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

    /// Passes over the NULs before `buffer[end]`. If little else was read, the file is probably
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
        self.skipped_from(offset)
    }

    /// Marks everything before `buffer[end]` as handled; `filled` bytes of the buffer are
    /// valid.
    pub fn consume(&mut self, buffer: &[u8], end: usize, filled: usize) {
        self.grow_head(&buffer[..end]);
        self.read_offset += (end - self.marker.len()) as u64;
        self.unfinished = Unfinished::default();
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
        if read.len() > self.head.bytes.len() {
            self.grow_head(read);
        }
    }

    /// Reads to the end of the file. Returns where in the buffer the unread bytes are, the
    /// unfinished line last.
    pub fn read_unfinished(&mut self, buffer: &mut Vec<u8>) -> io::Result<Range<usize>> {
        self.widen_to(self.marker.len() + self.unfinished.length + 1);
        loop {
            let filled = self.fill(buffer)?;
            self.content.carry(&buffer[..filled]);
            if filled < self.window || self.window >= ENTRY_CAP {
                return Ok(self.marker.len().min(filled)..filled);
            }
            self.widen();
        }
    }
}
