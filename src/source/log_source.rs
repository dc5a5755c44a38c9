//! Where the log of one container is read from, and the moves between these sources. `choose`
//! decides; the offset goes along with each move.
//!
//! ```text
//!              Choice::Api
//! Files ──────────────────────────────▶ Api, or systemd's journal (Choice::Journal)
//!       ◀──────────────────────────────
//!   Choice::Files, or Choice::Nowhere:
//!   then no files are expected either
//! ```
//!
//! With any other choice, the source stays as it is: the files that it waits for may appear, or
//! become readable.

mod beginning;
mod gone;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::delivery::link::Link;
use crate::format::position::Timestamp;
use crate::runtime::LogFiles;
use crate::source::choose::{self, choose, Choice, Facts, FileState};
use crate::source::describe::Description;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;
use crate::source::follow::Follow;
use crate::source::journal::journaled::Journaled;
use crate::source::log_source::place::Places;
use crate::source::log_trouble::LogTrouble;
use crate::source::services::Surroundings;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::throttle::Once;
use crate::telemetry::trouble::Trouble;

mod elsewhere;
mod others;
mod place;
mod state;
mod turns;

/// How long a Podman container may run without a log before the API is read.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// What a log is read from.
enum Source {
    /// Its files.
    Files {
        /// Has some of them open, or none yet.
        tailer: Box<Tailer>,
        /// Why none are expected and nothing else is read either.
        nowhere: Option<Unread>,
    },
    /// The runtime's API.
    Api {
        /// Where it began.
        begun: Box<ContainerCheckpoint>,
        /// The files, as found last.
        files: Box<LogFiles>,
    },
    /// systemd's journal.
    Journal {
        /// Its records, and up to where it was read.
        journaled: Box<Journaled>,
        /// The files, as found last.
        files: Box<LogFiles>,
    },
}

impl Source {
    fn of(about: &Description, files: LogFiles, start: Start) -> Source {
        let (account, template) = (Arc::clone(about.account()), Arc::clone(about.template()));
        Source::Files {
            tailer: Box::new(Tailer::new(account, files, start, template)),
            nowhere: None,
        }
    }

    fn files(&self) -> &LogFiles {
        match self {
            Source::Files { tailer, .. } => tailer.files(),
            Source::Api { files, .. } | Source::Journal { files, .. } => files,
        }
    }
}

/// The source of one container's log.
pub struct LogSource {
    source: Source,
    /// How its files are followed.
    pub follow: Follow,
    /// Since when it has been running without a log being found.
    missing_since: Option<Instant>,
    /// Its files cannot be found or opened.
    trouble: LogTrouble,
    /// An open file cannot be read.
    read_trouble: LogTrouble,
    /// It cannot be read anywhere.
    nowhere: Trouble,
    /// The logs of earlier drivers.
    places: Places,
    /// Its log was deleted while it runs.
    deletion: Once,
    /// Later lines are those of another container.
    end: Option<Timestamp>,
    /// It was read up to that, and is not opened again.
    is_passed_on: bool,
}

impl LogSource {
    /// Will read the files of a container from `start` on.
    pub fn new(about: &Description, start: Start, now: Instant) -> LogSource {
        let found = about.found();
        let files = about.runtime().logs(found).into_iter().next();
        let files = files.unwrap_or_else(|| LogFiles::numbered(found.dir.clone()));
        LogSource {
            source: Source::of(about, files, start),
            follow: Follow::new(now),
            missing_since: None,
            trouble: LogTrouble::new(about.account()),
            read_trouble: LogTrouble::new(about.account()),
            nowhere: Trouble::paced(),
            places: Places::new(start),
            deletion: Once::default(),
            end: None,
            is_passed_on: false,
        }
    }

    /// Its files; `None` while the API is read.
    pub fn tailer(&self) -> Option<&Tailer> {
        match &self.source {
            Source::Files { tailer, .. } => Some(tailer),
            Source::Api { .. } | Source::Journal { .. } => None,
        }
    }

    /// As [`LogSource::tailer`], for reading, with how they are followed.
    pub fn tailer_mut(&mut self) -> Option<(&mut Tailer, &mut Follow)> {
        match &mut self.source {
            Source::Files { tailer, .. } => {
                tailer.end_at(self.end);
                Some((tailer, &mut self.follow))
            }
            Source::Api { .. } | Source::Journal { .. } => None,
        }
    }

    fn open_tailer(&mut self) -> Option<&mut Tailer> {
        let (tailer, _) = self.tailer_mut()?;
        tailer.is_open().then_some(tailer)
    }

    /// Its files, as found last.
    pub fn files(&self) -> &LogFiles {
        self.source.files()
    }

    /// Whether there is an open file to read.
    pub fn has_work(&self) -> bool {
        match &self.source {
            Source::Files { tailer, nowhere } => nowhere.is_none() && tailer.is_open(),
            Source::Journal { journaled, .. } => !journaled.is_live,
            Source::Api { .. } => false,
        }
    }

    /// Records built from now on use the template of the description.
    pub fn set_template(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        let template = Arc::clone(about.template());
        match &mut self.source {
            Source::Files { tailer, .. } => tailer.set_template(template, around.link),
            Source::Journal { journaled, .. } => journaled.set_template(template, around.link),
            Source::Api { .. } => {
                if let Some(streams) = &around.streams {
                    streams.set_template(about.id(), template);
                }
            }
        }
    }

    /// Looks for the files, opens new ones, and moves to where the log is read now.
    pub fn look(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        if self.is_passed_on || self.reads_rest_of_journal(about, around) {
            return;
        }
        let opened = match choose::reads_files(around.config, about.api()) {
            true => Some(self.open_files(about, around)),
            false => None,
        };
        let files = match &opened {
            None => FileState::Ignored,
            Some(Ok(true)) if self.lacks_current(about) => FileState::Rotated,
            Some(Ok(true)) => FileState::Readable,
            Some(Ok(false)) => FileState::Missing,
            // A name changed between listing and opening; the next look finds it.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return,
            Some(Err(error)) => {
                self.report_failure(around.link, error);
                let holds_deleted = self.open_tailer().is_some_and(Tailer::holds_deleted);
                FileState::Unreadable {
                    error,
                    holds_deleted,
                }
            }
        };
        self.note_driver(about, around);
        let (choice, is_deleted) = decide(about, files, around);
        let is_missing = matches!(files, FileState::Missing);
        // The log may be created shortly after the start.
        let may_come = match choice {
            Choice::Api(_) | Choice::Nowhere(..) | Choice::Files => is_deleted || is_missing,
            Choice::Later => is_missing && self.is_lost_if_running(about),
            Choice::Journal | Choice::Unreadable => false,
        };
        match choice {
            _ if may_come && around.config.follow && self.may_still_come(about, around.now) => {
                if is_deleted {
                    self.begin(about, around);
                }
            }
            choice => {
                if is_deleted {
                    self.report_deleted(about, around.link);
                } else if is_missing {
                    self.report_gone(about, around.link);
                }
                let is_found = matches!(choice, Choice::Files) && !is_deleted;
                self.go_to(choice, about, around);
                if is_found {
                    self.missing_since = None;
                    self.end_deletion(about, around.link);
                }
            }
        }
    }

    /// Moves to where the log of a container is read whose folder is not visible.
    pub fn look_at_remote(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        let (choice, _) = decide(about, FileState::Hidden, around);
        self.go_to(choice, about, around);
    }

    fn go_to(&mut self, choice: Choice, about: &Description, around: &mut Surroundings<'_>) {
        match choice {
            Choice::Files => self.go_to_files(about, around),
            Choice::Unreadable => {}
            Choice::Later => self.begin(about, around),
            Choice::Journal => self.go_to_journal(about, around),
            Choice::Api(reason) => self.go_to_api(about, reason, around),
            Choice::Nowhere(unread, reason) => self.go_nowhere(about, unread, reason, around),
        }
    }

    /// Finds the log's files and opens new ones; returns `false` if there are none.
    fn open_files(
        &mut self,
        about: &Description,
        around: &mut Surroundings<'_>,
    ) -> io::Result<bool> {
        self.find_turns(about, around);
        if let Some(tailer) = self.open_tailer() {
            tailer.refresh(around.link)?;
            return Ok(tailer.is_open());
        }
        let mut log = self.find_first(about);
        let places = about.runtime().logs(about.found());
        // Set the watch before looking: a file may be created just after its folder.
        let watches = |files: &LogFiles| watch_log_folder(files, about, around);
        if matches!(log, Ok(None)) && places.iter().map(watches).fold(false, |any, one| any | one) {
            log = self.find_first(about);
        }
        match log {
            Ok(None) => return Ok(false),
            Ok(Some(files)) => self.use_files(files, about),
            Err((files, error)) => {
                self.use_files(files, about);
                return Err(error);
            }
        }
        let Some((tailer, _)) = self.tailer_mut() else {
            return Ok(true);
        };
        watch_log_folder(tailer.files(), about, around);
        self.begin_after_others(about);
        let Some((tailer, _)) = self.tailer_mut() else {
            return Ok(true);
        };
        tailer.refresh(around.link)?;
        Ok(tailer.is_open())
    }

    /// Reads these files once they are opened; none may be open.
    fn use_files(&mut self, found: LogFiles, about: &Description) {
        let start = self.tailer().map(Tailer::start);
        let is_missing = self.missing_since.is_some();
        if let Some(start) = start.filter(|it| is_missing && *it != it.of_new_files()) {
            self.source = Source::of(about, found, start.of_new_files());
            return;
        }
        match &mut self.source {
            source if *source.files() == found => {}
            Source::Api { files, .. } | Source::Journal { files, .. } => **files = found,
            Source::Files { tailer, .. } => self.source = Source::of(about, found, tailer.start()),
        }
    }

    /// Reads its files from `start` on, none of which is open.
    fn restart(&mut self, about: &Description, start: Start, around: &mut Surroundings<'_>) {
        self.close_files(about, around);
        self.source = Source::of(about, self.source.files().clone(), start);
    }

    /// Ends what belongs to open files.
    fn close_files(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        // Nothing surveys the files that the old tailer had open any more.
        about.account().set_unread(0);
        self.follow.unwatch(around);
    }

    /// Reads the files from now on, resuming where the API stopped.
    fn go_to_files(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        let was_elsewhere = self.end_elsewhere(about, around);
        if let Source::Files { tailer, nowhere } = &mut self.source {
            *nowhere = None;
            if was_elsewhere {
                watch_log_folder(tailer.files(), about, around);
                if let Err(error) = tailer.refresh(around.link) {
                    return self.report_failure(around.link, &error);
                }
            }
        }
        self.trouble.end(self.source.files(), around.link);
        if was_elsewhere {
            let (name, short_id) = about.names();
            around.link.report(Event::StreamEnds { name, short_id });
        }
    }

    fn go_nowhere(
        &mut self,
        about: &Description,
        unread: Unread,
        reason: String,
        around: &mut Surroundings<'_>,
    ) {
        self.end_elsewhere(about, around);
        if let Source::Files { nowhere, .. } = &mut self.source {
            *nowhere = Some(unread);
        }
        let (name, short_id) = about.names();
        self.nowhere.begin(unread, || {
            around.link.report(Event::Unreadable {
                name,
                short_id,
                reason,
            })
        });
    }

    /// Closes all files and streams of the container. Keeps the offset, so that reading
    /// resumes there if the container is included again.
    pub fn release(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        self.end_elsewhere(about, around);
        self.begin(about, around);
        if let Some(saved) = self.open_tailer().map(Tailer::hand_over) {
            self.places.end_turns();
            self.restart(about, Start::Saved(saved), around);
        }
        if let Source::Files { nowhere, .. } = &mut self.source {
            *nowhere = None;
        }
    }

    /// Reports that the files cannot be found or opened; files that are open may still be
    /// read.
    fn report_failure(&mut self, link: &Link, error: &io::Error) {
        self.trouble.begin(self.source.files(), link, error);
    }

    /// As [`LogTrouble::is_passing`], for an open file.
    pub fn is_being_renamed(&mut self, error: &io::Error, now: Instant) -> bool {
        self.read_trouble.is_passing(error, now)
    }

    /// Reports that an open file cannot be read.
    pub fn report_read_failure(&mut self, link: &Link, error: &io::Error) {
        self.read_trouble.begin(self.source.files(), link, error);
    }

    /// Reports that the open files can be read again, if a failure was reported.
    pub fn report_read(&mut self, link: &Link) {
        self.read_trouble.end(self.source.files(), link);
    }
}

/// Where a log is read from now, and whether it was deleted.
fn decide(
    about: &Description,
    files: FileState<'_>,
    around: &mut Surroundings<'_>,
) -> (Choice, bool) {
    let (journal, now, link) = (RefCell::new(&mut *around.journal), around.now, around.link);
    let runs = || about.runtime().last_run(about.found()).is_running == Some(true);
    let facts = Facts {
        runtime: about.runtime(),
        found: about.found(),
        config: around.config,
        driver: about.driver(),
        is_running: about.template().metadata.is_running,
        is_said_to_run: files.is_without_current() && runs(),
        files,
        journal: &|| journal.borrow_mut().probe(now, link),
    };
    (choose(&facts), choose::is_deleted(&facts))
}

/// Watches the log's folder if it is not the container's own, as with the local driver.
/// Returns whether such a folder exists and is watched.
fn watch_log_folder(files: &LogFiles, about: &Description, around: &mut Surroundings<'_>) -> bool {
    // If the watch is refused, that of the parent folder was refused before.
    let (watch, key) = (&mut around.watch, around.key);
    let watch = |dir: &std::path::Path| watch.watch_folder(key, dir);
    files.dir != about.found().dir && files.dir.with_path(watch).is_ok()
}
