//! The descriptors that open logs may take: the host needs some, and a library of the host that uses
//! `select` fails beyond 1024. Beyond its share, logs are put to rest: those of containers that do not
//! run, then those that have been silent for longest. What is unread of a log can be lost while it is
//! closed, so logs with unread lines are put to rest only beyond a quarter more: first those of which
//! nothing was read yet, then the others, which are opened for each slice.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rustix::process::{getrlimit, Resource};

use crate::config::OpenFilesLimit;
use crate::source::file::content::open_files;
use crate::source::file::tailer::at_rest::Rest;
use crate::source::fleet::Fleet;
use crate::source::schedule::Schedule;
use crate::source::services::Services;

/// So many more than necessary are put to rest at a time: the share, divided by this.
const SPARE_PART: usize = 8;
/// How long after an attempt that could not close enough the next one is due.
const INTERVAL: Duration = Duration::from_millis(200);

/// How many files of logs may be open.
pub(super) struct Limit {
    limit: OpenFilesLimit,
    /// So many, at least, until the next attempt.
    tried: Option<(usize, Instant)>,
}

impl Limit {
    /// As given, or a share of what the process may open.
    pub fn new(given: Option<OpenFilesLimit>) -> Limit {
        Limit {
            limit: given
                .unwrap_or_else(|| OpenFilesLimit::within(getrlimit(Resource::Nofile).current)),
            tried: None,
        }
    }

    fn is_exceeded(&self, now: Instant) -> bool {
        let open = open_files();
        let has_tried = |(most, until): (usize, Instant)| open <= most && now < until;
        open > self.limit.at_rest && !self.tried.is_some_and(has_tried)
    }
}

impl Fleet {
    /// When the next attempt to put logs to rest is due, if one is.
    pub fn next_rest(&self) -> Option<Instant> {
        self.limit.tried.map(|(_, until)| until)
    }

    /// Puts logs to rest if too many files are open.
    pub fn free_descriptors(&mut self, services: &mut Services, schedule: &Schedule, now: Instant) {
        if !self.limit.is_exceeded(now) {
            let is_within = open_files() <= self.limit.limit.at_rest;
            self.limit.tried = self.limit.tried.filter(|_| !is_within);
            return;
        }
        let limit = self.limit.limit;
        let spare = limit.at_rest / SPARE_PART;
        let mut open: Vec<(Rest, Reverse<Duration>, usize)> = Vec::new();
        for (key, container) in &self.containers {
            let rest = container.may_rest(now);
            open.extend(rest.map(|(rest, silence)| (rest, Reverse(silence), key)));
        }
        open.sort_unstable();
        for (rest, _, key) in open {
            let most = match rest.is_read() {
                true => limit.at_rest,
                false => limit.unread,
            };
            if open_files() <= most - spare {
                break;
            }
            if let Some(container) = self.containers.get_mut(key) {
                let api = container.api();
                container.rest(rest, &mut services.around(key, api, now, schedule.cycle()));
            }
        }
        let left = open_files();
        self.limit.tried = (left > limit.at_rest).then_some((left + spare, now + INTERVAL));
    }
}
