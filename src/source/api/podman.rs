//! How Podman's Docker-compatible API differs from Docker's for logs (libpod
//! `pkg/api/handlers/compat/containers_logs.go`, `libpod/container_log_linux.go`;
//! `tests/runtimes/podman_truth.rs` queries a real one).
//!
//! - It reports times in whole seconds, in the time zone of its machine; newer releases may
//!   report more digits. So entries cannot be requested from an instant on, but only from a
//!   second on, and the known ones are counted off (`Dedupe`).
//! - Entries with the exact time of `since` are omitted, and a fraction in it is converted
//!   through a float. So the second before is requested, as a whole number.
//! - Before 4.4, following a journal from a given time ends at once, unless the container was
//!   started after that time. From these releases everything is requested, which is what they
//!   read in any case.
//! - A piece of a line has a time of its own, and no line feed.
//! - A driver that keeps nothing, and one that cannot be followed in this set-up of Podman,
//!   fail with status 500.

use crate::format::position::Timestamp;

/// The header that identifies Podman.
pub const VERSION_HEADER: &str = "libpod-api-version";

/// The first release that follows a journal from any given time.
const FOLLOWS_SINCE: Release = Release { major: 4, minor: 4 };

/// Parts of error texts that mean a permanent failure.
const LASTING: [&str; 2] = ["is not logging output", "is not supported"];

/// A release of Podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    major: u32,
    minor: u32,
}

impl Release {
    /// Parses the header's value, such as `4.3.1`. A part that cannot be parsed counts as a
    /// later release.
    pub fn parse(text: &str) -> Release {
        let mut numbers = text
            .split('.')
            .map(|number| number.parse().unwrap_or(u32::MAX));
        Release {
            major: numbers.next().unwrap_or(u32::MAX),
            minor: numbers.next().unwrap_or(u32::MAX),
        }
    }

    /// Returns the time to request to get everything that may come after `since`; `None` means
    /// everything.
    pub fn since(self, since: Timestamp, reads_journal: bool) -> Option<Timestamp> {
        let is_possible = !reads_journal || self >= FOLLOWS_SINCE;
        is_possible.then_some(Timestamp {
            seconds: since.seconds.saturating_sub(1),
            nanos: 0,
        })
    }
}

/// Whether a failure is permanent, so that a retry is useless.
pub fn is_lasting(reason: &str) -> bool {
    LASTING.iter().any(|text| reason.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_before_is_asked_for_and_of_an_old_releases_journal_all() {
        let at = Timestamp {
            seconds: 1_700_000_000,
            nanos: 42,
        };
        let before = Some(Timestamp {
            seconds: 1_699_999_999,
            nanos: 0,
        });
        for (version, of_file, of_journal) in [
            ("4.3.1", before, None),
            ("3.0", before, None),
            ("4.4.0", before, before),
            ("x", before, before),
        ] {
            let release = Release::parse(version);
            assert_eq!(
                (release.since(at, false), release.since(at, true)),
                (of_file, of_journal),
                "{version}"
            );
        }
    }

    #[test]
    fn a_driver_that_keeps_nothing_is_not_tried_again() {
        assert!(is_lasting(
            "this container is using the 'none' log driver: this container is not logging output"
        ));
        assert!(!is_lasting("database is locked"));
    }
}
