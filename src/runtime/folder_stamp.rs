//! A folder at a moment, by which a look into it is spared while nothing came or went.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{statx, AtFlags, StatxFlags, CWD};

/// A folder at a moment: while it is the same, no name in it came or went, and
/// nobody's right to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderStamp {
    device: (u32, u32),
    inode: u64,
    changed: Duration,
}

/// How old a change must be to tell a folder from a later one: file systems count in
/// ticks of the kernel's clock, some in whole seconds, a few in two.
const STAMP_AGE: Duration = Duration::from_secs(3);

/// The stamp of the folder at `path`; `None` where there is none, or where one more
/// change might leave it as it is. So whatever changed while one looked shows: it is
/// too young.
pub fn stamp(path: &Path) -> Option<FolderStamp> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
    let changed = Duration::new(
        u64::try_from(stat.stx_ctime.tv_sec).ok()?,
        stat.stx_ctime.tv_nsec,
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let is_settled = now.saturating_sub(changed) >= STAMP_AGE;
    let device = (stat.stx_dev_major, stat.stx_dev_minor);
    is_settled.then_some(FolderStamp {
        device,
        inode: stat.stx_ino,
        changed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_just_changed_has_no_stamp() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(stamp(dir.path()), None);
        assert_eq!(stamp(&dir.path().join("none")), None);
    }

    #[test]
    fn a_folder_that_rests_is_told_from_others() {
        let (one, other) = (stamp(Path::new("/usr")), stamp(Path::new("/usr/lib")));
        assert!(one.is_some() && one == stamp(Path::new("/usr")) && one != other);
    }
}
