//! A Docker root on disk, written the way dockerd writes it, for what a real
//! dockerd will not do on demand.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A data root with a `containers/` folder.
pub struct DockerRoot {
    path: PathBuf,
    /// Removes it at the end, unless it is in a folder of the caller's.
    _dir: Option<TempDir>,
}

impl DockerRoot {
    pub fn new() -> DockerRoot {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = DockerRoot::at(dir.path());
        DockerRoot {
            _dir: Some(dir),
            ..root
        }
    }

    /// In a folder of the caller's, which may exist.
    pub fn at(path: &Path) -> DockerRoot {
        std::fs::create_dir_all(path.join("containers")).expect("containers/");
        DockerRoot {
            path: path.to_owned(),
            _dir: None,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A container with metadata and an empty log file. `digit` is repeated to
    /// make its id.
    pub fn container(&self, digit: char, name: &str) -> LogWriter {
        let mut writer = self.created_container(digit, name);
        writer.open_log();
        writer
    }

    /// A container that was created and never started: no log file.
    pub fn created_container(&self, digit: char, name: &str) -> LogWriter {
        self.created_with_id(&digit.to_string().repeat(64), name)
    }

    /// As [`DockerRoot::created_container`], with this full id.
    pub fn created_with_id(&self, id: &str, name: &str) -> LogWriter {
        let id = id.to_owned();
        let dir = self.path().join("containers").join(&id);
        std::fs::create_dir(&dir).expect("a container's folder");
        let host_config = serde_json::json!({"LogConfig": {"Type": "json-file", "Config": {}}});
        replace(&dir, "hostconfig.json", &host_config);
        let writer = LogWriter {
            log: dir.join(format!("{id}-json.log")),
            id,
            dir,
            file: None,
            ticks: 0,
            year: 2023,
        };
        writer.write_config(name, true);
        writer
    }
}

/// Writes a file of a container by rename, as dockerd does: a reader sees all of it or nothing.
fn replace(dir: &Path, name: &str, text: &serde_json::Value) {
    let temporary = dir.join(format!(".tmp-{name}123"));
    std::fs::write(&temporary, text.to_string()).expect("the folder is ours");
    std::fs::rename(temporary, dir.join(name)).expect("the folder is ours");
}

/// Plays dockerd for one container.
pub struct LogWriter {
    pub id: String,
    pub dir: PathBuf,
    pub log: PathBuf,
    file: Option<File>,
    /// Nanoseconds that the clock of this writer has advanced; every record
    /// gets a time of its own.
    ticks: u64,
    /// The year of that clock.
    year: u32,
}

impl LogWriter {
    /// Replaces `config.v2.json` by rename, as dockerd does.
    pub fn write_config(&self, name: &str, is_running: bool) {
        self.write_config_with(name, is_running, serde_json::json!({}), &["A=b"]);
    }

    /// As [`LogWriter::write_config`], with labels and environment.
    pub fn write_config_with(
        &self,
        name: &str,
        is_running: bool,
        labels: serde_json::Value,
        env: &[&str],
    ) {
        let config = serde_json::json!({
            "ID": self.id,
            "Name": format!("/{name}"),
            "Config": {"Image": "shop/web:1.2", "Labels": labels, "Env": env, "Tty": false},
            "Image": "sha256:0123",
            "State": {"Running": is_running},
            "LogPath": "",
        });
        replace(&self.dir, "config.v2.json", &config);
    }

    /// Says in `config.v2.json` when the container was created.
    pub fn set_created(&self, time: &str) {
        let path = self.dir.join("config.v2.json");
        let config = std::fs::read(&path).expect("config.v2.json");
        let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        config["Created"] = time.into();
        replace(&self.dir, "config.v2.json", &config);
    }

    /// Says in `config.v2.json` when the container, which runs, was started.
    pub fn set_started(&self, time: &str) {
        self.set_state("StartedAt", &time.into());
    }

    /// Says something in `config.v2.json` about the container's state.
    pub fn set_state(&self, key: &str, value: &serde_json::Value) {
        let path = self.dir.join("config.v2.json");
        let config = std::fs::read(&path).expect("config.v2.json");
        let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        config["State"][key] = value.clone();
        replace(&self.dir, "config.v2.json", &config);
    }

    /// Opens the log as at a container's start: created or appended to.
    pub fn open_log(&mut self) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log)
            .expect("the log");
        self.file = Some(file);
    }

    /// Bytes as they are, in one write.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.file
            .as_mut()
            .expect("an open log")
            .write_all(bytes)
            .expect("a write");
    }

    /// One whole line of standard output.
    pub fn line(&mut self, text: &str) {
        self.entry("stdout", &format!("{text}\n"));
    }

    /// One entry with a time of its own; `text` with its line feed, or a piece.
    pub fn entry(&mut self, stream: &str, text: &str) {
        self.ticks += 1;
        let time = self.time();
        self.piece(stream, text, &time);
    }

    /// The coming entries are written in the same minute of this year.
    pub fn set_year(&mut self, year: u32) {
        self.year = year;
    }

    /// The time of the last entry.
    pub fn time(&self) -> String {
        format!(
            "{}-11-14T22:13:{:02}.{:09}Z",
            self.year,
            20 + self.ticks / 1_000_000_000,
            self.ticks % 1_000_000_000
        )
    }

    /// One entry with a time given.
    pub fn piece(&mut self, stream: &str, text: &str, time: &str) {
        let record = record(stream, text, time);
        self.raw(record.as_bytes());
    }

    /// A split line as dockerd splits it: pieces of 16 KiB under one time.
    pub fn long_line(&mut self, stream: &str, text: &str) {
        self.ticks += 1;
        let time = self.time();
        for piece in pieces(text) {
            self.piece(stream, &piece, &time);
        }
    }

    /// Rotates as dockerd 20.10 does for `max_file` ≥ 2: shift, rename,
    /// create anew. With `compress`, `.1` becomes `.1.gz` at once.
    pub fn rotate(&mut self, max_file: u32, compress: bool) {
        self.file = None;
        let suffix = if compress { ".gz" } else { "" };
        let name = |number: u32| PathBuf::from(format!("{}.{number}{suffix}", self.log.display()));
        let _ = std::fs::remove_file(name(max_file - 1));
        for number in (2..max_file).rev() {
            let _ = std::fs::rename(name(number - 1), name(number));
        }
        let plain = PathBuf::from(format!("{}.1", self.log.display()));
        std::fs::rename(&self.log, &plain).expect("rename to .1");
        self.file = Some(File::create_new(&self.log).expect("a new log"));
        if compress {
            let packed = File::create(name(1)).expect(".1.gz");
            // dockerd's own header: bare JSON in the extra field.
            let extra = format!("{{\"lastTime\":\"{}\"}}", self.time());
            let mut encoder = flate2::GzBuilder::new()
                .extra(extra)
                .write(packed, flate2::Compression::fast());
            std::io::copy(&mut File::open(&plain).expect(".1"), &mut encoder).expect("compress");
            encoder
                .finish()
                .expect("compress")
                .sync_all()
                .expect("sync");
            std::fs::remove_file(plain).expect("unlink .1");
        }
    }

    /// `max-file=1` of dockerd 23 and later: unlink and create anew.
    pub fn recreate(&mut self) {
        std::fs::remove_file(&self.log).expect("unlink the log");
        self.file = Some(File::create_new(&self.log).expect("a new log"));
    }

    /// `docker rm`: unlinks everything, in the order of the directory.
    pub fn remove(self) {
        for entry in std::fs::read_dir(&self.dir).expect("the folder") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("unlink");
        }
        std::fs::remove_dir(&self.dir).expect("rmdir");
    }
}

/// A record as dockerd writes it, with its line feed.
pub fn record(stream: &str, text: &str, time: &str) -> String {
    let log = serde_json::to_string(text).expect("a JSON string");
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
}

/// Cuts a line, without its line feed, as dockerd's copier does.
pub fn pieces(text: &str) -> Vec<String> {
    const PIECE: usize = 16 * 1024;
    let mut pieces: Vec<String> = text
        .as_bytes()
        .chunks(PIECE)
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect();
    match pieces.last_mut() {
        Some(last) if last.len() < PIECE => last.push('\n'),
        _ => pieces.push("\n".to_owned()),
    }
    pieces
}
