//! Podman's containers. It has no daemon: a `conmon` per container writes the log
//! into the storage of the user whose container it is,
//!
//! ```text
//! <storage>/overlay-containers/<id>/userdata/ctr.log     in the format of the CRI
//! <storage>/overlay-containers/containers.json           names and images
//! ```
//!
//! whatever the log driver is called (`json-file` is another name of `k8s-file`).
//! A log of the driver `journald`, or one that `--log-opt path` put elsewhere, is told
//! by Podman's API, if that is there; so is, of root's containers, what cannot be read.
//!
//! With `max-size` conmon replaces the file by an empty one, and newer ones keep
//! `ctr.log.1` and so on. The folder is called by the storage driver (`overlay`,
//! `vfs`, `btrfs`).
//!
//! A user's storage is the user's to arrange: nothing in it that is a symlink is
//! followed, or others' files could be had delivered.

use std::io;
use std::path::{Path, PathBuf};

use super::docker::{ContainerMetadata, LogDriver, MetadataError};
use super::podman_list::ContainerLists;
use super::runtime::{Api, Found, Listing, LogFiles, Runtime};
use crate::bounded_file::{self, FileKind, MOST_CONTAINERS};
use crate::checkpoint::ContainerId;

/// What a driver's folder of containers ends in.
const CONTAINERS: &str = "-containers";
/// Names and images.
const CONTAINERS_FILE: &str = "containers.json";
/// The storage of an ordinary user, below the home directory.
const USER_STORAGE: &str = ".local/share/containers/storage";
/// What a container is run by, beside its log; written at its first start.
const SPEC: &str = "config.json";
/// The name of the log.
const LOG: &str = "ctr.log";

/// The containers of one storage, and of every user's.
#[derive(Debug, Clone)]
pub struct Podman {
    storage: PathBuf,
    passwd: PathBuf,
    lists: ContainerLists,
}

impl Podman {
    /// The containers below root's storage, and below those of the users that
    /// `passwd` lists.
    pub fn new(storage: &Path, passwd: &Path) -> Podman {
        let (storage, passwd) = (storage.to_owned(), passwd.to_owned());
        Podman { storage, passwd, lists: ContainerLists::default() }
    }

    /// The storages of users, as far as there are any.
    fn user_storages(&self) -> Vec<PathBuf> {
        let passwd = bounded_file::read_text(&self.passwd, FileKind::Setting).unwrap_or_default();
        let homes = passwd.lines().filter_map(|line| line.split(':').nth(5));
        let homes = homes.filter(|home| home.len() > 1 && home.starts_with('/'));
        let mut storages: Vec<PathBuf> = homes.map(|home| Path::new(home).join(USER_STORAGE)).collect();
        storages.sort_unstable();
        storages.dedup();
        storages.retain(|storage| storage.canonicalize().is_ok_and(|path| path == *storage));
        storages
    }
}

impl Runtime for Podman {
    fn title(&self) -> &'static str {
        "Podman"
    }

    fn root(&self) -> PathBuf {
        self.storage.canonicalize().unwrap_or_else(|_| self.storage.clone())
    }

    fn list(&self, root: &Path) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let users = self.user_storages();
        match list_storage(root, &mut listing) {
            // Only users have containers here.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !users.is_empty() => {}
            listed => listed?,
        }
        for storage in users.iter().filter(|storage| *storage != root) {
            // One user's storage that cannot be read is no other user's concern.
            let _ = list_storage(storage, &mut listing);
        }
        Ok(listing)
    }

    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        vec![LogFiles::numbered(&found.dir.join(LOG))]
    }

    fn metadata(&self, found: &Found, _run: u32) -> Result<ContainerMetadata, MetadataError> {
        let path = containers_file(found);
        let Some(listed) = self.lists.find(&path, &found.id)? else {
            return Err(MetadataError::Missing { path });
        };
        Ok(ContainerMetadata {
            name: listed.name.unwrap_or_else(|| found.id.short()),
            image: listed.image,
            runtime: Api::Podman.runtime_name().to_owned(),
            is_running: true,
            ..ContainerMetadata::default()
        })
    }

    fn metadata_file(&self, found: &Found) -> Option<PathBuf> {
        Some(containers_file(found))
    }

    /// It is in Podman's database, which the API reads.
    fn log_driver(&self, _found: &Found) -> Option<LogDriver> {
        None
    }

    fn api(&self) -> Option<Api> {
        Some(Api::Podman)
    }

    /// Every user has a service of his own; root's is the one that is asked.
    fn is_told_by_api(&self, found: &Found) -> bool {
        found.origin.starts_with(self.root())
    }

    fn has_run(&self, found: &Found) -> bool {
        found.dir.join(SPEC).exists()
    }
}

/// `<storage>/<driver>-containers/containers.json`; a container is known by its
/// folder there.
fn containers_file(found: &Found) -> PathBuf {
    found.origin.with_file_name(CONTAINERS_FILE)
}

/// Adds the containers of one storage.
fn list_storage(storage: &Path, listing: &mut Listing) -> io::Result<()> {
    for entry in bounded_file::list(storage, MOST_CONTAINERS)? {
        let entry = entry?;
        let is_containers = entry.file_name().to_str().is_some_and(|name| name.ends_with(CONTAINERS));
        if !is_containers || !is_real_dir(&entry.path()) {
            continue;
        }
        let dir = entry.path();
        for entry in bounded_file::list(&dir, MOST_CONTAINERS)? {
            let Some(id) = entry?.file_name().to_str().and_then(ContainerId::parse) else { continue };
            let origin = dir.join(id.to_string());
            let userdata = origin.join("userdata");
            if is_real_dir(&origin) && is_real_dir(&userdata) {
                listing.containers.push(Found { id, dir: userdata, origin });
            } else {
                // Its log's folder comes a moment later.
                listing.folders.push(origin);
            }
        }
        listing.folders.push(dir);
    }
    Ok(())
}

/// Whether there is a folder that is no symlink to one.
fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fuzz_seeds::keep;

    const ID: &str = "abababababababababababababababababababababababababababababababab";

    fn found(storage: &Path) -> Found {
        let origin = storage.join(format!("overlay-containers/{ID}"));
        Found { id: ContainerId::parse(ID).unwrap(), dir: origin.join("userdata"), origin }
    }

    fn metadata_of(containers: &str) -> Result<ContainerMetadata, MetadataError> {
        keep("podman", containers);
        let dir = tempfile::tempdir().unwrap();
        let found = found(dir.path());
        std::fs::create_dir_all(&found.dir).unwrap();
        std::fs::write(containers_file(&found), containers).unwrap();
        Podman::new(dir.path(), Path::new("/nonexistent")).metadata(&found, 0)
    }

    #[test]
    fn name_and_image_are_read_as_podman_writes_them() {
        let metadata = r#"{\"image-name\":\"localhost/web:1\",\"image-id\":\"x\",\"name\":\"web\"}"#;
        let text = format!(
            r#"[{{"id":"cd","names":["db"]}},{{"id":"{ID}","names":["web","other"],"metadata":"{metadata}"}}]"#
        );
        let read = metadata_of(&text).unwrap();
        assert_eq!((read.name.as_str(), read.image.as_str()), ("web", "localhost/web:1"));
        assert_eq!(read.runtime, "podman");
    }

    #[test]
    fn what_is_missing_or_not_understood_has_something_in_its_place() {
        let with = |rest: &str| metadata_of(&format!(r#"[{{"id":"{ID}"{rest}}}]"#)).unwrap();
        assert_eq!(with(r#","names":["web"],"metadata":"no JSON""#).name, "web");
        assert_eq!(with(r#","names":null"#).name, ID[..12]);
        assert!(matches!(metadata_of("[]"), Err(MetadataError::Missing { .. })));
        assert!(matches!(metadata_of("[{"), Err(MetadataError::Unreadable { .. })));
    }

    /// Root's and those of each user that is listed; but nothing that is a symlink, which a
    /// user could point at others' files.
    #[test]
    fn the_storages_of_users_are_found_in_their_homes_and_symlinks_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let id = |digit: char| ContainerId::parse(&digit.to_string().repeat(64)).unwrap();
        let with_container = |storage: &Path, digit: char| {
            let userdata = storage.join(format!("overlay-containers/{}/userdata", id(digit)));
            std::fs::create_dir_all(userdata).unwrap();
        };
        with_container(&top.join("root"), 'a');
        with_container(&top.join("home/ada").join(USER_STORAGE), 'b');
        with_container(&top.join("elsewhere"), 'c');
        let of_eve = top.join("home/eve").join(USER_STORAGE);
        std::fs::create_dir_all(of_eve.parent().unwrap()).unwrap();
        symlink(top.join("elsewhere"), &of_eve).unwrap();
        let of_mallory = top.join("home/mallory").join(USER_STORAGE).join("overlay-containers");
        std::fs::create_dir_all(&of_mallory).unwrap();
        symlink(
            top.join(format!("elsewhere/overlay-containers/{}", id('c'))),
            of_mallory.join(id('c').to_string()),
        )
        .unwrap();
        let passwd = top.join("passwd");
        let users = ["ada", "eve", "mallory", "nobody"];
        let line = |user: &str| format!("{user}:x:1000:1000::{}/home/{user}:/bin/sh\n", top.display());
        std::fs::write(&passwd, users.map(line).concat()).unwrap();
        let podman = Podman::new(&top.join("root"), &passwd);
        let mut found: Vec<ContainerId> =
            podman.list(&podman.root()).unwrap().containers.iter().map(|found| found.id).collect();
        found.sort();
        assert_eq!(found, [id('a'), id('b')]);
    }

    #[test]
    fn the_api_tells_of_roots_containers_alone_and_of_those_that_have_run() {
        let dir = tempfile::tempdir().unwrap();
        let podman = Podman::new(dir.path(), Path::new("/nonexistent"));
        let ours = found(&podman.root());
        assert!(podman.is_told_by_api(&ours));
        assert!(!podman.is_told_by_api(&found(Path::new("/home/ada/.local/share/containers/storage"))));
        std::fs::create_dir_all(&ours.dir).unwrap();
        assert!(!podman.has_run(&ours));
        std::fs::write(ours.dir.join(SPEC), "{}").unwrap();
        assert!(podman.has_run(&ours));
    }
}
