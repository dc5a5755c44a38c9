//! The containers of users: those in the storages in the home directories of the users that an
//! option selects (`Podman_Users`, `Docker_Users`, `Nerdctl_Users`). Nothing of any other user is
//! touched.
//!
//! A user can arrange a storage freely, so it may claim anything about itself, but nothing
//! beyond:
//!
//! - A container is identified by its storage and its id (`key`), never by the id alone, which
//!   anyone may have read in `/proc`. Records, tags and metrics show the id assigned by the
//!   runtime, next to the user's name.
//! - Nothing is opened through a symlink, on another mount, or with another owner
//!   (`safe_path`). That also holds for a storage that the user's settings move out of the home
//!   directory: it is opened below the mount that it is on.
//! - A storage is read up to fixed limits; containers beyond them are ignored.
//!
//! A home directory on a network file system may never answer. It is accessed if its user is
//! named, and skipped if the user only matches a glob or `all`. A storage elsewhere on such a
//! file system is always skipped, since its user chose it.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{statx, AtFlags, FileType, StatxFlags, CWD};
use rustix::io::Errno;
use xxhash_rust::xxh3::{xxh3_128, xxh3_64};

use crate::runtime::bounded_file::{self, read_text, FileKind};
use crate::runtime::data_root::{not_absolute, Service, Settings};
use crate::runtime::id::ContainerId;
use crate::runtime::mounts::Mounts;
use crate::runtime::safe_path::{Base, Folder, SafePath};
use crate::runtime::seam::{Hides, Listing, Unreadable};
use crate::runtime::storage::{Identify, LIMITS_OF_USERS};
use crate::runtime::users::{users, Homes, User, UserChoice};
use crate::runtime::Owner;

/// What a runtime keeps in the home directories of its users.
#[derive(Debug)]
pub struct Kind {
    /// The runtime's name in messages.
    pub title: &'static str,
    /// The option that selects the users.
    pub option: &'static str,
    /// Where a user keeps it, relative to the home directory.
    pub service: Service,
    /// The machine's settings for users without settings of their own.
    pub machine: Settings,
}

/// Adds the containers of one storage to a listing.
pub(crate) type ListStorage<'a> = &'a dyn Fn(&SafePath, &Folder, &mut Listing, Identify<'_>);

/// The file that lists the machine's users.
const PASSWD: &str = "etc/passwd";
/// The file that lists the mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";
/// First bytes of the ids of users' containers. Ids assigned by runtimes are random, so none
/// begins with them, and no user can choose an id that collides with another container's.
const KEY_BEGINS: [u8; 8] = *b"\xff\xffuser\xff\xff";

/// The storages of the chosen users.
#[derive(Debug)]
pub struct Users {
    kind: &'static Kind,
    choice: UserChoice,
    machine: PathBuf,
}

impl Users {
    /// Selects the chosen users of a runtime. `machine` is the root of the machine's files.
    pub fn new(kind: &'static Kind, choice: &UserChoice, machine: &Path) -> Users {
        Users {
            kind,
            choice: choice.clone(),
            machine: machine.to_owned(),
        }
    }

    /// The file that lists the users.
    pub(crate) fn passwd(&self) -> PathBuf {
        self.machine.join(PASSWD)
    }

    /// Lists the containers of all chosen users; `list` adds those of one storage.
    pub(crate) fn list(&self, list: ListStorage<'_>) -> io::Result<Listing> {
        let known = match read_text(&self.passwd(), FileKind::Setting) {
            Err(error) if self.choice.has_names() => return Err(error.into()),
            read => users(&read.unwrap_or_default()),
        };
        let machine_storage = self.kind.machine.read(&self.machine);
        let mut look = Look {
            users: self,
            known: &known,
            machine_storage: None,
            mounts: OnceCell::new(),
            passed_over: HashSet::new(),
            seen: HashSet::new(),
            is_any_there: false,
            list,
            listing: Listing::default(),
        };
        match machine_storage {
            Ok(storage) => look.machine_storage = storage.map(|(_, folder)| folder),
            Err(problem) => look.note_settings(None, problem.path, problem.error),
        }
        look.named_users()?;
        look.given_homes()?;
        if !look.is_any_there && look.listing.unreadable.is_empty() {
            let Kind { option, title, .. } = self.kind;
            let reason = format!("no user named in {option} has a {title} storage");
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        Ok(look.listing)
    }
}

/// One look at the storages of all chosen users.
struct Look<'a> {
    users: &'a Users,
    known: &'a [User],
    /// The users' storage in the machine's settings.
    machine_storage: Option<String>,
    mounts: OnceCell<Mounts>,
    /// Mounts that were reported as not accessed.
    passed_over: HashSet<PathBuf>,
    /// Users and homes that were listed.
    seen: HashSet<(u32, PathBuf)>,
    is_any_there: bool,
    list: ListStorage<'a>,
    listing: Listing,
}

impl Look<'_> {
    /// Lists the users that are selected by name.
    fn named_users(&mut self) -> io::Result<()> {
        let (users, known) = (self.users, self.known);
        let is_known = |name: &&str| known.iter().any(|user| user.name == *name);
        for name in users.choice.named().filter(|name| !is_known(name)) {
            let reason = format!(
                "has no user {name}; if a directory service has this user, give the home directory in {}",
                users.kind.option
            );
            let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
            self.listing.unreadable.push(Unreadable {
                hides: Hides::UnknownUser,
                ..Unreadable::folder(users.passwd(), error)
            });
        }
        for user in known.iter().filter(|user| users.choice.has(&user.name)) {
            if users.choice.names(&user.name) || self.is_near(&user.home)? {
                self.user(user)?;
            }
        }
        Ok(())
    }

    /// Lists the home directories that are selected by path.
    fn given_homes(&mut self) -> io::Result<()> {
        for homes in self.users.choice.homes() {
            match homes {
                Homes::One(home) => self.home(home)?,
                Homes::Matching(folder, globs) => {
                    if !self.is_near(folder)? {
                        continue;
                    }
                    let entries = match bounded_file::list(folder, LIMITS_OF_USERS.names) {
                        Ok(entries) => entries,
                        Err(error) => {
                            self.note(folder.clone(), error);
                            continue;
                        }
                    };
                    for entry in entries {
                        match entry {
                            Ok(entry)
                                if entry
                                    .file_name()
                                    .to_str()
                                    .is_some_and(|name| globs.fit(name)) =>
                            {
                                let home = entry.path();
                                if self.is_near(&home)? {
                                    self.home(&home)?;
                                }
                            }
                            Ok(_) => {}
                            Err(error) => self.note(folder.clone(), error),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Lists the storage in a home directory given by path. Its owner is the user.
    fn home(&mut self, home: &Path) -> io::Result<()> {
        match statx(CWD, home, AtFlags::empty(), StatxFlags::BASIC_STATS) {
            Ok(stat) if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory => {
                let user = User::at_home(home, stat.stx_uid, self.known);
                self.user(&user)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.note(home.to_owned(), error.into());
                Ok(())
            }
        }
    }

    /// Lists the storage of one user.
    fn user(&mut self, user: &User) -> io::Result<()> {
        if !self.seen.insert((user.uid, user.home.clone())) {
            return Ok(());
        }
        let Some(storage) = self.storage(user)? else {
            return Ok(());
        };
        let opened = storage
            .open_folder()
            .and_then(|folder| Ok((folder.stat_self()?.stx_uid, folder)));
        let folder = match opened {
            Ok((owner, folder)) if owner == user.uid => folder,
            // Two users share a home, and the storage belongs to the other one.
            Ok((owner, _))
                if self
                    .known
                    .iter()
                    .any(|it| it.uid == owner && it.home == user.home) =>
            {
                return Ok(());
            }
            Ok((owner, _)) => {
                let reason = format!(
                    "it belongs to uid {owner}, not to {} (uid {})",
                    user.name, user.uid
                );
                let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
                self.note(storage.to_path_buf(), error);
                return Ok(());
            }
            Err(error) if is_nothing(&error) => return Ok(()),
            Err(error) => {
                self.note(storage.to_path_buf(), explained(error));
                return Ok(());
            }
        };
        self.is_any_there = true;
        let first = self.listing.unreadable.len();
        (self.list)(&storage, &folder, &mut self.listing, &|id| {
            let owner = Owner {
                user: user.name.clone(),
                container_id: id,
            };
            (key(user.uid, &storage, &id), Some(owner))
        });
        for unreadable in self.listing.unreadable.iter_mut().skip(first) {
            unreadable.hides = Hides::UsersContainers;
        }
        Ok(())
    }

    /// The storage of a user: where the user's settings say, where the machine's settings say,
    /// or in its usual place. `None` if it must not be accessed, which is reported.
    fn storage(&mut self, user: &User) -> io::Result<Option<SafePath>> {
        let service = &self.users.kind.service;
        let base = Base::of_user(&user.home, user.uid);
        let usual = SafePath::below(&base, user.home.join(service.default));
        let mut configured = self.machine_storage.clone();
        for file in service.settings.files {
            let file = SafePath::below(&base, user.home.join(file));
            let text = match file.read(FileKind::UsersSetting.limit()) {
                Err(error) if is_nothing(&error) => continue,
                read => read.map_err(explained),
            };
            let folder = text
                .and_then(|text| service.settings.folder_in(&String::from_utf8_lossy(&text)))
                .and_then(|folder| match folder {
                    Some(folder) if !expanded(&folder, user).is_absolute() => {
                        Err(not_absolute(&folder))
                    }
                    folder => Ok(folder),
                });
            configured = folder.unwrap_or_else(|error| {
                self.note_settings(Some(user.uid), file.to_path_buf(), error);
                None
            });
            break;
        }
        let path = configured.map(|text| expanded(&text, user));
        let Some(path) = path.filter(|path| path.is_absolute()) else {
            return Ok(Some(usual));
        };
        if path.starts_with(&user.home) {
            return Ok(Some(SafePath::below(&base, path)));
        }
        let mounts = self.mounts()?;
        if let Some(distant) = mounts.distant(&path) {
            let error = io::Error::other(format!("{distant}, which may not respond"));
            self.note(path, error);
            return Ok(None);
        }
        let mount = mounts.point_of(&path);
        Ok(Some(SafePath::below(
            &Base::of_user(&mount, user.uid),
            path,
        )))
    }

    /// Whether a path that nobody named may be accessed. Otherwise its mount is reported, once
    /// for all homes on it.
    fn is_near(&mut self, path: &Path) -> io::Result<bool> {
        let Some(distant) = self.mounts()?.distant(path) else {
            return Ok(true);
        };
        if self.passed_over.insert(distant.mount.clone()) {
            let option = self.users.kind.option;
            let reason =
                format!("{distant}, which may not respond; to read it, name its users in {option}");
            self.note(path.to_owned(), io::Error::other(reason));
        }
        Ok(false)
    }

    fn mounts(&self) -> io::Result<&Mounts> {
        if let Some(mounts) = self.mounts.get() {
            return Ok(mounts);
        }
        let mounts = Mounts::parse(&read_text(Path::new(MOUNTS), FileKind::Proc)?);
        Ok(self.mounts.get_or_init(|| mounts))
    }

    fn note(&mut self, path: PathBuf, error: io::Error) {
        self.listing.unreadable.push(hidden(path, error));
    }

    /// Reports settings that may have moved a storage: those of a user, or the machine's.
    fn note_settings(&mut self, uid: Option<u32>, path: PathBuf, error: io::Error) {
        self.listing.unreadable.push(Unreadable {
            path,
            error,
            hides: Hides::UsersMovedContainers(uid),
        });
    }
}

/// A path in the settings, with the variables that container tools replace in it.
fn expanded(text: &str, user: &User) -> PathBuf {
    let values = [
        ("HOME", user.home.to_string_lossy().into_owned()),
        ("USER", user.name.clone()),
        ("UID", user.uid.to_string()),
    ];
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), &value);
        text = text.replace(&format!("${name}"), &value);
    }
    PathBuf::from(text)
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
