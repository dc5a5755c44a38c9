//! One folder among many that cannot be read: it alone is not read, it is named, and when
//! it can be read again, reading goes on where it was.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

use test_kit::docker_root::DockerRoot;
use test_kit::nobody::{program_for_anybody, NOBODY, NO_CAPABILITY};
use test_kit::playing_host::PATIENCE;
use test_kit::pod_root::{PodRoot, PodWriter};
use test_kit::{skip, wait_until};

/// `tail-containers` of somebody who is not root, under way.
struct Running {
    child: Child,
    out: NamedTempFile,
    errors: NamedTempFile,
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        &format!("--reuid={NOBODY}"),
        &format!("--regid={NOBODY}"),
    ]);
    command
        .arg("--clear-groups")
        .args(NO_CAPABILITY)
        .arg("--no-new-privs")
        .arg(program)
        .args(arguments);
    command
        .args(["-o", "Docker_Socket=off", "-o", "Rescan_Interval=50ms"])
        .stdin(Stdio::null());
    command
}

impl Running {
    fn start(mut command: Command) -> Running {
        let file = || NamedTempFile::new().expect("a file");
        let (out, errors) = (file(), file());
        let to = |file: &NamedTempFile| Stdio::from(file.reopen().expect("it is ours"));
        let child = command
            .stdout(to(&out))
            .stderr(to(&errors))
            .spawn()
            .expect("setpriv runs");
        Running { child, out, errors }
    }

    /// The lines so far, without the names before them, in order.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.out).expect("it is ours");
        let lines = text
            .lines()
            .filter_map(|line| Some(line.split_once("| ")?.1.to_owned()));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.errors).expect("it is ours")
    }

    #[track_caller]
    fn wait_lines(&self, count: usize) -> Vec<String> {
        let what = format!(
            "{count} lines; there are {:?}, and {}",
            self.lines(),
            self.said()
        );
        wait_until(PATIENCE, &what, || self.lines().len() >= count);
        self.lines()
    }

    #[track_caller]
    fn wait_said(&self, part: &str) {
        wait_until(PATIENCE, part, || self.said().contains(part));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// Five pods, each with a line.
fn five_pods() -> (PodRoot, Vec<PodWriter>) {
    let root = PodRoot::new();
    set_mode(root.path(), 0o755);
    let logs = (1..=5).map(|number| {
        let mut log = root.container("shop", &format!("web-{number}"), "app");
        log.line(&format!("of pod {number}"));
        log
    });
    let logs = logs.collect();
    (root, logs)
}

/// The folder of the container's pod.
fn pod_folder(log: &PodWriter) -> PathBuf {
    log.dir.parent().expect("its pod's folder").to_owned()
}

fn of_pods(numbers: &[usize]) -> Vec<String> {
    numbers
        .iter()
        .map(|number| format!("of pod {number}"))
        .collect()
}

/// One of five is closed from the start; then one that is read is closed, and both opened.
#[test]
fn a_pod_folder_that_cannot_be_read_fails_alone_is_named_and_heals() {
    let test = "unreadable::a_pod_folder_that_cannot_be_read_fails_alone_is_named_and_heals";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let (root, mut logs) = five_pods();
    let (third, fourth) = (pod_folder(&logs[2]), pod_folder(&logs[3]));
    set_mode(&third, 0);
    let pods = root.pods().display().to_string();
    let running = Running::start(command(
        &program,
        &["--runtime", "cri", "--pod-logs", &pods],
    ));
    assert_eq!(running.wait_lines(4), of_pods(&[1, 2, 4, 5]));
    running.wait_said(&format!(
        "cannot read {}: Permission denied",
        third.display()
    ));

    set_mode(&fourth, 0);
    running.wait_said(&format!(
        "cannot read {}: Permission denied",
        fourth.display()
    ));
    logs[3].line("while it is closed");
    logs[0].line("of another one");
    let lines = running.wait_lines(6);
    assert!(
        lines.contains(&"while it is closed".to_owned()),
        "what is open is read on: {lines:?}"
    );

    set_mode(&third, 0o755);
    set_mode(&fourth, 0o755);
    logs[2].line("third again");
    logs[3].line("fourth again");
    let mut want = of_pods(&[1, 2, 3, 4, 5]);
    want.extend(
        [
            "fourth again",
            "of another one",
            "third again",
            "while it is closed",
        ]
        .map(str::to_owned),
    );
    want.sort();
    assert_eq!(running.wait_lines(9), want, "nothing is lost or repeated");
    let said = running.said();
    assert_eq!(
        said.matches("cannot read").count(),
        2,
        "each is logged once: {said}"
    );
    assert!(
        !said.contains(&format!("cannot list containers in {pods}: ")),
        "the root is not blamed: {said}"
    );
    assert!(
        said.contains("new containers in it are not read; all others are unaffected"),
        "{said}"
    );
    assert!(!said.contains("no change notification"), "{said}");
}

/// The position of a container that cannot be seen at a start is kept for when it can.
#[test]
fn a_folder_that_cannot_be_read_at_a_start_keeps_its_position() {
    let test = "unreadable::a_folder_that_cannot_be_read_at_a_start_keeps_its_position";
    let (dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let (root, mut logs) = five_pods();
    let third = pod_folder(&logs[2]);
    let state = dir.path().join("state");
    fs::create_dir(&state).expect("a folder");
    std::os::unix::fs::chown(&state, Some(NOBODY), Some(NOBODY)).expect("we are root");
    let (pods, db) = (
        root.pods().display().to_string(),
        format!("DB={}", state.join("db").display()),
    );
    let arguments = [
        "--runtime",
        "cri",
        "--pod-logs",
        &*pods,
        "-o",
        &*db,
        "--save-position",
    ];
    let read_once = || {
        let output = command(&program, &[&arguments[..], &["--no-follow"]].concat()).output();
        String::from_utf8_lossy(&output.expect("setpriv runs").stdout).into_owned()
    };
    assert_eq!(read_once().lines().count(), 5);
    set_mode(&third, 0);
    assert_eq!(read_once(), "");
    logs[2].line("since");
    set_mode(&third, 0o755);
    let text = read_once();
    assert_eq!(
        (text.lines().count(), text.contains("| since")),
        (1, true),
        "{text}"
    );
}

#[test]
fn the_folder_of_links_is_missed_for_ids_alone() {
    let test = "unreadable::the_folder_of_links_is_missed_for_ids_alone";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let (root, logs) = five_pods();
    let links = root.path().join("containers");
    set_mode(&links, 0);
    let pods = root.pods().display().to_string();
    let running = Running::start(command(
        &program,
        &["--runtime", "cri", "--json", "--pod-logs", &pods],
    ));
    running.wait_said(&format!(
        "cannot read {}: Permission denied",
        links.display()
    ));
    running.wait_said("records of pods lack container_id, but all are read");
    let read = || fs::read_to_string(&running.out).expect("it is ours");
    wait_until(PATIENCE, "five records", || read().lines().count() == 5);
    assert!(
        !read().contains("container_id") && read().contains("\"pod\":\"web-3\""),
        "{}",
        read()
    );
    drop(logs);
}

/// Docker's and Podman's containers, and what stands among them and is none.
#[test]
fn one_container_of_any_runtime_that_cannot_be_read_hides_no_other() {
    let test = "unreadable::one_container_of_any_runtime_that_cannot_be_read_hides_no_other";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let docker = DockerRoot::new();
    set_mode(docker.path(), 0o755);
    docker.container('a', "open").line("readable");
    let mut closed = docker.container('b', "closed");
    closed.line("not readable");
    set_mode(&closed.dir, 0);
    fs::write(
        docker.path().join("containers").join("c".repeat(64)),
        "no folder",
    )
    .expect("a file");

    let podman = tempfile::tempdir().expect("a folder");
    set_mode(podman.path(), 0o755);
    for digit in ["a", "b"] {
        let userdata = podman
            .path()
            .join(format!("overlay-containers/{}/userdata", digit.repeat(64)));
        fs::create_dir_all(&userdata).expect("folders");
        let mut log = fs::File::create(userdata.join("ctr.log")).expect("a log");
        writeln!(
            log,
            "2024-01-01T00:00:00.000000001+00:00 stdout F of {digit}"
        )
        .expect("a log");
    }
    let of_podman = podman
        .path()
        .join(format!("overlay-containers/{}", "b".repeat(64)));
    set_mode(&of_podman, 0);
    let roots = [
        ("docker", docker.path(), "readable", &closed.dir),
        ("podman", podman.path(), "of a", &of_podman),
    ];
    for (runtime, root, line, folder) in roots {
        let (shown, option) = (
            root.display().to_string(),
            format!("Podman_Root={}", root.display()),
        );
        let arguments = [
            "--runtime",
            runtime,
            "--docker-root",
            &shown,
            "-o",
            &option,
            "-o",
            "Podman_Socket=off",
        ];
        let running = Running::start(command(&program, &arguments));
        assert_eq!(running.wait_lines(1), [line], "{runtime}");
        running.wait_said(&folder.display().to_string());
        assert!(
            running.said().contains("Permission denied"),
            "{}",
            running.said()
        );
        drop(running);
        let output = command(&program, &[&["check"], &arguments[..]].concat())
            .output()
            .expect("setpriv runs");
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            page.contains(&*folder.to_string_lossy()) && !output.status.success(),
            "{page}"
        );
        set_mode(folder, 0o755);
    }
}

#[test]
fn check_names_the_pod_folder_that_cannot_be_read_and_shows_the_others() {
    let test = "unreadable::check_names_the_pod_folder_that_cannot_be_read_and_shows_the_others";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let (root, logs) = five_pods();
    let third = pod_folder(&logs[2]);
    set_mode(&third, 0);
    let pods = root.pods().display().to_string();
    let output = command(
        &program,
        &["check", "--runtime", "cri", "--pod-logs", &pods],
    )
    .output();
    let output = output.expect("setpriv runs");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{page}");
    assert!(
        page.contains("4 containers; 1 folder cannot be read"),
        "{page}"
    );
    assert!(
        page.contains(&format!("{}: Permission denied", third.display())),
        "{page}"
    );
    assert!(
        page.contains("shop/web-2/app") && page.contains("CAP_DAC_READ_SEARCH"),
        "{page}"
    );
    set_mode(&third, 0o755);
}
