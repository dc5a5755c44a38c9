//! The logs of a Kubernetes node, written by containerd or CRI-O to the paths the kubelet
//! chooses: one directory per container of each pod, with one file per run of the container.
//!
//! ```text
//! /var/log/pods/<namespace>_<pod>_<uid>/<container>/<run>.log       now
//! /var/log/pods/<uid>/<container>/<run>.log                         before 1.14
//! /var/log/pods/<uid>/<container>_<run>.log                         before 1.10
//! /var/log/containers/<pod>_<namespace>_<container>-<id>.log     -> one of those
//! ```
//!
//! The kubelet rotates: it renames `<run>.log` to `<run>.log.<date>-<time>`, tells the runtime to
//! reopen its log, and compresses the previously renamed file. Until it has reopened the log, the
//! runtime keeps writing to the renamed file.
//!
//! With cri-dockerd `<run>.log` is a symlink to Docker's own file. Such a container keeps the id
//! that Docker gave it, so that it is the same container whichever runtime finds it. No symlink
//! to any other place is followed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::lock::lock;
use crate::runtime::bounded_file::{MOST_CONTAINERS, MOST_FILES_OF_CONTAINER};
use crate::runtime::docker::{containers_dir, ContainerMetadata, LogDriver, MetadataError};
use crate::runtime::folder_stamp::{stamp, FolderStamp};
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{
    rank_by_number, FileRank, Found, Hides, Listing, LogFiles, Runtime, Unreadable,
};
use crate::runtime::{bounded_file, Pod};

/// How long a renamed file may still be written after its successor has data: containerd
/// closes the old writer after the new one has started.
const REOPEN_GRACE: Duration = Duration::from_millis(500);

/// The containers of a node's pods.
#[derive(Debug)]
pub struct Cri {
    pod_logs: PathBuf,
    docker_root: PathBuf,
    links: Mutex<Option<Links>>,
}

/// The sorted names in `containers/`. The directory has a link for every container of the
/// node, and each new container is looked up in it, so it is read once for all of them.
#[derive(Debug)]
struct Links {
    stamp: FolderStamp,
    names: Arc<Vec<String>>,
}

/// The location of a container's log, derived from its origin path.
enum Place<'a> {
    /// A directory of its own.
    Folder { pod: &'a str, container: &'a str },
    /// Files in a directory shared by the pod's containers.
    Shared { pod: &'a str, container: &'a str },
    /// A symlink to Docker's file.
    Link {
        pod: &'a str,
        container: &'a str,
        run: u32,
    },
}

impl Cri {
    /// Finds the pods with logs below `pod_logs`; links to files below Docker's data root are
    /// followed.
    pub fn new(pod_logs: &Path, docker_root: &Path) -> Cri {
        let (pod_logs, docker_root) = (pod_logs.to_owned(), docker_root.to_owned());
        Cri {
            pod_logs,
            docker_root,
            links: Mutex::default(),
        }
    }

    /// Adds the containers of one pod to `listing`.
    fn list_pod(
        &self,
        dir: &SafePath,
        pod: &str,
        docker: Option<&Path>,
        listing: &mut Listing,
    ) -> io::Result<()> {
        let found = &mut listing.containers;
        let first = found.len();
        for entry in bounded_file::list(dir, MOST_FILES_OF_CONTAINER)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = dir.join(name);
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    note(path.to_path_buf(), error, &mut listing.unreadable);
                    continue;
                }
            };
            if kind.is_dir() {
                if list_links(&path, docker, found) {
                    let origin = path.to_path_buf();
                    found.push(Found::new(key(pod, name), path, origin));
                }
            } else if let Some((container, rank)) = name.rsplit_once('_') {
                let is_log = kind.is_file() && rank_by_run(rank).is_some();
                let origin = dir.join(format!("{container}_")).to_path_buf();
                if is_log && found.iter().skip(first).all(|found| found.origin != origin) {
                    found.push(Found::new(key(pod, container), dir.clone(), origin));
                }
            }
        }
        Ok(())
    }

    /// The name of the link in `containers/` that points to a log, if it exists.
    fn link_name(&self, place: &Place<'_>, run: u32) -> Option<String> {
        let (target, begins) = match place {
            Place::Folder { pod, container } | Place::Link { pod, container, .. } => (
                PathBuf::from(pod)
                    .join(container)
                    .join(format!("{run}.log")),
                link_begins(pod, container),
            ),
            Place::Shared { pod, container } => (
                PathBuf::from(pod).join(format!("{container}_{run}.log")),
                link_begins(pod, container),
            ),
        };
        let names = self.link_names()?;
        let first = names.partition_point(|name| *name < begins);
        let mut candidates = names[first..]
            .iter()
            .take_while(|name| name.starts_with(&begins));
        let leads_here = |name: &&String| {
            std::fs::read_link(self.links_dir().join(name))
                .is_ok_and(|path| path.ends_with(&target))
        };
        candidates.find(leads_here).cloned()
    }

    /// All names in `containers/`, sorted; `None` if it cannot be read.
    fn link_names(&self) -> Option<Arc<Vec<String>>> {
        let now = stamp(&self.links_dir());
        let mut known = lock(&self.links);
        if let Some(links) = known.as_ref().filter(|links| Some(links.stamp) == now) {
            return Some(Arc::clone(&links.names));
        }
        let entries = bounded_file::list(&self.links_dir(), MOST_CONTAINERS).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        let names = Arc::new(names);
        *known = now.map(|stamp| Links {
            stamp,
            names: Arc::clone(&names),
        });
        Some(names)
    }

    /// `/var/log/containers`, next to `/var/log/pods`.
    fn links_dir(&self) -> PathBuf {
        self.pod_logs.with_file_name("containers")
    }
}

impl Runtime for Cri {
    fn title(&self) -> &'static str {
        "Kubernetes"
    }

    fn root(&self) -> PathBuf {
        self.pod_logs
            .canonicalize()
            .unwrap_or_else(|_| self.pod_logs.clone())
    }

    fn list(&self, root: &Path) -> io::Result<Listing> {
        let docker = containers_dir(&self.docker_root);
        let docker = docker.is_dir().then_some(docker.as_path());
        // With Docker underneath, the links in the containers' own directories matter as well.
        let is_decided_by_folders = docker.is_none();
        let mut listing = Listing {
            is_decided_by_folders,
            ..Listing::default()
        };
        let base = Base::of_machine(root);
        for entry in bounded_file::list(root, MOST_CONTAINERS)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    note(root.to_owned(), error, &mut listing.unreadable);
                    break;
                }
            };
            let name = entry.file_name();
            let Some(pod) = name.to_str() else { continue };
            let dir = SafePath::below(&base, root.join(pod));
            let listed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.list_pod(&dir, pod, docker, &mut listing),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match listed {
                Ok(()) => listing.folders.push(dir),
                Err(error) => note(dir.to_path_buf(), error, &mut listing.unreadable),
            }
        }
        // A directory that can be opened can be listed. The containers are read even if it
        // cannot.
        if let Err(error) = std::fs::File::open(self.links_dir()) {
            if error.kind() != io::ErrorKind::NotFound {
                let path = self.links_dir();
                listing.unreadable.push(Unreadable {
                    path,
                    error,
                    hides: Hides::ContainerIds,
                });
            }
        }
        Ok(listing)
    }

    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        let (prefix, dir) = match place_of(&found.origin) {
            Some(Place::Link { .. }) => {
                return vec![LogFiles::numbered(
                    found.dir.join(format!("{}-json.log", found.id)),
                )];
            }
            Some(Place::Shared { container, .. }) => (format!("{container}_"), found.dir.clone()),
            _ => (String::new(), found.dir.clone()),
        };
        let path = dir.clone();
        vec![LogFiles {
            dir,
            prefix,
            path,
            grace: REOPEN_GRACE,
            rank: rank_by_run,
        }]
    }

    fn metadata(&self, found: &Found, run: u32) -> Result<ContainerMetadata, MetadataError> {
        let missing = || MetadataError::Missing {
            path: found.origin.clone(),
        };
        let place = place_of(&found.origin).ok_or_else(missing)?;
        let (pod, container, run) = match place {
            Place::Folder { pod, container } | Place::Shared { pod, container } => {
                (pod, container, run)
            }
            Place::Link {
                pod,
                container,
                run,
            } => (pod, container, run),
        };
        let link = self.link_name(&place, run);
        let link = link.as_deref().and_then(|link| link.strip_suffix(".log"));
        let mut named = PodName::of_folder(pod);
        let mut container_id = None;
        if let Some((rest, id)) = link.and_then(|link| link.rsplit_once('-')) {
            container_id = ContainerId::parse(id);
            named = named.with_link(rest);
        }
        if matches!(place, Place::Link { .. }) {
            container_id = Some(found.id);
        }
        let pod = Pod {
            namespace: named.namespace.to_owned(),
            name: named.name.to_owned(),
            uid: named.uid.to_owned(),
            container_id,
            restart_count: run,
            is_complete: link.is_some() || !self.links_dir().is_dir(),
        };
        Ok(ContainerMetadata {
            name: container.to_owned(),
            is_running: true,
            pod: Some(pod),
            ..ContainerMetadata::default()
        }
        .bounded())
    }

    fn metadata_file(&self, _found: &Found) -> Option<SafePath> {
        None
    }

    fn log_driver(&self, _found: &Found) -> Option<LogDriver> {
        None
    }
}

/// The namespace, name and uid of a pod; empty where unknown.
#[derive(Debug, Default, PartialEq, Eq)]
struct PodName<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

impl<'a> PodName<'a> {
    /// Splits at underscores, which no Kubernetes name contains.
    fn of_folder(folder: &'a str) -> PodName<'a> {
        let mut parts = folder.splitn(3, '_');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(uid)) => PodName {
                namespace,
                name,
                uid,
            },
            _ => PodName {
                uid: folder,
                ..PodName::default()
            },
        }
    }

    /// Adds namespace and name from the link if the directory name has only the uid, as in
    /// older releases.
    fn with_link(self, link: &'a str) -> PodName<'a> {
        let mut parts = link.splitn(3, '_');
        match (parts.next(), parts.next()) {
            (Some(name), Some(namespace)) if self.name.is_empty() => PodName {
                namespace,
                name,
                uid: self.uid,
            },
            _ => self,
        }
    }
}

/// The known beginning of the link's name; empty if the pod's name is unknown.
fn link_begins(pod: &str, container: &str) -> String {
    match PodName::of_folder(pod) {
        PodName { name: "", .. } => String::new(),
        PodName {
            namespace, name, ..
        } => format!("{name}_{namespace}_{container}-"),
    }
}

/// Records a path that could not be read, unless it disappeared in the meantime.
fn note(path: PathBuf, error: io::Error, unreadable: &mut Vec<Unreadable>) {
    if error.kind() != io::ErrorKind::NotFound {
        unreadable.push(Unreadable::folder(path, error));
    }
}

/// The id under which the checkpoint stores a container of a pod. Ids assigned by runtimes are
/// random; this one is a hash, so that no pod can choose another container's id.
fn key(pod: &str, container: &str) -> ContainerId {
    let text = format!("cri/{pod}/{container}");
    let halves = [0, 1].map(|seed| xxh3_128_with_seed(text.as_bytes(), seed).to_be_bytes());
    let mut id = [0; 32];
    id[..16].copy_from_slice(&halves[0]);
    id[16..].copy_from_slice(&halves[1]);
    ContainerId::from_bytes(id)
}

fn place_of(origin: &Path) -> Option<Place<'_>> {
    let name = origin.file_name()?.to_str()?;
    let above = origin.parent()?;
    let above_name = above.file_name()?.to_str()?;
    if let Some(run) = name.strip_suffix(".log").and_then(|run| run.parse().ok()) {
        let pod = above.parent()?.file_name()?.to_str()?;
        return Some(Place::Link {
            pod,
            container: above_name,
            run,
        });
    }
    Some(match name.strip_suffix('_') {
        Some(container) => Place::Shared {
            pod: above_name,
            container,
        },
        None => Place::Folder {
            pod: above_name,
            container: name,
        },
    })
}

/// Adds the containers that the links in a container's directory point to. Returns whether the
/// directory has, or may get, log files of its own.
fn list_links(dir: &Path, docker: Option<&Path>, found: &mut Vec<Found>) -> bool {
    let Some(docker) = docker else { return true };
    let Ok(entries) = bounded_file::list(dir, MOST_FILES_OF_CONTAINER) else {
        return true;
    };
    let (mut has_links, mut has_files) = (false, false);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rank) = name.to_str().and_then(rank_by_run) else {
            continue;
        };
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        has_links |= is_link;
        has_files |= !is_link;
        if let Some(id) = docker_id(&entry.path(), docker).filter(|_| is_link && rank.age == 0) {
            let dir = SafePath::below(&Base::of_machine(docker), docker.join(id.to_string()));
            found.push(Found::new(id, dir, entry.path()));
        }
    }
    has_files || !has_links
}

/// The container whose Docker log a link points to.
fn docker_id(link: &Path, docker: &Path) -> Option<ContainerId> {
    let target = link.canonicalize().ok()?;
    let below = target.strip_prefix(docker).ok()?;
    let mut parts = below.iter().map(OsStr::to_str);
    let id = ContainerId::parse(parts.next()??)?;
    let name = parts.next()??;
    (parts.next().is_none() && name == format!("{id}-json.log")).then_some(id)
}

/// Ranks `<run>.log` (the current file of a run), `<run>.log.<date>-<time>` with or without
/// `.gz` (rotated by the kubelet), and `<run>.log.<n>` (rotated by conmon).
fn rank_by_run(name: &str) -> Option<FileRank> {
    let (run, rest) = name.split_once(".log")?;
    if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let run = run.parse().ok()?;
    if let Some(rank) = rank_by_number(rest) {
        return Some(FileRank { run, ..rank });
    }
    let rest = rest.strip_prefix('.')?;
    let (time, is_gzip) = match rest.strip_suffix(".gz") {
        Some(time) => (time, true),
        None => (rest, false),
    };
    let (date, time) = time.split_once('-')?;
    let is_time =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_time(date, 8) || !is_time(time, 6) {
        return None;
    }
    let stamp: u64 = format!("{date}{time}").parse().ok()?;
    Some(FileRank {
        run,
        age: u64::MAX - stamp,
        is_gzip,
    })
}

#[cfg(test)]
mod tests;
