//! Plays a plan and compares.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::config::OpenFilesLimit;
use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::source::reader::Pass;
use tempfile::TempDir;

use super::container::Container;
use super::format::STREAMS;
use super::instance::Instance;
use super::plan::{Action, Format, Plan};

/// Longer than any interval of the reader's.
const LONG: Duration = Duration::from_millis(2100);
/// A runtime that opens a log anew is through with it.
const SHORT: Duration = Duration::from_millis(20);
/// An expression that every line fits, whatever is in it.
const EVERY_LINE: &str = "(?s-u:.)";
/// Turns after which a reader that is not done is stuck.
const TURNS: usize = 3000;

pub type Outcome<T = ()> = Result<T, String>;

/// What a history came to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub parts: usize,
    pub owed: usize,
    pub kills: usize,
    pub repeated: usize,
}

struct History<'a> {
    plan: &'a Plan,
    dir: TempDir,
    now: Instant,
    instance: Option<Instance>,
    /// All there ever were; the last ones are there.
    containers: Vec<Container>,
    gone: usize,
    kills: usize,
    /// The checkpoint as it is on the disk.
    synced: Option<Vec<u8>>,
}

pub fn play(plan: &Plan) -> Outcome<Totals> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for folder in ["containers", "pods", "storage/overlay-containers"] {
        std::fs::create_dir_all(dir.path().join(folder)).expect(folder);
    }
    let (settings, now) = (&plan.settings, Instant::now());
    let mut history = History {
        plan,
        now,
        instance: None,
        containers: (0..settings.containers)
            .map(|number| Container::start(dir.path(), number + 1, settings, now))
            .collect(),
        gone: 0,
        kills: 0,
        synced: None,
        dir,
    };
    history.start();
    for (step, action) in plan.actions.iter().enumerate() {
        history
            .act(action)
            .map_err(|problem| history.describe(step, &problem))?;
    }
    history
        .settle()
        .map_err(|problem| history.describe(plan.actions.len(), &problem))?;
    let mut totals = Totals {
        kills: history.kills,
        ..Totals::default()
    };
    for container in &history.containers {
        let (parts, owed) = container.truth.totals();
        totals.parts += parts;
        totals.owed += owed;
        totals.repeated += container.truth.repeated;
    }
    Ok(totals)
}

impl History<'_> {
    fn act(&mut self, action: &Action) -> Outcome {
        // A file that is closed is opened again in the turn after it was written. Until then, its deletion is
        // a loss.
        if self.plan.settings.is_closed {
            self.turn(Duration::from_millis(1));
        }
        if let Action::Write { c, .. } | Action::Piece { c, .. } | Action::Abandon { c, .. } =
            *action
        {
            self.container(c).written_at = self.now;
        }
        match *action {
            Action::Write { c, stream, lines } if self.plan.settings.is_closed => {
                for _ in 0..lines {
                    self.container(c).write(stream, 1);
                    self.turn(Duration::from_millis(1));
                }
            }
            Action::Write { c, stream, lines } => self.container(c).write(stream, lines),
            Action::Half { c, stream, cut } => self.container(c).half(stream, cut),
            Action::Torn { c, stream, cut } => self.container(c).torn(stream, cut),
            Action::Piece { c, stream } => self.container(c).piece(stream),
            Action::Abandon { c, stream } => self.container(c).abandon(stream),
            Action::Tail { c, stream } => self.container(c).tail(stream),
            Action::Rotate { c, steps } => self.container(c).rotate(steps),
            Action::Pack { c, cut } => self.container(c).pack(cut),
            Action::DaemonCrash { c } => self.container(c).daemon_crash(),
            Action::Truncate { c } => self.container(c).truncate(),
            Action::CopyTruncate { c, looks, late } => return self.copy_truncate(c, looks, late),
            Action::Rename { c, create } => self.container(c).rename_current(create),
            // Nobody can open what is written to it then.
            Action::Unlink { .. } if self.plan.settings.is_closed => {}
            Action::Unlink { c } => self.container(c).unlink_current(),
            Action::Reopen { c } => self.container(c).reopen(),
            Action::Remove { c } => self.remove(c),
            Action::Away { c, turns } => return self.away(c, turns),
            Action::ClockStep { seconds } => self.step_clock(seconds),
            Action::Turn { count } => (0..count).for_each(|_| self.turn(Duration::from_millis(1))),
            Action::Drain => return self.drain(),
            Action::Run { count } => return self.run(count),
            Action::Idle { ms } => self.turn(Duration::from_millis(ms)),
            Action::Pause => self.instance.iter().for_each(Instance::pause),
            Action::StreamCheckpoint => self.instance.iter().for_each(Instance::resume),
            Action::Refuse { on } => self
                .instance
                .iter()
                .for_each(|instance| instance.refuse(on)),
            Action::Stop => self.stop(),
            Action::Start => self.start(),
            Action::Kill => self.kill(),
            Action::KillInAppend { after } => {
                self.instance
                    .iter()
                    .for_each(|instance| instance.kill_in_append(after));
            }
            Action::Sync => self.sync(),
            Action::PowerCut => self.cut_power(),
            Action::Settle => return self.settle(),
        }
        Ok(())
    }

    fn container(&mut self, c: usize) -> &mut Container {
        let index = self.index(c);
        &mut self.containers[index]
    }

    /// Time passes. What happens within milliseconds has happened then.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        for container in &mut self.containers {
            if time > SHORT {
                container.flush_old();
            }
            container.time_passes(self.now);
        }
    }

    fn index(&self, c: usize) -> usize {
        self.gone + c % (self.containers.len() - self.gone)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn checkpoint(&self) -> PathBuf {
        self.root().join("positions.db")
    }

    // The reader.

    fn start(&mut self) {
        if self.instance.is_some() {
            return;
        }
        let settings = &self.plan.settings;
        let (pods, storage) = (self.root().join("pods"), self.root().join("storage"));
        let mut options = vec![
            ("Mode", "file"),
            ("Runtime", settings.format.runtime()),
            ("Pod_Logs", pods.to_str().expect("UTF-8")),
            ("Podman_Root", storage.to_str().expect("UTF-8")),
        ];
        if settings.small_queue {
            options.push(("Queue_Limit", "64k"));
        }
        if settings.by_stream {
            options.push(("Tag_Template", "{name}.{stream}"));
        }
        if settings.holds_lines {
            options.push(("Multiline", EVERY_LINE));
        }
        let open_files = settings.is_closed.then_some(OpenFilesLimit {
            at_rest: 0,
            unread: usize::MAX,
        });
        let (root, db) = (self.root(), self.checkpoint());
        self.instance = Some(Instance::start(&root, &db, &options, open_files));
        // Its first look is due at the real time.
        self.now = self.now.max(Instant::now());
    }

    fn stop(&mut self) {
        if let Some(instance) = self.instance.take() {
            instance.stop();
            self.containers
                .iter_mut()
                .for_each(|container| container.reader_ended(false));
        }
    }

    fn kill(&mut self) {
        if let Some(instance) = self.instance.take() {
            instance.kill();
            self.kills += 1;
            self.containers
                .iter_mut()
                .for_each(|container| container.reader_ended(true));
        }
    }

    fn sync(&mut self) {
        self.synced = std::fs::read(self.checkpoint()).ok();
        self.containers
            .iter_mut()
            .for_each(|container| container.truth.synced());
    }

    fn cut_power(&mut self) {
        if self.instance.is_none() {
            return;
        }
        self.kill();
        match &self.synced {
            Some(checkpoint) => {
                std::fs::write(self.checkpoint(), checkpoint).expect("the checkpoint")
            }
            None => std::fs::remove_file(self.checkpoint()).expect("the checkpoint"),
        }
        self.containers
            .iter_mut()
            .for_each(|container| container.truth.lost_power());
    }

    fn turn(&mut self, passed: Duration) {
        self.pass(passed);
        if let Some(instance) = &mut self.instance {
            instance.turn(self.now);
            self.containers.iter_mut().for_each(Container::looked_at);
        }
    }

    fn drain(&mut self) -> Outcome {
        let Some(instance) = &mut self.instance else {
            return Ok(());
        };
        let records = instance.drain();
        instance.check_books()?;
        let caught = instance.caught();
        let repeatable = records.len() - caught.unwrap_or(0);
        for (number, record) in records.iter().enumerate() {
            let (container, parts) = self.deliver(record)?;
            if caught.is_some() && number >= repeatable {
                self.containers[container].truth.allow_again(parts);
            }
        }
        if caught.is_some() {
            self.kill();
        }
        Ok(())
    }

    fn deliver(&mut self, record: &Record) -> Outcome<(usize, Vec<usize>)> {
        let known = self
            .containers
            .iter()
            .position(|container| container.owns(record));
        let index = known.ok_or_else(|| format!("a record of nobody: {record:?}"))?;
        let stream = STREAMS
            .iter()
            .position(|stream| *stream == record.text("stream"));
        let stream =
            stream.ok_or_else(|| format!("a record of stream {}", record.text("stream")))?;
        let truth = &mut self.containers[index].truth;
        let parts = truth
            .deliver(stream, record.text("log"))
            .map_err(|problem| format!("container {index}, {}: {problem}", STREAMS[stream]))?;
        Ok((index, parts))
    }

    fn run(&mut self, count: usize) -> Outcome {
        for _ in 0..count {
            self.turn(Duration::from_millis(1));
            self.drain()?;
        }
        Ok(())
    }

    /// Runs until nothing more comes; then all that is owed must be there.
    fn settle(&mut self) -> Outcome {
        let mut quiet = 0;
        self.containers[self.gone..]
            .iter_mut()
            .for_each(Container::finish_half);
        for _ in 0..TURNS {
            // A kill may be due in one of these appends.
            self.start();
            let Some(instance) = &mut self.instance else {
                continue;
            };
            instance.resume();
            instance.refuse(false);
            // Short steps, then long ones, over all that waits for a time.
            self.pass(if quiet < 4 {
                Duration::from_millis(50)
            } else {
                LONG
            });
            let Some(instance) = &mut self.instance else {
                continue;
            };
            let is_behind = instance.turn(self.now) != Pass::CaughtUp;
            let is_busy = is_behind || !instance.is_drained();
            self.containers.iter_mut().for_each(Container::looked_at);
            self.drain()?;
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet == 8 {
                for container in &mut self.containers {
                    container.is_away = false;
                    container.truth.may_cut = false;
                }
                return self.check();
            }
        }
        Err(format!("not read to the end after {TURNS} turns"))
    }

    fn check(&self) -> Outcome {
        for (index, container) in self.containers.iter().enumerate() {
            let missing = container.truth.missing();
            if !missing.is_empty() {
                let first = &missing[..missing.len().min(8)];
                return Err(format!(
                    "container {index}: {} parts missing: {first:?}",
                    missing.len()
                ));
            }
        }
        Ok(())
    }

    // What takes more than one side.

    /// Which copies and archives are newer than a position that is nowhere any more
    /// is told by the clock.
    fn step_clock(&mut self, seconds: i64) {
        let settings = &self.plan.settings;
        let is_in_archives = settings.compress && settings.format != Format::Pod;
        if !settings.by_logrotate && (seconds > 0 || !is_in_archives) {
            for container in &mut self.containers {
                container.step_clock(seconds);
            }
        }
    }

    fn copy_truncate(&mut self, c: usize, looks: bool, late: bool) -> Outcome {
        if self.plan.settings.is_stale {
            // A hole is like any other: copies that begin with one are told from
            // their file by what was read of it.
            self.settle()?;
        }
        let index = self.index(c);
        if self.plan.settings.is_dated && !self.plan.settings.format.is_tagged() {
            self.containers[index].finish_lines();
        }
        let History {
            containers,
            instance,
            now,
            ..
        } = self;
        containers[index].copy_truncate(late, |container| {
            *now += Duration::from_millis(1);
            if let Some(instance) = instance.as_mut().filter(|_| looks) {
                instance.turn(*now);
                container.looked_at();
            }
        });
        if self.plan.settings.is_stale {
            (0..2).for_each(|stream| self.containers[index].write(stream, 1));
            self.settle()?;
        }
        Ok(())
    }

    fn remove(&mut self, c: usize) {
        let index = self.index(c);
        self.containers[index].remove();
        // Those that are there stand behind those that are gone.
        self.containers.swap(index, self.gone);
        self.gone += 1;
        let number = self.containers.len() + 1;
        let container = Container::start(self.dir.path(), number, &self.plan.settings, self.now);
        self.containers.push(container);
        // The next turn lists the containers.
        self.pass(LONG);
    }

    fn away(&mut self, c: usize, turns: usize) -> Outcome {
        let index = self.index(c);
        let home = self.containers[index].home.clone();
        let away = self.dir.path().join("away");
        // What is in a copy is met when its original is read on, and that may be
        // from the held file, while the copy is away.
        if self.plan.settings.by_logrotate || !self.containers[index].leave() {
            return Ok(());
        }
        std::fs::rename(&home, &away).expect("rename");
        self.pass(LONG);
        let run = self.run(turns);
        std::fs::rename(&away, &home).expect("rename");
        let is_up = self.instance.is_some();
        self.containers[index].come_back(is_up && turns > 0);
        self.pass(LONG);
        run?;
        // A reader that missed it finishes its earlier life first.
        self.settle()
    }

    fn describe(&self, step: usize, problem: &str) -> String {
        let log = self
            .instance
            .as_ref()
            .map(Instance::log)
            .unwrap_or_default();
        format!("step {step}: {problem}\n  {}", log.join("\n  "))
    }
}
