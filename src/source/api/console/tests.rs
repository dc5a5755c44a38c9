//! Lines of a terminal, cut at every byte.

use crate::format::position::Stream;
use crate::fuzz_seeds::keep;
use crate::source::api::console::PIECE;
use crate::source::api::stdcopy::tests::{entries_of, stamped, Entry};

fn line(nanos: u32, text: &str, ends_line: bool) -> Entry {
    (Stream::Stdout, nanos, text.as_bytes().to_vec(), ends_line)
}

#[test]
fn lines_come_out_whole_wherever_the_stream_is_cut() {
    let body = [
        stamped(1, "one\r\n"),
        stamped(2, "\n"),
        b"no time\n".to_vec(),
        b"\n".to_vec(),
        b"12\n".to_vec(),
        stamped(3, "a time of its own, 2026-11-23T18:34:00.5Z, in it\n"),
        stamped(4, "the end of a run"),
    ]
    .concat();
    let expected = vec![
        line(1, "one\r", true),
        line(2, "", true),
        line(2, "no time", true),
        line(2, "", true),
        line(2, "12", true),
        line(3, "a time of its own, 2026-11-23T18:34:00.5Z, in it", true),
        line(4, "the end of a run", false),
    ];
    keep("docker_stream", [b"\x01\x05", &body[..]].concat());
    for cut in 0..=body.len() {
        assert_eq!(
            entries_of(true, &[&body[..cut], &body[cut..]]).unwrap(),
            expected,
            "cut at {cut}"
        );
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(entries_of(true, &bytes).unwrap(), expected);
}

#[test]
fn a_line_at_its_very_start_may_print_a_time() {
    let body = stamped(1, "2026-11-23T18:34:00.000000009Z mine\n");
    for cut in 0..=body.len() {
        let entries = entries_of(true, &[&body[..cut], &body[cut..]]).unwrap();
        assert_eq!(
            entries,
            [line(1, "2026-11-23T18:34:00.000000009Z mine", true)],
            "cut at {cut}"
        );
    }
}

/// A chunk may arrive in two parts, and the second may consist of digits alone.
#[test]
fn the_time_of_a_chunk_is_found_behind_one_that_ends_in_digits() {
    let (first, second) = (stamped(1, "piece 789"), stamped(2, "123 rest\n"));
    let expected = [line(1, "piece 789", false), line(2, "123 rest", true)];
    for cut in 0..first.len() {
        let entries = entries_of(true, &[&first[..cut], &first[cut..], &second]).unwrap();
        assert_eq!(entries, expected, "cut at {cut}");
    }
}

#[test]
fn the_pieces_of_a_long_line_are_told_apart_from_the_times_between_them() {
    let long = "x".repeat(PIECE);
    for (rest, ends) in [
        ("rest", "\n"),
        ("", "\n"),
        ("2", "\n"),
        (long.as_str(), "\n"),
        ("tail", ""),
    ] {
        let body = [
            stamped(1, &long),
            stamped(1, &format!("{rest}{ends}")),
            stamped(2, "next\n"),
        ]
        .concat();
        let expected = if rest.len() == PIECE {
            vec![
                line(1, &long, false),
                line(1, &long, true),
                line(2, "next", true),
            ]
        } else if ends.is_empty() {
            // If a run ended within a line, only the start of a chunk shows it.
            vec![
                line(1, &long, false),
                line(1, rest, false),
                line(2, "next", true),
            ]
        } else {
            vec![
                line(1, &long, false),
                line(1, rest, true),
                line(2, "next", true),
            ]
        };
        let second = stamped(1, &long).len();
        let third = body.len() - stamped(2, "next\n").len();
        let mut entries = entries_of(
            true,
            &[&body[..second], &body[second..third], &body[third..]],
        )
        .unwrap();
        if rest.len() == PIECE {
            // The last piece was full, and its LF arrived separately.
            assert_eq!(entries.remove(2), line(1, "", true));
            entries[1].3 = true;
        }
        assert_eq!(entries, expected, "{} bytes then {ends:?}", rest.len());
    }
}

#[test]
fn the_local_driver_leaves_out_the_line_end_after_the_last_piece() {
    let long = "x".repeat(PIECE);
    for rest in ["rest", ""] {
        let chunks = [
            stamped(1, &long),
            stamped(1, rest),
            stamped(2, "2026-11-23T18:34:00.5Z mine\n"),
        ];
        let body = chunks.concat();
        let (second, third) = (chunks[0].len(), chunks[0].len() + chunks[1].len());
        let mut expected = vec![line(1, &long, false), line(1, rest, false)];
        expected.retain(|entry| !entry.2.is_empty());
        expected.push(line(2, "2026-11-23T18:34:00.5Z mine", true));
        let entries = entries_of(
            true,
            &[&body[..second], &body[second..third], &body[third..]],
        )
        .unwrap();
        assert_eq!(entries, expected);
    }
}

#[test]
fn an_endless_line_is_handed_out_in_pieces() {
    let body = [
        stamped(1, &"y".repeat(200_000)),
        b"\n".to_vec(),
        stamped(2, "next\n"),
    ]
    .concat();
    for size in [1000, PIECE, 100_000] {
        let chunks: Vec<&[u8]> = body.chunks(size).collect();
        let entries = entries_of(true, &chunks).unwrap();
        let (next, pieces) = entries.split_last().unwrap();
        assert_eq!(*next, line(2, "next", true));
        assert_eq!(
            pieces.iter().map(|piece| piece.2.len()).sum::<usize>(),
            200_000
        );
        assert!(pieces
            .iter()
            .all(|piece| piece.1 == 1 && piece.2.len() <= PIECE));
        assert_eq!(pieces.iter().filter(|piece| piece.3).count(), 1);
    }
}

#[test]
fn an_error_of_the_daemon_is_told_from_a_line_that_looks_like_it() {
    let printed = stamped(1, "Error grabbing logs: printed\n");
    assert_eq!(
        entries_of(true, &[&printed]).unwrap(),
        [line(1, "Error grabbing logs: printed", true)]
    );
    let said = [printed, b"Error grabbing logs: EOF\n".to_vec()].concat();
    for cut in 0..=said.len() {
        assert_eq!(
            entries_of(true, &[&said[..cut], &said[cut..]]),
            Err("Error grabbing logs: EOF".to_owned())
        );
    }
}

#[test]
fn any_bytes_are_taken() {
    let mut seed = 1u32;
    for _ in 0..300 {
        let body: Vec<u8> = (0..400)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"2026-11T:.Z \n\x00\x01\xff"[(seed >> 24) as usize % 16]
            })
            .collect();
        let chunks: Vec<&[u8]> = body.chunks(1 + (seed >> 28) as usize).collect();
        let text: Vec<u8> = entries_of(true, &chunks)
            .unwrap()
            .into_iter()
            .flat_map(|entry| {
                if entry.3 {
                    [entry.2, vec![b'\n']].concat()
                } else {
                    entry.2
                }
            })
            .collect();
        assert_eq!(text, body);
        let _ = entries_of(false, &chunks);
    }
}
