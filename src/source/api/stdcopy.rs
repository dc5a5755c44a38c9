//! The frames of a multiplexed stream (moby `api/pkg/stdcopy`): one byte of
//! type, three of zero, four of length (big endian), then the payload. Pure,
//! incremental and total: fed in pieces of any size, never panics.
//!
//! A frame that lies whole in what was fed is handed out where it lies; only a
//! torn one is copied, and no room is kept for it afterwards.

use crate::format::work;

/// Bytes of a frame's header.
const HEADER: usize = 8;

/// The longest payload believed. Docker writes at most 16 KiB of text in a
/// frame, a driver with a piece size of its own up to 256 KiB, each with a
/// time in front.
pub const MOST_PAYLOAD: usize = 1024 * 1024 + 1024;

/// A buffer of this size is kept for the next torn frame.
const KEPT_CAPACITY: usize = 1024;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Standard output. Type 0, standard input, is taken for it, as Docker does.
    Stdout,
    /// Standard error.
    Stderr,
    /// A message of the daemon about a failure of its own.
    SystemError,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which stream it is of.
    pub kind: FrameKind,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Bytes that are no frame's header. The decoder is of no use any more: where
/// the next frame begins cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:02x?} is not a frame header")]
pub struct NoFrame([u8; HEADER]);

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    header: [u8; HEADER],
    header_length: usize,
    /// The payload so far of a torn frame; of one handed out by the last call
    /// if `is_handed_out`.
    payload: Vec<u8>,
    is_handed_out: bool,
}

impl FrameDecoder {
    /// The next frame of the stream that goes on with `bytes`, from which what
    /// was used is taken; `None` when all was used and more is needed.
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

/// Up to `most` bytes from the front of `bytes`.
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
