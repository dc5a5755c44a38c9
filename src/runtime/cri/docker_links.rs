//! With cri-dockerd the log of a run, `<run>.log`, is a symlink to Docker's own file:
//! `<data root>/containers/<id>/<id>-json.log`.
//!
//! Only the id in that path counts. The file is looked for below the configured data root, which
//! may be mounted at another place than on the node, and nothing outside of it is read.
//!
//! The kubelet tries to rotate such a log: it renames the link and, since Docker cannot reopen its
//! file, renames it back. A link with a name of a rotated log therefore counts, too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtime::bounded_file::{self, MOST_FILES_OF_CONTAINER};
use crate::runtime::cri::paths::rank_by_run;
use crate::runtime::docker::containers_dir;
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{Found, Hides, Unreadable};

/// The links found while the pods are listed.
pub(super) struct DockerLinks {
    containers: PathBuf,
    base: Arc<Base>,
    has_found: bool,
    /// How many lead to a container that is not there.
    dangling: u64,
    /// Where the first of them leads, and why it is not there.
    first: Option<(PathBuf, io::Error)>,
}

impl DockerLinks {
    /// None yet.
    pub fn new(docker_root: &Path) -> DockerLinks {
        let containers = containers_dir(docker_root);
        DockerLinks {
            base: Base::of_machine(&containers),
            containers,
            has_found: false,
            dangling: 0,
            first: None,
        }
    }

    /// Whether containers of pods may be Docker's.
    pub fn are_expected(&self) -> bool {
        self.has_found || self.dangling > 0 || self.containers.is_dir()
    }

    /// Adds the containers that the links in a container's directory lead to. Returns whether the
    /// directory has, or may get, log files of its own.
    pub fn list(&mut self, dir: &Path, found: &mut Vec<Found>) -> bool {
        let Ok(entries) = bounded_file::list(dir, MOST_FILES_OF_CONTAINER) else {
            return true;
        };
        let first = found.len();
        let (mut has_links, mut has_files) = (false, false);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(rank) = name.to_str().and_then(rank_by_run) else {
                continue;
            };
            if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                has_files = true;
                continue;
            }
            has_links = true;
            let origin = dir.join(format!("{}.log", rank.run));
            let is_known = |id| found.iter().skip(first).any(|found| found.id == id);
            if let Some(id) = self.container(&entry.path()).filter(|id| !is_known(*id)) {
                let dir = self.containers.join(id.to_string());
                found.push(Found::new(id, SafePath::below(&self.base, dir), origin));
            }
        }
        has_files || !has_links
    }

    /// The container whose log a link leads to, if it is below the data root.
    fn container(&mut self, link: &Path) -> Option<ContainerId> {
        let target = std::fs::read_link(link).ok()?;
        let (folder, stat) = match container_in(&target) {
            Some((folder, id)) => {
                let dir = self.containers.join(id.to_string());
                let stat = SafePath::below(&self.base, dir).stat();
                (folder.to_owned(), stat.map(|_| id))
            }
            None => {
                let error = io::Error::other("they are not logs of Docker's driver json-file");
                (target, Err(error))
            }
        };
        match stat {
            Ok(id) => {
                self.has_found = true;
                Some(id)
            }
            Err(error) => {
                self.dangling += 1;
                self.first.get_or_insert((folder, error));
                None
            }
        }
    }

    /// What is to be said if no link leads to a container. A single one may do so: its container
    /// was removed a moment before.
    pub fn unreadable(self) -> Option<Unreadable> {
        let (target, error) = self.first.filter(|_| !self.has_found)?;
        let reason = format!(
            "the logs of pods are links into {}, but none of them is found here: {error}",
            target.display()
        );
        Some(Unreadable {
            path: self.containers,
            error: io::Error::new(error.kind(), reason),
            hides: Hides::LinkedLogs(self.dangling),
        })
    }
}

/// Splits `<containers>/<id>/<id>-json.log`.
fn container_in(target: &Path) -> Option<(&Path, ContainerId)> {
    let dir = target.parent()?;
    let id = ContainerId::parse(dir.file_name()?.to_str()?)?;
    let is_log = target.file_name()?.to_str()? == format!("{id}-json.log");
    is_log.then_some((dir.parent()?, id))
}
