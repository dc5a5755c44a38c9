//! The head of a file, which identifies it, as far as it is known.

use memchr::memchr;

use crate::delivery::checkpoint::fingerprint::{Fingerprint, HEAD_BYTES};
use crate::format::layout::{Layout, Stretch};

/// Less than this has no time and text.
const LEAST_ENTRY: usize = 32;

/// The first bytes of a file as far as they have been read, and their fingerprint.
#[derive(Debug, Clone, Default)]
pub struct KnownHead {
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
    /// The bytes that it was taken of; empty if they were not kept.
    pub bytes: Vec<u8>,
}

impl KnownHead {
    /// The head of a file that begins with `read`, of which up to [`HEAD_BYTES`] count.
    pub fn of(read: &[u8]) -> KnownHead {
        let mut head = KnownHead::default();
        head.set(read);
        head
    }

    /// Replaces it by that of a file that begins with `read`.
    pub fn set(&mut self, read: &[u8]) {
        let read = &read[..read.len().min(HEAD_BYTES)];
        self.fingerprint = Fingerprint::of(read);
        self.bytes.clear();
        self.bytes.extend_from_slice(read);
    }

    /// Extends it by bytes of the file that were read at offset `from`; returns `false` if those do
    /// not continue what is known. The file itself may have been truncated since they were read.
    pub fn grow(&mut self, from: u64, read: &[u8]) -> bool {
        let known = self.bytes.len();
        if from == 0 {
            self.set(read);
        } else if from > known as u64 || self.fingerprint.length as usize != known {
            return false;
        } else if let Some(more) = read.get(known - from as usize..) {
            let mut head = std::mem::take(&mut self.bytes);
            head.extend_from_slice(&more[..more.len().min(HEAD_BYTES)]);
            self.set(&head);
        }
        true
    }

    /// The fingerprint of the head up to an offset: a copy made when the file ended there has
    /// only that. At the start, and after a hole of NULs, everything known of the head is more
    /// specific.
    pub fn fingerprint_before(&self, offset: u64) -> Fingerprint {
        if offset < self.bytes.len() as u64 {
            let before = &self.bytes[..offset as usize];
            if before.iter().any(|byte| *byte != 0) {
                return Fingerprint::of(before);
            }
        }
        self.fingerprint
    }

    /// Whether a file that begins with `head` has this one's content or an earlier state of
    /// it.
    pub fn begins_like(&self, head: &[u8]) -> bool {
        head.starts_with(&self.bytes) || self.bytes.starts_with(head)
    }

    /// Whether a file that begins with `head` begins with the same entry.
    pub fn has_first_of(&self, head: &[u8]) -> bool {
        let is_lines = Layout::detect(&self.bytes).is_some_and(Layout::is_lines);
        let line = memchr(b'\n', &self.bytes).filter(|_| is_lines);
        let first = &self.bytes[..line.map_or(self.bytes.len(), |end| end + 1)];
        first.len() >= LEAST_ENTRY && head.starts_with(first)
    }
}

/// The fingerprint that identifies a file of which nothing has been read: that of the complete
/// entries of its head, or of [`HEAD_BYTES`] of one.
pub fn fingerprint_of_unread(head: &[u8]) -> Fingerprint {
    let length = match Layout::detect(head).map(|layout| layout.measure(head)) {
        Some(Stretch::Whole(length)) => length,
        Some(_) if head.len() == HEAD_BYTES => HEAD_BYTES,
        _ => 0,
    };
    Fingerprint::of(&head[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_before_an_offset_is_that_of_an_earlier_copy_unless_it_tells_nothing() {
        let bytes = [&[0; 10][..], b"entry\n", &[b'x'; 2 * HEAD_BYTES]].concat();
        let head = KnownHead::of(&bytes);
        assert_eq!(head.bytes.len(), HEAD_BYTES);
        for nothing in [0, 10, HEAD_BYTES, bytes.len()] {
            let fingerprint = head.fingerprint_before(nothing as u64);
            assert_eq!(fingerprint, Fingerprint::of(&bytes), "{nothing}");
        }
        assert_eq!(head.fingerprint_before(16), Fingerprint::of(&bytes[..16]));
        let fingerprint = head.fingerprint;
        let hashed = KnownHead {
            fingerprint,
            ..KnownHead::default()
        };
        assert_eq!(hashed.fingerprint_before(16), fingerprint);
    }

    #[test]
    fn a_head_grows_by_what_was_read_whatever_is_in_the_file_by_then() {
        let bytes: Vec<u8> = (0..3 * HEAD_BYTES).map(|at| (at % 251) as u8).collect();
        let mut head = KnownHead::default();
        assert!(head.grow(0, &bytes[..100]));
        assert!(head.grow(40, &bytes[40..90]), "nothing new");
        assert_eq!(head.bytes, bytes[..100]);
        assert!(!head.grow(101, &bytes[101..200]), "a gap");
        assert!(head.grow(40, &bytes[40..700]));
        assert_eq!(head.bytes, bytes[..700]);
        assert!(head.grow(690, &bytes[690..]));
        assert_eq!(head.fingerprint, Fingerprint::of(&bytes));
        // Read again from its start: something else is there now.
        assert!(head.grow(0, &bytes[7..2000]));
        assert_eq!(head.fingerprint, Fingerprint::of(&bytes[7..]));
    }

    #[test]
    fn an_unread_file_is_identified_by_its_complete_entries() {
        let entry = b"{\"log\":\"one\\n\"}\n";
        let grows = [&entry[..], b"{\"log\":\"tw"].concat();
        assert_eq!(fingerprint_of_unread(&grows), Fingerprint::of(entry));
        assert_eq!(fingerprint_of_unread(&entry[..9]).length, 0);
        let long = [&b"{\"log\":\""[..], &[b'x'; HEAD_BYTES]].concat();
        let long = &long[..HEAD_BYTES];
        assert_eq!(fingerprint_of_unread(long), Fingerprint::of(long));
        assert_eq!(fingerprint_of_unread(b"garbage\n").length, 0);
    }
}
