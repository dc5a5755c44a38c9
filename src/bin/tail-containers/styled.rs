//! A line of text with styles for parts of it. Pure.

use std::ops::Range;

use regex::Regex;

use crate::terminal::harmless;

/// The style of what a regular expression matches: reverse.
const MATCH: &str = "7";

/// A text and the terminal's styles of its parts.
#[derive(Debug, Default)]
pub struct Styled {
    text: String,
    /// In their order, without overlap.
    styles: Vec<(Range<usize>, &'static str)>,
}

impl Styled {
    /// A text without styles.
    pub fn plain(text: &str) -> Styled {
        Styled {
            text: text.to_owned(),
            styles: Vec::new(),
        }
    }

    /// Appends a text; nothing in it can control a terminal afterwards.
    pub fn push(&mut self, text: &str, style: Option<&'static str>) {
        let start = self.text.len();
        self.text.push_str(&harmless(text));
        self.styles
            .extend(style.map(|style| (start..self.text.len(), style)));
    }

    /// Appends a space unless it is empty.
    pub fn separate(&mut self) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    /// The text, with all styles or without, and with everything highlighted that one of the
    /// expressions matches.
    pub fn render_highlighted(mut self, is_colored: bool, expressions: &[Regex]) -> String {
        if !is_colored || expressions.is_empty() {
            return self.render(is_colored);
        }
        let matches = expressions.iter().flat_map(|it| it.find_iter(&self.text));
        let mut matches: Vec<Range<usize>> = matches
            .map(|found| found.range())
            .filter(|range| !range.is_empty())
            .collect();
        matches.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in matches {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        // A match takes the place of other styles.
        let others = std::mem::take(&mut self.styles);
        for (range, style) in others {
            let mut start = range.start;
            for found in merged
                .iter()
                .filter(|it| it.start < range.end && it.end > range.start)
            {
                if start < found.start {
                    self.styles.push((start..found.start, style));
                }
                start = start.max(found.end);
            }
            if start < range.end {
                self.styles.push((start..range.end, style));
            }
        }
        self.styles
            .extend(merged.into_iter().map(|range| (range, MATCH)));
        self.styles.sort_by_key(|(range, _)| range.start);
        self.render(true)
    }

    /// The text, with its styles or without.
    pub fn render(self, is_colored: bool) -> String {
        if !is_colored || self.styles.is_empty() {
            return self.text;
        }
        let mut shown = String::with_capacity(self.text.len() + 16 * self.styles.len());
        let mut end = 0;
        for (range, style) in &self.styles {
            let text = self.text.get(range.clone()).unwrap_or_default();
            shown.push_str(self.text.get(end..range.start).unwrap_or_default());
            shown.push_str(&format!("\x1b[{style}m{text}\x1b[0m"));
            end = range.end;
        }
        shown.push_str(self.text.get(end..).unwrap_or_default());
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_wins_over_the_style_that_it_overlaps() {
        let line = || {
            let mut line = Styled::default();
            line.push("ERROR", Some("31"));
            line.push(" lost", None);
            line
        };
        let expressions = |texts: &[&str]| -> Vec<Regex> {
            texts.iter().map(|text| Regex::new(text).unwrap()).collect()
        };
        let shown = |texts: &[&str]| line().render_highlighted(true, &expressions(texts));
        assert_eq!(
            shown(&["ROR l"]),
            "\u{1b}[31mER\u{1b}[0m\u{1b}[7mROR l\u{1b}[0most"
        );
        assert_eq!(
            shown(&["st$", "os"]),
            "\u{1b}[31mERROR\u{1b}[0m l\u{1b}[7most\u{1b}[0m"
        );
        assert_eq!(shown(&["x*"]), "\u{1b}[31mERROR\u{1b}[0m lost");
        let plain = line().render_highlighted(false, &expressions(&["lost"]));
        assert_eq!(plain, "ERROR lost");
    }
}
