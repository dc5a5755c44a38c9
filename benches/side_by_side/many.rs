//! Rows over containers that are written while the host runs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::host::{Lab, Setup};
use crate::probe::Delays;
use crate::table::Table;
use crate::writers::{empty_logs, write_lines};
use crate::{number, Failure};

/// Before the measuring begins: all logs are found and hot.
const WARM_UP: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub containers: usize,
    pub rate: u64,
}

/// What a host did under a load.
pub struct Live {
    /// Of one processor, in percent.
    pub cpu: f64,
    pub grown_mib: f64,
    pub overflows: usize,
    pub delays: Option<Delays>,
}

/// How long one load is measured.
fn window() -> Result<Duration, Failure> {
    Ok(Duration::from_secs(number("WINDOW", 10)?))
}

/// Runs an input under a load; every line must have come exactly once.
pub fn run(
    lab: &Lab,
    load: Load,
    setup: impl Fn(&PathBuf) -> Setup,
    is_probed: bool,
) -> Result<Live, Failure> {
    let root = tempfile::tempdir_in(&lab.scratch)?;
    let mut logs = empty_logs(lab.format, root.path(), 0, load.containers)?;
    let setup = setup(&root.path().to_owned());
    let session = lab.start(if is_probed { setup.probed() } else { setup })?;
    std::thread::sleep(Duration::from_secs(1));
    let resident = session.kib("VmRSS:")?;
    let stop = AtomicBool::new(false);
    let (cpu, expected) = std::thread::scope(|scope| -> Result<_, Failure> {
        let writer = scope.spawn(|| {
            write_lines(lab.format, &mut logs, load.rate, &stop).map_err(|error| error.to_string())
        });
        let measured = measure_window(&session);
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")??;
        Ok((measured?, written))
    })?;
    let grown_mib = (session.kib("VmRSS:")? as f64 - resident as f64) / 1024.0;
    session.wait_for(expected.records)?;
    if is_probed && session.probe.answer()?.texts != expected.texts {
        return Err("other content than was written".into());
    }
    let delays = if is_probed {
        Some(session.probe.delays()?)
    } else {
        None
    };
    Ok(Live {
        cpu,
        grown_mib,
        overflows: session.logged("overflow")?,
        delays,
    })
}

/// The CPU of the process, in percent of one processor, once all is hot.
pub fn measure_window(session: &crate::host::Session) -> Result<f64, Failure> {
    std::thread::sleep(WARM_UP);
    let (began, before) = (Instant::now(), session.cpu()?);
    std::thread::sleep(window()?);
    let used = session.cpu()?.saturating_sub(before);
    Ok(100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64())
}

fn ours(lab: &Lab) -> impl Fn(&PathBuf) -> Setup + '_ {
    |root| lab.ours_of_rows(root, &lab.fresh("live.db"))
}

fn tail(lab: &Lab) -> impl Fn(&PathBuf) -> Setup + '_ {
    |root| lab.tail_of_rows(root)
}

fn cpu_row(lab: &Lab, table: &mut Table, load: Load, most: f64) -> Result<(), Failure> {
    let mine = run(lab, load, ours(lab), false)?;
    let other = run(lab, load, tail(lab), false)?;
    let axis = format!("{} containers, {} lines/s", load.containers, load.rate);
    let text = |live: &Live| {
        format!(
            "{:.2} % CPU, RSS +{:.0} MiB, {} overflows",
            live.cpu, live.grown_mib, live.overflows
        )
    };
    if load.containers < 1000 {
        let target = format!("≤ {most} % CPU");
        table.add(&axis, &target, text(&mine), text(&other), mine.cpu <= most);
    } else {
        let target = format!("≤ {most} % CPU, RSS +40 MB, no overflow");
        let is_met = mine.cpu <= most && mine.grown_mib <= 38.1 && mine.overflows == 0;
        table.add(&axis, &target, text(&mine), text(&other), is_met);
    }
    Ok(())
}

pub fn fifty_slow(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    cpu_row(
        lab,
        table,
        Load {
            containers: 50,
            rate: 1000,
        },
        1.5,
    )
}

pub fn fifty_fast(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    cpu_row(
        lab,
        table,
        Load {
            containers: 50,
            rate: 20_000,
        },
        8.0,
    )
}

pub fn thousand(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    cpu_row(
        lab,
        table,
        Load {
            containers: 1000,
            rate: 10_000,
        },
        12.0,
    )
}

/// `p50 0.8, p95 2.1, p99 4.0 ms`
pub fn delay_text(delays: &Delays) -> String {
    let [p50, p95, p99] = [50, 95, 99].map(|percent| delays.percentile(percent));
    format!("p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1} ms")
}

fn delay_row(
    lab: &Lab,
    table: &mut Table,
    load: Load,
    target: &str,
    is_met: impl Fn(&Delays) -> bool,
) -> Result<(), Failure> {
    let axis = format!(
        "write → append, {} containers, {} lines/s",
        load.containers, load.rate
    );
    let other = run(lab, load, tail(lab), true)?.delays.ok_or("delays")?;
    // Judged by the round whose p95 is in the middle; all are shown.
    let mut rounds = Vec::new();
    for _ in 0..number("ROUNDS", 3)? {
        rounds.push(run(lab, load, ours(lab), true)?.delays.ok_or("delays")?);
    }
    rounds.sort_by(|a, b| a.percentile(95).total_cmp(&b.percentile(95)));
    let texts: Vec<String> = rounds.iter().map(delay_text).collect();
    let middle = &rounds[rounds.len() / 2];
    table.add(
        &axis,
        target,
        texts.join("; "),
        delay_text(&other),
        is_met(middle),
    );
    Ok(())
}

pub fn delay_of_fifty(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let target = "p50 ≤ 2 ms, p95 ≤ 10 ms, p99 ≤ 25 ms";
    delay_row(
        lab,
        table,
        Load {
            containers: 50,
            rate: 1000,
        },
        target,
        |delays| {
            delays.percentile(50) <= 2.0
                && delays.percentile(95) <= 10.0
                && delays.percentile(99) <= 25.0
        },
    )
}

pub fn delay_of_thousand(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    delay_row(
        lab,
        table,
        Load {
            containers: 1000,
            rate: 10_000,
        },
        "p95 ≤ 250 ms",
        |delays| delays.percentile(95) <= 250.0,
    )
}
