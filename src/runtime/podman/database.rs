//! Podman's database: labels, environment, log driver and the place of the log of each container
//! of a storage, read once for all of them, and again for a container that it did not have. Which
//! of the two kinds a storage has depends on the release of Podman that created it:
//!
//! ```text
//! <storage>/db.sql                  SQLite, since Podman 4.8       (`sqlite`)
//! <storage>/libpod/db.sql           the same, where `--root` was not given
//! <storage>/libpod/bolt_state.db    BoltDB, before, and as long as it exists   (`bolt_state`)
//! ```
//!
//! Podman writes to it whenever a container changes its state, so it may be busy. No lock is
//! taken. What is known of a container is not read again: nothing of it changes but the name,
//! which is in `containers.json` too.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::Statx;

use crate::lock::lock;
use crate::runtime::bounded_reason::reason_of;
use crate::runtime::file::{describe, nanos_of, FileId};
use crate::runtime::id::ContainerId;
use crate::runtime::podman::config::Configured;
use crate::runtime::podman::{bolt_state, sqlite};
use crate::runtime::safe_path::SafePath;

/// Most databases kept.
const MOST_DATABASES: usize = 256;
/// A database is not read again before so many times the time has passed that the last read took:
/// a user who writes to one all the time has that share of the reader.
const PAUSE: u32 = 20;
/// Shortest pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// How long, and for how many reads, a database may be busy. A transaction of Podman takes
/// milliseconds, so of several reads one succeeds, however often Podman writes; a transaction that a
/// killed Podman left behind is there until the next command.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_BUSY_READS: u32 = 5;

/// Why a database is busy for longer.
const UNFINISHED: &str =
    "it has an unfinished transaction, which the next Podman command completes";

/// Reads one kind of database.
type Read = fn(&SafePath, u64, &mut dyn FnMut(&str, &str)) -> Result<(), Failure>;

/// Where the usual one is in a storage.
pub(super) const DATABASE: &str = "db.sql";
/// The kinds, by their paths in a storage.
const KINDS: [(&str, Read); 3] = [
    (DATABASE, |path, most, take| sqlite::read(path, most, take)),
    ("libpod/db.sql", |path, most, take| {
        sqlite::read(path, most, take)
    }),
    ("libpod/bolt_state.db", |path, most, take| {
        bolt_state::read(path, most, take)
    }),
];

/// Why a database was not read.
#[derive(Debug)]
pub(super) enum Failure {
    /// It does not exist.
    Missing,
    /// Podman is writing to it.
    Busy,
    /// It cannot be read.
    Unreadable(String),
}

impl Failure {
    pub(super) fn too_large(size: u64, limit: u64) -> Failure {
        Failure::Unreadable(format!(
            "it has {size} bytes, more than the limit of {limit}"
        ))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::NotFound => Failure::Missing,
            _ => Failure::Unreadable(error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Failure {
        Failure::from(io::Error::from(error))
    }
}

/// What the databases of a storage say of a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its configuration.
    Configured(Arc<Configured>),
    /// There is none.
    NoDatabase,
    /// They do not have it: it is about to be added, or not Podman's.
    Unknown,
    /// It is not known yet, since Podman is writing. Said for a bounded time.
    Busy,
    /// A database that cannot be read may have it.
    Unreadable,
}

type Containers = HashMap<ContainerId, Arc<Configured>>;
/// Device, inode and birth, size, and time of the last change.
type FileVersion = (FileId, u64, u64);
/// The version of a database, and of its log of transactions, if it has one.
type Version = (FileVersion, Option<FileVersion>);

/// What is known of one database.
#[derive(Debug)]
struct Known {
    version: Option<Version>,
    containers: Containers,
    /// Containers that were looked for and are not in it.
    lacking: HashSet<ContainerId>,
    /// Why it, or a part of it, could not be read.
    failure: Option<String>,
    /// It has been busy at each read since the last that succeeded.
    busy: Option<Busy>,
    /// When it may be read again.
    next: Instant,
}

/// A database that Podman is writing to.
#[derive(Debug, Clone, Copy)]
struct Busy {
    /// When that was found first.
    since: Instant,
    /// Until when another read continues this.
    until: Instant,
    /// How many reads found it.
    reads: u32,
}

/// A cache of what databases say.
#[derive(Debug)]
pub(super) struct Databases {
    most_bytes: u64,
    known: Mutex<HashMap<PathBuf, Known>>,
}

impl Databases {
    /// For databases of at most `most_bytes` bytes.
    pub fn new(most_bytes: u64) -> Databases {
        Databases {
            most_bytes,
            known: Mutex::default(),
        }
    }

    /// What is known of a container in `storage`.
    pub fn find(&self, storage: &SafePath, id: &ContainerId) -> Answer {
        let mut answer = Answer::NoDatabase;
        for (path, read) in kinds(storage) {
            let mut all = lock(&self.known);
            if let Some(known) = all.get(path.as_ref()) {
                if let Some(configured) = known.containers.get(id) {
                    return Answer::Configured(Arc::clone(configured));
                }
            }
            match self.refresh(&mut all, &path, read) {
                Refreshed::Missing => {}
                Refreshed::Busy => return Answer::Busy,
                Refreshed::Known(known) => match known.containers.get(id) {
                    Some(configured) => return Answer::Configured(Arc::clone(configured)),
                    None if known.failure.is_some() => answer = Answer::Unreadable,
                    None => {
                        known.lacking.insert(*id);
                        if answer == Answer::NoDatabase {
                            answer = Answer::Unknown;
                        }
                    }
                },
            }
        }
        answer
    }

    /// Those of the `listed` containers, `most` of them, that were looked for in `storage` and are
    /// in none of its databases, of which this is one. Others are forgotten: a user can make and
    /// remove any number.
    pub fn lacking(
        &self,
        storage: &SafePath,
        listed: impl Iterator<Item = ContainerId> + Clone,
        most: usize,
    ) -> Option<(SafePath, Vec<ContainerId>)> {
        let mut all = lock(&self.known);
        let mut first = None;
        for (path, _) in kinds(storage) {
            let Some(known) = all.get_mut(path.as_ref()) else {
                continue;
            };
            if known.lacking.is_empty() {
                continue;
            }
            let lacking = listed.clone().filter(|id| known.lacking.contains(id));
            let lacking: Vec<ContainerId> = lacking.collect();
            known.lacking = lacking.iter().copied().collect();
            if first.is_none() && !lacking.is_empty() {
                first = Some((path, lacking.into_iter().take(most).collect()));
            }
        }
        first
    }

    /// The databases of these storages that cannot be read, with the reasons.
    pub fn failures(&self, storages: &[SafePath]) -> Vec<(PathBuf, String)> {
        let mut seen = HashSet::new();
        let mut failures = Vec::new();
        for storage in storages
            .iter()
            .filter(|storage| seen.insert(storage.as_os_str()))
        {
            for (path, read) in kinds(storage) {
                let mut all = lock(&self.known);
                // One that could be read is read again when a container is looked for.
                let is_read = |known: &Known| {
                    known.version.is_some() && known.failure.is_none() && known.busy.is_none()
                };
                if all.get(path.as_ref()).is_some_and(is_read) {
                    continue;
                }
                if let Refreshed::Known(known) = self.refresh(&mut all, &path, read) {
                    let failure = known.failure.clone();
                    failures.extend(failure.map(|reason| (path.to_path_buf(), reason)));
                }
            }
        }
        failures
    }

    /// Reads a database if it has changed.
    fn refresh<'a>(
        &self,
        all: &'a mut HashMap<PathBuf, Known>,
        path: &SafePath,
        read: Read,
    ) -> Refreshed<'a> {
        let now = Instant::now();
        let new = || Known::new(now);
        let is_paused = |known: &Known| known.busy.is_some() && now < known.next;
        // A user may have a thousand containers in it.
        if all.get(path.as_ref()).is_some_and(is_paused) {
            let known = all.entry(path.to_path_buf()).or_insert_with(new);
            return known.stay_busy(now);
        }
        // Taken before the read, so a change during the read causes another one next time.
        let version = match path.stat() {
            Ok(stat) => {
                let log = sqlite::beside(path, sqlite::LOG).stat().ok();
                Some((version_of(&stat), log.as_ref().map(version_of)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                all.remove(path.as_ref());
                return Refreshed::Missing;
            }
            // The read fails too, and says why.
            Err(_) => None,
        };
        make_room(all, path);
        let known = all.entry(path.to_path_buf()).or_insert_with(new);
        if known.version.is_some() && known.version == version {
            return Refreshed::Known(known);
        }
        if now < known.next {
            return known.stay_busy(now);
        }
        let mut containers = Containers::new();
        let mut failure = None;
        let mut take = |id: &str, json: &str| {
            let Some(id) = ContainerId::parse(id) else {
                return;
            };
            match Configured::parse(json) {
                Ok(configured) => drop(containers.insert(id, Arc::new(configured))),
                Err(error) => {
                    failure = Some(format!("container {}: {}", id.short(), reason_of(&error)));
                }
            }
        };
        let result = read(path, self.most_bytes, &mut take);
        let ended = Instant::now();
        known.next = ended + SHORTEST_PAUSE.max(PAUSE * ended.duration_since(now));
        match result {
            Ok(()) => {}
            Err(Failure::Busy) => return known.be_busy(now),
            Err(Failure::Missing) => {
                *known = Known::new(now);
                return Refreshed::Missing;
            }
            Err(Failure::Unreadable(reason)) => failure = Some(reason),
        }
        (known.version, known.containers) = (version, containers);
        known.lacking.clear();
        (known.failure, known.busy) = (failure, None);
        Refreshed::Known(known)
    }
}

enum Refreshed<'a> {
    Missing,
    Busy,
    Known(&'a mut Known),
}

impl Known {
    fn new(now: Instant) -> Known {
        Known {
            version: None,
            containers: Containers::new(),
            lacking: HashSet::new(),
            failure: None,
            busy: None,
            next: now,
        }
    }

    /// Podman is writing.
    fn be_busy(&mut self, now: Instant) -> Refreshed<'_> {
        // One that nobody asked for in the meantime was not busy all the time.
        let before = self.busy.filter(|busy| now < busy.until);
        self.busy = Some(Busy {
            since: before.map_or(now, |busy| busy.since),
            until: self.next + PATIENCE,
            reads: before.map_or(0, |busy| busy.reads) + 1,
        });
        self.stay_busy(now)
    }

    /// It is not read now; what is known of an earlier version still holds.
    fn stay_busy(&mut self, now: Instant) -> Refreshed<'_> {
        let is_over = |busy: &Busy| {
            now.duration_since(busy.since) >= PATIENCE && busy.reads >= MOST_BUSY_READS
        };
        if !self.busy.as_ref().is_some_and(is_over) {
            return Refreshed::Busy;
        }
        self.failure = Some(UNFINISHED.to_owned());
        Refreshed::Known(self)
    }
}

fn version_of(stat: &Statx) -> FileVersion {
    let (id, size) = describe(stat);
    (id, size, nanos_of(stat.stx_ctime))
}

/// The databases that a storage may have.
fn kinds(storage: &SafePath) -> impl Iterator<Item = (SafePath, Read)> + '_ {
    KINDS.iter().map(|(path, read)| (storage.join(path), *read))
}

/// Evicts the oldest database if another one has no room.
fn make_room(all: &mut HashMap<PathBuf, Known>, path: &Path) {
    if all.len() < MOST_DATABASES || all.contains_key(path) {
        return;
    }
    let oldest = all
        .iter()
        .min_by_key(|(_, known)| known.next)
        .map(|(path, _)| path.clone());
    oldest.and_then(|oldest| all.remove(&oldest));
}

#[cfg(test)]
mod tests;
