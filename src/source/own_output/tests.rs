use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::runtime::id::ContainerId;
use crate::runtime::Pod;
use crate::source::own_output::mark;
use crate::source::own_output::search::{Found, Search, PROBE_BYTES};

const ID: &str = "3f1c0a5b9d2e4f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd";
const UID: &str = "11111111-2222-3333-4444-555555555555";
const TICK: Duration = Duration::from_millis(200);

/// A container's log and a reader, a fifth of a second at a time.
struct Log {
    mark: &'static str,
    file: File,
    size: u64,
    read: u64,
    tick: u64,
    start: Instant,
    own: Search,
    found: Vec<Found>,
    /// How long the line that was read last had waited, and the longest time so far.
    waits: Duration,
    longest_wait: Duration,
    waits_since: Option<Instant>,
}

impl Log {
    fn new() -> Log {
        Log::with_mark(ID)
    }

    fn with_mark(mark: &'static str) -> Log {
        Log {
            mark,
            file: tempfile::tempfile().unwrap(),
            size: 0,
            read: 0,
            tick: 0,
            start: Instant::now(),
            own: Search::default(),
            found: Vec::new(),
            waits: Duration::ZERO,
            longest_wait: Duration::ZERO,
            waits_since: None,
        }
    }

    fn now(&self) -> Instant {
        self.start + TICK * u32::try_from(self.tick).unwrap()
    }

    /// Writes so many bytes that end in lines with `text`.
    fn write(&mut self, bytes: u64, text: &str) {
        if bytes == 0 {
            return;
        }
        let end = format!("{text}\n").repeat(20);
        self.size += bytes.max(end.len() as u64);
        // The others are a hole.
        self.file.set_len(self.size).unwrap();
        let at = self.size - end.len() as u64;
        self.file.write_all_at(end.as_bytes(), at).unwrap();
    }

    /// Reads what may be read, and looks.
    fn turn(&mut self) {
        self.tick += 1;
        let now = self.now();
        if self.read < self.size {
            self.waits_since.get_or_insert(now);
        }
        let mut read = self.read;
        while read < self.size && !self.own.is_held(|| read) {
            read = self.size.min(read + PROBE_BYTES);
        }
        self.read = read;
        if self.read == self.size {
            if let Some(since) = self.waits_since.take() {
                self.waits = now - since;
                self.longest_wait = self.longest_wait.max(self.waits);
            }
        }
        let found = self
            .own
            .look(&self.file, self.mark.as_bytes(), self.read, now);
        if found != Found::Nothing {
            self.found.push(found);
        }
    }

    /// A container that writes by itself.
    fn writes(&mut self, time: Duration, bytes: u64, text: &str) {
        for _ in 0..ticks(time) {
            self.write(bytes, text);
            self.turn();
        }
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap()
}

/// A Fluent Bit that prints, at each flush, what was read since the one before, and some bytes more;
/// and the records of another container.
struct Loop {
    flush: u64,
    printed: u64,
}

impl Loop {
    fn every(flush: Duration) -> Loop {
        Loop {
            flush: ticks(flush).max(1),
            printed: 0,
        }
    }

    fn runs(&mut self, log: &mut Log, time: Duration) {
        let other = match log.mark {
            ID => "ab".repeat(32),
            _ => format!("\"pod_uid\":\"{}\"", "ab".repeat(16)),
        };
        for _ in 0..ticks(time) {
            if log.tick.is_multiple_of(self.flush) {
                let bytes = log.read - self.printed;
                self.printed = log.read;
                log.write(bytes + bytes / 4, log.mark);
                log.write(2_000, &other);
            }
            log.turn();
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_loop_is_paused_for_longer_and_longer_until_it_is_over_however_often_it_is_flushed() {
    for flush in [TICK, SECOND, SECOND * 2, SECOND * 5] {
        let mut log = Log::new();
        let mut printing = Loop::every(flush);
        log.write(100_000, ID);
        while log.found.is_empty() && log.tick < ticks(MINUTE * 4) {
            printing.runs(&mut log, SECOND);
        }
        assert!(log.own.is_paused(), "{flush:?}");
        assert!(log.size < 16 << 20, "{flush:?}: {}", log.size);
        let before = log.read;
        printing.runs(&mut log, MINUTE * 4);
        // After 1 and 2 minutes it is tried again, with some bytes.
        assert_eq!(log.found, [Found::Loop; 3], "{flush:?}");
        assert!(log.read - before <= 3 * PROBE_BYTES, "{flush:?}");
        // Its feed is cut.
        log.writes(MINUTE * 5, 400, &"ab".repeat(32));
        assert_eq!(log.found.last(), Some(&Found::Over), "{flush:?}");
        assert_eq!(log.read, log.size, "{flush:?}");
    }
}

/// Only `/var/log/pods` is mounted, so the links that name the ids are not there.
#[test]
fn a_loop_in_a_pod_without_container_ids_is_found_by_the_pods_uid() {
    for flush in [TICK, SECOND, SECOND * 5] {
        let mut log = Log::with_mark(UID);
        let mut printing = Loop::every(flush);
        log.write(100_000, UID);
        while log.found.is_empty() && log.tick < ticks(MINUTE * 4) {
            printing.runs(&mut log, SECOND);
        }
        assert!(log.own.is_paused(), "{flush:?}");
        assert!(log.size < 16 << 20, "{flush:?}: {}", log.size);
    }
    // One that writes the uid by itself is none.
    let mut log = Log::with_mark(UID);
    log.writes(SECOND * 4, 100_000, UID);
    log.writes(MINUTE * 2, 100_000, "a line");
    assert_eq!(log.found, []);
    assert!(log.longest_wait <= SECOND * 3, "{:?}", log.longest_wait);
}

#[test]
fn the_mark_is_the_id_or_if_that_is_unknown_the_pods_uid() {
    let pod = |uid: &str| Pod {
        namespace: String::new(),
        name: String::new(),
        uid: uid.to_owned(),
        container_id: None,
        restart_count: 0,
        is_complete: false,
    };
    let hash = "ab".repeat(16);
    let id = ContainerId::parse(ID);
    assert_eq!(mark(id, Some(&pod(UID))).as_deref(), Some(ID));
    assert_eq!(mark(None, Some(&pod(UID))).as_deref(), Some(UID));
    assert_eq!(mark(None, Some(&pod(&hash))), Some(hash));
    // Such a text may be anywhere.
    assert_eq!(mark(None, Some(&pod("1"))), None);
    assert_eq!(mark(None, None), None);
}

#[test]
fn a_burst_with_its_own_id_is_read_within_seconds_however_often_it_comes() {
    for (size, length) in [
        (70_000, SECOND),
        (200_000, SECOND),
        (300_000, SECOND / 2),
        (300_000, SECOND * 5),
    ] {
        for pause in [3, 7, 13, 30, 100] {
            let mut log = Log::new();
            for burst in 0..8 {
                log.writes(length, size, ID);
                log.writes(SECOND * pause, 0, "");
                assert!(!log.own.is_paused(), "{size} {length:?} {pause}");
                let longest = match burst {
                    0 => SECOND * 4,
                    _ => SECOND * 17,
                };
                assert!(
                    log.longest_wait <= longest + length,
                    "{size} {length:?} {pause} {burst}: {:?}",
                    log.longest_wait
                );
            }
            assert_eq!(log.found, [], "{size} {length:?} {pause}");
            log.writes(SECOND * 15, 0, "");
            assert_eq!(log.read, log.size, "{size} {length:?} {pause}");
        }
    }
}

#[test]
fn a_container_that_writes_its_id_all_the_time_is_no_loop_and_waits_some_seconds_once_an_hour() {
    for bytes in [70_000, 300_000] {
        for every in [1, 2, 3, 5, 7, 10, 15, 20] {
            let mut log = Log::new();
            let mut waited = Duration::ZERO;
            for _ in 0..ticks(MINUTE * 10) / every {
                log.write(bytes, ID);
                for _ in 0..every {
                    log.turn();
                    waited += TICK * u32::from(log.read < log.size);
                }
            }
            assert_eq!(log.found, [], "{bytes} every {every}");
            assert!(
                log.longest_wait <= SECOND * 5,
                "{bytes} every {every}: {:?}",
                log.longest_wait
            );
            assert!(waited <= SECOND * 25, "{bytes} every {every}: {waited:?}");
        }
    }
}

#[test]
fn one_that_writes_its_id_for_a_moment_and_then_other_lines_waits_no_longer_than_a_moment() {
    let mut log = Log::new();
    log.writes(SECOND * 4, 100_000, ID);
    log.writes(MINUTE * 2, 100_000, "a line");
    assert_eq!(log.found, []);
    assert!(log.longest_wait <= SECOND * 3, "{:?}", log.longest_wait);
}

/// Such a log may be an old one that is read for the first time, of a container that is stopped.
#[test]
fn a_backlog_with_the_id_in_it_is_no_loop_while_nothing_is_written() {
    let mut log = Log::new();
    log.write(100 << 20, ID);
    for second in 1..=100 {
        let found = log.own.look(
            &log.file,
            ID.as_bytes(),
            second << 20,
            log.start + SECOND * u32::try_from(second).unwrap(),
        );
        assert_eq!((found, log.own.is_held(|| 0)), (Found::Nothing, false));
    }
}

#[test]
fn one_that_is_paused_is_read_as_soon_as_it_writes_its_id_by_itself() {
    let mut log = Log::new();
    let mut printing = Loop::every(SECOND);
    log.write(100_000, ID);
    printing.runs(&mut log, MINUTE / 2);
    assert_eq!(log.found, [Found::Loop]);
    log.writes(SECOND, 1_000, ID);
    assert_eq!(log.found, [Found::Loop, Found::Over]);
    log.turn();
    assert_eq!(log.read, log.size);
}

#[test]
fn others_are_never_held_up() {
    let mut log = Log::new();
    let other = "ab".repeat(32);
    log.writes(MINUTE * 2, 100_000, &other);
    // An id that is not in each look, or many of them in a log that is slow.
    log.writes(TICK * 2, 100_000, ID);
    log.writes(MINUTE * 2, 100_000, "a line");
    for _ in 0..20 {
        log.write(1_000, &format!("{ID} {ID}"));
        log.writes(SECOND, 0, "");
    }
    assert_eq!((log.found.len(), log.longest_wait), (0, Duration::ZERO));
}
