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
    /// The name of the file, as `Path` of `tail` matched it.
    pub name: PathBuf,
    /// The file's inode number.
    pub inode: u64,
    /// Bytes from the start of the file.
    pub offset: u64,
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
    let is_beside = |row: &TailPosition| {
        let folder = folder_of(&row.name);
        folder.is_some() && files.iter().any(|file| folder_of(&file.path) == folder)
    };
    let mut known = match rows.iter().any(is_beside) {
        true => Known::Gone,
        false => Known::Nothing,
    };
    for file in files.iter().filter(|file| !file.rank.is_gzip) {
        let Some(row) = rows.iter().find(|row| is_of(row, file)) else {
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

/// Whether a row is of this file: inode numbers are of one file system, so the folder must be
/// the same.
fn is_of(row: &TailPosition, file: &ListedFile) -> bool {
    row.inode == file.id.inode && folder_of(&row.name) == folder_of(&file.path)
}

/// The folder of a file, or, if `path` is a link, of the file it leads to.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().or_else(|_| {
        let folder = path.parent().unwrap_or(path).canonicalize()?;
        Ok::<_, io::Error>(folder.join(path.file_name().unwrap_or_default()))
    });
    whole.ok()?.parent().map(Path::to_path_buf)
}
