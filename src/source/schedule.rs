//! Which container is looked into and read next, and how long the reader sleeps.
//!
//! A log is *active* while it is busy: it is read in each pass. The others are read after a
//! notice. Passes begin where the last one ended, so that nobody is always last.

use std::time::{Duration, Instant};

/// Interval between two reads of the active logs: a part for each of them, clamped to the bounds
/// below. A read that returns nothing takes 0.6 µs, so the total cost of such reads is the same
/// however many logs are active. Outputs get records at the host's flush interval, 200 ms or more,
/// so a shorter cycle would wake two threads more often for a delay that nobody sees.
const CYCLE_PER_LOG: Duration = Duration::from_micros(200);
/// 95 % of the lines wait less than 24 ms for their read, so p95 from write to append is below 25 ms.
const SHORTEST_CYCLE: Duration = Duration::from_millis(25);
const LONGEST_CYCLE: Duration = Duration::from_millis(200);
/// The longest sleep: each turn of the reader is reported as its sign of life.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// The longest sleep while the queue is full, so that rotations are still noticed.
const STALLED_SLEEP: Duration = Duration::from_millis(100);

/// When to read a container next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Now: there is more to read.
    Now,
    /// In the next cycle.
    Cycle,
    /// Not before this time.
    At(Instant),
    /// Not before this time, although there is more: the rate limit or the host holds it back.
    Throttled(Instant),
    /// After a notice or a rescan: it is not active any more.
    OnNotice {
        /// Whether this read returned anything.
        has_read: bool,
    },
    /// After another look into its folder.
    Look,
    /// Never: it is gone and read to its end.
    Finished,
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

/// The containers to look into and to read, by their keys.
#[derive(Debug)]
pub struct Schedule {
    active: Vec<usize>,
    /// By key: whether it is in `active` and stays there. Keys are small and reused.
    stays: Vec<bool>,
    /// Those that had their turn since [`Schedule::take_read`], and by key whether one is among
    /// them.
    read: Vec<usize>,
    was_read: Vec<bool>,
    /// Index in `active` at which the next pass begins.
    first: usize,
    /// Containers whose folders must be looked into, and the key at which the next look
    /// begins.
    changed: Vec<usize>,
    next_look: usize,
    /// What the last pass found: the number of active logs that are not watched, the number of
    /// watched logs that were read, the interval until these are read again, and the earliest
    /// time at which a waiting log is due.
    busy: usize,
    watched: usize,
    cycle: Duration,
    next_due: Option<Instant>,
    /// A log has more data than its rate limit or the host allows.
    is_any_throttled: bool,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            active: Vec::new(),
            stays: Vec::new(),
            read: Vec::new(),
            was_read: Vec::new(),
            first: 0,
            changed: Vec::new(),
            next_look: 0,
            busy: 0,
            watched: 0,
            cycle: SHORTEST_CYCLE,
            next_due: None,
            is_any_throttled: false,
        }
    }
}

impl Schedule {
    /// Reads a container in each pass until [`Schedule::read`] says otherwise.
    pub fn activate(&mut self, key: usize) {
        if key >= self.stays.len() {
            self.stays.resize(key + 1, false);
            self.was_read.resize(key + 1, false);
        }
        if !std::mem::replace(&mut self.stays[key], true) {
            self.active.push(key);
        }
    }

    /// Whether a container is read in each pass.
    pub fn is_active(&self, key: usize) -> bool {
        self.stays.get(key) == Some(&true)
    }

    /// The containers that are read in each pass.
    pub fn active(&self) -> &[usize] {
        &self.active
    }

    /// Looks into a container's folder at the next opportunity.
    pub fn look_into(&mut self, key: usize) {
        self.changed.push(key);
    }

    /// The containers whose folders are still to be looked into.
    pub fn changed(&self) -> &[usize] {
        &self.changed
    }

    /// Takes the containers to look into, each once, beginning after the last one looked into:
    /// folders that keep changing do not starve the others.
    pub fn take_changed(&mut self) -> Vec<usize> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let first = changed.partition_point(|key| *key < self.next_look);
        changed.rotate_left(first);
        changed
    }

    /// The next looks begin after this container.
    pub fn look_next_after(&mut self, key: usize) {
        self.next_look = key + 1;
    }

    /// Begins a pass: returns the index of each active container in turn.
    pub fn begin_pass(&mut self) -> impl Iterator<Item = usize> {
        (self.busy, self.watched) = (0, 0);
        self.is_any_throttled = false;
        self.next_due = None;
        self.turns()
    }

    /// The index of each active container, in the order of the next pass.
    pub fn turns(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.active.len();
        let first = if count == 0 { 0 } else { self.first % count };
        (first..count).chain(0..first)
    }

    /// The next pass begins at this index.
    pub fn begin_next_at(&mut self, index: usize) {
        self.first = index;
    }

    /// Takes what a read said. Returns whether there is more to read now.
    pub fn read(&mut self, key: usize, next: Next) -> bool {
        if !std::mem::replace(&mut self.was_read[key], true) {
            self.read.push(key);
        }
        match next {
            Next::Now => return true,
            Next::Cycle => self.busy += 1,
            Next::At(due) | Next::Throttled(due) => {
                self.is_any_throttled |= matches!(next, Next::Throttled(_));
                self.next_due = Some(self.next_due.map_or(due, |earlier| earlier.min(due)));
            }
            Next::OnNotice { has_read } => {
                self.watched += usize::from(has_read);
                self.stays[key] = false;
            }
            Next::Look => {
                self.stays[key] = false;
                self.look_into(key);
            }
            Next::Finished => self.stays[key] = false,
        }
        false
    }

    /// The containers that had their turn since the last call, whether or not anything of them was
    /// read.
    pub fn take_read(&mut self) -> Vec<usize> {
        let read = std::mem::take(&mut self.read);
        for key in &read {
            self.was_read[*key] = false;
        }
        read
    }

    /// Ends a pass: forgets those that are not active any more.
    pub fn end_pass(&mut self, pass: Pass) {
        let stays = |key: &usize| self.stays[*key];
        if pass != Pass::CaughtUp {
            let before = self.active.iter().take(self.first);
            self.first = before.filter(|key| stays(key)).count();
        }
        self.active.retain(stays);
        self.cycle = cycle_of(self.busy, self.watched);
    }

    /// Whether a log has more data than its rate limit or the host allows.
    pub fn is_any_throttled(&self) -> bool {
        self.is_any_throttled
    }

    /// Interval between two reads of the active logs.
    pub fn cycle(&self) -> Duration {
        self.cycle
    }

    /// Whether no log is read in each cycle.
    pub fn is_idle(&self) -> bool {
        self.busy == 0 && self.watched == 0
    }

    /// Returns how long to sleep after a pass at most, with these further times at which
    /// something is due.
    pub fn sleep_after(
        &self,
        pass: Pass,
        dues: impl IntoIterator<Item = Option<Instant>>,
    ) -> Duration {
        let mut longest = match pass {
            Pass::Behind => return Duration::ZERO,
            Pass::Stalled => STALLED_SLEEP,
            Pass::CaughtUp if self.is_idle() => LONGEST_SLEEP,
            Pass::CaughtUp => self.cycle,
        };
        let now = Instant::now();
        for due in dues.into_iter().chain([self.next_due]).flatten() {
            longest = longest.min(due.saturating_duration_since(now));
        }
        longest
    }
}

/// Interval between two reads of the active logs, for `busy` logs that are not watched and
/// `watched` logs that were written since the last pass.
fn cycle_of(busy: usize, watched: usize) -> Duration {
    let logs = u32::try_from(busy.max(watched)).unwrap_or(u32::MAX);
    CYCLE_PER_LOG
        .saturating_mul(logs)
        .clamp(SHORTEST_CYCLE, LONGEST_CYCLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass_of(schedule: &mut Schedule) -> Vec<usize> {
        let order: Vec<usize> = schedule.begin_pass().collect();
        order
            .into_iter()
            .map(|index| schedule.active()[index])
            .collect()
    }

    #[test]
    fn who_waits_for_a_notice_or_is_finished_is_not_read_in_the_next_pass() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        (0..6).for_each(|key| schedule.activate(key));
        schedule.activate(3);
        assert_eq!(pass_of(&mut schedule), [0, 1, 2, 3, 4, 5]);
        let soon = now + Duration::from_secs(1);
        assert!(schedule.read(0, Next::Now));
        for (key, next) in [
            (1, Next::Cycle),
            (2, Next::At(soon + Duration::from_secs(1))),
            (3, Next::Throttled(soon)),
            (4, Next::OnNotice { has_read: true }),
            (5, Next::Look),
        ] {
            assert!(!schedule.read(key, next));
        }
        assert_eq!(schedule.changed(), [5]);
        schedule.activate(5);
        assert!(!schedule.read(5, Next::Finished));
        schedule.begin_next_at(2);
        schedule.end_pass(Pass::Behind);
        assert!(schedule.is_any_throttled() && !schedule.is_idle());
        assert_eq!(pass_of(&mut schedule), [2, 3, 0, 1]);
        assert!(!schedule.is_any_throttled() && schedule.is_idle());
        schedule.activate(4);
        assert_eq!(schedule.active(), [0, 1, 2, 3, 4]);
        assert_eq!(schedule.take_read(), [0, 1, 2, 3, 4, 5]);
        assert!(schedule.read(2, Next::Now) && schedule.read(2, Next::Now));
        assert_eq!(schedule.take_read(), [2]);
    }

    #[test]
    fn the_reader_sleeps_until_the_first_thing_that_is_due() {
        let mut schedule = Schedule::default();
        let sleep = |schedule: &Schedule, pass| schedule.sleep_after(pass, [None]);
        assert_eq!(sleep(&schedule, Pass::Behind), Duration::ZERO);
        assert_eq!(sleep(&schedule, Pass::Stalled), STALLED_SLEEP);
        assert_eq!(sleep(&schedule, Pass::CaughtUp), LONGEST_SLEEP);
        schedule.activate(0);
        assert_eq!(pass_of(&mut schedule), [0]);
        schedule.read(0, Next::Cycle);
        schedule.end_pass(Pass::CaughtUp);
        assert_eq!(sleep(&schedule, Pass::CaughtUp), SHORTEST_CYCLE);
        assert_eq!(pass_of(&mut schedule), [0]);
        let due = Instant::now() + Duration::from_secs(3);
        schedule.read(0, Next::At(due));
        schedule.end_pass(Pass::CaughtUp);
        let slept = sleep(&schedule, Pass::CaughtUp);
        assert!(slept <= Duration::from_secs(3) && slept > Duration::from_secs(2));
        let earlier = Some(due - Duration::from_secs(2));
        assert!(schedule.sleep_after(Pass::CaughtUp, [None, earlier]) <= Duration::from_secs(1));
    }
}
