//! Events on their way from the reader's thread to the host's, bounded.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;

use crate::lock::lock;
use crate::telemetry::event::{Event, Level};

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
    /// was kept; if not, the caller must treat it as not logged.
    pub fn report(&self, event: Event) -> bool {
        let level = event.level();
        let mut queued = lock(&self.queued);
        let is_kept = queued.events.len() < room(level);
        if is_kept {
            queued.events.push_back(event);
        } else {
            queued.dropped.add(level);
        }
        is_kept
    }

    /// Takes all events and the counts of dropped ones.
    pub fn take(&self) -> (VecDeque<Event>, Dropped) {
        let mut queued = lock(&self.queued);
        let dropped = std::mem::take(&mut queued.dropped);
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
