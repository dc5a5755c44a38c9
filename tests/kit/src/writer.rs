//! Containers whose output is known beforehand: each function here gives a shell
//! script together with the lines that it prints.
//!
//! The scripts use only what busybox has, and are short however much they print
//! (an argument of a program may not exceed 128 KiB). The content of a line
//! depends on the place in it, so that lost, doubled and swapped pieces show.
//!
//! Between streams nothing can be expected: Docker copies them independently.
//! Compare the lines of one stream ([`Script::of`], [`of_stream`]).

use std::fs;
use std::path::{Path, PathBuf};

/// What a container's program writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Lines without their line feed, in the order in which they were written.
pub type Lines = Vec<(Stream, String)>;

/// A shell script and what it prints.
#[derive(Clone, Debug)]
pub struct Script {
    pub sh: String,
    pub lines: Lines,
}

impl Stream {
    /// The name in Docker's records.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

impl Script {
    /// This script, and then `next`.
    pub fn then(mut self, next: Script) -> Script {
        self.sh.push_str("; ");
        self.sh.push_str(&next.sh);
        self.lines.extend(next.lines);
        self
    }

    /// This script after a pause; `seconds` as `sleep` takes them.
    pub fn after(mut self, seconds: &str) -> Script {
        self.sh = format!("sleep {seconds}; {}", self.sh);
        self
    }

    /// The lines of one stream.
    pub fn of(&self, stream: Stream) -> Vec<&str> {
        of_stream(&self.lines, stream)
    }

    fn new(stream: Stream, sh: String, lines: impl IntoIterator<Item = String>) -> Script {
        let redirection = if stream == Stream::Stderr { " >&2" } else { "" };
        let lines = lines.into_iter().map(|line| (stream, line)).collect();
        Script {
            sh: format!("{{ {sh}; }}{redirection}"),
            lines,
        }
    }
}

/// `<label> 1` to `<label> <count>`, as fast as busybox can. `label` must not
/// mean anything to `sed`.
pub fn numbered(stream: Stream, label: &str, count: usize) -> Script {
    let sh = format!("seq 1 {count} | sed 's/^/{label} /'");
    Script::new(
        stream,
        sh,
        (1..=count).map(|number| format!("{label} {number}")),
    )
}

/// As [`numbered`], with a pause after each line: a container that goes on
/// writing while something is done to it. `pause` as `sleep` takes it.
pub fn numbered_slowly(stream: Stream, label: &str, count: usize, pause: &str) -> Script {
    let sh = format!("for n in $(seq 1 {count}); do echo \"{label} $n\"; sleep {pause}; done");
    Script::new(
        stream,
        sh,
        (1..=count).map(|number| format!("{label} {number}")),
    )
}

/// `out 1`, `err 1`, `out 2`, …: each to the stream that it names.
pub fn interleaved(count: usize) -> Script {
    let sh = format!("for n in $(seq 1 {count}); do echo \"out $n\"; echo \"err $n\" >&2; done");
    let pair = |n| {
        [
            (Stream::Stdout, format!("out {n}")),
            (Stream::Stderr, format!("err {n}")),
        ]
    };
    Script {
        sh,
        lines: (1..=count).flat_map(pair).collect(),
    }
}

/// One line for each length, in bytes without the line feed. Docker splits at
/// 16384: see [`EDGE_LENGTHS`].
pub fn of_lengths(stream: Stream, lengths: &[usize]) -> Script {
    let print = |&length: &usize| match length {
        0 => "echo".to_owned(),
        _ => format!("{}; echo", print_ruler(length)),
    };
    let sh = lengths.iter().map(print).collect::<Vec<_>>().join("; ");
    Script::new(stream, sh, lengths.iter().map(|&length| ruler(length)))
}

/// None, the shortest, the three around Docker's limit for a piece, exactly two
/// pieces, and a long one.
pub const EDGE_LENGTHS: [usize; 7] = [0, 1, 16_383, 16_384, 16_385, 32_768, 200_000];

/// A last line of `length` bytes that has no line feed. Docker's record of it has
/// none either, and is written when the container ends.
pub fn unterminated(stream: Stream, length: usize) -> Script {
    Script::new(stream, print_ruler(length), [ruler(length)])
}

/// A line of twice `length` bytes, the halves of which are more than a second apart: their
/// times differ also where they are told in whole seconds.
pub fn in_two_seconds(stream: Stream, length: usize) -> Script {
    let half = print_ruler(length);
    Script::new(
        stream,
        format!("{half}; sleep 1.1; {half}; echo"),
        [ruler(length).repeat(2)],
    )
}

/// These very texts, whatever is in them but a line feed.
pub fn literal(stream: Stream, texts: &[&str]) -> Script {
    let octal = |byte: u8| format!("\\{byte:03o}");
    let print = |text: &&str| {
        format!(
            "printf '{}\\n'",
            text.bytes().map(octal).collect::<String>()
        )
    };
    let sh = texts.iter().map(print).collect::<Vec<_>>().join("; ");
    Script::new(stream, sh, texts.iter().map(|&text| text.to_owned()))
}

/// MultilineBuffer that a careless decoder or encoder gets wrong.
pub const TRICKY_TEXTS: [&str; 10] = [
    r#"a "quoted" word and a \ backslash"#,
    "a tab\tand a bell\u{7} and an escape \u{1b}[31m",
    "<a href='x?y&z'>",
    "carriage return at the end\r",
    "grüße, 世界, \u{1f600}, \u{2028} and \u{2029}",
    "a genuine \u{fffd}",
    r#"{"log":"json in json\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}"#,
    r"\u0041 \n \x41 are text",
    "   blanks around   ",
    "delete \u{7f} and nul \0 inside",
];

/// The first `length` bytes of `1000000:1000001:1000002:…`
fn ruler(length: usize) -> String {
    let mut text: String = (0..=length / RULER_MARK)
        .map(|n| format!("{}:", RULER_START + n))
        .collect();
    text.truncate(length);
    text
}

fn print_ruler(length: usize) -> String {
    let last = RULER_START + length / RULER_MARK + 1;
    format!("seq -s : {RULER_START} {last} | head -c {length}")
}

const RULER_START: usize = 1_000_000;
/// Seven digits and a colon.
const RULER_MARK: usize = 8;

/// The lines of one stream among `lines`.
pub fn of_stream(lines: &Lines, stream: Stream) -> Vec<&str> {
    lines
        .iter()
        .filter(|(of, _)| *of == stream)
        .map(|(_, line)| line.as_str())
        .collect()
}

/// Asserts that the lines that arrived are those that were written.
#[track_caller]
pub fn assert_lines(label: &str, got: &[&str], written: &[&str]) {
    let first = got.iter().zip(written).position(|(got, want)| got != want);
    let lengths = first.map(|at| (got[at].len(), written[at].len()));
    assert!(
        first.is_none() && got.len() == written.len(),
        "{label}: {} lines for {}, first difference at {first:?}: {lengths:?} bytes",
        got.len(),
        written.len()
    );
}

/// The log of a json-file container with what rotation made of it, oldest first.
/// Compressed files are not among them.
pub fn log_files(current: &Path) -> Vec<PathBuf> {
    let rotated = |number: usize| PathBuf::from(format!("{}.{number}", current.display()));
    let mut files: Vec<PathBuf> = (1..100).map(rotated).filter(|file| file.exists()).collect();
    files.reverse();
    files.push(current.to_owned());
    files
}

/// What json-file logs hold, read in the simplest way: pieces joined per stream
/// until one ends in a line feed. An unfinished line comes last.
///
/// Only for files that nobody writes to any more; panics on anything unexpected.
pub fn lines_in(files: &[PathBuf]) -> Lines {
    let mut lines = Lines::new();
    let mut unfinished = [
        (Stream::Stdout, String::new()),
        (Stream::Stderr, String::new()),
    ];
    for file in files {
        let text = fs::read_to_string(file).expect("a log is readable UTF-8");
        for record in text.lines() {
            let record: serde_json::Value = serde_json::from_str(record).expect("a record is JSON");
            let (stream, line) = unfinished
                .iter_mut()
                .find(|(stream, _)| record["stream"] == stream.name())
                .expect("a record is of a known stream");
            line.push_str(record["log"].as_str().expect("a record has a text"));
            if line.ends_with('\n') {
                line.pop();
                lines.push((*stream, std::mem::take(line)));
            }
        }
    }
    lines.extend(unfinished.into_iter().filter(|(_, line)| !line.is_empty()));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::dockerd;
    use super::*;

    #[test]
    fn docker_logs_what_the_scripts_promise() {
        let docker = match dockerd::shared() {
            Ok(docker) => docker,
            Err(reason) => {
                return super::super::skip("docker_logs_what_the_scripts_promise", &reason)
            }
        };
        let everything = numbered(Stream::Stdout, "line", 5000)
            .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
            .then(of_lengths(Stream::Stderr, &EDGE_LENGTHS))
            .then(interleaved(500))
            .then(literal(Stream::Stderr, &TRICKY_TEXTS))
            .then(numbered_slowly(Stream::Stdout, "slow", 3, "0.01").after("0.01"))
            .then(unterminated(Stream::Stdout, 20_000));
        // Once in one file, once in many that part lines in the middle.
        for options in [
            &[][..],
            &["--log-opt", "max-size=30k", "--log-opt", "max-file=90"],
        ] {
            let name = format!("writer-{}", options.len());
            let id = docker
                .run_detached(&name, options, &everything.sh)
                .expect("the container starts");
            assert_eq!(docker.wait(&id), Ok(0));
            let files = log_files(&docker.log_path(&id));
            assert_eq!(files.len() > 1, !options.is_empty(), "{files:?}");
            let logged = lines_in(&files);
            for stream in [Stream::Stdout, Stream::Stderr] {
                let (logged, promised) = (of_stream(&logged, stream), everything.of(stream));
                let differs = logged
                    .iter()
                    .zip(&promised)
                    .position(|(one, other)| one != other);
                assert_eq!(differs, None, "{stream:?} differs at this line");
                assert_eq!(logged.len(), promised.len(), "{stream:?}");
            }
        }
    }

    #[test]
    fn a_ruler_is_as_long_as_asked_and_never_repeats() {
        assert_eq!(ruler(0), "");
        assert_eq!(ruler(9), "1000000:1");
        assert_eq!(ruler(16), "1000000:1000001:");
        assert_eq!(ruler(200_000).len(), 200_000);
    }
}
