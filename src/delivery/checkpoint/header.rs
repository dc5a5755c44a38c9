//! The first page of the checkpoint file: whose it is, its version, and whether the initial
//! scan of containers is done.
//!
//! ```text
//! magic 16 | version u32 | slot size u32 | hash u64
//! "done" after the initial scan | first start: seconds i64, nanoseconds u32; 0 if unknown
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::delivery::checkpoint::slot::SLOT;
use crate::format::position::Timestamp;

pub(crate) const MAGIC: &[u8; 16] = b"container_logs\0\x01";
const VERSION: u32 = 1;
/// The header has a page of its own.
pub(crate) const HEADER: usize = 4096;
/// Bytes of the header that never change: magic, version, slot size, hash.
pub(crate) const HEADER_USED: usize = 32;

/// Written after [`HEADER_USED`] bytes once the initial scan of containers is done.
pub(crate) const STARTED: [u8; 4] = *b"done";
/// Where the time of the first start is.
const FIRST_START: usize = HEADER_USED + STARTED.len();

/// What marks the initial scan as done. Releases that know no time ignore it.
pub(crate) fn mark(first_start: Option<Timestamp>) -> Vec<u8> {
    let mut bytes = STARTED.to_vec();
    if let Some(time) = first_start {
        bytes.extend(time_bytes(time));
    }
    bytes
}

fn time_bytes(time: Timestamp) -> Vec<u8> {
    let (seconds, nanos) = (time.seconds.to_le_bytes(), time.nanos.to_le_bytes());
    [&seconds[..], &nanos].concat()
}

/// The time of the first start, by the first page of a file; `None` if it is not stored.
pub(crate) fn first_start(head: &[u8]) -> Option<Timestamp> {
    let (seconds, rest) = head.get(FIRST_START..)?.split_first_chunk()?;
    let (nanos, _) = rest.split_first_chunk()?;
    let time = Timestamp {
        seconds: i64::from_le_bytes(*seconds),
        nanos: u32::from_le_bytes(*nanos),
    };
    (time.seconds > 0).then_some(time)
}

/// The page of a new file, with the time of the start that makes it, if that is the first.
pub(crate) fn page(first_start: Option<Timestamp>) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    if let Some(time) = first_start {
        let time = time_bytes(time);
        bytes[FIRST_START..FIRST_START + time.len()].copy_from_slice(&time);
    }
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..20].copy_from_slice(&VERSION.to_le_bytes());
    bytes[20..24].copy_from_slice(&(SLOT as u32).to_le_bytes());
    let hash = xxh3_64(&bytes[..24]);
    bytes[24..HEADER_USED].copy_from_slice(&hash.to_le_bytes());
    bytes
}

/// Says what is wrong with the first page of a file, if anything.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.iter().take(HEADER).all(|byte| *byte == 0) {
        return Err("it contains only NUL bytes, as after a power failure".to_owned());
    }
    let Some(found) = bytes.get(..HEADER) else {
        return Err("it is incomplete".to_owned());
    };
    if found[..HEADER_USED] != page(None)[..HEADER_USED] {
        let version = found
            .get(16..20)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        return Err(if version == VERSION {
            "its header is damaged".to_owned()
        } else {
            format!("it has format version {version}, this plugin uses {VERSION}")
        });
    }
    Ok(())
}

/// Whether the initial scan is done, by the first page of a file.
pub(crate) fn is_started(head: &[u8]) -> bool {
    head.get(HEADER_USED..HEADER_USED + STARTED.len()) == Some(&STARTED)
}
