//! Without a Fluent Bit: the program that plays one in the tests gives what
//! container_logs and the floor cost, and nothing to compare them with.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::data::{write_big_file, Content, Format};
use crate::gather::ready_records;
use crate::host::Lab;
use crate::table::{median, spread, Table};
use crate::{native, records, rounds, Failure};

pub fn big_file(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let host = build("container_logs", "playing_host")?;
    let host_of_floor = build("ready_records", "playing_host_of_floor")?;
    let root = lab.scratch.join("played");
    let records = records()?;
    let bytes = write_big_file(&root, Format::JsonFile, Content::Plain, records)?.bytes;
    let batches = lab.scratch.join("batches");
    let ready = ready_records(&root, &batches, &[])?.records_below(records);
    let (mut mine, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..rounds()? {
        let db = lab.fresh("played.db");
        let options = format!("docker_root={} db={}", root.display(), db.display());
        mine.push(run(&host, &lab.plugin, &options, &[], records)?);
        let environment = [
            ("CLOGS_READY_FILE", batches.clone()),
            ("CLOGS_READY_TOTAL", PathBuf::from(ready.to_string())),
        ];
        floor.push(run(
            &host_of_floor,
            lab.ready_plugin(),
            "",
            &environment,
            ready,
        )?);
    }
    table.note(format!(
        "{records} records, {} MB, through the playing host, which keeps nothing.",
        bytes / 1_000_000
    ));
    let ratio = median(&mine) / median(&floor);
    let target = "none: no Fluent Bit to compare with";
    table.skip(
        "CPU, one big json-file, with metadata",
        target,
        &spread(&mine, "CPU-s"),
    );
    table.skip(
        "CPU, the floor",
        target,
        &format!("{}: {ratio:.2} ×", spread(&floor, "CPU-s")),
    );
    Ok(())
}

/// The playing host for the input of this name.
fn build(plugin: &str, program: &str) -> Result<PathBuf, Failure> {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kit/playing_host/playing_host.c");
    let name = format!("-DPLUGIN_NAME=\"{plugin}\"");
    let flags = [
        "-O2",
        "-rdynamic",
        "-DGENERATION=51",
        "-DOPTION_SIZE=104",
        &name,
    ];
    native::build(&flags, &source, program, &["-ldl", "-lpthread"])
}

/// CPU seconds until the host has counted `records`.
fn run(
    host: &Path,
    plugin: &Path,
    options: &str,
    environment: &[(&str, PathBuf)],
    records: u64,
) -> Result<f64, Failure> {
    let mut child = Command::new(host)
        .arg(plugin)
        .arg("/dev/null")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut script = child.stdin.take().ok_or("its input")?;
    let mut answers = BufReader::new(child.stdout.take().ok_or("its output")?).lines();
    let before = children_cpu();
    let began = Instant::now();
    for command in [
        format!("instance a {options}"),
        "init".into(),
        format!("run-until {records} 120000"),
        "exit".into(),
    ] {
        writeln!(script, "{command}")?;
        let answer = answers.next().ok_or("the playing host is gone")??;
        let is_counted =
            !command.starts_with("run") || answer.contains(&format!("records={records} "));
        if !answer.starts_with("ok") || !is_counted {
            return Err(format!("{command}: {answer} after {:?}", began.elapsed()).into());
        }
    }
    child.wait()?;
    Ok(children_cpu() - before)
}

/// Seconds of all processes that were waited for.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}
