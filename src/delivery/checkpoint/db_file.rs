//! The file behind `DB`: what is recognized as a checkpoint, opened and locked, and what is
//! refused and left untouched.
//!
//! `DB` is a path typed by a user, so it may name anything: another input's database, a pipe,
//! the password file. Nothing is created, renamed or written before the file is known to be
//! ours:
//!
//! | what is there | what a start does |
//! |---|---|
//! | nothing | creates the file |
//! | a whole checkpoint of this version | uses it |
//! | our magic, but torn, damaged, oversized or of another version | sets it aside |
//! | an empty file, or nothing but NUL bytes: what a power cut leaves of ours | sets it aside |
//! | the first bytes of our magic and nothing else: a torn creation | sets it aside |
//! | anything else, or anything but a regular file | refuses to start, touches nothing |
//!
//! Symbolic links are refused too: otherwise whoever can write to the folder could choose the
//! file. Parent folders may be links.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{flock, renameat_with, seek, FlockOperation, OFlags, RenameFlags, SeekFrom, CWD};
use rustix::io::Errno;

use crate::delivery::checkpoint::header::{HEADER, MAGIC};

/// Number of attempts to take a lock held by another process, and the pause between them. A
/// program started by the host shares our lock from its fork to its exec, so the lock can
/// briefly outlive the instance that a hot reload has ended.
const LOCK_TRIES: usize = 50;
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Larger than any checkpoint: 524,280 containers within the ten minutes for which the entry
/// of a removed container is kept. Nothing beyond it is read.
const MOST_BYTES: u64 = 256 << 20;

/// The first bytes of a database of `in_tail`, `in_systemd` and others.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read-only; needs no write permission.
    Read,
    /// Read and written.
    Write,
}

/// Why a checkpoint cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A system call failed.
    #[error("DB {}: {source}{}", path.display(), hint(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is not ours or not a regular file. It was left untouched.
    #[error("DB {}: {problem} (nothing was changed)", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        problem: String,
    },
    /// Another instance holds the lock.
    #[error("DB {} is in use by another instance; give each container_logs input its own DB", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// The file itself is created, so only its folder can be missing.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the file must be readable and writable, and so must its folder"
        }
        io::ErrorKind::NotFound => "; its folder does not exist (mkdir -p)",
        _ => "",
    }
}

/// Why a file cannot be opened as a checkpoint.
#[derive(Debug)]
pub(crate) enum OpenError {
    Io(io::Error),
    InUse,
    /// It is not a checkpoint; the text says what it is instead.
    NotOurs(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl OpenError {
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, OpenError::Io(error) if error.kind() == ErrorKind::NotFound)
    }

    pub(crate) fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_owned();
        match self {
            OpenError::Io(source) => CheckpointError::Io { path, source },
            OpenError::InUse => CheckpointError::InUse { path },
            OpenError::NotOurs(problem) => CheckpointError::NotOurs { path, problem },
        }
    }
}

/// Opens and locks the existing file, retrying while another process holds the lock. Each
/// attempt opens it anew, because the holder may have set it aside.
pub(crate) fn open_when_unlocked(
    path: &Path,
    access: Access,
    mut pause: impl FnMut(),
) -> Result<File, OpenError> {
    for _ in 1..LOCK_TRIES {
        match open_locked(path, access) {
            Err(OpenError::InUse) => pause(),
            opened_or_failed => return opened_or_failed,
        }
    }
    open_locked(path, access)
}

/// Opens the file and locks it until it is closed.
pub(crate) fn open_locked(path: &Path, access: Access) -> Result<File, OpenError> {
    let file = open(path, access)?;
    lock(&file)?;
    // The previous lock holder may have replaced the file at this path meanwhile.
    let (ours, named) = (file.metadata()?, std::fs::symlink_metadata(path)?);
    if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
        return Err(OpenError::InUse);
    }
    // Its content may also have changed before it was locked.
    head(&file)?;
    Ok(file)
}

/// Creates the file, which must not exist yet, and locks it.
pub(crate) fn create_locked(path: &Path) -> Result<File, OpenError> {
    let file = options(Access::Write)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| {
            // Two instances create it at the same time: this one was second.
            match error.kind() {
                ErrorKind::AlreadyExists => OpenError::InUse,
                _ => OpenError::Io(error),
            }
        })?;
    lock(&file)?;
    Ok(file)
}

/// Opens the existing file if it may be used or set aside.
pub(crate) fn open(path: &Path, access: Access) -> Result<File, OpenError> {
    // Opening alone rewinds a tape and arms a watchdog, so check the type first.
    let kind = std::fs::symlink_metadata(path)?.file_type();
    refuse_unless_regular(path, kind)?;
    let file = options(access).open(path)?;
    refuse_unless_regular(path, file.metadata()?.file_type())?;
    head(&file)?;
    Ok(file)
}

/// The standard library adds `O_CLOEXEC`.
fn options(access: Access) -> OpenOptions {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(access == Access::Write)
        .custom_flags(flags.bits() as i32);
    options
}

fn refuse_unless_regular(path: &Path, kind: FileType) -> Result<(), OpenError> {
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).unwrap_or_default();
        return Err(OpenError::NotOurs(format!(
            "it is a symbolic link to {}; name the file itself",
            target.display()
        )));
    } else if kind.is_dir() {
        "a directory; name a file in it"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(OpenError::NotOurs(format!("it is {what}")))
}

fn lock(file: &File) -> Result<(), OpenError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse),
        Err(error) => Err(OpenError::Io(error.into())),
    }
}

/// The first page of the file, or less if it is shorter. Fails if the file is not ours.
pub(crate) fn head(file: &File) -> Result<Vec<u8>, OpenError> {
    let mut head = vec![0; HEADER];
    let length = read_at(file, &mut head, 0)?;
    head.truncate(length);
    let is_torn_creation = length < MAGIC.len() && MAGIC.starts_with(&head);
    if head.starts_with(MAGIC) || is_torn_creation || is_all_nul(file)? {
        return Ok(head);
    }
    let what = if head.starts_with(SQLITE_MAGIC) {
        "this is tail's database or another SQLite database; give container_logs its own DB"
    } else {
        "this file is not a checkpoint of container_logs; give container_logs its own DB"
    };
    Err(OpenError::NotOurs(what.to_owned()))
}

/// Whether the file is empty or has only NUL bytes. Holes are skipped unread, and a file with
/// more data than any checkpoint is not read to its end.
fn is_all_nul(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut buffer = [0; 4096];
    let (mut at, mut looked_at) = (0, 0);
    while at < length && looked_at < MOST_BYTES {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(true),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(error) => return Err(error.into()),
        };
        // Reads on through a data extent without a further `SEEK_DATA` for each block.
        for _ in 0..256 {
            let length = read_at(file, &mut buffer, at)?;
            if buffer.iter().take(length).any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += length as u64;
            looked_at += length as u64;
            if length < buffer.len() {
                break;
            }
        }
    }
    Ok(at >= length)
}

/// Whether the file is larger than any checkpoint.
pub(crate) fn is_oversized(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() > MOST_BYTES)
}

/// Reads until the buffer is full or the file ends; returns the number of bytes.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Renames a file of ours to `NAME.set-aside-SECONDS`, with a number appended if that exists
/// already.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut number = 0u32;
    loop {
        let suffix = if number == 0 {
            String::new()
        } else {
            format!("-{number}")
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".set-aside-{seconds}{suffix}"));
        let aside = PathBuf::from(aside);
        match renameat_with(CWD, path, CWD, &aside, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(aside),
            Err(Errno::EXIST) => {}
            // The file system does not support the flag.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if std::fs::symlink_metadata(&aside).is_err() {
                    return std::fs::rename(path, &aside).map(|()| aside);
                }
            }
            Err(error) => return Err(error.into()),
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests;
