//! The host thread's side of the queue: hands batches over, advances the checkpoint after each
//! accepted batch, and works around batches that the host refuses.
//!
//! The host refuses for two reasons but returns the same code for both. It may have no room at
//! the moment, in total or on one route: nothing may be lost then, so the batch is retried
//! indefinitely. Or it will never accept the batch: it is larger than an output's
//! `storage.total_limit_size`, or a processor fails on one of its records.
//!
//! ```text
//! refused:        the container is set aside; its later batches wait behind the refused one
//!                 (I3), its log is read no further once enough waits, and other containers
//!                 pass
//! refused again:  the batch is halved repeatedly, down to one record
//! single record:  dropped, counted and logged once it is certain that the host will never
//!                 accept it (see `Drain::give_up_or_wait`)
//! ```

mod acceptance;
mod append;
mod bundle;
pub(crate) mod parsers;
mod retry;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::delivery::aside::{Aside, Offer};
use crate::delivery::drain::append::{Append, Refused};
use crate::delivery::drain::bundle::Bundler;
use crate::delivery::drain::parsers::Parsers;
use crate::delivery::group::group_of;
use crate::delivery::hold_back::{Due, HoldBack};
use crate::delivery::host::Host;
use crate::delivery::host_wake::RETRY;
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::runtime::id::ContainerId;
use crate::telemetry::throttle::Once;
use crate::telemetry::trouble::Trouble;

/// Maximum bytes handed to the host in one call. After that, its thread is released for other
/// work and woken up again.
pub(crate) const DRAIN_BYTES: usize = 4 << 20;
/// Maximum refusals per call, counted separately for batches that were refused before and for
/// the others. Each one costs the host a log line and a file.
const MOST_REFUSALS: usize = 4;

/// What [`Drain`] needs from the instance.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub link: &'a Link,
    /// Option `Refused_Record_Timeout`.
    pub refused_record_timeout: Duration,
    /// Option `Buffered_Limit`; `usize::MAX` if it is off.
    pub buffered_limit: usize,
    /// Option `DB`.
    pub db: Option<&'a Path>,
    pub host: &'a dyn Host,
}

/// State of the host's thread between two calls.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Parts of a batch that was too large to parse at once, and later batches of the same
    /// container. They go before all other large batches.
    parts: VecDeque<Batch>,
    /// Containers whose records the host refuses.
    aside: HashMap<ContainerId, Aside>,
    /// The keys of `aside` in the order of the next retry.
    turns: VecDeque<ContainerId>,
    /// When `aside` is retried regardless of what woke the thread. Set if the last round had a
    /// refusal.
    next_ask: Option<Instant>,
    /// Number of calls of [`Drain::hand_over`].
    rounds: u64,
    /// Number of accepted appends.
    taken: u64,
    /// Whether checkpoint writes are failing.
    checkpoint: Trouble<()>,
    /// That some routes accept what others refuse.
    taken_in_part: Once,
    hold_back: HoldBack,
    parsers: Parsers,
    bundler: Bundler,
}

/// The host's answer to an offer.
enum Answer {
    Accepted,
    /// The batch was not offered: the host holds too much to be given it now. This is not a
    /// refusal: its records are never dropped for it, however long it lasts.
    Waits(Offer),
    Refused(Offer, Refused),
}

/// One call of [`Drain::hand_over`]. The call occupies the host's thread: meanwhile the host
/// sends nothing and frees none of the room that it uses.
struct Round {
    number: u64,
    now: Instant,
    bytes: usize,
    refusals: usize,
    /// Bytes of ours that the host holds in memory before the next append; `None` if it was not
    /// asked since the last one, or does not say.
    held: Option<usize>,
}

impl Drain {
    fn goes_on(&mut self, round: &mut Round, around: Around<'_>) -> bool {
        round.refusals < MOST_REFUSALS
            && self.has_time(round, around)
            && self.has_room(round, around)
    }

    /// Whether the host may be given more. What it holds is asked once for each append.
    fn has_room(&mut self, round: &mut Round, around: Around<'_>) -> bool {
        if around.link.queue.bytes() == 0 {
            // The reader may queue a batch before the queue is looked at.
            round.held = None;
            return true;
        }
        // Costs no more than the append, in which the host sums up its memory itself.
        round.held = around.host.holds();
        self.hold_back.has_room(round.held, around.buffered_limit)
    }

    fn has_time(&self, round: &Round, around: Around<'_>) -> bool {
        round.bytes < DRAIN_BYTES
            && self.parsers.has_time()
            && !around.link.paused.load(Ordering::Acquire)
            && !around.link.is_stopping()
    }

    /// Hands over queued batches until the queue is empty, the host refuses or pauses, or a
    /// limit is reached: one per call, or `Buffered_Limit`.
    pub(crate) fn hand_over(&mut self, around: Around<'_>) -> Due {
        let link = around.link;
        self.parsers.begin(link);
        self.hold_back.begin_round();
        self.rounds += 1;
        let mut round = Round {
            number: self.rounds,
            now: Instant::now(),
            bytes: 0,
            refusals: 0,
            held: None,
        };
        let had_aside = !self.aside.is_empty();
        if self.next_ask <= Some(round.now) || !self.takes_more_of_the_same(&round, around) {
            self.offer_again(around, &mut round);
            self.next_ask = (round.refusals > 0).then(|| round.now + RETRY);
        }
        // Refusals of containers set aside do not count against the others.
        round.refusals = 0;
        let is_cut_short = self.parsers.restart();
        while self.goes_on(&mut round, around) {
            let Some(batch) = self.next(link) else {
                break;
            };
            if let Some(aside) = self.aside.get_mut(&batch.container) {
                aside.push(batch);
                continue;
            }
            let Some(batch) = self.submit_bundle(batch, around, &mut round) else {
                continue;
            };
            let offer = self.parsers.offer(batch, &mut self.parts, around);
            match self.submit(offer, around, &mut round) {
                Answer::Accepted => {}
                Answer::Waits(offer) => self.set_aside(offer, None, link, round.now),
                Answer::Refused(offer, refused) => {
                    self.set_aside(offer, Some(&refused), link, round.now);
                }
            }
        }
        if had_aside || !self.aside.is_empty() {
            let of_all = |of: fn(&Aside) -> usize| self.aside.values().map(of).sum();
            link.queue
                .set_aside(of_all(Aside::bytes), of_all(Aside::copied));
        }
        if round.bytes >= DRAIN_BYTES || !self.parsers.has_time() || is_cut_short {
            link.host_waker.wake();
        }
        let mut due =
            self.hold_back
                .end_round(around.buffered_limit, round.now, &mut link.buffered());
        if !self.aside.is_empty() {
            due.again = due.again.or(Some(RETRY));
        }
        due
    }

    /// At the stop: accepts what needs no host, but of no container whose records wait.
    pub(crate) fn settle(&mut self, around: Around<'_>) {
        let parts = self.parts.iter().map(|part| part.container);
        let mut waiting: HashSet<ContainerId> = self.aside.keys().copied().chain(parts).collect();
        while let Some(batch) = around.link.queue.pop() {
            let waits = match batch.progress {
                Progress::Started => !waiting.is_empty(),
                _ => batch.records > 0 || waiting.contains(&batch.container),
            };
            match waits {
                true => _ = waiting.insert(batch.container),
                false => self.accept(batch, around),
            }
        }
    }

    /// Moves queued batches of containers set aside behind the ones that already wait there,
    /// up to the first batch of another container, which goes next. Returns whether the queue
    /// held nothing else, in which case there is no reason to retry before `next_ask`.
    fn takes_more_of_the_same(&mut self, round: &Round, around: Around<'_>) -> bool {
        let is_idle = self.aside.is_empty() || !self.parts.is_empty();
        if is_idle || !self.has_time(round, around) {
            return false;
        }
        let mut has_taken = false;
        while let Some(batch) = around.link.queue.pop() {
            let Some(aside) = self.aside.get_mut(&batch.container) else {
                self.parts.push_front(batch);
                return false;
            };
            aside.push(batch);
            has_taken = true;
        }
        has_taken
    }

    /// Returns the next batch. While a large batch is parsed in parts, small batches of other
    /// containers pass it; later batches of the same container stay behind it (I3).
    fn next(&mut self, link: &Link) -> Option<Batch> {
        let Some(container) = self.parts.front().map(|part| part.container) else {
            return link.queue.pop();
        };
        while let Some(batch) = link.queue.pop_small() {
            if batch.container != container {
                return Some(batch);
            }
            self.parts.push_back(batch);
        }
        self.parts.pop_front()
    }

    /// Offers a batch to the host. One without records is accepted unseen.
    fn submit(&mut self, offer: Offer, around: Around<'_>, round: &mut Round) -> Answer {
        if offer.batch.records > 0 {
            match self.append_if_room(&Append::of(&offer), around, round) {
                Ok(()) => {}
                Err(None) => return Answer::Waits(offer),
                Err(Some(refused)) => return Answer::Refused(offer, refused),
            }
        }
        self.accept(offer.batch, around);
        Answer::Accepted
    }
}

/// Accounts for a split: both parts carry the group markers that the whole batch had once, and
/// they are accepted separately.
fn note_division(first: &Batch, second: &Batch, link: &Link) {
    let (start, end) = group_of(&first.bytes);
    link.queue.grew(start.len() + end.len());
    if let Some((account, _)) = &second.source {
        account.was_divided();
    }
}

#[cfg(test)]
mod tests;
