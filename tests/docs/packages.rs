//! What `make install`, the Debian package and the RPM give to a user: installed into a root
//! that holds nothing but a Fluent Bit and the libraries it needs, or into a Debian, then run
//! there, with the configuration as it was installed. After each step, from the installation
//! to the purge, Fluent Bit starts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{geteuid, Pid, Signal};
use tempfile::TempDir;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{record, DockerRoot};
use test_kit::fluent_bit::with_each_host;
use test_kit::{bring_libraries, programs, run, skip, wait_until};

/// Names the packages that `make package-test` has built.
const DEB_VARIABLE: &str = "CONTAINER_LOGS_DEB";
const RPM_VARIABLE: &str = "CONTAINER_LOGS_RPM";

/// Names roots of Debian releases that `make package-test` has made; several as in `PATH`.
const DEBIAN_VARIABLE: &str = "DEBIAN_ROOTS";

/// What the README tells to add to Fluent Bit's own configuration, and an output.
const FLUENT_BIT_CONF: &str = "\
[SERVICE]
    Flush        0.2
    Plugins_File plugins.conf
@INCLUDE conf.d/*.conf
[INPUT]
    Name    dummy
    Tag     alive
[OUTPUT]
    Name  file
    Match docker.*
    Path  /
    File  records
[OUTPUT]
    Name  file
    Match alive
    Path  /
    File  alive
";

/// What the user's own configuration has in place of ours.
const EDITED: &str = "# edited\n";

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
        root.with_fluent_bit(fluent_bit)
    }

    /// The same in a copy of an installation.
    fn copy_of(installation: &Path, fluent_bit: &Path) -> CleanRoot {
        let root = CleanRoot {
            dir: tempfile::tempdir().expect("a temporary folder"),
        };
        run(Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(installation.join("."))
            .arg(root.dir.path()))
        .expect("cp");
        root.with_fluent_bit(fluent_bit)
    }

    fn with_fluent_bit(self, fluent_bit: &Path) -> CleanRoot {
        let root = self;
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
        bring_libraries(program, self.dir.path());
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

/// What is said of a container after the installation, and after its upgrade.
const TEXTS: [&str; 3] = ["hello", "and again", "after the upgrade"];

/// Fluent Bit ships one line more of the container, exactly once: positions are kept.
fn assert_it_ships(root: &CleanRoot, number: usize) {
    let text = TEXTS[number];
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
    assert!(root.path("var/lib/fluent-bit/container_logs.db").exists());
}

/// Fluent Bit starts and works, whatever the plugin has left.
fn assert_it_starts(root: &CleanRoot) {
    let _ = fs::remove_file(root.path("alive"));
    let mut host = root.start_host();
    wait_until(PATIENCE, "a record of Fluent Bit's own", || {
        root.path("alive").exists() || host.has_ended()
    });
    assert!(!host.has_ended(), "{}", root.log());
    host.end();
}

/// What is installed in a root, below a prefix.
struct Installation<'r> {
    root: &'r CleanRoot,
    prefix: &'static str,
}

impl Installation<'_> {
    fn path(&self, place: &str) -> PathBuf {
        self.root.path(self.prefix).join(place)
    }

    fn config(&self) -> PathBuf {
        self.root.path("etc/fluent-bit/conf.d/container_logs.conf")
    }

    /// The first run, twice, and the program for the terminal; the documents name the paths
    /// of this installation.
    fn assert_it_is_whole(&self) {
        let library = self.path("lib/fluent-bit/flb-in_container_logs.so");
        self.root.bring_libraries_of(&library);
        let program = self.path("bin/tail-containers");
        self.root.bring_libraries_of(&program);
        assert_it_ships(self.root, 0);
        assert_it_ships(self.root, 1);
        let shown = run(self
            .root
            .command(&format!("/{}/bin/tail-containers", self.prefix))
            .arg("--no-follow"));
        assert_eq!(
            shown.expect("it runs").trim_end(),
            "web | hello\nweb | and again"
        );
        for document in [
            "README.md",
            "dashboards/alerts.yml",
            "examples/systemd/fluent-bit.conf",
            "docs/troubleshooting.md",
        ] {
            let file = self
                .path("share/doc/fluent-bit-container-logs")
                .join(document);
            let text = fs::read_to_string(&file).expect("a document");
            let is_elsewhere = self.prefix != "usr/local";
            assert!(
                !(is_elsewhere && text.contains("/usr/local/lib/fluent-bit")),
                "{document}"
            );
        }
        for file in [
            "share/bash-completion/completions/tail-containers",
            "share/fish/vendor_completions.d/tail-containers.fish",
        ] {
            assert!(self.path(file).exists(), "{file}");
        }
        assert_eq!(self.manual_pages(), 2);
    }

    fn manual_pages(&self) -> usize {
        let pages = fs::read_dir(self.path("share/man/man1"));
        let names = pages
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("tail-containers"))
            .count()
    }

    /// After the upgrade the user's configuration is there, and the position.
    fn assert_an_upgrade_keeps_everything(&self, upgrade: impl FnOnce()) {
        let edited = fs::read_to_string(self.config()).expect("it is installed");
        let edited = edited + EDITED;
        fs::write(self.config(), &edited).expect("it is writable");
        upgrade();
        assert_eq!(
            fs::read_to_string(self.config()).expect("it is there"),
            edited
        );
        assert_it_ships(self.root, 2);
    }

    /// After the removal the plugin is gone, its positions are not, and Fluent Bit starts.
    fn assert_it_is_removed(&self, aside: &str) {
        assert!(!self
            .path("lib/fluent-bit/flb-in_container_logs.so")
            .exists());
        assert!(!self.path("share/doc/fluent-bit-container-logs").exists());
        assert_eq!(self.manual_pages(), 0);
        assert!(!self.config().exists());
        let aside = self.config().with_extension(format!("conf.{aside}"));
        let kept = fs::read_to_string(aside).expect("it is put aside");
        assert!(kept.ends_with(EDITED), "{kept}");
        assert!(self
            .root
            .path("var/lib/fluent-bit/container_logs.db")
            .exists());
        assert_it_starts(self.root);
    }
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
            run(command
                .env_remove("PREFIX")
                .env_remove("SYSCONFDIR")
                .env_remove("GENERATOR"))
            .expect("it installs")
        };
        let installed = Installation {
            root: &root,
            prefix: "usr/local",
        };
        assert!(install(&[]).ends_with("next: restart Fluent Bit\n"));
        installed.assert_it_is_whole();
        installed.assert_an_upgrade_keeps_everything(|| {
            assert!(install(&[]).contains("kept: "));
        });
        install(&["--remove"]);
        installed.assert_it_is_removed("removed");
        // The user's configuration is taken again.
        install(&[]);
        let config = fs::read_to_string(installed.config()).expect("it is there");
        assert!(config.ends_with(EDITED), "{config}");
        install(&["--remove"]);
        assert_it_starts(&root);
    });
}

/// `dpkg` for a root. Fluent Bit and the libraries are there, but no package brought them.
fn dpkg(root: &CleanRoot, arguments: &[&str], what: &std::ffi::OsStr) {
    let mut command = Command::new("dpkg");
    command
        .arg("--root")
        .arg(root.dir.path())
        .arg("--log")
        .arg(root.path("dpkg.log"))
        .arg("--force-depends")
        .args(arguments)
        .arg(what);
    run(&mut command).expect("dpkg succeeds");
}

/// From the installation to the purge.
fn assert_the_debian_package_behaves(root: &CleanRoot, deb: &std::ffi::OsStr, how: &[&str]) {
    let dpkg = |action: &str, what| dpkg(root, &[how, &[action]].concat(), what);
    let package = "fluent-bit-container-logs";
    let installed = Installation {
        root,
        prefix: "usr",
    };
    dpkg("--install", deb);
    installed.assert_it_is_whole();
    assert!(installed
        .path("share/doc/fluent-bit-container-logs/copyright")
        .exists());
    installed.assert_an_upgrade_keeps_everything(|| dpkg("--install", deb));
    dpkg("--remove", package.as_ref());
    installed.assert_it_is_removed("removed");
    // The user's configuration is taken again.
    dpkg("--install", deb);
    let config = fs::read_to_string(installed.config()).expect("it is there");
    assert!(config.ends_with(EDITED), "{config}");
    dpkg("--purge", package.as_ref());
    for gone in ["conf", "conf.removed"] {
        assert!(!installed.config().with_extension(gone).exists(), "{gone}");
    }
    assert!(!root.path("var/lib/fluent-bit").exists());
    assert_it_starts(root);
}

/// dpkg does not bring back a configuration file that the administrator has deleted.
#[test]
fn the_placeholder_is_deleted_only_if_another_file_fits_the_pattern() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = root.path().join("etc/fluent-bit");
    let file = |name: &str| folder.join("conf.d").join(name);
    fs::create_dir_all(folder.join("conf.d")).expect("ours");
    fs::write(folder.join("fluent-bit.conf"), FLUENT_BIT_CONF).expect("ours");
    let script = |name: &str, action: &str| {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/debian");
        let mut command = Command::new("sh");
        command.arg(scripts.join(name)).arg(action);
        run(command.env("DPKG_ROOT", root.path())).expect("it succeeds");
    };
    script("postrm", "remove");
    assert!(file("placeholder.conf").exists());
    script("postinst", "configure");
    assert!(file("placeholder.conf").exists());
    fs::write(file("container_logs.conf"), EDITED).expect("ours");
    script("postinst", "configure");
    assert!(!file("placeholder.conf").exists());
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
        // There is no shell inside for its scripts.
        assert_the_debian_package_behaves(&root, &deb, &["--force-script-chrootless"]);
    });
}

/// In an installation of Debian, whose dpkg runs the scripts inside. Where systemd runs, a
/// Fluent Bit that runs as a service is restarted, and no other.
#[test]
fn the_debian_package_serves_each_debian() {
    let name = "packages::the_debian_package_serves_each_debian";
    let (Some(deb), Some(debians)) = (
        std::env::var_os(DEB_VARIABLE),
        std::env::var_os(DEBIAN_VARIABLE),
    ) else {
        return skip(name, "make package-test runs it, with debootstrap");
    };
    if let Err(reason) = can_enter_a_root() {
        return skip(name, &reason);
    }
    if !geteuid().is_root() {
        return skip(name, "dpkg installs for root alone");
    }
    with_each_host(name, |host, _| {
        for debian in std::env::split_paths(&debians) {
            let root = CleanRoot::copy_of(&debian, host);
            fs::create_dir_all(root.path("run/systemd/system")).expect("the root is writable");
            let asked = root.path("asked");
            let systemd = root.path("usr/bin/deb-systemd-invoke");
            fs::write(&systemd, "#!/bin/sh\necho \"$@\" >>/asked\n").expect("it is writable");
            fs::set_permissions(&systemd, fs::Permissions::from_mode(0o755)).expect("it is ours");
            assert_the_debian_package_behaves(&root, &deb, &["--force-confold"]);
            // Installed, upgraded, removed, installed and purged.
            let asked = fs::read_to_string(asked).expect("systemd was asked");
            assert_eq!(asked, "try-restart fluent-bit.service\n".repeat(5));
        }
    });
}

#[test]
fn the_rpm_serves_a_clean_root() {
    let name = "packages::the_rpm_serves_a_clean_root";
    let Some(package) = std::env::var_os(RPM_VARIABLE) else {
        return skip(name, "make package-test runs it, with cargo-generate-rpm");
    };
    if let Err(reason) = can_enter_a_root() {
        return skip(name, &reason);
    }
    let Some(busybox) = programs("busybox").next() else {
        return skip(
            name,
            "no busybox for the package's scripts (busybox-static)",
        );
    };
    if programs("rpm").next().is_none() || !geteuid().is_root() {
        return skip(name, "it takes rpm, and root");
    }
    with_each_host(name, |host, _| {
        let root = CleanRoot::new(host);
        fs::create_dir_all(root.path("bin")).expect("the root is writable");
        fs::copy(&busybox, root.path("bin/busybox")).expect("busybox can be copied");
        for program in ["sh", "grep", "ls", "mkdir", "rm"] {
            std::os::unix::fs::symlink("busybox", root.path("bin").join(program))
                .expect("a link in a new folder");
        }
        let rpm = |action: &str, what: &std::ffi::OsStr| {
            let mut command = Command::new("rpm");
            command.arg("--root").arg(root.dir.path());
            // Nothing of this root was brought by a package.
            run(command.args([action, "--nodeps"]).arg(what)).expect("rpm succeeds")
        };
        let installed = Installation {
            root: &root,
            prefix: "usr",
        };
        rpm("--install", &package);
        installed.assert_it_is_whole();
        installed.assert_an_upgrade_keeps_everything(|| {
            let mut command = Command::new("rpm");
            command.arg("--root").arg(root.dir.path());
            run(command
                .args(["--upgrade", "--force", "--nodeps"])
                .arg(&package))
            .expect("rpm succeeds");
        });
        rpm("--erase", "fluent-bit-container-logs".as_ref());
        installed.assert_it_is_removed("rpmsave");
    });
}

/// `make install` and the packages generate them of the command line's definition.
#[test]
fn the_manual_page_and_the_completions_have_every_switch() {
    let program = env!("CARGO_BIN_EXE_tail-containers");
    let of = |arguments: &[&str]| run(Command::new(program).args(arguments)).expect("it runs");
    let help = of(&["--help"]);
    let switches: Vec<&str> = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| word.trim_end_matches(|end: char| !end.is_ascii_lowercase()))
        .filter(|word| !word.is_empty() && !word.contains(['=', '[']))
        .collect();
    assert!(switches.len() > 10, "{switches:?}");
    for kind in ["man", "bash", "fish", "zsh"] {
        let text = of(&["--generate", kind]).replace("\\-", "-");
        for switch in &switches {
            assert!(text.contains(switch), "{kind} lacks --{switch}");
        }
        let hidden = text.contains(".TP\n--generate");
        assert!(!hidden, "{kind}");
    }
    assert!(of(&["--generate", "man-check"]).contains("tail-containers-check 1"));
}
