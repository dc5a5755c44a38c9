//! The containers that are read through the Docker API, between the reader,
//! which decides, and the Docker thread, which receives.
//!
//! The thread begins with the first container that needs it; as long as every
//! container is on a file nothing here touches the API.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::assemble::{Assembler, Identity, ReadBytes};
use crate::checkpoint::{ContainerId, Resume, Saved};
use crate::config::{Config, Mode};
use crate::discover::docker::{split_env, ContainerMetadata};
use crate::discover::Api;
use crate::docker::{ContainerAction, DockerSocket, DockerThread, Inspected, StreamEnd, StreamSink};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::format::Entry;
use crate::position::{PerStream, Stream, Timestamp};

/// One streamed container.
#[derive(Debug)]
struct Streamed {
    assembler: Assembler,
    /// The last known position in a file; the moments move ahead of it.
    files: Saved,
    last_entry: Instant,
    /// Bytes of entries since the last push.
    received: u64,
    /// The daemon says that there is no such container.
    is_unknown: bool,
    /// Said already: why it cannot be read, or that it broke.
    failure_reported: bool,
    /// Said already: that entries are lost.
    gap_reported: bool,
}

/// What the two threads share.
#[derive(Debug)]
struct Shared {
    exchange: Arc<Exchange>,
    api: Api,
    socket: PathBuf,
    max_line_bytes: usize,
    streamed: Mutex<HashMap<ContainerId, Streamed>>,
    news: Mutex<News>,
}

/// What the Docker thread has learnt, for the reader to fetch.
#[derive(Debug, Default)]
pub struct News {
    /// Containers something happened to.
    pub touched: Vec<ContainerId>,
    /// All containers, if they were asked for.
    pub listed: Option<Vec<ContainerId>>,
    /// Metadata that was asked for, and whether the container logs at all.
    pub inspected: Vec<(ContainerId, ContainerMetadata, String)>,
}

/// The reader's side.
pub struct Streams {
    shared: Arc<Shared>,
    thread: Option<DockerThread>,
}

impl Streams {
    /// Nothing is streamed, and nothing connected.
    pub fn new(exchange: Arc<Exchange>, api: Api, socket: PathBuf, max_line_bytes: usize) -> Streams {
        let (streamed, news) = (Mutex::default(), Mutex::default());
        let shared = Shared { exchange, api, socket, max_line_bytes, streamed, news };
        Streams { shared: Arc::new(shared), thread: None }
    }

    /// Whose API it is.
    pub fn api(&self) -> Api {
        self.shared.api
    }

    fn thread(&mut self) -> io::Result<&DockerThread> {
        if self.thread.is_none() {
            let sink = Sink { shared: Arc::clone(&self.shared), unreachable_reported: false };
            let socket = DockerSocket::Unix(self.shared.socket.clone());
            self.thread = Some(DockerThread::start(socket, Box::new(sink))?);
        }
        self.thread.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Split lines that wait for their rest.
    pub fn open_lines(&self) -> u64 {
        self.shared.streamed().values().map(|streamed| streamed.assembler.open_lines()).sum()
    }

    /// Streams a container from where `saved` says.
    pub fn follow(&mut self, id: ContainerId, saved: Saved, identity: Arc<Identity>) -> io::Result<()> {
        let mut assembler = Assembler::new(self.shared.exchange.accounts.open(id), identity);
        if self.shared.api == Api::Podman {
            assembler.set_tagged(true);
            assembler.set_to_the_second();
        }
        assembler.resume_from(&saved, [true, true]);
        let streamed = Streamed {
            assembler,
            files: saved,
            last_entry: Instant::now(),
            received: 0,
            is_unknown: false,
            failure_reported: false,
            gap_reported: false,
        };
        self.shared.streamed().insert(id, streamed);
        self.thread()?.follow(id);
        Ok(())
    }

    /// A container whose folder is there while the daemon said that it knows
    /// none: the folder comes first, so it is asked again.
    pub fn ask_again(&mut self, id: &ContainerId) {
        let is_unknown = match self.shared.streamed().get_mut(id) {
            Some(streamed) => std::mem::take(&mut streamed.is_unknown),
            None => false,
        };
        if let Some(thread) = self.thread.as_ref().filter(|_| is_unknown) {
            thread.follow(*id);
        }
    }

    /// Ends streaming a container; where another source goes on. What comes in
    /// afterwards is dropped.
    pub fn release(&mut self, id: &ContainerId) -> Option<Saved> {
        let mut streamed = self.shared.streamed().remove(id)?;
        if let Some(thread) = &self.thread {
            thread.unfollow(*id);
        }
        Some(streamed.hand_over(&self.shared.exchange))
    }

    /// The container is gone: delivers what is open, and ends.
    pub fn finish(&mut self, id: &ContainerId) {
        let Some(mut streamed) = self.shared.streamed().remove(id) else { return };
        streamed.assembler.close_open_lines();
        streamed.push(&self.shared.exchange);
        if let Some(thread) = &self.thread {
            thread.unfollow(*id);
        }
    }

    /// Records from now on carry `identity`.
    pub fn set_identity(&self, id: &ContainerId, identity: Arc<Identity>) {
        if let Some(streamed) = self.shared.streamed().get_mut(id) {
            streamed.assembler.set_identity(identity);
        }
    }

    /// There may be space in the queue again.
    pub fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.wake();
        }
    }

    /// Delivers open lines that nothing will complete; when to look next.
    ///
    /// Through the API dockerd 20.10 leaves out the line feed of a long line of
    /// the local driver, so an open line may well be a whole one.
    pub fn deliver_dead_lines(&self, now: Instant) -> Option<Instant> {
        self.thread.as_ref()?;
        let mut next = None;
        for streamed in self.shared.streamed().values_mut() {
            // That the container has stopped says nothing yet: the daemon may have
            // more of it, and says when it has not (`StreamEnd::Finished`).
            let Some(grace) = streamed.assembler.grace_of_stream() else { continue };
            let due = streamed.last_entry + grace;
            if due <= now {
                streamed.assembler.close_ended_lines();
                streamed.push(&self.shared.exchange);
            } else {
                next = Some(next.map_or(due, |earlier: Instant| earlier.min(due)));
            }
        }
        next
    }

    /// Asks for all containers, where no folder tells; see [`News::listed`].
    pub fn list(&mut self) {
        let shared = Arc::clone(&self.shared);
        if let Ok(thread) = self.thread() {
            thread.list(move |listed| {
                if let Ok(listed) = listed {
                    shared.news().listed = Some(listed);
                    shared.exchange.reader_bell.ring();
                }
            });
        }
    }

    /// Asks for the metadata of a container whose files cannot be read.
    pub fn inspect(&mut self, id: ContainerId) {
        let shared = Arc::clone(&self.shared);
        if let Ok(thread) = self.thread() {
            thread.inspect(id, move |inspected| {
                if let Ok(Inspected { name, image, labels, env, running, log_driver, .. }) = inspected {
                    let metadata = ContainerMetadata {
                        name,
                        image,
                        labels,
                        env: split_env(env),
                        runtime: shared.api.runtime_name().to_owned(),
                        is_running: running,
                        pod: None,
                    };
                    shared.news().inspected.push((id, metadata, log_driver));
                    shared.exchange.reader_bell.ring();
                }
            });
        }
    }

    /// What has been learnt since the last call.
    pub fn take_news(&self) -> News {
        std::mem::take(&mut *self.shared.news())
    }
}

/// The streams of each API that may be asked.
pub struct StreamsByApi(Vec<Streams>);

impl StreamsByApi {
    /// Nothing is streamed, and nothing connected.
    pub fn new(exchange: &Arc<Exchange>, config: &Config) -> StreamsByApi {
        let sockets = [(Api::Docker, &config.docker_socket), (Api::Podman, &config.podman_socket)];
        let asked = sockets.into_iter().filter(|_| config.mode != Mode::File);
        let streams = asked.filter_map(|(api, socket)| {
            let socket = socket.clone()?;
            Some(Streams::new(Arc::clone(exchange), api, socket, config.partial_max_size))
        });
        StreamsByApi(streams.collect())
    }

    /// Those of one, unless it is off.
    pub fn of(&mut self, api: Api) -> Option<&mut Streams> {
        self.0.iter_mut().find(|streams| streams.api() == api)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Streams> {
        self.0.iter()
    }
}

impl Shared {
    fn streamed(&self) -> MutexGuard<'_, HashMap<ContainerId, Streamed>> {
        self.streamed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, id: &ContainerId) {
        self.news().touched.push(*id);
        self.exchange.reader_bell.ring();
    }
}

impl Streamed {
    /// The position in the file as it was, the moments ahead of it.
    fn here(&self) -> PerStream<Resume> {
        self.files.map(|file| Resume { is_by_time: true, ..file })
    }

    fn push(&mut self, exchange: &Exchange) {
        let here = self.here().map(Some);
        let read = ReadBytes { total: std::mem::take(&mut self.received), skipped: 0 };
        self.assembler.push(exchange, here, false, read);
    }

    fn hand_over(&mut self, exchange: &Exchange) -> Saved {
        // What was received counts as delivered from here on.
        self.push(exchange);
        let here = self.here();
        let mut saved = self.assembler.handed_over(Resume::default());
        for (resume, file) in saved.iter_mut().zip(here) {
            *resume = Resume { moment: resume.moment, ..file };
        }
        saved
    }
}

/// The Docker thread's side.
struct Sink {
    shared: Arc<Shared>,
    unreachable_reported: bool,
}

impl StreamSink for Sink {
    fn has_space(&mut self) -> bool {
        self.shared.exchange.queue.has_space()
    }

    fn entry(&mut self, id: &ContainerId, stream: Stream, time: Timestamp, text: &[u8], ends_line: bool) {
        let mut streamed = self.shared.streamed();
        let Some(streamed) = streamed.get_mut(id) else { return };
        streamed.last_entry = Instant::now();
        streamed.assembler.begin(&self.shared.exchange);
        let file = Resume { is_by_time: true, ..streamed.files[stream.index()] };
        let entry = Entry { time, stream, text, ends_line, is_utf8: false, attrs: &[] };
        let source_bytes = text.len() + usize::from(ends_line);
        streamed.received += source_bytes as u64;
        streamed.assembler.take_from_api(&entry, source_bytes, self.shared.max_line_bytes, || file);
    }

    fn flush(&mut self, id: &ContainerId) {
        if let Some(streamed) = self.shared.streamed().get_mut(id) {
            streamed.push(&self.shared.exchange);
        }
    }

    fn ended(&mut self, id: &ContainerId, end: StreamEnd) {
        let mut all = self.shared.streamed();
        let Some(streamed) = all.get_mut(id) else { return };
        let (name, short_id) = (streamed.assembler.metadata().name.clone(), id.short());
        match end {
            StreamEnd::Finished => {
                // The container has stopped: nothing completes what is open.
                streamed.assembler.close_open_lines();
                streamed.push(&self.shared.exchange);
                streamed.failure_reported = false;
                drop(all);
                self.shared.touch(id);
            }
            // Whether it is gone for good, its folder tells.
            StreamEnd::Gone => streamed.is_unknown = true,
            StreamEnd::Unsupported(reason) => {
                if !std::mem::replace(&mut streamed.failure_reported, true) {
                    self.shared.exchange.report(Event::Unreadable { name, short_id, reason });
                }
            }
            StreamEnd::Failed(reason) => {
                self.shared.exchange.tally.reconnects.add_one();
                if !std::mem::replace(&mut streamed.failure_reported, true) {
                    self.shared.exchange.report(Event::StreamBroke { name, short_id, reason });
                }
            }
        }
    }

    fn lost(&mut self, id: &ContainerId) {
        let mut all = self.shared.streamed();
        let Some(streamed) = all.get_mut(id) else { return };
        if !std::mem::replace(&mut streamed.gap_reported, true) {
            let (name, short_id) = (streamed.assembler.metadata().name.clone(), id.short());
            self.shared.exchange.report(Event::StreamGap { name, short_id });
        }
    }

    fn event(&mut self, id: &ContainerId, _action: ContainerAction) {
        self.shared.touch(id);
    }

    fn daemon(&mut self, reachable: Result<(), String>) {
        let socket = self.shared.socket.clone();
        match reachable {
            Err(reason) => {
                self.unreachable_reported = true;
                self.shared.exchange.report(Event::ApiUnreachable { socket, reason });
            }
            Ok(()) if std::mem::take(&mut self.unreachable_reported) => {
                self.shared.exchange.report(Event::ApiReachable { socket });
            }
            Ok(()) => {}
        }
    }

    fn since(&mut self, id: &ContainerId) -> Option<Timestamp> {
        let mut all = self.shared.streamed();
        let streamed = all.get_mut(id)?;
        streamed.push(&self.shared.exchange);
        streamed.assembler.begin_again();
        streamed.assembler.since()
    }
}
