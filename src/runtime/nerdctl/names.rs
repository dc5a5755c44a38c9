//! The names of nerdctl's containers: a folder has a file for each name, whose content is the
//! container's id. Read once for all containers of a namespace, and again when the folder changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::fs::FileType;

use crate::lock::lock;
use crate::runtime::folder_stamp::{stamp_of, FolderStamp};
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::SafePath;
use crate::runtime::storage::Limits;

/// Most folders that are remembered; those beyond are read at each look.
const MOST_FOLDERS: usize = 256;
/// Longest content of such a file, in bytes; an id has 64.
const LONGEST_CONTENT: u64 = 128;

/// Names by id.
type ById = Arc<HashMap<ContainerId, String>>;

/// The names in folders that have been read.
#[derive(Debug)]
pub(super) struct Names {
    limits: Limits,
    known: Mutex<HashMap<PathBuf, (FolderStamp, ById)>>,
}

impl Names {
    /// Reads no more names in a folder than the containers of `limits`.
    pub fn new(limits: Limits) -> Names {
        Names {
            limits,
            known: Mutex::default(),
        }
    }

    /// The name in `folder` of the container with this id.
    pub fn find(&self, folder: &SafePath, id: &ContainerId) -> Option<String> {
        // Taken before the read, so a change during the read causes another one next time.
        let stamp = stamp_of(&folder.stat().ok()?);
        let mut known = lock(&self.known);
        if let Some((seen, names)) = known.get(folder.as_ref()) {
            if Some(*seen) == stamp {
                return names.get(id).cloned();
            }
        }
        let names = self.read(folder);
        let name = names.get(id).cloned();
        known.remove(folder.as_ref());
        if let Some(stamp) = stamp.filter(|_| known.len() < MOST_FOLDERS) {
            known.insert(folder.to_path_buf(), (stamp, Arc::new(names)));
        }
        name
    }

    fn read(&self, folder: &SafePath) -> HashMap<ContainerId, String> {
        let entries = folder
            .open_folder()
            .and_then(|open| open.entries(self.limits.containers))
            .unwrap_or_default();
        let is_file = |kind| matches!(kind, FileType::RegularFile | FileType::Unknown);
        let files = entries.names.into_iter().filter(|(_, kind)| is_file(*kind));
        let named = files.filter_map(|(name, _)| {
            let content = folder.join(&name).read(LONGEST_CONTENT).ok()?;
            let id = ContainerId::parse(std::str::from_utf8(&content).ok()?.trim())?;
            Some((id, name))
        });
        named.collect()
    }
}
