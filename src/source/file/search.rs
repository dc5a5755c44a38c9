//! Finds the listed file that a checkpoint was taken from. A plain file answers at once; a
//! compressed one must be decompressed up to the offset, which takes seconds for gigabytes.
//! That is done in slices, one per turn, and the results are kept in between:
//!
//! ```text
//! refresh ─▶ seek: another slice is needed ─▶ (next turn) go_on … ─▶ refresh ─▶ seek: found
//! ```

use std::io;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::runtime::file::FileId;
use crate::source::file::generation::Generation;
use crate::source::file::listing::ListedFile;

/// Whether a checkpoint was taken from a file.
pub enum Sought {
    /// It was; the file is open at its offset.
    Here(Box<Generation>),
    /// It was not.
    Elsewhere,
    /// More of the file must be decompressed first.
    Unfinished,
}

/// The compressed files that have been, or are being, searched for a checkpoint.
#[derive(Default)]
pub struct Search {
    archives: Vec<Archive>,
}

struct Archive {
    id: FileId,
    resume: StreamCheckpoint,
    state: State,
}

enum State {
    Unpacking(Box<Generation>),
    Here(Box<Generation>),
    Elsewhere,
}

impl Search {
    /// Returns whether a checkpoint was taken from a listed file.
    pub fn seek(&mut self, file: &ListedFile, resume: &StreamCheckpoint) -> io::Result<Sought> {
        if !file.rank.is_gzip {
            let mut generation = Generation::open_listed(file)?;
            return Ok(match generation.seek(resume)? {
                Some(true) => Sought::Here(Box::new(generation)),
                _ => Sought::Elsewhere,
            });
        }
        let is_it = |archive: &Archive| archive.id == file.id && archive.resume == *resume;
        let index = match self.archives.iter().position(is_it) {
            Some(index) => index,
            None => {
                let state = State::Unpacking(Box::new(Generation::open_listed(file)?));
                let mut archive = Archive {
                    id: file.id,
                    resume: *resume,
                    state,
                };
                archive.go_on()?;
                self.archives.push(archive);
                self.archives.len() - 1
            }
        };
        let archive = &mut self.archives[index];
        Ok(
            match std::mem::replace(&mut archive.state, State::Elsewhere) {
                State::Elsewhere => Sought::Elsewhere,
                State::Unpacking(generation) => {
                    archive.state = State::Unpacking(generation);
                    Sought::Unfinished
                }
                State::Here(generation) => {
                    self.archives.swap_remove(index);
                    Sought::Here(generation)
                }
            },
        )
    }

    /// Takes back a file that was found, to return it again once the rest is found.
    pub fn keep(&mut self, generation: Generation, resume: &StreamCheckpoint) {
        if generation.plain_file().is_none() {
            let id = generation.id;
            self.archives.push(Archive {
                id,
                resume: *resume,
                state: State::Here(Box::new(generation)),
            });
        }
    }

    /// Whether a file is being decompressed.
    pub fn is_under_way(&self) -> bool {
        self.archives
            .iter()
            .any(|archive| matches!(archive.state, State::Unpacking(_)))
    }

    /// Decompresses a slice of the first unfinished file. On an error, the search ends.
    pub fn go_on(&mut self) -> io::Result<()> {
        let under_way = |archive: &&mut Archive| matches!(archive.state, State::Unpacking(_));
        let result = self
            .archives
            .iter_mut()
            .find(under_way)
            .map_or(Ok(()), Archive::go_on);
        if result.is_err() {
            self.end();
        }
        result
    }

    /// Ends the search: its results have been used or are no longer needed.
    pub fn end(&mut self) {
        self.archives.clear();
    }
}

impl Archive {
    fn go_on(&mut self) -> io::Result<()> {
        let State::Unpacking(generation) = &mut self.state else {
            return Ok(());
        };
        let Some(is_here) = generation.seek(&self.resume)? else {
            return Ok(());
        };
        if let State::Unpacking(generation) = std::mem::replace(&mut self.state, State::Elsewhere) {
            if is_here {
                self.state = State::Here(generation);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
