//! Bounds how long one container may occupy the reader: a slice ends early, keeping what was
//! read, when its lines have taken too long or the instance is stopping. The cost of a line
//! depends on who wrote it (JSON to merge, an expression to match), so a limit in bytes alone
//! bounds nothing.
//!
//! The clock is checked between lines, every `stride` bytes. A slice takes at most its time
//! limit plus the time of the lines between two checks.

use std::time::{Duration, Instant};

use crate::delivery::link::Link;
use crate::source::file::generation::SLICE_BYTES;

/// Time limit of a slice: many times what 256 KiB of plain lines take.
pub const SLICE_TIME: Duration = Duration::from_millis(40);
/// Time limit for lines that are matched against an expression; a single one may take that
/// long again.
const MATCHED_SLICE_TIME: Duration = Duration::from_millis(20);

/// A slice that takes longer is costly.
const COSTLY: Duration = Duration::from_millis(10);

/// How long after a costly slice a container counts as costly, so that one that writes large
/// bursts now and then is recognised at the next burst.
const COSTLY_MEMORY: Duration = Duration::from_secs(1);

/// Once the slow slices of one pass have taken this long together, containers known to be
/// costly wait for a later pass. A line written during a pass is read in the next one at the
/// latest, so they delay it by at most twice this and two slices, however many they are.
const COSTLY_TIME: Duration = Duration::from_millis(30);

/// Time limit of a slice once [`COSTLY_TIME`] is spent: about a hundred kilobytes of plain
/// lines. Fifty containers may turn out to be costly in one pass with nothing known about them
/// before.
const SHORT_SLICE_TIME: Duration = Duration::from_millis(1);

/// Once these short slices have taken this long together, the pass ends. Notices are taken and
/// folders looked at, and the remaining containers come first in the next pass.
const SHORT_TIME: Duration = Duration::from_millis(60);

/// The time one pass over the logs has spent on slow slices: in `whole` slices up to
/// `COSTLY_TIME`, after that in `short` ones.
#[derive(Debug, Default)]
pub struct PassTime {
    whole: Duration,
    short: Duration,
}

impl PassTime {
    /// Returns the time limit of the next container's slice, or `None` if it must wait for a
    /// later pass.
    pub fn next_slice(&self, is_costly: bool) -> Option<Duration> {
        match self.whole < COSTLY_TIME {
            true => Some(SLICE_TIME),
            false => (!is_costly).then_some(SHORT_SLICE_TIME),
        }
    }

    /// Adds the `cost` of a slice, zero if it was not slow. Returns whether the next pass
    /// begins after this container because it had a full slice.
    pub fn took(&mut self, cost: Duration) -> bool {
        if self.whole < COSTLY_TIME {
            self.whole += cost;
            return !cost.is_zero();
        }
        self.short += cost;
        false
    }

    /// Whether the pass must end.
    pub fn is_over(&self) -> bool {
        self.short >= SHORT_TIME
    }
}

/// Bytes between two checks of the clock: a tenth of a millisecond for plain lines.
const PLAIN_STRIDE: usize = 16 * 1024;
/// The same for lines that are matched against a pattern.
const COSTLY_STRIDE: usize = 1024;

/// One slice: decides at which line it ends.
#[derive(Debug)]
pub struct Slice<'a> {
    link: &'a Link,
    begun: Option<Instant>,
    /// The time limit.
    time: Duration,
    stride: usize,
    /// Offset in the buffer at which the clock is checked next.
    next_look: usize,
    has_looked: bool,
}

impl<'a> Slice<'a> {
    /// Begins at offset `start` of the buffer. `time` is reduced to the limit of the kind of
    /// lines.
    pub fn begin(link: &'a Link, start: usize, is_matched: bool, time: Duration) -> Slice<'a> {
        let (stride, most) = match is_matched {
            true => (COSTLY_STRIDE, MATCHED_SLICE_TIME),
            false => (PLAIN_STRIDE, SLICE_TIME),
        };
        let (begun, time) = (Some(Instant::now()), time.min(most));
        Slice {
            link,
            begun,
            time,
            stride,
            next_look: start + stride,
            has_looked: false,
        }
    }

    /// Returns the time taken for `bytes` if it was slow, that is, if a full slice of such
    /// lines would be costly; zero otherwise. Whether the lines or the machine is the cause
    /// does not matter to the other containers.
    fn cost(&self, bytes: usize) -> Duration {
        let taken = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let is_slow = taken.as_nanos() * SLICE_BYTES as u128 > COSTLY.as_nanos() * bytes as u128;
        if is_slow && taken >= SHORT_SLICE_TIME {
            taken
        } else {
            Duration::ZERO
        }
    }

    /// Whether the slice took long enough to make its container costly. One that ended before
    /// its first check did not: only the machine can be slow with so few bytes.
    fn was_costly(&self) -> bool {
        self.has_looked && self.has_taken(COSTLY)
    }

    fn has_taken(&self, time: Duration) -> bool {
        self.begun.is_some_and(|begun| begun.elapsed() >= time)
    }

    /// A slice without a limit: what follows the last complete line of a file cannot be left
    /// for later.
    pub fn whole(link: &'a Link) -> Slice<'a> {
        let (time, stride, next_look) = (Duration::MAX, usize::MAX, usize::MAX);
        Slice {
            link,
            begun: None,
            time,
            stride,
            next_look,
            has_looked: false,
        }
    }

    /// Whether the slice has no limit.
    pub fn is_whole(&self) -> bool {
        self.time == Duration::MAX
    }

    /// Whether the slice ends with the line before `at`.
    #[inline]
    pub fn ends_at(&mut self, at: usize) -> bool {
        at >= self.next_look && self.is_over(at)
    }

    #[cold]
    fn is_over(&mut self, at: usize) -> bool {
        self.has_looked = true;
        self.next_look = at.saturating_add(self.stride);
        self.link.is_stopping() || self.has_taken(self.time)
    }
}

/// What is known about the cost of a log's lines.
#[derive(Debug, Default)]
pub struct LineCost {
    lines: Lines,
    /// The time of the last slice if it was slow, otherwise zero.
    last: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
enum Lines {
    /// Cheap.
    #[default]
    Plain,
    /// Matched against an expression, and none has been matched yet.
    Untried,
    /// The last slice was costly.
    Costly,
    /// A recent slice was costly and none after it; counts as costly until the given time.
    CostlyUntil(Instant),
}

impl LineCost {
    /// The coming lines are matched against an expression that has matched none yet.
    pub fn expect_untried(&mut self) {
        self.lines = Lines::Untried;
    }

    /// Whether the last slice was costly, or one was recently, or lines must be matched
    /// against an expression and none has been yet.
    pub fn is_costly(&self, now: Instant) -> bool {
        match self.lines {
            Lines::Plain => false,
            Lines::Untried | Lines::Costly => true,
            Lines::CostlyUntil(until) => now < until,
        }
    }

    /// The time of the last slice if it was slow, otherwise zero.
    pub fn last(&self) -> Duration {
        self.last
    }

    /// A slice begins, and may end before any line.
    pub fn begin(&mut self) {
        self.last = Duration::ZERO;
    }

    /// `slice` took `bytes` of lines.
    pub fn took(&mut self, slice: &Slice<'_>, bytes: usize, now: Instant) {
        self.last = slice.cost(bytes);
        self.lines = match self.lines {
            _ if slice.was_costly() => Lines::Costly,
            Lines::Untried => Lines::Plain,
            Lines::Costly if self.last.is_zero() => Lines::CostlyUntil(now + COSTLY_MEMORY),
            same => same,
        };
    }

    /// There was nothing to read.
    pub fn rested(&mut self, now: Instant) {
        if let Lines::Costly = self.lines {
            self.lines = Lines::CostlyUntil(now + COSTLY_MEMORY);
        }
    }
}

#[cfg(test)]
mod tests;
