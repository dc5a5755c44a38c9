//! The folders in which Docker keeps containers:
//!
//! ```text
//! <data root>/containers/<id>                 a daemon of root's
//! <data root>/165536.165536/containers/<id>   the same with userns-remap: another folder for
//!                                             each uid and gid, beside what was there before
//! ~/.local/share/docker/containers/<id>       a user's rootless daemon
//! ```
//!
//! The data roots are those of `Docker_Root` or, with `auto`, those that root's files tell
//! (`data_root`).

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::runtime::bounded_file::{self, MOST_CONTAINERS};
use crate::runtime::data_root::{DataRoot, Service, Settings};
use crate::runtime::safe_path::{Base, Folder, SafePath};
use crate::runtime::seam::{Hides, Listing, Unreadable};
use crate::runtime::storage::{list_containers, Identify, LIMITS_OF_ROOT, LIMITS_OF_USERS};
use crate::runtime::storages::Storages;
use crate::runtime::user_storages::{Kind, Users};
use crate::runtime::users::UserChoice;
use crate::runtime::RuntimeOptions;

/// The folder of a data root with one folder per container.
const CONTAINERS: &str = "containers";

/// A daemon of root's, by a package of the distribution or of Docker's own.
static PACKAGE: Service = Service {
    daemon: Some(("var/run/docker.pid", "dockerd")),
    settings: Settings {
        files: &["etc/docker/daemon.json"],
        folder: configured_root,
    },
    default: "var/lib/docker",
};
/// The same as a snap.
static SNAP: Service = Service {
    daemon: None,
    settings: Settings {
        files: &["var/snap/docker/current/config/daemon.json"],
        folder: configured_root,
    },
    default: "var/snap/docker/common/var-lib-docker",
};
static USERS: Kind = Kind {
    title: "rootless Docker",
    option: "Docker_Users",
    service: Service {
        daemon: None,
        settings: Settings {
            files: &[".config/docker/daemon.json"],
            folder: configured_root,
        },
        default: ".local/share/docker",
    },
    machine: Settings::NONE,
};

/// The settings of a daemon that are needed here; `graph` is the old name of `data-root`.
#[derive(Deserialize)]
struct DaemonSettings {
    #[serde(rename = "data-root")]
    data_root: Option<String>,
    graph: Option<String>,
}

/// The data root in the text of a `daemon.json`, which may be empty.
fn configured_root(text: &str) -> Result<Option<String>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let settings = serde_json::from_str(text).map_err(|error| error.to_string());
    settings.map(|settings: DaemonSettings| settings.data_root.or(settings.graph))
}

/// Data roots of Docker: that of a daemon of root's, or those of users.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Where they are.
    pub storages: Storages,
    /// Whether it is the one to expect on a machine without containers.
    pub is_expected: bool,
}

/// The data roots that the options select.
pub(crate) fn open(options: &RuntimeOptions) -> Vec<Roots> {
    let mut roots = of_machine(options);
    if !options.docker_users.is_empty() {
        roots.push(Roots::of_users(&options.docker_users, &options.machine));
    }
    roots
}

/// Those among them that belong to daemons of root's.
pub(crate) fn of_machine(options: &RuntimeOptions) -> Vec<Roots> {
    let machine = &options.machine;
    if options.docker_roots.is_empty() {
        let snap = Storages::Root(DataRoot::new(None, &SNAP, machine));
        let snap = Roots {
            storages: snap,
            is_expected: false,
        };
        return vec![Roots::of_root(None, machine), snap];
    }
    let given = options.docker_roots.iter();
    given
        .map(|root| Roots::of_root(Some(root), machine))
        .collect()
}

/// The data root that root's files give to Docker's daemon; `None` if it is the usual one.
pub(super) fn configured(machine: &Path) -> Option<PathBuf> {
    let root = DataRoot::new(None, &PACKAGE, machine);
    (!root.is_default()).then(|| root.path())
}

impl Roots {
    /// The data root at `given` or, if that is `None`, where root's files say.
    pub fn of_root(given: Option<&Path>, machine: &Path) -> Roots {
        Roots {
            storages: Storages::Root(DataRoot::new(given, &PACKAGE, machine)),
            is_expected: true,
        }
    }

    /// The data roots of users.
    pub fn of_users(choice: &UserChoice, machine: &Path) -> Roots {
        Roots {
            storages: Storages::Users(Users::new(&USERS, choice, machine)),
            is_expected: false,
        }
    }

    /// `containers/` in the data root; if only a daemon with userns-remap has used that, the
    /// first such folder of its.
    pub fn root(&self) -> PathBuf {
        let data_root = match &self.storages {
            Storages::Root(root) => root.path(),
            Storages::Users(users) => return users.passwd(),
        };
        let containers = data_root.join(CONTAINERS);
        if containers.symlink_metadata().is_ok() {
            return containers;
        }
        let remapped = remapped(&data_root).unwrap_or_default();
        let mut there = remapped.into_iter().filter(|dir| dir.is_dir());
        there.next().unwrap_or(containers)
    }

    /// All folders `containers/` of the data root to which `root` belongs.
    pub fn places(&self, root: &Path) -> Vec<PathBuf> {
        match &self.storages {
            Storages::Root(_) => places(root).0,
            Storages::Users(_) => Vec::new(),
        }
    }

    /// The containers in all folders of the data root to which `root` belongs.
    pub fn list(&self, root: &Path) -> io::Result<Listing> {
        if let Storages::Users(users) = &self.storages {
            return users.list(&list_users_root);
        }
        let mut listing = Listing {
            is_decided_by_folders: true,
            ..Listing::default()
        };
        let (places, unreadable) = places(root);
        listing.unreadable.extend(unreadable);
        let mut failure = None;
        let mut is_any_there = false;
        for place in places {
            let dir = SafePath::below(&Base::of_machine(&place), &*place);
            match dir.open_folder() {
                Ok(folder) => {
                    is_any_there = true;
                    let identify: Identify<'_> = &|id| (id, None);
                    list_containers(&dir, &folder, LIMITS_OF_ROOT, &mut listing, identify);
                    // The root itself is watched anyway.
                    listing.folders.extend((place != root).then_some(dir));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    failure.get_or_insert(error);
                }
                Err(error) if place == root => failure = Some(error),
                Err(error) => listing.unreadable.push(Unreadable::folder(&*place, error)),
            }
            // `containers/` is created a moment later.
            if let Some(parent) = place.parent().filter(|parent| is_remapped(parent)) {
                let base = Base::of_machine(parent);
                listing.folders.push(SafePath::below(&base, parent));
            }
        }
        match failure {
            Some(error) if !is_any_there => return Err(error),
            Some(error) if error.kind() != io::ErrorKind::NotFound => {
                listing.unreadable.push(Unreadable::folder(root, error));
            }
            _ => {}
        }
        // Another such folder appears when the daemon is started with userns-remap.
        let data_root = data_root_of(root);
        listing
            .folders
            .push(SafePath::below(&Base::of_machine(data_root), data_root));
        Ok(listing)
    }
}

/// Adds the containers of a user's rootless Docker.
fn list_users_root(
    storage: &SafePath,
    _folder: &Folder,
    listing: &mut Listing,
    identify: Identify<'_>,
) {
    let dir = storage.join(CONTAINERS);
    listing.folders.push(storage.clone());
    match dir.open_folder() {
        Ok(folder) => {
            list_containers(&dir, &folder, LIMITS_OF_USERS, listing, identify);
            listing.folders.push(dir);
        }
        Err(error) => listing.note(dir.to_path_buf(), error),
    }
}

/// The data root to which a folder `containers/` belongs.
fn data_root_of(containers: &Path) -> &Path {
    let parent = containers.parent().unwrap_or(containers);
    match parent.parent() {
        Some(data_root) if is_remapped(parent) => data_root,
        _ => parent,
    }
}

/// Whether a folder is named by a uid and a gid, as dockerd names those of userns-remap.
fn is_remapped(dir: &Path) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let name = dir.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('.'))
        .is_some_and(|(uid, gid)| is_number(uid) && is_number(gid))
}

/// All folders `containers/` of the data root to which `root` belongs, `root` first, and what
/// could not be read to find them.
fn places(root: &Path) -> (Vec<PathBuf>, Option<Unreadable>) {
    let data_root = data_root_of(root);
    let mut places = vec![root.to_owned(), data_root.join(CONTAINERS)];
    let unreadable = match remapped(data_root) {
        Ok(remapped) => {
            places.extend(remapped);
            None
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Unreadable {
            hides: Hides::RemappedContainers,
            ..Unreadable::folder(data_root.join("*.*"), error)
        }),
    };
    let mut known = std::collections::HashSet::new();
    places.retain(|place| known.insert(place.clone()));
    (places, unreadable)
}

/// The folders `containers/` of daemons with userns-remap below a data root, sorted. One may
/// not exist yet.
fn remapped(data_root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in bounded_file::list(data_root, MOST_CONTAINERS)? {
        let path = entry?.path();
        if is_remapped(&path) {
            folders.push(path.join(CONTAINERS));
        }
    }
    folders.sort();
    Ok(folders)
}
