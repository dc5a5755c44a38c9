//! What follows once the host has accepted a batch, or never will: the account, the
//! checkpoint (I1) and the queue's space.

use std::time::Instant;

use crate::delivery::drain::{Around, Drain};
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::telemetry::account::{wall_clock, Amount};
use crate::telemetry::event::Event;

impl Drain {
    /// The host accepted the batch: advances the checkpoint (I1) and releases its queue space.
    pub(super) fn accept(&mut self, batch: Batch, around: Around<'_>) {
        credit(&batch, around.link);
        self.pass(batch, around);
    }

    /// The host accepted these batches in one append. The checkpoint advances for all of them in
    /// one write, so that a kill in between repeats as little as it does after a single one.
    pub(super) fn accept_all(&mut self, batches: Vec<Batch>, around: Around<'_>) {
        let link = around.link;
        batches.iter().for_each(|batch| credit(batch, link));
        let advances = batches.iter().filter_map(|batch| match &batch.progress {
            Progress::Advance(advance) => Some((batch.container, advance)),
            // Of these, only a part of a divided batch has records, as all in a bundle have.
            Progress::Nothing | Progress::Forget | Progress::Started => None,
        });
        let advances: Vec<_> = advances.collect();
        self.report_checkpoint(link.checkpoint.advance_all(&advances), around);
        batches.into_iter().for_each(|batch| release(batch, link));
    }

    /// The host never accepts this single record: counts it and advances the checkpoint past
    /// it.
    pub(super) fn give_up(&mut self, batch: Batch, around: Around<'_>) {
        if let Some((account, amount)) = batch.carried() {
            let (name, short_id) = (account.name(), account.short_id());
            let (size, timeout) = (batch.bytes.len(), around.refused_record_timeout);
            let seconds = timeout.as_secs_f64();
            account.refused(amount, Instant::now(), |Amount { bytes, records }| {
                around.link.report(Event::RecordsRefused {
                    name,
                    short_id,
                    records,
                    bytes,
                    size,
                    seconds,
                })
            });
        }
        self.pass(batch, around);
    }

    fn pass(&mut self, batch: Batch, around: Around<'_>) {
        let link = around.link;
        let checkpoint = &link.checkpoint;
        let written = match &batch.progress {
            Progress::Advance(advance) => checkpoint.advance(batch.container, advance),
            Progress::Forget => checkpoint.forget(&batch.container, Instant::now()),
            Progress::Started => checkpoint.mark_started(),
            Progress::Nothing => Ok(false),
        };
        self.report_checkpoint(written, around);
        if batch.progress == Progress::Forget {
            self.parsers.forget(&batch.container);
            link.has_left(&batch.container);
        }
        release(batch, link);
    }

    /// Logs once when checkpoint writes start to fail and once when they succeed again.
    /// `Ok(false)` means that nothing had to be written, which changes neither state.
    pub(crate) fn report_checkpoint(&mut self, written: std::io::Result<bool>, around: Around<'_>) {
        let link = around.link;
        let Some(path) = around.db else { return };
        match written {
            Ok(false) => {}
            Ok(true) => {
                link.health.set_db_writable(true);
                link.tally.checkpoint_writes.add_one();
                self.checkpoint.end(|| {
                    link.report(Event::CheckpointWritable {
                        path: path.to_owned(),
                    })
                });
            }
            Err(error) => {
                link.health.set_db_writable(false);
                self.checkpoint.begin((), || {
                    let reason = error.to_string();
                    link.report(Event::CheckpointUnwritable {
                        path: path.to_owned(),
                        reason,
                    })
                });
            }
        }
    }
}

/// Credits the account of an accepted batch.
fn credit(batch: &Batch, link: &Link) {
    let since = batch
        .carried()
        .and_then(|(account, amount)| account.accepted(amount));
    if let Some(since) = since {
        link.latency.observe(since.elapsed_until(wall_clock()));
    }
}

/// Releases the queue space of a batch that is done with.
fn release(batch: Batch, link: &Link) {
    if link.queue.accepted(batch.bytes) {
        link.reader_waker.wake();
    }
}
