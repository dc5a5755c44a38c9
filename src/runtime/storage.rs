//! Lists the folders of a storage up to fixed limits, so that whoever writes one can delay
//! nobody else.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;

use crate::runtime::id::ContainerId;
use crate::runtime::root_path::{is_trusted, only_root_can_replace};
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

/// The subfolders of a folder with names that are wanted, sorted, so that a limit always leaves out
/// the same ones. A symlink in the place of one is noted.
pub(crate) fn names(
    folder: &Folder,
    path: &Path,
    limits: Limits,
    is_wanted: impl Fn(&str) -> bool,
    listing: &mut Listing,
) -> Vec<String> {
    let mut names = Vec::new();
    for (name, kind) in sorted(folder, path, limits, listing) {
        match kind {
            _ if !is_wanted(&name) => {}
            FileType::Directory | FileType::Unknown => names.push(name),
            FileType::Symlink => listing.note(path.join(name), not_followed()),
            _ => {}
        }
    }
    names
}

/// The error for a symlink in the place of a folder.
pub(crate) fn not_followed() -> io::Error {
    let reason = "it is a symlink, which is not followed here";
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn sorted(
    folder: &Folder,
    path: &Path,
    limits: Limits,
    listing: &mut Listing,
) -> Vec<(String, FileType)> {
    let entries = folder.entries(limits.names).unwrap_or_else(|error| {
        listing.note(path, error);
        Default::default()
    });
    if let Some(error) = entries.failure {
        listing.note(path, error);
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
    let mut left = limits.containers;
    for (name, kind) in sorted(folder, dir, limits, listing) {
        let Some(id) = ContainerId::parse(&name) else {
            continue;
        };
        if left == 0 {
            listing.note(dir.to_path_buf(), too_many(limits.containers, "containers"));
            break;
        }
        left -= 1;
        let origin = dir.join(name);
        let place = match folder_at(&origin, kind) {
            Ok(Some(folder)) => folder,
            Ok(None) => continue,
            Err(error) => {
                // The link is there even if its target is not.
                let unreadable = Unreadable::folder(origin.to_path_buf(), error);
                listing.unreadable.push(unreadable);
                continue;
            }
        };
        let (id, owner) = identify(id);
        let found = Found::new(id, place, origin.shared());
        listing.containers.push(Found {
            owner: owner.map(Box::new),
            ..found
        });
    }
}

/// The folder of a container; `None` if there is something else. In a storage of root's it may be
/// a symlink of root's.
pub(crate) fn folder_at(path: &SafePath, kind: FileType) -> io::Result<Option<SafePath>> {
    let kind = match kind {
        // The file system does not say what it is.
        FileType::Unknown => path
            .stat()
            .map_or(kind, |stat| FileType::from_raw_mode(stat.stx_mode.into())),
        kind => kind,
    };
    match kind {
        FileType::Directory => Ok(Some(path.clone())),
        FileType::Symlink if path.is_of_user() => Err(not_followed()),
        FileType::Symlink => linked_folder(path).map(Some),
        _ => Ok(None),
    }
}

/// The folder that a symlink in the place of a container's folder leads to, as after a large one
/// was moved to another disk. dockerd follows it; so does the plugin if nobody but root can have
/// made it or can replace what it leads to, or the user that the plugin runs as.
fn linked_folder(link: &Path) -> io::Result<SafePath> {
    let uid = link.symlink_metadata()?.uid();
    let refused = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    if !is_trusted(uid) {
        let reason = format!("it is a symlink that belongs to uid {uid}, not to root");
        return Err(refused(reason));
    }
    let unresolved = |error: io::Error| {
        let reason = format!("it is a symlink that leads to no folder: {error}");
        io::Error::new(error.kind(), reason)
    };
    let target = link.parent().unwrap_or(link).join(link.read_link()?);
    only_root_can_replace(&target)
        .map_err(|reason| refused(format!("it is a symlink that is not followed: {reason}")))?;
    let kind = target.symlink_metadata().map_err(unresolved)?.file_type();
    if kind.is_symlink() {
        let reason = "it is a symlink to another one, which is not followed";
        return Err(refused(reason.to_owned()));
    }
    if !kind.is_dir() {
        return Err(unresolved(io::ErrorKind::NotADirectory.into()));
    }
    // Only `..` is left to resolve.
    Ok(SafePath::from(target.canonicalize().map_err(unresolved)?))
}

/// The error for a storage that has more than is read of it.
pub(crate) fn too_many(most: usize, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it has more than {most} {what}; the rest is not read"),
    )
}
