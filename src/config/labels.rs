//! Container labels `fluentbit.io/…` that configure the plugin, and which of them are honoured
//! (`Label_Hints`). The label that excludes a container is handled in `select`. Pure.
//!
//! Labels may come from an image author, who is not trusted: he may control how his own log is
//! handled, but must not affect anyone else. So each label is ignored until the operator allows
//! it, except the one that can do no harm, and the values of allowed labels are bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{values, Config};
use crate::pipeline::merge::MergeOptions;
use crate::pipeline::multiline::Pattern;
use crate::pipeline::tag::TagTemplate;
use crate::pipeline::template::RecordOptions;
use crate::runtime::select::{is_true, EXCLUDE_LABEL};

/// Whether lines that are JSON objects become fields.
const MERGE_LABEL: &str = "fluentbit.io/merge_log";
/// A host parser to apply to each line.
const PARSER_LABEL: &str = "fluentbit.io/parser";
/// The tag of the container's records.
const TAG_LABEL: &str = "fluentbit.io/tag";
/// Which lines are joined into one record.
const MULTILINE_LABEL: &str = "fluentbit.io/multiline";
/// Bytes per second at which the log may be read.
const RATE_LABEL: &str = "fluentbit.io/rate_limit";

/// Longest value, in bytes: more than any name, number or tag needs, and short enough for a
/// log message. The host logs a warning on every append if a tag is too long.
const MOST_VALUE: usize = 256;

/// What the option can allow a label to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Exclude the container. Risk: an image can hide its log.
    Exclude,
    /// Merge JSON lines into fields. Risk: a log can set keys that filters or outputs rely on.
    MergeLog,
    /// Join stack traces of named languages, or join nothing. Only groups the lines of the
    /// container's own log.
    Multiline,
    /// Join lines by a regular expression. Risk: it costs time of the reader.
    MultilineRegex,
    /// Apply a host parser. Risk: its run time is unbounded.
    Parser,
    /// Use another rate limit. Risk: a higher rate takes more of the reader's time, and a
    /// lower one keeps deleted files open, whose limit all containers share.
    RateLimit,
    /// Use another tag. Risk: records can be routed to where those of other containers are
    /// expected.
    Tag,
}

/// The names of the hints in the option.
const HINTS: [(&str, Hint); 7] = [
    ("exclude", Hint::Exclude),
    ("merge_log", Hint::MergeLog),
    ("multiline", Hint::Multiline),
    ("multiline_regex", Hint::MultilineRegex),
    ("parser", Hint::Parser),
    ("rate_limit", Hint::RateLimit),
    ("tag", Hint::Tag),
];

/// `Label_Hints`: the allowed hints, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LabelHints(u8);

impl LabelHints {
    /// No hints.
    pub const NONE: LabelHints = LabelHints(0);

    /// Parses hint names, `all` or `none`.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<LabelHints, String> {
        let mut allowed = LabelHints::NONE;
        for word in words {
            let lower = word.to_ascii_lowercase();
            match HINTS.iter().find(|(known, _)| *known == lower) {
                Some((_, hint)) => allowed = allowed.with(*hint),
                None if lower == "all" => allowed = LabelHints::all(),
                None if lower == "none" || lower == "off" => {}
                None => {
                    let known = HINTS.map(|(known, _)| known).join(", ");
                    return Err(format!("`{word}` is not one of all, none, {known}"));
                }
            }
        }
        Ok(allowed)
    }

    /// All hints: the authors of all images are trusted.
    pub fn all() -> LabelHints {
        HINTS
            .iter()
            .fold(LabelHints::NONE, |allowed, (_, hint)| allowed.with(*hint))
    }

    /// Adds one hint.
    pub fn with(self, hint: Hint) -> LabelHints {
        // Allowing regular expressions implies allowing named patterns.
        let more = if hint == Hint::MultilineRegex {
            1 << Hint::Multiline as u8
        } else {
            0
        };
        LabelHints(self.0 | 1 << hint as u8 | more)
    }

    /// Whether this hint is allowed.
    pub fn allows(self, hint: Hint) -> bool {
        self.0 & (1 << hint as u8) != 0
    }
}

/// The settings from a container's labels. A value that is `None` leaves the option in effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Overrides `Merge_Log`.
    pub merge_log: Option<bool>,
    /// Overrides `Tag_Template`.
    pub tag: Option<TagTemplate>,
    /// Name of a host parser.
    pub parser: Option<String>,
    /// Overrides `Multiline`; `Some(None)` joins no lines.
    pub multiline: Option<Option<Arc<Pattern>>>,
    /// Overrides `Rate_Limit`.
    pub rate_limit: Option<u64>,
}

/// The result of reading a container's labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// The settings from allowed labels.
    pub labels: Labels,
    /// Messages about invalid values.
    pub problems: Vec<String>,
    /// Labels that are set but not allowed, as listed in a message.
    pub ignored: Vec<&'static str>,
}

impl Labels {
    /// The record options of a container with these labels.
    pub fn record_options<'a>(&'a self, config: &'a Config) -> RecordOptions<'a> {
        RecordOptions {
            template: self.tag.as_ref().or(config.tag_template.as_ref()),
            metadata: &config.metadata,
            merge: MergeOptions {
                is_on: self.merge_log.unwrap_or(config.merge.is_on),
                ..config.merge.clone()
            },
            multiline: config.multiline.with(self.multiline.clone()),
            parser: self.parser.as_deref(),
        }
    }

    /// Reads those of `labels` that are `allowed`.
    pub fn read(labels: &BTreeMap<String, String>, allowed: LabelHints) -> Read {
        let mut read = Read::default();
        let value_of = |label: &str| {
            labels
                .get(label)
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
        };
        if value_of(EXCLUDE_LABEL).is_some_and(is_true) && !allowed.allows(Hint::Exclude) {
            read.ignored.push(EXCLUDE_LABEL);
        }
        for (label, hint) in [
            (MERGE_LABEL, Hint::MergeLog),
            (MULTILINE_LABEL, Hint::Multiline),
            (PARSER_LABEL, Hint::Parser),
            (RATE_LABEL, Hint::RateLimit),
            (TAG_LABEL, Hint::Tag),
        ] {
            let Some(value) = value_of(label) else {
                continue;
            };
            let is_regex = hint == Hint::Multiline && Pattern::is_expression(value);
            if !allowed.allows(hint) {
                read.ignored.push(label);
            } else if is_regex && !allowed.allows(Hint::MultilineRegex) {
                read.ignored
                    .push("fluentbit.io/multiline with a regular expression (multiline_regex)");
            } else if value.len() > MOST_VALUE {
                read.problems.push(format!(
                    "label {label}: its value is longer than {MOST_VALUE} bytes"
                ));
            } else if let Err(problem) = read.labels.take(hint, value) {
                read.problems.push(format!("label {label}: {problem}"));
            }
        }
        read
    }

    fn take(&mut self, hint: Hint, value: &str) -> Result<(), String> {
        match hint {
            Hint::MergeLog => self.merge_log = Some(values::boolean(value)?),
            Hint::RateLimit => self.rate_limit = Some(values::size(value)? as u64),
            Hint::Parser => self.parser = Some(value.to_owned()),
            Hint::Tag => {
                let template = TagTemplate::of_label(value);
                self.tag = Some(template.map_err(|problem| problem.to_string())?);
            }
            Hint::Multiline | Hint::MultilineRegex => {
                let is_off = value.eq_ignore_ascii_case("off");
                let pattern = (!is_off).then(|| Pattern::of_label(value)).transpose();
                self.multiline = Some(pattern.map_err(|problem| problem.to_string())?);
            }
            Hint::Exclude => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn tag(text: &str) -> Option<TagTemplate> {
        TagTemplate::of_label(text).ok()
    }

    /// The result with all hints allowed.
    fn read(pairs: &[(&str, &str)]) -> (Labels, Vec<String>) {
        let Read {
            labels,
            problems,
            ignored,
        } = Labels::read(&self::labels(pairs), LabelHints::all());
        assert!(ignored.is_empty(), "{ignored:?}");
        (labels, problems)
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
        let want = Labels {
            merge_log: Some(true),
            tag: tag("parse.nginx*x"),
            parser: Some("nginx".to_owned()),
            multiline: None,
            rate_limit: Some(64_000),
        };
        assert_eq!(read(&labels), (want, vec![]));
        assert_eq!(
            read(&[(TAG_LABEL, ""), (RATE_LABEL, " ")]),
            (Labels::default(), vec![])
        );
    }

    #[test]
    fn lines_are_joined_or_left_alone_by_a_label() {
        let pattern = |text: &str| read(&[(MULTILINE_LABEL, text)]).0.multiline;
        assert_eq!(
            pattern("java"),
            Some(Some(Pattern::shared("java").expect("a name")))
        );
        assert_eq!(pattern("Off"), Some(None));
        let (set, problems) = read(&[(MULTILINE_LABEL, "^(")]);
        assert_eq!(set.multiline, None);
        assert!(
            problems[0].contains(MULTILINE_LABEL) && problems[0].contains("`^(`"),
            "{problems:?}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_and_left_to_the_options() {
        let (set, problems) = read(&[
            (MERGE_LABEL, "maybe"),
            (RATE_LABEL, "fast"),
            (TAG_LABEL, "t"),
        ]);
        assert_eq!(
            set,
            Labels {
                tag: tag("t"),
                ..Labels::default()
            }
        );
        assert!(
            problems[0].contains(MERGE_LABEL) && problems[0].contains("maybe"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains(RATE_LABEL) && problems[1].contains("fast"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_tag_with_a_placeholder_that_does_not_exist_is_said() {
        assert_eq!(
            read(&[(TAG_LABEL, "{label:team}")]).0.tag,
            tag("{label:team}")
        );
        let (set, problems) = read(&[(TAG_LABEL, "parse.{team}")]);
        assert_eq!(set, Labels::default());
        assert!(
            problems[0].contains(TAG_LABEL) && problems[0].contains("`{team}`"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_value_that_is_too_long_is_said_in_few_words() {
        let long = "^".repeat(200_000);
        for label in [
            MERGE_LABEL,
            MULTILINE_LABEL,
            PARSER_LABEL,
            RATE_LABEL,
            TAG_LABEL,
        ] {
            let (set, problems) = read(&[(label, &long)]);
            assert_eq!(set, Labels::default());
            assert_eq!(
                problems,
                [format!("label {label}: its value is longer than 256 bytes")]
            );
        }
        assert_eq!(
            read(&[(TAG_LABEL, &"t".repeat(256))]).1,
            Vec::<String>::new()
        );
    }

    /// Tests each hint by itself; by default only the harmless one is allowed.
    #[test]
    fn only_what_the_option_names_is_obeyed() {
        let all = labels(&[
            (EXCLUDE_LABEL, "true"),
            (MERGE_LABEL, "on"),
            (MULTILINE_LABEL, "java"),
            (PARSER_LABEL, "json"),
            (RATE_LABEL, "1k"),
            (TAG_LABEL, "t"),
        ]);
        let parse = |text: &str| LabelHints::parse(text.split(',')).expect(text);
        assert_eq!(parse("All"), LabelHints::all());
        assert_eq!(
            (parse("none"), parse("off")),
            (LabelHints::NONE, LabelHints::NONE)
        );
        for (word, hint) in HINTS {
            let read = Labels::read(&all, parse(word));
            let is_of_multiline = matches!(hint, Hint::Multiline | Hint::MultilineRegex);
            assert_eq!(read.labels.merge_log.is_some(), hint == Hint::MergeLog);
            assert_eq!(read.labels.multiline.is_some(), is_of_multiline);
            assert_eq!(read.labels.parser.is_some(), hint == Hint::Parser);
            assert_eq!(read.labels.rate_limit.is_some(), hint == Hint::RateLimit);
            assert_eq!(read.labels.tag.is_some(), hint == Hint::Tag);
            assert_eq!(read.ignored.contains(&EXCLUDE_LABEL), hint != Hint::Exclude);
            assert_eq!((read.ignored.len(), read.problems.len()), (5, 0), "{word}");
        }
        assert_eq!(
            Labels::read(&all, LabelHints::NONE).labels,
            Labels::default()
        );
        let error = LabelHints::parse(["tag", "tags"]).unwrap_err();
        assert!(
            error.contains("`tags`") && error.contains("multiline_regex"),
            "{error}"
        );
    }

    #[test]
    fn an_expression_is_more_than_a_name() {
        let with = |text: &str, words: &str| {
            Labels::read(
                &labels(&[(MULTILINE_LABEL, text)]),
                LabelHints::parse(words.split(',')).unwrap(),
            )
        };
        let read = with("^[ab]", "multiline");
        assert_eq!(
            (read.labels, read.problems.len(), read.ignored.len()),
            (Labels::default(), 0, 1)
        );
        assert!(with("^[ab]", "multiline_regex").labels.multiline.is_some());
        assert!(with("go, java", "multiline").labels.multiline.is_some());
        // A typing error is neither a language nor an expression.
        assert!(with("pyton", "multiline").problems[0].contains("pyton"));
        // No message is needed if the other labels are not set.
        assert_eq!(
            Labels::read(&labels(&[(EXCLUDE_LABEL, "false")]), LabelHints::NONE).ignored,
            [""; 0]
        );
    }
}
