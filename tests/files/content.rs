//! What becomes of lines, and how fast they are read, by options and by labels:
//! through the real reader over a Docker root that the test writes.

use serde_json::{json, Value};

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::writer::log_files;

#[test]
fn json_lines_become_fields_where_that_is_asked_for() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let mut api = root.container('b', "api");
    api.write_config_with("api", true, json!({"fluentbit.io/merge_log": "false"}), &[]);
    let lines = [
        r#"{"level":"info","n":1,"at":{"x":[true]}}"#.to_owned(),
        "plain {text}".to_owned(),
        r#"{"level":"info","stream":"mine","#.to_owned(),
        r#"{"level":"warn","stream":"mine"}"#.to_owned(),
        format!(r#"{{"long":"{}"}}"#, "x".repeat(40_000)),
        "{}".to_owned(),
    ];
    for line in &lines {
        web.long_line("stdout", line);
        api.long_line("stdout", line);
    }
    let options = [
        ("Merge_Log", "on"),
        ("Metadata", "off"),
        ("Tag_Template", "{name}"),
        ("Label_Hints", "merge_log"),
    ];
    let collector = Collector::start(root.path(), &options);
    collector.wait("every line", |collector| {
        collector.count() == 2 * lines.len()
    });
    let of = |name: &str| -> Vec<Value> {
        let tagged = collector
            .tagged()
            .into_iter()
            .filter(|(tag, _)| tag.as_deref() == Some(name));
        tagged
            .map(|(_, record)| Value::Object(record.body))
            .collect()
    };
    assert_eq!(
        of("web"),
        [
            json!({"stream": "stdout", "level": "info", "n": 1, "at": {"x": [true]}}),
            json!({"stream": "stdout", "log": lines[1]}),
            json!({"stream": "stdout", "log": lines[2]}),
            json!({"stream": "stdout", "log": lines[3], "level": "warn"}),
            json!({"stream": "stdout", "long": "x".repeat(40_000)}),
            json!({"stream": "stdout", "log": "{}"}),
        ]
    );
    let texts: Vec<Value> = lines
        .iter()
        .map(|line| json!({"stream": "stdout", "log": line}))
        .collect();
    assert_eq!(of("api"), texts);
}

#[test]
fn merged_fields_stand_under_a_key_and_beside_the_line() {
    let root = DockerRoot::new();
    root.container('a', "web")
        .line(r#"{"image":"mine","a":1,"a":2}"#);
    let options = [
        ("Merge_Log", "on"),
        ("Merge_Log_Key", "json"),
        ("Keep_Log", "on"),
    ];
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(1);
    let record = collector.records().remove(0);
    assert_eq!(record.text("log"), r#"{"image":"mine","a":1,"a":2}"#);
    assert_eq!(record.body["json"], json!({"image": "mine", "a": 1}));
    assert_eq!(record.text("image"), "shop/web:1.2");
}

#[test]
fn a_label_chooses_the_tag_and_a_wrong_label_is_said() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let mut api = root.container('b', "api");
    web.write_config_with("web", true, json!({"fluentbit.io/tag": "parse.nginx"}), &[]);
    api.write_config_with("api", true, json!({"fluentbit.io/rate_limit": "fast"}), &[]);
    web.line("one");
    api.line("two");
    let collector = Collector::start(
        root.path(),
        &[
            ("Tag_Template", "docker.{name}.{stream}"),
            ("Label_Hints", "tag,rate_limit"),
        ],
    );
    collector.wait_texts(2);
    let mut tags: Vec<(String, String)> = collector
        .tagged()
        .into_iter()
        .map(|(tag, record)| (tag.expect("a tag"), record.text("log").to_owned()))
        .collect();
    tags.sort();
    let want = [("docker.api.stdout", "two"), ("parse.nginx", "one")];
    assert_eq!(
        tags,
        want.map(|(tag, text)| (tag.to_owned(), text.to_owned()))
    );
    collector.wait("the complaint", |collector| {
        collector.has_logged(
            "container api (bbbbbbbbbbbb): label fluentbit.io/rate_limit: `fast` is not a size",
        )
    });
}

/// The labels of Compose and Swarm, any other label and a variable make the tag, in the
/// template as in the label.
#[test]
fn a_tag_has_labels_of_its_container_in_it() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let mut api = root.container('b', "api");
    let mut bad = root.container('c', "bad");
    let labels = json!({
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "team": "front/one",
    });
    web.write_config_with("web", true, labels, &["STAGE=prod"]);
    let labels = json!({
        "fluentbit.io/tag": "x*{compose_service}.{label:team}.{swarm_service}.{stream}",
        "com.docker.swarm.service.name": "shop_api",
        "team": "back",
    });
    api.write_config_with("api", true, labels, &[]);
    bad.write_config_with("bad", true, json!({"fluentbit.io/tag": "{tag}"}), &[]);
    let options = [
        (
            "Tag_Template",
            "{compose_project}.{compose_service}.{label:team}.{env:STAGE}",
        ),
        ("Label_Hints", "tag"),
    ];
    let collector = Collector::start(root.path(), &options);
    web.line("one");
    api.line("two");
    bad.line("three");
    collector.wait_texts(3);
    let mut tags: Vec<(String, String)> = collector
        .tagged()
        .into_iter()
        .map(|(tag, record)| (record.text("log").to_owned(), tag.expect("a tag")))
        .collect();
    tags.sort();
    let want = [
        ("one", "shop.web.front_one.prod"),
        ("three", "_._._._"),
        ("two", "x__.back.shop_api.stdout"),
    ];
    assert_eq!(
        tags,
        want.map(|(text, tag)| (text.to_owned(), tag.to_owned()))
    );
    let message =
        "container bad (cccccccccccc): label fluentbit.io/tag: unknown placeholder `{tag}`";
    collector.wait("the complaint", |collector| collector.has_logged(message));
    collector.stop();
}

/// A limit that lets a slice through in an hour: what is behind it stays in the
/// files, over rotations, until the limit is lifted.
#[test]
fn a_rate_limit_delays_and_drops_nothing() {
    let root = DockerRoot::new();
    let mut slow = root.container('a', "slow");
    let mut fast = root.container('b', "fast");
    fast.write_config_with("fast", true, json!({"fluentbit.io/rate_limit": "0"}), &[]);
    let total = 20_000;
    for number in 0..total / 2 {
        slow.line(&format!("line {number}"));
        fast.line(&format!("line {number}"));
    }
    let options = [("Rate_Limit", "10"), ("Label_Hints", "rate_limit")];
    let collector = Collector::start(root.path(), &options);
    let of = |collector: &Collector, name: &str| -> Vec<String> {
        let records = collector.records();
        let records = records
            .iter()
            .filter(|record| record.text("container_name") == name);
        records
            .map(|record| record.text("log").to_owned())
            .collect()
    };
    collector.wait("the first slice", |collector| {
        !of(collector, "slow").is_empty()
    });
    for number in total / 2..total {
        slow.line(&format!("line {number}"));
        fast.line(&format!("line {number}"));
        if number % 4000 == 3999 {
            slow.rotate(9, false);
        }
    }
    collector.wait("the log without a limit", |collector| {
        of(collector, "fast").len() == total
    });
    // All files count, though nothing is read meanwhile.
    let on_disk: u64 = log_files(&slow.log)
        .iter()
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    collector.wait("the lag", |collector| {
        let figures = collector.figures_of("slow");
        figures.lag_bytes() + figures.delivered.bytes == on_disk
    });
    let delayed = of(&collector, "slow").len();
    assert!(delayed < total / 2, "{delayed} lines in spite of the limit");
    slow.write_config_with("slow", true, json!({"fluentbit.io/rate_limit": "0"}), &[]);
    collector.wait("all the rest", |collector| {
        of(collector, "slow").len() >= total
    });
    let texts = of(&collector, "slow");
    let wrong = texts
        .iter()
        .enumerate()
        .find(|(number, text)| **text != format!("line {number}"));
    assert!(
        wrong.is_none() && texts.len() == total,
        "{} lines, {wrong:?}",
        texts.len()
    );
}

/// The reader sleeps for its rate, and yet sees what Docker deletes meanwhile.
#[test]
fn what_a_rate_limit_leaves_is_held_up_to_the_limit_and_counted() {
    let root = DockerRoot::new();
    let mut slow = root.container('a', "slow");
    let options = [("Rate_Limit", "10"), ("Held_Files_Limit", "300k")];
    let collector = Collector::start(root.path(), &options);
    let (mut number, mut written) = (0, 0);
    let mut write = |log: &mut test_kit::docker_root::LogWriter| {
        for _ in 0..2000 {
            log.line(&format!("line {number}"));
            number += 1;
        }
    };
    // Not the lag alone: a file that is given up meanwhile takes as much from it.
    let known = |collector: &Collector| {
        let figures = collector.figures();
        figures.delivered.bytes + figures.lag_bytes() + figures.abandoned.bytes
    };
    write(&mut slow);
    collector.wait("the first slice", |collector| collector.count() > 0);
    for _ in 0..5 {
        let met = known(&collector);
        write(&mut slow);
        // The file of this round is opened before it goes.
        collector.wait("its lines in the account", |collector| {
            known(collector) > met
        });
        written += slow.log.metadata().expect("the log").len();
        slow.rotate(2, false);
        collector.wait("what is lost", |collector| {
            known(collector) == written && collector.held().bytes <= 300_000
        });
    }
    assert!(
        collector.figures().abandoned.bytes > 100_000,
        "{:?}",
        collector.figures()
    );
    assert!(
        collector.has_logged("Held_Files_Limit (300000)"),
        "{:?}",
        collector.log()
    );
}
