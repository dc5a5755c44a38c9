use super::*;
use std::sync::Mutex;

use crate::checkpoint::{ContainerId, Resume};
use crate::drain::{processor_time, DRAIN_BYTES, DRAIN_PARSING, MOST_PARSED};
use crate::encode::{put_record, RecordFields};
use crate::host::embedded::decode_records;
use crate::host::{AppendRefused, NoParser, Parsed};
use crate::parsing::Parsing;
use crate::partial::Line;
use crate::position::Stream;
use crate::queue::{Batch, Progress};

/// Keeps what it is told; answers appends as set.
#[derive(Default)]
struct Recorder {
    appended: Mutex<Vec<usize>>,
    log: Mutex<Vec<(Level, String)>>,
    refusing: std::sync::atomic::AtomicBool,
    /// Texts it was asked to take apart.
    parsed: Mutex<Vec<Vec<u8>>>,
    bytes: Mutex<Vec<u8>>,
    /// What its parsers take of the processor for each text.
    toil: Mutex<Duration>,
}

impl Host for Recorder {
    fn append(&self, _: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(AppendRefused);
        }
        self.appended.lock().unwrap().push(records);
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn parse(&self, parser: &str, text: &[u8]) -> Result<Option<Parsed>, NoParser> {
        self.parsed.lock().unwrap().push(text.to_vec());
        let until = processor_time() + *self.toil.lock().unwrap();
        while processor_time() < until {}
        let fields = b"\x81\xa1a\x01".to_vec();
        (parser == "known").then_some(Some(Parsed { fields, time: None })).ok_or(NoParser)
    }

    fn log(&self, level: Level, message: &str) {
        self.log.lock().unwrap().push((level, message.to_owned()));
    }
}

/// An instance whose reader does nothing, so that the test is the reader.
fn idle_plugin() -> Plugin {
    let config = Config::from_lookup(|_| None).unwrap();
    let exchange = Arc::new(Exchange::new(config.queue_limit, CheckpointStore::in_memory()).unwrap());
    let (drain, series, reader) = (Mutex::default(), Mutex::default(), Mutex::default());
    Plugin { exchange, drain, series, reader, config }
}

fn id() -> ContainerId {
    ContainerId::parse(&"c".repeat(64)).unwrap()
}

fn batch(records: usize, offset: u64) -> Batch {
    let resume = Resume { offset, ..Resume::default() };
    Batch {
        container: id(),
        tag: None,
        records,
        bytes: vec![0; records],
        parsing: None,
        source: None,
        progress: Progress::Advance([Some(resume), None]),
        marks: Vec::new(),
    }
}

fn saved_offset(plugin: &Plugin) -> Option<u64> {
    lock(&plugin.exchange.checkpoint).saved(&id()).map(|saved| saved[0].offset)
}

#[test]
fn the_checkpoint_moves_with_each_accepted_batch_and_not_before() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.queue.push(batch(3, 100));
    assert_eq!(saved_offset(&plugin), None);
    host.refusing.store(true, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), None);
    assert!(plugin.exchange.refused.load(Ordering::SeqCst), "the reader rings again for it");
    host.refusing.store(false, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), Some(100));
    assert_eq!(*host.appended.lock().unwrap(), [3]);
    assert!(plugin.exchange.queue.is_empty());
}

#[test]
fn a_batch_without_records_moves_the_checkpoint_without_an_append() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.queue.push(batch(0, 7));
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), Some(7));
    assert!(host.appended.lock().unwrap().is_empty());
}

#[test]
fn a_panic_under_the_checkpoints_lock_loses_no_position_of_later_batches() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    crate::lock::poison(&plugin.exchange.checkpoint);
    plugin.exchange.queue.push(batch(3, 100));
    plugin.drain(&host);
    assert_eq!(*host.appended.lock().unwrap(), [3]);
    assert_eq!(saved_offset(&plugin), Some(100));
}

/// A batch whose container asks for a parser: one record with this text.
fn to_be_parsed(parser: &str, text: &str) -> Batch {
    let fields = RecordFields::new(&[]);
    let line = Line { text: text.as_bytes(), is_utf8: true, ..Line::default() };
    let mut bytes = Vec::new();
    put_record(&mut bytes, &line, Stream::Stdout, &fields);
    let parsing = Some(Arc::new(Parsing { parser: parser.to_owned(), key: None, keep_log: false }));
    Batch { bytes, parsing, ..batch(1, 100) }
}

#[test]
fn a_batch_is_taken_apart_once_however_often_it_is_refused() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.push(to_be_parsed("known", "some text"));
    host.refusing.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        plugin.drain(&host);
    }
    assert_eq!(saved_offset(&plugin), None);
    host.refusing.store(false, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(*host.parsed.lock().unwrap(), [b"some text"]);
    let records = decode_records(&host.bytes.lock().unwrap()).unwrap();
    assert_eq!(
        serde_json::Value::from(records[0].body.clone()),
        serde_json::json!({"a": 1, "stream": "stdout"})
    );
    assert!(plugin.is_drained(), "the room of what was queued is free, not that of what came of it");
}

#[test]
fn a_parser_that_the_host_has_not_is_said_once_and_lines_stay() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    for number in 0..3 {
        plugin.exchange.push(to_be_parsed("unknown", &format!("text {number}")));
    }
    plugin.drain(&host);
    plugin.drain(&host);
    let texts: Vec<String> = decode_records(&host.bytes.lock().unwrap())
        .unwrap()
        .iter()
        .map(|record| record.text("log").to_owned())
        .collect();
    assert_eq!(texts, ["text 0", "text 1", "text 2"]);
    let log = host.log.lock().unwrap();
    assert_eq!(log.iter().filter(|(_, text)| text.contains("no parser `unknown`")).count(), 1, "{log:?}");
}

/// Forty texts that take 30 ms each, as of an expression that finds no end: the first
/// seven are tried. What follows stays as it is, and other containers' are parsed on.
#[test]
fn a_parser_that_takes_too_long_is_given_up_for_its_container_and_no_other() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    *host.toil.lock().unwrap() = Duration::from_millis(30);
    let slow = |count: usize| {
        let one = to_be_parsed("known", "x  x  x  x");
        Batch { records: count, bytes: one.bytes.repeat(count), ..one }
    };
    plugin.exchange.push(slow(40));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 7);
    plugin.exchange.push(slow(40));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 7, "it is given up for good");
    let other = ContainerId::parse(&"d".repeat(64)).unwrap();
    plugin.exchange.push(Batch { container: other, ..to_be_parsed("known", "other") });
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().last().map(Vec::as_slice), Some(&b"other"[..]));
    assert_eq!(host.appended.lock().unwrap().iter().sum::<usize>(), 81, "nothing is lost");
    plugin.drain(&host);
    let log = host.log.lock().unwrap();
    let said: Vec<_> = log.iter().filter(|(_, text)| text.contains("all of Fluent Bit waits")).collect();
    assert_eq!(said.len(), 1, "{log:?}");
    assert!(said[0].1.contains("`known` took 2") && said[0].0 == Level::Warn, "{said:?}");
    drop(log);
    // A container that is made anew begins anew.
    plugin.exchange.leave(id());
    plugin.drain(&host);
    plugin.exchange.push(slow(1));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 9);
}

#[test]
fn a_text_of_many_pieces_is_given_to_no_parser() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.push(to_be_parsed("known", &"x".repeat(MOST_PARSED)));
    plugin.exchange.push(to_be_parsed("known", &"x".repeat(MOST_PARSED + 1)));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 1);
    assert_eq!(*host.appended.lock().unwrap(), [1, 1]);
}

/// As where each batch is parsed for just less than is allowed.
#[test]
fn the_host_gets_its_thread_back_in_time() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    *host.toil.lock().unwrap() = DRAIN_PARSING / 2 + Duration::from_millis(1);
    (0..10).for_each(|_| plugin.exchange.push(to_be_parsed("known", "x")));
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 2);
}

/// A reader that is in something for good: the message says what it is in, and blames a
/// file system only where one is asked.
#[test]
fn a_stop_tells_what_the_reader_was_at() {
    let id = id();
    type Set = fn(&Exchange, &ContainerId);
    let cases: [(Set, &str); 3] = [
        (
            |exchange, id| exchange.activity.is(Doing::Reading, id),
            "a file system does not answer: the reader is left behind, reading the log of container web (cccccccccccc); what was not accepted is read at the next start",
        ),
        (
            |exchange, id| exchange.activity.is(Doing::Decoding, id),
            "the reader is left behind, making records of the lines of container web (cccccccccccc); what",
        ),
        (
            |exchange, _| exchange.activity.lists(std::path::Path::new("/somewhere")),
            "a file system does not answer: the reader is left behind, listing /somewhere; what",
        ),
    ];
    for (set, want) in cases {
        let plugin = idle_plugin();
        let host = Recorder::default();
        plugin.exchange.accounts.open(id).set_name("web");
        set(&plugin.exchange, &id);
        let (gone, ended) = channel();
        *plugin.reader.lock().unwrap() = Some(ReaderThread { thread: std::thread::spawn(|| ()), ended });
        assert_eq!(plugin.stop(&host), Stopped::WithoutReader);
        drop(gone);
        let log = host.log.lock().unwrap();
        assert!(log.iter().any(|(level, text)| *level == Level::Error && text.starts_with(want)), "{log:?}");
    }
}

/// One that comes back late is no error, but what the stop waited for is said.
#[test]
fn a_stop_that_waited_tells_what_for() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.activity.lists(std::path::Path::new("/somewhere"));
    let (gone, ended) = channel::<()>();
    let thread = std::thread::spawn(move || {
        // As long as the stop says nothing, and a little.
        std::thread::sleep(SILENT_PATIENCE + Duration::from_millis(300));
        drop(gone);
    });
    *plugin.reader.lock().unwrap() = Some(ReaderThread { thread, ended });
    assert_eq!(plugin.stop(&host), Stopped::Wholly);
    let log = host.log.lock().unwrap();
    let is_said = |(level, text): &(Level, String)| {
        *level == Level::Warn && text.ends_with("s for the reader, which was listing /somewhere")
    };
    assert!(log.iter().any(is_said), "{log:?}");
}

#[test]
fn nothing_is_handed_over_while_paused() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.pause();
    plugin.exchange.queue.push(batch(3, 100));
    plugin.drain(&host);
    assert!(host.appended.lock().unwrap().is_empty());
    plugin.resume();
    plugin.drain(&host);
    assert_eq!(*host.appended.lock().unwrap(), [3]);
}

#[test]
fn a_panic_of_the_reader_is_told_and_ends_the_instance_only() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    run_guarded(&plugin.exchange, || panic!("on purpose"));
    plugin.drain(&host);
    let log = host.log.lock().unwrap();
    assert!(log.iter().any(|(level, text)| *level == Level::Error && text.contains("on purpose")), "{log:?}");
    assert!(plugin.exchange.reader_ended.load(Ordering::SeqCst));
}

#[test]
fn the_host_gets_its_thread_back_after_a_bounded_drain() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    for number in 0..4 {
        let mut large = batch(1, number);
        large.bytes = vec![0; DRAIN_BYTES / 2];
        plugin.exchange.queue.push(large);
    }
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 2);
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 4);
}
