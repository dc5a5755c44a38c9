//! systemd's journal, written by a real journald, read by libsystemd.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::ffi::journal::library;
use fluent_bit_container_logs::source::journal::seam::Seek;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::dockerd::Dockerd;
use test_kit::journald::{JournalWriter, Journald};
use test_kit::nobody::{as_nobody, program_for_anybody, NOBODY, NO_CAPABILITY};
use test_kit::podman::{serving, Podman};
use test_kit::tail_containers::{check, command, page, row, run};

use test_kit::{or_skip, wait_until};

use crate::podman::everything;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of Docker's with a container whose driver is journald.
pub fn journaled(root: &DockerRoot, digit: char) -> (String, LogWriter) {
    let container = root.created_container(digit, "web");
    let id = digit.to_string().repeat(64);
    let host_config = r#"{"LogConfig": {"Type": "journald", "Config": {}}}"#;
    let file = root
        .path()
        .join("containers")
        .join(&id)
        .join("hostconfig.json");
    std::fs::write(file, host_config).expect("hostconfig.json");
    container.write_config("web", true);
    (id, container)
}

pub fn start(root: &DockerRoot, journald: &Journald, options: &[(&str, &str)]) -> Collector {
    let folder = journald.folder().display().to_string();
    let mut all = vec![("Journal_Path", folder.as_str())];
    all.extend(options);
    Collector::start(root.path(), &all)
}

/// A time of Docker's, `number` milliseconds after a fixed one.
pub fn time(number: u32) -> String {
    let (minutes, rest) = (number / 60_000, number % 60_000);
    let mut time = String::new();
    let (seconds, millis) = (rest / 1000, rest % 1000);
    write!(
        time,
        "2026-01-01T00:{minutes:02}:{seconds:02}.{millis:03}000001Z"
    )
    .expect("a text");
    time
}

pub fn write_lines(writer: &mut JournalWriter, id: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let stream = if number % 3 == 0 { "stderr" } else { "stdout" };
        writer.docker(id, stream, &format!("line {number}"), &time(number), false);
    }
}

/// Waits until an entry with this text is in a file: what was sent may still be in the socket.
pub fn await_entry(folder: &Path, text: &str) {
    let message = format!("MESSAGE={text}");
    let is_there = || {
        let opened = library().open(Some(folder));
        let mut journal = opened.expect("a journal");
        let selected = journal.select(&[message.as_bytes()]);
        selected.expect("a match");
        journal.seek(Seek::Head).expect("a seek");
        journal.step().unwrap_or(false)
    };
    wait_until(PATIENCE, text, is_there);
}

/// The numbers of its lines, sorted by stream only.
pub fn numbers(collector: &Collector, id: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = ["stdout", "stderr"]
        .iter()
        .flat_map(|stream| {
            let texts = collector.texts_of(id, stream);
            let numbers: Vec<u32> = texts
                .iter()
                .map(|text| {
                    text.strip_prefix("line ")
                        .expect("a line")
                        .parse()
                        .expect("a number")
                })
                .collect();
            assert!(numbers.is_sorted(), "{stream}: {numbers:?}");
            numbers
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn lines_of_dockers_journald_driver_come_from_the_journal_once_over_restarts() {
    let test = "journal::lines_of_dockers_journald_driver_come_from_the_journal_once_over_restarts";
    let Some(mut journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let db = root.path().join("positions.db").display().to_string();
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..200);
    let mut all = Vec::new();
    for part in 1..5u32 {
        let collector = start(&root, &journald, &[("DB", &db)]);
        // Some were written while nothing read, the others now; in new files, too.
        let until = (part + 1) * 200;
        write_lines(&mut dockerd, &id, part * 200..until);
        let expected = (until - u32::try_from(all.len()).expect("few")) as usize;
        collector.wait("all lines", |collector| {
            numbers(collector, &id).len() >= expected
        });
        all.extend(numbers(&collector, &id));
        assert!(!collector.has_logged("API"), "{:?}", collector.log());
        assert!(collector.has_logged("journal"), "{:?}", collector.log());
        collector.wait("a survey", |collector| {
            collector.metric("containers") == 1.0
        });
        collector.stop();
        journald.rotate();
        if part == 2 {
            dockerd.finish();
            journald.restart();
            dockerd = journald.writer("dockerd", 0);
        }
    }
    dockerd.finish();
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<u32>>());
}

#[test]
fn pieces_streams_and_times_are_whole() {
    let test = "journal::pieces_streams_and_times_are_whole";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'b');
    let mut dockerd = journald.writer("dockerd", 0);
    let long = "0123456789abcdef".repeat(3000);
    let pieces: Vec<&str> = (0..long.len())
        .step_by(16_384)
        .map(|at| &long[at..long.len().min(at + 16_384)])
        .collect();
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = index + 1 == pieces.len();
        dockerd.docker(&id, "stdout", piece, &time(7), !is_last);
        dockerd.docker(&id, "stderr", "between", &time(8), false);
    }
    dockerd.docker(&id, "stdout", "short", &time(9), false);
    let collector = start(&root, &journald, &[]);
    collector.wait("all lines", |collector| {
        collector.count() >= pieces.len() + 2
    });
    assert_eq!(collector.texts_of(&id, "stdout"), [long.as_str(), "short"]);
    assert_eq!(
        collector.texts_of(&id, "stderr"),
        vec!["between"; pieces.len()]
    );
    collector.figures();
}

/// Docker 18.06 to 18.09 marks the last piece of a line as partial, too, and no release before 23
/// has times of its own.
#[test]
fn a_line_of_which_all_pieces_are_marked_ends_with_the_piece_that_is_not_full() {
    let test =
        "journal::a_line_of_which_all_pieces_are_marked_ends_with_the_piece_that_is_not_full";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'b');
    let mut dockerd = journald.writer("dockerd", 0);
    let mut expected = Vec::new();
    for (number, length) in [40_000, 3, 16_385, 32_768, 0, 70_000, 1]
        .into_iter()
        .enumerate()
    {
        let line = "0123456789".repeat(7000)[..length].to_owned();
        let mut pieces: Vec<&[u8]> = line.as_bytes().chunks(16_384).collect();
        // Of one that fills its pieces, the last one is empty.
        let is_full = pieces.last().is_some_and(|piece| piece.len() == 16_384);
        pieces.extend(is_full.then_some(&b""[..]));
        let is_split = pieces.len() > 1;
        for piece in pieces {
            let mut fields: Vec<(&str, &[u8])> = vec![
                ("MESSAGE", piece),
                ("PRIORITY", b"6"),
                ("CONTAINER_ID_FULL", id.as_bytes()),
            ];
            fields.extend(is_split.then_some(("CONTAINER_PARTIAL_MESSAGE", &b"true"[..])));
            dockerd.send(&fields);
        }
        // A line that is not split follows each.
        let next = format!("after {number}");
        dockerd.send(&[
            ("MESSAGE", next.as_bytes()),
            ("PRIORITY", b"6"),
            ("CONTAINER_ID_FULL", id.as_bytes()),
        ]);
        expected.extend((length > 0).then_some(line));
        expected.push(next);
    }
    let collector = start(&root, &journald, &[]);
    collector.wait_texts(expected.len());
    assert_eq!(collector.texts_of(&id, "stdout"), expected);
}

#[test]
fn nobody_else_writes_a_line_of_a_container() {
    let test = "journal::nobody_else_writes_a_line_of_a_container";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'c');
    let collector = start(&root, &journald, &[]);
    let mut dockerd = journald.writer("dockerd", 0);
    for (number, (name, uid)) in [("dockerd", 65534), ("logger", 0), ("conmon", 0)]
        .into_iter()
        .enumerate()
    {
        let mut forger = journald.writer(name, uid);
        forger.docker(&id, "stdout", "forged", &time(1), false);
        forger.finish();
        // Whatever was sent before it was read before it.
        let number = u32::try_from(number).expect("few");
        write_lines(&mut dockerd, &id, number..number + 1);
        collector.wait("the line after it", |collector| {
            collector.texts().contains(&format!("line {number}"))
        });
    }
    assert_eq!(numbers(&collector, &id), [0, 1, 2]);
}

/// libsystemd maps the files, and an access to a page that is gone would end the process.
#[test]
fn files_truncated_while_they_are_read_end_nothing() {
    let test = "journal::files_truncated_while_they_are_read_end_nothing";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let id = "d".repeat(64);
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..20_000);
    dockerd.finish();
    let library = library();
    let count = || {
        let mut journal = library.open(Some(&journald.folder())).expect("a journal");
        journal.seek(Seek::Head).expect("a seek");
        let mut count = 0;
        while journal.step().expect("a step") {
            count += 1;
        }
        count
    };
    wait_until(PATIENCE, "all entries are in the journal", || {
        count() > 20_000
    });
    let mut journal = library.open(Some(&journald.folder())).expect("a journal");
    journal.seek(Seek::Head).expect("a seek");
    for _ in 0..10 {
        assert!(journal.step().expect("a step"));
    }
    for file in journald.files() {
        let file = std::fs::File::options()
            .write(true)
            .open(file)
            .expect("a file");
        file.set_len(4096).expect("it is truncated");
    }
    let mut failures = 0;
    for _ in 0..25_000 {
        match journal.step() {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => failures += 1,
        }
        failures += usize::from(journal.fields(&mut |_| {}).is_err());
    }
    assert!(failures > 0, "nothing was missed");
    drop(journal);
    // Another handle sees files without entries.
    let mut journal = library.open(Some(&journald.folder())).expect("a journal");
    journal.seek(Seek::Head).expect("a seek");
    assert!(!journal.step().unwrap_or(false));
}

/// What conmon of this machine's Podman writes, and a log that is begun after the start.
#[test]
fn lines_of_podmans_journald_driver_come_from_the_journal_without_its_api() {
    let test = "journal::lines_of_podmans_journald_driver_come_from_the_journal_without_its_api";
    let Some(podman) = or_skip(test, serving(Podman::with_journal)) else {
        return;
    };
    let script = everything();
    let early = podman
        .write("early", "journald", &script)
        .expect("podman run");
    let storage = podman.storage().display().to_string();
    let journal = podman.journal().display().to_string();
    let options = [
        ("Runtime", "podman"),
        ("Podman_Root", &*storage),
        ("Podman_Socket", "off"),
        ("Journal_Path", &*journal),
    ];
    let collector = Collector::start(podman.path(), &options);
    collector.assert_arrives(&early, &script, "podman");
    let late = podman
        .write("late", "journald", &script)
        .expect("podman run");
    collector.assert_arrives(&late, &script, "podman");
    collector.figures();
}

#[test]
fn entries_that_journald_removed_before_they_were_read_are_reported() {
    let test = "journal::entries_that_journald_removed_before_they_were_read_are_reported";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'e');
    let db = root.path().join("positions.db").display().to_string();
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..100);
    let collector = start(&root, &journald, &[("DB", &db)]);
    collector.wait("all lines", |collector| collector.count() >= 100);
    collector.stop();
    write_lines(&mut dockerd, &id, 100..200);
    // Nothing was lost yet.
    journald.rotate();
    let collector = start(&root, &journald, &[("DB", &db)]);
    collector.wait("all lines", |collector| collector.count() >= 100);
    assert!(!collector.has_logged("journald removed"));
    collector.stop();
    write_lines(&mut dockerd, &id, 200..300);
    dockerd.finish();
    await_entry(&journald.folder(), "line 299");
    journald.rotate();
    // The journal is empty now, and can be read.
    journald.vacuum("1K");
    let collector = start(&root, &journald, &[("DB", &db)]);
    collector.wait("the journal", |collector| {
        collector.has_logged("reading it from systemd's journal")
    });
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 300..400);
    collector.wait("what is left", |collector| collector.count() >= 100);
    assert_eq!(numbers(&collector, &id), (300..400).collect::<Vec<u32>>());
    // journald may have written an entry of its own into the new file, or not.
    let is_said = [
        "journald removed entries before they were read",
        "entries of systemd's journal were removed before they were read",
    ];
    let is_said = is_said.map(|said| collector.times_logged(said));
    assert_eq!(is_said.iter().sum::<usize>(), 1, "{:?}", collector.log());
    assert_eq!(collector.figures().abandoned.generations, 1);
}

#[test]
fn what_a_real_dockerd_writes_to_the_journal_arrives_line_by_line() {
    let test = "journal::what_a_real_dockerd_writes_to_the_journal_arrives_line_by_line";
    let started = Journald::start().and_then(|journald| Ok((journald, Dockerd::start()?)));
    let Some((journald, dockerd)) = or_skip(test, started) else {
        return;
    };
    dockerd.use_journal(&journald);
    let script = everything();
    let run = |name: &str| {
        dockerd
            .run_detached(name, &["--log-driver", "journald"], &script.sh)
            .expect("docker run")
    };
    let early = run("early");
    let folder = journald.folder().display().to_string();
    let options = [("Journal_Path", &*folder), ("Docker_Socket", "off")];
    let collector = Collector::start(dockerd.root(), &options);
    collector.assert_arrives(&early, &script, "docker");
    let late = run("late");
    collector.assert_arrives(&late, &script, "docker");
    collector.figures();
}

/// A container that cannot take its entries when they are read for all leaves that scan, and
/// catches up by its own.
#[test]
fn what_is_held_back_is_read_later_and_once_over_restarts_and_refusals() {
    let test = "journal::what_is_held_back_is_read_later_and_once_over_restarts_and_refusals";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    const LINES: u32 = 3000;
    let root = DockerRoot::new();
    let containers: Vec<(String, LogWriter)> = ['1', '2', '3', '4']
        .map(|digit| journaled(&root, digit))
        .into();
    let db = root.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Queue_Limit", "64k"), ("Rate_Limit", "16k")];
    let mut dockerd = journald.writer("dockerd", 0);
    let mut all: Vec<Vec<u32>> = vec![Vec::new(); containers.len()];
    let mut written = 0;
    for part in 1..=6u32 {
        let collector = start(&root, &journald, &options);
        collector.refuse(part % 2 == 1);
        let until = part * LINES / 6;
        for number in written..until {
            for (id, _) in &containers {
                write_lines(&mut dockerd, id, number..number + 1);
            }
        }
        written = until;
        if part % 2 == 1 {
            // A file in which nothing was read yet is archived.
            journald.rotate();
            collector.wait("a refusal", |collector| collector.refusals() > 0);
            collector.refuse(false);
        }
        // Wherever it is then: it stops in the midst of it, but for the last time.
        let count = |collector: &Collector| {
            let count = |(id, _): &(String, LogWriter)| numbers(collector, id).len();
            containers.iter().map(count).sum::<usize>()
        };
        let before: usize = all.iter().map(Vec::len).sum();
        let whole = LINES as usize * containers.len();
        let expected = if part == 6 { whole - before } else { 50 };
        collector.wait("its part", |collector| count(collector) >= expected);
        // What is accepted while it stops counts, too.
        let (records, _) = collector.stop();
        for (all, (id, _)) in all.iter_mut().zip(&containers) {
            let its = records
                .iter()
                .filter(|record| record.text("container_id") == id);
            all.extend(its.map(|record| {
                let text = record.text("log");
                let number = text.strip_prefix("line ").expect("a line");
                number.parse::<u32>().expect("a number")
            }));
        }
    }
    dockerd.finish();
    for numbers in &mut all {
        numbers.sort_unstable();
        assert_eq!(*numbers, (0..LINES).collect::<Vec<u32>>());
    }
}

/// The files change all the time, and so does who reads them.
#[test]
fn restarts_at_three_thousand_lines_a_second_with_rotation_and_vacuum_lose_and_repeat_none() {
    let test = "journal::restarts_at_three_thousand_lines_a_second_with_rotation_and_vacuum_lose_and_repeat_none";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    const LINES: u32 = 40_000;
    const PER_SECOND: u32 = 3000;
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'f');
    let db = root.path().join("positions.db").display().to_string();
    let mut dockerd = journald.writer("dockerd", 0);
    let writing = {
        let id = id.clone();
        std::thread::spawn(move || {
            let begun = Instant::now();
            for number in 0..LINES {
                write_lines(&mut dockerd, &id, number..number + 1);
                let due = Duration::from_secs(1) * number / PER_SECOND;
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            dockerd.finish();
        })
    };
    let mut all: Vec<u32> = Vec::new();
    let mut restarts = 0;
    while all.len() < LINES as usize {
        let collector = start(&root, &journald, &[("DB", &db)]);
        let wanted = (LINES as usize / 6).min(LINES as usize - all.len());
        journald.rotate();
        journald.vacuum("64M");
        collector.wait("a sixth of the lines", |collector| {
            collector.count() >= wanted
        });
        assert!(!collector.has_logged("lost"), "{:?}", collector.log());
        let (records, _) = collector.stop();
        all.extend(records.iter().map(|record| {
            let number = record.text("log").strip_prefix("line ");
            number.expect("a line").parse::<u32>().expect("a number")
        }));
        restarts += 1;
    }
    writing.join().expect("the writer");
    assert!(restarts > 4, "{restarts}");
    all.sort_unstable();
    assert_eq!(all, (0..LINES).collect::<Vec<u32>>());
}

#[test]
fn check_says_what_is_read_from_the_journal_and_why_it_cannot_be() {
    let test = "journal::check_says_what_is_read_from_the_journal_and_why_it_cannot_be";
    let started = Journald::start().and_then(|it| Ok((it, program_for_anybody()?)));
    let Some((journald, (_program, program))) = or_skip(test, started) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..1);
    dockerd.finish();
    let path = |folder: &Path| format!("Journal_Path={}", folder.display());
    let here = path(&journald.folder());
    let (said, is_all_read) = check(root.path(), &["-o", &here]);
    assert!(is_all_read, "{said}");
    assert_eq!(row(&said, "web"), "shop/web:1.2 journald journal");
    let read = format!(
        "Journal       {}; 1 container read from it",
        journald.folder().display()
    );
    assert!(said.contains(&read), "{said}");
    let (json, _) = page(&run(root.path(), &["check", "--json", "-o", &here]));
    assert!(json.contains(r#""source": "journal""#), "{json}");
    // The folder is not there.
    let nowhere = path(Path::new("/nonexistent"));
    let options = ["-o", &nowhere, "-o", "Docker_Socket=off"];
    let (said, is_all_read) = check(root.path(), &options);
    assert!(!is_all_read, "{said}");
    let why = "systemd's journal cannot be read: there is none in /nonexistent";
    assert!(row(&said, "web").contains(why), "{said}");
    // In a container, the folder is missing there.
    let fixes = ["-> set Journal_Path to its folder", "-> mount it: "];
    assert!(fixes.iter().any(|fix| said.contains(fix)), "{said}");
    // There is one, for others.
    let readable = std::process::Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(root.path())
        .status();
    assert!(readable.expect("chmod").success());
    let checked = as_nobody(&NO_CAPABILITY, NOBODY, &program)
        .args(["--runtime", "docker", "--docker-root"])
        .arg(root.path())
        .args(["-o", &here, "check"])
        .output();
    let (said, is_all_read) = page(&checked.expect("it runs"));
    assert!(!is_all_read, "{said}");
    assert!(
        said.contains("cannot be read: /") && said.contains(": Permission denied"),
        "{said}"
    );
    assert!(
        said.contains("a member of the group systemd-journal"),
        "{said}"
    );
}

/// By what the kernel knows of the process.
#[test]
fn nothing_of_the_journal_is_open_mapped_or_watched_while_no_container_logs_to_it() {
    let test =
        "journal::nothing_of_the_journal_is_open_mapped_or_watched_while_no_container_logs_to_it";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let mut file = root.container('a', "file");
    let folder = journald.folder();
    let inode =
        |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().expect("it is there"));
    let mut watched = vec![inode(&folder)];
    watched.extend(
        journald
            .files()
            .iter()
            .filter_map(|file| file.parent().map(inode)),
    );
    let option = format!("Journal_Path={}", folder.display());
    let mut command = command(root.path(), &["-o", &option, "-o", "Rescan_Interval=0.1"]);
    let output = tempfile::NamedTempFile::new().expect("a file");
    command.stdout(output.reopen().expect("a file"));
    let mut child = command.spawn().expect("it starts");
    let proc = Path::new("/proc").join(child.id().to_string());
    let traces = || {
        let maps = std::fs::read_to_string(proc.join("maps")).unwrap_or_default();
        let links = std::fs::read_dir(proc.join("fd")).into_iter().flatten();
        let links = links
            .flatten()
            .filter_map(|link| std::fs::read_link(link.path()).ok());
        let mut traces: Vec<String> = links.map(|link| link.display().to_string()).collect();
        traces.extend(maps.lines().map(str::to_owned));
        traces.retain(|it| it.contains("libsystemd") || it.contains(".journal"));
        let infos = std::fs::read_dir(proc.join("fdinfo")).into_iter().flatten();
        for info in infos.flatten() {
            let info = std::fs::read_to_string(info.path()).unwrap_or_default();
            let of_journal = |line: &&str| {
                watched
                    .iter()
                    .any(|inode| line.contains(&format!("ino:{inode:x} ")))
            };
            traces.extend(info.lines().filter(of_journal).map(str::to_owned));
        }
        traces
    };
    let printed = || std::fs::read_to_string(output.path()).expect("a file");
    for number in 0..3 {
        file.line(&format!("line {number}"));
        wait_until(PATIENCE, "the line", || {
            printed().contains(&format!("line {number}"))
        });
        assert_eq!(traces(), Vec::<String>::new());
    }
    let (id, _container) = journaled(&root, 'b');
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 7..8);
    wait_until(PATIENCE, "the line of the journal", || {
        printed().contains("line 7")
    });
    let traces = traces();
    for what in ["libsystemd", "system.journal", "inotify"] {
        assert!(
            traces.iter().any(|it| it.contains(what)),
            "{what}: {traces:?}"
        );
    }
    child.kill().expect("it ends");
    child.wait().expect("it ends");
}
