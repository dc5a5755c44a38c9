//! Joins the lines of an application that belong together, such as a stack trace, into one
//! record.
//!
//! It comes after the runtime's pieces are joined: its input is whole lines, each with the
//! position at which it begins, and its output is texts of one or more lines. There is one
//! `Text` per stream, so streams never mix. Like an open split line, an open text outlives
//! rotations, holds back its stream's checkpoint (I2), and is read again after a restart.
//!
//! An open text ends with the first line that does not belong to it, or by time-out. Time is
//! taken from the entries, so that a backlog is joined as it would have been when it was
//! written; only if no entry follows does the caller report that enough time has passed.

mod pattern;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::position::{PerStream, Stream, Timestamp};
pub use crate::pipeline::multiline::pattern::{NoPattern, Pattern, Verdict};
pub use crate::pipeline::multiline::traces::State;
use crate::pipeline::partial::{empty, Line};

/// How lines are joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultilineOptions {
    /// Which lines belong together; `None` if every line is a record.
    pub pattern: Option<Arc<Pattern>>,
    /// How long a line waits for the next one of its stream.
    pub flush: Duration,
    /// Maximum bytes of a text; longer ones are split into several records.
    pub max_bytes: usize,
}

impl MultilineOptions {
    /// Whether the cost of a line depends on a regular expression and on the line's content.
    pub fn is_by_expression(&self) -> bool {
        self.pattern
            .as_ref()
            .is_some_and(|pattern| pattern.is_regex())
    }

    /// Returns the options with the pattern from a label, or with none if the label says so.
    pub fn with(&self, hint: Option<Option<Arc<Pattern>>>) -> MultilineOptions {
        MultilineOptions {
            pattern: hint.unwrap_or_else(|| self.pattern.clone()),
            ..self.clone()
        }
    }
}

/// The open texts of one container.
#[derive(Debug)]
pub struct MultilineBuffer {
    pattern: Arc<Pattern>,
    flush: Duration,
    max_bytes: usize,
    streams: PerStream<Text>,
}

/// The open text of one stream.
#[derive(Debug, Default)]
struct Text {
    text: Vec<u8>,
    attrs: Vec<u8>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    /// The text as one line, without its bytes and attributes, which are in reusable buffers.
    line: Line<'static>,
    begins: StreamCheckpoint,
    /// Time of the last line.
    last: Timestamp,
    state: State,
}

impl MultilineBuffer {
    /// An empty buffer; `None` if no lines are joined.
    pub fn of(options: &MultilineOptions) -> Option<Box<MultilineBuffer>> {
        let pattern = options.pattern.clone()?;
        let (flush, max_bytes) = (options.flush, options.max_bytes);
        Some(Box::new(MultilineBuffer {
            pattern,
            flush,
            max_bytes,
            streams: PerStream::default(),
        }))
    }

    /// How long a line waits for the next one of its stream.
    pub fn patience(&self) -> Duration {
        self.flush
    }

    /// Delivers the texts that have timed out when an entry with this time is read from either
    /// stream.
    pub fn time_is(&mut self, time: Timestamp, mut deliver: impl FnMut(Stream, Line<'_>)) {
        for stream in Stream::ALL {
            let text = &mut self.streams[stream.index()];
            let Some(open) = &mut text.open else { continue };
            if open.last.elapsed_until(time) > self.flush {
                text.flush(|line| deliver(stream, line));
            } else {
                // After a clock was set back, do not wait until it has caught up.
                open.last = open.last.min(time);
            }
        }
    }

    /// Adds the next whole line of a stream, which began at `begins`, and delivers the texts
    /// that it completes: none, one, or two.
    pub fn push(
        &mut self,
        stream: Stream,
        line: &Line<'_>,
        begins: impl FnOnce() -> StreamCheckpoint,
        mut deliver: impl FnMut(Line<'_>),
    ) {
        let text = &mut self.streams[stream.index()];
        match self
            .pattern
            .judge(text.open.map(|open| open.state), line.text)
        {
            Verdict::Continues(state) => {
                if !text.has_room(line, self.max_bytes) {
                    text.flush(&mut deliver);
                }
                text.add(line, begins, state);
            }
            Verdict::Begins(state) => {
                text.flush(&mut deliver);
                text.add(line, begins, state);
            }
            Verdict::Alone => {
                text.flush(&mut deliver);
                deliver(*line);
            }
        }
    }

    /// Delivers the open text of `stream`, if any.
    pub fn flush(&mut self, stream: Stream, deliver: impl FnMut(Line<'_>)) {
        self.streams[stream.index()].flush(deliver);
    }

    /// Where the open text of `stream` begins.
    pub fn open_at(&self, stream: Stream) -> Option<StreamCheckpoint> {
        self.streams[stream.index()].open.map(|open| open.begins)
    }

    /// Whether any text is open.
    pub fn is_open(&self) -> bool {
        self.streams.iter().any(|text| text.open.is_some())
    }

    /// Bytes of the open texts in the source.
    pub fn source_bytes(&self) -> u64 {
        let open = self.streams.iter().filter_map(|text| text.open);
        open.map(|open| open.line.source_bytes as u64).sum()
    }
}

impl Text {
    /// Nothing is appended to a cut line: the missing part would have stood in between.
    fn has_room(&self, line: &Line<'_>, max_bytes: usize) -> bool {
        self.open.is_some_and(|open| !open.line.missing.is_any())
            && self.text.len() + 1 + line.text.len() <= max_bytes
    }

    fn add(&mut self, line: &Line<'_>, begins: impl FnOnce() -> StreamCheckpoint, state: State) {
        match &mut self.open {
            Some(open) => {
                self.text.push(b'\n');
                open.last = line.time;
                open.state = state;
                open.line.missing = open.line.missing.and(line.missing);
                open.line.source_bytes += line.source_bytes;
                open.line.is_utf8 &= line.is_utf8;
            }
            None => {
                self.attrs.clear();
                self.attrs.extend_from_slice(line.attrs);
                self.open = Some(Open {
                    line: line.without_text(),
                    begins: begins(),
                    last: line.time,
                    state,
                });
            }
        }
        self.text.extend_from_slice(line.text);
    }

    fn flush(&mut self, mut deliver: impl FnMut(Line<'_>)) {
        let Some(open) = self.open.take() else { return };
        deliver(Line {
            text: &self.text,
            attrs: &self.attrs,
            ..open.line
        });
        empty(&mut self.text);
    }
}

#[cfg(test)]
mod tests;
