//! Lines that belong together are one record, whatever comes in between: the other
//! stream, a rotation, a restart, silence, the end of the container.

use serde_json::json;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::pod_root::PodRoot;

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

fn write(log: &mut LogWriter, stream: &str, lines: &[&str]) {
    for line in lines {
        log.entry(stream, &format!("{line}\n"));
    }
}

#[test]
fn a_stack_trace_is_one_record_and_other_lines_wait_for_nothing() {
    let (_root, mut log, collector) = Collector::of_one(&[("Multiline", "java"), NEVER]);
    log.line("GET / 200");
    assert_eq!(collector.wait_texts(1), ["GET / 200"]);
    // Whose lines come in turns.
    for line in TRACE {
        write(&mut log, "stdout", &[line]);
        write(&mut log, "stderr", &[line]);
    }
    log.line("GET / 200");
    write(&mut log, "stderr", &["bye"]);
    collector.wait_texts(5);
    let records = collector.records();
    for (stream, last) in [("stdout", "GET / 200"), ("stderr", "bye")] {
        let of_stream = records[1..]
            .iter()
            .filter(|record| record.text("stream") == stream);
        let texts: Vec<&str> = of_stream.map(|record| record.text("log")).collect();
        assert_eq!(texts, [trace().as_str(), last], "{stream}");
    }
    // The time is that of the first line.
    let first = records
        .iter()
        .find(|record| record.text("log") == trace())
        .expect("a trace");
    assert_eq!(first.time.nanos, 2);
}

#[test]
fn silence_completes_what_is_open() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let options = [("Multiline", r"^\S"), ("Multiline_Flush", "50ms")];
    let collector = Collector::start(root.path(), &options);
    write(&mut log, "stdout", &["one", "  more"]);
    assert_eq!(collector.wait_texts(1), ["one\n  more"]);
    // The log is watched by now, or read at intervals: either way it wakes up.
    write(&mut log, "stdout", &["two"]);
    assert_eq!(collector.wait_texts(2)[1], "two");
}

/// Only the time of the entries can do it: by the clock of the test nothing is due.
#[test]
fn the_noise_of_one_stream_does_not_keep_the_other_waiting() {
    let (_root, mut log, collector) = Collector::of_one(&[("Multiline", "java"), NEVER]);
    log.piece("stdout", "a.Error: 1\n", "2023-11-14T10:00:00.5Z");
    log.piece("stdout", "\tat a\n", "2023-11-14T11:00:00.5Z");
    for (number, time) in ["11:30:00", "11:59:00", "12:00:00.5"]
        .into_iter()
        .enumerate()
    {
        log.piece(
            "stderr",
            &format!("noise {number}\n"),
            &format!("2023-11-14T{time}Z"),
        );
    }
    assert_eq!(collector.wait_texts(3), ["noise 0", "noise 1", "noise 2"]);
    log.piece("stderr", "noise 3\n", "2023-11-14T12:00:00.500000001Z");
    let texts = collector.wait_texts(5);
    assert!(
        texts.contains(&"a.Error: 1\n\tat a".to_owned()),
        "{texts:?}"
    );
}

/// The reader looks by itself when the time has come, however long it waits.
#[test]
fn no_rescan_is_needed_for_what_is_due() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let options = [
        ("Multiline", r"^\S"),
        ("Multiline_Flush", "2s"),
        ("Rescan_Interval", "1h"),
    ];
    let collector = Collector::start(root.path(), &options);
    write(&mut log, "stdout", &["one", "  more"]);
    assert_eq!(collector.wait_texts(1), ["one\n  more"]);
}

#[test]
fn a_label_that_changes_loses_nothing_that_is_open() {
    let (_root, mut log, collector) = Collector::of_one(&[("Multiline", "java"), NEVER]);
    log.line("before");
    collector.wait_texts(1);
    write(&mut log, "stdout", &TRACE);
    let on_disk = log.log.metadata().expect("the log").len();
    collector.wait("all to be read", |collector| {
        collector.figures().read.bytes == on_disk
    });
    log.write_config_with("web", true, json!({"fluentbit.io/multiline": "off"}), &[]);
    assert_eq!(collector.wait_texts(2)[1], trace());
    write(&mut log, "stdout", &TRACE);
    assert_eq!(collector.wait_texts(5)[2..], TRACE);
}

#[test]
fn rotation_in_the_midst_of_a_trace_leaves_it_whole() {
    for compress in [false, true] {
        let (_root, mut log, collector) = Collector::of_one(&[("Multiline", "java"), NEVER]);
        for line in TRACE {
            log.line(line);
            log.rotate(9, compress);
        }
        log.line("done");
        assert_eq!(
            collector.wait_texts(2),
            [trace(), "done".to_owned()],
            "compress: {compress}"
        );
    }
}

/// Between any two lines, with a rotation or without: the trace comes once, whole,
/// and nothing else twice.
#[test]
fn a_restart_in_the_midst_of_a_trace_leaves_it_whole() {
    for rotates in [None, Some(false), Some(true)] {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        let db = root.path().join("positions.db").display().to_string();
        let options = [("Multiline", "java"), NEVER, ("DB", &db)];
        let mut texts = Vec::new();
        for (number, line) in ["before"].iter().chain(&TRACE).enumerate() {
            let collector = Collector::start(root.path(), &options);
            log.line(line);
            write(&mut log, "stderr", &[&format!("noise {number}")]);
            let noise = format!("noise {number}");
            collector.wait("the noise", |collector| collector.texts().contains(&noise));
            texts.extend(collector.stop().0);
            if let Some(compress) = rotates {
                log.rotate(9, compress);
            }
        }
        let collector = Collector::start(root.path(), &options);
        log.line("after");
        collector.wait("the end", |collector| {
            collector.texts().contains(&"after".to_owned())
        });
        texts.extend(collector.stop().0);
        let of = |stream: &str| -> Vec<&str> {
            let records = texts
                .iter()
                .filter(|record| record.text("stream") == stream);
            records.map(|record| record.text("log")).collect()
        };
        assert_eq!(
            of("stdout"),
            ["before", trace().as_str(), "after"],
            "rotates: {rotates:?}"
        );
        assert_eq!(
            of("stderr"),
            ["noise 0", "noise 1", "noise 2", "noise 3"],
            "rotates: {rotates:?}"
        );
    }
}

#[test]
fn the_end_of_a_container_completes_what_is_open() {
    let (_root, mut log, collector) = Collector::of_one(&[("Multiline", "java"), NEVER]);
    log.line("before");
    collector.wait_texts(1);
    write(&mut log, "stdout", &TRACE);
    log.remove();
    assert_eq!(collector.wait_texts(2)[1], trace());
    collector.wait("its end", |collector| collector.has_logged("is gone"));
}

#[test]
fn pieces_of_a_long_line_are_joined_before_lines_are() {
    let (_root, mut log, collector) = Collector::of_one(&[("Multiline", "^START"), NEVER]);
    let long = |begin: &str| format!("{begin} {}", "x".repeat(40_000));
    for begin in ["START", "more", "START"] {
        log.long_line("stdout", &long(begin));
    }
    assert_eq!(
        collector.wait_texts(1),
        [format!("{}\n{}", long("START"), long("more"))]
    );
    // An open piece behind an open text.
    log.entry("stdout", &"y".repeat(16_384));
    log.piece("stdout", "START of the third\n", "2023-11-14T22:14:00Z");
    let want = format!("{}\n{}", long("START"), "y".repeat(16_384));
    assert_eq!(collector.wait_texts(2)[1], want);
}

#[test]
fn a_restart_with_a_piece_open_behind_an_open_text_begins_with_the_text() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let db = root.path().join("positions.db").display().to_string();
    let options = [("Multiline", "^START"), NEVER, ("DB", &db)];
    let collector = Collector::start(root.path(), &options);
    log.line("START");
    let piece = "y".repeat(16_384);
    let time = log.time();
    log.piece("stdout", &piece, &time);
    let on_disk = log.log.metadata().expect("the log").len();
    collector.wait("both to be read", |collector| {
        collector.figures().read.bytes == on_disk
    });
    assert_eq!(collector.stop().0, []);
    let collector = Collector::start(root.path(), &options);
    log.piece("stdout", "end\n", &time);
    log.line("START");
    assert_eq!(collector.wait_texts(1), [format!("START\n{piece}end")]);
}

#[test]
fn what_would_exceed_the_longest_line_becomes_several_records() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let options = [
        ("Multiline", "^START"),
        NEVER,
        ("Partial_Max_Size", "20000"),
    ];
    let collector = Collector::start(root.path(), &options);
    let line = |begin: &str| format!("{begin} {}", "x".repeat(9_000));
    for begin in ["START", "a", "b", "c", "START"] {
        log.line(&line(begin));
    }
    let want = [
        format!("{}\n{}", line("START"), line("a")),
        format!("{}\n{}", line("b"), line("c")),
    ];
    assert_eq!(collector.wait_texts(2), want);
    assert!(collector
        .records()
        .iter()
        .all(|record| !record.body.contains_key("truncated")));
}

#[test]
fn a_label_chooses_for_one_container_and_a_wrong_one_is_said() {
    let root = DockerRoot::new();
    let labels = [
        ('a', "plain", "off"),
        ('b', "first", r"^\d+,"),
        ('c', "wrong", "^("),
        ('d', "none", ""),
    ];
    let mut logs: Vec<LogWriter> = Vec::new();
    for (digit, name, label) in labels {
        let log = root.container(digit, name);
        log.write_config_with(name, true, json!({"fluentbit.io/multiline": label}), &[]);
        logs.push(log);
    }
    let options = [
        ("Multiline", "java"),
        NEVER,
        ("Label_Hints", "multiline_regex"),
    ];
    let collector = Collector::start(root.path(), &options);
    for log in &mut logs {
        write(log, "stdout", &TRACE);
        write(log, "stdout", &["1,first", "second", "2,first"]);
    }
    let of = |name: &str| -> Vec<String> {
        let records = collector.records();
        let records = records
            .iter()
            .filter(|record| record.text("container_name") == name);
        records
            .map(|record| record.text("log").to_owned())
            .collect()
    };
    collector.wait("all", |_| {
        of("plain").len() == 6
            && of("first").len() == 2
            && of("wrong").len() == 4
            && of("none").len() == 4
    });
    let rest = ["1,first", "second", "2,first"].map(str::to_owned);
    let joined = [vec![trace()], rest.to_vec()].concat();
    assert_eq!(
        of("plain"),
        [TRACE.map(str::to_owned).to_vec(), rest.to_vec()].concat()
    );
    assert_eq!(of("first"), [trace(), "1,first\nsecond".to_owned()]);
    assert_eq!((of("wrong"), of("none")), (joined.clone(), joined));
    assert!(collector.has_logged(
        "container wrong (cccccccccccc): label fluentbit.io/multiline: `^(` is neither"
    ));
}

#[test]
fn json_over_several_lines_becomes_fields() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let options = [("Multiline", r"^\{"), NEVER, ("Merge_Log", "on")];
    let collector = Collector::start(root.path(), &options);
    write(
        &mut log,
        "stdout",
        &["{", "  \"level\": \"info\",", "  \"n\": 7", "}", "{"],
    );
    collector.wait_texts(1);
    let body = &collector.records()[0].body;
    assert_eq!(
        (&body["level"], &body["n"], body.get("log")),
        (&json!("info"), &json!(7), None)
    );
}

#[test]
fn a_pods_lines_are_joined_over_the_kubelets_rotation() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let options = [("Runtime", "cri"), ("Multiline", "java"), NEVER];
    let collector = Collector::start(root.path(), &options);
    log.line(TRACE[0]);
    log.rotate();
    log.reopen();
    log.line(TRACE[1]);
    log.line(TRACE[2]);
    log.line("done");
    assert_eq!(collector.wait_texts(2), [trace(), "done".to_owned()]);
    // Another run goes on with nothing of the last one.
    log.line(TRACE[0]);
    log.restart();
    log.line(TRACE[1]);
    assert_eq!(collector.wait_texts(4)[2..], [TRACE[0], TRACE[1]]);
}
