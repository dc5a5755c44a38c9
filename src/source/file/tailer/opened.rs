//! Which files of a log are open, as others ask.

use crate::runtime::file::has_name;
use crate::source::file::generation::Generation;
use crate::source::file::tailer::Tailer;

impl Tailer {
    /// Whether a file of the log is open.
    pub fn is_open(&self) -> bool {
        !self.rotation.files.open.is_empty() || self.rotation.search.is_under_way()
    }

    /// Whether the newest file that is open was rotated when it was opened.
    pub fn begins_rotated(&self) -> bool {
        let (files, log) = (&self.rotation.files, self.files());
        let newest = files.open.back();
        newest.is_some_and(|newest| log.current().is_some_and(|path| newest.path != *path))
    }

    /// How many files of the log have been found so far; it only grows.
    pub fn files_met(&self) -> u32 {
        self.rotation.files.next_number
    }

    /// The files that may still be written: usually just the one being read.
    pub fn written_files(&self) -> impl Iterator<Item = &std::fs::File> {
        let files = self.rotation.files.open.iter();
        files.filter_map(Generation::plain_file)
    }

    /// Whether the newest file that is open was not deleted, although its folder may be elsewhere.
    pub fn has_name(&self) -> bool {
        self.written_files().last().is_some_and(has_name)
    }

    /// Number of log files held open.
    pub fn files_open(&self) -> usize {
        let files = self.rotation.files.open.iter();
        files.filter(|file| !file.is_closed()).count()
    }

    /// Number of split lines that are not complete yet.
    pub fn open_lines(&self) -> u64 {
        self.feed.assembler.open_lines()
    }
}
