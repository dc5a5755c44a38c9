//! Writes copies into several slots. Those that are close to each other go in one call: a pass over
//! many containers moves many positions, and a system call costs more than the bytes between them.
//!
//! What lies between two copies is read from the file and written back as it is. Nobody else
//! writes to it, since the file is locked, and the kernel writes whole pages to the disk anyway.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::delivery::checkpoint::db_file;
use crate::delivery::checkpoint::slot::COPY;

/// Copies at most this many bytes apart go in one call. Reading and writing back as many costs less
/// than another call.
const NEAR: u64 = 4096;
/// Bytes written in one call at most.
const LONGEST: u64 = 64 * 1024;

/// One copy to write.
#[derive(Debug)]
pub(super) struct SlotWrite {
    /// From the start of the file.
    pub offset: u64,
    /// The copy.
    pub bytes: [u8; COPY],
}

impl SlotWrite {
    fn end(&self) -> u64 {
        self.offset + COPY as u64
    }
}

/// Writes all of them, which are in the order of their offsets. After an error, any part of them may
/// have been written. `span` is memory to use again.
pub(super) fn write(file: &File, writes: &[SlotWrite], span: &mut Vec<u8>) -> io::Result<()> {
    debug_assert!(writes.is_sorted_by_key(|write| write.offset));
    let mut rest = writes;
    while let Some(first) = rest.first() {
        let mut end = first.end();
        let is_near = |write: &&SlotWrite| {
            let goes_along = write.offset <= end + NEAR && write.end() - first.offset <= LONGEST;
            end = write.end();
            goes_along
        };
        let (near, others) = rest.split_at(1 + rest[1..].iter().take_while(is_near).count());
        write_near(file, near, span)?;
        rest = others;
    }
    Ok(())
}

fn write_near(file: &File, writes: &[SlotWrite], span: &mut Vec<u8>) -> io::Result<()> {
    let [first, .., last] = writes else {
        return writes
            .iter()
            .try_for_each(|write| file.write_all_at(&write.bytes, write.offset));
    };
    span.resize((last.end() - first.offset) as usize, 0);
    let filled = db_file::read_at(file, span, first.offset)?;
    // Beyond the end of the file are slots that were never used.
    span[filled..].fill(0);
    for write in writes {
        let at = (write.offset - first.offset) as usize;
        span[at..at + COPY].copy_from_slice(&write.bytes);
    }
    file.write_all_at(span, first.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file of `length` bytes, all 250, holds after writes at these offsets: of bytes that
    /// are all 1, all 2 and so on.
    fn written(length: usize, offsets: &[u64]) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![250; length], 0).unwrap();
        let writes = offsets.iter().zip(1..).map(|(offset, number)| SlotWrite {
            offset: *offset,
            bytes: [number; COPY],
        });
        let mut span = vec![77; 3];
        write(&file, &writes.collect::<Vec<_>>(), &mut span).unwrap();
        let mut content = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    }

    /// `(byte, how many of it)` in a row.
    fn runs(content: &[u8]) -> Vec<(u8, usize)> {
        let same = content.chunk_by(|a, b| a == b);
        same.map(|run| (run[0], run.len())).collect()
    }

    #[test]
    fn what_lies_between_stays_as_it_is() {
        let near = written(4096, &[0, 1024, 2048]);
        let between = [(250, 768), (2, 256), (250, 768), (3, 256), (250, 1792)];
        assert_eq!(runs(&near), [&[(1, 256)], &between[..]].concat());
    }

    #[test]
    fn what_is_far_apart_and_what_is_too_much_at_once_is_written_all_the_same() {
        let far = NEAR as usize + 257;
        let content = written(2 * far, &[0, far as u64]);
        let between = (250, far - 256);
        assert_eq!(runs(&content), [(1, 256), between, (2, 256), between]);
        let slots: Vec<u64> = (0..200).map(|slot| slot * 512).collect();
        let content = written(200 * 512, &slots);
        for (slot, bytes) in content.chunks(512).enumerate() {
            let expected = [((slot + 1) as u8, 256), (250, 256)];
            assert_eq!(runs(bytes), expected, "slot {slot}");
        }
    }

    #[test]
    fn beyond_the_end_of_the_file_are_zeros() {
        let content = written(400, &[0, 1024]);
        let expected = [(1, 256), (250, 144), (0, 624), (2, 256)];
        assert_eq!(runs(&content), expected);
    }
}
