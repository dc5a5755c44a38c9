//! systemd's journal, which is opened only if a container logs to it.

use fluent_bit_container_logs::config::{Config, JournalPath};
use fluent_bit_container_logs::ffi::journal::library;
use fluent_bit_container_logs::format::rfc3339;
use fluent_bit_container_logs::source::journal::files::lacks_all;
use fluent_bit_container_logs::source::journal::unwritten::{look_at, Stored};
use fluent_bit_container_logs::telemetry::metrics::Unread;

use super::containers::Containers;
use super::remedy::Place;
use super::{count, Finding};

/// What to do about a journald that stores nothing.
const STORE: &str =
    "set Storage=auto in journald.conf and restart systemd-journald, or use another log driver";

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
            let state = format!("{path}; {} read from it", count(read));
            match look_at(&*library(), &config.journal) {
                Ok(stored) => state + &report(&stored, containers, findings),
                Err(_) => state,
            }
        }
        Some(Err(error)) => {
            let reason = error.to_string();
            if config.journal != JournalPath::Off {
                let fix = place.for_journal(error.kind());
                let about = "log driver journald";
                // No API has what journald does not store.
                let finding = match lacks_all(error, &config.journal) {
                    true => Finding::fatal(about, reason.clone(), STORE).because(Unread::Missing),
                    false => Finding::minor(about, reason.clone(), fix),
                };
                findings.push(finding);
            }
            reason
        }
    }
}

/// Reports what journald does not store; returns what there is to know of the last entry.
fn report(stored: &Stored, containers: &Containers, findings: &mut Vec<Finding>) -> String {
    if let Some(folder) = &stored.lacking {
        let problem = "journald has no file to write to: what containers write is lost";
        let fix = "see whether its disk is full (df); if the file was deleted: journalctl --rotate; Storage=none in journald.conf stores nothing";
        let finding = Finding::fatal(folder.display().to_string(), problem, fix);
        findings.push(finding.because(Unread::Missing));
    }
    let Some(last) = stored.last else {
        return ", which has no entry".to_owned();
    };
    let is_later = |started: u64| started > last.since_epoch();
    let mut silent = containers
        .all()
        .filter(|seen| seen.is_in_journal() && seen.started.is_some_and(is_later));
    let last = rfc3339::format(last);
    if let (Some(seen), None) = (silent.next(), &stored.lacking) {
        let problem = format!("it was started after the last entry of systemd's journal, of {last}: unless it has written nothing, its lines are lost");
        let about = format!("container {}", seen.name);
        findings.push(Finding::minor(about, problem, STORE));
    }
    format!(", the last entry is of {last}")
}
