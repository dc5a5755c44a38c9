//! Lines that belong together are one record from every source of a real daemon.

use fluent_bit_container_logs::delivery::host::embedded::Record;
use test_kit::collector::Collector;
use test_kit::dockerd::shared;
use test_kit::skip;
use test_kit::writer::{literal, Stream};

/// Nothing is flushed by time within a test.
const NEVER: (&str, &str) = ("Multiline_Flush", "1h");

const TRACE: [&str; 3] = [
    "java.lang.IllegalStateException: no shelf",
    "\tat shop.Shelf.find(Shelf.java:17)",
    "\t... 3 more",
];

fn trace() -> String {
    TRACE.join("\n")
}

/// From the file to the API and back, in the midst of a trace each time.
#[test]
fn a_change_of_source_in_the_midst_of_a_trace_leaves_it_whole() {
    let test = "multiline::a_change_of_source_in_the_midst_of_a_trace_leaves_it_whole";
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let socket = format!("unix://{}", docker.socket().display());
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("positions.db").display().to_string();
    let id = docker
        .run_detached("multiline-turns", &[], "sleep 1000")
        .expect("docker run");
    // What the container's first process would print.
    let print = |line: &str| {
        let script = format!("printf '{line}\\n' >/proc/1/fd/1; echo noise >/proc/1/fd/2");
        docker
            .docker(&["exec", &id, "sh", "-c", &script])
            .expect("docker exec");
    };
    let (mut stdout, mut noise) = (Vec::new(), 0);
    for (turn, line) in ["a.Error: 1", "\tat a", "\tat b", "\tat c", "done"]
        .into_iter()
        .enumerate()
    {
        let mode = if turn % 2 == 0 { "file" } else { "stream" };
        let options = [
            ("Mode", mode),
            ("Docker_Socket", &*socket),
            ("Multiline", "java"),
            NEVER,
            ("DB", &*db),
        ];
        let collector = Collector::start(docker.root(), &options);
        print(line);
        collector.wait(&format!("the noise of turn {turn}"), |collector| {
            noise + collector.texts_of(&id, "stderr").len() > turn
        });
        noise += collector.texts_of(&id, "stderr").len();
        if line == "done" {
            collector.wait("the end", |collector| {
                collector.texts_of(&id, "stdout").len() == 2
            });
        }
        let ours = |record: &&Record| {
            record.text("container_id") == id && record.text("stream") == "stdout"
        };
        let records = collector.stop().0;
        stdout.extend(
            records
                .iter()
                .filter(ours)
                .map(|record| record.text("log").to_owned()),
        );
    }
    assert_eq!(noise, 5);
    docker.docker(&["rm", "--force", &id]).expect("docker rm");
    assert_eq!(stdout, ["a.Error: 1\n\tat a\n\tat b\n\tat c", "done"]);
}

/// The same through a real daemon, from its files and through its API: with pauses
/// between the lines, so that the stream is read in many portions.
#[test]
fn every_source_joins_alike() {
    let test = "multiline::every_source_joins_alike";
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let socket = format!("unix://{}", docker.socket().display());
    let mut script = literal(Stream::Stdout, &["before"]);
    for line in TRACE {
        script = script.then(literal(Stream::Stdout, &[line]).after("0.1"));
        script = script.then(literal(Stream::Stderr, &[line]));
    }
    script = script
        .then(literal(Stream::Stdout, &["after"]))
        .then(literal(Stream::Stderr, &["after"]));
    let rotated: &[&str] = &["--log-opt", "max-size=1k", "--log-opt", "max-file=9"];
    for mode in ["hybrid", "stream"] {
        let options = [
            ("Mode", mode),
            ("Docker_Socket", &socket),
            ("Multiline", "java"),
            ("Multiline_Flush", "30s"),
        ];
        let collector = Collector::start(docker.root(), &options);
        for (driver, more) in [("json-file", rotated), ("local", &[])] {
            let name = format!("multiline-{mode}-{driver}");
            let arguments = [&["--log-driver", driver], more].concat();
            let id = docker
                .run_detached(&name, &arguments, &script.sh)
                .expect("docker run");
            for (stream, want) in [
                ("stdout", vec!["before", &trace(), "after"]),
                ("stderr", vec![&trace(), "after"]),
            ] {
                collector.wait(&format!("{name} {stream}"), |collector| {
                    collector.texts_of(&id, stream).len() >= want.len()
                });
                assert_eq!(collector.texts_of(&id, stream), want, "{name} {stream}");
            }
        }
    }
}

/// A stream whose container says nothing more: the time-out alone completes the text.
#[test]
fn silence_completes_what_is_open_of_a_stream() {
    let test = "multiline::silence_completes_what_is_open_of_a_stream";
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let socket = format!("unix://{}", docker.socket().display());
    let options = [
        ("Mode", "stream"),
        ("Docker_Socket", &socket),
        ("Multiline", "java"),
        ("Multiline_Flush", "100ms"),
    ];
    let collector = Collector::start(docker.root(), &options);
    let script = literal(Stream::Stdout, &TRACE);
    let id = docker
        .run_detached(
            "multiline-silent",
            &[],
            &format!("{}; sleep 1000", script.sh),
        )
        .expect("docker run");
    collector.wait("the trace", |collector| {
        !collector.texts_of(&id, "stdout").is_empty()
    });
    assert_eq!(collector.texts_of(&id, "stdout"), [trace()]);
    docker.docker(&["rm", "--force", &id]).expect("docker rm");
}
