//! `check --ask`: what a running daemon says of its containers, compared with what is found.
//!
//! The daemon's list is read before the folders are, so that a container which is created meanwhile
//! is not missed in them; one that is removed meanwhile is unknown to the daemon afterwards.

use std::collections::HashSet;

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::log_driver::PODMANS_FILE_DRIVER;
use fluent_bit_container_logs::runtime::Api;

use super::api::Daemon;
use super::containers::{Containers, State};
use super::{count, Finding};

/// The most names in a finding.
const MOST_NAMES: usize = 5;
/// Of a container that belongs to a pod: it is found in the pod's folder, under another id, or, if it
/// only holds the pod's namespaces, nowhere.
const POD_LABEL: &str = "io.kubernetes.pod.name";

/// A daemon, and the containers that it lists.
pub struct Asked {
    api: Api,
    answer: Result<(Daemon, Vec<ContainerId>), String>,
}

/// What there is to say of a daemon.
pub struct Said {
    /// Which one.
    pub api: Api,
    /// Whether it answered.
    pub has_answered: bool,
    /// In words.
    pub text: String,
}

/// Asks each daemon that has a socket here.
pub fn ask(config: &Config) -> Vec<Asked> {
    let with_socket = Api::ALL.into_iter().filter_map(|api| {
        let socket = config.socket(api).filter(|socket| socket.exists())?;
        let daemon = Daemon::new(socket);
        let answer = daemon.and_then(|daemon| Ok((daemon.list()?, daemon)));
        Some(Asked {
            api,
            answer: answer.map(|(listed, daemon)| (daemon, listed)),
        })
    });
    with_socket.collect()
}

/// Compares its list with the containers that were found.
pub fn compare(asked: Asked, containers: &Containers, findings: &mut Vec<Finding>) -> Said {
    let Asked { api, answer } = asked;
    let title = api.title();
    let (daemon, listed) = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            return Said {
                api,
                has_answered: false,
                text: format!("does not answer: {reason}"),
            }
        }
    };
    let found: HashSet<&str> = containers.all().map(|seen| &*seen.id).collect();
    let mut unseen = Vec::new();
    for id in &listed {
        let text = id.to_string();
        // One that is gone by now is missed by nobody.
        let Ok(inspected) = daemon.inspect(*id) else {
            continue;
        };
        if !found.contains(&*text) {
            if !inspected.labels.contains_key(POD_LABEL) {
                unseen.push(inspected.name);
            }
            continue;
        }
        let here = containers.all().find(|seen| seen.id == text);
        if let Some(seen) = here.filter(|seen| {
            !seen.driver.is_empty()
                && !inspected.log_driver.is_empty()
                && as_reported(api, &seen.driver) != inspected.log_driver
        }) {
            let problem = format!(
                "its files name the log driver {}, but {title}'s daemon {}",
                seen.driver, inspected.log_driver
            );
            let about = format!("container {}", seen.name);
            let fix = "if its lines are missing, restart the daemon or create the container again";
            findings.push(Finding::minor(about, problem, fix));
        }
    }
    if !unseen.is_empty() {
        unseen.sort();
        let more = match unseen.len().saturating_sub(MOST_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = unseen.iter().take(MOST_NAMES).cloned();
        let about = format!("{}{more}", names.collect::<Vec<_>>().join(", "));
        let (it, is) = match unseen.len() {
            1 => ("it", "it is"),
            _ => ("them", "they are"),
        };
        let problem =
            format!("{title}'s daemon has {it}, but {is} in none of the folders that are read");
        findings.push(Finding::fatal(about, problem, fix(api)));
    }
    let known: HashSet<String> = listed.iter().map(ToString::to_string).collect();
    report_unknown(api, &daemon, &known, containers, findings);
    Said {
        api,
        has_answered: true,
        text: match unseen.len() {
            0 => format!("lists {}; all of them are found here", count(listed.len())),
            1 => format!("lists {}; 1 of them is not found here", count(listed.len())),
            more => format!(
                "lists {}; {more} of them are not found here",
                count(listed.len())
            ),
        },
    }
}

/// How a daemon reports a log driver: Podman's service presents its own `k8s-file` as Docker's
/// `json-file`.
fn as_reported(api: Api, driver: &str) -> &str {
    match (api, driver) {
        (Api::Podman, PODMANS_FILE_DRIVER) => "json-file",
        (_, driver) => driver,
    }
}

/// Containers that are found in folders of the runtime and that its daemon does not have.
fn report_unknown(
    api: Api,
    daemon: &Daemon,
    known: &HashSet<String>,
    containers: &Containers,
    findings: &mut Vec<Finding>,
) {
    let groups = containers.groups.iter();
    let ours = groups.filter(|group| group.runtime.api() == Some(api));
    let listed = ours.filter(|group| matches!(group.state, State::Listed));
    for seen in listed.flat_map(|group| &group.seen) {
        // Those of users have daemons of their own.
        if known.contains(&seen.id) || seen.dir.is_of_user() {
            continue;
        }
        let Some(id) = ContainerId::parse(&seen.id) else {
            continue;
        };
        // Created since the list, or removed since its folder was seen.
        if daemon.inspect(id).is_ok() || !seen.dir.is_folder() {
            continue;
        }
        let title = api.title();
        findings.push(Finding::minor(
            format!("container {}", seen.name),
            format!(
                "{title}'s daemon does not have it: its folder is a remnant, or belongs to another daemon"
            ),
            format!(
                "remove {}, or set the root and the socket of the same daemon",
                seen.dir.display()
            ),
        ));
    }
}

fn fix(api: Api) -> &'static str {
    match api {
        Api::Docker => {
            "set Docker_Root (--docker-root) to the folder that docker info -f '{{.DockerRootDir}}' prints, as it is mounted here; for rootless Docker set Docker_Users"
        }
        Api::Podman => {
            "set Podman_Root (--podman-root) to the folder that podman info -f '{{.Store.GraphRoot}}' prints, as it is mounted here"
        }
    }
}
