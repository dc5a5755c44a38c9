//! The files that are opened first: where reading begins, or resumes, and what was lost before that.

use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::delivery::link::Link;
use crate::source::file::accepted::Accepted;
use crate::source::file::feed::Feed;
use crate::source::file::gaps::missing_before;
use crate::source::file::last_lines::{after_time, before_last_lines};
use crate::source::file::listing::{Listed, UnreadableFile};
use crate::source::file::opening::open_from;
use crate::source::file::resume::{self, Lost, Plan};
use crate::source::file::rotation::{Rotation, Start};
use crate::telemetry::account::wall_clock;

impl Rotation {
    /// Opens the listed files from where reading begins.
    pub(super) fn open_first(
        &mut self,
        all: &Listed,
        feed: &mut Feed,
        link: &Link,
    ) -> io::Result<()> {
        let listed = &all.files[..];
        let Some(last) = listed.len().checked_sub(1) else {
            self.start_at(self.start().of_new_files());
            return Ok(());
        };
        let is_of_last = matches!(self.start(), Start::Last(_) | Start::End(_));
        match self.start() {
            Start::Last(count) => self.start_at(Start::Saved(before_last_lines(listed, count)?)),
            Start::End(first_start) => {
                let saved = after_time(listed, first_start, wall_clock())?;
                link.begin_at(*feed.assembler.account().id(), saved);
                self.start_at(Start::Saved(saved));
            }
            _ => {}
        }
        let start = self.start();
        let plan = match &start {
            Start::Head => Plan {
                accepted: Accepted::unknown(),
                ..Plan::default()
            },
            Start::After { saved, may_repeat } => {
                feed.assembler.resume_from(saved, [*may_repeat; 2]);
                Plan {
                    accepted: Accepted::unknown(),
                    ..Plan::default()
                }
            }
            // They are known by now.
            Start::End(_) | Start::Last(_) => Plan {
                first: last,
                ..Plan::default()
            },
            Start::Saved(saved) => {
                let is_pod = self.log.current().is_none();
                let number = self.files.next_number;
                let plan = resume::plan(listed, saved, is_pod, number, &mut self.search)?;
                let Some(plan) = plan else { return Ok(()) };
                feed.assembler.resume_from(saved, plan.by_time);
                plan
            }
        };
        let since = match start {
            Start::Head => 0,
            Start::End(_) | Start::Last(_) => u64::MAX,
            Start::Saved(_) if is_of_last => u64::MAX,
            Start::Saved(saved) => resume::unreadable_since(&saved, &plan, listed),
            Start::After { saved, .. } => resume::written_since(&saved),
        };
        let unreadable = all.unreadable.iter().filter(|file| file.modified >= since);
        let unreadable: Vec<&UnreadableFile> = unreadable.collect();
        let saved = match start {
            Start::Saved(saved) if !is_of_last => Some(saved),
            _ => None,
        };
        let number = self.files.next_number;
        self.files = open_from(listed, plan.first, plan.front, number, &feed.losses, link)?;
        if saved.is_some() && plan.accepted.is_lost == [false; 2] {
            self.note_missing(all, plan.first);
        }
        feed.accepted = plan.accepted;
        self.copied = plan.copied;
        if let (Some(saved), Some(lost)) = (saved, &plan.lost) {
            self.note_lost(&saved, lost, feed, link);
        }
        let was_read = std::mem::take(&mut self.is_start_read);
        // The file of the checkpoint is among them.
        if let Some(lost) = plan.lost.filter(|_| unreadable.is_empty() && !was_read) {
            feed.losses.lost(lost);
            // Without a current file it may have been deleted, which the next looks tell.
            if self.log.current().is_none() || listed[last].is_current() {
                feed.losses.report_lost(link, feed.assembler.metadata());
            }
        }
        for file in unreadable {
            feed.losses.not_supported(link, file);
        }
        if let Some(front) = self.files.open.front() {
            feed.expect_earlier(front, feed.accepted.is_lost)?;
        }
        // If all files vanish and new ones appear, those are read from the start.
        self.start_at(Start::Head);
        Ok(())
    }

    /// Notes which of the files that were just opened, from the listed one at `first` on, come after
    /// others that are missing. Those are counted once reading gets there.
    fn note_missing(&mut self, all: &Listed, first: usize) {
        for opened in &mut self.files.open {
            let place = all.files.iter().position(|file| file.id == opened.id);
            opened.follows_missing = place
                .and_then(|place| Some(Box::new(missing_before(&self.log, all, first, place)?)));
        }
    }

    /// Counts files that are missing where reading has got to. `is_last` says that nobody looks again.
    pub fn count_missing(&mut self, feed: &Feed, link: &Link, now: Instant, is_last: bool) {
        for missing in self.gaps.take_lasting(now, is_last) {
            feed.losses
                .missing(link, feed.assembler.metadata(), missing);
        }
    }

    /// Notes in the checkpoint that its file is gone, so that the next start does not count that
    /// again.
    fn note_lost(&self, saved: &ContainerCheckpoint, lost: &Lost, feed: &mut Feed, link: &Link) {
        let noted = [0, 1].map(|stream| match feed.accepted.is_lost[stream] {
            true => saved[stream].counted(),
            false => saved[stream],
        });
        link.begin_at(*feed.assembler.account().id(), noted);
        // What is in a file moves the position once it is read.
        let front = self.files.open.front().filter(|front| front.is_empty_now());
        if let (Lost::Generation(_), Some(front)) = (lost, front) {
            feed.progress_to(front, link);
        }
    }
}
