//! Names what is missing in a storage: lists and databases that cannot be read, and containers that
//! these lack.

use std::io;

use crate::runtime::podman::database::{Answer, DATABASE};
use crate::runtime::podman::{storage_of, Podman, CONTAINERS_FILE, VOLATILE_FILE};
use crate::runtime::safe_path::SafePath;
use crate::runtime::seam::{Found, Hides, Listing, Runtime, Unreadable};

/// The reason reported for a storage without a database, and how many of its containers are checked
/// for being Podman's: CRI-O's storage has none.
const NO_DATABASE: &str =
    "neither it nor bolt_state.db exists; in a container, mount the whole storage";
const MOST_LOOKS_FOR_DATABASE: usize = 16;
/// The reason reported for a storage without a list of its containers.
const NO_LIST: &str = "it does not exist; in a container, mount the whole storage";

impl Podman {
    /// Names the lists that are missing though there are containers of Podman's.
    pub(super) fn report_lists(&self, listing: &mut Listing) {
        let containers = &listing.containers;
        let folder = |found: &Found| Some(found.dir.at(found.origin.parent()?));
        let mut folders: Vec<SafePath> = containers.iter().filter_map(folder).collect();
        folders.dedup();
        let has_list = |folder: &SafePath| {
            let mut lists = [CONTAINERS_FILE, VOLATILE_FILE].into_iter();
            lists.any(|name| folder.join(name).stat().is_ok())
        };
        let mut missing = Vec::new();
        for folder in folders {
            let driver = folder.file_name().unwrap_or_default();
            let transient = self.transient().map(|root| root.join(driver));
            if has_list(&folder) || transient.is_some_and(|folder| has_list(&folder)) {
                continue;
            }
            let of_folder = containers
                .iter()
                .filter(|found| found.dir.starts_with(&folder));
            if of_folder
                .take(MOST_LOOKS_FOR_DATABASE)
                .any(|found| self.has_run(found))
            {
                missing.push(Unreadable {
                    path: folder.join(CONTAINERS_FILE).to_path_buf(),
                    error: io::Error::new(io::ErrorKind::InvalidData, NO_LIST),
                    hides: Hides::Names,
                });
            }
        }
        listing.unreadable.extend(missing);
    }

    /// Names the databases that cannot be read, or lack a container.
    pub(super) fn report_databases(&self, listing: &mut Listing) {
        let mut storages: Vec<SafePath> = listing.containers.iter().map(storage_of).collect();
        storages.dedup();
        let mut failures = self.databases.failures(&storages);
        for storage in &storages {
            let containers = listing.containers.iter();
            let mut some = containers
                .filter(|found| found.dir.starts_with(storage))
                .take(MOST_LOOKS_FOR_DATABASE);
            if some.any(|found| self.asked(found) == Answer::NoDatabase && self.has_run(found)) {
                failures.push((storage.join(DATABASE).to_path_buf(), NO_DATABASE.to_owned()));
            }
            let containers = listing.containers.iter();
            let containers = containers.filter(|found| found.dir.starts_with(storage));
            let ids = containers.clone().map(Found::runtime_id);
            let lacking = self
                .databases
                .lacking(storage, ids, MOST_LOOKS_FOR_DATABASE);
            if let Some((path, lacking)) = lacking {
                let lacking = containers.filter(|found| lacking.contains(&found.runtime_id()));
                let is_known = |found: &&Found| self.asked(found) != Answer::Unknown;
                let ids = lacking.filter(|it| !is_known(it) && self.is_started(it));
                let ids: Vec<String> = ids.map(|found| found.runtime_id().short()).collect();
                if !ids.is_empty() {
                    let ids = ids.join(", ");
                    let reason = format!("it has no entry for {ids}; only these are affected");
                    failures.push((path.to_path_buf(), reason));
                }
            }
        }
        let unreadable = failures.into_iter().map(|(path, reason)| Unreadable {
            path,
            error: io::Error::new(io::ErrorKind::InvalidData, reason),
            hides: Hides::Labels,
        });
        listing.unreadable.extend(unreadable);
    }
}
