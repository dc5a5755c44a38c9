//! What the reader needs from a library that reads systemd's journal; `ffi::journal` is one.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::delivery::checkpoint::JournalPlace;

/// Opens journals.
pub trait JournalLibrary: Send + Sync {
    /// Opens the journal in a folder, or that of this machine. Without files it is empty.
    fn open(&self, folder: Option<&Path>) -> io::Result<Box<dyn Journal>>;

    /// Fails unless this file of a journal can be read. [`open`](JournalLibrary::open) passes over
    /// one that cannot.
    fn check(&self, file: &Path) -> io::Result<()>;
}

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Before the first entry.
    Head,
    /// After the last entry.
    End,
    /// Before the entry at this place or, if there is none, before the next one.
    To(JournalPlace),
    /// Before the first entry that was received at this time, in microseconds since 1970, or
    /// later.
    Since(u64),
}

/// An open journal: its entries in order, and where reading is in it. To be used and dropped on
/// the thread that opened it. An error of one call leaves it as it was.
pub trait Journal {
    /// Only entries that have one of these fields from now on, `NAME=value`; all if there are none.
    fn select(&mut self, fields: &[&[u8]]) -> io::Result<()>;

    /// Goes to a place.
    fn seek(&mut self, to: Seek) -> io::Result<()>;

    /// Steps to the next entry; returns `false` if there is none yet.
    fn step(&mut self) -> io::Result<bool>;

    /// Steps to the entry before; returns `false` if there is none.
    fn step_back(&mut self) -> io::Result<bool>;

    /// The place of the entry.
    fn place(&mut self) -> io::Result<JournalPlace>;

    /// Passes each field of the entry on, as `NAME=value`; of one that is longer than a line of
    /// a runtime can be, at least its beginning.
    fn fields(&mut self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()>;

    /// Takes note of files that were added and removed; returns whether there are any. Call it
    /// when [`Journal::notices`] is readable.
    fn refresh(&mut self) -> io::Result<bool>;

    /// Readable when something was written.
    fn notices(&self) -> BorrowedFd<'_>;
}
