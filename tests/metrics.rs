//! The metrics as a real Fluent Bit serves them and a real Prometheus scrapes
//! them; the dashboard and the alert rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fluent_bit_container_logs::telemetry::metrics::all_families;
use rustix::process::Signal;

use crate::support::collector::PATIENCE;
use crate::support::docker_root::DockerRoot;
use crate::support::fluent_bit::{find_all, plugin, version, FluentBit};
use crate::support::prometheus::{self, Prometheus};
use crate::support::{dashboard, skip};

/// Where Fluent Bit serves them.
pub const METRICS: &str = "/api/v2/metrics/prometheus";
const PREFIX: &str = "fluentbit_container_logs_";

pub fn in_project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// One series: labels and value.
pub type Series = (BTreeMap<String, String>, f64);

/// The series of ours in a text in Prometheus' format, by name.
fn parse(text: &str) -> BTreeMap<String, Vec<Series>> {
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

#[test]
fn every_host_serves_every_metric_with_its_help_and_what_was_counted() {
    let test = "every_host_serves_every_metric_with_its_help_and_what_was_counted";
    let Some(plugin) = plugin() else {
        return skip(test, "the plugin's .so is not built");
    };
    let hosts = find_all();
    if hosts.is_empty() {
        return skip(
            test,
            "no Fluent Bit: set FLUENT_BIT or put fluent-bit on PATH",
        );
    }
    for program in hosts {
        println!(
            "{test}: {}",
            version(&program).unwrap_or_else(|problem| problem)
        );
        let root = DockerRoot::new();
        let mut web = root.container('a', "web");
        let mut other = root.container('b', "odd name");
        for number in 0..100 {
            web.line(&format!("line {number}"));
        }
        other.raw(b"no record at all\n");
        other.line("a record");
        let db = root.path().join("positions.db");
        let more = format!("    Partial_Max_Size 16384\n    DB {}\n", db.display());
        let mut host = host_over(&program, &plugin, &root, &more);
        web.long_line("stdout", &"x".repeat(20_000));
        host.start().expect("the host starts");
        host.wait_until(PATIENCE, "the metrics of 102 records", |host| {
            value(&scrape(host), "records_total", &[("name", "logs")]) == Some(102.0)
        });
        let text = host.http_get(METRICS).expect("the metrics");
        for family in all_families() {
            let help = format!("# HELP {PREFIX}{} {}", family.name, family.help);
            assert!(text.contains(&help), "no {help:?} in:\n{text}");
        }
        let all = parse(&text);
        let of_web = [("container_name", "web"), ("name", "logs")];
        assert_eq!(value(&all, "container_records_total", &of_web), Some(101.0));
        assert_eq!(
            value(&all, "container_truncated_lines_total", &of_web),
            Some(1.0)
        );
        assert_eq!(
            value(&all, "container_truncated_bytes_total", &of_web),
            Some(3616.0)
        );
        assert_eq!(
            value(&all, "container_skipped_bytes_total", &of_web),
            Some(0.0)
        );
        assert_eq!(value(&all, "skipped_bytes_total", &[]), Some(17.0));
        assert_eq!(value(&all, "containers", &[("source", "file")]), Some(2.0));
        assert_eq!(
            value(&all, "containers", &[("source", "stream")]),
            Some(0.0)
        );
        assert_eq!(value(&all, "watch_mode", &[("mode", "inotify")]), Some(1.0));
        assert_eq!(value(&all, "files_open", &[]), Some(2.0));
        let of_root = [(
            "root",
            &*root.path().join("containers").display().to_string(),
        )];
        assert_eq!(value(&all, "root_readable", &of_root), Some(1.0));
        assert_eq!(value(&all, "checkpoint_writable", &[]), Some(1.0));
        assert_eq!(value(&all, "read_errors_total", &[]), Some(0.0));
        assert_eq!(
            value(&all, "containers_unread", &[("reason", "permission")]),
            Some(0.0)
        );
        let build = &all["build_info"][0].0;
        assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
        assert!(
            ["3.0", "3.2", "5.1"].contains(&&*build["abi"]) && !build["commit"].is_empty(),
            "{build:?}"
        );
        assert!(value(&all, "reader_heartbeat_age_seconds", &[]).is_some_and(|age| age < 30.0));
        assert_eq!(value(&all, "lag_bytes", &[]), Some(0.0));
        // 3.0 loses the last bucket of every histogram on its way to the endpoint.
        let count = value(&all, "append_latency_seconds_count", &[]);
        assert!(count.is_some_and(|count| count >= 2.0), "{count:?} batches");
        if !version(&program).is_ok_and(|version| version.starts_with("v3.0.")) {
            assert_eq!(
                value(&all, "append_latency_seconds_bucket", &[("le", "+Inf")]),
                count
            );
        }
        assert_eq!(
            value(&all, "read_bytes_total", &[]).expect("it is there"),
            value(&all, "bytes_total", &[]).expect("it is there") + 17.0 + 3616.0,
            "read = delivered + skipped + cut"
        );

        // The counters of a container that is gone stand still, and its gauges are 0.
        let of_other = [("container_id", "bbbbbbbbbbbb")];
        other.remove();
        host.wait_until(PATIENCE, "one container", |host| {
            value(&scrape(host), "containers", &[("source", "file")]) == Some(1.0)
        });
        let all = scrape(&host);
        assert_eq!(value(&all, "container_records_total", &of_other), Some(1.0));
        assert_eq!(
            value(&all, "container_skipped_bytes_total", &of_other),
            Some(17.0)
        );
        for gauge in [
            "container_pending_bytes",
            "container_lag_bytes",
            "container_lag_seconds",
        ] {
            assert_eq!(value(&all, gauge, &of_other), Some(0.0), "{gauge}");
        }
        assert_eq!(value(&all, "container_records_total", &of_web), Some(101.0));
        assert_eq!(value(&all, "records_total", &[]), Some(102.0));
        host.signal(Signal::TERM);
        host.wait_exit(PATIENCE).expect("it ends");
    }
}

#[test]
fn series_per_container_are_capped_and_totals_are_not() {
    let test = "series_per_container_are_capped_and_totals_are_not";
    let (Some(plugin), Some(program)) = (plugin(), find_all().into_iter().next()) else {
        return skip(test, "no Fluent Bit, or the plugin's .so is not built");
    };
    let root = DockerRoot::new();
    for digit in '1'..='7' {
        root.container(digit, &format!("web-{digit}")).line("hello");
    }
    let mut host = host_over(&program, &plugin, &root, "    Metrics_Per_Container 3\n");
    host.start().expect("the host starts");
    host.wait_until(PATIENCE, "seven records in the total", |host| {
        value(&scrape(host), "records_total", &[]) == Some(7.0)
    });
    let all = scrape(&host);
    assert_eq!(all["container_records_total"].len(), 3);
    assert_eq!(value(&all, "containers", &[("source", "file")]), Some(7.0));
}

#[test]
fn every_query_of_the_dashboard_returns_data_from_a_real_prometheus() {
    let test = "every_query_of_the_dashboard_returns_data_from_a_real_prometheus";
    let (Some(plugin), Some(program)) = (plugin(), find_all().into_iter().next()) else {
        return skip(test, "no Fluent Bit, or the plugin's .so is not built");
    };
    let Some(server) = prometheus::find() else {
        return skip(test, "no prometheus");
    };
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("hello");
    let mut host = host_over(&program, &plugin, &root, "");
    host.start().expect("the host starts");
    let rules = in_project("dashboards/alerts.yml");
    let server = Prometheus::start(&server, host.http_port(), METRICS, &rules);
    let queries: Vec<String> = dashboard::panels()
        .into_iter()
        .flat_map(|panel| panel.queries)
        .map(|(query, _)| query)
        .collect();
    assert!(queries.len() >= 20, "{queries:#?}");
    host.wait_until(PATIENCE, "Prometheus", |_| server.is_ready());
    // A rate needs two scrapes; the log goes on meanwhile.
    let mut missing = queries.clone();
    host.wait_until(PATIENCE, "data for every query", |_| {
        web.line("more");
        missing.retain(|query| match server.query(query) {
            Ok(data) => data["result"].as_array().is_none_or(Vec::is_empty),
            Err(problem) => panic!("{query}: {problem}"),
        });
        missing.is_empty()
    });
    let scraped = server
        .query(&format!("{PREFIX}container_records_total"))
        .expect("a query");
    assert_eq!(
        scraped["result"][0]["metric"]["container_name"], "web",
        "{scraped}"
    );
    let rules = server.get("/api/v1/rules").expect("the rules");
    let healthy = rules["groups"][0]["rules"].as_array().expect("rules");
    assert!(
        healthy.len() >= 13 && healthy.iter().all(|rule| rule["health"] == "ok"),
        "{rules}"
    );
    assert!(
        healthy.iter().all(|rule| rule["state"] == "inactive"),
        "nothing is wrong here: {rules}"
    );
}

#[test]
fn the_alert_rules_pass_promtool_and_their_own_tests() {
    let Some(promtool) = prometheus::find_promtool() else {
        return skip(
            "the_alert_rules_pass_promtool_and_their_own_tests",
            "no promtool",
        );
    };
    let checked = prometheus::promtool(
        &promtool,
        &["check", "rules"],
        &in_project("dashboards/alerts.yml"),
    );
    let checked = checked.expect("the rules are well-formed");
    assert!(checked.contains("14 rules found"), "{checked}");
    prometheus::promtool(
        &promtool,
        &["test", "rules"],
        &in_project("dashboards/alerts_test.yml"),
    )
    .expect("the rules do what their tests say");
}

/// Each alert leads to a chapter that says what to do.
#[test]
fn every_alert_has_its_chapter_and_its_test() {
    let read = |file: &str| std::fs::read_to_string(in_project(file)).expect("the file");
    let (rules, tests) = (
        read("dashboards/alerts.yml"),
        read("dashboards/alerts_test.yml"),
    );
    let page = read("docs/troubleshooting.md");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 13, "{alerts:?}");
    for alert in alerts {
        assert!(
            page.contains(&format!("\n### {alert}\n")),
            "docs/troubleshooting.md has no chapter {alert}"
        );
        let anchor = format!(
            "runbook: docs/troubleshooting.md#{}\n",
            alert.to_lowercase()
        );
        assert!(rules.contains(&anchor), "no {anchor}");
        // Raised in one test at least, and its labels and texts compared.
        let name = format!("alertname: {alert}\n");
        let mut raised = tests
            .split(&name)
            .skip(1)
            .map(|rest| rest.trim_start().starts_with("exp_alerts:"));
        assert!(
            raised.any(|is_raised| is_raised),
            "alerts_test.yml does not raise {alert}"
        );
    }
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_there_are() {
    let known: Vec<&str> = all_families().map(|family| family.name).collect();
    for file in [
        "dashboards/container_logs.json",
        "dashboards/alerts.yml",
        "dashboards/alerts_test.yml",
    ] {
        let text = std::fs::read_to_string(in_project(file)).expect("the file");
        let mut named = 0;
        for (at, _) in text.match_indices(PREFIX) {
            let rest = &text[at + PREFIX.len()..];
            let end = rest
                .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches("_bucket");
            assert!(
                known.contains(&name),
                "{file} names {name}, which there is not"
            );
            named += 1;
        }
        assert!(named >= 6, "{file} names {named} metrics");
    }
}
