//! Runs the host parsers that labels name, within limits of CPU time. Whoever writes an image
//! may name a parser, the host's regular expressions are unbounded, and they run on the thread
//! that serves every other input.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::delivery::aside::Offer;
use crate::delivery::drain::{note_division, Around};
use crate::delivery::host::NoParser;
use crate::delivery::link::Link;
use crate::delivery::queue::Batch;
use crate::runtime::id::ContainerId;
use crate::telemetry::event::Event;
use crate::threads::processor_time;

/// Maximum number of unknown parser names remembered as reported; labels can name any number.
const MOST_UNKNOWN: usize = 100;
/// CPU time that a parser may use for one batch. A text that does not match may take seconds
/// or years to backtrack, and a call that has started cannot be aborted.
pub(super) const MOST_PARSING: Duration = Duration::from_millis(200);
/// Maximum bytes of a text passed to a parser: one piece of a line as dockerd splits it.
pub(crate) const MOST_PARSED: usize = 16 * 1024;
/// CPU time that parsers may use in one drain, in addition to the byte limit: once for the
/// containers set aside and once for all others.
pub(crate) const DRAIN_PARSING: Duration = Duration::from_millis(100);
/// Bytes of records parsed at a time. Parser output does not count against the queue's limit.
pub(super) const PARSED_BYTES: usize = 256 * 1024;

/// What is known about the parsers in use.
#[derive(Debug, Default)]
pub(super) struct Parsers {
    /// Parsers unknown to the host that were already reported.
    unknown: HashSet<String>,
    /// Containers whose parser took too long; their records are no longer parsed. Removed with
    /// the container.
    slow: HashSet<ContainerId>,
    /// Events that found the event queue full, to be reported again. Few, since a round has
    /// time for only two parsers that take too long.
    untold: Vec<Event>,
    /// CPU time used since [`Parsers::restart`].
    spent: Duration,
}

impl Parsers {
    /// Starts a drain.
    pub fn begin(&mut self, link: &Link) {
        self.untold.retain(|event| !link.report(event.clone()));
        self.restart();
    }

    /// Grants another [`DRAIN_PARSING`]. Returns whether the previous one was used up.
    pub fn restart(&mut self) -> bool {
        let was_used_up = !self.has_time();
        self.spent = Duration::ZERO;
        was_used_up
    }

    /// Whether CPU time is left.
    pub fn has_time(&self) -> bool {
        self.spent < DRAIN_PARSING
    }

    /// The container is gone.
    pub fn forget(&mut self, id: &ContainerId) {
        self.slow.remove(id);
    }

    /// Prepares a batch for the host: parses its records once, however often the host refuses
    /// the result. Of a batch that is too large to be parsed at once, the first part is
    /// returned and the others are pushed to the front of `rest`.
    pub fn offer<T: From<Batch>>(
        &mut self,
        batch: Batch,
        rest: &mut VecDeque<T>,
        around: Around<'_>,
    ) -> Offer {
        let batch = portion(batch, rest, around.link);
        let may_be_parsed = batch.records > 0 && !self.slow.contains(&batch.container);
        let Some(parsing) = batch.parsing.as_deref().filter(|_| may_be_parsed) else {
            return batch.into();
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
        self.spent += spent;
        if spent >= MOST_PARSING {
            self.slow.insert(batch.container);
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
        let has_room = self.unknown.len() < MOST_UNKNOWN;
        if is_unknown && has_room && !self.unknown.contains(&parsing.parser) {
            let ((name, short_id), parser) = (named(&batch), parsing.parser.clone());
            if around.link.report(Event::ParserUnknown {
                name,
                short_id,
                parser,
            }) {
                self.unknown.insert(parsing.parser.clone());
            }
        }
        Offer {
            parsed: Some(parsed),
            batch,
        }
    }
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

/// Name and short id of a batch's container, for messages.
fn named(batch: &Batch) -> (String, String) {
    match &batch.source {
        Some((account, _)) => (account.name(), account.short_id()),
        None => (String::new(), batch.container.short()),
    }
}
