//! The time that a daemon puts before each entry. Pure.

use crate::format::position::Timestamp;
use crate::format::rfc3339::TimeParser;

/// Length of `2006-01-02T15:04:05.000000000-07:00`. Docker writes `Z` for the zone; Podman
/// writes the local one.
pub const LONGEST_TIME: usize = 35;

/// Returns the time at the start of `text` and what follows the blank after it; `None` if
/// `text` does not begin with a time.
pub fn split_time<'a>(times: &mut TimeParser, text: &'a [u8]) -> Option<(Timestamp, &'a [u8])> {
    let near = text.get(..text.len().min(LONGEST_TIME + 1))?;
    let (time, blank_and_rest) = text.split_at_checked(memchr::memchr(b' ', near)?)?;
    Some((times.parse(time)?, blank_and_rest.get(1..)?))
}
