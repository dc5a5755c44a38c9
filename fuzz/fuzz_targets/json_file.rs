//! The decoder of json-file lines: total; if the fast path returns a result, the general
//! one returns the same; no damage hides the record after it; and a line is parsed at most
//! a few times.

#![no_main]

use fluent_bit_container_logs::format::json_file::{decode_unusual, Decoder};
use fluent_bit_container_logs::format::position::{Stream, Timestamp};
use fluent_bit_container_logs::format::work;
use libfuzzer_sys::fuzz_target;

const NEXT: &[u8] =
    br#"{"log":"next\n","stream":"stderr","time":"2023-11-14T22:13:20.000000005Z"}"#;

fuzz_target!(|line: &[u8]| {
    work::take();
    let general = decode_unusual(line);
    // Invalid UTF-8 is parsed as three bytes.
    let most = 3 * String::from_utf8_lossy(line).len() as u64;
    assert!(work::take() <= most, "parsed again and again");
    assert!(general.skipped <= line.len());
    if let Some(entry) = Decoder::default().decode(line) {
        assert_eq!(general.skipped, 0);
        let [only] = general.entries.as_slice() else {
            panic!("one record, not {:?}", general.entries)
        };
        assert_eq!(only.text.as_bytes(), entry.text);
        assert_eq!(
            (only.time, only.stream, only.ends_line),
            (Some(entry.time), entry.stream, entry.ends_line)
        );
        assert_eq!(only.attrs, entry.attrs);
    }
    let followed = decode_unusual(&[line, NEXT].concat());
    let next = followed.entries.last().expect("the whole record behind");
    assert_eq!(
        (next.text.as_str(), next.stream, next.ends_line),
        ("next", Stream::Stderr, true)
    );
    assert_eq!(
        next.time,
        Some(Timestamp {
            seconds: 1_700_000_000,
            nanos: 5
        })
    );
    if std::str::from_utf8(line).is_ok() {
        assert_eq!(next.at, line.len());
    }
});
