//! Rows over many containers that write nothing, or next to nothing.

use std::io::Write;
use std::time::Duration;

use crate::host::{since_1970, Lab, Setup};
use crate::many::{measure_for, write_quiet};
use crate::probe::{Answer, Compared};
use crate::table::{median, spread, spread_to, Table};
use crate::writers::empty_logs;
use crate::{number, rounds, Failure};

/// What idle containers cost, in each round.
#[derive(Default)]
pub struct Idle {
    /// Of one processor, in percent.
    pub cpu: Vec<f64>,
    resident_kib: Vec<f64>,
}

impl Idle {
    /// One more round.
    pub fn measure(&mut self, lab: &Lab, setup: Setup, settle: Duration) -> Result<(), Failure> {
        let session = lab.start(setup)?;
        std::thread::sleep(settle);
        let window = Duration::from_secs(number("IDLE_WINDOW", 15)?);
        self.cpu.push(measure_for(&session, window)?);
        self.resident_kib.push(session.kib("VmRSS:")? as f64);
        Ok(())
    }

    fn mib(&self) -> f64 {
        median(&self.resident_kib) / 1024.0
    }

    fn text(&self) -> String {
        format!(
            "{}, {:.1} MiB",
            spread_to(3, &self.cpu, "% CPU"),
            self.mib()
        )
    }
}

/// Containers that have written one line each, long ago; the setups take turns.
pub fn idle(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let settle = Duration::from_secs(5);
    let [empty, thousand, many] = [0, 1000, 10_000].map(|containers| quiet_root(lab, containers));
    let (empty, thousand, many) = (empty?, thousand?, many?);
    let ours = |root: &tempfile::TempDir| lab.ours_of_rows(root.path(), &lab.fresh("idle.db"));
    let [mut none, mut some, mut tail, mut most] = [(); 4].map(|()| Idle::default());
    // Long ones: two will do.
    for round in 0..rounds()?.min(2) {
        none.measure(lab, ours(&empty), settle)?;
        some.measure(lab, ours(&thousand), settle)?;
        tail.measure(lab, lab.tail_of_rows(thousand.path()), settle)?;
        if round == 0 {
            most.measure(lab, ours(&many), 3 * settle)?;
        }
    }
    let each = (most.mib() - some.mib()) * 1024.0 / 9000.0;
    table.add(
        "1,000 idle containers, metrics server on",
        "≤ 0.1 % CPU, ≤ 4 KiB each",
        format!("{}, {each:.2} KiB each", some.text()),
        format!(
            "tail: {}; container_logs with none: {}",
            tail.text(),
            none.text()
        ),
        median(&some.cpu) <= 0.1 && each <= 4.0,
    );
    let own = |idle: &Idle| (median(&idle.cpu) - median(&none.cpu)).max(0.0);
    table.add(
        "10,000 idle containers",
        "≤ 10 × 1,000",
        format!(
            "{}: {:.1} × without the host's own",
            most.text(),
            own(&most) / own(&some).max(0.001)
        ),
        String::new(),
        median(&most.cpu) <= 10.0 * median(&some.cpu),
    );
    Ok(())
}

/// A root with `containers` containers that have written a line.
pub fn quiet_root(lab: &Lab, containers: usize) -> Result<tempfile::TempDir, Failure> {
    let root = lab.folder()?;
    std::fs::create_dir_all(root.path().join(lab.format.folder()))?;
    write_quiet(lab, root.path(), 0..containers)?;
    Ok(root)
}

/// From the start of the process to the first append, with a checkpoint.
pub fn start(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let root = lab.folder()?;
    let mut logs = empty_logs(lab.format, root.path(), 0, 1000)?;
    let db = lab.fresh("start.db");
    let mut answer = write_once(lab, &mut logs)?;
    let first = lab.start(lab.ours_of_rows(root.path(), &db))?;
    first.wait_for(answer.records)?;
    first.stop()?;
    let mut waits = Vec::new();
    for _ in 0..rounds()? {
        answer = write_once(lab, &mut logs)?;
        let session = lab.start(lab.ours_of_rows(root.path(), &db).probed())?;
        session.wait_for(answer.records)?;
        if !session.probe.answer()?.is_like(&answer, Compared::Times) {
            return Err("other records than those that are new".into());
        }
        waits.push(
            session
                .probe
                .first_append()?
                .saturating_sub(session.began)
                .as_secs_f64()
                * 1000.0,
        );
        session.stop()?;
    }
    table.add(
        "start with 1,000 containers and a checkpoint, to the first append",
        "≤ 300 ms",
        spread(&waits, "ms"),
        String::new(),
        median(&waits) <= 300.0,
    );
    Ok(())
}

/// A line in each log.
fn write_once(lab: &Lab, logs: &mut [std::fs::File]) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    for (number, log) in logs.iter_mut().enumerate() {
        let nanos = u64::try_from(since_1970().as_nanos())?;
        let text = format!("line of {number} at {nanos}");
        let mut line = Vec::new();
        lab.format.put_line(&mut line, text.as_bytes(), nanos)?;
        log.write_all(&line)?;
        answer.add(text.as_bytes(), nanos);
    }
    Ok(answer)
}
