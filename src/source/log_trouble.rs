//! A failure to find, open or read the files of a log, reported once until it is over.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::link::Link;
use crate::runtime::file::is_shortage;
use crate::runtime::LogFiles;
use crate::telemetry::account::Account;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// How long the names of a log's files may change between listing and opening before that counts
/// as a failure.
const RENAME_PATIENCE: Duration = Duration::from_secs(2);

/// The failure, if there is one.
#[derive(Debug)]
pub struct LogTrouble {
    of: Arc<Account>,
    /// Boxed, since few logs have it.
    current: Option<Box<Current>>,
}

#[derive(Debug)]
struct Current {
    trouble: Trouble,
    /// Since when each attempt to open what was listed found another name.
    renaming_since: Option<Instant>,
}

impl LogTrouble {
    /// None so far; `of` is the account of the container.
    pub fn new(of: &Arc<Account>) -> LogTrouble {
        LogTrouble {
            of: Arc::clone(of),
            current: None,
        }
    }

    fn current(&mut self) -> &mut Current {
        self.current.get_or_insert_with(|| {
            Box::new(Current {
                trouble: Trouble::paced(),
                renaming_since: None,
            })
        })
    }

    /// What it is.
    pub fn reason(&self) -> Option<Unread> {
        self.current.as_ref()?.trouble.reason()
    }

    /// Whether a name changed between listing and opening, as a rotation or a removal may do: the
    /// next attempt sees the new names.
    pub fn is_passing(&mut self, error: &io::Error, now: Instant) -> bool {
        if error.kind() != io::ErrorKind::NotFound {
            return false;
        }
        let since = *self.current().renaming_since.get_or_insert(now);
        now.duration_since(since) < RENAME_PATIENCE
    }

    /// Reports that the files cannot be read.
    pub fn begin(&mut self, files: &LogFiles, link: &Link, error: &io::Error) {
        link.tally.read_errors.add_one();
        let unread = Unread::of_error(error);
        if is_shortage(error) {
            // A shortage affects all containers and is reported once for all.
            self.current().trouble.begin(unread, || false);
            return link.report_shortage(&files.path, error);
        }
        let (path, reason) = (files.path.to_path_buf(), error.to_string());
        let (name, short_id) = self.of.names();
        self.current().trouble.begin(unread, || {
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
        let (of, Some(current)) = (&self.of, &mut self.current) else {
            return;
        };
        current.renaming_since = None;
        current.trouble.end(|| {
            let (path, (name, short_id)) = (files.path.to_path_buf(), of.names());
            link.report(Event::LogReadable {
                name,
                short_id,
                path,
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::id::ContainerId;

    #[test]
    fn a_name_that_changes_is_no_failure_unless_it_goes_on() {
        let account = Account::new(ContainerId::from_bytes([1; 32]));
        let mut trouble = LogTrouble::new(&Arc::new(account));
        let (missing, denied) = (
            io::Error::from(io::ErrorKind::NotFound),
            io::Error::from(io::ErrorKind::PermissionDenied),
        );
        let start = Instant::now();
        assert!(!trouble.is_passing(&denied, start));
        assert!(trouble.is_passing(&missing, start));
        assert!(trouble.is_passing(&missing, start + RENAME_PATIENCE / 2));
        assert!(!trouble.is_passing(&missing, start + RENAME_PATIENCE));
    }
}
