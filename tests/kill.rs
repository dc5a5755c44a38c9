//! SIGKILL at random moments, under load, rotation and pauses: nothing is lost, and
//! nothing comes twice but the batch that a kill catches between the append and the
//! move of the checkpoint. What is counted is what was in the host's files at the
//! kill, and what comes after it.
//!
//! `KILLS=n` and `SEED=s` kill oftener and elsewhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::collector::PATIENCE;
use crate::support::docker_root::{DockerRoot, LogWriter};
use crate::support::fluent_bit::{find, plugin, version, FluentBit};
use crate::support::playing_host::{PlayingHost, Release};
use crate::support::{holds_within, skip};

/// Kills of the playing host, and of a real Fluent Bit: a restart of that takes
/// ten times as long.
const PLAYED_KILLS: usize = 170;
const REAL_KILLS: usize = 40;
const CONTAINERS: [char; 3] = ['a', 'b', 'c'];

fn variable(name: &str, or: usize) -> usize {
    std::env::var(name).ok().map_or(or, |text| text.parse().expect("a number"))
}

/// Xorshift: moments that differ from run to run of the loop and not of the test.
struct Moments(u64);

impl Moments {
    fn new() -> Moments {
        Moments((variable("SEED", 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// About 1,000 lines a second into each container, each rotated every 500 lines.
/// Gives the numbers of lines when stopped.
struct Load {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Load {
    fn on(root: &DockerRoot) -> Load {
        let stopping = Arc::new(AtomicBool::new(false));
        let begin = |name: &char| {
            let log = root.container(*name, &name.to_string());
            let stopping = Arc::clone(&stopping);
            std::thread::spawn(move || write_until(&stopping, log))
        };
        let threads = CONTAINERS.iter().map(begin).collect();
        Load { stopping, threads }
    }

    fn stop(self) -> Vec<usize> {
        self.stopping.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    }
}

fn write_until(stopping: &AtomicBool, mut log: LogWriter) -> usize {
    let mut number = 0;
    while !stopping.load(Ordering::SeqCst) {
        for _ in 0..5 {
            log.line(&format!("line {number}"));
            number += 1;
        }
        if number % 500 == 0 {
            log.rotate(1000, false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    number
}

/// Which line of each container comes next.
#[derive(Default)]
struct Arrived {
    next: BTreeMap<String, usize>,
    /// What kills may repeat: a container's batch, from which line on.
    repeatable: BTreeMap<String, usize>,
    repeated: usize,
}

impl Arrived {
    /// A record; it must be the next of its container, or, first after a kill, the
    /// first of the batch that was caught.
    #[track_caller]
    fn take(&mut self, container: &str, text: &str) {
        let number = text.strip_prefix("line ").and_then(|number| number.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("a line of ours: {text}"));
        let next = self.next.entry(container.to_owned()).or_default();
        let allowed = self.repeatable.remove(container);
        if number != *next {
            assert_eq!(allowed, Some(number), "{container}: {next} comes next");
            self.repeated += *next - number;
        }
        *next = number + 1;
    }

    fn next_of(&self, container: &str) -> usize {
        self.next.get(container).copied().unwrap_or(0)
    }

    fn has_all(&self, written: &[usize]) -> bool {
        CONTAINERS.iter().zip(written).all(|(name, count)| self.next_of(&name.to_string()) == *count)
    }
}

#[test]
fn kills_of_the_playing_host_lose_nothing_and_repeat_one_batch_at_the_most() {
    let root = DockerRoot::new();
    let options = format!(
        "docker_root=\"{}\" db=\"{}\" tag_template={{name}} rescan_interval=50ms",
        root.path().display(),
        root.path().join("positions.db").display()
    );
    let load = Load::on(&root);
    let mut moments = Moments::new();
    let mut arrived = Arrived::default();
    let (kills, mut kills_with_repetition) = (variable("KILLS", PLAYED_KILLS), 0);
    for kill in 0..kills {
        let mut host = PlayingHost::with_instance(Release::LATEST, &options);
        match kill % 4 {
            0 => drop(host.ok(&format!("limit a {}", 1000 + moments.below(30_000)))),
            1 => drop(host.ok(&format!("refuse a {}", moments.below(4)))),
            _ => {}
        }
        host.send(&format!("run {}", PATIENCE.as_millis()));
        std::thread::sleep(Duration::from_micros(moments.below(120_000)));
        let (frames, is_torn) = host.kill();
        let before = arrived.repeated;
        for frame in &frames {
            let container = frame.tag.as_deref().expect("a tag of its own");
            frame.texts().for_each(|text| arrived.take(container, text));
        }
        kills_with_repetition += usize::from(arrived.repeated > before);
        // A batch that was torn was not accepted, and those before it are done with.
        if let Some(last) = frames.last().filter(|_| !is_torn) {
            let container = last.tag.clone().expect("a tag of its own");
            let first = arrived.next_of(&container) - last.records.len();
            arrived.repeatable.insert(container, first);
        }
    }
    let written = load.stop();
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    let mut seen = 0;
    let is_complete = holds_within(PATIENCE, || {
        host.run(50);
        let frames = host.frames();
        for frame in &frames[seen..] {
            let container = frame.tag.as_deref().expect("a tag of its own");
            frame.texts().for_each(|text| arrived.take(container, text));
        }
        seen = frames.len();
        arrived.has_all(&written)
    });
    println!(
        "{kills} kills of the playing host: {} lines written, 0 lost, {} repeated after {kills_with_repetition} of them",
        written.iter().sum::<usize>(),
        arrived.repeated,
    );
    assert!(is_complete, "{:?} of {written:?}", arrived.next);
    host.exit().assert_clean();
}

/// With `storage.type filesystem`. Nothing is flushed until the last kill is over,
/// so that what comes twice is not what Fluent Bit delivered and had not yet
/// ticked off when it was killed.
#[test]
fn kills_of_fluent_bit_lose_nothing_and_repeat_one_batch_at_the_most() {
    let name = "kill::kills_of_fluent_bit_lose_nothing_and_repeat_one_batch_at_the_most";
    let Some(program) = find() else {
        return skip(name, "no Fluent Bit: set FLUENT_BIT or put fluent-bit on PATH");
    };
    let Some(plugin) = plugin() else { return skip(name, "the plugin's .so is not built") };
    println!("{name}: {}", version(&program).unwrap_or_else(|problem| problem));
    let root = DockerRoot::new();
    let storage = root.path().join("storage");
    let mut host = FluentBit::new(&program, Some(&plugin), "")
        .with_service_line(&format!("storage.path {}", storage.display()))
        .with_service_line("storage.sync normal")
        .with_service_line("storage.max_chunks_up 512")
        .with_service_line("storage.backlog.mem_limit 200M");
    let flush = |host: FluentBit, seconds: &str| host.with_service_line(&format!("Flush {seconds}"));
    host.set_config(&format!(
        "[INPUT]\n    Name container_logs\n    Docker_Root {root}\n    DB {root}/positions.db\n    \
         storage.type filesystem\n    Tag_Template {{name}}\n    Queue_Limit 64k\n",
        root = root.path().display()
    ));
    host = flush(host, "3600");
    let load = Load::on(&root);
    let mut moments = Moments::new();
    let kills = variable("KILLS", REAL_KILLS);
    for kill in 1..=kills {
        host.start().expect("Fluent Bit starts");
        host.wait_until(PATIENCE, "the start", |host| {
            host.stderr().matches("following containers").count() == kill
        });
        std::thread::sleep(Duration::from_micros(moments.below(120_000)));
        host.signal(Signal::KILL);
        host.wait_exit(PATIENCE).expect("it is dead");
    }
    let written = load.stop();
    assert_eq!(host.record_count(), 0, "nothing was flushed before the last kill");
    let mut host = flush(host, "0.2");
    host.start().expect("Fluent Bit starts");
    let total: usize = written.iter().sum();
    host.wait_until(PATIENCE * 2, "all lines", |host| host.record_count() >= total);
    // How often each line came: order between chunks of two runs is Fluent Bit's.
    let counts = |host: &FluentBit| {
        let mut counts: BTreeMap<(String, usize), usize> = BTreeMap::new();
        for record in host.records() {
            let number = record.text("log")["line ".len()..].parse().expect("a line of ours");
            *counts.entry((record.tag.clone(), number)).or_default() += 1;
        }
        counts
    };
    host.wait_until(PATIENCE, "every line", |host| counts(host).len() == total);
    host.signal(Signal::TERM);
    assert!(host.wait_exit(PATIENCE).expect("it ends").success());
    let counts = counts(&host);
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    println!("{kills} kills of Fluent Bit: {total} lines written, 0 lost, {} repeated", repeated.len());
    // A batch is contiguous: so many stretches of lines that came twice.
    let stretches = repeated
        .windows(2)
        .filter(|pair| pair[0].0 .0 != pair[1].0 .0 || pair[0].0 .1 + 1 != pair[1].0 .1)
        .count()
        + usize::from(!repeated.is_empty());
    assert_eq!(counts.len(), total);
    assert!(repeated.iter().all(|(_, count)| **count == 2), "{repeated:?}");
    assert!(stretches <= kills, "{stretches} batches repeated over {kills} kills: {repeated:?}");
}
