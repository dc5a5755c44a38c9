//! Containers whose log only an API has, played by the test: log drivers of plugins, states and
//! releases that the daemons at hand do not have, and `tail-containers --no-follow`.

use std::fs;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::played_api::{PlayedApi, PlayedContainer};
use test_kit::podman_storage::{PodmanStorage, Start};
use test_kit::tail_containers::{check, row, run};

const LINES: [&str; 3] = ["one", "two", "three"];

/// A container with this log driver and no file, which has ended.
fn ended(root: &DockerRoot, digit: char, name: &str, driver: &str) -> LogWriter {
    let container = root.created_container(digit, name);
    let config = serde_json::json!({"LogConfig": {"Type": driver, "Config": {}}});
    fs::write(container.dir.join("hostconfig.json"), config.to_string()).expect("a file");
    container.write_config(name, false);
    container
}

fn printed(output: &std::process::Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// A plugin such as Loki's may keep the log itself: `docker logs` works, and there is no cache.
#[test]
fn a_container_with_a_plugin_driver_that_ended_while_nobody_read_is_read_through_the_api() {
    let root = DockerRoot::new();
    let loki = ended(&root, 'a', "kept", "loki");
    let other = ended(&root, 'b', "elsewhere", "grafana/loki-docker-driver:3");
    let api = PlayedApi::of_docker([
        (
            loki.id.clone(),
            PlayedContainer::ended("kept", "loki", &LINES),
        ),
        (
            other.id.clone(),
            PlayedContainer {
                log: None,
                ..PlayedContainer::ended("elsewhere", "loki", &[])
            },
        ),
    ]);
    let (page, _) = check(
        root.path(),
        &["-o", &format!("Docker_Socket={}", api.socket())],
    );
    assert_eq!(
        row(&page, "kept"),
        "shop/web:1.2 loki api: log driver loki keeps no file"
    );
    let collector = Collector::start(root.path(), &[("Docker_Socket", &api.socket())]);
    assert_eq!(collector.wait_texts(3), LINES);
    collector.wait("the answer about the other one", |collector| {
        collector.has_logged("elsewhere (bbbbbbbbbbbb) cannot be read: configured logging driver")
    });
    collector.wait("its place in the metrics", |collector| {
        collector.metric("containers_unread") == 1.0
    });
    // Each was asked about once.
    assert_eq!(api.requests("/logs?").len(), 2);
}

/// Docker writes their cache when they start; without one there is nothing to ask for.
#[test]
fn a_container_with_a_sending_driver_that_ended_is_not_asked_about() {
    let root = DockerRoot::new();
    let drivers = ["syslog", "gelf", "fluentd", "awslogs", "splunk"];
    let _containers: Vec<_> = ('a'..)
        .zip(drivers)
        .map(|(digit, driver)| ended(&root, digit, driver, driver))
        .collect();
    let api = PlayedApi::of_docker([]);
    let socket = format!("Docker_Socket={}", api.socket());
    let output = run(root.path(), &["--no-follow", "-o", &socket]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(api.requests(""), [""; 0]);
}

#[test]
fn no_follow_waits_for_what_only_the_api_has() {
    let root = DockerRoot::new();
    let journald = ended(&root, 'a', "kept", "journald");
    let running = ended(&root, 'b', "running", "journald");
    running.write_config("running", true);
    let container = |name: &str, state: &str| PlayedContainer {
        state: state.to_owned(),
        ..PlayedContainer::ended(name, "journald", &LINES)
    };
    let api = PlayedApi::of_docker([
        (journald.id.clone(), container("kept", "exited")),
        (running.id.clone(), container("running", "running")),
    ]);
    let socket = format!("Docker_Socket={}", api.socket());
    let missing = root.path().join("missing");
    for root in [root.path(), &missing] {
        for mode in ["Mode=hybrid", "Mode=stream"] {
            let output = run(root, &["--no-follow", "--json", "-o", &socket, "-o", mode]);
            assert!(output.status.success(), "{output:?}");
            let text = |line: &String| {
                let record: serde_json::Value = serde_json::from_str(line).expect("a record");
                record["log"].as_str().expect("a text").to_owned()
            };
            let mut texts: Vec<_> = printed(&output).iter().map(text).collect();
            texts.sort();
            let expected = ["one", "one", "three", "three", "two", "two"];
            assert_eq!(texts, expected, "{root:?} {mode} {output:?}");
        }
    }
}

/// `stopped` is a state of Podman 5. One such container must not hide the others.
#[test]
fn a_container_in_a_state_of_podman_5_does_not_hide_the_list() {
    let root = DockerRoot::new();
    let id = |digit: &str| digit.repeat(64);
    let stopped = PlayedContainer {
        state: "stopped".to_owned(),
        ..PlayedContainer::ended("kept", "journald", &LINES)
    };
    let api = PlayedApi::of_podman("5.4.2", [(id("a"), stopped)]);
    let podman = root.path().join("storage");
    let socket = format!("Podman_Socket={}", api.socket());
    let podman = format!("Podman_Root={}", podman.display());
    let arguments = [
        "--no-follow",
        "--runtime",
        "podman",
        "-o",
        &podman,
        "-o",
        &socket,
    ];
    let output = std::process::Command::new(test_kit::tail_containers::program())
        .args(arguments)
        .output()
        .expect("tail-containers runs");
    let expected = LINES.map(|line| format!("kept | {line}"));
    assert_eq!(printed(&output), expected, "{output:?}");
}

/// Podman's service speaks Docker's language; the messages say whose it is.
#[test]
fn messages_about_podmans_api_name_podman() {
    let root = DockerRoot::new();
    let id = "a".repeat(64);
    let kept = PlayedContainer::ended("kept", "journald", &LINES);
    let api = PlayedApi::of_podman("5.4.2", [(id, kept)]);
    let socket = api.socket();
    let collector = Collector::start(
        root.path(),
        &[("Runtime", "podman"), ("Podman_Socket", &socket)],
    );
    assert_eq!(collector.wait_texts(3), LINES);
    drop(api);
    collector.wait("the outage", |c| {
        c.has_logged(&format!("cannot reach the Podman API at {socket}"))
    });
    let path = socket.trim_start_matches("unix://");
    let log = collector.log();
    let outage = log
        .iter()
        .find(|(_, text)| text.starts_with("cannot reach"));
    let times = outage.map(|(_, text)| text.matches(path).count());
    assert_eq!(times, Some(1), "{log:?}");
    assert!(collector.has_logged("container kept (aaaaaaaaaaaa) is read through the Podman API"));
    assert!(!collector.has_logged("Docker"), "{:?}", collector.log());
}

/// A log with lines of 16,384 and 40,000 bytes and a short one, in pieces of this size. Each piece
/// has a time of its own, a second after the one before.
fn in_pieces(size: usize) -> Vec<(u8, String, String)> {
    let mut entries = Vec::new();
    let mut take = |text: String| {
        let time = format!("2026-11-26T10:00:{:02}.000000007Z", entries.len());
        entries.push((1, time, text));
    };
    for length in [16_384, 40_000, 5] {
        let mut left = length;
        while left >= size {
            take("x".repeat(size));
            left -= size;
        }
        take("x".repeat(left) + "\n");
    }
    entries
}

/// Podman from 5.8 on and Docker's journald driver: a line is one record whatever the times of its
/// pieces are, and a restart repeats nothing.
#[test]
fn long_lines_whose_pieces_have_times_of_their_own_are_one_record_each() {
    let docker = |driver: &'static str| ("docker", driver, 16_384, None);
    let podman = |driver: &'static str| ("podman", driver, 8_192, Some("5.8.6"));
    for (runtime, driver, size, release) in
        [docker("journald"), podman("journald"), podman("k8s-file")]
    {
        let root = DockerRoot::new();
        fs::remove_dir(root.path().join("containers")).expect("it is ours");
        let db = root.path().join("positions.db").display().to_string();
        let read = |entries: Vec<(u8, String, String)>, count: usize| {
            let mut container = PlayedContainer::ended("long", driver, &[]);
            container.log = Some(entries);
            let containers = [("a".repeat(64), container)];
            let api = match release {
                Some(release) => PlayedApi::of_podman(release, containers),
                None => PlayedApi::of_docker(containers),
            };
            let options = [
                ("Runtime", runtime),
                ("Docker_Socket", &api.socket()),
                ("Podman_Socket", &api.socket()),
                ("DB", &db),
            ];
            let collector = Collector::start(root.path(), &options);
            let texts = collector.wait_texts(count);
            texts.iter().map(String::len).collect::<Vec<_>>()
        };
        let mut entries = in_pieces(size);
        let lengths = read(entries.clone(), 3);
        assert_eq!(lengths, [16_384, 40_000, 5], "{runtime} {driver}");
        let later = "2026-11-26T10:01:00.000000007Z";
        entries.push((1, later.to_owned(), "later than that\n".to_owned()));
        assert_eq!(read(entries, 1), [15], "{runtime} {driver}");
    }
}

/// Docker's root cannot be read, and its API lists its containers. That says nothing about the
/// containers of Podman, whose line is still open.
#[test]
fn a_list_of_dockers_api_does_not_end_podmans_containers() {
    let root = DockerRoot::new();
    let containers = root.path().join("containers");
    fs::remove_dir(&containers).expect("it is ours");
    fs::write(&containers, "no folder").expect("a file");
    let podman = PodmanStorage::new(root.path());
    let mut unit = podman.run('b', &Start::default());
    unit.line("podman 1");
    let kept = PlayedContainer::ended("kept", "journald", &["docker"]);
    let api = PlayedApi::of_docker([("a".repeat(64), kept)]);
    let options = [
        ("Runtime", "auto"),
        ("Docker_Socket", &*api.socket()),
        ("Podman_Socket", "off"),
        ("Rescan_Interval", "50ms"),
    ];
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(2);
    let lists = || api.requests("/containers/json").len();
    let before = lists();
    collector.wait("more lists", |_| lists() > before + 2);
    unit.line("podman 2");
    collector.wait_texts(3);
    assert!(!collector.has_logged("is gone"), "{:?}", collector.log());
}
