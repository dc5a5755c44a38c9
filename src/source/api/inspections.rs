//! Schedules the inspections that the reader requested: which is next, and how many run at
//! once. Pure; owns no clock.
//!
//! At each look, the reader requests again what it does not know yet. A daemon that hangs must
//! not let these requests pile up: at most one request per container waits or is in flight,
//! and after a time-out the container rests, longer each time, so that it does not take the
//! places of others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::runtime::id::ContainerId;

/// The most inspections in flight, each on a connection of its own.
pub const MOST_IN_FLIGHT: usize = 32;

/// How long a container rests after its first time-out, and at most.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A rest that ended this long ago is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The rest after a time-out.
#[derive(Debug, Clone, Copy)]
struct Rest {
    length: Duration,
    until: Instant,
}

/// The queue; `T` handles the answer.
#[derive(Debug)]
pub struct Inspections<T> {
    waiting: VecDeque<(ContainerId, T)>,
    /// Those that wait or are in flight.
    asked: HashSet<ContainerId>,
    in_flight: usize,
    resting: HashMap<ContainerId, Rest>,
}

impl<T> Default for Inspections<T> {
    fn default() -> Inspections<T> {
        Inspections {
            waiting: VecDeque::new(),
            asked: HashSet::new(),
            in_flight: 0,
            resting: HashMap::new(),
        }
    }
}

impl<T> Inspections<T> {
    /// Requests an inspection, unless one is pending or the container rests.
    pub fn ask(&mut self, id: ContainerId, answer: T, now: Instant) {
        let rests = self.resting.get(&id).is_some_and(|rest| now < rest.until);
        if !rests && self.asked.insert(id) {
            self.waiting.push_back((id, answer));
        }
    }

    /// Returns the next one to send and counts it as in flight; `None` if the limit is reached
    /// or none waits.
    pub fn begin(&mut self) -> Option<(ContainerId, T)> {
        if self.in_flight >= MOST_IN_FLIGHT {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(next)
    }

    /// Ends one in flight; `is_late` means that it timed out.
    pub fn end(&mut self, id: &ContainerId, is_late: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.asked.remove(id);
        let earlier = self.resting.remove(id);
        if is_late {
            let length = earlier.map_or(FIRST_REST, |rest| (rest.length * 2).min(LONGEST_REST));
            self.resting.insert(
                *id,
                Rest {
                    length,
                    until: now + length,
                },
            );
            self.resting
                .retain(|_, rest| now.duration_since(rest.until) < FORGET_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> ContainerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        ContainerId::from_bytes(bytes)
    }

    fn all_begun(inspections: &mut Inspections<u16>) -> Vec<u16> {
        std::iter::from_fn(|| inspections.begin())
            .map(|(_, number)| number)
            .collect()
    }

    #[test]
    fn however_often_it_is_asked_one_of_each_waits_and_a_bounded_number_is_in_flight() {
        let (mut inspections, now) = (Inspections::default(), Instant::now());
        for _ in 0..100 {
            (0..1000).for_each(|number| inspections.ask(id(number), number, now));
        }
        let first: Vec<u16> = (0..MOST_IN_FLIGHT as u16).collect();
        assert_eq!(all_begun(&mut inspections), first);
        (0..1000).for_each(|number| inspections.ask(id(number), number, now));
        assert_eq!(inspections.waiting.len(), 1000 - MOST_IN_FLIGHT);
        inspections.end(&id(0), false, now);
        assert_eq!(all_begun(&mut inspections), [MOST_IN_FLIGHT as u16]);
    }

    #[test]
    fn what_timed_out_rests_and_a_newcomer_goes_first() {
        let (mut inspections, mut now) = (Inspections::default(), Instant::now());
        for rest in [10, 20, 40, 60, 60] {
            inspections.ask(id(1), 1, now);
            assert_eq!(all_begun(&mut inspections), [1]);
            inspections.end(&id(1), true, now);
            now += Duration::from_secs(rest) - Duration::from_millis(1);
            inspections.ask(id(1), 1, now);
            inspections.ask(id(2), 2, now);
            assert_eq!(all_begun(&mut inspections), [2], "{rest}");
            inspections.end(&id(2), false, now);
            now += Duration::from_millis(1);
        }
        inspections.ask(id(1), 1, now);
        assert_eq!(all_begun(&mut inspections), [1]);
        inspections.end(&id(1), false, now);
        inspections.ask(id(1), 1, now);
        assert_eq!(all_begun(&mut inspections), [1], "an answer ends its rest");
    }

    #[test]
    fn containers_that_are_gone_are_forgotten() {
        let (mut inspections, now) = (Inspections::default(), Instant::now());
        for number in 0..1000 {
            inspections.ask(id(number), number, now);
            inspections.begin();
            inspections.end(&id(number), true, now);
        }
        assert_eq!(inspections.resting.len(), 1000);
        let later = now + FORGET_AFTER + FIRST_REST;
        inspections.ask(id(2000), 2000, later);
        inspections.begin();
        inspections.end(&id(2000), true, later);
        assert_eq!(inspections.resting.len(), 1);
    }
}
