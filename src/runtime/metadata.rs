//! What is known of a container, whatever its runtime, and why it could not be read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::runtime::own_container::Mounted;
use crate::runtime::seam::Found;
use crate::runtime::{Owner, Pod};

/// What is known about a container; records carry a selection of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerMetadata {
    /// Name without the leading slash.
    pub name: String,
    /// Image as the user gave it to `docker run`.
    pub image: String,
    /// Labels, including those of the image.
    pub labels: BTreeMap<String, String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// The runtime's name, as in OpenTelemetry.
    pub runtime: &'static str,
    /// Whether the container runs, according to Docker's file: updated late at start, and
    /// stale after a daemon crash. Never a reason not to read the log.
    pub is_running: bool,
    /// The pod it belongs to, on a Kubernetes node.
    pub pod: Option<Box<Pod>>,
    /// Whether something exceeded a limit and was dropped or cut (`bounds`).
    pub is_cut: bool,
    /// Whether something could not be read that may be readable later.
    pub is_partial: bool,
    /// The user in whose storage the container is.
    pub owner: Option<Box<Owner>>,
    /// What its mounts tell about whether this process runs in it.
    pub mounted: Mounted,
}

impl ContainerMetadata {
    /// For a container whose metadata is unavailable: the short id serves as name, or else its
    /// path.
    pub fn nameless(found: &Found) -> ContainerMetadata {
        ContainerMetadata {
            name: found.shown_name(),
            is_running: true,
            owner: found.owner.clone(),
            ..ContainerMetadata::default()
        }
    }

    /// The name used in messages. A user's container cannot be mistaken for one of the
    /// machine's.
    pub fn title(&self) -> String {
        if let Some(owner) = &self.owner {
            return owner.title_of(&self.name);
        }
        match self.pod.as_deref() {
            Some(Pod {
                namespace, name, ..
            }) if !name.is_empty() => {
                format!("{namespace}/{name}/{}", self.name)
            }
            _ => self.name.clone(),
        }
    }
}

/// Why metadata could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The file does not exist: the container is being created or removed.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The runtime is writing to it. Returned for a bounded time only; then the file counts as
    /// unreadable.
    #[error("{} is being written", path.display())]
    Busy {
        /// The file or its folder.
        path: PathBuf,
    },
    /// The file cannot be read or is not valid.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}
