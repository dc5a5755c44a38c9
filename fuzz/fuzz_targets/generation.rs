//! Reading a file that grows: the first byte selects the format, the second the steps of
//! growth. Reads are contiguous and never pass the end, and a complete JSON line after any
//! damage is read. In a file of lines, each byte is read a bounded number of times, whatever
//! the steps, plus the bytes that identify the file at each look.

#![no_main]

use fluent_bit_container_logs::format::layout::Layout;
use fluent_bit_container_logs::source::file::generation::{Found, Generation};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use std::io::Write;

const NEXT: &[u8] =
    b"{\"log\":\"next\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n";

/// Reads to the current end and appends everything returned to `taken`.
fn read_all(generation: &mut Generation, buffer: &mut Vec<u8>, size: u64, taken: &mut Vec<u8>) {
    for _ in 0..=2 * size + 2 {
        let before = generation.read_offset();
        match generation.read(buffer).expect("memory does not fail") {
            Found::Entries {
                start,
                end,
                filled,
                offset,
                ..
            } => {
                assert_eq!(offset, before);
                assert!(start < end && end <= filled);
                taken.extend_from_slice(&buffer[start..end]);
                generation.consume(buffer, end, filled);
                assert_eq!(generation.read_offset(), before + (end - start) as u64);
            }
            Found::Skipped { offset, bytes } => {
                assert_eq!(offset, before);
                assert_eq!(generation.read_offset(), before + bytes);
            }
            Found::AtEnd { .. } => return,
            Found::Truncated => panic!("nothing was truncated"),
        }
        assert!(generation.read_offset() <= size, "past the end");
        assert!(generation.read_offset() > before, "no way forward");
    }
    panic!("it never comes to the end");
}

fuzz_target!(|data: &[u8]| {
    let [format, step, content @ ..] = data else {
        return;
    };
    let is_json = format % 2 == 0;
    let path = folder().join(if is_json {
        "x-json.log"
    } else {
        "container.log"
    });
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut generation = Generation::open(&(&path).into(), false).expect("the file");
    let mut buffer = Vec::new();
    let mut taken = Vec::new();
    let (mut size, mut looks) = (0, 0);
    for part in content.chunks(usize::from(*step) * 16 + 1) {
        file.write_all(part).expect("room");
        size += part.len() as u64;
        looks += 1;
        read_all(&mut generation, &mut buffer, size, &mut taken);
    }
    let has_lines = generation.layout() != Layout::LocalFrames;
    // Frames are recognised once more of them are present.
    if has_lines || looks == 1 {
        let most = 8 * size + 512 * looks;
        assert!(
            generation.bytes_read() <= most,
            "{} of {size} in {looks} looks",
            generation.bytes_read()
        );
    }
    if is_json {
        // After a line feed: the bytes before it are a line of their own.
        file.write_all(&[b"\n", NEXT].concat()).expect("room");
        size += 1 + NEXT.len() as u64;
        read_all(&mut generation, &mut buffer, size, &mut taken);
        if generation.layout() == Layout::JsonLines {
            assert!(
                taken.ends_with(NEXT),
                "{:?}",
                String::from_utf8_lossy(&taken)
            );
            assert_eq!(generation.read_offset(), size);
        }
    }
});
