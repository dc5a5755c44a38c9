//! The containers of users, in the storages of Podman in their home directories, of those
//! users that `Podman_Users` names. Of nobody else is anything touched.
//!
//! A storage is its user's to arrange, so it can say of itself whatever it likes, and no
//! more than that:
//!
//! - A container is known by its storage and its id (`key`), never by an id alone, which
//!   anybody may have read in `/proc`. What records, tags and metrics show is the id that
//!   Podman gave it, beside the user's name.
//! - Nothing is opened through a symlink, on another mount, or of another owner
//!   (`safe_path`).
//! - A storage is read up to limits, beyond which its user's containers are left out.
//!
//! A home on a file system of the network may never answer. It is touched where its user
//! is named, and passed over where a glob or `all` means him.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use xxhash_rust::xxh3::{xxh3_128, xxh3_64};

use crate::runtime::bounded_file::{read_text, FileKind};
use crate::runtime::id::ContainerId;
use crate::runtime::mounts::Mounts;
use crate::runtime::podman::{list_storage, Limits};
use crate::runtime::safe_path::{Base, SafePath};
use crate::runtime::seam::{Hides, Listing, Unreadable};
use crate::runtime::users::{users, User, UserChoice};
use crate::runtime::Owner;

/// The storage of an ordinary user, below the home directory.
const USER_STORAGE: &str = ".local/share/containers/storage";
/// Where this process sees which file systems.
const MOUNTS: &str = "/proc/self/mountinfo";
/// What one user may have read: more than a user runs, and so little that it holds up
/// nobody else.
const LIMITS: Limits = Limits {
    drivers: 4,
    containers: 1_000,
    names: 10_000,
};
/// What the ids of users' containers begin with. Those of runtimes are random, so none
/// begins so, and no user can choose one that becomes another container's.
const KEY_BEGINS: [u8; 8] = *b"\xff\xffuser\xff\xff";

/// The storages of users.
#[derive(Debug)]
pub struct Users {
    choice: UserChoice,
    passwd: PathBuf,
}

impl Users {
    /// Of those users among the ones in `passwd` that are chosen.
    pub fn new(choice: &UserChoice, passwd: &Path) -> Users {
        Users {
            choice: choice.clone(),
            passwd: passwd.to_owned(),
        }
    }

    /// Where the users are listed.
    pub(crate) fn passwd(&self) -> &Path {
        &self.passwd
    }

    /// Adds the containers of one user; whether there is a storage.
    fn list_user(&self, user: &User, all: &[User], listing: &mut Listing) -> bool {
        let base = Base::of_user(&user.home, user.uid);
        let storage = SafePath::below(&base, user.home.join(USER_STORAGE));
        let opened = storage
            .open_folder()
            .and_then(|folder| Ok((folder.stat_self()?.stx_uid, folder)));
        let folder = match opened {
            Ok((owner, folder)) if owner == user.uid => folder,
            // Of two users with one home it is the other one's.
            Ok((owner, _)) if all.iter().any(|it| it.uid == owner && it.home == user.home) => {
                return false
            }
            Ok((owner, _)) => {
                let reason = format!(
                    "it belongs to uid {owner}, not to {} (uid {})",
                    user.name, user.uid
                );
                let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
                listing
                    .unreadable
                    .push(hidden(storage.to_path_buf(), error));
                return true;
            }
            Err(error) if is_nothing(&error) => return false,
            Err(error) => {
                listing
                    .unreadable
                    .push(hidden(storage.to_path_buf(), explained(error)));
                return true;
            }
        };
        let first = listing.unreadable.len();
        list_storage(&storage, &folder, LIMITS, listing, |id| {
            let owner = Owner {
                user: user.name.clone(),
                container_id: id,
            };
            (key(user.uid, &storage, &id), Some(owner))
        });
        for unreadable in listing.unreadable.iter_mut().skip(first) {
            unreadable.hides = Hides::UsersContainers;
        }
        true
    }

    /// All their containers.
    pub(crate) fn list(&self) -> io::Result<Listing> {
        let all = users(&read_text(&self.passwd, FileKind::Setting)?);
        let chosen: Vec<&User> = all
            .iter()
            .filter(|user| self.choice.has(&user.name))
            .collect();
        let mut listing = Listing::default();
        for name in self
            .choice
            .named()
            .filter(|name| all.iter().all(|user| user.name != *name))
        {
            let error = io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("it has no user {name}"),
            );
            listing.unreadable.push(hidden(self.passwd.clone(), error));
        }
        let mounts = match chosen.iter().all(|user| self.choice.names(&user.name)) {
            true => Mounts::default(),
            false => Mounts::parse(&read_text(Path::new(MOUNTS), FileKind::Proc)?),
        };
        let mut passed_over = HashSet::new();
        let mut is_any_there = false;
        for user in chosen {
            let is_named = self.choice.names(&user.name);
            match mounts.distant(&user.home).filter(|_| !is_named) {
                None => is_any_there |= self.list_user(user, &all, &mut listing),
                // Once for all homes on it.
                Some(distant) if passed_over.insert(distant.mount.clone()) => {
                    let reason =
                        format!("{distant}, which may not respond; to read it, name its users in Podman_Users");
                    listing
                        .unreadable
                        .push(hidden(user.home.clone(), io::Error::other(reason)));
                }
                Some(_) => {}
            }
        }
        if !is_any_there && listing.unreadable.is_empty() {
            let reason = "no user named in Podman_Users has a Podman storage";
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        Ok(listing)
    }
}

fn hidden(path: PathBuf, error: io::Error) -> Unreadable {
    Unreadable {
        path,
        error,
        hides: Hides::UsersContainers,
    }
}

/// Whether a home, or a storage in it, is not there: `/dev/null` is some accounts' home.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The kernel's answer to a path that may not be followed, in words.
fn explained(error: io::Error) -> io::Error {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if is(Errno::LOOP) {
        return io::Error::new(
            error.kind(),
            "its path below the home directory contains a symlink",
        );
    }
    if is(Errno::XDEV) {
        return io::Error::new(
            error.kind(),
            "its path below the home directory contains a mount point",
        );
    }
    error
}

/// What the checkpoint knows a user's container by. Two users never have the same, for
/// the uid is in it as it is.
fn key(uid: u32, storage: &Path, id: &ContainerId) -> ContainerId {
    let mut text = storage.as_os_str().as_encoded_bytes().to_vec();
    text.push(0);
    text.extend_from_slice(id.bytes());
    let mut key = [0; 32];
    key[..8].copy_from_slice(&KEY_BEGINS);
    key[8..12].copy_from_slice(&uid.to_be_bytes());
    key[12..28].copy_from_slice(&xxh3_128(&text).to_be_bytes());
    key[28..].copy_from_slice(&xxh3_64(&text).to_be_bytes()[..4]);
    ContainerId::from_bytes(key)
}

#[cfg(test)]
mod tests;
