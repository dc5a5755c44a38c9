//! Rows over containers that are written while the host runs.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::host::{Lab, Setup};
use crate::probe::{Answer, Compared, Delays};
use crate::session::Session;
use crate::table::{fraction, median, spread, Table};
use crate::writers::{empty_logs, while_writing, write_lines};
use crate::{number, rounds, Failure};

/// Before the measuring begins: all logs are found and hot.
const WARM_UP: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub containers: usize,
    /// The number of these that write in turn; the others wrote a line before the host started.
    pub talking: usize,
    /// Lines a second in all.
    pub rate: u64,
}

impl Load {
    /// All containers write.
    pub const fn of_all(containers: usize, rate: u64) -> Load {
        Load {
            containers,
            talking: containers,
            rate,
        }
    }

    /// A host finds a thousand logs in a second, on a busy machine too.
    fn settle(self) -> Duration {
        Duration::from_secs(1) + Duration::from_millis(1) * self.containers as u32
    }
}

/// What is looked at, besides the cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Every line must have come exactly once.
    Number,
    /// Their texts and delays, too.
    Texts,
    /// Lines may be missing, and are counted.
    Losses,
}

/// What a host did under a load.
pub struct Live {
    /// Of one processor, in percent.
    pub cpu: f64,
    pub grown_mib: f64,
    pub overflows: usize,
    pub lost: u64,
    /// Lines a second, which a busy machine may not reach.
    pub written_rate: f64,
    pub delays: Option<Delays>,
}

/// How long one load is measured.
pub fn window() -> Result<Duration, Failure> {
    Ok(Duration::from_secs(number("WINDOW", 6)?))
}

/// Runs an input under a load.
pub fn run(
    lab: &Lab,
    load: Load,
    setup: impl Fn(&Path) -> Setup,
    asked: Asked,
) -> Result<Live, Failure> {
    let root = lab.folder()?;
    let mut logs = empty_logs(lab.format, root.path(), 0, load.talking)?;
    let quiet = write_quiet(lab, root.path(), load.talking..load.containers)?;
    let setup = setup(root.path());
    let is_probed = asked == Asked::Texts;
    let session = lab.start(if is_probed { setup.probed() } else { setup })?;
    std::thread::sleep(load.settle());
    let resident = session.kib("VmRSS:")?;
    let began = Instant::now();
    let (written, cpu) = while_writing(
        |stop| write_lines(lab.format, &mut logs, load.rate, stop),
        || measure_window(&session),
    )?;
    let written_rate = written.records as f64 / began.elapsed().as_secs_f64();
    let expected = written.join(quiet);
    let grown_mib = (session.kib("VmRSS:")? as f64 - resident as f64) / 1024.0;
    let mut lost = 0;
    match asked {
        Asked::Losses => lost = expected.records.saturating_sub(session.settled()?),
        Asked::Number | Asked::Texts => session.wait_for(expected.records)?,
    }
    if is_probed && !session.probe.answer()?.is_like(&expected, Compared::Texts) {
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
        lost,
        written_rate,
        delays,
    })
}

/// Containers that have written one line each, long ago.
pub fn write_quiet(lab: &Lab, root: &Path, numbers: Range<usize>) -> Result<Answer, Failure> {
    const TEXT: &[u8] = b"~ started";
    const NANOS: u64 = 1_795_456_800_000_000_000;
    let mut answer = Answer::default();
    let mut line = Vec::new();
    lab.format.put_line(&mut line, TEXT, NANOS)?;
    for mut log in empty_logs(lab.format, root, numbers.start, numbers.len())? {
        log.write_all(&line)?;
        answer.add(TEXT, NANOS);
    }
    Ok(answer)
}

/// The CPU of the process, in percent of one processor, once all is hot.
pub fn measure_window(session: &Session) -> Result<f64, Failure> {
    std::thread::sleep(WARM_UP);
    measure_for(session, window()?)
}

/// The CPU of the process over a time, in percent of one processor.
pub fn measure_for(session: &Session, window: Duration) -> Result<f64, Failure> {
    let (began, before) = (Instant::now(), session.cpu()?);
    std::thread::sleep(window);
    let used = session.cpu()?.saturating_sub(before);
    Ok(100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// container_logs over the root of a load.
pub fn ours(lab: &Lab) -> impl Fn(&Path) -> Setup + '_ {
    |root| lab.ours_of_rows(root, &lab.fresh("live.db"))
}

/// `tail` over it.
pub fn tail(lab: &Lab) -> impl Fn(&Path) -> Setup + '_ {
    |root| lab.tail_of_rows(root)
}

/// What the rounds of an input under a load gave.
struct Rounds(Vec<Live>);

impl Rounds {
    fn cpu(&self) -> Vec<f64> {
        self.0.iter().map(|live| live.cpu).collect()
    }

    fn most_grown_mib(&self) -> f64 {
        let grown = self.0.iter().map(|live| live.grown_mib);
        grown.fold(0.0, f64::max)
    }

    fn overflows(&self) -> usize {
        self.0.iter().map(|live| live.overflows).sum()
    }

    fn text(&self) -> String {
        format!(
            "{}, RSS +{:.0} MiB, {} overflows",
            spread(&self.cpu(), "% CPU"),
            self.most_grown_mib(),
            self.overflows()
        )
    }
}

/// Ours and `tail`'s, in turns: what else the machine does meets both.
fn in_turns(lab: &Lab, load: Load, asked: Asked) -> Result<[Rounds; 2], Failure> {
    let (mut mine, mut other) = (Vec::new(), Vec::new());
    let most = match asked {
        // Each round has thousands of delays.
        Asked::Texts => 2,
        Asked::Number | Asked::Losses => u64::MAX,
    };
    for _ in 0..rounds()?.min(most) {
        mine.push(run(lab, load, ours(lab), asked)?);
        other.push(run(lab, load, tail(lab), asked)?);
    }
    Ok([Rounds(mine), Rounds(other)])
}

fn cpu_row(
    lab: &Lab,
    table: &mut Table,
    load: Load,
    target: &str,
    is_met: impl Fn(&Rounds, f64) -> bool,
) -> Result<(), Failure> {
    let [mine, other] = in_turns(lab, load, Asked::Number)?;
    let axis = format!("{} containers, {} lines/s", load.containers, load.rate);
    let ratio = median(&other.cpu()) / median(&mine.cpu());
    let measured = format!("{}: {}", mine.text(), fraction(ratio));
    table.add(&axis, target, measured, other.text(), is_met(&mine, ratio));
    Ok(())
}

const FIFTY_SLOW: Load = Load::of_all(50, 1000);
const THOUSAND: Load = Load::of_all(1000, 10_000);

pub fn fifty_slow(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let target = "≤ 1/10 of tail, parser docker";
    cpu_row(lab, table, FIFTY_SLOW, target, |_, ratio| ratio >= 10.0)
}

pub fn fifty_fast(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let load = Load::of_all(50, 20_000);
    cpu_row(lab, table, load, "≤ 8 % CPU", |mine, _| {
        median(&mine.cpu()) <= 8.0
    })
}

pub fn thousand(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let target = "≤ 12 % CPU, RSS +40 MB, no overflow";
    cpu_row(lab, table, THOUSAND, target, |mine, _| {
        median(&mine.cpu()) <= 12.0 && mine.most_grown_mib() <= 38.1 && mine.overflows() == 0
    })
}

/// `p50 0.8, p95 2.1, p99 4.0 ms`
pub fn delay_text(delays: &Delays) -> String {
    let [p50, p95, p99] = [50, 95, 99].map(|percent| delays.percentile(percent));
    format!("p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1} ms")
}

/// Judged by the round whose p95 is in the middle; all are shown.
fn delay_row(lab: &Lab, table: &mut Table, load: Load, most_millis: f64) -> Result<(), Failure> {
    let [mine, other] = in_turns(lab, load, Asked::Texts)?;
    let figures = |Rounds(rounds): Rounds| {
        let delays = rounds.iter().filter_map(|live| live.delays.as_ref());
        let figures: (Vec<f64>, Vec<String>) = delays
            .map(|delays| (delays.percentile(95), delay_text(delays)))
            .unzip();
        (median(&figures.0), figures.1.join("; "))
    };
    let (p95, texts) = figures(mine);
    table.add(
        &format!(
            "write → append, {} containers, {} lines/s",
            load.containers, load.rate
        ),
        &format!("p95 ≤ {most_millis} ms"),
        texts,
        figures(other).1,
        p95 <= most_millis,
    );
    Ok(())
}

pub fn delay_of_fifty(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    delay_row(lab, table, FIFTY_SLOW, 25.0)
}

pub fn delay_of_thousand(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    delay_row(lab, table, THOUSAND, 250.0)
}
