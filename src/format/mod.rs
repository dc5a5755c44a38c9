//! The formats that runtimes write, one module each: decodes the bytes of one entry into an
//! [`Entry`]. Pure and total: no input panics, and the fast path does not allocate.

pub mod cri;
pub mod json_file;
pub mod layout;
pub mod local;
pub mod msgpack;
pub mod position;
pub mod rfc3339;
pub mod scan;
pub mod work;

use crate::format::position::{Stream, Timestamp};

/// One entry as the runtime wrote it: a whole line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When the runtime received it.
    pub time: Timestamp,
    /// The stream it came from.
    pub stream: Stream,
    /// The text without the line feed that ends a line.
    pub text: &'a [u8],
    /// Whether the entry ended with a line feed. If not, this is a piece: more follows, or the
    /// stream ended in mid-line.
    pub ends_line: bool,
    /// Whether the text is known to be valid UTF-8; otherwise it is raw bytes.
    pub is_utf8: bool,
    /// The attributes that log-opts add to the entry, as a MessagePack map; empty if there are
    /// none.
    pub attrs: &'a [u8],
}

#[cfg(test)]
mod tests;
