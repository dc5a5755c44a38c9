//! Accounts for every byte of a container's log.
//!
//! ```text
//!            .-> passed over    delivered before, or by the other source
//!            |-> skipped        no record: torn, NULs, beyond the size of an entry
//! read ------+-> cut            of a line's text, beyond `Partial_Max_Size`
//!            |-> open           of lines that are not complete yet      } pending
//!            '-> queued         of records the host has not accepted    }
//!                  |-> delivered
//!                  '-> refused   of records that the host never accepts
//! never read ---> abandoned     destroyed or given up unread
//!            '--> unread        still in the log
//! ```
//!
//! A *byte* is a source byte: of the log's plain text, including everything the runtime wrote
//! around the line (JSON, frames, line feeds); for a compressed file, after decompression; for the
//! API, which sends nothing else, the text of an entry and its line feed. A byte is *read* when
//! the reader has moved past it, which it does in whole entries. A cut line loses the bytes by
//! which its text is too long; the others are delivered with it. A *record* is a line.
//!
//! These equations hold at any time ([`Figures::is_balanced`]):
//!
//! ```text
//! read = delivered + refused + passed over + skipped + cut + open + queued
//! records read = records delivered + records refused + records queued
//! ```
//!
//! Each term is counted where it occurs, so a byte dropped anywhere in between becomes visible.
//! Seen bytes are those read or abandoned, and lost bytes are those skipped, cut, refused or
//! abandoned; hence, apart from bytes that were passed over, seen = delivered + lost + pending.
//!
//! Each container has one lock, taken once per slice and once per batch, and never held while
//! waiting for anything but the list of those that changed, which is locked last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::format::position::Timestamp;
use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::telemetry::account::changes::Changes;
use crate::telemetry::account::waiting::Waiting;
use crate::telemetry::metrics::SourceKind;
use crate::telemetry::throttle::{Once, Paced};

mod about;
mod accounts;
mod changes;
mod waiting;

pub use crate::telemetry::account::about::{About, Origin};
pub use crate::telemetry::account::accounts::Accounts;
pub use crate::telemetry::figures::{Abandoned, Amount, Figures, Held};

/// The result of one slice, before its batches are queued.
#[derive(Debug, Clone, Copy, Default)]
pub struct SliceStats {
    /// Bytes the reader moved past.
    pub read: u64,
    /// Bytes that belong to no record.
    pub skipped: u64,
    /// Bytes that are not to be delivered, such as duplicates.
    pub passed_over: u64,
    /// Bytes cut off lines, and the number of those lines.
    pub cut: Amount,
    /// Bytes of lines that are open now.
    pub open: u64,
    /// The contents of each batch, and the time of its first record.
    pub queued: [Option<(Amount, Timestamp)>; 2],
    /// Time of the last entry read.
    pub until: Timestamp,
}

#[derive(Debug, Default)]
struct Ledger {
    name: String,
    /// Shared with its records' template.
    about: Option<Arc<ContainerMetadata>>,
    /// The id that messages and metrics show, if it is known.
    shown_id: Option<ContainerId>,
    origin: Option<Origin>,
    figures: Figures,
    waiting: Waiting,
    /// Time of the last entry read.
    until: Timestamp,
    /// Time of the last entry before the unread bytes, or the time at which they were noticed.
    unread_since: Timestamp,
    /// Whether a slice was read since the last check for unread bytes.
    has_just_read: bool,
    refusals: Paced,
    wait: Once,
    /// Whether the account is among those that changed.
    is_listed: bool,
    /// Whether the container is gone.
    is_closed: bool,
}

impl Ledger {
    fn leaves_queue(&mut self, amount: Amount) {
        let queued = &mut self.figures.queued;
        queued.bytes = queued.bytes.saturating_sub(amount.bytes);
        queued.records = queued.records.saturating_sub(amount.records);
    }

    fn figures(&self) -> Figures {
        if self.is_closed {
            // Its unread bytes are gone as well.
            return Figures {
                unread: 0,
                ..self.figures
            };
        }
        let waits_since = if let Some(first) = self.waiting.first() {
            Some(first)
        } else if self.figures.open > 0 {
            Some(self.until)
        } else if self.figures.unread > 0 {
            Some(self.unread_since)
        } else {
            None
        };
        Figures {
            waits_since,
            ..self.figures
        }
    }
}

/// The account of one container.
#[derive(Debug)]
pub struct Account {
    id: ContainerId,
    /// Whether the container is in a user's storage.
    is_of_user: bool,
    opened: Instant,
    is_held_back: AtomicBool,
    /// Where it is listed once it changes; nowhere if it is on its own. It does not keep the list, since
    /// the list keeps it.
    changes: Weak<Changes>,
    itself: Weak<Account>,
    ledger: Mutex<Ledger>,
}

impl Account {
    /// An account with nothing read yet, which is not part of any sums.
    pub fn new(id: ContainerId) -> Account {
        Account::of(id, id, Weak::new(), Weak::new())
    }

    fn of(
        id: ContainerId,
        runtime_id: ContainerId,
        changes: Weak<Changes>,
        itself: Weak<Account>,
    ) -> Account {
        let ledger = Ledger {
            shown_id: Some(runtime_id),
            ..Ledger::default()
        };
        Account {
            id,
            is_of_user: id != runtime_id,
            opened: Instant::now(),
            is_held_back: AtomicBool::new(false),
            changes,
            itself,
            ledger: Mutex::new(ledger),
        }
    }

    /// Sets whether reading is suspended, because too much of what was read is waiting for a
    /// host that refuses it.
    pub fn hold_back(&self, is_held_back: bool) {
        self.is_held_back.store(is_held_back, Ordering::Release);
    }

    /// Whether reading has to wait for the host: the container is held back, or the queue is
    /// cautious because much is refused for other containers, and records of this one are
    /// still queued.
    pub fn waits(&self, is_cautious: bool) -> bool {
        self.is_held_back() || (is_cautious && self.ledger().figures.queued.records > 0)
    }

    /// Logs once that the container has been waiting for long: calls `report` until it returns
    /// that the message was kept.
    pub fn report_wait(&self, report: impl FnOnce() -> bool) {
        self.ledger().wait.report(report);
    }

    /// Whether reading is suspended.
    pub fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Acquire)
    }

    /// Whether the container is in a user's storage, so that its runtime uses another id.
    pub fn is_of_user(&self) -> bool {
        self.is_of_user
    }

    /// The short id shown in messages.
    pub fn short_id(&self) -> String {
        self.known_short_id()
            .unwrap_or_else(|| "id unknown".to_owned())
    }

    /// The first digits of the runtime's id, if it is known.
    pub fn known_short_id(&self) -> Option<String> {
        self.known_id().map(|id| id.short())
    }

    /// The runtime's id, if it is known: that of a pod's container is in another folder than its
    /// log.
    pub fn known_id(&self) -> Option<ContainerId> {
        self.ledger().shown_id
    }

    /// Name and short id, for messages.
    pub fn names(&self) -> (String, String) {
        (self.name(), self.short_id())
    }

    /// The id of the container.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The container's name.
    pub fn name(&self) -> String {
        self.ledger().name.clone()
    }

    /// Sets the container's name.
    pub fn set_name(&self, name: &str) {
        self.change(|ledger| {
            let is_other = ledger.name != name;
            if is_other {
                name.clone_into(&mut ledger.name);
            }
            is_other
        });
    }

    /// Sets the container's name and the runtime's id for it, if that is known.
    pub fn set_names(&self, name: &str, id: Option<ContainerId>) {
        self.set_name(name);
        self.change(|ledger| std::mem::replace(&mut ledger.shown_id, id) != id);
    }

    /// What else is known of the container.
    pub fn about(&self) -> About {
        let about = self.ledger().about.clone();
        about
            .map(|metadata| About::of(&metadata))
            .unwrap_or_default()
    }

    /// Sets what else is known of the container.
    pub fn set_about(&self, metadata: &Arc<ContainerMetadata>) {
        self.ledger().about = Some(Arc::clone(metadata));
    }

    /// Where the log comes from, as of the last check; `None` if the container is not to be
    /// read, or was not checked yet.
    pub fn origin(&self) -> Option<Origin> {
        self.ledger().origin.clone()
    }

    /// Sets where the log comes from.
    pub fn set_origin(&self, origin: Option<(&str, SourceKind)>) {
        let mut ledger = self.ledger();
        let known = ledger
            .origin
            .as_ref()
            .map(|known| (known.driver.as_str(), known.source));
        if known != origin {
            ledger.origin = origin.map(|(driver, source)| Origin {
                driver: driver.to_owned(),
                source,
            });
        }
    }

    /// When the account was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether the container is gone.
    pub fn is_closed(&self) -> bool {
        self.ledger().is_closed
    }

    /// The current sums.
    pub fn figures(&self) -> Figures {
        self.ledger().figures()
    }

    /// Accounts for a slice. Must be called before its batches are queued, since they may be
    /// accepted at once.
    pub fn took(&self, taken: &SliceStats) {
        self.change_figures(|ledger| {
            let figures = &mut ledger.figures;
            figures.read.bytes += taken.read;
            figures.skipped += taken.skipped;
            figures.passed_over += taken.passed_over;
            figures.cut += taken.cut;
            figures.open = taken.open;
            for (amount, since) in taken.queued.into_iter().flatten() {
                ledger.figures.read.records += amount.records;
                ledger.figures.queued += amount;
                ledger.waiting.push(since);
            }
            ledger.until = taken.until;
            if taken.read > 0 {
                ledger.unread_since = taken.until;
                ledger.has_just_read = true;
            }
        });
    }

    /// The host has accepted the oldest waiting batch. Returns the time of its first record.
    pub fn accepted(&self, amount: Amount) -> Option<Timestamp> {
        self.change_figures(|ledger| {
            ledger.leaves_queue(amount);
            ledger.figures.delivered += amount;
            ledger.waiting.pop()
        })
    }

    /// The oldest waiting batch was given up. If a message is due, calls `report` with
    /// everything given up since the last message; `report` returns whether the message was
    /// kept.
    pub fn refused(&self, amount: Amount, now: Instant, report: impl FnOnce(Amount) -> bool) {
        self.change_figures(|ledger| {
            ledger.leaves_queue(amount);
            ledger.figures.refused += amount;
            ledger.waiting.pop();
            ledger.refusals.add(amount, now, report);
        });
    }

    /// The oldest waiting batch was split in two.
    pub fn was_divided(&self) {
        self.ledger().waiting.divide_first();
    }

    /// Sets the number of bytes in the log that were not read yet.
    pub fn set_unread(&self, bytes: u64) {
        self.change_figures(|ledger| {
            let before = std::mem::replace(&mut ledger.figures.unread, bytes);
            if before == 0 && bytes > 0 && !ledger.has_just_read {
                ledger.unread_since = wall_clock();
            }
            ledger.has_just_read = false;
        });
    }

    /// Adds data that was destroyed or given up unread.
    pub fn abandon(&self, abandoned: Abandoned) {
        self.change_figures(|ledger| {
            ledger.figures.abandoned.bytes += abandoned.bytes;
            ledger.figures.abandoned.generations += abandoned.generations;
            let entries = &mut ledger.figures.abandoned.entries;
            *entries = entries.saturating_add(abandoned.entries);
        });
    }

    /// Adds entries without a valid time.
    pub fn add_untimed(&self, entries: u64) {
        self.change_figures(|ledger| ledger.figures.untimed += entries);
    }

    /// The container is gone.
    fn close(&self) {
        self.change(|ledger| !std::mem::replace(&mut ledger.is_closed, true));
    }

    fn change_figures<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.ledger();
        if ledger.is_listed {
            return change(&mut ledger);
        }
        let before = ledger.figures();
        let result = change(&mut ledger);
        if ledger.figures() != before {
            self.list(&mut ledger, before);
        }
        result
    }

    /// Calls `change`, which returns whether anything changed.
    fn change(&self, change: impl FnOnce(&mut Ledger) -> bool) {
        let mut ledger = self.ledger();
        let before = ledger.figures();
        if change(&mut ledger) && !ledger.is_listed {
            self.list(&mut ledger, before);
        }
    }

    fn list(&self, ledger: &mut Ledger, before: Figures) {
        if let (Some(changes), Some(itself)) = (self.changes.upgrade(), self.itself.upgrade()) {
            ledger.is_listed = true;
            changes.add(itself, before);
        }
    }

    /// The current sums; from its next change on the account is listed again, if nothing of it
    /// waits.
    fn settle(&self) -> Figures {
        let mut ledger = self.ledger();
        let figures = ledger.figures();
        ledger.is_listed = figures.waits_since.is_some();
        figures
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

/// The current time, comparable with the runtime's timestamps.
pub fn wall_clock() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nanos: now.subsec_nanos(),
    }
}

#[cfg(test)]
mod tests;
