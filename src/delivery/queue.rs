//! Batches between the reader's thread and the host's, bounded in bytes.
//!
//! The reader checks [`Queue::has_space`] before it reads a slice of a file. While the queue
//! is full it reads nothing: the files are the buffer. A batch is counted until the host has
//! accepted it. If records are many times larger than their source, a slice ends early when
//! the queue becomes full.
//!
//! One flooding container could fill the queue and delay the lines of all others until the
//! host has caught up. The queue therefore has two lanes: large batches wait in one, small
//! batches pass them in the other. Batches of one container never overtake each other (I3).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::delivery::checkpoint::Advance;
use crate::delivery::parser::Parsing;
use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::{Account, Amount};

/// Encoded size at which a batch is closed, regardless of its source bytes: each record
/// repeats the container's metadata.
pub const BATCH_BYTES: usize = 1 << 20;

/// Number of empty buffers kept for reuse: as many as are in flight between two threads that
/// keep pace. Fresh memory for each batch would cost a page fault per 4 KiB of records.
const SPARE_BUFFERS: usize = 8;
/// A batch this large comes from a log with a backlog, so nobody waits for its latest lines.
const BULK_BYTES: usize = 64 * 1024;
/// Bytes of small batches that may pass in a row before a large one has its turn.
const MOST_PASSING: usize = 1 << 20;
/// Larger buffers are freed instead of kept.
const LARGEST_SPARE: usize = 2 << 20;

/// Limit for refused batches as a multiple of the queue's limit, in addition to it. The higher
/// it is, the more containers can be refused before the others must wait.
const ASIDE_FACTOR: usize = 4;

/// What happens to the checkpoint once a batch is accepted.
// One per batch, so its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The container's stream checkpoints advance.
    Advance(Advance),
    /// The container and its log are gone; its entry may be removed.
    Forget,
    /// The initial scan is done; later starts are not a first start.
    Started,
    /// Nothing until the remaining parts of the divided batch are accepted.
    Nothing,
}

/// A point at which a batch can be divided, with the totals up to it and the checkpoint change
/// for accepting that much.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Bytes before the mark.
    pub bytes: usize,
    /// Records before the mark.
    pub records: usize,
    /// Source bytes of those records.
    pub source_bytes: u64,
    /// How far the container's stream checkpoints advance with them.
    pub advance: Advance,
}

/// Records of one container under one tag, contiguous in its log (I3).
#[derive(Debug)]
pub struct Batch {
    /// The container.
    pub container: ContainerId,
    /// The tag, or `None` for the instance's own.
    pub tag: Option<Arc<str>>,
    /// Number of records in `bytes`; 0 if only the checkpoint advances.
    pub records: usize,
    /// The records, concatenated MessagePack objects.
    pub bytes: Vec<u8>,
    /// How the host's thread parses them first, if at all.
    pub parsing: Option<Arc<Parsing>>,
    /// The account credited on acceptance, and the number of source bytes in the batch.
    pub source: Option<(Arc<Account>, u64)>,
    /// What acceptance means for the checkpoint.
    pub progress: Progress,
    /// The points at which it can be divided, in order.
    pub marks: Vec<Mark>,
}

impl Batch {
    /// A checkpoint change without records or container.
    pub fn progress(progress: Progress) -> Batch {
        let container = ContainerId::from_bytes([0; 32]);
        Batch {
            container,
            tag: None,
            records: 0,
            bytes: Vec::new(),
            parsing: None,
            source: None,
            progress,
            marks: Vec::new(),
        }
    }

    /// Its records, and the account that they are in; `None` if it has none.
    pub fn carried(&self) -> Option<(&Account, Amount)> {
        let (account, bytes) = self.source.as_ref().filter(|_| self.records > 0)?;
        let amount = Amount {
            bytes: *bytes,
            records: self.records as u64,
        };
        Some((account, amount))
    }
}

/// Queued batches in two lanes.
#[derive(Debug, Default)]
struct Lanes {
    express: VecDeque<Batch>,
    bulk: VecDeque<Batch>,
    /// Number of batches per container in the bulk lane. Later batches of these containers
    /// stay behind them.
    in_bulk: HashMap<ContainerId, usize>,
    /// Bytes that passed the front of the bulk lane since its last turn.
    passing: usize,
}

impl Lanes {
    fn len(&self) -> usize {
        self.express.len() + self.bulk.len()
    }

    fn push(&mut self, batch: Batch) {
        if batch.bytes.len() >= BULK_BYTES || self.in_bulk.contains_key(&batch.container) {
            *self.in_bulk.entry(batch.container).or_default() += 1;
            self.bulk.push_back(batch);
        } else {
            self.express.push_back(batch);
        }
    }

    /// Takes the next small batch, unless it is a large one's turn, which is left to it, or not a
    /// wanted one.
    fn pop_small_if(&mut self, is_wanted: impl FnOnce(&Batch) -> bool) -> Option<Batch> {
        let may_pass = self.passing < MOST_PASSING;
        if !may_pass || !self.express.front().is_some_and(is_wanted) {
            return None;
        }
        self.pop_small()
    }

    /// Takes the next small batch, unless it is a large one's turn.
    fn pop_small(&mut self) -> Option<Batch> {
        let next = if self.passing < MOST_PASSING {
            self.express.pop_front()
        } else {
            None
        };
        self.passing = next
            .as_ref()
            .map_or(0, |batch| self.passing + batch.bytes.len());
        next
    }

    fn pop(&mut self) -> Option<Batch> {
        if let Some(batch) = self.pop_small() {
            return Some(batch);
        }
        if self.bulk.is_empty() {
            return self.pop_small();
        }
        let batch = self.bulk.pop_front()?;
        if let Some(count) = self.in_bulk.get_mut(&batch.container) {
            *count -= 1;
            if *count == 0 {
                self.in_bulk.remove(&batch.container);
            }
        }
        Some(batch)
    }
}

/// The queue. The reader and the Docker thread produce, the host's thread consumes.
#[derive(Debug)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    spare: Mutex<Vec<Vec<u8>>>,
    bytes: AtomicUsize,
    /// Bytes of batches set aside, because the host refuses their container, which are part of
    /// `bytes`; and `copies`, the parsed copies of them, which are not.
    aside: AtomicUsize,
    copies: AtomicUsize,
    limit: usize,
}

impl Queue {
    /// A queue of at most `limit` bytes plus one batch, plus refused batches of up to
    /// `ASIDE_FACTOR` times `limit` or [`BATCH_BYTES`], whichever is larger.
    pub fn new(limit: usize) -> Queue {
        Queue {
            lanes: Mutex::default(),
            spare: Mutex::default(),
            bytes: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
            copies: AtomicUsize::new(0),
            limit,
        }
    }

    fn most_aside(&self) -> usize {
        self.limit.max(BATCH_BYTES).saturating_mul(ASIDE_FACTOR)
    }

    /// Whether more may be read. Refused batches take no space from other containers, up to
    /// their own limit.
    pub fn has_space(&self) -> bool {
        let aside = self.aside.load(Ordering::Acquire).min(self.most_aside());
        let held = self.bytes.load(Ordering::Acquire) + self.copies.load(Ordering::Acquire);
        held.saturating_sub(aside) < self.limit
    }

    /// Whether so much is set aside that only little of a container may be read at a time
    /// until the host is known to accept it.
    pub fn is_cautious(&self) -> bool {
        self.aside.load(Ordering::Acquire) >= self.most_aside() / 8
    }

    /// Sets the bytes currently set aside, and how many bytes of parsed copies exist for them.
    pub fn set_aside(&self, bytes: usize, copies: usize) {
        self.aside.store(bytes, Ordering::Release);
        self.copies.store(copies, Ordering::Release);
    }

    /// Adds the bytes by which the parts of a divided batch exceed it.
    pub fn grew(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes queued or being handed over, not yet accepted.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Whether nothing is queued or being handed over.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0 && lock(&self.lanes).len() == 0
    }

    /// An empty buffer for the next batch.
    pub fn buffer(&self) -> Vec<u8> {
        lock(&self.spare).pop().unwrap_or_default()
    }

    /// Appends a batch to its lane. Returns whether the queue was empty, in which case the
    /// host must be woken up; otherwise it is still working through the queue.
    pub fn push(&self, batch: Batch) -> bool {
        self.bytes.fetch_add(batch.bytes.len(), Ordering::AcqRel);
        let mut lanes = lock(&self.lanes);
        lanes.push(batch);
        lanes.len() == 1
    }

    /// Takes the next batch, which stays counted until [`Queue::accepted`].
    pub fn pop(&self) -> Option<Batch> {
        lock(&self.lanes).pop()
    }

    /// Takes the next small batch while a large one is handed over in parts. Returns `None` if
    /// there is none or if it is the large one's turn.
    pub fn pop_small(&self) -> Option<Batch> {
        lock(&self.lanes).pop_small()
    }

    /// Takes the next small batch if it is a wanted one and not a large one's turn.
    pub fn pop_small_if(&self, is_wanted: impl FnOnce(&Batch) -> bool) -> Option<Batch> {
        lock(&self.lanes).pop_small_if(is_wanted)
    }

    /// Releases the space of an accepted batch and keeps its buffer. Returns whether a full
    /// queue has space again.
    pub fn accepted(&self, mut bytes: Vec<u8>) -> bool {
        let had_space = self.has_space();
        self.bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
        let made_space = !had_space && self.has_space();
        if bytes.capacity() <= LARGEST_SPARE {
            bytes.clear();
            let mut spare = lock(&self.spare);
            if spare.len() < SPARE_BUFFERS {
                spare.push(bytes);
            }
        }
        made_space
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Batch {
        batch_of("a", bytes)
    }

    fn batch_of(digit: &str, bytes: usize) -> Batch {
        Batch {
            container: ContainerId::parse(&digit.repeat(64)).unwrap(),
            tag: None,
            records: 1,
            bytes: vec![0; bytes],
            parsing: None,
            source: None,
            progress: Progress::Forget,
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_batch_counts_until_it_is_accepted() {
        let queue = Queue::new(100);
        queue.push(batch(60));
        assert!(queue.has_space());
        queue.push(batch(60));
        assert!(!queue.has_space());
        let first = queue.pop().unwrap();
        assert!(!queue.has_space(), "in the host's hands is not accepted");
        assert!(queue.accepted(first.bytes), "this made space");
        assert!(queue.has_space());
        let second = queue.pop().unwrap();
        assert!(!queue.accepted(second.bytes), "there was space before");
        assert!(queue.is_empty());
    }

    #[test]
    fn what_stands_aside_has_room_of_its_own_and_copies_take_of_it() {
        let queue = Queue::new(100);
        let most = queue.most_aside();
        queue.push(batch(most));
        queue.set_aside(most, 0);
        assert!(queue.has_space());
        queue.set_aside(most + 99, 99);
        assert!(queue.has_space());
        queue.set_aside(most + 100, 100);
        assert!(
            !queue.has_space(),
            "what is beyond takes room from the others"
        );
        queue.set_aside(0, 0);
        queue.accepted(queue.pop().unwrap().bytes);
        queue.set_aside(1_000, 1_000);
        queue.push(batch(100));
        assert!(!queue.has_space(), "copies hide nothing of what is queued");
    }

    #[test]
    fn buffers_come_back_empty_with_their_room() {
        let queue = Queue::new(100);
        queue.push(batch(60));
        let taken = queue.pop().unwrap();
        queue.accepted(taken.bytes);
        let buffer = queue.buffer();
        assert!(buffer.is_empty() && buffer.capacity() >= 60);
        assert_eq!(queue.buffer().capacity(), 0);
    }

    /// Container and size of every popped batch.
    fn drained(queue: &Queue) -> Vec<(String, usize)> {
        std::iter::from_fn(|| queue.pop())
            .map(|batch| {
                (
                    batch.container.to_string()[..1].to_owned(),
                    batch.bytes.len(),
                )
            })
            .collect()
    }

    #[test]
    fn small_batches_pass_those_of_a_flood() {
        let queue = Queue::new(usize::MAX);
        for (digit, bytes) in [("a", BULK_BYTES), ("a", BULK_BYTES), ("b", 10), ("c", 10)] {
            queue.push(batch_of(digit, bytes));
        }
        let order = drained(&queue);
        let digits: Vec<&str> = order.iter().map(|(digit, _)| digit.as_str()).collect();
        assert_eq!(digits, ["b", "c", "a", "a"]);
    }

    #[test]
    fn batches_of_one_container_keep_their_order() {
        let queue = Queue::new(usize::MAX);
        let sizes = [5, BULK_BYTES, 6, BULK_BYTES + 1, 7];
        for bytes in sizes {
            queue.push(batch(bytes));
        }
        assert_eq!(
            drained(&queue)
                .into_iter()
                .map(|(_, bytes)| bytes)
                .collect::<Vec<_>>(),
            sizes
        );
        queue.push(batch_of("b", BULK_BYTES));
        queue.push(batch(8));
        assert_eq!(
            queue.pop().unwrap().bytes.len(),
            8,
            "nothing of it is left in the bulk lane"
        );
    }

    #[test]
    fn a_flood_has_its_turn_among_many_small_batches() {
        let queue = Queue::new(usize::MAX);
        queue.push(batch_of("a", BULK_BYTES));
        let small = BULK_BYTES - 1;
        for _ in 0..2 * MOST_PASSING / small {
            queue.push(batch_of("b", small));
        }
        let turn = drained(&queue).iter().position(|(digit, _)| digit == "a");
        assert_eq!(turn, Some(MOST_PASSING.div_ceil(small)));
    }

    #[test]
    fn a_look_for_one_more_small_batch_takes_no_turn_from_a_flood() {
        let queue = Queue::new(usize::MAX);
        queue.push(batch_of("a", BULK_BYTES));
        let small = BULK_BYTES - 1;
        for _ in 0..2 * MOST_PASSING / small {
            queue.push(batch_of("b", small));
        }
        while queue.pop_small_if(|_| true).is_some() {}
        assert_eq!(queue.pop().unwrap().bytes.len(), BULK_BYTES);
    }
}
