//! One instance of the plugin: the checkpoint, the reader's thread, and the
//! drain that the host's thread calls. Knows no C.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::account::{wall_clock, Accounts, Amount};
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::config::Config;
use crate::event::Event;
use crate::exchange::Exchange;
use crate::host::{Host, Level, NoParser};
use crate::metrics;
use crate::queue::{Batch, Progress};
use crate::tail::Reader;

/// Bytes handed to the host in one call at the most; then it gets its thread
/// back for its other work and is rung again.
const DRAIN_BYTES: usize = 4 << 20;

/// Names that are remembered as said; labels may say any number of them.
const MOST_UNKNOWN_PARSERS: usize = 100;

/// How long a stop waits for the reader. It looks whether to end many times a second,
/// but a file system that does not answer can hold it in a call for ever.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What is said of such a reader.
const LEFT_BEHIND: &str = "a file system does not answer: the reader is left behind in it, and what was not accepted is read at the next start";

/// Why an instance cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The operating system refused a thread or a descriptor.
    #[error("cannot start the reader: {0}")]
    System(#[from] std::io::Error),
}

/// What the host's thread holds between two calls of [`Plugin::drain`].
#[derive(Debug, Default)]
struct Drain {
    /// Refused by the host; the next to go.
    held: Option<Offer>,
    checkpoint_failed: bool,
    /// Parsers that the host has not, said already.
    unknown_parsers: HashSet<String>,
}

/// A batch as it is offered to the host; one at a time, so what a parser makes of it is
/// outside of the queue's limit.
#[derive(Debug)]
struct Offer {
    batch: Batch,
    /// Its records as a parser of the host left them.
    parsed: Option<Vec<u8>>,
}

impl Offer {
    fn bytes(&self) -> &[u8] {
        self.parsed.as_deref().unwrap_or(&self.batch.bytes)
    }
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// None of its threads lives.
    Wholly,
    /// Its reader is in a call that does not return; it ends by itself once that does.
    WithoutReader,
}

/// The reader's thread.
#[derive(Debug)]
struct ReaderThread {
    thread: JoinHandle<()>,
    /// Disconnected when the thread has let go of all it had.
    ended: Receiver<()>,
}

/// A running instance.
#[derive(Debug)]
pub struct Plugin {
    exchange: Arc<Exchange>,
    drain: Mutex<Drain>,
    reader: Mutex<Option<ReaderThread>>,
    config: Config,
}

impl Plugin {
    /// Opens the checkpoint and starts the reader's thread, which inherits the
    /// signal mask of the caller.
    pub fn start(config: Config) -> Result<Plugin, StartError> {
        let (mut plugin, is_first_start) = Plugin::without_reader(config)?;
        let (exchange, config) = (Arc::clone(&plugin.exchange), plugin.config.clone());
        plugin.reader = Mutex::new(Some(spawn_reader(exchange, config, is_first_start)?));
        Ok(plugin)
    }

    /// Opens the checkpoint and starts nothing: the caller turns the reader.
    pub fn prepare(config: Config) -> Result<(Plugin, Reader), StartError> {
        let (plugin, is_first_start) = Plugin::without_reader(config)?;
        let reader = Reader::new(Arc::clone(&plugin.exchange), plugin.config.clone(), is_first_start);
        Ok((plugin, reader))
    }

    /// Opens the checkpoint; the second value says that none came before it.
    fn without_reader(config: Config) -> Result<(Plugin, bool), StartError> {
        let mut events = Vec::new();
        let (store, is_first_start) = match &config.db {
            None => (CheckpointStore::in_memory(), true),
            Some(path) => {
                let opened = CheckpointStore::open(path)?;
                if let Some((problem, aside)) = opened.set_aside {
                    events.push(Event::CheckpointSetAside { path: path.clone(), problem, aside });
                }
                if opened.damaged_entries > 0 {
                    let count = opened.damaged_entries;
                    events.push(Event::CheckpointEntriesDamaged { path: path.clone(), count });
                }
                (opened.store, opened.is_first_start)
            }
        };
        let exchange = Exchange::new(config.queue_limit, store).map_err(std::io::Error::from)?;
        for event in events {
            exchange.report(event);
        }
        let exchange = Arc::new(exchange);
        let plugin = Plugin { exchange, drain: Mutex::default(), reader: Mutex::default(), config };
        Ok((plugin, is_first_start))
    }

    /// Readable when there is something to drain.
    pub fn host_fd(&self) -> BorrowedFd<'_> {
        self.exchange.host_bell.as_fd()
    }

    /// Hands queued batches to the host and moves the checkpoint behind each
    /// one it accepts. To be called on the host's thread when [`host_fd`] is
    /// readable. The host may call [`pause`] from inside its append.
    ///
    /// [`host_fd`]: Plugin::host_fd
    /// [`pause`]: Plugin::pause
    pub fn drain(&self, host: &dyn Host) {
        self.exchange.host_bell.silence();
        self.log_events(host);
        self.hand_over(host);
        if self.exchange.take_metrics_changed() {
            host.publish(&metrics::read(&self.exchange, self.config.metrics_per_container));
        }
    }

    fn hand_over(&self, host: &dyn Host) {
        let mut drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        while !self.exchange.paused.load(Ordering::Acquire) {
            let offer = match drain.held.take() {
                Some(refused) => refused,
                None => match self.exchange.queue.pop() {
                    Some(batch) => self.offer(batch, host, &mut drain),
                    None => break,
                },
            };
            let batch = &offer.batch;
            if batch.records > 0 && host.append(batch.tag.as_deref(), batch.records, offer.bytes()).is_err() {
                drain.held = Some(offer);
                self.exchange.refused.store(true, Ordering::Release);
                self.exchange.reader_bell.ring();
                return;
            }
            self.exchange.refused.store(false, Ordering::Release);
            bytes += offer.bytes().len();
            self.accept(offer.batch, &mut drain);
            if bytes >= DRAIN_BYTES {
                self.exchange.host_bell.ring();
                break;
            }
        }
    }

    /// What a label asks of the host's parsers is done once, however often the host
    /// refuses what comes of it.
    fn offer(&self, batch: Batch, host: &dyn Host, drain: &mut Drain) -> Offer {
        let Some(parsing) = batch.parsing.as_deref().filter(|_| batch.records > 0) else {
            return Offer { batch, parsed: None };
        };
        let mut is_unknown = false;
        let parsed = parsing.apply(&batch.bytes, &mut |text| {
            if is_unknown {
                return None;
            }
            host.parse(&parsing.parser, text).unwrap_or_else(|NoParser| {
                is_unknown = true;
                None
            })
        });
        let has_room = drain.unknown_parsers.len() < MOST_UNKNOWN_PARSERS;
        if is_unknown && has_room && drain.unknown_parsers.insert(parsing.parser.clone()) {
            let account = batch.source.as_ref().map(|(account, _)| account);
            let name = account.map(|account| account.name()).unwrap_or_default();
            let (short_id, parser) = (batch.container.short(), parsing.parser.clone());
            self.exchange.report(Event::ParserUnknown { name, short_id, parser });
        }
        Offer { parsed: Some(parsed), batch }
    }

    /// The host has the batch: the checkpoint moves (I1), its room is free.
    fn accept(&self, batch: Batch, drain: &mut MutexGuard<'_, Drain>) {
        let exchange = &self.exchange;
        if let Some((account, bytes)) = batch.source.as_ref().filter(|_| batch.records > 0) {
            let since = account.accepted(Amount { bytes: *bytes, records: batch.records as u64 });
            if let Some(since) = since {
                exchange.latency.observe(since.elapsed_until(wall_clock()));
            }
        }
        if let Ok(mut store) = exchange.checkpoint.lock() {
            let written = match &batch.progress {
                Progress::Advance(advance) => store.advance(batch.container, advance),
                Progress::Forget => store.forget(&batch.container, Instant::now()),
                Progress::Started => store.mark_started(),
            };
            self.report_checkpoint(written, drain);
        }
        if batch.progress == Progress::Forget {
            exchange.has_left(&batch.container);
        }
        if exchange.queue.accepted(batch.bytes) {
            exchange.reader_bell.ring();
        }
    }

    /// Once when writing begins to fail, and once when it works again.
    fn report_checkpoint(&self, written: std::io::Result<()>, drain: &mut Drain) {
        let Some(path) = &self.config.db else { return };
        match written {
            Ok(()) if !drain.checkpoint_failed => self.exchange.tally.checkpoint_writes.add_one(),
            Ok(()) => {
                drain.checkpoint_failed = false;
                self.exchange.report(Event::CheckpointWritable { path: path.clone() });
            }
            Err(error) if !drain.checkpoint_failed => {
                drain.checkpoint_failed = true;
                let reason = error.to_string();
                self.exchange.report(Event::CheckpointUnwritable { path: path.clone(), reason });
            }
            _ => {}
        }
    }

    fn log_events(&self, host: &dyn Host) {
        let (events, dropped) = self.exchange.events.take();
        for event in events {
            host.log(event.level(), &event.to_string());
        }
        if dropped > 0 {
            host.log(Level::Warn, &format!("{dropped} further messages were dropped"));
        }
    }

    /// The instance is broken: its reader ends, and its bell is silent.
    pub fn abandon(&self) {
        self.exchange.stopping.store(true, Ordering::Release);
        self.exchange.reader_bell.ring();
        self.exchange.host_bell.silence();
    }

    /// Nothing is handed over until [`Plugin::resume`]. Safe to call from
    /// inside an append, and more than once.
    pub fn pause(&self) {
        if !self.exchange.paused.swap(true, Ordering::AcqRel) {
            self.exchange.tally.pauses.add_one();
        }
    }

    /// Hands over again.
    pub fn resume(&self) {
        self.exchange.paused.store(false, Ordering::Release);
        self.exchange.host_bell.ring();
    }

    /// What became of every byte so far.
    pub fn accounts(&self) -> &Accounts {
        &self.exchange.accounts
    }

    /// Whether all that was read is accepted.
    pub fn is_drained(&self) -> bool {
        self.exchange.queue.is_empty()
    }

    /// Whether the reader has ended and all it queued was accepted.
    pub fn is_done(&self) -> bool {
        self.exchange.reader_ended.load(Ordering::Acquire) && self.is_drained()
    }

    /// Ends the reader's thread (I5) and makes the checkpoint durable. What the
    /// host has not accepted is read again at the next start.
    ///
    /// A reader that does not come back within five seconds is left behind: the
    /// host, its other inputs and the next instance do not wait for a dead server.
    /// Nobody takes what it may still read.
    pub fn stop(&self, host: &dyn Host) -> Stopped {
        self.exchange.stopping.store(true, Ordering::Release);
        self.exchange.reader_bell.ring();
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stopped = reader.map_or(Stopped::Wholly, ReaderThread::end);
        if stopped == Stopped::WithoutReader {
            host.log(Level::Error, LEFT_BEHIND);
        }
        if let Ok(mut store) = self.exchange.checkpoint.lock() {
            if let Err(error) = store.sync() {
                host.log(Level::Warn, &format!("DB: cannot be flushed to the disk: {error}"));
            }
            // Frees the lock for whoever comes next: at a hot reload, us.
            *store = CheckpointStore::in_memory();
        }
        self.log_events(host);
        for account in self.exchange.accounts.all() {
            if let Some(losses) = account.figures().losses() {
                let (name, short_id) = (account.name(), account.short_id());
                host.log(Level::Warn, &format!("container {name} ({short_id}) lost {losses}"));
            }
        }
        host.log(Level::Info, &format!("stopped: {}", self.exchange.accounts.total()));
        stopped
    }
}

impl ReaderThread {
    fn end(self) -> Stopped {
        if self.ended.recv_timeout(STOP_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            return Stopped::WithoutReader;
        }
        // Its panics were caught inside.
        let _ = self.thread.join();
        Stopped::Wholly
    }
}

/// The reader is made on its own thread: even a look where the roots are can stall.
fn spawn_reader(
    exchange: Arc<Exchange>,
    config: Config,
    is_first_start: bool,
) -> std::io::Result<ReaderThread> {
    let (gone, ended) = channel();
    let thread = std::thread::Builder::new().name("clogs-reader".to_owned()).spawn(move || {
        run_guarded(&exchange, || Reader::new(Arc::clone(&exchange), config, is_first_start).run());
        drop(gone);
    })?;
    Ok(ReaderThread { thread, ended })
}

/// Runs the reader; a panic becomes an event, never a dead process.
fn run_guarded(exchange: &Exchange, read: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(read)) {
        let reason = panic_text(&*panic);
        exchange.report(Event::ReaderStopped { reason });
    }
    exchange.reader_ended.store(true, Ordering::Release);
    exchange.host_bell.ring();
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;
