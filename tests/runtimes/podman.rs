//! Real containers of Podman, written by its conmon, in a storage of the test's own:
//! from its files, and through its Docker-compatible API.

use std::collections::HashSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::telemetry::event::Level;

use test_kit::collector::Collector;
use test_kit::podman::{serving, Podman};
use test_kit::skip;
use test_kit::writer::{
    in_two_seconds, interleaved, numbered, numbered_slowly, of_lengths, unterminated, Script,
    Stream, EDGE_LENGTHS,
};

/// The records of one stream of a container.
fn records_of(collector: &Collector, id: &str, stream: Stream) -> Vec<Record> {
    let is_its = |record: &Record| {
        record.text("container_id") == id && record.text("stream") == stream.name()
    };
    collector.records().into_iter().filter(is_its).collect()
}

pub fn everything() -> Script {
    numbered(Stream::Stdout, "line", 2000)
        .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
        .then(of_lengths(Stream::Stderr, &EDGE_LENGTHS))
        .then(interleaved(300))
        // conmon writes pieces of 8 KiB, and Podman's API tells the time of each.
        .then(in_two_seconds(Stream::Stderr, 20_000))
        .then(unterminated(Stream::Stdout, 1234))
}

fn start(podman: &Podman, options: &[(&str, &str)]) -> Collector {
    let (storage, socket) = (
        podman.storage().display().to_string(),
        podman.socket_option(),
    );
    let ours = [
        ("Runtime", "podman"),
        ("Podman_Root", &*storage),
        ("Podman_Socket", &*socket),
    ];
    // Of an option that comes twice the first counts.
    let all: Vec<(&str, &str)> = options.iter().chain(&ours).copied().collect();
    Collector::start(podman.path(), &all)
}

#[test]
fn what_conmon_writes_arrives_line_by_line() {
    let script = everything();
    // `json-file` is but another name there.
    let drivers = ["k8s-file", "json-file"];
    let started = Podman::new().and_then(|podman| {
        let ids = drivers
            .iter()
            .map(|driver| podman.write(driver, driver, &script));
        let ids = ids.collect::<Result<Vec<String>, String>>()?;
        Ok((podman, ids))
    });
    let (podman, ids) = match started {
        Ok(started) => started,
        Err(reason) => return skip("podman::what_conmon_writes_arrives_line_by_line", &reason),
    };
    let collector = start(&podman, &[]);
    for (id, name) in ids.iter().zip(drivers) {
        collector.assert_arrives(id, &script, "podman");
        let records = records_of(&collector, id, Stream::Stdout);
        assert!(records
            .iter()
            .all(|record| record.text("container_name") == name));
        assert!(records
            .iter()
            .all(|record| record.text("image") == "localhost/busybox:test"));
    }
    assert!(!collector.has_logged("API"), "{:?}", collector.log());
}

#[test]
fn through_the_api_all_comes_once_over_restarts_of_all_sides() {
    let test = "podman::through_the_api_all_comes_once_over_restarts_of_all_sides";
    let mut podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let db = podman.path().join("positions.db").display().to_string();
    let options = [("Mode", "stream"), ("DB", db.as_str())];
    let script = everything();
    let whole = podman
        .write("whole", "k8s-file", &script)
        .expect("podman run");
    let collector = start(&podman, &options);
    collector.assert_arrives(&whole, &script, "podman");
    // It begins here, so that it is still writing at the restart.
    let slow = numbered_slowly(Stream::Stdout, "line", 1500, "0.003");
    let id = podman.write("slow", "k8s-file", &slow).expect("podman run");
    let expected = slow.of(Stream::Stdout);
    let mut texts: Vec<String> = Vec::new();
    let take = |collector: Collector, texts: &mut Vec<String>| {
        let records = collector
            .stop()
            .0
            .into_iter()
            .filter(|record| record.text("container_id") == id);
        texts.extend(records.map(|record| record.text("log").to_owned()));
    };
    collector.wait("some of them", |collector| {
        records_of(collector, &id, Stream::Stdout).len() > 100
    });
    take(collector, &mut texts);
    let collector = start(&podman, &options);
    collector.wait("some more", |collector| {
        !records_of(collector, &id, Stream::Stdout).is_empty()
    });
    podman.serve().expect("the service starts again");
    let count =
        |collector: &Collector| texts.len() + records_of(collector, &id, Stream::Stdout).len();
    collector.wait("the rest", |collector| count(collector) >= expected.len());
    podman.podman(&["start", "slow"]).expect("podman start");
    collector.wait("the next run", |collector| {
        count(collector) >= 2 * expected.len()
    });
    assert!(
        records_of(&collector, &whole, Stream::Stdout).is_empty(),
        "what was read does not come again"
    );
    take(collector, &mut texts);
    assert_eq!(texts.len(), 2 * expected.len());
    assert!(texts == [expected.clone(), expected].concat());
}

/// Podman's API tells times to the second. To the file that is exact; to the API up to a
/// second's lines may come again, and none is lost.
#[test]
fn a_change_between_file_and_api_loses_nothing() {
    let test = "podman::a_change_between_file_and_api_loses_nothing";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let db = podman.path().join("positions.db").display().to_string();
    let script = interleaved(1).then(numbered_slowly(Stream::Stdout, "line", 3000, "0.002"));
    let id = podman
        .write("web", "k8s-file", &script)
        .expect("podman run");
    let expected: Vec<String> = script
        .of(Stream::Stdout)
        .iter()
        .map(|text| (*text).to_owned())
        .collect();
    let mut texts: Vec<String> = Vec::new();
    let mut read = |mode: &str, least: usize| {
        let collector = start(&podman, &[("Mode", mode), ("DB", &db)]);
        collector.wait("its part", |collector| {
            records_of(collector, &id, Stream::Stdout).len() >= least.min(expected.len())
        });
        // Other users of this machine may have containers, too.
        let is_ours = |record: &Record| {
            record.text("container_id") == id && record.text("stream") == "stdout"
        };
        let records = collector.stop().0.into_iter().filter(is_ours);
        let part: Vec<String> = records
            .map(|record| record.text("log").to_owned())
            .collect();
        let known: HashSet<&String> = texts.iter().collect();
        let repeated = part.iter().filter(|text| known.contains(text)).count();
        println!("{mode}: {} lines, {repeated} of them again", part.len());
        texts.extend(part);
        repeated
    };
    assert_eq!(read("stream", 200), 0);
    assert_eq!(read("hybrid", 200), 0, "from the API to the file");
    // A line takes two milliseconds and more.
    assert!(read("stream", 200) <= 500, "from the file to the API");
    let left = expected.len();
    let collector = start(&podman, &[("Mode", "hybrid"), ("DB", &db)]);
    podman.podman(&["wait", "web"]).expect("podman wait");
    let mut seen = HashSet::new();
    collector.wait("all lines", |collector| {
        seen.extend(texts.iter().cloned());
        seen.extend(
            records_of(collector, &id, Stream::Stdout)
                .iter()
                .map(|record| record.text("log").to_owned()),
        );
        seen.len() >= left
    });
    texts.extend(
        records_of(&collector, &id, Stream::Stdout)
            .iter()
            .map(|record| record.text("log").to_owned()),
    );
    let mut met = HashSet::new();
    texts.retain(|text| met.insert(text.clone()));
    let differs = texts
        .iter()
        .zip(&expected)
        .position(|(got, want)| got != want);
    let around = differs.map(|at| &texts[at.saturating_sub(2)..(at + 3).min(texts.len())]);
    assert_eq!(
        (differs, texts.len()),
        (None, expected.len()),
        "not in order: {around:?}"
    );
}

#[test]
fn a_log_in_the_journal_comes_through_the_api() {
    let test = "podman::a_log_in_the_journal_comes_through_the_api";
    let podman = match serving(Podman::with_journal) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = everything();
    let whole = match podman.write("whole", "journald", &script) {
        Ok(whole) => whole,
        Err(reason) => return skip(test, &reason),
    };
    let file = podman
        .write("file", "k8s-file", &numbered(Stream::Stdout, "line", 10))
        .expect("podman run");
    let db = podman.path().join("positions.db").display().to_string();
    let collector = start(&podman, &[("DB", &db)]);
    collector.assert_arrives(&whole, &script, "podman");
    // It begins here, so that it is still writing at the restart.
    let slow = numbered_slowly(Stream::Stdout, "line", 1500, "0.003");
    let id = podman.write("slow", "journald", &slow).expect("podman run");
    let expected = slow.of(Stream::Stdout);
    let records = records_of(&collector, &whole, Stream::Stdout);
    assert!(records
        .iter()
        .all(|record| record.text("container_name") == "whole"));
    assert!(records
        .iter()
        .all(|record| record.text("image") == "localhost/busybox:test"));
    collector.wait("some of them", |collector| {
        records_of(collector, &id, Stream::Stdout).len() > 100
    });
    assert_eq!(records_of(&collector, &file, Stream::Stdout).len(), 10);
    let (records, messages) = collector.stop();
    let said = |what: &str| {
        messages
            .iter()
            .filter(|(_, text)| text.contains(what))
            .count()
    };
    assert_eq!(said("log driver journald keeps no file"), 2, "{messages:?}");
    assert!(
        !messages.iter().any(|(level, _)| *level <= Level::Warn),
        "{messages:?}"
    );
    let mut texts: Vec<String> = records
        .iter()
        .filter(|record| record.text("container_id") == id)
        .map(|record| record.text("log").to_owned())
        .collect();
    let collector = start(&podman, &[("DB", &db)]);
    collector.wait("the rest", |collector| {
        texts.len() + records_of(collector, &id, Stream::Stdout).len() >= expected.len()
    });
    let (records, _) = collector.stop();
    texts.extend(records.iter().map(|record| record.text("log").to_owned()));
    assert!(texts == expected, "{} of {}", texts.len(), expected.len());
}

#[test]
fn a_driver_that_keeps_nothing_is_said_once_and_a_log_elsewhere_is_read() {
    let test = "podman::a_driver_that_keeps_nothing_is_said_once_and_a_log_elsewhere_is_read";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let sh = "echo hello; sleep 1000";
    for driver in ["none", "passthrough"] {
        podman
            .run_detached(driver, &[&format!("--log-driver={driver}")], sh)
            .expect("podman run");
    }
    let path = format!(
        "--log-opt=path={}",
        podman.path().join("elsewhere.log").display()
    );
    let id = podman
        .run_detached("elsewhere", &["--log-driver=k8s-file", &path], sh)
        .expect("podman run");
    // One that has not run yet has no log, and nothing is missed.
    podman
        .podman(&[
            "create",
            "--name",
            "unborn",
            "--network=none",
            "busybox:test",
            "sh",
        ])
        .expect("podman create");
    let collector = start(&podman, &[("Rescan_Interval", "100ms")]);
    collector.wait("the log elsewhere", |collector| {
        records_of(collector, &id, Stream::Stdout).len() == 1
    });
    for driver in ["none", "passthrough"] {
        let text = format!("log driver {driver} keeps nothing");
        collector.wait("the message", |collector| collector.has_logged(&text));
        let said = collector
            .log()
            .iter()
            .filter(|(_, said)| said.contains(&text))
            .count();
        assert_eq!(said, 1, "{driver}");
    }
    assert!(!collector
        .log()
        .iter()
        .any(|(_, text)| text.contains("unborn") && !text.contains("found")));
}

/// Podman's database has labels, variables and the log driver of each container.
#[test]
fn labels_variables_and_new_names_of_containers_are_known() {
    let test = "podman::labels_variables_and_new_names_of_containers_are_known";
    let sh = "echo hello; sleep 1000";
    let made = Podman::new().and_then(|podman| {
        let run = |name: &str, options: &[&str]| {
            let options = [&["--log-driver=k8s-file", "--env=TIER=front"], options].concat();
            podman.run_detached(name, &options, sh)
        };
        let project = "--label=com.docker.compose.project=shop";
        let id = run("web", &[project, "--label=team=a", "--rm"])?;
        run("quiet", &[project, "--label=fluentbit.io/exclude=true"])?;
        run("other", &[])?;
        podman.podman(&["rename", "web", "store"])?;
        Ok((podman, id))
    });
    let (podman, id) = match made {
        Ok(made) => made,
        Err(reason) => return skip(test, &reason),
    };
    let options = [
        ("Include", "compose_project=shop"),
        ("Label_Hints", "exclude"),
        ("Labels", "team"),
        ("Env", "TIER"),
        ("Podman_Socket", "off"),
        ("Rescan_Interval", "100ms"),
    ];
    let collector = start(&podman, &options);
    for text in [
        "is not read: it has the label fluentbit.io/exclude",
        "is not read: no Include rule matches it",
    ] {
        collector.wait(text, |collector| collector.has_logged(text));
    }
    collector.wait_texts(1);
    // One that is started now is in no file of Podman's when its folder is found.
    let late = ["--log-driver=k8s-file", "--label=fluentbit.io/exclude=true"];
    podman.run_detached("late", &late, sh).expect("podman run");
    collector.wait("the late one", |collector| {
        collector
            .log()
            .iter()
            .any(|(_, text)| text.contains("container late (") && text.contains("is not read"))
    });
    let (records, log) = collector.stop();
    let [record] = &records[..] else {
        panic!("{records:?}");
    };
    let keys = ["container_id", "container_name", "compose_project"];
    assert_eq!(keys.map(|key| record.text(key)), [&*id, "store", "shop"]);
    let shown = format!("{record:?}");
    assert!(shown.contains("front") && shown.contains("team"), "{shown}");
    assert!(
        !log.iter().any(|(level, _)| *level < Level::Info),
        "{log:?}"
    );
}

#[test]
fn without_the_socket_what_only_the_api_has_is_said_once() {
    let test = "podman::without_the_socket_what_only_the_api_has_is_said_once";
    let made = Podman::new().and_then(|podman| {
        // A log in a folder that others can write to is left to the API.
        let folder = podman.path().join("open");
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        std::fs::set_permissions(&folder, Permissions::from_mode(0o1777))
            .map_err(|error| error.to_string())?;
        let path = format!("--log-opt=path={}", folder.join("elsewhere.log").display());
        podman.run_detached("elsewhere", &["--log-driver=k8s-file", &path], "echo hello")?;
        let id = podman.run_detached("here", &["--log-driver=k8s-file"], "echo hello")?;
        Ok((podman, id))
    });
    let (podman, id) = match made {
        Ok(made) => made,
        Err(reason) => return skip(test, &reason),
    };
    let text = "users other than root can write to";
    for mode in ["hybrid", "file"] {
        let socket = ("Podman_Socket", "off");
        let options = [socket, ("Mode", mode), ("Rescan_Interval", "100ms")];
        let collector = start(&podman, &options);
        collector.wait("the message", |collector| collector.has_logged(text));
        collector.wait("the other", |collector| {
            records_of(collector, &id, Stream::Stdout).len() == 1
        });
        // Some looks later it is still said once.
        podman
            .podman(&["rename", "here", "there"])
            .expect("podman rename");
        podman
            .podman(&["rename", "there", "here"])
            .expect("podman rename");
        let said = collector
            .log()
            .iter()
            .filter(|(_, said)| said.contains(text))
            .count();
        assert_eq!((said, collector.count()), (1, 1), "{:?}", collector.log());
    }
}

#[test]
fn a_terminals_lines_are_the_same_from_its_file_and_through_the_api() {
    let test = "podman::a_terminals_lines_are_the_same_from_its_file_and_through_the_api";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script =
        numbered(Stream::Stdout, "line", 500).then(of_lengths(Stream::Stdout, &EDGE_LENGTHS));
    let id = podman
        .run_detached("tty", &["--log-driver=k8s-file", "--tty"], &script.sh)
        .expect("podman run");
    podman.podman(&["wait", "tty"]).expect("podman wait");
    let expected: Vec<String> = script
        .of(Stream::Stdout)
        .iter()
        .map(|line| format!("{line}\r"))
        .collect();
    for mode in ["file", "stream"] {
        let collector = start(&podman, &[("Mode", mode)]);
        collector.wait("all lines", |collector| {
            records_of(collector, &id, Stream::Stdout).len() >= expected.len()
        });
        let records = records_of(&collector, &id, Stream::Stdout);
        let texts: Vec<&str> = records.iter().map(|record| record.text("log")).collect();
        let differs = texts
            .iter()
            .zip(&expected)
            .position(|(got, want)| got != want);
        let shown = differs.map(|at| (at, texts[at].len(), expected[at].len()));
        assert_eq!(
            shown, None,
            "{mode}: which line, its length, and what that should be"
        );
    }
}

#[test]
fn where_the_storage_cannot_be_seen_the_api_tells_names_and_labels() {
    let test = "podman::where_the_storage_cannot_be_seen_the_api_tells_names_and_labels";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = numbered(Stream::Stdout, "line", 100);
    let options = ["--log-driver=k8s-file", "--label=team=front"];
    let id = podman
        .run_detached("web", &options, &script.sh)
        .expect("podman run");
    let collector = start(
        &podman,
        &[("Podman_Root", "/nonexistent"), ("Labels", "team")],
    );
    collector.assert_arrives(&id, &script, "podman");
    let records = records_of(&collector, &id, Stream::Stdout);
    assert!(records
        .iter()
        .all(|record| record.text("container_name") == "web"));
    assert!(records
        .iter()
        .all(|record| record.body["labels"]["team"] == "front"));
}
