//! The hot path in instructions, which do not depend on how busy a machine is:
//! from the bytes of a slice to the batch, in the release build, as valgrind
//! counts them in [`HOT_FUNCTION`] and all it calls.
//!
//! `tests/host/instructions.txt` holds the counts, one for each compiler they were
//! made by; `UPDATE_INSTRUCTIONS=1` writes the one of this compiler anew. A better
//! count must be written down as well, so that the next loss shows.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use test_kit::docker_root::DockerRoot;
use test_kit::skip;

const HOT_FUNCTION: &str = "*Tailer::take_entries*";
/// Enough that what the first buffers cost, which depends on how soon the host
/// gives them back, is less than a thousandth.
const LINES: usize = 100_000;
/// What may change unnoticed, in percent.
const TOLERANCE: f64 = 3.0;
const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/instructions.txt");

/// The release program beside the library that is tested.
fn release_program() -> Option<PathBuf> {
    let plugin = std::env::var_os("CONTAINER_LOGS_PLUGIN")?;
    let program = Path::new(&plugin).with_file_name("tail-containers");
    program.is_file().then_some(program)
}

/// The compiler and what of the processor valgrind shows, on which the count of the C
/// library's `memcpy` depends: the same program took 860 instructions a line on a
/// processor of one maker and 882 on one of another.
fn toolchain() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    let words: Vec<&str> = version.split_whitespace().take(2).collect();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let maker = cpu
        .lines()
        .find_map(|line| line.strip_prefix("vendor_id")?.split_once(": "));
    let maker = maker.map_or("unknown", |(_, maker)| maker);
    let vectors = if cpu.contains(" avx2 ") {
        "avx2"
    } else {
        "no avx2"
    };
    Some(format!(
        "{} {} {maker} {vectors}",
        words.join(" "),
        std::env::consts::ARCH
    ))
}

/// Instructions in the hot function per line, over a log of [`LINES`].
fn count(program: &Path, out: &Path) -> Result<f64, String> {
    let root = DockerRoot::new();
    let log = root.container('a', "web").log;
    let mut lines = String::new();
    for number in 0..LINES {
        writeln!(
            lines,
            "{{\"log\":\"INFO request {number:07} GET /api/v1/items?id={number:07} 200 12ms user=alice\\n\",\
             \"stream\":\"stdout\",\"time\":\"2026-11-23T18:00:{:02}.{:09}Z\"}}",
            number / 5000,
            number % 5000 * 200_000 + 1
        )
        .map_err(|error| error.to_string())?;
    }
    std::fs::write(log, lines).map_err(|error| error.to_string())?;
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={HOT_FUNCTION}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["--no-follow", "--tail", "all", "--docker-root"])
        .arg(root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    let profile = std::fs::read_to_string(out).map_err(|error| error.to_string())?;
    let totals = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let totals = totals.and_then(|totals| totals.trim().parse::<f64>().ok());
    totals
        .filter(|_| status.success())
        .map(|totals| totals / LINES as f64)
        .ok_or(format!("valgrind: {status}"))
}

#[test]
fn the_hot_path_takes_no_more_instructions_than_it_did() {
    let name = "instructions::the_hot_path_takes_no_more_instructions_than_it_did";
    let Some(program) = release_program() else {
        return skip(
            name,
            "no release build beside CONTAINER_LOGS_PLUGIN: run make test",
        );
    };
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip(name, "no valgrind");
    }
    let Some(toolchain) = toolchain() else {
        return skip(name, "no rustc tells its version");
    };
    let pinned = std::fs::read_to_string(PINNED).unwrap_or_default();
    let known = pinned
        .lines()
        .find_map(|line| line.strip_prefix(&toolchain)?.strip_prefix(": "));
    let is_update = std::env::var_os("UPDATE_INSTRUCTIONS").is_some();
    if known.is_none() && !is_update {
        return skip(name, &format!("no count is pinned for {toolchain}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let counted = count(&program, &folder.path().join("profile")).unwrap();
    assert!(
        counted > 100.0,
        "{counted} instructions a line: {HOT_FUNCTION} was not found in the program"
    );
    if is_update {
        let others = pinned
            .lines()
            .filter(|line| !line.starts_with(&toolchain))
            .map(|line| format!("{line}\n"));
        let text: String = others
            .chain([format!("{toolchain}: {counted:.0}\n")])
            .collect();
        return std::fs::write(PINNED, text).unwrap();
    }
    let known: f64 = known.unwrap().parse().unwrap();
    let change = 100.0 * (counted / known - 1.0);
    assert!(
        change.abs() <= TOLERANCE,
        "{counted:.0} instructions a line, {known} are pinned ({change:+.1} %): mend it, or UPDATE_INSTRUCTIONS=1"
    );
    println!("{counted:.0} instructions a line, {known} pinned");
}
