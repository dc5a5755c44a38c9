//! A round over each runtime of this machine: containers write lines of every length, and what
//! the library delivers of them, over restarts of both, is compared with what was written. The
//! results are rows of `docs/runtimes.json`, of which the table in README.md is made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;

use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::format::rfc3339;
use fluent_bit_container_logs::telemetry::account::wall_clock;
use serde_json::{json, Value};
use tempfile::TempDir;

use test_kit::collector::Collector;
use test_kit::containerd::{self, Containerd, Pod};
use test_kit::dockerd::{self, Dockerd};
use test_kit::journald::Journald;
use test_kit::nerdctl::Nerdctl;
use test_kit::pod_root::uid_of;
use test_kit::podman::{serving, Podman};
use test_kit::writer::{
    assert_lines, interleaved, numbered_slowly, of_lengths, unterminated, Script, Stream,
};
use test_kit::{programs, run};

/// Around the pieces of conmon (8 KiB) and of dockerd (16 KiB).
const LENGTHS: [usize; 12] = [
    0, 1, 100, 8191, 8192, 8193, 16_383, 16_384, 16_385, 32_768, 40_000, 200_000,
];
/// Each container has it, where its runtime has labels.
const LABEL: &str = "team=blue";
/// Rotations that keep all that is written; Podman's keep nothing. They are some time apart, since
/// dockerd 26 and 28 skip files of a log that rotates twice while they follow it.
const KEEPING: [&str; 2] = ["--log-opt=max-size=600k", "--log-opt=max-file=9"];
const TERMINAL: &str = "--tty";
/// Rotations while the log is read.
const ROTATING: [&str; 2] = ["--log-opt=max-size=20k", "--log-opt=max-file=3"];

/// Where the library reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    File,
    Journal,
    Api,
}

/// One runtime with one log driver.
trait Engine {
    /// Runtime, program, and log driver.
    fn names(&self) -> [&'static str; 3];
    /// Options of the plugin.
    fn options(&self) -> Vec<(&'static str, String)>;
    /// Starts a container; its id.
    fn start(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String>;
    /// Starts it again once its program has ended; its id.
    fn start_again(&self, name: &str, sh: &str) -> Result<String, String>;
    /// What a record tells of the container.
    fn metadata(&self, name: &str, id: &str) -> Value;

    /// The key that tells containers apart.
    fn name_key(&self) -> &'static str {
        "container_name"
    }
    fn sources(&self) -> &'static [Source] {
        &[Source::File, Source::Api]
    }
    /// What a terminal puts before a line feed, as far as it is in the log.
    fn carriage_return(&self) -> &'static str {
        "\r"
    }
    /// Options of a container whose log is rotated and all of it kept.
    fn keeping(&self) -> &'static [&'static str] {
        &KEEPING
    }
    /// Options of a container whose log is rotated, and has to be read in time.
    fn rotating(&self) -> &'static [&'static str] {
        &ROTATING
    }
    /// What a kubelet does while a container writes.
    fn rotate(&self, _name: &str, _id: &str) -> Result<(), String> {
        Ok(())
    }
}

/// With a driver of files.
struct Docker<'a>(&'a Dockerd, &'static str);

/// With the driver journald.
struct JournaledDocker<'a>(Docker<'a>, &'a Journald);

impl Engine for Docker<'_> {
    fn names(&self) -> [&'static str; 3] {
        ["Docker", "dockerd", self.1]
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        let socket = format!("unix://{}", self.0.socket().display());
        vec![
            ("Runtime", "docker".to_owned()),
            ("Docker_Root", self.0.root().display().to_string()),
            ("Docker_Socket", socket),
        ]
    }

    fn start(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        let driver = format!("--log-driver={}", self.1);
        let own = ["--label", LABEL, &driver];
        self.0.run_detached(name, &[&own, options].concat(), sh)
    }

    fn start_again(&self, name: &str, _: &str) -> Result<String, String> {
        self.0.wait(name)?;
        self.0.docker(&["start", name])?;
        let id = self.0.docker(&["inspect", "--format={{.Id}}", name])?;
        Ok(id.trim().to_owned())
    }

    fn metadata(&self, name: &str, id: &str) -> Value {
        metadata(name, id, dockerd::IMAGE)
    }
}

impl Engine for JournaledDocker<'_> {
    fn names(&self) -> [&'static str; 3] {
        self.0.names()
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        let journal = ("Journal_Path", self.1.folder().display().to_string());
        [self.0.options(), vec![journal]].concat()
    }

    fn start(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        self.0.start(name, options, sh)
    }

    fn start_again(&self, name: &str, sh: &str) -> Result<String, String> {
        self.0.start_again(name, sh)
    }

    fn metadata(&self, name: &str, id: &str) -> Value {
        self.0.metadata(name, id)
    }

    /// The API of Docker 20.10 leaves lines of a journal out.
    fn sources(&self) -> &'static [Source] {
        &[Source::Journal]
    }

    fn keeping(&self) -> &'static [&'static str] {
        &[]
    }

    fn rotate(&self, _: &str, _: &str) -> Result<(), String> {
        self.1.rotate();
        Ok(())
    }
}

struct ByPodman<'a>(&'a Podman, &'static str);

impl Engine for ByPodman<'_> {
    fn names(&self) -> [&'static str; 3] {
        ["Podman", "podman", self.1]
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Runtime", "podman".to_owned()),
            ("Podman_Root", self.0.storage().display().to_string()),
            ("Podman_Socket", self.0.socket_option()),
            ("Journal_Path", self.0.journal().display().to_string()),
        ]
    }

    fn start(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        let driver = format!("--log-driver={}", self.1);
        let own = ["--label", LABEL, &driver];
        self.0.run_detached(name, &[&own, options].concat(), sh)
    }

    fn start_again(&self, name: &str, _: &str) -> Result<String, String> {
        self.0.podman(&["wait", name])?;
        self.0.podman(&["start", name])?;
        let id = self.0.podman(&["inspect", "--format={{.Id}}", name])?;
        Ok(id.trim().to_owned())
    }

    fn metadata(&self, name: &str, id: &str) -> Value {
        metadata(name, id, "localhost/busybox:test")
    }

    fn sources(&self) -> &'static [Source] {
        match self.1 {
            "journald" => &[Source::Journal, Source::Api],
            _ => &[Source::File, Source::Api],
        }
    }

    fn keeping(&self) -> &'static [&'static str] {
        &[]
    }

    fn rotating(&self) -> &'static [&'static str] {
        &["--log-opt=max-size=20k"]
    }
}

struct ByNerdctl<'a>(&'a Nerdctl);

impl Engine for ByNerdctl<'_> {
    fn names(&self) -> [&'static str; 3] {
        ["nerdctl", "nerdctl", "json-file"]
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Runtime", "nerdctl".to_owned()),
            ("Nerdctl_Root", self.0.root().display().to_string()),
        ]
    }

    fn start(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        self.0
            .run_detached(name, &[&["--label", LABEL], options].concat(), sh)
    }

    fn start_again(&self, name: &str, _: &str) -> Result<String, String> {
        self.0.nerdctl(&["wait", name])?;
        self.0.nerdctl(&["start", name])?;
        let id = self.0.nerdctl(&["inspect", "--format={{.Id}}", name])?;
        Ok(id.trim().to_owned())
    }

    fn metadata(&self, name: &str, id: &str) -> Value {
        metadata(name, id, containerd::IMAGE)
    }

    fn sources(&self) -> &'static [Source] {
        &[Source::File]
    }
}

/// containerd and what a kubelet does: pods' folders, links to their logs, rotation.
struct Cri<'a> {
    containerd: &'a Containerd,
    /// `/var/log` of the node.
    node: PathBuf,
    pods: RefCell<HashMap<String, Pod>>,
}

impl Cri<'_> {
    fn new(containerd: &Containerd) -> Cri<'_> {
        Cri {
            containerd,
            node: containerd.path().join("node"),
            pods: RefCell::default(),
        }
    }

    fn folder(&self, pod: &str) -> PathBuf {
        let name = format!("pods/shop_{pod}_{}", uid_of(pod));
        self.node.join(name)
    }

    /// The container's log in its `run`th run, from 0.
    fn log(&self, pod: &str, run: u32) -> PathBuf {
        self.folder(pod).join(format!("app/{run}.log"))
    }

    fn run(&self, pod: &str, run: u32, is_terminal: bool, sh: &str) -> Result<String, String> {
        let pods = self.pods.borrow();
        let running = pods.get(pod).ok_or(format!("no pod {pod}"))?;
        let id = self
            .containerd
            .start_container(running, run, is_terminal, sh)?;
        let link = format!("containers/{pod}_shop_app-{id}.log");
        symlink(self.log(pod, run), self.node.join(link)).map_err(text)?;
        Ok(id)
    }
}

impl Engine for Cri<'_> {
    fn names(&self) -> [&'static str; 3] {
        ["containerd (Kubernetes)", "containerd", "CRI"]
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        let pods = self.node.join("pods").display().to_string();
        vec![("Runtime", "cri".to_owned()), ("Pod_Logs", pods)]
    }

    fn start(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        let folder = self.folder(name);
        for folder in [folder.join("app"), self.node.join("containers")] {
            fs::create_dir_all(folder).map_err(text)?;
        }
        let pod = self.containerd.pod(name, &folder)?;
        self.pods.borrow_mut().insert(name.to_owned(), pod);
        self.run(name, 0, options.contains(&TERMINAL), sh)
    }

    fn start_again(&self, name: &str, sh: &str) -> Result<String, String> {
        self.run(name, 1, false, sh)
    }

    fn metadata(&self, name: &str, id: &str) -> Value {
        json!({
            "container_id": id, "container_name": "app",
            "namespace": "shop", "pod": name, "pod_uid": uid_of(name),
        })
    }

    fn name_key(&self) -> &'static str {
        "pod"
    }

    fn sources(&self) -> &'static [Source] {
        &[Source::File]
    }

    /// containerd leaves it out.
    fn carriage_return(&self) -> &'static str {
        ""
    }

    fn keeping(&self) -> &'static [&'static str] {
        &[]
    }

    fn rotating(&self) -> &'static [&'static str] {
        &[]
    }

    fn rotate(&self, name: &str, id: &str) -> Result<(), String> {
        let log = self.log(name, 0);
        let number = fs::read_dir(self.folder(name).join("app"))
            .map_err(text)?
            .count();
        let rotated = format!("{}.20260101-{number:06}", log.display());
        fs::rename(&log, rotated).map_err(text)?;
        self.containerd.reopen_log(id)
    }
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn metadata(name: &str, id: &str, image: &str) -> Value {
    json!({
        "container_id": id, "container_name": name, "image": image, "labels": {"team": "blue"},
    })
}

/// What the library delivers of one container, over several lives of the library.
struct Reading<'a> {
    engine: &'a dyn Engine,
    source: Source,
    name: String,
    folder: TempDir,
    records: Vec<Record>,
}

impl<'a> Reading<'a> {
    fn new(engine: &'a dyn Engine, source: Source, kind: &str) -> Result<Reading<'a>, String> {
        let [_, _, driver] = engine.names();
        let place = match source {
            Source::File => "file",
            Source::Journal => "journal",
            Source::Api => "api",
        };
        Ok(Reading {
            engine,
            source,
            name: format!("{driver}-{place}-{kind}").to_lowercase(),
            folder: tempfile::tempdir().map_err(text)?,
            records: Vec::new(),
        })
    }

    /// One life of the library, until there are so many records.
    fn read(&mut self, count: usize) {
        let db = self.folder.path().join("positions.db");
        let mode = match self.source {
            // Neither has a socket.
            Source::File | Source::Journal => "file",
            Source::Api => "stream",
        };
        let mut options = self.engine.options();
        options.extend([
            ("DB", db.display().to_string()),
            ("Mode", mode.to_owned()),
            // nerdctl adds a dozen of its own.
            ("Labels", "team".to_owned()),
        ]);
        let options: Vec<(&str, &str)> = options
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let collector = Collector::start(self.folder.path(), &options);
        let ours = |record: &Record| record.text(self.engine.name_key()) == self.name;
        let missing = count.saturating_sub(self.records.len());
        collector.wait(&self.name, |collector| {
            collector
                .records()
                .iter()
                .filter(|record| ours(record))
                .count()
                >= missing
        });
        let (records, _) = collector.stop();
        self.records.extend(records.into_iter().filter(ours));
    }

    /// Compares it with what was written, as often as the script ran.
    fn compare(&self, script: &Script, runs: usize) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let is_of = |record: &&Record| record.text("stream") == stream.name();
            let got = self.records.iter().filter(is_of);
            let got: Vec<&str> = got.map(|record| record.text("log")).collect();
            let written = script.of(stream).repeat(runs);
            assert_lines(&format!("{}, {}", self.name, stream.name()), &got, &written);
        }
    }

    /// The keys that are right in every record; one that is wrong in some is an error, one that
    /// is empty is not.
    fn right_keys(&self, ids: &[String]) -> Result<Vec<String>, String> {
        let wanted: Vec<Value> = ids
            .iter()
            .map(|id| self.engine.metadata(&self.name, id))
            .collect();
        let keys = wanted[0]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone());
        let mut right = Vec::new();
        for key in keys {
            let values = self.records.iter().map(|record| record.body.get(&key));
            let is_right =
                |value: Option<&Value>| wanted.iter().any(|wanted| value == Some(&wanted[&key]));
            match values.clone().find(|value| !is_right(*value)) {
                None => right.push(key),
                Some(Some(wrong)) if wrong != "" => {
                    return Err(format!("{}: {key} is {wrong}", self.name))
                }
                Some(_) => {}
            }
        }
        Ok(right)
    }
}

/// A round over one source; the keys that are right in its records.
fn round(engine: &dyn Engine, source: Source) -> Result<Vec<String>, String> {
    let script = numbered_slowly(Stream::Stdout, "line", 600, "0.003")
        .then(of_lengths(Stream::Stdout, &LENGTHS))
        .then(of_lengths(Stream::Stderr, &LENGTHS))
        .then(interleaved(300))
        .then(unterminated(Stream::Stdout, 1234));
    let count = script.lines.len();
    let mut reading = Reading::new(engine, source, "lines")?;
    let first = engine.start(&reading.name, engine.keeping(), &script.sh)?;
    // The library ends and starts again while the container writes, and so does the container.
    for part in [100, 300] {
        reading.read(part);
        engine.rotate(&reading.name, &first)?;
    }
    reading.read(count);
    let second = engine.start_again(&reading.name, &script.sh)?;
    reading.read(2 * count);
    reading.compare(&script, 2);

    let mut terminal = Reading::new(engine, source, "terminal")?;
    engine.start(&terminal.name, &[TERMINAL], "echo one; echo two >&2")?;
    terminal.read(2);
    let texts: Vec<&str> = terminal
        .records
        .iter()
        .map(|record| record.text("log"))
        .collect();
    let end = engine.carriage_return();
    let written = [format!("one{end}"), format!("two{end}")];
    assert_eq!(texts, written, "{}", terminal.name);

    if source == Source::File && !engine.rotating().is_empty() {
        let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.002");
        let mut rotated = Reading::new(engine, source, "rotated")?;
        engine.start(&rotated.name, engine.rotating(), &script.sh)?;
        rotated.read(1500);
        rotated.compare(&script, 1);
    }
    reading.right_keys(&[first, second])
}

/// The row of an engine; what is not right goes to `failed`.
fn row(engine: &dyn Engine, release: &str, failed: &mut Vec<String>) -> Value {
    let [runtime, program, driver] = engine.names();
    let mut keys: Option<Vec<String>> = None;
    let mut cell = |source: Source| {
        if !engine.sources().contains(&source) {
            return "";
        }
        match outcome(|| round(engine, source)) {
            Ok(right) => {
                let known = keys.take().unwrap_or_else(|| right.clone());
                keys = Some(
                    known
                        .into_iter()
                        .filter(|key| right.contains(key))
                        .collect(),
                );
                "exact"
            }
            Err(reason) => {
                failed.push(format!("{runtime}, {driver}: {reason}"));
                "differs"
            }
        }
    };
    let [file, journal, api] = [Source::File, Source::Journal, Source::Api].map(&mut cell);
    json!({
        "runtime": runtime, "version": version(program), "release": release, "driver": driver,
        "file": file, "journal": journal, "api": api, "metadata": keys.unwrap_or_default(),
        "date": &rfc3339::format(wall_clock())[..10],
    })
}

/// What a round gives; a failed assertion of the kit, too, is an error.
fn outcome<T>(round: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let caught = catch_unwind(AssertUnwindSafe(round));
    caught.unwrap_or_else(|_| Err("failed as above".to_owned()))
}

/// The version that a program tells, without what its packager adds.
fn version(program: &str) -> String {
    let path = programs(program).next().unwrap_or_else(|| program.into());
    let said = run(Command::new(path).arg("--version")).unwrap_or_default();
    number_in(&said).to_owned()
}

fn number_in(text: &str) -> &str {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut words = text
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'));
    let number = words.find(|word| word.starts_with(is_digit));
    let number = number.unwrap_or("unknown");
    match number.find(|c: char| !is_digit(c) && c != '.') {
        Some(end) if end > 0 => &number[..end],
        _ => number,
    }
}

/// Does a round with each runtime of this machine, which is of a Debian `release`, and puts the
/// rows into `file` in place of those of the same versions.
pub fn add_to(file: &Path, release: &str) -> Result<String, String> {
    let mut all = Rounds {
        release,
        rows: Vec::new(),
        failed: Vec::new(),
    };
    if all.has("dockerd") {
        let docker = Dockerd::start();
        for driver in ["json-file", "local"] {
            all.add(docker.as_ref().map(|docker| Docker(docker, driver)));
        }
        let started = Journald::start().and_then(|journald| Ok((journald, Dockerd::start()?)));
        all.add(started.as_ref().map(|(journald, docker)| {
            docker.use_journal(journald);
            JournaledDocker(Docker(docker, "journald"), journald)
        }));
    }
    if all.has("podman") {
        let podman = serving(Podman::new);
        all.add(podman.as_ref().map(|podman| ByPodman(podman, "k8s-file")));
        let podman = serving(Podman::with_journal);
        all.add(podman.as_ref().map(|podman| ByPodman(podman, "journald")));
    }
    if all.has("containerd") {
        let containerd = Containerd::start();
        all.add(containerd.as_ref().map(Cri::new));
    }
    if all.has("nerdctl") {
        let nerdctl = Nerdctl::start();
        all.add(nerdctl.as_ref().map(ByNerdctl));
    }
    let rows = merged(&fs::read_to_string(file).map_err(text)?, &all.rows)?;
    fs::write(file, rows).map_err(text)?;
    match all.failed.is_empty() {
        true => Ok(all.rows.iter().map(|row| format!("{row}\n")).collect()),
        false => Err(all.failed.join("\n")),
    }
}

struct Rounds<'a> {
    release: &'a str,
    rows: Vec<Value>,
    failed: Vec<String>,
}

impl Rounds<'_> {
    fn has(&self, program: &str) -> bool {
        programs(program).next().is_some()
    }

    fn add(&mut self, engine: Result<impl Engine, &String>) {
        match engine {
            Ok(engine) => self.rows.push(row(&engine, self.release, &mut self.failed)),
            Err(reason) => self.failed.push(reason.clone()),
        }
    }
}

/// The file with these rows, each a line of it.
fn merged(file: &str, new: &[Value]) -> Result<String, String> {
    let key = |row: &Value| ["runtime", "version", "driver"].map(|key| row[key].to_string());
    let mut rows: Vec<Value> = serde_json::from_str(file).map_err(|error| error.to_string())?;
    rows.retain(|row| new.iter().all(|new| key(new) != key(row)));
    rows.extend_from_slice(new);
    let numbers = |row: &Value| -> Vec<u32> {
        let version = row["version"].as_str().unwrap_or_default();
        version.split('.').flat_map(str::parse).collect()
    };
    rows.sort_by_key(|row| {
        (
            row["runtime"].to_string(),
            numbers(row),
            row["driver"].to_string(),
        )
    });
    let lines: Vec<String> = rows.iter().map(|row| format!("  {row}")).collect();
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number_of_what_a_program_says() {
        for (said, number) in [
            ("Docker version 20.10.24+dfsg1, build 297e128", "20.10.24"),
            ("podman version 5.4.2", "5.4.2"),
            (
                "containerd github.com/containerd/containerd/v2 2.1.9+unknown",
                "2.1.9",
            ),
            ("nerdctl version v2.1.6", "2.1.6"),
            ("", "unknown"),
        ] {
            assert_eq!(number_in(said), number);
        }
    }

    #[test]
    fn a_row_takes_the_place_of_the_one_of_its_version_and_all_are_in_order() {
        let row = |version: &str, date: &str| json!({"runtime": "Podman", "version": version, "driver": "k8s-file", "date": date});
        let (old, new) = (row("5.4.2", "old"), row("5.4.2", "new"));
        let (first, last) = (row("4.3.1", "old"), row("5.10.0", "new"));
        let file = merged("[]", &[old, first.clone()]).expect("rows");
        let file = merged(&file, &[last.clone(), new.clone()]).expect("rows");
        assert_eq!(file, format!("[\n  {first},\n  {new},\n  {last}\n]\n"));
    }
}
