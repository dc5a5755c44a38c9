//! One container as the reader sees it: its folder, its metadata, its tailer, and whether
//! there is work to do for it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::labels::Labels;
use crate::config::{labels, Config, Mode};
use crate::delivery::link::Link;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::docker::{ContainerMetadata, LogDriver, MetadataError, JSON_FILE_DRIVER};
use crate::runtime::file::{is_shortage, open_regular, stat_path, FileId};
use crate::runtime::id::ContainerId;
use crate::runtime::own_container::OwnContainer;
use crate::runtime::safe_path::SafePath;
use crate::runtime::{
    is_on_network, network_file_system, stamp, Api, FolderStamp, Found, LogFiles, Runtime,
};
use crate::source::api::streams::Streams;
use crate::source::budget::HeldFile;
use crate::source::choose;
use crate::source::choose::Choice;
use crate::source::file::tailer::{ReadContext, Start, Step, Tailer};
use crate::source::pace::Pace;
use crate::source::rate::RateLimit;
use crate::source::watch::FileWatch;
use crate::telemetry::account::Account;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::{SourceKind, Survey, Unread};
use crate::telemetry::trouble::Trouble;

/// How long a log waits for metadata that exists but cannot be read.
const METADATA_PATIENCE: Duration = Duration::from_secs(5);
/// Interval between reads of a log that cannot be watched.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Interval between checks whether the host has accepted what it must accept before more of a
/// container is read: records it refused (`HELD_BACK_INTERVAL`) or has not been offered yet
/// (`CAUTIOUS_INTERVAL`).
const HELD_BACK_INTERVAL: Duration = Duration::from_millis(500);
const CAUTIOUS_INTERVAL: Duration = Duration::from_millis(10);
/// How long a Podman container may run without a log before the API is asked about it.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// How long the first line of a run waits for the metadata of its record, and the interval at
/// which that is checked: the kubelet creates the symlink with the container's id shortly
/// after the log.
const RUN_PATIENCE: Duration = Duration::from_secs(1);
const RUN_INTERVAL: Duration = Duration::from_millis(50);
/// The result of reading a container's log.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is more to read now.
    More,
    /// Read to the end; stays active.
    Active,
    /// Nothing to do before this time; stays active.
    Waiting(Instant),
    /// There is more, but the rate limit or the host holds it back until this time; stays
    /// active.
    Throttled(Instant),
    /// Read to the end; a notice activates it again.
    Watched,
    /// Idle; a notice or a rescan activates it again.
    Parked,
    /// As `Active`, and the log cannot be watched, for this reason.
    WatchRefused(String),
    /// Gone and read to the end.
    Finished,
}

/// Where a container's log is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its files, once there are any.
    File,
    /// The runtime's API.
    Api,
    /// Nowhere; reported once.
    Nowhere,
}

/// What the reader lends to a container for a look or a read.
pub struct Surroundings<'a> {
    /// Receives events.
    pub link: &'a Link,
    /// The configuration.
    pub config: &'a Config,
    /// The container that this process runs in.
    pub own: &'a OwnContainer,
    /// The containers read through this one's API; `None` if the API is off.
    pub streams: Option<&'a mut Streams>,
    /// Watches new folders; `None` if inotify is unavailable.
    pub watch: Option<&'a mut FileWatch>,
    /// The container's key in the watch.
    pub key: usize,
    /// The current time.
    pub now: Instant,
    /// Interval between two reads of the active logs.
    pub cycle: Duration,
}

/// The watches on the files of a log that are still written.
struct LogWatch {
    /// The numbers that [`FileWatch::watch_log`] returned.
    numbers: Vec<i32>,
    /// How many files of the log had been found by then. If the tailer has found more, one of
    /// them is not watched.
    files: u32,
}

/// One container.
pub struct Container {
    runtime: Arc<dyn Runtime>,
    api: Option<Api>,
    found: Found,
    tailer: Tailer,
    source: Source,
    identity: Arc<RecordTemplate>,
    has_template: bool,
    driver: Option<LogDriver>,
    /// Since when it has been running without a log being found.
    misses_log: Option<Instant>,
    config_file: Option<FileId>,
    /// Another runtime adopted it after the metadata was read.
    is_stale: bool,
    /// The run that the metadata belongs to, and since when the log of another run has been
    /// read.
    run: Option<u32>,
    run_seen: Option<(u32, Instant)>,
    first_seen: Instant,
    last_read: Instant,
    pace: Pace,
    watch: Option<LogWatch>,
    is_active: bool,
    rate: RateLimit,
    /// The configuration or a label excludes it.
    is_excluded: bool,
    /// inotify reports each entry added to or removed from its folder.
    folder_is_watched: bool,
    /// The log cannot be watched and is read at intervals.
    is_polled: bool,
    next_poll: Instant,
    /// The stamps of its folder and of the log's folder, taken right before the last look.
    looked_at: Option<[FolderStamp; 2]>,
    /// What was last reported about its labels: invalid values and ignored labels.
    labels_said: (Vec<String>, Vec<&'static str>),
    /// Its metadata cannot be read.
    metadata_trouble: Trouble,
    /// Its log cannot be found or opened.
    log_trouble: Trouble,
    /// An open file of its log cannot be read.
    read_trouble: Trouble,
    /// Its log cannot be read anywhere.
    nowhere: Trouble,
    /// It is excluded; only for the messages about that.
    exclusion: Trouble<()>,
    /// Truncated metadata was reported.
    cut_reported: bool,
    /// Index of the reader's root that it was found in.
    pub root: usize,
    /// Known only from the API: its folder is not visible.
    pub is_remote: bool,
    /// It was removed: it is no longer listed, or its folder is missing.
    pub is_gone: bool,
}

impl Container {
    /// Creates a container whose folder was just found.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        found: Found,
        account: Arc<Account>,
        start: Start,
        now: Instant,
    ) -> Container {
        let identity = Arc::new(RecordTemplate::unnamed(
            &found.id,
            ContainerMetadata::nameless(&found),
        ));
        let files = runtime.logs(&found).into_iter().next();
        let files = files.unwrap_or_else(|| LogFiles::numbered(found.dir.clone()));
        Container {
            tailer: Tailer::new(account, files, start, Arc::clone(&identity)),
            source: Source::File,
            api: runtime.api().filter(|_| runtime.is_known_to_api(&found)),
            runtime,
            found,
            identity,
            has_template: false,
            driver: None,
            misses_log: None,
            config_file: None,
            is_stale: false,
            run: None,
            run_seen: None,
            first_seen: now,
            last_read: now,
            pace: Pace::default(),
            watch: None,
            is_active: false,
            rate: RateLimit::default(),
            is_excluded: false,
            folder_is_watched: false,
            is_polled: false,
            next_poll: now,
            looked_at: None,
            labels_said: Default::default(),
            metadata_trouble: Trouble::paced(),
            log_trouble: Trouble::paced(),
            read_trouble: Trouble::paced(),
            nowhere: Trouble::paced(),
            exclusion: Trouble::paced(),
            cut_reported: false,
            root: 0,
            is_remote: false,
            is_gone: false,
        }
    }

    /// Creates a container that only the API lists.
    pub fn new_remote(
        runtime: Arc<dyn Runtime>,
        found: Found,
        account: Arc<Account>,
        start: Start,
        now: Instant,
    ) -> Container {
        Container {
            is_remote: true,
            ..Container::new(runtime, found, account, start, now)
        }
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        self.tailer.id()
    }

    /// The runtime's id for it, shortened.
    fn short_id(&self) -> String {
        self.tailer.account().short_id()
    }

    /// Whether it is below an unreadable path and so may exist although it is not listed.
    pub fn is_below(&self, unreadable: &Path) -> bool {
        self.found.dir.starts_with(unreadable) || self.found.origin.starts_with(unreadable)
    }

    /// The API that knows it, if any.
    pub fn api(&self) -> Option<Api> {
        self.api
    }

    /// Switches to another runtime, which knows more about it.
    pub fn adopt(&mut self, runtime: Arc<dyn Runtime>, found: Found) {
        self.api = runtime.api().filter(|_| runtime.is_known_to_api(&found));
        self.runtime = runtime;
        self.found = found;
        self.is_stale = true;
        self.run = None;
    }

    /// Adds itself to a survey. `streams` are those of its API.
    pub fn add_to(&self, survey: &mut Survey, now: Instant, streams: Option<&Streams>) {
        let source = self.source_kind();
        let driver = self.driver.as_ref().map_or("", |driver| &driver.name);
        self.tailer
            .account()
            .set_origin((!self.is_excluded).then_some((driver, source)));
        survey.count(source);
        if let Some(reason) = self.unread(now, streams) {
            survey.count_unread(reason);
        }
        self.tailer.add_to(survey);
    }

    /// Returns why it is not read although it should be, or `None`.
    fn unread(&self, now: Instant, streams: Option<&Streams>) -> Option<Unread> {
        if self.is_excluded || self.is_gone {
            return None;
        }
        let trouble = self.log_trouble.reason().or(self.read_trouble.reason());
        match self.source {
            Source::Api => streams.and_then(|streams| streams.unread(self.id())),
            Source::Nowhere => self.nowhere.reason(),
            Source::File if trouble.is_some() => trouble,
            Source::File if self.is_remote => Some(Unread::ApiUnavailable),
            Source::File if self.has_template && self.tailer.is_open() => None,
            Source::File if self.metadata_trouble.is_there() => self.metadata_trouble.reason(),
            Source::File => self.misses_file(now).then_some(Unread::Missing),
        }
    }

    /// Whether it runs, its driver writes a file, and there is none.
    fn misses_file(&self, now: Instant) -> bool {
        let writes_file =
            |driver: &LogDriver| [JSON_FILE_DRIVER, "local"].contains(&driver.name.as_str());
        self.tailer.metadata().is_running
            && self.driver.as_ref().is_some_and(writes_file)
            && now.duration_since(self.first_seen) >= LOG_PATIENCE
    }

    fn source_kind(&self) -> SourceKind {
        match self.source {
            Source::Api => SourceKind::Stream,
            Source::File if self.tailer.is_open() => choose::kind_of(self.tailer.files()),
            Source::File | Source::Nowhere => SourceKind::Nowhere,
        }
    }

    /// Makes it active; returns `false` if it already was.
    pub fn activate(&mut self) -> bool {
        !std::mem::replace(&mut self.is_active, true)
    }

    /// Makes it inactive until a notice or a rescan.
    pub fn park(&mut self) {
        self.is_active = false;
    }

    /// Whether it is active.
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Whether a recent slice was costly, or its first one may be.
    pub fn is_costly(&self, now: Instant) -> bool {
        self.tailer.is_costly(now)
    }

    /// How long the last slice took if it was slow, otherwise zero.
    pub fn slice_cost(&self) -> Duration {
        self.tailer.slice_cost()
    }

    /// Whether there is anything to read or to finish.
    pub fn has_work(&self) -> bool {
        self.is_gone || (self.source == Source::File && self.tailer.is_open())
    }

    /// Watches its folder for entries added and removed.
    pub fn watch_folder(&mut self, watch: &mut FileWatch, key: usize) -> io::Result<()> {
        self.folder_is_watched = self.found.dir.with_path(|dir| {
            watch.watch_folder(key, dir)?;
            Ok(network_file_system(dir).is_none())
        })?;
        Ok(())
    }

    /// Whether a rescan must look into its folder: its stamp changed since the last look, or
    /// something that failed may now succeed. With `doubts_watch`, the stamp of a watched
    /// folder is checked too.
    pub fn needs_a_look(&self, doubts_watch: bool) -> bool {
        let is_worth_a_try = self.is_remote
            || self.source == Source::Api
            || self.metadata_trouble.is_there()
            || self.log_trouble.is_there()
            || self.read_trouble.is_there()
            || self.nowhere.is_to_be_reported()
            || self.exclusion.has_news()
            || !self.has_template
            || self.tailer.grace().is_some()
            || (self.misses_log.is_some() && self.driver.is_none());
        is_worth_a_try
            || ((doubts_watch || !self.folder_is_watched)
                && (self.looked_at.is_none() || self.looked_at != self.stamp()))
    }

    fn stamp(&self) -> Option<[FolderStamp; 2]> {
        let stamp = |dir: &SafePath| dir.with_path(|path| Ok(stamp(path))).ok().flatten();
        let (dir, of_log) = (stamp(&self.found.dir)?, &self.tailer.files().dir);
        Some([
            dir,
            if *of_log == self.found.dir {
                dir
            } else {
                stamp(of_log)?
            },
        ])
    }

    /// Handles a file created in its folder.
    pub fn file_made(&mut self, name: &str) {
        if self.source != Source::Api && !self.is_excluded {
            self.tailer.file_made(name);
        }
    }

    /// Checks its open files; returns the deleted ones that are held.
    pub fn survey(&mut self, now: Instant) -> Vec<HeldFile> {
        self.tailer.survey(now)
    }

    /// Drops a deleted file.
    pub fn drop_held(&mut self, number: u32, link: &Link, reason: String) {
        self.tailer.drop_held(number, link, reason);
    }

    /// Handles lost inotify events.
    pub fn notices_lost(&mut self, now: Instant) {
        self.tailer.notices_lost(now);
    }

    /// Looks into the folder: reads the metadata and finds where to read the log from.
    pub fn look(&mut self, around: &mut Surroundings<'_>) {
        if self.is_remote {
            match around.streams.as_mut().filter(|_| !self.is_excluded) {
                Some(streams) if !self.has_template => streams.inspect(*self.tailer.id()),
                Some(streams) => streams.ask_again(self.tailer.id()),
                None => {}
            }
            return;
        }
        self.looked_at = self.stamp();
        self.load_metadata(around);
        if self.exclusion.has_news() {
            self.judge(around);
        }
        if !self.has_template || self.is_excluded {
            return self.check_folder();
        }
        if around.config.mode == Mode::Stream && self.api.is_some() {
            return self.look_for_stream(around, "Mode stream");
        }
        match self.open_file(around) {
            Ok(true) => {
                report_readable(&mut self.log_trouble, self.tailer.files(), around.link);
                self.go_to_file(around);
            }
            Ok(false) => self.look_for_stream_without_file(around),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_folder(),
            Err(error) => {
                self.report_log_failure(around.link, &error);
                // The contents of deleted files are available nowhere else.
                let has_only_copy = is_shortage(&error) || self.tailer.holds_deleted();
                if around.config.mode == Mode::Hybrid && self.api.is_some() && !has_only_copy {
                    self.look_for_stream(around, "its log file cannot be read");
                }
            }
        }
        self.check_folder();
    }

    fn check_folder(&mut self) {
        let is_missing =
            stat_path(&self.found.dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        self.is_gone |= is_missing;
    }

    /// Finds the log's files and opens new ones; returns `false` if there are none.
    fn open_file(&mut self, around: &mut Surroundings<'_>) -> io::Result<bool> {
        if self.source != Source::Api && self.tailer.is_open() {
            self.tailer.refresh(around.link)?;
            return Ok(true);
        }
        let places = self.runtime.logs(&self.found);
        let mut log = choose::find_log(places.clone());
        // Set the watch before looking: a file may be created just after its folder.
        let watches = |files: &LogFiles| self.watch_log_folder(files, around);
        if matches!(log, Ok(None)) && places.iter().map(watches).fold(false, |any, one| any | one) {
            log = choose::find_log(places);
        }
        match log {
            Ok(Some(files)) => self.use_log(files),
            Ok(None) => return Ok(false),
            Err((files, error)) => {
                self.use_log(files);
                return Err(error);
            }
        }
        if self.source == Source::Api {
            return Ok(true);
        }
        self.watch_log_folder(&self.tailer.files().clone(), around);
        self.tailer.refresh(around.link)?;
        Ok(self.tailer.is_open())
    }

    /// Points the tailer at this log, unless it has a file open.
    fn use_log(&mut self, files: LogFiles) {
        if *self.tailer.files() != files && !self.tailer.is_open() {
            self.restart_tailer(files, self.tailer.start());
        }
    }

    fn restart_tailer(&mut self, files: LogFiles, start: Start) {
        let account = Arc::clone(self.tailer.account());
        // Nothing surveys the files that the old tailer had open any more.
        account.set_unread(0);
        // The watches are of closed files; a file that is opened again gets a new watch.
        self.watch = None;
        self.tailer = Tailer::new(account, files, start, Arc::clone(&self.identity));
    }

    /// Watches the log's folder if it is not the container's own, as with the local driver.
    /// Returns whether such a folder exists and is watched.
    fn watch_log_folder(&self, files: &LogFiles, around: &mut Surroundings<'_>) -> bool {
        let Some(watch) = around
            .watch
            .as_mut()
            .filter(|_| files.dir != self.found.dir)
        else {
            return false;
        };
        // If the watch is refused, that of the parent folder was refused before.
        files
            .dir
            .with_path(|dir| watch.watch_folder(around.key, dir))
            .is_ok()
    }

    /// Reads the file from now on, resuming where the API stopped.
    fn go_to_file(&mut self, around: &mut Surroundings<'_>) {
        self.misses_log = None;
        if self.source != Source::Api {
            self.source = Source::File;
            return;
        }
        let released = around
            .streams
            .as_mut()
            .and_then(|streams| streams.release(self.tailer.id()));
        self.source = Source::File;
        if let Some(saved) = released {
            self.tailer.set_start(Start::Saved(saved));
        }
        self.watch_log_folder(&self.tailer.files().clone(), around);
        if let Err(error) = self.tailer.refresh(around.link) {
            self.report_log_failure(around.link, &error);
            return;
        }
        report_readable(&mut self.log_trouble, self.tailer.files(), around.link);
        let (name, short_id) = (self.tailer.metadata().title(), self.short_id());
        around.link.report(Event::StreamEnds { name, short_id });
    }

    /// Decides where to read a container that has no file.
    fn look_for_stream_without_file(&mut self, around: &mut Surroundings<'_>) {
        let is_running = self.tailer.metadata().is_running;
        let driver = self.driver.as_ref();
        let choice = choose::without_files(
            &*self.runtime,
            &self.found,
            driver,
            is_running,
            around.config,
        );
        if driver.is_none() && !matches!(choice, Choice::Later) {
            // The log may be created shortly after the start.
            let since = *self.misses_log.get_or_insert(around.now);
            if around.now.duration_since(since) < LOG_PATIENCE {
                return;
            }
        }
        match choice {
            Choice::Nowhere(reason) => self.give_up(around, reason),
            Choice::Api(reason) => self.look_for_stream(around, &reason),
            // `set_inspected` handles the answer.
            Choice::Ask(reason, api) => match around.streams.as_mut() {
                Some(streams) => streams.inspect(*self.tailer.id()),
                None => self.give_up(around, choose::without_socket(&reason, api)),
            },
            _ => {}
        }
    }

    fn give_up(&mut self, around: &mut Surroundings<'_>, reason: String) {
        self.source = Source::Nowhere;
        let (name, short_id) = (self.tailer.metadata().title(), self.short_id());
        let unread = if choose::is_of_no_log(&reason) {
            Unread::DriverNone
        } else {
            Unread::ApiUnavailable
        };
        self.nowhere.begin(unread, || {
            around.link.report(Event::Unreadable {
                name,
                short_id,
                reason,
            })
        });
    }

    /// Reads the API from now on, unless it is off or already used.
    fn look_for_stream(&mut self, around: &mut Surroundings<'_>, reason: &str) {
        if self.source == Source::Api {
            if let Some(streams) = around.streams.as_mut() {
                streams.ask_again(self.tailer.id());
            }
            return;
        }
        if let Some(nothing) = self.driver.as_ref().and_then(choose::keeps_nothing) {
            return self.give_up(around, nothing);
        }
        let Some(streams) = around.streams.as_mut() else {
            if let Some(api) = self.api.filter(|_| !self.log_trouble.is_there()) {
                self.give_up(around, choose::without_socket(reason, api));
            }
            return;
        };
        let api = streams.api();
        let (id, identity) = (*self.tailer.id(), Arc::clone(&self.identity));
        match streams.follow(id, identity, || self.tailer.hand_over()) {
            Ok(saved) => {
                self.source = Source::Api;
                self.restart_tailer(self.tailer.files().clone(), Start::Saved(saved));
                let (name, short_id) = (self.tailer.metadata().title(), self.short_id());
                let reason = reason.to_owned();
                around.link.report(Event::StreamBegins {
                    api,
                    name,
                    short_id,
                    reason,
                });
            }
            Err(error) => self.report_log_failure(around.link, &error),
        }
    }

    /// Handles the API's answer about a container that has no files here or no log.
    pub fn set_inspected(
        &mut self,
        around: &mut Surroundings<'_>,
        metadata: ContainerMetadata,
        driver: String,
    ) {
        self.driver = Some(LogDriver {
            name: driver,
            has_cache_disabled: false,
        });
        if !self.is_remote && self.has_template {
            return self.judge(around);
        }
        self.set_metadata(metadata, around);
        if self.is_excluded {
            return;
        }
        self.look_for_stream(around, "its folder cannot be read");
    }

    /// Reads the metadata if its file changed.
    fn load_metadata(&mut self, around: &mut Surroundings<'_>) {
        let path = self.runtime.metadata_file(&self.found);
        let file = path
            .and_then(|path| stat_path(&path).ok())
            .map(|(id, _)| id);
        if self.has_template
            && !self.is_stale
            && !self.metadata_trouble.is_there()
            && (file.is_none() || file == self.config_file)
        {
            return;
        }
        match self
            .runtime
            .metadata(&self.found, self.run.unwrap_or_default())
        {
            Ok(metadata) => {
                self.config_file = file;
                self.is_stale = false;
                // The records show that it is readable again, so no message is needed.
                self.metadata_trouble.end(|| true);
                if !self.has_template {
                    let (name, short_id) = (metadata.title(), self.short_id());
                    around.link.report(Event::ContainerFound { name, short_id });
                }
                if self.driver.is_none() {
                    self.driver = self.runtime.log_driver(&self.found);
                }
                self.set_metadata(metadata, around);
            }
            // A log without metadata usually belongs to a container that is being removed.
            Err(MetadataError::Missing { .. }) => {
                let logs = self.runtime.logs(&self.found);
                let has_log = logs
                    .iter()
                    .any(|files| choose::is_there(files).unwrap_or(true));
                if !self.has_template && has_log {
                    // It may also belong to one just created, whose metadata file appeared
                    // after the first read.
                    let again = self
                        .runtime
                        .metadata(&self.found, self.run.unwrap_or_default());
                    self.set_metadata(
                        again.unwrap_or_else(|_| ContainerMetadata::nameless(&self.found)),
                        around,
                    );
                }
            }
            Err(MetadataError::Unreadable { path, reason }) => {
                around.link.tally.read_errors.add_one();
                if let Some(error) = open_regular(&self.found.dir.at(&path))
                    .err()
                    .filter(is_shortage)
                {
                    self.metadata_trouble.begin(Unread::NoDescriptors, || false);
                    return around.link.report_shortage(&path, &error);
                }
                self.metadata_trouble.begin(Unread::Metadata, || {
                    around
                        .link
                        .report(Event::MetadataUnreadable { path, reason })
                });
                if !self.has_template
                    && around.now.duration_since(self.first_seen) >= METADATA_PATIENCE
                {
                    self.set_metadata(ContainerMetadata::nameless(&self.found), around);
                }
            }
        }
    }

    /// If each run of the container has its own files, updates the metadata to the run being
    /// read, since records contain it. Returns until when to wait while that metadata is
    /// incomplete.
    fn follow_run(&mut self, around: &mut Surroundings<'_>) -> Option<Instant> {
        let run = self.tailer.run()?;
        let has_runs = self.tailer.files().current().is_none();
        if !has_runs || self.run == Some(run) {
            return None;
        }
        let now = around.now;
        let since = match self.run_seen {
            Some((seen, since)) if seen == run => since,
            _ => self.run_seen.insert((run, now)).1,
        };
        if let Ok(metadata) = self.runtime.metadata(&self.found, run) {
            let is_complete = metadata.pod.as_ref().is_none_or(|pod| pod.is_complete);
            if !is_complete && now.duration_since(since) < RUN_PATIENCE {
                return Some(now + RUN_INTERVAL);
            }
            self.set_metadata(metadata, around);
        }
        self.run = Some(run);
        None
    }

    fn set_metadata(&mut self, metadata: ContainerMetadata, around: &mut Surroundings<'_>) {
        self.tailer.account().set_name(&metadata.title());
        let config = around.config;
        let read = Labels::read(&metadata.labels, config.label_hints);
        self.report_labels(&read, &metadata.title(), around.link);
        let labels = read.labels;
        self.rate
            .set(labels.rate_limit.unwrap_or(config.rate_limit));
        self.identity = Arc::new(RecordTemplate::new(
            self.id(),
            metadata,
            labels.record_options(config),
        ));
        if self.identity.is_cut() && !self.cut_reported {
            let (name, short_id) = (self.identity.metadata.title(), self.short_id());
            self.cut_reported = around.link.report(Event::MetadataCut { name, short_id });
        }
        self.tailer
            .set_template(Arc::clone(&self.identity), around.link);
        if let (Source::Api, Some(streams)) = (self.source, around.streams.as_mut()) {
            streams.set_template(self.tailer.id(), Arc::clone(&self.identity));
        }
        self.has_template = true;
        self.judge(around);
    }

    /// Reports label problems once, however often the metadata is read.
    fn report_labels(&mut self, read: &labels::Read, name: &str, link: &Link) {
        if self.labels_said == (read.problems.clone(), read.ignored.clone()) {
            return;
        }
        let short_id = self.short_id();
        let mut is_kept = true;
        for problem in &read.problems {
            let (name, short_id) = (name.to_owned(), short_id.clone());
            is_kept &= link.report(Event::LabelInvalid {
                name,
                short_id,
                problem: problem.clone(),
            });
        }
        if !read.ignored.is_empty() {
            let labels = read.ignored.join(", ");
            is_kept &= link.report(Event::LabelIgnored {
                name: name.to_owned(),
                short_id,
                labels,
            });
        }
        if is_kept {
            self.labels_said = (read.problems.clone(), read.ignored.clone());
        }
    }

    /// Decides whether the container, with its current metadata, is read, and reports a
    /// change.
    fn judge(&mut self, around: &mut Surroundings<'_>) {
        let driver = self.driver.as_ref().map_or("", |driver| &driver.name);
        let metadata = &self.identity.metadata;
        let excluded =
            around
                .config
                .selection
                .excludes(around.own, self.tailer.id(), metadata, driver);
        let was_excluded = std::mem::replace(&mut self.is_excluded, excluded.is_some());
        let (name, short_id) = (metadata.title(), self.short_id());
        let link = around.link;
        match excluded.map(|reason| reason.to_string()) {
            Some(reason) => {
                if !was_excluded {
                    self.let_go(around);
                }
                let event = Event::ContainerExcluded {
                    name,
                    short_id,
                    reason,
                };
                self.exclusion.begin((), || link.report(event));
            }
            None => self
                .exclusion
                .end(|| link.report(Event::ContainerIncluded { name, short_id })),
        }
    }

    /// Closes all files and streams of the container. Keeps the offset, so that reading
    /// resumes there if the container is included again.
    fn let_go(&mut self, around: &mut Surroundings<'_>) {
        let streamed = match (self.source, around.streams.as_mut()) {
            (Source::Api, Some(streams)) => streams.release(self.tailer.id()),
            _ => None,
        };
        if streamed.is_some() || self.tailer.is_open() {
            let saved = streamed.unwrap_or_else(|| self.tailer.hand_over());
            self.restart_tailer(self.tailer.files().clone(), Start::Saved(saved));
        }
        self.source = Source::File;
        if let Some(watch) = around.watch.as_mut() {
            watch.forget(around.key);
            // If the watch is refused now, the rescan finds the changes.
            self.folder_is_watched = false;
            let _ = self.watch_folder(watch, around.key);
        }
    }

    /// Reports that its files cannot be found or opened; files that are open may still be
    /// read.
    fn report_log_failure(&mut self, link: &Link, error: &io::Error) {
        report_failure(&mut self.log_trouble, self.tailer.files(), link, error);
    }

    /// Reports that an open file cannot be read.
    fn report_read_failure(&mut self, link: &Link, error: &io::Error) {
        report_failure(&mut self.read_trouble, self.tailer.files(), link, error);
    }

    /// Reads a slice of its log.
    pub fn read(
        &mut self,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> Outcome {
        let (config, now) = (around.config, around.now);
        if !self.is_gone && now < self.next_poll {
            return Outcome::Waiting(self.next_poll);
        }
        if !self.has_template {
            self.load_metadata(around);
        }
        if !self.has_template {
            if !self.is_gone {
                self.next_poll = now + POLL_INTERVAL;
                return Outcome::Waiting(self.next_poll);
            }
            self.set_metadata(ContainerMetadata::nameless(&self.found), around);
        }
        if self.is_excluded {
            if !self.is_gone {
                return Outcome::Parked;
            }
            self.tailer.forget(around.link);
            return Outcome::Finished;
        }
        if self.source == Source::Api {
            return self.end_stream(around);
        }
        if let Some(due) = self.rate.waits_until(now) {
            return Outcome::Throttled(due);
        }
        if self.tailer.account().waits(around.link.queue.is_cautious()) {
            // The end of a hold-back wakes the reader, so its interval can be long.
            let is_held_back = self.tailer.account().is_held_back();
            let interval = if is_held_back {
                HELD_BACK_INTERVAL
            } else {
                CAUTIOUS_INTERVAL
            };
            return Outcome::Throttled(now + interval);
        }
        if let Some(due) = self.follow_run(around) {
            return Outcome::Waiting(due);
        }
        match self.read_slice(context, now) {
            Ok(step) => {
                report_readable(&mut self.read_trouble, self.tailer.files(), around.link);
                match step {
                    Step::AtEnd { has_read: false } => return self.at_end(context, around),
                    Step::Lingering(due) => return Outcome::Waiting(due),
                    _ => {}
                }
                self.has_read(around);
                let has_more = step == Step::More || !config.follow;
                if has_more || self.pace.is_busy() {
                    self.unwatch(around);
                }
                if has_more {
                    Outcome::More
                } else if self.is_watched() && self.tailer.grace().is_none() && !self.is_gone {
                    Outcome::Watched
                } else {
                    Outcome::Active
                }
            }
            Err(error) => {
                self.report_read_failure(around.link, &error);
                if self.is_gone {
                    self.tailer.give_up(around.link);
                    return Outcome::Finished;
                }
                Outcome::Parked
            }
        }
    }

    fn read_slice(&mut self, context: &mut ReadContext<'_>, now: Instant) -> io::Result<Step> {
        if !self.rate.is_on() {
            return self.tailer.read_slice(context);
        }
        let before = self.tailer.account().figures().read.bytes;
        let step = self.tailer.read_slice(context);
        self.rate
            .has_read(self.tailer.account().figures().read.bytes - before, now);
        step
    }

    fn has_read(&mut self, around: &Surroundings<'_>) {
        self.pace
            .brought(around.now.duration_since(self.last_read), around.cycle);
        self.last_read = around.now;
    }

    /// Whether inotify reports each write to the log.
    fn is_watched(&self) -> bool {
        self.watch
            .as_ref()
            .is_some_and(|watch| watch.files == self.tailer.files_met())
    }

    fn watch_log(&mut self, around: &mut Surroundings<'_>) -> Result<(), String> {
        self.unwatch(around);
        let Some(watch) = around.watch.as_mut() else {
            return Err("inotify is not available".to_owned());
        };
        let mut numbers = Vec::with_capacity(1);
        for file in self.tailer.written_files() {
            numbers.push(
                watch
                    .watch_log(around.key, file)
                    .map_err(|error| error.to_string())?,
            );
        }
        self.watch = Some(LogWatch {
            numbers,
            files: self.tailer.files_met(),
        });
        Ok(())
    }

    /// Ends the watch; the log is read at each cycle from now on.
    fn unwatch(&mut self, around: &mut Surroundings<'_>) {
        let (Some(old), Some(watch)) = (self.watch.take(), around.watch.as_mut()) else {
            return;
        };
        for number in old.numbers {
            watch.unwatch_log(around.key, number);
        }
        self.pace = Pace::default();
    }

    /// Parks a container read through an API, or ends it if it is gone: it is active only for
    /// that.
    fn end_stream(&mut self, around: &mut Surroundings<'_>) -> Outcome {
        if !self.is_gone {
            return Outcome::Parked;
        }
        if let Some(streams) = around.streams.as_mut() {
            streams.finish(self.tailer.id());
        }
        self.tailer.forget(around.link);
        let (name, short_id) = (self.tailer.metadata().title(), self.short_id());
        around.link.report(Event::ContainerGone { name, short_id });
        Outcome::Finished
    }

    /// Handles a read that found nothing: everything has been read.
    fn at_end(&mut self, context: &mut ReadContext<'_>, around: &mut Surroundings<'_>) -> Outcome {
        let (config, now) = (around.config, around.now);
        if self.is_gone {
            if let Err(error) = self.tailer.finish(context) {
                self.report_read_failure(context.link, &error);
            }
            let (name, short_id) = (self.tailer.metadata().title(), self.short_id());
            context.link.report(Event::ContainerGone { name, short_id });
            return Outcome::Finished;
        }
        if !config.follow {
            self.tailer.flush_open(context.link);
            return Outcome::Parked;
        }
        if !self.folder_is_watched && self.tailer.is_rotated() {
            return match self.tailer.refresh(context.link) {
                Ok(()) => Outcome::Active,
                Err(_) => Outcome::Parked,
            };
        }
        self.pace.brought_nothing();
        let silence = now.duration_since(self.last_read);
        if self.tailer.grace().is_some_and(|grace| silence >= grace) {
            self.tailer.flush_after(silence, context.link);
        }
        // For what is still open: a complete line may have become part of a multiline record.
        let due = self.tailer.grace().map(|grace| self.last_read + grace);
        let idle = due.map_or(Outcome::Parked, Outcome::Waiting);
        if self.is_polled {
            self.next_poll = now + POLL_INTERVAL;
            return Outcome::Waiting(self.next_poll);
        }
        if self.is_watched() {
            return idle;
        }
        if !self.pace.is_sparse() {
            return Outcome::Active;
        }
        if self.tailer.written_files().any(is_on_network) {
            self.is_polled = true;
            return Outcome::Active;
        }
        if let Err(reason) = self.watch_log(around) {
            self.is_polled = true;
            return Outcome::WatchRefused(reason);
        }
        // A write between the last read and the watch is not reported.
        match self.read_slice(context, now) {
            Ok(Step::AtEnd { has_read: false }) => idle,
            _ => {
                self.has_read(around);
                Outcome::Active
            }
        }
    }
}

/// Reports once that a log cannot be read.
fn report_failure(trouble: &mut Trouble, files: &LogFiles, link: &Link, error: &io::Error) {
    link.tally.read_errors.add_one();
    let unread = Unread::of_error(error);
    if is_shortage(error) {
        // A shortage affects all containers and is reported once for all.
        trouble.begin(unread, || false);
        return link.report_shortage(&files.path, error);
    }
    let (path, reason) = (files.path.to_path_buf(), error.to_string());
    trouble.begin(unread, || {
        link.report(Event::LogUnreadable { path, reason })
    });
}

/// Reports that the log can be read again, if a failure was reported.
fn report_readable(trouble: &mut Trouble, files: &LogFiles, link: &Link) {
    trouble.end(|| {
        link.report(Event::LogReadable {
            path: files.path.to_path_buf(),
        })
    });
}

#[cfg(test)]
mod tests;
