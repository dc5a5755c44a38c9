//! A daemon that is away, slow or replaced, and many idle containers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::follow_tests::{logs_path, otherwise};
use super::scripted_api::{id, wait_until, Bench, ScriptedApi, Told, MULTIPLEXED};
use super::stdcopy_tests::{frame, stamped};
use super::{ContainerAction, DockerSocket, DockerThread, StreamEnd, StreamSink};
use crate::checkpoint::ContainerId;
use crate::position::{Stream, Timestamp};

fn daemon(bench: &Bench) -> Result<(), String> {
    bench.wait_for("news of the daemon", |told| match told {
        Told::Daemon(reachable) => Some(reachable),
        _ => None,
    })
}

fn serving(text: &'static str) -> impl Fn(&mut super::scripted_api::Call) + Send + Sync + 'static {
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
    assert!(daemon(&bench).unwrap_err().contains(&path.display().to_string()));
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
            // Cut off when the new one is there.
            wait_until("replaced", || std::fs::exists(call_flag(&call.stream)).unwrap_or(false));
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

/// The file that says that the socket of this connection was replaced.
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
    // The events came: it is not the daemon that is away.
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
            // Cut at once, twice.
            call.begin("");
        } else if call.target.starts_with("/containers/json?") {
            call.answer("200 OK", &format!(r#"[{{"Id":"{}","State":"running"}}]"#, id(1)));
        } else {
            otherwise(call);
        }
    });
    let bench = Bench::at(&api.path);
    bench.thread.follow(id(1));
    assert_eq!(bench.end_of(id(1)), StreamEnd::Finished);
    assert_eq!(bench.texts(id(1), 1), ["again"]);
    wait_until("the events are subscribed to again", || api.calls("/events") == 3);
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

/// Kilobytes of memory this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
}

/// Counts entries and keeps nothing.
struct Counting(Arc<AtomicUsize>);

impl StreamSink for Counting {
    fn has_space(&mut self) -> bool {
        true
    }
    fn entry(&mut self, _: &ContainerId, _: Stream, _: Timestamp, _: &[u8], _: bool) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn flush(&mut self, _: &ContainerId) {}
    fn ended(&mut self, _: &ContainerId, _: StreamEnd) {}
    fn lost(&mut self, _: &ContainerId) {}
    fn event(&mut self, _: &ContainerId, _: ContainerAction) {}
    fn daemon(&mut self, _: Result<(), String>) {}
    fn since(&mut self, _: &ContainerId) -> Option<Timestamp> {
        None
    }
}

/// To be run alone: `cargo test --release --lib idle_containers -- --ignored --nocapture`.
#[test]
#[ignore = "measures the memory of the whole process"]
fn idle_containers_cost_little() {
    const COUNT: u16 = 500;
    const LINES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    // The server keeps a descriptor of each and no thread.
    let kept = Mutex::new(Vec::new());
    let api = ScriptedApi::listen(&dir.path().join("s"), move |call| {
        if !call.target.contains("/logs?") {
            return otherwise(call);
        }
        call.begin(MULTIPLEXED);
        for _ in 0..LINES {
            call.chunk(&frame(1, &stamped(1, &format!("{}\n", "x".repeat(900)))));
        }
        kept.lock().unwrap().push(call.stream.try_clone().unwrap());
    });
    let entries = Arc::new(AtomicUsize::new(0));
    let sink = Counting(Arc::clone(&entries));
    let thread = DockerThread::start(DockerSocket::Unix(api.path.clone()), Box::new(sink)).unwrap();
    let before = resident();
    for number in 0..COUNT {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        thread.follow(ContainerId::from_bytes(bytes));
    }
    let all = usize::from(COUNT) * LINES;
    wait_until("all entries", || {
        entries.load(Ordering::SeqCst) == all && api.accepted.load(Ordering::SeqCst) > 500
    });
    wait_until("the server is idle", || api.open.load(Ordering::SeqCst) == 1);
    let each = (resident() - before) / usize::from(COUNT);
    println!("{COUNT} containers, idle after {LINES} lines: {each} KiB each, the server's part included");
    assert!(each < 64);
}
