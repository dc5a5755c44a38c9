//! A scan of the journal: steps from entry to entry of containers, and over all others.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::delivery::checkpoint::JournalPlace;
use crate::format::Entry;
use crate::runtime::id::ContainerId;
use crate::source::journal::entry::Fields;
use crate::source::journal::ordinals::Ordinal;
use crate::source::journal::seam::{Journal, Seek};
use crate::source::journal::trust::{Sender, Writer};

/// Entries of others between two looks at the clock.
const ENTRIES_PER_LOOK: u32 = 64;

/// What journald's own messages about dropped ones have (`SD_MESSAGE_JOURNAL_DROPPED`).
const DROPPED: &[u8] = b"MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e";

/// Sequences whose numbers are watched for gaps: of the system, of namespaces, of earlier journals.
const MOST_SEQUENCES: usize = 16;

/// What a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An entry of this container at this place, or journald's word that it dropped some of it.
    Entry(ContainerId, JournalPlace),
    /// journald dropped so many messages of a daemon, the unit.
    Suppressed(String, u64),
    /// The time is over, and there may be more.
    Pause,
    /// No more entries now.
    End,
}

/// What is not tried again, and counts as missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenUp {
    /// This entry.
    pub entry: Option<JournalPlace>,
    /// Entries that have no place.
    pub without_place: bool,
}

/// A scan of the journal.
pub struct Scan {
    journal: Box<dyn Journal>,
    fields: Fields,
    /// The entry that it is at, if it has stepped to one.
    at: Option<JournalPlace>,
    /// It has stepped to an entry already that the next step returns.
    is_ahead: bool,
    /// The container whose entries are of interest; `None` for all.
    of: Option<ContainerId>,
    /// The last entry of each sequence, of all that were stepped to.
    last: Vec<JournalPlace>,
    /// The last entry when it began at the end of the journal, by the order of their times.
    end: Option<JournalPlace>,
    /// A sequence was stepped to that is not the first one.
    has_new: bool,
    /// Entries between those that were stepped to, which are not in the journal or cannot be read.
    missing: u64,
    /// The entry whose fields could not be read.
    failed: Option<JournalPlace>,
}

impl Scan {
    /// Begins at a place; `of` is the container whose entries are of interest, or all are.
    pub fn begin(
        mut journal: Box<dyn Journal>,
        of: Option<&ContainerId>,
        to: Seek,
    ) -> io::Result<Scan> {
        let fields = of.map(|id| format!("CONTAINER_ID_FULL={id}"));
        let fields: Vec<&[u8]> = match &fields {
            Some(field) => vec![field.as_bytes(), DROPPED],
            None => Vec::new(),
        };
        journal.select(&fields)?;
        journal.seek(to)?;
        // It is at the last entry then, if there is one.
        let end = (to == Seek::End).then(|| journal.place().ok());
        Ok(Scan {
            journal,
            fields: Fields::default(),
            at: None,
            is_ahead: false,
            of: of.copied(),
            last: Vec::new(),
            end: end.flatten(),
            has_new: false,
            missing: 0,
            failed: None,
        })
    }

    /// Goes back from the end of the journal, so that the next steps return the last entries of
    /// this writer that make up this number of lines.
    pub fn go_back(&mut self, lines: usize, writer: &Writer) -> io::Result<()> {
        self.journal.seek(Seek::End)?;
        let mut ends = 0;
        // The seek is at the last entry itself.
        let mut is_there = self.journal.place().is_ok();
        while is_there {
            self.read_fields()?;
            let is_its = self.fields.container().is_some() && self.sender().is(writer);
            ends += usize::from(is_its && self.fields.ends_line());
            if ends > lines {
                return Ok(());
            }
            is_there = self.journal.step_back()?;
        }
        self.journal.seek(Seek::Head)
    }

    fn read_fields(&mut self) -> io::Result<()> {
        self.fields.clear();
        let fields = &mut self.fields;
        let read = self.journal.fields(&mut |field| fields.take(field));
        if read.is_err() {
            self.failed = self.journal.place().ok();
        }
        read
    }

    /// Steps to the next entry of a container, for no longer than until `until`.
    pub fn step(&mut self, until: Instant) -> io::Result<Step> {
        for count in 1.. {
            if !std::mem::take(&mut self.is_ahead) && !self.journal.step()? {
                return Ok(Step::End);
            }
            if self.of.is_none() && !self.look_for_gap()? {
                return Ok(Step::End);
            }
            self.read_fields()?;
            if let Some(id) = self.fields.container() {
                let (id, place) = (*id, self.journal.place()?);
                self.at = Some(place);
                return Ok(Step::Entry(id, place));
            }
            if let Some(found) = self.fields.suppression() {
                let (entries, id) = (found.entries, found.container());
                let daemon = found.is_of_daemon().then(|| found.unit.to_owned());
                let place = self.journal.place()?;
                self.at = Some(place);
                match (id, daemon) {
                    (Some(id), _) if self.of.is_none_or(|of| of == id) => {
                        return Ok(Step::Entry(id, place));
                    }
                    (None, Some(unit)) if self.of.is_none() => {
                        return Ok(Step::Suppressed(unit, entries));
                    }
                    _ => {}
                }
            }
            if count % ENTRIES_PER_LOOK == 0 && Instant::now() >= until {
                self.at = self.journal.place().ok();
                return Ok(Step::Pause);
            }
        }
        Ok(Step::End)
    }

    /// Looks whether journald numbered entries between the last one and this one; returns `false`
    /// if this one is gone, too. libsystemd passes over an entry of one file that is written while
    /// it looks into another one; going back finds it.
    fn look_for_gap(&mut self) -> io::Result<bool> {
        let mut place = self.journal.place()?;
        let is_of = |it: &JournalPlace| it.sequence == place.sequence;
        let Some(index) = self.last.iter().position(is_of) else {
            // More would be those of other machines.
            if self.last.len() < MOST_SEQUENCES {
                let is_other = |end: &JournalPlace| end.sequence != place.sequence;
                self.has_new |= !self.last.is_empty() || self.end.as_ref().is_some_and(is_other);
                self.last.push(place);
            }
            return Ok(true);
        };
        let last = self.last[index];
        if place.number > last.number + 1 {
            self.journal.seek(Seek::To(last))?;
            // Those of other sequences up to here were stepped to.
            loop {
                if !self.journal.step()? {
                    return Ok(false);
                }
                place = self.journal.place()?;
                if place.sequence == last.sequence && place.number > last.number {
                    break;
                }
            }
            self.missing += place.number - (last.number + 1);
        }
        self.last[index] = place;
        Ok(true)
    }

    /// Goes back to a place: the next steps return what is there and after it once more.
    pub fn back_to(&mut self, place: JournalPlace) -> io::Result<()> {
        self.is_ahead = false;
        let mut last = self.last.iter_mut();
        if let Some(last) = last.find(|it| it.sequence == place.sequence) {
            *last = place;
        }
        self.journal.seek(Seek::To(place))
    }

    /// Has the first entry after this place count as missing, if another one comes first. For a
    /// scan of all that begins anew, or began where this sequence had no entry.
    pub fn expect_after(&mut self, place: JournalPlace) {
        let mut last = self.last.iter_mut();
        match last.find(|it| it.sequence == place.sequence) {
            Some(last) if last.number < place.number => *last = place,
            Some(_) => {}
            None => self.last.push(place),
        }
    }

    /// Whether another sequence was stepped to since the last call.
    pub fn takes_new(&mut self) -> bool {
        std::mem::take(&mut self.has_new)
    }

    /// How many entries were not in the journal since the last call, of containers and others.
    pub fn take_missing(&mut self) -> u64 {
        std::mem::take(&mut self.missing)
    }

    /// How many entries journald dropped, if it is that what the entry says.
    pub fn suppressed(&self) -> Option<u64> {
        self.fields.suppression().map(|found| found.entries)
    }

    /// Docker's number of the entry.
    pub fn ordinal(&self) -> Option<Ordinal> {
        self.fields.ordinal()
    }

    /// Who sent the entry.
    pub fn sender(&self) -> &Sender {
        self.fields.sender()
    }

    /// Passes each field of the entry on.
    pub fn visit(&mut self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.journal.fields(visit)
    }

    /// The entry at the place that the last step returned.
    pub fn entry(&mut self, place: JournalPlace) -> Entry<'_> {
        self.fields.entry(place.time())
    }

    /// Steps over everything up to `at`, and over what is given up after it.
    pub fn pass_over(&mut self, at: &JournalPlace, given_up: &GivenUp) -> io::Result<()> {
        self.at = Some(*at);
        while self.journal.step()? {
            match self.journal.place() {
                Ok(place) if place.is_within(at) => {}
                Ok(place) if given_up.entry == Some(place) => {
                    self.at = Some(place);
                    self.missing += 1;
                    self.expect_after(place);
                }
                Ok(_) => {
                    self.is_ahead = true;
                    return Ok(());
                }
                Err(_) if given_up.without_place => self.missing += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The entry whose fields could not be read, if that is what failed last.
    pub fn failed(&self) -> Option<JournalPlace> {
        self.failed
    }

    /// The last entry that was read.
    pub fn at(&self) -> Option<JournalPlace> {
        self.at
    }

    /// The last entry when it began at the end of the journal.
    pub fn end(&self) -> Option<JournalPlace> {
        self.end
    }

    /// The last entry of each sequence that was stepped to.
    pub fn last(&self) -> &[JournalPlace] {
        &self.last
    }

    /// The last entry of each sequence that was stepped to, and the one that it began at.
    pub fn ends(&mut self) -> Vec<JournalPlace> {
        let mut ends = self.last.clone();
        // There is none as long as nothing was read and the file that it was at is gone.
        let here = self.journal.place().ok().or(self.at);
        ends.extend(here.filter(|here| ends.iter().all(|it| it.sequence != here.sequence)));
        ends
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
