//! What the reader's thread and the host's thread share: the queue, the
//! events, a few flags, and for each side a descriptor the other one wakes it
//! by. Either side may look at any time; neither waits for the other: what both change is
//! locked for moments, and never while a file is read or written.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use rustix::io::Errno;

use crate::delivery::checkpoint::{CheckpointStore, SharedCheckpoint};
use crate::delivery::queue::{Batch, Progress, Queue};
use crate::delivery::waker::Waker;
use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::{Accounts, Amount, Paced};
use crate::telemetry::activity::Activity;
use crate::telemetry::event::{Event, EventQueue};
use crate::telemetry::metrics::{Health, Latency, Sources, Survey, Tally};
use crate::threads::Threads;

/// So many bytes in the queue are not kept from the host until a pass ends.
const MOST_COALESCED: usize = 64 * 1024;

/// The shared state of one instance.
#[derive(Debug)]
pub struct Link {
    /// Batches on their way to the host.
    pub queue: Queue,
    /// Messages on their way to the host's log.
    pub events: EventQueue,
    /// The positions; written by the host's thread at each acceptance, asked
    /// by the reader when it finds a container.
    pub checkpoint: SharedCheckpoint,
    leaving: Mutex<HashSet<ContainerId>>,
    shortage: Mutex<Paced>,
    /// The threads that the reader has started, for the instance to end.
    pub threads: Threads,
    /// What the reader does right now.
    pub activity: Activity,
    /// What became of every byte.
    pub accounts: Accounts,
    /// What has happened so often.
    pub tally: Tally,
    /// Whether the reader turns and positions are written.
    pub health: Health,
    /// How old records were when the host accepted them.
    pub latency: Latency,
    survey: Mutex<Survey>,
    metrics_changed: AtomicBool,
    /// The reader is in the midst of a pass.
    is_coalescing: AtomicBool,
    /// Something was pushed that the host was not woken for.
    host_is_due: AtomicBool,
    /// Wakes the host's thread: there is something to drain.
    pub host_waker: Waker,
    /// Wakes the reader: space, a change on disk, a stop.
    pub reader_waker: Waker,
    /// The host wants nothing now.
    pub paused: AtomicBool,
    /// The host refuses something: it is asked again after a while.
    pub refused: AtomicBool,
    /// The reader shall end.
    pub stopping: AtomicBool,
    /// The reader has ended: it was stopped, it has read everything (with
    /// `follow` off), or it failed.
    pub reader_ended: AtomicBool,
}

impl Link {
    /// A fresh state over `checkpoint`.
    pub fn new(queue_limit: usize, checkpoint: CheckpointStore) -> Result<Link, Errno> {
        Ok(Link {
            queue: Queue::new(queue_limit),
            events: EventQueue::default(),
            checkpoint: SharedCheckpoint::new(checkpoint),
            leaving: Mutex::default(),
            shortage: Mutex::default(),
            threads: Threads::default(),
            activity: Activity::default(),
            accounts: Accounts::default(),
            tally: Tally::default(),
            health: Health::default(),
            latency: Latency::default(),
            survey: Mutex::default(),
            metrics_changed: AtomicBool::new(false),
            is_coalescing: AtomicBool::new(false),
            host_is_due: AtomicBool::new(false),
            host_waker: Waker::new()?,
            reader_waker: Waker::new()?,
            paused: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            reader_ended: AtomicBool::new(false),
        })
    }

    /// Queues a batch and wakes the host if it must be: at once, or at the end of
    /// the reader's pass as long as little has come together.
    pub fn push(&self, batch: Batch) {
        if self.queue.push(batch) {
            self.host_is_due.store(true, Ordering::SeqCst);
        }
        // The order of the two decides that one of the threads sees the other:
        // due before is_coalescing here, is_coalescing before due at the pass's end.
        if !self.is_coalescing.load(Ordering::SeqCst) || self.queue.bytes() >= MOST_COALESCED {
            self.wake_if_due();
        }
    }

    /// A pass over the logs begins: one wake-up of the host serves all of it.
    pub fn coalesce(&self) {
        self.is_coalescing.store(true, Ordering::SeqCst);
    }

    /// The pass is at its end.
    pub fn end_coalescing(&self) {
        self.is_coalescing.store(false, Ordering::SeqCst);
        self.wake_if_due();
    }

    fn wake_if_due(&self) {
        if self.host_is_due.load(Ordering::SeqCst) && self.host_is_due.swap(false, Ordering::SeqCst)
        {
            self.host_waker.wake();
        }
    }

    /// Lets the checkpoint forget a container, once all before is accepted.
    pub fn leave(&self, container: ContainerId) {
        self.leaving().insert(container);
        self.push(Batch {
            container,
            ..Batch::progress(Progress::Forget)
        });
    }

    /// Whether a container is to be forgotten and what was queued of it is not
    /// accepted yet.
    pub fn is_leaving(&self, container: &ContainerId) -> bool {
        self.leaving().contains(container)
    }

    /// All that was queued of a container is accepted.
    pub fn has_left(&self, container: &ContainerId) {
        self.accounts.close(container);
        self.leaving().remove(container);
        self.reader_waker.wake();
    }

    fn leaving(&self) -> MutexGuard<'_, HashSet<ContainerId>> {
        lock(&self.leaving)
    }

    /// Has the host show the metrics with what the reader sees now.
    pub fn show(&self, survey: Survey) {
        *lock(&self.survey) = survey;
        self.metrics_changed.store(true, Ordering::Release);
        self.host_waker.wake();
    }

    /// Whether the metrics are to be shown; `false` until they change again.
    pub fn take_metrics_changed(&self) -> bool {
        self.metrics_changed.swap(false, Ordering::AcqRel)
    }

    /// Has the host's thread log an event. Returns whether there was room for it; what
    /// was not kept is to be reported again.
    pub fn report(&self, event: Event) -> bool {
        let is_kept = self.events.report(event);
        self.host_waker.wake();
        is_kept
    }

    /// Logs, rate-limited, that `path` cannot be opened for lack of a resource.
    pub fn report_shortage(&self, path: &Path, error: &std::io::Error) {
        let one = Amount {
            bytes: 0,
            records: 1,
        };
        lock(&self.shortage).add(one, Instant::now(), |_| {
            self.report(Event::Shortage {
                path: path.to_owned(),
                reason: error.to_string(),
            })
        });
    }

    /// What the metrics are made of, as things are now.
    pub fn metric_sources(&self) -> Sources<'_> {
        Sources {
            accounts: &self.accounts,
            tally: &self.tally,
            health: &self.health,
            latency: &self.latency,
            survey: lock(&self.survey).clone(),
            queue_bytes: self.queue.bytes(),
        }
    }

    /// Whether the reader shall end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
