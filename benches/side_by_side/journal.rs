//! Rows over systemd's journal, beside Fluent Bit's own input `systemd`, which knows no
//! containers: its records are the entries.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fluent_bit_container_logs::ffi::journal::library;
use fluent_bit_container_logs::source::journal::seam::Seek;
use test_kit::journald::{JournalWriter, Journald};

use crate::data::{container, plain_lines, put_text, put_time, time_of};
use crate::host::{Lab, Setup};
use crate::many::measure_window;
use crate::probe::Compared;
use crate::runner::{run_in_turns, Runner};
use crate::table::{median, spread, Table};
use crate::writers::while_writing;
use crate::{records, rounds, Failure};

const AXIS: &str = "CPU, entries of systemd's journal, with metadata";
const LIVE_AXIS: &str = "systemd's journal, 20 containers, 5000 lines/s";
const TARGET: &str = "≤ 1.2 × Fluent Bit's systemd";
const BAR: f64 = 1.2;

const CONTAINERS: usize = 20;
const LINES_PER_SECOND: u64 = 5000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is nothing to compare with, or to read.
fn obstacle(lab: &Lab) -> Option<String> {
    let host = lab.fluent_bit.as_ref()?;
    let help = Command::new(host).arg("-h").output().ok()?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let has_input = help.lines().any(|line| line.trim().starts_with("systemd"));
    (!has_input).then(|| format!("{} has no input systemd", host.display()))
}

/// Both rows, or why there are none.
pub fn rows(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let journald = match obstacle(lab).map_or_else(Journald::start, Err) {
        Ok(journald) => journald,
        Err(reason) => {
            table.skip(AXIS, TARGET, &reason);
            table.skip(LIVE_AXIS, TARGET, &reason);
            return Ok(());
        }
    };
    catch_up(lab, table, &journald)?;
    drop(journald);
    live(lab, table)
}

fn ours(lab: &Lab, root: &Path, journald: &Journald) -> Setup {
    lab.ours(root, &lab.fresh("journal.db"))
        .with("docker_socket=off")
        .with(&format!("journal_path={}", journald.folder().display()))
}

fn write(writer: &mut JournalWriter, id: &str, text: &[u8], nanos: u64) -> Result<(), Failure> {
    let mut time = Vec::new();
    put_time(&mut time, nanos)?;
    let [text, time] = [text, &time].map(std::str::from_utf8);
    writer.docker(id, "stdout", text?, time?, false);
    Ok(())
}

/// How many entries the journal has, journald's own among them.
fn entries(journald: &Journald) -> Result<u64, Failure> {
    let mut journal = library().open(Some(&journald.folder()))?;
    journal.seek(Seek::Head)?;
    let mut count = 0;
    while journal.step()? {
        count += 1;
    }
    Ok(count)
}

/// Waits until what was sent is in the journal: at least so many entries; gives their number.
fn await_entries(journald: &Journald, sent: u64) -> Result<u64, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // journald takes what is sent in its order, so nothing follows the last one.
        let all = entries(journald)?;
        if all > sent {
            return Ok(all);
        }
        if Instant::now() > deadline {
            return Err(format!("{all} entries in the journal, of more than {sent}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All that is in the journal when the host starts.
fn catch_up(lab: &Lab, table: &mut Table, journald: &Journald) -> Result<(), Failure> {
    let root = lab.scratch.join("journaled");
    let id = container(&root, 0, "journald")?.1;
    // As many as journald keeps.
    let records = records()? / 20;
    let mut writer = journald.writer("dockerd", 0);
    let expected = plain_lines(records, |text, time| {
        writer.docker(&id, "stdout", text, time, false);
        Ok(())
    })?;
    writer.finish();
    let all = await_entries(journald, records)?;
    let folder = journald.folder();
    let mut runners = [
        Runner::checked(
            lab,
            "journal",
            &folder,
            (&expected, Compared::Times),
            || ours(lab, &root, journald),
        )?,
        Runner::new("systemd", &folder, all, || lab.systemd(&folder)),
    ];
    run_in_turns(lab, &mut runners)?;
    let [mine, other] = &runners;
    let ratio = mine.ratio_to(other);
    let [mine, other] = [mine.cpu(), other.cpu()];
    let each = |cpu: &[f64]| median(cpu) * 1e6 / records as f64;
    table.add(
        AXIS,
        TARGET,
        format!(
            "{}: {ratio:.2} ×, {:.1} µs each",
            spread(&mine, "CPU-s"),
            each(&mine)
        ),
        format!("{}, {:.1} µs each", spread(&other, "CPU-s"), each(&other)),
        ratio <= BAR,
    );
    Ok(())
}

/// What comes while the host runs; the inputs take turns, over a journal of their own.
fn live(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let (mut mine, mut other) = (Vec::new(), Vec::new());
    for _ in 0..rounds()? {
        for (cpus, is_ours) in [(&mut mine, true), (&mut other, false)] {
            cpus.push(run_live(lab, is_ours)?);
        }
    }
    let ratio = median(&mine) / median(&other);
    table.add(
        LIVE_AXIS,
        TARGET,
        format!("{}: {ratio:.2} ×", spread(&mine, "% CPU")),
        spread(&other, "% CPU"),
        ratio <= BAR,
    );
    Ok(())
}

/// The CPU of an input under the load, in percent of one processor. Every line must have come.
fn run_live(lab: &Lab, is_ours: bool) -> Result<f64, Failure> {
    let root = lab.folder()?;
    let ids = (0..CONTAINERS).map(|number| Ok(container(root.path(), number, "journald")?.1));
    let ids: Vec<String> = ids.collect::<Result<_, Failure>>()?;
    let journald = Journald::start()?;
    let folder = journald.folder();
    let session = lab.start(match is_ours {
        true => ours(lab, root.path(), &journald),
        false => lab.systemd(&folder),
    })?;
    let (lines, cpu) = while_writing(
        |stop| write_until(stop, journald.writer("dockerd", 0), &ids),
        || measure_window(&session),
    )?;
    let all = await_entries(&journald, lines)?;
    session.wait_for(if is_ours { lines } else { all })?;
    Ok(cpu)
}

/// Writes to the containers in turn, at the rate; gives the number of lines.
fn write_until(
    stop: &AtomicBool,
    mut writer: JournalWriter,
    ids: &[String],
) -> Result<u64, Failure> {
    let (begun, mut lines, mut text) = (Instant::now(), 0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        for id in ids {
            put_text(&mut text, lines)?;
            write(&mut writer, id, &text, time_of(lines))?;
            lines += 1;
        }
        let due = Duration::from_micros(lines * 1_000_000 / LINES_PER_SECOND);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    writer.finish();
    Ok(lines)
}
