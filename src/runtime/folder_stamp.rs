//! A directory's identity and change time, used to avoid listing it again while it is
//! unchanged; of a file, to avoid reading it again.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::runtime::file::nanos_of;
use crate::runtime::safe_path::SafePath;
use rustix::fs::{statx, AtFlags, Statx, StatxFlags, CWD};

/// The state of a directory or file at one moment: two equal stamps mean that no name in the
/// directory was added or removed, or no byte of the file written, and that the permissions are
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderStamp {
    device: (u32, u32),
    inode: u64,
    changed: Duration,
}

/// How old a change must be before a later change is sure to get another time: file systems
/// record times in ticks of the kernel clock, some in whole seconds, a few in two-second
/// steps.
const STAMP_AGE: Duration = Duration::from_secs(3);

/// The stamp of the directory at `path`; `None` if the directory does not exist or changed so
/// recently that another change might not alter the stamp. Of what is listed next, it is the stamp:
/// a change during the listing alters it.
pub fn stamp(path: &Path) -> Option<FolderStamp> {
    stamp_listed(path, SystemTime::now())
}

/// The stamp of the directory at `path`, which has been listed since `begun`; `None` if it changed
/// during the listing, however long that took, or shortly before.
pub fn stamp_listed(path: &Path, begun: SystemTime) -> Option<FolderStamp> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
    settled(&stat, begun)
}

/// The stamp of what is at `path`, if it is there and did not change as recently as that; does not
/// follow a symlink.
pub fn stamp_at(path: &SafePath) -> Option<FolderStamp> {
    stamp_of(&path.stat().ok()?)
}

/// The stamp of the directory or file with this stat result; `None` if it changed so recently that
/// another change might not alter the stamp.
pub fn stamp_of(stat: &Statx) -> Option<FolderStamp> {
    settled(stat, SystemTime::now())
}

fn settled(stat: &Statx, at: SystemTime) -> Option<FolderStamp> {
    let changed = Duration::from_nanos(nanos_of(stat.stx_ctime));
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    let is_settled = at.saturating_sub(changed) >= STAMP_AGE;
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

    #[test]
    fn a_folder_that_changed_since_its_listing_began_has_no_stamp_however_long_that_took() {
        let folder = Path::new("/usr");
        let changed = UNIX_EPOCH + stamp(folder).unwrap().changed;
        for (begun, is_settled) in [
            (changed - Duration::from_secs(60), false),
            (changed, false),
            (changed + STAMP_AGE / 2, false),
            (changed + STAMP_AGE, true),
        ] {
            assert_eq!(stamp_listed(folder, begun).is_some(), is_settled);
        }
    }
}
