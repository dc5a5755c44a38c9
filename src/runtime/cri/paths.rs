//! What the paths of a node's logs say: the pod, the container, the run, and how old a file is.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::runtime::id::ContainerId;
use crate::runtime::log_files::{rank_by_number, FileRank};

/// The location of a container's log, derived from its origin path.
pub(super) struct Place<'a> {
    pub pod: &'a str,
    pub container: &'a str,
    pub kind: PlaceKind,
}

/// How a container's log is stored.
pub(super) enum PlaceKind {
    /// In a directory of its own.
    Folder,
    /// In files in a directory shared by the pod's containers.
    Shared,
    /// A symlink to Docker's file.
    Link { run: u32 },
}

impl<'a> Place<'a> {
    pub fn of(origin: &'a Path) -> Option<Place<'a>> {
        let name = origin.file_name()?.to_str()?;
        let above = origin.parent()?;
        let above_name = above.file_name()?.to_str()?;
        if let Some(run) = name.strip_suffix(".log").and_then(|run| run.parse().ok()) {
            return Some(Place {
                pod: above.parent()?.file_name()?.to_str()?,
                container: above_name,
                kind: PlaceKind::Link { run },
            });
        }
        let (container, kind) = match name.strip_suffix('_') {
            Some(container) => (container, PlaceKind::Shared),
            None => (name, PlaceKind::Folder),
        };
        Some(Place {
            pod: above_name,
            container,
            kind,
        })
    }

    /// Whether its log is a symlink to Docker's file.
    pub fn is_link(&self) -> bool {
        matches!(self.kind, PlaceKind::Link { .. })
    }

    /// The log of a run, below the folder of all pods.
    pub fn log(&self, run: u32) -> PathBuf {
        let Place { pod, container, .. } = self;
        PathBuf::from(match self.kind {
            PlaceKind::Shared => format!("{pod}/{container}_{run}.log"),
            PlaceKind::Folder | PlaceKind::Link { .. } => format!("{pod}/{container}/{run}.log"),
        })
    }

    /// The run in the name of a log.
    pub fn run_of(&self, log: &Path) -> Option<u32> {
        let name = log.file_name()?.to_str()?.strip_suffix(".log")?;
        let run = match self.kind {
            PlaceKind::Shared => name.rsplit_once('_')?.1,
            PlaceKind::Folder | PlaceKind::Link { .. } => name,
        };
        run.parse().ok()
    }
}

/// The namespace, name and uid of a pod; empty where unknown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PodName<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

impl<'a> PodName<'a> {
    /// Splits at underscores, which no Kubernetes name contains.
    pub fn of_folder(folder: &'a str) -> PodName<'a> {
        let mut parts = folder.splitn(3, '_');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(uid)) => PodName {
                namespace,
                name,
                uid,
            },
            _ => PodName {
                uid: folder,
                ..PodName::default()
            },
        }
    }

    /// Adds namespace and name from the link if the directory name has only the uid, as in
    /// older releases.
    pub fn with_link(self, link: &'a str) -> PodName<'a> {
        let mut parts = link.splitn(3, '_');
        match (parts.next(), parts.next()) {
            (Some(name), Some(namespace)) if self.name.is_empty() => PodName {
                namespace,
                name,
                uid: self.uid,
            },
            _ => self,
        }
    }
    /// The known beginning of the link's name; empty if the pod's name is unknown.
    pub fn link_begins(&self, container: &str) -> String {
        match self {
            PodName { name: "", .. } => String::new(),
            PodName {
                namespace, name, ..
            } => format!("{name}_{namespace}_{container}-"),
        }
    }
}

/// The id under which the checkpoint stores a container of a pod. Ids assigned by runtimes are
/// random; this one is a hash, so that no pod can choose another container's id.
pub(super) fn key(pod: &str, container: &str) -> ContainerId {
    let text = format!("cri/{pod}/{container}");
    let halves = [0, 1].map(|seed| xxh3_128_with_seed(text.as_bytes(), seed).to_be_bytes());
    let mut id = [0; 32];
    id[..16].copy_from_slice(&halves[0]);
    id[16..].copy_from_slice(&halves[1]);
    ContainerId::from_bytes(id)
}

/// Ranks `<run>.log` (the current file of a run), `<run>.log.<date>-<time>` with or without
/// `.gz` (rotated by the kubelet), and `<run>.log.<n>` (rotated by conmon).
pub(super) fn rank_by_run(name: &str) -> Option<FileRank> {
    let (run, rest) = name.split_once(".log")?;
    if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let run = run.parse().ok()?;
    if let Some(rank) = rank_by_number(rest) {
        return Some(FileRank { run, ..rank });
    }
    let rest = rest.strip_prefix('.')?;
    let (time, is_gzip) = match rest.strip_suffix(".gz") {
        Some(time) => (time, true),
        None => (rest, false),
    };
    let (date, time) = time.split_once('-')?;
    let is_time =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_time(date, 8) || !is_time(time, 6) {
        return None;
    }
    let stamp: u64 = format!("{date}{time}").parse().ok()?;
    Some(FileRank {
        run,
        age: u64::MAX - stamp,
        is_gzip,
    })
}

/// The run in the name of a log that somebody else has renamed: `<prefix><run>.log-20261126`. A
/// file with any other name is not part of the log, because another container's may be beside it.
pub(super) fn run_of_renamed(prefix: &str, name: &str) -> Option<u32> {
    let rest = name.strip_prefix(prefix)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (run, rest) = rest.split_at(digits);
    let is_log = rest.starts_with(['.', '-']) && !rest.ends_with(".tmp");
    run.parse().ok().filter(|_| is_log)
}
