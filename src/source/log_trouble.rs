//! A failure to find, open or read the files of a log, reported once until it is over.

use std::io;
use std::sync::Arc;

use crate::delivery::link::Link;
use crate::runtime::file::is_shortage;
use crate::runtime::LogFiles;
use crate::telemetry::account::Account;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// The failure, if there is one.
#[derive(Debug)]
pub struct LogTrouble {
    of: Arc<Account>,
    trouble: Trouble,
}

impl LogTrouble {
    /// None so far; `of` is the account of the container.
    pub fn new(of: &Arc<Account>) -> LogTrouble {
        LogTrouble {
            of: Arc::clone(of),
            trouble: Trouble::paced(),
        }
    }

    /// What it is.
    pub fn reason(&self) -> Option<Unread> {
        self.trouble.reason()
    }

    /// Reports that the files cannot be read.
    pub fn begin(&mut self, files: &LogFiles, link: &Link, error: &io::Error) {
        link.tally.read_errors.add_one();
        let unread = Unread::of_error(error);
        if is_shortage(error) {
            // A shortage affects all containers and is reported once for all.
            self.trouble.begin(unread, || false);
            return link.report_shortage(&files.path, error);
        }
        let (path, reason) = (files.path.to_path_buf(), error.to_string());
        let (name, short_id) = self.of.names();
        self.trouble.begin(unread, || {
            link.report(Event::LogUnreadable {
                name,
                short_id,
                path,
                reason,
            })
        });
    }

    /// Reports that the files can be read again, if a failure was reported.
    pub fn end(&mut self, files: &LogFiles, link: &Link) {
        let of = &self.of;
        self.trouble.end(|| {
            let (path, (name, short_id)) = (files.path.to_path_buf(), of.names());
            link.report(Event::LogReadable {
                name,
                short_id,
                path,
            })
        });
    }
}
