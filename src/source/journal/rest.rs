//! What the journal still has of containers that were removed while nothing was read: their folders
//! are gone, and their entries name them.

use std::io;
use std::time::Instant;

use crate::delivery::checkpoint::{ContainerCheckpoint, JournalPlace};
use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::JournalWriter;
use crate::source::journal::coverage::{self, Coverage};
use crate::source::journal::scan::{Scan, Step};
use crate::source::journal::seam::{Journal, Seek};
use crate::source::journal::trust::Writer;

/// Longest name of a container or image that is taken from an entry.
const LONGEST_NAME: usize = 4096;

/// What the journal has of one container after its place.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// Entries of a runtime, which are to be read.
    Entries {
        /// Who wrote them.
        writer: JournalWriter,
        /// The container's name; empty if they do not tell.
        name: String,
        /// Its image; empty if they do not tell.
        image: String,
    },
    /// None: it was read to its end.
    Nothing,
    /// None, and some may have been removed.
    Unknown,
}

/// The place up to which a container was read in the journal; `None` if it was read elsewhere last.
pub fn place_of(saved: &ContainerCheckpoint) -> Option<JournalPlace> {
    let is_in_journal = saved.iter().all(|stream| stream.is_by_time);
    let places = saved.iter().map(|stream| stream.journal);
    let places = places.filter(|place| is_in_journal && !place.is_none());
    places.min_by_key(|place| place.received)
}

/// A journal that is searched. To be dropped after a failure.
pub struct Rests {
    /// `None` after a failure.
    journal: Option<Box<dyn Journal>>,
}

impl Rests {
    pub(super) fn new(journal: Box<dyn Journal>) -> Rests {
        Rests {
            journal: Some(journal),
        }
    }

    /// Looks for the entries of a container after a place that one of the machine's runtimes wrote, for
    /// no longer than until `until`.
    pub fn of(
        &mut self,
        (id, place): (&ContainerId, &JournalPlace),
        writers: &[JournalWriter],
        until: Instant,
    ) -> io::Result<Rest> {
        let journal = self.journal.take();
        let mut scan = Scan::begin(
            journal.ok_or(io::ErrorKind::Other)?,
            Some(id),
            Seek::To(*place),
        )?;
        let found = first_after(&mut scan, place, writers, until)?;
        let mut journal = scan.into_journal();
        let rest = match found {
            Some(rest) => rest,
            None if coverage::after(&mut *journal, place)? == Coverage::Whole => Rest::Nothing,
            None => Rest::Unknown,
        };
        self.journal = Some(journal);
        Ok(rest)
    }
}

/// The first entry after a place that a runtime of the system's wrote.
fn first_after(
    scan: &mut Scan,
    place: &JournalPlace,
    writers: &[JournalWriter],
    until: Instant,
) -> io::Result<Option<Rest>> {
    loop {
        let (_, at) = match scan.step(until)? {
            Step::Entry(id, at) => (id, at),
            Step::Suppressed(..) => continue,
            // Whatever it is, it is not to be said to be nothing.
            Step::Pause => return Ok(Some(Rest::Unknown)),
            Step::End => return Ok(None),
        };
        if Instant::now() >= until {
            return Ok(Some(Rest::Unknown));
        }
        let is_its = |program: &JournalWriter| {
            let writer = Writer {
                program: *program,
                uid: 0,
            };
            scan.sender().is(&writer)
        };
        let Some(writer) = writers.iter().copied().find(is_its) else {
            continue;
        };
        if at.is_within(place) {
            continue;
        }
        let (mut name, mut image) = (String::new(), String::new());
        scan.visit(&mut |field| {
            let value = |key: &[u8]| {
                let value = field.strip_prefix(key)?;
                value.get(..LONGEST_NAME).or(Some(value))
            };
            if let Some(value) = value(b"CONTAINER_NAME=") {
                name = String::from_utf8_lossy(value).into_owned();
            } else if let Some(value) = value(b"IMAGE_NAME=") {
                image = String::from_utf8_lossy(value).into_owned();
            }
        })?;
        return Ok(Some(Rest::Entries {
            writer,
            name,
            image,
        }));
    }
}
