//! Follows one container: requests its stream, passes on what arrives, and requests it again
//! when it ends. Ends by itself when the container is gone or cannot be read; otherwise the
//! thread aborts it.

use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::format::position::Timestamp;
use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::JOURNALD_DRIVER;
use crate::source::api::connection::{get, Answer, StreamBody};
use crate::source::api::context::{Context, Follow};
use crate::source::api::entries::EntryDecoder;
use crate::source::api::place::{Place, ResponseFilter, Verdict};
use crate::source::api::podman::is_lasting;
use crate::source::api::reachability::Backoff;
use crate::source::api::requests::RequestError;
use crate::source::api::{Inspected, StreamEnd};
use crate::telemetry::account::wall_clock;

/// The longest wait between two attempts. A stream that lasted this long was a success.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// If a stream ended regularly after this long, its container has stopped, or the daemon has
/// closed the stream of a running one. The list shows which, and is requested after this time.
pub const EARLY_RELIST: Duration = Duration::from_secs(2);

/// A daemon whose stream is not read for this long in total may skip files of a log that
/// rotates meanwhile, without reporting it.
pub const LAG: Duration = Duration::from_secs(1);

/// Time limit for the next piece of a body that has an end. The daemon decompresses whole
/// files for it.
const BODY_SILENCE: Duration = Duration::from_secs(60);

/// The most bytes handled between two flushes.
const BURST: usize = 64 * 1024;
/// The same in time: the cost of a line depends on who wrote it, and on what its container's
/// lines are matched against.
const BURST_TIME: Duration = Duration::from_millis(25);

/// Interval between checks whether a held-back container may continue.
const HELD_BACK_INTERVAL: Duration = Duration::from_millis(50);

/// Follows `id` until it cannot be followed; starts after `wait`.
pub async fn follow(context: Rc<Context>, id: ContainerId, follow: Rc<Follow>, wait: Duration) {
    if !wait.is_zero() {
        context.daemon.pause(wait).await;
    }
    let mut follower = Follower {
        context,
        id,
        inspected: None,
        has_progressed: false,
        waited: Duration::ZERO,
    };
    let mut backoff = Backoff::up_to(LONGEST_WAIT);
    loop {
        let starts = follow.starts.get();
        let begun = Instant::now();
        let end = match follow.ends {
            true => follower.read_existing().await,
            false => follower.attempt().await,
        };
        let lived = begun.elapsed();
        if follower.has_progressed || lived >= LONGEST_WAIT || end == StreamEnd::Finished {
            backoff.reset();
        }
        let goes_on = end.is_retried() && !follow.ends;
        if !goes_on {
            // Before the sink is notified, so that it can follow the container again at once.
            follower.context.follows.borrow_mut().remove(&id);
        }
        let has_failed = matches!(end, StreamEnd::Failed(_));
        follower.context.with_sink(|sink| {
            sink.flush(&id);
            sink.ended(&id, end);
        });
        if !goes_on {
            return;
        }
        if has_failed {
            follower.context.daemon.pause(backoff.after_failure()).await;
        } else {
            wait_for_start(&follower.context, &follow, starts, lived).await;
        }
    }
}

/// Waits for a sign of a start after the first `starts` ones.
async fn wait_for_start(context: &Context, follow: &Follow, starts: u64, lived: Duration) {
    follow.waiting_since.set(Some(Instant::now()));
    if lived >= EARLY_RELIST || !context.has_events.get() {
        context.relist_by(Instant::now() + EARLY_RELIST);
    }
    while follow.starts.get() == starts {
        follow.started.notified().await;
    }
    follow.waiting_since.set(None);
}

/// Reads the stream of one container.
pub struct Follower {
    pub(crate) context: Rc<Context>,
    pub(crate) id: ContainerId,
    /// Cached for good: a container's traits never change.
    inspected: Option<Traits>,
    /// Whether the last attempt returned something later than it asked for.
    pub(crate) has_progressed: bool,
    /// How long the last response waited for space.
    pub(crate) waited: Duration,
}

/// The properties of a container that decide how its stream is read.
#[derive(Debug, Clone, Copy)]
struct Traits {
    has_terminal: bool,
    log_rotates: bool,
    is_in_journal: bool,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// Regularly.
    Ended,
    /// Closed by the follower, to request it again: it waited so long that the daemon may have
    /// skipped files, or it does not reach back far enough.
    Closed,
}

impl Follower {
    /// Reads one stream, from request to end.
    async fn attempt(&mut self) -> StreamEnd {
        self.has_progressed = false;
        loop {
            match self.follow_once().await {
                Ok(BodyEnd::Ended) => return StreamEnd::Finished,
                Ok(BodyEnd::Closed) => {}
                Err(end) => return end,
            }
        }
    }

    async fn follow_once(&mut self) -> Result<BodyEnd, StreamEnd> {
        let since = self.since();
        let last = self.take_last(since);
        let was_known = self.context.podman.get();
        let wanted = self.from(since).await?;
        let mut answer = self
            .ask(&logs_target(&self.id, &Wanted::following(wanted, last)))
            .await?;
        if answer.podman != was_known {
            // It interprets `since` and `tail` differently, so request the log again.
            drop(answer);
            let wanted = self.from(since).await?;
            answer = self
                .ask(&logs_target(&self.id, &Wanted::following(wanted, None)))
                .await?;
        }
        let has_terminal = self.has_terminal(&answer).await?;
        let is_old = !answer.content_type.starts_with("application/vnd.docker.");
        let is_inexact = match answer.podman {
            Some(_) => !self.traits().await?.is_in_journal,
            None => is_old && self.log_rotates().await?,
        };
        if is_inexact {
            drop(answer);
            return self.read_snapshots(last).await.map(|()| BodyEnd::Ended);
        }
        let mut filter = ResponseFilter::new(since.map_or(Place::Beginning, Place::Since), true);
        let decoder = EntryDecoder::new(has_terminal, since.unwrap_or_else(wall_clock));
        self.deliver(answer.body, decoder, &mut filter, true).await
    }

    /// Returns the time to request if entries are wanted from `since` on.
    async fn from(&mut self, since: Option<Timestamp>) -> Result<Option<Timestamp>, StreamEnd> {
        match (since, self.context.podman.get()) {
            (Some(since), Some(podman)) => {
                Ok(podman.since(since, self.traits().await?.is_in_journal))
            }
            _ => Ok(since),
        }
    }

    /// The time from which the sink wants entries.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.context.with_sink(|sink| sink.since(&self.id))
    }

    /// The number of lines from the end that are wanted, if it is limited. With `tail`, Podman may
    /// omit pieces of lines, so it is asked for all.
    pub(crate) fn take_last(&self, since: Option<Timestamp>) -> Option<usize> {
        let is_podman = self.context.podman.get().is_some();
        let last = self.context.with_sink(|sink| sink.take_last(&self.id));
        last.filter(|_| since.is_none() && !is_podman)
    }

    /// Requests the container's log.
    pub(crate) async fn ask(&self, target: &str) -> Result<Answer, StreamEnd> {
        let begun = Instant::now();
        let answer = match get(&self.context.socket, target).await {
            Ok(answer) => answer,
            Err(reason) => {
                self.context.daemon.note_silence(begun, &reason);
                return Err(StreamEnd::Failed(reason));
            }
        };
        self.context.daemon.note_answer();
        self.context.podman.set(answer.podman);
        match answer.status {
            StatusCode::OK => {
                self.context.with_sink(|sink| sink.opened(&self.id));
                Ok(answer)
            }
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Err(StreamEnd::Gone),
            StatusCode::NOT_IMPLEMENTED => {
                Err(StreamEnd::Unsupported(answer.body.error_text().await))
            }
            status => {
                let is_podman = answer.podman.is_some();
                let reason = answer.body.error_text().await;
                if is_podman && is_lasting(&reason) {
                    return Err(StreamEnd::Unsupported(reason));
                }
                Err(StreamEnd::Failed(format!("{status}: {reason}")))
            }
        }
    }

    /// Whether the container has a terminal. Newer daemons say so in the response; with older
    /// ones, the container is inspected once.
    pub(crate) async fn has_terminal(&mut self, answer: &Answer) -> Result<bool, StreamEnd> {
        if answer
            .content_type
            .starts_with("application/vnd.docker.raw-stream")
        {
            return Ok(true);
        }
        if answer
            .content_type
            .starts_with("application/vnd.docker.multiplexed-stream")
        {
            return Ok(false);
        }
        Ok(self.traits().await?.has_terminal)
    }

    async fn log_rotates(&mut self) -> Result<bool, StreamEnd> {
        Ok(self.traits().await?.log_rotates)
    }

    async fn traits(&mut self) -> Result<Traits, StreamEnd> {
        if let Some(known) = self.inspected {
            return Ok(known);
        }
        match self.context.requests.inspect(&self.id).await {
            Ok(Inspected {
                tty,
                log_rotates,
                log_driver,
                ..
            }) => {
                let is_in_journal = log_driver == JOURNALD_DRIVER;
                Ok(*self.inspected.insert(Traits {
                    has_terminal: tty,
                    log_rotates,
                    is_in_journal,
                }))
            }
            Err(RequestError::NotFound) => Err(StreamEnd::Gone),
            Err(RequestError::Failed(reason) | RequestError::NoAnswer(reason)) => {
                Err(StreamEnd::Failed(reason))
            }
        }
    }

    /// Decodes the body to its end. Flushes everything before it waits.
    pub(crate) async fn deliver(
        &mut self,
        mut body: StreamBody,
        mut decoder: EntryDecoder,
        filter: &mut ResponseFilter,
        is_following: bool,
    ) -> Result<BodyEnd, StreamEnd> {
        let mut burst = 0;
        let mut begun = Instant::now();
        let mut has_gap = false;
        self.waited = Duration::ZERO;
        loop {
            self.make_space(&mut burst).await;
            let chunk = match body.chunk_at_hand().await {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    self.flush(&mut burst);
                    let chunk = match is_following {
                        true => body.chunk().await,
                        false => body.chunk_within(BODY_SILENCE).await,
                    };
                    self.make_space(&mut burst).await;
                    chunk
                }
            };
            if is_following && self.waited >= LAG && self.log_rotates().await? {
                return Ok(BodyEnd::Closed);
            }
            let has_ended = chunk.is_none();
            if burst == 0 {
                begun = Instant::now();
            }
            let is_known_to_rotate = self.inspected.is_some_and(|traits| traits.log_rotates);
            let result = self.context.with_sink(|sink| {
                let emit = &mut |stream, time, text: &[u8], ends_line| {
                    if filter.judge(stream, time, ends_line) == Verdict::New {
                        // Before the first entry after the gap, which may be in mid-line.
                        if is_known_to_rotate && filter.has_gap() && !has_gap {
                            has_gap = true;
                            sink.lost(&self.id);
                        }
                        self.has_progressed |= filter.is_past_since(time);
                        sink.entry(&self.id, stream, time, text, ends_line);
                    }
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
            if filter.has_gap() && !std::mem::replace(&mut has_gap, true) {
                // If nothing rotates, there is no gap: the daemon interprets `since`
                // differently.
                if self.log_rotates().await.unwrap_or(false) {
                    self.context.with_sink(|sink| sink.lost(&self.id));
                }
            }
            result.map_err(StreamEnd::Failed)?;
            if has_ended {
                return Ok(BodyEnd::Ended);
            }
            if filter.is_too_late() {
                return Ok(BodyEnd::Closed);
            }
            if burst >= BURST || begun.elapsed() >= BURST_TIME {
                self.flush(&mut burst);
                // Other followers have bursts, too.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn make_space(&mut self, burst: &mut usize) {
        // Before waiting for a turn, so that others do not wait for this follower.
        while self.context.with_sink(|sink| sink.is_held_back(&self.id)) {
            self.flush(burst);
            self.context.daemon.pause(HELD_BACK_INTERVAL).await;
            self.waited += HELD_BACK_INTERVAL;
        }
        if !self.context.has_space() {
            self.flush(burst);
            let begun = Instant::now();
            self.context.wait_for_space().await;
            self.waited += begun.elapsed();
        }
    }

    fn flush(&self, burst: &mut usize) {
        let bytes = std::mem::take(burst);
        if bytes > 0 {
            self.context.bursts.note(bytes);
            self.context.with_sink(|sink| sink.flush(&self.id));
        }
    }
}

/// What to request.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// Everything since a time, and what follows.
    Following(Option<Timestamp>),
    /// The given number of entries from the end, and what follows.
    FollowingLast(usize),
    /// What is written from now on.
    Future,
    /// What exists now: the given number of entries from the end, or all.
    Existing(Option<usize>),
    /// What exists now since a time, or all.
    ExistingSince(Option<Timestamp>),
}

impl Wanted {
    /// Everything since a time, or else the given number of entries, or all; and what follows.
    fn following(since: Option<Timestamp>, last: Option<usize>) -> Wanted {
        match (since, last) {
            (None, Some(last)) => Wanted::FollowingLast(last),
            _ => Wanted::Following(since),
        }
    }
}

/// Returns the request's target. The daemon parses nine digits of fraction exactly.
pub fn logs_target(id: &ContainerId, wanted: &Wanted) -> String {
    let follow = u8::from(!matches!(
        wanted,
        Wanted::Existing(_) | Wanted::ExistingSince(_)
    ));
    let mut target =
        format!("/containers/{id}/logs?follow={follow}&stdout=1&stderr=1&timestamps=1");
    match wanted {
        // No container was writing before 1970.
        Wanted::Following(Some(since)) | Wanted::ExistingSince(Some(since))
            if since.seconds > 0 =>
        {
            target.push_str(&format!("&since={}.{:09}", since.seconds, since.nanos));
        }
        Wanted::Following(_) | Wanted::ExistingSince(_) | Wanted::Existing(None) => {}
        Wanted::Future => target.push_str("&tail=0"),
        Wanted::Existing(Some(tail)) | Wanted::FollowingLast(tail) => {
            target.push_str(&format!("&tail={tail}"))
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_has_nine_digits_and_is_left_out_without_a_time() {
        let id = ContainerId::from_bytes([0xab; 32]);
        let all = format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1&timestamps=1");
        let following = |since| logs_target(&id, &Wanted::Following(since));
        assert_eq!(following(None), all);
        assert_eq!(
            following(Some(Timestamp {
                seconds: -3,
                nanos: 1
            })),
            all
        );
        let since = Timestamp {
            seconds: 1_700_000_000,
            nanos: 42,
        };
        assert_eq!(
            following(Some(since)),
            format!("{all}&since=1700000000.000000042")
        );
        assert_eq!(logs_target(&id, &Wanted::Future), format!("{all}&tail=0"));
        let last = Wanted::following(None, Some(10));
        assert_eq!(logs_target(&id, &last), format!("{all}&tail=10"));
        let last = Wanted::following(Some(since), Some(10));
        assert_eq!(logs_target(&id, &last), following(Some(since)));
        let there = all.replace("follow=1", "follow=0");
        assert_eq!(logs_target(&id, &Wanted::Existing(None)), there);
        assert_eq!(
            logs_target(&id, &Wanted::Existing(Some(64))),
            format!("{there}&tail=64")
        );
    }
}
