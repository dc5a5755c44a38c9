//! The text format of the Kubernetes container runtime interface, written by containerd and
//! conmon (CRI-O, Podman) and read by the kubelet: one entry per line,
//! `<RFC 3339 time> <stdout|stderr> <tag>[:<tag>…] <content>`.
//!
//! The first tag is `F` if the entry ends its line and `P` if more of the line follows. Each
//! piece has its own timestamp, so pieces are joined by tag, not by time. The content is
//! whatever the container wrote: any bytes except a line feed, and none for an empty line.
//!
//! A record is recognised from its start; nothing after the tags is examined. If a line does
//! not start with a record, [`Decoder::resync`] searches it for the next record: a writer that
//! is killed or hits a full disk leaves a torn entry with the next one glued to it.

use memchr::{memchr, memmem};

use crate::format::layout::{Decoders, Format, UnitSink};
use crate::format::position::{Stream, Timestamp};
use crate::format::rfc3339::TimeParser;
use crate::format::{work, Entry};

/// Longest timestamp: nine fraction digits and a numeric offset.
const LONGEST_TIME: usize = 35;
/// Shortest timestamp: no fraction, and `Z`.
const SHORTEST_TIME: usize = 20;
/// Length of `2023-11-14T22:13:20.123456789Z`.
const USUAL_TIME: usize = 30;
/// Limit on the further tags, which are short words. Keeps [`Decoder::resync`] linear.
const LONGEST_TAGS: usize = 256;
/// Length of `stdout`, and of `stderr`.
const STREAM_BYTES: usize = 6;

/// State kept between entries: the minute of the last timestamp.
#[derive(Debug, Default)]
pub struct Decoder {
    times: TimeParser,
}

/// Offset of the space after the timestamp.
#[inline]
fn end_of_time(line: &[u8]) -> Option<usize> {
    // With a shorter timestamp these two bytes lie in the stream, the tag, or between them.
    if line.get(USUAL_TIME - 1..=USUAL_TIME) == Some(b"Z ") {
        return Some(USUAL_TIME);
    }
    memchr(b' ', &line[..line.len().min(LONGEST_TIME + 1)])
}

impl Decoder {
    /// Decodes one line without its line feed. Returns `None` unless an entry starts at the
    /// first byte.
    #[inline(always)]
    pub fn decode<'a>(&mut self, line: &'a [u8]) -> Option<Entry<'a>> {
        let (time, rest) = line.split_at_checked(end_of_time(line)?)?;
        let (stream, rest) = match rest.split_first_chunk::<{ STREAM_BYTES + 2 }>()? {
            (b" stdout ", rest) => (Stream::Stdout, rest),
            (b" stderr ", rest) => (Stream::Stderr, rest),
            _ => return None,
        };
        let time = self.times.parse(time)?;
        let (&tag, rest) = rest.split_first()?;
        let ends_line = match tag {
            b'F' => true,
            b'P' => false,
            _ => return None,
        };
        let text = match rest.split_first() {
            Some((b' ', text)) => text,
            // This decoder knows no further tags and ignores them.
            Some((b':', tags)) => &tags[memchr(b' ', &tags[..tags.len().min(LONGEST_TAGS)])? + 1..],
            // Empty content from a writer that omits the space before it.
            None => rest,
            Some(_) => return None,
        };
        Some(Entry {
            time,
            stream,
            text,
            ends_line,
            is_utf8: false,
            attrs: &[],
        })
    }

    /// As [`Decoder::decode`], for what does not begin its line.
    #[inline(never)]
    fn decode_behind<'a>(&mut self, line: &'a [u8]) -> Option<Entry<'a>> {
        self.decode(line)
    }

    /// Offset of the next entry in a line that does not start with one.
    pub fn resync(&mut self, line: &[u8]) -> Option<usize> {
        memmem::find_iter(line, b" std").find_map(|blank| {
            let stream = &line[blank..];
            if !stream.starts_with(b" stdout ") && !stream.starts_with(b" stderr ") {
                return None;
            }
            let earliest = blank.saturating_sub(LONGEST_TIME);
            let latest = blank.checked_sub(SHORTEST_TIME)?;
            work::add(blank - earliest);
            (earliest.max(1)..=latest).find(|start| self.begins_entry(&line[*start..]))
        })
    }

    /// Whether `line` starts with an entry. Examines a bounded number of bytes.
    fn begins_entry(&mut self, line: &[u8]) -> bool {
        let has_date =
            line.get(4) == Some(&b'-') && line.get(10).is_some_and(|byte| b"Tt".contains(byte));
        if has_date {
            work::add(line.len().min(LONGEST_TIME + LONGEST_TAGS));
        }
        has_date && self.decode_behind(line).is_some()
    }
}

impl Format for Decoder {
    const IS_TAGGED: bool = true;

    fn of(decoders: &mut Decoders) -> &mut Decoder {
        &mut decoders.cri
    }

    fn detects(head: &[u8]) -> bool {
        is_cri(head)
    }

    /// Skips bytes up to where an entry begins.
    #[inline(always)]
    fn decode_unit(&mut self, unit: &[u8], _now: fn() -> Timestamp, sink: &mut impl UnitSink) {
        let line = unit.strip_suffix(b"\n").unwrap_or(unit);
        let mut skipped = 0;
        let entry = self.decode(line).or_else(|| {
            skipped = self.resync(line)?;
            self.decode_behind(&line[skipped..])
        });
        match entry {
            Some(entry) => sink.entry(&entry, skipped, unit.len() - skipped),
            None if line.is_empty() => sink.empty(unit.len()),
            None => skipped = unit.len(),
        }
        if skipped > 0 {
            sink.corrupt(skipped);
        }
    }
}

/// Whether a file that begins with `head` is in this format: `head` starts with a timestamp
/// and a stream name, or a prefix of them.
fn is_cri(head: &[u8]) -> bool {
    const SHAPE: &[u8; 11] = b"0000-00-00T";
    let has_date = head.len() >= SHAPE.len()
        && head.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        });
    let is_of_time = |byte: &u8| byte.is_ascii_digit() || b"T:.Z+-".contains(byte);
    let time = head.iter().take_while(|byte| is_of_time(byte)).count();
    // A prefix of the stream name must match: the rest of a torn json-file record may also
    // begin with a timestamp.
    let begins = |stream: &[u8]| {
        head[time..]
            .iter()
            .zip(stream)
            .all(|(byte, want)| byte == want)
    };
    has_date && time <= LONGEST_TIME && (begins(b" stdout ") || begins(b" stderr "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(line: &str) -> Option<(Timestamp, Stream, bool, String)> {
        crate::fuzz_seeds::keep("cri", line.as_bytes());
        let entry = Decoder::default().decode(line.as_bytes())?;
        Some((
            entry.time,
            entry.stream,
            entry.ends_line,
            String::from_utf8(entry.text.to_vec()).unwrap(),
        ))
    }

    const TIME: Timestamp = Timestamp {
        seconds: 1_700_000_000,
        nanos: 123_456_789,
    };

    #[test]
    fn entries_as_the_runtimes_write_them() {
        for (line, stream, ends_line, text) in [
            (
                "2023-11-14T22:13:20.123456789Z stdout F hello",
                Stream::Stdout,
                true,
                "hello",
            ),
            (
                "2023-11-14T23:13:20.123456789+01:00 stderr P part",
                Stream::Stderr,
                false,
                "part",
            ),
            (
                "2023-11-14T22:13:20.123456789+00:00 stdout F ",
                Stream::Stdout,
                true,
                "",
            ),
            (
                "2023-11-14T22:13:20.123456789Z stdout F",
                Stream::Stdout,
                true,
                "",
            ),
            (
                "2023-11-14T22:13:20.123456789Z stdout P:TAG1:TAG2 x",
                Stream::Stdout,
                false,
                "x",
            ),
            (
                "2023-11-14T22:13:20.123456789Z stdout F  two blanks",
                Stream::Stdout,
                true,
                " two blanks",
            ),
            (
                "2023-11-14T16:43:20.123456789-05:30 stdout F 2023-11-14T22:13:20Z stdout F x",
                Stream::Stdout,
                true,
                "2023-11-14T22:13:20Z stdout F x",
            ),
        ] {
            assert_eq!(
                decode(line),
                Some((TIME, stream, ends_line, text.to_owned())),
                "{line}"
            );
        }
    }

    #[test]
    fn trailing_zeros_may_be_missing() {
        let (time, ..) = decode("2023-11-14T22:13:20.5Z stdout F x").unwrap();
        assert_eq!(
            time,
            Timestamp {
                seconds: 1_700_000_000,
                nanos: 500_000_000
            }
        );
        assert_eq!(
            decode("2023-11-14T22:13:20Z stdout F x").unwrap().0.nanos,
            0
        );
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for line in [
            "",
            " ",
            "garbage",
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20Z stdout",
            "2023-11-14T22:13:20Z stdout ",
            "2023-11-14T22:13:20Z stdin F x",
            "2023-11-14T22:13:20Z stdout X x",
            "2023-11-14T22:13:20Z stdout FP x",
            "2023-11-14T22:13:20Z stdout P:tag",
            "2023-11-14T22:13:20 stdout F x",
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}",
        ] {
            assert_eq!(decode(line), None, "{line}");
        }
    }

    #[test]
    fn raw_bytes_are_kept() {
        let line = b"2023-11-14T22:13:20Z stdout F \xff\0\r";
        assert_eq!(Decoder::default().decode(line).unwrap().text, b"\xff\0\r");
    }

    /// A torn entry followed by a whole one: the whole entry is found wherever the tear lies
    /// before its text.
    #[test]
    fn the_next_entry_in_a_line_is_found() {
        let whole = "2023-11-14T22:13:20.123456789+01:00 stderr F after";
        let torn = "2023-11-14T22:13:19.9Z stdout F ";
        for cut in 1..torn.len() - 2 {
            let line = format!("{}{whole}", &torn[..cut]);
            let mut decoder = Decoder::default();
            assert!(decoder.decode(line.as_bytes()).is_none(), "{line}");
            let at = decoder.resync(line.as_bytes()).unwrap();
            assert_eq!(&line[at..], whole, "{line}");
        }
        let line = format!("\0\0\0{whole}");
        assert_eq!(Decoder::default().resync(line.as_bytes()), Some(3));
        assert_eq!(
            Decoder::default().resync(b"no entry anywhere stdout F x"),
            None
        );
    }

    #[test]
    fn the_first_bytes_tell() {
        let line = b"2023-11-14T22:13:20.123456789+01:00 stderr F x";
        for length in 11..=line.len() {
            assert!(is_cri(&line[..length]), "{length}");
        }
        assert!(is_cri(b"2023-11-14T22:13:20Z stdout F x"));
        for torn in [
            "2023-11-14T22:13:20.123456789Z\"}\n",
            "2023-11-14T22:13:20Z stdin",
            "2023-11-14T22:13:20Z\n",
        ] {
            assert!(!is_cri(torn.as_bytes()), "{torn}");
        }
        for head in [
            &b""[..],
            b"2023",
            b"{\"log\":\"",
            b"\0\0\0\x20\x0a\x06stdout",
            b"2023-11-14 22:13:20",
        ] {
            assert!(!is_cri(head), "{head:?}");
        }
    }
}
