//! The decoder of CRI lines: total, its text is the end of the line, and an invalid line
//! hides no entry after it. Each byte is processed a bounded number of times.

#![no_main]

use fluent_bit_container_logs::format::cri::Decoder;
use fluent_bit_container_logs::format::work;
use libfuzzer_sys::fuzz_target;

const NEXT: &[u8] = b"2023-11-14T22:13:20.000000005+01:00 stderr F next";

fuzz_target!(|line: &[u8]| {
    let mut decoder = Decoder::default();
    if let Some(entry) = decoder.decode(line) {
        assert!(line.ends_with(entry.text));
        assert!(entry.time.nanos < 1_000_000_000);
    }
    let glued = [line, NEXT].concat();
    if decoder.decode(&glued).is_none() {
        work::take();
        let at = decoder.resync(&glued).expect("the entry behind is found");
        assert!(
            work::take() <= 64 * glued.len() as u64,
            "looked at again and again"
        );
        assert!(at > 0);
        let entry = decoder.decode(&glued[at..]).expect("it is an entry");
        assert!(entry.text.ends_with(b"next"));
    }
});
