//! What of a container's metadata cannot be read, has no effect or is cut.

use fluent_bit_container_logs::config::labels::Labels;
use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::pipeline::template::RecordTemplate;
use fluent_bit_container_logs::runtime::file::open_regular;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::metadata::{ContainerMetadata, MetadataError};
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
pub fn report_unreadable(
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

/// Reports labels that have no effect.
pub fn report_labels(metadata: &ContainerMetadata, config: &Config, findings: &mut Vec<Finding>) {
    let read = Labels::read(&metadata.labels, config.label_hints);
    let about = || format!("container {}", metadata.title());
    for problem in read.problems {
        findings.push(Finding::minor(
            about(),
            problem,
            "correct the label; until then the option applies",
        ));
    }
    for label in read.ignored {
        findings.push(Finding::minor(
            about(),
            format!("label {label} is ignored: Label_Hints does not allow it"),
            "add it to Label_Hints if you trust the authors of the images",
        ));
    }
}

/// Reports metadata that exceeds the limits of a record.
pub fn report_cut(
    id: &ContainerId,
    metadata: ContainerMetadata,
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    let about = format!("container {}", metadata.title());
    let labels = Labels::read(&metadata.labels, config.label_hints).labels;
    if RecordTemplate::new(id, metadata, labels.record_options(config)).is_cut() {
        findings.push(Finding::minor(
            about,
            "its names, labels or variables exceed a limit and are cut in its records",
            "shorten them, or select fewer with Labels and Env (docs/content.md, Limits)",
        ));
    }
}
