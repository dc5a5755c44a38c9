//! What a terminal may be told.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use crate::arguments::Color;

/// Whether what goes to standard output is coloured.
pub fn is_colored(when: Color) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// Text that steers no terminal: control characters but the tab in caret
/// notation, those beyond ASCII as U+FFFD.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| character.is_control() && character != '\t';
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
