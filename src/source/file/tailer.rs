//! The log of one container: reads its files in order into the assembler, and queues the
//! checkpoints that its batches carry to the host.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::link::Link;
use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::file::is_permanent;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::LogFiles;
use crate::source::file::feed::{Feed, ReadContext};
use crate::source::file::generation::Found;
use crate::source::file::rotation::{Rotation, Start};
use crate::source::file::tailer::at_rest::Reads;
use crate::source::slice::{LineCost, Slice};
use crate::telemetry::account::Account;
use crate::telemetry::activity::Doing;

pub mod at_rest;
mod end;
mod leave;
mod opened;

/// A log in which something was written this long ago and that was not read since is read with a
/// delay: more than the interval at which busy logs, and polled ones, are read.
const BEHIND: Duration = Duration::from_millis(500);

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
    pub(super) rotation: Rotation,
    pub(super) feed: Feed,
    pub(in crate::source) cost: LineCost,
    unread: u64,
    /// Everything written before this time has been seen.
    seen_until: Instant,
    /// When a slice last returned something.
    read_at: Instant,
    reads: Reads,
    /// As far as is known, nothing was written since `seen_until`.
    is_quiet: bool,
    /// Later entries are those of another container.
    end: Option<Timestamp>,
    /// It was read up to that.
    is_ended: bool,
    /// Something was unread when its files were closed, or a write was reported since.
    is_written_at_rest: bool,
    /// A file of it was gone when it was to be read on.
    is_resumed: bool,
}

impl Tailer {
    /// Creates a tailer that has opened nothing yet.
    pub fn new(
        account: Arc<Account>,
        files: LogFiles,
        start: Start,
        template: Arc<RecordTemplate>,
    ) -> Tailer {
        Tailer {
            rotation: Rotation::new(files, start),
            feed: Feed::new(account, template),
            cost: LineCost::default(),
            unread: 0,
            seen_until: Instant::now(),
            read_at: Instant::now(),
            reads: Reads::None,
            is_quiet: false,
            end: None,
            is_ended: false,
            is_written_at_rest: false,
            is_resumed: false,
        }
    }

    /// The id of the container.
    pub fn id(&self) -> &ContainerId {
        self.account().id()
    }

    /// The account of the log's bytes.
    pub fn account(&self) -> &Arc<Account> {
        self.feed.assembler.account()
    }

    /// The files of the log, by name.
    pub fn files(&self) -> &LogFiles {
        &self.rotation.log
    }

    /// The log is in another folder from now on, perhaps under the same name.
    pub fn move_to(&mut self, files: LogFiles) {
        self.rotation.move_to(files);
    }

    /// Name, image and state as last read.
    pub fn metadata(&self) -> &ContainerMetadata {
        self.feed.assembler.metadata()
    }

    /// Records built from now on use `template`.
    pub fn set_template(&mut self, template: Arc<RecordTemplate>, link: &Link) {
        self.feed.assembler.close_before(&template);
        self.push_closed(link);
        if template.multiline.is_by_expression() && !self.is_costly(Instant::now()) {
            self.cost.expect_untried();
        }
        self.feed.assembler.set_template(template);
    }

    /// The run of the container whose file is being read.
    pub fn run(&self) -> Option<u32> {
        self.rotation.files.run()
    }

    /// Whether the last slice was costly, or one was recently, or lines must be matched
    /// against an expression and none has been yet, or the next slice only decompresses.
    pub fn is_costly(&self, now: Instant) -> bool {
        self.rotation.search.is_under_way() || self.cost.is_costly(now)
    }

    /// The time of the last slice if it was slow, otherwise zero.
    pub fn slice_cost(&self) -> Duration {
        self.cost.last()
    }

    /// How long after its last entry something open counts as complete.
    pub fn grace(&self) -> Option<Duration> {
        self.feed.assembler.grace()
    }

    /// Reads one slice and queues its records.
    pub fn read_slice(&mut self, context: &mut ReadContext<'_>) -> io::Result<Step> {
        self.cost.begin();
        let step = match self.is_at_rest() && !self.may_have_news() {
            true => Ok(Step::AtEnd { has_read: false }),
            false => self.read_on(context),
        };
        if let Ok(Step::AtEnd { has_read }) = step {
            let now = context.now;
            self.seen_until = now;
            if has_read {
                self.note_read(now);
            } else {
                self.cost.rested(now);
                self.note_silence(now);
            }
            self.is_quiet = now.duration_since(self.read_at) > BEHIND;
        }
        self.note_unread();
        step
    }

    /// Its log was read to its end, and each write to it is reported from now on.
    pub fn awaits_notice(&mut self) {
        self.is_quiet = true;
        self.feed.assembler.rest();
    }

    /// A write to its log was reported. `is_first` says that it is the first one since
    /// [`Tailer::awaits_notice`].
    pub fn is_written(&mut self, is_first: bool, now: Instant) {
        self.is_quiet = false;
        if is_first {
            self.seen_until = now;
        }
    }

    /// Updates the unread bytes in the account.
    fn note_unread(&mut self) {
        let unread = self.rotation.files.lag();
        if std::mem::replace(&mut self.unread, unread) != unread {
            self.account().set_unread(unread);
        }
    }

    /// As [`Rotation::opens_unread_copies`]; what vanished is counted later if that fails.
    fn opens_copies_of_vanished(&mut self, vanished: u64) -> io::Result<bool> {
        let opens = self.rotation.opens_unread_copies(&self.feed);
        if let (Err(_), Some(front)) = (&opens, self.rotation.files.open.front_mut()) {
            front.put_back_vanished(vanished);
        }
        opens
    }

    fn read_on(&mut self, context: &mut ReadContext<'_>) -> io::Result<Step> {
        let link = context.link;
        if self.rotation.search.is_under_way() {
            link.activity.is(Doing::Reading, self.id());
            self.rotation.search.go_on()?;
            if !self.is_open() {
                self.refresh(link)?;
            }
            return Ok(Step::More);
        }
        self.wake(link)?;
        let is_behind = context.now.duration_since(self.seen_until) > BEHIND;
        loop {
            let Some(front) = self.rotation.files.open.front_mut() else {
                return Ok(Step::AtEnd { has_read: false });
            };
            self.feed.accepted.check(front)?;
            let account = self.feed.assembler.account();
            link.activity.is(Doing::Reading, account.id());
            let found = match front.read(context.buffer) {
                Ok(found) => found,
                Err(error) if self.rotation.files.open.len() > 1 && is_permanent(&error) => {
                    self.rotation.give_up_front(&mut self.feed, link, &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let vanished = front.take_vanished();
            if vanished > 0 {
                // `found` belongs to the file, which is no longer the front once copies are
                // opened.
                let (is_unread, path) = (front.read_offset() == 0, front.path.to_path_buf());
                if is_unread && self.opens_copies_of_vanished(vanished)? {
                    continue;
                }
                match is_behind {
                    true => self.feed.losses.truncated_behind(link, path, vanished),
                    false => self.feed.losses.truncated(link, path, vanished),
                }
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
                    // None of it has been read, so a truncation would go unnoticed. An archive is
                    // not truncated, and what was found in it cannot be read twice.
                    let is_checked = offset == 0 && !self.rotation.files.is_front_archive();
                    if is_checked && self.rotation.opens_unread_copies(&self.feed)? {
                        continue;
                    }
                    if is_checked {
                        self.rotation.expect_known(&mut self.feed)?;
                    }
                    let own = self.own_part(layout, &context.buffer[start..end]);
                    self.is_ended = start + own < end;
                    if own == 0 {
                        return Ok(Step::AtEnd { has_read: false });
                    }
                    let end = start + own;
                    let has_more =
                        has_more | self.take_entries(context, layout, start..end, filled);
                    return Ok(if has_more || self.rotation.files.open.len() > 1 {
                        Step::More
                    } else {
                        Step::AtEnd { has_read: true }
                    });
                }
                Found::Skipped { offset, bytes } => {
                    if let Some(front) = self.rotation.files.open.front() {
                        self.feed.skip(front, link, offset, bytes);
                    }
                    return Ok(Step::More);
                }
                Found::Truncated => {
                    let front = self.rotation.files.open.front();
                    let has_unread = front.is_some_and(|front| front.unread() > 0);
                    let is_behind = is_behind && (has_unread || !self.is_quiet);
                    let (rotation, feed) = (&mut self.rotation, &mut self.feed);
                    if !rotation.restart_truncated(feed, link, is_behind)? {
                        return Ok(Step::More);
                    }
                }
                // dockerd rotates right before a write. While all following files are empty,
                // someone renamed the log and the runtime still writes to this file.
                Found::AtEnd { .. } if self.rotation.files.has_next() => {
                    let grace = self.rotation.log.grace;
                    if let Some(due) = self.rotation.files.lingers_until(grace, context.now) {
                        return Ok(Step::Lingering(due));
                    }
                    if self.rotation.files.next_is_copy()? {
                        return Ok(Step::AtEnd { has_read: false });
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
                    if self.rotation.files.is_any_emptied()
                        && self.rotation.opens_unread_copies(&self.feed)? => {}
                Found::AtEnd { .. } => return Ok(Step::AtEnd { has_read: false }),
            }
        }
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
    ) -> bool {
        let Some(front) = self.rotation.files.open.front_mut() else {
            return false;
        };
        let (link, now) = (context.link, context.now);
        let (begins, end) = (range.start, range.end);
        let assembler = &mut self.feed.assembler;
        link.activity.is(Doing::Decoding, assembler.account().id());
        let is_matched = assembler.joins_lines();
        let mut slice = Slice::begin(link, begins, is_matched, context.slice_time);
        assembler.begin(link, range.len());
        let taken = self.feed.take(front, context, layout, range, &mut slice);
        self.cost.took(&slice, taken.end - begins, now);
        self.feed.push_taken(front, context, taken, filled, false);
        taken.end < end
    }

    /// Delivers what is still open, since nothing will complete it.
    pub fn flush_open(&mut self, link: &Link) {
        self.feed.flush_open(self.rotation.files.open.front(), link);
    }

    /// Delivers what is open and whose [`Tailer::grace`] is over, after nothing was read for
    /// `silence`.
    pub fn flush_after(&mut self, silence: Duration, link: &Link) {
        self.feed.assembler.close_after(silence);
        self.push_closed(link);
    }

    fn push_closed(&mut self, link: &Link) {
        let front = self.rotation.files.open.front();
        self.feed.push_closed(front, link);
    }

    /// Where reading begins, or would have begun.
    pub fn start(&self) -> Start {
        self.rotation.start()
    }

    /// Finishes the front file, which has been read to its last line feed and is no longer
    /// written.
    fn finish_front(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        let (files, feed, link) = (&mut self.rotation.files, &mut self.feed, context.link);
        // A successor has the rest, too.
        if !files.lets_successor_go_on()? {
            let Some(front) = files.open.front_mut() else {
                return Ok(());
            };
            feed.take_rest(front, context)?;
        }
        if !files.may_continue() {
            feed.flush_open(files.open.front(), link);
        }
        let Some(front) = files.close_front() else {
            return Ok(());
        };
        if let Some(reason) = front.damage() {
            let (path, reason) = (front.path.to_path_buf(), reason.to_owned());
            feed.losses.damaged(link, path, reason);
        }
        feed.assembler.file_ended(Some(front.resume_here()));
        let Some(next) = files.open.front_mut() else {
            return Ok(());
        };
        link.tally.rotations.add_one();
        let missing = next.follows_missing.take();
        if next.follows_loss || missing.is_some() {
            feed.assembler.note_loss();
        }
        if let Some(missing) = missing {
            self.rotation.gaps.reach(*missing, context.now);
        }
        feed.reaches(next)?;
        if next.repeats {
            feed.assembler.skip_taken();
        }
        // If this was a copy of the next file, its checkpoint is the one that says what was
        // read.
        if front.plain_file().is_none() || next.id.birth >= front.id.birth {
            feed.progress_to(next, link);
        }
        Ok(())
    }

    /// Lists the folder and opens every file of the log that is not known yet. Cheap if
    /// nothing changed.
    pub fn refresh(&mut self, link: &Link) -> io::Result<()> {
        self.wake(link)?;
        self.rotation.refresh(&mut self.feed, link)?;
        self.note_unread();
        Ok(())
    }

    /// Counts a new current file that inotify reported.
    pub fn file_made(&mut self, name: &str) {
        self.rotation.file_made(name);
    }

    /// Handles lost inotify events.
    pub fn notices_lost(&mut self, now: Instant) {
        self.rotation.notices_lost(now);
    }

    /// Whether the log's name belongs to another file than the newest open one; for folders
    /// that cannot be watched.
    pub fn is_rotated(&self) -> bool {
        self.rotation.is_rotated()
    }
}

#[cfg(test)]
mod tests;
