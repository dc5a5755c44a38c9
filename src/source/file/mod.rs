//! The log of one container on disk: its files in order, and how far each has been read.

mod accepted;
mod content;
mod copies;
mod create_counter;
mod cut;
mod entries;
pub(super) mod extent;
pub(super) mod feed;
mod foreign;
mod gaps;
pub mod generation;
pub mod gzip;
mod head;
pub(super) mod known;
mod last_lines;
pub mod listing;
mod losses;
mod open_files;
mod opening;
mod resume;
pub(super) mod rotation;
pub(super) mod search;
mod successor;
pub mod tail_position;
pub mod tailer;
mod unfinished;
