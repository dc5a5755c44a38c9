//! The storage of a Podman 5, written by a test: containers in the lists and in the database, as
//! Podman leaves them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{json, Value};

use crate::user_storage::line;

/// A storage, and the run root that belongs to it.
pub struct PodmanStorage {
    dir: PathBuf,
    run_root: PathBuf,
    /// Whether everything is written to the run root (`podman --transient-store`).
    pub is_transient: bool,
}

/// How a container is started.
#[derive(Clone)]
pub struct Start<'a> {
    pub name: &'a str,
    pub image: &'a str,
    pub labels: Value,
    pub env: &'a [&'a str],
    pub driver: &'a str,
    /// `--log-opt path`.
    pub log: Option<PathBuf>,
    /// When it was created, if the database says that.
    pub created: Option<&'a str>,
    /// `--rm`, which every Quadlet unit has.
    pub is_removed_at_its_end: bool,
}

impl Default for Start<'_> {
    fn default() -> Self {
        Start {
            name: "web",
            image: "docker.io/library/nginx:1.27",
            labels: json!({}),
            env: &[],
            driver: "k8s-file",
            log: None,
            created: None,
            is_removed_at_its_end: false,
        }
    }
}

/// A container that runs.
pub struct PodmanContainer {
    pub id: String,
    pub log: PathBuf,
    file: Option<File>,
}

/// Podman, writing until this is dropped.
pub struct Writing {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking(),
            "Podman was held up"
        );
    }
}

impl PodmanContainer {
    pub fn line(&mut self, text: &str) {
        let file = self.file.as_mut().expect("its driver has a file");
        file.write_all(line(text).as_bytes()).expect("a log");
    }

    /// A line of this second of 2024-01-01.
    pub fn line_at(&mut self, second: u32, text: &str) {
        let line = format!("2024-01-01T00:00:{second:02}.5+00:00 stdout F {text}\n");
        let file = self.file.as_mut().expect("its driver has a file");
        file.write_all(line.as_bytes()).expect("a log");
    }
}

impl PodmanStorage {
    /// An empty storage below `dir`.
    pub fn new(dir: &Path) -> PodmanStorage {
        let dir = dir.canonicalize().expect("a folder");
        PodmanStorage::at(&dir.join("storage"), &dir.join("run/containers/storage"))
    }

    /// An empty storage with these folders.
    pub fn at(storage: &Path, run_root: &Path) -> PodmanStorage {
        let storage = PodmanStorage {
            dir: storage.to_owned(),
            run_root: run_root.to_owned(),
            is_transient: false,
        };
        fs::create_dir_all(storage.containers()).expect("a folder");
        fs::create_dir_all(storage.run_root.join("overlay-containers")).expect("a folder");
        storage
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn containers(&self) -> PathBuf {
        self.dir.join("overlay-containers")
    }

    /// Where lists of volatile containers and the database are.
    fn root(&self) -> &Path {
        match self.is_transient {
            true => &self.run_root,
            false => &self.dir,
        }
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root().join("db.sql")
    }

    fn list(&self, is_volatile: bool) -> PathBuf {
        match is_volatile || self.is_transient {
            true => self
                .root()
                .join("overlay-containers/volatile-containers.json"),
            false => self.containers().join("containers.json"),
        }
    }

    fn open(&self) -> Connection {
        let database = Connection::open(self.database()).expect("a database");
        let table = "CREATE TABLE IF NOT EXISTS ContainerConfig(ID TEXT PRIMARY KEY NOT NULL, \
                     Name TEXT UNIQUE NOT NULL, PodID TEXT, JSON TEXT NOT NULL)";
        database.execute(table, []).expect("a table");
        database
    }

    /// Replaces a list, as Podman does: by another file.
    fn rewrite(&self, path: &Path, change: impl FnOnce(&mut Vec<Value>)) {
        let old = fs::read(path).unwrap_or_else(|_| b"[]".to_vec());
        let mut list: Vec<Value> = serde_json::from_slice(&old).expect("a list");
        change(&mut list);
        let next = path.with_extension("next");
        fs::write(&next, serde_json::to_vec(&list).expect("JSON")).expect("a list");
        fs::rename(next, path).expect("a list");
    }

    /// Makes a container of 64 times `digit`, and starts it: folder, list, database, log.
    pub fn run(&self, digit: char, start: &Start<'_>) -> PodmanContainer {
        let (id, userdata) = (digit.to_string().repeat(64), self.userdata(digit));
        let log = start
            .log
            .clone()
            .unwrap_or_else(|| userdata.join("ctr.log"));
        let (name, image) = (start.name, start.image);
        self.rewrite(&self.list(start.is_removed_at_its_end), |list| {
            let metadata = json!({"image-name": image, "image-id": "x", "name": name}).to_string();
            let flags = json!({"Volatile": start.is_removed_at_its_end});
            list.push(json!({"id": id, "names": [name], "metadata": metadata, "flags": flags}));
        });
        fs::create_dir_all(&userdata).expect("a folder");
        let config = json!({
            "spec": {"ociVersion": "1.2.0", "process": {"env": start.env}},
            "id": id, "name": name, "rootfsImageName": image, "labels": start.labels,
            "staticDir": userdata, "logDriver": start.driver,
            "createdTime": start.created,
            "logPath": if start.driver == "journald" { Value::from("") } else { json!(log) },
        });
        let insert = "INSERT INTO ContainerConfig VALUES (?1, ?2, NULL, ?3)";
        let row = (&id, name, config.to_string().into_bytes());
        self.open().execute(insert, row).expect("a row");
        let spec = json!({"annotations": {"io.container.manager": "libpod"}});
        let bundle = match self.is_transient {
            true => self
                .run_root
                .join(format!("overlay-containers/{id}/userdata")),
            false => userdata,
        };
        fs::create_dir_all(&bundle).expect("a folder");
        fs::write(bundle.join("config.json"), spec.to_string()).expect("a specification");
        let has_file = ["k8s-file", "json-file"].contains(&start.driver);
        let file = has_file.then(|| {
            fs::create_dir_all(log.parent().expect("a folder")).expect("a folder");
            let opened = File::options().append(true).create(true).open(&log);
            opened.expect("a log")
        });
        PodmanContainer { id, log, file }
    }

    /// Podman commands that follow each other without a pause: each writes to the database. `mode`
    /// is how SQLite does that.
    pub fn write_all_the_time(&self, mode: &str) -> Writing {
        let database = self.open();
        database
            .pragma_update(None, "journal_mode", mode)
            .expect("a mode");
        let table = "CREATE TABLE ContainerExecSession(ID TEXT)";
        database.execute(table, []).expect("a table");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                let change = "INSERT INTO ContainerExecSession VALUES (hex(randomblob(500)))";
                database.execute(change, []).expect("a row");
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Writing {
            is_over,
            thread: Some(thread),
        }
    }

    /// The folder of the container of 64 times `digit`.
    pub fn userdata(&self, digit: char) -> PathBuf {
        let id = digit.to_string().repeat(64);
        self.containers().join(id).join("userdata")
    }

    /// `podman rm`: the folder goes, and a log elsewhere stays.
    pub fn remove(&self, container: &PodmanContainer) {
        let delete = "DELETE FROM ContainerConfig WHERE ID = ?1";
        let row = self.open().execute(delete, [&container.id]);
        row.expect("no row");
        for is_volatile in [false, true] {
            self.rewrite(&self.list(is_volatile), |list| {
                list.retain(|it| it["id"] != *container.id);
            });
        }
        let folder = self.containers().join(&container.id);
        fs::remove_dir_all(folder).expect("a folder");
    }

    /// conmon runs: its pipe is there.
    pub fn monitor(&self, digit: char) {
        fs::write(self.userdata(digit).join("ctl"), "").expect("a pipe");
    }

    /// Removes the container from the database, and from nowhere else.
    pub fn forget(&self, digit: char) {
        let id = digit.to_string().repeat(64);
        let delete = "DELETE FROM ContainerConfig WHERE ID = ?1";
        self.open().execute(delete, [id]).expect("no row");
    }

    /// `podman rename`: the database, then the list, whose metadata keep the first name.
    pub fn rename(&self, container: &PodmanContainer, name: &str) {
        let update = "UPDATE ContainerConfig SET Name = ?2, JSON = CAST(json_set(CAST(JSON AS TEXT), '$.name', ?2) AS BLOB) \
                      WHERE ID = ?1";
        self.open()
            .execute(update, (&container.id, name))
            .expect("a row");
        for is_volatile in [false, true] {
            self.rewrite(&self.list(is_volatile), |list| {
                let ours = list.iter_mut().filter(|it| it["id"] == *container.id);
                ours.for_each(|it| it["names"] = json!([name]));
            });
        }
    }
}
