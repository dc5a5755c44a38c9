//! One slice of one file on its way into the assembler: divides it into lines or frames,
//! decodes each, passes over what an earlier run delivered, and counts what is corrupt.
//!
//! This is the hot path: its instructions are counted (tests/host/instructions.rs).

use std::ops::Range;

use crate::delivery::link::Link;
use crate::format::layout::{of_format, Decoders, Format, Layout, UnitSink};
use crate::format::position::{PerStream, Stream};
use crate::format::Entry;
use crate::pipeline::assembler::{Assembler, ReadBytes, MARK_BYTES};
use crate::pipeline::partial::Pieces;
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
    /// Number of entries without a valid time.
    pub untimed: u64,
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

/// The unit at this range of the buffer.
struct Unit<'entries, 'a, 'link> {
    entries: &'entries mut Entries<'a, 'link>,
    at: Range<usize>,
}

impl UnitSink for Unit<'_, '_, '_> {
    // Called once per line: the call alone costs seven instructions.
    #[inline(always)]
    fn entry(&mut self, entry: &Entry<'_>, offset: usize, length: usize) {
        self.entries
            .take_entry(entry, self.at.start + offset, length);
    }

    #[cold]
    fn untimed(&mut self, stream: Stream, offset: usize) {
        let offset = self.entries.offset_of(self.at.start + offset);
        if offset >= self.entries.accepted[stream.index()] {
            self.entries.taken.untimed += 1;
        }
    }

    #[cold]
    fn corrupt(&mut self, bytes: usize) {
        self.entries.note_corrupt(self.at.start, bytes as u64);
    }

    #[cold]
    fn empty(&mut self, bytes: usize) {
        self.entries.assembler.pass_over(bytes as u64);
    }
}

impl Entries<'_, '_> {
    /// Takes the entries in `range` of the buffer, until the slice ends or the queue is full.
    #[inline(never)]
    pub fn take(&mut self, layout: Layout, range: Range<usize>, decoders: &mut Decoders) {
        of_format!(layout, F => self.take_units(range, F::of(decoders)));
    }

    #[inline(always)]
    fn take_units<F: Format>(&mut self, range: Range<usize>, format: &mut F) {
        self.assembler.set_pieces(Pieces::of_files(F::IS_TAGGED));
        if self.slice.is_whole() && !F::IS_LINES {
            // What has no end was never completed.
            self.note_corrupt(range.start, range.len() as u64);
            self.taken.end = range.end;
            return;
        }
        let mut start = range.start;
        for end in F::ends(&self.buffer[range.clone()]) {
            let at = start..range.start + end;
            // A long one gets a mark of its own, so that the batch can be split before it.
            let is_long = at.len() > MARK_BYTES;
            if (self.assembler.is_due() || is_long) && self.pauses_at(start) {
                return;
            }
            start = at.end;
            self.take_unit(at, format);
            if self.slice.ends_at(start) && start < range.end {
                self.taken.end = start;
                return;
            }
        }
        if start < range.end {
            self.take_last(start..range.end, format);
        }
        self.taken.end = range.end;
    }

    #[inline(always)]
    fn take_unit<F: Format>(&mut self, at: Range<usize>, format: &mut F) {
        let unit = &self.buffer[at.clone()];
        let mut sink = Unit { entries: self, at };
        format.decode_unit(unit, wall_clock, &mut sink);
    }

    /// The last line of a file may have no line feed.
    #[cold]
    fn take_last<F: Format>(&mut self, at: Range<usize>, format: &mut F) {
        self.take_unit(at, format);
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
