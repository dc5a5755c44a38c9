//! Which containers exist and whose logs they are. Reads directories and
//! metadata files, never a byte of a log.

pub mod bounded_file;
mod bounded_json;
pub mod bounds;
mod container_list;
pub mod cri;
pub mod docker;
pub mod file;
mod folder_stamp;
pub mod globs;
pub mod id;
#[cfg(test)]
mod memory_tests;
mod mounts;
mod network_fs;
pub mod own_container;
pub mod podman;
mod podman_list;
pub mod podman_users;
mod root_watch;
pub mod safe_path;
mod seam;
pub mod select;
pub mod users;

pub use crate::runtime::folder_stamp::{stamp, FolderStamp};
pub use crate::runtime::network_fs::{is_on_network, network_file_system};
pub use crate::runtime::root_watch::RootWatch;
pub use crate::runtime::seam::{
    Api, FileRank, Found, Hides, Listing, LogFiles, Runtime, Unreadable,
};

use std::path::Path;
use std::sync::Arc;

use crate::runtime::id::ContainerId;

/// The pod that a container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace; empty where an old kubelet does not tell.
    pub namespace: String,
    /// Its name; empty likewise.
    pub name: String,
    /// What tells it from others that had its name.
    pub uid: String,
    /// The runtime's id of this run of the container, where it is known.
    pub container_id: Option<ContainerId>,
    /// How many runs of the container came before this one.
    pub restart_count: u32,
    /// Whether nothing more is to be learnt. The id comes a moment after the log.
    pub is_complete: bool,
}

/// The user in whose storage a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user's name.
    pub user: String,
    /// What the runtime calls the container. The user may have chosen it.
    pub container_id: ContainerId,
}

impl Owner {
    /// What messages and tags show in place of a name or an id that the user chose. No name
    /// of Docker's or of Kubernetes' begins with `~`, so it is none of the machine's.
    pub fn title_of(&self, chosen: &str) -> String {
        format!("~{}/{chosen}", self.user)
    }
}

/// Whose containers are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// Those of every runtime that is found.
    Auto,
    /// Docker's.
    Docker,
    /// Those of a Kubernetes node.
    Cri,
    /// Podman's.
    Podman,
}

/// What the user said of the runtimes.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeOptions<'a> {
    /// Whose containers.
    pub choice: RuntimeChoice,
    /// Docker's data root.
    pub docker_root: &'a Path,
    /// The folder of a Kubernetes node's logs.
    pub pod_logs: &'a Path,
    /// Root's storage of Podman.
    pub podman_root: &'a Path,
    /// The users whose storages of Podman are read, too.
    pub podman_users: &'a users::UserChoice,
    /// Where the users of the machine are listed.
    pub passwd: &'a Path,
}

/// The runtimes whose containers are looked for, in the order of precedence: a
/// container that several find belongs to the first. Users come last.
pub fn all(options: RuntimeOptions<'_>) -> Vec<Arc<dyn Runtime>> {
    let RuntimeOptions {
        choice,
        podman_users,
        ..
    } = options;
    let is_wanted = |runtime| choice == RuntimeChoice::Auto || choice == runtime;
    let mut wanted: Vec<Arc<dyn Runtime>> = Vec::new();
    if is_wanted(RuntimeChoice::Cri) {
        wanted.push(Arc::new(cri::Cri::new(
            options.pod_logs,
            options.docker_root,
        )));
    }
    if is_wanted(RuntimeChoice::Docker) {
        wanted.push(Arc::new(docker::Docker::new(options.docker_root)));
    }
    if is_wanted(RuntimeChoice::Podman) {
        wanted.push(Arc::new(podman::Podman::new(options.podman_root)));
    }
    if is_wanted(RuntimeChoice::Podman) && !podman_users.is_empty() {
        let users = podman_users::Users::new(podman_users, options.passwd);
        wanted.push(Arc::new(podman::Podman::of_users(users)));
    }
    wanted
}
