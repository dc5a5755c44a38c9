//! The machine's time zone, which only the C library knows.

use std::mem::MaybeUninit;

/// Converts a local time, given as the seconds since 1970 that the same clock reading would
/// mean in UTC, to seconds since 1970; `None` if there is no such time.
pub fn seconds_of_local(shown: i64) -> Option<i64> {
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both point to memory of ours that is valid during the call.
    let filled = unsafe { libc::gmtime_r(&raw const shown, parts.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: gmtime_r fills the structure unless it returns NULL.
    let mut parts = unsafe { parts.assume_init() };
    // Let the C library determine daylight saving time.
    parts.tm_isdst = -1;
    // SAFETY: `parts` is an initialized structure of ours. mktime also reads the environment,
    // which Rust's own lock does not protect against C code; nothing sets it.
    let seconds = unsafe { libc::mktime(&raw mut parts) };
    (seconds != -1).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_is_within_a_day_of_the_same_in_utc() {
        for shown in [0, 1_700_000_000, 1_720_000_000] {
            let seconds = seconds_of_local(shown).unwrap();
            assert!((seconds - shown).abs() <= 86_400, "{seconds}");
            assert_eq!((seconds - shown) % 60, 0, "{seconds}");
        }
    }
}
