//! Turns the entries of one container into batches: drops what an earlier source has
//! delivered, joins pieces, encodes, and tracks for each stream where to resume once the host
//! has accepted what was queued.
//!
//! A container's file and its API stream yield the same entries in the same order, so one
//! assembler serves both and moves between them when the source changes
//! ([`Assembler::handed_over`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::{Advance, ContainerCheckpoint, StreamCheckpoint, TimeCursor};
use crate::delivery::link::Link;
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::format::Entry;
use crate::pipeline::batch_builder::BatchBuilder;
pub use crate::pipeline::batch_builder::MARK_BYTES;
use crate::pipeline::dedupe::{is_within_second_of, Dedupe};
use crate::pipeline::hold_back::Held;
use crate::pipeline::open_lines::OpenLines;
pub use crate::pipeline::open_lines::DEAD_LINE_GRACE;
use crate::pipeline::partial::{Line, Pieces};
use crate::pipeline::template::RecordTemplate;
use crate::runtime::metadata::ContainerMetadata;
use crate::telemetry::account::{Account, Amount, SliceStats};
use crate::telemetry::event::Event;
use crate::telemetry::throttle::Paced;

mod known;

/// What the reader has read since the last push.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadBytes {
    /// All bytes.
    pub total: u64,
    /// Bytes that are not part of any record.
    pub skipped: u64,
}

/// The open lines and unqueued records of one container.
#[derive(Debug)]
pub struct Assembler {
    account: Arc<Account>,
    template: Arc<RecordTemplate>,
    lines: OpenLines,
    batches: BatchBuilder,
    /// The last entry taken from each stream.
    taken: PerStream<TimeCursor>,
    /// Time of the last line of each stream that was delivered without its end.
    mid_line: PerStream<Option<Timestamp>>,
    /// End of the file that was read before the current one.
    file_end: Option<Box<StreamCheckpoint>>,
    /// What is dropped of each stream. While entries are held back, there is one.
    dedupe: PerStream<Option<Dedupe>>,
    /// Boxed, since few containers have it.
    held: Option<Box<Held>>,
    /// Bytes since the last push that are not to be delivered.
    passed_over: u64,
    cut: Paced,
    is_to_the_second: bool,
}

impl Assembler {
    /// A new assembler without entries.
    pub fn new(account: Arc<Account>, template: Arc<RecordTemplate>) -> Assembler {
        Assembler {
            lines: OpenLines::new(&template.multiline),
            account,
            template,
            batches: BatchBuilder::default(),
            taken: PerStream::default(),
            mid_line: PerStream::default(),
            file_end: None,
            dedupe: PerStream::default(),
            held: None,
            passed_over: 0,
            cut: Paced::default(),
            is_to_the_second: false,
        }
    }

    /// Sets how the pieces of a line are told from those of the next one in the coming entries.
    pub fn set_pieces(&mut self, pieces: Pieces) {
        self.lines.set_pieces(pieces);
    }

    /// Declares that the coming entries have times in whole seconds.
    pub fn set_to_the_second(&mut self) {
        self.is_to_the_second = true;
    }

    /// The account of the container.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Name, image and state as last read.
    pub fn metadata(&self) -> &ContainerMetadata {
        &self.template.metadata
    }

    /// Closes the open texts if `template` joins lines differently. Push the built records
    /// before calling [`Assembler::set_template`].
    pub fn close_before(&mut self, template: &RecordTemplate) {
        if template.multiline != self.template.multiline {
            self.close_texts();
        }
    }

    /// Uses `template` for later records. Nothing that was built may be unpushed, and nothing
    /// may be open that `template` would join differently.
    pub fn set_template(&mut self, template: Arc<RecordTemplate>) {
        if template.multiline != self.template.multiline {
            self.lines.set_multiline(&template.multiline);
        }
        self.batches.set_template(&template);
        self.template = template;
    }

    /// Ends this source after everything built was pushed, and returns where each stream
    /// resumes in the next one. Open lines are dropped here because they are read again there.
    pub fn handed_over(&mut self, here: StreamCheckpoint) -> ContainerCheckpoint {
        let saved = self.position(here);
        self.pass_over(self.lines.source_bytes());
        self.lines.forget_lines();
        self.lines.set_multiline(&self.template.multiline);
        self.settle(ReadBytes::default(), [None, None]);
        saved
    }

    /// Where each stream resumes if everything up to `here` was taken.
    pub fn position(&self, here: StreamCheckpoint) -> ContainerCheckpoint {
        Stream::ALL.map(|stream| self.checkpoint(stream, here))
    }

    /// The time from which to request entries of both streams: that of the last entry up to
    /// which both are certainly complete.
    pub fn since(&self) -> Option<Timestamp> {
        let cursors = Stream::ALL.map(|stream| {
            self.lines
                .begins_at(stream)
                .map_or(self.taken[stream.index()], |at| at.cursor)
        });
        // A stream without entries does not hold the other one back: its first entry will be
        // later than all entries taken so far.
        cursors
            .iter()
            .filter(|cursor| **cursor != TimeCursor::default())
            .map(|cursor| cursor.time)
            .min()
    }

    /// Prepares for the source to restart at [`Assembler::since`]: drops open lines and skips
    /// entries already taken.
    pub fn begin_again(&mut self) {
        let here = StreamCheckpoint::default();
        let saved = self.handed_over(here);
        self.resume_from(&saved, [true, true]);
    }

    /// Takes one entry of `source_bytes` bytes in its source. `begins_at` returns the position
    /// of its first byte in its file; it is called only if a line that stays open begins
    /// there.
    #[inline(always)]
    pub fn take(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_at: impl Fn() -> StreamCheckpoint,
    ) {
        self.take_at(entry, entry.time, source_bytes, max_line_bytes, begins_at);
    }

    /// Like [`Assembler::take`], for an entry whose place among the others is a `moment` other
    /// than the time of its record.
    #[inline(always)]
    pub fn take_at(
        &mut self,
        entry: &Entry<'_>,
        moment: Timestamp,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_at: impl Fn() -> StreamCheckpoint,
    ) {
        let stream = entry.stream;
        let index = stream.index();
        if let Some(dedupe) = &mut self.dedupe[index] {
            if dedupe.covers(moment) || self.holds(index, moment, &begins_at) {
                return self.pass_over(source_bytes as u64);
            }
            self.dedupe[index] = self.no_dedupe();
        }
        match self.lines.whole_line(entry, source_bytes, max_line_bytes) {
            Some(line) => {
                self.taken[index].advance(moment);
                self.batches.put(stream, &line, &self.template);
            }
            None => self.take_piece(entry, moment, source_bytes, max_line_bytes, &begins_at),
        }
    }

    /// Takes an entry that is a piece of a line, or may be a line of a text. Never inlined: most
    /// are neither.
    #[inline(never)]
    fn take_piece(
        &mut self,
        entry: &Entry<'_>,
        moment: Timestamp,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_at: &dyn Fn() -> StreamCheckpoint,
    ) {
        let index = entry.stream.index();
        let before = self.taken[index];
        self.taken[index].advance(moment);
        let begins = || StreamCheckpoint {
            cursor: before.or_at(moment),
            ..begins_at()
        };
        let (batches, template) = (&mut self.batches, &*self.template);
        self.lines.push(
            entry,
            source_bytes,
            max_line_bytes,
            begins,
            |stream, line| batches.put(stream, &line, template),
        );
    }

    /// Like [`Assembler::take`], for an API response, where times may be in whole seconds.
    pub fn take_from_api(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_at: impl Fn() -> StreamCheckpoint,
    ) {
        let index = entry.stream.index();
        let before = self.taken[index];
        self.take(entry, source_bytes, max_line_bytes, begins_at);
        if self.is_to_the_second && is_within_second_of(before, entry.time) {
            self.taken[index] = before;
        }
    }

    /// Counts bytes that were read but are not to be delivered.
    pub fn pass_over(&mut self, bytes: u64) {
        self.passed_over += bytes;
    }

    /// Records in the account what was read and what becomes of it.
    fn settle(&mut self, read: ReadBytes, queued: PerStream<Option<(Amount, Timestamp)>>) {
        let [first, second] = &self.taken;
        self.account.took(&SliceStats {
            read: read.total,
            skipped: read.skipped,
            passed_over: std::mem::take(&mut self.passed_over),
            cut: std::mem::take(&mut self.batches.cut),
            open: self.lines.source_bytes(),
            queued,
            until: first.time.max(second.time),
        });
    }

    /// Whether each line is matched against a pattern.
    pub fn joins_lines(&self) -> bool {
        self.lines.joins_lines()
    }

    /// Reserves space for the records of `source_bytes` bytes.
    pub fn begin(&mut self, link: &Link, source_bytes: usize) {
        self.batches.begin(link, source_bytes, &self.template);
    }

    /// How long after the last entry an open line or text is considered complete; `None` if
    /// nothing is open or the rest is certain to come.
    pub fn grace(&self) -> Option<Duration> {
        self.lines.grace(self.is_stopped())
    }

    /// Like [`Assembler::grace`], but ignores that the container has stopped: the source may
    /// still have more.
    pub fn grace_of_stream(&self) -> Option<Duration> {
        self.lines.grace(false)
    }

    fn is_stopped(&self) -> bool {
        !self.template.metadata.is_running
    }

    /// Frees what the next entry can do without.
    pub fn rest(&mut self) {
        self.lines.rest();
    }

    /// Frees what only reading needs, unless something is to be pushed. The next line makes it again.
    pub fn rest_for_long(&mut self) {
        self.batches.rest();
    }

    /// Number of split lines that wait for their rest.
    pub fn open_lines(&self) -> u64 {
        self.lines.count()
    }

    /// Whether a line or a text is open.
    pub fn is_open(&self) -> bool {
        self.lines.is_open()
    }

    /// Flushes all open lines and texts.
    pub fn close(&mut self) {
        self.close_lines([true, true]);
        self.close_texts();
    }

    /// Flushes open lines and texts that have timed out after `silence` without an entry.
    pub fn close_after(&mut self, silence: Duration) {
        self.close_out_of_time(silence, self.is_stopped());
    }

    /// Like [`Assembler::close_after`], but ignores that the container has stopped: the source
    /// may still have more.
    pub fn close_of_stream_after(&mut self, silence: Duration) {
        self.close_out_of_time(silence, false);
    }

    fn close_out_of_time(&mut self, silence: Duration, is_stopped: bool) {
        self.close_lines(self.lines.lines_out_of_time(silence, is_stopped));
        if self.lines.texts_are_out_of_time(silence) {
            self.close_texts();
        }
    }

    fn close_lines(&mut self, of: PerStream<bool>) {
        let (batches, template) = (&mut self.batches, &*self.template);
        for stream in Stream::ALL.into_iter().filter(|stream| of[stream.index()]) {
            let put = |line: Line<'_>| batches.put(stream, &line, template);
            if self.lines.close_line(stream, put) {
                self.mid_line[stream.index()] = Some(self.taken[stream.index()].time);
            }
        }
    }

    fn close_texts(&mut self) {
        let (batches, template) = (&mut self.batches, &*self.template);
        self.lines
            .close_texts(|stream, line| batches.put(stream, &line, template));
    }

    /// Where `stream` resumes if everything up to `here` was taken: at the start of its open
    /// line or text (I2), if there is one.
    fn checkpoint(&self, stream: Stream, here: StreamCheckpoint) -> StreamCheckpoint {
        let cursor = self.taken[stream.index()];
        let is_mid_line = self.mid_line[stream.index()] == Some(cursor.time);
        let here = match &self.held {
            Some(held) if held.is_all() => StreamCheckpoint {
                is_by_time: true,
                ..StreamCheckpoint::default()
            },
            held => held
                .as_ref()
                .and_then(|held| held.at(stream.index()))
                .unwrap_or(here),
        };
        // After a line that was delivered without its end, pieces with exactly the same time
        // may follow. Times cannot identify them, so the checkpoint keeps the file in which
        // the line was read.
        let here = match &self.file_end {
            Some(end) if is_mid_line && here.is_unbegun_file() => **end,
            _ => here,
        };
        self.lines.begins_at(stream).unwrap_or(StreamCheckpoint {
            cursor,
            is_mid_line,
            ..here
        })
    }

    /// The next entries come from another file. `end` is where the previous one was read to
    /// its end, which is equivalent to the start of the next one; `None` if it was not read to
    /// its end.
    pub fn file_ended(&mut self, end: Option<StreamCheckpoint>) {
        if end.is_none_or(|end| !end.is_unbegun_file()) {
            self.file_end = end.map(Box::new);
        }
    }

    /// Whether enough was built to add a mark or close the batch.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.batches.is_due()
    }

    /// Whether the batch is to be closed.
    pub fn is_full(&self, link: &Link) -> bool {
        self.batches.is_full(link)
    }

    /// Entries that would have come next are lost: the records of the open lines say so.
    pub fn note_loss(&mut self) {
        self.lines.note_loss();
    }

    /// Adds a mark at which the built records can be divided. `here` is the end of what was
    /// taken, for each stream whose checkpoint advances.
    pub fn mark(&mut self, here: PerStream<Option<StreamCheckpoint>>) {
        let pending = self.pending(here);
        self.batches.mark(pending, &self.template);
    }

    fn pending(&self, here: PerStream<Option<StreamCheckpoint>>) -> Advance {
        Stream::ALL.map(|stream| {
            let here = here[stream.index()]?;
            // Entries being dropped by time are identified by the checkpoint that the cursor
            // was saved with; no other position identifies them.
            let is_dropped = self.dedupe[stream.index()].is_some_and(|it| it.is_dropping());
            if is_dropped || self.held.as_ref().is_some_and(|held| held.is_all()) {
                return None;
            }
            Some(self.checkpoint(stream, here))
        })
    }

    /// Queues the built records. `here` is the end of what was taken, for each stream whose
    /// checkpoint advances; with `always`, a batch is queued even without records. `read` is
    /// what was read to get there.
    pub fn push(
        &mut self,
        link: &Link,
        here: PerStream<Option<StreamCheckpoint>>,
        always: bool,
        read: ReadBytes,
    ) {
        self.report_cut(link);
        // Must precede the acceptance of any batch.
        self.settle(read, self.batches.carried());
        let pending = self.pending(here);
        self.batches
            .push(link, &self.account, &self.template, pending, always);
    }

    fn report_cut(&mut self, link: &Link) {
        let cut = self.batches.cut;
        if cut.records == 0 {
            return;
        }
        let (name, short_id) = (self.metadata().title(), self.account.short_id());
        self.cut.add(
            cut,
            Instant::now(),
            |Amount {
                 bytes,
                 records: lines,
             }| {
                link.report(Event::LinesCut {
                    name,
                    short_id,
                    bytes,
                    lines,
                })
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::id::ContainerId;

    fn take(assembler: &mut Assembler, stream: Stream, seconds: i64, ends_line: bool) {
        let time = Timestamp { seconds, nanos: 0 };
        let entry = Entry {
            time,
            stream,
            text: b"x",
            ends_line,
            is_utf8: false,
            attrs: &[],
        };
        assembler.take(&entry, 1, 100, StreamCheckpoint::default);
    }

    /// Entries written to the other stream meanwhile must not hide its first piece.
    #[test]
    fn a_line_that_is_open_from_the_first_is_asked_for_from_its_time_on() {
        let id = ContainerId::from_bytes([1; 32]);
        let template = RecordTemplate::unnamed(&id, ContainerMetadata::default());
        let mut assembler = Assembler::new(Arc::new(Account::new(id)), Arc::new(template));
        assembler.set_pieces(Pieces::Tagged);
        take(&mut assembler, Stream::Stdout, 5, false);
        take(&mut assembler, Stream::Stderr, 10, true);
        assert_eq!(
            assembler.since(),
            Some(Timestamp {
                seconds: 5,
                nanos: 0
            })
        );
        let saved = assembler.handed_over(StreamCheckpoint::default());
        assembler.resume_from(&saved, [true, true]);
        assert_eq!(
            assembler.since(),
            Some(Timestamp {
                seconds: 5,
                nanos: 0
            }),
            "also after a restart"
        );
        take(&mut assembler, Stream::Stdout, 5, false);
        take(&mut assembler, Stream::Stdout, 11, true);
        assert_eq!(
            assembler.since(),
            Some(Timestamp {
                seconds: 10,
                nanos: 0
            })
        );
    }
}
