//! Files about a container that cannot be read.

use fluent_bit_container_logs::runtime::docker::MetadataError;
use fluent_bit_container_logs::runtime::file::open_regular;
use fluent_bit_container_logs::runtime::Found;
use fluent_bit_container_logs::telemetry::metrics::Unread;

use super::advice::Advice;
use super::Finding;

/// What follows from an unknown log driver.
pub const WITHOUT_DRIVER: &str =
    "its log driver is unknown: its log is read from files if there are any, and rules about the driver have no effect on it";
/// What follows from unknown metadata.
pub const WITHOUT_METADATA: &str = "its records lack name and image";

/// Reports a file of `found` that cannot be read, with what follows from that.
pub fn report(
    found: &Found,
    error: MetadataError,
    effect: &str,
    advice: Advice<'_>,
    findings: &mut Vec<Finding>,
) {
    let MetadataError::Unreadable { path, reason } = error else {
        return;
    };
    let fix = match open_regular(&found.dir.at(&path)).err() {
        Some(error) => advice.for_error(&error),
        None => advice.for_damage(&path),
    };
    let problem = format!("{reason}; {effect}");
    let finding = Finding::minor(path.display().to_string(), problem, fix);
    findings.push(finding.because(Unread::Metadata));
}
