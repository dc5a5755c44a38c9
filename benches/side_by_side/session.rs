//! A running Fluent Bit, asked from outside what it has done and what that cost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::probe::Probe;
use crate::Failure;

/// Longer than anything takes: machines are shared.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where a host's records are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedAt {
    /// As they are appended.
    Input,
    /// Once they are flushed: a filter may have made fewer of them.
    Output,
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
    pub child: Child,
    /// Writes the host's standard input, where the setup has such a program.
    pub feeder: Option<Child>,
    pub port: u16,
    pub probe: Probe,
    pub log: PathBuf,
    pub counted_at: CountedAt,
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

    /// The records of the first input or output, from the host's own metrics.
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
        let (kind, key) = match self.counted_at {
            CountedAt::Input => ("input", "records"),
            CountedAt::Output => ("output", "proc_records"),
        };
        metrics[kind].as_object()?.values().next()?[key].as_u64()
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

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// Time on a processor of all threads: to the nanosecond where the kernel
    /// keeps that, else in ticks of 10 ms.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0u64;
        for task in std::fs::read_dir(self.proc("task"))? {
            match std::fs::read_to_string(task?.path().join("schedstat")) {
                Ok(text) => nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?,
                Err(_) => return self.cpu_ticks(),
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    fn cpu_ticks(&self) -> Result<Duration, Failure> {
        let stat = std::fs::read_to_string(self.proc("stat"))?;
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
        let status = std::fs::read_to_string(self.proc("status"))?;
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
        for child in [Some(&mut self.child), self.feeder.as_mut()]
            .into_iter()
            .flatten()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
