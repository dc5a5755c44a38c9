//! How a file is divided into entries: lines of two kinds or `local` frames. What the
//! file begins with decides, not what its log driver is called.

use memchr::memrchr;

use crate::format::cri::is_cri;
use crate::format::local::{first_frame, next_frame, Frame};

/// A way of dividing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One JSON object a line (driver json-file).
    JsonLines,
    /// One entry of the container runtime interface a line (containerd, CRI-O,
    /// Podman).
    CriLines,
    /// Length-prefixed frames (driver local, and the cache of other drivers).
    LocalFrames,
}

/// What a stretch of a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Whole entries of so many bytes together, frames perhaps with damage between or
    /// behind them.
    Whole(usize),
    /// An entry whose end is not there yet.
    Incomplete,
    /// So many bytes that are no entry.
    Corrupt(usize),
}

impl Layout {
    /// What a file is that begins with `head`, or `None` where that does not
    /// tell: it is empty, or damaged at its start.
    pub fn detect(head: &[u8]) -> Option<Layout> {
        match head {
            [b'{', ..] => Some(Layout::JsonLines),
            [b'0'..=b'9', ..] if is_cri(head) => Some(Layout::CriLines),
            // The length is below 2^24, and the first field of the message is
            // its source.
            [0, _, _, _, 0x0a, ..] => match first_frame(head) {
                Frame::Corrupt => None,
                _ => Some(Layout::LocalFrames),
            },
            _ => None,
        }
    }

    /// What `data` begins with, to the last whole entry in it.
    pub fn measure(self, data: &[u8]) -> Stretch {
        match self {
            Layout::JsonLines | Layout::CriLines => match memrchr(b'\n', data) {
                Some(line_feed) => Stretch::Whole(line_feed + 1),
                None => Stretch::Incomplete,
            },
            Layout::LocalFrames => measure_frames(data),
        }
    }

    /// How many bytes the last entry of `data` has, which ends with a whole one; 0
    /// where that cannot be told.
    pub fn last_entry(self, data: &[u8]) -> usize {
        match self {
            Layout::JsonLines | Layout::CriLines => {
                let before = data.len().saturating_sub(1);
                data.len() - memrchr(b'\n', &data[..before]).map_or(0, |line_feed| line_feed + 1)
            }
            Layout::LocalFrames => last_frame(data),
        }
    }
}

/// The length of the frame that `data` ends with, which stands at its end too.
fn last_frame(data: &[u8]) -> usize {
    let Some((_, length)) = data.split_last_chunk::<4>() else {
        return 0;
    };
    let length = u32::from_be_bytes(*length) as usize;
    length
        .checked_add(2 * 4)
        .filter(|length| *length <= data.len())
        .unwrap_or(0)
}

/// Damage behind a frame is part of the stretch: if each piece of it ended one, a file
/// of small frames and damage in turns would be read again for each of them.
fn measure_frames(data: &[u8]) -> Stretch {
    let mut whole = 0;
    while whole < data.len() {
        let rest = &data[whole..];
        match first_frame(rest) {
            Frame::Whole { length, .. } => whole += length,
            Frame::Corrupt if whole == 0 => return Stretch::Corrupt(next_frame(rest).max(1)),
            Frame::Corrupt => whole += next_frame(rest).max(1),
            Frame::Incomplete => break,
        }
    }
    if whole == 0 {
        Stretch::Incomplete
    } else {
        Stretch::Whole(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        assert_eq!(Layout::detect(b"{\"log\":"), Some(Layout::JsonLines));
        assert_eq!(
            Layout::detect(b"\0\0\0\x20\x0a\x06stdout"),
            Some(Layout::LocalFrames)
        );
        assert_eq!(
            Layout::detect(b"2023-11-14T22:13:20Z stdout F x"),
            Some(Layout::CriLines)
        );
        for head in [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0", b"garbage", b"2023"] {
            assert_eq!(Layout::detect(head), None, "{head:?}");
        }
    }

    #[test]
    fn lines_are_measured_to_the_last_line_feed() {
        assert_eq!(Layout::JsonLines.measure(b"{}\n{}\n{"), Stretch::Whole(6));
        assert_eq!(Layout::JsonLines.measure(b"{"), Stretch::Incomplete);
        assert_eq!(Layout::CriLines.last_entry(b"one\nlast\n"), 5);
        assert_eq!(Layout::CriLines.last_entry(b"only\n"), 5);
    }

    #[test]
    fn frames_are_measured_to_the_last_whole_one() {
        let frame = b"\0\0\0\x08\x0a\x06stdout\0\0\0\x08";
        let two = [&frame[..], &frame[..]].concat();
        for cut in 0..two.len() {
            let want = if cut < frame.len() {
                Stretch::Incomplete
            } else {
                Stretch::Whole(frame.len())
            };
            assert_eq!(
                Layout::LocalFrames.measure(&two[..cut]),
                want,
                "cut at {cut}"
            );
        }
        assert_eq!(Layout::LocalFrames.last_entry(&two), frame.len());
        assert_eq!(Layout::LocalFrames.last_entry(&two[1..frame.len()]), 0);
        let damaged = [b"\xff\xff\xff\xff", &two[..]].concat();
        assert_eq!(Layout::LocalFrames.measure(&damaged), Stretch::Corrupt(4));
    }
}
