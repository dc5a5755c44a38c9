//! Follows one container: asks for its stream, hands on what comes, and asks
//! again when it ends. Ends itself when the container is gone or cannot be
//! read; otherwise it is aborted by the thread.

use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;

use super::backoff::Backoff;
use super::connection::{get, Answer, StreamBody};
use super::context::{Context, Follow};
use super::entries::EntryDecoder;
use super::requests::RequestError;
use super::StreamEnd;
use crate::checkpoint::ContainerId;
use crate::position::Timestamp;

/// The longest wait between two attempts. A stream that lived so long was a
/// success.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A stream ended in order after it had lived this long: its container has
/// stopped, or the daemon has closed the stream of a running one. The list
/// tells, and is asked for so soon.
pub const EARLY_ROLL_CALL: Duration = Duration::from_secs(2);

/// Bytes handled between two flushes at the most.
const BURST: usize = 64 * 1024;

/// Follows `id` for ever, or until it cannot be followed. `wait` comes first.
pub async fn follow(context: Rc<Context>, id: ContainerId, follow: Rc<Follow>, wait: Duration) {
    if !wait.is_zero() {
        context.pause(wait).await;
    }
    let mut follower = Follower { context, id, has_terminal: None, has_progressed: false };
    let mut backoff = Backoff::up_to(LONGEST_WAIT);
    loop {
        let starts = follow.starts.get();
        let begun = Instant::now();
        let end = follower.attempt(begun).await;
        let lived = begun.elapsed();
        if follower.has_progressed || lived >= LONGEST_WAIT || end == StreamEnd::Finished {
            backoff.reset();
        }
        if !end.is_retried() {
            // First, so that the sink may have it followed anew at once.
            follower.context.follows.borrow_mut().remove(&id);
        }
        let has_failed = matches!(end, StreamEnd::Failed(_));
        let is_retried = end.is_retried();
        follower.context.with_sink(|sink| {
            sink.flush(&id);
            sink.ended(&id, end);
        });
        if !is_retried {
            return;
        }
        if has_failed {
            follower.context.pause(backoff.after_failure()).await;
        } else {
            wait_for_start(&follower.context, &follow, starts, lived).await;
        }
    }
}

/// Waits for a sign of a start that came after there were `starts` of them.
async fn wait_for_start(context: &Context, follow: &Follow, starts: u64, lived: Duration) {
    follow.waiting_since.set(Some(Instant::now()));
    if lived >= EARLY_ROLL_CALL || !context.has_events.get() {
        context.call_roll_by(Instant::now() + EARLY_ROLL_CALL);
    }
    while follow.starts.get() == starts {
        follow.started.notified().await;
    }
    follow.waiting_since.set(None);
}

struct Follower {
    context: Rc<Context>,
    id: ContainerId,
    /// Known once and for all: a container never changes it.
    has_terminal: Option<bool>,
    /// Whether the last attempt brought something later than it asked for.
    has_progressed: bool,
}

impl Follower {
    /// One stream, from request to end.
    async fn attempt(&mut self, begun: Instant) -> StreamEnd {
        self.has_progressed = false;
        let since = self.context.with_sink(|sink| sink.since(&self.id));
        let answer = match get(&self.context.socket, &logs_target(&self.id, since)).await {
            Ok(answer) => answer,
            Err(reason) => {
                self.context.note_silence(begun, &reason);
                return StreamEnd::Failed(reason);
            }
        };
        self.context.note_answer();
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => return StreamEnd::Gone,
            StatusCode::NOT_IMPLEMENTED => return StreamEnd::Unsupported(answer.body.error_text().await),
            status => return StreamEnd::Failed(format!("{status}: {}", answer.body.error_text().await)),
        }
        let has_terminal = match self.has_terminal(&answer).await {
            Ok(has_terminal) => has_terminal,
            Err(end) => return end,
        };
        let decoder = EntryDecoder::new(has_terminal, since.unwrap_or_else(now));
        match self.hand_on(answer.body, decoder, since).await {
            Ok(()) => StreamEnd::Finished,
            Err(reason) => StreamEnd::Failed(reason),
        }
    }

    /// Newer daemons say it with the answer; older ones are asked, once.
    async fn has_terminal(&mut self, answer: &Answer) -> Result<bool, StreamEnd> {
        if answer.content_type.starts_with("application/vnd.docker.raw-stream") {
            return Ok(true);
        }
        if answer.content_type.starts_with("application/vnd.docker.multiplexed-stream") {
            return Ok(false);
        }
        if let Some(known) = self.has_terminal {
            return Ok(known);
        }
        match self.context.requests.inspect(&self.context, &self.id).await {
            Ok(inspected) => Ok(*self.has_terminal.insert(inspected.tty)),
            Err(RequestError::NotFound) => Err(StreamEnd::Gone),
            Err(RequestError::Failed(reason)) => Err(StreamEnd::Failed(reason)),
        }
    }

    /// Decodes the body to its end. Waits only with everything flushed.
    async fn hand_on(
        &mut self,
        mut body: StreamBody,
        mut decoder: EntryDecoder,
        since: Option<Timestamp>,
    ) -> Result<(), String> {
        let mut burst = 0;
        loop {
            self.make_space(&mut burst).await;
            let chunk = match body.chunk_at_hand().await {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    self.flush(&mut burst);
                    let chunk = body.chunk().await;
                    self.make_space(&mut burst).await;
                    chunk
                }
            };
            let has_ended = chunk.is_none();
            let result = self.context.with_sink(|sink| {
                let emit = &mut |stream, time, text: &[u8], ends_line| {
                    self.has_progressed |= since.is_none_or(|since| time > since);
                    sink.entry(&self.id, stream, time, text, ends_line);
                };
                match chunk {
                    Some(Ok(chunk)) => {
                        burst += chunk.len();
                        decoder.feed(&chunk, emit)
                    }
                    Some(Err(reason)) => Err(reason),
                    None => decoder.finish(emit),
                }
            });
            if has_ended || result.is_err() {
                return result;
            }
            if burst >= BURST {
                self.flush(&mut burst);
                // Others have bursts, too.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn make_space(&self, burst: &mut usize) {
        if !self.context.has_space() {
            self.flush(burst);
            self.context.wait_for_space().await;
        }
    }

    fn flush(&self, burst: &mut usize) {
        if std::mem::take(burst) > 0 {
            self.context.with_sink(|sink| sink.flush(&self.id));
        }
    }
}

/// What to ask for. The daemon reads nine digits of fraction exactly.
fn logs_target(id: &ContainerId, since: Option<Timestamp>) -> String {
    let mut target = format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1&timestamps=1");
    // A time before 1970 is no time a container was writing at.
    if let Some(since) = since.filter(|since| since.seconds > 0) {
        target.push_str(&format!("&since={}.{:09}", since.seconds, since.nanos));
    }
    target
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
        nanos: since_epoch.subsec_nanos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_has_nine_digits_and_is_left_out_without_a_time() {
        let id = ContainerId::from_bytes([0xab; 32]);
        let all = format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1&timestamps=1");
        assert_eq!(logs_target(&id, None), all);
        assert_eq!(logs_target(&id, Some(Timestamp { seconds: -3, nanos: 1 })), all);
        let since = Timestamp { seconds: 1_700_000_000, nanos: 42 };
        assert_eq!(logs_target(&id, Some(since)), format!("{all}&since=1700000000.000000042"));
    }
}
