//! The containers of users: those in the Podman storages in the home directories of the users
//! that `Podman_Users` selects. Nothing of any other user is touched.
//!
//! A user can arrange a storage freely, so it may claim anything about itself, but nothing
//! beyond:
//!
//! - A container is identified by its storage and its id (`key`), never by the id alone, which
//!   anyone may have read in `/proc`. Records, tags and metrics show the id assigned by
//!   Podman, next to the user's name.
//! - Nothing is opened through a symlink, on another mount, or with another owner
//!   (`safe_path`).
//! - A storage is read up to fixed limits; containers beyond them are ignored.
//!
//! A home directory on a network file system may never answer. It is accessed if its user is
//! named, and skipped if the user only matches a glob or `all`.

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

/// An ordinary user's storage, relative to the home directory.
const USER_STORAGE: &str = ".local/share/containers/storage";
/// The file that lists the mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Limits per user: more than a user runs, and little enough not to delay the containers of
/// others.
const LIMITS: Limits = Limits {
    drivers: 4,
    containers: 1_000,
    names: 10_000,
};
/// First bytes of the ids of users' containers. Ids assigned by runtimes are random, so none
/// begins with them, and no user can choose an id that collides with another container's.
const KEY_BEGINS: [u8; 8] = *b"\xff\xffuser\xff\xff";

/// The storages of the chosen users.
#[derive(Debug)]
pub struct Users {
    choice: UserChoice,
    passwd: PathBuf,
}

impl Users {
    /// Selects the chosen users among those listed in `passwd`.
    pub fn new(choice: &UserChoice, passwd: &Path) -> Users {
        Users {
            choice: choice.clone(),
            passwd: passwd.to_owned(),
        }
    }

    /// The file that lists the users.
    pub(crate) fn passwd(&self) -> &Path {
        &self.passwd
    }

    /// Adds the containers of one user to `listing`. Returns whether the user has a storage.
    fn list_user(&self, user: &User, all: &[User], listing: &mut Listing) -> bool {
        let base = Base::of_user(&user.home, user.uid);
        let storage = SafePath::below(&base, user.home.join(USER_STORAGE));
        let opened = storage
            .open_folder()
            .and_then(|folder| Ok((folder.stat_self()?.stx_uid, folder)));
        let folder = match opened {
            Ok((owner, folder)) if owner == user.uid => folder,
            // Two users share a home, and the storage belongs to the other one.
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

    /// Lists the containers of all chosen users.
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
                // Report a mount once for all homes on it.
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

/// Whether a home directory or its storage does not exist; `/dev/null` is the home of some
/// accounts.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Replaces the kernel's error for a path that must not be followed by an explanation.
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

/// The id under which the checkpoint stores a user's container. Two users never share one,
/// since it contains the uid verbatim.
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
