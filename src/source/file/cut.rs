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
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::runtime::file::{read_up_to, stat_file};
use crate::source::file::generation::Generation;

/// Bytes read to find one entry. Behind a longer one, nothing is looked for.
const ENTRY_BYTES: usize = 128 * 1024;
/// How far around the place of a time the bytes may stand: entries of the two streams may be out of
/// order. That much is read at the end of the bisection.
const NEAR: u64 = 1 << 20;

/// Moves a file of lines, of which nothing has been read, behind the bytes that stood before
/// `checkpoint` in another one. `times` are those of entries near it. Returns whether they are in
/// the file.
pub fn seek_kept(
    file: &mut Generation,
    checkpoint: &StreamCheckpoint,
    times: &[Timestamp],
) -> io::Result<bool> {
    let Some(plain) = file.plain_file() else {
        return Ok(false);
    };
    for time in times {
        let Some(offset) = end_of(plain, checkpoint.marker, *time)? else {
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

/// How a file stands to an older one, if it is a part of that.
pub enum Part {
    /// All of it is in the older one; it is open at its end.
    Whole(Generation),
    /// It begins with what is in the older one.
    Begins(Generation),
}

/// Whether a file of which nothing has been read is a part of another one, without its beginning.
pub fn part_of(held: &Generation, mut file: Generation) -> io::Result<Option<Part>> {
    let (Some(old), Some(new)) = (held.plain_file(), file.plain_file()) else {
        return Ok(None);
    };
    let Some((layout, first)) = first_entry(new, 0)? else {
        return Ok(None);
    };
    let Some(time) = layout.first_time(&first) else {
        return Ok(None);
    };
    if end_of(old, Marker::of(&first), time)?.is_none() {
        return Ok(None);
    }
    file.seek_to_end()?;
    let end = file.resume_here();
    let last = match file.plain_file() {
        Some(new) => last_time(new, layout, end.offset)?,
        None => None,
    };
    if let (Some(old), Some(last)) = (held.plain_file(), last) {
        if end_of(old, end.marker, last)?.is_some() {
            return Ok(Some(Part::Whole(file)));
        }
    }
    Ok(Some(Part::Begins(file.restarted(file.number)?)))
}

/// Where the line ends that ends in bytes with this hash, and whose entry, or one near it, has this
/// time. `None` if no line does, or several do and none of them has the time, and of a piece of a
/// line.
fn end_of(file: &File, marker: Marker, time: Timestamp) -> io::Result<Option<u64>> {
    if marker.length == 0 {
        return Ok(None);
    }
    let size = stat_file(file)?.1;
    let is_later = |from| {
        Ok::<_, io::Error>(first_entry(file, from)?.map(|(layout, entry)| {
            (
                layout,
                layout.first_time(&entry).is_none_or(|first| first > time),
            )
        }))
    };
    let Some((layout, false)) = is_later(0)? else {
        return Ok(None);
    };
    let (mut low, mut high) = (0, size);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        match is_later(middle)? {
            Some((_, false)) => low = middle,
            Some((_, true)) => high = middle,
            None => return Ok(None),
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
            if let Some(entry) = entry.filter(|entry| entry.ends_line) {
                found.push((from + end as u64, entry.time == time));
            }
        }
        start = end;
    }
    let exact = found.iter().rev().find(|(_, is_it)| *is_it);
    Ok(match (exact, &found[..]) {
        (Some((end, _)), _) | (None, [(end, _)]) => Some(*end),
        _ => None,
    })
}

/// The first whole entry at or after an offset of a file of lines, and its format.
fn first_entry(file: &File, from: u64) -> io::Result<Option<(Layout, Vec<u8>)>> {
    let mut bytes = vec![0; ENTRY_BYTES];
    let length = read_up_to(file, &mut bytes, from)?;
    let mut rest = &bytes[..length];
    while let Some(line_feed) = memchr(b'\n', rest) {
        let line = &rest[..=line_feed];
        let layout = Layout::detect(line).filter(|layout| layout.is_lines());
        if let Some(layout) = layout.filter(|layout| layout.first_time(line).is_some()) {
            return Ok(Some((layout, line.to_vec())));
        }
        rest = &rest[line_feed + 1..];
    }
    Ok(None)
}

/// The time of the entry that ends at an offset.
fn last_time(file: &File, layout: Layout, end: u64) -> io::Result<Option<Timestamp>> {
    let from = end.saturating_sub(ENTRY_BYTES as u64);
    let mut bytes = vec![0; (end - from) as usize];
    let length = read_up_to(file, &mut bytes, from)?;
    let before = &bytes[..length.saturating_sub(1)];
    let start = memrchr(b'\n', before).map_or(0, |line_feed| line_feed + 1);
    Ok(layout.first_time(&bytes[start..length]))
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
            let at = |file: &mut Generation, times: &[Timestamp]| {
                let is_found = seek_kept(file, &checkpoint, times).unwrap();
                is_found.then_some(file.read_offset() as usize)
            };
            let near = [time(position - 1)];
            let want = (position - cut) * entry;
            // At the end of an entry, and within one.
            let mut file = open(dir.path(), &all[cut * entry..]);
            assert_eq!(at(&mut file, &near), Some(want), "{position} {cut}");
            if position - cut > 1 {
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
        assert!(!seek_kept(&mut file, &checkpoint, &[time(1)]).unwrap());
    }

    #[test]
    fn a_part_of_a_log_is_told_from_one_that_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let all = entries(0..3_000);
        let held = open(dir.path(), &all);
        std::fs::remove_file(dir.path().join("x-json.log")).unwrap();
        let part = |content: &str| part_of(&held, open(dir.path(), content)).unwrap();
        let part = |content: &str| match part(content)? {
            Part::Whole(file) => Some(("whole", file.read_offset() as usize)),
            Part::Begins(file) => Some(("begins", file.read_offset() as usize)),
        };
        let tail = entries(2_900..3_000);
        assert_eq!(part(&tail), Some(("whole", tail.len())));
        assert_eq!(part(&tail[9..]), Some(("whole", tail.len() - 9)));
        assert_eq!(
            part(&entries(100..200)),
            Some(("whole", 100 * tail.len() / 100))
        );
        assert_eq!(part(&entries(2_900..3_100)), Some(("begins", 0)));
        assert_eq!(part(&entries(3_000..3_100)), None);
        assert_eq!(part("text\n"), None);
        assert_eq!(part(""), None);
    }
}
