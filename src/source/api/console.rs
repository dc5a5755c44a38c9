//! The raw stream of a container with a terminal: lines, each with a leading time, and no
//! frames. Pure, incremental and total.
//!
//! Docker puts a time before each *record*, and a record need not end a line: it is cut after
//! 16 KiB, and at the end of a run. So a time may occur in the middle of a line, where the
//! container itself may just as well have printed one:
//!
//! ```text
//! 2026-…Z 16384 bytes2026-…Z rest of the line LF
//! ```
//!
//! The `local` driver, read through the API, even ends a long line without LF. A time is taken
//! for Docker's in two places only: 16 KiB after the last one, and at the start of a chunk of
//! the body, since Docker writes a record as a chunk. Elsewhere it is text. A line without end
//! is emitted in pieces of 16 KiB, which also bounds the memory.

use crate::format::position::Timestamp;
use crate::format::rfc3339::TimeParser;
use crate::format::work;

use crate::source::api::stamp::{split_time, LONGEST_TIME};

/// Docker cuts a line here (moby `daemon/logger/copier.go`).
pub const PIECE: usize = 16 * 1024;

/// How the daemon begins the message about a failure of its own. A container's line begins
/// with a time.
const DAEMON_ERROR: &[u8] = b"Error grabbing logs: ";

/// Capacity of a buffer that is kept for the next line split between chunks.
const KEPT_CAPACITY: usize = 1024;

/// A line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleEntry<'a> {
    /// Its leading time; without one, the time of the previous entry.
    pub time: Timestamp,
    /// Its bytes without the final LF.
    pub text: &'a [u8],
    /// Whether the LF was there.
    pub ends_line: bool,
}

/// The daemon reports that it cannot continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DaemonError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A time may begin here; its bytes so far are in `head`.
    Time { starts_line: bool },
    /// Text, up to LF or the length of a piece.
    Text,
}

/// Splits a stream into lines.
#[derive(Debug)]
pub struct ConsoleDecoder {
    times: TimeParser,
    time: Timestamp,
    /// Whether the current line has had a time.
    is_timed: bool,
    /// Whether the last time was in the middle of a line.
    is_continued: bool,
    state: State,
    head: Vec<u8>,
    /// Text of the unfinished piece, shorter than [`PIECE`].
    text: Vec<u8>,
}

impl ConsoleDecoder {
    /// Creates a decoder for a stream from its start. `time` is for lines without one.
    pub fn new(time: Timestamp) -> ConsoleDecoder {
        ConsoleDecoder {
            times: TimeParser::default(),
            time,
            is_timed: false,
            is_continued: false,
            state: State::Time { starts_line: true },
            head: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Decodes one chunk of the body.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        emit: &mut dyn FnMut(ConsoleEntry<'_>),
    ) -> Result<(), DaemonError> {
        // Directly after a line's time comes its text: a time there belongs to the text. The
        // last piece of a line may be empty, and its LF omitted.
        if self.state == State::Text && (!self.text.is_empty() || self.is_continued) {
            self.state = State::Time { starts_line: false };
        }
        self.go_on(chunk, emit)
    }

    /// Handles the regular end of the stream: what is left is the end of a run.
    pub fn finish(&mut self, emit: &mut dyn FnMut(ConsoleEntry<'_>)) -> Result<(), DaemonError> {
        while !self.head.is_empty() {
            let head = std::mem::take(&mut self.head);
            work::add(head.len());
            self.state = State::Text;
            self.go_on(&head, emit)?;
        }
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.hand_out(&text, false, emit)?;
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        mut rest: &[u8],
        emit: &mut dyn FnMut(ConsoleEntry<'_>),
    ) -> Result<(), DaemonError> {
        while !rest.is_empty() {
            rest = match self.state {
                State::Time { starts_line } => self.take_time(rest, starts_line, emit)?,
                State::Text => self.take_text(rest, emit)?,
            };
        }
        Ok(())
    }

    /// Takes a time if there is one; returns the rest.
    fn take_time<'a>(
        &mut self,
        rest: &'a [u8],
        starts_line: bool,
        emit: &mut dyn FnMut(ConsoleEntry<'_>),
    ) -> Result<&'a [u8], DaemonError> {
        if starts_line && self.head.is_empty() {
            self.is_timed = false;
            // The usual case: the whole time is in this chunk.
            if let Some((time, text)) = split_time(&mut self.times, rest) {
                self.time = time;
                self.is_timed = true;
                self.is_continued = false;
                self.state = State::Text;
                return Ok(text);
            }
        }
        let carried = self.head.len();
        // Up to the blank that ends a time, or until it cannot be one.
        let room = (LONGEST_TIME + 1).saturating_sub(self.head.len());
        let end = rest
            .iter()
            .take(room)
            .position(|byte| !is_of_time(*byte))
            .map(|at| at + 1);
        let (piece, left) = rest.split_at(end.unwrap_or(room).min(rest.len()));
        self.head.extend_from_slice(piece);
        if end.is_none() && self.head.len() <= LONGEST_TIME {
            return Ok(left);
        }
        let head = std::mem::take(&mut self.head);
        work::add(head.len());
        self.state = State::Text;
        match split_time(&mut self.times, &head) {
            Some((time, _)) => {
                // A new record begins, so the last one is complete.
                let text = std::mem::take(&mut self.text);
                if !text.is_empty() {
                    self.hand_out(&text, false, emit)?;
                }
                self.time = time;
                self.is_timed = true;
                self.is_continued = !starts_line;
            }
            // The previous chunk ended in what could have been the start of a time, and this
            // one may begin with one.
            None if carried > 0 => {
                self.go_on(head.get(..carried).unwrap_or_default(), emit)?;
                self.state = State::Time { starts_line: false };
                return Ok(rest);
            }
            // Terminates: this is shorter than the previous input.
            None => self.go_on(&head, emit)?,
        }
        Ok(left)
    }

    /// Takes text up to the end of its line or piece; returns the rest.
    fn take_text<'a>(
        &mut self,
        rest: &'a [u8],
        emit: &mut dyn FnMut(ConsoleEntry<'_>),
    ) -> Result<&'a [u8], DaemonError> {
        let room = PIECE.saturating_sub(self.text.len());
        let (near, _) = rest.split_at(room.min(rest.len()));
        let line_end = memchr::memchr(b'\n', near);
        let (piece, mut left) = rest.split_at(line_end.unwrap_or(near.len()));
        if line_end.is_none() && piece.len() < room {
            self.text.extend_from_slice(piece);
            return Ok(left);
        }
        if line_end.is_some() {
            left = left.get(1..).unwrap_or_default();
        }
        self.state = State::Time {
            starts_line: line_end.is_some(),
        };
        if self.text.is_empty() {
            self.hand_out(piece, line_end.is_some(), emit)?;
        } else {
            let mut text = std::mem::take(&mut self.text);
            text.extend_from_slice(piece);
            self.hand_out(&text, line_end.is_some(), emit)?;
            text.clear();
            text.shrink_to(KEPT_CAPACITY);
            self.text = text;
        }
        Ok(left)
    }

    fn hand_out(
        &self,
        text: &[u8],
        ends_line: bool,
        emit: &mut dyn FnMut(ConsoleEntry<'_>),
    ) -> Result<(), DaemonError> {
        if !self.is_timed && text.starts_with(DAEMON_ERROR) {
            return Err(DaemonError(
                String::from_utf8_lossy(text).trim_end().to_owned(),
            ));
        }
        emit(ConsoleEntry {
            time: self.time,
            text,
            ends_line,
        });
        Ok(())
    }
}

fn is_of_time(byte: u8) -> bool {
    byte.is_ascii_digit() || b"-:.TZ+".contains(&byte)
}

#[cfg(test)]
mod tests;
