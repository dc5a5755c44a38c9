//! Paths that lead out of a runtime's storage, as root wrote them down: they are followed only if
//! nobody else can change what they lead to.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

/// Permission of others to write, and the flag of a folder, as `/tmp`, in which nobody replaces
/// what belongs to somebody else.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Whether a file of this user's is root's, or that of the user whom the plugin runs as.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Checks that nobody but root (or the user whom the plugin runs as) can replace what is at `path`:
/// there is no symlink above it, each folder above it is trusted, and nobody else can write to its
/// folder or replace a folder above that.
pub(crate) fn only_root_can_replace(path: &Path) -> Result<(), String> {
    for folder in path.ancestors().skip(1) {
        let shown = folder.display();
        let stat = match fs::symlink_metadata(folder) {
            Ok(stat) => stat,
            // Opening the path fails in the same way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{shown}: {error}")),
        };
        if !stat.is_dir() {
            return Err(format!("{shown} is not a folder, but a symlink or a file"));
        }
        if !is_trusted(stat.uid()) {
            return Err(format!("{shown} belongs to uid {}", stat.uid()));
        }
        let is_above = Some(folder) != path.parent();
        let is_safe =
            stat.mode() & WRITABLE_BY_OTHERS == 0 || is_above && stat.mode() & STICKY != 0;
        if !is_safe {
            return Err(format!("users other than root can write to {shown}"));
        }
    }
    Ok(())
}
