//! Recognizes the stack traces of languages by rules.

use once_cell::sync::Lazy;
use regex::bytes::{Regex, RegexBuilder};

use crate::pipeline::multiline::pattern::Verdict;

/// Bytes at the start of a line that the rules are matched against. They are small and ours, so
/// more is affordable than with an expression.
pub(super) const JUDGED_BYTES: usize = 16 * 1024;

/// The kind of the last line of the open text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Any line, with an expression.
    Any,
    /// Java: an exception whose frames follow.
    JavaHead,
    /// Java: a frame, or a line that follows one.
    Java,
    /// JavaScript: the fields of an error, in braces after its frames.
    JavaFields,
    /// Go: the panic message.
    GoPanic,
    /// Go: the head of a goroutine, or the source location of a frame.
    GoRoutine,
    /// Go: the function of a frame.
    GoFunction,
    /// Go: the empty line after a goroutine.
    GoGap,
    /// Python: the head of a trace, or a frame.
    Python,
    /// Python: an exception group, all of which is indented.
    PythonGroup,
    /// Python: the exception at the end of its trace.
    PythonError,
    /// Python: an empty line after a trace, or the line that explains why another trace
    /// follows.
    PythonGap,
}

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Java,
    Go,
    Python,
}

pub(super) const LANGUAGES: [(&str, Language); 3] = [
    ("java", Language::Java),
    ("go", Language::Go),
    ("python", Language::Python),
];

/// A transition: after a line whose state is in `from`, a line that matches `text` gets state
/// `to`. With an empty `from`, it begins a new text, if no rule continues the open one.
struct Rule<Text> {
    language: Language,
    from: &'static [State],
    text: Text,
    to: State,
}

const fn begins(language: Language, text: &'static str, to: State) -> Rule<&'static str> {
    Rule {
        language,
        from: &[],
        text,
        to,
    }
}

const fn follows(
    language: Language,
    from: &'static [State],
    text: &'static str,
    to: State,
) -> Rule<&'static str> {
    Rule {
        language,
        from,
        text,
        to,
    }
}

/// The head of an exception group, also if it is the second of two traces.
const PYTHON_GROUP: &str = r"^\s+\+ Exception Group Traceback ";
const GO_HEAD: &str = r"^goroutine \d+ .*\[.*\]:|^runtime stack:$";

/// The rules, in order of precedence. Traces of other JVM languages, of .NET and of JavaScript
/// have the same frames as Java's.
const RULES: &[Rule<&str>] = {
    use Language::{Go, Java, Python};
    use State::{
        GoFunction, GoGap, GoPanic, GoRoutine, JavaFields, JavaHead, PythonError, PythonGap,
        PythonGroup,
    };
    const IN_JAVA: &[State] = &[JavaHead, State::Java];
    &[
        // JavaScript prints an error's remaining fields after its last frame.
        follows(Java, IN_JAVA, r"^\s+at \S.* \{$", JavaFields),
        follows(Java, &[JavaFields], r"^\s+\S", JavaFields),
        follows(Java, &[JavaFields], r"^\}$", State::Java),
        follows(Java, IN_JAVA, r"^\s+at \S", State::Java),
        follows(
            Java,
            IN_JAVA,
            r"^\s*(?:Caused by|Suppressed|Wrapped by): |^\s+\[cause\]: ",
            JavaHead,
        ),
        follows(
            Java,
            IN_JAVA,
            r"^\s+\.\.\. \d+ (?:more|common frames omitted|lines matching)",
            State::Java,
        ),
        follows(
            Java,
            IN_JAVA,
            r"^\s*; nested exception is|^\s*nested exception is:?",
            JavaHead,
        ),
        // .NET: an inner exception, and where it or an awaited one ends.
        follows(Java, IN_JAVA, r"^\s*---> ", JavaHead),
        follows(Java, IN_JAVA, r"^\s*--- End of ", State::Java),
        // A message may end in an empty line.
        follows(Java, &[JavaHead], r"^\s*$", JavaHead),
        begins(
            Java,
            r"(?:Exception|Error|Throwable)(?: \[\w+\])?(?::\s|:?\s*$)",
            JavaHead,
        ),
        // Go (runtime/panic.go, runtime/traceback.go). Continuation lines of a message are
        // indented by a tab.
        follows(Go, &[GoPanic], r"^\s*$|^\[signal |^\s", GoPanic),
        follows(Go, &[GoPanic, GoGap], GO_HEAD, GoRoutine),
        follows(Go, &[GoRoutine], r"^created by \S", GoFunction),
        follows(Go, &[GoRoutine], r"^\S+\(.*\)$", GoFunction),
        follows(
            Go,
            &[GoRoutine],
            r"^\.\.\.\s?.*frames elided\.\.\.$|^\tgoroutine running on other thread",
            GoRoutine,
        ),
        follows(Go, &[GoRoutine], r"^\s*$", GoGap),
        follows(Go, &[GoFunction], r"^\t.+:\d+", GoRoutine),
        // The registers after a signal, and what `go run` adds.
        follows(Go, &[GoGap], r"^[a-z][a-z0-9]{1,5}\s+0x[0-9a-f]+$", GoGap),
        follows(Go, &[GoRoutine, GoGap], r"^exit status \d+$", GoGap),
        begins(
            Go,
            r"^panic: |\bhttp: panic serving |^fatal error: ",
            GoPanic,
        ),
        // Python (Lib/traceback.py).
        follows(Python, &[State::Python], r"^\s", State::Python),
        follows(
            Python,
            &[State::Python],
            r"^[A-Za-z_][\w.<>]*(?::\s.*|:)?$",
            PythonError,
        ),
        follows(Python, &[PythonGap], PYTHON_GROUP, PythonGroup),
        follows(Python, &[PythonGroup], r"^\s+\S", PythonGroup),
        follows(
            Python,
            &[PythonError, PythonGroup, PythonGap],
            r"^\s*$",
            PythonGap,
        ),
        follows(
            Python,
            &[PythonGap],
            r"^During handling of the above exception, another |^The above exception was the direct cause ",
            PythonGap,
        ),
        follows(
            Python,
            &[PythonGap],
            r"^Traceback \(most recent call last\):\s*$",
            State::Python,
        ),
        begins(Python, PYTHON_GROUP, PythonGroup),
        begins(
            Python,
            r"Traceback \(most recent call last\):\s*$",
            State::Python,
        ),
    ]
};

/// The rules of one language, compiled on first use.
fn rules_of(language: Language) -> &'static [Rule<Regex>] {
    static JAVA: Lazy<Vec<Rule<Regex>>> = Lazy::new(|| compiled(Language::Java));
    static GO: Lazy<Vec<Rule<Regex>>> = Lazy::new(|| compiled(Language::Go));
    static PYTHON: Lazy<Vec<Rule<Regex>>> = Lazy::new(|| compiled(Language::Python));
    match language {
        Language::Java => &JAVA,
        Language::Go => &GO,
        Language::Python => &PYTHON,
    }
}

/// A rule that does not compile is left out; a test compiles all of them.
fn compiled(language: Language) -> Vec<Rule<Regex>> {
    let ours = RULES.iter().filter(|rule| rule.language == language);
    let with_regex = |rule: &Rule<&str>| {
        let text = RegexBuilder::new(rule.text).unicode(false).build().ok()?;
        Some(Rule {
            language,
            from: rule.from,
            text,
            to: rule.to,
        })
    };
    ours.filter_map(with_regex).collect()
}

/// Classifies `line` after a line with state `last` by the rules of `languages`.
pub(super) fn judge(languages: &[Language], last: Option<State>, line: &[u8]) -> Verdict {
    let line = &line[..line.len().min(JUDGED_BYTES)];
    let rules = || languages.iter().flat_map(|language| rules_of(*language));
    let follows =
        |last: State| rules().find(|rule| rule.from.contains(&last) && rule.text.is_match(line));
    if let Some(rule) = last.and_then(follows) {
        return Verdict::Continues(rule.to);
    }
    let begins = rules().find(|rule| rule.from.is_empty() && rule.text.is_match(line));
    begins.map_or(Verdict::Alone, |rule| Verdict::Begins(rule.to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        for (name, language) in LANGUAGES {
            let count = RULES
                .iter()
                .filter(|rule| rule.language == language)
                .count();
            assert_eq!(rules_of(language).len(), count, "{name}");
        }
    }
}
