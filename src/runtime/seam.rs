//! The seam between the reader and the container runtimes: what a runtime has to
//! tell of its containers' logs on disk. Docker, the CRI runtimes and Podman are
//! a file each beside this one; a further runtime is one more.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use crate::runtime::docker::{ContainerMetadata, LogDriver, MetadataError};
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::SafePath;
use crate::runtime::Owner;

/// A container runtime as it keeps logs and metadata on this machine. It has no
/// state: it may be asked from the first moment on, and again whenever something
/// has changed.
pub trait Runtime: Send + Sync {
    /// What people call it.
    fn title(&self) -> &'static str;

    /// The folder that must be readable for anything to be found, with symlinks
    /// resolved where it exists.
    fn root(&self) -> PathBuf;

    /// The containers there are now below `root`.
    fn list(&self, root: &Path) -> io::Result<Listing>;

    /// Where the log of a container may be, likely places first. The first that
    /// has any file is it.
    fn logs(&self, found: &Found) -> Vec<LogFiles>;

    /// What records say about a container in its `run`-th run.
    fn metadata(&self, found: &Found, run: u32) -> Result<ContainerMetadata, MetadataError>;

    /// The file whose replacement means that the metadata may have changed.
    fn metadata_file(&self, found: &Found) -> Option<SafePath>;

    /// How the container logs, where that may be to no file at all.
    fn log_driver(&self, found: &Found) -> Option<LogDriver>;

    /// The API that knows these containers too, and can stand in where no file can
    /// be read.
    fn api(&self) -> Option<Api> {
        None
    }

    /// Whether that API tells of this container, too.
    fn is_known_to_api(&self, _found: &Found) -> bool {
        self.api().is_some()
    }

    /// Whether the container has run, or this cannot be told from its folder. Only
    /// then is it worth asking why it has no log.
    fn has_run(&self, _found: &Found) -> bool {
        true
    }
}

/// Who answers requests of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Docker's daemon.
    Docker,
    /// `podman system service`, which has no more than the files or the journal.
    Podman,
}

impl Api {
    /// Both.
    pub const ALL: [Api; 2] = [Api::Docker, Api::Podman];

    /// What metadata calls the runtime.
    pub fn runtime_name(self) -> &'static str {
        match self {
            Api::Docker => "docker",
            Api::Podman => "podman",
        }
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Api::Docker => "Docker",
            Api::Podman => "Podman",
        }
    }
}

/// A container that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the checkpoint knows it by. Two runtimes that find the same container
    /// (Docker below a kubelet) give it the same id. That of a container in a user's
    /// storage is made of the storage, too: a user can call a container as he likes.
    pub id: ContainerId,
    /// The folder of its log; when that is gone, so is the container.
    pub dir: SafePath,
    /// The path that the runtime knows it by.
    pub origin: PathBuf,
    /// The user in whose storage it is; `None` where that is the machine's.
    pub owner: Option<Owner>,
}

impl Found {
    /// A container of a runtime of the machine's.
    pub fn new(id: ContainerId, dir: SafePath, origin: PathBuf) -> Found {
        Found {
            id,
            dir,
            origin,
            owner: None,
        }
    }

    /// What the runtime calls it.
    pub fn runtime_id(&self) -> ContainerId {
        self.owner
            .as_ref()
            .map_or(self.id, |owner| owner.container_id)
    }
}

/// A folder or file that could not be read while the rest was listed.
#[derive(Debug)]
pub struct Unreadable {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
    /// What is missing for it.
    pub hides: Hides,
}

impl Unreadable {
    /// A folder in which there may be containers.
    pub fn folder(path: impl Into<PathBuf>, error: io::Error) -> Unreadable {
        Unreadable {
            path: path.into(),
            error,
            hides: Hides::Containers,
        }
    }
}

/// What is missing where something cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hides {
    /// Containers that a daemon of the machine's runs.
    Containers,
    /// Containers of users.
    UsersContainers,
    /// The ids of containers that are read nevertheless.
    ContainerIds,
}

impl fmt::Display for Hides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hides::Containers | Hides::UsersContainers => {
                "new containers in it are not read, all others are unaffected"
            }
            Hides::ContainerIds => "records of pods lack container_id, but all are read",
        })
    }
}

/// What a look at a runtime's folders gave.
#[derive(Debug, Default)]
pub struct Listing {
    /// The containers.
    pub containers: Vec<Found>,
    /// Folders beside the root where containers may come and go.
    pub folders: Vec<SafePath>,
    /// What could not be read. It hides nothing but what is in it.
    pub unreadable: Vec<Unreadable>,
    /// Whether the names in the root and in `folders`, and nothing else, make up the
    /// list: while they are the same, so is the list.
    pub is_decided_by_folders: bool,
}

/// What the name of a log file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileRank {
    /// Which run of the container wrote it, where each has a file of its own.
    pub run: u32,
    /// 0 for the file that is written now, else by age.
    pub age: u64,
    /// Whether it is compressed.
    pub is_gzip: bool,
}

/// The files that make up one log: those of a folder whose names begin alike.
/// Neither the folder nor a file may be a symlink.
#[derive(Clone)]
pub struct LogFiles {
    /// Their folder.
    pub dir: SafePath,
    /// What their names begin with.
    pub prefix: String,
    /// The current file where its name never changes; else the folder, for
    /// messages.
    pub path: SafePath,
    /// How long a file may still be written after the next one is.
    pub grace: Duration,
    /// What the rest of a name tells; `None` where it is no file of the log.
    pub rank: fn(&str) -> Option<FileRank>,
}

impl LogFiles {
    /// A log that is rotated to `.1`, `.2` and so on, from `current`.
    pub fn numbered(current: impl Into<SafePath>) -> LogFiles {
        let path = current.into();
        LogFiles {
            dir: path.at(path.parent().unwrap_or(&path)),
            prefix: path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned(),
            path,
            grace: Duration::ZERO,
            rank: rank_by_number,
        }
    }

    /// What a file name of the folder tells.
    pub fn rank_of(&self, name: &str) -> Option<FileRank> {
        (self.rank)(name.strip_prefix(self.prefix.as_str())?)
    }

    /// The path of the current file, where its name never changes.
    pub fn current(&self) -> Option<&SafePath> {
        // Asked at every read; as paths they would be taken apart each time.
        (self.path.as_os_str() != self.dir.as_os_str()).then_some(&self.path)
    }
}

impl PartialEq for LogFiles {
    fn eq(&self, other: &LogFiles) -> bool {
        self.dir == other.dir && self.prefix == other.prefix
    }
}

impl fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dir.join(&self.prefix).display())
    }
}

/// Nothing for the current file, `.N` or `.N.gz` for a rotated one.
pub fn rank_by_number(rest: &str) -> Option<FileRank> {
    if rest.is_empty() {
        return Some(FileRank {
            run: 0,
            age: 0,
            is_gzip: false,
        });
    }
    let (number, is_gzip) = match rest.strip_suffix(".gz") {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let number = number.strip_prefix('.')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let age = number.parse::<u32>().ok().filter(|number| *number > 0)?;
    Some(FileRank {
        run: 0,
        age: age.into(),
        is_gzip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_numbered_generations() {
        let log = LogFiles::numbered(Path::new("/x/x-json.log"));
        for (name, want) in [
            ("x-json.log", Some((0, false))),
            ("x-json.log.1", Some((1, false))),
            ("x-json.log.12.gz", Some((12, true))),
            ("x-json.log.0", None),
            ("x-json.log.", None),
            ("x-json.log.1.tmp", None),
            ("x-json.log.+1", None),
            ("x-json.log2", None),
            ("config.v2.json", None),
            ("x-json.log.99999999999", None),
        ] {
            let got = log.rank_of(name).map(|rank| (rank.age, rank.is_gzip));
            assert_eq!(got, want, "{name}");
        }
    }
}
