//! Where the log of a container is to be had. The reader decides by it at each look;
//! `tail-containers check` says it without reading. Opens files and reads none.

use std::ffi::OsStr;
use std::io;

use super::file::open_regular;
use super::rotation;
use crate::config::{Config, Mode};
use crate::discover::docker::{ContainerMetadata, LogDriver, JSON_FILE_DRIVER};
use crate::discover::{Found, LogFiles, Runtime};
use crate::metrics::SourceKind;

/// What is said of a container without any log.
pub const KEEPS_NOTHING: &str = "log driver none keeps nothing";

/// Where a log would be read from.
#[derive(Debug)]
pub enum Choice {
    /// Its files, which can be opened.
    Files(LogFiles),
    /// Its files, once they can be opened: they are there, and this is why not.
    Unreadable(LogFiles, io::Error),
    /// The Docker API, and why.
    Api(String),
    /// Its files, once there are any.
    Later,
    /// Nowhere, and why.
    Nowhere(String),
}

/// Where the log of a container would be read from, as things are.
pub fn choose(
    runtime: &dyn Runtime,
    found: &Found,
    metadata: &ContainerMetadata,
    driver: Option<&LogDriver>,
    config: &Config,
) -> Choice {
    let choice = if config.mode == Mode::Stream && runtime.has_api() {
        Choice::Api("Mode stream".to_owned())
    } else {
        match find_log(runtime.logs(found)) {
            Ok(Some(files)) => Choice::Files(files),
            Ok(None) => without_files(driver, metadata.is_running, config.mode),
            Err((_, error)) if is_api_allowed(runtime, config) && config.docker_socket.is_some() => {
                Choice::Api(format!("its file cannot be read: {error}"))
            }
            Err((files, error)) => Choice::Unreadable(files, error),
        }
    };
    match choice {
        Choice::Api(_) if driver.is_some_and(|driver| driver.name == "none") => {
            Choice::Nowhere(KEEPS_NOTHING.to_owned())
        }
        Choice::Api(reason) if config.docker_socket.is_none() => Choice::Nowhere(without_socket(&reason)),
        choice => choice,
    }
}

/// The first of the places where a log may be that has any file; or the one that has
/// some and cannot be read.
pub fn find_log(places: Vec<LogFiles>) -> Result<Option<LogFiles>, (LogFiles, io::Error)> {
    for files in places {
        match is_there(&files) {
            Ok(true) => return Ok(Some(files)),
            Ok(false) => {}
            Err(error) => return Err((files, error)),
        }
    }
    Ok(None)
}

/// Whether a log has any file to be read.
pub fn is_there(files: &LogFiles) -> io::Result<bool> {
    if std::fs::symlink_metadata(&files.dir).is_ok_and(|folder| folder.is_symlink()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its folder is a symlink"));
    }
    match files.current().map(open_regular) {
        Some(Ok(_)) => return Ok(true),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // In the midst of a rotation, for good if dockerd died there, or after
    // someone's rename, there are rotated files and no current one.
    match rotation::list(files) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        listed => listed.map(|listed| !listed.is_empty()),
    }
}

/// There is no file: is one to be expected?
pub fn without_files(driver: Option<&LogDriver>, is_running: bool, mode: Mode) -> Choice {
    let Some(driver) = driver else { return Choice::Later };
    if driver.name == "none" {
        return Choice::Nowhere(KEEPS_NOTHING.to_owned());
    }
    if driver.name == JSON_FILE_DRIVER || driver.name == "local" || (driver.writes_file() && !is_running) {
        return Choice::Later;
    }
    let reason = format!("log driver {} keeps no file", driver.name);
    match mode {
        Mode::File => Choice::Nowhere(format!("{reason}, and Mode file never asks the API")),
        _ => Choice::Api(reason),
    }
}

/// Whether the API may stand in where a file cannot be read.
pub fn is_api_allowed(runtime: &dyn Runtime, config: &Config) -> bool {
    config.mode == Mode::Hybrid && runtime.has_api()
}

/// Why a log that only the API has cannot be had without it.
pub fn without_socket(reason: &str) -> String {
    format!("{reason}, and Docker_Socket is off")
}

/// What kind of files these are.
pub fn kind_of(files: &LogFiles) -> SourceKind {
    match files.path.file_name().and_then(OsStr::to_str) {
        Some("container.log") => SourceKind::Local,
        Some("container-cached.log") => SourceKind::Cache,
        _ => SourceKind::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(name: &str, has_cache_disabled: bool) -> LogDriver {
        LogDriver { name: name.to_owned(), has_cache_disabled }
    }

    #[test]
    fn without_a_file_the_driver_says_whether_one_is_to_be_expected() {
        let said = |driver: Option<LogDriver>, is_running, mode| {
            format!("{:?}", without_files(driver.as_ref(), is_running, mode))
        };
        for (name, cache_disabled, is_running, choice) in [
            ("json-file", false, true, "Later"),
            ("local", false, false, "Later"),
            ("none", false, true, "Nowhere(\"log driver none keeps nothing\")"),
            ("journald", false, true, "Api(\"log driver journald keeps no file\")"),
            ("syslog", false, false, "Later"),
            ("syslog", false, true, "Api(\"log driver syslog keeps no file\")"),
            ("syslog", true, false, "Api(\"log driver syslog keeps no file\")"),
        ] {
            let driver = Some(driver(name, cache_disabled));
            assert_eq!(said(driver, is_running, Mode::Hybrid), choice, "{name}");
        }
        assert_eq!(said(None, true, Mode::Hybrid), "Later");
        let in_file_mode = said(Some(driver("journald", false)), true, Mode::File);
        assert!(in_file_mode.contains("Mode file never asks"), "{in_file_mode}");
    }
}
