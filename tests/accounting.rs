//! What became of every byte: the sums of the accounts against what the test
//! has written. That they balance is asserted wherever a `Collector` is used;
//! here is what they must come to.

use std::os::unix::fs::MetadataExt;

use fluent_bit_container_logs::account::Figures;
use fluent_bit_container_logs::host::Level;

use crate::support::collector::Collector;
use crate::support::docker_root::{record, DockerRoot, LogWriter};

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
        accounts.iter().any(|account| account.name() == "web" && ready(&account.figures()))
    });
    collector.figures_of("web")
}

#[test]
fn every_byte_of_a_log_is_delivered_and_counted() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let collector = Collector::start(root.path(), &[]);
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
    assert_eq!((figures.read.bytes, figures.delivered.bytes), (written, written));
    assert_eq!((figures.lost(), figures.pending(), figures.passed_over), (0, 0, 0));
}

#[test]
fn a_refused_batch_is_pending_until_it_is_accepted() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let collector = Collector::start(root.path(), &[]);
    collector.refuse(true);
    write(&mut log, 100);
    let figures = settled(&collector, |figures| figures.read.bytes == size(&log));
    assert_eq!((figures.pending(), figures.queued.records, figures.delivered.bytes), (size(&log), 100, 0));
    assert!(figures.lag_seconds(fluent_bit_container_logs::account::wall_clock()) > 1e6, "written in 2023");
    collector.refuse(false);
    let figures = settled(&collector, |figures| figures.pending() == 0);
    assert_eq!((figures.delivered.bytes, figures.waits_since), (size(&log), None));
}

#[test]
fn an_open_line_is_pending_whatever_the_other_stream_says() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let collector = Collector::start(root.path(), &[("Tag_Template", "{name}.{stream}")]);
    let open = record("stdout", &"x".repeat(16_384), "2023-11-14T22:14:00.1Z");
    let other = record("stderr", "other\n", "2023-11-14T22:14:00.2Z");
    let rest = record("stdout", "rest\n", "2023-11-14T22:14:00.1Z");
    log.raw(format!("{open}{other}").as_bytes());
    let figures = settled(&collector, |figures| figures.delivered.records == 1);
    assert_eq!((figures.open, figures.delivered.bytes), (open.len() as u64, other.len() as u64));
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
    let losses: Vec<_> =
        said.iter().filter(|(_, text)| text.contains("container web (aaaaaaaaaaaa) lost")).collect();
    assert!(
        matches!(losses[..], [(Level::Warn, text)] if text.contains("5048 bytes that were no record")),
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
    assert_eq!((figures.read.bytes, figures.passed_over), (size(&log), other.len() as u64));
    assert_eq!(figures.delivered.bytes, (open.len() + rest.len()) as u64);
}

#[test]
fn a_container_that_went_is_in_the_total() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "20ms")]);
    write(&mut log, 30);
    settled(&collector, |figures| figures.delivered.records == 30);
    write(&mut log, 20);
    let written = size(&log);
    log.remove();
    collector.wait("the container's end", |collector| collector.accounts().is_empty());
    let total = collector.figures();
    assert_eq!((total.delivered.bytes, total.delivered.records), (written, 50));
}
