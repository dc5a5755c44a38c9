//! What we do in the host's process, and what it does to us there: its allocator, its
//! signals, its threads that walk our metrics, a descriptor that it closes, its log, and a
//! `DB` that names a file of somebody else.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::json;

use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{find_shipped, plugin, FluentBit};
use test_kit::playing_host::{PlayingHost, Release, PATIENCE};
use test_kit::{compile, run, skip, wait_until};

fn over(root: &DockerRoot, more: &str) -> String {
    format!(
        "runtime=docker docker_root=\"{}\" docker_socket=off {more}",
        root.path().display()
    )
}

// ---- the allocator of official builds ----

/// An allocator that aligns small blocks to 8 only; loaded before all else.
fn quantum8() -> &'static Path {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED.get_or_init(|| {
        compile(
            "quantum8/quantum8.c",
            "quantum8.so",
            &["-shared", "-fPIC", "-fno-builtin"],
        )
    })
}

/// Many small tables of all kinds: JSON objects of four keys and more, compressed and not, in
/// records, labels and environments.
fn small_tables(lines: usize) -> (DockerRoot, Vec<LogWriter>) {
    let root = DockerRoot::new();
    let mut logs = Vec::new();
    for (digit, name) in [('a', "web"), ('b', "api"), ('c', "job")] {
        let mut log = root.container(digit, name);
        let labels =
            json!({"a": "1", "b": "2", "c": "3", "d": "4", "com.docker.compose.project": "shop"});
        log.write_config_with(name, true, labels, &["STAGE=test", "PATH=/bin"]);
        for number in 0..lines {
            log.line(
                &json!({"number": number, "a": 1, "b": [1, 2], "c": {"d": {}, "e": null, "f": 2, "g": "x"}})
                    .to_string(),
            );
            if number % 10 == 9 {
                log.rotate(5, true);
            }
        }
        // Not of the fixed shape, so the general parser has it.
        let odd = json!({"attrs": {"k": "v"}, "time": log.time(), "stream": "stdout", "log": "odd\n", "tag": 1});
        log.raw(format!("{odd}\n").as_bytes());
        logs.push(log);
    }
    (root, logs)
}

/// Rotates so often that the file with the last position is gone. The archives that are left
/// say more of themselves than dockerd's do, and are asked for the time of their last line.
fn rotate_past(logs: &mut [LogWriter]) {
    for log in logs {
        for round in 0..6 {
            log.line(&format!("later {round}"));
            log.rotate(5, true);
        }
        for number in 1..5 {
            let path = PathBuf::from(format!("{}.{number}.gz", log.log.display()));
            let mut text = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(File::open(&path).expect("an archive"));
            decoder.read_to_end(&mut text).expect("it is whole");
            let mut extra = json!({"lastTime": "2030-01-01T00:00:00Z"});
            for number in 0..20 {
                // Those of three keys stay small, next to those that grow at the fourth.
                extra[format!("small {number}")] = json!({"a": 1, "b": 2, "c": 3});
                extra[format!("grown {number}")] = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5});
            }
            let file = File::create(&path).expect("ours");
            let mut encoder = flate2::GzBuilder::new()
                .extra(extra.to_string())
                .write(file, flate2::Compression::fast());
            encoder.write_all(&text).expect("compress");
            encoder.finish().expect("compress");
        }
    }
}

const TABLES: &str = "metadata=flat labels=a,b env=STAGE merge_log=on tag_template={name}.{stream}";

#[test]
fn the_small_allocator_is_in_force_where_it_is_loaded() {
    let probe = compile(
        "quantum8/flb-in_quantum.c",
        "quantum_probe.so",
        &["-shared", "-fPIC"],
    );
    let preload = format!("{} {}", quantum8().display(), probe.display());
    assert_eq!(
        run(Command::new("true").env("LD_PRELOAD", preload)).expect("it runs"),
        "quantum 8\n"
    );
    assert_eq!(
        run(Command::new("true").env("LD_PRELOAD", probe)).expect("it runs"),
        "quantum 16\n"
    );
}

#[test]
fn a_host_whose_allocator_aligns_small_blocks_to_8_gets_every_record() {
    for release in Release::GENERATIONS {
        let (root, mut logs) = small_tables(40);
        let db = format!(
            "{TABLES} db=\"{}\"",
            root.path().join("positions.db").display()
        );
        let start = || {
            let mut starter = Command::new("env");
            starter.arg(format!("LD_PRELOAD={}", quantum8().display()));
            let mut host = PlayingHost::start_by(starter, release.with("-DMETRICS"));
            host.ok(&format!("instance a {}", over(&root, &db)));
            host.ok("init");
            host
        };
        let mut host = start();
        host.run_until(3 * 41);
        assert!(host.texts("a").iter().any(|text| text == "odd"));
        let exit = host.exit();
        exit.assert_clean();
        assert!(exit.log.contains("stopped: 123 records"), "{}", exit.log);
        rotate_past(&mut logs);
        let mut host = start();
        host.run_until(3 * 4);
        let mut texts = host.texts("a");
        texts.sort();
        let expected = (2..6).flat_map(|round| vec![format!("later {round}"); 3]);
        assert_eq!(texts, expected.collect::<Vec<_>>());
        let exit = host.exit();
        exit.assert_clean();
        assert_eq!(
            exit.log
                .matches("rotated away before it was read to the end")
                .count(),
            3,
            "{}",
            exit.log
        );
    }
}

#[test]
fn tail_containers_runs_where_small_blocks_are_aligned_to_8() {
    let (root, _logs) = small_tables(20);
    let printed = |arguments: &[&str], preload: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tail-containers"));
        command
            .args([
                "--runtime",
                "docker",
                "-o",
                "Docker_Socket=off",
                "--docker-root",
            ])
            .arg(root.path());
        command.args(arguments).stdin(Stdio::null());
        command.envs(preload.map(|library| ("LD_PRELOAD", library)));
        let output = command.output().expect("it runs");
        let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        (
            output.status,
            lines,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for arguments in [
        &[
            "--no-follow",
            "--tail",
            "all",
            "--json",
            "-o",
            "Merge_Log=on",
        ][..],
        &["--no-follow", "--tail", "all"],
        &["check"],
    ] {
        let usual = printed(arguments, None);
        assert!(
            usual.0.success() && usual.1.len() > 2,
            "{arguments:?}: {usual:?}"
        );
        for _ in 0..3 {
            assert_eq!(printed(arguments, Some(quantum8())), usual, "{arguments:?}");
        }
    }
}

#[test]
fn a_fluent_bit_in_the_shipped_configuration_gets_every_record() {
    let test = "inside_the_host::a_fluent_bit_in_the_shipped_configuration_gets_every_record";
    let Some(plugin) = plugin() else {
        return skip(test, "the plugin's .so is not built");
    };
    let program = match find_shipped() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let (root, mut logs) = small_tables(40);
    let config = format!(
        "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Docker_Socket off\n    \
         Metadata flat\n    Labels a,b\n    Env STAGE\n    Merge_Log on\n    DB {}\n",
        root.path().display(),
        root.path().join("positions.db").display(),
    );
    let mut host = FluentBit::new(&program, Some(&plugin), &config).with_http_server();
    for expected in [3 * 41, 3 * 45] {
        host.start().expect("Fluent Bit starts");
        host.wait_until(PATIENCE, "every record", |host| {
            host.record_count() >= expected
        });
        host.signal(rustix::process::Signal::TERM);
        assert!(
            host.wait_exit(PATIENCE).expect("an end").success(),
            "{}",
            host.stderr()
        );
        assert_eq!(host.record_count(), expected);
        if expected == 3 * 41 {
            rotate_past(&mut logs);
        }
    }
}

// ---- signals ----

#[test]
fn a_fault_in_a_thread_of_ours_reaches_the_hosts_handler() {
    // SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS
    for number in [11, 7, 4, 8, 6, 5, 31] {
        let root = DockerRoot::new();
        root.container('a', "web").line("hello");
        let mut host = PlayingHost::with_instance(Release::LATEST, &over(&root, ""));
        host.run_until(1);
        for thread in ["clogs-reader", "notify-rs_inoti"] {
            wait_until(PATIENCE, thread, || {
                host.threads().iter().any(|there| there.starts_with(thread))
            });
            host.ok(&format!("fault {thread} {number}"));
            let said = format!("caught signal {number} in {}", thread.replace('_', " "));
            wait_until(PATIENCE, &said, || host.log().contains(&said));
        }
        host.exit().assert_clean();
    }
}

// ---- the descriptor ----

#[test]
fn a_descriptor_that_the_host_closed_is_neither_written_to_nor_closed_again() {
    for release in Release::GENERATIONS {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        log.line("never handed over");
        let db = format!("db=\"{}\"", root.path().join("positions.db").display());
        // What the number means by now is checked by the host at its exit.
        let mut host = PlayingHost::with_instance(release.with("-DUNWATCHED"), &over(&root, &db));
        assert_eq!(host.run(50).records, 0);
        log.line("nor this");
        host.run(50);
        let exit = host.exit();
        exit.assert_clean();
        assert!(
            exit.log
                .contains("could not watch this input's file descriptor"),
            "{}",
            exit.log
        );
        let mut host = PlayingHost::with_instance(release, &over(&root, &db));
        host.run_until(2);
        assert_eq!(host.texts("a"), ["never handed over", "nor this"]);
        host.exit().assert_clean();
    }
}

// ---- the host's log ----

#[test]
fn nothing_that_reorders_or_breaks_a_line_reaches_the_hosts_log() {
    let root = DockerRoot::new();
    let name =
        "we\u{202e}b\u{2028}[error] forged\u{2066}\u{200f}\u{61c}\u{85}\u{9b}2J\u{1b}[31m\u{7f}\u{feff}";
    root.container('a', name).line("hello");
    root.container('b', "plain").line("hello");
    let options = over(
        &root,
        "exclude=image=shop/* log_level=debug alias=lo\u{202e}gs",
    );
    let mut host = PlayingHost::with_instance(Release::LATEST.with("-DMETRICS"), &options);
    wait_until(PATIENCE, "what is said of the container", || {
        host.run(10);
        host.log().contains("aaaaaaaaaaaa")
    });
    let exit = host.exit();
    exit.assert_clean();
    let about = |line: &&str| line.contains("aaaaaaaaaaaa");
    let said = exit.log.lines().find(about).expect("it was said");
    assert!(
        said.contains("we?b?[error] forged?????2J?[31m??"),
        "{said:?}"
    );
    let is_plain = |c: char| c == '\n' || (' '..='~').contains(&c);
    let ours: String = exit
        .log
        .lines()
        .filter(|line| line.contains("[input:container_logs"))
        .collect();
    assert!(ours.chars().all(is_plain), "{ours:?}");
}

// ---- metrics ----

/// Containers come and go while another thread of the host walks the metrics; what is made
/// or destroyed meanwhile is a violation that the host reports at its exit.
#[test]
fn metrics_are_made_before_anyone_walks_them_and_never_destroyed() {
    for release in Release::GENERATIONS {
        let root = DockerRoot::new();
        let options = over(
            &root,
            "rescan_interval=20ms metrics_per_container=5 tag_template={name}",
        );
        let mut host = PlayingHost::with_instance(release.with("-DMETRICS"), &options);
        // Every one that is of the instance as a whole, before anything is known of a container.
        let made = host.ok("metrics a");
        assert!(made.contains("records_total{container_logs.0}=0"), "{made}");
        assert!(
            made.contains("append_latency_seconds{container_logs.0}=0"),
            "{made}"
        );
        host.ok("scrape");
        let mut written = 0;
        for round in 0..6 {
            let mut logs: Vec<_> = (0..16)
                .map(|number| {
                    let id = format!("{:064x}", 0x1000 * (round + 1) + number);
                    let mut log = root.created_with_id(&id, &format!("c{number}-{round}"));
                    log.open_log();
                    log
                })
                .collect();
            for log in &mut logs {
                log.line("hello");
            }
            written += logs.len();
            host.run_until(written);
            let total = format!("records_total{{container_logs.0}}={written}");
            wait_until(PATIENCE, &total, || {
                host.run(20);
                host.ok("metrics a records_total") == total
            });
            for log in logs {
                log.remove();
            }
            wait_until(PATIENCE, "the end of the containers", || {
                host.run(20);
                host.ok("metrics a containers")
                    .contains("containers{container_logs.0,file}=0")
            });
        }
        let scraped = host.ok("unscrape");
        assert!(
            scraped.contains("walks=") && !scraped.contains("walks=0"),
            "{scraped}"
        );
        let ended = host.ok("metrics a container_");
        let records: Vec<&str> = ended
            .split_whitespace()
            .filter(|series| series.starts_with("container_records_total{"))
            .collect();
        assert_eq!(
            records.len(),
            5,
            "only the first ones were there for long enough: {ended}"
        );
        assert!(
            records.iter().all(|series| series.ends_with("}=1")),
            "counters stay: {ended}"
        );
        let gauges = [
            "container_pending_bytes{",
            "container_lag_bytes{",
            "container_lag_seconds{",
        ];
        let is_zero = |series: &str| {
            !gauges.iter().any(|gauge| series.starts_with(gauge)) || series.ends_with("}=0")
        };
        assert!(
            ended.split_whitespace().all(is_zero),
            "gauges end at 0: {ended}"
        );
        let total = host.ok("metrics a records_total");
        assert_eq!(total, "records_total{container_logs.0}=96");
        let exit = host.exit();
        exit.assert_clean();
        assert!(!exit.log.contains("violation"), "{}", exit.log);
    }
}

// ---- a DB of somebody else ----

#[test]
fn a_db_that_is_not_ours_fails_the_start_and_stays_as_it_is() {
    let root = DockerRoot::new();
    root.container('a', "web").line("hello");
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content, why) in [
        (
            "passwd",
            &b"root:x:0:0:root:/root:/bin/sh\n"[..],
            "not a checkpoint of container_logs",
        ),
        (
            "tail.db",
            b"SQLite format 3\0\x10\0",
            "this is tail's database",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("ours");
        let mut host = PlayingHost::start(Release::LATEST);
        host.ok(&format!(
            "instance a {}",
            over(&root, &format!("db=\"{}\"", path.display()))
        ));
        assert_eq!(host.error("init"), "init a");
        let exit = host.exit();
        exit.assert_clean();
        let says_it = |line: &str| {
            line.starts_with("[error]")
                && line.contains(&path.display().to_string())
                && line.contains(why)
        };
        assert!(exit.log.lines().any(says_it), "{}", exit.log);
        assert_eq!(std::fs::read(&path).expect("it is there"), content);
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("ours").count(),
        2,
        "nothing was made or renamed"
    );
}
