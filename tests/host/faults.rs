//! What a machine does when it has no more of something or is broken: disks that are
//! full, broken or not to be written, and a kernel that has no more room for notices.

use std::path::{Path, PathBuf};

use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::playing_host::{texts_of, PlayingHost, Release, PATIENCE};
use test_kit::stalling_fs::StallingFs;
use test_kit::{holds_within, in_mount_namespace, skip};

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    lines(range).iter().for_each(|line| log.line(line));
}

fn instance(root: &Path, more: &str) -> String {
    format!(
        "instance a docker_root=\"{}\" runtime=docker docker_socket=off {more}",
        root.display()
    )
}

/// With a `DB` in this folder.
fn instance_with_db(root: &Path, folder: &Path) -> String {
    instance(
        root,
        &format!(
            "rescan_interval=20ms db=\"{}\"",
            folder.join("positions.db").display()
        ),
    )
}

fn times_said(host: &PlayingHost, part: &str) -> usize {
    host.log().matches(part).count()
}

/// Lets the loops turn until this is said, which it is once.
#[track_caller]
fn is_said_once(host: &mut PlayingHost, part: &str) {
    let is_said = holds_within(PATIENCE, || {
        host.run(20);
        times_said(host, part) > 0
    });
    assert!(
        is_said && times_said(host, part) == 1,
        "{part}: {}",
        host.log()
    );
}

/// How often the slots of a `DB` were written: each of their copies has a number.
fn writes_of_slots(db: &Path) -> u64 {
    let file = std::fs::read(db).expect("the checkpoint");
    let number = |copy: &[u8]| u64::from_le_bytes(copy[8..16].try_into().expect("eight bytes"));
    let slots = file[4096..].chunks_exact(512);
    slots
        .map(|slot| number(slot).max(number(&slot[256..])))
        .sum()
}

/// The disk is full when a ninth container comes: eight entries fit into a page.
#[test]
fn a_full_disk_is_said_once_and_positions_are_written_when_there_is_space() {
    let test = "faults::a_full_disk_is_said_once_and_positions_are_written_when_there_is_space";
    let root = DockerRoot::new();
    let disk = root.path().join("disk");
    std::fs::create_dir(&disk).expect("a mount point");
    let mount = format!(
        "mount -t tmpfs -o size=12k none {0} && head -c 4096 /dev/zero >{0}/filler",
        disk.display()
    );
    let starter = match in_mount_namespace(&mount) {
        Ok(starter) => starter,
        Err(reason) => return skip(test, &reason),
    };
    let mut logs: Vec<_> = "12345678"
        .chars()
        .map(|digit| root.container(digit, "some"))
        .collect();
    logs.iter_mut().for_each(|log| write(log, 0..1));
    let mut host = PlayingHost::start_by(starter, Release::LATEST);
    host.ok(&instance_with_db(root.path(), &disk));
    host.ok("init");
    host.run_until(8);
    assert_eq!(
        times_said(&host, "positions are kept only in memory"),
        0,
        "{}",
        host.log()
    );

    let mut ninth = root.container('9', "ninth");
    write(&mut ninth, 0..100);
    host.run_until(108);
    // Entries that there are can be written; that it works for them is said, too.
    write(&mut ninth, 100..200);
    host.run_until(208);
    is_said_once(&mut host, "No space left on device");

    let seen_by_the_host = PathBuf::from(format!("/proc/{}/root{}", host.pid(), disk.display()));
    // Positions that have room are still written anew with each append.
    let db = seen_by_the_host.join("positions.db");
    let before = writes_of_slots(&db);
    for appends in 1..=3 {
        write(&mut logs[0], appends..appends + 1);
        host.run_until(208 + appends);
        assert_eq!(writes_of_slots(&db), before + appends as u64);
    }
    std::fs::remove_file(seen_by_the_host.join("filler")).expect("space is made");
    write(&mut ninth, 200..300);
    host.run_until(311);
    is_said_once(&mut host, "can be written again");
    host.ok("reload");
    write(&mut ninth, 300..400);
    host.run_until(411);
    host.run(50);
    let exit = host.exit();
    exit.assert_clean();
    let mut expected = lines(0..400);
    expected.extend(vec!["line 0".to_owned(); 8]);
    expected.extend(lines(1..4));
    let mut texts = texts_of(&exit.frames, "a");
    texts.sort_unstable();
    expected.sort_unstable();
    assert_eq!(texts, expected);
}

/// Nothing can be written from the very start; what was begun is taken away again, or
/// the next start would take it for positions that were lost.
#[test]
fn a_disk_that_is_full_from_the_start_is_said_and_the_next_start_is_still_the_first() {
    let test =
        "faults::a_disk_that_is_full_from_the_start_is_said_and_the_next_start_is_still_the_first";
    let root = DockerRoot::new();
    let disk = root.path().join("disk");
    std::fs::create_dir(&disk).expect("a mount point");
    let mount = format!(
        "mount -t tmpfs -o size=4k none {0} && head -c 4096 /dev/zero >{0}/filler",
        disk.display()
    );
    let starter = match in_mount_namespace(&mount) {
        Ok(starter) => starter,
        Err(reason) => return skip(test, &reason),
    };
    let mut host = PlayingHost::start_by(starter, Release::LATEST);
    host.ok(&instance_with_db(root.path(), &disk));
    host.error("init");
    assert_eq!(
        times_said(&host, "positions.db: No space left on device"),
        1,
        "{}",
        host.log()
    );
    let seen_by_the_host = PathBuf::from(format!("/proc/{}/root{}", host.pid(), disk.display()));
    let left: Vec<_> = std::fs::read_dir(seen_by_the_host)
        .expect("it is there")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_folder_that_may_not_be_written_refuses_the_start_with_its_reason() {
    let test = "faults::a_folder_that_may_not_be_written_refuses_the_start_with_its_reason";
    for has_db in [false, true] {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        write(&mut log, 0..1);
        let folder = root.path().join("db");
        std::fs::create_dir(&folder).expect("a folder");
        if has_db {
            let mut host = PlayingHost::start(Release::LATEST);
            host.ok(&instance_with_db(root.path(), &folder));
            host.ok("init");
            host.run_until(1);
            host.exit().assert_clean();
        }
        let mount = format!(
            "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
            folder.display()
        );
        let starter = match in_mount_namespace(&mount) {
            Ok(starter) => starter,
            Err(reason) => return skip(test, &reason),
        };
        let mut host = PlayingHost::start_by(starter, Release::LATEST);
        host.ok(&instance_with_db(root.path(), &folder));
        host.error("init");
        assert_eq!(
            times_said(&host, "positions.db: Read-only file system"),
            1,
            "{}",
            host.log()
        );
    }
}

/// EIO, as a broken disk gives it, on every write of the checkpoint and at its flush.
#[test]
fn a_broken_disk_is_said_once_and_positions_are_written_when_it_works_again() {
    let test = "faults::a_broken_disk_is_said_once_and_positions_are_written_when_it_works_again";
    let (root, db) = (DockerRoot::new(), tempfile::tempdir().expect("a folder"));
    let disk = match StallingFs::over(db.path()) {
        Ok(disk) => disk,
        Err(reason) => return skip(test, &reason),
    };
    let mut log = root.container('a', "web");
    let mut host = PlayingHost::start_by(disk.starter(), Release::LATEST);
    host.ok(&instance_with_db(root.path(), &disk.path()));
    disk.break_writes();
    host.error("init");
    assert_eq!(
        times_said(&host, "positions.db: Input/output error"),
        1,
        "{}",
        host.log()
    );
    drop(host);
    disk.mend_writes();

    let mut host = PlayingHost::start_by(disk.starter(), Release::LATEST);
    host.ok(&instance_with_db(root.path(), &disk.path()));
    host.ok("init");
    write(&mut log, 0..10);
    host.run_until(10);
    disk.break_writes();
    for batch in 1..5 {
        write(&mut log, batch * 10..batch * 10 + 10);
        host.run_until(batch * 10 + 10);
    }
    is_said_once(&mut host, "positions are kept only in memory");
    disk.mend_writes();
    write(&mut log, 50..60);
    host.run_until(60);
    is_said_once(&mut host, "can be written again");
    host.ok("reload");
    write(&mut log, 60..70);
    host.run_until(70);
    disk.break_writes();
    let exit = host.exit();
    exit.assert_clean();
    assert_eq!(texts_of(&exit.frames, "a"), lines(0..70));
    assert_eq!(
        exit.log.matches("cannot be flushed to disk").count(),
        1,
        "{}",
        exit.log
    );
}

/// As with 1,500 containers and a limit of 1024, which are its defaults in many places.
#[test]
fn more_exited_containers_than_descriptors_leave_the_host_its_own() {
    let test = "faults::more_exited_containers_than_descriptors_leave_the_host_its_own";
    with_each_host(test, |program, plugin| {
        let root = DockerRoot::new();
        let (exited, running, limit) = (300, 20, 160);
        let mut logs: Vec<_> = (0..exited + running)
            .map(|number| root.created_with_id(&format!("{number:064x}"), "web"))
            .collect();
        for (number, log) in logs.iter_mut().enumerate() {
            log.write_config("web", number >= exited);
            log.open_log();
            log.line("hello");
        }
        let limited = root.path().join("limited");
        let script = format!(
            "#!/bin/sh\nulimit -n {limit}\nexec {} \"$@\"\n",
            program.display()
        );
        std::fs::write(&limited, script).expect("a script");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&limited, executable).expect("its permissions");
        let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n",
            root.path().display()
        );
        let mut host = FluentBit::new(&limited, Some(plugin), &config);
        host.start().expect("Fluent Bit starts");
        let mut lines = logs.len();
        host.wait_until(PATIENCE, "every line", |host| host.record_count() >= lines);
        for log in &mut logs[exited - 10..] {
            log.line("again");
            lines += 1;
        }
        host.wait_until(PATIENCE, "the later ones", |host| {
            host.record_count() >= lines
        });
        let open = || {
            let folder = format!("/proc/{}/fd", host.pid());
            let open = std::fs::read_dir(folder).expect("its descriptors");
            let links = open.flatten().map(|open| std::fs::read_link(open.path()));
            let is_log = |link: &std::path::PathBuf| link.starts_with(root.path());
            links.flatten().filter(is_log).count()
        };
        let is_within = || open() <= limit / 4;
        assert!(holds_within(PATIENCE, is_within), "{} are open", open());
        assert_eq!(host.record_count(), lines, "none is repeated");
        host.end_in_order();
    });
}

/// ENFILE, of a file system: see `stalling_fs.c`.
#[test]
fn without_descriptors_of_the_machine_the_others_are_read_when_there_are_some() {
    let test = "faults::without_descriptors_of_the_machine_the_others_are_read_when_there_are_some";
    let root = DockerRoot::new();
    let machine = match StallingFs::over(root.path()) {
        Ok(machine) => machine,
        Err(reason) => return skip(test, &reason),
    };
    let mut early = root.container('a', "early");
    write(&mut early, 0..10);
    let mut host = PlayingHost::start_by(machine.starter(), Release::LATEST);
    host.ok(&instance(&machine.path(), "rescan_interval=20ms"));
    host.ok("init");
    host.run_until(10);
    machine.lack_descriptors();
    write(&mut root.container('b', "late"), 10..20);
    write(&mut early, 20..30);
    host.run_until(20);
    is_said_once(
        &mut host,
        "Too many open files in system (os error 23); logs that are already open are still read",
    );
    host.run(200);
    machine.have_descriptors();
    host.run_until(30);
    let exit = host.exit();
    exit.assert_clean();
    let mut texts = texts_of(&exit.frames, "a");
    texts.sort_unstable_by_key(|text| text["line ".len()..].parse::<usize>().expect("a number"));
    assert_eq!(texts, lines(0..30));
    assert_eq!(
        exit.log
            .matches("logs that are already open are still read")
            .count(),
        1,
        "{}",
        exit.log
    );
}

/// More notices than the kernel keeps, in a folder of a container and in the root, while
/// the host does not come to take them. What was told last is lost with them, and no
/// rescan is due for an hour.
#[test]
fn a_queue_of_notices_that_overflows_loses_nothing() {
    let test = "faults::a_queue_of_notices_that_overflows_loses_nothing";
    let limit =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    let most = match limit.trim().parse::<usize>() {
        Ok(most) if most <= 1 << 17 => most,
        _ => {
            return skip(
                test,
                &format!("a queue of {limit} notices takes too long to fill"),
            )
        }
    };
    let root = DockerRoot::new();
    let mut idle = root.container('a', "idle");
    let mut rotated = root.container('b', "rotated");
    write(&mut idle, 0..1);
    write(&mut rotated, 0..1);
    let mut host = PlayingHost::start(Release::LATEST);
    host.ok(&instance(root.path(), "rescan_interval=1h"));
    host.ok("init");
    host.run_until(2);
    // Idle by now: only a notice tells of what comes.
    host.run(500);
    host.stop_process();
    for number in 0..most / 2 + 100 {
        for folder in [&idle.dir, &root.path().join("containers")] {
            let name = folder.join(format!("{number}"));
            std::fs::File::create(&name).expect("a file");
            std::fs::remove_file(&name).expect("it is there");
        }
    }
    write(&mut idle, 1..10);
    write(&mut rotated, 1..10);
    rotated.rotate(3, true);
    write(&mut rotated, 10..20);
    let new = root.created_container('c', "new");
    std::fs::write(
        &new.log,
        record("stdout", "line 0\n", "2023-11-14T22:14:00.5Z"),
    )
    .expect("a log");
    host.continue_process();
    host.run_until(2 + 9 + 19 + 1);
    // And notices are taken as before.
    host.run(500);
    write(&mut idle, 10..20);
    host.run_until(2 + 9 + 19 + 1 + 10);
    let exit = host.exit();
    exit.assert_clean();
    let mut of = std::collections::BTreeMap::<String, Vec<String>>::new();
    for record in exit.frames.iter().flat_map(|frame| &frame.records) {
        of.entry(record.text("container_name").to_owned())
            .or_default()
            .push(record.text("log").to_owned());
    }
    let expected = [("idle", 0..20), ("new", 0..1), ("rotated", 0..20)];
    assert_eq!(
        of,
        expected
            .map(|(name, range)| (name.to_owned(), lines(range)))
            .into()
    );
}
