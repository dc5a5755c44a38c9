//! Reads every file that is not a log (runtime metadata, `/proc`, the checkpoint) whole and
//! bounded. Whoever can write such a file (a user in the home directory, an image author
//! through labels) must not be able to exhaust the plugin's memory or block it.
//!
//! - Regular files only, opened without blocking: a pipe would block the reader.
//! - At most the limit of the file's kind, whatever size it claims: a file may grow while it
//!   is read, and files in `/proc` report no size.
//! - No symlinks where someone other than the administrator can write to the directory.
//!
//! [`BoundedReadError`] names path, size and limit. `clippy.toml` bans the unbounded functions
//! of the standard library everywhere else.

use std::fs::{File, OpenOptions, ReadDir};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The kind of a file, which determines its size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `config.v2.json` or `hostconfig.json` of a container. Contains the image's labels,
    /// which may be megabytes.
    ContainerConfig,
    /// `containers.json` of root's Podman storage. Its size is limited by what a machine can
    /// run.
    PodmanList,
    /// `containers.json` of a user's Podman storage, which the user can write freely.
    UsersPodmanList,
    /// `config.v2.json` or `hostconfig.json` in a user's Docker storage, or a file about a
    /// container in a user's nerdctl storage.
    UsersContainerConfig,
    /// The settings of a user's container tools, read again at each look.
    UsersSetting,
    /// The database of root's Podman storage: some 10 KB per container.
    PodmanDatabase,
    /// The database of a user's Podman storage.
    UsersPodmanDatabase,
    /// A kernel file in `/proc`. `mountinfo` has about 1 KB per container.
    Proc,
    /// A system setting: `/etc/passwd`, `daemon.json`.
    Setting,
}

impl FileKind {
    /// Size limit of this kind, in bytes.
    pub const fn limit(self) -> u64 {
        match self {
            FileKind::ContainerConfig | FileKind::PodmanList | FileKind::Proc => 16 << 20,
            FileKind::Setting => 8 << 20,
            FileKind::UsersPodmanList | FileKind::UsersContainerConfig => 1 << 20,
            FileKind::UsersSetting => 64 << 10,
            FileKind::PodmanDatabase => 24 << 20,
            FileKind::UsersPodmanDatabase => 4 << 20,
        }
    }

    /// Whether a symlink in place of the file is followed: only where none but the
    /// administrator can create one.
    const fn follows_symlinks(self) -> bool {
        match self {
            FileKind::ContainerConfig
            | FileKind::PodmanList
            | FileKind::UsersPodmanList
            | FileKind::UsersContainerConfig
            | FileKind::UsersSetting
            | FileKind::PodmanDatabase
            | FileKind::UsersPodmanDatabase => false,
            FileKind::Proc | FileKind::Setting => true,
        }
    }
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum BoundedReadError {
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A pipe, device, directory or socket.
    #[error("{}: it is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Larger than any file of this kind that a runtime writes.
    #[error("{}: it has {size} bytes, more than the limit of {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The size that the file reports, or the number of bytes read before giving up.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl BoundedReadError {
    /// An I/O error for the file at `path`.
    pub fn at(path: &Path, source: io::Error) -> BoundedReadError {
        BoundedReadError::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, BoundedReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The error without the path, for messages that begin with it.
    pub fn reason(&self) -> String {
        match self {
            BoundedReadError::Io { source, .. } => source.to_string(),
            BoundedReadError::NotRegular { .. } => "it is not a regular file".to_owned(),
            BoundedReadError::TooLarge { size, limit, .. } => {
                format!("it has {size} bytes, more than the limit of {limit}")
            }
        }
    }
}

impl From<BoundedReadError> for io::Error {
    fn from(error: BoundedReadError) -> io::Error {
        match error {
            BoundedReadError::Io { source, .. } => source,
            refused => io::Error::new(io::ErrorKind::InvalidInput, refused.reason()),
        }
    }
}

/// Opens the file at `path` for [`read_up_to`], which checks that it is a regular file.
fn open(path: &Path, kind: FileKind) -> Result<File, BoundedReadError> {
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    if !kind.follows_symlinks() {
        flags |= OFlags::NOFOLLOW;
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits() as i32);
    options
        .open(path)
        .map_err(|source| BoundedReadError::at(path, source))
}

/// Reads the file at `path`.
pub fn read(path: &Path, kind: FileKind) -> Result<Vec<u8>, BoundedReadError> {
    read_up_to(&open(path, kind)?, path, kind.limit())
}

/// Reads the text of the file at `path`; invalid UTF-8 is replaced.
pub fn read_text(path: &Path, kind: FileKind) -> Result<String, BoundedReadError> {
    let bytes = read(path, kind)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Reads an open file from its current offset to its end, up to `limit` bytes. `path` is only
/// used in errors.
pub fn read_up_to(file: &File, path: &Path, limit: u64) -> Result<Vec<u8>, BoundedReadError> {
    let failed = |source| BoundedReadError::at(path, source);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(BoundedReadError::NotRegular {
            path: path.to_owned(),
        });
    }
    let size = metadata.len();
    let too_large = |size| BoundedReadError::TooLarge {
        path: path.to_owned(),
        size,
        limit,
    };
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    let read = read_at_most(file, limit.saturating_add(1), &mut bytes).map_err(failed)?;
    if read > limit {
        return Err(too_large(read));
    }
    Ok(bytes)
}

/// Appends up to `most` bytes from `source` to `into`; returns how many.
#[expect(clippy::disallowed_methods, reason = "this is the bounded reader")]
pub fn read_at_most(source: impl Read, most: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    source.take(most).read_to_end(into).map(|read| read as u64)
}

/// Most names read from a directory of containers.
pub const MOST_CONTAINERS: usize = 100_000;
/// Most names read from a container's own directory; rotation leaves only a few.
pub const MOST_FILES_OF_CONTAINER: usize = 10_000;

/// Lists a directory. An entry beyond `most` is an error that names the limit.
#[expect(clippy::disallowed_methods, reason = "this is the bounded listing")]
pub fn list(dir: &Path, most: usize) -> io::Result<BoundedListing> {
    Ok(BoundedListing {
        entries: Some(std::fs::read_dir(dir)?),
        most,
        left: most,
    })
}

/// The iterator returned by [`list`].
#[derive(Debug)]
pub struct BoundedListing {
    /// `None` once the limit was exceeded.
    entries: Option<ReadDir>,
    most: usize,
    left: usize,
}

impl Iterator for BoundedListing {
    type Item = io::Result<std::fs::DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.as_mut()?.next()?;
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                self.entries = None;
                let reason = format!(
                    "the folder has more than {} entries and is not read",
                    self.most
                );
                return Some(Err(io::Error::new(io::ErrorKind::InvalidInput, reason)));
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
