//! The interface between the reader and the container runtimes: what a runtime must provide
//! about the logs of its containers on disk. Docker, the CRI runtimes and Podman each
//! implement it next to this one; another runtime is one more file (docs/architecture.md says
//! what else it touches).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::runtime::file::{stat_path, FileId};
use crate::runtime::id::ContainerId;
use crate::runtime::last_run::LastRun;
use crate::runtime::log_driver::{JournalWriter, LogDriver};
use crate::runtime::log_files::LogFiles;
use crate::runtime::metadata::{ContainerMetadata, MetadataError};
use crate::runtime::safe_path::SafePath;
use crate::runtime::Owner;

/// A container runtime as it stores logs and metadata on this machine. Apart from caches, an
/// implementation has no state: its methods may be called at any time, in any order, and again
/// whenever something has changed.
pub trait Runtime: Send + Sync {
    /// The runtime's name in messages.
    fn title(&self) -> &'static str;

    /// The option that sets where its containers are, or whose.
    fn root_option(&self) -> &'static str;

    /// The directory that must be readable for anything to be found, with symlinks resolved if
    /// it exists.
    fn root(&self) -> PathBuf;

    /// The directories of the machine's in which containers are listed now, of which `root` is
    /// the first; for messages.
    fn places(&self, root: &Path) -> Vec<PathBuf> {
        vec![root.to_owned()]
    }

    /// Lists the containers that exist below `root` now.
    fn list(&self, root: &Path) -> io::Result<Listing>;

    /// Possible locations of a container's log, most likely first. The first with any file is
    /// used.
    fn logs(&self, found: &Found) -> Vec<LogFiles>;

    /// Metadata of a container in its `run`-th run.
    fn metadata(&self, found: &Found, run: u32) -> Result<ContainerMetadata, MetadataError>;

    /// The file whose replacement means that the metadata may have changed. Only another inode
    /// causes another read: where it is written in place, [`Runtime::metadata`] must fail with
    /// [`MetadataError::Unreadable`] while it is incomplete, which is retried.
    fn metadata_file(&self, found: &Found) -> Option<SafePath>;

    /// What changes whenever the metadata may have changed; `None` if that is unknown, which
    /// counts as no change.
    fn metadata_version(&self, found: &Found) -> Option<FileId> {
        let file = self.metadata_file(found)?;
        stat_path(&file).ok().map(|(id, _)| id)
    }

    /// Whether metadata that were partial, or busy, would have more now. Called often.
    fn has_more_metadata(&self, _found: &Found) -> bool {
        true
    }

    /// The log driver; `None` if it is unknown or if logs always go to a file.
    fn log_driver(&self, found: &Found) -> Result<Option<LogDriver>, MetadataError>;

    /// Whether nothing was changed since version `seen` that would be read again at version `now`.
    fn is_same_version(&self, seen: FileId, now: FileId) -> bool {
        seen == now
    }

    /// The file that names the log driver, if a container's driver can be changed.
    fn driver_file(&self, _found: &Found) -> Option<SafePath> {
        None
    }

    /// Whether a driver writes to `files`, which are among [`Runtime::logs`]; `None` if a driver
    /// does not decide that.
    fn writes(&self, _driver: &LogDriver, _files: &LogFiles) -> Option<bool> {
        None
    }

    /// Whether it is a problem, with `Runtime auto`, that the root does not exist.
    /// `is_any_there` says whether that of another runtime does.
    fn is_missed(&self, _is_any_there: bool) -> bool {
        false
    }

    /// Whether somebody says where it is; otherwise a root that does not exist is not worth a word.
    fn is_configured(&self) -> bool {
        false
    }

    /// Whether it is one of several places of its runtime, of which a machine need not have each.
    fn is_optional(&self) -> bool {
        false
    }

    /// Whether a container that another runtime finds as well belongs to this one.
    fn takes_precedence(&self) -> bool {
        false
    }

    /// The API that also serves these containers and can be used when no file can be read.
    fn api(&self) -> Option<Api> {
        None
    }

    /// Which program writes to systemd's journal for these containers; `None` if it is not known
    /// what their entries look like.
    fn journal_writer(&self) -> Option<JournalWriter> {
        None
    }

    /// Whether a container that has run always had a log file, so that a missing one must be
    /// elsewhere.
    fn creates_log_first(&self) -> bool {
        false
    }

    /// When the container was created, by its metadata, in nanoseconds since 1970; `None` if they
    /// do not say.
    fn created(&self, _found: &Found) -> Option<u64> {
        None
    }

    /// When the container ran last, as far as its files say.
    fn last_run(&self, _found: &Found) -> LastRun {
        LastRun::default()
    }

    /// The log of the container's last run, if something says that there was one and it is not there.
    fn missing_log(&self, _found: &Found) -> Option<SafePath> {
        None
    }

    /// Whether the container has run, or its directory does not show whether it has. Only then
    /// is a missing log worth investigating.
    fn has_run(&self, _found: &Found) -> bool {
        true
    }
}

/// The service that answers Docker API requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Docker's daemon.
    Docker,
    /// `podman system service`, which reads the same files or the journal.
    Podman,
}

impl Api {
    /// Both APIs.
    pub const ALL: [Api; 2] = [Api::Docker, Api::Podman];

    /// The runtime's name in metadata.
    pub fn runtime_name(self) -> &'static str {
        match self {
            Api::Docker => "docker",
            Api::Podman => "podman",
        }
    }

    /// The runtime's name in messages.
    pub fn title(self) -> &'static str {
        match self {
            Api::Docker => "Docker",
            Api::Podman => "Podman",
        }
    }

    /// Whether it tells times in whole seconds, and each piece of a line has a time of its own.
    pub fn has_times_in_seconds(self) -> bool {
        self == Api::Podman
    }
}

/// In nanoseconds: the kernel stamps files with the time of its last tick.
const LONGEST_TICK: u64 = 10_000_000;

/// A container that was discovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The id under which the checkpoint stores it. Two runtimes that find the same container
    /// (Docker underneath a kubelet) assign the same id. For a container in a user's storage
    /// the id is derived from the storage as well, since a user can choose any container id.
    pub id: ContainerId,
    /// The directory of its log; the container is gone when the directory is.
    pub dir: SafePath,
    /// The path by which the runtime identifies it.
    pub origin: Arc<Path>,
    /// The user in whose storage it is; `None` for a system storage.
    pub owner: Option<Box<Owner>>,
    /// Whether the runtime has another id for it, which is not known here.
    pub has_other_id: bool,
}

impl Found {
    /// A container of a system runtime.
    pub fn new(id: ContainerId, dir: SafePath, origin: impl Into<Arc<Path>>) -> Found {
        Found {
            id,
            dir,
            origin: origin.into(),
            owner: None,
            has_other_id: false,
        }
    }

    /// Whether it is below an unreadable path and so may exist although it is not listed.
    pub fn is_below(&self, unreadable: &Path) -> bool {
        self.dir.starts_with(unreadable) || self.origin.starts_with(unreadable)
    }

    /// Whether it is still there although nothing may lead to it now: the kubelet replaces its link
    /// to a log of Docker's. A link with the container's id is the container's own.
    pub fn outlives_its_link(&self) -> bool {
        let is_linked = !self.origin.starts_with(&*self.dir) && !self.dir.starts_with(&self.origin);
        is_linked && !self.origin.ends_with(self.runtime_id().to_string()) && self.dir.is_folder()
    }

    /// A name for it while nothing else is known: its short id, or the last two names of its path,
    /// of a pod's container the pod and the container.
    pub fn shown_name(&self) -> String {
        if let Some(id) = self.shown_id() {
            return id.short();
        }
        let names = self.origin.iter().rev().take(2);
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        names.into_iter().rev().collect::<Vec<_>>().join("/")
    }

    /// The id by which the runtime's tools know it, if that is known.
    pub fn shown_id(&self) -> Option<ContainerId> {
        (!self.has_other_id).then(|| self.runtime_id())
    }

    /// When its directory was created at the latest, in nanoseconds since 1970; `None` if that is
    /// unknown.
    pub fn birth(&self) -> Option<u64> {
        let (id, _) = stat_path(&self.dir).ok()?;
        (id.birth > 0).then(|| id.birth.saturating_add(LONGEST_TICK))
    }

    /// The id assigned by the runtime.
    pub fn runtime_id(&self) -> ContainerId {
        self.owner
            .as_ref()
            .map_or(self.id, |owner| owner.container_id)
    }
}

/// A directory or file that could not be read while the rest was listed.
#[derive(Debug)]
pub struct Unreadable {
    /// The path.
    pub path: PathBuf,
    /// The error.
    pub error: io::Error,
    /// What is missing as a consequence.
    pub hides: Hides,
}

impl Unreadable {
    /// A directory that may contain containers.
    pub fn folder(path: impl Into<PathBuf>, error: io::Error) -> Unreadable {
        Unreadable {
            path: path.into(),
            error,
            hides: Hides::Containers,
        }
    }

    /// Whether this container may still exist although it is not listed.
    pub fn may_hide(&self, found: &Found) -> bool {
        match self.hides {
            // Settings that are being written name no folder for a moment.
            Hides::MovedContainers | Hides::UsersMovedContainers(None) => true,
            Hides::UsersMovedContainers(uid) => found.dir.user() == uid,
            _ => found.is_below(&self.path),
        }
    }
}

/// What is missing if a path cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hides {
    /// Containers of a system daemon.
    Containers,
    /// Containers of users.
    UsersContainers,
    /// Containers of a user who is not known.
    UnknownUser,
    /// Containers of a system daemon that a setting moves elsewhere.
    MovedContainers,
    /// Containers of users that a setting moves elsewhere: of the user with this uid, or of all.
    UsersMovedContainers(Option<u32>),
    /// Containers of a Docker daemon with userns-remap, if there is one.
    RemappedContainers,
    /// Ids of containers that are read nevertheless.
    ContainerIds,
    /// The logs of so many containers, which are links to those of another runtime.
    LinkedLogs(u64),
    /// Labels and environment variables of containers that are read nevertheless.
    Labels,
    /// Images and labels of containers that are read nevertheless.
    ImagesAndLabels,
    /// Names of containers that are read nevertheless.
    Names,
}

impl fmt::Display for Hides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hides::Containers | Hides::UsersContainers => {
                "new containers in it are not read; all others are unaffected"
            }
            Hides::UnknownUser => "nothing of that user is read; all others are unaffected",
            Hides::Names => {
                "all its containers are read, but with the name and image from Podman's database, which lacks some renames, or with their ids"
            }
            Hides::MovedContainers | Hides::UsersMovedContainers(_) => {
                "containers that it moves elsewhere are not found; those in the usual place are read"
            }
            Hides::RemappedContainers => {
                "containers of a Docker daemon with userns-remap are not found; all others are unaffected"
            }
            Hides::ContainerIds => {
                "records of pods lack container_id, but all are read (see Pod_Links)"
            }
            Hides::LinkedLogs(1) => {
                "its container is not read: mount Docker's data root, and set Docker_Root to it, or remove the link if the container is gone"
            }
            Hides::LinkedLogs(_) => {
                "these containers are not read: mount Docker's data root, and set Docker_Root to it"
            }
            Hides::Labels => {
                "all its containers are read, but records lack labels and variables, and rules about them match nothing"
            }
            Hides::ImagesAndLabels => {
                "all of nerdctl's containers are read, but records lack image and labels, and rules about them match nothing"
            }
        })
    }
}

/// The result of listing a runtime's directories.
#[derive(Debug, Default)]
pub struct Listing {
    /// The containers.
    pub containers: Vec<Found>,
    /// Directories other than the root where containers may appear or disappear.
    pub folders: Vec<SafePath>,
    /// Paths that could not be read. Each hides only what is in it.
    pub unreadable: Vec<Unreadable>,
    /// Whether the list depends only on the names in the root and in `folders`: it is
    /// unchanged while they are.
    pub is_decided_by_folders: bool,
    /// Containers whose metadata changed, in a file that several share, since they were read.
    pub changed: HashSet<ContainerId>,
}

impl Listing {
    /// Notes which of the containers have other metadata, by the runtime's ids.
    pub fn note_changed(&mut self, changed: &HashSet<ContainerId>) {
        let containers = self.containers.iter();
        let is_changed = |found: &&Found| changed.contains(&found.runtime_id());
        self.changed = match changed.is_empty() {
            true => HashSet::new(),
            false => containers.filter(is_changed).map(|it| it.id).collect(),
        };
    }

    /// Records a folder that could not be read, unless it disappeared in the meantime.
    pub fn note(&mut self, path: impl Into<PathBuf>, error: io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.unreadable.push(Unreadable::folder(path, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::safe_path::Base;

    #[test]
    fn settings_of_a_user_hide_containers_of_that_user_alone() {
        let of = |uid, home: &str| {
            let dir = Path::new(home).join("storage/a/userdata");
            let dir = SafePath::below(&Base::of_user(Path::new(home), uid), dir);
            Found::new(ContainerId::from_bytes([1; 32]), dir, PathBuf::from(home))
        };
        // The storage may be outside the home.
        let containers = [of(1, "/home/ada"), of(1, "/data/ada"), of(2, "/home/bob")];
        let hidden = |hides| {
            let error = io::Error::other("it is not valid");
            let path = PathBuf::from("/home/ada/.config/containers/storage.conf");
            let unreadable = Unreadable { path, error, hides };
            containers
                .each_ref()
                .map(|found| unreadable.may_hide(found))
        };
        let of_ada = hidden(Hides::UsersMovedContainers(Some(1)));
        assert_eq!(of_ada, [true, true, false]);
        // The machine's settings are everybody's.
        assert_eq!(hidden(Hides::UsersMovedContainers(None)), [true; 3]);
        assert_eq!(hidden(Hides::Labels), [false; 3]);
    }
}
