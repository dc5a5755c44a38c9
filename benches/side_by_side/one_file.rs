//! The rows over one big json-file: CPU, wall time, and the distance from the floor.

use crate::data::{write_big_file, Content, Format};
use crate::gather::ready_records;
use crate::host::Lab;
use crate::probe::Compared;
use crate::runner::{compare, run_in_turns, Runner};
use crate::table::{fraction, median, spread, Table};
use crate::{records, Failure};

pub const METADATA_OFF: &str = "metadata=off";

const FLOOR_BAR: f64 = 1.5;

/// CPU and time for one big file, and the distance from the floor.
pub fn big_file(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let folder = lab.folder()?;
    let root = folder.path();
    let records = records()?;
    let written = write_big_file(root, Format::JsonFile, Content::Plain, records)?;
    let (batches, plain_batches) = (&lab.scratch.join("batches"), &lab.scratch.join("plain"));
    let ready = ready_records(root, batches, &[])?.records_below(records);
    let plain = ready_records(root, plain_batches, &[("Metadata", "off")])?.records_below(records);
    let ours = || lab.ours(root, &lab.fresh("big.db"));
    let described = (&written.with_metadata, Compared::All);
    let bare = (&written.without_metadata, Compared::All);
    // tail rounds the times.
    let of_tail = (&written.without_metadata, Compared::Fields);
    // It leaves each time in its record, too.
    let of_joining = (&written.without_metadata, Compared::Texts);
    let mut runners = [
        Runner::checked(lab, "with metadata", root, described, ours)?,
        Runner::new("floor", batches, ready, || lab.ready(batches, ready)),
        Runner::checked(lab, "tail, parser docker", root, of_tail, || {
            lab.tail_docker(root)
        })?,
        Runner::checked(
            lab,
            "tail, multiline.parser docker",
            root,
            of_joining,
            || lab.tail(root).with("multiline.parser=docker"),
        )?,
        Runner::checked(lab, "without metadata", root, bare, || {
            ours().with(METADATA_OFF)
        })?,
        Runner::new("floor without metadata", plain_batches, plain, || {
            lab.ready(plain_batches, plain)
        }),
    ];
    run_in_turns(lab, &mut runners)?;
    table.note(format!(
        "The big file: {records} records, {} MB, one container.",
        written.bytes / 1_000_000
    ));
    report(table, &runners);
    Ok(())
}

fn report(table: &mut Table, runners: &[Runner<'_>; 6]) {
    let [with, floor, docker, joined, without, plain_floor] = runners;
    let mut row = |axis: &str, target: &str, mine: &Runner<'_>, other: &Runner<'_>, least: f64| {
        compare(table, axis, target, mine, other, least);
    };
    let (of_docker, of_joined) = ("of tail, parser docker", "of tail, multiline.parser docker");
    let [bare, all] =
        ["without", "with"].map(|word| format!("CPU, one big json-file, {word} metadata"));
    row(&all, &format!("≤ 1/8 {of_docker}"), with, docker, 8.0);
    row(&all, &format!("≤ 1/10 {of_joined}"), with, joined, 10.0);
    row(&bare, &format!("≤ 1/10 {of_docker}"), without, docker, 10.0);
    row(&bare, &format!("≤ 1/10 {of_joined}"), without, joined, 10.0);
    report_floor(table, "with metadata", with, floor);
    report_floor(table, "without metadata", without, plain_floor);
    let ratio = median(&docker.wall()) / median(&with.wall());
    table.add(
        "wall time, one big json-file, with metadata",
        "≤ 1/4 of tail, parser docker",
        format!("{}: {}", spread(&with.wall(), "s"), fraction(ratio)),
        spread(&docker.wall(), "s"),
        ratio >= 4.0,
    );
    table.note(format!(
        "Peak memory over the big file: container_logs {} MiB, floor {} MiB, tail {} MiB, joining {} MiB.",
        with.peak_mib(),
        floor.peak_mib(),
        docker.peak_mib(),
        joined.peak_mib()
    ));
}

fn report_floor(table: &mut Table, which: &str, mine: &Runner<'_>, floor: &Runner<'_>) {
    // The last batch, which would have been too many, is missing.
    let scale = mine.records as f64 / floor.records as f64;
    let ratio = mine.ratio_to(floor) / scale;
    table.add(
        &format!("distance from the floor, {which}"),
        &format!("≤ {FLOOR_BAR} × the append floor"),
        format!("{}: {ratio:.2} ×", spread(&mine.cpu(), "CPU-s")),
        spread(&floor.cpu(), "CPU-s"),
        ratio <= FLOOR_BAR,
    );
}
