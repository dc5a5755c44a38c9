//! From entries to batches, for one container: passes over what an earlier
//! source has delivered, joins pieces, encodes, and knows for each stream where
//! to resume once the host has accepted what was queued.
//!
//! The file and the API stream of a container give the same entries in the same
//! order, so this one piece serves both, and moves from one to the other when
//! the source changes ([`Assembler::handed_over`]).

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
/// How long a line whose pieces are tagged waits for its last one. Nothing tells
/// on disk that a stream has ended: the tag says "more follows" even at its end.
const TAGGED_LINE_GRACE: Duration = Duration::from_secs(30);

/// Bytes built between two places at which a batch can be divided, should the host refuse
/// it. An entry that is as large is divided from those before it.
pub const MARK_BYTES: usize = 16 * 1024;

/// The same while much that the host refuses stands aside: what is read of a container may
/// be refused as well.
const CAUTIOUS_BATCH_BYTES: usize = 64 * 1024;

/// Records under way to a batch.
#[derive(Debug, Default)]
struct BatchBuilder {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    records: usize,
    /// Bytes that they took in their source, without those that were cut off.
    source_bytes: u64,
    /// The time of the first.
    since: Timestamp,
    /// Room for the fields of a line.
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

/// Bytes since the last push that will be in no batch.
#[derive(Debug, Clone, Copy, Default)]
struct Dropped {
    passed_over: u64,
    cut: Amount,
}

/// What the reader went past since the last push.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadBytes {
    /// Bytes in all.
    pub total: u64,
    /// Those that were no record.
    pub skipped: u64,
}

/// What is open and what is queued, for one container.
#[derive(Debug)]
pub struct Assembler {
    account: Arc<Account>,
    identity: Arc<RecordTemplate>,
    joiners: PerStream<Joiner>,
    /// Where the open line of each stream begins.
    open_at: PerStream<StreamCheckpoint>,
    /// The last entry taken of each stream.
    taken: PerStream<TimeCursor>,
    /// The time of the line that was delivered last without its end.
    mid_line: PerStream<Option<Timestamp>>,
    /// The end of the file that was read last before this one.
    file_end: Option<StreamCheckpoint>,
    dedupe: PerStream<Option<Dedupe>>,
    building: PerStream<BatchBuilder>,
    /// Bytes built at which [`Assembler::is_due`].
    due: usize,
    aside: Dropped,
    cut: Paced,
    is_tagged: bool,
    is_to_the_second: bool,
    /// Lines that belong together, for a container whose lines may. Apart, so that
    /// the many others have nothing of it.
    texts: Option<Box<MultilineBuffer>>,
}

impl Assembler {
    /// Nothing taken yet.
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

    /// Whether the entries to come say by a tag that more of their line follows.
    pub fn set_tagged(&mut self, is_tagged: bool) {
        self.is_tagged = is_tagged;
        self.joiners
            .iter_mut()
            .for_each(|joiner| joiner.set_tagged(is_tagged));
    }

    /// The entries to come tell their times in whole seconds.
    pub fn set_to_the_second(&mut self) {
        self.is_to_the_second = true;
    }

    /// Whose entries it takes, and what became of them.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Name, image and state as last read.
    pub fn metadata(&self) -> &ContainerMetadata {
        &self.identity.metadata
    }

    /// Closes the texts that are open, if records with `identity` are joined otherwise.
    /// What was built is to be pushed before [`Assembler::set_template`].
    pub fn close_before(&mut self, identity: &RecordTemplate) {
        if identity.multiline != self.identity.multiline {
            self.close_texts();
        }
    }

    /// Records from now on carry `identity`; nothing may be left that was built, nor
    /// open that would be joined otherwise.
    pub fn set_template(&mut self, identity: Arc<RecordTemplate>) {
        if identity.multiline != self.identity.multiline {
            self.texts = MultilineBuffer::of(&identity.multiline);
        }
        self.identity = identity;
    }

    /// Entries before this come from elsewhere: what they were is known by
    /// their cursors. `dedupe` says whether they may be met again.
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

    /// What comes of these streams from now on was not delivered, whatever its times say.
    pub fn end_skip(&mut self, of: PerStream<bool>) {
        for (dedupe, _) in self.dedupe.iter_mut().zip(of).filter(|(_, ends)| *ends) {
            *dedupe = None;
        }
    }

    /// Ends this source, once all that was built is pushed: where each stream
    /// resumes in the next one. What is open is begun anew there, so it is dropped
    /// here.
    pub fn handed_over(&mut self, here: StreamCheckpoint) -> ContainerCheckpoint {
        let saved = Stream::ALL.map(|stream| self.resume(stream, here));
        self.pass_over(self.open_bytes());
        self.joiners.iter_mut().for_each(Joiner::forget);
        self.texts = MultilineBuffer::of(&self.identity.multiline);
        self.settle(ReadBytes::default(), [None, None]);
        saved
    }

    /// The time of the last entry that is certainly behind us in both streams,
    /// where entries of both are asked for from one time on.
    pub fn since(&self) -> Option<Timestamp> {
        let cursors = Stream::ALL.map(|stream| {
            self.open_at(stream)
                .map_or(self.taken[stream.index()], |at| at.cursor)
        });
        // A stream that has given nothing does not hold the other back: its
        // first entry is later than all that was taken before.
        cursors
            .iter()
            .filter(|cursor| **cursor != TimeCursor::default())
            .map(|cursor| cursor.time)
            .min()
    }

    /// The source will begin again at [`Assembler::since`]: forget what is open and
    /// pass over what was taken.
    pub fn begin_again(&mut self) {
        let here = StreamCheckpoint::default();
        let saved = self.handed_over(here);
        self.resume_from(&saved, [true, true]);
    }

    /// Takes one entry, which took `source_bytes` in its source. `begins_at`
    /// gives the position of its first byte in its file, should a line that
    /// stays open begin there.
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

    /// As [`Assembler::take`], of an API's answer, where times may be in whole seconds.
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

    /// As [`Assembler::take`], where whole lines may be parts of a text. Out of the
    /// way of the many containers that have none.
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
        // The first line that comes out is the one that was open, if one was.
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

    /// So many bytes were read that are not ours to deliver.
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

    /// Where what is open of `stream` begins: a text of several lines, else a line.
    fn open_at(&self, stream: Stream) -> Option<StreamCheckpoint> {
        let text = self.texts.as_ref().and_then(|texts| texts.open_at(stream));
        let index = stream.index();
        text.or_else(|| self.joiners[index].is_open().then_some(self.open_at[index]))
    }

    /// Writes into the account what was read and what becomes of it.
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

    /// Room for the records of so many bytes to come. Records of short lines take about
    /// twice as much; where they take more, the room grows.
    pub fn begin(&mut self, link: &Link, source_bytes: usize) {
        let bytes = &mut self.building[0].bytes;
        if bytes.capacity() == 0 {
            *bytes = link.queue.buffer();
            bytes.reserve(source_bytes.saturating_mul(2).min(BATCH_BYTES));
        }
    }

    /// How long after its last entry something that is open is complete as it is;
    /// `None` where nothing is open, or its rest is sure to come.
    pub fn grace(&self) -> Option<Duration> {
        self.grace_where(Assembler::is_dead)
    }

    /// As [`Assembler::grace`], where that the container has stopped says nothing
    /// yet: the source may have more of it.
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

    /// Whether nothing will complete a line: its stream has ended.
    fn is_dead(&self, joiner: &Joiner) -> bool {
        let is_stopped = !self.identity.metadata.is_running;
        joiner.stream_ended() || (is_stopped && joiner.is_open())
    }

    /// Split lines that wait for their rest.
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

    /// Completes all that is open: nothing else will.
    pub fn close(&mut self) {
        self.close_lines_where(|_, joiner| joiner.is_open());
        self.close_texts();
    }

    /// Completes what nothing has come for in so long that nothing will.
    pub fn close_after(&mut self, silence: Duration) {
        self.close_after_where(silence, Assembler::is_dead);
    }

    /// As [`Assembler::close_after`], where that the container has stopped says nothing
    /// yet: the source may have more of it.
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

    /// Where `stream` resumes if all up to `here` was taken: at the start of what is
    /// open of it (I2), if anything is.
    fn resume(&self, stream: Stream, here: StreamCheckpoint) -> StreamCheckpoint {
        let cursor = self.taken[stream.index()];
        let is_mid_line = self.mid_line[stream.index()] == Some(cursor.time);
        // Of a line that was delivered without its end, pieces with the very same time may
        // follow: what its times do not tell, the file must that it was read in.
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

    /// What comes next is of another file. The one before was read up to here, which says
    /// the same as the start of the next one; `None` where it was not read to its end.
    pub fn file_ended(&mut self, end: Option<StreamCheckpoint>) {
        if end.is_none_or(|end| !end.is_unbegun_file()) {
            self.file_end = end;
        }
    }

    fn built(&self) -> usize {
        self.building[0].bytes.len() + self.building[1].bytes.len()
    }

    /// Whether so much was built that the place is to be marked or the batch closed.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.built() >= self.due
    }

    /// Whether the batch is to be closed.
    pub fn is_full(&self, link: &Link) -> bool {
        let is_cautious = self.built() >= CAUTIOUS_BATCH_BYTES && link.queue.is_cautious();
        self.built() >= BATCH_BYTES || is_cautious
    }

    /// Notes that what was built can be divided here: `here` is the end of what was
    /// taken, for each stream that it moves.
    pub fn mark(&mut self, here: PerStream<Option<StreamCheckpoint>>) {
        let pending = self.pending(here);
        for (index, building) in self.building.iter_mut().enumerate() {
            if building.marks.last().map_or(0, |mark| mark.records) == building.records {
                continue;
            }
            // As in `push`: a batch of one stream moves no other.
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
            // What is passed over because of its times is known by the position that these were
            // saved with: nothing says so of any other.
            if self.dedupe[stream.index()].is_some() {
                return None;
            }
            Some(self.resume(stream, here))
        })
    }

    /// Queues what was built. `here` is the end of what was taken, for each
    /// stream that it moves; with `always` also where there are no records.
    /// `read` is what was gone past to get there.
    pub fn push(
        &mut self,
        link: &Link,
        here: PerStream<Option<StreamCheckpoint>>,
        always: bool,
        read: ReadBytes,
    ) {
        self.report_cut(link);
        // Before a batch can be accepted.
        let queued = [self.building[0].carried(), self.building[1].carried()];
        self.settle(read, queued);
        let pending = self.pending(here);
        self.due = MARK_BYTES;
        let [first, second] = std::mem::take(&mut self.building);
        let has_second = second.records > 0;
        // Records of one batch may be accepted and those of the next refused:
        // a batch moves its own stream, and the other only with the last one.
        let first_moves = if has_second {
            [pending[0], None]
        } else {
            pending
        };
        if first.records > 0 || (always && !has_second) {
            self.push_batch(link, first, 0, first_moves);
        } else {
            // The room is kept for the next time.
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
        // A text is hardly ever longer than its source, but invalid characters
        // grow where they are replaced.
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

    /// What was written to the other stream meanwhile must not hide its first piece.
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
