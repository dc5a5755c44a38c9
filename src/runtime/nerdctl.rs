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
//! never split. Image and labels are in containerd's database (`containerd`). There is no API.

mod containerd;
mod names;
mod storage;
mod task;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::runtime::bounded_file::FileKind;
use crate::runtime::bounded_json::TextMap;
use crate::runtime::bounds::Env;
use crate::runtime::data_root::{toml_text, DataRoot, Service, Settings};
use crate::runtime::docker::read_json;
use crate::runtime::file::{nanos_of, stat_path, FileId};
use crate::runtime::last_run::LastRun;
use crate::runtime::log_driver::{LogDriver, JSON_FILE_DRIVER};
use crate::runtime::log_files::{rank_by_number, FileRank, LogFiles};
use crate::runtime::log_place;
use crate::runtime::metadata::{ContainerMetadata, MetadataError};
use crate::runtime::nerdctl::containerd::{Answer, Databases, Described};
use crate::runtime::nerdctl::names::Names;
use crate::runtime::nerdctl::storage::list_storage;
use crate::runtime::nerdctl::task::{last_run, place, task, tasks};
use crate::runtime::safe_path::SafePath;
use crate::runtime::seam::{Found, Hides, Listing, Runtime, Unreadable};
use crate::runtime::storage::{LIMITS_OF_ROOT, LIMITS_OF_USERS};
use crate::runtime::storages::Storages;
use crate::runtime::user_storages::{Kind, Users};
use crate::runtime::users::UserChoice;
use crate::runtime::RuntimeOptions;

/// The runtime's name in metadata.
pub(crate) const RUNTIME_NAME: &str = "containerd";

/// The file with driver and options of a log.
const LOG_CONFIG: &str = "log-config.json";
/// The option that puts a log elsewhere.
const LOG_PATH: &str = "log-path";
/// The specification of a running container.
const SPEC: &str = "config.json";
/// Stands for the specification of a container that does not run.
const NO_SPECIFICATION: u64 = 0;
/// Stands for a database that cannot be opened.
const NO_DATABASE: u64 = 0;
/// containerd's state unless it is known; the folder of its socket.
const DEFAULT_STATE: &str = "/run/containerd";

/// How long after the creation of its log a container may be missing in the database.
const CREATION: Duration = Duration::from_secs(5);
/// How many containers of a data root are looked for to find out whether its database is the right
/// one, and the reason reported if it is not.
const MOST_LOOKS_FOR_DATABASE: usize = 16;
const NONE_OF_THEM: &str = "it has none of nerdctl's containers";

/// The machine's data root.
static SERVICE: Service = Service {
    daemon: None,
    settings: Settings {
        files: &["etc/nerdctl/nerdctl.toml"],
        folder: |text| toml_text(text, "", "data_root"),
    },
    default: "var/lib/nerdctl",
};

/// Users' data roots.
static USERS: Kind = Kind {
    title: "nerdctl",
    option: "Nerdctl_Users",
    service: Service {
        daemon: None,
        settings: Settings {
            files: &[".config/nerdctl/nerdctl.toml"],
            folder: |text| toml_text(text, "", "data_root"),
        },
        default: ".local/share/nerdctl",
    },
    machine: Settings::NONE,
};

/// The containers in the machine's data root, or in users' data roots.
#[derive(Debug)]
pub struct Nerdctl {
    storages: Storages,
    names: Names,
    /// The root of the machine's files.
    machine: PathBuf,
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
        Nerdctl::of_root(Some(data_root), Path::new("/"))
    }

    fn of_root(data_root: Option<&Path>, machine: &Path) -> Nerdctl {
        Nerdctl {
            storages: Storages::Root(DataRoot::new(data_root, &SERVICE, machine)),
            names: Names::new(LIMITS_OF_ROOT),
            machine: machine.to_owned(),
        }
    }

    /// Finds the containers in the data roots of the chosen users. `machine` is the root of the
    /// machine's files.
    pub fn of_users(choice: &UserChoice, machine: &Path) -> Nerdctl {
        Nerdctl {
            storages: Storages::Users(Users::new(&USERS, choice, machine)),
            names: Names::new(LIMITS_OF_USERS),
            machine: machine.to_owned(),
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

    /// The databases that may have a container.
    fn databases(&self, found: &Found) -> Option<Databases> {
        let (store, _) = place(found)?;
        let data_root = store.at(store.parent()?);
        Some(match found.owner {
            Some(_) => Databases::of_user(&data_root),
            None => Databases::of_machine(&data_root, tasks(found).as_ref(), &self.machine),
        })
    }

    /// What the database says of a container.
    fn asked(&self, found: &Found) -> Option<Answer> {
        let (_, namespace) = place(found)?;
        let databases = self.databases(found)?;
        Some(databases.find(namespace, &found.runtime_id().to_string()))
    }

    /// Whether a container that is not in the database may be about to be added.
    fn is_being_created(&self, found: &Found) -> bool {
        let mut logs = self.logs(found).into_iter();
        let born = logs
            .find_map(|log| stat_path(&log.path).ok())
            .map(|(id, _)| id.birth);
        let Some(born) = born.filter(|born| *born > 0) else {
            return false;
        };
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_nanos(born));
        age.is_ok_and(|age| age < CREATION)
    }

    /// Names the databases that cannot be read: one for each containerd.
    fn report_databases(&self, listing: &mut Listing) {
        let store = |found: &Found| Some(place(found)?.0.to_path_buf());
        let mut reported: Vec<Unreadable> = Vec::new();
        let mut is_any_new = false;
        for of_store in listing
            .containers
            .chunk_by(|one, other| store(one) == store(other))
        {
            let mut failure = None;
            for found in of_store.iter().take(MOST_LOOKS_FOR_DATABASE) {
                match self.asked(found) {
                    Some(Answer::Unknown(_)) if self.is_being_created(found) => is_any_new = true,
                    Some(Answer::Unknown(path)) => {
                        let error = io::Error::new(io::ErrorKind::InvalidData, NONE_OF_THEM);
                        failure = Some((path, error));
                    }
                    Some(Answer::Unreadable(path, error)) => {
                        failure = Some((path, error));
                        break;
                    }
                    Some(Answer::Described(_)) => {
                        failure = None;
                        break;
                    }
                    None => {}
                }
            }
            let databases = of_store.first().and_then(|found| self.databases(found));
            reported.extend(failure.map(|(path, error)| Unreadable {
                path,
                error: match &databases {
                    Some(databases) => databases.explained(error),
                    None => error,
                },
                hides: Hides::ImagesAndLabels,
            }));
        }
        listing.unreadable.extend(reported);
        // Whether it is in the database is to be asked again.
        listing.is_decided_by_folders &= !is_any_new;
    }
}

pub(super) fn open(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let root = options.nerdctl_root.as_deref();
    let mut all = vec![Nerdctl::of_root(root, &options.machine)];
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
        let mut listing = self.storages.list(root, list_storage)?;
        listing.is_decided_by_folders = matches!(self.storages, Storages::Root(_));
        self.report_databases(&mut listing);
        // A rename changes the folder with the names alone.
        let (folders, changed) = self.names.take_changed();
        listing.folders.extend(folders);
        listing.note_changed(&changed);
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
        let log = LogFiles::numbered(log).moved_from(&found.dir);
        vec![log.ranked_by(rank_by_rising_number)]
    }

    fn metadata(&self, found: &Found, _run: u32) -> Result<ContainerMetadata, MetadataError> {
        let Some(name) = self.name(found) else {
            let path = found.dir.to_path_buf();
            return Err(MetadataError::Missing { path });
        };
        let mut is_partial = false;
        let described = match self.asked(found) {
            Some(Answer::Described(described)) => described,
            Some(Answer::Unknown(path)) if self.is_being_created(found) => {
                return Err(MetadataError::Busy { path });
            }
            Some(Answer::Unreadable(_, error)) => {
                is_partial = error.kind() == io::ErrorKind::WouldBlock;
                Described::default()
            }
            Some(Answer::Unknown(_)) | None => Described::default(),
        };
        let spec = task(found).map(|task| read_at::<Spec>(found, &task.join(SPEC)));
        let is_running = spec.is_some();
        let env = spec.and_then(|spec| spec.process?.env).unwrap_or_default();
        Ok(ContainerMetadata {
            name,
            image: described.image,
            labels: described.labels,
            env: env.pairs,
            is_cut: env.is_cut,
            is_partial,
            runtime: RUNTIME_NAME,
            is_running,
            owner: found.owner.clone(),
            ..ContainerMetadata::default()
        }
        .bounded())
    }

    /// Settings that are not valid may have moved it.
    fn is_missed(&self, _is_any_there: bool) -> bool {
        self.storages.problem().is_some()
    }

    fn is_configured(&self) -> bool {
        self.storages.is_configured()
    }

    fn metadata_file(&self, found: &Found) -> Option<SafePath> {
        task(found).map(|task| task.join(SPEC))
    }

    /// The name changes when the container is renamed, whether it runs or not, and the specification
    /// is replaced at each start. Of image and labels it only changes whether they can be read.
    fn metadata_version(&self, found: &Found) -> Option<FileId> {
        let specification = self.metadata_file(found);
        let specification = specification.and_then(|file| stat_path(&file).ok());
        let specification = specification.map(|(version, _)| format!("{version:?}"));
        Some(FileId {
            device: xxh3_64(self.name(found)?.as_bytes()),
            inode: specification.map_or(NO_SPECIFICATION, |it| xxh3_64(it.as_bytes())),
            birth: self
                .databases(found)
                .and_then(|databases| databases.version())
                .map_or(NO_DATABASE, |it| xxh3_64(format!("{it:?}").as_bytes())),
        })
    }

    /// That a container ends, or that the database is not there any more, changes nothing: its last
    /// lines have the environment and the labels, too.
    fn is_same_version(&self, seen: FileId, now: FileId) -> bool {
        let is_same_start = seen.inode == now.inode || now.inode == NO_SPECIFICATION;
        let is_same_database = seen.birth == now.birth || now.birth == NO_DATABASE;
        seen.device == now.device && is_same_start && is_same_database
    }

    /// nerdctl writes the file once. A copy of the data root keeps its time.
    fn created(&self, found: &Found) -> Option<u64> {
        let stat = found.dir.join(LOG_CONFIG).stat().ok()?;
        let written = nanos_of(stat.stx_mtime);
        Some(found.birth().map_or(written, |birth| birth.min(written)))
    }

    fn last_run(&self, found: &Found) -> LastRun {
        last_run(found)
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
