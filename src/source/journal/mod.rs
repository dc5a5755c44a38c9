//! systemd's journal: the logs of containers whose driver is journald.
//!
//! `files` says whether it can be read, `unwritten` whether journald stores anything, `coverage` whether
//! it has all that follows a place, `seam` is what a library must offer (`ffi::journal` has libsystemd's), `entry` and `trust`
//! say what an entry is and who wrote it, `scan` steps through a journal, `shared` is what all
//! containers of a reader share, and `journaled` one container.

mod coverage;
pub mod cursor;
mod entry;
pub mod files;
pub mod journaled;
mod losses;
mod ordinals;
pub mod remainder;
mod resumed;
pub mod scan;
pub mod seam;
pub mod shared;
pub mod trust;
pub mod unwritten;
