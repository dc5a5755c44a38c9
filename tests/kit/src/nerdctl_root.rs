//! A data root of nerdctl on disk, written as nerdctl 2.1 writes it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::bolt::{database, text, texts, Bucket, Value};
use super::docker_root::record;

/// The hash of containerd's usual address.
const ADDRESS: &str = "1935db59";

/// Plays nerdctl and containerd for one container.
pub struct NerdctlContainer {
    pub id: String,
    pub dir: PathBuf,
    pub log: PathBuf,
    store: PathBuf,
    namespace: String,
    state: PathBuf,
    file: Option<File>,
    rotations: u32,
    ticks: u64,
}

impl NerdctlContainer {
    /// In the namespace `default` of a data root, with an empty log. `digit` is repeated to make
    /// its id.
    pub fn new(root: &Path, digit: char, name: &str) -> NerdctlContainer {
        NerdctlContainer::with(root, "default", digit, name, "json-file", &[])
    }

    /// In a namespace, with a log driver and its options; `log-path` puts the log elsewhere.
    pub fn with(
        root: &Path,
        namespace: &str,
        digit: char,
        name: &str,
        driver: &str,
        options: &[(&str, &str)],
    ) -> NerdctlContainer {
        let id = digit.to_string().repeat(64);
        let store = root.join(ADDRESS);
        let dir = store.join("containers").join(namespace).join(&id);
        fs::create_dir_all(&dir).expect("folders");
        let state = root.join("state");
        let opts: serde_json::Map<_, _> = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        let config = serde_json::json!({
            "driver": driver,
            "opts": opts,
            "address": state.join("containerd.sock").display().to_string(),
        });
        fs::write(dir.join("log-config.json"), config.to_string()).expect("log-config.json");
        let elsewhere = options.iter().find(|(key, _)| *key == "log-path");
        let log = match elsewhere {
            Some((_, path)) => {
                created_at(&dir, 0);
                PathBuf::from(path)
            }
            None => dir.join(format!("{id}-json.log")),
        };
        let names = store.join("names").join(namespace);
        fs::create_dir_all(&names).expect("folders");
        fs::write(names.join(name), &id).expect("a name");
        let mut container = NerdctlContainer {
            id,
            dir,
            log,
            store,
            namespace: namespace.to_owned(),
            state,
            file: None,
            rotations: 0,
            ticks: 0,
        };
        if driver == "json-file" {
            container.open_log();
        }
        container
    }

    fn open_log(&mut self) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&self.log);
        self.file = Some(file.expect("the log"));
    }

    /// containerd starts it: its specification appears, with its environment.
    pub fn start(&self, env: &[&str]) {
        let tasks = self.state.join("io.containerd.runtime.v2.task");
        let task = tasks.join(&self.namespace).join(&self.id);
        fs::create_dir_all(&task).expect("folders");
        let spec = serde_json::json!({
            "process": {"env": env},
            "annotations": {"nerdctl/namespace": self.namespace},
        });
        fs::write(task.join("config.json"), spec.to_string()).expect("config.json");
    }

    /// The link that containerd makes beside the specification, to its files below its root.
    pub fn link_to(&self, containerd: &Path) {
        let tasks = "io.containerd.runtime.v2.task";
        let task = |root: &Path| root.join(tasks).join(&self.namespace).join(&self.id);
        std::os::unix::fs::symlink(task(containerd), task(&self.state).join("work"))
            .expect("a link");
    }

    /// It was created after this many ticks of the clock, and writes later lines from now on.
    pub fn created_at(&mut self, ticks: u64) {
        created_at(&self.dir, ticks);
        self.ticks = ticks;
    }

    /// `nerdctl rm`: its folder goes, and a log elsewhere stays.
    pub fn remove(&self) {
        fs::remove_dir_all(&self.dir).expect("a folder");
    }

    /// containerd ends it: its specification goes.
    pub fn end(&self) {
        let tasks = self.state.join("io.containerd.runtime.v2.task");
        let task = tasks.join(&self.namespace).join(&self.id);
        fs::remove_dir_all(task).expect("it ran");
    }

    /// `nerdctl rename`.
    pub fn rename(&self, from: &str, to: &str) {
        let names = self.store.join("names").join(&self.namespace);
        fs::rename(names.join(from), names.join(to)).expect("a rename");
    }

    /// One line of standard output, whole however long it is.
    pub fn line(&mut self, text: &str) {
        self.ticks += 1;
        let time = format!("2026-11-14T22:13:20.{:09}Z", self.ticks);
        let line = record("stdout", &format!("{text}\n"), &time);
        let file = self.file.as_mut().expect("an open log");
        file.write_all(line.as_bytes()).expect("a write");
    }

    /// Renames the log to the next number, and removes those beyond `max_file`.
    pub fn rotate(&mut self, max_file: u32) {
        self.rotations += 1;
        let name = |number: u32| PathBuf::from(format!("{}.{number}", self.log.display()));
        fs::rename(&self.log, name(self.rotations)).expect("a rename");
        if let Some(oldest) = self
            .rotations
            .checked_sub(max_file - 1)
            .filter(|it| *it > 0)
        {
            fs::remove_file(name(oldest)).expect("the oldest is there");
        }
        self.open_log();
    }
}

/// Where the clock of the lines begins.
const BEGIN: u64 = 1_794_694_400;

fn created_at(dir: &Path, ticks: u64) {
    let config = File::options()
        .write(true)
        .open(dir.join("log-config.json"));
    let time = UNIX_EPOCH + Duration::from_secs(BEGIN) + Duration::from_nanos(ticks);
    let set = config.and_then(|config| config.set_modified(time));
    set.expect("log-config.json");
}

/// The database below a root of containerd.
pub fn database_of(containerd: &Path) -> PathBuf {
    containerd.join("io.containerd.metadata.v1.bolt/meta.db")
}

/// What containerd knows of a container: image and labels.
pub type Described<'a> = (&'a NerdctlContainer, &'a str, &'a [(&'a str, &'a str)]);

/// Writes the database below a root of containerd, with these containers and much that is not one.
pub fn write_database(containerd: &Path, containers: &[Described<'_>]) {
    let bucket = |pairs: Vec<(&str, Value)>| {
        let pairs = pairs.into_iter();
        Value::Bucket(pairs.map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let mut namespaces: Vec<&str> = containers.iter().map(|it| &*it.0.namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let mut v1: Bucket = vec![("version".to_owned(), Value::Bytes(vec![6]))];
    for namespace in namespaces {
        let of_namespace = containers.iter().filter(|it| it.0.namespace == namespace);
        let described = of_namespace.map(|(container, image, labels)| {
            let described = bucket(vec![
                ("createdat", text("x")),
                ("image", text(image)),
                ("labels", texts(labels)),
                ("runtime", texts(&[("name", "io.containerd.runc.v2")])),
                ("spec", Value::Bytes(vec![b'x'; 9_000])),
            ]);
            (&*container.id, described)
        });
        let mut of_namespace: Vec<(&str, Value)> = described.collect();
        let others: Vec<String> = (0..300).map(|number| format!("{number:064x}")).collect();
        of_namespace.extend(
            others
                .iter()
                .map(|id| (&**id, texts(&[("image", "other")]))),
        );
        let blobs = others.iter().map(|id| (&**id, texts(&[("size", "1")])));
        let blobs = bucket(blobs.collect());
        let all = bucket(vec![
            ("containers", bucket(of_namespace)),
            ("content", bucket(vec![("blob", blobs)])),
            ("images", bucket(vec![])),
        ]);
        v1.push((namespace.to_owned(), all));
    }
    let path = database_of(containerd);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(
        path,
        database(&vec![("v1".to_owned(), Value::Bucket(v1))], 7),
    )
    .expect("a database");
}
