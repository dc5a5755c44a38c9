//! One slice of one file on its way into the assembler: divides it into lines or frames,
//! decodes each, passes over what an earlier run delivered, and counts what is corrupt.
//!
//! This is the hot path: its instructions are counted (tests/instructions.rs).

use std::ops::Range;

use memchr::{memchr_iter, memrchr};

use crate::delivery::link::Link;
use crate::format::json_file::{for_each_unusual, Decoder, OwnedEntry};
use crate::format::layout::Layout;
use crate::format::local::{self, first_frame, next_frame, Frame};
use crate::format::msgpack::put_string_map;
use crate::format::position::PerStream;
use crate::format::{cri, Entry};
use crate::pipeline::assembler::{Assembler, ReadBytes, MARK_BYTES};
use crate::source::file::accepted::advances;
use crate::source::file::generation::{Generation, SLICE_BYTES};
use crate::source::slice::Slice;
use crate::telemetry::account::wall_clock;

/// The entries of one slice.
pub struct Entries<'a, 'link> {
    /// The file they are read from.
    pub file: &'a mut Generation,
    /// Receives them.
    pub assembler: &'a mut Assembler,
    /// Receives batches.
    pub link: &'a Link,
    /// Decides at which entry the slice ends. One that ends its file is taken whole, however
    /// full the queue is.
    pub slice: &'a mut Slice<'link>,
    /// Offsets in the file: entries that begin before them were delivered by an earlier run.
    pub accepted: PerStream<u64>,
    /// `Partial_Max_Size`.
    pub max_line_bytes: usize,
    /// The read buffer.
    pub buffer: &'a [u8],
    /// Offset in the file of the buffer's first byte.
    pub buffer_at: u64,
    /// How far it has been taken.
    pub taken: Taken,
}

/// How far a slice has been taken, as offsets in the buffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    /// Everything before it has been taken.
    pub end: usize,
    /// The records built from everything before it are queued.
    pub pushed: usize,
    /// Offset in the file of the first corrupt entry, and the number of corrupt bytes.
    pub corrupt: Option<(u64, u64)>,
    /// Corrupt bytes before `pushed`.
    corrupt_pushed: u64,
}

impl Taken {
    /// Nothing before `start` belongs to the slice.
    pub fn from(start: usize) -> Taken {
        Taken {
            end: start,
            pushed: start,
            ..Taken::default()
        }
    }

    fn corrupt_bytes(&self) -> u64 {
        self.corrupt.map_or(0, |(_, bytes)| bytes)
    }

    /// The bytes before `end` that are not queued yet.
    pub fn unpushed(&self) -> ReadBytes {
        ReadBytes {
            total: (self.end - self.pushed) as u64,
            skipped: self.corrupt_bytes() - self.corrupt_pushed,
        }
    }
}

impl Entries<'_, '_> {
    /// Takes the entries in `range` of the buffer, until the slice ends or the queue is full.
    #[inline(never)]
    pub fn take(
        &mut self,
        layout: Layout,
        range: Range<usize>,
        json: &mut Decoder,
        cri: &mut cri::Decoder,
    ) {
        self.assembler.set_tagged(layout == Layout::CriLines);
        match layout {
            Layout::JsonLines => {
                self.take_lines(range, |entries, at, line| entries.take_json(json, at, line));
            }
            Layout::CriLines => {
                self.take_lines(range, |entries, at, line| entries.take_cri(cri, at, line));
            }
            // A frame without its end was never completed.
            Layout::LocalFrames if self.slice.is_whole() => {
                self.note_corrupt(range.start, range.len() as u64);
                self.taken.end = range.end;
            }
            Layout::LocalFrames => {
                let frames = frames(self.buffer, range.clone());
                self.take_each(range.end, frames, Entries::take_frame);
            }
        }
    }

    /// Takes the lines in `range`. The last one of a file may have no line feed.
    #[inline(always)]
    fn take_lines(
        &mut self,
        range: Range<usize>,
        mut take: impl FnMut(&mut Self, &Range<usize>, &[u8]) -> u64,
    ) {
        let whole = memrchr(b'\n', &self.buffer[range.clone()]).map_or(0, |at| at + 1);
        let rest = range.start + whole..range.end;
        let lines = lines(self.buffer, range.start..rest.start);
        self.take_each(rest.start, lines, &mut take);
        if self.taken.end == rest.start && !rest.is_empty() {
            let corrupt = take(self, &rest, &self.buffer[rest.clone()]);
            self.note_corrupt(rest.start, corrupt);
            self.taken.end = rest.end;
        }
    }

    /// Takes entries, one by one, with `take`, which returns how many bytes of one were not
    /// part of a record. Each comes with where it is in the buffer, its separators included.
    #[inline(always)]
    fn take_each<T>(
        &mut self,
        end: usize,
        entries: impl Iterator<Item = (Range<usize>, T)>,
        mut take: impl FnMut(&mut Self, &Range<usize>, T) -> u64,
    ) {
        for (at, entry) in entries {
            // A long one gets a mark of its own, so that the batch can be split before it.
            let is_long = at.len() > MARK_BYTES;
            if (self.assembler.is_due() || is_long) && self.pauses_at(at.start) {
                return;
            }
            let corrupt = take(self, &at, entry);
            if corrupt > 0 {
                self.note_corrupt(at.start, corrupt);
            }
            if self.slice.ends_at(at.end) && at.end < end {
                self.taken.end = at.end;
                return;
            }
        }
        self.taken.end = end;
    }

    #[cold]
    fn note_corrupt(&mut self, at: usize, bytes: u64) {
        if bytes > 0 {
            let (first, before) = self.taken.corrupt.unwrap_or((self.offset_of(at), 0));
            self.taken.corrupt = Some((first, before + bytes));
        }
    }

    fn offset_of(&self, at: usize) -> u64 {
        self.buffer_at + at as u64
    }

    /// Handles a batch that is due to be marked or closed: everything before `end` of the
    /// buffer has been taken. Returns whether reading must stop here. Rare, so kept out of the
    /// path of the lines.
    #[cold]
    fn pauses_at(&mut self, end: usize) -> bool {
        let (link, before) = (self.link, &self.buffer[..end]);
        self.taken.end = end;
        self.file.know_up_to(before);
        let checkpoint = self.file.resume_at(self.offset_of(end), before);
        let advances = advances(self.accepted, checkpoint);
        if !self.assembler.is_full(link) {
            self.assembler.mark(advances);
            return false;
        }
        let read = self.taken.unpushed();
        self.assembler.push(link, advances, false, read);
        self.taken.pushed = end;
        self.taken.corrupt_pushed = self.taken.corrupt_bytes();
        self.assembler.begin(link, SLICE_BYTES);
        !self.slice.is_whole() && (!link.queue.has_space() || link.queue.is_cautious())
    }

    #[inline]
    fn take_json(&mut self, decoder: &mut Decoder, at: &Range<usize>, line: &[u8]) -> u64 {
        match decoder.decode(line) {
            Some(entry) => self.take_entry(&entry, at.start, at.len()),
            None => return self.take_unusual(at, line),
        }
        0
    }

    /// Skips bytes up to where an entry begins.
    #[inline]
    fn take_cri(&mut self, decoder: &mut cri::Decoder, at: &Range<usize>, line: &[u8]) -> u64 {
        let mut skipped = 0;
        let entry = decoder.decode(line).or_else(|| {
            skipped = decoder.resync(line)?;
            decoder.decode(&line[skipped..])
        });
        match entry {
            Some(entry) => self.take_entry(&entry, at.start + skipped, at.len() - skipped),
            None if line.is_empty() => self.assembler.pass_over(at.len() as u64),
            None => return at.len() as u64,
        }
        skipped as u64
    }

    #[inline]
    fn take_frame(&mut self, at: &Range<usize>, message: Option<&[u8]>) -> u64 {
        let Some(found) = message.and_then(local::decode) else {
            return at.len() as u64;
        };
        let mut attrs = Vec::new();
        if found.attrs.clone().next().is_some() {
            let pairs: Vec<_> = found.attrs.collect();
            put_string_map(&mut attrs, pairs.into_iter());
        }
        let entry = Entry {
            time: found.time,
            stream: found.stream,
            text: found.line,
            ends_line: found.ends_line,
            is_utf8: false,
            attrs: &attrs,
        };
        self.take_entry(&entry, at.start, at.len());
        0
    }

    /// Takes a line of JSON that dockerd does not write: a torn record, or several.
    #[cold]
    fn take_unusual(&mut self, at: &Range<usize>, line: &[u8]) -> u64 {
        let mut left = at.len();
        // The last entry accounts for all remaining bytes that are neither corrupt nor another
        // record's: its own and the line feed.
        let mut last: Option<(OwnedEntry, usize)> = None;
        let unusual = for_each_unusual(line, |owned, length| {
            if let Some((owned, length)) = last.replace((owned, length)) {
                let length = length.min(left);
                left -= length;
                self.take_owned(at.start, &owned, length);
            }
        });
        let Some((last, _)) = last else {
            if unusual.skipped > 0 {
                return at.len() as u64;
            }
            // An empty line, or a record without text.
            self.assembler.pass_over(at.len() as u64);
            return 0;
        };
        // Invalid UTF-8 counts for more bytes than it took.
        let skipped = unusual.skipped.min(left);
        self.take_owned(at.start, &last, left - skipped);
        skipped as u64
    }

    fn take_owned(&mut self, line_start: usize, owned: &OwnedEntry, source_bytes: usize) {
        let entry = Entry {
            time: owned.time.unwrap_or_else(wall_clock),
            stream: owned.stream,
            text: owned.text.as_bytes(),
            ends_line: owned.ends_line,
            is_utf8: true,
            attrs: &owned.attrs,
        };
        self.take_entry(&entry, line_start + owned.at, source_bytes);
    }

    /// Takes one entry of `source_bytes` bytes, which begins at `at` of the buffer.
    // Called once per line from four places: the call alone costs seven instructions.
    #[inline(always)]
    fn take_entry(&mut self, entry: &Entry<'_>, at: usize, source_bytes: usize) {
        let offset = self.offset_of(at);
        if offset < self.accepted[entry.stream.index()] {
            return self.assembler.pass_over(source_bytes as u64);
        }
        let (file, before) = (&*self.file, &self.buffer[..at]);
        self.assembler
            .take(entry, source_bytes, self.max_line_bytes, || {
                file.resume_at(offset, before)
            });
    }
}

/// The lines in `range`, each without its line feed.
#[inline(always)]
fn lines(buffer: &[u8], range: Range<usize>) -> impl Iterator<Item = (Range<usize>, &[u8])> {
    let (base, mut start) = (range.start, range.start);
    memchr_iter(b'\n', &buffer[range]).map(move |line_feed| {
        let at = start..base + line_feed + 1;
        start = at.end;
        (at.clone(), &buffer[at.start..at.end - 1])
    })
}

/// The messages of the frames in `range`, and `None` for corruption between two of them.
#[inline(always)]
fn frames(
    buffer: &[u8],
    range: Range<usize>,
) -> impl Iterator<Item = (Range<usize>, Option<&[u8]>)> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let rest = &buffer[start..range.end];
        let (message, length) = match first_frame(rest) {
            _ if rest.is_empty() => return None,
            Frame::Whole { message, length } => (Some(message), length),
            // Up to the start of the next one.
            Frame::Incomplete | Frame::Corrupt => (None, next_frame(rest).max(1)),
        };
        let at = start..start + length;
        start = at.end;
        Some((at, message))
    })
}
