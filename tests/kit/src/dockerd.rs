//! A private Docker daemon for the tests. It has its own folders and namespaces
//! ([`supervisor`](super::supervisor) makes them, and ends them with the test
//! process), so it can run beside the machine's own and on a machine without one.
//!
//! Its containers have no network and one image, made of Debian's static busybox:
//! nothing is fetched from anywhere.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::journald::Journald;
use super::supervisor::{make_folder, Supervisor, START_DEADLINE, STOP_DEADLINE};
use super::{programs, run, tail_of};

/// The one image there is: Debian's static busybox and links to it.
pub const IMAGE: &str = "busybox:test";

/// In order of preference. vfs works everywhere and copies the image, which is
/// small; overlay2 does not work on top of another overlay.
const STORAGE_DRIVERS: [&str; 2] = ["overlay2", "vfs"];

const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
const WAIT_DEADLINE: Duration = Duration::from_secs(300);

/// A running private daemon.
///
/// All methods take `&self`, so a [`shared`] one can be used by many tests; the
/// ones that stop or restart the daemon belong on a daemon of one's own.
pub struct Dockerd {
    dir: PathBuf,
    root: PathBuf,
    socket: PathBuf,
    client: PathBuf,
    storage_driver: &'static str,
    supervisor: Mutex<Supervisor>,
}

/// The daemon that the tests of this process share, started at first use.
pub fn shared() -> Result<&'static Dockerd, String> {
    static SHARED: OnceLock<Result<Dockerd, String>> = OnceLock::new();
    SHARED
        .get_or_init(Dockerd::start)
        .as_ref()
        .map_err(Clone::clone)
}

impl Dockerd {
    /// Starts a daemon and gives it the image [`IMAGE`].
    pub fn start() -> Result<Dockerd, String> {
        Dockerd::start_with(&[])
    }

    /// As [`start`](Dockerd::start), with more arguments for dockerd.
    pub fn start_with(daemon_args: &[&str]) -> Result<Dockerd, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("a private dockerd needs root".to_owned());
        }
        let dockerd = program("dockerd", "docker.io")?;
        let client = program("docker", "docker.io")?;
        for name in ["unshare", "timeout", "chroot", "tar", "find"] {
            program(name, "util-linux, coreutils, tar, findutils")?;
        }
        let dir = make_folder()?;
        let supervisor = Supervisor::start(&dir, &dockerd, daemon_args).inspect_err(|_| {
            let _ = fs::remove_dir_all(&dir);
        })?;
        let mut daemon = Dockerd {
            root: dir.join("root"),
            socket: dir.join("docker.sock"),
            client,
            storage_driver: STORAGE_DRIVERS[0],
            supervisor: Mutex::new(supervisor),
            dir,
        };
        daemon.pack_image()?;
        let mut failures = Vec::new();
        for storage_driver in STORAGE_DRIVERS {
            daemon.storage_driver = storage_driver;
            match daemon.start_daemon().and_then(|()| daemon.try_out()) {
                Ok(()) => return Ok(daemon),
                Err(error) => failures.push(format!("with {storage_driver}: {error}")),
            }
            daemon.kill_daemon()?;
        }
        Err(failures.join("; "))
    }

    /// The data root: containers are in `containers/<id>` below it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The socket of the API.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs the docker client with `args` and gives what it printed on stdout.
    pub fn docker(&self, args: &[&str]) -> Result<String, String> {
        self.docker_within(COMMAND_DEADLINE, args)
    }

    /// Starts a container called `name` that runs `sh -c sh_script`, without a
    /// network, and gives its full id. `docker_args` are those of `docker run`.
    pub fn run_detached(
        &self,
        name: &str,
        docker_args: &[&str],
        sh_script: &str,
    ) -> Result<String, String> {
        let mut args = vec!["run", "--detach", "--name", name, "--network", "none"];
        args.extend_from_slice(docker_args);
        args.extend_from_slice(&[IMAGE, "sh", "-c", sh_script]);
        Ok(self.docker(&args)?.trim().to_owned())
    }

    /// Waits for the end of a container and gives its exit status. By then all it
    /// has written is in its log.
    pub fn wait(&self, id: &str) -> Result<i32, String> {
        let status = self.docker_within(WAIT_DEADLINE, &["wait", id])?;
        status
            .trim()
            .parse()
            .map_err(|_| format!("docker wait {id} answered {status:?}"))
    }

    /// Has the driver journald write to this journal, and the API read it.
    pub fn use_journal(&self, journald: &Journald) {
        let folder = journald.sockets().display().to_string();
        fs::write(self.dir.join("journal"), folder).expect("a file");
        let files = journald.folder().display().to_string();
        fs::write(self.dir.join("journal.files"), files).expect("a file");
        self.supervisor().command("journal").expect("a command");
        let is_mounted = || self.dir.join("journal.mounted").exists();
        assert!(super::holds_within(START_DEADLINE, is_mounted));
    }

    /// Where the json-file driver writes the log of the container with this full
    /// id. Rotated ones are beside it, called `.1`, `.2`, …
    pub fn log_path(&self, id: &str) -> PathBuf {
        self.root
            .join("containers")
            .join(id)
            .join(format!("{id}-json.log"))
    }

    /// Stops the daemon, and with it the containers, in order. Does nothing if it
    /// does not run.
    pub fn stop_daemon(&self) -> Result<(), String> {
        self.end_daemon("TERM")
    }

    /// Kills the daemon alone: containerd and the containers live on.
    pub fn kill_daemon(&self) -> Result<(), String> {
        self.end_daemon("KILL")
    }

    /// Stops the daemon if it runs, starts it, and waits until it answers.
    pub fn restart_daemon(&self) -> Result<(), String> {
        self.stop_daemon()?;
        self.start_daemon()
    }

    fn end_daemon(&self, signal: &str) -> Result<(), String> {
        let mut supervisor = self.supervisor();
        if !supervisor.daemon_runs {
            return Ok(());
        }
        supervisor.command(signal)?;
        match supervisor.daemon_exited_within(STOP_DEADLINE)? {
            true => Ok(()),
            false => Err(self.with_log(&format!(
                "dockerd did not end within {STOP_DEADLINE:?} of {signal}"
            ))),
        }
    }

    fn start_daemon(&self) -> Result<(), String> {
        let mut supervisor = self.supervisor();
        supervisor.command(&format!("start-{}", self.storage_driver))?;
        supervisor.daemon_runs = true;
        let end = Instant::now() + START_DEADLINE;
        while !answers_ping(&self.socket) {
            if supervisor.daemon_exited_within(Duration::from_millis(20))? {
                return Err(self.with_log("dockerd ended at once"));
            }
            if Instant::now() > end {
                return Err(
                    self.with_log(&format!("dockerd did not answer within {START_DEADLINE:?}"))
                );
            }
        }
        Ok(())
    }

    /// Makes `image.tar`: the static busybox and a link for each of its commands.
    fn pack_image(&self) -> Result<(), String> {
        let files = self.dir.join("image");
        let bin = files.join("bin");
        fs::create_dir_all(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
        let install = |busybox: PathBuf| {
            // Not by this process: one that another thread starts meanwhile has the file open for writing,
            // and it cannot be run then.
            run(Command::new("cp").args([&busybox, &bin.join("busybox")]))?;
            // Fails for a busybox that needs shared libraries.
            let chroot = program("chroot", "coreutils")?;
            run(Command::new(chroot)
                .arg(&files)
                .args(["/bin/busybox", "--install", "-s", "/bin"]))
        };
        let mut failures = Vec::new();
        if !programs("busybox").any(|busybox| {
            install(busybox)
                .map_err(|error| failures.push(error))
                .is_ok()
        }) {
            return Err(format!(
                "no static busybox (Debian: busybox-static) {}",
                failures.join("; ")
            ));
        }
        let tar = self.dir.join("image.tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(&files)
            .arg("-cf")
            .arg(tar)
            .arg("."))
        .map(drop)
    }

    /// Imports the image and runs it once: that a daemon answers does not say
    /// that its storage driver and the control groups work here.
    fn try_out(&mut self) -> Result<(), String> {
        // Of several clients on PATH one may be too new for the daemon.
        let speaks = |client: &PathBuf| {
            run(&mut self.client_command(client, COMMAND_DEADLINE, &["version"])).map(drop)
        };
        let mut failures = Vec::new();
        let client = programs("docker")
            .find(|client| speaks(client).map_err(|error| failures.push(error)).is_ok());
        self.client = client.ok_or_else(|| failures.join("; "))?;
        let tar = self.dir.join("image.tar");
        self.docker(&["import", &tar.to_string_lossy(), IMAGE])?;
        self.docker(&["run", "--rm", "--network", "none", IMAGE, "true"])
            .map(drop)
    }

    fn docker_within(&self, deadline: Duration, args: &[&str]) -> Result<String, String> {
        run(&mut self.client_command(&self.client, deadline, args))
    }

    /// The client with nothing of the user's settings, and never without end:
    /// `timeout` kills it and then exits with 124.
    fn client_command(&self, client: &Path, deadline: Duration, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &deadline.as_secs().to_string()]);
        command
            .arg(client)
            .arg("--host")
            .arg(format!("unix://{}", self.socket.display()))
            .args(args);
        for name in [
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "DOCKER_TLS",
            "DOCKER_TLS_VERIFY",
            "DOCKER_API_VERSION",
        ] {
            command.env_remove(name);
        }
        command.env("DOCKER_CONFIG", self.dir.join("client"));
        // The daemon's own builder, which knows the images that are here alone.
        command.env("DOCKER_BUILDKIT", "0");
        command
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn with_log(&self, error: &str) -> String {
        format!(
            "{error}; end of its log:\n{}",
            tail_of(&self.dir.join("dockerd.log"), 8)
        )
    }
}

/// Whether a daemon answers at this socket.
fn answers_ping(socket: &Path) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| {
        answer
            .lines()
            .next()
            .is_some_and(|status| status.ends_with("200 OK"))
    })
}

fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    programs(name)
        .next()
        .ok_or_else(|| format!("{name} is not installed (Debian: {package})"))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::super::holds_within;
    use super::super::supervisor::lines_of;
    use super::*;

    /// Set for the copy of this program that a test starts in order to kill it.
    const VICTIM: &str = "FBCL_VICTIM";

    const ENDLESS: &str = "yes >/dev/null";

    #[test]
    fn a_dropped_daemon_leaves_nothing_behind() {
        let daemon = match Dockerd::start() {
            Ok(daemon) => daemon,
            Err(reason) => {
                return super::super::skip("a_dropped_daemon_leaves_nothing_behind", &reason)
            }
        };
        daemon
            .run_detached("endless", &[], ENDLESS)
            .expect("a container starts");
        let dir = daemon.dir.clone();
        let family = family_of(&dir);
        assert!(has_container(&family));
        drop(daemon);
        assert_eq!(remains(&dir, &family), [""; 0]);
    }

    #[test]
    fn a_killed_test_process_leaves_no_daemon_behind() {
        if std::env::var_os(VICTIM).is_some() {
            return be_the_victim();
        }
        // Asks for the reason here, where it can be told.
        if let Err(reason) = shared() {
            return super::super::skip("a_killed_test_process_leaves_no_daemon_behind", &reason);
        }
        let module = module_path!()
            .split_once("::")
            .expect("a module in a crate")
            .1;
        let mut victim = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "--nocapture"])
            .arg(format!(
                "{module}::a_killed_test_process_leaves_no_daemon_behind"
            ))
            .env(VICTIM, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let lines = lines_of(victim.stdout.take().expect("stdout is a pipe"));
        let dir = loop {
            let line = lines
                .recv_timeout(START_DEADLINE)
                .expect("the victim gets ready");
            if let Some((_, dir)) = line.split_once("READY ") {
                break PathBuf::from(dir);
            }
        };
        let family = family_of(&dir);
        assert!(has_container(&family));
        victim.kill().expect("our child can be killed");
        victim.wait().expect("our child can be waited for");
        holds_within(STOP_DEADLINE, || remains(&dir, &family).is_empty());
        assert_eq!(remains(&dir, &family), [""; 0]);
    }

    fn be_the_victim() {
        let daemon = shared().expect("it has just worked elsewhere");
        daemon
            .run_detached("endless", &[], ENDLESS)
            .expect("a container starts");
        println!("READY {}", daemon.dir.display());
        // Ends in any case if nobody comes to kill it.
        std::thread::sleep(START_DEADLINE);
    }

    /// What still exists of a daemon, one text for each thing found.
    fn remains(dir: &Path, family: &[Process]) -> Vec<String> {
        let mut found = Vec::new();
        if dir.exists() {
            found.push(format!("folder {}", dir.display()));
        }
        let name = dir
            .file_name()
            .expect("a folder has a name")
            .to_string_lossy()
            .into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        found.extend(
            mounts
                .lines()
                .filter(|mount| mount.contains(&name))
                .map(|mount| format!("mount {mount}")),
        );
        let search =
            run(Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &name]));
        found.extend(
            search
                .unwrap_or_default()
                .lines()
                .map(|group| format!("control group {group}")),
        );
        let remaining = processes().filter(|process| {
            family.iter().any(|it| it.is(process)) || process.command.contains(&name)
        });
        found.extend(
            remaining.map(|process| format!("process {} {:.80}", process.number, process.command)),
        );
        found
    }

    /// A process. Its start time tells it from a later one with the same number.
    struct Process {
        number: String,
        parent: String,
        start_time: String,
        command: String,
    }

    fn has_container(family: &[Process]) -> bool {
        family
            .iter()
            .any(|process| process.command.contains(ENDLESS))
    }

    impl Process {
        /// Whether this is the same one; command and parent may have changed.
        fn is(&self, other: &Process) -> bool {
            self.number == other.number && self.start_time == other.start_time
        }
    }

    /// The processes of a daemon: those that name its folder, and all below them.
    fn family_of(dir: &Path) -> Vec<Process> {
        let dir = dir.to_string_lossy();
        let (mut family, mut others): (Vec<_>, Vec<_>) =
            processes().partition(|process| process.command.contains(&*dir));
        loop {
            let has_parent =
                |process: &Process| family.iter().any(|it| it.number == process.parent);
            let (children, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(has_parent);
            if children.is_empty() {
                return family;
            }
            family.extend(children);
            others = rest;
        }
    }

    fn processes() -> impl Iterator<Item = Process> {
        let entries = fs::read_dir("/proc").expect("/proc is mounted");
        entries.flatten().filter_map(|entry| {
            let folder = entry.path();
            let command = fs::read(folder.join("cmdline")).ok()?;
            let stat = fs::read_to_string(folder.join("stat")).ok()?;
            // The second field is in parentheses and may hold blanks. Of those after
            // it, the parent is the second and the start time the twentieth.
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            Some(Process {
                number: entry.file_name().into_string().ok()?,
                parent: fields.get(1)?.to_string(),
                start_time: fields.get(19)?.to_string(),
                command: String::from_utf8_lossy(&command).replace('\0', " "),
            })
        })
    }
}
