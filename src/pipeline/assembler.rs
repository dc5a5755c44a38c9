//! Turns the entries of one container into batches: drops what an earlier source has
//! delivered, joins pieces, encodes, and tracks for each stream where to resume once the host
//! has accepted what was queued.
//!
//! A container's file and its API stream yield the same entries in the same order, so one
//! assembler serves both and moves between them when the source changes
//! ([`Assembler::handed_over`]).

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::{Advance, ContainerCheckpoint, StreamCheckpoint, TimeCursor};
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Mark, Progress, BATCH_BYTES};
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::format::Entry;
use crate::pipeline::dedupe::{is_within_second_of, Dedupe};
use crate::pipeline::encode::put_record_merged;
use crate::pipeline::merge::Merged;
use crate::pipeline::multiline::MultilineBuffer;
use crate::pipeline::partial::{Joiner, Line};
use crate::pipeline::template::RecordTemplate;
use crate::runtime::docker::ContainerMetadata;
use crate::telemetry::account::{Account, Amount, Paced, SliceStats};
use crate::telemetry::event::Event;

/// How long an open line whose stream has ended waits for a continuation.
pub const DEAD_LINE_GRACE: Duration = Duration::from_millis(500);
/// How long an open line waits for its last piece if pieces are tagged. Nothing on disk shows
/// that a stream has ended: even its last piece may be tagged as having a continuation.
const TAGGED_LINE_GRACE: Duration = Duration::from_secs(30);

/// Encoded bytes between two points at which a batch can be divided if the host refuses it. A
/// larger entry is separated from those before it.
pub const MARK_BYTES: usize = 16 * 1024;

/// Batch size while much refused data is set aside, since the next batch of a container may be
/// refused as well.
const CAUTIOUS_BATCH_BYTES: usize = 64 * 1024;

/// A batch under construction.
#[derive(Debug, Default)]
struct BatchBuilder {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    records: usize,
    /// Bytes of the records in the source, without those cut off.
    source_bytes: u64,
    /// Time of the first record.
    since: Timestamp,
    /// Reusable buffer for the fields of a line.
    merged: Merged,
}

impl BatchBuilder {
    fn carried(&self) -> Option<(Amount, Timestamp)> {
        let amount = Amount {
            bytes: self.source_bytes,
            records: self.records as u64,
        };
        (self.records > 0).then_some((amount, self.since))
    }
}

/// Bytes since the last push that go into no batch.
#[derive(Debug, Clone, Copy, Default)]
struct Dropped {
    passed_over: u64,
    cut: Amount,
}

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
    identity: Arc<RecordTemplate>,
    joiners: PerStream<Joiner>,
    /// Where the open line of each stream begins.
    open_at: PerStream<StreamCheckpoint>,
    /// The last entry taken from each stream.
    taken: PerStream<TimeCursor>,
    /// Time of the last line of each stream that was delivered without its end.
    mid_line: PerStream<Option<Timestamp>>,
    /// End of the file that was read before the current one.
    file_end: Option<StreamCheckpoint>,
    dedupe: PerStream<Option<Dedupe>>,
    building: PerStream<BatchBuilder>,
    /// Encoded size at which [`Assembler::is_due`] returns true.
    due: usize,
    aside: Dropped,
    cut: Paced,
    is_tagged: bool,
    is_to_the_second: bool,
    /// Lines being joined, for a container with a multiline pattern. Boxed, so that it costs
    /// the many other containers nothing.
    texts: Option<Box<MultilineBuffer>>,
}

impl Assembler {
    /// A new assembler without entries.
    pub fn new(account: Arc<Account>, identity: Arc<RecordTemplate>) -> Assembler {
        Assembler {
            texts: MultilineBuffer::of(&identity.multiline),
            account,
            identity,
            joiners: PerStream::default(),
            open_at: PerStream::default(),
            taken: PerStream::default(),
            mid_line: PerStream::default(),
            file_end: None,
            dedupe: PerStream::default(),
            building: PerStream::default(),
            due: MARK_BYTES,
            aside: Dropped::default(),
            cut: Paced::default(),
            is_tagged: false,
            is_to_the_second: false,
        }
    }

    /// Sets whether the coming entries say by a tag that more of their line follows.
    pub fn set_tagged(&mut self, is_tagged: bool) {
        self.is_tagged = is_tagged;
        self.joiners
            .iter_mut()
            .for_each(|joiner| joiner.set_tagged(is_tagged));
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
        &self.identity.metadata
    }

    /// Closes the open texts if `identity` joins lines differently. Push the built records
    /// before calling [`Assembler::set_template`].
    pub fn close_before(&mut self, identity: &RecordTemplate) {
        if identity.multiline != self.identity.multiline {
            self.close_texts();
        }
    }

    /// Uses `identity` for later records. Nothing that was built may be unpushed, and nothing
    /// may be open that `identity` would join differently.
    pub fn set_template(&mut self, identity: Arc<RecordTemplate>) {
        if identity.multiline != self.identity.multiline {
            self.texts = MultilineBuffer::of(&identity.multiline);
        }
        self.identity = identity;
    }

    /// Continues after entries from another source, which are known by their time cursors.
    /// `dedupe` says for which streams they may be read again.
    pub fn resume_from(&mut self, saved: &ContainerCheckpoint, dedupe: PerStream<bool>) {
        for stream in Stream::ALL {
            let index = stream.index();
            let cursor = saved[index].cursor;
            self.taken[index] = cursor;
            self.mid_line[index] = saved[index].is_mid_line.then_some(cursor.time);
            let is_to_the_second = self.is_to_the_second || saved[index].is_by_time;
            let is_known = dedupe[index] && cursor.count > 0;
            self.dedupe[index] = is_known.then(|| Dedupe::new(cursor, is_to_the_second));
        }
    }

    /// Stops dropping entries of these streams: whatever follows was not delivered, whatever
    /// its times say.
    pub fn end_skip(&mut self, of: PerStream<bool>) {
        for (dedupe, _) in self.dedupe.iter_mut().zip(of).filter(|(_, ends)| *ends) {
            *dedupe = None;
        }
    }

    /// Ends this source after everything built was pushed, and returns where each stream
    /// resumes in the next one. Open lines are dropped here because they are read again there.
    pub fn handed_over(&mut self, here: StreamCheckpoint) -> ContainerCheckpoint {
        let saved = Stream::ALL.map(|stream| self.resume(stream, here));
        self.pass_over(self.open_bytes());
        self.joiners.iter_mut().for_each(Joiner::forget);
        self.texts = MultilineBuffer::of(&self.identity.multiline);
        self.settle(ReadBytes::default(), [None, None]);
        saved
    }

    /// The time from which to request entries of both streams: that of the last entry up to
    /// which both are certainly complete.
    pub fn since(&self) -> Option<Timestamp> {
        let cursors = Stream::ALL.map(|stream| {
            self.open_at(stream)
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
    #[inline]
    pub fn take(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_at: impl FnOnce() -> StreamCheckpoint,
    ) {
        let stream = entry.stream;
        let index = stream.index();
        if let Some(dedupe) = &mut self.dedupe[index] {
            if dedupe.covers(entry.time) {
                return self.pass_over(source_bytes as u64);
            }
            self.dedupe[index] = None;
        }
        let before = self.taken[index];
        self.taken[index].advance(entry.time);
        if self.texts.is_some() {
            let begins = LazyCell::new(|| StreamCheckpoint {
                cursor: before.or_at(entry.time),
                ..begins_at()
            });
            return self.take_for_texts(entry, source_bytes, max_line_bytes, &|| *begins);
        }
        let identity = &*self.identity;
        let into = &mut self.building[identity.building_of(stream)];
        let aside = &mut self.aside;
        let begins = self.joiners[index].push(entry, source_bytes, max_line_bytes, |line| {
            put_line(into, aside, &line, stream, identity);
        });
        if begins {
            self.open_at[index] = StreamCheckpoint {
                cursor: before.or_at(entry.time),
                ..begins_at()
            };
        }
    }

    /// Like [`Assembler::take`], for an API response, where times may be in whole seconds.
    pub fn take_from_api(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_at: impl FnOnce() -> StreamCheckpoint,
    ) {
        let index = entry.stream.index();
        let before = self.taken[index];
        self.take(entry, source_bytes, max_line_bytes, begins_at);
        if self.is_to_the_second && is_within_second_of(before, entry.time) {
            self.taken[index] = before;
        }
    }

    /// Like [`Assembler::take`], if whole lines may be parts of a text. Out of line, since
    /// most containers have no pattern.
    #[cold]
    fn take_for_texts(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins_here: &dyn Fn() -> StreamCheckpoint,
    ) {
        let Some(texts) = &mut self.texts else { return };
        let (building, aside, identity) = (&mut self.building, &mut self.aside, &*self.identity);
        let mut put = |stream: Stream, line: Line<'_>| {
            put_line(
                &mut building[identity.building_of(stream)],
                aside,
                &line,
                stream,
                identity,
            );
        };
        texts.time_is(entry.time, &mut put);
        let (stream, index) = (entry.stream, entry.stream.index());
        // The first completed line is the one that was open, if any.
        let mut open_at = self.joiners[index].is_open().then_some(self.open_at[index]);
        let begins = self.joiners[index].push(entry, source_bytes, max_line_bytes, |line| {
            let open_at = open_at.take();
            texts.push(
                stream,
                &line,
                || open_at.unwrap_or_else(begins_here),
                |line| put(stream, line),
            );
        });
        if begins {
            self.open_at[index] = begins_here();
        }
    }

    /// Counts bytes that were read but are not to be delivered.
    pub fn pass_over(&mut self, bytes: u64) {
        self.aside.passed_over += bytes;
    }

    fn open_bytes(&self) -> u64 {
        let lines: u64 = self
            .joiners
            .iter()
            .map(|joiner| joiner.source_bytes() as u64)
            .sum();
        lines + self.texts.as_ref().map_or(0, |texts| texts.source_bytes())
    }

    /// Where the open text of `stream`, or else its open line, begins.
    fn open_at(&self, stream: Stream) -> Option<StreamCheckpoint> {
        let text = self.texts.as_ref().and_then(|texts| texts.open_at(stream));
        let index = stream.index();
        text.or_else(|| self.joiners[index].is_open().then_some(self.open_at[index]))
    }

    /// Records in the account what was read and what becomes of it.
    fn settle(&mut self, read: ReadBytes, queued: [Option<(Amount, Timestamp)>; 2]) {
        let Dropped { passed_over, cut } = std::mem::take(&mut self.aside);
        let [first, second] = &self.taken;
        self.account.took(&SliceStats {
            read: read.total,
            skipped: read.skipped,
            passed_over,
            cut,
            open: self.open_bytes(),
            queued,
            until: first.time.max(second.time),
        });
    }

    /// Whether each line is matched against a pattern.
    pub fn joins_lines(&self) -> bool {
        self.texts.is_some()
    }

    /// Reserves space for the records of `source_bytes` bytes. Records of short lines take
    /// about twice as much; if they take more, the buffer grows.
    pub fn begin(&mut self, link: &Link, source_bytes: usize) {
        let bytes = &mut self.building[0].bytes;
        if bytes.capacity() == 0 {
            *bytes = link.queue.buffer();
            bytes.reserve(source_bytes.saturating_mul(2).min(BATCH_BYTES));
        }
    }

    /// How long after the last entry an open line or text is considered complete; `None` if
    /// nothing is open or the rest is certain to come.
    pub fn grace(&self) -> Option<Duration> {
        self.grace_where(Assembler::is_dead)
    }

    /// Like [`Assembler::grace`], but ignores that the container has stopped: the source may
    /// still have more.
    pub fn grace_of_stream(&self) -> Option<Duration> {
        self.grace_where(|_, joiner| joiner.stream_ended())
    }

    fn grace_where(&self, is_over: impl Fn(&Assembler, &Joiner) -> bool) -> Option<Duration> {
        let line = if self.joiners.iter().any(|joiner| is_over(self, joiner)) {
            Some(DEAD_LINE_GRACE)
        } else {
            (self.is_tagged && self.open_lines() > 0).then_some(TAGGED_LINE_GRACE)
        };
        line.into_iter().chain(self.texts_grace()).min()
    }

    fn texts_grace(&self) -> Option<Duration> {
        let texts = self.texts.as_ref().filter(|texts| texts.is_open())?;
        Some(texts.patience())
    }

    /// Whether nothing can complete the open line because its stream has ended.
    fn is_dead(&self, joiner: &Joiner) -> bool {
        let is_stopped = !self.identity.metadata.is_running;
        joiner.stream_ended() || (is_stopped && joiner.is_open())
    }

    /// Number of split lines that wait for their rest.
    pub fn open_lines(&self) -> u64 {
        self.joiners
            .iter()
            .map(|joiner| u64::from(joiner.is_open()))
            .sum()
    }

    /// Whether a line or a text is open.
    pub fn is_open(&self) -> bool {
        self.open_lines() > 0 || self.texts.as_ref().is_some_and(|texts| texts.is_open())
    }

    /// Flushes all open lines and texts.
    pub fn close(&mut self) {
        self.close_lines_where(|_, joiner| joiner.is_open());
        self.close_texts();
    }

    /// Flushes open lines and texts that have timed out after `silence` without an entry.
    pub fn close_after(&mut self, silence: Duration) {
        self.close_after_where(silence, Assembler::is_dead);
    }

    /// Like [`Assembler::close_after`], but ignores that the container has stopped: the source
    /// may still have more.
    pub fn close_of_stream_after(&mut self, silence: Duration) {
        self.close_after_where(silence, |_, joiner| joiner.stream_ended());
    }

    fn close_after_where(
        &mut self,
        silence: Duration,
        is_over: impl Fn(&Assembler, &Joiner) -> bool,
    ) {
        if silence >= DEAD_LINE_GRACE {
            self.close_lines_where(is_over);
        }
        if silence >= TAGGED_LINE_GRACE && self.is_tagged {
            self.close_lines_where(|_, joiner| joiner.is_open());
        }
        if self.texts_grace().is_some_and(|grace| silence >= grace) {
            self.close_texts();
        }
    }

    fn close_lines_where(&mut self, is_complete: impl Fn(&Assembler, &Joiner) -> bool) {
        for stream in Stream::ALL {
            if is_complete(self, &self.joiners[stream.index()]) {
                self.close_line(stream);
            }
        }
    }

    fn close_line(&mut self, stream: Stream) {
        let identity = &*self.identity;
        let into = &mut self.building[identity.building_of(stream)];
        let (aside, texts) = (&mut self.aside, &mut self.texts);
        let open_at = self.open_at[stream.index()];
        let joiner = &self.joiners[stream.index()];
        if joiner.is_open() && !joiner.stream_ended() && !self.is_tagged {
            self.mid_line[stream.index()] = Some(self.taken[stream.index()].time);
        }
        self.joiners[stream.index()].flush(|line| match texts {
            Some(texts) => {
                texts.push(
                    stream,
                    &line,
                    || open_at,
                    |line| put_line(into, aside, &line, stream, identity),
                );
            }
            None => put_line(into, aside, &line, stream, identity),
        });
    }

    fn close_texts(&mut self) {
        let Some(texts) = &mut self.texts else { return };
        let identity = &*self.identity;
        for stream in Stream::ALL {
            let into = &mut self.building[identity.building_of(stream)];
            let aside = &mut self.aside;
            texts.flush(stream, |line| {
                put_line(into, aside, &line, stream, identity)
            });
        }
    }

    /// Where `stream` resumes if everything up to `here` was taken: at the start of its open
    /// line or text (I2), if there is one.
    fn resume(&self, stream: Stream, here: StreamCheckpoint) -> StreamCheckpoint {
        let cursor = self.taken[stream.index()];
        let is_mid_line = self.mid_line[stream.index()] == Some(cursor.time);
        // After a line that was delivered without its end, pieces with exactly the same time
        // may follow. Times cannot identify them, so the checkpoint keeps the file in which
        // the line was read.
        let here = match self.file_end {
            Some(end) if is_mid_line && here.is_unbegun_file() => end,
            _ => here,
        };
        self.open_at(stream).unwrap_or(StreamCheckpoint {
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
            self.file_end = end;
        }
    }

    fn built(&self) -> usize {
        self.building[0].bytes.len() + self.building[1].bytes.len()
    }

    /// Whether enough was built to add a mark or close the batch.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.built() >= self.due
    }

    /// Whether the batch is to be closed.
    pub fn is_full(&self, link: &Link) -> bool {
        let is_cautious = self.built() >= CAUTIOUS_BATCH_BYTES && link.queue.is_cautious();
        self.built() >= BATCH_BYTES || is_cautious
    }

    /// Adds a mark at which the built records can be divided. `here` is the end of what was
    /// taken, for each stream whose checkpoint advances.
    pub fn mark(&mut self, here: PerStream<Option<StreamCheckpoint>>) {
        let pending = self.pending(here);
        for (index, building) in self.building.iter_mut().enumerate() {
            if building.marks.last().map_or(0, |mark| mark.records) == building.records {
                continue;
            }
            // As in `push`: a single-stream batch does not advance the other stream.
            let advance = match (self.identity.is_tagged_by_stream(), index) {
                (false, _) => pending,
                (true, 0) => [pending[0], None],
                (true, _) => [None, pending[1]],
            };
            let (bytes, records) = (building.bytes.len(), building.records);
            building.marks.push(Mark {
                bytes,
                records,
                source_bytes: building.source_bytes,
                advance,
            });
        }
        self.due = (self.built() + MARK_BYTES).min(BATCH_BYTES);
    }

    fn pending(&self, here: PerStream<Option<StreamCheckpoint>>) -> Advance {
        Stream::ALL.map(|stream| {
            let here = here[stream.index()]?;
            // Entries being dropped by time are identified by the checkpoint that the cursor
            // was saved with; no other position identifies them.
            if self.dedupe[stream.index()].is_some() {
                return None;
            }
            Some(self.resume(stream, here))
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
        let queued = [self.building[0].carried(), self.building[1].carried()];
        self.settle(read, queued);
        let pending = self.pending(here);
        self.due = MARK_BYTES;
        let [first, second] = std::mem::take(&mut self.building);
        let has_second = second.records > 0;
        // One batch may be accepted and the next refused: each advances only its own stream,
        // and only the last one the other stream as well.
        let first_moves = if has_second {
            [pending[0], None]
        } else {
            pending
        };
        if first.records > 0 || (always && !has_second) {
            self.push_batch(link, first, 0, first_moves);
        } else {
            // Keep the buffer for the next batch.
            self.building[0].bytes = first.bytes;
        }
        if has_second {
            self.push_batch(link, second, 1, pending);
        }
    }

    fn report_cut(&mut self, link: &Link) {
        if self.aside.cut.records == 0 {
            return;
        }
        let (name, short_id) = (self.metadata().title(), self.account.short_id());
        self.cut.add(
            self.aside.cut,
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

    fn push_batch(&self, link: &Link, mut building: BatchBuilder, tag: usize, advance: Advance) {
        if building.records > 0 {
            building
                .bytes
                .extend_from_slice(self.identity.fields.group_end());
        }
        let batch = Batch {
            container: *self.account.id(),
            source: Some((Arc::clone(&self.account), building.source_bytes)),
            tag: self.identity.tags[tag].clone(),
            parsing: self.identity.parsing.clone(),
            records: building.records,
            bytes: building.bytes,
            progress: Progress::Advance(advance),
            marks: building.marks,
        };
        link.push(batch);
    }
}

#[inline]
fn put_line(
    into: &mut BatchBuilder,
    aside: &mut Dropped,
    line: &Line<'_>,
    stream: Stream,
    identity: &RecordTemplate,
) {
    if into.records == 0 {
        into.bytes.extend_from_slice(identity.fields.group_start());
        into.since = line.time;
    }
    let fields = &identity.fields;
    let is_merged = into.merged.take(line.text, &identity.merge, fields.keys());
    put_record_merged(
        &mut into.bytes,
        line,
        stream,
        fields,
        is_merged.then_some(&into.merged),
    );
    into.records += 1;
    into.source_bytes += line.source_bytes as u64;
    if line.is_cut() {
        // A text is hardly ever longer than its source, but invalid characters grow when
        // replaced.
        let bytes = line.cut_bytes.min(line.source_bytes) as u64;
        into.source_bytes -= bytes;
        aside.cut += Amount { bytes, records: 1 };
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
        let identity = RecordTemplate::unnamed(&id, ContainerMetadata::default());
        let mut assembler = Assembler::new(Arc::new(Account::new(id)), Arc::new(identity));
        assembler.set_tagged(true);
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
