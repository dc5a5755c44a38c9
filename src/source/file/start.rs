//! Where reading a log begins. The time of the first start is the least: where reading is to begin
//! after it, it stands for the last entry that was delivered, whatever becomes of the files.

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::position::Timestamp;

/// Where reading a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first byte of the oldest file.
    Head,
    /// After the last line of what is there that is not later than this time, that of the first
    /// start.
    End(Timestamp),
    /// At the last lines, this many.
    Last(usize),
    /// Where an earlier run stopped.
    Saved(ContainerCheckpoint),
    /// At the first byte of the oldest file, after another source delivered everything up to
    /// this checkpoint.
    After {
        /// The end of the other source.
        saved: ContainerCheckpoint,
        /// The files may hold what was delivered: entries up to the times of the checkpoint are
        /// dropped.
        may_repeat: bool,
    },
}

impl Start {
    /// The position before anything was read.
    pub fn position(self) -> ContainerCheckpoint {
        match self {
            Start::Saved(saved) | Start::After { saved, .. } => saved,
            Start::Head | Start::Last(_) => ContainerCheckpoint::default(),
            Start::End(first_start) => [StreamCheckpoint::after(first_start); 2],
        }
    }

    /// Where files begin that appear where there were none.
    pub fn of_new_files(self) -> Start {
        match self {
            Start::End(first_start) => Start::Saved([StreamCheckpoint::after(first_start); 2]),
            Start::Last(_) => Start::Head,
            start => start,
        }
    }
}
