//! What became of every byte: the sums of the accounts against what the test
//! has written. That they balance is asserted wherever a `Collector` is used;
//! here is what they must come to.

use std::os::unix::fs::MetadataExt;

use fluent_bit_container_logs::telemetry::account::{wall_clock, Figures};
use fluent_bit_container_logs::telemetry::event::Level;

use test_kit::collector::Collector;
use test_kit::docker_root::{record, DockerRoot, LogWriter};

fn write(log: &mut LogWriter, count: usize) {
    for number in 0..count {
        log.line(&format!("line {number}"));
    }
}

fn size(log: &LogWriter) -> u64 {
    std::fs::metadata(&log.log).expect("the log").size()
}

/// The figures of `web` at the end.
fn settled(collector: &Collector, ready: impl Fn(&Figures) -> bool) -> Figures {
    collector.wait("the figures", |collector| {
        let accounts = collector.accounts();
        accounts
            .iter()
            .any(|account| account.name() == "web" && ready(&account.figures()))
    });
    collector.figures_of("web")
}

#[test]
fn every_byte_of_a_log_is_delivered_and_counted() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    let mut written = 0;
    for round in 0..6 {
        write(&mut log, 20);
        log.long_line("stderr", &"é".repeat(20_000));
        written += size(&log);
        let records = (round + 1) * 21;
        settled(&collector, |figures| figures.delivered.records == records);
        log.rotate(3, round % 2 == 0);
    }
    let figures = collector.figures_of("web");
    assert_eq!(
        (figures.read.bytes, figures.delivered.bytes),
        (written, written)
    );
    assert_eq!(
        (figures.lost(), figures.pending(), figures.passed_over),
        (0, 0, 0)
    );
}

#[test]
fn a_refused_batch_is_pending_until_it_is_accepted() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    collector.refuse(true);
    write(&mut log, 100);
    let figures = settled(&collector, |figures| figures.read.bytes == size(&log));
    assert_eq!(
        (
            figures.pending(),
            figures.queued.records,
            figures.delivered.bytes
        ),
        (size(&log), 100, 0)
    );
    assert!(
        figures.lag_seconds(fluent_bit_container_logs::telemetry::account::wall_clock()) > 1e6,
        "written in 2023"
    );
    collector.refuse(false);
    let figures = settled(&collector, |figures| figures.pending() == 0);
    assert_eq!(
        (figures.delivered.bytes, figures.waits_since),
        (size(&log), None)
    );
}

#[test]
fn an_open_line_is_pending_whatever_the_other_stream_says() {
    let (_root, mut log, collector) = Collector::of_one(&[("Tag_Template", "{name}.{stream}")]);
    let open = record("stdout", &"x".repeat(16_384), "2023-11-14T22:14:00.1Z");
    let other = record("stderr", "other\n", "2023-11-14T22:14:00.2Z");
    let rest = record("stdout", "rest\n", "2023-11-14T22:14:00.1Z");
    log.raw(format!("{open}{other}").as_bytes());
    let figures = settled(&collector, |figures| figures.delivered.records == 1);
    assert_eq!(
        (figures.open, figures.delivered.bytes),
        (open.len() as u64, other.len() as u64)
    );
    log.raw(rest.as_bytes());
    let figures = settled(&collector, |figures| figures.delivered.records == 2);
    assert_eq!((figures.open, figures.delivered.bytes), (0, size(&log)));
}

#[test]
fn what_is_no_record_is_counted_to_the_byte() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let good = record("stdout", "good\n", "2023-11-14T22:13:20.1Z");
    let [torn, whole, glued] = ["torn, with its rest missing\n", "after it\n", "glued\n"]
        .map(|text| record("stdout", text, "2023-11-14T22:13:21Z"));
    let garbage = "this is no record\n";
    let text = format!(
        "{good}{}{whole}{garbage}\n{}{glued}{}{good}",
        &torn[..30],
        glued.trim_end(),
        "\0".repeat(5000)
    );
    log.raw(text.as_bytes());
    let collector = Collector::start(root.path(), &[]);
    let figures = settled(&collector, |figures| figures.delivered.records == 5);
    assert_eq!(figures.read.bytes, text.len() as u64);
    assert_eq!(figures.skipped, 30 + garbage.len() as u64 + 5000);
    // A line feed alone is neither.
    assert_eq!(figures.passed_over, 1);
    let (_, said) = collector.stop();
    let losses: Vec<_> = said
        .iter()
        .filter(|(_, text)| text.contains("container web (aaaaaaaaaaaa) lost"))
        .collect();
    assert!(
        matches!(losses[..], [(Level::Warn, text)] if text.contains("5048 bytes of invalid records")),
        "{said:?}"
    );
}

#[test]
fn what_is_cut_off_a_line_is_counted_to_the_byte() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.long_line("stdout", &"x".repeat(100_000));
    log.line("short");
    let collector = Collector::start(root.path(), &[("Partial_Max_Size", "20k")]);
    let figures = settled(&collector, |figures| figures.delivered.records == 2);
    assert_eq!((figures.cut.records, figures.cut.bytes), (1, 80_000));
    assert_eq!(figures.delivered.bytes, size(&log) - 80_000);
    collector.wait("the message", |collector| {
        collector.has_logged("cut 80000 bytes off 1 lines")
    });
}

#[test]
fn what_was_delivered_before_a_restart_is_passed_over() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().expect("a path"))];
    let mut log = root.container('a', "web");
    // An open line on one stream holds the reading position back.
    let open = record("stdout", &"x".repeat(16_384), "2023-11-14T22:14:00.1Z");
    let other = record("stderr", "other\n", "2023-11-14T22:14:00.2Z");
    log.raw(format!("{open}{other}").as_bytes());
    let collector = Collector::start(root.path(), &options);
    settled(&collector, |figures| figures.delivered.records == 1);
    collector.stop();
    let rest = record("stdout", "rest\n", "2023-11-14T22:14:00.1Z");
    log.raw(rest.as_bytes());
    let collector = Collector::start(root.path(), &options);
    let figures = settled(&collector, |figures| figures.delivered.records == 1);
    assert_eq!(
        (figures.read.bytes, figures.passed_over),
        (size(&log), other.len() as u64)
    );
    assert_eq!(figures.delivered.bytes, (open.len() + rest.len()) as u64);
}

#[test]
fn a_container_that_went_is_in_the_total() {
    let (_root, mut log, collector) = Collector::of_one(&[("Rescan_Interval", "20ms")]);
    write(&mut log, 30);
    settled(&collector, |figures| figures.delivered.records == 30);
    write(&mut log, 20);
    let written = size(&log);
    log.remove();
    collector.wait("the container's end", |collector| {
        collector.accounts().is_empty()
    });
    let total = collector.figures();
    assert_eq!(
        (total.delivered.bytes, total.delivered.records),
        (written, 50)
    );
}

/// A collector whose output is stalled: its queue is full of another
/// container's lines, so nothing more is read than `before` lines of `web`.
fn stalled(root: &DockerRoot, before: usize, options: &[(&str, &str)]) -> Collector {
    let mut full = root.container('f', "full");
    full.line("other");
    let options = [options, &[("Queue_Limit", "64k")]].concat();
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(1 + before);
    collector.pause();
    for number in 0..10_000 {
        full.line(&format!("other {number}"));
    }
    let written = size(&full);
    collector.wait("a full queue", |collector| {
        let figures = collector.figures_of("full");
        figures.unread > 0 && figures.read.bytes + figures.unread == written
    });
    collector
}

fn lines_of_web(collector: &Collector) -> Vec<String> {
    collector
        .texts()
        .into_iter()
        .filter(|text| text.starts_with("line"))
        .collect()
}

#[test]
fn bytes_that_were_truncated_away_unread_are_counted() {
    for before in [0, 5] {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        write(&mut log, before);
        let read = size(&log);
        let collector = stalled(&root, before, &[]);
        write(&mut log, 20);
        let unread = size(&log) - read;
        let figures = settled(&collector, |figures| figures.unread == unread);
        assert_eq!(figures.lag_bytes(), unread);
        assert!(figures.waits_since.is_some());
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&log.log)
            .expect("the log");
        file.set_len(0).expect("truncate");
        log.line("line after");
        collector.resume();
        collector.wait("the last line", |c| {
            lines_of_web(c)
                .last()
                .is_some_and(|text| text == "line after")
        });
        let figures = settled(&collector, |figures| figures.lag_bytes() == 0);
        // Where nothing was read, nothing tells that what is there now is new.
        let known = if before == 0 {
            unread - size(&log)
        } else {
            unread
        };
        assert_eq!(figures.abandoned.bytes, known, "{before} lines read before");
        assert_eq!(figures.delivered.bytes, read + size(&log));
        collector.wait("the message", |collector| {
            collector.has_logged(&format!("{known} unread bytes are lost"))
        });
    }
}

#[test]
fn files_that_were_rotated_away_unseen_are_counted() {
    let root = DockerRoot::new();
    let mut log = root.created_container('a', "web");
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "50ms")]);
    collector.wait("the container", |collector| {
        collector.has_logged("container web")
    });
    log.open_log();
    log.line("line 0");
    collector.wait_texts(1);
    let mut files = 1;
    let mut missing = 0;
    // As a rule the first round is enough.
    while missing == 0 && files < 3000 {
        for _ in 0..300 {
            log.rotate(2, false);
            log.line(&format!("line {files}"));
            files += 1;
        }
        let last = format!("line {}", files - 1);
        collector.wait("the last line", |collector| {
            collector.texts().contains(&last)
        });
        missing = files - collector.texts().len() as u64;
    }
    let figures = settled(&collector, |figures| {
        figures.abandoned.generations >= missing
    });
    assert_eq!(figures.abandoned.generations, missing);
    let said = "rotated away before they could be opened";
    collector.wait("the message", |collector| {
        missing == 0 || collector.has_logged(said)
    });
    assert_eq!(collector.has_logged(said), missing > 0);
}

#[test]
fn deleted_files_are_held_up_to_the_limit_and_what_is_let_go_is_counted() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let collector = stalled(&root, 0, &[("Held_Files_Limit", "20000")]);
    let mut sizes = Vec::new();
    for round in 0..5 {
        for number in 0..100 {
            log.line(&format!("line {round} {number}"));
        }
        sizes.push(size(&log));
        let written: u64 = sizes.iter().sum();
        collector.wait("all of it to be seen", |collector| {
            let figures = collector.figures_of("web");
            figures.unread + figures.abandoned.bytes == written
        });
        log.recreate();
    }
    log.line("line last");
    // The largest number of files, newest first, that fits the limit.
    let mut kept = 0;
    let mut kept_bytes = 0;
    while kept < sizes.len() && kept_bytes + sizes[sizes.len() - 1 - kept] <= 20_000 {
        kept_bytes += sizes[sizes.len() - 1 - kept];
        kept += 1;
    }
    let dropped = sizes.len() - kept;
    assert!(kept > 1 && dropped > 1, "{sizes:?}");
    collector.wait("the surplus to be let go", |collector| {
        collector.figures_of("web").abandoned.generations == dropped as u64
            && collector.held().files == kept as u64
    });
    assert_eq!(collector.held().bytes, kept_bytes);
    collector.wait("the message", |collector| {
        collector.has_logged("Held_Files_Limit (20000)")
    });
    collector.resume();
    collector.wait("the last line", |c| {
        lines_of_web(c)
            .last()
            .is_some_and(|text| text == "line last")
    });
    let figures = settled(&collector, |figures| figures.pending() == 0);
    assert_eq!(figures.abandoned.generations, dropped as u64);
    assert_eq!(
        figures.abandoned.bytes,
        sizes[..dropped].iter().sum::<u64>()
    );
    let mut expected: Vec<String> = (dropped..5)
        .flat_map(|round| (0..100).map(move |number| format!("line {round} {number}")))
        .collect();
    expected.push("line last".to_owned());
    assert_eq!(lines_of_web(&collector), expected);
    collector.wait("nothing held", |collector| collector.held().files == 0);
}

#[test]
fn a_compressed_file_takes_the_place_of_a_deleted_one_that_is_let_go() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("line read");
    let collector = stalled(&root, 1, &[("Held_Files_Limit", "0")]);
    write(&mut log, 50);
    log.rotate(5, true);
    log.line("line next");
    log.rotate(5, true);
    log.line("line last");
    let deleted = format!("{}.1 (deleted)", log.log.display());
    let holds_deleted = || {
        let open = std::fs::read_dir("/proc/self/fd")
            .expect("our descriptors")
            .flatten();
        let mut links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| link.to_string_lossy() == deleted)
    };
    assert!(holds_deleted(), "what was rotated is held");
    collector.wait("the plain files to be let go", |_| !holds_deleted());
    let plain = 53;
    collector.resume();
    let figures = settled(&collector, |figures| figures.delivered.records == plain);
    assert_eq!(figures.abandoned.generations, 0);
    assert_eq!(lines_of_web(&collector).len() as u64, plain);
    assert!(!collector.has_logged("dropped a deleted file"));
}

#[test]
fn an_entry_without_a_valid_time_gets_that_of_reading_and_is_counted() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let before = wall_clock();
    log.line("one");
    log.piece("stdout", "two\n", "26/Nov/2026:10:00:00");
    log.piece("stderr", "three\n", "");
    log.raw(b"{\"log\":\"four\\n\",\"stream\":\"stdout\"}\n");
    log.line("five");
    let collector = Collector::start(root.path(), &[]);
    collector.wait_texts(5);
    let message = "-json.log: 3 entries have no valid time; their records have the time at which they were read";
    collector.wait("the message", |collector| collector.has_logged(message));
    let figures = settled(&collector, |figures| figures.delivered.records == 5);
    assert_eq!((figures.untimed, figures.lost()), (3, 0));
    collector.wait("the metric", |collector| {
        collector.metric("untimed_entries_total") == 3.0
    });
    let records = collector.records();
    let is_now = records.iter().map(|record| record.time >= before);
    let texts = records.iter().map(|record| record.text("log"));
    let timed: Vec<(&str, bool)> = texts.zip(is_now).collect();
    let want = [
        ("one", false),
        ("two", true),
        ("three", true),
        ("four", true),
        ("five", false),
    ];
    assert_eq!(timed, want);
}

/// Their offsets identify them: the time of reading says nothing about what was delivered.
#[test]
fn entries_without_a_valid_time_are_counted_and_delivered_once_over_a_restart() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().expect("UTF-8"))];
    let mut log = root.container('a', "web");
    log.piece("stdout", "one\n", "never");
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(1);
    collector.stop();
    log.piece("stdout", "two\n", "never");
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), ["two"]);
    assert_eq!(collector.figures_of("web").untimed, 1);
    collector.stop();
}
