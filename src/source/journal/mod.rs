//! systemd's journal: the logs of containers whose driver is journald.

pub mod cursor;
pub mod entry;
pub mod seam;
pub mod trust;
