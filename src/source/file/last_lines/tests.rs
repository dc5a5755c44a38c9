//! The oracle reads everything and takes the last lines of that.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::delivery::checkpoint::TimeCursor;
use crate::pipeline::partial::{PIECE_BYTES, PIECE_GAP};
use crate::runtime::LogFiles;
use crate::source::file::listing;

/// An entry: its stream, its text, and whether it ends a line.
type Written = (Stream, &'static str, bool);

const OUT: Stream = Stream::Stdout;
const ERR: Stream = Stream::Stderr;

/// The pieces of a line have the time of the first.
fn json_lines(pieces: &[Written]) -> Vec<u8> {
    let mut text = String::new();
    let mut begun = [None; 2];
    for (number, (stream, piece, ends_line)) in pieces.iter().enumerate() {
        let line_feed = if *ends_line { "\\n" } else { "" };
        let time = *begun[stream.index()].get_or_insert(number);
        if *ends_line {
            begun[stream.index()] = None;
        }
        let stream = stream.name();
        writeln!(
            text,
            "{{\"log\":\"{piece}{line_feed}\",\"stream\":\"{stream}\",\"time\":\"2023-11-14T22:13:20.{time:09}Z\"}}"
        )
        .unwrap();
    }
    text.into_bytes()
}

fn cri_lines(pieces: &[Written]) -> Vec<u8> {
    let mut text = String::new();
    for (number, (stream, piece, ends_line)) in pieces.iter().enumerate() {
        let tag = if *ends_line { 'F' } else { 'P' };
        let stream = stream.name();
        writeln!(
            text,
            "2023-11-14T22:13:20.{number:09}Z {stream} {tag} {piece}"
        )
        .unwrap();
    }
    text.into_bytes()
}

/// The beginnings of the entries, each with its bytes, in the order in which they stand.
fn starts(content: &[u8]) -> Vec<u64> {
    let mut at = 0;
    let mut starts = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        starts.push(at);
        at += line.len() as u64;
    }
    starts
}

/// For each stream, the index of the first entry that belongs to the last lines.
fn oracle(pieces: &[Written], count: usize) -> [usize; 2] {
    // The lines, by the indexes of their entries, in the order of their ends.
    let mut open: [Vec<usize>; 2] = Default::default();
    let mut lines: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, (stream, _, ends_line)) in pieces.iter().enumerate() {
        open[stream.index()].push(index);
        if *ends_line {
            lines.push((index, std::mem::take(&mut open[stream.index()])));
        }
    }
    for entries in open {
        if let Some(last) = entries.last() {
            lines.push((*last, entries));
        }
    }
    lines.sort();
    let wanted = &lines[lines.len().saturating_sub(count)..];
    Stream::ALL.map(|stream| {
        let of_stream = wanted.iter().flat_map(|(_, entries)| entries);
        let mut of_stream = of_stream.filter(|index| pieces[**index].0 == stream);
        of_stream.next().copied().unwrap_or(pieces.len())
    })
}

fn begins(log: &Path, count: usize) -> ContainerCheckpoint {
    let listed = listing::list(&LogFiles::numbered(log)).unwrap().files;
    before_last_lines(&listed, count).unwrap()
}

/// Which entries would be read of one file: those of a stream from its offset on.
fn is_read(begin: &StreamCheckpoint, start: u64) -> bool {
    start >= begin.offset
}

#[test]
fn the_last_lines_are_those_of_a_reader_of_everything_in_whatever_pieces_they_stand() {
    let cases: [&[Written]; 6] = [
        &[(OUT, "a", true), (OUT, "b", true), (OUT, "c", true)],
        &[
            (OUT, "a", false),
            (OUT, "a", true),
            (OUT, "b", false),
            (OUT, "b", true),
        ],
        &[
            (OUT, "a", false),
            (ERR, "e", true),
            (OUT, "a", true),
            (ERR, "f", true),
        ],
        &[
            (ERR, "e", false),
            (OUT, "a", true),
            (OUT, "b", true),
            (ERR, "e", true),
        ],
        &[
            (OUT, "a", true),
            (ERR, "e", true),
            (OUT, "b", false),
            (ERR, "f", false),
        ],
        &[(OUT, "a", true), (OUT, "b", false)],
    ];
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    for pieces in cases {
        for content in [json_lines(pieces), cri_lines(pieces)] {
            std::fs::write(&log, &content).unwrap();
            let starts = starts(&content);
            for count in 1..5 {
                let begins = begins(&log, count);
                let first = oracle(pieces, count);
                for (index, (stream, _, _)) in pieces.iter().enumerate() {
                    assert_eq!(
                        is_read(&begins[stream.index()], starts[index]),
                        index >= first[stream.index()],
                        "{count} of {pieces:?}: entry {index}"
                    );
                }
            }
        }
    }
}

/// Docker before 18.06: each piece of a line has a time of its own.
#[test]
fn full_pieces_whose_times_are_close_are_one_line_as_for_the_reader() {
    let full = "x".repeat(PIECE_BYTES);
    let tail = "x".repeat(40_000 - 2 * PIECE_BYTES) + "\\n";
    let record = |text: &str, nanos: u32| {
        format!("{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{nanos:09}Z\"}}\n")
    };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    let gap = PIECE_GAP.as_nanos() as u32;
    for (between, end, lines) in [
        (1, tail.as_str(), 1),
        (50_000_000, &tail, 1),
        (gap - 1, &tail, 1),
        (gap, &tail, 3),
        // A line of exactly two pieces ends with an empty one.
        (1, "\\n", 1),
    ] {
        let before = record("before\\n", 0);
        let pieces = [&full, &full, end].map(|text| text.to_owned());
        let times = 1..;
        let long = pieces
            .iter()
            .zip(times)
            .map(|(text, n)| record(text, n * between));
        let long: String = long.collect();
        let last = record("last\\n", 900_000_000);
        std::fs::write(&log, [&before[..], &long, &last].concat()).unwrap();
        let offset = begins(&log, 1 + lines)[0].offset;
        assert_eq!(offset, before.len() as u64, "{between} ns, {lines} lines");
    }
    // A short piece ended with its stream.
    let short = record("prompt: ", 1);
    std::fs::write(&log, short.clone() + &record("next\\n", 2)).unwrap();
    assert_eq!(begins(&log, 1)[0].offset, short.len() as u64);
}

/// An entry at a second of that day.
fn json_line(text: &str, stream: Stream, second: u32) -> String {
    let (stream, minute, second) = (stream.name(), second / 60, second % 60);
    format!("{{\"log\":\"{text}\",\"stream\":\"{stream}\",\"time\":\"2023-11-14T22:{minute:02}:{second:02}Z\"}}\n")
}

/// Each of the longest that is delivered whole by default, and as long as JSON can make it.
#[test]
fn the_longest_lines_of_both_streams_are_begun_at_their_heads() {
    let piece = "\\u0001".repeat(PIECE_BYTES);
    let before = json_line("out\\n", OUT, 0);
    let both_before = before.clone() + &json_line("err\\n", ERR, 0);
    let both = |text: &str| json_line(text, OUT, 1) + &json_line(text, ERR, 1);
    let lines = both(&piece).repeat(1_000_000 / PIECE_BYTES) + &both("\\n");
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    std::fs::write(&log, [&*both_before, &lines].concat()).unwrap();
    assert_eq!(
        begins(&log, 1)[ERR.index()].offset,
        both_before.len() as u64
    );
    assert_eq!(begins(&log, 2)[OUT.index()].offset, before.len() as u64);
}

/// A line on standard error is no reason to read all that standard output has had before.
#[test]
fn the_beginning_of_a_line_is_not_looked_for_before_entries_that_are_far_older() {
    let grace = TAGGED_LINE_GRACE.as_secs() as u32;
    let older = json_line("older\\n", OUT, 0);
    let old = json_line("old\\n", OUT, 1);
    let new = json_line("new\\n", OUT, grace);
    let last = json_line("last\\n", ERR, 1 + grace);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    std::fs::write(&log, [&*older, &old, &new, &last].concat()).unwrap();
    let begins = begins(&log, 1);
    let out = older.len() + old.len() + new.len();
    assert_eq!(begins[OUT.index()].offset, out as u64);
    assert_eq!(begins[ERR.index()].offset, older.len() as u64);
}

#[test]
fn rotated_files_are_searched_only_for_what_newer_ones_lack_and_archives_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    let three = [(OUT, "a", true), (OUT, "b", true), (OUT, "c", true)];
    let content = |from: usize| json_lines(&three)[from..].to_vec();
    let pack = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let oldest = [b"".as_slice(), &json_lines(&[(OUT, "oldest", true); 4])].concat();
    let older = json_lines(&[(OUT, "older", true); 3]);
    std::fs::write(dir.path().join("x-json.log.2.gz"), pack(&oldest)).unwrap();
    std::fs::write(dir.path().join("x-json.log.1"), &older).unwrap();
    std::fs::write(&log, content(0)).unwrap();
    let line = (content(0).len() / 3) as u64;
    let (in_older, in_oldest) = ((older.len() / 3) as u64, (oldest.len() / 4) as u64);
    for (count, offset) in [
        (2, line),
        (3, 3 * in_older),
        (4, 2 * in_older),
        (6, 4 * in_oldest),
        (7, 3 * in_oldest),
        (10, 0),
        (99, 0),
    ] {
        let begins = begins(&log, count);
        assert_eq!(begins[0].offset, offset, "{count} lines");
        assert_eq!(
            begins[1], begins[0],
            "{count} lines: there is no other stream"
        );
    }
    // It fits nothing else than the file that it is in.
    assert_eq!(begins(&log, 7)[0].birth, 0);
}

fn at(minute: u32) -> Timestamp {
    Timestamp {
        seconds: 1_699_999_200 + 60 * i64::from(minute),
        nanos: 0,
    }
}

/// Where the lines begin that were written after a minute of that day, until its last one.
fn begins_after(log: &Path, minute: u32) -> ContainerCheckpoint {
    let listed = listing::list(&LogFiles::numbered(log)).unwrap().files;
    after_time(&listed, at(minute), at(59)).unwrap()
}

#[test]
fn what_is_later_than_a_time_begins_where_its_first_line_does_in_each_stream_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    let line = |stream, minute: u32| json_line("x\\n", stream, minute * 60);
    let older = [(OUT, 1), (ERR, 2), (OUT, 3)].map(|(stream, minute)| line(stream, minute));
    let newer = [(OUT, 4), (OUT, 5), (ERR, 6), (OUT, 7)].map(|(stream, at)| line(stream, at));
    std::fs::write(dir.path().join("x-json.log.1"), older.concat()).unwrap();
    std::fs::write(&log, newer.concat()).unwrap();
    let length = |lines: &[String]| lines.concat().len() as u64;
    let (all_older, all_newer) = (length(&older), length(&newer));
    for (minute, expected) in [
        (2, [length(&older[..1]), length(&older[..2])]),
        (3, [all_older, length(&older[..2])]),
        // The other stream has nothing between.
        (4, [length(&newer[..1]), length(&older[..2])]),
        (6, [length(&newer[..2]), length(&newer[..3])]),
        (7, [all_newer; 2]),
        (30, [all_newer; 2]),
    ] {
        let begins = begins_after(&log, minute);
        assert_eq!(begins.map(|begin| begin.offset), expected, "{minute}");
        for begin in begins {
            assert!(begin.cursor == TimeCursor::after(at(minute)) && !begin.is_by_time);
        }
    }
    // Everything is later: nothing is known but the time.
    assert_eq!(begins_after(&log, 0), [StreamCheckpoint::after(at(0)); 2]);
    // A clock that was set back since.
    std::fs::write(&log, newer.concat() + &line(OUT, 60 + 3)).unwrap();
    let end = all_newer + line(OUT, 60 + 3).len() as u64;
    assert_eq!(begins_after(&log, 5).map(|begin| begin.offset), [end; 2]);
}

/// A terabyte before it, which no test would end that read it.
#[test]
fn a_log_that_was_not_written_since_a_time_begins_at_its_end_or_after_it_in_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    let file = std::fs::File::create(&log).unwrap();
    file.set_len(1 << 40).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    let later = json_line("x\\n", OUT, 40 * 60);
    file.write_all(&[b"\n", later.as_bytes()].concat()).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    file.set_modified(time).unwrap();
    let end = (1 << 40) + 1 + later.len() as u64;
    assert_eq!(begins_after(&log, 30).map(|begin| begin.offset), [end; 2]);
    std::fs::rename(&log, dir.path().join("x-json.log.1")).unwrap();
    for content in ["", &later] {
        std::fs::write(&log, content).unwrap();
        let id = crate::runtime::file::stat_path(&log.clone().into())
            .unwrap()
            .0;
        let begins = begins_after(&log, 30);
        assert_eq!(begins.map(|begin| begin.offset), [0; 2]);
        assert_eq!(begins.map(|begin| begin.birth), [id.birth; 2]);
    }
}

#[test]
fn a_long_log_is_read_at_its_end_alone() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    std::fs::write(&log, json_lines(&[(OUT, "first", true)])).unwrap();
    let file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    // A hole stands for a terabyte: reading it would take longer than any test.
    file.set_len(1 << 40).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    let lines = json_lines(&[(OUT, "x", true); 30]);
    file.write_all(b"\n").unwrap();
    file.write_all(&lines).unwrap();
    let offset = |count| begins(&log, count)[0].offset - (1 << 40) - 1;
    assert_eq!(offset(10), (lines.len() as u64 / 30) * 20);
    // An entry that is too long for the reader is not searched either.
    assert_eq!(offset(99), 0);
}

#[test]
fn an_empty_log_and_one_that_is_being_written_have_their_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    std::fs::write(&log, "").unwrap();
    assert_eq!(begins(&log, 3)[0].offset, 0, "an empty log");
    // The end is being written.
    let mut content = json_lines(&[(OUT, "a", true), (OUT, "b", true)]);
    let line = content.len() as u64 / 2;
    content.extend(b"{\"log\":\"half");
    std::fs::write(&log, &content).unwrap();
    let found = begins(&log, 1);
    assert_eq!([found[0].offset, found[1].offset], [line; 2]);
    // No archive.
    std::fs::write(dir.path().join("x-json.log.1.gz"), "nothing of gzip").unwrap();
    let found = begins(&log, 1);
    assert_eq!([found[0].offset, found[1].offset], [line; 2]);
}

/// Frames of the driver `local`, as dockerd wrote them, and the last one while it is written.
#[test]
fn frames_are_lines_too() {
    let frame =
        b"\0\0\0\x1a\x0a\x06stdout\x10\xa5\xdc\xb7\xab\xa8\xc2\xb1\xf5\x18\x1a\x06line 1\0\0\0\x1a";
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("container.log");
    // More than a block.
    let count = 5 * BLOCK_BYTES / frame.len();
    std::fs::write(&log, frame.repeat(count)).unwrap();
    let length = frame.len() as u64;
    for last in [1, 10, count - 1] {
        let offset = begins(&log, last)[0].offset;
        assert_eq!(offset, (count - last) as u64 * length, "{last} lines");
    }
    assert_eq!(begins(&log, count + 1)[0].offset, 0);
    std::fs::write(&log, [&frame.repeat(3)[..], &frame[..20]].concat()).unwrap();
    // As where reading begins at the end: what is torn is passed over at the next whole frame.
    assert_eq!(begins(&log, 1)[0].offset, 3 * length + 20);
}
