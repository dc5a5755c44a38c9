//! Decoding any line costs at most a few times its length: the bytes passed to the slow paths
//! (`work`) are counted over lines of doubling size.

use crate::format::layout::{Layout, Stretch};
use crate::format::local::{first_frame, next_frame, Frame};
use crate::format::{cri, json_file, work};

/// How often each input byte may be passed to a slow path.
const MOST_TIMES: u64 = 4;

fn repeated(unit: &str, bytes: usize) -> Vec<u8> {
    unit.repeat(bytes / unit.len()).into_bytes()
}

/// Building blocks of nested or torn records, opened and never closed.
const JSON_UNITS: [&str; 20] = [
    "{\"time\":\"a\",\"z\":[",
    "{\"time\":\"a\",\"z\":{\"q\":",
    "{\"log\":\"x\",\"z\":[[[",
    "{\"stream\":\"stdout\",\"attrs\":{\"log\":\"x\",\"z\":\"",
    "{\"time\":\"a\",\"z\":{\"attrs\":",
    "{\"log\":\"",
    "{\"log\":\"\\",
    "{\"log\":\"\\\"",
    "{\"log\":null,\"z\":",
    "{\"log\":",
    "{\"time\":\"a\",\"z\":1e9,\"z\":[",
    "{\"log\":        ",
    "{\"log\":\"x\"}",
    "{\"log\":\"x\"}{\"time\":\"a\",\"z\":[",
    "{\"attrs\":{},\"log\":\"x\"}",
    "{\"attrs\":{},\"log\":\"x\"}{\"attrs\":{},\"z\":[",
    "{\"a\":1}",
    "{\"",
    "{",
    "[",
];

#[test]
fn a_line_of_any_records_within_each_other_is_seen_a_few_times() {
    for unit in JSON_UNITS {
        for bytes in [1 << 14, 1 << 16] {
            let open = repeated(unit, bytes);
            // The same, but with each level closed incorrectly, as if it were a record.
            let levels = open.len() / unit.len();
            let closed = [&open[..], "1]}".repeat(levels).as_bytes()].concat();
            let mistyped = [&open[..], "1],\"log\":1}".repeat(levels).as_bytes()].concat();
            for line in [open, closed, mistyped] {
                work::take();
                json_file::decode_unusual(&line);
                let seen = work::take();
                assert!(
                    seen <= MOST_TIMES * line.len() as u64,
                    "{unit}: {seen} of {}",
                    line.len()
                );
            }
        }
    }
}

#[test]
fn a_record_behind_records_within_each_other_is_found() {
    let next = "{\"log\":\"next\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}";
    for unit in JSON_UNITS {
        let line = [&repeated(unit, 4096)[..], next.as_bytes()].concat();
        let found = json_file::decode_unusual(&line);
        assert_eq!(
            found.entries.last().map(|entry| entry.text.as_str()),
            Some("next"),
            "{unit}"
        );
    }
}

/// A field from another writer may hold an object that begins like a record.
#[test]
fn a_whole_line_may_hold_objects_that_begin_like_records() {
    let line = "{\"log\":\"x\\n\",\"more\":{\"time\":\"y\",\"deep\":[{\"log\":\"z\"}]},\"time\":\"2023-11-14T22:13:20Z\"}";
    let found = json_file::decode_unusual(line.as_bytes());
    assert_eq!((found.entries.len(), found.skipped), (1, 0));
    assert_eq!(found.entries[0].text, "x");
}

#[test]
fn attributes_beyond_any_number_are_no_attributes() {
    let pairs: Vec<String> = (0..5000)
        .map(|number| format!("\"{number}\":\"\""))
        .collect();
    let line = format!(
        "{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{{{}}},\"time\":\"2023-11-14T22:13:20.000000001Z\"}}",
        pairs.join(",")
    );
    assert!(json_file::Decoder::default()
        .decode(line.as_bytes())
        .is_none());
    let found = json_file::decode_unusual(line.as_bytes());
    assert_eq!((found.entries.len(), found.skipped), (0, line.len()));
}

#[test]
fn a_line_of_any_torn_entries_of_the_cri_is_seen_a_few_dozen_times() {
    for unit in [
        " std",
        " stdout ",
        " stderr F",
        "2023-11-14T22:13:20Z stdout ",
        "2023-11-14T22:13:20Z stdout F:",
        "2023-11-14T22:13:20.123456789+01:00 stdout P:x:y",
        "----------TTTTTTTTTT---------- stdout ",
        "2023-11-14T22:13:20Z",
    ] {
        let mut seen = [0; 2];
        for (seen, bytes) in seen.iter_mut().zip([1 << 15, 1 << 20]) {
            let line = [b"x", &repeated(unit, bytes)[..]].concat();
            work::take();
            let mut decoder = cri::Decoder::default();
            if decoder.decode(&line).is_none() {
                decoder.resync(&line);
            }
            *seen = work::take() / bytes as u64;
        }
        assert!(
            seen[1] <= seen[0] + 1 && seen[1] <= 64,
            "{unit}: {seen:?} times"
        );
    }
}

#[test]
fn a_file_of_any_torn_frames_is_seen_a_few_times() {
    let units: [&[u8]; 6] = [
        b"\0\0\0\x01\x0a\0\0\0\x01x",
        b"\0\x0f\x42\x40\x0a\x06stdout\x10",
        b"\0\x0f\x42\x40\x0a",
        b"\0\0\0\x0a",
        b"\x0a",
        b"\0\0\0\x01\x0a\0\0\0\x01\0\x0f\x42\x40\x0a\x06stderr\x10",
    ];
    for unit in units {
        let data = unit.repeat((1 << 20) / unit.len());
        work::take();
        let (mut at, mut stretches) = (0, 0);
        while at < data.len() {
            stretches += 1;
            at += match Layout::LocalFrames.measure(&data[at..]) {
                Stretch::Whole(bytes) | Stretch::Corrupt(bytes) => bytes,
                Stretch::Incomplete => break,
            };
        }
        let mut rest = &data[..];
        while !rest.is_empty() {
            rest = match first_frame(rest) {
                Frame::Whole { length, .. } => &rest[length..],
                _ => &rest[next_frame(rest)..],
            };
        }
        let seen = work::take();
        assert!(
            seen <= 24 * data.len() as u64,
            "{unit:?}: {seen} of {}",
            data.len()
        );
        assert!(stretches <= 4, "{unit:?}: {stretches} reads");
    }
}
