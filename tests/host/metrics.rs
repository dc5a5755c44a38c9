//! The metrics as a real Fluent Bit serves them and a real Prometheus scrapes
//! them; the dashboard and the alert rules.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fluent_bit_container_logs::telemetry::metrics::all_families;
use rustix::process::Signal;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::DockerRoot;
use test_kit::exporter::{host_over, host_over_folder, parse, scrape, value, METRICS, PREFIX};
use test_kit::fluent_bit::{find_all, plugin, version};
use test_kit::prometheus::{self, Prometheus};
use test_kit::stalling_fs::StallingFs;
use test_kit::{dashboard, in_project, skip};

/// Whether a name is of series that a container has only once there was something to count, which the
/// containers of these tests may never have. Fluent Bit does not serve a metric without series.
fn is_of_what_may_never_be(name: &str) -> bool {
    let of = name.split_once("container_").map_or("", |(_, of)| of);
    let may_never_be = [
        "abandoned",
        "lag",
        "passed_over",
        "pending",
        "refused",
        "untimed",
    ];
    may_never_be.iter().any(|what| of.starts_with(what))
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
        // So much that it has all series at once.
        for number in 0..100 {
            web.line(&format!("line {number} {:700}", ""));
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
        for family in all_families().filter(|family| !is_of_what_may_never_be(family.name)) {
            let help = format!("# HELP {PREFIX}{} {}", family.name, family.help);
            assert!(text.contains(&help), "no {help:?} in:\n{text}");
        }
        let all = parse(&text);
        let of_web = [
            ("container_name", "web"),
            ("container", "web"),
            ("image", "shop/web:1.2"),
            ("name", "logs"),
        ];
        assert_eq!(value(&all, "container_records_total", &of_web), Some(101.0));
        assert_eq!(
            value(&all, "container_truncated_lines_total", &of_web),
            Some(1.0)
        );
        assert_eq!(
            value(&all, "container_truncated_bytes_total", &of_web),
            Some(3616.0)
        );
        // What a container never had has no series.
        assert_eq!(value(&all, "container_skipped_bytes_total", &of_web), None);
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
            let value = value(&all, gauge, &of_other);
            assert!(matches!(value, None | Some(0.0)), "{gauge}: {value:?}");
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
    web.raw(b"no record at all\n");
    web.long_line("stdout", &"x".repeat(20_000));
    let more = "    Partial_Max_Size 16384\n";
    let mut host = host_over(&program, &plugin, &root, more);
    host.start().expect("the host starts");
    // Before Prometheus looks: an increase of what was skipped or cut would be an alert.
    let of_web = [("container_name", "web")];
    host.wait_until(PATIENCE, "what was skipped and cut", |host| {
        let all = scrape(host);
        let of = |name| value(&all, name, &of_web);
        of("container_skipped_bytes_total") > Some(0.0)
            && of("container_truncated_bytes_total") > Some(0.0)
    });
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
    let is_there = |query: &&String| {
        let of_container = query.split_once(&format!("{PREFIX}container_"));
        of_container.is_none_or(|(_, rest)| !is_of_what_may_never_be(&format!("container_{rest}")))
    };
    let mut missing: Vec<String> = queries.iter().filter(is_there).cloned().collect();
    assert!(missing.len() + 3 >= queries.len(), "{missing:#?}");
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

/// A real Fluent Bit: its metrics say that the reader hangs, and that it is back.
#[test]
fn the_age_of_a_reader_that_hangs_grows_in_the_hosts_endpoint() {
    let test = "metrics::the_age_of_a_reader_that_hangs_grows_in_the_hosts_endpoint";
    let (Some(plugin), Some(program)) = (plugin(), find_all().into_iter().next()) else {
        return skip(test, "no Fluent Bit, or the plugin's .so is not built");
    };
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("hello");
    let stalling = match StallingFs::over(root.path()) {
        Ok(stalling) => stalling,
        Err(reason) => return skip(test, &reason),
    };
    let wrapper = tempfile::tempdir().expect("a folder");
    let script = wrapper.path().join("fluent-bit");
    let starter = stalling.starter();
    let words = std::iter::once(starter.get_program()).chain(starter.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.display())).collect();
    let text = format!(
        "#!/bin/sh\nexec {} '{}' \"$@\"\n",
        words.join(" "),
        program.display()
    );
    fs::write(&script, text).expect("a file in a new folder");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut host = host_over_folder(&script, &plugin, &stalling.path(), "");
    host.start().expect("the host starts");
    let age = |host: &_| {
        value(
            &scrape(host),
            "reader_heartbeat_age_seconds",
            &[("name", "logs")],
        )
    };
    host.wait_until(PATIENCE, "a record", |host| {
        value(&scrape(host), "records_total", &[]) == Some(1.0)
    });
    assert!(age(&host).expect("an age") < 7.0, "{:?}", age(&host));
    stalling.stall();
    web.line("not read");
    stalling.wait_until_somebody_waits();
    host.wait_until(PATIENCE, "an age of more than two intervals", |host| {
        age(host) > Some(11.0)
    });
    stalling.go_on();
    host.wait_until(PATIENCE, "the second record", |host| {
        value(&scrape(host), "records_total", &[]) == Some(2.0)
    });
    host.wait_until(PATIENCE, "a young age", |host| age(host) < Some(7.0));
}
