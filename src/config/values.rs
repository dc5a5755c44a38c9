//! Parses the values of options. The errors quote the value and say what is expected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::options::OptionSpec;
use crate::config::socket::{DockerSocket, NoSocket};
use crate::config::{BufferedLimit, JournalPath, Mode};
use crate::pipeline::fields::Shape;
use crate::pipeline::multiline::Pattern;
use crate::pipeline::tag::TagTemplate;
use crate::runtime::select::Rule;
use crate::runtime::{RuntimeChoice, RUNTIMES};

/// What the user wrote for one option.
#[derive(Debug)]
pub struct Given<'a> {
    option: &'a OptionSpec,
    texts: Vec<String>,
}

impl<'a> Given<'a> {
    /// The values of `option`, in order.
    pub fn new(option: &'a OptionSpec, texts: impl IntoIterator<Item = String>) -> Given<'a> {
        Given {
            option,
            texts: texts.into_iter().collect(),
        }
    }

    fn text(&self) -> Option<&str> {
        let first = self.texts.first().map(|text| text.trim());
        first
            .filter(|text| !text.is_empty())
            .or(self.option.default())
    }

    /// All texts; none if the option is not set.
    pub(super) fn texts(&self) -> Vec<&str> {
        let texts = self.texts.iter().map(|text| text.trim());
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// The parsed value, or the default.
    pub(super) fn parsed<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        parse(self.text().unwrap_or_default())
    }

    /// The parsed value; `None` if the option is not set and has no default.
    pub(super) fn optional<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.text().map(parse).transpose()
    }

    /// All values of a list, or those of its default.
    pub(super) fn list(&self) -> Vec<String> {
        let given: Vec<String> = self
            .texts
            .iter()
            .flat_map(|text| split_list(text))
            .collect();
        if given.is_empty() {
            return split_list(self.option.default().unwrap_or_default());
        }
        given
    }

    /// A list of rules that select containers.
    pub(super) fn rules(&self) -> Result<Vec<Rule>, String> {
        self.list().iter().map(|text| Rule::parse(text)).collect()
    }

    /// An absolute path.
    pub(super) fn folder(&self) -> Result<PathBuf, String> {
        self.parsed(folder)
    }

    /// An absolute path; `None` for `auto`.
    pub(super) fn folder_unless_auto(&self) -> Result<Option<PathBuf>, String> {
        self.parsed(folder_or_auto)
    }

    /// An absolute path, `auto` or `off`.
    pub(super) fn journal(&self) -> Result<JournalPath, String> {
        self.parsed(|text| match text.eq_ignore_ascii_case("off") {
            true => Ok(JournalPath::Off),
            false => Ok(folder_or_auto(text)?.map_or(JournalPath::Auto, JournalPath::Folder)),
        })
    }

    /// Absolute paths; none for `auto`.
    pub(super) fn folders(&self) -> Result<Vec<PathBuf>, String> {
        let texts = self.list();
        if let [text] = &*texts {
            return Ok(folder_or_auto(text)?.into_iter().collect());
        }
        texts.iter().map(|text| folder(text)).collect()
    }

    /// A size of at least `least` bytes.
    pub(super) fn size_from(&self, least: usize) -> Result<usize, String> {
        self.parsed(|text| size_from(text, least))
    }

    /// A size of at least `least` bytes, `auto` or `off`.
    pub(super) fn buffered_limit(&self, least: usize) -> Result<BufferedLimit, String> {
        self.parsed(|text| match &*text.to_ascii_lowercase() {
            "auto" => Ok(BufferedLimit::Auto),
            "off" => Ok(BufferedLimit::Off),
            _ => size_from(text, least).map(BufferedLimit::Bytes),
        })
    }
}

/// Finds the value with this name.
fn one_of<T: Copy>(text: &str, values: &[(&str, T)]) -> Result<T, String> {
    let found = values
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is not one of {}", names.join(", "))
    })
}

pub(super) fn runtime(text: &str) -> Result<RuntimeChoice, String> {
    let mut values = vec![("auto", RuntimeChoice::Auto)];
    values.extend(
        RUNTIMES
            .iter()
            .map(|(name, _)| (*name, RuntimeChoice::Only(name))),
    );
    one_of(text, &values)
}

pub(super) fn shape(text: &str) -> Result<Shape, String> {
    let values = [
        ("flat", Shape::Flat),
        ("nested", Shape::Nested),
        ("off", Shape::Off),
        ("otel", Shape::Otel),
    ];
    one_of(text, &values)
}

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    let values = [
        ("hybrid", Mode::Hybrid),
        ("file", Mode::File),
        ("stream", Mode::Stream),
    ];
    one_of(text, &values)
}

/// A key of a record; `is_taken` if records already have one of that name.
pub(super) fn key(text: &str, is_taken: bool) -> Result<String, String> {
    if is_taken {
        return Err(format!(
            "records already have the key `{text}`; choose another"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn tag_template(text: &str) -> Result<TagTemplate, String> {
    TagTemplate::parse(text).map_err(|error| error.to_string())
}

/// A number of containers.
pub(super) fn number(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number of containers"))
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("`{text}` is not an absolute path")),
    }
}

fn folder_or_auto(text: &str) -> Result<Option<PathBuf>, String> {
    match text.eq_ignore_ascii_case("auto") {
        true => Ok(None),
        false => folder(text).map(Some),
    }
}

/// Parses `unix:///path`, an absolute path, or `off`.
pub(super) fn socket(text: &str) -> Result<Option<PathBuf>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let DockerSocket::Unix(path) = text
        .parse()
        .map_err(|error: NoSocket| format!("{error}, or off"))?;
    Ok(Some(path))
}

/// Parses a size in bytes as Fluent Bit does: a number with an optional `k`, `M` or `G`
/// (powers of 1000, as in the host's own `flb_utils_size_to_bytes`) and an optional `B`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is not a size; use e.g. 512k, 8M or 1G");
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, unit) = match number.as_bytes().last() {
        Some(b'K') => (&number[..number.len() - 1], 1_000.0),
        Some(b'M') => (&number[..number.len() - 1], 1_000_000.0),
        Some(b'G') => (&number[..number.len() - 1], 1_000_000_000.0),
        _ => (number, 1.0),
    };
    let value = parse_number(digits).ok_or_else(wrong)? * unit;
    // Above 2^53 a float cannot represent every byte count; no machine has that much memory.
    if value > 9e15 {
        return Err(wrong());
    }
    Ok(value as usize)
}

fn size_from(text: &str, least: usize) -> Result<usize, String> {
    match size(text)? {
        bytes if bytes < least => Err(format!(
            "{bytes} bytes is too small; the minimum is {least}"
        )),
        bytes => Ok(bytes),
    }
}

/// Parses a time as Fluent Bit does: seconds, or a number with `s`, `m`, `h` or `d`; also
/// `ms`, which Fluent Bit lacks. Between 10 ms and one day.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time between 10ms and 1d; use e.g. 500ms, 2s or 1m");
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = if let Some(digits) = lower.strip_suffix("ms") {
        (digits, 0.001)
    } else {
        match lower.as_bytes().last() {
            Some(b's') => (&lower[..lower.len() - 1], 1.0),
            Some(b'm') => (&lower[..lower.len() - 1], 60.0),
            Some(b'h') => (&lower[..lower.len() - 1], 3_600.0),
            Some(b'd') => (&lower[..lower.len() - 1], 86_400.0),
            _ => (lower.as_str(), 1.0),
        }
    };
    let seconds = parse_number(digits).ok_or_else(wrong)? * unit;
    if !(0.01..=86_400.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses digits with an optional decimal point, and nothing else that `f64` accepts (`inf`,
/// `1e9`, a sign).
fn parse_number(text: &str) -> Option<f64> {
    let is_number = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        text.parse().ok()
    } else {
        None
    }
}

/// The languages whose names are given, or else one expression.
pub(super) fn multiline(texts: &[&str]) -> Result<Option<Arc<Pattern>>, String> {
    let is_alone = |text: &&&str| text.eq_ignore_ascii_case("off") || Pattern::is_expression(text);
    if let Some(other) = texts.iter().find(is_alone).filter(|_| texts.len() > 1) {
        return Err(format!(
            "`{other}` must be the only value: only names of languages can be combined"
        ));
    }
    let text = texts.join(",");
    if text.is_empty() || text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    Pattern::shared(&text)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Splits a list at its commas, except those inside a glob's `{a,b}` or `[,]` and those after
/// a backslash, which stays: it means the same in a glob.
fn split_list(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut depth = 0;
    let mut is_escaped = false;
    for character in text.chars() {
        let is_literal = std::mem::replace(&mut is_escaped, false);
        match character {
            _ if is_literal => {}
            '\\' => is_escaped = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth <= 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(value) = values.last_mut() {
            value.push(character);
        }
    }
    values
        .iter()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

/// Parses a boolean as Fluent Bit does.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err(format!("`{text}` is neither on nor off")),
    }
}
