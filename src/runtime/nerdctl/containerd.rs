//! What containerd knows of nerdctl's containers: image and labels, and with them the projects of
//! `nerdctl compose`. They are in its database:
//!
//! ```text
//! <root of containerd>/io.containerd.metadata.v1.bolt/meta.db
//!     v1 / <namespace> / containers / <id> / image
//!                                            labels / <key>
//! ```
//!
//! containerd commits to it all the time, so it is read without a lock (`bolt`), and of it only what
//! one container has. Nothing is remembered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::bolt::{self, BoltError, Page, Tree};
use crate::runtime::bounded_file::{self, FileKind};
use crate::runtime::data_root::{invalid, toml_text, DataRoot, Service, Settings};
use crate::runtime::file::{describe, FileId};
use crate::runtime::safe_path::{Base, SafePath};

/// The folder of running containers in containerd's state, and that of their files in its root.
pub(super) const TASKS: &str = "io.containerd.runtime.v2.task";
/// The link from the first to the second.
const WORK: &str = "work";
/// Most tasks of a namespace, and namespaces, that are asked for that link.
const MOST_ASKED: usize = 16;

/// The database, relative to containerd's root.
const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// Its buckets and keys.
const VERSION: &[u8] = b"v1";
const CONTAINERS: &[u8] = b"containers";
const IMAGE: &[u8] = b"image";
const LABELS: &[u8] = b"labels";
/// How often it is read at once if a transaction ended meanwhile. One container is read in some
/// 50 µs, and containerd commits no faster than its disk.
const ATTEMPTS: usize = 4;
/// Most bytes read for one container: those of its page have its specification, some 10 KB.
const MOST_BYTES: usize = 4 << 20;
const MOST_BYTES_OF_USERS: usize = 256 << 10;

/// The root of the machine's containerd.
static SERVICE: Service = Service {
    daemon: None,
    settings: Settings {
        files: &["etc/containerd/config.toml"],
        folder: |text| toml_text(text, "", "root"),
    },
    default: "var/lib/containerd",
};
/// A user's settings and root, below the home directory.
const USERS_SETTINGS: &str = ".config/containerd/config.toml";
const USERS_ROOT: &str = ".local/share/containerd";
/// The name of either root, beside nerdctl's data root.
const ROOT: &str = "containerd";

/// What the database says of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// Its image.
    pub image: String,
    /// Its labels, which include those of the image.
    pub labels: BTreeMap<String, String>,
}

/// What is said of a container.
#[derive(Debug)]
pub(super) enum Answer {
    /// This.
    Described(Described),
    /// It is not in this database: it is about to be added, or left over.
    Unknown(PathBuf),
    /// A database cannot be read.
    Unreadable(PathBuf, io::Error),
}

/// The databases that may have the containers of a data root of nerdctl, the likely one first.
#[derive(Debug)]
pub(super) struct Databases {
    paths: Vec<SafePath>,
    most_bytes: usize,
    /// Settings of containerd's, which may name another one, that are not valid, and why.
    problem: Option<(PathBuf, String)>,
}

impl Databases {
    /// Those of the machine's containerd. `tasks` is the folder of its running containers, `machine`
    /// the root of the machine's files.
    pub fn of_machine(data_root: &Path, tasks: Option<&SafePath>, machine: &Path) -> Databases {
        let mut roots: Vec<PathBuf> = tasks.and_then(root_of_tasks).into_iter().collect();
        let configured = DataRoot::new(None, &SERVICE, machine);
        roots.push(configured.path());
        roots.push(data_root.with_file_name(ROOT));
        let below = |root: PathBuf| SafePath::below(&Base::of_machine(&root), &*root);
        let problem = configured.problem();
        Databases {
            problem: problem.map(|it| (it.path, it.error.to_string())),
            ..Databases::below(roots.into_iter().map(below), MOST_BYTES)
        }
    }

    /// Those of a user's own containerd. `data_root` is nerdctl's.
    pub fn of_user(data_root: &SafePath) -> Databases {
        let home = data_root.base().dir();
        let settings = data_root.at(home.join(USERS_SETTINGS));
        let text = match settings.read(FileKind::UsersSetting.limit()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| error.to_string()),
        };
        let configured = text.and_then(|text| {
            let configured = toml_text(&String::from_utf8_lossy(&text), "", "root");
            configured
                .map_err(|problem| invalid(&format!("it is not valid: {problem}")).to_string())
        });
        let problem = configured.as_ref().err().cloned();
        let configured = configured.unwrap_or_default();
        let mut roots: Vec<PathBuf> = configured.map(PathBuf::from).into_iter().collect();
        roots.push(home.join(USERS_ROOT));
        roots.push(data_root.with_file_name(ROOT));
        let roots = roots.into_iter().map(|root| data_root.at(root));
        Databases {
            problem: problem.map(|reason| (settings.to_path_buf(), reason)),
            ..Databases::below(roots, MOST_BYTES_OF_USERS)
        }
    }

    /// An error about these databases, with what is wrong with the settings that may name another one.
    pub fn explained(&self, error: io::Error) -> io::Error {
        let Some((path, reason)) = &self.problem else {
            return error;
        };
        let path = path.display();
        let text = format!("{error}; {path}, which may set another one: {reason}");
        io::Error::new(error.kind(), text)
    }

    fn below(roots: impl Iterator<Item = SafePath>, most_bytes: usize) -> Databases {
        let mut paths: Vec<SafePath> = Vec::new();
        for path in roots.map(|root| root.join(DATABASE)) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Databases {
            paths,
            most_bytes,
            problem: None,
        }
    }

    /// The first one that can be opened.
    pub fn version(&self) -> Option<FileId> {
        let mut opened = self.paths.iter().filter_map(|path| {
            path.open_file().ok()?;
            path.stat().ok()
        });
        opened.next().map(|stat| describe(&stat).0)
    }

    /// Looks for a container.
    pub fn find(&self, namespace: &str, id: &str) -> Answer {
        let (mut unknown, mut failed, mut missing) = (None, None, None);
        for path in &self.paths {
            match read(path, self.most_bytes, namespace, id).map_err(to_io) {
                Ok(Some(described)) => return Answer::Described(described),
                Ok(None) => unknown = unknown.or(Some(path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing = missing.or(Some((path, error)));
                }
                Err(error) => failed = failed.or(Some((path, error))),
            }
        }
        match (failed, unknown, missing) {
            (Some((path, error)), ..) | (None, None, Some((path, error))) => {
                Answer::Unreadable(path.to_path_buf(), error)
            }
            (_, path, _) => Answer::Unknown(path.map(|it| it.to_path_buf()).unwrap_or_default()),
        }
    }
}

/// The root of the containerd to which running containers belong: each has a link to its files
/// there.
fn root_of_tasks(tasks: &SafePath) -> Option<PathBuf> {
    let some = |folder: &Path| -> Vec<PathBuf> {
        let names = bounded_file::list(folder, MOST_ASKED).into_iter().flatten();
        names
            .map_while(Result::ok)
            .map(|name| name.path())
            .collect()
    };
    let tasks = some(tasks)
        .into_iter()
        .flat_map(|namespace| some(&namespace));
    let mut roots = tasks.filter_map(|task| {
        let files = task.join(WORK).read_link().ok()?;
        let of_tasks = files.ancestors().nth(2)?;
        let is_one = files.is_absolute() && of_tasks.file_name()? == TASKS;
        is_one.then(|| of_tasks.parent().map(Path::to_owned))?
    });
    roots.next()
}

fn to_io(error: BoltError) -> io::Error {
    match error {
        BoltError::Io(error) => error,
        BoltError::Changed => io::Error::new(io::ErrorKind::WouldBlock, error.to_string()),
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

/// What the database at `path` has of a container.
fn read(
    path: &SafePath,
    most_bytes: usize,
    namespace: &str,
    id: &str,
) -> Result<Option<Described>, BoltError> {
    let once = || {
        bolt::read(path, most_bytes, |tree, root| {
            walk(tree, root, namespace, id)
        })
    };
    let mut read = once();
    for _ in 1..ATTEMPTS {
        if !matches!(read, Err(BoltError::Changed)) {
            break;
        }
        read = once();
    }
    read.map(Option::flatten)
}

fn walk(
    tree: &mut Tree<'_>,
    root: &Page,
    namespace: &str,
    id: &str,
) -> Result<Option<Described>, BoltError> {
    let mut bucket: Option<Page> = None;
    for key in [VERSION, namespace.as_bytes(), CONTAINERS, id.as_bytes()] {
        bucket = tree.bucket_in(bucket.as_ref().unwrap_or(root), key)?;
        if bucket.is_none() {
            return Ok(None);
        }
    }
    let Some(container) = bucket else {
        return Ok(None);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let image = tree.value_in(&container, IMAGE)?.unwrap_or_default();
    let mut described = Described {
        image: text(&image),
        labels: BTreeMap::new(),
    };
    if let Some(labels) = tree.bucket_in(&container, LABELS)? {
        tree.each(&labels, &mut |_, label| {
            described.labels.insert(text(label.key), text(label.value));
            Ok(())
        })?;
    }
    Ok(Some(described))
}
