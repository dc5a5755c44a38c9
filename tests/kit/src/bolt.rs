//! Bolt files: the writer of the library's own tests.

pub use written::{database, text, texts, Bucket, Value};

#[path = "../../../src/runtime/bolt/written.rs"]
mod written;
