//! A Fluent Bit that runs one input, and what it costs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::data::Format;
use crate::probe::Probe;
use crate::{native, Failure};

/// Longer than anything takes: machines are shared.
const PATIENCE: Duration = Duration::from_secs(300);

const PARSERS: &str =
    "[PARSER]\n    Name docker\n    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L\n\
     [PARSER]\n    Name cri\n    Format regex\n    \
     Regex ^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<flag>[^ ]*) (?<log>.*)$\n    \
     Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L%z\n";

/// What all rows need.
pub struct Lab {
    /// What is written in the rows over many containers.
    pub format: Format,
    pub fluent_bit: Option<PathBuf>,
    pub plugin: PathBuf,
    pub scratch: PathBuf,
    probe: PathBuf,
    ready_records: PathBuf,
    parsers: PathBuf,
}

/// How one host is to be run.
pub struct Setup {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    is_probed: bool,
}

impl Setup {
    /// Each record is looked at by the filter.
    pub fn probed(mut self) -> Setup {
        self.is_probed = true;
        self
    }

    /// A further option of the input.
    pub fn with(mut self, option: &str) -> Setup {
        self.arguments.extend(["-p".into(), option.into()]);
        self
    }
}

impl Lab {
    pub fn new(scratch: &Path) -> Result<Lab, Failure> {
        raise_descriptor_limit();
        let parsers = scratch.join("parsers.conf");
        std::fs::write(&parsers, PARSERS)?;
        Ok(Lab {
            format: Format::of_rows()?,
            fluent_bit: find_host(),
            plugin: plugin()?,
            scratch: scratch.to_owned(),
            probe: native::probe()?,
            ready_records: native::ready_records()?,
            parsers,
        })
    }

    /// container_logs over a Docker root, with a fresh or given checkpoint.
    pub fn ours(&self, root: &Path, db: &Path) -> Setup {
        self.container_logs(db)
            .with("runtime=docker")
            .with(&format!("docker_root={}", root.display()))
    }

    /// container_logs over the logs of pods.
    pub fn ours_of_pods(&self, root: &Path, db: &Path) -> Setup {
        self.container_logs(db)
            .with("runtime=cri")
            .with(&format!("pod_logs={}", root.join("pods").display()))
    }

    /// container_logs over containers of the format of the rows.
    pub fn ours_of_rows(&self, root: &Path, db: &Path) -> Setup {
        match self.format {
            Format::Cri => self.ours_of_pods(root, db),
            Format::JsonFile | Format::Local => self.ours(root, db),
        }
    }

    fn container_logs(&self, db: &Path) -> Setup {
        let setup = Setup {
            arguments: vec![
                "-e".into(),
                self.plugin.clone().into(),
                "-i".into(),
                "container_logs".into(),
            ],
            environment: Vec::new(),
            is_probed: false,
        };
        setup.with(&format!("db={}", db.display()))
    }

    /// `tail` over all json-files of a Docker root.
    pub fn tail(&self, root: &Path) -> Setup {
        self.tail_of(&root.join("containers/*/*-json.log"))
    }

    /// `tail` over containers of the format of the rows, as most have it.
    pub fn tail_of_rows(&self, root: &Path) -> Setup {
        match self.format {
            Format::Cri => self
                .tail_of(&root.join("pods/*/*/*.log"))
                .with("parser=cri"),
            Format::JsonFile | Format::Local => self.tail_docker(root),
        }
    }

    fn tail_of(&self, path: &Path) -> Setup {
        let setup = Setup {
            arguments: vec![
                "-R".into(),
                self.parsers.clone().into(),
                "-i".into(),
                "tail".into(),
            ],
            environment: Vec::new(),
            is_probed: false,
        };
        setup
            .with(&format!("path={}", path.display()))
            .with("read_from_head=on")
            .with("refresh_interval=2")
    }

    /// `tail` as most have it.
    pub fn tail_docker(&self, root: &Path) -> Setup {
        self.tail(root).with("parser=docker")
    }

    /// Fluent Bit's own input over a journal.
    pub fn systemd(&self, folder: &Path) -> Setup {
        let setup = Setup {
            arguments: vec!["-i".into(), "systemd".into()],
            environment: Vec::new(),
            is_probed: false,
        };
        setup.with(&format!("path={}", folder.display()))
    }

    /// The floor: `records` in batches of `file`.
    pub fn ready(&self, file: &Path, records: u64) -> Setup {
        Setup {
            arguments: vec![
                "-e".into(),
                self.ready_records.clone().into(),
                "-i".into(),
                "ready_records".into(),
            ],
            environment: vec![
                ("CLOGS_READY_FILE", file.into()),
                ("CLOGS_READY_TOTAL", records.to_string().into()),
            ],
            is_probed: false,
        }
    }

    /// The input of the floor, for another host.
    pub fn ready_plugin(&self) -> &Path {
        &self.ready_records
    }

    /// A name in the scratch folder that is not taken yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        // Whatever an earlier run left; usually nothing.
        let _ = std::fs::remove_file(&path);
        path
    }

    pub fn start(&self, setup: Setup) -> Result<Session, Failure> {
        let host = self
            .fluent_bit
            .as_ref()
            .ok_or("no Fluent Bit: set FLUENT_BIT")?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let probe = Probe::new(&self.scratch.join("probe"))?;
        let log = self.scratch.join("host.log");
        let mut command = Command::new(host);
        command.args(["-f", "1", "-H", "-L", "127.0.0.1", "-P", &port.to_string()]);
        command.arg("-e").arg(&self.probe).args(&setup.arguments);
        command.args(["-F", "clogs_probe", "-m", "*", "-o", "null", "-m", "*"]);
        command
            .envs(setup.environment)
            .env("CLOGS_PROBE", &probe.path);
        if setup.is_probed {
            command.env("CLOGS_PROBE_FULL", "1");
        }
        let file = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let began = since_1970();
        let child = command.spawn()?;
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        Ok(Session {
            child,
            proc,
            port,
            probe,
            log,
            began,
        })
    }

    /// Runs until `records` have come, and no more.
    pub fn measure(&self, setup: Setup, records: u64) -> Result<Cost, Failure> {
        let session = self.start(setup)?;
        session.wait_for(records)?;
        let wall = session.probe.last_append()?.saturating_sub(session.began);
        Ok(Cost {
            cpu: session.cpu()?,
            wall,
            peak_kib: session.kib("VmHWM:")?,
        })
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Of the whole process, flush to the output included.
    pub cpu: Duration,
    /// From the start of the process to its last append.
    pub wall: Duration,
    pub peak_kib: u64,
}

/// A running host; killed when dropped.
pub struct Session {
    child: Child,
    proc: PathBuf,
    port: u16,
    pub probe: Probe,
    log: PathBuf,
    /// When the process was started, since 1970.
    pub began: Duration,
}

impl Session {
    /// Waits until exactly `records` have come. The host renews its metrics once a
    /// second, so what was appended too often would show as well.
    pub fn wait_for(&self, records: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counted = self.counted().unwrap_or(0);
            if counted == records {
                return Ok(());
            }
            if counted > records || Instant::now() > deadline {
                return Err(format!(
                    "{counted} records instead of {records}; {}",
                    self.log_tail()
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The records of the first input, from the host's own metrics.
    pub fn counted(&self) -> Option<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream
            .write_all(b"GET /api/v1/metrics HTTP/1.0\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        // The host may close without a last word; what came is judged below.
        let _ = stream.read_to_string(&mut answer);
        let metrics: serde_json::Value =
            serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        metrics["input"].as_object()?.values().next()?["records"].as_u64()
    }

    /// Waits until the count has not moved for three seconds, and gives it.
    pub fn settled(&self) -> Result<u64, Failure> {
        let mut last = (self.counted().unwrap_or(0), Instant::now());
        while last.1.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(100));
            let counted = self.counted().unwrap_or(0);
            if counted != last.0 {
                last = (counted, Instant::now());
            }
        }
        Ok(last.0)
    }

    /// Time on a processor of all threads: to the nanosecond where the kernel
    /// keeps that, else in ticks of 10 ms.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0u64;
        for task in std::fs::read_dir(self.proc.join("task"))? {
            match std::fs::read_to_string(task?.path().join("schedstat")) {
                Ok(text) => nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?,
                Err(_) => return self.cpu_ticks(),
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    fn cpu_ticks(&self) -> Result<Duration, Failure> {
        let stat = std::fs::read_to_string(self.proc.join("stat"))?;
        let fields = stat.rsplit_once(')').ok_or("a stat line")?.1;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// A line of `/proc/PID/status`: `VmRSS:` or `VmHWM:`.
    pub fn kib(&self, key: &str) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(self.proc.join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .ok_or("the line")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// How many lines of the host's log hold `part`.
    pub fn logged(&self, part: &str) -> Result<usize, Failure> {
        Ok(std::fs::read_to_string(&self.log)?
            .lines()
            .filter(|line| line.contains(part))
            .count())
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// A clean end, as by SIGTERM.
    pub fn stop(mut self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A container is an open file.
fn raise_descriptor_limit() {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it stays low the rows with many containers will say so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

fn find_host() -> Option<PathBuf> {
    if let Some(host) = std::env::var_os("FLUENT_BIT").filter(|list| !list.is_empty()) {
        return std::env::split_paths(&host).next();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("fluent-bit"))
        .find(|file| file.is_file())
}

/// The release build of the plugin, which `make bench` made just before.
fn plugin() -> Result<PathBuf, Failure> {
    let bench = std::env::current_exe()?;
    let release = bench.ancestors().nth(2).ok_or("a target folder")?;
    let plugin = release.join("flb-in_container_logs.so");
    if plugin.is_file() {
        Ok(plugin)
    } else {
        Err(format!("{} is missing: run make", plugin.display()).into())
    }
}
