use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker, HEAD_BYTES};
use crate::delivery::checkpoint::CheckpointStore;
use crate::delivery::host::embedded::decode_records;
use crate::delivery::link::Link;
use crate::format::layout::Decoders;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::LogFiles;
use crate::source::file::feed::ReadContext;
use crate::source::file::gzip::SEEK_BYTES;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::{Step, Tailer};
use crate::source::slice::SLICE_TIME;
use crate::telemetry::event::Event;

const LINES: usize = 2_000;

/// Every second line goes to stderr; each is some 10 KiB long.
fn line(number: usize) -> String {
    let (stream, padding) = (["stdout", "stderr"][number % 2], "x".repeat(10_000));
    let time = format!("2023-11-14T22:13:20.{number:09}Z");
    format!(
        "{{\"log\":\"line {number} {padding}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n"
    )
}

fn pack(path: &Path, text: &[u8]) {
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text).unwrap();
    encoder.finish().unwrap();
}

fn position_at(text: &[u8], offset: usize) -> StreamCheckpoint {
    StreamCheckpoint {
        fingerprint: Fingerprint::of(&text[..HEAD_BYTES]),
        marker: Marker::of(&text[..offset]),
        offset: offset as u64,
        inode: 1,
        ..StreamCheckpoint::default()
    }
}

struct Log {
    tailer: Tailer,
    link: Link,
    buffer: Vec<u8>,
    decoders: Decoders,
}

impl Log {
    fn new(path: &Path, start: Start) -> Log {
        let link = Link::new(64 << 20, CheckpointStore::in_memory()).unwrap();
        let id = ContainerId::from_bytes([1; 32]);
        let template = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
        let tailer = Tailer::new(
            link.accounts.open(id),
            LogFiles::numbered(path),
            start,
            template,
        );
        Log {
            tailer,
            link,
            buffer: Vec::new(),
            decoders: Decoders::default(),
        }
    }

    fn read(&mut self) -> Step {
        let mut context = ReadContext {
            link: &self.link,
            buffer: &mut self.buffer,
            decoders: &mut self.decoders,
            max_line_bytes: 1 << 20,
            now: Instant::now(),
            slice_time: SLICE_TIME,
        };
        self.tailer.read_slice(&mut context).unwrap()
    }

    /// Counts the slices until the files are open; meanwhile nothing is read and the log
    /// counts as costly.
    fn slices_of_search(&mut self) -> usize {
        let mut slices = 0;
        while self.tailer.rotation.search.is_under_way() {
            assert!(self.tailer.is_open() && self.tailer.is_costly(Instant::now()));
            assert_eq!(self.read(), Step::More);
            assert_eq!(self.tailer.account().figures().read.bytes, 0);
            slices += 1;
        }
        slices
    }

    /// Returns the numbers of all lines up to the end.
    fn lines(&mut self) -> VecDeque<usize> {
        while self.read() != (Step::AtEnd { has_read: false }) {}
        let mut numbers = VecDeque::new();
        while let Some(batch) = self.link.queue.pop() {
            for record in decode_records(&batch.bytes).unwrap() {
                numbers.push_back(
                    record
                        .text("log")
                        .split(' ')
                        .nth(1)
                        .unwrap()
                        .parse()
                        .unwrap(),
                );
            }
        }
        numbers
    }

    fn events(&self) -> Vec<Event> {
        self.link.events.take().0.into_iter().collect()
    }
}

/// Two checkpoints in one archive, and a younger archive that begins the same and ends before
/// them.
#[test]
fn a_position_far_in_an_archive_is_found_in_slices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let lines: Vec<String> = (0..LINES).map(line).collect();
    let text = lines.concat().into_bytes();
    let offset_of = |number: usize| lines[..number].iter().map(String::len).sum::<usize>();
    let (of_stdout, of_stderr) = (offset_of(1_800), offset_of(1_001));
    pack(&path.with_extension("log.2.gz"), &text);
    pack(&path.with_extension("log.1.gz"), &text[..offset_of(700)]);
    std::fs::write(&path, line(LINES)).unwrap();
    let saved = [position_at(&text, of_stdout), position_at(&text, of_stderr)];
    let mut log = Log::new(&path, Start::Saved(saved));
    log.tailer.refresh(&log.link).unwrap();
    let slices = log.slices_of_search();
    // The younger one is decompressed for each checkpoint as well; the first slice of each
    // file is decompressed when it is found.
    let unpacked = [offset_of(700), of_stdout, offset_of(700), of_stderr];
    let want = unpacked
        .map(|bytes| (bytes as u64).div_ceil(SEEK_BYTES))
        .iter()
        .sum::<u64>() as usize;
    assert!(
        (want - 4..=want).contains(&slices),
        "{slices} slices, {want} are unpacked"
    );
    assert!(log.events().is_empty());
    let mut want: Vec<usize> = (1_001..1_800).filter(|number| number % 2 == 1).collect();
    want.extend(1_800..LINES);
    // Neither checkpoint is in the younger one, so all of it is read.
    want.extend((0..700).chain([LINES]));
    assert!(log.lines() == want);
    assert!(log.tailer.rotation.search.archives.is_empty());
}

/// The log is truncated, and what was read of it is in an archive: that is found in slices,
/// too, and the archive's unread rest comes before the log's new content.
#[test]
fn what_was_truncated_is_found_in_an_archive_in_slices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let lines: Vec<String> = (0..LINES).map(line).collect();
    let read = lines[..1_500].concat().into_bytes();
    std::fs::write(&path, &read).unwrap();
    let mut log = Log::new(&path, Start::Head);
    log.tailer.refresh(&log.link).unwrap();
    assert!(log.lines().into_iter().eq(0..1_500));
    pack(&path.with_extension("log.1.gz"), lines.concat().as_bytes());
    std::fs::write(&path, line(LINES)).unwrap();
    assert_eq!(log.read(), Step::More);
    // Rotations meanwhile are followed, and what they created is counted as found.
    let later = Instant::now() + Duration::from_secs(3600);
    log.tailer.rotation.creates.settle(later);
    let rotated = |age: &str| path.with_extension(format!("log.{age}"));
    std::fs::rename(rotated("1.gz"), rotated("3.gz")).unwrap();
    std::fs::rename(&path, rotated("2")).unwrap();
    std::fs::write(rotated("1"), line(LINES + 1)).unwrap();
    std::fs::write(&path, line(LINES + 2)).unwrap();
    (0..2).for_each(|_| log.tailer.file_made("x-json.log"));
    log.tailer.refresh(&log.link).unwrap();
    assert!(log.tailer.rotation.search.is_under_way());
    let mut slices = 0;
    while log.tailer.rotation.search.is_under_way() {
        assert_eq!(log.read(), Step::More);
        slices += 1;
    }
    assert_eq!(slices, (read.len() as u64).div_ceil(SEEK_BYTES) - 1);
    assert!(log.lines().into_iter().eq(1_500..=LINES + 2));
    assert!(log.tailer.rotation.search.archives.is_empty());
    assert_eq!(log.tailer.rotation.creates.take_missed(), 0);
}

/// An archive that is renamed meanwhile stays the same one; a deleted one is gone.
#[test]
fn an_archive_may_be_renamed_or_deleted_while_it_is_searched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let text: Vec<u8> = (0..LINES).map(line).collect::<String>().into_bytes();
    pack(&path.with_extension("log.1.gz"), &text);
    std::fs::write(&path, line(LINES)).unwrap();
    let offset = text.len() - line(LINES - 1).len();
    let mut log = Log::new(&path, Start::Saved([position_at(&text, offset); 2]));
    log.tailer.refresh(&log.link).unwrap();
    assert!(log.tailer.rotation.search.is_under_way());
    // Rotation renames the archive during the search.
    std::fs::rename(
        path.with_extension("log.1.gz"),
        path.with_extension("log.2.gz"),
    )
    .unwrap();
    assert_eq!(log.read(), Step::More);
    std::fs::remove_file(path.with_extension("log.2.gz")).unwrap();
    while log.tailer.rotation.search.is_under_way() {
        assert_eq!(log.read(), Step::More);
    }
    assert_eq!(log.lines(), [LINES]);
    assert!(
        matches!(log.events()[..], [Event::GenerationLost { .. }]),
        "its last line is in no file"
    );
}
