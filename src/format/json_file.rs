//! Docker's json-file format: one JSON object per line,
//! `{"log":"text\n","stream":"stdout","time":"2026-11-23T18:34:00.1Z"}`.
//!
//! # Fast path
//!
//! dockerd writes the keys in this order and without spaces (moby
//! `daemon/logger/jsonfilelog/jsonlog`), so a record is recognised from both ends and only the
//! text in between is scanned:
//!
//! ```text
//! {"log":" <text, escaped> ","stream":"stdout","time":" <time> "}
//! ^ prefix  ^ scanned once  ^ one of two constants      ^ from the end
//! ```
//!
//! Attributes (log-opts `labels`, `env`, `tag`) stand between stream and time; they are the same
//! on every record, so their encoding is cached.
//!
//! Anything else (another key order, a torn record, an unescaped quote or control byte in the
//! text) goes to [`decode_unusual`], which uses serde_json. Both decoders must agree whenever
//! both return a record; the tests at the end and the fuzz target compare them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use memchr::{memmem, memrchr};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::format::msgpack::put_string_map;
use crate::format::position::{Stream, Timestamp};
use crate::format::rfc3339::TimeParser;
use crate::format::{work, Entry};

const PREFIX: &[u8] = b"{\"log\":\"";
const SUFFIX: &[u8] = b"\"}";
const STDOUT: &[u8] = b"\",\"stream\":\"stdout\",\"time\":";
const STDERR: &[u8] = b"\",\"stream\":\"stderr\",\"time\":";
/// Bytes searched for the time's opening quote: the longest time dockerd writes has 30 bytes,
/// plus the quote.
const TIME_WINDOW: usize = 40;
/// Length of `2026-11-23T18:34:00.123456789Z`.
const USUAL_TIME: usize = 30;
/// Most attributes of one record. In memory a short one takes ten times its JSON size.
const MOST_ATTRS: usize = 4096;

/// State kept between records: the minute of the last timestamp, the buffer for unescaped
/// text, and the encoded attributes.
#[derive(Debug, Default)]
pub struct Decoder {
    times: TimeParser,
    text: Vec<u8>,
    attrs: AttrsCache,
}

/// The attributes of the last record that had any. They are identical on every record of a
/// container's run.
#[derive(Debug, Default)]
struct AttrsCache {
    json: Vec<u8>,
    encoded: Vec<u8>,
}

/// Error: a line is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARecord;

impl Decoder {
    /// Decodes one line without its line feed. Returns `None` if the line does not have the
    /// exact shape dockerd writes; the caller then uses [`decode_unusual`].
    #[inline]
    pub fn decode<'a>(&'a mut self, line: &'a [u8]) -> Option<Entry<'a>> {
        let inner = line.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let quote = last_quote(inner)?;
        let time = self.times.parse(&inner[quote + 1..])?;
        let head = &inner[..quote];
        let (escaped, stream, attrs) = if let Some(text) = head.strip_suffix(STDOUT) {
            (text, Stream::Stdout, None)
        } else if let Some(text) = head.strip_suffix(STDERR) {
            (text, Stream::Stderr, None)
        } else {
            split_attrs(head)?
        };
        let attrs: &[u8] = match attrs {
            Some(json) => self.attrs.encode(json)?,
            None => &[],
        };
        let (escaped, ends_line) = strip_line_feed(escaped);
        let scan = scan_plain(escaped);
        if scan.has_non_ascii && std::str::from_utf8(escaped).is_err() {
            return None;
        }
        let text: &[u8] = if scan.plain == escaped.len() {
            escaped
        } else {
            self.text.clear();
            unescape(escaped, scan.plain, &mut self.text)?;
            &self.text
        };
        Some(Entry {
            time,
            stream,
            text,
            ends_line,
            is_utf8: true,
            attrs,
        })
    }
}

/// Offset of the quote that opens the time: normally [`USUAL_TIME`] bytes before the end.
#[inline]
fn last_quote(inner: &[u8]) -> Option<usize> {
    let usual = inner.len().checked_sub(USUAL_TIME + 1)?;
    if inner[..=usual].ends_with(b":\"") {
        // If the time contained another quote, the time parser would reject it.
        return Some(usual);
    }
    let window = inner.len().saturating_sub(TIME_WINDOW);
    memrchr(b'"', &inner[window..]).map(|at| window + at)
}

/// Text, stream, and the attributes as JSON.
type Split<'a> = (&'a [u8], Stream, Option<&'a [u8]>);

/// Splits the part before the time of a record with attributes into text, stream, and the JSON
/// of the attributes. The text cannot contain the separator unescaped, so the first match is
/// the right one, whatever the attributes are called.
#[inline(never)]
fn split_attrs(head: &[u8]) -> Option<Split<'_>> {
    let head = head.strip_suffix(b",\"time\":")?;
    let at = memmem::find(head, b"\",\"stream\":\"std")?;
    let (text, rest) = head.split_at(at);
    let rest = rest.strip_prefix(b"\",\"stream\":\"std")?;
    let (stream, rest) = match rest.strip_prefix(b"out\",\"attrs\":") {
        Some(rest) => (Stream::Stdout, rest),
        None => (Stream::Stderr, rest.strip_prefix(b"err\",\"attrs\":")?),
    };
    Some((text, stream, Some(rest)))
}

impl AttrsCache {
    /// Encodes the attributes as a MessagePack map; `None` if they are not an object with
    /// string values.
    fn encode(&mut self, json: &[u8]) -> Option<&[u8]> {
        if self.json != json {
            let attrs: Attrs<'_> = serde_json::from_slice(json).ok()?;
            self.json.clear();
            self.json.extend_from_slice(json);
            self.encoded = encode_attrs(&attrs.0);
        }
        Some(&self.encoded)
    }
}

type AttrMap<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// Attributes sorted by key, as dockerd writes them; at most [`MOST_ATTRS`].
struct Attrs<'a>(AttrMap<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Attrs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Attrs<'a>, D::Error> {
        deserializer.deserialize_map(AttrsVisitor).map(Attrs)
    }
}

struct AttrsVisitor;

impl<'de> Visitor<'de> for AttrsVisitor {
    type Value = AttrMap<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AttrMap<'de>, A::Error> {
        let mut attrs = BTreeMap::new();
        while let Some((Text(key), Text(value))) = map.next_entry()? {
            attrs.insert(key, value);
            if attrs.len() > MOST_ATTRS {
                return Err(A::Error::custom("too many attributes"));
            }
        }
        Ok(attrs)
    }
}

/// A JSON string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn encode_attrs(attrs: &AttrMap<'_>) -> Vec<u8> {
    let mut encoded = Vec::new();
    put_string_map(
        &mut encoded,
        attrs
            .iter()
            .map(|(key, value)| (key.as_bytes(), value.as_bytes())),
    );
    encoded
}

/// Strips the escaped line feed from the end of escaped text. Returns the rest and whether
/// there was one. The backslash must not itself be escaped: `\\n` is a backslash and the
/// letter n.
fn strip_line_feed(escaped: &[u8]) -> (&[u8], bool) {
    let Some(rest) = escaped.strip_suffix(b"\\n") else {
        return (escaped, false);
    };
    let backslashes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
    if backslashes.is_multiple_of(2) {
        (rest, true)
    } else {
        (escaped, false)
    }
}

struct Scan {
    /// Length of the prefix before the first byte that JSON requires to be escaped.
    plain: usize,
    /// Whether any byte of the whole text is above 0x7f.
    has_non_ascii: bool,
}

/// Finds the first quote, backslash or control byte. Written as folds over fixed-size blocks
/// without early exit, which compile to vector code; the last block overlaps the one before
/// it.
#[inline]
fn scan_plain(text: &[u8]) -> Scan {
    const BLOCK: usize = 32;
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut marks = blocks
        .iter()
        .map(Marks::of)
        .fold(Marks::default(), Marks::and);
    if !rest.is_empty() {
        marks = marks.and(match text.last_chunk::<BLOCK>() {
            Some(last) => Marks::of(last),
            None => {
                let mut block = [b' '; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                Marks::of(&block)
            }
        });
    }
    let plain = if marks.has_special {
        text.iter()
            .position(|byte| is_special(*byte))
            .unwrap_or(text.len())
    } else {
        text.len()
    };
    Scan {
        plain,
        has_non_ascii: marks.high & 0x80 != 0,
    }
}

/// Which kinds of bytes a text contains; `high` is the bitwise or of all bytes.
#[derive(Default)]
struct Marks {
    has_special: bool,
    high: u8,
}

impl Marks {
    #[inline]
    fn of(block: &[u8; 32]) -> Marks {
        let (mut special, mut high) = (0u8, 0u8);
        for byte in block {
            special |= u8::from(is_special(*byte));
            high |= *byte;
        }
        Marks {
            has_special: special != 0,
            high,
        }
    }

    fn and(self, other: Marks) -> Marks {
        Marks {
            has_special: self.has_special | other.has_special,
            high: self.high | other.high,
        }
    }
}

#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Unescapes a JSON string body into `out`; the first `plain` bytes have no escapes. `None` if
/// it is not a valid JSON string body.
fn unescape(escaped: &[u8], plain: usize, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&escaped[..plain]);
    let mut rest = &escaped[plain..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\' {
            rest = unescape_one(after, out)?;
        } else if is_special(byte) {
            return None;
        } else {
            let run = rest
                .iter()
                .position(|byte| is_special(*byte))
                .unwrap_or(rest.len());
            out.extend_from_slice(&rest[..run]);
            rest = &rest[run..];
        }
    }
    Some(())
}

/// Unescapes the sequence after a backslash; returns the rest of the text.
fn unescape_one<'a>(after: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&letter, rest) = after.split_first()?;
    let byte = match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'"' => b'"',
        b'\\' => b'\\',
        b'/' => b'/',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'u' => return unescape_unicode(rest, out),
        _ => return None,
    };
    out.push(byte);
    Some(rest)
}

fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (unit, rest) = hex_unit(rest)?;
    let (code, rest) = if (0xd800..0xdc00).contains(&unit) {
        let (low, rest) = hex_unit(rest.strip_prefix(b"\\u")?)?;
        if !(0xdc00..0xe000).contains(&low) {
            return None;
        }
        (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), rest)
    } else {
        (unit, rest)
    };
    let character = char::from_u32(code)?;
    let mut buffer = [0; 4];
    out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    Some(rest)
}

fn hex_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let mut value = 0;
    for digit in digits {
        value = value << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((value, rest))
}

/// A record with its keys in any order, each of them optional.
#[derive(Deserialize)]
struct AnyRecord<'a> {
    #[serde(borrow, default)]
    log: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    attrs: Option<Attrs<'a>>,
}

/// A record found by the general parser; owns its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEntry {
    /// `None` if the record has no valid time.
    pub time: Option<Timestamp>,
    /// `stdout` unless the record says `stderr`.
    pub stream: Stream,
    /// The text without the line feed that ends a line.
    pub text: String,
    /// Whether the text ended with a line feed.
    pub ends_line: bool,
    /// The attributes as a MessagePack map, or empty.
    pub attrs: Vec<u8>,
    /// Offset of the record in the line; 0 if the line is not valid UTF-8.
    pub at: usize,
}

/// The records that [`decode_unusual`] found in one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unusual {
    /// The records, in order.
    pub entries: Vec<OwnedEntry>,
    /// Bytes that belong to no record: torn ends, NUL holes, garbage.
    pub skipped: usize,
}

/// Decodes a line that [`Decoder::decode`] rejected: any JSON object, several objects glued
/// together, a torn record followed by a whole one (left by a full disk), or leading NULs
/// (left when a file is truncated under its writer). Recovers every record it can and counts
/// the remaining bytes.
pub fn decode_unusual(line: &[u8]) -> Unusual {
    let mut entries = Vec::new();
    let found = for_each_unusual(line, |entry, _| entries.push(entry));
    Unusual { entries, ..found }
}

/// Like [`decode_unusual`], but passes each record and its length to `take` immediately: a
/// line of 16 MiB may hold a million records. The result has no entries.
///
/// Takes time linear in the length of the line. The first attempt sees the whole line; each
/// later one ends where the next record may begin, because a dockerd record contains the start
/// of another only in its attributes. Without that bound, each of a thousand nested starts
/// would be parsed to the end of the line.
pub fn for_each_unusual(line: &[u8], mut take: impl FnMut(OwnedEntry, usize)) -> Unusual {
    let mut found = Unusual::default();
    // moby writes only valid UTF-8; anything else was damaged on disk.
    let text = String::from_utf8_lossy(line);
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    let mut starts = Starts::of(text.as_bytes());
    let (mut at, mut end) = (0, text.len());
    while at < text.len() {
        match first_record(&text[at..end]) {
            Ok((entry, length)) => {
                if let Some(entry) = entry {
                    take(
                        OwnedEntry {
                            at: if is_utf8 { at } else { 0 },
                            ..entry
                        },
                        length,
                    );
                }
                at += length;
            }
            Err(NotARecord) => {
                starts.pass(at);
                let next = starts.next.unwrap_or(text.len());
                found.skipped += next - at;
                at = next;
            }
        }
        end = starts.end_of_record(at);
    }
    // The lossy conversion may have made the text longer than the line.
    found.skipped = found.skipped.min(line.len());
    found
}

/// Parses the record at the start of `text`; returns it and its length in bytes.
fn first_record(text: &str) -> Result<(Option<OwnedEntry>, usize), NotARecord> {
    if !text.starts_with('{') {
        return Err(NotARecord);
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<AnyRecord>();
    let next = stream.next();
    let length = stream.byte_offset();
    work::add(if matches!(next, Some(Ok(_))) {
        length
    } else {
        text.len()
    });
    match next {
        Some(Ok(record)) => {
            if record.log.is_none() && record.stream.is_none() && record.time.is_none() {
                return Err(NotARecord);
            }
            Ok((record.into_entry(), length))
        }
        _ => Err(NotARecord),
    }
}

impl AnyRecord<'_> {
    /// Returns `None` for a record without `log`: dockerd omits the key when the text is empty
    /// and unterminated, so there is nothing to deliver.
    fn into_entry(self) -> Option<OwnedEntry> {
        let mut text = self.log?.into_owned();
        let ends_line = text.ends_with('\n');
        if ends_line {
            text.pop();
        }
        let stream = match self.stream.as_deref() {
            Some("stderr") => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let time = self
            .time
            .and_then(|time| TimeParser::default().parse(time.as_bytes()));
        let attrs = self
            .attrs
            .as_ref()
            .map(|attrs| encode_attrs(&attrs.0))
            .unwrap_or_default();
        Some(OwnedEntry {
            time,
            stream,
            text,
            ends_line,
            attrs,
            at: 0,
        })
    }
}

/// The offsets in a line where a record may begin, found in one pass from left to right: each
/// `{"` followed by a key that dockerd writes first.
struct Starts<'a, I> {
    line: &'a [u8],
    all: I,
    /// The first offset not yet passed, and the one after it.
    next: Option<usize>,
    after: Option<usize>,
}

impl<'a> Starts<'a, ()> {
    fn of(line: &'a [u8]) -> Starts<'a, impl Iterator<Item = usize> + 'a> {
        let opens_record = |at: &usize| {
            let keys = [&b"{\"log\":"[..], b"{\"stream\":", b"{\"time\":"];
            keys.iter().any(|key| line[*at..].starts_with(key))
        };
        let mut all = memmem::find_iter(line, b"{\"").filter(opens_record);
        let (next, after) = (all.next(), all.next());
        Starts {
            line,
            all,
            next,
            after,
        }
    }
}

impl<I: Iterator<Item = usize>> Starts<'_, I> {
    /// Moves past all starts up to and including `at`.
    fn pass(&mut self, at: usize) {
        while self.next.is_some_and(|next| next <= at) {
            self.next = self.after;
            self.after = self.all.next();
        }
    }

    /// End of the range a record at `at` may occupy: the next start, unless that start is the
    /// record's own attributes object.
    fn end_of_record(&mut self, at: usize) -> usize {
        self.pass(at);
        let is_of_attrs = |start: &usize| self.line[..*start].ends_with(b"\"attrs\":");
        let end = if self.next.as_ref().is_some_and(is_of_attrs) {
            self.after
        } else {
            self.next
        };
        end.unwrap_or(self.line.len())
    }
}

#[cfg(test)]
mod tests;
