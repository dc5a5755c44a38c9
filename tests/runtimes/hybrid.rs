//! Containers of every log driver that runs without a service, read from files
//! where there are files and through the API of a real dockerd where not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};

use test_kit::collector::Collector;
use test_kit::dockerd::{shared, Dockerd};
use test_kit::skip;
use test_kit::writer::{interleaved, numbered, numbered_slowly, of_lengths, Stream};

const LENGTHS: [usize; 7] = [0, 1, 16_383, 16_384, 16_385, 40_000, 200_000];

fn daemon(test: &str) -> Option<&'static Dockerd> {
    shared().map_err(|reason| skip(test, &reason)).ok()
}

/// A syslog that takes everything and forgets it.
struct Syslog {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Syslog {
    fn start() -> Syslog {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("syslog");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        std::thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while socket.recv(&mut datagram).is_ok() {}
        });
        Syslog { path, _dir: dir }
    }

    fn address(&self) -> String {
        format!("syslog-address=unixgram://{}", self.path.display())
    }
}

fn socket_option(docker: &Dockerd) -> String {
    format!("unix://{}", docker.socket().display())
}

#[test]
fn every_driver_that_keeps_a_file_is_read_from_it() {
    let Some(docker) = daemon("hybrid::every_driver_that_keeps_a_file_is_read_from_it") else {
        return;
    };
    let syslog = Syslog::start();
    let address = syslog.address();
    let api = Api::start(docker.socket());
    let collector = Collector::start(docker.root(), &[("Docker_Socket", &api.option())]);
    let script = of_lengths(Stream::Stdout, &LENGTHS)
        .then(of_lengths(Stream::Stderr, &LENGTHS))
        .then(interleaved(300));
    let drivers: [(&str, &[&str]); 5] = [
        ("json", &["--log-driver", "json-file"]),
        (
            "attrs",
            &[
                "--log-driver",
                "json-file",
                "--log-opt",
                "env=COLOR",
                "--env",
                "COLOR=blue",
            ],
        ),
        ("local", &["--log-driver", "local"]),
        (
            "local-rotated",
            &[
                "--log-driver",
                "local",
                "--log-opt",
                "max-size=200k",
                "--log-opt",
                "max-file=5",
            ],
        ),
        ("syslog", &["--log-driver", "syslog", "--log-opt", &address]),
    ];
    for (label, options) in drivers {
        let id = docker
            .run_detached(&format!("file-{label}"), options, &script.sh)
            .expect("docker run");
        collector.assert_arrives(&id, &script, label);
        let terminal = [options, &["--tty"]].concat();
        let id = docker
            .run_detached(&format!("tty-{label}"), &terminal, "echo one; echo two >&2")
            .expect("docker run");
        collector.wait("two lines", |collector| {
            collector.texts_of(&id, "stdout").len() == 2
        });
        assert_eq!(
            collector.texts_of(&id, "stdout"),
            ["one\r", "two\r"],
            "{label}"
        );
    }
    let records = collector.records();
    let with_attrs = records
        .iter()
        .find(|record| record.text("container_name") == "file-attrs");
    assert_eq!(
        with_attrs.expect("a record").body["attrs"],
        serde_json::json!({"COLOR": "blue"})
    );
    assert_eq!(
        api.requests(),
        0,
        "the API was touched although every container is on a file"
    );
}

#[test]
fn what_cannot_be_read_is_said_once_per_container() {
    let Some(docker) = daemon("hybrid::what_cannot_be_read_is_said_once_per_container") else {
        return;
    };
    let syslog = Syslog::start();
    let address = syslog.address();
    let drivers: [(&str, &[&str]); 2] = [
        ("none", &["--log-driver", "none"]),
        (
            "uncached",
            &[
                "--log-driver",
                "syslog",
                "--log-opt",
                &address,
                "--log-opt",
                "cache-disabled=true",
            ],
        ),
    ];
    for mode in ["hybrid", "file", "stream"] {
        let options = [
            ("Mode", mode),
            ("Docker_Socket", &socket_option(docker)),
            ("Rescan_Interval", "50ms"),
        ];
        let collector = Collector::start(docker.root(), &options);
        for (label, options) in drivers {
            let name = format!("unread-{label}-{mode}");
            docker
                .run_detached(&name, options, "echo lost; sleep 1000")
                .expect("docker run");
            let said = |collector: &Collector| {
                let log = collector.log();
                log.iter()
                    .filter(|(_, text)| text.contains(&name) && text.contains("cannot be read"))
                    .count()
            };
            collector.wait(&format!("the message about {name}"), |collector| {
                said(collector) > 0
            });
            docker
                .docker(&["restart", "--time", "0", &name])
                .expect("docker restart");
            let marker = format!("marker-{label}-{mode}");
            docker
                .run_detached(&marker, &[], "echo marker")
                .expect("docker run");
            collector.wait("the marker", |collector| {
                collector
                    .records()
                    .iter()
                    .any(|record| record.text("container_name") == marker)
            });
            assert_eq!(said(&collector), 1, "{:?}", collector.log());
            docker.docker(&["rm", "--force", &name]).expect("docker rm");
        }
    }
}

#[test]
fn mode_stream_delivers_every_driver_through_the_api() {
    let Some(docker) = daemon("hybrid::mode_stream_delivers_every_driver_through_the_api") else {
        return;
    };
    let syslog = Syslog::start();
    let address = syslog.address();
    let options = [
        ("Mode", "stream"),
        ("Docker_Socket", &socket_option(docker)),
    ];
    let collector = Collector::start(docker.root(), &options);
    let script = of_lengths(Stream::Stdout, &LENGTHS)
        .then(of_lengths(Stream::Stderr, &LENGTHS))
        .then(interleaved(300))
        .then(numbered_slowly(Stream::Stdout, "line", 300, "0.005"));
    let drivers: [(&str, &[&str]); 4] = [
        ("json", &["--log-driver", "json-file"]),
        (
            "rotated",
            &[
                "--log-driver",
                "json-file",
                // dockerd 26 and 28 skip files of a log that rotates twice while they follow it.
                "--log-opt",
                "max-size=500k",
                "--log-opt",
                "max-file=9",
            ],
        ),
        ("local", &["--log-driver", "local"]),
        ("syslog", &["--log-driver", "syslog", "--log-opt", &address]),
    ];
    for (label, options) in drivers {
        let id = docker
            .run_detached(&format!("stream-{label}"), options, &script.sh)
            .expect("docker run");
        collector.assert_arrives(&id, &script, label);
    }
    // With a terminal each line ends in a carriage return, and all are of stdout.
    let on_terminal = of_lengths(Stream::Stdout, &LENGTHS).then(numbered_slowly(
        Stream::Stdout,
        "line",
        200,
        "0.005",
    ));
    let expected: Vec<String> = on_terminal
        .of(Stream::Stdout)
        .iter()
        .map(|line| format!("{line}\r"))
        .collect();
    for (label, options) in drivers {
        let options = [options, &["--tty"]].concat();
        let id = docker
            .run_detached(&format!("stream-tty-{label}"), &options, &on_terminal.sh)
            .expect("run");
        collector.wait(&format!("{label}, with a terminal"), |collector| {
            collector.texts_of(&id, "stdout").len() >= expected.len()
        });
        let texts = collector.texts_of(&id, "stdout");
        let first = texts
            .iter()
            .zip(&expected)
            .position(|(got, want)| got != want);
        let lengths: Vec<usize> = texts.iter().take(12).map(String::len).collect();
        assert!(
            first.is_none() && texts.len() == expected.len(),
            "{label}: {} at {first:?}, of lengths {lengths:?}; the daemon's own log:\n{}",
            texts.len(),
            outline(
                &docker
                    .docker(&["logs", "--timestamps", &id])
                    .expect("docker logs")
            )
        );
    }
}

/// The first lines of a log, each shortened to its time and how long it is.
fn outline(log: &str) -> String {
    let lines = log.lines().take(12);
    lines
        .map(|line| format!("{} {}\n", line.get(..36).unwrap_or(line), line.len()))
        .collect()
}

#[test]
fn a_stream_goes_on_over_stop_start_rename_and_our_own_restarts() {
    let Some(docker) =
        daemon("hybrid::a_stream_goes_on_over_stop_start_rename_and_our_own_restarts")
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("positions.db");
    let socket = socket_option(docker);
    let stream = [
        ("Mode", "stream"),
        ("Docker_Socket", &*socket),
        ("DB", db.to_str().expect("a path")),
    ];
    let file = [("Mode", "file"), ("DB", db.to_str().expect("a path"))];
    let script = numbered_slowly(Stream::Stdout, "line", 800, "0.005");
    let id = docker
        .run_detached("to-and-fro", &[], &script.sh)
        .expect("docker run");
    let mut texts: Vec<String> = Vec::new();
    for round in 0.. {
        // From file to stream and back, by restarting with the other mode.
        let collector =
            Collector::start(docker.root(), if round % 2 == 0 { &stream } else { &file });
        let target = (texts.len() + 150).min(800);
        collector.wait("more lines", |collector| {
            texts.len() + collector.texts_of(&id, "stdout").len() >= target
        });
        let (records, _) = collector.stop();
        let ours = records
            .iter()
            .filter(|record| record.text("container_id") == id);
        texts.extend(ours.map(|record| record.text("log").to_owned()));
        if texts.len() >= 800 {
            break;
        }
    }
    assert_eq!(texts, script.of(Stream::Stdout));
    let collector = Collector::start(docker.root(), &stream);
    docker
        .docker(&["rename", "to-and-fro", "renamed"])
        .expect("docker rename");
    for _ in 0..2 {
        docker
            .docker(&["restart", "--time", "0", "renamed"])
            .expect("docker restart");
    }
    collector.wait("the last line of the last run", |collector| {
        let records = collector.records();
        let ours = records
            .iter()
            .filter(|record| record.text("container_id") == id);
        ours.filter(|record| record.text("log") == "line 800")
            .count()
            >= 1
    });
    let records = collector.records();
    let last = records
        .iter()
        .rev()
        .find(|record| record.text("container_id") == id)
        .expect("a record");
    assert_eq!(last.text("container_name"), "renamed");
}

#[test]
fn a_daemon_restart_under_load_loses_and_repeats_nothing_in_the_stream() {
    let test = "hybrid::a_daemon_restart_under_load_loses_and_repeats_nothing_in_the_stream";
    let docker = match Dockerd::start_with(&["--live-restore"]) {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let options = [
        ("Mode", "stream"),
        ("Docker_Socket", &*socket_option(&docker)),
    ];
    let collector = Collector::start(docker.root(), &options);
    let script = numbered_slowly(Stream::Stdout, "line", 800, "0.01");
    let id = docker
        .run_detached("live", &[], &script.sh)
        .expect("docker run");
    collector.wait("the first lines", |collector| {
        collector.texts_of(&id, "stdout").len() > 50
    });
    docker.restart_daemon().expect("the daemon restarts");
    collector.assert_arrives(&id, &script, "live");
    assert!(collector.has_logged("Docker API"), "{:?}", collector.log());
}

#[test]
fn two_hundred_containers_that_live_for_a_moment_are_all_read() {
    let Some(docker) = daemon("hybrid::two_hundred_containers_that_live_for_a_moment_are_all_read")
    else {
        return;
    };
    let collector = Collector::start(docker.root(), &[("Docker_Socket", "off")]);
    let run = |number: usize| {
        let line = format!("moment {number}");
        let args = [
            "run",
            "--rm",
            "--network",
            "none",
            "busybox:test",
            "echo",
            &line,
        ];
        // A daemon under load may write a last state into a container's folder while it
        // removes it, and then fails to. The container has run and is what is tested.
        match docker.docker(&args) {
            Err(error) if error.contains("unable to remove filesystem") => {}
            result => drop(result.expect("docker run --rm")),
        }
    };
    // One after another, then twenty at a time.
    for number in 0..200 {
        run(number);
    }
    for batch in 0..10 {
        std::thread::scope(|scope| {
            for number in 0..20 {
                let run = &run;
                scope.spawn(move || run(200 + batch * 20 + number));
            }
        });
    }
    let ours = |collector: &Collector| {
        let texts = collector.texts();
        let mut numbers: Vec<usize> = texts
            .iter()
            .filter_map(|text| {
                text.strip_prefix("moment ")
                    .and_then(|number| number.parse().ok())
            })
            .collect();
        numbers.sort_unstable();
        numbers
    };
    collector.wait("every container", |collector| ours(collector).len() >= 400);
    assert_eq!(ours(&collector), (0..400).collect::<Vec<_>>());
}

/// The daemon's socket once more, which counts who comes.
struct Api {
    path: PathBuf,
    requests: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

impl Api {
    fn start(daemon: &Path) -> Api {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("chmod");
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, daemon) = (Arc::clone(&requests), daemon.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                if let Ok(server) = UnixStream::connect(&daemon) {
                    pass_on(client, server);
                }
            }
        });
        Api {
            path,
            requests,
            _dir: dir,
        }
    }

    fn option(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Copies both ways until either side ends.
fn pass_on(client: UnixStream, server: UnixStream) {
    let pairs = [
        (
            client.try_clone().expect("a clone"),
            server.try_clone().expect("a clone"),
        ),
        (server, client),
    ];
    for (mut from, mut to) in pairs {
        std::thread::spawn(move || {
            let mut block = [0; 16_384];
            while let Ok(count @ 1..) = from.read(&mut block) {
                if to.write_all(&block[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// What tail-containers prints, line by line as JSON, and what it complains of.
struct Follower {
    child: std::process::Child,
    records: Arc<Mutex<Vec<serde_json::Value>>>,
    complaints: Arc<Mutex<String>>,
}

impl Follower {
    fn start(mut command: Command) -> Follower {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let records = Arc::new(Mutex::new(Vec::new()));
        let complaints = Arc::new(Mutex::new(String::new()));
        let (kept, said) = (Arc::clone(&records), Arc::clone(&complaints));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let errors = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        std::thread::spawn(move || {
            for line in errors.map_while(Result::ok) {
                said.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Follower {
            child,
            records,
            complaints,
        }
    }

    fn texts(&self, id: &str) -> Vec<String> {
        let records = self.records.lock().unwrap();
        let ours = records.iter().filter(|record| record["container_id"] == id);
        ours.map(|record| record["log"].as_str().expect("a text").to_owned())
            .collect()
    }

    fn said(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Lets others look into a folder, and into those above it.
fn open_folders(dir: &Path) {
    for folder in dir
        .ancestors()
        .take_while(|folder| folder.parent().is_some())
    {
        let mode = folder.metadata().expect("a folder").permissions().mode();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode | 0o055))
            .expect("chmod");
    }
}

#[test]
fn permissions_removed_and_restored_under_load_lose_and_repeat_nothing() {
    let test = "hybrid::permissions_removed_and_restored_under_load_lose_and_repeat_nothing";
    let docker = match Dockerd::start() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let Some(program) = program_for_nobody() else {
        return skip(test, "setpriv is missing");
    };
    let api = Api::start(docker.socket());
    let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.005");
    let options = ["--log-opt", "max-size=40k", "--log-opt", "max-file=9"];
    let id = docker
        .run_detached("secret", &options, &script.sh)
        .expect("docker run");
    let log = docker.log_path(&id);
    open_folders(log.parent().expect("a folder"));
    for file in ["config.v2.json", "hostconfig.json"] {
        let path = log.with_file_name(file);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program.0);
    command
        .arg("--docker-root")
        .arg(docker.root())
        .args(["--json", "--tail", "all"]);
    command
        .args(["-o", "Rescan_Interval=50ms", "-o"])
        .arg(format!("Docker_Socket={}", api.option()));
    let follower = Follower::start(command);
    let wait = |what: &str, condition: &dyn Fn() -> bool| {
        test_kit::wait_until(
            Duration::from_secs(60),
            &format!("{what}: {}", follower.said()),
            condition,
        );
    };
    // The log is root's: through the API. dockerd makes each new file root's
    // again, so every rotation takes the permission away once more.
    let mut returns = 0;
    while follower.texts(&id).len() < 1200 {
        let count = follower.texts(&id).len();
        wait("more lines", &|| follower.texts(&id).len() > count + 50);
        for file in test_kit::writer::log_files(&log) {
            let _ = std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644));
        }
        returns += 1;
    }
    wait("every line", &|| follower.texts(&id).len() >= 1500);
    assert_eq!(
        follower.texts(&id),
        script.of(Stream::Stdout),
        "{}",
        follower.said()
    );
    assert!(returns > 3 && api.requests() > 0);
    assert!(
        follower.said().contains("cannot read"),
        "{}",
        follower.said()
    );
}

/// A copy of tail-containers that others may run, and the folder it is in.
fn program_for_nobody() -> Option<(PathBuf, tempfile::TempDir)> {
    Command::new("setpriv")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .ok()?;
    let dir = tempfile::tempdir().ok()?;
    let program = dir.path().join("tail-containers");
    std::fs::copy(env!("CARGO_BIN_EXE_tail-containers"), &program).ok()?;
    open_folders(dir.path());
    Some((program, dir))
}

#[test]
fn a_root_that_cannot_be_seen_is_read_through_the_api_and_from_its_files_when_it_can() {
    let test =
        "hybrid::a_root_that_cannot_be_seen_is_read_through_the_api_and_from_its_files_when_it_can";
    let Some(docker) = daemon(test) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let seen = dir.path().join("docker");
    let api = Api::start(docker.socket());
    let options = [
        ("Docker_Socket", &*api.option()),
        ("Rescan_Interval", "50ms"),
    ];
    let script = numbered(Stream::Stdout, "early", 20).then(numbered_slowly(
        Stream::Stdout,
        "line",
        600,
        "0.01",
    ));
    let id = docker
        .run_detached("unseen", &[], &script.sh)
        .expect("docker run");
    let collector = Collector::start(&seen, &options);
    collector.wait("lines through the API", |collector| {
        collector.texts_of(&id, "stdout").len() > 60
    });
    std::os::unix::fs::symlink(docker.root(), &seen).expect("a link");
    collector.wait("the return", |collector| {
        collector.has_logged("from its file again")
    });
    collector.assert_arrives(&id, &script, "unseen");
    let records = collector.records();
    let ours = records
        .iter()
        .find(|record| record.text("container_id") == id)
        .expect("a record");
    assert_eq!(
        (ours.text("container_name"), ours.text("image")),
        ("unseen", "busybox:test")
    );
}

#[test]
fn a_socket_that_appears_later_is_found() {
    let Some(docker) = daemon("hybrid::a_socket_that_appears_later_is_found") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("docker.sock");
    let option = path.display().to_string();
    let collector = Collector::start(
        docker.root(),
        &[("Mode", "stream"), ("Docker_Socket", &option)],
    );
    let script = numbered(Stream::Stdout, "line", 50);
    let id = docker
        .run_detached("before-the-socket", &[], &script.sh)
        .expect("docker run");
    collector.wait("the message", |collector| {
        collector.has_logged("Docker API")
    });
    std::os::unix::fs::symlink(docker.socket(), &path).expect("a link");
    collector.assert_arrives(&id, &script, "later");
}
