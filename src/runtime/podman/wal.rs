//! SQLite's write-ahead log, `db.sql-wal`: pages of the database that were written since the log
//! began, and are to be read instead of those in the database. Podman uses one up to 4.7, and again
//! since 6.
//!
//! ```text
//! header   magic, version, page size, number, salt 1, salt 2, checksum of the former
//! frame    page number, pages of the database if it ends a transaction or 0, salt 1, salt 2,
//!          checksum of all frames so far; then the page
//! ```
//!
//! Numbers are big-endian; the magic says in which order checksums take the bytes. A frame with
//! other salts is one of an earlier log that this one has not overwritten yet.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;

use crate::runtime::safe_path::SafePath;

const MAGIC: u32 = 0x377f_0682;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Largest log. SQLite empties it at 4 MB, as soon as nobody reads.
const MOST_BYTES: u64 = 8 << 20;
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=1 << 16;

/// The header of the log at `path`, which changes when the log is restarted; `None` if there is no
/// log.
pub(super) fn header(path: &SafePath) -> io::Result<Option<[u8; HEADER]>> {
    let mut bytes = [0; HEADER];
    let read = path
        .open_file()
        .and_then(|file| file.read_exact_at(&mut bytes, 0));
    match read.map_err(|error| (error.kind(), error)) {
        Ok(()) => Ok(Some(bytes)),
        Err((io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof, _)) => Ok(None),
        Err((_, error)) => Err(error),
    }
}

/// The transactions in a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wal {
    bytes: Vec<u8>,
    /// Size of a page; 0 if the log has no transactions.
    page_size: usize,
    /// Where in `bytes` the newest version of each page is.
    pages: HashMap<u32, usize>,
    /// Size of the database, in pages.
    count: u32,
}

impl Wal {
    /// Reads the log at `path`; one that does not exist has no transactions.
    pub fn read(path: &SafePath) -> io::Result<Wal> {
        match path.read(MOST_BYTES) {
            Ok(bytes) => Ok(Wal::parse(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Wal::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(mut bytes: Vec<u8>) -> Wal {
        let mut wal = Wal::default();
        match wal.take_frames(&bytes) {
            Some(end) if end > 0 => {
                bytes.truncate(end);
                Wal { bytes, ..wal }
            }
            _ => Wal::default(),
        }
    }

    /// Returns where the last transaction ends. What follows it is not complete.
    fn take_frames(&mut self, bytes: &[u8]) -> Option<usize> {
        let magic = u32_at(bytes, 0)?;
        let page_size = u32_at(bytes, 8)? as usize;
        if magic & !1 != MAGIC || !PAGE_SIZES.contains(&page_size) {
            return None;
        }
        let is_big_endian = magic & 1 == 1;
        let mut sum = checksum(bytes.get(..24)?, [0; 2], is_big_endian);
        if bytes.get(24..HEADER)? != written(sum) {
            return None;
        }
        self.page_size = page_size;
        let salts = bytes.get(16..24)?;
        let (mut open, mut end) = (Vec::new(), 0);
        let frames = bytes.get(HEADER..)?.chunks_exact(FRAME_HEADER + page_size);
        for (number, frame) in frames.enumerate() {
            let (head, page) = frame.split_at(FRAME_HEADER);
            sum = checksum(head.get(..8)?, sum, is_big_endian);
            sum = checksum(page, sum, is_big_endian);
            if head.get(8..16)? != salts || head.get(16..)? != written(sum) {
                break;
            }
            let start = HEADER + number * (FRAME_HEADER + page_size) + FRAME_HEADER;
            open.push((u32_at(head, 0)?, start));
            let count = u32_at(head, 4)?;
            if count > 0 {
                self.pages.extend(open.drain(..));
                self.count = count;
                end = start + page_size;
            }
        }
        Some(end)
    }

    /// Size of the database with these transactions, of which the file alone has `size` bytes.
    pub fn database_size(&self, size: u64) -> u64 {
        match self.count {
            0 => size,
            count => u64::from(count) * self.page_size as u64,
        }
    }

    /// Writes the newest version of each page that is in the log into `bytes`, a copy of the
    /// database, which is to have this size then.
    pub fn apply(&self, bytes: &mut Vec<u8>, size: usize) {
        bytes.resize(size, 0);
        for (number, start) in &self.pages {
            // A page that a later transaction has cut off is in the log, too.
            let before = number.checked_sub(1);
            let at = before.and_then(|before| self.page_size.checked_mul(before as usize));
            let place = at.and_then(|at| bytes.get_mut(at..)?.get_mut(..self.page_size));
            let page = self.bytes.get(*start..*start + self.page_size);
            if let (Some(place), Some(page)) = (place, page) {
                place.copy_from_slice(page);
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn written(sum: [u32; 2]) -> [u8; 8] {
    let (first, second) = (sum[0].to_be_bytes(), sum[1].to_be_bytes());
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first);
    bytes[4..].copy_from_slice(&second);
    bytes
}

/// SQLite's checksum of `bytes`, continued from `sum`.
fn checksum(bytes: &[u8], sum: [u32; 2], is_big_endian: bool) -> [u32; 2] {
    let number = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        match is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        }
    };
    bytes.chunks_exact(8).fold(sum, |[first, second], pair| {
        let (one, other) = pair.split_at(4);
        let first = first.wrapping_add(number(one)).wrapping_add(second);
        let second = second.wrapping_add(number(other)).wrapping_add(first);
        [first, second]
    })
}
