//! The container this process runs in, if any. Its log must not be read by default: whatever
//! the collector logs about a record would become another record.
//!
//! No interface reports it, so three sources are checked. The cgroup path ends in the id (v1,
//! and v2 with the host's cgroup namespace). Docker mounts `/etc/hostname` and similar files
//! from the container's directory, whose name is the id. The host name is the short id, unless
//! the user set one.

use std::path::Path;

use crate::runtime::bounded_file::{read_text, FileKind};
use crate::runtime::id::ContainerId;

/// Files that runtimes mount from the container's own directory.
const MOUNTED_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// What identifies the container this process runs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnContainer {
    ids: Vec<ContainerId>,
    /// The host name, if it has the form of a short id.
    short_id: Option<String>,
}

impl OwnContainer {
    /// Reads the sources in `/proc`; those that cannot be read are ignored.
    pub fn find() -> OwnContainer {
        let read = |path| read_text(Path::new(path), FileKind::Proc).unwrap_or_default();
        let host_name = read("/proc/sys/kernel/hostname");
        OwnContainer::from_parts(
            &read("/proc/self/cgroup"),
            &read("/proc/self/mountinfo"),
            &host_name,
        )
    }

    /// Combines the texts of `/proc/self/cgroup` and `/proc/self/mountinfo` and the host name.
    pub fn from_parts(cgroup: &str, mountinfo: &str, host_name: &str) -> OwnContainer {
        let mut ids: Vec<ContainerId> = cgroup.lines().filter_map(id_in_cgroup).collect();
        ids.extend(mountinfo.lines().filter_map(id_in_mount));
        ids.sort_unstable();
        ids.dedup();
        let host_name = host_name.trim();
        let is_short_id =
            host_name.len() == 12 && host_name.bytes().all(|byte| byte.is_ascii_hexdigit());
        OwnContainer {
            ids,
            short_id: is_short_id.then(|| host_name.to_ascii_lowercase()),
        }
    }

    /// Whether `id` is this container.
    pub fn is(&self, id: &ContainerId) -> bool {
        self.ids.contains(id)
            || self
                .short_id
                .as_ref()
                .is_some_and(|short| *short == id.short())
    }
}

/// Parses a line such as `0::/system.slice/docker-ID.scope` or `5:cpu:/docker/ID`. With nested
/// containers, the innermost one is ours.
fn id_in_cgroup(line: &str) -> Option<ContainerId> {
    let path = line.splitn(3, ':').nth(2)?;
    path.rsplit('/').find_map(id_in_name)
}

/// Parses a line whose fourth field is the mounted path and whose fifth is the mount point:
/// `… 8:1 /var/lib/docker/containers/ID/hostname /etc/hostname rw …`.
fn id_in_mount(line: &str) -> Option<ContainerId> {
    let mut words = line.split(' ').skip(3);
    let (root, place) = (words.next()?, words.next()?);
    if !MOUNTED_FILES.contains(&place) {
        return None;
    }
    root.rsplit('/').find_map(id_in_name)
}

/// Parses `ID`, `docker-ID.scope`, `cri-containerd-ID.scope` or `libpod-ID`.
fn id_in_name(name: &str) -> Option<ContainerId> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    ContainerId::parse(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c0a5b9d2e4f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd";

    fn is_own(cgroup: &str, mountinfo: &str, host_name: &str) -> bool {
        OwnContainer::from_parts(cgroup, mountinfo, host_name).is(&ContainerId::parse(ID).unwrap())
    }

    #[test]
    fn a_cgroup_tells_by_its_path() {
        for path in [
            format!("12:cpuset:/docker/{ID}\n11:memory:/docker/{ID}\n"),
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("1:name=systemd:/kubepods.slice/x.slice/cri-containerd-{ID}.scope"),
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
            format!("4:pids:/docker/{}/docker/{ID}", "a".repeat(64)),
        ] {
            assert!(is_own(&path, "", ""), "{path}");
        }
        for path in [
            "0::/",
            "0::/system.slice/fluent-bit.service",
            "",
            &format!("0::/docker/{ID}0"),
        ] {
            assert!(!is_own(path, "", ""), "{path}");
        }
        assert!(
            !is_own(
                &format!("0::/docker/{ID}/docker/{}", "a".repeat(64)),
                "",
                ""
            ),
            "the outer one"
        );
    }

    #[test]
    fn a_mounted_file_tells_by_the_folder_it_comes_from() {
        let line = |place: &str| {
            format!("713 690 254:1 /var/lib/docker/containers/{ID}/hostname {place} rw,relatime - ext4 /dev/vda1 rw")
        };
        assert!(is_own("0::/", &line("/etc/hostname"), "web"));
        assert!(
            !is_own("0::/", &line("/host/etc/hostname"), "web"),
            "another one's, mounted below ours"
        );
        // On the host: the shared memory of a container, mounted by dockerd.
        let shm =
            format!("99 29 0:50 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw");
        assert!(!is_own("0::/", &shm, "server"));
        assert!(!is_own("0::/", "garbage\n1 2\n", ""));
    }

    #[test]
    fn a_host_name_tells_if_it_is_a_short_id() {
        assert!(is_own("0::/", "", "3f1c0a5b9d2e\n"));
        for name in ["3f1c0a5b9d2", "3f1c0a5b9d2e4", "shop-web-001", ""] {
            assert!(!is_own("0::/", "", name), "{name}");
        }
    }
}
