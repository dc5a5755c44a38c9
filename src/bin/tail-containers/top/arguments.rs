//! The command line of `top`.

use std::time::Duration;

use clap::Args;
use fluent_bit_container_logs::runtime::name_glob::Name;

use super::Address;
use crate::arguments::{parse_tail, Tail};
use crate::since;

/// What follows `top`.
#[derive(Clone, Args)]
pub struct TopArguments {
    /// Only these containers, as without the command
    #[arg(value_name = "NAME", value_parser = Name::parse, conflicts_with = "url")]
    pub names: Vec<Name>,

    /// Watch a running Fluent Bit instead, here or on another machine: what it has delivered and
    /// lost, from the metrics of its HTTP server (HTTP_Server On, HTTP_Port 2020)
    #[arg(long, value_name = "URL", value_parser = Address::parse, conflicts_with = "tail")]
    pub url: Option<Address>,

    /// How often the table is refreshed
    #[arg(
        short = 'd',
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = since::parse_interval
    )]
    pub interval: Duration,

    /// Count the last N lines of each container, or all of them, in addition to those that are
    /// written from now on
    #[arg(
        short = 'n',
        long,
        value_name = "N|all",
        value_parser = parse_tail,
        allow_hyphen_values = true
    )]
    tail: Option<Tail>,

    /// Print one table and exit: of what has been logged so far, or of the first interval
    /// with --url
    #[arg(long = "no-follow")]
    pub no_follow: bool,
}

impl TopArguments {
    /// How many existing lines of each container to count; `None` for all.
    pub fn tail(&self) -> Option<usize> {
        match self.tail {
            Some(Tail::All) => None,
            Some(Tail::Last(lines)) => Some(lines),
            // If it does not follow, there are no others.
            None => Some(0).filter(|_| !self.no_follow),
        }
    }
}
