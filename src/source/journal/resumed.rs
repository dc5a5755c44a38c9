//! A scan that is opened again after a failure. Pure but for the scan.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::JournalPlace;
use crate::source::journal::scan::{GivenUp, Scan};

/// How long to wait after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A scan, and where it is to be opened again.
#[derive(Default)]
pub(super) struct Resumed {
    pub scan: Option<Scan>,
    /// Where it is to be opened again.
    pub at: Option<JournalPlace>,
    /// The last entry of each sequence, after which the next one is expected then.
    pub ends: Vec<JournalPlace>,
    /// Failures since the last entry that could be read.
    failures: u32,
    /// The entry whose fields could not be read then.
    failed: Option<JournalPlace>,
    /// Not before this time.
    pub retry: Option<Instant>,
    /// The folders that have files of the journal, since it was opened.
    folders: Option<BTreeSet<PathBuf>>,
}

impl Resumed {
    /// Notes where the files are. libsystemd does not notice a folder that was made after it opened the
    /// journal (the first persistent one, `/var/log/journal`). Returns whether there is such a
    /// one: then the scan is to be opened again.
    pub fn note_folders(&mut self, folders: BTreeSet<PathBuf>) -> bool {
        let before = self.folders.replace(folders);
        let is_any_new = match (&before, &self.folders) {
            (Some(before), Some(now)) => !now.is_subset(before),
            _ => false,
        };
        if is_any_new {
            self.note_place();
            self.end_scan();
        }
        is_any_new
    }

    /// Notes how far it came.
    pub fn note_place(&mut self) {
        let at = self.scan.as_ref().and_then(Scan::at);
        if at.is_some() && at != self.at {
            (self.at, self.failures) = (at, 0);
        }
    }

    fn end_scan(&mut self) -> Option<Scan> {
        let ended = self.scan.take();
        if let Some(scan) = &ended {
            scan.last().clone_into(&mut self.ends);
        }
        ended
    }

    /// Notes that it failed; returns whether it is to be opened again at once, as after a first
    /// failure. What is left of a removed file reads as zeros until its removal is noticed, which
    /// is no trouble.
    pub fn note_failure(&mut self, now: Instant) -> bool {
        self.note_place();
        self.failed = self.end_scan().as_ref().and_then(Scan::failed);
        self.failures += 1;
        let is_first = self.failures == 1;
        self.retry = (!is_first).then_some(now + RETRY_INTERVAL);
        is_first
    }

    /// What could not be read twice is not tried again. The first failure may have passed, and what
    /// was removed meanwhile is not there any more.
    pub fn given_up(&self) -> GivenUp {
        let is_twice = self.failures >= 2;
        GivenUp {
            entry: self.failed.filter(|_| is_twice),
            without_place: is_twice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    /// `mkdir /var/log/journal`, and journald is restarted.
    #[test]
    fn a_folder_that_is_new_is_read_with_the_others_and_one_that_is_gone_changes_nothing() {
        let mut resumed = Resumed::default();
        let (volatile, persistent) = ("/run/log/journal/1", "/var/log/journal/1");
        assert!(!resumed.note_folders(folders(&[volatile])));
        assert!(!resumed.note_folders(folders(&[volatile])));
        assert!(resumed.note_folders(folders(&[volatile, persistent])));
        assert!(!resumed.note_folders(folders(&[persistent])));
        assert!(resumed.note_folders(folders(&[volatile, persistent])));
    }
}
