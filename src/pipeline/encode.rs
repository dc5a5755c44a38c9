//! Encodes lines as MessagePack in Fluent Bit's layout `[[EventTime, {}], {"log": …, "stream":
//! …, "container_id": …, …}]`.
//!
//! Whatever is the same for every record of a container and stream is encoded once
//! ([`RecordFields`]) and copied after each text. A log that is not read needs less of it
//! ([`PackedFields`]).

use std::borrow::Cow;

use crate::delivery::group::{self, EVENT_TIME};
use crate::format::msgpack::{put_map_head, put_pairs, put_str, str_head, Field, STR_HEAD_BYTES};
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::format::scan::is_ascii;
use crate::pipeline::merge::Merged;
use crate::pipeline::partial::Line;

/// The key `log`, as a MessagePack string.
const LOG_KEY: &[u8] = b"\xa3log";
/// The key `stream`.
const STREAM_KEY: &[u8] = b"\xa6stream";

/// The fields that a container's records have besides their line, as they are kept while nothing is
/// read: each once, and nothing twice for both streams. [`RecordFields`] are made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFields {
    layout: PackedLayout,
    keys: Vec<String>,
    is_cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PackedLayout {
    /// Fields of each record, after `stream`.
    Record { encoded: Box<[u8]>, count: u32 },
    /// The marker before the records of a batch, which has all fields.
    Group { start: Box<[u8]> },
}

impl PackedFields {
    /// Fields `stream`, then `fields` in the given order.
    pub fn new(fields: &[(String, Field)]) -> PackedFields {
        let mut encoded = Vec::new();
        put_pairs(&mut encoded, fields);
        PackedFields {
            layout: PackedLayout::Record {
                encoded: encoded.into_boxed_slice(),
                count: u32::try_from(fields.len()).unwrap_or(u32::MAX),
            },
            keys: ["log", "stream", "attrs", "truncated"]
                .into_iter()
                .chain(fields.iter().map(|(key, _)| key.as_str()))
                .map(str::to_owned)
                .collect(),
            is_cut: false,
        }
    }

    /// Fields for records in a group with content `body` and metadata `head`; the metadata of
    /// each record contains its stream.
    pub fn in_group(head: &Field, body: &Field) -> PackedFields {
        PackedFields {
            layout: PackedLayout::Group {
                start: group::start(head, body),
            },
            keys: ["log", "attrs", "truncated"].map(str::to_owned).to_vec(),
            is_cut: false,
        }
    }

    /// Returns the fields with the flag `is_cut` set.
    pub fn noting(self, is_cut: bool) -> PackedFields {
        PackedFields { is_cut, ..self }
    }

    /// Whether metadata of the container is missing because it was too long or too much.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The keys that a record has, or may have, of its own.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Drops the keys, for a container whose lines are not merged.
    pub fn forget_keys(&mut self) {
        self.keys = Vec::new();
    }

    /// The fields as they are copied into each record.
    pub fn unpack(&self) -> RecordFields {
        match &self.layout {
            PackedLayout::Record { encoded, count } => {
                let count = 1 + *count as usize;
                RecordFields {
                    plain_head: [PlainHead::new(&[0x80], count); 2],
                    encoded: Stream::ALL.map(|stream| {
                        let name = stream.name().as_bytes();
                        let length = STREAM_KEY.len() + STR_HEAD_BYTES + name.len();
                        let mut out = Vec::with_capacity(length + encoded.len());
                        out.extend_from_slice(STREAM_KEY);
                        put_str(&mut out, name);
                        out.extend_from_slice(encoded);
                        out
                    }),
                    count,
                    group_start: Box::default(),
                    group_end: Box::default(),
                }
            }
            PackedLayout::Group { start } => RecordFields {
                plain_head: Stream::ALL.map(|stream| {
                    let attributes = vec![("log.iostream".to_owned(), Field::text(stream.name()))];
                    let otlp = Field::Map(vec![("attributes".to_owned(), Field::Map(attributes))]);
                    let mut metadata = Vec::new();
                    Field::Map(vec![("otlp".to_owned(), otlp)]).put(&mut metadata);
                    PlainHead::new(&metadata, 0)
                }),
                encoded: PerStream::default(),
                count: 0,
                group_start: start.clone(),
                group_end: group::end(),
            },
        }
    }
}

/// The encoded fields that a container's records have besides their line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFields {
    plain_head: PerStream<PlainHead>,
    /// The fields after `log`.
    encoded: PerStream<Vec<u8>>,
    count: usize,
    group_start: Box<[u8]>,
    group_end: Box<[u8]>,
}

impl RecordFields {
    /// Fields `stream`, then `fields` in the given order.
    pub fn new(fields: &[(String, Field)]) -> RecordFields {
        PackedFields::new(fields).unpack()
    }

    /// The marker before the first record of a batch; usually empty.
    pub fn group_start(&self) -> &[u8] {
        &self.group_start
    }

    /// The marker after the last record.
    pub fn group_end(&self) -> &[u8] {
        &self.group_end
    }
}

/// Room for all of a record that comes before its text.
const HEAD_BYTES: usize = 64;

/// What a record begins with that has no attributes or other extras: all before the header of
/// its text, with a time that is to be replaced. In a fixed size it is copied without a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlainHead {
    bytes: [u8; HEAD_BYTES],
    length: usize,
    /// Where the record's metadata map, which follows its time, ends.
    metadata_end: usize,
}

impl PlainHead {
    /// With `count` fields besides `log`.
    fn new(metadata: &[u8], count: usize) -> PlainHead {
        let mut out = time_head(Timestamp::default()).to_vec();
        out.extend_from_slice(metadata);
        let metadata_end = out.len();
        put_map_head(&mut out, 1 + count);
        out.extend_from_slice(LOG_KEY);
        let mut bytes = [0; HEAD_BYTES];
        for (byte, known) in bytes.iter_mut().zip(&out) {
            *byte = *known;
        }
        let length = out.len();
        debug_assert!(length + STR_HEAD_BYTES <= HEAD_BYTES);
        PlainHead {
            bytes,
            length,
            metadata_end,
        }
    }

    /// The record's metadata map.
    fn metadata(&self) -> &[u8] {
        &self.bytes[TIME_HEAD_BYTES..self.metadata_end]
    }

    /// Appends it and the header of a text of `text_bytes` bytes.
    #[inline(always)]
    fn put(&self, out: &mut Vec<u8>, time: Timestamp, text_bytes: usize) {
        let (start, at) = (out.len(), self.length);
        out.extend_from_slice(&self.bytes);
        let head = &mut out[start..start + HEAD_BYTES];
        head[..TIME_HEAD_BYTES].copy_from_slice(&time_head(time));
        let (text_head, text_head_bytes) = str_head(text_bytes);
        head[at..at + STR_HEAD_BYTES].copy_from_slice(&text_head);
        out.truncate(start + at + text_head_bytes);
    }
}

/// Appends one record to `out`.
#[inline]
pub fn put_record(out: &mut Vec<u8>, line: &Line<'_>, stream: Stream, fields: &RecordFields) {
    put_record_merged(out, line, stream, fields, None);
}

/// Like [`put_record`], with the fields extracted from the line.
#[inline(always)]
pub fn put_record_merged(
    out: &mut Vec<u8>,
    line: &Line<'_>,
    stream: Stream,
    fields: &RecordFields,
    merged: Option<&Merged>,
) {
    let is_plain = merged.is_none() && line.attrs.is_empty() && !line.missing.is_any();
    if is_plain && (line.is_utf8 || is_ascii(line.text)) {
        let encoded = &fields.encoded[stream.index()];
        fields.plain_head[stream.index()].put(out, line.time, line.text.len());
        out.extend_from_slice(line.text);
        out.extend_from_slice(encoded);
    } else {
        put_any_record(out, line, stream, fields, merged);
    }
}

/// Appends a record with whatever it may have besides its text.
#[inline(never)]
fn put_any_record(
    out: &mut Vec<u8>,
    line: &Line<'_>,
    stream: Stream,
    fields: &RecordFields,
    merged: Option<&Merged>,
) {
    let encoded = &fields.encoded[stream.index()];
    let text = if line.is_utf8 {
        Cow::Borrowed(line.text)
    } else {
        repair(line.text)
    };
    out.reserve(64 + text.len() + encoded.len() + line.attrs.len());
    out.extend_from_slice(&time_head(line.time));
    out.extend_from_slice(fields.plain_head[stream.index()].metadata());
    let has_log = merged.is_none_or(Merged::keeps_log);
    let extra = usize::from(line.missing.is_any()) + usize::from(!line.attrs.is_empty());
    let merged_count = merged.map_or(0, Merged::count);
    put_map_head(
        out,
        usize::from(has_log) + fields.count + merged_count + extra,
    );
    if has_log {
        out.extend_from_slice(LOG_KEY);
        put_str(out, &text);
    }
    if let Some(merged) = merged {
        out.extend_from_slice(merged.bytes());
    }
    out.extend_from_slice(encoded);
    if !line.attrs.is_empty() {
        out.extend_from_slice(b"\xa5attrs");
        out.extend_from_slice(line.attrs);
    }
    if line.missing.is_any() {
        out.extend_from_slice(b"\xa9truncated\xc3");
    }
}

/// Converts raw bytes to UTF-8: every invalid sequence becomes U+FFFD, as in dockerd's own
/// json-file.
fn repair(text: &[u8]) -> Cow<'_, [u8]> {
    // These checks are faster than the conversion.
    if is_ascii(text) || std::str::from_utf8(text).is_ok() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(text).into_owned().into_bytes())
}

/// Bytes before a record's metadata: two array headers and the time.
const TIME_HEAD_BYTES: usize = 12;

/// What a record begins with.
///
/// EventTime holds 32-bit seconds, which hosts since 3.2 treat as signed: they take a negative
/// value for a group marker or skip the record. Times before 1970 or after January 2038, which
/// for now only a wrong clock produces, are clamped.
#[inline(always)]
fn time_head(time: Timestamp) -> [u8; TIME_HEAD_BYTES] {
    let seconds = i32::try_from(time.seconds.max(0)).unwrap_or(i32::MAX);
    let mut head = [0; TIME_HEAD_BYTES];
    head[..4].copy_from_slice(&[0x92, 0x92, EVENT_TIME[0], EVENT_TIME[1]]);
    head[4..8].copy_from_slice(&seconds.to_be_bytes());
    head[8..].copy_from_slice(&time.nanos.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::host::embedded::{decode_records, Record};
    use crate::pipeline::partial::Missing;

    fn round_trip(line: Line<'_>, stream: Stream) -> Record {
        let flags = stream.index() as u8 * 2
            + u8::from(line.missing.is_any()) * 4
            + u8::from(line.is_utf8) * 8;
        let time = [
            &line.time.seconds.to_le_bytes()[..],
            &line.time.nanos.to_le_bytes(),
        ]
        .concat();
        let text = &line.text[..line.text.len().min(4096)];
        crate::fuzz_seeds::keep("encode", [&[flags, 0], &time[..], text].concat());
        let fields = RecordFields::new(&[
            ("container_name".to_owned(), Field::text("web")),
            ("image".to_owned(), Field::text(&"i".repeat(40))),
        ]);
        let mut out = Vec::new();
        put_record(&mut out, &line, stream, &fields);
        let mut records = decode_records(&out).expect("valid MessagePack");
        assert_eq!(records.len(), 1);
        records.remove(0)
    }

    #[test]
    fn every_header_size_of_a_text_decodes_to_the_same_text() {
        for length in [0, 1, 31, 32, 255, 256, 65_535, 65_536, 200_000] {
            let text = "x".repeat(length);
            let time = Timestamp {
                seconds: 1_700_000_000,
                nanos: 999_999_999,
            };
            let record = round_trip(
                Line {
                    time,
                    text: text.as_bytes(),
                    is_utf8: true,
                    ..Line::default()
                },
                Stream::Stderr,
            );
            assert_eq!(record.time, time);
            assert_eq!(
                serde_json::Value::Object(record.body),
                serde_json::json!({"log": text, "stream": "stderr", "container_name": "web", "image": "i".repeat(40)})
            );
        }
    }

    /// One that is copied from a ready head, and one that is put together.
    #[test]
    fn a_record_without_extras_is_the_same_however_it_is_built() {
        let field = |value: &str| ("key".to_owned(), Field::text(value));
        let mut many: Vec<_> = (0..20).map(|_| field("value")).collect();
        let group = PackedFields::in_group(&Field::Map(vec![]), &Field::Map(vec![])).unpack();
        let all = [
            RecordFields::new(&many),
            RecordFields::new(&many.split_off(18)),
            group,
        ];
        for (fields, length) in all
            .iter()
            .flat_map(|it| [0, 31, 32, 256, 65_536].map(|n| (it, n)))
        {
            let line = Line {
                time: Timestamp {
                    seconds: 1_700_000_000,
                    nanos: 5,
                },
                text: &vec![b'x'; length],
                ..Line::default()
            };
            for stream in Stream::ALL {
                let (mut ready, mut any) = (b"before".to_vec(), b"before".to_vec());
                put_record(&mut ready, &line, stream, fields);
                put_any_record(&mut any, &line, stream, fields, None);
                assert_eq!(ready, any, "{length}");
            }
        }
    }

    #[test]
    fn a_cut_line_says_so() {
        let record = round_trip(
            Line {
                text: b"x",
                missing: Missing::cut(1),
                ..Line::default()
            },
            Stream::Stdout,
        );
        assert_eq!(record.body["truncated"], true);
    }

    #[test]
    fn raw_bytes_that_are_no_utf8_are_repaired() {
        let record = round_trip(
            Line {
                text: b"a\xffb",
                ..Line::default()
            },
            Stream::Stdout,
        );
        assert_eq!(record.body["log"], "a\u{fffd}b");
        let record = round_trip(
            Line {
                text: "é日".as_bytes(),
                ..Line::default()
            },
            Stream::Stdout,
        );
        assert_eq!(record.body["log"], "é日");
    }

    #[test]
    fn attributes_stand_under_a_key_of_their_own() {
        let mut attrs = Vec::new();
        let pairs: [(&[u8], &[u8]); 2] = [(b"tag", b"x"), (b"env", b"")];
        crate::format::msgpack::put_string_map(&mut attrs, pairs.into_iter());
        let record = round_trip(
            Line {
                attrs: &attrs,
                missing: Missing::cut(1),
                ..Line::default()
            },
            Stream::Stdout,
        );
        assert_eq!(
            record.body["attrs"],
            serde_json::json!({"tag": "x", "env": ""})
        );
        assert_eq!(record.body["truncated"], true);
    }

    #[test]
    fn times_out_of_range_become_the_nearest() {
        for (seconds, want) in [
            (-1, 0),
            (i64::MAX, i64::from(i32::MAX)),
            (1 << 31, i64::from(i32::MAX)),
            (0, 0),
        ] {
            let time = Timestamp { seconds, nanos: 7 };
            let record = round_trip(
                Line {
                    time,
                    text: b"",
                    ..Line::default()
                },
                Stream::Stdout,
            );
            assert_eq!(
                record.time,
                Timestamp {
                    seconds: want,
                    nanos: 7
                }
            );
        }
    }
}
