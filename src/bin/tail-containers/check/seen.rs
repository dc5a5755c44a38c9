//! One container, where it is read from, and what follows from that for the page.

use std::io;
use std::path::PathBuf;

use fluent_bit_container_logs::runtime::file::{is_shortage, open_regular};
use fluent_bit_container_logs::runtime::log_driver::LogDriver;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::runtime::{Api, LogFiles};
use fluent_bit_container_logs::source::choose::{
    is_deleted, kind_of, missing_folder, Choice, Facts, AWAY, MAY_BE_REPLACED, NEWEST_DELETED,
    REPLACED,
};
use fluent_bit_container_logs::source::file::listing::{self, UnreadableFile};
use fluent_bit_container_logs::source::file::replaced::{is_replaced, Run};
use fluent_bit_container_logs::telemetry::metrics::{SourceKind, Unread};

use super::advice::Advice;
use super::Finding;
use crate::terminal::harmless;

/// The source of one that is read from systemd's journal.
const JOURNAL: &str = SourceKind::Journal.as_str();

/// One container.
pub struct Seen {
    /// Its name in messages.
    pub name: String,
    /// Its id in the checkpoint, which is the runtime's for those of Docker.
    pub id: String,
    /// All its names.
    pub names: Vec<String>,
    /// Which of the names on the command line match one of them, in their order.
    pub is_named: Vec<bool>,
    /// Whether a rule, a label or a name excludes it.
    pub is_excluded: bool,
    /// Its image; empty if unknown.
    pub image: String,
    /// Its log driver; empty if unknown.
    pub driver: String,
    /// Where it is read from, for the page.
    pub source: String,
    /// Whether it is read through the API, or only the API knows.
    pub needs_api: bool,
    /// When it was started, in nanoseconds since 1970, if it runs and is read from the journal.
    pub started: Option<u64>,
    /// Whether its runtime says that it runs.
    pub is_said_to_run: bool,
    /// Its files and the watched folder, if it is read from files.
    pub files: Option<LogFiles>,
    /// Whether some of its metadata could not be read.
    pub lacks_metadata: bool,
    /// Its folder.
    pub dir: SafePath,
    /// Which of the rules match it, in their order.
    pub matches: Vec<bool>,
    /// The rules that cannot match it, with their options.
    pub blind: Vec<String>,
}

impl Seen {
    /// The kind of its source, for JSON.
    pub fn kind(&self) -> &'static str {
        match &self.files {
            _ if self.is_excluded => "excluded",
            Some(files) => kind_of(files).as_str(),
            None if self.needs_api => "api",
            None if self.is_in_journal() => JOURNAL,
            None if self.source.starts_with("file") => "later",
            None => "nowhere",
        }
    }

    /// Whether it is read from systemd's journal.
    pub fn is_in_journal(&self) -> bool {
        self.source.starts_with(JOURNAL)
    }

    /// Its row on the page.
    pub fn cells(&self) -> [String; 4] {
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                harmless(text).into_owned()
            }
        };
        [
            or_dash(&self.name),
            or_dash(&self.image),
            or_dash(&self.driver),
            or_dash(&self.source),
        ]
    }

    /// Takes the decision about where it is read, with what follows from it.
    pub fn take(
        &mut self,
        choice: Choice,
        facts: &Facts<'_>,
        log: &Result<Option<LogFiles>, (LogFiles, io::Error)>,
        advice: Advice<'_>,
        findings: &mut Vec<Finding>,
    ) {
        match choice {
            Choice::Files => {
                let Ok(Some(files)) = log else { return };
                self.source = kind_of(files).as_str().to_owned();
                report_unreadable(files, advice, findings);
                self.files = Some(files.clone());
                let run = Run::of(facts.runtime, facts.found);
                if is_deleted(facts) {
                    findings.push(self.deleted(AWAY.to_owned()));
                } else if let Some(path) = facts.runtime.missing_log(facts.found) {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    findings.push(self.deleted(format!("{NEWEST_DELETED}: {name}")));
                } else if is_replaced(files, &run) {
                    let what = match run.last.is_running {
                        Some(_) => REPLACED,
                        None => MAY_BE_REPLACED,
                    };
                    findings.push(self.deleted(what.to_owned()));
                }
            }
            Choice::Journal => {
                self.source = JOURNAL.to_owned();
                let run = facts.runtime.last_run(facts.found);
                self.started = run.started.filter(|_| run.is_running == Some(true));
            }
            Choice::Unreadable => {
                let Err((files, error)) = log else { return };
                self.source = format!("nowhere: its file cannot be read: {error}");
                let (about, fix) = (files.path.display().to_string(), advice.for_error(error));
                let finding = Finding::fatal(about, error.to_string(), fix);
                findings.push(finding.because(Unread::of_error(error)));
            }
            Choice::Api(reason) if is_deleted(facts) => {
                self.source = format!("api: {reason}");
                self.needs_api = true;
                findings.push(self.deleted(reason));
            }
            Choice::Api(reason) => {
                self.source = format!("api: {reason}");
                self.needs_api = true;
                if let Some(folder) = missing_folder(facts) {
                    let fix = advice.for_missing_folder(&folder);
                    let about = format!("container {}", self.name);
                    findings.push(Finding::minor(about, reason, fix));
                }
                let is_docker = facts.runtime.api() == Some(Api::Docker);
                self.report_driver(facts.driver.filter(|_| is_docker), findings);
            }
            Choice::Later if facts.is_running => {
                self.source = "file, which does not exist yet".to_owned()
            }
            Choice::Later => self.source = "file, once it is started".to_owned(),
            Choice::Nowhere(unread, reason) => {
                self.source = format!("nowhere: {reason}");
                if is_deleted(facts) {
                    return findings.push(self.deleted(reason));
                }
                let fix = match missing_folder(facts) {
                    Some(folder) => advice.for_missing_folder(&folder),
                    None => advice.for_nowhere(unread),
                };
                let finding = Finding::fatal(format!("container {}", self.name), reason, fix);
                findings.push(finding.because(unread));
            }
        }
    }

    fn deleted(&self, reason: String) -> Finding {
        let fix = "restart it (docker restart, podman restart), which creates a new log; no API can read a deleted log either";
        Finding::fatal(format!("container {}", self.name), reason, fix).because(Unread::Missing)
    }

    /// Takes the logs of the drivers that it had before; they are read first.
    pub fn take_earlier(
        &mut self,
        earlier: &[LogFiles],
        advice: Advice<'_>,
        findings: &mut Vec<Finding>,
    ) {
        if earlier.is_empty() {
            return;
        }
        let kinds: Vec<&str> = earlier
            .iter()
            .map(|files| kind_of(files).as_str())
            .collect();
        self.source = format!(
            "{}; before its log driver was changed: {}",
            self.source,
            kinds.join(", ")
        );
        for files in earlier {
            report_unreadable(files, advice, findings);
        }
    }

    /// Reports log drivers of which the API has no log either.
    fn report_driver(&self, driver: Option<&LogDriver>, findings: &mut Vec<Finding>) {
        let Some(driver) = driver.filter(|driver| driver.sends()) else {
            return;
        };
        let about = format!("container {}", self.name);
        let name = &driver.name;
        let finding = match driver.has_cache_disabled {
            true => Finding::fatal(
                about,
                format!("log driver {name} with cache-disabled=true keeps no log that can be read"),
                "start it without --log-opt cache-disabled=true",
            ),
            false => Finding::fatal(
                about,
                format!("log driver {name}, and Docker keeps no copy of its log"),
                "update Docker to 20.10 or later, which keeps one, and recreate the container",
            ),
        };
        findings.push(finding.because(Unread::DriverUnreadable));
    }
}

/// Reports the files of a log that cannot be opened, and the rotated ones that are known to be
/// part of it and cannot be decompressed.
fn report_unreadable(files: &LogFiles, advice: Advice<'_>, findings: &mut Vec<Finding>) {
    let listed = listing::list(files).unwrap_or_default();
    for UnreadableFile { path, error, .. } in listed.unreadable {
        let fix = match error.kind() {
            io::ErrorKind::Unsupported => "have logrotate compress with gzip, or set delaycompress; if its lines were delivered before, you can remove the file".to_owned(),
            _ => advice.for_error(&error),
        };
        let about = path.display().to_string();
        findings.push(Finding::fatal(about, error.to_string(), fix));
    }
    for path in listed.no_files {
        findings.push(Finding::fatal(
            path.display().to_string(),
            "it has the name of a log file but is not a regular file; the other files are read",
            "remove it: no runtime creates such a file",
        ));
    }
    let about = || files.dir.display().to_string();
    if listed.surplus > 0 {
        let problem = format!(
            "{} rotated logs are not read: there are too many",
            listed.surplus
        );
        findings.push(Finding::fatal(
            about(),
            problem,
            "remove the oldest ones that were delivered",
        ));
    }
    if listed.unexamined > 0 {
        let problem = format!(
            "{} files that are not named after the log are not examined: there are too many",
            listed.unexamined
        );
        let fix =
            "move them elsewhere; if one is a copy of the log, lines that only it has are not delivered";
        findings.push(Finding::minor(about(), problem, fix));
    }
    for (path, error) in unreadable(files) {
        let about = path.display().to_string();
        let finding = Finding::fatal(about, error.to_string(), advice.for_error(&error));
        findings.push(finding.because(Unread::of_error(&error)));
    }
}

/// The rotated files that cannot be opened.
pub fn unreadable(files: &LogFiles) -> Vec<(PathBuf, io::Error)> {
    let listed = listing::list(files).unwrap_or_default().files;
    let opened = listed
        .into_iter()
        .filter_map(|file| Some((open_regular(&file.path).err()?, file.path.to_path_buf())));
    let is_there =
        |error: &io::Error| error.kind() != io::ErrorKind::NotFound && !is_shortage(error);
    opened
        .filter(|(error, _)| is_there(error))
        .map(|(error, path)| (path, error))
        .collect()
}
