//! Batches between the reader's thread and the host's, bounded in bytes.
//!
//! The reader asks [`Queue::has_space`] before it reads a slice of a file; a
//! full queue means that it reads no further: the files are the buffer. What
//! is counted stays counted until the host has accepted the batch. Where records come
//! to many times their source, a slice is left where the queue is full.
//!
//! One container that floods may fill the queue; the lines of all others would
//! wait until the host has worked through that. So there are two lanes: large
//! batches stand in one, small ones pass them in the other. The batches of one
//! container never overtake each other (I3).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::delivery::checkpoint::Advance;
use crate::delivery::parser::Parsing;
use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::Account;

/// Bytes built at which a batch is closed, whatever they took in the source: each record
/// repeats what is said of its container.
pub const BATCH_BYTES: usize = 1 << 20;

/// Emptied buffers kept for the next batches: as many as are in flight between
/// two threads that keep pace. Fresh memory for each batch would cost a page
/// fault for every 4 KiB of records.
const SPARE_BUFFERS: usize = 8;
/// A batch this large comes from a log that is behind: nobody waits for it.
const BULK_BYTES: usize = 64 * 1024;
/// So many bytes of small batches in a row, and a large one has its turn.
const MOST_PASSING: usize = 1 << 20;
/// A buffer larger than this is given back to the system.
const LARGEST_SPARE: usize = 2 << 20;

/// What the host refuses of some containers may take so many times the limit, beside the
/// queue: the more, the more of them there may be before the others must wait.
const ASIDE_FACTOR: usize = 4;

/// What happens to the checkpoint once a batch is accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The container's positions move.
    Advance(Advance),
    /// The container and its log are gone; its entry may go.
    Forget,
    /// The first look is done: from now on no start is the very first.
    Started,
    /// Nothing, until the rest of what this is a part of is accepted, too.
    Nothing,
}

/// A place within a batch at which it can be divided: what was built up to there, and
/// what the acceptance of that much means.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Bytes before it.
    pub bytes: usize,
    /// Records before it.
    pub records: usize,
    /// Source bytes of those.
    pub source_bytes: u64,
    /// How far the container's positions move with them.
    pub advance: Advance,
}

/// Records of one container under one tag, contiguous in its log (I3).
#[derive(Debug)]
pub struct Batch {
    /// Whose records.
    pub container: ContainerId,
    /// The tag, or `None` for the instance's own.
    pub tag: Option<Arc<str>>,
    /// Number of records in `bytes`; none where only the position moves.
    pub records: usize,
    /// The records, one MessagePack object after another.
    pub bytes: Vec<u8>,
    /// What the host's thread makes of them first, if anything.
    pub parsing: Option<Arc<Parsing>>,
    /// Whose account acceptance goes into, and how many source bytes it
    /// delivers.
    pub source: Option<(Arc<Account>, u64)>,
    /// What acceptance means for the checkpoint.
    pub progress: Progress,
    /// Where it can be divided, in order.
    pub marks: Vec<Mark>,
}

impl Batch {
    /// A move of the checkpoint without records, of no container.
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
}

/// What waits, in the order of its going.
#[derive(Debug, Default)]
struct Lanes {
    express: VecDeque<Batch>,
    bulk: VecDeque<Batch>,
    /// How many batches of a container are in the bulk lane; what follows them
    /// stays behind them.
    in_bulk: HashMap<ContainerId, usize>,
    /// Bytes that have passed the front of the bulk lane.
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

    /// The next small one, unless it is the turn of a large one.
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

/// The queue; the reader and the Docker thread produce, the host's consumes.
#[derive(Debug)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    spare: Mutex<Vec<Vec<u8>>>,
    bytes: AtomicUsize,
    /// Those of them that stand aside: of containers whose records the host refuses. And
    /// the copies that parsers made of them, which `bytes` has not.
    aside: AtomicUsize,
    copies: AtomicUsize,
    limit: usize,
}

impl Queue {
    /// A queue of at most `limit` bytes and one batch, and `ASIDE_FACTOR` times as much
    /// that the host refuses.
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

    /// Whether more may be read. What the host refuses of some containers takes no room
    /// from the others, up to a limit of its own.
    pub fn has_space(&self) -> bool {
        let aside = self.aside.load(Ordering::Acquire).min(self.most_aside());
        let held = self.bytes.load(Ordering::Acquire) + self.copies.load(Ordering::Acquire);
        held.saturating_sub(aside) < self.limit
    }

    /// Whether so much stands aside that little may be read of a container at a time,
    /// until it is known that the host takes it.
    pub fn is_cautious(&self) -> bool {
        self.aside.load(Ordering::Acquire) >= self.most_aside() / 8
    }

    /// So many bytes stand aside now, of which so many are parsers' copies of what is in
    /// the host's hands.
    pub fn set_aside(&self, bytes: usize, copies: usize) {
        self.aside.store(bytes, Ordering::Release);
        self.copies.store(copies, Ordering::Release);
    }

    /// A batch was divided, and its parts are so much larger together.
    pub fn grew(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes queued or in the host's hands, not yet accepted.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Whether nothing is queued or in the host's hands.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0 && lock(&self.lanes).len() == 0
    }

    /// An empty buffer for the next batch.
    pub fn buffer(&self) -> Vec<u8> {
        lock(&self.spare).pop().unwrap_or_default()
    }

    /// Adds a batch at the end of its lane. Returns whether the queue was empty, and so
    /// whether the host must be woken: otherwise it has yet to come to the end.
    pub fn push(&self, batch: Batch) -> bool {
        self.bytes.fetch_add(batch.bytes.len(), Ordering::AcqRel);
        let mut lanes = lock(&self.lanes);
        lanes.push(batch);
        lanes.len() == 1
    }

    /// Takes the next batch. It stays counted until [`Queue::accepted`].
    pub fn pop(&self) -> Option<Batch> {
        lock(&self.lanes).pop()
    }

    /// Takes the next small batch where a large one is in the host's hands and goes in
    /// parts: `None` where there is none, or where it is that one's turn.
    pub fn pop_small(&self) -> Option<Batch> {
        lock(&self.lanes).pop_small()
    }

    /// The host has taken the batch: its room is free, its buffer comes back.
    /// Returns whether this made a full queue have space again.
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

    /// Container and size of all that is popped.
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
}
