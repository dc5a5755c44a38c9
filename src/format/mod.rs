//! The formats runtimes write, one file each: the bytes of one entry in,
//! an [`Entry`] out. Pure and total: no input panics, nothing is allocated on
//! the plain path.

pub mod cri;
pub mod json_file;
pub mod layout;
pub mod local;
pub mod msgpack;
pub mod position;
pub mod rfc3339;
pub mod work;

use crate::format::position::{Stream, Timestamp};

/// One entry as the runtime wrote it: a whole line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When the runtime saw it.
    pub time: Timestamp,
    /// Which stream it came from.
    pub stream: Stream,
    /// The text, without the one line feed that ends a line.
    pub text: &'a [u8],
    /// Whether that line feed was there. Without it this is a piece: more
    /// follows, or the stream ended in mid-line.
    pub ends_line: bool,
    /// Whether the text is known to be valid UTF-8; else it is raw bytes.
    pub is_utf8: bool,
    /// The attributes that log-opts put into the entry, as a MessagePack map;
    /// empty where there are none.
    pub attrs: &'a [u8],
}

#[cfg(test)]
mod linear_tests;
