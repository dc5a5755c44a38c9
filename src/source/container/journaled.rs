//! A container that is read from systemd's journal.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::runtime::log_driver::JOURNALD_DRIVER;
use crate::runtime::metadata::ContainerMetadata;
use crate::source::container::Container;
use crate::source::file::feed::ReadContext;
use crate::source::journal::scan::Scan;
use crate::source::journal::shared::Progress;
use crate::source::schedule::Next;
use crate::source::services::Surroundings;
use crate::telemetry::metrics::SourceKind;

/// How long after its last entry the journal is read for a container that is gone: the runtime
/// does not wait until journald has received what it sent.
const GONE_GRACE: Duration = Duration::from_secs(2);

/// How long a container that runs may have no entry before it is asked whether journald stores any.
const SILENCE_PATIENCE: Duration = Duration::from_secs(10);

/// Interval between two attempts to read the journal.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Container {
    /// Whether its driver writes to the journal.
    pub(super) fn writes_to_journal(&self) -> bool {
        self.about.writes_to_journal() == Some(true)
    }

    /// Whether it is read nowhere because the journal could not be read at the last look.
    pub(super) fn waits_for_journal(&self) -> bool {
        self.writes_to_journal() && self.log.kind() == SourceKind::Nowhere
    }

    /// Takes an entry from the scan of all containers, if it has caught up. Returns whether it
    /// is to be read, or flushed, in this turn.
    pub fn take_from_journal(
        &mut self,
        place: JournalPlace,
        scan: &mut Scan,
        config: &Config,
        link: &Link,
        now: Instant,
    ) -> bool {
        let account = self.about.account();
        let waits = account.waits(link.queue.is_cautious()) || self.rate.waits_until(now).is_some();
        let Some(journaled) = self.log.journaled_mut() else {
            return false;
        };
        if !journaled.is_live {
            journaled.pass(place, scan);
            return false;
        }
        if waits {
            journaled.is_behind();
            journaled.pass(place, scan);
            return true;
        }
        let bytes = journaled.take(place, scan, config.partial_max_size, link);
        self.rate.has_read(bytes, now);
        bytes > 0
    }

    /// Everything in the journal up to these entries, one of each sequence, was read for those that
    /// have caught up.
    pub fn is_read_up_to(&mut self, ends: &[JournalPlace], link: &Link) {
        if let Some(journaled) = self.log.journaled_mut() {
            journaled.is_read_up_to(ends, link);
        }
    }

    /// Queues what was built of entries from the scan of all containers.
    pub fn flush_journaled(&mut self, link: &Link) {
        if let Some(journaled) = self.log.journaled_mut() {
            journaled.push(link);
        }
    }

    /// It was removed while nothing was read: reads what the journal still has of it. Returns whether it
    /// does.
    pub fn begin_remainder(
        &mut self,
        metadata: ContainerMetadata,
        around: &mut Surroundings<'_>,
    ) -> bool {
        self.is_gone = true;
        self.about.set_driver(JOURNALD_DRIVER.to_owned());
        self.set_metadata(metadata, around);
        if self.about.is_excluded() {
            return false;
        }
        self.log.go_to_journal(&self.about, around);
        self.log.journaled_mut().is_some()
    }

    /// Reads what it has not taken yet; afterwards, it takes entries of the scan of all
    /// containers.
    pub(super) fn read_journal(
        &mut self,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> Next {
        let (now, key) = (around.now, around.key);
        let of = self.found().runtime_id();
        let is_left = !self.is_gone && self.about.writes_to_journal() == Some(false);
        let Some(journaled) = self.log.journaled_mut() else {
            return Next::OnNotice { has_read: false };
        };
        if !journaled.is_live || self.is_gone {
            let until = Instant::now() + context.slice_time;
            let (mut bytes, mut is_lost) = (0, false);
            let from = (journaled.seek(), journaled.last());
            let max = context.max_line_bytes;
            let progress = around.journal.read_own(
                (of, key),
                from,
                until,
                context.link,
                |lost| is_lost = lost,
                |place, scan| {
                    bytes += journaled.take(place, scan, max, context.link);
                },
            );
            if is_lost {
                journaled.note_loss(context.link);
            }
            journaled.push(context.link);
            self.rate.has_read(bytes, now);
            if progress == Progress::End {
                match journaled.has_caught_up() {
                    Some(place) => around.journal.go_back(place),
                    None => {
                        let ends = around.journal.turned_over();
                        journaled.is_read_up_to(ends, context.link);
                    }
                }
            } else {
                journaled.is_behind();
            }
            match progress {
                Progress::More => return Next::Now,
                Progress::Stalled => return Next::Cycle,
                Progress::Failed => return Next::At(now + RETRY_INTERVAL),
                // Its driver was changed: where that of now writes is read next.
                Progress::End if is_left => return Next::Look,
                Progress::End => {}
            }
        }
        if self.is_gone {
            let due = journaled.last_entry() + GONE_GRACE;
            if due > now && around.config.follow {
                return Next::At(due);
            }
            journaled.close(context.link);
            around.journal.leave(&of, key);
            around.link.leave(*self.about.id());
            return self.finished(around.link);
        }
        if !around.config.follow {
            journaled.close(context.link);
        }
        if journaled.due().is_some_and(|due| due <= now) {
            journaled.close_after(now, context.link);
        }
        let due = journaled.due();
        let dues = [due, self.look_for_silence(around)];
        let due = dues.into_iter().flatten().min();
        due.map_or(Next::OnNotice { has_read: false }, Next::At)
    }

    /// Asks, once, whether journald stores what it receives if it runs and has no entry since. Returns
    /// when that is due.
    fn look_for_silence(&mut self, around: &mut Surroundings<'_>) -> Option<Instant> {
        let journaled = self.log.journaled_mut().filter(|_| around.config.follow)?;
        let due = journaled.silent_for(SILENCE_PATIENCE)?;
        if due > around.now {
            return Some(due);
        }
        journaled.is_asked();
        let run = self.about.runtime().last_run(self.about.found());
        let started = run.started.filter(|_| run.is_running == Some(true))?;
        around
            .journal
            .note_silent(started, self.about.names(), around.link);
        None
    }
}
