//! Where the containers of a runtime are that has one storage of root's, and others of users.

use std::path::{Path, PathBuf};

use crate::runtime::data_root::DataRoot;
use crate::runtime::user_storages::Users;

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
}
