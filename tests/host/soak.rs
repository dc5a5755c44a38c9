//! Fifty containers at mixed rates, rotated and compressed; every second one that is
//! started and one that is removed; hot reloads in between. What the host's process
//! holds is looked at in quiet moments, when all that was written has arrived and is
//! accounted for: threads and descriptors are then as many as at first, exactly, and
//! no deleted file is held. Memory and `DB` grow by what is known, and no more.
//!
//! `make soak MINUTES=30` takes longer than the minute of `make test`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{find, plugin, version, FluentBit};
use test_kit::holds_within;
use test_kit::playing_host::{PlayingHost, Release};

const CONTAINERS: usize = 50;
const DB: &str = "positions.db";
/// How often all of them are written.
const TICK: Duration = Duration::from_millis(100);
/// A container is started every second and removed when so many have followed.
const SHORT_LIVED: usize = 10;
const LINES_OF_SHORT_LIVED: usize = 30;
/// Growth of the resident memory that is not ours: what Fluent Bit keeps of each hot reload.
/// Measured without this plugin, `dummy` at the same rate in its place: 5.1.1 grows by 0.9 MiB over
/// the first five reloads and by 13 to 16 KiB with each further one.
const KIB_PER_RELOAD: f64 = 32.0;
/// Growth that ends: the positions of the containers that went within ten minutes, twice in memory,
/// in maps that double, and pages that the allocator keeps. glibc has one arena here: with its usual
/// eight for each processor, threads of each instance free their memory in other ones than those
/// that the next instance takes it from, which looks like 5 MiB of growth in half an hour.
const KIB_THAT_END: f64 = 2048.0;
/// Bytes of `DB` beside its entries, and of each entry.
const DB_HEADER: u64 = 4096;
const DB_ENTRY: u64 = 512;
/// Containers that go in ten minutes and the time between two quiet moments, one each second.
const GONE: u64 = 720;

/// Lines a tick, and after how many lines the log is rotated: five floods, some busy
/// ones, and thirty that write once a second and are mostly idle.
fn rate(container: usize) -> (usize, usize) {
    match container {
        0..5 => (20, 1000),
        5..20 => (2, 200),
        _ => (0, 20),
    }
}

/// How many lines each container was given.
type Written = Arc<Mutex<BTreeMap<String, usize>>>;

/// All that is written, by a thread of its own.
struct Load {
    written: Written,
    is_ending: Arc<AtomicBool>,
    /// Whoever asks is answered by the end of the lock: nothing is written meanwhile.
    turn: Arc<Mutex<()>>,
    /// While the host is away, a container that is removed would be gone unseen.
    removes: Arc<AtomicBool>,
    rotations: Arc<AtomicUsize>,
    /// Of those that are started and removed, how many there are.
    short_lived: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Load {
    fn on(root: Arc<DockerRoot>) -> Load {
        let written = Written::default();
        let (is_ending, removes) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(true)),
        );
        let turn = Arc::default();
        let (rotations, short_lived) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (written, is_ending, turn) = (
                Arc::clone(&written),
                Arc::clone(&is_ending),
                Arc::clone(&turn),
            );
            let (removes, rotations) = (Arc::clone(&removes), Arc::clone(&rotations));
            let short_lived = Arc::clone(&short_lived);
            std::thread::spawn(move || {
                let mut writers = Writers::new(&root, written);
                for tick in 0.. {
                    if is_ending.load(Ordering::SeqCst) {
                        return;
                    }
                    let turn = Mutex::lock(&turn).expect("nobody panics with it");
                    writers.write(&root, tick, removes.load(Ordering::SeqCst));
                    rotations.store(writers.rotations, Ordering::SeqCst);
                    short_lived.store(writers.short_lived.len(), Ordering::SeqCst);
                    drop(turn);
                    // The load's own pace; nothing is awaited by it.
                    std::thread::sleep(TICK);
                }
            })
        };
        Load {
            written,
            is_ending,
            turn,
            removes,
            rotations,
            short_lived,
            thread,
        }
    }

    fn end(self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.thread.join().expect("the writer");
    }
}

struct Writers {
    lasting: Vec<(String, LogWriter)>,
    short_lived: std::collections::VecDeque<LogWriter>,
    written: Written,
    rotations: usize,
}

impl Writers {
    fn new(root: &DockerRoot, written: Written) -> Writers {
        let begin = |number: usize| {
            let name = format!("lasting-{number}");
            let mut log = root.created_with_id(&format!("{number:064x}"), &name);
            log.open_log();
            (name, log)
        };
        let lasting = (0..CONTAINERS).map(begin).collect();
        Writers {
            lasting,
            short_lived: Default::default(),
            written,
            rotations: 0,
        }
    }

    fn write(&mut self, root: &DockerRoot, tick: usize, removes: bool) {
        let mut written = self.written.lock().expect("nobody panics with it");
        for (number, (name, log)) in self.lasting.iter_mut().enumerate() {
            let (lines, rotated_after) = rate(number);
            let is_turn_of_slow = tick % 10 == number % 10;
            let lines = if lines == 0 {
                usize::from(is_turn_of_slow)
            } else {
                lines
            };
            let count = written.entry(name.clone()).or_default();
            for _ in 0..lines {
                // A line follows at once: while the new file is empty the old one is
                // held, since its writer may not have changed over yet.
                if *count > 0 && count.is_multiple_of(rotated_after) {
                    log.rotate(20, number % 2 == 0);
                    self.rotations += 1;
                }
                log.line(&format!("line {count}"));
                *count += 1;
            }
        }
        if !tick.is_multiple_of(10) {
            return;
        }
        let name = format!("short-{tick}");
        let mut log = root.created_with_id(&format!("f{tick:063x}"), &name);
        log.open_log();
        for line in 0..LINES_OF_SHORT_LIVED {
            log.line(&format!("line {line}"));
        }
        written.insert(name, LINES_OF_SHORT_LIVED);
        self.short_lived.push_back(log);
        while removes && self.short_lived.len() > SHORT_LIVED {
            if let Some(oldest) = self.short_lived.pop_front() {
                oldest.remove();
            }
        }
    }
}

/// The host, whichever is here.
enum Host {
    Real(FluentBit),
    Played(PlayingHost),
}

impl Host {
    fn start(root: &Path) -> Host {
        let options = [
            ("Docker_Root", root.display().to_string()),
            ("DB", root.join(DB).display().to_string()),
            ("Docker_Socket", "off".to_owned()),
            // Another's storage that appears on this machine would be watched, too.
            ("Runtime", "docker".to_owned()),
        ];
        if let (Some(program), Some(plugin)) = (find(), plugin()) {
            println!(
                "soak: {}",
                version(&program).unwrap_or_else(|problem| problem)
            );
            let lines = options
                .map(|(name, value)| format!("    {name} {value}\n"))
                .concat();
            let config = format!("[INPUT]\n    Name container_logs\n{lines}");
            let mut host = FluentBit::new(&program, Some(&plugin), &config)
                .with_variable("MALLOC_ARENA_MAX", "1");
            host.start().expect("Fluent Bit starts");
            return Host::Real(host);
        }
        println!("soak: the playing host, since there is no Fluent Bit");
        let options = options
            .map(|(name, value)| format!("{}=\"{value}\" ", name.to_lowercase()))
            .concat();
        Host::Played(PlayingHost::with_instance(Release::LATEST, &options))
    }

    fn pid(&self) -> u32 {
        match self {
            Host::Real(host) => host.pid(),
            Host::Played(host) => host.pid(),
        }
    }

    /// Lets the host work for a moment, between two looks at what it uses.
    fn work(&mut self) {
        match self {
            Host::Real(host) => {
                std::thread::sleep(Duration::from_millis(50));
                assert!(
                    host.is_running(),
                    "Fluent Bit has ended:\n{}",
                    host.stderr()
                );
            }
            Host::Played(host) => drop(host.run(50)),
        }
    }

    fn reload(&mut self) {
        match self {
            Host::Real(host) => {
                let count =
                    |host: &FluentBit| host.stderr().matches("following containers").count();
                let before = count(host);
                host.signal(Signal::HUP);
                host.wait_until(PATIENCE, "the reload", |host| count(host) > before);
            }
            Host::Played(host) => drop(host.ok("reload")),
        }
    }

    /// What arrived since `offset`, which moves: container and text.
    fn arrived(&mut self, offset: &mut u64) -> Vec<(String, String)> {
        match self {
            Host::Real(host) => host
                .records_from(offset)
                .iter()
                .map(|record| {
                    (
                        record.text("container_name").to_owned(),
                        record.text("log").to_owned(),
                    )
                })
                .collect(),
            Host::Played(host) => host
                .frames_from(offset)
                .iter()
                .flat_map(|frame| &frame.records)
                .map(|record| {
                    (
                        record.text("container_name").to_owned(),
                        record.text("log").to_owned(),
                    )
                })
                .collect(),
        }
    }

    /// In a quiet moment: what arrived is no longer needed.
    fn forget_arrived(&self) {
        match self {
            Host::Real(host) => host.forget_records(),
            Host::Played(host) => host.forget_frames(),
        }
    }

    fn end(self) {
        match self {
            Host::Real(mut host) => {
                host.end_in_order();
            }
            Host::Played(host) => host.exit().assert_clean(),
        }
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Held {
    threads: usize,
    descriptors: usize,
    rss_kib: usize,
    deleted: usize,
}

impl Held {
    fn by(pid: u32, root: &Path) -> Held {
        let entries = |folder: &str| {
            let entries =
                std::fs::read_dir(format!("/proc/{pid}/{folder}")).expect("the process is there");
            entries.flatten().collect::<Vec<_>>()
        };
        let descriptors = entries("fd");
        let is_deleted_log =
            |link: &Path| link.starts_with(root) && link.to_string_lossy().ends_with("(deleted)");
        let links = descriptors
            .iter()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("its memory");
        Held {
            threads: entries("task").len(),
            deleted: links.filter(|link| is_deleted_log(link)).count(),
            descriptors: descriptors.len(),
            rss_kib: rss
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .expect("a number"),
        }
    }

    fn most(self, other: Held) -> Held {
        Held {
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
            rss_kib: self.rss_kib.max(other.rss_kib),
            deleted: self.deleted.max(other.deleted),
        }
    }
}

/// What the descriptors of a process are of.
fn open_files(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process is there")
        .flatten();
    entries
        .filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string()))
        .collect()
}

/// Which lines arrived, of each container as numbers, since the last quiet moment.
#[derive(Default)]
struct Ledger {
    offset: u64,
    arrived: BTreeMap<String, Vec<usize>>,
    settled: BTreeMap<String, usize>,
    count: usize,
}

impl Ledger {
    fn take(&mut self, host: &mut Host) {
        for (container, text) in host.arrived(&mut self.offset) {
            let number = text
                .strip_prefix("line ")
                .and_then(|number| number.parse().ok());
            self.arrived
                .entry(container)
                .or_default()
                .push(number.expect("a line of ours"));
            self.count += 1;
        }
    }

    /// Everything that was written has arrived, once.
    #[track_caller]
    fn settle(&mut self, written: &BTreeMap<String, usize>) {
        let others: Vec<_> = self
            .arrived
            .keys()
            .filter(|name| !written.contains_key(*name))
            .collect();
        assert_eq!(
            others,
            Vec::<&String>::new(),
            "lines of a container that wrote none"
        );
        for (container, &count) in written {
            let from = self.settled.insert(container.clone(), count).unwrap_or(0);
            let mut numbers = self.arrived.remove(container).unwrap_or_default();
            numbers.sort_unstable();
            let differs = numbers
                .iter()
                .copied()
                .zip(from..count)
                .find(|(got, want)| got != want);
            assert_eq!(
                differs, None,
                "{container}: a line that is lost or came twice"
            );
            assert_eq!(
                numbers.len(),
                count - from,
                "{container}: lines {from}..{count}"
            );
        }
        self.offset = 0;
    }
}

/// Nothing is written until all that was has arrived, no deleted file is held and
/// there are no more descriptors than in the first such moment, `as_in`.
fn in_a_quiet_moment(
    host: &mut Host,
    root: &Path,
    load: &Load,
    ledger: &mut Ledger,
    as_in: Option<Held>,
) -> Held {
    // As many containers each time, though none was removed during the reload.
    let mut nothing_is_written = None;
    let is_quiet = holds_within(PATIENCE, || {
        host.work();
        let turn = load.turn.lock().expect("nobody panics with it");
        let is_usual = load.short_lived.load(Ordering::SeqCst) == SHORT_LIVED;
        nothing_is_written = Some(turn).filter(|_| is_usual);
        is_usual
    });
    assert!(
        is_quiet,
        "there are never {SHORT_LIVED} containers besides the lasting ones"
    );
    let written = load.written.lock().expect("nobody panics with it").clone();
    let total: usize = written.values().sum();
    let has_all = holds_within(PATIENCE, || {
        host.work();
        ledger.take(host);
        ledger.count >= total
    });
    assert!(has_all, "{} of {total} lines arrived", ledger.count);
    ledger.settle(&written);
    host.forget_arrived();
    let mut held = Held::default();
    let is_as_before = holds_within(PATIENCE, || {
        host.work();
        held = Held::by(host.pid(), root);
        held.deleted == 0 && as_in.is_none_or(|first| held.descriptors <= first.descriptors)
    });
    assert!(
        is_as_before,
        "{held:?} after {as_in:?}: {:#?}",
        open_files(host.pid())
    );
    held
}

/// The change per minute, by least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let covariance: f64 = samples
        .iter()
        .map(|sample| (sample.0 - x) * (sample.1 - y))
        .sum();
    let variance: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    if variance == 0.0 {
        0.0
    } else {
        covariance / variance
    }
}

fn minutes() -> f64 {
    std::env::var("SOAK_MINUTES").map_or(1.0, |text| text.parse().expect("minutes"))
}

#[test]
fn threads_descriptors_and_memory_do_not_grow_and_no_line_is_lost() {
    let root = Arc::new(DockerRoot::new());
    let length = Duration::from_secs_f64(minutes() * 60.0);
    let between_reloads = (length / 5).min(Duration::from_secs(60));
    let load = Load::on(Arc::clone(&root));
    let mut host = Host::start(root.path());
    let mut ledger = Ledger::default();
    let begin = Instant::now();
    let mut quiet: Vec<(f64, Held)> = Vec::new();
    let mut highest = Held::default();
    while begin.elapsed() < length {
        let end = Instant::now() + between_reloads;
        while Instant::now() < end {
            host.work();
            ledger.take(&mut host);
            highest = highest.most(Held::by(host.pid(), root.path()));
        }
        let first = quiet.first().map(|(_, held)| *held);
        let held = in_a_quiet_moment(&mut host, root.path(), &load, &mut ledger, first);
        quiet.push((begin.elapsed().as_secs_f64() / 60.0, held));
        load.removes.store(false, Ordering::SeqCst);
        host.reload();
        load.removes.store(true, Ordering::SeqCst);
    }
    let first = quiet[0].1;
    let held = in_a_quiet_moment(&mut host, root.path(), &load, &mut ledger, Some(first));
    quiet.push((begin.elapsed().as_secs_f64() / 60.0, held));
    let rotations = load.rotations.load(Ordering::SeqCst);
    load.end();
    host.end();

    println!(
        "soak of {:.1} minutes: {} lines of {} containers, none lost and none repeated; {rotations} rotations, {} hot reloads",
        begin.elapsed().as_secs_f64() / 60.0,
        ledger.count,
        ledger.settled.len(),
        quiet.len() - 1,
    );
    let last = quiet[quiet.len() - 1].1;
    let middle = quiet[quiet.len() / 2].1;
    // What the first reload and the first rotations leave in the allocator is there to stay.
    let warm = &quiet[quiet.len().div_ceil(4)..];
    let slope_of = |samples: &[(f64, Held)], of: fn(&Held) -> usize| {
        slope(
            &samples
                .iter()
                .map(|(minute, held)| (*minute, of(held) as f64))
                .collect::<Vec<_>>(),
        )
    };
    println!("                      start   middle      end  slope/min  highest");
    let row = |name: &str, samples: &[(f64, Held)], of: fn(&Held) -> usize| {
        let slope = slope_of(samples, of);
        let figures = [of(&first), of(&middle), of(&last)]
            .map(|figure| format!("{figure:>9}"))
            .concat();
        println!("{name:<18}{figures}  {slope:>9.2}{:>9}", of(&highest));
        slope
    };
    let threads = row("threads", &quiet, |held| held.threads);
    let descriptors = row("descriptors", &quiet, |held| held.descriptors);
    let deleted = row("held deleted files", &quiet, |held| held.deleted);
    let rss = row("RSS in KiB", warm, |held| held.rss_kib);
    let span = warm[warm.len() - 1].0 - warm[0].0;
    let most = (KIB_THAT_END + KIB_PER_RELOAD * (warm.len() - 1) as f64) / span;
    println!("RSS after warm-up: {rss:.0} KiB a minute, {most:.0} are known");
    let db = std::fs::metadata(root.path().join(DB)).expect("the DB");
    let entries = db.len().saturating_sub(DB_HEADER) / DB_ENTRY;
    println!("DB: {entries} entries");
    assert!(
        threads <= 0.0 && last.threads <= first.threads,
        "threads: {quiet:?}"
    );
    assert!(
        descriptors <= 0.0 && last.descriptors <= first.descriptors,
        "descriptors: {quiet:?}"
    );
    assert!(
        deleted <= 0.0 && last.deleted == 0,
        "deleted files: {quiet:?}"
    );
    assert!(rss <= most, "memory: {quiet:?}");
    let most = CONTAINERS as u64 + 2 * SHORT_LIVED as u64 + GONE;
    assert!(entries <= most, "DB: {} bytes", db.len());
}
