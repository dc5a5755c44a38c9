//! What is known of one container: who it is, its metadata, and what follows from that: the
//! template of its records, whether it is excluded, and the messages about both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::labels::Labels;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::file::FileId;
use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::{LogDriver, JOURNALD_DRIVER};
use crate::runtime::metadata::{ContainerMetadata, MetadataError};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{Api, Found, LogFiles, Runtime};
use crate::source::choose;
use crate::source::known_driver::KnownDriver;
use crate::source::label_trouble::LabelTrouble;
use crate::source::metadata_trouble::MetadataTrouble;
use crate::source::services::Surroundings;
use crate::telemetry::account::Account;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::throttle::Once;
use crate::telemetry::trouble::Trouble;

/// How long a log waits for metadata that exists but cannot be read.
const METADATA_PATIENCE: Duration = Duration::from_secs(5);
/// How long the first line of a run waits for the metadata of its record, and the interval at
/// which that is checked: the kubelet creates the symlink with the container's id shortly
/// after the log.
const RUN_PATIENCE: Duration = Duration::from_secs(1);
const RUN_INTERVAL: Duration = Duration::from_millis(50);

/// One container and what is known of it.
pub struct Description {
    runtime: Arc<dyn Runtime>,
    found: Found,
    account: Arc<Account>,
    template: Arc<RecordTemplate>,
    metadata: MetadataState,
    /// Some of it could not be read. Also in the template, which is elsewhere in memory.
    is_partial: bool,
    driver: KnownDriver,
    /// The run that the metadata belongs to, and since when the log of another run has been
    /// read.
    run: Option<u32>,
    run_seen: Option<(u32, Instant)>,
    /// When its folder was found.
    first_seen: Instant,
    /// Neither metadata nor a log is in its folder: a leftover, or a container being created.
    is_empty: bool,
    /// Its metadata is being written, and it waits for that.
    is_busy: bool,
    /// Its metadata cannot be read.
    trouble: MetadataTrouble,
    /// The configuration or a label excludes it.
    exclusion: Trouble<()>,
    /// What is wrong with its labels.
    label_trouble: LabelTrouble,
    /// That some of its metadata is cut off.
    cut: Once,
}

/// What the template was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetadataState {
    /// Nothing: no metadata has been read yet.
    Unknown,
    /// Metadata read from this file, or from no file.
    Of(Option<FileId>),
    /// Metadata that are to be read again: of a runtime that knew less than the present one, or from
    /// a file of several containers that changed.
    Stale,
}

impl Description {
    /// Describes a container whose folder was just found.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        found: Found,
        account: Arc<Account>,
        now: Instant,
    ) -> Description {
        let nameless = ContainerMetadata::nameless(&found);
        account.set_names(&nameless.title(), found.shown_id());
        Description {
            template: Arc::new(RecordTemplate::unnamed(&found.id, nameless)),
            runtime,
            found,
            account,
            metadata: MetadataState::Unknown,
            is_partial: false,
            driver: KnownDriver::new(),
            run: None,
            run_seen: None,
            first_seen: now,
            is_empty: false,
            is_busy: false,
            trouble: MetadataTrouble::new(),
            exclusion: Trouble::paced(),
            label_trouble: LabelTrouble::default(),
            cut: Once::default(),
        }
    }

    /// Switches to another runtime, which knows more about the container.
    pub fn adopt(&mut self, runtime: Arc<dyn Runtime>, found: Found) {
        self.runtime = runtime;
        self.found = found;
        self.note_changed();
        self.run = None;
    }

    /// Its metadata are to be read again.
    pub fn note_changed(&mut self) {
        if self.is_known() {
            self.metadata = MetadataState::Stale;
        }
    }

    /// The runtime finds the same container in this place now.
    pub fn move_to(&mut self, found: Found) {
        self.found = found;
        self.is_empty = false;
    }

    /// The id under which the checkpoint stores it.
    pub fn id(&self) -> &ContainerId {
        self.account.id()
    }

    /// Its name and the runtime's id for it, shortened, for messages.
    pub fn names(&self) -> (String, String) {
        self.account.names()
    }

    /// The runtime's id for it; in a pod that of this run.
    fn run_id(&self, metadata: &ContainerMetadata) -> Option<ContainerId> {
        match &metadata.pod {
            Some(pod) => pod.container_id,
            None => self.found.shown_id(),
        }
    }

    /// The runtime that found it.
    pub fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// The API that serves it, if any.
    pub fn api(&self) -> Option<Api> {
        self.runtime.api()
    }

    /// Where the runtime found it.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The account of its log's bytes.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The template of its records; of a container without name until metadata is known.
    pub fn template(&self) -> &Arc<RecordTemplate> {
        &self.template
    }

    /// Its log driver, if known.
    pub fn driver(&self) -> Option<&LogDriver> {
        self.driver.driver.as_ref()
    }

    /// Sets the log driver as an API named it.
    pub fn set_driver(&mut self, name: String) {
        self.driver.driver = Some(LogDriver {
            name,
            has_cache_disabled: false,
        });
    }

    /// Whether its driver writes to these files, if it is known and decides that.
    pub fn writes_to(&self, files: &LogFiles) -> Option<bool> {
        self.runtime.writes(self.driver.driver.as_ref()?, files)
    }

    /// Whether its driver writes to systemd's journal; `None` if that is unknown.
    pub fn writes_to_journal(&self) -> Option<bool> {
        Some(self.driver()?.name == JOURNALD_DRIVER)
    }

    /// Whether it is known what its records contain.
    pub fn is_known(&self) -> bool {
        self.metadata != MetadataState::Unknown
    }

    /// Whether it is not to be read.
    pub fn is_excluded(&self) -> bool {
        self.exclusion.is_there()
    }

    /// Whether a message about its exclusion, or the end of it, is still to be reported.
    pub fn has_news(&self) -> bool {
        self.exclusion.has_news()
    }

    /// Whether another look may find out more although the folder is unchanged; `doubts` that the
    /// creation of a missing link would be noticed.
    pub fn is_incomplete(&self, doubts: bool) -> bool {
        let may_have_id = doubts && self.lacks_id();
        let may_be_more = || {
            !(self.is_known() || self.is_empty)
                || self.trouble.may_be_over(doubts)
                || self.driver.trouble.may_be_over(doubts)
                || self.has_news()
                || (self.is_partial && self.runtime.has_more_metadata(&self.found))
        };
        may_have_id || (!self.is_settled() && may_be_more())
    }

    /// Whether [`Description::is_incomplete`] is false, without doubts, until the description changes.
    pub fn is_settled(&self) -> bool {
        (self.is_known() || self.is_empty)
            && !self.trouble.is_there()
            && !self.driver.trouble.is_there()
            && !self.has_news()
            && !self.exclusion.is_unreported()
            && !self.is_partial
    }

    /// Whether the id of its run is unknown, because the kubelet's link is missing.
    fn lacks_id(&self) -> bool {
        lacks_id(&self.template.metadata)
    }

    /// Whether it waits for metadata that is being written.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether it is still to wait for that.
    pub fn is_still_busy(&self, now: Instant) -> bool {
        let is_due = self.age(now) >= METADATA_PATIENCE;
        self.is_busy && !is_due && !self.runtime.has_more_metadata(&self.found)
    }

    /// Whether some of its metadata could not be read.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Why its metadata cannot be read, if so.
    pub fn unread(&self) -> Option<Unread> {
        self.trouble.reason().or(self.driver.trouble.reason())
    }

    /// Whether it runs with a driver that writes a file as soon as there is a line.
    pub fn writes_files_now(&self) -> bool {
        self.template.metadata.is_running && self.driver().is_some_and(LogDriver::has_own_file)
    }

    /// How long it has been known.
    pub fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.first_seen)
    }

    /// What is known without metadata.
    pub fn nameless(&self) -> ContainerMetadata {
        ContainerMetadata::nameless(&self.found)
    }

    /// Reads the metadata if its file changed. Returns what is then to be set.
    pub fn load(&mut self, around: &Surroundings<'_>) -> Option<ContainerMetadata> {
        let file = self.runtime.metadata_version(&self.found);
        (self.is_empty, self.is_busy) = (false, false);
        let (runtime, found) = (&*self.runtime, &self.found);
        let driver = &mut self.driver;
        let has_other_driver = driver.load(runtime, found, &self.account, around.link);
        if let MetadataState::Of(seen) = self.metadata {
            let is_same = match (seen, file) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(seen), Some(file)) => self.runtime.is_same_version(seen, file),
            };
            let is_complete = !self.trouble.is_there() && !self.is_partial() && !self.lacks_id();
            if is_complete && is_same && !has_other_driver {
                return None;
            }
        }
        match self.read() {
            Ok(metadata) if self.lacks_id() && lacks_id(&metadata) => None,
            Ok(metadata) => {
                // The records show that it is readable again, so no message is needed.
                self.trouble.end();
                self.account
                    .set_names(&metadata.title(), self.run_id(&metadata));
                if !self.is_known() {
                    let (name, short_id) = self.account.names();
                    around.link.report(Event::ContainerFound { name, short_id });
                }
                self.metadata = MetadataState::Of(file);
                let is_news = !metadata.is_partial || metadata != *self.template.metadata;
                is_news.then_some(metadata)
            }
            // A log without metadata usually belongs to a container that is being removed. It
            // may also belong to one just created, whose metadata file appeared after the
            // first read.
            Err(MetadataError::Missing { .. }) => {
                let has_log = |files: &LogFiles| {
                    // One elsewhere may be that of other containers, too.
                    let is_own = files.dir.starts_with(&self.found.dir);
                    is_own && choose::is_there(files).unwrap_or(true)
                };
                let is_to_be_read =
                    !self.is_known() && self.runtime.logs(&self.found).iter().any(has_log);
                // Only a new name in its folder can change that, which is noticed.
                let is_in_folder = |path: SafePath| path.parent() == Some(&*self.found.dir);
                let path = self.runtime.metadata_file(&self.found);
                self.is_empty = !is_to_be_read && path.is_some_and(is_in_folder);
                is_to_be_read.then(|| self.read().unwrap_or_else(|_| self.nameless()))
            }
            Err(MetadataError::Busy { .. }) => {
                self.is_busy = !self.is_known() && self.age(around.now) < METADATA_PATIENCE;
                let has_waited = !self.is_known() && !self.is_busy;
                has_waited.then(|| ContainerMetadata {
                    is_partial: true,
                    ..self.nameless()
                })
            }
            Err(MetadataError::Unreadable { path, reason }) => {
                let (name, short_id) = self.names();
                let event = Event::MetadataUnreadable {
                    name,
                    short_id,
                    path: path.clone(),
                    reason,
                };
                let (path, link) = (self.found.dir.at(path), around.link);
                let is_of_file = self.trouble.begin(path, link, || link.report(event));
                is_of_file.then(|| self.may_be_nameless(around)).flatten()
            }
        }
    }

    /// What is to be set while the metadata cannot be read: its lines do not wait for it for ever,
    /// and not at all if only what exists now is wanted.
    fn may_be_nameless(&self, around: &Surroundings<'_>) -> Option<ContainerMetadata> {
        let has_waited = self.age(around.now) >= METADATA_PATIENCE || !around.config.follow;
        (!self.is_known() && has_waited).then(|| self.nameless())
    }

    fn read(&self) -> Result<ContainerMetadata, MetadataError> {
        let run = self.run.unwrap_or_default();
        self.runtime.metadata(&self.found, run)
    }

    /// Returns the metadata of a run of the container whose files are read now, if it is not
    /// the run that is described; records contain it. `Err` says until when to wait while that
    /// metadata is incomplete.
    pub fn load_run(
        &mut self,
        run: u32,
        now: Instant,
    ) -> Result<Option<ContainerMetadata>, Instant> {
        if self.run == Some(run) {
            return Ok(None);
        }
        let since = match self.run_seen {
            Some((seen, since)) if seen == run => since,
            _ => self.run_seen.insert((run, now)).1,
        };
        let metadata = self.runtime.metadata(&self.found, run).ok();
        let pod = metadata.as_ref().and_then(|metadata| metadata.pod.as_ref());
        let is_complete = pod.is_none_or(|pod| pod.is_complete);
        if !is_complete && now.duration_since(since) < RUN_PATIENCE {
            return Err(now + RUN_INTERVAL);
        }
        self.run = Some(run);
        Ok(metadata)
    }

    /// Makes the template of metadata. Returns the rate limit in bytes per second, 0 for none.
    pub fn set(&mut self, metadata: ContainerMetadata, around: &Surroundings<'_>) -> u64 {
        self.account
            .set_names(&metadata.title(), self.run_id(&metadata));
        let config = around.config;
        let read = Labels::read(&metadata.labels, config.label_hints);
        let options = read.labels.record_options(config);
        self.is_partial = metadata.is_partial;
        self.template = Arc::new(RecordTemplate::new(self.id(), metadata, options));
        if self.is_known() {
            self.account.set_about(&self.template.metadata);
        }
        self.label_trouble.report(&read, &self.account, around.link);
        if self.template.is_cut() {
            let (name, short_id) = self.names();
            let cut = Event::MetadataCut { name, short_id };
            self.cut.report(|| around.link.report(cut));
        }
        if self.metadata == MetadataState::Unknown {
            self.metadata = MetadataState::Of(None);
        }
        read.labels.rate_limit.unwrap_or(config.rate_limit)
    }

    /// Decides whether the container, with its current metadata, is read, and reports a
    /// change. Returns whether it was read before and is not any more.
    pub fn judge(&mut self, around: &Surroundings<'_>) -> bool {
        let driver = self.driver().map_or("", |driver| &driver.name);
        let (selection, metadata) = (&around.config.selection, &self.template.metadata);
        let rules = selection.without_effect(metadata).join(", ");
        if !rules.is_empty() {
            let (name, short_id) = self.names();
            around.link.report_blind_rules(|| Event::RulesBlind {
                name,
                short_id,
                rules,
            });
        }
        let excluded = selection.excludes(around.own, self.account.id(), metadata, driver);
        let reason = excluded.map(|reason| reason.to_string());
        let was_excluded = self.is_excluded();
        let ((name, short_id), link) = (self.names(), around.link);
        match reason {
            Some(reason) => {
                let event = Event::ContainerExcluded {
                    name,
                    short_id,
                    reason,
                };
                self.exclusion.begin((), || link.report(event));
                !was_excluded
            }
            None => {
                self.exclusion
                    .end(|| link.report(Event::ContainerIncluded { name, short_id }));
                false
            }
        }
    }
}

fn lacks_id(metadata: &ContainerMetadata) -> bool {
    let pod = metadata.pod.as_ref();
    pod.is_some_and(|pod| pod.container_id.is_none())
}
