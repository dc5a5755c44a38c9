use super::*;
use crate::delivery::checkpoint::CheckpointStore;
use crate::delivery::host::embedded::decode_records;
use crate::delivery::queue::Progress;
use crate::format::layout::Decoders;
use crate::pipeline::multiline::Pattern;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::LogFiles;
use crate::source::file::feed::ReadContext;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::{Step, Tailer};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Stands in for the reader, which lends these to its tailers.
#[derive(Default)]
struct Lent {
    buffer: Vec<u8>,
    decoders: Decoders,
}

impl Lent {
    fn read(&mut self, tailer: &mut Tailer, link: &Link, now: Instant) -> Step {
        let mut context = ReadContext {
            link,
            buffer: &mut self.buffer,
            decoders: &mut self.decoders,
            max_line_bytes: 1 << 20,
            now,
            slice_time: SLICE_TIME,
        };
        tailer.read_slice(&mut context).unwrap()
    }
}

#[test]
fn the_clock_and_a_stop_are_looked_at_now_and_then() {
    let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
    let mut slice = Slice {
        begun: None,
        ..Slice::begin(&link, 100, true, SLICE_TIME)
    };
    assert!(!slice.ends_at(100 + COSTLY_STRIDE));
    link.stopping.store(true, Ordering::Release);
    assert!(
        !slice.ends_at(100 + COSTLY_STRIDE + 1),
        "it was looked a moment ago"
    );
    assert!(slice.ends_at(100 + 2 * COSTLY_STRIDE));
    link.stopping.store(false, Ordering::Release);
    let long_ago = Instant::now().checked_sub(SLICE_TIME);
    let mut late = Slice {
        begun: long_ago,
        ..Slice::begin(&link, 0, false, SLICE_TIME)
    };
    assert!(!late.ends_at(PLAIN_STRIDE - 1) && !late.was_costly());
    assert!(late.ends_at(PLAIN_STRIDE) && late.was_costly());
    assert!(!Slice::whole(&link).ends_at(usize::MAX - 1));
}

#[test]
fn a_slice_is_as_short_as_it_is_told_to_be_and_slow_by_its_bytes() {
    let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
    let begun = Instant::now().checked_sub(2 * SHORT_SLICE_TIME);
    let short = || Slice {
        begun,
        ..Slice::begin(&link, 0, true, SHORT_SLICE_TIME)
    };
    assert!(short().ends_at(COSTLY_STRIDE));
    assert!(!Slice {
        begun,
        ..Slice::begin(&link, 0, true, Duration::from_secs(3600))
    }
    .ends_at(1 << 20));
    assert!(short().cost(COSTLY_STRIDE) >= 2 * SHORT_SLICE_TIME);
    assert!(
        short().cost(usize::MAX >> 8).is_zero(),
        "so many bytes may take that"
    );
    assert!(Slice::begin(&link, 0, true, SLICE_TIME)
        .cost(1 << 20)
        .is_zero());
}

/// Containers that wrote 40 ms of lines each at the same time, nothing known about any of
/// them.
#[test]
fn a_burst_of_many_costly_containers_does_not_hold_up_a_pass() {
    // What the lines between two looks at the clock take.
    let overshoot = Duration::from_millis(1);
    for strangers in [50, 500] {
        let (mut time, mut taken, mut whole, mut read) =
            (PassTime::default(), Duration::ZERO, 0, 0);
        for _ in 0..strangers {
            let slice = time.next_slice(false).unwrap().min(SLICE_TIME) + overshoot;
            taken += slice;
            whole += usize::from(time.took(slice));
            read += 1;
            if time.is_over() {
                break;
            }
        }
        assert!(
            taken <= COSTLY_TIME + SLICE_TIME + SHORT_TIME + 4 * overshoot,
            "{taken:?}"
        );
        assert!(
            whole == 1 && read > 15,
            "{whole} of {read} had a whole turn"
        );
        // Containers known to be costly must wait; plain ones go on.
        assert_eq!(
            (time.next_slice(true), time.next_slice(false)),
            (None, Some(SHORT_SLICE_TIME))
        );
    }
    let mut time = PassTime::default();
    for _ in 0..10_000 {
        assert!(!time.took(Duration::ZERO) && !time.is_over());
        assert_eq!(time.next_slice(true), Some(SLICE_TIME));
    }
}

/// Neither a read that finds nothing nor a cheap line clears the state at once.
#[test]
fn a_container_counts_as_costly_for_a_second_and_untried_until_a_line_was_matched() {
    let dir = tempfile::tempdir().unwrap();
    let files = LogFiles::numbered(dir.path().join("x.log"));
    std::fs::write(&files.path, "").unwrap();
    let path = files.path.to_path_buf();
    let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
    let id = ContainerId::from_bytes([1; 32]);
    let plain = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
    let mut tailer = Tailer::new(link.accounts.open(id), files, Start::Head, plain);
    let mut template = RecordTemplate::unnamed(&id, ContainerMetadata::default());
    template.multiline.pattern = Some(Pattern::shared("^a").unwrap());
    tailer.set_template(Arc::new(template), &link);
    tailer.refresh(&link).unwrap();
    let start = Instant::now();
    let mut lent = Lent::default();
    let mut read = |tailer: &mut Tailer| lent.read(tailer, &link, start);
    let much_later = start + Duration::from_secs(3600);
    assert_eq!(read(&mut tailer), Step::AtEnd { has_read: false });
    assert!(
        tailer.is_costly(much_later),
        "no line of it was matched yet"
    );
    std::fs::write(
        &path,
        "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n",
    )
    .unwrap();
    assert_eq!(read(&mut tailer), Step::AtEnd { has_read: true });
    assert!(!tailer.is_costly(start));
    tailer.cost.lines = Lines::Costly;
    assert!(
        tailer.is_costly(much_later),
        "as long as it waits for its turn"
    );
    assert_eq!(read(&mut tailer), Step::AtEnd { has_read: false });
    assert!(
        tailer.is_costly(start + COSTLY_MEMORY / 2) && !tailer.is_costly(start + COSTLY_MEMORY)
    );
}

/// Each slice ends at its first check, as if every line took long: the records are
/// complete and in order, and each batch moves the checkpoint to where the next one
/// begins.
#[test]
fn slices_that_end_early_lose_nothing_and_repeat_nothing() {
    let json = |number: usize| {
        let text = format!("line {number} {}", "x".repeat(number % 3_000));
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{number:09}Z\"}}\n")
    };
    let cri = |number: usize| {
        let text = format!("line {number} {}", "x".repeat(number % 3_000));
        format!("2023-11-14T22:13:20.{number:09}Z stdout F {text}\n")
    };
    let local = |number: usize| {
        let text = format!("line {number} {}", "x".repeat(number % 3_000));
        let time = (0..8).map(|_| 0x80u8).chain([1]);
        let mut message: Vec<u8> = b"\x0a\x06stdout\x10".iter().copied().chain(time).collect();
        message.extend([
            0x1a,
            0x80 | (text.len() & 0x7f) as u8,
            (text.len() >> 7) as u8,
        ]);
        message.extend(text.as_bytes());
        let length = (message.len() as u32).to_be_bytes();
        [&length[..], &message, &length].concat()
    };
    let json = |number: usize| json(number).into_bytes();
    let cri = |number: usize| cri(number).into_bytes();
    let entries: [&dyn Fn(usize) -> Vec<u8>; 3] = [&json, &cri, &local];
    for entry in entries {
        for pattern in [None, Some("^line")] {
            assert_whole((0..600).map(entry).collect(), pattern);
        }
    }
}

fn assert_whole(entries: Vec<Vec<u8>>, pattern: Option<&str>) {
    let log = entries.concat();
    let dir = tempfile::tempdir().unwrap();
    let files = LogFiles::numbered(dir.path().join("x.log"));
    std::fs::write(&files.path, &log).unwrap();
    let link = Link::new(64 << 20, CheckpointStore::in_memory()).unwrap();
    let id = ContainerId::from_bytes([1; 32]);
    let mut template = RecordTemplate::unnamed(&id, ContainerMetadata::default());
    template.multiline.pattern = pattern.map(|text| Pattern::shared(text).unwrap());
    template.multiline.max_bytes = 1 << 20;
    let mut tailer = Tailer::new(
        link.accounts.open(id),
        files,
        Start::Head,
        Arc::new(template),
    );
    tailer.refresh(&link).unwrap();
    link.stopping.store(true, Ordering::Release);
    let mut lent = Lent::default();
    let mut texts = Vec::new();
    let (mut slices, mut offset) = (0, 0);
    loop {
        let step = lent.read(&mut tailer, &link, Instant::now());
        if step == (Step::AtEnd { has_read: false }) {
            break;
        }
        slices += 1;
        let read = tailer.account().figures().read.bytes;
        assert!(
            read - offset <= (PLAIN_STRIDE + 4_000) as u64,
            "{} bytes in a slice",
            read - offset
        );
        offset = read;
    }
    assert_eq!(offset, log.len() as u64);
    assert!(slices >= log.len() / (PLAIN_STRIDE + 4_000), "{slices}");
    tailer.flush_open(&link);
    let mut offsets = Vec::new();
    while let Some(batch) = link.queue.pop() {
        if batch.records > 0 {
            let records = decode_records(&batch.bytes).unwrap();
            texts.extend(records.iter().map(|record| record.text("log").to_owned()));
        }
        if let Progress::Advance([Some(checkpoint), _]) = batch.progress {
            offsets.push(checkpoint.offset);
        }
    }
    let numbers = texts
        .iter()
        .map(|text| text.split(' ').nth(1).unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(0..entries.len()), "{} texts", texts.len());
    assert!(
        offsets.is_sorted() && offsets.last() == Some(&offset),
        "{offsets:?}"
    );
    let mut ends = std::collections::HashSet::from([0]);
    ends.extend(entries.iter().scan(0, |end, entry| {
        *end += entry.len() as u64;
        Some(*end)
    }));
    assert!(offsets.iter().all(|at| ends.contains(at)), "{offsets:?}");
}
