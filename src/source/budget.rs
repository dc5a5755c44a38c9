//! Deleted files that are held open until they are read: while the output stalls, they occupy
//! disk space, which `Held_Files_Limit` bounds.
//!
//! A file counts if it has no name any more and part of it is unread. It counts with its full
//! size, because that is what the disk does not get back. Over the limit, the oldest file of
//! the container that holds the most is dropped. If dockerd compressed it before deleting it,
//! the compressed file replaces it and nothing is lost; otherwise its unread part is lost.
//!
//! Descriptors are bounded as well: they are the host's, which needs some to reconnect its
//! output.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rustix::process::{getrlimit, Resource};

use crate::delivery::link::Link;
use crate::source::file::generation::HeldFile;
use crate::source::fleet::Fleet;
use crate::telemetry::account::Held;
use crate::telemetry::activity::Doing;

/// Interval between two checks of the open files.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);
/// Deleted files may use the descriptors that the process may open, divided by this.
const DESCRIPTORS_PART: u64 = 2;

/// The deleted files that all containers hold, and the limit on them.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    next_survey: Option<Instant>,
    is_any_held: bool,
}

impl Budget {
    /// Creates an empty budget; `limit` is in bytes.
    pub fn new(limit: u64) -> Budget {
        Budget {
            limit,
            next_survey: None,
            is_any_held: false,
        }
    }

    /// When the next check is due, if one is scheduled.
    pub fn next(&self) -> Option<Instant> {
        self.next_survey
    }

    /// If a check is due, applies the limits to the files of the active containers: only these
    /// have unread data. `is_behind` says whether any container has unread data.
    pub fn survey(
        &mut self,
        fleet: &mut Fleet,
        active: &[usize],
        link: &Link,
        is_behind: bool,
        now: Instant,
    ) {
        if !is_behind && !self.is_any_held {
            self.next_survey = None;
            return;
        }
        // Wait one interval first: a file that merely takes more than one slice needs no
        // check.
        let due = *self.next_survey.get_or_insert(now + SURVEY_INTERVAL);
        if now < due {
            return;
        }
        self.next_survey = Some(now + SURVEY_INTERVAL);
        let mut files = Vec::new();
        for key in active {
            if let Some(tailer) = fleet.tailer_mut(*key) {
                link.activity.is(Doing::Looking, tailer.id());
                files.extend(tailer.survey(now).into_iter().map(|file| (*key, file)));
            }
        }
        let limit = getrlimit(Resource::Nofile).current;
        let (held, dropped) = over(files, self.limit, most_files(limit, fleet.sharing()));
        for Dropped {
            key,
            number,
            reason,
        } in dropped
        {
            if let Some(tailer) = fleet.tailer_mut(key) {
                tailer.drop_held(number, link, reason);
            }
        }
        self.is_any_held = held.files > 0;
        link.accounts.set_held(held);
    }
}

/// A file to drop because a limit is exceeded.
#[derive(Debug)]
struct Dropped {
    key: usize,
    number: u32,
    reason: String,
}

/// Returns the files to drop and the totals without them. Drops the oldest file of the
/// container that holds the most of what is short, so that a flooding container affects no
/// other.
fn over(mut files: Vec<(usize, HeldFile)>, limit: u64, most_files: u64) -> (Held, Vec<Dropped>) {
    files.sort_by_key(|(key, file)| (file.since, *key, file.number));
    let mut held = Held {
        files: files.len() as u64,
        bytes: files.iter().map(|(_, file)| file.bytes).sum(),
    };
    let mut of_containers: BTreeMap<usize, VecDeque<HeldFile>> = BTreeMap::new();
    for (key, file) in files {
        of_containers.entry(key).or_default().push_back(file);
    }
    let mut dropped = Vec::new();
    loop {
        let is_too_large = held.bytes > limit;
        if !is_too_large && held.files <= most_files {
            return (held, dropped);
        }
        let share = |files: &VecDeque<HeldFile>| match is_too_large {
            true => files.iter().map(|file| file.bytes).sum(),
            false => files.len() as u64,
        };
        let largest = of_containers.iter_mut().max_by_key(|(_, files)| {
            (
                share(files),
                files.front().map(|oldest| std::cmp::Reverse(oldest.since)),
            )
        });
        let Some((key, file)) = largest.and_then(|(key, files)| Some((*key, files.pop_front()?)))
        else {
            return (held, dropped);
        };
        let reason = if is_too_large {
            format!(
                "deleted files take {} bytes, more than Held_Files_Limit ({limit})",
                held.bytes
            )
        } else {
            format!(
                "{} deleted files are held open, more than this process may hold ({most_files})",
                held.files
            )
        };
        held.files -= 1;
        held.bytes -= file.bytes;
        dropped.push(Dropped {
            key,
            number: file.number,
            reason,
        });
    }
}

/// Number of deleted files that one of `inputs` inputs may hold, in a process that may open `limit`
/// files.
fn most_files(limit: Option<u64>, inputs: usize) -> u64 {
    let part = DESCRIPTORS_PART.saturating_mul(inputs as u64);
    limit.map_or(u64::MAX, |most| most / part.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(files: &[(usize, u64)], limit: u64, most_files: u64) -> (Held, Vec<(usize, u32)>) {
        let began = Instant::now();
        let files = files.iter().enumerate().map(|(number, (key, bytes))| {
            let since = began + Duration::from_secs(number as u64);
            (
                *key,
                HeldFile {
                    number: number as u32,
                    bytes: *bytes,
                    since,
                },
            )
        });
        let (held, dropped) = over(files.collect(), limit, most_files);
        (
            held,
            dropped
                .iter()
                .map(|dropped| (dropped.key, dropped.number))
                .collect(),
        )
    }

    #[test]
    fn who_holds_the_most_loses_its_oldest_and_nobody_else_does() {
        // The container that floods nothing holds the oldest file of all.
        let files = [(7, 10), (1, 30), (1, 30), (1, 30)];
        assert_eq!(
            dropped(&files, 50, 100),
            (
                Held {
                    files: 2,
                    bytes: 40
                },
                vec![(1, 1), (1, 2)]
            )
        );
        assert_eq!(
            dropped(&files, 100, 100),
            (
                Held {
                    files: 4,
                    bytes: 100
                },
                vec![]
            )
        );
        // Of two that hold the same amount, the one whose file is older.
        assert_eq!(
            dropped(&[(1, 10), (2, 10)], 10, 100),
            (
                Held {
                    files: 1,
                    bytes: 10
                },
                vec![(1, 0)]
            )
        );
        assert_eq!(
            dropped(&[(1, 10)], 0, 100),
            (Held { files: 0, bytes: 0 }, vec![(1, 0)])
        );
    }

    #[test]
    fn inputs_share_half_of_the_descriptors_for_deleted_files() {
        for (inputs, most) in [(1, 512), (2, 256), (3, 170)] {
            assert_eq!(most_files(Some(1024), inputs), most, "{inputs} inputs");
        }
        assert_eq!(most_files(None, 2), u64::MAX);
    }

    #[test]
    fn descriptors_are_given_back_by_who_holds_the_most_files() {
        let files = [(7, 1_000), (1, 1), (1, 1), (1, 1)];
        assert_eq!(
            dropped(&files, 1 << 20, 2),
            (
                Held {
                    files: 2,
                    bytes: 1_001
                },
                vec![(1, 1), (1, 2)]
            )
        );
    }
}
