//! The checkpoint file (`DB`): a header and one slot per container, rewritten
//! in place by a single `pwrite` at each acknowledgement.
//!
//! Why not a log or a database: an acknowledgement costs one system call of
//! 256 bytes, the file never grows with time, a disk that becomes full does
//! not stop it, and there is nothing to compact. A killed process loses
//! nothing (the page cache has it); a power cut can lose the last seconds,
//! which repeats records and loses none, as each slot holds two checked copies
//! (see `slot`).

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{flock, FlockOperation};
use xxhash_rust::xxh3::xxh3_64;

use super::slot::{self, SlotCopy, SlotState, SLOT};
use super::{Advance, ContainerId, Resume, Saved};

const MAGIC: &[u8; 16] = b"container_logs\0\x01";
const VERSION: u32 = 1;
/// The header has a page of its own.
const HEADER: usize = 4096;
/// Bytes of the header that are used: magic, version, slot size, hash.
const HEADER_USED: usize = 32;

/// Behind them, once the first look at the containers is done.
const STARTED: [u8; 4] = *b"done";

/// How long the entry of a container that is gone is kept: a Docker root that
/// was unmounted for a moment comes back with all its containers.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// How often a lock that another holds is asked for again, and how long after.
/// A program that the host starts shares our lock from its fork to its exec, so
/// it can outlive for a moment the instance that a hot reload has ended.
const LOCK_TRIES: usize = 50;
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a checkpoint cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system said no.
    #[error("DB {}: {source}{}", path.display(), hint(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another instance holds it.
    #[error("DB {} is in use by another instance; give each container_logs input a DB of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// A checkpoint that was opened, and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The store, ready for use.
    pub store: CheckpointStore,
    /// Whether no start came before this one: there was no file.
    pub is_first_start: bool,
    /// What was wrong with the file that was there, and where it is now.
    pub set_aside: Option<(String, PathBuf)>,
    /// Entries of which no copy was whole.
    pub damaged_entries: usize,
}

#[derive(Debug)]
struct Entry {
    slot: usize,
    sequence: u64,
    saved: Saved,
    /// Since when its container is gone.
    gone_since: Option<Instant>,
    /// Not yet in the file, because a write failed.
    is_dirty: bool,
}

/// The positions of all containers; with a file behind them or without.
#[derive(Debug)]
pub struct CheckpointStore {
    file: Option<File>,
    entries: HashMap<ContainerId, Entry>,
    /// Containers that went, and when, in that order; some have come back.
    gone: VecDeque<(Instant, ContainerId)>,
    free_slots: Vec<usize>,
    slot_count: usize,
    dirty: usize,
}

impl CheckpointStore {
    /// Positions that live as long as this value.
    pub fn in_memory() -> CheckpointStore {
        CheckpointStore {
            file: None,
            entries: HashMap::new(),
            gone: VecDeque::new(),
            free_slots: Vec::new(),
            slot_count: 0,
            dirty: 0,
        }
    }

    /// Opens or creates the file and takes its lock. A file that is not a
    /// whole checkpoint of this version is renamed, never overwritten.
    pub fn open(path: &Path) -> Result<Opened, CheckpointError> {
        let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
        let mut set_aside = None;
        let existing = match open_when_let_go(path, || std::thread::sleep(LOCK_PAUSE)) {
            Ok(file) => Some(file),
            Err(LockError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.at(path)),
        };
        let is_first_start = existing.is_none();
        if let Some(file) = existing {
            match read_all(&file).map_err(failed)? {
                Ok(bytes) => {
                    // A start that ended before its first look does not count.
                    let is_first_start = bytes.get(HEADER_USED..HEADER_USED + 4) != Some(&STARTED);
                    let (store, damaged_entries) = CheckpointStore::load(file, &bytes);
                    return Ok(Opened { store, is_first_start, set_aside, damaged_entries });
                }
                Err(problem) => {
                    let aside = aside_name(path);
                    std::fs::rename(path, &aside).map_err(failed)?;
                    set_aside = Some((problem, aside));
                }
            }
        }
        let file = open_locked(path, true).map_err(|error| error.at(path))?;
        if let Err(error) = file.write_all_at(&header(), 0).and_then(|()| file.sync_all()) {
            // Half a file would be set aside by the next start, as if there had been positions.
            let _ = std::fs::remove_file(path);
            return Err(failed(error));
        }
        let store = CheckpointStore { file: Some(file), ..CheckpointStore::in_memory() };
        Ok(Opened { store, is_first_start, set_aside, damaged_entries: 0 })
    }

    pub(super) fn load(file: File, bytes: &[u8]) -> (CheckpointStore, usize) {
        let mut store = CheckpointStore { file: Some(file), ..CheckpointStore::in_memory() };
        let mut damaged = 0;
        let slots = bytes.get(HEADER..).unwrap_or_default();
        for (number, chunk) in slots.chunks(SLOT).enumerate() {
            store.slot_count = number + 1;
            match slot::decode(chunk) {
                SlotState::Free => store.free_slots.push(number),
                SlotState::Damaged => {
                    damaged += 1;
                    store.free_slots.push(number);
                }
                SlotState::Used(SlotCopy { sequence, id, saved }) => {
                    let entry = Entry { slot: number, sequence, saved, gone_since: None, is_dirty: false };
                    store.insert_newer(id, entry);
                }
            }
        }
        (store, damaged)
    }

    /// A power cut can leave two slots of one container: the newer one counts.
    fn insert_newer(&mut self, id: ContainerId, entry: Entry) {
        let older = match self.entries.get(&id) {
            Some(known) if known.sequence >= entry.sequence => Some(entry),
            _ => self.entries.insert(id, entry),
        };
        self.free_slots.extend(older.map(|older| older.slot));
    }

    /// What is known of a container that is there: it is no longer to be
    /// forgotten.
    pub fn take_up(&mut self, id: &ContainerId) -> Option<Saved> {
        let entry = self.entries.get_mut(id)?;
        entry.gone_since = None;
        Some(entry.saved)
    }

    /// The first look at the containers is done and accepted.
    pub fn mark_started(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.write_all_at(&STARTED, HEADER_USED as u64),
            None => Ok(()),
        }
    }

    /// What is known of a container.
    pub fn saved(&self, id: &ContainerId) -> Option<Saved> {
        self.entries.get(id).map(|entry| entry.saved)
    }

    /// All containers that have an entry and are not marked as gone.
    pub fn containers(&self) -> Vec<ContainerId> {
        self.entries.iter().filter(|(_, entry)| entry.gone_since.is_none()).map(|(id, _)| *id).collect()
    }

    /// Moves a container's positions. An error leaves them in memory; the next
    /// success writes all that is missing in the file.
    pub fn advance(&mut self, id: ContainerId, advance: &Advance) -> io::Result<()> {
        let entry = match self.entries.get_mut(&id) {
            Some(entry) => entry,
            None => {
                let slot = self.free_slots.pop().unwrap_or(self.slot_count);
                self.slot_count = self.slot_count.max(slot + 1);
                let entry =
                    Entry { slot, sequence: 0, saved: Saved::default(), gone_since: None, is_dirty: false };
                self.entries.entry(id).or_insert(entry)
            }
        };
        for (saved, moved) in entry.saved.iter_mut().zip(advance) {
            if let Some(resume) = moved {
                *saved = *resume;
            }
        }
        entry.gone_since = None;
        let Some(file) = &self.file else { return Ok(()) };
        let written = write_entry(file, id, entry);
        if entry.is_dirty != written.is_err() {
            entry.is_dirty = written.is_err();
            self.dirty = if entry.is_dirty { self.dirty + 1 } else { self.dirty - 1 };
        }
        written?;
        self.write_dirty()
    }

    fn write_dirty(&mut self) -> io::Result<()> {
        if self.dirty == 0 {
            return Ok(());
        }
        let Some(file) = &self.file else { return Ok(()) };
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.is_dirty) {
            write_entry(file, *id, entry)?;
            entry.is_dirty = false;
            self.dirty -= 1;
        }
        Ok(())
    }

    /// The container is gone for good; its entry goes some time later.
    pub fn forget(&mut self, id: &ContainerId, now: Instant) -> io::Result<()> {
        if let Some(entry) = self.entries.get_mut(id) {
            if entry.gone_since.is_none() {
                entry.gone_since = Some(now);
                self.gone.push_back((now, *id));
            }
        }
        while let Some((since, id)) = self.gone.front().copied() {
            if now.duration_since(since) < FORGET_AFTER {
                break;
            }
            self.gone.pop_front();
            // It may have come back, and gone again since.
            let is_gone = self.entries.get(&id).is_some_and(|entry| entry.gone_since == Some(since));
            let Some(entry) = is_gone.then(|| self.entries.remove(&id)).flatten() else { continue };
            if entry.is_dirty {
                self.dirty -= 1;
            }
            // Who uses it next writes all of it.
            self.free_slots.push(entry.slot);
            if let Some(file) = &self.file {
                file.write_all_at(&[0; SLOT], slot_offset(entry.slot))?;
            }
        }
        Ok(())
    }

    /// Makes what was written survive a power cut. Slow; for a clean exit.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

fn write_entry(file: &File, id: ContainerId, entry: &mut Entry) -> io::Result<()> {
    let sequence = entry.sequence + 1;
    let copy = slot::encode(&SlotCopy { sequence, id, saved: entry.saved });
    if sequence == 1 {
        // What the slot held before must not outlive its container.
        let mut slot = [0; SLOT];
        slot[slot::COPY..].copy_from_slice(&copy);
        file.write_all_at(&slot, slot_offset(entry.slot))?;
    } else {
        let which = if sequence.is_multiple_of(2) { 0 } else { slot::COPY as u64 };
        file.write_all_at(&copy, slot_offset(entry.slot) + which)?;
    }
    // A write that failed is tried again in the same place: the other copy may
    // be the only whole one.
    entry.sequence = sequence;
    Ok(())
}

fn slot_offset(slot: usize) -> u64 {
    (HEADER + slot * SLOT) as u64
}

fn header() -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..20].copy_from_slice(&VERSION.to_le_bytes());
    bytes[20..24].copy_from_slice(&(SLOT as u32).to_le_bytes());
    let hash = xxh3_64(&bytes[..24]);
    bytes[24..HEADER_USED].copy_from_slice(&hash.to_le_bytes());
    bytes
}

/// The file's bytes, or what is wrong with them.
pub(super) fn read_all(mut file: &File) -> io::Result<Result<Vec<u8>, String>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(check_header(&bytes).map(|()| bytes))
}

fn check_header(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.iter().take(HEADER).all(|byte| *byte == 0) {
        return Err("its head is all NUL bytes".to_owned());
    }
    if !bytes.starts_with(&MAGIC[..14]) {
        return Err("it is no checkpoint of container_logs".to_owned());
    }
    let Some(found) = bytes.get(..HEADER) else {
        return Err("it is torn".to_owned());
    };
    if found[..HEADER_USED] != header()[..HEADER_USED] {
        let version = found.get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        return Err(if version == VERSION {
            "its header is damaged".to_owned()
        } else {
            format!("it has version {version}, this is {VERSION}")
        });
    }
    Ok(())
}

pub(super) enum LockError {
    Io(io::Error),
    InUse,
}

/// The file itself is made, so it can only be its folder.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; its folder does not exist (mkdir -p)",
        _ => "",
    }
}

impl LockError {
    pub(super) fn at(self, path: &Path) -> CheckpointError {
        match self {
            LockError::Io(source) => CheckpointError::Io { path: path.to_owned(), source },
            LockError::InUse => CheckpointError::InUse { path: path.to_owned() },
        }
    }
}

/// Opens the file that is there and locks it, after a while if another has it.
/// It is opened anew each time: who had it may have set it aside.
pub(super) fn open_when_let_go(path: &Path, mut pause: impl FnMut()) -> Result<File, LockError> {
    for _ in 1..LOCK_TRIES {
        match open_locked(path, false) {
            Err(LockError::InUse) => pause(),
            opened_or_failed => return opened_or_failed,
        }
    }
    open_locked(path, false)
}

/// Opens the file and locks it for as long as it is open. With `create`, it
/// must not exist yet.
fn open_locked(path: &Path, create: bool) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create).mode(0o600);
    let file = options.open(path).map_err(|error| {
        // Two instances that create it at once: one of them comes second.
        if create && error.kind() == io::ErrorKind::AlreadyExists {
            LockError::InUse
        } else {
            LockError::Io(error)
        }
    })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse),
        Err(error) => Err(LockError::Io(error.into())),
    }
}

/// `NAME.set-aside-SECONDS`, or with a number behind it where that exists.
fn aside_name(path: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let name = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".set-aside-{seconds}{suffix}"));
        PathBuf::from(name)
    };
    let plain = name(String::new());
    if !plain.exists() {
        return plain;
    }
    (1..).map(|number: u32| name(format!("-{number}"))).find(|path| !path.exists()).unwrap_or(plain)
}

/// A position at the start of nothing, for a container whose log is empty.
impl Resume {
    /// Whether it says nothing about a file.
    pub fn has_no_file(&self) -> bool {
        self.fingerprint.length == 0 && self.birth == 0 && self.inode == 0
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
