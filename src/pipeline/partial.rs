//! Joins the pieces of a split line. dockerd splits lines every 16 KiB. Pieces of the other
//! stream or a rotation may come in between, so there is one joiner per container and stream,
//! which outlives the file.
//!
//! A piece only says whether it ends its line. All pieces of one line carry the time of the
//! first (moby `daemon/logger/copier.go`), so a piece with another time begins a new line: the
//! open one ended with its stream (the container stopped in mid-line) and is delivered without
//! its end. Docker before 18.06 gives each piece a time of its own: there, a full piece is
//! continued by the next one if that follows within [`PIECE_GAP`]. The API omits the line feed of
//! some lines, so only equal times count there.
//!
//! In a format with tagged pieces (CRI), each piece has its own time, and the tag counts, unless
//! [`TAGGED_LINE_GRACE`] lies between two of them: then the first one's stream has ended.
//!
//! Pure; the caller tracks time.

use std::time::Duration;

use crate::format::layout::Piece;
use crate::format::position::Timestamp;
use crate::format::Entry;

/// Length of dockerd's pieces (moby `daemon/logger/copier.go`, `defaultBufSize`). A shorter
/// piece without a line feed is the unterminated end of a stream; nothing follows it.
pub const PIECE_BYTES: usize = 16 * 1024;

/// Within this time after a full piece, the next one with another time belongs to its line. While
/// a container runs, what follows a piece without a line feed is always the rest of its line;
/// only the next run begins another one, and dockerd starts a container no sooner than 100 ms
/// after its end (moby `restartmanager`, `defaultTimeout`).
pub const PIECE_GAP: Duration = Duration::from_millis(100);
/// How long an open line waits for its last piece if pieces are tagged. Nothing on disk shows
/// that a stream has ended: even its last piece may be tagged as having a continuation.
pub const TAGGED_LINE_GRACE: Duration = Duration::from_secs(30);

/// Maximum bytes of a UTF-8 character.
const LONGEST_CHARACTER: usize = 4;

/// Up to this size, the buffer is kept for the next joined line.
const KEEP_BYTES: usize = 64 * 1024;

/// What is missing of a line: bytes that were cut off at its end, or pieces that were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing(usize);

/// Set in [`Missing`] if pieces were lost. No line has so many bytes, and one word costs the lines
/// of which nothing is missing one comparison.
const LOST: usize = 1 << (usize::BITS - 1);

impl Missing {
    /// These bytes were cut off.
    pub const fn cut(bytes: usize) -> Missing {
        Missing(bytes)
    }

    /// Whether anything is missing.
    pub fn is_any(self) -> bool {
        self.0 > 0
    }

    /// The number of bytes that were cut off.
    pub fn cut_bytes(self) -> usize {
        self.0 & !LOST
    }

    /// As much is missing as of both.
    pub fn and(self, other: Missing) -> Missing {
        let lost = (self.0 | other.0) & LOST;
        Missing((self.cut_bytes() + other.cut_bytes()) | lost)
    }
}

/// A whole line, ready to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line<'a> {
    /// Time of its first piece.
    pub time: Timestamp,
    /// The text without its line feed.
    pub text: &'a [u8],
    /// What is missing: bytes cut off at the size limit, or lost pieces.
    pub missing: Missing,
    /// Whether the text is known to be valid UTF-8. Only meaningful for whole lines: a
    /// character split between two raw pieces is whole again here.
    pub is_utf8: bool,
    /// Attributes as a MessagePack map, or empty.
    pub attrs: &'a [u8],
    /// Bytes of its pieces in the source.
    pub source_bytes: usize,
}

impl<'a> Line<'a> {
    /// The whole text of an entry of `source_bytes` bytes.
    #[inline(always)]
    pub(crate) fn of(entry: &Entry<'a>, source_bytes: usize) -> Line<'a> {
        Line {
            time: entry.time,
            text: entry.text,
            missing: Missing::default(),
            is_utf8: entry.is_utf8,
            attrs: entry.attrs,
            source_bytes,
        }
    }

    /// Whether part of the text was cut off at the size limit.
    pub fn is_cut(&self) -> bool {
        self.missing.cut_bytes() > 0
    }

    /// The line without its text and attributes.
    pub(crate) fn without_text(&self) -> Line<'static> {
        Line {
            time: self.time,
            text: &[],
            missing: self.missing,
            is_utf8: self.is_utf8,
            attrs: &[],
            source_bytes: self.source_bytes,
        }
    }
}

/// How the pieces of a line are told from those of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pieces {
    /// All of a line have the same time: the API of Docker, which leaves the line feed of some
    /// lines out.
    #[default]
    OfOneTime,
    /// They have the same time, or follow each other within [`PIECE_GAP`]: files of lines.
    Close,
    /// Each but the last one says that more of its line follows.
    Tagged,
}

impl Pieces {
    /// Those of files, by whether their format tags pieces.
    pub fn of_files(is_tagged: bool) -> Pieces {
        match is_tagged {
            true => Pieces::Tagged,
            false => Pieces::Close,
        }
    }

    /// Whether a piece of `length` bytes without a line feed shows that its stream has ended.
    fn is_end_of_stream(self, length: usize) -> bool {
        length < PIECE_BYTES && self != Pieces::Tagged
    }

    /// Whether a piece of time `next` belongs to the line that began at `first`. The piece before
    /// it has the time `last` and no line feed.
    fn continues(self, first: Timestamp, last: Timestamp, ended: bool, next: Timestamp) -> bool {
        let gap = last.elapsed_until(next);
        let is_close = || !ended && next >= last && gap < PIECE_GAP;
        match self {
            Pieces::OfOneTime => first == next,
            Pieces::Close => first == next || is_close(),
            Pieces::Tagged => gap < TAGGED_LINE_GRACE,
        }
    }

    /// Whether the piece of time `next` continues the one before it, which has no line feed. For
    /// a reader who goes backwards and has not seen where the line begins.
    pub fn continues_piece(self, before: &Piece, next: Timestamp) -> bool {
        let ended = self.is_end_of_stream(before.length);
        self.continues(before.time, before.time, ended, next)
    }
}

/// The open line of one stream.
#[derive(Debug, Default)]
pub struct Joiner {
    text: Vec<u8>,
    attrs: Vec<u8>,
    open: Option<Open>,
    pieces: Pieces,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    /// The line without its text and attributes, which are in reusable buffers.
    line: Line<'static>,
    /// Time of the last piece.
    last: Timestamp,
    /// Whether the last piece was shorter than [`PIECE_BYTES`].
    stream_ended: bool,
}

impl Joiner {
    /// Sets how the pieces of a line are told from those of the next one.
    pub fn set_pieces(&mut self, pieces: Pieces) {
        self.pieces = pieces;
    }

    /// Adds the next entry of the stream and passes each line that it completes to `deliver`,
    /// in order: none, one, or two if an older open line is flushed. `source_bytes` is the
    /// size of the entry in its source; `max_bytes` bounds the joined text. Returns whether a
    /// line that begins with this entry is now open. An entry that is a line by itself needs no
    /// joiner: here, its text would be copied.
    pub fn push(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_bytes: usize,
        deliver: &mut dyn FnMut(Line<'_>),
    ) -> bool {
        if self
            .open
            .is_some_and(|open| !self.continues(&open, entry.time))
        {
            self.flush(&mut *deliver);
        }
        let begins_line = self.open.is_none();
        let mut open = self.open.unwrap_or_else(|| {
            self.attrs.clear();
            self.attrs.extend_from_slice(entry.attrs);
            let line = Line {
                time: entry.time,
                is_utf8: true,
                ..Line::default()
            };
            Open {
                line,
                last: entry.time,
                stream_ended: false,
            }
        });
        open.last = entry.time;
        open.line.is_utf8 &= entry.is_utf8;
        open.line.source_bytes += source_bytes;
        if open.line.is_cut() {
            open.line.missing = open.line.missing.and(Missing::cut(entry.text.len()));
        } else {
            // One byte beyond the limit shows whether a character continues there, in this
            // piece or from the one before.
            let whole = self.text.len() + entry.text.len();
            let most = (max_bytes + 1)
                .saturating_sub(self.text.len())
                .min(entry.text.len());
            self.text.extend_from_slice(&entry.text[..most]);
            let kept = cut(&self.text, max_bytes).len();
            self.text.truncate(kept);
            open.line.missing = open.line.missing.and(Missing::cut(whole - kept));
        }
        open.stream_ended = self.pieces.is_end_of_stream(entry.text.len());
        self.open = Some(open);
        if entry.ends_line {
            self.flush(deliver);
        }
        begins_line && self.is_open()
    }

    /// Whether a piece of this time belongs to the open line.
    fn continues(&self, open: &Open, time: Timestamp) -> bool {
        self.pieces
            .continues(open.line.time, open.last, open.stream_ended, time)
    }

    /// Delivers the open line, if any, without its end.
    pub fn flush(&mut self, mut deliver: impl FnMut(Line<'_>)) {
        if let Some(open) = self.open.take() {
            deliver(Line {
                text: &self.text,
                attrs: &self.attrs,
                ..open.line
            });
            empty(&mut self.text);
        }
    }

    /// Entries that would have come next are lost. A line that is open may lack pieces.
    pub fn note_loss(&mut self) {
        if let Some(open) = &mut self.open {
            open.line.missing = open.line.missing.and(Missing(LOST));
        }
    }

    /// Drops the open line, which will be read again. Keeps the tagging mode.
    pub fn forget(&mut self) {
        self.open = None;
        empty(&mut self.text);
    }

    /// Whether a line is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Bytes of the open line's pieces in the source.
    pub fn source_bytes(&self) -> usize {
        self.open.map_or(0, |open| open.line.source_bytes)
    }

    /// Whether a line is open whose last piece shows that its stream has ended.
    pub fn stream_ended(&self) -> bool {
        self.open.is_some_and(|open| open.stream_ended)
    }
}

/// Empties a text for reuse; an unusually large buffer is freed.
pub(crate) fn empty(text: &mut Vec<u8>) {
    if text.capacity() > KEEP_BYTES {
        *text = Vec::new();
    } else {
        text.clear();
    }
}

/// A line that is a single entry, cut to `max_bytes`.
#[inline]
pub(crate) fn cut_line<'a>(entry: &Entry<'a>, source_bytes: usize, max_bytes: usize) -> Line<'a> {
    let text = cut(entry.text, max_bytes);
    let missing = Missing::cut(entry.text.len() - text.len());
    Line {
        text,
        missing,
        ..Line::of(entry, source_bytes)
    }
}

/// The longest prefix of `text` within `max_bytes` that does not split a character; if it is
/// not UTF-8 near the limit, exactly `max_bytes`.
fn cut(text: &[u8], max_bytes: usize) -> &[u8] {
    if text.len() <= max_bytes {
        return text;
    }
    let is_start = |at: &usize| text[*at] & 0xc0 != 0x80;
    let nearest = max_bytes.saturating_sub(LONGEST_CHARACTER - 1)..=max_bytes;
    let end = nearest.rev().find(is_start).unwrap_or(max_bytes);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::position::Stream;

    /// Source bytes assumed for every piece.
    const SOURCE_BYTES: usize = 100;

    fn piece(text: &str, seconds: i64, ends_line: bool) -> Entry<'_> {
        Entry {
            time: Timestamp { seconds, nanos: 0 },
            stream: Stream::Stdout,
            text: text.as_bytes(),
            ends_line,
            is_utf8: true,
            attrs: &[],
        }
    }

    /// Writes the pieces as input for the fuzz target; leaves out what is too long for it.
    fn keep_pieces(pieces: &[Entry<'_>], max: usize) {
        let Ok(max) = u8::try_from(max) else { return };
        let mut seed = vec![max, pieces.len() as u8];
        let mut seconds = 0;
        for piece in pieces {
            let step = u8::from(piece.time.seconds != seconds);
            seconds = piece.time.seconds;
            seed.extend_from_slice(&[step, u8::from(piece.ends_line), piece.text.len() as u8]);
        }
        seed.extend(pieces.iter().flat_map(|piece| piece.text));
        crate::fuzz_seeds::keep("partial", seed);
    }

    fn lines(pieces: &[Entry<'_>], max: usize) -> (Vec<(i64, String, bool)>, Joiner) {
        keep_pieces(pieces, max);
        let mut joiner = Joiner::default();
        joiner.set_pieces(Pieces::Close);
        let mut lines = Vec::new();
        let mut source = 0;
        for piece in pieces {
            joiner.push(piece, SOURCE_BYTES, max, &mut |line| {
                source += line.source_bytes;
                lines.push((
                    line.time.seconds,
                    String::from_utf8(line.text.to_vec()).unwrap(),
                    line.is_cut(),
                ));
            });
        }
        assert_eq!(
            source + joiner.source_bytes(),
            pieces.len() * SOURCE_BYTES,
            "bytes in and out"
        );
        (lines, joiner)
    }

    fn whole(seconds: i64, text: &str) -> (i64, String, bool) {
        (seconds, text.to_owned(), false)
    }

    #[test]
    fn whole_lines_pass_through() {
        let (lines, joiner) = lines(&[piece("a", 1, true), piece("", 2, true)], 100);
        assert_eq!(lines, [whole(1, "a"), whole(2, "")]);
        assert!(!joiner.is_open());
    }

    #[test]
    fn pieces_with_one_time_are_one_line() {
        let (lines, _) = lines(
            &[
                piece("third ", 1, false),
                piece("bullet ", 1, false),
                piece("point", 1, true),
            ],
            100,
        );
        assert_eq!(lines, [whole(1, "third bullet point")]);
    }

    #[test]
    fn an_exact_multiple_of_the_piece_ends_with_an_empty_one() {
        let full = "x".repeat(PIECE_BYTES);
        let (lines, _) = lines(&[piece(&full, 1, false), piece("", 1, true)], 100_000);
        assert_eq!(lines, [whole(1, &full)]);
    }

    #[test]
    fn another_time_ends_the_open_line() {
        let (first, _) = lines(&[piece("tail", 1, false), piece("start", 2, true)], 100);
        assert_eq!(first, [whole(1, "tail"), whole(2, "start")]);
        let (second, joiner) = lines(&[piece("tail", 1, false), piece("next", 2, false)], 100);
        assert_eq!(second, [whole(1, "tail")]);
        assert!(joiner.is_open());
    }

    fn at(text: &str, time: (i64, u32), ends_line: bool) -> Entry<'_> {
        let (seconds, nanos) = time;
        Entry {
            time: Timestamp { seconds, nanos },
            ..piece(text, 0, ends_line)
        }
    }

    /// Docker before 18.06: a line of 40,000 bytes, whose pieces are read one after the other.
    #[test]
    fn a_full_piece_is_continued_by_the_next_one_whose_time_is_close() {
        let full = "x".repeat(PIECE_BYTES);
        let (joined, _) = lines(
            &[
                at(&full, (1, 0), false),
                at(&full, (1, 99_999_999), false),
                at("end", (1, 199_999_998), true),
                at("next", (1, 199_999_999), true),
            ],
            100_000,
        );
        let line = format!("{full}{full}end");
        assert_eq!(joined, [whole(1, &line), whole(1, "next")]);
        let (exact, _) = lines(&[at(&full, (1, 0), false), at("", (1, 5), true)], 100_000);
        assert_eq!(exact, [whole(1, &full)]);
    }

    /// The end of the line before it was truncated away, so it looks like more of that.
    #[test]
    fn pieces_of_one_time_stay_together_whatever_is_before_them() {
        let full = "x".repeat(PIECE_BYTES);
        let (joined, _) = lines(
            &[
                at(&full, (1, 0), false),
                at(&full, (1, 5), false),
                at(&full, (1, 5), false),
                at("end", (1, 5), true),
            ],
            100_000,
        );
        assert_eq!(joined, [whole(1, &format!("{full}{full}{full}end"))]);
    }

    #[test]
    fn a_full_piece_ends_with_its_run_and_a_shorter_one_at_once() {
        let full = "x".repeat(PIECE_BYTES);
        let gap = PIECE_GAP.as_nanos() as u32;
        for time in [(1, gap), (2, 0), (0, 999_999_999)] {
            let (apart, _) = lines(&[at(&full, (1, 0), false), at("next", time, true)], 100_000);
            assert_eq!(apart, [whole(1, &full), whole(time.0, "next")], "{time:?}");
        }
        let (short, _) = lines(&[at("tail", (1, 0), false), at("next", (1, 1), true)], 100);
        assert_eq!(short, [whole(1, "tail"), whole(1, "next")]);
    }

    /// The API leaves the line feed of a line of exactly one piece out (log driver `local`).
    #[test]
    fn where_only_equal_times_count_a_full_piece_is_not_continued_by_a_later_one() {
        let full = "x".repeat(PIECE_BYTES);
        let mut joiner = Joiner::default();
        let mut lines = 0;
        for entry in [at(&full, (1, 0), false), at("next", (1, 5), true)] {
            joiner.push(&entry, SOURCE_BYTES, 100_000, &mut |_| lines += 1);
        }
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_short_piece_says_that_its_stream_ended() {
        let (_, joiner) = lines(&[piece("prompt: ", 1, false)], 100);
        assert!(joiner.stream_ended());
        let full = "x".repeat(PIECE_BYTES);
        let (_, joiner) = lines(&[piece(&full, 1, false)], 100_000);
        assert!(joiner.is_open() && !joiner.stream_ended());
    }

    #[test]
    fn tagged_pieces_are_one_line_whatever_their_times_and_lengths() {
        let mut joiner = Joiner::default();
        joiner.set_pieces(Pieces::Tagged);
        let mut lines = Vec::new();
        for piece in [
            piece("a", 1, false),
            piece("", 2, false),
            piece("b", 3, true),
        ] {
            assert!(!joiner.stream_ended());
            joiner.push(&piece, SOURCE_BYTES, 100, &mut |line| {
                lines.push((
                    line.time.seconds,
                    String::from_utf8(line.text.to_vec()).unwrap(),
                ));
            });
        }
        assert_eq!(lines, [(1, "ab".to_owned())]);
    }

    /// The container ended in mid-line, and the next lines are those of its next run.
    #[test]
    fn a_tagged_piece_waits_no_longer_for_its_end_than_while_the_log_is_followed() {
        let grace = TAGGED_LINE_GRACE.as_secs() as i64;
        for (seconds, joined) in [(grace - 1, 1), (grace, 2), (3600, 2), (-3600, 1)] {
            let mut joiner = Joiner::default();
            joiner.set_pieces(Pieces::Tagged);
            let mut lines = Vec::new();
            for piece in [piece("a", 1, false), piece("b", 1 + seconds, true)] {
                joiner.push(&piece, SOURCE_BYTES, 100, &mut |line| {
                    lines.push(String::from_utf8(line.text.to_vec()).unwrap());
                });
            }
            assert_eq!(lines.len(), joined, "{seconds} s: {lines:?}");
            assert_eq!(lines.concat(), "ab");
        }
    }

    #[test]
    fn a_line_over_the_limit_is_cut_marked_and_read_to_its_end() {
        let (lines, joiner) = lines(
            &[
                piece("0123", 1, false),
                piece("4567", 1, false),
                piece("89", 1, true),
                piece("next", 2, true),
            ],
            6,
        );
        assert_eq!(lines, [(1, "012345".to_owned(), true), whole(2, "next")]);
        assert!(!joiner.is_open());
    }

    #[test]
    fn a_line_whose_middle_pieces_were_lost_is_marked_and_the_next_one_is_not() {
        let mut joiner = Joiner::default();
        let mut lines = Vec::new();
        let mut take = |joiner: &mut Joiner, text, seconds, ends_line| {
            let piece = piece(text, seconds, ends_line);
            joiner.push(&piece, SOURCE_BYTES, 100, &mut |line| {
                let text = String::from_utf8(line.text.to_vec()).unwrap();
                lines.push((text, line.missing.is_any(), line.is_cut()));
            });
        };
        take(&mut joiner, "first ", 1, false);
        joiner.note_loss();
        take(&mut joiner, "last", 1, true);
        joiner.note_loss();
        take(&mut joiner, "whole", 2, true);
        assert_eq!(
            lines,
            [
                ("first last".to_owned(), true, false),
                ("whole".to_owned(), false, false)
            ]
        );
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let (lines, _) = lines(
            &[
                piece("aé日", 1, true),
                piece("é", 2, false),
                piece("日", 2, true),
            ],
            4,
        );
        assert_eq!(
            lines,
            [(1, "aé".to_owned(), true), (2, "é".to_owned(), true)]
        );
    }

    #[test]
    fn a_cut_between_raw_pieces_splits_no_character_either() {
        let text = "aé日b".as_bytes();
        for cut in 1..text.len() {
            for max in 1..text.len() {
                let (first, second) = text.split_at(cut);
                let mut joiner = Joiner::default();
                let mut joined = Vec::new();
                for (piece, ends_line) in [(first, false), (second, true)] {
                    let entry = Entry {
                        text: piece,
                        ends_line,
                        is_utf8: false,
                        ..piece_at_zero()
                    };
                    joiner.push(&entry, SOURCE_BYTES, max, &mut |line| {
                        joined = line.text.to_vec()
                    });
                }
                let joined = String::from_utf8(joined).unwrap();
                assert!(
                    joined.len() <= max && joined.len() + 3 > max,
                    "{joined} at {cut} of {max}"
                );
            }
        }
    }

    fn piece_at_zero() -> Entry<'static> {
        piece("", 0, false)
    }

    #[test]
    fn text_that_is_no_utf8_is_cut_at_the_limit() {
        assert_eq!(cut(&[0x80; 100], 50).len(), 50);
    }

    /// However a line is split into pieces, the result is the same.
    #[test]
    fn every_cut_gives_the_same_line() {
        let text = "The quick brown fox";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [
                    piece(&text[..first], 1, false),
                    piece(&text[first..second], 1, false),
                    piece(&text[second..], 1, true),
                ];
                let (lines, _) = lines(&pieces, 100);
                assert_eq!(lines, [whole(1, text)]);
            }
        }
    }
}
