//! The checkpoint file (`DB`): a header and one slot per container, rewritten in place on each
//! acknowledgement, by a single `pwrite` for all containers that are close together in it.
//!
//! Why not a log or a database: an acknowledgement costs one system call, the file does not
//! grow over time, a full disk does not stop it, and nothing needs compaction. A
//! killed process loses nothing, because the page cache has it. A power cut can lose the last
//! seconds, which duplicates records but loses none, since each slot holds two checksummed
//! copies (see `slot`).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::delivery::checkpoint::db_file::{
    create_locked, open_when_unlocked, Access, CheckpointError, OpenError, LOCK_PAUSE,
};
use crate::delivery::checkpoint::entries::{
    put_writes, slot_offset, whole_slot, Entries, Entry, SharedPosition,
};
use crate::delivery::checkpoint::header::{self, HEADER_USED};
use crate::delivery::checkpoint::removal::{instant_of, FORGET_AFTER};
use crate::delivery::checkpoint::slot::{SlotState, COPY, SLOT};
use crate::delivery::checkpoint::slot_writes::{self, near_groups};
use crate::delivery::checkpoint::{db_file, slot, Advance, ContainerCheckpoint, FirstStart};
use crate::format::position::Timestamp;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::wall_clock;

/// Number of slots read or cleared at once.
const SLOTS_AT_ONCE: usize = 128;
/// Entries of one acknowledgement that may fail before the others are not tried: a disk on which
/// everything fails may take long to say so.
const MOST_FAILURES: usize = 4;

/// An opened checkpoint, and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The store, ready for use.
    pub store: CheckpointStore,
    /// When the first start was: now, if there was no file.
    pub first_start: FirstStart,
    /// What was wrong with the existing file, and where it was moved.
    pub set_aside: Option<(String, PathBuf)>,
    /// Number of entries without a valid copy.
    pub damaged_entries: usize,
}

impl Opened {
    fn empty(first_start: FirstStart) -> Opened {
        let mut store = CheckpointStore::in_memory();
        if let FirstStart::Now(time) = first_start {
            store.begun = Some(time);
        }
        Opened {
            store,
            first_start,
            set_aside: None,
            damaged_entries: 0,
        }
    }
}

/// The checkpoints of all containers, with or without a file.
#[derive(Debug)]
pub struct CheckpointStore {
    file: Option<File>,
    entries: Entries,
    /// Removed containers and when they were removed, in that order. Some have come back
    /// since.
    gone: VecDeque<(Instant, ContainerId)>,
    /// Slots whose entries are not in the file as they are here, each once.
    unwritten: Vec<usize>,
    /// For [`slot_writes::write`].
    span: Vec<u8>,
    /// The time of this start, if it is the first.
    begun: Option<Timestamp>,
    /// Whether the file says that the initial scan is done.
    is_marked: bool,
}

impl CheckpointStore {
    /// A store without a file; its content is lost with it.
    pub fn in_memory() -> CheckpointStore {
        CheckpointStore {
            file: None,
            entries: Entries::default(),
            gone: VecDeque::new(),
            unwritten: Vec::new(),
            span: Vec::new(),
            begun: None,
            is_marked: false,
        }
    }

    /// Opens or creates the file and locks it. A damaged checkpoint, or one of another
    /// version, is renamed, never overwritten; a file that is not ours is an error and is left
    /// untouched.
    pub fn open(path: &Path) -> Result<Opened, CheckpointError> {
        let failed = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let existing =
            match open_when_unlocked(path, Access::Write, || std::thread::sleep(LOCK_PAUSE)) {
                Ok(file) => Some(file),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.at(path)),
            };
        let first_start = match existing {
            Some(_) => FirstStart::Earlier(None),
            None => FirstStart::Now(wall_clock()),
        };
        let mut set_aside = None;
        if let Some(file) = existing {
            match CheckpointStore::load(file).map_err(|error| error.at(path))? {
                Ok(opened) => return Ok(opened),
                Err(problem) => {
                    set_aside = Some((problem, db_file::set_aside(path).map_err(failed)?));
                }
            }
        }
        let mut opened = Opened::empty(first_start);
        let file = create_locked(path).map_err(|error| error.at(path))?;
        if let Err(error) = file
            .write_all_at(&header::page(opened.store.begun), 0)
            .and_then(|()| file.sync_all())
        {
            // The next start would set a partial file aside, as if checkpoints had been lost.
            let _ = std::fs::remove_file(path);
            return Err(failed(error));
        }
        opened.store.file = Some(file);
        Ok(Opened {
            set_aside,
            ..opened
        })
    }

    /// Reads the checkpoints from a file that another process may be writing, and keeps later
    /// changes in memory only: creates, locks, renames and writes nothing. The second value
    /// says why there are no checkpoints.
    pub fn open_read_only(path: &Path) -> Result<(Opened, Option<String>), CheckpointError> {
        let nothing = |problem: String, first_start| (Opened::empty(first_start), Some(problem));
        let file = match db_file::open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => {
                let first_start = FirstStart::Now(wall_clock());
                return Ok(nothing("the file does not exist".to_owned(), first_start));
            }
            Err(error) => return Err(error.at(path)),
        };
        match CheckpointStore::load(file).map_err(|error| error.at(path))? {
            Ok(mut opened) => {
                opened.store.file = None;
                Ok((opened, None))
            }
            Err(problem) => Ok(nothing(problem, FirstStart::Earlier(None))),
        }
    }

    /// Returns the checkpoints in a file of ours, or what is wrong with the file as a whole.
    /// Reads `SLOTS_AT_ONCE` slots at a time.
    pub(crate) fn load(file: File) -> Result<Result<Opened, String>, OpenError> {
        let head = db_file::head(&file)?;
        if let Err(problem) = header::check(&head) {
            return Ok(Err(problem));
        }
        if db_file::is_oversized(&file)? {
            return Ok(Err("it is too large for a checkpoint".to_owned()));
        }
        let is_marked = header::is_started(&head);
        let (begun, now) = (header::first_start(&head), wall_clock());
        let mut opened = Opened::empty(match is_marked {
            true => FirstStart::Earlier(begun),
            // A start that ended before its initial scan is still under way, from its time on. One
            // in the future is from a clock that was set back since.
            false => FirstStart::Now(begun.filter(|begun| *begun <= now).unwrap_or(now)),
        });
        let store = &mut opened.store;
        store.is_marked = is_marked;
        let mut piece = vec![0; SLOTS_AT_ONCE * SLOT];
        loop {
            let length =
                db_file::read_at(&file, &mut piece, slot_offset(store.entries.slot_count()))?;
            for slot in piece.get(..length).unwrap_or_default().chunks(SLOT) {
                opened.damaged_entries += usize::from(store.add_slot(slot));
            }
            if length < piece.len() {
                break;
            }
        }
        let entries = store.entries.iter();
        let gone = entries.filter_map(|entry| Some((entry.gone_since?, entry.id)));
        store.gone = gone.collect();
        store.gone.make_contiguous().sort_unstable();
        store.file = Some(file);
        Ok(Ok(opened))
    }

    /// Adds the next slot of the file. Returns whether it is damaged.
    fn add_slot(&mut self, bytes: &[u8]) -> bool {
        let state = slot::decode(bytes);
        let is_damaged = state == SlotState::Damaged;
        self.entries.add_slot(match state {
            SlotState::Free | SlotState::Damaged => None,
            SlotState::Used(copy) => Some(Entry {
                sequence: copy.sequence,
                saved: SharedPosition::new(copy.saved),
                gone_since: copy.gone.map(instant_of),
                ..Entry::new(copy.id)
            }),
        });
        is_damaged
    }

    /// Returns the checkpoint of a container that exists and cancels its removal.
    pub fn take_up(&mut self, id: &ContainerId) -> Option<ContainerCheckpoint> {
        let (_, entry) = self.entries.get_mut(id)?;
        entry.gone_since = None;
        Some(entry.saved.get())
    }

    /// Records that the initial scan of containers is done and accepted, once. Returns whether
    /// anything was written.
    pub fn mark_started(&mut self) -> io::Result<bool> {
        let Some(file) = self.file.as_ref().filter(|_| !self.is_marked) else {
            return Ok(false);
        };
        file.write_all_at(&header::mark(self.begun), HEADER_USED as u64)?;
        self.is_marked = true;
        Ok(true)
    }

    /// The checkpoint of a container.
    pub fn saved(&self, id: &ContainerId) -> Option<ContainerCheckpoint> {
        self.entries.get(id).map(|entry| entry.saved.get())
    }

    /// The position of a container, as it is from now on.
    pub(super) fn position(&self, id: &ContainerId) -> Option<&SharedPosition> {
        self.entries.get(id).map(|entry| &entry.saved)
    }

    /// Number of containers with an entry.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of entries for which there is memory.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.entries.room()
    }

    /// All containers that have an entry, and whether they are marked as removed.
    pub fn all(&self) -> impl Iterator<Item = (ContainerId, bool)> + '_ {
        let entries = self.entries.iter();
        entries.map(|entry| (entry.id, entry.gone_since.is_some()))
    }

    /// All containers that have an entry and are not marked as removed.
    pub fn containers(&self) -> Vec<ContainerId> {
        let all = self.all();
        all.filter_map(|(id, is_gone)| (!is_gone).then_some(id))
            .collect()
    }

    /// Advances a container's stream checkpoints and writes them; see
    /// [`CheckpointStore::write_advanced`].
    pub fn advance(&mut self, id: ContainerId, advance: &Advance) -> io::Result<bool> {
        self.advance_unwritten(id, advance);
        self.write_advanced()
    }

    /// Advances a container's stream checkpoints in memory; returns where they are.
    pub(super) fn advance_unwritten(
        &mut self,
        id: ContainerId,
        advance: &Advance,
    ) -> &SharedPosition {
        let (slot, entry) = self.entries.get_or_new(id);
        entry.saved.advance(advance);
        entry.gone_since = None;
        entry.mark_unwritten(slot, &mut self.unwritten);
        &entry.saved
    }

    /// Writes what was advanced. What cannot be written is kept in memory and tried again with
    /// every later write, and keeps no other from being written unless many fail. Returns whether
    /// anything was to be written.
    pub fn write_advanced(&mut self) -> io::Result<bool> {
        let mut slots = std::mem::take(&mut self.unwritten);
        slots.sort_unstable();
        let has_any = !slots.is_empty() && self.file.is_some();
        let (mut failures, mut result) = (0, Ok(has_any));
        'groups: for near in near_groups(&slots) {
            if self.write_near(near).is_ok() {
                continue;
            }
            // It may be one of them that cannot be written.
            for alone in near.chunks(1) {
                if let Err(error) = self.write_near(alone) {
                    result = Err(error);
                    failures += 1;
                }
                if failures == MOST_FAILURES {
                    break 'groups;
                }
            }
        }
        let is_unwritten = |slot: &usize| self.entries.at(*slot).is_some_and(|at| at.is_unwritten);
        slots.retain(is_unwritten);
        self.unwritten = slots;
        result
    }

    /// Writes the entries of slots that go in one call.
    fn write_near(&mut self, slots: &[usize]) -> io::Result<()> {
        if let Some(file) = &self.file {
            let mut writes = Vec::with_capacity(slots.len());
            for slot in slots {
                if let Some(entry) = self.entries.at(*slot) {
                    put_writes(*slot, entry, &mut writes);
                }
            }
            slot_writes::write(file, &writes, &mut self.span)?;
        }
        for slot in slots {
            if let Some(entry) = self.entries.at_mut(*slot) {
                // A failed write leaves the sequence unchanged, so it is retried in the same
                // place: the other copy may be the only valid one.
                entry.sequence += 1;
                entry.is_unwritten = false;
            }
        }
        Ok(())
    }

    /// Marks a container as removed; its entry is deleted `FORGET_AFTER` later, by a later
    /// call. Returns whether anything was written.
    pub fn forget(&mut self, id: &ContainerId, now: Instant) -> io::Result<bool> {
        let mut written = Ok(false);
        let known = self.entries.get_mut(id);
        if let Some((slot, entry)) = known.filter(|(_, entry)| entry.gone_since.is_none()) {
            entry.gone_since = Some(now);
            self.gone.push_back((now, *id));
            entry.mark_unwritten(slot, &mut self.unwritten);
            // The next start knows then that nothing of it is missing.
            written = self.write_advanced();
        }
        let mut freed = Vec::new();
        while let Some((since, id)) = self.gone.front().copied() {
            if now.duration_since(since) < FORGET_AFTER {
                break;
            }
            self.gone.pop_front();
            // It may have come back and been removed again since.
            let is_gone = |entry: &Entry| entry.gone_since == Some(since);
            if self.entries.get(&id).is_some_and(is_gone) {
                freed.extend(self.entries.remove(&id));
            }
        }
        let cleared = self.clear(&mut freed);
        self.entries.shrink();
        Ok(written? | cleared?)
    }

    /// Writes zeros into these slots. Returns whether there were any.
    fn clear(&mut self, slots: &mut [usize]) -> io::Result<bool> {
        let Some(file) = self.file.as_ref().filter(|_| !slots.is_empty()) else {
            return Ok(false);
        };
        self.unwritten
            .retain(|slot| self.entries.at(*slot).is_some());
        slots.sort_unstable();
        for near in near_groups(slots) {
            let zeros = near.iter().flat_map(|slot| whole_slot(*slot, [0; COPY]));
            slot_writes::write(file, &zeros.collect::<Vec<_>>(), &mut self.span)?;
        }
        Ok(true)
    }

    /// Makes earlier writes survive a power cut. Slow; for a clean exit.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

#[cfg(test)]
mod tests;
