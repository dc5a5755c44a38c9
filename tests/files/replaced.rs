//! A log that somebody deleted or replaced while nothing was read, of every runtime and driver: the
//! runtime writes on to a file that nobody can open. It is said, counted once, and seen by `check`; what
//! only looks like it is not.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::format::rfc3339;
use tempfile::TempDir;

use test_kit::collector::Collector;
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::nerdctl_root::NerdctlContainer;
use test_kit::pod_root::PodRoot;
use test_kit::podman_storage::{PodmanStorage, Start};
use test_kit::tail_containers::{page, program};
use test_kit::wait_until;

use super::drivers::frame;
use super::hard_cases::looked;
use super::renamed::numbers;

const SECOND: u64 = 1_000_000_000;

/// What is said while the runtime writes to a file without a name, and after that.
const REPLACED: &str =
    "was replaced by hand (an editor, sed -i, mv, rm, or logrotate without copytruncate)";
const REPLACED_BEFORE: &str = "replaced its log by hand at ";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Docker,
    DockersLocal,
    DockersCache,
    Podman,
    Nerdctl,
    Pod,
}

use Kind::{Docker, DockersCache, DockersLocal, Nerdctl, Pod, Podman};

const ALL: [Kind; 6] = [Docker, DockersLocal, DockersCache, Podman, Nerdctl, Pod];

/// A machine with a container that runs, whose entries have the times at which they are written.
struct Machine {
    kind: Kind,
    path: PathBuf,
    log: PathBuf,
    file: File,
    docker: Option<LogWriter>,
    _dirs: (Option<TempDir>, Option<PodRoot>),
}

fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn open(log: &Path) -> File {
    let mut options = OpenOptions::new();
    options.append(true).create(true).open(log).unwrap()
}

/// Plays with each of them at the same time: most of it is waiting.
fn with_each(kinds: &[Kind], play: impl Fn(Kind) + Sync) {
    let play = &play;
    std::thread::scope(|scope| {
        for kind in kinds {
            scope.spawn(move || play(*kind));
        }
    });
}

/// Until files that are made now are older than all times so far.
fn pause() {
    let until = now() + SECOND + SECOND / 10;
    wait_until(Duration::from_secs(10), "a second", || now() > until);
}

fn docker(dir: &Path, driver: &str, log: &str) -> (PathBuf, LogWriter) {
    let docker = DockerRoot::at(dir).created_container('a', "web");
    docker.set_started(&rfc3339::format(Timestamp::at(now())));
    let config = format!("{{\"LogConfig\":{{\"Type\":\"{driver}\",\"Config\":{{}}}}}}");
    fs::write(docker.dir.join("hostconfig.json"), config).unwrap();
    let log = docker.dir.join(log);
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    (log, docker)
}

/// What is said of it besides, and what `check` says: nothing tells whether a pod's container runs.
fn besides(kind: Kind) -> [&'static str; 2] {
    match kind {
        Pod => [
            "; nothing says whether it ran then: if it did, the runtime still writes to",
            "its log was replaced by hand; if it ran then, which nothing says, the runtime still",
        ],
        _ => [
            " while it ran: the runtime still writes to",
            "its log was replaced by hand while it ran",
        ],
    }
}

impl Machine {
    fn new(kind: Kind) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let mut machine = (path.clone(), None, (Some(dir), None));
        let json = format!("{}-json.log", "a".repeat(64));
        let log = match kind {
            Docker | DockersLocal | DockersCache => {
                let (driver, log) = match kind {
                    Docker => ("json-file", &*json),
                    DockersLocal => ("local", "local-logs/container.log"),
                    _ => ("syslog", "container-cached.log"),
                };
                let (log, docker) = docker(&path, driver, log);
                machine.1 = Some(docker);
                log
            }
            Podman => {
                let storage = PodmanStorage::new(&path);
                let log = storage.run('a', &Start::default()).log;
                // conmon's pipe.
                fs::write(storage.userdata('a').join("ctl"), "").unwrap();
                log
            }
            Nerdctl => {
                let container = NerdctlContainer::new(&path.join("Nerdctl_Root"), 'a', "web");
                container.start(&[]);
                container.log
            }
            Pod => {
                let root = PodRoot::new();
                let log = root.container("shop", "shop", "web").log();
                machine = (root.path().to_owned(), None, (None, Some(root)));
                log
            }
        };
        let (path, docker, dirs) = machine;
        Machine {
            kind,
            path,
            file: open(&log),
            log,
            docker,
            _dirs: dirs,
        }
    }

    fn write(&mut self, range: std::ops::Range<usize>) {
        for text in numbers(range) {
            let time = rfc3339::format(Timestamp::at(now()));
            let entry = match self.kind {
                Docker | Nerdctl => record("stdout", &format!("{text}\n"), &time).into_bytes(),
                Podman | Pod => format!("{time} stdout F {text}\n").into_bytes(),
                DockersLocal | DockersCache => frame(&text, now()),
            };
            self.file.write_all(&entry).unwrap();
        }
    }

    fn start(&self) -> Collector {
        let db = self.path.join("positions.db").display().to_string();
        let runtime = match self.kind {
            Docker | DockersLocal | DockersCache => "docker",
            Podman => "podman",
            Nerdctl => "nerdctl",
            Pod => "cri",
        };
        let options = [
            ("DB", &*db),
            ("Runtime", runtime),
            ("Docker_Socket", "off"),
            ("Podman_Socket", "off"),
            ("Rescan_Interval", "50ms"),
        ];
        Collector::start(&self.path, &options)
    }

    /// Reads these lines and stops; nothing is lost.
    fn read(&self, range: std::ops::Range<usize>) {
        let collector = self.start();
        assert_eq!(collector.wait_texts(range.len()), numbers(range));
        stopped(collector, 0);
    }

    /// What `check` says.
    fn check(&self) -> (String, bool) {
        let below =
            |option: &str, name: &str| format!("{option}={}", self.path.join(name).display());
        let mut command = Command::new(program());
        command.args([
            "check",
            "-o",
            "Docker_Socket=off",
            "-o",
            "Podman_Socket=off",
        ]);
        command.args(["-o", "Journal_Path=off", "--runtime"]);
        match self.kind {
            Docker | DockersLocal | DockersCache => {
                command.args(["docker", "--docker-root"]).arg(&self.path)
            }
            Podman => command.args(["podman", "-o", &below("Podman_Root", "storage")]),
            Nerdctl => command.args(["nerdctl", "-o", &below("Nerdctl_Root", "Nerdctl_Root")]),
            Pod => command.args(["cri", "-o", &below("Pod_Logs", "pods")]),
        };
        page(&command.output().unwrap())
    }

    /// `sed -i`: the runtime writes on to the file that was there before.
    fn replace(&self) {
        let copy = self.log.with_file_name("sedAbCdEf");
        fs::copy(&self.log, &copy).unwrap();
        fs::rename(copy, &self.log).unwrap();
    }

    /// The runtime opens its log anew.
    fn reopen(&mut self) {
        self.file = open(&self.log);
    }

    /// As a rotation does, to this name.
    fn rotate(&mut self, name: &str) {
        fs::rename(&self.log, self.log.with_file_name(name)).unwrap();
        self.reopen();
    }

    /// The name of the log's file with this at its end.
    fn named(&self, end: &str) -> String {
        format!("{}{end}", self.log.file_name().unwrap().to_str().unwrap())
    }
}

/// Stops; this number of files was counted as lost.
fn stopped(collector: Collector, lost: u64) -> Vec<String> {
    let generations = collector.figures().abandoned.generations;
    let (_, messages) = collector.stop();
    let messages: Vec<String> = messages.into_iter().map(|(_, text)| text).collect();
    assert_eq!(generations, lost, "{messages:#?}");
    messages
}

fn says(messages: &[String], part: &str) -> bool {
    messages.iter().any(|text| text.contains(part))
}

fn a_replaced_log_is_said_counted_and_checked(kind: Kind) {
    let mut machine = Machine::new(kind);
    machine.write(0..10);
    machine.read(0..10);
    machine.write(10..15);
    let (before, _) = machine.check();
    pause();
    machine.replace();
    // They are lost.
    machine.write(15..20);
    for start in 0..2 {
        let collector = machine.start();
        let said = format!("{REPLACED}{}", besides(kind)[0]);
        collector.wait("a message", |collector| collector.has_logged(&said));
        collector.wait("the count", |collector| {
            collector.metric("containers_unread") == 1.0
        });
        let unread = if start == 0 {
            numbers(10..15)
        } else {
            Vec::new()
        };
        assert_eq!(collector.wait_texts(unread.len()), unread);
        stopped(collector, u64::from(start == 0));
        let (page, is_all_read) = machine.check();
        let found = besides(kind)[1];
        assert!(!before.contains(found), "{before}");
        assert!(!is_all_read && page.contains(found), "{page}");
    }
    // Once the runtime writes to a new one, all is well.
    machine.reopen();
    let collector = machine.start();
    let mut next = 20;
    collector.wait("a line a second later", |collector| {
        machine.write(next..next + 1);
        next += 1;
        collector.metric("containers_unread") == 0.0
    });
    assert_eq!(collector.wait_texts(next - 20), numbers(20..next));
    stopped(collector, 0);
}

#[test]
fn a_replaced_log_of_dockers_is_said_counted_and_checked() {
    a_replaced_log_is_said_counted_and_checked(Docker);
}

#[test]
fn a_replaced_log_of_dockers_driver_local_is_said_counted_and_checked() {
    a_replaced_log_is_said_counted_and_checked(DockersLocal);
}

#[test]
fn a_replaced_log_of_dockers_cache_is_said_counted_and_checked() {
    a_replaced_log_is_said_counted_and_checked(DockersCache);
}

#[test]
fn a_replaced_log_of_podmans_is_said_counted_and_checked() {
    a_replaced_log_is_said_counted_and_checked(Podman);
}

#[test]
fn a_replaced_log_of_nerdctls_is_said_counted_and_checked() {
    a_replaced_log_is_said_counted_and_checked(Nerdctl);
}

#[test]
fn a_replaced_log_of_a_pod_is_said_counted_and_checked() {
    a_replaced_log_is_said_counted_and_checked(Pod);
}

/// `rm` and `touch`.
#[test]
fn a_log_that_was_made_empty_of_every_runtime_is_said_counted_and_checked() {
    with_each(&ALL, |kind| {
        let mut machine = Machine::new(kind);
        machine.write(0..10);
        machine.read(0..10);
        pause();
        fs::remove_file(&machine.log).unwrap();
        fs::write(&machine.log, "").unwrap();
        machine.write(10..15);
        for lost in [1, 0] {
            let collector = machine.start();
            collector.wait("a message", |collector| collector.has_logged(REPLACED));
            collector.wait("the count", |collector| {
                collector.metric("containers_unread") == 1.0
            });
            stopped(collector, lost);
        }
        let (page, is_all_read) = machine.check();
        let found = page.contains(besides(kind)[1]);
        assert!(found && !is_all_read, "{kind:?} {page}");
    });
}

/// A container that writes nothing has an empty log.
#[test]
fn a_log_that_is_empty_from_the_start_is_not_taken_for_replaced() {
    with_each(&ALL, |kind| {
        let machine = Machine::new(kind);
        pause();
        pause();
        let (page, _) = machine.check();
        assert!(!page.contains("replaced by hand"), "{kind:?} {page}");
    });
}

/// What was written in between is in no file, and nothing but the position tells.
#[test]
fn a_log_that_was_replaced_and_then_opened_anew_or_rotated_is_said_and_counted_once() {
    with_each(&ALL, |kind| {
        for is_rotated in [true, false] {
            let mut machine = Machine::new(kind);
            machine.write(0..10);
            machine.read(0..10);
            machine.write(10..15);
            // A file system may make two files within one tick of its clock.
            let birth = |machine: &Machine| fs::metadata(&machine.log).unwrap().created().unwrap();
            let first = birth(&machine);
            wait_until(Duration::from_secs(10), "a tick", || {
                machine.replace();
                birth(&machine) > first
            });
            machine.write(15..20);
            match (is_rotated, kind) {
                (true, Pod) => machine.rotate("0.log.20261127-080000"),
                (true, _) => machine.rotate(&machine.named(".1")),
                (false, _) => machine.reopen(),
            }
            // What is written within a second of a copy may have been in its original.
            pause();
            machine.write(20..25);
            let rest = [numbers(10..15), numbers(20..25)].concat();
            let collector = machine.start();
            assert_eq!(collector.wait_texts(10), rest, "{kind:?}");
            let messages = stopped(collector, 1);
            assert!(says(&messages, REPLACED_BEFORE), "{kind:?} {messages:#?}");
            machine.write(25..26);
            machine.read(25..26);
            let (page, _) = machine.check();
            assert!(!page.contains("replaced by hand"), "{kind:?} {page}");
        }
    });
}

/// It was edited while the container did not run, or was copied with its folder.
#[test]
fn a_copy_of_a_log_to_which_nobody_wrote_is_no_loss() {
    let mut machine = Machine::new(Docker);
    machine.write(0..10);
    machine.read(0..10);
    let docker = machine.docker.take().unwrap();
    let time = |at: u64| rfc3339::format(Timestamp::at(at));
    docker.set_state("FinishedAt", &time(now()).into());
    pause();
    machine.replace();
    docker.set_state("Running", &false.into());
    let (page, is_all_read) = machine.check();
    assert!(is_all_read, "{page}");
    let collector = machine.start();
    looked(&DockerRoot::at(&machine.path), &collector);
    stopped(collector, 0);
    // It is started again.
    pause();
    docker.set_state("Running", &true.into());
    docker.set_started(&time(now()));
    machine.reopen();
    machine.write(10..11);
    let (page, is_all_read) = machine.check();
    assert!(is_all_read, "{page}");
    machine.read(10..11);
}

#[test]
fn a_folder_that_was_copied_under_a_running_container_is_no_loss() {
    with_each(&ALL, |kind| {
        let mut machine = Machine::new(kind);
        machine.write(0..10);
        machine.read(0..10);
        let mut folder = machine.log.parent().unwrap().to_owned();
        if kind == DockersLocal {
            folder.pop();
        }
        pause();
        let copy = folder.with_file_name("copy");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&folder)
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        fs::remove_dir_all(&folder).unwrap();
        fs::rename(&copy, &folder).unwrap();
        let (page, _) = machine.check();
        assert!(!page.contains("replaced by hand"), "{kind:?} {page}");
        machine.reopen();
        machine.write(10..15);
        let collector = machine.start();
        assert_eq!(collector.wait_texts(5), numbers(10..15), "{kind:?}");
        stopped(collector, 0);
    });
}

/// A logger that does not block may be behind, and a full disk may leave the new file empty.
#[test]
fn a_file_that_a_rotation_made_is_not_taken_for_replaced() {
    for is_empty in [true, false] {
        with_each(&[Docker, DockersLocal, Podman, Nerdctl, Pod], |kind| {
            let mut machine = Machine::new(kind);
            machine.write(0..10);
            machine.read(0..10);
            let late = fs::read(&machine.log).unwrap();
            pause();
            match kind {
                Pod => machine.rotate("0.log.20261127-080000"),
                _ => machine.rotate(&machine.named(".1")),
            }
            if !is_empty {
                machine.file.write_all(&late).unwrap();
            }
            pause();
            pause();
            let (page, _) = machine.check();
            assert!(!page.contains("replaced by hand"), "{kind:?} {page}");
        });
    }
}

/// The runtime writes on, and makes no new file until the container is started again.
#[test]
fn a_deleted_log_of_every_runtime_is_said_and_counted_once() {
    with_each(&ALL, |kind| {
        let mut machine = Machine::new(kind);
        machine.write(0..10);
        machine.read(0..10);
        machine.write(10..15);
        fs::remove_file(&machine.log).unwrap();
        machine.write(15..20);
        let (page, is_all_read) = machine.check();
        let is_known = ![DockersCache, Pod].contains(&kind);
        let found = page.contains("its log was deleted while it runs");
        assert_eq!(
            (found, !is_all_read),
            (is_known, kind != Pod),
            "{kind:?} {page}"
        );
        for lost in [1, 0] {
            let collector = machine.start();
            let (said, gone) = (
                "was deleted; its unread lines are lost",
                "no longer exists: it was deleted",
            );
            collector.wait("a message", |collector| match is_known {
                true => collector.has_logged(said),
                false => collector.has_logged(gone) || lost == 0,
            });
            stopped(collector, lost);
        }
        machine.reopen();
        machine.write(20..25);
        let collector = machine.start();
        assert_eq!(collector.wait_texts(5), numbers(20..25), "{kind:?}");
        stopped(collector, 0);
    });
}

/// Rotated again and again while nothing was read.
#[test]
fn rotations_of_every_runtime_are_no_loss() {
    with_each(&[Docker, DockersLocal, Podman, Nerdctl, Pod], |kind| {
        let mut machine = Machine::new(kind);
        machine.write(0..5);
        machine.read(0..5);
        machine.write(5..10);
        let name = |machine: &Machine, number: usize| match kind {
            Pod => format!("0.log.20261127-08000{number}"),
            _ => machine.named(&format!(".{number}")),
        };
        for rotation in 1..4 {
            // Of nerdctl's files the highest is the newest.
            let number = match kind {
                Nerdctl | Pod => 6 + rotation,
                _ => {
                    for number in (1..rotation).rev() {
                        let path = |number| machine.log.with_file_name(name(&machine, number));
                        fs::rename(path(number), path(number + 1)).unwrap();
                    }
                    1
                }
            };
            let name = name(&machine, number);
            machine.rotate(&name);
            machine.write(rotation * 5 + 5..rotation * 5 + 10);
        }
        let collector = machine.start();
        assert_eq!(collector.wait_texts(20), numbers(5..25), "{kind:?}");
        let messages = stopped(collector, 0);
        assert!(!says(&messages, "missing"), "{kind:?} {messages:#?}");
    });
}

/// Runs of a container of a pod, and rotated files of nerdctl, have numbers, too.
#[test]
fn a_number_that_is_missing_of_a_pod_or_nerdctl_is_counted() {
    with_each(&[Nerdctl, Pod], |kind| {
        let mut machine = Machine::new(kind);
        machine.write(0..5);
        machine.read(0..5);
        machine.write(5..10);
        for number in 1..4 {
            match kind {
                Pod => {
                    machine.log.set_file_name(format!("{number}.log"));
                    machine.reopen();
                }
                _ => machine.rotate(&machine.named(&format!(".{number}"))),
            }
            machine.write(number * 5 + 5..number * 5 + 10);
        }
        let missing = match kind {
            Pod => "2.log".to_owned(),
            _ => machine.named(".2"),
        };
        fs::remove_file(machine.log.with_file_name(&missing)).unwrap();
        let rest = match kind {
            Pod => [numbers(5..15), numbers(20..25)].concat(),
            _ => [numbers(5..10), numbers(15..25)].concat(),
        };
        let collector = machine.start();
        assert_eq!(collector.wait_texts(15), rest, "{kind:?}");
        collector.wait("the count", |collector| {
            collector.metric("abandoned_files_total") == 1.0
        });
        let messages = stopped(collector, 1);
        let said = format!(
            "files of its log are missing (1), the newest of them {}",
            machine.log.with_file_name(missing).display()
        );
        assert!(says(&messages, &said), "{kind:?} {messages:#?}");
    });
}

/// Nothing but the kubelet's link tells that there was another run.
#[test]
fn the_log_of_a_pods_last_run_that_was_deleted_is_said_counted_once_and_checked() {
    let root = PodRoot::new();
    let mut pod = root.container("shop", "web", "app");
    let dir = root.path().display().to_string();
    let db = root.path().join("positions.db").display().to_string();
    let options = [
        ("DB", &*db),
        ("Runtime", "cri"),
        ("Rescan_Interval", "50ms"),
    ];
    let pods = format!("Pod_Logs={}", root.pods().display());
    let check = || {
        let mut check = Command::new(program());
        check.args([
            "check",
            "--runtime",
            "cri",
            "-o",
            "Journal_Path=off",
            "-o",
            &pods,
        ]);
        page(&check.output().expect("tail-containers runs"))
    };
    pod.line("line 0");
    let collector = Collector::start(Path::new(&dir), &options);
    assert_eq!(collector.wait_texts(1), numbers(0..1));
    stopped(collector, 0);
    pod.line("line 1");
    pod.restart();
    pod.line("lost");
    let (page, is_all_read) = check();
    assert!(is_all_read, "{page}");
    let lost = pod.log();
    fs::remove_file(&lost).unwrap();
    let (page, is_all_read) = check();
    let found = "the log of its last run was deleted: 1.log";
    assert!(!is_all_read && page.contains(found), "{page}");
    let said = format!(
        "files of its log are missing (1), the newest of them {}",
        lost.display()
    );
    for start in 0..3 {
        let collector = Collector::start(Path::new(&dir), &options);
        collector.wait("that it is unread", |collector| {
            collector.metric("containers_unread") == 1.0
        });
        if start == 0 {
            assert_eq!(collector.wait_texts(1), ["line 1"]);
            collector.wait("a message", |collector| collector.has_logged(&said));
        }
        looked_at_pod(&root, &collector, start);
        let messages = stopped(collector, u64::from(start == 0));
        assert_eq!(says(&messages, &said), start == 0, "{messages:#?}");
    }
    pod.restart();
    pod.line("line 2");
    let (page, is_all_read) = check();
    assert!(is_all_read, "{page}");
}

/// Another container, which is found after the first one, has been read.
fn looked_at_pod(root: &PodRoot, collector: &Collector, start: usize) {
    let mut other = root.container("shop", "other", &format!("app{start}"));
    for round in 0..3 {
        let text = format!("round {start} {round}");
        other.line(&text);
        collector.wait("a round", |collector| {
            collector.records().iter().any(|it| it.text("log") == text)
        });
    }
}
