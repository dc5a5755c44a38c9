//! Where Podman's Docker-compatible API differs from Docker's, as far as logs go
//! (libpod `pkg/api/handlers/compat/containers_logs.go`, `libpod/container_log_linux.go`;
//! `tests/podman_truth.rs` asks a real one).
//!
//! - It tells times in whole seconds, in the zone of its machine; newer releases may
//!   tell more. So entries cannot be asked for from a moment on, but from a second on,
//!   and those known are counted off (`dedupe::Skip`).
//! - Entries of the very time of `since` are left out, and a fraction in it goes
//!   through a float. So the second before is asked for, as a whole number.
//! - Before 4.4 a follow of a journal from some time on ends at once, unless the
//!   container was started after it. There all is asked for, which is what that
//!   release reads in any case.
//! - A piece of a line has a time of its own, and no line feed.
//! - A driver that keeps nothing, and one that cannot be followed as Podman is set up,
//!   is a failure with status 500.

use crate::format::position::Timestamp;

/// The header by which it is told.
pub const VERSION_HEADER: &str = "libpod-api-version";

/// The first release that follows a journal from any time on.
const FOLLOWS_SINCE: Release = Release { major: 4, minor: 4 };

/// What its errors say that will be so the next time.
const LASTING: [&str; 2] = ["is not logging output", "is not supported"];

/// A release of Podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    major: u32,
    minor: u32,
}

impl Release {
    /// From the header's value, `4.3.1`. One that is not understood is a later one.
    pub fn parse(text: &str) -> Release {
        let mut numbers = text
            .split('.')
            .map(|number| number.parse().unwrap_or(u32::MAX));
        Release {
            major: numbers.next().unwrap_or(u32::MAX),
            minor: numbers.next().unwrap_or(u32::MAX),
        }
    }

    /// What to ask for to get all that may come after `since`.
    pub fn since(self, since: Timestamp, reads_journal: bool) -> Option<Timestamp> {
        let is_possible = !reads_journal || self >= FOLLOWS_SINCE;
        is_possible.then_some(Timestamp {
            seconds: since.seconds.saturating_sub(1),
            nanos: 0,
        })
    }
}

/// Whether a failure will not go away by trying again.
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
