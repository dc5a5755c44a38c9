//! The containers that write to one log file, as `--log-opt path` can have them: which lines of it are
//! whose.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::format::position::Timestamp;
use crate::source::file::tailer::Tailer;
use crate::source::fleet::{Fleet, Turn};
use crate::source::services::Services;
use crate::telemetry::event::Event;

impl Fleet {
    /// Divides each log outside its container's folder among the containers that have it: by the
    /// times of their creation.
    pub(super) fn divide_logs(&mut self, turn: &mut Turn<'_>) {
        let mut by_path: HashMap<PathBuf, Vec<(Timestamp, usize)>> = HashMap::new();
        for (key, container) in self.containers.iter() {
            if let Some((path, created)) = container.outside() {
                by_path.entry(path).or_default().push((created, key));
            }
        }
        for (path, mut sharing) in by_path {
            sharing.sort_unstable();
            for (index, (_, key)) in sharing.iter().enumerate() {
                if let Some(next) = sharing.get(index + 1) {
                    self.end_at(*key, *next, turn);
                }
            }
            if let [.., (_, other), (_, last)] = sharing[..] {
                self.report_shared(path, last, other, turn);
            }
        }
    }

    /// The lines of a container end where the next one with its log was created.
    fn end_at(&mut self, key: usize, next: (Timestamp, usize), turn: &mut Turn<'_>) {
        let (end, next) = next;
        let Some(container) = self.containers.get_mut(key) else {
            return;
        };
        if !container.end_at(end) {
            return;
        }
        // It may have read lines of the next one before that was found.
        let read_beyond = |tailer: &mut Tailer| tailer.read_beyond(end);
        let beyond = container.tailer_mut().and_then(read_beyond);
        let next_one = self.containers.get_mut(next);
        let untouched = next_one.filter(|it| it.tailer().is_some_and(Tailer::is_untouched));
        if let (Some(beyond), Some(untouched)) = (beyond, untouched) {
            untouched.go_on_at(beyond, &turn.services.link);
            turn.schedule.look_into(next);
        }
    }

    /// Reports once that two containers that run write to one log.
    fn report_shared(&mut self, path: PathBuf, last: usize, other: usize, turn: &mut Turn<'_>) {
        let both = [last, other].map(|key| self.containers.get(key));
        let [Some(last), Some(other)] = both else {
            return;
        };
        let is_both = last.is_said_to_run() && other.is_said_to_run();
        if is_both && self.shared.insert(path.clone()) {
            let (name, short_id) = last.names();
            let (other, other_id) = other.names();
            turn.services.link.report(Event::SharedLog {
                name,
                short_id,
                other,
                other_id,
                path,
            });
        }
    }

    /// A container that is gone was read to its end: an earlier one that still has its log goes on
    /// there. Returns its key.
    pub(super) fn pass_back(
        &mut self,
        path: &Path,
        end: ContainerCheckpoint,
        services: &mut Services,
    ) -> Option<usize> {
        let sharing = self.containers.iter().filter_map(|(key, container)| {
            let (of_it, created) = container.outside().filter(|_| !container.is_gone)?;
            (of_it == path).then_some((created, key))
        });
        let (_, key) = sharing.max()?;
        let container = self.containers.get_mut(key).filter(|it| it.has_end())?;
        container.go_on_at(end, &services.link);
        Some(key)
    }
}
