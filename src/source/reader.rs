//! The reader: one thread that reads the logs of all containers.
//!
//! # The cycle
//!
//! 1. Take notices: watched logs that were written, folders whose entries changed.
//! 2. If a rescan is due, or a runtime's root changed, look for added and removed containers
//!    and for folders whose stamp changed.
//! 3. Look into the changed folders for new generations and renamed containers.
//! 4. Read a slice of each *active* log in turn while the queue has space.
//! 5. Sleep: not at all while there is more to read; a few milliseconds while logs are busy
//!    (longer the more there are); otherwise until a notice arrives.
//!
//! A log is active while it is busy. A log that is written only occasionally is watched; a
//! notice activates it until it has been read (`pace`).

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use slab::Slab;

use crate::config::Config;
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::format::cri;
use crate::format::json_file::Decoder;
use crate::runtime;
use crate::runtime::file::is_permanent;
use crate::runtime::id::ContainerId;
use crate::runtime::own_container::OwnContainer;
use crate::runtime::safe_path::SafePath;
use crate::runtime::{Api, Found, RuntimeChoice};
use crate::source::api::streams::{News, StreamsByApi};
use crate::source::budget::Budget;
use crate::source::container::{Container, Outcome, Surroundings};
use crate::source::file::generation::SLICE_BYTES;
use crate::source::file::tailer::{ReadContext, Start};
use crate::source::roots::Root;
use crate::source::slice::PassTime;
use crate::source::stats::Surveyor;
use crate::source::watch::{FileWatch, Notice};
use crate::telemetry::activity::Doing;
use crate::telemetry::event::Event;
use crate::telemetry::trouble::Trouble;

/// Interval between two reads of the active logs: a part for each of the first fifty logs, a
/// larger one for each further log, clamped to the bounds below. A few busy containers are
/// read almost immediately, a thousand in larger batches. A read that returns nothing takes
/// 0.6 µs, so the total cost of such reads is the same however many logs are active.
const FEW_LOGS: u32 = 50;
const CYCLE_PER_LOG: Duration = Duration::from_micros(66);
const CYCLE_PER_FURTHER_LOG: Duration = Duration::from_micros(200);
const SHORTEST_CYCLE: Duration = Duration::from_millis(1);
const LONGEST_CYCLE: Duration = Duration::from_millis(200);
/// A watched folder is rechecked once in this number of rescans, staggered by key. A thousand
/// idle containers cost next to nothing, and a change whose notice was lost is found within a
/// minute at the default `Rescan_Interval` of 2 s.
const RESCANS_OF_WATCHED: usize = 30;
/// Time budget for looking into folders in one turn. The rest is done in the next turn, after
/// the active logs have been read: an image with megabytes of labels takes a tenth of a
/// second.
const LOOK_TIME: Duration = Duration::from_millis(100);
/// The longest sleep: each turn of the reader is reported as its sign of life.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// The longest sleep while the queue is full, so that rotations are still noticed.
const STALLED_SLEEP: Duration = Duration::from_millis(100);

/// The state of the reader's thread.
pub struct Reader {
    pub(super) link: Arc<Link>,
    config: Config,
    pub(super) roots: Vec<Root>,
    /// A folder below a root is new or has changed.
    roots_changed: bool,
    own: OwnContainer,
    pub(super) containers: Slab<Container>,
    keys: HashMap<ContainerId, usize>,
    active: Vec<usize>,
    /// Containers whose folders must be looked into, and the key at which the next look
    /// begins.
    changed: Vec<usize>,
    next_look: usize,
    look_time: Duration,
    /// Containers of the first list whose folders have not been looked into yet.
    unlooked: Option<HashSet<usize>>,
    /// Index in `active` at which the next pass begins.
    turn: usize,
    file_watch: Option<FileWatch>,
    /// The last call to `take` left events in the kernel's queue.
    has_more_notices: bool,
    /// A watch was refused, so changes are found by polling.
    pub(super) watch_trouble: Trouble<()>,
    pub(super) streams: StreamsByApi,
    next_rescan: Instant,
    /// Counts rescans modulo [`RESCANS_OF_WATCHED`]; selects the watched folders to recheck.
    rescans: usize,
    /// A listed container cannot be added until the last batches of its earlier life are
    /// accepted.
    is_any_expected: bool,
    /// Every root has been listed. [`Progress::Started`] follows once `unlooked` is empty.
    has_started: bool,
    /// The API has not returned a container list yet.
    is_first_list: bool,
    is_first_start: bool,
    /// Checkpoints of containers that are no longer listed have not been dropped yet.
    has_unlisted: bool,
    buffer: Vec<u8>,
    decoder: Decoder,
    cri: cri::Decoder,
    /// Results of the last pass: the number of active logs that are not watched, the number of
    /// watched logs that were read, the interval until these are read again, and the earliest
    /// time at which a waiting log is due.
    busy: usize,
    watched: usize,
    cycle: Duration,
    next_due: Option<Instant>,
    /// A log has more data than its rate limit allows.
    is_any_throttled: bool,
    /// When the open lines of a container read through an API must be delivered.
    next_dead: Option<Instant>,
    holding: Budget,
    pub(super) surveyor: Surveyor,
}

/// Result of a pass over the active logs; determines how long the reader sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// There is more to read, or more folders to look into.
    Behind,
    /// The queue is full.
    Stalled,
    /// Everything has been read.
    CaughtUp,
}

impl Reader {
    /// Creates a reader that has not looked at anything yet. `is_first_start` is true if there
    /// was no checkpoint before this start.
    pub fn new(link: Arc<Link>, config: Config, is_first_start: bool) -> Reader {
        let holding = Budget::new(config.held_files_limit as u64);
        let roots = runtime::all(&config.runtimes)
            .into_iter()
            .map(Root::new)
            .collect();
        let streams = StreamsByApi::new(&link, &config);
        let own = if config.exclude_self {
            OwnContainer::find()
        } else {
            OwnContainer::default()
        };
        Reader {
            streams,
            own,
            link,
            config,
            roots,
            roots_changed: true,
            containers: Slab::new(),
            keys: HashMap::new(),
            active: Vec::new(),
            changed: Vec::new(),
            next_look: 0,
            look_time: LOOK_TIME,
            unlooked: None,
            turn: 0,
            file_watch: None,
            has_more_notices: false,
            watch_trouble: Trouble::default(),
            next_rescan: Instant::now(),
            rescans: 0,
            is_any_expected: false,
            has_started: false,
            is_first_list: true,
            is_first_start,
            has_unlisted: true,
            buffer: Vec::new(),
            decoder: Decoder::default(),
            cri: cri::Decoder::default(),
            busy: 0,
            watched: 0,
            cycle: SHORTEST_CYCLE,
            next_due: None,
            is_any_throttled: false,
            next_dead: None,
            holding,
            surveyor: Surveyor::new(Instant::now()),
        }
    }

    /// Reads until the instance stops or, with `follow` off, until everything has been read.
    pub fn run(&mut self) {
        self.begin();
        while !self.link.is_stopping() {
            let now = Instant::now();
            // Set the watches before looking, so that a change in between is seen by one or
            // the other.
            if now >= self.next_rescan {
                self.watch_roots();
            }
            let pass = self.turn(now);
            if !self.config.follow && pass == Pass::CaughtUp && self.active.is_empty() {
                return;
            }
            self.sleep(pass);
        }
    }

    /// Prepares the first turn: reports the start and sets up inotify.
    pub fn begin(&mut self) {
        self.link.report(Event::Started {
            root: self.config.runtimes.docker_root.clone(),
        });
        match FileWatch::new() {
            Ok(watch) => self.file_watch = Some(watch),
            Err(error) => self.report_watch_failure(self.first_root(), error.to_string()),
        }
    }

    /// Runs one cycle without the sleep at its end; `now` is the time that all waits are
    /// measured against.
    pub fn turn(&mut self, now: Instant) -> Pass {
        self.link.health.turn();
        self.take_notices(now);
        self.take_news(now);
        let mut roots_changed = std::mem::take(&mut self.roots_changed);
        for root in &self.roots {
            roots_changed |= root.take_changed();
        }
        if now >= self.next_rescan {
            self.rescan(now, roots_changed);
        } else if roots_changed {
            self.list_roots(now);
        }
        self.look_into_changed(now);
        self.link.coalesce();
        let pass = self.read_active(now);
        self.link.end_coalescing();
        let is_behind = pass != Pass::CaughtUp || self.is_any_throttled;
        self.holding.survey(
            &mut self.containers,
            &self.active,
            &self.link,
            is_behind,
            now,
        );
        self.survey_if_due(now);
        match pass {
            Pass::CaughtUp if !self.changed.is_empty() || self.has_more_notices => Pass::Behind,
            pass => pass,
        }
    }

    /// The path for messages that concern all roots.
    fn first_root(&self) -> PathBuf {
        self.roots
            .first()
            .map(|root| root.dir.clone())
            .unwrap_or_default()
    }

    fn take_notices(&mut self, now: Instant) {
        let mut notices = Vec::new();
        let mut has_overflowed = false;
        if let Some(watch) = &mut self.file_watch {
            self.has_more_notices = watch.take(&mut notices);
        }
        for notice in notices {
            match notice {
                Notice::LogTouched(key) => self.activate(key),
                Notice::FolderChanged(key) => self.changed.push(key),
                Notice::FileMade(key, name) => {
                    if let Some(container) = self.containers.get_mut(key) {
                        container.file_made(&name);
                    }
                }
                Notice::RootChanged => self.roots_changed = true,
                Notice::Overflow => {
                    has_overflowed = true;
                    let keys: Vec<usize> = self.containers.iter().map(|(key, _)| key).collect();
                    for key in keys {
                        self.changed.push(key);
                        self.activate(key);
                    }
                    self.next_rescan = now;
                }
            }
        }
        if has_overflowed {
            // Names reported after the overflow may belong to files that were found before it.
            let now = Instant::now();
            for (_, container) in &mut self.containers {
                container.notices_lost(now);
            }
        }
    }

    /// Takes what the API threads have reported.
    fn take_news(&mut self, now: Instant) {
        let mut all: Vec<(Api, News)> = Vec::new();
        self.next_dead = None;
        for streams in self.streams.iter() {
            streams.wake();
            let dead = streams.deliver_dead(now);
            self.next_dead = [self.next_dead, dead].into_iter().flatten().min();
            all.push((streams.api(), streams.take_news()));
        }
        for (api, news) in all {
            self.take_news_of(api, news, now);
        }
    }

    fn take_news_of(&mut self, api: Api, news: News, now: Instant) {
        for id in news.touched {
            self.changed.extend(self.keys.get(&id));
        }
        let is_remote = |root: &Root| root.runtime.api() == Some(api) && root.trouble.is_there();
        let remote = self.roots.iter().position(is_remote);
        if let (Some(listed), Some(root)) = (news.listed, remote) {
            self.take_remote(&listed, root, now);
        }
        for (id, metadata, driver) in news.inspected {
            let Some(&key) = self.keys.get(&id) else {
                continue;
            };
            let mut around = Surroundings {
                link: &self.link,
                config: &self.config,
                own: &self.own,
                streams: self.streams.of(api),
                watch: None,
                key,
                now,
                cycle: self.cycle,
            };
            if let Some(container) = self.containers.get_mut(key) {
                container.set_inspected(&mut around, metadata, driver);
                self.changed.push(key);
            }
        }
    }

    /// Adds and removes containers by the API's list, used if the runtime's root cannot be
    /// listed.
    fn take_remote(&mut self, listed: &[ContainerId], root: usize, now: Instant) {
        for id in listed {
            if !self.keys.contains_key(id) && !self.link.is_leaving(id) {
                let start = self.start_of(id, self.is_first_list);
                let dir = self.roots[root].dir.join(id.to_string());
                let found = Found::new(*id, SafePath::from(&dir), dir);
                let runtime = Arc::clone(&self.roots[root].runtime);
                let account = self.link.accounts.open(*id);
                let mut container = Container::new_remote(runtime, found, account, start, now);
                container.root = root;
                let key = self.containers.insert(container);
                self.keys.insert(*id, key);
                self.changed.push(key);
            }
        }
        let listed: HashSet<ContainerId> = listed.iter().copied().collect();
        self.mark_gone(&listed, |of| of == root);
        if std::mem::take(&mut self.is_first_list) {
            self.link.push(Batch::progress(Progress::Started));
        }
    }

    /// Adds a container to the active ones.
    fn activate(&mut self, key: usize) {
        if let Some(container) = self.containers.get_mut(key) {
            if container.activate() {
                self.active.push(key);
            }
        }
    }

    /// Looks for changes that no notice reported: added and removed containers, changed
    /// folders.
    fn rescan(&mut self, now: Instant, roots_changed: bool) {
        self.next_rescan = now + self.config.rescan_interval;
        let is_same = |root: &Root| {
            self.link.activity.lists(&root.dir);
            root.is_same()
        };
        if roots_changed
            || self.is_any_expected
            || !self.has_started
            || !self.roots.iter().all(is_same)
        {
            self.list_roots(now);
        }
        self.rescans = (self.rescans + 1) % RESCANS_OF_WATCHED;
        for (key, container) in &self.containers {
            self.link.activity.is(Doing::Looking, container.id());
            if container.needs_a_look(key % RESCANS_OF_WATCHED == self.rescans) {
                self.changed.push(key);
            }
        }
    }

    fn watch_roots(&mut self) {
        let link = Arc::clone(&self.link);
        let refused: Vec<(PathBuf, String)> = self
            .roots
            .iter_mut()
            .inspect(|root| link.activity.lists(&root.dir))
            .filter_map(|root| Some((root.dir.clone(), root.watch(&link).err()?)))
            .collect();
        for (path, reason) in refused {
            self.report_watch_failure(path, reason);
        }
    }

    /// Reports a failed watch once; from then on the rescan finds the changes.
    fn report_watch_failure(&mut self, path: PathBuf, reason: String) {
        let seconds = self.config.rescan_interval.as_secs_f64();
        self.watch_trouble.begin((), || {
            self.link.report(Event::WatchUnavailable {
                path,
                reason,
                seconds,
            })
        });
    }

    /// Lists the roots, adds new containers and marks missing ones as gone.
    fn list_roots(&mut self, now: Instant) {
        for root in &mut self.roots {
            self.link.activity.lists(&root.dir);
            self.roots_changed |= root.look(self.file_watch.as_mut());
        }
        self.report_roots(now);
        let listed = self.take_listed(now);
        self.mark_gone(&listed, |_| false);
        let is_settled = self.has_started || self.roots.iter().all(|root| self.is_settled(root));
        // Keep the checkpoint of a container that is only hidden now: it is needed once it is
        // seen again.
        if is_settled && self.has_unlisted && !self.roots.iter().any(Root::hides_containers) {
            self.has_unlisted = false;
            self.forget_unlisted(&listed);
        }
        if is_settled && !std::mem::replace(&mut self.has_started, true) {
            // The checkpoint records the start only after each container has a place in it.
            // Otherwise a later start would not know that a container without a place was
            // there at the first one.
            self.unlooked = Some(self.changed.iter().copied().collect());
        }
    }

    /// Whether the listing of a root is final: it was listed, or it does not exist and is not
    /// expected.
    fn is_settled(&self, root: &Root) -> bool {
        root.failure.is_none() || self.is_absent(root)
    }

    /// Whether a root is missing because its runtime is not used on this machine.
    fn is_absent(&self, root: &Root) -> bool {
        let is_any_there = || self.roots.iter().any(|root| root.failure.is_none());
        // One of root's Podman and the users' Podman is enough.
        let options = &self.config.runtimes;
        let is_auto = options.choice == RuntimeChoice::Auto || !options.podman_users.is_empty();
        root.is_missing() && is_auto && !root.runtime.is_missed(true) && is_any_there()
    }

    /// Reports which roots can and cannot be read.
    fn report_roots(&mut self, now: Instant) {
        let is_auto = self.config.runtimes.choice == RuntimeChoice::Auto;
        let silent: Vec<bool> = self
            .roots
            .iter()
            .map(|root| {
                let is_missed = root.runtime.is_missed(false);
                self.is_absent(root) || (is_auto && root.is_missing() && !is_missed)
            })
            .collect();
        let seconds = self.config.rescan_interval.as_secs_f64();
        let mut asked: Vec<Api> = Vec::new();
        for (root, is_silent) in self.roots.iter_mut().zip(silent) {
            if !is_silent {
                root.report(&self.link, seconds);
                root.report_unreadable(&self.link, seconds, now);
                asked.extend(root.runtime.api().filter(|_| root.failure.is_some()));
            }
            // A root that does not exist yet can have no containers older than this process.
            if root.is_missing() {
                root.is_first_look = false;
            }
        }
        // The API may list containers whose folders are not visible here.
        for api in asked {
            if let Some(streams) = self.streams.of(api) {
                streams.list();
            }
        }
    }

    /// Adds the containers that the roots list; returns the ids of all listed ones.
    fn take_listed(&mut self, now: Instant) -> HashSet<ContainerId> {
        let mut listed = HashSet::new();
        self.is_any_expected = false;
        for index in 0..self.roots.len() {
            let root = &mut self.roots[index];
            let is_first = root.failure.is_none() && std::mem::take(&mut root.is_first_look);
            for found in std::mem::take(&mut root.listed) {
                if !listed.insert(found.id) {
                    continue;
                }
                match self.keys.get(&found.id) {
                    Some(&key) => self.meet_again(key, index, found),
                    // A container that has come back is added once all queued batches of its
                    // earlier life are accepted: only then is its checkpoint final.
                    None if self.link.is_leaving(&found.id) => self.is_any_expected = true,
                    None => self.add(index, found, is_first, now),
                }
            }
        }
        listed
    }

    /// Handles a listed container that is already known, perhaps only from the API or from
    /// another runtime.
    fn meet_again(&mut self, key: usize, root: usize, found: Found) {
        let Some(container) = self.containers.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut container.is_remote) {
            if let Some(watch) = &mut self.file_watch {
                // A refused watch has already been reported for another folder.
                let _ = container.watch_folder(watch, key);
            }
            self.changed.push(key);
        }
        if container.root != root {
            container.root = root;
            container.adopt(Arc::clone(&self.roots[root].runtime), found);
            self.changed.push(key);
        }
    }

    /// Returns where to start reading a container; `is_first` means that it was present at the
    /// first look.
    fn start_of(&self, id: &ContainerId, is_first: bool) -> Start {
        let saved = self.link.checkpoint.take_up(id);
        match saved {
            Some(saved) => Start::Saved(saved),
            None if is_first && self.is_first_start && !self.config.read_from_head => Start::End,
            None => Start::Head,
        }
    }

    fn add(&mut self, root: usize, found: Found, is_first: bool, now: Instant) {
        let id = found.id;
        let start = self.start_of(&id, is_first);
        let runtime = Arc::clone(&self.roots[root].runtime);
        let account = self.link.accounts.open_as(id, found.runtime_id());
        let mut container = Container::new(runtime, found, account, start, now);
        container.root = root;
        let key = self.containers.insert(container);
        self.keys.insert(id, key);
        // Set the watch before looking, so that a change in between is seen by one or the
        // other.
        let mut failure = None;
        if let (Some(watch), Some(container)) = (&mut self.file_watch, self.containers.get_mut(key))
        {
            failure = container.watch_folder(watch, key).err();
        }
        // An unreadable folder is reported for its log.
        if let Some(error) = failure.filter(|error| !is_of_the_folder(error)) {
            self.report_watch_failure(self.roots[root].dir.clone(), error.to_string());
        }
        self.changed.push(key);
    }

    /// Marks containers that are no longer listed as gone, if their root is readable or
    /// `is_in_api` returns true for it, as for a root that the API lists instead.
    fn mark_gone(&mut self, listed: &HashSet<ContainerId>, is_in_api: impl Fn(usize) -> bool) {
        let mut gone = Vec::new();
        for (key, container) in &mut self.containers {
            let root = container.root;
            let is_readable = self
                .roots
                .get(root)
                .is_some_and(|root| root.failure.is_none());
            let is_hidden = |container: &Container| {
                self.roots
                    .get(root)
                    .is_some_and(|root| root.hides(container))
            };
            if (is_readable || is_in_api(root))
                && !listed.contains(container.id())
                && !is_hidden(container)
            {
                container.is_gone = true;
                gone.push(key);
            }
        }
        for key in gone {
            self.activate(key);
        }
    }

    /// Drops the checkpoints of containers that were removed while this process was not
    /// running.
    fn forget_unlisted(&self, listed: &HashSet<ContainerId>) {
        let known = self.link.checkpoint.containers();
        let is_away = |id: &ContainerId| !listed.contains(id) && !self.keys.contains_key(id);
        for container in known.into_iter().filter(is_away) {
            self.link.leave(container);
        }
    }

    fn look_into_changed(&mut self, now: Instant) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        // Resume after the last container looked into, so that folders that keep changing do
        // not starve the others.
        let first = changed.partition_point(|key| *key < self.next_look);
        changed.rotate_left(first);
        let begun = Instant::now();
        let mut is_late = false;
        for key in changed.drain(..) {
            let Some(container) = self.containers.get_mut(key) else {
                continue;
            };
            if self.link.is_stopping() {
                break;
            }
            // A gone container is read to its end in this turn, so open the rest of its files
            // now.
            if is_late && !container.is_gone {
                self.changed.push(key);
                continue;
            }
            self.link.activity.is(Doing::Looking, container.id());
            container.look(&mut Surroundings {
                link: &self.link,
                config: &self.config,
                own: &self.own,
                streams: container.api().and_then(|api| self.streams.of(api)),
                watch: self.file_watch.as_mut(),
                key,
                now,
                cycle: self.cycle,
            });
            if container.has_work() {
                self.activate(key);
            }
            if let Some(unlooked) = &mut self.unlooked {
                unlooked.remove(&key);
            }
            if !is_late && begun.elapsed() >= self.look_time {
                (is_late, self.next_look) = (true, key + 1);
            }
        }
        let containers = &self.containers;
        let is_there = |key: &usize| containers.contains(*key);
        if self
            .unlooked
            .as_ref()
            .is_some_and(|unlooked| !unlooked.iter().any(is_there))
        {
            self.unlooked = None;
            self.link.push(Batch::progress(Progress::Started));
        }
    }

    /// Reads one slice of each active log, beginning where the last pass ended.
    fn read_active(&mut self, now: Instant) -> Pass {
        let mut pass = Pass::CaughtUp;
        (self.busy, self.watched) = (0, 0);
        self.is_any_throttled = false;
        self.next_due = None;
        let mut time = PassTime::default();
        let count = self.active.len();
        let first = if count == 0 { 0 } else { self.turn % count };
        for step in 0..count {
            let index = (first + step) % count;
            if !self.link.queue.has_space() || self.link.is_stopping() {
                self.turn = index;
                pass = Pass::Stalled;
                break;
            }
            let key = self.active[index];
            let Some(container) = self.containers.get_mut(key) else {
                continue;
            };
            let is_costly = container.is_costly(now);
            let Some(slice_time) = time.next_slice(is_costly) else {
                pass = Pass::Behind;
                continue;
            };
            let begun = is_costly.then(Instant::now);
            self.link.activity.is(Doing::Looking, container.id());
            let mut context = ReadContext {
                link: &self.link,
                buffer: &mut self.buffer,
                decoder: &mut self.decoder,
                cri: &mut self.cri,
                max_line_bytes: self.config.partial_max_size,
                now,
                slice_time,
            };
            let mut around = Surroundings {
                link: &self.link,
                config: &self.config,
                own: &self.own,
                streams: container.api().and_then(|api| self.streams.of(api)),
                watch: self.file_watch.as_mut(),
                key,
                now,
                cycle: self.cycle,
            };
            let outcome = container.read(&mut context, &mut around);
            if time.took(begun.map_or(container.slice_cost(), |begun| begun.elapsed())) {
                // The next pass begins after the last container that had a full slice.
                self.turn = index + 1;
            }
            match outcome {
                Outcome::More => pass = Pass::Behind,
                Outcome::Active => self.busy += 1,
                Outcome::Waiting(due) | Outcome::Throttled(due) => {
                    self.is_any_throttled |= matches!(outcome, Outcome::Throttled(_));
                    self.next_due = Some(self.next_due.map_or(due, |earlier| earlier.min(due)));
                }
                Outcome::Watched => {
                    self.watched += 1;
                    container.park();
                }
                Outcome::Parked => container.park(),
                Outcome::WatchRefused(reason) => {
                    self.report_watch_failure(self.first_root(), reason)
                }
                Outcome::Finished => self.remove(key),
            }
            if time.is_over() {
                self.turn = index + 1;
                pass = Pass::Behind;
                break;
            }
        }
        let containers = &self.containers;
        let is_active = |key: &usize| containers.get(*key).is_some_and(Container::is_active);
        if pass != Pass::CaughtUp {
            self.turn = self
                .active
                .iter()
                .take(self.turn)
                .filter(|key| is_active(key))
                .count();
        }
        self.active.retain(is_active);
        self.cycle = cycle_of(self.busy, self.watched);
        if self.buffer.len() > SLICE_BYTES && pass == Pass::CaughtUp {
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

    fn sleep(&self, pass: Pass) {
        if self.roots_changed {
            return;
        }
        let until_rescan = self.next_rescan.saturating_duration_since(Instant::now());
        let mut longest = until_rescan.min(LONGEST_SLEEP);
        let is_idle = self.busy == 0 && self.watched == 0;
        match pass {
            Pass::Behind => return,
            Pass::Stalled => longest = longest.min(STALLED_SLEEP),
            Pass::CaughtUp if is_idle => {}
            Pass::CaughtUp => longest = longest.min(self.cycle),
        }
        let dues = [
            self.next_due,
            self.next_dead,
            self.surveyor.next,
            self.holding.next(),
        ];
        for due in dues.into_iter().flatten() {
            longest = longest.min(due.saturating_duration_since(Instant::now()));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let mut fds = vec![PollFd::new(&self.link.reader_waker, PollFlags::IN)];
        if let Some(watch) = &self.file_watch {
            fds.push(PollFd::from_borrowed_fd(watch.names(), PollFlags::IN));
            // While logs are read every few milliseconds anyway, writes need not wake the
            // reader.
            if is_idle && pass == Pass::CaughtUp {
                fds.push(PollFd::from_borrowed_fd(watch.writes(), PollFlags::IN));
            }
        }
        self.link.activity.waits();
        // The result does not matter: the cycle checks everything.
        let _ = poll(&mut fds, Some(&timeout));
        self.link.reader_waker.clear();
    }
}

/// Whether an error concerns the path rather than a limit of the kernel.
fn is_of_the_folder(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::NotADirectory,
    ];
    kinds.contains(&error.kind()) || is_permanent(error)
}

/// Interval between two reads of the active logs, for `busy` logs that are not watched and
/// `watched` logs that were written since the last pass.
fn cycle_of(busy: usize, watched: usize) -> Duration {
    let count = |logs: usize| u32::try_from(logs).unwrap_or(u32::MAX);
    let few = count(busy).min(FEW_LOGS);
    let mut cycle = CYCLE_PER_LOG * few + CYCLE_PER_FURTHER_LOG.saturating_mul(count(busy) - few);
    if watched > 0 {
        let at_least = CYCLE_PER_LOG * FEW_LOGS;
        cycle = cycle
            .max(at_least)
            .max(CYCLE_PER_FURTHER_LOG.saturating_mul(count(watched)));
    }
    cycle.clamp(SHORTEST_CYCLE, LONGEST_CYCLE)
}

#[cfg(test)]
mod turn_tests;
