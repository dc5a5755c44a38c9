//! Inspects a checkpoint without side effects: creates, renames and writes nothing, and
//! releases the lock at once.

use std::path::Path;

use rustix::fs::{access, Access};

use crate::delivery::checkpoint::db_file::{
    open_when_unlocked, Access as Open, CheckpointError, LOCK_PAUSE,
};
use crate::delivery::checkpoint::store::CheckpointStore;

/// What a start would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// No file, but it can be created.
    Missing,
    /// A valid checkpoint.
    Whole {
        /// Number of containers with an entry.
        containers: usize,
        /// Number of damaged entries.
        damaged_entries: usize,
    },
    /// A file that a start would set aside, and why.
    Damaged(String),
}

/// Inspects the file at `path`. The errors are those of a start.
pub fn inspect(path: &Path) -> Result<Inspection, CheckpointError> {
    let failed = |source| CheckpointError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match open_when_unlocked(path, Open::Read, || std::thread::sleep(LOCK_PAUSE)) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            access(folder, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|error| failed(error.into()))?;
            return Ok(Inspection::Missing);
        }
        Err(error) => return Err(error.at(path)),
    };
    access(path, Access::READ_OK | Access::WRITE_OK).map_err(|error| failed(error.into()))?;
    match CheckpointStore::load(file).map_err(|error| error.at(path))? {
        Ok(opened) => Ok(Inspection::Whole {
            containers: opened.store.containers().len(),
            damaged_entries: opened.damaged_entries,
        }),
        Err(problem) => Ok(Inspection::Damaged(problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::id::ContainerId;

    #[test]
    fn a_look_tells_what_is_there_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.db");
        assert_eq!(inspect(&path).unwrap(), Inspection::Missing);
        assert!(!path.exists());
        let opened = CheckpointStore::open(&path).unwrap();
        let mut store = opened.store;
        store
            .advance(ContainerId::from_bytes([7; 32]), &Default::default())
            .unwrap();
        assert!(matches!(inspect(&path), Err(CheckpointError::InUse { .. })));
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        let expected = Inspection::Whole {
            containers: 1,
            damaged_entries: 0,
        };
        assert_eq!(inspect(&path).unwrap(), expected);
        assert_eq!(inspect(&path).unwrap(), expected, "the lock was released");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        std::fs::write(&path, [0; 100]).unwrap();
        assert!(matches!(inspect(&path).unwrap(), Inspection::Damaged(_)));
        assert_eq!(std::fs::read(&path).unwrap(), [0; 100]);
        std::fs::write(&path, "something else").unwrap();
        assert!(matches!(
            inspect(&path),
            Err(CheckpointError::NotOurs { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
        assert!(matches!(
            inspect(&dir.path().join("no/folder.db")),
            Err(CheckpointError::Io { .. })
        ));
    }
}
