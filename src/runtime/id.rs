//! Container ids.

use std::collections::HashMap;
use std::fmt;

/// A container id: 64 lower-case hexadecimal digits, stored as 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; 32]);

/// By container, for maps that are asked for each batch or entry: the standard hash of the 32 bytes of an id
/// takes longer than all else there. Seeded for each map, as the standard one is.
pub type ContainerMap<V> = HashMap<ContainerId, V, foldhash::fast::RandomState>;

impl ContainerId {
    /// Parses `text`; `None` if it is not a container id.
    pub fn parse(text: &str) -> Option<ContainerId> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex(pair[0])? << 4 | hex(pair[1])?;
        }
        Some(ContainerId(id))
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id with these raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> ContainerId {
        ContainerId(bytes)
    }

    /// The first 12 digits, as `docker ps` shows them.
    pub fn short(&self) -> String {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = digits.map(|digit| char::from(DIGITS[usize::from(digit)]));
        digits.take(12).collect()
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
