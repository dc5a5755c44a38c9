use std::time::Duration;

use super::*;
use crate::delivery::checkpoint::CheckpointStore;
use crate::delivery::host::embedded::decode_records;
use crate::delivery::queue::BATCH_BYTES;
use crate::format::position::{Stream, Timestamp};
use crate::pipeline::assembler::{Assembler, DEAD_LINE_GRACE};
use crate::pipeline::fields::MetadataOptions;
use crate::pipeline::multiline::{MultilineOptions, Pattern};
use crate::pipeline::template::RecordOptions;
use crate::runtime::metadata::ContainerMetadata;
use crate::source::api::{StreamEnd, StreamSink};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

const TIME: Timestamp = Timestamp {
    seconds: 7,
    nanos: 0,
};

fn streamed() -> (Streams, Sink, ContainerId) {
    streamed_by(Api::Docker)
}

/// One followed container, with the Docker thread's side played by the test.
fn streamed_by(api: Api) -> (Streams, Sink, ContainerId) {
    streamed_with(api, None)
}

fn streamed_with(api: Api, driver: Option<&str>) -> (Streams, Sink, ContainerId) {
    let link = Arc::new(Link::new(1 << 20, CheckpointStore::in_memory()).unwrap());
    let socket = PathBuf::from("/nonexistent/docker.sock");
    let config = Config::from_lookup(|_| None).unwrap();
    let mut streams = Streams::new(link, api, socket, &config);
    streams.thread().unwrap();
    let id = ContainerId::from_bytes([7; 32]);
    let metadata = ContainerMetadata {
        is_running: true,
        ..ContainerMetadata::default()
    };
    let template = Arc::new(RecordTemplate::unnamed(&id, metadata));
    let driver = driver.map(|name| LogDriver {
        name: name.to_owned(),
        has_cache_disabled: false,
    });
    let saved = ContainerCheckpoint::default();
    let streamed = streams
        .shared
        .stream_from(&saved, id, template, driver.as_ref());
    streams.shared.streamed().insert(id, streamed);
    let sink = Sink::new(Arc::clone(&streams.shared));
    (streams, sink, id)
}

fn lengths(streams: &Streams) -> Vec<usize> {
    let batches = std::iter::from_fn(|| streams.shared.link.queue.pop());
    let records = batches.flat_map(|batch| decode_records(&batch.bytes).unwrap());
    records.map(|record| record.text("log").len()).collect()
}

/// As with a container whose log is requested right before it is started: the daemon
/// reports that it is not running, but has already sent the first half of a line.
#[test]
fn a_line_in_whose_midst_the_daemon_says_it_has_stopped_goes_on_if_it_runs() {
    let (streams, mut sink, id) = streamed();
    let piece = [b'x'; 16_384];
    sink.entry(&id, Stream::Stdout, TIME, &piece, false);
    sink.flush(&id);
    sink.ended(&id, StreamEnd::Finished);
    streams.deliver_dead(Instant::now());
    assert_eq!(sink.since(&id), Some(TIME), "from the start of that line");
    for (length, ends_line) in [(16_384, false), (16_384, false), (100, true)] {
        sink.entry(&id, Stream::Stdout, TIME, &piece[..length], ends_line);
    }
    sink.flush(&id);
    assert_eq!(lengths(&streams), [2 * 16_384 + 100]);
}

/// Podman gives each piece a time of its own, and a log is requested before it is read:
/// that must not turn a piece from another second into another line, even when it is
/// requested again.
#[test]
fn a_line_of_podmans_in_two_seconds_is_one_however_often_it_is_asked_for() {
    let (streams, mut sink, id) = streamed_by(Api::Podman);
    let piece = [b'x'; 8192];
    let pieces = |sink: &mut Sink, pieces: &[(i64, usize, bool)]| {
        for &(seconds, length, ends_line) in pieces {
            sink.entry(
                &id,
                Stream::Stderr,
                at(seconds),
                &piece[..length],
                ends_line,
            );
        }
        sink.flush(&id);
    };
    assert_eq!(sink.since(&id), None);
    pieces(
        &mut sink,
        &[(7, 8192, false), (7, 8192, false), (8, 8192, false)],
    );
    // Its rest takes longer than the grace of a line that has lost its rest.
    streams.deliver_dead(Instant::now() + 10 * DEAD_LINE_GRACE);
    sink.ended(&id, StreamEnd::Failed("broken".to_owned()));
    assert_eq!(lengths(&streams), [0; 0]);
    assert_eq!(sink.since(&id), Some(at(7)), "from the start of that line");
    pieces(
        &mut sink,
        &[
            (7, 8192, false),
            (7, 8192, false),
            (8, 8192, false),
            (9, 100, true),
        ],
    );
    pieces(&mut sink, &[(9, 1, true)]);
    assert_eq!(lengths(&streams), [3 * 8192 + 100, 1]);
}

/// Podman from 5.8 on reports nanoseconds, and conmon's pieces are of 8 KiB at most.
#[test]
fn a_line_of_podman_5_8_is_one_record_however_often_it_is_asked_for() {
    let (streams, mut sink, id) = streamed_by(Api::Podman);
    let piece = [b'x'; 8192];
    let moment = |nanos| Timestamp { seconds: 7, nanos };
    let pieces = [
        (1_000, 8192, false),
        (1_900, 8192, false),
        (2_500, 0, true),
        (3_000, 5, true),
    ];
    let take = |sink: &mut Sink, count: usize| {
        for &(nanos, length, ends_line) in &pieces[..count] {
            let time = moment(nanos);
            sink.entry(&id, Stream::Stdout, time, &piece[..length], ends_line);
        }
        sink.flush(&id);
    };
    assert_eq!(sink.since(&id), None);
    take(&mut sink, 2);
    sink.ended(&id, StreamEnd::Failed("broken".to_owned()));
    assert_eq!(sink.since(&id), Some(moment(1_000)), "from its first piece");
    take(&mut sink, 4);
    assert_eq!(sink.since(&id), Some(moment(3_000)));
    take(&mut sink, 4);
    assert_eq!(lengths(&streams), [16_384, 5]);
}

/// Docker from 23 on: the last piece of a line of exactly 16 KiB is an empty line of its own.
#[test]
fn a_line_of_dockers_journald_driver_is_one_record_though_each_piece_has_its_own_time() {
    let (streams, mut sink, id) = streamed_with(Api::Docker, Some("journald"));
    let piece = [b'x'; 16_384];
    let moment = |nanos| Timestamp { seconds: 7, nanos };
    let pieces = [
        (1_000, 16_384, false),
        (2_000, 0, true),
        (3_000, 16_384, false),
        (4_000, 16_384, false),
        (5_000, 7_232, true),
        // A run ends without a line feed, and the next one begins.
        (6_000, 8, false),
        (7_000, 5, true),
    ];
    let take = |sink: &mut Sink, range: std::ops::Range<usize>| {
        for &(nanos, length, ends_line) in &pieces[range] {
            let time = moment(nanos);
            sink.entry(&id, Stream::Stdout, time, &piece[..length], ends_line);
        }
        sink.flush(&id);
    };
    assert_eq!(sink.since(&id), None);
    take(&mut sink, 0..4);
    sink.ended(&id, StreamEnd::Failed("broken".to_owned()));
    assert_eq!(
        sink.since(&id),
        Some(moment(1_000)),
        "the last line before the open one"
    );
    take(&mut sink, 0..5);
    assert_eq!(sink.since(&id), Some(moment(3_000)), "its first piece");
    take(&mut sink, 2..7);
    assert_eq!(lengths(&streams), [16_384, 40_000, 8, 5]);
}

/// A log rotated so fast that the daemon no longer has the middle of a line.
#[test]
fn a_line_that_is_open_where_entries_are_lost_is_marked() {
    let (streams, mut sink, id) = streamed();
    let piece = [b'x'; 16_384];
    sink.entry(&id, Stream::Stdout, TIME, &piece, false);
    sink.lost(&id);
    for seconds in [8, 9] {
        sink.entry(&id, Stream::Stdout, at(seconds), b"whole", true);
    }
    sink.flush(&id);
    let batches = std::iter::from_fn(|| streams.shared.link.queue.pop());
    let records = batches.flat_map(|batch| decode_records(&batch.bytes).unwrap());
    let marked: Vec<_> = records
        .map(|record| {
            let is_truncated = record.body.contains_key("truncated");
            (record.text("log").len(), is_truncated)
        })
        .collect();
    assert_eq!(marked, [(16_384, true), (5, false), (5, false)]);
}

fn joins_traces(streams: &Streams, id: &ContainerId) {
    let pattern = Some(Pattern::shared("java").unwrap());
    let multiline = MultilineOptions {
        pattern,
        flush: Duration::from_secs(1),
        max_bytes: 1000,
    };
    let said = MetadataOptions::default();
    let options = RecordOptions {
        multiline,
        ..RecordOptions::plain(&said)
    };
    let metadata = ContainerMetadata {
        is_running: true,
        ..ContainerMetadata::default()
    };
    streams.set_template(id, Arc::new(RecordTemplate::new(id, metadata, options)));
}

/// Each record repeats the container's metadata, so a few KiB from the API can become MiB
/// before the thread checks for space again.
#[test]
fn a_batch_is_closed_by_the_bytes_that_were_built() {
    let (streams, mut sink, id) = streamed();
    let labels = std::iter::once(("com.docker.compose.project".to_owned(), "p".repeat(8_000)));
    let metadata = ContainerMetadata {
        labels: labels.collect(),
        ..ContainerMetadata::default()
    };
    let said = MetadataOptions::default();
    let template = RecordTemplate::new(&id, metadata, RecordOptions::plain(&said));
    streams.set_template(&id, Arc::new(template));
    for _ in 0..4_000 {
        sink.entry(&id, Stream::Stdout, TIME, b"x", true);
    }
    assert!(!sink.has_space());
    sink.flush(&id);
    let batches: Vec<_> = std::iter::from_fn(|| streams.shared.link.queue.pop()).collect();
    assert!(batches.len() > 6, "{} batches", batches.len());
    for batch in &batches {
        assert!(
            batch.bytes.len() < BATCH_BYTES + 10_000,
            "{} bytes",
            batch.bytes.len()
        );
        assert!(
            batch.marks.len() > 10 || batch.bytes.len() < BATCH_BYTES,
            "it can be divided"
        );
    }
    let account = streams.shared.link.accounts.open(id);
    assert!(account.figures().is_balanced());
    assert_eq!(
        (
            account.figures().read.bytes,
            account.figures().queued.records
        ),
        (8_000, 4_000)
    );
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

/// At a reconnect, at a restart, and when a file takes over.
#[test]
fn the_very_first_text_of_a_stream_is_asked_for_again_while_it_is_open() {
    let (mut streams, mut sink, id) = streamed();
    joins_traces(&streams, &id);
    for _ in 0..2 {
        sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
        sink.entry(&id, Stream::Stderr, at(101), b"noise", true);
        sink.flush(&id);
        assert_eq!(sink.since(&id), Some(at(100)));
    }
    let saved = streams.release(&id).unwrap();
    let template = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
    let mut assembler = Assembler::new(streams.shared.link.accounts.open(id), template);
    assembler.resume_from(&saved, [true, true]);
    assert_eq!(assembler.since(), Some(at(100)));
}

#[test]
fn a_connection_that_broke_is_no_silence() {
    let (streams, mut sink, id) = streamed();
    joins_traces(&streams, &id);
    sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
    sink.flush(&id);
    sink.ended(&id, StreamEnd::Failed("broken".to_owned()));
    assert_eq!(
        streams.deliver_dead(Instant::now() + Duration::from_secs(60)),
        None
    );
    assert_eq!(sink.since(&id), Some(at(100)));
    sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
    sink.entry(&id, Stream::Stdout, at(100), b"\tat a", true);
    sink.flush(&id);
    let due = streams
        .deliver_dead(Instant::now())
        .expect("it waits again");
    assert_eq!(streams.deliver_dead(due), None);
    assert_eq!(lengths(&streams), ["a.Error: 1\n\tat a".len()]);
}

/// What was read under the old name and rules is delivered under them.
#[test]
fn what_is_open_is_delivered_before_lines_are_joined_otherwise() {
    let (streams, mut sink, id) = streamed();
    joins_traces(&streams, &id);
    sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
    sink.flush(&id);
    let plain = RecordTemplate::unnamed(&id, ContainerMetadata::default());
    streams.set_template(&id, Arc::new(plain));
    assert_eq!(lengths(&streams), ["a.Error: 1".len()]);
}

#[test]
fn the_reader_is_woken_for_what_is_open_once() {
    let (streams, mut sink, id) = streamed();
    joins_traces(&streams, &id);
    let is_rung = || {
        let waker = &streams.shared.link.reader_waker;
        let mut fds = [PollFd::new(waker, PollFlags::IN)];
        let rung = poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .unwrap()
            > 0;
        waker.clear();
        rung
    };
    is_rung();
    sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
    sink.flush(&id);
    assert!(is_rung());
    sink.entry(&id, Stream::Stdout, at(100), b"\tat a", true);
    sink.flush(&id);
    assert!(!is_rung(), "it knows");
}

#[test]
fn what_is_open_of_a_container_that_has_stopped_is_delivered_after_a_moment() {
    let (streams, mut sink, id) = streamed();
    sink.entry(&id, Stream::Stdout, TIME, &[b'x'; 16_384], false);
    sink.flush(&id);
    assert_eq!(
        streams.deliver_dead(Instant::now() + 100 * DEAD_LINE_GRACE),
        None,
        "its rest may come"
    );
    sink.ended(&id, StreamEnd::Finished);
    let due = streams.deliver_dead(Instant::now()).expect("it waits");
    assert_eq!(lengths(&streams), [0; 0]);
    assert_eq!(streams.deliver_dead(due), None);
    assert_eq!(lengths(&streams), [16_384]);
}
