//! `Merge_Log`: parses a line that is a JSON object into fields, written as MessagePack while
//! parsing, without building a tree. Pure.
//!
//! A line that is no JSON object, or exceeds a limit here, remains text.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::Deserializer;

use crate::format::msgpack::{put_map_head, put_str, put_u64};

/// Maximum nesting of objects and arrays; no log line goes as deep.
const DEEPEST: usize = 32;
/// Maximum keys of one object. Also bounds the search for duplicate keys.
const MOST_KEYS: usize = 256;

/// What is done with lines that are JSON objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergeOptions {
    /// Whether they are parsed into fields.
    pub is_on: bool,
    /// The key under which the fields go; `None` for the top level.
    pub key: Option<String>,
    /// Whether the line is kept beside the fields.
    pub keep_log: bool,
}

/// The fields of one line; the buffer is reused for the next one.
#[derive(Debug, Default)]
pub struct Merged {
    bytes: Vec<u8>,
    count: usize,
    keeps_log: bool,
}

impl Merged {
    /// The key-value pairs, encoded.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of pairs.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the line is kept beside them: because the options say so, because a field was
    /// left out, or because there is none.
    pub fn keeps_log(&self) -> bool {
        self.keeps_log
    }

    /// Parses the fields of `text`; returns `false` if it is not a JSON object. The first of
    /// duplicate keys in an object wins, and at the top level the record's own keys, `own`,
    /// take precedence; the line is then kept so that nothing is lost.
    #[inline]
    pub fn take(&mut self, text: &[u8], options: &MergeOptions, own: &[String]) -> bool {
        options.is_on && self.take_object(text, options, own)
    }

    fn take_object(&mut self, text: &[u8], options: &MergeOptions, own: &[String]) -> bool {
        self.bytes.clear();
        let text = text.trim_ascii();
        if text.first() != Some(&b'{') || text.last() != Some(&b'}') {
            return false;
        }
        let mut dropped = 0;
        let mut json = serde_json::Deserializer::from_slice(text);
        let own = if options.key.is_some() { &[] } else { own };
        if let Some(key) = &options.key {
            put_str(&mut self.bytes, key.as_bytes());
        }
        let head = self.bytes.len();
        let object = Object {
            out: &mut self.bytes,
            depth: 1,
            own,
            dropped: &mut dropped,
        };
        let count = match json.deserialize_map(object) {
            Ok(count) if json.end().is_ok() => count,
            _ => return false,
        };
        if options.key.is_some() {
            let pairs = self.bytes.split_off(head);
            put_map_head(&mut self.bytes, count);
            self.bytes.extend_from_slice(&pairs);
        }
        self.count = if options.key.is_some() { 1 } else { count };
        // Without fields, the line is the record's only content.
        self.keeps_log = options.keep_log || dropped > 0 || self.count == 0;
        true
    }
}

/// Writes an object's pairs without the map header; returns their number.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
    own: &'a [String],
    dropped: &'a mut usize,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        if self.depth > DEEPEST {
            return Err(A::Error::custom("too deep"));
        }
        let mut keys: Vec<std::ops::Range<usize>> = Vec::new();
        let mut seen = 0;
        loop {
            let start = self.out.len();
            let Some(length) = map.next_key_seed(Key(self.out))? else {
                return Ok(keys.len());
            };
            seen += 1;
            if seen > MOST_KEYS {
                return Err(A::Error::custom("too many keys"));
            }
            let key = self.out.len() - length..self.out.len();
            let text = &self.out[key.clone()];
            let is_taken = keys.iter().any(|other| self.out[other.clone()] == *text)
                || self.own.iter().any(|own| own.as_bytes() == text);
            map.next_value_seed(Value {
                out: self.out,
                depth: self.depth,
                dropped: self.dropped,
            })?;
            if is_taken {
                self.out.truncate(start);
                *self.dropped += 1;
            } else {
                keys.push(key);
            }
        }
    }
}

/// Writes a key; returns its length in bytes.
struct Key<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        put_str(self.0, text.as_bytes());
        Ok(text.len())
    }
}

/// Writes any value.
struct Value<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
    dropped: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.push(0xc0);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.out.push(if value { 0xc3 } else { 0xc2 });
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        put_u64(self.out, value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.out.push(0xd3);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.out.push(0xcb);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        put_str(self.out, text.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        if self.depth >= DEEPEST {
            return Err(A::Error::custom("too deep"));
        }
        let head = reserve_head(self.out, 0xdd);
        let mut count = 0;
        let depth = self.depth + 1;
        while values
            .next_element_seed(Value {
                out: self.out,
                depth,
                dropped: self.dropped,
            })?
            .is_some()
        {
            count += 1;
        }
        set_count(self.out, head, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let head = reserve_head(self.out, 0xdf);
        let object = Object {
            out: self.out,
            depth: self.depth + 1,
            own: &[],
            dropped: self.dropped,
        };
        let count = object.visit_map(map)?;
        set_count(self.out, head, count);
        Ok(())
    }
}

/// Reserves the longest header, since the count is known only after the elements.
fn reserve_head(out: &mut Vec<u8>, kind: u8) -> usize {
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    out.len() - 4
}

fn set_count(out: &mut [u8], at: usize, count: usize) {
    // A line has far fewer than 2^32 bytes (Partial_Max_Size, entry cap).
    out[at..at + 4].copy_from_slice(&(count as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merge(text: &str, key: Option<&str>) -> Option<(serde_json::Value, bool)> {
        let options = MergeOptions {
            is_on: true,
            key: key.map(str::to_owned),
            keep_log: false,
        };
        let mut merged = Merged::default();
        if !merged.take(
            text.as_bytes(),
            &options,
            &["stream".to_owned(), "log".to_owned()],
        ) {
            return None;
        }
        // Wrapped as a record's body so that the existing decoder can be used.
        let mut record = vec![0x92, 0x92, 0xd7, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
        put_map_head(&mut record, merged.count());
        record.extend_from_slice(merged.bytes());
        let mut records = crate::delivery::host::embedded::decode_records(&record).unwrap();
        Some((
            serde_json::Value::Object(records.remove(0).body),
            merged.keeps_log(),
        ))
    }

    #[test]
    fn every_kind_of_value_becomes_a_field() {
        let text = r#" {"s":"\u00e9\n","n":null,"t":true,"f":false,"u":18446744073709551615,"i":-5,"d":1.5,"a":[1,[],{"x":[{}]}],"o":{"k":{"v":""}}} "#;
        let want: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(merge(text, None), Some((want.clone(), false)));
        assert_eq!(
            merge(text, Some("json")),
            Some((json!({ "json": want }), false))
        );
    }

    #[test]
    fn an_object_without_fields_keeps_its_line() {
        assert_eq!(merge(" {} ", None), Some((json!({}), true)));
        assert_eq!(
            merge("{}", Some("json")),
            Some((json!({"json": {}}), false))
        );
    }

    #[test]
    fn what_is_no_object_stays_a_text() {
        for text in [
            "",
            "{",
            "}",
            "x",
            "[1]",
            "\"{}\"",
            "{}x",
            "{} {}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert_eq!(merge(text, None), None, "{text}");
        }
        let mut merged = Merged::default();
        let options = MergeOptions {
            is_on: true,
            ..MergeOptions::default()
        };
        assert!(!merged.take(b"{\"a\":\"\xff\"}", &options, &[]), "no UTF-8");
        assert!(
            !merged.take(b"{}", &MergeOptions::default(), &[]),
            "not asked for"
        );
    }

    #[test]
    fn of_equal_keys_the_first_counts_and_the_line_is_kept() {
        let first = merge(r#"{"a":1,"a":{"b":[2]},"c":3}"#, None);
        assert_eq!(first, Some((json!({"a": 1, "c": 3}), true)));
        let within = merge(r#"{"o":{"a":1,"a":2}}"#, None);
        assert_eq!(within, Some((json!({"o": {"a": 1}}), true)));
    }

    #[test]
    fn the_records_own_keys_win_unless_there_is_a_key() {
        let text = r#"{"stream":"x","m":1,"o":{"stream":"y"}}"#;
        assert_eq!(
            merge(text, None),
            Some((json!({"m": 1, "o": {"stream": "y"}}), true))
        );
        let want = json!({"json": {"stream": "x", "m": 1, "o": {"stream": "y"}}});
        assert_eq!(merge(text, Some("json")), Some((want, false)));
    }

    #[test]
    fn depth_and_number_of_keys_are_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(merge(&nested(DEEPEST), None).is_some());
        assert_eq!(merge(&nested(DEEPEST + 1), None), None);
        let arrays = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(merge(&arrays(DEEPEST - 1), None).is_some());
        assert_eq!(merge(&arrays(100_000), None), None);
        let wide = |keys: usize| {
            let pairs: Vec<String> = (0..keys).map(|key| format!("\"{key}\":0")).collect();
            format!("{{{}}}", pairs.join(","))
        };
        assert!(merge(&wide(MOST_KEYS), None).is_some());
        assert_eq!(merge(&wide(MOST_KEYS + 1), None), None);
    }
}
