//! How a log has grown, and whose ids are in it.

use std::fs::File;

use memchr::memmem;

use crate::runtime::file::{read_up_to, stat_file, FileId};

/// Most bytes at the end of the log that are looked at.
const END_BYTES: u64 = 1 << 20;
/// Length of a container's id.
const ID_LENGTH: usize = 64;
/// Lengths of a pod's uid: a hash, of a static pod, or a UUID.
const UID_LENGTHS: [usize; 2] = [32, 36];

/// The end of a log at a time.
#[derive(Debug, Clone, Copy)]
pub struct End {
    file: FileId,
    /// The size of that file.
    pub size: u64,
    /// Bytes before it, since the last ones with the id of a container, that have none; if a pod's
    /// uid is searched for, the uid of a pod counts as well.
    pub plain: u64,
}

/// What was written between two ends.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// How much.
    pub bytes: u64,
    /// With the id of the container itself, or the uid of its pod.
    pub has_own_id: bool,
}

impl End {
    /// Where the newest file of a log ends now.
    pub fn of(file: &File) -> Option<End> {
        let (file, size) = stat_file(file).ok()?;
        Some(End {
            file,
            size,
            plain: 0,
        })
    }

    /// Where what was written after `before` begins: in another file, or one that was truncated, at
    /// its start.
    pub fn after(&self, before: &End) -> u64 {
        match before.file == self.file && before.size <= self.size {
            true => before.size,
            false => 0,
        }
    }

    /// What was written to `file`, which ends here, after `before`.
    pub fn written(&mut self, before: &End, file: &File, mark: &[u8]) -> Written {
        let after = self.after(before);
        let from = after.max(self.size.saturating_sub(END_BYTES));
        let length = usize::try_from(self.size.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        let filled = read_up_to(file, &mut bytes, from).unwrap_or(0);
        bytes.truncate(filled);
        self.plain = match has_any_id(&bytes) || (mark.len() != ID_LENGTH && has_any_uid(&bytes)) {
            true => 0,
            false => before.plain + bytes.len() as u64,
        };
        Written {
            bytes: self.size - after,
            has_own_id: memmem::find(&bytes, mark).is_some(),
        }
    }
}

fn has_any_id(bytes: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    bytes
        .split(|byte| !is_digit(byte))
        .any(|run| run.len() == ID_LENGTH)
}

fn has_any_uid(bytes: &[u8]) -> bool {
    bytes
        .split(|byte| !is_of_uid(*byte))
        .any(|run| UID_LENGTHS.contains(&run.len()))
}

fn is_of_uid(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-'
}

/// Whether a text looks like the uid of a pod.
pub fn is_uid(text: &str) -> bool {
    UID_LENGTHS.contains(&text.len()) && text.bytes().all(is_of_uid)
}
