//! One append to the host, and whether it holds too much of ours to be offered it.

use crate::delivery::aside::Offer;
use crate::delivery::drain::{Around, Drain, Round};
use crate::delivery::queue::Batch;

/// A batch this many times larger than its source bytes is swollen: its lines are nearly
/// empty, and each record repeats all metadata of its container. Ordinary batches are two or
/// three times as large.
const SWELLING: usize = 4;
/// Whatever `Buffered_Limit` is, swollen batches wait while the host holds this many bytes of our
/// records in memory: 70 MB of empty lines would become gigabytes before its next flush.
pub(super) const MOST_SWOLLEN: usize = 32 << 20;

/// Records to be appended in one call.
pub(super) struct Append<'a> {
    pub tag: Option<&'a str>,
    pub records: usize,
    pub bytes: &'a [u8],
    /// Whether they are far larger than their source.
    pub is_swollen: bool,
}

impl<'a> Append<'a> {
    pub fn of(offer: &'a Offer) -> Append<'a> {
        Append {
            tag: offer.batch.tag.as_deref(),
            records: offer.batch.records,
            bytes: offer.bytes(),
            is_swollen: is_swollen(&offer.batch, offer.bytes().len()),
        }
    }
}

/// The host refused an append.
pub(super) struct Refused {
    /// Whether some of its routes accepted it.
    pub is_in_part: bool,
}

impl Drain {
    /// Appends records, unless the host holds too much already: then they are not offered, which
    /// is `Err(None)`.
    pub(super) fn append_if_room(
        &mut self,
        append: &Append<'_>,
        around: Around<'_>,
        round: &mut Round,
    ) -> Result<(), Option<Refused>> {
        let held = round.held.or_else(|| around.host.holds());
        let is_too_much =
            |held| held >= around.buffered_limit || (append.is_swollen && held >= MOST_SWOLLEN);
        if held.is_some_and(is_too_much) {
            return Err(None);
        }
        if let Err(refused) = self.append(append, held, around) {
            round.refusals += 1;
            return Err(Some(refused));
        }
        round.bytes += append.bytes.len();
        round.refusals = 0;
        Ok(())
    }

    /// Appends records to the host, which holds `held` bytes of ours.
    pub(super) fn append(
        &mut self,
        append: &Append<'_>,
        held: Option<usize>,
        around: Around<'_>,
    ) -> Result<(), Refused> {
        let (tag, bytes) = (append.tag, append.bytes);
        if around.host.append(tag, append.records, bytes).is_err() {
            let before_and_now = held.zip(around.host.holds());
            return Err(Refused {
                is_in_part: before_and_now.is_some_and(|(before, now)| now > before),
            });
        }
        self.taken += 1;
        self.hold_back.appended(bytes.len());
        self.bundler.accepted(bytes.len());
        for aside in self.aside.values_mut() {
            aside.others_took(tag, bytes.len(), self.rounds);
        }
        Ok(())
    }
}

/// Whether the records of a batch, which are this many bytes, are far larger than its source.
pub(super) fn is_swollen(batch: &Batch, bytes: usize) -> bool {
    let source = batch.source.as_ref();
    let source_bytes = source.map_or(u64::MAX, |(_, bytes)| *bytes);
    (bytes / SWELLING) as u64 > source_bytes
}
