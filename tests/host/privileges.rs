//! The rights that docs/least-privilege.md says are needed are enough, and without them
//! the reason is said.

use std::fs;
use std::os::unix::fs::{chown, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use test_kit::docker_root::{record, DockerRoot};
use test_kit::nobody::{
    as_nobody, for_the_owner_alone, program_for_anybody, CAPABILITY, NOBODY, NO_CAPABILITY,
};
use test_kit::playing_host::{texts_of, PlayingHost, Release};
use test_kit::pod_root::PodRoot;
use test_kit::{in_mount_namespace, skip};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Of each source: with the one capability all of it is read, and without it nothing.
#[test]
fn one_capability_is_enough_for_every_source_and_without_it_the_reason_is_said() {
    let test =
        "privileges::one_capability_is_enough_for_every_source_and_without_it_the_reason_is_said";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let docker = DockerRoot::new();
    docker.container('a', "web").line("from a file");
    let pods = PodRoot::new();
    pods.container("shop", "cart", "web").line("from a pod");
    let podman = tempfile::tempdir().expect("a folder");
    let id = "c".repeat(64);
    let containers = podman.path().join("overlay-containers");
    let userdata = containers.join(&id).join("userdata");
    fs::create_dir_all(&userdata).expect("folders");
    let stored = serde_json::json!([{"id": id, "names": ["pod-less"], "metadata": "{}"}]);
    fs::write(containers.join("containers.json"), stored.to_string()).expect("a file");
    fs::write(
        userdata.join("ctr.log"),
        "2024-01-01T00:00:00.000000001+00:00 stdout F from podman\n",
    )
    .expect("a log");
    let sources = [
        ("docker", docker.path().to_owned(), "web | from a file\n"),
        ("cri", pods.pods(), " | from a pod\n"),
        (
            "podman",
            podman.path().to_owned(),
            "pod-less | from podman\n",
        ),
    ];
    for (runtime, root, line) in sources {
        for_the_owner_alone(if runtime == "cri" { pods.path() } else { &root });
        let run_as_nobody = |capabilities: &[&str]| {
            let option = format!("Podman_Root={}", root.display());
            let mut command = as_nobody(capabilities, NOBODY, &program);
            command.args([
                "--no-follow",
                "--tail=all",
                "--runtime",
                runtime,
                "-o",
                &option,
            ]);
            command
                .arg("--docker-root")
                .arg(&root)
                .arg("--pod-logs")
                .arg(&root);
            command.output().expect("setpriv runs")
        };
        let with = run_as_nobody(&CAPABILITY);
        assert!(out(&with).ends_with(line), "{runtime}: {with:?}");
        let without = run_as_nobody(&NO_CAPABILITY);
        assert_eq!(out(&without), "", "{runtime}");
        let said = String::from_utf8_lossy(&without.stderr).into_owned();
        assert!(said.contains("Permission denied"), "{runtime}: {said}");
        assert_eq!(
            said.matches("run with sudo").count(),
            1,
            "{runtime}: {said}"
        );
        assert_eq!(without.status.code(), Some(1), "{runtime}: {said}");
    }
}

/// The other way: a group that may read, and no capability.
#[test]
fn a_group_that_may_read_is_enough() {
    let test = "privileges::a_group_that_may_read_is_enough";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    const GROUP: u32 = 54321;
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("for the group");
    let containers = root.path().join("containers");
    let config = log.dir.join("config.v2.json");
    let folders = [root.path(), &containers, &log.dir].map(|folder| (folder, 0o750));
    for (path, mode) in folders
        .into_iter()
        .chain([(log.log.as_path(), 0o640), (&config, 0o640)])
    {
        chown(path, None, Some(GROUP)).expect("we are root");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let mut command = as_nobody(&NO_CAPABILITY, GROUP, &program);
    command
        .args(["--no-follow", "--tail=all", "--runtime", "docker"])
        .arg("--docker-root")
        .arg(root.path());
    let output = command.output().expect("setpriv runs");
    assert_eq!(out(&output), "web | for the group\n", "{output:?}");
}

/// The kernel lets nothing below the root be written, and nothing is missing.
#[test]
fn a_root_that_is_mounted_read_only_is_enough() {
    let test = "privileges::a_root_that_is_mounted_read_only_is_enough";
    let root = DockerRoot::new();
    let db = tempfile::tempdir().expect("a folder");
    let mut log = root.container('a', "web");
    log.line("line 0");
    let mount = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && ! touch {0}/x 2>/dev/null",
        root.path().display()
    );
    let starter = match in_mount_namespace(&mount) {
        Ok(starter) => starter,
        Err(reason) => return skip(test, &reason),
    };
    let mut host = PlayingHost::start_by(starter, Release::LATEST);
    host.ok(&format!(
        "instance a docker_root=\"{}\" db=\"{}\" runtime=docker docker_socket=off rescan_interval=20ms storage.type=filesystem",
        root.path().display(),
        db.path().join("positions.db").display()
    ));
    host.ok("init");
    host.run_until(1);
    log.line("line 1");
    log.rotate(3, true);
    log.line("line 2");
    host.run_until(3);
    root.container('b', "late").line("line 3");
    host.run_until(4);
    log.remove();
    // Whoever sees this one has seen that the other is gone.
    root.container('c', "later").line("line 4");
    host.run_until(5);
    host.ok("reload");
    host.run(100);
    let exit = host.exit();
    exit.assert_clean();
    assert_eq!(
        texts_of(&exit.frames, "a"),
        ["line 0", "line 1", "line 2", "line 3", "line 4"]
    );
    assert!(
        !exit.log.contains("[error]") && !exit.log.contains("[ warn]"),
        "{}",
        exit.log
    );
}

/// Containers on files need no socket: whoever listens there is never called. What is
/// made is the checkpoint alone, for its owner alone, whatever the umask.
#[test]
fn files_need_no_socket_and_the_checkpoint_is_all_that_is_written() {
    let root = DockerRoot::new();
    let place = tempfile::tempdir().expect("a folder");
    let socket = place.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    listener
        .set_nonblocking(true)
        .expect("a socket can be asked without waiting");
    let mut log = root.container('a', "web");
    log.line("line 0");
    log.rotate(3, true);
    log.line("line 1");
    let before = listed(root.path());
    let dbs = tempfile::tempdir().expect("a folder");
    let db = dbs.path().join("positions.db");
    let mut starter = Command::new("sh");
    starter.args(["-c", "umask 0 && exec \"$@\"", "sh"]);
    let mut host = PlayingHost::start_by(starter, Release::LATEST);
    host.ok(&format!(
        "instance a docker_root=\"{}\" db=\"{}\" docker_socket=\"unix://{}\" runtime=docker rescan_interval=20ms",
        root.path().display(),
        db.display(),
        socket.display()
    ));
    host.ok("init");
    host.run_until(2);
    host.run(200);
    host.exit().assert_clean();
    assert_eq!(
        listener.accept().err().map(|error| error.kind()),
        Some(std::io::ErrorKind::WouldBlock)
    );
    assert_eq!(listed(dbs.path()), [(db.clone(), 0o600)]);
    assert_eq!(
        listed(root.path()),
        before,
        "nothing below the root is touched"
    );
}

/// Everything below a folder, with its rights.
fn listed(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() {
            all.extend(listed(&entry.path()));
        }
        all.push((entry.path(), metadata.permissions().mode() & 0o7777));
    }
    all.sort();
    all
}

/// The API: nothing but the socket, and no file at all.
#[test]
fn without_the_socket_what_only_the_api_has_is_said_and_files_are_read() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let driver = serde_json::json!({"LogConfig": {"Type": "journald", "Config": {}}});
    let api_only = root.created_container('b', "journal");
    fs::write(api_only.dir.join("hostconfig.json"), driver.to_string())
        .expect("the folder is ours");
    web.line("line 0");
    web.raw(record("stdout", "line 1\n", "2023-11-14T22:14:00.5Z").as_bytes());
    let options = format!(
        "docker_root=\"{}\" runtime=docker docker_socket=off",
        root.path().display()
    );
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    host.run_until(2);
    test_kit::wait_until(test_kit::playing_host::PATIENCE, "the reason", || {
        host.run(20);
        host.log()
            .contains("container journal (bbbbbbbbbbbb) cannot be read")
    });
    let exit = host.exit();
    exit.assert_clean();
    assert_eq!(texts_of(&exit.frames, "a"), ["line 0", "line 1"]);
    let said = exit.log.matches("container journal (bbbbbbbbbbbb) cannot");
    assert_eq!(said.count(), 1, "{}", exit.log);
}
