//! The head of a log is cut off by hand: what is left of what was read is not read again.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::format::rfc3339;
use test_kit::collector::Collector;
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::wait_until;

use super::hard_cases::looked;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// `tail -n … LOG > x; mv x LOG`, and `sed -i`.
    Renamed,
    /// `tail -n … LOG > x; cat x > LOG`.
    Overwritten,
    /// `tail -c … LOG > x; mv x LOG`.
    InMidLine,
}

const WAYS: [Way; 3] = [Way::Renamed, Way::Overwritten, Way::InMidLine];

/// Keeps the last `lines` of the log.
fn cut(log: &Path, lines: usize, way: Way) {
    let text = fs::read_to_string(log).unwrap();
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let mut kept = all[all.len() - lines..].concat();
    if way == Way::InMidLine {
        let before = all[all.len() - lines - 1];
        kept.insert_str(0, &before[before.len() / 2..]);
    }
    if way == Way::Overwritten {
        let mut file = fs::OpenOptions::new().write(true).open(log).unwrap();
        // In one step for whoever reads it.
        file.write_all(kept.as_bytes()).unwrap();
        file.set_len(kept.len() as u64).unwrap();
        return;
    }
    fs::write(log.with_file_name("x"), kept).unwrap();
    fs::rename(log.with_file_name("x"), log).unwrap();
}

fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    range.for_each(|number| log.line(&format!("line {number} of the log")));
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    let text = |number| format!("line {number} of the log");
    range.map(text).collect()
}

fn started(root: &DockerRoot) -> Collector {
    let db = root.path().join("positions.db").display().to_string();
    Collector::start(root.path(), &[("DB", &db)])
}

/// A log of which 150 lines were read, and then 30 were written and all but the last `lines` cut off
/// while nobody reads.
fn cut_while_down(lines: usize, way: Way) -> (DockerRoot, LogWriter) {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..150);
    let collector = started(&root);
    collector.wait_texts(150);
    drop(collector.stop());
    write(&mut log, 150..180);
    cut(&log.log, lines, way);
    (root, log)
}

#[test]
fn while_down_what_is_left_of_what_was_read_is_not_read_again() {
    for way in WAYS {
        let (root, mut log) = cut_while_down(100, way);
        let start = || started(&root);
        log.open_log();
        write(&mut log, 180..190);
        let collector = start();
        assert_eq!(collector.wait_texts(40), numbers(150..190), "{way:?}");
        // What the runtime wrote to the file that was there before, nobody knows.
        let lost = u64::from(way != Way::Overwritten);
        assert_eq!(collector.figures().abandoned.generations, lost, "{way:?}");
        drop(collector.stop());
        write(&mut log, 190..191);
        assert_eq!(start().wait_texts(1), numbers(190..191), "{way:?}");
    }
}

#[test]
fn while_down_lines_that_were_cut_off_unread_are_said_and_counted() {
    for way in WAYS {
        let (root, _log) = cut_while_down(20, way);
        let start = || started(&root);
        let collector = start();
        let texts = collector.wait_texts(20);
        assert_eq!(texts, numbers(160..180), "{way:?}");
        assert_eq!(collector.figures().abandoned.generations, 1, "{way:?}");
        let (_, messages) = collector.stop();
        let is_said = |(_, text): &(_, String)| text.contains("lost");
        assert!(messages.iter().any(is_said), "{messages:?}");
    }
}

#[test]
fn live_what_is_left_of_what_was_read_is_not_read_again() {
    for way in WAYS {
        let (root, mut log, collector) = Collector::of_one(&[("Rescan_Interval", "100ms")]);
        write(&mut log, 0..150);
        collector.wait_texts(150);
        cut(&log.log, 100, way);
        looked(&root, &collector);
        // By whoever has it open, and by the daemon once the container was started again.
        write(&mut log, 150..160);
        collector.wait_texts(160);
        log.open_log();
        write(&mut log, 160..170);
        assert_eq!(collector.wait_texts(170), numbers(0..170), "{way:?}");
        looked(&root, &collector);
        assert_eq!(collector.texts(), numbers(0..170), "{way:?}");
        assert_eq!(collector.figures().lost(), 0, "{way:?}");
    }
}

/// conmon gives the entries of one read one time, and rotates between them: the new file takes the
/// name of the log.
#[test]
fn a_rotation_between_equal_lines_of_one_time_loses_none() {
    for later in [0, 3] {
        let (root, mut log, collector) = Collector::of_one(&[("Rescan_Interval", "100ms")]);
        write(&mut log, 0..100);
        let time = "2023-11-14T22:13:30.000000000Z";
        (0..5).for_each(|_| log.piece("stdout", "same\n", time));
        collector.wait_texts(105);
        let mut new = record("stdout", "same\n", time).repeat(4);
        for second in 0..later {
            let time = format!("2023-11-14T22:13:4{second}.000000000Z");
            new += &record("stdout", "same\n", &time);
        }
        fs::write(log.log.with_file_name("x"), new).unwrap();
        fs::rename(log.log.with_file_name("x"), &log.log).unwrap();
        collector.wait_texts(109 + later);
        looked(&root, &collector);
        let mut want = numbers(0..100);
        want.resize(109 + later, "same".to_owned());
        assert_eq!(collector.texts(), want);
    }
}

/// The time of now, as the runtime writes it.
pub fn time_now() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    rfc3339::format(Timestamp::at(u64::try_from(since.as_nanos()).unwrap()))
}

/// Until what is written now is a second later than all before.
pub fn a_second() {
    let begin = Instant::now();
    wait_until(Duration::from_secs(10), "a second", || {
        begin.elapsed() > Duration::from_millis(1_100)
    });
}

/// conmon gives the lines of one read one time. Somebody replaces the log within them, conmon writes
/// on to the file that was there before, and the container is started again. Returns what
/// is delivered besides what was written.
fn live_within_one_time(replaced: impl Fn(&[&str]) -> String) -> Vec<String> {
    let (root, mut log, collector) = Collector::of_one(&[("Rescan_Interval", "100ms")]);
    let write = |log: &mut LogWriter, range: std::ops::Range<usize>| {
        let time = time_now();
        range.for_each(|number| log.piece("stdout", &format!("line {number} of the log\n"), &time));
    };
    write(&mut log, 0..70);
    collector.wait_texts(70);
    a_second();
    let text = fs::read_to_string(&log.log).unwrap();
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(log.log.with_file_name("x"), replaced(&all)).unwrap();
    fs::rename(log.log.with_file_name("x"), &log.log).unwrap();
    looked(&root, &collector);
    write(&mut log, 70..100);
    collector.wait_texts(100);
    looked(&root, &collector);
    write(&mut log, 100..110);
    assert_eq!(collector.wait_texts(110), numbers(0..110));
    a_second();
    log.open_log();
    write(&mut log, 110..120);
    let last = numbers(119..120);
    collector.wait("the last line", |collector| {
        collector.texts().ends_with(&last)
    });
    assert_eq!(collector.figures().lost(), 0);
    let mut texts = collector.texts();
    assert_eq!(texts.split_off(texts.len() - 10), numbers(110..120));
    texts.split_off(110)
}

#[test]
fn live_a_cut_within_lines_of_one_time_loses_and_repeats_none() {
    let more = live_within_one_time(|all| all[5..].concat());
    assert_eq!(more, numbers(0..0));
}

#[test]
fn live_what_is_written_on_to_a_log_that_was_edited_is_read() {
    for from in [0, 5] {
        let lacks_one = |all: &[&str]| all[from..30].concat() + &all[31..].concat();
        assert_eq!(live_within_one_time(lacks_one), numbers(0..0), "{from}");
    }
}

/// It is delivered, too, once the runtime writes to it.
#[test]
fn live_what_is_written_on_to_a_log_in_whose_place_something_else_was_put_is_read() {
    let more = live_within_one_time(|all| all[5..].concat().replace("line ", "LINE "));
    assert_eq!(more.len(), 65, "{more:?}");
    assert!(more.iter().all(|text| text.starts_with("LINE ")));
}
