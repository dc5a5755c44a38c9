//! The edge to Fluent Bit: the library as it is built, loaded by a program that
//! plays the host of each release (`tests/kit/playing_host`). What the host would
//! punish later (an append after the shutdown's pause, a wrong thread, broken
//! MessagePack) that program reports at its exit, and the test fails.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::config::options::{Kind, OPTIONS};
use rustix::fs::{mknodat, FileType, Mode, CWD};
use serde_json::{json, Value};

use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::plugin;
use test_kit::playing_host::{is_emulated, texts_of, Frame, PlayingHost, Release, PATIENCE};
use test_kit::{skip, wait_until};

/// The least `Queue_Limit` there is: one slice of a file fills it.
const SMALL_QUEUE: &str = "queue_limit=64k";
/// A line of this many bytes is a number with zeros before it.
const SHORT: usize = 8;
const LONG: usize = 1000;

fn line(number: usize, bytes: usize) -> String {
    format!("{number:0bytes$}")
}

fn write(log: &mut LogWriter, numbers: Range<usize>, bytes: usize) {
    for number in numbers {
        log.line(&line(number, bytes));
    }
}

/// Every line of `numbers`, once, in order, and nothing else.
#[track_caller]
fn assert_lines(texts: &[String], numbers: Range<usize>, bytes: usize) {
    for (index, (text, number)) in texts.iter().zip(numbers.clone()).enumerate() {
        assert_eq!(
            *text,
            line(number, bytes),
            "line {index} of {}",
            texts.len()
        );
    }
    assert_eq!(texts.len(), numbers.len(), "number of lines");
}

/// The words for `instance`: a Docker root, and more.
fn over(root: &DockerRoot, more: &str) -> String {
    format!(
        "runtime=docker docker_root=\"{}\" {more}",
        root.path().display()
    )
}

fn db_path(root: &DockerRoot) -> PathBuf {
    root.path().join("positions.db")
}

/// As [`over`], with a DB beside the containers.
fn over_with_db(root: &DockerRoot, more: &str) -> String {
    over(root, &format!("db=\"{}\" {more}", db_path(root).display()))
}

/// A container whose log grows until [`BusyWriter::stop`].
struct BusyWriter {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl BusyWriter {
    fn start(mut log: LogWriter) -> BusyWriter {
        let ending = Arc::new(AtomicBool::new(false));
        let is_ending = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while !is_ending.load(Ordering::SeqCst) {
                write(&mut log, written..written + 20, SHORT);
                written += 20;
                // A pace, so that the host can catch up.
                std::thread::sleep(Duration::from_millis(1));
            }
            written
        });
        BusyWriter {
            ending,
            thread: Some(thread),
        }
    }

    /// How many lines there are in the end.
    fn stop(mut self) -> usize {
        self.ending.store(true, Ordering::SeqCst);
        self.thread
            .take()
            .map_or(0, |thread| thread.join().expect("the writer"))
    }
}

impl Drop for BusyWriter {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_label_has_lines_taken_apart_by_a_parser_of_the_host() {
    for release in Release::GENERATIONS {
        let root = DockerRoot::new();
        let labels = [
            ('a', "known", "first-word"),
            ('b', "unknown", "no-such"),
            ('c', "plain", ""),
        ];
        for (digit, name, parser) in labels {
            let mut log = root.container(digit, name);
            log.write_config_with(name, true, json!({"fluentbit.io/parser": parser}), &[]);
            log.line("hello world");
            log.line("hello");
        }
        let mut host = PlayingHost::with_instance(
            release,
            &over(&root, "metadata=off tag_template={name} label_hints=parser"),
        );
        host.run_until(6);
        let frames = host.frames();
        let of = |name: &str| -> Vec<(i64, Value)> {
            let frames = frames
                .iter()
                .filter(|frame| frame.tag.as_deref() == Some(name));
            let records = frames.flat_map(|frame| &frame.records);
            records
                .map(|record| (record.time.seconds, Value::Object(record.body.clone())))
                .collect()
        };
        let (time, plain) = (
            1_700_000_000,
            |text: &str| json!({"log": text, "stream": "stdout"}),
        );
        let whole = vec![(time, plain("hello world")), (time, plain("hello"))];
        assert_eq!(
            of("known"),
            [
                (5, json!({"word": "hello", "stream": "stdout"})),
                whole[1].clone()
            ]
        );
        assert_eq!((of("unknown"), of("plain")), (whole.clone(), whole));
        let said =
            "container unknown (bbbbbbbbbbbb): label fluentbit.io/parser: Fluent Bit has no parser `no-such`";
        wait_until(PATIENCE, "what is said of it", || {
            host.run(10);
            host.log().contains(said)
        });
        host.run(50);
        assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
        host.exit().assert_clean();
    }
}

#[test]
fn every_release_sees_the_options_of_the_documentation() {
    let expected: Vec<String> = OPTIONS
        .iter()
        .map(|option| {
            let kind = match option.kind {
                Kind::Text | Kind::Texts | Kind::List => "str",
                Kind::Bool => "bool",
                Kind::Number => "int",
                Kind::Size => "size",
                Kind::Time => "time",
            };
            let default = option.default().unwrap_or_default();
            let quote = if default.contains(' ') { "\"" } else { "" };
            format!(
                "{}:{kind}:{quote}{default}{quote}",
                option.name.to_ascii_lowercase()
            )
        })
        .collect();
    for release in Release::ALL {
        let mut host = PlayingHost::start(release);
        assert_eq!(host.ok("options"), expected.join(" "), "{release:?}");
        host.exit().assert_clean();
    }
}

#[test]
fn every_release_gets_every_record_exactly_and_is_left_clean() {
    const SECONDS: i64 = 1_700_000_000;
    // ASCII: where dockerd cuts a character in two, its halves are lost to it.
    let long = "0123456789 <&> \t ".repeat(3_000);
    let many: Vec<String> = (0..500).map(|number| line(number, SHORT)).collect();
    let containers: [(char, &str, &str, Vec<&str>); 3] = [
        (
            'a',
            "web",
            "stdout",
            vec!["hello <world> \"quoted\" \t\u{1b}[0m žluť 日本", "", "last"],
        ),
        (
            'b',
            "data.base-1",
            "stderr",
            vec![&long, "after the long line"],
        ),
        (
            'c',
            "job",
            "stdout",
            many.iter().map(String::as_str).collect(),
        ),
    ];
    for release in Release::ALL {
        let root = DockerRoot::new();
        let mut expected: BTreeMap<String, Vec<(i64, u32, Value)>> = BTreeMap::new();
        for (digit, name, stream, texts) in &containers {
            let mut log = root.container(*digit, name);
            for (number, text) in (1u32..).zip(texts) {
                // Each has a time of its own, one nanosecond behind the last.
                log.long_line(stream, text);
                let body = json!({
                    "log": text,
                    "stream": stream,
                    "container_id": digit.to_string().repeat(64),
                    "container_name": name,
                    "image": "shop/web:1.2",
                });
                expected
                    .entry(format!("docker.{name}"))
                    .or_default()
                    .push((SECONDS, number, body));
            }
        }
        let total = containers.iter().map(|(.., texts)| texts.len()).sum();
        let mut host =
            PlayingHost::with_instance(release, &over(&root, "tag_template=docker.{name}"));
        host.run_until(total);
        assert_eq!(
            host.run(20).records,
            total,
            "{release:?}: more than was written"
        );
        let exit = host.exit();
        exit.assert_clean();
        let mut arrived: BTreeMap<String, Vec<(i64, u32, Value)>> = BTreeMap::new();
        for Frame {
            instance,
            tag,
            records,
        } in exit.frames
        {
            assert_eq!(instance, "a");
            let of_tag = arrived.entry(tag.expect("a tag of its own")).or_default();
            of_tag.extend(
                records
                    .into_iter()
                    .map(|r| (r.time.seconds, r.time.nanos, Value::Object(r.body))),
            );
        }
        assert_eq!(
            arrived.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        for (got, want) in arrived
            .iter()
            .zip(&expected)
            .flat_map(|(got, want)| got.1.iter().zip(want.1))
        {
            let (shown, wanted) = (format!("{got:?}"), format!("{want:?}"));
            assert!(
                got == want,
                "{release:?}: {shown:.500}\n instead of {wanted:.500}"
            );
        }
    }
}

#[test]
fn without_a_tag_template_the_host_gives_its_own_tag() {
    let root = DockerRoot::new();
    write(&mut root.container('a', "web"), 0..1, SHORT);
    let mut host = PlayingHost::with_instance(Release::LATEST, &over(&root, "tag=mine"));
    host.run_until(1);
    assert!(host.exit().frames.iter().all(|frame| frame.tag.is_none()));
}

#[test]
fn messages_obey_the_log_level_and_are_never_a_format() {
    let root = DockerRoot::new();
    write(&mut root.container('a', "web"), 0..1, SHORT);
    // With files it loses nothing at its end, of which a message would be.
    let options = over(&root, "log_level=warn alias=%s%n%d storage.type=filesystem");
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    host.run_until(1);
    let log = host.exit().log;
    let ours: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("[input:container_logs:"))
        .collect();
    assert_eq!(
        ours,
        ["[ warn] [input:container_logs:%s%n%d] no DB is set: positions are kept in memory, so each start and each reload sends every log again from its beginning (Read_From_Head on); set DB to a file that only this input uses, such as /var/lib/fluent-bit/container_logs.db"]
    );
}

#[test]
fn a_misspelt_option_is_rejected_by_name() {
    let mut host = PlayingHost::start(Release::LATEST);
    let error = host.error("instance a docker_rooot=/var/lib/docker");
    assert!(error.contains("'docker_rooot'"), "{error}");
    for option in OPTIONS {
        assert!(error.contains(&option.name.to_ascii_lowercase()), "{error}");
    }
    host.ok("instance a Docker_Root=/var/lib/docker DB=");
    host.exit().assert_clean();
}

#[test]
fn every_value_of_a_repeated_option_is_read() {
    let root = DockerRoot::new();
    for (digit, name) in [('a', "web"), ('b', "api"), ('c', "db"), ('d', "cache")] {
        root.container(digit, name).line(name);
    }
    for release in Release::ALL {
        let options = over(
            &root,
            "Include=name=web INCLUDE=name=api include=name=db exclude=name=x,name=db",
        );
        let mut host = PlayingHost::with_instance(release, &options);
        host.run_until(2);
        host.run(50);
        let mut texts = host.texts("a");
        texts.sort();
        assert_eq!(texts, ["api", "web"], "{release:?}");
        host.exit().assert_clean();
    }
    let mut host = PlayingHost::start(Release::LATEST);
    let error = host.error("instance a Rescan_Interval=1s rescan_interval=2s");
    assert!(
        error.contains("'Rescan_Interval' is set 2 times"),
        "{error}"
    );
    host.exit().assert_clean();
}

#[test]
fn languages_may_be_a_list_and_options_that_do_nothing_are_told() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    for line in [
        "a.Error: x",
        "\tat a.B",
        "Traceback (most recent call last):",
        "  File",
    ] {
        log.line(line);
    }
    let options = over(&root, "multiline=java multiline=python keep_log=on");
    for release in Release::ALL {
        let mut host = PlayingHost::with_instance(release, &options);
        host.run_until(2);
        assert_eq!(
            host.texts("a").len(),
            2,
            "{release:?}: {:?}",
            host.texts("a")
        );
        let said = "option Keep_Log has no effect: Merge_Log is off";
        assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
        host.exit().assert_clean();
    }
}

#[test]
fn a_wrong_value_fails_the_start_and_names_its_option() {
    let root = DockerRoot::new();
    for (option, wrong) in [
        ("Rescan_Interval", "soon"),
        ("Tag_Template", "docker.{nam}"),
        ("Queue_Limit", "lots"),
        ("Partial_Max_Size", "1k"),
        ("Read_From_Head", "maybe"),
        ("Docker_Root", "relative/path"),
        ("DB", "/nowhere/positions.db"),
        ("Include", "nam=web"),
        ("Exclude", "label=a=[b"),
    ] {
        let root = if option == "Docker_Root" {
            String::new()
        } else {
            over(&root, "")
        };
        let mut host = PlayingHost::start(Release::LATEST);
        host.ok(&format!("instance a {root} {option}={wrong}"));
        assert_eq!(host.error("init"), "init a");
        let exit = host.exit();
        exit.assert_clean();
        let shown = if wrong == "1k" { "1000" } else { wrong };
        let says_it = |line: &str| {
            line.starts_with("[error] [input:container_logs:container_logs.0]")
                && line.contains(option)
                && line.contains(shown)
        };
        assert!(
            exit.log.lines().any(says_it),
            "{option}={wrong}:\n{}",
            exit.log
        );
    }
}

#[test]
fn threaded_on_is_refused_and_the_instance_before_it_ends_cleanly() {
    let root = DockerRoot::new();
    for release in Release::GENERATIONS {
        let mut host = PlayingHost::start(release);
        host.ok(&format!("instance a {}", over(&root, "")));
        host.ok(&format!(
            "instance b {}",
            over(&root, "threaded=on alias=second")
        ));
        host.ok(&format!("instance c {}", over(&root, "")));
        assert_eq!(host.error("init"), "init b");
        let exit = host.exit();
        exit.assert_clean();
        let says_it = |line: &str| {
            line.starts_with("[error]")
                && line.contains("second")
                && line.contains("`Threaded on` is not supported")
        };
        assert!(exit.log.lines().any(says_it), "{release:?}:\n{}", exit.log);
        assert_eq!(
            exit.log.matches("stopped: 0 records").count(),
            1,
            "{release:?}:\n{}",
            exit.log
        );
    }
}

#[test]
fn a_host_without_the_append_function_is_told_its_name() {
    let root = DockerRoot::new();
    for release in Release::GENERATIONS {
        let mut host = PlayingHost::start(release.with("-DMISSING_APPEND"));
        host.ok(&format!("instance a {}", over(&root, "")));
        assert_eq!(host.error("init"), "init a");
        let exit = host.exit();
        exit.assert_clean();
        assert!(
            exit.log
                .contains("does not export flb_input_log_append_records;"),
            "{}",
            exit.log
        );
    }
}

#[test]
fn a_host_that_does_not_tell_its_memory_is_warned_of_once_and_served() {
    let root = DockerRoot::new();
    root.container('a', "web").line("text");
    for (options, warnings) in [("", 1), ("Buffered_Limit=off", 0)] {
        let mut host = PlayingHost::start(Release::LATEST.with("-DMISSING_MEMORY"));
        host.ok(&format!("instance a {} {options}", over(&root, "")));
        host.ok("init");
        host.run_until(1);
        let exit = host.exit();
        exit.assert_clean();
        let warning = "this Fluent Bit does not report how much memory an input's records use";
        assert_eq!(exit.log.matches(warning).count(), warnings, "{}", exit.log);
    }
}

/// A release to come that keeps `storage.type` and `Mem_Buf_Limit` in another way.
#[test]
fn a_host_that_does_not_tell_what_bounds_its_memory_is_warned_of_once_and_limited() {
    let root = DockerRoot::new();
    root.container('a', "web").line("text");
    for (switch, options, warnings) in [
        ("-DMISSING_PROPERTIES", "storage.type=filesystem", 1),
        ("-DMISSING_PROPERTIES", "Buffered_Limit=24M", 0),
        ("-DMISSING_PROPERTIES", "Buffered_Limit=off", 0),
        ("-DMETRICS", "", 0),
        ("-DMETRICS", "storage.type=filesystem", 0),
    ] {
        let mut host = PlayingHost::start(Release::LATEST.with(switch));
        host.ok(&format!("instance a {} {options}", over(&root, "")));
        host.ok("init");
        host.run_until(1);
        let exit = host.exit();
        exit.assert_clean();
        let warning =
            "this Fluent Bit does not report whether Mem_Buf_Limit or storage.type bounds";
        assert_eq!(
            exit.log.matches(warning).count(),
            warnings,
            "{options}: {}",
            exit.log
        );
    }
}

/// A release to come that has one callback more: ours behind it are called in
/// place of others, or never. Pausing may then not reach us, and neither may
/// exit; records must arrive all the same and nothing may crash.
#[test]
fn a_release_with_shifted_callbacks_is_served_without_harm() {
    for release in Release::GENERATIONS {
        for switch in ["-DSHIFTED", "-DSHIFTED=2"] {
            let root = DockerRoot::new();
            let mut log = root.container('a', "web");
            let mut host = PlayingHost::with_instance(release.with(switch), &over(&root, ""));
            write(&mut log, 0..50, SHORT);
            host.run_until(50);
            host.ok("pause a");
            write(&mut log, 50..100, SHORT);
            assert_eq!(host.run(30).records, 50);
            host.ok("resume a");
            host.run_until(100);
            // One of these is our exit.
            assert_ne!(host.ok("others a"), "called=0");
            write(&mut log, 100..150, SHORT);
            host.run(30);
            host.ok("others a");
            host.ok("pause a");
            host.ok("resume a");
            let exit = host.exit();
            assert!(exit.threads_left <= 0, "{release:?} {switch}");
            assert_lines(&texts_of(&exit.frames, "a"), 0..100, SHORT);

            // The same host, if it has no use for those slots: our exit is never
            // called, and what is left of us must not disturb the host's own.
            let mut host = PlayingHost::with_instance(release.with(switch), &over(&root, ""));
            host.run_until(150);
            host.exit().assert_clean();
        }
    }
}

#[test]
fn two_instances_with_roots_and_databases_of_their_own_do_not_meet() {
    let (first, second) = (DockerRoot::new(), DockerRoot::new());
    // The same id in both: only the root tells them apart.
    let (mut one, mut two) = (first.container('a', "web"), second.container('a', "web"));
    let declare = |host: &mut PlayingHost| {
        host.ok(&format!("instance a {}", over_with_db(&first, "")));
        host.ok(&format!("instance b {}", over_with_db(&second, "")));
        host.ok("init");
    };
    write(&mut one, 0..300, SHORT);
    write(&mut two, 1000..1200, SHORT);
    let mut host = PlayingHost::start(Release::LATEST);
    declare(&mut host);
    host.run_until(500);
    // One of them paused does not hold up the other.
    host.ok("pause a");
    write(&mut one, 300..310, SHORT);
    write(&mut two, 1200..1210, SHORT);
    host.run_until(510);
    host.ok("resume a");
    host.run_until(520);
    let exit = host.exit();
    exit.assert_clean();
    assert_lines(&texts_of(&exit.frames, "a"), 0..310, SHORT);
    assert_lines(&texts_of(&exit.frames, "b"), 1000..1210, SHORT);

    write(&mut one, 310..320, SHORT);
    write(&mut two, 1210..1220, SHORT);
    let mut host = PlayingHost::start(Release::LATEST);
    declare(&mut host);
    host.run_until(20);
    let exit = host.exit();
    assert_lines(&texts_of(&exit.frames, "a"), 310..320, SHORT);
    assert_lines(&texts_of(&exit.frames, "b"), 1210..1220, SHORT);
}

#[test]
fn a_second_instance_on_the_same_database_is_refused() {
    let (first, second) = (DockerRoot::new(), DockerRoot::new());
    let db = db_path(&first);
    let mut host = PlayingHost::start(Release::LATEST);
    host.ok(&format!("instance a {}", over_with_db(&first, "")));
    host.ok(&format!(
        "instance b {}",
        over(&second, &format!("db=\"{}\"", db.display()))
    ));
    assert_eq!(host.error("init"), "init b");
    let exit = host.exit();
    exit.assert_clean();
    let says_it = |line: &str| {
        line.starts_with("[error] [input:container_logs:container_logs.1]")
            && line.contains(&format!("DB {} is in use", db.display()))
    };
    assert!(exit.log.lines().any(says_it), "{}", exit.log);
    // The first one has let go of it.
    PlayingHost::with_instance(Release::LATEST, &over_with_db(&first, ""))
        .exit()
        .assert_clean();
}

#[test]
fn a_pause_stops_appends_at_once_and_nothing_is_lost_or_repeated() {
    for release in Release::GENERATIONS {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        let mut host = PlayingHost::with_instance(release, &over(&root, SMALL_QUEUE));
        let mut written = 0;
        for _ in 0..3 {
            write(&mut log, written..written + 100, LONG);
            written += 100;
            host.run_until(written);
            host.ok("pause a");
            write(&mut log, written..written + 1000, LONG);
            let calls = host.calls();
            let counts = host.run(150);
            assert_eq!(
                (counts.records, counts.refused),
                (written, 0),
                "{release:?}: appended while paused"
            );
            let calls = host.calls() - calls;
            assert!(calls <= 10, "{release:?}: {calls} calls while paused");
            host.ok("resume a");
            written += 1000;
            host.run_until(written);
        }
        assert_eq!(host.run(20).refused, 0);
        let exit = host.exit();
        exit.assert_clean();
        assert_lines(&texts_of(&exit.frames, "a"), 0..written, LONG);
    }
}

#[test]
fn a_pause_from_inside_the_append_is_obeyed_under_a_backlog() {
    const LINES: usize = 6_000;
    let root = DockerRoot::new();
    write(&mut root.container('a', "web"), 0..LINES, LONG);
    let mut host = PlayingHost::start(Release::LATEST);
    host.ok(&format!(
        "instance a {}",
        over(&root, &format!("{SMALL_QUEUE} mem_buf_limit=400k"))
    ));
    host.ok("init");
    let deadline = Instant::now() + PATIENCE;
    let mut counts = host.run(1);
    let mut flushes = 0;
    while counts.records < LINES {
        assert!(Instant::now() < deadline, "{counts:?}");
        if host.log().matches("mem buf overlimit").count() > flushes {
            flushes += 1;
            host.ok("flush a");
        }
        counts = host.run(4);
    }
    assert_eq!(counts.refused, 0, "appended although paused");
    let exit = host.exit();
    exit.assert_clean();
    assert_lines(&texts_of(&exit.frames, "a"), 0..LINES, LONG);
    // Over seven megabytes; a pause comes after 400 kB and a slice at the latest.
    assert!(flushes >= 8, "{flushes} pauses");
}

#[test]
fn a_refused_batch_is_kept_and_offered_again_in_its_turn() {
    const LINES: usize = 4_000;
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..LINES / 2, LONG);
    let mut host = PlayingHost::with_instance(Release::LATEST, &over(&root, SMALL_QUEUE));
    host.ok("refuse a 3");
    let counts = host.run_until(LINES / 2);
    assert_eq!(counts.refused, 3);
    // And while it pauses and resumes in between.
    host.ok("refuse a 2");
    write(&mut log, LINES / 2..LINES, LONG);
    host.ok("pause a");
    host.run(20);
    host.ok("resume a");
    let counts = host.run_until(LINES);
    assert_eq!(counts.refused, 5);
    let exit = host.exit();
    exit.assert_clean();
    assert_lines(&texts_of(&exit.frames, "a"), 0..LINES, LONG);
}

/// A storage limit can refuse for minutes. The reader asks again every 100 ms
/// (`tail::REFUSED_RETRY`); a notice or two may come in between.
#[test]
fn a_host_that_refuses_for_long_is_not_asked_in_a_busy_loop() {
    let root = DockerRoot::new();
    let log = root.container('a', "web");
    let mut host = PlayingHost::with_instance(Release::LATEST, &over(&root, SMALL_QUEUE));
    host.ok("refuse a 1000000000");
    let writer = BusyWriter::start(log);
    let counts = host.run(1_000);
    let calls = host.calls();
    assert!(counts.refused > 0 && counts.records == 0, "{counts:?}");
    assert!(
        counts.refused <= 30 && calls <= 60,
        "{counts:?}, {calls} calls in a second"
    );
    // Paused on top of it, it is not to be asked at all.
    host.ok("pause a");
    host.run(500);
    let while_paused = host.calls() - calls;
    assert!(
        while_paused <= 20,
        "{while_paused} calls in half a second of a pause"
    );
    host.ok("refuse a 0");
    host.ok("resume a");
    let lines = writer.stop();
    host.run_until(lines);
    let exit = host.exit();
    assert_lines(&texts_of(&exit.frames, "a"), 0..lines, SHORT);
}

#[test]
fn an_idle_instance_leaves_the_hosts_thread_alone() {
    let root = DockerRoot::new();
    write(&mut root.container('a', "web"), 0..10, SHORT);
    let mut host =
        PlayingHost::with_instance(Release::LATEST, &over(&root, "rescan_interval=20ms"));
    host.run_until(10);
    host.run(50);
    let calls = host.calls();
    host.run(300);
    let calls = host.calls() - calls;
    assert!(calls <= 1, "{calls} calls with nothing to do");
}

#[test]
fn three_hot_reloads_deliver_every_line_once_and_leave_nothing_behind() {
    for release in Release::GENERATIONS {
        let root = DockerRoot::new();
        let log = root.container('a', "web");
        let mut host =
            PlayingHost::with_instance(release, &over_with_db(&root, "rescan_interval=50ms"));
        let writer = BusyWriter::start(log);
        host.run_until(100);
        let (threads, descriptors) = (settled_threads(&mut host), host.open_descriptors());
        for state in ["run 1", "pause a", "refuse a 1000"] {
            host.ok(state);
            host.run(20);
            host.ok("reload");
            let records = host.run(1).records;
            host.run_until(records + 100);
            assert_eq!(settled_threads(&mut host), threads);
            // A rescan has a folder open for a moment.
            let has_not_grown = || host.open_descriptors() <= descriptors;
            wait_until(
                PATIENCE,
                "no more descriptors than before the reload",
                has_not_grown,
            );
        }
        let lines = writer.stop();
        host.run_until(lines);
        host.run(20);
        let exit = host.exit();
        exit.assert_clean();
        assert_lines(&texts_of(&exit.frames, "a"), 0..lines, SHORT);
    }
}

/// What is asserted of each kill, per container: the lines of the next run go
/// on where the whole frames ended, or, for the one container whose frame was
/// the last, at the first line of that frame. A torn frame at the end is of an
/// append that had not returned; it counts as not delivered, and then no whole
/// frame is repeated.
#[test]
fn a_killed_host_loses_nothing_and_repeats_at_most_its_last_batch() {
    let root = DockerRoot::new();
    let writers =
        ['a', 'b'].map(|digit| BusyWriter::start(root.container(digit, &digit.to_string())));
    let options = over_with_db(&root, "tag_template={name} rescan_interval=50ms");
    let mut progress = Progress::default();
    for bytes in [1, 200_000, 20_000, 400_000, 50_000, 100_000] {
        let mut host = PlayingHost::with_instance(Release::LATEST, &options);
        host.send(&format!("run {}", PATIENCE.as_millis()));
        wait_until(PATIENCE, "records", || host.delivered_bytes() >= bytes);
        let (frames, is_torn) = host.kill();
        progress.follow(&frames);
        progress.killed(&frames, is_torn);
    }
    let lines = writers.map(BusyWriter::stop);
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    let deadline = Instant::now() + PATIENCE;
    loop {
        host.run(20);
        let mut reached = progress.clone();
        reached.follow(&host.frames());
        if ["a", "b"].map(|name| reached.next_of(name)) == lines {
            break;
        }
        assert!(Instant::now() < deadline, "{reached:?}, written: {lines:?}");
    }
    host.exit().assert_clean();
}

/// Which line of each container comes next, over several runs.
#[derive(Debug, Default, Clone)]
struct Progress {
    next: BTreeMap<String, usize>,
    /// The containers of which a batch may come again, and its first line: until one comes, which
    /// may be some runs later.
    repeatable: BTreeMap<String, usize>,
}

impl Progress {
    fn next_of(&self, container: &str) -> usize {
        self.next.get(container).copied().unwrap_or(0)
    }

    /// Checks the frames of one run.
    #[track_caller]
    fn follow(&mut self, frames: &[Frame]) {
        for frame in frames {
            let container = frame.tag.clone().expect("a tag of its own");
            let mut expected = self.next_of(&container);
            if let Some(first) = self.repeatable.remove(&container) {
                if frame.texts().next() == Some(&line(first, SHORT)) {
                    expected = first;
                }
            }
            for text in frame.texts() {
                assert_eq!(text, line(expected, SHORT), "container {container}");
                expected += 1;
            }
            self.next.insert(container, expected);
        }
    }

    /// The run that these were the frames of was killed.
    fn killed(&mut self, frames: &[Frame], is_torn: bool) {
        if let Some(last) = frames.last().filter(|_| !is_torn) {
            let container = last.tag.clone().expect("a tag of its own");
            let first = self.next_of(&container) - last.records.len();
            self.repeatable.insert(container, first);
        }
    }
}

/// Killed when the host has the batch and the checkpoint does not know yet: the
/// host is stopped inside its append by a log that nobody reads.
#[test]
fn a_host_killed_inside_the_append_gets_that_batch_again() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let pipe = root.path().join("stderr");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
    let nonblocking = libc::O_NONBLOCK;
    let mut full = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking)
        .open(&pipe)
        .expect("it");
    let stderr = OpenOptions::new()
        .write(true)
        .open(&pipe)
        .expect("its other end");

    let mut host = PlayingHost::start_with_log(Release::LATEST, Stdio::from(stderr));
    host.ok(&format!("instance a {}", over_with_db(&root, "")));
    host.ok("init");
    write(&mut log, 0..100, SHORT);
    host.run_until(100);
    host.ok("limit a 1");
    for size in [4096, 1] {
        while full.write(&vec![b'x'; size]).is_ok() {}
    }
    write(&mut log, 100..200, SHORT);
    // The next append overruns the limit, which the host logs.
    host.send(&format!("run {}", PATIENCE.as_millis()));
    wait_until(PATIENCE, "a batch more", || host.texts("a").len() > 100);
    let (frames, is_torn) = host.kill();
    assert!(!is_torn);
    let delivered = texts_of(&frames, "a").len();
    assert_lines(&texts_of(&frames, "a"), 0..delivered, SHORT);
    let first_unknown = delivered - frames.last().map_or(0, |frame| frame.records.len());
    assert_eq!(first_unknown, 100);

    let mut host = PlayingHost::with_instance(Release::LATEST, &over_with_db(&root, ""));
    host.run_until(200 - first_unknown);
    let exit = host.exit();
    exit.assert_clean();
    assert_lines(&texts_of(&exit.frames, "a"), first_unknown..200, SHORT);
}

/// The threads of a running instance, once they all have begun. Whoever starts one blocks
/// every signal for the while (pthread_create does), so their masks are awaited, too.
fn settled_threads(host: &mut PlayingHost) -> Vec<String> {
    let mut threads = Vec::new();
    // The masks of an emulator's threads are its own.
    let mask = if is_emulated() { "" } else { "blocked" };
    let is_settled = |threads: &[String]| {
        ["clogs-reader:", "notify-rs_inoti:"]
            .map(|name| format!("{name}{mask}"))
            .iter()
            .all(|name| threads.iter().any(|thread| thread.starts_with(name)))
    };
    wait_until(PATIENCE, "the threads begin", || {
        threads = host.threads();
        is_settled(&threads)
    });
    threads
}

#[test]
fn our_threads_have_names_and_block_every_signal() {
    let name = "edge::our_threads_have_names_and_block_every_signal";
    if is_emulated() {
        return skip(name, "the masks of an emulator's threads are its own");
    }
    let root = DockerRoot::new();
    for release in Release::GENERATIONS {
        let mut host = PlayingHost::with_instance(release, &over(&root, ""));
        let threads = settled_threads(&mut host);
        let ours: Vec<&str> = threads
            .iter()
            .map(String::as_str)
            .filter(|name| !name.ends_with(":open"))
            .collect();
        assert_eq!(ours, ["clogs-reader:blocked", "notify-rs_inoti:blocked"]);
        // The host's own are as they were: its main thread and the pipeline.
        assert_eq!(threads.len(), 4, "{threads:?}");
        host.exit().assert_clean();
    }
}

#[test]
fn the_library_exports_one_symbol_and_stays_mapped() {
    let readelf = |arguments: &[&str]| {
        let library = plugin().expect("cargo has built the library beside this test");
        let output = Command::new("readelf")
            .args(arguments)
            .arg(library)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(symbols) = readelf(&["--wide", "--dyn-syms"]) else {
        skip(
            "the_library_exports_one_symbol_and_stays_mapped",
            "there is no readelf (binutils)",
        );
        return;
    };
    // Num: Value Size Type Bind Vis Ndx Name
    let table = symbols
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let exported: Vec<String> = table
        .filter(|row| {
            row.len() >= 8 && ["GLOBAL", "WEAK", "UNIQUE"].contains(&row[4]) && row[6] != "UND"
        })
        .map(|row| format!("{} {}", row[3], row[7]))
        .collect();
    assert_eq!(exported, ["OBJECT in_container_logs_plugin"]);
    let dynamic = readelf(&["--wide", "--dynamic"]).unwrap_or_default();
    let flags = dynamic
        .lines()
        .find(|line| line.contains("(FLAGS_1)"))
        .unwrap_or_default();
    assert!(flags.contains("NODELETE"), "{flags:?}");
}

#[test]
fn an_exit_with_a_full_queue_and_a_paused_host_does_not_hang() {
    const LINES: usize = 2_000;
    for limit in ["", "mem_buf_limit=1"] {
        let root = DockerRoot::new();
        let options = over_with_db(&root, &format!("{SMALL_QUEUE} {limit}"));
        let mut log = root.container('a', "web");
        let mut host = PlayingHost::with_instance(Release::LATEST, &options);
        if limit.is_empty() {
            host.ok("pause a");
        }
        write(&mut log, 0..LINES, LONG);
        // With the limit the first batch is taken, and the append pauses us.
        host.run(100);
        let begun = Instant::now();
        let exit = host.exit();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "the exit took {:?}",
            begun.elapsed()
        );
        exit.assert_clean();
        let delivered = texts_of(&exit.frames, "a");
        assert_lines(&delivered, 0..delivered.len(), LONG);
        assert_eq!(delivered.is_empty(), limit.is_empty());

        // What was not taken comes after the next start, and only that.
        let mut host = PlayingHost::with_instance(Release::LATEST, &over_with_db(&root, ""));
        host.run_until(LINES - delivered.len());
        let exit = host.exit();
        exit.assert_clean();
        assert_lines(&texts_of(&exit.frames, "a"), delivered.len()..LINES, LONG);
    }
}
