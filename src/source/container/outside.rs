//! A container whose log is outside its folder, where other containers may write to it as well.

use std::path::PathBuf;

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::delivery::link::Link;
use crate::format::position::Timestamp;
use crate::source::container::Container;

impl Container {
    /// Its log, if that is outside its folder, and when it was created.
    pub fn outside(&self) -> Option<(PathBuf, Timestamp)> {
        self.log.outside(&self.about)
    }

    /// Lines of its log that are later than this are another container's. Returns whether that is new.
    pub fn end_at(&mut self, end: Timestamp) -> bool {
        self.log.end_at(end)
    }

    /// Whether it has to leave later lines to another container.
    pub fn has_end(&self) -> bool {
        self.log.has_end()
    }

    /// Goes on where another container with its log stopped.
    pub fn go_on_at(&mut self, saved: ContainerCheckpoint, link: &Link) {
        self.log.go_on_at(saved, &self.about, link);
    }

    /// Its log, and where reading that stopped, if it is gone and others may have the log.
    pub fn stopped_at(&self) -> Option<(PathBuf, ContainerCheckpoint)> {
        Some((
            self.log.files().path.to_path_buf(),
            *self.stopped_at.as_deref()?,
        ))
    }

    /// Whether its runtime says that it runs.
    pub fn is_said_to_run(&self) -> bool {
        let last_run = self.about.runtime().last_run(self.found());
        !self.is_gone && last_run.is_running == Some(true)
    }
}
