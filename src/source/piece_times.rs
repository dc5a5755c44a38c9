//! One time for the pieces of a line, where a log driver stores another one with each.
//!
//! Docker's journald driver returns the journal's times, so each 16 KiB of a long line comes
//! with a time of its own. Which pieces are a line is still certain: Docker cuts a line where its
//! buffer is full and nowhere else, so a full piece without a line feed goes on with the next
//! entry of its stream, and a shorter one is the unterminated end of a run. Releases 18.06 to
//! 18.09 return the last piece of a line without its line feed, which is shorter, too. Pure.

use crate::format::position::{PerStream, Stream, Timestamp};
use crate::pipeline::partial::PIECE_BYTES;

/// The times of the lines that are open.
#[derive(Debug, Default)]
pub struct PieceTimes(PerStream<Option<Timestamp>>);

impl PieceTimes {
    /// Returns the time of the first piece of the entry's line.
    pub fn of_line(
        &mut self,
        stream: Stream,
        time: Timestamp,
        length: usize,
        ends_line: bool,
    ) -> Timestamp {
        let open = &mut self.0[stream.index()];
        let time = open.unwrap_or(time);
        *open = (length == PIECE_BYTES && !ends_line).then_some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_piece_goes_on_and_a_shorter_one_does_not() {
        let mut times = PieceTimes::default();
        let mut seconds = |stream, at, length, ends_line| {
            let time = Timestamp {
                seconds: at,
                nanos: 0,
            };
            times.of_line(stream, time, length, ends_line).seconds
        };
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(seconds(out, 1, PIECE_BYTES, false), 1);
        assert_eq!(seconds(err, 2, 10, true), 2, "the other stream");
        assert_eq!(seconds(out, 3, PIECE_BYTES, false), 1);
        assert_eq!(seconds(out, 4, 0, true), 1, "the end of two full pieces");
        assert_eq!(seconds(out, 5, PIECE_BYTES, true), 5, "a whole line");
        assert_eq!(seconds(out, 6, 100, false), 6, "the end of a run");
        assert_eq!(seconds(out, 7, 10, true), 7, "the next run");
    }
}
