//! Docker's `local` format: protobuf messages in frames. The same bytes are in
//! `local-logs/container.log` and in the dual-logging cache,
//! `container-cached.log`.
//!
//! ```text
//! | length u32 BE | message, length bytes        | length again |
//! | 00 00 00 2a   | 0a 06 "stdout" 10 time 1a .. | 00 00 00 2a  |
//! ```
//!
//! (moby `daemon/logger/local/doc.go`; the message is `LogEntry` of
//! `daemon/logger/internal/logdriver/entry.proto`.) Nothing marks a frame's
//! start. What serves as a mark after damage, where dockerd itself gives up:
//! dockerd writes the source first, so a frame's fifth byte is the tag 0x0a, a
//! byte that lines never hold. [`next_frame`] runs from one to the next, looks
//! at a bounded number of bytes around each, and so stays linear in its input.
//!
//! This module owns frames and messages, not the file: whether more bytes will
//! come is the caller's knowledge. It must not decode text: pieces are cut at
//! any byte and are joined first.

use memchr::memchr_iter;

use crate::format::position::{Stream, Timestamp};
use crate::format::work;

/// Largest message dockerd reads back; it refuses more (moby
/// `daemon/logger/local/read.go`, `maxMsgLen`).
pub const MAX_MESSAGE: usize = 1_000_000;

/// Length of a frame's header, and of its footer.
const LENGTH_BYTES: usize = 4;

/// The tag of `source`, the field that dockerd writes first.
const SOURCE_TAG: u8 = 0x0a;

/// How the messages of dockerd begin: the source and the tag of the time.
const ENTRY_STARTS: [&[u8]; 2] = [b"\x0a\x06stdout\x10", b"\x0a\x06stderr\x10"];

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What data begins with. [`Whole`](Frame::Whole) and
/// [`Corrupt`](Frame::Corrupt) stay so whatever is appended to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame.
    Whole {
        /// Its message, for [`decode`].
        message: &'a [u8],
        /// The bytes it takes with header and footer.
        length: usize,
    },
    /// The data ends before the frame does, and so far it may be one.
    Incomplete,
    /// No frame begins here; [`next_frame`] says how far away one may.
    Corrupt,
}

/// The frame that `data` begins with. Only header and footer are looked at:
/// whether the message is a log entry is for [`decode`] to say.
///
/// A frame torn within its footer, with one of the same length glued on, is
/// taken for whole: what the footer lacks, the next header has. Its message is
/// sound, but the next frame then lacks its first bytes and is lost.
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
    // A message has at least a source: no frame is empty, and NULs are none.
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

/// How many bytes the frame takes that `data` begins with, as its header has it; one
/// more than there are where that is cut off.
pub fn wanted_bytes(data: &[u8]) -> usize {
    match data.first_chunk::<LENGTH_BYTES>() {
        Some(header) => (u32::from_be_bytes(*header) as usize).saturating_add(2 * LENGTH_BYTES),
        None => data.len() + 1,
    }
}

/// Whether a header that is cut off may name a length that dockerd reads back.
fn may_begin_header(cut: &[u8]) -> bool {
    let mut smallest = [0; LENGTH_BYTES];
    for (byte, known) in smallest.iter_mut().zip(cut) {
        *byte = *known;
    }
    u32::from_be_bytes(smallest) as usize <= MAX_MESSAGE
}

/// How many bytes to pass over until a frame may begin again: at least one,
/// unless `data` is empty, and all of it where there is none.
///
/// A frame may begin where a whole one is, or at the end of `data` one that is
/// cut off and begins as dockerd's do. What is found is never
/// [`Frame::Corrupt`]. Bytes that a container printed can look like a frame;
/// this is only ever asked where the real frames are already lost.
pub fn next_frame(data: &[u8]) -> usize {
    // Behind a frame's start are its header and then the tag.
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

/// Whether `data` begins with a frame, or with what there is of one that
/// dockerd has not finished. Takes constant time.
fn may_be_frame(data: &[u8]) -> bool {
    work::add(2 * LENGTH_BYTES);
    match first_frame(data) {
        Frame::Whole { message, .. } => message.first() == Some(&SOURCE_TAG),
        Frame::Incomplete => {
            let message = data.get(LENGTH_BYTES..).unwrap_or_default();
            // zip: as far as both go.
            ENTRY_STARTS
                .iter()
                .any(|start| start.iter().zip(message).all(|(want, byte)| want == byte))
        }
        Frame::Corrupt => false,
    }
}

/// One entry as dockerd wrote it: a whole line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEntry<'a> {
    /// When dockerd saw it; for a piece, when it saw the line's first.
    pub time: Timestamp,
    /// Which stream it came from.
    pub stream: Stream,
    /// The bytes as the container printed them, without the line feed. They
    /// may be no UTF-8, and a piece may begin or end within a character.
    pub line: &'a [u8],
    /// Whether the line ends here. If not, this is a piece: more follows, or
    /// the stream ended in mid-line.
    pub ends_line: bool,
    /// What log-opts (`labels`, `env`, `tag`) add to each entry; as a rule nothing.
    pub attrs: AttrIter<'a>,
}

/// Decodes a frame's message; `None` where it is no log entry.
///
/// As protobuf has it, fields come in any order, the last of equal ones
/// counts, one that is missing has its default and unknown ones are passed
/// over. A source that is not `stderr` is taken for `stdout`. Known fields of
/// another type, and groups (obsolete before this format was made), are
/// refused; dockerd refuses the former too.
#[inline]
pub fn decode(message: &[u8]) -> Option<LocalEntry<'_>> {
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
            // An int64: negative ones are written as their two's complement.
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

/// `last` of a `PartialLogEntryMetadata`; `otherwise` where it does not say,
/// since protobuf merges messages that come twice.
fn decode_last(metadata: &[u8], otherwise: bool) -> Option<bool> {
    let mut last = otherwise;
    let mut rest = metadata;
    while !rest.is_empty() {
        let (number, value, behind) = first_field(rest)?;
        match (number, value) {
            (1, Value::Varint(value)) => last = value != 0,
            // The id and the ordinal of the piece.
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

/// The attributes of an entry, key and value, in the order in which dockerd
/// wrote them (sorted by key). They should be UTF-8, which nobody has checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttrIter<'a> {
    /// The message from its first attribute on; [`decode`] has been through it.
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

/// The value of a protobuf field.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes; no field of ours is of such a type.
    Fixed,
}

/// The protobuf field that `data` begins with: its number, its value, and what
/// is behind it. `None` where there is none, or only part of one.
#[inline]
fn first_field(data: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (tag, rest) = first_varint(data)?;
    let (value, behind) = match tag & 7 {
        0 => {
            let (value, behind) = first_varint(rest)?;
            (Value::Varint(value), behind)
        }
        1 => (Value::Fixed, rest.get(8..)?),
        2 => {
            let (length, rest) = first_varint(rest)?;
            let (bytes, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(bytes), behind)
        }
        5 => (Value::Fixed, rest.get(4..)?),
        _ => return None,
    };
    Some((tag >> 3, value, behind))
}

/// The protobuf varint that `data` begins with and what is behind it: seven
/// bits a byte, the lowest first, all bytes but the last with their high bit
/// set. `None` where it is cut off or longer than ten bytes; what the tenth
/// byte has beyond 64 bits is dropped, as protobuf does.
#[inline]
fn first_varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let (first, behind) = data.split_first()?;
    if first & 0x80 == 0 {
        return Some((u64::from(*first), behind));
    }
    first_long_varint(data)
}

fn first_long_varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    let mut rest = data;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, behind));
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests;
