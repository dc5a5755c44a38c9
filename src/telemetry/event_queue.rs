//! Events on their way from the reader's thread to the host's, bounded.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem::{discriminant, Discriminant};
use std::sync::Mutex;
use std::time::Instant;

use crate::lock::lock;
use crate::telemetry::event::{Event, Level};
use crate::telemetry::throttle::REPORT_INTERVAL;

/// Most messages of one kind a minute about the containers of one user, but for those of level
/// debug. A user can make and remove containers at will, and each new one has throttles of its own.
const MOST_OF_USER: usize = 32;

/// Most events that may be queued when one of this level is added, whatever the levels of
/// those queued. Less serious events are thus dropped first, a flood of them leaves room for
/// more serious ones, and a queued event is never dropped.
const fn room(level: Level) -> usize {
    match level {
        Level::Error => 1024,
        Level::Warn => 768,
        Level::Info => 512,
        Level::Debug => 256,
    }
}

/// Events waiting for the host's thread.
#[derive(Debug, Default)]
pub struct EventQueue {
    queued: Mutex<Queued>,
}

#[derive(Debug, Default)]
struct Queued {
    events: VecDeque<Event>,
    dropped: Dropped,
    of_users: OfUsers,
}

/// The messages about containers of users within the last minute.
#[derive(Debug, Default)]
struct OfUsers {
    counts: HashMap<(String, Discriminant<Event>), usize>,
    since: Option<Instant>,
    /// Those that were withheld and are not counted as dropped yet.
    withheld: Dropped,
}

impl OfUsers {
    /// Whether a message about a container of `user` is to be logged.
    fn admits(&mut self, user: Option<String>, event: &Event) -> bool {
        let Some(user) = user else {
            return true;
        };
        let count = self.counts.entry((user, discriminant(event))).or_default();
        *count += 1;
        let is_admitted = *count <= MOST_OF_USER;
        if !is_admitted {
            self.withheld.add(event.level());
        }
        is_admitted
    }

    /// Begins a new minute if one is over; returns what was withheld in it.
    fn end_minute(&mut self, now: Instant) -> Dropped {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < REPORT_INTERVAL {
            return Dropped::default();
        }
        self.since = Some(now);
        self.counts.clear();
        std::mem::take(&mut self.withheld)
    }
}

/// The user in whose storage the container is that a message is about.
fn user_of(event: &Event) -> Option<String> {
    let text = event.to_string();
    let title = text.strip_prefix("container ~")?;
    Some(title.split('/').next()?.to_owned())
}

/// Number of events dropped because the queue was full, by level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// One count per level, most serious first.
    counts: [usize; 4],
}

impl Dropped {
    fn add(&mut self, level: Level) {
        self.counts[level as usize] += 1;
    }

    fn add_all(&mut self, others: Dropped) {
        let counts = self.counts.iter_mut().zip(others.counts);
        counts.for_each(|(count, more)| *count += more);
    }

    /// Total over all levels.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// The most serious level dropped; `None` if nothing was dropped.
    pub fn level(&self) -> Option<Level> {
        let levels = Level::ALL.into_iter().zip(self.counts);
        levels
            .into_iter()
            .find(|(_, count)| *count > 0)
            .map(|(level, _)| level)
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = Level::ALL
            .into_iter()
            .zip(self.counts)
            .filter(|(_, count)| *count > 0);
        let levels: Vec<String> = counted
            .map(|(level, count)| format!("{}: {count}", level.as_str()))
            .collect();
        write!(
            f,
            "{} further messages were dropped ({})",
            self.total(),
            levels.join(", ")
        )
    }
}

impl EventQueue {
    /// Adds an event without blocking for long or growing without bound. Returns whether it
    /// was kept; if not, the caller must treat it as not logged. One that is withheld because there
    /// are too many about the containers of a user counts as kept, and as dropped a minute later.
    pub fn report(&self, event: Event) -> bool {
        self.report_at(event, Instant::now())
    }

    fn report_at(&self, event: Event, now: Instant) -> bool {
        let level = event.level();
        // Before the lock: it formats the message.
        let user = (level != Level::Debug).then(|| user_of(&event)).flatten();
        let mut queued = lock(&self.queued);
        let withheld = queued.of_users.end_minute(now);
        queued.dropped.add_all(withheld);
        let is_kept = queued.events.len() < room(level);
        if !is_kept {
            queued.dropped.add(level);
        } else if queued.of_users.admits(user, &event) {
            queued.events.push_back(event);
        }
        is_kept
    }

    /// Takes all events and the counts of dropped ones.
    pub fn take(&self) -> (VecDeque<Event>, Dropped) {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> (VecDeque<Event>, Dropped) {
        let mut queued = lock(&self.queued);
        let withheld = queued.of_users.end_minute(now);
        let mut dropped = std::mem::take(&mut queued.dropped);
        dropped.add_all(withheld);
        (std::mem::take(&mut queued.events), dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DB: Event = Event::NoCheckpoint { effect: "" };

    fn debug() -> Event {
        Event::ContainerFound {
            name: String::new(),
            short_id: String::new(),
        }
    }

    fn info() -> Event {
        Event::Started { roots: Vec::new() }
    }

    fn error() -> Event {
        Event::ReaderStopped {
            reason: String::new(),
        }
    }

    #[test]
    fn events_come_out_in_order_and_the_surplus_is_counted_by_level() {
        let queue = EventQueue::default();
        for _ in 0..room(Level::Debug) {
            assert!(queue.report(debug()));
        }
        assert!(!queue.report(debug()));
        assert!(queue.report(error()));
        assert!(queue.report(NO_DB));
        assert!(!queue.report(debug()));
        let (events, dropped) = queue.take();
        assert_eq!(events.len(), room(Level::Debug) + 2);
        assert_eq!(
            events.iter().rev().take(2).collect::<Vec<_>>(),
            [&NO_DB, &error()]
        );
        assert_eq!(
            dropped.to_string(),
            "2 further messages were dropped (debug: 2)"
        );
        assert_eq!(dropped.level(), Some(Level::Debug));
        assert_eq!(queue.take().1, Dropped::default());
    }

    /// A new container has new throttles, and a user can make any number.
    #[test]
    fn of_messages_about_a_users_containers_only_so_many_of_a_kind_are_logged_a_minute() {
        let queue = EventQueue::default();
        let start = Instant::now();
        let about = |name: String| Event::Unreadable {
            name,
            short_id: String::new(),
            reason: String::new(),
        };
        let mut said = 0;
        let mut dropped = 0;
        for second in 0..119 {
            let now = start + std::time::Duration::from_secs(second);
            for number in 0..10 {
                assert!(queue.report_at(about(format!("~ada/{second}-{number}")), now));
            }
            let (events, more) = queue.take_at(now);
            said += events.len();
            dropped += more.total();
            assert!(more.total() == 0 || second == 60);
        }
        assert_eq!((said, dropped), (2 * MOST_OF_USER, 600 - MOST_OF_USER));
        // Others' are logged as ever, and so are other ones about the same user.
        let now = start + std::time::Duration::from_secs(119);
        for number in 0..100 {
            assert!(queue.report_at(about(format!("web-{number}")), now));
        }
        queue.report_at(about("~bob/web".to_owned()), now);
        let cut = Event::MetadataCut {
            name: "~ada/web".to_owned(),
            short_id: String::new(),
        };
        queue.report_at(cut, now);
        assert_eq!(queue.take_at(now).0.len(), 102);
    }

    /// A flood of less serious events leaves room for more serious ones.
    #[test]
    fn a_flood_of_one_level_leaves_room_for_every_more_serious_one() {
        let levels: [fn() -> Event; 4] = [error, || NO_DB, info, debug];
        for (at, flood) in levels.iter().enumerate() {
            let queue = EventQueue::default();
            for _ in 0..10_000 {
                queue.report(flood());
            }
            for (other, event) in levels.iter().enumerate() {
                assert_eq!(
                    queue.report(event()),
                    other < at,
                    "level {other} after a flood of level {at}"
                );
            }
            let (events, dropped) = queue.take();
            assert!(events.len() <= room(Level::Error) && dropped.total() >= 10_000 - events.len());
        }
    }
}
