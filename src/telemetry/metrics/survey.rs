//! The state the reader observes in its surveys: current values, not counts of past events.

use std::path::PathBuf;

use crate::telemetry::metrics::Unread;

/// Where a container's log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The current log files: those of Docker's json-file driver, of CRI runtimes, and of
    /// Podman.
    File,
    /// Files of Docker's local driver.
    Local,
    /// Docker's local cache for other drivers.
    Cache,
    /// systemd's journal.
    Journal,
    /// The API of Docker or Podman.
    Stream,
    /// Not available anywhere.
    Nowhere,
}

impl SourceKind {
    /// All variants, in the order of their metrics.
    pub const ALL: [SourceKind; 6] = [
        SourceKind::File,
        SourceKind::Local,
        SourceKind::Cache,
        SourceKind::Journal,
        SourceKind::Stream,
        SourceKind::Nowhere,
    ];

    /// The value of the metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            SourceKind::File => "file",
            SourceKind::Local => "local",
            SourceKind::Cache => "cache",
            SourceKind::Journal => "journal",
            SourceKind::Stream => "stream",
            SourceKind::Nowhere => "nowhere",
        }
    }
}

/// The state as of the reader's last survey.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Number of containers for each of [`SourceKind::ALL`].
    pub containers: [u64; SourceKind::ALL.len()],
    /// Number of containers that should be read but are not, for each of [`Unread::ALL`].
    pub unread: [u64; Unread::ALL.len()],
    /// The root directories of the runtimes, and whether each can be listed.
    pub roots: Vec<(PathBuf, bool)>,
    /// Log files held open.
    pub files_open: u64,
    /// Split lines that are not complete yet.
    pub open_lines: u64,
    /// Whether changes are found by polling instead of notifications.
    pub polls: bool,
}
