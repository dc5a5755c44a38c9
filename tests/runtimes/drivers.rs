//! A real dockerd is stopped, a container's log driver is edited, and dockerd is started again.

use std::fs;
use std::path::Path;

use test_kit::collector::Collector;
use test_kit::dockerd::Dockerd;
use test_kit::journald::Journald;
use test_kit::skip;

fn set_driver(root: &Path, id: &str, driver: &str) {
    let path = root.join("containers").join(id).join("hostconfig.json");
    let text = fs::read_to_string(&path).expect("hostconfig.json");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["LogConfig"] = serde_json::json!({"Type": driver, "Config": {}});
    fs::write(path, config.to_string()).expect("hostconfig.json");
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

/// Each run of the container goes on counting.
const COUNTS: &str = "from=0; [ ! -f /from ] || read -r from < /from; for i in $(seq $from $((from + 99))); do echo line $i; done; echo $((from + 100)) > /from";

/// The container had written to the journal while nobody read.
#[test]
fn what_the_journal_still_has_is_read_before_the_log_of_the_next_driver() {
    let test = "drivers::what_the_journal_still_has_is_read_before_the_log_of_the_next_driver";
    let (journald, docker) = match Journald::start().and_then(|it| Ok((it, Dockerd::start()?))) {
        Ok(started) => started,
        Err(reason) => return skip(test, &reason),
    };
    docker.use_journal(&journald);
    let root = docker.root().to_owned();
    let (folder, db) = (journald.folder(), root.join("positions.db"));
    let (folder, db) = (folder.display().to_string(), db.display().to_string());
    let options = [
        ("DB", db.as_str()),
        ("Docker_Socket", "off"),
        ("Journal_Path", &folder),
        ("Rescan_Interval", "200ms"),
    ];
    let id = docker
        .run_detached("web", &["--log-driver", "journald"], COUNTS)
        .expect("a container");
    docker.wait(&id).expect("its end");
    let mut lines = 100;
    let mut first = 0;
    for driver in ["json-file", "journald", "local"] {
        let collector = Collector::start(&root, &options);
        assert_eq!(collector.wait_texts(lines - first), numbers(first..lines));
        collector.stop();
        first = lines;
        docker.docker(&["start", &id]).expect("a start");
        docker.wait(&id).expect("its end");
        docker.stop_daemon().expect("it stops");
        set_driver(&root, &id, driver);
        docker.restart_daemon().expect("it starts");
        docker.docker(&["start", &id]).expect("a start");
        docker.wait(&id).expect("its end");
        lines += 200;
    }
    let collector = Collector::start(&root, &options);
    assert_eq!(collector.wait_texts(lines - first), numbers(first..lines));
    assert_eq!(collector.figures().lost(), 0);
    assert_eq!(collector.stop().0.len(), lines - first);
}

#[test]
fn a_driver_that_is_changed_loses_and_repeats_nothing() {
    let test = "drivers::a_driver_that_is_changed_loses_and_repeats_nothing";
    let docker = match Dockerd::start() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let id = docker
        .run_detached("json-file", &[], COUNTS)
        .expect("a container");
    docker.wait(&id).expect("its end");
    let root = docker.root().to_owned();
    let db = root.join("positions.db").display().to_string();
    let socket = docker.socket().display().to_string();
    let options = [
        ("DB", db.as_str()),
        ("Docker_Socket", &socket),
        ("Rescan_Interval", "200ms"),
    ];
    let mut collector = Some(Collector::start(&root, &options));
    let mut count = 100;
    for (driver, is_live) in [
        ("local", true),
        ("json-file", true),
        ("local", false),
        ("json-file", false),
    ] {
        let before = collector.take().expect("a collector");
        before.wait_texts(count);
        let running = match is_live {
            true => Some(before),
            false => {
                before.stop();
                count = 0;
                None
            }
        };
        docker.stop_daemon().expect("it stops");
        set_driver(&root, &id, driver);
        docker.restart_daemon().expect("it starts");
        docker.docker(&["start", &id]).expect("a start");
        docker.wait(&id).expect("its end");
        let now = running.unwrap_or_else(|| Collector::start(&root, &options));
        count += 100;
        let texts = now.wait_texts(count);
        assert_eq!(texts.len(), count, "{driver}");
        let last: usize = texts[count - 1]["line ".len()..].parse().expect("a number");
        assert_eq!(texts, numbers(last + 1 - count..last + 1), "{driver}");
        assert_eq!(now.figures().lost(), 0);
        collector = Some(now);
    }
}
