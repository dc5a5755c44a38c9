//! An API of Docker or Podman that the test plays, for what the daemons at hand will not do:
//! containers with a given state, log driver and log.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// A container as the API knows it.
#[derive(Clone, Debug)]
pub struct PlayedContainer {
    /// Its name.
    pub name: String,
    /// Its log driver.
    pub driver: String,
    /// Its state in the list: `running`, `exited`, `stopped` …
    pub state: String,
    /// Its log: 1 or 2 for the stream, the time and the text, with its line feed if it has one.
    /// `None` is answered with 501, as for a driver that cannot be read back.
    pub log: Option<Vec<(u8, String, String)>>,
}

impl PlayedContainer {
    /// A container that ended, with these lines of standard output in its log.
    pub fn ended(name: &str, driver: &str, lines: &[&str]) -> PlayedContainer {
        let entry = |(at, line): (usize, &&str)| {
            let time = format!("2026-11-26T10:00:00.{:09}Z", at + 1);
            (1, time, format!("{line}\n"))
        };
        PlayedContainer {
            name: name.to_owned(),
            driver: driver.to_owned(),
            state: "exited".to_owned(),
            log: Some(lines.iter().enumerate().map(entry).collect()),
        }
    }
}

/// What the threads share.
struct State {
    containers: HashMap<String, PlayedContainer>,
    podman: Option<&'static str>,
    requests: Mutex<Vec<String>>,
}

/// The API. Its socket is removed with it.
pub struct PlayedApi {
    dir: TempDir,
    state: Arc<State>,
}

impl PlayedApi {
    /// Docker's, with containers by their ids.
    pub fn of_docker(containers: impl IntoIterator<Item = (String, PlayedContainer)>) -> PlayedApi {
        PlayedApi::start(containers, None)
    }

    /// That of this release of Podman.
    pub fn of_podman(
        release: &'static str,
        containers: impl IntoIterator<Item = (String, PlayedContainer)>,
    ) -> PlayedApi {
        PlayedApi::start(containers, Some(release))
    }

    fn start(
        containers: impl IntoIterator<Item = (String, PlayedContainer)>,
        podman: Option<&'static str>,
    ) -> PlayedApi {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(dir.path().join("s")).expect("a socket");
        let state = Arc::new(State {
            containers: containers.into_iter().collect(),
            podman,
            requests: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // An error means that the other side has closed.
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        PlayedApi { dir, state }
    }

    /// Its socket, as the value of an option.
    pub fn socket(&self) -> String {
        self.path().display().to_string()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// The requests whose target has this part.
    pub fn requests(&self, part: &str) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        let wanted = requests.iter().filter(|target| target.contains(part));
        wanted.cloned().collect()
    }
}

impl State {
    fn answer(&self, stream: UnixStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first).ok()?;
        let target = first.split(' ').nth(1)?.to_owned();
        let mut header = String::new();
        while reader.read_line(&mut header).ok()? > 2 {
            header.clear();
        }
        self.requests.lock().unwrap().push(target.clone());
        let mut stream = reader.into_inner();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            ["events"] => {
                self.send(&mut stream, 200, "application/json", None)?;
                wait_for_close(&mut stream);
            }
            ["containers", "json"] => {
                let list: Vec<_> = self.containers.iter().map(summary).collect();
                self.send_json(&mut stream, 200, &serde_json::json!(list))?;
            }
            ["containers", id, "json"] => match self.containers.get(id) {
                Some(container) => self.send_json(&mut stream, 200, &inspection(id, container))?,
                None => self.send_error(&mut stream, 404, "No such container")?,
            },
            ["containers", id, "logs"] => {
                self.send_log(&mut stream, self.containers.get(id), query)?
            }
            _ => self.send_error(&mut stream, 404, "page not found")?,
        }
        Some(())
    }

    fn send_log(
        &self,
        stream: &mut UnixStream,
        container: Option<&PlayedContainer>,
        query: &str,
    ) -> Option<()> {
        let Some(container) = container else {
            return self.send_error(stream, 404, "No such container");
        };
        let Some(log) = &container.log else {
            let reason = "configured logging driver does not support reading";
            return self.send_error(stream, 501, reason);
        };
        self.send(
            stream,
            200,
            "application/vnd.docker.multiplexed-stream",
            None,
        )?;
        // All of it, whatever the request's time says: the reader knows what it has.
        for (kind, time, text) in log {
            let payload = format!("{time} {text}");
            let mut frame = vec![*kind, 0, 0, 0];
            frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            frame.extend_from_slice(payload.as_bytes());
            stream.write_all(&frame).ok()?;
        }
        if parameter(query, "follow") == Some("1") && container.state == "running" {
            wait_for_close(stream);
        }
        Some(())
    }

    fn send_json(
        &self,
        stream: &mut UnixStream,
        status: u16,
        body: &serde_json::Value,
    ) -> Option<()> {
        let body = body.to_string();
        self.send(stream, status, "application/json", Some(&body))
    }

    fn send_error(&self, stream: &mut UnixStream, status: u16, message: &str) -> Option<()> {
        let body = serde_json::json!({"message": message, "cause": message});
        self.send_json(stream, status, &body)
    }

    /// Without a length, the body ends with the connection.
    fn send(
        &self,
        stream: &mut UnixStream,
        status: u16,
        kind: &str,
        body: Option<&str>,
    ) -> Option<()> {
        let mut answer = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n");
        if let Some(release) = self.podman {
            answer.push_str(&format!("Libpod-API-Version: {release}\r\n"));
        }
        match body {
            Some(body) => {
                answer.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
            }
            None => answer.push_str("Connection: close\r\n\r\n"),
        }
        stream.write_all(answer.as_bytes()).ok()
    }
}

fn summary((id, container): (&String, &PlayedContainer)) -> serde_json::Value {
    serde_json::json!({"Id": id, "Names": [container.name], "State": container.state})
}

fn inspection(id: &str, container: &PlayedContainer) -> serde_json::Value {
    serde_json::json!({
        "Id": id,
        "Name": format!("/{}", container.name),
        "State": {"Status": container.state, "Running": container.state == "running"},
        "Config": {"Image": "shop/web:1.2", "Labels": {}, "Env": [], "Tty": false},
        "HostConfig": {"LogConfig": {"Type": container.driver, "Config": {}}},
    })
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let value = |pair: &'a str| pair.strip_prefix(name)?.strip_prefix('=');
    query.split('&').find_map(value)
}

fn wait_for_close(stream: &mut UnixStream) {
    let mut byte = [0];
    while matches!(stream.read(&mut byte), Ok(1..)) {}
}
