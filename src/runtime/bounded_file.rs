//! Reads every file that is not a log, whole and bounded: metadata of runtimes, what
//! the kernel tells in `/proc`, the checkpoint. Who can write such a file (a user in
//! the home directory, an image author by labels) must not choose how much memory the
//! plugin takes, nor make it wait.
//!
//! - A regular file only, opened without blocking: a pipe would hold the reader.
//! - At most the limit of its kind, whatever size the file claims: it may grow while
//!   it is read, and files of `/proc` claim none.
//! - No symlink where others arrange the folder.
//!
//! [`BoundedReadError`] names path, size and limit. `clippy.toml` bans the unbounded
//! calls of the standard library everywhere else.

use std::fs::{File, OpenOptions, ReadDir};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What a file is, which decides how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `config.v2.json` or `hostconfig.json` of a container. It has the labels of the
    /// image, which may be megabytes.
    ContainerConfig,
    /// `containers.json` of root's storage of Podman. It has what a machine can run.
    PodmanList,
    /// The same of a user, who can write there what he likes.
    UsersPodmanList,
    /// A file of the kernel's in `/proc`. `mountinfo` has about 1 KB for each container.
    Proc,
    /// A setting of the machine: `/etc/passwd`, `daemon.json`.
    Setting,
}

impl FileKind {
    /// How large a file of this kind may be, in bytes.
    pub const fn limit(self) -> u64 {
        match self {
            FileKind::ContainerConfig | FileKind::PodmanList | FileKind::Proc => 16 << 20,
            FileKind::Setting => 8 << 20,
            FileKind::UsersPodmanList => 1 << 20,
        }
    }

    /// Whether a symlink in its place is followed: only where the machine's
    /// administrator alone can put one.
    const fn follows_symlinks(self) -> bool {
        match self {
            FileKind::ContainerConfig | FileKind::PodmanList | FileKind::UsersPodmanList => false,
            FileKind::Proc | FileKind::Setting => true,
        }
    }
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum BoundedReadError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A pipe, a device, a folder, or a socket.
    #[error("{}: it is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Larger than any that a runtime writes.
    #[error("{}: it has {size} bytes, more than the limit of {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The size that it claims, or how much of it there was at least.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
}

impl BoundedReadError {
    /// What the operating system said of the file at `path`.
    pub fn at(path: &Path, source: io::Error) -> BoundedReadError {
        BoundedReadError::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether there is no such file.
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

/// Opens the file at `path` to be read by [`read_up_to`]. It may be no regular file yet.
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

/// The bytes of the file at `path`.
pub fn read(path: &Path, kind: FileKind) -> Result<Vec<u8>, BoundedReadError> {
    read_up_to(&open(path, kind)?, path, kind.limit())
}

/// The text of the file at `path`; bytes that are not UTF-8 are replaced.
pub fn read_text(path: &Path, kind: FileKind) -> Result<String, BoundedReadError> {
    let bytes = read(path, kind)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The rest of a file that is open already, from where it stands, up to `limit`; `path` is
/// for the error.
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

/// Appends what `source` has, up to `most` bytes; returns how many.
#[expect(clippy::disallowed_methods, reason = "this is the bounded reader")]
pub fn read_at_most(source: impl Read, most: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    source.take(most).read_to_end(into).map(|read| read as u64)
}

/// How many names a folder of containers is read to.
pub const MOST_CONTAINERS: usize = 100_000;
/// How many names a container's own folder is read to; rotation leaves a few.
pub const MOST_FILES_OF_CONTAINER: usize = 10_000;

/// The entries of a folder, up to `most`; one more is an error, which names the limit.
#[expect(clippy::disallowed_methods, reason = "this is the bounded listing")]
pub fn list(dir: &Path, most: usize) -> io::Result<BoundedListing> {
    Ok(BoundedListing {
        entries: Some(std::fs::read_dir(dir)?),
        most,
        left: most,
    })
}

/// See [`list`].
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
