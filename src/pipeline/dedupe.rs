//! What was delivered before, told by cursors where there is no file to tell it by. Pure.

use crate::delivery::checkpoint::TimeCursor;
use crate::format::position::Timestamp;

/// Entries up to a moment that are passed over, because they were delivered.
///
/// Podman's API tells times in whole seconds, its files to the nanosecond. Where the
/// one is met after the other, entries of the same second are counted: from the API
/// to a file all of that second were, so that is exact; from a file to the API those
/// before the last are not known, and up to a second's may come again.
#[derive(Debug, Clone, Copy)]
pub struct Dedupe {
    until: TimeCursor,
    /// That time, or those to come, may be in whole seconds.
    is_to_the_second: bool,
    /// Entries of that time seen so far.
    seen: u32,
}

impl Dedupe {
    /// Nothing was met yet. `is_to_the_second` says that times of either side may be in
    /// whole seconds.
    pub fn new(until: TimeCursor, is_to_the_second: bool) -> Dedupe {
        Dedupe {
            until,
            is_to_the_second,
            seen: 0,
        }
    }

    /// Whether an entry with this time was delivered before. Not of the hot path, which
    /// is to stay small.
    #[cold]
    #[inline(never)]
    pub fn covers(&mut self, time: Timestamp) -> bool {
        let until = self.until.time;
        let is_whole = time.nanos == 0 || until.nanos == 0;
        if time != until && !(self.is_to_the_second && is_whole && time.seconds == until.seconds) {
            return time < until;
        }
        self.seen += 1;
        self.seen <= self.until.count
    }
}

/// Whether a time in whole seconds may be one before `cursor`, which is not. A count
/// of such entries would have those in it that come before the file's position.
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
        // From Podman's API to its file: it gave two entries of second 5.
        let file = [fine(4, 9), fine(5, 0), fine(5, 3), fine(5, 4), fine(6, 0)];
        assert_eq!(
            covered(cursor(5, 2), true, &file),
            [true, true, true, false, false]
        );
        // To the API: of second 5 only the last entry is known to be taken.
        let api = [fine(4, 0), fine(5, 0), fine(5, 0), fine(6, 0)];
        let until = TimeCursor {
            time: fine(5, 3),
            count: 1,
        };
        assert_eq!(covered(until, true, &api), [true, true, false, false]);
        // Where both know nanoseconds, a second has many moments.
        assert_eq!(covered(cursor(5, 1), false, &[fine(5, 3)]), [false]);
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
