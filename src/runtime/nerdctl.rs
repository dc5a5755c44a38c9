//! The containers of nerdctl, the command line of containerd without Kubernetes. A process per
//! container writes its log, in Docker's JSON format, into nerdctl's data root:
//!
//! ```text
//! <root>/<hash of containerd's address>/containers/<namespace>/<id>/<id>-json.log
//!                                                                   log-config.json   driver, options, address
//!                                      /names/<namespace>/<name>    the id
//! <state of containerd>/io.containerd.runtime.v2.task/<namespace>/<id>/config.json    environment, while it runs
//! ```
//!
//! A full log is renamed to `.N`, where N rises for ever: the highest is the newest. Lines are
//! never split. Images and labels, and with them the projects of `nerdctl compose`, are only in
//! containerd's database, which is not read. There is no API.

mod names;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::runtime::bounded_file::FileKind;
use crate::runtime::bounded_json::TextMap;
use crate::runtime::bounds::Env;
use crate::runtime::data_root::{toml_text, DataRoot, Service};
use crate::runtime::docker::{
    read_json, ContainerMetadata, LogDriver, MetadataError, JSON_FILE_DRIVER,
};
use crate::runtime::file::{stat_path, FileId};
use crate::runtime::log_place;
use crate::runtime::nerdctl::names::Names;
use crate::runtime::safe_path::{Base, Folder, SafePath};
use crate::runtime::seam::{rank_by_number, FileRank, Found, Listing, LogFiles, Runtime};
use crate::runtime::storage::{
    list_containers, names, too_many, Identify, Limits, LIMITS_OF_ROOT, LIMITS_OF_USERS,
};
use crate::runtime::storages::Storages;
use crate::runtime::user_storages::{Kind, Users};
use crate::runtime::users::UserChoice;
use crate::runtime::RuntimeOptions;

/// The runtime's name in metadata.
pub(crate) const RUNTIME_NAME: &str = "containerd";

/// The folder with the containers of all namespaces.
const CONTAINERS: &str = "containers";
/// The file with driver and options of a log.
const LOG_CONFIG: &str = "log-config.json";
/// The option that puts a log elsewhere.
const LOG_PATH: &str = "log-path";
/// The folder of running containers in containerd's state.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// The specification of a running container.
const SPEC: &str = "config.json";
/// Stands for the specification of a container that does not run.
const NO_SPECIFICATION: u64 = 0;
/// containerd's state unless it is known; the folder of its socket.
const DEFAULT_STATE: &str = "/run/containerd";

/// The machine's data root.
static SERVICE: Service = Service {
    daemon: None,
    settings: &["etc/nerdctl/nerdctl.toml"],
    configured: |text| toml_text(text, "", "data_root").map(PathBuf::from),
    default: "var/lib/nerdctl",
};

/// Users' data roots.
static USERS: Kind = Kind {
    title: "nerdctl",
    option: "Nerdctl_Users",
    storage: ".local/share/nerdctl",
    settings: ".config/nerdctl/nerdctl.toml",
    configured: |text| toml_text(text, "", "data_root"),
    machine_settings: &[],
    machine_configured: |_| None,
};

/// The containers in the machine's data root, or in users' data roots.
#[derive(Debug)]
pub struct Nerdctl {
    storages: Storages,
    names: Names,
}

/// `log-config.json`.
#[derive(Deserialize, Default)]
struct LogConfig {
    driver: Option<String>,
    opts: Option<TextMap>,
    address: Option<String>,
}

/// What is needed of a container's specification.
#[derive(Deserialize, Default)]
struct Spec {
    process: Option<Process>,
}

#[derive(Deserialize)]
struct Process {
    env: Option<Env>,
}

impl Nerdctl {
    /// Finds the containers below `data_root`.
    pub fn new(data_root: &Path) -> Nerdctl {
        Nerdctl::of_root(DataRoot::new(Some(data_root), &SERVICE, Path::new("/")))
    }

    fn of_root(root: DataRoot) -> Nerdctl {
        Nerdctl {
            storages: Storages::Root(root),
            names: Names::new(LIMITS_OF_ROOT),
        }
    }

    /// Finds the containers in the data roots of the chosen users. `machine` is the root of the
    /// machine's files.
    pub fn of_users(choice: &UserChoice, machine: &Path) -> Nerdctl {
        Nerdctl {
            storages: Storages::Users(Users::new(&USERS, choice, machine)),
            names: Names::new(LIMITS_OF_USERS),
        }
    }

    /// The container's name; `None` while it is being created or removed.
    fn name(&self, found: &Found) -> Option<String> {
        let (store, namespace) = place(found)?;
        // The second is where later releases keep them.
        let folders = [store.join("names").join(namespace), store.join(namespace)];
        let id = found.runtime_id();
        folders
            .iter()
            .find_map(|folder| self.names.find(folder, &id))
    }
}

pub(super) fn open(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let root = DataRoot::new(options.nerdctl_root.as_deref(), &SERVICE, &options.machine);
    let mut all = vec![Nerdctl::of_root(root)];
    if !options.nerdctl_users.is_empty() {
        all.push(Nerdctl::of_users(&options.nerdctl_users, &options.machine));
    }
    all.into_iter()
        .map(|nerdctl| Arc::new(nerdctl) as Arc<dyn Runtime>)
        .collect()
}

impl Runtime for Nerdctl {
    fn title(&self) -> &'static str {
        match self.storages {
            Storages::Root(_) => "nerdctl",
            Storages::Users(_) => "nerdctl of users",
        }
    }

    fn root_option(&self) -> &'static str {
        match self.storages {
            Storages::Root(_) => "Nerdctl_Root",
            Storages::Users(_) => "Nerdctl_Users",
        }
    }

    fn root(&self) -> PathBuf {
        self.storages.root()
    }

    fn places(&self, root: &Path) -> Vec<PathBuf> {
        self.storages.places(root)
    }

    fn list(&self, root: &Path) -> io::Result<Listing> {
        if let Storages::Users(users) = &self.storages {
            return users.list(&|storage, folder, listing, identify| {
                list_storage(storage, folder, LIMITS_OF_USERS, listing, identify)
            });
        }
        let storage = SafePath::below(&Base::of_machine(root), root);
        let folder = storage.open_folder()?;
        let mut listing = Listing {
            is_decided_by_folders: true,
            ..Listing::default()
        };
        list_storage(&storage, &folder, LIMITS_OF_ROOT, &mut listing, &|id| {
            (id, None)
        });
        Ok(listing)
    }

    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        let options = read::<LogConfig>(found, LOG_CONFIG)
            .opts
            .unwrap_or_default()
            .0;
        let log = match options.get(LOG_PATH) {
            Some(path) => log_place::place(found, Path::new(path)),
            None => found.dir.join(format!("{}-json.log", found.runtime_id())),
        };
        vec![LogFiles {
            rank: rank_by_rising_number,
            ..LogFiles::numbered(log).moved_from(&found.dir)
        }]
    }

    fn metadata(&self, found: &Found, _run: u32) -> Result<ContainerMetadata, MetadataError> {
        let Some(name) = self.name(found) else {
            let path = found.dir.to_path_buf();
            return Err(MetadataError::Missing { path });
        };
        let spec = task(found).map(|task| read_at::<Spec>(found, &task.join(SPEC)));
        let is_running = spec.is_some();
        let env = spec.and_then(|spec| spec.process?.env).unwrap_or_default();
        Ok(ContainerMetadata {
            name,
            env: env.pairs,
            is_cut: env.is_cut,
            runtime: RUNTIME_NAME.to_owned(),
            is_running,
            owner: found.owner.clone(),
            ..ContainerMetadata::default()
        }
        .bounded())
    }

    fn metadata_file(&self, found: &Found) -> Option<SafePath> {
        task(found).map(|task| task.join(SPEC))
    }

    /// The name changes when the container is renamed, whether it runs or not, and the specification
    /// is replaced at each start.
    fn metadata_version(&self, found: &Found) -> Option<FileId> {
        let specification = self.metadata_file(found);
        let specification = specification.and_then(|file| stat_path(&file).ok());
        let specification = specification.map(|(version, _)| format!("{version:?}"));
        Some(FileId {
            device: xxh3_64(self.name(found)?.as_bytes()),
            inode: specification.map_or(NO_SPECIFICATION, |it| xxh3_64(it.as_bytes())),
            birth: 0,
        })
    }

    /// That a container ends changes nothing: its last lines have the environment, too.
    fn is_same_version(&self, seen: FileId, now: FileId) -> bool {
        let is_same_start = seen.inode == now.inode || now.inode == NO_SPECIFICATION;
        seen.device == now.device && is_same_start
    }

    fn log_driver(&self, found: &Found) -> Result<Option<LogDriver>, MetadataError> {
        let path = found.dir.join(LOG_CONFIG);
        // It is about to be written.
        let is_empty = || path.stat().is_ok_and(|stat| stat.stx_size == 0);
        let config = match read_json::<LogConfig>(&path, found) {
            Err(MetadataError::Missing { .. }) => return Ok(None),
            Err(_) if is_empty() => return Ok(None),
            read => read?,
        };
        Ok(config.driver.map(|name| LogDriver {
            // No other driver leaves a copy that could be read.
            has_cache_disabled: name != JSON_FILE_DRIVER,
            name,
        }))
    }
}

/// The data root for one containerd, and the namespace, in which a container is.
fn place(found: &Found) -> Option<(SafePath, &str)> {
    let mut above = found.origin.ancestors().skip(1);
    let namespace = above.next()?.file_name()?.to_str()?;
    let store = above.nth(1)?;
    Some((found.dir.at(store), namespace))
}

/// The folder of containerd's running containers, of the machine's own containerd.
fn tasks(found: &Found) -> Option<SafePath> {
    if found.owner.is_some() {
        return None;
    }
    let address = read::<LogConfig>(found, LOG_CONFIG).address;
    let socket = address
        .as_deref()
        .map(|address| Path::new(address.strip_prefix("unix://").unwrap_or(address)));
    let state = socket
        .filter(|socket| socket.is_absolute())
        .and_then(Path::parent)
        .unwrap_or(Path::new(DEFAULT_STATE));
    let tasks = state.join(TASKS);
    Some(SafePath::below(&Base::of_machine(&tasks), &*tasks))
}

/// The folder of a container while it runs.
fn task(found: &Found) -> Option<SafePath> {
    let (_, namespace) = place(found)?;
    let task = tasks(found)?
        .join(namespace)
        .join(found.runtime_id().to_string());
    task.is_folder().then_some(task)
}

/// A file in the container's folder; empty if it cannot be read.
fn read<T: for<'a> Deserialize<'a> + Default>(found: &Found, name: &str) -> T {
    read_at(found, &found.dir.join(name))
}

fn read_at<T: for<'a> Deserialize<'a> + Default>(found: &Found, path: &SafePath) -> T {
    let kind = match found.owner {
        Some(_) => FileKind::UsersContainerConfig,
        None => FileKind::ContainerConfig,
    };
    let bytes = path.read(kind.limit()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Adds the containers of one data root, whose folder is open: those of each containerd and
/// namespace.
fn list_storage(
    storage: &SafePath,
    folder: &Folder,
    limits: Limits,
    listing: &mut Listing,
    identify: Identify<'_>,
) {
    listing.folders.push(storage.clone());
    let mut namespaces = Vec::new();
    let any = |_: &str| true;
    for address in names(folder, storage, limits, any, listing) {
        let store = storage.join(address);
        let containers = store.join(CONTAINERS);
        match containers.open_folder() {
            Ok(folder) => {
                let found = names(&folder, &containers, limits, any, listing);
                namespaces.extend(found.into_iter().map(|name| containers.join(name)));
                listing.folders.push(containers);
            }
            Err(error) => listing.note(containers.to_path_buf(), error),
        }
        listing.folders.push(store);
    }
    if namespaces.len() > limits.parts {
        listing.note(storage.to_path_buf(), too_many(limits.parts, "namespaces"));
        namespaces.truncate(limits.parts);
    }
    for dir in namespaces {
        match dir.open_folder() {
            Ok(folder) => list_containers(&dir, &folder, limits, listing, identify),
            Err(error) => listing.note(dir.to_path_buf(), error),
        }
        listing.folders.push(dir);
    }
}

/// Ranks an empty suffix (the current file) and `.N`, of which the highest is the newest.
fn rank_by_rising_number(rest: &str) -> Option<FileRank> {
    let rank = rank_by_number(rest).filter(|rank| !rank.is_gzip)?;
    let age = match rank.age {
        0 => 0,
        number => u64::from(u32::MAX) + 1 - number,
    };
    Some(FileRank { age, ..rank })
}

#[cfg(test)]
mod tests;
