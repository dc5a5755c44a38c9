//! `Read_From_Head off`: what was written before the first start is skipped, whenever its
//! container is met, and what was written later is not.

use std::fs;
use std::time::Duration;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::played_api::{PlayedApi, PlayedContainer};

const LONG_AGO: &str = "2020-01-01T00:00:00.000000001Z";
const IN_FUTURE: &str = "2099-01-01T00:00:00.000000001Z";

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

/// In one process, and over a restart; by `Created`, or by the birth of a folder.
#[test]
fn a_root_that_appears_after_the_first_start_has_old_lines_only_of_older_containers() {
    for is_restarted in [false, true] {
        let root = DockerRoot::new();
        let mut old = root.container('a', "old");
        write(&mut old, "old", 1_000);
        let mut copied = root.container('c', "copied");
        copied.set_created(LONG_AGO);
        write(&mut copied, "copied", 1_000);
        let mut new = root.container('b', "new");
        new.set_created(IN_FUTURE);
        write(&mut new, "new", 2);
        let folder = root.path().join("containers");
        let away = root.path().join("away");
        fs::rename(&folder, &away).expect("it is ours");
        // The test needs this time to pass: a folder's birth is known to a tick of the kernel.
        std::thread::sleep(Duration::from_millis(20));
        let mut collector = start(&root, &[]);
        collector.wait("the message", |c| c.has_logged("cannot list containers in"));
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
        collector.wait("all", |c| {
            ["old", "new", "copied"].map(|name| c.has_logged(&format!("container {name} (")))
                == [true; 3]
        });
        assert_eq!(collector.wait_texts(2), ["new 0", "new 1"]);
        write(&mut old, "old and new", 1);
        assert_eq!(collector.wait_texts(3)[2..], ["old and new 0"]);
        write(&mut copied, "copied and new", 1);
        assert_eq!(collector.wait_texts(4)[3..], ["copied and new 0"]);
    }
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
