//! The checkpoint shared by two threads. The host's thread advances it, which writes to the
//! file and may take as long as the disk does. The reader must not wait for that: it queries a
//! view in memory whose lock is never held during a write.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::time::Instant;

use crate::delivery::checkpoint::entries::{SharedPosition, LEAST_ROOM};
use crate::delivery::checkpoint::{Advance, CheckpointStore, ContainerCheckpoint};
use crate::lock::lock;
use crate::runtime::id::{ContainerId, ContainerMap};

/// Forgotten containers that the view may keep, on top of an eighth of the store's number of entries.
const MOST_FORGOTTEN: usize = 64;

/// The checkpoints of all containers.
#[derive(Debug)]
pub struct SharedCheckpoint {
    /// For the host's thread, which holds the lock while it writes.
    store: Mutex<CheckpointStore>,
    view: Mutex<View>,
}

/// What the reader queries.
#[derive(Debug, Default)]
struct View {
    saved: ContainerMap<SharedPosition>,
    gone: HashSet<ContainerId>,
    /// Containers taken up by the reader; applied to the store before its next change.
    taken_up: Vec<ContainerId>,
}

impl View {
    /// A container has this checkpoint now.
    fn note(&mut self, id: ContainerId, saved: &SharedPosition) {
        let is_known = self.saved.get(&id).is_some_and(|known| known.is(saved));
        if !is_known {
            self.saved.insert(id, saved.clone());
        }
    }
}

impl SharedCheckpoint {
    /// Shares `store`.
    pub fn new(store: CheckpointStore) -> SharedCheckpoint {
        let mut view = View::default();
        for (id, is_gone) in store.all() {
            if let Some(saved) = store.position(&id) {
                view.note(id, saved);
            }
            view.gone.extend(is_gone.then_some(id));
        }
        SharedCheckpoint {
            store: Mutex::new(store),
            view: Mutex::new(view),
        }
    }

    /// Returns the checkpoint of a container that exists and cancels its removal. Never waits
    /// for the disk.
    pub fn take_up(&self, id: &ContainerId) -> Option<ContainerCheckpoint> {
        let mut view = lock(&self.view);
        let saved = view.saved.get(id)?.get();
        if view.gone.remove(id) {
            view.taken_up.push(*id);
        }
        Some(saved)
    }

    /// All containers that have a checkpoint and are not removed. Never waits for the disk.
    pub fn containers(&self) -> Vec<ContainerId> {
        let view = lock(&self.view);
        view.saved
            .keys()
            .filter(|id| !view.gone.contains(*id))
            .copied()
            .collect()
    }

    /// The checkpoint of a container.
    pub fn saved(&self, id: &ContainerId) -> Option<ContainerCheckpoint> {
        lock(&self.view).saved.get(id).map(SharedPosition::get)
    }

    /// Advances a container's stream checkpoints and writes them.
    pub fn advance(&self, id: ContainerId, advance: &Advance) -> io::Result<bool> {
        self.advance_all(&[(id, advance)])
    }

    /// Advances the stream checkpoints of several containers, in this order, and writes them at
    /// once; see [`CheckpointStore::write_advanced`].
    pub fn advance_all(&self, advances: &[(ContainerId, &Advance)]) -> io::Result<bool> {
        let mut store = lock(&self.store);
        self.hear_of_taken_up(&mut store);
        let mut view = lock(&self.view);
        for (id, advance) in advances {
            view.note(*id, store.advance_unwritten(*id, advance));
            if !view.gone.is_empty() {
                view.gone.remove(id);
            }
        }
        drop(view);
        store.write_advanced()
    }

    /// Marks a container as removed; see [`CheckpointStore::forget`].
    pub fn forget(&self, id: &ContainerId, now: Instant) -> io::Result<bool> {
        let mut store = lock(&self.store);
        self.hear_of_taken_up(&mut store);
        let written = store.forget(id, now);
        let mut view = lock(&self.view);
        if view.saved.contains_key(id) {
            view.gone.insert(*id);
        }
        let known = store.len();
        if view.saved.len() > known + known / 8 + MOST_FORGOTTEN {
            view.saved.retain(|id, _| store.saved(id).is_some());
            view.gone.retain(|id| store.saved(id).is_some());
            if view.saved.capacity() / 8 > known + LEAST_ROOM {
                view.saved.shrink_to(known + LEAST_ROOM);
                view.gone.shrink_to(LEAST_ROOM);
            }
        }
        written
    }

    fn hear_of_taken_up(&self, store: &mut CheckpointStore) {
        for id in std::mem::take(&mut lock(&self.view).taken_up) {
            store.take_up(&id);
        }
    }

    /// Records that the initial scan of containers is done and accepted; see
    /// [`CheckpointStore::mark_started`].
    pub fn mark_started(&self) -> io::Result<bool> {
        lock(&self.store).mark_started()
    }

    /// Makes earlier writes survive a power cut and closes the file, which releases it for the
    /// next instance: after a hot reload, that is us.
    pub fn close(&self) -> io::Result<()> {
        let mut store = lock(&self.store);
        let synced = store.sync();
        *store = CheckpointStore::in_memory();
        synced
    }

    /// Poisons the locks as a panic of the host's thread would.
    #[cfg(test)]
    pub fn poison(&self) {
        crate::lock::poison(&self.store);
        crate::lock::poison(&self.view);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::checkpoint::StreamCheckpoint;

    fn id(number: u16) -> ContainerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        ContainerId::from_bytes(bytes)
    }

    fn advance_to(offset: u64) -> Advance {
        [
            Some(StreamCheckpoint {
                offset,
                ..StreamCheckpoint::default()
            }),
            None,
        ]
    }

    fn offset(saved: Option<ContainerCheckpoint>) -> Option<u64> {
        saved.map(|saved| saved[0].offset)
    }

    /// The store's lock is held, as while a disk does not respond.
    #[test]
    fn the_reader_waits_for_no_write() {
        let shared = SharedCheckpoint::new(CheckpointStore::in_memory());
        shared.advance(id(1), &advance_to(7)).unwrap();
        let _writing = lock(&shared.store);
        assert_eq!(offset(shared.take_up(&id(1))), Some(7));
        assert_eq!(shared.containers(), [id(1)]);
        assert_eq!(shared.take_up(&id(2)), None);
    }

    #[test]
    fn the_view_is_what_the_store_knows() {
        let mut store = CheckpointStore::in_memory();
        store.advance(id(1), &advance_to(7)).unwrap();
        let shared = SharedCheckpoint::new(store);
        assert_eq!(offset(shared.saved(&id(1))), Some(7));
        shared.advance(id(1), &advance_to(9)).unwrap();
        shared.advance(id(1), &[None, None]).unwrap();
        assert_eq!(offset(shared.saved(&id(1))), Some(9));
        assert_eq!(offset(lock(&shared.store).saved(&id(1))), Some(9));
    }

    #[test]
    fn a_container_that_the_reader_took_up_is_not_forgotten() {
        let shared = SharedCheckpoint::new(CheckpointStore::in_memory());
        let (gone, long) = (Instant::now(), Duration::from_secs(3600));
        for number in [1, 2] {
            shared.advance(id(number), &advance_to(7)).unwrap();
            shared.forget(&id(number), gone).unwrap();
        }
        assert_eq!(shared.containers(), []);
        assert_eq!(offset(shared.take_up(&id(1))), Some(7));
        shared.forget(&id(3), gone + long).unwrap();
        assert_eq!(lock(&shared.store).containers(), [id(1)]);
        assert_eq!(shared.containers(), [id(1)]);
    }

    #[test]
    fn forgotten_containers_do_not_stay_in_memory() {
        let shared = SharedCheckpoint::new(CheckpointStore::in_memory());
        let (begin, long) = (Instant::now(), Duration::from_secs(3600));
        for number in 0..1000 {
            shared.advance(id(number), &advance_to(7)).unwrap();
            shared
                .forget(&id(number), begin + long * u32::from(number))
                .unwrap();
        }
        let view = lock(&shared.view);
        assert!(view.saved.len() <= MOST_FORGOTTEN + 4 && view.gone.len() <= MOST_FORGOTTEN + 4);
        assert!(view.taken_up.is_empty());
    }

    #[test]
    fn ten_thousand_containers_that_came_and_went_leave_neither_a_large_file_nor_memory() {
        const AT_A_TIME: u16 = 500;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.db");
        let shared = SharedCheckpoint::new(CheckpointStore::open(&path).unwrap().store);
        let mut now = Instant::now();
        for number in 0..10_000 {
            shared.advance(id(number), &advance_to(7)).unwrap();
            shared.forget(&id(number), now).unwrap();
            if number % AT_A_TIME == AT_A_TIME - 1 {
                now += Duration::from_secs(600);
            }
        }
        let length = std::fs::metadata(&path).unwrap().len();
        let kept = usize::from(AT_A_TIME) + 1;
        assert!(length <= (4096 + 512 * kept) as u64, "{length} bytes");
        assert!(lock(&shared.store).len() <= kept);
        assert!(lock(&shared.view).saved.len() <= kept + kept / 8 + MOST_FORGOTTEN);
    }

    /// As at the end of a batch job of many containers.
    #[test]
    fn the_memory_of_many_containers_that_go_at_once_is_returned() {
        let shared = SharedCheckpoint::new(CheckpointStore::in_memory());
        let begin = Instant::now();
        for number in 0..30_000 {
            shared.advance(id(number), &advance_to(7)).unwrap();
            shared.forget(&id(number), begin).unwrap();
        }
        let later = begin + Duration::from_secs(600);
        shared.forget(&id(0), later).unwrap();
        let view = lock(&shared.view);
        let room = [
            view.saved.capacity(),
            view.gone.capacity(),
            lock(&shared.store).room(),
        ];
        assert!(room.iter().all(|room| *room < 4 * LEAST_ROOM), "{room:?}");
    }
}
