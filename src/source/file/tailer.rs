//! The log of one container: its generations in order, its open split lines, and the
//! checkpoints that its batches carry to the host.
//!
//! A generation is held open from when it is found until it has been read to its end, whatever
//! happens to its name. So rotation and removal lose nothing that existed when it was found.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint, TimeCursor};
use crate::delivery::link::Link;
use crate::format::json_file::{for_each_unusual, Decoder, OwnedEntry};
use crate::format::layout::Layout;
use crate::format::local::{self, first_frame, next_frame, Frame};
use crate::format::msgpack::put_string_map;
use crate::format::position::{PerStream, Position};
use crate::format::{cri, Entry};
use crate::pipeline::assembler::{Assembler, ReadBytes, MARK_BYTES};
use crate::pipeline::template::RecordTemplate;
use crate::runtime::docker::ContainerMetadata;
use crate::runtime::file::is_permanent;
use crate::runtime::id::ContainerId;
use crate::runtime::LogFiles;
use crate::source::file::create_counter::CreateCounter;
use crate::source::file::generation::{Found, Generation, SLICE_BYTES};
use crate::source::file::known::{KnownFile, KnownFiles};
use crate::source::file::search::Search;
use crate::source::slice::{Slice, COSTLY_MEMORY};
use crate::telemetry::account::{wall_clock, Abandoned, Account, Amount, Paced};
use crate::telemetry::activity::Doing;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Survey;

/// Where reading a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first byte of the oldest file.
    Head,
    /// After the last line.
    End,
    /// Where an earlier run stopped.
    Saved(ContainerCheckpoint),
}

/// What the reader lends a tailer for one slice.
pub struct ReadContext<'a> {
    /// Receives batches and events.
    pub link: &'a Link,
    /// The read buffer, shared by all files.
    pub buffer: &'a mut Vec<u8>,
    /// The JSON decoder, shared by all files.
    pub decoder: &'a mut Decoder,
    /// The same for files of the container runtime interface.
    pub cri: &'a mut cri::Decoder,
    /// `Partial_Max_Size`.
    pub max_line_bytes: usize,
    /// The current time.
    pub now: Instant,
    /// Time limit for the lines of the slice.
    pub slice_time: Duration,
}

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to read now.
    More,
    /// Everything has been read.
    AtEnd {
        /// Whether this slice read anything.
        has_read: bool,
    },
    /// The next file has been started, but this one may still be written until the given time.
    Lingering(Instant),
}

/// What is known about the cost of a log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Lines {
    /// Cheap.
    Plain,
    /// Matched against an expression, and none has been matched yet.
    Untried,
    /// The last slice was costly.
    Costly,
    /// A recent slice was costly and none after it; counts as costly until the given time.
    CostlyUntil(Instant),
}

/// The log of one container.
pub struct Tailer {
    pub(in crate::source) files: LogFiles,
    pub(in crate::source) start: Start,
    /// Oldest first; the front is read, the back is still written.
    pub(in crate::source) generations: VecDeque<Generation>,
    pub(in crate::source) next_number: u32,
    pub(in crate::source) seen: KnownFiles,
    pub(in crate::source) search: Search,
    pub(in crate::source) assembler: Assembler,
    /// Entries that begin before this position were accepted in an earlier run.
    pub(in crate::source) accepted_before: PerStream<Position>,
    /// The checkpoint that `accepted_before` was derived from.
    pub(in crate::source) accepted: ContainerCheckpoint,
    /// The number of the first generation whose accepted entries are known by offset. In those
    /// before it, entries are compared by time.
    pub(in crate::source) doubt_ends: Option<u32>,
    pub(in crate::source) creates: CreateCounter,
    pub(in crate::source) missed: Paced,
    /// Reported that not all files are opened.
    pub(in crate::source) surplus_reported: bool,
    /// Truncations that lost nothing, and truncations that lost data.
    pub(in crate::source) truncated: [Paced; 2],
    corrupt: Paced,
    unread: u64,
    pub(in crate::source) lines: Lines,
    /// The time of the last slice if it was slow, otherwise zero.
    slice_cost: Duration,
    /// When the file after the front one was first found to have content.
    next_seen: Option<Instant>,
    progress: SliceProgress,
}

/// How far a slice has been taken, as offsets in the buffer.
#[derive(Debug, Clone, Copy, Default)]
struct SliceProgress {
    /// Everything before it has been taken.
    at: usize,
    /// The records built from everything before it are queued.
    pushed: usize,
    /// Bytes before `pushed` that were not part of a record.
    skipped_pushed: u64,
    /// The slice ends its file: it is taken whole, however full the queue is.
    is_last: bool,
}

impl SliceProgress {
    fn from(start: usize) -> SliceProgress {
        SliceProgress {
            at: start,
            pushed: start,
            ..SliceProgress::default()
        }
    }
}

impl Tailer {
    /// Creates a tailer that has opened nothing yet.
    pub fn new(
        account: Arc<Account>,
        files: LogFiles,
        start: Start,
        identity: Arc<RecordTemplate>,
    ) -> Tailer {
        Tailer {
            files,
            start,
            generations: VecDeque::new(),
            next_number: 0,
            seen: KnownFiles::default(),
            search: Search::default(),
            doubt_ends: None,
            assembler: Assembler::new(account, identity),
            accepted_before: PerStream::default(),
            accepted: ContainerCheckpoint::default(),
            creates: CreateCounter::default(),
            missed: Paced::default(),
            surplus_reported: false,
            truncated: Default::default(),
            corrupt: Paced::default(),
            unread: 0,
            lines: Lines::Plain,
            slice_cost: Duration::ZERO,
            next_seen: None,
            progress: SliceProgress::default(),
        }
    }

    /// The id of the container.
    pub fn id(&self) -> &ContainerId {
        self.account().id()
    }

    /// The account of the log's bytes.
    pub fn account(&self) -> &Arc<Account> {
        self.assembler.account()
    }

    /// The files of the log, by name.
    pub fn files(&self) -> &LogFiles {
        &self.files
    }

    /// Name, image and state as last read.
    pub fn metadata(&self) -> &ContainerMetadata {
        self.assembler.metadata()
    }

    /// Records built from now on use `identity`.
    pub fn set_template(&mut self, identity: Arc<RecordTemplate>, link: &Link) {
        self.assembler.close_before(&identity);
        self.push_closed(link);
        if identity.multiline.is_by_expression() && !self.is_costly(Instant::now()) {
            self.lines = Lines::Untried;
        }
        self.assembler.set_template(identity);
    }

    /// The run of the container whose file is being read.
    pub fn run(&self) -> Option<u32> {
        self.generations.front().map(|front| front.run)
    }

    /// Whether the last slice was costly, or one was recently, or lines must be matched
    /// against an expression and none has been yet, or the next slice only decompresses.
    pub fn is_costly(&self, now: Instant) -> bool {
        match self.lines {
            _ if self.search.is_under_way() => true,
            Lines::Plain => false,
            Lines::Untried | Lines::Costly => true,
            Lines::CostlyUntil(until) => now < until,
        }
    }

    /// The time of the last slice if it was slow, otherwise zero.
    pub fn slice_cost(&self) -> Duration {
        self.slice_cost
    }

    /// Whether a file of the log is open.
    pub fn is_open(&self) -> bool {
        !self.generations.is_empty() || self.search.is_under_way()
    }

    /// How many files of the log have been found so far; it only grows.
    pub fn files_met(&self) -> u32 {
        self.next_number
    }

    /// The files that may still be written: usually just the one being read.
    pub fn written_files(&self) -> impl Iterator<Item = &std::fs::File> {
        self.generations.iter().filter_map(Generation::plain_file)
    }

    /// How long after its last entry something open counts as complete.
    pub fn grace(&self) -> Option<Duration> {
        self.assembler.grace()
    }

    /// Adds the open files and lines to a survey.
    pub fn add_to(&self, survey: &mut Survey) {
        survey.files_open += self.generations.len() as u64;
        survey.open_lines += self.assembler.open_lines();
    }

    /// Ends reading and returns where another source continues. Queued records count as
    /// delivered.
    pub fn hand_over(&mut self) -> ContainerCheckpoint {
        if let Some(front) = self.generations.front() {
            return self.assembler.handed_over(front.resume_here());
        }
        match self.start {
            Start::Saved(saved) => saved,
            Start::Head => ContainerCheckpoint::default(),
            Start::End => {
                [StreamCheckpoint {
                    cursor: TimeCursor {
                        time: wall_clock(),
                        count: 1,
                    },
                    ..StreamCheckpoint::default()
                }; 2]
            }
        }
    }

    /// Reads one slice and queues its records.
    pub fn read_slice(&mut self, context: &mut ReadContext<'_>) -> io::Result<Step> {
        self.slice_cost = Duration::ZERO;
        let step = self.read_on(context);
        if let (Ok(Step::AtEnd { has_read: false }), Lines::Costly) = (&step, self.lines) {
            self.lines = Lines::CostlyUntil(context.now + COSTLY_MEMORY);
        }
        self.note_unread();
        step
    }

    /// Updates the unread bytes in the account.
    pub(in crate::source) fn note_unread(&mut self) {
        let unread = self.generations.iter().map(Generation::unread).sum();
        if std::mem::replace(&mut self.unread, unread) != unread {
            self.account().set_unread(unread);
        }
    }

    fn read_on(&mut self, context: &mut ReadContext<'_>) -> io::Result<Step> {
        if self.search.is_under_way() {
            context
                .link
                .activity
                .is(Doing::Reading, self.assembler.account().id());
            self.search.go_on()?;
            if !self.search.is_under_way() && self.generations.is_empty() {
                self.refresh(context.link)?;
            }
            return Ok(Step::More);
        }
        loop {
            self.check_accepted()?;
            let Some(front) = self.generations.front_mut() else {
                return Ok(Step::AtEnd { has_read: false });
            };
            context
                .link
                .activity
                .is(Doing::Reading, self.assembler.account().id());
            let found = match front.read(context.buffer) {
                Ok(found) => found,
                Err(error) if self.generations.len() > 1 && is_permanent(&error) => {
                    self.give_up_front(context.link, &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let vanished = front.take_vanished();
            if vanished > 0 {
                // `found` belongs to the file, which is no longer the front once copies are
                // opened.
                if front.read_offset() == 0 && self.opens_unread_copies()? {
                    continue;
                }
                self.report_vanished(context.link, vanished);
            }
            let Some(front) = self.generations.front_mut() else {
                continue;
            };
            match found {
                Found::Entries {
                    layout,
                    start,
                    end,
                    filled,
                    offset,
                    has_more,
                } => {
                    // None of it has been read, so a truncation would go unnoticed.
                    if offset == 0 && self.opens_unread_copies()? {
                        continue;
                    }
                    let has_more =
                        has_more | self.take_entries(context, layout, start..end, filled, offset);
                    return Ok(if has_more || self.generations.len() > 1 {
                        Step::More
                    } else {
                        Step::AtEnd { has_read: true }
                    });
                }
                Found::Skipped { offset, bytes } => {
                    let (path, resume) = (front.path.clone(), front.resume_here());
                    let is_hole = front.is_behind_hole();
                    self.report_corrupt(context.link, path, offset, bytes);
                    let read = ReadBytes {
                        total: bytes,
                        skipped: bytes,
                    };
                    if is_hole {
                        // The checkpoint of what was read before is more precise.
                        self.assembler.push(context.link, [None, None], true, read);
                    } else {
                        self.push(context.link, resume, true, read);
                    }
                    return Ok(Step::More);
                }
                Found::Truncated => {
                    if !self.restart_truncated(context.link)? {
                        return Ok(Step::More);
                    }
                }
                // dockerd rotates right before a write. While all following files are empty,
                // someone renamed the log and the runtime still writes to this file.
                Found::AtEnd { .. }
                    if self
                        .generations
                        .iter()
                        .skip(1)
                        .any(|next| !next.is_empty_now()) =>
                {
                    if let Some(due) = self.lingers_until(context.now) {
                        return Ok(Step::Lingering(due));
                    }
                    let run = self.run();
                    self.finish_front(context)?;
                    // The next file belongs to another run, whose records have other fields.
                    if self.run() != run {
                        return Ok(Step::More);
                    }
                }
                // A file was truncated before its first byte was taken. No name changes with
                // that, so nothing else triggers a search for its copy.
                Found::AtEnd { .. } if self.is_any_emptied() && self.opens_unread_copies()? => {
                    self.generations
                        .iter_mut()
                        .for_each(|copied| _ = copied.take_vanished());
                }
                Found::AtEnd { .. } => return Ok(Step::AtEnd { has_read: false }),
            }
        }
    }

    /// Whether a file was found to be truncated before its first byte was read; true once per
    /// truncation.
    fn is_any_emptied(&mut self) -> bool {
        self.generations
            .iter_mut()
            .filter_map(|one| one.is_emptied().then_some(()))
            .count()
            > 0
    }

    /// Returns until when the front file may still be written although the next one is:
    /// containerd writes a half-read line to the old file before it continues in the next one.
    fn lingers_until(&mut self, now: Instant) -> Option<Instant> {
        let (grace, is_last) = (self.files.grace, self.generations.len() == 2);
        let [front, next, ..] = self.generations.make_contiguous() else {
            return None;
        };
        if grace.is_zero() || !is_last || front.run != next.run || front.plain_file().is_none() {
            return None;
        }
        let due = *self.next_seen.get_or_insert(now) + grace;
        (now < due).then_some(due)
    }

    /// Decodes the complete entries of a slice and queues their records. Returns whether it
    /// stopped before the end of the slice because the queue is full or the lines took too
    /// long. Never inlined: its instructions are counted (tests/host/instructions.rs).
    #[inline(never)]
    fn take_entries(
        &mut self,
        context: &mut ReadContext<'_>,
        layout: Layout,
        range: Range<usize>,
        filled: usize,
        offset: u64,
    ) -> bool {
        let link = context.link;
        link.activity
            .is(Doing::Decoding, self.assembler.account().id());
        let mut slice = Slice::begin(
            link,
            range.start,
            self.assembler.joins_lines(),
            context.slice_time,
        );
        self.progress = SliceProgress::from(range.start);
        self.assembler.begin(link, range.len());
        self.assembler.set_tagged(layout == Layout::CriLines);
        let buffer = std::mem::take(context.buffer);
        let corrupt = match layout {
            Layout::JsonLines => self.take_lines(
                context,
                &mut slice,
                &buffer,
                range.clone(),
                offset,
                Tailer::take_line,
            ),
            Layout::CriLines => self.take_lines(
                context,
                &mut slice,
                &buffer,
                range.clone(),
                offset,
                Tailer::take_cri_line,
            ),
            Layout::LocalFrames => {
                self.take_frames(context, &mut slice, &buffer, range.clone(), offset)
            }
        };
        self.slice_cost = slice.cost(self.progress.at - range.start);
        self.lines = match self.lines {
            _ if slice.was_costly() => Lines::Costly,
            Lines::Untried => Lines::Plain,
            Lines::Costly if self.slice_cost.is_zero() => {
                Lines::CostlyUntil(context.now + COSTLY_MEMORY)
            }
            same => same,
        };
        let SliceProgress {
            at: end,
            pushed,
            skipped_pushed,
            ..
        } = self.progress;
        if let Some(front) = self.generations.front_mut() {
            front.consume(&buffer, end, filled);
            let (path, resume) = (&front.path, front.resume_here());
            if let Some((offset, bytes)) = corrupt {
                let path = path.clone();
                self.report_corrupt(link, path, offset, bytes);
            }
            let skipped = corrupt.map_or(0, |(_, bytes)| bytes) - skipped_pushed;
            if end > pushed {
                let read = ReadBytes {
                    total: (end - pushed) as u64,
                    skipped,
                };
                self.push(link, resume, skipped > 0, read);
            }
        }
        *context.buffer = buffer;
        end < range.end
    }

    /// Handles a batch that is due to be marked or closed: everything before `end` of the
    /// buffer, `offset` in the file, has been taken. `skipped` counts the slice's bytes so far
    /// that were not part of a record. Returns whether reading must stop here. Rare, so kept
    /// out of the path of the lines.
    #[cold]
    fn pause_at(
        &mut self,
        link: &Link,
        buffer: &[u8],
        end: usize,
        offset: u64,
        skipped: u64,
    ) -> bool {
        let Some(front) = self.generations.front_mut() else {
            return false;
        };
        front.know_up_to(&buffer[..end]);
        let resume = front.resume_at(offset, &buffer[..end]);
        if !self.assembler.is_full(link) {
            let moves = self.moves(resume);
            self.assembler.mark(moves);
            return false;
        }
        let SliceProgress {
            pushed,
            skipped_pushed,
            ..
        } = self.progress;
        let read = ReadBytes {
            total: (end - pushed) as u64,
            skipped: skipped - skipped_pushed,
        };
        self.push(link, resume, false, read);
        self.progress = SliceProgress {
            at: end,
            pushed: end,
            skipped_pushed: skipped,
            ..self.progress
        };
        self.assembler.begin(link, SLICE_BYTES);
        !self.progress.is_last && (!link.queue.has_space() || link.queue.is_cautious())
    }

    /// Takes lines, one by one, with `take`. Returns the offset of the first corrupt line and
    /// the number of corrupt bytes; sets `progress.at` to the end of the last line taken.
    fn take_lines(
        &mut self,
        context: &mut ReadContext<'_>,
        slice: &mut Slice<'_>,
        buffer: &[u8],
        range: Range<usize>,
        offset: u64,
        take: impl Fn(&mut Tailer, &mut ReadContext<'_>, &[u8], Range<usize>, usize, u64) -> u64,
    ) -> Option<(u64, u64)> {
        let mut corrupt: Option<(u64, u64)> = None;
        let (start, end) = (range.start, range.end);
        let mut line_start = start;
        for line_feed in memchr::memchr_iter(b'\n', &buffer[range]) {
            let line_offset = offset + (line_start - start) as u64;
            // A long line gets a mark of its own, so that the batch can be split before it.
            if self.assembler.is_due() || start + line_feed - line_start >= MARK_BYTES {
                let skipped = corrupt.map_or(0, |(_, bytes)| bytes);
                if self.pause_at(context.link, buffer, line_start, line_offset, skipped) {
                    self.progress.at = line_start;
                    return corrupt;
                }
            }
            let skipped = take(
                self,
                context,
                buffer,
                line_start..start + line_feed,
                1,
                line_offset,
            );
            if skipped > 0 {
                let (first, bytes) = corrupt.unwrap_or((line_offset, 0));
                corrupt = Some((first, bytes + skipped));
            }
            line_start = start + line_feed + 1;
            if slice.ends_at(line_start) && line_start < end {
                self.progress.at = line_start;
                return corrupt;
            }
        }
        self.progress.at = end;
        corrupt
    }

    /// Takes frames of the local driver. Returns the offset of the first corrupt frame and the
    /// number of corrupt bytes; sets `progress.at` to the end of the last frame taken.
    fn take_frames(
        &mut self,
        context: &mut ReadContext<'_>,
        slice: &mut Slice<'_>,
        buffer: &[u8],
        range: Range<usize>,
        offset: u64,
    ) -> Option<(u64, u64)> {
        let mut corrupt: Option<(u64, u64)> = None;
        let mut at = range.start;
        while at < range.end {
            let frame_offset = offset + (at - range.start) as u64;
            let (message, length) = match first_frame(&buffer[at..range.end]) {
                Frame::Whole { message, length } => (Some(message), length),
                // Corruption between frames, up to the start of the next one.
                Frame::Incomplete | Frame::Corrupt => {
                    (None, next_frame(&buffer[at..range.end]).max(1))
                }
            };
            if self.assembler.is_due() || length >= MARK_BYTES {
                let skipped = corrupt.map_or(0, |(_, bytes)| bytes);
                if self.pause_at(context.link, buffer, at, frame_offset, skipped) {
                    self.progress.at = at;
                    return corrupt;
                }
            }
            match message.and_then(local::decode) {
                Some(found) => {
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
                    self.take_entry(
                        &entry,
                        frame_offset,
                        length,
                        &buffer[..at],
                        context.max_line_bytes,
                    );
                }
                None => {
                    let (first, bytes) = corrupt.unwrap_or((frame_offset, 0));
                    corrupt = Some((first, bytes + length as u64));
                }
            }
            at += length;
            if slice.ends_at(at) && at < range.end {
                self.progress.at = at;
                return corrupt;
            }
        }
        self.progress.at = range.end;
        corrupt
    }

    /// Takes one physical line, `line` of the buffer, followed by `line_feed` bytes of line
    /// feed. Returns how many of its bytes were not part of a record.
    #[inline]
    fn take_line(
        &mut self,
        context: &mut ReadContext<'_>,
        buffer: &[u8],
        line: Range<usize>,
        line_feed: usize,
        offset: u64,
    ) -> u64 {
        let (preceding, rest) = buffer.split_at(line.start);
        let text = &rest[..line.len()];
        if let Some(entry) = context.decoder.decode(text) {
            let source_bytes = text.len() + line_feed;
            self.take_entry(
                &entry,
                offset,
                source_bytes,
                preceding,
                context.max_line_bytes,
            );
            return 0;
        }
        self.take_unusual(context, buffer, line, line_feed, offset)
    }

    /// As [`Tailer::take_line`], for the container runtime interface. Skips bytes up to where
    /// an entry begins.
    #[inline]
    fn take_cri_line(
        &mut self,
        context: &mut ReadContext<'_>,
        buffer: &[u8],
        line: Range<usize>,
        line_feed: usize,
        offset: u64,
    ) -> u64 {
        let text = &buffer[line.clone()];
        let mut skipped = 0;
        let entry = context.cri.decode(text).or_else(|| {
            skipped = context.cri.resync(text)?;
            context.cri.decode(&text[skipped..])
        });
        let Some(entry) = entry else {
            if text.is_empty() {
                self.assembler.pass_over(line_feed as u64);
                return 0;
            }
            return (text.len() + line_feed) as u64;
        };
        let source_bytes = text.len() - skipped + line_feed;
        let preceding = &buffer[..line.start + skipped];
        let offset = offset + skipped as u64;
        self.take_entry(
            &entry,
            offset,
            source_bytes,
            preceding,
            context.max_line_bytes,
        );
        skipped as u64
    }

    #[cold]
    fn take_unusual(
        &mut self,
        context: &mut ReadContext<'_>,
        buffer: &[u8],
        line: Range<usize>,
        line_feed: usize,
        offset: u64,
    ) -> u64 {
        let source_bytes = line.len() + line_feed;
        let mut left = source_bytes;
        // The last entry accounts for all remaining bytes that are neither corrupt nor another
        // record's: its own and the line feed.
        let mut last: Option<(OwnedEntry, usize)> = None;
        let unusual = for_each_unusual(&buffer[line.clone()], |owned, length| {
            if let Some((owned, length)) = last.replace((owned, length)) {
                let length = length.min(left);
                left -= length;
                self.take_owned(context, buffer, line.start, &owned, length, offset);
            }
        });
        let Some((last, _)) = last else {
            if unusual.skipped > 0 {
                return source_bytes as u64;
            }
            // An empty line, or a record without text.
            self.assembler.pass_over(source_bytes as u64);
            return 0;
        };
        // Invalid UTF-8 counts for more bytes than it took.
        let skipped = unusual.skipped.min(left);
        self.take_owned(context, buffer, line.start, &last, left - skipped, offset);
        skipped as u64
    }

    fn take_owned(
        &mut self,
        context: &ReadContext<'_>,
        buffer: &[u8],
        line_start: usize,
        owned: &OwnedEntry,
        source_bytes: usize,
        offset: u64,
    ) {
        let entry = Entry {
            time: owned.time.unwrap_or_else(wall_clock),
            stream: owned.stream,
            text: owned.text.as_bytes(),
            ends_line: owned.ends_line,
            is_utf8: true,
            attrs: &owned.attrs,
        };
        let preceding = &buffer[..line_start + owned.at];
        let offset = offset + owned.at as u64;
        self.take_entry(
            &entry,
            offset,
            source_bytes,
            preceding,
            context.max_line_bytes,
        );
    }

    // Called once per line from four places: the call alone costs seven instructions.
    #[inline(always)]
    fn take_entry(
        &mut self,
        entry: &Entry<'_>,
        offset: u64,
        source_bytes: usize,
        preceding: &[u8],
        max_line_bytes: usize,
    ) {
        let Some(front) = self.generations.front() else {
            return;
        };
        if (Position {
            generation: front.number,
            offset,
        }) < self.accepted_before[entry.stream.index()]
        {
            return self.assembler.pass_over(source_bytes as u64);
        }
        self.assembler
            .take(entry, source_bytes, max_line_bytes, || {
                front.resume_at(offset, preceding)
            });
    }

    /// Delivers what is still open, since nothing will complete it.
    pub fn flush_open(&mut self, link: &Link) {
        if self.assembler.is_open() {
            self.assembler.close();
            self.push_closed(link);
        }
    }

    /// Delivers what is open and whose [`Tailer::grace`] is over, after nothing was read for
    /// `silence`.
    pub fn flush_after(&mut self, silence: Duration, link: &Link) {
        self.assembler.close_after(silence);
        self.push_closed(link);
    }

    fn push_closed(&mut self, link: &Link) {
        if let Some(front) = self.generations.front() {
            let resume = front.resume_here();
            self.push(link, resume, false, ReadBytes::default());
        }
    }

    /// Delivers the rest of a gone container whose log has been read, and removes it from the
    /// checkpoint.
    pub fn finish(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        while !self.generations.is_empty() {
            self.finish_front(context)?;
        }
        self.forget(context.link);
        Ok(())
    }

    /// Ends the log of a gone container that can no longer be read: delivers what was read,
    /// counts the rest as lost and removes it from the checkpoint.
    pub fn give_up(&mut self, link: &Link) {
        self.flush_open(link);
        let generations = self
            .generations
            .iter()
            .filter(|generation| generation.unread() > 0)
            .count() as u64;
        let bytes = self.generations.iter().map(Generation::unread).sum();
        self.account().abandon(Abandoned { bytes, generations });
        self.generations.clear();
        self.forget(link);
    }

    /// Removes the container from the checkpoint once all its batches are accepted.
    pub fn forget(&self, link: &Link) {
        link.leave(*self.id());
    }

    /// Where reading begins, or would have begun.
    pub fn start(&self) -> Start {
        self.start
    }

    /// Changes where reading begins; no file may be open.
    pub fn set_start(&mut self, start: Start) {
        self.start = start;
    }

    /// Finishes the front file, which has been read to its last line feed and is no longer
    /// written: what follows the line feed is a record without one, or a truncated one.
    fn finish_front(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        let Some(front) = self.generations.front_mut() else {
            return Ok(());
        };
        let range = front.read_unfinished(context.buffer)?;
        let buffer = std::mem::take(context.buffer);
        if !range.is_empty() {
            let offset = front.read_offset();
            let path = front.path.clone();
            let layout = front.layout();
            self.assembler.set_tagged(layout == Layout::CriLines);
            self.progress = SliceProgress {
                is_last: true,
                ..SliceProgress::from(range.start)
            };
            let skipped = match layout {
                Layout::JsonLines => {
                    self.take_last(context, &buffer, range.clone(), offset, Tailer::take_line)
                }
                Layout::CriLines => self.take_last(
                    context,
                    &buffer,
                    range.clone(),
                    offset,
                    Tailer::take_cri_line,
                ),
                // A frame without its end was never completed.
                Layout::LocalFrames => range.len() as u64,
            };
            if skipped > 0 {
                self.report_corrupt(context.link, path, offset, skipped);
            }
            if let Some(front) = self.generations.front_mut() {
                front.consume(&buffer, range.end, range.end);
                let resume = front.resume_here();
                let SliceProgress {
                    pushed,
                    skipped_pushed,
                    ..
                } = self.progress;
                let skipped = skipped - skipped_pushed;
                self.push(
                    context.link,
                    resume,
                    true,
                    ReadBytes {
                        total: (range.end - pushed) as u64,
                        skipped,
                    },
                );
            }
        }
        *context.buffer = buffer;
        // A restarted container does not continue a line of its previous run.
        let [front, next @ ..] = &*self.generations.make_contiguous() else {
            return Ok(());
        };
        if !next
            .iter()
            .any(|next| next.run == front.run && !next.is_empty_now())
        {
            self.flush_open(context.link);
        }
        self.next_seen = None;
        if let Some(front) = self.generations.pop_front() {
            if let Some(reason) = front.damage() {
                self.account().abandon(Abandoned {
                    bytes: 0,
                    generations: 1,
                });
                let (path, reason) = (front.path.clone(), reason.to_owned());
                context.link.report(Event::DamagedArchive { path, reason });
            }
            self.assembler.file_ended(Some(front.resume_here()));
            self.seen.remember(KnownFile {
                id: front.id,
                fingerprint: front.fingerprint(),
            });
            if !self.generations.is_empty() {
                context.link.tally.rotations.add_one();
            }
            self.end_doubt();
            let is_copy_of =
                |next: &Generation| front.plain_file().is_some() && next.id.birth < front.id.birth;
            // If this was a copy of the next file, its checkpoint is the one that says what
            // was read.
            if self.generations.front().is_some_and(is_copy_of) {
                return Ok(());
            }
        }
        self.progress_to_front(context.link);
        Ok(())
    }

    /// Queues a checkpoint at the start of the new front file: after a stop, reading must
    /// resume there and not in the file before it, even if the new one is empty.
    pub(in crate::source) fn progress_to_front(&mut self, link: &Link) {
        if let Some(next) = self.generations.front().filter(|next| next.id.birth != 0) {
            let resume = next.resume_at_start();
            self.push_progress(link, resume);
        }
    }

    /// Takes the end of a file: usually a line without its line feed, but complete lines may
    /// have been written since the last read. Returns the number of bytes that were not part
    /// of a record.
    fn take_last(
        &mut self,
        context: &mut ReadContext<'_>,
        buffer: &[u8],
        range: Range<usize>,
        offset: u64,
        take: impl Fn(&mut Tailer, &mut ReadContext<'_>, &[u8], Range<usize>, usize, u64) -> u64,
    ) -> u64 {
        let whole =
            memchr::memrchr(b'\n', &buffer[range.clone()]).map_or(0, |line_feed| line_feed + 1);
        let middle = range.start + whole;
        let mut slice = Slice::whole(context.link);
        let corrupt = self.take_lines(
            context,
            &mut slice,
            buffer,
            range.start..middle,
            offset,
            &take,
        );
        let skipped = corrupt.map_or(0, |(_, bytes)| bytes);
        if middle == range.end {
            return skipped;
        }
        skipped
            + take(
                self,
                context,
                buffer,
                middle..range.end,
                0,
                offset + whole as u64,
            )
    }

    /// Drops a rotated file that cannot be read, which must not block those after it.
    fn give_up_front(&mut self, link: &Link, error: &io::Error) {
        if let Some(front) = self.generations.pop_front() {
            self.assembler.file_ended(None);
            self.seen.remember(KnownFile {
                id: front.id,
                fingerprint: front.fingerprint(),
            });
            let unread = front.unread();
            self.account().abandon(Abandoned {
                bytes: unread,
                generations: 1,
            });
            let (path, reason) = (front.path, error.to_string());
            link.tally.read_errors.add_one();
            link.report(Event::GenerationUnreadable {
                path,
                reason,
                unread,
            });
        }
    }

    fn report_corrupt(&mut self, link: &Link, path: PathBuf, offset: u64, bytes: u64) {
        self.corrupt
            .add(Amount { bytes, records: 0 }, Instant::now(), |corrupt| {
                link.report(Event::Corrupt {
                    path,
                    offset,
                    bytes: corrupt.bytes,
                })
            });
    }

    /// Queues a checkpoint without records.
    pub(in crate::source) fn push_progress(&mut self, link: &Link, resume: StreamCheckpoint) {
        self.push(link, resume, true, ReadBytes::default());
    }

    /// Queues what was built. `resume` is the end of `read`, the bytes read; the checkpoint of
    /// a stream that an earlier run took further does not move back.
    fn push(&mut self, link: &Link, resume: StreamCheckpoint, always: bool, read: ReadBytes) {
        let moves = self.moves(resume);
        self.assembler.push(link, moves, always, read);
    }

    fn moves(&self, resume: StreamCheckpoint) -> PerStream<Option<StreamCheckpoint>> {
        let number = self.generations.front().map_or(0, |front| front.number);
        let here = Position {
            generation: number,
            offset: resume.offset,
        };
        self.accepted_before
            .map(|accepted| (here >= accepted).then_some(resume))
    }
}
