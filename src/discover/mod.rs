//! Which containers exist and whose logs they are. Reads directories and
//! metadata files, never a byte of a log.

pub mod docker;
mod root_watch;

pub use root_watch::RootWatch;

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::ContainerId;

/// The folder of Docker's data root that has one folder per container.
const CONTAINERS: &str = "containers";

/// `containers/` below a data root, with the symlinks of the root resolved
/// where it exists.
pub fn containers_dir(docker_root: &Path) -> PathBuf {
    docker_root.canonicalize().unwrap_or_else(|_| docker_root.to_owned()).join(CONTAINERS)
}

/// The containers that have a folder now. What is not named like a container
/// is none.
pub fn list_containers(containers_dir: &Path) -> io::Result<Vec<ContainerId>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(containers_dir)? {
        if let Some(id) = entry?.file_name().to_str().and_then(ContainerId::parse) {
            found.push(id);
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_named_by_a_container_id_are_containers() {
        let root = tempfile::tempdir().unwrap();
        let dir = containers_dir(root.path());
        let id = "ab".repeat(32);
        for name in [id.as_str(), ".tmp-config", "lost+found", &id[1..], &"AB".repeat(32), &"zz".repeat(32)] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        assert_eq!(list_containers(&dir).unwrap(), [ContainerId::parse(&id).unwrap()]);
    }

    #[test]
    fn a_missing_root_is_an_error_not_an_empty_machine() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            list_containers(&containers_dir(root.path())).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
