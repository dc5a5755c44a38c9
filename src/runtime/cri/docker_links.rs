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
use crate::runtime::docker_roots::Roots;
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{Found, Hides, Unreadable};
use crate::runtime::storage::folder_at;

/// The links found while the pods are listed.
pub(super) struct DockerLinks {
    /// All folders `containers/` of Docker's data roots, where they are now.
    places: Vec<SafePath>,
    has_found: bool,
    /// Those that lead to a container that is not there.
    dangling: Vec<Dangling>,
}

/// A link that leads to a container that is not there.
struct Dangling {
    link: PathBuf,
    target: PathBuf,
    /// Where the container was looked for.
    place: PathBuf,
    /// Why it is not there.
    error: io::Error,
}

impl DockerLinks {
    /// None yet.
    pub fn new(docker: &[Roots]) -> DockerLinks {
        let places = docker.iter().flat_map(|it| it.places(&it.root()));
        DockerLinks {
            places: places
                .map(|place| SafePath::below(&Base::of_machine(&place), place))
                .collect(),
            has_found: false,
            dangling: Vec::new(),
        }
    }

    /// Whether containers of pods may be Docker's.
    pub fn are_expected(&self) -> bool {
        self.has_found
            || !self.dangling.is_empty()
            || self.places.iter().any(|place| place.is_dir())
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
        let (place, error) = match container_in(&target) {
            Some((_, id)) => match self.find(id) {
                Ok(dir) => {
                    self.has_found = true;
                    return Some((id, dir));
                }
                Err(failure) => failure,
            },
            None => {
                let error = io::Error::other("it is not a log of Docker's driver json-file");
                let place = self.places.first().map(|place| place.to_path_buf());
                (place.unwrap_or_default(), error)
            }
        };
        self.dangling.push(Dangling {
            link: link.to_owned(),
            target,
            place,
            error,
        });
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

    /// What is to be said of the links that lead to no container: each by name or, if not one leads
    /// to any, that Docker's data root is not there.
    pub fn unreadable(self) -> Vec<Unreadable> {
        if self.has_found {
            return self
                .dangling
                .into_iter()
                .map(Dangling::unreadable)
                .collect();
        }
        let count = self.dangling.len() as u64;
        let first = self.dangling.into_iter().next();
        first
            .map(|first| first.unreadable_as_all(count))
            .into_iter()
            .collect()
    }
}

impl Dangling {
    fn unreadable(self) -> Unreadable {
        let (target, error) = (self.target.display(), self.error);
        let reason = format!("it is a link to {target}, which is not found here: {error}");
        Unreadable {
            path: self.link,
            error: io::Error::new(error.kind(), reason),
            hides: Hides::LinkedLogs(1),
        }
    }

    /// As one of `count` that all lead nowhere.
    fn unreadable_as_all(self, count: u64) -> Unreadable {
        let folder = container_in(&self.target).map_or(&*self.target, |(folder, _)| folder);
        let error = self.error;
        let reason = format!(
            "the logs of pods are links into {}, but none of them is found here: {error}",
            folder.display()
        );
        Unreadable {
            path: self.place,
            error: io::Error::new(error.kind(), reason),
            hides: Hides::LinkedLogs(count),
        }
    }
}

/// Splits `<containers>/<id>/<id>-json.log`.
fn container_in(target: &Path) -> Option<(&Path, ContainerId)> {
    let dir = target.parent()?;
    let id = ContainerId::parse(dir.file_name()?.to_str()?)?;
    let is_log = target.file_name()?.to_str()? == format!("{id}-json.log");
    is_log.then_some((dir.parent()?, id))
}
