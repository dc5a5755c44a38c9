//! One entry of the journal as a container's runtime wrote it: Docker's journald driver (moby
//! `daemon/logger/journald/journald.go`) or conmon (`src/ctr_logging.c`). Pure.

use crate::format::msgpack::put_string_map;
use crate::format::position::{Stream, Timestamp};
use crate::format::rfc3339::TimeParser;
use crate::format::Entry;
use crate::runtime::id::ContainerId;
use crate::source::journal::ordinals::Ordinal;
use crate::source::journal::trust::Sender;

/// Fields that the runtimes write themselves; Docker writes labels and variables, in upper case,
/// beside them.
const KNOWN: [&[u8]; 14] = [
    b"CODE_FILE",
    b"CODE_FUNC",
    b"CODE_LINE",
    b"CONTAINER_ID",
    b"CONTAINER_ID_FULL",
    b"CONTAINER_NAME",
    b"CONTAINER_PARTIAL_ID",
    b"CONTAINER_PARTIAL_LAST",
    b"CONTAINER_PARTIAL_MESSAGE",
    b"CONTAINER_PARTIAL_ORDINAL",
    b"CONTAINER_TAG",
    b"IMAGE_NAME",
    b"SYSLOG_IDENTIFIER",
    b"SYSLOG_TIMESTAMP",
];

/// Attributes of an entry that are kept, and bytes of one. The names are the operator's, of no more
/// bytes than journald takes; the values are an image's.
const MOST_ATTRS: usize = 32;
const LONGEST_NAME: usize = 64;
const LONGEST_ATTR: usize = 4096;

/// journald's value of `PRIORITY` for standard error (`LOG_ERR`).
const ERROR: &[u8] = b"3";

/// The fields of one entry. Reused for the next one.
#[derive(Debug, Default)]
pub struct Fields {
    /// The container, if it is a runtime's entry with a text.
    id: Option<ContainerId>,
    has_text: bool,
    text: Vec<u8>,
    is_error: bool,
    is_piece: bool,
    /// Docker's time, since 23.
    stamp: Option<Timestamp>,
    /// Docker's number, since 23.
    epoch: Vec<u8>,
    number: Vec<u8>,
    /// The entry is journald's: it suppressed so many.
    suppressed: Option<u64>,
    /// When the sender sent it, in microseconds since 1970.
    sent: Option<u64>,
    attrs: Vec<(Vec<u8>, Vec<u8>)>,
    encoded: Vec<u8>,
    sender: Sender,
    times: TimeParser,
}

impl Fields {
    /// Forgets all fields.
    pub fn clear(&mut self) {
        (self.id, self.has_text) = (None, false);
        (self.is_error, self.is_piece) = (false, false);
        (self.stamp, self.sent) = (None, None);
        self.suppressed = None;
        self.epoch.clear();
        self.number.clear();
        self.text.clear();
        self.attrs.clear();
        self.sender.clear();
    }

    /// Takes the next field, `NAME=value`.
    pub fn take(&mut self, field: &[u8]) {
        let Some(at) = memchr::memchr(b'=', field) else {
            return;
        };
        let (name, value) = (&field[..at], &field[at + 1..]);
        match name {
            b"MESSAGE" => {
                self.has_text = true;
                self.text.clear();
                self.text.extend_from_slice(value);
            }
            b"CONTAINER_ID_FULL" => {
                let id = std::str::from_utf8(value).ok();
                self.id = id.and_then(ContainerId::parse);
            }
            b"PRIORITY" => self.is_error = value == ERROR,
            b"CONTAINER_PARTIAL_MESSAGE" => self.is_piece = value == b"true",
            b"CONTAINER_LOG_EPOCH" => set(&mut self.epoch, value),
            b"CONTAINER_LOG_ORDINAL" => set(&mut self.number, value),
            b"N_DROPPED" => {
                let text = std::str::from_utf8(value).ok();
                self.suppressed = text.and_then(|text| text.parse().ok());
            }
            b"SYSLOG_TIMESTAMP" => self.stamp = self.times.parse(value),
            b"_SOURCE_REALTIME_TIMESTAMP" => {
                let text = std::str::from_utf8(value).ok();
                self.sent = text.and_then(|text| text.parse().ok());
            }
            [b'_', ..] => self.sender.take(name, value),
            _ if KNOWN.contains(&name) => {}
            _ if self.attrs.len() < MOST_ATTRS && name.len() <= LONGEST_NAME => {
                let value = value.get(..LONGEST_ATTR).unwrap_or(value);
                self.attrs.push((name.to_vec(), value.to_vec()));
            }
            _ => {}
        }
    }

    /// The container whose runtime wrote it; `None` if it is nothing of a container's.
    pub fn container(&self) -> Option<&ContainerId> {
        self.id.as_ref().filter(|_| self.has_text)
    }

    /// What journald itself says to have dropped by its rate limit: of which unit, and how many
    /// messages.
    pub fn suppression(&self) -> Option<Suppression<'_>> {
        let entries = self.suppressed.filter(|_| self.sender.is_journald())?;
        let text = std::str::from_utf8(&self.text).ok()?;
        let unit = text.rsplit(' ').next()?;
        Some(Suppression { unit, entries })
    }

    /// Whether it is a line, or the last piece of one.
    pub fn ends_line(&self) -> bool {
        !self.is_piece
    }

    /// Docker's number of the entry.
    pub fn ordinal(&self) -> Option<Ordinal> {
        Ordinal::new(&self.epoch, &self.number)
    }

    /// Who sent it.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The entry, received by journald at this time.
    pub fn entry(&mut self, received: Timestamp) -> Entry<'_> {
        self.encoded.clear();
        // In the order of their names, whatever the order in the journal's file.
        self.attrs.sort();
        let attrs = self.attrs.iter();
        put_string_map(
            &mut self.encoded,
            attrs.map(|(name, value)| (name.as_slice(), value.as_slice())),
        );
        let sent = self.sent.and_then(of_micros);
        Entry {
            time: self.stamp.or(sent).unwrap_or(received),
            stream: match self.is_error {
                true => Stream::Stderr,
                false => Stream::Stdout,
            },
            // Some versions of conmon leave it in.
            text: self.text.strip_suffix(b"\n").unwrap_or(&self.text),
            ends_line: !self.is_piece,
            is_utf8: false,
            attrs: &self.encoded,
        }
    }
}

/// Entries that journald dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppression<'a> {
    /// The unit whose processes sent them.
    pub unit: &'a str,
    /// How many.
    pub entries: u64,
}

impl Suppression<'_> {
    /// The container, if the unit is that of its monitor: `libpod-conmon-<id>.scope`.
    pub fn container(&self) -> Option<ContainerId> {
        let scope = self.unit.strip_prefix("libpod-conmon-")?;
        ContainerId::parse(scope.strip_suffix(".scope")?)
    }

    /// Whether the unit is that of a daemon, whose containers it does not name.
    pub fn is_of_daemon(&self) -> bool {
        self.unit.starts_with("docker") || self.unit.starts_with("balena")
    }
}

/// Longest value that is kept of a field with a number or an id.
const LONGEST_ID: usize = 64;

fn set(kept: &mut Vec<u8>, value: &[u8]) {
    value.get(..LONGEST_ID).unwrap_or(value).clone_into(kept);
}

/// The time of microseconds since 1970.
fn of_micros(micros: u64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: i64::try_from(micros / 1_000_000).ok()?,
        nanos: u32::try_from(micros % 1_000_000).ok()? * 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(given: &[&str]) -> Fields {
        let of_fuzz: Vec<&[u8]> = given.iter().map(|field| field.as_bytes()).collect();
        let separated = of_fuzz.join(&[0xff][..]);
        crate::fuzz_seeds::keep("journal", [&[0][..], &separated].concat());
        let mut fields = Fields::default();
        fields.take(b"MESSAGE=of the entry before");
        fields.take(b"PRIORITY=3");
        fields.take(b"COLOR=of the entry before");
        fields.clear();
        for field in given {
            fields.take(field.as_bytes());
        }
        fields
    }

    fn at(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn an_entry_of_docker_23_has_its_nanoseconds_and_attributes() {
        let id = "ab".repeat(32);
        let mut fields = fields(&[
            &format!("CONTAINER_ID_FULL={id}"),
            "CONTAINER_ID=abababababab",
            "CONTAINER_NAME=web",
            "CONTAINER_TAG=abababababab",
            "IMAGE_NAME=app:1",
            "SYSLOG_IDENTIFIER=abababababab",
            "CONTAINER_LOG_EPOCH=00",
            "CONTAINER_LOG_ORDINAL=7",
            "SYSLOG_TIMESTAMP=2023-11-14T22:13:20.123456789Z",
            "_SOURCE_REALTIME_TIMESTAMP=1700000009000000",
            "PRIORITY=6",
            "TIER=front",
            "COLOR=blue",
            "MESSAGE=a=b\tc",
            "NOTHING",
        ]);
        assert_eq!(
            fields.container().map(|id| id.to_string()),
            Some(id.clone())
        );
        let entry = fields.entry(at(1_700_000_010, 0));
        assert_eq!((entry.text, entry.stream), (&b"a=b\tc"[..], Stream::Stdout));
        assert_eq!(entry.time, at(1_700_000_000, 123_456_789));
        assert!(entry.ends_line);
        let mut attrs = entry.attrs;
        let attrs = rmpv::decode::read_value(&mut attrs).unwrap().to_string();
        assert_eq!(attrs, r#"{"COLOR": "blue", "TIER": "front"}"#);
    }

    #[test]
    fn pieces_streams_and_times_are_told_as_each_runtime_writes_them() {
        let mut piece = fields(&[
            "MESSAGE=half",
            "CONTAINER_PARTIAL_MESSAGE=true",
            "PRIORITY=3",
        ]);
        let entry = piece.entry(at(5, 6000));
        assert_eq!(entry.time, at(5, 6000), "when journald received it");
        assert!(!entry.ends_line && entry.stream == Stream::Stderr && entry.attrs.is_empty());
        let mut conmons = fields(&["MESSAGE=line\n", "_SOURCE_REALTIME_TIMESTAMP=4000005"]);
        let entry = conmons.entry(at(5, 0));
        assert_eq!((entry.text, entry.time), (&b"line"[..], at(4, 5000)));
        assert!(entry.ends_line);
    }

    #[test]
    fn what_has_no_container_or_no_text_is_no_entry_of_a_container() {
        let id = format!("CONTAINER_ID_FULL={}", "0f".repeat(32));
        for (given, is_one) in [
            (vec![id.as_str(), "MESSAGE="], true),
            (vec![id.as_str()], false),
            (vec!["MESSAGE=x"], false),
            (vec!["MESSAGE=x", "CONTAINER_ID_FULL=0f0f"], false),
            (vec!["MESSAGE=x", "CONTAINER_ID_FULL=\u{fffd}"], false),
        ] {
            assert_eq!(fields(&given).container().is_some(), is_one, "{given:?}");
        }
    }

    #[test]
    fn what_journald_dropped_is_told_by_journald_only() {
        let id = "0f".repeat(32);
        let dropped = |transport: &str, unit: &str, number: &str| {
            let fields = fields(&[
                &format!("_TRANSPORT={transport}"),
                &format!("N_DROPPED={number}"),
                &format!("MESSAGE=Suppressed {number} messages from {unit}"),
            ]);
            let found = fields.suppression();
            found.map(|it| (it.entries, it.container().is_some(), it.is_of_daemon()))
        };
        let scope = format!("libpod-conmon-{id}.scope");
        assert_eq!(dropped("driver", &scope, "7"), Some((7, true, false)));
        assert_eq!(
            dropped("driver", "docker.service", "7"),
            Some((7, false, true))
        );
        assert_eq!(
            dropped("driver", "cron.service", "7"),
            Some((7, false, false))
        );
        for (transport, number) in [("journal", "7"), ("driver", "-7"), ("driver", "x")] {
            assert_eq!(
                dropped(transport, &scope, number),
                None,
                "{transport} {number}"
            );
        }
    }

    #[test]
    fn no_entry_has_attributes_without_limit() {
        let mut many = Fields::default();
        for number in 0..1000 {
            many.take(format!("A{number:04}={}", "x".repeat(10_000)).as_bytes());
            many.take(format!("A{}=x", "A".repeat(10_000)).as_bytes());
        }
        let length = many.entry(at(1, 0)).attrs.len();
        assert!(length < MOST_ATTRS * (LONGEST_ATTR + 16), "{length}");
    }
}
