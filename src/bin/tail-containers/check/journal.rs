//! systemd's journal, which is opened only if a container logs to it.

use fluent_bit_container_logs::config::{Config, JournalPath};

use super::containers::Containers;
use super::remedy::Place;
use super::{count, Finding};

/// The state of the journal for the page, empty if nothing needs it. Reports why it cannot be read.
pub fn look(
    config: &Config,
    containers: &Containers,
    place: &Place,
    findings: &mut Vec<Finding>,
) -> String {
    match containers.journal.get() {
        None => String::new(),
        Some(Ok(())) => {
            let read = containers.all().filter(|seen| seen.is_in_journal()).count();
            let path = match &config.journal {
                JournalPath::Folder(folder) => folder.display().to_string(),
                _ => "of this machine".to_owned(),
            };
            format!("{path}; {} read from it", count(read))
        }
        Some(Err(error)) => {
            let reason = error.to_string();
            if config.journal != JournalPath::Off {
                let fix = place.for_journal(error.kind());
                findings.push(Finding::minor("log driver journald", reason.clone(), fix));
            }
            reason
        }
    }
}
