//! A journald that does not store what it receives: its disk is full, its file was deleted, or it
//! is to store nothing. It says so to nobody who reads its journal, and its numbers do not tell.
//!
//! ```text
//! disk full      system.journal -> system@….journal, and no new one can be made
//! file deleted   journald writes on to the deleted one
//! Storage=none   the files of before stay as they are
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::JournalPath;
use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::format::position::Timestamp;
use crate::format::rfc3339;
use crate::source::journal::files::{look, open, Found};
use crate::source::journal::seam::{JournalLibrary, Seek};
use crate::telemetry::event::journal::JournalEvent;
use crate::telemetry::event::Event;
use crate::telemetry::trouble::Trouble;

/// Interval between two looks at it then.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the file that journald writes may be missing: it is renamed, and then made anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `check` says about what journald stores.
#[derive(Debug)]
pub struct Stored {
    /// Where journald has no file to write to.
    pub lacking: Option<PathBuf>,
    /// When the last entry of all was received.
    pub last: Option<Timestamp>,
}

/// Looks at what journald stores. Waits for the end of a rotation.
pub fn look_at(library: &dyn JournalLibrary, path: &JournalPath) -> io::Result<Stored> {
    let deadline = Instant::now() + PATIENCE;
    let lacking = loop {
        let found = look(library, path)?;
        let lacking = found.lacks_current(&BTreeMap::new()).map(Path::to_owned);
        if lacking.is_none() || Instant::now() >= deadline {
            break lacking;
        }
        std::thread::sleep(LOOK_INTERVAL);
    };
    let mut journal = open(library, path)?;
    journal.select(&[])?;
    journal.seek(Seek::End)?;
    let last = journal.place().ok().map(|place| place.time());
    Ok(Stored { lacking, last })
}

/// What is known of it.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// The machines, and namespaces, that had a file that journald writes.
    expected: BTreeMap<OsString, PathBuf>,
    lacks_since: Option<Instant>,
    lack: Trouble<()>,
    silence: Trouble<()>,
    /// The last entry before a container was started that has none.
    silent: JournalPlace,
}

impl Unwritten {
    pub fn new() -> Unwritten {
        Unwritten {
            expected: BTreeMap::new(),
            lacks_since: None,
            lack: Trouble::paced(),
            silence: Trouble::paced(),
            silent: JournalPlace::default(),
        }
    }

    /// Whether what containers write to the journal is not stored, as far as its files tell.
    pub fn is_there(&self) -> bool {
        self.lack.is_there() || self.silence.is_there()
    }

    /// Notes what files there are.
    pub fn note_files(&mut self, found: &Found, now: Instant, link: &Link) {
        for (name, system) in &found.systems {
            if system.has_current {
                self.expected.insert(name.clone(), system.folder.clone());
            }
        }
        let Some(folder) = found.lacks_current(&self.expected) else {
            self.lacks_since = None;
            self.lack
                .end(|| link.report(Event::Journal(JournalEvent::Stored)));
            return;
        };
        let since = *self.lacks_since.get_or_insert(now);
        if now.duration_since(since) < PATIENCE {
            return;
        }
        self.note_lack(&folder.display().to_string(), link);
    }

    /// journald has no file to write to there.
    pub fn note_lack(&mut self, places: &str, link: &Link) {
        if !self.lack.is_there() {
            // Whether containers have written anything since is not known.
            link.accounts.abandon_files(1);
        }
        self.lack.begin((), || {
            let places = places.to_owned();
            link.report(Event::Journal(JournalEvent::NotStored { places }))
        });
    }

    /// A container that runs was started after the last entry of all.
    pub fn note_silence(&mut self, last: JournalPlace, names: (String, String), link: &Link) {
        self.silent = last;
        let (name, short_id) = names;
        let last = rfc3339::format(last.time());
        self.silence.begin((), || {
            link.report(Event::Journal(JournalEvent::Silent {
                name,
                short_id,
                last,
            }))
        });
    }

    /// Notes the last entry of all.
    pub fn note_last(&mut self, last: Option<JournalPlace>, link: &Link) {
        if self.silence.is_there() && last.is_some_and(|last| last != self.silent) {
            self.silence
                .end(|| link.report(Event::Journal(JournalEvent::Stored)));
        }
    }
}

impl Found {
    /// The folder of a machine or namespace that has no file that journald writes, although it had
    /// one before, or, if none has one, files that were archived.
    pub fn lacks_current<'a>(
        &'a self,
        expected: &'a BTreeMap<OsString, PathBuf>,
    ) -> Option<&'a Path> {
        let has_current = |name| self.systems.get(name).is_some_and(|it| it.has_current);
        let mut lacking = expected.iter().filter(|(name, _)| !has_current(*name));
        if let Some((_, folder)) = lacking.next() {
            return Some(folder);
        }
        let has_any = self.systems.values().any(|it| it.has_current);
        let archived = self.systems.values().next();
        archived.filter(|_| !has_any).map(|it| &*it.folder)
    }
}
