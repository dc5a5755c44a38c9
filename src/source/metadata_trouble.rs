//! A metadata file of a container that cannot be read: reported once, and read again once the file
//! has changed. Thousands of them may be left over, and cost little as long as they are as they were.

use crate::delivery::link::Link;
use crate::runtime::file::{is_shortage, open_regular};
use crate::runtime::safe_path::SafePath;
use crate::runtime::{stamp_at, FolderStamp};
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// The failure, if there is one.
#[derive(Debug)]
pub struct MetadataTrouble {
    trouble: Trouble,
    /// The file, unless it had just changed or its failure is not its own.
    file: Option<Box<(SafePath, FolderStamp)>>,
}

impl MetadataTrouble {
    /// None so far.
    pub fn new() -> MetadataTrouble {
        MetadataTrouble {
            trouble: Trouble::paced(),
            file: None,
        }
    }

    /// Whether there is a failure.
    pub fn is_there(&self) -> bool {
        self.trouble.is_there()
    }

    /// What it is, for metrics.
    pub fn reason(&self) -> Option<Unread> {
        self.trouble.reason()
    }

    /// Whether another attempt is worth its price: the file has changed since the last one, or
    /// the failure is still to be reported. With `doubts`, what the file does not show may have
    /// changed, such as a right of this process.
    pub fn may_be_over(&self, doubts: bool) -> bool {
        let is_same = |(path, seen): &(SafePath, FolderStamp)| stamp_at(path) == Some(*seen);
        self.is_there()
            && (doubts
                || self.trouble.is_to_be_reported()
                || !self.file.as_ref().is_some_and(|file| is_same(file)))
    }

    /// The file at `path` could not be read. Returns `false` for a shortage, which says nothing
    /// about the file.
    pub fn begin(&mut self, path: SafePath, link: &Link, report: impl FnOnce() -> bool) -> bool {
        link.tally.read_errors.add_one();
        let error = open_regular(&path).err();
        if let Some(error) = error.filter(is_shortage) {
            self.file = None;
            self.trouble.begin(Unread::NoDescriptors, || false);
            link.report_shortage(&path, &error);
            return false;
        }
        self.file = stamp_at(&path).map(|stamp| Box::new((path, stamp)));
        self.trouble.begin(Unread::Metadata, report);
        true
    }

    /// It is over, which records show.
    pub fn end(&mut self) {
        self.file = None;
        self.trouble.end(|| true);
    }
}
