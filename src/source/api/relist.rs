//! Lists the containers to find the starts and removals that no event told.
//! One request for all, and none while every followed container streams.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use crate::runtime::id::ContainerId;
use crate::source::api::context::Context;

/// Between two lists while the events come.
const WITH_EVENTS: Duration = Duration::from_secs(30);

/// Between two lists while they do not, or the last list failed.
const WITHOUT_EVENTS: Duration = Duration::from_secs(2);

/// Calls the roll, again and again.
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

/// Wakes the followers that waited already before the list was asked for and
/// whose container runs, or is gone, which the daemon will tell them. Gives
/// whether there was a list.
async fn compare(context: &Context, asked: Instant) -> bool {
    let Ok(listed) = context.requests.list(context).await else {
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
