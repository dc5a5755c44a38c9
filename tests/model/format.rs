//! Where each runtime writes, and which bytes for an entry.

use std::path::{Path, PathBuf};

use super::plan::Format;
use test_kit::docker_root::record;

/// What an entry is of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// A piece behind which another comes, its number from 1 on.
    Piece(usize),
    /// The last piece.
    Last(usize),
    /// The unterminated end of a stream.
    Tail,
}

/// An entry to be written.
#[derive(Debug)]
pub struct Entry<'a> {
    pub stream: usize,
    /// Which line it is of.
    pub line: usize,
    pub text: &'a str,
    pub part: Part,
    /// Seconds and nanoseconds.
    pub time: (i64, u32),
}

pub const STREAMS: [&str; 2] = ["stdout", "stderr"];

impl Format {
    /// What the option `Runtime` calls it.
    pub fn runtime(self) -> &'static str {
        match self {
            Format::Json | Format::Local => "docker",
            Format::Pod => "cri",
            Format::Podman => "podman",
        }
    }

    /// The folder below the root that comes and goes with container `id`, of a pod
    /// called `name`.
    pub fn home(self, root: &Path, id: &str, name: &str) -> PathBuf {
        match self {
            Format::Json | Format::Local => root.join("containers").join(id),
            Format::Pod => root.join("pods").join(format!("shop_{name}_{}", &id[32..])),
            Format::Podman => root.join("storage/overlay-containers").join(id),
        }
    }

    /// Its first current file, in its home.
    pub fn log(self, home: &Path, id: &str) -> PathBuf {
        match self {
            Format::Json => home.join(format!("{id}-json.log")),
            Format::Local => home.join("local-logs/container.log"),
            Format::Pod => home.join("app/0.log"),
            Format::Podman => home.join("userdata/ctr.log"),
        }
    }

    /// How many of an entry's bytes stand before its text, if a tear in the text
    /// would not show: what is glued behind it looks like more of it.
    pub fn unsafe_text(self, entry: &[u8]) -> Option<usize> {
        if !self.is_tagged() {
            return None;
        }
        entry.iter().position(|byte| *byte == b'#')
    }

    pub fn encode(self, entry: &Entry<'_>) -> Vec<u8> {
        match self {
            Format::Json => {
                let end = if matches!(entry.part, Part::Whole | Part::Last(_)) {
                    "\n"
                } else {
                    ""
                };
                let text = format!("{}{end}", entry.text);
                record(STREAMS[entry.stream], &text, &rfc3339(entry.time)).into_bytes()
            }
            Format::Local => frame(entry),
            Format::Pod | Format::Podman => {
                let tag = if matches!(entry.part, Part::Whole | Part::Last(_)) {
                    "F"
                } else {
                    "P"
                };
                let time = rfc3339(entry.time);
                // conmon writes all nine digits and an offset, containerd neither.
                let time = match self {
                    Format::Podman => time.replace('Z', "+00:00"),
                    _ => {
                        format!(
                            "{}Z",
                            time.trim_end_matches('Z')
                                .trim_end_matches('0')
                                .trim_end_matches('.')
                        )
                    }
                };
                format!("{time} {} {tag} {}\n", STREAMS[entry.stream], entry.text).into_bytes()
            }
        }
    }
}

/// As dockerd prints a time.
pub fn rfc3339((seconds, nanos): (i64, u32)) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The date so many days after 1970-01-01: counted year by year, month by month.
fn date(mut days: i64) -> (i64, usize, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// A frame of the local driver (moby `daemon/logger/local/doc.go`).
fn frame(entry: &Entry<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, STREAMS[entry.stream].as_bytes());
    put_number(
        &mut message,
        2,
        entry.time.0 as u64 * 1_000_000_000 + u64::from(entry.time.1),
    );
    if !entry.text.is_empty() {
        put_bytes(&mut message, 3, entry.text.as_bytes());
    }
    let (ordinal, is_last) = match entry.part {
        Part::Whole => (0, false),
        Part::Piece(ordinal) => (ordinal, false),
        Part::Last(ordinal) => (ordinal, true),
        Part::Tail => (1, false),
    };
    if ordinal > 0 {
        put_number(&mut message, 4, 1);
        let mut metadata = Vec::new();
        if is_last {
            put_number(&mut metadata, 1, 1);
        }
        put_bytes(&mut metadata, 2, format!("{:064x}", entry.line).as_bytes());
        put_number(&mut metadata, 3, ordinal as u64);
        put_bytes(&mut message, 5, &metadata);
    }
    let length = (message.len() as u32).to_be_bytes();
    [&length[..], &message, &length].concat()
}

fn put_number(into: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(into, field << 3);
    put_varint(into, value);
}

fn put_bytes(into: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(into, field << 3 | 2);
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
