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
    checkpoint: StreamCheckpoint,
    state: State,
}

enum State {
    Unpacking(Box<Generation>),
    Here(Box<Generation>),
    Elsewhere,
}

impl State {
    /// Decompresses a slice of an unfinished file.
    fn go_on(self, checkpoint: &StreamCheckpoint) -> io::Result<State> {
        let State::Unpacking(mut generation) = self else {
            return Ok(self);
        };
        Ok(match generation.seek(checkpoint)? {
            Some(true) => State::Here(generation),
            Some(false) => State::Elsewhere,
            None => State::Unpacking(generation),
        })
    }
}

impl Search {
    /// Returns whether a checkpoint was taken from a listed file.
    pub fn seek(&mut self, file: &ListedFile, checkpoint: &StreamCheckpoint) -> io::Result<Sought> {
        let is_it = |archive: &Archive| archive.id == file.id && archive.checkpoint == *checkpoint;
        let state = match self.archives.iter().position(is_it) {
            Some(index) => self.archives.remove(index).state,
            None => State::Unpacking(Box::new(Generation::open_listed(file)?)).go_on(checkpoint)?,
        };
        let sought = match state {
            State::Here(generation) => return Ok(Sought::Here(generation)),
            State::Elsewhere => Sought::Elsewhere,
            State::Unpacking(_) => Sought::Unfinished,
        };
        // A plain file may change until it is asked again, and costs little.
        if file.rank.is_gzip {
            self.remember(file.id, checkpoint, state);
        }
        Ok(sought)
    }

    fn remember(&mut self, id: FileId, checkpoint: &StreamCheckpoint, state: State) {
        self.archives.push(Archive {
            id,
            checkpoint: *checkpoint,
            state,
        });
    }

    /// Takes back a file that was found, to return it again once the rest is found.
    pub fn keep(&mut self, generation: Generation, checkpoint: &StreamCheckpoint) {
        if generation.plain_file().is_none() {
            self.remember(generation.id, checkpoint, State::Here(Box::new(generation)));
        }
    }

    /// Whether a file is being decompressed.
    pub fn is_under_way(&self) -> bool {
        self.archives.iter().any(Archive::is_under_way)
    }

    /// Decompresses a slice of the first unfinished file. On an error, the search ends.
    pub fn go_on(&mut self) -> io::Result<()> {
        if let Some(index) = self.archives.iter().position(Archive::is_under_way) {
            let mut archive = self.archives.remove(index);
            let next = archive.state.go_on(&archive.checkpoint);
            archive.state = next.inspect_err(|_| self.end())?;
            self.archives.insert(index, archive);
        }
        Ok(())
    }

    /// Ends the search: its results have been used or are no longer needed.
    pub fn end(&mut self) {
        self.archives.clear();
    }
}

impl Archive {
    fn is_under_way(&self) -> bool {
        matches!(self.state, State::Unpacking(_))
    }
}

#[cfg(test)]
mod tests;
