//! Decides which lines belong together. A pattern is either a list of languages, whose stack
//! traces are recognized by rules, or a regular expression that matches the first line of each
//! record.
//!
//! With languages, a line that begins no trace is a record at once, without waiting. With an
//! expression, every line may have a continuation, so each waits for the next line or the
//! time-out.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, Weak};

use once_cell::sync::Lazy;
use regex::bytes::{Regex, RegexBuilder};

use crate::lock::lock;
use crate::pipeline::multiline::traces::{self, Language, State, LANGUAGES};

/// Limits on an expression. Matching time is proportional to the text and to the compiled
/// program, so both are bounded.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Maximum bytes of the compiled program.
    program: usize,
    /// Maximum bytes of the matcher's cache.
    cache: usize,
    /// Whether `\d` and similar classes cover all of Unicode, which makes large programs.
    is_unicode: bool,
}

/// For the option, which the operator sets.
const OPTIONS_LIMITS: Limits = Limits {
    program: 256 * 1024,
    cache: 256 * 1024,
    is_unicode: true,
};

/// For labels, which anyone may have written: common beginnings of log lines fit, and the
/// worst expression that fits takes a few microseconds per byte.
const LABELS_LIMITS: Limits = Limits {
    program: 8 * 1024,
    cache: 64 * 1024,
    is_unicode: false,
};

/// Maximum number of different expressions from labels in use at a time.
const MOST_OF_LABELS: usize = 64;

/// Bytes at the start of a line that an expression is matched against. Whatever marks the
/// first line of a record is at its start, and matching a line of a megabyte would take
/// seconds.
const JUDGED_BYTES: usize = 1024;

/// How a line relates to the open text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It continues the open text.
    Continues(State),
    /// It begins a text that later lines may continue.
    Begins(State),
    /// It is a record of its own.
    Alone,
}

/// Which lines belong together.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// Whether it is a label's expression: the same text means less there than in the option.
    is_of_label: bool,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Stack traces of these languages.
    Traces(Vec<Language>),
    /// Matches the first line of each record.
    First(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        (&self.text, self.is_of_label) == (&other.text, other.is_of_label)
    }
}

impl Eq for Pattern {}

/// Why a pattern is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither java, go or python nor a valid regular expression: {reason}")]
pub struct NoPattern {
    text: String,
    reason: String,
}

impl FromStr for Pattern {
    type Err = NoPattern;

    /// Parses language names separated by commas, or else a regular expression.
    fn from_str(text: &str) -> Result<Pattern, NoPattern> {
        named(text).map_or_else(|| expression(text, false), Ok)
    }
}

/// The languages named in `text`, without duplicates; `None` if any name is unknown.
fn named(text: &str) -> Option<Pattern> {
    let mut languages = Vec::new();
    for name in text.split(',') {
        let (_, language) = LANGUAGES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.trim()))?;
        if !languages.contains(language) {
            languages.push(*language);
        }
    }
    Some(Pattern {
        text: text.to_owned(),
        is_of_label: false,
        kind: Kind::Traces(languages),
    })
}

/// Whether `text` is probably a misspelled language name rather than an expression.
fn is_of_words(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || " ,_-".contains(c))
}

fn expression(text: &str, is_of_label: bool) -> Result<Pattern, NoPattern> {
    let wrong = |reason: &str| NoPattern {
        text: text.to_owned(),
        reason: reason.to_owned(),
    };
    if is_of_words(text) {
        return Err(wrong(
            "it has only plain words; for lines that begin with them, put ^ in front",
        ));
    }
    let limits = if is_of_label {
        LABELS_LIMITS
    } else {
        OPTIONS_LIMITS
    };
    let regex = RegexBuilder::new(text)
        .unicode(limits.is_unicode)
        .size_limit(limits.program)
        .dfa_size_limit(limits.cache)
        .build();
    let regex = regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => wrong("it needs too much memory"),
        // The message shows the expression on several lines; the last one has the reason.
        error => wrong(error.to_string().lines().last().unwrap_or_default().trim()),
    })?;
    // An expression that matches any line and the empty line cannot separate records.
    if regex.is_match(b"") && regex.is_match(b"any") {
        return Err(wrong("it matches every line, so each would begin a record"));
    }
    Ok(Pattern {
        text: text.to_owned(),
        is_of_label,
        kind: Kind::First(regex),
    })
}

/// The expressions in use, keyed by text and whether they are from a label. Containers with
/// the same expression share one.
#[derive(Debug, Default)]
struct InUse(Mutex<HashMap<(bool, String), Weak<Pattern>>>);

static IN_USE: Lazy<InUse> = Lazy::new(InUse::default);

impl InUse {
    fn expression(&self, text: &str, is_of_label: bool) -> Result<Arc<Pattern>, NoPattern> {
        let mut known = lock(&self.0);
        let key = (is_of_label, text.to_owned());
        if let Some(pattern) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(pattern);
        }
        known.retain(|_, pattern| pattern.strong_count() > 0);
        if is_of_label
            && known.keys().filter(|(is_of_label, _)| *is_of_label).count() >= MOST_OF_LABELS
        {
            let reason = format!(
                "{MOST_OF_LABELS} other regular expressions from labels are in use, which is the maximum"
            );
            return Err(NoPattern {
                text: text.to_owned(),
                reason,
            });
        }
        let pattern = Arc::new(expression(text, is_of_label)?);
        known.insert(key, Arc::downgrade(&pattern));
        Ok(pattern)
    }
}

impl Pattern {
    /// Like [`FromStr`], but containers with the same expression share one pattern.
    pub fn shared(text: &str) -> Result<Arc<Pattern>, NoPattern> {
        named(text).map_or_else(
            || IN_USE.expression(text, false),
            |pattern| Ok(Arc::new(pattern)),
        )
    }

    /// Like [`Pattern::shared`], for a label: limits on an expression are far lower, and its
    /// classes are ASCII only.
    pub fn of_label(text: &str) -> Result<Arc<Pattern>, NoPattern> {
        named(text).map_or_else(
            || IN_USE.expression(text, true),
            |pattern| Ok(Arc::new(pattern)),
        )
    }

    /// Whether it is an expression rather than language rules.
    pub fn is_regex(&self) -> bool {
        matches!(self.kind, Kind::First(_))
    }

    /// Whether `text` is meant as an expression: neither language names nor other plain words,
    /// such as `off`.
    pub fn is_expression(text: &str) -> bool {
        named(text).is_none() && !is_of_words(text)
    }

    /// Classifies `line` after a line with state `last`; `None` if no text is open.
    pub fn judge(&self, last: Option<State>, line: &[u8]) -> Verdict {
        // Terminals end lines with CR LF; rules must match regardless.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match &self.kind {
            Kind::First(regex) => {
                let start = &line[..line.len().min(JUDGED_BYTES)];
                if last.is_some() && !regex.is_match(start) {
                    Verdict::Continues(State::Any)
                } else {
                    Verdict::Begins(State::Any)
                }
            }
            Kind::Traces(languages) => traces::judge(languages, last, line),
        }
    }
}

#[cfg(test)]
mod tests;
