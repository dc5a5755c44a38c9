//! Checks whether an API answers, only if a container needs it, and adds the containers
//! that it knows if their folder cannot be read.

use std::path::Path;
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::time::Duration;

use fluent_bit_container_logs::config::socket::DockerSocket;
use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::format::position::{Stream, Timestamp};
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::log_driver::LogDriver;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::runtime::{Api, Found};
use fluent_bit_container_logs::source::api::{
    without_socket, ContainerAction, DockerThread, Inspected, StreamEnd, StreamSink,
};
use fluent_bit_container_logs::source::choose::{choose, Facts, FileState};
use fluent_bit_container_logs::telemetry::metrics::Unread;

use super::advice::Advice;
use super::containers::{Containers, State};
use super::remedy::Place;
use super::{count, Finding};

/// How long to wait for an answer; the thread itself gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether an API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKind {
    /// The option with its socket is off.
    Off,
    /// Nothing needs it.
    NotUsed,
    /// It answers.
    Answers,
    /// It does not.
    Silent,
}

impl ApiKind {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ApiKind::Off => "off",
            ApiKind::NotUsed => "not_used",
            ApiKind::Answers => "answers",
            ApiKind::Silent => "does_not_answer",
        }
    }
}

/// The state of an API.
pub struct ApiState {
    /// In one word.
    pub kind: ApiKind,
    /// For the page.
    pub text: String,
}

impl ApiState {
    fn new(kind: ApiKind, text: String) -> ApiState {
        ApiState { kind, text }
    }
}

/// Asks the API if needed, and adds the containers that only it knows. Returns the state
/// of the API for the page.
pub fn ask(
    api: Api,
    config: &Config,
    containers: &mut Containers,
    place: &Place,
    findings: &mut Vec<Finding>,
) -> ApiState {
    let ours = containers
        .groups
        .iter()
        .filter(|group| group.api == Some(api));
    let needing = ours
        .flat_map(|group| &group.seen)
        .filter(|seen| seen.needs_api)
        .count();
    let unseen = containers.groups.iter().position(|group| {
        let is_there = !matches!(group.state, State::Listed);
        is_there
            && group.api == Some(api)
            && findings
                .iter()
                .any(|finding| finding.about == group.root.display().to_string())
    });
    let Some(socket) = config.socket(api) else {
        return ApiState::new(ApiKind::Off, "off".to_owned());
    };
    let shown = format!("unix://{}", socket.display());
    if needing == 0 && unseen.is_none() {
        let text = format!("not used: no container needs it ({shown})");
        return ApiState::new(ApiKind::NotUsed, text);
    }
    let answer = Daemon::new(socket).and_then(|daemon| Ok((daemon.list()?, daemon)));
    let (listed, daemon) = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            if needing > 0 {
                let about = format!("{} available only through the API", count(needing));
                let finding = Finding::fatal(about, reason.clone(), place.for_socket(api, socket));
                findings.push(finding.because(Unread::ApiUnavailable));
            }
            let reason = without_socket(socket, reason);
            let text = format!("{shown} does not answer: {reason}");
            return ApiState::new(ApiKind::Silent, text);
        }
    };
    let mut streamed = needing;
    if let Some(index) = unseen {
        let root = containers.groups[index].root.clone();
        let runtime = Arc::clone(&containers.groups[index].runtime);
        let advice = Advice::of(place, &*runtime);
        for id in listed {
            let Ok(inspected) = daemon.inspect(id) else {
                continue;
            };
            let driver = LogDriver {
                name: inspected.log_driver.clone(),
                has_cache_disabled: false,
            };
            let metadata = inspected.metadata(api);
            let mut seen = containers.judged(
                &id,
                &metadata,
                Some(&driver),
                &SafePath::from(&root),
                config,
            );
            if seen.source.is_empty() {
                let facts = Facts {
                    runtime: &*runtime,
                    found: &Found::new(id, SafePath::from(&root), root.clone()),
                    config,
                    driver: Some(&driver),
                    is_running: metadata.is_running,
                    is_said_to_run: metadata.is_running,
                    files: FileState::Hidden,
                };
                seen.take(choose(&facts), &facts, &Ok(None), advice, findings);
                streamed += usize::from(seen.needs_api);
            }
            containers.groups[index].seen.push(seen);
        }
        // They are read through the API; that files would be cheaper is still worth knowing.
        let about = root.display().to_string();
        for finding in findings.iter_mut().filter(|finding| finding.about == about) {
            finding.is_fatal = false;
            finding
                .problem
                .push_str("; its containers are read through the API");
        }
    }
    let text = format!("{shown} answers; {} read through it", count(streamed));
    ApiState::new(ApiKind::Answers, text)
}

/// The daemon, queried with one request at a time.
pub struct Daemon(DockerThread);

impl Daemon {
    /// The daemon behind this socket, which is not asked yet.
    pub fn new(socket: &Path) -> Result<Daemon, String> {
        let thread = DockerThread::start(DockerSocket::Unix(socket.to_owned()), Box::new(Nobody));
        thread.map(Daemon).map_err(|error| error.to_string())
    }

    /// All of its containers.
    pub fn list(&self) -> Result<Vec<ContainerId>, String> {
        await_answer(|answer| self.0.list(move |listed| drop(answer.send(listed))))
    }

    /// What it knows of one.
    pub fn inspect(&self, id: ContainerId) -> Result<Inspected, String> {
        await_answer(|answer| {
            self.0
                .inspect(id, move |inspected| drop(answer.send(inspected)))
        })
    }
}

fn await_answer<T>(ask: impl FnOnce(Sender<Result<T, String>>)) -> Result<T, String> {
    let (answer, answered) = channel();
    ask(answer);
    answered
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Err("it does not answer".to_owned()))
}

/// A sink that is never called, because nothing is followed.
struct Nobody;

impl StreamSink for Nobody {
    fn has_space(&mut self) -> bool {
        false
    }

    fn entry(&mut self, _: &ContainerId, _: Stream, _: Timestamp, _: &[u8], _: bool) {}

    fn flush(&mut self, _: &ContainerId) {}

    fn ended(&mut self, _: &ContainerId, _: StreamEnd) {}

    fn lost(&mut self, _: &ContainerId) {}

    fn event(&mut self, _: &ContainerId, _: ContainerAction) {}

    fn daemon(&mut self, _: Result<(), String>) {}

    fn since(&mut self, _: &ContainerId) -> Option<Timestamp> {
        None
    }
}
