//! One instance of the plugin: the checkpoint, the reader's thread, and the drain that the
//! host's thread calls. Contains no C.

use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::delivery::checkpoint::{CheckpointError, CheckpointStore, FirstStart};
use crate::delivery::drain::{Around, Drain};
use crate::delivery::host::Host;
use crate::delivery::host_wake::HostWake;
use crate::delivery::link::Link;
use crate::lock::lock;
use crate::source::journal::seam::JournalLibrary;
use crate::source::reader::Reader;
use crate::telemetry::account::{wall_clock, Accounts};
use crate::telemetry::activity::Doing;
use crate::telemetry::event::{Event, Level};
use crate::telemetry::metrics;
use crate::telemetry::metrics::ContainerSeries;
use crate::telemetry::trouble::Trouble;
use crate::threads::{panic_text, OwnedThread};

/// A reader without a turn for this long is stuck: normally it turns at least every ten
/// seconds.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// How long a stop waits for the reader. It checks for a stop many times a second, but an
/// unresponsive file system can block it in a call forever.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long the stop then waits for the threads started by the reader, if the reader has not
/// ended them.
const OTHERS_PATIENCE: Duration = Duration::from_secs(1);

/// A stop that takes longer logs what it waited for.
const SILENT_PATIENCE: Duration = Duration::from_secs(1);

/// Why an instance cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The operating system refused a thread or a descriptor.
    #[error("cannot start the reader thread: {0}")]
    System(#[from] std::io::Error),
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// All of its threads have ended.
    Wholly,
    /// Its reader, or a thread working for it, is in a call that does not return, and ends by
    /// itself once that does.
    WithoutReader,
}

/// A running instance.
#[derive(Debug)]
pub struct Plugin {
    link: Arc<Link>,
    wake: HostWake,
    drain: Mutex<Drain>,
    /// The containers with metrics of their own.
    series: Mutex<ContainerSeries>,
    /// Whether the reader is stuck.
    stuck_reader: Mutex<Trouble<()>>,
    reader: Mutex<Option<OwnedThread>>,
    config: Config,
}

/// The message about a reader that is left behind, and what it was doing.
fn left_behind(doing: Doing, told: &str) -> String {
    match doing {
        Doing::Listing | Doing::Looking | Doing::Reading => format!(
            "a file system does not respond: stopped without waiting for the reader thread, which is {told}; everything that Fluent Bit has not accepted is read again at the next start"
        ),
        Doing::Nothing | Doing::Decoding => {
            format!("stopped without waiting for the reader thread, which is {told}; everything that Fluent Bit has not accepted is read again at the next start")
        }
    }
}

/// Bytes of records that end with the host: the grace it gave its outputs is over.
fn left_in_memory(host: &dyn Host) -> Option<usize> {
    host.holds()
        .filter(|bytes| *bytes > 0 && !host.keeps_in_files())
}

impl Plugin {
    /// Opens the checkpoint and starts the reader's thread, which inherits the caller's signal
    /// mask.
    pub fn start(config: Config) -> Result<Plugin, StartError> {
        Plugin::start_with(config, None)
    }

    /// As [`Plugin::start`], with a library that reads systemd's journal.
    pub fn start_with(
        config: Config,
        journal: Option<Arc<dyn JournalLibrary>>,
    ) -> Result<Plugin, StartError> {
        let (mut plugin, first_start) = Plugin::without_reader(config)?;
        let (link, config) = (Arc::clone(&plugin.link), plugin.config.clone());
        plugin.reader = Mutex::new(Some(spawn_reader(link, config, first_start, journal)?));
        Ok(plugin)
    }

    /// Opens the checkpoint without starting a thread: the caller runs the reader's turns.
    pub fn prepare(config: Config) -> Result<(Plugin, Reader), StartError> {
        let (plugin, first_start) = Plugin::without_reader(config)?;
        let reader = Reader::new(Arc::clone(&plugin.link), plugin.config.clone(), first_start);
        Ok((plugin, reader))
    }

    /// Opens the checkpoint. The second value says when the first start was.
    fn without_reader(config: Config) -> Result<(Plugin, FirstStart), StartError> {
        let mut events = Vec::new();
        let (store, first_start) = match &config.db {
            None => (CheckpointStore::in_memory(), FirstStart::Now(wall_clock())),
            Some(path) => {
                let opened = if config.saves_positions {
                    CheckpointStore::open(path)?
                } else {
                    let (opened, problem) = CheckpointStore::open_read_only(path)?;
                    events.extend(problem.map(|problem| Event::CheckpointNotUsed {
                        path: path.clone(),
                        problem,
                    }));
                    opened
                };
                if let Some((problem, aside)) = opened.set_aside {
                    events.push(Event::CheckpointSetAside {
                        path: path.clone(),
                        problem,
                        aside,
                    });
                }
                if opened.damaged_entries > 0 {
                    let count = opened.damaged_entries;
                    events.push(Event::CheckpointEntriesDamaged {
                        path: path.clone(),
                        count,
                    });
                }
                (opened.store, opened.first_start)
            }
        };
        let link = Link::new(config.queue_limit, store).map_err(std::io::Error::from)?;
        link.buffered().limit = config.buffered_limit.bytes();
        for event in events {
            link.report(event);
        }
        if config.db.is_some() {
            link.health.set_db_writable(true);
        }
        let link = Arc::new(link);
        let wake = HostWake::new(link.host_waker.as_fd()).map_err(std::io::Error::from)?;
        let plugin = Plugin {
            link,
            wake,
            drain: Mutex::default(),
            series: Mutex::default(),
            stuck_reader: Mutex::default(),
            reader: Mutex::default(),
            config,
        };
        Ok((plugin, first_start))
    }

    /// Readable when there is something to drain.
    pub fn host_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Hands queued batches to the host and advances the checkpoint after each accepted one.
    /// Call it on the host's thread when [`host_fd`] is readable. The host may call [`pause`]
    /// from within its append.
    ///
    /// [`host_fd`]: Plugin::host_fd
    /// [`pause`]: Plugin::pause
    pub fn drain(&self, host: &dyn Host) {
        self.link.host_waker.clear();
        let is_time = self.wake.is_time(Instant::now());
        if is_time {
            self.check_reader();
        }
        self.log_events(host);
        let due = lock(&self.drain).hand_over(self.around(host));
        if due.flush {
            host.flush();
        }
        self.wake.ask_again(
            due.again
                .filter(|_| !self.link.paused.load(Ordering::Acquire)),
        );
        let has_changed = self.link.take_metrics_changed();
        if has_changed || is_time {
            self.link.buffered().bytes = host.holds();
        }
        let is_refresh = || lock(&self.series).needs_refresh(Instant::now());
        if has_changed || (is_time && is_refresh()) {
            self.publish(host);
        } else if is_time {
            // The reader may be stuck; metrics that do not come from it must still be updated.
            host.publish(&metrics::read_instance(&self.link.metric_sources()));
        }
    }

    fn around<'a>(&'a self, host: &'a dyn Host) -> Around<'a> {
        Around {
            link: &self.link,
            refused_record_timeout: self.config.refused_record_timeout,
            buffered_limit: self.config.buffered_limit.bytes().unwrap_or(usize::MAX),
            db: self.config.db.as_deref(),
            host,
        }
    }

    /// Logs once that the reader is stuck, and once that it is back.
    fn check_reader(&self) {
        let link = &self.link;
        let age = link.health.since_last_turn();
        let mut stuck_reader = lock(&self.stuck_reader);
        if age < STUCK_AFTER {
            stuck_reader.end(|| link.report(Event::ReaderBack));
        } else if !link.reader_ended.load(Ordering::Acquire) {
            let (_, doing) = link.activity.tell(&link.accounts);
            let seconds = age.as_secs();
            stuck_reader.begin((), || link.report(Event::ReaderStuck { seconds, doing }));
        }
    }

    /// Publishes the current metrics. Call it on the host's thread; the first call is in
    /// `cb_init`, before any thread can read them.
    pub fn publish(&self, host: &dyn Host) {
        let mut series = lock(&self.series);
        let most = self.config.metrics_per_container;
        host.publish(&metrics::read(
            &self.link.metric_sources(),
            &mut series,
            most,
        ));
        series.report_exhausted(|containers| {
            self.link.report(Event::MetricsExhausted { containers })
        });
    }

    fn log_events(&self, host: &dyn Host) {
        let (events, dropped) = self.link.events.take();
        for event in events {
            host.log(event.level(), &event.to_string());
        }
        if let Some(level) = dropped.level() {
            host.log(level, &dropped.to_string());
        }
    }

    /// Shuts down a broken instance: ends the reader and stops waking the host.
    pub fn abandon(&self) {
        self.link.stopping.store(true, Ordering::Release);
        self.link.reader_waker.wake();
        self.wake.stop();
        self.link.host_waker.clear();
    }

    /// Stops handing over until [`Plugin::resume`]. May be called from within an append, and
    /// repeatedly.
    pub fn pause(&self) {
        if !self.link.paused.swap(true, Ordering::AcqRel) {
            self.link.tally.pauses.add_one();
        }
    }

    /// Resumes handing over.
    pub fn resume(&self) {
        self.link.paused.store(false, Ordering::Release);
        self.link.host_waker.wake();
    }

    /// The accounts of all bytes so far.
    pub fn accounts(&self) -> &Accounts {
        &self.link.accounts
    }

    /// Whether everything queued was accepted.
    pub fn is_drained(&self) -> bool {
        self.link.queue.is_empty()
    }

    /// Whether the reader has ended and everything it queued was accepted.
    pub fn is_done(&self) -> bool {
        self.link.reader_ended.load(Ordering::Acquire) && self.is_drained()
    }

    /// Ends the reader's thread (I5) and makes the checkpoint durable. What the host has not
    /// accepted is read again at the next start.
    ///
    /// A reader that does not end within five seconds is left behind, so that the host, its
    /// other inputs and the next instance do not wait for an unresponsive server. What it may
    /// still read is discarded.
    pub fn stop(&self, host: &dyn Host) -> Stopped {
        self.link.stopping.store(true, Ordering::Release);
        self.link.reader_waker.wake();
        let reader = lock(&self.reader).take();
        let mut stopped = reader.map_or(Stopped::Wholly, |reader| self.end(&reader, host));
        if stopped == Stopped::Wholly {
            lock(&self.drain).settle(self.around(host));
        }
        // A reader that ends in time has already ended the threads that it started.
        if !self.link.threads.close(OTHERS_PATIENCE) {
            stopped = Stopped::WithoutReader;
        }
        if let Err(error) = self.link.checkpoint.close() {
            host.log(
                Level::Warn,
                &format!("DB: cannot be flushed to disk: {error}"),
            );
        }
        self.log_events(host);
        for account in self.link.accounts.all() {
            if let Some(losses) = account.figures().losses() {
                let (name, short_id) = (account.name(), account.short_id());
                host.log(
                    Level::Warn,
                    &format!("container {name} ({short_id}) lost {losses}"),
                );
            }
        }
        let mut total = format!("stopped: {}", self.link.accounts.total());
        if let Some(bytes) = left_in_memory(host) {
            total += &format!(
                " by this input; Fluent Bit holds {bytes} bytes of what was delivered in memory"
            );
            host.log(
                Level::Warn,
                &format!("Fluent Bit ends while it holds {bytes} bytes of this input's records in memory that its outputs have not taken: they are lost unless storage.type of this input is filesystem"),
            );
        }
        host.log(Level::Info, &total);
        stopped
    }

    /// Waits for the reader and, if that takes long, logs what it is doing.
    fn end(&self, reader: &OwnedThread, host: &dyn Host) -> Stopped {
        if reader.ends_within(SILENT_PATIENCE) {
            return Stopped::Wholly;
        }
        let (_, told) = self.link.activity.tell(&self.link.accounts);
        let begun = Instant::now();
        if !reader.ends_within(STOP_PATIENCE.saturating_sub(SILENT_PATIENCE)) {
            let (doing, told) = self.link.activity.tell(&self.link.accounts);
            host.log(Level::Error, &left_behind(doing, &told));
            return Stopped::WithoutReader;
        }
        let seconds = (SILENT_PATIENCE + begun.elapsed()).as_secs_f64();
        host.log(
            Level::Warn,
            &format!("shutdown waited {seconds:.1} s for the reader thread, which was {told}"),
        );
        Stopped::Wholly
    }
}

/// The reader is created on its own thread: even checking where the roots are can block.
fn spawn_reader(
    link: Arc<Link>,
    config: Config,
    first_start: FirstStart,
    journal: Option<Arc<dyn JournalLibrary>>,
) -> std::io::Result<OwnedThread> {
    OwnedThread::spawn("clogs-reader", move || {
        run_guarded(&link, || {
            Reader::new(Arc::clone(&link), config, first_start)
                .with_journal(journal)
                .run()
        });
    })
}

/// Runs the reader; a panic becomes an event instead of ending the process.
fn run_guarded(link: &Link, read: impl FnOnce()) {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(()) => link.health.end(),
        Err(panic) => {
            let reason = panic_text(&*panic);
            link.report(Event::ReaderStopped { reason });
        }
    }
    link.reader_ended.store(true, Ordering::Release);
    link.host_waker.wake();
}

#[cfg(test)]
mod tests;
