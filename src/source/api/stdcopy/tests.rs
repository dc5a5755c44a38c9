//! Frames, cut at every byte.

use crate::format::position::{Stream, Timestamp};
use crate::fuzz_seeds::keep;
use crate::source::api::entries::EntryDecoder;
use crate::source::api::stdcopy::{FrameDecoder, FrameKind, MOST_PAYLOAD};

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn frames_of(chunks: &[&[u8]]) -> (Vec<(FrameKind, Vec<u8>)>, bool) {
    let mut decoder = FrameDecoder::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        let mut bytes = *chunk;
        while let Some(frame) = decoder.next(&mut bytes).unwrap() {
            frames.push((frame.kind, frame.payload.to_vec()));
        }
        assert!(bytes.is_empty());
    }
    (frames, decoder.is_between_frames())
}

#[test]
fn frames_come_out_whole_wherever_the_stream_is_cut() {
    let expected = vec![
        (FrameKind::Stdout, b"one\n".to_vec()),
        (FrameKind::Stderr, b"".to_vec()),
        (FrameKind::SystemError, b"\x01\0\0\0\0\0\0\x04".to_vec()),
        (FrameKind::Stdout, b"in".to_vec()),
    ];
    let kinds = [1, 2, 3, 0];
    let all: Vec<u8> = expected
        .iter()
        .zip(kinds)
        .flat_map(|((_, payload), kind)| frame(kind, payload))
        .collect();
    for first in 0..=all.len() {
        for second in first..=all.len() {
            let chunks = [&all[..first], &all[first..second], &all[second..]];
            assert_eq!(
                frames_of(&chunks),
                (expected.clone(), true),
                "cut at {first} and {second}"
            );
        }
    }
    let bytes: Vec<&[u8]> = all.chunks(1).collect();
    assert_eq!(frames_of(&bytes), (expected, true));
}

#[test]
fn an_end_inside_a_frame_is_seen() {
    let all = frame(1, b"text");
    for end in 1..all.len() {
        assert_eq!(frames_of(&[&all[..end]]), (vec![], false), "end at {end}");
    }
}

#[test]
fn an_absurd_header_is_an_error_and_stays_one() {
    let long = u32::try_from(MOST_PAYLOAD + 1).unwrap().to_be_bytes();
    for header in [
        [4, 0, 0, 0, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 0, 0, 1],
        [1, 0, 0, 9, 0, 0, 0, 1],
        [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [1, 0, 0, 0, long[0], long[1], long[2], long[3]],
        *b"2026-11-",
    ] {
        keep("docker_stream", [b"\0\x05", &header[..]].concat());
        let mut decoder = FrameDecoder::default();
        assert!(decoder.next(&mut &header[..]).is_err(), "{header:?}");
        assert!(decoder.next(&mut &b"\x01\0\0\0\0\0\0\0"[..]).is_err());
    }
}

#[test]
fn the_longest_frame_is_read_and_its_room_given_back() {
    let all = frame(2, &vec![b'x'; MOST_PAYLOAD]);
    let (first, second) = all.split_at(all.len() / 2);
    assert_eq!(frames_of(&[first, second]).0[0].1.len(), MOST_PAYLOAD);
}

/// A decoded entry: `(stream, nanos, text, ends_line)`.
pub type Entry = (Stream, u32, Vec<u8>, bool);

pub fn entries_of(has_terminal: bool, chunks: &[&[u8]]) -> Result<Vec<Entry>, String> {
    let mut decoder = EntryDecoder::new(
        has_terminal,
        Timestamp {
            seconds: 0,
            nanos: 7,
        },
    );
    let mut entries = Vec::new();
    let mut emit = |stream, time: Timestamp, text: &[u8], ends_line| {
        entries.push((stream, time.nanos, text.to_vec(), ends_line));
    };
    for chunk in chunks {
        decoder.feed(chunk, &mut emit)?;
    }
    decoder.finish(&mut emit)?;
    Ok(entries)
}

pub fn stamped(nanos: u32, text: &str) -> Vec<u8> {
    format!("2026-11-23T18:34:00.{nanos:09}Z {text}").into_bytes()
}

#[test]
fn an_entry_is_a_frame_without_its_time_and_line_end() {
    let body = [
        frame(1, b"without a time\n"),
        frame(1, &stamped(1, "whole\n")),
        frame(2, &stamped(2, "a piece")),
        frame(1, b"\n"),
        frame(2, &stamped(3, "\n")),
        frame(2, &stamped(3, "")),
        frame(1, b""),
        frame(1, &stamped(4, "crlf\r\n")),
        frame(1, &stamped(5, "2026-11-23T18:34:00Z of its own\n")),
    ]
    .concat();
    let expected: Vec<Entry> = vec![
        (Stream::Stdout, 7, b"without a time".to_vec(), true),
        (Stream::Stdout, 1, b"whole".to_vec(), true),
        (Stream::Stderr, 2, b"a piece".to_vec(), false),
        (Stream::Stdout, 1, b"".to_vec(), true),
        (Stream::Stderr, 3, b"".to_vec(), true),
        (Stream::Stderr, 3, b"".to_vec(), false),
        (Stream::Stdout, 4, b"crlf\r".to_vec(), true),
        (
            Stream::Stdout,
            5,
            b"2026-11-23T18:34:00Z of its own".to_vec(),
            true,
        ),
    ];
    keep("docker_stream", [b"\0\x05", &body[..]].concat());
    for cut in 0..=body.len() {
        assert_eq!(
            entries_of(false, &[&body[..cut], &body[cut..]]).unwrap(),
            expected,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_system_error_frame_ends_the_stream_with_its_text() {
    keep(
        "docker_stream",
        [b"\0\xff", &frame(3, b"Error grabbing logs: EOF\n")[..]].concat(),
    );
    let body = [
        frame(1, &stamped(1, "whole\n")),
        frame(3, b"Error grabbing logs: EOF\n"),
    ]
    .concat();
    assert_eq!(
        entries_of(false, &[&body]),
        Err("Error grabbing logs: EOF".to_owned())
    );
}

#[test]
fn a_body_that_ends_inside_a_frame_has_failed() {
    let body = frame(1, &stamped(1, "whole\n"));
    assert!(entries_of(false, &[&body[..body.len() - 1]])
        .unwrap_err()
        .contains("inside a frame"));
}
