use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::delivery::checkpoint::{CheckpointStore, FirstStart};
use crate::delivery::queue::Progress;
use crate::runtime::id::ContainerId;
use crate::source::reader::*;
use crate::telemetry::account::wall_clock;
use crate::telemetry::metrics::SourceKind;

/// Docker containers below `root`, each with a line, and a reader of them that has not run a
/// turn; it starts at the end of what was written before.
fn reader_of(root: &std::path::Path, containers: usize) -> (Reader, Arc<Link>, Vec<PathBuf>) {
    let logs = (0..containers).map(|number| {
        let id = ContainerId::from_bytes([number as u8 + 1; 32]);
        let dir = root.join(format!("containers/{id}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(
            dir.join("config.v2.json"),
            format!("{{\"Name\":\"/c{number}\"}}"),
        )
        .unwrap();
        let log = dir.join(format!("{id}-json.log"));
        std::fs::write(&log, line("before")).unwrap();
        log
    });
    let logs = logs.collect();
    let link = Arc::new(Link::new(1 << 20, CheckpointStore::in_memory()).unwrap());
    let config = Config::from_lookup(|name| match name {
        "Runtime" => Some("docker".to_owned()),
        "Docker_Root" => Some(root.display().to_string()),
        "Docker_Socket" | "Read_From_Head" => Some("off".to_owned()),
        "Rescan_Interval" => Some("1h".to_owned()),
        _ => None,
    });
    let mut reader = Reader::new(
        Arc::clone(&link),
        config.unwrap(),
        FirstStart::Now(wall_clock()),
    );
    reader.begin();
    (reader, link, logs)
}

fn line(text: &str) -> String {
    format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.1Z\"}}\n")
}

fn append(log: &std::path::Path, text: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).open(log).unwrap();
    file.write_all(line(text).as_bytes()).unwrap();
}

/// Returns the number of records queued since the last call, and whether [`Progress::Started`]
/// was.
fn queued(link: &Link) -> (usize, bool) {
    let (mut records, mut has_started) = (0, false);
    while let Some(batch) = link.queue.pop() {
        records += batch.records;
        has_started |= matches!(batch.progress, Progress::Started);
    }
    (records, has_started)
}

/// Each look uses up the time budget of a turn.
#[test]
fn looks_that_take_long_are_spread_over_turns_and_logs_are_read_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 4);
    reader.fleet.look_time = Duration::ZERO;
    for turn in 0..logs.len() {
        let is_last = turn + 1 == logs.len();
        let pass = reader.turn(Instant::now());
        assert_eq!(reader.schedule.changed().len(), logs.len() - 1 - turn);
        assert!(is_last || pass == Pass::Behind, "{pass:?} after {turn}");
        let (_, has_started) = queued(&link);
        assert_eq!(
            has_started, is_last,
            "the start is over when each has its place"
        );
        // Existing lines are skipped; new lines are read at once from the containers that have
        // been looked into.
        logs.iter().for_each(|log| append(log, "after"));
        reader.turn_without_looks();
        assert_eq!(queued(&link), (turn + 1, false), "after {turn}");
    }
    // A container that keeps changing does not starve the others.
    reader.schedule = Schedule::default();
    (0..4).for_each(|key| reader.schedule.look_into(key));
    let mut looked: Vec<usize> = Vec::new();
    for _ in 0..4 {
        let before: HashSet<usize> = reader.schedule.changed().iter().copied().collect();
        reader.look_into_changed();
        let after: HashSet<usize> = reader.schedule.changed().iter().copied().collect();
        looked.extend(before.difference(&after));
        reader.schedule.look_into(0);
    }
    assert_eq!(looked, [0, 1, 2, 3]);
}

/// Nothing of its log is read meanwhile, and it has no turns.
#[test]
fn a_search_for_a_loop_in_a_log_that_falls_silent_comes_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 1);
    let id = ContainerId::from_bytes([1; 32]).to_string();
    let mut now = Instant::now();
    let mut turn = |reader: &mut Reader| {
        now += Duration::from_millis(200);
        reader.turn(now);
        queued(&link);
    };
    turn(&mut reader);
    let mut bursts = 0;
    while reader.fleet.suspected.is_empty() {
        bursts += 1;
        assert!(bursts < 50, "it is not suspected");
        for _ in 0..20 {
            append(&logs[0], &id.repeat(64));
        }
        turn(&mut reader);
    }
    (0..60).for_each(|_| turn(&mut reader));
    assert_eq!(reader.fleet.suspected, [0; 0]);
    assert!(reader.schedule.active().is_empty(), "all of it is read");
}

#[test]
fn a_container_that_is_gone_is_looked_into_in_the_same_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 3);
    reader.fleet.look_time = Duration::ZERO;
    reader.turn(Instant::now());
    assert_eq!(reader.schedule.changed().len(), logs.len() - 1);
    reader
        .fleet
        .containers
        .iter_mut()
        .for_each(|(_, container)| container.is_gone = true);
    reader.look_into_changed();
    assert!(reader.schedule.changed().is_empty());
    drop(link);
}

/// Runs turns until what was read is surveyed. Returns the time of the last one.
fn survey(reader: &mut Reader, now: Instant) -> Instant {
    (0..60).for_each(|_| _ = reader.turn(now));
    let later = now + Duration::from_secs(10);
    // One turn to see that a survey is due, and one for it.
    (0..2).for_each(|_| _ = reader.turn(later));
    later
}

fn unsettled(reader: &Reader) -> Vec<usize> {
    let all = reader.fleet.containers.unsettled(|_| false);
    all.map(|(key, _)| key).collect()
}

#[test]
fn a_rescan_asks_those_that_changed_since_the_last_survey() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 3);
    let (now, minute) = (Instant::now(), Duration::from_secs(60));
    let surveyed = survey(&mut reader, now);
    assert_eq!(unsettled(&reader), [0; 0]);
    let doubted = reader.fleet.containers.unsettled(|key| key == 1);
    assert_eq!(doubted.map(|(key, _)| key).collect::<Vec<_>>(), [1]);

    append(&logs[2], "one more");
    reader.turn(surveyed);
    assert_eq!(unsettled(&reader), [2], "it was read");
    for (key, container) in reader.fleet.containers.iter_mut() {
        container.is_remote |= key == 1;
    }
    assert_eq!(unsettled(&reader), [0, 1, 2]);
    survey(&mut reader, now + 2 * minute);
    assert_eq!(unsettled(&reader), [1], "it is known only from an API");
    drop(link);
}

#[test]
fn a_rescan_asks_those_whose_folders_are_not_watched() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, _link, _logs) = reader_of(dir.path(), 3);
    reader.services.watch = FileWatch::default();
    survey(&mut reader, Instant::now());
    assert_eq!(unsettled(&reader), [0, 1, 2]);
}

#[test]
fn a_change_whose_notice_was_lost_is_found_within_thirty_rescans() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 1);
    let begun = Instant::now();
    survey(&mut reader, begun);
    reader.services.watch = FileWatch::default();
    let config = dir.path().join("config");
    std::fs::write(&config, "{\"Name\":\"/renamed\"}").unwrap();
    std::fs::rename(config, logs[0].with_file_name("config.v2.json")).unwrap();
    let interval = reader.services.config.rescan_interval;
    for rescan in 1..=30 {
        reader.turn(begun + interval * rescan);
    }
    assert_eq!(link.accounts.all()[0].names().0, "renamed");
}

#[test]
fn a_key_that_is_used_again_is_counted_as_what_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, _logs) = reader_of(dir.path(), 3);
    let (now, minute) = (Instant::now(), Duration::from_secs(60));
    let counted = || link.metric_sources().survey.containers;
    survey(&mut reader, now);
    assert_eq!(counted()[SourceKind::File as usize], 3);
    let removed = reader.fleet.containers.remove(1).unwrap();
    survey(&mut reader, now + minute);
    assert_eq!(counted()[SourceKind::File as usize], 2);
    assert_eq!(reader.fleet.containers.insert(removed), 1);
    assert_eq!(unsettled(&reader), [1]);
    survey(&mut reader, now + 2 * minute);
    assert_eq!(counted()[SourceKind::File as usize], 3);
    assert_eq!(counted().iter().sum::<u64>(), 3);
}

#[test]
fn a_log_that_does_not_come_is_counted_once_it_is_late() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 2);
    std::fs::remove_file(&logs[1]).unwrap();
    for (file, text) in [
        (
            "config.v2.json",
            r#"{"Name":"/c1","State":{"Running":true}}"#,
        ),
        (
            "hostconfig.json",
            r#"{"LogConfig":{"Type":"json-file","Config":{}}}"#,
        ),
    ] {
        std::fs::write(logs[1].with_file_name(file), text).unwrap();
    }
    let now = Instant::now();
    let unread = || link.metric_sources().survey.unread.iter().sum::<u64>();
    (0..60).for_each(|_| _ = reader.turn(now));
    assert_eq!(unread(), 0);
    survey(&mut reader, now + Duration::from_secs(2));
    assert_eq!(unread(), 1);
}

impl Reader {
    /// Reads the logs as if there were no folders to look into.
    fn turn_without_looks(&mut self) {
        self.read_active(Instant::now());
    }

    fn look_into_changed(&mut self) {
        self.fleet.look_into_changed(&mut Turn {
            services: &mut self.services,
            schedule: &mut self.schedule,
            now: Instant::now(),
        });
    }
}

/// A Podman storage with the container `web`, whose label is in the database; and a reader of it.
struct PodmanBench {
    storage: tempfile::TempDir,
    id: ContainerId,
    reader: Reader,
    link: Arc<Link>,
}

impl PodmanBench {
    fn new(is_following: bool) -> PodmanBench {
        let storage = tempfile::tempdir().unwrap();
        let id = ContainerId::from_bytes([1; 32]);
        let containers = storage.path().join("overlay-containers");
        let userdata = containers.join(id.to_string()).join("userdata");
        std::fs::create_dir_all(&userdata).unwrap();
        std::fs::write(userdata.join("config.json"), "{}").unwrap();
        let line = "2023-11-14T22:13:20.1+00:00 stdout F one\n";
        std::fs::write(userdata.join("ctr.log"), line).unwrap();
        let database = rusqlite::Connection::open(storage.path().join("db.sql")).unwrap();
        let table = "CREATE TABLE ContainerConfig(ID TEXT, Name TEXT, PodID TEXT, JSON TEXT)";
        database.execute(table, []).unwrap();
        let row = (id.to_string(), r#"{"name":"web","labels":{"team":"a"}}"#);
        let insert = "INSERT INTO ContainerConfig VALUES (?1, 'web', NULL, ?2)";
        database.execute(insert, row).unwrap();
        let link = Arc::new(Link::new(1 << 20, CheckpointStore::in_memory()).unwrap());
        let config = Config::from_lookup(|name| match name {
            "Runtime" => Some("podman".to_owned()),
            "Podman_Root" => Some(storage.path().display().to_string()),
            "Podman_Socket" => Some("off".to_owned()),
            "Include" => Some("label=team=a".to_owned()),
            _ => None,
        });
        let mut config = config.unwrap();
        config.follow = is_following;
        let reader = Reader::new(Arc::clone(&link), config, FirstStart::Now(wall_clock()));
        let mut bench = PodmanBench {
            storage,
            id,
            reader,
            link,
        };
        bench.rename("web");
        bench.reader.begin();
        bench
    }

    /// Replaces the list, as Podman does.
    fn rename(&mut self, name: &str) {
        let folder = self.storage.path().join("overlay-containers");
        let list = format!(r#"[{{"id":"{}","names":["{name}"]}}]"#, self.id);
        std::fs::write(folder.join("next"), list).unwrap();
        std::fs::rename(folder.join("next"), folder.join("containers.json")).unwrap();
    }
}

/// Podman is in the middle of a transaction, and a rule needs the label that is in its database.
#[test]
fn a_run_without_follow_waits_for_a_database_that_is_being_written() {
    let mut bench = PodmanBench::new(false);
    let journal = bench.storage.path().join("db.sql-journal");
    std::fs::write(&journal, "unfinished").unwrap();
    let pass = bench.reader.turn(Instant::now());
    assert!(!bench.reader.has_read_all(pass), "it waits");
    assert_eq!(queued(&bench.link).0, 0);
    std::fs::remove_file(&journal).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let pass = bench.reader.turn(Instant::now());
        if bench.reader.has_read_all(pass) {
            break;
        }
        assert!(Instant::now() < end, "it still waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(queued(&bench.link).0, 1);
}

/// Without a notice, as on a network file system.
#[test]
fn a_container_of_podmans_has_its_new_name_after_one_rescan() {
    let mut bench = PodmanBench::new(true);
    let begun = Instant::now();
    bench.reader.services.watch = FileWatch::default();
    bench.reader.turn(begun);
    let name = |bench: &PodmanBench| bench.link.accounts.all()[0].names().0;
    assert_eq!(name(&bench), "web");
    for (rescan, new) in ["shop", "store"].into_iter().enumerate() {
        bench.rename(new);
        let interval = bench.reader.services.config.rescan_interval;
        bench.reader.turn(begun + interval * (rescan as u32 + 1));
        assert_eq!(name(&bench), new);
    }
}
