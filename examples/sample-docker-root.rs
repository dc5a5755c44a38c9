//! Fills a directory as a live Docker root would be filled: three containers of
//! an invented web shop, whose json-file logs grow until the program is killed or
//! its time is over. `make demo` uses it where no container is at hand.
//!
//! ```text
//! sample-docker-root DIR [--seconds N]
//! ```
//!
//! The files are what dockerd 20.10 writes, byte by byte where a reader could
//! tell: one `write` per record, key order and escapes of `jsonlogbytes.go`, lines
//! over 16 KiB in pieces that all have the time of the first, rotation by renaming
//! before the write that finds the file full, configurations replaced by renaming.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{json, Value};

const USAGE: &str = "usage: sample-docker-root DIR [--seconds N]";

/// Docker's copier gives a line to the log driver when it holds so many bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// How often the containers are asked whether they have something to say.
const TICK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let Some((root, time)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match write_logs(&root, time) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sample-docker-root: {}: {error}", root.display());
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Option<(PathBuf, Duration)> {
    let mut root = None;
    let mut time = Duration::MAX;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => time = Duration::from_secs(words.next()?.parse().ok()?),
            option if option.starts_with('-') => return None,
            _ if root.is_none() => root = Some(PathBuf::from(word)),
            _ => return None,
        }
    }
    Some((root?, time))
}

fn write_logs(root: &Path, time: Duration) -> io::Result<()> {
    let mut dice = Dice(RandomState::new().hash_one(()) | 1);
    let mut containers = shop()
        .into_iter()
        .map(|plan| Container::create(root, plan, &mut dice))
        .collect::<Result<Vec<_>, _>>()?;
    println!("three containers write below {}", root.display());
    let start = Instant::now();
    while start.elapsed() < time {
        for container in &mut containers {
            if dice.roll(1000) < container.plan.lines_per_1000_ticks {
                container.number += 1;
                let (stream, line) = (container.plan.speak)(container.number, &mut dice);
                container.log.line(stream, line.as_bytes())?;
            }
        }
        std::thread::sleep(TICK);
    }
    containers
        .iter()
        .try_for_each(|container| container.write_config(Some(SystemTime::now())))
}

/// What makes one container different from another.
struct Plan {
    name: &'static str,
    image: &'static str,
    command: &'static [&'static str],
    labels: Value,
    /// The options of its log driver, as Docker keeps them.
    log_options: Value,
    /// Docker's meaning of `log_options`: bytes and files, when it rotates.
    rotation: Option<(u64, u32)>,
    /// Docker's meaning of `log_options`: what each record carries along.
    attrs: &'static str,
    lines_per_1000_ticks: u64,
    speak: fn(u64, &mut Dice) -> (&'static str, String),
}

fn shop() -> [Plan; 3] {
    let compose = |service: &str| {
        json!({
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": service,
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "False",
        })
    };
    [
        Plan {
            name: "shop-storefront-1",
            image: "nginx:1.27",
            command: &["nginx", "-g", "daemon off;"],
            labels: compose("storefront"),
            log_options: json!({"max-size": "8k", "max-file": "3"}),
            rotation: Some((8_000, 3)),
            attrs: "",
            lines_per_1000_ticks: 400,
            speak: storefront,
        },
        Plan {
            name: "shop-checkout-1",
            image: "registry.example.com/shop/checkout:2.4.1",
            command: &["/app/checkout", "--port", "8080"],
            labels: compose("checkout"),
            log_options: json!({}),
            rotation: None,
            attrs: "",
            lines_per_1000_ticks: 150,
            speak: checkout,
        },
        Plan {
            name: "stock-keeper",
            image: "python:3.12-slim",
            command: &["python", "-u", "stock.py"],
            labels: json!({"team": "warehouse"}),
            log_options: json!({"labels": "team"}),
            rotation: None,
            attrs: r#"{"team":"warehouse"}"#,
            lines_per_1000_ticks: 80,
            speak: stock_keeper,
        },
    ]
}

const GOODS: [&str; 5] = [
    "teapot",
    "lantern",
    "bookshelf",
    "café-crème-set",
    "umbrella",
];

fn storefront(number: u64, dice: &mut Dice) -> (&'static str, String) {
    let goods = dice.pick(&GOODS);
    let client = format!("10.0.{}.{}", dice.roll(4), dice.roll(250) + 1);
    if number.is_multiple_of(23) {
        let error = format!("[error] 29#29: *{number} open() \"/usr/share/nginx/html/{goods}.webp\" failed (2: No such file or directory), client: {client}");
        return ("stderr", error);
    }
    let bytes = 500 + dice.roll(20_000);
    let request = format!(
        "GET /goods/{goods}?page={}&sort=price HTTP/1.1",
        dice.roll(9) + 1
    );
    (
        "stdout",
        format!("{client} - - \"{request}\" 200 {bytes} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\""),
    )
}

fn checkout(number: u64, dice: &mut Dice) -> (&'static str, String) {
    let order = 70_000 + number;
    let item = |dice: &mut Dice| json!({"goods": dice.pick(&GOODS), "pieces": dice.roll(5) + 1, "cents": 500 + dice.roll(9000)});
    match number % 20 {
        // A bulk order: some 40 KiB in one line.
        7 => {
            let items: Vec<Value> = (0..800).map(|_| item(dice)).collect();
            (
                "stdout",
                json!({"level": "info", "msg": "bulk order", "order": order, "items": items})
                    .to_string(),
            )
        }
        13 => (
            "stderr",
            format!(
                "panic: payment of order {order} declined <retry in {}s> & kept",
                dice.roll(30)
            ),
        ),
        _ => (
            "stdout",
            json!({"level": "info", "msg": "order placed", "order": order, "items": [item(dice)]})
                .to_string(),
        ),
    }
}

fn stock_keeper(number: u64, dice: &mut Dice) -> (&'static str, String) {
    let goods = dice.pick(&GOODS);
    match number % 9 {
        4 => (
            "stderr",
            format!("Traceback (most recent call last):\tStockError: {goods} is sold out"),
        ),
        _ => (
            "stdout",
            format!(
                "INFO\t{goods}: {} left in the warehouse of Zürich",
                dice.roll(400)
            ),
        ),
    }
}

/// One container: its folder with the two configurations and the log.
struct Container {
    plan: Plan,
    id: String,
    folder: PathBuf,
    started: SystemTime,
    log: Log,
    /// Of the last line.
    number: u64,
}

impl Container {
    fn create(root: &Path, plan: Plan, dice: &mut Dice) -> io::Result<Container> {
        let id: String = (0..64)
            .map(|_| char::from(b"0123456789abcdef"[dice.roll(16) as usize]))
            .collect();
        let folder = root.join("containers").join(&id);
        DirBuilder::new()
            .recursive(true)
            .mode(0o710)
            .create(&folder)?;
        let log = Log::open(
            folder.join(format!("{id}-json.log")),
            plan.rotation,
            plan.attrs,
        )?;
        let container = Container {
            plan,
            id,
            folder,
            started: SystemTime::now(),
            log,
            number: 0,
        };
        let host = json!({
            "Binds": null,
            "LogConfig": {"Type": "json-file", "Config": container.plan.log_options},
            "NetworkMode": "none",
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": false,
        });
        replace(&container.folder.join("hostconfig.json"), 0o644, &host)?;
        container.write_config(None)?;
        Ok(container)
    }

    fn write_config(&self, finished: Option<SystemTime>) -> io::Result<()> {
        let plan = &self.plan;
        let started = rfc3339_nano(self.started);
        let config = json!({
            "State": {
                "Running": finished.is_none(), "Paused": false, "Restarting": false, "OOMKilled": false,
                "RemovalInProgress": false, "Dead": false, "Pid": u32::from(finished.is_none()), "ExitCode": 0,
                "Error": "", "StartedAt": started,
                "FinishedAt": finished.map_or("0001-01-01T00:00:00Z".to_owned(), rfc3339_nano),
            },
            "ID": self.id,
            "Created": started,
            "Path": plan.command.first(),
            "Args": plan.command.get(1..),
            "Config": {
                "Hostname": self.id.get(..12), "Tty": false, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "Cmd": plan.command, "Image": plan.image, "Labels": plan.labels,
            },
            "Image": format!("sha256:{}", self.id),
            "LogPath": self.log.path,
            "Name": format!("/{}", plan.name),
            "Driver": "overlay2",
            "OS": "linux",
            "RestartCount": 0,
        });
        replace(&self.folder.join("config.v2.json"), 0o600, &config)
    }
}

/// As Docker replaces its configurations: written under another name, then renamed.
fn replace(path: &Path, mode: u32, content: &Value) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".tmp-{name}{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

/// A log as the json-file driver writes it.
struct Log {
    path: PathBuf,
    file: File,
    /// The driver's own count; it does not ask the file.
    size: u64,
    /// Largest size and number of files.
    rotation: Option<(u64, u32)>,
    attrs: &'static str,
}

impl Log {
    fn open(path: PathBuf, rotation: Option<(u64, u32)>, attrs: &'static str) -> io::Result<Log> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&path)?;
        Ok(Log {
            path,
            file,
            size: 0,
            rotation,
            attrs,
        })
    }

    /// A line that a container has written. One of exactly so many bytes as a
    /// piece has becomes that piece and one that is only a line feed.
    fn line(&mut self, stream: &str, mut line: &[u8]) -> io::Result<()> {
        let time = rfc3339_nano(SystemTime::now());
        while let Some((piece, rest)) = line.split_at_checked(PIECE_BYTES) {
            self.record(stream, piece, "", &time)?;
            line = rest;
        }
        self.record(stream, line, "\\n", &time)
    }

    fn record(&mut self, stream: &str, text: &[u8], end: &str, time: &str) -> io::Result<()> {
        let mut record = String::with_capacity(text.len() + 100);
        record.push_str("{\"log\":\"");
        escape(&mut record, text);
        record.push_str(end);
        record.push_str("\",\"stream\":\"");
        record.push_str(stream);
        if !self.attrs.is_empty() {
            record.push_str("\",\"attrs\":");
            record.push_str(self.attrs);
            record.push_str(",\"time\":\"");
        } else {
            record.push_str("\",\"time\":\"");
        }
        record.push_str(time);
        record.push_str("\"}\n");
        if self.rotation.is_some_and(|(size, _)| self.size >= size) {
            self.rotate()?;
        }
        self.file.write_all(record.as_bytes())?;
        self.size += record.len() as u64;
        Ok(())
    }

    /// The oldest is deleted, the others move up, and a new file is begun, which
    /// dockerd does not open for appending.
    fn rotate(&mut self) -> io::Result<()> {
        let rotated = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        let kept = self
            .rotation
            .map_or(1, |(_, files)| files.saturating_sub(1).max(1));
        ignore_missing(fs::remove_file(rotated(kept)))?;
        for number in (1..kept).rev() {
            ignore_missing(fs::rename(rotated(number), rotated(number + 1)))?;
        }
        ignore_missing(fs::rename(&self.path, rotated(1)))?;
        self.file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The escapes of Docker's `ffjsonWriteJSONBytesAsString`: no short forms for tab,
/// backspace and form feed, and one `\ufffd` for each byte that is not UTF-8.
fn escape(record: &mut String, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => record.push_str("\\\""),
                '\\' => record.push_str("\\\\"),
                '\n' => record.push_str("\\n"),
                '\r' => record.push_str("\\r"),
                '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    // Writing to a String cannot fail.
                    let _ = write!(record, "\\u{:04x}", u32::from(character));
                }
                _ => record.push(character),
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|_| record.push_str("\\ufffd"));
    }
}

/// Go's `time.RFC3339Nano` in UTC: the zeros at the end of the fraction are left
/// out, and on a whole second the fraction.
fn rfc3339_nano(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.to_string()
}

/// Chance enough for a demonstration: xorshift64.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a>(&mut self, things: &[&'a str]) -> &'a str {
        let index = self.roll(things.len() as u64) as usize;
        things.get(index).copied().unwrap_or_default()
    }
}
