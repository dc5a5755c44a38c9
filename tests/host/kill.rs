//! SIGKILL at random moments, under load, rotation and pauses: nothing is lost, and
//! nothing comes twice but the append that a kill catches between it and the
//! move of the checkpoint (`test_kit::kills`). Containers with one tag share appends.
//! What is counted is what was in the host's files at the kill, and what comes after it.
//! Three containers are Docker's, two a kubelet's.
//!
//! `KILLS=n` and `SEED=s` kill oftener and elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{find, plugin, version, FluentBit};
use test_kit::kills::{variable, Arrived, Moments};
use test_kit::playing_host::{PlayingHost, Release};
use test_kit::pod_root::{PodRoot, PodWriter};
use test_kit::receivers::slow_http;
use test_kit::skip;

/// Kills of the playing host, of a real Fluent Bit, and of one that pauses: a restart
/// of that takes ten times as long.
const PLAYED_KILLS: usize = 170;
const REAL_KILLS: usize = 40;
const PAUSED_KILLS: usize = 25;
const CONTAINERS: [char; 3] = ['a', 'b', 'c'];
const PODS: [char; 2] = ['d', 'e'];

/// The logs of both runtimes.
struct Roots {
    docker: DockerRoot,
    pods: PodRoot,
}

impl Roots {
    fn new() -> Roots {
        Roots {
            docker: DockerRoot::new(),
            pods: PodRoot::new(),
        }
    }

    /// A place for what the host keeps.
    fn dir(&self) -> &Path {
        self.docker.path()
    }

    /// Options of the input, one a line.
    fn options(&self) -> String {
        let (root, pods) = (self.dir().display(), self.pods.pods());
        let pods = pods.display();
        format!(
            "Docker_Root {root}\nPod_Logs {pods}\nPodman_Root {root}/none\nDB {root}/positions.db\n"
        )
    }
}

/// A log and who writes it.
enum Log {
    Docker(LogWriter),
    Pod(PodWriter),
}

impl Log {
    /// A line, and what comes every so many of them: a rotation; a kubelet has the log
    /// opened anew a moment later, and the container is restarted now and then.
    fn line(&mut self, number: usize) {
        let text = format!("line {number}");
        match self {
            Log::Docker(log) => {
                log.line(&text);
                if number % 500 == 499 {
                    log.rotate(1000, false);
                }
            }
            Log::Pod(log) => {
                log.line(&text);
                match number % 2000 {
                    1999 => log.restart(),
                    at if at % 500 == 469 => log.rotate(),
                    at if at % 500 == 489 => log.reopen(),
                    _ => {}
                }
            }
        }
    }
}

/// About 1,000 lines a second into each container, each rotated every 500 lines.
/// Gives the numbers of lines when stopped.
struct Load {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Load {
    fn on(roots: &Roots) -> Load {
        let stopping = Arc::new(AtomicBool::new(false));
        let docker =
            CONTAINERS.map(|name| Log::Docker(roots.docker.container(name, &name.to_string())));
        let pods = PODS.map(|name| {
            let mut log = roots
                .pods
                .container("shop", &format!("web-{name}"), &name.to_string());
            log.max_files = 1000;
            Log::Pod(log)
        });
        let begin = |log| {
            let stopping = Arc::clone(&stopping);
            std::thread::spawn(move || write_until(&stopping, log))
        };
        let threads = docker.into_iter().chain(pods).map(begin).collect();
        Load { stopping, threads }
    }

    fn stop(self) -> Vec<usize> {
        self.stopping.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .map(|thread| thread.join().expect("a writer"))
            .collect()
    }
}

fn write_until(stopping: &AtomicBool, mut log: Log) -> usize {
    let mut number = 0;
    while !stopping.load(Ordering::SeqCst) {
        for _ in 0..5 {
            log.line(number);
            number += 1;
        }
        // The load's own pace; nothing is awaited by it.
        std::thread::sleep(Duration::from_millis(5));
    }
    number
}

/// A tag for each container, or one for all.
const OWN_TAGS: &str = "Tag_Template {name}\n";
const ONE_TAG: &str = "";

#[test]
fn kills_of_the_playing_host_lose_nothing_and_repeat_one_batch_at_the_most() {
    kill_the_playing_host(OWN_TAGS);
}

#[test]
fn kills_between_appends_of_several_containers_lose_nothing_and_repeat_one_append_at_the_most() {
    kill_the_playing_host(ONE_TAG);
}

fn kill_the_playing_host(tags: &str) {
    let roots = Roots::new();
    let options: Vec<String> = (roots.options() + tags)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| format!("{}=\"{value}\"", name.to_lowercase()))
        .collect();
    let options = options.join(" ") + " rescan_interval=50ms";
    let load = Load::on(&roots);
    let mut moments = Moments::new();
    let mut arrived = Arrived::default();
    let kills = variable("KILLS", PLAYED_KILLS);
    for kill in 0..kills {
        let mut host = PlayingHost::with_instance(Release::LATEST, &options);
        match kill % 4 {
            0 => drop(host.ok(&format!("limit a {}", 1000 + moments.below(30_000)))),
            1 => drop(host.ok(&format!("refuse a {}", moments.below(4)))),
            _ => {}
        }
        host.send(&format!("run {}", PATIENCE.as_millis()));
        // The moment of the kill is random: there is nothing to await.
        std::thread::sleep(Duration::from_micros(moments.below(120_000)));
        arrived.take_killed(host);
    }
    let written = load.stop();
    let names: Vec<String> = CONTAINERS
        .iter()
        .chain(&PODS)
        .map(char::to_string)
        .collect();
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    let names = names.iter().map(String::as_str);
    let is_complete = arrived.take_rest(&mut host, names.zip(written.iter().copied()));
    println!(
        "{kills} kills of the playing host, {tags:?}: {} lines written, 0 lost, {} repeated after {} of them",
        written.iter().sum::<usize>(),
        arrived.repeated,
        arrived.kills_with_repetition,
    );
    assert!(is_complete, "{arrived:?} of {written:?}");
    host.exit().assert_clean();
}

/// A Fluent Bit that keeps its chunks in files; `None`, and the test is skipped, if there is none.
fn fluent_bit(name: &str, roots: &Roots) -> Option<FluentBit> {
    let Some(program) = find() else {
        let reason = "no Fluent Bit: set FLUENT_BIT or put fluent-bit on PATH";
        skip(name, reason);
        return None;
    };
    let Some(plugin) = plugin() else {
        skip(name, "the plugin's .so is not built");
        return None;
    };
    println!(
        "{name}: {}",
        version(&program).unwrap_or_else(|problem| problem)
    );
    Some(with_storage(
        FluentBit::new(&program, Some(&plugin), ""),
        roots,
    ))
}

#[test]
fn kills_of_fluent_bit_lose_nothing_and_repeat_one_batch_at_the_most() {
    let name = "kill::kills_of_fluent_bit_lose_nothing_and_repeat_one_batch_at_the_most";
    kill_fluent_bit(name, OWN_TAGS, 1);
}

#[test]
fn kills_of_fluent_bit_between_appends_of_several_containers_lose_nothing() {
    let name = "kill::kills_of_fluent_bit_between_appends_of_several_containers_lose_nothing";
    kill_fluent_bit(name, ONE_TAG, CONTAINERS.len() + PODS.len());
}

/// With `storage.type filesystem`. Nothing is flushed until the last kill is over,
/// so that what comes twice is not what Fluent Bit delivered and had not yet
/// ticked off when it was killed. `containers`: how many containers an append has at most.
fn kill_fluent_bit(name: &str, tags: &str, containers: usize) {
    let roots = Roots::new();
    let Some(host) = fluent_bit(name, &roots) else {
        return;
    };
    let mut host = host
        .with_service_line("storage.max_chunks_up 512")
        .with_service_line("storage.backlog.mem_limit 200M");
    let flush =
        |host: FluentBit, seconds: &str| host.with_service_line(&format!("Flush {seconds}"));
    host.set_config(&input(&roots, tags));
    host = flush(host, "3600");
    let load = Load::on(&roots);
    let mut moments = Moments::new();
    let kills = variable("KILLS", REAL_KILLS);
    for kill in 1..=kills {
        let moment = Duration::from_micros(moments.below(120_000));
        start_and_kill(&mut host, kill, moment);
    }
    let written = load.stop();
    assert_eq!(
        host.record_count(),
        0,
        "nothing was flushed before the last kill"
    );
    let mut host = flush(host, "0.2");
    host.start().expect("Fluent Bit starts");
    let total: usize = written.iter().sum();
    host.wait_to_reach(total, PATIENCE, "records", FluentBit::record_count);
    // How often each line came: order between chunks of two runs is Fluent Bit's.
    let counts = |host: &FluentBit| {
        let mut counts: BTreeMap<(String, usize), usize> = BTreeMap::new();
        for record in host.records() {
            let number = record.text("log")["line ".len()..]
                .parse()
                .expect("a line of ours");
            let container = record.text("container_name").to_owned();
            *counts.entry((container, number)).or_default() += 1;
        }
        counts
    };
    host.wait_to_reach(total, PATIENCE, "lines", |host| counts(host).len());
    host.end_in_order();
    let counts = counts(&host);
    let repeated = assert_one_batch_at_the_most(&counts, total, kills * containers);
    println!(
        "{kills} kills of Fluent Bit, {tags:?}: {total} lines written, 0 lost, {repeated} repeated"
    );
}

/// What the kills need of `[SERVICE]`.
fn with_storage(host: FluentBit, roots: &Roots) -> FluentBit {
    host.with_service_line(&format!("storage.path {}/storage", roots.dir().display()))
        .with_service_line("storage.sync normal")
}

fn input(roots: &Roots, tags: &str) -> String {
    let options = (roots.options() + tags).replace('\n', "\n    ");
    format!(
        "[INPUT]\n    Name container_logs\n    storage.type filesystem\n    Queue_Limit 64k\n    {options}\n"
    )
}

/// Kills it so long after its input has started, for the `start`-th time.
fn start_and_kill(host: &mut FluentBit, start: usize, moment: Duration) {
    host.start().expect("Fluent Bit starts");
    host.wait_until(PATIENCE, "the start", |host| {
        host.stderr().matches("following containers").count() == start
    });
    // The moment of the kill is given: there is nothing to await.
    std::thread::sleep(moment);
    host.signal(Signal::KILL);
    host.wait_exit(PATIENCE).expect("it is dead");
}

/// How often each line of each container came: how many came twice. Each came, and what
/// came twice are at most as many batches as there were kills.
#[track_caller]
fn assert_one_batch_at_the_most(
    counts: &BTreeMap<(String, usize), usize>,
    total: usize,
    kills: usize,
) -> usize {
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    // A batch is contiguous: stretches of lines that came twice.
    let stretches = repeated
        .windows(2)
        .filter(|pair| pair[0].0 .0 != pair[1].0 .0 || pair[0].0 .1 + 1 != pair[1].0 .1)
        .count()
        + usize::from(!repeated.is_empty());
    assert_eq!(counts.len(), total);
    assert!(
        repeated.iter().all(|(_, count)| **count == 2),
        "{repeated:?}"
    );
    assert!(
        stretches <= kills,
        "{stretches} batches repeated over {kills} kills: {repeated:?}"
    );
    repeated.len()
}

/// The output is slow and few chunks may be up, so Fluent Bit pauses the input again
/// and again, and kills come while it is paused. What Fluent Bit sends once more since it
/// was killed before it had ticked it off is a request that came before, word for word.
#[test]
fn kills_of_a_fluent_bit_that_pauses_lose_nothing_and_repeat_one_batch_at_the_most() {
    let name =
        "kill::kills_of_a_fluent_bit_that_pauses_lose_nothing_and_repeat_one_batch_at_the_most";
    let roots = Roots::new();
    let Some(host) = fluent_bit(name, &roots) else {
        return;
    };
    // A receiver's own pace.
    let receiver = slow_http(|| std::thread::sleep(Duration::from_millis(30)));
    let mut host = host
        .with_service_line("storage.max_chunks_up 4")
        .with_service_line("Flush 0.2")
        .with_service_line("scheduler.base 1")
        .with_service_line("scheduler.cap 1");
    host.set_config(&format!(
        "{input}    storage.pause_on_chunks_overlimit on\n[OUTPUT]\n    Name http\n    Match *\n    \
         Host 127.0.0.1\n    Port {port}\n    Format json\n    Retry_Limit no_limits\n",
        input = input(&roots, OWN_TAGS),
        port = receiver.port()
    ));
    let load = Load::on(&roots);
    let mut moments = Moments::new();
    let (kills, mut paused) = (variable("KILLS", PAUSED_KILLS), 0);
    let count = |host: &FluentBit, what: &str| {
        host.stderr()
            .matches(&format!("{what} (storage buf overlimit"))
            .count()
    };
    for kill in 1..=kills {
        let before = count(&host, "paused") - count(&host, "resume");
        start_and_kill(
            &mut host,
            kill,
            Duration::from_micros(moments.below(600_000)),
        );
        paused += usize::from(count(&host, "paused") - count(&host, "resume") > before);
    }
    let (pauses, resumes) = (count(&host, "paused"), count(&host, "resume"));
    let total: usize = load.stop().iter().sum();
    host.start().expect("Fluent Bit starts");
    let arrived = || {
        let mut seen = HashSet::new();
        let mut counts: BTreeMap<(String, usize), usize> = BTreeMap::new();
        for request in receiver
            .received()
            .into_iter()
            .filter(|request| seen.insert(request.body.clone()))
        {
            let records: Vec<serde_json::Value> =
                serde_json::from_slice(&request.body).expect("JSON");
            for record in &records {
                let text = |key: &str| record[key].as_str().expect("a text").to_owned();
                let number = text("log")["line ".len()..]
                    .parse()
                    .expect("a line of ours");
                *counts.entry((text("container_name"), number)).or_default() += 1;
            }
        }
        counts
    };
    host.wait_to_reach(total, PATIENCE, "lines", |_| arrived().len());
    host.end_in_order();
    let repeated = assert_one_batch_at_the_most(&arrived(), total, kills);
    println!(
        "{kills} kills of Fluent Bit over {pauses} pauses and {resumes} resumptions, {paused} of them in a pause: \
         {total} lines written, 0 lost, {repeated} repeated"
    );
    assert!(
        pauses > 0 && resumes > 0 && paused > 0,
        "the input was hardly ever paused"
    );
}
