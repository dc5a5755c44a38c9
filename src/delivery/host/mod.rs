//! What the plugin asks of whoever embeds it: Fluent Bit (`ffi::flb_host`),
//! the `tail-containers` program, or a test.

pub mod embedded;

use crate::format::position::Timestamp;
use crate::telemetry::event::Level;
use crate::telemetry::metrics::Reading;

/// The host took nothing: it is paused or over its storage limit. The batch is
/// still ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRefused;

/// What a parser of the host made of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// A MessagePack map.
    pub fields: Vec<u8>,
    /// The time that the text says, if its parser looks for one.
    pub time: Option<Timestamp>,
}

/// The host knows no parser of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoParser;

/// The receiving side. Called on the host's thread only (I4).
pub trait Host {
    /// Hands over `records` records, MessagePack in Fluent Bit's layout
    /// `[[EventTime, {}], {body}]` one after another. `None` means the
    /// instance's own tag. `Ok` means all of them are in the host's keeping.
    fn append(&self, tag: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused>;

    /// Bytes of this instance's records that the host holds in memory, not delivered by
    /// its outputs yet; `None` where it does not tell.
    fn holds(&self) -> Option<usize> {
        None
    }

    /// One line for the operator.
    fn log(&self, level: Level, message: &str);

    /// Takes a text apart by the host's parser of this name; `None` where it does not
    /// fit. A host without parsers leaves every text as it is.
    fn parse(&self, parser: &str, text: &[u8]) -> Result<Option<Parsed>, NoParser> {
        let _ = (parser, text);
        Ok(None)
    }

    /// Sets the series in `readings`; others stay as they are. A host without metrics does
    /// nothing.
    fn publish(&self, readings: &[Reading]) {
        let _ = readings;
    }
}
