//! The program as somebody without rights runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::run;
use super::tail_containers::program;

/// Somebody with no rights on this machine: `nobody` as a rule.
pub const NOBODY: u32 = 65534;

pub const CAPABILITY: [&str; 3] = [
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
];

pub const NO_CAPABILITY: [&str; 2] = ["--inh-caps=-all", "--bounding-set=-all"];

/// The program where anybody may run it; why that cannot be tried otherwise.
pub fn program_for_anybody() -> Result<(TempDir, PathBuf), String> {
    if !geteuid().is_root() {
        return Err("it takes root to become somebody else".to_owned());
    }
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let copy = dir.path().join("tail-containers");
    fs::copy(program(), &copy).map_err(|error| error.to_string())?;
    for path in [dir.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .map_err(|error| error.to_string())?;
    }
    run(as_nobody(&CAPABILITY, NOBODY, &copy).arg("--version"))?;
    Ok((dir, copy))
}

pub fn as_nobody(capabilities: &[&str], group: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={group}"))
        .arg("--clear-groups");
    command
        .args(capabilities)
        .arg("--no-new-privs")
        .arg(program);
    command
        .args(["-o", "Docker_Socket=off"])
        .stdin(Stdio::null());
    command
}

/// Every folder below is for its owner alone, and every file.
pub fn for_the_owner_alone(path: &Path) {
    let is_folder = fs::symlink_metadata(path).expect("it is there").is_dir();
    if is_folder {
        fs::read_dir(path)
            .expect("a folder")
            .flatten()
            .for_each(|entry| for_the_owner_alone(&entry.path()));
    }
    if is_folder || path.is_file() {
        let mode = if is_folder { 0o700 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
}
