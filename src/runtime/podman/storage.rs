//! The containers in the folders of a storage: one folder per storage driver that was used, and in
//! it one folder per container.

use std::io;
use std::path::Path;

use rustix::fs::FileType;

use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Folder, SafePath};
use crate::runtime::seam::{Found, Hides, Listing, Unreadable};
use crate::runtime::Owner;

/// Suffix of a storage driver's directory of containers.
const CONTAINERS: &str = "-containers";

/// Limits on what is read of one storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Storage drivers.
    pub drivers: usize,
    /// Containers, over all drivers.
    pub containers: usize,
    /// Names in one directory.
    pub names: usize,
}

/// Adds the containers of one storage, whose directory is open. `identify` maps Podman's id of
/// a container to the id used by the plugin and the owner. A path that cannot be read hides
/// only what is in it.
pub(crate) fn list_storage(
    storage: &SafePath,
    folder: &Folder,
    limits: Limits,
    listing: &mut Listing,
    identify: impl Fn(ContainerId) -> (ContainerId, Option<Owner>),
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
    if drivers.len() > limits.drivers {
        note(storage, too_many(limits.drivers, "storage drivers"));
        drivers.truncate(limits.drivers);
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

/// The subdirectories of a directory, sorted, so that a limit always leaves out the same ones.
fn names(
    folder: &Folder,
    path: &Path,
    limits: Limits,
    note: &mut impl FnMut(&Path, io::Error),
) -> Vec<(String, FileType)> {
    let entries = folder.entries(limits.names).unwrap_or_else(|error| {
        note(path, error);
        Default::default()
    });
    if let Some(error) = entries.failure {
        note(path, error);
    }
    let mut names = entries.names;
    names.retain(|(_, kind)| matches!(kind, FileType::Directory | FileType::Unknown));
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    names
}

fn too_many(most: usize, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it has more than {most} {what}; the rest is not read"),
    )
}
