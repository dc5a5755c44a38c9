//! A real Fluent Bit as the host of the plugin, and its records read back.
//!
//! The hosts are what `FLUENT_BIT` names (several may be given, separated as in
//! `PATH`), else `fluent-bit` on `PATH` and the one of Fluent Bit's packages, which is
//! built otherwise: see [`find_shipped`].
//! Each [`FluentBit`] lives in a folder of its own and can be stopped and started
//! there again, so that what a plugin stores is tested too. It dies with the
//! thread that started it at the latest (`setpriv --pdeathsig`), so do not start
//! it in a thread that ends before.
//!
//! # What the `file` output keeps
//!
//! Seen alike in 3.0.7, 4.2.8, 5.0.9 and 5.1.1, in their source
//! (`plugins/out_file/file.c`) and by the test at the end of this file:
//!
//! | `Format` | time | tag | keys |
//! |---|---|---|---|
//! | none given: `tag: [sec.nsec, {…}]` | exact, 9 digits of nanoseconds | yes | all, as JSON |
//! | `plain` | lost | lost | all, as JSON |
//! | `csv` | exact | lost | values alone, not escaped |
//! | `ltsv` | `%f`: rounded to microseconds | lost | all, not escaped |
//! | `template` | `{time}` is `%f`: rounded to microseconds | lost | as the template names them, not escaped |
//! | `msgpack` | exact | lost | all, with the metadata |
//!
//! So no format is given here. What it loses is the metadata of a record, the
//! order of equal keys, and bytes that are not UTF-8: those become other
//! characters, differently by release.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::collector::PATIENCE;
use super::{holds_within, is_executable, programs, scratch, tail_of};

/// Names the shared library to test, instead of the newest one that cargo built.
const PLUGIN_VARIABLE: &str = "CONTAINER_LOGS_PLUGIN";

/// The host knows a native plugin, and the symbol in it, by the file's name.
const PLUGIN_FILE: &str = "flb-in_container_logs.so";

/// Fluent Bit's own packages do not put it on `PATH`.
const PACKAGED_HOST: &str = "/opt/fluent-bit/bin/fluent-bit";

const RECORDS_FILE: &str = "records";

/// The first of [`find_all`].
pub fn find() -> Option<PathBuf> {
    find_all().into_iter().next()
}

/// The hosts to test with.
pub fn find_all() -> Vec<PathBuf> {
    match std::env::var_os("FLUENT_BIT").filter(|list| !list.is_empty()) {
        Some(list) => std::env::split_paths(&list).collect(),
        None => {
            let packaged = Some(PathBuf::from(PACKAGED_HOST)).filter(|file| is_executable(file));
            let mut hosts: Vec<PathBuf> = programs("fluent-bit").take(1).collect();
            let is_known = |packaged: &PathBuf| {
                hosts
                    .iter()
                    .any(|host| fs::canonicalize(host).ok() == fs::canonicalize(packaged).ok())
            };
            let other = packaged.filter(|packaged| !is_known(packaged));
            hosts.extend(other);
            hosts
        }
    }
}

/// The first host in the shipped configuration: with a jemalloc whose quantum is 8
/// (`--with-lg-quantum=3`), as Fluent Bit's official images and packages have it. Else why
/// there is none.
pub fn find_shipped() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(ask_for_shipped).clone()
}

fn ask_for_shipped() -> Result<PathBuf, String> {
    let mut asked = Vec::new();
    for host in find_all() {
        match quantum(&host) {
            Ok(8) => return Ok(host),
            Ok(quantum) => asked.push(format!("the quantum of {} is {quantum}", host.display())),
            Err(problem) => asked.push(problem),
        }
    }
    Err(format!(
        "no Fluent Bit in the shipped configuration (jemalloc with lg-quantum 3): {}",
        asked.join("; ")
    ))
}

/// To what the host's allocator aligns small blocks: asked in the process itself, by a
/// library that it loads as a plugin.
fn quantum(host: &Path) -> Result<u32, String> {
    let probe = super::compile(
        "quantum8/flb-in_quantum.c",
        "flb-in_quantum.so",
        &["-shared", "-fPIC"],
    );
    let mut command = Command::new(host);
    let said = super::run(
        command
            .arg("-e")
            .arg(probe)
            .args(["-i", "dummy", "-o", "null"]),
    )?;
    let number = said
        .lines()
        .find_map(|line| line.strip_prefix("quantum ")?.parse().ok());
    number.ok_or_else(|| format!("{} does not tell its quantum: {said}", host.display()))
}

/// What the host says its version is, such as `v5.1.1`.
pub fn version(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("{} --version: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().last());
    version
        .map(str::to_owned)
        .ok_or_else(|| format!("{} --version printed {text:?}", program.display()))
}

/// The plugin: what `CONTAINER_LOGS_PLUGIN` names, else the newest library that
/// cargo has put beside this test program.
pub fn plugin() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os(PLUGIN_VARIABLE).filter(|file| !file.is_empty()) {
        return Some(PathBuf::from(file));
    }
    let program = std::env::current_exe().ok()?;
    let deps = program.parent()?;
    let built = |folder: &Path| {
        let file = folder.join("libfluent_bit_container_logs.so");
        Some((file.metadata().ok()?.modified().ok()?, file))
    };
    let newest = [deps, deps.parent()?].into_iter().filter_map(built).max();
    newest.map(|(_, file)| file)
}

/// Runs `test` with each host there is; without one it is skipped by name.
pub fn with_each_host(name: &str, test: impl Fn(&Path, &Path)) {
    let hosts = find_all();
    let Some(plugin) = plugin() else {
        return super::skip(name, "the plugin's .so is not built");
    };
    if hosts.is_empty() {
        return super::skip(
            name,
            "no Fluent Bit: set FLUENT_BIT or put fluent-bit on PATH",
        );
    }
    for host in hosts {
        println!(
            "{name}: {}",
            version(&host).unwrap_or_else(|problem| problem)
        );
        test(&host, &plugin);
    }
}

/// One record as the `file` output wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub tag: String,
    /// Since the epoch, in nanoseconds.
    pub time_ns: u64,
    pub body: Value,
}

impl Record {
    /// The text under `key`; panics when it is not there or not a text.
    pub fn text(&self, key: &str) -> &str {
        self.body[key]
            .as_str()
            .unwrap_or_else(|| panic!("no text {key:?} in {}", self.body))
    }

    /// A line of the form `tag: [1700000000.123456789, {"key":"value"}]`. The tag
    /// may hold anything, so the first `: [` that a time follows is taken.
    fn parse(line: &str) -> Option<Record> {
        line.match_indices(": [").find_map(|(at, mark)| {
            let (time, body) = line[at + mark.len()..]
                .strip_suffix(']')?
                .split_once(", ")?;
            let (seconds, nanoseconds) = time.split_once('.')?;
            if nanoseconds.len() != 9 {
                return None;
            }
            let seconds: u64 = seconds.parse().ok()?;
            let nanoseconds: u64 = nanoseconds.parse().ok()?;
            Some(Record {
                tag: line[..at].to_owned(),
                time_ns: seconds * 1_000_000_000 + nanoseconds,
                body: serde_json::from_str(body).ok()?,
            })
        })
    }
}

/// A host in a folder of its own. Dropping it kills the process.
pub struct FluentBit {
    program: PathBuf,
    dir: TempDir,
    variables: Vec<(String, String)>,
    service_lines: String,
    http_port: Option<u16>,
    arguments: Option<Vec<String>>,
    process: Option<Child>,
}

impl FluentBit {
    /// Prepares a host and does not start it yet. `config` holds the `[INPUT]`
    /// and `[FILTER]` sections; the `[SERVICE]` and an output that
    /// [`records`](FluentBit::records) reads are added.
    pub fn new(program: &Path, plugin: Option<&Path>, config: &str) -> FluentBit {
        // Below cargo's folder: a test that is killed leaves it for `cargo clean`.
        let dir = TempDir::with_prefix_in("host-", scratch()).expect("a temporary folder");
        let plugins = match plugin {
            Some(file) => {
                let file = file.canonicalize().expect("the plugin has been built");
                let link = dir.path().join(PLUGIN_FILE);
                std::os::unix::fs::symlink(file, &link).expect("a link in a new folder");
                format!("[PLUGINS]\n    Path {}\n", link.display())
            }
            None => "[PLUGINS]\n".to_owned(),
        };
        fs::write(dir.path().join("plugins.conf"), plugins).expect("a file in a new folder");
        let host = FluentBit {
            program: program.to_owned(),
            dir,
            variables: Vec::new(),
            service_lines: String::new(),
            http_port: None,
            arguments: None,
            process: None,
        };
        host.set_config(config);
        host
    }

    /// One more line for `[SERVICE]`, such as `Log_Level debug`.
    pub fn with_service_line(mut self, line: &str) -> FluentBit {
        self.service_lines.push_str(&format!("    {line}\n"));
        self
    }

    /// Runs with this YAML instead of all else, the plugin loaded by `-e`.
    pub fn with_yaml(self, yaml: &str) -> FluentBit {
        let file = |name| self.dir().join(name).display().to_string();
        let arguments = [
            "-e".to_owned(),
            file(PLUGIN_FILE),
            "-c".to_owned(),
            file("fluent-bit.yaml"),
        ];
        fs::write(self.dir().join("fluent-bit.yaml"), yaml).expect("the folder is writable");
        self.with_arguments(arguments.to_vec())
    }

    /// Runs with these arguments instead of all else; the plugin is in the host's folder.
    pub fn with_arguments(mut self, arguments: Vec<String>) -> FluentBit {
        self.arguments = Some(arguments);
        self
    }

    /// An environment variable, for `${NAME}` in the configuration.
    pub fn with_variable(mut self, name: &str, value: &str) -> FluentBit {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Opens the HTTP server, for [`http_get`](FluentBit::http_get).
    pub fn with_http_server(mut self) -> FluentBit {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        self.http_port = Some(port);
        let line = format!("HTTP_Server On\n    HTTP_Listen 127.0.0.1\n    HTTP_Port {port}");
        self.with_service_line(&line)
    }

    /// Replaces `config` as given to [`new`](FluentBit::new): for the next start,
    /// or for the reload that `SIGHUP` demands.
    pub fn set_config(&self, config: &str) {
        fs::write(self.dir().join("sections.conf"), config).expect("the folder is writable");
    }

    /// Starts the process. May be called again once it has ended.
    pub fn start(&mut self) -> Result<(), String> {
        assert!(
            self.process.is_none(),
            "{} runs already",
            self.program.display()
        );
        let dir = self.dir();
        let main = format!(
            "[SERVICE]\n    Flush 0.2\n    Hot_Reload On\n    Plugins_File {dir}/plugins.conf\n{lines}\
             @INCLUDE {dir}/sections.conf\n\
             [OUTPUT]\n    Name file\n    Match *\n    Path {dir}\n    File {RECORDS_FILE}\n",
            dir = dir.display(),
            lines = self.service_lines,
        );
        fs::write(dir.join("fluent-bit.conf"), main).expect("the folder is writable");
        let mut command = match programs("setpriv").next() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        match &self.arguments {
            Some(arguments) => command.args(arguments),
            None => command.arg("-c").arg(dir.join("fluent-bit.conf")),
        };
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(self.log("stdout.log"))
            .stderr(self.log("stderr.log"));
        let process = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        self.process = Some(process);
        Ok(())
    }

    /// The folder: a place for what the plugin stores, too.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends a signal: `HUP` reloads, `TERM` ends in order, `KILL` does not.
    pub fn signal(&self, signal: Signal) {
        let process = self
            .process
            .as_ref()
            .expect("a signal is for a running host");
        rustix::process::kill_process(Pid::from_child(process), signal)
            .expect("our child can be signalled");
    }

    /// Ends it as a service manager does: it must end with success, and within a minute.
    #[track_caller]
    pub fn end_in_order(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit(PATIENCE).expect("it ends");
        assert!(status.success(), "{status}:\n{}", self.stderr());
    }

    /// Waits for the end of the process; an error carries the end of its log.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus, String> {
        let mut process = self
            .process
            .take()
            .expect("an end is awaited of a running host");
        let mut status = None;
        holds_within(deadline, || {
            status = process.try_wait().expect("our child can be waited for");
            status.is_some()
        });
        if status.is_none() {
            self.process = Some(process);
        }
        status
            .ok_or_else(|| self.with_log(&format!("Fluent Bit has not ended within {deadline:?}")))
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Waits until `cond` holds of this host. Panics naming `what`, with the end
    /// of the log, when `deadline` has passed or the host has ended before.
    pub fn wait_until(
        &mut self,
        deadline: Duration,
        what: &str,
        mut cond: impl FnMut(&FluentBit) -> bool,
    ) {
        let mut ended = false;
        let held = holds_within(deadline, || {
            // Asked first: a host that ends may have fulfilled the condition before.
            ended = !self.is_running();
            cond(self) || ended
        });
        let failure = match (held, ended) {
            (true, false) => return,
            (true, true) if cond(self) => return,
            (_, true) => "Fluent Bit has ended without".to_owned(),
            _ => format!("not within {deadline:?}"),
        };
        panic!("{}", self.with_log(&format!("{failure}: {what}")));
    }

    /// Waits until `measure` is at least `goal`. Gives up when it has not grown for `patience`,
    /// or when the host has ended: how long the whole takes depends on the load of the test.
    pub fn wait_to_reach(
        &mut self,
        goal: usize,
        patience: Duration,
        what: &str,
        measure: impl Fn(&FluentBit) -> usize,
    ) {
        let mut reached = measure(self);
        while reached < goal {
            let what = format!("more than {reached} of {goal} {what}");
            self.wait_until(patience, &what, |host| measure(host) > reached);
            reached = measure(self);
        }
    }

    /// All that the host has said so far, over all its starts.
    pub fn stderr(&self) -> String {
        self.read("stderr.log")
    }

    /// What an output of type `stdout` has printed.
    pub fn stdout(&self) -> String {
        self.read("stdout.log")
    }

    /// The records so far, in the order in which the host delivered them. A line
    /// that is still being written is left for the next call; panics on a line
    /// that is not a record.
    pub fn records(&self) -> Vec<Record> {
        let text = self.read(RECORDS_FILE);
        let complete = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        complete
            .map(|line| Record::parse(line).unwrap_or_else(|| panic!("not a record: {line:.300}")))
            .collect()
    }

    /// The records that came since `offset`, which moves behind them.
    pub fn records_from(&self, offset: &mut u64) -> Vec<Record> {
        let Ok(mut file) = File::open(self.dir().join(RECORDS_FILE)) else {
            return Vec::new();
        };
        file.seek(SeekFrom::Start(*offset))
            .expect("a file can be sought in");
        let mut text = String::new();
        file.read_to_string(&mut text)
            .expect("the records are UTF-8");
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        *offset += text.len() as u64;
        let parse =
            |line: &str| Record::parse(line).unwrap_or_else(|| panic!("not a record: {line:.300}"));
        text.lines().map(parse).collect()
    }

    /// Removes the records so far; while the host has none to write.
    pub fn forget_records(&self) {
        fs::remove_file(self.dir().join(RECORDS_FILE)).expect("there were some");
    }

    /// The process, which runs.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// How many records there are: cheap enough to await a large number.
    pub fn record_count(&self) -> usize {
        let Ok(mut file) = File::open(self.dir().join(RECORDS_FILE)) else {
            return 0;
        };
        let mut buffer = vec![0; 1 << 20];
        let mut count = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) | Err(_) => return count,
                Ok(length) => {
                    count += buffer[..length]
                        .iter()
                        .filter(|&&byte| byte == b'\n')
                        .count()
                }
            }
        }
    }

    /// The body of an answer of the HTTP server; an error unless its status is 200.
    /// A host answers 404 for its metrics until it has first collected them.
    pub fn http_get(&self, path: &str) -> Result<String, String> {
        http_get(self.http_port(), path).map_err(|error| format!("GET {path}: {error}"))
    }

    /// Where its HTTP server listens.
    pub fn http_port(&self) -> u16 {
        self.http_port.expect("made with_http_server")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.dir().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log(&self, name: &str) -> File {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir().join(name));
        file.expect("the folder is writable")
    }

    fn with_log(&self, error: &str) -> String {
        format!(
            "{error}; end of its log:\n{}",
            tail_of(&self.dir().join("stderr.log"), 30)
        )
    }
}

impl Drop for FluentBit {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// As little of HTTP as the host's servers need. They may keep the connection
/// open, so what they say about the length must end the body: a number, or chunks.
pub fn http_get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // In one write: the server of 3.0.7 does not answer a request in pieces.
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(stream);
    let status = http_line(&mut answer)?;
    if status.split_whitespace().nth(1) != Some("200") {
        return Err(std::io::Error::other(status));
    }
    let mut length = u64::MAX;
    let mut in_chunks = false;
    while let Some((name, value)) = http_line(&mut answer)?.to_ascii_lowercase().split_once(':') {
        match name {
            "content-length" => length = value.trim().parse().map_err(std::io::Error::other)?,
            "transfer-encoding" => in_chunks = value.contains("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if !in_chunks {
        answer.take(length).read_to_end(&mut body)?;
        return Ok(String::from_utf8_lossy(&body).into_owned());
    }
    loop {
        let size =
            u64::from_str_radix(&http_line(&mut answer)?, 16).map_err(std::io::Error::other)?;
        if size == 0 {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        answer.by_ref().take(size).read_to_end(&mut body)?;
        http_line(&mut answer)?;
    }
}

fn http_line(answer: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    answer.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in this module's head, as far as the other tests rely on it.
    #[test]
    fn the_file_output_keeps_tag_nanosecond_and_text() {
        let hosts = find_all();
        if hosts.is_empty() {
            return super::super::skip(
                "the_file_output_keeps_tag_nanosecond_and_text",
                "no fluent-bit on PATH and FLUENT_BIT is not set",
            );
        }
        let text =
            "q\" b\\ \t nul:\0 grüße 世界 \u{1f600} \u{7f} \u{1b} / </x> \u{2028} \u{fffd}: [";
        let body =
            serde_json::json!({"log": text, "n": -5, "none": null, "deep": [1, {"b": true}]});
        for host in hosts {
            let mut host = FluentBit::new(
                &host,
                None,
                &dummy("a.b: [c", 1_700_000_000, 123_456_789, &body),
            );
            host.start().expect("the host starts");
            host.wait_until(Duration::from_secs(30), "two records", |host| {
                host.record_count() == 2
            });
            host.signal(Signal::TERM);
            assert!(host
                .wait_exit(Duration::from_secs(30))
                .expect("it ends")
                .success());
            let expected = Record {
                tag: "a.b: [c".to_owned(),
                time_ns: 1_700_000_000_123_456_789,
                body: body.clone(),
            };
            assert_eq!(
                host.records(),
                [expected.clone(), expected],
                "{}",
                host.stderr()
            );
        }
    }

    #[test]
    fn the_nanosecond_is_read_with_its_leading_zeros() {
        let record = Record::parse("t: [1.000000009, {}]").expect("a record");
        assert_eq!(record.time_ns, 1_000_000_009);
        assert_eq!(Record::parse("t: [1.5, {}]"), None);
    }

    fn dummy(tag: &str, seconds: u64, nanoseconds: u64, body: &Value) -> String {
        format!(
            "[INPUT]\n    Name dummy\n    Tag {tag}\n    Dummy {body}\n    Samples 2\n    Rate 10\n    \
             Start_Time_Sec {seconds}\n    Start_Time_Nsec {nanoseconds}\n    Fixed_Timestamp On\n"
        )
    }
}
