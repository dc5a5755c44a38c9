//! What keeps a private Docker daemon on its leash: a folder and namespaces of
//! its own, and two small shells that see to it that nothing of it is left when
//! the test process is gone, however that ends.
//!
//! ```text
//! test process --pipe--> supervisor (sh, own process group, ordinary namespaces)
//!                          '- unshare --mount --net --pid --kill-child
//!                               '- control (sh, PID 1 of the new namespaces)
//!                                    '- dockerd, containerd, shims, containers
//! ```
//!
//! - The pipe is the leash. Its writing end is in the test process alone, so it
//!   closes when [`Supervisor`] is dropped, when the process ends with one in a
//!   static (nobody drops a static), and when it is killed. `PR_SET_PDEATHSIG`
//!   would not do between those two: it fires when the *thread* that made the
//!   child ends, and a test's thread ends with its test.
//! - At the end of the pipe PID 1 exits. The kernel then kills whatever is left
//!   in the PID namespace; the mounts go with their namespace and were never
//!   visible outside it. The supervisor removes folder and control groups.
//! - Should the supervisor be killed too, folder and control groups stay. All its
//!   processes hold a lock on the folder's `supervisor.log` while they live, and
//!   the next [`make_folder`] cleans up after folders whose lock is free.
//! - The network namespace is needed because a second dockerd with
//!   `--bridge=none` would delete the `docker0` of a first. `/run`, `/etc` and
//!   `/opt` are private because dockerd and containerd also write to fixed paths
//!   there (`/etc/docker/key.json`, `/opt/containerd`, `/run/containerd/s`).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};

use super::{holds_within, run, tail_of};

/// Folders are called `<this><process id>-<n>`.
const FOLDER_PREFIX: &str = "fbcl-dockerd-";

/// For the namespaces, and for the daemon to answer. A second is usual.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// dockerd gives containers ten seconds to stop, and itself fifteen.
pub const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Runs in the ordinary namespaces. Arguments: folder, control script, then
/// dockerd and its arguments.
const SUPERVISOR: &str = r#"
dir=$1 script=$2; shift 2
trap '' HUP INT
exec 3<&0
unshare --mount --net --pid --fork --kill-child --mount-proc \
    sh -c "$script" control "$dir" "$@" <&3 &
child=$!
exec 3<&- </dev/null >&2
# Kill PID 1 of the namespace, not unshare: only the end of PID 1 waits for
# the end of all the others.
trap 'kill -KILL $(cat /proc/$child/task/$child/children)' TERM
until wait $child; [ ! -d /proc/$child ]; do :; done
"#;

/// What follows it, and is done alone for a folder whose supervisor was killed.
/// Again and again for a while: processes that are killed leave their control
/// groups a little later.
const CLEAN_UP: &str = r#"
name=${dir##*/}
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    find /sys/fs/cgroup -depth -type d \( -name "$name" -o -path "*/$name/*" \) -exec rmdir {} \;
    rm -rf --one-file-system "$dir"
    [ ! -e "$dir" ] && [ -z "$(find /sys/fs/cgroup -type d -name "$name")" ] && break
    sleep 0.2
done
"#;

/// Runs as PID 1 of the namespaces. Commands come on stdin, a word a line;
/// answers go to stdout: `ready`, and `exited <status>` when dockerd has ended.
/// The shell itself only waits, which also reaps the orphans a PID 1 inherits:
/// dockerd takes a zombie for a living containerd.
const CONTROL: &str = r#"
dir=$1; shift
mount -n -t tmpfs tmpfs /run && mkdir /run/etc && cp -a /etc/. /run/etc &&
    mount -n --bind /run/etc /etc && mount -n -t tmpfs tmpfs /opt || exit
control() {
    while read -r word; do
        case $word in
        start-*)
            (
                sh -c 'echo $$ >"$0"; exec "$@"' "$dir/daemon.pid" \
                    "$@" --storage-driver "${word#start-}" </dev/null >>"$dir/dockerd.log" 2>&1
                echo "exited $?"
            ) &
            ;;
        journal)
            mkdir -p /run/systemd/journal /run/log/journal &&
                mount -n --bind "$(cat "$dir/journal")" /run/systemd/journal &&
                mount -n --bind "$(cat "$dir/journal.files")" /run/log/journal &&
                : >"$dir/journal.mounted"
            ;;
        TERM | KILL) kill -$word "$(cat "$dir/daemon.pid")" ;;
        esac
    done
}
echo ready
exec 3<&0
control "$@" <&3 3<&- &
wait $!
"#;

/// The test process's end of the leash.
pub struct Supervisor {
    process: Child,
    /// `None` once let go.
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
    pub daemon_runs: bool,
}

impl Supervisor {
    /// Makes the namespaces and starts nothing in them yet.
    pub fn start(dir: &Path, dockerd: &Path, daemon_args: &[&str]) -> Result<Supervisor, String> {
        let at = |name: &str| dir.join(name).display().to_string();
        let failed = |error: std::io::Error| format!("supervisor of {}: {error}", dir.display());
        let log = File::create(dir.join("supervisor.log")).map_err(failed)?;
        rustix::fs::flock(&log, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(error.into()))?;
        fs::write(dir.join("daemon.json"), "{}").map_err(failed)?;

        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{SUPERVISOR}{CLEAN_UP}"))
            .arg("supervisor");
        command.arg(dir).arg(CONTROL).arg(dockerd);
        command.args([
            "--config-file",
            &at("daemon.json"),
            "--pidfile",
            &at("docker.pid"),
        ]);
        // The exec root holds sockets, whose paths must be short. In the private
        // /run it is as much our own as in the folder.
        command.args(["--data-root", &at("root"), "--exec-root", "/run/docker"]);
        command.args(["--host", &format!("unix://{}", at("docker.sock"))]);
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        let group = dir.file_name().unwrap_or_default().to_string_lossy();
        command.args(["--cgroup-parent", &format!("/{group}")]);
        command.args(["--bridge=none", "--iptables=false"]);
        let help = run(Command::new(dockerd).arg("--help"))?;
        if help.contains("--ip6tables") {
            command.arg("--ip6tables=false");
        }
        command.args(daemon_args);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env(
            "PATH",
            format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"),
        );
        // A Ctrl-C at the terminal is for the test process, whose end is seen here.
        command.process_group(0);
        // The open log is the lock, and goes to all processes below.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);

        let mut process = command.spawn().map_err(failed)?;
        let commands = process.stdin.take();
        let answers = lines_of(process.stdout.take().expect("stdout is a pipe"));
        let mut supervisor = Supervisor {
            process,
            commands,
            answers,
            daemon_runs: false,
        };
        match supervisor.answers.recv_timeout(START_DEADLINE) {
            Ok(word) if word == "ready" => Ok(supervisor),
            _ => {
                let log = tail_of(&dir.join("supervisor.log"), 8);
                supervisor.let_go();
                Err(format!("no private namespaces for dockerd: {log}"))
            }
        }
    }

    /// Says a word to the control shell: `start-<storage driver>` or a signal.
    pub fn command(&mut self, word: &str) -> Result<(), String> {
        let commands = self
            .commands
            .as_mut()
            .ok_or("the supervisor has been let go")?;
        writeln!(commands, "{word}").map_err(|error| format!("supervisor of dockerd: {error}"))
    }

    /// Whether the daemon ends, or has ended, within `deadline`.
    pub fn daemon_exited_within(&mut self, deadline: Duration) -> Result<bool, String> {
        match self.answers.recv_timeout(deadline) {
            Ok(_exited) => {
                self.daemon_runs = false;
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                Err("the supervisor of dockerd has ended".to_owned())
            }
        }
    }

    /// Closes the pipe and waits until all is gone.
    fn let_go(&mut self) {
        self.commands = None;
        let process = &mut self.process;
        if !holds_within(STOP_DEADLINE, || matches!(process.try_wait(), Ok(Some(_)))) {
            eprintln!("the supervisor of dockerd did not end; killing it");
            // With the group goes unshare, and with that all in its namespaces.
            let _ = rustix::process::kill_process_group(Pid::from_child(process), Signal::KILL);
            let _ = process.wait();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Forwards lines to a channel, so that they can be awaited with a deadline.
pub fn lines_of(pipe: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Makes a new folder for a daemon, after removing those that dead ones left.
pub fn make_folder() -> Result<PathBuf, String> {
    let base = folder_base();
    remove_stale_folders(&base);
    let mut number = 0;
    loop {
        let dir = base.join(format!("{FOLDER_PREFIX}{}-{number}", std::process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(format!("{}: {error}", dir.display())),
        }
    }
}

/// The folder for temporary files, unless it does not suit: the private `/run`
/// would hide it, or the socket's path would exceed the kernel's 107 bytes.
fn folder_base() -> PathBuf {
    let base = std::env::temp_dir();
    if base.starts_with("/run") || base.as_os_str().len() > 60 {
        return PathBuf::from("/tmp");
    }
    base
}

fn remove_stale_folders(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let dir = entry.path();
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(FOLDER_PREFIX)
            && is_stale(&dir)
        {
            let _ = run(Command::new("sh")
                .arg("-c")
                .arg(format!("dir=$1{CLEAN_UP}"))
                .arg("clean-up")
                .arg(dir));
        }
    }
}

/// Whether neither the process that made this folder nor any of the daemon's
/// lives. The lock alone would not do: there is a moment before it is taken.
fn is_stale(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let maker = name
        .trim_start_matches(FOLDER_PREFIX)
        .split('-')
        .next()
        .unwrap_or_default();
    if Path::new("/proc").join(maker).exists() {
        return false;
    }
    match File::open(dir.join("supervisor.log")) {
        Ok(log) => rustix::fs::flock(&log, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(_) => true,
    }
}
