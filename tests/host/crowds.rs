//! Ten thousand containers within limits that hold for a few hundred: descriptors, and watches of inotify.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{record, DockerRoot};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::receivers::{self, Receiver, Request};
use test_kit::{holds_within, run, skip, tail_containers};

const CONTAINERS: usize = 10_000;
/// They come first; the others run.
const EXITED: usize = 9_000;
const TIME: &str = "2026-11-27T12:00:00.000000001Z";

/// The containers, each with one line. Their files are closed.
fn crowd() -> (DockerRoot, Vec<PathBuf>) {
    let root = DockerRoot::new();
    let logs = (0..CONTAINERS).map(|number| {
        let container = root.created_with_id(&format!("{number:064x}"), "web");
        container.write_config("web", number >= EXITED);
        let line = record("stdout", &format!("first {number}\n"), TIME);
        fs::write(&container.log, line).expect("a log");
        container.log.clone()
    });
    let logs = logs.collect();
    (root, logs)
}

/// Adds a line to each of these logs.
fn write_again(logs: &[PathBuf], numbers: Range<usize>) {
    for number in numbers {
        let mut log = OpenOptions::new();
        let log = log.append(true).open(&logs[number]);
        let line = record("stdout", &format!("again {number}\n"), TIME);
        let mut log = log.expect("a log");
        log.write_all(line.as_bytes()).expect("a line");
    }
}

/// A program that runs `shell` and then the one at `path` with the same arguments.
fn preceded(root: &DockerRoot, path: &Path, shell: &str) -> PathBuf {
    let script = root.path().join("preceded");
    let text = format!("#!/bin/sh\n{shell} {} \"$@\"\n", path.display());
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its permissions");
    script
}

/// A host that delivers to a receiver over HTTP.
fn host_of(program: &Path, plugin: &Path, root: &DockerRoot) -> (FluentBit, Receiver<Request>) {
    let receiver = receivers::http();
    let config = format!(
        "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Docker_Socket off\n    \
         Metadata off\n[OUTPUT]\n    Name http\n    Match *\n    Host 127.0.0.1\n    Port {}\n    Format json_lines\n    \
         Retry_Limit no_limits\n",
        root.path().display(),
        receiver.port(),
    );
    let host = FluentBit::new(program, Some(plugin), &config);
    (host, receiver)
}

/// The lines of these bodies, each of which is a record as JSON.
fn lines(requests: &[Request]) -> impl Iterator<Item = &[u8]> {
    let lines = requests
        .iter()
        .flat_map(|request| request.body.split(|byte| *byte == b'\n'));
    lines.filter(|line| !line.is_empty())
}

fn arrived(receiver: &Receiver<Request>) -> Vec<String> {
    let text_of = |line| {
        let record: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        record["log"]
            .as_str()
            .expect("a text")
            .trim_end()
            .to_owned()
    };
    lines(&receiver.received()).map(text_of).collect()
}

/// Every line has come once: the first of all, and the second of these containers.
fn assert_all(receiver: &Receiver<Request>, again: &[Range<usize>], host: &FluentBit) {
    let mut texts = arrived(receiver);
    texts.sort_unstable();
    let first = (0..CONTAINERS).map(|number| format!("first {number}"));
    let again = again.iter().cloned().flatten();
    let mut expected: Vec<String> = first.chain(again.map(|it| format!("again {it}"))).collect();
    expected.sort_unstable();
    assert!(
        texts == expected,
        "{} lines of {}\n{}",
        texts.len(),
        expected.len(),
        host.stderr()
    );
}

#[test]
fn ten_thousand_containers_within_1024_descriptors_lose_nothing_and_take_less_than_400() {
    let test = "crowds::ten_thousand_containers_within_1024_descriptors_lose_nothing_and_take_less_than_400";
    with_each_host(test, |program, plugin| {
        let (root, logs) = crowd();
        let limited = preceded(&root, program, "ulimit -n 1024\nexec");
        let (mut host, receiver) = host_of(&limited, plugin, &root);
        host.start().expect("Fluent Bit starts");
        let most = Cell::new(0);
        let lines = |host: &FluentBit| {
            most.set(most.get().max(descriptors_of_ours(host, &root)));
            count_lines(&receiver)
        };
        host.wait_to_reach(CONTAINERS, PATIENCE, "first lines", lines);
        let again = EXITED - 500..CONTAINERS;
        write_again(&logs, again.clone());
        host.wait_to_reach(CONTAINERS + again.len(), PATIENCE, "lines", lines);
        println!("{} descriptors at the most", most.get());
        assert!(
            most.get() < 400,
            "{} descriptors\n{}",
            most.get(),
            host.stderr()
        );
        host.end_in_order();
        assert_all(&receiver, std::slice::from_ref(&again), &host);
    });
}

/// Logs and folders that the process has open, and instances of inotify.
fn descriptors_of_ours(host: &FluentBit, root: &DockerRoot) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", host.pid()));
    let links = open
        .into_iter()
        .flatten()
        .flatten()
        .map(|open| fs::read_link(open.path()));
    let is_ours =
        |link: &PathBuf| link.starts_with(root.path()) || link.ends_with("anon_inode:inotify");
    links.flatten().filter(is_ours).count()
}

fn count_lines(receiver: &Receiver<Request>) -> usize {
    lines(&receiver.received()).count()
}

/// The limit of a user namespace of its own; that of the machine stays as it is. The rest is polled.
#[test]
fn ten_thousand_containers_within_8192_watches_lose_nothing_and_are_told_to_raise_them() {
    let test = "crowds::ten_thousand_containers_within_8192_watches_lose_nothing_and_are_told_to_raise_them";
    let limit = "echo 8192 >/proc/sys/user/max_inotify_watches";
    let within = format!("exec unshare --user --map-root-user sh -c '{limit} && exec \"$@\"' sh");
    let mut probe = Command::new("sh");
    if let Err(reason) = run(probe.args(["-c", &format!("{within} true")])) {
        return skip(test, &reason);
    }
    with_each_host(test, |program, plugin| {
        let (root, logs) = crowd();
        let checked = preceded(&root, &tail_containers::program(), &within);
        let output = Command::new(checked)
            .args(["--runtime", "docker", "--docker-root"])
            .arg(root.path())
            .args(["-o", "Journal_Path=off", "check"])
            .output()
            .expect("it runs");
        let page = String::from_utf8_lossy(&output.stdout);
        for said in [
            "the watch limit is reached",
            "user.max_inotify_watches is 8192 now",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        let limited = preceded(&root, program, &within);
        let (mut host, receiver) = host_of(&limited, plugin, &root);
        host.start().expect("Fluent Bit starts");
        let lines = |_: &FluentBit| count_lines(&receiver);
        host.wait_to_reach(CONTAINERS, PATIENCE, "first lines", lines);
        // With a watch and without one, exited and running.
        let again = [
            0..300,
            EXITED - 300..EXITED + 300,
            CONTAINERS - 300..CONTAINERS,
        ];
        again
            .iter()
            .for_each(|numbers| write_again(&logs, numbers.clone()));
        let total = CONTAINERS + again.iter().map(Range::len).sum::<usize>();
        host.wait_to_reach(total, PATIENCE, "lines", lines);
        let is_said = |host: &FluentBit| host.stderr().matches("no change notification").count();
        assert!(
            holds_within(PATIENCE, || is_said(&host) > 0),
            "{}",
            host.stderr()
        );
        host.end_in_order();
        assert_eq!(is_said(&host), 1, "{}", host.stderr());
        assert_all(&receiver, &again, &host);
    });
}
