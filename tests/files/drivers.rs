//! A container's log driver is changed, as by editing its `hostconfig.json` while
//! dockerd is stopped: the old log is read to its end, then that of the new driver.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use test_kit::collector::Collector;
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::tail_containers::{check, row};

const QUICK: &[(&str, &str)] = &[("Rescan_Interval", "50ms")];

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

/// A frame of the driver `local`, and of the cache.
pub fn frame(text: &str, nanoseconds: u64) -> Vec<u8> {
    fn varint(mut number: u64, bytes: &mut Vec<u8>) {
        while number > 127 {
            bytes.push(number as u8 | 128);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    let mut message = vec![1 << 3 | 2, 6];
    message.extend(b"stdout");
    message.push(2 << 3);
    varint(nanoseconds, &mut message);
    message.push(3 << 3 | 2);
    varint(text.len() as u64, &mut message);
    message.extend(text.as_bytes());
    let length = (message.len() as u32).to_be_bytes();
    [&length[..], &message, &length].concat()
}

/// Changes the driver of a container in its settings.
pub fn set_driver(log: &LogWriter, driver: &str) {
    let config = serde_json::json!({"LogConfig": {"Type": driver, "Config": {}}});
    let temporary = log.dir.join(".tmp-hostconfig");
    fs::write(&temporary, config.to_string()).expect("a file");
    fs::rename(temporary, log.dir.join("hostconfig.json")).expect("hostconfig.json");
}

/// Plays dockerd for one container.
struct Daemon {
    log: LogWriter,
    driver: &'static str,
    lines: usize,
    /// The time of the last entry, of any driver, in nanoseconds.
    time: u64,
    /// Whether the entries are older than their files, as in a copied folder.
    is_copied: bool,
}

/// The clock of the kernel, in nanoseconds.
fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970").as_nanos() as u64
}

impl Daemon {
    fn new(root: &DockerRoot, driver: &'static str) -> Daemon {
        let log = root.created_container('a', "web");
        let mut daemon = Daemon {
            log,
            driver,
            lines: 0,
            time: 1_700_000_000_000_000_000,
            is_copied: false,
        };
        daemon.start_with(driver);
        daemon
    }

    /// The entries are older than their files.
    fn copied(root: &DockerRoot, driver: &'static str) -> Daemon {
        Daemon {
            is_copied: true,
            ..Daemon::new(root, driver)
        }
    }

    fn id(&self) -> &str {
        &self.log.id
    }

    /// The container is started with another driver.
    fn start_with(&mut self, driver: &'static str) {
        self.log.write_config("web", false);
        set_driver(&self.log, driver);
        self.driver = driver;
        self.write(0);
        self.log.write_config("web", true);
    }

    fn file(&self) -> Option<PathBuf> {
        match self.driver {
            "json-file" => Some(self.log.log.clone()),
            "local" => Some(self.log.dir.join("local-logs/container.log")),
            "syslog" => Some(self.log.dir.join("container-cached.log")),
            _ => None,
        }
    }

    /// So many further lines, by the driver of now.
    fn write(&mut self, lines: usize) {
        let Some(path) = self.file() else {
            self.lines += lines;
            return;
        };
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let file = OpenOptions::new().append(true).create(true).open(path);
        let mut file = file.expect("a log");
        for line in numbers(self.lines..self.lines + lines) {
            self.lines += 1;
            self.time += 1_000_003;
            if !self.is_copied {
                self.time = self.time.max(clock());
            }
            let bytes = match self.driver {
                "json-file" => {
                    let time = jiff::Timestamp::from_nanosecond(self.time.into()).expect("a time");
                    record("stdout", &format!("{line}\n"), &format!("{time:.9}")).into_bytes()
                }
                _ => frame(&line, self.time),
            };
            file.write_all(&bytes).expect("a write");
        }
    }
}

fn positions(root: &DockerRoot) -> String {
    root.path().join("positions.db").display().to_string()
}

fn start(root: &DockerRoot, db: &str) -> Collector {
    let options = [QUICK, &[("DB", db), ("Docker_Socket", "off")]].concat();
    Collector::start(root.path(), &options)
}

/// Each change from one driver with files to another one.
const CHANGES: [[&str; 2]; 6] = [
    ["json-file", "local"],
    ["json-file", "syslog"],
    ["local", "json-file"],
    ["local", "syslog"],
    ["syslog", "json-file"],
    ["syslog", "local"],
];

#[test]
fn a_driver_that_is_changed_while_we_run_loses_and_repeats_nothing() {
    for [one, other] in CHANGES {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = Daemon::new(&root, one);
        daemon.write(100);
        let collector = start(&root, &db);
        collector.wait_texts(100);
        // The reader is behind when the driver is changed.
        collector.refuse(true);
        daemon.write(200);
        daemon.start_with(other);
        daemon.write(50);
        collector.refuse(false);
        assert_eq!(
            collector.wait_texts(350),
            numbers(0..350),
            "{one} -> {other}"
        );
        collector.wait("a message", |collector| {
            collector.has_logged(&format!("its log driver was changed to {other}"))
        });
        // And back again, and again, live and over restarts of ours.
        daemon.start_with(one);
        daemon.write(50);
        assert_eq!(
            collector.wait_texts(400),
            numbers(0..400),
            "{other} -> {one}"
        );
        daemon.start_with(other);
        daemon.write(50);
        assert_eq!(
            collector.wait_texts(450),
            numbers(0..450),
            "{one} -> {other}"
        );
        assert_eq!(collector.stop().0.len(), 450);
        let collector = start(&root, &db);
        daemon.write(1);
        assert_eq!(
            collector.wait_texts(1),
            numbers(450..451),
            "{one} -> {other}"
        );
        assert_eq!(collector.figures().lost(), 0);
    }
}

#[test]
fn a_driver_that_is_changed_while_we_are_away_loses_and_repeats_nothing() {
    for [one, other] in CHANGES {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = Daemon::new(&root, one);
        daemon.write(100);
        let collector = start(&root, &db);
        collector.wait_texts(100);
        collector.stop();
        daemon.write(50);
        daemon.start_with(other);
        daemon.write(50);
        let collector = start(&root, &db);
        assert_eq!(
            collector.wait_texts(100),
            numbers(100..200),
            "{one} -> {other}"
        );
        collector.stop();
        // Back to a file of which a part was read before.
        daemon.write(10);
        daemon.start_with(one);
        daemon.write(50);
        let collector = start(&root, &db);
        assert_eq!(
            collector.wait_texts(60),
            numbers(200..260),
            "{other} -> {one}"
        );
        assert_eq!(collector.stop().0.len(), 60);
        let collector = start(&root, &db);
        daemon.write(1);
        assert_eq!(
            collector.wait_texts(1),
            numbers(260..261),
            "{other} -> {one}"
        );
        assert_eq!(collector.figures().lost(), 0);
    }
}

/// The log that is being read goes on behind what another driver wrote in between.
#[test]
fn a_driver_that_is_changed_twice_while_we_are_away_loses_and_repeats_nothing() {
    for [one, other] in CHANGES {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = Daemon::new(&root, one);
        daemon.write(100);
        let collector = start(&root, &db);
        collector.wait_texts(100);
        collector.stop();
        daemon.write(50);
        daemon.start_with(other);
        daemon.write(50);
        daemon.start_with(one);
        daemon.write(50);
        let collector = start(&root, &db);
        assert_eq!(
            collector.wait_texts(150),
            numbers(100..250),
            "{one} {other}"
        );
        daemon.write(1);
        assert_eq!(
            collector.wait_texts(151)[150..],
            numbers(250..251),
            "{one} {other}"
        );
        assert_eq!(collector.figures().lost(), 0, "{one} {other}");
        collector.stop();
        // Three times, with parts of both logs that were read before.
        daemon.start_with(other);
        daemon.write(9);
        daemon.start_with(one);
        daemon.write(10);
        daemon.start_with(other);
        daemon.write(30);
        let collector = start(&root, &db);
        assert_eq!(collector.wait_texts(49), numbers(251..300), "{one} {other}");
        daemon.write(1);
        assert_eq!(
            collector.wait_texts(50)[49..],
            numbers(300..301),
            "{one} {other}"
        );
        daemon.start_with(one);
        daemon.write(1);
        assert_eq!(
            collector.wait_texts(51)[50..],
            numbers(301..302),
            "{one} {other}"
        );
        assert_eq!(collector.figures().lost(), 0, "{one} {other}");
    }
}

/// The log of the first driver is rotated meanwhile, and its current file is empty.
#[test]
fn what_is_between_rotated_files_of_another_driver_is_read_between_them() {
    for is_packed in [false, true] {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = Daemon::new(&root, "json-file");
        daemon.write(30);
        let collector = start(&root, &db);
        collector.wait_texts(30);
        collector.stop();
        daemon.write(5);
        daemon.log.open_log();
        daemon.log.rotate(4, is_packed);
        daemon.write(5);
        daemon.start_with("local");
        daemon.write(20);
        daemon.start_with("json-file");
        daemon.log.rotate(4, is_packed);
        daemon.write(7);
        let collector = start(&root, &db);
        assert_eq!(collector.wait_texts(37), numbers(30..67), "{is_packed}");
        collector.stop();
        daemon.write(1);
        let collector = start(&root, &db);
        assert_eq!(collector.wait_texts(1), numbers(67..68), "{is_packed}");
        assert_eq!(collector.figures().lost(), 0, "{is_packed}");
    }
}

/// However often, and wherever reading ends and begins again.
#[test]
fn drivers_that_change_again_and_again_lose_and_repeat_nothing_over_restarts() {
    const DRIVERS: [&str; 3] = ["json-file", "local", "syslog"];
    for seed in 0..4_usize {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = match seed % 2 {
            0 => Daemon::new(&root, DRIVERS[seed % 3]),
            _ => Daemon::copied(&root, DRIVERS[seed % 3]),
        };
        daemon.write(20);
        let collector = start(&root, &db);
        let mut texts = collector.wait_texts(20);
        collector.stop();
        let mut number = seed;
        for _ in 0..6 {
            number = number * 7 + 5;
            daemon.start_with(DRIVERS[number % 3]);
            daemon.write(10 + number % 20);
        }
        while texts.len() < daemon.lines {
            let options = [("DB", db.as_str()), ("Rate_Limit", "8k")];
            let options = [QUICK, &options, &[("Docker_Socket", "off")]].concat();
            let collector = Collector::start(root.path(), &options);
            collector.wait("some lines", |collector| collector.count() > 0);
            let (records, _) = collector.stop();
            texts.extend(
                records
                    .iter()
                    .map(|it| it.text("log").trim_end().to_owned()),
            );
        }
        assert_eq!(texts, numbers(0..daemon.lines), "{seed}");
        let collector = start(&root, &db);
        daemon.write(1);
        let last = numbers(daemon.lines - 1..daemon.lines);
        assert_eq!(collector.wait_texts(1), last, "{seed}");
    }
}

/// Also where the files of a copied folder are all new, and wherever reading ends and begins again.
#[test]
fn what_drivers_wrote_in_turns_is_read_in_order_from_the_first_start_on() {
    for (seed, drivers) in [
        &["json-file", "local", "json-file"][..],
        &["local", "json-file", "local"],
        &["local", "json-file", "syslog", "json-file"],
        &["json-file", "syslog", "local", "json-file", "local"],
    ]
    .into_iter()
    .enumerate()
    {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = match seed % 2 {
            0 => Daemon::new(&root, drivers[0]),
            _ => Daemon::copied(&root, drivers[0]),
        };
        for driver in drivers {
            daemon.start_with(driver);
            daemon.write(40);
        }
        let mut texts = Vec::new();
        while texts.len() < daemon.lines {
            let options = [("DB", db.as_str()), ("Rate_Limit", "12k")];
            let options = [QUICK, &options, &[("Docker_Socket", "off")]].concat();
            let collector = Collector::start(root.path(), &options);
            let what = format!("lines after {} of {drivers:?}", texts.len());
            collector.wait(&what, |collector| collector.count() > 0);
            let (records, _) = collector.stop();
            let read = records
                .iter()
                .map(|it| it.text("log").trim_end().to_owned());
            texts.extend(read);
        }
        assert_eq!(texts, numbers(0..daemon.lines), "{drivers:?}");
    }
}

/// The reader is behind when the driver is changed, and changed back.
#[test]
fn a_driver_that_is_changed_back_while_we_are_behind_loses_and_repeats_nothing() {
    for [one, other] in CHANGES {
        for is_copied in [false, true] {
            let root = DockerRoot::new();
            let db = positions(&root);
            let mut daemon = Daemon::new(&root, one);
            daemon.is_copied = is_copied;
            daemon.write(100);
            let options = [("DB", db.as_str()), ("Rate_Limit", "20k")];
            let options = [QUICK, &options, &[("Docker_Socket", "off")]].concat();
            let collector = Collector::start(root.path(), &options);
            collector.wait("some lines", |collector| collector.count() > 0);
            for driver in [other, one, other, one] {
                daemon.start_with(driver);
                daemon.write(10);
            }
            let expected = numbers(0..daemon.lines);
            let what = format!("{one} {other} {is_copied}");
            assert_eq!(collector.wait_texts(daemon.lines), expected, "{what}");
            // Again, by the driver that was left.
            for driver in [other, one] {
                daemon.start_with(driver);
                daemon.write(3);
            }
            let expected = numbers(0..daemon.lines);
            assert_eq!(collector.wait_texts(daemon.lines), expected, "{what}");
            assert_eq!(collector.figures().lost(), 0, "{what}");
            assert_eq!(collector.stop().0.len(), daemon.lines, "{what}");
            let collector = start(&root, &db);
            daemon.write(1);
            let last = numbers(daemon.lines - 1..daemon.lines);
            assert_eq!(collector.wait_texts(1), last, "{what}");
        }
    }
}

#[test]
fn at_the_first_start_the_logs_of_all_drivers_are_read_in_order() {
    let root = DockerRoot::new();
    let mut daemon = Daemon::new(&root, "json-file");
    daemon.write(10);
    daemon.start_with("local");
    daemon.write(10);
    daemon.start_with("syslog");
    daemon.write(10);
    let collector = start(&root, &positions(&root));
    assert_eq!(collector.wait_texts(30), numbers(0..30));
}

#[test]
fn a_driver_without_files_is_read_through_the_api_and_one_with_files_from_these() {
    let root = DockerRoot::new();
    let (db, socket) = (positions(&root), root.path().join("no.sock"));
    let socket = socket.display().to_string();
    let options = [QUICK, &[("DB", db.as_str()), ("Docker_Socket", &socket)]].concat();
    let mut daemon = Daemon::new(&root, "json-file");
    daemon.write(10);
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(10);
    collector.refuse(true);
    daemon.write(10);
    daemon.start_with("journald");
    collector.refuse(false);
    let is_api = "is read through the Docker API: log driver journald keeps no file";
    collector.wait("the API", |collector| collector.has_logged(is_api));
    assert_eq!(collector.wait_texts(20), numbers(0..20));
    for driver in ["local", "journald", "json-file"] {
        let first = daemon.lines;
        daemon.start_with(driver);
        daemon.write(10);
        if daemon.file().is_none() {
            // What only the journal has.
            daemon.lines = first;
            collector.wait("the API", |collector| {
                let log = collector.log();
                log.iter().filter(|(_, text)| text.contains(is_api)).count() == 2
            });
        } else {
            assert_eq!(
                collector.wait_texts(first + 10),
                numbers(0..first + 10),
                "{driver}"
            );
        }
    }
    collector.stop();
    daemon.start_with("journald");
    let collector = Collector::start(root.path(), &options);
    collector.wait("the API", |collector| collector.has_logged(is_api));
    daemon.start_with("json-file");
    daemon.write(1);
    assert_eq!(collector.wait_texts(1), numbers(40..41));
    assert_eq!(collector.figures().lost(), 0);
}

/// The driver `none` keeps nothing; the log of the one before and after it is the same.
#[test]
fn a_driver_that_is_none_for_a_while_makes_no_line_repeat() {
    for driver in ["json-file", "local"] {
        let root = DockerRoot::new();
        let db = positions(&root);
        let mut daemon = Daemon::new(&root, driver);
        daemon.write(40);
        let collector = start(&root, &db);
        assert_eq!(collector.wait_texts(40), numbers(0..40));
        daemon.start_with("none");
        collector.wait("a message", |collector| {
            collector.has_logged("log driver none keeps nothing")
        });
        daemon.start_with(driver);
        daemon.write(10);
        assert_eq!(collector.wait_texts(50), numbers(0..50), "{driver}");
        collector.stop();
        daemon.write(1);
        let collector = start(&root, &db);
        assert_eq!(collector.wait_texts(1), numbers(50..51), "{driver}");
    }
}

fn assert_shown(root: &Path, driver: &str, source: &str) {
    let (page, _) = check(root, &["-o", "Docker_Socket=off"]);
    assert_eq!(
        row(&page, "web"),
        format!("shop/web:1.2 {driver} {source}"),
        "{page}"
    );
}

#[test]
fn check_shows_the_logs_of_earlier_drivers() {
    let root = DockerRoot::new();
    let mut daemon = Daemon::new(&root, "json-file");
    daemon.write(10);
    assert_shown(root.path(), "json-file", "file");
    daemon.start_with("local");
    assert_shown(
        root.path(),
        "local",
        "local; before its log driver was changed: file",
    );
    daemon.start_with("journald");
    assert_shown(
        root.path(),
        "journald",
        "nowhere: log driver journald keeps no file, and Journal_Path is off, and Docker_Socket is off; before its log driver was changed: file, local",
    );
    assert!(!daemon.id().is_empty());
}
