//! A `systemd-journald` of our own, in a mount namespace of its own, and processes that write to
//! it. It ends with this process; nothing of the machine's journal is read or written.

use std::io::Write;
use std::os::unix::fs::{symlink, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use fluent_bit_container_logs::ffi::journal::library;
use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

use super::{compile, holds_within, programs};

const START_DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = "/lib/systemd/systemd-journald";

/// The audit subsystem and the kernel's log are the machine's.
const CONF: &str = "[Journal]\\nAudit=no\\nReadKMsg=no\\nForwardToWall=no\\n\
    RuntimeMaxUse=256M\\nRuntimeKeepFree=1M\\nRuntimeMaxFileSize=8M\\n\
    SystemMaxUse=256M\\nSystemKeepFree=1M\\nSystemMaxFileSize=8M\\n";

/// Sends each datagram that it reads, its length before it. Perl is part of every Debian.
const SENDER: &str = r#"use Socket;
socket(S, PF_UNIX, SOCK_DGRAM, 0) or die; connect(S, sockaddr_un($ARGV[0])) or die $!;
binmode STDIN;
while (read(STDIN, $l, 4) == 4) { read(STDIN, $d, unpack("V", $l)); send(S, $d, 0) or die $!; }"#;

/// Bytes of a datagram that a socket takes in its default configuration.
const LONGEST_DATAGRAM: usize = 150_000;

/// How a journald is set up.
#[derive(Clone, Copy, Default)]
struct Setup {
    /// It drops what a unit sends beyond 50 messages in a second. It has control groups, by whose
    /// names it knows the units of senders.
    is_limited: bool,
    /// Where its files are.
    storage: Storage,
    /// Its files are on a disk of their own, of so many MiB.
    disk: Option<u32>,
    /// The namespace whose units it serves.
    namespace: Option<&'static str>,
    /// Its clock can be set (`tests/kit/stepped_clock`); needs a C compiler.
    has_clock: bool,
}

/// Its `Storage=`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// In `/run/log/journal`.
    #[default]
    Volatile,
    /// In `/var/log/journal`, where each user has one.
    Persistent,
    /// It keeps nothing.
    None,
}

pub struct Journald {
    dir: TempDir,
    child: Child,
    setup: Setup,
}

impl Journald {
    /// One without an entry but its own, or why there can be none.
    pub fn start() -> Result<Journald, String> {
        Journald::start_with(Setup::default())
    }

    /// One that drops what a unit sends beyond 50 messages in a second.
    pub fn limited() -> Result<Journald, String> {
        Journald::start_with(Setup {
            is_limited: true,
            ..Setup::default()
        })
    }

    /// One with files in `/var/log/journal`, of the system and of each user.
    pub fn persistent() -> Result<Journald, String> {
        Journald::start_with(Setup {
            storage: Storage::Persistent,
            ..Setup::default()
        })
    }

    /// One whose files are on a disk of their own, of so many MiB.
    pub fn on_disk(mebibytes: u32) -> Result<Journald, String> {
        Journald::start_with(Setup {
            disk: Some(mebibytes),
            ..Setup::default()
        })
    }

    /// One that stores nothing.
    pub fn of_nothing() -> Result<Journald, String> {
        Journald::start_with(Setup {
            storage: Storage::None,
            ..Setup::default()
        })
    }

    /// One of the units with this `LogNamespace`.
    pub fn of_namespace(namespace: &'static str) -> Result<Journald, String> {
        Journald::start_with(Setup {
            namespace: Some(namespace),
            ..Setup::default()
        })
    }

    /// One whose clock can be set.
    pub fn with_clock() -> Result<Journald, String> {
        if programs("cc").next().is_none() {
            return Err("no C compiler for a clock that can be set".to_owned());
        }
        Journald::start_with(Setup {
            has_clock: true,
            ..Setup::default()
        })
    }

    /// Sets its clock: so many seconds from that of the machine.
    pub fn set_clock(&self, seconds: i64) {
        // It is mapped, and is not truncated.
        let file = std::fs::File::options()
            .write(true)
            .open(clock(self.dir.path()));
        let written = file.and_then(|file| file.write_all_at(&seconds.to_ne_bytes(), 0));
        written.expect("it is ours");
    }

    fn start_with(setup: Setup) -> Result<Journald, String> {
        if !Path::new(PROGRAM).exists() {
            return Err("no systemd-journald (Debian: systemd)".to_owned());
        }
        if programs("perl").next().is_none() {
            return Err("no perl".to_owned());
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let child = spawn(dir.path(), setup)?;
        let mut journald = Journald { dir, child, setup };
        journald.await_socket()?;
        Ok(journald)
    }

    fn await_socket(&mut self) -> Result<(), String> {
        let socket = self.socket();
        // Of one that was killed, the socket is still there. It makes its file after the socket.
        let answers = || {
            let socket = socket.clone();
            let connected = std::os::unix::net::UnixDatagram::unbound()
                .and_then(|datagram| datagram.connect(socket));
            let files = self.files();
            let has_file = files.iter().any(|file| file.ends_with("system.journal"));
            connected.is_ok() && (has_file || self.setup.storage == Storage::None)
        };
        match holds_within(START_DEADLINE, answers) {
            true => Ok(()),
            false => Err("systemd-journald does not start in a namespace of its own".to_owned()),
        }
    }

    /// The folder with its sockets, `/run/systemd/journal` of what writes to it.
    pub fn sockets(&self) -> PathBuf {
        let folder = match self.setup.namespace {
            Some(namespace) => format!("run/systemd/journal.{namespace}"),
            None => "run/systemd/journal".to_owned(),
        };
        self.dir.path().join(folder)
    }

    fn socket(&self) -> PathBuf {
        self.sockets().join("socket")
    }

    /// The folder with its files.
    pub fn folder(&self) -> PathBuf {
        if self.setup.disk.is_some() {
            // It is mounted there only.
            let root = format!("/proc/{}/root/run/log/journal", self.child.id());
            return PathBuf::from(root);
        }
        self.dir.path().join(match self.setup.storage {
            Storage::Persistent => "log/journal",
            Storage::Volatile | Storage::None => "run/log/journal",
        })
    }

    /// Its files.
    pub fn files(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.folder()).into_iter().flatten();
        let machine = folders.flatten().map(|entry| entry.path());
        let files = machine.filter_map(|folder| std::fs::read_dir(folder).ok());
        let files = files.flatten().flatten().map(|entry| entry.path());
        let is_journal = |path: &PathBuf| path.extension().is_some_and(|it| it == "journal");
        files.filter(is_journal).collect()
    }

    /// Begins a new file.
    pub fn rotate(&self) {
        let current = || {
            let files = self.files();
            let mut files = files.iter();
            let system = files.find(|file| file.ends_with("system.journal"))?;
            // Once it has a header, journald has done with the one before it.
            library().check(system).ok()?;
            Some(system.metadata().ok()?.ino())
        };
        let before = current();
        self.signal(Signal::USR2);
        let is_rotated = || current().is_some_and(|now| Some(now) != before);
        assert!(holds_within(START_DEADLINE, is_rotated), "{before:?}");
    }

    /// Removes its oldest files, until they take no more than this.
    pub fn vacuum(&self, size: &str) {
        let vacuum = Command::new("journalctl")
            .arg(format!("--directory={}", self.folder().display()))
            .arg(format!("--vacuum-size={size}"))
            .output()
            .expect("journalctl");
        assert!(vacuum.status.success(), "{vacuum:?}");
    }

    /// Kills it and starts it again over the same files.
    pub fn restart(&mut self) {
        self.restart_as(self.setup.storage);
    }

    /// As [`restart`](Journald::restart), with another `Storage=`.
    pub fn restart_as(&mut self, storage: Storage) {
        self.setup.storage = storage;
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.socket());
        self.child = spawn(self.dir.path(), self.setup).expect("journald");
        self.await_socket().expect("journald");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// A process with this name, of this user, that writes to it.
    pub fn writer(&self, name: &str, uid: u32) -> JournalWriter {
        self.writer_in(name, uid, "")
    }

    /// As [`writer`](Journald::writer), in the control group of this unit, of a journal that is
    /// limited.
    pub fn writer_in(&self, name: &str, uid: u32, unit: &str) -> JournalWriter {
        let folder = self.dir.path().join("programs");
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join(name);
        if !program.exists() {
            let perl = programs("perl").next().expect("perl");
            symlink(perl, &program).expect("a link");
        }
        let mut command = Command::new("setpriv");
        if !unit.is_empty() {
            command = self.inside(&format!(
                "mkdir -p {group} && echo $$ >{group}/cgroup.procs && exec \"$@\"",
                group = self.group(unit)
            ));
            command.args(["sh", "setpriv"]);
        }
        let mut child = command
            .args(["--pdeathsig", "KILL"])
            .args(["--reuid", &uid.to_string(), "--clear-groups", "--"])
            .arg(&program)
            .args(["-e", SENDER])
            .arg(self.socket())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a writer");
        let stdin = child.stdin.take().expect("its input");
        JournalWriter { child, stdin }
    }

    /// Removes the control group of a unit whose processes have ended.
    pub fn remove_unit(&self, unit: &str) {
        let group = self.group(unit);
        let mut remove = self.inside(&format!("rmdir {group} ${{0%/*}}"));
        let is_removed = || {
            remove
                .arg(&group)
                .status()
                .is_ok_and(|status| status.success())
        };
        assert!(holds_within(START_DEADLINE, is_removed), "{group}");
    }

    fn group(&self, unit: &str) -> String {
        // Of its own: it is removed with the last unit in it.
        format!("/sys/fs/cgroup/fbcl-{}.slice/{unit}", self.child.id())
    }

    /// A command in its mount namespace, where its files are those of the machine.
    pub fn on_its_machine(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.child.id()));
        command.arg(program);
        command
    }

    /// A shell in the mount namespace of journald.
    fn inside(&self, script: &str) -> Command {
        let mut command = self.on_its_machine(Path::new("sh"));
        command.args(["-c", script]);
        command
    }
}

/// Starts one over `dir`. Its `/run` and `/var/log` are folders there, so that its files are seen
/// from outside and outlive it.
fn spawn(dir: &Path, setup: Setup) -> Result<Child, String> {
    let (run, log) = (dir.join("run"), dir.join("log"));
    for folder in [&run, &log.join("journal")] {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    // A user has to reach the socket.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir, open).map_err(|error| error.to_string())?;
    let groups = match setup.is_limited {
        true => "mount -t cgroup2 none /sys/fs/cgroup",
        false => "true",
    };
    let limit = match setup.is_limited {
        true => "RateLimitIntervalSec=1s\\nRateLimitBurst=50",
        false => "RateLimitIntervalSec=0",
    };
    let storage = match setup.storage {
        Storage::Volatile => "volatile",
        Storage::Persistent => "persistent",
        Storage::None => "none",
    };
    let disk = match setup.disk {
        Some(mebibytes) => {
            format!("mount -t tmpfs -o size={mebibytes}M none /run/log/journal")
        }
        None => "true".to_owned(),
    };
    let (conf, sockets, namespace) = match setup.namespace {
        Some(name) => (
            format!("journald@{name}.conf"),
            format!("/run/systemd/journal.{name}"),
            name,
        ),
        None => (
            "journald.conf".to_owned(),
            "/run/systemd/journal".to_owned(),
            "",
        ),
    };
    // As if the journal had been moved to the disk at the start of the machine.
    let script = format!(
        "{groups} && mount --bind {run} /run && mount --bind {log} /var/log && \
         mount -t tmpfs none /etc/systemd && \
         printf '{CONF}{limit}\\nStorage={storage}\\n' >/etc/systemd/{conf} && \
         mkdir -p /run/systemd/journal {sockets} /run/log/journal && {disk} && \
         touch /run/systemd/journal/flushed && exec {PROGRAM} {namespace}",
        run = run.display(),
        log = log.display(),
    );
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--mount"])
        .args(["--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if setup.has_clock {
        let library = compile(
            "stepped_clock/stepped_clock.c",
            "stepped_clock.so",
            &["-shared", "-fPIC"],
        );
        if !clock(dir).exists() {
            std::fs::write(clock(dir), 0i64.to_ne_bytes()).map_err(|error| error.to_string())?;
        }
        command.env("STEPPED_CLOCK", clock(dir));
        command.env("LD_PRELOAD", library);
    }
    command.spawn().map_err(|error| error.to_string())
}

/// What its clock is off by.
fn clock(dir: &Path) -> PathBuf {
    dir.join("clock")
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that writes to a journal.
pub struct JournalWriter {
    child: Child,
    stdin: ChildStdin,
}

impl JournalWriter {
    /// Writes an entry with these fields.
    pub fn send(&mut self, fields: &[(&str, &[u8])]) {
        let mut datagram = Vec::new();
        for (name, value) in fields {
            datagram.extend_from_slice(name.as_bytes());
            datagram.push(b'\n');
            datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
            datagram.extend_from_slice(value);
            datagram.push(b'\n');
        }
        assert!(datagram.len() <= LONGEST_DATAGRAM, "{}", datagram.len());
        let length = u32::try_from(datagram.len()).expect("it is short");
        self.stdin
            .write_all(&length.to_le_bytes())
            .and_then(|()| self.stdin.write_all(&datagram))
            .and_then(|()| self.stdin.flush())
            .expect("the writer reads");
    }

    /// Writes a line as conmon does.
    pub fn conmon(&mut self, id: &str, text: &str) {
        self.send(&[
            ("MESSAGE", text.as_bytes()),
            ("PRIORITY", b"6"),
            ("CONTAINER_ID", &id.as_bytes()[..12]),
            ("CONTAINER_ID_FULL", id.as_bytes()),
            ("SYSLOG_IDENTIFIER", b"shop"),
        ]);
    }

    /// Writes an entry as Docker's journald driver does, since Docker 23.
    pub fn docker(&mut self, id: &str, stream: &str, text: &str, time: &str, is_piece: bool) {
        self.docker_numbered(id, stream, text, time, is_piece, None);
    }

    /// As [`docker`](JournalWriter::docker), with the start of the container and the number of
    /// the entry in it.
    pub fn docker_numbered(
        &mut self,
        id: &str,
        stream: &str,
        text: &str,
        time: &str,
        is_piece: bool,
        ordinal: Option<(&str, u64)>,
    ) {
        let priority: &[u8] = if stream == "stderr" { b"3" } else { b"6" };
        let short = &id.as_bytes()[..12];
        let mut fields: Vec<(&str, &[u8])> = vec![
            ("MESSAGE", text.as_bytes()),
            ("PRIORITY", priority),
            ("CONTAINER_ID", short),
            ("CONTAINER_ID_FULL", id.as_bytes()),
            ("CONTAINER_NAME", b"web"),
            ("CONTAINER_TAG", short),
            ("IMAGE_NAME", b"app:1"),
            ("SYSLOG_IDENTIFIER", short),
            ("SYSLOG_TIMESTAMP", time.as_bytes()),
        ];
        if is_piece {
            fields.push(("CONTAINER_PARTIAL_MESSAGE", b"true"));
        }
        let number = ordinal.map(|(_, number)| number.to_string());
        if let (Some((epoch, _)), Some(number)) = (ordinal, &number) {
            fields.push(("CONTAINER_LOG_EPOCH", epoch.as_bytes()));
            fields.push(("CONTAINER_LOG_ORDINAL", number.as_bytes()));
        }
        self.send(&fields);
    }

    /// Ends once everything is sent.
    pub fn finish(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().expect("the writer").success());
    }
}
