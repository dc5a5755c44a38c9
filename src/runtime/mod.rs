//! Which containers exist and whose logs they are. Reads directories and
//! metadata files, never a byte of a log.

pub mod bounded_file;
mod bounded_json;
pub mod bounds;
mod container_list;
pub mod cri;
pub mod docker;
mod folder_stamp;
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
pub use crate::runtime::seam::{Api, FileRank, Found, Hides, Listing, LogFiles, Runtime, Unreadable};

use std::path::Path;
use std::sync::Arc;

use crate::config::options::DOCKER_ROOT;
use crate::config::{Config, RuntimeChoice};
use crate::delivery::checkpoint::ContainerId;

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

/// Whether a folder is where Docker keeps its containers by default, so that nobody said
/// that there should be any in it.
pub fn is_default_docker_root(dir: &Path) -> bool {
    DOCKER_ROOT.default.is_some_and(|root| docker::containers_dir(Path::new(root)) == dir)
}

/// The runtimes whose containers are looked for, in the order of precedence: a
/// container that several find belongs to the first. Users come last.
pub fn runtimes(config: &Config) -> Vec<Arc<dyn Runtime>> {
    let choice = config.runtime;
    let is_wanted = |runtime| choice == RuntimeChoice::Auto || choice == runtime;
    let mut wanted: Vec<Arc<dyn Runtime>> = Vec::new();
    if is_wanted(RuntimeChoice::Cri) {
        wanted.push(Arc::new(cri::Cri::new(&config.pod_logs, &config.docker_root)));
    }
    if is_wanted(RuntimeChoice::Docker) {
        wanted.push(Arc::new(docker::Docker::new(&config.docker_root)));
    }
    if is_wanted(RuntimeChoice::Podman) {
        wanted.push(Arc::new(podman::Podman::new(&config.podman_root)));
    }
    if is_wanted(RuntimeChoice::Podman) && !config.podman_users.is_empty() {
        let users = podman_users::Users::new(&config.podman_users, &config.passwd);
        wanted.push(Arc::new(podman::Podman::of_users(users)));
    }
    wanted
}
