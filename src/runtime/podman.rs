//! Podman's containers. Podman has no daemon: one `conmon` per container writes the log into the
//! storage of the container's user,
//!
//! ```text
//! <storage>/overlay-containers/<id>/userdata/ctr.log     in the format of the CRI
//! <storage>/overlay-containers/containers.json           names and images
//! ```
//!
//! for both names of the log driver (`json-file` is an alias of `k8s-file`). Logs of the driver
//! `journald`, logs moved elsewhere with `--log-opt path`, and logs that cannot be read come from
//! Podman's API, if it is available.
//!
//! With `max-size` conmon replaces the file by an empty one; newer versions keep `ctr.log.1` and
//! so on. The directory is named after the storage driver (`overlay`, `vfs`, `btrfs`). The
//! storages of users are described in `user_storages`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::runtime::bounded_file::FileKind;
use crate::runtime::container_list::ContainerLists;
use crate::runtime::data_root::{toml_text, DataRoot, Service};
use crate::runtime::docker::{ContainerMetadata, LogDriver, MetadataError};
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Base, Folder, SafePath};
use crate::runtime::seam::{Api, Found, Hides, Listing, LogFiles, Runtime, Unreadable};
use crate::runtime::storage::{names, too_many, Identify, Limits, LIMITS_OF_ROOT, LIMITS_OF_USERS};
use crate::runtime::user_storages::{Kind, Users};
use crate::runtime::users::UserChoice;
use crate::runtime::RuntimeOptions;

/// Suffix of a storage driver's directory of containers.
const CONTAINERS: &str = "-containers";
/// File with names and images.
const CONTAINERS_FILE: &str = "containers.json";
/// OCI specification of a container, next to its log; written at its first start.
const SPEC: &str = "config.json";
/// Name of the log file.
const LOG: &str = "ctr.log";

/// The containers in root's storage, or in users' storages.
#[derive(Debug)]
pub struct Podman {
    storages: Storages,
    lists: ContainerLists,
}

/// Which storages are read.
#[derive(Debug)]
enum Storages {
    Root(DataRoot),
    Users(Users),
}

/// Root's storage.
static SERVICE: Service = Service {
    daemon: None,
    settings: &STORAGE_SETTINGS,
    configured: |text| toml_text(text, "storage", "graphroot").map(PathBuf::from),
    default: "var/lib/containers/storage",
};
/// The machine's settings for all users.
const STORAGE_SETTINGS: [&str; 2] = [
    "etc/containers/storage.conf",
    "usr/share/containers/storage.conf",
];

/// Users' storages.
static USERS: Kind = Kind {
    title: "Podman",
    option: "Podman_Users",
    storage: ".local/share/containers/storage",
    settings: ".config/containers/storage.conf",
    configured: |text| {
        let value = |key| toml_text(text, "storage", key);
        value("graphroot").or_else(|| value("rootless_storage_path"))
    },
    machine_settings: &STORAGE_SETTINGS,
    machine_configured: |text| toml_text(text, "storage", "rootless_storage_path"),
};

impl Podman {
    /// Finds the containers in the storage of root's at this path.
    pub fn new(storage: &Path) -> Podman {
        Podman::of_root(DataRoot::new(Some(storage), &SERVICE, Path::new("/")))
    }

    fn of_root(storage: DataRoot) -> Podman {
        let lists = ContainerLists::new(FileKind::PodmanList.limit());
        Podman {
            storages: Storages::Root(storage),
            lists,
        }
    }

    /// Finds the containers in the storages of the chosen users. `machine` is the root of the
    /// machine's files.
    pub fn of_users(choice: &UserChoice, machine: &Path) -> Podman {
        let lists = ContainerLists::new(FileKind::UsersPodmanList.limit());
        Podman {
            storages: Storages::Users(Users::new(&USERS, choice, machine)),
            lists,
        }
    }
}

pub(super) fn open(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let root = DataRoot::new(options.podman_root.as_deref(), &SERVICE, &options.machine);
    let mut storages = vec![Podman::of_root(root)];
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
        "Podman_Root"
    }

    fn root(&self) -> PathBuf {
        match &self.storages {
            Storages::Root(storage) => storage.path(),
            Storages::Users(users) => users.passwd(),
        }
    }

    fn places(&self, root: &Path) -> Vec<PathBuf> {
        match self.storages {
            Storages::Root(_) => vec![root.to_owned()],
            Storages::Users(_) => Vec::new(),
        }
    }

    fn list(&self, root: &Path) -> io::Result<Listing> {
        if let Storages::Users(users) = &self.storages {
            return users.list(&|storage, folder, listing, identify| {
                list_storage(storage, folder, LIMITS_OF_USERS, listing, identify)
            });
        }
        let mut listing = Listing::default();
        let storage = SafePath::below(&Base::of_machine(root), root);
        list_storage(
            &storage,
            &storage.open_folder()?,
            LIMITS_OF_ROOT,
            &mut listing,
            &|id| (id, None),
        );
        Ok(listing)
    }

    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        vec![LogFiles::numbered(found.dir.join(LOG))]
    }

    fn metadata(&self, found: &Found, _run: u32) -> Result<ContainerMetadata, MetadataError> {
        let file = containers_file(found);
        let list = self.lists.read(&file)?;
        let Some(stored) = list.get(&found.runtime_id()) else {
            return Err(MetadataError::Missing {
                path: file.to_path_buf(),
            });
        };
        Ok(ContainerMetadata {
            name: stored
                .name
                .clone()
                .unwrap_or_else(|| found.runtime_id().short()),
            image: stored.image.clone(),
            runtime: Api::Podman.runtime_name().to_owned(),
            is_running: true,
            owner: found.owner.clone(),
            ..ContainerMetadata::default()
        }
        .bounded())
    }

    fn metadata_file(&self, found: &Found) -> Option<SafePath> {
        Some(containers_file(found))
    }

    /// Only Podman's database has the log driver, and the API reads it.
    fn log_driver(&self, _found: &Found) -> Option<LogDriver> {
        None
    }

    /// Only for root's storage: the plugin queries no API service of a user.
    fn api(&self) -> Option<Api> {
        matches!(self.storages, Storages::Root(_)).then_some(Api::Podman)
    }

    fn has_run(&self, found: &Found) -> bool {
        found.dir.join(SPEC).stat().is_ok()
    }
}

/// `<storage>/<driver>-containers/containers.json`, next to the container's directory.
fn containers_file(found: &Found) -> SafePath {
    found.dir.at(found.origin.with_file_name(CONTAINERS_FILE))
}

/// Adds the containers of one storage, whose directory is open. `identify` maps Podman's id of
/// a container to the id used by the plugin and the owner. A path that cannot be read hides
/// only what is in it.
pub(crate) fn list_storage(
    storage: &SafePath,
    folder: &Folder,
    limits: Limits,
    listing: &mut Listing,
    identify: Identify<'_>,
) {
    let mut unreadable = Vec::new();
    let mut note = |path: &Path, error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            unreadable.push(Unreadable {
                hides: Hides::Containers,
                ..Unreadable::folder(path, error)
            });
        }
    };
    let mut drivers = names(folder, storage, limits, &mut note);
    drivers.retain(|(name, _)| name.ends_with(CONTAINERS));
    if drivers.len() > limits.parts {
        note(storage, too_many(limits.parts, "storage drivers"));
        drivers.truncate(limits.parts);
    }
    let mut left = limits.containers;
    listing.folders.push(storage.clone());
    for (driver, _) in drivers {
        let dir = storage.join(driver);
        let entries = match dir.open_folder() {
            Ok(folder) => names(&folder, &dir, limits, &mut note),
            Err(error) => {
                note(&dir, error);
                continue;
            }
        };
        let ids = entries
            .into_iter()
            .filter_map(|(name, _)| Some((ContainerId::parse(&name)?, name)));
        for (id, name) in ids {
            if left == 0 {
                note(&dir, too_many(limits.containers, "containers"));
                break;
            }
            left -= 1;
            let folder = dir.join(name);
            let userdata = folder.join("userdata");
            match userdata.stat() {
                Ok(stat)
                    if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory =>
                {
                    let (id, owner) = identify(id);
                    let found = Found::new(id, userdata, folder.to_path_buf());
                    listing.containers.push(Found { owner, ..found });
                }
                Ok(_) => note(
                    &userdata,
                    io::Error::new(io::ErrorKind::InvalidInput, "it is not a folder"),
                ),
                // The directory with its log is created a moment later.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    listing.folders.push(folder)
                }
                Err(error) => note(&folder, error),
            }
        }
        listing.folders.push(dir);
    }
    listing.unreadable.append(&mut unreadable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds::keep;

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
        std::fs::write(containers_file(&found), containers).unwrap();
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
            [podman
                .root()
                .join(format!("overlay-containers/{}/userdata", "f".repeat(64)))]
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
        std::fs::write(ours.dir.join(SPEC), "{}").unwrap();
        assert!(podman.has_run(&ours));
    }
}
