//! One container as the reader sees it: a look into its folder, and a read of its log.
//!
//! What is known of it is in its [`Description`], where it is read from in its [`LogSource`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::delivery::link::Link;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::{Api, Found, Runtime};
use crate::source::choose;
use crate::source::container::place::Place;
use crate::source::describe::Description;
use crate::source::file::feed::ReadContext;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::{Step, Tailer};
use crate::source::folder::Folder;
use crate::source::log_source::LogSource;
use crate::source::own_output::OwnOutput;
use crate::source::rate::RateLimit;
use crate::source::schedule::Next;
use crate::source::services::Surroundings;
use crate::source::watch::FileWatch;
use crate::telemetry::account::Account;

/// Interval between checks whether the host has accepted what it must accept before more of a
/// container is read: records it refused (`HELD_BACK_INTERVAL`) or has not been offered yet
/// (`CAUTIOUS_INTERVAL`).
const HELD_BACK_INTERVAL: Duration = Duration::from_millis(500);
const CAUTIOUS_INTERVAL: Duration = Duration::from_millis(10);
/// Interval between two questions whether metadata is still being written.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);

/// One container.
pub struct Container {
    about: Description,
    log: LogSource,
    rate: RateLimit,
    own_output: OwnOutput,
    folder: Folder,
    /// Another folder with it, where reading goes on once everything here is read.
    next: Option<Box<Place>>,
    /// Where reading a log outside its folder stopped when it was gone.
    stopped_at: Option<Box<ContainerCheckpoint>>,
    /// Index of the reader's root that it was found in.
    pub root: usize,
    /// Known only from the API: its folder is not visible.
    pub is_remote: bool,
    /// It was removed: it is no longer listed, or its folder is missing.
    pub is_gone: bool,
    /// It is in another folder, too: where its own is missing, the next list tells whether it was
    /// removed.
    pub has_copy: bool,
    /// It is no longer listed and was not removed: the open files of its log are read on.
    pub is_hidden: bool,
}

impl Container {
    /// Creates a container of the reader's root `root` whose folder was just found.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        root: usize,
        found: Found,
        account: Arc<Account>,
        start: Start,
        now: Instant,
    ) -> Container {
        let about = Description::new(runtime, found, account, now);
        Container {
            log: LogSource::new(&about, start, now),
            about,
            rate: RateLimit::default(),
            own_output: OwnOutput::default(),
            folder: Folder::default(),
            next: None,
            stopped_at: None,
            root,
            is_remote: false,
            is_gone: false,
            has_copy: false,
            is_hidden: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        self.about.id()
    }

    /// Its name and short id, for messages.
    pub fn names(&self) -> (String, String) {
        self.about.names()
    }

    /// Where its runtime found it.
    pub fn found(&self) -> &Found {
        self.about.found()
    }

    /// Whether its lines are delivered, if it has any.
    pub fn is_read(&self) -> bool {
        self.about.is_known() && !self.about.is_excluded() && !self.is_gone
    }

    /// Whether some of its metadata could not be read.
    pub fn lacks_metadata(&self) -> bool {
        self.about.is_partial()
    }

    /// The API that knows it, if any.
    pub fn api(&self) -> Option<Api> {
        self.about.api()
    }

    /// Switches to the runtime of another root, which knows more about it.
    pub fn adopt(&mut self, runtime: Arc<dyn Runtime>, root: usize, found: Found) {
        self.root = root;
        self.about.adopt(runtime, found);
    }

    /// Its metadata changed in a file that several containers share.
    pub fn note_changed(&mut self) {
        self.about.note_changed();
    }

    /// The files of its log, unless it is read from an API.
    pub fn tailer(&self) -> Option<&Tailer> {
        self.log.tailer()
    }

    /// Looks for a loop in its log. Returns whether another look is needed even if nothing is read.
    pub fn look_for_own_output(&mut self, link: &Link, now: Instant) -> bool {
        let Some(tailer) = self.log.tailer() else {
            return false;
        };
        self.own_output.look(&self.about, tailer, link, now);
        self.own_output.is_under_way()
    }

    /// Whether there is anything to read or to finish.
    pub fn has_work(&self) -> bool {
        self.is_gone || self.log.has_work() || self.about.is_busy()
    }

    /// Watches its folder for entries added and removed.
    pub fn watch_folder(&mut self, watch: &mut FileWatch, key: usize) -> io::Result<()> {
        self.folder.watch(&self.about.found().dir, watch, key)
    }

    /// Whether a rescan must look into its folder: its stamp changed since the last look, or
    /// something that failed may now succeed. With `doubts_watch`, the stamp of a watched
    /// folder is checked too.
    pub fn needs_a_look(&self, doubts_watch: bool) -> bool {
        self.is_remote
            || self.about.is_incomplete(doubts_watch)
            || self.log.needs_a_look()
            || self.waits_for_journal()
            || self.folder.may_have_changed(
                &self.about.found().dir,
                &self.log.files().dir,
                doubts_watch,
            )
    }

    /// Whether it needs no look until it changes, unless its watch is doubted.
    fn is_settled(&self) -> bool {
        !self.is_remote
            && self.about.is_settled()
            && self.log.is_settled()
            && !self.waits_for_journal()
            && self.folder.is_watched()
    }

    /// The files of its log, unless it is excluded or read from an API.
    pub fn tailer_mut(&mut self) -> Option<&mut Tailer> {
        let (tailer, _) = self.log.tailer_mut()?;
        (!self.about.is_excluded()).then_some(tailer)
    }

    /// Looks into the folder: reads the metadata and finds where to read the log from.
    pub fn look(&mut self, around: &mut Surroundings<'_>) {
        if self.is_remote {
            match around
                .streams
                .as_mut()
                .filter(|_| !self.about.is_excluded())
            {
                Some(streams) if !self.about.is_known() => streams.inspect(*self.about.id()),
                Some(streams) => streams.ask_again(self.about.id()),
                None => {}
            }
            return;
        }
        if self.is_gone && self.log.journaled_mut().is_some() {
            return;
        }
        self.folder
            .begin_look(&self.about.found().dir, &self.log.files().dir);
        self.load_metadata(around);
        if self.about.has_news() {
            self.judge(around);
        }
        if !self.about.is_known() && !self.about.is_busy() {
            // There is nothing in its folder.
            self.log.report_gone(&self.about, around.link);
        }
        if self.about.is_known() && !self.about.is_excluded() {
            self.log.look(&self.about, around);
        }
        if choose::reads_files(around.config, self.api()) {
            self.is_gone |= !self.has_copy && self.is_removed();
        }
    }

    /// Handles the API's answer about a container that has no files here.
    pub fn inspected(
        &mut self,
        around: &mut Surroundings<'_>,
        metadata: ContainerMetadata,
        driver: String,
    ) {
        if !self.is_remote && self.about.is_known() {
            return;
        }
        self.about.set_driver(driver);
        self.set_metadata(metadata, around);
        if !self.about.is_excluded() {
            self.log.look_at_remote(&self.about, around);
        }
    }

    /// Reads the metadata if its file changed.
    fn load_metadata(&mut self, around: &mut Surroundings<'_>) {
        if let Some(metadata) = self.about.load(around) {
            self.set_metadata(metadata, around);
        }
    }

    fn set_metadata(&mut self, metadata: ContainerMetadata, around: &mut Surroundings<'_>) {
        let limit = self.about.set(metadata, around);
        self.rate.set(limit);
        self.log.set_template(&self.about, around);
        self.judge(around);
    }

    /// Decides whether the container, with its current metadata, is read.
    fn judge(&mut self, around: &mut Surroundings<'_>) {
        if self.about.judge(around) {
            self.log.release(&self.about, around);
            around.watch.forget(around.key);
            // A refusal was reported for another folder.
            let _ = self.watch_folder(around.watch, around.key);
        }
    }

    /// If each run of the container has its own files, updates the metadata to the run being
    /// read. Returns until when to wait while that metadata is incomplete.
    fn follow_run(&mut self, around: &mut Surroundings<'_>) -> Option<Instant> {
        let tailer = self.log.tailer()?;
        let run = tailer
            .run()
            .filter(|_| tailer.files().current().is_none())?;
        match self.about.load_run(run, around.now) {
            Ok(Some(metadata)) => self.set_metadata(metadata, around),
            Ok(None) => {}
            Err(due) => return Some(due),
        }
        None
    }

    /// Reads a slice of its log.
    pub fn read(&mut self, context: &mut ReadContext<'_>, around: &mut Surroundings<'_>) -> Next {
        let now = around.now;
        let due = self.log.follow.waits_until(now);
        if let Some(due) = due.filter(|_| !self.is_gone) {
            return Next::At(due);
        }
        if !self.about.is_known() && !self.is_gone {
            let due = self.log.follow.wait_until(now + BUSY_INTERVAL);
            return match self.about.is_still_busy(now) {
                true => Next::At(due),
                false => Next::Look,
            };
        }
        if !self.about.is_known() {
            self.load_metadata(around);
        }
        if !self.about.is_known() {
            self.set_metadata(self.about.nameless(), around);
        }
        if self.about.is_excluded() {
            if !self.is_gone {
                return Next::OnNotice { has_read: false };
            }
            around.link.leave(*self.id());
            return Next::Finished;
        }
        if self.log.tailer().is_none() && self.log.journaled_mut().is_none() {
            return self.end_or_park(around);
        }
        // Nothing writes to the log of one that is gone, and it is to be read before it is lost.
        let read = || self.about.account().figures().read.bytes;
        let held = self.own_output.held_until(now, read);
        let loops_until = held.filter(|_| !self.is_gone);
        if let Some(due) = self.rate.waits_until(now).or(loops_until) {
            return Next::Throttled(due);
        }
        let account = self.about.account();
        if account.waits(around.link.queue.is_cautious()) {
            // The end of a hold-back wakes the reader, so its interval can be long.
            let interval = match account.is_held_back() {
                true => HELD_BACK_INTERVAL,
                false => CAUTIOUS_INTERVAL,
            };
            return Next::Throttled(now + interval);
        }
        if self.log.journaled_mut().is_some() {
            return self.read_journal(context, around);
        }
        if let Some(due) = self.follow_run(around) {
            return Next::At(due);
        }
        let Some((tailer, _)) = self.log.tailer_mut() else {
            return self.end_or_park(around);
        };
        match self.rate.read_slice(tailer, context) {
            Ok(step) => {
                self.log.report_read(around.link);
                self.after(step, context, around)
            }
            Err(error) if self.log.is_being_renamed(&error, now) => Next::Cycle,
            Err(error) => {
                self.log.report_read_failure(around.link, &error);
                if let Some((tailer, _)) = self.log.tailer_mut().filter(|_| self.is_gone) {
                    tailer.give_up(around.link);
                    return Next::Finished;
                }
                Next::OnNotice { has_read: false }
            }
        }
    }

    /// Decides when to read next after a slice.
    fn after(
        &mut self,
        step: Step,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> Next {
        let has_more = step == Step::More || !around.config.follow;
        match step {
            Step::AtEnd { has_read: false } => return self.at_end(context, around),
            Step::Lingering(due) => return Next::At(due),
            Step::More | Step::AtEnd { has_read: true } => {}
        }
        let Some((tailer, follow)) = self.log.tailer_mut() else {
            return Next::Cycle;
        };
        follow.note_read(around);
        if has_more || follow.is_busy() {
            follow.unwatch(around);
        }
        let is_watched = follow.is_watched(tailer) && tailer.grace().is_none();
        match has_more {
            true => Next::Now,
            false if is_watched && !self.is_gone => {
                tailer.awaits_notice();
                Next::OnNotice { has_read: true }
            }
            false => Next::Cycle,
        }
    }
}

mod at_rest;
mod end;
mod journaled;
mod outside;
pub mod place;
pub mod summary;
#[cfg(test)]
mod tests;
