//! Logs whose files are closed because descriptors are short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fluent_bit_container_logs::config::OpenFilesLimit;
use test_kit::collector::{Collector, PATIENCE};
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::holds_within;

use super::hard_cases::looked;
use super::renamed::{numbers, write};

/// Nothing that was read to its end stays open.
const NONE: OpenFilesLimit = OpenFilesLimit {
    at_rest: 0,
    unread: usize::MAX,
};
/// What is unread is closed as well.
const NONE_AT_ALL: OpenFilesLimit = OpenFilesLimit {
    at_rest: 0,
    unread: 0,
};

/// The logs below `root` that are open for reading.
fn open_logs(root: &DockerRoot) -> BTreeSet<PathBuf> {
    let is_log =
        |path: &PathBuf| path.starts_with(root.path()) && path.extension() == Some("log".as_ref());
    let read = |descriptor: fs::DirEntry| {
        let path = fs::read_link(descriptor.path()).ok().filter(is_log)?;
        let info = Path::new("/proc/self/fdinfo").join(descriptor.file_name());
        let info = fs::read_to_string(info).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags
            .is_some_and(|flags| flags.ends_with('0'))
            .then_some(path)
    };
    let open = fs::read_dir("/proc/self/fd").expect("descriptors");
    open.flatten().filter_map(read).collect()
}

/// Waits until no log below `root` is open for reading.
#[track_caller]
fn rests(root: &DockerRoot) {
    let is_closed = || open_logs(root).is_empty();
    assert!(holds_within(PATIENCE, is_closed), "files stay open");
}

/// One container, of which ten lines were read, and whose log is at rest.
fn resting(is_running: bool) -> (DockerRoot, LogWriter, Collector) {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let mut log = root.container('a', "web");
    log.write_config("web", is_running);
    write(&mut log, 0..10);
    let collector = Collector::start_with(root.path(), &[("DB", &db)], NONE);
    assert_eq!(collector.wait_texts(10), numbers(0..10));
    rests(&root);
    (root, log, collector)
}

fn again(root: &Path) -> Collector {
    let db = root.join("positions.db").display().to_string();
    Collector::start_with(root, &[("DB", &db)], NONE)
}

/// What has arrived after a look at the folders, without a loss.
#[track_caller]
fn all(root: &DockerRoot, collector: &Collector, lines: usize) {
    assert_eq!(collector.wait_texts(lines), numbers(0..lines));
    looked(root, collector);
    assert_eq!(collector.texts()[..lines], numbers(0..lines));
    assert_eq!(collector.figures().losses(), None);
}

#[test]
fn only_as_many_logs_stay_open_as_may_and_those_that_do_not_run_are_closed_first() {
    let root = DockerRoot::new();
    let mut logs: Vec<LogWriter> = "0123456789ab"
        .chars()
        .map(|digit| root.container(digit, "web"))
        .collect();
    for (number, log) in logs.iter_mut().enumerate() {
        log.write_config("web", number >= 8);
        log.line("hello");
    }
    let four = OpenFilesLimit {
        at_rest: 4,
        unread: 6,
    };
    let collector = Collector::start_with(root.path(), &[], four);
    collector.wait_texts(12);
    let is_within = || collector.metric("files_open") <= 4.0;
    assert!(holds_within(PATIENCE, is_within), "more are open");
    for log in &mut logs {
        log.line("again");
    }
    assert_eq!(collector.wait_texts(24).len(), 24);
    assert!(holds_within(PATIENCE, is_within), "more are open");
    assert_eq!(collector.figures().losses(), None);
}

/// Eight containers, of each of which a line was read; this many of their logs may be open.
fn eight(limit: OpenFilesLimit) -> (DockerRoot, Vec<LogWriter>, Collector) {
    let root = DockerRoot::new();
    let containers = "01234567".chars();
    let mut logs: Vec<LogWriter> = containers.map(|it| root.container(it, "web")).collect();
    logs.iter_mut().for_each(|log| log.line("hello"));
    let collector = Collector::start_with(root.path(), &[("Queue_Limit", "64k")], limit);
    collector.wait_texts(logs.len());
    let is_within = || open_logs(&root).len() <= limit.at_rest;
    assert!(holds_within(PATIENCE, is_within), "more are open");
    (root, logs, collector)
}

/// The one that has been silent for longest is always the next to be written: it is not closed for the
/// one that was just read.
#[test]
fn of_more_logs_that_are_written_in_turn_than_may_be_open_most_stay_open() {
    let limit = OpenFilesLimit {
        at_rest: 6,
        unread: 8,
    };
    let (root, mut logs, collector) = eight(limit);
    let (mut lines, mut closed) = (logs.len(), 0);
    let mut before = open_logs(&root);
    for _ in 0..5 {
        for log in &mut logs {
            log.line("again");
            lines += 1;
            collector.wait_texts(lines);
            let is_within = || open_logs(&root).len() <= limit.at_rest;
            assert!(holds_within(PATIENCE, is_within), "more are open");
            let open = open_logs(&root);
            closed += before.difference(&open).count();
            before = open;
        }
    }
    assert!(closed <= 20, "{closed} were closed in 40 turns");
    assert_eq!(collector.figures().losses(), None);
}

/// Those that were read to their end make place for them.
#[test]
fn logs_at_rest_that_are_written_while_the_output_is_stalled_are_opened_for_others() {
    let limit = OpenFilesLimit {
        at_rest: 4,
        unread: 5,
    };
    let (root, logs, collector) = eight(limit);
    let mut full = root.container('a', "full");
    full.line("first");
    collector.wait_texts(logs.len() + 1);
    collector.pause();
    (0..5_000).for_each(|number| full.line(&format!("other {number}")));
    super::hard_cases::stalled(&root, &collector, &full);
    let open = open_logs(&root);
    let (_, mut resting): (Vec<_>, Vec<_>) =
        logs.into_iter().partition(|log| open.contains(&log.log));
    assert!(resting.len() >= 4, "{} are open", open.len());
    resting.truncate(4);
    resting.iter_mut().for_each(|log| log.line("written"));
    let are_open = || {
        let open = open_logs(&root);
        resting.iter().all(|log| open.contains(&log.log))
    };
    assert!(holds_within(PATIENCE, are_open), "some are not opened");
    assert!(open_logs(&root).len() <= limit.unread);
    let written = resting.len();
    resting.into_iter().for_each(LogWriter::remove);
    collector.resume();
    collector.wait("all lines", |collector| {
        let texts = collector.texts();
        texts.iter().filter(|text| *text == "written").count() == written
    });
    assert_eq!(collector.figures().losses(), None);
}

#[test]
fn a_log_at_rest_is_opened_when_it_is_written_and_closed_again() {
    for is_running in [false, true] {
        let (root, mut log, collector) = resting(is_running);
        for lines in [11, 12, 20] {
            write(&mut log, collector.count()..lines);
            all(&root, &collector, lines);
            rests(&root);
        }
    }
}

#[test]
fn a_rotation_of_a_log_at_rest_loses_and_repeats_nothing() {
    for compress in [false, true] {
        let (root, mut log, collector) = resting(true);
        for turn in 1..5 {
            log.rotate(3, compress);
            write(&mut log, turn * 10..turn * 10 + 10);
            all(&root, &collector, turn * 10 + 10);
            rests(&root);
        }
        // Twice at once; then the file that was read is gone.
        log.rotate(2, compress);
        log.rotate(2, compress);
        write(&mut log, 50..60);
        all(&root, &collector, 60);
    }
}

#[test]
fn a_log_at_rest_that_is_truncated_or_copied_and_truncated_is_read_on() {
    let (root, mut log, collector) = resting(true);
    fs::copy(&log.log, log.log.with_extension("log.1")).expect("a copy");
    super::renamed::truncate(&log.log);
    log.open_log();
    write(&mut log, 10..15);
    all(&root, &collector, 15);
    rests(&root);
    super::renamed::truncate(&log.log);
    log.open_log();
    write(&mut log, 15..30);
    all(&root, &collector, 30);
}

#[test]
fn a_log_at_rest_that_ended_and_is_deleted_is_no_loss() {
    let (root, log, collector) = resting(false);
    fs::remove_file(&log.log).expect("the log");
    all(&root, &collector, 10);
}

#[test]
fn a_container_at_rest_that_is_removed_is_no_loss() {
    for is_running in [false, true] {
        let (root, log, collector) = resting(is_running);
        log.remove();
        all(&root, &collector, 10);
    }
}

/// Waits until a log that was closed is not opened any more without a reason: a file that was written in
/// the last three seconds may be written again with the same stamp, so it is opened at each look.
fn stays_at_rest(root: &DockerRoot, log: &LogWriter, collector: &Collector) {
    let changed = fs::metadata(&log.log).and_then(|it| it.modified());
    let changed = changed.expect("the log");
    let is_old = || {
        changed
            .elapsed()
            .is_ok_and(|age| age > Duration::from_secs(3))
    };
    assert!(holds_within(PATIENCE, is_old), "the clock stands still");
    looked(root, collector);
    rests(root);
}

/// The runtime writes on to a file that nobody can open any more. (One that is open is read on.)
#[test]
fn a_log_at_rest_that_is_deleted_or_replaced_while_its_container_runs_is_said_and_counted() {
    for (is_replaced, said) in [(false, "was deleted"), (true, "replaced")] {
        let (root, log, collector) = resting(true);
        stays_at_rest(&root, &log, &collector);
        if is_replaced {
            let other = log.log.with_extension("new");
            fs::copy(&log.log, &other).expect("a copy");
            fs::rename(&other, &log.log).expect("the log");
        } else {
            fs::remove_file(&log.log).expect("the log");
        }
        let is_said = || collector.has_logged(said);
        assert!(holds_within(PATIENCE, is_said), "{:?}", collector.log());
        looked(&root, &collector);
        let losses = collector.figures().losses().expect("a loss");
        assert!(losses.starts_with("1 files"), "{losses}");
        assert_eq!(collector.texts()[..10], numbers(0..10));
    }
}

#[test]
fn what_is_written_to_a_log_at_rest_while_the_output_is_stalled_is_held() {
    let root = DockerRoot::new();
    let mut log = root.container('b', "web");
    let mut full = root.container('a', "full");
    write(&mut log, 0..10);
    let collector = Collector::start_with(root.path(), &[("Queue_Limit", "64k")], NONE);
    collector.wait_texts(10);
    rests(&root);
    collector.pause();
    (0..5_000).for_each(|number| full.line(&format!("other {number}")));
    super::hard_cases::stalled(&root, &collector, &full);
    write(&mut log, 10..20);
    let is_open = || collector.metric("files_open") > 1.0;
    assert!(holds_within(PATIENCE, is_open), "it is not opened");
    log.remove();
    collector.resume();
    collector.wait("all lines", |collector| {
        let texts = collector.texts();
        numbers(0..20).iter().all(|line| texts.contains(line))
    });
    assert_eq!(collector.figures().losses(), None);
}

#[test]
fn a_restart_of_a_log_at_rest_repeats_nothing() {
    let (root, mut log, collector) = resting(true);
    collector.stop();
    write(&mut log, 10..20);
    let collector = again(root.path());
    assert_eq!(collector.wait_texts(10), numbers(10..20));
    rests(&root);
    collector.stop();
    log.write_config("web", false);
    let collector = again(root.path());
    looked(&root, &collector);
    rests(&root);
    log.write_config("web", true);
    write(&mut log, 20..30);
    let is_there = |collector: &Collector| {
        let texts = collector.texts();
        numbers(0..30)
            .iter()
            .filter(|line| texts.contains(line))
            .count()
    };
    collector.wait("ten lines", |collector| is_there(collector) == 10);
    assert_eq!(collector.figures().losses(), None);
}

/// Each has several slices, and rotated files; more of them are begun than may be open.
#[test]
fn backlogs_of_more_logs_than_may_be_open_are_read_in_turns() {
    let root = DockerRoot::new();
    let lines = 4_000;
    for digit in "0123456789".chars() {
        let mut log = root.container(digit, "web");
        for part in 0..4 {
            if part > 0 {
                log.rotate(5, digit > '4');
            }
            let part = part * lines / 4..(part + 1) * lines / 4;
            let text = "x".repeat(300);
            part.for_each(|number| log.line(&format!("{digit} {number} {text}")));
        }
    }
    let collector = Collector::start_with(root.path(), &[], NONE_AT_ALL);
    let texts = collector.wait_texts(10 * lines);
    for digit in "0123456789".chars() {
        let of_one = texts.iter().filter(|text| text.starts_with(digit));
        let got: Vec<usize> = of_one
            .map(|text| {
                text.split(' ')
                    .nth(1)
                    .expect("two")
                    .parse()
                    .expect("a number")
            })
            .collect();
        assert!(got.into_iter().eq(0..lines), "{digit}");
    }
    assert_eq!(texts.len(), 10 * lines);
    rests(&root);
    assert_eq!(collector.figures().losses(), None);
}
