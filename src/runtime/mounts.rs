//! Determines which file system a path is on without touching the path: a network file system
//! whose server is gone never answers, and whoever accesses it blocks.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Types of file systems whose answers depend on another machine or process.
const DISTANT: [&str; 13] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "nfs", "nfs4", "smb3",
    "smbfs", "virtiofs",
];
/// Most symlinks followed, as in the kernel.
const MOST_LINKS: usize = 40;

/// The mounts of this process, from `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounts {
    /// Mount point and file system type; later mounts cover earlier ones.
    mounts: Vec<(PathBuf, String)>,
}

/// A mount on the way to a path; it may not answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Distant {
    /// The mount point.
    pub mount: PathBuf,
    /// The type of its file system.
    pub kind: String,
}

impl Mounts {
    /// Parses the text of `/proc/self/mountinfo`.
    pub fn parse(mountinfo: &str) -> Mounts {
        let mounts = mountinfo.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let place = unescaped(before.split(' ').nth(4)?);
            Some((place, after.split(' ').next()?.to_owned()))
        });
        Mounts {
            mounts: mounts.collect(),
        }
    }

    /// The mount that contains `path`, which must have no symlinks.
    fn of(&self, path: &Path) -> Option<&(PathBuf, String)> {
        let above = self
            .mounts
            .iter()
            .filter(|(mount, _)| path.starts_with(mount));
        // Among equal paths the last mount is on top.
        above.max_by_key(|(mount, _)| mount.components().count())
    }

    /// Whether there is none, so that nothing is known.
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    /// Whether something is mounted at exactly this path.
    pub fn has_point(&self, path: &Path) -> bool {
        self.mounts.iter().any(|(mount, _)| mount == path)
    }

    /// All mount points.
    pub fn points(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().map(|(mount, _)| mount.as_path())
    }

    /// The mount point that contains `path`, which must have no symlinks.
    pub fn point_of(&self, path: &Path) -> PathBuf {
        let root = || PathBuf::from("/");
        self.of(path).map_or_else(root, |(mount, _)| mount.clone())
    }

    /// The first mount on the way to `path` that may not answer, if any. Follows symlinks, but
    /// reads each one only after checking that it is not on such a mount.
    pub fn distant(&self, path: &Path) -> Option<Distant> {
        let mut rest: Vec<PathBuf> = names(path);
        let mut reached = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == Path::new("..") {
                reached.pop();
                continue;
            }
            reached.push(name);
            if let Some((mount, kind)) = self.of(&reached).filter(|(_, kind)| is_distant(kind)) {
                return Some(Distant {
                    mount: mount.clone(),
                    kind: kind.clone(),
                });
            }
            let Ok(target) = std::fs::read_link(&reached) else {
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            reached.pop();
            if target.is_absolute() {
                reached = PathBuf::from("/");
            }
            rest.extend(names(&target));
        }
        None
    }
}

fn is_distant(kind: &str) -> bool {
    // FUSE is served by a process, possibly one written by a user.
    DISTANT.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.")
}

/// The components below the root, in reverse order.
fn names(path: &Path) -> Vec<PathBuf> {
    let is_name = |component: &Component<'_>| {
        matches!(component, Component::Normal(_) | Component::ParentDir)
    };
    path.components()
        .rev()
        .filter(is_name)
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}

/// Decodes octal escapes such as `\040` for a space.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() {
            after.get(3..).unwrap_or_default()
        } else {
            after
        };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Shows mount point and type, for messages.
impl std::fmt::Display for Distant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mount = String::from_utf8_lossy(self.mount.as_os_str().as_bytes());
        write!(f, "{mount} is a mount of type {}", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mounts(top: &Path) -> Mounts {
        let top = top.display();
        Mounts::parse(&format!(
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
             23 22 0:44 / {top}/home/a\\040b rw - nfs4 server:/x rw\n\
             24 22 0:45 / {top}/home/ada rw - fuse.sshfs ada@x: rw\n\
             25 22 0:46 / {top}/home/eve rw - nfs server:/eve rw\n\
             26 22 0:47 / {top}/home/eve rw - tmpfs tmpfs rw\n\
             27 22 0:48 / {top}/net rw - autofs auto rw\n\
             28 22 0:48 / {top}/usb rw - fuseblk /dev/sdb1 rw\n\
             garbage\n"
        ))
    }

    #[test]
    fn the_mount_on_top_of_the_longest_way_decides() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let mounts = mounts(&top);
        let kind = |path: &str| mounts.distant(&top.join(path)).map(|distant| distant.kind);
        assert_eq!(kind("home/a b/x").as_deref(), Some("nfs4"));
        assert_eq!(kind("home/ada").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind("net/home/x").as_deref(), Some("autofs"));
        for near in ["home", "home/eve/x", "home/adam", "usb/x", "nothing/there"] {
            assert_eq!(kind(near), None, "{near}");
        }
    }

    #[test]
    fn a_symlink_on_the_way_is_followed_by_reading_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("home/bob")).unwrap();
        symlink(top.join("net/home"), top.join("absolute")).unwrap();
        symlink("../../net", top.join("home/bob/relative")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let mounts = mounts(&top);
        for way in ["absolute/x", "home/bob/relative/x"] {
            assert_eq!(
                mounts.distant(&top.join(way)).unwrap().mount,
                top.join("net"),
                "{way}"
            );
        }
        assert_eq!(mounts.distant(&top.join("loop/x")), None);
    }
}
