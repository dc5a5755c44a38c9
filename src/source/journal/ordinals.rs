//! Docker's numbers of a container's entries, since Docker 23: what is missing between them was
//! lost on the way or removed. Pure.
//!
//! ```text
//! 5 6 8 9 …   7 is missing: suppressed by journald, or removed before it was read
//! 5 7 6 8     6 is late: both streams take numbers before they send, each one at a time
//! ```
//!
//! The numbers of a start of the container, or of dockerd, begin with 1.

use xxhash_rust::xxh3::xxh3_64;

/// How many entries later a late one counts as missing.
const LATE: u32 = 256;

/// The number of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordinal {
    /// The start whose number it is: a hash of its random id.
    pub epoch: u64,
    /// The number.
    pub number: u64,
}

impl Ordinal {
    /// Takes the fields' values.
    pub fn new(epoch: &[u8], number: &[u8]) -> Option<Ordinal> {
        let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
        (number > 0).then(|| Ordinal {
            epoch: xxh3_64(epoch),
            number,
        })
    }
}

/// The numbers that were seen of a container.
#[derive(Debug, Default)]
pub struct Ordinals {
    /// The last one.
    last: Option<Ordinal>,
    /// Smaller numbers that were not seen and are not counted as missing yet: at most one, which
    /// may be late.
    awaited: u64,
    /// Entries since then.
    waited: u32,
}

impl Ordinals {
    /// Takes the next entry's; returns how many entries are known to be missing now.
    pub fn take(&mut self, next: Ordinal) -> u64 {
        let mut missing = 0;
        let before = match self.last {
            // What was before the first entry that is read is another matter.
            None => next.number - 1,
            Some(last) if last.epoch == next.epoch => last.number,
            Some(_) => {
                missing = self.end();
                0
            }
        };
        if next.number <= before {
            self.awaited = self.awaited.saturating_sub(1);
            return missing;
        }
        self.last = Some(next);
        let skipped = next.number - before - 1;
        self.waited = if skipped > 0 { 0 } else { self.waited + 1 };
        let awaited = self.awaited.saturating_add(skipped);
        self.awaited = if self.waited < LATE {
            awaited.min(1)
        } else {
            0
        };
        missing + (awaited - self.awaited)
    }

    /// No more numbers of this start come; returns how many are missing that were awaited.
    pub fn end(&mut self) -> u64 {
        std::mem::take(&mut self.awaited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(ordinals: &mut Ordinals, epoch: u64, numbers: impl Iterator<Item = u64>) -> u64 {
        numbers
            .map(|number| ordinals.take(Ordinal { epoch, number }))
            .sum()
    }

    #[test]
    fn what_is_missing_is_counted_once_and_what_is_late_is_not() {
        let mut ordinals = Ordinals::default();
        // The first ones are of an earlier run, or were removed before the first start.
        assert_eq!(missing(&mut ordinals, 1, [7, 8, 10, 9, 11].into_iter()), 0);
        // Of four, one may be late.
        assert_eq!(missing(&mut ordinals, 1, [16].into_iter()), 3);
        assert_eq!(missing(&mut ordinals, 1, 17..17 + 1000), 1);
        assert_eq!(missing(&mut ordinals, 1, [1018].into_iter()), 0);
        // It was started again, and what was awaited does not come.
        assert_eq!(missing(&mut ordinals, 2, [3, 2].into_iter()), 2);
        assert_eq!(ordinals.end(), 0);
        assert_eq!(missing(&mut ordinals, 2, [5].into_iter()), 0);
        assert_eq!(ordinals.end(), 1);
    }

    #[test]
    fn no_number_is_too_large_or_malformed() {
        let mut ordinals = Ordinals::default();
        assert_eq!(
            missing(&mut ordinals, 1, [1, u64::MAX].into_iter()),
            u64::MAX - 3
        );
        assert_eq!(missing(&mut ordinals, 1, [u64::MAX, 1].into_iter()), 0);
        for (number, is_one) in [
            ("1", true),
            ("0", false),
            ("-1", false),
            ("x", false),
            ("", false),
        ] {
            let ordinal = Ordinal::new(b"epoch", number.as_bytes());
            assert_eq!(ordinal.is_some(), is_one, "{number}");
        }
    }
}
