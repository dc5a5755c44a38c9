//! When a container was removed: a moment of this process, and a time that outlives it in the file.

use std::time::{Duration, Instant};

use crate::delivery::checkpoint::slot::GONE_SOME_TIME;
use crate::telemetry::account::wall_clock;

/// How long the entry of a removed container is kept. A Docker root that is briefly unmounted
/// comes back with all its containers.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(600);

/// When a container was removed, in seconds since 1970.
pub(super) fn time_of(gone_since: Instant) -> u32 {
    let age = i64::try_from(gone_since.elapsed().as_secs()).unwrap_or(i64::MAX);
    let time = wall_clock().seconds.saturating_sub(age);
    u32::try_from(time).map_or(GONE_SOME_TIME, |time| time.max(GONE_SOME_TIME))
}

/// The opposite, at a start: `FORGET_AFTER` goes on over restarts, or the entries of those that go
/// would add up where Fluent Bit is restarted or reloaded more often. If the time is not known, or
/// in the future because the clock was set back, it begins now.
pub(super) fn instant_of(gone: u32) -> Instant {
    let now = Instant::now();
    let age = u64::try_from(wall_clock().seconds - i64::from(gone)).unwrap_or(0);
    let age = Duration::from_secs(age).min(FORGET_AFTER);
    let gone_since = now.checked_sub(age).unwrap_or(now);
    match gone {
        GONE_SOME_TIME => now,
        _ => gone_since,
    }
}
