//! How a file is divided into entries: lines of two kinds, or `local` frames. The layout is
//! detected from the first bytes of the file, not from the name of its log driver.

use memchr::{memchr, memrchr};

use crate::format::cri::is_cri;
use crate::format::local::{
    first_frame, next_frame, wanted_bytes, Frame, LENGTH_BYTES, LONGEST_FRAME,
};

/// Fewer NULs than this may be the start of a frame that is still being written.
const FEWEST_NULS: usize = 65;

/// How a file is divided into entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One JSON object per line (json-file driver).
    JsonLines,
    /// One CRI entry per line (containerd, CRI-O, Podman).
    CriLines,
    /// Length-prefixed frames (local driver, and the cache of other drivers).
    LocalFrames,
}

/// What a range of bytes of a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Whole entries, with their total length in bytes. For frames, the range may include
    /// damage between or after them.
    Whole(usize),
    /// An entry whose end has not been written yet.
    Incomplete,
    /// This many bytes that belong to no entry.
    Corrupt(usize),
}

impl Layout {
    /// Detects the layout of a file that begins with `head`; `None` if `head` is empty or
    /// damaged.
    pub fn detect(head: &[u8]) -> Option<Layout> {
        match head {
            [b'{', ..] => Some(Layout::JsonLines),
            [b'0'..=b'9', ..] if is_cri(head) => Some(Layout::CriLines),
            // The length is below 2^24, and the first field of the message is its source.
            [0, _, _, _, 0x0a, ..] => match first_frame(head) {
                Frame::Corrupt => None,
                _ => Some(Layout::LocalFrames),
            },
            _ => None,
        }
    }

    /// The layout that a file of this name usually has, until its content shows it.
    pub fn by_name(name: &str) -> Layout {
        if name.contains("-json.log") {
            Layout::JsonLines
        } else if name.starts_with("container.log") || name.starts_with("container-cached.log") {
            Layout::LocalFrames
        } else {
            Layout::CriLines
        }
    }

    /// Whether each entry ends at a line feed, so that the last one is found from the end of
    /// the data. Other entries are found only one after another from the start.
    pub fn is_lines(self) -> bool {
        matches!(self, Layout::JsonLines | Layout::CriLines)
    }

    /// Length in bytes of the longest entry; 0 if the format does not limit it.
    pub fn longest_entry(self) -> usize {
        match self {
            Layout::JsonLines | Layout::CriLines => 0,
            Layout::LocalFrames => LONGEST_FRAME,
        }
    }

    /// Length in bytes of the hole of NULs at the start of `data`; 0 if there is none.
    pub fn hole(self, data: &[u8]) -> usize {
        let nuls = data.iter().take_while(|byte| **byte == 0).count();
        match self {
            Layout::JsonLines | Layout::CriLines if nuls > 0 && Layout::detect(data).is_none() => {
                nuls
            }
            // A frame's length begins with NULs, too: only a stretch of nothing else is certainly
            // a hole, and the last of them may be the start of a frame.
            Layout::LocalFrames if nuls >= FEWEST_NULS && nuls == data.len() => {
                nuls + 1 - LENGTH_BYTES
            }
            _ => 0,
        }
    }

    /// Length in bytes at which the incomplete entry `data` will be complete; 0 if only its
    /// end shows that.
    pub fn wanted(self, data: &[u8]) -> usize {
        match self {
            Layout::JsonLines | Layout::CriLines => 0,
            Layout::LocalFrames => wanted_bytes(data),
        }
    }

    /// Whether an incomplete entry may be complete, or invalid, now that it has grown by
    /// `grown` to `length` bytes. `wanted` is the result of [`Layout::wanted`] before.
    pub fn may_end(self, grown: &[u8], length: usize, wanted: usize) -> bool {
        match self {
            Layout::JsonLines | Layout::CriLines => memchr(b'\n', grown).is_some(),
            // Within its footer, a frame may already turn out to be invalid.
            Layout::LocalFrames => !grown.is_empty() && length + LENGTH_BYTES > wanted,
        }
    }

    /// Measures the whole entries at the start of `data`, up to the last complete one.
    pub fn measure(self, data: &[u8]) -> Stretch {
        match self {
            Layout::JsonLines | Layout::CriLines => match memrchr(b'\n', data) {
                Some(line_feed) => Stretch::Whole(line_feed + 1),
                None => Stretch::Incomplete,
            },
            Layout::LocalFrames => measure_frames(data),
        }
    }

    /// Length in bytes of the last entry of `data`, which must end with a whole entry; 0 if it
    /// cannot be determined.
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

/// Length of the last frame, read from its footer.
fn last_frame(data: &[u8]) -> usize {
    let Some((_, length)) = data.split_last_chunk::<LENGTH_BYTES>() else {
        return 0;
    };
    let length = u32::from_be_bytes(*length) as usize;
    length
        .checked_add(2 * LENGTH_BYTES)
        .filter(|length| *length <= data.len())
        .unwrap_or(0)
}

/// Damage after a frame belongs to the range: if every damaged piece ended a range, a file
/// that alternates small frames and damage would be reread for each of them.
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

    /// Not the NULs that an entry may begin with.
    #[test]
    fn a_hole_is_told_from_the_start_of_an_entry() {
        let nuls = [0; FEWEST_NULS];
        assert_eq!(Layout::JsonLines.hole(b"\0\0{\"log\":\"\"}\n"), 2);
        assert_eq!(Layout::JsonLines.hole(b"{}\n"), 0);
        assert_eq!(Layout::JsonLines.hole(b"\0\0\0\x20\x0a\x06stdout"), 0);
        assert_eq!(Layout::LocalFrames.hole(&nuls), FEWEST_NULS - 3);
        assert_eq!(Layout::LocalFrames.hole(&nuls[1..]), 0);
        assert_eq!(Layout::LocalFrames.hole(&[&nuls[..], b"\x08"].concat()), 0);
    }

    #[test]
    fn an_unfinished_entry_may_end_at_a_line_feed_or_in_its_footer() {
        let frame = b"\0\0\0\x08\x0a\x06stdout\0\0\0\x08";
        let wanted = Layout::LocalFrames.wanted(&frame[..5]);
        assert_eq!(wanted, frame.len());
        for length in 6..=frame.len() {
            let may_end = Layout::LocalFrames.may_end(&frame[5..length], length, wanted);
            assert_eq!(may_end, length > frame.len() - 4, "{length} bytes");
        }
        assert!(Layout::CriLines.may_end(b"end\n", 10, 0));
        assert!(!Layout::CriLines.may_end(b"text", 10, 0));
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
