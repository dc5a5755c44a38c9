//! Lines that are JSON objects, as a person reads them: level and message first, then the other
//! fields. Pure.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::styled::Styled;

/// Keys of the level, most common first.
const LEVELS: [&str; 6] = [
    "level",
    "lvl",
    "severity",
    "log.level",
    "levelname",
    "loglevel",
];
/// Keys of the message.
const MESSAGES: [&str; 4] = ["msg", "message", "@m", "event"];
/// Lines longer than this are printed as they are.
const LONGEST: usize = 256 * 1024;
/// Width of the level.
const LEVEL_WIDTH: usize = 5;

const RED: &str = "31";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const DIM: &str = "2";

/// The fields of an object in their order, each value as it is written: a number read and written
/// again may be another one.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &RawValue)> = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

/// A key, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    fn take(&mut self, keys: &[&str]) -> Option<&'a RawValue> {
        let mut wanted = keys.iter();
        let index = wanted.find_map(|wanted| self.0.iter().position(|(key, _)| key == wanted))?;
        // Keeps the order of the others.
        Some(self.0.remove(index).1)
    }
}

/// The line in one piece, or `None` if it is no JSON object.
pub fn pretty(line: &str) -> Option<Styled> {
    let line = line.trim();
    if !line.starts_with('{') || line.len() > LONGEST {
        return None;
    }
    let mut fields: Fields<'_> = serde_json::from_str(line).ok()?;
    let mut shown = Styled::default();
    let level = fields.take(&LEVELS);
    let message = fields.take(&MESSAGES);
    if let Some(level) = level.and_then(level_name) {
        shown.push(&level, Some(style_of_level(&level)));
        let padding = LEVEL_WIDTH.saturating_sub(level.chars().count());
        shown.push(&" ".repeat(padding), None);
    }
    if let Some(message) = message {
        shown.separate();
        shown.push(&text_of(message, false), None);
    }
    // A level that is none is a field like others.
    let level = level.filter(|level| level_name(level).is_none());
    let level = level.map(|level| (Cow::Borrowed("level"), level));
    for (key, value) in level.into_iter().chain(fields.0) {
        shown.separate();
        shown.push(&format!("{}=", plain(&key)), Some(DIM));
        shown.push(&text_of(value, true), None);
    }
    Some(shown)
}

/// The name of a level, also of one that is a number (pino, bunyan).
fn level_name(level: &RawValue) -> Option<String> {
    if let Some(name) = string(level) {
        let is_name = !name.is_empty() && name.len() <= 16;
        return is_name.then(|| plain(&name.to_uppercase()));
    }
    let name = match level.get() {
        "10" => "TRACE",
        "20" => "DEBUG",
        "30" => "INFO",
        "40" => "WARN",
        "50" => "ERROR",
        "60" => "FATAL",
        _ => return None,
    };
    Some(name.to_owned())
}

/// The text of a value that is one.
fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn style_of_level(level: &str) -> &'static str {
    match level {
        "ERROR" | "ERR" | "FATAL" | "CRITICAL" | "CRIT" | "PANIC" | "ALERT" | "EMERG" | "E"
        | "F" => RED,
        "WARN" | "WARNING" | "W" => YELLOW,
        "INFO" | "INFORMATION" | "NOTICE" | "I" => GREEN,
        _ => DIM,
    }
}

/// A value; texts that are not one word are quoted if `is_field`.
fn text_of(value: &RawValue, is_field: bool) -> String {
    match string(value) {
        Some(text) if is_field && (text.is_empty() || text.contains([' ', '"', '='])) => {
            serde_json::Value::String(text).to_string()
        }
        Some(text) => plain(&text),
        None => without_spaces(value.get()),
    }
}

/// JSON without the spaces between its parts.
fn without_spaces(json: &str) -> String {
    let (mut is_in_text, mut is_escaped) = (false, false);
    let mut kept = String::with_capacity(json.len());
    for character in json.chars() {
        if is_in_text || !character.is_ascii_whitespace() {
            kept.push(character);
        }
        is_in_text ^= character == '"' && !is_escaped;
        is_escaped = is_in_text && character == '\\' && !is_escaped;
    }
    kept
}

/// A text without control characters, which are written as in JSON.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(plain, "\\u{:04x}", u32::from(control));
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        pretty(line).unwrap().render(false)
    }

    #[test]
    fn level_and_message_come_first_and_nothing_is_left_out() {
        assert_eq!(
            shown(
                r#"{"ts":"2026-11-25T18:30:00Z","level":"info","msg":"order placed","order":70010,"by":"ada l"}"#
            ),
            r#"INFO  order placed ts=2026-11-25T18:30:00Z order=70010 by="ada l""#
        );
        assert_eq!(shown(r#"{"level":50,"msg":"no"}"#), "ERROR no");
        assert_eq!(shown(r#"{"level":"info"}"#), "INFO ");
        assert_eq!(
            shown(r#"{"level":7,"a":{"b":[1,null]}}"#),
            r#"level=7 a={"b":[1,null]}"#
        );
        assert_eq!(shown(r#"{"a":""}"#), r#"a="""#);
        assert_eq!(shown("{}"), "");
    }

    #[test]
    fn numbers_are_shown_as_they_are_written() {
        assert_eq!(
            shown(
                r#"{"a":1.0,"b":1e400,"c":123456789012345678901,"d":[1.50, {"e": -0.10E+5 , "f":"x \" y"}]}"#
            ),
            r#"a=1.0 b=1e400 c=123456789012345678901 d=[1.50,{"e":-0.10E+5,"f":"x \" y"}]"#
        );
        assert_eq!(shown(r#"{"level":30.0,"msg":1e23}"#), "1e23 level=30.0");
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        for line in ["", "text", "[1]", "{", "{\"a\":1} and more", "1"] {
            assert!(pretty(line).is_none(), "{line}");
        }
    }

    /// A value is not taken apart, however deep it is.
    #[test]
    fn a_deep_value_is_shown_as_it_is() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(shown(&format!("{{\"a\": {deep} }}")), format!("a={deep}"));
    }

    #[test]
    fn escaped_control_characters_stay_escaped() {
        let line = r#"{"level":"\u001b[2J","msg":"a\nb\u001b[31m\u009b","k\u001b":"v\u0007"}"#;
        assert_eq!(
            shown(line),
            "\\u001b[2J a\\nb\\u001b[31m\\u009b k\\u001b=v\\u0007"
        );
    }

    #[test]
    fn the_level_has_its_colour() {
        let level = |line: &str| pretty(line).unwrap().render(true);
        assert_eq!(level(r#"{"level":"error"}"#), "\u{1b}[31mERROR\u{1b}[0m");
        assert_eq!(
            level(r#"{"severity":"WARNING"}"#),
            "\u{1b}[33mWARNING\u{1b}[0m"
        );
    }
}
