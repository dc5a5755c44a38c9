//! Rows over files that are there before the host starts.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::data::{big_file as write_big_file, compressed_files, Format};
use crate::gather::ready_records;
use crate::host::{Cost, Lab, Setup};
use crate::probe::Answer;
use crate::table::{median, spread, Table};
use crate::{number, Failure};

const METADATA_OFF: &str = "metadata=off";

/// An input, its name, and the records it must give.
pub struct Runner<'a> {
    name: &'static str,
    setup: Box<dyn Fn() -> Setup + 'a>,
    records: u64,
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
}

impl Runner<'_> {
    /// CPU of each run, in seconds.
    pub fn cpu(&self) -> Vec<f64> {
        self.costs
            .iter()
            .map(|cost| cost.cpu.as_secs_f64())
            .collect()
    }

    fn wall(&self) -> Vec<f64> {
        self.costs
            .iter()
            .map(|cost| cost.wall.as_secs_f64())
            .collect()
    }

    fn peak_mib(&self) -> u64 {
        self.costs
            .iter()
            .map(|cost| cost.peak_kib)
            .max()
            .unwrap_or(0)
            / 1024
    }
}

/// Room in memory that a host may take.
const WARM_MEMORY: usize = 1 << 30;

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
    for _ in 0..number("ROUNDS", 3)? {
        for runner in &mut *runners {
            warm(runner.input)?;
            let cost = lab.measure((runner.setup)(), runner.records)?;
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

/// Runs once with every record looked at. `is_exact` asks for the times too.
pub fn check(
    lab: &Lab,
    setup: Setup,
    expected: Answer,
    is_exact: bool,
    name: &str,
) -> Result<(), Failure> {
    let session = lab.start(setup.probed())?;
    session.wait_for(expected.records)?;
    let mut answer = session.probe.answer()?;
    if !is_exact {
        answer.timed_texts = expected.timed_texts;
    }
    if answer != expected {
        return Err(
            format!("{name} delivered other content: {answer:?} instead of {expected:?}").into(),
        );
    }
    Ok(())
}

/// Whether this build can leave the metadata off.
fn has_metadata_off() -> bool {
    fluent_bit_container_logs::config::options::OPTIONS
        .iter()
        .any(|option| option.name == "Metadata")
}

/// CPU and time for one big file, and the distance from the floor.
pub fn big_file(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let root = lab.scratch.join("big");
    let records = number("BENCH_RECORDS", 4_000_000)?;
    let (bytes, expected) = write_big_file(&root, Format::JsonFile, records)?;
    let ours = || lab.ours(&root, &lab.fresh("big.db"));
    let (docker, joined) = (
        || lab.tail_docker(&root),
        || lab.tail(&root).with("multiline.parser=docker"),
    );
    check(lab, ours(), expected, true, "container_logs")?;
    check(lab, docker(), expected, false, "tail, parser docker")?;
    check(
        lab,
        joined(),
        expected,
        false,
        "tail, multiline.parser docker",
    )?;
    let batches = lab.scratch.join("batches");
    let ready = ready_records(&root, &batches, &[])?;
    let ready_count = ready.records_below(records);
    let plain_batches = &lab.scratch.join("plain-batches");
    let mut runners = vec![
        Runner::new("with metadata", &root, records, ours),
        Runner::new("floor", &batches, ready_count, || {
            lab.ready(&batches, ready_count)
        }),
        Runner::new("tail, parser docker", &root, records, docker),
        Runner::new("tail, multiline.parser docker", &root, records, joined),
    ];
    if has_metadata_off() {
        check(
            lab,
            ours().with(METADATA_OFF),
            expected,
            true,
            "container_logs without metadata",
        )?;
        let plain = ready_records(&root, plain_batches, &[("Metadata", "off")])?;
        let plain_count = plain.records_below(records);
        runners.push(Runner::new("without metadata", &root, records, move || {
            ours().with(METADATA_OFF)
        }));
        runners.push(Runner::new(
            "floor without metadata",
            plain_batches,
            plain_count,
            move || lab.ready(plain_batches, plain_count),
        ));
    }
    run_in_turns(lab, &mut runners)?;
    table.note(format!(
        "The big file: {records} records, {} MB, one container.",
        bytes / 1_000_000
    ));
    report_big_file(table, &runners);
    Ok(())
}

fn report_big_file(table: &mut Table, runners: &[Runner<'_>]) {
    let [with, floor, docker, joined, rest @ ..] = runners else {
        return;
    };
    let cpu = |runner: &Runner<'_>| median(&runner.cpu());
    let mut compare =
        |axis: &str, target: &str, mine: &Runner<'_>, other: &Runner<'_>, least: f64| {
            let ratio = cpu(other) / cpu(mine);
            let measured = format!("{}: 1/{ratio:.1}", spread(&mine.cpu(), "CPU-s"));
            table.add(
                axis,
                target,
                measured,
                spread(&other.cpu(), "CPU-s"),
                ratio >= least,
            );
        };
    compare(
        "CPU, one big json-file, with metadata",
        "≤ 1/4 of tail, parser docker",
        with,
        docker,
        4.0,
    );
    compare(
        "CPU, the same",
        "≤ 1/10 of tail, multiline.parser docker",
        with,
        joined,
        10.0,
    );
    if let [without, plain_floor] = rest {
        compare(
            "CPU, without metadata",
            "≤ 1/6 of tail, parser docker",
            without,
            docker,
            6.0,
        );
        compare(
            "CPU, without metadata",
            "≤ 1/10 of tail, multiline.parser docker",
            without,
            joined,
            10.0,
        );
        report_floor(
            table,
            "distance from the floor, without metadata",
            without,
            plain_floor,
        );
    } else {
        table.skip(
            "CPU, without metadata",
            "≤ 1/6 of tail, parser docker",
            "this build has no Metadata off",
        );
    }
    report_floor(table, "distance from the floor, with metadata", with, floor);
    let ratio = median(&docker.wall()) / median(&with.wall());
    table.add(
        "wall time, with metadata",
        "≤ 1/4 of tail, parser docker",
        format!("{}: 1/{ratio:.1}", spread(&with.wall(), "s")),
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

fn report_floor(table: &mut Table, axis: &str, mine: &Runner<'_>, floor: &Runner<'_>) {
    // The last batch, which would have been too many, is missing.
    let scale = mine.records as f64 / floor.records as f64;
    let ratio = median(&mine.cpu()) / (median(&floor.cpu()) * scale);
    let measured = format!("{}: {ratio:.2} ×", spread(&mine.cpu(), "CPU-s"));
    table.add(
        axis,
        "≤ 1.7 × the append floor",
        measured,
        spread(&floor.cpu(), "CPU-s"),
        ratio <= 1.7,
    );
}

/// The same lines as other drivers and runtimes write them.
pub fn other_formats(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let records = number("BENCH_RECORDS", 4_000_000)?;
    let [json, local, cri] = ["json", "local", "cri"].map(|name| lab.scratch.join(name));
    let (_, of_json) = write_big_file(&json, Format::JsonFile, records)?;
    let (_, of_local) = write_big_file(&local, Format::Local, records)?;
    let (_, of_cri) = write_big_file(&cri, Format::Cri, records)?;
    let read_json = || lab.ours(&json, &lab.fresh("json.db"));
    let read_local = || lab.ours(&local, &lab.fresh("local.db"));
    let read_cri = || {
        lab.ours_of_pods(&cri, &lab.fresh("cri.db"))
            .with(METADATA_OFF)
    };
    check(lab, read_json(), of_json, true, "json-file")?;
    check(lab, read_local(), of_local, true, "local")?;
    check(lab, read_cri(), of_cri, true, "CRI")?;
    let mut runners = [
        Runner::new("json-file", &json, records, read_json),
        Runner::new("local", &local, records, read_local),
        Runner::new("json-file, no metadata", &json, records, || {
            read_json().with(METADATA_OFF)
        }),
        Runner::new("CRI, no metadata", &cri, records, read_cri),
    ];
    run_in_turns(lab, &mut runners)?;
    let [json, local, plain_json, cri] = &runners;
    let mut compare = |axis: &str, mine: &Runner<'_>, json: &Runner<'_>| {
        table.add(
            axis,
            "no worse than json-file",
            spread(&mine.cpu(), "CPU-s"),
            format!("json-file: {}", spread(&json.cpu(), "CPU-s")),
            median(&mine.cpu()) <= median(&json.cpu()) * 1.02,
        );
    };
    compare("CPU, local driver", local, json);
    // A pod's records say more: its namespace, its name and so on.
    compare("CPU, CRI format, without metadata", cri, plain_json);
    Ok(())
}

/// Compressed generations, read at the start.
pub fn compressed(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let root = lab.scratch.join("gz");
    let (bytes, expected) = compressed_files(&root, number("BENCH_RECORDS", 4_000_000)? / 12)?;
    let ours = || lab.ours(&root, &lab.fresh("gz.db"));
    check(lab, ours(), expected, true, "container_logs")?;
    let mut rates = Vec::new();
    for _ in 0..number("ROUNDS", 3)? {
        rates.push(bytes as f64 / 1e6 / lab.measure(ours(), expected.records)?.wall.as_secs_f64());
    }
    let measured = spread(&rates, "MB/s");
    table.add(
        "gz catch-up, plain text, the host's start included",
        "≥ 150 MB/s",
        measured,
        "cannot".into(),
        median(&rates) >= 150.0,
    );
    Ok(())
}
