//! What is missing in systemd's journal is counted and said, and the last lines of it are found.

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::journald::Journald;
use test_kit::podman_storage::{PodmanStorage, Start};
use test_kit::tail_containers::run;
use test_kit::{holds_within, or_skip};

use crate::journal::{journaled, start, time, write_lines, PATIENCE};

/// Docker numbers them since 23.
#[test]
fn entries_that_docker_sent_and_the_journal_lacks_are_counted_for_their_container() {
    let test = "journal_losses::entries_that_docker_sent_and_the_journal_lacks_are_counted_for_their_container";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let db = root.path().join("positions.db").display().to_string();
    let mut dockerd = journald.writer("dockerd", 0);
    // Of the second start, 1 to 4, 7 and 8 are missing; 11 and 12 have changed places.
    let starts = [
        ("00aa", vec![5, 6, 7]),
        ("00bb", vec![5, 6, 9, 10, 12, 11, 13]),
    ];
    let mut sent = 0;
    let collector = start(&root, &journald, &[("DB", &db)]);
    for (epoch, numbers) in starts {
        for number in numbers {
            let text = format!("line {sent}");
            let ordinal = Some((epoch, number));
            dockerd.docker_numbered(&id, "stdout", &text, &time(sent), false, ordinal);
            sent += 1;
        }
    }
    collector.wait("all lines", |collector| collector.count() >= sent as usize);
    assert_eq!(collector.figures().abandoned.entries, 6);
    // At once, but for the last one, which may be late; the others within a minute.
    assert!(collector.has_logged("3 of its entries are missing in systemd's journal"));
    collector.stop();
    // The next run knows the last number by the entry at which it resumes. The last one may be late.
    let ordinal = Some(("00bb", 20));
    dockerd.docker_numbered(&id, "stdout", "late", &time(sent), false, ordinal);
    dockerd.finish();
    let collector = start(&root, &journald, &[("DB", &db)]);
    collector.wait_texts(1);
    assert_eq!(collector.texts(), ["late"]);
    assert_eq!(collector.figures().abandoned.entries, 5);
}

/// journald says itself what it drops, and of which unit; Podman's has the container's id.
#[test]
fn messages_that_journald_suppressed_are_counted_for_the_container_that_it_names() {
    let test = "journal_losses::messages_that_journald_suppressed_are_counted_for_the_container_that_it_names";
    let Some(journald) = or_skip(test, Journald::limited()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let storage = PodmanStorage::new(dir.path());
    let shop = Start {
        driver: "journald",
        ..Start::default()
    };
    storage.run('a', &shop);
    let (id, folder) = ("a".repeat(64), journald.folder().display().to_string());
    let root = storage.path().display().to_string();
    let options = [
        ("Runtime", "podman"),
        ("Podman_Root", &*root),
        ("Podman_Socket", "off"),
        ("Journal_Path", &*folder),
    ];
    let unit = format!("libpod-conmon-{id}.scope");
    let mut conmon = journald.writer_in("conmon", 0, &unit);
    let collector = Collector::start(dir.path(), &options);
    let mut sent: u64 = 0;
    for _ in 0..1000 {
        conmon.conmon(&id, &format!("line {sent}"));
        sent += 1;
    }
    // It says so with the first message that it takes again.
    let is_said = || {
        conmon.conmon(&id, &format!("line {sent}"));
        sent += 1;
        collector.has_logged("of its entries are missing in systemd's journal")
    };
    let is_said = holds_within(PATIENCE, is_said);
    conmon.finish();
    journald.remove_unit(&unit);
    assert!(is_said, "{:?}", collector.log());
    let last = format!("line {}", sent - 1);
    collector.wait("the last line", |collector| {
        collector.texts().contains(&last)
    });
    let missing = sent - collector.count() as u64;
    assert_eq!(collector.figures().abandoned.entries, missing);
    assert!(missing > 500, "{missing}");
}

/// journald names the daemon's unit, and Docker's numbers, since 23, tell whose they were.
#[test]
fn messages_of_a_daemon_that_journald_suppressed_are_said_and_counted_by_dockers_numbers() {
    let test = "journal_losses::messages_of_a_daemon_that_journald_suppressed_are_said_and_counted_by_dockers_numbers";
    let Some(journald) = or_skip(test, Journald::limited()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let mut dockerd = journald.writer_in("dockerd", 0, "docker.service");
    let collector = start(&root, &journald, &[("Docker_Socket", "off")]);
    let mut sent: u64 = 0;
    let mut send = |count: u64| {
        for _ in 0..count {
            sent += 1;
            let (text, at) = (format!("line {sent}"), u32::try_from(sent).expect("few"));
            let ordinal = Some(("00aa", sent));
            dockerd.docker_numbered(&id, "stdout", &text, &time(at), false, ordinal);
        }
        sent
    };
    send(1000);
    let is_said = holds_within(PATIENCE, || {
        send(1);
        collector.has_logged("messages of docker.service by its rate limit")
    });
    // The next one is the last, and tells what is missing before it.
    let sent = send(1);
    dockerd.finish();
    journald.remove_unit("docker.service");
    assert!(is_said, "{:?}", collector.log());
    let last = format!("line {sent}");
    collector.wait("the last line", |collector| {
        collector.texts().contains(&last)
    });
    let missing = sent - collector.count() as u64;
    let abandoned = collector.figures().abandoned;
    // One may be late.
    let counted = abandoned.entries;
    assert!(
        missing - 1 <= counted && counted <= missing,
        "{counted} of {missing}"
    );
    assert!(missing > 500 && abandoned.generations > 0, "{abandoned:?}");
    let said = "of its entries are missing in systemd's journal";
    assert!(collector.has_logged(said), "{:?}", collector.log());
}

#[test]
fn the_last_lines_and_those_since_a_time_come_from_the_journal() {
    let test = "journal_losses::the_last_lines_and_those_since_a_time_come_from_the_journal";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let other = DockerRoot::new();
    let (short, _other) = journaled(&other, 'b');
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &short, 0..2);
    write_lines(&mut dockerd, &id, 0..50);
    journald.rotate();
    write_lines(&mut dockerd, &id, 50..60);
    let pieces = ["0".repeat(16_384), "1".repeat(16_384), "2".to_owned()];
    for (index, piece) in pieces.iter().enumerate() {
        dockerd.docker(&id, "stdout", piece, &time(60), index < 2);
    }
    write_lines(&mut dockerd, &id, 61..63);
    // Neither is theirs.
    let mut forger = journald.writer("logger", 65534);
    for _ in 0..20 {
        forger.docker(&id, "stdout", "forged", &time(1), false);
    }
    forger.finish();
    write_lines(&mut dockerd, &"c".repeat(64), 0..20);
    dockerd.finish();
    let option = format!("Journal_Path={}", journald.folder().display());
    let printed = |root: &DockerRoot, arguments: &[&str]| {
        let all = [&["--no-follow", "--raw", "-o", &option], arguments].concat();
        let output = run(root.path(), &all);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let texts = printed.lines().map(|line| &line["web | ".len()..]);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = |number: u32| format!("line {number}");
    let last = printed(&root, &["--tail", "4"]);
    let expected = [first(59), pieces.concat(), first(61), first(62)];
    assert_eq!(last, expected);
    assert_eq!(printed(&other, &["--tail", "4"]), [first(0), first(1)]);
    assert_eq!(printed(&root, &["--tail", "all"]).len(), 63);
    assert_eq!(printed(&root, &["--since", &time(58)]).len(), 5);
}

/// journald removes files all the time; a container that is silent lost nothing by that.
#[test]
fn a_silent_container_is_not_said_to_have_lost_what_others_wrote() {
    let test = "journal_losses::a_silent_container_is_not_said_to_have_lost_what_others_wrote";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (silent, _container) = journaled(&root, 'a');
    let (busy, _other) = journaled(&root, 'b');
    let db = root.path().join("positions.db").display().to_string();
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &silent, 0..1);
    for run in 0..3 {
        let collector = start(&root, &journald, &[("DB", &db)]);
        write_lines(&mut dockerd, &busy, run * 100..run * 100 + 100);
        let count = if run == 0 { 101 } else { 100 };
        collector.wait("all lines", |collector| collector.count() >= count);
        journald.rotate();
        journald.vacuum("1K");
        // When the last one is there, the turn in which the first one was read has ended.
        for more in 1..=3 {
            write_lines(&mut dockerd, &busy, 1000..1001);
            let is_read = |collector: &Collector| collector.count() >= count + more;
            collector.wait("a line after it", is_read);
        }
        assert!(!collector.has_logged("removed"), "{:?}", collector.log());
        assert_eq!(collector.figures().abandoned.generations, 0);
        collector.stop();
    }
    dockerd.finish();
}

/// Nor if they are removed while nothing reads: everything was read before the stop.
#[test]
fn a_silent_container_is_not_said_to_have_lost_what_was_read_before_a_stop() {
    let test =
        "journal_losses::a_silent_container_is_not_said_to_have_lost_what_was_read_before_a_stop";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (silent, _container) = journaled(&root, 'a');
    let (busy, _other) = journaled(&root, 'b');
    let db = root.path().join("positions.db").display().to_string();
    let mut dockerd = journald.writer("dockerd", 0);
    for run in 0..3 {
        let collector = start(&root, &journald, &[("DB", &db)]);
        write_lines(&mut dockerd, &silent, 2000 + run..2001 + run);
        let its = format!("line {}", 2000 + run);
        collector.wait("its line", |collector| collector.texts().contains(&its));
        write_lines(&mut dockerd, &busy, run * 100..run * 100 + 100);
        let last = format!("line {}", run * 100 + 99);
        collector.wait("all lines", |collector| collector.texts().contains(&last));
        collector.stop();
        journald.rotate();
        journald.vacuum("1K");
        let collector = start(&root, &journald, &[("DB", &db)]);
        write_lines(&mut dockerd, &busy, 1000 + run..1001 + run);
        let after = format!("line {}", 1000 + run);
        collector.wait("a line after it", |collector| {
            collector.texts().contains(&after)
        });
        assert!(!collector.has_logged("removed"), "{:?}", collector.log());
        assert_eq!(collector.figures().abandoned.generations, 0);
        collector.stop();
    }
    dockerd.finish();
}
