//! The decoder of local files: total, always advances, later bytes change no verdict
//! except `Incomplete`, no complete frame is skipped, and each byte is processed a bounded
//! number of times.

#![no_main]

use fluent_bit_container_logs::format::local::{decode, first_frame, next_frame, Frame};
use fluent_bit_container_logs::format::work;
use libfuzzer_sys::fuzz_target;

/// Whether dockerd may have written the beginning of `data`.
fn is_whole(data: &[u8]) -> bool {
    matches!(
        first_frame(data),
        Frame::Whole {
            message: [0x0a, ..],
            ..
        }
    )
}

fuzz_target!(|data: &[u8]| {
    decode(data);
    let half = first_frame(&data[..data.len() / 2]);
    assert!(half == Frame::Incomplete || half == first_frame(data));
    work::take();
    let mut rest = data;
    while !rest.is_empty() {
        let passed = match first_frame(rest) {
            Frame::Whole { message, length } => {
                assert_eq!(&rest[4..length - 4], message);
                if let Some(entry) = decode(message) {
                    assert!(entry.time.nanos < 1_000_000_000);
                    assert!(entry.line.len() <= message.len());
                    assert!(entry.attrs.count() <= message.len() / 2);
                }
                length
            }
            Frame::Incomplete | Frame::Corrupt => {
                let passed = next_frame(rest);
                assert!((1..=rest.len()).contains(&passed));
                assert_ne!(first_frame(&rest[passed..]), Frame::Corrupt);
                assert!(
                    (1..passed).all(|at| !is_whole(&rest[at..])),
                    "a frame was passed over"
                );
                passed
            }
        };
        rest = &rest[passed..];
    }
    assert!(
        work::take() <= 24 * data.len() as u64 + 256,
        "looked at again and again"
    );
});
