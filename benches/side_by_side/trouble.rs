//! Rows over containers that write more than anyone asked for.

use std::time::Duration;

use crate::host::{Lab, Setup};
use crate::many::{delay_text, window};
use crate::probe::{Answer, Compared};
use crate::table::Table;
use crate::writers::{self, empty_logs, while_writing, write_lines, Rotated};
use crate::{rounds, Failure};

const FLOOD_BYTES: u64 = 100_000_000;
const QUIET_LINES: u64 = 990;

/// What is measured while only delays or losses count: nothing, for this time.
fn sleep(time: Duration) -> Result<(), Failure> {
    std::thread::sleep(time);
    Ok(())
}

/// One container floods, 99 are quiet: how long do the quiet ones wait?
pub fn flood(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let mut results = Vec::new();
    for _ in 0..rounds()? {
        let root = lab.folder()?;
        let mut quiet = empty_logs(lab.format, root.path(), 0, 99)?;
        let mut loud = empty_logs(lab.format, root.path(), 99, 1)?.remove(0);
        let session = lab.start(
            lab.ours_of_rows(root.path(), &lab.fresh("flood.db"))
                .probed(),
        )?;
        std::thread::sleep(Duration::from_secs(1));
        let (lines, ((bytes, flood), ())) = while_writing(
            |stop| write_lines(lab.format, &mut quiet, QUIET_LINES, stop),
            || {
                while_writing(
                    |stop| writers::flood(lab.format, &mut loud, FLOOD_BYTES, stop),
                    || sleep(Duration::from_secs(5)),
                )
            },
        )?;
        let expected = lines.join(flood);
        session.wait_for(expected.records)?;
        if !session.probe.answer()?.is_like(&expected, Compared::Times) {
            return Err("other content than was written".into());
        }
        let delays = session.probe.delays()?;
        results.push((
            delays.percentile(95),
            format!("{} at {} MB/s", delay_text(&delays), bytes / 5_000_000),
        ));
    }
    results.sort_by(|a, b| a.0.total_cmp(&b.0));
    let texts: Vec<&str> = results.iter().map(|(_, text)| text.as_str()).collect();
    let middle = results[results.len() / 2].0;
    let axis = "one container floods 100 MB/s, 99 are quiet: delay of the quiet";
    table.add(
        axis,
        "p95 ≤ 50 ms",
        texts.join("; "),
        String::new(),
        middle <= 50.0,
    );
    Ok(())
}

/// 50,000 lines a second into a log that is rotated at 1 MB, three files kept.
pub fn rotation(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let (mine, written, rotations) = run_rotation(lab, |root| {
        lab.ours_of_rows(root, &lab.fresh("rotation.db"))
    })?;
    let (other, other_written, _) = run_rotation(lab, |root| {
        let db = lab.fresh("tail.db");
        lab.tail_of_rows(root).with(&format!("db={}", db.display()))
    })?;
    let text = |answer: &Answer, written: &Answer| {
        let lost = written.records.saturating_sub(answer.records);
        format!(
            "{lost} of {} lost ({:.1} %)",
            written.records,
            100.0 * lost as f64 / written.records as f64
        )
    };
    table.add(
        "rotation flood, 50,000 lines/s, 1 MB × 3",
        "0 lost",
        format!("{}, {rotations} rotations", text(&mine, &written)),
        text(&other, &other_written),
        mine.is_like(&written, Compared::Times),
    );
    Ok(())
}

fn run_rotation(
    lab: &Lab,
    setup: impl Fn(&std::path::Path) -> Setup,
) -> Result<(Answer, Answer, u64), Failure> {
    let root = lab.folder()?;
    let mut logs = [Rotated::new(lab.format, lab.format.log(root.path(), 0)?)?];
    let session = lab.start(setup(root.path()).probed())?;
    std::thread::sleep(Duration::from_secs(1));
    let window = window()?;
    let (written, ()) = while_writing(
        |stop| write_lines(lab.format, &mut logs, 50_000, stop),
        || sleep(window),
    )?;
    session.settled()?;
    Ok((session.probe.answer()?, written, logs[0].rotations))
}
