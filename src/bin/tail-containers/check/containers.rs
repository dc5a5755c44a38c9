//! The containers of each runtime, and where the log of each would be read.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fluent_bit_container_logs::config::{Config, Mode};
use fluent_bit_container_logs::ffi::journal::library;
use fluent_bit_container_logs::runtime;
use fluent_bit_container_logs::runtime::file::is_permanent;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::log_driver::LogDriver;
use fluent_bit_container_logs::runtime::metadata::{ContainerMetadata, MetadataError};
use fluent_bit_container_logs::runtime::name_glob::names_of;
use fluent_bit_container_logs::runtime::own_container::OwnContainer;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::runtime::{
    network_file_system, Api, Found, Hides, LogFiles, Runtime,
};
use fluent_bit_container_logs::source::choose::{
    choose, find_logs, lacks_current, reads_files, Facts, FileState,
};
use fluent_bit_container_logs::source::journal::files::probe;
use fluent_bit_container_logs::telemetry::metrics::Unread;

use super::advice::Advice;
use super::copied;
use super::metadata::{self, report_cut, report_labels};
use super::outside;
use super::remedy::Place;
use super::seen::{unreadable, Seen};
use super::Finding;

/// How often metadata is read again that the runtime is writing.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// A rotation takes less.
const ROTATION: Duration = Duration::from_millis(100);

/// The state of a runtime's root.
pub enum State {
    /// It does not exist.
    Missing(io::Error),
    /// It exists but cannot be read.
    Unreadable(io::Error),
    /// It was listed.
    Listed,
}

/// One runtime and its containers.
pub struct Group {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The runtime's name.
    pub title: &'static str,
    /// The folder with its containers.
    pub root: PathBuf,
    /// All such folders, if there are several.
    pub places: Vec<PathBuf>,
    /// Whether that folder can be listed.
    pub state: State,
    /// The containers.
    pub seen: Vec<Seen>,
    /// Folders in which containers appear and disappear.
    pub folders: Vec<SafePath>,
    /// Number of folders that cannot be read.
    pub unreadable: usize,
    /// Whether it is worth a line: it exists, somebody says where it is, or it is missed.
    pub is_shown: bool,
    /// The API that knows them as well, if it may be used.
    pub api: Option<Api>,
}

impl Group {
    /// Whether the runtime's folder does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing(_))
    }
}

/// All containers found.
pub struct Containers {
    /// By runtime.
    pub groups: Vec<Group>,
    /// Whether systemd's journal can be read, if a container needs it.
    pub journal: OnceCell<io::Result<()>>,
    own: OwnContainer,
}

impl Containers {
    /// Lists the containers of every selected runtime.
    pub fn look(config: &Config, place: &Place, findings: &mut Vec<Finding>) -> Containers {
        let own = if config.exclude_self {
            OwnContainer::find()
        } else {
            OwnContainer::default()
        };
        let mut containers = Containers {
            groups: Vec::new(),
            journal: OnceCell::new(),
            own,
        };
        let all = runtime::all(&config.runtimes).into_iter();
        let mut listed: Vec<_> = all
            .map(|runtime| {
                let root = runtime.root();
                let listing = runtime.list(&root);
                (runtime, root, listing)
            })
            .collect();
        copied::keep_one_of_each(&mut listed, findings);
        for (runtime, root, listing) in listed {
            let advice = Advice::of(place, &*runtime);
            let mut group = Group {
                runtime: Arc::clone(&runtime),
                title: runtime.title(),
                state: State::Listed,
                seen: Vec::new(),
                folders: Vec::new(),
                places: runtime.places(&root),
                unreadable: 0,
                is_shown: true,
                api: runtime
                    .api()
                    .filter(|api| config.mode != Mode::File && config.socket(*api).is_some()),
                root,
            };
            match listing {
                Ok(listing) => {
                    group.folders = listing.folders;
                    for found in listing.containers {
                        group
                            .seen
                            .push(containers.see(&*runtime, &found, config, advice, findings));
                    }
                    // Whether a database can be read is known once its containers were looked for.
                    let mut unreadable = listing.unreadable;
                    if group.seen.iter().any(|seen| seen.lacks_metadata) {
                        let again = runtime.list(&group.root);
                        unreadable = again.map_or(unreadable, |again| again.unreadable);
                    }
                    group.unreadable = unreadable.len();
                    for it in unreadable {
                        let about = it.path.display().to_string();
                        let is_missing = it.error.kind() == io::ErrorKind::NotFound;
                        let fix = match it.hides {
                            Hides::ContainerIds if is_missing => place.for_missing_links(&it.path),
                            Hides::LinkedLogs(_) if is_missing => place.for_linked_logs(),
                            Hides::ImagesAndLabels => {
                                place.for_containerds_database(&it.path, &it.error)
                            }
                            Hides::MovedContainers | Hides::UsersMovedContainers(_) => {
                                advice.for_settings(&it.error)
                            }
                            Hides::UnknownUser => advice.for_unknown_user(),
                            Hides::Labels | Hides::Names => advice.for_labels(&it.error),
                            _ => advice.for_error(&it.error),
                        };
                        let problem = format!("{}; {}", it.error, it.hides);
                        findings.push(match it.hides {
                            Hides::ContainerIds
                            | Hides::Labels
                            | Hides::Names
                            | Hides::ImagesAndLabels
                            | Hides::RemappedContainers => Finding::minor(about, problem, fix),
                            Hides::LinkedLogs(_) => {
                                let reason = Unread::of_error(&it.error);
                                Finding::fatal(about, problem, fix).because(reason)
                            }
                            _ => Finding::fatal(about, problem, fix),
                        });
                    }
                    if let Some(name) = network_file_system(&group.root) {
                        findings.push(Finding::minor(
                            group.root.display().to_string(),
                            format!("it is on a network file system ({name}), which has no change notification: logs are polled four times a second"),
                            "run Fluent Bit on the machine that the containers run on",
                        ));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    group.state = State::Missing(error)
                }
                Err(error) => group.state = State::Unreadable(error),
            }
            containers.groups.push(group);
        }
        containers.hide_unused(config);
        containers.report_roots(config, place, findings);
        containers.report_other_root(config, findings);
        containers.report_empty_mounts(findings);
        outside::report_shared(&containers, findings);
        containers
    }

    fn see(
        &self,
        runtime: &dyn Runtime,
        found: &Found,
        config: &Config,
        advice: Advice<'_>,
        findings: &mut Vec<Finding>,
    ) -> Seen {
        let mut metadata = runtime.metadata(found, 0);
        while matches!(metadata, Err(MetadataError::Busy { .. })) {
            std::thread::sleep(BUSY_INTERVAL);
            metadata = runtime.metadata(found, 0);
        }
        let is_said_to_run = runtime.last_run(found).is_running == Some(true);
        let metadata = metadata.unwrap_or_else(|error| {
            metadata::report_unreadable(found, error, metadata::WITHOUT_METADATA, advice, findings);
            ContainerMetadata::nameless(found)
        });
        report_labels(&metadata, config, findings);
        let driver = runtime.log_driver(found).unwrap_or_else(|error| {
            metadata::report_unreadable(found, error, metadata::WITHOUT_DRIVER, advice, findings);
            None
        });
        let mut seen = self.judged(&found.id, &metadata, driver.as_ref(), &found.dir, config);
        seen.is_said_to_run = is_said_to_run;
        if seen.source.is_empty() {
            let reads_files = reads_files(config, runtime.api());
            let logs = match reads_files {
                true => find_logs(runtime, found, driver.as_ref()),
                false => Ok(Vec::new()),
            };
            // Those of an earlier driver are read first.
            let writes = |files: &LogFiles| runtime.writes(driver.as_ref()?, files);
            let (log, earlier) = match logs {
                Err(failure) => (Err(failure), Vec::new()),
                Ok(logs) => {
                    let (earlier, mut now): (Vec<_>, Vec<_>) = logs
                        .into_iter()
                        .partition(|files| writes(files) == Some(false));
                    (now.pop().map_or(Ok(None), find_readable), earlier)
                }
            };
            let facts = Facts {
                runtime,
                found,
                config,
                driver: driver.as_ref(),
                is_running: metadata.is_running,
                is_said_to_run,
                files: match &log {
                    _ if !reads_files => FileState::Ignored,
                    Ok(Some(files)) if has_no_current(files) => FileState::Rotated,
                    Ok(Some(_)) => FileState::Readable,
                    Ok(None) if !earlier.is_empty() => FileState::Left,
                    Ok(None) => FileState::Missing,
                    Err((_, error)) => FileState::Unreadable {
                        error,
                        holds_deleted: false,
                    },
                },
                journal: &|| self.ask_journal(config),
            };
            let choice = choose(&facts);
            seen.take(choice, &facts, &log, advice, findings);
            seen.take_earlier(&earlier, advice, findings);
            report_cut(&found.id, metadata, config, findings);
        }
        seen
    }

    fn ask_journal(&self, config: &Config) -> Result<(), String> {
        let asked = self
            .journal
            .get_or_init(|| probe(&*library(), &config.journal));
        asked.as_ref().map_err(ToString::to_string).copied()
    }

    /// A container whose source is empty, or says which rule excludes it.
    pub fn judged(
        &self,
        id: &ContainerId,
        metadata: &ContainerMetadata,
        driver: Option<&LogDriver>,
        dir: &SafePath,
        config: &Config,
    ) -> Seen {
        let driver = driver.map_or("", |driver| &driver.name);
        let excluded = config.selection.excludes(&self.own, id, metadata, driver);
        let rules = config.selection.rules();
        let matches = rules.map(|(_, rule)| rule.fits(metadata, driver)).collect();
        let named = config.selection.names.iter();
        Seen {
            name: metadata.title(),
            id: id.to_string(),
            names: names_of(metadata),
            is_named: named.map(|name| name.fits(id, metadata)).collect(),
            is_excluded: excluded.is_some(),
            image: metadata.image.clone(),
            driver: driver.to_owned(),
            source: excluded.map_or(String::new(), |reason| format!("not read: {reason}")),
            needs_api: false,
            started: None,
            is_said_to_run: false,
            files: None,
            lacks_metadata: metadata.is_partial,
            dir: dir.clone(),
            matches,
            blind: config.selection.without_effect(metadata),
        }
    }

    /// All containers.
    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.groups.iter().flat_map(|group| &group.seen)
    }
}

/// Whether a log has no current file, and not only because it is being rotated.
fn has_no_current(files: &LogFiles) -> bool {
    lacks_current(files) && {
        std::thread::sleep(ROTATION);
        lacks_current(files)
    }
}

/// The log of a container, as the reader finds it: it reads no file of a log while another one
/// cannot be opened, unless that is damaged for ever.
fn find_readable(files: LogFiles) -> Result<Option<LogFiles>, (LogFiles, io::Error)> {
    let errors = unreadable(&files).into_iter().map(|(_, error)| error);
    match errors.into_iter().find(|error| !is_permanent(error)) {
        Some(error) => Err((files, error)),
        None => Ok(Some(files)),
    }
}
