//! The dashboard and the alert rules name what there is, and each alert has its chapter.

use std::path::Path;
use std::process::{Command, Output};

use fluent_bit_container_logs::telemetry::metrics::all_families;
use test_kit::exporter::PREFIX;
use test_kit::{in_project, prometheus, skip};

/// The exit code of `scripts/check-dashboard` if a program or Grafana's types are missing.
const MISSING: i32 = 3;

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
    assert!(checked.contains("17 rules found"), "{checked}");
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

/// By Grafana's own types: the dashboard is valid, and a copy with one wrong value is not.
#[test]
fn the_dashboard_is_valid_for_the_types_of_a_current_grafana() {
    let checked = |file: &Path| {
        Command::new(in_project("scripts/check-dashboard"))
            .arg("--offline")
            .arg(file)
            .output()
            .expect("sh runs")
    };
    let dashboard = in_project("dashboards/container_logs.json");
    let output = checked(&dashboard);
    let said = |output: &Output| {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
    };
    if output.status.code() == Some(MISSING) {
        return skip(
            "alerts::the_dashboard_is_valid_for_the_types_of_a_current_grafana",
            &said(&output),
        );
    }
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(dashboard).expect("the dashboard");
    for (right, wrong) in [
        (r#""placement": "bottom""#, r#""placement": "beneath""#),
        (r#""graphMode": "area""#, r#""graph": "area""#),
        (r#""legendFormat""#, r#""legend""#),
    ] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text.replacen(right, wrong, 1)).expect("ours");
        let output = checked(file.path());
        assert!(!output.status.success(), "{wrong}: {}", said(&output));
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
