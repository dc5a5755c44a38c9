//! A log driver of a plugin, played by the test for a real dockerd: it keeps what it gets, as
//! Loki's may, so `docker logs` works although dockerd writes no file and no cache.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use test_kit::collector::Collector;
use test_kit::dockerd::Dockerd;
use test_kit::skip;
use test_kit::writer::{of_lengths, Stream};

/// The name of the driver.
const DRIVER: &str = "keeper";

/// What the plugin has of one container: entries as dockerd sent them.
#[derive(Default)]
struct Kept {
    entries: Vec<u8>,
    has_ended: bool,
}

#[derive(Default)]
struct Keeper {
    /// The root of the file system that dockerd sees.
    root: PathBuf,
    kept: Mutex<HashMap<String, Arc<Mutex<Kept>>>>,
}

/// Makes a driver known to a private dockerd, in whose namespace `/etc` is its own.
fn install(docker: &Dockerd) -> Result<(), String> {
    let dir = docker.root().parent().ok_or("the daemon has a folder")?;
    let root = root_of_daemon(dir).ok_or("no process of this dockerd is found")?;
    let socket = dir.join("plugin.sock");
    let listener = UnixListener::bind(&socket).map_err(|error| error.to_string())?;
    let specs = root.join("etc/docker/plugins");
    fs::create_dir_all(&specs).map_err(|error| error.to_string())?;
    let spec = format!("unix://{}", socket.display());
    fs::write(specs.join(format!("{DRIVER}.spec")), spec).map_err(|error| error.to_string())?;
    let keeper = Arc::new(Keeper {
        root,
        ..Keeper::default()
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keeper = Arc::clone(&keeper);
            // An error is the end of the daemon.
            std::thread::spawn(move || keeper.answer(stream));
        }
    });
    Ok(())
}

/// The root directory of the dockerd that was started with this folder.
fn root_of_daemon(dir: &Path) -> Option<PathBuf> {
    let dir = dir.display().to_string();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let daemon = processes.map(|entry| entry.path()).find(|process| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let program = command.split('\0').next().unwrap_or_default();
        program.ends_with("dockerd") && command.contains(&dir)
    });
    Some(daemon?.join("root"))
}

impl Keeper {
    fn answer(&self, stream: UnixStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first).ok()? == 0 {
                return None;
            }
            let target = first.split(' ').nth(1)?.to_owned();
            let body = read_body(&mut reader)?;
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = asked["Info"]["ContainerID"].as_str().unwrap_or_default();
            let stream = reader.get_mut();
            match target.as_str() {
                "/Plugin.Activate" => send(stream, r#"{"Implements":["LogDriver"]}"#)?,
                "/LogDriver.Capabilities" => send(stream, r#"{"Cap":{"ReadLogs":true}}"#)?,
                "/LogDriver.StartLogging" => {
                    let file = asked["File"].as_str()?.trim_start_matches('/');
                    let (kept, fifo) = (self.kept(id), self.root.join(file));
                    std::thread::spawn(move || keep(&kept, &fifo));
                    send(stream, r#"{"Err":""}"#)?;
                }
                "/LogDriver.ReadLogs" => {
                    let follows = asked["Config"]["Follow"].as_bool().unwrap_or_default();
                    return send_log(stream, &self.kept(id), follows);
                }
                _ => send(stream, r#"{"Err":""}"#)?,
            }
        }
    }

    fn kept(&self, id: &str) -> Arc<Mutex<Kept>> {
        let mut kept = self.kept.lock().unwrap();
        Arc::clone(kept.entry(id.to_owned()).or_default())
    }
}

fn read_body(reader: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut is_chunked = false;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        is_chunked |= header == "transfer-encoding: chunked";
    }
    let mut body = Vec::new();
    loop {
        if is_chunked {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            length = usize::from_str_radix(size.trim(), 16).ok()?;
        }
        let mut piece = vec![0; length];
        reader.read_exact(&mut piece).ok()?;
        body.extend(piece);
        if !is_chunked {
            return Some(body);
        }
        reader.read_line(&mut String::new()).ok()?;
        if length == 0 {
            return Some(body);
        }
    }
}

fn send(stream: &mut UnixStream, body: &str) -> Option<()> {
    let kind = "application/vnd.docker.plugins.v1.1+json";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).ok()
}

/// Keeps what dockerd writes until the container's logger is closed.
fn keep(kept: &Mutex<Kept>, fifo: &Path) {
    kept.lock().unwrap().has_ended = false;
    let mut buffer = vec![0; 64 * 1024];
    if let Ok(mut fifo) = File::open(fifo) {
        while let Ok(length @ 1..) = fifo.read(&mut buffer) {
            let mut kept = kept.lock().unwrap();
            kept.entries.extend_from_slice(&buffer[..length]);
        }
    }
    kept.lock().unwrap().has_ended = true;
}

fn send_log(stream: &mut UnixStream, kept: &Mutex<Kept>, follows: bool) -> Option<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-json-stream\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    let mut sent = 0;
    loop {
        let (rest, has_ended) = {
            let kept = kept.lock().unwrap();
            (kept.entries[sent..].to_vec(), kept.has_ended)
        };
        stream.write_all(&rest).ok()?;
        sent += rest.len();
        if rest.is_empty() && (has_ended || !follows) {
            return Some(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_container_with_a_plugin_as_driver_is_read_whether_it_runs_or_ended_before() {
    let test =
        "log_plugin::a_container_with_a_plugin_as_driver_is_read_whether_it_runs_or_ended_before";
    let docker = match Dockerd::start() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    install(&docker).expect("the driver is installed");
    let script = of_lengths(Stream::Stdout, &[0, 1, 100, 16_384, 40_000]);
    let with_driver = ["--log-driver", DRIVER];
    let ended = docker
        .run_detached("ended", &with_driver, &script.sh)
        .expect("docker run");
    docker.wait(&ended).expect("it ends");
    let folder = docker.root().join("containers").join(&ended);
    let names = fs::read_dir(&folder).expect("its folder").flatten();
    let logs = names.filter(|entry| entry.file_name().to_string_lossy().contains("log"));
    assert_eq!(logs.count(), 0, "dockerd keeps no log of it");
    let socket = format!("unix://{}", docker.socket().display());
    let collector = Collector::start(docker.root(), &[("Docker_Socket", &socket)]);
    collector.assert_arrives(&ended, &script, "ended before");
    let live = docker
        .run_detached("live", &with_driver, &format!("{}; sleep 2", script.sh))
        .expect("docker run");
    collector.assert_arrives(&live, &script, "live");
}
