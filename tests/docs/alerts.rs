//! The dashboard and the alert rules name what there is, and each alert has its chapter.

use fluent_bit_container_logs::telemetry::metrics::all_families;
use test_kit::exporter::PREFIX;
use test_kit::{in_project, prometheus, skip};

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
