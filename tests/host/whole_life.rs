//! All that a life of the plugin in a real Fluent Bit consists of, once and in
//! little: what `scripts/sanitize` watches under valgrind, where everything
//! takes thirty times as long.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::process::Signal;

use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{with_each_host, FluentBit};

/// For each step, under valgrind and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn from_the_start_over_a_reload_and_a_removal_to_the_end() {
    with_each_host(
        "whole_life::from_the_start_over_a_reload_and_a_removal_to_the_end",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut web = root.container('a', "web");
            let mut short_lived = root.container('b', "short\u{1b}[2J-lived");
            let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    DB {}\n    Tag_Template logs.{{name}}.{{stream}}\n",
            root.path().display(),
            root.path().join("positions.db").display(),
        );
            let mut host = FluentBit::new(program, Some(plugin), &config);
            web.line("plain");
            web.entry("stderr", "an escape: \u{1b}[31m \u{2028}\n");
            web.long_line("stdout", &"long ".repeat(10_000));
            web.rotate(4, true);
            web.raw(b"{\"log\":\"torn\n");
            web.line("after the damage");
            short_lived.line("and gone");
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "the first records", |host| {
                host.record_count() >= 5
            });
            short_lived.remove();
            web.rotate(4, false);
            host.signal(Signal::HUP);
            host.wait_until(PATIENCE, "the reload", |host| {
                host.stderr().matches("following containers").count() >= 2
            });
            web.line("after the reload");
            host.wait_until(PATIENCE, "the last record", |host| host.record_count() >= 6);
            host.signal(Signal::TERM);
            assert!(host.wait_exit(PATIENCE).expect("an end").success());
            let mut texts: Vec<(String, usize)> = host
                .records()
                .iter()
                .map(|record| (record.tag.clone(), record.text("log").len()))
                .collect();
            texts.sort();
            let expected = [
                ("logs.short__2J-lived.stdout", 8),
                ("logs.web.stderr", 20),
                ("logs.web.stdout", 5),
                ("logs.web.stdout", 16),
                ("logs.web.stdout", 16),
                ("logs.web.stdout", 50_000),
            ];
            assert_eq!(
                texts,
                expected.map(|(tag, length)| (tag.to_owned(), length))
            );
            assert!(
                !host.stderr().contains("\u{1b}[2J"),
                "a name brought an escape into the log"
            );
        },
    );
}

/// A threaded input of the host copies all metrics, ours among them, on a thread of its own.
/// Nothing that it may be walking is ever destroyed.
#[test]
fn metrics_are_scraped_by_another_thread_while_containers_come_and_go() {
    with_each_host(
        "whole_life::metrics_are_scraped_by_another_thread_while_containers_come_and_go",
        |program, plugin| {
            const THERE: usize = 100;
            const LEAVE: usize = 30;
            const SCRAPES: usize = 8;
            const ROUNDS: usize = 20;
            let root = DockerRoot::new();
            let mut made = 0;
            let mut container = || {
                made += 1;
                let mut log = root.created_with_id(&format!("{made:064x}"), &format!("c{made}"));
                log.open_log();
                log.line("hello");
                log
            };
            let mut there: VecDeque<LogWriter> = (0..THERE).map(|_| container()).collect();
            let mut host = FluentBit::new(program, Some(plugin), "");
            let yaml = format!(
            "service:\n  flush: 0.2\n  log_level: debug\n\
             pipeline:\n  inputs:\n    - name: container_logs\n      runtime: docker\n      docker_root: {root}\n      \
             docker_socket: off\n      rescan_interval: 1s\n      tag_template: logs\n      metrics_per_container: 200\n{scrapers}  \
             outputs:\n    - name: file\n      match: logs\n      path: {dir}\n      file: records\n    \
             - name: 'null'\n      match: metrics\n",
            // Several, so that one of them is likely to be at it whenever a container goes.
            scrapers = "    - name: fluentbit_metrics\n      tag: metrics\n      scrape_interval: 1\n      threaded: on\n"
                .repeat(2),
            root = root.path().display(),
            dir = host.dir().display(),
        );
            host = host.with_yaml(&yaml);
            host.start().expect("Fluent Bit starts");
            let mut written = THERE;
            // Of what Fluent Bit would tell by (its HTTP server, the text of the metrics) all keeps
            // a thread busy, and valgrind runs one at a time; of each flush of metrics it says this.
            let is_flush =
                |line: &&str| line.contains("[output:null:") && line.contains("assigned to");
            let scrapes = |host: &FluentBit| host.stderr().lines().filter(is_flush).count();
            let mut rounds = 0;
            while rounds < ROUNDS || scrapes(&host) < SCRAPES {
                rounds += 1;
                host.wait_until(PATIENCE, "all records", |host| {
                    host.record_count() >= written
                });
                for log in there.drain(..LEAVE) {
                    log.remove();
                }
                there.extend((0..LEAVE).map(|_| container()));
                written += LEAVE;
            }
            host.wait_until(PATIENCE, "the last records", |host| {
                host.record_count() >= written
            });
            host.signal(Signal::TERM);
            assert!(
                host.wait_exit(PATIENCE).expect("an end").success(),
                "{}",
                host.stderr()
            );
            assert_eq!(host.record_count(), written);
        },
    );
}
