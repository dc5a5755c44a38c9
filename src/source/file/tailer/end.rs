//! The end of a container's part of a log that several containers have written one after another.

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::Tailer;

impl Tailer {
    /// Entries later than this are those of another container; `None` if there are none.
    pub fn end_at(&mut self, end: Option<Timestamp>) {
        if self.end != end {
            self.end = end;
            self.is_ended = false;
        }
    }

    /// Whether it was read up to that.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// How many of these bytes, which are whole entries, are of this container. Only the last
    /// entry is looked at, unless the end is among them.
    pub(super) fn own_part(&self, layout: Layout, bytes: &[u8]) -> usize {
        let Some(end) = self.end.filter(|_| layout.is_lines()) else {
            return bytes.len();
        };
        let is_later = |entry: &[u8]| layout.first_piece(entry).is_some_and(|it| it.time > end);
        let last = layout.last_entry(bytes);
        if !is_later(&bytes[bytes.len() - last..]) {
            return bytes.len();
        }
        let entries = bytes.split_inclusive(|byte| *byte == b'\n');
        let own = entries.take_while(|entry| !is_later(entry));
        own.map(<[u8]>::len).sum()
    }

    /// Where the other container goes on, if entries later than this were read already.
    pub fn read_beyond(&mut self, time: Timestamp) -> Option<ContainerCheckpoint> {
        let is_beyond =
            |stream: &StreamCheckpoint| !stream.cursor.is_start() && stream.cursor.time > time;
        let is_beyond = self.is_open() && self.position().iter().any(is_beyond);
        is_beyond.then(|| self.hand_over())
    }

    /// Whether nothing was delivered of it yet.
    pub fn is_untouched(&self) -> bool {
        let none = |stream: &StreamCheckpoint| {
            stream.cursor.is_start() || stream.cursor == Default::default()
        };
        self.position().iter().all(none)
    }

    /// Delivers what is open and closes the files, of which the rest is another container's. Returns
    /// where it would be read on.
    pub fn leave_rest(&mut self, link: &Link) -> ContainerCheckpoint {
        self.flush_open(link);
        let saved = self.hand_over();
        self.rotation.files.open.clear();
        self.rotation.start_at(Start::Saved(saved));
        self.note_unread();
        saved
    }
}
