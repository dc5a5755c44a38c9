//! Turns entries into records, and records into batches.

pub mod assembler;
pub(crate) mod dedupe;
pub mod encode;
pub mod fields;
pub mod merge;
pub mod multiline;
pub mod partial;
pub mod tag;
pub mod template;
