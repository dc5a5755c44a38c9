//! Real Fluent Bits (`FLUENT_BIT`, or `fluent-bit` on `PATH`) load the plugin
//! and write what they got with their `file` output; compared line by line.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use fluent_bit_container_logs::config::options::OPTIONS;
use rustix::process::Signal;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{with_each_host, FluentBit, Record};
use test_kit::logs_api::logs;
use test_kit::receivers::http_on;
use test_kit::writer::{interleaved, numbered_slowly, of_lengths, Stream, EDGE_LENGTHS};
use test_kit::{dockerd, skip};

fn input(root: &Path, lines: &[&str]) -> String {
    let mut text = format!(
        "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n",
        root.display()
    );
    for line in lines {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

/// A thread that goes on writing numbered lines, with rotation, until stopped.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Load {
    /// About 5,000 lines a second; a rotation every 2,000 lines.
    fn on(mut log: LogWriter) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                for _ in 0..10 {
                    log.line(&format!("line {number}"));
                    number += 1;
                }
                if number % 2000 == 0 {
                    log.rotate(20, false);
                }
                // The load's own pace; nothing is awaited by it.
                std::thread::sleep(Duration::from_millis(2));
            }
            number
        });
        Load {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops and tells how many lines were written.
    fn finish(mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("finished once");
        thread.join().expect("the writing thread")
    }
}

/// A container under load, and a host with a checkpoint that is to read it.
fn under_load(program: &Path, plugin: &Path) -> (DockerRoot, Load, FluentBit) {
    let root = DockerRoot::new();
    let load = Load::on(root.container('a', "web"));
    let host = FluentBit::new(program, Some(plugin), "");
    let db = format!("DB {}/positions.db", host.dir().display());
    host.set_config(&input(root.path(), &[&db]));
    (root, load, host)
}

#[track_caller]
fn assert_exact(records: &[Record], count: usize) {
    for (number, record) in records.iter().enumerate() {
        assert_eq!(
            record.text("log"),
            format!("line {number}"),
            "record {number} of {}",
            records.len()
        );
    }
    assert_eq!(records.len(), count);
}

#[test]
fn real_containers_arrive_in_the_file_output() {
    let name = "host::real_containers_arrive_in_the_file_output";
    with_each_host(name, |program, plugin| {
        let docker = match dockerd::shared() {
            Ok(docker) => docker,
            Err(reason) => return skip(name, &reason),
        };
        let label = format!("through-host-{}", std::process::id());
        let _ = docker.docker(&["rm", "--force", &label]);
        let script = of_lengths(Stream::Stdout, &EDGE_LENGTHS)
            .then(of_lengths(Stream::Stderr, &EDGE_LENGTHS))
            .then(interleaved(200))
            .then(numbered_slowly(Stream::Stdout, "line", 1000, "0.002"));
        let config = input(docker.root(), &["Tag_Template docker.{name}"]);
        let mut host = FluentBit::new(program, Some(plugin), &config);
        host.start().expect("Fluent Bit starts");
        let rotation = ["--log-opt", "max-size=500k", "--log-opt", "max-file=5"];
        let id = docker
            .run_detached(&label, &rotation, &script.sh)
            .expect("docker run");
        let ours = |host: &FluentBit| {
            let tag = format!("docker.{label}");
            host.records()
                .into_iter()
                .filter(|record| record.tag == tag)
                .collect::<Vec<_>>()
        };
        host.wait_until(PATIENCE, "every line", |host| {
            ours(host).len() >= script.lines.len()
        });
        for stream in [Stream::Stdout, Stream::Stderr] {
            let records = ours(&host);
            let texts: Vec<&str> = records
                .iter()
                .filter(|r| r.text("stream") == stream.name())
                .map(|r| r.text("log"))
                .collect();
            assert!(
                texts == script.of(stream),
                "{} lines of {}",
                texts.len(),
                stream.name()
            );
            assert!(records
                .iter()
                .all(|r| r.text("container_id") == id && r.text("image") == "busybox:test"));
        }
        // The runtime's own time, to the nanosecond.
        let written = docker
            .docker(&["logs", "--timestamps", &label])
            .expect("docker logs");
        let last = written
            .lines()
            .rev()
            .find(|line| line.ends_with("line 1000"))
            .expect("the last line");
        let nanos: u64 = last[20..29].parse().expect("nine digits");
        let records = ours(&host);
        let record = records
            .iter()
            .find(|r| r.text("log") == "line 1000")
            .expect("the last record");
        assert_eq!(record.time_ns % 1_000_000_000, nanos);
        host.end_in_order();
    });
}

#[test]
fn a_restart_under_load_loses_and_repeats_nothing() {
    with_each_host(
        "host::a_restart_under_load_loses_and_repeats_nothing",
        |program, plugin| {
            let (_root, load, mut host) = under_load(program, plugin);
            for round in 1..=3 {
                host.start().expect("Fluent Bit starts");
                host.wait_until(PATIENCE, "more records", |host| {
                    host.record_count() > round * 3000
                });
                host.end_in_order();
            }
            let written = load.finish();
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "all records", |host| {
                host.record_count() >= written
            });
            host.end_in_order();
            assert_exact(&host.records(), written);
        },
    );
}

#[test]
fn three_hot_reloads_under_load_lose_and_repeat_nothing() {
    with_each_host(
        "host::three_hot_reloads_under_load_lose_and_repeat_nothing",
        |program, plugin| {
            let (_root, load, mut host) = under_load(program, plugin);
            host.start().expect("Fluent Bit starts");
            for round in 1..=3 {
                host.wait_until(PATIENCE, "more records", |host| {
                    host.record_count() > round * 2000
                });
                host.signal(Signal::HUP);
                host.wait_until(PATIENCE, "the reload", |host| {
                    host.stderr().matches("following containers").count() == round + 1
                });
            }
            let written = load.finish();
            host.wait_until(PATIENCE, "all records", |host| {
                host.record_count() >= written
            });
            host.end_in_order();
            assert_exact(&host.records(), written);
        },
    );
}

/// Twelve containers on six driver set-ups through a restart of the daemon and
/// one of Fluent Bit.
fn twelve_containers_arrive_exactly_once(test: &str, mode: &str) {
    with_each_host(test, |program, plugin| {
        match dockerd::Dockerd::start_with(&["--live-restore"]) {
            Ok(docker) => through_two_restarts(program, plugin, &docker, mode),
            Err(reason) => skip(test, &reason),
        }
    });
}

#[test]
fn twelve_containers_on_six_drivers_arrive_exactly_once_in_mode_hybrid() {
    let test = "host::twelve_containers_on_six_drivers_arrive_exactly_once_in_mode_hybrid";
    twelve_containers_arrive_exactly_once(test, "hybrid");
}

#[test]
fn twelve_containers_on_six_drivers_arrive_exactly_once_in_mode_file() {
    let test = "host::twelve_containers_on_six_drivers_arrive_exactly_once_in_mode_file";
    twelve_containers_arrive_exactly_once(test, "file");
}

/// All of it is within reach of the API: no log here rotates so often that the
/// daemon itself no longer had a line.
#[test]
fn twelve_containers_on_six_drivers_arrive_exactly_once_in_mode_stream() {
    let test = "host::twelve_containers_on_six_drivers_arrive_exactly_once_in_mode_stream";
    twelve_containers_arrive_exactly_once(test, "stream");
}

/// A container's own log has its lines once and in order. Some may be missing: what
/// dockerd has read and not yet written when it is stopped is gone with it, which
/// happens on an overloaded machine.
fn assert_once_and_in_order(logged: &[&str], printed: &[&str], name: &str) {
    let mut rest = logged.iter().peekable();
    let lost: Vec<&&str> = printed
        .iter()
        .filter(|line| rest.next_if_eq(line).is_none())
        .collect();
    assert_eq!(
        rest.next(),
        None,
        "{name}: not once or not in order in its own log"
    );
    if !lost.is_empty() {
        println!(
            "{name}: dockerd lost {} lines when it was restarted: {lost:?}",
            lost.len()
        );
    }
}

fn through_two_restarts(program: &Path, plugin: &Path, docker: &dockerd::Dockerd, mode: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let syslog = dir.path().join("syslog");
    let receiver = std::os::unix::net::UnixDatagram::bind(&syslog).expect("a socket");
    std::thread::spawn(move || {
        let mut datagram = vec![0; 65_536];
        while receiver.recv(&mut datagram).is_ok() {}
    });
    let address = format!("syslog-address=unixgram://{}", syslog.display());
    let set_ups: [&[&str]; 6] = [
        &["--log-driver", "json-file"],
        &[
            "--log-driver",
            "json-file",
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=9",
        ],
        &[
            "--log-driver",
            "json-file",
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=9",
            "--log-opt",
            "compress=true",
        ],
        &["--log-driver", "local"],
        &[
            "--log-driver",
            "local",
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=9",
        ],
        &["--log-driver", "syslog", "--log-opt", &address],
    ];
    let script = numbered_slowly(Stream::Stdout, "line", 1000, "0.008");
    let mut host = FluentBit::new(program, Some(plugin), "");
    let lines = [
        "Tag_Template docker.{name}".to_owned(),
        format!("Mode {mode}"),
        format!("Docker_Socket unix://{}", docker.socket().display()),
        format!("DB {}/positions.db", host.dir().display()),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    host.set_config(&input(docker.root(), &lines));
    host.start().expect("Fluent Bit starts");
    let mut names = Vec::new();
    for (number, options) in set_ups.iter().enumerate() {
        for twin in ["a", "b"] {
            let name = format!("twelve-{number}-{twin}");
            docker
                .run_detached(&name, options, &script.sh)
                .expect("docker run");
            names.push(name);
        }
    }
    let texts = |host: &FluentBit, name: &str| {
        let tag = format!("docker.{name}");
        let records = host
            .records()
            .into_iter()
            .filter(|record| record.tag == tag);
        records
            .map(|record| record.text("log").to_owned())
            .collect::<Vec<_>>()
    };
    host.wait_until(PATIENCE, "the first lines", |host| {
        texts(host, &names[11]).len() > 20
    });
    docker.restart_daemon().expect("the daemon restarts");
    let before = texts(&host, &names[11]).len();
    // A daemon may take longer to stop than the container to print everything.
    let is_running = || docker.docker(&["inspect", "-f", "{{.State.Running}}", &names[11]]);
    host.wait_until(PATIENCE, "lines after the daemon's restart", |host| {
        texts(host, &names[11]).len() > before || is_running().is_ok_and(|is| is.trim() == "false")
    });
    host.end_in_order();
    host.start().expect("Fluent Bit starts again");
    let printed = script.of(Stream::Stdout);
    for name in &names {
        assert_eq!(docker.wait(name), Ok(0), "{name}");
        let log = logs(docker.socket(), name, "follow=0");
        let logged = log.texts();
        assert_once_and_in_order(&logged, &printed, name);
        let has_arrived =
            test_kit::holds_within(PATIENCE, || texts(&host, name).len() >= logged.len());
        let got = texts(&host, name);
        let first = got.iter().zip(&logged).position(|(got, want)| got != want);
        assert!(
            has_arrived && first.is_none() && got.len() == logged.len(),
            "{mode}, {name}: {} lines of {}, first difference at {first:?}\n{}",
            got.len(),
            logged.len(),
            host.stderr()
        );
    }
    host.end_in_order();
}

#[test]
fn a_stalled_output_pauses_us_and_nothing_is_lost() {
    with_each_host(
        "host::a_stalled_output_pauses_us_and_nothing_is_lost",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut log = root.container('a', "web");
            let port = free_port();
            let config = input(root.path(), &["Mem_Buf_Limit 1M", "Queue_Limit 500k"]);
            let stalled = format!(
            "[OUTPUT]\n    Name http\n    Match *\n    Host 127.0.0.1\n    Port {port}\n    Retry_Limit no_limits\n"
        );
            let mut host = FluentBit::new(program, Some(plugin), &(config + &stalled))
                .with_service_line("scheduler.base 1")
                .with_service_line("scheduler.cap 1");
            host.start().expect("Fluent Bit starts");
            // Over ten times what Fluent Bit and we may hold together; rotated
            // meanwhile, so that files vanish which we must hold on to.
            let total = 60_000;
            for number in 0..total {
                log.line(&format!("line {number}"));
                if number % 10_000 == 9_999 {
                    log.rotate(9, false);
                }
            }
            host.wait_until(PATIENCE, "the pause", |host| {
                host.stderr().contains("paused (mem buf overlimit")
            });
            let taken = host.record_count();
            assert!(taken < total, "all of it was taken in spite of the limit");
            http_on(TcpListener::bind(("127.0.0.1", port)).expect("the port is still free"));
            host.wait_until(PATIENCE * 2, "all records", |host| {
                host.record_count() >= total
            });
            assert_exact(&host.records(), total);
        },
    );
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn wrong_options_are_named_by_the_host() {
    with_each_host(
        "host::wrong_options_are_named_by_the_host",
        |program, plugin| {
            let root = DockerRoot::new();
            for (line, part) in [
                ("Docker_Rooot /x", "docker_rooot"),
                ("Rescan_Interval soon", "Rescan_Interval"),
                ("Tag_Template x.{nam}", "{nam}"),
                ("Include name=web\n    Include nam=api", "`nam=api`"),
                ("Threaded on", "Threaded on"),
                ("DB /nowhere/at/all.db", "/nowhere/at/all.db"),
            ] {
                let mut host = FluentBit::new(program, Some(plugin), &input(root.path(), &[line]));
                host.start().expect("Fluent Bit starts");
                let part = part.to_lowercase();
                host.wait_until(PATIENCE, line, |host| {
                    host.stderr().to_lowercase().contains(&part)
                });
                // Fluent Bit 3.0 goes on without a threaded input that failed.
                if !line.starts_with("Threaded") {
                    let status = host.wait_exit(PATIENCE).expect("it refuses");
                    assert!(!status.success(), "{line}");
                }
            }
        },
    );
}

#[test]
fn every_rule_of_a_repeated_option_reaches_us() {
    with_each_host(
        "host::every_rule_of_a_repeated_option_reaches_us",
        |program, plugin| {
            let root = DockerRoot::new();
            for (digit, name) in [('a', "web"), ('b', "api"), ('c', "db"), ('d', "cache")] {
                root.container(digit, name).line(name);
            }
            let lines = [
                "Include name=web",
                "include name=api",
                "Include name=db, name=x",
                "Exclude name=db",
                "Exclude driver=local",
            ];
            let mut host = FluentBit::new(program, Some(plugin), &input(root.path(), &lines))
                .with_service_line("Log_Level debug");
            host.start().expect("Fluent Bit starts");
            for reason in [
                "not read: it matches Exclude name=db",
                "not read: no Include rule matches it",
            ] {
                host.wait_until(PATIENCE, reason, |host| host.stderr().contains(reason));
            }
            host.wait_until(PATIENCE, "two records", |host| host.record_count() == 2);
            host.end_in_order();
            let mut names: Vec<String> = host
                .records()
                .iter()
                .map(|record| record.text("container_name").to_owned())
                .collect();
            names.sort();
            assert_eq!(names, ["api", "web"]);
        },
    );
}

#[test]
fn the_example_configuration_runs() {
    with_each_host("host::the_example_configuration_runs", |program, plugin| {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        log.line("line 0");
        let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fluent-bit.conf.example");
        let example = std::fs::read_to_string(example).expect("fluent-bit.conf.example");
        let sections = sections(&example).replace(
            "    Tag_Template",
            &format!(
                "    Docker_Root {}\n    Tag_Template",
                root.path().display()
            ),
        );
        let mut host = FluentBit::new(program, Some(plugin), &sections);
        host.start().expect("Fluent Bit starts");
        host.wait_until(PATIENCE, "a record", |host| host.record_count() == 1);
        assert_eq!(host.records()[0].tag, "docker.web");
        host.end_in_order();
    });
}

#[test]
fn the_yaml_example_runs_and_lists_reach_us() {
    with_each_host(
        "host::the_yaml_example_runs_and_lists_reach_us",
        |program, plugin| {
            let root = DockerRoot::new();
            for (digit, name) in [('a', "web"), ('b', "api"), ('c', "other")] {
                root.container(digit, name).line("line 0");
            }
            let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fluent-bit.yaml.example");
            let example = std::fs::read_to_string(example).expect("fluent-bit.yaml.example");
            let set = format!(
            "      tag_template: docker.{{name}}\n      docker_root: {}\n      include:\n        - name=web\n        - \
             name=api\n",
            root.path().display()
        );
            let yaml = example.replace("      tag_template: docker.{name}\n", &set);
            let mut host = FluentBit::new(program, Some(plugin), "").with_yaml(&yaml);
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "two records", |host| {
                host.stdout().matches("line 0").count() == 2
            });
            host.end_in_order();
            let stdout = host.stdout();
            assert!(
                stdout.contains("\"web\"") && stdout.contains("\"api\""),
                "{stdout}"
            );
            assert!(!stdout.contains("\"other\""), "{stdout}");
        },
    );
}

/// Behind us: stack traces of one container, joined for each stream, and a parser
/// of the host's for the container whose label asks for its tag.
#[test]
fn the_hosts_multiline_filter_and_its_parsers_work_behind_us() {
    with_each_host(
        "host::the_hosts_multiline_filter_and_its_parsers_work_behind_us",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut java = root.container('a', "java");
            let mut nginx = root.container('b', "nginx");
            nginx.write_config_with(
                "nginx",
                true,
                serde_json::json!({"fluentbit.io/tag": "parse.access"}),
                &[],
            );
            let trace = [
                "Exception in thread \"main\" java.lang.IllegalStateException: no stock",
                "\tat shop.Stock.take(Stock.java:14)",
                "\tat shop.Main.main(Main.java:5)",
            ];
            for (number, line) in trace.iter().enumerate() {
                java.entry("stderr", &format!("{line}\n"));
                java.entry("stdout", &format!("meanwhile {number}\n"));
            }
            java.entry("stderr", "an error without a trace\n");
            nginx.line("GET /goods/lantern");
            let filters = "[FILTER]\n    Name multiline\n    Match docker.*\n    Multiline.Key_Content log\n    \
                       Multiline.Parser java\n\
                       [FILTER]\n    Name parser\n    Match parse.access\n    Key_Name log\n    Parser access\n    \
                       Reserve_Data on\n";
            let config = input(
                root.path(),
                &["Tag_Template docker.{name}.{stream}", "Label_Hints tag"],
            ) + filters;
            let parsers = root.path().join("parsers.conf");
            let parser = "[PARSER]\n    Name access\n    Format regex\n    Regex ^(?<verb>[A-Z]+) (?<path>.*)$\n";
            std::fs::write(&parsers, parser).expect("parsers.conf");
            let mut host = FluentBit::new(program, Some(plugin), &config)
                .with_service_line(&format!("Parsers_File {}", parsers.display()));
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "six records", |host| host.record_count() >= 6);
            host.end_in_order();
            let texts = |tag: &str| -> Vec<String> {
                let records = host
                    .records()
                    .into_iter()
                    .filter(|record| record.tag == tag);
                records
                    .map(|record| {
                        record.body["log"]
                            .as_str()
                            .unwrap_or_default()
                            .trim_end()
                            .to_owned()
                    })
                    .collect()
            };
            assert_eq!(
                texts("docker.java.stderr"),
                [trace.join("\n"), "an error without a trace".to_owned()]
            );
            assert_eq!(
                texts("docker.java.stdout"),
                ["meanwhile 0", "meanwhile 1", "meanwhile 2"]
            );
            let records = host.records();
            let access = records
                .iter()
                .find(|record| record.tag == "parse.access")
                .expect("a parsed record");
            assert_eq!(
                (access.text("verb"), access.text("path")),
                ("GET", "/goods/lantern")
            );
            assert_eq!(access.text("container_name"), "nginx");
        },
    );
}

/// A label, a parser of the host's own, its time, and a reload in between: what is
/// taken apart stays exact.
#[test]
fn a_label_has_lines_taken_apart_by_fluent_bits_parsers() {
    with_each_host(
        "host::a_label_has_lines_taken_apart_by_fluent_bits_parsers",
        |program, plugin| {
            let root = DockerRoot::new();
            let labels = [
                ('a', "access", "access"),
                ('b', "json", "json"),
                ('c', "wrong", "no-such"),
            ];
            let mut logs: Vec<LogWriter> = Vec::new();
            for (digit, name, parser) in labels {
                let log = root.container(digit, name);
                log.write_config_with(
                    name,
                    true,
                    serde_json::json!({"fluentbit.io/parser": parser}),
                    &[],
                );
                logs.push(log);
            }
            let parsers = root.path().join("parsers.conf");
            let text = "[PARSER]\n    Name access\n    Format regex\n    \
                    Regex ^(?<verb>[A-Z]+) (?<path>[^ ]*) at (?<time>.*)$\n    \
                    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L%z\n\
                    [PARSER]\n    Name json\n    Format json\n";
            std::fs::write(&parsers, text).expect("parsers.conf");
            let db = format!("DB {}", root.path().join("positions.db").display());
            let config = input(
                root.path(),
                &["Tag_Template {name}", &db, "Label_Hints parser"],
            );
            let mut host = FluentBit::new(program, Some(plugin), &config)
                .with_service_line(&format!("Parsers_File {}", parsers.display()))
                .with_service_line("Hot_Reload On");
            host.start().expect("Fluent Bit starts");
            let mut count = 0;
            for round in 0..3 {
                logs[0].line(&format!(
                    "GET /goods/{round} at 2020-02-03T04:05:06.{round}00Z"
                ));
                logs[0].line(&format!("no request {round}"));
                logs[1].line(&format!("{{\"round\":{round},\"image\":\"mine\"}}"));
                logs[2].line(&format!("line {round}"));
                count += 4;
                host.wait_until(PATIENCE, "the records", |host| host.record_count() >= count);
                host.signal(Signal::HUP);
                host.wait_until(PATIENCE, "the reload", |host| {
                    host.stderr().matches("following containers").count() == round + 2
                });
            }
            host.end_in_order();
            let records = host.records();
            assert_eq!(records.len(), count);
            let of = |tag: &str| -> Vec<&Record> {
                records.iter().filter(|record| record.tag == tag).collect()
            };
            for round in 0..3 {
                let (request, other) = (of("access")[2 * round], of("access")[2 * round + 1]);
                assert_eq!(
                    (request.text("verb"), request.text("path")),
                    ("GET", format!("/goods/{round}").as_str())
                );
                assert!(request.body.get("log").is_none(), "{request:?}");
                assert_eq!(request.text("container_name"), "access");
                assert_eq!(
                    request.time_ns,
                    1_580_702_706_000_000_000 + round as u64 * 100_000_000
                );
                assert_eq!(other.text("log"), format!("no request {round}"));
                let json = of("json")[round];
                assert_eq!(
                    (json.body["round"].as_u64(), json.text("image")),
                    (Some(round as u64), "shop/web:1.2")
                );
                assert_eq!(
                    json.text("log"),
                    format!("{{\"round\":{round},\"image\":\"mine\"}}")
                );
                assert_eq!(of("wrong")[round].text("log"), format!("line {round}"));
            }
            // Once by each instance that read a line for it; the last one read none.
            assert_eq!(
                host.stderr().matches("no parser `no-such`").count(),
                3,
                "{}",
                host.stderr()
            );
        },
    );
}

#[test]
fn the_hosts_help_has_every_option() {
    with_each_host(
        "host::the_hosts_help_has_every_option",
        |program, plugin| {
            let dir = tempfile::tempdir().expect("a folder");
            let link = dir.path().join("flb-in_container_logs.so");
            std::os::unix::fs::symlink(plugin.canonicalize().expect("it is built"), &link)
                .expect("a link");
            let output = std::process::Command::new(program)
                .arg("-e")
                .arg(&link)
                .args(["-i", "container_logs", "-h"])
                .output()
                .expect("it runs");
            // Fluent Bit breaks lines where it likes, and colours names.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let help = words(&String::from_utf8_lossy(&output.stdout));
            for option in OPTIONS {
                assert!(
                    help.contains(&option.name.to_ascii_lowercase()),
                    "{}: {help}",
                    option.name
                );
                assert!(
                    help.contains(&words(option.text)),
                    "{}: {help}",
                    option.text
                );
            }
        },
    );
}

/// The example without its `[SERVICE]`, which the harness has its own of.
fn sections(example: &str) -> String {
    let mut in_service = false;
    let mut kept = String::new();
    for line in example.lines() {
        if line.starts_with('[') {
            in_service = line.starts_with("[SERVICE]");
        }
        if !in_service {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}
