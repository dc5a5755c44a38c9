//! A host in this process, without Fluent Bit: decodes batches back into records.
//! `tail-containers` prints them, tests compare them.

use std::cell::RefCell;

use rmpv::ValueRef;
use serde_json::{Map, Number};

use crate::delivery::group::is_marker;
use crate::delivery::host::{AppendRefused, Host};
use crate::format::position::Timestamp;
use crate::telemetry::event::Level;

/// One record as Fluent Bit would receive it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The runtime's time.
    pub time: Timestamp,
    /// The record's keys and values.
    pub body: Map<String, serde_json::Value>,
}

impl Record {
    /// The text under `key`, or an empty string if the value is missing or not a string.
    pub fn text(&self, key: &str) -> &str {
        self.body
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or("")
    }
}

/// A batch that is not in Fluent Bit's layout.
#[derive(Debug, thiserror::Error)]
#[error("not a Fluent Bit record: {0}")]
pub struct BadRecord(String);

/// Decodes a batch as passed to [`Host::append`].
pub fn decode_records(bytes: &[u8]) -> Result<Vec<Record>, BadRecord> {
    decode_since(bytes, None)
}

fn decode_since(mut bytes: &[u8], since: Option<Timestamp>) -> Result<Vec<Record>, BadRecord> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let value = rmpv::decode::read_value_ref(&mut bytes)
            .map_err(|error| BadRecord(error.to_string()))?;
        // A group marker decodes to no record.
        records.extend(decode_record(&value, since).ok_or_else(|| BadRecord(value.to_string()))?);
    }
    Ok(records)
}

fn decode_record(value: &ValueRef<'_>, since: Option<Timestamp>) -> Option<Option<Record>> {
    let [head, body] = value.as_array()?.as_slice() else {
        return None;
    };
    let [ValueRef::Ext(0, time), _metadata] = head.as_array()?.as_slice() else {
        return None;
    };
    let (seconds, nanos) = time.split_first_chunk::<4>()?;
    if is_marker(*seconds) {
        return Some(None);
    }
    let time = Timestamp {
        seconds: i64::from(u32::from_be_bytes(*seconds)),
        nanos: u32::from_be_bytes(nanos.try_into().ok()?),
    };
    if since.is_some_and(|since| time < since) {
        return Some(None);
    }
    match to_json(body)? {
        serde_json::Value::Object(body) => Some(Some(Record { time, body })),
        _ => None,
    }
}

fn to_json(value: &ValueRef<'_>) -> Option<serde_json::Value> {
    Some(match value {
        ValueRef::Nil => serde_json::Value::Null,
        ValueRef::Boolean(value) => (*value).into(),
        ValueRef::Integer(value) => match (value.as_u64(), value.as_i64()) {
            (Some(value), _) => value.into(),
            (None, value) => value?.into(),
        },
        ValueRef::F32(value) => Number::from_f64(f64::from(*value))?.into(),
        ValueRef::F64(value) => Number::from_f64(*value)?.into(),
        ValueRef::String(text) => text.as_str()?.into(),
        ValueRef::Binary(_) | ValueRef::Ext(..) => return None,
        ValueRef::Array(values) => {
            serde_json::Value::Array(values.iter().map(to_json).collect::<Option<_>>()?)
        }
        ValueRef::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let ValueRef::String(key) = key else {
                    return None;
                };
                map.insert(key.as_str()?.to_owned(), to_json(value)?);
            }
            serde_json::Value::Object(map)
        }
    })
}

/// Passes each record with its batch's tag to one closure, and each log message to another.
/// Never refuses.
pub struct EmbeddedHost<R, L> {
    on_record: RefCell<R>,
    on_log: L,
    since: Option<Timestamp>,
}

impl<R, L> EmbeddedHost<R, L>
where
    R: FnMut(Option<&str>, Record),
    L: Fn(Level, &str),
{
    /// A host that passes on everything.
    pub fn new(on_record: R, on_log: L) -> Self {
        EmbeddedHost {
            on_record: RefCell::new(on_record),
            on_log,
            since: None,
        }
    }

    /// Accepts records older than `since` without passing them on.
    pub fn since(self, since: Option<Timestamp>) -> Self {
        EmbeddedHost { since, ..self }
    }
}

impl<R, L> Host for EmbeddedHost<R, L>
where
    R: FnMut(Option<&str>, Record),
    L: Fn(Level, &str),
{
    fn append(&self, tag: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        match decode_since(bytes, self.since) {
            Ok(decoded) => {
                debug_assert!(decoded.len() == records || self.since.is_some());
                let mut on_record = self.on_record.borrow_mut();
                for record in decoded {
                    on_record(tag, record);
                }
            }
            Err(error) => self.log(Level::Error, &error.to_string()),
        }
        Ok(())
    }

    fn log(&self, level: Level, message: &str) {
        (self.on_log)(level, message);
    }
}
