//! Podman's containers. Podman has no daemon: one `conmon` per container writes the log into the
//! storage of the container's user,
//!
//! ```text
//! <storage>/overlay-containers/<id>/userdata/ctr.log       in the format of the CRI
//! <storage>/overlay-containers/containers.json             names and images (`podman_list`)
//! <storage>/overlay-containers/volatile-containers.json    those of `podman run --rm`
//! <storage>/db.sql, <storage>/libpod/bolt_state.db         labels, variables, log drivers (`database`)
//! ```
//!
//! for both names of the log driver (`json-file` is an alias of `k8s-file`). With `--log-opt path`
//! the log is elsewhere (`log_place`). With `--transient-store`, everything but the logs is in the
//! run root, by the same names. Logs of the driver `journald` and logs that cannot be read come from
//! Podman's API, if it is available.
//!
//! With `max-size` conmon replaces the file by an empty one; newer versions keep `ctr.log.1` and
//! so on. The directory is named after the storage driver (`overlay`, `vfs`, `btrfs`). The
//! storages of users are described in `user_storages`.

mod bolt_state;
mod config;
mod database;
mod lacking;
mod spec;
mod sqlite;
mod storage;
mod wal;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtime::bounded_file::FileKind;
use crate::runtime::container_list::ContainerLists;
use crate::runtime::data_root::{toml_text, DataRoot, Service, Settings};
use crate::runtime::file::stat_path;
use crate::runtime::last_run::LastRun;
use crate::runtime::log_driver::{JournalWriter, LogDriver, PODMANS_FILE_DRIVER};
use crate::runtime::log_files::LogFiles;
use crate::runtime::log_place;
use crate::runtime::metadata::{ContainerMetadata, MetadataError};
use crate::runtime::podman::config::Configured;
use crate::runtime::podman::database::{Answer, Databases};
pub(crate) use crate::runtime::podman::storage::list_storage;
use crate::runtime::podman_list::Listed;
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{Api, Found, Listing, Runtime};
use crate::runtime::storages::Storages;
use crate::runtime::user_storages::{Kind, Users};
use crate::runtime::users::UserChoice;
use crate::runtime::RuntimeOptions;

/// Files with names and images.
const CONTAINERS_FILE: &str = "containers.json";
const VOLATILE_FILE: &str = "volatile-containers.json";
/// Name of the log file.
const LOG: &str = "ctr.log";
/// The pipe by which conmon is told things. conmon makes it when it starts a container, and Podman
/// removes it once that has ended.
const MONITOR: &str = "ctl";

/// The containers in root's storage, or in users' storages.
#[derive(Debug)]
pub struct Podman {
    storages: Storages,
    lists: ContainerLists,
    databases: Databases,
    /// Root's run root. Of users, none is read.
    run_root: Option<DataRoot>,
    most_spec_bytes: u64,
}

/// Root's storage.
static SERVICE: Service = Service {
    daemon: None,
    settings: Settings {
        files: &STORAGE_SETTINGS,
        folder: |text| toml_text(text, "storage", "graphroot"),
    },
    default: "var/lib/containers/storage",
};
/// The machine's settings for all users.
const STORAGE_SETTINGS: [&str; 2] = [
    "etc/containers/storage.conf",
    "usr/share/containers/storage.conf",
];

/// Root's run root, which is empty after a restart of the machine.
static RUN_ROOT: Service = Service {
    daemon: None,
    settings: Settings {
        files: &STORAGE_SETTINGS,
        folder: |text| toml_text(text, "storage", "runroot"),
    },
    default: "run/containers/storage",
};

/// Users' storages.
static USERS: Kind = Kind {
    title: "Podman",
    option: "Podman_Users",
    service: Service {
        daemon: None,
        settings: Settings {
            files: &[".config/containers/storage.conf"],
            folder: |text| {
                let value = |key| toml_text(text, "storage", key);
                Ok(value("graphroot")?.or(value("rootless_storage_path")?))
            },
        },
        default: ".local/share/containers/storage",
    },
    machine: Settings {
        files: &STORAGE_SETTINGS,
        folder: |text| toml_text(text, "storage", "rootless_storage_path"),
    },
};

impl Podman {
    /// Finds the containers in the storage of root's at this path.
    pub fn new(storage: &Path) -> Podman {
        Podman::of_root(Some(storage), Path::new("/"))
    }

    fn of_root(storage: Option<&Path>, machine: &Path) -> Podman {
        Podman {
            storages: Storages::Root(DataRoot::new(storage, &SERVICE, machine)),
            run_root: Some(DataRoot::new(None, &RUN_ROOT, machine)),
            lists: ContainerLists::new(FileKind::PodmanList.limit()),
            databases: Databases::new(FileKind::PodmanDatabase.limit()),
            most_spec_bytes: FileKind::ContainerConfig.limit(),
        }
    }

    /// Finds the containers in the storages of the chosen users. `machine` is the root of the
    /// machine's files.
    pub fn of_users(choice: &UserChoice, machine: &Path) -> Podman {
        Podman {
            storages: Storages::Users(Users::new(&USERS, choice, machine)),
            run_root: None,
            lists: ContainerLists::new(FileKind::UsersPodmanList.limit()),
            databases: Databases::new(FileKind::UsersPodmanDatabase.limit()),
            most_spec_bytes: FileKind::UsersPodmanList.limit(),
        }
    }

    /// What has the place of the storage for containers started with `--transient-store`.
    fn transient(&self) -> Option<SafePath> {
        let path = self.run_root.as_ref()?.path();
        Some(SafePath::below(&Base::of_machine(&path), path))
    }

    /// What has the place of the container's folder there.
    fn transient_userdata(&self, found: &Found) -> Option<SafePath> {
        let folder = Path::new(driver_folder(found)).join(found.runtime_id().to_string());
        Some(self.transient()?.join(folder).join("userdata"))
    }

    /// The file that lists a container, and its entry there.
    fn listed(&self, found: &Found) -> Result<Option<(SafePath, Listed)>, MetadataError> {
        let in_storage = |storage: SafePath| {
            let folder = storage.join(driver_folder(found));
            let mut failure = Ok(None);
            for name in [CONTAINERS_FILE, VOLATILE_FILE] {
                let file = folder.join(name);
                match self.lists.read(&file) {
                    Ok(list) => {
                        if let Some(listed) = list.get(&found.runtime_id()) {
                            return Ok(Some((file, listed.clone())));
                        }
                    }
                    Err(MetadataError::Missing { .. }) => {}
                    Err(error) => failure = Err(error),
                }
            }
            failure
        };
        match in_storage(storage_of(found)) {
            Ok(None) => self.transient().map_or(Ok(None), in_storage),
            listed => listed,
        }
    }

    /// What the databases say of a container.
    fn asked(&self, found: &Found) -> Answer {
        let find = |storage: SafePath| self.databases.find(&storage, &found.runtime_id());
        match find(storage_of(found)) {
            answer @ (Answer::NoDatabase | Answer::Unknown) => match self.transient().map(find) {
                None | Some(Answer::NoDatabase) => answer,
                Some(transient) => transient,
            },
            answer => answer,
        }
    }

    fn configured(&self, found: &Found) -> Option<Arc<Configured>> {
        match self.asked(found) {
            Answer::Configured(configured) => Some(configured),
            _ => None,
        }
    }

    /// Whether Podman has started a container, or somebody has removed what tells that.
    fn is_started(&self, found: &Found) -> bool {
        found.dir.join(LOG).stat().is_ok() || self.has_run(found)
    }
}

pub(super) fn open(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let root = Podman::of_root(options.podman_root.as_deref(), &options.machine);
    let mut storages = vec![root];
    if !options.podman_users.is_empty() {
        storages.push(Podman::of_users(&options.podman_users, &options.machine));
    }
    let shared = storages
        .into_iter()
        .map(|podman| Arc::new(podman) as Arc<dyn Runtime>);
    shared.collect()
}

impl Runtime for Podman {
    fn title(&self) -> &'static str {
        match self.storages {
            Storages::Root(_) => "Podman",
            Storages::Users(_) => "Podman of users",
        }
    }

    fn root_option(&self) -> &'static str {
        match self.storages {
            Storages::Root(_) => "Podman_Root",
            Storages::Users(_) => "Podman_Users",
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
        self.report_databases(&mut listing);
        self.report_lists(&mut listing);
        listing.note_changed(&self.lists.take_changed());
        Ok(listing)
    }

    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        let configured = self.configured(found);
        let place = configured.and_then(|it| Some(log_place::place(found, it.log.as_deref()?)));
        let log = LogFiles::numbered(place.unwrap_or_else(|| found.dir.join(LOG)));
        vec![log.moved_from(&found.dir)]
    }

    fn metadata(&self, found: &Found, _run: u32) -> Result<ContainerMetadata, MetadataError> {
        let listed = self.listed(found);
        let missing = || MetadataError::Missing {
            path: storage_of(found)
                .join(driver_folder(found))
                .join(CONTAINERS_FILE)
                .to_path_buf(),
        };
        let has_run = self.has_run(found);
        let mut is_partial = false;
        let configured = match self.asked(found) {
            Answer::Configured(configured) => Some(configured),
            Answer::Busy => {
                let path = storage_of(found).to_path_buf();
                return Err(MetadataError::Busy { path });
            }
            // Podman adds a container to its database after it has made the folder, and before
            // it starts it.
            Answer::Unknown if !self.is_started(found) => return Err(missing()),
            Answer::NoDatabase => None,
            Answer::Unknown | Answer::Unreadable => {
                is_partial = true;
                None
            }
        };
        let listed = match (listed, &configured) {
            (Ok(Some((_, listed))), _) => listed,
            (Ok(None) | Err(_), Some(_)) => Listed::default(),
            (Ok(None), None) => return Err(missing()),
            (Err(error), None) => return Err(error),
        };
        let configured = configured.unwrap_or_default();
        let (labels, env) = (configured.labels(), configured.env());
        let first = |one: &str, other: &str| if one.is_empty() { other } else { one }.to_owned();
        let name = first(&listed.name, &configured.name);
        Ok(ContainerMetadata {
            name: first(&name, &found.runtime_id().short()),
            image: first(&configured.image, &listed.image),
            labels: labels.pairs,
            env: env.pairs,
            is_cut: labels.is_cut || env.is_cut,
            is_partial,
            runtime: Api::Podman.runtime_name(),
            is_running: has_run,
            owner: found.owner.clone(),
            ..ContainerMetadata::default()
        }
        .bounded())
    }

    /// Labels and variables, once the database has them.
    fn has_more_metadata(&self, found: &Found) -> bool {
        matches!(self.asked(found), Answer::Configured(_))
    }

    fn metadata_file(&self, found: &Found) -> Option<SafePath> {
        let listed = self.listed(found).ok().flatten();
        listed.map(|(file, _)| file)
    }

    /// A database that cannot be read is reported for all its containers.
    fn log_driver(&self, found: &Found) -> Result<Option<LogDriver>, MetadataError> {
        Ok(self.configured(found).map(|configured| LogDriver {
            name: match configured.driver.as_str() {
                "" => PODMANS_FILE_DRIVER.to_owned(),
                name => name.to_owned(),
            },
            has_cache_disabled: false,
        }))
    }

    /// Settings that are not valid may have moved it.
    fn is_missed(&self, _is_any_there: bool) -> bool {
        self.storages.problem().is_some()
    }

    fn is_configured(&self) -> bool {
        self.storages.is_configured()
    }

    /// Only for root's storage: the plugin queries no API service of a user.
    fn api(&self) -> Option<Api> {
        matches!(self.storages, Storages::Root(_)).then_some(Api::Podman)
    }

    fn journal_writer(&self) -> Option<JournalWriter> {
        Some(JournalWriter::Conmon)
    }

    /// conmon does.
    fn creates_log_first(&self) -> bool {
        true
    }

    fn created(&self, found: &Found) -> Option<u64> {
        self.configured(found)?.created
    }

    fn last_run(&self, found: &Found) -> LastRun {
        let monitor = |userdata: &SafePath| stat_path(&userdata.join(MONITOR)).ok();
        let transient = || monitor(&self.transient_userdata(found)?);
        let started = monitor(&found.dir).or_else(transient);
        LastRun {
            is_running: Some(started.is_some()),
            started: started.map(|(id, _)| id.birth).filter(|birth| *birth > 0),
            ended: None,
        }
    }

    fn has_run(&self, found: &Found) -> bool {
        let read = |userdata: &SafePath| spec::is_podmans(userdata, self.most_spec_bytes);
        read(&found.dir).unwrap_or_else(|| {
            let transient = self.transient_userdata(found);
            transient
                .and_then(|userdata| read(&userdata))
                .unwrap_or(false)
        })
    }
}

/// `<driver>-containers`, the folder of the container's folder.
fn driver_folder(found: &Found) -> &OsStr {
    let folder = found.origin.parent().and_then(Path::file_name);
    folder.unwrap_or_default()
}

/// The storage that a container is in.
fn storage_of(found: &Found) -> SafePath {
    let storage = found.origin.ancestors().nth(2);
    found.dir.at(storage.unwrap_or(&found.origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds::keep;
    use crate::runtime::id::ContainerId;
    use crate::runtime::storage::{Limits, LIMITS_OF_ROOT};

    const ID: &str = "abababababababababababababababababababababababababababababababab";

    fn found(storage: &Path) -> Found {
        let origin = storage.join(format!("overlay-containers/{ID}"));
        Found::new(
            ContainerId::parse(ID).unwrap(),
            SafePath::below(&Base::of_machine(storage), origin.join("userdata")),
            origin,
        )
    }

    fn metadata_of(containers: &str) -> Result<ContainerMetadata, MetadataError> {
        keep("podman", containers);
        let dir = tempfile::tempdir().unwrap();
        let found = found(dir.path());
        std::fs::create_dir_all(&found.dir).unwrap();
        std::fs::write(found.origin.with_file_name(CONTAINERS_FILE), containers).unwrap();
        Podman::new(dir.path()).metadata(&found, 0)
    }

    #[test]
    fn name_and_image_are_read_as_podman_writes_them() {
        let metadata =
            r#"{\"image-name\":\"localhost/web:1\",\"image-id\":\"x\",\"name\":\"web\"}"#;
        let text = format!(
            r#"[{{"id":"cd","names":["db"]}},{{"id":"{ID}","names":["web","other"],"metadata":"{metadata}"}}]"#
        );
        let read = metadata_of(&text).unwrap();
        assert_eq!(
            (read.name.as_str(), read.image.as_str()),
            ("web", "localhost/web:1")
        );
        assert_eq!(read.runtime, "podman");
    }

    #[test]
    fn what_is_missing_or_not_understood_has_something_in_its_place() {
        let with = |rest: &str| metadata_of(&format!(r#"[{{"id":"{ID}"{rest}}}]"#)).unwrap();
        assert_eq!(with(r#","names":["web"],"metadata":"no JSON""#).name, "web");
        assert_eq!(with(r#","names":null"#).name, ID[..12]);
        assert!(matches!(
            metadata_of("[]"),
            Err(MetadataError::Missing { .. })
        ));
        assert!(matches!(
            metadata_of("[{"),
            Err(MetadataError::Unreadable { .. })
        ));
    }

    /// A file in place of a container, a symlink, a container without a log directory yet, and
    /// one whose log directory is a file.
    #[test]
    fn what_is_no_container_hides_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let ours = found(&dir.path().canonicalize().unwrap());
        std::fs::create_dir_all(&ours.dir).unwrap();
        let containers = dir.path().join("overlay-containers");
        std::fs::write(containers.join("c".repeat(64)), "").unwrap();
        std::os::unix::fs::symlink(&ours.origin, containers.join("d".repeat(64))).unwrap();
        std::fs::create_dir(containers.join("e".repeat(64))).unwrap();
        std::fs::create_dir(containers.join("f".repeat(64))).unwrap();
        std::fs::write(containers.join("f".repeat(64)).join("userdata"), "").unwrap();
        std::fs::write(dir.path().join("vfs-containers"), "").unwrap();
        let podman = Podman::new(dir.path());
        let listing = podman.list(&podman.root()).unwrap();
        assert_eq!(listing.containers, [ours]);
        let unreadable: Vec<PathBuf> = listing.unreadable.into_iter().map(|it| it.path).collect();
        assert_eq!(
            unreadable,
            ["d".repeat(64), "f".repeat(64) + "/userdata"]
                .map(|name| podman.root().join("overlay-containers").join(name))
        );
        assert!(listing
            .folders
            .iter()
            .any(|folder| folder.ends_with("e".repeat(64))));
    }

    #[test]
    fn more_than_the_limits_is_said_and_the_first_ones_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for (driver, digit) in [
            ("overlay", 'a'),
            ("overlay", 'b'),
            ("vfs", 'c'),
            ("zfs", 'd'),
        ] {
            let id = digit.to_string().repeat(64);
            std::fs::create_dir_all(top.join(format!("{driver}-containers/{id}/userdata")))
                .unwrap();
        }
        let list = |limits: Limits| {
            let storage = SafePath::below(&Base::of_machine(&top), &*top);
            let mut listing = Listing::default();
            let folder = storage.open_folder().unwrap();
            list_storage(&storage, &folder, limits, &mut listing, &|id| (id, None));
            let reasons: Vec<String> = listing
                .unreadable
                .iter()
                .map(|it| it.error.to_string())
                .collect();
            (listing.containers.len(), reasons.join("; "))
        };
        assert_eq!(list(LIMITS_OF_ROOT), (4, String::new()));
        let (count, reason) = list(Limits {
            parts: 2,
            ..LIMITS_OF_ROOT
        });
        assert!(
            count == 3 && reason.contains("more than 2 storage drivers"),
            "{count} {reason}"
        );
        let (count, reason) = list(Limits {
            containers: 1,
            ..LIMITS_OF_ROOT
        });
        assert!(
            count == 1 && reason.contains("more than 1 containers"),
            "{count} {reason}"
        );
        let (count, reason) = list(Limits {
            names: 2,
            ..LIMITS_OF_ROOT
        });
        assert!(
            (1..=3).contains(&count) && reason.contains("more than 2 entries"),
            "{count} {reason}"
        );
    }

    #[test]
    fn the_api_tells_of_roots_containers_and_of_those_that_have_run() {
        let dir = tempfile::tempdir().unwrap();
        let podman = Podman::new(dir.path());
        let ours = found(&podman.root());
        assert_eq!(podman.api(), Some(Api::Podman));
        std::fs::create_dir_all(&ours.dir).unwrap();
        assert!(!podman.has_run(&ours));
        std::fs::write(ours.dir.join("config.json"), "{}").unwrap();
        assert!(podman.has_run(&ours));
    }
}
