//! A reader that reads nothing must not look healthy: what is not read, and why, is in the
//! metrics, and the age of the reader's last turn is told without the reader.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::source::reader::Reader;
use fluent_bit_container_logs::telemetry::event::Level;
use fluent_bit_container_logs::telemetry::metrics::{Reading, Value};

use test_kit::collector::{texts, Collector};
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::skip;
use test_kit::tail_containers::check;

/// Keeps the metrics as Fluent Bit does: each series with the value that was last set.
#[derive(Default)]
struct Shown {
    values: Mutex<BTreeMap<String, f64>>,
}

impl Host for Shown {
    fn append(&self, _: Option<&str>, _: usize, _: &[u8]) -> Result<(), AppendRefused> {
        Ok(())
    }

    fn log(&self, _: Level, _: &str) {}

    fn publish(&self, readings: &[Reading]) {
        let mut values = self.values.lock().expect("no panic");
        for reading in readings {
            let name = reading.family.name;
            for sample in &reading.samples {
                if let Value::Number(value) = sample.value {
                    values.insert(
                        format!("{name} {}", texts(&sample.labels).join(" "))
                            .trim()
                            .to_owned(),
                        value,
                    );
                }
            }
        }
    }
}

/// An instance whose reader the test turns, a second at a time.
struct Turned {
    plugin: Plugin,
    reader: Reader,
    host: Shown,
    now: Instant,
}

impl Turned {
    fn over(root: &DockerRoot, options: &[(&str, String)]) -> Turned {
        let option = |name: &str| {
            let given = options
                .iter()
                .find(|(option, _)| *option == name)
                .map(|(_, value)| value.clone());
            given.or_else(|| match name {
                "Docker_Root" => Some(root.path().display().to_string()),
                "Runtime" => Some("docker".to_owned()),
                _ => None,
            })
        };
        let (plugin, mut reader) =
            Plugin::prepare(Config::from_lookup(option).expect("options")).expect("a start");
        reader.begin();
        Turned {
            plugin,
            reader,
            host: Shown::default(),
            now: Instant::now(),
        }
    }

    fn turn(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.reader.turn(self.now);
            self.plugin.drain(&self.host);
        }
    }

    fn value(&self, key: &str) -> Option<f64> {
        self.host.values.lock().expect("no panic").get(key).copied()
    }

    /// What is counted of the containers that are not read.
    fn unread(&self) -> Vec<(String, f64)> {
        let values = self.host.values.lock().expect("no panic");
        let counts = values.iter().filter(|(_, value)| **value > 0.0);
        let reason = |(key, value): (&String, &f64)| {
            Some((key.strip_prefix("containers_unread ")?.to_owned(), *value))
        };
        counts.filter_map(reason).collect()
    }
}

fn set_driver(log: &LogWriter, driver: &str) {
    let config = format!("{{\"LogConfig\":{{\"Type\":\"{driver}\",\"Config\":{{}}}}}}");
    fs::write(log.dir.join("hostconfig.json"), config).expect("the folder is ours");
}

/// A folder in the log's place, which nobody can read as a log, whoever he is.
fn spoil(log: &LogWriter) {
    fs::rename(&log.log, log.dir.join("aside")).expect("its log");
    fs::create_dir(&log.log).expect("a folder");
}

fn mend(log: &LogWriter) {
    fs::remove_dir(&log.log).expect("the folder");
    fs::rename(log.dir.join("aside"), &log.log).expect("its log");
}

#[test]
fn each_container_that_is_not_read_is_counted_with_its_reason() {
    let root = DockerRoot::new();
    root.container('a', "good").line("hello");
    set_driver(&root.created_container('b', "silent"), "none");
    let asked = root.created_container('c', "asked");
    set_driver(&asked, "journald");
    let mut gone = root.created_container('d', "without-log");
    let spoilt = root.container('e', "spoilt");
    spoil(&spoilt);
    let torn = root.created_container('f', "torn");
    fs::write(torn.dir.join("config.v2.json"), "{").expect("the folder is ours");
    // It never ran: no log is missed.
    root.created_container('1', "created")
        .write_config("created", false);
    let socket = root.path().join("no.sock").display().to_string();
    let mut turned = Turned::over(
        &root,
        &[("Docker_Socket", socket), ("Mode", "hybrid".to_owned())],
    );
    turned.turn(10);
    let with_api = [
        // Their files cannot be read, nor can the API be asked instead.
        ("api_unavailable".to_owned(), 3.0),
        ("driver_none".to_owned(), 1.0),
        ("metadata".to_owned(), 1.0),
    ];
    assert_eq!(turned.unread(), with_api);
    drop(turned);

    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned())]);
    turned.turn(10);
    let without_api = [
        ("api_unavailable".to_owned(), 1.0),
        ("driver_none".to_owned(), 1.0),
        ("io_error".to_owned(), 1.0),
        ("metadata".to_owned(), 1.0),
        ("missing".to_owned(), 1.0),
    ];
    assert_eq!(turned.unread(), without_api);

    mend(&spoilt);
    gone.open_log();
    torn.write_config("torn", false);
    turned.turn(10);
    assert_eq!(
        turned.unread(),
        [
            ("api_unavailable".to_owned(), 1.0),
            ("driver_none".to_owned(), 1.0)
        ]
    );
}

#[test]
fn a_log_that_may_not_be_read_is_counted_as_such() {
    let test = "health::a_log_that_may_not_be_read_is_counted_as_such";
    let root = DockerRoot::new();
    let secret = root.container('a', "secret");
    fs::set_permissions(&secret.log, fs::Permissions::from_mode(0o000)).expect("chmod");
    if fs::File::open(&secret.log).is_ok() {
        return skip(test, "this user reads everything");
    }
    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned())]);
    turned.turn(3);
    assert_eq!(turned.unread(), [("permission".to_owned(), 1.0)]);
}

#[test]
fn each_attempt_that_fails_counts_as_a_read_error() {
    let root = DockerRoot::new();
    let spoilt = root.container('a', "spoilt");
    let options = [
        ("Docker_Socket", "off".to_owned()),
        ("Rescan_Interval", "1s".to_owned()),
    ];
    let mut turned = Turned::over(&root, &options);
    turned.turn(3);
    assert_eq!(turned.value("read_errors_total"), Some(0.0));
    spoil(&spoilt);
    turned.turn(10);
    let errors = turned.value("read_errors_total").expect("it is shown");
    assert!(errors >= 2.0, "{errors}");
    mend(&spoilt);
    turned.turn(5);
    let errors = turned.value("read_errors_total");
    turned.turn(10);
    assert_eq!(turned.value("read_errors_total"), errors);
}

#[test]
fn a_root_that_cannot_be_listed_is_zero_until_it_can() {
    let root = DockerRoot::new();
    let containers = root.path().join("containers");
    let aside = root.path().join("aside");
    fs::rename(&containers, &aside).expect("a rename");
    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned())]);
    let key = format!("root_readable {}", containers.display());
    turned.turn(3);
    assert_eq!(turned.value(&key), Some(0.0));
    fs::rename(&aside, &containers).expect("a rename");
    turned.turn(5);
    assert_eq!(turned.value(&key), Some(1.0));
    // It is a file, so that listing it fails in another way.
    fs::rename(&containers, &aside).expect("a rename");
    fs::write(&containers, "").expect("a file");
    turned.turn(5);
    assert_eq!(turned.value(&key), Some(0.0));
}

#[test]
fn the_db_has_a_gauge_and_without_a_db_there_is_none() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("hello");
    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned())]);
    turned.turn(3);
    assert_eq!(turned.value("checkpoint_writable"), None);
    drop(turned);
    let db = root.path().join("positions.db").display().to_string();
    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned()), ("DB", db)]);
    turned.turn(3);
    assert_eq!(turned.value("checkpoint_writable"), Some(1.0));
}

/// Docker appends to it when the container is started again, or never.
#[test]
fn bytes_behind_the_last_line_feed_are_no_lag() {
    let root = DockerRoot::new();
    let mut torn = root.container('a', "torn");
    torn.line("whole");
    torn.raw(b"{\"log\":\"half");
    torn.write_config("torn", false);
    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned())]);
    turned.turn(3);
    assert_eq!(turned.value("lag_seconds"), Some(0.0));
    let lag = turned.value("lag_bytes");
    assert_eq!(lag, Some(0.0));
    // Whatever is written after it counts, and what is no record is said.
    torn.raw(b" a line\n");
    torn.line("next");
    turned.turn(3);
    let records = turned.value("records_total");
    assert_eq!(records, Some(2.0));
}

/// In the message about it.
const DELETED: &str = "was deleted; its unread lines are lost";

/// What `check` says, where there is no file of it, and where there are rotated ones.
const CHECKED: &str = "its log was deleted while it runs";
const AWAY: &str = "its log is not there while it runs: it was deleted, or renamed";

/// `check` names the container whose log was deleted, and so does a start with `options`, which
/// counts it.
fn started_without_its_log(
    root: &DockerRoot,
    socket: &str,
    found: &str,
    options: &[(&str, &str)],
) -> Collector {
    let (page, is_all_read) = check(root.path(), &["-o", &format!("Docker_Socket={socket}")]);
    let finding = format!("container web: {found}");
    assert!(!is_all_read && page.contains(&finding), "{page}");
    assert!(
        page.contains("[missing]\n     -> restart it (docker restart, podman restart)"),
        "{page}"
    );
    let collector = Collector::start(root.path(), options);
    collector.wait("a message", |collector| collector.has_logged(DELETED));
    collector.wait("the count", |collector| {
        collector.metric("containers_unread") == 1.0
    });
    assert_eq!(collector.figures().abandoned.generations, 1);
    collector
}

/// The container is started again: its new log is read, and no more is counted.
fn started_again(log: &mut LogWriter, collector: &Collector) {
    log.open_log();
    log.line("four");
    assert_eq!(collector.wait_texts(1), ["four"]);
    collector.wait("the count", |collector| {
        collector.metric("containers_unread") == 0.0
    });
    assert_eq!(collector.figures().abandoned.generations, 1);
}

/// dockerd writes on to the deleted file, which nobody can open.
#[test]
fn a_log_that_was_deleted_under_a_running_container_is_said_counted_and_checked() {
    for api in ["off", "no.sock"] {
        let root = DockerRoot::new();
        let socket = match api {
            "off" => "off".to_owned(),
            _ => root.path().join(api).display().to_string(),
        };
        let db = root.path().join("positions.db").display().to_string();
        let options = [
            ("DB", db.as_str()),
            ("Docker_Socket", &socket),
            ("Rescan_Interval", "100ms"),
        ];
        let mut log = root.container('a', "web");
        log.line("one");
        let collector = Collector::start(root.path(), &options);
        collector.wait_texts(1);
        fs::remove_file(&log.log).expect("its log");
        // Live, it is read on by its open descriptor.
        log.line("two");
        collector.wait_texts(2);
        assert_eq!(collector.figures().lost(), 0);
        collector.stop();

        log.line("three");
        let collector = started_without_its_log(&root, &socket, CHECKED, &options);
        started_again(&mut log, &collector);
    }
}

#[test]
fn a_log_that_was_deleted_beside_its_rotated_files_is_said_counted_and_checked() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let options = [
        ("DB", db.as_str()),
        ("Docker_Socket", "off"),
        ("Rescan_Interval", "100ms"),
    ];
    let mut log = root.container('a', "web");
    log.line("one");
    // Written well before the rotation, so that nothing of it counts as newer.
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(1);
    log.rotate(2, false);
    log.line("two");
    collector.wait_texts(2);
    collector.stop();
    fs::remove_file(&log.log).expect("its log");
    log.line("three");

    let collector = started_without_its_log(&root, "off", AWAY, &options);
    assert!(!collector.has_logged("was rotated away"));
    started_again(&mut log, &collector);
    collector.stop();

    // Without a checkpoint, what is left is read.
    fs::remove_file(&log.log).expect("its log");
    let collector = Collector::start(root.path(), &options[1..]);
    assert_eq!(collector.wait_texts(1), ["one"]);
    let said = "-json.log is not there: if it was renamed, that file is still written";
    collector.wait("a message", |collector| collector.has_logged(said));
}

/// Between the two renames of a rotation, the log has no current file.
#[test]
fn a_rotation_under_way_is_no_deletion() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("one");
    let rotated = format!("{}.1", log.log.display());
    fs::rename(&log.log, rotated).expect("a rotation");
    let mut turned = Turned::over(&root, &[("Docker_Socket", "off".to_owned())]);
    turned.turn(1);
    assert_eq!(turned.value("records_total"), Some(1.0));
    assert_eq!(turned.unread(), []);
    log.open_log();
    log.line("two");
    turned.turn(10);
    assert_eq!(turned.value("records_total"), Some(2.0));
    assert_eq!(turned.unread(), []);
    // A file that is open is read on, whatever its name.
    fs::rename(&log.log, log.dir.join("renamed")).expect("its log");
    turned.turn(10);
    assert_eq!(turned.unread(), []);
}

#[test]
fn the_message_names_the_file_of_the_driver_and_a_restarting_container_has_none() {
    let root = DockerRoot::new();
    set_driver(&root.created_container('a', "local"), "local");
    let restarting = root.created_container('b', "restarting");
    let config = r#"{"Name":"/restarting","State":{"Running":true,"Restarting":true}}"#;
    fs::write(restarting.dir.join("config.v2.json"), config).expect("the folder is ours");
    let options = [("Docker_Socket", "off"), ("Rescan_Interval", "100ms")];
    let collector = Collector::start(root.path(), &options);
    let said = "local-logs/container.log was deleted";
    collector.wait("a message", |collector| collector.has_logged(said));
    assert!(!collector.has_logged(&restarting.id));
    let (page, _) = check(root.path(), &["-o", "Docker_Socket=off"]);
    assert!(
        page.contains("container local: its log was deleted"),
        "{page}"
    );
    assert!(!page.contains("container restarting:"), "{page}");
}
