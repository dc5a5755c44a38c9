//! What is lost of one log before it is read, or arrives without its time: counted in its account and
//! reported, what may happen often at most once a minute.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::delivery::link::Link;
use crate::format::rfc3339;
use crate::runtime::file::last_name;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::safe_path::SafePath;
use crate::source::file::gaps::Missing;
use crate::source::file::generation::Generation;
use crate::source::file::listing::UnreadableFile;
use crate::source::file::resume::Lost;
use crate::telemetry::account::{Abandoned, Account, Amount};
use crate::telemetry::event::deleted::DeletedEvent;
use crate::telemetry::event::Event;
use crate::telemetry::throttle::{Once, Paced};
use crate::telemetry::trouble::Trouble;

/// The losses of one log.
#[derive(Debug)]
pub struct Losses {
    account: Arc<Account>,
    /// The file of the saved position is gone, and that is counted.
    pub is_saved_gone: bool,
    /// The file of the saved position is gone, which is counted and not reported yet.
    unsaid: Option<Box<Lost>>,
    /// Files that were there and are not opened.
    has_surplus: bool,
    surplus_report: Once,
    unexamined_report: Once,
    no_file: Trouble<()>,
    missed: Paced,
    /// Truncations that lost nothing, and truncations that lost data.
    truncated: [Paced; 2],
    /// Truncations that may have lost more than was seen.
    behind: Paced,
    corrupt: Paced,
    untimed: Paced,
}

impl Losses {
    /// None so far.
    pub fn new(account: Arc<Account>) -> Losses {
        Losses {
            account,
            is_saved_gone: false,
            unsaid: None,
            has_surplus: false,
            surplus_report: Once::default(),
            unexamined_report: Once::default(),
            no_file: Trouble::paced(),
            missed: Paced::default(),
            truncated: Default::default(),
            behind: Paced::default(),
            corrupt: Paced::default(),
            untimed: Paced::default(),
        }
    }

    /// Name and short id of the container, for messages.
    fn names(&self) -> (String, String) {
        self.account.names()
    }

    fn abandon(&self, bytes: u64, generations: u64) {
        self.account.abandon(Abandoned {
            bytes,
            generations,
            entries: 0,
        });
    }

    /// `bytes` that are not part of a record, the first of them at `offset`.
    pub fn corrupt(&mut self, link: &Link, path: PathBuf, offset: u64, bytes: u64) {
        let amount = Amount { bytes, records: 0 };
        let (name, short_id) = self.names();
        self.corrupt.add(amount, Instant::now(), |corrupt| {
            link.report(Event::Corrupt {
                name,
                short_id,
                path,
                offset,
                bytes: corrupt.bytes,
            })
        });
    }

    /// `entries` of the file at `path` have no valid time. They are delivered.
    pub fn untimed(&mut self, link: &Link, path: PathBuf, entries: u64) {
        self.account.add_untimed(entries);
        let amount = Amount {
            bytes: 0,
            records: entries,
        };
        let (name, short_id) = self.names();
        self.untimed.add(amount, Instant::now(), |untimed| {
            link.report(Event::Untimed {
                name,
                short_id,
                path,
                entries: untimed.records,
            })
        });
    }

    /// The file at `path` was truncated and nobody copied it. `unread` bytes had been seen and
    /// were destroyed, and any number that were written since it was checked last.
    pub fn truncated_behind(&mut self, link: &Link, path: PathBuf, unread: u64) {
        self.abandon(unread, 1);
        let amount = Amount {
            bytes: unread,
            records: 1,
        };
        let (name, short_id) = self.names();
        self.behind.add(amount, Instant::now(), |all| {
            link.report(Event::TruncatedBehind {
                name,
                short_id,
                path,
                unread: all.bytes,
            })
        });
    }

    /// The file at `path` was truncated; `unread` bytes had been seen and were destroyed.
    pub fn truncated(&mut self, link: &Link, path: PathBuf, unread: u64) {
        self.abandon(unread, 0);
        let amount = Amount {
            bytes: unread,
            records: 1,
        };
        let (name, short_id) = self.names();
        self.truncated[usize::from(unread > 0)].add(amount, Instant::now(), |all| {
            link.report(Event::Truncated {
                name,
                short_id,
                path,
                unread: all.bytes,
            })
        });
    }

    /// The file of the saved position is gone, and no other is there. Counted once.
    pub fn deleted(&mut self) {
        if !std::mem::replace(&mut self.is_saved_gone, true) {
            self.abandon(0, 1);
        }
    }

    /// `files` were created and deleted between two looks.
    pub fn missed(&mut self, link: &Link, of: &ContainerMetadata, files: u64) {
        if files == 0 {
            return;
        }
        self.abandon(0, files);
        let amount = Amount {
            bytes: 0,
            records: files,
        };
        let (name, short_id) = (of.title(), self.account.short_id());
        self.missed.add(amount, Instant::now(), |missed| {
            link.report(Event::GenerationsMissed {
                name,
                short_id,
                files: missed.records,
            })
        });
    }

    /// Files were deleted while nothing was read, and reading has got to where they were.
    pub fn missing(&self, link: &Link, of: &ContainerMetadata, missing: Missing) {
        self.abandon(0, missing.files);
        link.report(Event::Deleted(DeletedEvent::Between {
            name: of.title(),
            short_id: self.account.short_id(),
            files: missing.files,
            path: missing.path.to_path_buf(),
        }));
    }

    /// The `files` oldest ones are not opened; counted and reported once.
    pub fn passed_over(&mut self, link: &Link, of: &ContainerMetadata, files: u64) {
        if files == 0 {
            return;
        }
        if !std::mem::replace(&mut self.has_surplus, true) {
            self.abandon(0, files);
        }
        self.surplus_report.report(|| {
            link.report(Event::FilesPassedOver {
                name: of.title(),
                short_id: self.account.short_id(),
                files,
            })
        });
    }

    /// `files` that are not named after the log are not looked at; reported once.
    pub fn unexamined(&mut self, link: &Link, of: &ContainerMetadata, files: u64) {
        if files == 0 {
            return;
        }
        self.unexamined_report.report(|| {
            link.report(Event::FilesUnexamined {
                name: of.title(),
                short_id: self.account.short_id(),
                files,
            })
        });
    }

    /// The first name of a rotated or earlier file that belongs to something else, if any.
    pub fn no_file(&mut self, link: &Link, first: Option<&SafePath>) {
        let Some(path) = first else {
            return self.no_file.end(|| true);
        };
        let (name, short_id) = self.account.names();
        self.no_file.begin((), || {
            link.report(Event::NoFile {
                name,
                short_id,
                path: path.to_path_buf(),
            })
        });
    }

    /// No file matches a checkpoint. Neither the content of its file nor whether that was read
    /// to its end is known. Counted; [`Losses::report_lost`] reports it.
    pub fn lost(&mut self, lost: Lost) {
        if !std::mem::replace(&mut self.is_saved_gone, true) {
            self.abandon(0, 1);
            self.unsaid = Some(Box::new(lost));
        }
    }

    /// Reading resumes from another position.
    pub fn resume(&mut self) {
        self.is_saved_gone = false;
    }

    /// What was lost is reported with its cause.
    pub fn explained(&mut self) {
        self.unsaid = None;
    }

    /// Reports what [`Losses::lost`] counted.
    pub fn report_lost(&mut self, link: &Link, of: &ContainerMetadata) {
        let Some(lost) = self.unsaid.take() else {
            return;
        };
        let (name, short_id) = (of.title(), self.account.short_id());
        link.report(match *lost {
            Lost::Truncated(path) => Event::TruncatedMeanwhile {
                name,
                short_id,
                path,
            },
            Lost::Generation(last) => Event::GenerationLost {
                name,
                short_id,
                last: rfc3339::format(last),
            },
        });
    }

    /// A rotated file can never be read, or no further.
    pub fn unreadable(&self, link: &Link, path: PathBuf, error: &io::Error, unread: u64) {
        self.abandon(unread, 1);
        link.tally.read_errors.add_one();
        let (name, short_id) = self.names();
        link.report(Event::GenerationUnreadable {
            name,
            short_id,
            path,
            reason: error.to_string(),
            unread,
        });
    }

    /// A rotated file can never be read, and nothing of it was delivered before.
    pub fn not_supported(&self, link: &Link, file: &UnreadableFile) {
        self.abandon(0, 1);
        link.tally.read_errors.add_one();
        let (name, short_id) = self.names();
        link.report(Event::RotatedUnreadable {
            name,
            short_id,
            path: file.path.to_path_buf(),
            reason: file.error.to_string(),
        });
    }

    /// A compressed file is damaged; what follows the damage is not known.
    pub fn damaged(&self, link: &Link, path: PathBuf, reason: String) {
        self.abandon(0, 1);
        let (name, short_id) = self.names();
        link.report(Event::DamagedArchive {
            name,
            short_id,
            path,
            reason,
        });
    }

    /// A deleted file is dropped before its end, and with it this number of bytes.
    pub fn dropped(
        &self,
        link: &Link,
        of: &ContainerMetadata,
        file: &Generation,
        bytes: u64,
        reason: String,
    ) {
        self.abandon(bytes, 1);
        let name = file.file().ok().and_then(last_name);
        link.report(Event::Deleted(DeletedEvent::Held {
            name: of.title(),
            short_id: self.account.short_id(),
            path: name.unwrap_or_else(|| file.path.to_path_buf()),
            bytes,
            reason,
        }));
    }

    /// None of the files is read any further.
    pub fn given_up<'a>(&self, files: impl Iterator<Item = &'a Generation>) {
        let unread = files.map(Generation::unread).filter(|unread| *unread > 0);
        let (bytes, generations) =
            unread.fold((0, 0), |(bytes, files), unread| (bytes + unread, files + 1));
        self.abandon(bytes, generations);
    }
}
