//! Which containers are read, through the real reader over a Docker root that
//! the test writes.

use std::path::Path;

use serde_json::json;

use test_kit::collector::{Collector, PATIENCE};
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::holds_within;
use test_kit::pod_root::PodRoot;

fn labelled(root: &DockerRoot, digit: char, name: &str, labels: serde_json::Value) -> LogWriter {
    let mut log = root.container(digit, name);
    log.write_config_with(name, true, labels, &[]);
    log.line(name);
    log
}

/// A container of this image, with one line.
fn of_image(root: &DockerRoot, digit: char, name: &str, image: &str) -> LogWriter {
    let log = labelled(root, digit, name, json!({}));
    let file = log.dir.join("config.v2.json");
    let text = std::fs::read_to_string(&file).expect("config.v2.json");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["Config"]["Image"] = json!(image);
    std::fs::write(file, config.to_string()).expect("config.v2.json");
    log
}

/// The names of the containers that gave records, once there are `count`.
fn names(collector: &Collector, count: usize) -> Vec<String> {
    collector.wait_texts(count);
    let mut names: Vec<String> = collector
        .records()
        .iter()
        .map(|record| record.text("container_name").to_owned())
        .collect();
    names.sort();
    names
}

/// The files below `dir` that this process has open; one is the writer's.
fn open_below(dir: &Path) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("our descriptors");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|file| file.starts_with(dir))
        .count()
}

#[test]
fn rules_and_the_label_choose_the_containers() {
    let root = DockerRoot::new();
    let _logs = [
        labelled(
            &root,
            'a',
            "shop-web-1",
            json!({"com.docker.compose.project": "shop"}),
        ),
        labelled(
            &root,
            'b',
            "shop-db-1",
            json!({"com.docker.compose.project": "shop"}),
        ),
        labelled(&root, 'c', "blog", json!({"team": "front"})),
        labelled(
            &root,
            'd',
            "quiet",
            json!({"team": "front", "fluentbit.io/exclude": "true"}),
        ),
        labelled(&root, 'e', "other", json!({})),
    ];
    let options = [
        ("Include", "compose_project=shop"),
        ("Include", "label=team=fr*"),
        ("Exclude", "name=*-db-*"),
        ("Label_Hints", "exclude"),
    ];
    let collector = Collector::start(root.path(), &options);
    for message in [
        "container quiet (dddddddddddd) is not read: it has the label fluentbit.io/exclude",
        "container shop-db-1 (bbbbbbbbbbbb) is not read: it matches Exclude name=*-db-*",
        "container other (eeeeeeeeeeee) is not read: no Include rule matches it",
    ] {
        collector.wait(message, |collector| collector.has_logged(message));
    }
    assert_eq!(names(&collector, 2), ["blog", "shop-web-1"]);
    collector.stop();
}

/// The runtimes write what `docker run` or a Compose file said: with a digest, with the default
/// registry, or neither.
#[test]
fn a_rule_fits_an_image_however_it_is_written() {
    let root = DockerRoot::new();
    let digest = "b".repeat(64);
    let _logs = [
        of_image(&root, 'a', "plain", "nginx:1.25"),
        of_image(&root, 'b', "pinned", &format!("nginx:1.25@sha256:{digest}")),
        of_image(&root, 'c', "full", "docker.io/library/nginx:1.25"),
        of_image(&root, 'd', "untagged", "redis"),
        of_image(&root, 'e', "elsewhere", "registry:5000/nginx:1.25"),
        of_image(&root, 'f', "newer", "nginx:1.26"),
        of_image(&root, '0', "quiet", &format!("debug:1@sha256:{digest}")),
        of_image(&root, '1', "built", "localhost/debug:1"),
    ];
    let options = [
        (
            "Include",
            "image=nginx:1.25, image=redis:latest, image=*debug*",
        ),
        ("Exclude", "image=*/debug:1"),
    ];
    let collector = Collector::start(root.path(), &options);
    for message in [
        "container quiet (000000000000) is not read: it matches Exclude image=*/debug:1",
        "container built (111111111111) is not read: it matches Exclude image=*/debug:1",
        "container elsewhere (eeeeeeeeeeee) is not read: no Include rule matches it",
        "container newer (ffffffffffff) is not read: no Include rule matches it",
    ] {
        collector.wait(message, |collector| collector.has_logged(message));
    }
    assert_eq!(
        names(&collector, 4),
        ["full", "pinned", "plain", "untagged"]
    );
    collector.stop();
}

#[test]
fn a_label_value_with_commas_is_matched_by_one_rule() {
    let root = DockerRoot::new();
    let hosts = |value: &str| json!({"hosts": value});
    let _logs = [
        labelled(&root, 'a', "both", hosts("a.example,b.example")),
        labelled(&root, 'b', "one", hosts("a.example")),
        labelled(&root, 'c', "other", json!({})),
    ];
    let options = [("Exclude", r"label=hosts=a.example\,b.example,name=other")];
    let collector = Collector::start(root.path(), &options);
    let message =
        r"both (aaaaaaaaaaaa) is not read: it matches Exclude label=hosts=a.example\,b.example";
    collector.wait(message, |collector| collector.has_logged(message));
    assert_eq!(names(&collector, 1), ["one"]);
    collector.stop();
}

#[test]
fn an_excluded_container_is_never_opened_and_may_go() {
    let root = DockerRoot::new();
    let quiet = labelled(&root, 'a', "quiet", json!({}));
    let mut web = labelled(&root, 'b', "web", json!({}));
    let options = [("Exclude", "name=quiet"), ("Rescan_Interval", "20ms")];
    let collector = Collector::start(root.path(), &options);
    assert_eq!(names(&collector, 1), ["web"]);
    collector.wait("the judgement", |collector| {
        collector.has_logged("quiet (aaaaaaaaaaaa) is not read")
    });
    assert_eq!(open_below(&quiet.dir), 1);
    let dir = quiet.dir.clone();
    quiet.remove();
    web.line("more");
    collector.wait_texts(2);
    assert!(!dir.exists());
    let (records, log) = collector.stop();
    assert!(records
        .iter()
        .all(|record| record.text("container_name") == "web"));
    assert!(
        !log.iter()
            .any(|(level, _)| *level < fluent_bit_container_logs::telemetry::event::Level::Info),
        "{log:?}"
    );
}

#[test]
fn a_rename_is_judged_anew_and_nothing_is_lost_or_repeated() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let collector = Collector::start(
        root.path(),
        &[("Exclude", "name=*-old"), ("Queue_Limit", "64k")],
    );
    log.line("one");
    log.piece("stdout", "half of ", "2023-11-14T22:13:21Z");
    collector.wait_texts(1);
    log.write_config("web-old", true);
    collector.wait("the exclusion", |collector| {
        collector.has_logged("is not read: it matches Exclude name=*-old")
    });
    assert!(
        holds_within(PATIENCE, || open_below(&log.dir) == 1),
        "its files are closed"
    );
    log.piece("stdout", "two\n", "2023-11-14T22:13:21Z");
    log.line("three");
    log.rotate(3, false);
    log.line("four");
    assert_eq!(collector.count(), 1);
    log.write_config("web-new", true);
    assert_eq!(
        collector.wait_texts(4),
        ["one", "half of two", "three", "four"]
    );
    log.line("five");
    collector.wait_texts(5);
    let (records, log) = collector.stop();
    assert_eq!(records.len(), 5);
    assert_eq!(records[4].text("container_name"), "web-new");
    assert!(
        log.iter()
            .any(|(_, message)| message.contains("is now read")),
        "{log:?}"
    );
}

#[test]
fn an_exclusion_that_is_lifted_at_a_restart_goes_on_where_reading_stopped() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let mut log = root.container('a', "web");
    let runs: [&[(&str, &str)]; 3] = [
        &[("DB", &db)],
        &[("DB", &db), ("Exclude", "image=shop/*")],
        &[("DB", &db), ("Exclude", "image=other/*")],
    ];
    for (number, options) in runs.into_iter().enumerate() {
        log.line(&format!("line {number}"));
        let collector = Collector::start(root.path(), options);
        match number {
            0 => assert_eq!(collector.wait_texts(1), ["line 0"]),
            1 => collector.wait("the exclusion", |collector| {
                collector.has_logged("is not read")
            }),
            _ => assert_eq!(collector.wait_texts(2), ["line 1", "line 2"]),
        }
        collector.stop();
    }
}

#[test]
fn records_say_what_is_asked_for_and_follow_a_change() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let labels = json!({"com.docker.compose.project": "shop", "team": "front", "x": "y"});
    log.write_config_with("web", true, labels, &["STAGE=prod", "SECRET=s"]);
    let options = [
        ("Labels", "team, z*"),
        ("Env", "STAGE"),
        ("Metadata", "nested"),
        ("Metadata_Key", "of"),
    ];
    let collector = Collector::start(root.path(), &options);
    log.line("one");
    collector.wait_texts(1);
    log.write_config_with("web2", true, json!({"zone": "eu"}), &[]);
    collector.wait("the new name", |collector| {
        log.line("two");
        collector
            .records()
            .last()
            .is_some_and(|record| record.body["of"]["container_name"] == "web2")
    });
    let (records, _) = collector.stop();
    let of = |name: &str, more: serde_json::Value| {
        let mut of = json!({"container_id": "a".repeat(64), "container_name": name, "image": "shop/web:1.2"});
        of.as_object_mut()
            .expect("a map")
            .extend(more.as_object().expect("a map").clone());
        of
    };
    let first =
        json!({"compose_project": "shop", "labels": {"team": "front"}, "env": {"STAGE": "prod"}});
    assert_eq!(records[0].body["of"], of("web", first));
    assert_eq!(
        records.last().expect("records").body["of"],
        of("web2", json!({"labels": {"zone": "eu"}}))
    );
}

/// An image is not on a node's disk: an `Exclude` about it has no effect, which is said.
#[test]
fn a_rule_that_cannot_match_a_pod_is_reported_once() {
    let root = PodRoot::new();
    let mut logs = ["web", "api"].map(|pod| root.container("shop", pod, "app"));
    logs.iter_mut().for_each(|log| log.line("one"));
    let options = [
        ("Runtime", "cri"),
        ("Exclude", "image=*debug*, namespace=kube-system"),
        ("Exclude", "label=team=back"),
    ];
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(2);
    let message = "Exclude image=*debug*, Exclude label=team=back cannot match containers of pods";
    collector.wait("the message", |collector| collector.has_logged(message));
    let (_, log) = collector.stop();
    let said = log.iter().filter(|(_, text)| text.contains(message));
    assert_eq!(said.count(), 1, "{log:?}");
}
