//! The plugins in C that measure: compiled here, into cargo's own folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// The filter that looks at what is appended.
pub fn probe() -> Result<PathBuf, Failure> {
    compile("probe.c", "flb-filter_clogs_probe.so")
}

/// The input that appends what is ready.
pub fn ready_records() -> Result<PathBuf, Failure> {
    compile("ready_records.c", "flb-in_ready_records.so")
}

fn compile(source: &str, plugin: &str) -> Result<PathBuf, Failure> {
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/side_by_side/native");
    build(
        &["-O2", "-shared", "-fPIC"],
        &native.join(source),
        plugin,
        &[],
    )
}

/// Compiles `source` to the file `name`.
pub fn build(
    flags: &[&str],
    source: &Path,
    name: &str,
    libraries: &[&str],
) -> Result<PathBuf, Failure> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder)?;
    let program = folder.join(name);
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-Wall", "-Wextra", "-Werror"]).args(flags);
    command.arg(source).arg("-o").arg(&program).args(libraries);
    match command.status()?.success() {
        true => Ok(program),
        false => Err(format!("{command:?} failed").into()),
    }
}
