//! The journal as all containers of a reader share it: opened when the first of them is read from
//! it, closed with the last.
//!
//! ```text
//! container joins ──> its own scan, from its place ──> end ──> live
//!                          (one handle for all)                  │
//! all entries, from the end when the first one joined ──────────┴──> live containers
//! ```
//!
//! A container's own scan uses the index of the journal, so that it reads no entry of another
//! one. It is needed at the start, and for whatever the container did not take in time because
//! the host or its rate limit held it back.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::JournalPath;
use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::runtime::id::ContainerId;
use crate::source::journal::coverage::{self, Coverage};
use crate::source::journal::files::{lacks_all, look, off, open, probe, FOLDERS};
use crate::source::journal::losses::Losses;
use crate::source::journal::resumed::Resumed;
use crate::source::journal::scan::{Scan, Step};
use crate::source::journal::seam::{Journal, JournalLibrary, Seek};
use crate::source::journal::trust::Writer;
use crate::source::journal::unwritten::Unwritten;
use crate::telemetry::event::journal::JournalEvent;
use crate::telemetry::event::Event;
use crate::telemetry::trouble::Trouble;

/// How long it is known whether the journal can be read.
const AVAILABILITY_AGE: Duration = Duration::from_secs(2);

/// Interval between two looks at the files while they are read.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How far a scan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything has been read.
    End,
    /// There is more.
    More,
    /// The queue is full.
    Stalled,
    /// It cannot be read now.
    Failed,
}

/// The journal of a reader.
pub struct SharedJournal {
    library: Option<Arc<dyn JournalLibrary>>,
    path: JournalPath,
    /// The keys of the containers that are read from it, by their runtimes' ids, which users may
    /// choose.
    members: HashMap<ContainerId, Vec<usize>>,
    all: Resumed,
    own: Resumed,
    /// The container whose scan `own` is.
    owner: Option<(ContainerId, usize)>,
    probed: Option<(Instant, Result<(), String>)>,
    trouble: Trouble<()>,
    /// Files were added or removed since all was read last.
    has_changed: bool,
    turned_over: Vec<JournalPlace>,
    /// When the files were looked at last.
    looked: Option<Instant>,
    losses: Losses,
    unwritten: Unwritten,
    /// Nothing followed this place when its container joined.
    awaited: Option<JournalPlace>,
}

impl SharedJournal {
    /// Opens nothing yet. Without a library there is no journal.
    pub fn new(path: &JournalPath) -> SharedJournal {
        SharedJournal {
            library: None,
            path: path.clone(),
            members: HashMap::new(),
            all: Resumed::default(),
            own: Resumed::default(),
            owner: None,
            probed: None,
            trouble: Trouble::paced(),
            has_changed: false,
            turned_over: Vec::new(),
            looked: None,
            losses: Losses::default(),
            unwritten: Unwritten::new(),
            awaited: None,
        }
    }

    /// Reads it with this library.
    pub fn set_library(&mut self, library: Arc<dyn JournalLibrary>) {
        self.library = Some(library);
    }

    fn open(&self) -> io::Result<Box<dyn Journal>> {
        match &self.library {
            Some(library) => open(&**library, &self.path),
            None => Err(off()),
        }
    }

    /// Fails, and says why, unless the journal can be read.
    pub fn probe(&mut self, now: Instant, link: &Link) -> Result<(), String> {
        if self.all.scan.is_some() {
            return Ok(());
        }
        let is_fresh = |at: &Instant| now.duration_since(*at) < AVAILABILITY_AGE;
        if let Some((_, known)) = self.probed.as_ref().filter(|(at, _)| is_fresh(at)) {
            return known.clone();
        }
        let found = match &self.library {
            Some(library) => probe(&**library, &self.path),
            None => Err(off()),
        };
        if found
            .as_ref()
            .is_err_and(|error| lacks_all(error, &self.path))
        {
            self.unwritten.note_lack(&FOLDERS.join(" or "), link);
        }
        let found = found.map_err(|error| error.to_string());
        self.probed = Some((now, found.clone()));
        found
    }

    /// A container is read from it from now on: its runtime's id and its key.
    pub fn join(&mut self, id: ContainerId, key: usize) -> io::Result<()> {
        if self.all.scan.is_none() {
            // Before the container's own scan, so that what is written in between is seen by
            // one or the other.
            self.all.scan = Some(Scan::begin(self.open()?, None, Seek::End)?);
        }
        self.members.entry(id).or_default().push(key);
        Ok(())
    }

    /// A container is not read from it any more.
    pub fn leave(&mut self, id: &ContainerId, key: usize) {
        if let Some(keys) = self.members.get_mut(id) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.members.remove(id);
            }
        }
        if self.owner == Some((*id, key)) {
            self.owner = None;
        }
        if self.members.is_empty() {
            (self.all, self.own) = (Resumed::default(), Resumed::default());
            self.turned_over.clear();
        }
    }

    /// Readable when something was written; `None` while nothing is read from it.
    pub fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.all.scan.as_ref().map(Scan::notices)
    }

    /// When to try again after a failure.
    pub fn retry(&self) -> Option<Instant> {
        self.all.retry.filter(|_| !self.members.is_empty())
    }

    /// Reads what was written since, for the containers that have caught up.
    pub fn read_all(
        &mut self,
        until: Instant,
        link: &Link,
        mut take: impl FnMut(usize, JournalPlace, &mut Scan),
    ) -> Progress {
        if self.members.is_empty() {
            return Progress::End;
        }
        let mut all = std::mem::take(&mut self.all);
        let members = std::mem::take(&mut self.members);
        let read = self.read(
            &mut all,
            (None, Seek::End),
            until,
            link,
            &mut |id, place, scan| {
                for key in members.get(id).into_iter().flatten() {
                    take(*key, place, scan);
                }
            },
        );
        let entries = all.scan.as_mut().map_or(0, Scan::take_missing);
        self.losses.missing(entries, link);
        (self.all, self.members) = (all, members);
        self.look_at_stored(link);
        read
    }

    /// Has all be read from this place on once more; those that have taken it pass over it.
    pub fn go_back(&mut self, place: JournalPlace) {
        let scan = self.all.scan.as_mut();
        if scan.is_some_and(|scan| scan.back_to(place).is_err()) {
            (self.all.scan, self.all.at) = (None, Some(place));
        }
    }

    /// As [`ends`](SharedJournal::ends), if files were removed or added since this was asked last
    /// and everything was read.
    pub fn take_turn_over(&mut self, read: Progress) -> Option<&[JournalPlace]> {
        if read != Progress::End || !self.has_changed {
            return None;
        }
        let ends = self.ends();
        if ends.is_empty() {
            return None;
        }
        self.has_changed = false;
        self.turned_over = ends;
        Some(&self.turned_over)
    }

    /// The last entries, one of each sequence, up to which all live containers were read.
    pub fn ends(&mut self) -> Vec<JournalPlace> {
        self.all.scan.as_mut().map_or_else(Vec::new, Scan::ends)
    }

    /// The last entries when that was asked last. A container that has caught up since has read up
    /// to there, too.
    pub fn turned_over(&self) -> &[JournalPlace] {
        &self.turned_over
    }

    /// Reads what a container has not taken yet, from `from` on. When that begins, `is_behind`
    /// is told whether entries after `from` were removed from the journal.
    pub fn read_own(
        &mut self,
        container: (ContainerId, usize),
        (from, last): (Seek, Option<(usize, Writer)>),
        until: Instant,
        link: &Link,
        is_behind: impl FnOnce(bool),
        mut take: impl FnMut(JournalPlace, &mut Scan),
    ) -> Progress {
        let mut own = std::mem::take(&mut self.own);
        let id = container.0;
        if self.owner != Some(container) {
            let begun = match own.scan.take() {
                Some(scan) => Ok(scan.into_journal()),
                None => self.open(),
            };
            let begun = begun.and_then(|mut journal| {
                let _ = journal.refresh()?;
                let covered = match from {
                    Seek::To(place) => coverage::after(&mut *journal, &place)?,
                    Seek::Head | Seek::End | Seek::Since(_) => Coverage::Whole,
                };
                let mut scan = Scan::begin(journal, Some(&id), from)?;
                if let Some((lines, writer)) = &last {
                    scan.go_back(*lines, writer)?;
                }
                Ok((covered, scan))
            });
            own = Resumed::default();
            let covered = match begun {
                Ok((covered, scan)) => {
                    own.scan = Some(scan);
                    covered
                }
                Err(error) => return self.fail(&error, link),
            };
            self.owner = Some(container);
            match (from, covered) {
                (Seek::To(place), Coverage::Unknown | Coverage::Gone) => {
                    self.note_coverage(covered, place, link);
                    if let Some(all) = &mut self.all.scan {
                        all.expect_after(place);
                    }
                }
                _ => is_behind(covered == Coverage::Removed),
            }
        }
        let read = self.read(
            &mut own,
            (Some(id), from),
            until,
            link,
            &mut |_, place, scan| take(place, scan),
        );
        let entries = own.scan.as_mut().map_or(0, Scan::take_missing);
        self.losses.missing(entries, link);
        self.own = own;
        if matches!(read, Progress::End | Progress::Failed) {
            // The next one begins where this container then is.
            self.owner = None;
        }
        read
    }

    fn read(
        &mut self,
        resumed: &mut Resumed,
        begin: (Option<ContainerId>, Seek),
        until: Instant,
        link: &Link,
        take: &mut dyn FnMut(&ContainerId, JournalPlace, &mut Scan),
    ) -> Progress {
        if resumed.retry.is_some_and(|retry| Instant::now() < retry) {
            return Progress::Failed;
        }
        resumed.retry = None;
        match self.read_on(resumed, begin, until, link, take) {
            Ok(progress) => {
                resumed.note_place();
                self.trouble
                    .end(|| link.report(Event::Journal(JournalEvent::Readable)));
                progress
            }
            Err(error) => match resumed.note_failure(Instant::now()) {
                true => Progress::More,
                false => self.fail(&error, link),
            },
        }
    }

    fn fail(&mut self, error: &io::Error, link: &Link) -> Progress {
        let reason = error.to_string();
        self.trouble.begin((), || {
            link.report(Event::Journal(JournalEvent::Unreadable { reason }))
        });
        Progress::Failed
    }

    fn read_on(
        &mut self,
        resumed: &mut Resumed,
        (of, from): (Option<ContainerId>, Seek),
        until: Instant,
        link: &Link,
        take: &mut dyn FnMut(&ContainerId, JournalPlace, &mut Scan),
    ) -> io::Result<Progress> {
        let given_up = resumed.given_up();
        let scan = match &mut resumed.scan {
            Some(scan) => scan,
            none => {
                // Nobody tells what changed meanwhile.
                self.has_changed = true;
                let to = resumed.at.map_or(from, Seek::To);
                let mut journal = self.open()?;
                if let Some(at) = resumed.at.filter(|_| of.is_none()) {
                    let covered = coverage::after(&mut *journal, &at)?;
                    self.note_coverage(covered, at, link);
                }
                let mut scan = Scan::begin(journal, of.as_ref(), to)?;
                for end in &resumed.ends {
                    scan.expect_after(*end);
                }
                if let Some(at) = &resumed.at {
                    scan.pass_over(at, &given_up)?;
                }
                none.insert(scan)
            }
        };
        let has_changed = scan.refresh()?;
        self.has_changed |= has_changed;
        // libsystemd passes over files that it cannot open, and may not tell that there are any.
        let now = Instant::now();
        let is_due = |at| now.duration_since(at) >= LOOK_INTERVAL;
        if let Some(library) = &self.library {
            if has_changed || self.looked.is_none_or(is_due) {
                self.looked = Some(now);
                let found = look(&**library, &self.path)?;
                self.unwritten.note_files(&found, now, link);
                if resumed.note_folders(found.folders) {
                    return Ok(Progress::More);
                }
            }
        }
        let Some(scan) = &mut resumed.scan else {
            return Ok(Progress::More);
        };
        loop {
            if !link.queue.has_space() || link.is_stopping() {
                return Ok(Progress::Stalled);
            }
            match scan.step(until)? {
                Step::End => return Ok(Progress::End),
                Step::Pause => return Ok(Progress::More),
                Step::Entry(id, place) => take(&id, place, scan),
                Step::Suppressed(unit, entries) => self.losses.suppressed(unit, entries, link),
            }
            // Costs less than an entry.
            if Instant::now() >= until {
                return Ok(Progress::More);
            }
        }
    }
}

mod stored;
#[cfg(test)]
mod tests;
