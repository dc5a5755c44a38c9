//! One log file of several containers, as `--log-opt path=` of Podman and `log-path` of nerdctl have
//! it: each line is delivered once, as one of the container that was created last before it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use test_kit::collector::Collector;
use test_kit::nerdctl_root::NerdctlContainer;
use test_kit::podman_storage::{PodmanContainer, PodmanStorage, Start};
use test_kit::tail_containers::{page, program};

const HIDDEN: &str = "containers are no longer listed";

struct Machine {
    dir: TempDir,
    storage: PodmanStorage,
    log: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let dir = tempfile::tempdir().expect("a folder");
        let top = dir.path().canonicalize().expect("a folder");
        Machine {
            storage: PodmanStorage::new(dir.path()),
            log: top.join("logs/app.log"),
            dir,
        }
    }

    /// A container with the one log, created in this second.
    fn run(&self, digit: char, name: &str, second: u32) -> PodmanContainer {
        let created = format!("2024-01-01T00:00:{second:02}.123456789Z");
        let start = Start {
            name,
            log: Some(self.log.clone()),
            created: Some(&created),
            is_removed_at_its_end: true,
            ..Start::default()
        };
        self.storage.run(digit, &start)
    }

    fn start(&self, more: &[(&str, &str)]) -> Collector {
        let db = self.dir.path().join("positions.db").display().to_string();
        let all = [
            ("DB", &*db),
            ("Runtime", "podman"),
            ("Rescan_Interval", "50ms"),
            ("Podman_Socket", "off"),
        ];
        Collector::start(self.dir.path(), &[more, &all].concat())
    }
}

fn wait_found(collector: &Collector, name: &str) {
    collector.wait("the container", |collector| {
        let begin = format!("container {name} (");
        let is_it = |text: &str| text.starts_with(&begin) && text.ends_with("found");
        collector.log().iter().any(|(_, text)| is_it(text))
    });
}

fn wait_gone(collector: &Collector, name: &str) {
    collector.wait("its end", |collector| {
        let begin = format!("container {name} (");
        let is_it = |text: &str| text.starts_with(&begin) && text.contains("is gone");
        collector.log().iter().any(|(_, text)| is_it(text))
    });
}

/// Name and text of each record, in their order.
fn said(collector: &Collector, count: usize) -> Vec<String> {
    collector.wait_texts(count);
    let records = collector.records();
    let keys = ["container_name", "log"];
    let said = records
        .iter()
        .map(|record| keys.map(|key| record.text(key)));
    said.map(|said| said.join(" ")).collect()
}

/// `podman run --replace`, and units with `--rm`.
#[test]
fn containers_that_follow_each_other_with_one_log_have_each_line_once() {
    let machine = Machine::new();
    let collector = machine.start(&[]);
    let mut wanted = Vec::new();
    for (index, digit) in ('a'..='f').enumerate() {
        let second = 10 * index as u32 % 60;
        let name = format!("job{digit}");
        let mut job = machine.run(digit, &name, second);
        wait_found(&collector, &name);
        for line in 1..=3 {
            job.line_at(second + line, &line.to_string());
            wanted.push(format!("{name} {line}"));
        }
        assert_eq!(said(&collector, wanted.len()), wanted);
        machine.storage.remove(&job);
        wait_gone(&collector, &name);
    }
    assert!(!collector.has_logged(HIDDEN));
    collector.stop();
    let collector = machine.start(&[]);
    let mut last = machine.run('1', "last", 58);
    last.line_at(59, "one");
    assert_eq!(said(&collector, 1), ["last one"]);
}

/// The first one was removed, and the next one created, while nothing was read.
#[test]
fn a_container_that_is_new_after_a_restart_has_nothing_of_an_earlier_one_with_its_log() {
    let machine = Machine::new();
    let mut first = machine.run('a', "first", 0);
    first.line_at(1, "one");
    let collector = machine.start(&[]);
    assert_eq!(said(&collector, 1), ["first one"]);
    collector.stop();
    machine.storage.remove(&first);
    let mut second = machine.run('b', "second", 10);
    second.line_at(11, "two");
    let collector = machine.start(&[]);
    second.line_at(12, "three");
    assert_eq!(said(&collector, 2), ["second two", "second three"]);
}

/// The earlier one is far behind when the next one is found.
#[test]
fn what_of_the_earlier_container_is_unread_stays_its_own() {
    let machine = Machine::new();
    let (mut first, mut second) = (machine.run('a', "first", 0), machine.run('b', "second", 10));
    let mut wanted = Vec::new();
    for second in 1..=9 {
        first.line_at(second, &second.to_string());
        wanted.push(format!("first {second}"));
    }
    for line in 11..=19 {
        second.line_at(line, &line.to_string());
        wanted.push(format!("second {line}"));
    }
    let sorted = |mut said: Vec<String>| {
        said.sort();
        said
    };
    let wanted = sorted(wanted);
    let collector = machine.start(&[]);
    assert_eq!(sorted(said(&collector, 18)), wanted);
    collector.stop();
    let collector = machine.start(&[]);
    second.line_at(20, "last");
    assert_eq!(said(&collector, 1), ["second last"]);
}

#[test]
fn two_containers_that_run_with_one_log_have_each_line_once_and_are_said_and_checked() {
    let machine = Machine::new();
    let mut first = machine.run('a', "first", 0);
    machine.storage.monitor('a');
    let collector = machine.start(&[]);
    first.line_at(1, "one");
    assert_eq!(said(&collector, 1), ["first one"]);
    let mut second = machine.run('b', "second", 10);
    machine.storage.monitor('b');
    wait_found(&collector, "second");
    second.line_at(11, "two");
    assert_eq!(said(&collector, 2).last().unwrap(), "second two");
    first.line_at(12, "of the first");
    assert_eq!(said(&collector, 3).last().unwrap(), "second of the first");
    collector.wait("the warning", |collector| {
        collector.has_logged(
            "containers first (aaaaaaaaaaaa) and second (bbbbbbbbbbbb) run at once and write to the same log ",
        )
    });
    let root = format!("Podman_Root={}", machine.storage.path().display());
    let mut check = Command::new(program());
    check.args(["check", "--runtime", "podman", "-o", "Podman_Socket=off"]);
    let checked = check.args(["-o", "Journal_Path=off", "-o", &root]).output();
    let (page, _) = page(&checked.expect("tail-containers runs"));
    let problem = "it runs and writes to the same log as ";
    assert!(page.contains(problem), "{page}");

    // The first one goes on with its log once the second one is removed.
    machine.storage.remove(&second);
    wait_gone(&collector, "second");
    first.line_at(20, "alone");
    assert_eq!(said(&collector, 4).last().unwrap(), "first alone");
}

#[test]
fn containers_of_nerdctl_that_follow_each_other_with_one_log_path_have_each_line_once() {
    let machine = tempfile::tempdir().expect("a folder");
    let root = machine.path().join("var/lib/nerdctl");
    let logs = machine.path().join("logs");
    std::fs::create_dir_all(&root).expect("folders");
    std::fs::create_dir(&logs).expect("a folder");
    let path = logs.join("job.log").display().to_string();
    let options = [("Nerdctl_Root", "auto"), ("Runtime", "nerdctl")];
    let rescan = [("Rescan_Interval", "50ms")];
    let collector = Collector::start(machine.path(), &[&options[..], &rescan].concat());
    let mut wanted = Vec::new();
    for (index, digit) in ('a'..='d').enumerate() {
        let name = format!("job{digit}");
        let opts = [("log-path", &*path)];
        let mut job = NerdctlContainer::with(&root, "default", digit, &name, "json-file", &opts);
        job.created_at(1000 * index as u64);
        job.start(&[]);
        wait_found(&collector, &name);
        for line in 1..=3 {
            job.line(&line.to_string());
            wanted.push(format!("{name} {line}"));
        }
        assert_eq!(said(&collector, wanted.len()), wanted);
        job.remove();
        wait_gone(&collector, &name);
    }
    assert!(!collector.has_logged(HIDDEN));
}
