//! Metrics in Prometheus' text format: the series of one exporter, whatever else the text
//! has. Pure; a line that does not fit is left out.

use std::borrow::Cow;
use std::collections::HashMap;

/// One series and its value.
#[derive(Debug, PartialEq)]
pub struct Series<'t> {
    /// Its name without the prefix.
    pub name: &'t str,
    /// Its labels.
    pub labels: HashMap<&'t str, Cow<'t, str>>,
    /// Its value.
    pub value: f64,
}

impl Series<'_> {
    /// The value of a label; empty if it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", |value| value)
    }
}

/// The series in `text` whose names begin with `prefix`.
pub fn series<'t>(text: &'t str, prefix: &'t str) -> impl Iterator<Item = Series<'t>> {
    text.lines()
        .filter_map(move |line| parse(line.strip_prefix(prefix)?))
}

fn parse(line: &str) -> Option<Series<'_>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = HashMap::new();
    if let Some(begun) = rest.strip_prefix('{') {
        rest = begun.trim_start();
        while !rest.starts_with('}') {
            let (key, quoted) = rest.split_once('=')?;
            let (value, more) = unquote(quoted.trim_start().strip_prefix('"')?)?;
            labels.insert(key.trim(), value);
            rest = more.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = rest.strip_prefix('}')?;
    }
    // A time may follow.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series {
        name,
        labels,
        value,
    })
}

/// The text up to the closing quote, and what follows that.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_values_are_those_of_the_exporter() {
        let text = "# HELP our_a Text {x=\"1\"} 5\n\
                    # TYPE our_a counter\n\
                    our_a{name=\"logs\",container_name=\"w\\\"e\\\\b\\n,}\"} 12.5 1764230000000\n\
                    others_a 7\n\
                    our_b 3\n\
                    our_c{} NaN\n";
        let all: Vec<Series<'_>> = series(text, "our_").collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].name, all[0].value), ("a", 12.5));
        assert_eq!(all[0].label("name"), "logs");
        assert_eq!(all[0].label("container_name"), "w\"e\\b\n,}");
        assert_eq!(all[0].label("absent"), "");
        assert_eq!((all[1].name, all[1].value), ("b", 3.0));
        assert!(all[2].labels.is_empty() && all[2].value.is_nan());
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        for line in [
            "our_",
            "our_a",
            "our_a{",
            "our_a{b",
            "our_a{b=",
            "our_a{b=\"",
            "our_a{b=\"\\",
            "our_a{b=\"c\"",
            "our_a{b=\"c\"}",
            "our_a{b=\"c\"} x",
            "our_a x",
            "our_a{,} 1",
        ] {
            assert_eq!(series(line, "our_").count(), 0, "{line}");
        }
    }
}
