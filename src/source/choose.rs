//! Decides where a container's log is read from: one decision for the reader, which applies it
//! at each look, and for `tail-containers check`, which prints it. Opens files and reads none.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use rustix::fs::{FileType, Statx};

use crate::config::{socket_option, Config, Mode};
use crate::runtime::docker::{CACHED_LOG, LOCAL_LOG};
use crate::runtime::file::{is_shortage, open_regular, stat_path};
use crate::runtime::log_driver::{
    LogDriver, JOURNALD_DRIVER, JSON_FILE_DRIVER, PODMANS_FILE_DRIVER,
};
use crate::runtime::{Api, Found, LogFiles, Runtime};
use crate::source::file::extent::last_written;
use crate::source::file::listing;
use crate::telemetry::metrics::{SourceKind, Unread};

/// Why a container that has run is not read from files.
const NO_LOG_FILE: &str = "it has no log file";

/// What the decision depends on.
pub struct Facts<'a> {
    /// The runtime of the container.
    pub runtime: &'a dyn Runtime,
    /// The container.
    pub found: &'a Found,
    /// The configuration.
    pub config: &'a Config,
    /// Its log driver, if known.
    pub driver: Option<&'a LogDriver>,
    /// Whether it runs. Without metadata it is taken to run.
    pub is_running: bool,
    /// Whether its files say that it runs; asked only if it matters.
    pub is_said_to_run: bool,
    /// What a look at its log files found.
    pub files: FileState<'a>,
    /// Why there is no journal that can be read, if so; asked only if it matters.
    pub journal: &'a dyn Fn() -> Result<(), String>,
}

/// What a look at the files of a log found.
#[derive(Debug, Clone, Copy)]
pub enum FileState<'a> {
    /// They can be opened.
    Readable,
    /// They can be opened, and the current one is missing.
    Rotated,
    /// There are none.
    Missing,
    /// There are some of an earlier driver, which were read to their end, and none that the
    /// driver of now writes.
    Left,
    /// They were not looked for, since [`reads_files`] is false.
    Ignored,
    /// The container's folder is not visible; only the API lists it.
    Hidden,
    /// They exist and cannot be opened.
    Unreadable {
        /// Why.
        error: &'a io::Error,
        /// Files without a name are open and have unread data, which no API has.
        holds_deleted: bool,
    },
}

impl FileState<'_> {
    /// Whether the file that the runtime writes is not there.
    pub fn is_without_current(self) -> bool {
        matches!(self, FileState::Missing | FileState::Rotated)
    }
}

/// Where a log is read from.
#[derive(Debug)]
pub enum Choice {
    /// Its files.
    Files,
    /// Its files, once they can be opened.
    Unreadable,
    /// systemd's journal.
    Journal,
    /// The API, with the reason.
    Api(String),
    /// Its files, once there are any.
    Later,
    /// Nowhere, with the reason for metrics and for messages.
    Nowhere(Unread, String),
}

/// Why a container that runs with a driver that writes files is not read from these.
pub const DELETED: &str = "its log was deleted while it runs";

/// The same of one whose rotated or renamed files are read.
pub const AWAY: &str = "its log is not there while it runs: it was deleted, or renamed and is read under its other name";

/// Returns where the log of a container is read from now.
pub fn choose(facts: &Facts<'_>) -> Choice {
    let Facts {
        runtime,
        config,
        driver,
        ..
    } = *facts;
    let api = runtime.api();
    let is_off = |api| config.socket(api).is_none();
    let choice = match facts.files {
        FileState::Hidden => Choice::Api("its folder cannot be read".to_owned()),
        FileState::Ignored => Choice::Api("Mode stream".to_owned()),
        FileState::Readable | FileState::Rotated => Choice::Files,
        FileState::Missing | FileState::Left => without_files(facts),
        FileState::Unreadable {
            error,
            holds_deleted,
        } => {
            let may_switch = config.mode == Mode::Hybrid && api.is_some_and(|api| !is_off(api));
            // A shortage is not the container's and passes.
            if may_switch && !holds_deleted && !is_shortage(error) {
                Choice::Api(format!("its log file cannot be read: {error}"))
            } else {
                Choice::Unreadable
            }
        }
    };
    match (choice, api, driver.and_then(keeps_nothing)) {
        (Choice::Api(_), _, Some(nothing)) => nothing,
        (Choice::Api(reason), None, _) => {
            let why = match facts.found.owner {
                Some(_) => "only root's API is used".to_owned(),
                None => format!("{} has no API", runtime.title()),
            };
            Choice::Nowhere(unread_without_api(facts), format!("{reason}, and {why}"))
        }
        (Choice::Api(reason), Some(api), _) if is_off(api) => {
            let reason = format!("{reason}, and {} is off", socket_option(api));
            Choice::Nowhere(unread_without_api(facts), reason)
        }
        (choice, _, _) => choice,
    }
}

/// Whether the files of a container with this API matter at all.
pub fn reads_files(config: &Config, api: Option<Api>) -> bool {
    config.mode != Mode::Stream || api.is_none()
}

/// The choice for a container whose driver keeps no log anywhere, or `None` if it does.
fn keeps_nothing(driver: &LogDriver) -> Option<Choice> {
    driver.keeps_nothing().then(|| {
        let reason = format!("log driver {} keeps nothing", driver.name);
        Choice::Nowhere(Unread::DriverNone, reason)
    })
}

/// Returns the logs of a container that have files, in the order in which they were written. There
/// are several if its driver was changed; the last one is that of the driver of now, if it has
/// written one. Fails if that one, or none, can be read.
pub fn find_logs(
    runtime: &dyn Runtime,
    found: &Found,
    driver: Option<&LogDriver>,
) -> Result<Vec<LogFiles>, (LogFiles, io::Error)> {
    let places = runtime.logs(found);
    let writes = |files: &LogFiles| driver.and_then(|driver| runtime.writes(driver, files));
    if places.iter().any(|files| writes(files).is_none()) {
        return Ok(find_log(places)?.into_iter().collect());
    }
    let (mut logs, mut failure) = (Vec::new(), None);
    for files in places {
        match is_there(&files) {
            Ok(true) => logs.push(files),
            Ok(false) => {}
            Err(error) if writes(&files) == Some(true) => return Err((files, error)),
            Err(error) => failure = Some((files, error)),
        }
    }
    match failure {
        Some(failure) if logs.is_empty() => return Err(failure),
        _ if logs.len() < 2 => {}
        _ => logs.sort_by_cached_key(|files| (writes(files), last_written(files))),
    }
    Ok(logs)
}

/// Returns the first place that has a file; if none has, the first error.
fn find_log(places: Vec<LogFiles>) -> Result<Option<LogFiles>, (LogFiles, io::Error)> {
    let mut failure = None;
    for files in places {
        match is_there(&files) {
            Ok(true) => return Ok(Some(files)),
            Ok(false) => {}
            Err(error) if failure.is_none() => failure = Some((files, error)),
            Err(_) => {}
        }
    }
    failure.map_or(Ok(None), Err)
}

/// Whether a log has at least one file.
pub fn is_there(files: &LogFiles) -> io::Result<bool> {
    let is_symlink =
        |stat: Statx| FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink;
    if files.dir.stat().is_ok_and(is_symlink) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its folder is a symlink",
        ));
    }
    match files.current().map(open_regular) {
        Some(Ok(_)) => return Ok(true),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // There are rotated files and no current one during a rotation, permanently if dockerd
    // died in it, or after someone renamed the file.
    match listing::list(files) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        listed => listed.map(|listed| !listed.files.is_empty()),
    }
}

/// Whether a log has no current file. During a rotation it has none for a moment.
pub fn lacks_current(files: &LogFiles) -> bool {
    let stat = files.current().map(stat_path);
    stat.is_some_and(|stat| stat.is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
}

/// Returns where to read a container that has no files: whether its driver will still write
/// some.
fn without_files(facts: &Facts<'_>) -> Choice {
    let Some(driver) = facts.driver else {
        return without_driver(facts);
    };
    if let Some(nothing) = keeps_nothing(driver) {
        return nothing;
    }
    let reason = match driver.name.as_str() {
        _ if missing_folder(facts).is_some() => reason_without_log(facts),
        _ if is_deleted(facts) => DELETED.to_owned(),
        // conmon creates the file before the container runs.
        JSON_FILE_DRIVER | PODMANS_FILE_DRIVER
            if facts.runtime.creates_log_first() && facts.runtime.has_run(facts.found) =>
        {
            reason_without_log(facts)
        }
        JOURNALD_DRIVER if facts.runtime.journal_writer().is_some() => match (facts.journal)() {
            Ok(()) => return Choice::Journal,
            Err(why) => format!("log driver journald keeps no file, and {why}"),
        },
        _ if driver.has_own_file() => return Choice::Later,
        _ if driver.writes_file() && !facts.is_running => return Choice::Later,
        // A plugin may have the log of a container that has ended; the API's answer settles it.
        name => format!("log driver {name} keeps no file"),
    };
    unless_in_file_mode(facts, reason, Choice::Api)
}

/// Whether the log of a running container was deleted: its driver makes the file before the
/// container starts. The runtime writes on to the deleted file, and reads it no more.
pub fn is_deleted(facts: &Facts<'_>) -> bool {
    let has_own_file = facts.driver.is_some_and(LogDriver::has_own_file);
    let is_missing = facts.files.is_without_current();
    has_own_file && is_missing && facts.is_said_to_run && missing_folder(facts).is_none()
}

/// The folder of a log that was put outside of its container's, if it does not exist here.
pub fn missing_folder(facts: &Facts<'_>) -> Option<PathBuf> {
    let Facts { runtime, found, .. } = *facts;
    let log = runtime.logs(found).into_iter().next()?;
    let has_run = facts.is_running || (runtime.creates_log_first() && runtime.has_run(found));
    let is_missing = has_run
        && matches!(facts.files, FileState::Missing)
        && log.current().is_some()
        && !log.dir.starts_with(&found.dir)
        && !log.dir.is_folder();
    is_missing.then(|| log.dir.to_path_buf())
}

/// Why a container that has run has no log.
fn reason_without_log(facts: &Facts<'_>) -> String {
    match missing_folder(facts) {
        Some(folder) => format!(
            "its log is in {}, which does not exist here",
            folder.display()
        ),
        None => NO_LOG_FILE.to_owned(),
    }
}

/// Why the log of a running container is not read though there is a file.
pub const REPLACED: &str = "its log was replaced by hand while it ran, and the runtime still writes to the replaced file, which has no name any more";

/// The same where nothing says whether the container runs.
pub const MAY_BE_REPLACED: &str = "its log was replaced by hand; if it ran then, which nothing says, the runtime still writes to the replaced file, which has no name any more";

/// The same of one that ended or runs, and whose other files are read.
pub const NEWEST_DELETED: &str = "the log of its last run was deleted";

fn unread_without_api(facts: &Facts<'_>) -> Unread {
    match is_deleted(facts) || missing_folder(facts).is_some() {
        true => Unread::Missing,
        false => Unread::ApiUnavailable,
    }
}

/// Podman's driver is in its database, which may be unreadable: the API knows where the log of
/// a container is that has run and has no file.
fn without_driver(facts: &Facts<'_>) -> Choice {
    if !facts.runtime.creates_log_first() || !facts.runtime.has_run(facts.found) {
        return Choice::Later;
    }
    unless_in_file_mode(facts, NO_LOG_FILE.to_owned(), Choice::Api)
}

fn unless_in_file_mode(facts: &Facts<'_>, reason: String, choice: fn(String) -> Choice) -> Choice {
    if facts.config.mode == Mode::File {
        let reason = format!("{reason}, and Mode file does not use the API");
        return Choice::Nowhere(unread_without_api(facts), reason);
    }
    choice(reason)
}

/// Returns the kind of these files.
pub fn kind_of(files: &LogFiles) -> SourceKind {
    match files.path.file_name().and_then(OsStr::to_str) {
        Some(LOCAL_LOG) => SourceKind::Local,
        Some(CACHED_LOG) => SourceKind::Cache,
        _ => SourceKind::File,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::runtime::docker::Docker;
    use crate::runtime::id::ContainerId;
    use crate::runtime::podman::Podman;
    use crate::runtime::users::UserChoice;
    use crate::runtime::Owner;

    fn config(mode: &str) -> Config {
        Config::from_lookup(|name| (name == "Mode").then(|| mode.to_owned())).unwrap()
    }

    fn found(dir: &Path) -> Found {
        Found::new(ContainerId::from_bytes([7; 32]), dir.into(), dir.to_owned())
    }

    fn said(
        runtime: &dyn Runtime,
        found: &Found,
        name: &str,
        has_cache_disabled: bool,
        is_running: bool,
    ) -> String {
        let driver = (!name.is_empty()).then(|| LogDriver {
            name: name.to_owned(),
            has_cache_disabled,
        });
        let choice = choose(&Facts {
            runtime,
            found,
            config: &config("hybrid"),
            driver: driver.as_ref(),
            is_running,
            is_said_to_run: is_running && runtime.metadata(found, 0).is_ok_and(|it| it.is_running),
            files: FileState::Missing,
            journal: &no_journal,
        });
        match choice {
            Choice::Nowhere(_, reason) => format!("Nowhere({reason:?})"),
            choice => format!("{choice:?}"),
        }
    }

    #[test]
    fn without_a_file_the_driver_says_whether_one_is_to_be_expected() {
        let (docker, found) = (
            Docker::new(Path::new("/nonexistent")),
            found(Path::new("/nonexistent/c")),
        );
        for (name, cache_disabled, is_running, choice) in [
            ("json-file", false, true, "Later"),
            ("local", false, false, "Later"),
            (
                "none",
                false,
                true,
                "Nowhere(\"log driver none keeps nothing\")",
            ),
            (
                "journald",
                false,
                true,
                "Api(\"log driver journald keeps no file, and Journal_Path is off\")",
            ),
            ("syslog", false, false, "Later"),
            (
                "syslog",
                false,
                true,
                "Api(\"log driver syslog keeps no file\")",
            ),
            (
                "syslog",
                true,
                false,
                "Api(\"log driver syslog keeps no file\")",
            ),
            (
                "loki",
                false,
                true,
                "Api(\"log driver loki keeps no file\")",
            ),
            (
                "loki",
                false,
                false,
                "Api(\"log driver loki keeps no file\")",
            ),
            ("gelf", false, false, "Later"),
            ("", false, true, "Later"),
        ] {
            assert_eq!(
                said(&docker, &found, name, cache_disabled, is_running),
                choice,
                "{name}"
            );
        }
        let journald = LogDriver {
            name: "journald".to_owned(),
            has_cache_disabled: false,
        };
        let in_file_mode = choose(&Facts {
            runtime: &docker,
            found: &found,
            config: &config("file"),
            driver: Some(&journald),
            is_running: true,
            is_said_to_run: true,
            files: FileState::Missing,
            journal: &no_journal,
        });
        assert!(
            format!("{in_file_mode:?}").contains("Mode file does not use"),
            "{in_file_mode:?}"
        );
    }

    #[test]
    fn the_journal_is_read_for_its_driver_only_and_only_if_it_can_be() {
        let (docker, found) = (
            Docker::new(Path::new("/nonexistent")),
            found(Path::new("/nonexistent/c")),
        );
        for (name, mode, has_journal, choice) in [
            ("journald", "hybrid", true, "Journal"),
            ("journald", "file", true, "Journal"),
            (
                "syslog",
                "hybrid",
                true,
                "Api(\"log driver syslog keeps no file\")",
            ),
            ("json-file", "hybrid", true, "Later"),
            (
                "journald",
                "hybrid",
                false,
                "Api(\"log driver journald keeps no file, and Journal_Path is off\")",
            ),
        ] {
            let driver = LogDriver {
                name: name.to_owned(),
                has_cache_disabled: false,
            };
            let made = choose(&Facts {
                runtime: &docker,
                found: &found,
                config: &config(mode),
                driver: Some(&driver),
                is_running: true,
                is_said_to_run: false,
                files: FileState::Missing,
                journal: &|| if has_journal { Ok(()) } else { no_journal() },
            });
            assert_eq!(format!("{made:?}"), choice, "{name} {mode} {has_journal}");
        }
    }

    fn no_journal() -> Result<(), String> {
        Err("Journal_Path is off".to_owned())
    }

    /// A user's Docker, whose API is not asked.
    #[test]
    fn without_an_api_a_container_without_files_is_read_nowhere() {
        let docker = Docker::of_users(&UserChoice::default(), Path::new("/nonexistent"));
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner {
            user: "ada".to_owned(),
            container_id: ContainerId::from_bytes([1; 32]),
        };
        let found = Found {
            owner: Some(Box::new(owner)),
            ..found(dir.path())
        };
        for (name, choice) in [
            ("", "Later"),
            (
                "journald",
                "Nowhere(\"log driver journald keeps no file, and Journal_Path is off, and only root's API is used\")",
            ),
            ("none", "Nowhere(\"log driver none keeps nothing\")"),
            ("json-file", "Later"),
        ] {
            assert_eq!(said(&docker, &found, name, false, true), choice, "{name}");
        }
    }

    #[test]
    fn a_running_container_without_the_file_of_its_driver_had_it_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (docker, found) = (Docker::new(dir.path()), found(dir.path()));
        let config = |is_running| {
            let config = format!(r#"{{"Name":"/web","State":{{"Running":{is_running}}}}}"#);
            std::fs::write(dir.path().join("config.v2.json"), config).unwrap();
        };
        let deleted = "Api(\"its log was deleted while it runs\")";
        config(true);
        for driver in ["json-file", "local"] {
            assert_eq!(said(&docker, &found, driver, false, true), deleted);
            assert_eq!(said(&docker, &found, driver, false, false), "Later");
        }
        config(false);
        assert_eq!(said(&docker, &found, "json-file", false, true), "Later");
    }

    #[test]
    fn podmans_containers_without_a_file_are_read_by_the_api_once_they_have_run() {
        let dir = tempfile::tempdir().unwrap();
        let podman = Podman::new(dir.path());
        let ours = found(&podman.root().join("overlay-containers/c"));
        std::fs::create_dir_all(&ours.dir).unwrap();
        assert_eq!(said(&podman, &ours, "", false, true), "Later");
        std::fs::write(ours.dir.join("config.json"), "{}").unwrap();
        assert_eq!(
            said(&podman, &ours, "", false, true),
            "Api(\"it has no log file\")"
        );
        let of_ada = tempfile::tempdir().unwrap();
        std::fs::write(of_ada.path().join("config.json"), "{}").unwrap();
        let owner = Owner {
            user: "ada".to_owned(),
            container_id: ContainerId::from_bytes([1; 32]),
        };
        let of_ada = Found {
            owner: Some(Box::new(owner)),
            ..found(of_ada.path())
        };
        let of_users = Podman::of_users(&UserChoice::default(), Path::new("/nonexistent"));
        for (name, reason) in [
            ("", "it has no log file"),
            ("k8s-file", "it has no log file"),
            (
                "journald",
                "log driver journald keeps no file, and Journal_Path is off",
            ),
        ] {
            assert_eq!(
                said(&of_users, &of_ada, name, false, true),
                format!("Nowhere(\"{reason}, and only root's API is used\")")
            );
        }
        for (name, choice) in [
            (
                "journald",
                "Api(\"log driver journald keeps no file, and Journal_Path is off\")",
            ),
            ("k8s-file", "Api(\"it has no log file\")"),
            ("json-file", "Api(\"it has no log file\")"),
            (
                "passthrough",
                "Nowhere(\"log driver passthrough keeps nothing\")",
            ),
        ] {
            assert_eq!(said(&podman, &ours, name, false, true), choice);
        }
    }

    /// Reader and `check` agree on each of these, since both ask here.
    #[test]
    fn files_that_cannot_be_opened_go_to_the_api_unless_they_may_soon_be_opened() {
        let (docker, found) = (
            Docker::new(Path::new("/nonexistent")),
            found(Path::new("/nonexistent/c")),
        );
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let no_descriptors = io::Error::from(rustix::io::Errno::MFILE);
        for (mode, error, holds_deleted, choice) in [
            (
                "hybrid",
                &denied,
                false,
                "Api(\"its log file cannot be read: permission denied\")",
            ),
            ("hybrid", &denied, true, "Unreadable"),
            ("hybrid", &no_descriptors, false, "Unreadable"),
            ("file", &denied, false, "Unreadable"),
            ("stream", &denied, true, "Api(\"Mode stream\")"),
        ] {
            let made = choose(&Facts {
                runtime: &docker,
                found: &found,
                config: &config(mode),
                driver: None,
                is_running: true,
                is_said_to_run: true,
                files: match reads_files(&config(mode), docker.api()) {
                    true => FileState::Unreadable {
                        error,
                        holds_deleted,
                    },
                    false => FileState::Ignored,
                },
                journal: &no_journal,
            });
            assert_eq!(format!("{made:?}"), choice, "{mode}, {error}");
        }
    }
}
