//! A real dockerd writes, the library in this process reads; compared line by
//! line and per stream with what the containers' programs printed.

use test_kit::collector::Collector;
use test_kit::dockerd::{shared, Dockerd};
use test_kit::skip;
use test_kit::writer::{
    interleaved, numbered, numbered_slowly, of_lengths, unterminated, Stream, EDGE_LENGTHS,
};

/// The daemon of all these tests; where there is none, `test` is skipped by name.
fn daemon(test: &str) -> Option<&'static Dockerd> {
    shared().map_err(|reason| skip(test, &reason)).ok()
}

#[test]
fn every_rotation_option_arrives_line_by_line() {
    let Some(docker) = daemon("docker::every_rotation_option_arrives_line_by_line") else {
        return;
    };
    let options: [&[&str]; 6] = [
        &[],
        &["--log-opt", "max-size=20k"],
        &["--log-opt", "max-size=20k", "--log-opt", "max-file=2"],
        &["--log-opt", "max-size=20k", "--log-opt", "max-file=5"],
        &[
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=3",
            "--log-opt",
            "compress=true",
        ],
        &["--log-opt", "mode=non-blocking", "--log-opt", "max-size=1m"],
    ];
    let collector = Collector::start(docker.root(), &[]);
    let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.002");
    let mut ids = Vec::new();
    for (number, options) in options.iter().enumerate() {
        let id = docker
            .run_detached(&format!("rotation-{number}"), options, &script.sh)
            .expect("docker run");
        ids.push(id);
    }
    for (id, options) in ids.iter().zip(&options) {
        collector.assert_arrives(id, &script, &options.join(" "));
    }
}

#[test]
fn lines_of_every_length_and_both_streams_arrive() {
    let Some(docker) = daemon("docker::lines_of_every_length_and_both_streams_arrive") else {
        return;
    };
    let collector = Collector::start(docker.root(), &[]);
    let lengths = of_lengths(Stream::Stdout, &EDGE_LENGTHS)
        .then(of_lengths(Stream::Stderr, &EDGE_LENGTHS))
        .then(interleaved(500));
    let plain = docker
        .run_detached("lengths", &[], &lengths.sh)
        .expect("docker run");
    let rotated = ["--log-opt", "max-size=1m", "--log-opt", "max-file=3"];
    let rotated = docker
        .run_detached("lengths-rotated", &rotated, &lengths.sh)
        .expect("docker run");
    let cut = numbered(Stream::Stdout, "line", 10).then(unterminated(Stream::Stdout, 1234));
    let unterminated = docker
        .run_detached("unterminated", &[], &cut.sh)
        .expect("docker run");
    collector.assert_arrives(&plain, &lengths, "plain");
    collector.assert_arrives(&rotated, &lengths, "rotated");
    collector.assert_arrives(&unterminated, &cut, "unterminated");
}

#[test]
fn a_terminal_container_arrives_with_its_carriage_returns() {
    let Some(docker) = daemon("docker::a_terminal_container_arrives_with_its_carriage_returns")
    else {
        return;
    };
    let collector = Collector::start(docker.root(), &[]);
    let id = docker
        .run_detached("terminal", &["--tty"], "echo one; echo two >&2")
        .expect("docker run");
    collector.wait("two lines", |collector| {
        collector.texts_of(&id, "stdout").len() == 2
    });
    assert_eq!(collector.texts_of(&id, "stdout"), ["one\r", "two\r"]);
}

#[test]
fn containers_removed_at_once_are_not_missed() {
    let Some(docker) = daemon("docker::containers_removed_at_once_are_not_missed") else {
        return;
    };
    let collector = Collector::start(docker.root(), &[]);
    for number in 0..12 {
        let line = format!("short-lived {number}");
        docker
            .docker(&[
                "run",
                "--rm",
                "--network",
                "none",
                "busybox:test",
                "echo",
                &line,
            ])
            .expect("docker run --rm");
    }
    let ours = |collector: &Collector| {
        let texts = collector.texts();
        texts
            .into_iter()
            .filter(|text| text.starts_with("short-lived"))
            .collect::<Vec<_>>()
    };
    collector.wait("every short-lived container", |collector| {
        ours(collector).len() >= 12
    });
    let expected: Vec<String> = (0..12)
        .map(|number| format!("short-lived {number}"))
        .collect();
    assert_eq!(ours(&collector), expected);
    let named = collector
        .records()
        .iter()
        .all(|record| !record.text("container_name").is_empty());
    assert!(named, "metadata outlives the container");
}

#[test]
fn restarts_continue_the_log_and_a_rename_shows() {
    let Some(docker) = daemon("docker::restarts_continue_the_log_and_a_rename_shows") else {
        return;
    };
    let collector = Collector::start(docker.root(), &[]);
    let id = docker
        .run_detached("first-name", &[], "echo before; sleep 1000")
        .expect("docker run");
    collector.wait("the first run", |collector| {
        collector.texts_of(&id, "stdout").len() == 1
    });
    docker
        .docker(&["rename", "first-name", "second-name"])
        .expect("docker rename");
    docker
        .docker(&["restart", "--time", "0", "second-name"])
        .expect("docker restart");
    collector.wait("the second run", |collector| {
        collector.texts_of(&id, "stdout").len() == 2
    });
    docker
        .docker(&["rm", "--force", "second-name"])
        .expect("docker rm");
    let records = collector.records();
    let ours: Vec<_> = records
        .iter()
        .filter(|record| record.text("container_id") == id)
        .collect();
    let names: Vec<&str> = ours
        .iter()
        .map(|record| record.text("container_name"))
        .collect();
    assert_eq!(names, ["first-name", "second-name"]);
    assert!(ours
        .iter()
        .all(|record| record.text("image") == "busybox:test"));
}

#[test]
fn a_restart_of_ours_under_load_loses_and_repeats_nothing() {
    let Some(docker) = daemon("docker::a_restart_of_ours_under_load_loses_and_repeats_nothing")
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("positions.db");
    let options = [("DB", db.to_str().expect("a path"))];
    let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.002");
    let rotation = ["--log-opt", "max-size=30k", "--log-opt", "max-file=10"];
    let id = docker
        .run_detached("under-load", &rotation, &script.sh)
        .expect("docker run");
    let mut texts = Vec::new();
    while texts.len() < 1500 {
        let collector = Collector::start(docker.root(), &options);
        let before = texts.len();
        let target = (before + 200).min(1500);
        collector.wait("more lines", |collector| {
            before + collector.texts_of(&id, "stdout").len() >= target
        });
        let (records, _) = collector.stop();
        let ours = records
            .iter()
            .filter(|record| record.text("container_id") == id);
        texts.extend(ours.map(|record| record.text("log").to_owned()));
    }
    assert_eq!(texts, script.of(Stream::Stdout));
}

#[test]
fn a_killed_and_restarted_daemon_is_no_concern_of_ours() {
    let test = "docker::a_killed_and_restarted_daemon_is_no_concern_of_ours";
    // A daemon of its own: the others need theirs.
    let docker = match Dockerd::start_with(&["--live-restore"]) {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let collector = Collector::start(docker.root(), &[]);
    let script = numbered_slowly(Stream::Stdout, "line", 600, "0.01");
    let id = docker
        .run_detached("live", &[], &script.sh)
        .expect("docker run");
    collector.wait("the first lines", |collector| {
        collector.texts_of(&id, "stdout").len() > 50
    });
    docker.restart_daemon().expect("the daemon restarts");
    collector.assert_arrives(&id, &script, "live");
}
