//! How a file is divided into entries, which is what its format decides. The format is detected
//! from the first bytes of the file, not from the name of its log driver.
//!
//! A further format is a file beside this one that implements [`Format`], and a row of `formats`.

use memchr::{memchr, memrchr};

use crate::format::position::{Stream, Timestamp};
use crate::format::scan::LineFeeds;
use crate::format::Entry;

/// Declares the formats, a row each: the name of its layout, and its decoder with its name
/// among the [`Decoders`]. `$d` is a dollar sign, for the macro that is declared within.
macro_rules! formats {
    ($d:tt $($(#[$doc:meta])* $layout:ident, $field:ident: $decoder:path;)*) => {
        /// The format of a file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Layout {
            $($(#[$doc])* $layout,)*
        }

        impl Layout {
            /// In the order in which they are looked for.
            const ALL: &[Layout] = &[$(Layout::$layout),*];
        }

        /// The decoders of all formats. They keep little between two entries, so all files
        /// share them.
        #[derive(Debug, Default)]
        pub struct Decoders {
            $(pub(super) $field: $decoder,)*
        }

        /// Evaluates an expression with the [`Format`] of a layout as a type, once compiled for
        /// each.
        macro_rules! of_format {
            ($d layout:expr, $d format:ident => $d value:expr) => {
                match $d layout {
                    $($crate::format::layout::Layout::$layout => {
                        type $d format = $decoder;
                        $d value
                    })*
                }
            };
        }
    };
}

formats! { $
    /// One JSON object per line (json-file driver).
    JsonLines, json: crate::format::json_file::Decoder;
    /// One CRI entry per line (containerd, CRI-O, Podman).
    CriLines, cri: crate::format::cri::Decoder;
    /// Length-prefixed frames (local driver, and the cache of other drivers).
    LocalFrames, local: crate::format::local::Decoder;
}
pub(crate) use of_format;

/// What a range of bytes of a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Whole entries, with their total length in bytes. For frames, the range may include
    /// damage between or after them.
    Whole(usize),
    /// An entry whose end has not been written yet.
    Incomplete,
    /// This many bytes that belong to no entry.
    Corrupt(usize),
}

/// Receives what is in a unit: each of its bytes once. A trait and not a closure, so that it can
/// be inlined on the hot path however often it is called elsewhere.
pub trait UnitSink {
    /// Takes an entry that begins at `offset` of the unit and has `length` bytes there.
    fn entry(&mut self, entry: &Entry<'_>, offset: usize, length: usize);

    /// The entry that is taken next begins at `offset` of the unit and has no valid time.
    fn untimed(&mut self, stream: Stream, offset: usize);

    /// Counts bytes that are not part of a record.
    fn corrupt(&mut self, bytes: usize);

    /// Counts bytes of an empty line, or of a record without text.
    fn empty(&mut self, bytes: usize);
}

/// A format, implemented by its decoder. The defaults are those of a format of lines.
///
/// A file is a sequence of *units*: lines with their line feeds, or frames and the damage
/// between them. Usually a unit is one entry.
pub trait Format: Sized {
    /// Whether each unit ends at a line feed. Then the last one is found from the end of the
    /// data, and that of a whole file may lack its end. Other units are found only one after
    /// another from the start.
    const IS_LINES: bool = true;
    /// Whether an entry says by a tag that more of its line follows.
    const IS_TAGGED: bool = false;
    /// Length in bytes of the longest unit; 0 if the format does not limit it.
    const LONGEST: usize = 0;

    /// The decoder of this format.
    fn of(decoders: &mut Decoders) -> &mut Self;

    /// Whether a file that begins with `head` is in this format.
    fn detects(head: &[u8]) -> bool;

    /// Whether a file of this name usually is.
    fn has_name(_name: &str) -> bool {
        false
    }

    /// Length in bytes of the hole at the start of `data`, which begins with `nuls` NULs; 0 if
    /// it is none.
    fn hole(data: &[u8], nuls: usize) -> usize {
        match Layout::detect(data) {
            Some(_) => 0,
            None => nuls,
        }
    }

    /// Length in bytes at which the incomplete entry `data` will be complete; 0 if only its
    /// end shows that.
    fn wanted(_data: &[u8]) -> usize {
        0
    }

    /// Whether an incomplete entry may be complete, or invalid, now that it has grown by
    /// `grown` to `length` bytes. `wanted` is the result of [`Format::wanted`] before.
    fn may_end(grown: &[u8], _length: usize, _wanted: usize) -> bool {
        memchr(b'\n', grown).is_some()
    }

    /// Measures the whole entries at the start of `data`, up to the last complete one.
    fn measure(data: &[u8]) -> Stretch {
        match memrchr(b'\n', data) {
            Some(line_feed) => Stretch::Whole(line_feed + 1),
            None => Stretch::Incomplete,
        }
    }

    /// Length in bytes of the last entry of `data`, which must end with a whole entry; 0 if it
    /// cannot be determined.
    fn last_entry(data: &[u8]) -> usize {
        let before = data.len().saturating_sub(1);
        data.len() - memrchr(b'\n', &data[..before]).map_or(0, |line_feed| line_feed + 1)
    }

    /// Where the units of `data` end.
    fn ends(data: &[u8]) -> impl Iterator<Item = usize> {
        LineFeeds::of(data).map(|line_feed| line_feed + 1)
    }

    /// Decodes a unit. `now` is the time of an entry that has none.
    fn decode_unit(&mut self, unit: &[u8], now: fn() -> Timestamp, sink: &mut impl UnitSink);
}

impl Layout {
    /// Detects the layout of a file that begins with `head`; `None` if `head` is empty or
    /// damaged.
    pub fn detect(head: &[u8]) -> Option<Layout> {
        let mut all = Layout::ALL.iter().copied();
        all.find(|layout| of_format!(layout, F => F::detects(head)))
    }

    /// The layout that a file of this name usually has, until its content shows it.
    pub fn by_name(name: &str) -> Layout {
        let mut all = Layout::ALL.iter().copied();
        all.find(|layout| of_format!(layout, F => F::has_name(name)))
            .unwrap_or(Layout::CriLines)
    }

    /// [`Format::IS_LINES`].
    pub fn is_lines(self) -> bool {
        of_format!(self, F => F::IS_LINES)
    }

    /// [`Format::LONGEST`].
    pub fn longest_entry(self) -> usize {
        of_format!(self, F => F::LONGEST)
    }

    /// Length in bytes of the hole of NULs at the start of `data`; 0 if there is none.
    pub fn hole(self, data: &[u8]) -> usize {
        match data.iter().take_while(|byte| **byte == 0).count() {
            0 => 0,
            nuls => of_format!(self, F => F::hole(data, nuls)),
        }
    }

    /// [`Format::wanted`].
    pub fn wanted(self, data: &[u8]) -> usize {
        of_format!(self, F => F::wanted(data))
    }

    /// [`Format::may_end`].
    pub fn may_end(self, grown: &[u8], length: usize, wanted: usize) -> bool {
        of_format!(self, F => F::may_end(grown, length, wanted))
    }

    /// [`Format::measure`].
    pub fn measure(self, data: &[u8]) -> Stretch {
        of_format!(self, F => F::measure(data))
    }

    /// [`Format::last_entry`].
    pub fn last_entry(self, data: &[u8]) -> usize {
        of_format!(self, F => F::last_entry(data))
    }

    /// The time of the first entry that is whole in `data`; `None` if none is, or if it has no
    /// valid time. NULs before it are passed over.
    pub fn first_time(self, data: &[u8]) -> Option<Timestamp> {
        of_format!(self, F => first_time(F::of(&mut Decoders::default()), data))
    }

    /// The entry that a unit holds; `None` if it holds none.
    pub fn first_piece(self, unit: &[u8]) -> Option<Piece> {
        of_format!(self, F => {
            let mut first = FirstPiece::default();
            F::of(&mut Decoders::default()).decode_unit(unit, Timestamp::default, &mut first);
            first.0
        })
    }

    /// [`Format::IS_TAGGED`].
    pub fn is_tagged(self) -> bool {
        of_format!(self, F => F::IS_TAGGED)
    }
}

/// What tells which line an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its stream.
    pub stream: Stream,
    /// Its time.
    pub time: Timestamp,
    /// Whether it ends a line.
    pub ends_line: bool,
    /// Length in bytes of its text.
    pub length: usize,
}

/// The first entry found.
#[derive(Default)]
struct FirstPiece(Option<Piece>);

impl UnitSink for FirstPiece {
    fn entry(&mut self, entry: &Entry<'_>, _offset: usize, _length: usize) {
        self.0 = self.0.or(Some(Piece {
            stream: entry.stream,
            time: entry.time,
            ends_line: entry.ends_line,
            length: entry.text.len(),
        }));
    }

    fn untimed(&mut self, _stream: Stream, _offset: usize) {}

    fn corrupt(&mut self, _bytes: usize) {}

    fn empty(&mut self, _bytes: usize) {}
}

/// The time of the first entry found.
#[derive(Default)]
struct FirstTime(Option<Timestamp>);

impl UnitSink for FirstTime {
    fn entry(&mut self, entry: &Entry<'_>, _offset: usize, _length: usize) {
        self.0 = self.0.or(Some(entry.time));
    }

    fn untimed(&mut self, _stream: Stream, _offset: usize) {}

    fn corrupt(&mut self, _bytes: usize) {}

    fn empty(&mut self, _bytes: usize) {}
}

fn first_time<F: Format>(format: &mut F, data: &[u8]) -> Option<Timestamp> {
    let (mut first, mut start) = (FirstTime::default(), 0);
    for end in F::ends(data) {
        format.decode_unit(&data[start..end], Timestamp::default, &mut first);
        if first.0.is_some() {
            break;
        }
        start = end;
    }
    first.0.filter(|time| *time != Timestamp::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::local::FEWEST_NULS;

    #[test]
    fn the_first_bytes_tell() {
        assert_eq!(Layout::detect(b"{\"log\":"), Some(Layout::JsonLines));
        assert_eq!(
            Layout::detect(b"\0\0\0\x20\x0a\x06stdout"),
            Some(Layout::LocalFrames)
        );
        assert_eq!(
            Layout::detect(b"2023-11-14T22:13:20Z stdout F x"),
            Some(Layout::CriLines)
        );
        for head in [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0", b"garbage", b"2023"] {
            assert_eq!(Layout::detect(head), None, "{head:?}");
        }
    }

    #[test]
    fn the_first_whole_entry_gives_the_time() {
        let record = |second: u32| {
            format!("{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:{second}Z\"}}\n")
        };
        let two = record(20) + &record(21);
        let time = |seconds: i64| Some(Timestamp { seconds, nanos: 0 });
        let first = |data: &[u8]| Layout::JsonLines.first_time(data);
        assert_eq!(first(two.as_bytes()), time(1_700_000_000));
        let torn = format!("lf a record\n{two}");
        assert_eq!(
            first(torn.as_bytes()),
            time(1_700_000_000),
            "after a torn one"
        );
        assert_eq!(first(&two.as_bytes()[..20]), None, "not whole");
        assert_eq!(first(b"{\"Name\":\"/web\"}\n"), None, "not a record");
        let cri = b"2023-11-14T22:13:20Z stdout F x\n";
        assert_eq!(Layout::CriLines.first_time(cri), time(1_700_000_000));
    }

    #[test]
    fn lines_are_measured_to_the_last_line_feed() {
        assert_eq!(Layout::JsonLines.measure(b"{}\n{}\n{"), Stretch::Whole(6));
        assert_eq!(Layout::JsonLines.measure(b"{"), Stretch::Incomplete);
        assert_eq!(Layout::CriLines.last_entry(b"one\nlast\n"), 5);
        assert_eq!(Layout::CriLines.last_entry(b"only\n"), 5);
    }

    /// Not the NULs that an entry may begin with.
    #[test]
    fn a_hole_is_told_from_the_start_of_an_entry() {
        let nuls = [0; FEWEST_NULS];
        assert_eq!(Layout::JsonLines.hole(b"\0\0{\"log\":\"\"}\n"), 2);
        assert_eq!(Layout::JsonLines.hole(b"{}\n"), 0);
        assert_eq!(Layout::JsonLines.hole(b"\0\0\0\x20\x0a\x06stdout"), 0);
        assert_eq!(Layout::LocalFrames.hole(&nuls), FEWEST_NULS - 3);
        assert_eq!(Layout::LocalFrames.hole(&nuls[1..]), 0);
        assert_eq!(Layout::LocalFrames.hole(&[&nuls[..], b"\x08"].concat()), 0);
    }

    #[test]
    fn an_unfinished_entry_may_end_at_a_line_feed_or_in_its_footer() {
        let frame = b"\0\0\0\x08\x0a\x06stdout\0\0\0\x08";
        let wanted = Layout::LocalFrames.wanted(&frame[..5]);
        assert_eq!(wanted, frame.len());
        for length in 6..=frame.len() {
            let may_end = Layout::LocalFrames.may_end(&frame[5..length], length, wanted);
            assert_eq!(may_end, length > frame.len() - 4, "{length} bytes");
        }
        assert!(Layout::CriLines.may_end(b"end\n", 10, 0));
        assert!(!Layout::CriLines.may_end(b"text", 10, 0));
    }

    #[test]
    fn frames_are_measured_to_the_last_whole_one() {
        let frame = b"\0\0\0\x08\x0a\x06stdout\0\0\0\x08";
        let two = [&frame[..], &frame[..]].concat();
        for cut in 0..two.len() {
            let want = if cut < frame.len() {
                Stretch::Incomplete
            } else {
                Stretch::Whole(frame.len())
            };
            assert_eq!(
                Layout::LocalFrames.measure(&two[..cut]),
                want,
                "cut at {cut}"
            );
        }
        assert_eq!(Layout::LocalFrames.last_entry(&two), frame.len());
        assert_eq!(Layout::LocalFrames.last_entry(&two[1..frame.len()]), 0);
        let damaged = [b"\xff\xff\xff\xff", &two[..]].concat();
        assert_eq!(Layout::LocalFrames.measure(&damaged), Stretch::Corrupt(4));
    }
}
