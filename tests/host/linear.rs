//! Reading takes time in proportion to the bytes that are read, whatever these are: the
//! instructions of the reader, as valgrind counts them, over the same hostile lines at
//! one length and at four times that length. The counts of the slow paths alone, which
//! need no valgrind, are beside the decoders (`src/format/tests.rs`).

use std::path::Path;
use std::process::{Command, Stdio};

use test_kit::docker_root::DockerRoot;
use test_kit::skip;

/// All that the reader does with a log, reading it included.
const READER: &str = "*Tailer::read_slice*";
const SHORT: usize = 16 * 1024;
/// So long that the buffer has grown to what torn frames take in both.
const SHORT_FRAMES: usize = 64 * 1024;
const TIMES: usize = 4;
/// What is linear takes four times as much; what is quadratic takes sixteen times.
const MOST: f64 = 5.0;
const RECORD: &str =
    "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-23T18:00:00.000000001Z\"}\n";
const CRI_ENTRY: &str = "2026-11-23T18:00:00.000000001Z stdout F x\n";

/// Lines of a unit repeated, each as long as `bytes`; good entries around them.
fn lines(units: &[&str], bytes: usize, good: &str) -> Vec<u8> {
    let mut log = good.to_owned();
    for unit in units {
        log += &unit.repeat(bytes / unit.len());
        log += "\n";
        log += good;
    }
    log.into_bytes()
}

fn json_lines(bytes: usize) -> Vec<u8> {
    let units = [
        "{\"time\":\"a\",\"z\":[",
        "{\"time\":\"a\",\"z\":{\"q\":",
        "{\"stream\":\"stdout\",\"attrs\":{\"log\":\"x\",\"z\":\"",
        "{\"time\":\"a\",\"z\":{\"attrs\":",
        "{\"log\":\"",
        "{\"log\":\"\\\"",
        "{\"log\":null,\"z\":",
        "{\"log\":        ",
        "{\"log\":\"x\"}",
        "{\"log\":\"x\"}{\"time\":\"a\",\"z\":[",
        "{\"attrs\":{},\"log\":\"x\"}",
        "\0",
        "\\n\\\\",
        "{",
    ];
    lines(&units, bytes, RECORD)
}

fn cri_lines(bytes: usize) -> Vec<u8> {
    let units = [
        " std",
        " stdout ",
        "2026-11-23T18:00:00Z stdout ",
        "2026-11-23T18:00:00Z stdout F:",
        "2026-11-23T18:00:00.123456789+01:00 stderr P:x:y",
        "----------TTTTTTTTTT---------- stdout ",
        "2026-11-23T18:00:00Z",
        "\0",
    ];
    lines(&units, bytes, CRI_ENTRY)
}

fn frames(bytes: usize) -> Vec<u8> {
    let good: &[u8] = b"\0\0\0\x0d\x0a\x06stdout\x10\x01\x1a\x01x\0\0\0\x0d";
    let units: [&[u8]; 6] = [
        b"\0\0\0\x01\x0a\0\0\0\x01x",
        b"\0\x0f\x42\x40\x0a",
        b"\x0a",
        b"\0",
        b"x",
        // Up to where a frame would end that never does, nothing behind it is decided.
        b"\0\x0f\x42\x40\x0a\x06stdout\x10",
    ];
    let mut log = good.to_vec();
    for unit in units {
        log.extend(unit.repeat(bytes / unit.len()));
        log.extend(good);
    }
    log
}

/// Lines of an application that are, or look like, JSON.
fn merged_lines(bytes: usize) -> Vec<u8> {
    let keys: String = (0..bytes / 16)
        .map(|number| format!("\"key{number:08}\":1,"))
        .collect();
    let objects = format!(
        "{{\"a\":[{}{{}}]}}",
        "{\"same\":1,\"same\":2},".repeat(bytes / 20)
    );
    let mut log = RECORD.to_owned();
    for text in [
        format!("{{\"a\":{}}}", "[".repeat(bytes)),
        format!("{{{keys}\"z\":1}}"),
        format!("{{\"a\":[{}0]}}", "{\"b\":1},".repeat(bytes / 8)),
        format!("{{\"a\":{}}}", "9".repeat(bytes)),
        format!("{{\"a\":\"{}\"}}", "\\u0041".repeat(bytes / 6)),
        objects,
        format!("{{{}}}", "{\"a\":".repeat(bytes / 5)),
    ] {
        // Below the length at which Docker cuts a line, it would be one record.
        let text = serde_json::to_string(&format!("{text}\n")).expect("a text");
        log += &RECORD.replacen("\"x\\n\"", &text, 1);
    }
    log.into_bytes()
}

/// Instructions that the reader takes for this log.
fn count(log: &[u8], folder: &Path) -> f64 {
    let root = DockerRoot::new();
    std::fs::write(root.container('a', "web").log, log).unwrap();
    let profile = folder.join("profile");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={READER}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env!("CARGO_BIN_EXE_tail-containers"))
        .args([
            "--no-follow",
            "--tail",
            "all",
            "-o",
            "Merge_Log=on",
            "--runtime",
            "docker",
            "--docker-root",
        ])
        .arg(root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "valgrind: {status}");
    let profile = std::fs::read_to_string(profile).unwrap();
    let totals = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .unwrap();
    totals.trim().parse().unwrap()
}

fn is_linear(test: &str, short_bytes: usize, log_of: impl Fn(usize) -> Vec<u8>) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip(&format!("linear::{test}"), "no valgrind");
    }
    let folder = tempfile::tempdir().unwrap();
    let short = count(&log_of(short_bytes), folder.path());
    let long = count(&log_of(TIMES * short_bytes), folder.path());
    assert!(
        short > short_bytes as f64,
        "{short} instructions: {READER} was not found in the program"
    );
    let times = long / short;
    assert!(
        times < MOST,
        "{TIMES} times the bytes took {times:.1} times the instructions"
    );
    println!("{test}: {TIMES} times the bytes took {times:.2} times the instructions");
}

#[test]
fn hostile_json_lines_take_time_in_proportion_to_their_length() {
    is_linear(
        "hostile_json_lines_take_time_in_proportion_to_their_length",
        SHORT,
        json_lines,
    );
}

#[test]
fn hostile_cri_lines_take_time_in_proportion_to_their_length() {
    is_linear(
        "hostile_cri_lines_take_time_in_proportion_to_their_length",
        SHORT,
        cri_lines,
    );
}

#[test]
fn hostile_frames_take_time_in_proportion_to_their_length() {
    is_linear(
        "hostile_frames_take_time_in_proportion_to_their_length",
        SHORT_FRAMES,
        frames,
    );
}

#[test]
fn hostile_objects_to_merge_take_time_in_proportion_to_their_length() {
    is_linear(
        "hostile_objects_to_merge_take_time_in_proportion_to_their_length",
        SHORT,
        merged_lines,
    );
}
