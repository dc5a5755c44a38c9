//! Lists the folders of a storage up to fixed limits, so that whoever writes one can delay
//! nobody else.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;
use rustix::process::geteuid;

use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::{Folder, SafePath};
use crate::runtime::seam::{Found, Listing, Unreadable};
use crate::runtime::Owner;

/// Limits on what is read of one storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Parts in which containers may be: Podman's storage drivers, nerdctl's namespaces.
    pub parts: usize,
    /// Containers, over all parts.
    pub containers: usize,
    /// Names in one folder.
    pub names: usize,
}

/// Limits for a storage of root's; its size is limited by what a machine can run.
pub(crate) const LIMITS_OF_ROOT: Limits = Limits {
    parts: 16,
    containers: 100_000,
    names: 100_000,
};

/// Limits for a user's storage: more than a user runs, and little enough not to delay the
/// containers of others.
pub(crate) const LIMITS_OF_USERS: Limits = Limits {
    parts: 4,
    containers: 1_000,
    names: 10_000,
};

/// Returns the id by which the plugin knows a container with this id of the runtime's, and the
/// user whose it is.
pub(crate) type Identify<'a> = &'a dyn Fn(ContainerId) -> (ContainerId, Option<Owner>);

/// The subfolders of a folder, sorted, so that a limit always leaves out the same ones.
pub(crate) fn names(
    folder: &Folder,
    path: &Path,
    limits: Limits,
    note: &mut impl FnMut(&Path, io::Error),
) -> Vec<(String, FileType)> {
    let mut names = sorted(folder, path, limits, note);
    names.retain(|(_, kind)| matches!(kind, FileType::Directory | FileType::Unknown));
    names
}

fn sorted(
    folder: &Folder,
    path: &Path,
    limits: Limits,
    note: &mut impl FnMut(&Path, io::Error),
) -> Vec<(String, FileType)> {
    let entries = folder.entries(limits.names).unwrap_or_else(|error| {
        note(path, error);
        Default::default()
    });
    if let Some(error) = entries.failure {
        note(path, error);
    }
    let mut names = entries.names;
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    names
}

/// Adds the containers whose folders, named by their ids, are in `dir`. Other names are
/// ignored. In a storage of root's, a symlink in the place of such a folder is followed if root
/// made it.
pub(crate) fn list_containers(
    dir: &SafePath,
    folder: &Folder,
    limits: Limits,
    listing: &mut Listing,
    identify: Identify<'_>,
) {
    let mut unreadable = Vec::new();
    let mut note = |path: &Path, error| unreadable.push(Unreadable::folder(path, error));
    let mut left = limits.containers;
    for (name, kind) in sorted(folder, dir, limits, &mut note) {
        let Some(id) = ContainerId::parse(&name) else {
            continue;
        };
        if left == 0 {
            note(dir, too_many(limits.containers, "containers"));
            break;
        }
        left -= 1;
        let origin = dir.join(name);
        let kind = match kind {
            // The file system does not say what it is.
            FileType::Unknown => origin
                .stat()
                .map_or(kind, |stat| FileType::from_raw_mode(stat.stx_mode.into())),
            kind => kind,
        };
        let place = match kind {
            FileType::Directory => origin.clone(),
            FileType::Symlink if !dir.base().is_of_user() => match linked_folder(&origin) {
                Ok(folder) => folder,
                Err(error) => {
                    note(&origin, error);
                    continue;
                }
            },
            _ => continue,
        };
        let (id, owner) = identify(id);
        let origin = origin.to_path_buf();
        let found = Found::new(id, place, origin);
        listing.containers.push(Found { owner, ..found });
    }
    listing.unreadable.append(&mut unreadable);
}

/// The folder that a symlink in the place of a container's folder leads to, as after a large one
/// was moved to another disk. dockerd follows it; so does the plugin if nobody but root can have
/// made it, or the user that the plugin runs as.
fn linked_folder(link: &Path) -> io::Result<SafePath> {
    let uid = link.symlink_metadata()?.uid();
    if uid != 0 && uid != geteuid().as_raw() {
        let reason = format!("it is a symlink that belongs to uid {uid}, not to root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let unresolved = |error: io::Error| {
        let reason = format!("it is a symlink that leads to no folder: {error}");
        io::Error::new(error.kind(), reason)
    };
    let folder = SafePath::from(link.canonicalize().map_err(unresolved)?);
    match folder.is_folder() {
        true => Ok(folder),
        false => Err(unresolved(io::ErrorKind::NotADirectory.into())),
    }
}

/// The error for a storage that has more than is read of it.
pub(crate) fn too_many(most: usize, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it has more than {most} {what}; the rest is not read"),
    )
}
