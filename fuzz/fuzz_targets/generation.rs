//! Reading a file that grows: the first byte says in which format it is, the
//! second in what steps it grows. What is read follows without a gap, never
//! passes the end, and a whole JSON line behind any damage is read. Of a file of lines each
//! byte is read a few times, in whatever steps it grows, and some more at each look by
//! which the file is known again.

#![no_main]

use fluent_bit_container_logs::format::layout::Layout;
use fluent_bit_container_logs::source::file::generation::{Found, Generation};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use std::io::Write;

const NEXT: &[u8] =
    b"{\"log\":\"next\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n";

/// Reads to the end there is now; all that was given out goes to `taken`.
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
    // Which frames there are is decided with more of them there.
    if has_lines || looks == 1 {
        let most = 8 * size + 512 * looks;
        assert!(
            generation.bytes_read() <= most,
            "{} of {size} in {looks} looks",
            generation.bytes_read()
        );
    }
    if is_json {
        // Behind a line feed: what comes before it is a line of its own.
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
