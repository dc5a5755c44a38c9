//! Metrics: the figures of the accounts and of the instance, with names and help texts. Pure;
//! the host's side is `ffi::cmetrics`.
//!
//! Totals cover every container, present and past; `series` decides which containers have
//! series of their own.

mod buffered;
mod families;
mod figures;
mod health;
mod labels;
mod latency;
mod series;
mod survey;
mod tally;
mod unread;

pub use crate::telemetry::metrics::buffered::Buffered;
pub use crate::telemetry::metrics::families::{all_families, read_instance};
pub use crate::telemetry::metrics::health::Health;
pub use crate::telemetry::metrics::labels::Labels;
pub use crate::telemetry::metrics::latency::Latency;
pub use crate::telemetry::metrics::series::{ContainerSeries, Shown};
pub use crate::telemetry::metrics::survey::{SourceKind, Survey};
pub use crate::telemetry::metrics::tally::{Count, Tally};
pub use crate::telemetry::metrics::unread::Unread;

use std::time::Instant;

use crate::telemetry::account::{wall_clock, Accounts};

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only increases, until the instance restarts.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts observations at or below each of these bounds.
    Histogram(&'static [f64]),
}

/// One metric with all its series.
#[derive(Debug)]
pub struct Family {
    /// Its kind.
    pub kind: Kind,
    /// The last part of its name, after `fluentbit_container_logs_`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Label names, in addition to the instance's `name`.
    pub labels: &'static [&'static str],
}

/// The value of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For a counter or gauge.
    Number(f64),
    /// For a histogram: one count per bound, and one more for all observations.
    Distribution {
        /// Observations at or below each bound, then the total.
        counts: Vec<u64>,
        /// The sum of all observed values.
        sum: f64,
    },
}

/// One series of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// One value per label of the family.
    pub labels: Labels,
    /// The current value.
    pub value: Value,
}

/// A family and its series.
#[derive(Debug)]
pub struct Reading {
    /// The family.
    pub family: &'static Family,
    /// Its series.
    pub samples: Vec<Sample>,
}

/// The sources of the metrics.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The accounts of all containers.
    pub accounts: &'a Accounts,
    /// Counts of events.
    pub tally: &'a Tally,
    /// The reader's last turn, and whether offsets can be written.
    pub health: &'a Health,
    /// Age of records when the host accepted them.
    pub latency: &'a Latency,
    /// State as of the reader's last survey.
    pub survey: Survey,
    /// Bytes of records waiting for the host.
    pub queue_bytes: usize,
    /// What the host holds.
    pub buffered: Buffered,
}

/// Reads all metrics of the instance, and what is to be published of those of containers. `series`
/// decides which containers have series of their own, at most `most` at a time, and as many again
/// where data was lost.
pub fn read(sources: &Sources<'_>, series: &mut ContainerSeries, most: usize) -> Vec<Reading> {
    let now = (Instant::now(), wall_clock());
    let shown = series.show(sources.accounts, most, now);
    let mut readings = read_instance(sources);
    readings.extend(families::read_containers(&shown));
    readings
}
