//! Containers whose images are made to delay others: by expressions in labels, and by lines
//! that take long to read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::telemetry::event::Level;
use serde_json::json;
use test_kit::collector::PATIENCE;
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::fluent_bit::{plugin, with_each_host, FluentBit};
use test_kit::playing_host::{PlayingHost, Release};
use test_kit::wait_until;

/// An expression of a label that fits its limits and takes as long as any: a DFA of it has
/// 2^40 states, so it is matched state by state.
const WORST_OF_LABEL: &str = "[ab]{0,40}a[ab]{40}c";

/// The one of a report: as the option it is allowed, as a label's it is far too large.
const WORST_OF_OPTION: &str = "[ab]{0,900}a[ab]{900}c";

/// MultilineBuffer that no expression here fits, in no order that a DFA could make use of.
fn lines_of_a_and_b(bytes: usize) -> String {
    let mut seed = 12345u64;
    let mut next = || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        if seed >> 33 & 1 == 0 {
            'a'
        } else {
            'b'
        }
    };
    let mut lines = String::with_capacity(bytes + 3_000);
    while lines.len() < bytes {
        let text: String = (0..2_000).map(|_| next()).chain(['\n']).collect();
        lines.push_str(&record("stdout", &text, "2023-11-14T22:13:20.5Z"));
    }
    lines
}

/// The reader's thread, as `/proc` shows it.
fn reader_of(host: &PlayingHost) -> PathBuf {
    let mut reader = None;
    wait_until(PATIENCE, "the reader", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("it runs");
        let is_reader = |task: &PathBuf| {
            std::fs::read_to_string(task.join("comm"))
                .is_ok_and(|name| name.trim() == "clogs-reader")
        };
        reader = tasks
            .map(|task| task.expect("a thread").path())
            .find(is_reader);
        reader.is_some()
    });
    reader.expect("it was found")
}

/// What a thread has taken of the processor, whatever else the machine does.
fn processor_time(thread: &Path) -> Duration {
    let times = std::fs::read_to_string(thread.join("schedstat")).expect("its times");
    let nanos = times
        .split(' ')
        .next()
        .and_then(|nanos| nanos.parse().ok())
        .expect("a number");
    Duration::from_nanos(nanos)
}

/// Whether the library is an optimised one. Without optimisation an expression takes
/// some twenty times as long.
fn is_optimised() -> bool {
    plugin().is_some_and(|file| {
        file.parent()
            .is_some_and(|folder| folder.ends_with("release"))
    })
}

/// What a container may be delayed by others.
fn longest_delay() -> Duration {
    Duration::from_millis(250) * if is_optimised() { 1 } else { 20 }
}

/// Writes lines of one container while others are read, and gives the most that the
/// reader did before any of them arrived.
fn delay_of(host: &mut PlayingHost, log: &mut LogWriter) -> Duration {
    let reader = reader_of(host);
    let mut offset = host.delivered_bytes();
    let mut longest = Duration::ZERO;
    // Of none it is known at its first slice what its lines take.
    for number in 0..=if is_optimised() { 20 } else { 3 } {
        let text = format!("good line {number}");
        let (begun, before) = (Instant::now(), processor_time(&reader));
        log.line(&text);
        while !host
            .frames_from(&mut offset)
            .iter()
            .any(|frame| frame.texts().any(|got| got == text))
        {
            assert!(
                begun.elapsed() < PATIENCE,
                "line {number} does not come; log:\n{}",
                host.log()
            );
            host.run(2);
        }
        if number > 0 {
            longest = longest.max(processor_time(&reader) - before);
        }
    }
    longest
}

/// A good container beside so many that have this label and 3 MB to be read, by a host with
/// these options: how long it is delayed, and how long the stop takes.
#[track_caller]
fn assert_harmless(what: &str, hostile: usize, label: Option<&str>, options: &str, said: &[&str]) {
    let root = DockerRoot::new();
    let mut good = root.container('0', "good");
    let lines = lines_of_a_and_b(3_000_000);
    let mut logs = Vec::new();
    for digit in ('1'..='9').take(hostile) {
        let mut log = root.container(digit, "mallory");
        if let Some(label) = label {
            log.write_config_with(
                "mallory",
                true,
                json!({"fluentbit.io/multiline": label}),
                &[],
            );
        }
        log.raw(lines.as_bytes());
        logs.push(log);
    }
    let options = format!(
        "docker_root=\"{}\" runtime=docker docker_socket=off metadata=off {options}",
        root.path().display()
    );
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    let longest = delay_of(&mut host, &mut good);
    let begun = Instant::now();
    let exit = host.exit();
    let stop = begun.elapsed();
    println!(
        "{what}: the reader did {longest:?} before a line of another container came, the stop took {stop:?}"
    );
    exit.assert_clean();
    assert!(longest < longest_delay(), "{what}: {longest:?}");
    assert!(
        stop < Duration::from_secs(if is_optimised() { 4 } else { 20 }),
        "{what}: the stop took {stop:?}"
    );
    assert!(
        !exit.log.contains("does not respond") && !exit.log.contains("without waiting"),
        "{}",
        exit.log
    );
    for part in said {
        assert!(exit.log.contains(part), "no `{part}` in {}", exit.log);
    }
}

#[test]
fn the_expression_of_a_label_delays_no_other_container() {
    for hostile in [1, if is_optimised() { 8 } else { 3 }] {
        let options = "label_hints=multiline_regex";
        assert_harmless(
            "the worst that a label can say",
            hostile,
            Some(WORST_OF_LABEL),
            options,
            &[],
        );
    }
}

/// The one that took 27 seconds.
#[test]
fn a_large_expression_of_a_label_is_refused_and_delays_nobody() {
    let label = Some(WORST_OF_OPTION);
    assert_harmless(
        "by default",
        1,
        label,
        "",
        &["not allowed by Label_Hints: fluentbit.io/multiline"],
    );
    let said = "it needs too much memory; label ignored, using the option";
    assert_harmless("all labels obeyed", 1, label, "label_hints=all", &[said]);
}

/// An image that knows what the operator's expression finds hard.
#[test]
fn the_operators_expression_makes_no_container_delay_another() {
    // The good one's lines wait for each other as well, but not for long.
    let options = format!("multiline={WORST_OF_OPTION} multiline_flush=10ms");
    for hostile in [1, if is_optimised() { 8 } else { 3 }] {
        assert_harmless(
            "the worst that the option can say",
            hostile,
            None,
            &options,
            &[],
        );
    }
}

/// Takes what it gets.
struct Takes;

impl Host for Takes {
    fn append(&self, _: Option<&str>, _: usize, _: &[u8]) -> Result<(), AppendRefused> {
        Ok(())
    }

    fn log(&self, _: Level, _: &str) {}
}

/// Pass by pass, on any build: beside a plain log, of twelve that take long only as many
/// have a slice as begin within 50 ms, from the first pass on; they take turns, and a slice
/// of theirs is short.
#[test]
fn costly_logs_have_their_turns_and_plain_ones_have_all() {
    let root = DockerRoot::new();
    let lines = lines_of_a_and_b(600_000);
    let labels = json!({"fluentbit.io/multiline": WORST_OF_LABEL});
    let mut logs = Vec::new();
    for digit in ('0'..='9').chain('a'..='b') {
        let name = format!("mallory-{digit}");
        let mut log = root.container(digit, &name);
        log.write_config_with(&name, true, labels.clone(), &[]);
        log.raw(lines.as_bytes());
        logs.push(log);
    }
    let mut good = root.container('c', "good");
    let config = Config::from_lookup(|name| match name {
        "Docker_Root" => Some(root.path().display().to_string()),
        "Runtime" => Some("docker".to_owned()),
        "Docker_Socket" => Some("off".to_owned()),
        "Label_Hints" => Some("multiline_regex".to_owned()),
        _ => None,
    })
    .expect("valid options");
    let (plugin, mut reader) = Plugin::prepare(config).expect("it starts");
    reader.begin();
    let read = |plugin: &Plugin| -> HashMap<String, u64> {
        let accounts = plugin.accounts().all();
        accounts
            .iter()
            .map(|account| (account.name(), account.figures().read.bytes))
            .collect()
    };
    let mut turns: HashMap<String, usize> = HashMap::new();
    for pass in 0..15 {
        let before = read(&plugin);
        good.line("here");
        reader.turn(Instant::now());
        plugin.drain(&Takes);
        let mut moved = read(&plugin);
        moved
            .iter_mut()
            .for_each(|(name, bytes)| *bytes -= before.get(name).unwrap_or(&0));
        moved.retain(|_, bytes| *bytes > 0);
        assert!(moved.remove("good").is_some(), "pass {pass}: {moved:?}");
        // Each takes 40 ms, so the second is the last that begins before 50 ms are over.
        assert!((1..=2).contains(&moved.len()), "pass {pass}: {moved:?}");
        for (name, bytes) in moved {
            assert!(bytes < 100_000, "pass {pass}: {name} had {bytes} bytes");
            *turns.entry(name).or_insert(0) += 1;
        }
    }
    let (least, most) = (turns.values().min(), turns.values().max());
    let is_even = least
        .zip(most)
        .is_some_and(|(least, most)| most - least <= 1);
    assert!(turns.len() == logs.len() && is_even, "{turns:?}");
}

/// A parser of the host's whose expression has no end of ways to divide blanks, as stock ones
/// have: by default no image gets at it.
#[test]
fn an_image_does_not_hang_fluent_bit_by_a_parser() {
    with_each_host(
        "hostile::an_image_does_not_hang_fluent_bit_by_a_parser",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut hostile = root.container('a', "mallory");
            hostile.write_config_with(
                "mallory",
                true,
                json!({"fluentbit.io/parser": "blanks"}),
                &[],
            );
            let mut good = root.container('b', "good");
            let parsers = root.path().join("parsers.conf");
            let text = "[PARSER]\n    Name blanks\n    Format regex\n    Regex ^(?<verb>[A-Z]+)(\\s*(?<path>\\S*)\\s*)*\"$\n";
            std::fs::write(&parsers, text).expect("parsers.conf");
            let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Docker_Socket off\n",
            root.path().display()
        );
            let mut host = FluentBit::new(program, Some(plugin), &config)
                .with_service_line(&format!("Parsers_File {}", parsers.display()));
            hostile.line(&format!("GET{}", " ".repeat(3_000)));
            good.line("first");
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "both lines", |host| host.record_count() >= 2);
            hostile.line(&format!("GET{}", " ".repeat(3_000)));
            good.line("second");
            host.wait_until(PATIENCE, "both lines", |host| host.record_count() >= 4);
            let said = "mallory (aaaaaaaaaaaa): labels ignored, not allowed by Label_Hints: fluentbit.io/parser";
            host.wait_until(PATIENCE, "what is said", |host| {
                host.stderr().contains(said)
            });
            host.end_in_order();
        },
    );
}
