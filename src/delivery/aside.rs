//! The refused batches of one container, what waits behind them, and what is known about the
//! reason. Decides nothing: `drain` does. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Progress};
use crate::runtime::id::ContainerId;

/// Interval between two offers of the same batch while the host accepts others: the initial
/// one, and the longest one for a single record.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// Bytes waiting behind a container's refused batch at which its log is read no further.
const MOST_ASIDE: usize = 64 * 1024;

/// Maximum bytes of large records held for a container while no small one is among them.
pub(crate) const MOST_UNTOLD: usize = 2 << 20;

/// A batch as offered to the host.
#[derive(Debug)]
pub(crate) struct Offer {
    pub batch: Batch,
    /// Its records after a host parser processed them.
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
    /// The records that the host receives.
    pub fn bytes(&self) -> &[u8] {
        self.parsed.as_deref().unwrap_or(&self.batch.bytes)
    }

    /// Bytes of the parsed copy, in addition to the batch.
    fn copied(&self) -> usize {
        self.parsed.as_ref().map_or(0, Vec::len)
    }

    /// Bytes in memory while it is set aside.
    pub fn held(&self) -> usize {
        self.batch.bytes.len() + self.copied()
    }
}

/// The batches of one container that are set aside.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The refused batch.
    pub first: Option<Offer>,
    /// Batches waiting behind it.
    pub rest: VecDeque<Offer>,
    /// When the container was first refused.
    pub since: Instant,
    /// Whether it was refused only once.
    pub is_new: bool,
    /// Number of appends that the host had accepted at the last refusal.
    pub taken: u64,
    /// Time of the next offer.
    pub next_try: Instant,
    /// What is known about `first` if it is a single record.
    pub alone: Option<Alone>,
}

/// State of a refused single record.
#[derive(Debug)]
pub(crate) struct Alone {
    /// When it was first refused as a single record.
    pub since: Instant,
    /// Number of these refusals.
    pub refusals: u32,
    /// Whether the host accepted anything since.
    pub took_any: bool,
    /// Whether it accepted something smaller with the same tag.
    pub took_smaller: bool,
    /// The round of its last refusal, until it is contradicted.
    pub refused_in: Option<u64>,
    /// Number of refusals after which the host, in the same round, accepted at least as many
    /// bytes with the same tag. The host sends nothing during a round, so it had room for this
    /// record too.
    pub contradictions: u32,
}

impl Alone {
    /// A record that is refused for the first time; nothing else was accepted yet.
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
    /// A first refusal, after `taken` accepted appends.
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

    /// Queues a newly read batch of the container behind the refused one (I3).
    pub fn push(&mut self, batch: Batch) {
        self.rest.push_back(batch.into());
        self.hold_back();
    }

    /// Bytes of everything set aside.
    pub fn bytes(&self) -> usize {
        self.first.as_ref().map_or(0, Offer::held) + self.bytes_behind()
    }

    /// Bytes of parsed copies among them, which the queue does not count.
    pub fn copied(&self) -> usize {
        self.first.iter().chain(&self.rest).map(Offer::copied).sum()
    }

    fn bytes_behind(&self) -> usize {
        self.rest.iter().map(Offer::held).sum()
    }

    /// Stops reading the container once enough waits behind the refused batch: its files are
    /// its buffer.
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

    /// Whether nothing follows the refused record, now or later, that is no larger than
    /// `small` bytes and would show whether the host has room. A batch of several records
    /// counts as small, since it can be divided.
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

    /// Whether everything was accepted or dropped.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    /// Interval until the next offer while the host accepts others.
    pub fn patience(&self) -> Duration {
        let refusals = self.alone.as_ref().map_or(1, |alone| alone.refusals);
        (RETRY * refusals.min(100)).min(LONGEST_RETRY)
    }

    /// Records that the host accepted `size` bytes with this tag, from another container, in
    /// this round.
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

    /// Everything was accepted or dropped: resumes reading the container.
    pub fn release(self, link: &Link, id: &ContainerId) {
        link.accounts.read_on(id);
        link.reader_waker.wake();
    }
}
