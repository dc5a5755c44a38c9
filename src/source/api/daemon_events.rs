//! The daemon's events: subscribed to while anything is followed, and only a hint. This task
//! retries an unreachable daemon most often, so it also finds out for the followers when the
//! daemon is back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;

use crate::runtime::id::ContainerId;
use crate::source::api::connection::{get, StreamBody};
use crate::source::api::context::Context;
use crate::source::api::reachability::Backoff;
use crate::source::api::ContainerAction;

/// `{"type":["container"],"event":["create","start","die","destroy","remove","rename"]}`:
/// Docker reports `destroy`, Podman `remove`. Without the second part, each health check would
/// be reported.
const TARGET: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B\
    %22create%22%2C%22start%22%2C%22die%22%2C%22destroy%22%2C%22remove%22%2C%22rename%22%5D%7D";

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A subscription that lasted this long was a success.
const SUCCESS: Duration = Duration::from_secs(2);

/// An event contains all labels of its container. A longer line is not an event.
const LONGEST_EVENT: usize = 1024 * 1024;

/// Capacity of a buffer that is kept for the next event.
const KEPT_CAPACITY: usize = 4096;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DaemonEvent {
    action: String,
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

/// Subscribes, and again whenever the events end.
pub async fn watch_events(context: &Context) {
    let mut backoff = Backoff::up_to(LONGEST_WAIT);
    loop {
        let begun = Instant::now();
        match get(&context.socket, TARGET).await {
            Ok(answer) => {
                context.daemon.note_answer();
                if answer.status == StatusCode::OK {
                    context.set_events(true);
                    // Only a list shows what happened before this subscription.
                    context.relist_by(Instant::now());
                    read_events(context, answer.body).await;
                    context.set_events(false);
                }
            }
            Err(reason) => context.daemon.note_silence(begun, &reason),
        }
        if begun.elapsed() >= SUCCESS {
            backoff.reset();
        }
        context.daemon.pause(backoff.after_failure()).await;
    }
}

/// Handles events until the body ends or is not a sequence of events.
async fn read_events(context: &Context, mut body: StreamBody) {
    let mut buffer = VecDeque::new();
    while let Some(Ok(chunk)) = body.chunk().await {
        buffer.extend(chunk.iter());
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            report(context, &line);
        }
        if buffer.len() > LONGEST_EVENT {
            return;
        }
        buffer.shrink_to(KEPT_CAPACITY);
    }
}

fn report(context: &Context, line: &[u8]) {
    let Some((id, action)) = parse(line) else {
        return;
    };
    context.with_sink(|sink| sink.event(&id, action));
    if matches!(action, ContainerAction::Start | ContainerAction::Destroy) {
        if let Some(follow) = context.follows.borrow().get(&id) {
            follow.note_start();
        }
    }
}

fn parse(line: &[u8]) -> Option<(ContainerId, ContainerAction)> {
    let event: DaemonEvent = serde_json::from_slice(line).ok()?;
    let action = match event.action.as_str() {
        "create" => ContainerAction::Create,
        "start" => ContainerAction::Start,
        "die" => ContainerAction::Die,
        "destroy" | "remove" => ContainerAction::Destroy,
        "rename" => ContainerAction::Rename,
        _ => return None,
    };
    Some((ContainerId::parse(&event.actor.id)?, action))
}
