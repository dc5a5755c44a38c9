use crate::delivery::checkpoint::CheckpointStore;
use crate::source::reader::*;

/// Containers of Docker's below `root`, each with a line, and a reader of them that was not
/// turned yet; it takes what was written before for read.
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
    let mut reader = Reader::new(Arc::clone(&link), config.unwrap(), true);
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

/// How many records were queued since the last call, and whether it is known that all was
/// looked at.
fn queued(link: &Link) -> (usize, bool) {
    let (mut records, mut has_started) = (0, false);
    while let Some(batch) = link.queue.pop() {
        records += batch.records;
        has_started |= matches!(batch.progress, Progress::Started);
    }
    (records, has_started)
}

/// Each look takes all the time there is for looks in a turn.
#[test]
fn looks_that_take_long_are_spread_over_turns_and_logs_are_read_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 4);
    reader.look_time = Duration::ZERO;
    for turn in 0..logs.len() {
        let is_last = turn + 1 == logs.len();
        let pass = reader.turn(Instant::now());
        assert_eq!(reader.changed.len(), logs.len() - 1 - turn);
        assert!(is_last || pass == Pass::Behind, "{pass:?} after {turn}");
        let (_, has_started) = queued(&link);
        assert_eq!(
            has_started, is_last,
            "the start is over when each has its place"
        );
        // What was there is passed over; what comes now is read at once, of those that have
        // their place.
        logs.iter().for_each(|log| append(log, "after"));
        reader.turn_without_looks();
        assert_eq!(queued(&link), (turn + 1, false), "after {turn}");
    }
    // Who changes all the time does not keep the others from their turn.
    reader.next_look = 0;
    reader.changed = (0..4).collect();
    let mut looked: Vec<usize> = Vec::new();
    for _ in 0..4 {
        let before: HashSet<usize> = reader.changed.iter().copied().collect();
        reader.look_into_changed(Instant::now());
        let after: HashSet<usize> = reader.changed.iter().copied().collect();
        looked.extend(before.difference(&after));
        reader.changed.push(0);
    }
    assert_eq!(looked, [0, 1, 2, 3]);
}

#[test]
fn a_container_that_is_gone_is_looked_into_in_the_same_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, link, logs) = reader_of(dir.path(), 3);
    reader.look_time = Duration::ZERO;
    reader.turn(Instant::now());
    assert_eq!(reader.changed.len(), logs.len() - 1);
    reader
        .containers
        .iter_mut()
        .for_each(|(_, container)| container.is_gone = true);
    reader.look_into_changed(Instant::now());
    assert!(reader.changed.is_empty());
    drop(link);
}

impl Reader {
    /// A pass over the logs, as if nothing more were to be looked into.
    fn turn_without_looks(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        self.read_active(Instant::now());
        self.changed = changed;
    }
}
