//! `Read_From_Head off`: what was written before the first start is skipped, whenever its
//! container is met, and what was written later is not.

use std::fs;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::played_api::{PlayedApi, PlayedContainer};

use super::drivers::{frame, set_driver};

const LONG_AGO: &str = "2020-01-01T00:00:00.000000001Z";
const IN_FUTURE: &str = "2099-01-01T00:00:00.000000001Z";
/// Later than each first start of these tests.
const AFTER: u32 = 2098;

fn write(log: &mut LogWriter, text: &str, count: usize) {
    for number in 0..count {
        log.line(&format!("{text} {number}"));
    }
}

fn start_with(root: &DockerRoot, socket: &str, options: &[(&str, &str)]) -> Collector {
    let db = root.path().join("positions.db").display().to_string();
    let all: Vec<_> = [
        ("Read_From_Head", "off"),
        ("Rescan_Interval", "20ms"),
        ("Docker_Socket", socket),
        ("DB", &db),
    ]
    .into_iter()
    .chain(options.iter().copied())
    .collect();
    Collector::start(root.path(), &all)
}

fn start(root: &DockerRoot, options: &[(&str, &str)]) -> Collector {
    start_with(root, "off", options)
}

/// Waits until each container that there was has its place in the checkpoint.
fn wait_for_first_look(root: &DockerRoot, collector: &Collector) {
    let db = root.path().join("positions.db");
    collector.wait("the first look", |_| {
        fs::read(&db).is_ok_and(|bytes| bytes.get(32..36) == Some(b"done"))
    });
}

/// Waits until the checkpoint has the position of a container behind its first page.
fn wait_for_position(root: &DockerRoot, collector: &Collector) {
    let db = root.path().join("positions.db");
    collector.wait("the position", |_| {
        fs::metadata(&db).is_ok_and(|db| db.len() > 4096)
    });
}

/// The first start of the checkpoint was at this time, in seconds.
fn set_first_start(root: &DockerRoot, seconds: i64) {
    let db = root.path().join("positions.db");
    let mut bytes = fs::read(&db).expect("the checkpoint");
    bytes[36..44].copy_from_slice(&seconds.to_le_bytes());
    bytes[44..48].fill(0);
    fs::write(&db, bytes).expect("it is ours");
}

/// What is written between the first start and the look at its container, which may be in another
/// process: the first one ended before its first look did.
#[test]
fn what_is_written_before_the_first_look_is_read_and_nothing_older() {
    for (rotations, is_packed, excluded) in [
        (&[][..], false, false),
        (&[], false, true),
        (&[0], false, false),
        (&[0], true, false),
        (&[2], false, false),
        (&[2], true, true),
        (&[2, 4], true, false),
        (&[0, 2, 5], false, true),
    ] {
        let root = DockerRoot::new();
        let mut web = root.container('a', "web");
        web.set_created(LONG_AGO);
        write(&mut web, "old", 1_000);
        let (folder, away) = (root.path().join("containers"), root.path().join("away"));
        fs::rename(&folder, &away).expect("it is ours");
        let collector = start(&root, &[]);
        collector.wait("the message", |c| c.has_logged("cannot list containers in"));
        collector.stop();
        fs::rename(&away, &folder).expect("it is ours");
        set_first_start(&root, 1_718_000_000);
        web.set_year(2025);
        for number in 0..5 {
            if rotations.contains(&number) {
                web.rotate(5, is_packed);
            }
            let stream = if number == 1 { "stderr" } else { "stdout" };
            web.entry(stream, &format!("since then {number}\n"));
        }
        if rotations.contains(&5) {
            web.rotate(5, is_packed);
        }
        let case = format!("{rotations:?} {is_packed} {excluded}");
        if excluded {
            let collector = start(&root, &[("Exclude", "name=web")]);
            wait_for_first_look(&root, &collector);
            wait_for_position(&root, &collector);
            collector.stop();
        }
        let collector = start(&root, &[]);
        let since: Vec<String> = (0..5).map(|n| format!("since then {n}")).collect();
        assert_eq!(collector.wait_texts(5), since, "{case}");
        assert_eq!(collector.figures().lost(), 0, "{case}");
        collector.stop();
        write(&mut web, "new", 1);
        let collector = start(&root, &[]);
        assert_eq!(collector.wait_texts(1), ["new 0"], "{case}");
    }
}

/// The position at which an excluded container was met is where it is read from.
#[test]
fn an_exclude_that_is_dropped_at_a_reload_ships_no_line_from_before_the_first_start() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.set_created(LONG_AGO);
    write(&mut web, "old", 1_000);
    let exclude = [("Exclude", "name=web")];
    let collector = start(&root, &exclude);
    wait_for_first_look(&root, &collector);
    wait_for_position(&root, &collector);
    collector.stop();
    write(&mut web, "meanwhile", 2);
    web.rotate(3, true);
    // Still excluded, by a second process.
    let collector = start(&root, &exclude);
    collector.wait("the exclusion", |c| {
        c.has_logged("web (aaaaaaaaaaaa) is not read")
    });
    collector.stop();
    write(&mut web, "later", 1);
    let collector = start(&root, &[]);
    write(&mut web, "new", 1);
    let expected = ["meanwhile 0", "meanwhile 1", "later 0", "new 0"];
    assert_eq!(collector.wait_texts(4), expected);
}

/// In one process, and over a restart: its lines since then are read, whatever it and its folder say
/// about their age.
#[test]
fn a_container_that_appears_after_the_first_start_is_read_from_that_time_on() {
    for is_restarted in [false, true] {
        let root = DockerRoot::new();
        let mut old = root.container('a', "old");
        old.set_created(LONG_AGO);
        write(&mut old, "old", 1_000);
        let mut copied = root.container('c', "copied");
        write(&mut copied, "copied", 1_000);
        copied.rotate(3, true);
        let folder = root.path().join("containers");
        let away = root.path().join("away");
        fs::rename(&folder, &away).expect("it is ours");
        let mut collector = start(&root, &[]);
        collector.wait("the message", |c| c.has_logged("cannot list containers in"));
        for log in [&mut old, &mut copied] {
            log.set_year(AFTER);
            write(log, "since then", 2);
        }
        if is_restarted {
            // A start counts once its containers are known, and there was a root then.
            fs::create_dir(&folder).expect("it is ours");
            wait_for_first_look(&root, &collector);
            collector.stop();
            fs::remove_dir(&folder).expect("it is empty");
            fs::rename(&away, &folder).expect("it is ours");
            collector = start(&root, &[]);
        } else {
            fs::rename(&away, &folder).expect("it is ours");
        }
        collector.wait_texts(4);
        write(&mut old, "new", 1);
        write(&mut copied, "new", 1);
        let mut texts = collector.wait_texts(6);
        texts.sort();
        let since = ["since then 0", "since then 1"];
        let expected = ["new 0", "new 0", since[0], since[0], since[1], since[1]];
        assert_eq!(texts, expected, "{is_restarted}");
        assert_eq!(collector.figures().lost(), 0, "{is_restarted}");
    }
}

/// What is done to a log while nobody reads it: its beginning is cut off, an earlier state is written
/// over it, it is replaced by one, or it appears where there was none.
#[test]
fn whatever_becomes_of_a_log_no_line_from_before_the_first_start_is_shipped() {
    for change in ["cut", "written over", "replaced", "appears"] {
        for excluded in [&[("Exclude", "name=web")][..], &[]] {
            let root = DockerRoot::new();
            let mut web = root.created_container('a', "web");
            web.set_created(LONG_AGO);
            web.open_log();
            write(&mut web, "old", 50);
            let earlier = fs::read(&web.log).expect("the log");
            if change == "appears" {
                fs::remove_file(&web.log).expect("it is ours");
            } else {
                write(&mut web, "old, too", 50);
            }
            let collector = start(&root, excluded);
            wait_for_first_look(&root, &collector);
            wait_for_position(&root, &collector);
            collector.stop();
            match change {
                "cut" => {
                    let all = fs::read_to_string(&web.log).expect("the log");
                    let lines: Vec<&str> = all.split_inclusive('\n').collect();
                    fs::write(&web.log, lines[70..].concat()).expect("it is ours");
                }
                "replaced" => {
                    fs::remove_file(&web.log).expect("it is ours");
                    fs::write(&web.log, &earlier[1_000..]).expect("it is ours");
                }
                _ => fs::write(&web.log, &earlier).expect("it is ours"),
            }
            web.open_log();
            web.set_year(AFTER);
            write(&mut web, "new", 3);
            let collector = start(&root, &[]);
            let texts = collector.wait_texts(3);
            assert_eq!(texts, ["new 0", "new 1", "new 2"], "{change} {excluded:?}");
            // What was written and not read may be missing in an earlier state, and in no other.
            let lost = u64::from(change == "written over" || change == "replaced");
            let abandoned = collector.figures().abandoned.generations;
            assert_eq!(abandoned, lost, "{change} {excluded:?}");
            collector.stop();
            write(&mut web, "newer", 1);
            let collector = start(&root, &[]);
            assert_eq!(collector.wait_texts(1), ["newer 0"], "{change}");
        }
    }
}

/// The files of a driver may be there from before, as from an earlier change.
#[test]
fn a_driver_that_is_changed_ships_no_line_from_before_the_first_start() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.set_created(LONG_AGO);
    write(&mut web, "old", 10);
    let collector = start(&root, &[]);
    wait_for_first_look(&root, &collector);
    wait_for_position(&root, &collector);
    let cache = web.dir.join("container-cached.log");
    let frames = |texts: &[(&str, u64)]| {
        let frame = |(text, seconds): &(&str, u64)| frame(text, seconds * 1_000_000_000);
        texts.iter().flat_map(frame).collect::<Vec<u8>>()
    };
    fs::write(
        &cache,
        frames(&[("old", 1_700_000_000), ("new", 4_000_000_000)]),
    )
    .expect("a file");
    set_driver(&web, "syslog");
    assert_eq!(collector.wait_texts(1), ["new"]);
}

/// It was created, and had written nothing: all of its lines are new.
#[test]
fn a_container_that_is_started_after_the_first_start_is_read_from_its_first_line() {
    for is_restarted in [false, true] {
        let root = DockerRoot::new();
        let mut web = root.created_container('a', "web");
        web.write_config("web", false);
        web.set_created(LONG_AGO);
        let collector = start(&root, &[]);
        wait_for_first_look(&root, &collector);
        wait_for_position(&root, &collector);
        let running = match is_restarted {
            true => {
                collector.stop();
                None
            }
            false => Some(collector),
        };
        web.write_config("web", true);
        web.set_created(LONG_AGO);
        web.open_log();
        web.set_year(AFTER);
        write(&mut web, "first", 3);
        let collector = running.unwrap_or_else(|| start(&root, &[]));
        assert_eq!(collector.wait_texts(3), ["first 0", "first 1", "first 2"]);
    }
}

#[test]
fn a_container_that_only_the_api_has_is_read_from_the_first_start_on_over_a_restart() {
    let root = DockerRoot::new();
    let web = root.created_container('a', "web");
    web.set_created(LONG_AGO);
    let config = serde_json::json!({"LogConfig": {"Type": "journald", "Config": {}}});
    fs::write(web.dir.join("hostconfig.json"), config.to_string()).expect("it is ours");
    let old = PlayedContainer::ended("web", "journald", &["old"]);
    let mut later = old.clone();
    let log = later.log.as_mut().expect("it has one");
    log.push((1, IN_FUTURE.to_owned(), "new\n".to_owned()));
    let api = PlayedApi::of_docker([(web.id.clone(), old)]);
    let collector = start_with(&root, &api.socket(), &[]);
    wait_for_first_look(&root, &collector);
    wait_for_position(&root, &collector);
    collector.stop();
    let api = PlayedApi::of_docker([(web.id.clone(), later)]);
    let collector = start_with(&root, &api.socket(), &[]);
    assert_eq!(collector.wait_texts(1), ["new"]);
}

/// Its root cannot be seen, and it is excluded at the first start.
#[test]
fn an_excluded_container_that_only_the_api_lists_is_read_from_the_first_start_on() {
    let root = DockerRoot::new();
    fs::remove_dir(root.path().join("containers")).expect("it is ours");
    let id = "a".repeat(64);
    for driver in ["json-file", "journald"] {
        let _ = fs::remove_file(root.path().join("positions.db"));
        let old = PlayedContainer::ended("web", driver, &["old"]);
        let mut later = old.clone();
        let log = later.log.as_mut().expect("it has one");
        log.push((1, IN_FUTURE.to_owned(), "new\n".to_owned()));
        let api = PlayedApi::of_docker([(id.clone(), old)]);
        let collector = start_with(&root, &api.socket(), &[("Exclude", "name=web")]);
        wait_for_first_look(&root, &collector);
        wait_for_position(&root, &collector);
        collector.stop();
        let api = PlayedApi::of_docker([(id.clone(), later)]);
        let collector = start_with(&root, &api.socket(), &[]);
        assert_eq!(collector.wait_texts(1), ["new"], "{driver}");
    }
}
