//! Every order in which logrotate's steps (`copytruncate`, `compress`) and the reader's can meet.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::delivery::checkpoint::CheckpointStore;
use crate::delivery::host::embedded::decode_records;
use crate::delivery::queue::Progress;
use crate::format::layout::Decoders;

/// A log, the programs that write, copy and compress it, and the reader, which has a restart when
/// it is told to.
struct World {
    dir: tempfile::TempDir,
    id: ContainerId,
    link: Link,
    tailer: Tailer,
    buffer: Vec<u8>,
    decoders: Decoders,
    texts: Vec<String>,
    written: usize,
    rotated: usize,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("x-json.log")).unwrap();
        let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
        let id = ContainerId::from_bytes([1; 32]);
        World {
            tailer: World::tailer(&dir, &link, id),
            dir,
            id,
            link,
            buffer: Vec::new(),
            decoders: Decoders::default(),
            texts: Vec::new(),
            written: 0,
            rotated: 0,
        }
    }

    fn tailer(dir: &tempfile::TempDir, link: &Link, id: ContainerId) -> Tailer {
        let log = LogFiles::numbered(dir.path().join("x-json.log"));
        let start = link.checkpoint.saved(&id).map_or(Start::Head, Start::Saved);
        let template = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
        Tailer::new(link.accounts.open(id), log, start, template)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("x-json.log")
    }

    fn copy(&self, names: Names) -> PathBuf {
        self.dir.path().join(match names {
            Names::Dated => format!("x-json.log-{}", 20_261_100 + self.rotated),
            Names::Numbered => "x-json.log.1".to_owned(),
        })
    }

    fn write(&mut self, lines: usize) {
        let mut log = OpenOptions::new().append(true).open(self.log()).unwrap();
        for _ in 0..lines {
            let number = self.written;
            writeln!(
                log,
                "{{\"log\":\"line {number} {:90}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{number:09}Z\"}}",
                ""
            )
            .unwrap();
            self.written += 1;
        }
    }

    fn does(&mut self, step: Act, names: Names) {
        let (log, copy) = (self.log(), self.copy(names));
        let archive = |copy: &PathBuf| PathBuf::from(format!("{}.gz", copy.display()));
        let begin = |path: &PathBuf, bytes: &[u8], part: usize| {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            let half = bytes.len() / 2;
            let bytes = [&bytes[..half], &bytes[half..]][part];
            file.write_all(bytes).unwrap();
        };
        match step {
            Act::Write(lines) => self.write(lines),
            Act::Rename => {
                for age in (1..9).rev() {
                    let name = |age| self.dir.path().join(format!("x-json.log.{age}.gz"));
                    let _ = fs::rename(name(age), name(age + 1));
                }
            }
            Act::CreateCopy => drop(File::create_new(copy).unwrap()),
            Act::Copy(part) => begin(&copy, &fs::read(log).unwrap(), part),
            Act::Truncate => drop(
                File::options()
                    .write(true)
                    .truncate(true)
                    .open(log)
                    .unwrap(),
            ),
            Act::CreateArchive => drop(File::create_new(archive(&copy)).unwrap()),
            Act::Compress(part) => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&fs::read(&copy).unwrap()).unwrap();
                begin(&archive(&copy), &encoder.finish().unwrap(), part);
            }
            Act::RemoveCopy => {
                fs::remove_file(copy).unwrap();
                self.rotated += 1;
            }
        }
    }

    fn read(&mut self) -> bool {
        let step = self.tailer.read_slice(&mut ReadContext {
            link: &self.link,
            buffer: &mut self.buffer,
            decoders: &mut self.decoders,
            max_line_bytes: 1 << 20,
            now: Instant::now(),
            slice_time: Duration::from_secs(60),
        });
        while let Some(batch) = self.link.queue.pop() {
            let records = decode_records(&batch.bytes).unwrap();
            self.texts.extend(records.iter().map(|record| {
                let text = record.text("log").trim_end();
                text.to_owned()
            }));
            if let Progress::Advance(advance) = &batch.progress {
                self.link
                    .checkpoint
                    .advance(batch.container, advance)
                    .unwrap();
            }
            self.link.queue.accepted(batch.bytes);
        }
        step.unwrap() == Step::More
    }

    fn reads(&mut self, turn: Turn) {
        match turn {
            Turn::Nothing => {}
            Turn::Look => self.tailer.refresh(&self.link).unwrap(),
            Turn::Slice => drop(self.read()),
            Turn::All => {
                self.tailer.refresh(&self.link).unwrap();
                for _ in 0..100 {
                    if !self.read() {
                        return;
                    }
                }
                panic!("it goes on and on");
            }
            Turn::Restart => {
                self.tailer = World::tailer(&self.dir, &self.link, self.id);
                self.tailer.refresh(&self.link).unwrap();
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Names {
    Dated,
    Numbered,
}

/// A step of the programs.
#[derive(Debug, Clone, Copy)]
enum Act {
    Write(usize),
    Rename,
    CreateCopy,
    Copy(usize),
    Truncate,
    CreateArchive,
    Compress(usize),
    RemoveCopy,
}

/// A turn of the reader.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Nothing,
    Look,
    Slice,
    All,
    Restart,
}

const TURNS: [Turn; 4] = [Turn::Look, Turn::Slice, Turn::All, Turn::Restart];

/// Nothing is written between the copy and the truncation: that would be lost to everybody.
const ROTATION: [Act; 11] = [
    Act::Write(20),
    Act::Write(7),
    Act::Rename,
    Act::CreateCopy,
    Act::Copy(0),
    Act::Copy(1),
    Act::Truncate,
    Act::CreateArchive,
    Act::Compress(0),
    Act::Compress(1),
    Act::RemoveCopy,
];

/// Plays two rotations and what is written after them, with a turn of the reader after each step,
/// and returns what was delivered, and what was counted as lost.
fn played(names: Names, turns: impl Fn(usize) -> Turn) -> (Vec<String>, Vec<String>, u64) {
    let mut world = World::new();
    world.reads(Turn::Look);
    let steps = [&ROTATION[..], &ROTATION[..], &[Act::Write(5)]].concat();
    for (index, step) in steps.into_iter().enumerate() {
        world.does(step, names);
        world.reads(turns(index));
    }
    for last in [Turn::All, Turn::Restart, Turn::All] {
        world.reads(last);
    }
    let want = (0..world.written).map(|number| format!("line {number}"));
    let lost = world.tailer.account().figures().abandoned;
    (world.texts, want.collect(), lost.bytes + lost.generations)
}

fn assert_exact(names: Names, turns: impl Fn(usize) -> Turn, label: impl std::fmt::Debug) {
    let (texts, want, lost) = played(names, turns);
    assert!(texts == want, "{names:?}, {label:?}: {texts:?}");
    assert_eq!(lost, 0, "{names:?}, {label:?}");
}

/// All pairs of turns at places that are near each other.
#[test]
fn wherever_the_reader_reads_or_starts_again_while_a_log_is_copied_and_compressed_all_comes_once() {
    let steps = 2 * ROTATION.len() + 1;
    for names in [Names::Dated, Names::Numbered] {
        for first in 0..steps {
            for second in first + 1..(first + 2).min(steps) {
                for at_first in TURNS {
                    for at_second in TURNS {
                        let turn = |index| match index {
                            _ if index == first => at_first,
                            _ if index == second => at_second,
                            _ => Turn::Nothing,
                        };
                        assert_exact(names, turn, (first, at_first, second, at_second));
                    }
                }
            }
        }
    }
}

/// Any turns after all steps.
#[test]
fn however_often_the_reader_looks_while_a_log_is_copied_and_compressed_all_comes_once() {
    for seed in 0..100_u64 {
        let turn = |index: usize| {
            let mixed = (seed * 64 + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
            let all = [
                Turn::Nothing,
                Turn::Look,
                Turn::Slice,
                Turn::All,
                Turn::Restart,
            ];
            all[mixed as usize % all.len()]
        };
        for names in [Names::Dated, Names::Numbered] {
            assert_exact(names, turn, seed);
        }
    }
}

/// Nobody has these lines any more: those of which the size was seen are counted.
#[test]
fn what_is_written_between_the_copy_and_the_truncation_is_counted_as_far_as_it_was_seen() {
    for is_begun in [true, false] {
        let mut world = World::new();
        world.reads(Turn::Look);
        let does = |world: &mut World, acts: &[Act]| {
            acts.iter().for_each(|act| world.does(*act, Names::Dated));
        };
        does(&mut world, &[Act::Write(20)]);
        if is_begun {
            world.reads(Turn::All);
        }
        does(&mut world, &[Act::Write(10), Act::CreateCopy]);
        does(&mut world, &[Act::Copy(0), Act::Copy(1)]);
        let copied = fs::metadata(world.log()).unwrap().len();
        does(&mut world, &[Act::Write(5)]);
        let lost = fs::metadata(world.log()).unwrap().len() - copied;
        world.tailer.survey(Instant::now());
        does(&mut world, &[Act::Truncate, Act::Write(3)]);
        world.reads(Turn::All);
        world.reads(Turn::Restart);
        world.reads(Turn::All);
        let want = (0..30).chain(35..38).map(|number| format!("line {number}"));
        assert_eq!(world.texts, want.collect::<Vec<_>>(), "begun: {is_begun}");
        let counted = world.tailer.account().figures().abandoned.bytes;
        assert_eq!(counted, lost, "begun: {is_begun}");
    }
}

/// A log at rest, of which two lines were read.
fn at_rest() -> World {
    let mut world = World::new();
    world.write(2);
    world.tailer.refresh(&world.link).unwrap();
    while world.read() {}
    assert_eq!(world.tailer.may_rest(), Some(at_rest::Rest::Ended));
    world.tailer.rest(at_rest::Rest::Ended);
    assert!(world.tailer.is_at_rest() && world.tailer.may_rest().is_none());
    world
}

#[test]
fn a_log_at_rest_that_is_written_and_deleted_before_it_is_opened_again_counts() {
    for is_written in [false, true] {
        let mut world = at_rest();
        if is_written {
            world.write(1);
            // The kernel reports that before the deletion.
            world.tailer.is_written_at_rest();
        }
        fs::remove_file(world.log()).unwrap();
        world.tailer.wake(&world.link).unwrap();
        File::create(world.log()).unwrap();
        world.write(1);
        world.tailer.refresh(&world.link).unwrap();
        while world.read() {}
        let lost = world.tailer.account().figures().abandoned.generations;
        assert_eq!(lost, u64::from(is_written));
        let last = if is_written { "line 3" } else { "line 2" };
        assert_eq!(world.texts, ["line 0", "line 1", last]);
    }
}

#[test]
fn a_log_that_is_closed_unread_and_deleted_counts_unless_its_archive_is_there() {
    for (is_archived, is_begun) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::new();
        if is_begun {
            world.write(2);
            world.tailer.refresh(&world.link).unwrap();
            while world.read() {}
        }
        world.write(2);
        world.tailer.refresh(&world.link).unwrap();
        world.tailer.survey(Instant::now());
        let rests = if is_begun {
            at_rest::Rest::Begun
        } else {
            at_rest::Rest::Unbegun
        };
        assert_eq!(world.tailer.may_rest(), Some(rests));
        world.tailer.rest(rests);
        assert!(world.tailer.is_at_rest());
        if is_archived {
            fs::rename(world.log(), world.copy(Names::Numbered)).unwrap();
            for step in [Act::CreateArchive, Act::Compress(0), Act::Compress(1)] {
                world.does(step, Names::Numbered);
            }
            world.does(Act::RemoveCopy, Names::Numbered);
        } else {
            fs::remove_file(world.log()).unwrap();
        }
        File::create(world.log()).unwrap();
        world.write(1);
        world.tailer.refresh(&world.link).unwrap();
        while world.read() {}
        let lost = world.tailer.account().figures().abandoned.generations;
        assert_eq!(lost, u64::from(!is_archived), "{is_begun}");
        let unread = if is_begun { 2..4 } else { 0..2 };
        let all = (0..world.written).filter(|line| is_archived || !unread.contains(line));
        let all: Vec<String> = all.map(|line| format!("line {line}")).collect();
        assert_eq!(world.texts, all, "{is_begun}");
    }
}
