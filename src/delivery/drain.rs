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

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::time::{clock_gettime, ClockId, Timespec};

use crate::delivery::aside::{Alone, Aside, Offer, MOST_UNTOLD};
use crate::delivery::group::group_of;
use crate::delivery::host::{Host, NoParser};
use crate::delivery::host_wake::RETRY;
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::runtime::id::ContainerId;
use crate::telemetry::account::{wall_clock, Amount};
use crate::telemetry::event::Event;
use crate::telemetry::trouble::Trouble;

/// Maximum bytes handed to the host in one call. After that, its thread is released for other
/// work and woken up again.
pub(crate) const DRAIN_BYTES: usize = 4 << 20;
/// Maximum number of unknown parser names remembered as reported; labels can name any number.
const MOST_UNKNOWN_PARSERS: usize = 100;
/// CPU time that the parser named by a label may use for one batch. The host's regular
/// expressions are unbounded, so a text that does not match may take seconds or years to
/// backtrack, and a call that has started cannot be aborted.
const MOST_PARSING: Duration = Duration::from_millis(200);
/// Maximum bytes of a text passed to such a parser: one piece of a line as dockerd splits it.
pub(crate) const MOST_PARSED: usize = 16 * 1024;
/// CPU time that parsers may use in one drain, in addition to the byte limit: once for the
/// containers set aside and once for all others.
pub(crate) const DRAIN_PARSING: Duration = Duration::from_millis(100);
/// Bytes of records parsed at a time. Parser output does not count against the queue's limit.
const PARSED_BYTES: usize = 256 * 1024;
/// Maximum refusals per call, counted separately for batches that were refused before and for
/// the others. Each one costs the host a log line and a file.
const MOST_REFUSALS: usize = 4;
/// Interval between retries when some routes receive the batch again with each retry.
const PART_RETRY: Duration = Duration::from_secs(10);
/// How long a container is set aside before that is logged.
const QUIET_WAIT: Duration = Duration::from_secs(10);
/// A host that refuses a record while it holds no more than `1 / ROOM_PART` of the record's
/// size has no room for the record even when it holds nothing.
const ROOM_PART: usize = 8;
/// Number of contradictions after which a record itself is the reason for its refusal: times
/// that the host accepts at least as many bytes with the same tag in the same round in which
/// it refused the record.
const MOST_CONTRADICTIONS: u32 = 10;
/// Factor by which the timeout grows for a record that no small batch follows.
const LAST_RECORD_FACTOR: u32 = 10;
/// Maximum number of records probed behind a refused one.
const MOST_PROBED: usize = 16;

/// A batch this many times larger than its source bytes is swollen: its lines are nearly
/// empty, and each record repeats all metadata of its container. Ordinary batches are two or
/// three times as large.
const SWELLING: usize = 4;
/// Swollen batches wait while the host holds this many bytes of our records in memory. Without
/// `Mem_Buf_Limit` it accepts everything, and 70 MB of empty lines would become gigabytes
/// before its next flush.
const MOST_SWOLLEN: usize = 32 << 20;

/// What [`Drain`] needs from the instance.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub link: &'a Link,
    /// Option `Refused_Record_Timeout`.
    pub refused_record_timeout: Duration,
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
    /// Whether it was logged that some routes accept what others refuse.
    has_taken_part: bool,
    /// Parsers unknown to the host that were already reported.
    unknown_parsers: HashSet<String>,
    /// Containers whose parser took too long; their records are no longer parsed. Removed with
    /// the container.
    slow_parsers: HashSet<ContainerId>,
    /// Events that found the event queue full, to be reported again. Few, since a round has
    /// time for only two parsers that take too long.
    untold: Vec<Event>,
    /// CPU time used by parsers in this drain.
    parsing: Duration,
}

/// The host refused an append.
struct Refused {
    /// Whether some of its routes accepted it.
    is_in_part: bool,
}

/// One call of [`Drain::hand_over`]. The call occupies the host's thread: meanwhile the host
/// sends nothing and frees none of the room that it uses.
struct Round {
    number: u64,
    now: Instant,
    bytes: usize,
    refusals: usize,
}

impl Drain {
    fn goes_on(&self, round: &Round, around: Around<'_>) -> bool {
        round.refusals < MOST_REFUSALS && self.has_time(round, around)
    }

    fn has_time(&self, round: &Round, around: Around<'_>) -> bool {
        round.bytes < DRAIN_BYTES
            && self.parsing < DRAIN_PARSING
            && !around.link.paused.load(Ordering::Acquire)
            && !around.link.is_stopping()
    }

    /// Hands over queued batches until the queue is empty, the host refuses or pauses, or a
    /// limit per call is reached.
    pub(crate) fn hand_over(&mut self, around: Around<'_>) {
        let link = around.link;
        self.untold.retain(|event| !link.report(event.clone()));
        self.parsing = Duration::ZERO;
        self.rounds += 1;
        let mut round = Round {
            number: self.rounds,
            now: Instant::now(),
            bytes: 0,
            refusals: 0,
        };
        let had_aside = !self.aside.is_empty();
        if self.next_ask <= Some(round.now) || !self.takes_more_of_the_same(&round, around) {
            self.offer_again(around, &mut round);
            self.next_ask = (round.refusals > 0).then(|| round.now + RETRY);
        }
        // Refusals of containers set aside do not count against the others.
        round.refusals = 0;
        let is_cut_short = std::mem::take(&mut self.parsing) >= DRAIN_PARSING;
        while self.goes_on(&round, around) {
            let Some(batch) = self.next(link) else {
                break;
            };
            if let Some(aside) = self.aside.get_mut(&batch.container) {
                aside.push(batch);
                continue;
            }
            let batch = portion(batch, &mut self.parts, link);
            let offer = self.offer(batch, around);
            if has_to_wait(&offer, around.host) {
                self.set_aside(offer, None, link, round.now);
                continue;
            }
            match self.try_append(&offer, around) {
                Ok(()) => {
                    round.bytes += offer.bytes().len();
                    round.refusals = 0;
                    self.accept(offer.batch, around);
                }
                Err(refused) => {
                    round.refusals += 1;
                    self.set_aside(offer, Some(&refused), link, round.now);
                }
            }
        }
        if had_aside || !self.aside.is_empty() {
            let of_all = |of: fn(&Aside) -> usize| self.aside.values().map(of).sum();
            link.queue
                .set_aside(of_all(Aside::bytes), of_all(Aside::copied));
        }
        link.refused
            .store(!self.aside.is_empty(), Ordering::Release);
        if round.bytes >= DRAIN_BYTES || self.parsing >= DRAIN_PARSING || is_cut_short {
            link.host_waker.wake();
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

    /// Retries the containers set aside that are due, the longest-waiting first, so that they
    /// get whatever room there is. While the host accepts, the next one follows at once. The
    /// last refusal of the round is reserved for the newest: they may have been refused by
    /// chance and would otherwise wait behind a thousand that are refused for a reason.
    fn offer_again(&mut self, around: Around<'_>, round: &mut Round) {
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
            let offer = if offer.parsed.is_none() {
                let batch = portion(offer.batch, &mut aside.rest, around.link);
                self.offer(batch, around)
            } else {
                offer
            };
            if has_to_wait(&offer, around.host) {
                aside.first = Some(offer);
                aside.next_try = round.now + RETRY;
                return;
            }
            match self.try_append(&offer, around) {
                Ok(()) => {
                    round.bytes += offer.bytes().len();
                    round.refusals = 0;
                    aside.alone = None;
                    self.accept(offer.batch, around);
                }
                Err(refused) => {
                    round.refusals += 1;
                    self.refused_again(aside, offer, around, round);
                    return self.note_part(aside, &refused, around.link, round.now);
                }
            }
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
        if !self.has_taken_part {
            self.has_taken_part = link.report(Event::TakenInPart {
                seconds: PART_RETRY.as_secs(),
            });
        }
    }

    /// Sets the container of a batch aside. `refused` is `None` if the batch was not offered
    /// and only has to wait.
    fn set_aside(&mut self, offer: Offer, refused: Option<&Refused>, link: &Link, now: Instant) {
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
        let has_room = around
            .host
            .holds()
            .is_some_and(|held| held <= size / ROOM_PART);
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
                self.offer(single, around)
            };
            let mut is_small = false;
            if offer.batch.records > 0 {
                let Err(refused) = self.try_append(&offer, around) else {
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

    /// Runs the host parser that a label names, once per batch however often the host refuses
    /// the result.
    fn offer(&mut self, batch: Batch, around: Around<'_>) -> Offer {
        let may_be_parsed = batch.records > 0 && !self.slow_parsers.contains(&batch.container);
        let Some(parsing) = batch.parsing.as_deref().filter(|_| may_be_parsed) else {
            return Offer {
                batch,
                parsed: None,
            };
        };
        let mut is_unknown = false;
        let mut spent = Duration::ZERO;
        let parsed = parsing.apply(&batch.bytes, &mut |text| {
            if is_unknown || spent >= MOST_PARSING || text.len() > MOST_PARSED {
                return None;
            }
            let before = processor_time();
            let parsed = around
                .host
                .parse(&parsing.parser, text)
                .unwrap_or_else(|NoParser| {
                    is_unknown = true;
                    None
                });
            spent += processor_time().saturating_sub(before);
            parsed
        });
        self.parsing += spent;
        if spent >= MOST_PARSING {
            self.slow_parsers.insert(batch.container);
            let (name, short_id) = named(&batch);
            let (parser, millis) = (parsing.parser.clone(), spent.as_millis());
            let event = Event::ParserSlow {
                name,
                short_id,
                parser,
                millis,
            };
            if !around.link.report(event.clone()) {
                self.untold.push(event);
            }
        }
        let has_room = self.unknown_parsers.len() < MOST_UNKNOWN_PARSERS;
        if is_unknown && has_room && !self.unknown_parsers.contains(&parsing.parser) {
            let ((name, short_id), parser) = (named(&batch), parsing.parser.clone());
            if around.link.report(Event::ParserUnknown {
                name,
                short_id,
                parser,
            }) {
                self.unknown_parsers.insert(parsing.parser.clone());
            }
        }
        Offer {
            parsed: Some(parsed),
            batch,
        }
    }

    /// Appends a batch to the host. `holds` before it costs no more than the append, since the
    /// host sums up its memory in each append itself.
    fn try_append(&mut self, offer: &Offer, around: Around<'_>) -> Result<(), Refused> {
        let batch = &offer.batch;
        if batch.records == 0 {
            return Ok(());
        }
        let size = offer.bytes().len();
        let held = around.host.holds();
        if around
            .host
            .append(batch.tag.as_deref(), batch.records, offer.bytes())
            .is_err()
        {
            return Err(Refused {
                is_in_part: around.host.holds() > held,
            });
        }
        self.taken += 1;
        for aside in self.aside.values_mut() {
            aside.others_took(batch.tag.as_deref(), size, self.rounds);
        }
        Ok(())
    }

    /// The host accepted the batch: advances the checkpoint (I1) and releases its queue space.
    fn accept(&mut self, batch: Batch, around: Around<'_>) {
        let link = around.link;
        if let Some((account, bytes)) = batch.source.as_ref().filter(|_| batch.records > 0) {
            let since = account.accepted(Amount {
                bytes: *bytes,
                records: batch.records as u64,
            });
            if let Some(since) = since {
                link.latency.observe(since.elapsed_until(wall_clock()));
            }
        }
        self.pass(batch, around);
    }

    /// The host never accepts this single record: counts it and advances the checkpoint past
    /// it.
    fn give_up(&mut self, batch: Batch, around: Around<'_>) {
        if let Some((account, bytes)) = batch.source.as_ref().filter(|_| batch.records > 0) {
            let amount = Amount {
                bytes: *bytes,
                records: batch.records as u64,
            };
            let (name, short_id) = (account.name(), account.short_id());
            let (size, timeout) = (batch.bytes.len(), around.refused_record_timeout);
            let seconds = timeout.as_secs_f64();
            account.refused(amount, Instant::now(), |Amount { bytes, records }| {
                around.link.report(Event::RecordsRefused {
                    name,
                    short_id,
                    records,
                    bytes,
                    size,
                    seconds,
                })
            });
        }
        self.pass(batch, around);
    }

    fn pass(&mut self, batch: Batch, around: Around<'_>) {
        let link = around.link;
        let checkpoint = &link.checkpoint;
        let written = match &batch.progress {
            Progress::Advance(advance) => checkpoint.advance(batch.container, advance),
            Progress::Forget => checkpoint.forget(&batch.container, Instant::now()),
            Progress::Started => checkpoint.mark_started(),
            Progress::Nothing => Ok(false),
        };
        self.report_checkpoint(written, around);
        if batch.progress == Progress::Forget {
            self.slow_parsers.remove(&batch.container);
            link.has_left(&batch.container);
        }
        if link.queue.accepted(batch.bytes) {
            link.reader_waker.wake();
        }
    }

    /// Logs once when checkpoint writes start to fail and once when they succeed again.
    /// `Ok(false)` means that nothing had to be written, which changes neither state.
    pub(crate) fn report_checkpoint(&mut self, written: std::io::Result<bool>, around: Around<'_>) {
        let link = around.link;
        let Some(path) = around.db else { return };
        match written {
            Ok(false) => {}
            Ok(true) => {
                link.health.set_db_writable(true);
                link.tally.checkpoint_writes.add_one();
                self.checkpoint.end(|| {
                    link.report(Event::CheckpointWritable {
                        path: path.to_owned(),
                    })
                });
            }
            Err(error) => {
                link.health.set_db_writable(false);
                self.checkpoint.begin((), || {
                    let reason = error.to_string();
                    link.report(Event::CheckpointUnwritable {
                        path: path.to_owned(),
                        reason,
                    })
                });
            }
        }
    }
}

/// Whether a batch is swollen while the host holds too much to be given it now. This is not a
/// refusal: its records are never dropped for it, however long it lasts.
fn has_to_wait(offer: &Offer, host: &dyn Host) -> bool {
    let source = offer
        .batch
        .source
        .as_ref()
        .map_or(u64::MAX, |(_, bytes)| *bytes);
    let is_swollen = (offer.bytes().len() / SWELLING) as u64 > source;
    is_swollen && host.holds().is_some_and(|held| held >= MOST_SWOLLEN)
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
    let has_room = || {
        around
            .host
            .holds()
            .is_some_and(|held| held <= batch.bytes.len() / ROOM_PART)
    };
    let is_long = || now.duration_since(aside.since) >= around.refused_record_timeout;
    batch.records <= 1 || batch.has_mark_inside() || others_pass || has_room() || is_long()
}

/// Returns the first part of a batch that is to be parsed and pushes the remaining parts to
/// the front of `rest`. Other batches are returned unchanged.
fn portion<T: From<Batch>>(mut batch: Batch, rest: &mut VecDeque<T>, link: &Link) -> Batch {
    while batch.parsing.is_some() && batch.bytes.len() > PARSED_BYTES {
        let (first, second) = batch.halved();
        batch = first;
        let Some(second) = second else { break };
        note_division(&batch, &second, link);
        rest.push_front(second.into());
    }
    batch
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

fn report_wait(batch: &Batch, link: &Link) {
    let Some((account, _)) = &batch.source else {
        return;
    };
    account.report_wait(|| {
        link.report(Event::RecordsWait {
            name: account.name(),
            short_id: account.short_id(),
        })
    });
}

/// Name and short id of a batch's container, for messages.
fn named(batch: &Batch) -> (String, String) {
    match &batch.source {
        Some((account, _)) => (account.name(), account.short_id()),
        None => (String::new(), batch.container.short()),
    }
}

/// CPU time of this thread. Unlike elapsed time, it does not grow while other processes run.
pub(crate) fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or(0),
        u32::try_from(tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests;
