//! The container this process runs in, if any. Its log must not be read by default: whatever
//! the collector logs about a record would become another record.
//!
//! No interface reports it. The sources, the surest first:
//!
//! 1. The path of the control group ends in the container's id (v1, and v2 with the host's cgroup
//!    namespace).
//! 2. The kubelet mounts `/dev/termination-log` from a folder that names the pod's uid and the
//!    container, and `/etc/hosts` from one that names the uid. The uid alone tells which containers
//!    are not this one: all of other pods.
//! 3. Other runtimes mount `/etc/hosts` and similar files from the folder of a container, whose
//!    name is the id. With `--network container:app` they are mounted from *app's* folder, and the
//!    host name is app's as well. So where a container's configuration tells, it must also mount
//!    the folder with the logs ([`Mounted`]), and each of its mounts must be one of this process: app
//!    may mount the folder, too, or one above.
//! 4. The host name is the short id, unless the user set one.
//!
//! A source counts only where no surer one says anything, and a container that is not surely this
//! one is read.

use std::path::{Path, PathBuf};

use crate::runtime::bounded_file::{read_text, FileKind};
use crate::runtime::id::ContainerId;
use crate::runtime::mounts::Mounts;

/// Files that runtimes mount from the container's own folder, or from that of the container
/// whose network it shares; the first is never another container's.
const MOUNTED_FILES: [&str; 4] = [
    "/run/.containerenv",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
];

/// What identifies the container this process runs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnContainer {
    /// Ids in the paths of the control groups.
    ids: Vec<ContainerId>,
    pod: Option<OwnPod>,
    mounted_from: Option<ContainerId>,
    /// The host name, if it has the form of a short id.
    short_id: Option<String>,
    mounts: Mounts,
}

/// The pod this process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OwnPod {
    uid: String,
    /// The container's name; if it is unknown, no container of the pod is surely this one.
    container: Option<String>,
}

/// What a container's configuration tells about its mounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mounted {
    /// Nothing.
    #[default]
    Unknown,
    /// The folder with the logs is not mounted: a process that reads them runs elsewhere.
    WithoutLogs,
    /// The folder with the logs is.
    WithLogs {
        /// The container whose `/etc/hosts` is mounted.
        hosts_of: ContainerId,
        /// All places at which something is mounted that was asked for.
        places: Vec<PathBuf>,
    },
}

/// How a container compares with the one this process runs in.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The runtime's id, if known.
    pub id: Option<ContainerId>,
    /// The uid of its pod, and its name there.
    pub in_pod: Option<(&'a str, &'a str)>,
    /// Its mounts.
    pub mounted: &'a Mounted,
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
        ids.sort_unstable();
        ids.dedup();
        let mounts: Vec<(&str, &str)> = mountinfo.lines().filter_map(source_and_place).collect();
        // The last mount at a place covers the others.
        let source_of = |wanted: &str| {
            let mut there = mounts.iter().rev().filter(|(_, place)| *place == wanted);
            there.next().map(|(source, _)| *source)
        };
        let host_name = host_name.trim();
        let is_short_id =
            host_name.len() == 12 && host_name.bytes().all(|byte| byte.is_ascii_hexdigit());
        OwnContainer {
            ids,
            pod: own_pod(&mounts, source_of("/etc/hosts")),
            mounted_from: MOUNTED_FILES
                .into_iter()
                .filter_map(source_of)
                .find_map(id_in_source),
            mounts: Mounts::parse(mountinfo),
            short_id: is_short_id.then(|| host_name.to_ascii_lowercase()),
        }
    }

    /// Whether this process surely runs in this container.
    pub fn is(&self, candidate: &Candidate<'_>) -> bool {
        if candidate.id.is_some_and(|id| self.ids.contains(&id)) {
            return true;
        }
        if let (Some(own), Some((uid, name))) = (&self.pod, candidate.in_pod) {
            return own.uid == uid && own.container.as_deref() == Some(name);
        }
        if !self.ids.is_empty() || self.pod.is_some() {
            return false;
        }
        let has_our_hosts = |id: &ContainerId| match (&self.mounted_from, &self.short_id) {
            (Some(own), _) => own == id,
            (None, Some(short)) => *short == id.short(),
            (None, None) => false,
        };
        match candidate.mounted {
            Mounted::Unknown => candidate.id.as_ref().is_some_and(has_our_hosts),
            Mounted::WithoutLogs => false,
            Mounted::WithLogs { hosts_of, places } => {
                // In many images `/var/run` is a symlink, and what was asked for there is in `/run`.
                let resolved = |place: &PathBuf| place.canonicalize().unwrap_or_default();
                let has_place = |place: &PathBuf| {
                    self.mounts.has_point(place) || self.mounts.has_point(&resolved(place))
                };
                has_our_hosts(hosts_of) && (self.mounts.is_empty() || places.iter().all(has_place))
            }
        }
    }
}

/// Parses a line such as `0::/system.slice/docker-ID.scope` or `5:cpu:/docker/ID`. With nested
/// containers, the innermost one is ours.
fn id_in_cgroup(line: &str) -> Option<ContainerId> {
    let path = line.splitn(3, ':').nth(2)?;
    path.rsplit('/').find_map(id_in_name)
}

/// Parses `ID`, `docker-ID.scope`, `cri-containerd-ID.scope` or `libpod-ID`.
fn id_in_name(name: &str) -> Option<ContainerId> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    ContainerId::parse(id)
}

/// Returns the fourth and fifth field of a line of `mountinfo`: what is mounted, as a path in its
/// file system, and where.
fn source_and_place(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(' ').skip(3);
    Some((words.next()?, words.next()?))
}

/// Parses `…/containers/ID/hostname` or `…/ID/userdata/hostname`.
fn id_in_source(source: &str) -> Option<ContainerId> {
    source
        .rsplit('/')
        .skip(1)
        .take(2)
        .find_map(ContainerId::parse)
}

/// Parses `…/pods/UID/containers/NAME/FILE`, wherever it is mounted (a pod can choose), or else
/// `…/pods/UID/etc-hosts`.
fn own_pod(mounts: &[(&str, &str)], hosts: Option<&str>) -> Option<OwnPod> {
    let in_parts = |source: &str| {
        let mut parts = source.rsplit('/').skip(1);
        let (name, containers) = (parts.next()?, parts.next()?);
        let (uid, pods) = (parts.next()?, parts.next()?);
        (containers == "containers" && pods == "pods").then(|| OwnPod {
            uid: uid.to_owned(),
            container: Some(name.to_owned()),
        })
    };
    let in_hosts = |source: &str| {
        let (_, rest) = source.rsplit_once("/pods/")?;
        let uid = rest.strip_suffix("/etc-hosts")?;
        (!uid.contains('/')).then(|| OwnPod {
            uid: uid.to_owned(),
            container: None,
        })
    };
    let sources = mounts.iter().map(|(source, _)| *source);
    sources
        .rev()
        .find_map(in_parts)
        .or_else(|| hosts.and_then(in_hosts))
}

#[cfg(test)]
mod tests;
