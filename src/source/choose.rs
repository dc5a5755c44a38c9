//! Decides where a container's log is read from. The reader applies the decision at each look;
//! `tail-containers check` prints it without reading. Opens files and reads none.

use crate::config::socket_option;
use std::ffi::OsStr;
use std::io;

use rustix::fs::{FileType, Statx};

use crate::config::{Config, Mode};
use crate::runtime::docker::{ContainerMetadata, LogDriver, JSON_FILE_DRIVER};
use crate::runtime::file::open_regular;
use crate::runtime::{Api, Found, LogFiles, Runtime};
use crate::source::file::listing;
use crate::telemetry::metrics::SourceKind;

/// Ends every reason that says that a container has no log at all.
const KEEPS_NOTHING: &str = "keeps nothing";

/// Where a log would be read from.
#[derive(Debug)]
pub enum Choice {
    /// Its files, which can be opened.
    Files(LogFiles),
    /// Its files exist but cannot be opened; the error says why.
    Unreadable(LogFiles, io::Error),
    /// The API, with the reason.
    Api(String),
    /// Unknown: the API must be asked for the log driver, since a missing file proves nothing
    /// yet. The reason is the text for messages.
    Ask(String, Api),
    /// Its files, once there are any.
    Later,
    /// Nowhere, with the reason.
    Nowhere(String),
}

/// Returns where the log of a container would be read from now.
pub fn choose(
    runtime: &dyn Runtime,
    found: &Found,
    metadata: &ContainerMetadata,
    driver: Option<&LogDriver>,
    config: &Config,
) -> Choice {
    let api = runtime.api().filter(|_| runtime.is_known_to_api(found));
    let socket = api.and_then(|api| config.socket(api));
    let choice = if config.mode == Mode::Stream && api.is_some() {
        Choice::Api("Mode stream".to_owned())
    } else {
        match find_log(runtime.logs(found)) {
            Ok(Some(files)) => Choice::Files(files),
            Ok(None) => without_files(runtime, found, driver, metadata.is_running, config),
            Err((_, error)) if config.mode == Mode::Hybrid && socket.is_some() => {
                Choice::Api(format!("its log file cannot be read: {error}"))
            }
            Err((files, error)) => Choice::Unreadable(files, error),
        }
    };
    match (choice, api) {
        (Choice::Api(reason), Some(api)) => match driver.and_then(keeps_nothing) {
            Some(nothing) => Choice::Nowhere(nothing),
            None if socket.is_none() => Choice::Nowhere(without_socket(&reason, api)),
            None => Choice::Api(reason),
        },
        (Choice::Ask(reason, api), _) if socket.is_none() => {
            Choice::Nowhere(without_socket(&reason, api))
        }
        (choice, _) => choice,
    }
}

/// Returns why a container with this driver cannot be read anywhere, or `None` if its driver
/// keeps its log.
pub fn keeps_nothing(driver: &LogDriver) -> Option<String> {
    driver
        .keeps_nothing()
        .then(|| format!("log driver {} {KEEPS_NOTHING}", driver.name))
}

/// Whether a reason says that there is no log at all.
pub fn is_of_no_log(reason: &str) -> bool {
    reason.ends_with(KEEPS_NOTHING)
}

/// Returns the first place that has a file; if none has, the first error.
pub fn find_log(places: Vec<LogFiles>) -> Result<Option<LogFiles>, (LogFiles, io::Error)> {
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
        listed => listed.map(|listed| !listed.is_empty()),
    }
}

/// Returns where to read a container that has no files: whether its driver will still write
/// some.
pub fn without_files(
    runtime: &dyn Runtime,
    found: &Found,
    driver: Option<&LogDriver>,
    is_running: bool,
    config: &Config,
) -> Choice {
    let Some(driver) = driver else {
        return without_driver(runtime, found, config);
    };
    if let Some(nothing) = keeps_nothing(driver) {
        return Choice::Nowhere(nothing);
    }
    let is_podman = runtime.api() == Some(Api::Podman);
    let reason = match driver.name.as_str() {
        name if is_podman && name != "journald" => {
            "its log is not in the container's folder".to_owned()
        }
        JSON_FILE_DRIVER | "local" => return Choice::Later,
        _ if driver.writes_file() && !is_running => return Choice::Later,
        name => format!("log driver {name} keeps no file"),
    };
    match config.mode {
        Mode::File => Choice::Nowhere(format!("{reason}, and Mode file does not use the API")),
        _ => Choice::Api(reason),
    }
}

/// Podman's files do not say which log driver a container uses. Asks the API about one that
/// has run and has no log.
fn without_driver(runtime: &dyn Runtime, found: &Found, config: &Config) -> Choice {
    if found.owner.is_some() && runtime.has_run(found) {
        return Choice::Nowhere(
            "it has no log file, and only root's Podman API is used".to_owned(),
        );
    }
    let Some(api) = runtime
        .api()
        .filter(|api| *api == Api::Podman && runtime.has_run(found))
    else {
        return Choice::Later;
    };
    let reason = "it has no log file".to_owned();
    if config.mode == Mode::File {
        Choice::Nowhere(format!("{reason}, and Mode file does not use the API"))
    } else {
        Choice::Ask(reason, api)
    }
}

/// Returns the reason if a log is available only from an API whose socket option is off.
pub fn without_socket(reason: &str, api: Api) -> String {
    format!("{reason}, and {} is off", socket_option(api))
}

/// Returns the kind of these files.
pub fn kind_of(files: &LogFiles) -> SourceKind {
    match files.path.file_name().and_then(OsStr::to_str) {
        Some("container.log") => SourceKind::Local,
        Some("container-cached.log") => SourceKind::Cache,
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
        format!(
            "{:?}",
            without_files(
                runtime,
                found,
                driver.as_ref(),
                is_running,
                &config("hybrid")
            )
        )
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
                "Api(\"log driver journald keeps no file\")",
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
        let in_file_mode = without_files(&docker, &found, Some(&journald), true, &config("file"));
        assert!(
            format!("{in_file_mode:?}").contains("Mode file does not use"),
            "{in_file_mode:?}"
        );
    }

    #[test]
    fn podmans_containers_are_asked_about_once_they_have_run() {
        let dir = tempfile::tempdir().unwrap();
        let podman = Podman::new(dir.path());
        let ours = found(&podman.root().join("overlay-containers/c"));
        std::fs::create_dir_all(&ours.dir).unwrap();
        assert_eq!(said(&podman, &ours, "", false, true), "Later");
        std::fs::write(ours.dir.join("config.json"), "{}").unwrap();
        assert_eq!(
            said(&podman, &ours, "", false, true),
            "Ask(\"it has no log file\", Podman)"
        );
        let of_ada = tempfile::tempdir().unwrap();
        std::fs::write(of_ada.path().join("config.json"), "{}").unwrap();
        let owner = Owner {
            user: "ada".to_owned(),
            container_id: ContainerId::from_bytes([1; 32]),
        };
        let of_ada = Found {
            owner: Some(owner),
            ..found(of_ada.path())
        };
        let of_ada = said(&podman, &of_ada, "", false, true);
        assert_eq!(
            of_ada,
            "Nowhere(\"it has no log file, and only root's Podman API is used\")"
        );
        for (name, choice) in [
            ("journald", "Api(\"log driver journald keeps no file\")"),
            (
                "k8s-file",
                "Api(\"its log is not in the container's folder\")",
            ),
            (
                "passthrough",
                "Nowhere(\"log driver passthrough keeps nothing\")",
            ),
        ] {
            assert_eq!(said(&podman, &ours, name, false, true), choice);
        }
    }
}
