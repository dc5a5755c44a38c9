//! From the files of one log into the assembler: entries, what was lost, and how far each
//! stream has got.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use std::time::{Duration, Instant};

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::delivery::link::Link;
use crate::format::layout::Decoders;
use crate::format::layout::Layout;
use crate::format::position::PerStream;
use crate::pipeline::assembler::{Assembler, ReadBytes};
use crate::pipeline::template::RecordTemplate;
use crate::source::file::accepted::{advances, Accepted};
use crate::source::file::earlier::{is_made_long_after_first_entry, is_set_back};
use crate::source::file::entries::{Entries, Taken};
use crate::source::file::generation::Generation;
use crate::source::file::losses::Losses;
use crate::source::slice::Slice;
use crate::telemetry::account::Account;

/// What the reader lends a tailer for one slice.
pub struct ReadContext<'a> {
    /// Receives batches and events.
    pub link: &'a Link,
    /// The read buffer, shared by all files.
    pub buffer: &'a mut Vec<u8>,
    /// The decoders, shared by all files.
    pub decoders: &'a mut Decoders,
    /// `Partial_Max_Size`.
    pub max_line_bytes: usize,
    /// The current time.
    pub now: Instant,
    /// Time limit for the lines of the slice.
    pub slice_time: Duration,
}

/// Where the entries of one log go.
pub struct Feed {
    /// Builds batches of them.
    pub assembler: Assembler,
    /// What an earlier run delivered.
    pub accepted: Accepted,
    /// What was lost.
    pub losses: Losses,
}

impl Feed {
    /// Nothing was delivered before.
    pub fn new(account: Arc<Account>, template: Arc<RecordTemplate>) -> Feed {
        Feed {
            losses: Losses::new(Arc::clone(&account)),
            assembler: Assembler::new(account, template),
            accepted: Accepted::default(),
        }
    }

    /// Decodes the entries of a slice of `file` until `slice` ends.
    pub fn take(
        &mut self,
        file: &mut Generation,
        context: &mut ReadContext<'_>,
        layout: Layout,
        range: Range<usize>,
        slice: &mut Slice<'_>,
    ) -> Taken {
        let mut entries = Entries {
            accepted: self.accepted.within(file.number),
            buffer_at: file.read_offset() - range.start as u64,
            file,
            assembler: &mut self.assembler,
            link: context.link,
            slice,
            max_line_bytes: context.max_line_bytes,
            buffer: context.buffer,
            taken: Taken::from(range.start),
        };
        entries.take(layout, range, context.decoders);
        entries.taken
    }

    /// Moves `file` to the end of what was taken of a slice, and queues the rest of it.
    /// `filled` bytes of the buffer are valid.
    pub fn push_taken(
        &mut self,
        file: &mut Generation,
        context: &ReadContext<'_>,
        taken: Taken,
        filled: usize,
        is_last: bool,
    ) {
        let link = context.link;
        file.consume(context.buffer, taken.end, filled);
        if let Some((offset, bytes)) = taken.corrupt {
            self.losses
                .corrupt(link, file.path.to_path_buf(), offset, bytes);
        }
        if taken.untimed > 0 {
            self.losses
                .untimed(link, file.path.to_path_buf(), taken.untimed);
        }
        if is_last || taken.end > taken.pushed {
            let read = taken.unpushed();
            let always = is_last || read.skipped > 0;
            self.push(file, link, file.resume_here(), always, read);
        }
    }

    /// Takes the rest of a file that is no longer written, and has been read to its last line
    /// feed: what follows is a record without one, or a truncated one.
    pub fn take_rest(
        &mut self,
        file: &mut Generation,
        context: &mut ReadContext<'_>,
    ) -> io::Result<()> {
        let range = file.read_unfinished(context.buffer)?;
        if !range.is_empty() {
            let (layout, filled) = (file.layout(), range.end);
            let mut slice = Slice::whole(context.link);
            let taken = self.take(file, context, layout, range, &mut slice);
            self.push_taken(file, context, taken, filled, true);
        }
        Ok(())
    }

    /// Counts bytes that `file` has skipped.
    pub fn skip(&mut self, file: &Generation, link: &Link, offset: u64, bytes: u64) {
        self.losses
            .corrupt(link, file.path.to_path_buf(), offset, bytes);
        let read = ReadBytes {
            total: bytes,
            skipped: bytes,
        };
        if file.is_behind_hole() {
            // The checkpoint of what was read before is more precise.
            self.assembler.push(link, [None, None], true, read);
        } else {
            self.push(file, link, file.resume_here(), true, read);
        }
    }

    /// Queues a checkpoint without records.
    pub fn push_progress(&mut self, file: &Generation, link: &Link, checkpoint: StreamCheckpoint) {
        self.push(file, link, checkpoint, true, ReadBytes::default());
    }

    /// Delivers what is still open, since nothing will complete it. `file` is the one that was
    /// read last.
    pub fn flush_open(&mut self, file: Option<&Generation>, link: &Link) {
        if self.assembler.is_open() {
            self.assembler.close();
            self.push_closed(file, link);
        }
    }

    /// Queues what was closed.
    pub fn push_closed(&mut self, file: Option<&Generation>, link: &Link) {
        if let Some(file) = file {
            self.push(file, link, file.resume_here(), false, ReadBytes::default());
        }
    }

    /// Queues what was built. `checkpoint` is the end of `read`, the bytes read of `file`.
    fn push(
        &mut self,
        file: &Generation,
        link: &Link,
        checkpoint: StreamCheckpoint,
        always: bool,
        read: ReadBytes,
    ) {
        let advances = advances(self.accepted.within(file.number), checkpoint);
        self.assembler.push(link, advances, always, read);
    }

    /// Reading continues in `next`. Comparing by entry times ends where files are identified
    /// by their heads.
    pub fn reaches(&mut self, next: &Generation) -> io::Result<()> {
        if let Some(streams) = self.accepted.reaches(next.number) {
            self.assembler.end_skip(streams);
            self.expect_earlier(next, self.accepted.is_lost)?;
        }
        Ok(())
    }

    /// It is not known where in `file` these streams go on; it may be of an earlier state.
    pub fn expect_earlier(&mut self, file: &Generation, of: PerStream<bool>) -> io::Result<()> {
        if of == [false; 2] || !self.assembler.has_taken() {
            return Ok(());
        }
        let is_known =
            is_made_long_after_first_entry(file)? && !is_set_back(file, &self.accepted.saved())?;
        self.assembler.expect_known(of, is_known);
        Ok(())
    }

    /// Queues a checkpoint at the start of `next`: after a stop, reading must resume there and
    /// not in the file before it, even if the new one is empty.
    pub fn progress_to(&mut self, next: &Generation, link: &Link) {
        if next.id.birth != 0 {
            self.push_progress(next, link, next.resume_at_start());
        }
    }
}
