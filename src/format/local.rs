//! Docker's `local` format: protobuf messages in frames. `local-logs/container.log` and the
//! dual-logging cache, `container-cached.log`, use the same encoding.
//!
//! ```text
//! | length u32 BE | message, length bytes        | length again |
//! | 00 00 00 2a   | 0a 06 "stdout" 10 time 1a .. | 00 00 00 2a  |
//! ```
//!
//! (moby `daemon/logger/local/doc.go`; the message is `LogEntry` of
//! `daemon/logger/internal/logdriver/entry.proto`.) A frame has no start marker, and dockerd
//! itself gives up at damage. This decoder resynchronises: dockerd writes the source first, so
//! the fifth byte of a frame is the tag 0x0a, a byte that log lines never contain.
//! [`next_frame`] moves from one 0x0a to the next and examines a bounded number of bytes around
//! each, so it is linear in its input.
//!
//! This module handles frames and messages, not files: only the caller knows whether more bytes
//! will come. It must not decode text: pieces are cut at any byte and must be joined first.

mod protobuf;

use memchr::memchr_iter;

use crate::format::layout::{Decoders, Format, Stretch, UnitSink};
use crate::format::local::protobuf::{first_field, first_varint, nine_byte_varint, Value};
use crate::format::msgpack::put_string_map;
use crate::format::position::{Stream, Timestamp};
use crate::format::{work, Entry};

/// Largest message that dockerd reads back; it rejects larger ones (moby
/// `daemon/logger/local/read.go`, `maxMsgLen`).
pub const MAX_MESSAGE: usize = 1_000_000;

/// Length of a frame's header, and of its footer.
pub const LENGTH_BYTES: usize = 4;

/// Fewer NULs than this may be the start of a frame that is still being written.
pub(super) const FEWEST_NULS: usize = 65;

/// Tag of `source`, the field dockerd writes first.
const SOURCE_TAG: u8 = 0x0a;

/// Tag of `line`, which follows the time.
const LINE_TAG: u8 = 0x1a;

/// Length of what dockerd's messages begin with.
const START_BYTES: usize = 9;

/// How dockerd's messages begin: the source and the tag of the time.
const ENTRY_STARTS: [&[u8; START_BYTES]; 2] = [b"\x0a\x06stdout\x10", b"\x0a\x06stderr\x10"];

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What data begins with. [`Whole`](Frame::Whole) and [`Corrupt`](Frame::Corrupt) do not
/// change when more data is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame.
    Whole {
        /// Its message, for [`decode`].
        message: &'a [u8],
        /// Length in bytes, including header and footer.
        length: usize,
    },
    /// The data ends before the frame does; what is there may be the start of one.
    Incomplete,
    /// No frame begins here; [`next_frame`] returns the distance to the next candidate.
    Corrupt,
}

/// Parses the frame at the start of `data`. Checks only header and footer; [`decode`] checks
/// whether the message is a log entry.
///
/// A frame torn within its footer, followed directly by one of the same length, is mistaken
/// for a whole one: the next header supplies the missing footer bytes. Its message is intact,
/// but the next frame then lacks its first bytes and is lost.
#[inline]
pub fn first_frame(data: &[u8]) -> Frame<'_> {
    let Some((header, rest)) = data.split_first_chunk::<LENGTH_BYTES>() else {
        return if may_begin_header(data) {
            Frame::Incomplete
        } else {
            Frame::Corrupt
        };
    };
    let length = u32::from_be_bytes(*header) as usize;
    // A message has at least a source, so no frame is empty; this also rejects NULs.
    if length == 0 || length > MAX_MESSAGE {
        return Frame::Corrupt;
    }
    let Some((message, behind)) = rest.split_at_checked(length) else {
        return Frame::Incomplete;
    };
    match behind.first_chunk::<LENGTH_BYTES>() {
        Some(footer) if footer == header => Frame::Whole {
            message,
            length: length + 2 * LENGTH_BYTES,
        },
        None if header.starts_with(behind) => Frame::Incomplete,
        _ => Frame::Corrupt,
    }
}

/// Length in bytes of the frame at the start of `data`, from its header; one more than
/// `data.len()` if the header is incomplete.
pub fn wanted_bytes(data: &[u8]) -> usize {
    match data.first_chunk::<LENGTH_BYTES>() {
        Some(header) => (u32::from_be_bytes(*header) as usize).saturating_add(2 * LENGTH_BYTES),
        None => data.len() + 1,
    }
}

/// Whether an incomplete header can still encode a length that dockerd reads back.
fn may_begin_header(cut: &[u8]) -> bool {
    let mut smallest = [0; LENGTH_BYTES];
    for (byte, known) in smallest.iter_mut().zip(cut) {
        *byte = *known;
    }
    u32::from_be_bytes(smallest) as usize <= MAX_MESSAGE
}

/// Number of bytes to skip until a frame may begin: at least one, unless `data` is empty, and
/// all of `data` if there is no candidate.
///
/// A candidate is a whole frame or, at the end of `data`, an incomplete one that begins as
/// dockerd's do. It is never [`Frame::Corrupt`]. Bytes printed by a container can look like a
/// frame, so call this only where the real frames are already lost.
pub fn next_frame(data: &[u8]) -> usize {
    // The tag follows the four bytes of the header.
    let tags = memchr_iter(SOURCE_TAG, data).filter_map(|tag| tag.checked_sub(LENGTH_BYTES));
    // Or the data ends before the tag.
    let cut = data.len().saturating_sub(LENGTH_BYTES)..data.len();
    let mut starts = tags.chain(cut).filter(|start| *start > 0);
    let passed = starts
        .find(|start| data.get(*start..).is_some_and(may_be_frame))
        .unwrap_or(data.len());
    work::add(passed);
    passed
}

/// Whether `data` begins with a frame, or with the start of one that dockerd has not finished
/// writing. Takes constant time.
fn may_be_frame(data: &[u8]) -> bool {
    work::add(2 * LENGTH_BYTES);
    match first_frame(data) {
        Frame::Whole { message, .. } => message.first() == Some(&SOURCE_TAG),
        Frame::Incomplete => {
            let message = data.get(LENGTH_BYTES..).unwrap_or_default();
            // zip compares up to the end of the shorter one.
            ENTRY_STARTS
                .iter()
                .any(|start| start.iter().zip(message).all(|(want, byte)| want == byte))
        }
        Frame::Corrupt => false,
    }
}

/// State kept between entries: a buffer for their attributes.
#[derive(Debug, Default)]
pub struct Decoder {
    attrs: Vec<u8>,
}

impl Format for Decoder {
    const IS_LINES: bool = false;
    const LONGEST: usize = MAX_MESSAGE + 2 * LENGTH_BYTES;

    fn of(decoders: &mut Decoders) -> &mut Decoder {
        &mut decoders.local
    }

    /// The length is below 2^24, and the first field of the message is its source.
    fn detects(head: &[u8]) -> bool {
        matches!(head, [0, _, _, _, SOURCE_TAG, ..]) && first_frame(head) != Frame::Corrupt
    }

    fn has_name(name: &str) -> bool {
        name.starts_with("container.log") || name.starts_with("container-cached.log")
    }

    /// A frame's length begins with NULs, too: only a stretch of nothing else is certainly a
    /// hole, and the last of them may be the start of a frame.
    fn hole(data: &[u8], nuls: usize) -> usize {
        if nuls < FEWEST_NULS || nuls < data.len() {
            return 0;
        }
        nuls + 1 - LENGTH_BYTES
    }

    fn wanted(data: &[u8]) -> usize {
        wanted_bytes(data)
    }

    /// Within its footer, a frame may already turn out to be invalid.
    fn may_end(grown: &[u8], length: usize, wanted: usize) -> bool {
        !grown.is_empty() && length + LENGTH_BYTES > wanted
    }

    /// Damage after a frame belongs to the range: if every damaged piece ended a range, a file
    /// that alternates small frames and damage would be reread for each of them.
    fn measure(data: &[u8]) -> Stretch {
        let mut whole = 0;
        while whole < data.len() {
            let rest = &data[whole..];
            match first_frame(rest) {
                Frame::Whole { length, .. } => whole += length,
                Frame::Corrupt if whole == 0 => return Stretch::Corrupt(next_frame(rest).max(1)),
                Frame::Corrupt => whole += next_frame(rest).max(1),
                Frame::Incomplete => break,
            }
        }
        if whole == 0 {
            Stretch::Incomplete
        } else {
            Stretch::Whole(whole)
        }
    }

    /// From its footer.
    fn last_entry(data: &[u8]) -> usize {
        let Some((_, length)) = data.split_last_chunk::<LENGTH_BYTES>() else {
            return 0;
        };
        let length = u32::from_be_bytes(*length) as usize;
        length
            .checked_add(2 * LENGTH_BYTES)
            .filter(|length| *length <= data.len())
            .unwrap_or(0)
    }

    fn ends(data: &[u8]) -> impl Iterator<Item = usize> {
        let mut end = 0;
        std::iter::from_fn(move || {
            let rest = data.get(end..).filter(|rest| !rest.is_empty())?;
            end += match first_frame(rest) {
                Frame::Whole { length, .. } => length,
                // Damage, up to the start of the next frame.
                Frame::Incomplete | Frame::Corrupt => next_frame(rest).max(1),
            };
            Some(end)
        })
    }

    #[inline(always)]
    fn decode_unit(&mut self, unit: &[u8], _now: fn() -> Timestamp, sink: &mut impl UnitSink) {
        let found = match first_frame(unit) {
            Frame::Whole { message, .. } => decode(message),
            Frame::Incomplete | Frame::Corrupt => None,
        };
        let Some(found) = found else {
            return sink.corrupt(unit.len());
        };
        self.attrs.clear();
        if !found.attrs.rest.is_empty() {
            put_attrs(&mut self.attrs, found.attrs);
        }
        let entry = Entry {
            time: found.time,
            stream: found.stream,
            text: found.line,
            ends_line: found.ends_line,
            is_utf8: false,
            attrs: &self.attrs,
        };
        sink.entry(&entry, 0, unit.len());
    }
}

#[inline(never)]
fn put_attrs(out: &mut Vec<u8>, attrs: AttrIter<'_>) {
    let pairs: Vec<_> = attrs.collect();
    put_string_map(out, pairs.into_iter());
}

/// One entry as dockerd wrote it: a whole line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEntry<'a> {
    /// When dockerd received it; for a piece, when it received the first piece of the line.
    pub time: Timestamp,
    /// The stream it came from.
    pub stream: Stream,
    /// The bytes the container printed, without the line feed. They may not be valid UTF-8,
    /// and a piece may begin or end within a character.
    pub line: &'a [u8],
    /// Whether the line ends here. If not, this is a piece: more follows, or the stream ended
    /// in mid-line.
    pub ends_line: bool,
    /// Attributes that log-opts (`labels`, `env`, `tag`) add to each entry; usually none.
    pub attrs: AttrIter<'a>,
}

/// Decodes the message of a frame; `None` if it is not a log entry.
///
/// Follows protobuf: fields come in any order, the last of duplicates wins, a missing field
/// has its default, and unknown fields are ignored. Any source other than `stderr` is treated
/// as `stdout`. Known fields of the wrong type are rejected, as in dockerd, and so are groups
/// (obsolete before this format was introduced).
#[inline]
pub fn decode(message: &[u8]) -> Option<LocalEntry<'_>> {
    decode_usual(message).or_else(|| decode_any(message))
}

/// Decodes a whole line without attributes as dockerd writes it, from 1973 until 2262; `None` for
/// any other message.
#[inline]
fn decode_usual(message: &[u8]) -> Option<LocalEntry<'_>> {
    let (start, rest) = message.split_first_chunk::<START_BYTES>()?;
    let stream = if start == ENTRY_STARTS[0] {
        Stream::Stdout
    } else if start == ENTRY_STARTS[1] {
        Stream::Stderr
    } else {
        return None;
    };
    let (nanos, rest) = nine_byte_varint(rest)?;
    let (length, line) = first_varint(rest.strip_prefix(&[LINE_TAG])?)?;
    (length == line.len() as u64).then_some(LocalEntry {
        time: Timestamp::at(nanos),
        stream,
        line,
        ends_line: true,
        attrs: AttrIter::default(),
    })
}

/// Any message.
#[inline(never)]
fn decode_any(message: &[u8]) -> Option<LocalEntry<'_>> {
    let mut time_nanos = 0;
    let mut stream = Stream::Stdout;
    let mut line: &[u8] = &[];
    let mut is_partial = false;
    let mut is_last = false;
    let mut attrs: &[u8] = &[];
    let mut rest = message;
    while !rest.is_empty() {
        let (number, value, behind) = first_field(rest)?;
        match (number, value) {
            (1, Value::Bytes(source)) => {
                stream = if source == b"stderr" {
                    Stream::Stderr
                } else {
                    Stream::Stdout
                };
            }
            // An int64: negative values are encoded as two's complement.
            (2, Value::Varint(value)) => time_nanos = value as i64,
            (3, Value::Bytes(bytes)) => line = bytes,
            (4, Value::Varint(value)) => is_partial = value != 0,
            (5, Value::Bytes(metadata)) => is_last = decode_last(metadata, is_last)?,
            (6, Value::Bytes(attr)) => {
                decode_attr(attr)?;
                if attrs.is_empty() {
                    attrs = rest;
                }
            }
            (0..=6, _) => return None,
            _ => {}
        }
        rest = behind;
    }
    let time = Timestamp {
        seconds: time_nanos.div_euclid(NANOS_PER_SECOND),
        nanos: time_nanos.rem_euclid(NANOS_PER_SECOND) as u32,
    };
    Some(LocalEntry {
        time,
        stream,
        line,
        ends_line: !is_partial || is_last,
        attrs: AttrIter { rest: attrs },
    })
}

/// Reads `last` from a `PartialLogEntryMetadata`. Returns `otherwise` if the field is missing,
/// since protobuf merges repeated messages.
fn decode_last(metadata: &[u8], otherwise: bool) -> Option<bool> {
    let mut last = otherwise;
    let mut rest = metadata;
    while !rest.is_empty() {
        let (number, value, behind) = first_field(rest)?;
        match (number, value) {
            (1, Value::Varint(value)) => last = value != 0,
            // Id and ordinal of the piece.
            (2, Value::Bytes(_)) | (3, Value::Varint(_)) => {}
            (0..=3, _) => return None,
            _ => {}
        }
        rest = behind;
    }
    Some(last)
}

/// Key and value of a `LogAttr`.
fn decode_attr(attr: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut text): (&[u8], &[u8]) = (&[], &[]);
    let mut rest = attr;
    while !rest.is_empty() {
        let (number, value, behind) = first_field(rest)?;
        match (number, value) {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => text = bytes,
            (0..=2, _) => return None,
            _ => {}
        }
        rest = behind;
    }
    Some((key, text))
}

/// The attributes of an entry as (key, value) pairs, in the order dockerd wrote them (sorted
/// by key). Not checked for valid UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttrIter<'a> {
    /// The message from its first attribute on, already validated by [`decode`].
    rest: &'a [u8],
}

impl<'a> Iterator for AttrIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, value, behind) = first_field(self.rest)?;
            self.rest = behind;
            if let (6, Value::Bytes(attr)) = (number, value) {
                return decode_attr(attr);
            }
        }
    }
}

#[cfg(test)]
mod tests;
