//! What has happened to an instance so often.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start; any thread may add.
#[derive(Debug, Default)]
pub struct Tally {
    /// Log files that were read to their end and followed by another one.
    pub rotations: Count,
    /// Attempts to read a log, its folder or its metadata that failed.
    pub read_errors: Count,
    /// Requests to the Docker API that broke off.
    pub reconnects: Count,
    /// Times that the host told us to pause.
    pub pauses: Count,
    /// Positions written to the checkpoint.
    pub checkpoint_writes: Count,
}

/// One count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Once more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
