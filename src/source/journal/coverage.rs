//! Whether the journal still has all that was written after a place. Pure but for the journal.

use std::io;

use crate::delivery::checkpoint::JournalPlace;
use crate::source::journal::seam::{Journal, Seek};

/// Entries of other sequences that are stepped over in search of the next one of a place's own.
const MOST_OTHERS: usize = 4096;

/// What the journal has of the entries after a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All, as far as it tells.
    Whole,
    /// Nothing follows, and the entry at the place is gone: the next one will tell.
    Unknown,
    /// Some were removed: the next entry has a later number than the next one.
    Removed,
    /// The file with the place is gone, and with it the numbers. Another sequence follows.
    Gone,
}

/// Looks at what follows a place.
pub fn after(journal: &mut dyn Journal, place: &JournalPlace) -> io::Result<Coverage> {
    let coverage = look_after(journal, place)?;
    if coverage != Coverage::Removed {
        return Ok(coverage);
    }
    // libsystemd passes over an entry of one file that is written while it looks into another one.
    look_after(journal, place)
}

fn look_after(journal: &mut dyn Journal, place: &JournalPlace) -> io::Result<Coverage> {
    journal.select(&[])?;
    journal.seek(Seek::To(*place))?;
    // Of another sequence: the first one that follows, if it is not the entry itself with another
    // number, as in a journal that was moved from memory to disk.
    let (mut other, mut is_there) = (None, false);
    for _ in 0..MOST_OTHERS {
        if !journal.step()? {
            return Ok(match other {
                // A place of an older sequence may have its time only.
                _ if is_there || place.number == 0 => Coverage::Whole,
                Some(true) => Coverage::Gone,
                Some(false) => Coverage::Whole,
                None => Coverage::Unknown,
            });
        }
        let next = journal.place()?;
        if next.sequence != place.sequence {
            // A place before an entry has the time before it.
            other.get_or_insert(is_later(&next, place));
        } else if next.number > place.number {
            return Ok(match next.number == place.number + 1 {
                true => Coverage::Whole,
                false => Coverage::Removed,
            });
        } else {
            is_there |= next.number == place.number;
        }
    }
    Ok(Coverage::Whole)
}

/// Whether an entry of another sequence is not the one at a place with another number. A place before
/// an entry has the time before it.
pub fn is_later(other: &JournalPlace, place: &JournalPlace) -> bool {
    other.received > place.received + 1
}
