//! Containers that were removed while this process was not running. Their logs went with them, and
//! nothing tells whether these had been read to their end.

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::delivery::link::Link;
use crate::format::rfc3339;
use crate::runtime::id::ContainerId;
use crate::telemetry::event::Event;

/// How many of them the message names.
const MOST_NAMED: usize = 5;

/// Counts and reports them, and drops their checkpoints.
pub fn forget(removed: Vec<ContainerId>, link: &Link) {
    let is_counted = |id: &ContainerId| {
        let saved = link.checkpoint.saved(id);
        saved.is_some_and(|saved| saved.iter().any(StreamCheckpoint::is_counted))
    };
    let (counted, mut removed): (Vec<_>, Vec<_>) = removed.into_iter().partition(is_counted);
    for id in counted {
        link.leave(id);
    }
    if removed.is_empty() {
        return;
    }
    removed.sort_unstable_by_key(|id| *id.bytes());
    let saved = removed.iter().filter_map(|id| link.checkpoint.saved(id));
    let last = saved.flatten().map(|stream| stream.cursor.time).max();
    let named = removed.iter().take(MOST_NAMED).map(ContainerId::short);
    let mut ids = named.collect::<Vec<_>>().join(", ");
    let unnamed = removed.len().saturating_sub(MOST_NAMED);
    if unnamed > 0 {
        ids += &format!(" and {unnamed} more");
    }
    link.accounts.abandon_files(removed.len() as u64);
    link.report(Event::RemovedMeanwhile {
        count: removed.len(),
        ids,
        last: rfc3339::format(last.unwrap_or_default()),
    });
    for id in removed {
        link.leave(id);
    }
}
