//! The names of nerdctl's containers: a folder has a file for each name, whose content is the
//! container's id. Read once for all containers of a namespace, and again when the folder changes.
//! While it changes all the time, reading it takes a small part of the time at most.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use crate::lock::lock;
use crate::runtime::folder_stamp::{stamp_of, FolderStamp};
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::SafePath;
use crate::runtime::storage::Limits;
use crate::threads::processor_time;

/// Most folders that are remembered; those beyond are read at each look.
const MOST_FOLDERS: usize = 256;
/// Longest content of such a file, in bytes; an id has 64.
const LONGEST_CONTENT: u64 = 128;

/// A folder that may have changed, and took longer than `SHORT` to read, is read again after this
/// number of times that time: a new container's name is missing for a moment then. It is CPU time:
/// a reader that waited for a busy machine is not to wait still longer.
const REST: u32 = 20;
const SHORT: Duration = Duration::from_millis(1);

/// The names in folders that have been read.
#[derive(Debug)]
pub(super) struct Names {
    limits: Limits,
    known: Mutex<HashMap<PathBuf, Known>>,
}

/// The names in one folder.
#[derive(Debug)]
struct Known {
    folder: SafePath,
    /// `None` if the folder had changed too recently.
    stamp: Option<FolderStamp>,
    by_id: HashMap<ContainerId, String>,
    /// Containers whose names changed and were not taken yet.
    changed: HashSet<ContainerId>,
    /// When they were read, and the CPU time that took.
    read_at: Instant,
    took: Duration,
}

impl Known {
    fn is_current(&self, stamp: Option<FolderStamp>) -> bool {
        let is_same = stamp.is_some() && self.stamp == stamp;
        is_same || self.read_at.elapsed() < self.took.saturating_sub(SHORT) * REST
    }
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
        let current = known.get(folder.as_ref());
        if let Some(current) = current.filter(|it| it.is_current(stamp)) {
            return current.by_id.get(id).cloned();
        }
        let begun = processor_time();
        let by_id = self.read(folder);
        let name = by_id.get(id).cloned();
        let mut changed = HashSet::new();
        if let Some(before) = known.remove(folder.as_ref()) {
            let is_other =
                |(id, name): &(&ContainerId, &String)| before.by_id.get(*id) != Some(*name);
            changed.extend(by_id.iter().filter(is_other).map(|(id, _)| *id));
            changed.extend(before.changed);
        }
        if known.len() < MOST_FOLDERS {
            let read = Known {
                folder: folder.clone(),
                stamp,
                by_id,
                changed,
                took: processor_time().saturating_sub(begun),
                read_at: Instant::now(),
            };
            known.insert(folder.to_path_buf(), read);
        }
        name
    }

    /// The folders that are known, and the containers with other names, or new ones, in them since
    /// the last call.
    pub fn take_changed(&self) -> (Vec<SafePath>, HashSet<ContainerId>) {
        let folders = |known: &HashMap<PathBuf, Known>| {
            let folders = known.values().map(|known| known.folder.clone());
            folders.collect::<Vec<_>>()
        };
        let folders = folders(&lock(&self.known));
        for folder in &folders {
            // Any container's: what counts is that the folder is read again if it changed.
            self.find(folder, &ContainerId::from_bytes([0; 32]));
        }
        let mut known = lock(&self.known);
        let changed = known.values_mut().map(|known| &mut known.changed);
        let changed = changed.flat_map(std::mem::take).collect();
        (folders, changed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::storage::LIMITS_OF_ROOT;

    #[test]
    fn a_folder_that_just_changed_is_not_read_for_each_container() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SafePath::from(dir.path().canonicalize().unwrap());
        let id = ContainerId::from_bytes([0xab; 32]);
        std::fs::write(dir.path().join("web"), id.to_string()).unwrap();
        let names = Names::new(LIMITS_OF_ROOT);
        assert_eq!(names.find(&folder, &id).as_deref(), Some("web"));
        std::fs::rename(dir.path().join("web"), dir.path().join("shop")).unwrap();
        let set_took = |took| {
            let mut known = lock(&names.known);
            let known = known.values_mut().next().unwrap();
            assert_eq!(known.stamp, None);
            known.took = took;
        };
        set_took(Duration::from_secs(60));
        assert_eq!(names.find(&folder, &id).as_deref(), Some("web"));
        set_took(Duration::ZERO);
        let (folders, changed) = names.take_changed();
        assert_eq!(
            (folders, changed),
            (vec![folder.clone()], HashSet::from([id]))
        );
        assert_eq!(names.find(&folder, &id).as_deref(), Some("shop"));
        set_took(Duration::ZERO);
        assert!(names.take_changed().1.is_empty());
    }
}
