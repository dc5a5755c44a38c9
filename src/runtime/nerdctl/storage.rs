//! The containers in a data root of nerdctl: a folder for each containerd, named by a hash of its
//! address, in it one for each namespace, and in that one for each container.

use crate::runtime::safe_path::{Folder, SafePath};
use crate::runtime::seam::Listing;
use crate::runtime::storage::{list_containers, names, too_many, Identify, Limits};

/// The folder with the containers of all namespaces.
pub(super) const CONTAINERS: &str = "containers";

/// Adds the containers of one data root, whose folder is open: those of each containerd and
/// namespace.
pub(super) fn list_storage(
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
