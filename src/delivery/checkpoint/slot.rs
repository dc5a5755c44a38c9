//! The bytes of one container's entry in the checkpoint file.
//!
//! ```text
//! slot (512 bytes)  =  copy A (256)  copy B (256)
//! copy              =  hash u64 | sequence u64 | id 32 | stdout 72 | stderr 72 | gone u32 |
//!                      journal 48 | zero
//! stream            =  fp hash u64 | fp length u32 | marker length u32 |
//!                      marker hash u64 | offset u64 | inode u64 | birth u64 |
//!                      seconds i64 | nanos u32 | count u32 | by time u32 | mid-line u32
//! journal           =  sequence u128 | stdout: number u64 | received u64 | stderr: the same
//! ```
//!
//! Releases without the journal wrote zeros there, and read such a copy as one whose position is
//! a time. Both streams share one sequence; a stream whose last entry is of an older one keeps
//! its time only, and has no number.
//!
//! An entry is rewritten in place, alternating between its two copies: a write torn by a power
//! cut leaves the other copy, one acknowledgement older. The hash covers all bytes after it.
//! Integers are little-endian.

use xxhash_rust::xxh3::xxh3_64;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker, HEAD_BYTES, MARKER_BYTES};
use crate::delivery::checkpoint::{
    ContainerCheckpoint, JournalPlace, StreamCheckpoint, TimeCursor,
};
use crate::format::position::Timestamp;
use crate::runtime::id::ContainerId;

/// Bytes of one copy.
pub const COPY: usize = 256;
/// Bytes of one slot: two copies.
pub const SLOT: usize = 2 * COPY;

const STREAM: usize = 72;

/// More than any number of writes. We did not write a copy with a larger sequence, and
/// incrementing it could overflow.
const LAST_SEQUENCE: u64 = 1 << 62;

/// One decoded copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCopy {
    /// Increases with every write of the slot.
    pub sequence: u64,
    /// The container.
    pub id: ContainerId,
    /// Its checkpoint.
    pub saved: ContainerCheckpoint,
    /// When it was removed, after its log had been read to the end: in seconds since 1970, or
    /// [`GONE_SOME_TIME`].
    pub gone: Option<u32>,
}

/// It was removed, and a release that did not write when has written that. Releases before it
/// wrote a zero.
pub const GONE_SOME_TIME: u32 = 1;

/// What a slot holds. Short-lived, so its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Never used, or freed: all zero.
    Free,
    /// The newer of its valid copies.
    Used(SlotCopy),
    /// Not zero, but no valid copy.
    Damaged,
}

/// Encodes one copy.
pub fn encode(copy: &SlotCopy) -> [u8; COPY] {
    let mut fields = Filled {
        bytes: [0; COPY],
        length: 0,
    };
    // In the place of the hash.
    fields.put([0; 8]);
    fields.put(copy.sequence.to_le_bytes());
    fields.put(*copy.id.bytes());
    for checkpoint in &copy.saved {
        fields.put(checkpoint.fingerprint.hash.to_le_bytes());
        fields.put(checkpoint.fingerprint.length.to_le_bytes());
        fields.put(checkpoint.marker.length.to_le_bytes());
        fields.put(checkpoint.marker.hash.to_le_bytes());
        fields.put(checkpoint.offset.to_le_bytes());
        fields.put(checkpoint.inode.to_le_bytes());
        fields.put(checkpoint.birth.to_le_bytes());
        fields.put(checkpoint.cursor.time.seconds.to_le_bytes());
        fields.put(checkpoint.cursor.time.nanos.to_le_bytes());
        fields.put(checkpoint.cursor.count.to_le_bytes());
        fields.put(u32::from(checkpoint.is_by_time).to_le_bytes());
        fields.put(u32::from(checkpoint.is_mid_line).to_le_bytes());
    }
    fields.put(copy.gone.unwrap_or(0).to_le_bytes());
    let places = copy.saved.map(|checkpoint| checkpoint.journal);
    let newest = places.into_iter().max_by_key(|place| place.received);
    let sequence = newest.map_or(0, |place| place.sequence);
    fields.put(sequence.to_le_bytes());
    for place in places {
        let number = (place.sequence == sequence).then_some(place.number);
        fields.put(number.unwrap_or(0).to_le_bytes());
        fields.put(place.received.to_le_bytes());
    }
    let mut encoded = fields.bytes;
    let hash = xxh3_64(&encoded[8..]);
    encoded[..8].copy_from_slice(&hash.to_le_bytes());
    encoded
}

/// A copy that is being encoded; what is not filled is zero.
struct Filled {
    bytes: [u8; COPY],
    length: usize,
}

impl Filled {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&field);
        self.length += N;
    }
}

fn decode_copy(bytes: &[u8]) -> Option<SlotCopy> {
    let mut fields = Fields(bytes.get(..COPY)?);
    let hash = fields.u64()?;
    if hash != xxh3_64(&bytes[8..COPY]) {
        return None;
    }
    let sequence = fields.u64().filter(|sequence| *sequence <= LAST_SEQUENCE)?;
    let id = ContainerId::from_bytes(*fields.take::<32>()?);
    let mut saved = ContainerCheckpoint::default();
    for checkpoint in &mut saved {
        *checkpoint = fields.checkpoint().filter(is_possible)?;
    }
    let gone = Some(fields.u32()?).filter(|gone| *gone != 0);
    let of_journal = u128::from_le_bytes(*fields.take::<16>()?);
    for checkpoint in &mut saved {
        let number = fields.u64()?;
        checkpoint.journal = JournalPlace {
            sequence: if number == 0 { 0 } else { of_journal },
            number,
            received: fields.u64()?,
        };
    }
    Some(SlotCopy {
        sequence,
        id,
        saved,
        gone,
    })
}

/// Whether [`encode`] can have been given this checkpoint. The hash protects against
/// accidental damage, not against a forged file whose lengths would be allocated and whose
/// offsets would be used in arithmetic.
fn is_possible(checkpoint: &StreamCheckpoint) -> bool {
    let StreamCheckpoint {
        fingerprint,
        marker,
        offset,
        cursor,
        ..
    } = checkpoint;
    fingerprint.length as usize <= HEAD_BYTES
        && marker.length as usize <= MARKER_BYTES
        && u64::from(marker.length) <= *offset
        && i64::try_from(*offset).is_ok()
        && cursor.time.nanos < 1_000_000_000
}

/// Decodes a slot of [`SLOT`] bytes.
pub fn decode(bytes: &[u8]) -> SlotState {
    if bytes.iter().all(|byte| *byte == 0) {
        return SlotState::Free;
    }
    let copies = bytes.chunks(COPY).filter_map(decode_copy);
    match copies.max_by_key(|copy| copy.sequence) {
        Some(copy) => SlotState::Used(copy),
        None => SlotState::Damaged,
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take::<8>().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take::<4>().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn checkpoint(&mut self) -> Option<StreamCheckpoint> {
        let hash = self.u64()?;
        let length = self.u32()?;
        let marker_length = self.u32()?;
        let marker_hash = self.u64()?;
        Some(StreamCheckpoint {
            fingerprint: Fingerprint { length, hash },
            marker: Marker {
                length: marker_length,
                hash: marker_hash,
            },
            offset: self.u64()?,
            inode: self.u64()?,
            birth: self.u64()?,
            cursor: TimeCursor {
                time: Timestamp {
                    seconds: self.u64()? as i64,
                    nanos: self.u32()?,
                },
                count: self.u32()?,
            },
            is_by_time: self.u32()? != 0,
            is_mid_line: self.u32()? != 0,
            journal: JournalPlace::default(),
        })
    }
}

const JOURNAL: usize = 48;

const _: () = assert!(8 + 8 + 32 + 2 * STREAM + 4 + JOURNAL <= COPY);

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(sequence: u64) -> SlotCopy {
        let checkpoint = |seed: u64| StreamCheckpoint {
            fingerprint: Fingerprint {
                length: 1024,
                hash: seed,
            },
            marker: Marker {
                length: 64,
                hash: seed + 1,
            },
            offset: seed + 100,
            inode: seed + 3,
            birth: seed + 4,
            cursor: TimeCursor {
                time: Timestamp {
                    seconds: -(seed as i64),
                    nanos: 5,
                },
                count: 6,
            },
            is_by_time: seed > 15,
            is_mid_line: seed < 15,
            journal: JournalPlace {
                sequence: 7,
                number: seed + 5,
                received: seed + 6,
            },
        };
        SlotCopy {
            sequence,
            id: ContainerId::parse(&"0f".repeat(32)).unwrap(),
            saved: [checkpoint(10), checkpoint(20)],
            gone: sequence.is_multiple_of(2).then_some(1_700_000_000),
        }
    }

    fn slot(first: &[u8], second: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; SLOT];
        bytes[..first.len()].copy_from_slice(first);
        bytes[COPY..COPY + second.len()].copy_from_slice(second);
        bytes
    }

    /// Writes the entry as input for the fuzz target: its flags, the entry without hash and
    /// id, and the log.
    fn keep(copy: &SlotCopy) {
        for flags in 0..8 {
            let bytes = encode(copy);
            let log = [b'x'; 200];
            crate::fuzz_seeds::keep(
                "checkpoint",
                [&[2, flags], &bytes[8..16], &bytes[48..192], &log[..]].concat(),
            );
        }
    }

    #[test]
    fn the_newer_valid_copy_counts() {
        let (older, newer) = (encode(&copy(4)), encode(&copy(5)));
        keep(&copy(4));
        assert_eq!(decode(&slot(&older, &newer)), SlotState::Used(copy(5)));
        assert_eq!(decode(&slot(&newer, &older)), SlotState::Used(copy(5)));
        assert_eq!(decode(&slot(&newer, &[])), SlotState::Used(copy(5)));
        assert_eq!(decode(&[0; SLOT]), SlotState::Free);
    }

    #[test]
    fn a_well_formed_copy_that_says_the_impossible_is_damaged() {
        let change = |change: fn(&mut SlotCopy)| {
            let mut copy = copy(4);
            change(&mut copy);
            decode(&slot(&encode(&copy), &[]))
        };
        assert!(matches!(change(|_| {}), SlotState::Used(_)));
        for changed in [
            change(|copy| copy.sequence = u64::MAX),
            change(|copy| copy.saved[0].fingerprint.length = 1025),
            change(|copy| copy.saved[1].marker.length = 65),
            change(|copy| copy.saved[1].offset = u64::from(copy.saved[1].marker.length) - 1),
            change(|copy| copy.saved[0].offset = 1 << 63),
            change(|copy| copy.saved[0].cursor.time.nanos = 1_000_000_000),
        ] {
            assert_eq!(changed, SlotState::Damaged);
        }
    }

    #[test]
    fn a_place_of_an_older_sequence_of_the_journal_keeps_its_time() {
        let place = |sequence, number, received| JournalPlace {
            sequence,
            number,
            received,
        };
        for (given, kept) in [
            (
                [place(7, 1, 10), place(8, 2, 20)],
                [place(0, 0, 10), place(8, 2, 20)],
            ),
            (
                [place(8, 2, 20), place(7, 1, 10)],
                [place(8, 2, 20), place(0, 0, 10)],
            ),
            (
                [place(8, 2, 20), JournalPlace::default()],
                [place(8, 2, 20), JournalPlace::default()],
            ),
            ([JournalPlace::default(); 2], [JournalPlace::default(); 2]),
        ] {
            let mut written = copy(4);
            for (checkpoint, place) in written.saved.iter_mut().zip(given) {
                checkpoint.journal = place;
            }
            let SlotState::Used(read) = decode(&slot(&encode(&written), &[])) else {
                panic!("it is valid");
            };
            assert_eq!(read.saved.map(|checkpoint| checkpoint.journal), kept);
        }
    }

    #[test]
    fn a_copy_torn_at_any_byte_gives_way_to_the_other() {
        let (older, newer) = (encode(&copy(4)), encode(&copy(5)));
        for cut in 0..240 {
            let mut torn = newer;
            torn[cut..].fill(0xee);
            assert_eq!(
                decode(&slot(&older, &torn)),
                SlotState::Used(copy(4)),
                "cut at {cut}"
            );
            assert_eq!(
                decode(&slot(&torn, &[])),
                SlotState::Damaged,
                "cut at {cut}"
            );
        }
    }
}
