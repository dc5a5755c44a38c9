//! The containers of each runtime, and where the log of each would be read.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fluent_bit_container_logs::config::labels::Hints;
use fluent_bit_container_logs::config::{Config, Mode};
use fluent_bit_container_logs::pipeline::template::RecordTemplate;
use fluent_bit_container_logs::runtime;
use fluent_bit_container_logs::runtime::docker::{ContainerMetadata, LogDriver, MetadataError};
use fluent_bit_container_logs::runtime::file::{is_shortage, open_regular};
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::own_container::OwnContainer;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::runtime::{
    network_file_system, Api, Found, Hides, LogFiles, Runtime, RuntimeChoice,
};
use fluent_bit_container_logs::source::choose::{
    choose, find_log, kind_of, Choice, Facts, FileState,
};
use fluent_bit_container_logs::source::file::listing;
use fluent_bit_container_logs::telemetry::metrics::Unread;

use super::remedy::Place;
use super::Finding;
use crate::terminal::harmless;

/// Drivers of Docker's own that send away what they get. The API gives only what is
/// in Docker's cache of it.
const SENDING_DRIVERS: [&str; 8] = [
    "awslogs",
    "etwlogs",
    "fluentd",
    "gcplogs",
    "gelf",
    "logentries",
    "splunk",
    "syslog",
];

/// What can be said of a runtime's root.
pub enum State {
    /// There is none.
    Missing,
    /// It is there.
    Unreadable(io::Error),
    /// Its containers are known.
    Listed,
}

/// One container.
pub struct Seen {
    /// What messages call it.
    pub name: String,
    /// Its image, as far as it is known.
    pub image: String,
    /// Its log driver, likewise.
    pub driver: String,
    /// Where it is read from, in words.
    pub source: String,
    /// Whether that is the API, or nothing but a look shows what it is.
    pub needs_api: bool,
    /// Its files, if it is read from those, and the folder that is watched.
    pub files: Option<LogFiles>,
    /// Its folder.
    pub dir: SafePath,
}

impl Seen {
    /// As a row of the page.
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
}

/// One runtime and its containers.
pub struct Group {
    runtime: Arc<dyn Runtime>,
    /// What it is called.
    pub title: &'static str,
    /// Where it keeps them.
    pub root: PathBuf,
    /// Whether that can be listed.
    pub state: State,
    /// The containers.
    pub seen: Vec<Seen>,
    /// Folders in which they come and go.
    pub folders: Vec<SafePath>,
    /// How many of them cannot be read.
    pub unreadable: usize,
    /// The API that knows them, too, if it may be asked.
    pub api: Option<Api>,
}

impl Group {
    /// Whether the runtime is not used here.
    pub fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing)
    }
}

/// All that was found.
pub struct Containers {
    /// By runtime.
    pub groups: Vec<Group>,
    own: OwnContainer,
}

impl Containers {
    /// Looks at every runtime that is chosen.
    pub fn look(config: &Config, place: &Place, findings: &mut Vec<Finding>) -> Containers {
        let own = if config.exclude_self {
            OwnContainer::find()
        } else {
            OwnContainer::default()
        };
        let mut containers = Containers {
            groups: Vec::new(),
            own,
        };
        let mut known = HashSet::new();
        for runtime in runtime::all(&config.runtimes) {
            let root = runtime.root();
            let mut group = Group {
                runtime: Arc::clone(&runtime),
                title: runtime.title(),
                state: State::Listed,
                seen: Vec::new(),
                folders: Vec::new(),
                unreadable: 0,
                api: runtime
                    .api()
                    .filter(|api| config.mode != Mode::File && config.socket(*api).is_some()),
                root,
            };
            match runtime.list(&group.root) {
                Ok(listing) => {
                    group.folders = listing.folders;
                    group.unreadable = listing.unreadable.len();
                    for it in listing.unreadable {
                        let (about, fix) =
                            (it.path.display().to_string(), place.for_error(&it.error));
                        let problem = format!("{}; {}", it.error, it.hides);
                        findings.push(match it.hides {
                            Hides::ContainerIds => Finding::minor(about, problem, fix),
                            _ => Finding::fatal(about, problem, fix),
                        });
                    }
                    for found in listing
                        .containers
                        .into_iter()
                        .filter(|found| known.insert(found.id))
                    {
                        group
                            .seen
                            .push(containers.see(&*runtime, &found, config, place, findings));
                    }
                    if let Some(name) = network_file_system(&group.root) {
                        findings.push(Finding::minor(
                            group.root.display().to_string(),
                            format!("it is on a network file system ({name}), which tells of no change: logs are read four times a second"),
                            "read on the machine that the containers run on",
                        ));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    group.state = State::Missing
                }
                Err(error) => group.state = State::Unreadable(error),
            }
            containers.groups.push(group);
        }
        containers.report_roots(config, place, findings);
        containers
    }

    /// A runtime that is not used here is not missed, unless there is none at all.
    fn report_roots(&self, config: &Config, place: &Place, findings: &mut Vec<Finding>) {
        let is_any_there = self
            .groups
            .iter()
            .any(|group| matches!(group.state, State::Listed));
        // Of root's Podman and the users' one is enough.
        let is_auto = config.runtimes.choice == RuntimeChoice::Auto
            || (!config.runtimes.podman_users.is_empty() && is_any_there);
        for group in &self.groups {
            let about = group.root.display().to_string();
            match &group.state {
                State::Listed => {}
                State::Missing if is_auto && !group.runtime.is_missed(is_any_there) => {}
                State::Missing => {
                    let fix = place.for_missing_root(group.title, &group.root, config);
                    let finding = Finding::fatal(about, "there is no such folder", fix);
                    findings.push(finding.because(Unread::Missing));
                }
                State::Unreadable(error) => {
                    let finding = Finding::fatal(about, error.to_string(), place.for_error(error));
                    findings.push(finding.because(Unread::of_error(error)));
                }
            }
        }
    }

    fn see(
        &self,
        runtime: &dyn Runtime,
        found: &Found,
        config: &Config,
        place: &Place,
        findings: &mut Vec<Finding>,
    ) -> Seen {
        let metadata = runtime.metadata(found, 0).unwrap_or_else(|error| {
            if let MetadataError::Unreadable { path, reason } = error {
                let fix = match open_regular(&found.dir.at(&path)).err() {
                    Some(error) => place.for_error(&error),
                    None => "it is damaged; Docker writes it anew when the container is renamed or starts"
                        .to_owned(),
                };
                let problem = format!("{reason}; its records lack name and image");
                let finding = Finding::minor(path.display().to_string(), problem, fix);
                findings.push(finding.because(Unread::Metadata));
            }
            ContainerMetadata::nameless(found)
        });
        report_labels(&metadata, config, findings);
        let driver = runtime.log_driver(found);
        let mut seen = self.judged(&found.id, &metadata, driver.as_ref(), &found.dir, config);
        if seen.source.is_empty() {
            let log = find_log(runtime.logs(found));
            let facts = Facts {
                runtime,
                found,
                config,
                driver: driver.as_ref(),
                is_running: metadata.is_running,
                files: match &log {
                    Ok(Some(_)) => FileState::Readable,
                    Ok(None) => FileState::Missing,
                    Err((_, error)) => FileState::Unreadable {
                        error,
                        holds_deleted: false,
                    },
                },
            };
            let choice = choose(&facts);
            seen.take(choice, &facts, &log, place, findings);
            report_cut(&found.id, metadata, config, findings);
        }
        seen
    }

    /// A container without a source, unless the rules say that it is not read.
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
        Seen {
            name: metadata.title(),
            image: metadata.image.clone(),
            driver: driver.to_owned(),
            source: excluded.map_or(String::new(), |reason| format!("not read: {reason}")),
            needs_api: false,
            files: None,
            dir: dir.clone(),
        }
    }

    /// All containers.
    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.groups.iter().flat_map(|group| &group.seen)
    }
}

impl Seen {
    fn take(
        &mut self,
        choice: Choice,
        facts: &Facts<'_>,
        log: &Result<Option<LogFiles>, (LogFiles, io::Error)>,
        place: &Place,
        findings: &mut Vec<Finding>,
    ) {
        match choice {
            Choice::Files => {
                let Ok(Some(files)) = log else { return };
                self.source = kind_of(files).as_str().to_owned();
                for (path, error) in unreadable(files) {
                    let about = path.display().to_string();
                    let finding = Finding::fatal(about, error.to_string(), place.for_error(&error));
                    findings.push(finding.because(Unread::of_error(&error)));
                }
                self.files = Some(files.clone());
            }
            Choice::Unreadable => {
                let Err((files, error)) = log else { return };
                self.source = format!("nowhere: its file cannot be read: {error}");
                let (about, fix) = (files.path.display().to_string(), place.for_error(error));
                let finding = Finding::fatal(about, error.to_string(), fix);
                findings.push(finding.because(Unread::of_error(error)));
            }
            Choice::Api(reason) => {
                self.source = format!("api: {reason}");
                self.needs_api = true;
                self.report_driver(facts.driver, findings);
            }
            Choice::Ask(reason) => {
                self.source = format!("api: {reason}");
                self.needs_api = true;
            }
            Choice::Later if facts.is_running => {
                self.source = "file, which is not there yet".to_owned()
            }
            Choice::Later => self.source = "file, once it is started".to_owned(),
            Choice::Nowhere(unread, reason) => {
                self.source = format!("nowhere: {reason}");
                let fix = if unread == Unread::DriverNone {
                    "start it with another log driver (docker run --log-driver json-file), or leave it out (Exclude)"
                } else {
                    "allow the API (Mode hybrid, and Docker_Socket or Podman_Socket not off), start it with another log driver, or leave it out (Exclude)"
                };
                let finding = Finding::fatal(format!("container {}", self.name), reason, fix);
                findings.push(finding.because(unread));
            }
        }
    }

    /// The API does not give everything either.
    fn report_driver(&self, driver: Option<&LogDriver>, findings: &mut Vec<Finding>) {
        let Some(driver) = driver.filter(|driver| SENDING_DRIVERS.contains(&driver.name.as_str()))
        else {
            return;
        };
        let about = format!("container {}", self.name);
        let name = &driver.name;
        let finding = match driver.has_cache_disabled {
            true => Finding::fatal(
                about,
                format!(
                    "log driver {name} with cache-disabled=true leaves nothing that could be read"
                ),
                "start it without --log-opt cache-disabled=true",
            ),
            false => Finding::fatal(
                about,
                format!("log driver {name}, and no copy of what it sends"),
                "Docker keeps one since 20.10: update it and start the container anew",
            ),
        };
        findings.push(finding.because(Unread::DriverUnreadable));
    }
}

/// Labels that are there and do nothing.
fn report_labels(metadata: &ContainerMetadata, config: &Config, findings: &mut Vec<Finding>) {
    let read = Hints::read(&metadata.labels, config.label_hints);
    let about = || format!("container {}", metadata.title());
    for problem in read.problems {
        findings.push(Finding::minor(
            about(),
            problem,
            "mend the label; the option counts until then",
        ));
    }
    for label in read.ignored {
        findings.push(Finding::minor(
            about(),
            format!("label {label} is not obeyed"),
            "name it in Label_Hints, if whoever writes the image is trusted",
        ));
    }
}

/// What records will lack of what the runtime says.
fn report_cut(
    id: &ContainerId,
    metadata: ContainerMetadata,
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    let about = format!("container {}", metadata.title());
    let hints = Hints::read(&metadata.labels, config.label_hints).hints;
    if RecordTemplate::new(id, metadata, hints.record_options(config)).is_cut() {
        findings.push(Finding::minor(
            about,
            "its names, labels or variables are too long or too many; its records lack what is cut off",
            "shorten them, or name fewer in Labels and Env (docs/content.md, Bounds)",
        ));
    }
}

/// The rotated files that cannot be opened.
fn unreadable(files: &LogFiles) -> Vec<(PathBuf, io::Error)> {
    let listed = listing::list(files).unwrap_or_default();
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
