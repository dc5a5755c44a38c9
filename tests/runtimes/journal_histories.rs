//! Random histories of a real journal: entries of several containers, new files, files that are
//! removed, a journald that is killed, a clock that is set, and the host that is started, ended and
//! killed. What arrives is compared with what was written: once, in order, and nothing is said to
//! be lost.
//!
//! `HISTORIES=n` and `SEED=s` play more, and others; history N of a run has the seed SEED + N. What
//! a history does not have: a journald that is killed after its clock was set back. Before systemd
//! 254 it begins a new sequence of numbers then, and entries of another sequence are told apart by
//! the time of receipt alone (docs/design.md).

use std::time::Duration;

use test_kit::docker_root::DockerRoot;
use test_kit::journald::{JournalWriter, Journald};
use test_kit::kills::{variable, Arrived, Moments};
use test_kit::playing_host::{PlayingHost, Release, PATIENCE};
use test_kit::{holds_within, skip};

use crate::journal::{await_entry, journaled, write_lines};

/// As many as `make test` plays.
const HISTORIES: usize = 4;
const ACTIONS: usize = 24;
const CONTAINERS: [char; 3] = ['a', 'b', 'c'];

/// One history being played.
struct History {
    journald: Journald,
    dockerd: Option<JournalWriter>,
    ids: Vec<String>,
    options: String,
    moments: Moments,
    host: Option<PlayingHost>,
    /// Frames of the host that were taken.
    seen: usize,
    arrived: Arrived,
    /// Lines of each container.
    written: Vec<u32>,
    /// Its clock is set, or it is killed; not both.
    has_clock: bool,
    /// Files were removed.
    is_vacuumed: bool,
    /// And then a host was killed, maybe before it could note that nothing of a silent container
    /// was among what is gone. So that may be said.
    may_say_lost: bool,
    done: Vec<String>,
}

impl History {
    fn has_all(&self) -> bool {
        let written = self.written.iter().map(|lines| *lines as usize);
        self.arrived
            .has_all(self.ids.iter().map(String::as_str).zip(written))
    }

    fn take(&mut self) {
        if let Some(host) = &self.host {
            let frames = host.frames();
            self.arrived.take_frames(&frames[self.seen..]);
            self.seen = frames.len();
        }
    }

    /// Whatever was sent is in the journal. Its sender lives until then: of one that has ended,
    /// journald does not know that it was dockerd.
    fn settle_journal(&mut self) {
        let text = format!("settled after {} actions", self.done.len());
        let dockerd = self.dockerd.as_mut().expect("a writer");
        dockerd.send(&[("MESSAGE", text.as_bytes())]);
        await_entry(&self.journald.folder(), &text);
    }

    /// Everything that was written is read.
    fn settle(&mut self) {
        self.settle_journal();
        self.begin();
        let is_read = holds_within(PATIENCE, || {
            self.host.as_mut().expect("a host").run(20);
            self.take();
            self.has_all()
        });
        let log = self.host.as_ref().map(PlayingHost::log).unwrap_or_default();
        assert!(
            is_read,
            "{:?} of {:?}; {:?}\n{log}",
            self.arrived, self.written, self.done
        );
    }

    fn begin(&mut self) {
        if self.host.is_none() {
            let host = PlayingHost::with_instance(Release::LATEST, &self.options);
            (self.host, self.seen) = (Some(host), 0);
        }
    }

    /// An orderly end.
    fn end(&mut self, host: PlayingHost) {
        let exit = host.exit();
        self.arrived.take_frames(&exit.frames[self.seen..]);
        let is_right = exit.log.contains("nothing lost") || self.may_say_lost;
        assert!(is_right, "{} {:?}", exit.log, self.done);
    }

    fn note(&mut self, action: impl Into<String>) {
        self.done.push(action.into());
    }

    fn act(&mut self) {
        match self.moments.below(12) {
            0..=3 => {
                let which = self.moments.below(self.ids.len() as u64) as usize;
                let (from, lines) = (self.written[which], self.moments.below(300) as u32 + 1);
                let dockerd = self.dockerd.as_mut().expect("a writer");
                write_lines(dockerd, &self.ids[which], from..from + lines);
                self.written[which] += lines;
                self.note(format!("{lines} lines of {which}"));
            }
            4 => {
                self.journald.rotate();
                self.note("rotate");
            }
            5 => {
                self.settle();
                self.journald.rotate();
                self.journald.vacuum("1K");
                self.is_vacuumed = true;
                self.note("vacuum");
            }
            6 if self.has_clock => {
                let seconds = self.moments.below(200) as i64 - 100;
                self.journald.set_clock(seconds);
                self.note(format!("clock {seconds}"));
            }
            6 => {
                self.settle_journal();
                // It is connected to the one that ends.
                self.dockerd.take().expect("a writer").finish();
                self.journald.restart();
                self.dockerd = Some(self.journald.writer("dockerd", 0));
                self.note("journald is killed");
            }
            7..=8 => {
                self.begin();
                let ms = self.moments.below(300) as u32;
                self.host.as_mut().expect("a host").run(ms);
                self.take();
                self.note(format!("{ms} ms of the host"));
            }
            9 => {
                if let Some(host) = self.host.take() {
                    self.end(host);
                    self.note("the host ends");
                }
            }
            _ => {
                self.begin();
                let ms = self.moments.below(200);
                let mut host = self.host.take().expect("a host");
                host.send(&format!("run {}", PATIENCE.as_millis()));
                // The moment of the kill is random: there is nothing to await.
                std::thread::sleep(Duration::from_millis(ms));
                self.arrived.take_killed_from(host, self.seen);
                self.may_say_lost |= self.is_vacuumed;
                self.note(format!("the host is killed after {ms} ms"));
            }
        }
    }
}

/// Plays the history of a seed; returns how many lines it wrote.
fn play(seed: u64) -> Result<u32, String> {
    let has_clock = seed % 2 == 1;
    let journald = match has_clock {
        true => Journald::with_clock()?,
        false => Journald::start()?,
    };
    let root = DockerRoot::new();
    let containers = CONTAINERS.map(|digit| journaled(&root, digit));
    let options = format!(
        "docker_root=\"{root}\" runtime=docker db=\"{root}/positions.db\" tag_template={{id}} \
         docker_socket=off rescan_interval=50ms journal_path=\"{journal}\"",
        root = root.path().display(),
        journal = journald.folder().display(),
    );
    let mut history = History {
        dockerd: Some(journald.writer("dockerd", 0)),
        journald,
        ids: containers.iter().map(|(id, _)| id.clone()).collect(),
        options,
        moments: Moments::of(seed),
        host: None,
        seen: 0,
        arrived: Arrived::default(),
        written: vec![0; CONTAINERS.len()],
        has_clock,
        is_vacuumed: false,
        may_say_lost: false,
        done: Vec::new(),
    };
    for _ in 0..ACTIONS {
        history.act();
    }
    history.settle();
    let host = history.host.take().expect("a host");
    history.end(host);
    Ok(history.written.iter().sum())
}

#[test]
fn random_histories_of_a_journal_lose_nothing_and_repeat_nothing() {
    let test = "journal_histories::random_histories_of_a_journal_lose_nothing_and_repeat_nothing";
    if test_kit::programs("cc").next().is_none() {
        return skip(test, "no C compiler for the host that is played");
    }
    let (first, count) = (variable("SEED", 1), variable("HISTORIES", HISTORIES));
    let mut lines = 0;
    for seed in first..first + count {
        // Shown if it fails.
        println!("SEED={seed}");
        match play(seed as u64) {
            Ok(written) => lines += written,
            Err(reason) => return skip(test, &reason),
        }
    }
    println!("{count} histories from seed {first}: {lines} lines, each came");
}
