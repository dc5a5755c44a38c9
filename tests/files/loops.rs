//! A Fluent Bit that prints what it reads into the log of a container that it reads.

use std::time::{Duration, Instant};

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;

/// How often Fluent Bit prints.
const FLUSH: Duration = Duration::from_millis(200);

/// For so long nothing is read of a log that grows, if reading is held back.
const HELD_BACK: Duration = Duration::from_millis(500);

fn count_of(collector: &Collector, id: &str) -> usize {
    collector.texts_of(id, "stdout").len()
}

/// It takes a quarter of a minute to see that a log grows only because it is read.
#[test]
fn a_container_with_fluent_bits_own_output_is_suspended_and_one_that_writes_its_id_is_not() {
    let root = DockerRoot::new();
    let mut app = root.container('a', "app");
    let mut own = root.container('b', "collector");
    let mut other = root.container('c', "inspects-itself");
    let collector = Collector::start(root.path(), &[]);
    for number in 0..300 {
        app.line(&format!("line {number}"));
    }
    let (mut printed, mut written, mut flushed) = (0, 0, Instant::now());
    collector.wait("the suspension", |collector| {
        if flushed.elapsed() >= FLUSH {
            flushed = Instant::now();
            // Each record of that other container would be printed, too, which changes nothing.
            let records = collector.records();
            let new = records[printed..].iter();
            for record in new.filter(|record| record.text("container_name") != "inspects-itself") {
                let (id, text) = (record.text("container_id"), record.text("log"));
                let begin: String = text.chars().take(100).collect();
                own.line(&format!(
                    "[0] docker: {{\"container_id\"=>\"{id}\", \"log\"=>{begin:?}}}"
                ));
            }
            printed = records.len();
            for _ in 0..100 {
                let id = other.id.clone();
                other.line(&format!(
                    "{{\"id\": \"{id}\", \"number\": {written}, \"rest\": {id:?}}}"
                ));
                written += 1;
            }
        }
        collector.has_logged("its log contains its own records as Fluent Bit prints them")
    });
    let looped = count_of(&collector, &own.id);
    app.line("one more");
    own.line("one more");
    collector.wait("the others", |collector| {
        count_of(collector, &app.id) == 301 && count_of(collector, &other.id) == written
    });
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 1.0
    });
    assert_eq!(
        count_of(&collector, &own.id),
        looped,
        "nothing of it is read"
    );
    let log = collector.log();
    let said = log
        .iter()
        .filter(|(_, text)| text.contains("its own records"));
    let said: Vec<&String> = said.map(|(_, text)| text).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("container collector (bbbbbbbbbbbb): "),
        "{said:?}"
    );
}

/// It falls silent in the middle of its search.
#[test]
fn a_burst_with_the_containers_own_id_is_read_and_not_taken_for_a_loop() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "inspects-itself");
    let collector = Collector::start(root.path(), &[]);
    let id = log.id.clone();
    let mut written = 0;
    // Until it is suspected: reading is held back while its log grows.
    let (mut read, mut read_at, begun) = (0, Instant::now(), Instant::now());
    while written == 0 || read_at.elapsed() < HELD_BACK {
        assert!(begun.elapsed() < Duration::from_secs(60), "not suspected");
        for _ in 0..500 {
            log.line(&format!("{{\"id\": \"{id}\", \"number\": {written}}}"));
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
        let now = collector.figures().read.bytes;
        if now != read {
            (read, read_at) = (now, Instant::now());
        }
    }
    collector.wait("all of it", |collector| count_of(collector, &id) == written);
    assert!(!collector.has_logged("its own records"));
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 0.0
    });
}
