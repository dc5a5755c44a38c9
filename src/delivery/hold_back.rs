//! Holds records back while the host has too much of ours in memory (`Buffered_Limit`): without
//! `Mem_Buf_Limit` it accepts everything, and a backlog, or an output that is down, would fill
//! the machine's memory. What is held back fills the queue, and then the reader reads nothing:
//! the log files are the buffer.
//!
//! The host does not say when its outputs have taken something, so it is asked again after a
//! while. It passes chunks on at its flush interval only, so while the limit is reached, it is
//! asked to do so at once: otherwise one limit per interval would be the highest speed.

use std::time::{Duration, Instant};

use crate::telemetry::metrics::Buffered;

/// First and last interval between two looks at a host that is full and stays so.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(100);
/// A full host is asked to flush once it was given this part of the limit since it was last
/// asked, so that outputs which do not keep up get chunks of the usual size.
const FLUSH_PART: usize = 4;

/// What is due after a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// When to hand over again if nothing wakes the thread before.
    pub again: Option<Duration>,
    /// Whether the host is to pass on what it holds ([`Host::flush`]). It runs outputs
    /// meanwhile, so nothing may be locked.
    ///
    /// [`Host::flush`]: crate::delivery::host::Host::flush
    pub flush: bool,
}

/// What the host holds of ours, and since when that is too much.
#[derive(Debug, Default)]
pub(crate) struct HoldBack {
    /// Whether the host was full when last asked in this round.
    is_full: bool,
    full_since: Option<Instant>,
    /// Interval to the next look.
    interval: Duration,
    /// Bytes appended in this round, and since the host was last asked to flush.
    appended: usize,
    unflushed: usize,
}

impl HoldBack {
    pub(crate) fn begin_round(&mut self) {
        self.is_full = false;
        self.appended = 0;
    }

    /// Whether the host, which holds `held` bytes, is to be given more.
    pub(crate) fn has_room(&mut self, held: Option<usize>, limit: usize) -> bool {
        self.is_full = held.is_some_and(|held| held >= limit);
        !self.is_full
    }

    /// The host accepted this many bytes.
    pub(crate) fn appended(&mut self, bytes: usize) {
        self.appended += bytes;
        self.unflushed = self.unflushed.saturating_add(bytes);
    }

    /// Ends the round; returns when to look at a full host again, and whether it is to flush.
    pub(crate) fn end_round(&mut self, limit: usize, now: Instant, buffered: &mut Buffered) -> Due {
        if let Some(since) = self.full_since.take() {
            buffered.held_back += now.duration_since(since);
        }
        if !self.is_full {
            return Due::default();
        }
        self.full_since = Some(now);
        let flush = self.unflushed >= limit / FLUSH_PART;
        if flush {
            self.unflushed = 0;
        }
        self.interval = match self.appended {
            0 => (self.interval * 2).clamp(FIRST_LOOK, LAST_LOOK),
            _ => FIRST_LOOK,
        };
        Due {
            again: Some(self.interval),
            flush,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round in which the host accepts `appended` bytes and then holds `held`.
    fn round(
        hold_back: &mut HoldBack,
        (appended, held): (usize, usize),
        now: Instant,
        buffered: &mut Buffered,
    ) -> Due {
        hold_back.begin_round();
        if appended > 0 {
            hold_back.appended(appended);
        }
        hold_back.has_room(Some(held), 100);
        hold_back.end_round(100, now, buffered)
    }

    #[test]
    fn a_full_host_is_looked_at_less_and_less_often_until_it_takes_something() {
        let mut hold_back = HoldBack::default();
        let (mut buffered, now) = (Buffered::default(), Instant::now());
        let mut look = |amounts| {
            let due = round(&mut hold_back, amounts, now, &mut buffered);
            due.again.map(|interval| interval.as_millis())
        };
        assert_eq!(look((50, 99)), None);
        assert_eq!(look((50, 100)), Some(1));
        let looks: Vec<_> = (0..8).map(|_| look((0, 100))).collect();
        assert_eq!(looks, [2, 4, 8, 16, 32, 64, 100, 100].map(Some));
        assert_eq!(look((1, 100)), Some(1));
        assert_eq!(look((0, 99)), None);
    }

    #[test]
    fn a_full_host_is_asked_to_flush_for_each_quarter_of_the_limit() {
        let mut hold_back = HoldBack::default();
        let (mut buffered, now) = (Buffered::default(), Instant::now());
        let rounds = [(99, 99), (1, 100), (0, 100), (24, 100), (1, 100), (0, 100)];
        let flushes =
            rounds.map(|amounts| round(&mut hold_back, amounts, now, &mut buffered).flush);
        assert_eq!(flushes, [false, true, false, false, true, false]);
    }

    #[test]
    fn the_time_is_counted_from_a_look_that_finds_the_host_full_to_the_next() {
        let mut hold_back = HoldBack::default();
        let (mut buffered, begun) = (Buffered::default(), Instant::now());
        let mut seconds = Vec::new();
        for (second, held) in [99, 100, 100, 99, 99, 100, 0].into_iter().enumerate() {
            let now = begun + Duration::from_secs(second as u64);
            round(&mut hold_back, (0, held), now, &mut buffered);
            seconds.push(buffered.held_back.as_secs());
        }
        assert_eq!(seconds, [0, 0, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn a_host_that_does_not_say_what_it_holds_is_never_full() {
        assert!(HoldBack::default().has_room(None, 0));
    }
}
