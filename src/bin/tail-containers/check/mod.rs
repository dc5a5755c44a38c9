//! `tail-containers check`: the containers on this machine, where each is read from, what
//! cannot be read, and how to fix that. It opens files but reads no log, leaves the
//! checkpoint unchanged, and asks the API only if a container cannot be read without it.

mod advice;
mod api;
mod containers;
mod damage;
mod limits;
mod remedy;
mod rules;
mod seen;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use comfy_table::presets::NOTHING;
use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::checkpoint::{inspect, CheckpointError, Inspection};

use crate::arguments::Arguments;
use crate::terminal::harmless;
use containers::{Containers, Group, State};
use fluent_bit_container_logs::runtime::Api;
use fluent_bit_container_logs::telemetry::metrics::Unread;
use remedy::Place;

/// A problem, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether something cannot be read because of it.
    pub is_fatal: bool,
    /// The container, file or folder concerned.
    pub about: String,
    /// What is wrong.
    pub problem: String,
    /// How to fix it.
    pub fix: String,
    /// The reason that the metric `containers_unread` would give.
    pub reason: Option<Unread>,
}

impl Finding {
    /// A problem because of which something cannot be read.
    pub fn fatal(
        about: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        let (about, problem, fix) = (about.into(), problem.into(), fix.into());
        Finding {
            is_fatal: true,
            about,
            problem,
            fix,
            reason: None,
        }
    }

    /// Adds the reason that the metric would give.
    pub fn because(self, reason: Unread) -> Finding {
        Finding {
            reason: Some(reason),
            ..self
        }
    }

    /// A problem worth knowing that does not prevent reading.
    pub fn minor(
        about: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding {
            is_fatal: false,
            ..Finding::fatal(about, problem, fix)
        }
    }
}

/// Prints the page; the exit code is 1 if something cannot be read.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let config = arguments.config().map_err(io::Error::other)?;
    let place = Place::find();
    let mut findings = Vec::new();
    let mut containers = Containers::look(&config, &place, &mut findings);
    let apis = Api::ALL.map(|api| {
        let state = api::ask(api, &config, &mut containers, &place, &mut findings);
        let mut groups = containers.groups.iter();
        let is_docker = api == Api::Docker && groups.any(|it| it.runtime.api() == Some(api));
        // Podman's API is of no interest on a machine without Podman.
        let is_used = containers
            .groups
            .iter()
            .any(|group| group.api == Some(api) && !group.is_missing());
        (
            format!("{}'s API", api.title()),
            state,
            is_used || is_docker,
        )
    });
    let mut page = String::new();
    for group in &containers.groups {
        put_group(&mut page, group);
    }
    for (what, state, _) in apis.iter().filter(|(_, _, is_shown)| *is_shown) {
        put(&mut page, format_args!("{what:<14}{state}\n"));
    }
    for (what, state) in [
        ("Notification", limits::watches(&containers, &mut findings)),
        (
            "Open files",
            limits::descriptors(&containers, &place, &mut findings),
        ),
        ("DB", checkpoint(&config, &mut findings)),
    ] {
        put(&mut page, format_args!("{what:<14}{state}\n"));
    }
    rules::report(&config, &containers, &mut findings);
    put_findings(&mut page, &findings, containers.all().count());
    io::stdout().lock().write_all(page.as_bytes())?;
    let is_all_read = !findings.iter().any(|finding| finding.is_fatal);
    Ok(if is_all_read {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn put(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a `String` never fails.
    let _ = page.write_fmt(arguments);
}

fn put_group(page: &mut String, group: &Group) {
    let state = match &group.state {
        State::Missing => "not found".to_owned(),
        State::Unreadable(error) if group.seen.is_empty() => format!("cannot be read: {error}"),
        State::Unreadable(error) => {
            format!(
                "cannot be read: {error}; {} known to the API",
                count(group.seen.len())
            )
        }
        State::Listed => match group.unreadable {
            0 => count(group.seen.len()),
            1 => format!("{}; 1 folder cannot be read", count(group.seen.len())),
            more => format!("{}; {more} folders cannot be read", count(group.seen.len())),
        },
    };
    let mut places: Vec<String> = group.places.iter().map(|place| shown(place)).collect();
    if places.is_empty() {
        places.push(shown(&group.root));
    }
    put(
        page,
        format_args!("{}, {}: {state}\n", group.title, places.join(", ")),
    );
    let mut rows: Vec<[String; 4]> = group.seen.iter().map(|seen| seen.cells()).collect();
    rows.sort();
    if !rows.is_empty() {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).add_rows(rows);
        table.set_header(["NAME", "IMAGE", "DRIVER", "SOURCE"]);
        for line in table.lines() {
            put(page, format_args!(" {}\n", line.trim_end()));
        }
    }
    page.push('\n');
}

fn shown(path: &Path) -> String {
    harmless(&path.display().to_string()).into_owned()
}

fn count(containers: usize) -> String {
    match containers {
        1 => "1 container".to_owned(),
        count => format!("{count} containers"),
    }
}

/// The problems; those with the same fix share one number.
fn put_findings(page: &mut String, findings: &[Finding], containers: usize) {
    for (is_fatal, head) in [(true, "Cannot be read:"), (false, "Worth knowing:")] {
        let mut groups: Vec<(&Finding, Vec<&str>)> = Vec::new();
        for finding in findings
            .iter()
            .filter(|finding| finding.is_fatal == is_fatal)
        {
            let alike = |(first, _): &&mut (&Finding, Vec<&str>)| {
                (&first.problem, &first.fix, first.reason)
                    == (&finding.problem, &finding.fix, finding.reason)
            };
            match groups.iter_mut().find(alike) {
                Some((_, about)) => about.push(&finding.about),
                None => groups.push((finding, vec![&finding.about])),
            }
        }
        if groups.is_empty() {
            continue;
        }
        put(page, format_args!("\n{head}\n"));
        for (number, (finding, about)) in groups.iter().enumerate() {
            let problem = harmless(&finding.problem);
            let reason = finding
                .reason
                .map_or(String::new(), |reason| format!(" [{}]", reason.as_str()));
            put(
                page,
                format_args!(
                    "{:3}. {}: {problem}{reason}\n",
                    number + 1,
                    harmless(&enumerate(about))
                ),
            );
            put(page, format_args!("     -> {}\n", harmless(&finding.fix)));
        }
    }
    if !findings.iter().any(|finding| finding.is_fatal) {
        page.push_str(match containers {
            0 => "\nThere is no container yet; new ones can be read.\n",
            _ => "\nEverything can be read.\n",
        });
    }
}

/// Lists the first few, and the number of the others.
fn enumerate(about: &[&str]) -> String {
    const SHOWN: usize = 3;
    let mut text = about
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if about.len() > SHOWN {
        put(&mut text, format_args!(" and {} more", about.len() - SHOWN));
    }
    text
}

fn checkpoint(config: &Config, findings: &mut Vec<Finding>) -> String {
    let Some(path) = &config.db else {
        return "not set: a restart reads every log again (-o DB=FILE checks one)".to_owned();
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
                "restore it from a backup, or accept that",
            ));
            format!("{shown} is not a valid checkpoint: {problem}")
        }
        Err(CheckpointError::NotOurs { problem, .. }) => {
            findings.push(Finding::fatal(
                format!("DB {shown}"),
                format!("{problem}; Fluent Bit does not start with it, and leaves it unchanged"),
                "set DB to a file of its own that does not exist yet",
            ));
            format!("{shown} cannot be used: {problem}")
        }
        Err(error @ CheckpointError::InUse { .. }) => {
            findings.push(Finding::fatal(
                format!("DB {shown}"),
                "another instance has it locked",
                format!(
                    "give this instance a DB of its own, or stop the other one (fuser {shown})"
                ),
            ));
            error.to_string().trim_start_matches("DB ").to_owned()
        }
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
