//! The places of a log: its files may be found in another folder, and a container whose driver
//! was changed has a log of each driver.
//!
//! ```text
//! json-file   [ read ... ]  its driver was changed: read to its end, then left
//! local                     [ ..... the place where the driver writes now ..... ]
//! ```

use std::io;

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::delivery::link::Link;
use crate::runtime::{Found, LogFiles};
use crate::source::choose::{self, Choice, FileState};
use crate::source::describe::Description;
use crate::source::file::extent::{have_read, last_written, was_made_after};
use crate::source::file::feed::ReadContext;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;
use crate::source::follow::Follow;
use crate::source::log_source::turns::{resume_in, Turns};
use crate::source::log_source::{decide, watch_log_folder, LogSource, Source};
use crate::source::services::Surroundings;
use crate::telemetry::event::deleted::DeletedEvent;
use crate::telemetry::event::Event;
use crate::telemetry::throttle::Once;

/// The logs of a container whose driver was changed.
#[derive(Debug, Default)]
pub struct Places {
    /// Those that were read to their end, and when each had been written last by then.
    left: Vec<(LogFiles, u64)>,
    /// An earlier run may have read some of them.
    is_resumed: bool,
    /// The driver writes elsewhere than to the files being read.
    pub is_over: bool,
    /// It is known whether somebody had put another file in the place of the log.
    pub is_compared: bool,
    /// Its runtime writes to another file than the one that is read, which is reported.
    pub is_replaced: bool,
    /// The newest file was deleted, and that was reported.
    pub(super) is_newest_lost: bool,
    /// The file of the checkpoint was deleted, and that was reported.
    is_lost: bool,
    /// The journal was read to its end, if reading was to resume there.
    pub(super) is_journal_read: bool,
    /// Those that are read in turns, until the last one begins.
    pub(super) turns: Option<Box<Turns>>,
}

impl Places {
    /// None was left yet.
    pub fn new(start: Start) -> Places {
        Places {
            is_resumed: start != Start::Head,
            ..Places::default()
        }
    }

    /// A log was read to its end.
    pub(super) fn leave(&mut self, files: LogFiles) {
        let written = last_written(&files);
        self.left.retain(|(left, _)| *left != files);
        self.left.push((files, written));
    }

    /// Whether a log was read to its end once.
    fn has_left(&self, files: &LogFiles) -> bool {
        self.left.iter().any(|(left, _)| left == files)
    }

    /// Whether a log was read to its end, and was not written since.
    pub(super) fn has_all_of(&self, files: &LogFiles) -> bool {
        let is_it = |left: &&(LogFiles, u64)| left.0 == *files;
        let left = self.left.iter().find(is_it);
        left.is_some_and(|(_, written)| *written == last_written(files))
    }

    /// Whether logs are read in turns.
    pub fn has_turns(&self) -> bool {
        self.turns.is_some()
    }

    /// Where each of them is read from is found out again.
    pub fn end_turns(&mut self) {
        self.turns = None;
    }
}

impl LogSource {
    /// The container's folder was at `before` and is elsewhere now. Its files keep their place
    /// among [`crate::runtime::Runtime::logs`].
    pub fn move_from(
        &mut self,
        before: &Found,
        about: &Description,
        around: &mut Surroundings<'_>,
    ) {
        let before = about.runtime().logs(before);
        let now = about.runtime().logs(about.found());
        let moved = |files: &LogFiles| {
            let index = before.iter().position(|before| before == files);
            let moved = index.and_then(|index| now.get(index)).or(now.first());
            moved.unwrap_or(files).clone()
        };
        self.follow.unwatch(around);
        self.follow = Follow::new(around.now);
        for (files, _) in &mut self.places.left {
            *files = moved(files);
        }
        if let Some(turns) = &mut self.places.turns {
            turns.move_by(moved);
        }
        match &mut self.source {
            Source::Files { tailer, .. } => tailer.move_to(moved(tailer.files())),
            Source::Api { files, .. } | Source::Journal { files, .. } => **files = moved(files),
        }
        watch_log_folder(self.files(), about, around);
    }

    /// The container is read in a copy of its folder from now on, which it has moved to. What was read
    /// in the other one may be in no file of the copy.
    pub fn continue_in_copy(
        &mut self,
        saved: ContainerCheckpoint,
        about: &Description,
        around: &mut Surroundings<'_>,
    ) {
        let logs = about.runtime().logs(about.found());
        let start = match have_read(&logs, &saved).unwrap_or(false) {
            true => Start::Saved(saved),
            false => Start::After {
                saved,
                may_repeat: true,
            },
        };
        let files = self.files().clone();
        self.places = Places::new(start);
        self.close_files(about, around);
        self.source = Source::of(about, files, start);
        self.look(about, around);
    }

    /// The logs that may have something unread, oldest first. None that was left is among them,
    /// unless it was written since, or the driver writes to it again.
    pub(super) fn unread_logs(
        &self,
        about: &Description,
    ) -> Result<Vec<LogFiles>, (LogFiles, io::Error)> {
        let mut logs = choose::find_logs(about.runtime(), about.found(), about.driver())?;
        let has_all_of = |files: &LogFiles| self.places.has_all_of(files);
        logs.retain(|files| about.writes_to(files) != Some(false) || !has_all_of(files));
        Ok(logs)
    }

    /// Finds the log to read first. None of its files is open.
    pub(super) fn find_first(
        &mut self,
        about: &Description,
    ) -> Result<Option<LogFiles>, (LogFiles, io::Error)> {
        if self.places.turns.is_some() {
            return Ok(Some(self.files().clone()));
        }
        let mut logs = self.unread_logs(about)?;
        match self.tailer().map(|tailer| tailer.start()) {
            _ if logs.len() < 2 => return Ok(logs.pop()),
            // The API was read from until now.
            None | Some(Start::End(_) | Start::Last(_)) => {
                let last = logs.pop();
                logs.into_iter().for_each(|log| self.places.leave(log));
                return Ok(last);
            }
            Some(start @ (Start::Head | Start::After { .. })) => {
                self.begin_among(&logs, 0, start, about);
            }
            Some(Start::Saved(saved)) => {
                let resumed = resume_in(&logs, &saved);
                let (first, saved) = resumed.map_err(|error| (logs[0].clone(), error))?;
                self.begin_among(&logs, first, Start::Saved(saved), about);
            }
        }
        Ok(Some(self.files().clone()))
    }

    /// A turn of the open log ended; the next one begins. Returns whether one did.
    fn next_turn(
        &mut self,
        mut turns: Box<Turns>,
        about: &Description,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> io::Result<bool> {
        let Some((tailer, _)) = self.tailer_mut() else {
            return Ok(false);
        };
        if !tailer.is_open() && choose::is_there(tailer.files()).unwrap_or(true) {
            // It could not be opened; the next look tries again.
            self.places.turns = Some(turns);
            return Ok(false);
        }
        let saved = tailer.close(context)?;
        let (left, held) = (tailer.files().clone(), tailer.held_since());
        turns.ended(&left, held);
        let turn = turns.next(saved);
        if turns.is_last {
            report_change(&left, about, around.link);
        }
        if held.is_none() {
            self.places.leave(left);
        }
        let Some(turn) = turn else {
            return Ok(false);
        };
        self.close_files(about, around);
        self.places.turns = Some(turns);
        self.source = Source::of_turn(about, turn);
        self.look(about, around);
        Ok(true)
    }

    /// Decides, at a look, whether the files that are open are to be left once they are read.
    pub(super) fn note_driver(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        self.places.is_over = self.tailer().is_some_and(|tailer| {
            tailer.is_open() && about.writes_to(tailer.files()) == Some(false)
        });
        if self.places.is_over {
            let logs = about.runtime().logs(about.found()).into_iter();
            for files in logs.filter(|files| about.writes_to(files) == Some(true)) {
                watch_log_folder(&files, about, around);
            }
        }
    }

    /// Whether its rotated files are read and the one that its driver writes is missing. A file
    /// that was opened as the current one is read on without its name.
    pub(super) fn lacks_current(&self, about: &Description) -> bool {
        self.tailer().is_some_and(|tailer| {
            tailer.begins_rotated()
                && about.writes_to(tailer.files()) != Some(false)
                && choose::lacks_current(tailer.files())
        })
    }

    /// Reports once that its log was deleted; the file that reading was to resume in is lost. It
    /// may be one of the others under another name, though.
    pub(super) fn report_deleted(&mut self, about: &Description, link: &Link) {
        let may_be_renamed = self.tailer().is_some_and(Tailer::may_have_file_of_position);
        if let Some((tailer, _)) = self.tailer_mut() {
            tailer.lose_saved(link);
            self.places.is_lost = true;
        }
        let path = self.written(about);
        let (name, short_id) = about.names();
        let event = match may_be_renamed {
            true => DeletedEvent::RunningLogAway {
                name,
                short_id,
                path,
            },
            false => DeletedEvent::RunningLog {
                name,
                short_id,
                path,
            },
        };
        self.deletion.report(|| link.report(Event::Deleted(event)));
    }

    /// Its files are there.
    pub(super) fn end_deletion(&mut self, about: &Description, link: &Link) {
        self.look_for_replacement(about, link);
        if let Some((tailer, _)) = self.tailer_mut() {
            tailer.report_lost(link);
        }
        self.deletion = Once::default();
        self.places.is_lost = false;
    }

    /// Everything was read. If the driver writes elsewhere now, moves there; returns whether it
    /// did. `is_gone` says that the container was removed.
    pub fn move_on(
        &mut self,
        is_gone: bool,
        about: &Description,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> io::Result<bool> {
        if let Some(turns) = self.places.turns.take().filter(|turns| !turns.is_last) {
            return self.next_turn(turns, about, context, around);
        }
        if !self.places.is_over {
            return Ok(false);
        }
        // A failure is reported at the next look.
        let mut logs = self.unread_logs(about).unwrap_or_default();
        logs.retain(|files| files != self.files());
        let choice = match logs.is_empty() {
            false => Choice::Files,
            true if is_gone => return Ok(false),
            true => decide(about, FileState::Left, around).0,
        };
        if matches!(choice, Choice::Later | Choice::Unreadable) {
            // The container was not started since.
            return Ok(false);
        }
        let Some((tailer, _)) = self.tailer_mut() else {
            return Ok(false);
        };
        let saved = tailer.close(context)?;
        let left = tailer.files().clone();
        if logs.is_empty() {
            logs.push(left.clone());
        }
        report_change(&left, about, around.link);
        self.places.is_over = false;
        let start = self.start_in(&logs[0], &left, &saved);
        self.places.leave(left);
        self.close_files(about, around);
        self.begin_among(&logs, 0, start, about);
        match choice {
            Choice::Files => self.look(about, around),
            choice => self.go_to(choice, about, around),
        }
        Ok(true)
    }

    /// Where reading another log begins, after everything up to `saved`, the end of `left`, was
    /// delivered.
    fn start_in(&self, files: &LogFiles, left: &LogFiles, saved: &ContainerCheckpoint) -> Start {
        let may_be_known = || self.places.is_resumed && !was_made_after(files, left);
        Start::After {
            saved: *saved,
            // The driver keeps nothing now, and may be changed back.
            may_repeat: files == left || self.places.has_left(files) || may_be_known(),
        }
    }

    /// Where the files of the driver are begun after the API.
    pub(super) fn start_after_api(&mut self, saved: ContainerCheckpoint) -> Start {
        // The file that the checkpoint names is gone, or is of another log.
        let is_elsewhere = |left: &LogFiles| left != self.files();
        let is_moved = self
            .places
            .left
            .last()
            .is_some_and(|(left, _)| is_elsewhere(left));
        match std::mem::take(&mut self.places.is_lost) || is_moved {
            true => Start::After {
                saved,
                may_repeat: true,
            },
            false => Start::Saved(saved),
        }
    }
}

/// Reports that a log was read up to where its driver was changed.
fn report_change(left: &LogFiles, about: &Description, link: &Link) {
    let (name, short_id) = about.names();
    let driver = about.driver().map(|driver| driver.name.clone());
    link.report(Event::DriverChanged {
        name,
        short_id,
        path: left.path.to_path_buf(),
        driver: driver.unwrap_or_default(),
    });
}
