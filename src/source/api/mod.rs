//! The Docker API: the output of containers whose log is in no readable file.
//!
//! One thread, [`DockerThread`], serves any number of containers, and it is the only user of
//! tokio and hyper. It knows nothing about records, batches or checkpoints: it passes
//! what it receives to a [`StreamSink`], and asks it where to resume and whether there is
//! space. [`streams`] is the reader's side; its sink builds the records.
//!
//! ```text
//! thread ──┬── follower, one per container: connection ──> entries ──> StreamSink
//!          │   (or, where the daemon cannot follow rotation: snapshots)
//!          ├── daemon_events: one connection while anything is followed
//!          └── requests: list, one at a time; inspect, one at a time for a container
//!              and a bounded number in all, so that neither holds up the other
//! ```
//!
//! There is no connection while nothing is followed or requested. Each followed container
//! takes one descriptor, the events take one more, and each request takes one while it is in
//! flight. Every request has a time-out; a body that is followed may be silent indefinitely.
//!
//! Nothing ends silently. The end of a stream is reported, and the stream is resumed: after a
//! stop when the container starts again, after a failure when the back-off is over. A start
//! that no event reported is found in the container list. Only a container that is gone, or
//! whose driver cannot be read, is dropped until it is followed again.

mod answers;
mod bursts;
mod connection;
mod console;
mod context;
mod daemon_events;
pub mod entries;
mod follower;
mod inspections;
mod place;
mod podman;
mod reachability;
mod relist;
mod requests;
mod sink;
mod snapshots;
pub mod stamp;
pub mod stdcopy;
mod streamed;
pub mod streams;
mod thread;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::format::position::{Stream, Timestamp};
use crate::runtime::docker::split_env;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::Api;

pub use crate::source::api::connection::without_socket;
pub use crate::source::api::thread::DockerThread;

/// Receives what happens, on the Docker thread. Must not block for long, because all
/// containers wait meanwhile.
pub trait StreamSink: Send {
    /// Whether more entries may be delivered now. Called before a connection is read and
    /// before each chunk is handled. While it returns false, nothing more is read from any
    /// connection, except for the one read of at most 8 KiB that a connection may already be
    /// waiting in. Called again after [`DockerThread::wake`] and every 50 ms.
    fn has_space(&mut self) -> bool;

    /// Whether this container is held back although there is space for others. Called as
    /// [`StreamSink::has_space`] is.
    fn is_held_back(&mut self, id: &ContainerId) -> bool {
        let _ = id;
        false
    }

    /// Receives a frame or, with a TTY, a line or a piece of one: its bytes without the time
    /// and the final LF. `ends_line` says whether the LF was there; the pieces of a line that
    /// Docker split have the same time.
    fn entry(
        &mut self,
        id: &ContainerId,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        ends_line: bool,
    );

    /// Ends a burst of entries: the sink must queue what it built from them. Called before the
    /// thread waits for anything, at the end of a stream, and within a burst after each 64 KiB
    /// or 25 ms.
    fn flush(&mut self, id: &ContainerId);

    /// The daemon has accepted the request for a container's log.
    fn opened(&mut self, id: &ContainerId) {
        let _ = id;
    }

    /// The stream of a container ended or could not be opened. [`StreamEnd::is_retried`] says
    /// whether it is retried.
    fn ended(&mut self, id: &ContainerId, end: StreamEnd);

    /// The daemon no longer has everything that a container wrote after the last entry; what
    /// it still has follows.
    fn lost(&mut self, id: &ContainerId);

    /// Something happened to a container, followed or not; a hint only. Called while at least
    /// one container is followed.
    fn event(&mut self, id: &ContainerId, action: ContainerAction);

    /// The daemon answers, or does not, with the reason. Called once at first, then on each
    /// change.
    fn daemon(&mut self, reachable: Result<(), String>);

    /// Returns the time from which a container's entries are wanted: that of the last entry
    /// the sink took (entries with this exact time are sent again, and the sink drops those it
    /// has), or `None` for all entries.
    fn since(&mut self, id: &ContainerId) -> Option<Timestamp>;

    /// Returns how many lines from the end of the log are wanted if [`StreamSink::since`] is
    /// `None`, or `None` for all. Called for the first response only.
    fn take_last(&mut self, _id: &ContainerId) -> Option<usize> {
        None
    }
}

/// How a container's stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// Normally: the container has stopped. Requested again when it starts.
    Finished,
    /// The container does not exist, or is being removed.
    Gone,
    /// The daemon cannot read the output of this container's log driver.
    Unsupported(String),
    /// The connection or the daemon failed. Retried with back-off.
    Failed(String),
}

impl StreamEnd {
    /// Whether the thread retries. If not, it has dropped the container, which can be followed
    /// again.
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
    /// It was renamed.
    Rename,
}

/// What the daemon reports about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Name without the leading slash.
    pub name: String,
    /// Image as passed to `docker run`.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment variables, each as `NAME=value`.
    pub env: Vec<String>,
    /// Whether it has a terminal: its stream is then raw, without frames.
    pub tty: bool,
    /// Whether it runs.
    pub running: bool,
    /// Whether its log rotates.
    pub log_rotates: bool,
    /// The type of its log driver; empty if the daemon does not report it.
    pub log_driver: String,
}

impl Inspected {
    /// The same as metadata of a container of this API.
    pub fn metadata(self, api: Api) -> ContainerMetadata {
        ContainerMetadata {
            name: self.name,
            image: self.image,
            labels: self.labels,
            env: split_env(self.env),
            runtime: api.runtime_name(),
            is_running: self.running,
            ..ContainerMetadata::default()
        }
        .bounded()
    }
}
