//! The containers in the Bolt database of Podman before 4.8, `libpod/bolt_state.db`, which later
//! releases go on using where it exists.
//!
//! ```text
//! ctr / <id> / config    the configuration, JSON
//! ```

use crate::runtime::bolt::{self, BoltError};
use crate::runtime::podman::database::Failure;
use crate::runtime::safe_path::SafePath;

/// The bucket with a bucket for each container, and the key of its configuration.
const CONTAINERS: &[u8] = b"ctr";
const CONFIG: &[u8] = b"config";

/// How often a byte is visited: as a part of its page, and of a value, which may be in a bucket
/// that is a value.
const MOST_VISITS: usize = 3;

/// Calls `take` with id and configuration of each container in the database at `path`.
pub(super) fn read(
    path: &SafePath,
    most_bytes: u64,
    mut take: impl FnMut(&str, &str),
) -> Result<(), Failure> {
    let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
    bolt::read(
        path,
        most_bytes.saturating_mul(MOST_VISITS),
        |tree, root| {
            let Some(all) = tree.bucket_in(root, CONTAINERS)? else {
                return Ok(());
            };
            tree.each(&all, &mut |tree, container| {
                if !container.is_bucket {
                    return Ok(());
                }
                let bucket = tree.bucket(container.value)?;
                let config = tree.value_in(&bucket, CONFIG)?.unwrap_or_default();
                let texts = (
                    std::str::from_utf8(container.key),
                    std::str::from_utf8(&config),
                );
                if let (Ok(id), Ok(config)) = texts {
                    take(id, config);
                }
                Ok(())
            })
        },
    )?;
    Ok(())
}

impl From<BoltError> for Failure {
    fn from(error: BoltError) -> Failure {
        match error {
            BoltError::Io(error) => Failure::from(error),
            BoltError::Changed => Failure::Busy,
            error => Failure::Unreadable(error.to_string()),
        }
    }
}
