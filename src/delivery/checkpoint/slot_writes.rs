//! Writes copies into several slots. Those that are close to each other go in one call: a pass over
//! many containers moves many positions, and a system call costs more than the bytes between them.
//!
//! What lies between two copies is read from the file and written back as it is. Nobody else
//! writes to it, since the file is locked, and the kernel writes whole pages to the disk anyway.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::delivery::checkpoint::db_file;
use crate::delivery::checkpoint::slot::{COPY, SLOT};

/// Slots at most this many apart go in one call. Reading and writing back what lies between costs
/// less than another call.
const NEAR: usize = 4096 / SLOT;
/// Slots covered by one call at most.
const LONGEST: usize = 64 * 1024 / SLOT;

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

/// Divides slots, which are in order, into those that go in one call.
pub(super) fn near_groups(slots: &[usize]) -> impl Iterator<Item = &[usize]> {
    let mut rest = slots;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let is_near = |pair: &&[usize]| pair[1] - pair[0] <= NEAR && pair[1] - first < LONGEST;
        let (near, others) = rest.split_at(1 + rest.windows(2).take_while(is_near).count());
        rest = others;
        Some(near)
    })
}

/// Writes copies that go in one call. After an error, any part of them may have been written.
/// `span` is memory to use again.
pub(super) fn write(file: &File, writes: &[SlotWrite], span: &mut Vec<u8>) -> io::Result<()> {
    if let [one] = writes {
        return file.write_all_at(&one.bytes, one.offset);
    }
    let begin = writes.iter().map(|write| write.offset).min();
    let end = writes.iter().map(SlotWrite::end).max();
    let (Some(begin), Some(end)) = (begin, end) else {
        return Ok(());
    };
    span.resize((end - begin) as usize, 0);
    let filled = db_file::read_at(file, span, begin)?;
    // Beyond the end of the file are slots that were never used.
    span[filled..].fill(0);
    for write in writes {
        let at = (write.offset - begin) as usize;
        span[at..at + COPY].copy_from_slice(&write.bytes);
    }
    file.write_all_at(span, begin)
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
        let near = written(4096, &[1024, 0, 2048]);
        let between = [(250, 768), (1, 256), (250, 768), (3, 256), (250, 1792)];
        assert_eq!(runs(&near), [&[(2, 256)], &between[..]].concat());
    }

    #[test]
    fn what_is_far_apart_and_what_is_too_much_at_once_goes_in_further_calls() {
        let groups = |slots: &[usize]| near_groups(slots).map(<[_]>::to_vec).collect::<Vec<_>>();
        assert_eq!(groups(&[]), [[0; 0]; 0]);
        assert_eq!(groups(&[3]), [[3]]);
        let far = 1 + NEAR + 1;
        assert_eq!(
            groups(&[0, 1, far, far + NEAR]),
            [[0, 1], [far, far + NEAR]]
        );
        let many: Vec<usize> = (7..7 + LONGEST + 2).collect();
        assert_eq!(groups(&many), [&many[..LONGEST], &many[LONGEST..]]);
    }

    #[test]
    fn beyond_the_end_of_the_file_are_zeros() {
        let content = written(400, &[0, 1024]);
        let expected = [(1, 256), (250, 144), (0, 624), (2, 256)];
        assert_eq!(runs(&content), expected);
    }
}
