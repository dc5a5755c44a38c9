//! A user's hand, and logrotate: over the files of a writer that knows nothing of it.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use super::container::{Container, Name};
use super::plan::Format;

const COPY: Name = Name::rotated(1, false);

/// The kernel's clock for files ticks every few milliseconds. dockerd may rotate
/// twice within a tick; people and logrotate are slower.
pub fn tick() {
    std::thread::sleep(Duration::from_millis(5));
}

impl Container {
    pub fn truncate(&mut self) {
        let is_cut = self.settings.compress && self.open.iter().any(Option::is_some);
        if !self.settings.by_hand || (is_cut && self.settings.format != Format::Pod) {
            return;
        }
        if self.settings.format == Format::Local {
            // The rest of a frame alone can look like the start of a long one.
            self.finish_half();
        }
        self.half_is_torn();
        if self.names.contains_key(&self.current()) {
            File::options()
                .write(true)
                .truncate(true)
                .open(self.path(self.current()))
                .expect("the log");
            self.empty_current();
        }
        self.release_what_is_gone();
    }

    /// The half that is there goes with the file, so the record never gets whole.
    fn half_is_torn(&mut self) {
        if self.half.is_some() {
            self.truth.release_generation(self.writes_to);
        }
    }

    /// logrotate: the numbers of the plain files move, and a copy becomes `.1`.
    /// `look` is called while that is under way.
    pub fn copy_truncate(&mut self, late: bool, mut look: impl FnMut(&mut Container)) {
        self.finish_half();
        if !self.settings.by_logrotate || !self.names.contains_key(&Name::CURRENT) {
            return;
        }
        // What is found at a first look in the midst of it cannot be told from
        // rotated files.
        look(self);
        self.shift_plain();
        tick();
        let bytes = fs::read(self.path(Name::CURRENT)).expect("the log");
        let mut copy = File::create(self.path(COPY)).expect("the copy");
        copy.write_all(&bytes[..bytes.len() / 2]).expect("a write");
        look(self);
        copy.write_all(&bytes[bytes.len() / 2..]).expect("a write");
        let copied = self.names[&Name::CURRENT];
        let parts = self.truth.generations[copied.generation].parts();
        // The time of a long line is that of its first piece, which is no help in
        // telling that the last one came after the copy.
        if late && self.open[0].is_none() {
            self.write(0, 1);
        }
        look(self);
        self.truth.release_from(copied.generation, parts);
        File::options()
            .write(true)
            .truncate(true)
            .open(self.path(Name::CURRENT))
            .expect("the log");
        self.empty_current();
        self.truth.generations[copied.generation].is_copy = true;
        self.names.insert(COPY, copied);
        self.release_what_is_gone();
        tick();
    }

    fn shift_plain(&mut self) {
        self.unlink(Name::rotated(4, false));
        for number in (1..4).rev() {
            self.rename(
                Name::rotated(number, false),
                Name::rotated(number + 1, false),
            );
        }
    }

    /// logrotate without copytruncate: dockerd writes on in what is `.1` now.
    pub fn rename_current(&mut self, create: bool) {
        if !self.settings.by_logrotate {
            return;
        }
        self.finish_half();
        self.shift_plain();
        self.rename(Name::CURRENT, COPY);
        tick();
        if create && !self.names.contains_key(&Name::CURRENT) {
            File::create_new(self.path(Name::CURRENT)).expect("a new log");
            self.empty_current();
        }
        self.release_what_is_gone();
    }

    pub fn unlink_current(&mut self) {
        // dockerd would compress the one before it a second time, with a later time
        // in its header.
        if !self.settings.by_hand || self.settings.compress {
            return;
        }
        self.unlink(Name::CURRENT);
        self.release_what_is_gone();
    }
}
