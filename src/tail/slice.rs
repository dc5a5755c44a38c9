//! How long one container may keep the reader: a slice ends early, with what was read of
//! it by then, when its lines have taken too much time or the reader is to stop. What a
//! line costs depends on who wrote it (JSON to be merged, an expression that it is matched
//! against), so bytes alone bound nothing.
//!
//! The clock is looked at between lines, every so many bytes; the longest that a slice
//! can take is the time here and what the lines between two looks take.

use std::time::{Duration, Instant};

use crate::exchange::Exchange;

/// What the lines of a slice may take: many times what 256 KiB of plain ones do.
pub const SLICE_TIME: Duration = Duration::from_millis(25);

/// Slices of one pass that may take all of it. The others of the containers that take so
/// long have their turn in the next passes: however many they are, together they delay
/// the others no more than this many slices do.
pub const COSTLY_SLICES: usize = 4;

/// Bytes between two looks at the clock: of plain lines, a tenth of a millisecond.
const PLAIN_STRIDE: usize = 16 * 1024;
/// The same of lines that are matched against a pattern.
const COSTLY_STRIDE: usize = 1024;

/// One slice.
#[derive(Debug)]
pub struct Slice<'a> {
    exchange: &'a Exchange,
    ends: Option<Instant>,
    stride: usize,
    /// Where in the buffer the next look is due.
    next_look: usize,
}

impl<'a> Slice<'a> {
    /// Begins at `start` of the buffer.
    pub fn begin(exchange: &'a Exchange, start: usize, is_costly: bool) -> Slice<'a> {
        let stride = if is_costly { COSTLY_STRIDE } else { PLAIN_STRIDE };
        let ends = Instant::now().checked_add(SLICE_TIME);
        Slice { exchange, ends, stride, next_look: start + stride }
    }

    /// One that ends with its bytes: what follows the last whole line of a file cannot
    /// be left for later.
    pub fn whole(exchange: &'a Exchange) -> Slice<'a> {
        Slice { exchange, ends: None, stride: usize::MAX, next_look: usize::MAX }
    }

    /// Whether it ends with the line before `at`.
    #[inline]
    pub fn ends_at(&mut self, at: usize) -> bool {
        at >= self.next_look && self.is_over(at)
    }

    #[cold]
    fn is_over(&mut self, at: usize) -> bool {
        self.next_look = at.saturating_add(self.stride);
        self.exchange.is_stopping() || self.ends.is_some_and(|ends| Instant::now() >= ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointStore;
    use std::sync::atomic::Ordering;

    #[test]
    fn the_clock_and_a_stop_are_looked_at_now_and_then() {
        let exchange = Exchange::new(1 << 20, CheckpointStore::in_memory()).unwrap();
        let mut slice = Slice { ends: None, ..Slice::begin(&exchange, 100, true) };
        assert!(!slice.ends_at(100 + COSTLY_STRIDE));
        exchange.stopping.store(true, Ordering::Release);
        assert!(!slice.ends_at(100 + COSTLY_STRIDE + 1), "it was looked a moment ago");
        assert!(slice.ends_at(100 + 2 * COSTLY_STRIDE));
        exchange.stopping.store(false, Ordering::Release);
        let mut late = Slice { ends: Some(Instant::now()), ..Slice::begin(&exchange, 0, false) };
        assert!(!late.ends_at(PLAIN_STRIDE - 1));
        assert!(late.ends_at(PLAIN_STRIDE));
        assert!(!Slice::whole(&exchange).ends_at(usize::MAX - 1));
    }
}
