//! Looks at every byte of a text, sixteen at a time and without an early exit: lines are short, and
//! nearly all of them are plain.

use memchr::memchr;
use wide::u8x16;

const LANES: usize = 16;

/// Whether every byte is ASCII.
#[inline]
pub fn is_ascii(text: &[u8]) -> bool {
    !is_any_marked(text, |block| block)
}

/// Whether a text means itself as the body of a JSON string, and is ASCII: no quote, backslash
/// or control byte.
#[inline]
pub fn is_plain_json(text: &[u8]) -> bool {
    !is_any_marked(text, |block| {
        // Exchanges the quote, 0x22, and the blank, 0x20: below 0x21 are now the quote and the
        // control bytes, which are exchanged among themselves.
        let exchanged = block ^ u8x16::splat(b'"' ^ b' ');
        let is_low = exchanged.min(u8x16::splat(b' ')).simd_eq(exchanged);
        is_low | block.simd_eq(u8x16::splat(b'\\')) | block
    })
}

/// Whether `marks` sets the high bit of any byte. The last block overlaps the one before it; a
/// short text is padded with blanks.
#[inline(always)]
fn is_any_marked(text: &[u8], marks: impl Fn(u8x16) -> u8x16) -> bool {
    let (blocks, rest) = text.as_chunks::<LANES>();
    let of = |block: &[u8; LANES]| marks(u8x16::new(*block));
    let mut all = blocks
        .iter()
        .map(of)
        .fold(u8x16::default(), |all, marks| all | marks);
    if !rest.is_empty() {
        all |= match text.last_chunk::<LANES>() {
            Some(last) => of(last),
            None => {
                let mut padded = [b' '; LANES];
                padded[..rest.len()].copy_from_slice(rest);
                of(&padded)
            }
        };
    }
    all.to_bitmask() != 0
}

/// Bytes that are searched for line feeds at a time.
const BLOCK: usize = 4 * LANES;
/// Blocks without one after which a line is long, and `memchr` is worth its call.
const NEAR_BLOCKS: usize = 6;

/// The offsets of all line feeds.
#[derive(Debug, Clone)]
pub struct LineFeeds<'a> {
    text: &'a [u8],
    /// The line feeds of the last block that are still to be returned, as bits, and its offset.
    found: u64,
    at: usize,
    /// Where the next block begins.
    next: usize,
}

impl<'a> LineFeeds<'a> {
    /// Those of `text`.
    pub fn of(text: &'a [u8]) -> LineFeeds<'a> {
        LineFeeds {
            text,
            found: 0,
            at: 0,
            next: 0,
        }
    }

    /// Searches on until a block has a line feed; `None` if there is none.
    #[inline(always)]
    fn search(&mut self) -> Option<()> {
        loop {
            for _ in 0..NEAR_BLOCKS {
                let rest = self.text.get(self.next..).filter(|rest| !rest.is_empty())?;
                self.found = match rest.first_chunk::<BLOCK>() {
                    Some(block) => line_feeds(block),
                    None => last_line_feeds(rest),
                };
                self.at = self.next;
                self.next += BLOCK;
                if self.found != 0 {
                    return Some(());
                }
            }
            self.next += memchr(b'\n', self.text.get(self.next..)?)?;
        }
    }
}

impl Iterator for LineFeeds<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.found == 0 {
            self.search()?;
        }
        let first = self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(self.at + first)
    }
}

/// The line feeds of a block, as bits.
#[inline(always)]
fn line_feeds(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<LANES>();
    let mut of_parts = [u8x16::default(); BLOCK / LANES];
    let mut any = u8x16::default();
    for (part, of_part) in parts.iter().zip(&mut of_parts) {
        *of_part = u8x16::new(*part).simd_eq(u8x16::splat(b'\n'));
        any |= *of_part;
    }
    if any.to_bitmask() == 0 {
        return 0;
    }
    let bits = of_parts.iter().rev();
    bits.fold(0, |bits, part| bits << LANES | u64::from(part.to_bitmask()))
}

/// Those of less than a block.
#[cold]
fn last_line_feeds(rest: &[u8]) -> u64 {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    line_feeds(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_feeds_are_found_at_any_distance() {
        let all = |text: &[u8]| LineFeeds::of(text).collect::<Vec<_>>();
        let naive = |text: &[u8]| {
            let feeds = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            feeds.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let most = (NEAR_BLOCKS + 3) * BLOCK;
        for length in 0..most {
            let mut text = vec![b'x'; length];
            assert_eq!(all(&text), naive(&text));
            for at in [length / 2, length.saturating_sub(1)] {
                if let Some(byte) = text.get_mut(at) {
                    *byte = b'\n';
                }
            }
            assert_eq!(all(&text), naive(&text), "{length}");
        }
        for distance in 1..most {
            let text: Vec<u8> = (0..3 * most)
                .map(|at| if at % distance == 0 { b'\n' } else { 0x8a })
                .collect();
            assert_eq!(all(&text), naive(&text), "every {distance}");
        }
    }

    /// A text of each length up to three blocks with each byte at each place.
    #[test]
    fn each_byte_is_seen_wherever_it_is() {
        for length in 0..=3 * LANES + 1 {
            let mut text = vec![b'x'; length];
            assert!(is_ascii(&text) && is_plain_json(&text), "{length}");
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    text[at] = byte;
                    assert_eq!(is_ascii(&text), byte < 0x80, "{byte} at {at} of {length}");
                    let is_plain = (0x20..0x80).contains(&byte) && !b"\"\\".contains(&byte);
                    assert_eq!(is_plain_json(&text), is_plain, "{byte} at {at} of {length}");
                }
                text[at] = b'x';
            }
        }
    }
}
