//! Inputs over files that are there before the host starts: each is checked once, then they take
//! turns.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::host::{Lab, Setup};
use crate::probe::{Answer, Compared};
use crate::session::Cost;
use crate::table::{fraction, median, spread, Table};
use crate::{rounds, Failure};

/// Room in memory that a host may take.
const WARM_MEMORY: usize = 1 << 30;

/// An input, its name, and the records it must give.
pub struct Runner<'a> {
    name: &'static str,
    setup: Box<dyn Fn() -> Setup + 'a>,
    pub records: u64,
    /// What it reads.
    input: &'a Path,
    costs: Vec<Cost>,
}

impl<'a> Runner<'a> {
    /// It has not run yet.
    pub fn new(
        name: &'static str,
        input: &'a Path,
        records: u64,
        setup: impl Fn() -> Setup + 'a,
    ) -> Runner<'a> {
        Runner {
            name,
            setup: Box::new(setup),
            records,
            input,
            costs: Vec::new(),
        }
    }

    /// One whose answer was compared with `expected` in what it has of it.
    pub fn checked(
        lab: &Lab,
        name: &'static str,
        input: &'a Path,
        expected: (&Answer, Compared),
        setup: impl Fn() -> Setup + 'a,
    ) -> Result<Runner<'a>, Failure> {
        check(lab, setup(), expected, name)?;
        Ok(Runner::new(name, input, expected.0.records, setup))
    }

    fn each(&self, figure: impl Fn(&Cost) -> f64) -> Vec<f64> {
        self.costs.iter().map(figure).collect()
    }

    /// CPU of each run, in seconds.
    pub fn cpu(&self) -> Vec<f64> {
        self.each(|cost| cost.cpu.as_secs_f64())
    }

    /// From the start to the last append, in seconds.
    pub fn wall(&self) -> Vec<f64> {
        self.each(|cost| cost.wall.as_secs_f64())
    }

    /// The most memory of any run, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let peaks = self.costs.iter().map(|cost| cost.peak_kib);
        peaks.max().unwrap_or(0) / 1024
    }

    /// How many times as much CPU this one takes.
    pub fn ratio_to(&self, other: &Runner<'_>) -> f64 {
        median(&self.cpu()) / median(&other.cpu())
    }
}

/// Brings a file, or the files of a folder, and free memory to where a program
/// finds them at once. On a virtual machine the first touch of a page can cost
/// more than all the work of a run, and which run meets it is chance.
fn warm(input: &Path) -> Result<(), Failure> {
    std::hint::black_box(vec![1u8; WARM_MEMORY]);
    read_all(input, &mut vec![0; 1 << 20])
}

fn read_all(path: &Path, buffer: &mut [u8]) -> Result<(), Failure> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            read_all(&entry?.path(), buffer)?;
        }
    } else {
        let mut file = File::open(path)?;
        while file.read(buffer)? > 0 {}
    }
    Ok(())
}

/// Runs each of them `ROUNDS` times.
pub fn run_in_turns(lab: &Lab, runners: &mut [Runner<'_>]) -> Result<(), Failure> {
    for _ in 0..rounds()? {
        for runner in &mut *runners {
            warm(runner.input)?;
            let cost = lab
                .measure((runner.setup)(), runner.records)
                .map_err(|error| format!("{}: {error}", runner.name))?;
            eprintln!(
                "{:36} cpu {:.2?} wall {:.2?} peak {} MiB",
                runner.name,
                cost.cpu,
                cost.wall,
                cost.peak_kib / 1024
            );
            runner.costs.push(cost);
        }
    }
    Ok(())
}

/// Runs once with every record looked at.
pub fn check(
    lab: &Lab,
    setup: Setup,
    (expected, compared): (&Answer, Compared),
    name: &str,
) -> Result<(), Failure> {
    let setup = match compared {
        Compared::Texts | Compared::Times => setup.probed(),
        Compared::Fields | Compared::All => setup.probed_with_fields(),
    };
    let session = lab.start(setup)?;
    session
        .wait_for(expected.records)
        .map_err(|error| format!("{name}: {error}"))?;
    let answer = session.probe.answer()?;
    if answer.is_like(expected, compared) {
        Ok(())
    } else {
        Err(format!("{name} delivered other content: {answer:?} instead of {expected:?}").into())
    }
}

/// `0.81 CPU-s (0.79–0.85): 1/9.8`: what one takes, and the part of `other`'s that it is.
pub fn text_beside(mine: &Runner<'_>, other: &Runner<'_>) -> String {
    let part = fraction(other.ratio_to(mine));
    format!("{}: {part}", spread(&mine.cpu(), "CPU-s"))
}

/// A row: `mine` takes at most a `least`th of the CPU of `other`.
pub fn compare(
    table: &mut Table,
    axis: &str,
    target: &str,
    mine: &Runner<'_>,
    other: &Runner<'_>,
    least: f64,
) {
    table.add(
        axis,
        target,
        text_beside(mine, other),
        spread(&other.cpu(), "CPU-s"),
        other.ratio_to(mine) >= least,
    );
}
