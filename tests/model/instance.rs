//! The plugin without threads: the reader is turned and the queue drained when
//! the history says so, at a time that the history says.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fluent_bit_container_logs::config::{Config, OpenFilesLimit};
use fluent_bit_container_logs::delivery::checkpoint::CheckpointError;
use fluent_bit_container_logs::delivery::host::embedded::{decode_records, Record};
use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::plugin::{Plugin, StartError};
use fluent_bit_container_logs::source::reader::{Pass, Reader};
use fluent_bit_container_logs::telemetry::event::Level;

use test_kit::collector::PATIENCE;
use test_kit::holds_within;

/// What the host got and how it answers.
#[derive(Default)]
struct Answers {
    /// Records, since they were last asked for.
    records: Vec<Record>,
    refusing: bool,
    /// So many appends until the kill.
    fuse: Option<usize>,
    /// How many records the append that it caught had, and the checkpoint then.
    caught: Option<(usize, Vec<u8>)>,
    log: Vec<String>,
}

struct StepHost {
    db: PathBuf,
    answers: RefCell<Answers>,
}

impl Host for StepHost {
    fn append(&self, _: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        let mut answers = self.answers.borrow_mut();
        if answers.refusing || answers.caught.is_some() {
            return Err(AppendRefused);
        }
        let decoded = decode_records(bytes).expect("Fluent Bit's layout");
        assert_eq!(decoded.len(), records, "the batch's count of records");
        answers.records.extend(decoded);
        match answers.fuse {
            Some(0) => {
                answers.caught = Some((records, std::fs::read(&self.db).expect("the checkpoint")))
            }
            Some(left) => answers.fuse = Some(left - 1),
            None => {}
        }
        Ok(())
    }

    fn log(&self, level: Level, message: &str) {
        self.answers
            .borrow_mut()
            .log
            .push(format!("{level:?} {message}"));
    }
}

/// A running instance.
pub struct Instance {
    plugin: Plugin,
    reader: Reader,
    host: StepHost,
    /// Records taken so far.
    taken: u64,
}

impl Instance {
    pub fn start(
        root: &Path,
        db: &Path,
        options: &[(&str, &str)],
        open_files: Option<OpenFilesLimit>,
    ) -> Instance {
        let mut config = Config::from_lookup(|name| match name {
            "Docker_Root" => Some(root.display().to_string()),
            "DB" => Some(db.display().to_string()),
            _ => options
                .iter()
                .find(|(option, _)| *option == name)
                .map(|(_, value)| (*value).to_owned()),
        })
        .expect("valid options");
        config.open_files = open_files;
        // A test beside this one that starts a process has, until that runs, a
        // copy of the locked descriptor in it.
        let mut prepared = None;
        holds_within(PATIENCE, || {
            prepared = Some(Plugin::prepare(config.clone()));
            !matches!(
                &prepared,
                Some(Err(StartError::Checkpoint(CheckpointError::InUse { .. })))
            )
        });
        let (plugin, mut reader) = prepared.expect("tried").expect("the instance starts");
        reader.begin();
        let host = StepHost {
            db: db.to_owned(),
            answers: RefCell::default(),
        };
        Instance {
            plugin,
            reader,
            host,
            taken: 0,
        }
    }

    pub fn turn(&mut self, now: Instant) -> Pass {
        self.reader.turn(now)
    }

    /// The host's thread: records that were accepted, and whether this was its end.
    pub fn drain(&mut self) -> Vec<Record> {
        self.plugin.drain(&self.host);
        let records = std::mem::take(&mut self.host.answers.borrow_mut().records);
        self.taken += records.len() as u64;
        records
    }

    /// Whether no byte is in two places of the accounts, and none in none, and what
    /// they call delivered is what was taken.
    pub fn check_books(&self) -> Result<(), String> {
        let accounts = self.plugin.accounts();
        let single = accounts.all().into_iter().map(|account| account.figures());
        for figures in single.chain([accounts.total()]) {
            if !figures.is_balanced() {
                return Err(format!("the accounts do not balance: {figures:?}"));
            }
        }
        let delivered = accounts.total().delivered.records;
        if delivered != self.taken {
            return Err(format!(
                "{delivered} records are called delivered, {} were",
                self.taken
            ));
        }
        Ok(())
    }

    pub fn is_drained(&self) -> bool {
        self.plugin.is_drained()
    }

    pub fn pause(&self) {
        self.plugin.pause();
    }

    pub fn resume(&self) {
        self.plugin.resume();
    }

    pub fn refuse(&self, on: bool) {
        self.host.answers.borrow_mut().refusing = on;
    }

    /// From now on so many appends are survived.
    pub fn kill_in_append(&self, after: usize) {
        self.host.answers.borrow_mut().fuse = Some(after);
    }

    /// Whether the last drain ended in a kill: how many of its last records were
    /// in the append that was caught.
    pub fn caught(&self) -> Option<usize> {
        self.host
            .answers
            .borrow()
            .caught
            .as_ref()
            .map(|(records, _)| *records)
    }

    /// An orderly end.
    pub fn stop(self) {
        self.plugin.pause();
        self.plugin.stop(&self.host);
    }

    /// All state is lost but for the checkpoint as it was at that moment.
    pub fn kill(self) {
        drop((self.plugin, self.reader));
        if let Some((_, checkpoint)) = self.host.answers.into_inner().caught {
            std::fs::write(&self.host.db, checkpoint).expect("the checkpoint");
        }
    }

    /// What it had to say.
    pub fn log(&self) -> Vec<String> {
        self.host.answers.borrow().log.clone()
    }
}
