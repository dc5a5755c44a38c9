//! Events of systemd's journal.

use crate::telemetry::level::Level;

/// Something that happened to the journal, or to a container that is read from it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum JournalEvent {
    #[error("systemd's journal cannot be read: {reason}; containers that log to it are read through the API of their daemon, or wait if there is none; nothing is lost unless journald removes old entries before it can be read again")]
    Unreadable { reason: String },
    #[error("systemd's journal can be read again")]
    Readable,
    #[error("container {name} ({short_id}): reading it from systemd's journal")]
    Begins { name: String, short_id: String },
    #[error("container {name} ({short_id}): journald removed entries before they were read; lines written after {last} may be lost (raise SystemMaxUse or RuntimeMaxUse in journald.conf, or find out what delays reading)")]
    Vacuumed {
        name: String,
        short_id: String,
        last: String,
    },
    #[error("container {name} ({short_id}): {entries} of its entries are missing in systemd's journal: journald suppressed them by its rate limit (RateLimitBurst in journald.conf), or removed them before they were read (SystemMaxUse, RuntimeMaxUse); they are lost")]
    Missing {
        name: String,
        short_id: String,
        entries: u64,
    },
    #[error("journald suppressed {entries} messages of {unit} by its rate limit: lines of its containers are lost (raise RateLimitBurst in journald.conf, or LogRateLimitBurst of the unit)")]
    Suppressed { unit: String, entries: u64 },
    #[error("{entries} entries of systemd's journal were removed before they were read; lines of containers among them are lost (raise SystemMaxUse or RuntimeMaxUse in journald.conf, or find out what delays reading)")]
    Gap { entries: u64 },
}

impl JournalEvent {
    /// Severity of the message.
    pub fn level(&self) -> Level {
        match self {
            JournalEvent::Vacuumed { .. }
            | JournalEvent::Missing { .. }
            | JournalEvent::Suppressed { .. }
            | JournalEvent::Gap { .. } => Level::Error,
            JournalEvent::Unreadable { .. } => Level::Warn,
            JournalEvent::Readable | JournalEvent::Begins { .. } => Level::Info,
        }
    }
}
