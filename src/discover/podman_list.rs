//! Podman's `containers.json`: names and images of all containers of a storage. The
//! file may be any user's, so what it takes to read it is bounded: its size (see
//! `bounded_file`), and of its entries nothing is kept but what records need.
//!
//! It is read once, not once for each of its containers: ten thousand of them would
//! take ten thousand times ten megabytes.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::docker::MetadataError;
use crate::bounded_file::{self, BoundedReadError, FileKind};
use crate::checkpoint::ContainerId;
use crate::work;

/// Lists are kept as long as their files have so many bytes together.
const KEPT_BYTES: u64 = 2 * FileKind::ContainerList.limit();
/// What Podman keeps of a container in the text `metadata`: a few hundred bytes.
const LONGEST_METADATA: usize = 1 << 20;
/// A file that changed so lately may change again without another time of change.
const SETTLED: Duration = Duration::from_secs(3);

/// What a list says of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Listed {
    /// Its name, unless there is none.
    pub name: Option<String>,
    /// Its image.
    pub image: String,
}

/// The lists that were read last, each as long as its file stays the same.
#[derive(Debug, Clone, Default)]
pub(super) struct ContainerLists {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    read: VecDeque<ContainerList>,
    /// Files that are no list, and were said to be none to one of their containers: ten
    /// thousand others need not say it again.
    refused: Vec<(PathBuf, FileStamp)>,
}

#[derive(Debug)]
struct ContainerList {
    path: PathBuf,
    stamp: FileStamp,
    containers: HashMap<ContainerId, Listed>,
}

/// A file at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileStamp {
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0));
        now.saturating_sub(changed) > SETTLED
    }
}

impl ContainerLists {
    /// What the list at `path` says of a container, if it is listed.
    pub fn find(&self, path: &Path, id: &ContainerId) -> Result<Option<Listed>, MetadataError> {
        let failed = |error: BoundedReadError| {
            if error.is_missing() {
                MetadataError::Missing { path: path.to_owned() }
            } else {
                MetadataError::Unreadable { path: path.to_owned(), reason: error.reason() }
            }
        };
        let file = bounded_file::open(path, FileKind::ContainerList).map_err(failed)?;
        let stamp = stamp_of(&file).map_err(|source| failed(BoundedReadError::at(path, source)))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { read, refused } = &mut *known;
        if refused.iter().any(|(known, seen)| known == path && *seen == stamp) {
            return Err(MetadataError::Missing { path: path.to_owned() });
        }
        refused.retain(|(known, _)| known != path);
        if let Some(list) = read.iter().find(|list| list.path == path && list.stamp == stamp) {
            let listed = list.containers.get(id);
            if listed.is_some() || stamp.is_settled() {
                return Ok(listed.cloned());
            }
        }
        read.retain(|list| list.path != path);
        let bytes = bounded_file::read_open(&file, path, FileKind::ContainerList).map_err(|error| {
            if !matches!(error, BoundedReadError::Io { .. }) {
                refused.push((path.to_owned(), stamp));
            }
            failed(error)
        })?;
        let containers = parse(&bytes).map_err(|error| MetadataError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let listed = containers.get(id).cloned();
        read.push_back(ContainerList { path: path.to_owned(), stamp, containers });
        while read.len() > 1 && read.iter().map(|list| list.stamp.size).sum::<u64>() > KEPT_BYTES {
            read.pop_front();
        }
        Ok(listed)
    }
}

fn stamp_of(file: &std::fs::File) -> io::Result<FileStamp> {
    let metadata = file.metadata()?;
    Ok(FileStamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// The containers of a list by their ids; of two entries with one id the first counts.
fn parse(bytes: &[u8]) -> Result<HashMap<ContainerId, Listed>, serde_json::Error> {
    work::add(bytes.len());
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let containers = json.deserialize_seq(Entries)?;
    json.end()?;
    Ok(containers)
}

#[derive(Deserialize)]
struct StoredContainer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    names: Option<FirstName<'a>>,
    /// JSON in a text.
    #[serde(borrow)]
    metadata: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
struct StoredMetadata<'a> {
    #[serde(rename = "image-name", borrow)]
    image_name: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// Borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl StoredContainer<'_> {
    fn listed(self) -> Listed {
        let metadata = self.metadata.as_ref().filter(|text| text.0.len() <= LONGEST_METADATA);
        let metadata: StoredMetadata<'_> =
            metadata.and_then(|text| serde_json::from_str(&text.0).ok()).unwrap_or_default();
        let first = || self.names.and_then(|names| names.0);
        Listed {
            name: metadata.name.or_else(first).map(|name| name.0.into_owned()),
            image: metadata.image_name.map(|image| image.0.into_owned()).unwrap_or_default(),
        }
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = HashMap<ContainerId, Listed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of containers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut containers = HashMap::new();
        while let Some(entry) = entries.next_element::<StoredContainer<'de>>()? {
            if let Some(id) = ContainerId::parse(&entry.id) {
                containers.entry(id).or_insert_with(|| entry.listed());
            }
        }
        Ok(containers)
    }
}

/// The first of a list of names; millions of others are passed over.
struct FirstName<'a>(Option<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for FirstName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FirstName<'a>, D::Error> {
        deserializer.deserialize_seq(Names).map(FirstName)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Option<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
        let first = names.next_element()?;
        while names.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

#[cfg(test)]
#[path = "podman_list_tests.rs"]
mod tests;
