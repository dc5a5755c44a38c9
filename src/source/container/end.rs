//! What follows when a log has been read to its end: waiting for more, another log, or the end of
//! the container.

use crate::delivery::link::Link;
use crate::source::container::Container;
use crate::source::file::feed::ReadContext;
use crate::source::file::tailer::Step;
use crate::source::schedule::Next;
use crate::source::services::Surroundings;
use crate::telemetry::event::Event;

impl Container {
    /// Parks a container read through an API, or ends it if it is gone: it is active only for
    /// that.
    pub(super) fn end_or_park(&self, around: &mut Surroundings<'_>) -> Next {
        if !self.is_gone {
            return Next::OnNotice { has_read: false };
        }
        if let Some(streams) = around.streams.as_mut() {
            streams.finish(self.id());
        }
        around.link.leave(*self.id());
        self.finished(around.link)
    }

    pub(super) fn finished(&self, link: &Link) -> Next {
        let (name, short_id) = self.about.names();
        link.report(Event::ContainerGone { name, short_id });
        Next::Finished
    }

    /// Handles a read that found nothing: everything has been read.
    pub(super) fn at_end(
        &mut self,
        context: &mut ReadContext<'_>,
        around: &mut Surroundings<'_>,
    ) -> Next {
        let now = around.now;
        let parked = Next::OnNotice { has_read: false };
        match self.leave(context, around) {
            Ok(true) => return Next::Cycle,
            Ok(false) => {}
            Err(error) => self.log.report_read_failure(context.link, &error),
        }
        match self.log.move_on(self.is_gone, &self.about, context, around) {
            Ok(true) => return Next::Cycle,
            Ok(false) => {}
            Err(error) => self.log.report_read_failure(context.link, &error),
        }
        let leaves_log = self.is_gone && self.log.is_outside(&self.about);
        let Some((tailer, follow)) = self.log.tailer_mut() else {
            return parked;
        };
        if tailer.is_ended() && !self.is_gone {
            follow.unwatch(around);
            self.log.pass_on(context.link);
            return parked;
        }
        if self.is_gone {
            if leaves_log && !tailer.is_ended() {
                self.stopped_at = tailer.close(context).ok().map(Box::new);
            }
            if let Err(error) = tailer.finish(context) {
                self.log.report_read_failure(context.link, &error);
            }
            return self.finished(context.link);
        }
        if !around.config.follow {
            tailer.flush_open(context.link);
            return parked;
        }
        if !self.folder.is_watched() && tailer.is_rotated() {
            let opened = tailer.refresh(context.link).is_ok();
            return if opened { Next::Cycle } else { parked };
        }
        follow.note_empty_read();
        let silence = follow.silence(now);
        if tailer.grace().is_some_and(|grace| silence >= grace) {
            tailer.flush_after(silence, context.link);
        }
        // For what is still open: a complete line may have become part of a multiline record.
        let idle = tailer
            .grace()
            .map_or(parked, |grace| Next::At(follow.end_of(grace)));
        if follow.is_polled() && tailer.is_at_rest() {
            return Next::At(follow.wait_until(now + around.config.rescan_interval));
        }
        if follow.is_polled() {
            return Next::At(follow.wait(now));
        }
        if follow.is_watched(tailer) {
            tailer.awaits_notice();
            return idle;
        }
        if !follow.is_sparse() {
            return Next::Cycle;
        }
        // One at rest without a watch is watched once it is open.
        if tailer.wake(context.link).is_err() {
            return Next::Cycle;
        }
        follow.watch_or_poll(tailer, around);
        if follow.is_polled() {
            return Next::Cycle;
        }
        // A write between the last read and the watch is not reported.
        match self.rate.read_slice(tailer, context) {
            Ok(Step::AtEnd { has_read: false }) => {
                tailer.awaits_notice();
                idle
            }
            _ => {
                follow.note_read(around);
                Next::Cycle
            }
        }
    }
}
