//! Decodes the body of a logs request, framed or raw, into entries. Pure.

use crate::format::position::{PerStream, Stream, Timestamp};
use crate::format::rfc3339::TimeParser;

use crate::source::api::console::ConsoleDecoder;
use crate::source::api::stamp::split_time;
use crate::source::api::stdcopy::{FrameDecoder, FrameKind};

/// Length, in bytes, to which the text of a daemon's error is cut.
const LONGEST_ERROR: usize = 1024;

/// Receives the stream, the time, the text, and whether the text ends its line.
pub type Emit<'a> = dyn FnMut(Stream, Timestamp, &[u8], bool) + 'a;

/// Decodes one body.
#[derive(Debug)]
pub enum EntryDecoder {
    /// From a container without a terminal.
    Multiplexed(Multiplexed),
    /// From a container with a terminal.
    Raw(Box<ConsoleDecoder>),
}

/// Decodes frames and the times in them.
#[derive(Debug)]
pub struct Multiplexed {
    frames: FrameDecoder,
    times: TimeParser,
    last: PerStream<Timestamp>,
}

impl EntryDecoder {
    /// Creates a decoder of a body from its start. `time` is for entries before the first one
    /// that has a time.
    pub fn new(has_terminal: bool, time: Timestamp) -> EntryDecoder {
        if has_terminal {
            EntryDecoder::Raw(Box::new(ConsoleDecoder::new(time)))
        } else {
            EntryDecoder::Multiplexed(Multiplexed {
                frames: FrameDecoder::default(),
                times: TimeParser::default(),
                last: [time; 2],
            })
        }
    }

    /// Decodes a chunk of the body. An error means that the stream cannot be read any further.
    pub fn feed(&mut self, chunk: &[u8], emit: &mut Emit<'_>) -> Result<(), String> {
        match self {
            EntryDecoder::Multiplexed(multiplexed) => multiplexed.feed(chunk, emit),
            EntryDecoder::Raw(console) => console
                .feed(chunk, &mut |entry| {
                    emit(Stream::Stdout, entry.time, entry.text, entry.ends_line)
                })
                .map_err(|error| error.to_string()),
        }
    }

    /// Handles the regular end of the body.
    pub fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), String> {
        match self {
            EntryDecoder::Multiplexed(multiplexed) if multiplexed.frames.is_between_frames() => {
                Ok(())
            }
            EntryDecoder::Multiplexed(_) => Err("the stream ended inside a frame".to_owned()),
            EntryDecoder::Raw(console) => console
                .finish(&mut |entry| emit(Stream::Stdout, entry.time, entry.text, entry.ends_line))
                .map_err(|error| error.to_string()),
        }
    }
}

impl Multiplexed {
    fn feed(&mut self, mut chunk: &[u8], emit: &mut Emit<'_>) -> Result<(), String> {
        while let Some(frame) = self
            .frames
            .next(&mut chunk)
            .map_err(|error| error.to_string())?
        {
            let stream = match frame.kind {
                FrameKind::Stdout => Stream::Stdout,
                FrameKind::Stderr => Stream::Stderr,
                FrameKind::SystemError => return Err(error_text(frame.payload)),
            };
            if frame.payload.is_empty() {
                continue;
            }
            let [stdout, stderr] = &mut self.last;
            let last = if stream == Stream::Stdout {
                stdout
            } else {
                stderr
            };
            let mut text = frame.payload;
            if let Some((time, rest)) = split_time(&mut self.times, text) {
                *last = time;
                text = rest;
            }
            let line = text.strip_suffix(b"\n");
            emit(stream, *last, line.unwrap_or(text), line.is_some());
        }
        Ok(())
    }
}

/// Makes a daemon's message fit for a log.
pub fn error_text(bytes: &[u8]) -> String {
    let near = bytes
        .get(..bytes.len().min(LONGEST_ERROR))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(near).trim().to_owned();
    if text.is_empty() {
        "an error without a message".to_owned()
    } else {
        text
    }
}
