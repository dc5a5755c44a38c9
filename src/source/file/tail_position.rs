//! Where Fluent Bit's `tail` stopped in a log, as a checkpoint: for those who change from it.
//!
//! `tail` knows a file by its inode and its name, and the offset up to which it has delivered
//! complete lines. Its name for a rotated file may be an old one, so the folder is compared.

use std::io;
use std::path::{Path, PathBuf};

use crate::delivery::checkpoint::{StreamCheckpoint, TimeCursor};
use crate::source::file::generation::Generation;
use crate::source::file::listing::ListedFile;

/// A row of the table `in_tail_files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailPosition {
    /// Where the file is; `None` if that folder is gone.
    folder: Option<PathBuf>,
    inode: u64,
    offset: u64,
}

impl TailPosition {
    /// A file by its name, as `Path` of `tail` matched it, and its inode number, with the bytes
    /// from its start that were delivered.
    pub fn new(name: &Path, inode: u64, offset: u64) -> TailPosition {
        TailPosition {
            folder: folder_of(name),
            inode,
            offset,
        }
    }

    /// Whether it is of a file in this folder: inode numbers are of one file system.
    fn is_in(&self, folder: Option<&Path>) -> bool {
        folder.is_some() && self.folder.as_deref() == folder
    }
}

/// What `tail` knows of a log.
#[derive(Debug)]
pub enum Known {
    /// Where it stopped.
    Resumed(Resumed),
    /// It had a file in the folder of the log that is gone, compressed or shorter by now.
    Gone,
    /// Nothing.
    Nothing,
}

/// A place in a log.
#[derive(Debug)]
pub struct Resumed {
    /// The file.
    pub path: PathBuf,
    /// Where both streams resume.
    pub checkpoint: StreamCheckpoint,
    /// Bytes of that file behind the place.
    pub unread: u64,
}

/// Finds the place among the files of a log, oldest first. If `tail` had not finished a rotated
/// file, it is there: what `tail` has delivered of later files is repeated.
pub fn find(files: &[ListedFile], rows: &[TailPosition]) -> io::Result<Known> {
    let mut known = Known::Nothing;
    for file in files {
        let folder = folder_of(&file.path);
        let mut beside = rows.iter().filter(|row| row.is_in(folder.as_deref()));
        let is_of = |row: &&TailPosition| row.inode == file.id.inode;
        if matches!(known, Known::Nothing) && beside.clone().next().is_some() {
            known = Known::Gone;
        }
        let Some(row) = beside.find(is_of).filter(|_| !file.rank.is_gzip) else {
            continue;
        };
        let mut generation = Generation::open_listed(file)?;
        let size = generation.unread();
        if row.offset > size {
            continue;
        }
        generation.seek_to_end_before(row.offset)?;
        let time = generation.last_time();
        let cursor = time.map(|time| TimeCursor { time, count: 1 });
        let unread = size - generation.read_offset();
        known = Known::Resumed(Resumed {
            path: file.path.to_path_buf(),
            checkpoint: StreamCheckpoint {
                cursor: cursor.unwrap_or_default(),
                ..generation.resume_here()
            },
            unread,
        });
        if unread > 0 {
            break;
        }
    }
    Ok(known)
}

/// The folder of a file, or, if `path` is a link, of the file it leads to.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().or_else(|_| {
        let folder = path.parent().unwrap_or(path).canonicalize()?;
        Ok::<_, io::Error>(folder.join(path.file_name().unwrap_or_default()))
    });
    whole.ok()?.parent().map(Path::to_path_buf)
}
