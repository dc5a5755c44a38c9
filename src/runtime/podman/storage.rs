//! The containers in the folders of a storage: one folder per storage driver that was used, and in
//! it one folder per container.

use std::io;

use rustix::fs::FileType;

use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Folder, SafePath};
use crate::runtime::seam::{Found, Listing};
use crate::runtime::storage::{names, too_many, Identify, Limits};

/// Suffix of a storage driver's directory of containers.
const CONTAINERS: &str = "-containers";

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
    let is_driver = |name: &str| name.ends_with(CONTAINERS);
    let mut drivers = names(folder, storage, limits, is_driver, listing);
    if drivers.len() > limits.parts {
        listing.note(
            storage.to_path_buf(),
            too_many(limits.parts, "storage drivers"),
        );
        drivers.truncate(limits.parts);
    }
    let mut left = limits.containers;
    listing.folders.push(storage.clone());
    for driver in drivers {
        let dir = storage.join(driver);
        let entries = match dir.open_folder() {
            Ok(folder) => {
                let is_container = |name: &str| ContainerId::parse(name).is_some();
                names(&folder, &dir, limits, is_container, listing)
            }
            Err(error) => {
                listing.note(dir.to_path_buf(), error);
                continue;
            }
        };
        let ids = entries
            .into_iter()
            .filter_map(|name| Some((ContainerId::parse(&name)?, name)));
        for (id, name) in ids {
            if left == 0 {
                listing.note(dir.to_path_buf(), too_many(limits.containers, "containers"));
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
                    listing.containers.push(Found {
                        owner: owner.map(Box::new),
                        ..found
                    });
                }
                Ok(_) => listing.note(
                    userdata.to_path_buf(),
                    io::Error::new(io::ErrorKind::InvalidInput, "it is not a folder"),
                ),
                // The directory with its log is created a moment later.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    listing.folders.push(folder)
                }
                Err(error) => listing.note(folder.to_path_buf(), error),
            }
        }
        listing.folders.push(dir);
    }
}
