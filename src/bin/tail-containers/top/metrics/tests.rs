use super::*;

const TEXT: &str = "\
# HELP fluentbit_container_logs_records_total Records that Fluent Bit accepted.
fluentbit_container_logs_records_total{name=\"logs\"} 120
fluentbit_container_logs_lag_seconds{name=\"logs\"} 2.5
fluentbit_container_logs_abandoned_files_total{name=\"logs\"} 1
fluentbit_container_logs_records_total{name=\"users\"} 3
fluentbit_container_logs_root_readable{name=\"logs\",root=\"/var/lib/docker/containers\"} 1
fluentbit_container_logs_checkpoint_writable{name=\"logs\"} 1
fluentbit_container_logs_reader_heartbeat_age_seconds{name=\"logs\"} 3
fluentbit_container_logs_watch_mode{name=\"logs\",mode=\"inotify\"} 1
fluentbit_container_logs_watch_mode{name=\"logs\",mode=\"poll\"} 0
fluentbit_container_logs_containers_unread{name=\"logs\",reason=\"permission\"} 0
fluentbit_container_logs_buffered_bytes{name=\"logs\"} 100
fluentbit_container_logs_buffered_limit_bytes{name=\"logs\"} 24000000
fluentbit_container_logs_container_records_total{name=\"logs\",container_name=\"web\",container_id=\"aaaaaaaaaaaa\"} 100
fluentbit_container_logs_container_lag_bytes{name=\"logs\",container_name=\"web\",container_id=\"aaaaaaaaaaaa\"} 4096
fluentbit_container_logs_container_refused_bytes_total{name=\"logs\",container_name=\"web\",container_id=\"aaaaaaaaaaaa\"} 17
fluentbit_container_logs_container_records_total{name=\"users\",container_name=\"w\u{1b}b\",container_id=\"bbbbbbbbbbbb\"} 3
fluentbit_uptime{hostname=\"x\"} 12
";

fn metrics(text: &str) -> Metrics {
    Metrics::parse(text).unwrap()
}

#[test]
fn figures_are_those_of_each_container_and_of_all_inputs() {
    let table = metrics(TEXT).table(|_| None);
    let rows: Vec<(&str, &str, u64, u64, u64)> = table
        .rows
        .iter()
        .map(|row| {
            (
                &*row.source,
                &*row.name,
                row.lines,
                row.lag_bytes,
                row.refused,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [("logs", "web", 100, 4096, 17), ("users", "w^[b", 3, 0, 0)]
    );
    let total = &table.total;
    assert_eq!(
        (&*total.name, total.lines, total.lag_seconds),
        ("total of 2 containers", 123, 2.5)
    );
    assert_eq!(total.abandoned.generations, 1);
    assert!(total.rate == 0.0 && table.troubles.is_empty());
}

/// Without series of their own, and with some of containers that are gone.
#[test]
fn the_number_of_containers_is_that_of_now() {
    let more = "\
fluentbit_container_logs_containers{name=\"logs\",source=\"file\"} 250
fluentbit_container_logs_containers{name=\"users\",source=\"file\"} 1
";
    let table = metrics(&(TEXT.to_owned() + more)).table(|_| None);
    assert_eq!(table.total.name, "total of 251 containers");
}

#[test]
fn rates_are_since_the_last_answer_and_survive_a_reload() {
    let before = metrics(TEXT);
    let after = metrics(
        &TEXT
            .replace("} 100\n", "} 130\n")
            .replace("} 120\n", "} 150\n"),
    );
    let table = after.table(|_| Some((&before, Duration::from_secs(2))));
    assert_eq!((table.rows[0].rate, table.rows[1].rate), (15.0, 0.0));
    assert_eq!(table.total.rate, 15.0);
    let reloaded = metrics(&TEXT.replace("} 100\n", "} 6\n").replace("} 120\n", "} 6\n"));
    let table = reloaded.table(|_| Some((&before, Duration::from_secs(2))));
    assert_eq!((table.rows[0].rate, table.total.rate), (3.0, 3.0));
}

#[test]
fn troubles_name_the_input_and_the_worst_comes_first() {
    let text = TEXT
        .replace(
            "root=\"/var/lib/docker/containers\"} 1",
            "root=\"/var/lib/docker/containers\"} 0",
        )
        .replace(
            "checkpoint_writable{name=\"logs\"} 1",
            "checkpoint_writable{name=\"logs\"} 0",
        )
        .replace(
            "heartbeat_age_seconds{name=\"logs\"} 3",
            "heartbeat_age_seconds{name=\"logs\"} 75",
        )
        .replace("mode=\"poll\"} 0", "mode=\"poll\"} 1")
        .replace("reason=\"permission\"} 0", "reason=\"permission\"} 2")
        .replace(
            "buffered_bytes{name=\"logs\"} 100",
            "buffered_bytes{name=\"logs\"} 24000001",
        );
    let troubles = metrics(&text).table(|_| None).troubles;
    let parts = [
        "logs: the reader has completed no cycle for 75 s",
        "logs: /var/lib/docker/containers cannot be listed",
        "logs: the DB cannot be written",
        "logs: nothing is handed over",
        "logs: 2 containers are not read: permission",
        "logs: changes are polled",
    ];
    assert_eq!(troubles.len(), parts.len(), "{troubles:#?}");
    for (trouble, part) in troubles.iter().zip(parts) {
        assert!(trouble.starts_with(part), "{trouble}");
    }
}

#[test]
fn a_text_without_our_metrics_is_none() {
    assert!(Metrics::parse("").is_none());
    assert!(Metrics::parse("fluentbit_uptime{hostname=\"x\"} 12\n").is_none());
}
