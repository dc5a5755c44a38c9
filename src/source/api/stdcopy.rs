//! The frames of a multiplexed stream (moby `api/pkg/stdcopy`): one byte of type, three of
//! zero, four of length (big endian), then the payload. Pure, incremental and total: accepts
//! pieces of any size, never panics.
//!
//! A frame that is complete in the input is returned without copying; only a split one is
//! copied, and its buffer is released afterwards.

use crate::format::work;

/// Bytes of a frame's header.
const HEADER: usize = 8;

/// The longest payload accepted. Docker writes at most 16 KiB of text in a frame, a driver
/// with a piece size of its own up to 256 KiB, each preceded by a time.
pub const MOST_PAYLOAD: usize = 1024 * 1024 + 1024;

/// Capacity of a buffer that is kept for the next split frame.
const KEPT_CAPACITY: usize = 1024;

/// The content of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Standard output. Type 0, standard input, is treated as this, as Docker does.
    Stdout,
    /// Standard error.
    Stderr,
    /// A message from the daemon about a failure of its own.
    SystemError,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its stream.
    pub kind: FrameKind,
    /// Its content.
    pub payload: &'a [u8],
}

/// These bytes are not the header of a frame. The decoder cannot be used any more, because the
/// start of the next frame is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:02x?} is not a frame header")]
pub struct NoFrame([u8; HEADER]);

/// Splits a stream into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    header: [u8; HEADER],
    header_length: usize,
    /// The payload so far of a split frame; if `is_handed_out`, the one returned by the last
    /// call.
    payload: Vec<u8>,
    is_handed_out: bool,
}

impl FrameDecoder {
    /// Returns the next frame of the stream, which continues with `bytes`, and removes the
    /// bytes used from the front of `bytes`. Returns `None` when all have been used and more
    /// are needed.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<Frame<'a>>, NoFrame> {
        if self.is_handed_out {
            self.is_handed_out = false;
            self.payload.clear();
            self.payload.shrink_to(KEPT_CAPACITY);
        }
        if let Some(free) = self.header.get_mut(self.header_length..) {
            let piece = take(bytes, free.len());
            for (to, from) in free.iter_mut().zip(piece) {
                *to = *from;
            }
            self.header_length += piece.len();
        }
        if self.header_length < HEADER {
            return Ok(None);
        }
        let (kind, length) = parse_header(self.header)?;
        let piece = take(bytes, length - self.payload.len());
        if piece.len() == length {
            self.header_length = 0;
            return Ok(Some(Frame {
                kind,
                payload: piece,
            }));
        }
        work::add(piece.len());
        self.payload.extend_from_slice(piece);
        if self.payload.len() < length {
            return Ok(None);
        }
        self.header_length = 0;
        self.is_handed_out = true;
        Ok(Some(Frame {
            kind,
            payload: &self.payload,
        }))
    }

    /// Whether the stream may end here.
    pub fn is_between_frames(&self) -> bool {
        self.header_length == 0
    }
}

/// Removes and returns up to `most` bytes from the front of `bytes`.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    piece
}

fn parse_header(header: [u8; HEADER]) -> Result<(FrameKind, usize), NoFrame> {
    let [kind, 0, 0, 0, l1, l2, l3, l4] = header else {
        return Err(NoFrame(header));
    };
    let kind = match kind {
        0 | 1 => FrameKind::Stdout,
        2 => FrameKind::Stderr,
        3 => FrameKind::SystemError,
        _ => return Err(NoFrame(header)),
    };
    match usize::try_from(u32::from_be_bytes([l1, l2, l3, l4])) {
        Ok(length) if length <= MOST_PAYLOAD => Ok((kind, length)),
        _ => Err(NoFrame(header)),
    }
}

#[cfg(test)]
pub(super) mod tests;
