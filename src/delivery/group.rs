//! The marks of a group of records in a batch, as Fluent Bit 3.2 and later know them: a record
//! with a time before 1970 stands before the first one and one behind the last.

use crate::format::msgpack::{value_length, Field};

/// `fixext 8` of type 0: Fluent Bit's EventTime.
pub const EVENT_TIME: [u8; 2] = [0xd7, 0x00];

/// Seconds that mark the record before a group, and the one behind it.
const GROUP_START: [u8; 4] = (-1i32).to_be_bytes();
const GROUP_END: [u8; 4] = (-2i32).to_be_bytes();
/// Two heads of arrays, the time, two empty maps.
const GROUP_END_BYTES: usize = 14;

/// The mark before the first record of a group that says `body`, with `head` for its metadata.
pub fn start(head: &Field, body: &Field) -> Box<[u8]> {
    marker(GROUP_START, head, body)
}

/// The mark behind the last one.
pub fn end() -> Box<[u8]> {
    let empty = Field::Map(Vec::new());
    marker(GROUP_END, &empty, &empty)
}

/// A record that is none: a host of 3.2 or later knows it by its time.
fn marker(seconds: [u8; 4], head: &Field, body: &Field) -> Box<[u8]> {
    let mut out = vec![0x92, 0x92];
    out.extend_from_slice(&EVENT_TIME);
    out.extend_from_slice(&seconds);
    out.extend_from_slice(&[0; 4]);
    head.put(&mut out);
    body.put(&mut out);
    out.into_boxed_slice()
}

/// Whether a record's seconds say that it is the mark of a group.
pub fn is_marker(seconds: [u8; 4]) -> bool {
    seconds == GROUP_START || seconds == GROUP_END
}

/// The mark of a group that `bytes` begin with, and the one that they end with; empty
/// where there is none. Both are one value each, the latter of a fixed length.
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
