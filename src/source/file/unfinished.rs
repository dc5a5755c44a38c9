//! The entry at the end of a file whose end has not been written yet.

use crate::delivery::checkpoint::fingerprint::MARKER_BYTES;
use crate::format::layout::Layout;

/// An unfinished entry. It is remembered by its length and its last bytes, so that of an entry
/// that grows by a byte per millisecond only the new bytes are read each time. It is read
/// again as a whole once its end has been written.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// How many bytes of it have been written; 0 if there is none.
    pub length: usize,
    /// The last of them: while they are unchanged, it is the same entry.
    end: Vec<u8>,
    /// The result of [`Layout::wanted`].
    wanted: usize,
}

impl Unfinished {
    /// Remembers an entry of which `data` has been written.
    pub fn of(data: &[u8], layout: Layout) -> Unfinished {
        Unfinished {
            length: data.len(),
            end: last_bytes(data),
            wanted: layout.wanted(data),
        }
    }

    /// Index of the first of the bytes that are remembered.
    pub fn known_from(&self) -> usize {
        self.length - self.end.len()
    }

    /// Adds what has been appended, given the file's bytes from [`Unfinished::known_from`] on.
    /// Returns `false` if it may be complete or invalid now, or is another entry.
    pub fn grow(&mut self, seen: &[u8], layout: Layout) -> bool {
        let Some(appended) = seen.strip_prefix(&self.end[..]) else {
            return false;
        };
        let length = self.length + appended.len();
        let grows = !layout.may_end(appended, length, self.wanted);
        if grows {
            self.length = length;
            self.end = last_bytes(seen);
        }
        grows
    }
}

fn last_bytes(data: &[u8]) -> Vec<u8> {
    data[data.len().saturating_sub(MARKER_BYTES)..].to_owned()
}
