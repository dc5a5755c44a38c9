//! Lines that are JSON objects, as a person reads them: level and message first, then the other
//! fields. Pure.

use std::fmt::Write as _;

use serde_json::{Map, Value};

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

/// The line in one piece, or `None` if it is no JSON object.
pub fn pretty(line: &str) -> Option<Styled> {
    let line = line.trim();
    if !line.starts_with('{') || line.len() > LONGEST {
        return None;
    }
    let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut shown = Styled::default();
    let level = take(&mut fields, &LEVELS);
    let message = take(&mut fields, &MESSAGES);
    if let Some(level) = level.as_ref().and_then(level_name) {
        shown.push(&level, Some(style_of_level(&level)));
        let padding = LEVEL_WIDTH.saturating_sub(level.chars().count());
        shown.push(&" ".repeat(padding), None);
    }
    if let Some(message) = &message {
        shown.separate();
        shown.push(&text_of(message, false), None);
    }
    // A level that is none is a field like others.
    let level = level.filter(|level| level_name(level).is_none());
    let level = level.map(|level| ("level".to_owned(), level));
    for (key, value) in level.into_iter().chain(fields) {
        shown.separate();
        shown.push(&format!("{}=", plain(&key)), Some(DIM));
        shown.push(&text_of(&value, true), None);
    }
    Some(shown)
}

fn take(fields: &mut Map<String, Value>, keys: &[&str]) -> Option<Value> {
    let key = keys.iter().find(|key| fields.contains_key(**key))?;
    // Keeps the order of the others.
    fields.shift_remove(*key)
}

/// The name of a level, also of one that is a number (pino, bunyan).
fn level_name(level: &Value) -> Option<String> {
    let name = match level {
        Value::String(name) if !name.is_empty() && name.len() <= 16 => plain(&name.to_uppercase()),
        Value::Number(number) => match number.as_u64()? {
            10 => "TRACE",
            20 => "DEBUG",
            30 => "INFO",
            40 => "WARN",
            50 => "ERROR",
            60 => "FATAL",
            _ => return None,
        }
        .to_owned(),
        _ => return None,
    };
    Some(name)
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
fn text_of(value: &Value, is_field: bool) -> String {
    match value {
        Value::String(text) if is_field && (text.is_empty() || text.contains([' ', '"', '='])) => {
            value.to_string()
        }
        Value::String(text) => plain(text),
        value => value.to_string(),
    }
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
    fn what_is_no_object_stays_as_it_is() {
        for line in ["", "text", "[1]", "{", "{\"a\":1} and more", "1"] {
            assert!(pretty(line).is_none(), "{line}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(pretty(&deep).is_none());
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
