//! Lists the containers to find starts and removals that no event reported. One request covers
//! all containers, and none is sent while every followed container streams.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use crate::runtime::id::ContainerId;
use crate::source::api::context::Context;

/// Interval between two lists while events arrive.
const WITH_EVENTS: Duration = Duration::from_secs(30);

/// Interval while they do not, or after a list failed.
const WITHOUT_EVENTS: Duration = Duration::from_secs(2);

/// Lists the containers periodically, and earlier on request.
pub async fn relist(context: &Context) {
    let mut last = Instant::now();
    let mut has_failed = false;
    loop {
        let calm = context.has_events.get() && !has_failed;
        let regular = last + if calm { WITH_EVENTS } else { WITHOUT_EVENTS };
        let due = context
            .early_relist
            .get()
            .map_or(regular, |early| early.min(regular));
        if timeout_at(due.into(), context.relist_changed.notified())
            .await
            .is_ok()
        {
            continue;
        }
        context.early_relist.set(None);
        last = Instant::now();
        has_failed = is_awaited(context) && !compare(context, last).await;
    }
}

/// Whether any follower waits for a start.
fn is_awaited(context: &Context) -> bool {
    context
        .follows
        .borrow()
        .values()
        .any(|follow| follow.waiting_since.get().is_some())
}

/// Wakes the followers that were already waiting when the list was requested and whose
/// container runs or is not listed; in the latter case the daemon will report it as gone.
/// Returns whether the list was received.
async fn compare(context: &Context, asked: Instant) -> bool {
    let Ok(listed) = context.requests.list().await else {
        return false;
    };
    let listed: HashMap<ContainerId, bool> = listed.iter().map(|it| (it.id, it.running)).collect();
    for (id, follow) in context.follows.borrow().iter() {
        let has_waited = follow
            .waiting_since
            .get()
            .is_some_and(|since| since <= asked);
        if has_waited && listed.get(id).copied().unwrap_or(true) {
            follow.note_start();
        }
    }
    true
}
