//! A journald that does not store what it receives: its disk is full, `Storage=none`, or its files
//! were deleted while it writes to them.

use std::io::Write;
use std::path::Path;

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::journald::{JournalWriter, Journald, Storage};
use test_kit::or_skip;
use test_kit::tail_containers::{check, page, program};

use crate::journal::{journaled, start, time, write_lines};

/// How journald's own writing is reported.
const NOT_STORED: &str = "journald has no file to write to in";
const STORED: &str = "journald writes to its journal again";

/// Lines that Docker numbers, of some size.
struct Numbered<'a> {
    dockerd: JournalWriter,
    id: &'a str,
    sent: u64,
}

impl Numbered<'_> {
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let text = format!("line {} {}", self.sent, "x".repeat(4000));
            let stamp = time(u32::try_from(self.sent).expect("few"));
            let ordinal = Some(("00aa", self.sent));
            let stream = "stdout";
            self.dockerd
                .docker_numbered(self.id, stream, &text, &stamp, false, ordinal);
        }
    }
}

/// The numbers of lines, which are in order and once each.
fn numbers(collector: &Collector) -> Vec<u64> {
    let texts = collector.texts();
    let number = |text: &String| text.split(' ').nth(1).and_then(|it| it.parse().ok());
    let numbers: Vec<u64> = texts.iter().filter_map(number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    numbers
}

/// Fills the disk of a folder; returns the file that does.
fn fill(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).expect("a file");
    let block = vec![b'f'; 65536];
    while file.write_all(&block).is_ok() {}
    path
}

/// What is said of the journal by `check`.
fn checked(root: &DockerRoot, journald: &Journald) -> (String, bool) {
    let option = format!("Journal_Path={}", journald.folder().display());
    check(root.path(), &["-o", &option, "-o", "Docker_Socket=off"])
}

#[test]
fn a_full_disk_of_the_journal_repeats_nothing_and_what_docker_sent_meanwhile_is_counted() {
    let test = "journal_unwritten::a_full_disk_of_the_journal_repeats_nothing_and_what_docker_sent_meanwhile_is_counted";
    let Some(journald) = or_skip(test, Journald::on_disk(24)) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let db = root.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Docker_Socket", "off")];
    let dockerd = journald.writer("dockerd", 0);
    let mut docker = Numbered {
        dockerd,
        id: &id,
        sent: 0,
    };
    let mut collector = start(&root, &journald, &options);
    docker.send(100);
    collector.wait("all lines", |collector| collector.count() == 100);
    let filler = fill(&journald.folder());
    // It writes until its file is full, archives it, and cannot make the next one.
    let mut read = 0;
    for is_restart in [false, true] {
        collector.wait("the full disk", |collector| {
            docker.send(20);
            collector.has_logged(NOT_STORED)
        });
        collector.wait("the metric", |collector| {
            collector.metric("containers_unread") == 1.0
        });
        assert_eq!(collector.metric("containers"), 1.0);
        if is_restart {
            break;
        }
        let (page, is_all_read) = checked(&root, &journald);
        assert!(!is_all_read, "{page}");
        assert!(page.contains("journald has no file to write to"), "{page}");
        // And so for a reader that is started then.
        read = numbers(&collector).len() as u64;
        collector.stop();
        collector = start(&root, &journald, &options);
    }
    std::fs::remove_file(filler).expect("a file");
    collector.wait("room", |collector| {
        docker.send(1);
        collector.has_logged(STORED)
    });
    docker.send(300);
    let last = docker.sent;
    collector.wait("the last line", |collector| {
        numbers(collector).last() == Some(&last)
    });
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 0.0
    });
    read += numbers(&collector).len() as u64;
    assert!(numbers(&collector)[0] > 100);
    let abandoned = collector.figures().abandoned;
    assert_eq!(abandoned.entries, docker.sent - read);
    assert!(
        abandoned.entries > 0 && abandoned.generations == 1,
        "{abandoned:?}"
    );
    let said = "of its entries are missing in systemd's journal";
    assert!(collector.has_logged(said), "{:?}", collector.log());
    let (page, is_all_read) = checked(&root, &journald);
    assert!(is_all_read, "{page}");
}

/// As an old journal is left: `Storage=none` is set on a machine that had one.
#[test]
fn a_journald_that_is_told_to_store_nothing_is_noticed_by_a_container_that_is_started_after() {
    let test = "journal_unwritten::a_journald_that_is_told_to_store_nothing_is_noticed_by_a_container_that_is_started_after";
    let Some(mut journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (early, _early) = journaled(&root, 'a');
    let db = root.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Docker_Socket", "off")];
    let mut dockerd = journald.writer("dockerd", 0);
    let collector = start(&root, &journald, &options);
    write_lines(&mut dockerd, &early, 0..10);
    collector.wait("all lines", |collector| collector.count() == 10);
    dockerd.finish();
    journald.restart_as(Storage::None);
    let mut dockerd = journald.writer("dockerd", 0);
    let (late, late_container) = journaled(&root, 'b');
    late_container.set_started("2099-01-01T00:00:00Z");
    write_lines(&mut dockerd, &late, 0..10);
    write_lines(&mut dockerd, &early, 10..20);
    let said = "systemd's journal has had no entry since";
    collector.wait("the silence", |collector| collector.has_logged(said));
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 2.0
    });
    let (page, is_all_read) = checked(&root, &journald);
    assert!(is_all_read, "{page}");
    assert!(
        page.contains("it was started after the last entry of systemd's journal"),
        "{page}"
    );
    dockerd.finish();
    journald.restart_as(Storage::Volatile);
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &late, 20..30);
    collector.wait("all lines", |collector| collector.count() == 20);
    collector.wait("a word", |collector| collector.has_logged(STORED));
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 0.0
    });
    dockerd.finish();
}

/// Nothing was ever stored.
#[test]
fn a_machine_whose_journald_stores_nothing_is_told_by_the_log_and_by_check() {
    let test =
        "journal_unwritten::a_machine_whose_journald_stores_nothing_is_told_by_the_log_and_by_check";
    let Some(mut journald) = or_skip(test, Journald::of_nothing()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..10);
    let on_machine = |arguments: &[&str]| {
        let mut command = journald.on_its_machine(&program());
        command
            .args(["--runtime", "docker", "--docker-root"])
            .arg(root.path())
            .args(arguments);
        command.output().expect("tail-containers runs")
    };
    // The API has no more; it is used where there is one.
    for socket in ["Docker_Socket=off", "Docker_Socket=/nonexistent"] {
        let (page, is_all_read) = page(&on_machine(&["-o", socket, "check"]));
        assert!(!is_all_read, "{page}");
        let said = "systemd's journal cannot be read: there is none in";
        assert!(page.contains(said), "{page}");
        assert!(page.contains("set Storage=auto in journald.conf"), "{page}");
        let output = on_machine(&["-o", socket, "--no-follow"]);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            log.contains("nothing can be read") && log.contains(said),
            "{log}"
        );
    }
    // Beside one that can be read.
    let mut other = root.container('b', "other");
    other.line("its line");
    let output = on_machine(&["-o", "Docker_Socket=off", "--no-follow"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = "journald has no file to write to in /run/log/journal or /var/log/journal";
    assert!(log.contains(said), "{log}");
    other.remove();
    // Whoever waits for it begins when there is one.
    let folder = journald.folder().display().to_string();
    let options = [("Journal_Path", &*folder), ("Docker_Socket", "off")];
    let collector = Collector::start(root.path(), &options);
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 1.0
    });
    collector.wait("a word", |collector| {
        collector.has_logged("there is none in")
    });
    dockerd.finish();
    journald.restart_as(Storage::Volatile);
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 20..30);
    collector.wait("all lines", |collector| collector.count() == 10);
    dockerd.finish();
}

/// `rm system.journal`: journald writes on to the deleted file until it makes another one.
#[test]
fn a_file_that_is_deleted_while_journald_writes_to_it_is_said_and_its_entries_are_counted() {
    let test = "journal_unwritten::a_file_that_is_deleted_while_journald_writes_to_it_is_said_and_its_entries_are_counted";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let db = root.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Docker_Socket", "off")];
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..10);
    let collector = start(&root, &journald, &options);
    collector.wait("all lines", |collector| collector.count() == 10);
    journald.rotate();
    write_lines(&mut dockerd, &id, 10..20);
    collector.wait("all lines", |collector| collector.count() == 20);
    delete(&journald, "system.journal");
    write_lines(&mut dockerd, &id, 20..30);
    collector.wait("the deleted file", |collector| {
        collector.has_logged(NOT_STORED)
    });
    let (page, is_all_read) = checked(&root, &journald);
    assert!(
        !is_all_read && page.contains("journalctl --rotate"),
        "{page}"
    );
    journald.rotate();
    write_lines(&mut dockerd, &id, 30..40);
    collector.wait("all lines", |collector| collector.count() == 30);
    collector.wait("a word", |collector| collector.has_logged(STORED));
    let said = "10 entries of systemd's journal were removed before they were read";
    assert!(collector.has_logged(said), "{:?}", collector.log());
    // While nothing reads, too.
    let (records, _) = collector.stop();
    assert_eq!(records.len(), 30);
    write_lines(&mut dockerd, &id, 40..50);
    crate::journal::await_entry(&journald.folder(), "line 49");
    delete(&journald, "system.journal");
    journald.rotate();
    let collector = start(&root, &journald, &options);
    write_lines(&mut dockerd, &id, 50..60);
    collector.wait("all lines", |collector| collector.count() == 10);
    // journald may have written an entry of its own into the new file, or not.
    let is_said = [
        "journald removed entries before they were read",
        "entries of systemd's journal were removed before they were read",
    ];
    let is_said = is_said.map(|said| collector.times_logged(said));
    assert_eq!(is_said.iter().sum::<usize>(), 1, "{:?}", collector.log());
    assert_eq!(collector.figures().abandoned.generations, 1);
    dockerd.finish();
}

/// `rm -rf /run/log/journal/*`, and journald is restarted, which may begin to number anew.
#[test]
fn a_journal_that_is_deleted_as_a_whole_is_read_on_when_there_is_one_again() {
    let test =
        "journal_unwritten::a_journal_that_is_deleted_as_a_whole_is_read_on_when_there_is_one_again";
    let Some(mut journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let db = root.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Docker_Socket", "off")];
    let mut written = 0;
    for is_live in [true, false] {
        let mut dockerd = journald.writer("dockerd", 0);
        let mut collector = start(&root, &journald, &options);
        write_lines(&mut dockerd, &id, written..written + 10);
        collector.wait("all lines", |collector| collector.count() == 10);
        if !is_live {
            collector.stop();
            write_lines(&mut dockerd, &id, written + 10..written + 20);
            crate::journal::await_entry(&journald.folder(), &format!("line {}", written + 19));
            delete(&journald, "");
            dockerd.finish();
            journald.restart();
            dockerd = journald.writer("dockerd", 0);
            collector = start(&root, &journald, &options);
        } else {
            delete(&journald, "");
            write_lines(&mut dockerd, &id, written + 10..written + 20);
            let said = "systemd's journal cannot be read: there is none in";
            collector.wait("the loss", |collector| collector.has_logged(said));
            collector.wait("the metric", |collector| {
                collector.metric("containers_unread") == 1.0
            });
            dockerd.finish();
            journald.restart();
            dockerd = journald.writer("dockerd", 0);
        }
        write_lines(&mut dockerd, &id, written + 20..written + 30);
        let before = if is_live { 10 } else { 0 };
        collector.wait("all lines", |collector| collector.count() == before + 10);
        // Since systemd 254 the numbers go on.
        let is_said = [
            "is gone, and the journal was begun anew",
            "journald removed entries before they were read",
        ];
        let is_said = is_said.map(|said| collector.times_logged(said));
        assert_eq!(is_said.iter().sum::<usize>(), 1, "{:?}", collector.log());
        assert_eq!(collector.figures().abandoned.generations, 1);
        collector.stop();
        dockerd.finish();
        written += 30;
    }
}

/// Deletes its files with this name, or all.
fn delete(journald: &Journald, name: &str) {
    let files = journald.files().into_iter();
    let files: Vec<_> = files
        .filter(|file| name.is_empty() || file.ends_with(name))
        .collect();
    assert!(!files.is_empty());
    for file in files {
        std::fs::remove_file(file).expect("a file");
    }
}
