//! What Fluent Bit makes of its configuration around the input: the plugin named twice, several
//! inputs, a tag that is no template, a reload to a wrong value, and `rewrite_tag` behind it.

use std::path::Path;

use rustix::process::Signal;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{with_each_host, FluentBit};

const PLUGIN: &str = "flb-in_container_logs.so";

fn input(root: &Path, lines: &[&str]) -> String {
    let root = root.display();
    let mut text =
        format!("[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {root}\n");
    for line in lines {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

fn write(log: &mut LogWriter, count: usize) {
    for number in 0..count {
        log.line(&format!("line {number}"));
    }
}

/// The texts of the records with this tag.
fn texts(host: &FluentBit, tag: &str) -> Vec<String> {
    let records = host.records();
    let ours = records.iter().filter(|record| record.tag == tag);
    ours.map(|record| record.text("log").to_owned()).collect()
}

/// Fluent Bit would run an input with default options beside the one that is configured.
#[test]
fn a_plugin_that_is_loaded_twice_is_refused() {
    with_each_host(
        "configuration::a_plugin_that_is_loaded_twice_is_refused",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut log = root.container('a', "web");
            write(&mut log, 10);
            let config = input(root.path(), &["Tag web", "Alias shop"]);
            // The same file by -e and in Plugins_File; a copy of it; twice in Plugins_File.
            for (case, count) in [("twice", 2), ("copy", 2), ("thrice", 3), ("listed", 2)] {
                let host = FluentBit::new(program, Some(plugin), &config);
                let path = |name: &str| host.dir().join(name).display().to_string();
                let (link, copy) = (path(PLUGIN), path("copy"));
                std::fs::create_dir(&copy).expect("a folder");
                let copy = format!("{copy}/{PLUGIN}");
                std::fs::copy(plugin, &copy).expect("a copy");
                let named: &[&str] = match case {
                    "twice" => &[&link],
                    "copy" => &[&copy],
                    "thrice" => &[&link, &copy],
                    _ => {
                        let list = format!("[PLUGINS]\n    Path {link}\n    Path {link}\n");
                        std::fs::write(path("plugins.conf"), list).expect("plugins.conf");
                        &[]
                    }
                };
                let named = named.iter().flat_map(|file| ["-e", file]);
                let arguments: Vec<String> = named
                    .chain(["-c", &path("fluent-bit.conf")])
                    .map(str::to_owned)
                    .collect();
                let mut host = host.with_arguments(arguments);
                host.start().expect("Fluent Bit starts");
                let status = host.wait_exit(PATIENCE).expect("it ends");
                assert!(!status.success(), "{case}: {}", host.stderr());
                let message = format!("the plugin is loaded {count} times");
                assert!(
                    host.stderr().contains(&message),
                    "{case}: {}",
                    host.stderr()
                );
                assert!(texts(&host, "web").is_empty(), "{case}");
            }
        },
    );
}

/// Several inputs are no second registration, nor is a reload, which loads the plugin again.
#[test]
fn several_inputs_of_one_registration_run_over_reloads() {
    with_each_host(
        "configuration::several_inputs_of_one_registration_run_over_reloads",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut logs = [root.container('a', "web"), root.container('b', "api")];
            let host = FluentBit::new(program, Some(plugin), "");
            let path = |name: &str| host.dir().join(name).display().to_string();
            let of = |name: &str| {
                let db = format!("DB {}", path(&format!("{name}.db")));
                input(
                    root.path(),
                    &[&format!("Tag {name}"), &format!("Include name={name}"), &db],
                )
            };
            host.set_config(&(of("web") + &of("api")));
            // By -e alone.
            std::fs::write(path("plugins.conf"), "[PLUGINS]\n").expect("plugins.conf");
            let arguments = ["-e", &path(PLUGIN), "-c", &path("fluent-bit.conf")];
            let arguments = arguments.map(str::to_owned).to_vec();
            let mut host = host.with_arguments(arguments);
            host.start().expect("Fluent Bit starts");
            for round in 1..=3 {
                for log in &mut logs {
                    log.line(&format!("line {round}"));
                }
                host.wait_until(PATIENCE, "the records", |host| {
                    host.record_count() >= 2 * round
                });
                host.signal(Signal::HUP);
                host.wait_until(PATIENCE, "the reload", |host| {
                    host.stderr().matches("following containers").count() == 2 * (round + 1)
                });
            }
            host.end_in_order();
            for name in ["web", "api"] {
                assert_eq!(texts(&host, name), ["line 1", "line 2", "line 3"]);
            }
        },
    );
}

#[test]
fn a_tag_that_looks_like_a_template_is_reported() {
    with_each_host(
        "configuration::a_tag_that_looks_like_a_template_is_reported",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut log = root.container('a', "web");
            log.line("one");
            for (tag, template, reported) in [
                ("docker.*", "", "Tag `docker.*` is used literally"),
                ("docker.{name}", "", "Tag `docker.{name}` is used literally"),
                ("docker.x", "", ""),
                ("docker.*", "docker.{name}", ""),
                ("x", "docker.*", "Tag_Template `docker.*` is used literally"),
            ] {
                let (option, own) = match template {
                    "" => (String::new(), tag.to_owned()),
                    _ => (
                        format!("Tag_Template {template}"),
                        template.replace("{name}", "web"),
                    ),
                };
                let config = input(root.path(), &[&format!("Tag {tag}"), &option]);
                let mut host = FluentBit::new(program, Some(plugin), &config);
                host.start().expect("Fluent Bit starts");
                host.wait_until(PATIENCE, "the record", |host| host.record_count() == 1);
                host.end_in_order();
                assert_eq!(texts(&host, &own), ["one"]);
                let log = host.stderr();
                let is_reported = log.contains("is used literally");
                assert_eq!(is_reported, !reported.is_empty(), "{log}");
                assert!(log.contains(reported), "{log}");
            }
        },
    );
}

/// As docs/troubleshooting.md says: the name of an option is checked before the reload, its
/// value is not, and then Fluent Bit ends. Nothing is lost: the next start goes on.
#[test]
fn a_reload_to_a_wrong_value_ends_fluent_bit_and_loses_nothing() {
    with_each_host(
        "configuration::a_reload_to_a_wrong_value_ends_fluent_bit_and_loses_nothing",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut log = root.container('a', "web");
            let mut host = FluentBit::new(program, Some(plugin), "");
            let db = format!("DB {}/positions.db", host.dir().display());
            let with = |line: &str| input(root.path(), &["Tag web", &db, line]);
            host.set_config(&with(""));
            host.start().expect("Fluent Bit starts");
            log.line("one");
            host.wait_until(PATIENCE, "the record", |host| host.record_count() == 1);
            host.set_config(&with("Includ name=web"));
            host.signal(Signal::HUP);
            host.wait_until(PATIENCE, "the refusal", |host| {
                host.stderr().contains("Reloading is halted")
            });
            log.line("two");
            host.wait_until(PATIENCE, "the record", |host| host.record_count() == 2);
            host.end_in_order();
            // 5.1.1 takes no further reload after one that it has halted.
            host.set_config(&with(""));
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "the start", |host| {
                host.stderr().matches("following containers").count() == 2
            });
            host.set_config(&with("Include nam=web"));
            host.signal(Signal::HUP);
            let status = host.wait_exit(PATIENCE).expect("it ends");
            assert!(!status.success());
            let message = "option Include: `nam=web` does not begin with any of name=GLOB";
            assert!(host.stderr().contains(message), "{}", host.stderr());
            log.line("three");
            host.set_config(&with("Include name=web"));
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "the record", |host| host.record_count() == 3);
            host.end_in_order();
            assert_eq!(texts(&host, "web"), ["one", "two", "three"]);
        },
    );
}

/// The emitter of `rewrite_tag` refuses what exceeds its limit, and then a record keeps its tag
/// (Fluent Bit 5.0.9 and later). Its limit has to hold the backlog.
#[test]
fn rewrite_tag_renames_every_record_of_a_backlog_below_its_limit() {
    with_each_host(
        "configuration::rewrite_tag_renames_every_record_of_a_backlog_below_its_limit",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut log = root.container('a', "web");
            let (count, filler) = (40_000, "x".repeat(300));
            for number in 0..count {
                log.line(&format!("line {number} {filler}"));
            }
            let config = input(root.path(), &["Tag docker"])
                + "[FILTER]\n    Name rewrite_tag\n    Match docker\n    \
                   Rule $stream .* new.$container_name false\n    Emitter_Mem_Buf_Limit 200M\n";
            let mut host = FluentBit::new(program, Some(plugin), &config);
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "the records", |host| host.record_count() >= count);
            host.end_in_order();
            let found = texts(&host, "new.web");
            let want = (0..count).map(|number| format!("line {number} {filler}"));
            assert!(
                found.into_iter().eq(want),
                "{} records",
                host.record_count()
            );
        },
    );
}
