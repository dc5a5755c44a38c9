//! The hot path in instructions, which do not depend on how busy a machine is:
//! from the bytes of a slice to the batch, in the release build, as valgrind
//! counts them in [`HOT_FUNCTION`] and all it calls. Each format has a way of its own. The records
//! have metadata, which is one copy: without it the same instructions run, but for a few in there.
//!
//! `tests/host/instructions.txt` holds the counts, one for each way, compiler and processor that
//! they were made by; `UPDATE_INSTRUCTIONS=1` writes those of this one anew. A better
//! count must be written down as well, so that the next loss shows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::playing_host::{PlayingHost, Release};
use test_kit::pod_root::PodRoot;
use test_kit::skip;

const HOT_FUNCTION: &str = "*Tailer::take_entries*";
/// Enough that what the first buffers cost, which depends on how soon the host
/// gives them back, is less than a thousandth.
const LINES: u64 = 100_000;
/// What may change unnoticed, in percent.
const TOLERANCE: f64 = 3.0;
/// The same for quiet logs: how many turns a round takes depends on the moments of its writes.
const QUIET_TOLERANCE: f64 = 15.0;
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

/// A way of a line, by its name in the file of counts.
struct Way {
    name: &'static str,
    /// Appends a line as the runtime writes it: its text, and its time in nanoseconds since
    /// [`FIRST_SECOND`].
    put: fn(&mut Vec<u8>, &str, u64),
}

const WAYS: [Way; 3] = [
    Way {
        name: "json-file",
        put: put_json,
    },
    Way {
        name: "CRI",
        put: put_cri,
    },
    Way {
        name: "local",
        put: put_frame,
    },
];

/// 2026-11-23T18:00:00Z.
const FIRST_SECOND: u64 = 1_795_456_800;

/// Within a minute of it.
fn time(nanos: u64) -> String {
    format!(
        "2026-11-23T18:00:{:02}.{:09}Z",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000
    )
}

fn put_json(log: &mut Vec<u8>, text: &str, nanos: u64) {
    let time = time(nanos);
    let line = format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n");
    log.extend_from_slice(line.as_bytes());
}

fn put_cri(log: &mut Vec<u8>, text: &str, nanos: u64) {
    log.extend_from_slice(format!("{} stdout F {text}\n", time(nanos)).as_bytes());
}

/// Its text has fewer than 128 bytes.
fn put_frame(log: &mut Vec<u8>, text: &str, nanos: u64) {
    let mut message = b"\x0a\x06stdout\x10".to_vec();
    let mut time = FIRST_SECOND * 1_000_000_000 + nanos;
    while time >= 0x80 {
        message.push(time as u8 | 0x80);
        time >>= 7;
    }
    message.extend_from_slice(&[time as u8, 0x1a, text.len() as u8]);
    message.extend_from_slice(text.as_bytes());
    let length = (message.len() as u32).to_be_bytes();
    log.extend([&length[..], &message, &length].concat());
}

/// The log of a container that is read on this way, and the options that find it.
fn place(way: &Way, docker: &DockerRoot, pods: &PodRoot) -> (PathBuf, Vec<OsString>) {
    if way.name == "CRI" {
        let options = ["--runtime".into(), "cri".into(), "--pod-logs".into()];
        let log = pods.container("shop", "web-1", "web").log();
        return (
            log,
            options.into_iter().chain([pods.pods().into()]).collect(),
        );
    }
    let options = vec!["--docker-root".into(), docker.path().into()];
    if way.name == "local" {
        let container = docker.created_container('a', "web");
        let driver = r#"{"LogConfig": {"Type": "local", "Config": {}}}"#;
        std::fs::write(container.dir.join("hostconfig.json"), driver).unwrap();
        let logs = container.dir.join("local-logs");
        std::fs::create_dir(&logs).unwrap();
        return (logs.join("container.log"), options);
    }
    (docker.container('a', "web").log, options)
}

/// Instructions in the hot function per line, over a log of [`LINES`].
fn count(program: &Path, way: &Way) -> Result<f64, String> {
    let (docker, pods) = (DockerRoot::new(), PodRoot::new());
    let (log, place) = place(way, &docker, &pods);
    let mut lines = Vec::new();
    for number in 0..LINES {
        let text = format!(
            "INFO request {number:07} GET /api/v1/items?id={number:07} 200 12ms user=alice"
        );
        (way.put)(&mut lines, &text, number * 200_000 + 1);
    }
    std::fs::write(log, lines).map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = folder.path().join("profile");
    let output = callgrind(&[HOT_FUNCTION], &out)
        .arg(program)
        .args(["--no-follow", "--tail", "all"])
        .args(place)
        .stderr(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let printed = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    total_of(&out)
        .filter(|_| output.status.success() && printed as u64 == LINES)
        .map(|total| total / LINES as f64)
        .ok_or(format!("valgrind: {}, {printed} lines", output.status))
}

/// Valgrind, counting in these functions and all they call; the program is to follow.
fn callgrind(functions: &[&str], out: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(
            functions
                .iter()
                .map(|name| format!("--toggle-collect={name}")),
        )
        .arg(format!("--callgrind-out-file={}", out.display()));
    command
}

/// What [`callgrind`] counted.
fn total_of(out: &Path) -> Option<f64> {
    let profile = std::fs::read_to_string(out).ok()?;
    let mut lines = profile.lines();
    let total = lines.find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok()
}

/// Both threads: the reader's turns, and what the host's thread does with what they queue.
const PASS_FUNCTIONS: [&str; 2] = ["*Reader::turn*", "*Plugin::drain*"];
/// Logs that are written in each round, a line each.
const QUIET_LOGS: usize = 50;

fn quiet_log(root: &DockerRoot, number: usize) -> LogWriter {
    let mut log = root.created_with_id(&format!("{number:064x}"), &format!("quiet-{number}"));
    log.open_log();
    log
}

/// Instructions in [`PASS_FUNCTIONS`] over `rounds` rounds, and the start.
fn count_rounds(rounds: usize) -> f64 {
    let root = DockerRoot::new();
    let mut logs: Vec<_> = (0..QUIET_LOGS)
        .map(|number| quiet_log(&root, number))
        .collect();
    let out = root.path().join("profile");
    let mut host = PlayingHost::start_by(callgrind(&PASS_FUNCTIONS, &out), Release::LATEST);
    let folder = root.path().display();
    host.ok(&format!(
        "instance a docker_root=\"{folder}\" podman_root=\"{folder}/none\" \
         pod_logs=\"{folder}/none\" db=\"{folder}/positions.db\" metrics_per_container=0"
    ));
    host.ok("init");
    for round in 1..=rounds {
        for log in &mut logs {
            log.line("INFO request GET /api/v1/items 200 12ms user=alice");
        }
        host.run_until(round * QUIET_LOGS);
    }
    host.exit().assert_clean();
    total_of(&out).expect("a profile")
}

/// Instructions for a line at a trickle, where each is read, appended and acknowledged with one line
/// of each other log.
fn count_quiet() -> f64 {
    let [few, many] = [20, 120].map(count_rounds);
    (many - few) / (100 * QUIET_LOGS) as f64
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
    let is_update = std::env::var_os("UPDATE_INSTRUCTIONS").is_some();
    if !pinned.lines().any(|line| line.starts_with(&toolchain)) && !is_update {
        return skip(name, &format!("no count is pinned for {toolchain}"));
    }
    let mut counts = Vec::new();
    for way in &WAYS {
        let counted = count(&program, way).unwrap();
        assert!(
            counted > 100.0,
            "{counted} instructions a line: {HOT_FUNCTION} was not found in the program"
        );
        counts.push((format!("{toolchain}, {}", way.name), counted, TOLERANCE));
    }
    let key = format!("{toolchain}, {QUIET_LOGS} quiet logs");
    counts.push((key, count_quiet(), QUIET_TOLERANCE));
    if is_update {
        let others = pinned
            .lines()
            .filter(|line| !line.starts_with(&toolchain))
            .map(|line| format!("{line}\n"));
        let own = counts
            .iter()
            .map(|(key, counted, _)| format!("{key}: {counted:.0}\n"));
        let text: String = others.chain(own).collect();
        return std::fs::write(PINNED, text).unwrap();
    }
    let mut changed = Vec::new();
    for (key, counted, tolerance) in counts {
        let known = pinned
            .lines()
            .find_map(|line| line.strip_prefix(&key)?.strip_prefix(": "));
        let known: f64 = known.expect("a count of each way").parse().unwrap();
        let change = 100.0 * (counted / known - 1.0);
        println!("{key}: {counted:.0} instructions a line, {known} pinned ({change:+.1} %)");
        if change.abs() > tolerance {
            changed.push(format!("{key}: {counted:.0}, {known} are pinned"));
        }
    }
    assert!(
        changed.is_empty(),
        "instructions a line: {changed:#?}: mend it, or UPDATE_INSTRUCTIONS=1"
    );
}
