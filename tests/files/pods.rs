//! A Kubernetes node that the test writes: the runtime's format, the kubelet's
//! rotation, restarts, old layouts, and Docker below.

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use fluent_bit_container_logs::config::options::OPTIONS;
use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::telemetry::event::Level;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::pod_root::{uid_of, PodRoot, PodWriter, Style};
use test_kit::tail_containers::{page, program, row};
use test_kit::{in_mount_namespace, skip};

/// As on a node without Docker.
fn start(root: &PodRoot, options: &[(&str, &str)]) -> Collector {
    let all: Vec<(&str, &str)> = [("Runtime", "cri")]
        .iter()
        .chain(options)
        .copied()
        .collect();
    Collector::start(root.path(), &all)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn write(log: &mut PodWriter, range: std::ops::Range<usize>) {
    for line in numbers(range) {
        log.line(&line);
    }
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.text("log")).collect()
}

#[test]
fn records_say_which_pod_and_run_they_are_of() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    log.entry("stderr", "F:future:tags", "hello žluť \u{1b}[0m");
    let collector = start(
        &root,
        &[(
            "Tag_Template",
            "k8s.{namespace}.{pod}.{pod_uid}.{name}.{id}",
        )],
    );
    collector.wait_texts(1);
    let first_id = log.id();
    log.restart();
    log.line("again");
    collector.wait_texts(2);
    let tagged = collector.tagged();
    for (number, (id, stream, text)) in [
        (&first_id, "stderr", "hello žluť \u{1b}[0m"),
        (&log.id(), "stdout", "again"),
    ]
    .into_iter()
    .enumerate()
    {
        let (tag, record) = &tagged[number];
        assert_eq!(
            serde_json::Value::Object(record.body.clone()),
            serde_json::json!({
                "log": text, "stream": stream,
                "container_id": id, "container_name": "app",
                "namespace": "shop", "pod": "web-1", "pod_uid": uid_of("web-1"), "restart_count": number,
            })
        );
        assert_eq!(
            tag.as_deref(),
            Some(format!("k8s.shop.web-1.{}.app.{id}", uid_of("web-1")).as_str())
        );
    }
    assert_eq!(tagged[0].1.time.seconds, 1_700_000_000);
}

#[test]
fn pieces_are_joined_by_their_tags_alone() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let collector = start(&root, &[]);
    let long: String = (0..100_000)
        .map(|n| char::from(b'a' + (n % 26) as u8))
        .collect();
    let mut expected = Vec::new();
    // containerd's limit, conmon's reads, and a prompt that comes byte by byte.
    for bytes in [16_384, 8_192, 100_000, 7_777] {
        log.pieces("stdout", &long, bytes);
        expected.push(long.clone());
    }
    log.style = Style::Conmon;
    log.pieces("stdout", "password: ", 1);
    expected.push("password: ".to_owned());
    log.entry("stdout", "F", "");
    expected.push(String::new());
    // Bytes of a character in two pieces; carriage returns are the container's.
    log.raw(b"2023-11-14T22:13:50Z stdout P \xc5\n2023-11-14T22:13:51Z stdout F \xbe\r\n");
    expected.push("ž\r".to_owned());
    log.entry("stdout", "P", "out");
    log.entry("stderr", "F", "err");
    log.entry("stdout", "F", "put");
    expected.extend(["err".to_owned(), "output".to_owned()]);
    let got = collector.wait_texts(expected.len());
    let lengths = |texts: &[String]| texts.iter().map(String::len).collect::<Vec<_>>();
    assert_eq!(lengths(&got), lengths(&expected));
    assert!(got == expected, "the lengths are right, the texts are not");
}

#[test]
fn an_unfinished_line_ends_with_its_run() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let collector = start(&root, &[]);
    log.line("line 0");
    log.entry("stdout", "P", "panic: no line feed");
    log.restart();
    log.line("line 1");
    collector.wait_texts(3);
    let (records, _) = collector.stop();
    assert_eq!(texts(&records), ["line 0", "panic: no line feed", "line 1"]);
    let runs: Vec<_> = records
        .iter()
        .map(|record| record.body["restart_count"].as_u64())
        .collect();
    assert_eq!(runs, [Some(0), Some(0), Some(1)]);
}

#[test]
fn damage_is_passed_over_to_the_next_entry() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    log.line("line 0");
    log.raw(b"2023-11-14T22:1");
    log.line("line 1");
    log.raw(b"garbage\n\n\0\0\0\0");
    log.line("line 2");
    log.raw(b"2023-11-14T22:13:50Z stdout X unknown tag\n");
    log.line("line 3");
    let collector = start(&root, &[]);
    assert_eq!(collector.wait_texts(4), numbers(0..4));
    let (_, messages) = collector.stop();
    assert!(
        messages
            .iter()
            .any(|(_, text)| text.contains("not a valid log record")),
        "{messages:?}"
    );
}

/// What a run of the kubelet's rotation, or several, does to one container.
struct Case {
    log: PodWriter,
    pod: String,
    expected: HashMap<&'static str, Vec<String>>,
}

impl Case {
    fn line(&mut self, text: String) {
        self.log.line(&text);
        self.expected.entry("stdout").or_default().push(text);
    }

    fn lines(&mut self, round: usize, what: &str, count: usize) {
        for number in 0..count {
            self.line(format!("{} round {round} {what} {number}", self.pod));
        }
    }

    /// One rotation, with something written at each of its steps.
    fn rotate(&mut self, round: usize) {
        self.lines(round, "before", 3);
        self.log.rotate();
        self.lines(round, "while the log has no name", 3);
        if round.is_multiple_of(3) {
            let (half, rest) = (format!("{} half of {round} ", self.pod), "and its rest");
            self.log.reopen_in_mid_line(&half);
            self.log.entry("stdout", "F", rest);
            self.expected
                .entry("stderr")
                .or_default()
                .push("written at once after the reopening".to_owned());
            self.expected
                .entry("stdout")
                .or_default()
                .push(format!("{half}{rest}"));
        } else {
            self.log.reopen();
        }
        self.lines(round, "after", 3);
        if round % 5 == 4 {
            self.log.restart();
            self.lines(round, "in a new run", 2);
        }
    }
}

#[test]
fn a_node_of_a_hundred_pods_through_a_thousand_rotations() {
    const PODS: usize = 100;
    const ROUNDS: usize = 10;
    let root = PodRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().expect("a path"))];
    let mut cases: Vec<Case> = (0..PODS)
        .map(|number| {
            let pod = format!("web-{number}");
            let mut log = root.container("shop", &pod, "app");
            log.style = if number.is_multiple_of(2) {
                Style::Containerd
            } else {
                Style::Conmon
            };
            Case {
                log,
                pod,
                expected: HashMap::new(),
            }
        })
        .collect();
    let mut records = Vec::new();
    let mut written = 0;
    let mut collector = start(&root, &options);
    for round in 0..ROUNDS {
        for case in &mut cases {
            case.rotate(round);
        }
        written = cases
            .iter()
            .flat_map(|case| case.expected.values())
            .map(Vec::len)
            .sum();
        // The kubelet looks every ten seconds, so a reader is never further behind.
        collector.wait("the lines of a round", |collector| {
            records.len() + collector.count() >= written
        });
        // Once, rotations happen while nobody reads.
        if round == ROUNDS / 2 {
            records.extend(collector.stop().0);
            for case in &mut cases {
                case.rotate(ROUNDS);
                case.rotate(ROUNDS + 1);
            }
            written = cases
                .iter()
                .flat_map(|case| case.expected.values())
                .map(Vec::len)
                .sum();
            collector = start(&root, &options);
        }
    }
    collector.wait("all lines", |collector| {
        records.len() + collector.count() >= written
    });
    let (rest, messages) = collector.stop();
    records.extend(rest);
    assert_eq!(records.len(), written);
    let mut arrived: HashMap<(String, String), Vec<String>> = HashMap::new();
    for record in &records {
        let key = (
            record.text("pod").to_owned(),
            record.text("stream").to_owned(),
        );
        arrived
            .entry(key)
            .or_default()
            .push(record.text("log").to_owned());
    }
    for case in &cases {
        for (stream, lines) in &case.expected {
            let got = &arrived[&(case.pod.clone(), (*stream).to_owned())];
            assert_eq!(got, lines, "{} {stream}", case.pod);
        }
    }
    assert!(
        !messages.iter().any(|(level, _)| *level <= Level::Warn),
        "{messages:?}"
    );
}

#[test]
fn a_pod_that_is_deleted_is_read_to_its_end() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let collector = start(&root, &[]);
    log.line("line 0");
    collector.wait_texts(1);
    collector.pause();
    write(&mut log, 1..20_000);
    log.entry("stdout", "P", "line 20000");
    std::fs::remove_dir_all(log.dir.parent().expect("the pod")).expect("remove");
    collector.resume();
    assert_eq!(collector.wait_texts(20_001), numbers(0..20_001));
    collector.wait("the end", |collector| {
        collector.has_logged("shop/web-1/app") && collector.has_logged("is gone")
    });
}

#[test]
fn pods_and_containers_that_come_later_are_found() {
    let root = PodRoot::new();
    let collector = start(&root, &[("Rescan_Interval", "1h")]);
    collector.wait("the start", |collector| collector.has_logged("following"));
    let mut first = root.container("shop", "web-1", "init");
    first.line("line 0");
    collector.wait_texts(1);
    let mut second = root.container("shop", "web-1", "app");
    second.line("line 1");
    collector.wait_texts(2);
    let mut third = root.container("shop", "web-2", "app");
    third.line("line 2");
    assert_eq!(collector.wait_texts(3), numbers(0..3));
}

#[test]
fn the_layouts_of_old_kubelets_are_read() {
    let root = PodRoot::new();
    let uid = uid_of("old");
    let folder = root.pods().join(&uid);
    std::fs::create_dir_all(folder.join("app")).expect("a folder");
    std::fs::write(
        folder.join("app/0.log"),
        "2023-11-14T22:13:20Z stdout F of a folder\n",
    )
    .expect("a log");
    let shared = folder.join("side_0.log");
    std::fs::write(&shared, "2023-11-14T22:13:20Z stdout F of a shared one\n").expect("a log");
    let id = "ab".repeat(32);
    symlink(
        &shared,
        root.path()
            .join(format!("containers/old-1_ops_side-{id}.log")),
    )
    .expect("a link");
    let collector = start(&root, &[]);
    collector.wait_texts(2);
    std::fs::rename(&shared, format!("{}.20240101-000000", shared.display())).expect("rotate");
    std::fs::write(&shared, "2023-11-14T22:13:21Z stdout F rotated\n").expect("a log");
    std::fs::write(
        folder.join("side_1.log"),
        "2023-11-14T22:13:22Z stdout F restarted\n",
    )
    .expect("a log");
    collector.wait_texts(4);
    let records = collector.records();
    let side: Vec<&Record> = records
        .iter()
        .filter(|record| record.text("container_name") == "side")
        .collect();
    let lines: Vec<&str> = side.iter().map(|record| record.text("log")).collect();
    assert_eq!(lines, ["of a shared one", "rotated", "restarted"]);
    assert_eq!(side[0].text("pod"), "old-1");
    assert_eq!(
        (side[0].text("namespace"), side[0].text("container_id")),
        ("ops", id.as_str())
    );
    assert!(records.iter().all(|record| record.text("pod_uid") == uid));
}

#[test]
fn below_cri_dockerd_a_container_is_read_once_and_has_its_pods_fields() {
    let pods = PodRoot::new();
    let docker = DockerRoot::new();
    let mut log = docker.container('a', "k8s_app_web-1_shop_0");
    log.line("line 0");
    let dir = pods
        .pods()
        .join(format!("shop_web-1_{}/app", uid_of("web-1")));
    std::fs::create_dir_all(&dir).expect("a folder");
    symlink(&log.log, dir.join("0.log")).expect("a link");
    for runtime in ["auto", "cri"] {
        let docker_root = docker.path().display().to_string();
        let options = [
            ("Runtime", runtime),
            ("Docker_Root", &docker_root),
            ("Docker_Socket", "off"),
        ];
        let before = log.time();
        let collector = Collector::start(pods.path(), &options);
        collector.wait_texts(1);
        log.line("line 1");
        collector.wait("the second line", |collector| {
            collector.texts().contains(&"line 1".to_owned())
        });
        log.rotate(3, false);
        log.line("line 2");
        collector.wait("the third line", |collector| {
            collector.texts().contains(&"line 2".to_owned())
        });
        let (records, _) = collector.stop();
        let mut sorted = texts(&records);
        sorted.dedup();
        assert_eq!(
            sorted,
            texts(&records),
            "nothing comes twice; {runtime} from {before}"
        );
        assert!(
            records.iter().all(|record| record.text("pod") == "web-1"),
            "{records:?}"
        );
        assert!(records
            .iter()
            .all(|record| record.text("container_id") == log.id));
        log.recreate();
        for number in [1, 2] {
            let _ = std::fs::remove_file(format!("{}.{number}", log.log.display()));
        }
        log.line("line 0");
    }
}

/// A pod's container below cri-dockerd: as Docker writes it, and the kubelet's link to it, which
/// leads to `target`.
fn linked(pods: &PodRoot, docker: &DockerRoot, digit: char, target: &str) -> (LogWriter, PathBuf) {
    let uid = uid_of("web-1");
    let mut log = docker.container(digit, "");
    log.write_config_with(
        &format!("k8s_app-{digit}_web-1_shop_{uid}_0"),
        true,
        serde_json::json!({
            "io.kubernetes.container.name": format!("app-{digit}"),
            "io.kubernetes.pod.name": "web-1",
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.uid": uid,
            "annotation.io.kubernetes.container.restartCount": "0",
        }),
        &[],
    );
    log.line("line 0");
    let dir = pods.pods().join(format!("shop_web-1_{uid}/app-{digit}"));
    std::fs::create_dir_all(&dir).expect("a folder");
    let link = dir.join("0.log");
    symlink(
        format!("{target}/containers/{0}/{0}-json.log", log.id),
        &link,
    )
    .expect("a link");
    (log, link)
}

/// Every few seconds the kubelet renames the link and, since Docker cannot reopen its log, renames
/// it back; or the link is made anew.
#[test]
fn below_cri_dockerd_records_are_the_same_while_the_kubelet_replaces_the_link() {
    for runtime in ["auto", "cri", "docker"] {
        let (pods, docker) = (PodRoot::new(), DockerRoot::new());
        let docker_root = docker.path().display().to_string();
        let (mut log, link) = linked(&pods, &docker, 'a', &docker_root);
        let target = std::fs::read_link(&link).expect("the link");
        let db = pods.path().join("positions.db").display().to_string();
        let options = [
            ("Runtime", runtime),
            ("Docker_Root", &docker_root),
            ("Docker_Socket", "off"),
            ("Rescan_Interval", "10ms"),
            ("DB", &db),
        ];
        let collector = Collector::start(pods.path(), &options);
        collector.wait_texts(1);
        let renamed = link.with_file_name("0.log.20231114-221320");
        let mut count = 1;
        // A container that is read was listed since.
        let mut settle = |digit: char| {
            let text = format!("of {digit}");
            match runtime {
                "docker" => docker.container(digit, "other").line(&text),
                _ => pods
                    .container("ops", &format!("other-{digit}"), "app")
                    .line(&text),
            }
            let has = |collector: &Collector, text: &String| collector.texts().contains(text);
            collector.wait("a listing", |collector| has(collector, &text));
            let line = format!("line {count}");
            log.line(&line);
            count += 1;
            collector.wait("the line", |collector| has(collector, &line));
        };
        std::fs::rename(&link, &renamed).expect("rename");
        settle('b');
        std::fs::rename(&renamed, &link).expect("rename");
        settle('c');
        std::fs::remove_file(&link).expect("remove");
        settle('d');
        symlink(&target, &link).expect("the link");
        settle('e');
        let (mut records, messages) = collector.stop();
        records.retain(|record| record.text("log").starts_with("line"));
        assert_eq!(texts(&records), numbers(0..5), "{runtime}: {messages:?}");
        for record in &records {
            let is = |key: &str| record.text(key).to_owned();
            let told = [
                is("container_name"),
                is("pod"),
                is("namespace"),
                is("image"),
            ];
            assert_eq!(
                told,
                ["app-a", "web-1", "shop", "shop/web:1.2"],
                "{runtime}"
            );
            assert_eq!(is("pod_uid"), uid_of("web-1"));
        }
    }
}

/// At the start of the machine Docker's data root is mounted after Fluent Bit starts.
#[test]
fn positions_are_kept_while_the_docker_root_that_links_lead_to_is_not_mounted() {
    let (pods, docker) = (PodRoot::new(), DockerRoot::new());
    let docker_root = docker.path().display().to_string();
    let (mut log, _) = linked(&pods, &docker, 'a', &docker_root);
    let db = pods.path().join("positions.db").display().to_string();
    let options = [
        ("Docker_Root", &*docker_root),
        ("Rescan_Interval", "50ms"),
        ("DB", &db),
    ];
    let collector = start(&pods, &options);
    assert_eq!(collector.wait_texts(1), ["line 0"]);
    collector.stop();
    let containers = docker.path().join("containers");
    let unmounted = docker.path().join("unmounted");
    std::fs::rename(&containers, &unmounted).expect("a rename");
    log.line("line 1");
    let mut other = pods.container("ops", "other", "app");
    other.line("started");
    let collector = start(&pods, &options);
    collector.wait("the reason", |collector| {
        collector.has_logged("the logs of pods are links into")
    });
    // All containers that are there have been read by then, and a restart remembers it.
    assert_eq!(collector.wait_texts(1), ["started"]);
    std::fs::rename(&unmounted, &containers).expect("a rename");
    assert_eq!(collector.wait_texts(2), ["started", "line 1"]);
    let said = "containers that were read before are missing";
    assert!(!collector.has_logged(said), "{:?}", collector.log());
}

#[test]
fn links_into_a_docker_root_that_is_mounted_elsewhere_are_followed_and_else_said() {
    let (pods, docker) = (PodRoot::new(), DockerRoot::new());
    for digit in ['a', 'b'] {
        linked(&pods, &docker, digit, "/nonexistent/var/lib/docker");
    }
    let docker_root = docker.path().display().to_string();
    let collector = start(&pods, &[("Docker_Root", &docker_root)]);
    collector.wait_texts(2);
    let (_, messages) = collector.stop();
    assert!(
        !messages.iter().any(|(level, _)| *level <= Level::Warn),
        "{messages:?}"
    );
    let elsewhere = pods.path().join("none").display().to_string();
    for runtime in ["cri", "auto"] {
        let options = [
            ("Runtime", runtime),
            ("Docker_Root", elsewhere.as_str()),
            ("Docker_Socket", "off"),
        ];
        let collector = Collector::start(pods.path(), &options);
        let said = "the logs of pods are links into /nonexistent/var/lib/docker/containers, but none of them is found here";
        collector.wait("the message", |collector| collector.has_logged(said));
        collector.wait("the metric", |collector| {
            collector.metric("containers_unread") == 2.0
        });
        assert_eq!(collector.count(), 0);
    }
    let pods_option = pods.pods().display().to_string();
    let arguments = ["check", "--runtime", "cri", "--pod-logs", &pods_option];
    let output = Command::new(program())
        .args(arguments)
        .args(["--docker-root", &elsewhere])
        .output()
        .expect("it runs");
    let (page, is_all_read) = page(&output);
    assert!(
        !is_all_read && page.contains("none of them is found here"),
        "{page}"
    );
    assert!(
        page.contains("[missing]") && page.contains("set Docker_Root"),
        "{page}"
    );
}

/// One of several data roots is not mounted, or somebody removed a container by hand.
#[test]
fn a_link_that_leads_nowhere_beside_a_good_one_is_said_by_name_counted_and_checked() {
    let (pods, docker) = (PodRoot::new(), DockerRoot::new());
    let docker_root = docker.path().display().to_string();
    let (mut good, _) = linked(&pods, &docker, 'a', &docker_root);
    let lost = ['b', 'c'].map(|digit| {
        let (log, link) = linked(&pods, &docker, digit, &docker_root);
        std::fs::rename(&log.dir, docker.path().join(&log.id)).expect("a move");
        (log, link)
    });
    // An earlier run of the container that is read.
    let earlier = lost[0].1.with_file_name("9.log");
    symlink("/nonexistent/containers/x", &earlier).expect("a link");
    let options = [
        ("Docker_Root", docker_root.as_str()),
        ("Rescan_Interval", "50ms"),
    ];
    let collector = start(&pods, &options);
    collector.wait_texts(1);
    for link in [&lost[0].1, &lost[1].1, &earlier] {
        let said = format!("cannot read {}: it is a link to ", link.display());
        collector.wait(&said, |collector| collector.has_logged(&said));
    }
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 3.0
    });
    let output = Command::new(program())
        .args(["check", "--runtime", "cri", "--pod-logs"])
        .arg(pods.pods())
        .args(["--docker-root", &docker_root])
        .output()
        .expect("it runs");
    let (page, is_all_read) = page(&output);
    assert!(
        !is_all_read && page.contains(&lost[0].1.display().to_string()),
        "{page}"
    );
    std::fs::remove_file(earlier).expect("a link");
    for (mut log, _) in lost {
        std::fs::rename(docker.path().join(&log.id), &log.dir).expect("a move");
        log.line("line 1");
    }
    good.line("line 1");
    assert_eq!(collector.wait_texts(6).len(), 6);
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 0.0
    });
}

#[test]
fn what_is_no_file_among_the_logs_of_a_pods_container_is_said_and_the_others_are_read() {
    let pods = PodRoot::new();
    let made = |path: &std::path::Path, what: &str| match what {
        "pipe" => {
            let status = Command::new("mkfifo").arg(path).status();
            assert!(status.expect("mkfifo runs").success());
        }
        "socket" => drop(std::os::unix::net::UnixListener::bind(path).expect("a socket")),
        _ => std::fs::create_dir(path).expect("a folder"),
    };
    for (what, name) in [
        ("pipe", "7.log"),
        ("folder", "7.log"),
        ("socket", "7.log"),
        ("pipe", "0.log.20260101-000000"),
    ] {
        for is_before in [true, false] {
            let pod = format!("web-{what}-{}-{is_before}", name.len());
            let mut log = pods.container("shop", &pod, "app");
            let no_file = log.dir.join(name);
            if is_before {
                made(&no_file, what);
            }
            log.line("line 0");
            let collector = start(&pods, &[("Include", &format!("pod={pod}"))]);
            assert_eq!(collector.wait_texts(1), ["line 0"], "{pod}");
            if !is_before {
                made(&no_file, what);
            }
            let said = format!(
                "{} has the name of a log file but is not a regular file; it is skipped",
                no_file.display()
            );
            collector.wait(&said, |collector| collector.has_logged(&said));
            log.line("line 1");
            assert_eq!(collector.wait_texts(2), ["line 0", "line 1"], "{pod}");
            log.restart();
            log.line("line 2");
            assert_eq!(collector.wait_texts(3).last().unwrap(), "line 2", "{pod}");
            assert_eq!(collector.figures().lost(), 0);
        }
    }
    let output = Command::new(program())
        .args(["check", "--runtime", "cri", "--pod-logs"])
        .arg(pods.pods())
        .output()
        .expect("it runs");
    let (page, is_all_read) = page(&output);
    assert!(
        !is_all_read && page.contains("it has the name of a log file but is not a regular file"),
        "{page}"
    );
    // A container that has nothing else cannot be read.
    let pods = PodRoot::new();
    let log = pods.container("shop", "web-1", "app");
    std::fs::remove_file(log.log()).expect("a log");
    made(&log.log(), "pipe");
    let collector = start(&pods, &[]);
    collector.wait("the message", |collector| {
        collector.has_logged("0.log is not a regular file; retrying")
    });
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 1.0
    });
}

#[test]
fn where_the_links_are_not_beside_the_pods_an_option_tells_and_a_missing_folder_is_said() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    log.line("line 0");
    let (beside, elsewhere) = (root.path().join("containers"), root.path().join("links"));
    std::fs::rename(&beside, &elsewhere).expect("rename");
    let said = "records of pods lack container_id, but all are read";
    let links = elsewhere.display().to_string();
    let collector = start(&root, &[("Pod_Links", &links)]);
    collector.wait_texts(1);
    let (records, messages) = collector.stop();
    assert_eq!(records[0].text("container_id"), log.id());
    assert!(
        !messages.iter().any(|(level, _)| *level <= Level::Warn),
        "{messages:?}"
    );
    let collector = start(&root, &[("Rescan_Interval", "10ms")]);
    collector.wait("the message", |collector| collector.has_logged(said));
    collector.wait_texts(1);
    assert_eq!(collector.records()[0].body.get("container_id"), None);
    // Once they are there, they tell the id of a run that is being read.
    std::fs::rename(&elsewhere, &beside).expect("rename");
    collector.wait("that they are there", |collector| {
        collector.has_logged(&format!("{} can be read now", beside.display()))
    });
    let mut count = 1;
    collector.wait("the id", |collector| {
        log.line("more");
        count += 1;
        collector.wait_texts(count);
        collector
            .records()
            .last()
            .is_some_and(|record| record.text("container_id") == log.id())
    });
    std::fs::rename(&beside, &elsewhere).expect("rename");
    let pods = root.pods().display().to_string();
    let mut check = Command::new(program());
    check.args(["check", "--runtime", "cri", "--pod-logs", &pods]);
    let (page, is_all_read) = page(&check.output().expect("it runs"));
    assert!(
        is_all_read && page.contains(said) && page.contains("Pod_Links"),
        "{page}"
    );
}

#[test]
fn a_missing_node_is_missed_only_where_it_was_asked_for() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("line 0");
    let collector = Collector::start(root.path(), &[("Runtime", "auto")]);
    collector.wait_texts(1);
    let (_, messages) = collector.stop();
    assert!(
        !messages.iter().any(|(level, _)| *level <= Level::Warn),
        "{messages:?}"
    );
    let collector = Collector::start(root.path(), &[("Runtime", "cri")]);
    collector.wait("the message", |collector| {
        collector.has_logged("cannot list containers in")
    });
    assert_eq!(collector.count(), 0);
}

/// What the example's `[INPUT]` sets, without what is Fluent Bit's own.
fn example_options() -> Vec<(String, String)> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/kubernetes/daemonset.yaml"
    );
    let text = std::fs::read_to_string(file).expect("the example");
    let input = text
        .split("[INPUT]")
        .nth(1)
        .expect("an input")
        .split('[')
        .next()
        .expect("its lines");
    let pairs = input
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .filter(|(name, _)| !["#", "Name", "Mem_Buf_Limit"].contains(&name.as_str()))
        .collect()
}

#[test]
fn the_daemon_sets_configuration_reads_a_node() {
    let root = PodRoot::new();
    let mut options = example_options();
    for (name, value) in &mut options {
        assert!(
            OPTIONS.iter().any(|option| option.name == name),
            "{name} is no option"
        );
        match name.as_str() {
            "Pod_Logs" => *value = root.pods().display().to_string(),
            "DB" => *value = root.path().join("positions.db").display().to_string(),
            _ => {}
        }
    }
    let mut own = root.container("logging", "container-logs-x", "fluent-bit");
    own.line("not to be read");
    let mut log = root.container("shop", "web-1", "app");
    write(&mut log, 0..3);
    let given: Vec<(&str, &str)> = options
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let collector = Collector::start(root.path(), &given);
    collector.wait_texts(3);
    log.rotate();
    log.reopen();
    write(&mut log, 3..5);
    assert_eq!(collector.wait_texts(5), numbers(0..5));
    let tag = format!("kube.var.log.containers.web-1_shop_app-{}.log", log.id());
    assert!(collector
        .tagged()
        .iter()
        .all(|(got, _)| *got == Some(tag.clone())));
}

/// The short ids of the containers, and whether any message shows another one.
fn named_otherwise(messages: &[(Level, String)], ids: &[&str]) -> Vec<String> {
    let texts = messages.iter().map(|(_, text)| text);
    let about = texts.filter(|text| text.starts_with("container "));
    let is_named = |text: &&String| {
        let begins = |id: &&str| text.starts_with(&format!("container shop/web-1/app ({id})"));
        !ids.iter().any(begins)
    };
    about.filter(is_named).cloned().collect()
}

#[test]
fn messages_and_metrics_name_a_container_by_its_pod_and_the_id_that_crictl_shows() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    log.line("line 0");
    log.raw(b"garbage\n");
    let collector = start(&root, &[("Partial_Max_Size", "16384")]);
    collector.wait_texts(1);
    let labels = |collector: &Collector| {
        let labels = collector.labels("container_records_total");
        labels
            .into_iter()
            .map(|labels| labels.join(" "))
            .collect::<Vec<_>>()
    };
    let first = log.id()[..12].to_owned();
    // Name, namespace, pod, container, image (which is not on the disk) and id.
    let series = [format!("shop/web-1/app shop web-1 app  {first}")];
    collector.wait("the metrics", |collector| labels(collector) == series);
    log.restart();
    log.line("line 1");
    collector.wait_texts(2);
    let second = log.id()[..12].to_owned();
    log.line(&"x".repeat(20_000));
    collector.wait("the cut line", |collector| collector.has_logged("cut"));
    collector.wait("the damage", |collector| {
        collector.has_logged("not a valid log record")
    });
    assert_eq!(labels(&collector), series, "one series for all runs");
    std::fs::remove_dir_all(log.dir.parent().expect("the pod")).expect("remove");
    collector.wait("the end", |collector| collector.has_logged("is gone"));
    let (_, messages) = collector.stop();
    let has = |text: &str| messages.iter().any(|(_, message)| message.contains(text));
    assert!(
        has(&format!("container shop/web-1/app ({first}) found")),
        "{messages:?}"
    );
    assert!(
        has(&format!("container shop/web-1/app ({second}): cut")),
        "{messages:?}"
    );
    assert_eq!(named_otherwise(&messages, &[&first, &second]), [""; 0]);
}

#[test]
fn a_container_whose_id_is_unknown_is_named_without_one() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    std::fs::remove_dir_all(root.path().join("containers")).expect("remove the links");
    log.line("line 0");
    log.raw(b"garbage\n");
    log.line("line 1");
    let collector = start(&root, &[]);
    collector.wait_texts(2);
    collector.wait("the damage", |collector| {
        collector.has_logged("not a valid log record")
    });
    let labels = collector.labels("container_records_total");
    let series = ["shop/web-1/app", "shop", "web-1", "app", "", ""];
    assert_eq!(labels, [series]);
    let (_, messages) = collector.stop();
    assert_eq!(named_otherwise(&messages, &["id unknown"]), [""; 0]);
}

/// With a control group namespace of its own, only the kubelet's mounts say which pod a process
/// is in, and `/etc/hostname` comes from the sandbox.
#[test]
fn the_own_container_is_left_out_by_the_kubelets_mounts_and_others_of_its_pod_are_read() {
    let test =
        "pods::the_own_container_is_left_out_by_the_kubelets_mounts_and_others_of_its_pod_are_read";
    let root = PodRoot::new();
    for (pod, container) in [
        ("agent-1", "agent"),
        ("agent-1", "sidecar"),
        ("agent-2", "agent"),
    ] {
        root.container("ops", pod, container).line("a line");
    }
    let kubelet = root.path().join("kubelet/pods").join(uid_of("agent-1"));
    let own = kubelet.join("containers/agent");
    let sandbox = root.path().join("sandboxes").join("cd".repeat(32));
    for dir in [&own, &sandbox] {
        std::fs::create_dir_all(dir).expect("a folder");
    }
    for file in [
        kubelet.join("etc-hosts"),
        own.join("5f0c1d2e"),
        sandbox.join("hostname"),
        root.path().join("termination-log"),
    ] {
        std::fs::write(file, "").expect("a file");
    }
    let mounts = format!(
        "mount --bind {0}/etc-hosts /etc/hosts && mount --bind {1}/hostname /etc/hostname && \
         mount --bind {0}/containers/agent/5f0c1d2e {2}/termination-log",
        kubelet.display(),
        sandbox.display(),
        root.path().display(),
    );
    let mut check = match in_mount_namespace(&mounts) {
        Ok(command) => command,
        Err(reason) => return skip(test, &reason),
    };
    let pods = root.pods().display().to_string();
    check
        .arg(program())
        .args(["check", "--runtime", "cri", "--pod-logs", &pods]);
    let (page, _) = page(&check.output().expect("it runs"));
    for (name, source) in [
        (
            "ops/agent-1/agent",
            "- - not read: this process runs in it (Exclude_Self)",
        ),
        ("ops/agent-1/sidecar", "- - file"),
        ("ops/agent-2/agent", "- - file"),
    ] {
        assert_eq!(row(&page, name), source, "{page}");
    }
}

#[test]
fn a_symlink_in_the_place_of_a_folder_is_said_and_checked() {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    log.line("one");
    let target = root.path().join("moved");
    std::fs::create_dir(&target).expect("a folder");
    let links = [
        root.pods().join(format!("shop_web-2_{}", uid_of("web-2"))),
        log.dir.with_file_name("side"),
    ];
    for link in &links {
        symlink(&target, link).expect("a link");
    }
    let collector = start(&root, &[]);
    let output = Command::new(program())
        .args(["check", "--runtime", "cri", "-o"])
        .arg(format!("Pod_Logs={}", root.pods().display()))
        .output();
    let (page, is_all_read) = page(&output.expect("it runs"));
    assert!(!is_all_read, "{page}");
    for link in &links {
        let said = format!(
            "cannot read {}: it is a symlink, which is not followed here",
            link.display()
        );
        collector.wait("the reason", |collector| collector.has_logged(&said));
        assert!(page.contains(&link.display().to_string()), "{page}");
    }
    assert_eq!(collector.wait_texts(1), ["one"]);
}
