//! Where the containers of a runtime are that has one storage of root's, and others of users.

use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::data_root::DataRoot;
use crate::runtime::safe_path::{Base, Folder, SafePath};
use crate::runtime::seam::{Listing, Unreadable};
use crate::runtime::storage::{Identify, Limits, LIMITS_OF_ROOT, LIMITS_OF_USERS};
use crate::runtime::user_storages::Users;

/// Adds the containers of one storage to a listing.
pub(crate) type ListStorage = fn(&SafePath, &Folder, Limits, &mut Listing, Identify<'_>);

/// Root's storage, or users' storages.
#[derive(Debug)]
pub(crate) enum Storages {
    /// Root's.
    Root(DataRoot),
    /// Those of the users that an option selects.
    Users(Users),
}

impl Storages {
    /// The path that must be readable for anything to be found.
    pub fn root(&self) -> PathBuf {
        match self {
            Storages::Root(root) => root.path(),
            Storages::Users(users) => users.passwd(),
        }
    }

    /// The folders to name at the start, of which `root` is that of root's storage.
    pub fn places(&self, root: &Path) -> Vec<PathBuf> {
        match self {
            Storages::Root(_) => vec![root.to_owned()],
            Storages::Users(_) => Vec::new(),
        }
    }

    /// Whether somebody says where it is, or whose they are.
    pub fn is_configured(&self) -> bool {
        match self {
            Storages::Root(root) => root.is_configured(),
            Storages::Users(_) => true,
        }
    }

    /// Settings of root's that cannot be read or are not valid. Those of users are found by a look at
    /// their storages.
    pub fn problem(&self) -> Option<Unreadable> {
        match self {
            Storages::Root(root) => root.problem(),
            Storages::Users(_) => None,
        }
    }

    /// Lists the containers; `list` adds those of one storage, whose folder is open.
    pub fn list(&self, root: &Path, list: ListStorage) -> io::Result<Listing> {
        let listed = match self {
            Storages::Users(users) => users.list(&|storage, folder, listing, identify| {
                list(storage, folder, LIMITS_OF_USERS, listing, identify)
            }),
            Storages::Root(_) => {
                let storage = SafePath::below(&Base::of_machine(root), root);
                storage.open_folder().map(|folder| {
                    let mut listing = Listing::default();
                    let identify: Identify<'_> = &|id| (id, None);
                    list(&storage, &folder, LIMITS_OF_ROOT, &mut listing, identify);
                    listing
                })
            }
        };
        self.with_problem(listed)
    }

    /// Names what sets the folder that cannot be listed.
    fn with_settings(&self, error: io::Error) -> io::Error {
        let set_by = match self {
            Storages::Root(root) => root.set_by(),
            Storages::Users(_) => None,
        };
        match set_by {
            Some(settings) => io::Error::new(error.kind(), format!("{error}; {settings} sets it")),
            None => error,
        }
    }

    /// Adds the problem of the settings to a listing; where nothing is found, it is the reason, or else
    /// the settings are named.
    pub fn with_problem(&self, listed: io::Result<Listing>) -> io::Result<Listing> {
        let Some(problem) = self.problem() else {
            return listed.map_err(|error| self.with_settings(error));
        };
        match listed {
            Ok(mut listing) => {
                listing.unreadable.push(problem);
                Ok(listing)
            }
            Err(error) => {
                let (path, reason) = (problem.path.display(), problem.error);
                let text = format!("{error}; {path}, which may set another one: {reason}");
                Err(io::Error::new(error.kind(), text))
            }
        }
    }
}
