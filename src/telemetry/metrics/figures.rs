//! The metrics of figures, each in total and per container.

use crate::format::position::Timestamp;
use crate::telemetry::account::Figures;
use crate::telemetry::metrics::{Family, Kind};

/// Labels of a container's series. The id comes last and has twelve characters, or none while it is
/// unknown, because cmetrics looks up series by a hash of the concatenated values.
pub const CONTAINER_LABELS: &[&str] = &[
    "container_name",
    "namespace",
    "pod",
    "container",
    "image",
    "container_id",
];

/// A metric computed from figures: one family with the total, and one with a series per
/// container.
pub(super) struct FigureMetric {
    pub total: Family,
    pub of_container: Family,
    pub value: fn(&Figures, Timestamp) -> f64,
}

macro_rules! figure {
    ($kind:ident, $name:literal, $help:literal, $value:expr) => {
        FigureMetric {
            total: Family {
                kind: Kind::$kind,
                name: $name,
                help: concat!($help, "."),
                labels: &[],
            },
            of_container: Family {
                kind: Kind::$kind,
                name: concat!("container_", $name),
                help: concat!($help, ", by container."),
                labels: CONTAINER_LABELS,
            },
            value: $value,
        }
    };
}

/// One value for each of [`FIGURES`].
pub(super) type Values<T> = [T; FIGURES.len()];

/// The values of a container. Nothing of a container that is gone is pending, so its gauges end at 0.
pub(super) fn values(figures: &Figures, now: Timestamp, has_ended: bool) -> Values<f64> {
    FIGURES
        .each_ref()
        .map(|metric| match metric.of_container.kind {
            Kind::Gauge if has_ended => 0.0,
            _ => (metric.value)(figures, now),
        })
}

/// The first ones are above 0 for every container that has written anything.
pub(super) const USUAL: usize = 3;

/// The first one is that of the records, which every container with series of its own has.
pub(super) static FIGURES: [FigureMetric; 16] = [
    figure!(
        Counter,
        "records_total",
        "Records that Fluent Bit accepted",
        |f, _| f.delivered.records as f64
    ),
    figure!(
        Counter,
        "bytes_total",
        "Bytes of logs whose records Fluent Bit accepted",
        |f, _| f.delivered.bytes as f64
    ),
    figure!(
        Counter,
        "read_bytes_total",
        "Bytes of logs that were read",
        |f, _| f.read.bytes as f64
    ),
    figure!(
        Counter,
        "passed_over_bytes_total",
        "Bytes that were read again and skipped, because they had been delivered before",
        |f, _| f.passed_over as f64
    ),
    figure!(
        Counter,
        "skipped_bytes_total",
        "Bytes skipped because they were not a valid record: damaged or torn",
        |f, _| f.skipped as f64
    ),
    figure!(
        Counter,
        "truncated_lines_total",
        "Lines that were cut at Partial_Max_Size",
        |f, _| f.cut.records as f64
    ),
    figure!(
        Counter,
        "truncated_bytes_total",
        "Bytes cut off lines at Partial_Max_Size",
        |f, _| f.cut.bytes as f64
    ),
    figure!(
        Counter,
        "refused_records_total",
        "Records dropped after Fluent Bit refused them for Refused_Record_Timeout while it accepted others",
        |f, _| f.refused.records as f64
    ),
    figure!(
        Counter,
        "refused_bytes_total",
        "Bytes of logs whose records were dropped because Fluent Bit refused them",
        |f, _| f.refused.bytes as f64
    ),
    figure!(
        Counter,
        "abandoned_bytes_total",
        "Bytes lost because their file was deleted or given up before they were read, as far as known",
        |f, _| f.abandoned.bytes as f64
    ),
    figure!(
        Counter,
        "abandoned_files_total",
        "Log files that were deleted or given up before they were read to the end",
        |f, _| f.abandoned.generations as f64
    ),
    figure!(
        Counter,
        "abandoned_entries_total",
        "Entries of containers that are missing in systemd's journal: removed before they were read, or suppressed by journald's rate limit, as far as known",
        |f, _| f.abandoned.entries as f64
    ),
    figure!(
        Counter,
        "untimed_entries_total",
        "Entries whose time in the log is missing or invalid; their records have the time at which they were read",
        |f, _| f.untimed as f64
    ),
    figure!(
        Gauge,
        "pending_bytes",
        "Bytes that were read but that Fluent Bit has not accepted yet",
        |f, _| f.pending() as f64
    ),
    figure!(
        Gauge,
        "lag_bytes",
        "Bytes between the end of the logs and what Fluent Bit accepted",
        |f, _| f.lag_bytes() as f64
    ),
    figure!(
        Gauge,
        "lag_seconds",
        "Age of the oldest entry that Fluent Bit has not accepted",
        |f, now| f.lag_seconds(now)
    ),
];
