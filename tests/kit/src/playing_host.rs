//! Drives `tests/kit/playing_host/playing_host.c`, a program that plays the Fluent
//! Bit host in lock-step with a script, and reads back what it was given.
//!
//! Nothing outlives the test process: the program ends at the end of its input,
//! and its input's writing end is in this process alone.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use fluent_bit_container_logs::delivery::host::embedded::{decode_records, Record};
use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

use super::fluent_bit::plugin;
use super::{compile, holds_within, tail_of, wait_until};

/// How long any answer may take: far more than it ever should, since the
/// machines are shared. Below the 60 seconds after which the test runner warns.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// `PATIENCE`, for the program's own deadlines.
const PATIENCE_MS: u128 = PATIENCE.as_millis();

/// Marks a batch without a tag in the records file.
const NO_TAG: u32 = u32::MAX;

/// A host of one release, as the program's `-D` switches describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Release {
    /// 30, 32 or 51: from which release on the descriptor looks like this.
    pub generation: u32,
    /// Bytes of one entry in the option table: 96 or 104.
    pub option_size: u32,
    /// Further `-D` switches.
    pub switch: Option<&'static str>,
}

impl Release {
    const fn new(generation: u32, option_size: u32) -> Release {
        Release {
            generation,
            option_size,
            switch: None,
        }
    }

    /// Every descriptor with every size of an option.
    pub const ALL: [Release; 6] = [
        Release::new(30, 96),
        Release::new(30, 104),
        Release::new(32, 96),
        Release::new(32, 104),
        Release::new(51, 96),
        Release::new(51, 104),
    ];

    /// Each descriptor once.
    pub const GENERATIONS: [Release; 3] = [
        Release::new(30, 96),
        Release::new(32, 104),
        Release::new(51, 104),
    ];

    /// Where it does not matter which.
    pub const LATEST: Release = Release::new(51, 104);

    /// The same with a further `-D` switch.
    pub fn with(self, switch: &'static str) -> Release {
        Release {
            switch: Some(switch),
            ..self
        }
    }

    /// Runs the compiled program.
    fn command(self) -> Command {
        match &runner()[..] {
            [] => Command::new(self.program()),
            [runner, arguments @ ..] => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(self.program());
                command
            }
        }
    }

    /// The compiled program; compiled once in this process.
    fn program(self) -> PathBuf {
        static COMPILED: Mutex<Option<HashMap<Release, Arc<OnceLock<PathBuf>>>>> = Mutex::new(None);
        let once = {
            let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(
                compiled
                    .get_or_insert_with(HashMap::new)
                    .entry(self)
                    .or_default(),
            )
        };
        once.get_or_init(|| self.compile()).clone()
    }

    fn compile(self) -> PathBuf {
        let switch = self.switch.unwrap_or_default();
        // What a sanitizer wants (scripts/sanitize); a program of its own then.
        let sanitizer = std::env::var("PLAYING_HOST_FLAGS").unwrap_or_default();
        let kind = match (sanitizer.is_empty(), runner().is_empty()) {
            (false, _) => "-sanitized",
            (true, false) => "-emulated",
            (true, true) => "",
        };
        let name = format!(
            "playing_host-{}-{}{switch}{kind}",
            self.generation, self.option_size
        );
        let generation = format!("-DGENERATION={}", self.generation);
        let option_size = format!("-DOPTION_SIZE={}", self.option_size);
        let mut flags = vec!["-rdynamic", generation.as_str(), option_size.as_str()];
        flags.extend(self.switch);
        flags.extend(["-ldl", "-lpthread"]);
        flags.extend(sanitizer.split_whitespace());
        compile("playing_host/playing_host.c", &name, &flags)
    }
}

/// What runs the compiled program where this machine cannot (scripts/test-release), a program
/// with its arguments; `PLAYING_HOST_CC` is then a compiler for that machine.
fn runner() -> Vec<String> {
    let words = std::env::var("PLAYING_HOST_RUNNER").unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect()
}

/// Whether an emulator runs the program: what is measured of the process is the emulator's.
pub fn is_emulated() -> bool {
    !runner().is_empty()
}

/// One accepted append.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The instance's name in the script.
    pub instance: String,
    /// The tag the plugin gave.
    pub tag: Option<String>,
    /// Its records.
    pub records: Vec<Record>,
}

impl Frame {
    /// The texts of its records.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.records.iter().map(|record| record.text("log"))
    }
}

/// What `run` answers: totals since the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records accepted.
    pub records: usize,
    /// Appends accepted.
    pub appends: usize,
    /// Appends that got -1.
    pub refused: usize,
}

/// What a clean exit answers, and what was delivered by then.
#[derive(Debug)]
pub struct Exit {
    /// Threads that were not there before the plugin was loaded.
    pub threads_left: i64,
    /// Open descriptors when the plugin was loaded.
    pub fds_before: i64,
    /// Open descriptors at the end.
    pub fds_after: i64,
    /// All that was accepted.
    pub frames: Vec<Frame>,
    /// All that was printed to stderr.
    pub log: String,
}

impl Exit {
    /// No thread and no descriptor of ours is left. An emulator has threads of its own, which end
    /// meanwhile.
    #[track_caller]
    pub fn assert_clean(&self) {
        match is_emulated() {
            true => assert!(self.threads_left <= 0, "threads left; log:\n{}", self.log),
            false => assert_eq!(self.threads_left, 0, "threads left; log:\n{}", self.log),
        }
        assert!(
            self.fds_after <= self.fds_before,
            "descriptors grew from {} to {}; log:\n{}",
            self.fds_before,
            self.fds_after,
            self.log
        );
    }
}

/// A running program with the plugin loaded.
pub struct PlayingHost {
    child: Child,
    script: Option<ChildStdin>,
    answers: Receiver<String>,
    folder: TempDir,
}

impl PlayingHost {
    /// A host that has loaded the plugin and declared nothing.
    pub fn start(release: Release) -> PlayingHost {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        PlayingHost::start_in(folder, release.command(), log.into())
    }

    /// As [`PlayingHost::start`], started by another program: `starter` with the
    /// host's own command line behind it.
    pub fn start_by(mut starter: Command, release: Release) -> PlayingHost {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        starter.args(runner()).arg(release.program());
        PlayingHost::start_in(folder, starter, log.into())
    }

    /// As [`PlayingHost::start`], printing its log to `log` instead of a file.
    pub fn start_with_log(release: Release, log: Stdio) -> PlayingHost {
        let folder = tempfile::tempdir().expect("a temporary folder");
        PlayingHost::start_in(folder, release.command(), log)
    }

    fn start_in(folder: TempDir, mut command: Command, log: Stdio) -> PlayingHost {
        let mut child = command
            .arg(plugin().expect("cargo has built the library beside this test"))
            .arg(folder.path().join("records"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the playing host starts");
        let script = child.stdin.take();
        let output = child.stdout.take().expect("its output is a pipe");
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        PlayingHost {
            child,
            script,
            answers,
            folder,
        }
    }

    /// A host with one instance called `a`, running.
    pub fn with_instance(release: Release, options: &str) -> PlayingHost {
        let mut host = PlayingHost::start(release);
        host.ok(&format!("instance a {options}"));
        host.ok("init");
        host
    }

    /// Sends a command and does not wait for its answer.
    #[track_caller]
    pub fn send(&mut self, command: &str) {
        let sent = self
            .script
            .as_mut()
            .map(|script| writeln!(script, "{command}"));
        if !matches!(sent, Some(Ok(()))) {
            panic!(
                "the host is gone before `{command}`: {sent:?}; log:\n{}",
                self.tail()
            );
        }
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self, command: &str) -> String {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(error) => panic!("`{command}` got no answer: {error}; log:\n{}", self.tail()),
        }
    }

    #[track_caller]
    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer(command)
    }

    /// A command that must succeed; what stands behind `ok`.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        let answer = self.ask(command);
        match answer.strip_prefix("ok") {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("`{command}`: {answer}; log:\n{}", self.tail()),
        }
    }

    /// A command that must fail; what stands behind `error`.
    #[track_caller]
    pub fn error(&mut self, command: &str) -> String {
        let answer = self.ask(command);
        match answer.strip_prefix("error ") {
            Some(rest) => rest.to_owned(),
            None => panic!("`{command}` should fail: {answer}; log:\n{}", self.tail()),
        }
    }

    /// Lets the loops turn for so long.
    #[track_caller]
    pub fn run(&mut self, ms: u32) -> Counts {
        let answer = self.ok(&format!("run {ms}"));
        counts(&answer)
    }

    /// Lets the loops turn until so many records in all are accepted.
    #[track_caller]
    pub fn run_until(&mut self, records: usize) -> Counts {
        let answer = self.ok(&format!("run-until {records} {PATIENCE_MS}"));
        let counts = counts(&answer);
        assert!(
            counts.records >= records,
            "waited in vain for {records} records: {counts:?}; log:\n{}",
            self.tail()
        );
        counts
    }

    /// Callbacks of collectors so far.
    #[track_caller]
    pub fn calls(&mut self) -> i64 {
        number(&self.ok("calls"), "calls")
    }

    /// The threads there are, as `NAME:blocked` or another state of the signals.
    #[track_caller]
    pub fn threads(&mut self) -> Vec<String> {
        let mut threads: Vec<String> = self
            .ok("threads")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        threads.sort();
        threads
    }

    /// How many descriptors the process has open.
    pub fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// How long the records file is.
    pub fn delivered_bytes(&self) -> u64 {
        self.folder
            .path()
            .join("records")
            .metadata()
            .map_or(0, |file| file.len())
    }

    /// The whole frames that came since `offset`, which moves behind them.
    pub fn frames_from(&self, offset: &mut u64) -> Vec<Frame> {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(self.folder.path().join("records")) {
            file.seek(SeekFrom::Start(*offset))
                .expect("a file can be sought in");
            file.read_to_end(&mut bytes)
                .expect("the records can be read");
        }
        let mut rest = bytes.as_slice();
        let frames = std::iter::from_fn(|| take_frame(&mut rest)).collect();
        *offset += (bytes.len() - rest.len()) as u64;
        frames
    }

    /// Empties the records file; while no loop turns.
    pub fn forget_frames(&self) {
        std::fs::write(self.folder.path().join("records"), "").expect("it is ours");
    }

    /// No thread of it runs until [`PlayingHost::continue_process`].
    pub fn stop_process(&self) {
        self.signal(Signal::STOP);
        let is_stopped = || {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
            status.contains("\nState:\tT")
        };
        wait_until(PATIENCE, "the host is stopped", is_stopped);
    }

    /// All of its threads run again.
    pub fn continue_process(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All whole frames so far.
    pub fn frames(&self) -> Vec<Frame> {
        self.frames_and_torn().0
    }

    /// All whole frames so far, and whether a torn one follows.
    fn frames_and_torn(&self) -> (Vec<Frame>, bool) {
        let bytes = std::fs::read(self.folder.path().join("records")).unwrap_or_default();
        let mut rest = bytes.as_slice();
        let mut frames = Vec::new();
        while let Some(frame) = take_frame(&mut rest) {
            frames.push(frame);
        }
        (frames, !rest.is_empty())
    }

    /// The texts that one instance was given so far.
    pub fn texts(&self, instance: &str) -> Vec<String> {
        texts_of(&self.frames(), instance)
    }

    /// The log so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn tail(&self) -> String {
        tail_of(&self.folder.path().join("log"), 20)
    }

    /// A clean end; a violation or a crash fails the test.
    #[track_caller]
    pub fn exit(mut self) -> Exit {
        let answer = self.ok("exit");
        let status = self.wait();
        assert!(status.success(), "exit: {status}; log:\n{}", self.tail());
        Exit {
            threads_left: number(&answer, "threads_left"),
            fds_before: number(&answer, "fds_before"),
            fds_after: number(&answer, "fds_after"),
            frames: self.frames(),
            log: self.log(),
        }
    }

    /// Waits for its end after an `exit` that was sent. All whole frames.
    #[track_caller]
    pub fn ended(mut self) -> Vec<Frame> {
        let status = self.wait();
        assert!(status.success(), "exit: {status}; log:\n{}", self.tail());
        self.frames()
    }

    /// Ends it with SIGKILL. All whole frames, and whether a torn one follows,
    /// of which the append had not returned.
    pub fn kill(mut self) -> (Vec<Frame>, bool) {
        self.child.kill().expect("SIGKILL");
        self.wait();
        self.frames_and_torn()
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = holds_within(PATIENCE, || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        match status {
            Some(status) if ended => status,
            _ => panic!("the host does not end; log:\n{}", self.tail()),
        }
    }
}

impl Drop for PlayingHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The texts that one instance was given.
pub fn texts_of(frames: &[Frame], instance: &str) -> Vec<String> {
    let ours = frames.iter().filter(|frame| frame.instance == instance);
    ours.flat_map(Frame::texts).map(str::to_owned).collect()
}

/// The number behind `key=` in an answer.
#[track_caller]
fn number(answer: &str, key: &str) -> i64 {
    let value = answer
        .split(' ')
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {key} in `{answer}`"))
}

#[track_caller]
fn counts(answer: &str) -> Counts {
    let count = |key| usize::try_from(number(answer, key)).expect("a count");
    Counts {
        records: count("records"),
        appends: count("appends"),
        refused: count("refused"),
    }
}

/// Takes a frame off the front; `None` where there is none or only a part.
fn take_frame(bytes: &mut &[u8]) -> Option<Frame> {
    let mut rest = *bytes;
    let length = take_length(&mut rest)?;
    let instance = take_text(&mut rest, length)?;
    let tag = match take_length(&mut rest)? {
        NO_TAG => None,
        length => Some(take_text(&mut rest, length)?),
    };
    let count = take_length(&mut rest)? as usize;
    let length = take_length(&mut rest)?;
    let records = decode_records(take(&mut rest, length)?).expect("Fluent Bit's layout");
    assert_eq!(records.len(), count, "records announced and given");
    *bytes = rest;
    Some(Frame {
        instance,
        tag,
        records,
    })
}

fn take<'a>(bytes: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(taken)
}

fn take_length(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
}

fn take_text(bytes: &mut &[u8], length: u32) -> Option<String> {
    Some(String::from_utf8(take(bytes, length)?.to_vec()).expect("names and tags are UTF-8"))
}
