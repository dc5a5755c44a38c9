//! `tail-containers check`: the containers on this machine, where each is read from, what
//! cannot be read, and how to fix that. It opens files but reads no log, leaves the
//! checkpoint unchanged, and asks the API only if a container cannot be read without it.

mod advice;
mod api;
mod asked;
mod columns;
mod containers;
mod copied;
mod db;
mod holder;
mod journal;
mod limits;
mod metadata;
mod outside;
mod remedy;
mod report;
mod roots;
mod rules;
mod seen;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::presets::NOTHING;
use fluent_bit_container_logs::config::inert::Inert;
use fluent_bit_container_logs::config::Config;

use crate::terminal::{harmless, harmless_json, width};
use api::{ApiKind, ApiState};
use asked::Said;
use containers::{Containers, Group, State};
use fluent_bit_container_logs::runtime::Api;
use fluent_bit_container_logs::telemetry::metrics::Unread;
use remedy::Place;
use report::Report;

/// The heads of the table.
const HEADS: [&str; 4] = ["NAME", "IMAGE", "DRIVER", "SOURCE"];

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

/// The containers and the APIs, and what is wrong with them.
pub struct Survey {
    /// The containers of each runtime.
    pub containers: Containers,
    apis: Vec<(Api, ApiState)>,
    /// What is to be said of systemd's journal; empty if nothing needs it.
    journal: String,
    findings: Vec<Finding>,
}

/// The limits of the kernel and the checkpoint, in words.
struct Around {
    notification: String,
    open_files: String,
    db: String,
    /// What daemons say, with `--ask`.
    said: Vec<Said>,
}

impl Around {
    /// Looks at them, and adds what is wrong with them and with the options to the survey.
    fn look(config: &Config, survey: &mut Survey) -> Around {
        let Survey {
            containers,
            findings,
            ..
        } = survey;
        let around = Around {
            notification: limits::watches(containers, findings),
            open_files: limits::descriptors(containers, &Place::find(), findings),
            db: db::look(config, findings),
            said: Vec::new(),
        };
        for Inert { option, reason } in config.inert() {
            let problem = format!("it has no effect: {reason}");
            let fix = "remove it, or set the other option";
            findings.push(Finding::minor(format!("option {option}"), problem, fix));
        }
        rules::report(config, containers, findings);
        around
    }
}

impl Survey {
    /// Looks at everything that the configuration selects.
    pub fn of(config: &Config) -> Survey {
        let place = Place::find();
        let mut findings = Vec::new();
        let mut containers = Containers::look(config, &place, &mut findings);
        let journal = journal::look(config, &containers, &place, &mut findings);
        let mut ask = |api| api::ask(api, config, &mut containers, &place, &mut findings);
        let apis = Api::ALL.map(|api| (api, ask(api)));
        Survey {
            containers,
            apis: apis.into(),
            journal,
            findings,
        }
    }

    /// What prevents reading.
    pub fn fatal(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_fatal)
    }

    /// Whether nothing prevents reading.
    pub fn is_all_read(&self) -> bool {
        self.fatal().next().is_none()
    }

    /// Whether this is the folder of a runtime.
    pub fn is_root(&self, about: &str) -> bool {
        let mut groups = self.containers.groups.iter();
        groups.any(|group| group.root.display().to_string() == about)
    }

    /// Whether a container can be read now.
    pub fn reads_any(&self) -> bool {
        let mut all = self.containers.all();
        let answers = |(_, state): &(Api, ApiState)| state.kind == ApiKind::Answers;
        let has_api = self.apis.iter().any(answers);
        all.any(|seen| seen.files.is_some() || seen.is_in_journal() || (seen.needs_api && has_api))
    }
}

/// Prints the page, or the same as JSON; the exit code is 1 if something cannot be read. With `asks`,
/// what is found is compared with what daemons say that run here.
pub fn run(config: &Config, is_json: bool, asks: bool) -> io::Result<ExitCode> {
    let asked = asks.then(|| asked::ask(config));
    let mut survey = Survey::of(config);
    let mut around = Around::look(config, &mut survey);
    let asked = asked.into_iter().flatten();
    let said = asked.map(|asked| asked::compare(asked, &survey.containers, &mut survey.findings));
    around.said = said.collect();
    let text = match is_json {
        true => {
            let json = serde_json::to_string_pretty(&Report::of(&survey, &around))?;
            // Its own line feeds are no danger.
            let lines = json
                .lines()
                .map(|line| format!("{}\n", harmless_json(line)));
            lines.collect()
        }
        false => page(&survey, &around, width()),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(match survey.is_all_read() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The page for a terminal with these columns, or for none.
fn page(survey: &Survey, around: &Around, width: Option<usize>) -> String {
    let mut page = String::new();
    let groups = &survey.containers.groups;
    for group in groups.iter().filter(|group| group.is_shown) {
        put_group(&mut page, group, width);
    }
    // Podman's API is of no interest on a machine without Podman.
    let is_used = |api: Api| {
        let mut groups = groups.iter();
        groups.any(|group| match api {
            Api::Docker => group.runtime.api() == Some(api),
            Api::Podman => group.api == Some(api) && !group.is_missing(),
        })
    };
    for (api, state) in survey.apis.iter().filter(|(api, _)| is_used(*api)) {
        let line = format!("{:<14}{}", format!("{}'s API", api.title()), state.text);
        put(&mut page, &line, 14, width);
    }
    if !survey.journal.is_empty() {
        let line = format!("{:<14}{}", "Journal", survey.journal);
        put(&mut page, &line, 14, width);
    }
    for Said { api, text, .. } in &around.said {
        let line = format!("{:<14}{text}", format!("{} itself", api.title()));
        put(&mut page, &line, 14, width);
    }
    for (what, state) in [
        ("Notification", &around.notification),
        ("Open files", &around.open_files),
        ("DB", &around.db),
    ] {
        put(&mut page, &format!("{what:<14}{state}"), 14, width);
    }
    put_findings(&mut page, survey, width);
    page
}

/// Adds a line, without what could control the terminal.
fn put(page: &mut String, line: &str, indent: usize, width: Option<usize>) {
    page.push_str(&columns::wrap(&harmless(line), indent, width));
    page.push('\n');
}

fn put_group(page: &mut String, group: &Group, width: Option<usize>) {
    let state = match &group.state {
        State::Missing(_) => "not found".to_owned(),
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
    let shown = |path: &PathBuf| path.display().to_string();
    let mut places: Vec<String> = group.places.iter().map(shown).collect();
    if places.is_empty() {
        places.push(shown(&group.root));
    }
    let line = format!("{}, {}: {state}", group.title, places.join(", "));
    put(page, &line, 2, width);
    let mut rows: Vec<[String; 4]> = group.seen.iter().map(|seen| seen.cells()).collect();
    rows.sort();
    if !rows.is_empty() {
        columns::fit(&mut rows, HEADS, width);
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).add_rows(rows);
        table.set_header(HEADS);
        for line in table.lines() {
            page.push(' ');
            page.push_str(line.trim_end());
            page.push('\n');
        }
    }
    page.push('\n');
}

fn count(containers: usize) -> String {
    match containers {
        1 => "1 container".to_owned(),
        count => format!("{count} containers"),
    }
}

/// The problems; those with the same fix share one number.
fn put_findings(page: &mut String, survey: &Survey, width: Option<usize>) {
    let (findings, containers) = (&survey.findings, survey.containers.all().count());
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
        page.push('\n');
        put(page, head, 0, width);
        for (number, (finding, about)) in groups.iter().enumerate() {
            let reason = finding
                .reason
                .map_or(String::new(), |reason| format!(" [{}]", reason.as_str()));
            let (number, about) = (number + 1, enumerate(about));
            let line = format!("{number:3}. {about}: {}{reason}", finding.problem);
            put(page, &line, 5, width);
            put(page, &format!("     -> {}", finding.fix), 8, width);
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
        text += &format!(" and {} more", about.len() - SHOWN);
    }
    text
}
