//! One container that is read through the API: its records under construction, and why it
//! cannot be read, if so.

use std::time::{Duration, Instant};

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::position::PerStream;
use crate::pipeline::assembler::{Assembler, ReadBytes, DEAD_LINE_GRACE};
use crate::source::api::piece_times::PieceTimes;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// One container that is read through the API.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) assembler: Assembler,
    /// The last known file offsets; the cursors are ahead of them.
    pub(super) files: ContainerCheckpoint,
    /// How many lines from its end the first response is to have; `None` for all.
    pub(super) last: Option<usize>,
    /// Of the lines of this response, if each piece of a line has a time of its own.
    pub(super) piece_times: Option<PieceTimes>,
    pub(super) last_entry: Instant,
    /// The daemon reported that the container has stopped. It may have been restarted since,
    /// and be in the middle of a line, so what is open waits for a short time.
    pub(super) has_finished: bool,
    /// The connection failed, so silence means nothing.
    pub(super) is_broken: bool,
    /// The reader knows that something is open, and checks when it is due.
    pub(super) is_awaited: bool,
    /// Bytes of entries since the last push.
    pub(super) received: u64,
    /// The daemon reported that there is no such container.
    pub(super) is_unknown: bool,
    /// Why nothing arrives; initially, that the daemon has not answered.
    pub(super) trouble: Trouble,
    /// The daemon's reason why it cannot read the log.
    pub(super) unreadable: Option<String>,
    /// Lost entries have been reported.
    pub(super) gap_reported: bool,
}

impl Streamed {
    pub(super) fn new(assembler: Assembler, files: ContainerCheckpoint) -> Streamed {
        Streamed {
            assembler,
            files,
            last: None,
            piece_times: None,
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
    pub(super) fn named(&self) -> (String, String) {
        (
            self.assembler.metadata().title(),
            self.assembler.account().short_id(),
        )
    }

    /// Reports once that the daemon cannot read it, if so.
    pub(super) fn report_unreadable(&mut self, link: &Link) {
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
    pub(super) fn grace(&self) -> Option<Duration> {
        if self.is_broken {
            return None;
        }
        if self.has_finished {
            return self.assembler.is_open().then_some(DEAD_LINE_GRACE);
        }
        self.assembler.grace_of_stream()
    }

    pub(super) fn close_after(&mut self, silence: Duration) {
        if self.has_finished {
            self.assembler.close();
        } else {
            self.assembler.close_of_stream_after(silence);
        }
    }

    /// Whether an attempt to read it is over, and everything that it returned is delivered.
    pub(super) fn has_ended(&self) -> bool {
        let is_refused = self.is_unknown || self.unreadable.is_some();
        self.is_broken || is_refused || (self.has_finished && !self.assembler.is_open())
    }

    /// The unchanged file offsets, with the cursors ahead of them.
    pub(super) fn checkpoint(&self) -> PerStream<StreamCheckpoint> {
        self.files.map(|file| StreamCheckpoint {
            is_by_time: true,
            ..file
        })
    }

    pub(super) fn push(&mut self, link: &Link) {
        let checkpoint = self.checkpoint().map(Some);
        let read = ReadBytes {
            total: std::mem::take(&mut self.received),
            skipped: 0,
        };
        self.assembler.push(link, checkpoint, false, read);
    }

    pub(super) fn hand_over(&mut self, link: &Link) -> ContainerCheckpoint {
        // What was received counts as delivered from now on.
        self.push(link);
        let handed_over = self.assembler.handed_over(StreamCheckpoint::default());
        let mut saved = self.checkpoint();
        for (checkpoint, stream) in saved.iter_mut().zip(handed_over) {
            checkpoint.cursor = stream.cursor;
        }
        saved
    }
}
