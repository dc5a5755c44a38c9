//! What the shared journal knows of journald's storing: whether it does, and whether its numbers go
//! on.

use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::source::journal::coverage;
use crate::source::journal::shared::SharedJournal;

impl SharedJournal {
    /// Whether journald does not store what containers write, as far as its files tell.
    pub fn is_unwritten(&self) -> bool {
        self.unwritten.is_there()
    }

    /// A container that runs has no entry since it was started, in nanoseconds since 1970.
    pub fn note_silent(&mut self, started: u64, names: (String, String), link: &Link) {
        if let Some(last) = self.last().filter(|last| last.received < started / 1000) {
            self.unwritten.note_silence(last, names, link);
        }
    }

    /// The last entry of all.
    fn last(&mut self) -> Option<JournalPlace> {
        self.ends().into_iter().max_by_key(|end| end.received)
    }

    /// Looks whether journald stores something again, and whether what was awaited has come.
    pub(super) fn look_at_stored(&mut self, link: &Link) {
        self.look_for_awaited(link);
        if self.unwritten.is_there() {
            let last = self.last();
            self.unwritten.note_last(last, link);
        }
    }

    /// Looks whether the sequence goes on, of which nothing was there, or another one was begun.
    fn look_for_awaited(&mut self, link: &Link) {
        let (Some(awaited), Some(scan)) = (self.awaited, &self.all.scan) else {
            return;
        };
        let mut others = scan
            .last()
            .iter()
            .filter(|it| it.sequence != awaited.sequence);
        if scan
            .last()
            .iter()
            .any(|it| it.sequence == awaited.sequence && *it != awaited)
        {
            self.awaited = None;
        } else if others.any(|other| coverage::is_later(other, &awaited)) {
            self.awaited = None;
            self.losses.begun_anew(awaited, link);
        }
    }
}
