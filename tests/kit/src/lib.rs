//! What the integration tests share: folders of sample logs ([`docker_root`],
//! [`pod_root`]), the library in this process ([`collector`]), a host played in C
//! ([`playing_host`]), a real Fluent Bit ([`fluent_bit`]), a private Docker daemon
//! ([`dockerd`]) and containers whose output is known beforehand ([`writer`]).
//!
//! Two rules hold for all of it. Nothing sleeps and then assumes: every wait is
//! for a condition, with a deadline. And nothing outlives the test process, not
//! even when that is killed; each module says how it makes sure.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads what it wrote itself"
)]
#![allow(
    clippy::new_without_default,
    reason = "what makes folders is not a default value"
)]

pub mod bolt;
pub mod collector;
pub mod containerd;
pub mod cri;
pub mod dashboard;
pub mod docker_root;
pub mod dockerd;
pub mod exporter;
pub mod fluent_bit;
pub mod journald;
pub mod kills;
pub mod logs_api;
pub mod nerdctl;
pub mod nerdctl_root;
pub mod nobody;
pub mod otlp;
pub mod played_api;
pub mod playing_host;
pub mod pod_root;
pub mod podman;
pub mod podman_storage;
pub mod prometheus;
pub mod pty;
pub mod receivers;
pub mod stalling_fs;
mod supervisor;
pub mod tail_containers;
pub mod user_storage;
pub mod writer;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a polled condition rests between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for `cond` to hold; panics naming `what` when `deadline` has passed.
pub fn wait_until(deadline: Duration, what: &str, cond: impl FnMut() -> bool) {
    assert!(
        holds_within(deadline, cond),
        "not within {deadline:?}: {what}"
    );
}

/// Whether `cond` comes to hold within `deadline`. It is asked at least once,
/// and once more after the deadline, so that a slow machine is not misjudged.
pub fn holds_within(deadline: Duration, mut cond: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if cond() {
            return true;
        }
        if Instant::now() >= end {
            return cond();
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Says that a test could not run. `scripts/run-tests` counts these lines, once
/// per test, as skipped instead of passed; the test then simply returns.
pub fn skip(test: &str, reason: &str) {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    println!("SKIPPED {test}: {reason}");
}

/// What a test needs; without it, says that the test could not run.
pub fn or_skip<T>(test: &str, started: Result<T, String>) -> Option<T> {
    started.map_err(|reason| skip(test, &reason)).ok()
}

/// All executable files called `name`, in the order of `PATH`. The
/// administrator's folders come last: an ordinary user's `PATH` lacks them.
pub fn programs(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let name = OsStr::new(name).to_owned();
    folders
        .into_iter()
        .map(move |folder| folder.join(&name))
        .filter(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The last lines of a log file, for error texts.
fn tail_of(file: &Path, lines: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A file or folder of the repository.
pub fn in_project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}

/// Cargo's folder for what tests leave, `target/tmp`: what a killed test leaves in it, `cargo
/// clean` removes. Found from the running program, as cargo names it to integration tests
/// alone.
pub fn scratch() -> PathBuf {
    let scratch = profile_folder().with_file_name("tmp");
    std::fs::create_dir_all(&scratch).expect("cargo's folder for tests");
    scratch
}

/// Cargo's folder for the programs of this profile, `target/debug`.
fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let folder = program.parent().expect("a program in a folder");
    let profile = folder.parent().filter(|_| folder.ends_with("deps"));
    profile.unwrap_or(folder).to_owned()
}

/// Compiles a C file of the kit into [`scratch`]; renamed into place, so that another test
/// process may run the one that was there. Returns the result. `PLAYING_HOST_CC` is the compiler
/// where it is another one than `CC`, with which cargo compiles C for this machine.
pub fn compile(source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let folder = scratch();
    let (made, fresh) = (
        folder.join(name),
        folder.join(format!("{name}.{}", std::process::id())),
    );
    let compiler = ["PLAYING_HOST_CC", "CC"].iter().find_map(std::env::var_os);
    let mut command = Command::new(compiler.unwrap_or_else(|| "cc".into()));
    command.args(["-O1", "-g", "-Wall", "-Wextra", "-Werror"]);
    command.arg(in_project("tests/kit").join(source));
    run(command.arg("-o").arg(&fresh).args(flags)).unwrap_or_else(|error| panic!("{error}"));
    std::fs::rename(&fresh, &made).expect("it is put in place");
    made
}

/// Copies the shared libraries of a program or library to the same places below `root`; those
/// that are there stay, because an installation has its own, which fit each other.
pub fn bring_libraries(program: &Path, root: &Path) {
    let listed = run(Command::new("ldd").arg(program)).expect("ldd");
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in libraries {
        let inside = root.join(library.trim_start_matches('/'));
        if inside.exists() {
            continue;
        }
        let folder = inside.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).expect("the root is writable");
        std::fs::copy(library, inside).expect("a library can be copied");
    }
}

/// A command that lacks the program to start: in a mount namespace of its own, in which
/// a line of shell was run before. An error where that fails.
pub fn in_mount_namespace(shell: &str) -> Result<Command, String> {
    let command = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(format!("{shell} && exec \"$@\"")).arg("sh");
        command
    };
    run(command().arg("true")).map(|_| command())
}

/// Runs a command to its end; an error names it and what it said.
pub fn run(command: &mut Command) -> Result<String, String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{shown}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
