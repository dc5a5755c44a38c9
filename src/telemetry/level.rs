//! How serious a message is.

/// Severity of a log message, most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Data is lost or a human is needed.
    Error,
    /// Something went wrong and the plugin recovered or works around it.
    Warn,
    /// Start, recovery, and changes in what is read and from where.
    Info,
    /// Containers found or gone, and other details.
    Debug,
}

impl Level {
    /// All levels, most serious first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The name of the level.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}
