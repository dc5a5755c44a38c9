//! `fluentbit.io/parser`: parses the text of records with a parser of the host. Pure.
//!
//! The parsers belong to the host and are only used on its thread, as by its own `parser`
//! filter. Parsing therefore happens after the queue, batch by batch, and only for containers
//! that ask for it. The fields are merged as with `Merge_Log`.

use rmpv::Value;

use crate::delivery::group::is_marker;
use crate::delivery::host::Parsed;
use crate::format::position::Timestamp;

/// A key and its value.
type Pair = (Value, Value);

/// Which parser to use, and where its fields go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsing {
    /// Its name in the host's configuration.
    pub parser: String,
    /// The key under which the fields go; `None` for the top level.
    pub key: Option<String>,
    /// Whether the line is kept beside the fields.
    pub keep_log: bool,
}

impl Parsing {
    /// Returns the records of a batch, in Fluent Bit's layout, with the fields that `parse`
    /// extracts from their texts. Records that it cannot parse are unchanged.
    pub fn apply(&self, batch: &[u8], parse: &mut dyn FnMut(&[u8]) -> Option<Parsed>) -> Vec<u8> {
        let mut out = Vec::with_capacity(batch.len() * 2);
        let mut rest = batch;
        while !rest.is_empty() {
            let before = rest;
            let Ok(record) = rmpv::decode::read_value(&mut rest) else {
                // Not a record of ours: copy it unchanged.
                out.extend_from_slice(before);
                break;
            };
            let plain = &before[..before.len() - rest.len()];
            let parsed = self.parsed(&record, parse);
            let start = out.len();
            let is_written =
                parsed.is_some_and(|record| rmpv::encode::write_value(&mut out, &record).is_ok());
            if !is_written {
                out.truncate(start);
                out.extend_from_slice(plain);
            }
        }
        out
    }

    fn parsed(
        &self,
        record: &Value,
        parse: &mut dyn FnMut(&[u8]) -> Option<Parsed>,
    ) -> Option<Value> {
        let [head, body] = record.as_array()?.as_slice() else {
            return None;
        };
        let [time, metadata] = head.as_array()?.as_slice() else {
            return None;
        };
        let (_, seconds) = time.as_ext()?;
        if is_marker(*seconds.first_chunk::<4>()?) {
            return None;
        }
        let body = body.as_map()?;
        let (log, own): (Vec<_>, Vec<_>) = body
            .iter()
            .cloned()
            .partition(|(key, _)| key.as_str() == Some("log"));
        let Parsed { fields, time: said } = parse(log.first()?.1.as_slice()?)?;
        let Value::Map(fields) = rmpv::decode::read_value(&mut fields.as_slice()).ok()? else {
            return None;
        };
        let time = said.and_then(event_time).unwrap_or_else(|| time.clone());
        let body = self.merged(log, fields, own)?;
        Some(Value::Array(vec![
            Value::Array(vec![time, metadata.clone()]),
            Value::Map(body),
        ]))
    }

    /// Merges the parsed fields into a record. The record's own keys take precedence, and the
    /// first of duplicate keys wins; the line is kept if a field was left out or there is none. Returns
    /// `None` if the key for the fields is already in use.
    fn merged(&self, log: Vec<Pair>, fields: Vec<Pair>, own: Vec<Pair>) -> Option<Vec<Pair>> {
        let is_in = |pairs: &[Pair], wanted: &Value| pairs.iter().any(|(key, _)| key == wanted);
        let mut kept: Vec<Pair> = Vec::with_capacity(fields.len());
        let mut keeps_log = self.keep_log;
        for field in fields {
            if is_in(&kept, &field.0) || (self.key.is_none() && is_in(&own, &field.0)) {
                keeps_log = true;
            } else {
                kept.push(field);
            }
        }
        // Without fields, the line is the record's only content.
        keeps_log |= kept.is_empty() && self.key.is_none();
        if let Some(key) = self.key.as_deref().map(Value::from) {
            // `Merge_Log` may already have used it.
            if is_in(&own, &key) {
                return None;
            }
            kept = vec![(key, Value::Map(kept))];
        } else if keeps_log {
            kept.retain(|(key, _)| key.as_str() != Some("log"));
        }
        Some(
            log.into_iter()
                .filter(|_| keeps_log)
                .chain(kept)
                .chain(own)
                .collect(),
        )
    }
}

/// The time as `encode` writes it; `None` if it is out of range.
fn event_time(time: Timestamp) -> Option<Value> {
    let seconds = i32::try_from(time.seconds)
        .ok()
        .filter(|seconds| *seconds >= 0)?;
    Some(Value::Ext(
        0,
        [seconds.to_be_bytes(), time.nanos.to_be_bytes()].concat(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::host::embedded::decode_records;
    use crate::format::msgpack::Field;
    use crate::format::position::Stream;
    use crate::pipeline::encode::{put_record, PackedFields, RecordFields};
    use crate::pipeline::partial::Line;
    use serde_json::{json, Value as Json};

    fn parsing(key: Option<&str>, keep_log: bool) -> Parsing {
        Parsing {
            parser: "words".to_owned(),
            key: key.map(str::to_owned),
            keep_log,
        }
    }

    fn batch(texts: &[&str], fields: &RecordFields) -> Vec<u8> {
        let mut bytes = fields.group_start().to_vec();
        for (number, text) in texts.iter().enumerate() {
            let time = Timestamp {
                seconds: number as i64,
                nanos: 7,
            };
            let line = Line {
                time,
                text: text.as_bytes(),
                is_utf8: true,
                ..Line::default()
            };
            put_record(&mut bytes, &line, Stream::Stdout, fields);
        }
        bytes.extend_from_slice(fields.group_end());
        bytes
    }

    /// Parses `KEY=VALUE KEY=VALUE` as strings; does not match other texts.
    fn words(text: &[u8]) -> Option<Parsed> {
        let text = std::str::from_utf8(text).unwrap();
        let pairs: Option<Vec<_>> = text.split(' ').map(|word| word.split_once('=')).collect();
        let pairs = pairs?
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let mut fields = Vec::new();
        rmpv::encode::write_value(&mut fields, &Value::Map(pairs)).unwrap();
        let time = text.contains("time=").then_some(Timestamp {
            seconds: 99,
            nanos: 1,
        });
        Some(Parsed { fields, time })
    }

    fn bodies(parsing: &Parsing, texts: &[&str]) -> Vec<Json> {
        let fields = RecordFields::new(&[("image".to_owned(), Field::text("shop"))]);
        let bytes = parsing.apply(&batch(texts, &fields), &mut words);
        decode_records(&bytes)
            .unwrap()
            .into_iter()
            .map(|record| Json::Object(record.body))
            .collect()
    }

    #[test]
    fn fields_take_the_place_of_the_text_and_a_text_that_does_not_fit_stays() {
        assert_eq!(
            bodies(&parsing(None, false), &["a=1 b=2", "none", "log=x"]),
            [
                json!({"a": "1", "b": "2", "stream": "stdout", "image": "shop"}),
                json!({"log": "none", "stream": "stdout", "image": "shop"}),
                json!({"log": "x", "stream": "stdout", "image": "shop"}),
            ]
        );
    }

    #[test]
    fn the_records_own_keys_win_and_then_the_text_is_kept() {
        assert_eq!(
            bodies(
                &parsing(None, false),
                &["image=mine a=1 a=2", "log=x a=1 a=2"]
            ),
            [
                json!({"log": "image=mine a=1 a=2", "a": "1", "stream": "stdout", "image": "shop"}),
                json!({"log": "log=x a=1 a=2", "a": "1", "stream": "stdout", "image": "shop"}),
            ]
        );
        assert_eq!(
            bodies(&parsing(None, true), &["a=1"]),
            [json!({"log": "a=1", "a": "1", "stream": "stdout", "image": "shop"})]
        );
    }

    #[test]
    fn a_text_without_fields_is_kept() {
        let parse = |parsing: &Parsing, fields: &[u8]| {
            let fields = fields.to_vec();
            let own = RecordFields::new(&[]);
            let mut nothing = |_: &[u8]| {
                Some(Parsed {
                    fields: fields.clone(),
                    time: None,
                })
            };
            let bytes = parsing.apply(&batch(&["{}"], &own), &mut nothing);
            Json::Object(decode_records(&bytes).unwrap().remove(0).body)
        };
        assert_eq!(
            parse(&parsing(None, false), &[0x80]),
            json!({"log": "{}", "stream": "stdout"})
        );
        assert_eq!(
            parse(&parsing(Some("parsed"), false), &[0x80]),
            json!({"parsed": {}, "stream": "stdout"})
        );
    }

    #[test]
    fn fields_stand_under_a_key_where_there_is_one() {
        assert_eq!(
            bodies(&parsing(Some("parsed"), false), &["image=mine"]),
            [json!({"parsed": {"image": "mine"}, "stream": "stdout", "image": "shop"})]
        );
    }

    #[test]
    fn no_key_stands_twice() {
        let under = parsing(Some("parsed"), false);
        assert_eq!(
            bodies(&under, &["a=1 a=2"]),
            [json!({"log": "a=1 a=2", "parsed": {"a": "1"}, "stream": "stdout", "image": "shop"})]
        );
        // `Merge_Log` has already put fields there.
        let merged = RecordFields::new(&[("parsed".to_owned(), Field::text("merged"))]);
        let bytes = batch(&["a=1"], &merged);
        assert_eq!(under.apply(&bytes, &mut words), bytes);
    }

    #[test]
    fn a_time_that_no_record_can_have_is_not_taken() {
        for seconds in [-1, 1 << 31] {
            let mut says = |text: &[u8]| {
                Some(Parsed {
                    time: Some(Timestamp { seconds, nanos: 0 }),
                    ..words(text)?
                })
            };
            let bytes =
                parsing(None, false).apply(&batch(&["a=1"], &RecordFields::new(&[])), &mut says);
            assert_eq!(
                decode_records(&bytes).unwrap()[0].time,
                Timestamp {
                    seconds: 0,
                    nanos: 7
                }
            );
        }
    }

    #[test]
    fn a_time_that_the_text_says_is_the_records() {
        let fields = RecordFields::new(&[]);
        let bytes = parsing(None, false).apply(&batch(&["time=x", "a=1"], &fields), &mut words);
        let times: Vec<Timestamp> = decode_records(&bytes)
            .unwrap()
            .iter()
            .map(|record| record.time)
            .collect();
        assert_eq!(
            times,
            [
                Timestamp {
                    seconds: 99,
                    nanos: 1
                },
                Timestamp {
                    seconds: 1,
                    nanos: 7
                }
            ]
        );
    }

    /// Unchanged records are copied, not re-encoded; so are group markers.
    #[test]
    fn what_does_not_fit_is_the_same_to_the_byte() {
        let group = Field::Map(vec![("a".to_owned(), Field::Number(1))]);
        for fields in [
            RecordFields::new(&[]),
            PackedFields::in_group(&group, &group).unpack(),
        ] {
            let bytes = batch(&["none", "of these"], &fields);
            assert_eq!(parsing(None, false).apply(&bytes, &mut words), bytes);
            let torn = &bytes[..bytes.len() - 1];
            assert_eq!(parsing(None, false).apply(torn, &mut words), torn);
        }
        let no_map = |_: &[u8]| {
            Some(Parsed {
                fields: vec![0xc0],
                time: None,
            })
        };
        let bytes = batch(&["x"], &RecordFields::new(&[]));
        assert_eq!(
            parsing(None, false).apply(&bytes, &mut no_map.clone()),
            bytes
        );
    }
}
