//! What an operator's graphs are made of: the figures of the accounts and of
//! the instance, as metrics with names and help texts. Pure; the host's side
//! is `ffi::cmetrics`.
//!
//! Totals cover every container there is or was; which containers have series of their
//! own is decided in `series`.

mod families;
mod health;
mod latency;
mod series;
mod survey;
mod tally;
mod unread;

pub use crate::telemetry::metrics::families::all_families;
pub use crate::telemetry::metrics::health::Health;
pub use crate::telemetry::metrics::latency::Latency;
pub use crate::telemetry::metrics::series::{ContainerSeries, Shown};
pub use crate::telemetry::metrics::survey::{SourceKind, Survey};
pub use crate::telemetry::metrics::tally::{Count, Tally};
pub use crate::telemetry::metrics::unread::Unread;

use std::time::Instant;

use crate::telemetry::account::{wall_clock, Accounts};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows, until the instance starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of what is at or below each of these bounds.
    Histogram(&'static [f64]),
}

/// One metric, whatever series it has.
#[derive(Debug)]
pub struct Family {
    /// Its kind.
    pub kind: Kind,
    /// The last part of its name; `fluentbit_container_logs_` comes before.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// The labels beside `name`, which is the instance's.
    pub labels: &'static [&'static str],
}

/// The value of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram: one count more than it has bounds, the last one of all.
    Distribution {
        /// How many were at or below each bound, and in all.
        counts: Vec<u64>,
        /// The sum of all.
        sum: f64,
    },
}

/// One series of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// A value for each of the family's labels.
    pub labels: Vec<String>,
    /// Its value now.
    pub value: Value,
}

/// A family and its series.
#[derive(Debug)]
pub struct Reading {
    /// Which.
    pub family: &'static Family,
    /// Its series.
    pub samples: Vec<Sample>,
}

/// What the metrics are made of.
#[derive(Debug)]
pub struct Sources<'a> {
    /// What became of every byte.
    pub accounts: &'a Accounts,
    /// What has happened so often.
    pub tally: &'a Tally,
    /// Whether the reader turns and positions are written.
    pub health: &'a Health,
    /// How old records were when the host accepted them.
    pub latency: &'a Latency,
    /// How things were at the reader's last look round.
    pub survey: Survey,
    /// Bytes of records that wait for the host.
    pub queue_bytes: usize,
}

/// Reads the metrics of the instance as a whole.
pub fn read_instance(sources: &Sources<'_>) -> Vec<Reading> {
    families::read_instance(sources)
}

/// Reads every metric; `series` says which containers have some of their own, `most` at a
/// time.
pub fn read(sources: &Sources<'_>, series: &mut ContainerSeries, most: usize) -> Vec<Reading> {
    let shown = series.show(sources.accounts.all(), most, Instant::now());
    let mut readings = families::read_instance(sources);
    readings.extend(families::read_containers(&shown, wall_clock()));
    readings
}
