//! Opens and stats paths that others control: the directories and files of containers.
//!
//! A path has two parts. The *base* is a directory that only the machine's administrator can
//! replace (Docker's `containers/`, `/var/log/pods`, a home directory); it is resolved as usual.
//! The rest is under the control of the base's owner: no symlink in it is followed, wherever it
//! is and whenever it was created, so a swap between a check and an open cannot lead to another
//! file:
//!
//! ```text
//! /home/ada / .local/share/containers/storage/overlay-containers/<id>/userdata/ctr.log
//! base        openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), or component by component
//! ```
//!
//! If the base belongs to a user, three more rules apply: an opened file must belong to that user
//! (a hard link to someone else's file does not), no mount below the base is entered (a user can
//! mount a file system that never answers), and a path is opened before it is examined. Reads no
//! log.

use std::ffi::CString;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use rustix::fs::{
    open, openat, openat2, statx, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx,
    StatxFlags, CWD,
};
use rustix::io::Errno;

use crate::runtime::bounded_file;

const STAT_MASK: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The trusted part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    dir: PathBuf,
    /// The uid of the user who controls what is below; `None` for root's daemons.
    owner: Option<u32>,
    /// Why nothing below is opened, if so.
    refusal: Option<String>,
}

impl Base {
    /// A directory of a system daemon.
    pub fn of_machine(dir: &Path) -> Arc<Base> {
        Arc::new(Base {
            dir: dir.to_owned(),
            owner: None,
            refusal: None,
        })
    }

    /// The home directory of a user.
    pub fn of_user(home: &Path, uid: u32) -> Arc<Base> {
        Arc::new(Base {
            dir: home.to_owned(),
            owner: Some(uid),
            refusal: None,
        })
    }
}

impl Base {
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a user controls what is below.
    pub fn is_of_user(&self) -> bool {
        self.owner.is_some()
    }

    fn check(&self) -> io::Result<()> {
        match &self.refusal {
            Some(reason) => Err(io::Error::new(io::ErrorKind::Unsupported, reason.clone())),
            None => Ok(()),
        }
    }
}

/// A path below a [`Base`]. Compared by its text alone.
#[derive(Clone)]
pub struct SafePath {
    base: Arc<Base>,
    /// Shared by its clones: of each container there are several.
    path: Arc<Path>,
}

impl SafePath {
    /// `path` must begin with the base directory; otherwise it cannot be opened.
    pub fn below(base: &Arc<Base>, path: impl Into<PathBuf>) -> SafePath {
        SafePath {
            base: Arc::clone(base),
            path: path.into().into(),
        }
    }

    /// A path that must not be followed; opening it fails with this reason.
    pub fn refused(path: &Path, reason: &str) -> SafePath {
        let base = Base {
            dir: path.to_owned(),
            owner: None,
            refusal: Some(reason.to_owned()),
        };
        SafePath::below(&Arc::new(base), path)
    }

    /// `name` inside this directory.
    pub fn join(&self, name: impl AsRef<Path>) -> SafePath {
        SafePath::below(&self.base, self.path.join(name))
    }

    /// Another path below the same base.
    pub fn at(&self, path: impl Into<PathBuf>) -> SafePath {
        SafePath::below(&self.base, path)
    }

    /// The path alone.
    pub fn shared(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// The base of the path.
    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }

    /// Whether a user controls what is below the base.
    pub fn is_of_user(&self) -> bool {
        self.user().is_some()
    }

    /// The uid of the user who controls what is below the base, if one does.
    pub fn user(&self) -> Option<u32> {
        self.base.owner
    }

    /// Opens a regular file for reading. Anything else is an error: a pipe in place of a log
    /// would block the reader, and with it all containers.
    pub fn open_file(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        // Without O_NOATIME, every read of a log that is still being written would cause an
        // inode write for the access time. Only the file's owner may set the flag.
        let file = match self.open(flags | OFlags::NOATIME) {
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                self.open(flags)?
            }
            opened => opened?,
        };
        let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ));
        }
        match self.base.owner {
            Some(owner) if stat.stx_uid != owner => {
                let reason = format!(
                    "it belongs to uid {}, not to the user (uid {owner})",
                    stat.stx_uid
                );
                Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
            }
            _ => Ok(File::from(file)),
        }
    }

    /// Reads a regular file of at most `most` bytes.
    pub fn read(&self, most: u64) -> io::Result<Vec<u8>> {
        Ok(bounded_file::read_up_to(
            &self.open_file()?,
            &self.path,
            most,
        )?)
    }

    /// Opens the directory.
    pub fn open_folder(&self) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        Ok(Folder {
            fd: self.open(flags)?,
        })
    }

    /// Whether it is a directory in which there is nothing.
    pub fn is_empty_folder(&self) -> bool {
        let entries = self.open_folder().and_then(|folder| folder.entries(1));
        entries.is_ok_and(|entries| entries.names.is_empty() && entries.failure.is_none())
    }

    /// Stats the path; does not follow a symlink.
    pub fn stat(&self) -> io::Result<Statx> {
        self.base.check()?;
        if self.base.owner.is_none() {
            return Ok(statx(
                CWD,
                &*self.path,
                AtFlags::SYMLINK_NOFOLLOW,
                STAT_MASK,
            )?);
        }
        let opened = self.open(OFlags::PATH | OFlags::NOFOLLOW)?;
        Ok(statx(&opened, "", AtFlags::EMPTY_PATH, STAT_MASK)?)
    }

    /// Whether it is a directory, not a symlink to one.
    pub fn is_folder(&self) -> bool {
        self.stat()
            .is_ok_and(|stat| FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory)
    }

    /// Calls `with` with a path, for functions that accept nothing else. The path refers to
    /// this very directory even if a user replaces it in the meantime.
    pub fn with_path<T>(&self, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        self.base.check()?;
        if self.base.owner.is_none() {
            return with(&self.path);
        }
        let folder = self.open(OFlags::PATH | OFlags::DIRECTORY)?;
        with(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())))
    }

    fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        self.base.check()?;
        let flags = flags | OFlags::CLOEXEC;
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "it is not below its folder");
        let rest = self
            .path
            .strip_prefix(&self.base.dir)
            .map_err(|_| outside())?;
        if !rest
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
        {
            return Err(outside());
        }
        let top = open(
            &self.base.dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if rest.as_os_str().is_empty() {
            return Ok(openat(&top, ".", flags, Mode::empty())?);
        }
        let is_one_mount = self.base.owner.is_some();
        if has_openat2() {
            open_at_once(&top, rest, flags, is_one_mount)
        } else {
            open_step_by_step(top, rest, flags, is_one_mount)
        }
    }
}

/// Whether `openat2` is available: since Linux 5.6, unless a container's seccomp profile
/// blocks it.
fn has_openat2() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    if let Some(has) = HAS.get() {
        return *has;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // Not conclusive, so not cached: for example, no descriptor may be free.
        Err(error) if ![Errno::NOSYS, Errno::PERM, Errno::INVAL].contains(&error) => true,
        tried => *HAS.get_or_init(|| tried.is_ok()),
    }
}

fn open_at_once(
    top: &OwnedFd,
    rest: &Path,
    flags: OFlags,
    is_one_mount: bool,
) -> io::Result<OwnedFd> {
    let mut resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if is_one_mount {
        resolve |= ResolveFlags::NO_XDEV;
    }
    Ok(openat2(top, rest, flags, Mode::empty(), resolve)?)
}

/// Like [`open_at_once`], with system calls that every kernel has.
fn open_step_by_step(
    top: OwnedFd,
    rest: &Path,
    flags: OFlags,
    is_one_mount: bool,
) -> io::Result<OwnedFd> {
    let device = |fd: &OwnedFd| -> io::Result<(u32, u32)> {
        let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        Ok((stat.stx_dev_major, stat.stx_dev_minor))
    };
    let of_top = device(&top)?;
    let mut folder = top;
    let mut components = rest.components().peekable();
    while let Some(name) = components.next() {
        let is_last = components.peek().is_none();
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = Path::new(&name);
        let flags = if is_last {
            flags | OFlags::NOFOLLOW
        } else {
            step
        };
        let next = match openat(&folder, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR) if is_symlink(&folder, name) => return Err(Errno::LOOP.into()),
            opened => opened?,
        };
        if is_one_mount && device(&next)? != of_top {
            return Err(Errno::XDEV.into());
        }
        folder = next;
    }
    Ok(folder)
}

fn is_symlink(folder: &OwnedFd, name: &Path) -> bool {
    let stat = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink)
}

impl Deref for SafePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for SafePath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// The base is the parent directory, so only a symlink in the last component is rejected.
impl From<&Path> for SafePath {
    fn from(path: &Path) -> SafePath {
        SafePath::below(&Base::of_machine(path.parent().unwrap_or(path)), path)
    }
}

impl From<PathBuf> for SafePath {
    fn from(path: PathBuf) -> SafePath {
        SafePath::from(path.as_path())
    }
}

impl From<&PathBuf> for SafePath {
    fn from(path: &PathBuf) -> SafePath {
        SafePath::from(path.as_path())
    }
}

impl From<&SafePath> for SafePath {
    fn from(path: &SafePath) -> SafePath {
        path.clone()
    }
}

impl PartialEq for SafePath {
    fn eq(&self, other: &SafePath) -> bool {
        self.path == other.path
    }
}

impl Eq for SafePath {}

impl Hash for SafePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
}

/// The entries of a directory, except names that are not UTF-8, which no runtime creates.
#[derive(Debug, Default)]
pub struct Entries {
    /// Names in no particular order; the file type may be unknown.
    pub names: Vec<(String, FileType)>,
    /// Why the list is incomplete.
    pub failure: Option<io::Error>,
}

impl Folder {
    /// Lists up to `most` names.
    pub fn entries(&self, most: usize) -> io::Result<Entries> {
        let mut entries = Entries::default();
        for entry in Dir::read_from(&self.fd)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    entries.failure = Some(error.into());
                    break;
                }
            };
            if [c".", c".."].contains(&entry.file_name()) {
                continue;
            }
            if entries.names.len() >= most {
                let reason =
                    format!("the folder has more than {most} entries; the rest is not read");
                entries.failure = Some(io::Error::new(io::ErrorKind::InvalidInput, reason));
                break;
            }
            if let Ok(name) = CString::from(entry.file_name()).into_string() {
                entries.names.push((name, entry.file_type()));
            }
        }
        Ok(entries)
    }

    /// Stats an entry; does not follow a symlink.
    pub fn stat(&self, name: &str) -> io::Result<Statx> {
        Ok(statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK)?)
    }

    /// Stats the directory itself.
    pub fn stat_self(&self) -> io::Result<Statx> {
        Ok(statx(&self.fd, "", AtFlags::EMPTY_PATH, STAT_MASK)?)
    }
}

#[cfg(test)]
mod tests;
