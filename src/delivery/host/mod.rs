//! What the plugin needs from the program that embeds it: Fluent Bit (`ffi::flb_host`), the
//! `tail-containers` program, or a test.

pub mod embedded;

use crate::format::position::Timestamp;
use crate::telemetry::event::Level;
use crate::telemetry::metrics::Reading;

/// The host accepted nothing: it is paused or over its storage limit. The caller keeps the
/// batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRefused;

/// What a host parser extracted from a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// A MessagePack map.
    pub fields: Vec<u8>,
    /// The time in the text, if the parser extracts one.
    pub time: Option<Timestamp>,
}

/// The host has no parser of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoParser;

/// The receiving side. Called on the host's thread only (I4).
pub trait Host {
    /// Hands over `records` records, concatenated MessagePack in Fluent Bit's layout
    /// `[[EventTime, {}], {body}]`. A `tag` of `None` means the instance's own tag. `Ok` means
    /// that the host has taken responsibility for all of them.
    fn append(&self, tag: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused>;

    /// Bytes of this instance's records that the host holds in memory and has not delivered to
    /// its outputs yet; `None` if it does not say.
    fn holds(&self) -> Option<usize> {
        None
    }

    /// Whether it keeps what it holds in files as well, where its next start finds it.
    fn keeps_in_files(&self) -> bool {
        false
    }

    /// Makes the host pass on to its outputs what it holds, without waiting for its next flush.
    /// A host that passes everything on at once does nothing.
    fn flush(&self) {}

    /// Logs one line for the operator.
    fn log(&self, level: Level, message: &str);

    /// Parses `text` with the named host parser; `None` if it does not match. A host without
    /// parsers returns `None` for every text.
    fn parse(&self, parser: &str, text: &[u8]) -> Result<Option<Parsed>, NoParser> {
        let _ = (parser, text);
        Ok(None)
    }

    /// Sets the series in `readings`; other series are unchanged. A host without metrics does
    /// nothing.
    fn publish(&self, readings: &[Reading]) {
        let _ = readings;
    }
}
