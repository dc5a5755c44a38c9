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

mod docker_links;
mod paths;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock::lock;
use crate::runtime::bounded_file::{MOST_CONTAINERS, MOST_FILES_OF_CONTAINER};
use crate::runtime::cri::docker_links::DockerLinks;
use crate::runtime::cri::paths::{key, rank_by_run, run_of_renamed, Place, PlaceKind, PodName};
use crate::runtime::docker::{read_last_run, read_metadata, CONFIG_FILE};
use crate::runtime::docker_roots::Roots;
use crate::runtime::file::stat_path;
use crate::runtime::folder_stamp::{stamp, FolderStamp};
use crate::runtime::id::ContainerId;
use crate::runtime::last_run::LastRun;
use crate::runtime::log_driver::LogDriver;
use crate::runtime::log_files::LogFiles;
use crate::runtime::metadata::{ContainerMetadata, MetadataError};
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{Found, Hides, Listing, Runtime, Unreadable};
use crate::runtime::storage::not_followed;
use crate::runtime::{bounded_file, docker_roots, Pod, RuntimeOptions};

/// How long a renamed file may still be written after its successor has data: containerd
/// closes the old writer after the new one has started.
const REOPEN_GRACE: Duration = Duration::from_millis(500);

/// Where the kubelet keeps the logs of pods unless configured.
pub const DEFAULT_POD_LOGS: &str = "/var/log/pods";
/// Where the kubelet keeps its links, whatever its `podLogsDir` is.
const DEFAULT_LINKS: &str = "/var/log/containers";

/// The containers of a node's pods.
#[derive(Debug)]
pub struct Cri {
    pod_logs: PathBuf,
    /// Docker's data roots, which the links of cri-dockerd lead into.
    docker: Vec<Roots>,
    /// Where the links are, if that was said.
    pod_links: Option<PathBuf>,
    links: Mutex<Option<Links>>,
}

/// The sorted names in `containers/`. The directory has a link for every container of the
/// node, and each new container is looked up in it, so it is read once for all of them.
#[derive(Debug)]
struct Links {
    stamp: FolderStamp,
    names: Arc<Vec<String>>,
}

impl Cri {
    /// Finds the pods with logs below `pod_logs`; links to files below Docker's data roots are
    /// followed.
    fn new(pod_logs: &Path, docker: Vec<Roots>) -> Cri {
        Cri {
            pod_logs: pod_logs.to_owned(),
            docker,
            pod_links: None,
            links: Mutex::default(),
        }
    }

    /// Takes the containers' ids from the links in `pod_links`.
    pub fn with_links(self, pod_links: &Path) -> Cri {
        let pod_links = Some(pod_links.to_owned());
        Cri { pod_links, ..self }
    }

    /// Adds the containers of one pod to `listing`.
    fn list_pod(
        &self,
        dir: &SafePath,
        pod: &str,
        docker: &mut DockerLinks,
        listing: &mut Listing,
    ) -> io::Result<()> {
        let first = listing.containers.len();
        for entry in bounded_file::list(dir, MOST_FILES_OF_CONTAINER)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = dir.join(name);
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    listing.note(path.to_path_buf(), error);
                    continue;
                }
            };
            if kind.is_symlink() {
                listing.note(path.to_path_buf(), not_followed());
            } else if kind.is_dir() {
                let found = &mut listing.containers;
                if docker.list(&path, found) {
                    let origin = path.shared();
                    found.push(of_pod(pod, name, path, origin));
                }
            } else if let Some((container, rank)) = name.rsplit_once('_') {
                let is_log = kind.is_file() && rank_by_run(rank).is_some();
                let origin = dir.join(format!("{container}_")).shared();
                let found = &mut listing.containers;
                if is_log && found.iter().skip(first).all(|found| found.origin != origin) {
                    found.push(of_pod(pod, container, dir.clone(), origin));
                }
            }
        }
        Ok(())
    }

    /// The name of the link in `containers/` that points to a log, if it exists.
    fn link_name(&self, place: &Place<'_>, run: u32) -> Option<String> {
        let target = place.log(run);
        let mut links = self.links_of(place)?.into_iter();
        let link = links.find(|(_, path)| path.ends_with(&target));
        link.map(|(name, _)| name)
    }

    /// The links in `containers/` that may be of a container, and where they lead.
    fn links_of(&self, place: &Place<'_>) -> Option<Vec<(String, PathBuf)>> {
        let begins = PodName::of_folder(place.pod).link_begins(place.container);
        let names = self.link_names()?;
        let first = names.partition_point(|name| *name < begins);
        let candidates = names[first..]
            .iter()
            .take_while(|name| name.starts_with(&begins));
        let target = |name: &String| std::fs::read_link(self.links_dir().join(name)).ok();
        let links = candidates.filter_map(|name| Some((name.clone(), target(name)?)));
        Some(links.collect())
    }

    /// When the kubelet made the newest link to a log of a container: right after the start of the
    /// run, whose log is older. Whether it runs, nothing says.
    fn last_start(&self, place: &Place<'_>) -> Option<u64> {
        let links = self.links_of(place)?.into_iter();
        let births = links.filter_map(|(name, path)| {
            path.ends_with(place.log(place.run_of(&path)?))
                .then_some(())?;
            let link = self.links_dir().join(name);
            let (id, _) = stat_path(&link.into()).ok()?;
            Some(id.birth).filter(|birth| *birth > 0)
        });
        births.max()
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

    /// `/var/log/containers`: next to `/var/log/pods`, wherever that is mounted, unless the
    /// kubelet's `podLogsDir` or `Pod_Links` is set.
    fn links_dir(&self) -> PathBuf {
        if let Some(links) = &self.pod_links {
            return links.clone();
        }
        let beside = self.pod_logs.with_file_name("containers");
        match beside.is_dir() || !Path::new(DEFAULT_LINKS).is_dir() {
            true => beside,
            false => PathBuf::from(DEFAULT_LINKS),
        }
    }
}

pub(super) fn open(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let cri = Cri::new(&options.pod_logs, docker_roots::of_machine(options));
    vec![Arc::new(match &options.pod_links {
        Some(links) => cri.with_links(links),
        None => cri,
    })]
}

impl Runtime for Cri {
    fn title(&self) -> &'static str {
        "Kubernetes"
    }

    fn root_option(&self) -> &'static str {
        "Pod_Logs"
    }

    fn root(&self) -> PathBuf {
        self.pod_logs
            .canonicalize()
            .unwrap_or_else(|_| self.pod_logs.clone())
    }

    fn list(&self, root: &Path) -> io::Result<Listing> {
        let entries = bounded_file::list(root, MOST_CONTAINERS)?;
        let mut docker = DockerLinks::new(&self.docker);
        let mut listing = Listing::default();
        let base = Base::of_machine(root);
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    listing.note(root, error);
                    break;
                }
            };
            let name = entry.file_name();
            let Some(pod) = name.to_str() else { continue };
            let dir = SafePath::below(&base, root.join(pod));
            let listed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.list_pod(&dir, pod, &mut docker, &mut listing),
                Ok(kind) if kind.is_symlink() => Err(not_followed()),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match listed {
                Ok(()) => listing.folders.push(dir),
                Err(error) => listing.note(dir.to_path_buf(), error),
            }
        }
        // With Docker underneath, the links in the containers' own directories matter as well.
        listing.is_decided_by_folders = !docker.are_expected();
        listing.unreadable.extend(docker.unreadable());
        // A directory that can be opened can be listed. The containers are read even if it
        // cannot.
        let needs_links = listing.containers.iter().any(|found| found.has_other_id);
        let path = self.links_dir();
        if let Some(error) = std::fs::File::open(&path).err().filter(|_| needs_links) {
            listing.unreadable.push(Unreadable {
                path,
                error,
                hides: Hides::ContainerIds,
            });
        }
        Ok(listing)
    }

    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        let prefix = match Place::of(&found.origin) {
            Some(Place {
                kind: PlaceKind::Link { .. },
                ..
            }) => {
                return vec![LogFiles::numbered(
                    found.dir.join(format!("{}-json.log", found.id)),
                )];
            }
            Some(Place {
                kind: PlaceKind::Shared,
                container,
                ..
            }) => format!("{container}_"),
            _ => String::new(),
        };
        let dir = found.dir.clone();
        vec![LogFiles::of_runs(
            dir,
            &prefix,
            REOPEN_GRACE,
            rank_by_run,
            run_of_renamed,
        )]
    }

    fn metadata(&self, found: &Found, run: u32) -> Result<ContainerMetadata, MetadataError> {
        let missing = || MetadataError::Missing {
            path: found.origin.to_path_buf(),
        };
        let place = Place::of(&found.origin).ok_or_else(missing)?;
        let run = match place.kind {
            PlaceKind::Link { run } => run,
            _ => run,
        };
        let link = self.link_name(&place, run);
        let link = link.as_deref().and_then(|link| link.strip_suffix(".log"));
        let mut named = PodName::of_folder(place.pod);
        let mut container_id = None;
        if let Some((rest, id)) = link.and_then(|link| link.rsplit_once('-')) {
            container_id = ContainerId::parse(id);
            named = named.with_link(rest);
        }
        let mut of_docker = ContainerMetadata::default();
        if matches!(place.kind, PlaceKind::Link { .. }) {
            container_id = Some(found.id);
            of_docker = read_metadata(found).unwrap_or_default();
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
            name: place.container.to_owned(),
            is_running: true,
            pod: Some(Box::new(pod)),
            ..of_docker
        }
        .bounded())
    }

    fn metadata_file(&self, found: &Found) -> Option<SafePath> {
        let place = Place::of(&found.origin)?;
        matches!(place.kind, PlaceKind::Link { .. }).then(|| found.dir.join(CONFIG_FILE))
    }

    fn log_driver(&self, _found: &Found) -> Result<Option<LogDriver>, MetadataError> {
        Ok(None)
    }

    fn last_run(&self, found: &Found) -> LastRun {
        match Place::of(&found.origin) {
            Some(Place {
                kind: PlaceKind::Link { .. },
                ..
            }) => read_last_run(found),
            place => LastRun {
                started: place.and_then(|place| self.last_start(&place)),
                ..LastRun::default()
            },
        }
    }

    /// The kubelet removes its link with the log.
    fn missing_log(&self, found: &Found) -> Option<SafePath> {
        let place = Place::of(&found.origin).filter(|place| !place.is_link())?;
        let links = self.links_of(&place)?.into_iter();
        let logs = links.filter_map(|(_, path)| {
            let run = place.run_of(&path)?;
            path.ends_with(place.log(run)).then_some((run, path))
        });
        let (_, path) = logs.max_by_key(|(run, _)| *run)?;
        let name = path.file_name()?.to_str()?;
        let is_of_run = |file: &str| {
            let rest = file.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
        };
        let files = found.dir.open_folder().ok()?;
        let files = files.entries(MOST_FILES_OF_CONTAINER).ok()?;
        let is_any_there = files.names.iter().any(|(file, _)| is_of_run(file));
        (files.failure.is_none() && !is_any_there).then(|| found.dir.join(name))
    }

    /// With Docker underneath, the links lead to Docker's containers.
    fn is_configured(&self) -> bool {
        self.pod_logs != Path::new(DEFAULT_POD_LOGS)
    }

    fn takes_precedence(&self) -> bool {
        true
    }
}

/// A container with files of its own. The runtime's id of each run is in the name of a link.
fn of_pod(pod: &str, container: &str, dir: SafePath, origin: Arc<Path>) -> Found {
    Found {
        has_other_id: true,
        ..Found::new(key(pod, container), dir, origin)
    }
}

#[cfg(test)]
mod tests;
