//! One container as the reader sees it: its folder, its metadata and its
//! tailer, and whether there is anything to do for it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{statx, AtFlags, StatxFlags, CWD};

use super::generation::{stat_path, FileId};
use super::tailer::{ReadContext, Start, Step, Tailer};
use super::watch::FileWatch;
use crate::assemble::Identity;
use crate::checkpoint::ContainerId;
use crate::config::Config;
use crate::discover::docker::{
    read_log_driver, read_metadata, ContainerMetadata, MetadataError, CONFIG_FILE, JSON_FILE_DRIVER,
};
use crate::event::Event;
use crate::exchange::Exchange;

/// How long a log waits for metadata that is there but cannot be read.
const METADATA_PATIENCE: Duration = Duration::from_secs(5);
/// How long an open line whose stream has ended waits for a continuation.
const DEAD_LINE_GRACE: Duration = Duration::from_millis(500);
/// A log is idle when so many reads, and so much time, brought nothing.
const IDLE_READS: u32 = 3;
const IDLE_TIME: Duration = Duration::from_millis(20);
/// Time between reads of a log that cannot be watched.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A folder modified so shortly before we looked may change again without a
/// newer time: the kernel's clock for files ticks every few milliseconds.
const MTIME_TICK: Duration = Duration::from_millis(100);

/// What reading a container's log came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is more to read at once.
    More,
    /// Read to the end; stay hot.
    Hot,
    /// Idle; a watch or a rescan brings it back.
    Cool,
    /// As `Hot`, and the log cannot be watched.
    WatchRefused(String),
    /// Gone and read to the end.
    Finished,
}

/// One container.
pub struct Container {
    dir: PathBuf,
    tailer: Tailer,
    has_identity: bool,
    config_file: Option<FileId>,
    first_seen: Instant,
    last_read: Instant,
    empty_reads: u32,
    is_hot: bool,
    folder_is_watched: bool,
    /// The log cannot be watched and is read at intervals.
    is_polled: bool,
    next_poll: Instant,
    folder_modified: Option<Duration>,
    metadata_failure_reported: bool,
    log_failure_reported: bool,
    /// Its folder is gone.
    pub is_gone: bool,
}

impl Container {
    /// A container whose folder was just found.
    pub fn new(id: ContainerId, dir: PathBuf, start: Start, now: Instant) -> Container {
        let identity = Arc::new(Identity::new(&id, nameless(&id), None));
        Container {
            tailer: Tailer::new(id, &dir, start, identity),
            dir,
            has_identity: false,
            config_file: None,
            first_seen: now,
            last_read: now,
            empty_reads: 0,
            is_hot: false,
            folder_is_watched: false,
            is_polled: false,
            next_poll: now,
            folder_modified: None,
            metadata_failure_reported: false,
            log_failure_reported: false,
            is_gone: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        self.tailer.id()
    }

    /// Makes it hot; `false` if it was.
    pub fn heat(&mut self) -> bool {
        self.empty_reads = 0;
        !std::mem::replace(&mut self.is_hot, true)
    }

    /// It is no longer hot.
    pub fn cool(&mut self) {
        self.is_hot = false;
    }

    /// Whether there is anything to read or to finish.
    pub fn has_work(&self) -> bool {
        self.is_gone || self.tailer.is_open()
    }

    /// Watches its folder for names that come and go.
    pub fn watch_folder(&mut self, watch: &mut FileWatch, key: usize) -> io::Result<()> {
        watch.watch_folder(key, &self.dir)?;
        self.folder_is_watched = true;
        Ok(())
    }

    /// Whether its folder changed since the last call, as far as its time of
    /// modification tells, or something failed that is worth another try.
    pub fn needs_a_look(&mut self) -> bool {
        let flags = StatxFlags::MTIME;
        let Ok(stat) = statx(CWD, &self.dir, AtFlags::empty(), flags) else { return true };
        let seconds = u64::try_from(stat.stx_mtime.tv_sec).unwrap_or(0);
        let modified = Duration::new(seconds, stat.stx_mtime.tv_nsec);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_fresh = now.saturating_sub(modified) < MTIME_TICK;
        let has_changed = self.folder_modified.replace(modified) != Some(modified);
        has_changed
            || is_fresh
            || self.metadata_failure_reported
            || self.log_failure_reported
            || !self.has_identity
    }

    /// Looks into the folder: metadata, and files of the log.
    pub fn look(&mut self, exchange: &Exchange, config: &Config, now: Instant) {
        self.load_identity(exchange, config, now);
        match self.tailer.refresh(exchange) {
            Ok(()) => self.report_log_readable(exchange),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.is_gone =
                    stat_path(&self.dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            }
            Err(error) => self.report_log_failure(exchange, &error),
        }
    }

    /// Reads the metadata if the file is another than last time.
    fn load_identity(&mut self, exchange: &Exchange, config: &Config, now: Instant) {
        let path = self.dir.join(CONFIG_FILE);
        let file = stat_path(&path).ok().map(|(id, _)| id);
        if self.has_identity
            && !self.metadata_failure_reported
            && (file.is_none() || file == self.config_file)
        {
            return;
        }
        match read_metadata(&self.dir) {
            Ok(metadata) => {
                self.config_file = file;
                self.metadata_failure_reported = false;
                if !self.has_identity {
                    self.introduce(exchange, &metadata);
                }
                self.set_metadata(metadata, config);
            }
            // A log without it belongs to a container that is being removed.
            Err(MetadataError::Missing { .. }) => {
                if !self.has_identity && self.tailer.is_open() {
                    self.set_metadata(nameless(self.id()), config);
                }
            }
            Err(MetadataError::Unreadable { path, reason }) => {
                if !self.metadata_failure_reported {
                    self.metadata_failure_reported = true;
                    exchange.report(Event::MetadataUnreadable { path, reason });
                }
                if !self.has_identity && now.duration_since(self.first_seen) >= METADATA_PATIENCE {
                    self.set_metadata(nameless(self.id()), config);
                }
            }
        }
    }

    fn set_metadata(&mut self, metadata: ContainerMetadata, config: &Config) {
        let identity = Identity::new(self.id(), metadata, config.tag_template.as_ref());
        self.tailer.set_identity(Arc::new(identity));
        self.has_identity = true;
    }

    fn introduce(&self, exchange: &Exchange, metadata: &ContainerMetadata) {
        let (name, short_id) = (metadata.name.clone(), self.id().short());
        match read_log_driver(&self.dir) {
            Ok(driver) if driver != JSON_FILE_DRIVER => {
                exchange.report(Event::DriverWithoutFile { name, short_id, driver });
            }
            _ => exchange.report(Event::ContainerFound { name, short_id }),
        }
    }

    fn report_log_failure(&mut self, exchange: &Exchange, error: &io::Error) {
        if !std::mem::replace(&mut self.log_failure_reported, true) {
            let path = self.tailer.log().to_owned();
            exchange.report(Event::LogUnreadable { path, reason: error.to_string() });
        }
    }

    fn report_log_readable(&mut self, exchange: &Exchange) {
        if std::mem::take(&mut self.log_failure_reported) {
            exchange.report(Event::LogReadable { path: self.tailer.log().to_owned() });
        }
    }

    /// Reads a slice of its log.
    pub fn read(
        &mut self,
        context: &mut ReadContext<'_>,
        config: &Config,
        watch: Option<&mut FileWatch>,
        key: usize,
        now: Instant,
    ) -> Outcome {
        if !self.is_gone && (self.is_polled || !self.has_identity) {
            if now < self.next_poll {
                return Outcome::Hot;
            }
            self.next_poll = now + POLL_INTERVAL;
        }
        if !self.has_identity {
            self.load_identity(context.exchange, config, now);
        }
        if !self.has_identity {
            if !self.is_gone {
                return Outcome::Hot;
            }
            self.set_metadata(nameless(self.id()), config);
        }
        match self.tailer.read_slice(context) {
            Ok(Step::More) => {
                self.last_read = now;
                self.empty_reads = 0;
                Outcome::More
            }
            Ok(Step::AtEnd { has_read: true }) => {
                self.last_read = now;
                self.empty_reads = 0;
                if config.follow {
                    Outcome::Hot
                } else {
                    Outcome::More
                }
            }
            Ok(Step::AtEnd { has_read: false }) => self.at_end(context, config, watch, key, now),
            Err(error) => {
                self.report_log_failure(context.exchange, &error);
                if self.is_gone {
                    Outcome::Finished
                } else {
                    Outcome::Cool
                }
            }
        }
    }

    /// Everything there is was read.
    fn at_end(
        &mut self,
        context: &mut ReadContext<'_>,
        config: &Config,
        watch: Option<&mut FileWatch>,
        key: usize,
        now: Instant,
    ) -> Outcome {
        if self.is_gone {
            if let Err(error) = self.tailer.finish(context) {
                self.report_log_failure(context.exchange, &error);
            }
            let (name, short_id) = (self.tailer.metadata().name.clone(), self.id().short());
            context.exchange.report(Event::ContainerGone { name, short_id });
            return Outcome::Finished;
        }
        if !config.follow {
            self.tailer.flush_open_lines(context.exchange);
            return Outcome::Cool;
        }
        if !self.folder_is_watched && self.tailer.is_rotated() {
            return match self.tailer.refresh(context.exchange) {
                Ok(()) => Outcome::More,
                Err(_) => Outcome::Cool,
            };
        }
        self.empty_reads = self.empty_reads.saturating_add(1);
        let idle = now.duration_since(self.last_read);
        if self.tailer.has_dead_line() {
            if idle < DEAD_LINE_GRACE {
                return Outcome::Hot;
            }
            self.tailer.flush_open_lines(context.exchange);
        }
        if self.is_polled || self.empty_reads < IDLE_READS || idle < IDLE_TIME {
            return Outcome::Hot;
        }
        let Some(file) = self.tailer.written_file() else { return Outcome::Cool };
        let watched = match watch {
            Some(watch) => watch.watch_log(key, file).map_err(|error| error.to_string()),
            None => Err("inotify is not to be had".to_owned()),
        };
        if let Err(reason) = watched {
            self.is_polled = true;
            return Outcome::WatchRefused(reason);
        }
        // What was written between the last read and the watch is not told.
        match self.tailer.read_slice(context) {
            Ok(Step::AtEnd { has_read: false }) => Outcome::Cool,
            _ => {
                self.last_read = now;
                self.empty_reads = 0;
                Outcome::Hot
            }
        }
    }
}

/// For a container whose metadata cannot be had: its short id stands in.
fn nameless(id: &ContainerId) -> ContainerMetadata {
    ContainerMetadata { name: id.short(), image: String::new(), is_running: true }
}
