//! What the host refuses of one container, what waits behind it, and what is known of why.
//! Decides nothing: `drain` does. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::runtime::id::ContainerId;

/// Time between two offers of the same while the host takes others: at first, and of a
/// single record at last.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// Bytes that wait behind what is refused of a container; then no more of it is read.
const MOST_ASIDE: usize = 64 * 1024;

/// Bytes of large records that are held of a container while nothing small is among them.
pub(crate) const MOST_UNTOLD: usize = 2 << 20;

/// A batch as it is offered to the host.
#[derive(Debug)]
pub(crate) struct Offer {
    pub batch: Batch,
    /// Its records as a parser of the host left them.
    pub parsed: Option<Vec<u8>>,
}

impl From<Batch> for Offer {
    fn from(batch: Batch) -> Offer {
        Offer {
            batch,
            parsed: None,
        }
    }
}

impl Offer {
    /// The records that the host gets.
    pub fn bytes(&self) -> &[u8] {
        self.parsed.as_deref().unwrap_or(&self.batch.bytes)
    }

    /// What a parser's copy takes beside the batch.
    fn copied(&self) -> usize {
        self.parsed.as_ref().map_or(0, Vec::len)
    }

    /// What it takes as long as it stands aside.
    pub fn held(&self) -> usize {
        self.batch.bytes.len() + self.copied()
    }
}

/// What stands aside of one container.
#[derive(Debug)]
pub(crate) struct Aside {
    /// What is refused.
    pub first: Option<Offer>,
    /// What waits behind it.
    pub rest: VecDeque<Offer>,
    /// Since when something of it is refused.
    pub since: Instant,
    /// It was refused once.
    pub is_new: bool,
    /// How many appends the host had accepted at the last refusal.
    pub taken: u64,
    /// When it is offered again.
    pub next_try: Instant,
    /// What is known of `first`, where it is a single record.
    pub alone: Option<Alone>,
}

/// Of a single record that is refused.
#[derive(Debug)]
pub(crate) struct Alone {
    /// When it was first refused alone.
    pub since: Instant,
    /// How often it was.
    pub refusals: u32,
    /// Since then the host took something.
    pub took_any: bool,
    /// It took something of the same tag that is smaller.
    pub took_smaller: bool,
    /// The round in which it was refused last, until that is contradicted.
    pub refused_in: Option<u64>,
    /// Refusals after which, in the same round, it took something of the same tag that is
    /// as large. The host sends nothing meanwhile, so it had room for this one, too.
    pub contradictions: u32,
}

impl Alone {
    /// Nothing was taken yet.
    pub fn since(since: Instant) -> Alone {
        let (took_any, took_smaller, refused_in) = (false, false, None);
        Alone {
            since,
            refusals: 0,
            took_any,
            took_smaller,
            refused_in,
            contradictions: 0,
        }
    }
}

impl Aside {
    /// What was refused for the first time, when the host had accepted so many appends.
    pub fn new(first: Offer, now: Instant, taken: u64) -> Aside {
        let (first, rest) = (Some(first), VecDeque::new());
        Aside {
            first,
            rest,
            since: now,
            is_new: true,
            taken,
            next_try: now,
            alone: None,
        }
    }

    /// What is read of the container meanwhile waits behind what is refused (I3).
    pub fn push(&mut self, batch: Batch) {
        self.rest.push_back(batch.into());
        self.hold_back();
    }

    /// What it all takes.
    pub fn bytes(&self) -> usize {
        self.first.as_ref().map_or(0, Offer::held) + self.bytes_behind()
    }

    /// What of that parsers' copies take, which are no part of the queue.
    pub fn copied(&self) -> usize {
        self.first.iter().chain(&self.rest).map(Offer::copied).sum()
    }

    fn bytes_behind(&self) -> usize {
        self.rest.iter().map(Offer::held).sum()
    }

    /// No more of the container is read once enough waits behind what is refused: its files
    /// are its buffer.
    pub fn hold_back(&self) {
        let Some(Offer {
            batch:
                Batch {
                    source: Some((account, _)),
                    ..
                },
            ..
        }) = &self.first
        else {
            return;
        };
        account.hold_back(self.bytes_behind() >= MOST_ASIDE);
    }

    /// Whether nothing follows what is refused, nor will, that is no larger than `small` and
    /// would tell whether the host has room.
    pub fn has_nothing_small(&self, small: usize) -> bool {
        let is_small =
            |batch: &Batch| batch.records > 1 || (batch.records == 1 && batch.bytes.len() <= small);
        let is_gone = self
            .rest
            .iter()
            .any(|offer| offer.batch.progress == Progress::Forget);
        !self.rest.iter().any(|offer| is_small(&offer.batch))
            && (is_gone || self.bytes() >= MOST_UNTOLD / 2)
    }

    /// Whether all of it is dealt with.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    /// How long until the next offer, where the host takes others.
    pub fn patience(&self) -> Duration {
        let refusals = self.alone.as_ref().map_or(1, |alone| alone.refusals);
        (RETRY * refusals.min(100)).min(LONGEST_RETRY)
    }

    /// The host took so many bytes with this tag, of another container, in this round.
    pub fn others_took(&mut self, tag: Option<&str>, size: usize, round: u64) {
        let (Some(alone), Some(first)) = (&mut self.alone, &self.first) else {
            return;
        };
        alone.took_any = true;
        if first.batch.tag.as_deref() == tag {
            let is_smaller = size < first.bytes().len();
            alone.took_smaller |= is_smaller;
            if !is_smaller && alone.refused_in == Some(round) {
                alone.refused_in = None;
                alone.contradictions += 1;
            }
        }
    }

    /// All of it is taken or given up: the container is read on.
    pub fn release(self, link: &Link, id: &ContainerId) {
        link.accounts.read_on(id);
        link.reader_waker.wake();
    }
}
