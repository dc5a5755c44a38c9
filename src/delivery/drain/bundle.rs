//! Appends the small batches of a pass over many containers in one call. At a trickle each batch
//! is a line or two, and an append and a checkpoint write for each would cost more than all else.
//!
//! Batches are bundled only while no container is set aside, so that what is known about a refusal
//! is known about one container (see `retry`).

use crate::delivery::drain::append::{is_swollen, Append};
use crate::delivery::drain::{Around, Drain, Round};
use crate::delivery::link::Link;
use crate::delivery::queue::Batch;

/// Bytes of a bundle at most.
const MOST_BYTES: usize = 64 * 1024;
/// After a refusal has halved the limit, it grows again by this part of what the host accepts, and
/// of the limit at most: a host that never has room for more refuses few. What goes alone counts,
/// or a limit too low for a bundle would never grow again.
const GROWTH_PART: usize = 64;
/// Batches of a bundle at most.
const MOST_BATCHES: usize = 256;

/// Small batches of one or more containers with the same tag, appended in one call.
#[derive(Debug)]
pub(super) struct Bundler {
    /// Bytes of the next bundle at most. A host may have room for less.
    limit: usize,
    /// The records of a bundle, kept for reuse.
    joined: Vec<u8>,
}

impl Default for Bundler {
    fn default() -> Bundler {
        Bundler {
            limit: MOST_BYTES,
            joined: Vec::new(),
        }
    }
}

impl Bundler {
    /// Takes the next batch from the queue if it can be appended together with `first` and what
    /// follows that, `bytes` in total.
    fn next(&self, first: &Batch, bytes: usize, link: &Link) -> Option<Batch> {
        let is_small = |batch: &Batch| batch.records > 0 && batch.parsing.is_none();
        let goes_along = |next: &Batch| {
            let is_alike = is_small(first) && is_small(next) && next.tag == first.tag;
            is_alike && bytes + next.bytes.len() <= self.limit
        };
        link.queue.pop_small_if(goes_along)
    }

    /// The host accepted an append of this many bytes.
    pub fn accepted(&mut self, bytes: usize) {
        let growth = 1 + bytes.min(self.limit) / GROWTH_PART;
        self.limit = MOST_BYTES.min(self.limit + growth);
    }
}

impl Drain {
    /// Offers a batch together with those in the queue that go along with it. Returns the batch if
    /// there are none.
    pub(super) fn submit_bundle(
        &mut self,
        first: Batch,
        around: Around<'_>,
        round: &mut Round,
    ) -> Option<Batch> {
        if !self.aside.is_empty() || !self.parts.is_empty() {
            return Some(first);
        }
        let mut bytes = first.bytes.len();
        let Some(second) = self.bundler.next(&first, bytes, around.link) else {
            return Some(first);
        };
        bytes += second.bytes.len();
        let mut bundle = vec![first, second];
        while bundle.len() < MOST_BATCHES {
            let Some(next) = self.bundler.next(&bundle[0], bytes, around.link) else {
                break;
            };
            bytes += next.bytes.len();
            bundle.push(next);
        }
        let mut joined = std::mem::take(&mut self.bundler.joined);
        joined.clear();
        bundle
            .iter()
            .for_each(|batch| joined.extend_from_slice(&batch.bytes));
        let append = Append {
            tag: bundle[0].tag.as_deref(),
            records: bundle.iter().map(|batch| batch.records).sum(),
            bytes: &joined,
            is_swollen: bundle
                .iter()
                .any(|batch| is_swollen(batch, batch.bytes.len())),
        };
        let appended = self.append_if_room(&append, around, round);
        self.bundler.joined = joined;
        match appended {
            Ok(()) => self.accept_all(bundle, around),
            Err(refused) => {
                if refused.is_some() {
                    self.bundler.limit /= 2;
                }
                for batch in bundle {
                    match self.aside.get_mut(&batch.container) {
                        Some(aside) => aside.push(batch),
                        None => {
                            self.set_aside(batch.into(), refused.as_ref(), around.link, round.now)
                        }
                    }
                }
            }
        }
        None
    }
}
