//! The log of one container on disk: its files in order, and how far each has been read.

mod content;
mod create_counter;
pub mod generation;
pub mod gzip;
mod head;
pub(super) mod known;
pub mod listing;
mod resume;
pub(super) mod search;
pub mod tailer;
mod unfinished;
