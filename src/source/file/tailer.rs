//! The log of one container: reads its files in order into the assembler, and queues the
//! checkpoints that its batches carry to the host.

use std::io;
use std::ops::Range;
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
use crate::source::budget::HeldFile;
use crate::source::file::accepted::{advances, Accepted};
use crate::source::file::copies::{archive_of, copies_of, Copies};
use crate::source::file::entries::{Entries, Taken};
use crate::source::file::generation::{Found, Generation};
use crate::source::file::listing::{self, ListedFile};
use crate::source::file::losses::Losses;
use crate::source::file::open_files::OpenFiles;
use crate::source::file::resume::{self, Plan};
use crate::source::file::search::{Search, Sought};
use crate::source::slice::{LineCost, Slice};
use crate::telemetry::account::{wall_clock, Account};
use crate::telemetry::activity::Doing;
use crate::telemetry::metrics::Survey;

/// Attempts to open the files while a rotation changes their names.
const OPEN_ATTEMPTS: usize = 5;

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
    pub(in crate::source) files: OpenFiles,
    start: Start,
    pub(super) search: Search,
    assembler: Assembler,
    accepted: Accepted,
    pub(in crate::source) losses: Losses,
    pub(in crate::source) cost: LineCost,
    unread: u64,
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
            files: OpenFiles::new(files, &account),
            start,
            search: Search::default(),
            losses: Losses::new(Arc::clone(&account)),
            assembler: Assembler::new(account, identity),
            accepted: Accepted::default(),
            cost: LineCost::default(),
            unread: 0,
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
        self.files.log()
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
        self.files.front().map(|front| front.run)
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
        !self.files.is_empty() || self.search.is_under_way()
    }

    /// How many files of the log have been found so far; it only grows.
    pub fn files_met(&self) -> u32 {
        self.files.next_number()
    }

    /// The files that may still be written: usually just the one being read.
    pub fn written_files(&self) -> impl Iterator<Item = &std::fs::File> {
        self.files.iter().filter_map(Generation::plain_file)
    }

    /// How long after its last entry something open counts as complete.
    pub fn grace(&self) -> Option<Duration> {
        self.assembler.grace()
    }

    /// Adds the open files and lines to a survey.
    pub fn add_to(&self, survey: &mut Survey) {
        survey.files_open += self.files.len() as u64;
        survey.open_lines += self.assembler.open_lines();
    }

    /// Ends reading and returns where another source continues. Queued records count as
    /// delivered.
    pub fn hand_over(&mut self) -> ContainerCheckpoint {
        if let Some(front) = self.files.front() {
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
    fn note_unread(&mut self) {
        let unread = self.files.unread();
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
            if !self.search.is_under_way() && self.files.is_empty() {
                self.refresh(context.link)?;
            }
            return Ok(Step::More);
        }
        loop {
            let Some(front) = self.files.front_mut() else {
                return Ok(Step::AtEnd { has_read: false });
            };
            self.accepted.check(front)?;
            context
                .link
                .activity
                .is(Doing::Reading, self.assembler.account().id());
            let found = match front.read(context.buffer) {
                Ok(found) => found,
                Err(error) if self.files.len() > 1 && is_permanent(&error) => {
                    self.give_up_front(context.link, &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let vanished = front.take_vanished();
            if vanished > 0 {
                // `found` belongs to the file, which is no longer the front once copies are
                // opened.
                let (is_unread, path) = (front.read_offset() == 0, front.path.clone());
                if is_unread && self.files.opens_unread_copies()? {
                    continue;
                }
                self.losses.truncated(context.link, path, vanished);
            }
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
                    if offset == 0 && self.files.opens_unread_copies()? {
                        continue;
                    }
                    let has_more =
                        has_more | self.take_entries(context, layout, start..end, filled);
                    return Ok(if has_more || self.files.len() > 1 {
                        Step::More
                    } else {
                        Step::AtEnd { has_read: true }
                    });
                }
                Found::Skipped { offset, bytes } => {
                    self.pass_corrupt(context.link, offset, bytes);
                    return Ok(Step::More);
                }
                Found::Truncated => {
                    if !self.restart_truncated(context.link)? {
                        return Ok(Step::More);
                    }
                }
                // dockerd rotates right before a write. While all following files are empty,
                // someone renamed the log and the runtime still writes to this file.
                Found::AtEnd { .. } if self.files.has_next() => {
                    if let Some(due) = self.files.lingers_until(context.now) {
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
                Found::AtEnd { .. }
                    if self.files.is_any_emptied() && self.files.opens_unread_copies()? =>
                {
                    self.files.forget_vanished();
                }
                Found::AtEnd { .. } => return Ok(Step::AtEnd { has_read: false }),
            }
        }
    }

    /// Counts bytes that the front file has skipped.
    fn pass_corrupt(&mut self, link: &Link, offset: u64, bytes: u64) {
        let Some(front) = self.files.front() else {
            return;
        };
        let (path, resume) = (front.path.clone(), front.resume_here());
        let is_hole = front.is_behind_hole();
        self.losses.corrupt(link, path, offset, bytes);
        let read = ReadBytes {
            total: bytes,
            skipped: bytes,
        };
        if is_hole {
            // The checkpoint of what was read before is more precise.
            self.assembler.push(link, [None, None], true, read);
        } else {
            self.push(link, resume, true, read);
        }
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
        let file = self.files.front_mut()?;
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
        let Some(front) = self.files.front_mut() else {
            return;
        };
        front.consume(context.buffer, taken.end, filled);
        let resume = front.resume_here();
        if let Some((offset, bytes)) = taken.corrupt {
            let path = front.path.clone();
            self.losses.corrupt(context.link, path, offset, bytes);
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
        if let Some(front) = self.files.front() {
            let resume = front.resume_here();
            self.push(link, resume, false, ReadBytes::default());
        }
    }

    /// Delivers the rest of a gone container whose log has been read, and removes it from the
    /// checkpoint.
    pub fn finish(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        while !self.files.is_empty() {
            self.finish_front(context)?;
        }
        self.forget(context.link);
        Ok(())
    }

    /// Ends the log of a gone container that can no longer be read: delivers what was read,
    /// counts the rest as lost and removes it from the checkpoint.
    pub fn give_up(&mut self, link: &Link) {
        self.flush_open(link);
        self.losses.given_up(self.files.iter());
        self.files.clear();
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
        let Some(front) = self.files.front_mut() else {
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
        if !self.files.may_continue() {
            self.flush_open(context.link);
        }
        let Some(front) = self.files.close_front() else {
            return Ok(());
        };
        if let Some(reason) = front.damage() {
            let (path, reason) = (front.path.clone(), reason.to_owned());
            self.losses.damaged(context.link, path, reason);
        }
        self.assembler.file_ended(Some(front.resume_here()));
        let Some(next) = self.files.front() else {
            return Ok(());
        };
        context.link.tally.rotations.add_one();
        if let Some(streams) = self.accepted.reaches(next.number) {
            self.assembler.end_skip(streams);
        }
        // If this was a copy of the next file, its checkpoint is the one that says what was
        // read.
        if front.plain_file().is_none() || next.id.birth >= front.id.birth {
            self.progress_to_front(context.link);
        }
        Ok(())
    }

    /// Queues a checkpoint at the start of the new front file: after a stop, reading must
    /// resume there and not in the file before it, even if the new one is empty.
    fn progress_to_front(&mut self, link: &Link) {
        if let Some(next) = self.files.front().filter(|next| next.id.birth != 0) {
            let resume = next.resume_at_start();
            self.push(link, resume, true, ReadBytes::default());
        }
    }

    /// Drops a rotated file that cannot be read, which must not block those after it.
    fn give_up_front(&mut self, link: &Link, error: &io::Error) {
        if let Some(front) = self.files.close_front() {
            self.assembler.file_ended(None);
            let unread = front.unread();
            self.losses.unreadable(link, front.path, error, unread);
        }
    }

    /// Queues what was built. `resume` is the end of `read`, the bytes read; the checkpoint of
    /// a stream that an earlier run took further does not move back.
    fn push(&mut self, link: &Link, resume: StreamCheckpoint, always: bool, read: ReadBytes) {
        let number = self.files.front().map_or(0, |front| front.number);
        let advances = advances(self.accepted.within(number), resume);
        self.assembler.push(link, advances, always, read);
    }

    /// Lists the folder and opens every file of the log that is not known yet. Cheap if
    /// nothing changed.
    pub fn refresh(&mut self, link: &Link) -> io::Result<()> {
        let now = Instant::now();
        self.files.settle(now);
        for _ in 0..OPEN_ATTEMPTS {
            let known = self.files.next_number();
            let (listed, surplus) = self.files.list()?;
            let metadata = self.assembler.metadata();
            self.losses.passed_over(link, metadata, surplus as u64);
            let opened = match self.files.is_empty() {
                true => self.open_first(&listed, link),
                false => self.files.open_newer(&listed, &self.losses, link),
            };
            match opened {
                // A name changed between listing and opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            }
            // A search for what was truncated goes on.
            if self.search.is_under_way() {
                if self.files.is_empty() {
                    return Ok(());
                }
            } else {
                self.search.end();
            }
            let missed = self.files.take_missed(known, listed.len(), now);
            self.losses.missed(link, self.assembler.metadata(), missed);
            self.note_unread();
            return Ok(());
        }
        // The names keep changing; the next look catches up.
        Ok(())
    }

    fn open_first(&mut self, listed: &[ListedFile], link: &Link) -> io::Result<()> {
        let Some(last) = listed.len().checked_sub(1) else {
            // Files that appear later are new and are read from their first byte.
            if self.start == Start::End {
                self.start = Start::Head;
            }
            return Ok(());
        };
        let plan = match &self.start {
            Start::Head => Plan::default(),
            Start::End => Plan {
                first: last,
                ..Plan::default()
            },
            Start::Saved(saved) => {
                let is_pod = self.files.log().current().is_none();
                let number = self.files.next_number();
                let plan = resume::plan(listed, saved, is_pod, number, &mut self.search)?;
                let Some(plan) = plan else { return Ok(()) };
                self.assembler.resume_from(saved, plan.by_time);
                plan
            }
        };
        if let Some(lost) = plan.lost {
            self.losses.lost(link, self.assembler.metadata(), lost);
        }
        self.files
            .open_first(listed, plan.first, plan.front, &self.losses, link)?;
        self.accepted = plan.accepted;
        if let (Start::End, Some(current)) = (self.start, self.files.back_mut()) {
            current.seek_to_end()?;
            let resume = current.resume_here();
            self.push(link, resume, true, ReadBytes::default());
        }
        // If all files vanish and new ones appear, those are read from the start.
        self.start = Start::Head;
        Ok(())
    }

    /// Counts a new current file that inotify reported.
    pub fn file_made(&mut self, name: &str) {
        self.files.made(name);
    }

    /// Handles lost inotify events.
    pub fn notices_lost(&mut self, now: Instant) {
        self.files.notices_lost(now);
    }

    /// Whether the log's name belongs to another file than the newest open one; for folders
    /// that cannot be watched.
    pub fn is_rotated(&self) -> bool {
        self.files.is_rotated()
    }

    /// Handles a truncation of the front file. If someone copied it first (logrotate's
    /// copytruncate), the unread rest is in the copy, and what was written since is in later
    /// copies. Returns `false` if a file must be decompressed further to tell.
    fn restart_truncated(&mut self, link: &Link) -> io::Result<bool> {
        let Some(front) = self.files.front() else {
            return Ok(true);
        };
        let (number, resume) = (front.number, front.resume_here());
        let restarted = front.restarted(number)?;
        let (path, unread) = (front.path.clone(), front.unread());
        let copies = if resume.has_no_file() {
            Some(Copies::default())
        } else {
            let listed = self.files.list_copies()?;
            copies_of(front, &resume, &listed, &self.files, &mut self.search)?
        };
        let Some(copies) = copies else {
            return Ok(false);
        };
        self.search.end();
        self.accepted.forget(number);
        let is_copied = !copies.unread.is_empty();
        if !is_copied {
            self.flush_open(link);
        }
        self.losses
            .truncated(link, path, if is_copied { 0 } else { unread });
        self.assembler.file_ended(Some(resume));
        self.files.restart_front(restarted, copies);
        Ok(true)
    }

    /// Checks the open files: updates their sizes and returns the deleted ones that still have
    /// unread data.
    pub fn survey(&mut self, now: Instant) -> Vec<HeldFile> {
        let held = self.files.survey(now);
        self.note_unread();
        held
    }

    /// Whether a file without a name has unread data.
    pub fn holds_deleted(&mut self) -> bool {
        !self.survey(Instant::now()).is_empty()
    }

    /// Drops a deleted file that has not been read to its end, unless an archive of it is
    /// found.
    pub fn drop_held(&mut self, number: u32, link: &Link, reason: String) {
        let Some(index) = self.files.index_of(number) else {
            return;
        };
        match self.find_archive(index) {
            Ok(Sought::Here(archive)) => {
                self.files.replace(index, *archive);
                self.search.end();
                return self.note_unread();
            }
            // The next check continues the search.
            Ok(Sought::Unfinished) => return,
            Ok(Sought::Elsewhere) | Err(_) => self.search.end(),
        }
        if index == 0 {
            self.flush_open(link);
        }
        if let Some(dropped) = self.files.drop_file(index) {
            let metadata = self.assembler.metadata();
            self.losses
                .dropped(link, metadata, dropped.unread(), reason);
        }
        if index == 0 {
            self.progress_to_front(link);
        }
        self.note_unread();
    }

    fn find_archive(&mut self, index: usize) -> io::Result<Sought> {
        let Some(deleted) = self.files.get(index) else {
            return Ok(Sought::Elsewhere);
        };
        let listed = listing::list(self.files.log())?;
        archive_of(deleted, &listed, &self.files, &mut self.search)
    }
}
