//! Where systemd's journal is.

use std::path::PathBuf;

/// Where systemd's journal is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JournalPath {
    /// Where this machine's is.
    Auto,
    /// In this folder, or in the folders of machines below it.
    Folder(PathBuf),
    /// It is not read.
    #[default]
    Off,
}
