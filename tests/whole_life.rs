//! All that a life of the plugin in a real Fluent Bit consists of, once and in
//! little: what `scripts/sanitize` watches under valgrind, where everything
//! takes thirty times as long.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::docker_root::DockerRoot;
use crate::support::fluent_bit::{with_each_host, FluentBit};

/// For each step, under valgrind and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn from_the_start_over_a_reload_and_a_removal_to_the_end() {
    with_each_host("whole_life::from_the_start_over_a_reload_and_a_removal_to_the_end", |program, plugin| {
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
        host.wait_until(PATIENCE, "the first records", |host| host.record_count() >= 5);
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
        let mut texts: Vec<(String, usize)> =
            host.records().iter().map(|record| (record.tag.clone(), record.text("log").len())).collect();
        texts.sort();
        let expected = [
            ("logs.short__2J-lived.stdout", 8),
            ("logs.web.stderr", 20),
            ("logs.web.stdout", 5),
            ("logs.web.stdout", 16),
            ("logs.web.stdout", 16),
            ("logs.web.stdout", 50_000),
        ];
        assert_eq!(texts, expected.map(|(tag, length)| (tag.to_owned(), length)));
        assert!(!host.stderr().contains("\u{1b}[2J"), "a name brought an escape into the log");
    });
}
