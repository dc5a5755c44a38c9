//! The containers that are read through the API, between the reader, which decides, and the
//! Docker thread, which receives.
//!
//! The thread starts with the first container that needs it; while every container has a file,
//! nothing here uses the API.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::socket::DockerSocket;
use crate::config::{Config, Mode};
use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::format::Entry;
use crate::lock::lock;
use crate::pipeline::assembler::{Assembler, ReadBytes, DEAD_LINE_GRACE};
use crate::pipeline::template::RecordTemplate;
use crate::runtime::docker::{split_env, ContainerMetadata};
use crate::runtime::id::ContainerId;
use crate::runtime::Api;
use crate::source::api::{ContainerAction, DockerThread, Inspected, StreamEnd, StreamSink};
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// One container that is read through the API.
#[derive(Debug)]
struct Streamed {
    assembler: Assembler,
    /// The last known file offsets; the cursors are ahead of them.
    files: ContainerCheckpoint,
    last_entry: Instant,
    /// The daemon reported that the container has stopped. It may have been restarted since,
    /// and be in the middle of a line, so what is open waits for a short time.
    has_finished: bool,
    /// The connection failed, so silence means nothing.
    is_broken: bool,
    /// The reader knows that something is open, and checks when it is due.
    is_awaited: bool,
    /// Bytes of entries since the last push.
    received: u64,
    /// The daemon reported that there is no such container.
    is_unknown: bool,
    /// Why nothing arrives; initially, that the daemon has not answered.
    trouble: Trouble,
    /// The daemon's reason why it cannot read the log.
    unreadable: Option<String>,
    /// Lost entries have been reported.
    gap_reported: bool,
}

/// What the two threads share.
#[derive(Debug)]
struct Shared {
    link: Arc<Link>,
    api: Api,
    socket: PathBuf,
    max_line_bytes: usize,
    streamed: Mutex<HashMap<ContainerId, Streamed>>,
    news: Mutex<News>,
}

/// What the Docker thread has learnt, for the reader to fetch.
#[derive(Debug, Default)]
pub struct News {
    /// Containers that something happened to.
    pub touched: Vec<ContainerId>,
    /// All containers, if a list was requested.
    pub listed: Option<Vec<ContainerId>>,
    /// Requested metadata, and the name of the container's log driver.
    pub inspected: Vec<(ContainerId, ContainerMetadata, String)>,
}

/// The reader's side.
pub struct Streams {
    shared: Arc<Shared>,
    /// Shared with the instance, which can end it as well.
    thread: Option<Arc<DockerThread>>,
}

impl Streams {
    /// Creates it without following or connecting to anything.
    pub fn new(link: Arc<Link>, api: Api, socket: PathBuf, max_line_bytes: usize) -> Streams {
        let (streamed, news) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            link,
            api,
            socket,
            max_line_bytes,
            streamed,
            news,
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

    /// Follows a container from the checkpoint that `saved` returns. `saved` is called only
    /// once following is certain to work, because a tailer drops its open line when it hands
    /// over. On an error, nothing has changed.
    pub fn follow(
        &mut self,
        id: ContainerId,
        template: Arc<RecordTemplate>,
        saved: impl FnOnce() -> ContainerCheckpoint,
    ) -> io::Result<ContainerCheckpoint> {
        self.thread()?;
        let saved = saved();
        let mut assembler = self.shared.assembler(id, template);
        assembler.resume_from(&saved, [true, true]);
        self.shared
            .streamed()
            .insert(id, Streamed::new(assembler, saved));
        self.thread()?.follow(id);
        Ok(saved)
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
            thread.follow(*id);
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

    /// Requests a list of all containers, for a root that cannot be listed; see
    /// [`News::listed`].
    pub fn list(&mut self) {
        let shared = Arc::clone(&self.shared);
        if let Ok(thread) = self.thread() {
            thread.list(move |listed| {
                if let Ok(listed) = listed {
                    shared.news().listed = Some(listed);
                    shared.link.reader_waker.wake();
                }
            });
        }
    }

    /// Requests the metadata of a container whose files cannot be read.
    pub fn inspect(&mut self, id: ContainerId) {
        let shared = Arc::clone(&self.shared);
        if let Ok(thread) = self.thread() {
            thread.inspect(id, move |inspected| {
                if let Ok(Inspected {
                    name,
                    image,
                    labels,
                    env,
                    running,
                    log_driver,
                    ..
                }) = inspected
                {
                    let metadata = ContainerMetadata {
                        name,
                        image,
                        labels,
                        env: split_env(env),
                        runtime: shared.api.runtime_name().to_owned(),
                        is_running: running,
                        pod: None,
                        is_cut: false,
                        owner: None,
                    };
                    shared
                        .news()
                        .inspected
                        .push((id, metadata.bounded(), log_driver));
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

/// The streams of each API that is enabled.
pub struct StreamsByApi(Vec<Streams>);

impl StreamsByApi {
    /// Creates them without following or connecting to anything.
    pub fn new(link: &Arc<Link>, config: &Config) -> StreamsByApi {
        let asked = Api::ALL.into_iter().filter(|_| config.mode != Mode::File);
        let streams = asked.filter_map(|api| {
            let socket = config.socket(api)?.to_owned();
            Some(Streams::new(
                Arc::clone(link),
                api,
                socket,
                config.partial_max_size,
            ))
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

impl Shared {
    /// Creates an assembler for entries in the form that this API returns.
    fn assembler(&self, id: ContainerId, template: Arc<RecordTemplate>) -> Assembler {
        let mut assembler = Assembler::new(self.link.accounts.open(id), template);
        if self.api == Api::Podman {
            assembler.set_tagged(true);
            assembler.set_to_the_second();
        }
        assembler
    }

    fn streamed(&self) -> MutexGuard<'_, HashMap<ContainerId, Streamed>> {
        lock(&self.streamed)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        lock(&self.news)
    }

    fn touch(&self, id: &ContainerId) {
        self.news().touched.push(*id);
        self.link.reader_waker.wake();
    }
}

impl Streamed {
    fn new(assembler: Assembler, files: ContainerCheckpoint) -> Streamed {
        Streamed {
            assembler,
            files,
            last_entry: Instant::now(),
            has_finished: false,
            is_broken: false,
            is_awaited: false,
            received: 0,
            is_unknown: false,
            trouble: Trouble::unreported(Unread::ApiUnavailable),
            unreadable: None,
            gap_reported: false,
        }
    }

    /// Name and short id, for messages.
    fn named(&self) -> (String, String) {
        (
            self.assembler.metadata().title(),
            self.assembler.account().short_id(),
        )
    }

    /// Reports once that the daemon cannot read it, if so.
    fn report_unreadable(&mut self, link: &Link) {
        let Some(reason) = self.unreadable.clone() else {
            return;
        };
        let (name, short_id) = self.named();
        self.trouble.begin(Unread::DriverUnreadable, || {
            link.report(Event::Unreadable {
                name,
                short_id,
                reason,
            })
        });
    }

    /// How long after its last entry something open counts as complete. That the container has
    /// stopped is not enough: the daemon may have more of it.
    fn grace(&self) -> Option<Duration> {
        if self.is_broken {
            return None;
        }
        if self.has_finished {
            return self.assembler.is_open().then_some(DEAD_LINE_GRACE);
        }
        self.assembler.grace_of_stream()
    }

    fn close_after(&mut self, silence: Duration) {
        if self.has_finished {
            self.assembler.close();
        } else {
            self.assembler.close_of_stream_after(silence);
        }
    }

    /// The unchanged file offsets, with the cursors ahead of them.
    fn here(&self) -> PerStream<StreamCheckpoint> {
        self.files.map(|file| StreamCheckpoint {
            is_by_time: true,
            ..file
        })
    }

    fn push(&mut self, link: &Link) {
        let here = self.here().map(Some);
        let read = ReadBytes {
            total: std::mem::take(&mut self.received),
            skipped: 0,
        };
        self.assembler.push(link, here, false, read);
    }

    fn hand_over(&mut self, link: &Link) -> ContainerCheckpoint {
        // What was received counts as delivered from now on.
        self.push(link);
        let here = self.here();
        let mut saved = self.assembler.handed_over(StreamCheckpoint::default());
        for (resume, file) in saved.iter_mut().zip(here) {
            *resume = StreamCheckpoint {
                cursor: resume.cursor,
                ..file
            };
        }
        saved
    }
}

/// The Docker thread's side.
struct Sink {
    shared: Arc<Shared>,
    daemon: Trouble<()>,
    /// Why the daemon does not answer; `None` while it does.
    silence: Option<String>,
}

impl Sink {
    fn new(shared: Arc<Shared>) -> Sink {
        Sink {
            shared,
            daemon: Trouble::default(),
            silence: None,
        }
    }

    /// Reports it once per outage.
    fn report_unreachable(&mut self) {
        let Some(reason) = self.silence.clone() else {
            return;
        };
        let (api, socket) = (self.shared.api, self.shared.socket.clone());
        self.daemon.begin((), || {
            self.shared.link.report(Event::ApiUnreachable {
                api,
                socket,
                reason,
            })
        });
    }
}

impl StreamSink for Sink {
    fn has_space(&mut self) -> bool {
        self.shared.link.queue.has_space()
    }

    fn is_held_back(&mut self, id: &ContainerId) -> bool {
        let queue = &self.shared.link.queue;
        self.shared
            .streamed()
            .get(id)
            .is_some_and(|streamed| streamed.assembler.account().waits(queue.is_cautious()))
    }

    fn entry(
        &mut self,
        id: &ContainerId,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        ends_line: bool,
    ) {
        let mut streamed = self.shared.streamed();
        let Some(streamed) = streamed.get_mut(id) else {
            return;
        };
        streamed.last_entry = Instant::now();
        streamed.assembler.begin(&self.shared.link, 0);
        let file = StreamCheckpoint {
            is_by_time: true,
            ..streamed.files[stream.index()]
        };
        let entry = Entry {
            time,
            stream,
            text,
            ends_line,
            is_utf8: false,
            attrs: &[],
        };
        let source_bytes = text.len() + usize::from(ends_line);
        streamed.received += source_bytes as u64;
        streamed
            .assembler
            .take_from_api(&entry, source_bytes, self.shared.max_line_bytes, || file);
        if streamed.assembler.is_full(&self.shared.link) {
            streamed.push(&self.shared.link);
        } else if streamed.assembler.is_due() {
            let here = streamed.here().map(Some);
            streamed.assembler.mark(here);
        }
    }

    fn flush(&mut self, id: &ContainerId) {
        let mut all = self.shared.streamed();
        let Some(streamed) = all.get_mut(id) else {
            return;
        };
        streamed.push(&self.shared.link);
        if !streamed.is_awaited && streamed.grace().is_some() {
            streamed.is_awaited = true;
            self.shared.link.reader_waker.wake();
        }
    }

    fn ended(&mut self, id: &ContainerId, end: StreamEnd) {
        let mut all = self.shared.streamed();
        let Some(streamed) = all.get_mut(id) else {
            return;
        };
        let (name, short_id) = streamed.named();
        match end {
            StreamEnd::Finished => {
                streamed.has_finished = true;
                streamed.last_entry = Instant::now();
                streamed.trouble.end(|| true);
                drop(all);
                self.shared.touch(id);
            }
            // Its folder shows whether it is really gone.
            StreamEnd::Gone => {
                streamed.is_unknown = true;
                streamed.trouble.begin(Unread::Missing, || false);
            }
            StreamEnd::Unsupported(reason) => {
                streamed.unreadable = Some(reason);
                streamed.report_unreadable(&self.shared.link);
            }
            StreamEnd::Failed(reason) => {
                streamed.is_broken = true;
                self.shared.link.tally.reconnects.add_one();
                let link = &self.shared.link;
                streamed.trouble.begin(Unread::ApiUnavailable, || {
                    link.report(Event::StreamBroke {
                        api: self.shared.api,
                        name,
                        short_id,
                        reason,
                    })
                });
                drop(all);
                self.report_unreachable();
            }
        }
    }

    fn lost(&mut self, id: &ContainerId) {
        let mut all = self.shared.streamed();
        let Some(streamed) = all.get_mut(id) else {
            return;
        };
        if !streamed.gap_reported {
            let (name, short_id) = streamed.named();
            streamed.gap_reported = self.shared.link.report(Event::StreamGap {
                api: self.shared.api,
                name,
                short_id,
            });
        }
    }

    fn event(&mut self, id: &ContainerId, _action: ContainerAction) {
        self.shared.touch(id);
    }

    fn daemon(&mut self, reachable: Result<(), String>) {
        match reachable {
            Err(reason) => {
                self.silence = Some(reason);
                self.report_unreachable();
            }
            Ok(()) => {
                self.silence = None;
                let (api, socket) = (self.shared.api, self.shared.socket.clone());
                self.daemon
                    .end(|| self.shared.link.report(Event::ApiReachable { api, socket }));
            }
        }
    }

    fn opened(&mut self, id: &ContainerId) {
        if let Some(streamed) = self.shared.streamed().get_mut(id) {
            streamed.trouble.rest();
        }
    }

    fn since(&mut self, id: &ContainerId) -> Option<Timestamp> {
        let mut all = self.shared.streamed();
        let streamed = all.get_mut(id)?;
        (streamed.has_finished, streamed.is_broken) = (false, false);
        streamed.push(&self.shared.link);
        streamed.assembler.begin_again();
        streamed.assembler.since()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::checkpoint::CheckpointStore;
    use crate::delivery::host::embedded::decode_records;
    use crate::delivery::queue::BATCH_BYTES;
    use crate::pipeline::fields::MetadataOptions;
    use crate::pipeline::multiline::{MultilineOptions, Pattern};
    use crate::pipeline::template::RecordOptions;
    use rustix::event::{poll, PollFd, PollFlags, Timespec};

    const TIME: Timestamp = Timestamp {
        seconds: 7,
        nanos: 0,
    };

    fn streamed() -> (Streams, Sink, ContainerId) {
        streamed_by(Api::Docker)
    }

    /// One followed container, with the Docker thread's side played by the test.
    fn streamed_by(api: Api) -> (Streams, Sink, ContainerId) {
        let link = Arc::new(Link::new(1 << 20, CheckpointStore::in_memory()).unwrap());
        let mut streams = Streams::new(
            link,
            api,
            PathBuf::from("/nonexistent/docker.sock"),
            1 << 20,
        );
        streams.thread().unwrap();
        let id = ContainerId::from_bytes([7; 32]);
        let metadata = ContainerMetadata {
            is_running: true,
            ..ContainerMetadata::default()
        };
        let template = Arc::new(RecordTemplate::unnamed(&id, metadata));
        let assembler = streams.shared.assembler(id, template);
        streams
            .shared
            .streamed()
            .insert(id, Streamed::new(assembler, ContainerCheckpoint::default()));
        let sink = Sink::new(Arc::clone(&streams.shared));
        (streams, sink, id)
    }

    fn lengths(streams: &Streams) -> Vec<usize> {
        let batches = std::iter::from_fn(|| streams.shared.link.queue.pop());
        let records = batches.flat_map(|batch| decode_records(&batch.bytes).unwrap());
        records.map(|record| record.text("log").len()).collect()
    }

    /// As with a container whose log is requested right before it is started: the daemon
    /// reports that it is not running, but has already sent the first half of a line.
    #[test]
    fn a_line_in_whose_midst_the_daemon_says_it_has_stopped_goes_on_if_it_runs() {
        let (streams, mut sink, id) = streamed();
        let piece = [b'x'; 16_384];
        sink.entry(&id, Stream::Stdout, TIME, &piece, false);
        sink.flush(&id);
        sink.ended(&id, StreamEnd::Finished);
        streams.deliver_dead(Instant::now());
        assert_eq!(sink.since(&id), Some(TIME), "from the start of that line");
        for (length, ends_line) in [(16_384, false), (16_384, false), (100, true)] {
            sink.entry(&id, Stream::Stdout, TIME, &piece[..length], ends_line);
        }
        sink.flush(&id);
        assert_eq!(lengths(&streams), [2 * 16_384 + 100]);
    }

    /// Podman gives each piece a time of its own, and a log is requested before it is read:
    /// that must not turn a piece from another second into another line, even when it is
    /// requested again.
    #[test]
    fn a_line_of_podmans_in_two_seconds_is_one_however_often_it_is_asked_for() {
        let (streams, mut sink, id) = streamed_by(Api::Podman);
        let piece = [b'x'; 8192];
        let pieces = |sink: &mut Sink, pieces: &[(i64, usize, bool)]| {
            for &(seconds, length, ends_line) in pieces {
                sink.entry(
                    &id,
                    Stream::Stderr,
                    at(seconds),
                    &piece[..length],
                    ends_line,
                );
            }
            sink.flush(&id);
        };
        assert_eq!(sink.since(&id), None);
        pieces(
            &mut sink,
            &[(7, 8192, false), (7, 8192, false), (8, 8192, false)],
        );
        // Its rest takes longer than the grace of a line that has lost its rest.
        streams.deliver_dead(Instant::now() + 10 * DEAD_LINE_GRACE);
        sink.ended(&id, StreamEnd::Failed("broken".to_owned()));
        assert_eq!(lengths(&streams), [0; 0]);
        assert_eq!(sink.since(&id), Some(at(7)), "from the start of that line");
        pieces(
            &mut sink,
            &[
                (7, 8192, false),
                (7, 8192, false),
                (8, 8192, false),
                (9, 100, true),
            ],
        );
        pieces(&mut sink, &[(9, 1, true)]);
        assert_eq!(lengths(&streams), [3 * 8192 + 100, 1]);
    }

    fn joins_traces(streams: &Streams, id: &ContainerId) {
        let pattern = Some(Pattern::shared("java").unwrap());
        let multiline = MultilineOptions {
            pattern,
            flush: Duration::from_secs(1),
            max_bytes: 1000,
        };
        let said = MetadataOptions::default();
        let options = RecordOptions {
            multiline,
            ..RecordOptions::plain(&said)
        };
        let metadata = ContainerMetadata {
            is_running: true,
            ..ContainerMetadata::default()
        };
        streams.set_template(id, Arc::new(RecordTemplate::new(id, metadata, options)));
    }

    /// Each record repeats the container's metadata, so a few KiB from the API can become MiB
    /// before the thread checks for space again.
    #[test]
    fn a_batch_is_closed_by_the_bytes_that_were_built() {
        let (streams, mut sink, id) = streamed();
        let labels = std::iter::once(("com.docker.compose.project".to_owned(), "p".repeat(8_000)));
        let metadata = ContainerMetadata {
            labels: labels.collect(),
            ..ContainerMetadata::default()
        };
        let said = MetadataOptions::default();
        let template = RecordTemplate::new(&id, metadata, RecordOptions::plain(&said));
        streams.set_template(&id, Arc::new(template));
        for _ in 0..4_000 {
            sink.entry(&id, Stream::Stdout, TIME, b"x", true);
        }
        assert!(!sink.has_space());
        sink.flush(&id);
        let batches: Vec<_> = std::iter::from_fn(|| streams.shared.link.queue.pop()).collect();
        assert!(batches.len() > 6, "{} batches", batches.len());
        for batch in &batches {
            assert!(
                batch.bytes.len() < BATCH_BYTES + 10_000,
                "{} bytes",
                batch.bytes.len()
            );
            assert!(
                batch.marks.len() > 10 || batch.bytes.len() < BATCH_BYTES,
                "it can be divided"
            );
        }
        let account = streams.shared.link.accounts.open(id);
        assert!(account.figures().is_balanced());
        assert_eq!(
            (
                account.figures().read.bytes,
                account.figures().queued.records
            ),
            (8_000, 4_000)
        );
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    /// At a reconnect, at a restart, and when a file takes over.
    #[test]
    fn the_very_first_text_of_a_stream_is_asked_for_again_while_it_is_open() {
        let (mut streams, mut sink, id) = streamed();
        joins_traces(&streams, &id);
        for _ in 0..2 {
            sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
            sink.entry(&id, Stream::Stderr, at(101), b"noise", true);
            sink.flush(&id);
            assert_eq!(sink.since(&id), Some(at(100)));
        }
        let saved = streams.release(&id).unwrap();
        let template = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
        let mut assembler = Assembler::new(streams.shared.link.accounts.open(id), template);
        assembler.resume_from(&saved, [true, true]);
        assert_eq!(assembler.since(), Some(at(100)));
    }

    #[test]
    fn a_connection_that_broke_is_no_silence() {
        let (streams, mut sink, id) = streamed();
        joins_traces(&streams, &id);
        sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
        sink.flush(&id);
        sink.ended(&id, StreamEnd::Failed("broken".to_owned()));
        assert_eq!(
            streams.deliver_dead(Instant::now() + Duration::from_secs(60)),
            None
        );
        assert_eq!(sink.since(&id), Some(at(100)));
        sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
        sink.entry(&id, Stream::Stdout, at(100), b"\tat a", true);
        sink.flush(&id);
        let due = streams
            .deliver_dead(Instant::now())
            .expect("it waits again");
        assert_eq!(streams.deliver_dead(due), None);
        assert_eq!(lengths(&streams), ["a.Error: 1\n\tat a".len()]);
    }

    /// What was read under the old name and rules is delivered under them.
    #[test]
    fn what_is_open_is_delivered_before_lines_are_joined_otherwise() {
        let (streams, mut sink, id) = streamed();
        joins_traces(&streams, &id);
        sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
        sink.flush(&id);
        let plain = RecordTemplate::unnamed(&id, ContainerMetadata::default());
        streams.set_template(&id, Arc::new(plain));
        assert_eq!(lengths(&streams), ["a.Error: 1".len()]);
    }

    #[test]
    fn the_reader_is_woken_for_what_is_open_once() {
        let (streams, mut sink, id) = streamed();
        joins_traces(&streams, &id);
        let is_rung = || {
            let waker = &streams.shared.link.reader_waker;
            let mut fds = [PollFd::new(waker, PollFlags::IN)];
            let rung = poll(
                &mut fds,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                }),
            )
            .unwrap()
                > 0;
            waker.clear();
            rung
        };
        is_rung();
        sink.entry(&id, Stream::Stdout, at(100), b"a.Error: 1", true);
        sink.flush(&id);
        assert!(is_rung());
        sink.entry(&id, Stream::Stdout, at(100), b"\tat a", true);
        sink.flush(&id);
        assert!(!is_rung(), "it knows");
    }

    #[test]
    fn what_is_open_of_a_container_that_has_stopped_is_delivered_after_a_moment() {
        let (streams, mut sink, id) = streamed();
        sink.entry(&id, Stream::Stdout, TIME, &[b'x'; 16_384], false);
        sink.flush(&id);
        assert_eq!(
            streams.deliver_dead(Instant::now() + 100 * DEAD_LINE_GRACE),
            None,
            "its rest may come"
        );
        sink.ended(&id, StreamEnd::Finished);
        let due = streams.deliver_dead(Instant::now()).expect("it waits");
        assert_eq!(lengths(&streams), [0; 0]);
        assert_eq!(streams.deliver_dead(due), None);
        assert_eq!(lengths(&streams), [16_384]);
    }
}
