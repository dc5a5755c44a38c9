//! What the tasks of the Docker thread share: the sink, the room it has, what
//! is known of the daemon, and which containers are followed. All of it lives
//! on that one thread, so there is no lock, and no borrow outlives a call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::runtime::id::ContainerId;
use crate::source::api::podman::Release;
use crate::source::api::requests::Requests;
use crate::source::api::StreamSink;

/// How often a sink without space is asked again by itself.
const SPACE_INTERVAL: Duration = Duration::from_millis(50);

/// A followed container, as the tasks that watch the daemon see it.
#[derive(Debug, Default)]
pub struct Follow {
    /// Signs so far that the container started (or is gone): its stream is
    /// worth asking for again.
    pub starts: Cell<u64>,
    /// Rung at each of them.
    pub started: Notify,
    /// Since when its follower has been waiting for one.
    pub waiting_since: Cell<Option<Instant>>,
}

impl Follow {
    /// Its stream is worth asking for again.
    pub fn note_start(&self) {
        self.starts.set(self.starts.get() + 1);
        self.started.notify_one();
    }
}

/// What the tasks share.
pub struct Context {
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// The requests that are answered at once.
    pub requests: Requests,
    /// The containers that have a follower.
    pub follows: RefCell<HashMap<ContainerId, Rc<Follow>>>,
    /// The release of Podman, once it was Podman that answered.
    pub podman: Cell<Option<Release>>,
    /// Whether the events come.
    pub has_events: Cell<bool>,
    /// When the containers shall be listed even before their time.
    pub early_relist: Cell<Option<Instant>>,
    /// Rung when one of the two above changed.
    pub relist_changed: Notify,
    sink: RefCell<Box<dyn StreamSink>>,
    /// Held by the one follower that waits for space; the others queue for it,
    /// so that they come in turn and the sink is asked by one of them only.
    turn: Semaphore,
    space: Arc<Notify>,
    is_reachable: Cell<Option<bool>>,
    last_answer: Cell<Option<Instant>>,
    /// Rung when the daemon answers again.
    daemon_is_back: Notify,
}

impl Context {
    /// `space` is rung from other threads.
    pub fn new(socket: PathBuf, sink: Box<dyn StreamSink>, space: Arc<Notify>) -> Context {
        Context {
            requests: Requests::new(socket.clone()),
            socket,
            follows: RefCell::default(),
            podman: Cell::new(None),
            has_events: Cell::new(false),
            early_relist: Cell::new(None),
            relist_changed: Notify::new(),
            sink: RefCell::new(sink),
            turn: Semaphore::new(1),
            space,
            is_reachable: Cell::new(None),
            last_answer: Cell::new(None),
            daemon_is_back: Notify::new(),
        }
    }

    /// Lets `call` use the sink, which cannot get back here.
    pub fn with_sink<T>(&self, call: impl FnOnce(&mut dyn StreamSink) -> T) -> T {
        call(&mut **self.sink.borrow_mut())
    }

    /// Whether entries may come, without waiting; never ahead of one who waits.
    pub fn has_space(&self) -> bool {
        self.turn.available_permits() > 0 && self.with_sink(|sink| sink.has_space())
    }

    /// Waits until entries may come.
    pub async fn wait_for_space(&self) {
        let _turn = self.turn.acquire().await;
        while !self.with_sink(|sink| sink.has_space()) {
            // Rung or not, the sink is asked.
            let _ = timeout(SPACE_INTERVAL, self.space.notified()).await;
        }
    }

    /// The daemon has answered, be it with an error.
    pub fn note_answer(&self) {
        self.last_answer.set(Some(Instant::now()));
        if self.is_reachable.replace(Some(true)) != Some(true) {
            self.with_sink(|sink| sink.daemon(Ok(())));
            self.daemon_is_back.notify_waiters();
        }
    }

    /// A request begun at `begun` got no answer. Others may have got one in the
    /// meantime: then it is this request's trouble alone.
    pub fn note_silence(&self, begun: Instant, reason: &str) {
        if self.last_answer.get().is_some_and(|answer| answer >= begun) {
            return;
        }
        if self.is_reachable.replace(Some(false)) != Some(false) {
            self.with_sink(|sink| sink.daemon(Err(reason.to_owned())));
        }
    }

    /// Waits before another attempt, at the most until a silent daemon answers
    /// somebody else.
    pub async fn pause(&self, wait: Duration) {
        let _ = timeout(wait, self.daemon_is_back.notified()).await;
    }

    /// Has the containers listed at `time`, or before.
    pub fn call_roll_by(&self, time: Instant) {
        let time = self
            .early_relist
            .get()
            .map_or(time, |other| other.min(time));
        self.early_relist.set(Some(time));
        self.relist_changed.notify_one();
    }

    /// Whether the events come, from now on.
    pub fn set_events(&self, come: bool) {
        self.has_events.set(come);
        self.relist_changed.notify_one();
    }
}
