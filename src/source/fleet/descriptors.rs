//! The descriptors that open logs may take: the host needs some, and a library of the host that uses
//! `select` fails beyond 1024. Beyond its share, logs are put to rest: those of containers that do not
//! run, then those that have been silent for longest. What is unread of a log can be lost while it is
//! closed, so logs with unread lines are put to rest only beyond a quarter more: first those of which
//! nothing was read yet, then the others, which are opened for each slice.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{getrlimit, Resource};

use crate::config::OpenFilesLimit;
use crate::source::file::content::open_files;
use crate::source::file::tailer::at_rest::Rest;
use crate::source::fleet::Fleet;
use crate::source::schedule::Schedule;
use crate::source::services::Services;

/// Logs closed at a time beyond what is necessary: the share, divided by this.
const SPARE_PART: usize = 8;
/// How long after an attempt that could not close enough the next one is due.
const INTERVAL: Duration = Duration::from_millis(200);

/// The inputs of this process that have no limit of their own: they share that of the process.
static SHARING: AtomicUsize = AtomicUsize::new(0);

/// One of those that share.
struct Share(&'static AtomicUsize);

impl Share {
    fn of(sharing: &'static AtomicUsize) -> Share {
        sharing.fetch_add(1, Ordering::Relaxed);
        Share(sharing)
    }

    /// How many share.
    fn parts(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many files of logs may be open.
pub(super) struct Limit {
    /// Of all that share it.
    limit: OpenFilesLimit,
    /// `None` if it is not shared.
    share: Option<Share>,
    /// With up to this many open files, the next attempt is not due before this time.
    tried: Option<(usize, Instant)>,
}

impl Limit {
    /// As given, or a share of what the process may open.
    pub fn new(given: Option<OpenFilesLimit>) -> Limit {
        Limit {
            share: given.is_none().then(|| Share::of(&SHARING)),
            limit: given
                .unwrap_or_else(|| OpenFilesLimit::within(getrlimit(Resource::Nofile).current)),
            tried: None,
        }
    }

    /// Number of inputs that share it.
    fn sharing(&self) -> usize {
        self.share.as_ref().map_or(1, Share::parts)
    }

    /// The part of it that this input has now.
    fn own(&self) -> OpenFilesLimit {
        self.limit.divided_by(self.sharing())
    }

    fn is_exceeded(&self, now: Instant) -> bool {
        let open = open_files();
        let has_tried = |(most, until): (usize, Instant)| open <= most && now < until;
        open > self.own().at_rest && !self.tried.is_some_and(has_tried)
    }
}

impl Fleet {
    /// Number of inputs that share what the process may open.
    pub fn sharing(&self) -> usize {
        self.limit.sharing()
    }

    /// When the next attempt to put logs to rest is due, if one is.
    pub fn next_rest(&self) -> Option<Instant> {
        self.limit.tried.map(|(_, until)| until)
    }

    /// Puts logs to rest if too many files are open.
    pub fn free_descriptors(&mut self, services: &mut Services, schedule: &Schedule, now: Instant) {
        let limit = self.limit.own();
        if !self.limit.is_exceeded(now) {
            let is_within = open_files() <= limit.at_rest;
            self.limit.tried = self.limit.tried.filter(|_| !is_within);
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_share_what_the_process_may_open_while_they_are_there() {
        static SHARING: AtomicUsize = AtomicUsize::new(0);
        let limit = |share| Limit {
            limit: OpenFilesLimit::within(Some(1024)),
            share,
            tried: None,
        };
        let given = limit(None);
        let first = limit(Some(Share::of(&SHARING)));
        let unread = |limit: &Limit| (limit.own().at_rest, limit.own().unread);
        assert_eq!(unread(&first), (256, 320));
        let second = limit(Some(Share::of(&SHARING)));
        assert_eq!((unread(&first), unread(&second)), ((128, 160), (128, 160)));
        assert_eq!(unread(&given), (256, 320));
        drop(first);
        assert_eq!(unread(&second), (256, 320));
    }
}
