//! Plays dockerd live: lines at a rate, one `write` each, with the time of right
//! now, and rotation by rename.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::data::{json_log, put_json_line};
use crate::host::since_1970;
use crate::probe::Answer;
use crate::Failure;

/// How often lines that are due are written.
const TICK: Duration = Duration::from_millis(1);

/// `count` containers with empty logs, numbered from `first`.
pub fn empty_logs(root: &Path, first: usize, count: usize) -> Result<Vec<File>, Failure> {
    (first..first + count).map(|number| Ok(File::create(json_log(root, number)?)?)).collect()
}

/// Writes `rate` lines a second in all, to the logs in turn, until told to stop.
pub fn write_lines<W: Write>(logs: &mut [W], rate: u64, stop: &AtomicBool) -> Result<Answer, Failure> {
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
            put_json_line(&mut line, &text, nanos)?;
            let index = usize::try_from(number)? % logs.len();
            logs[index].write_all(&line)?;
            answer.add(&text, nanos);
        }
        std::thread::sleep(TICK);
    }
    Ok(answer)
}

/// Floods one log with `rate` bytes a second, 64 KiB a `write`, until told to stop.
pub fn flood(log: &mut File, rate: u64, stop: &AtomicBool) -> Result<(u64, Answer), Failure> {
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
                put_json_line(&mut block, &text, nanos)?;
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

/// One log that is rotated as dockerd does it with `max-size` and `max-file=3`.
pub struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    pub rotations: u64,
}

impl Rotated {
    pub fn new(path: PathBuf) -> Result<Rotated, Failure> {
        let file = File::create(&path)?;
        Ok(Rotated { path, file, bytes: 0, rotations: 0 })
    }

    fn rotated(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }
}

const MAX_SIZE: u64 = 1_000_000;

impl Write for Rotated {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.bytes >= MAX_SIZE {
            if self.rotated(1).exists() {
                std::fs::rename(self.rotated(1), self.rotated(2))?;
            }
            std::fs::rename(&self.path, self.rotated(1))?;
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
