//! The places of a log: its files may be found in another folder, and a container whose driver
//! was changed has a log of each driver.
//!
//! ```text
//! json-file   [ read ... ]  its driver was changed: read to its end, then left
//! local                     [ ..... the place where the driver writes now ..... ]
//! ```

use std::io;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::runtime::{Found, LogFiles};
use crate::source::choose::{self, Choice, FileState};
use crate::source::describe::Description;
use crate::source::file::extent::{have_read, log_of, was_made_after};
use crate::source::file::feed::ReadContext;
use crate::source::file::rotation::Start;
use crate::source::follow::Follow;
use crate::source::log_source::turns::{between, Turns};
use crate::source::log_source::{decide, watch_log_folder, LogSource, Source};
use crate::source::services::Surroundings;
use crate::telemetry::event::deleted::DeletedEvent;
use crate::telemetry::event::Event;
use crate::telemetry::throttle::Once;

/// The logs of a container whose driver was changed.
#[derive(Debug, Default)]
pub struct Places {
    /// Those that were read to their end.
    left: Vec<LogFiles>,
    /// An earlier run may have read some of them.
    is_resumed: bool,
    /// The driver writes elsewhere than to the files being read.
    pub is_over: bool,
    /// It is known whether somebody had put another file in the place of the log.
    pub is_compared: bool,
    /// Its runtime writes to another file than the one that is read, which is reported.
    pub is_replaced: bool,
    /// The file of the checkpoint was deleted, and that was reported.
    is_lost: bool,
    /// Those that are read in turns, until the last one begins.
    turns: Option<Turns>,
}

impl Places {
    /// None was left yet.
    pub fn new(start: Start) -> Places {
        Places {
            is_resumed: start != Start::Head,
            ..Places::default()
        }
    }
}

impl Places {
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
        self.places.left = self.places.left.iter().map(moved).collect();
        if let Some(turns) = &mut self.places.turns {
            turns.move_by(moved);
        }
        match &mut self.source {
            Source::Files { tailer, .. } => tailer.move_to(moved(tailer.files())),
            Source::Api { files, .. } | Source::Journal { files, .. } => *files = moved(files),
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
    /// unless the driver writes to it again.
    fn unread_logs(&self, about: &Description) -> Result<Vec<LogFiles>, (LogFiles, io::Error)> {
        let mut logs = choose::find_logs(about.runtime(), about.found(), about.driver())?;
        let is_left = |files: &LogFiles| self.places.left.contains(files);
        logs.retain(|files| !is_left(files) || about.writes_to(files) != Some(false));
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
        let first = match self.tailer().map(|tailer| tailer.start()) {
            _ if logs.len() < 2 => 0,
            // The API was read from until now.
            None | Some(Start::End(_) | Start::Last(_)) => logs.len() - 1,
            Some(Start::Head | Start::After { .. }) => 0,
            Some(Start::Saved(saved)) => {
                let first = self.resume_in(&logs, &saved, about);
                first.map_err(|error| (logs[0].clone(), error))?
            }
        };
        if self.places.turns.is_some() {
            return Ok(Some(self.files().clone()));
        }
        self.places.left.extend(logs.drain(..first));
        Ok(logs.into_iter().next())
    }

    /// Returns which of the logs to resume in.
    fn resume_in(
        &mut self,
        logs: &[LogFiles],
        saved: &ContainerCheckpoint,
        about: &Description,
    ) -> io::Result<usize> {
        let mut of_streams = [None, None];
        for (index, checkpoint) in of_streams.iter_mut().zip(saved) {
            *index = log_of(logs, checkpoint)?;
        }
        let Some(first) = of_streams.into_iter().flatten().min() else {
            return Ok(logs.len() - 1);
        };
        let mut saved = *saved;
        for (index, checkpoint) in of_streams.into_iter().zip(&mut saved) {
            if index.is_some_and(|index| index > first) {
                *checkpoint = by_time(checkpoint);
            }
        }
        let (log, start) = (logs[first].clone(), Start::Saved(saved));
        let last = saved.iter().map(|stream| stream.cursor.time).max();
        let others = between(logs, first, last.unwrap_or_default());
        if others.is_empty() {
            self.source = Source::of(about, log, start);
            return Ok(first);
        }
        let older = logs[..first].iter().filter(|log| !others.contains(log));
        self.places.left.extend(older.cloned());
        let mut turns = Turns::new(log, start, others);
        if let Some(turn) = turns.next(saved) {
            self.source = Source::of_turn(about, turn);
            self.places.turns = Some(turns);
        }
        Ok(first)
    }

    /// A turn of the open log ended; the next one begins. Returns whether one did.
    fn next_turn(
        &mut self,
        mut turns: Turns,
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
        if held.is_none() && !self.places.left.contains(&left) {
            self.places.left.push(left);
        }
        let Some(turn) = turns.next(saved) else {
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

    /// Reports once that its log was deleted; the file that reading was to resume in is lost.
    pub(super) fn report_deleted(&mut self, about: &Description, link: &Link) {
        if let Some((tailer, _)) = self.tailer_mut() {
            tailer.lose_saved(link);
            self.places.is_lost = true;
        }
        let path = self.written(about);
        let (name, short_id) = about.names();
        self.deletion.report(|| {
            link.report(Event::Deleted(DeletedEvent::RunningLog {
                name,
                short_id,
                path,
            }))
        });
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
        let logs = self.unread_logs(about).unwrap_or_default();
        let next = logs.into_iter().find(|files| files != self.files());
        let choice = match next {
            Some(_) => Choice::Files,
            None if is_gone => return Ok(false),
            None => decide(about, FileState::Left, around).0,
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
        let files = next.unwrap_or_else(|| left.clone());
        let (name, short_id) = about.names();
        around.link.report(Event::DriverChanged {
            name,
            short_id,
            path: left.path.to_path_buf(),
            driver: about
                .driver()
                .map_or_else(String::new, |driver| driver.name.clone()),
        });
        self.places.is_over = false;
        let start = self.start_in(&files, &left, &saved);
        if !self.places.left.contains(&left) {
            self.places.left.push(left);
        }
        self.close_files(about, around);
        self.source = Source::of(about, files, start);
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
            may_repeat: self.places.left.contains(files) || may_be_known(),
        }
    }

    /// Where the files of the driver are begun after the API.
    pub(super) fn start_after_api(&mut self, saved: ContainerCheckpoint) -> Start {
        // The file that the checkpoint names is gone, or is of another log.
        let is_elsewhere = |left: &LogFiles| left != self.files();
        let is_moved = self.places.left.last().is_some_and(is_elsewhere);
        match std::mem::take(&mut self.places.is_lost) || is_moved {
            true => Start::After {
                saved,
                may_repeat: true,
            },
            false => Start::Saved(saved),
        }
    }
}

/// What is known of a stream where its file is not at hand.
fn by_time(checkpoint: &StreamCheckpoint) -> StreamCheckpoint {
    StreamCheckpoint {
        cursor: checkpoint.cursor,
        is_by_time: true,
        is_mid_line: checkpoint.is_mid_line,
        ..StreamCheckpoint::default()
    }
}
