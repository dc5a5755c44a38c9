//! The metrics, in two tables: of the instance, and per container.

use std::sync::Arc;

use super::latency::BOUNDS;
use super::{Count, Family, Kind, Reading, Sample, SourceKind, Value};
use crate::account::{wall_clock, Account, Figures};
use crate::exchange::Exchange;
use crate::position::Timestamp;

/// Labels of a series of one container. The id comes last and has twelve
/// characters always: cmetrics finds series by a hash over the values run
/// together.
const CONTAINER_LABELS: &[&str] = &["container_name", "container_id"];

/// A metric that is made of figures: there is one of all containers, and one
/// with a series for each.
struct FigureMetric {
    total: Family,
    of_container: Family,
    value: fn(&Figures, Timestamp) -> f64,
}

macro_rules! figure {
    ($kind:ident, $name:literal, $help:literal, $value:expr) => {
        FigureMetric {
            total: Family { kind: Kind::$kind, name: $name, help: concat!($help, "."), labels: &[] },
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

static FIGURES: [FigureMetric; 12] = [
    figure!(Counter, "records_total", "Records that Fluent Bit accepted", |f, _| f.delivered.records as f64),
    figure!(Counter, "bytes_total", "Bytes of logs whose records Fluent Bit accepted", |f, _| f
        .delivered
        .bytes
        as f64),
    figure!(Counter, "read_bytes_total", "Bytes of logs that were read", |f, _| f.read.bytes as f64),
    figure!(
        Counter,
        "passed_over_bytes_total",
        "Bytes that were read and had been delivered before",
        |f, _| f.passed_over as f64
    ),
    figure!(Counter, "skipped_bytes_total", "Bytes that were no record: damaged or torn", |f, _| f.skipped
        as f64),
    figure!(
        Counter,
        "truncated_lines_total",
        "Lines that were cut at Partial_Max_Size",
        |f, _| f.cut.records as f64
    ),
    figure!(Counter, "truncated_bytes_total", "Bytes that were cut off such lines", |f, _| f.cut.bytes
        as f64),
    figure!(
        Counter,
        "abandoned_bytes_total",
        "Bytes known to have been destroyed or given up before they were read",
        |f, _| f.abandoned.bytes as f64
    ),
    figure!(
        Counter,
        "abandoned_files_total",
        "Log files that were destroyed or given up before they were read",
        |f, _| f.abandoned.generations as f64
    ),
    figure!(Gauge, "pending_bytes", "Bytes that were read and are not accepted yet", |f, _| f.pending()
        as f64),
    figure!(Gauge, "lag_bytes", "Bytes between the end of the logs and what Fluent Bit accepted", |f, _| f
        .lag_bytes()
        as f64),
    figure!(Gauge, "lag_seconds", "Age of the oldest entry that Fluent Bit has not accepted", |f, now| f
        .lag_seconds(now)),
];

/// A metric of the instance.
struct InstanceMetric {
    family: Family,
    samples: fn(&Exchange) -> Vec<Sample>,
}

static INSTANCE: [InstanceMetric; 11] = [
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "containers",
            help: "Containers by where their logs come from: file, local, cache, stream, nowhere.",
            labels: &["source"],
        },
        samples: |exchange| {
            let counts = SourceKind::ALL.into_iter().zip(exchange.survey().containers);
            counts.map(|(source, count)| labelled(source.as_str(), count as f64)).collect()
        },
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "watch_mode",
            help: "1 for how changes are noticed: inotify, or poll where watches cannot be had.",
            labels: &["mode"],
        },
        samples: |exchange| {
            let polls = exchange.survey().polls;
            vec![
                labelled("inotify", f64::from(u8::from(!polls))),
                labelled("poll", f64::from(u8::from(polls))),
            ]
        },
    },
    InstanceMetric {
        family: gauge("files_open", "Log files that are held open."),
        samples: |exchange| number(exchange.survey().files_open as f64),
    },
    InstanceMetric {
        family: gauge("held_deleted_bytes", "Bytes not read yet of files that were deleted and are held."),
        samples: |exchange| number(exchange.accounts.held().bytes as f64),
    },
    InstanceMetric {
        family: gauge("partials_open", "Split lines that wait for their rest."),
        samples: |exchange| number(exchange.survey().open_lines as f64),
    },
    InstanceMetric {
        family: gauge("queue_bytes", "Bytes of records that wait for Fluent Bit, or are in its hands."),
        samples: |exchange| number(exchange.queue.bytes() as f64),
    },
    InstanceMetric {
        family: counter(
            "rotations_total",
            "Log files that were read to their end and followed by another one.",
        ),
        samples: |exchange| total(&exchange.tally.rotations),
    },
    InstanceMetric {
        family: counter("reconnects_total", "Streams of the Docker API that broke off."),
        samples: |exchange| total(&exchange.tally.reconnects),
    },
    InstanceMetric {
        family: counter("pauses_total", "Times that Fluent Bit told the plugin to pause."),
        samples: |exchange| total(&exchange.tally.pauses),
    },
    InstanceMetric {
        family: counter("checkpoint_writes_total", "Positions written to the DB."),
        samples: |exchange| total(&exchange.tally.checkpoint_writes),
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Histogram(&BOUNDS),
            name: "append_latency_seconds",
            help: "Age of a batch's first record when Fluent Bit accepted it.",
            labels: &[],
        },
        samples: |exchange| vec![Sample { labels: Vec::new(), value: exchange.latency.value() }],
    },
];

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { kind: Kind::Gauge, name, help, labels: &[] }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { kind: Kind::Counter, name, help, labels: &[] }
}

fn labelled(label: &str, value: f64) -> Sample {
    Sample { labels: vec![label.to_owned()], value: Value::Number(value) }
}

fn number(value: f64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value: Value::Number(value) }]
}

fn total(count: &Count) -> Vec<Sample> {
    number(count.get() as f64)
}

/// Every metric there is, in the order of the documentation.
pub fn all_families() -> impl Iterator<Item = &'static Family> {
    let totals = FIGURES.iter().map(|metric| &metric.total);
    let of_containers = FIGURES.iter().map(|metric| &metric.of_container);
    totals.chain(INSTANCE.iter().map(|metric| &metric.family)).chain(of_containers)
}

/// The metrics of the instance as a whole.
pub(super) fn read_instance(exchange: &Exchange) -> Vec<Reading> {
    let (figures, now) = (exchange.accounts.total(), wall_clock());
    let totals = FIGURES
        .iter()
        .map(|metric| Reading { family: &metric.total, samples: number((metric.value)(&figures, now)) });
    let instance =
        INSTANCE.iter().map(|metric| Reading { family: &metric.family, samples: (metric.samples)(exchange) });
    totals.chain(instance).collect()
}

/// The metrics with a series for each of these containers.
pub(super) fn read_containers(shown: &[(Figures, Arc<Account>)], now: Timestamp) -> Vec<Reading> {
    let labels: Vec<Vec<String>> =
        shown.iter().map(|(_, account)| vec![account.name(), account.short_id()]).collect();
    let read = |metric: &'static FigureMetric| {
        let samples = shown.iter().zip(&labels).map(|((figures, _), labels)| Sample {
            labels: labels.clone(),
            value: Value::Number((metric.value)(figures, now)),
        });
        Reading { family: &metric.of_container, samples: samples.collect() }
    };
    FIGURES.iter().map(read).collect()
}
