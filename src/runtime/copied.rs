//! The same container in several folders: a data root was copied, or a daemon left its root for
//! another one, as with userns-remap. Only one of them is in use, and no setting need tell which.
//! Its log is written, and its metadata are when the container is started.

use rustix::fs::Statx;

use crate::runtime::file::{nanos_of, stat_path};
use crate::runtime::seam::{Found, Runtime};

/// When something was last written to a container's folder, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Written {
    log: Option<u64>,
    metadata: Option<u64>,
    /// Bytes of the logs: a time is as coarse as a tick of the kernel's clock.
    bytes: u64,
}

impl Written {
    /// What the files of a container say.
    pub fn last(runtime: &dyn Runtime, found: &Found) -> Written {
        let logs = runtime.logs(found).into_iter();
        let logs: Vec<_> = logs.filter_map(|it| it.path.stat().ok()).collect();
        Written {
            log: logs.iter().map(time_of).max(),
            bytes: logs.iter().map(|stat| stat.stx_size).sum(),
            metadata: runtime
                .metadata_file(found)
                .and_then(|file| Some(time_of(&file.stat().ok()?))),
        }
    }
}

fn time_of(stat: &Statx) -> u64 {
    nanos_of(stat.stx_mtime)
}

/// Whether two runtimes, or two paths, lead to one folder.
pub fn is_same_folder(one: &Found, other: &Found) -> bool {
    let id = |found: &Found| stat_path(&found.dir).ok().map(|(id, _)| id);
    one.dir == other.dir || id(one).is_some_and(|one| id(other) == Some(one))
}

/// One of several folders of a container, at a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct State {
    /// When it was last written.
    pub written: Written,
    /// It was written since the folder that is read rested: times are as coarse as the kernel's
    /// clock.
    pub has_grown: bool,
}

/// Returns which of several folders of a container to read: the one that was written last. `read` is
/// the one that is read, and whether it rests: while it is written, it is read on.
pub fn choose(folders: &[State], read: Option<(usize, bool)>) -> usize {
    match read {
        Some((read, false)) => read,
        _ => {
            let first = read.map_or(0, |(read, _)| read);
            let is_later = |best: usize, it: usize| match folders[it] > folders[best] {
                true => it,
                false => best,
            };
            (0..folders.len()).fold(first, is_later)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written at these times, and since the one that is read rested.
    fn at(log: u64, metadata: u64, has_grown: bool) -> State {
        let time = |time| (time > 0).then_some(time);
        let (log, metadata) = (time(log), time(metadata));
        State {
            written: Written {
                log,
                metadata,
                bytes: 0,
            },
            has_grown,
        }
    }

    #[test]
    fn the_folder_whose_log_was_written_last_is_read_and_of_equal_ones_the_first() {
        for (folders, want) in [
            (vec![at(5, 1, false), at(7, 1, false)], 1),
            (vec![at(7, 1, false), at(5, 9, true)], 0),
            (vec![at(7, 1, false), at(7, 1, false)], 0),
            (vec![at(7, 1, false), at(7, 1, true)], 1),
            (vec![at(7, 1, false), at(7, 2, false), at(6, 3, false)], 1),
            (vec![at(0, 2, false), at(0, 3, false)], 1),
            (vec![at(0, 9, false), at(1, 0, false)], 1),
        ] {
            assert_eq!(choose(&folders, None), want, "{folders:?}");
        }
    }

    #[test]
    fn the_folder_that_is_read_stays_while_it_is_written() {
        let newer = [at(5, 1, false), at(7, 1, false)];
        assert_eq!(choose(&newer, Some((0, false))), 0);
        assert_eq!(choose(&newer, Some((0, true))), 1);
        assert_eq!(choose(&newer, Some((1, true))), 1);
        let alike = [at(7, 1, false), at(7, 1, false)];
        assert_eq!(choose(&alike, Some((1, true))), 1);
    }
}
