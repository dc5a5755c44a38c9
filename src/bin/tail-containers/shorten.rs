//! Texts that are cut to a number of columns. Pure.

use unicode_width::UnicodeWidthChar;

/// The most columns that a text may take: for characters that combine into one sign, as some
/// emoji do, the width on a terminal that does not combine them.
pub fn wide(text: &str) -> usize {
    // The only control characters here are tabs, which have no width of their own.
    text.chars()
        .map(|character| character.width().unwrap_or(1))
        .sum()
}

/// The text, cut to `width` columns with a trailing `~`.
pub fn shorten(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        short.push(character);
        if wide(&short) >= width {
            short.pop();
            break;
        }
    }
    if width > 0 {
        short.push('~');
    }
    short
}

/// The text, cut to `width` columns with a `~` in its middle: both ends of a name tell.
pub fn shorten_middle(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let end: String = text.chars().rev().collect();
    let end = shorten(&end, room / 2 + 1);
    let end = end.strip_suffix('~').unwrap_or(&end);
    let start = shorten(text, room - room / 2 + 1);
    start + &end.chars().rev().collect::<String>()
}
