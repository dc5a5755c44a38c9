//! What containerd keeps of a container while it runs: the folder of its task.

use std::path::Path;

use crate::runtime::file::stat_path;
use crate::runtime::last_run::LastRun;
use crate::runtime::nerdctl::containerd::TASKS;
use crate::runtime::nerdctl::{read, LogConfig, DEFAULT_STATE, LOG_CONFIG};
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::Found;

/// The data root for one containerd, and the namespace, in which a container is.
pub(super) fn place(found: &Found) -> Option<(SafePath, &str)> {
    let mut above = found.origin.ancestors().skip(1);
    let namespace = above.next()?.file_name()?.to_str()?;
    let store = above.nth(1)?;
    Some((found.dir.at(store), namespace))
}

/// The folder of containerd's running containers, of the machine's own containerd.
pub(super) fn tasks(found: &Found) -> Option<SafePath> {
    if found.owner.is_some() {
        return None;
    }
    let address = read::<LogConfig>(found, LOG_CONFIG).address;
    let socket = address
        .as_deref()
        .map(|address| Path::new(address.strip_prefix("unix://").unwrap_or(address)));
    let state = socket
        .filter(|socket| socket.is_absolute())
        .and_then(Path::parent)
        .unwrap_or(Path::new(DEFAULT_STATE));
    let tasks = state.join(TASKS);
    Some(SafePath::below(&Base::of_machine(&tasks), &*tasks))
}

/// The folder of a container while it runs.
pub(super) fn task(found: &Found) -> Option<SafePath> {
    let (_, namespace) = place(found)?;
    let task = tasks(found)?
        .join(namespace)
        .join(found.runtime_id().to_string());
    task.is_folder().then_some(task)
}

/// When a container ran last: containerd makes the folder of its task at each start, and removes it at
/// the end.
pub(super) fn last_run(found: &Found) -> LastRun {
    if !tasks(found).is_some_and(|tasks| tasks.is_folder()) {
        return LastRun::default();
    }
    let task = task(found).and_then(|task| stat_path(&task).ok());
    LastRun {
        is_running: Some(task.is_some()),
        started: task.map(|(id, _)| id.birth).filter(|birth| *birth > 0),
        ended: None,
    }
}
