//! Losses of the journal of which the containers are not known.

use std::time::Instant;

use crate::delivery::link::Link;
use crate::telemetry::account::Amount;
use crate::telemetry::event::journal::JournalEvent;
use crate::telemetry::event::Event;
use crate::telemetry::throttle::Paced;

/// The messages about them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    suppressed: Paced,
    missing: Paced,
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
        link.accounts.abandon_of_unknown();
        self.missing.add(amount(entries), Instant::now(), |amount| {
            let entries = amount.records;
            link.report(Event::Journal(JournalEvent::Gap { entries }))
        });
    }

    /// journald dropped so many messages of a daemon.
    pub fn suppressed(&mut self, unit: String, entries: u64, link: &Link) {
        link.accounts.abandon_of_unknown();
        self.suppressed
            .add(amount(entries), Instant::now(), |amount| {
                let entries = amount.records;
                link.report(Event::Journal(JournalEvent::Suppressed { unit, entries }))
            });
    }
}
