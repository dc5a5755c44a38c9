//! A `systemd-journald` of our own, in a mount namespace of its own, and processes that write to
//! it. It ends with this process; nothing of the machine's journal is read or written.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

use super::{holds_within, programs};

const START_DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = "/lib/systemd/systemd-journald";

/// The audit subsystem and the kernel's log are the machine's.
const CONF: &str = "[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToWall=no\\nRuntimeMaxUse=256M\\nRuntimeKeepFree=1M\\nRuntimeMaxFileSize=8M\\n";

/// With a rate limit, and control groups by whose names it knows the units of senders.
const LIMITED: &str = "RateLimitIntervalSec=1s\\nRateLimitBurst=50\\n";

/// Sends each datagram that it reads, its length before it. Perl is part of every Debian.
const SENDER: &str = r#"use Socket;
socket(S, PF_UNIX, SOCK_DGRAM, 0) or die; connect(S, sockaddr_un($ARGV[0])) or die $!;
binmode STDIN;
while (read(STDIN, $l, 4) == 4) { read(STDIN, $d, unpack("V", $l)); send(S, $d, 0) or die $!; }"#;

/// Bytes of a datagram that a socket takes in its default configuration.
const LONGEST_DATAGRAM: usize = 150_000;

pub struct Journald {
    dir: TempDir,
    child: Child,
    limit: &'static str,
}

impl Journald {
    /// One without an entry but its own, or why there can be none.
    pub fn start() -> Result<Journald, String> {
        Journald::start_with("RateLimitIntervalSec=0\\n")
    }

    /// One that drops what a unit sends beyond 50 messages in a second.
    pub fn limited() -> Result<Journald, String> {
        Journald::start_with(LIMITED)
    }

    fn start_with(limit: &'static str) -> Result<Journald, String> {
        if !Path::new(PROGRAM).exists() {
            return Err("no systemd-journald (Debian: systemd)".to_owned());
        }
        if programs("perl").next().is_none() {
            return Err("no perl".to_owned());
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let child = spawn(dir.path(), limit)?;
        let mut journald = Journald { dir, child, limit };
        journald.await_socket()?;
        Ok(journald)
    }

    fn await_socket(&mut self) -> Result<(), String> {
        let socket = self.socket();
        // Of one that was killed, the socket is still there.
        let answers = || {
            let socket = socket.clone();
            std::os::unix::net::UnixDatagram::unbound()
                .and_then(|datagram| datagram.connect(socket))
                .is_ok()
        };
        match holds_within(START_DEADLINE, answers) {
            true => Ok(()),
            false => Err("systemd-journald does not start in a namespace of its own".to_owned()),
        }
    }

    /// The folder with its sockets, `/run/systemd/journal` of what writes to it.
    pub fn sockets(&self) -> PathBuf {
        self.dir.path().join("run/systemd/journal")
    }

    fn socket(&self) -> PathBuf {
        self.sockets().join("socket")
    }

    /// The folder with its files.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("run/log/journal")
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
        let before = self.files();
        self.signal(Signal::USR2);
        let is_rotated = || self.files().len() > before.len();
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
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.socket());
        self.child = spawn(self.dir.path(), self.limit).expect("journald");
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
        format!("/sys/fs/cgroup/fbcl-{}.slice/{unit}", std::process::id())
    }

    /// A shell in the mount namespace of journald.
    fn inside(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.child.id());
        command.args([&namespace, "sh", "-c", script]);
        command
    }
}

/// Starts one over `dir`. Its `/run` is a folder there, so that its files are seen from outside
/// and outlive it.
fn spawn(dir: &Path, limit: &str) -> Result<Child, String> {
    let run = dir.join("run");
    std::fs::create_dir_all(&run).map_err(|error| error.to_string())?;
    // A user has to reach the socket.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir, open).map_err(|error| error.to_string())?;
    let groups = match limit == LIMITED {
        true => "mount -t cgroup2 none /sys/fs/cgroup",
        false => "true",
    };
    let script = format!(
        "{groups} && mount --bind {} /run && mount -t tmpfs none /etc/systemd && \
         printf '{CONF}{limit}' >/etc/systemd/journald.conf && \
         mkdir -p /run/systemd/journal /run/log/journal && exec {PROGRAM}",
        run.display()
    );
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount"])
        .args(["--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())
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
