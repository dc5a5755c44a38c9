//! The result of `check --json`. Its fields are documented in docs/tail-containers.md; they may get
//! more, and none changes its meaning without another `schema`.

use serde::Serialize;

use super::api::ApiKind;
use super::containers::{Group, State};
use super::seen::Seen;
use super::{Around, Finding, Survey};

/// The version of these fields.
const SCHEMA: u32 = 1;

/// All that `check` found.
#[derive(Serialize)]
pub struct Report<'a> {
    schema: u32,
    version: &'static str,
    is_all_read: bool,
    runtimes: Vec<OfRuntime<'a>>,
    apis: Vec<OfApi<'a>>,
    notification: &'a str,
    open_files: &'a str,
    db: &'a str,
    asked: Vec<OfApi<'a>>,
    findings: Vec<OfFinding<'a>>,
}

#[derive(Serialize)]
struct OfRuntime<'a> {
    runtime: &'a str,
    root: String,
    places: Vec<String>,
    state: &'static str,
    error: Option<String>,
    unreadable_folders: usize,
    containers: Vec<OfContainer<'a>>,
}

#[derive(Serialize)]
struct OfContainer<'a> {
    name: &'a str,
    id: &'a str,
    image: &'a str,
    driver: &'a str,
    source: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct OfApi<'a> {
    api: &'static str,
    state: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct OfFinding<'a> {
    prevents_reading: bool,
    about: &'a str,
    problem: &'a str,
    fix: &'a str,
    reason: Option<&'static str>,
}

impl<'a> Report<'a> {
    /// The same as on the page.
    pub(super) fn of(survey: &'a Survey, around: &'a Around) -> Report<'a> {
        let apis = survey.apis.iter().map(|(api, state)| OfApi {
            api: api.title(),
            state: state.kind.as_str(),
            detail: &state.text,
        });
        let asked = around.said.iter().map(|said| OfApi {
            api: said.api.title(),
            state: match said.has_answered {
                true => ApiKind::Answers.as_str(),
                false => ApiKind::Silent.as_str(),
            },
            detail: &said.text,
        });
        let groups = survey.containers.groups.iter();
        let shown = groups.filter(|group| group.is_shown);
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            is_all_read: survey.is_all_read(),
            runtimes: shown.map(of_runtime).collect(),
            apis: apis.collect(),
            notification: &around.notification,
            open_files: &around.open_files,
            db: &around.db,
            asked: asked.collect(),
            findings: survey.findings.iter().map(of_finding).collect(),
        }
    }
}

fn of_runtime(group: &Group) -> OfRuntime<'_> {
    let (state, error) = match &group.state {
        State::Missing(_) => ("missing", None),
        State::Unreadable(error) => ("unreadable", Some(error.to_string())),
        State::Listed => ("listed", None),
    };
    let mut seen: Vec<&Seen> = group.seen.iter().collect();
    seen.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    OfRuntime {
        runtime: group.title,
        root: group.root.display().to_string(),
        places: group
            .places
            .iter()
            .map(|it| it.display().to_string())
            .collect(),
        state,
        error,
        unreadable_folders: group.unreadable,
        containers: seen.into_iter().map(of_container).collect(),
    }
}

fn of_container(seen: &Seen) -> OfContainer<'_> {
    OfContainer {
        name: &seen.name,
        id: &seen.id,
        image: &seen.image,
        driver: &seen.driver,
        source: seen.kind(),
        detail: &seen.source,
    }
}

fn of_finding(finding: &Finding) -> OfFinding<'_> {
    OfFinding {
        prevents_reading: finding.is_fatal,
        about: &finding.about,
        problem: &finding.problem,
        fix: &finding.fix,
        reason: finding.reason.map(|reason| reason.as_str()),
    }
}
