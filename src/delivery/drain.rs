//! What the host's thread does with what is queued: hands it over, moves the checkpoint
//! behind each batch that is accepted, and finds a way past what is refused.
//!
//! The host refuses for two reasons, and gives one answer. It has no room now, of all or
//! of one route: then nothing may be lost, and it is asked again for as long as it takes.
//! Or it never takes this: a batch that is larger than an output's
//! `storage.total_limit_size`, a record that a processor fails on.
//!
//! ```text
//! refused:  the container stands aside; its later batches wait behind (I3), after a
//!           while no more of its log is read, and the others pass
//! again:    the batch is halved, again and again, down to one record
//! alone:    that record is given up, counted and logged if it is certain that the host
//!           never takes it (see `Drain::is_hopeless`)
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

/// Bytes handed to the host in one call at the most; then it gets its thread
/// back for its other work and is rung again.
pub(crate) const DRAIN_BYTES: usize = 4 << 20;
/// Names that are remembered as said; labels may say any number of them.
const MOST_UNKNOWN_PARSERS: usize = 100;
/// What the parser that a label asks for may take of the processor for one batch. The
/// host's regular expressions have no bound of their own, so a text that fits none of
/// their ends may take seconds or years; of one such call nothing brings us back.
const MOST_PARSING: Duration = Duration::from_millis(200);
/// Bytes of a text that such a parser is given: one piece of a line as dockerd cuts them.
pub(crate) const MOST_PARSED: usize = 16 * 1024;
/// What parsers may take of the processor in one drain, beside its bytes: for what stands
/// aside, and as much for the others.
pub(crate) const DRAIN_PARSING: Duration = Duration::from_millis(100);
/// Bytes of records that a parser takes apart at a time: what it makes of them is outside
/// of the queue's limit.
const PARSED_BYTES: usize = 256 * 1024;
/// Batches that may be refused in a row in one call, of those that were refused before,
/// and of the others. Each costs the host a line in its log and a file.
const MOST_REFUSALS: usize = 4;
/// Time between two offers where some routes get it again with each.
const PART_RETRY: Duration = Duration::from_secs(10);
/// How long a container stands aside before that is logged.
const QUIET_WAIT: Duration = Duration::from_secs(10);
/// A host that holds at most this part of a record's size and refuses the record has no
/// room for it even if it holds nothing.
const ROOM_PART: usize = 8;
/// How often the host must take as much of a tag, in the same round in which it has
/// refused a record of it before, until that record itself is the reason.
const MOST_CONTRADICTIONS: u32 = 10;
/// How many times longer a record is offered that nothing small follows.
const LAST_RECORD_FACTOR: u32 = 10;
/// Records behind one that is refused that are tried at the most.
const MOST_PROBED: usize = 16;

/// Records that are so many times larger than what they were read of are swollen: lines
/// that are next to nothing, each with all that is said of its container. Ordinary ones are
/// two or three times as large.
const SWELLING: usize = 4;
/// Once the host holds as much of ours in its memory, what is swollen waits. Without
/// `Mem_Buf_Limit` it takes all that it is given, and 70 MB of empty lines become gigabytes
/// before its next flush.
const MOST_SWOLLEN: usize = 32 << 20;

/// What handing over needs.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub link: &'a Link,
    /// `Refused_Record_Timeout`.
    pub refused_record_timeout: Duration,
    /// `DB`.
    pub db: Option<&'a Path>,
    pub host: &'a dyn Host,
}

/// What the host's thread holds between two calls.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Parts of a batch that was too large for a parser at once, and what follows of the
    /// same container: they go before all that is large.
    parts: VecDeque<Batch>,
    /// Of containers whose records the host refuses.
    aside: HashMap<ContainerId, Aside>,
    /// The same, in the order in which they are offered again.
    turns: VecDeque<ContainerId>,
    /// When they are whatever woke us, if the host refused the last one that it was offered.
    next_ask: Option<Instant>,
    /// Calls of [`Drain::hand_over`] so far.
    rounds: u64,
    /// Appends that were accepted so far.
    taken: u64,
    /// Writing the checkpoint fails.
    checkpoint: Trouble<()>,
    /// It was logged that some routes take what others refuse.
    has_taken_part: bool,
    /// Parsers that the host has not, said already.
    unknown_parsers: HashSet<String>,
    /// Containers whose label asks for a parser that took too long: nothing more is
    /// parsed for them. Forgotten with the container.
    slow_parsers: HashSet<ContainerId>,
    /// Messages for which there was no room, to be reported again. Few: a round has time
    /// for two parsers that take too long.
    untold: Vec<Event>,
    /// What parsers have taken in this drain.
    parsing: Duration,
}

/// The host has not taken an append.
struct Refused {
    /// Some of its routes have.
    is_in_part: bool,
}

/// One call of [`Drain::hand_over`]. The host's thread is ours as long as it lasts: the
/// host sends nothing, and nothing of what it holds becomes free.
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

    /// Hands over what is queued, until there is nothing left, the host wants nothing, or
    /// it is time to give it its thread back.
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
        // What stood aside takes no turn of the others.
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

    /// Puts what is queued of containers that stand aside behind what they have there, up to
    /// the first batch of another one, which is the next to go. Returns whether that was all
    /// there is: it is no reason to ask the host again before its time.
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

    /// The next batch: while a large one goes to its parser in parts, the small ones of
    /// other containers pass it. What follows of the same container stays behind (I3).
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

    /// What stands aside and is due, those first that have waited longest: they have the first
    /// of what room there is. As long as the host takes it, the next one follows at once. The
    /// last refusal of the round is left for those that came last: they may have been refused
    /// by chance, and would wait behind a thousand that are refused for a reason.
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

    /// The turn of who stands at a place in line.
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

    /// The place in line of who came last and was not offered again since.
    fn newcomer(&self, now: Instant) -> Option<usize> {
        let is_new = |aside: &Aside| aside.is_new && aside.next_try <= now;
        self.turns
            .iter()
            .rposition(|id| self.aside.get(id).is_some_and(is_new))
    }

    /// Offers what stands aside of a container, in order, up to the first refusal.
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

    /// With conditional routes an append can be taken by some of them and still be refused.
    /// Which they are the host does not tell, so all get it again; the less often the better.
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

    /// What is `refused`, or has to wait.
    fn set_aside(&mut self, offer: Offer, refused: Option<&Refused>, link: &Link, now: Instant) {
        let id = offer.batch.container;
        let mut aside = Aside::new(offer, now, self.taken);
        // A pause between two routes is over when the host resumes; only if it comes again at
        // the next offer, too, that is to be seldom.
        if let Some(refused) = refused.filter(|_| !link.paused.load(Ordering::Acquire)) {
            self.note_part(&mut aside, refused, link, now);
        }
        aside.hold_back();
        self.aside.insert(id, aside);
        self.turns.push_back(id);
    }

    /// What is refused once more is halved; a single record may be given up.
    fn refused_again(
        &mut self,
        aside: &mut Aside,
        offer: Offer,
        around: Around<'_>,
        round: &mut Round,
    ) {
        let now = round.now;
        aside.is_new = false;
        // A host that takes nothing is asked whenever there is a reason to; one that takes
        // others is not bothered more often than need be.
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

    /// Gives a record up if it is the record, and not the room that there is now. That is
    /// certain where
    /// - the host took as much of the same tag again and again, each time in the round in
    ///   which it had refused the record before, so that no room came in between; or
    /// - it holds next to nothing of ours, so that there is all the room there will ever
    ///   be, and takes something smaller of the same tag: of another container, or what
    ///   follows the record. Where nothing small follows, since the container is gone or
    ///   writes nothing small, it is enough that it takes something of any tag, for much
    ///   longer.
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

    /// Offers the records that follow, one by one, up to one that is taken: then those
    /// before it are given up. Where the host refuses a small one, too, it has no room.
    /// All of them are tried in one round, since only then they have the same room; so
    /// the last to probe in a round may go beyond its refusals, and no other does.
    fn probe(&mut self, aside: &mut Aside, offer: Offer, around: Around<'_>, round: &mut Round) {
        let (size, id) = (offer.bytes().len(), offer.batch.container);
        let mut tried = vec![offer];
        while tried.len() <= MOST_PROBED && self.has_time(round, around) {
            // A stream with a tag of its own has its own route, which says nothing here.
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
        // More of it may tell.
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

    /// What a label asks of the host's parsers is done once, however often the host
    /// refuses what comes of it.
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

    /// What the host holds it adds up in each append itself, so the look before costs no
    /// more than that.
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

    /// The host has the batch: the checkpoint moves (I1), its room is free.
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

    /// The host never takes the batch, which is one record: it is counted, and the
    /// checkpoint moves past it.
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

    /// Once when writing begins to fail, and once when it works again. Where nothing was
    /// to be written (`Ok(false)`), neither is known.
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

/// Whether a batch is swollen and the host holds too much to be given it now. That is no
/// refusal: its records are not given up for it, however long it lasts.
fn has_to_wait(offer: &Offer, host: &dyn Host) -> bool {
    let source = offer
        .batch
        .source
        .as_ref()
        .map_or(u64::MAX, |(_, bytes)| *bytes);
    let is_swollen = (offer.bytes().len() / SWELLING) as u64 > source;
    is_swollen && host.holds().is_some_and(|held| held >= MOST_SWOLLEN)
}

/// Whether what is refused is to be halved, or to be given up as a single record. At a
/// mark it always is: the position moves with each part. Between two marks a kill or a
/// stop repeats the parts before it, so there must be a reason other than a host that
/// takes nothing now: it takes others, or has all the room there will ever be, or has
/// refused for long.
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

/// The first part of a batch that a parser is to take apart, with the others at the front
/// of `rest`; any other batch as it is.
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

/// Both parts have the group's marks that were there once, and are accepted one by one.
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

/// Whose a batch is, for messages.
fn named(batch: &Batch) -> (String, String) {
    match &batch.source {
        Some((account, _)) => (account.name(), account.short_id()),
        None => (String::new(), batch.container.short()),
    }
}

/// What this thread has taken of the processor: on a busy machine less than passed.
pub(crate) fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or(0),
        u32::try_from(tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests;
