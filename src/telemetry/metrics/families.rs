//! All metrics, in two tables: those of the instance, and those per container.

use crate::telemetry::account::wall_clock;
use crate::telemetry::build_info;
use crate::telemetry::metrics::figures::FIGURES;
use crate::telemetry::metrics::latency::BOUNDS;
use crate::telemetry::metrics::{
    Count, Family, Kind, Labels, Reading, Sample, Shown, SourceKind, Sources, Unread, Value,
};

/// A metric of the instance.
struct InstanceMetric {
    family: Family,
    samples: fn(&Sources<'_>) -> Vec<Sample>,
}

static INSTANCE: [InstanceMetric; 20] = [
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "containers",
            help: "Containers by where their logs come from: file, local, cache, journal, stream, nowhere.",
            labels: &["source"],
        },
        samples: |sources| {
            let counts = SourceKind::ALL.into_iter().zip(sources.survey.containers);
            counts.map(|(source, count)| labelled(source.as_str(), count as f64)).collect()
        },
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "watch_mode",
            help: "1 for how changes are noticed: inotify, or poll where inotify is not available.",
            labels: &["mode"],
        },
        samples: |sources| {
            let polls = sources.survey.polls;
            vec![flag("inotify", !polls), flag("poll", polls)]
        },
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "containers_unread",
            help: "Containers that should be read but are not, by reason: permission, missing, \
                   no_descriptors, io_error, api_unavailable, metadata, driver_none, driver_unreadable, own_output, copy.",
            labels: &["reason"],
        },
        samples: |sources| {
            let counts = Unread::ALL.into_iter().zip(sources.survey.unread);
            counts.map(|(reason, count)| labelled(reason.as_str(), count as f64)).collect()
        },
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "root_readable",
            help: "1 for each folder of a runtime that can be listed, 0 where it cannot.",
            labels: &["root"],
        },
        samples: |sources| {
            let roots = sources.survey.roots.iter();
            roots.map(|(dir, is_readable)| flag(&dir.display().to_string(), *is_readable)).collect()
        },
    },
    InstanceMetric {
        family: gauge(
            "reader_heartbeat_age_seconds",
            "Seconds since the reader thread last completed a cycle, updated every 5 s: it grows while a file system does not respond, and is 0 once the reader has read everything (`Follow off`).",
        ),
        samples: |sources| number(sources.health.since_last_turn().as_secs_f64()),
    },
    InstanceMetric {
        family: counter(
            "read_errors_total",
            "Attempts to read a log, a folder of logs or a container's metadata that failed.",
        ),
        samples: |sources| total(&sources.tally.read_errors),
    },
    InstanceMetric {
        family: gauge(
            "checkpoint_writable",
            "1 while positions can be written to the DB, 0 while they are kept in memory only; absent without a DB.",
        ),
        samples: |sources| sources.health.is_db_writable().map_or(Vec::new(), |is| number(f64::from(u8::from(is)))),
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Gauge,
            name: "build_info",
            help: "Always 1: its labels are the plugin's version, its commit, and the plugin ABI of the Fluent Bit that loaded it.",
            labels: &["version", "commit", "abi"],
        },
        samples: |_| {
            let labels = [build_info::VERSION, build_info::COMMIT, build_info::abi()];
            vec![Sample { labels: Labels::new(labels), value: Value::Number(1.0) }]
        },
    },
    InstanceMetric {
        family: gauge("files_open", "Log files that are held open."),
        samples: |sources| number(sources.survey.files_open as f64),
    },
    InstanceMetric {
        family: gauge("held_deleted_bytes", "Disk space of deleted log files that are held open until they are read."),
        samples: |sources| number(sources.accounts.held().bytes as f64),
    },
    InstanceMetric {
        family: gauge("partials_open", "Split lines that wait for their remaining pieces."),
        samples: |sources| number(sources.survey.open_lines as f64),
    },
    InstanceMetric {
        family: gauge("queue_bytes", "Bytes of records that wait for Fluent Bit or that it has not accepted yet."),
        samples: |sources| number(sources.queue_bytes as f64),
    },
    InstanceMetric {
        family: gauge(
            "buffered_bytes",
            "Bytes of records that Fluent Bit holds in memory because its outputs have not taken them yet, updated every 5 s at least.",
        ),
        samples: |sources| optional(sources.buffered.bytes),
    },
    InstanceMetric {
        family: gauge("buffered_limit_bytes", "Buffered_Limit in bytes; absent if there is none."),
        samples: |sources| optional(sources.buffered.limit),
    },
    InstanceMetric {
        family: counter(
            "held_back_seconds_total",
            "Seconds in which nothing was handed over because Fluent Bit held Buffered_Limit bytes of records in memory; the log files are the buffer meanwhile.",
        ),
        samples: |sources| number(sources.buffered.held_back.as_secs_f64()),
    },
    InstanceMetric {
        family: counter(
            "rotations_total",
            "Log files that were read to the end and followed by the next one.",
        ),
        samples: |sources| total(&sources.tally.rotations),
    },
    InstanceMetric {
        family: counter("reconnects_total", "Log streams from the API of Docker or Podman that broke."),
        samples: |sources| total(&sources.tally.reconnects),
    },
    InstanceMetric {
        family: counter("pauses_total", "Number of times Fluent Bit paused the plugin."),
        samples: |sources| total(&sources.tally.pauses),
    },
    InstanceMetric {
        family: counter("checkpoint_writes_total", "Writes of positions to the DB; one write may be of several containers."),
        samples: |sources| total(&sources.tally.checkpoint_writes),
    },
    InstanceMetric {
        family: Family {
            kind: Kind::Histogram(&BOUNDS),
            name: "append_latency_seconds",
            help: "Age of a batch's first record when Fluent Bit accepted it.",
            labels: &[],
        },
        samples: |sources| vec![Sample { labels: Labels::default(), value: sources.latency.value() }],
    },
];

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        kind: Kind::Gauge,
        name,
        help,
        labels: &[],
    }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        kind: Kind::Counter,
        name,
        help,
        labels: &[],
    }
}

fn labelled(label: &str, value: f64) -> Sample {
    Sample {
        labels: Labels::new([label]),
        value: Value::Number(value),
    }
}

fn flag(label: &str, is_so: bool) -> Sample {
    labelled(label, f64::from(u8::from(is_so)))
}

fn number(value: f64) -> Vec<Sample> {
    vec![Sample {
        labels: Labels::default(),
        value: Value::Number(value),
    }]
}

fn optional(value: Option<usize>) -> Vec<Sample> {
    value.map_or(Vec::new(), |value| number(value as f64))
}

fn total(count: &Count) -> Vec<Sample> {
    number(count.get() as f64)
}

/// All metric families, in the order of the documentation.
pub fn all_families() -> impl Iterator<Item = &'static Family> {
    let totals = FIGURES.iter().map(|metric| &metric.total);
    let of_containers = FIGURES.iter().map(|metric| &metric.of_container);
    totals
        .chain(INSTANCE.iter().map(|metric| &metric.family))
        .chain(of_containers)
}

/// Reads the metrics of the instance as a whole.
pub fn read_instance(sources: &Sources<'_>) -> Vec<Reading> {
    let (figures, now) = (sources.accounts.total(), wall_clock());
    let totals = FIGURES.iter().map(|metric| Reading {
        family: &metric.total,
        samples: number((metric.value)(&figures, now)),
    });
    let instance = INSTANCE.iter().map(|metric| Reading {
        family: &metric.family,
        samples: (metric.samples)(sources),
    });
    totals.chain(instance).collect()
}

/// Reads the metrics with one series per container, as far as they are to be published.
pub(crate) fn read_containers(shown: &[Shown]) -> Vec<Reading> {
    let read = |index: usize, family: &'static Family| {
        let sample = |shown: &Shown| {
            let value = (*shown.values.get(index)?)?;
            let labels = shown.labels.clone();
            let value = Value::Number(value);
            Some(Sample { labels, value })
        };
        let samples = shown.iter().filter_map(sample).collect();
        Reading { family, samples }
    };
    let families = FIGURES.iter().map(|metric| &metric.of_container);
    families
        .enumerate()
        .map(|(index, family)| read(index, family))
        .collect()
}
