//! A log whose beginning was cut off by hand (`tail -n 100 LOG > x; mv x LOG`, `sed -i 1,50d`): what
//! was read of it stands at other offsets. The bytes before the position are looked for. Entries are
//! in the order of their times, so a bisection finds the place near which they must be:
//!
//! ```text
//! read before   [ cut off ..... | kept ..... last | unread ]
//! file of now                   [ kept ..... last | unread ]
//!                                                 ^ reading goes on here
//! ```

use std::fs::File;
use std::io;

use memchr::{memchr, memchr_iter, memrchr};

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker, HEAD_BYTES};
use crate::delivery::checkpoint::{StreamCheckpoint, TimeCursor};
use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::runtime::file::{read_up_to, stat_file};
use crate::source::file::content::{have_same_at, TAIL_BYTES};
use crate::source::file::generation::Generation;

/// Bytes read to find one entry. Behind a longer one, nothing is looked for.
const ENTRY_BYTES: usize = 128 * 1024;
/// How far around the place of a time the bytes may stand: entries of the two streams may be out of
/// order. That much is read at the end of the bisection.
const NEAR: u64 = 1 << 20;
/// Limit on the places that are compared with the beginning of a part.
const MOST_ALIKE: usize = 64;

/// Moves a file of lines, of which nothing has been read, behind the bytes that stood before
/// `checkpoint` in another one. `cursors` are those of the last entries before it. Returns whether
/// they are in the file.
pub fn seek_kept(
    file: &mut Generation,
    checkpoint: &StreamCheckpoint,
    cursors: &[TimeCursor],
) -> io::Result<bool> {
    let Some(plain) = file.plain_file() else {
        return Ok(false);
    };
    for cursor in cursors {
        // Others with its time may have been cut off.
        if !begins_before(plain, cursor.time)? {
            continue;
        }
        let ends = ends_of(plain, checkpoint.marker, *cursor)?;
        let end = match cursor.is_start() {
            // None of them is wanted.
            true => ends.last(),
            // Of several that are alike, what is behind the first one is repeated, not lost.
            false => ends.first(),
        };
        let Some(offset) = end.copied() else {
            continue;
        };
        let mut head = file.head_now()?.unwrap_or_default();
        head.truncate(HEAD_BYTES.min(offset as usize));
        let here = StreamCheckpoint {
            fingerprint: Fingerprint::of(&head),
            offset,
            ..*checkpoint
        };
        return Ok(file.seek(&here)? == Some(true));
    }
    Ok(false)
}

/// Whether a file of which nothing has been read is a part of an older one, without its beginning,
/// and perhaps written on. It is returned open behind what both have, with `true`; or, if something
/// else follows in it before that, at its start with `false`.
///
/// A rotation is not to be taken for it: Podman's takes the name of the log like an editor's, and
/// the entries of one read have one time and may be alike. So what both have must hold entries of
/// two times where nothing of it is to be read again, unless `is_begun_by_hand` says that the file is
/// not the runtime's.
pub fn part_of(
    held: &Generation,
    mut file: Generation,
    is_begun_by_hand: bool,
) -> io::Result<Option<(Generation, bool)>> {
    let (Some(old), Some(new)) = (held.plain_file(), file.plain_file()) else {
        return Ok(None);
    };
    let Some((layout, end, first)) = first_entry(new, 0)? else {
        return Ok(None);
    };
    let Some(time) = layout.first_time(&first) else {
        return Ok(None);
    };
    let (size, size_of_new) = (stat_file(old)?.1, stat_file(new)?.1);
    if last_time(old, layout, size)?.is_some_and(|last| last < time) {
        return Ok(None);
    }
    let cursor = TimeCursor { time, count: 1 };
    if !is_begun_by_hand && !begins_before(old, time)? {
        return Ok(None);
    }
    let ends = ends_of(old, Marker::of(&first), cursor)?;
    let mut starts = Vec::new();
    for start in ends.iter().filter_map(|of_old| of_old.checked_sub(end)) {
        // Of many that are alike, none is certain.
        if starts.len() < MOST_ALIKE && have_same_at([(old, start), (new, 0)], end)? {
            starts.push(start);
        }
    }
    if starts.is_empty() || ends.len() > 1 && !is_begun_by_hand {
        return Ok(None);
    }
    let mut commons = Vec::new();
    for start in starts {
        let common = size.saturating_sub(start).min(size_of_new);
        let length = common.min(TAIL_BYTES);
        let mut is_same = true;
        for from in [0, common - length] {
            is_same &= have_same_at([(old, start + from), (new, from)], length)?;
        }
        commons.extend(is_same.then_some(common));
    }
    let is_certain = ends.len() < MOST_ALIKE;
    let common = match commons[..] {
        [common] if is_certain => common,
        _ => return Ok(Some((file, false))),
    };
    file.seek_to_end_before(common)?;
    let last = last_time(file.file()?, layout, file.read_offset())?;
    let is_it = is_begun_by_hand || last.is_some_and(|last| last != time);
    Ok(is_it.then_some((file, true)))
}

/// Whether the first entry of a file of lines is older than this.
fn begins_before(file: &File, time: Timestamp) -> io::Result<bool> {
    Ok(time_of_first(file)?.is_some_and(|first| first < time))
}

/// Where lines end that end in bytes with this hash, and whose entries have the cursor's time, or
/// one up to it if reading starts there. None of a piece of a line.
fn ends_of(file: &File, marker: Marker, cursor: TimeCursor) -> io::Result<Vec<u64>> {
    let time = cursor.time;
    let first = first_entry(file, 0)?.filter(|_| marker.length > 0);
    let Some((layout, ..)) = first else {
        return Ok(Vec::new());
    };
    let size = stat_file(file)?.1;
    let (mut low, mut high) = (0, size);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        let Some((layout, _, entry)) = first_entry(file, middle)? else {
            return Ok(Vec::new());
        };
        match layout.first_time(&entry).is_none_or(|first| first > time) {
            false => low = middle,
            true => high = middle,
        }
    }
    let from = low.saturating_sub(NEAR);
    let mut near = vec![0; (high - from + NEAR).min(size - from) as usize];
    let length = read_up_to(file, &mut near, from)?;
    let (mut found, mut start) = (Vec::new(), 0);
    for line_feed in memchr_iter(b'\n', &near[..length]) {
        let end = line_feed + 1;
        if marker.matches(&near[..end]) {
            let entry = layout.first_piece(&near[start..end]);
            // The pieces of a line have one time and may end alike.
            let is_it = |of: Timestamp| of == time || cursor.is_start() && of < time;
            if entry.is_some_and(|entry| entry.ends_line && is_it(entry.time)) {
                found.push(from + end as u64);
            }
        }
        start = end;
    }
    Ok(found)
}

/// The first whole entry at or after an offset of a file of lines, with its format and where it
/// ends.
fn first_entry(file: &File, from: u64) -> io::Result<Option<(Layout, u64, Vec<u8>)>> {
    let mut bytes = vec![0; ENTRY_BYTES];
    let length = read_up_to(file, &mut bytes, from)?;
    let mut rest = &bytes[..length];
    while let Some(line_feed) = memchr(b'\n', rest) {
        let line = &rest[..=line_feed];
        let layout = Layout::detect(line).filter(|layout| layout.is_lines());
        if let Some(layout) = layout.filter(|layout| layout.first_time(line).is_some()) {
            let after = rest.len() - line.len();
            let end = from + (length - after) as u64;
            return Ok(Some((layout, end, line.to_vec())));
        }
        rest = &rest[line_feed + 1..];
    }
    Ok(None)
}

/// The time of the first entry of a file of lines.
pub fn time_of_first(file: &File) -> io::Result<Option<Timestamp>> {
    let first = first_entry(file, 0)?;
    Ok(first.and_then(|(layout, _, entry)| layout.first_time(&entry)))
}

/// The time of the last whole entry of a file, whatever its format.
pub fn time_of_last(file: &File) -> io::Result<Option<Timestamp>> {
    let mut head = [0; HEAD_BYTES];
    let length = read_up_to(file, &mut head, 0)?;
    let Some(layout) = Layout::detect(&head[..length]) else {
        return Ok(None);
    };
    last_time(file, layout, stat_file(file)?.1)
}

/// The time of the last whole entry before an offset. A frame must end there.
fn last_time(file: &File, layout: Layout, end: u64) -> io::Result<Option<Timestamp>> {
    let from = end.saturating_sub(ENTRY_BYTES as u64);
    let mut bytes = vec![0; (end - from) as usize];
    let length = read_up_to(file, &mut bytes, from)?;
    let whole = match layout.is_lines() {
        true => memrchr(b'\n', &bytes[..length]).map_or(0, |line_feed| line_feed + 1),
        false => length,
    };
    let last = layout.last_entry(&bytes[..whole]);
    Ok(layout.first_time(&bytes[whole - last..whole]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::safe_path::SafePath;

    /// Entries with these numbers, one a microsecond, of some 90 bytes each.
    fn entries(numbers: std::ops::Range<usize>) -> String {
        let entry = |number| {
            format!("{{\"log\":\"line of the log\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{number:06}Z\"}}\n")
        };
        numbers.map(entry).collect()
    }

    /// One entry of this time was taken.
    fn cursor(time: Timestamp) -> TimeCursor {
        TimeCursor { time, count: 1 }
    }

    fn time(number: usize) -> Timestamp {
        Timestamp {
            seconds: 1_700_000_000,
            nanos: number as u32 * 1000,
        }
    }

    fn open(dir: &std::path::Path, content: &str) -> Generation {
        let path = dir.join("x-json.log");
        std::fs::write(&path, content).unwrap();
        Generation::open(&SafePath::from(path), false).unwrap()
    }

    #[test]
    fn what_was_read_is_found_wherever_the_log_was_cut_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let all = entries(0..100_000);
        let entry = all.len() / 100_000;
        for (position, cut) in [
            (1, 0),
            (100_000, 0),
            (50_000, 49_999),
            (70_000, 1_000),
            (70_000, 69_000),
            (99_990, 10),
        ] {
            let marker = Marker::of(&all.as_bytes()[..position * entry]);
            let checkpoint = StreamCheckpoint {
                marker,
                offset: (position * entry) as u64,
                ..StreamCheckpoint::default()
            };
            let at = |file: &mut Generation, cursors: &[TimeCursor]| {
                let is_found = seek_kept(file, &checkpoint, cursors).unwrap();
                is_found.then_some(file.read_offset() as usize)
            };
            let near = [cursor(time(position - 1))];
            let want = (position - cut) * entry;
            // Others with the time of the first entry may have been cut off.
            let is_certain = position - cut > 1;
            // At the end of an entry, and within one.
            let mut file = open(dir.path(), &all[cut * entry..]);
            let found = at(&mut file, &near);
            assert_eq!(found, is_certain.then_some(want), "{position} {cut}");
            if is_certain {
                let mut file = open(dir.path(), &all[cut * entry + 7..]);
                assert_eq!(at(&mut file, &near), Some(want - 7), "{position} {cut}");
            }
            // Cut off with what was read, or another log.
            let mut file = open(dir.path(), &all[position.min(99_999) * entry..]);
            if position < 100_000 {
                assert_eq!(at(&mut file, &near), None);
            }
            let mut file = open(dir.path(), "no log\n");
            assert_eq!(at(&mut file, &near), None);
        }
    }

    /// The pieces of a line have one time, and the next one may be like the one that was read.
    #[test]
    fn a_piece_of_a_line_is_not_taken_for_the_one_that_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let piece = "{\"log\":\"xxxxxxxxxxxx\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.000001Z\"}\n";
        let checkpoint = StreamCheckpoint {
            marker: Marker::of(piece.as_bytes()),
            offset: 700,
            ..StreamCheckpoint::default()
        };
        let mut file = open(dir.path(), piece);
        assert!(!seek_kept(&mut file, &checkpoint, &[cursor(time(1))]).unwrap());
    }

    /// conmon and Docker: entries of one read have one time, and a rotation comes between them.
    #[test]
    fn a_rotation_between_entries_of_one_time_is_not_taken_for_a_cut() {
        let cri = |nanos: usize, text: &str| {
            format!("2023-11-14T22:13:20.{nanos:09}+00:00 stdout F {text}\n")
        };
        let json = |nanos: usize, text: &str| {
            format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.{nanos:09}Z\"}}\n")
        };
        let ends_alike = |number: usize| format!("{number} {}", "x".repeat(64));
        for is_cri in [true, false] {
            let entry = |nanos, text: &str| match is_cri {
                true => cri(nanos, text),
                false => json(nanos, text),
            };
            let before: String = (0..200).map(|nanos| entry(nanos, "before")).collect();
            let later: String = (900..1_000).map(|nanos| entry(nanos, "same")).collect();
            for (in_old, in_new) in [(1, 1), (1, 50), (50, 1), (50, 50), (300, 300)] {
                let texts = |range: std::ops::Range<usize>, is_same: bool| -> String {
                    let text = |number| match is_same {
                        true => "same".to_owned(),
                        false => ends_alike(number),
                    };
                    range.map(|number| entry(500, &text(number))).collect()
                };
                for (is_same, before, later) in [
                    (true, &before[..], ""),
                    (true, &before[..], &later[..]),
                    (false, &before[..], &later[..]),
                    (true, "", &later[..]),
                    (false, "", ""),
                ] {
                    let dir = tempfile::tempdir().unwrap();
                    let old = before.to_owned() + &texts(0..in_old, is_same);
                    let new = texts(in_old..in_old + in_new, is_same) + later;
                    let held = open(dir.path(), &old);
                    std::fs::rename(dir.path().join("x-json.log"), dir.path().join("old")).unwrap();
                    let part = part_of(&held, open(dir.path(), &new), false).unwrap();
                    assert!(part.is_none(), "{is_same} {in_old} {in_new}: {new}");
                }
            }
        }
    }

    /// What is behind the first of several that are alike is repeated; a line that is like the one
    /// that was read and has another time is another line.
    #[test]
    fn of_lines_that_are_alike_none_is_skipped_unread() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |nanos: usize| {
            let text = "GET /health of a service that is asked every ten seconds 200";
            format!("2023-11-14T22:13:20.{nanos:09}+00:00 stdout F {text}\n")
        };
        let at = |nanos: usize| Timestamp {
            seconds: 1_700_000_000,
            nanos: nanos as u32,
        };
        let checkpoint = StreamCheckpoint {
            marker: Marker::of(entry(5).as_bytes()),
            offset: 7_000,
            ..StreamCheckpoint::default()
        };
        let found = |nanos: &[usize]| {
            let content: String = nanos.iter().map(|nanos| entry(*nanos)).collect();
            let mut file = open(dir.path(), &content);
            let is_found = seek_kept(&mut file, &checkpoint, &[cursor(at(5))]).unwrap();
            is_found.then_some(file.read_offset() as usize / entry(0).len())
        };
        assert_eq!(found(&[3, 4, 5, 6]), Some(3));
        assert_eq!(found(&[4, 5, 5, 5, 6]), Some(2));
        assert_eq!(found(&[5, 5, 6]), None);
        assert_eq!(found(&[4, 6]), None);
        assert_eq!(found(&[6, 7]), None);
    }

    #[test]
    fn a_part_of_a_log_is_told_from_one_that_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let all = entries(0..3_000);
        let held = open(dir.path(), &all);
        std::fs::remove_file(dir.path().join("x-json.log")).unwrap();
        let part = |content: &str| {
            let part = part_of(&held, open(dir.path(), content), false).unwrap();
            part.map(|(file, is_same)| (file.read_offset() as usize, is_same))
        };
        let tail = entries(2_900..3_000);
        let whole = Some((tail.len(), true));
        assert_eq!(part(&tail), whole);
        assert_eq!(part(&tail[9..]), Some((tail.len() - 9, true)));
        assert_eq!(part(&entries(100..200)), whole);
        // Written on, at its end and within an entry.
        assert_eq!(part(&entries(2_900..3_100)), whole);
        let more = tail.clone() + &tail[..20];
        assert_eq!(part(&more), whole);
        // Another entry within it, or in the place of one, or behind what both have.
        let changed = Some((0, false));
        let lacks_one = entries(2_900..2_950) + &entries(2_951..3_000);
        assert_eq!(part(&lacks_one), changed);
        let edited = tail.replace("20.002950Z", "20.902950Z");
        assert_eq!(part(&edited), changed);
        let written_on = entries(100..200) + &entries(5_000..5_200);
        assert_eq!(part(&written_on), changed);
        // Every second one is left.
        let filtered: String = (100..200)
            .step_by(2)
            .map(|at| entries(at..at + 1))
            .collect();
        assert_eq!(part(&filtered), changed);
        assert_eq!(part(&entries(3_000..3_100)), None);
        assert_eq!(part("text\n"), None);
        assert_eq!(part(""), None);
    }
}
