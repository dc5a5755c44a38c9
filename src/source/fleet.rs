//! Which containers there are: those that the roots or an API list, found, adopted by another
//! runtime, and gone. Knows when the first look at all of them is over.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::delivery::checkpoint::{FirstStart, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::runtime;
use crate::runtime::file::is_permanent;
use crate::runtime::id::ContainerId;
use crate::runtime::{Found, Runtime, RuntimeChoice};
use crate::source::choose::reads_files;
use crate::source::container::Container;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;
use crate::source::fleet::containers::Containers;
use crate::source::fleet::copied::Copied;
use crate::source::fleet::descriptors::Limit;
use crate::source::roots::Root;
use crate::source::schedule::Schedule;
use crate::source::services::Services;
use crate::telemetry::account::wall_clock;
use crate::telemetry::activity::Doing;

/// A watched folder is rechecked once in this number of rescans, staggered by key. A thousand
/// idle containers cost next to nothing, and a change whose notice was lost is found within a
/// minute at the default `Rescan_Interval` of 2 s.
const RESCANS_OF_WATCHED: usize = 30;
/// Time budget for looking into folders in one turn. The rest is done in the next turn, after
/// the active logs have been read: an image with megabytes of labels takes a tenth of a
/// second.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// Interval between searches for loops.
const LOOP_INTERVAL: Duration = Duration::from_millis(200);

pub mod containers;
mod copied;
mod departed;
mod descriptors;
mod journaled;
mod listed;
mod outside;
mod remainder;
mod remote;

/// What one turn of the reader lends to the fleet.
pub struct Turn<'a> {
    /// What all containers share.
    pub services: &'a mut Services,
    /// Who is looked into and read next.
    pub schedule: &'a mut Schedule,
    /// The time of the turn.
    pub now: Instant,
}

/// The containers of a reader and the roots that list them.
pub struct Fleet {
    /// The containers, by key.
    pub containers: Containers,
    keys: HashMap<ContainerId, usize>,
    /// The roots of the runtimes.
    pub roots: Vec<Root>,
    /// A folder below a root is new or has changed.
    pub roots_changed: bool,
    first_look: FirstLook,
    pub(in crate::source) look_time: Duration,
    /// A listed container cannot be added until the last batches of its earlier life are
    /// accepted.
    is_any_expected: bool,
    /// The API has not returned a container list yet.
    is_first_list: bool,
    /// When the checkpoint was begun.
    first_start: FirstStart,
    /// Checkpoints of containers that are no longer listed have not been dropped yet.
    has_unlisted: bool,
    looked_for_loops: Instant,
    /// The containers that may be a loop.
    pub(in crate::source) suspected: Vec<usize>,
    /// The containers with several folders.
    copied: Copied,
    /// The logs of several containers that run, which are reported.
    shared: HashSet<PathBuf>,
    /// Counts rescans modulo [`RESCANS_OF_WATCHED`]; selects the watched folders to recheck.
    rescans: usize,
    /// How many files of their logs may be open.
    limit: Limit,
}

/// How far the first look at all containers is. [`Progress::Started`] follows it.
enum FirstLook {
    /// Not every root has been listed.
    Listing,
    /// These containers have not been looked into yet.
    Looking(HashSet<usize>),
    Over,
}

impl Fleet {
    /// Knows no container yet. `first_start` is when the checkpoint was begun.
    pub fn new(config: &Config, first_start: FirstStart) -> Fleet {
        let roots = runtime::all(&config.runtimes);
        Fleet {
            containers: Containers::default(),
            keys: HashMap::new(),
            roots: roots.into_iter().map(Root::new).collect(),
            roots_changed: true,
            first_look: FirstLook::Listing,
            look_time: LOOK_TIME,
            is_any_expected: false,
            is_first_list: true,
            first_start,
            has_unlisted: true,
            looked_for_loops: Instant::now(),
            suspected: Vec::new(),
            copied: Copied::new(),
            shared: HashSet::new(),
            rescans: 0,
            limit: Limit::new(config.open_files),
        }
    }

    /// The folders in which containers are found now, for the message at the start.
    pub fn places(&self) -> Vec<PathBuf> {
        let places = self.roots.iter().flat_map(Root::places);
        let mut known = HashSet::new();
        places.filter(|it| known.insert(it.clone())).collect()
    }

    /// The path for messages that concern all roots.
    pub fn first_root(&self) -> PathBuf {
        let root = self.roots.first();
        root.map(|root| root.dir.clone()).unwrap_or_default()
    }

    /// The keys of all containers.
    pub fn keys(&self) -> Vec<usize> {
        self.containers.iter().map(|(key, _)| key).collect()
    }

    /// The files of a container's log, unless it is excluded or read from an API.
    pub fn tailer_mut(&mut self, key: usize) -> Option<&mut Tailer> {
        self.containers.get_mut(key)?.tailer_mut()
    }

    /// Whether some of a container's metadata could not be read.
    pub fn lacks_metadata(&self) -> bool {
        let mut containers = self.containers.iter();
        containers.any(|(_, container)| container.lacks_metadata())
    }

    /// Number of containers with two folders that are written.
    pub fn written_twice(&self) -> usize {
        self.copied.both()
    }

    /// Reading stops: checks the sizes of all open files, and counts what is lost with those that
    /// were deleted. What was read of the journal may be removed from it from now on.
    pub fn stop(&mut self, services: &mut Services) {
        let link = &services.link;
        self.are_read_up_to(&services.journal.ends(), link);
        for (_, container) in self.containers.iter_mut() {
            if let Some(tailer) = container.tailer_mut() {
                tailer.lose_deleted(link);
            }
        }
    }

    /// Finds the roots where they are now, and watches those that are not watched yet.
    pub fn watch_roots(&mut self, services: &mut Services) {
        for root in &mut self.roots {
            services.link.activity.lists(&root.dir);
            self.roots_changed |= root.find_again();
            if let Err(reason) = root.watch(&services.link) {
                services.report_refused_watch(root.dir.clone(), reason);
            }
        }
    }

    /// Whether an entry of a root has changed since the last call.
    pub fn take_roots_changed(&mut self) -> bool {
        let changed = std::mem::take(&mut self.roots_changed);
        let take_changed = |changed, root: &Root| root.take_changed() || changed;
        self.roots.iter().fold(changed, take_changed)
    }

    /// Looks for changes that no notice reported: added and removed containers, changed
    /// folders.
    pub fn rescan(&mut self, roots_changed: bool, turn: &mut Turn<'_>) {
        let is_same = |root: &Root| {
            turn.services.link.activity.lists(&root.dir);
            root.is_same()
        };
        let is_listing = matches!(self.first_look, FirstLook::Listing);
        // Which folder of a container is written can change at any time.
        let is_due = roots_changed || self.is_any_expected || is_listing || self.copied.is_any();
        if is_due || !self.roots.iter().all(is_same) {
            self.list_roots(turn);
        }
        self.rescans = (self.rescans + 1) % RESCANS_OF_WATCHED;
        let is_doubted = |key| key % RESCANS_OF_WATCHED == self.rescans;
        for (key, container) in self.containers.unsettled(is_doubted) {
            // Its account has the same id, but is elsewhere in memory.
            let id = &container.found().id;
            turn.services.link.activity.is(Doing::Looking, id);
            if container.needs_a_look(is_doubted(key)) {
                turn.schedule.look_into(key);
            }
        }
    }

    /// Lists the roots, adds new containers and marks missing ones as gone.
    pub fn list_roots(&mut self, turn: &mut Turn<'_>) {
        for root in &mut self.roots {
            turn.services.link.activity.lists(&root.dir);
            self.roots_changed |= root.look(&mut turn.services.watch);
        }
        self.report_roots(turn);
        let listed = self.take_listed(turn);
        self.mark_unlisted(&listed, turn);
        let is_listing = matches!(self.first_look, FirstLook::Listing);
        let is_settled =
            |root: &Root| root.failure.is_none() || self.is_absent(root, &turn.services.config);
        if is_listing && !self.roots.iter().all(is_settled) {
            return;
        }
        // Keep the checkpoint of a container that is only hidden now: it is needed once it is
        // seen again.
        if self.has_unlisted && !self.roots.iter().any(Root::hides_containers) {
            self.has_unlisted = false;
            self.forget_unlisted(&listed, turn);
        }
        if is_listing {
            // The checkpoint records the start only after each container has a place in it.
            // Otherwise a later start would not know that a container without a place was
            // there at the first one.
            let unlooked = turn.schedule.changed().iter().copied().collect();
            self.first_look = FirstLook::Looking(unlooked);
        }
    }

    /// Whether a root is missing because its runtime is not used on this machine.
    fn is_absent(&self, root: &Root, config: &Config) -> bool {
        let is_any_there = || self.roots.iter().any(|root| root.failure.is_none());
        let options = &config.runtimes;
        // One of the machine's storage and the users' storages is enough.
        let is_auto = options.choice == RuntimeChoice::Auto || options.reads_users();
        let is_unneeded = is_auto && !root.runtime.is_missed(true) && is_any_there();
        root.is_missing() && (is_unneeded || root.runtime.is_optional())
    }

    /// Reports which roots can and cannot be read.
    fn report_roots(&mut self, turn: &mut Turn<'_>) {
        let is_auto = turn.services.config.runtimes.choice == RuntimeChoice::Auto;
        let of_machine = self
            .containers
            .iter()
            .filter(|(_, it)| it.found().owner.is_none());
        let used: HashSet<usize> = of_machine.map(|(_, it)| it.root).collect();
        let is_silent = |(index, root): (usize, &Root)| {
            let is_unused = is_auto && root.is_missing() && !root.runtime.is_missed(false);
            let is_silent = is_unused || self.is_absent(root, &turn.services.config);
            is_silent && !used.contains(&index)
        };
        let silent: Vec<bool> = self.roots.iter().enumerate().map(is_silent).collect();
        let seconds = turn.services.config.rescan_interval.as_secs_f64();
        for (root, is_silent) in self.roots.iter_mut().zip(silent) {
            if !is_silent {
                root.report(&turn.services.link, seconds);
                root.report_unreadable(&turn.services.link, seconds, turn.now);
                // The API may list containers whose folders are not visible here.
                let api = root.runtime.api().filter(|_| root.failure.is_some());
                if let Some(streams) = api.and_then(|api| turn.services.streams.of(api)) {
                    // Where nothing listens, the folder is the only reason.
                    if streams.may_answer() || !reads_files(&turn.services.config, api) {
                        streams.list();
                    }
                }
            }
            // A root that does not exist yet can have no containers older than this process.
            if root.is_missing() {
                root.is_first_look = false;
            }
        }
    }

    /// Adds a container and has it looked into; `is_first` means that it was present at the
    /// first look.
    fn add(&mut self, root: usize, found: Found, is_first: bool, turn: &mut Turn<'_>) -> usize {
        let (id, link, config) = (found.id, &turn.services.link, &turn.services.config);
        let runtime = Arc::clone(&self.roots[root].runtime);
        // What is older is never delivered.
        let floor = (!config.read_from_head).then(|| self.first_start.time());
        // In the future, it is from a clock that was set back since.
        let floor = floor.flatten().filter(|time| *time <= wall_clock());
        let start = match (link.checkpoint.take_up(&id), floor) {
            (Some(saved), None) => Start::Saved(saved),
            (Some(saved), Some(floor)) => Start::Saved(saved.map(|stream| stream.or_after(floor))),
            (None, Some(floor)) if is_first && self.is_first_start() => Start::End(floor),
            (None, Some(floor)) => {
                let saved = [StreamCheckpoint::after(floor); 2];
                link.begin_at(id, saved);
                Start::Saved(saved)
            }
            (None, None) => match config.tail {
                Some(lines) if self.is_of_before(&*runtime, &found, is_first) => Start::Last(lines),
                _ => Start::Head,
            },
        };
        let account = link.accounts.open_as(id, found.runtime_id());
        let container = Container::new(runtime, root, found, account, start, turn.now);
        let key = self.containers.insert(container);
        self.keys.insert(id, key);
        turn.schedule.look_into(key);
        key
    }

    fn is_first_start(&self) -> bool {
        matches!(self.first_start, FirstStart::Now(_))
    }

    /// Whether a container without a checkpoint existed before the first start. One that is met
    /// after its first look was not visible, as its root was missing or not configured.
    fn is_of_before(&self, runtime: &dyn Runtime, found: &Found, is_first: bool) -> bool {
        if is_first && self.is_first_start() {
            return true;
        }
        let Some(first_start) = self.first_start.time() else {
            return false;
        };
        // A copy of a root makes the folders anew, but not the metadata.
        let created = runtime.created(found).or_else(|| found.birth());
        created.is_some_and(|created| created < first_start.since_epoch())
    }

    fn add_listed(&mut self, root: usize, found: Found, is_first: bool, turn: &mut Turn<'_>) {
        let key = self.add(root, found, is_first, turn);
        // The watch is set before the look, so that a change in between is seen by one or the
        // other.
        let Some(container) = self.containers.get_mut(key) else {
            return;
        };
        let watched = container.watch_folder(&mut turn.services.watch, key);
        // An unreadable folder is reported for its log.
        if let Some(error) = watched.err().filter(|error| !is_of_the_folder(error)) {
            turn.services
                .report_refused_watch(self.roots[root].dir.clone(), error.to_string());
        }
    }

    /// Looks into the folders that have changed, as far as the time of a turn allows.
    pub fn look_into_changed(&mut self, turn: &mut Turn<'_>) {
        let begun = Instant::now();
        let mut is_late = false;
        let mut is_any_outside = false;
        for key in turn.schedule.take_changed() {
            let Some(container) = self.containers.get_mut(key) else {
                continue;
            };
            if turn.services.link.is_stopping() {
                break;
            }
            // A gone container is read to its end in this turn, so open the rest of its files
            // now.
            if is_late && !container.is_gone {
                turn.schedule.look_into(key);
                continue;
            }
            turn.services
                .link
                .activity
                .is(Doing::Looking, container.id());
            let api = container.api();
            container.look(
                &mut turn
                    .services
                    .around(key, api, turn.now, turn.schedule.cycle()),
            );
            let has_work = container.has_work();
            // What of its log is another one's is known once all were looked into.
            let is_outside = container.outside().is_some();
            is_any_outside |= is_outside;
            let waits = is_outside && !matches!(self.first_look, FirstLook::Over);
            if has_work && !waits {
                turn.schedule.activate(key);
            }
            self.free_descriptors(turn.services, turn.schedule, turn.now, Some(key));
            if let FirstLook::Looking(unlooked) = &mut self.first_look {
                unlooked.remove(&key);
            }
            if !is_late && begun.elapsed() >= self.look_time {
                is_late = true;
                turn.schedule.look_next_after(key);
            }
        }
        if is_any_outside {
            self.divide_logs(turn);
        }
        let (containers, keys) = (&self.containers, &self.keys);
        self.copied.report(&turn.services.link, |id| {
            let container = keys.get(id).and_then(|key| containers.get(*key));
            container.map_or_else(|| (id.short(), id.short()), Container::names)
        });
        if let FirstLook::Looking(unlooked) = &self.first_look {
            if !unlooked.iter().any(|key| self.containers.contains(*key)) {
                self.first_look = FirstLook::Over;
                let outside = self
                    .containers
                    .iter()
                    .filter(|(_, it)| it.outside().is_some());
                outside.for_each(|(key, _)| turn.schedule.activate(key));
                turn.services.link.push(Batch::progress(Progress::Started));
            }
        }
    }

    /// From time to time, looks for loops: in the logs that were read since the last time, and where a
    /// search is under way.
    pub fn look_for_own_output(&mut self, schedule: &mut Schedule, link: &Link, now: Instant) {
        if now.duration_since(self.looked_for_loops) < LOOP_INTERVAL {
            return;
        }
        self.looked_for_loops = now;
        let mut keys = schedule.take_read();
        keys.append(&mut self.suspected);
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let container = self.containers.get_mut(key);
            if container.is_some_and(|it| it.look_for_own_output(link, now)) {
                self.suspected.push(key);
            }
        }
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
