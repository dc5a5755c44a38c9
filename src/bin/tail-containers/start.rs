//! Before anything is read: whether anything can be, and whether each name is that of a container.

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::runtime::file::open_regular;
use fluent_bit_container_logs::runtime::log_driver::LogDriver;
use fluent_bit_container_logs::runtime::metadata::ContainerMetadata;
use fluent_bit_container_logs::runtime::own_container::OwnContainer;
use fluent_bit_container_logs::runtime::{self, Found, Runtime};
use fluent_bit_container_logs::source::choose::{find_logs, reads_files};
use fluent_bit_container_logs::source::file::listing;
use fluent_bit_container_logs::telemetry::metrics::Unread;

use crate::arguments::COMMANDS;
use crate::check::{Finding, Survey};
use crate::near::near;

/// The most containers of which the names are looked up before the first line.
const MOST_NAMES: usize = 256;

/// What a start finds.
pub enum Outlook {
    /// Go on; these complaints concern names.
    Go {
        /// One for each name that is of no container, and one if there is nothing to print yet.
        complaints: Vec<String>,
    },
    /// Nothing can be read.
    Nothing(String),
}

/// Looks at the containers. Where one can be read and none is named, it is the only one that is
/// looked at.
pub fn look(config: &Config) -> Outlook {
    let names = &config.selection.names;
    if names.is_empty() && is_any_readable(config) {
        return Outlook::Go {
            complaints: Vec::new(),
        };
    }
    let survey = Survey::of(config);
    let has_containers = survey.containers.all().next().is_some();
    let unmet = names.iter().enumerate().filter(|(index, _)| {
        let mut all = survey.containers.all();
        !all.any(|seen| seen.is_named.get(*index) == Some(&true))
    });
    let complaints: Vec<String> = unmet
        .map(|(_, name)| complaint(name.text(), has_containers, &survey))
        .collect();
    let is_named = complaints.len() < names.len() || names.is_empty();
    let complaints = [complaints, waits_for(config, &survey, is_named)].concat();
    let fatal: Vec<&Finding> = survey.fatal().collect();
    // Containers that can be read may come, unless a right or a root is missing.
    let is_blocked = |it: &&Finding| is_denial(it) || survey.is_root(&it.about);
    let may_come = config.follow && !fatal.iter().any(is_blocked);
    if survey.reads_any() || may_come || (has_containers && !is_named) {
        return Outlook::Go { complaints };
    }
    match fatal.split_first() {
        None => Outlook::Go { complaints },
        Some((first, others)) => Outlook::Nothing(nothing(first, others.len())),
    }
}

/// What is said because there is nothing to print yet: that it waits, or that it found nothing.
fn waits_for(config: &Config, survey: &Survey, is_named: bool) -> Vec<String> {
    let all = survey.containers.all();
    let (excluded, read): (Vec<_>, Vec<_>) = all.partition(|seen| seen.is_excluded);
    let nothing = match (read.len(), excluded.len()) {
        (0, 0) => Some("no container yet".to_owned()),
        (0, 1) => Some("the rules exclude the only container".to_owned()),
        (0, excluded) => Some(format!(
            "none of the {excluded} containers matches the rules"
        )),
        _ if !is_named => Some("no container has such a name yet".to_owned()),
        _ => None,
    };
    let nothing = nothing.into_iter();
    match config.follow {
        true => nothing
            .map(|nothing| format!("{nothing}; waiting (Ctrl-C to quit)"))
            .collect(),
        false if excluded.is_empty() || !is_named || config.selection.include.is_empty() => {
            Vec::new()
        }
        false => nothing.collect(),
    }
}

fn is_denial(finding: &Finding) -> bool {
    finding.reason == Some(Unread::Permission)
}

fn nothing(first: &Finding, others: usize) -> String {
    let is_root = rustix::process::geteuid().is_root();
    let fix = match is_denial(first) && !is_root {
        true => "run with sudo",
        false => &first.fix,
    };
    let more = match others {
        0 => String::new(),
        others => format!("; and {others} more, which tail-containers check lists"),
    };
    let Finding { about, problem, .. } = first;
    format!("nothing can be read: {about}: {problem}: {fix}{more}")
}

fn complaint(name: &str, has_containers: bool, survey: &Survey) -> String {
    if !has_containers {
        return format!("no container is called {name}: there are no containers");
    }
    let names = survey.containers.all().flat_map(|seen| &seen.names);
    let mut meant: Vec<String> = near(name, names.map(String::as_str))
        .into_iter()
        .map(str::to_owned)
        .collect();
    let commands = near(name, COMMANDS);
    meant.extend(commands.iter().map(|it| format!("the command {it}")));
    match &meant[..] {
        [] => format!("no container is called {name}"),
        meant => format!(
            "no container is called {name}; did you mean {}?",
            meant.join(" or ")
        ),
    }
}

/// Whether a container that is to be read has a log that can be opened.
fn is_any_readable(config: &Config) -> bool {
    let own = own(config);
    runtime::all(&config.runtimes).iter().any(|runtime| {
        reads_files(config, runtime.api())
            && runtime.list(&runtime.root()).is_ok_and(|listing| {
                let mut found = listing.containers.iter();
                found.any(|found| is_readable(&**runtime, found, &own, config))
            })
    })
}

/// The names of the containers that are to be printed; none if there are so many that looking at
/// all of them would hold up the first line.
pub fn names(config: &Config) -> Vec<String> {
    let own = own(config);
    let runtimes = runtime::all(&config.runtimes);
    let listed: Vec<(&dyn Runtime, Found)> = runtimes
        .iter()
        .filter_map(|runtime| Some((&**runtime, runtime.list(&runtime.root()).ok()?.containers)))
        .flat_map(|(runtime, found)| found.into_iter().map(move |found| (runtime, found)))
        .take(MOST_NAMES + 1)
        .collect();
    if listed.len() > MOST_NAMES {
        return Vec::new();
    }
    let printed = listed.iter().filter_map(|(runtime, found)| {
        let driver = runtime.log_driver(found).unwrap_or_default();
        selected(*runtime, found, driver.as_ref(), &own, config)
    });
    printed.map(|metadata| metadata.title()).collect()
}

fn own(config: &Config) -> OwnContainer {
    match config.exclude_self {
        true => OwnContainer::find(),
        false => OwnContainer::default(),
    }
}

/// What is known of the container, unless it is excluded.
fn selected(
    runtime: &dyn Runtime,
    found: &Found,
    driver: Option<&LogDriver>,
    own: &OwnContainer,
    config: &Config,
) -> Option<ContainerMetadata> {
    let metadata = runtime.metadata(found, 0);
    let metadata = metadata.unwrap_or_else(|_| ContainerMetadata::nameless(found));
    let name = driver.map_or("", |driver| &driver.name);
    let excluded = config.selection.excludes(own, &found.id, &metadata, name);
    excluded.is_none().then_some(metadata)
}

fn is_readable(runtime: &dyn Runtime, found: &Found, own: &OwnContainer, config: &Config) -> bool {
    let driver = runtime.log_driver(found).unwrap_or_default();
    let logs = find_logs(runtime, found, driver.as_ref()).unwrap_or_default();
    let mut files = logs.iter().filter_map(|log| listing::list(log).ok());
    selected(runtime, found, driver.as_ref(), own, config).is_some()
        && files.any(|listed| {
            let mut files = listed.files.iter();
            files.any(|file| open_regular(&file.path).is_ok())
        })
}
