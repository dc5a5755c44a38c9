//! Losses of the journal of which the containers are not known.

use std::time::Instant;

use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::format::rfc3339;
use crate::telemetry::account::Amount;
use crate::telemetry::event::journal::JournalEvent;
use crate::telemetry::event::Event;
use crate::telemetry::throttle::{Once, Paced};

/// The messages about them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    suppressed: Paced,
    missing: Paced,
    begun_anew: Once,
}

fn amount(entries: u64) -> Amount {
    Amount {
        bytes: 0,
        records: entries,
    }
}

impl Losses {
    /// So many entries were removed before they were read. There may have been lines among them.
    pub fn missing(&mut self, entries: u64, link: &Link) {
        if entries == 0 {
            return;
        }
        link.accounts.abandon_files(1);
        self.missing.add(amount(entries), Instant::now(), |amount| {
            let entries = amount.records;
            link.report(Event::Journal(JournalEvent::Gap { entries }))
        });
    }

    /// The journal has another sequence than the one in which reading stopped, which is gone.
    pub fn begun_anew(&mut self, place: JournalPlace, link: &Link) {
        self.begun_anew.report(|| {
            let last = rfc3339::format(place.time());
            let is_kept = link.report(Event::Journal(JournalEvent::BegunAnew { last }));
            if is_kept {
                link.accounts.abandon_files(1);
            }
            is_kept
        });
    }

    /// journald dropped so many messages of a daemon.
    pub fn suppressed(&mut self, unit: String, entries: u64, link: &Link) {
        link.accounts.abandon_files(1);
        self.suppressed
            .add(amount(entries), Instant::now(), |amount| {
                let entries = amount.records;
                link.report(Event::Journal(JournalEvent::Suppressed { unit, entries }))
            });
    }
}
