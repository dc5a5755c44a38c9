//! Drops entries already delivered, by timestamp, when there is no file offset. Pure.

use crate::delivery::checkpoint::TimeCursor;
use crate::format::position::Timestamp;

/// Drops the entries up to a cursor, which were already delivered.
///
/// Podman's API reports times in whole seconds, its files in nanoseconds. When reading moves
/// from one to the other, entries of the same second are counted. From the API to a file, all
/// entries of that second have been counted, so this is exact. From a file to the API, the
/// entries before the last one are unknown, and up to one second of entries may be duplicated.
#[derive(Debug, Clone, Copy)]
pub struct Dedupe {
    until: TimeCursor,
    /// Whether the cursor's time or those of the coming entries may be in whole seconds.
    is_to_the_second: bool,
    /// Nothing is dropped unless the first entry is earlier than the cursor.
    is_doubtful: bool,
    /// Entries with that time seen so far.
    seen: u32,
}

impl Dedupe {
    /// Drops up to `until`. `is_to_the_second` means that times on either side may be in whole
    /// seconds.
    pub fn new(until: TimeCursor, is_to_the_second: bool) -> Dedupe {
        Dedupe {
            until,
            is_to_the_second,
            is_doubtful: false,
            seen: 0,
        }
    }

    /// Drops up to `until` if the entries begin earlier than that: only then were they, or those
    /// in their place, delivered. New ones may have the cursor's time.
    pub fn if_earlier(until: TimeCursor) -> Dedupe {
        Dedupe {
            is_doubtful: true,
            ..Dedupe::new(until, false)
        }
    }

    /// Drops nothing.
    pub fn nothing() -> Dedupe {
        Dedupe::new(TimeCursor::default(), false)
    }

    /// Whether nothing will be dropped.
    pub fn is_over(&self) -> bool {
        self.until.count == 0
    }

    /// Whether entries are being dropped, and not only those that may come.
    pub fn is_dropping(&self) -> bool {
        !self.is_doubtful && !self.is_over()
    }

    /// Whether an entry with this time was already delivered. Out of line to keep the hot path
    /// small.
    #[cold]
    #[inline(never)]
    pub fn covers(&mut self, time: Timestamp) -> bool {
        let until = self.until.time;
        if self.is_doubtful && time >= until {
            return false;
        }
        self.is_doubtful = false;
        let is_whole = time.nanos == 0 || until.nanos == 0;
        if time != until && !(self.is_to_the_second && is_whole && time.seconds == until.seconds) {
            return time < until;
        }
        self.seen += 1;
        self.seen <= self.until.count
    }
}

/// Whether `time`, in whole seconds, may be earlier than `cursor`, which has nanoseconds. Such
/// entries must not be counted: the count would include entries before the file's offset.
pub fn is_within_second_of(cursor: TimeCursor, time: Timestamp) -> bool {
    let exact = cursor.time;
    cursor.count > 0 && exact.nanos > 0 && time.nanos == 0 && exact.seconds == time.seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(seconds: i64, count: u32) -> TimeCursor {
        TimeCursor {
            time: Timestamp { seconds, nanos: 0 },
            count,
        }
    }

    #[test]
    fn entries_up_to_a_moment_are_passed_over_and_equal_times_are_counted() {
        let mut dedupe = Dedupe::new(cursor(5, 2), false);
        let times = [3, 5, 5, 5, 6];
        let covered = times.map(|seconds| dedupe.covers(Timestamp { seconds, nanos: 0 }));
        assert_eq!(covered, [true, true, true, false, false]);
    }

    #[test]
    fn where_one_side_knows_seconds_alone_entries_of_that_second_are_counted() {
        let fine = |seconds, nanos| Timestamp { seconds, nanos };
        let covered = |until: TimeCursor, is_to_the_second, times: &[Timestamp]| {
            let mut dedupe = Dedupe::new(until, is_to_the_second);
            times
                .iter()
                .map(|time| dedupe.covers(*time))
                .collect::<Vec<_>>()
        };
        // From Podman's API to its file: the API returned two entries of second 5.
        let file = [fine(4, 9), fine(5, 0), fine(5, 3), fine(5, 4), fine(6, 0)];
        assert_eq!(
            covered(cursor(5, 2), true, &file),
            [true, true, true, false, false]
        );
        // To the API: of second 5, only the last entry is known to be taken.
        let api = [fine(4, 0), fine(5, 0), fine(5, 0), fine(6, 0)];
        let until = TimeCursor {
            time: fine(5, 3),
            count: 1,
        };
        assert_eq!(covered(until, true, &api), [true, true, false, false]);
        // If both sides have nanoseconds, times within a second are distinct.
        assert_eq!(covered(cursor(5, 1), false, &[fine(5, 3)]), [false]);
    }

    #[test]
    fn where_entries_may_be_new_one_that_is_earlier_than_the_cursor_tells_that_they_are_not() {
        let covered = |times: &[i64]| {
            let mut dedupe = Dedupe::if_earlier(cursor(5, 2));
            let covers = |seconds: &i64| {
                dedupe.covers(Timestamp {
                    seconds: *seconds,
                    nanos: 0,
                })
            };
            times.iter().map(covers).collect::<Vec<_>>()
        };
        assert_eq!(covered(&[4, 5, 5, 5, 6]), [true, true, true, false, false]);
        assert_eq!(covered(&[5]), [false]);
        assert_eq!(covered(&[6]), [false]);
    }

    #[test]
    fn a_moment_counts_entries_of_one_time() {
        let mut at = TimeCursor::default();
        for (seconds, want) in [(0, 1), (0, 2), (7, 1), (7, 2), (6, 1)] {
            at.advance(Timestamp { seconds, nanos: 0 });
            assert_eq!(at, cursor(seconds, want));
        }
    }
}
