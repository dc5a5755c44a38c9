//! The plugin's library in this process, with a host that keeps what it gets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::config::{Config, OpenFilesLimit};
use fluent_bit_container_logs::delivery::host::embedded::{decode_records, Record};
use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::delivery::waker::Waker;
use fluent_bit_container_logs::ffi::journal::library;
use fluent_bit_container_logs::plugin::{Plugin, StartError};
use fluent_bit_container_logs::telemetry::account::{Account, Figures, Held};
use fluent_bit_container_logs::telemetry::event::Level;
use fluent_bit_container_logs::telemetry::metrics::{Labels, Reading, Value};
use rustix::event::{poll, PollFd, PollFlags};

use super::docker_root::{DockerRoot, LogWriter};
use super::writer::{assert_lines, Script, Stream};

/// How long anything may take: far more than it ever should, since the
/// machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a host got.
#[derive(Debug, Default)]
struct Kept {
    records: Mutex<Vec<(Option<String>, Record)>>,
    log: Mutex<Vec<(Level, String)>>,
    refusing: AtomicBool,
    refusals: Mutex<usize>,
    largest: std::sync::atomic::AtomicUsize,
    allowed: Mutex<Option<usize>>,
    /// Each metric that is a number: its series with their labels, which stay, as in Fluent Bit.
    metrics: Mutex<BTreeMap<&'static str, BTreeMap<Vec<String>, f64>>>,
}

impl Host for Kept {
    fn append(&self, tag: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        if let Some(left) = self.allowed.lock().unwrap().as_mut() {
            if *left == 0 {
                *self.refusals.lock().unwrap() += 1;
                return Err(AppendRefused);
            }
            *left -= 1;
        }
        if self.refusing.load(Ordering::SeqCst) {
            *self.refusals.lock().unwrap() += 1;
            return Err(AppendRefused);
        }
        self.largest.fetch_max(bytes.len(), Ordering::SeqCst);
        let decoded = decode_records(bytes).expect("Fluent Bit's layout");
        assert_eq!(decoded.len(), records, "the batch's count of records");
        let mut kept = self.records.lock().unwrap();
        kept.extend(
            decoded
                .into_iter()
                .map(|record| (tag.map(str::to_owned), record)),
        );
        Ok(())
    }

    fn log(&self, level: Level, message: &str) {
        self.log.lock().unwrap().push((level, message.to_owned()));
    }

    fn publish(&self, readings: &[Reading]) {
        let mut metrics = self.metrics.lock().unwrap();
        for Reading { family, samples } in readings {
            let series = metrics.entry(family.name).or_default();
            series.extend(samples.iter().filter_map(|sample| match sample.value {
                Value::Number(number) => Some((texts(&sample.labels), number)),
                Value::Distribution { .. } => None,
            }));
        }
    }
}

/// The values of a series' labels.
pub fn texts(labels: &Labels) -> Vec<String> {
    let values = labels.values();
    values
        .map(|value| value.to_string_lossy().into_owned())
        .collect()
}

/// A running instance and the thread that plays its host.
pub struct Collector {
    plugin: Arc<Plugin>,
    kept: Arc<Kept>,
    ending: Arc<AtomicBool>,
    bell: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts over a Docker root; `options` as in a configuration file.
    pub fn start(root: &Path, options: &[(&str, &str)]) -> Collector {
        Collector::try_start(root, options).expect("the instance starts")
    }

    /// Starts over a new root with one container, `web`, whose log is empty.
    pub fn of_one(options: &[(&str, &str)]) -> (DockerRoot, LogWriter, Collector) {
        let root = DockerRoot::new();
        let log = root.container('a', "web");
        let collector = Collector::start(root.path(), options);
        (root, log, collector)
    }

    /// As [`Collector::start`], with a limit on the files that are open.
    pub fn start_with(
        root: &Path,
        options: &[(&str, &str)],
        open_files: OpenFilesLimit,
    ) -> Collector {
        let started = Collector::try_start_with(root, options, Some(open_files));
        started.expect("the instance starts")
    }

    /// As [`Collector::start`], or why not.
    pub fn try_start(root: &Path, options: &[(&str, &str)]) -> Result<Collector, StartError> {
        Collector::try_start_with(root, options, None)
    }

    fn try_start_with(
        root: &Path,
        options: &[(&str, &str)],
        open_files: Option<OpenFilesLimit>,
    ) -> Result<Collector, StartError> {
        let mut config = Config::from_lookup(|name| {
            let given = options.iter().filter(|(option, _)| *option == name);
            let given: Vec<String> = given.map(|(_, value)| (*value).to_owned()).collect();
            // Of this machine's own containers nothing shall be seen.
            let default = match name {
                "Docker_Root" => Some(root.display().to_string()),
                "Pod_Logs" => Some(root.join("pods").display().to_string()),
                "Podman_Root" => Some(root.join("storage").display().to_string()),
                _ if name.ends_with("_Root") => Some(root.join(name).display().to_string()),
                "Podman_Socket" => Some(root.join("podman.sock").display().to_string()),
                "Runtime" => Some("docker".to_owned()),
                "Journal_Path" => Some("off".to_owned()),
                _ => None,
            };
            match given.is_empty() {
                true => default.into_iter().collect(),
                false => given,
            }
        })
        .expect("valid options");
        // Nor of its users, or of its services.
        config.runtimes.machine = root.to_owned();
        config.open_files = open_files;
        config.input_name = format!("input over {}", root.display());
        let plugin = Arc::new(Plugin::start_with(config, Some(library()))?);
        let kept = Arc::new(Kept::default());
        let ending = Arc::new(AtomicBool::new(false));
        let bell = Arc::new(Waker::new().expect("a bell"));
        let thread = {
            let (plugin, kept) = (Arc::clone(&plugin), Arc::clone(&kept));
            let (ending, bell) = (Arc::clone(&ending), Arc::clone(&bell));
            std::thread::spawn(move || {
                while !ending.load(Ordering::SeqCst) {
                    // No time-out: what does not ring is not heard, as in the host.
                    let rung = PollFd::from_borrowed_fd(plugin.host_fd(), PollFlags::IN);
                    let _ = poll(&mut [rung, PollFd::new(&*bell, PollFlags::IN)], None);
                    plugin.drain(&*kept);
                }
            })
        };
        Ok(Collector {
            plugin,
            kept,
            ending,
            bell,
            thread: Some(thread),
        })
    }

    pub fn pause(&self) {
        self.plugin.pause();
    }

    pub fn resume(&self) {
        self.plugin.resume();
    }

    /// From now on every append is refused, or no longer.
    pub fn refuse(&self, refusing: bool) {
        self.kept.refusing.store(refusing, Ordering::SeqCst);
    }

    /// How many appends were refused.
    pub fn refusals(&self) -> usize {
        *self.kept.refusals.lock().unwrap()
    }

    /// From now on so many appends are accepted, and no more.
    pub fn accept_only(&self, appends: usize) {
        *self.kept.allowed.lock().unwrap() = Some(appends);
    }

    pub fn largest_batch(&self) -> usize {
        self.kept.largest.load(Ordering::SeqCst)
    }

    pub fn count(&self) -> usize {
        self.kept.records.lock().unwrap().len()
    }

    /// The records so far, with their tags.
    pub fn tagged(&self) -> Vec<(Option<String>, Record)> {
        self.kept.records.lock().unwrap().clone()
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Record> {
        self.tagged()
            .into_iter()
            .map(|(_, record)| record)
            .collect()
    }

    /// The texts so far.
    pub fn texts(&self) -> Vec<String> {
        self.records()
            .iter()
            .map(|record| record.text("log").to_owned())
            .collect()
    }

    /// What became of every byte of all containers. Whoever looks, and when:
    /// no byte is in two places, and none in none.
    #[track_caller]
    pub fn figures(&self) -> Figures {
        for account in self.accounts() {
            let figures = account.figures();
            assert!(figures.is_balanced(), "{}: {figures:?}", account.name());
        }
        let total = self.plugin.accounts().total();
        assert!(total.is_balanced(), "{total:?}");
        total
    }

    /// The accounts of the containers there are.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.plugin.accounts().all()
    }

    /// The sum over all series of this metric, named without our prefix.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        self.plugin.publish(&*self.kept);
        let metrics = self.kept.metrics.lock().unwrap();
        let series = metrics.get(name);
        series
            .unwrap_or_else(|| panic!("no metric {name}"))
            .values()
            .sum()
    }

    /// The labels of each series of this metric, named without our prefix.
    pub fn labels(&self, name: &str) -> Vec<Vec<String>> {
        self.plugin.publish(&*self.kept);
        let metrics = self.kept.metrics.lock().unwrap();
        let series = metrics.get(name);
        series.map_or(Vec::new(), |series| series.keys().cloned().collect())
    }

    /// The deleted files that are held.
    pub fn held(&self) -> Held {
        self.plugin.accounts().held()
    }

    /// What became of every byte of the container with this name.
    #[track_caller]
    pub fn figures_of(&self, name: &str) -> Figures {
        let accounts = self.accounts();
        let account = accounts.iter().find(|account| account.name() == name);
        account
            .unwrap_or_else(|| panic!("no container {name} is known"))
            .figures()
    }

    /// The texts so far of one stream of the container with this full id.
    pub fn texts_of(&self, id: &str, stream: &str) -> Vec<String> {
        let records = self.records();
        let ours = records
            .iter()
            .filter(|record| record.text("container_id") == id && record.text("stream") == stream);
        ours.map(|record| record.text("log").to_owned()).collect()
    }

    /// Waits until as many lines of a container arrived as its script prints, then
    /// compares them all, stream by stream.
    #[track_caller]
    pub fn assert_arrives(&self, id: &str, script: &Script, label: &str) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let expected = script.of(stream);
            let name = stream.name();
            self.wait(
                &format!("{label}: {} lines of {name}", expected.len()),
                |collector| collector.texts_of(id, name).len() >= expected.len(),
            );
            let texts = self.texts_of(id, name);
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            assert_lines(&format!("{label}, {name}"), &texts, &expected);
        }
    }

    /// The log messages so far.
    pub fn log(&self) -> Vec<(Level, String)> {
        self.kept.log.lock().unwrap().clone()
    }

    /// Whether a message with this part was logged.
    pub fn has_logged(&self, part: &str) -> bool {
        self.log().iter().any(|(_, message)| message.contains(part))
    }

    /// How many messages with this part were logged.
    pub fn times_logged(&self, part: &str) -> usize {
        let log = self.log();
        log.iter().filter(|it| it.1.contains(part)).count()
    }

    /// Waits for a condition of this collector.
    #[track_caller]
    pub fn wait(&self, what: &str, mut condition: impl FnMut(&Collector) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            self.figures();
            let count = self.kept.records.lock().unwrap().len();
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; {count} records; log: {:#?}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until there are at least `count` records, and gives their texts.
    #[track_caller]
    pub fn wait_texts(&self, count: usize) -> Vec<String> {
        self.wait(&format!("{count} records"), |collector| {
            collector.kept.records.lock().unwrap().len() >= count
        });
        self.texts()
    }

    /// A clean stop, as at SIGTERM; gives what there was in the end.
    pub fn stop(mut self) -> (Vec<Record>, Vec<(Level, String)>) {
        self.end();
        (self.records(), self.log())
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.plugin.pause();
            self.ending.store(true, Ordering::SeqCst);
            self.bell.wake();
            thread.join().expect("the host's thread");
            self.plugin.stop(&*self.kept);
            if !std::thread::panicking() {
                let figures = self.figures();
                let kept = self.kept.records.lock().unwrap().len() as u64;
                assert_eq!(
                    figures.delivered.records, kept,
                    "records accepted and records kept"
                );
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end();
    }
}
