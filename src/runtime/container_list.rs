//! `containers.json` of a Podman storage: names and images of all its containers. Read once
//! for all of them, and again when the file changes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::runtime::bounded_reason::reason_of;
use crate::runtime::file::{describe, nanos_of, FileId};
use crate::runtime::folder_stamp::stamp_of;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::MetadataError;
use crate::runtime::podman_list::{parse, Listed};
use crate::runtime::safe_path::SafePath;

/// Most lists kept. A storage has one per storage driver that was used. The limit exceeds what
/// machines usually have, because lists beyond it are reread on every lookup.
const MOST_LISTS: usize = 256;

/// Most reads of one list per second. A user who rewrites the file more often, to keep the
/// reader busy, gets an error for the rest of that second.
const MOST_READS: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// The parsed list.
type List = Arc<HashMap<ContainerId, Listed>>;

/// Identity and size, the time of the last change, and whether another change since would show in
/// these.
type Version = (FileId, u64, u64, bool);

/// A cache of parsed lists.
#[derive(Debug)]
pub struct ContainerLists {
    most_bytes: u64,
    known: Mutex<HashMap<PathBuf, Known>>,
}

/// The cache entry of one list.
#[derive(Debug)]
struct Known {
    path: SafePath,
    /// The inner list is `None` if this version of the file was rejected. Only the container
    /// that caused the read reports that; ten thousand others need not repeat it.
    list: Option<(Version, Option<List>)>,
    /// Containers whose entries changed and were not taken yet.
    changed: HashSet<ContainerId>,
    /// Start of the current one-second interval and the number of reads in it.
    since: Instant,
    reads: u32,
}

impl ContainerLists {
    /// An empty cache for files of at most `most_bytes` bytes.
    pub fn new(most_bytes: u64) -> ContainerLists {
        ContainerLists {
            most_bytes,
            known: Mutex::default(),
        }
    }

    /// The containers whose entries in a list that is known are others, or new, since the last
    /// call.
    pub fn take_changed(&self) -> HashSet<ContainerId> {
        let known = |all: &HashMap<PathBuf, Known>| {
            let paths = all.values().map(|known| known.path.clone());
            paths.collect::<Vec<_>>()
        };
        let paths = known(&lock(&self.known));
        for path in paths {
            // A failure is reported for the containers.
            let _ = self.read(&path);
        }
        let mut all = lock(&self.known);
        let changed = all.values_mut().map(|known| &mut known.changed);
        changed.flat_map(std::mem::take).collect()
    }

    /// The current list at `path`, read again only if the file has changed.
    pub fn read(&self, path: &SafePath) -> Result<List, MetadataError> {
        let missing = || MetadataError::Missing {
            path: path.to_path_buf(),
        };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => MetadataError::Unreadable {
                path: path.to_path_buf(),
                reason: error.to_string(),
            },
        };
        // Taken before the read, so a change during the read causes another one next time.
        let stat = path.stat().map_err(failed)?;
        let (id, size) = describe(&stat);
        let is_settled = stamp_of(&stat).is_some();
        let version = (id, size, nanos_of(stat.stx_ctime), is_settled);
        let mut all = lock(&self.known);
        if all.len() >= MOST_LISTS && !all.contains_key(path.as_ref()) {
            // Evict only the oldest, so that the others keep their lists and read counts.
            let oldest = all
                .iter()
                .min_by_key(|(_, known)| known.since)
                .map(|(path, _)| path.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let now = Instant::now();
        let known = all.entry(path.to_path_buf()).or_insert_with(|| Known {
            path: path.clone(),
            list: None,
            changed: HashSet::new(),
            since: now,
            reads: 0,
        });
        if let Some((_, list)) = known.list.as_ref().filter(|(seen, _)| *seen == version) {
            return list.as_ref().map(Arc::clone).ok_or_else(missing);
        }
        if now.duration_since(known.since) >= SECOND {
            (known.since, known.reads) = (now, 0);
        }
        if known.reads == MOST_READS {
            return Err(failed(io::Error::other(
                "it changes faster than it can be read",
            )));
        }
        known.reads += 1;
        let bytes = path.read(self.most_bytes).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidInput {
                known.list = Some((version, None));
            }
        });
        let list = parse(&bytes.map_err(failed)?).map_err(|error| {
            known.list = Some((version, None));
            failed(io::Error::other(reason_of(&error)))
        })?;
        // Kept until now: what changes while a read fails is found by the next one.
        if let Some((_, before)) = known.list.take() {
            let is_same = |(id, listed): &(&ContainerId, &Listed)| {
                before.as_ref().and_then(|before| before.get(id)) == Some(listed)
            };
            let changed = list.iter().filter(|entry| !is_same(entry));
            known.changed.extend(changed.map(|(id, _)| *id));
        }
        let list = Arc::new(list);
        known.list = Some((version, Some(Arc::clone(&list))));
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
