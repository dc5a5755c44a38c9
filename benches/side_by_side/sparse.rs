//! Rows over many containers that write nothing, or next to nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::host::{since_1970, Lab, Setup};
use crate::probe::Answer;
use crate::table::{median, spread, Table};
use crate::writers::empty_logs;
use crate::{number, Failure};

/// What idle containers cost.
struct Idle {
    /// Of one processor, in percent.
    cpu: f64,
    resident_kib: f64,
}

fn run_idle(lab: &Lab, setup: Setup, settle: Duration) -> Result<Idle, Failure> {
    let session = lab.start(setup)?;
    std::thread::sleep(settle);
    let (began, before) = (Instant::now(), session.cpu()?);
    std::thread::sleep(Duration::from_secs(number("IDLE_WINDOW", 20)?));
    let used = session.cpu()?.saturating_sub(before);
    let cpu = 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok(Idle {
        cpu,
        resident_kib: session.kib("VmRSS:")? as f64,
    })
}

/// Containers that have written one line each, long ago.
pub fn idle(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let settle = Duration::from_secs(5);
    let empty = tempfile::tempdir_in(&lab.scratch)?;
    std::fs::create_dir_all(empty.path().join(lab.format.folder()))?;
    let none = run_idle(
        lab,
        lab.ours_of_rows(empty.path(), &lab.fresh("idle.db")),
        settle,
    )?;
    let thousand = idle_root(lab, 1000)?;
    let some = run_idle(
        lab,
        lab.ours_of_rows(thousand.path(), &lab.fresh("idle.db")),
        settle,
    )?;
    let tail = run_idle(lab, lab.tail_of_rows(thousand.path()), settle)?;
    let many = idle_root(lab, 10_000)?;
    let most = run_idle(
        lab,
        lab.ours_of_rows(many.path(), &lab.fresh("idle.db")),
        3 * settle,
    )?;
    let each = (most.resident_kib - some.resident_kib) / 9000.0;
    let text = |idle: &Idle| {
        format!(
            "{:.3} % CPU, {:.1} MiB",
            idle.cpu,
            idle.resident_kib / 1024.0
        )
    };
    table.add(
        "1,000 idle containers",
        "≤ 0.15 % CPU, ≤ 4 KB each",
        format!("{}, {each:.2} KiB each", text(&some)),
        format!(
            "tail: {}; container_logs with none: {}",
            text(&tail),
            text(&none)
        ),
        some.cpu <= 0.15 && each <= 4.0,
    );
    let own = |idle: &Idle| (idle.cpu - none.cpu).max(0.0);
    table.add(
        "10,000 idle containers",
        "≤ 10 × 1,000",
        format!(
            "{}: {:.1} × without the host's own",
            text(&most),
            own(&most) / own(&some).max(0.001)
        ),
        String::new(),
        most.cpu <= 10.0 * some.cpu,
    );
    Ok(())
}

fn idle_root(lab: &Lab, containers: usize) -> Result<tempfile::TempDir, Failure> {
    let root = tempfile::tempdir_in(&lab.scratch)?;
    for mut log in empty_logs(lab.format, root.path(), 0, containers)? {
        let mut line = Vec::new();
        lab.format
            .put_line(&mut line, b"started", 1_795_456_800_000_000_000)?;
        log.write_all(&line)?;
    }
    Ok(root)
}

/// From the start of the process to the first append, with a checkpoint.
pub fn start(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let root = tempfile::tempdir_in(&lab.scratch)?;
    let mut logs = empty_logs(lab.format, root.path(), 0, 1000)?;
    let db = lab.fresh("start.db");
    let mut answer = write_once(lab, &mut logs)?;
    let first = lab.start(lab.ours_of_rows(root.path(), &db))?;
    first.wait_for(answer.records)?;
    first.stop()?;
    let mut waits = Vec::new();
    for _ in 0..number("ROUNDS", 3)? {
        answer = write_once(lab, &mut logs)?;
        let session = lab.start(lab.ours_of_rows(root.path(), &db).probed())?;
        session.wait_for(answer.records)?;
        if session.probe.answer()? != answer {
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
