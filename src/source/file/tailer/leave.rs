//! The end of reading a log: the container is gone, or another source continues.

use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::position::Timestamp;
use crate::pipeline::hold_back::HoldBack;
use crate::runtime::safe_path::SafePath;
use crate::source::file::feed::ReadContext;
use crate::source::file::gaps::Missing;
use crate::source::file::generation::HeldFile;
use crate::source::file::replaced::Copied;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;

impl Tailer {
    /// Ends reading and returns where another source continues. Queued records count as
    /// delivered.
    pub fn hand_over(&mut self) -> ContainerCheckpoint {
        match self.rotation.files.open.front() {
            Some(front) => self.feed.assembler.handed_over(front.resume_here()),
            None => self.position(),
        }
    }

    /// Where reading would resume.
    pub fn position(&self) -> ContainerCheckpoint {
        if let Some(front) = self.rotation.files.open.front() {
            return self.feed.assembler.position(front.resume_here());
        }
        self.rotation.start().position()
    }

    /// Delivers the rest of a gone container whose log has been read, and removes it from the
    /// checkpoint.
    pub fn finish(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        if self.is_ended() {
            self.leave_rest(context.link);
        }
        while !self.rotation.files.open.is_empty() {
            self.finish_front(context)?;
        }
        self.report_lost(context.link);
        self.rotation
            .count_missing(&self.feed, context.link, context.now, true);
        context.link.leave(*self.id());
        Ok(())
    }

    /// Delivers the rest of a log that has been read and is no longer written, and closes it.
    /// Returns where another source continues.
    pub fn close(&mut self, context: &mut ReadContext<'_>) -> io::Result<ContainerCheckpoint> {
        while self.rotation.files.open.len() > 1 {
            self.finish_front(context)?;
        }
        // It is read again, and may still be written.
        let is_whole = !self.feed.assembler.holds_back();
        if let Some(last) = self.rotation.files.open.front_mut().filter(|_| is_whole) {
            self.feed.take_rest(last, context)?;
        }
        self.flush_open(context.link);
        Ok(self.hand_over())
    }

    /// Holds these entries back; see [`crate::pipeline::hold_back`].
    pub fn hold_back(&mut self, which: HoldBack) {
        self.feed.assembler.hold_back(which);
    }

    /// The time of the first entry that was held back.
    pub fn held_since(&self) -> Option<Timestamp> {
        self.feed.assembler.held_since()
    }

    /// Whether a file is missing that another look tells more about.
    pub fn has_gap(&self) -> bool {
        self.rotation.gaps.is_any_open()
    }

    /// Reading stops: nobody can open again what was deleted. Counts what is unread in such files, of
    /// which no archive is left; the next start resumes behind them.
    pub fn lose_deleted(&mut self, link: &Link) {
        let now = Instant::now();
        self.rotation.count_missing(&self.feed, link, now, true);
        let deleted = self.survey(now);
        if deleted.is_empty() {
            return self.leave_removed_folder(link);
        }
        let is_any_left = deleted.len() < self.rotation.files.open.len();
        let is_whole = !is_any_left && !self.feed.assembler.is_open();
        let end = is_whole.then(|| self.hand_over().map(StreamCheckpoint::counted));
        for file in deleted {
            self.drop_held(file.number, link, "reading stops".to_owned());
        }
        if let Some(end) = end.filter(|_| self.rotation.files.open.is_empty()) {
            link.begin_at(*self.id(), end);
        }
    }

    /// The folder that was read is removed, and everything in it is read: the next start resumes in the
    /// copy of it that is left, if that has the same file.
    fn leave_removed_folder(&mut self, link: &Link) {
        let files = &self.rotation.files.open;
        let (Some(front), Some(next)) = (files.front(), files.get(1)) else {
            return;
        };
        let is_elsewhere = front.path.parent() != Some(&*self.rotation.log.dir);
        if is_elsewhere && front.is_deleted() && !self.feed.assembler.is_open() {
            self.feed.progress_to(next, link);
        }
    }

    /// Whether reading is to resume in a file, and none was opened yet.
    pub fn resumes_in_file(&self) -> bool {
        // What came after a position by time was not read from the file.
        let is_in_file = |stream: &StreamCheckpoint| {
            !stream.has_no_file() && !stream.is_counted() && !stream.is_by_time
        };
        matches!(self.rotation.start(), Start::Saved(saved) if saved.iter().any(is_in_file))
    }

    /// Whether some files are read, and nothing shows that the one of the position is not among them.
    pub fn may_have_file_of_position(&self) -> bool {
        self.is_open() && !self.feed.losses.is_saved_gone
    }

    /// The file in which reading was to resume is gone, for a reason that is reported elsewhere.
    /// Counted once, also over restarts; returns whether it is counted now.
    pub fn lose_saved(&mut self, link: &Link) -> bool {
        self.feed.losses.explained();
        let is_lost = self.resumes_in_file();
        if let (true, Start::Saved(saved)) = (is_lost, self.rotation.start()) {
            self.feed.losses.deleted();
            let saved = saved.map(StreamCheckpoint::counted);
            self.rotation.start_at(Start::Saved(saved));
            link.begin_at(*self.id(), saved);
        }
        is_lost
    }

    /// The runtime writes, or wrote, to a file that is gone. Counted once: a position in the file that
    /// took its place says that it was. Returns whether it is counted now.
    pub fn lose_replaced(&mut self, link: &Link) -> bool {
        let saved = self.feed.accepted.saved();
        let newest = self.rotation.files.open.back().map(|file| file.id);
        let is_known = |stream: &StreamCheckpoint| {
            stream.is_counted() || newest.is_some_and(|id| stream.is_in(id))
        };
        if saved.iter().any(is_known) {
            return false;
        }
        self.feed.losses.explained();
        self.feed.losses.deleted();
        let front = self.rotation.files.open.front();
        // A position that has moved since is in one of the files of now.
        if front.is_none_or(|front| front.number == 0 && front.bytes_read() == 0) {
            link.begin_at(*self.id(), saved.map(StreamCheckpoint::counted));
        }
        true
    }

    /// The file that comes after all the others was deleted. Counted once reading gets there, and once
    /// over all restarts: a position says that it was. Returns whether that is over.
    pub fn lose_newest(&mut self, path: &SafePath, link: &Link) -> bool {
        let files = &self.rotation.files.open;
        let Some(front) = files.front().filter(|front| {
            let is_at_end = files.len() == 1 && !front.has_more_now();
            is_at_end && !self.feed.assembler.is_open()
        }) else {
            return false;
        };
        let saved = self.feed.accepted.saved();
        if saved
            .iter()
            .any(|stream| stream.is_counted() && stream.offset == front.read_offset())
        {
            return true;
        }
        let missing = Missing {
            files: 1,
            path: path.clone(),
        };
        let metadata = self.feed.assembler.metadata();
        self.feed.losses.missing(link, metadata, missing);
        let here = front.resume_here().counted();
        self.feed.push_progress(front, link, here);
        true
    }

    /// Takes the file that somebody has made in the place of the one that was read before.
    pub fn take_copied(&mut self) -> Option<Copied> {
        self.rotation.copied.take()
    }

    /// Reports that the file in which reading was to resume is gone, if that is not reported yet.
    pub fn report_lost(&mut self, link: &Link) {
        let metadata = self.feed.assembler.metadata();
        self.feed.losses.report_lost(link, metadata);
    }

    /// Ends the log of a gone container that can no longer be read: delivers what was read,
    /// counts the rest as lost and removes it from the checkpoint.
    pub fn give_up(&mut self, link: &Link) {
        self.report_lost(link);
        self.feed.assembler.note_loss();
        self.flush_open(link);
        self.feed.losses.given_up(self.rotation.files.open.iter());
        self.rotation.files.open.clear();
        link.leave(*self.id());
    }

    /// Checks the open files: updates their sizes and returns the deleted ones that still have
    /// unread data.
    pub fn survey(&mut self, now: Instant) -> Vec<HeldFile> {
        let held = self.rotation.files.survey(now);
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
        self.rotation
            .drop_held(number, &mut self.feed, link, reason);
        self.note_unread();
    }
}
