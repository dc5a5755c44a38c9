//! Counts of events of an instance.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start; any thread may add.
#[derive(Debug, Default)]
pub struct Tally {
    /// Log files that were read to the end and followed by another one.
    pub rotations: Count,
    /// Failed attempts to read a log, its directory or its metadata.
    pub read_errors: Count,
    /// Log streams of the API that broke off.
    pub reconnects: Count,
    /// Pauses requested by the host.
    pub pauses: Count,
    /// Offsets written to the checkpoint.
    pub checkpoint_writes: Count,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The current count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
