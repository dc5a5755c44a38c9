//! Events of systemd's journal.

use crate::telemetry::level::Level;

/// Something that happened to the journal, or to a container that is read from it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum JournalEvent {
    #[error("systemd's journal cannot be read: {reason}; containers that log to it are read through the API of their daemon, or wait if there is none; what journald no longer has when it can be read again is lost")]
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
    #[error("the file of systemd's journal in which reading stopped (at {last}) is gone, and the journal was begun anew: lines that were written after that and before its first entry are lost (the file was deleted, or was in memory when the machine was restarted: Storage=persistent in journald.conf)")]
    BegunAnew { last: String },
    #[error("journald has no file to write to in {places}: what containers with the log driver journald write is lost until it has one (its disk is full; the file was deleted: run journalctl --rotate; or Storage=none in journald.conf)")]
    NotStored { places: String },
    #[error("systemd's journal has had no entry since {last}, and container {name} ({short_id}), which logs to it, was started later: unless it has written nothing, its lines are lost (Storage=none in journald.conf, a full disk, or a journald that does not run)")]
    Silent {
        name: String,
        short_id: String,
        last: String,
    },
    #[error("journald writes to its journal again")]
    Stored,
}

impl JournalEvent {
    /// Severity of the message.
    pub fn level(&self) -> Level {
        match self {
            JournalEvent::Vacuumed { .. }
            | JournalEvent::Missing { .. }
            | JournalEvent::Suppressed { .. }
            | JournalEvent::Gap { .. }
            | JournalEvent::BegunAnew { .. }
            | JournalEvent::NotStored { .. } => Level::Error,
            JournalEvent::Unreadable { .. } | JournalEvent::Silent { .. } => Level::Warn,
            JournalEvent::Readable | JournalEvent::Begins { .. } | JournalEvent::Stored => {
                Level::Info
            }
        }
    }
}
