//! Lines to MessagePack, in Fluent Bit's layout
//! `[[EventTime, {}], {"log": …, "stream": …, "container_id": …, …}]`.
//!
//! What is the same for every record of a container and stream is encoded once
//! ([`RecordFields`]) and copied behind each text.

use std::borrow::Cow;

use crate::msgpack::put_str;
use crate::partial::Line;
use crate::position::{PerStream, Stream, Timestamp};

/// `fixext 8` of type 0: Fluent Bit's EventTime.
const EVENT_TIME: [u8; 2] = [0xd7, 0x00];

/// The encoded fields behind `log`, for each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFields {
    encoded: PerStream<Box<[u8]>>,
    count: u8,
}

impl RecordFields {
    /// `stream`, then `fields` in the order given, as strings. At most 12
    /// fields, so that the record stays a `fixmap`.
    pub fn new(fields: &[(&str, &str)]) -> RecordFields {
        let encoded = Stream::ALL.map(|stream| {
            let mut out = Vec::new();
            put_str(&mut out, b"stream");
            put_str(&mut out, stream.name().as_bytes());
            for (key, value) in fields {
                put_str(&mut out, key.as_bytes());
                put_str(&mut out, value.as_bytes());
            }
            out.into_boxed_slice()
        });
        debug_assert!(fields.len() <= 12);
        RecordFields { encoded, count: 1 + fields.len() as u8 }
    }
}

/// Appends one record to `out`.
#[inline]
pub fn put_record(out: &mut Vec<u8>, line: &Line<'_>, stream: Stream, fields: &RecordFields) {
    let encoded = &fields.encoded[stream.index()];
    let text = if line.is_utf8 { Cow::Borrowed(line.text) } else { repair(line.text) };
    out.reserve(64 + text.len() + encoded.len() + line.attrs.len());
    out.extend_from_slice(&[0x92, 0x92]);
    put_event_time(out, line.time);
    let extra = u8::from(line.is_cut()) + u8::from(!line.attrs.is_empty());
    out.extend_from_slice(&[0x80, 0x80 | (1 + fields.count + extra)]);
    out.extend_from_slice(b"\xa3log");
    put_str(out, &text);
    out.extend_from_slice(encoded);
    if !line.attrs.is_empty() {
        out.extend_from_slice(b"\xa5attrs");
        out.extend_from_slice(line.attrs);
    }
    if line.is_cut() {
        out.extend_from_slice(b"\xa9truncated\xc3");
    }
}

/// Raw bytes as UTF-8: each byte sequence that is none becomes U+FFFD, as in
/// dockerd's own json-file.
fn repair(text: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(repaired) => Cow::Owned(repaired.into_bytes()),
    }
}

/// EventTime holds unsigned 32-bit seconds: times before 1970 or after 2106,
/// which only a broken clock writes, become the nearest one it can hold.
fn put_event_time(out: &mut Vec<u8>, time: Timestamp) {
    let seconds = u32::try_from(time.seconds.max(0)).unwrap_or(u32::MAX);
    out.extend_from_slice(&EVENT_TIME);
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&time.nanos.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::embedded::{decode_records, Record};

    fn round_trip(line: Line<'_>, stream: Stream) -> Record {
        let flags = stream.index() as u8 * 2 + u8::from(line.cut_bytes > 0) * 4 + u8::from(line.is_utf8) * 8;
        let time = [&line.time.seconds.to_le_bytes()[..], &line.time.nanos.to_le_bytes()].concat();
        let text = &line.text[..line.text.len().min(4096)];
        crate::fuzz_seeds::keep("encode", [&[flags, 0], &time[..], text].concat());
        let fields = RecordFields::new(&[("container_name", "web"), ("image", &"i".repeat(40))]);
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
            let time = Timestamp { seconds: 1_700_000_000, nanos: 999_999_999 };
            let record = round_trip(
                Line { time, text: text.as_bytes(), is_utf8: true, ..Line::default() },
                Stream::Stderr,
            );
            assert_eq!(record.time, time);
            assert_eq!(
                serde_json::Value::Object(record.body),
                serde_json::json!({"log": text, "stream": "stderr", "container_name": "web", "image": "i".repeat(40)})
            );
        }
    }

    #[test]
    fn a_cut_line_says_so() {
        let record = round_trip(Line { text: b"x", cut_bytes: 1, ..Line::default() }, Stream::Stdout);
        assert_eq!(record.body["truncated"], true);
    }

    #[test]
    fn raw_bytes_that_are_no_utf8_are_repaired() {
        let record = round_trip(Line { text: b"a\xffb", ..Line::default() }, Stream::Stdout);
        assert_eq!(record.body["log"], "a\u{fffd}b");
        let record = round_trip(Line { text: "é日".as_bytes(), ..Line::default() }, Stream::Stdout);
        assert_eq!(record.body["log"], "é日");
    }

    #[test]
    fn attributes_stand_under_a_key_of_their_own() {
        let mut attrs = Vec::new();
        let pairs: [(&[u8], &[u8]); 2] = [(b"tag", b"x"), (b"env", b"")];
        crate::msgpack::put_string_map(&mut attrs, pairs.into_iter());
        let record = round_trip(Line { attrs: &attrs, cut_bytes: 1, ..Line::default() }, Stream::Stdout);
        assert_eq!(record.body["attrs"], serde_json::json!({"tag": "x", "env": ""}));
        assert_eq!(record.body["truncated"], true);
    }

    #[test]
    fn times_out_of_range_become_the_nearest() {
        for (seconds, want) in [(-1, 0), (i64::MAX, i64::from(u32::MAX)), (0, 0)] {
            let time = Timestamp { seconds, nanos: 7 };
            let record = round_trip(Line { time, text: b"", ..Line::default() }, Stream::Stdout);
            assert_eq!(record.time, Timestamp { seconds: want, nanos: 7 });
        }
    }
}
