//! Finds a place in a container's log again in a response of the daemon. Pure.
//!
//! A response begins somewhere before what is wanted: `since` also returns entries that were
//! taken already, and `tail` counts entries from the end. Those are skipped:
//!
//! - Within a session, up to the last entry that was passed on. The entries of a log keep
//!   their order, so what follows that one is new, whatever the clock did.
//! - At the start of a session only a time is known. The sink drops what it has; this module
//!   ensures that the response reaches back far enough, and detects whether the daemon still
//!   has the last entry taken.

use crate::delivery::checkpoint::TimeCursor;
use crate::format::position::{PerStream, Stream, Timestamp};

/// A response that may begin anywhere must begin this many seconds before what is wanted,
/// because the two streams are not written in the order of their times.
const STREAM_SKEW_SECONDS: i64 = 2;

/// The place after which entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before everything.
    Beginning,
    /// The sink has nothing later than this time, and may have everything up to it.
    Since(Timestamp),
    /// Directly after the last entry that was passed on.
    After(LastEntry),
    /// That entry no longer exists: what is later than it was.
    LaterThan(Timestamp),
}

/// The last entry that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEntry {
    /// Its stream.
    pub stream: Stream,
    /// Whether it ended its line. Only pieces of one line have the same time.
    pub ends_line: bool,
    /// The last entries of both streams.
    pub cursors: PerStream<TimeCursor>,
}

impl Place {
    /// The time that a response must reach back to for the place to be found in it.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Place::Beginning => None,
            Place::Since(time) | Place::LaterThan(time) => Some(*time),
            Place::After(last) => Some(last.time()),
        }
    }
}

impl LastEntry {
    fn cursor(&self) -> TimeCursor {
        self.cursors[self.stream.index()]
    }

    /// Its time.
    pub fn time(&self) -> Timestamp {
        self.cursor().time
    }

    /// Whether it is a complete line, and so the only entry with its time.
    fn is_single(&self) -> bool {
        self.ends_line && self.cursor().count == 1
    }
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, as far as is known here.
    New,
    /// It was taken already.
    Known,
    /// The response begins too late: one that reaches back further is needed.
    TooLate,
}

/// Filters the entries of one response: drops those up to a place.
#[derive(Debug)]
pub struct ResponseFilter {
    place: Place,
    /// The response has everything, or everything since the time wanted.
    is_whole: bool,
    is_met: bool,
    is_too_late: bool,
    has_gap: bool,
    /// The last entry of each stream in this response. If a partial response begins within a
    /// line, the count of a stream's first time is too low.
    runs: PerStream<TimeCursor>,
    is_first_run: PerStream<bool>,
    /// The last entry of each stream that was passed on in this session.
    passed_on: PerStream<TimeCursor>,
    /// The last entry that was passed on in this response.
    last: Option<LastEntry>,
    count: usize,
}

impl ResponseFilter {
    /// Finds `place` in a response that is complete, or may begin anywhere.
    pub fn new(place: Place, is_whole: bool) -> ResponseFilter {
        let passed_on = if let Place::After(last) = place {
            last.cursors
        } else {
            PerStream::default()
        };
        ResponseFilter {
            place,
            is_whole,
            is_met: place == Place::Beginning,
            is_too_late: false,
            has_gap: false,
            runs: PerStream::default(),
            is_first_run: [true; 2],
            passed_on,
            last: None,
            count: 0,
        }
    }

    /// Decides what to do with the next entry of the response.
    pub fn judge(&mut self, stream: Stream, time: Timestamp, ends_line: bool) -> Verdict {
        let index = stream.index();
        let run = &mut self.runs[index];
        self.is_first_run[index] &= run.count == 0 || run.time == time;
        run.advance(time);
        if !self.is_met {
            match self.place {
                Place::Beginning => {}
                Place::Since(since) => {
                    let latest = since.seconds.saturating_sub(STREAM_SKEW_SECONDS);
                    if !self.is_whole && time.seconds >= latest {
                        self.is_too_late = true;
                        return Verdict::TooLate;
                    }
                    self.has_gap = time > since;
                }
                Place::After(last) => {
                    let is_counted = self.is_whole || !self.is_first_run[index] || last.is_single();
                    self.is_met =
                        is_counted && last.stream == stream && last.cursor() == self.runs[index];
                    return Verdict::Known;
                }
                Place::LaterThan(last) if time <= last => return Verdict::Known,
                Place::LaterThan(_) => self.has_gap = true,
            }
            self.is_met = true;
        }
        self.passed_on[index].advance(time);
        self.last = Some(LastEntry {
            stream,
            ends_line,
            cursors: self.passed_on,
        });
        self.count += 1;
        Verdict::New
    }

    /// Whether the place was found, once the response has ended. In a complete response, only
    /// an entry can be missing.
    pub fn has_found(&self) -> bool {
        self.is_met || (self.is_whole && !matches!(self.place, Place::After(..)))
    }

    /// Whether the response begins too late, so that the rest of it is useless.
    pub fn is_too_late(&self) -> bool {
        self.is_too_late
    }

    /// Whether entries before the first one passed on may be lost, because the last one taken
    /// no longer exists.
    pub fn has_gap(&self) -> bool {
        self.has_gap
    }

    /// Whether an entry with this time shows that something new has arrived.
    pub fn is_past_since(&self, time: Timestamp) -> bool {
        !matches!(self.place, Place::Since(since) if time <= since)
    }

    /// The number of entries passed on.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The place at the end of what was passed on.
    pub fn place(&self) -> Place {
        self.last.map_or(self.place, Place::After)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Known, New, TooLate};

    const OUT: Stream = Stream::Stdout;
    const ERR: Stream = Stream::Stderr;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn judge(filter: &mut ResponseFilter, entries: &[(Stream, i64, bool)]) -> Vec<Verdict> {
        let judge = |(stream, seconds, ends_line): &(Stream, i64, bool)| {
            filter.judge(*stream, at(*seconds), *ends_line)
        };
        entries.iter().map(judge).collect()
    }

    fn place_after(entries: &[(Stream, i64, bool)]) -> Place {
        let mut filter = ResponseFilter::new(Place::Beginning, true);
        assert!(judge(&mut filter, entries)
            .iter()
            .all(|verdict| *verdict == New));
        filter.place()
    }

    #[test]
    fn after_an_entry_all_is_new_even_if_the_clock_went_back() {
        let place = place_after(&[(OUT, 50, true), (ERR, 51, true), (OUT, 52, true)]);
        let mut filter = ResponseFilter::new(place, false);
        let entries = [
            (ERR, 51, true),
            (OUT, 52, true),
            (OUT, 7, true),
            (ERR, 8, true),
        ];
        assert_eq!(judge(&mut filter, &entries), [Known, Known, New, New]);
        assert!(filter.has_found() && !filter.has_gap());
        let mut next = ResponseFilter::new(filter.place(), false);
        assert_eq!(
            judge(&mut next, &[(OUT, 7, true), (ERR, 8, true)]),
            [Known; 2]
        );
        assert_eq!(
            (next.has_found(), next.count(), next.place()),
            (true, 0, filter.place())
        );
    }

    #[test]
    fn a_cut_between_the_pieces_of_a_line_is_not_taken_for_the_place() {
        let pieces = [(OUT, 1, true), (OUT, 5, false)];
        let place = place_after(&pieces);
        // The first piece is the last we have; this answer has the next three.
        let rest = [(OUT, 5, false), (OUT, 5, false), (OUT, 5, true)];
        let mut cut = ResponseFilter::new(place, false);
        assert_eq!(judge(&mut cut, &rest), [Known; 3]);
        assert!(!cut.has_found());
        for is_whole in [true, false] {
            let mut filter = ResponseFilter::new(place, is_whole);
            let all = [&pieces[..], &rest[..]].concat();
            assert_eq!(judge(&mut filter, &all), [Known, Known, New, New, New]);
        }
    }

    #[test]
    fn a_time_that_the_answer_does_not_reach_back_to_needs_another() {
        let place = Place::Since(at(50));
        for first in [48, 50, 51] {
            let mut filter = ResponseFilter::new(place, false);
            assert_eq!(judge(&mut filter, &[(OUT, first, true)]), [TooLate]);
            assert!(filter.is_too_late() && !filter.has_found());
        }
        let mut filter = ResponseFilter::new(place, false);
        assert_eq!(
            judge(
                &mut filter,
                &[(OUT, 47, true), (OUT, 50, true), (OUT, 51, true)]
            ),
            [New; 3]
        );
        assert!(filter.has_found() && !filter.has_gap());
    }

    #[test]
    fn a_whole_answer_without_what_was_taken_last_has_a_gap() {
        for (place, first, has_gap) in [
            (Place::Since(at(50)), 50, false),
            (Place::Since(at(50)), 51, true),
            (Place::LaterThan(at(50)), 51, true),
            (Place::Beginning, 51, false),
        ] {
            let mut filter = ResponseFilter::new(place, true);
            assert_eq!(
                judge(&mut filter, &[(OUT, first, true)]),
                [New],
                "{place:?}"
            );
            assert_eq!(
                (filter.has_found(), filter.has_gap()),
                (true, has_gap),
                "{place:?}"
            );
        }
        let mut gone = ResponseFilter::new(place_after(&[(OUT, 50, true)]), true);
        assert_eq!(judge(&mut gone, &[(OUT, 51, true)]), [Known]);
        assert!(!gone.has_found());
    }

    #[test]
    fn in_all_there_is_nothing_may_be_missing_but_an_entry() {
        assert!(ResponseFilter::new(Place::Since(at(1)), true).has_found());
        assert!(ResponseFilter::new(Place::LaterThan(at(1)), true).has_found());
        assert!(!ResponseFilter::new(Place::Since(at(1)), false).has_found());
        assert!(!ResponseFilter::new(place_after(&[(OUT, 1, true)]), true).has_found());
    }
}
