//! Lines to MessagePack, in Fluent Bit's layout
//! `[[EventTime, {}], {"log": …, "stream": …, "container_id": …, …}]`.
//!
//! What is the same for every record of a container and stream is encoded once
//! ([`RecordFields`]) and copied behind each text.

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
    /// `stream`, then `fields` in the order given, as strings. At most 13
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
        debug_assert!(fields.len() <= 13);
        RecordFields { encoded, count: 1 + fields.len() as u8 }
    }
}

/// Appends one record to `out`.
#[inline]
pub fn put_record(out: &mut Vec<u8>, line: &Line<'_>, stream: Stream, fields: &RecordFields) {
    let encoded = &fields.encoded[stream.index()];
    out.reserve(48 + line.text.len() + encoded.len());
    out.extend_from_slice(&[0x92, 0x92]);
    put_event_time(out, line.time);
    out.extend_from_slice(&[0x80, 0x80 | (1 + fields.count + u8::from(line.truncated))]);
    out.extend_from_slice(b"\xa3log");
    put_str(out, line.text);
    out.extend_from_slice(encoded);
    if line.truncated {
        out.extend_from_slice(b"\xa9truncated\xc3");
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

/// Appends a MessagePack string with the shortest header.
fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if length < 32 {
        out.push(0xa0 | length as u8);
    } else if let Ok(length) = u8::try_from(length) {
        out.extend_from_slice(&[0xd9, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(0xda);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        // Texts are capped far below 4 GiB (Partial_Max_Size, entry cap).
        out.push(0xdb);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::embedded::{decode_records, Record};

    fn round_trip(line: Line<'_>, stream: Stream) -> Record {
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
            let record = round_trip(Line { time, text: text.as_bytes(), truncated: false }, Stream::Stderr);
            assert_eq!(record.time, time);
            assert_eq!(
                serde_json::Value::Object(record.body),
                serde_json::json!({"log": text, "stream": "stderr", "container_name": "web", "image": "i".repeat(40)})
            );
        }
    }

    #[test]
    fn a_cut_line_says_so() {
        let record =
            round_trip(Line { time: Timestamp::default(), text: b"x", truncated: true }, Stream::Stdout);
        assert_eq!(record.body["truncated"], true);
    }

    #[test]
    fn times_out_of_range_become_the_nearest() {
        for (seconds, want) in [(-1, 0), (i64::MAX, i64::from(u32::MAX)), (0, 0)] {
            let time = Timestamp { seconds, nanos: 7 };
            let record = round_trip(Line { time, text: b"", truncated: false }, Stream::Stdout);
            assert_eq!(record.time, Timestamp { seconds: want, nanos: 7 });
        }
    }
}
