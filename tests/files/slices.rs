//! Slices of which each makes many batches, since each record repeats what is said of its
//! container: in every format the slice is left where the queue is full, and goes on there.

use std::path::Path;

use test_kit::collector::Collector;
use test_kit::docker_root::{record, DockerRoot};
use test_kit::pod_root::PodRoot;

const LINES: usize = 6_000;
const LABEL: usize = 4_000;
/// No record in any format.
const GARBAGE: &str = "no record at all\n";

fn stream(number: usize) -> &'static str {
    if number.is_multiple_of(3) {
        "stderr"
    } else {
        "stdout"
    }
}

fn texts(of: &str) -> Vec<String> {
    (0..LINES)
        .filter(|number| stream(*number) == of)
        .map(|number| format!("line {number}"))
        .collect()
}

fn json_lines() -> Vec<u8> {
    let mut log = String::new();
    for number in 0..LINES {
        let time = format!("2023-11-14T22:13:20.{number:09}Z");
        log.push_str(&record(stream(number), &format!("line {number}\n"), &time));
        if number % 500 == 499 {
            log.push_str(GARBAGE);
        }
    }
    log.into_bytes()
}

fn cri_lines() -> Vec<u8> {
    let mut log = String::new();
    for number in 0..LINES {
        log.push_str(&format!(
            "2023-11-14T22:13:20.{number:09}Z {} F line {number}\n",
            stream(number)
        ));
        if number % 500 == 499 {
            log.push_str(GARBAGE);
        }
    }
    log.into_bytes()
}

/// Frames of Docker's `local` driver: a length, a message of protobuf, the length again.
fn local_frames() -> Vec<u8> {
    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    let mut log = Vec::new();
    for number in 0..LINES {
        let mut message = Vec::new();
        for (field, text) in [
            (0x0a, stream(number).to_owned()),
            (0x1a, format!("line {number}")),
        ] {
            if field == 0x1a {
                message.push(0x10);
                varint(&mut message, 1_700_000_000_000_000_000 + number as u64);
            }
            message.push(field);
            varint(&mut message, text.len() as u64);
            message.extend_from_slice(text.as_bytes());
        }
        let length = (message.len() as u32).to_be_bytes();
        log.extend_from_slice(&[&length[..], &message, &length].concat());
    }
    log
}

/// Reads what `write` writes, through a queue that one batch fills: an instance of which the
/// host takes a batch and no more, and the one after it.
#[track_caller]
fn assert_exact(
    what: &str,
    root: &Path,
    options: &[(&str, &str)],
    skipped: u64,
    write: impl FnOnce(),
) {
    let db = root.join("positions.db");
    let db = db.to_str().expect("a plain path");
    let options = [
        &[("Queue_Limit", "64000"), ("DB", db), ("Labels", "big")],
        options,
    ]
    .concat();
    let first = Collector::start(root, &options);
    first.accept_only(1);
    write();
    first.wait("what waits", |first| {
        first.count() > 0 && first.figures().pending() > 0
    });
    let lost = first.figures().lost();
    let mut records = first.stop().0;
    assert!(
        !records.is_empty() && records.len() < LINES / 2,
        "{what}: a slice is many batches"
    );
    let second = Collector::start(root, &options);
    let rest = LINES - records.len();
    second.wait(what, |second| {
        second.count() >= rest && second.figures().lag_bytes() == 0
    });
    let figures = second.figures();
    records.extend(second.stop().0);
    for of in ["stdout", "stderr"] {
        let got = records.iter().filter(|record| record.text("stream") == of);
        assert_eq!(
            got.map(|record| record.text("log")).collect::<Vec<_>>(),
            texts(of),
            "{what} {of}"
        );
    }
    // What was read and not taken before the stop was read twice, and so was the damage in it.
    let sum = lost + figures.lost();
    assert!(
        sum >= skipped && sum <= 2 * skipped,
        "{what}: {lost} and {figures}"
    );
}

fn docker_root() -> (DockerRoot, std::path::PathBuf) {
    let root = DockerRoot::new();
    let log = root.created_container('a', "web");
    log.write_config_with(
        "web",
        true,
        serde_json::json!({"big": "b".repeat(LABEL)}),
        &[],
    );
    (root, log.log.clone())
}

#[test]
fn a_slice_that_fills_the_queue_is_left_and_taken_up_in_every_format() {
    let skipped = (LINES / 500 * GARBAGE.len()) as u64;
    for template in ["{name}", "{name}.{stream}"] {
        let docker = [
            ("Runtime", "docker"),
            ("Docker_Socket", "off"),
            ("Tag_Template", template),
        ];
        let (root, log) = docker_root();
        assert_exact("json-file", root.path(), &docker, skipped, || {
            std::fs::write(&log, json_lines()).expect("the folder is ours");
        });

        let (root, log) = docker_root();
        let archive =
            std::fs::File::create(format!("{}.1.gz", log.display())).expect("the folder is ours");
        let mut encoder = flate2::write::GzEncoder::new(archive, flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &json_lines()).expect("a write");
        encoder.finish().expect("a write");
        std::fs::write(&log, "").expect("the folder is ours");
        assert_exact("an archive", root.path(), &docker, skipped, || {});

        let (root, log) = docker_root();
        let folder = log.with_file_name("local-logs");
        std::fs::create_dir(&folder).expect("the folder is ours");
        assert_exact("local", root.path(), &docker, 0, || {
            std::fs::write(folder.join("container.log"), local_frames())
                .expect("the folder is ours");
        });

        let root = PodRoot::new();
        let mut pod = root.container(&"n".repeat(40), &"p".repeat(100), "app");
        let cri = [("Runtime", "cri"), ("Tag_Template", template)];
        assert_exact("cri", root.path(), &cri, skipped, || pod.raw(&cri_lines()));
    }
}
