//! What an operator's graphs are made of: the figures of the accounts and of
//! the instance, as metrics with names and help texts. Pure; the host's side
//! is `ffi::cmetrics`.
//!
//! Totals cover every container there is or was; series per container are for
//! those that are there, at most `Metrics_Per_Container` of them.

mod families;
mod latency;
mod survey;
mod tally;

pub use families::all_families;
pub use latency::Latency;
pub use survey::{SourceKind, Survey};
pub use tally::{Count, Tally};

use std::sync::Arc;

use crate::account::{wall_clock, Account, Figures};
use crate::exchange::Exchange;

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

/// A family and all its series. What was there last time and is not now has
/// ended.
#[derive(Debug)]
pub struct Reading {
    /// Which.
    pub family: &'static Family,
    /// Its series.
    pub samples: Vec<Sample>,
}

/// Reads every metric, with series of their own for `per_container` containers
/// at the most: first those that lost something, then by id, so that the choice
/// does not change from one reading to the next without need.
pub fn read(exchange: &Exchange, per_container: usize) -> Vec<Reading> {
    let accounts = exchange.accounts.all().into_iter();
    let mut shown: Vec<(Figures, Arc<Account>)> =
        accounts.map(|account| (account.figures(), account)).collect();
    // Users come last: nobody drives others out of the metrics by losses of his own.
    shown.sort_by_key(|(figures, account)| (account.is_of_user(), figures.lost() == 0, *account.id()));
    shown.truncate(per_container);
    let mut readings = families::read_instance(exchange);
    readings.extend(families::read_containers(&shown, wall_clock()));
    readings
}
