//! The text of an error about a file that others write: a parser quotes what it did not expect, be it
//! megabytes of it.

use std::fmt::{self, Display, Write};

use crate::runtime::bounds::cut;

/// Longest text, in bytes.
const LONGEST: usize = 200;

/// The beginning of the error's text.
pub fn reason_of(error: &impl Display) -> String {
    let mut short = Short(String::new());
    match write!(short, "{error}") {
        Ok(()) => short.0,
        Err(_) => short.0 + " …",
    }
}

/// Takes text until it is full.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let kept = cut(part, LONGEST - self.0.len());
        self.0.push_str(kept);
        match kept.len() == part.len() {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_quoted_is_cut() {
        let parse = |text: &str| serde_json::from_str::<u8>(text).unwrap_err();
        let error = parse("\"x\"");
        assert_eq!(reason_of(&error), error.to_string());
        let long = reason_of(&parse(&format!("\"{}\"", "ü".repeat(1 << 20))));
        assert!(long.starts_with("invalid type: string \"üü") && long.ends_with("ü …"));
        assert!(long.len() <= LONGEST + 4, "{}", long.len());
    }
}
