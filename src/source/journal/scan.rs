//! A scan of the journal: steps from entry to entry of containers, and over all others.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::delivery::checkpoint::JournalPlace;
use crate::format::Entry;
use crate::runtime::id::ContainerId;
use crate::source::journal::entry::Fields;
use crate::source::journal::seam::{Journal, Seek};
use crate::source::journal::trust::Sender;

/// Entries of others between two looks at the clock.
const ENTRIES_PER_LOOK: u32 = 64;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An entry of this container at this place.
    Entry(ContainerId, JournalPlace),
    /// The time is over, and there may be more.
    Pause,
    /// No more entries now.
    End,
}

/// A scan of the journal.
pub struct Scan {
    journal: Box<dyn Journal>,
    fields: Fields,
    /// The entry that it is at, if it has stepped to one.
    at: Option<JournalPlace>,
    /// It has stepped to an entry already that the next step returns.
    is_ahead: bool,
}

impl Scan {
    /// Begins at a place; `of` is the container whose entries are of interest, or all are.
    pub fn begin(
        mut journal: Box<dyn Journal>,
        of: Option<&ContainerId>,
        to: Seek,
    ) -> io::Result<Scan> {
        let field = of.map(|id| format!("CONTAINER_ID_FULL={id}"));
        journal.select(field.as_ref().map(|field| field.as_bytes()))?;
        journal.seek(to)?;
        Ok(Scan {
            journal,
            fields: Fields::default(),
            at: None,
            is_ahead: false,
        })
    }

    /// Steps to the next entry of a container, for no longer than until `until`.
    pub fn step(&mut self, until: Instant) -> io::Result<Step> {
        for count in 1.. {
            if !std::mem::take(&mut self.is_ahead) && !self.journal.step()? {
                return Ok(Step::End);
            }
            self.fields.clear();
            let fields = &mut self.fields;
            self.journal.fields(&mut |field| fields.take(field))?;
            if let Some(id) = self.fields.container() {
                let (id, place) = (*id, self.journal.place()?);
                self.at = Some(place);
                return Ok(Step::Entry(id, place));
            }
            if count % ENTRIES_PER_LOOK == 0 && Instant::now() >= until {
                self.at = self.journal.place().ok();
                return Ok(Step::Pause);
            }
        }
        Ok(Step::End)
    }

    /// Who sent the entry.
    pub fn sender(&self) -> &Sender {
        self.fields.sender()
    }

    /// The entry at the place that the last step returned.
    pub fn entry(&mut self, place: JournalPlace) -> Entry<'_> {
        self.fields.entry(place.time())
    }

    /// Steps over everything up to `at`, and over this number of entries after it, which could
    /// not be read.
    pub fn pass_over(&mut self, at: &JournalPlace, mut unreadable: u32) -> io::Result<()> {
        while self.journal.step()? {
            let is_known = self.journal.place()?.is_within(at);
            if !is_known && unreadable == 0 {
                self.is_ahead = true;
                break;
            }
            unreadable -= u32::from(!is_known);
        }
        self.at = Some(*at);
        Ok(())
    }

    /// The last entry that was read.
    pub fn at(&self) -> Option<JournalPlace> {
        self.at
    }

    /// Takes note of new and removed files; returns whether there are any.
    pub fn refresh(&mut self) -> io::Result<bool> {
        self.journal.refresh()
    }

    /// Readable when something was written.
    pub fn notices(&self) -> BorrowedFd<'_> {
        self.journal.notices()
    }

    /// The journal, for another scan.
    pub fn into_journal(self) -> Box<dyn Journal> {
        self.journal
    }
}
