//! From entries to records, and from records to batches.

pub mod assembler;
pub(crate) mod dedupe;
pub mod encode;
pub mod fields;
pub mod merge;
pub mod multiline;
pub mod partial;
pub mod tag;
pub mod template;
