//! How the files of one log are followed: read at each cycle, watched, or polled.
//!
//! ```text
//!              few reads return anything
//! each cycle ────────────────────────────▶ watched
//!   │  ▲                                      │
//!   │  └──────────────────────────────────────┘
//!   │       lines keep coming within two cycles
//!   └───▶ polled
//!     the watch is refused, or the file is on a network file system
//! ```

use std::io;
use std::time::{Duration, Instant};

use crate::runtime::is_on_network;
use crate::source::file::tailer::Tailer;
use crate::source::pace::Pace;
use crate::source::services::Surroundings;

/// Interval between reads of a log that cannot be watched, and between attempts to read
/// metadata.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How a log is followed, and what its last reads returned.
pub struct Follow {
    way: Way,
    pace: Pace,
    last_read: Instant,
    /// Nothing is read before this time.
    not_before: Option<Instant>,
}

enum Way {
    EachCycle,
    Watched {
        /// The numbers that [`crate::source::watch::FileWatch::watch_log`] returned.
        numbers: Vec<i32>,
        /// How many files of the log had been found by then. If the tailer has found more, one
        /// of them is not watched.
        files: u32,
    },
    /// The log cannot be watched and is read at intervals.
    Polled,
}

impl Follow {
    /// Reads at each cycle at first.
    pub fn new(now: Instant) -> Follow {
        Follow {
            way: Way::EachCycle,
            pace: Pace::default(),
            last_read: now,
            not_before: None,
        }
    }

    /// Returns when reading may continue, or `None` if it may now.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|due| *due > now)
    }

    /// Reads nothing for an interval; returns its end.
    pub fn wait(&mut self, now: Instant) -> Instant {
        self.wait_until(now + POLL_INTERVAL)
    }

    /// Reads nothing before `due`, and returns it.
    pub fn wait_until(&mut self, due: Instant) -> Instant {
        *self.not_before.insert(due)
    }

    /// Returns how long ago a read last returned something.
    pub fn silence(&self, now: Instant) -> Duration {
        now.duration_since(self.last_read)
    }

    /// Returns when a line that is still open counts as complete.
    pub fn end_of(&self, grace: Duration) -> Instant {
        self.last_read + grace
    }

    /// Records a read that returned something.
    pub fn note_read(&mut self, around: &Surroundings<'_>) {
        self.pace.brought(self.silence(around.now), around.cycle);
        self.last_read = around.now;
    }

    /// Records a read that returned nothing.
    pub fn note_empty_read(&mut self) {
        self.pace.brought_nothing();
    }

    /// Whether lines keep coming, so that notices cost more than reads.
    pub fn is_busy(&self) -> bool {
        self.pace.is_busy()
    }

    /// Whether so few reads return anything that a watch is cheaper.
    pub fn is_sparse(&self) -> bool {
        self.pace.is_sparse()
    }

    /// Whether the log is read at intervals.
    pub fn is_polled(&self) -> bool {
        matches!(self.way, Way::Polled)
    }

    /// Whether inotify reports each write to the log.
    pub fn is_watched(&self, tailer: &Tailer) -> bool {
        matches!(&self.way, Way::Watched { files, .. } if *files == tailer.files_met())
    }

    /// Reads at intervals from now on.
    pub fn poll(&mut self, around: &mut Surroundings<'_>) {
        self.unwatch(around);
        self.way = Way::Polled;
    }

    fn watch(&mut self, tailer: &Tailer, around: &mut Surroundings<'_>) -> io::Result<()> {
        self.unwatch(around);
        let mut numbers = Vec::with_capacity(1);
        let mut watch = |file| around.watch.watch_log(around.key, file);
        let watched = tailer.written_files().try_for_each(|file| {
            numbers.push(watch(file)?);
            Ok(())
        });
        self.way = Way::Watched {
            numbers,
            files: tailer.files_met(),
        };
        watched
    }

    /// Watches the files that are still written, or polls those that cannot be watched.
    pub fn watch_or_poll(&mut self, tailer: &Tailer, around: &mut Surroundings<'_>) {
        if tailer.written_files().any(is_on_network) {
            return self.poll(around);
        }
        if let Err(error) = self.watch(tailer, around) {
            self.poll(around);
            let (dir, reason) = (tailer.files().dir.to_path_buf(), error.to_string());
            around.report_refused_watch(dir, reason);
        }
    }

    /// Ends the watch; the log is read at each cycle from now on.
    pub fn unwatch(&mut self, around: &mut Surroundings<'_>) {
        if let Way::Watched { numbers, .. } = &self.way {
            for number in numbers {
                around.watch.unwatch_log(around.key, *number);
            }
            self.pace = Pace::default();
            self.way = Way::EachCycle;
        }
    }
}
