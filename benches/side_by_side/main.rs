//! container_logs beside Fluent Bit's own `tail` input, in one run, over the
//! same files, through the same real Fluent Bit.
//!
//! `make bench` runs it. What every answer must be is known before it is timed:
//! a first pass of each input goes through a filter that hashes each record (see
//! `native/probe.c`), and every timed run must have counted every record.
//!
//! | variable | meaning |
//! |---|---|
//! | `FLUENT_BIT` | the host; else the first `fluent-bit` on `PATH`; without one the tests' playing host, for the rows it can give |
//! | `ROWS` | which groups to run, separated by commas; all: see `GROUPS` |
//! | `FORMAT` | what is written in the rows over many containers: `json-file` (default) or `cri` |
//! | `BENCH_RECORDS` | records in the big file (4,000,000) |
//! | `ROUNDS` | timed rounds of each input (3); medians are compared |
//! | `BENCH_DIR` | where data is written (the system's temporary folder) |
//!
//! With all rows, `docs/benchmarks.md` is written anew.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads what it wrote itself"
)]

mod data;
mod gather;
mod host;
mod journal;
mod many;
mod native;
mod one_file;
mod playing;
mod probe;
mod sparse;
mod table;
mod trouble;
mod writers;

use std::path::PathBuf;

use host::Lab;
use table::Table;

/// Whatever ends a bench.
type Failure = Box<dyn std::error::Error>;

/// A group of rows, and what makes them.
type Group = (&'static str, fn(&Lab, &mut Table) -> Result<(), Failure>);

const GROUPS: [Group; 14] = [
    ("file", one_file::big_file),
    ("formats", one_file::other_formats),
    ("gz", one_file::compressed),
    ("live50", many::fifty_slow),
    ("live50fast", many::fifty_fast),
    ("live1000", many::thousand),
    ("idle", sparse::idle),
    ("start", sparse::start),
    ("latency50", many::delay_of_fifty),
    ("latency1000", many::delay_of_thousand),
    ("flood", trouble::flood),
    ("rotation", trouble::rotation),
    ("journal", journal::rows),
    ("playing", playing::big_file),
];

fn main() -> Result<(), Failure> {
    let wanted = std::env::var("ROWS").unwrap_or_default();
    let wanted: Vec<&str> = wanted
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| GROUPS.iter().all(|(group, _)| group != *name))
    {
        let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        return Err(format!("ROWS: no {name}; there are {}", names.join(", ")).into());
    }
    let scratch = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir))?,
        None => tempfile::tempdir()?,
    };
    let lab = Lab::new(scratch.path())?;
    let mut table = Table::new(lab.fluent_bit.as_deref())?;
    println!("{}", table.heading());
    for (name, group) in GROUPS {
        // The playing host stands in for a Fluent Bit that is not there.
        let is_due = if name == "playing" {
            lab.fluent_bit.is_none()
        } else {
            lab.fluent_bit.is_some()
        };
        if wanted.contains(&name) || (wanted.is_empty() && is_due) {
            eprintln!("== {name}");
            group(&lab, &mut table)?;
        }
    }
    println!("{}", table.text());
    if wanted.is_empty() && lab.fluent_bit.is_some() && lab.format == data::Format::JsonFile {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md"),
            table.document(),
        )?;
        println!("docs/benchmarks.md is written");
    }
    Ok(())
}

/// A number from the environment.
fn number(name: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(name) {
        Ok(text) => Ok(text.parse().map_err(|error| format!("{name}: {error}"))?),
        Err(_) => Ok(default),
    }
}
