//! Containers that are read from systemd's journal.

use std::time::Instant;

use crate::delivery::checkpoint::JournalPlace;
use crate::delivery::link::Link;
use crate::source::fleet::Fleet;
use crate::source::journal::shared::Progress;
use crate::source::schedule::{Pass, Schedule};
use crate::source::services::Services;
use crate::source::slice::SLICE_TIME;

impl Fleet {
    /// Nothing up to these entries is unread, so that its removal from the journal is no loss.
    pub(super) fn are_read_up_to(&mut self, ends: &[JournalPlace], link: &Link) {
        for (_, container) in self.containers.iter_mut() {
            container.is_read_up_to(ends, link);
        }
    }

    /// Passes what was written to the journal to the containers that have caught up with it. One
    /// that cannot take an entry now reads it later, from its own place.
    pub fn read_journal(&mut self, services: &mut Services, schedule: &mut Schedule) -> Pass {
        let Services {
            link,
            config,
            journal,
            ..
        } = services;
        let until = Instant::now() + SLICE_TIME;
        let mut touched = Vec::new();
        let containers = &mut self.containers;
        let progress = journal.read_all(until, link, |key, place, scan| {
            let Some(container) = containers.get_mut(key) else {
                return;
            };
            if container.take_from_journal(place, scan, config, link, until) {
                touched.push(key);
            }
        });
        touched.sort_unstable();
        touched.dedup();
        for key in touched {
            if let Some(container) = self.containers.get_mut(key) {
                container.flush_journaled(link);
                schedule.activate(key);
            }
        }
        if let Some(ends) = journal.take_turn_over(progress) {
            self.are_read_up_to(ends, link);
        }
        match progress {
            Progress::More => Pass::Behind,
            Progress::Stalled => Pass::Stalled,
            Progress::End | Progress::Failed => Pass::CaughtUp,
        }
    }
}
