//! Offsets and timestamps of a container's log.
//!
//! A container's log is a sequence of *generations* (one file each, oldest first; a rotation
//! starts the next). A position is a generation and an offset in its uncompressed bytes;
//! positions of one container are ordered.

use std::time::Duration;

/// The output stream of a container that an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output; also everything a TTY container prints.
    Stdout = 0,
    /// Standard error.
    Stderr = 1,
}

impl Stream {
    /// Both streams, in index order.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The name as the runtime writes it.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// Index into a `PerStream`.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One value per stream, indexed by [`Stream::index`].
pub type PerStream<T> = [T; 2];

/// A generation and offset in one container's log. Comparable within one run only: the tailer
/// assigns generation numbers, and they are never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Generation number, in the order of writing.
    pub generation: u32,
    /// Bytes from the start of the generation, uncompressed.
    pub offset: u64,
}

/// A point in time as the runtime wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// Time from `self` to `later`; zero if `later` is not later.
    pub fn elapsed_until(self, later: Timestamp) -> Duration {
        if later <= self {
            return Duration::ZERO;
        }
        let seconds = u64::try_from(later.seconds.saturating_sub(self.seconds)).unwrap_or(0);
        let later = Duration::new(seconds, later.nanos);
        later.saturating_sub(Duration::from_nanos(u64::from(self.nanos)))
    }

    /// The time this many nanoseconds after the beginning of 1970.
    pub fn at(nanos: u64) -> Timestamp {
        Timestamp {
            seconds: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: (nanos % 1_000_000_000) as u32,
        }
    }

    /// Nanoseconds since 1970, the unit of file birth times; 0 for earlier times.
    pub fn since_epoch(self) -> u64 {
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(self.nanos))
    }
}
