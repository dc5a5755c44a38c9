//! The reader: one thread that reads the logs of all containers.
//!
//! # The cycle
//!
//! 1. Take notices: watched logs that were written, folders whose entries changed.
//! 2. If a rescan is due, or a runtime's root changed, look for added and removed containers
//!    and for folders whose stamp changed.
//! 3. Look into the changed folders for new generations and renamed containers.
//! 4. Read a slice of each *active* log in turn while the queue has space.
//! 5. Sleep: not at all while there is more to read; 25 ms or more while logs are busy
//!    (longer the more there are); otherwise until a notice arrives.
//!
//! A log is active while it is busy. A log that is written only occasionally is watched; a
//! notice activates it until it has been read (`follow`, `pace`).

use std::sync::Arc;
use std::time::Instant;

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::config::Config;
use crate::delivery::checkpoint::FirstStart;
use crate::delivery::link::Link;
use crate::format::layout::Decoders;
use crate::source::api::streams::Streams;
use crate::source::budget::Budget;
use crate::source::container::Container;
use crate::source::file::feed::ReadContext;
use crate::source::file::generation::SLICE_BYTES;
use crate::source::file::tailer::Tailer;
use crate::source::fleet::{Fleet, Turn};
use crate::source::inputs::{Input, Same};
use crate::source::journal::seam::JournalLibrary;
pub use crate::source::schedule::Pass;
use crate::source::schedule::{Next, Schedule};
use crate::source::services::Services;
use crate::source::slice::PassTime;
use crate::source::stats::Surveyor;
use crate::source::watch::{FileWatch, Notice};
use crate::telemetry::activity::Doing;
use crate::telemetry::event::Event;

/// The state of the reader's thread.
pub struct Reader {
    services: Services,
    fleet: Fleet,
    schedule: Schedule,
    next_rescan: Instant,
    /// When the open lines of a container read through an API must be delivered.
    next_dead: Option<Instant>,
    /// With `follow` off: the roots were listed again at the end.
    is_listed_again: bool,
    buffer: Vec<u8>,
    decoders: Decoders,
    budget: Budget,
    surveyor: Surveyor,
    input: Input,
}

impl Reader {
    /// Creates a reader that has not looked at anything yet. `first_start` is when the
    /// checkpoint was begun.
    pub fn new(link: Arc<Link>, config: Config, first_start: FirstStart) -> Reader {
        let now = Instant::now();
        Reader {
            fleet: Fleet::new(&config, first_start),
            schedule: Schedule::default(),
            next_rescan: now,
            next_dead: None,
            is_listed_again: false,
            buffer: Vec::new(),
            decoders: Decoders::default(),
            budget: Budget::new(config.held_files_limit as u64),
            surveyor: Surveyor::new(now),
            input: Input::new(&link, &config.input_name),
            services: Services::new(link, config),
        }
    }

    /// Reads systemd's journal with this library.
    pub fn with_journal(mut self, library: Option<Arc<dyn JournalLibrary>>) -> Reader {
        if let Some(library) = library {
            self.services.journal.set_library(library);
        }
        self
    }

    /// Reads until the instance stops or, with `follow` off, until everything has been read.
    pub fn run(&mut self) {
        self.read_on();
        // The figures that are logged at the stop tell what is left in the logs.
        self.fleet.stop(&mut self.services);
    }

    fn read_on(&mut self) {
        self.begin();
        while !self.services.link.is_stopping() {
            let now = Instant::now();
            // Set the watches before looking, so that a change in between is seen by one or
            // the other.
            if now >= self.next_rescan {
                self.fleet.watch_roots(&mut self.services);
            }
            let pass = self.turn(now);
            if !self.services.config.follow && self.has_read_all(pass) && self.has_said_all() {
                return;
            }
            self.sleep(pass);
        }
    }

    /// Whether everything that cannot be read was reported. What metadata lack is known after the
    /// first list, and reported with another one.
    fn has_said_all(&mut self) -> bool {
        if self.is_listed_again || !self.fleet.lacks_metadata() {
            return true;
        }
        self.is_listed_again = true;
        self.fleet.roots_changed = true;
        false
    }

    /// Whether everything that exists has been read after this pass, from files and APIs.
    fn has_read_all(&self, pass: Pass) -> bool {
        pass == Pass::CaughtUp
            && self.schedule.active().is_empty()
            && self.services.streams.iter().all(Streams::is_settled)
    }

    /// Prepares the first turn: reports the start and sets up inotify.
    pub fn begin(&mut self) {
        let roots = self.fleet.places();
        self.services.link.report(Event::Started { roots });
        match FileWatch::new() {
            Ok(watch) => self.services.watch = watch,
            Err(error) => {
                let path = self.fleet.first_root();
                self.services.report_refused_watch(path, error.to_string());
            }
        }
    }

    /// Runs one cycle without the sleep at its end; `now` is the time that all waits are
    /// measured against.
    pub fn turn(&mut self, now: Instant) -> Pass {
        self.services.link.health.turn();
        self.take_notices(now);
        self.take_news(now);
        let roots_changed = self.fleet.take_roots_changed();
        let is_rescan = now >= self.next_rescan;
        if is_rescan {
            self.next_rescan = now + self.services.config.rescan_interval;
        }
        let mut turn = Turn {
            services: &mut self.services,
            schedule: &mut self.schedule,
            now,
        };
        if is_rescan {
            self.fleet.rescan(roots_changed, &mut turn);
        } else if roots_changed {
            self.fleet.list_roots(&mut turn);
        }
        self.fleet.look_into_changed(&mut turn);
        if is_rescan && self.services.config.follow {
            self.compare_with_other_inputs();
        }
        self.services.link.coalesce();
        let read = self
            .fleet
            .read_journal(&mut self.services, &mut self.schedule);
        let pass = match self.read_active(now) {
            Pass::CaughtUp => read,
            pass => pass,
        };
        self.services.link.end_coalescing();
        self.fleet
            .free_descriptors(&mut self.services, &self.schedule, now, None);
        let is_behind = pass != Pass::CaughtUp || self.schedule.is_any_throttled();
        if is_behind {
            self.fleet
                .open_waiting(&mut self.services, &self.schedule, pass, now);
        }
        let (schedule, link) = (&mut self.schedule, &self.services.link);
        self.budget
            .survey(&mut self.fleet, schedule.active(), link, is_behind, now);
        if self.services.config.follow {
            self.fleet.look_for_own_output(schedule, link, now);
        }
        self.surveyor
            .survey_if_due(&mut self.fleet, &self.services, now);
        let is_all_seen = self.schedule.changed().is_empty() && !self.services.watch.has_more();
        match pass {
            Pass::CaughtUp if !is_all_seen => Pass::Behind,
            pass => pass,
        }
    }

    /// Reports once that another input of this process reads the same containers.
    fn compare_with_other_inputs(&self) {
        let containers = &self.fleet.containers;
        let reads = || {
            let read = containers.iter().filter(|(_, it)| it.is_read());
            read.map(|(key, it)| (Same::new(it.id(), &it.found().dir), key))
                .collect()
        };
        self.input.compare(reads, |shared| {
            let container = containers.get(shared.key);
            let (name, short_id) = container.map(Container::names).unwrap_or_default();
            self.services.link.report(Event::SharedContainers {
                count: shared.count,
                name,
                short_id,
                other: shared.other,
            })
        });
    }

    fn take_notices(&mut self, now: Instant) {
        let mut notices = Vec::new();
        self.services.watch.take(&mut notices);
        let mut has_overflowed = false;
        for notice in notices {
            match notice {
                Notice::LogWritten(key) => self.touch(key, true, now),
                Notice::LogTouched(key) => self.touch(key, false, now),
                Notice::FolderChanged(key) => self.schedule.look_into(key),
                Notice::FileMade(key, name) => {
                    if let Some(tailer) = self.fleet.tailer_mut(key) {
                        tailer.file_made(&name);
                    }
                }
                Notice::RootChanged => self.fleet.roots_changed = true,
                Notice::Overflow => {
                    has_overflowed = true;
                    for key in self.fleet.keys() {
                        self.schedule.look_into(key);
                        self.touch(key, false, now);
                    }
                    self.next_rescan = now;
                }
            }
        }
        if has_overflowed {
            // Names reported after the overflow may belong to files that were found before it.
            let now = Instant::now();
            for key in self.fleet.keys() {
                if let Some(tailer) = self.fleet.tailer_mut(key) {
                    tailer.notices_lost(now);
                }
            }
        }
    }

    /// A watched log was written, or renamed or deleted.
    fn touch(&mut self, key: usize, is_write: bool, now: Instant) {
        if let Some(tailer) = self.fleet.tailer_mut(key) {
            tailer.is_written(!self.schedule.is_active(key), now);
            if tailer.is_at_rest() {
                if is_write {
                    tailer.is_written_at_rest();
                }
                self.fleet.open_early(key, &self.services.link);
            }
        }
        self.activate(key);
    }

    fn activate(&mut self, key: usize) {
        if self.fleet.containers.contains(key) {
            self.schedule.activate(key);
        }
    }

    /// Takes what the API threads have reported.
    fn take_news(&mut self, now: Instant) {
        let mut all = Vec::new();
        self.next_dead = None;
        for streams in self.services.streams.iter() {
            streams.wake();
            let dead = streams.deliver_dead(now);
            self.next_dead = [self.next_dead, dead].into_iter().flatten().min();
            all.push((streams.api(), streams.take_news()));
        }
        let mut turn = Turn {
            services: &mut self.services,
            schedule: &mut self.schedule,
            now,
        };
        for (api, news) in all {
            self.fleet.take_news(api, news, &mut turn);
        }
    }

    /// Reads one slice of each active log, beginning where the last pass ended.
    fn read_active(&mut self, now: Instant) -> Pass {
        let mut pass = Pass::CaughtUp;
        let mut time = PassTime::default();
        let link = Arc::clone(&self.services.link);
        for index in self.schedule.begin_pass() {
            if !link.queue.has_space() || link.is_stopping() {
                self.schedule.begin_next_at(index);
                pass = Pass::Stalled;
                break;
            }
            let key = self.schedule.active()[index];
            let Some(container) = self.fleet.containers.get_mut(key) else {
                continue;
            };
            let is_costly = container
                .tailer()
                .is_some_and(|tailer| tailer.is_costly(now));
            let Some(slice_time) = time.next_slice(is_costly) else {
                pass = Pass::Behind;
                continue;
            };
            let begun = is_costly.then(Instant::now);
            link.activity.is(Doing::Looking, container.id());
            let mut context = ReadContext {
                link: &link,
                buffer: &mut self.buffer,
                decoders: &mut self.decoders,
                max_line_bytes: self.services.config.partial_max_size,
                now,
                slice_time,
            };
            let (api, cycle) = (container.api(), self.schedule.cycle());
            let mut around = self.services.around(key, api, now, cycle);
            let next = container.read(&mut context, &mut around);
            let cost = container
                .tailer()
                .map(Tailer::slice_cost)
                .unwrap_or_default();
            self.fleet
                .free_descriptors(&mut self.services, &self.schedule, now, Some(key));
            if time.took(begun.map_or(cost, |begun| begun.elapsed())) {
                // The next pass begins after the last container that had a full slice.
                self.schedule.begin_next_at(index + 1);
            }
            if self.schedule.read(key, next) {
                pass = Pass::Behind;
            }
            if next == Next::Finished {
                let next = self.fleet.remove(key, &mut self.services);
                next.into_iter()
                    .for_each(|key| self.schedule.look_into(key));
            }
            if time.is_over() {
                self.schedule.begin_next_at(index + 1);
                pass = Pass::Behind;
                break;
            }
        }
        self.schedule.end_pass(pass);
        if self.buffer.len() > SLICE_BYTES && pass == Pass::CaughtUp {
            self.buffer = Vec::new();
        }
        pass
    }

    fn sleep(&self, pass: Pass) {
        let Services { link, watch, .. } = &self.services;
        let dues = [
            Some(self.next_rescan),
            self.next_dead,
            self.surveyor.next,
            self.budget.next(),
            self.fleet.next_rest(),
            self.services.journal.retry(),
        ];
        let longest = self.schedule.sleep_after(pass, dues);
        if self.fleet.roots_changed || pass == Pass::Behind {
            return;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        // While logs are read in each cycle anyway, writes need not wake the reader.
        let is_idle = self.schedule.is_idle() && pass == Pass::CaughtUp;
        let writes = watch.writes().filter(|_| is_idle);
        let mut fds = vec![PollFd::new(&link.reader_waker, PollFlags::IN)];
        for notices in [watch.names(), writes].into_iter().flatten() {
            fds.push(PollFd::from_borrowed_fd(notices, PollFlags::IN));
        }
        if let Some(notices) = self.services.journal.notices() {
            fds.push(PollFd::from_borrowed_fd(notices, PollFlags::IN));
        }
        link.activity.waits();
        // The result does not matter: the cycle checks everything.
        let _ = poll(&mut fds, Some(&timeout));
        link.reader_waker.clear();
    }
}

#[cfg(test)]
mod tests;
