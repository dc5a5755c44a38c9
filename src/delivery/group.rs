//! The markers of a record group in a batch, as Fluent Bit 3.2 and later recognize them: a
//! record with a time before 1970 precedes the first record, and another one follows the last.

use crate::format::msgpack::{value_length, Field};

/// `fixext 8` of type 0: Fluent Bit's EventTime.
pub const EVENT_TIME: [u8; 2] = [0xd7, 0x00];

/// Seconds of the record that opens a group and of the one that closes it.
const GROUP_START: [u8; 4] = (-1i32).to_be_bytes();
const GROUP_END: [u8; 4] = (-2i32).to_be_bytes();
/// Two array headers, the time, two empty maps.
const GROUP_END_BYTES: usize = 14;

/// The marker that opens a group with content `body` and metadata `head`.
pub fn start(head: &Field, body: &Field) -> Box<[u8]> {
    marker(GROUP_START, head, body)
}

/// The marker that closes a group.
pub fn end() -> Box<[u8]> {
    let empty = Field::Map(Vec::new());
    marker(GROUP_END, &empty, &empty)
}

/// A pseudo-record that a host of version 3.2 or later recognizes by its time.
fn marker(seconds: [u8; 4], head: &Field, body: &Field) -> Box<[u8]> {
    let mut out = vec![0x92, 0x92];
    out.extend_from_slice(&EVENT_TIME);
    out.extend_from_slice(&seconds);
    out.extend_from_slice(&[0; 4]);
    head.put(&mut out);
    body.put(&mut out);
    out.into_boxed_slice()
}

/// Whether a record's seconds identify it as a group marker.
pub fn is_marker(seconds: [u8; 4]) -> bool {
    seconds == GROUP_START || seconds == GROUP_END
}

/// The group markers at the start and the end of `bytes`; empty if there are none. Each is one
/// value, the closing one of fixed length.
pub fn group_of(bytes: &[u8]) -> (&[u8], &[u8]) {
    let begins_with = |bytes: &[u8], seconds: [u8; 4]| {
        bytes.get(2..4) == Some(&EVENT_TIME) && bytes.get(4..8) == Some(&seconds)
    };
    if !begins_with(bytes, GROUP_START) {
        return (&[], &[]);
    }
    let start = bytes
        .get(..value_length(bytes).unwrap_or(0))
        .unwrap_or_default();
    let end = bytes
        .get(bytes.len().saturating_sub(GROUP_END_BYTES)..)
        .unwrap_or_default();
    (
        start,
        if begins_with(end, GROUP_END) {
            end
        } else {
            &[]
        },
    )
}
