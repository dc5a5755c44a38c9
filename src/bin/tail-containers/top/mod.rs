//! `top`: a table of the containers instead of their lines, from the library in this process
//! or from the metrics of a running Fluent Bit.

mod arguments;
mod exposition;
mod local;
mod metrics;
mod remote;
mod screen;
mod table;
mod updates;
mod view;

pub use arguments::TopArguments;
pub use remote::Address;

use std::io;
use std::time::Duration;

use crate::arguments::Arguments;

/// Shows tables until everything is read or somebody ends it.
pub fn run(arguments: &Arguments, interval: Duration) -> io::Result<()> {
    local::run(arguments, interval)
}

/// Shows tables of that Fluent Bit until somebody ends it.
pub fn watch(arguments: &Arguments, address: &Address, interval: Duration) -> io::Result<()> {
    remote::run(arguments, address, interval)
}

/// What is above the table: what it is of, and how often it is new.
fn title(what: &str, interval: Duration) -> String {
    format!("{what}  every {interval:?}")
}
