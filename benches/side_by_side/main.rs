//! container_logs beside Fluent Bit's own `tail` input, in one run, over the
//! same files, through the same real Fluent Bit.
//!
//! `make bench` runs it. What every answer must be is known before it is timed:
//! a first pass of each input goes through a filter that hashes each record (see
//! `native/probe.c`), and every timed run must have counted every record.
//!
//! | variable | meaning |
//! |---|---|
//! | `FLUENT_BIT` | the hosts, separated as in `PATH`; else what the tests take; without one the tests' playing host, for the rows it can give |
//! | `ROWS` | which groups to run, separated by commas; all: see `GROUPS` |
//! | `FORMAT` | what is written in the rows over many containers: `json-file` (default) or `cri` |
//! | `BENCH_RECORDS` | records in the big file (4,000,000) |
//! | `ROUNDS` | timed rounds of each input (3; at most two of those that take long); medians are compared |
//! | `WINDOW`, `IDLE_WINDOW` | seconds for which a load (6), or none (15), is measured |
//! | `BENCH_DIR` | where data is written (the system's temporary folder) |
//!
//! The main rows run in each host, the others in the first. With all rows, `docs/benchmarks.md` and
//! `docs/growth.svg` are written anew. A group that fails is a row that says why, and the status.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads what it wrote itself"
)]

mod beside;
mod data;
mod docker_api;
mod gather;
mod growth;
mod host;
mod journal;
mod many;
mod native;
mod node;
mod one_file;
mod playing;
mod plot;
mod probe;
mod report;
mod runner;
mod session;
mod sparse;
mod table;
mod trouble;
mod writers;

use std::path::{Path, PathBuf};
use std::time::Instant;

use host::Lab;
use report::Report;
use table::Table;
use test_kit::fluent_bit::find_all;

/// Whatever ends a bench.
type Failure = Box<dyn std::error::Error>;

/// In which hosts a group runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// Each: its rows are the main ones.
    Each,
    /// The first: another would show the same.
    First,
    /// The one that stands in for a Fluent Bit that is not there.
    Playing,
}

/// A group of rows, where it runs, and what makes them.
type Group = (
    &'static str,
    In,
    fn(&Lab, &mut Table) -> Result<(), Failure>,
);

const GROUPS: [Group; 22] = [
    ("file", In::Each, one_file::big_file),
    ("names", In::Each, beside::names),
    ("merge", In::First, beside::merge),
    ("multiline", In::First, beside::multiline),
    ("formats", In::First, beside::formats),
    ("gz", In::First, beside::compressed),
    ("api", In::First, docker_api::row),
    ("live50", In::Each, many::fifty_slow),
    ("live50fast", In::First, many::fifty_fast),
    ("live1000", In::First, many::thousand),
    ("idle", In::Each, sparse::idle),
    ("node", In::First, node::rows),
    ("start", In::First, sparse::start),
    ("latency50", In::Each, many::delay_of_fifty),
    ("latency1000", In::First, many::delay_of_thousand),
    ("flood", In::First, trouble::flood),
    ("rotation", In::First, trouble::rotation),
    ("journal", In::First, journal::rows),
    ("containers", In::First, growth::containers),
    ("rates", In::First, growth::rates),
    ("lengths", In::First, growth::lengths),
    ("playing", In::Playing, playing::big_file),
];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, client, socket, id] = &arguments[..] {
        if client == docker_api::CLIENT {
            return docker_api::follow(socket, id);
        }
    }
    let wanted = wanted_groups()?;
    let scratch = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir))?,
        None => tempfile::tempdir()?,
    };
    let hosts: Vec<Option<PathBuf>> = match find_all() {
        hosts if hosts.is_empty() => vec![None],
        hosts => hosts.into_iter().map(Some).collect(),
    };
    let (mut report, mut failed) = (Report::new()?, Vec::new());
    for (index, host) in hosts.iter().enumerate() {
        let lab = Lab::new(scratch.path(), host.clone())?;
        let mut table = Table::default();
        for (name, place, group) in GROUPS {
            let is_due = match place {
                In::Each => host.is_some(),
                In::First => host.is_some() && index == 0,
                In::Playing => host.is_none(),
            };
            let is_wanted = wanted.iter().any(|group| group == name);
            if is_wanted && (is_due || place == In::Playing && index == 0)
                || wanted.is_empty() && is_due
            {
                eprintln!("== {name}");
                let began = Instant::now();
                if let Err(error) = group(&lab, &mut table) {
                    table.skip(name, "", &format!("the group failed: {error}"));
                    failed.push(name);
                }
                eprintln!("== {name} took {:.0?}", began.elapsed());
            }
        }
        report.add(host.as_deref(), table);
    }
    println!("\n{}", report.text());
    let is_of_all = wanted.is_empty() && hosts.iter().all(Option::is_some);
    if is_of_all && data::Format::of_rows()? == data::Format::JsonFile {
        report.write()?;
    } else if let Some(file) = report.write_picture(Path::new(env!("CARGO_TARGET_TMPDIR")))? {
        println!("{} is written", file.display());
    }
    match failed[..] {
        [] => Ok(()),
        _ => Err(format!("failed: {}", failed.join(", ")).into()),
    }
}

/// The groups that `ROWS` names.
fn wanted_groups() -> Result<Vec<String>, Failure> {
    let wanted = std::env::var("ROWS").unwrap_or_default();
    let names = wanted.split(',').map(str::trim);
    let wanted: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let is_group = |name: &&String| GROUPS.iter().any(|(group, ..)| group == name);
    match wanted.iter().find(|name| !is_group(name)) {
        Some(name) => {
            let names: Vec<&str> = GROUPS.iter().map(|(name, ..)| *name).collect();
            Err(format!("ROWS: no {name}; there are {}", names.join(", ")).into())
        }
        None => Ok(wanted),
    }
}

/// Records in the big file.
fn records() -> Result<u64, Failure> {
    number("BENCH_RECORDS", 4_000_000)
}

/// Timed rounds of each input.
fn rounds() -> Result<u64, Failure> {
    number("ROUNDS", 3)
}

/// A number from the environment.
fn number(name: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(name) {
        Ok(text) => Ok(text.parse().map_err(|error| format!("{name}: {error}"))?),
        Err(_) => Ok(default),
    }
}
