//! `containers.json` of a storage of Podman's: the names and images of all its
//! containers. Read once for all of them, and again when the file is another one.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::docker::MetadataError;
use crate::checkpoint::ContainerId;
use crate::safe_path::SafePath;

/// How many lists are kept: a storage has one for each storage driver that was used.
const MOST_LISTS: usize = 32;

/// What a list says of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its image.
    pub image: String,
}

/// How often a second a list is read anew. Who writes his own more often, to keep the
/// reader busy with it, is not followed for the rest of that second.
const MOST_READS: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// A list as it was read.
type List = Arc<HashMap<ContainerId, Stored>>;

/// Device, inode, size, and the seconds and nanoseconds of the last change.
type Version = (u32, u32, u64, u64, i64, u32);

/// The lists that were read.
#[derive(Debug)]
pub struct ContainerLists {
    most_bytes: u64,
    known: Mutex<HashMap<PathBuf, Known>>,
}

/// One list, as far as it is known.
#[derive(Debug)]
struct Known {
    /// `None` where the last one could not be read.
    list: Option<(Version, List)>,
    /// Since when the reads are counted, and how many there were.
    since: Instant,
    reads: u32,
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    names: Option<Vec<String>>,
    /// JSON in a text.
    metadata: Option<String>,
}

#[derive(Deserialize, Default)]
struct StoredMetadata {
    #[serde(rename = "image-name")]
    image_name: Option<String>,
    name: Option<String>,
}

impl ContainerLists {
    /// Of files of so many bytes at the most.
    pub fn new(most_bytes: u64) -> ContainerLists {
        ContainerLists { most_bytes, known: Mutex::default() }
    }

    /// What the list at `path` says now.
    pub fn read(&self, path: &SafePath) -> Result<List, MetadataError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => MetadataError::Missing { path: path.to_path_buf() },
            _ => MetadataError::Unreadable { path: path.to_path_buf(), reason: error.to_string() },
        };
        // Before the read: what changes meanwhile is read anew the next time.
        let stat = path.stat().map_err(failed)?;
        let changed = (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec);
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        let version = (device.0, device.1, stat.stx_ino, stat.stx_size, changed.0, changed.1);
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_LISTS && !all.contains_key(path.as_ref()) {
            all.clear();
        }
        let now = Instant::now();
        let new = || Known { list: None, since: now, reads: 0 };
        let known = all.entry(path.to_path_buf()).or_insert_with(new);
        if let Some((_, list)) = known.list.as_ref().filter(|(seen, _)| *seen == version) {
            return Ok(Arc::clone(list));
        }
        if now.duration_since(known.since) >= SECOND {
            *known = new();
        }
        if known.reads == MOST_READS {
            return Err(failed(io::Error::other("it changes faster than it can be read")));
        }
        known.reads += 1;
        known.list = None;
        let bytes = path.read(self.most_bytes).map_err(failed)?;
        let list = parse(&bytes).map_err(|error| failed(io::Error::from(error)))?;
        known.list = Some((version, Arc::clone(&list)));
        Ok(list)
    }
}

fn parse(bytes: &[u8]) -> serde_json::Result<List> {
    let containers: Vec<StoredContainer> = serde_json::from_slice(bytes)?;
    let mut list = HashMap::new();
    for container in containers {
        let Some(id) = ContainerId::parse(&container.id) else { continue };
        list.entry(id).or_insert_with(|| {
            let metadata: StoredMetadata =
                container.metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            Stored {
                name: metadata.name.or_else(|| container.names?.into_iter().next()),
                image: metadata.image_name.unwrap_or_default(),
            }
        });
    }
    Ok(Arc::new(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_once_until_it_is_another_one_and_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("containers.json");
        let id = "ab".repeat(32);
        let write = |name: &str| {
            let next = dir.path().join("next");
            std::fs::write(&next, format!(r#"[{{"id":"{id}","names":["{name}"]}}]"#)).unwrap();
            std::fs::rename(next, &file).unwrap();
        };
        let lists = ContainerLists::new(100);
        let name = || {
            let list = lists.read(&SafePath::from(&file)).ok()?;
            list.get(&ContainerId::parse(&id).unwrap())?.name.clone()
        };
        write("one");
        let first = lists.read(&SafePath::from(&file)).unwrap();
        assert!(Arc::ptr_eq(&first, &lists.read(&SafePath::from(&file)).unwrap()));
        write("two");
        assert_eq!(name().as_deref(), Some("two"));
        write(&"x".repeat(100));
        assert_eq!(name(), None);
        let error = lists.read(&SafePath::from(&file)).unwrap_err().to_string();
        assert!(error.contains("limit of 100"), "{error}");
    }

    /// As somebody who writes a list all the time wants it: each look reads it anew.
    #[test]
    fn a_list_that_changes_all_the_time_is_read_so_many_times_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("containers.json");
        let lists = ContainerLists::new(10_000);
        let began = Instant::now();
        let read = (0..1_000).filter(|number| {
            std::fs::write(&file, format!("[{}]", " ".repeat(*number))).unwrap();
            lists.read(&SafePath::from(&file)).is_ok()
        });
        let read = read.count() as u64;
        let seconds = began.elapsed().as_secs() + 1;
        assert!(read >= 20 && read <= seconds * u64::from(MOST_READS), "{read} in {seconds} s");
    }
}
