//! What no program should write and some program does: lines and records of many
//! megabytes, JSON that is made to hurt, names that are none. The host's process stays
//! small, what was cut or passed over is said once, and what follows is read.

use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::playing_host::{Exit, PlayingHost, Release};

use fluent_bit_container_logs::runtime::bounds::{cut, LONGEST_NAME, LONGEST_VALUE};
use rustix::process::Signal;

const MIB: usize = 1 << 20;

/// What one instance may take beyond what it takes for a plain line: the read buffer
/// with the longest entry that is kept, the joined line, the batch made of it and the
/// queue, some of them twice while they grow.
const MOST: usize = 64 * MIB;

/// A host that has read one line of the log, and the most memory it ever took by then.
struct Watched {
    host: PlayingHost,
    before: usize,
}

impl Watched {
    fn over(root: &DockerRoot, log: &mut LogWriter, options: &str) -> Watched {
        log.line("before");
        let mut host = PlayingHost::with_instance(
            Release::LATEST,
            &format!(
                "docker_root=\"{}\" runtime=docker docker_socket=off {options}",
                root.path().display()
            ),
        );
        host.run_until(1);
        let before = highest_memory(&host);
        Watched { host, before }
    }

    /// Waits for so many records in all; how far the memory grew at its highest.
    #[track_caller]
    fn finish(mut self, records: usize) -> (usize, Exit) {
        self.host.run_until(records);
        let grown = highest_memory(&self.host).saturating_sub(self.before);
        let exit = self.host.exit();
        exit.assert_clean();
        (grown, exit)
    }
}

fn highest_memory(host: &PlayingHost) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let highest = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("its memory");
    highest
        .trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .expect("a number")
        * 1024
}

fn texts(exit: &Exit) -> Vec<&str> {
    exit.frames.iter().flat_map(|frame| frame.texts()).collect()
}

#[track_caller]
fn assert_bounded(what: &str, grown: usize) {
    println!(
        "{what}: {:.1} MiB more at the highest",
        grown as f64 / MIB as f64
    );
    assert!(grown < MOST, "{what}: {grown} bytes");
}

#[test]
fn a_line_of_64_mib_is_cut_and_said_once() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let watched = Watched::over(&root, &mut log, "");
    log.long_line("stdout", &"y".repeat(64 * MIB));
    log.line("after");
    let (grown, exit) = watched.finish(3);
    let got = texts(&exit);
    assert_eq!(
        (got[0], got[1].len(), got[2]),
        ("before", 1_000_000, "after")
    );
    assert_eq!(
        exit.log
            .matches("lines longer than Partial_Max_Size")
            .count(),
        1,
        "{}",
        exit.log
    );
    assert_bounded("a line of 64 MiB", grown);
}

#[test]
fn sixty_four_mib_without_a_line_feed_are_passed_over_and_said_once() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let watched = Watched::over(&root, &mut log, "");
    let block = vec![b'z'; MIB];
    (0..64).for_each(|_| log.raw(&block));
    log.raw(b"\n");
    log.line("after");
    let (grown, exit) = watched.finish(2);
    assert_eq!(texts(&exit), ["before", "after"]);
    assert_eq!(
        exit.log.matches("that are not a valid log record").count(),
        1,
        "{}",
        exit.log
    );
    assert!(
        exit.log.contains(&format!("lost {} bytes", 64 * MIB + 1)),
        "{}",
        exit.log
    );
    assert_bounded("64 MiB without a line feed", grown);
}

#[test]
fn a_record_of_ten_megabytes_comes_whole_where_that_is_allowed() {
    for (options, length) in [("", 1_000_000), ("partial_max_size=16M", 10_000_000)] {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        let watched = Watched::over(&root, &mut log, options);
        log.line(&"x".repeat(10_000_000));
        log.line("after");
        let (grown, exit) = watched.finish(3);
        let got = texts(&exit);
        assert_eq!((got[1].len(), got[2]), (length, "after"));
        assert_bounded("a record of 10 MB", grown);
    }
}

/// As a line that is to become fields, and as attributes of the record itself.
#[test]
fn json_that_is_made_to_hurt_stays_text_or_is_passed_over() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let watched = Watched::over(&root, &mut log, "merge_log=on");
    let deep = format!("{}1{}", "{\"a\":".repeat(150_000), "}".repeat(150_000));
    let deep_list = format!("{{\"a\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
    let wide = format!(
        "{{{}\"end\":1}}",
        (0..60_000)
            .map(|key| format!("\"k{key}\":{{}},"))
            .collect::<String>()
    );
    let unclosed = "{\"a\":".repeat(150_000);
    for bomb in [&deep, &deep_list, &wide, &unclosed] {
        log.line(bomb);
    }
    for attrs in [&deep, &deep_list] {
        let plain = record("stdout", "with attributes\n", "2023-11-14T22:14:00.5Z");
        log.raw(
            plain
                .replace("\"stream\"", &format!("\"attrs\":{attrs},\"stream\""))
                .as_bytes(),
        );
    }
    log.line("after");
    let (grown, exit) = watched.finish(6);
    let records: Vec<_> = exit
        .frames
        .iter()
        .flat_map(|frame| &frame.records)
        .collect();
    assert_eq!(
        records.len(),
        6,
        "two records with such attributes are none"
    );
    assert_eq!(records[1].text("log"), deep);
    assert_eq!(records[2].text("log"), deep_list);
    assert_eq!(records[3].text("log"), wide, "too many keys");
    assert_eq!(records[4].text("log"), unclosed);
    assert_eq!(records[5].text("log"), "after");
    assert_eq!(
        exit.log.matches("that are not a valid log record").count(),
        1,
        "{}",
        exit.log
    );
    assert_bounded("JSON bombs", grown);
}

#[test]
fn metadata_that_is_made_to_hurt_is_said_once_and_stops_nobody() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "good");
    let mut bad = root.container('b', "bad");
    let deep = format!("{}1{}", "{\"a\":".repeat(150_000), "}".repeat(150_000));
    std::fs::write(
        bad.dir.join("config.v2.json"),
        format!("{{\"Name\":\"/bad\",\"Config\":{{\"Labels\":{deep}}}}}"),
    )
    .expect("the folder is ours");
    // What nobody asks for may be as deep as it likes.
    let mut odd = root.container('c', "odd");
    std::fs::write(
        odd.dir.join("config.v2.json"),
        format!("{{\"Name\":\"/odd\",\"Other\":{deep}}}"),
    )
    .expect("the folder is ours");
    odd.line("hello");
    let watched = Watched::over(&root, &mut log, "rescan_interval=20ms");
    bad.line("under the short id after five seconds");
    log.line("after");
    let (grown, exit) = watched.finish(4);
    assert_eq!(
        exit.log.matches("config.v2.json").count(),
        1,
        "{}",
        exit.log
    );
    let names = exit
        .frames
        .iter()
        .flat_map(|frame| &frame.records)
        .map(|record| record.text("container_name"));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["bbbbbbbbbbbb", "good", "good", "odd"],
        "{}",
        exit.log
    );
    assert_bounded("deep metadata", grown);
}

/// What an image's author can ask for, each of 10 MB, with a log of empty lines: 256 KiB of
/// it make 3,400 records that each repeat what is said of the container.
#[test]
fn metadata_of_ten_megabytes_is_cut_said_once_and_takes_no_memory() {
    let long = "é".repeat(5_000_000);
    let many: serde_json::Map<_, _> = (0..500_000)
        .map(|key| (format!("k{key}"), "v".into()))
        .collect();
    let variables: Vec<String> = (0..700_000).map(|key| format!("k{key}=v")).collect();
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    let long_variable = format!("LONG={long}");
    let project = serde_json::json!({"com.docker.compose.project": long});
    let tag = serde_json::json!({"fluentbit.io/tag": "t".repeat(10_000_000)});
    let none = serde_json::json!({});
    let cases: [(&str, &str, serde_json::Value, &[&str], usize); 6] = [
        ("a label", "web", project, &[], 3_400),
        ("a name", &long, none.clone(), &[], 3_400),
        // Of these, each record has 64 KiB.
        ("labels", "web", many.into(), &[], 1_500),
        ("variables", "web", none.clone(), &variables, 1_500),
        ("a variable", "web", none, &[&long_variable], 3_400),
        ("a tag", "web", tag, &[], 3_400),
    ];
    for shape in ["flat", "nested"] {
        for (what, name, labels, env, lines) in
            &cases[..if shape == "flat" { cases.len() } else { 1 }]
        {
            let root = DockerRoot::new();
            let mut log = root.container('a', "good");
            let options = format!(
                "rescan_interval=20ms queue_limit=1M metadata={shape} labels=* env=* tag_template={{name}}"
            );
            let watched = Watched::over(&root, &mut log, &options);
            let mut bad = root.created_container('b', "bad");
            bad.write_config_with(name, true, labels.clone(), env);
            bad.open_log();
            bad.raw(
                record("stdout", "\n", "2023-11-14T22:14:00.5Z")
                    .repeat(*lines)
                    .as_bytes(),
            );
            let (grown, exit) = watched.finish(1 + lines);
            assert_eq!(
                exit.log.matches("and are cut in its records").count(),
                1,
                "{what}: {}",
                exit.log
            );
            let tags = exit.frames.iter().filter_map(|frame| frame.tag.as_ref());
            assert!(tags.clone().all(|tag| tag.len() <= 1024), "{what}");
            let records = exit.frames.iter().flat_map(|frame| &frame.records);
            let longest = records
                .map(|record| serde_json::json!(record.body).to_string().len())
                .max();
            assert!(longest < Some(66_000), "{what}: {longest:?}");
            assert_bounded(&format!("{what} of 10 MB, {shape}"), grown);
        }
    }
}

/// Docker allows none of these names; a label may be anything. They arrive as they are
/// in records, as far as they are kept, and bring nothing into tags, paths or the host's log.
#[test]
fn names_and_labels_of_any_kind_arrive_and_break_nothing() {
    let name = "extremes::names_and_labels_of_any_kind_arrive_and_break_nothing";
    let long = "long ".repeat(2_000);
    let names = [
        "../../etc/a b/\u{1b}[2J\n\r\t\u{7}",
        "\u{202e}žluť \u{85} {id} %s$(x)`y`",
        &long,
    ];
    with_each_host(name, |program, plugin| {
        let root = DockerRoot::new();
        let mut logs = Vec::new();
        for (digit, name) in ('1'..).zip(names) {
            let mut log = root.container(digit, name);
            log.write_config_with(
                name,
                true,
                serde_json::json!({ name: name, "plain": name }),
                &[],
            );
            log.line("here");
            logs.push(log);
        }
        let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Docker_Socket off\n    Labels *\n    \
             Tag_Template logs.{{name}}\n    Log_Level debug\n",
            root.path().display()
        );
        let mut host = FluentBit::new(program, Some(plugin), &config);
        host.start().expect("Fluent Bit starts");
        let patience = test_kit::collector::PATIENCE;
        host.wait_until(patience, "the records", |host| {
            host.record_count() >= names.len()
        });
        logs.remove(0).remove();
        host.wait_until(patience, "the removal is said", |host| {
            host.stderr().contains("is gone")
        });
        host.signal(Signal::TERM);
        assert!(host.wait_exit(patience).expect("it ends").success());
        for record in host.records() {
            let name = record.text("container_name");
            let whole = names.iter().find(|whole| cut(whole, LONGEST_NAME) == name);
            let whole = *whole.unwrap_or_else(|| panic!("{name:?}"));
            assert_eq!(record.body["labels"]["plain"], cut(whole, LONGEST_VALUE));
            // A key that is too long is left out.
            let expected = (whole == name).then(|| serde_json::Value::from(name));
            assert_eq!(record.body["labels"].get(whole), expected.as_ref());
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            assert!(record.tag.chars().all(is_plain), "{:?}", record.tag);
        }
        let log = host.stderr();
        let of_ours = log
            .lines()
            .filter(|line| line.contains("container_logs"))
            .collect::<Vec<_>>();
        for line in &of_ours {
            let text = line.split_once("container_logs").expect("it was found").1;
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(
                text.len() < 5_000,
                "{} bytes in a line of the log",
                text.len()
            );
        }
        assert!(of_ours.len() > names.len(), "{log}");
    });
}
