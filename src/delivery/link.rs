//! State shared by the reader's thread and the host's thread: the queue, the events, a few
//! flags, and one descriptor per side through which the other one wakes it. Neither side waits
//! for the other: data that both change is locked only briefly, and never during file I/O.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use rustix::io::Errno;

use crate::delivery::checkpoint::{CheckpointStore, ContainerCheckpoint, SharedCheckpoint};
use crate::delivery::queue::{Batch, Progress, Queue};
use crate::delivery::waker::Waker;
use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::{Accounts, Amount};
use crate::telemetry::activity::Activity;
use crate::telemetry::event::Event;
use crate::telemetry::event_queue::EventQueue;
use crate::telemetry::metrics::{Buffered, Health, Latency, Sources, Survey, Tally};
use crate::telemetry::throttle::{Once, Paced};
use crate::threads::Threads;

/// Bytes in the queue at which the host is woken up before the end of a pass.
const MOST_COALESCED: usize = 64 * 1024;

/// The shared state of one instance.
#[derive(Debug)]
pub struct Link {
    /// Batches for the host.
    pub queue: Queue,
    /// Messages for the host's log.
    pub events: EventQueue,
    /// The checkpoint, written by the host's thread on each acceptance and read by the reader
    /// when it finds a container.
    pub checkpoint: SharedCheckpoint,
    leaving: Mutex<HashSet<ContainerId>>,
    shortage: Mutex<Paced>,
    blind_rules: Mutex<Once>,
    /// Threads started by the reader, to be ended by the instance.
    pub threads: Threads,
    /// What the reader is currently doing.
    pub activity: Activity,
    /// Per-container accounting of every byte.
    pub accounts: Accounts,
    /// Event counters.
    pub tally: Tally,
    /// Whether the reader is running and checkpoint writes succeed.
    pub health: Health,
    /// Age of records at acceptance.
    pub latency: Latency,
    survey: Mutex<Survey>,
    buffered: Mutex<Buffered>,
    metrics_changed: AtomicBool,
    /// Whether the reader is in a pass.
    is_coalescing: AtomicBool,
    /// Whether a batch was pushed without waking the host.
    host_is_due: AtomicBool,
    /// Wakes the host's thread: there is something to drain.
    pub host_waker: Waker,
    /// Wakes the reader: queue space, a change on disk, or a stop.
    pub reader_waker: Waker,
    /// Whether the host has paused the input.
    pub paused: AtomicBool,
    /// Whether the reader is to stop.
    pub stopping: AtomicBool,
    /// Whether the reader has ended: it was stopped, it has read everything (with `follow`
    /// off), or it failed.
    pub reader_ended: AtomicBool,
}

impl Link {
    /// A new link over `checkpoint`.
    pub fn new(queue_limit: usize, checkpoint: CheckpointStore) -> Result<Link, Errno> {
        Ok(Link {
            queue: Queue::new(queue_limit),
            events: EventQueue::default(),
            checkpoint: SharedCheckpoint::new(checkpoint),
            leaving: Mutex::default(),
            shortage: Mutex::default(),
            blind_rules: Mutex::default(),
            threads: Threads::default(),
            activity: Activity::default(),
            accounts: Accounts::default(),
            tally: Tally::default(),
            health: Health::default(),
            latency: Latency::default(),
            survey: Mutex::default(),
            buffered: Mutex::default(),
            metrics_changed: AtomicBool::new(false),
            is_coalescing: AtomicBool::new(false),
            host_is_due: AtomicBool::new(false),
            host_waker: Waker::new()?,
            reader_waker: Waker::new()?,
            paused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            reader_ended: AtomicBool::new(false),
        })
    }

    /// Reports, once for the instance, rules that cannot match this container and others like it.
    pub fn report_blind_rules(&self, event: impl FnOnce() -> Event) {
        lock(&self.blind_rules).report(|| self.report(event()));
    }

    /// Queues a batch and wakes the host if necessary: at once, or at the end of the reader's
    /// pass as long as little is queued.
    pub fn push(&self, batch: Batch) {
        if self.queue.push(batch) {
            self.host_is_due.store(true, Ordering::SeqCst);
        }
        // The order guarantees that one of the threads sees the other's store: `host_is_due`
        // before `is_coalescing` here, `is_coalescing` before `host_is_due` at the end of the
        // pass.
        if !self.is_coalescing.load(Ordering::SeqCst) || self.queue.bytes() >= MOST_COALESCED {
            self.wake_if_due();
        }
    }

    /// Starts a pass over the logs, for which the host is woken up once.
    pub fn coalesce(&self) {
        self.is_coalescing.store(true, Ordering::SeqCst);
    }

    /// Ends the pass and wakes the host if a batch was pushed.
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

    /// Stores where a container's log begins for us, before anything of it is read.
    pub fn begin_at(&self, container: ContainerId, saved: ContainerCheckpoint) {
        self.push(Batch {
            container,
            ..Batch::progress(Progress::Advance(saved.map(Some)))
        });
    }

    /// Removes a container from the checkpoint once all its queued batches are accepted.
    pub fn leave(&self, container: ContainerId) {
        self.leaving().insert(container);
        self.push(Batch {
            container,
            ..Batch::progress(Progress::Forget)
        });
    }

    /// Whether a container is to be forgotten but its queued batches are not all accepted yet.
    pub fn is_leaving(&self, container: &ContainerId) -> bool {
        self.leaving().contains(container)
    }

    /// All queued batches of a container are accepted: closes its account and wakes the
    /// reader.
    pub fn has_left(&self, container: &ContainerId) {
        self.accounts.close(container);
        self.leaving().remove(container);
        self.reader_waker.wake();
    }

    fn leaving(&self) -> MutexGuard<'_, HashSet<ContainerId>> {
        lock(&self.leaving)
    }

    /// Makes the host publish the metrics with the reader's current statistics.
    pub fn show(&self, survey: Survey) {
        *lock(&self.survey) = survey;
        self.metrics_changed.store(true, Ordering::Release);
        self.host_waker.wake();
    }

    /// Whether the metrics are to be published; resets the flag.
    pub fn take_metrics_changed(&self) -> bool {
        self.metrics_changed.swap(false, Ordering::AcqRel)
    }

    /// Queues an event for the host's thread to log. Returns whether there was room; if not,
    /// the caller must report it again.
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

    /// What the host holds of our records.
    pub fn buffered(&self) -> MutexGuard<'_, Buffered> {
        lock(&self.buffered)
    }

    /// A snapshot of what the metrics are computed from.
    pub fn metric_sources(&self) -> Sources<'_> {
        Sources {
            accounts: &self.accounts,
            tally: &self.tally,
            health: &self.health,
            latency: &self.latency,
            survey: lock(&self.survey).clone(),
            queue_bytes: self.queue.bytes(),
            buffered: *lock(&self.buffered),
        }
    }

    /// Whether the reader is to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
