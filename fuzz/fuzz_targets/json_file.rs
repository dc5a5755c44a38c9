//! The decoder of json-file lines: total, and where the fast path has an answer
//! the general one has the same.

#![no_main]

use fluent_bit_container_logs::format::json_file::{decode_unusual, Decoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let general = decode_unusual(line);
    assert!(general.skipped <= line.len());
    if let Some(entry) = Decoder::default().decode(line) {
        assert_eq!(general.skipped, 0);
        let [only] = general.entries.as_slice() else { panic!("one record, not {:?}", general.entries) };
        assert_eq!(only.text.as_bytes(), entry.text);
        assert_eq!((only.time, only.stream, only.ends_line), (Some(entry.time), entry.stream, entry.ends_line));
    }
});
