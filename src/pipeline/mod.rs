//! Turns entries into records, and records into batches.

pub mod assembler;
mod batch_builder;
pub(crate) mod dedupe;
pub mod encode;
pub mod fields;
pub mod hold_back;
pub mod merge;
pub mod multiline;
mod open_lines;
pub mod partial;
pub mod tag;
pub mod template;
