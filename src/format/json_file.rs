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

mod unusual;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use memchr::{memmem, memrchr};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::format::json_file::unusual::decode_unusual_unit;
use crate::format::layout::{Decoders, Format, UnitSink};
use crate::format::msgpack::put_string_map;
use crate::format::position::{Stream, Timestamp};
use crate::format::rfc3339::TimeParser;
use crate::format::scan::{is_ascii, is_plain_json};
use crate::format::Entry;

pub use crate::format::json_file::unusual::{decode_unusual, OwnedEntry, Unusual};

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

impl Decoder {
    /// Decodes one line without its line feed. Returns `None` if the line does not have the
    /// exact shape dockerd writes; the caller then uses [`decode_unusual`].
    #[inline(always)]
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
        let text = match is_plain_json(escaped) {
            true => escaped,
            false => unescape(escaped, &mut self.text)?,
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

impl Format for Decoder {
    fn of(decoders: &mut Decoders) -> &mut Decoder {
        &mut decoders.json
    }

    fn detects(head: &[u8]) -> bool {
        head.first() == Some(&b'{')
    }

    fn has_name(name: &str) -> bool {
        name.contains("-json.log")
    }

    #[inline(always)]
    fn decode_unit(&mut self, unit: &[u8], now: fn() -> Timestamp, sink: &mut impl UnitSink) {
        let line = unit.strip_suffix(b"\n").unwrap_or(unit);
        match self.decode(line) {
            Some(entry) => sink.entry(&entry, 0, unit.len()),
            None => decode_unusual_unit(line, unit.len(), now, sink),
        }
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

#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The text of a JSON string body, unescaped into `out` if it has escapes. `None` if it is not a
/// valid JSON string body, or not UTF-8.
#[inline(never)]
fn unescape<'a>(escaped: &'a [u8], out: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if !is_ascii(escaped) && std::str::from_utf8(escaped).is_err() {
        return None;
    }
    let Some(plain) = escaped.iter().position(|byte| is_special(*byte)) else {
        return Some(escaped);
    };
    out.clear();
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
    Some(out)
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

#[cfg(test)]
mod tests;
