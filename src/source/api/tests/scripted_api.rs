//! A Docker API that a test scripts, on plain threads, and a sink that passes its calls to the
//! test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::socket::DockerSocket;
use crate::format::position::{Stream, Timestamp};
use crate::runtime::id::ContainerId;
use crate::source::api::{ContainerAction, DockerThread, StreamEnd, StreamSink};

/// A test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn id(number: u8) -> ContainerId {
    ContainerId::from_bytes([number; 32])
}

/// Waits for `holds`.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One request, and the connection to answer it on.
pub struct Call {
    /// Path and query.
    pub target: String,
    /// How many requests with this path (without query) came before.
    pub number: usize,
    pub stream: UnixStream,
}

impl Call {
    pub fn is_logs_of(&self, id: ContainerId) -> bool {
        self.target.starts_with(&format!("/containers/{id}/logs?"))
    }

    /// The head of a body in chunks.
    pub fn begin(&mut self, content_type: &str) {
        let head = format!("HTTP/1.1 200 OK\r\n{content_type}Transfer-Encoding: chunked\r\n\r\n");
        self.send(head.as_bytes());
    }

    /// Sends one chunk. Returns whether it could be sent.
    pub fn chunk(&mut self, bytes: &[u8]) -> bool {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk)
    }

    pub fn end(&mut self) {
        self.send(b"0\r\n\r\n");
    }

    /// Sends a complete response.
    pub fn answer(&mut self, status: &str, body: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.send(answer.as_bytes());
    }

    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Waits until the other side closes.
    pub fn hold(&mut self) {
        let mut byte = [0];
        while matches!(std::io::Read::read(&mut self.stream, &mut byte), Ok(1..)) {}
    }
}

pub const MULTIPLEXED: &str = "Content-Type: application/vnd.docker.multiplexed-stream\r\n";
pub const RAW: &str = "Content-Type: application/vnd.docker.raw-stream\r\n";

/// The server. Its socket file is removed with the folder.
pub struct ScriptedApi {
    pub path: PathBuf,
    pub open: Arc<AtomicUsize>,
    pub accepted: Arc<AtomicUsize>,
    pub targets: Arc<Mutex<Vec<String>>>,
    stopping: Arc<AtomicBool>,
}

impl ScriptedApi {
    /// Listens at `path`; `script` answers each call on a thread of its own.
    pub fn listen(path: &Path, script: impl Fn(&mut Call) + Send + Sync + 'static) -> ScriptedApi {
        let listener = UnixListener::bind(path).unwrap();
        let api = ScriptedApi {
            path: path.to_owned(),
            open: Arc::default(),
            accepted: Arc::default(),
            targets: Arc::default(),
            stopping: Arc::default(),
        };
        let (open, accepted) = (Arc::clone(&api.open), Arc::clone(&api.accepted));
        let (targets, stopping) = (Arc::clone(&api.targets), Arc::clone(&api.stopping));
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (open, targets, script) =
                    (Arc::clone(&open), Arc::clone(&targets), Arc::clone(&script));
                let work = move || {
                    if let Some(mut call) = read_call(stream, &targets) {
                        script(&mut call);
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                };
                std::thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn(work)
                    .unwrap();
            }
        });
        api
    }

    /// How often the path was requested.
    pub fn calls(&self, path: &str) -> usize {
        let targets = self.targets.lock().unwrap();
        targets
            .iter()
            .filter(|target| target.split('?').next() == Some(path))
            .count()
    }
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn read_call(stream: UnixStream, targets: &Mutex<Vec<String>>) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let target = first.split(' ').nth(1)?.to_owned();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
    }
    let path = target.split('?').next()?.to_owned();
    let mut targets = targets.lock().unwrap();
    let number = targets
        .iter()
        .filter(|target| target.split('?').next() == Some(&path))
        .count();
    targets.push(target.clone());
    Some(Call {
        target,
        number,
        stream: reader.into_inner(),
    })
}

/// A call of the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Entry(ContainerId, Stream, Timestamp, String, bool),
    Flush(ContainerId),
    Ended(ContainerId, StreamEnd),
    Lost(ContainerId),
    Event(ContainerId, ContainerAction),
    Daemon(Result<(), String>),
}

/// Passes each call to the test, and answers as the test wants.
pub struct TestSink {
    told: Sender<Told>,
    has_space: Arc<AtomicBool>,
    since: HashMap<ContainerId, Timestamp>,
}

impl StreamSink for TestSink {
    fn has_space(&mut self) -> bool {
        self.has_space.load(Ordering::SeqCst)
    }

    fn entry(
        &mut self,
        id: &ContainerId,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        ends_line: bool,
    ) {
        self.since.insert(*id, time);
        let text = String::from_utf8_lossy(text).into_owned();
        let _ = self
            .told
            .send(Told::Entry(*id, stream, time, text, ends_line));
    }

    fn flush(&mut self, id: &ContainerId) {
        let _ = self.told.send(Told::Flush(*id));
    }

    fn ended(&mut self, id: &ContainerId, end: StreamEnd) {
        let _ = self.told.send(Told::Ended(*id, end));
    }

    fn lost(&mut self, id: &ContainerId) {
        let _ = self.told.send(Told::Lost(*id));
    }

    fn event(&mut self, id: &ContainerId, action: ContainerAction) {
        let _ = self.told.send(Told::Event(*id, action));
    }

    fn daemon(&mut self, reachable: Result<(), String>) {
        let _ = self.told.send(Told::Daemon(reachable));
    }

    fn since(&mut self, id: &ContainerId) -> Option<Timestamp> {
        self.since.get(id).copied()
    }
}

/// A thread under test and the calls of its sink.
pub struct Bench {
    pub thread: DockerThread,
    pub told: Receiver<Told>,
    pub has_space: Arc<AtomicBool>,
}

impl Bench {
    pub fn at(path: &Path) -> Bench {
        let (sender, told) = channel();
        let has_space = Arc::new(AtomicBool::new(true));
        let sink = TestSink {
            told: sender,
            has_space: Arc::clone(&has_space),
            since: HashMap::new(),
        };
        let thread =
            DockerThread::start(DockerSocket::Unix(path.to_owned()), Box::new(sink)).unwrap();
        Bench {
            thread,
            told,
            has_space,
        }
    }

    /// Waits for the first call that `wanted` accepts.
    pub fn wait_for<T>(&self, what: &str, mut wanted: impl FnMut(Told) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut others = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(told) => {
                    others.push(format!("{told:.300?}"));
                    if let Some(found) = wanted(told) {
                        return found;
                    }
                }
                Err(_) => panic!("not within {DEADLINE:?}: {what}; told {others:#?}"),
            }
        }
    }

    /// Returns the texts of the next `count` entries of `id`.
    pub fn texts(&self, id: ContainerId, count: usize) -> Vec<String> {
        (0..count)
            .map(|at| {
                self.wait_for(&format!("entry {at}"), |told| match told {
                    Told::Entry(of, _, _, text, _) if of == id => Some(text),
                    _ => None,
                })
            })
            .collect()
    }

    /// Returns how the stream of `id` ends next.
    pub fn end_of(&self, id: ContainerId) -> StreamEnd {
        self.wait_for("an end", |told| match told {
            Told::Ended(of, end) if of == id => Some(end),
            _ => None,
        })
    }
}
