//! What the shared journal knows of what journald stores: whether it does, whether its numbers go on,
//! and what it still has of containers that were removed.

use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::source::journal::coverage::{self, Coverage};
use crate::source::journal::remainder::Remainders;
use crate::source::journal::scan::Scan;
use crate::source::journal::shared::SharedJournal;

impl SharedJournal {
    /// Opens it once more, to search it for containers that were removed.
    pub fn remainders(&mut self, now: Instant, link: &Link) -> io::Result<Remainders> {
        self.probe(now, link).map_err(io::Error::other)?;
        self.open().map(Remainders::new)
    }

    /// Whether journald does not store what containers write, as far as its files tell.
    pub fn is_unwritten(&self) -> bool {
        self.unwritten.is_there()
    }

    /// A container that runs has no entry since it was started, in nanoseconds since 1970.
    pub fn note_silent(&mut self, started: u64, names: (String, String), link: &Link) {
        if let Some(last) = self.last().filter(|last| last.received < started / 1000) {
            self.unwritten.note_silence(last, names, link);
        }
    }

    /// The last entry of all.
    fn last(&mut self) -> Option<JournalPlace> {
        self.ends().into_iter().max_by_key(|end| end.received)
    }

    /// What is not known of the entries after a place, the next one tells; if that is of another
    /// sequence already, the journal was begun anew.
    pub(super) fn note_coverage(&mut self, covered: Coverage, place: JournalPlace, link: &Link) {
        match covered {
            Coverage::Unknown => self.awaited = Some(place),
            Coverage::Gone => self.losses.begun_anew(place, link),
            // The gap in the numbers is counted.
            Coverage::Whole | Coverage::Removed => {}
        }
    }

    /// Looks whether journald stores something again, and whether what was awaited has come.
    pub(super) fn look_at_stored(&mut self, link: &Link) {
        self.look_for_awaited(link);
        if self.all.scan.as_mut().is_some_and(Scan::takes_new) {
            // A failure is noticed by the next read.
            let _ = self.look_for_others(link);
        }
        if self.unwritten.is_there() {
            let last = self.last();
            self.unwritten.note_last(last, link);
        }
    }

    /// Another sequence was begun: looks whether those before it are still there, with the last
    /// entries that were read. Those of a namespace are.
    fn look_for_others(&mut self, link: &Link) -> io::Result<()> {
        let mut journal = self.open()?;
        let Some(scan) = &self.all.scan else {
            return Ok(());
        };
        let mut last = scan.last().to_vec();
        let end = scan.end();
        last.extend(end.filter(|end| last.iter().all(|it| it.sequence != end.sequence)));
        for place in last {
            let covered = coverage::after(&mut *journal, &place)?;
            self.note_coverage(covered, place, link);
        }
        Ok(())
    }

    /// Looks whether the sequence goes on, of which nothing was there, or another one was begun.
    fn look_for_awaited(&mut self, link: &Link) {
        let (Some(awaited), Some(scan)) = (self.awaited, &self.all.scan) else {
            return;
        };
        let mut others = scan
            .last()
            .iter()
            .filter(|it| it.sequence != awaited.sequence);
        if scan
            .last()
            .iter()
            .any(|it| it.sequence == awaited.sequence && *it != awaited)
        {
            self.awaited = None;
        } else if others.any(|other| coverage::is_later(other, &awaited)) {
            self.awaited = None;
            self.losses.begun_anew(awaited, link);
        }
    }
}
