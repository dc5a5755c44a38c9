//! A failure to find, open or read the files of a log, reported once until it is over.

use std::io;

use crate::delivery::link::Link;
use crate::runtime::file::is_shortage;
use crate::runtime::LogFiles;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// The failure, if there is one.
#[derive(Debug)]
pub struct LogTrouble(Trouble);

impl Default for LogTrouble {
    fn default() -> LogTrouble {
        LogTrouble(Trouble::paced())
    }
}

impl LogTrouble {
    /// What it is.
    pub fn reason(&self) -> Option<Unread> {
        self.0.reason()
    }

    /// Reports that the files cannot be read.
    pub fn begin(&mut self, files: &LogFiles, link: &Link, error: &io::Error) {
        link.tally.read_errors.add_one();
        let unread = Unread::of_error(error);
        if is_shortage(error) {
            // A shortage affects all containers and is reported once for all.
            self.0.begin(unread, || false);
            return link.report_shortage(&files.path, error);
        }
        let (path, reason) = (files.path.to_path_buf(), error.to_string());
        self.0.begin(unread, || {
            link.report(Event::LogUnreadable { path, reason })
        });
    }

    /// Reports that the files can be read again, if a failure was reported.
    pub fn end(&mut self, files: &LogFiles, link: &Link) {
        self.0.end(|| {
            let path = files.path.to_path_buf();
            link.report(Event::LogReadable { path })
        });
    }
}
