//! What the tasks of the Docker thread share: the sink and its space, the state of the daemon,
//! and the followed containers. All of it lives on that one thread, so there is no lock, and
//! no borrow outlives a call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::runtime::id::ContainerId;
use crate::source::api::bursts::Bursts;
use crate::source::api::podman::Release;
use crate::source::api::reachability::Reachability;
use crate::source::api::requests::Requests;
use crate::source::api::StreamSink;

/// Interval between checks of a sink without space.
const SPACE_INTERVAL: Duration = Duration::from_millis(50);

/// A followed container, as the tasks that watch the daemon see it.
#[derive(Debug, Default)]
pub struct Follow {
    /// Whether only what exists now is wanted.
    pub ends: bool,
    /// The number of signs so far that the container started or is gone: its stream is worth
    /// requesting again.
    pub starts: Cell<u64>,
    /// Notified at each of them.
    pub started: Notify,
    /// Since when its follower has been waiting for one.
    pub waiting_since: Cell<Option<Instant>>,
}

impl Follow {
    /// Nothing has happened to it yet. With `ends`, only what exists now is wanted.
    pub fn new(ends: bool) -> Follow {
        Follow {
            ends,
            ..Follow::default()
        }
    }

    /// Records that its stream is worth requesting again.
    pub fn note_start(&self) {
        self.starts.set(self.starts.get() + 1);
        self.started.notify_one();
    }
}

/// What the tasks share.
pub struct Context {
    /// The path of the daemon's socket.
    pub socket: PathBuf,
    /// Whether the daemon answers.
    pub daemon: Rc<Reachability>,
    /// The list and inspect requests.
    pub requests: Requests,
    /// The containers that have a follower.
    pub follows: RefCell<HashMap<ContainerId, Rc<Follow>>>,
    /// The release of Podman, if it was Podman that answered last.
    pub podman: Cell<Option<Release>>,
    /// Whether events arrive.
    pub has_events: Cell<bool>,
    /// When the containers must be listed ahead of schedule.
    pub early_relist: Cell<Option<Instant>>,
    /// Notified when one of the two above changes.
    pub relist_changed: Notify,
    /// How much arrived since the thread last waited.
    pub bursts: Arc<Bursts>,
    sink: Rc<RefCell<Box<dyn StreamSink>>>,
    /// Held by the one follower that waits for space. The others queue for it, so that they
    /// take turns and only one of them polls the sink.
    turn: Semaphore,
    space: Arc<Notify>,
}

impl Context {
    /// Creates the context; `space` is notified by other threads.
    pub fn new(
        socket: PathBuf,
        sink: Box<dyn StreamSink>,
        space: Arc<Notify>,
        bursts: Arc<Bursts>,
    ) -> Context {
        let sink = Rc::new(RefCell::new(sink));
        let reported_to = Rc::clone(&sink);
        let daemon = Rc::new(Reachability::new(move |state| {
            reported_to.borrow_mut().daemon(state);
        }));
        Context {
            requests: Requests::new(socket.clone(), Rc::clone(&daemon)),
            daemon,
            socket,
            follows: RefCell::default(),
            podman: Cell::new(None),
            has_events: Cell::new(false),
            early_relist: Cell::new(None),
            relist_changed: Notify::new(),
            bursts,
            sink,
            turn: Semaphore::new(1),
            space,
        }
    }

    /// Runs `call` with the sink, which cannot call back into the context.
    pub fn with_sink<T>(&self, call: impl FnOnce(&mut dyn StreamSink) -> T) -> T {
        call(&mut **self.sink.borrow_mut())
    }

    /// Whether only what exists now of this container's log is wanted.
    pub fn is_read_once(&self, id: &ContainerId) -> bool {
        let follows = self.follows.borrow();
        follows.get(id).is_some_and(|follow| follow.ends)
    }

    /// Whether entries may be delivered, without waiting; never overtakes a follower that
    /// waits.
    pub fn has_space(&self) -> bool {
        self.turn.available_permits() > 0 && self.with_sink(|sink| sink.has_space())
    }

    /// Waits until entries may be delivered.
    pub async fn wait_for_space(&self) {
        let _turn = self.turn.acquire().await;
        while !self.with_sink(|sink| sink.has_space()) {
            // Check the sink after a time-out as well.
            let _ = timeout(SPACE_INTERVAL, self.space.notified()).await;
        }
    }

    /// Lists the containers at `time` or earlier.
    pub fn relist_by(&self, time: Instant) {
        let time = self
            .early_relist
            .get()
            .map_or(time, |other| other.min(time));
        self.early_relist.set(Some(time));
        self.relist_changed.notify_one();
    }

    /// Sets whether events arrive.
    pub fn set_events(&self, come: bool) {
        self.has_events.set(come);
        self.relist_changed.notify_one();
    }
}
