//! File identity and size as the kernel reports them, and opening files without ever blocking
//! on anything but a regular file.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{statx, AtFlags, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use crate::format::position::Timestamp;
use crate::runtime::safe_path::SafePath;

/// What the kernel appends to the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// The identity of a file. Two equal ids with a birth time are the same file; without a birth
/// time, the inode number may have been reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Birth time in nanoseconds since 1970; 0 if unknown.
    pub birth: u64,
}

/// Id and size in bytes of an open file.
pub fn stat_file(file: &File) -> io::Result<(FileId, u64)> {
    let stat = statx(
        file,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )?;
    Ok(describe(&stat))
}

/// Id and size in bytes of the file at `path`; does not follow a symlink.
pub fn stat_path(path: &SafePath) -> io::Result<(FileId, u64)> {
    Ok(describe(&path.stat()?))
}

/// Id and size in bytes from a stat result.
pub fn describe(stat: &Statx) -> (FileId, u64) {
    let birth = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        0
    } else {
        nanos_of(stat.stx_btime)
    };
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    (
        FileId {
            device,
            inode: stat.stx_ino,
            birth,
        },
        stat.stx_size,
    )
}

/// A time of the kernel's in nanoseconds since 1970; 0 for earlier times.
pub fn nanos_of(time: StatxTimestamp) -> u64 {
    let time = Timestamp {
        seconds: time.tv_sec,
        nanos: time.tv_nsec,
    };
    time.since_epoch()
}

/// Whether an open file still has its name, in whatever folder that is now: one that was moved, or
/// is hidden by a mount, has it, and one that was deleted has not, though it may have other links.
pub fn has_name(file: &File) -> bool {
    match link_to(file) {
        Ok(path) => !path.as_os_str().as_bytes().ends_with(DELETED),
        Err(_) => bytes_on_disk(file).is_ok_and(|(_, deleted)| deleted.is_none()),
    }
}

/// The last name that an open file had, if the kernel tells it.
pub fn last_name(file: &File) -> Option<PathBuf> {
    let mut path = link_to(file).ok()?.into_os_string().into_vec();
    if path.ends_with(DELETED) {
        path.truncate(path.len() - DELETED.len());
    }
    Some(PathBuf::from(OsString::from_vec(path)))
}

fn link_to(file: &File) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Size of an open file and, if the file has been deleted, the bytes it occupies on disk.
pub fn bytes_on_disk(file: &File) -> io::Result<(u64, Option<u64>)> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    // The smaller of both: a sparse file occupies less than its size, and a small file has a
    // whole block.
    let bytes = stat.stx_size.min(stat.stx_blocks.saturating_mul(512));
    Ok((stat.stx_size, (stat.stx_nlink == 0).then_some(bytes)))
}

/// Opens a regular file for reading. Anything else is an error: a pipe in place of a log would
/// block the reader, and with it all containers; a symlink, which no runtime creates there,
/// could lead to any file on the machine.
pub fn open_regular(path: &SafePath) -> io::Result<File> {
    path.open_file()
}

/// Whether retrying cannot resolve the error.
pub fn is_permanent(error: &io::Error) -> bool {
    let permanent = [Errno::IO, Errno::STALE, Errno::ISDIR, Errno::LOOP];
    error.kind() == io::ErrorKind::InvalidInput
        || permanent
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether the process or machine is out of descriptors or memory; such an error says nothing
/// about the file itself.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    shortages
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Reads up to `buffer.len()` bytes at offset `from` in one call, retried if interrupted.
/// Returns the number of bytes, 0 at the end of the file.
pub fn read_up_to(file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, from) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Fills `buffer` from offset `from`; returns `false` if the file ends before that.
pub fn read_exact_at(file: &File, buffer: &mut [u8], from: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, from) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
