//! Where the log of a container is that was started with `--log-opt path`: a path that root wrote
//! down, anywhere on the machine.
//!
//! Such a path is followed only if nobody but root can change what it leads to (`root_path`). A
//! path of a user's container is not followed at all.

use std::ffi::OsStr;
use std::path::Path;

use crate::runtime::root_path::{is_trusted, only_root_can_replace};
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::Found;

/// The log at `path` of a container; a path that cannot be opened if it must not be.
pub(super) fn place(found: &Found, path: &Path) -> SafePath {
    // The same folder may have another name here: a bind mount, a symlink above the storage.
    if let Some(name) = name_in_own_folder(found, path) {
        return found.dir.join(name);
    }
    match refusal(found, path) {
        Some(reason) => SafePath::refused(path, &reason),
        None => {
            let folder = path.parent().unwrap_or(path);
            SafePath::below(&Base::of_machine(folder), path)
        }
    }
}

/// The name of a log in the container's own folder, which is known by its last three folders:
/// `<driver>-containers/<id>/userdata` of Podman, `containers/<namespace>/<id>` of nerdctl.
fn name_in_own_folder<'a>(found: &Found, path: &'a Path) -> Option<&'a OsStr> {
    let own: Vec<_> = found.dir.components().rev().take(3).collect();
    let given: Vec<_> = path.parent()?.components().rev().take(3).collect();
    path.file_name().filter(|_| own == given)
}

/// Why the path is not followed, if so.
fn refusal(found: &Found, path: &Path) -> Option<String> {
    if found.owner.is_some() {
        return Some("the log of a user's container is read only in its own folder".to_owned());
    }
    if !found.dir.stat().is_ok_and(|stat| is_trusted(stat.stx_uid)) {
        return Some("its container belongs to a user".to_owned());
    }
    if !path.is_absolute() || path.file_name().is_none() {
        return Some("it is not the path of a file".to_owned());
    }
    only_root_can_replace(path).err()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{symlink, PermissionsExt};

    use super::*;
    use crate::runtime::id::ContainerId;
    use crate::runtime::Owner;

    fn found(storage: &Path) -> Found {
        let origin = storage.join(format!("overlay-containers/{}", "ab".repeat(32)));
        let dir = SafePath::below(&Base::of_machine(storage), origin.join("userdata"));
        std::fs::create_dir_all(&dir).unwrap();
        Found::new(ContainerId::from_bytes([0xab; 32]), dir, origin)
    }

    fn opened(found: &Found, path: &Path) -> Result<(), String> {
        let opened = place(found, path).open_file();
        opened.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_log_elsewhere_is_opened_where_only_root_can_write() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let found = found(&top.join("storage"));
        let logs = top.join("logs");
        fs::create_dir(&logs).unwrap();
        let log = logs.join("web.log");
        assert!(opened(&found, &log).unwrap_err().contains("No such file"));
        fs::write(&log, "x").unwrap();
        assert_eq!(opened(&found, &log), Ok(()));

        fs::set_permissions(&logs, Permissions::from_mode(0o1777)).unwrap();
        let error = opened(&found, &log).unwrap_err();
        assert!(error.contains("users other than root can write"), "{error}");
        fs::set_permissions(&logs, Permissions::from_mode(0o755)).unwrap();

        symlink(&logs, top.join("link")).unwrap();
        let error = opened(&found, &top.join("link/web.log")).unwrap_err();
        assert!(error.contains("a symlink"), "{error}");
        symlink(&log, logs.join("link.log")).unwrap();
        assert!(opened(&found, &logs.join("link.log")).is_err());

        for odd in ["web.log", "/", "/x/.."] {
            assert!(opened(&found, Path::new(odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_log_in_the_containers_folder_is_found_under_another_name_of_the_storage() {
        let dir = tempfile::tempdir().unwrap();
        let found = found(dir.path());
        let id = "ab".repeat(32);
        let inside =
            format!("/var/lib/containers/storage/overlay-containers/{id}/userdata/ctr.log");
        assert_eq!(
            &*place(&found, Path::new(&inside)),
            found.dir.join("ctr.log").as_ref()
        );
    }

    #[test]
    fn a_path_of_a_users_container_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::write(top.join("web.log"), "x").unwrap();
        let owner = Owner {
            user: "ada".to_owned(),
            container_id: ContainerId::from_bytes([1; 32]),
        };
        let of_ada = Found {
            owner: Some(Box::new(owner)),
            ..found(&top.join("storage"))
        };
        let error = opened(&of_ada, &top.join("web.log")).unwrap_err();
        assert!(error.contains("only in its own folder"), "{error}");
    }
}
