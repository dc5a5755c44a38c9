//! Files of a log that somebody deleted before they were read: each is counted once, with its name
//! and its bytes where these are known, and nobody says that nothing was lost.

use std::fs::{self, OpenOptions};
use std::io::Write;

use test_kit::collector::Collector;
use test_kit::docker_root::{record, LogWriter};
use test_kit::tail_containers::check;

use super::hard_cases::looked;
use super::renamed::{behind, beside, numbers, truncate, write, Kept};

/// The messages of a stop.
fn stopped(collector: Collector) -> Vec<String> {
    let (_, messages) = collector.stop();
    messages.into_iter().map(|(_, text)| text).collect()
}

/// The messages of a stop, before which this number of bytes and of files was lost.
fn stopped_with(collector: Collector, bytes: u64, files: u64) -> Vec<String> {
    let lost = (bytes > 0).then(|| format!("{bytes} bytes that could not be read"));
    let files = (files > 0).then(|| {
        format!("{files} files that were deleted or unreadable before their end was read")
    });
    let lost: Vec<String> = lost.into_iter().chain(files).collect();
    let end = match lost.is_empty() {
        true => "; nothing lost".to_owned(),
        false => format!("; lost: {}", lost.join(", ")),
    };
    let messages = stopped(collector);
    let last = messages.iter().rfind(|text| text.starts_with("stopped: "));
    assert!(
        last.is_some_and(|last| last.ends_with(&end)),
        "{messages:#?}"
    );
    messages
}

fn says(messages: &[String], parts: [&str; 2]) -> bool {
    let has_all = |text: &String| parts.iter().all(|part| text.contains(part));
    messages.iter().any(has_all)
}

fn size(log: &LogWriter, name: &str) -> u64 {
    fs::metadata(beside(&log.log, name)).unwrap().len()
}

#[test]
fn the_rest_of_a_deleted_file_is_counted_at_a_stop_and_never_again() {
    let (root, full, mut log, collector) = behind(10);
    let read = size(&log, "{log}");
    write(&mut log, 10..100);
    log.rotate(3, false);
    write(&mut log, 100..110);
    looked(&root, &collector);
    let rest = size(&log, "{log}.1") - read;
    fs::remove_file(beside(&log.log, "{log}.1")).unwrap();
    let messages = stopped_with(collector, rest, 1);
    let said = format!("-json.log.1, which was deleted, with {rest} unread bytes; they are lost");
    assert!(says(&messages, ["container web (", &said]), "{messages:#?}");

    let db = root.path().join("positions.db").display().to_string();
    let collector = Collector::start(root.path(), &[("DB", &db)]);
    collector.wait("the lines behind it", |collector| {
        collector.texts_of(&log.id, "stdout").len() >= 10
            && !collector.texts_of(&full.id, "stdout").is_empty()
    });
    assert_eq!(collector.texts_of(&log.id, "stdout"), numbers(100..110));
    stopped_with(collector, 0, 0);
}

#[test]
fn a_deleted_file_between_two_others_is_counted_at_a_stop() {
    let (root, _full, mut log, collector) = behind(10);
    write(&mut log, 10..20);
    log.rotate(4, false);
    write(&mut log, 20..100);
    log.rotate(4, false);
    write(&mut log, 100..110);
    looked(&root, &collector);
    let bytes = size(&log, "{log}.1");
    fs::remove_file(beside(&log.log, "{log}.1")).unwrap();
    let messages = stopped_with(collector, bytes, 1);
    assert!(says(&messages, ["-json.log.1, which was deleted", "web"]));
}

/// dockerd deletes the original once it has compressed it.
#[test]
fn a_deleted_file_of_which_an_archive_is_left_is_not_lost_at_a_stop() {
    let (root, _full, mut log, collector) = behind(10);
    write(&mut log, 10..100);
    looked(&root, &collector);
    log.rotate(3, true);
    write(&mut log, 100..110);
    looked(&root, &collector);
    stopped_with(collector, 0, 0);
    let db = root.path().join("positions.db").display().to_string();
    let collector = Collector::start(root.path(), &[("DB", &db)]);
    collector.wait("the rest", |collector| {
        collector.texts_of(&log.id, "stdout").len() >= 100
    });
    assert_eq!(collector.texts_of(&log.id, "stdout"), numbers(10..110));
}

/// logrotate without `delaycompress`: the daemon writes on to the file that was compressed and deleted.
#[test]
fn what_is_written_to_a_deleted_file_behind_its_archive_is_counted_at_a_stop() {
    let (root, _full, mut log, collector) = behind(10);
    write(&mut log, 10..100);
    looked(&root, &collector);
    let mut writer = OpenOptions::new().append(true).open(&log.log).unwrap();
    log.rotate(3, true);
    looked(&root, &collector);
    let more = record("stdout", "more\n", "2023-11-14T22:13:30Z");
    writer.write_all(more.as_bytes()).unwrap();
    looked(&root, &collector);
    let messages = stopped_with(collector, more.len() as u64, 1);
    assert!(
        says(&messages, ["which was deleted", "reading stops"]),
        "{messages:#?}"
    );
}

#[test]
fn the_log_of_a_removed_container_is_counted_at_a_stop_and_never_again() {
    let (root, full, mut log, collector) = behind(10);
    let read = size(&log, "{log}");
    write(&mut log, 10..100);
    looked(&root, &collector);
    let rest = size(&log, "{log}") - read;
    log.remove();
    looked(&root, &collector);
    let messages = stopped_with(collector, rest, 1);
    assert!(says(&messages, ["-json.log, which was deleted", "web"]));

    let db = root.path().join("positions.db").display().to_string();
    let collector = Collector::start(root.path(), &[("DB", &db)]);
    collector.wait("the other one", |collector| {
        !collector.texts_of(&full.id, "stdout").is_empty()
    });
    looked(&root, &collector);
    assert!(!collector.has_logged("are missing at this start"));
    stopped_with(collector, 0, 0);
}

#[test]
fn a_number_that_is_missing_between_two_rotated_files_is_counted_once_reading_gets_there() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..30);
    assert_eq!(kept.read(30), numbers(0..30));
    write(&mut log, 30..35);
    for from in [35, 41, 48] {
        log.rotate(9, false);
        write(&mut log, from..from + 6);
    }
    fs::remove_file(beside(&log.log, "{log}.1")).unwrap();
    fs::remove_file(beside(&log.log, "{log}.2")).unwrap();
    let collector = kept.start();
    let rest = [numbers(30..35), numbers(48..54)].concat();
    assert_eq!(collector.wait_texts(11), rest);
    collector.wait("the count", |collector| {
        collector.metric("abandoned_files_total") == 2.0
    });
    let messages = stopped_with(collector, 0, 2);
    let said = "files of its log are missing (2), the newest of them ";
    assert!(says(
        &messages,
        [said, "-json.log.1: somebody deleted them"]
    ));

    // And never again.
    write(&mut log, 54..55);
    let collector = kept.start();
    assert_eq!(collector.wait_texts(1), numbers(54..55));
    stopped_with(collector, 0, 0);
}

#[test]
fn each_archive_that_cannot_be_read_is_counted_and_named_once() {
    for is_copied in [false, true] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..10);
        assert_eq!(kept.read(10), numbers(0..10));
        const ARCHIVES: [(&str, &[u8], &str); 9] = [
            ("1.xz", b"\xfd7zXZ\0", "compressed with xz, and"),
            ("2.zst", b"\x28\xb5\x2f\xfd", "compressed with zstd, and"),
            ("3.bz2", b"BZh9", "compressed with bzip2, and"),
            ("4.lzo", b"\x89LZO\0\r\n\x1a\n", "compressed with lzop, and"),
            ("5.7z", b"7z\xbc\xaf\x27\x1c", "compressed with 7z, and"),
            ("6.lz", b"LZIP\x01", "compressed with lzip, and"),
            ("7.sz", b"\xff\x06\0\0sNaPpY", "compressed with snappy, and"),
            // These begin with anything.
            (
                "8.br",
                b"\x8b\x03\x80\xff",
                "perhaps compressed or encrypted;",
            ),
            ("9.gpg", b"text", "perhaps compressed or encrypted;"),
        ];
        for (name, begin, _) in ARCHIVES {
            write(&mut log, 10..20);
            fs::write(beside(&log.log, &format!("{{log}}-{name}")), begin).unwrap();
            match is_copied {
                true => truncate(&log.log),
                false => {
                    fs::remove_file(&log.log).unwrap();
                    log.open_log();
                }
            }
        }
        write(&mut log, 20..30);
        let (page, _) = check(kept.root.path(), &[]);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(10), numbers(20..30));
        let messages = stopped_with(collector, 0, 9);
        for (name, _, program) in ARCHIVES {
            let (said, reason) = (
                format!("-json.log-{name} cannot be read: it is "),
                format!("{program} only gzip can be read"),
            );
            assert!(says(&messages, [&said, &reason]), "{messages:#?}");
            assert!(page.contains(&format!("-json.log-{name}")) && page.contains(&reason));
        }
        // And never again, whether or not there is a further line.
        let collector = kept.start();
        looked(&kept.root, &collector);
        stopped_with(collector, 0, 0);
        write(&mut log, 30..31);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(1), numbers(30..31));
        stopped_with(collector, 0, 0);
    }
}

/// The log of a container, running or not, is deleted while nothing is read.
#[test]
fn a_deleted_log_is_counted_once_over_all_restarts() {
    let file = " files that were deleted";
    for is_running in [true, false] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        log.write_config("web", is_running);
        write(&mut log, 0..10);
        assert_eq!(kept.read(10), numbers(0..10));
        write(&mut log, 10..20);
        fs::remove_file(&log.log).unwrap();
        let said = match is_running {
            true => "-json.log was deleted; its unread lines are lost",
            false => "-json.log no longer exists: it was deleted while nothing was read, or",
        };
        for start in 0..3 {
            let collector = kept.start();
            // It lasts while the container runs.
            let is_said = start == 0 || is_running;
            collector.wait("a message", |collector| {
                !is_said || collector.has_logged(said)
            });
            looked(&kept.root, &collector);
            let messages = stopped_with(collector, 0, u64::from(start == 0));
            let is_named = messages
                .iter()
                .any(|text| text.contains("web") && text.contains(said));
            assert_eq!(is_named, is_said, "{messages:#?}");
            assert_eq!(
                says(&messages, ["lost 1", file]),
                start == 0,
                "{messages:#?}"
            );
        }
        log.write_config("web", true);
        log.open_log();
        write(&mut log, 20..30);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(10), numbers(20..30));
        stopped_with(collector, 0, 0);
    }
}

/// dockerd writes on to the renamed file, and makes no new one.
#[test]
fn a_log_that_was_renamed_under_a_running_container_is_read_on_and_not_said_to_be_lost() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    log.write_config("web", true);
    write(&mut log, 0..10);
    assert_eq!(kept.read(10), numbers(0..10));
    write(&mut log, 10..20);
    fs::rename(&log.log, beside(&log.log, "{log}.old")).unwrap();
    write(&mut log, 20..30);
    let (page, _) = check(kept.root.path(), &[]);
    let found = "container web: its log is not there while it runs: it was deleted, or renamed and is read under its other name";
    assert!(page.contains(found), "{page}");
    let collector = kept.start();
    assert_eq!(collector.wait_texts(20), numbers(10..30));
    let said = "-json.log is not there: if it was renamed, that file is still written, is read";
    collector.wait("a message", |collector| collector.has_logged(said));
    write(&mut log, 30..40);
    assert_eq!(collector.wait_texts(30), numbers(10..40));
    let messages = stopped_with(collector, 0, 0);
    let deleted = "was deleted; its unread lines are lost";
    assert!(!says(&messages, [deleted, ""]), "{messages:#?}");
}

/// The position is in no file, and there is nothing new that would move it.
#[test]
fn a_rotated_or_truncated_log_is_counted_once_though_nothing_is_written_since() {
    for is_truncated in [true, false] {
        let kept = Kept::new();
        let mut log = kept.root.container('a', "web");
        write(&mut log, 0..5);
        log.rotate(5, false);
        write(&mut log, 5..10);
        assert_eq!(kept.read(10), numbers(0..10));
        match is_truncated {
            true => {
                truncate(&log.log);
                log.open_log();
            }
            false => log.recreate(),
        }
        for lost in [1, 0, 0] {
            let collector = kept.start();
            looked(&kept.root, &collector);
            stopped_with(collector, 0, lost);
        }
        write(&mut log, 10..20);
        let collector = kept.start();
        assert_eq!(collector.wait_texts(10), numbers(10..20));
        stopped_with(collector, 0, 0);
    }
}

/// `rm` and `touch`: dockerd writes on to the file that it has open. For all other ways and runtimes see
/// `replaced`.
#[test]
fn a_log_that_was_made_empty_under_a_running_container_is_said_counted_and_checked() {
    let said =
        "was replaced by hand (an editor, sed -i, mv, rm, or logrotate without copytruncate)";
    let found = "container web: its log was replaced by hand while it ran";
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    log.set_started("2023-11-14T22:13:19Z");
    write(&mut log, 0..10);
    assert_eq!(kept.read(10), numbers(0..10));
    let (page, is_all_read) = check(kept.root.path(), &[]);
    assert!(is_all_read, "{page}");
    let copy = beside(&log.log, "copy");
    fs::write(&copy, "").unwrap();
    fs::rename(copy, &log.log).unwrap();
    // It is lost.
    write(&mut log, 10..20);
    for lost in [1, 0] {
        let collector = kept.start();
        collector.wait("a message", |collector| collector.has_logged(said));
        collector.wait("the count", |collector| {
            collector.metric("containers_unread") == 1.0
        });
        stopped_with(collector, 0, lost);
        let (page, is_all_read) = check(kept.root.path(), &[]);
        assert!(!is_all_read && page.contains(found), "{page}");
    }
    // The container is started again.
    log.set_started("2100-01-01T00:00:00Z");
    log.open_log();
    write(&mut log, 20..30);
    let collector = kept.start();
    assert_eq!(collector.wait_texts(10), numbers(20..30));
    assert_eq!(collector.metric("containers_unread"), 0.0);
    stopped_with(collector, 0, 0);
    let (page, is_all_read) = check(kept.root.path(), &[]);
    assert!(is_all_read, "{page}");
}

/// A cron job that empties every log is common, and so is a rotation before it: the file was made
/// after the container's start, and is empty.
#[test]
fn a_log_that_was_truncated_under_a_running_container_is_not_taken_for_replaced() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    log.set_started("2023-11-14T22:13:19Z");
    write(&mut log, 0..10);
    assert_eq!(kept.read(10), numbers(0..10));
    let file = fs::File::options().write(true).open(&log.log).unwrap();
    file.set_len(0).unwrap();
    // As if the truncation were an hour after the rotation.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    file.set_modified(later).unwrap();
    let (page, is_all_read) = check(kept.root.path(), &[]);
    assert!(is_all_read && !page.contains("replaced by hand"), "{page}");
    let collector = kept.start();
    looked(&kept.root, &collector);
    assert_eq!(collector.metric("containers_unread"), 0.0);
    let messages = stopped(collector);
    let said = |text: &String| text.contains("was replaced by hand");
    assert!(!messages.iter().any(said), "{messages:#?}");
}

/// `mv LOG LOG.keep; cp LOG.keep LOG` while dockerd writes on, and the plugin starts for the first
/// time: the lines are in the file that was renamed.
#[test]
fn at_the_first_start_the_original_of_a_copy_is_read_on() {
    let kept = Kept::new();
    let mut log = kept.root.container('a', "web");
    write(&mut log, 0..10);
    let original = beside(&log.log, "keep");
    fs::rename(&log.log, &original).unwrap();
    fs::copy(&original, &log.log).unwrap();
    write(&mut log, 10..20);
    let collector = kept.start();
    assert_eq!(collector.wait_texts(20), numbers(0..20));
    write(&mut log, 20..30);
    assert_eq!(collector.wait_texts(30), numbers(0..30));
    stopped_with(collector, 0, 0);
}
