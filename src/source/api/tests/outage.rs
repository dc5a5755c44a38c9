//! A daemon that is away, slow or replaced.

use crate::source::api::stdcopy::tests::{frame, stamped};
use crate::source::api::tests::follow::{logs_path, otherwise};
use crate::source::api::tests::scripted_api::{
    id, wait_until, Bench, ScriptedApi, Told, MULTIPLEXED,
};
use crate::source::api::StreamEnd;

fn daemon(bench: &Bench) -> Result<(), String> {
    bench.wait_for("news of the daemon", |told| match told {
        Told::Daemon(reachable) => Some(reachable),
        _ => None,
    })
}

fn serving(
    text: &'static str,
) -> impl Fn(&mut crate::source::api::tests::scripted_api::Call) + Send + Sync + 'static {
    move |call| {
        if !call.is_logs_of(id(1)) {
            return otherwise(call);
        }
        call.begin(MULTIPLEXED);
        call.chunk(&frame(1, &stamped(1, text)));
        call.hold();
    }
}

#[test]
fn a_socket_that_appears_later_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let bench = Bench::at(&path);
    bench.thread.follow(id(1));
    assert!(daemon(&bench)
        .unwrap_err()
        .contains(&path.display().to_string()));
    assert!(matches!(bench.end_of(id(1)), StreamEnd::Failed(_)));
    assert!(matches!(bench.end_of(id(1)), StreamEnd::Failed(_)));
    let _api = ScriptedApi::listen(&path, serving("here\n"));
    assert_eq!(daemon(&bench), Ok(()));
    assert_eq!(bench.texts(id(1), 1), ["here"]);
}

#[test]
fn a_replaced_socket_file_is_connected_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let old = ScriptedApi::listen(&path, |call| {
        if call.is_logs_of(id(1)) && call.number == 0 {
            call.begin(MULTIPLEXED);
            call.chunk(&frame(1, &stamped(1, "old\n")));
            // Closed once the new one listens.
            wait_until("replaced", || {
                std::fs::exists(call_flag(&call.stream)).unwrap_or(false)
            });
        }
    });
    let bench = Bench::at(&path);
    bench.thread.follow(id(1));
    assert_eq!(bench.texts(id(1), 1), ["old"]);
    let new_path = dir.path().join("new");
    let new = ScriptedApi::listen(&new_path, serving("new\n"));
    std::fs::rename(&new_path, &path).unwrap();
    std::fs::write(dir.path().join("s.replaced"), "").unwrap();
    assert_eq!(bench.texts(id(1), 1), ["new"]);
    assert_eq!((old.calls(&logs_path(1)), new.calls(&logs_path(1))), (1, 1));
}

/// The file that marks the socket of this connection as replaced.
fn call_flag(stream: &std::os::unix::net::UnixStream) -> std::path::PathBuf {
    let address = stream.local_addr().unwrap();
    let mut path = address.as_pathname().unwrap().as_os_str().to_owned();
    path.push(".replaced");
    path.into()
}

#[test]
fn slow_headers_fail_within_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if call.is_logs_of(id(1)) && call.number == 0 {
            call.send(b"HTTP/1.1 200 OK\r\n");
            call.hold();
        } else {
            serving("late\n")(call);
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    // The events were answered, so the daemon is not unreachable.
    assert_eq!(daemon(&bench), Ok(()));
    match bench.end_of(id(1)) {
        StreamEnd::Failed(reason) => assert!(reason.contains("no answer within 10s"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.texts(id(1), 1), ["late"]);
}

#[test]
fn a_start_that_no_event_told_is_found_in_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if call.is_logs_of(id(1)) {
            call.begin(MULTIPLEXED);
            if call.number > 0 {
                call.chunk(&frame(1, &stamped(1, "again\n")));
                call.hold();
            }
            call.end();
        } else if call.target.starts_with("/events?") && call.number < 2 {
            // Closed at once, twice.
            call.begin("");
        } else if call.target.starts_with("/containers/json?") {
            call.answer(
                "200 OK",
                &format!(r#"[{{"Id":"{}","State":"running"}}]"#, id(1)),
            );
        } else {
            otherwise(call);
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    assert_eq!(bench.end_of(id(1)), StreamEnd::Finished);
    assert_eq!(bench.texts(id(1), 1), ["again"]);
    wait_until("the events are subscribed to again", || {
        api.calls("/events") == 3
    });
    assert!(api.calls("/containers/json") >= 1);
}

#[test]
fn a_removal_that_no_event_told_is_found_in_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("s"), |call| {
        if call.is_logs_of(id(1)) && call.number == 0 {
            call.begin(MULTIPLEXED);
            call.end();
        } else if call.is_logs_of(id(1)) {
            call.answer("404 Not Found", r#"{"message":"No such container"}"#);
        } else if call.target.starts_with("/events?") {
            call.answer("403 Forbidden", "");
        } else {
            otherwise(call);
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    assert_eq!(bench.end_of(id(1)), StreamEnd::Finished);
    assert_eq!(bench.end_of(id(1)), StreamEnd::Gone);
}
