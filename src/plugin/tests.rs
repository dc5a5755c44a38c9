use super::*;
use std::sync::Mutex;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::delivery::drain::parsers::{DRAIN_PARSING, MOST_PARSED};
use crate::delivery::drain::DRAIN_BYTES;
use crate::delivery::host::embedded::decode_records;
use crate::delivery::host::{AppendRefused, NoParser, Parsed};
use crate::delivery::parser::Parsing;
use crate::delivery::queue::{Batch, Progress};
use crate::format::position::Stream;
use crate::pipeline::encode::{put_record, RecordFields};
use crate::pipeline::partial::Line;
use crate::runtime::id::ContainerId;
use crate::threads::processor_time;

/// A host that records its calls and answers appends as configured.
#[derive(Default)]
struct Recorder {
    appended: Mutex<Vec<usize>>,
    log: Mutex<Vec<(Level, String)>>,
    refusing: std::sync::atomic::AtomicBool,
    /// Texts that it was asked to parse.
    parsed: Mutex<Vec<Vec<u8>>>,
    bytes: Mutex<Vec<u8>>,
    /// CPU time that its parsers use per text.
    toil: Mutex<Duration>,
    held: Option<usize>,
    keeps_in_files: bool,
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

    fn holds(&self) -> Option<usize> {
        self.held
    }

    fn keeps_in_files(&self) -> bool {
        self.keeps_in_files
    }

    fn parse(&self, parser: &str, text: &[u8]) -> Result<Option<Parsed>, NoParser> {
        self.parsed.lock().unwrap().push(text.to_vec());
        let until = processor_time() + *self.toil.lock().unwrap();
        while processor_time() < until {}
        let fields = b"\x81\xa1a\x01".to_vec();
        (parser == "known")
            .then_some(Some(Parsed { fields, time: None }))
            .ok_or(NoParser)
    }

    fn log(&self, level: Level, message: &str) {
        self.log.lock().unwrap().push((level, message.to_owned()));
    }
}

/// An instance without a reader, so that the test can play the reader.
fn idle_plugin() -> Plugin {
    let config = Config::from_lookup(|_| None).unwrap();
    let link = Arc::new(Link::new(config.queue_limit, CheckpointStore::in_memory()).unwrap());
    let wake = HostWake::new(link.host_waker.as_fd()).unwrap();
    let (drain, series, reader) = (Mutex::default(), Mutex::default(), Mutex::default());
    let stuck_reader = Mutex::default();
    Plugin {
        link,
        wake,
        drain,
        series,
        stuck_reader,
        reader,
        config,
    }
}

fn id() -> ContainerId {
    ContainerId::parse(&"c".repeat(64)).unwrap()
}

fn batch(records: usize, offset: u64) -> Batch {
    let checkpoint = StreamCheckpoint {
        offset,
        ..StreamCheckpoint::default()
    };
    Batch {
        container: id(),
        tag: None,
        records,
        bytes: vec![0; records],
        parsing: None,
        source: None,
        progress: Progress::Advance([Some(checkpoint), None]),
        marks: Vec::new(),
    }
}

fn saved_offset(plugin: &Plugin) -> Option<u64> {
    plugin
        .link
        .checkpoint
        .saved(&id())
        .map(|saved| saved[0].offset)
}

#[test]
fn the_checkpoint_moves_with_each_accepted_batch_and_not_before() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.link.queue.push(batch(3, 100));
    assert_eq!(saved_offset(&plugin), None);
    host.refusing.store(true, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), None);
    host.refusing.store(false, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), Some(100));
    assert_eq!(*host.appended.lock().unwrap(), [3]);
    assert!(plugin.link.queue.is_empty());
}

#[test]
fn a_batch_without_records_moves_the_checkpoint_without_an_append() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.link.queue.push(batch(0, 7));
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), Some(7));
    assert!(host.appended.lock().unwrap().is_empty());
}

#[test]
fn a_panic_under_the_checkpoints_lock_loses_no_position_of_later_batches() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.link.checkpoint.poison();
    plugin.link.queue.push(batch(3, 100));
    plugin.drain(&host);
    assert_eq!(*host.appended.lock().unwrap(), [3]);
    assert_eq!(saved_offset(&plugin), Some(100));
}

#[test]
fn a_db_that_cannot_be_written_shows_in_the_metrics_until_it_can() {
    let mut plugin = idle_plugin();
    plugin.config.db = Some("/somewhere/positions.db".into());
    let shown = || {
        let readings = metrics::read_instance(&plugin.link.metric_sources());
        let reading = readings
            .into_iter()
            .find(|reading| reading.family.name == "checkpoint_writable");
        reading
            .unwrap()
            .samples
            .into_iter()
            .map(|sample| sample.value)
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(), [], "nothing was written yet, and none was opened");
    let host = Recorder::default();
    let around = Around {
        link: &plugin.link,
        refused_record_timeout: plugin.config.refused_record_timeout,
        buffered_limit: usize::MAX,
        db: plugin.config.db.as_deref(),
        host: &host,
    };
    let mut drain = lock(&plugin.drain);
    let (wrote, nothing, failed) = (Some(true), Some(false), None);
    let cases = [
        (wrote, 1.0),
        (failed, 0.0),
        (nothing, 0.0),
        (failed, 0.0),
        (wrote, 1.0),
        (nothing, 1.0),
    ];
    for (written, value) in cases {
        drain.report_checkpoint(
            written.ok_or(std::io::ErrorKind::StorageFull.into()),
            around,
        );
        assert_eq!(shown(), [metrics::Value::Number(value)]);
    }
    let (events, _) = plugin.link.events.take();
    let names = events
        .iter()
        .map(|event| matches!(event, Event::CheckpointUnwritable { .. }));
    assert_eq!(names.collect::<Vec<_>>(), [true, false], "once each");
}

/// The reader is blocked, as by an unresponsive file system: the threads that it started still
/// end with the instance.
#[test]
fn a_reader_that_is_held_up_leaves_no_other_thread_behind() {
    let mut plugin = idle_plugin();
    let host = Recorder::default();
    let (answer, answered) = std::sync::mpsc::channel::<()>();
    let has_ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let has_ended_of_thread = Arc::clone(&has_ended);
    struct Helper(OwnedThread, Mutex<Option<std::sync::mpsc::Sender<()>>>);
    impl crate::threads::EndThread for Helper {
        fn end(&self, patience: Duration) -> bool {
            drop(lock(&self.1).take());
            self.0.ends_within(patience)
        }
    }
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let started = plugin.link.threads.start(|| {
        let thread = OwnedThread::spawn("helper", move || {
            let _ = stopped.recv();
            has_ended_of_thread.store(true, Ordering::SeqCst);
        })?;
        Ok(Helper(thread, Mutex::new(Some(stop))))
    });
    let kept_by_the_reader = started.unwrap();
    let reader = OwnedThread::spawn("reader", move || {
        let _kept = kept_by_the_reader;
        let _ = answered.recv();
    });
    plugin.reader = Mutex::new(Some(reader.unwrap()));
    assert_eq!(plugin.stop(&host), Stopped::WithoutReader);
    assert!(has_ended.load(Ordering::SeqCst));
    drop(answer);
}

#[test]
fn a_reader_that_does_not_turn_is_reported_once_and_its_age_grows_without_it() {
    struct Shown(Recorder, Mutex<Vec<f64>>);
    impl Host for Shown {
        fn append(&self, _: Option<&str>, _: usize, _: &[u8]) -> Result<(), AppendRefused> {
            Ok(())
        }
        fn log(&self, level: Level, message: &str) {
            self.0.log(level, message);
        }
        fn publish(&self, readings: &[metrics::Reading]) {
            let age = readings
                .iter()
                .find(|reading| reading.family.name == "reader_heartbeat_age_seconds");
            let Some(metrics::Value::Number(age)) =
                age.map(|reading| reading.samples[0].value.clone())
            else {
                panic!("no heartbeat");
            };
            lock(&self.1).push(age);
        }
    }
    let mut plugin = idle_plugin();
    let host = Shown(Recorder::default(), Mutex::default());
    for seconds in [0, 31, 62] {
        Arc::get_mut(&mut plugin.link).unwrap().health = metrics::Health::as_of(seconds);
        plugin.wake.expire();
        plugin.drain(&host);
    }
    // Woken up before the interval ends: nothing is published.
    plugin.link.host_waker.wake();
    plugin.drain(&host);
    let ages: Vec<u64> = lock(&host.1).iter().map(|age| *age as u64).collect();
    assert_eq!(ages, [0, 31, 62]);
    plugin.link.health.turn();
    plugin.wake.expire();
    plugin.drain(&host);
    let log = lock(&host.0.log);
    let said = |text: &str| {
        log.iter()
            .filter(|(_, line)| line.contains(text))
            .map(|(level, _)| *level)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        said("has been blocked for 31 s while waiting;"),
        [Level::Error]
    );
    assert_eq!(said("has been blocked"), [Level::Error]);
    assert_eq!(said("is running again"), [Level::Info]);
}

/// The thread for the API cannot be started when the log becomes unreadable: the half line
/// that was already read is still there when the log is readable again.
#[test]
fn a_change_of_source_that_fails_loses_no_half_of_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("containers").join(id().to_string());
    std::fs::create_dir_all(&container).unwrap();
    std::fs::write(
        container.join("config.v2.json"),
        "{\"Name\":\"/web\",\"State\":{\"Running\":true}}",
    )
    .unwrap();
    let log = container.join(format!("{}-json.log", id()));
    let entry = |text: &str| {
        format!(
            "{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:14:00.5Z\"}}\n"
        )
    };
    // As long as a piece of a line split by Docker.
    let piece = "x".repeat(16 * 1024);
    std::fs::write(&log, entry(&piece)).unwrap();
    let option = |name: &str| match name {
        "Docker_Root" => Some(dir.path().display().to_string()),
        "Docker_Socket" => Some(dir.path().join("docker.sock").display().to_string()),
        "Runtime" => Some("docker".to_owned()),
        _ => None,
    };
    let config = Config::from_lookup(option).unwrap();
    let rescan = config.rescan_interval;
    let (plugin, mut reader) = Plugin::prepare(config).unwrap();
    let host = Recorder::default();
    plugin.link.threads.close(Duration::ZERO);
    reader.begin();
    let mut now = Instant::now();
    let mut turns = |count: usize| {
        for _ in 0..count {
            now += rescan;
            reader.turn(now);
            plugin.drain(&host);
        }
    };
    turns(3);
    let aside = container.join("aside");
    std::fs::rename(&log, &aside).unwrap();
    std::fs::create_dir(&log).unwrap();
    turns(3);
    assert!(lock(&host.log)
        .iter()
        .any(|(level, text)| *level == Level::Error && text.contains("-json.log")));
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    let mut writer = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    std::io::Write::write_all(&mut writer, entry(", second half\\n").as_bytes()).unwrap();
    turns(3);
    let records = decode_records(&lock(&host.bytes)).unwrap();
    let texts: Vec<&str> = records.iter().map(|record| record.text("log")).collect();
    assert_eq!(texts, [format!("{piece}, second half")]);
}

/// A batch of one record with this text, whose container asks for a parser.
fn to_be_parsed(parser: &str, text: &str) -> Batch {
    let fields = RecordFields::new(&[]);
    let line = Line {
        text: text.as_bytes(),
        is_utf8: true,
        ..Line::default()
    };
    let mut bytes = Vec::new();
    put_record(&mut bytes, &line, Stream::Stdout, &fields);
    let parsing = Some(Arc::new(Parsing {
        parser: parser.to_owned(),
        key: None,
        keep_log: false,
    }));
    Batch {
        bytes,
        parsing,
        ..batch(1, 100)
    }
}

#[test]
fn a_batch_is_taken_apart_once_however_often_it_is_refused() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.link.push(to_be_parsed("known", "some text"));
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
    assert!(
        plugin.is_drained(),
        "the room of what was queued is free, not that of what came of it"
    );
}

#[test]
fn a_parser_that_the_host_has_not_is_said_once_and_lines_stay() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    for number in 0..3 {
        plugin
            .link
            .push(to_be_parsed("unknown", &format!("text {number}")));
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
    assert_eq!(
        log.iter()
            .filter(|(_, text)| text.contains("no parser `unknown`"))
            .count(),
        1,
        "{log:?}"
    );
}

/// Forty texts that take 30 ms each, as with an expression that backtracks: the first seven
/// are tried. Later ones are left unparsed, and other containers' records are still parsed.
#[test]
fn a_parser_that_takes_too_long_is_given_up_for_its_container_and_no_other() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    *host.toil.lock().unwrap() = Duration::from_millis(30);
    let slow = |count: usize| {
        let one = to_be_parsed("known", "x  x  x  x");
        Batch {
            records: count,
            bytes: one.bytes.repeat(count),
            ..one
        }
    };
    plugin.link.push(slow(40));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 7);
    plugin.link.push(slow(40));
    plugin.drain(&host);
    assert_eq!(
        host.parsed.lock().unwrap().len(),
        7,
        "it is given up for good"
    );
    let other = ContainerId::parse(&"d".repeat(64)).unwrap();
    plugin.link.push(Batch {
        container: other,
        ..to_be_parsed("known", "other")
    });
    plugin.drain(&host);
    assert_eq!(
        host.parsed.lock().unwrap().last().map(Vec::as_slice),
        Some(&b"other"[..])
    );
    assert_eq!(
        host.appended.lock().unwrap().iter().sum::<usize>(),
        81,
        "nothing is lost"
    );
    plugin.drain(&host);
    let log = host.log.lock().unwrap();
    let said: Vec<_> = log
        .iter()
        .filter(|(_, text)| text.contains("which blocks all of Fluent Bit"))
        .collect();
    assert_eq!(said.len(), 1, "{log:?}");
    assert!(
        said[0].1.contains("`known` took 2") && said[0].0 == Level::Warn,
        "{said:?}"
    );
    drop(log);
    // A recreated container starts over.
    plugin.link.leave(id());
    plugin.drain(&host);
    plugin.link.push(slow(1));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 9);
}

#[test]
fn a_text_of_many_pieces_is_given_to_no_parser() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin
        .link
        .push(to_be_parsed("known", &"x".repeat(MOST_PARSED)));
    plugin
        .link
        .push(to_be_parsed("known", &"x".repeat(MOST_PARSED + 1)));
    plugin.drain(&host);
    assert_eq!(host.parsed.lock().unwrap().len(), 1);
    assert_eq!(*host.appended.lock().unwrap(), [1, 1]);
}

/// As if the parsing of each batch took slightly less than the limit.
#[test]
fn the_host_gets_its_thread_back_in_time() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    *host.toil.lock().unwrap() = DRAIN_PARSING / 2 + Duration::from_millis(1);
    (0..10).for_each(|_| plugin.link.push(to_be_parsed("known", "x")));
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 2);
}

/// A reader that never returns: the message says what it is doing, and blames a file system
/// only if the reader is calling one.
#[test]
fn a_stop_tells_what_the_reader_was_at() {
    let id = id();
    type Set = fn(&Link, &ContainerId);
    let cases: [(Set, &str); 3] = [
        (
            |link, id| link.activity.is(Doing::Reading, id),
            "a file system does not respond: stopped without waiting for the reader thread, which is reading the log of container web (cccccccccccc); everything that Fluent Bit has not accepted is read again at the next start",
        ),
        (
            |link, id| link.activity.is(Doing::Decoding, id),
            "stopped without waiting for the reader thread, which is processing the lines of container web (cccccccccccc); everything",
        ),
        (
            |link, _| link.activity.lists(std::path::Path::new("/somewhere")),
            "a file system does not respond: stopped without waiting for the reader thread, which is listing /somewhere; everything",
        ),
    ];
    for (set, want) in cases {
        let plugin = idle_plugin();
        let host = Recorder::default();
        plugin.link.accounts.open(id).set_name("web");
        set(&plugin.link, &id);
        let (go_on, held_up) = std::sync::mpsc::channel::<()>();
        let reader = OwnedThread::spawn("reader", move || {
            let _ = held_up.recv();
        });
        *lock(&plugin.reader) = Some(reader.unwrap());
        assert_eq!(plugin.stop(&host), Stopped::WithoutReader);
        drop(go_on);
        let log = host.log.lock().unwrap();
        assert!(
            log.iter()
                .any(|(level, text)| *level == Level::Error && text.starts_with(want)),
            "{log:?}"
        );
    }
}

/// A reader that ends late is no error, but the stop logs what it waited for.
#[test]
fn a_stop_that_waited_tells_what_for() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin
        .link
        .activity
        .lists(std::path::Path::new("/somewhere"));
    let reader = OwnedThread::spawn("reader", || {
        // Slightly longer than a stop waits without logging.
        std::thread::sleep(SILENT_PATIENCE + Duration::from_millis(300));
    });
    *lock(&plugin.reader) = Some(reader.unwrap());
    assert_eq!(plugin.stop(&host), Stopped::Wholly);
    let log = host.log.lock().unwrap();
    let is_said = |(level, text): &(Level, String)| {
        *level == Level::Warn
            && text.ends_with("s for the reader thread, which was listing /somewhere")
    };
    assert!(log.iter().any(is_said), "{log:?}");
}

#[test]
fn nothing_is_handed_over_while_paused() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.pause();
    plugin.link.queue.push(batch(3, 100));
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
    run_guarded(&plugin.link, || panic!("on purpose"));
    assert_ne!(
        plugin.link.health.since_last_turn(),
        Duration::ZERO,
        "its age grows on"
    );
    plugin.drain(&host);
    let log = host.log.lock().unwrap();
    assert!(
        log.iter()
            .any(|(level, text)| *level == Level::Error && text.contains("on purpose")),
        "{log:?}"
    );
    assert!(plugin.link.reader_ended.load(Ordering::SeqCst));
}

/// With `Follow off`: no reader is left to wake the host, and none is needed.
#[test]
fn a_host_that_refuses_is_asked_again_soon_after_the_reader_has_read_everything() {
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    let is_rung_within = |plugin: &Plugin, tv_sec: i64| {
        let mut fds = [PollFd::from_borrowed_fd(plugin.host_fd(), PollFlags::IN)];
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec,
                tv_nsec: 300_000_000,
            }),
        )
        .unwrap()
            > 0
    };
    let mut plugin = idle_plugin();
    let host = Recorder::default();
    Arc::get_mut(&mut plugin.link).unwrap().health = metrics::Health::as_of(100);
    run_guarded(&plugin.link, || plugin.link.push(batch(1, 100)));
    assert_eq!(
        plugin.link.health.since_last_turn(),
        Duration::ZERO,
        "no turn is overdue"
    );
    host.refusing.store(true, Ordering::SeqCst);
    plugin.drain(&host);
    for _ in 0..3 {
        assert!(
            is_rung_within(&plugin, 2),
            "long before the interval is over"
        );
        plugin.drain(&host);
    }
    plugin.pause();
    plugin.drain(&host);
    assert!(
        !is_rung_within(&plugin, 0),
        "a host that wants nothing is left alone"
    );
    host.refusing.store(false, Ordering::SeqCst);
    plugin.resume();
    plugin.drain(&host);
    assert_eq!(*host.appended.lock().unwrap(), [1]);
    assert!(plugin.is_done() && !is_rung_within(&plugin, 0));
}

#[test]
fn the_host_gets_its_thread_back_after_a_bounded_drain() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    for number in 0..4 {
        let mut large = batch(1, number);
        large.bytes = vec![0; DRAIN_BYTES / 2];
        plugin.link.queue.push(large);
    }
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 2);
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 4);
}

#[test]
fn what_the_host_holds_in_memory_at_the_stop_is_said_unless_it_keeps_it_in_files() {
    for (held, keeps_in_files, expected) in [
        (Some(70_000), false, 1),
        (Some(70_000), true, 0),
        (Some(0), false, 0),
        (None, false, 0),
    ] {
        let host = Recorder {
            held,
            keeps_in_files,
            ..Recorder::default()
        };
        idle_plugin().stop(&host);
        let log = host.log.lock().unwrap();
        let said = log.iter().filter(|(level, message)| {
            *level == Level::Warn && message.contains("holds 70000 bytes of this input's records")
        });
        assert_eq!(said.count(), expected, "{held:?} {keeps_in_files}: {log:?}");
        let last = &log.last().unwrap().1;
        let agrees = "nothing lost by this input; Fluent Bit holds 70000 bytes of what was delivered in memory";
        assert_eq!(last.ends_with(agrees), expected == 1, "{last}");
        assert_eq!(last.ends_with("nothing lost"), expected == 0, "{last}");
    }
}
