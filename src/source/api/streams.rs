//! The containers that are read through the API, between the reader, which decides, and the
//! Docker thread, which receives.
//!
//! The thread starts with the first container that needs it; while every container has a file,
//! nothing here uses the API.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::socket::DockerSocket;
use crate::config::{Config, Mode};
use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::delivery::link::Link;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::LogDriver;
use crate::runtime::Api;
pub use crate::source::api::sink::News;
use crate::source::api::sink::{Asked, Shared, Sink};
use crate::source::api::DockerThread;
use crate::telemetry::metrics::Unread;

/// The reader's side.
pub struct Streams {
    shared: Arc<Shared>,
    /// Shared with the instance, which can end it as well.
    thread: Option<Arc<DockerThread>>,
}

impl Streams {
    /// Creates it without following or connecting to anything.
    pub fn new(link: Arc<Link>, api: Api, socket: PathBuf, config: &Config) -> Streams {
        let shared = Shared {
            link,
            api,
            socket,
            max_line_bytes: config.partial_max_size,
            follows: config.follow,
            streamed: Mutex::default(),
            news: Mutex::default(),
            asked: AtomicUsize::default(),
        };
        Streams {
            shared: Arc::new(shared),
            thread: None,
        }
    }

    /// Which API this is.
    pub fn api(&self) -> Api {
        self.shared.api
    }

    fn thread(&mut self) -> io::Result<&DockerThread> {
        if self.thread.is_none() {
            let sink = Sink::new(Arc::clone(&self.shared));
            let socket = DockerSocket::Unix(self.shared.socket.clone());
            let threads = &self.shared.link.threads;
            self.thread = Some(threads.start(|| DockerThread::start(socket, Box::new(sink)))?);
        }
        self.thread
            .as_deref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of open split lines.
    pub fn open_lines(&self) -> u64 {
        self.shared
            .streamed()
            .values()
            .map(|streamed| streamed.assembler.open_lines())
            .sum()
    }

    /// Follows a container with this log driver from the checkpoint that `saved` returns.
    /// `saved` is called only once following is certain to work, because a tailer drops its open
    /// line when it hands over. Of a log of which nothing was read, only the `last` lines are
    /// wanted, if there is such a number. On an error, nothing has changed.
    pub fn follow(
        &mut self,
        id: ContainerId,
        template: Arc<RecordTemplate>,
        driver: Option<&LogDriver>,
        last: Option<usize>,
        saved: impl FnOnce() -> ContainerCheckpoint,
    ) -> io::Result<ContainerCheckpoint> {
        self.thread()?;
        let saved = saved();
        let mut streamed = self.shared.stream_from(&saved, id, template, driver);
        streamed.last = last;
        self.shared.streamed().insert(id, streamed);
        let follows = self.shared.follows;
        request(self.thread()?, id, follows);
        Ok(saved)
    }

    /// Whether nothing is expected from the API any more, if logs are not followed.
    pub fn is_settled(&self) -> bool {
        self.shared.is_settled()
    }

    /// Follows a container again that the daemon did not know although its folder exists: the
    /// folder is created first.
    pub fn ask_again(&mut self, id: &ContainerId) {
        let is_unknown = match self.shared.streamed().get_mut(id) {
            Some(streamed) => {
                streamed.report_unreadable(&self.shared.link);
                std::mem::take(&mut streamed.is_unknown)
            }
            None => false,
        };
        if let Some(thread) = self.thread.as_ref().filter(|_| is_unknown) {
            request(thread, *id, self.shared.follows);
        }
    }

    /// Returns why a container is not read, or `None`.
    pub fn unread(&self, id: &ContainerId) -> Option<Unread> {
        self.shared
            .streamed()
            .get(id)
            .and_then(|streamed| streamed.trouble.reason())
    }

    /// Stops following a container and returns where another source continues. Entries that
    /// still arrive are dropped.
    pub fn release(&mut self, id: &ContainerId) -> Option<ContainerCheckpoint> {
        let mut streamed = self.shared.streamed().remove(id)?;
        if let Some(thread) = &self.thread {
            thread.unfollow(*id);
        }
        Some(streamed.hand_over(&self.shared.link))
    }

    /// Stops following a container that is gone, and delivers what is open.
    pub fn finish(&mut self, id: &ContainerId) {
        let Some(mut streamed) = self.shared.streamed().remove(id) else {
            return;
        };
        streamed.assembler.close();
        streamed.push(&self.shared.link);
        if let Some(thread) = &self.thread {
            thread.unfollow(*id);
        }
    }

    /// Records built from now on use `template`.
    pub fn set_template(&self, id: &ContainerId, template: Arc<RecordTemplate>) {
        if let Some(streamed) = self.shared.streamed().get_mut(id) {
            streamed.assembler.close_before(&template);
            streamed.push(&self.shared.link);
            streamed.assembler.set_template(template);
        }
    }

    /// Tells the thread that the queue may have space again.
    pub fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.wake();
        }
    }

    /// Delivers what is open and will not be completed; returns when to check next.
    ///
    /// Through the API, dockerd 20.10 omits the line feed of a long line of the local driver,
    /// so an open line may well be complete.
    pub fn deliver_dead(&self, now: Instant) -> Option<Instant> {
        self.thread.as_ref()?;
        let mut next = None;
        let is_stalled = !self.shared.link.queue.has_space();
        for streamed in self.shared.streamed().values_mut() {
            if is_stalled {
                // Nothing is read meanwhile, so this is not silence.
                streamed.last_entry = now;
            }
            let silence = now.duration_since(streamed.last_entry);
            if streamed.grace().is_some_and(|grace| silence >= grace) {
                streamed.close_after(silence);
                streamed.push(&self.shared.link);
            }
            let grace = streamed.grace();
            streamed.is_awaited = grace.is_some();
            let Some(grace) = grace else { continue };
            let due = streamed.last_entry + grace;
            next = Some(next.map_or(due, |earlier: Instant| earlier.min(due)));
        }
        next
    }

    /// Whether there is a socket.
    pub fn may_answer(&self) -> bool {
        !matches!(self.shared.socket.try_exists(), Ok(false))
    }

    /// Requests a list of all containers, for a root that cannot be listed; see
    /// [`News::listed`].
    pub fn list(&mut self) {
        let (shared, asked) = (Arc::clone(&self.shared), Asked::new(&self.shared));
        if let Ok(thread) = self.thread() {
            thread.list(move |listed| {
                let _asked = asked;
                if let Ok(listed) = listed {
                    shared.news().listed = Some(listed);
                    shared.link.reader_waker.wake();
                }
            });
        }
    }

    /// Requests the metadata of a container whose files cannot be read.
    pub fn inspect(&mut self, id: ContainerId) {
        let (shared, asked) = (Arc::clone(&self.shared), Asked::new(&self.shared));
        if let Ok(thread) = self.thread() {
            thread.inspect(id, move |inspected| {
                let _asked = asked;
                if let Ok(inspected) = inspected {
                    let log_driver = inspected.log_driver.clone();
                    let metadata = inspected.metadata(shared.api);
                    shared.news().inspected.push((id, metadata, log_driver));
                    shared.link.reader_waker.wake();
                }
            });
        }
    }

    /// Returns what has been learnt since the last call.
    pub fn take_news(&self) -> News {
        std::mem::take(&mut *self.shared.news())
    }
}

/// Requests a container's log.
fn request(thread: &DockerThread, id: ContainerId, follows: bool) {
    match follows {
        true => thread.follow(id),
        false => thread.read_existing(id),
    }
}

/// The streams of each API that is enabled.
pub struct StreamsByApi(Vec<Streams>);

impl StreamsByApi {
    /// Creates them without following or connecting to anything.
    pub fn new(link: &Arc<Link>, config: &Config) -> StreamsByApi {
        let asked = Api::ALL.into_iter().filter(|_| config.mode != Mode::File);
        let streams = asked.filter_map(|api| {
            let socket = config.socket(api)?.to_owned();
            Some(Streams::new(Arc::clone(link), api, socket, config))
        });
        StreamsByApi(streams.collect())
    }

    /// Those of one API, unless it is off.
    pub fn of(&mut self, api: Api) -> Option<&mut Streams> {
        self.0.iter_mut().find(|streams| streams.api() == api)
    }

    /// As [`StreamsByApi::of`], shared.
    pub fn get(&self, api: Api) -> Option<&Streams> {
        self.0.iter().find(|streams| streams.api() == api)
    }

    /// Those of all APIs.
    pub fn iter(&self) -> impl Iterator<Item = &Streams> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests;
