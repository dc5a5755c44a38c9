//! Content identity of a log file.
//!
//! Inode numbers are reused at once (ext4 gives the freed inode of a deleted log file to the
//! next one), so a file is identified by its bytes: a hash over its head that grows with the
//! file up to [`HEAD_BYTES`], and a hash over the few bytes just before an offset (the
//! *marker*). Entries carry a time in nanoseconds, so the head is practically unique; in
//! json-file, where the time ends the record, so is the marker.

use xxhash_rust::xxh3::xxh3_64;

/// Maximum bytes of the head that are hashed: usually several records. The marker covers a
/// first line that is longer.
pub const HEAD_BYTES: usize = 1024;

/// Maximum bytes before an offset that the marker covers: enough for the `time` of json-file's
/// last record.
pub const MARKER_BYTES: usize = 64;

/// A hash over the first `length` bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Bytes hashed; 0 if the file was empty and nothing is known.
    pub length: u32,
    /// XXH3-64 of those bytes.
    pub hash: u64,
}

impl Fingerprint {
    /// The fingerprint of a file that begins with `head`.
    pub fn of(head: &[u8]) -> Fingerprint {
        let head = &head[..head.len().min(HEAD_BYTES)];
        Fingerprint {
            length: head.len() as u32,
            hash: xxh3_64(head),
        }
    }

    /// Whether it has reached its final length.
    pub fn is_complete(&self) -> bool {
        self.length as usize >= HEAD_BYTES
    }

    /// Whether a file that begins with `head` can be the one this was taken from: today's head
    /// must begin with yesterday's. An empty fingerprint matches nothing.
    pub fn matches(&self, head: &[u8]) -> bool {
        let length = self.length as usize;
        length > 0 && head.len() >= length && xxh3_64(&head[..length]) == self.hash
    }
}

/// A hash over up to [`MARKER_BYTES`] bytes just before an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marker {
    /// Bytes hashed; 0 at the start of a file.
    pub length: u32,
    /// XXH3-64 of those bytes.
    pub hash: u64,
}

impl Marker {
    /// The marker of the offset just after `preceding`.
    pub fn of(preceding: &[u8]) -> Marker {
        let tail = &preceding[preceding.len().saturating_sub(MARKER_BYTES)..];
        Marker {
            length: tail.len() as u32,
            hash: xxh3_64(tail),
        }
    }

    /// Whether the bytes before the offset are unchanged.
    pub fn matches(&self, preceding: &[u8]) -> bool {
        let length = self.length as usize;
        preceding.len() >= length && xxh3_64(&preceding[preceding.len() - length..]) == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_file_still_matches_its_earlier_fingerprint() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i * 7 % 251) as u8).collect();
        for length in [1, 10, 1023, 1024, 1025, 2999] {
            let earlier = Fingerprint::of(&bytes[..length]);
            assert!(earlier.matches(&bytes), "head of {length} bytes");
            assert_eq!(earlier.is_complete(), length >= HEAD_BYTES);
        }
    }

    #[test]
    fn an_empty_fingerprint_matches_nothing() {
        assert!(!Fingerprint::of(b"").matches(b""));
        assert!(!Fingerprint::of(b"").matches(b"x"));
    }

    #[test]
    fn a_shorter_or_changed_file_does_not_match() {
        let print = Fingerprint::of(b"0123456789");
        assert!(!print.matches(b"012345678"));
        assert!(!print.matches(b"x123456789"));
    }

    #[test]
    fn a_marker_sees_the_last_bytes_only() {
        let marker = Marker::of(&[b'a'; 200]);
        assert_eq!(marker.length as usize, MARKER_BYTES);
        assert!(marker.matches(&[b'a'; 64]));
        assert!(!marker.matches(&[b'a'; 63]));
        assert!(!marker.matches(&[b'b'; 64]));
        assert!(Marker::of(b"").matches(b""));
    }
}
