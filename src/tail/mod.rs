//! The reader: one thread for all containers, whatever their number.
//!
//! # The cycle
//!
//! 1. Take notices: idle logs that were touched, folders whose names changed.
//! 2. If it is time, or `containers/` changed, look for containers that came
//!    or went, and at every folder whose modification time moved.
//! 3. Look into the changed folders: new generations, renamed container.
//! 4. Read a slice of each *hot* log in turn, as long as the queue has space.
//! 5. Sleep: not at all while there is more to read; a few milliseconds while
//!    logs are hot (the more of them, the longer); else until a notice.
//!
//! A log is hot from its first write until it has been idle for a while; then
//! the kernel is asked to tell of its next write and it costs nothing.

pub mod file;
pub mod generation;
pub mod gzip;
mod opening;
pub mod rotation;
pub mod tailer;
pub mod watch;

mod container;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use slab::Slab;

use crate::checkpoint::ContainerId;
use crate::config::{Config, Mode};
use crate::discover::{containers_dir, list_containers, RootWatch};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::format::json_file::Decoder;
use crate::queue::{Batch, Progress};
use crate::streams::Streams;
use container::{Container, Outcome, Surroundings};
use tailer::{ReadContext, Start};
use watch::{FileWatch, Notice};

/// How long a refused batch waits before the host is asked again.
const REFUSED_RETRY: Duration = Duration::from_millis(100);
/// Time between two reads of the hot logs, for each hot log, and its bounds:
/// a few busy containers are read at once, a thousand in larger batches.
const CYCLE_PER_LOG: Duration = Duration::from_micros(200);
const SHORTEST_CYCLE: Duration = Duration::from_millis(1);
const LONGEST_CYCLE: Duration = Duration::from_millis(200);
/// The longest sleep while the queue is full; rotations are noticed meanwhile.
const STALLED_SLEEP: Duration = Duration::from_millis(100);

/// The state of the reader's thread.
pub struct Reader {
    exchange: Arc<Exchange>,
    config: Config,
    dir: PathBuf,
    containers: Slab<Container>,
    keys: HashMap<ContainerId, usize>,
    hot: Vec<usize>,
    changed: Vec<usize>,
    /// Where in `hot` the next pass begins.
    turn: usize,
    file_watch: Option<FileWatch>,
    root_watch: Option<RootWatch>,
    root_watch_failed: bool,
    watch_failure_reported: bool,
    root_failure_reported: bool,
    streams: Option<Streams>,
    next_rescan: Instant,
    next_refused_ring: Instant,
    is_first_scan: bool,
    /// The API was not asked for containers yet, or has not answered.
    is_first_list: bool,
    is_first_start: bool,
    buffer: Vec<u8>,
    decoder: Decoder,
    /// How many logs the last pass found truly hot, and when the first of those
    /// that wait is due.
    active: usize,
    next_due: Option<Instant>,
    /// When an open line of a streamed container is to be delivered.
    next_dead_line: Option<Instant>,
}

/// What a pass over the hot logs says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// There is more to read at once.
    Behind,
    /// The queue is full.
    Stalled,
    /// All is read.
    CaughtUp,
}

impl Reader {
    /// A reader that has looked at nothing yet. `is_first_start` says that no
    /// checkpoint came before this start.
    pub fn new(exchange: Arc<Exchange>, config: Config, is_first_start: bool) -> Reader {
        let dir = containers_dir(&config.docker_root);
        let streams = config.docker_socket.clone().filter(|_| config.mode != Mode::File);
        let streams =
            streams.map(|socket| Streams::new(Arc::clone(&exchange), socket, config.partial_max_size));
        Reader {
            streams,
            exchange,
            config,
            dir,
            containers: Slab::new(),
            keys: HashMap::new(),
            hot: Vec::new(),
            changed: Vec::new(),
            turn: 0,
            file_watch: None,
            root_watch: None,
            root_watch_failed: false,
            watch_failure_reported: false,
            root_failure_reported: false,
            next_rescan: Instant::now(),
            next_refused_ring: Instant::now(),
            is_first_scan: true,
            is_first_list: true,
            is_first_start,
            buffer: Vec::new(),
            decoder: Decoder::default(),
            active: 0,
            next_due: None,
            next_dead_line: None,
        }
    }

    /// Reads until told to stop, or, with `follow` off, until all is read.
    pub fn run(&mut self) {
        self.exchange.report(Event::Started { root: self.config.docker_root.clone() });
        match FileWatch::new() {
            Ok(watch) => self.file_watch = Some(watch),
            Err(error) => self.report_watch_failure(error.to_string()),
        }
        while !self.exchange.is_stopping() {
            self.take_notices();
            let now = Instant::now();
            self.take_news(now);
            let root_changed = self.root_watch.as_ref().is_some_and(RootWatch::take_changed);
            if now >= self.next_rescan {
                self.rescan(now);
            } else if root_changed {
                self.list_root(now);
            }
            self.look_into_changed(now);
            let pass = self.read_hot(now);
            self.ring_refusing_host(now);
            if !self.config.follow && pass == Pass::CaughtUp && self.hot.is_empty() {
                return;
            }
            self.sleep(pass);
        }
    }

    fn take_notices(&mut self) {
        let mut notices = Vec::new();
        if let Some(watch) = &mut self.file_watch {
            watch.take(&mut notices);
        }
        for notice in notices {
            match notice {
                Notice::LogTouched(key) => self.heat(key),
                Notice::FolderChanged(key) => self.changed.push(key),
                Notice::Overflow => {
                    let keys: Vec<usize> = self.containers.iter().map(|(key, _)| key).collect();
                    for key in keys {
                        self.changed.push(key);
                        self.heat(key);
                    }
                    self.next_rescan = Instant::now();
                }
            }
        }
    }

    /// What the Docker API told, if anything was asked of it.
    fn take_news(&mut self, now: Instant) {
        let Some(streams) = &mut self.streams else { return };
        streams.wake();
        self.next_dead_line = streams.deliver_dead_lines(now);
        let news = streams.take_news();
        for id in news.touched {
            self.changed.extend(self.keys.get(&id));
        }
        if let Some(mut listed) = news.listed.filter(|_| self.root_failure_reported) {
            listed.sort_unstable();
            self.take_remote(&listed, now);
        }
        for (id, metadata, driver) in news.inspected {
            let Some(&key) = self.keys.get(&id) else { continue };
            let mut around = Surroundings {
                exchange: &self.exchange,
                config: &self.config,
                streams: self.streams.as_mut(),
                watch: None,
                key,
                now,
            };
            if let Some(container) = self.containers.get_mut(key) {
                container.set_inspected(&mut around, metadata, driver);
            }
        }
    }

    /// The containers of the API, where their folders cannot be listed.
    fn take_remote(&mut self, listed: &[ContainerId], now: Instant) {
        for id in listed {
            if !self.keys.contains_key(id) && !self.exchange.is_leaving(id) {
                let start = self.start_of(id, self.is_first_list);
                let dir = self.dir.join(id.to_string());
                let key = self.containers.insert(Container::new_remote(
                    self.exchange.accounts.open(*id),
                    dir,
                    start,
                    now,
                ));
                self.keys.insert(*id, key);
                self.changed.push(key);
            }
        }
        self.mark_gone(listed);
        if std::mem::take(&mut self.is_first_list) {
            self.exchange.push(Batch::progress(Progress::Started));
        }
    }

    /// Puts a log among the hot ones.
    fn heat(&mut self, key: usize) {
        if let Some(container) = self.containers.get_mut(key) {
            if container.heat() {
                self.hot.push(key);
            }
        }
    }

    /// A full look: containers that came and went, folders that changed.
    fn rescan(&mut self, now: Instant) {
        self.next_rescan = now + self.config.rescan_interval;
        self.list_root(now);
        if self.root_watch.is_none() {
            self.watch_root();
        }
        for (key, container) in &mut self.containers {
            if container.needs_a_look() {
                self.changed.push(key);
            }
        }
    }

    fn watch_root(&mut self) {
        if self.root_watch_failed || !self.dir.is_dir() {
            return;
        }
        let exchange = Arc::clone(&self.exchange);
        match RootWatch::new(&self.dir, move || exchange.reader_bell.ring()) {
            Ok(watch) => self.root_watch = Some(watch),
            Err(reason) => {
                self.root_watch_failed = true;
                self.report_watch_failure(reason);
            }
        }
    }

    /// Once: from then on the rescan does it all.
    fn report_watch_failure(&mut self, reason: String) {
        if !self.watch_failure_reported {
            self.watch_failure_reported = true;
            self.exchange.report(Event::WatchUnavailable {
                path: self.dir.clone(),
                reason,
                seconds: self.config.rescan_interval.as_secs_f64(),
            });
        }
    }

    /// Adds the containers that are new and marks those that are gone.
    fn list_root(&mut self, now: Instant) {
        // The root may have appeared, or been a link to elsewhere, since.
        if self.root_failure_reported {
            self.dir = containers_dir(&self.config.docker_root);
        }
        let listed = match list_containers(&self.dir) {
            Ok(listed) => listed,
            Err(error) => {
                self.report_root_failure(&error);
                // No such folder means no container in it that is older than us.
                if error.kind() == io::ErrorKind::NotFound {
                    self.is_first_scan = false;
                }
                // The API may know of containers whose folders we do not see.
                if let Some(streams) = &mut self.streams {
                    streams.list();
                }
                return;
            }
        };
        if self.root_failure_reported {
            self.root_failure_reported = false;
            self.exchange.report(Event::RootReadable { path: self.dir.clone() });
        }
        for id in &listed {
            // One that came back is taken up when all that was queued of its
            // earlier life is accepted: only then is its position known.
            if !self.keys.contains_key(id) && !self.exchange.is_leaving(id) {
                self.add(*id, now);
            }
        }
        self.take_home(&listed);
        self.mark_gone(&listed);
        if std::mem::take(&mut self.is_first_scan) {
            self.forget_unlisted(&listed);
            self.exchange.push(Batch::progress(Progress::Started));
        }
    }

    /// Containers that only the API told of, and whose folders can be seen now.
    fn take_home(&mut self, listed: &[ContainerId]) {
        for id in listed {
            let Some(&key) = self.keys.get(id) else { continue };
            let Some(container) = self.containers.get_mut(key).filter(|container| container.is_remote) else {
                continue;
            };
            container.is_remote = false;
            if let Some(watch) = &mut self.file_watch {
                // Where it is refused, that was said of another folder.
                let _ = container.watch_folder(watch, key);
            }
            self.changed.push(key);
        }
    }

    fn report_root_failure(&mut self, error: &io::Error) {
        if !self.root_failure_reported {
            self.root_failure_reported = true;
            self.root_watch = None;
            self.exchange.report(Event::RootUnreadable {
                path: self.dir.clone(),
                reason: error.to_string(),
                seconds: self.config.rescan_interval.as_secs_f64(),
            });
        }
    }

    /// Where the log of a container begins; `is_first` says that it was there at
    /// the first look.
    fn start_of(&self, id: &ContainerId, is_first: bool) -> Start {
        let saved = self.exchange.checkpoint.lock().ok().and_then(|mut store| store.take_up(id));
        match saved {
            Some(saved) => Start::Saved(saved),
            None if is_first && self.is_first_start && !self.config.read_from_head => Start::End,
            None => Start::Head,
        }
    }

    fn add(&mut self, id: ContainerId, now: Instant) {
        let start = self.start_of(&id, self.is_first_scan);
        let dir = self.dir.join(id.to_string());
        let account = self.exchange.accounts.open(id);
        let key = self.containers.insert(Container::new(account, dir, start, now));
        self.keys.insert(id, key);
        // Watch first, look then: what happens in between is seen either way.
        let mut failure = None;
        if let (Some(watch), Some(container)) = (&mut self.file_watch, self.containers.get_mut(key)) {
            failure = container.watch_folder(watch, key).err();
        }
        if let Some(error) = failure.filter(|error| error.kind() != io::ErrorKind::NotFound) {
            self.report_watch_failure(error.to_string());
        }
        self.changed.push(key);
    }

    fn mark_gone(&mut self, listed: &[ContainerId]) {
        let listed: HashSet<&ContainerId> = listed.iter().collect();
        let gone: Vec<usize> =
            self.keys.iter().filter(|(id, _)| !listed.contains(id)).map(|(_, key)| *key).collect();
        for key in gone {
            if let Some(container) = self.containers.get_mut(key) {
                container.is_gone = true;
            }
            self.heat(key);
        }
    }

    /// Containers that were removed while we were away.
    fn forget_unlisted(&self, listed: &[ContainerId]) {
        let Ok(store) = self.exchange.checkpoint.lock() else { return };
        let unlisted = store.containers().into_iter().filter(|id| listed.binary_search(id).is_err());
        for container in unlisted {
            self.exchange.leave(container);
        }
    }

    fn look_into_changed(&mut self, now: Instant) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for key in changed.drain(..) {
            let Some(container) = self.containers.get_mut(key) else { continue };
            container.look(&mut Surroundings {
                exchange: &self.exchange,
                config: &self.config,
                streams: self.streams.as_mut(),
                watch: self.file_watch.as_mut(),
                key,
                now,
            });
            if container.has_work() {
                self.heat(key);
            }
        }
        self.changed = changed;
    }

    /// One slice of each hot log, beginning where the last pass ended.
    fn read_hot(&mut self, now: Instant) -> Pass {
        let mut pass = Pass::CaughtUp;
        let mut cooled = Vec::new();
        self.active = 0;
        self.next_due = None;
        let count = self.hot.len();
        let first = if count == 0 { 0 } else { self.turn % count };
        for step in 0..count {
            let index = (first + step) % count;
            if !self.exchange.queue.has_space() {
                self.turn = index;
                pass = Pass::Stalled;
                break;
            }
            let key = self.hot[index];
            let Some(container) = self.containers.get_mut(key) else { continue };
            let mut context = ReadContext {
                exchange: &self.exchange,
                buffer: &mut self.buffer,
                decoder: &mut self.decoder,
                max_line_bytes: self.config.partial_max_size,
            };
            let mut around = Surroundings {
                exchange: &self.exchange,
                config: &self.config,
                streams: self.streams.as_mut(),
                watch: self.file_watch.as_mut(),
                key,
                now,
            };
            match container.read(&mut context, &mut around) {
                Outcome::More => pass = Pass::Behind,
                Outcome::Hot => self.active += 1,
                Outcome::Waiting(due) => {
                    self.next_due = Some(self.next_due.map_or(due, |earlier| earlier.min(due)));
                }
                Outcome::Cool => cooled.push(key),
                Outcome::WatchRefused(reason) => self.report_watch_failure(reason),
                Outcome::Finished => {
                    cooled.push(key);
                    self.remove(key);
                }
            }
        }
        if !cooled.is_empty() {
            let containers = &mut self.containers;
            self.hot.retain(|key| match containers.get_mut(*key) {
                Some(container) if cooled.contains(key) => {
                    container.cool();
                    false
                }
                Some(_) => true,
                None => false,
            });
        }
        if self.buffer.len() > generation::SLICE_BYTES && pass == Pass::CaughtUp {
            self.buffer = Vec::new();
        }
        pass
    }

    fn remove(&mut self, key: usize) {
        if let Some(watch) = &mut self.file_watch {
            watch.forget(key);
        }
        if let Some(container) = self.containers.try_remove(key) {
            self.keys.remove(container.id());
        }
    }

    /// A host that refused a batch is asked again after a while.
    fn ring_refusing_host(&mut self, now: Instant) {
        if self.exchange.refused.load(Ordering::Acquire) && now >= self.next_refused_ring {
            self.next_refused_ring = now + REFUSED_RETRY;
            self.exchange.host_bell.ring();
        }
    }

    fn sleep(&self, pass: Pass) {
        let until_rescan = self.next_rescan.saturating_duration_since(Instant::now());
        let mut longest = until_rescan;
        match pass {
            Pass::Behind => return,
            Pass::Stalled => longest = longest.min(STALLED_SLEEP),
            Pass::CaughtUp if self.active == 0 => {}
            Pass::CaughtUp => {
                let cycle = CYCLE_PER_LOG * u32::try_from(self.active).unwrap_or(u32::MAX);
                longest = longest.min(cycle.clamp(SHORTEST_CYCLE, LONGEST_CYCLE));
            }
        }
        for due in [self.next_due, self.next_dead_line].into_iter().flatten() {
            longest = longest.min(due.saturating_duration_since(Instant::now()));
        }
        if self.exchange.refused.load(Ordering::Acquire) {
            longest = longest.min(REFUSED_RETRY);
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let mut fds = vec![PollFd::new(&self.exchange.reader_bell, PollFlags::IN)];
        if let Some(watch) = &self.file_watch {
            fds.push(PollFd::new(watch, PollFlags::IN));
        }
        // Interrupted or not: the cycle looks at everything.
        let _ = poll(&mut fds, Some(&timeout));
        self.exchange.reader_bell.silence();
    }
}
