//! What an idle container that is streamed costs: measured on the program
//! `tail-containers`, a process of its own, against an API that is played here.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use rustix::process::{kill_process, Pid, Signal};

use test_kit::collector::PATIENCE;
use test_kit::docker_root::DockerRoot;
use test_kit::holds_within;

const CONTAINERS: usize = 200;

/// What all containers of a machine print, before they fall silent.
const LINES: usize = CONTAINERS * 20;

/// A daemon that gives so many lines of each container and then nothing more.
struct IdleApi {
    path: PathBuf,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Daemon {
    /// Its streams are followed.
    New,
    /// It is read in snapshots.
    Old,
}

impl IdleApi {
    fn listen(dir: &Path, daemon: Daemon, lines: usize) -> IdleApi {
        let path = dir.join("docker.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (open, most_open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let api = IdleApi {
            path,
            open: Arc::clone(&open),
            most_open: Arc::clone(&most_open),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                most_open.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let open = Arc::clone(&open);
                let work = move || {
                    // An error is the other side's end, which is what is waited for.
                    let _ = answer(&stream, daemon, lines);
                    open.fetch_sub(1, Ordering::SeqCst);
                };
                std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(work)
                    .expect("a thread");
            }
        });
        api
    }
}

fn answer(mut stream: &UnixStream, daemon: Daemon, lines: usize) -> std::io::Result<()> {
    let mut request = BufReader::new(stream);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut header = String::new();
    while request.read_line(&mut header)? > 2 {
        header.clear();
    }
    if first.contains("/json") {
        let body = r#"{"Config":{"Tty":false},"HostConfig":{"LogConfig":{"Type":"local"}}}"#;
        let body = if first.contains("/containers/json") {
            "[]"
        } else {
            body
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}"
        );
        return write!(stream, "{head}\r\n\r\n{body}");
    }
    let kind = match daemon {
        Daemon::New => "Content-Type: application/vnd.docker.multiplexed-stream\r\n",
        Daemon::Old => "",
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\n{kind}Transfer-Encoding: chunked\r\n\r\n"
    )?;
    if first.contains("/logs?") && !first.contains("tail=0") {
        let tail = first
            .split("tail=")
            .nth(1)
            .and_then(|tail| tail.split(' ').next()?.parse().ok());
        let from = tail.map_or(0, |tail| lines.saturating_sub(tail));
        for number in from..lines {
            stream.write_all(&chunk(number))?;
        }
    }
    if first.contains("follow=0") {
        return stream.write_all(b"0\r\n\r\n");
    }
    // Until the other side closes.
    stream.read_exact(&mut [0])
}

fn chunk(number: usize) -> Vec<u8> {
    let text = format!("2026-11-23T18:34:00.{number:09}Z {}\n", "x".repeat(900));
    let mut chunk = format!("{:x}\r\n\u{1}\0\0\0", text.len() + 8).into_bytes();
    chunk.extend_from_slice(
        &u32::try_from(text.len())
            .expect("a short text")
            .to_be_bytes(),
    );
    chunk.extend_from_slice(text.as_bytes());
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The program, all of whose lines have come.
struct Reader {
    child: Child,
    api: IdleApi,
    _root: DockerRoot,
    _dir: tempfile::TempDir,
}

impl Reader {
    /// Of so many containers, which all together print [`LINES`].
    fn start(daemon: Daemon, containers: usize) -> Reader {
        let root = DockerRoot::new();
        for number in 0..containers {
            root.created_with_id(&format!("{number:064x}"), &format!("idle-{number}"));
        }
        let dir = tempfile::tempdir().expect("a folder");
        let api = IdleApi::listen(dir.path(), daemon, LINES / containers);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tail-containers"));
        command.arg("--docker-root").arg(root.path()).args([
            "--json",
            "--tail",
            "all",
            "-o",
            "Mode=stream",
            "-o",
        ]);
        command.arg(format!("Docker_Socket={}", api.path.display()));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let lines = Arc::new(AtomicUsize::new(0));
        let (count, output) = (Arc::clone(&lines), child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for _ in BufReader::new(output).lines() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let reader = Reader {
            child,
            api,
            _root: root,
            _dir: dir,
        };
        let has_come = holds_within(PATIENCE, || lines.load(Ordering::SeqCst) >= LINES);
        assert!(
            has_come,
            "{} of {LINES} lines came",
            lines.load(Ordering::SeqCst)
        );
        // The events besides the streams, and no request.
        let is_idle = || reader.api.open.load(Ordering::SeqCst) == containers + 1;
        assert!(
            holds_within(PATIENCE, is_idle),
            "{} are open",
            reader.api.open.load(Ordering::SeqCst)
        );
        assert_eq!(lines.load(Ordering::SeqCst), LINES);
        reader
    }

    fn process(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id())).join(file)
    }

    /// Kilobytes of memory that are its own.
    fn memory(&self) -> usize {
        let rollup = std::fs::read_to_string(self.process("smaps_rollup")).expect("smaps_rollup");
        let anonymous = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"));
        let number = anonymous
            .and_then(|line| line.split_whitespace().next())
            .expect("a figure");
        number.parse().expect("a number")
    }

    fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(self.process("task"))
            .expect("its threads")
            .flatten();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let mut names: Vec<String> = tasks.map(|task| name(task).expect("a name")).collect();
        names.sort();
        names
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(self.process("fd"))
            .expect("its descriptors")
            .count()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn idle_containers_stay_within_bounds(daemon: Daemon) {
    let one = Reader::start(daemon, 1);
    let all = Reader::start(daemon, CONTAINERS);
    let more = CONTAINERS - 1;
    let each = all.memory().saturating_sub(one.memory()) / more;
    println!(
        "{daemon:?} daemon, {CONTAINERS} idle containers: {each} KiB each, {} in all",
        all.memory()
    );
    assert!(each < 64, "{each} KiB each");
    assert_eq!(all.threads(), one.threads());
    let docker_threads = all
        .threads()
        .iter()
        .filter(|name| name.trim() == "clogs-docker")
        .count();
    assert_eq!(docker_threads, 1, "{:?}", all.threads());
    let descriptors = || (one.descriptors(), all.descriptors());
    // A snapshot has its connection for a moment only.
    let is_one_each = holds_within(PATIENCE, || all.descriptors() == one.descriptors() + more);
    assert!(is_one_each, "{:?}", descriptors());
    // Of connections that are closed for new ones this end learns too late to count.
    if daemon == Daemon::New {
        let most = all.api.most_open.load(Ordering::SeqCst);
        assert!(most <= CONTAINERS + 2, "{most} connections at a time");
    }
}

#[test]
fn an_idle_stream_costs_a_descriptor_no_thread_and_little_memory() {
    idle_containers_stay_within_bounds(Daemon::New);
}

#[test]
fn an_idle_log_read_in_snapshots_costs_no_more_than_a_stream() {
    idle_containers_stay_within_bounds(Daemon::Old);
}
