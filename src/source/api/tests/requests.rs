//! A daemon that hangs on its containers: requests do not pile up, and lists are answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;

use crate::runtime::id::ContainerId;
use crate::source::api::inspections::MOST_IN_FLIGHT;
use crate::source::api::tests::scripted_api::{wait_until, Bench, ScriptedApi};

fn id(number: u16) -> ContainerId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    ContainerId::from_bytes(bytes)
}

#[test]
fn a_thousand_inspections_that_hang_do_not_pile_up_and_lists_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("docker.sock"), |call| {
        if call.target.starts_with("/containers/json") {
            call.answer("200 OK", "[]");
        } else {
            call.hold();
        }
    });
    let bench = Bench::at(&api.path);
    // Its count shows which closures have been dropped.
    let alive = Arc::new(());
    let ask_all = || {
        for number in 0..1000 {
            let alive = Arc::clone(&alive);
            bench.thread.inspect(id(number), move |_| drop(alive));
        }
    };
    for round in 0..20 {
        ask_all();
        let (sender, answer) = channel();
        bench
            .thread
            .list(move |listed| sender.send(listed).unwrap());
        let listed = answer.recv_timeout(crate::source::api::tests::scripted_api::DEADLINE);
        assert_eq!(listed, Ok(Ok(Vec::new())), "round {round}");
    }
    // The last list was answered after everything had been requested twenty times.
    assert_eq!(
        Arc::strong_count(&alive),
        1001,
        "one request for each container"
    );
    wait_until("all that may be in flight", || {
        api.open.load(Ordering::SeqCst) == MOST_IN_FLIGHT
    });
    assert_eq!(api.accepted.load(Ordering::SeqCst), MOST_IN_FLIGHT + 20);
}

#[test]
fn a_list_that_hangs_is_asked_for_once_and_containers_are_inspected() {
    let dir = tempfile::tempdir().unwrap();
    let api = ScriptedApi::listen(&dir.path().join("docker.sock"), |call| {
        if call.target.starts_with("/containers/json") {
            call.hold();
        } else {
            call.answer("200 OK", "{\"Name\":\"/web\"}");
        }
    });
    let bench = Bench::at(&api.path);
    let dropped = Arc::new(());
    for number in 0..20 {
        let dropped = Arc::clone(&dropped);
        bench.thread.list(move |_| drop(dropped));
        let (sender, answer) = channel();
        bench.thread.inspect(id(number), move |inspected| {
            sender.send(inspected.unwrap().name).unwrap()
        });
        assert_eq!(
            answer.recv_timeout(crate::source::api::tests::scripted_api::DEADLINE),
            Ok("web".to_owned())
        );
    }
    assert_eq!(api.calls("/containers/json"), 1);
    assert_eq!(Arc::strong_count(&dropped), 2);
}

/// Followers request what the reader has requested, too.
#[test]
fn one_inspection_of_a_container_is_in_flight_whoever_asks() {
    let dir = tempfile::tempdir().unwrap();
    let at_once = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (at_once_of_api, most_of_api) = (Arc::clone(&at_once), Arc::clone(&most));
    let api = ScriptedApi::listen(&dir.path().join("docker.sock"), move |call| {
        if call.target.ends_with("/json") {
            let now = at_once_of_api.fetch_add(1, Ordering::SeqCst) + 1;
            most_of_api.fetch_max(now, Ordering::SeqCst);
            // How long the daemon takes: another inspection would overlap with this one.
            std::thread::sleep(std::time::Duration::from_millis(20));
            at_once_of_api.fetch_sub(1, Ordering::SeqCst);
            call.answer("200 OK", "{\"Name\":\"/web\"}");
        } else if call.target.contains("/logs?") {
            // No content type: an old daemon, and the follower inspects.
            call.begin("");
            call.end();
        } else {
            call.hold();
        }
    });
    let bench = Bench::at(&api.path);
    let path = format!("/containers/{}/json", id(1));
    bench.thread.follow(id(1));
    while api.calls(&path) < 5 {
        bench.thread.inspect(id(1), |_| {});
        std::thread::yield_now();
    }
    bench.wait_for("an end of the stream", |told| {
        matches!(
            told,
            crate::source::api::tests::scripted_api::Told::Ended(..)
        )
        .then_some(())
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn an_answer_without_end_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let sent_by_api = Arc::clone(&sent);
    let api = ScriptedApi::listen(&dir.path().join("docker.sock"), move |call| {
        call.begin("Content-Type: application/json\r\n");
        let blanks = vec![b' '; 64 * 1024];
        // Until the other side closes.
        while call.chunk(&blanks) {
            sent_by_api.fetch_add(blanks.len(), Ordering::SeqCst);
        }
    });
    let bench = Bench::at(&api.path);
    let (sender, answer) = channel();
    bench
        .thread
        .inspect(id(1), move |inspected| sender.send(inspected).unwrap());
    let inspected = answer.recv_timeout(crate::source::api::tests::scripted_api::DEADLINE);
    let reason = inspected.unwrap().unwrap_err();
    assert!(reason.starts_with("invalid answer"), "{reason}");
    assert!(sent.load(Ordering::SeqCst) < 16 << 20);
}
