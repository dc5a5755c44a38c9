//! The Docker API: what containers write whose log is in no file we can read.
//!
//! One thread, [`DockerThread`], serves any number of containers, and it is
//! the only user of tokio, hyper and bollard. It knows nothing of records,
//! batches or checkpoints: it tells a [`StreamSink`] what comes, and asks it
//! where to go on and whether there is room.
//!
//! ```text
//! thread ──┬── follower, one per container: connection ──> entries ──> StreamSink
//!          │   (or, where the daemon cannot follow rotation: snapshots)
//!          ├── daemon_events: one connection while anything is followed
//!          └── requests: list, one at a time; inspect, one at a time for a container
//!              and a bounded number in all, so that neither holds up the other
//! ```
//!
//! Nothing is connected to while nothing is followed or asked. Each followed
//! container costs one descriptor, events one more, and each request one while it is
//! in flight. Every request has a time-out; a body that is followed may be silent for ever.
//!
//! Nothing ends silently. A stream that ends is told, and is gone on with:
//! after a stop when the container starts again, after a failure when its
//! back-off is over. A start that no event told is found in the list of
//! containers. Only a container that is gone, or whose driver cannot be read,
//! is given up, until it is followed anew.

mod backoff;
mod connection;
mod console;
mod context;
mod daemon_events;
pub mod entries;
mod follower;
mod inspections;
mod place;
mod podman;
mod relist;
mod requests;
mod snapshots;
pub mod stdcopy;
pub mod streams;
mod thread;

#[cfg(test)]
mod console_tests;
#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod scripted_api;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod stdcopy_tests;

use std::collections::BTreeMap;

use crate::format::position::{Stream, Timestamp};
use crate::runtime::id::ContainerId;

pub use crate::source::api::thread::DockerThread;

/// Is told, on the Docker thread, what happens. Must not block for long, for
/// all containers wait meanwhile.
pub trait StreamSink: Send {
    /// Whether more entries may come now. Asked before a connection is read
    /// and before each chunk read is handled; while it is false nothing more is
    /// read from any connection, beyond the one read of at most 8 KiB that a
    /// connection was already waiting in. Asked again after
    /// [`DockerThread::wake`] and every 50 ms.
    fn has_space(&mut self) -> bool;

    /// Whether no more of this container is wanted now, while there is space for others.
    /// Asked as [`StreamSink::has_space`] is.
    fn is_held_back(&mut self, id: &ContainerId) -> bool {
        let _ = id;
        false
    }

    /// A frame or, of a TTY, a line or a piece of one: its bytes without time
    /// and final LF. `ends_line` tells whether the LF was there; the pieces of a
    /// line that Docker split share one time.
    fn entry(
        &mut self,
        id: &ContainerId,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        ends_line: bool,
    );

    /// A burst of entries has been handled: pass on what was built of them.
    /// Called before the thread waits for anything, at a stream's end, and in
    /// between after each 64 KiB.
    fn flush(&mut self, id: &ContainerId);

    /// The daemon has begun to answer for a container's log.
    fn opened(&mut self, id: &ContainerId) {
        let _ = id;
    }

    /// The stream of a container ended or could not be had.
    /// [`StreamEnd::is_retried`] tells whether it comes back by itself.
    fn ended(&mut self, id: &ContainerId, end: StreamEnd);

    /// The daemon no longer has all that a container wrote after the last entry;
    /// what it has comes.
    fn lost(&mut self, id: &ContainerId);

    /// Something happened to a container, followed or not; a hint only. Told
    /// while at least one container is followed.
    fn event(&mut self, id: &ContainerId, action: ContainerAction);

    /// The daemon answers, or does not and why. Told once at first, then on
    /// change.
    fn daemon(&mut self, reachable: Result<(), String>);

    /// From which time on a container's stream is wanted: that of the last
    /// entry the sink took (entries of this very time come again, and the sink
    /// drops those it has), or `None` for all there is.
    fn since(&mut self, id: &ContainerId) -> Option<Timestamp>;
}

/// How a container's stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// In order: the container has stopped. Connected again when it starts.
    Finished,
    /// There is no such container, or it is being removed.
    Gone,
    /// The daemon cannot read what this container's log driver writes.
    Unsupported(String),
    /// The connection failed, or the daemon did. Tried again with back-off.
    Failed(String),
}

impl StreamEnd {
    /// Whether the thread goes on by itself. Otherwise it has let go of the
    /// container, which can be followed anew.
    pub fn is_retried(&self) -> bool {
        matches!(self, StreamEnd::Finished | StreamEnd::Failed(_))
    }
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerAction {
    /// It was created.
    Create,
    /// It was started.
    Start,
    /// Its process ended.
    Die,
    /// It was removed.
    Destroy,
    /// It has another name.
    Rename,
}

/// What the daemon says about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Name without the leading slash.
    pub name: String,
    /// Image as the user gave it to `docker run`.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The variables of its environment, each as `NAME=value`.
    pub env: Vec<String>,
    /// Whether it has a terminal: its stream then is raw, without frames.
    pub tty: bool,
    /// Whether it runs.
    pub running: bool,
    /// Whether its log rotates.
    pub log_rotates: bool,
    /// The type of its log driver; empty where the daemon does not say.
    pub log_driver: String,
}
