//! Plays a runtime live: lines at a rate, one `write` each, with the time of right
//! now, and rotation by rename.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::data::Format;
use crate::host::since_1970;
use crate::probe::Answer;
use crate::Failure;

/// How often lines that are due are written.
const TICK: Duration = Duration::from_millis(1);

/// `count` containers with empty logs, numbered from `first`.
pub fn empty_logs(
    format: Format,
    root: &Path,
    first: usize,
    count: usize,
) -> Result<Vec<File>, Failure> {
    (first..first + count)
        .map(|number| Ok(File::create(format.log(root, number)?)?))
        .collect()
}

/// Runs `measure` while `write` writes on a thread of its own; its flag says when to stop. Returns
/// what both return.
pub fn while_writing<W: Send, M>(
    write: impl FnOnce(&AtomicBool) -> Result<W, Failure> + Send,
    measure: impl FnOnce() -> Result<M, Failure>,
) -> Result<(W, M), Failure> {
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(stop).map_err(|error| error.to_string()));
        let measured = measure();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")??;
        Ok((written, measured?))
    })
}

/// Writes `rate` lines a second in all, to the logs in turn, until told to stop.
pub fn write_lines<W: Write>(
    format: Format,
    logs: &mut [W],
    rate: u64,
    stop: &AtomicBool,
) -> Result<Answer, Failure> {
    let began = Instant::now();
    let mut answer = Answer::default();
    let (mut text, mut line) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while answer.records < due {
            let number = answer.records;
            text.clear();
            write!(
                text,
                "INFO request {number:09} GET /api/v1/items?id={number:07} 200 12ms user=alice tenant=shop"
            )?;
            let nanos = u64::try_from(since_1970().as_nanos())?;
            line.clear();
            format.put_line(&mut line, &text, nanos)?;
            let index = usize::try_from(number)? % logs.len();
            logs[index].write_all(&line)?;
            answer.add(&text, nanos);
        }
        std::thread::sleep(TICK);
    }
    Ok(answer)
}

/// Floods one log with `rate` bytes a second, 64 KiB a `write`, until told to stop.
pub fn flood(
    format: Format,
    log: &mut File,
    rate: u64,
    stop: &AtomicBool,
) -> Result<(u64, Answer), Failure> {
    let began = Instant::now();
    let mut answer = Answer::default();
    let (mut bytes, mut number) = (0u64, 0u64);
    let (mut text, mut block) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while bytes < due {
            block.clear();
            let nanos = u64::try_from(since_1970().as_nanos())?;
            while block.len() < 64 * 1024 {
                text.clear();
                text.extend_from_slice(b"~ flood ");
                text.extend_from_slice(&number.to_string().into_bytes());
                text.resize(190, b'.');
                format.put_line(&mut block, &text, nanos)?;
                answer.add(&text, nanos);
                number += 1;
            }
            log.write_all(&block)?;
            bytes += block.len() as u64;
        }
        std::thread::sleep(TICK);
    }
    Ok((bytes, answer))
}

/// One log that is rotated at a size, with three files in all: as dockerd does it, or
/// as the kubelet does, but as often as that.
pub struct Rotated {
    format: Format,
    path: PathBuf,
    file: File,
    bytes: u64,
    pub rotations: u64,
}

impl Rotated {
    pub fn new(format: Format, path: PathBuf) -> Result<Rotated, Failure> {
        let file = File::create(&path)?;
        Ok(Rotated {
            format,
            path,
            file,
            bytes: 0,
            rotations: 0,
        })
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        if self.format == Format::Cri {
            std::fs::rename(&self.path, self.stamped(self.rotations))?;
            if self.rotations >= 2 {
                std::fs::remove_file(self.stamped(self.rotations - 2))?;
            }
            return Ok(());
        }
        if self.rotated(1).exists() {
            std::fs::rename(self.rotated(1), self.rotated(2))?;
        }
        std::fs::rename(&self.path, self.rotated(1))
    }

    /// By a time, of which each rotation has a later one.
    fn stamped(&self, rotation: u64) -> PathBuf {
        let (hour, minute, second) = (rotation / 3600, rotation / 60 % 60, rotation % 60);
        PathBuf::from(format!(
            "{}.20261125-{hour:02}{minute:02}{second:02}",
            self.path.display()
        ))
    }

    fn rotated(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }
}

const MAX_SIZE: u64 = 1_000_000;

impl Write for Rotated {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.bytes >= MAX_SIZE {
            self.rotate()?;
            self.file = File::create(&self.path)?;
            self.bytes = 0;
            self.rotations += 1;
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
