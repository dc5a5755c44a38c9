//! With cri-dockerd the log of a run, `<run>.log`, is a symlink to Docker's own file:
//! `<data root>/containers/<id>/<id>-json.log`.
//!
//! Only the id in that path counts. The file is looked for below Docker's data roots, which
//! may be mounted at another place than on the node, and nothing outside of them is read.
//!
//! The kubelet tries to rotate such a log: it renames the link and, since Docker cannot reopen its
//! file, renames it back. A link with a name of a rotated log therefore counts, too.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::runtime::bounded_file::{self, MOST_FILES_OF_CONTAINER};
use crate::runtime::cri::paths::rank_by_run;
use crate::runtime::docker_roots::Storages;
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{Found, Hides, Unreadable};
use crate::runtime::storage::folder_at;

/// The links found while the pods are listed.
pub(super) struct DockerLinks {
    /// All folders `containers/` of Docker's data roots, where they are now.
    places: Vec<SafePath>,
    has_found: bool,
    /// How many lead to a container that is not there.
    dangling: u64,
    /// Where the first of them leads, where its container was looked for, and why it is not there.
    first: Option<(PathBuf, PathBuf, io::Error)>,
}

impl DockerLinks {
    /// None yet.
    pub fn new(docker: &[Storages]) -> DockerLinks {
        let places = docker.iter().flat_map(|it| it.places(&it.root()));
        DockerLinks {
            places: places
                .map(|place| SafePath::below(&Base::of_machine(&place), place))
                .collect(),
            has_found: false,
            dangling: 0,
            first: None,
        }
    }

    /// Whether containers of pods may be Docker's.
    pub fn are_expected(&self) -> bool {
        self.has_found || self.dangling > 0 || self.places.iter().any(|place| place.is_dir())
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
            let container = self.container(&entry.path());
            if let Some((id, dir)) = container.filter(|(id, _)| !is_known(*id)) {
                found.push(Found::new(id, dir, origin));
            }
        }
        has_files || !has_links
    }

    /// The container whose log a link leads to, and its folder, if it is below a data root.
    fn container(&mut self, link: &Path) -> Option<(ContainerId, SafePath)> {
        let target = std::fs::read_link(link).ok()?;
        let (folder, (place, error)) = match container_in(&target) {
            Some((folder, id)) => match self.find(id) {
                Ok(dir) => {
                    self.has_found = true;
                    return Some((id, dir));
                }
                Err(failure) => (folder.to_owned(), failure),
            },
            None => {
                let error = io::Error::other("they are not logs of Docker's driver json-file");
                let place = self.places.first().map(|place| place.to_path_buf());
                (target, (place.unwrap_or_default(), error))
            }
        };
        self.dangling += 1;
        self.first.get_or_insert((folder, place, error));
        None
    }

    /// The folder of a container, or where it was looked for and why it is not there; that a folder
    /// cannot be read says more than that another one lacks it.
    fn find(&self, id: ContainerId) -> Result<SafePath, (PathBuf, io::Error)> {
        let mut failure: Option<(PathBuf, io::Error)> = None;
        for place in &self.places {
            let dir = place.join(id.to_string());
            let there = dir
                .stat()
                .and_then(|stat| folder_at(&dir, FileType::from_raw_mode(stat.stx_mode.into())));
            match there {
                Ok(Some(dir)) => return Ok(dir),
                other => {
                    let missing = || io::ErrorKind::NotADirectory.into();
                    let error = other.err().unwrap_or_else(missing);
                    let is_news = error.kind() != io::ErrorKind::NotFound;
                    if failure.is_none() || is_news {
                        failure = Some((place.to_path_buf(), error));
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| (PathBuf::new(), io::ErrorKind::NotFound.into())))
    }

    /// What is to be said if no link leads to a container. A single one may do so: its container
    /// was removed a moment before.
    pub fn unreadable(self) -> Option<Unreadable> {
        let (target, path, error) = self.first.filter(|_| !self.has_found)?;
        let reason = format!(
            "the logs of pods are links into {}, but none of them is found here: {error}",
            target.display()
        );
        Some(Unreadable {
            path,
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
