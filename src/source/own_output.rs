//! Ends a loop: Fluent Bit prints each record (`-o stdout`) into the log of a container that is
//! read, so each line of it becomes another one. `Exclude_Self` prevents that where it can be known
//! which container is Fluent Bit's. This is the last net, and does not ask whose container it is:
//!
//! ```text
//!           three looks in a row       for 3 s there has been
//!           find its id in its log     no line with its id
//! Watching ----------------------> Held ----------------------> Paused
//!     ^                             | (after 12 s)                | a minute, then two,
//!     |                             v                             v up to an hour
//!     '---------------------------- Cleared, for an hour       Resumed --> Held, at the first
//!                                   |  ^                          |        line with its id
//!     ^                             |  '---- the same -----       |
//!     '-----------------------------'--------------------------------------- after a minute
//! ```
//!
//! A record has the full id of its container, so in a loop the lines of the container have its own.
//! The proof is that they cease once nothing of it is read and what was read before has been
//! printed: all that is written then are records of other containers. A container that writes its
//! id by itself goes on writing it, or writes lines without any id; both clear it. Its lines wait at
//! least 12 s then, at most once an hour. Nothing is lost: unread lines stay in the log.
//!
//! No line costs anything: of a container of which 64 KiB or more were read since the last look, and
//! whose log has grown by as much meanwhile, what was written since is looked at. Reading a backlog
//! writes nothing, so a backlog never counts. A slower loop is not ended, nor one through the API,
//! or of records without an id (`Metadata off`).

use std::fs::File;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::delivery::link::Link;
use crate::runtime::file::{read_up_to, stat_file, FileId};
use crate::source::describe::Description;
use crate::source::file::tailer::Tailer;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// Bytes read, and bytes written, between two looks.
const LOOK_BYTES: u64 = 64 * 1024;
/// Most bytes at the end of the log that are looked at.
const END_BYTES: u64 = 1 << 20;
/// How many looks in a row must find the id.
const LOOKS: u32 = 3;
/// How long after a look that found it the next one is due, and the longest time after others,
/// which doubles: a loop grows by a factor each time that Fluent Bit flushes.
const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(8);
/// After this time no record that was read before is on its way any more: Fluent Bit flushes once
/// a second, or every few seconds.
const SETTLE: Duration = Duration::from_secs(12);
/// How long after that no line with the id may come.
const SILENCE: Duration = Duration::from_secs(3);
/// So much without the id of any container is not what Fluent Bit prints of records.
const PLAIN_BYTES: u64 = 16 * 1024;
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How often it is checked whether reading may go on.
const HELD_INTERVAL: Duration = Duration::from_millis(500);
/// How long a container that writes its id by itself is not looked at again.
const CLEARED: Duration = Duration::from_secs(3600);

/// What is known of whether a container's log has what Fluent Bit prints.
#[derive(Debug, Default)]
pub struct OwnOutput {
    search: Search,
    trouble: Trouble,
}

impl OwnOutput {
    /// Until when nothing is to be read, if so; it may end earlier.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.search.is_held().then_some(now + HELD_INTERVAL)
    }

    /// Why it is not read, if it is a loop.
    pub fn unread(&self) -> Option<Unread> {
        self.search.is_paused().then_some(Unread::OwnOutput)
    }

    /// Looks at the log of a container and reports what was found.
    pub fn look(&mut self, about: &Description, tailer: &Tailer, link: &Link, now: Instant) {
        let account = about.account();
        let (Some(file), Some(id)) = (tailer.written_files().last(), account.known_id()) else {
            return;
        };
        let read = account.figures().read.bytes;
        let found = self.search.look(file, id.to_string().as_bytes(), read, now);
        let (name, short_id) = account.names();
        match found {
            Found::Nothing if self.trouble.is_to_be_reported() => {}
            Found::Nothing => return,
            Found::Over => {
                let event = Event::LoopEnded { name, short_id };
                return self.trouble.end(|| link.report(event));
            }
            Found::Loop => {}
        }
        let event = Event::Loop { name, short_id };
        self.trouble.begin(Unread::OwnOutput, || link.report(event));
    }
}

/// The search for the container's id in its log.
#[derive(Debug, Default)]
struct Search {
    state: State,
    /// Bytes that were read at the last look.
    read: u64,
    /// Number of pauses since the loop was found.
    pauses: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Watching {
        found: u32,
        next: Option<Instant>,
        interval: Duration,
        seen: Option<End>,
    },
    Held {
        since: Instant,
        seen: Option<End>,
    },
    Paused {
        until: Instant,
        seen: End,
    },
    Resumed {
        since: Instant,
        seen: End,
    },
    Cleared {
        until: Instant,
    },
}

impl Default for State {
    fn default() -> State {
        State::Watching {
            found: 0,
            next: None,
            interval: SOON,
            seen: None,
        }
    }
}

/// What a look found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing new.
    Nothing,
    /// It is a loop; nothing is read for a while.
    Loop,
    /// What was a loop is over.
    Over,
}

/// The end of a log at a time.
#[derive(Debug, Clone, Copy)]
struct End {
    file: FileId,
    size: u64,
    /// Bytes before it, since it was held, that have the id of no container.
    plain: u64,
}

/// What was written between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// The id of the container, or much without any id.
    ByItself,
    /// Nothing, or records of other containers.
    OrNot,
}

impl End {
    fn of(file: &File) -> Option<End> {
        let (file, size) = stat_file(file).ok()?;
        Some(End {
            file,
            size,
            plain: 0,
        })
    }

    /// Where what was written after `before` begins: in another file, or one that was truncated, at
    /// its start.
    fn after(&self, before: &End) -> u64 {
        match before.file == self.file && before.size <= self.size {
            true => before.size,
            false => 0,
        }
    }

    /// What was written to `file`, which ends here, after `before`, or the end of that.
    fn since(&self, before: &End, file: &File) -> Vec<u8> {
        let from = self.after(before);
        let from = from.max(self.size.saturating_sub(END_BYTES));
        let length = usize::try_from(self.size.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        let filled = read_up_to(file, &mut bytes, from).unwrap_or(0);
        bytes.truncate(filled);
        bytes
    }

    /// What kind of lines that is.
    fn written(&mut self, before: &End, file: &File, mark: &[u8]) -> Written {
        let bytes = self.since(before, file);
        self.plain = match has_any_id(&bytes) {
            true => 0,
            false => before.plain + bytes.len() as u64,
        };
        let is_by_itself = has(&bytes, mark) || self.plain > PLAIN_BYTES;
        match is_by_itself {
            true => Written::ByItself,
            false => Written::OrNot,
        }
    }
}

fn has(bytes: &[u8], mark: &[u8]) -> bool {
    memmem::find(bytes, mark).is_some()
}

fn has_any_id(bytes: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    bytes
        .split(|byte| !is_digit(byte))
        .any(|run| run.len() == 64)
}

impl Search {
    /// Whether nothing is to be read now.
    fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. } | State::Paused { .. })
    }

    /// Whether nothing is read because it is a loop.
    fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused { .. })
    }

    /// Looks at a log, of which `read` bytes were read so far; `mark` is the container's id. `file`
    /// is the newest one.
    fn look(&mut self, file: &File, mark: &[u8], read: u64, now: Instant) -> Found {
        if let State::Watching { next, .. } = self.state {
            let is_due = next.is_none_or(|next| now >= next);
            if !is_due || read.saturating_sub(self.read) < LOOK_BYTES {
                return Found::Nothing;
            }
        }
        let Some(mut end) = End::of(file) else {
            return Found::Nothing;
        };
        match self.state {
            State::Watching {
                found,
                interval,
                seen: Some(seen),
                ..
            } if end.size.saturating_sub(end.after(&seen)) < LOOK_BYTES => {
                self.state = State::Watching {
                    found,
                    next: Some(now + interval),
                    interval,
                    seen: Some(seen),
                };
            }
            State::Watching {
                found,
                interval,
                seen,
                ..
            } => {
                self.read = read;
                let has_id = seen.is_some_and(|seen| has(&end.since(&seen, file), mark));
                self.state = match has_id {
                    true if found + 1 == LOOKS => State::Held {
                        since: now,
                        seen: None,
                    },
                    true => State::Watching {
                        found: found + 1,
                        next: Some(now + SOON),
                        interval: SOON,
                        seen: Some(end),
                    },
                    false => State::Watching {
                        found: 0,
                        next: Some(now + interval),
                        interval: LATER.min(interval * 2),
                        seen: Some(end),
                    },
                };
            }
            State::Held { since, .. } if now < since + SETTLE => {}
            State::Held { since, seen } => {
                let written = seen.map(|seen| end.written(&seen, file, mark));
                if written == Some(Written::ByItself) {
                    return self.clear(now);
                }
                if written.is_some() && now >= since + SETTLE + SILENCE {
                    let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(6));
                    self.pauses += 1;
                    self.state = State::Paused {
                        until: now + pause.min(LONGEST_PAUSE),
                        seen: end,
                    };
                    return Found::Loop;
                }
                self.state = State::Held {
                    since,
                    seen: Some(end),
                };
            }
            State::Paused { until, seen } => {
                if end.written(&seen, file, mark) == Written::ByItself {
                    return self.clear(now);
                }
                self.state = match now >= until {
                    true => State::Resumed {
                        since: now,
                        seen: end,
                    },
                    false => State::Paused { until, seen: end },
                };
            }
            State::Resumed { since, seen } => {
                if has(&end.since(&seen, file), mark) {
                    self.state = State::Held {
                        since: now,
                        seen: None,
                    };
                } else if now >= since + FIRST_PAUSE {
                    (self.state, self.read, self.pauses) = (State::default(), read, 0);
                    return Found::Over;
                } else {
                    self.state = State::Resumed { since, seen: end };
                }
            }
            State::Cleared { until } if now >= until => {
                (self.state, self.read) = (State::default(), read);
            }
            State::Cleared { .. } => {}
        }
        Found::Nothing
    }

    fn clear(&mut self, now: Instant) -> Found {
        self.state = State::Cleared {
            until: now + CLEARED,
        };
        match std::mem::take(&mut self.pauses) {
            0 => Found::Nothing,
            _ => Found::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A container's log, a second at a time.
    struct Log {
        file: File,
        read: u64,
        now: Instant,
        own: Search,
        found: Vec<Found>,
        held: u32,
    }

    const ID: &str = "3f1c0a5b9d2e4f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd";

    impl Log {
        fn new() -> Log {
            Log {
                file: tempfile::tempfile().unwrap(),
                read: 0,
                now: Instant::now(),
                own: Search::default(),
                found: Vec::new(),
                held: 0,
            }
        }

        /// For so many seconds lines are written, of which these are the last; whether the log is
        /// read may make a difference.
        fn passes(&mut self, seconds: u64, lines: impl Fn(bool) -> (u64, String)) {
            for _ in 0..seconds {
                let is_held = self.own.is_held();
                self.held += u32::from(is_held);
                let (bytes, last) = lines(!is_held);
                let size = stat_file(&self.file).unwrap().1 + bytes;
                // The others are a hole.
                self.file.set_len(size).unwrap();
                let at = size.saturating_sub(last.len() as u64);
                self.file.write_all_at(last.as_bytes(), at).unwrap();
                if !is_held {
                    self.read = size;
                }
                self.now += Duration::from_secs(1);
                let found = self
                    .own
                    .look(&self.file, ID.as_bytes(), self.read, self.now);
                if found != Found::Nothing {
                    self.found.push(found);
                }
            }
        }
    }

    fn many(last: &str) -> (u64, String) {
        (100_000, format!("{last}\n").repeat(20))
    }

    #[test]
    fn a_loop_is_paused_for_longer_and_longer_until_it_is_over() {
        let mut log = Log::new();
        let other = "ab".repeat(32);
        let looping = |is_read: bool| match is_read {
            true => many(ID),
            false => (2_000, format!("{other}\n")),
        };
        log.passes(4 * 3600, looping);
        // After 1, 2, 4, … and at most 60 minutes it is tried again.
        assert_eq!(log.found, [Found::Loop; 9]);
        assert!(log.own.is_paused() && log.held > 4 * 3600 - 60);
        log.passes(2 * 3600, |_| (2_000, format!("{other}\n")));
        assert_eq!(log.found.last(), Some(&Found::Over));
        assert!(!log.own.is_held());
    }

    #[test]
    fn a_container_that_writes_its_id_by_itself_is_no_loop_and_waits_once_an_hour() {
        let mut log = Log::new();
        log.passes(2 * 3600, |_| many(ID));
        assert_eq!(log.found, []);
        assert!(log.held <= 2 * 15, "{} s", log.held);
        // It does so for a moment, and then writes other lines.
        let mut log = Log::new();
        log.passes(4, |_| many(ID));
        log.passes(3600, |_| many("a line"));
        assert_eq!(log.found, []);
        assert!(log.held <= 15, "{} s", log.held);
    }

    /// Such a log may be an old one that is read for the first time, of a container that is stopped.
    #[test]
    fn a_backlog_with_the_id_in_it_is_no_loop_while_nothing_is_written() {
        let mut log = Log::new();
        let lines = format!("{ID}\n").repeat(160_000);
        log.file.write_all_at(lines.as_bytes(), 0).unwrap();
        for second in 1..=100 {
            let read = second * 100_000;
            let found = log.own.look(
                &log.file,
                ID.as_bytes(),
                read,
                log.now + Duration::from_secs(second),
            );
            assert_eq!((found, log.own.is_held()), (Found::Nothing, false));
        }
    }

    #[test]
    fn one_that_falls_silent_is_read_as_soon_as_it_writes_its_id_again() {
        let mut log = Log::new();
        log.passes(4, |_| many(ID));
        log.passes(40, |_| (0, String::new()));
        assert_eq!(log.found, [Found::Loop]);
        log.passes(1, |_| many(ID));
        assert_eq!(log.found.last(), Some(&Found::Over));
        assert!(!log.own.is_held());
    }

    #[test]
    fn others_are_never_held_up() {
        let mut log = Log::new();
        let other = "ab".repeat(32);
        log.passes(600, |_| many(&other));
        // An id that is not in each look, or many of them in a log that is slow.
        log.passes(2, |_| many(ID));
        log.passes(600, |_| many("a line"));
        log.passes(10, |_| (1_000, format!("{ID} {ID}\n")));
        assert_eq!((log.found.len(), log.held), (0, 0));
    }
}
