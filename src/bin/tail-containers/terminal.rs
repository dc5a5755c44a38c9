//! Text that is safe to print to a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use fluent_bit_container_logs::telemetry::plain_text::is_deceptive;
use rustix::termios::tcgetwinsize;

use crate::arguments::Color;

/// Whether output to standard output is colored. What is asked for on the command line wins over
/// `NO_COLOR` (no-color.org).
pub fn is_colored(when: Color) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let is_unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
            let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            io::stdout().is_terminal() && is_unset("NO_COLOR") && !is_dumb
        }
    }
}

/// The columns of the terminal that is standard output; `None` if it is none.
pub fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

/// Columns and rows of the terminal that is standard output, 80 and 24 if it does not know;
/// `None` if it is none.
pub fn size() -> Option<(usize, usize)> {
    let out = io::stdout();
    let size = tcgetwinsize(&out).ok()?;
    Some(match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => (80, 24),
        (columns, rows) => (columns.into(), rows.into()),
    })
}

/// Replaces characters that could control the terminal or change the order of the text:
/// control characters except the tab by caret notation, others by U+FFFD.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| is_deceptive(character) && character != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if is_harmful(character) && byte.is_ascii() => {
                shown.extend(['^', char::from(byte ^ 0x40)]);
            }
            _ if is_harmful(character) => shown.push('\u{fffd}'),
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Escapes such characters in JSON without changing its meaning: they can only occur in
/// strings, where `\u` escapes are equivalent.
pub fn harmless_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_deceptive) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 32);
    for character in json.chars() {
        if is_deceptive(character) {
            let mut units = [0; 2];
            shown.extend(
                character
                    .encode_utf16(&mut units)
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}")),
            );
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}
