//! Containers whose images are made to harm others by labels, and logs that take long to
//! read. What they get at is their own log alone.

use fluent_bit_container_logs::telemetry::event::Level;
use serde_json::{json, Value};

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::tail_containers::{check, run};

/// An expression of a label that fits its limits and takes as long as any.
const WORST_OF_LABEL: &str = "[ab]{0,40}a[ab]{40}c";

/// All that a label can ask for, at its most.
fn labels_of_a_hostile_image() -> Value {
    json!({
        "fluentbit.io/exclude": "true",
        "fluentbit.io/merge_log": "true",
        "fluentbit.io/multiline": WORST_OF_LABEL,
        "fluentbit.io/parser": "nginx",
        "fluentbit.io/rate_limit": "1",
        "fluentbit.io/tag": "billing.of.others",
    })
}

#[test]
fn an_images_labels_hide_nothing_reroute_nothing_and_slow_nothing_by_default() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "mallory");
    log.write_config_with("mallory", true, labels_of_a_hostile_image(), &[]);
    let lines = ["{\"tenant\":\"other\"}", "two", "three"];
    lines.iter().for_each(|line| log.line(line));
    let options = [
        ("Tag_Template", "docker.{name}"),
        ("Rescan_Interval", "20ms"),
    ];
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(3), lines);
    for (tag, record) in collector.tagged() {
        assert_eq!(tag.as_deref(), Some("docker.mallory"));
        assert!(!record.body.contains_key("tenant"), "{record:?}");
    }
    let said = "container mallory (aaaaaaaaaaaa): labels ignored, not allowed by Label_Hints: fluentbit.io/exclude, \
                fluentbit.io/merge_log, fluentbit.io/multiline with a regular expression (multiline_regex), \
                fluentbit.io/parser, fluentbit.io/rate_limit, fluentbit.io/tag";
    collector.wait("what is said", |collector| collector.has_logged(said));
    // Its metadata is read anew, and nothing more is said.
    log.write_config_with("eve", true, labels_of_a_hostile_image(), &[]);
    log.line("four");
    collector.wait("the new name", |collector| {
        collector
            .tagged()
            .last()
            .is_some_and(|(tag, _)| tag.as_deref() == Some("docker.eve"))
            || {
                log.line("more");
                false
            }
    });
    let (_, log) = collector.stop();
    let said: Vec<_> = log
        .iter()
        .filter(|(_, text)| text.contains("labels ignored"))
        .collect();
    assert_eq!(said.len(), 1, "{log:?}");
    assert_eq!(said[0].0, Level::Info);
}

/// What is no configuration, or one that a parser could take long for.
fn damaged_configurations() -> Vec<(&'static str, Vec<u8>)> {
    let quoted = format!(
        "{{\"Name\":\"/x\",\"Config\":{{\"Labels\":\"{}\"}}}}",
        "\u{1b}[2J".repeat(200_000)
    );
    let quoted = quoted.replace('\u{1b}', "\\u001b");
    let deep = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!("{{\"Name\":[{value}]}}").into_bytes()
    };
    vec![
        ("empty", Vec::new()),
        ("of zeros", vec![0; 5_000]),
        ("deep", deep(1_000_000)),
        ("deep and open", "[".repeat(3 << 20).into_bytes()),
        ("not UTF-8", b"{\"Name\":\"/w\xff\xfe\"}".to_vec()),
        ("half a character", b"{\"Name\":\"/w\\ud800\"}".to_vec()),
        ("without a name", b"{\"Name\":null}".to_vec()),
        ("with labels of another kind", quoted.into_bytes()),
    ]
}

/// Each is named in a short message, and its container is read under its short id.
#[test]
fn a_configuration_that_is_none_is_said_in_few_words_and_hides_no_line() {
    let root = DockerRoot::new();
    root.container('0', "good").line("of good");
    let damaged = damaged_configurations();
    let mut wanted = vec!["of good".to_owned()];
    for (digit, (what, bytes)) in ('1'..).zip(&damaged) {
        let mut log = root.container(digit, "bad");
        log.line(&format!("beside one {what}"));
        wanted.push(format!("beside one {what}"));
        std::fs::write(log.dir.join("config.v2.json"), bytes).unwrap();
    }
    let mut large = root.container('a', "bad");
    large.line("beside a large one");
    wanted.push("beside a large one".to_owned());
    let file = std::fs::File::create(large.dir.join("config.v2.json")).unwrap();
    file.set_len(100 << 20).unwrap();
    let mut host_config = root.container('b', "driverless");
    host_config.line("beside a damaged hostconfig.json");
    wanted.push("beside a damaged hostconfig.json".to_owned());
    std::fs::write(
        host_config.dir.join("hostconfig.json"),
        b"{\"LogConfig\":7}\xff",
    )
    .unwrap();
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "50ms")]);
    let mut texts = collector.wait_texts(wanted.len());
    texts.sort();
    wanted.sort();
    assert_eq!(texts, wanted);
    let warned = |collector: &Collector, part: &str| {
        let log = collector.log().into_iter();
        log.filter(|(_, text)| text.contains(part)).count()
    };
    collector.wait("the messages", |collector| {
        warned(collector, "cannot read its metadata") == damaged.len() + 1
            && warned(collector, "cannot read its log driver") == 1
    });
    let (_, log) = collector.stop();
    for (_, text) in &log {
        assert!(text.len() < 1_000, "{text}");
    }
    let (page, is_all_read) = check(root.path(), &[]);
    assert!(is_all_read, "{page}");
    assert_eq!(
        page.matches("its records lack name and image").count(),
        damaged.len() + 1
    );
    assert!(page.contains("its log driver is unknown"), "{page}");
    assert_harmless(&page);
}

/// Every line is one, and nothing steers the terminal.
fn assert_harmless(text: &str) {
    let is_harmful = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(is_harmful), "{text:?}");
    assert!(!text.contains('\u{202e}'), "{text:?}");
    let longest = text.lines().map(str::len).max();
    assert!(longest < Some(1_000), "{text}");
}

/// Names that break lines, steer terminals and turn text around.
#[test]
fn names_that_deceive_are_harmless_in_messages_and_on_the_page() {
    let root = DockerRoot::new();
    let names = [
        "one\nwarning: all is well",
        "\u{1b}[2J\u{1b}]0;title\u{7}red",
        "nul\0nul",
        "\u{202e}drawkcab",
        "\rover",
        "\u{9b}31m",
    ];
    for (digit, name) in ('1'..).zip(names) {
        let mut log = root.container(digit, name);
        log.line("hello");
        log.write_config_with(name, true, json!({"fluentbit.io/merge_log": name}), &[]);
    }
    let mut broken = root.container('a', "broken");
    broken.line("hello");
    let labels = format!(
        "{{\"Name\":\"/x\",\"Config\":{{\"Labels\":{}}}}}",
        json!(names[1])
    );
    std::fs::write(broken.dir.join("config.v2.json"), labels).unwrap();
    let (page, is_all_read) = check(root.path(), &["--exclude", "name=\u{1b}x*"]);
    assert!(is_all_read && page.contains("7 containers"), "{page}");
    assert_harmless(&page);
    assert_eq!(page.matches("^[[2J").count(), 2, "{page}");
    let output = run(root.path(), &["--no-follow", "-o", "Label_Hints=all"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("merge_log"), "{said}");
    assert_harmless(&said);
    let read = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        read.lines().filter(|line| line.ends_with("hello")).count(),
        7
    );
    assert_harmless(&read);
}

/// Where they are obeyed, values that are too long are not, and the message is short.
#[test]
fn a_label_of_200_kb_is_said_in_few_words_and_does_nothing() {
    let root = DockerRoot::new();
    let long = "^x".repeat(100_000);
    let names = [
        "exclude",
        "merge_log",
        "multiline",
        "parser",
        "rate_limit",
        "tag",
    ];
    let labels: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| (format!("fluentbit.io/{name}"), json!(long)))
        .collect();
    let mut log = root.container('a', "mallory");
    log.write_config_with("mallory", true, Value::Object(labels), &[]);
    log.line("here");
    let options = [("Tag_Template", "docker.{name}"), ("Label_Hints", "all")];
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), ["here"]);
    assert_eq!(collector.tagged()[0].0.as_deref(), Some("docker.mallory"));
    for name in &names[1..] {
        let said =
            format!("label fluentbit.io/{name}: its value is longer than 256 bytes; label ignored, using the option");
        collector.wait(name, |collector| collector.has_logged(&said));
    }
    assert!(
        collector.log().iter().all(|(_, text)| text.len() < 1000),
        "{:?}",
        collector.log()
    );
}

/// It was read up to there before it was compressed. What the others have written comes first,
/// whichever of them the folder lists first.
#[test]
fn a_log_that_goes_on_far_in_an_archive_holds_nobody_up() {
    const LINES: usize = 2_500;
    let root = DockerRoot::new();
    let db = root.path().join("positions");
    let options = [
        ("DB", db.to_str().expect("a path")),
        ("Rescan_Interval", "20ms"),
    ];
    let text = "x".repeat(16_000);
    let mut before = root.container('b', "alice");
    let mut long = root.container('a', "mallory");
    let mut after = root.container('c', "carol");
    (0..LINES).for_each(|_| long.line(&text));
    let collector = Collector::start(root.path(), &options);
    collector.wait("what is there", |collector| collector.count() == LINES);
    collector.stop();
    long.line("the rest");
    long.rotate(3, true);
    before.line("hello");
    after.line("hello");
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(3), ["hello", "hello", "the rest"]);
}
