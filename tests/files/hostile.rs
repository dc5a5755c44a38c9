//! Containers whose images are made to harm others by labels, and logs that take long to
//! read. What they get at is their own log alone.

use fluent_bit_container_logs::telemetry::event::Level;
use serde_json::{json, Value};

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;

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
