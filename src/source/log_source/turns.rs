//! The logs of a container whose driver was changed more than once while nobody read it, or while the
//! reader was behind: parts of one are between parts of another.
//!
//! ```text
//! json-file   [ read | unread 1 ............... | unread 3 ]
//! local       [ ..............  | unread 2 ]
//! ```
//!
//! One position is stored, so they are read in the order of their times, in turns. A turn reads a
//! log to its end and holds back what is later than the next entry of another one; that is read in
//! a later turn, from the start of the log on, where what was delivered is known by its time. Where
//! a log has unread entries shows in a turn that holds back all of them.

use std::io;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::position::Timestamp;
use crate::pipeline::hold_back::HoldBack;
use crate::runtime::LogFiles;
use crate::source::describe::Description;
use crate::source::file::extent::{log_of, may_be_later, was_made_after};
use crate::source::file::rotation::Start;
use crate::source::log_source::{LogSource, Source};
use crate::source::services::Surroundings;

/// The logs that are read in turns.
#[derive(Debug)]
pub struct Turns {
    waiting: Vec<Waiting>,
    /// Nothing is held back in the turn that was returned last.
    pub is_last: bool,
    /// The log of the checkpoint, and where it is resumed in its first turn.
    resumed: Option<(LogFiles, Start)>,
}

/// A log that may have unread entries.
#[derive(Debug)]
struct Waiting {
    files: LogFiles,
    /// The time of the first one, once that is known.
    since: Option<Timestamp>,
}

/// What is read next.
#[derive(Debug)]
pub struct Turn {
    /// The log.
    pub files: LogFiles,
    /// Where it is begun.
    pub start: Start,
    /// What is left for a later turn; `None` in the last one.
    pub hold_back: Option<HoldBack>,
}

impl Turns {
    /// Of the log with the checkpoint, which is resumed as given, and these others.
    pub fn new(resumed: LogFiles, start: Start, others: Vec<LogFiles>) -> Turns {
        let others = others
            .into_iter()
            .map(|files| Waiting { files, since: None });
        let first = Waiting {
            files: resumed.clone(),
            since: Some(Timestamp::default()),
        };
        Turns {
            waiting: std::iter::once(first).chain(others).collect(),
            is_last: false,
            resumed: Some((resumed, start)),
        }
    }

    /// The folder of the logs is elsewhere now.
    pub fn move_by(&mut self, moved: impl Fn(&LogFiles) -> LogFiles) {
        for log in &mut self.waiting {
            log.files = moved(&log.files);
        }
        if let Some((files, _)) = &mut self.resumed {
            *files = moved(files);
        }
    }

    /// Whether a log is among those of which something may be unread.
    fn waits_for(&self, files: &LogFiles) -> bool {
        self.waiting.iter().any(|log| log.files == *files)
    }

    /// The next turn, after everything up to `saved` was delivered.
    pub fn next(&mut self, saved: ContainerCheckpoint) -> Option<Turn> {
        // One of which nothing is known yet comes before all others.
        let least = self.waiting.iter().min_by_key(|log| log.since)?;
        let others = self.waiting.iter().filter(|log| log.files != least.files);
        let later = others.filter_map(|log| log.since).min();
        let hold_back = match least.since {
            None => Some(HoldBack::All),
            Some(_) => later.map(HoldBack::LaterThan),
        };
        self.is_last = hold_back.is_none();
        let resumed = self.resumed.take_if(|(files, _)| *files == least.files);
        let start = resumed.map_or(
            Start::After {
                saved,
                may_repeat: true,
            },
            |(_, start)| start,
        );
        Some(Turn {
            files: least.files.clone(),
            start,
            hold_back,
        })
    }

    /// A turn of this log ended; it held back entries from `held` on.
    pub fn ended(&mut self, files: &LogFiles, held: Option<Timestamp>) {
        self.waiting.retain_mut(|log| {
            if log.files == *files {
                log.since = held;
            }
            log.files != *files || held.is_some()
        });
    }
}

/// The logs that may have something between what is unread of the first one, whose last delivered
/// entry is given, or between what those have.
fn between(logs: &[LogFiles], first: usize, last: Timestamp) -> Vec<LogFiles> {
    let mut together = vec![first];
    let mut rest: Vec<usize> = (0..logs.len()).collect();
    rest.retain(|index| *index != first && may_be_later(&logs[*index], last));
    // The earlier ones were written after what was delivered, and the first one after that.
    let (earlier, mut rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|it| *it < first);
    together.extend(earlier);
    let is_apart = |it: usize, together: &[usize]| {
        let mut read_first = together.iter();
        read_first.all(|other| was_made_after(&logs[it], &logs[*other]))
    };
    while let Some(at) = rest.iter().position(|it| !is_apart(*it, &together)) {
        together.push(rest.remove(at));
    }
    together
        .into_iter()
        .skip(1)
        .map(|it| logs[it].clone())
        .collect()
}

/// Which of the logs to resume in, and where.
pub(super) fn resume_in(
    logs: &[LogFiles],
    saved: &ContainerCheckpoint,
) -> io::Result<(usize, ContainerCheckpoint)> {
    let mut of_streams = [None, None];
    for (index, checkpoint) in of_streams.iter_mut().zip(saved) {
        *index = log_of(logs, checkpoint)?;
    }
    let mut saved = *saved;
    let Some(first) = of_streams.into_iter().flatten().min() else {
        return Ok((logs.len() - 1, saved));
    };
    for (index, checkpoint) in of_streams.into_iter().zip(&mut saved) {
        if index.is_some_and(|index| index > first) {
            *checkpoint = by_time(checkpoint);
        }
    }
    Ok((first, saved))
}

/// What is known of a stream where its file is not at hand.
fn by_time(checkpoint: &StreamCheckpoint) -> StreamCheckpoint {
    StreamCheckpoint {
        cursor: checkpoint.cursor,
        is_by_time: true,
        is_mid_line: checkpoint.is_mid_line,
        ..StreamCheckpoint::default()
    }
}

/// The time of the last entry up to a position.
fn last_of(saved: &ContainerCheckpoint) -> Timestamp {
    let times = saved.iter().map(|stream| stream.cursor.time);
    times.max().unwrap_or_default()
}

impl LogSource {
    /// Reads one of the logs from `start` on, in turns with those that may have entries between its
    /// own. The older ones among the others were read.
    pub(super) fn begin_among(
        &mut self,
        logs: &[LogFiles],
        first: usize,
        start: Start,
        about: &Description,
    ) {
        let saved = start.position();
        let others = between(logs, first, last_of(&saved));
        for log in logs[..first].iter().filter(|log| !others.contains(log)) {
            self.places.leave(log.clone());
        }
        let log = logs[first].clone();
        if !others.is_empty() {
            let mut turns = Turns::new(log.clone(), start, others);
            if let Some(turn) = turns.next(saved) {
                self.source = Source::of_turn(about, turn);
                self.places.turns = Some(Box::new(turns));
                return;
            }
        }
        self.source = Source::of(about, log, start);
    }

    /// The driver was changed and changed back while the log that is open was not read to its end:
    /// it is resumed where it is, as after a restart, in turns with what others have in between.
    pub(super) fn find_turns(&mut self, about: &Description, around: &mut Surroundings<'_>) {
        if !self.is_interrupted(about) {
            return;
        }
        let Some(tailer) = self.open_tailer() else {
            return;
        };
        tailer.lose_deleted(around.link);
        let saved = tailer.hand_over();
        self.places.end_turns();
        self.restart(about, Start::Saved(saved), around);
    }

    /// Whether a log that is not read yet has entries between those of the open one.
    fn is_interrupted(&self, about: &Description) -> bool {
        let Some(tailer) = self.tailer().filter(|tailer| tailer.is_open()) else {
            return false;
        };
        let logs = self.unread_logs(about).unwrap_or_default();
        let is_open = |files: &LogFiles| files == tailer.files();
        let Some(first) = logs.iter().position(is_open).filter(|_| logs.len() > 1) else {
            return false;
        };
        let turns = self.places.turns.as_ref();
        let waits = |files: &LogFiles| turns.is_some_and(|turns| turns.waits_for(files));
        let others = between(&logs, first, last_of(&tailer.position()));
        let is_new = |files: &LogFiles| !waits(files) && !self.places.has_all_of(files);
        others.iter().any(is_new)
    }
}

impl Source {
    /// The files of a turn.
    pub(super) fn of_turn(about: &Description, turn: Turn) -> Source {
        let mut source = Source::of(about, turn.files, turn.start);
        if let (Source::Files { tailer, .. }, Some(which)) = (&mut source, turn.hold_back) {
            tailer.hold_back(which);
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> LogFiles {
        LogFiles::numbered(std::path::PathBuf::from(name))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    /// The turns of two logs with these unread times: for each, the log and what it delivers.
    fn played(json: &[i64], local: &[i64]) -> Vec<(char, Vec<i64>)> {
        let (json, local) = ((log("/c/json"), json), (log("/c/local"), local));
        let saved = ContainerCheckpoint::default();
        let start = Start::Saved(saved);
        let mut turns = Turns::new(json.0.clone(), start, vec![local.0.clone()]);
        let (mut delivered, mut last, mut all) = (Vec::new(), 0, Vec::<i64>::new());
        while let Some(turn) = turns.next(saved) {
            let is_json = turn.files == json.0;
            let unread = if is_json { json.1 } else { local.1 };
            let is_held = |time: &i64| match turn.hold_back {
                None => false,
                Some(HoldBack::All) => true,
                Some(HoldBack::LaterThan(limit)) => at(*time) > limit,
            };
            let unread = unread.iter().copied().filter(|time| *time > last);
            let (held, taken): (Vec<i64>, Vec<i64>) = unread.partition(is_held);
            last = taken.last().copied().unwrap_or(last);
            all.extend(&taken);
            delivered.push((if is_json { 'j' } else { 'l' }, taken));
            turns.ended(&turn.files, held.first().map(|time| at(*time)));
            assert_eq!(turn.hold_back.is_none(), turns.waiting.is_empty());
        }
        assert!(all.is_sorted());
        delivered
    }

    #[test]
    fn what_one_log_has_between_parts_of_another_is_read_between_them() {
        assert_eq!(
            played(&[1, 2, 5, 6], &[3, 4]),
            [
                ('l', vec![]),
                ('j', vec![1, 2]),
                ('l', vec![3, 4]),
                ('j', vec![5, 6])
            ]
        );
        assert_eq!(
            played(&[1, 4], &[2, 3, 5]),
            [
                ('l', vec![]),
                ('j', vec![1]),
                ('l', vec![2, 3]),
                ('j', vec![4]),
                ('l', vec![5])
            ]
        );
        assert_eq!(played(&[1, 2], &[]), [('l', vec![]), ('j', vec![1, 2])]);
        assert_eq!(
            played(&[], &[1, 2]),
            [('l', vec![]), ('j', vec![]), ('l', vec![1, 2])]
        );
    }
}
