//! A place in systemd's journal.

use crate::format::position::Timestamp;

/// An entry of the journal, or the place after it. journald numbers the entries of all files of
/// a machine in one sequence; a new sequence begins where a journal is begun without the files
/// of an earlier one, and where the volatile journal is flushed to the disk: the same entries then
/// have other numbers. Entries of another sequence are compared by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalPlace {
    /// The id of the sequence; 0 if there is no place.
    pub sequence: u128,
    /// The number of the entry in it, from 1.
    pub number: u64,
    /// When journald received the entry, in microseconds since 1970.
    pub received: u64,
}

impl JournalPlace {
    /// Whether it is no place.
    pub fn is_none(&self) -> bool {
        *self == JournalPlace::default()
    }

    /// Whether an entry at this place was taken if all up to and including `taken` were.
    pub fn is_within(&self, taken: &JournalPlace) -> bool {
        match self.sequence == taken.sequence {
            true => self.number <= taken.number,
            false => self.received <= taken.received,
        }
    }

    /// The place before it.
    pub fn before(self) -> JournalPlace {
        JournalPlace {
            number: self.number.saturating_sub(1),
            received: self.received.saturating_sub(1),
            ..self
        }
    }

    /// When journald received the entry.
    pub fn time(&self) -> Timestamp {
        let micros = i64::try_from(self.received).unwrap_or(i64::MAX);
        Timestamp {
            seconds: micros / 1_000_000,
            nanos: u32::try_from(micros % 1_000_000).unwrap_or(0) * 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_sequence_are_compared_by_number_and_others_by_time() {
        let place = |sequence, number, received| JournalPlace {
            sequence,
            number,
            received,
        };
        let taken = place(7, 10, 100);
        // The clock was set back after entry 10.
        for (entry, is_within) in [
            (place(7, 10, 100), true),
            (place(7, 9, 300), true),
            (place(7, 11, 50), false),
            (place(8, 1, 99), true),
            (place(8, 1, 100), true),
            (place(8, 99, 101), false),
        ] {
            assert_eq!(entry.is_within(&taken), is_within, "{entry:?}");
        }
        assert!(!place(7, 10, 100).is_within(&taken.before()));
        assert!(!place(8, 1, 100).is_within(&taken.before()), "flushed");
        assert_eq!(
            place(7, 1, 1_700_000_000_000_042).time(),
            Timestamp {
                seconds: 1_700_000_000,
                nanos: 42_000
            }
        );
    }
}
