//! Rotated files under names that the runtime does not give: those of logrotate with `dateext`,
//! `extension`, `olddir` and other programs for compression, and those of people.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::pod_root::PodRoot;
use test_kit::tail_containers::check;

use super::cut::{a_second, time_now};
use super::hard_cases::{looked, stalled};

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

pub fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    for line in numbers(range) {
        log.line(&line);
    }
}

/// A collector that is paused and behind: it has read this number of lines of `web`, and `full`
/// keeps it from reading more. Its positions are kept in `positions.db`.
pub fn behind(lines: usize) -> (DockerRoot, LogWriter, LogWriter, Collector) {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let mut full = root.container('a', "full");
    let mut log = root.container('b', "web");
    let options = [("Queue_Limit", "64k"), ("DB", &db)];
    let collector = Collector::start(root.path(), &options);
    write(&mut log, 0..lines);
    collector.wait_texts(lines);
    collector.pause();
    (0..5_000).for_each(|number| full.line(&format!("other {number}")));
    stalled(&root, &collector, &full);
    (root, full, log, collector)
}

/// A file beside the log: `{log}` in `name` stands for the name of the log.
pub fn beside(log: &Path, name: &str) -> PathBuf {
    let own = log.file_name().and_then(|name| name.to_str()).unwrap();
    let stem = own.strip_suffix(".log").unwrap();
    let name = name.replace("{log}", own).replace("{stem}", stem);
    let path = log.with_file_name(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

pub fn truncate(log: &Path) {
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(log)
        .unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// logrotate's `copytruncate`, with `compress` if the name ends so.
fn copy_truncate(log: &Path, name: &str) {
    let bytes = fs::read(log).unwrap();
    let bytes = if name.ends_with(".gz") {
        gzip(&bytes)
    } else {
        bytes
    };
    fs::write(beside(log, name), bytes).unwrap();
    truncate(log);
}

/// Collects with positions that are kept.
pub struct Kept {
    pub root: DockerRoot,
    db: String,
}

impl Kept {
    pub fn new() -> Kept {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        Kept { root, db }
    }

    pub fn start(&self) -> Collector {
        Collector::start(self.root.path(), &[("DB", &self.db)])
    }

    /// Reads `count` texts and stops.
    pub fn read(&self, count: usize) -> Vec<String> {
        let collector = self.start();
        collector.wait_texts(count);
        looked(&self.root, &collector);
        let (records, _) = collector.stop();
        let texts = records.iter().map(|record| record.text("log").to_owned());
        texts.collect()
    }
}

#[test]
fn while_down_two_dated_copies_one_compressed_and_the_log_are_read_in_order() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..100);
    assert_eq!(kept.read(100), numbers(0..100));
    write(&mut log, 100..600);
    copy_truncate(&log.log, "{log}-20261125");
    write(&mut log, 600..1_100);
    copy_truncate(&log.log, "{log}-20261126-1764115200.gz");
    write(&mut log, 1_100..2_600);
    assert_eq!(kept.read(2_500), numbers(100..2_600));
    // And nothing of it again.
    write(&mut log, 2_600..2_601);
    assert_eq!(kept.read(1), numbers(2_600..2_601));
}

/// Each copy is younger than its first line, as an edited file is, and nobody writes to it.
#[test]
fn while_down_two_numbered_copies_of_a_log_that_was_truncated_are_read_in_order() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    let write = |log: &mut LogWriter, range: std::ops::Range<usize>| {
        for line in numbers(range) {
            log.piece("stdout", &format!("{line}\n"), &time_now());
        }
        a_second();
    };
    write(&mut log, 0..100);
    copy_truncate(&log.log, "{log}.1");
    write(&mut log, 100..200);
    fs::rename(beside(&log.log, "{log}.1"), beside(&log.log, "{log}.2")).unwrap();
    copy_truncate(&log.log, "{log}.1");
    write(&mut log, 200..210);
    assert_eq!(kept.read(210), numbers(0..210));
    write(&mut log, 210..220);
    assert_eq!(kept.read(10), numbers(210..220));
}

#[test]
fn while_down_a_log_that_was_renamed_compressed_and_made_anew_is_read_in_order() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..10);
    assert_eq!(kept.read(10), numbers(0..10));
    for (index, day) in [23, 24, 25].into_iter().enumerate() {
        let from = 10 + index * 10;
        write(&mut log, from..from + 10);
        let plain = beside(&log.log, &format!("{{log}}-202611{day}"));
        fs::rename(&log.log, &plain).unwrap();
        if day < 25 {
            fs::write(
                format!("{}.gz", plain.display()),
                gzip(&fs::read(&plain).unwrap()),
            )
            .unwrap();
            fs::remove_file(plain).unwrap();
        }
        log.open_log();
    }
    write(&mut log, 40..50);
    assert_eq!(kept.read(40), numbers(10..50));
}

#[test]
fn whatever_the_name_of_a_copy_its_unread_lines_are_read_after_a_restart() {
    let kept = Kept::new();
    let names = [
        "{log}.old",
        "{log}.bak",
        "{stem}.1.log",
        "{stem}-20261126.log",
        "{log}-2026-11-26_13:05:07",
        "{log}-1764115200",
        "{log}_rotated",
        "backup of yesterday",
        "rotated/{log}-20261126.gz",
        "rotated/{log}.1",
    ];
    let mut logs: Vec<(String, LogWriter)> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut log = kept
            .root
            .created_with_id(&format!("{index:064x}"), &format!("web{index}"));
        log.open_log();
        write(&mut log, 0..10);
        logs.push(((*name).to_owned(), log));
    }
    kept.read(10 * names.len());
    for (name, log) in &mut logs {
        write(log, 10..20);
        copy_truncate(&log.log, name);
        write(log, 20..30);
    }
    let collector = kept.start();
    for (name, log) in &logs {
        collector.wait(name, |collector| {
            collector.texts_of(&log.id, "stdout").len() >= 20
        });
        assert_eq!(
            collector.texts_of(&log.id, "stdout"),
            numbers(10..30),
            "{name}"
        );
    }
    assert_eq!(collector.figures().losses(), None);
}

#[test]
fn a_reader_that_is_behind_finds_each_dated_copy() {
    let (root, _full, mut log, collector) = behind(100);
    for (hour, from) in [("13.gz", 100), ("14.gz", 1_100), ("15", 2_100)] {
        write(&mut log, from..from + 1_000);
        copy_truncate(&log.log, &format!("{{log}}-20261126{hour}"));
        looked(&root, &collector);
    }
    write(&mut log, 3_100..3_400);
    collector.resume();
    collector.wait("all lines", |collector| {
        collector.texts_of(&log.id, "stdout").len() >= 3_400
    });
    assert_eq!(collector.texts_of(&log.id, "stdout"), numbers(0..3_400));
    assert_eq!(collector.figures().losses(), None);
}

#[test]
fn a_log_that_is_renamed_and_written_on_is_followed_over_a_restart_and_then_the_new_one() {
    for is_made_anew in [true, false] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..10);
        assert_eq!(kept.read(10), numbers(0..10));
        write(&mut log, 10..20);
        fs::rename(&log.log, beside(&log.log, "{log}-20261126")).unwrap();
        if is_made_anew {
            File::create_new(&log.log).unwrap();
        }
        write(&mut log, 20..30);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(20), numbers(10..30));
        write(&mut log, 30..40);
        assert_eq!(collector.wait_texts(30), numbers(10..40));
        drop(collector.stop());
        write(&mut log, 40..50);
        // dockerd opens the name again when the container is started.
        log.open_log();
        write(&mut log, 50..60);
        assert_eq!(kept.read(20), numbers(40..60), "made anew: {is_made_anew}");
    }
}

#[test]
fn what_no_program_of_ours_decompresses_is_said_counted_and_seen_by_check() {
    for (end, begin) in [
        ("zst", &b"\x28\xb5\x2f\xfd"[..]),
        ("xz", b"\xfd7zXZ\0"),
        ("bz2", b"BZh91AY"),
    ] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..10);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(10), numbers(0..10));
        collector.stop();
        let (page, is_all_read) = check(kept.root.path(), &[]);
        assert!(is_all_read, "{page}");
        write(&mut log, 10..20);
        let name = format!("{{log}}-20261126.{end}");
        fs::write(beside(&log.log, &name), [begin, &[7; 100]].concat()).unwrap();
        truncate(&log.log);
        write(&mut log, 20..30);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(10), numbers(20..30));
        assert!(collector.has_logged(&format!("-20261126.{end} cannot be read")));
        assert_eq!(collector.figures().abandoned.generations, 1);
        let (_, messages) = collector.stop();
        assert!(messages
            .iter()
            .all(|(_, text)| !text.contains("nothing lost")));
        let (page, is_all_read) = check(kept.root.path(), &[]);
        assert!(
            !is_all_read && page.contains(&format!("-20261126.{end}")),
            "{page}"
        );
        assert!(page.contains("only gzip can be read"), "{page}");
    }
}

#[test]
fn however_many_files_are_beside_a_log_a_copy_that_is_named_after_it_is_read() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..10);
    assert_eq!(kept.read(10), numbers(0..10));
    write(&mut log, 10..20);
    copy_truncate(&log.log, "{log}-20261126");
    write(&mut log, 20..30);
    // All of them are newer than the copy.
    for number in 0..1_200 {
        fs::write(beside(&log.log, &format!("core.{number}")), "x").unwrap();
    }
    let collector = kept.start();
    assert_eq!(collector.wait_texts(20), numbers(10..30));
    assert!(collector.has_logged("201 of them are not examined"));
    assert_eq!(collector.figures().losses(), None);
    drop(collector.stop());
    let (page, is_all_read) = check(kept.root.path(), &[]);
    assert!(is_all_read, "{page}");
    assert!(
        page.contains("201 files that are not named after the log are not examined"),
        "{page}"
    );
    for number in 0..1_000 {
        let name = beside(&log.log, &format!("{{log}}.{number}.old"));
        fs::write(name, fs::read(&log.log).unwrap()).unwrap();
    }
    let (page, is_all_read) = check(kept.root.path(), &[]);
    assert!(
        !is_all_read && page.contains("1 rotated logs are not read"),
        "{page}"
    );
}

#[test]
fn a_copy_that_somebody_made_by_hand_is_not_read_as_well() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..10);
    fs::copy(&log.log, beside(&log.log, "{log}.bak")).unwrap();
    write(&mut log, 10..20);
    let collector = kept.start();
    collector.wait_texts(20);
    fs::copy(&log.log, beside(&log.log, "another copy")).unwrap();
    looked(&kept.root, &collector);
    log.rotate(3, true);
    write(&mut log, 20..30);
    assert_eq!(collector.wait_texts(30), numbers(0..30));
    looked(&kept.root, &collector);
    drop(collector.stop());
    write(&mut log, 30..40);
    assert_eq!(kept.read(10), numbers(30..40));
}

/// The copy is where nobody can know of it.
#[test]
fn a_log_truncated_while_reading_is_behind_is_not_said_to_have_lost_nothing() {
    let (root, _full, mut log, collector) = behind(10);
    write(&mut log, 10..3_000);
    truncate(&log.log);
    write(&mut log, 3_000..3_001);
    // The reader knows of the writes; then the time that it may take for a log that it is not
    // behind in.
    looked(&root, &collector);
    let since = std::time::Instant::now();
    collector.wait("a delay", |_| since.elapsed().as_millis() > 700);
    collector.resume();
    collector.wait("the line after it", |collector| {
        collector
            .texts_of(&log.id, "stdout")
            .contains(&"line 3000".to_owned())
    });
    collector.wait("the message", |collector| {
        collector.has_logged("was truncated before it was read to the end")
    });
    assert_eq!(collector.figures_of("web").abandoned.generations, 1);
    let (_, messages) = collector.stop();
    assert!(messages
        .iter()
        .all(|(_, text)| !text.contains("nothing lost")));
}

#[test]
fn what_is_left_in_a_log_at_a_stop_is_said() {
    let (_root, full, mut log, collector) = behind(10);
    let before = fs::metadata(&log.log).unwrap().len();
    write(&mut log, 10..100);
    let unread = fs::metadata(&log.log).unwrap().len() - before;
    let read = collector.figures_of("full").read.bytes;
    let unread = unread + fs::metadata(&full.log).unwrap().len() - read;
    let (_, messages) = collector.stop();
    let end = messages
        .iter()
        .find(|(_, text)| text.starts_with("stopped: "));
    let end = &end.unwrap().1;
    assert!(
        end.contains(&format!(", {unread} unread")),
        "{unread}: {end}"
    );
}

#[test]
fn a_pods_log_under_a_dated_name_is_read_after_a_restart() {
    let pods = PodRoot::new();
    let mut log = pods.container("shop", "cart", "web");
    let db = pods.path().join("positions.db").display().to_string();
    let logs = pods.pods().display().to_string();
    let options = [("Runtime", "cri"), ("Pod_Logs", &logs), ("DB", &db)];
    let start = || Collector::start(pods.path(), &options);
    (0..10).for_each(|number| log.line(&format!("line {number}")));
    let collector = start();
    collector.wait_texts(10);
    drop(collector.stop());
    (10..20).for_each(|number| log.line(&format!("line {number}")));
    copy_truncate(&log.log(), "{log}-20261126.gz");
    (20..30).for_each(|number| log.line(&format!("line {number}")));
    assert_eq!(start().wait_texts(20), numbers(10..30));
}

#[test]
fn a_log_that_was_renamed_while_it_was_empty_is_read_once_it_is_written_on() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    fs::rename(&log.log, beside(&log.log, "{log}-20261126")).unwrap();
    File::create_new(&log.log).unwrap();
    let collector = kept.start();
    looked(&kept.root, &collector);
    write(&mut log, 0..10);
    assert_eq!(collector.wait_texts(10), numbers(0..10));
}

/// `sed -i.bak`: the log is a copy of what is beside it, and is written from now on.
#[test]
fn a_log_that_was_edited_with_a_backup_beside_it_is_read_on_live_and_after_a_restart() {
    for is_live in [true, false] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..10);
        let mut running = Some(kept.start());
        running.as_ref().unwrap().wait_texts(10);
        if !is_live {
            drop(running.take());
        }
        let bytes = fs::read(&log.log).unwrap();
        let new = beside(&log.log, "sedXyz123");
        fs::write(&new, bytes).unwrap();
        fs::rename(&log.log, beside(&log.log, "{log}.bak")).unwrap();
        fs::rename(new, &log.log).unwrap();
        log.open_log();
        let collector = running.unwrap_or_else(|| kept.start());
        looked(&kept.root, &collector);
        write(&mut log, 10..20);
        let first = if is_live { 0 } else { 10 };
        assert_eq!(collector.wait_texts(20 - first), numbers(first..20));
        looked(&kept.root, &collector);
        assert_eq!(collector.texts(), numbers(first..20), "live: {is_live}");
    }
}

#[test]
fn while_down_an_archive_with_the_date_behind_its_ending_is_read() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..100);
    assert_eq!(kept.read(100), numbers(0..100));
    write(&mut log, 100..200);
    let archive = gzip(&fs::read(&log.log).unwrap());
    fs::write(beside(&log.log, "{log}.gz.20261126"), archive).unwrap();
    truncate(&log.log);
    write(&mut log, 200..300);
    assert_eq!(kept.read(200), numbers(100..300));
    write(&mut log, 300..301);
    assert_eq!(kept.read(1), numbers(300..301));
}

/// Somebody made one before the last lines, or it was copied again since.
#[test]
fn of_two_copies_of_a_truncated_log_the_one_that_has_more_is_read() {
    for (full_copy, short_copy) in [("{log}.1", "{log}.copy"), ("{log}.copy", "{log}.1")] {
        let (root, _full, mut log, collector) = behind(100);
        write(&mut log, 100..200);
        let short = fs::read(&log.log).unwrap();
        write(&mut log, 200..1_000);
        fs::copy(&log.log, beside(&log.log, full_copy)).unwrap();
        fs::write(beside(&log.log, short_copy), short).unwrap();
        truncate(&log.log);
        write(&mut log, 1_000..1_100);
        looked(&root, &collector);
        collector.resume();
        collector.wait("all lines", |collector| {
            collector.texts_of(&log.id, "stdout").len() >= 1_100
        });
        assert_eq!(collector.texts_of(&log.id, "stdout"), numbers(0..1_100));
        assert_eq!(collector.figures().losses(), None);
    }
}

/// logrotate with `copytruncate`, `compress` and `delaycompress`, and dockerd's `max-size`, over one log.
#[test]
fn numbers_of_logrotate_beside_those_of_dockerd_lose_and_repeat_nothing() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..100);
    copy_truncate(&log.log, "{log}.1");
    assert_eq!(kept.read(100), numbers(0..100));
    write(&mut log, 100..180);
    log.rotate(5, false);
    write(&mut log, 180..220);
    let plain = beside(&log.log, "{log}.1");
    let written = fs::metadata(&plain).unwrap().modified().unwrap();
    let archive = beside(&log.log, "{log}.2.gz");
    fs::write(&archive, gzip(&fs::read(&plain).unwrap())).unwrap();
    File::open(&archive).unwrap().set_modified(written).unwrap();
    fs::remove_file(plain).unwrap();
    copy_truncate(&log.log, "{log}.1");
    write(&mut log, 220..240);
    let collector = kept.start();
    assert_eq!(collector.wait_texts(140), numbers(100..240));
    looked(&kept.root, &collector);
    assert_eq!(collector.figures().abandoned.generations, 0);
    collector.stop();
    write(&mut log, 240..250);
    log.rotate(5, false);
    write(&mut log, 250..260);
    assert_eq!(kept.read(20), numbers(240..260));
}

/// `mv LOG LOG.8`, to which dockerd writes on until it renames that and its own `LOG.1` alike.
#[test]
fn a_log_that_got_a_high_number_and_was_renamed_with_older_ones_is_read_after_them() {
    for before in [10, 20] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..10);
        log.rotate(5, false);
        write(&mut log, 10..before);
        assert_eq!(kept.read(before), numbers(0..before));
        fs::rename(&log.log, beside(&log.log, "{log}.8")).unwrap();
        write(&mut log, before..30);
        for (from, to) in [("{log}.8", "{log}.9"), ("{log}.1", "{log}.2")] {
            fs::rename(beside(&log.log, from), beside(&log.log, to)).unwrap();
        }
        log.open_log();
        write(&mut log, 30..40);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(40 - before), numbers(before..40));
        assert_eq!(collector.figures().lost(), 0);
        collector.stop();
    }
}

/// `mv LOG LOG.2` beside a `LOG.1`, and a copy in its place: dockerd writes on to `LOG.2`.
#[test]
fn a_log_that_got_the_number_of_an_older_one_is_read_in_its_place() {
    for is_read_before in [true, false] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..10);
        log.rotate(5, false);
        write(&mut log, 10..20);
        let first = if is_read_before { 20 } else { 0 };
        if is_read_before {
            assert_eq!(kept.read(20), numbers(0..20));
        }
        write(&mut log, 20..30);
        let numbered = beside(&log.log, "{log}.2");
        fs::rename(&log.log, &numbered).unwrap();
        write(&mut log, 30..40);
        let copy = beside(&log.log, "copy");
        fs::copy(&numbered, &copy).unwrap();
        fs::rename(copy, &log.log).unwrap();
        write(&mut log, 40..50);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(50 - first), numbers(first..50));
        write(&mut log, 50..60);
        assert_eq!(collector.wait_texts(60 - first), numbers(first..60));
        assert_eq!(collector.figures().lost(), 0);
        collector.stop();
    }
}
