//! What Docker's file about a container says of its mounts: whether this process can run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::runtime::id::ContainerId;
use crate::runtime::own_container::Mounted;

/// The mounts that were asked for, by their places in the container.
pub(super) type MountPoints = BTreeMap<PathBuf, IgnoredAny>;

/// `dir` is the container's folder, `hosts` the file that is mounted on `/etc/hosts`. dockerd does
/// not save the path of that if it is another container's; then the network mode tells.
pub(super) fn mounted(
    dir: &Path,
    mounts: &Option<MountPoints>,
    hosts: &Option<PathBuf>,
    network_mode: impl FnOnce() -> Option<String>,
) -> Mounted {
    let Some(mounts) = mounts else {
        return Mounted::Unknown;
    };
    if !mounts.keys().any(|place| dir.starts_with(place)) {
        return Mounted::WithoutLogs;
    }
    let folder = hosts.as_deref().and_then(Path::parent);
    let own = folder.and_then(|folder| ContainerId::parse(folder.file_name()?.to_str()?));
    let joined = || ContainerId::parse(network_mode()?.strip_prefix("container:")?);
    let with_logs = |hosts_of| Mounted::WithLogs {
        hosts_of,
        places: mounts.keys().cloned().collect(),
    };
    own.or_else(joined).map_or(Mounted::Unknown, with_logs)
}
