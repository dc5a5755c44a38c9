use std::io::{Seek, Write};
use std::path::PathBuf;

use super::*;
use crate::delivery::checkpoint::fingerprint::MARKER_BYTES;
use crate::format::local;

/// Reads everything and consumes it.
fn take_all(generation: &mut Generation) -> Found {
    let mut buffer = Vec::new();
    let found = generation.read(&mut buffer).unwrap();
    if let Found::Entries { end, filled, .. } = found {
        generation.consume(&buffer, end, filled);
    }
    found
}

/// Both texts end the same. Their times come before them, or are the same as well, as with
/// pieces of one line.
#[test]
fn a_log_that_repeats_itself_is_known_to_be_truncated_when_it_has_grown_past_the_position() {
    let text = "x".repeat(16 * 1024);
    let cri = |minute: usize| {
        format!("2023-11-14T22:{minute:02}:20.123456789Z stdout F {text}\n").into_bytes()
    };
    let frame = |minute: usize| {
        let mut message = b"\x0a\x06stdout\x10".to_vec();
        message.extend((0..8).map(|_| 0x80 | minute as u8));
        message.extend([1, 0x1a, 0x80, 0x80, 1]);
        message.extend(text.as_bytes());
        assert!(local::decode(&message).is_some());
        let length = (message.len() as u32).to_be_bytes();
        [&length[..], &message, &length].concat()
    };
    let json = |piece: usize| {
        let end = "\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.123456789Z\"}\n";
        format!("{{\"log\":\"{piece}{text}\",{end}").into_bytes()
    };
    let entries: [&dyn Fn(usize) -> Vec<u8>; 3] = [&cri, &frame, &json];
    for entry in entries {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, [entry(1), entry(2)].concat()).unwrap();
        let mut generation = Generation::open(&(&path).into(), false).unwrap();
        assert!(matches!(take_all(&mut generation), Found::Entries { .. }));
        assert_eq!(take_all(&mut generation), Found::AtEnd { unfinished: 0 });
        std::fs::write(&path, [entry(3), entry(4), entry(5)].concat()).unwrap();
        assert_eq!(take_all(&mut generation), Found::Truncated);
    }
}

fn file_of(name: &str) -> (tempfile::TempDir, PathBuf, File) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let file = File::create(&path).unwrap();
    (dir, path, file)
}

fn frame_of(text: &[u8]) -> Vec<u8> {
    let mut message = b"\x0a\x06stdout\x10\x01\x1a".to_vec();
    message.extend([
        0x80 | (text.len() & 0x7f) as u8,
        0x80 | (text.len() >> 7 & 0x7f) as u8,
    ]);
    message.push((text.len() >> 14) as u8);
    message.extend(text);
    assert_eq!(local::decode(&message).unwrap().line, text);
    let length = (message.len() as u32).to_be_bytes();
    [&length[..], &message, &length].concat()
}

/// The cost of following is the bytes read: each a few times, plus at each read the few bytes
/// before them that identify the entry.
#[test]
fn an_entry_that_grows_byte_by_byte_is_not_read_again_for_each() {
    const TEXT: usize = 100_000;
    let text = vec![b'x'; TEXT];
    let json = [
        b"{\"log\":\"",
        &text[..],
        b"\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n",
    ];
    let cri = [b"2023-11-14T22:13:20Z stdout F ", &text[..], b"\n"].concat();
    let garbage = [b"x", &text[..], b"\n"].concat();
    // Leading bytes do not matter: each ordinary read compares the entry before.
    let long = vec![b'y'; 30_000];
    for (name, entry) in [
        ("x-json.log", json.concat()),
        ("0.log", cri),
        ("x-json.log", garbage),
        ("container.log", frame_of(&text)),
    ] {
        let (_dir, path, mut file) = file_of(name);
        let before = match name {
            "container.log" => frame_of(&long),
            _ => [&long[..], b"\n"].concat(),
        };
        file.write_all(&before).unwrap();
        let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
        assert!(matches!(take_all(&mut generation), Found::Entries { .. }));
        let (mut buffer, mut looks) = (Vec::new(), 0);
        for byte in &entry[..entry.len() - 1] {
            file.write_all(&[*byte]).unwrap();
            looks += 1;
            assert!(
                matches!(generation.read(&mut buffer).unwrap(), Found::AtEnd { .. }),
                "{name}"
            );
        }
        file.write_all(&entry[entry.len() - 1..]).unwrap();
        let size = (before.len() + entry.len()) as u64;
        // Until its first bytes show the format, and again within a frame's footer.
        let few = 128 * 32 * 1024;
        let most = looks * (MARKER_BYTES as u64 + 1) + 3 * size + few;
        let Found::Entries { start, end, .. } = generation.read(&mut buffer).unwrap() else {
            panic!("{name}")
        };
        assert_eq!(&buffer[start..end], &entry[..]);
        assert!(
            generation.bytes_read() <= most,
            "{name}: {} of {most}",
            generation.bytes_read()
        );
    }
}

/// The reader frees a large buffer when it has caught up, so each read would allocate and
/// clear one that holds the whole entry.
#[test]
fn a_large_entry_that_grows_byte_by_byte_takes_no_large_buffer_for_each() {
    let (_dir, path, mut file) = file_of("x-json.log");
    file.write_all(b"{\"log\":\"").unwrap();
    file.write_all(&vec![b'x'; 15 << 20]).unwrap();
    let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
    let mut buffer = Vec::new();
    while generation.read(&mut buffer).unwrap()
        != (Found::AtEnd {
            unfinished: (15 << 20) + 8,
        })
    {}
    for _ in 0..100 {
        file.write_all(b"x").unwrap();
        let mut buffer = Vec::new();
        assert!(matches!(
            generation.read(&mut buffer).unwrap(),
            Found::AtEnd { .. }
        ));
        assert!(buffer.capacity() <= SLICE_BYTES, "{}", buffer.capacity());
    }
    file.write_all(b"\n").unwrap();
    let mut buffer = Vec::new();
    assert!(matches!(
        generation.read(&mut buffer).unwrap(),
        Found::Entries { .. }
    ));
}

/// Without comparing what was seen, the new file would be taken for the rest.
#[test]
fn a_file_that_is_replaced_under_an_unfinished_line_is_known_to_be_truncated() {
    let old = b"{\"log\":\"first\\n\"}\n{\"log\":\"unfinished and long enough to be compared at its end ...";
    let shorter = b"{\"log\":\"a\\n\"}\n".to_vec();
    let longer = b"{\"log\":\"other\\n\"}\n{\"log\":\"other\\n\"}\n".repeat(10);
    let unfinished_too = [b"{\"log\":\"other", &[b'z'; 200][..]].concat();
    for new in [shorter, longer, unfinished_too] {
        let (_dir, path, mut file) = file_of("x-json.log");
        file.write_all(old).unwrap();
        let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
        take_all(&mut generation);
        assert!(matches!(
            take_all(&mut generation),
            Found::AtEnd { unfinished: 1.. }
        ));
        assert!(matches!(
            take_all(&mut generation),
            Found::AtEnd { unfinished: 1.. }
        ));
        std::fs::write(&path, &new).unwrap();
        assert_eq!(take_all(&mut generation), Found::Truncated);
    }
}

/// An incomplete frame replaced by the next one, as after a crash of dockerd.
#[test]
fn a_torn_frame_gives_way_once_as_much_follows_as_it_wants() {
    let (_dir, path, mut file) = file_of("container.log");
    let (first, torn) = (frame_of(&[b'a'; 100]), frame_of(&[b'b'; 1000]));
    file.write_all(&[&first[..], &torn[..500]].concat())
        .unwrap();
    let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
    assert!(matches!(take_all(&mut generation), Found::Entries { .. }));
    let mut taken = Vec::new();
    let mut buffer = Vec::new();
    let mut skipped = 0;
    for _ in 0..20 {
        file.write_all(&first).unwrap();
        loop {
            match generation.read(&mut buffer).unwrap() {
                Found::Entries {
                    start, end, filled, ..
                } => {
                    taken.extend_from_slice(&buffer[start..end]);
                    generation.consume(&buffer, end, filled);
                }
                Found::Skipped { bytes, .. } => skipped += bytes,
                Found::AtEnd { unfinished } => break assert!(unfinished < torn.len()),
                Found::Truncated => panic!("nothing was truncated"),
            }
        }
    }
    assert_eq!((skipped, taken), (500, first.repeat(20)));
}

#[test]
fn an_entry_beyond_the_cap_that_grows_in_small_steps_is_passed_over_once() {
    let (_dir, path, mut file) = file_of("0.log");
    let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
    let mut buffer = Vec::new();
    let step = vec![b'x'; 4096];
    let (mut size, mut looks, mut skipped) = (0, 0, 0);
    while size < ENTRY_CAP as u64 + (4 << 20) {
        file.write_all(&step).unwrap();
        size += step.len() as u64;
        loop {
            looks += 1;
            match generation.read(&mut buffer).unwrap() {
                Found::Skipped { bytes, .. } => skipped += bytes,
                Found::AtEnd { .. } => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(skipped, size);
    let most = 5 * size + looks * MARKER_BYTES as u64;
    assert!(
        generation.bytes_read() <= most,
        "{} of {most}",
        generation.bytes_read()
    );
}

/// Small frames alternating with corruption, and frame starts that are never completed.
#[test]
fn a_file_of_torn_frames_is_read_a_few_times() {
    let in_turns: &[u8] = b"\0\0\0\x01\x0a\0\0\0\x01x";
    let claims: &[u8] = b"\0\x0f\x42\x40\x0a\x06stdout\x10";
    for unit in [in_turns, claims] {
        let (_dir, path, mut file) = file_of("container.log");
        let size = 8 << 20;
        file.write_all(&unit.repeat(size / unit.len())).unwrap();
        let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
        let mut buffer = Vec::new();
        loop {
            match generation.read(&mut buffer).unwrap() {
                Found::Entries { end, filled, .. } => generation.consume(&buffer, end, filled),
                Found::Skipped { .. } => {}
                _ => break,
            }
        }
        let most = 4 * size as u64;
        assert!(
            generation.bytes_read() <= most,
            "{} of {size}",
            generation.bytes_read()
        );
    }
}

/// A user's file may claim any size: the search for its last line feed must end.
#[test]
fn the_end_of_a_file_without_a_line_feed_is_found_near_it() {
    let (_dir, path, mut file) = file_of("0.log");
    file.write_all(b"2023-11-14T22:13:20Z stdout F first\n")
        .unwrap();
    file.set_len(1 << 40).unwrap();
    let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
    generation.seek_to_end().unwrap();
    assert_eq!(generation.read_offset(), 1 << 40);
    // What follows the hole is a record.
    let next = b"2023-11-14T22:13:20Z stdout F next\n";
    file.seek(io::SeekFrom::End(0)).unwrap();
    file.write_all(next).unwrap();
    let found = take_all(&mut generation);
    assert!(
        matches!(
            found,
            Found::Entries {
                offset: 0x100_0000_0000,
                ..
            }
        ),
        "{found:?}"
    );

    let (_dir, path, mut file) = file_of("0.log");
    file.write_all(&vec![b'x'; ENTRY_CAP + (1 << 20)]).unwrap();
    let mut generation = Generation::open(&SafePath::from(&path), false).unwrap();
    generation.seek_to_end().unwrap();
    assert_eq!(generation.read_offset(), ENTRY_CAP as u64 + (1 << 20));
    file.write_all(&[b"the end of it\n", &next[..]].concat())
        .unwrap();
    assert!(matches!(
        take_all(&mut generation),
        Found::Skipped { bytes: 14, .. }
    ));
    assert!(matches!(take_all(&mut generation), Found::Entries { .. }));
}
