//! The state of `DB`.

use std::path::Path;

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::checkpoint::{
    inspect, CheckpointError, CheckpointStore, Inspection,
};

use super::holder::Holder;
use super::{count, Finding};

/// Looks at it without changing it; its state for the page.
pub fn look(config: &Config, findings: &mut Vec<Finding>) -> String {
    let Some(path) = &config.db else {
        let effect = config.without_db().unwrap_or_default();
        return format!(
            "not set: each start of Fluent Bit {effect}; to check a DB, add -o DB=FILE"
        );
    };
    let shown = path.display();
    match inspect(path) {
        Ok(Inspection::Missing) => format!("{shown} does not exist yet and can be created"),
        Ok(Inspection::Whole {
            containers,
            damaged_entries: 0,
        }) => {
            format!(
                "{shown} is valid and has positions of {}",
                count(containers)
            )
        }
        Ok(Inspection::Whole {
            containers,
            damaged_entries,
        }) => {
            findings.push(Finding::minor(
                format!("DB {shown}"),
                format!(
                    "{damaged_entries} damaged entries; their logs are read from the beginning"
                ),
                "none needed: their positions are written again",
            ));
            format!(
                "{shown} is valid and has positions of {}",
                count(containers)
            )
        }
        Ok(Inspection::Damaged(problem)) => {
            findings.push(Finding::minor(
                format!("DB {shown}"),
                format!(
                    "{problem}; the next start renames it and reads every log from the beginning"
                ),
                "restore it from a backup, or accept this",
            ));
            format!("{shown} is not a valid checkpoint: {problem}")
        }
        Err(CheckpointError::NotOurs { problem, .. }) => {
            findings.push(Finding::fatal(
                format!("DB {shown}"),
                format!("{problem}; Fluent Bit does not start with it, and leaves it unchanged"),
                "set DB to a file that does not exist yet and that nothing else uses",
            ));
            format!("{shown} cannot be used: {problem}")
        }
        Err(CheckpointError::InUse { .. }) => in_use(path, findings),
        Err(CheckpointError::Io { source, .. }) => {
            findings.push(Finding::fatal(
                format!("DB {shown}"),
                source.to_string(),
                "its folder must exist and be writable by Fluent Bit's user; create it with mkdir -p, or set another file",
            ));
            format!("{shown} cannot be used: {source}")
        }
    }
}

/// A DB that another process has open, as a running Fluent Bit has.
fn in_use(path: &Path, findings: &mut Vec<Finding>) -> String {
    let (shown, holder) = (path.display(), Holder::of(path));
    let who = holder
        .as_ref()
        .map_or("another process".to_owned(), |holder| {
            format!("{} (pid {})", holder.name, holder.pid)
        });
    if !holder.is_some_and(|holder| holder.is_fluent_bit()) {
        findings.push(Finding::minor(
            format!("DB {shown}"),
            format!("{who} has it open"),
            format!("none needed if that is the Fluent Bit with this configuration; any other instance needs its own DB (fuser {shown})"),
        ));
    }
    let positions = match CheckpointStore::open_read_only(path) {
        Ok((opened, None)) => {
            format!(
                " and has positions of {}",
                count(opened.store.containers().len())
            )
        }
        _ => String::new(),
    };
    format!("{shown} is in use by {who}{positions}")
}
