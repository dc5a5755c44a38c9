//! Batches that the host refuses: sets their containers aside, retries them, halves them, and
//! drops a single record once it is certain that the host will never accept it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::delivery::aside::{Alone, Aside, Offer, MOST_UNTOLD};
use crate::delivery::drain::{
    note_division, Answer, Append, Around, Drain, Refused, Round, MOST_REFUSALS,
};
use crate::delivery::host_wake::RETRY;
use crate::delivery::link::Link;
use crate::delivery::queue::Batch;
use crate::telemetry::event::Event;

/// Interval between retries when some routes receive the batch again with each retry.
const PART_RETRY: Duration = Duration::from_secs(10);
/// How long a container is set aside before that is logged.
pub(super) const QUIET_WAIT: Duration = Duration::from_secs(10);
/// A host that refuses a record while it holds no more than `1 / ROOM_PART` of the record's
/// size has no room for the record even when it holds nothing.
const ROOM_PART: usize = 8;
/// Number of contradictions after which a record itself is the reason for its refusal: times
/// that the host accepts at least as many bytes with the same tag in the same round in which
/// it refused the record.
pub(super) const MOST_CONTRADICTIONS: u32 = 10;
/// Factor by which the timeout grows for a record that no small batch follows.
const LAST_RECORD_FACTOR: u32 = 10;
/// Maximum number of records probed behind a refused one.
pub(super) const MOST_PROBED: usize = 16;

impl Drain {
    /// Sets the container of a batch aside. `refused` is `None` if the batch was not offered
    /// and only has to wait.
    pub(super) fn set_aside(
        &mut self,
        offer: Offer,
        refused: Option<&Refused>,
        link: &Link,
        now: Instant,
    ) {
        let id = offer.batch.container;
        let mut aside = Aside::new(offer, now, self.taken);
        // A pause between two routes ends when the host resumes. Only if the partial
        // acceptance recurs at the next offer is the retry interval to be long.
        if let Some(refused) = refused.filter(|_| !link.paused.load(Ordering::Acquire)) {
            self.note_part(&mut aside, refused, link, now);
        }
        aside.hold_back();
        self.aside.insert(id, aside);
        self.turns.push_back(id);
    }

    /// Retries the containers set aside that are due, the longest-waiting first, so that they
    /// get whatever room there is. While the host accepts, the next one follows at once. The
    /// last refusal of the round is reserved for the newest: they may have been refused by
    /// chance and would otherwise wait behind a thousand that are refused for a reason.
    pub(super) fn offer_again(&mut self, around: Around<'_>, round: &mut Round) {
        const MOST_OF_LINE: usize = MOST_REFUSALS - 1;
        for _ in 0..self.turns.len() {
            if round.refusals >= MOST_OF_LINE || !self.has_time(round, around) {
                break;
            }
            self.take_turn(0, around, round);
        }
        while self.goes_on(round, around) {
            let Some(place) = self.newcomer(round.now) else {
                return;
            };
            round.refusals = MOST_OF_LINE;
            self.take_turn(place, around, round);
        }
    }

    /// Retries the container at index `place` of `turns`.
    fn take_turn(&mut self, place: usize, around: Around<'_>, round: &mut Round) {
        let Some(id) = self.turns.remove(place) else {
            return;
        };
        let Some(mut aside) = self.aside.remove(&id) else {
            return;
        };
        if aside.next_try <= round.now {
            self.go_on_with(&mut aside, around, round);
        }
        if aside.is_empty() {
            aside.release(around.link, &id);
        } else {
            self.aside.insert(id, aside);
            self.turns.push_back(id);
        }
    }

    /// Index in `turns` of the newest container that was not retried yet.
    fn newcomer(&self, now: Instant) -> Option<usize> {
        let is_new = |aside: &Aside| aside.is_new && aside.next_try <= now;
        self.turns
            .iter()
            .rposition(|id| self.aside.get(id).is_some_and(is_new))
    }

    /// Offers a container's waiting batches in order, up to the first refusal.
    fn go_on_with(&mut self, aside: &mut Aside, around: Around<'_>, round: &mut Round) {
        while self.goes_on(round, around) {
            let Some(offer) = aside.first.take().or_else(|| aside.rest.pop_front()) else {
                return;
            };
            let offer = match offer.parsed {
                None => self.parsers.offer(offer.batch, &mut aside.rest, around),
                Some(_) => offer,
            };
            match self.submit(offer, around, round) {
                Answer::Accepted => aside.alone = None,
                Answer::Waits(offer) => {
                    aside.first = Some(offer);
                    aside.next_try = round.now + RETRY;
                    return;
                }
                Answer::Refused(offer, refused) => {
                    self.refused_again(aside, offer, around, round);
                    return self.note_part(aside, &refused, around.link, round.now);
                }
            }
        }
    }

    /// Halves a batch that is refused again, or drops it if it is a hopeless single record.
    fn refused_again(
        &mut self,
        aside: &mut Aside,
        offer: Offer,
        around: Around<'_>,
        round: &mut Round,
    ) {
        let now = round.now;
        aside.is_new = false;
        // If the host accepts nothing, retry on every wake-up. If it accepts others, retry no
        // more often than necessary.
        let others_pass = std::mem::replace(&mut aside.taken, self.taken) != self.taken;
        aside.next_try = if others_pass {
            now + aside.patience()
        } else {
            now
        };
        if others_pass && now.duration_since(aside.since) >= QUIET_WAIT {
            report_wait(&offer.batch, around.link);
        }
        if !may_halve(aside, &offer, others_pass, around, now) {
            aside.first = Some(offer);
            return;
        }
        let Offer { batch, parsed } = offer;
        let offer = match batch.halved() {
            (first, Some(second)) => {
                note_division(&first, &second, around.link);
                aside.first = Some(first.into());
                aside.rest.push_front(second.into());
                return;
            }
            (batch, None) => Offer { batch, parsed },
        };
        let alone = aside.alone.get_or_insert(Alone::since(now));
        alone.refusals += 1;
        alone.refused_in = Some(round.number);
        let has_patience = now.duration_since(alone.since) < around.refused_record_timeout;
        if has_patience {
            aside.first = Some(offer);
        } else {
            self.give_up_or_wait(aside, offer, around, round);
        }
    }

    /// With conditional routes, an append can be accepted by some routes and still be refused.
    /// The host does not say by which, so all of them receive the batch again; retrying less
    /// often limits the duplicates.
    fn note_part(&mut self, aside: &mut Aside, refused: &Refused, link: &Link, now: Instant) {
        if !refused.is_in_part {
            return;
        }
        aside.next_try = now + PART_RETRY;
        let seconds = PART_RETRY.as_secs();
        self.taken_in_part
            .report(|| link.report(Event::TakenInPart { seconds }));
    }

    /// Drops a single record if the record itself is the reason for the refusal, not the
    /// current lack of room. That is certain in two cases:
    /// - The host repeatedly accepts at least as many bytes with the same tag, each time in
    ///   the round in which it refused the record, so no room became free in between.
    /// - The host holds next to nothing of ours, so there is all the room there will ever be,
    ///   and it accepts something smaller with the same tag: from another container, or a
    ///   record that follows. If nothing small follows, because the container is gone or
    ///   writes nothing small, it suffices that the host accepts something with any tag, over
    ///   a much longer timeout.
    fn give_up_or_wait(
        &mut self,
        aside: &mut Aside,
        offer: Offer,
        around: Around<'_>,
        round: &mut Round,
    ) {
        let now = round.now;
        let last_wait = around.refused_record_timeout * LAST_RECORD_FACTOR;
        let size = offer.bytes().len();
        let has_room = has_room_for(size, around);
        let is_last = aside.has_nothing_small(size / ROOM_PART);
        let is_hopeless = aside.alone.as_ref().is_some_and(|alone| {
            let is_over = is_last && alone.took_any && now.duration_since(alone.since) >= last_wait;
            alone.contradictions >= MOST_CONTRADICTIONS
                || (has_room && (alone.took_smaller || is_over))
        });
        if is_hopeless {
            aside.alone = None;
            self.give_up(offer.batch, around);
        } else if has_room {
            self.probe(aside, offer, around, round);
        } else {
            aside.first = Some(offer);
        }
    }

    /// Offers the records that follow one by one. If one is accepted, all records before it
    /// are dropped; if a small one is refused too, the host has no room. All of them are tried
    /// in one round, because only then do they have the same room. The last probe of a round
    /// may therefore exceed the refusal limit; nothing else does.
    fn probe(&mut self, aside: &mut Aside, offer: Offer, around: Around<'_>, round: &mut Round) {
        let (size, id) = (offer.bytes().len(), offer.batch.container);
        let mut tried = vec![offer];
        while tried.len() <= MOST_PROBED && self.has_time(round, around) {
            // A stream with its own tag has its own route, so its result says nothing about
            // this one.
            let tag = tried.first().and_then(|first| first.batch.tag.as_ref());
            let is_of_route = |next: &Batch| next.records == 0 || next.tag.as_ref() == tag;
            if !aside
                .rest
                .front()
                .is_some_and(|next| is_of_route(&next.batch))
            {
                break;
            }
            let Some(Offer { batch, parsed }) = aside.rest.pop_front() else {
                break;
            };
            let (single, rest) = batch.without_first();
            let is_parsed = parsed.is_some() && rest.is_none();
            if let Some(rest) = rest {
                note_division(&single, &rest, around.link);
                aside.rest.push_front(rest.into());
            }
            let offer = if is_parsed {
                Offer {
                    batch: single,
                    parsed,
                }
            } else {
                self.parsers.offer(single, &mut aside.rest, around)
            };
            let mut is_small = false;
            if offer.batch.records > 0 {
                let held = around.host.holds();
                let Err(refused) = self.append(&Append::of(&offer), held, around) else {
                    round.bytes += offer.bytes().len();
                    aside.alone = None;
                    tried
                        .into_iter()
                        .for_each(|tried| self.give_up(tried.batch, around));
                    return self.accept(offer.batch, around);
                };
                round.refusals += 1;
                self.note_part(aside, &refused, around.link, round.now);
                is_small = offer.bytes().len() <= size / ROOM_PART;
            }
            tried.push(offer);
            if is_small {
                break;
            }
        }
        // Read on: a later record may settle it.
        let held: usize = tried.iter().map(Offer::held).sum();
        let reads_on = aside.rest.is_empty() && tried.len() <= MOST_PROBED && held < MOST_UNTOLD;
        let mut tried = tried.into_iter();
        aside.first = tried.next();
        for offer in tried.rev() {
            aside.rest.push_front(offer);
        }
        if reads_on {
            around.link.accounts.read_on(&id);
        }
    }
}

/// Whether the host holds so little of ours that it has all the room for `size` bytes that it
/// will ever have.
fn has_room_for(size: usize, around: Around<'_>) -> bool {
    around
        .host
        .holds()
        .is_some_and(|held| held <= size / ROOM_PART)
}

/// Whether a refused batch is to be halved or, as a single record, considered for dropping.
/// Always at a mark, since the offset advances with each part. Between two marks, a kill or a
/// stop duplicates the parts already accepted, so there must be a reason other than a host
/// that accepts nothing now: it accepts others, it has all the room it will ever have, or it
/// has refused for longer than the timeout.
fn may_halve(
    aside: &Aside,
    offer: &Offer,
    others_pass: bool,
    around: Around<'_>,
    now: Instant,
) -> bool {
    let batch = &offer.batch;
    let has_room = || has_room_for(batch.bytes.len(), around);
    let is_long = || now.duration_since(aside.since) >= around.refused_record_timeout;
    batch.records <= 1 || batch.has_mark_inside() || others_pass || has_room() || is_long()
}

fn report_wait(batch: &Batch, link: &Link) {
    let Some((account, _)) = &batch.source else {
        return;
    };
    let (name, short_id) = (account.name(), account.short_id());
    account.report_wait(|| link.report(Event::RecordsWait { name, short_id }));
}
