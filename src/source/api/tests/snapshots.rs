//! An old daemon and a log that rotates: entries are taken from snapshots, and a follow only
//! signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::source::api::follower::LAG;
use crate::source::api::stdcopy::tests::{frame, stamped};
use crate::source::api::tests::follow::{logs_path, otherwise};
use crate::source::api::tests::scripted_api::{
    id, wait_until, Bench, Call, ScriptedApi, Told, MULTIPLEXED,
};
use crate::source::api::StreamEnd;

/// The log of the container, and whether it runs.
#[derive(Default)]
struct Log {
    /// Nanoseconds and text of what the daemon still has.
    entries: Vec<(u32, String)>,
    has_stopped: bool,
}

type SharedLog = Arc<Mutex<Log>>;

fn write(log: &SharedLog, numbers: std::ops::Range<u32>) {
    log.lock()
        .unwrap()
        .entries
        .extend(numbers.map(|number| (number, format!("line {number}\n"))));
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

fn parameter<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let query = call.target.split_once('?')?.1;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Answers as dockerd 20.10 does, with the worst possible follow.
fn old_daemon(log: SharedLog) -> impl Fn(&mut Call) + Send + Sync + 'static {
    move |call| {
        if call
            .target
            .ends_with(&format!("/containers/{}/json", id(1)))
        {
            let config =
                r#"{"HostConfig":{"LogConfig":{"Type":"local"}},"State":{"Running":true}}"#;
            return call.answer("200 OK", config);
        }
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        let (before, mut entries) = {
            let log = log.lock().unwrap();
            (log.entries.len(), log.entries.clone())
        };
        if let Some(tail) = parameter(call, "tail") {
            let tail: usize = tail.parse().unwrap();
            entries.drain(..entries.len().saturating_sub(tail));
        }
        call.begin("");
        if parameter(call, "follow") == Some("0") {
            for (nanos, text) in entries {
                call.chunk(&frame(1, &stamped(nanos, &text)));
            }
            return call.end();
        }
        wait_until("an entry or the end", || {
            let log = log.lock().unwrap();
            log.entries.len() > before || log.has_stopped
        });
        if log.lock().unwrap().has_stopped {
            return call.end();
        }
        call.chunk(&frame(
            1,
            &stamped(1, "what a follow gives is not to be believed\n"),
        ));
        call.hold();
    }
}

fn start(log: &SharedLog) -> (ScriptedApi, Bench, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), old_daemon(Arc::clone(log)));
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    (api, bench, dir)
}

#[test]
fn a_follow_rings_and_entries_come_once_from_what_is_there() {
    let log = SharedLog::default();
    write(&log, 0..3);
    let (api, bench, _dir) = start(&log);
    assert_eq!(bench.texts(id(1), 3), texts(0..3));
    // More entries than the first request asks for, then a few at a time.
    write(&log, 3..1000);
    assert_eq!(bench.texts(id(1), 997), texts(3..1000));
    for number in 1000..1003 {
        write(&log, number..number + 1);
        assert_eq!(bench.texts(id(1), 1), texts(number..number + 1));
    }
    log.lock().unwrap().has_stopped = true;
    let rest = bench.wait_for("the end", |told| match told {
        Told::Entry(..) | Told::Lost(_) => Some(Err(told)),
        Told::Ended(_, end) => Some(Ok(end)),
        _ => None,
    });
    assert_eq!(rest, Ok(StreamEnd::Finished));
    assert_eq!(api.calls(&format!("/containers/{}/json", id(1))), 1);
    wait_until("the stream is let go", || {
        api.open.load(Ordering::SeqCst) == 1
    });
}

#[test]
fn what_is_written_right_before_the_end_comes() {
    let log = SharedLog::default();
    write(&log, 0..1);
    let (api, bench, _dir) = start(&log);
    assert_eq!(bench.texts(id(1), 1), texts(0..1));
    wait_until("a signal is awaited", || {
        api.targets
            .lock()
            .unwrap()
            .iter()
            .any(|target| target.ends_with("&tail=0"))
    });
    {
        let mut log = log.lock().unwrap();
        log.entries.push((1, "line 1\n".to_owned()));
        log.has_stopped = true;
    }
    assert_eq!(bench.texts(id(1), 1), texts(1..2));
    assert_eq!(bench.end_of(id(1)), StreamEnd::Finished);
}

#[test]
fn what_the_daemon_no_longer_has_is_told_and_the_rest_comes() {
    let log = SharedLog::default();
    write(&log, 0..10);
    let (_api, bench, _dir) = start(&log);
    assert_eq!(bench.texts(id(1), 10), texts(0..10));
    {
        // A rotation removes the last entry taken, and some that were not taken.
        let mut log = log.lock().unwrap();
        log.entries.clear();
        log.entries
            .extend((90..120).map(|number| (number, format!("line {number}\n"))));
    }
    let mut came = Vec::new();
    let mut has_lost = false;
    bench.wait_for("the rest", |told| {
        match told {
            Told::Entry(_, _, _, text, _) => came.push(text),
            Told::Lost(_) => {
                assert!(
                    came.is_empty(),
                    "the sink marks what is open before the rest"
                );
                has_lost = true;
            }
            _ => {}
        }
        (came.len() == 30 && has_lost).then_some(())
    });
    assert_eq!(came, texts(90..120));
}

#[test]
fn a_new_session_asks_for_so_many_that_nothing_is_left_out() {
    let log = SharedLog::default();
    write(&log, 0..200);
    let (api, bench, _dir) = start(&log);
    assert_eq!(bench.texts(id(1), 200), texts(0..200));
    log.lock().unwrap().has_stopped = true;
    assert_eq!(bench.end_of(id(1)), StreamEnd::Finished);
    write(&log, 200..400);
    bench.thread.unfollow(id(1));
    bench.thread.follow(id(1));
    // All entries have the same second, so a partial response never reaches back far enough;
    // the sink drops what it has.
    assert_eq!(bench.texts(id(1), 400), texts(0..400));
    let targets = api.targets.lock().unwrap();
    let asked: Vec<_> = targets
        .iter()
        .filter(|target| target.starts_with(&logs_path(1)))
        .collect();
    assert!(
        asked
            .iter()
            .all(|target| target.contains("follow=1") || !target.contains("since")),
        "{asked:?}"
    );
}

#[test]
fn a_follow_that_was_not_read_for_long_begins_again_where_the_log_rotates() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let may_send = Arc::clone(&is_full);
    let api = ScriptedApi::listen(&dir.path().join("s"), move |call| {
        if call
            .target
            .ends_with(&format!("/containers/{}/json", id(1)))
        {
            return call.answer("200 OK", r#"{"HostConfig":{"LogConfig":{"Type":"local"}}}"#);
        }
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        call.begin(MULTIPLEXED);
        call.chunk(&frame(1, &stamped(1, "line 1\n")));
        if call.number == 0 {
            wait_until("there is no space", || may_send.load(Ordering::SeqCst));
            call.chunk(&frame(1, &stamped(9, "after files were passed over\n")));
        } else {
            call.chunk(&frame(1, &stamped(2, "line 2\n")));
        }
        call.hold();
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    assert_eq!(bench.texts(id(1), 1), ["line 1"]);
    bench.has_space.store(false, Ordering::SeqCst);
    is_full.store(true, Ordering::SeqCst);
    // The test needs this time to pass.
    std::thread::sleep(LAG * 2);
    bench.has_space.store(true, Ordering::SeqCst);
    assert_eq!(bench.texts(id(1), 2), ["line 1", "line 2"]);
    let targets = api.targets.lock().unwrap();
    let last = targets
        .iter()
        .rfind(|target| target.contains("/logs?"))
        .unwrap();
    assert!(last.contains("&since="), "{last}");
}
