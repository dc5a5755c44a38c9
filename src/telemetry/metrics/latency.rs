//! Time between a record's timestamp and its acceptance by the host.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::metrics::Value;

/// Upper bounds of the buckets in seconds, from the latency of an active log to that of a
/// backlog.
pub const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0, 600.0,
];

/// A histogram filled by one thread and read by another.
#[derive(Debug, Default)]
pub struct Latency {
    /// Count of each bucket alone, not cumulative; the last bucket is above every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latency {
    /// Adds one observation.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// All observations, as cumulative counts.
    pub fn value(&self) -> Value {
        let mut below = 0;
        let counts = self.counts.iter().map(|count| {
            below += count.load(Ordering::Relaxed);
            below
        });
        let counts = counts.collect();
        Value::Distribution {
            counts,
            sum: self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_what_is_at_or_below_its_bound() {
        let latency = Latency::default();
        for milliseconds in [1, 2, 10, 11, 3_600_000] {
            latency.observe(Duration::from_millis(milliseconds));
        }
        let Value::Distribution { counts, sum } = latency.value() else {
            panic!("no distribution")
        };
        assert_eq!(counts, [1, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5]);
        assert!((sum - 3600.024).abs() < 1e-9, "{sum}");
    }
}
