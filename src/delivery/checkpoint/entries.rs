//! The entries of the checkpoint in memory, by the slots that they have in the file, and the bytes
//! that bring one there.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::delivery::checkpoint::header::HEADER;
use crate::delivery::checkpoint::removal::time_of;
use crate::delivery::checkpoint::slot::{self, SlotCopy, COPY, SLOT};
use crate::delivery::checkpoint::slot_writes::SlotWrite;
use crate::delivery::checkpoint::{Advance, ContainerCheckpoint};
use crate::lock::lock;
use crate::runtime::id::{ContainerId, ContainerMap};

/// Entries for which there is room in memory at least, however few there are.
pub(super) const LEAST_ROOM: usize = 1024;

/// Where a container resumes, for the thread that writes it and for the one that only asks. It is
/// never locked during a write.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedPosition(Arc<Mutex<ContainerCheckpoint>>);

impl SharedPosition {
    /// Holds this one.
    pub fn new(saved: ContainerCheckpoint) -> SharedPosition {
        SharedPosition(Arc::new(Mutex::new(saved)))
    }

    /// A copy.
    pub fn get(&self) -> ContainerCheckpoint {
        *lock(&self.0)
    }

    /// Moves it.
    pub fn advance(&self, advance: &Advance) {
        for (saved, moved) in lock(&self.0).iter_mut().zip(advance) {
            if let Some(checkpoint) = moved {
                *saved = *checkpoint;
            }
        }
    }

    /// Whether they are one.
    pub fn is(&self, other: &SharedPosition) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The checkpoint of one container.
#[derive(Debug)]
pub(super) struct Entry {
    pub id: ContainerId,
    /// Of the last write; 0 if there was none.
    pub sequence: u64,
    pub saved: SharedPosition,
    /// When its container was removed.
    pub gone_since: Option<Instant>,
    /// Whether it is not in the file as it is here.
    pub is_unwritten: bool,
}

impl Entry {
    /// An entry that was never written to its slot.
    pub fn new(id: ContainerId) -> Entry {
        Entry {
            id,
            sequence: 0,
            saved: SharedPosition::default(),
            gone_since: None,
            is_unwritten: false,
        }
    }

    /// It is to be written to its slot.
    pub fn mark_unwritten(&mut self, slot: usize, unwritten: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.is_unwritten, true) {
            unwritten.push(slot);
        }
    }
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By slot; `None` if it is free.
    by_slot: Vec<Option<Box<Entry>>>,
    slots: ContainerMap<usize>,
    free: Vec<usize>,
}

impl Entries {
    /// Number of slots, free ones included.
    pub fn slot_count(&self) -> usize {
        self.by_slot.len()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Number of entries for which there is memory.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.slots.capacity()
    }

    /// All of them, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_slot.iter().flatten().map(|entry| &**entry)
    }

    /// The entry in a slot.
    pub fn at(&self, slot: usize) -> Option<&Entry> {
        self.by_slot.get(slot)?.as_deref()
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.by_slot.get_mut(slot)?.as_deref_mut()
    }

    /// The entry of a container.
    pub fn get(&self, id: &ContainerId) -> Option<&Entry> {
        self.at(*self.slots.get(id)?)
    }

    /// The slot and the entry of a container.
    pub fn get_mut(&mut self, id: &ContainerId) -> Option<(usize, &mut Entry)> {
        let slot = *self.slots.get(id)?;
        Some((slot, self.at_mut(slot)?))
    }

    /// The slot and the entry of a container: a new one in a free slot if it had none.
    pub fn get_or_new(&mut self, id: ContainerId) -> (usize, &mut Entry) {
        let slot = match self.slots.get(&id) {
            Some(slot) => *slot,
            None => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.by_slot.push(None);
                    self.by_slot.len() - 1
                });
                self.slots.insert(id, slot);
                slot
            }
        };
        let entry = self.by_slot[slot].get_or_insert_with(|| Box::new(Entry::new(id)));
        (slot, entry)
    }

    /// Adds the next slot of the file, with its entry. A power cut can leave two slots for one
    /// container: the newer one wins.
    pub fn add_slot(&mut self, entry: Option<Entry>) {
        let slot = self.by_slot.len();
        self.by_slot.push(None);
        let Some(entry) = entry else {
            return self.free.push(slot);
        };
        let known = self.get(&entry.id);
        if known.is_some_and(|known| known.sequence >= entry.sequence) {
            return self.free.push(slot);
        }
        self.remove(&entry.id);
        self.slots.insert(entry.id, slot);
        self.by_slot[slot] = Some(Box::new(entry));
    }

    /// Removes the entry of a container; its slot is free from now on. Returns the slot.
    pub fn remove(&mut self, id: &ContainerId) -> Option<usize> {
        let slot = self.slots.remove(id)?;
        self.by_slot[slot] = None;
        // The next user of the slot writes all of it.
        self.free.push(slot);
        Some(slot)
    }

    /// Returns the memory of many entries that were removed.
    pub fn shrink(&mut self) {
        if self.slots.capacity() / 8 > self.slots.len() + LEAST_ROOM {
            self.slots.shrink_to(self.slots.len() + LEAST_ROOM);
        }
    }
}

/// Adds the writes that bring an entry into the file.
pub(super) fn put_writes(slot: usize, entry: &Entry, writes: &mut Vec<SlotWrite>) {
    let sequence = entry.sequence + 1;
    let copy = slot::encode(&SlotCopy {
        sequence,
        id: entry.id,
        saved: entry.saved.get(),
        gone: entry.gone_since.map(time_of),
    });
    if sequence == 1 {
        // The slot's previous content must not outlive its container.
        return writes.extend(whole_slot(slot, copy));
    }
    let which = if sequence.is_multiple_of(2) {
        0
    } else {
        COPY as u64
    };
    let offset = slot_offset(slot) + which;
    writes.push(SlotWrite {
        offset,
        bytes: copy,
    });
}

/// Zeros in the place of the first copy, and this second one.
pub(super) fn whole_slot(slot: usize, second: [u8; COPY]) -> [SlotWrite; 2] {
    let offset = slot_offset(slot);
    let (zeros, second_offset) = ([0; COPY], offset + COPY as u64);
    [(offset, zeros), (second_offset, second)].map(|(offset, bytes)| SlotWrite { offset, bytes })
}

/// Where a slot begins in the file.
pub(super) fn slot_offset(slot: usize) -> u64 {
    (HEADER + slot * SLOT) as u64
}
