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
use crate::format::cri;
use crate::format::json_file::Decoder;
use crate::format::layout::Layout;
use crate::pipeline::assembler::{Assembler, ReadBytes};
use crate::pipeline::template::RecordTemplate;
use crate::runtime::docker::ContainerMetadata;
use crate::runtime::file::is_permanent;
use crate::runtime::id::ContainerId;
use crate::runtime::LogFiles;
use crate::source::file::accepted::{advances, Accepted};
use crate::source::file::create_counter::CreateCounter;
use crate::source::file::entries::{Entries, Taken};
use crate::source::file::generation::{Found, Generation};
use crate::source::file::known::{KnownFile, KnownFiles};
use crate::source::file::search::Search;
use crate::source::slice::{LineCost, Slice};
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
    pub(in crate::source) accepted: Accepted,
    pub(in crate::source) creates: CreateCounter,
    pub(in crate::source) missed: Paced,
    /// Reported that not all files are opened.
    pub(in crate::source) surplus_reported: bool,
    /// Truncations that lost nothing, and truncations that lost data.
    pub(in crate::source) truncated: [Paced; 2],
    corrupt: Paced,
    unread: u64,
    pub(in crate::source) cost: LineCost,
    /// When the file after the front one was first found to have content.
    next_seen: Option<Instant>,
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
            assembler: Assembler::new(account, identity),
            accepted: Accepted::default(),
            creates: CreateCounter::default(),
            missed: Paced::default(),
            surplus_reported: false,
            truncated: Default::default(),
            corrupt: Paced::default(),
            unread: 0,
            cost: LineCost::default(),
            next_seen: None,
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
            self.cost.is_untried();
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
        self.search.is_under_way() || self.cost.is_costly(now)
    }

    /// The time of the last slice if it was slow, otherwise zero.
    pub fn slice_cost(&self) -> Duration {
        self.cost.last()
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
        self.cost.begin();
        let step = self.read_on(context);
        if let Ok(Step::AtEnd { has_read: false }) = step {
            self.cost.rested(context.now);
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
            let Some(front) = self.generations.front_mut() else {
                return Ok(Step::AtEnd { has_read: false });
            };
            self.accepted.check(front)?;
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
                        has_more | self.take_entries(context, layout, start..end, filled);
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
    /// long. Never inlined: its instructions are counted (tests/instructions.rs).
    #[inline(never)]
    fn take_entries(
        &mut self,
        context: &mut ReadContext<'_>,
        layout: Layout,
        range: Range<usize>,
        filled: usize,
    ) -> bool {
        let (link, now, end) = (context.link, context.now, range.end);
        link.activity
            .is(Doing::Decoding, self.assembler.account().id());
        let is_matched = self.assembler.joins_lines();
        let mut slice = Slice::begin(link, range.start, is_matched, context.slice_time);
        self.assembler.begin(link, range.len());
        let begins = range.start;
        let Some(taken) = self.take_slice(context, layout, range, &mut slice) else {
            return false;
        };
        self.cost.took(&slice, taken.end - begins, now);
        self.push_taken(context, taken, filled, false);
        taken.end < end
    }

    /// Decodes the entries of a slice of the front file until `slice` ends.
    fn take_slice(
        &mut self,
        context: &mut ReadContext<'_>,
        layout: Layout,
        range: Range<usize>,
        slice: &mut Slice<'_>,
    ) -> Option<Taken> {
        let file = self.generations.front_mut()?;
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
        entries.take(layout, range, context.decoder, context.cri);
        Some(entries.taken)
    }

    /// Moves the front file to the end of what was taken of a slice, and queues the rest of
    /// it. `filled` bytes of the buffer are valid.
    fn push_taken(
        &mut self,
        context: &ReadContext<'_>,
        taken: Taken,
        filled: usize,
        is_last: bool,
    ) {
        let Some(front) = self.generations.front_mut() else {
            return;
        };
        front.consume(context.buffer, taken.end, filled);
        let resume = front.resume_here();
        if let Some((offset, bytes)) = taken.corrupt {
            let path = front.path.clone();
            self.report_corrupt(context.link, path, offset, bytes);
        }
        if is_last || taken.end > taken.pushed {
            let read = taken.unpushed();
            self.push(context.link, resume, is_last || read.skipped > 0, read);
        }
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
        if !range.is_empty() {
            let (layout, filled) = (front.layout(), range.end);
            let mut slice = Slice::whole(context.link);
            if let Some(taken) = self.take_slice(context, layout, range, &mut slice) {
                self.push_taken(context, taken, filled, true);
            }
        }
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
        let number = self.generations.front().map_or(0, |front| front.number);
        let advances = advances(self.accepted.within(number), resume);
        self.assembler.push(link, advances, always, read);
    }
}
