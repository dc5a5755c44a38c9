//! Discovers containers and their metadata. Reads directories and metadata files, never a byte
//! of a log.

mod bolt;
pub mod bounded_file;
mod bounded_json;
pub mod bounded_reason;
pub mod bounds;
mod container_list;
pub mod copied;
pub mod cri;
mod data_root;
pub mod docker;
mod docker_mounts;
mod docker_pod;
mod docker_roots;
pub mod file;
mod folder_stamp;
pub mod globs;
pub mod id;
pub mod image;
pub mod last_run;
pub mod log_driver;
mod log_files;
mod log_place;
pub mod metadata;
pub mod mounts;
pub mod name_glob;
pub mod nerdctl;
mod network_fs;
pub mod own_container;
pub mod podman;
mod podman_list;
mod root_path;
mod root_watch;
pub mod safe_path;
mod seam;
pub mod select;
mod storage;
mod storages;
mod user_storages;
pub mod users;

pub use crate::runtime::folder_stamp::{stamp, stamp_at, stamp_listed, stamp_of, FolderStamp};
pub use crate::runtime::log_files::{FileRank, LogFiles};
pub use crate::runtime::network_fs::{is_on_network, network_file_system};
pub use crate::runtime::root_watch::RootWatch;
pub use crate::runtime::seam::{Api, Found, Hides, Listing, Runtime, Unreadable};

use std::path::PathBuf;
use std::sync::Arc;

use crate::runtime::id::ContainerId;

/// The pod of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace; empty if an old kubelet does not record it.
    pub namespace: String,
    /// Its name; empty if an old kubelet does not record it.
    pub name: String,
    /// Distinguishes the pod from others of the same name.
    pub uid: String,
    /// The runtime's id of this run of the container, if known.
    pub container_id: Option<ContainerId>,
    /// Number of earlier runs of the container.
    pub restart_count: u32,
    /// Whether all metadata is known. The container id appears shortly after the log.
    pub is_complete: bool,
}

/// The user in whose storage a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user's name.
    pub user: String,
    /// The runtime's id of the container. The user may have chosen it.
    pub container_id: ContainerId,
}

impl Owner {
    /// The form in which messages and tags show a name or id chosen by the user. No Docker or
    /// Kubernetes name begins with `~`, so it cannot be mistaken for one of the machine's
    /// containers.
    pub fn title_of(&self, chosen: &str) -> String {
        format!("~{}/{chosen}", self.user)
    }
}

/// Which runtimes' containers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// Every runtime that is found.
    #[default]
    Auto,
    /// The one with this name.
    Only(&'static str),
}

/// The options that concern runtimes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeOptions {
    /// Which runtimes' containers are read.
    pub choice: RuntimeChoice,
    /// Docker's data roots; empty if they are looked up in root's files.
    pub docker_roots: Vec<PathBuf>,
    /// The users whose rootless Docker is read as well.
    pub docker_users: users::UserChoice,
    /// The directory with the pod logs of a Kubernetes node.
    pub pod_logs: PathBuf,
    /// The directory with the kubelet's links to them, which tell the containers' ids;
    /// `None` if it is beside them, or at the kubelet's place.
    pub pod_links: Option<PathBuf>,
    /// Root's Podman storage; `None` if it is looked up in root's files.
    pub podman_root: Option<PathBuf>,
    /// The users whose Podman storages are read as well.
    pub podman_users: users::UserChoice,
    /// nerdctl's data root; `None` if it is looked up in root's files.
    pub nerdctl_root: Option<PathBuf>,
    /// The users whose rootless nerdctl is read as well.
    pub nerdctl_users: users::UserChoice,
    /// The root of the machine's files, such as `/etc/passwd`. Not an option; tests replace it.
    pub machine: PathBuf,
}

impl RuntimeOptions {
    /// Whether storages of users are read. Then it is no problem that the machine's own are
    /// missing, and the reverse.
    pub fn reads_users(&self) -> bool {
        let choices = [&self.docker_users, &self.podman_users, &self.nerdctl_users];
        choices.iter().any(|choice| !choice.is_empty())
    }
}

/// Opens a runtime's storages on this machine, those of its daemon first.
type Open = fn(&RuntimeOptions) -> Vec<Arc<dyn Runtime>>;

/// All runtimes, by the names that the option `Runtime` has for them.
pub const RUNTIMES: &[(&str, Open)] = &[
    ("docker", docker::open),
    ("cri", cri::open),
    ("podman", podman::open),
    ("nerdctl", nerdctl::open),
];

/// The selected runtimes, in order of precedence: a container that several find belongs to the
/// first. Storages of users come last.
pub fn all(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let is_wanted = |name| match options.choice {
        RuntimeChoice::Auto => true,
        RuntimeChoice::Only(chosen) => chosen == name,
    };
    let wanted = RUNTIMES.iter().filter(|(name, _)| is_wanted(*name));
    let mut runtimes: Vec<_> = wanted.flat_map(|(_, open)| open(options)).collect();
    runtimes.sort_by_key(|runtime| !runtime.takes_precedence());
    runtimes
}

#[cfg(test)]
mod tests;
