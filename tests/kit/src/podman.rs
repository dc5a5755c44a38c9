//! A private Podman: a storage of its own with an image, its Docker-compatible API on a
//! socket there, and, where it is wanted, a journal that only it sees.
//!
//! The journal is that of a `systemd-journald` in a mount namespace of its own, in which
//! all of this Podman then runs; nothing of the machine's journal is read or written.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::writer::Script;
use super::{holds_within, programs};

/// For anything of it to come up.
const START_DEADLINE: Duration = Duration::from_secs(30);

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// The audit subsystem and the kernel's log are the machine's.
const JOURNAL_CONF: &str =
    "[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToWall=no\\nRateLimitIntervalSec=0\\n";

pub struct Podman {
    dir: TempDir,
    journal: Option<Child>,
    service: Option<Child>,
}

impl Podman {
    /// A storage with an image, or why there can be none.
    pub fn new() -> Result<Podman, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        Podman {
            dir,
            journal: None,
            service: None,
        }
        .with_image()
    }

    /// One with a journal.
    pub fn with_journal() -> Result<Podman, String> {
        if !Path::new(JOURNALD).exists() {
            return Err("no systemd-journald (Debian: systemd)".to_owned());
        }
        let script = format!(
            "mount -t tmpfs none /run && mount -t tmpfs none /etc/systemd && \
             printf '{JOURNAL_CONF}' >/etc/systemd/journald.conf && \
             mkdir -p /run/systemd/journal /run/log/journal && exec {JOURNALD}"
        );
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ]);
        command
            .args(["sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let journal = command.spawn().map_err(|error| error.to_string())?;
        let socket = format!("/proc/{}/root/run/systemd/journal/socket", journal.id());
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let podman = Podman {
            dir,
            journal: Some(journal),
            service: None,
        };
        if !holds_within(START_DEADLINE, || Path::new(&socket).exists()) {
            return Err(
                "systemd-journald does not start in a mount namespace of its own".to_owned(),
            );
        }
        podman.with_image()
    }

    fn with_image(self) -> Result<Podman, String> {
        let image = self.path().join("image");
        let pack = "mkdir -p \"$0/bin\" && cp \"$(command -v busybox)\" \"$0/bin/busybox\" && \
                    for name in sh seq sed echo sleep head printf; do ln -s busybox \"$0/bin/$name\"; done && \
                    tar -C \"$0\" -cf \"$0.tar\" .";
        run(Command::new("sh").args(["-c", pack]).arg(&image))?;
        self.podman(&[
            "import",
            &image.with_extension("tar").display().to_string(),
            "busybox:test",
        ])?;
        Ok(self)
    }

    /// A folder for it all.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn storage(&self) -> PathBuf {
        self.path().join("storage")
    }

    /// The folder of a container's log.
    pub fn userdata(&self, id: &str) -> PathBuf {
        self.storage().join(format!("vfs-containers/{id}/userdata"))
    }

    /// The folder of its journal, if it has one.
    pub fn journal(&self) -> PathBuf {
        let id = self.journal.as_ref().map_or(0, Child::id);
        PathBuf::from(format!("/proc/{id}/root/run/log/journal"))
    }

    fn command(&self) -> Command {
        let mut command = match &self.journal {
            Some(journal) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--mount=/proc/{}/ns/mnt", journal.id()))
                    .arg("podman");
                command
            }
            None => Command::new("podman"),
        };
        let folder = |flag: &str, dir: &Path| format!("--{flag}={}", dir.display());
        command
            .arg(folder("root", &self.storage()))
            .arg(folder("runroot", &self.path().join("run")));
        command.arg(folder("tmpdir", &self.path().join("tmp")));
        // vfs and cgroupfs need nothing of the machine.
        command.args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--runtime=runc",
        ]);
        // A journal is followed by the events in it.
        command.arg(format!(
            "--events-backend={}",
            if self.journal.is_some() {
                "journald"
            } else {
                "file"
            }
        ));
        command
    }

    pub fn podman(&self, arguments: &[&str]) -> Result<String, String> {
        run(self.command().args(arguments))
    }

    /// Starts a container; `options` go to `podman run`. Gives its id.
    pub fn run_detached(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        let place = ["--network=none", "--security-opt=seccomp=unconfined"];
        let mut arguments = vec!["run", "--detach", "--name", name];
        arguments.extend(limits.iter().chain(&place).chain(options));
        arguments.extend(["busybox:test", "sh", "-c", sh]);
        self.podman(&arguments).map(|id| id.trim().to_owned())
    }

    /// As [`run_detached`](Podman::run_detached) with a log driver.
    pub fn write(&self, name: &str, driver: &str, script: &Script) -> Result<String, String> {
        self.run_detached(name, &[&format!("--log-driver={driver}")], &script.sh)
    }

    /// Where its API listens.
    pub fn socket(&self) -> PathBuf {
        self.path().join("api.sock")
    }

    /// As [`Podman::socket`], as an option is written.
    pub fn socket_option(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts its API, or starts it anew.
    pub fn serve(&mut self) -> Result<(), String> {
        self.stop_service();
        let _ = std::fs::remove_file(self.socket());
        let mut command = Command::new("setpriv");
        let service = self.command();
        command
            .args(["--pdeathsig", "KILL"])
            .arg(service.get_program())
            .args(service.get_args());
        command.args(["system", "service", "--time=0", &self.socket_option()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.service = Some(command.spawn().map_err(|error| error.to_string())?);
        let connects = || std::os::unix::net::UnixStream::connect(self.socket()).is_ok();
        match holds_within(START_DEADLINE, connects) {
            true => Ok(()),
            false => Err("podman system service does not listen".to_owned()),
        }
    }

    pub fn stop_service(&mut self) {
        end(self.service.take());
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--force", "--all", "--time=0"]);
        self.stop_service();
        end(self.journal.take());
    }
}

fn end(process: Option<Child>) {
    if let Some(mut process) = process {
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// A Podman that `make` gives, with its API; why not otherwise.
pub fn serving(make: impl FnOnce() -> Result<Podman, String>) -> Result<Podman, String> {
    if programs("podman").next().is_none() {
        return Err("no podman".to_owned());
    }
    let mut podman = make()?;
    podman.serve()?;
    Ok(podman)
}

fn run(command: &mut Command) -> Result<String, String> {
    // conmon keeps what it inherits: no pipe for it to hold open.
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let to = |file: &tempfile::NamedTempFile| {
        file.reopen()
            .map(Stdio::from)
            .map_err(|error| error.to_string())
    };
    let errors = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    command
        .stdin(Stdio::null())
        .stdout(to(&out)?)
        .stderr(to(&errors)?);
    let status = command
        .status()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let read =
        |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap_or_default();
    match status.success() {
        true => Ok(read(&out)),
        false => Err(format!("{:?}: {}", command.get_program(), read(&errors))),
    }
}
