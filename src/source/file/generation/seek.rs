//! Where reading a file begins, if not at its start: at a checkpoint, or after the last line.

use std::fs::File;
use std::io;

use memchr::memrchr;

use crate::delivery::checkpoint::fingerprint::{HEAD_BYTES, MARKER_BYTES};
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::layout::Layout;
use crate::runtime::file::{read_exact_at, stat_file};
use crate::source::file::content::Content;
use crate::source::file::generation::{Generation, ENTRY_CAP};
use crate::source::file::head::KnownHead;

/// Bytes per read of the search for the last line.
const BLOCK_BYTES: usize = 4096;

impl Generation {
    /// Moves to the offset of `checkpoint` if it was taken from this file. Returns whether it was,
    /// or `None` if a compressed file must be decompressed further by another call.
    pub fn seek(&mut self, checkpoint: &StreamCheckpoint) -> io::Result<Option<bool>> {
        if checkpoint.fingerprint.length == 0 {
            // Nothing had been read from it, so only the birth time identifies it.
            let is_same = checkpoint.birth != 0 && checkpoint.is_in(self.id);
            return Ok(Some(is_same && checkpoint.offset == 0));
        }
        let (head, marker) = match &mut self.content {
            Content::Plain(_) => match read_known(self.content.file()?, checkpoint)? {
                Some(known) => known,
                None => return Ok(Some(false)),
            },
            Content::Gzip(gzip, _) => match gzip.seek(checkpoint)? {
                Some(true) => (Vec::new(), gzip.carried.clone()),
                unfinished_or_other => return Ok(unfinished_or_other),
            },
        };
        self.read_offset = checkpoint.offset;
        self.head = KnownHead {
            fingerprint: checkpoint.fingerprint,
            bytes: head,
        };
        self.marker = marker;
        Ok(Some(true))
    }

    /// Whether a checkpoint taken from this file still matches its content.
    pub fn holds(&self, checkpoint: &StreamCheckpoint) -> io::Result<bool> {
        match &self.content {
            Content::Plain(_) => Ok(read_known(self.content.file()?, checkpoint)?.is_some()),
            // A compressed file does not change.
            Content::Gzip(..) => Ok(true),
        }
    }

    /// Moves to the end of the last complete line.
    pub fn seek_to_end(&mut self) -> io::Result<()> {
        let size = self
            .plain_file()
            .map_or(Ok(0), |file| Ok::<_, io::Error>(stat_file(file)?.1))?;
        self.seek_to_end_before(size)
    }

    /// Moves to the end of the last line that is complete in the first `size` bytes.
    pub fn seek_to_end_before(&mut self, size: u64) -> io::Result<()> {
        let Some(file) = self.content.plain() else {
            return Ok(());
        };
        let head = self.content.head()?;
        let end = if Layout::detect(&head).is_none_or(Layout::is_lines) {
            last_line_end(file, size)?
        } else {
            // An unfinished frame at the end is skipped at the next complete one.
            Some(size)
        };
        let offset = end.unwrap_or(size);
        let head_bytes = offset.min(HEAD_BYTES as u64) as usize;
        let mut marker = vec![0; offset.min(MARKER_BYTES as u64) as usize];
        let before = offset - marker.len() as u64;
        // A file that has become shorter meanwhile is read from its start.
        if read_exact_at(file, &mut marker, before)? && head_bytes <= head.len() {
            // A line too long to be kept is skipped to its end. A record may begin right after
            // a hole.
            self.is_skipping = end.is_none() && marker.last() != Some(&0);
            self.move_to(offset, &head[..head_bytes], marker);
        }
        Ok(())
    }

    /// Moves to an offset at which an entry begins. `head` is what the file begins with, and
    /// `marker` what precedes the offset.
    pub fn move_to(&mut self, offset: u64, head: &[u8], marker: Vec<u8>) {
        self.read_offset = offset;
        self.head = KnownHead::of(head);
        self.marker = marker;
    }
}

/// Reads the head and the marker of a checkpoint; `None` if the file has others.
fn read_known(
    file: &File,
    checkpoint: &StreamCheckpoint,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = vec![0; checkpoint.fingerprint.length as usize];
    let mut marker = vec![0; checkpoint.marker.length as usize];
    let before = checkpoint.offset.saturating_sub(marker.len() as u64);
    // Without a marker, only the size shows that the file reaches the offset.
    let is_same = checkpoint.offset <= stat_file(file)?.1
        && read_exact_at(file, &mut head, 0)?
        && read_exact_at(file, &mut marker, before)?
        && checkpoint.fingerprint.matches(&head)
        && checkpoint.marker.matches(&marker);
    Ok(is_same.then_some((head, marker)))
}

/// The end of the last line of a file of `size` bytes; `None` if more than [`ENTRY_CAP`]
/// follows it.
fn last_line_end(file: &File, size: u64) -> io::Result<Option<u64>> {
    let mut block = [0; BLOCK_BYTES];
    let mut end = size;
    while end > 0 {
        let from = end.saturating_sub(BLOCK_BYTES as u64);
        let part = &mut block[..(end - from) as usize];
        if size - end > ENTRY_CAP as u64 || !read_exact_at(file, part, from)? {
            return Ok(None);
        }
        if let Some(line_feed) = memrchr(b'\n', part) {
            return Ok(Some(from + line_feed as u64 + 1));
        }
        end = from;
    }
    Ok(Some(0))
}
