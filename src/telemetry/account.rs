//! What became of every byte of a container's log.
//!
//! ```text
//!            .-> passed over    delivered before, or by the other source
//!            |-> skipped        no record: torn, NULs, beyond the size of an entry
//! read ------+-> cut            of a line's text, behind `Partial_Max_Size`
//!            |-> open           of lines that wait for their rest      } pending
//!            '-> queued         of records the host has not accepted   }
//!                  |-> delivered
//!                  '-> refused   of records that the host never takes
//! never read ---> abandoned     destroyed or given up unread
//!            '--> unread        still there
//! ```
//!
//! A *byte* is a source byte: of the log's plain text, with all that the
//! runtime wrote around the line (JSON, frames, line feeds); of a compressed
//! file, unpacked; from the API, which sends no more, the text of an entry and
//! its line feed. A byte is *read* when the reader has gone past it, which it
//! does in whole entries. A line that is cut loses as many bytes as its text is
//! too long; the others are delivered with it. A *record* is a line.
//!
//! The sums hold whenever they are looked at ([`Figures::is_balanced`]):
//!
//! ```text
//! read = delivered + refused + passed over + skipped + cut + open + queued
//! records read = records delivered + records refused + records queued
//! ```
//!
//! Each side of them is counted where it happens, so a byte that is dropped
//! anywhere between shows. What is seen is read or abandoned, and what is lost is
//! skipped, cut, refused or abandoned; hence, of the bytes that are ours to deliver,
//! seen = delivered + lost + pending.
//!
//! A lock per container, taken once a slice and once a batch, and never held
//! while anything is waited for.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::{Add, AddAssign};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::format::position::Timestamp;
use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::metrics::SourceKind;

/// Bytes and the records they make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Source bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

/// The least time between two messages about one kind of loss in one log.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Losses of one kind, said now and then and not each by itself.
#[derive(Debug, Default)]
pub struct Paced {
    last: Option<Instant>,
    unsaid: Amount,
}

impl Paced {
    /// Adds a loss. If it is time, `report` is called with all that was not reported
    /// before; it returns whether the message was kept, otherwise the next one says it.
    pub fn add(&mut self, amount: Amount, now: Instant, report: impl FnOnce(Amount) -> bool) {
        self.unsaid += amount;
        let is_early = self
            .last
            .is_some_and(|last| now.duration_since(last) < REPORT_INTERVAL);
        if !is_early && report(self.unsaid) {
            self.last = Some(now);
            self.unsaid = Amount::default();
        }
    }
}

/// What was destroyed or given up before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abandoned {
    /// Bytes that are known to have been there.
    pub bytes: u64,
    /// Files. What was in them is in `bytes` where it is known, and no one
    /// knows it of a file that came and went between two looks.
    pub generations: u64,
}

/// Deleted files that are held open, with something unread in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// How many.
    pub files: u64,
    /// What they take on the disk.
    pub bytes: u64,
}

/// The sums of one container, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// All that the reader went past, and the lines that were completed.
    pub read: Amount,
    /// Accepted by the host.
    pub delivered: Amount,
    /// Given up, since the host refused them for long and took others meanwhile.
    pub refused: Amount,
    /// Not ours to deliver: accepted in an earlier run, delivered by the source
    /// before this one, read once more by the one after it, or without a text.
    pub passed_over: u64,
    /// Were no record.
    pub skipped: u64,
    /// Cut off lines that were too long, and how many lines that were.
    pub cut: Amount,
    /// Never read, and never to be.
    pub abandoned: Abandoned,
    /// Read, of lines that are not complete.
    pub open: u64,
    /// Read, in batches that the host has not accepted.
    pub queued: Amount,
    /// There and not read, as of the last look.
    pub unread: u64,
    /// The time of the oldest entry that is not delivered, or one not long
    /// before it; `None` where all is.
    pub waits_since: Option<Timestamp>,
}

impl Figures {
    /// Bytes that were read and are neither delivered nor lost.
    pub fn pending(&self) -> u64 {
        self.open + self.queued.bytes
    }

    /// Bytes that will never be delivered.
    pub fn lost(&self) -> u64 {
        self.skipped + self.cut.bytes + self.refused.bytes + self.abandoned.bytes
    }

    /// What was lost, in words; `None` where nothing was.
    pub fn losses(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.skipped > 0 {
            parts.push(format!("{} bytes of invalid records", self.skipped));
        }
        if self.cut.records > 0 {
            parts.push(format!(
                "{} bytes cut off {} lines",
                self.cut.bytes, self.cut.records
            ));
        }
        if self.refused.records > 0 {
            let Amount { bytes, records } = self.refused;
            parts.push(format!(
                "{records} records ({bytes} bytes) that Fluent Bit refused"
            ));
        }
        let Abandoned { bytes, generations } = self.abandoned;
        if bytes > 0 {
            parts.push(format!("{bytes} bytes that could not be read"));
        }
        if generations > 0 {
            parts.push(format!(
                "{generations} files that were deleted or unreadable before their end was read"
            ));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Bytes that were read, or are known to have been there.
    pub fn seen(&self) -> u64 {
        self.read.bytes + self.abandoned.bytes
    }

    /// Bytes between the end of the log and what the host has accepted.
    pub fn lag_bytes(&self) -> u64 {
        self.pending() + self.unread
    }

    /// How old the oldest entry is that is not delivered.
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        self.waits_since
            .map_or(0.0, |since| since.elapsed_until(now).as_secs_f64())
    }

    /// Whether every byte read is in one place, and in no two.
    pub fn is_balanced(&self) -> bool {
        let gone = self.delivered.bytes
            + self.refused.bytes
            + self.passed_over
            + self.skipped
            + self.cut.bytes;
        self.read.bytes == gone + self.pending()
            && self.read.records
                == self.delivered.records + self.refused.records + self.queued.records
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Amount { bytes, records } = self.delivered;
        write!(
            f,
            "{records} records delivered ({bytes} bytes), {} bytes read",
            self.read.bytes
        )?;
        for (bytes, what) in [
            (self.pending(), "not yet delivered"),
            (self.unread, "unread"),
            (self.passed_over, "skipped as already delivered"),
        ] {
            if bytes > 0 {
                write!(f, ", {bytes} {what}")?;
            }
        }
        match self.losses() {
            Some(losses) => write!(f, "; lost: {losses}"),
            None => f.write_str("; nothing lost"),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.bytes += other.bytes;
        self.records += other.records;
    }
}

impl Add for Figures {
    type Output = Figures;

    fn add(mut self, other: Figures) -> Figures {
        self.read += other.read;
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.passed_over += other.passed_over;
        self.skipped += other.skipped;
        self.cut += other.cut;
        self.abandoned.bytes += other.abandoned.bytes;
        self.abandoned.generations += other.abandoned.generations;
        self.open += other.open;
        self.queued += other.queued;
        self.unread += other.unread;
        self.waits_since = match (self.waits_since, other.waits_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self
    }
}

/// What one slice came to, before its batches are queued.
#[derive(Debug, Clone, Copy, Default)]
pub struct SliceStats {
    /// Bytes the reader went past.
    pub read: u64,
    /// Those that were no record.
    pub skipped: u64,
    /// Those that are not ours to deliver.
    pub passed_over: u64,
    /// Those cut off lines, and how many lines.
    pub cut: Amount,
    /// Those of lines that are open now.
    pub open: u64,
    /// What the batches carry, and the time of the first record of each.
    pub queued: [Option<(Amount, Timestamp)>; 2],
    /// The time of the last entry taken.
    pub until: Timestamp,
}

/// Where a container's log comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its log driver; empty where the runtime has but one way, or does not tell.
    pub driver: String,
    /// Which source is read.
    pub source: SourceKind,
}

#[derive(Debug, Default)]
struct Ledger {
    name: String,
    origin: Option<Origin>,
    figures: Figures,
    /// The time of the first record of each batch that is not accepted.
    waiting: VecDeque<Timestamp>,
    /// The time of the last entry taken.
    until: Timestamp,
    /// The last entry before those that are unread, or when they were noticed.
    unread_since: Timestamp,
    /// A slice was read since the last look at what is unread.
    has_just_read: bool,
    refusals: Paced,
}

impl Ledger {
    fn leaves_queue(&mut self, amount: Amount) {
        let queued = &mut self.figures.queued;
        queued.bytes = queued.bytes.saturating_sub(amount.bytes);
        queued.records = queued.records.saturating_sub(amount.records);
    }

    fn figures(&self) -> Figures {
        let waits_since = if let Some(first) = self.waiting.front() {
            Some(*first)
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

/// The sums of one container.
#[derive(Debug)]
pub struct Account {
    id: ContainerId,
    /// What the runtime calls the container.
    runtime_id: ContainerId,
    is_held_back: AtomicBool,
    is_wait_reported: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Account {
    /// Nothing read yet.
    pub fn new(id: ContainerId) -> Account {
        let (is_held_back, is_wait_reported) = (AtomicBool::new(false), AtomicBool::new(false));
        Account {
            id,
            runtime_id: id,
            is_held_back,
            is_wait_reported,
            ledger: Mutex::default(),
        }
    }

    /// The host refuses what was read of the container: no more is read until it takes it.
    pub fn hold_back(&self, is_held_back: bool) {
        self.is_held_back.store(is_held_back, Ordering::Release);
    }

    /// Whether the container waits for the host: it is held back, or the queue is cautious, for
    /// much is refused of others,
    /// and what was read of this one is not accepted yet.
    pub fn waits(&self, is_cautious: bool) -> bool {
        self.is_held_back() || (is_cautious && self.ledger().figures.queued.records > 0)
    }

    /// It waits so long that it is to be logged, once: `report` is called until it returns
    /// that the message was kept. On the host's thread only.
    pub fn report_wait(&self, report: impl FnOnce() -> bool) {
        if !self.is_wait_reported.load(Ordering::Acquire) && report() {
            self.is_wait_reported.store(true, Ordering::Release);
        }
    }

    /// Whether no more is to be read now.
    pub fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Acquire)
    }

    /// Whether it is of a container in a user's storage, which its runtime calls otherwise.
    pub fn is_of_user(&self) -> bool {
        self.id != self.runtime_id
    }

    /// The id that messages and metrics show.
    pub fn short_id(&self) -> String {
        self.runtime_id.short()
    }

    /// Whose they are.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// What the container is called.
    pub fn name(&self) -> String {
        self.ledger().name.clone()
    }

    /// It is called so from now on.
    pub fn set_name(&self, name: &str) {
        let mut ledger = self.ledger();
        if ledger.name != name {
            name.clone_into(&mut ledger.name);
        }
    }

    /// Where its log comes from, as of the last look; `None` of a container that is
    /// not to be read, or was not looked at yet.
    pub fn origin(&self) -> Option<Origin> {
        self.ledger().origin.clone()
    }

    /// It comes from there from now on.
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

    /// The sums at this moment.
    pub fn figures(&self) -> Figures {
        self.ledger().figures()
    }

    /// A slice was read. Before its batches are queued: they may be accepted at
    /// once.
    pub fn took(&self, taken: &SliceStats) {
        let mut ledger = self.ledger();
        let figures = &mut ledger.figures;
        figures.read.bytes += taken.read;
        figures.skipped += taken.skipped;
        figures.passed_over += taken.passed_over;
        figures.cut += taken.cut;
        figures.open = taken.open;
        for (amount, since) in taken.queued.into_iter().flatten() {
            ledger.figures.read.records += amount.records;
            ledger.figures.queued += amount;
            ledger.waiting.push_back(since);
        }
        ledger.until = taken.until;
        if taken.read > 0 {
            ledger.unread_since = taken.until;
            ledger.has_just_read = true;
        }
    }

    /// The host has accepted the oldest batch that waited. Returns the time of
    /// its first record.
    pub fn accepted(&self, amount: Amount) -> Option<Timestamp> {
        let mut ledger = self.ledger();
        ledger.leaves_queue(amount);
        ledger.figures.delivered += amount;
        ledger.waiting.pop_front()
    }

    /// The oldest batch that waited is given up. If it is time, `report` is called with all
    /// that was given up and not reported; it returns whether the message was kept.
    pub fn refused(&self, amount: Amount, now: Instant, report: impl FnOnce(Amount) -> bool) {
        let mut ledger = self.ledger();
        ledger.leaves_queue(amount);
        ledger.figures.refused += amount;
        ledger.waiting.pop_front();
        ledger.refusals.add(amount, now, report);
    }

    /// The oldest batch that waited became two.
    pub fn was_divided(&self) {
        let mut ledger = self.ledger();
        if let Some(first) = ledger.waiting.front().copied() {
            ledger.waiting.push_front(first);
        }
    }

    /// So much is there that was not read yet.
    pub fn set_unread(&self, bytes: u64) {
        let mut ledger = self.ledger();
        let before = std::mem::replace(&mut ledger.figures.unread, bytes);
        if before == 0 && bytes > 0 && !ledger.has_just_read {
            ledger.unread_since = wall_clock();
        }
        ledger.has_just_read = false;
    }

    /// So much was destroyed, or is given up, unread.
    pub fn abandon(&self, abandoned: Abandoned) {
        let mut ledger = self.ledger();
        ledger.figures.abandoned.bytes += abandoned.bytes;
        ledger.figures.abandoned.generations += abandoned.generations;
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

/// The accounts of one instance.
#[derive(Debug, Default)]
pub struct Accounts {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    open: HashMap<ContainerId, Arc<Account>>,
    /// Of all containers that are gone.
    closed: Figures,
    held: Held,
}

impl Accounts {
    /// The account of a container, a new one if it has none.
    pub fn open(&self, id: ContainerId) -> Arc<Account> {
        self.open_as(id, id)
    }

    /// As [`Accounts::open`], of a container that its runtime calls otherwise than we do.
    pub fn open_as(&self, id: ContainerId, runtime_id: ContainerId) -> Arc<Account> {
        let new = || {
            Arc::new(Account {
                runtime_id,
                ..Account::new(id)
            })
        };
        Arc::clone(self.books().open.entry(id).or_insert_with(new))
    }

    /// The container is gone and all it wrote is dealt with: its sums go into
    /// the total.
    pub fn close(&self, id: &ContainerId) {
        let mut books = self.books();
        if let Some(account) = books.open.remove(id) {
            // What was unread went with it.
            let last = Figures {
                unread: 0,
                waits_since: None,
                ..account.figures()
            };
            books.closed = books.closed + last;
        }
    }

    /// A container that was held back is read on.
    pub fn read_on(&self, id: &ContainerId) {
        if let Some(account) = self.books().open.get(id) {
            account.hold_back(false);
        }
    }

    /// What is held now.
    pub fn set_held(&self, held: Held) {
        self.books().held = held;
    }

    /// The deleted files that are held, as of the last look.
    pub fn held(&self) -> Held {
        self.books().held
    }

    /// The accounts of the containers there are, in no order.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.books().open.values().map(Arc::clone).collect()
    }

    /// The sums over all containers there are and were.
    pub fn total(&self) -> Figures {
        let books = self.books();
        books
            .open
            .values()
            .fold(books.closed, |total, account| total + account.figures())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

/// Now, as the runtime's clock would say it.
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
