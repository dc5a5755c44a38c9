//! Events about files of a log that were deleted before they were read.

use std::path::PathBuf;

use crate::telemetry::level::Level;

/// A file that is gone.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DeletedEvent {
    #[error("container {name} ({short_id}) is running, but its log {} was deleted; its unread lines are lost, and new lines are in no file until the container is started again", path.display())]
    RunningLog {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}) is running, and its log {} is not there: if it was renamed, that file is still written, is read like the other ones that are there, and nothing is lost; if it was deleted, its unread lines are lost, and new lines are in no file until the container is started again", path.display())]
    RunningLogAway {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): its log {} no longer exists: it was deleted while nothing was read, or its folder is mounted over; its lines that were not delivered are lost, unless it comes back", path.display())]
    Log {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): files of its log are missing ({files}), the newest of them {}: somebody deleted them before they were read; their lines are lost", path.display())]
    Between {
        name: String,
        short_id: String,
        files: u64,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): dropped {}, which was deleted, with {bytes} unread bytes; they are lost: {reason}", path.display())]
    Held {
        name: String,
        short_id: String,
        path: PathBuf,
        bytes: u64,
        reason: String,
    },
    #[error("container {name} ({short_id}): its log {} was replaced by hand (an editor, sed -i, mv, rm, or logrotate without copytruncate) while it ran: the runtime still writes to the file that it replaced, which nobody can open; those lines are lost until the container is started again or its log is rotated", path.display())]
    Replaced {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): its log {} was replaced by hand (an editor, sed -i, mv, rm, or logrotate without copytruncate); nothing says whether it ran then: if it did, the runtime still writes to the file that was replaced, which nobody can open, and those lines are lost until the container is started again or its log is rotated; if it had ended, nothing is lost", path.display())]
    MayBeReplaced {
        name: String,
        short_id: String,
        path: PathBuf,
    },
    #[error("container {name} ({short_id}): {} replaced its log by hand at {since}, while nothing was read (an editor, sed -i, cp and mv): what the runtime wrote to the replaced file, if anything, until it opened another one, is lost", path.display())]
    ReplacedBefore {
        name: String,
        short_id: String,
        path: PathBuf,
        since: String,
    },
}

impl DeletedEvent {
    /// How serious the event is.
    pub fn level(&self) -> Level {
        match self {
            DeletedEvent::RunningLog { .. }
            | DeletedEvent::RunningLogAway { .. }
            | DeletedEvent::Replaced { .. }
            | DeletedEvent::MayBeReplaced { .. }
            | DeletedEvent::ReplacedBefore { .. }
            | DeletedEvent::Log { .. }
            | DeletedEvent::Between { .. }
            | DeletedEvent::Held { .. } => Level::Error,
        }
    }
}
