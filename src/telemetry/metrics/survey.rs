//! What the reader sees when it looks round: how things are, not what has been.

use std::path::PathBuf;

use crate::telemetry::metrics::Unread;

/// Where a container's log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The files of the json-file driver.
    File,
    /// Those of the local driver.
    Local,
    /// Docker's own copy of what another driver gets.
    Cache,
    /// The Docker API.
    Stream,
    /// Nowhere.
    Nowhere,
}

impl SourceKind {
    /// All of them, in the order of their metrics.
    pub const ALL: [SourceKind; 5] = [
        SourceKind::File,
        SourceKind::Local,
        SourceKind::Cache,
        SourceKind::Stream,
        SourceKind::Nowhere,
    ];

    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::File => "file",
            SourceKind::Local => "local",
            SourceKind::Cache => "cache",
            SourceKind::Stream => "stream",
            SourceKind::Nowhere => "nowhere",
        }
    }
}

/// How things were at the reader's last look round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many containers come from each of [`SourceKind::ALL`].
    pub containers: [u64; 5],
    /// How many are not read though they should be, by each of [`Unread::ALL`].
    pub unread: [u64; Unread::ALL.len()],
    /// The folders in which runtimes keep their containers, and whether each can be listed.
    pub roots: Vec<(PathBuf, bool)>,
    /// Log files held open.
    pub files_open: u64,
    /// Split lines that wait for their rest.
    pub open_lines: u64,
    /// Whether changes are looked for instead of being notified.
    pub polls: bool,
}

impl Survey {
    /// One more container.
    pub fn count(&mut self, source: SourceKind) {
        self.containers[source as usize] += 1;
    }

    /// One more container that is not read, and why.
    pub fn count_unread(&mut self, reason: Unread) {
        self.unread[reason as usize] += 1;
    }
}
