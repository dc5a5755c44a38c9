//! Rotation, truncation, removal, restart and damage over a Docker root that
//! the test writes as dockerd does. The library runs in this process; what
//! arrives is compared line by line with what was written.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::host::embedded::EmbeddedHost;
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::source::reader::Pass;
use fluent_bit_container_logs::telemetry::event::Level;

use test_kit::collector::{Collector, PATIENCE};
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::holds_within;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    for line in numbers(range) {
        log.line(&line);
    }
}

/// For a reader that the test turns itself.
fn config_over(root: &DockerRoot) -> Config {
    let option = |name: &str| match name {
        "Docker_Root" => Some(root.path().display().to_string()),
        "Runtime" => Some("docker".to_owned()),
        "Docker_Socket" => Some("off".to_owned()),
        _ => None,
    };
    Config::from_lookup(option).expect("options")
}

#[test]
fn records_carry_text_stream_time_and_metadata() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.piece(
        "stderr",
        "hello <world> \"quoted\" \t\u{1b}[0m žluť 日本\n",
        "2023-11-14T22:13:20.12345Z",
    );
    let collector = Collector::start(root.path(), &[]);
    collector.wait_texts(1);
    let record = collector.records().remove(0);
    assert_eq!(
        (record.time.seconds, record.time.nanos),
        (1_700_000_000, 123_450_000)
    );
    assert_eq!(
        serde_json::Value::Object(record.body),
        serde_json::json!({
            "log": "hello <world> \"quoted\" \t\u{1b}[0m žluť 日本",
            "stream": "stderr",
            "container_id": "a".repeat(64),
            "container_name": "web",
            "image": "shop/web:1.2",
        })
    );
}

#[test]
fn a_container_that_comes_later_is_read_from_its_first_byte() {
    let root = DockerRoot::new();
    for head in ["on", "off"] {
        let (first, second) = if head == "on" { ('1', '2') } else { ('3', '4') };
        let mut old = root.container(first, "old");
        write(&mut old, 0..3);
        let collector = Collector::start(root.path(), &[("Read_From_Head", head)]);
        collector.wait("the first look", |collector| {
            collector.has_logged("container old")
        });
        let mut new = root.container(second, "new");
        new.set_year(2098);
        write(&mut new, 100..105);
        let of = |name: &str| {
            let records = collector.records();
            records
                .iter()
                .filter(|r| r.text("container_name") == name)
                .count()
        };
        collector.wait("the new container", |_| of("new") == 5);
        write(&mut old, 3..4);
        let expected = if head == "on" { 4 } else { 1 };
        collector.wait("the old container", |_| of("old") >= expected);
        let (records, _) = collector.stop();
        let olds = records.iter().filter(|r| {
            r.text("container_name") == "old" && r.text("container_id").starts_with(first)
        });
        assert_eq!(olds.count(), expected);
        std::fs::remove_dir_all(&old.dir).expect("remove");
        std::fs::remove_dir_all(&new.dir).expect("remove");
    }
}

#[test]
fn a_torn_record_is_read_once_it_is_whole() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    log.line("before");
    collector.wait_texts(1);
    let whole = record("stdout", "torn at every byte\n", "2023-11-14T22:13:20Z");
    for byte in whole.as_bytes() {
        log.raw(&[*byte]);
    }
    log.line("after");
    assert_eq!(
        collector.wait_texts(3),
        ["before", "torn at every byte", "after"]
    );
    assert!(!collector.has_logged("not a valid"));
}

#[test]
fn rotation_by_rename_is_followed_without_loss() {
    for compress in [false, true] {
        let (_root, mut log, collector) = Collector::of_one(&[]);
        for round in 0..20 {
            write(&mut log, round * 10..round * 10 + 10);
            log.rotate(3, compress);
        }
        write(&mut log, 200..201);
        // Faster than max-file keeps: each file must be opened when it appears.
        // What a rotation destroyed before we could look is the exception, so
        // the test waits for each round to be seen when it asserts exactness.
        collector.wait("the last line", |c| {
            c.texts().last().is_some_and(|text| text == "line 200")
        });
        let texts = collector.texts();
        let all = numbers(0..201);
        let mut expected = all.iter();
        for text in &texts {
            assert!(
                expected.any(|line| line == text),
                "{text} repeated or out of order"
            );
        }
    }
}

#[test]
fn rotation_in_step_with_the_reader_is_exact() {
    for compress in [false, true] {
        let (_root, mut log, collector) = Collector::of_one(&[]);
        for round in 0..30 {
            write(&mut log, round * 10..round * 10 + 10);
            log.rotate(3, compress);
            log.line(&format!("after rotation {round}"));
            collector.wait_texts((round + 1) * 11);
        }
        let texts: Vec<String> = collector
            .texts()
            .into_iter()
            .filter(|text| text.starts_with("line"))
            .collect();
        assert_eq!(texts, numbers(0..300), "compress {compress}");
    }
}

/// Names move while they are listed and opened, which is no failure to read anything.
#[test]
fn rotation_under_the_readers_eyes_is_not_reported_as_a_failure() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    for round in 0..1_000 {
        write(&mut log, round * 5..round * 5 + 5);
        log.rotate(5, round % 2 == 0);
    }
    log.line("the end");
    collector.wait("the end", |c| {
        c.texts().last().is_some_and(|text| text == "the end")
    });
    // The test may rotate files away before they are opened, which is reported.
    let is_failure = |(_, message): &(Level, String)| message.contains("read log");
    let failures: Vec<_> = collector.log().into_iter().filter(is_failure).collect();
    assert_eq!(failures, []);
    assert_eq!(collector.metric("read_errors_total"), 0.0);
}

#[test]
fn a_recreated_log_is_followed() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    for round in 0..30 {
        log.line(&format!("line {round}"));
        collector.wait_texts(round + 1);
        log.recreate();
    }
    assert_eq!(collector.texts(), numbers(0..30));
}

#[test]
fn truncation_in_place_starts_again_at_the_first_byte() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    for round in 0..10 {
        write(&mut log, round * 3..round * 3 + 3);
        collector.wait_texts(round * 3 + 3);
        std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&log.log)
            .expect("truncate");
    }
    assert_eq!(collector.texts(), numbers(0..30));
    assert!(collector.has_logged("truncated"));
}

#[test]
fn a_log_truncated_and_grown_past_the_position_is_noticed() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..3);
    let collector = Collector::start(root.path(), &[]);
    collector.wait_texts(3);
    // One write: the reader never sees the file short.
    let mut bytes = Vec::new();
    for number in 3..50 {
        bytes.extend(
            record(
                "stdout",
                &format!("line {number}\n"),
                "2023-11-14T22:14:00.5Z",
            )
            .into_bytes(),
        );
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&log.log)
        .expect("the log");
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("overwrite");
    assert_eq!(collector.wait_texts(50), numbers(0..50));
}

#[test]
fn copytruncate_loses_nothing_that_was_copied() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..3);
    let collector = Collector::start(root.path(), &[]);
    collector.wait_texts(3);
    collector.pause();
    // More than the queue takes, so that part of it is read from the copy.
    write(&mut log, 3..20_000);
    let copy = format!("{}.1", log.log.display());
    std::fs::copy(&log.log, copy).expect("copy");
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log.log)
        .expect("truncate");
    write(&mut log, 20_000..20_003);
    collector.resume();
    assert_eq!(collector.wait_texts(20_003), numbers(0..20_003));
}

#[test]
fn a_nul_hole_is_passed_over_and_counted() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..2);
    let collector = Collector::start(root.path(), &[]);
    collector.wait_texts(2);
    // A writer without O_APPEND goes on at its offset after a truncation.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log.log)
        .expect("truncate");
    let tail = record("stdout", "line 2\n", "2023-11-14T22:14:00.5Z");
    std::os::unix::fs::FileExt::write_all_at(&file, tail.as_bytes(), 3 << 30)
        .expect("sparse write");
    log.line("line 3");
    assert_eq!(collector.wait_texts(4), numbers(0..4));
    assert!(collector.has_logged("skipped"));
}

#[test]
fn damage_is_passed_over_to_the_next_record() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("line 0");
    log.raw(b"{\"log\":\"torn by a full disk");
    log.line("line 1");
    log.raw(b"garbage\n");
    log.raw(b"\0\0\0\0");
    log.line("line 2");
    log.raw(
        record("stdout", "line 3\n", "2023-11-14T22:14:00.5Z")
            .trim_end()
            .as_bytes(),
    );
    log.line("line 4");
    let collector = Collector::start(root.path(), &[]);
    assert_eq!(collector.wait_texts(5), numbers(0..5));
    let (_, messages) = collector.stop();
    // "{"log":"torn by a full disk" + "garbage" and its line feed + 4 NULs
    let lost = format!("lost {} bytes of invalid records", 27 + 8 + 4);
    for part in ["that are not a valid log record", &lost] {
        let said = messages
            .iter()
            .filter(|(level, text)| *level == Level::Warn && text.contains(part));
        assert_eq!(said.count(), 1, "{part} once: {messages:?}");
    }
}

#[test]
fn split_lines_are_joined_per_stream_and_across_rotation() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    let lengths = [0, 1, 16_383, 16_384, 16_385, 40_000, 200_000];
    let mut expected = Vec::new();
    for (index, length) in lengths.into_iter().enumerate() {
        let text = char::from(b'a' + index as u8).to_string().repeat(length);
        log.long_line("stdout", &text);
        expected.push(text);
    }
    collector.wait_texts(lengths.len());
    let time = "2023-11-14T22:15:00.25Z";
    let piece = "x".repeat(16_384);
    log.piece("stdout", &piece, time);
    log.piece("stderr", &piece, time);
    log.piece("stderr", "err\n", time);
    log.piece("stdout", &piece, time);
    log.rotate(3, false);
    log.piece("stdout", "end\n", time);
    expected.push(format!("{piece}err"));
    expected.push(format!("{piece}{piece}end"));
    assert_eq!(collector.wait_texts(expected.len()), expected);
}

/// Files that are created and deleted between two looks take the middle of the line with them.
#[test]
fn a_line_whose_middle_pieces_were_rotated_away_is_marked() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let (plugin, mut reader) = Plugin::prepare(config_over(&root)).expect("a plugin");
    let records = RefCell::new(Vec::new());
    let host = EmbeddedHost::new(|_, record| records.borrow_mut().push(record), |_, _| {});
    reader.begin();
    let mut read_until = |what: &str, is_read: &dyn Fn(&Plugin) -> bool| {
        let read = || {
            reader.turn(Instant::now());
            plugin.drain(&host);
            is_read(&plugin)
        };
        assert!(holds_within(PATIENCE, read), "{what}");
    };
    log.line("before");
    let records = &records;
    let delivered = |count| move |_: &Plugin| records.borrow().len() == count;
    read_until("the first line", &delivered(1));
    // The test needs this time to pass: a look after it knows which files are older than the
    // watch, and so which later ones were not seen.
    std::thread::sleep(Duration::from_millis(50));
    log.write_config("renamed", true);
    log.line("after");
    read_until("the second line", &delivered(2));
    let (time, piece) = ("2023-11-14T22:13:30Z", "x".repeat(16_384));
    log.piece("stdout", &piece, time);
    read_until("the first piece", &|plugin| {
        plugin.accounts().all()[0].figures().read.bytes > 16_384
    });
    for _ in 0..2 {
        log.rotate(2, false);
        log.piece("stdout", &piece, time);
    }
    log.rotate(2, false);
    log.piece("stdout", "end\n", time);
    log.piece("stdout", "whole\n", "2023-11-14T22:13:31Z");
    read_until("the last line", &delivered(4));
    let marked: Vec<_> = records
        .borrow()
        .iter()
        .map(|record| {
            let is_truncated = record.body.contains_key("truncated");
            (record.text("log").len(), is_truncated)
        })
        .collect();
    // Of three pieces and the end, the second piece is lost.
    let expected = [(6, false), (5, false), (2 * 16_384 + 3, true), (5, false)];
    assert_eq!(marked, expected);
}

#[test]
fn a_joined_line_is_bounded_and_marked() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.long_line("stdout", &"y".repeat(300_000));
    log.line("next");
    let collector = Collector::start(root.path(), &[("Partial_Max_Size", "100k")]);
    collector.wait_texts(2);
    let records = collector.records();
    assert_eq!(records[0].text("log").len(), 100_000);
    assert_eq!(records[0].body["truncated"], true);
    assert_eq!(records[1].text("log"), "next");
    assert!(!records[1].body.contains_key("truncated"));
}

#[test]
fn an_unterminated_end_of_a_stream_is_delivered() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    log.entry("stdout", "no line feed at the end");
    assert_eq!(collector.wait_texts(1), ["no line feed at the end"]);
    log.write_config("web", true);
    log.entry("stdout", "tail of one run");
    log.entry("stdout", "start of the next\n");
    assert_eq!(
        collector.wait_texts(3)[1..],
        ["tail of one run", "start of the next"]
    );
}

#[test]
fn a_removed_container_is_read_to_its_end() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "short");
    let collector = Collector::start(root.path(), &[]);
    log.line("line 0");
    collector.wait_texts(1);
    collector.pause();
    write(&mut log, 1..20_000);
    log.raw(
        record("stdout", "line 20000\n", "2023-11-14T22:14:00.5Z")
            .trim_end()
            .as_bytes(),
    );
    log.remove();
    collector.resume();
    assert_eq!(collector.wait_texts(20_001), numbers(0..20_001));
    assert!(collector
        .records()
        .iter()
        .all(|record| record.text("container_name") == "short"));
}

#[test]
fn a_log_deleted_by_hand_is_read_on_through_its_handle() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    log.line("line 0");
    collector.wait_texts(1);
    std::fs::remove_file(&log.log).expect("unlink");
    log.line("line 1");
    collector.wait_texts(2);
    log.open_log();
    log.line("line 2");
    assert_eq!(collector.wait_texts(3), numbers(0..3));
}

#[test]
fn a_rename_shows_in_later_records() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "before");
    let collector = Collector::start(root.path(), &[("Tag_Template", "docker.{name}")]);
    log.line("line 0");
    collector.wait_texts(1);
    log.write_config("after", true);
    let mut count = 1;
    collector.wait("the new name", |collector| {
        log_once(&log, count);
        count += 1;
        collector
            .records()
            .last()
            .is_some_and(|record| record.text("container_name") == "after")
    });
    let tagged = collector.tagged();
    assert_eq!(
        tagged.first().and_then(|(tag, _)| tag.as_deref()),
        Some("docker.before")
    );
    assert_eq!(
        tagged.last().and_then(|(tag, _)| tag.as_deref()),
        Some("docker.after")
    );
}

#[test]
fn everything_is_resumed_after_a_restart() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let db = db.to_str().expect("a path");
    let mut log = root.container('a', "web");
    let mut received = Vec::new();
    for round in 0..5 {
        write(&mut log, round * 100..round * 100 + 50);
        let collector = Collector::start(root.path(), &[("DB", db)]);
        collector.wait_texts(50);
        write(&mut log, round * 100 + 50..round * 100 + 100);
        collector.wait_texts(100);
        received.extend(
            collector
                .stop()
                .0
                .iter()
                .map(|record| record.text("log").to_owned()),
        );
    }
    assert_eq!(received, numbers(0..500));
}

#[test]
fn generations_written_while_we_were_away_are_read_in_order() {
    for compress in [false, true] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db");
        let options = [("DB", db.to_str().expect("a path"))];
        let mut log = root.container('a', "web");
        write(&mut log, 0..100);
        let collector = Collector::start(root.path(), &options);
        collector.wait_texts(100);
        collector.stop();
        for round in 1..4 {
            write(&mut log, round * 100..round * 100 + 50);
            log.rotate(5, compress);
            write(&mut log, round * 100 + 50..round * 100 + 100);
        }
        let collector = Collector::start(root.path(), &options);
        collector.wait_texts(300);
        let (records, messages) = collector.stop();
        let texts: Vec<&str> = records.iter().map(|record| record.text("log")).collect();
        assert_eq!(texts, numbers(100..400), "compress {compress}");
        assert!(
            !messages.iter().any(|(level, _)| *level <= Level::Warn),
            "{messages:?}"
        );
    }
}

#[test]
fn a_saved_generation_that_is_gone_is_reported_and_the_oldest_is_read() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().expect("a path"))];
    let mut log = root.container('a', "web");
    write(&mut log, 0..10);
    Collector::start(root.path(), &options).wait_texts(10);
    for round in 1..5 {
        log.rotate(3, false);
        write(&mut log, round * 10..round * 10 + 10);
    }
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(30), numbers(20..50));
    assert!(collector.has_logged("rotated away before it was read to the end"));
    assert_eq!(collector.figures_of("web").abandoned.generations, 1);
}

#[test]
fn an_open_split_line_is_completed_once_over_a_restart() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().expect("a path"))];
    let mut log = root.container('a', "web");
    let piece = "p".repeat(16_384);
    let time = "2023-11-14T22:15:00.25Z";
    let collector = Collector::start(root.path(), &options);
    log.line("line 0");
    log.piece("stdout", &piece, time);
    log.entry("stderr", "between\n");
    collector.wait_texts(2);
    let first = collector.stop().0;
    assert_eq!(first.len(), 2);
    log.piece("stdout", "end\n", time);
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(1);
    log.line("last");
    collector.wait_texts(2);
    assert_eq!(
        collector.texts(),
        [format!("{piece}end"), "last".to_owned()],
        "stderr is not repeated"
    );
}

#[test]
fn streams_with_tags_of_their_own_resume_each_by_itself() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [
        ("DB", db.to_str().expect("a path")),
        ("Tag_Template", "{name}.{stream}"),
    ];
    let mut log = root.container('a', "web");
    for number in 0..1000 {
        let stream = if number % 3 == 0 { "stderr" } else { "stdout" };
        log.entry(stream, &format!("line {number}\n"));
    }
    let mut received = Vec::new();
    for _ in 0..3 {
        let collector = Collector::start(root.path(), &options);
        collector.wait("some records", |collector| {
            !collector.texts().is_empty() || received.len() == 1000
        });
        for (tag, record) in collector.tagged() {
            assert_eq!(
                tag.expect("a tag"),
                format!("web.{}", record.text("stream"))
            );
        }
        received.extend(
            collector
                .stop()
                .0
                .iter()
                .map(|record| record.text("log").to_owned()),
        );
    }
    received.sort_by_key(|text| text[5..].parse::<usize>().expect("a number"));
    assert_eq!(received, numbers(0..1000));
}

#[test]
fn a_refused_batch_is_kept_and_offered_again() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    collector.refuse(true);
    write(&mut log, 0..100);
    collector.wait("several refusals", |collector| collector.refusals() >= 3);
    assert!(collector.texts().is_empty());
    collector.refuse(false);
    assert_eq!(collector.wait_texts(100), numbers(0..100));
}

#[test]
fn a_stalled_output_keeps_rotated_files_open_and_loses_nothing() {
    let (_root, mut log, collector) = Collector::of_one(&[("Queue_Limit", "64k")]);
    log.line("line 0");
    collector.wait_texts(1);
    collector.pause();
    write(&mut log, 1..2000);
    for round in 1..20 {
        log.rotate(2, false);
        let held = round + 1;
        // The reader has the new file open before the next rotation deletes it.
        let files = || open_logs(&log);
        collector.wait("the new generation is held", |_| files() >= held);
        write(&mut log, round * 2000..round * 2000 + 2000);
    }
    collector.resume();
    assert_eq!(collector.wait_texts(40_000), numbers(0..40_000));
    collector.wait("only the current file is open", |_| open_logs(&log) == 1);
}

#[test]
fn positions_of_an_unreadable_checkpoint_are_set_aside_and_reading_goes_on() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    std::fs::write(&db, vec![0; 5000]).expect("an all-NUL file");
    let mut log = root.container('a', "web");
    write(&mut log, 0..3);
    let collector = Collector::start(
        root.path(),
        &[
            ("DB", db.to_str().expect("a path")),
            ("Read_From_Head", "off"),
        ],
    );
    assert_eq!(collector.wait_texts(3), numbers(0..3));
    assert!(collector.has_logged("positions.db") && collector.has_logged("NUL"));
}

#[test]
fn a_root_that_appears_later_is_found() {
    let root = tempfile::tempdir().expect("a folder");
    let later = root.path().join("later");
    let collector = Collector::start(
        &later,
        &[("Rescan_Interval", "20ms"), ("Read_From_Head", "off")],
    );
    collector.wait("the message", |collector| {
        collector.has_logged("cannot list containers in")
    });
    let made = DockerRoot::new();
    let mut web = made.container('a', "web");
    web.set_year(2098);
    write(&mut web, 0..3);
    std::os::unix::fs::symlink(made.path(), &later).expect("a link");
    assert_eq!(collector.wait_texts(3), numbers(0..3));
    assert!(collector.has_logged("can be listed now"));
    let complaints = collector
        .log()
        .iter()
        .filter(|(_, text)| text.contains("cannot list containers in"))
        .count();
    assert_eq!(complaints, 1);
}

#[test]
fn metadata_that_cannot_be_read_is_said_once_and_stops_nobody() {
    let root = DockerRoot::new();
    let mut good = root.container('a', "good");
    let mut bad = root.container('b', "bad");
    std::fs::write(bad.dir.join("config.v2.json"), "{\"Name\":\"/ba").expect("half a file");
    std::fs::create_dir(root.path().join("containers/no-container")).expect("a folder");
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "20ms")]);
    good.line("from good");
    bad.line("from bad");
    collector.wait_texts(1);
    assert_eq!(collector.texts(), ["from good"]);
    collector.wait("the message", |collector| {
        collector.has_logged("config.v2.json")
    });
    bad.write_config("bad", true);
    collector.wait_texts(2);
    assert_eq!(collector.records()[1].text("container_name"), "bad");
    let complaints = collector
        .log()
        .iter()
        .filter(|(_, text)| text.contains("config.v2.json"))
        .count();
    assert_eq!(complaints, 1);
}

#[test]
fn a_log_that_may_not_be_read_is_said_once_and_read_when_it_may() {
    let root = DockerRoot::new();
    let mut good = root.container('a', "good");
    let mut secret = root.container('b', "secret");
    secret.line("secret line");
    std::fs::set_permissions(&secret.log, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    if std::fs::File::open(&secret.log).is_ok() {
        // Root reads everything; a folder in the log's place is the next best.
        std::fs::rename(&secret.log, secret.dir.join("aside")).expect("rename");
        std::os::unix::fs::symlink(&secret.log, &secret.log).expect("a link to itself");
    }
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "20ms")]);
    good.line("good line");
    collector.wait_texts(1);
    collector.wait("the message", |collector| collector.has_logged("json.log"));
    if std::fs::symlink_metadata(&secret.log).is_ok_and(|meta| meta.is_symlink()) {
        std::fs::rename(secret.dir.join("aside"), &secret.log).expect("rename back");
    }
    std::fs::set_permissions(&secret.log, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    collector.wait_texts(2);
    let complaints = collector
        .log()
        .iter()
        .filter(|(level, _)| *level == Level::Error)
        .count();
    assert_eq!(complaints, 1, "{:?}", collector.log());
}

/// The host comes for messages once, after the first look at everything: what it gets
/// then is what there is.
#[test]
fn one_unreadable_log_among_three_thousand_is_said_at_the_start() {
    let root = DockerRoot::new();
    let containers = root.path().join("containers");
    for number in 0..3000 {
        let dir = containers.join(format!("{number:064x}"));
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(
            dir.join("config.v2.json"),
            format!("{{\"Name\":\"/c{number}\"}}"),
        )
        .expect("config");
    }
    let secret = root.container('f', "secret");
    std::fs::remove_file(&secret.log).expect("its log");
    std::os::unix::fs::symlink(&secret.log, &secret.log).expect("a link to itself");
    let config = config_over(&root);
    let (plugin, mut reader) = Plugin::prepare(config).expect("a plugin");
    reader.begin();
    while reader.turn(Instant::now()) == Pass::Behind {}
    let log = RefCell::new(Vec::new());
    let host = EmbeddedHost::new(
        |_, _| {},
        |level, text: &str| log.borrow_mut().push((level, text.to_owned())),
    );
    plugin.drain(&host);
    let log = log.into_inner();
    let errors: Vec<&str> = log
        .iter()
        .filter(|(level, _)| *level == Level::Error)
        .map(|(_, text)| text.as_str())
        .collect();
    assert!(
        matches!(errors[..], [text] if text.contains(&secret.log.display().to_string())),
        "{errors:?}"
    );
    let dropped = log
        .iter()
        .find(|(_, text)| text.contains("were dropped"))
        .expect("the rest is counted");
    assert_eq!(dropped.0, Level::Debug, "{dropped:?}");
    let found = log
        .iter()
        .filter(|(_, text)| text.ends_with(" found"))
        .count();
    assert!(
        dropped.1.ends_with(&format!("(debug: {})", 3001 - found)),
        "{found}, {dropped:?}"
    );
}

/// More than there is room for: what was not kept is said at the next look.
#[test]
fn what_there_was_no_room_for_is_said_later() {
    const LOGS: usize = 1500;
    let root = DockerRoot::new();
    let containers = root.path().join("containers");
    for number in 0..LOGS {
        let id = format!("{number:064x}");
        let dir = containers.join(&id);
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(
            dir.join("config.v2.json"),
            format!("{{\"Name\":\"/c{number}\"}}"),
        )
        .expect("config");
        let log = dir.join(format!("{id}-json.log"));
        std::os::unix::fs::symlink(&log, &log).expect("a link to itself");
    }
    let config = config_over(&root);
    let rescan = config.rescan_interval;
    let (plugin, mut reader) = Plugin::prepare(config).expect("a plugin");
    let errors = RefCell::new(Vec::new());
    let host = EmbeddedHost::new(
        |_, _| {},
        |level, text: &str| {
            if level == Level::Error && text.contains("-json.log") {
                errors.borrow_mut().push(text.to_owned());
            }
        },
    );
    reader.begin();
    let start = Instant::now();
    for turn in 0..4 {
        while reader.turn(start + turn * rescan) == Pass::Behind {}
        plugin.drain(&host);
    }
    let mut errors = errors.into_inner();
    errors.sort();
    errors.dedup();
    assert_eq!(errors.len(), LOGS);
}

#[test]
fn a_thousand_containers_at_once_are_all_read() {
    let root = DockerRoot::new();
    let collector = Collector::start(root.path(), &[]);
    let containers = root.path().join("containers");
    for number in 0..1000 {
        let id = format!("{number:064x}");
        let dir = containers.join(&id);
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(
            dir.join("config.v2.json"),
            format!("{{\"Name\":\"/c{number}\"}}"),
        )
        .expect("config");
        let line = record(
            "stdout",
            &format!("line {number}\n"),
            "2023-11-14T22:14:00.5Z",
        );
        std::fs::write(dir.join(format!("{id}-json.log")), line).expect("log");
    }
    let mut texts = collector.wait_texts(1000);
    texts.sort_by_key(|text| text[5..].parse::<usize>().expect("a number"));
    assert_eq!(texts, numbers(0..1000));
}

#[test]
fn an_idle_log_is_read_at_once_when_it_is_written() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    // A rescan would come too late for the deadline of this test.
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "1h")]);
    for round in 0..20 {
        log.line(&format!("line {round}"));
        collector.wait_texts(round + 1);
        // The writer's pace is what is tested: long enough to be idle by the reader's own
        // rule, and longer.
        std::thread::sleep(Duration::from_millis(5 * round as u64));
    }
    let mut late = root.created_container('b', "late");
    collector.wait("the folder is seen", |collector| {
        collector.has_logged("late")
    });
    late.open_log();
    late.line("from late");
    assert_eq!(
        collector.wait_texts(21).last().map(String::as_str),
        Some("from late")
    );
}

/// Each turn from idle to busy and back; the first line after one must not be missed.
#[test]
fn a_log_that_turns_busy_and_idle_is_read_to_its_end() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    // A rescan would come too late for the deadline of this test.
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "1h")]);
    let mut lines = 0;
    for round in 0..30 {
        // The pace is what is tested, so the writer pauses between bursts and lines.
        std::thread::sleep(Duration::from_millis(60));
        for _ in 0..=round {
            log.line(&format!("line {lines}"));
            lines += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        collector.wait_texts(lines);
    }
    let expected: Vec<String> = (0..lines).map(|line| format!("line {line}")).collect();
    assert_eq!(collector.wait_texts(lines), expected);
}

fn log_once(log: &LogWriter, number: usize) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&log.log)
        .expect("the log");
    let time = format!("2023-11-14T22:16:00.{number:09}Z");
    file.write_all(record("stdout", &format!("line {number}\n"), &time).as_bytes())
        .expect("a write");
}

/// How many files of this log this process has open for reading only.
fn open_logs(log: &LogWriter) -> usize {
    let dir = log.dir.to_str().expect("a path").to_owned();
    let fds = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    fds.flatten()
        .filter(|entry| {
            let number = entry.file_name();
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let info =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", number.to_string_lossy()));
            let is_reader = info.unwrap_or_default().lines().any(|line| {
                line.strip_prefix("flags:")
                    .is_some_and(|flags| flags.trim().ends_with('0'))
            });
            is_reader
                && target.to_string_lossy().starts_with(&dir)
                && target.to_string_lossy().contains("-json.log")
        })
        .count()
}
