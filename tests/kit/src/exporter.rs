//! The metrics as a real Fluent Bit serves them.

use std::collections::BTreeMap;
use std::path::Path;

use super::docker_root::DockerRoot;
use super::fluent_bit::FluentBit;

/// Where Fluent Bit serves them.
pub const METRICS: &str = "/api/v2/metrics/prometheus";
/// Ours begin with it.
pub const PREFIX: &str = "fluentbit_container_logs_";

/// One series: labels and value.
pub type Series = (BTreeMap<String, String>, f64);

/// The series of ours in a text in Prometheus' format, by name.
pub fn parse(text: &str) -> BTreeMap<String, Vec<Series>> {
    let mut all: BTreeMap<String, Vec<Series>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(PREFIX)) {
        let (series, rest) = line
            .split_once('}')
            .expect("every series of ours has labels");
        let (name, labels) = series.split_once('{').expect("labels begin");
        let labels = labels.split("\",").map(|pair| {
            let (key, value) = pair.split_once("=\"").expect("a quoted value");
            (key.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let value = rest
            .split_whitespace()
            .next()
            .expect("a value")
            .parse()
            .expect("a number");
        all.entry(name[PREFIX.len()..].to_owned())
            .or_default()
            .push((labels.collect(), value));
    }
    all
}

pub fn scrape(host: &FluentBit) -> BTreeMap<String, Vec<Series>> {
    host.http_get(METRICS)
        .map(|text| parse(&text))
        .unwrap_or_default()
}

/// The value of the one series of `name` whose labels have all of `wanted`.
pub fn value(
    all: &BTreeMap<String, Vec<Series>>,
    name: &str,
    wanted: &[(&str, &str)],
) -> Option<f64> {
    let has = |labels: &BTreeMap<String, String>| {
        wanted
            .iter()
            .all(|(key, value)| labels.get(*key).is_some_and(|label| label == value))
    };
    let found: Vec<f64> = all
        .get(name)?
        .iter()
        .filter(|(labels, _)| has(labels))
        .map(|(_, value)| *value)
        .collect();
    assert!(found.len() <= 1, "{name} {wanted:?}: {found:?}");
    found.first().copied()
}

/// Fluent Bit over `root` with its HTTP server, the input called `logs`, and `more` lines
/// of it.
pub fn host_over(program: &Path, plugin: &Path, root: &DockerRoot, more: &str) -> FluentBit {
    host_over_folder(program, plugin, root.path(), more)
}

/// As [`host_over`], where the host sees the root at `folder`.
pub fn host_over_folder(program: &Path, plugin: &Path, folder: &Path, more: &str) -> FluentBit {
    let config = format!(
        "[INPUT]\n    Name container_logs\n    Runtime docker\n    Alias logs\n    Docker_Root {}\n    Docker_Socket off\n{more}",
        folder.display()
    );
    FluentBit::new(program, Some(plugin), &config).with_http_server()
}
