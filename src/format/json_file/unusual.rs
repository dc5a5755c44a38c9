//! Recovers records from lines that dockerd does not write: keys in another order, several
//! records in one line, torn records.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

use crate::format::json_file::{encode_attrs, Attrs};
use crate::format::layout::UnitSink;
use crate::format::position::{Stream, Timestamp};
use crate::format::rfc3339::TimeParser;
use crate::format::{work, Entry};

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

/// Decodes a line that [`Decoder::decode`](super::Decoder::decode) rejected: any JSON object, several objects glued
/// together, a torn record followed by a whole one (left by a full disk), or leading NULs
/// (left when a file is truncated under its writer). Recovers every record it can and counts
/// the remaining bytes.
pub fn decode_unusual(line: &[u8]) -> Unusual {
    let mut entries = Vec::new();
    let found = for_each_unusual(line, |entry, _| entries.push(entry));
    Unusual { entries, ..found }
}

/// As `Format::decode_unit`. `length` is that of the line with its line feed.
#[cold]
pub(super) fn decode_unusual_unit(
    line: &[u8],
    length: usize,
    now: fn() -> Timestamp,
    sink: &mut impl UnitSink,
) {
    let mut take_owned = |owned: &OwnedEntry, length| {
        if owned.time.is_none() {
            sink.untimed(owned.stream, owned.at);
        }
        let entry = Entry {
            time: owned.time.unwrap_or_else(now),
            stream: owned.stream,
            text: owned.text.as_bytes(),
            ends_line: owned.ends_line,
            is_utf8: true,
            attrs: &owned.attrs,
        };
        sink.entry(&entry, owned.at, length);
    };
    let mut left = length;
    // The last entry accounts for all remaining bytes that are neither corrupt nor another
    // record's: its own and the line feed.
    let mut last: Option<(OwnedEntry, usize)> = None;
    let unusual = for_each_unusual(line, |owned, length| {
        if let Some((owned, length)) = last.replace((owned, length)) {
            let length = length.min(left);
            left -= length;
            take_owned(&owned, length);
        }
    });
    match last {
        Some((last, _)) => {
            // Invalid UTF-8 counts for more bytes than it took.
            let skipped = unusual.skipped.min(left);
            take_owned(&last, left - skipped);
            if skipped > 0 {
                sink.corrupt(skipped);
            }
        }
        None if unusual.skipped > 0 => sink.corrupt(length),
        None => sink.empty(length),
    }
}

/// Like [`decode_unusual`], but passes each record and its length to `take` immediately: a
/// line of 16 MiB may hold a million records. The result has no entries.
///
/// Takes time linear in the length of the line. The first attempt sees the whole line; each
/// later one ends where the next record may begin, because a dockerd record contains the start
/// of another only in its attributes. Without that bound, each of a thousand nested starts
/// would be parsed to the end of the line.
fn for_each_unusual(line: &[u8], mut take: impl FnMut(OwnedEntry, usize)) -> Unusual {
    let mut found = Unusual::default();
    // moby writes only valid UTF-8; anything else was damaged on disk.
    let text = String::from_utf8_lossy(line);
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    let mut starts = Starts::of(text.as_bytes());
    let (mut at, mut end) = (0, text.len());
    while at < text.len() {
        match first_record(&text[at..end]) {
            Some((entry, length)) => {
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
            None => {
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

/// Parses the record at the start of `text`; returns it and its length in bytes. `None` if no
/// record begins there.
fn first_record(text: &str) -> Option<(Option<OwnedEntry>, usize)> {
    if !text.starts_with('{') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<AnyRecord>();
    let record = stream.next().and_then(Result::ok);
    let length = stream.byte_offset();
    work::add(if record.is_some() { length } else { text.len() });
    let record = record?;
    let is_record = record.log.is_some() || record.stream.is_some() || record.time.is_some();
    is_record.then(|| (record.into_entry(), length))
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
