//! The table of a running Fluent Bit, from the text of its metrics. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::exposition::{series, Series};
use super::table::{Origin, Row, Table};
use crate::terminal::harmless;

/// Ours begin with it.
const PREFIX: &str = "fluentbit_container_logs_";
/// A reader without a cycle for longer is stuck: an idle one completes one every ten seconds.
const STUCK_SECONDS: f64 = 60.0;
/// The plugin updates its figures no more often, and no more often than this for each container.
const UPDATE: Duration = Duration::from_secs(1);
const UPDATE_PER_CONTAINER: Duration = Duration::from_micros(500);

/// The name of an input, and name and id of a container.
type Key = (String, String, String);

/// What one answer says.
#[derive(Default)]
pub struct Metrics {
    /// The figures of each container.
    containers: BTreeMap<Key, Row>,
    /// Their sums, by input.
    totals: BTreeMap<String, Row>,
    /// How many containers each input has now, if that is said: those that are gone keep their series.
    counts: BTreeMap<String, u64>,
    /// What is wrong with an input as a whole: how bad, which input, and what.
    troubles: Vec<(u8, String, String)>,
}

impl Metrics {
    /// Reads an answer; `None` if it has no metric of ours.
    pub fn parse(text: &str) -> Option<Metrics> {
        let mut metrics = Metrics::default();
        let mut buffered: HashMap<String, (f64, f64)> = HashMap::new();
        for series in series(text, PREFIX) {
            let input = harmless(series.label("name")).into_owned();
            match series.name.strip_prefix("container_") {
                Some(figure) => {
                    let name = harmless(series.label("container_name")).into_owned();
                    let key = (input.clone(), name, series.label("container_id").to_owned());
                    let row = metrics.containers.entry(key).or_default();
                    set(row, figure, series.value);
                }
                None => {
                    match series.name {
                        "containers" => {
                            *metrics.counts.entry(input.clone()).or_default() +=
                                series.value as u64;
                        }
                        "buffered_bytes" => {
                            buffered.entry(input.clone()).or_default().0 = series.value
                        }
                        "buffered_limit_bytes" => {
                            buffered.entry(input.clone()).or_default().1 = series.value
                        }
                        _ => {}
                    }
                    metrics
                        .troubles
                        .extend(trouble(&series).map(|(rank, text)| (rank, input.clone(), text)));
                    set(
                        metrics.totals.entry(input).or_default(),
                        series.name,
                        series.value,
                    );
                }
            }
        }
        let full = buffered
            .into_iter()
            .filter(|(_, (bytes, limit))| *limit > 0.0 && bytes >= limit);
        metrics.troubles.extend(full.map(|(input, _)| {
            let text = "nothing is handed over: Fluent Bit holds Buffered_Limit bytes that its outputs have not sent";
            (3, input, text.to_owned())
        }));
        metrics.troubles.sort();
        Some(metrics).filter(|metrics| !metrics.totals.is_empty())
    }

    /// The inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.totals.keys().map(String::as_str)
    }

    /// The lines of an input since its start.
    pub fn lines_of(&self, input: &str) -> Option<u64> {
        self.totals.get(input).map(|total| total.lines)
    }

    /// The shortest time between two updates of an input's figures (docs/metrics.md).
    pub fn update_interval(&self, input: &str) -> Duration {
        let count = self.counts.get(input).copied().unwrap_or(0);
        let for_each =
            UPDATE_PER_CONTAINER.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        for_each.max(UPDATE)
    }

    /// The table, with the rates of each input since the figures that `since` has of it, and the
    /// time between these and the present ones; 0 if there are none.
    pub fn table<'m>(&self, since: impl Fn(&str) -> Option<(&'m Metrics, Duration)>) -> Table {
        let rate = |input: &str, now: u64, lines: &dyn Fn(&Metrics) -> Option<u64>| {
            let Some((before, elapsed)) = since(input) else {
                return 0.0;
            };
            // A reload begins at 0 again.
            let earlier = lines(before).filter(|earlier| *earlier <= now).unwrap_or(0);
            (now - earlier) as f64 / elapsed.max(Duration::from_millis(1)).as_secs_f64()
        };
        let rows = self.containers.iter().map(|(key, row)| Row {
            name: key.1.clone(),
            source: key.0.clone(),
            rate: rate(&key.0, row.lines, &|before| {
                Some(before.containers.get(key)?.lines)
            }),
            ..row.clone()
        });
        let rows: Vec<Row> = rows.collect();
        let mut total = Row {
            name: Table::name_of_total(match self.counts.is_empty() {
                true => rows.len() as u64,
                false => self.counts.values().sum(),
            }),
            ..Row::default()
        };
        for (input, sum) in &self.totals {
            total.rate += rate(input, sum.lines, &|before| before.lines_of(input));
            total.lines += sum.lines;
            total.lag_bytes += sum.lag_bytes;
            total.lag_seconds = total.lag_seconds.max(sum.lag_seconds);
            total.skipped += sum.skipped;
            total.cut += sum.cut;
            total.refused += sum.refused;
            total.abandoned.bytes += sum.abandoned.bytes;
            total.abandoned.generations += sum.abandoned.generations;
            total.abandoned.entries += sum.abandoned.entries;
        }
        let troubles = self.troubles.iter();
        Table {
            origin: Origin::FluentBit,
            rows,
            total,
            troubles: troubles
                .map(|(_, input, text)| format!("{input}: {text}"))
                .collect(),
        }
    }
}

/// The figure of that name, without `container_`.
fn set(row: &mut Row, figure: &str, value: f64) {
    // What is below 0 or not a number becomes 0.
    let count = value as u64;
    match figure {
        "records_total" => row.lines = count,
        "lag_bytes" => row.lag_bytes = count,
        "lag_seconds" => row.lag_seconds = value,
        "skipped_bytes_total" => row.skipped = count,
        "truncated_bytes_total" => row.cut = count,
        "refused_bytes_total" => row.refused = count,
        "abandoned_bytes_total" => row.abandoned.bytes = count,
        "abandoned_files_total" => row.abandoned.generations = count,
        "abandoned_entries_total" => row.abandoned.entries = count,
        _ => {}
    }
}

/// What a metric of an input says that somebody should know, and its rank: 0 is the worst.
fn trouble(series: &Series<'_>) -> Option<(u8, String)> {
    let value = series.value;
    let count = value as u64;
    Some(match series.name {
        "reader_heartbeat_age_seconds" if value > STUCK_SECONDS => {
            (0, format!("the reader has completed no cycle for {value:.0} s: a file system does not respond, or its thread has ended"))
        }
        "root_readable" if value == 0.0 => {
            let root = harmless(series.label("root")).into_owned();
            (1, format!("{root} cannot be listed: no container in it is read"))
        }
        "checkpoint_writable" if value == 0.0 => {
            (2, "the DB cannot be written: positions are in memory only".to_owned())
        }
        "containers_unread" if count > 0 => {
            let what = if count == 1 { "container is" } else { "containers are" };
            let reason = harmless(series.label("reason")).into_owned();
            (4, format!("{count} {what} not read: {reason} (tail-containers check names them)"))
        }
        "watch_mode" if value == 1.0 && series.label("mode") == "poll" => {
            (5, "changes are polled: no inotify watches are left".to_owned())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
