//! What `make install` and `make deb` give to a user: installed into a root that
//! holds nothing but a Fluent Bit and the libraries it needs, then run there, with
//! the configuration as it was installed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{geteuid, Pid, Signal};
use tempfile::TempDir;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{record, DockerRoot};
use test_kit::fluent_bit::with_each_host;
use test_kit::{programs, run, skip, wait_until};

/// Names the package that `make package-test` has built.
const DEB_VARIABLE: &str = "CONTAINER_LOGS_DEB";

/// What the README tells to add to Fluent Bit's own configuration, and an output.
const FLUENT_BIT_CONF: &str = "\
[SERVICE]
    Flush        0.2
    Plugins_File plugins.conf
@INCLUDE conf.d/*.conf
[OUTPUT]
    Name  file
    Match docker.*
    Path  /
    File  records
";

/// An installation of its own, entered with `chroot`.
struct CleanRoot {
    dir: TempDir,
}

impl CleanRoot {
    /// With a Fluent Bit where its packages have it, and a container's log.
    fn new(fluent_bit: &Path) -> CleanRoot {
        let root = CleanRoot {
            dir: tempfile::tempdir().expect("a temporary folder"),
        };
        for folder in ["etc/fluent-bit", "opt/fluent-bit/bin", "var/lib", "tmp"] {
            fs::create_dir_all(root.path(folder)).expect("a folder in a new folder");
        }
        fs::copy(fluent_bit, root.path("opt/fluent-bit/bin/fluent-bit"))
            .expect("Fluent Bit can be copied");
        root.bring_libraries_of(fluent_bit);
        fs::write(root.path("etc/fluent-bit/fluent-bit.conf"), FLUENT_BIT_CONF)
            .expect("it is writable");
        fs::write(root.path("etc/fluent-bit/plugins.conf"), "[PLUGINS]\n").expect("it is writable");
        let docker = DockerRoot::new();
        docker.container('a', "web");
        run(Command::new("cp")
            .arg("-a")
            .arg(docker.path())
            .arg(root.path("var/lib/docker")))
        .expect("cp");
        root
    }

    /// A place in this root, as seen from outside.
    fn path(&self, place: &str) -> PathBuf {
        self.dir.path().join(place)
    }

    fn bring_libraries_of(&self, program: &Path) {
        let listed = run(Command::new("ldd").arg(program)).expect("ldd");
        let libraries = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in libraries {
            let inside = self.path(library.trim_start_matches('/'));
            fs::create_dir_all(inside.parent().expect("a folder")).expect("the root is writable");
            fs::copy(library, inside).expect("a library can be copied");
        }
    }

    /// A command that runs inside, and ends with this thread.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if !geteuid().is_root() {
            command.args(["unshare", "--map-root-user"]);
        }
        let chroot = programs("chroot").next().unwrap_or_else(|| "chroot".into());
        command.arg(chroot).arg(self.dir.path()).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// One line more of the container.
    fn says(&self, text: &str) {
        let id = "a".repeat(64);
        let log = self.path(&format!("var/lib/docker/containers/{id}/{id}-json.log"));
        let mut log = fs::OpenOptions::new()
            .append(true)
            .open(log)
            .expect("the container's log");
        let line = record(
            "stdout",
            &format!("{text}\n"),
            "2023-11-14T22:13:20.000000001Z",
        );
        log.write_all(line.as_bytes()).expect("a write");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("host.log")).unwrap_or_default()
    }

    fn records(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("records")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn start_host(&self) -> Host {
        let log = fs::File::create(self.path("host.log")).expect("the root is writable");
        let mut command = self.command("/opt/fluent-bit/bin/fluent-bit");
        command.args(["-c", "/etc/fluent-bit/fluent-bit.conf"]);
        let process = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("setpriv runs");
        Host(process)
    }
}

struct Host(Child);

impl Host {
    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn end(mut self) {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM).expect("it runs");
        let mut status = None;
        wait_until(PATIENCE, "the host's end", || {
            status = self.0.try_wait().expect("our child can be waited for");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether programs can be run in a root of their own here, or why not.
fn can_enter_a_root() -> Result<(), String> {
    for program in ["setpriv", "chroot", "ldd"] {
        programs(program)
            .next()
            .ok_or_else(|| format!("{program} is not installed"))?;
    }
    if geteuid().is_root() {
        return Ok(());
    }
    run(Command::new("unshare").args(["--map-root-user", "true"])).map(drop)
}

/// The installation runs: records come, positions are kept over a restart, and
/// `tail-containers` shows the same.
fn assert_it_ships(root: &CleanRoot, prefix: &str) {
    let library = format!("{prefix}/lib/fluent-bit/flb-in_container_logs.so");
    root.bring_libraries_of(&root.path(&library));
    for (number, text) in ["hello", "and again"].into_iter().enumerate() {
        root.says(text);
        let mut host = root.start_host();
        wait_until(PATIENCE, "a record more", || {
            root.records().len() > number || host.has_ended()
        });
        host.end();
        let records = root.records();
        assert_eq!(records.len(), number + 1, "{records:?}\n{}", root.log());
        let last = &records[number];
        assert!(last.starts_with("docker.web: [1700000000."), "{last}");
        assert!(
            last.contains(&format!("{{\"log\":\"{text}\",\"stream\":\"stdout\"")),
            "{last}"
        );
    }
    assert!(root.path("var/lib/fluent-bit/container_logs.db").exists());
    let shown = run(root
        .command(&format!("/{prefix}/bin/tail-containers"))
        .arg("--no-follow"));
    assert_eq!(
        shown.expect("it runs").trim_end(),
        "web | hello\nweb | and again"
    );
}

#[test]
fn make_install_serves_a_clean_root() {
    let name = "packages::make_install_serves_a_clean_root";
    if let Err(reason) = can_enter_a_root() {
        return skip(name, &reason);
    }
    with_each_host(name, |host, plugin| {
        let release = tempfile::tempdir().expect("a temporary folder");
        let tail_containers = env!("CARGO_BIN_EXE_tail-containers");
        for (built, file) in [
            (plugin, "flb-in_container_logs.so"),
            (tail_containers.as_ref(), "tail-containers"),
        ] {
            let built = built.canonicalize().expect("it has been built");
            std::os::unix::fs::symlink(built, release.path().join(file))
                .expect("a link in a new folder");
        }
        let root = CleanRoot::new(host);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install");
        let install = |arguments: &[&str]| {
            let mut command = Command::new(script);
            command
                .args(arguments)
                .env("RELEASE", release.path())
                .env("DESTDIR", root.dir.path());
            run(command.env_remove("PREFIX").env_remove("SYSCONFDIR")).expect("it installs")
        };
        install(&[]);
        assert_it_ships(&root, "usr/local");

        // A second time: the user's configuration stays.
        let config = root.path("etc/fluent-bit/conf.d/container_logs.conf");
        fs::write(&config, "# edited").expect("it is writable");
        assert!(install(&[]).contains("kept: "));
        assert_eq!(
            fs::read_to_string(&config).expect("it is there"),
            "# edited"
        );

        install(&["--remove"]);
        assert!(!root
            .path("usr/local/lib/fluent-bit/flb-in_container_logs.so")
            .exists());
        assert!(!root
            .path("usr/local/share/doc/fluent-bit-container-logs")
            .exists());
        assert!(config.exists());
    });
}

#[test]
fn the_debian_package_serves_a_clean_root() {
    let name = "packages::the_debian_package_serves_a_clean_root";
    let Some(deb) = std::env::var_os(DEB_VARIABLE) else {
        return skip(name, "make package-test runs it, with cargo-deb");
    };
    if let Err(reason) = can_enter_a_root() {
        return skip(name, &reason);
    }
    if !geteuid().is_root() {
        return skip(name, "dpkg installs for root alone");
    }
    with_each_host(name, |host, _| {
        let root = CleanRoot::new(host);
        fs::create_dir_all(root.path("var/lib/dpkg/info")).expect("the root is writable");
        fs::create_dir_all(root.path("var/lib/dpkg/updates")).expect("the root is writable");
        fs::write(root.path("var/lib/dpkg/status"), "").expect("the root is writable");
        let dpkg = |action: &str, what: &std::ffi::OsStr| {
            let mut command = Command::new("dpkg");
            command
                .arg("--root")
                .arg(root.dir.path())
                .arg("--log")
                .arg(root.path("dpkg.log"));
            // Its libraries are here, but no package of this root brought them; and
            // there is no shell inside for its scripts.
            command
                .args(["--force-depends", "--force-script-chrootless", action])
                .arg(what);
            run(&mut command).expect("dpkg succeeds")
        };
        dpkg("--install", &deb);
        assert_it_ships(&root, "usr");
        let documents = root.path("usr/share/doc/fluent-bit-container-logs");
        assert!(documents.join("copyright").exists() && documents.join("README.md").exists());

        dpkg("--remove", "fluent-bit-container-logs".as_ref());
        assert!(!root
            .path("usr/lib/fluent-bit/flb-in_container_logs.so")
            .exists());
        assert!(root
            .path("etc/fluent-bit/conf.d/container_logs.conf")
            .exists());
        assert!(root.path("var/lib/fluent-bit/container_logs.db").exists());
        dpkg("--purge", "fluent-bit-container-logs".as_ref());
        assert!(!root
            .path("etc/fluent-bit/conf.d/container_logs.conf")
            .exists());
        assert!(!root.path("var/lib/fluent-bit").exists());
    });
}
