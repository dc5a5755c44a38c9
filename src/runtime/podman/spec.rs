//! What the OCI specification of a container (`userdata/config.json`, written when it is started)
//! tells about where Podman keeps it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::runtime::safe_path::SafePath;

/// The file.
const SPEC: &str = "config.json";
/// The file by which Podman marks the inside of a container; its source is in the run root,
/// `<run root>/<driver>-containers/<id>/userdata/.containerenv`.
const MARK: &str = "/run/.containerenv";
/// The run root is so many folders above it.
const RUN_ROOT_ABOVE_MARK: usize = 4;
/// The `io.container.manager` of Podman. CRI-O keeps its containers in the same storage.
const MANAGER: &str = "libpod";

/// What is needed of a specification.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spec {
    /// Whether the container is Podman's.
    pub is_podmans: bool,
    /// The folder whose contents are gone after a restart of the machine.
    pub run_root: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
    #[serde(borrow, default)]
    mounts: Vec<Mount<'a>>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(rename = "io.container.manager", borrow)]
    manager: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Mount<'a> {
    #[serde(borrow)]
    destination: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
}

impl Spec {
    /// Reads the specification in `userdata`; `None` if the container has not been started.
    pub fn read(userdata: &SafePath, most_bytes: u64) -> Option<Spec> {
        let path = userdata.join(SPEC);
        let Ok(bytes) = path.read(most_bytes) else {
            let is_there = path.stat().is_ok();
            return is_there.then(Spec::default);
        };
        Some(Spec::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Spec {
        let Ok(json) = serde_json::from_slice::<Json<'_>>(bytes) else {
            return Spec::default();
        };
        let manager = json.annotations.and_then(|all| all.manager);
        let mark = json.mounts.iter().find_map(|mount| {
            let is_mark = mount.destination.as_deref() == Some(MARK);
            mount.source.as_deref().filter(|_| is_mark)
        });
        let run_root = mark.and_then(|mark| Path::new(mark).ancestors().nth(RUN_ROOT_ABOVE_MARK));
        Spec {
            is_podmans: manager.is_none_or(|manager| manager == MANAGER),
            run_root: run_root
                .filter(|root| root.is_absolute())
                .map(Path::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_root_is_in_the_mounts_of_a_container() {
        let spec = Spec::parse(
            br#"{"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
                {"destination":"/run/.containerenv","type":"bind","options":["bind"],
                 "source":"/run/containers/storage/overlay-containers/ab/userdata/.containerenv"}],
                "annotations":{"io.container.manager":"libpod","x":"y"}}"#,
        );
        let root = Path::new("/run/containers/storage");
        assert_eq!(spec.run_root.as_deref(), Some(root));
        assert!(spec.is_podmans);
    }

    #[test]
    fn a_container_of_another_manager_is_not_podmans() {
        let crio = Spec::parse(br#"{"annotations":{"io.container.manager":"cri-o"}}"#);
        assert_eq!((crio.is_podmans, crio.run_root), (false, None));
        assert!(Spec::parse(b"{}").is_podmans, "old releases do not say");
        assert!(!Spec::parse(b"[").is_podmans);
    }
}
