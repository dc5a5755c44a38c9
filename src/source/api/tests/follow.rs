//! A follower against a scripted API: what comes, how it ends, backpressure.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::format::position::{Stream, Timestamp};
use crate::source::api::stdcopy::tests::{frame, stamped};
use crate::source::api::tests::scripted_api::{
    id, wait_until, Bench, Call, ScriptedApi, Told, MULTIPLEXED, RAW,
};
use crate::source::api::{ContainerAction, StreamEnd};

/// 2026-11-23T18:34:00Z, as `stamped` writes it.
const SECONDS: i64 = 1_795_458_840;

/// Answers requests other than for logs: no events, an empty list, a container without
/// metadata.
pub fn otherwise(call: &mut Call) {
    if call.target.starts_with("/events?") {
        call.begin("");
        call.hold();
    } else if call.target.contains("/containers/json") {
        call.answer("200 OK", "[]");
    } else if call.target.ends_with("/json") {
        call.answer("200 OK", "{}");
    } else {
        call.hold();
    }
}

pub fn logs_path(number: u8) -> String {
    format!("/containers/{}/logs", id(number))
}

#[test]
fn nothing_is_connected_to_while_nothing_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), otherwise);
    let bench = Bench::at(&api.path);
    bench.thread.wake();
    bench.thread.unfollow(id(1));
    // An answered request proves that the thread has handled everything before it.
    let (answered, answer) = channel();
    bench
        .thread
        .list(move |listed| answered.send(listed).unwrap());
    assert_eq!(answer.recv().unwrap(), Ok(vec![]));
    assert_eq!(api.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(api.calls("/events"), 0);
    wait_until("the request's connection is closed", || {
        api.open.load(Ordering::SeqCst) == 0
    });
    bench.thread.follow(id(1));
    wait_until("logs and events", || api.open.load(Ordering::SeqCst) >= 2);
    bench.thread.unfollow(id(1));
    wait_until("all is closed", || api.open.load(Ordering::SeqCst) == 0);
}

#[test]
fn frames_torn_at_every_byte_come_out_whole() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        call.begin(MULTIPLEXED);
        let body = [frame(1, &stamped(1, "out\n")), frame(2, &stamped(2, "err"))].concat();
        for cut in 0..=body.len() {
            for piece in [&body[..cut], &body[cut..]] {
                if !piece.is_empty() {
                    call.chunk(piece);
                }
            }
        }
        call.hold();
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    let count = 2 * (8 + 31 + 4) - 1 + 1;
    for at in 0..count {
        let expected = |stream, nanos, text: &str, ends_line| {
            let time = Timestamp {
                seconds: SECONDS,
                nanos,
            };
            Told::Entry(id(1), stream, time, text.to_owned(), ends_line)
        };
        let expected = match at % 2 {
            0 => expected(Stream::Stdout, 1, "out", true),
            _ => expected(Stream::Stderr, 2, "err", false),
        };
        let told = bench.wait_for("an entry", |told| {
            matches!(told, Told::Entry(..)).then_some(told)
        });
        assert_eq!(told, expected, "entry {at}");
    }
    bench.wait_for("a flush before waiting", |told| {
        (told == Told::Flush(id(1))).then_some(())
    });
}

#[test]
fn a_stopped_container_is_connected_again_when_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (ended_once, started) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (wanted, may_start) = (Arc::clone(&started), Arc::clone(&ended_once));
    let api = ScriptedApi::listen(&dir.path().join("s"), move |call| {
        if call.is_logs_of(id(1)) {
            call.begin(RAW);
            call.chunk(&stamped(call.number as u32 + 1, "line\n"));
            if call.number > 0 {
                call.hold();
            }
            call.end();
        } else if call.target.starts_with("/events?") {
            call.begin("");
            wait_until("the first stream has ended", || {
                may_start.load(Ordering::SeqCst)
            });
            let actions = ["create", "die", "start", "rename", "destroy", "exec_start"];
            for (action, number) in actions.into_iter().zip([2, 2, 1, 2, 2, 2]) {
                let event = format!(
                    r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{}"}}}}"#,
                    id(number)
                );
                call.chunk(format!("{event}\nno json\n").as_bytes());
            }
            started.store(true, Ordering::SeqCst);
            call.hold();
        } else {
            otherwise(call);
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    bench.thread.follow(id(1));
    assert_eq!(bench.end_of(id(1)), StreamEnd::Finished);
    ended_once.store(true, Ordering::SeqCst);
    wait_until("the events are sent", || wanted.load(Ordering::SeqCst));
    let mut seen = Vec::new();
    let mut has_line = false;
    bench.wait_for("all events and the second stream", |told| {
        match told {
            Told::Event(_, action) => seen.push(action),
            Told::Entry(..) => has_line = true,
            _ => {}
        }
        (seen.len() == 5 && has_line).then_some(())
    });
    use ContainerAction::{Create, Destroy, Die, Rename, Start};
    assert_eq!(seen, [Create, Die, Start, Rename, Destroy]);
    assert_eq!(api.calls(&logs_path(1)), 2);
    let targets = api.targets.lock().unwrap();
    let logs: Vec<_> = targets
        .iter()
        .filter(|target| target.contains("/logs?"))
        .collect();
    assert!(
        !logs[0].contains("since") && logs[1].ends_with(&format!("&since={SECONDS}.000000001")),
        "{logs:?}"
    );
}

#[test]
fn what_cannot_be_followed_is_told_and_let_go_until_followed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        let message = r#"{"message":"configured logging driver does not support reading"}"#;
        for (number, status) in [
            (1, "404 Not Found"),
            (2, "409 Conflict"),
            (3, "501 Not Implemented"),
        ] {
            if call.is_logs_of(id(number)) {
                return call.answer(status, message);
            }
        }
        otherwise(call);
    });
    let bench = Bench::at(&api.path);
    let unsupported =
        StreamEnd::Unsupported("configured logging driver does not support reading".to_owned());
    for _ in 0..2 {
        for (number, end) in [
            (1, StreamEnd::Gone),
            (2, StreamEnd::Gone),
            (3, unsupported.clone()),
        ] {
            assert!(!end.is_retried());
            bench.thread.follow(id(number));
            assert_eq!(bench.end_of(id(number)), end);
        }
    }
    assert_eq!(
        [1, 2, 3].map(|number| api.calls(&logs_path(number))),
        [2, 2, 2]
    );
    wait_until("events are given up, too", || {
        api.open.load(Ordering::SeqCst) == 0
    });
}

#[test]
fn failures_are_told_and_tried_again_from_the_last_entry() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        let line = frame(1, &stamped(call.number as u32, "line\n"));
        match call.number {
            0 => return call.answer("500 Internal Server Error", r#"{"message":"later"}"#),
            1 => return call.answer("400 Bad Request", "plain"),
            _ => call.begin(MULTIPLEXED),
        }
        call.chunk(&line);
        match call.number {
            // Closed in the middle: no last chunk.
            2 => {}
            // An error page where a chunk should be.
            3 => drop(call.send(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")),
            4 => drop(call.chunk(&frame(3, b"Error grabbing logs: EOF"))),
            5 => drop(call.chunk(b"\x09\0\0\0\0\0\0\0")),
            6 => {
                call.chunk(&line[..10]);
                call.end();
            }
            _ => call.hold(),
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    let reasons: Vec<String> = (0..7)
        .map(|_| match bench.end_of(id(1)) {
            StreamEnd::Failed(reason) => reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons[0], "500 Internal Server Error: later");
    assert_eq!(reasons[1], "400 Bad Request: plain");
    assert_eq!(reasons[4], "Error grabbing logs: EOF");
    assert!(reasons[5].contains("not a frame header"), "{reasons:?}");
    assert!(reasons[6].contains("inside a frame"), "{reasons:?}");
    bench.texts(id(1), 1);
    let targets = api.targets.lock().unwrap();
    let last = targets
        .iter()
        .rfind(|target| target.contains("/logs?"))
        .unwrap();
    assert!(
        last.ends_with(&format!("&since={SECONDS}.000000006")),
        "{last}"
    );
}

#[test]
fn an_old_daemon_is_asked_once_whether_there_is_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if call.is_logs_of(id(1)) {
            call.begin("");
            call.chunk(&stamped(call.number as u32, "raw\r\n"));
            if call.number > 0 {
                call.hold();
            }
        } else if call.target.contains(&format!("/containers/{}/json", id(1))) {
            let config = r#"{"Name":"/n","Config":{"Tty":true,"Image":"i"},"State":{"Running":true},"HostConfig":{"LogConfig":{"Type":"json-file"}}}"#;
            call.answer("200 OK", config);
        } else {
            otherwise(call);
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    assert_eq!(bench.texts(id(1), 2), ["raw\r", "raw\r"]);
    assert_eq!(api.calls(&format!("/containers/{}/json", id(1))), 1);
    let (answered, answer) = channel();
    bench
        .thread
        .inspect(id(1), move |inspected| answered.send(inspected).unwrap());
    let inspected = answer.recv().unwrap().unwrap();
    assert_eq!(
        (inspected.name.as_str(), inspected.image.as_str()),
        ("n", "i")
    );
    assert!(inspected.tty && inspected.running);
    assert_eq!(inspected.log_driver, "json-file");
}

#[test]
fn an_endless_line_comes_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        call.begin(RAW);
        call.chunk(&stamped(1, ""));
        while call.chunk(&[b'x'; 5000]) {}
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    assert!(bench
        .texts(id(1), 100)
        .iter()
        .all(|text| text.len() == 16 * 1024));
}

#[test]
fn without_space_the_server_blocks_and_after_a_wake_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let blocked = Arc::new(AtomicBool::new(false));
    let (count, is_blocked) = (Arc::clone(&written), Arc::clone(&blocked));
    let api = ScriptedApi::listen(&dir.path().join("s"), move |call| {
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        call.begin(MULTIPLEXED);
        let line = frame(1, &stamped(1, &format!("{}\n", "x".repeat(1000))));
        call.stream
            .set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut chunk = format!("{:x}\r\n", line.len()).into_bytes();
        chunk.extend_from_slice(&line);
        chunk.extend_from_slice(b"\r\n");
        while count.load(Ordering::SeqCst) < 8_000_000 {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                match std::io::Write::write(&mut call.stream, rest) {
                    Ok(length) => {
                        count.fetch_add(length, Ordering::SeqCst);
                        rest = &rest[length..];
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        is_blocked.store(true, Ordering::SeqCst);
                    }
                    Err(_) => return,
                }
            }
        }
        call.hold();
    });
    let bench = Bench::at(&api.path);
    bench.has_space.store(false, Ordering::SeqCst);
    bench.thread.follow(id(1));
    wait_until("the server's writes block", || {
        blocked.load(Ordering::SeqCst)
    });
    assert!(written.load(Ordering::SeqCst) < 1_000_000);
    assert!(!bench
        .told
        .try_iter()
        .any(|told| matches!(told, Told::Entry(..))));
    bench.has_space.store(true, Ordering::SeqCst);
    bench.thread.wake();
    bench.texts(id(1), 4000);
}

#[test]
fn stopping_does_not_wait_for_a_server_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if call.is_logs_of(id(1)) {
            call.begin(MULTIPLEXED);
        }
        call.hold();
    });
    let bench = Bench::at(&api.path);
    bench.has_space.store(false, Ordering::SeqCst);
    let (answered, answer) = channel::<()>();
    bench.thread.list(move |_| answered.send(()).unwrap());
    for number in 1..=3 {
        bench.thread.follow(id(number));
    }
    wait_until("all hang", || api.open.load(Ordering::SeqCst) == 5);
    let begun = Instant::now();
    bench.thread.stop();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(
        answer.recv().is_err(),
        "the question is dropped with the thread"
    );
    wait_until("all is closed", || api.open.load(Ordering::SeqCst) == 0);
}
