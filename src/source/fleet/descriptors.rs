//! The descriptors that open logs may take: the host needs some, and a library of the host that uses
//! `select` fails beyond 1024. Beyond its share, logs are put to rest: those of containers that do not
//! run, then those that have been silent for longest. What is unread of a log can be lost while it is
//! closed, so logs with unread lines are put to rest only beyond a quarter more: first those of which
//! nothing was read yet, then the others, which are opened for each slice.
//!
//! ```text
//! 0 ............. at rest ...... unread        open files
//!   any log        a log that     a log that is read,
//!                  has lines      in its turn
//! ```
//!
//! Who has been silent for longest is found by a search through all containers, once in an interval, and
//! at once only if more logs are open than may have unread lines, or to make room for those that wait
//! behind a full queue. In between, each log is closed as soon as it was read: where more logs are written in turn
//! than may be open, the one that has been silent for longest is always the next to be written, so a
//! search for each line would close just the wrong one.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{getrlimit, Resource};

use crate::config::OpenFilesLimit;
use crate::delivery::link::Link;
use crate::source::container::Container;
use crate::source::file::content::open_files;
use crate::source::file::tailer::at_rest::Rest;
use crate::source::fleet::Fleet;
use crate::source::schedule::{Pass, Schedule};
use crate::source::services::Services;

/// Logs closed at a time beyond what is necessary: the share, divided by this.
const SPARE_PART: usize = 8;
/// Interval between two searches for silent logs, unless more files are open than unread logs may have.
const INTERVAL: Duration = Duration::from_secs(1);

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
    /// The last search: up to how many open files there is no other one before the given time.
    searched: Option<(usize, Instant)>,
    /// When logs may be closed again for those that wait behind a full queue.
    next_room: Instant,
}

impl Limit {
    /// As given, or a share of what the process may open.
    pub fn new(given: Option<OpenFilesLimit>) -> Limit {
        Limit {
            share: given.is_none().then(|| Share::of(&SHARING)),
            limit: given
                .unwrap_or_else(|| OpenFilesLimit::within(getrlimit(Resource::Nofile).current)),
            searched: None,
            next_room: Instant::now(),
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

    /// Whether the interval since the last search is over.
    fn is_due(&self, now: Instant) -> bool {
        self.searched.is_none_or(|(_, until)| now >= until)
    }

    /// Whether so many files are open that a search cannot wait.
    fn is_urgent(&self) -> bool {
        let is_more = |(most, _): (usize, Instant)| open_files() > most;
        self.searched.is_none_or(is_more) && open_files() > self.own().unread
    }
}

impl Fleet {
    /// Number of inputs that share what the process may open.
    pub fn sharing(&self) -> usize {
        self.limit.sharing()
    }

    /// When the next search for logs that can be put to rest is due, if one is.
    pub fn next_rest(&self) -> Option<Instant> {
        let searched = self.limit.searched;
        let is_exceeded = open_files() > self.limit.own().at_rest;
        searched.filter(|_| is_exceeded).map(|(_, until)| until)
    }

    /// Puts logs to rest if too many files are open. `used` is the one that was just read or looked into.
    pub fn free_descriptors(
        &mut self,
        services: &mut Services,
        schedule: &Schedule,
        now: Instant,
        used: Option<usize>,
    ) {
        let limit = self.limit.own();
        if open_files() <= limit.at_rest {
            return;
        }
        let spare = limit.at_rest / SPARE_PART;
        let are_unread_closed = open_files() > limit.unread;
        let most = OpenFilesLimit {
            at_rest: limit.at_rest - spare,
            unread: limit.unread - if are_unread_closed { spare } else { 0 },
        };
        if self.limit.is_due(now) {
            self.search(most, services, schedule, now);
        }
        if let Some(key) = used.filter(|_| open_files() > limit.at_rest) {
            if let Some(container) = self.containers.get_mut(key) {
                let api = container.api();
                container.rest_if_read(&mut services.around(key, api, now, schedule.cycle()));
            }
        }
        if self.limit.is_urgent() {
            self.search(most, services, schedule, now);
        }
    }

    /// Puts logs to rest, those first that can do so best, until no more files than `most` are open.
    fn search(
        &mut self,
        most: OpenFilesLimit,
        services: &mut Services,
        schedule: &Schedule,
        now: Instant,
    ) {
        let mut open: Vec<(Rest, Reverse<Duration>, usize)> = Vec::new();
        for (key, container) in self.containers.iter() {
            let rest = container.may_rest(now);
            open.extend(rest.map(|(rest, silence)| (rest, Reverse(silence), key)));
        }
        open.sort_unstable();
        for (rest, _, key) in open {
            let most = match rest.is_read() {
                true => most.at_rest,
                false => most.unread,
            };
            if open_files() <= most {
                break;
            }
            if let Some(container) = self.containers.get_mut(key) {
                let api = container.api();
                container.rest(rest, &mut services.around(key, api, now, schedule.cycle()));
            }
        }
        let limit = self.limit.own();
        // Where more are left than may be, the next search is not for the next one.
        let most = match open_files() {
            left if left > limit.unread => left + limit.at_rest / SPARE_PART,
            _ => limit.unread,
        };
        self.limit.searched = Some((most, now + INTERVAL));
    }

    /// Opens a log at rest that has something to read, if one with unread lines may be open: its file may
    /// be deleted before it is its turn. A failure shows at the read.
    pub fn open_early(&mut self, key: usize, link: &Link) {
        let is_free = open_files() < self.limit.own().unread;
        if let Some(tailer) = self.tailer_mut(key).filter(|_| is_free) {
            let _ = tailer.wake(link);
        }
    }

    /// Opens logs at rest that wait, after a pass that did not read all: their files may be deleted before
    /// it is their turn. With a full queue, which may last, logs that were read are closed to make room.
    pub fn open_waiting(
        &mut self,
        services: &mut Services,
        schedule: &Schedule,
        pass: Pass,
        now: Instant,
    ) {
        let unread = self.limit.own().unread;
        let may_make_room = pass == Pass::Stalled && now >= self.limit.next_room;
        if open_files() >= unread && !may_make_room {
            return;
        }
        let waits = |key: &usize| {
            let container = self.containers.get(*key);
            container.is_some_and(Container::waits_at_rest)
        };
        let active = schedule.turns().map(|index| schedule.active()[index]);
        let waiting: Vec<usize> = active.filter(waits).collect();
        if may_make_room && !waiting.is_empty() && open_files() + waiting.len() > unread {
            self.limit.next_room = now + INTERVAL;
            let most = OpenFilesLimit {
                at_rest: unread.saturating_sub(waiting.len()),
                unread: usize::MAX,
            };
            self.search(most, services, schedule, now);
        }
        for key in waiting {
            if open_files() >= unread {
                break;
            }
            self.open_early(key, &services.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file::content;

    #[test]
    fn inputs_share_what_the_process_may_open_while_they_are_there() {
        static SHARING: AtomicUsize = AtomicUsize::new(0);
        let limit = |share| Limit {
            limit: OpenFilesLimit::within(Some(1024)),
            share,
            searched: None,
            next_room: Instant::now(),
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

    #[test]
    fn a_search_for_silent_logs_waits_for_its_interval_unless_too_many_files_are_open() {
        let now = Instant::now();
        let limit = |unread, searched| Limit {
            limit: OpenFilesLimit { at_rest: 0, unread },
            share: None,
            searched,
            next_room: now,
        };
        let never = limit(0, None);
        assert!(never.is_due(now) && !never.is_urgent(), "none is open");
        let waits = limit(0, Some((0, now + INTERVAL)));
        assert!(!waits.is_due(now) && waits.is_due(now + INTERVAL));
        let opened = content::Content::new(tempfile::tempfile().expect("a file"), false);
        assert!(never.is_urgent() && waits.is_urgent());
        assert!(!limit(1, None).is_urgent(), "as many may be");
        let fruitless = limit(0, Some((1, now + INTERVAL)));
        assert!(!fruitless.is_urgent(), "no more than were left");
        drop(opened);
    }
}
