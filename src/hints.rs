//! What a container's labels ask of us, `fluentbit.io/…`. The label that
//! excludes it is in `select`. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{parse_bool, parse_multiline, parse_size};
use crate::multiline::Pattern;
use crate::tag::sanitized;

/// Whether lines that are JSON objects become fields.
const MERGE_LABEL: &str = "fluentbit.io/merge_log";
/// A parser of the host that takes its lines apart.
const PARSER_LABEL: &str = "fluentbit.io/parser";
/// The tag of its records.
const TAG_LABEL: &str = "fluentbit.io/tag";
/// Which lines are one record.
const MULTILINE_LABEL: &str = "fluentbit.io/multiline";
/// Bytes of its log that may be read each second.
const RATE_LABEL: &str = "fluentbit.io/rate_limit";

/// What a container's labels say; where they say nothing, the options do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// Instead of `Merge_Log`.
    pub merge_log: Option<bool>,
    /// Instead of `Tag_Template`.
    pub tag: Option<String>,
    /// A parser of the host.
    pub parser: Option<String>,
    /// Instead of `Multiline`; `Some(None)` where no lines are to be joined.
    pub multiline: Option<Option<Arc<Pattern>>>,
    /// Instead of `Rate_Limit`.
    pub rate_limit: Option<u64>,
}

impl Hints {
    /// Reads the labels; with them, what is wrong with any, in words.
    pub fn read(labels: &BTreeMap<String, String>) -> (Hints, Vec<String>) {
        let mut problems = Vec::new();
        let mut wrong = |label: &str, problem: String| problems.push(format!("label {label}: {problem}"));
        let mut hints = Hints::default();
        let text =
            |label: &str| labels.get(label).map(|value| value.trim()).filter(|value| !value.is_empty());
        if let Some(value) = text(MERGE_LABEL) {
            match parse_bool(value) {
                Ok(value) => hints.merge_log = Some(value),
                Err(problem) => wrong(MERGE_LABEL, problem),
            }
        }
        if let Some(value) = text(MULTILINE_LABEL) {
            match parse_multiline(value) {
                Ok(value) => hints.multiline = Some(value),
                Err(problem) => wrong(MULTILINE_LABEL, problem.to_string()),
            }
        }
        if let Some(value) = text(RATE_LABEL) {
            match parse_size(value) {
                Ok(value) => hints.rate_limit = Some(value as u64),
                Err(problem) => wrong(RATE_LABEL, problem),
            }
        }
        hints.parser = text(PARSER_LABEL).map(str::to_owned);
        hints.tag = text(TAG_LABEL).map(sanitized);
        (hints, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &[(&str, &str)]) -> (Hints, Vec<String>) {
        Hints::read(&labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn labels_are_read_as_options_are() {
        let labels = [
            (MERGE_LABEL, "On"),
            (TAG_LABEL, " parse.nginx*x "),
            (RATE_LABEL, "64k"),
            (PARSER_LABEL, " nginx "),
            ("other", "x"),
        ];
        let want = Hints {
            merge_log: Some(true),
            tag: Some("parse.nginx_x".to_owned()),
            parser: Some("nginx".to_owned()),
            multiline: None,
            rate_limit: Some(64_000),
        };
        assert_eq!(read(&labels), (want, vec![]));
        assert_eq!(read(&[(TAG_LABEL, ""), (RATE_LABEL, " ")]), (Hints::default(), vec![]));
    }

    #[test]
    fn lines_are_joined_or_left_alone_by_a_label() {
        let pattern = |text: &str| read(&[(MULTILINE_LABEL, text)]).0.multiline;
        assert_eq!(pattern("java"), Some(Some(Pattern::shared("java").expect("a name"))));
        assert_eq!(pattern("Off"), Some(None));
        let (hints, problems) = read(&[(MULTILINE_LABEL, "^(")]);
        assert_eq!(hints.multiline, None);
        assert!(problems[0].contains(MULTILINE_LABEL) && problems[0].contains("`^(`"), "{problems:?}");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_left_to_the_options() {
        let (hints, problems) = read(&[(MERGE_LABEL, "maybe"), (RATE_LABEL, "fast"), (TAG_LABEL, "t")]);
        assert_eq!(hints, Hints { tag: Some("t".to_owned()), ..Hints::default() });
        assert!(problems[0].contains(MERGE_LABEL) && problems[0].contains("maybe"), "{problems:?}");
        assert!(problems[1].contains(RATE_LABEL) && problems[1].contains("fast"), "{problems:?}");
    }
}
