//! Where we are in a container's log.
//!
//! A container's log is a sequence of *generations* (one file each, oldest
//! first; a rotation starts the next). A position is a generation and an
//! offset in its plain bytes, and positions of one container are ordered.

use std::time::Duration;

/// Which of a container's two output streams an entry belongs to.
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

/// One value for each stream, indexed by [`Stream::index`].
pub type PerStream<T> = [T; 2];

/// A place in one container's log, comparable within this run only: the
/// generation number is handed out by the tailer and never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Number of the generation in the order of writing.
    pub generation: u32,
    /// Bytes from the generation's start, before any compression.
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
    /// How long before `later` this is; zero if it is not.
    pub fn elapsed_until(self, later: Timestamp) -> Duration {
        if later <= self {
            return Duration::ZERO;
        }
        let seconds = u64::try_from(later.seconds.saturating_sub(self.seconds)).unwrap_or(0);
        let later = Duration::new(seconds, later.nanos);
        later.saturating_sub(Duration::from_nanos(u64::from(self.nanos)))
    }

    /// Nanoseconds since 1970, as the kernel counts birth times; 0 before it.
    pub fn since_epoch(self) -> u64 {
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(self.nanos))
    }
}
