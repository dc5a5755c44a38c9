//! What a daemon's answers are worth, without any code of ours between: the ground
//! on which `src/source/api/snapshots.rs` stands. dockerd before 23 cannot follow a log
//! that rotates, and with `since` leaves out compressed files; what it answers
//! without either is exact. A newer daemon is held to being exact in everything.

use fluent_bit_container_logs::format::rfc3339::TimeParser;

use test_kit::collector::Collector;
use test_kit::dockerd::{shared, Dockerd};
use test_kit::logs_api::{logs, Logs};
use test_kit::writer::{numbered_slowly, Script, Stream};
use test_kit::{skip, wait_until};

const PLAIN: [&str; 4] = ["--log-opt", "max-size=20k", "--log-opt", "max-file=9"];
const COMPRESSED: [&str; 6] = [
    "--log-opt",
    "max-size=20k",
    "--log-opt",
    "max-file=9",
    "--log-opt",
    "compress=true",
];
const LOCAL: [&str; 6] = [
    "--log-driver",
    "local",
    "--log-opt",
    "max-size=20k",
    "--log-opt",
    "max-file=9",
];

fn daemon(test: &str) -> Option<&'static Dockerd> {
    shared().map_err(|reason| skip(test, &reason)).ok()
}

/// About four files of [`PLAIN`], within two seconds.
fn script() -> Script {
    numbered_slowly(Stream::Stdout, "line", 1000, "0.002")
}

/// How an answer differs from what was written.
fn differences(logs: &Logs, expected: &[&str]) -> String {
    let texts = logs.texts();
    let missing = expected.iter().filter(|line| !texts.contains(line)).count();
    let repeated = texts.len() + missing - expected.len();
    format!(
        "{} of {} came, {missing} are missing, {repeated} came again",
        texts.len(),
        expected.len()
    )
}

fn unix_time(time: &str) -> String {
    let time = TimeParser::default()
        .parse(time.as_bytes())
        .expect("a time");
    format!("{}.{:09}", time.seconds, time.nanos)
}

#[test]
fn what_is_there_is_answered_whole_but_since_leaves_out_compressed_files() {
    let test =
        "daemon_truth::what_is_there_is_answered_whole_but_since_leaves_out_compressed_files";
    let Some(docker) = daemon(test) else { return };
    let script = script();
    let expected = script.of(Stream::Stdout);
    for (label, options) in [
        ("plain", &PLAIN[..]),
        ("compressed", &COMPRESSED),
        ("local", &LOCAL),
    ] {
        let id = docker
            .run_detached(&format!("truth-{label}"), options, &script.sh)
            .expect("docker run");
        assert_eq!(docker.wait(&id), Ok(0));
        let ask = |query: &str| logs(docker.socket(), &id, query);
        let all = ask("follow=0");
        assert_eq!(all.texts(), expected, "{label}");
        for tail in [1, 64, 700, 5000] {
            let from = expected.len().saturating_sub(tail);
            assert_eq!(
                ask(&format!("follow=0&tail={tail}")).texts(),
                expected[from..],
                "{label}, {tail}"
            );
        }
        let since = ask(&format!(
            "follow=0&since={}",
            unix_time(&all.entries[299].0)
        ));
        println!(
            "{label}, since line 300: {}",
            differences(&since, &expected[299..])
        );
        if label == "plain" || !since.is_of_old_daemon {
            assert_eq!(since.texts(), expected[299..], "{label}");
        } else if label == "compressed" {
            // The oldest file is older, and with it all compressed ones are left out.
            assert!(
                since.entries.len() < 600,
                "{}",
                differences(&since, &expected[299..])
            );
        }
    }
}

#[test]
fn a_follow_over_rotations_is_exact_or_the_daemon_is_old() {
    let test = "daemon_truth::a_follow_over_rotations_is_exact_or_the_daemon_is_old";
    let Some(docker) = daemon(test) else { return };
    let script = script();
    let expected = script.of(Stream::Stdout);
    let inexact = std::thread::scope(|scope| {
        let follow = |(number, options): (usize, &'static [&'static str])| {
            let (script, expected) = (&script, &expected);
            scope.spawn(move || {
                let name = format!("truth-follow-{number}");
                let id = docker
                    .run_detached(&name, options, &script.sh)
                    .expect("docker run");
                let logs = logs(docker.socket(), &id, "follow=1");
                println!("{}: {}", options.join(" "), differences(&logs, expected));
                (logs.texts() != *expected, logs.is_of_old_daemon)
            })
        };
        let all = [&PLAIN[..], &COMPRESSED, &LOCAL]
            .repeat(3)
            .into_iter()
            .enumerate();
        let follows: Vec<_> = all.map(follow).collect();
        follows
            .into_iter()
            .map(|follow| follow.join().expect("a follow"))
            .collect::<Vec<_>>()
    });
    let count = inexact.iter().filter(|(is_inexact, _)| *is_inexact).count();
    // Of an old daemon hardly any of them is exact.
    let is_old = inexact.iter().any(|(_, is_old)| *is_old);
    assert_eq!(
        count > 0,
        is_old,
        "{count} of {} were not exact",
        inexact.len()
    );
}

/// What the API can reach is what the daemon still answers when it is asked. That
/// comes once and in order; that something is gone is said once.
#[test]
fn what_the_daemon_still_has_comes_once_and_what_it_no_longer_has_is_said_once() {
    let test =
        "daemon_truth::what_the_daemon_still_has_comes_once_and_what_it_no_longer_has_is_said_once";
    let Some(docker) = daemon(test) else { return };
    let options: [(&str, &[&str]); 3] = [
        (
            "plain",
            &["--log-opt", "max-size=2k", "--log-opt", "max-file=3"],
        ),
        (
            "compressed",
            &[
                "--log-opt",
                "max-size=2k",
                "--log-opt",
                "max-file=3",
                "--log-opt",
                "compress=true",
            ],
        ),
        (
            "local",
            &[
                "--log-driver",
                "local",
                "--log-opt",
                "max-size=2k",
                "--log-opt",
                "max-file=3",
            ],
        ),
    ];
    let db = tempfile::tempdir().expect("a folder");
    let socket = format!("unix://{}", docker.socket().display());
    for (label, options) in options {
        let name = format!("truth-gap-{label}");
        let positions = db.path().join(label).display().to_string();
        let options_of_ours = [
            ("Mode", "stream"),
            ("Docker_Socket", &*socket),
            ("DB", &positions),
        ];
        let sh = "for n in $(seq 1 20); do echo \"line $n\"; done; \
            trap go=1 USR1; until [ \"$go\" ]; do sleep 0.05; done; \
            for n in $(seq 21 520); do echo \"line $n\"; done; sleep 1000";
        let id = docker.run_detached(&name, options, sh).expect("docker run");
        let collector = Collector::start(docker.root(), &options_of_ours);
        let ours = |collector: &Collector| collector.texts_of(&id, "stdout");
        collector.wait("the first lines", |collector| ours(collector).len() == 20);
        collector.stop();
        docker
            .docker(&["kill", "--signal", "USR1", &name])
            .expect("docker kill");
        let last = |logs: &Logs| logs.texts().last() == Some(&"line 520");
        wait_until(test_kit::collector::PATIENCE, "the last line", || {
            last(&logs(docker.socket(), &id, "follow=0&tail=1"))
        });
        let reachable = logs(docker.socket(), &id, "follow=0");
        assert!(
            reachable.entries.len() < 400,
            "something is gone: {}",
            reachable.entries.len()
        );
        let collector = Collector::start(docker.root(), &options_of_ours);
        collector.wait("the last line", |collector| {
            ours(collector)
                .last()
                .is_some_and(|text| text == "line 520")
        });
        collector.wait("the message", |collector| {
            collector.has_logged("no longer has")
        });
        // What would come again would have come before this.
        docker
            .docker(&["kill", "--signal", "KILL", &name])
            .expect("docker kill");
        docker.docker(&["start", &name]).expect("docker start");
        collector.wait("the next run", |collector| {
            ours(collector).last().is_some_and(|text| text == "line 20")
        });
        let texts = ours(&collector);
        assert_eq!(texts[..texts.len() - 20], reachable.texts(), "{label}");
        let said = collector
            .log()
            .into_iter()
            .filter(|(_, text)| text.contains("no longer has"))
            .count();
        assert_eq!(said, 1, "{label}: {:?}", collector.log());
        docker.docker(&["rm", "--force", &name]).expect("docker rm");
    }
}
