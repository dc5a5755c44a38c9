//! What an account adds up: bytes and records, and what became of them.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use crate::format::position::Timestamp;

/// An amount of log data: bytes and the records made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Source bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.bytes += other.bytes;
        self.records += other.records;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Amount) {
        self.bytes -= other.bytes;
        self.records -= other.records;
    }
}

/// Data that was destroyed or given up before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abandoned {
    /// Bytes that are known to have existed.
    pub bytes: u64,
    /// Files. `bytes` includes their content where it is known; that of a file created and
    /// deleted between two scans is not.
    pub generations: u64,
    /// Entries of systemd's journal that are known to be missing.
    pub entries: u64,
}

/// Deleted files that are held open because they have unread bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Number of files.
    pub files: u64,
    /// Bytes they occupy on disk.
    pub bytes: u64,
}

/// The sums of one container, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// All bytes that the reader has moved past, and the lines completed from them.
    pub read: Amount,
    /// Accepted by the host.
    pub delivered: Amount,
    /// Given up, because the host kept refusing them while it accepted others.
    pub refused: Amount,
    /// Not to be delivered: accepted in an earlier run, already delivered by the previous
    /// source, reread after a change of source, or without text.
    pub passed_over: u64,
    /// Bytes that belong to no record.
    pub skipped: u64,
    /// Bytes cut off lines that were too long, and the number of those lines.
    pub cut: Amount,
    /// Data that was not read and never will be.
    pub abandoned: Abandoned,
    /// Entries without a valid time, whose records have the time at which they were read.
    pub untimed: u64,
    /// Bytes read of lines that are not complete.
    pub open: u64,
    /// Read, and in batches that the host has not accepted.
    pub queued: Amount,
    /// Bytes in the log that were not read, as of the last check.
    pub unread: u64,
    /// Time of the oldest undelivered entry, or of an entry shortly before it; `None` if
    /// everything is delivered.
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

    /// Describes the losses; `None` if there are none.
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
        let Abandoned {
            bytes,
            generations,
            entries,
        } = self.abandoned;
        if bytes > 0 {
            parts.push(format!("{bytes} bytes that could not be read"));
        }
        if generations > 0 {
            parts.push(format!(
                "{generations} files that were deleted or unreadable before their end was read"
            ));
        }
        if entries > 0 {
            parts.push(format!("{entries} entries missing in systemd's journal"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Bytes that were read, or are known to have existed.
    pub fn seen(&self) -> u64 {
        self.read.bytes + self.abandoned.bytes
    }

    /// Bytes between the end of the log and what the host has accepted.
    pub fn lag_bytes(&self) -> u64 {
        self.pending() + self.unread
    }

    /// Age in seconds of the oldest undelivered entry; 0 if there is none.
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        self.waits_since
            .map_or(0.0, |since| since.elapsed_until(now).as_secs_f64())
    }

    /// Whether every byte read is accounted for exactly once.
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
        if self.untimed > 0 {
            write!(f, ", {} entries without a valid time", self.untimed)?;
        }
        match self.losses() {
            Some(losses) => write!(f, "; lost: {losses}"),
            None => f.write_str("; nothing lost"),
        }
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
        let entries = &mut self.abandoned.entries;
        *entries = entries.saturating_add(other.abandoned.entries);
        self.untimed += other.untimed;
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

/// A sum without what was added to it before; how long anything waits stays that of the sum.
impl Sub for Figures {
    type Output = Figures;

    fn sub(mut self, other: Figures) -> Figures {
        self.read -= other.read;
        self.delivered -= other.delivered;
        self.refused -= other.refused;
        self.passed_over -= other.passed_over;
        self.skipped -= other.skipped;
        self.cut -= other.cut;
        self.abandoned.bytes -= other.abandoned.bytes;
        self.abandoned.generations -= other.abandoned.generations;
        // The only one whose sum is bounded.
        let entries = &mut self.abandoned.entries;
        *entries = entries.saturating_sub(other.abandoned.entries);
        self.untimed -= other.untimed;
        self.open -= other.open;
        self.queued -= other.queued;
        self.unread -= other.unread;
        self
    }
}
