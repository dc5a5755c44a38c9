//! Which of the coming entries are not taken: those that were delivered, and those that are held
//! back.

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::pipeline::assembler::Assembler;
use crate::pipeline::dedupe::Dedupe;
use crate::pipeline::hold_back::{Held, HoldBack};

impl Assembler {
    /// Continues after entries from another source, which are known by their time cursors.
    /// `dedupe` says for which streams they may be read again.
    pub fn resume_from(&mut self, saved: &ContainerCheckpoint, dedupe: PerStream<bool>) {
        for stream in Stream::ALL {
            let index = stream.index();
            let cursor = saved[index].cursor;
            self.taken[index] = cursor;
            self.mid_line[index] = saved[index].is_mid_line.then_some(cursor.time);
            let is_to_the_second = self.is_to_the_second || saved[index].is_by_time;
            let is_known = dedupe[index] && cursor.count > 0;
            let dedupe = is_known.then(|| Dedupe::new(cursor, is_to_the_second));
            self.dedupe[index] = dedupe.or(self.no_dedupe());
        }
    }

    /// From now on, holds these entries back: they are read again once what comes before them was.
    pub fn hold_back(&mut self, which: HoldBack) {
        self.held = Some(Box::new(Held::new(which)));
        let none = self.no_dedupe();
        for dedupe in &mut self.dedupe {
            *dedupe = dedupe.or(none);
        }
    }

    /// Whether entries are held back, if there are any.
    pub fn holds_back(&self) -> bool {
        self.held.is_some()
    }

    /// The time of the first entry that was held back.
    pub fn held_since(&self) -> Option<Timestamp> {
        self.held.as_ref().and_then(|held| held.since())
    }

    /// What stands for a stream of which nothing is dropped.
    pub(super) fn no_dedupe(&self) -> Option<Dedupe> {
        self.held.as_ref().map(|_| Dedupe::nothing())
    }

    /// Drops the coming entries up to the last ones taken, if they begin earlier: the next file
    /// repeats them.
    pub fn skip_taken(&mut self) {
        let none = self.no_dedupe();
        for (dedupe, taken) in self.dedupe.iter_mut().zip(self.taken) {
            let known = (taken.count > 0).then(|| Dedupe::if_earlier(taken));
            *dedupe = known.or(none);
        }
    }

    /// Whether an entry was taken before, here or in an earlier run, or reading starts at a time.
    pub fn has_taken(&self) -> bool {
        self.taken != PerStream::default()
    }

    /// It is not known from where the coming entries of these streams go on. What is earlier than
    /// the time at which reading starts is dropped; and if they are of an earlier state of the log
    /// (`are_known`), what is earlier than the last entry taken.
    pub fn expect_known(&mut self, of: PerStream<bool>, are_known: bool) {
        for index in Stream::ALL.map(Stream::index) {
            let taken = self.taken[index];
            let is_whole = self.mid_line[index] != Some(taken.time);
            let may_be_known = taken.is_start() || are_known && taken.count > 0 && is_whole;
            let is_free = self.dedupe[index].is_none_or(|dedupe| dedupe.is_over());
            if of[index] && may_be_known && is_free {
                self.dedupe[index] = Some(Dedupe::if_earlier(taken));
            }
        }
    }

    /// Stops dropping entries of these streams: whatever follows was not delivered, whatever
    /// its times say.
    pub fn end_skip(&mut self, of: PerStream<bool>) {
        let none = self.no_dedupe();
        for (dedupe, _) in self.dedupe.iter_mut().zip(of).filter(|(_, ends)| *ends) {
            *dedupe = none;
        }
    }

    /// Whether an entry is held back.
    #[cold]
    #[inline(never)]
    pub(super) fn holds(
        &mut self,
        index: usize,
        time: Timestamp,
        begins_at: impl FnOnce() -> StreamCheckpoint,
    ) -> bool {
        let cursor = self.taken[index];
        let at = || StreamCheckpoint {
            cursor,
            ..begins_at()
        };
        self.held
            .as_mut()
            .is_some_and(|held| held.holds(index, time, at))
    }
}
