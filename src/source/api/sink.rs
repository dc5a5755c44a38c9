//! The Docker thread's side of streamed containers: turns what it receives into records, and
//! shares them with the reader.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::position::{Stream, Timestamp};
use crate::format::Entry;
use crate::lock::lock;
use crate::pipeline::assembler::Assembler;
use crate::pipeline::partial::Pieces;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::id::{ContainerId, ContainerMap};
use crate::runtime::log_driver::{LogDriver, JOURNALD_DRIVER};
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::Api;
use crate::source::api::connection::without_socket;
use crate::source::api::streamed::Streamed;
use crate::source::api::{ContainerAction, StreamEnd, StreamSink};
use crate::source::piece_times::PieceTimes;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// What the two threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) link: Arc<Link>,
    pub(super) api: Api,
    pub(super) socket: PathBuf,
    pub(super) max_line_bytes: usize,
    /// Whether logs are followed, or read as far as they exist.
    pub(super) follows: bool,
    pub(super) streamed: Mutex<ContainerMap<Streamed>>,
    pub(super) news: Mutex<News>,
    /// Requests for lists and metadata that are not answered yet.
    pub(super) asked: AtomicUsize,
}

/// A request that is not answered yet; dropped with the answer or without one.
pub(super) struct Asked(Arc<Shared>);

impl Asked {
    pub(super) fn new(shared: &Arc<Shared>) -> Asked {
        shared.asked.fetch_add(1, Ordering::AcqRel);
        Asked(Arc::clone(shared))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::AcqRel);
        self.0.link.reader_waker.wake();
    }
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

impl News {
    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.listed.is_none() && self.inspected.is_empty()
    }
}

impl Shared {
    /// Whether nothing is expected from the API any more, if logs are not followed.
    pub(super) fn is_settled(&self) -> bool {
        // In this order: an answer is news before it is counted.
        self.asked.load(Ordering::Acquire) == 0
            && self.streamed().values().all(Streamed::has_ended)
            && self.news().is_empty()
    }

    /// Prepares for the entries of a container, in the form in which this API returns those of
    /// its log driver.
    pub(super) fn stream_from(
        &self,
        saved: &ContainerCheckpoint,
        id: ContainerId,
        template: Arc<RecordTemplate>,
        driver: Option<&LogDriver>,
    ) -> Streamed {
        let mut assembler = Assembler::new(self.link.accounts.open(id), template);
        if self.api.has_times_in_seconds() {
            assembler.set_pieces(Pieces::Tagged);
            assembler.set_to_the_second();
        }
        assembler.resume_from(saved, [true, true]);
        let is_in_journal = driver.is_some_and(|driver| driver.name == JOURNALD_DRIVER);
        let mut streamed = Streamed::new(assembler, *saved);
        streamed.piece_times = (is_in_journal && self.api == Api::Docker).then(PieceTimes::default);
        streamed
    }

    pub(super) fn streamed(&self) -> MutexGuard<'_, ContainerMap<Streamed>> {
        lock(&self.streamed)
    }

    pub(super) fn news(&self) -> MutexGuard<'_, News> {
        lock(&self.news)
    }

    pub(super) fn touch(&self, id: &ContainerId) {
        self.news().touched.push(*id);
        self.link.reader_waker.wake();
    }
}

/// Receives the entries, on the Docker thread.
pub(super) struct Sink {
    shared: Arc<Shared>,
    daemon: Trouble<()>,
    /// Why the daemon does not answer; `None` while it does.
    silence: Option<String>,
}

impl Sink {
    pub(super) fn new(shared: Arc<Shared>) -> Sink {
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
        let reason = without_socket(&socket, reason);
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
        let time = match &mut streamed.piece_times {
            Some(times) => times.of_line(stream, time, text.len(), ends_line),
            None => time,
        };
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
            let checkpoint = streamed.checkpoint().map(Some);
            streamed.assembler.mark(checkpoint);
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
        streamed.assembler.note_loss();
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
        streamed.piece_times = streamed.piece_times.take().map(|_| PieceTimes::default());
        streamed.assembler.begin_again();
        streamed.assembler.since()
    }

    fn take_last(&mut self, id: &ContainerId) -> Option<usize> {
        self.shared.streamed().get_mut(id)?.last.take()
    }
}
