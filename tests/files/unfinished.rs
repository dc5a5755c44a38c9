//! Lines whose end is missing or comes late, and containers that are removed before the end of
//! their log was read.

use std::fs;
use std::path::PathBuf;

use test_kit::collector::Collector;
use test_kit::docker_root::{pieces, DockerRoot};
use test_kit::pod_root::PodRoot;

/// Docker before 18.06 gives each piece the time at which it was read.
#[test]
fn a_line_of_40_000_bytes_whose_pieces_have_times_of_their_own_is_one_record() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    let (long, exact) = ("x".repeat(40_000), "y".repeat(2 * 16_384));
    log.line("before");
    for text in [&long, &exact] {
        for piece in pieces(text) {
            log.entry("stdout", &piece);
            log.entry("stderr", "between\n");
        }
    }
    log.line("after");
    collector.wait_texts(10);
    let texts = collector.texts_of(&log.id, "stdout");
    assert_eq!(texts, ["before", &long, &exact, "after"]);
    assert_eq!(collector.texts_of(&log.id, "stderr").len(), 6);
}

#[test]
fn a_line_whose_pieces_have_times_of_their_own_is_whole_after_a_restart_in_its_midst() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let start = || Collector::start(root.path(), &[("DB", &db)]);
    let mut log = root.container('a', "web");
    let long = "x".repeat(40_000);
    let pieces = pieces(&long);
    log.line("before");
    log.entry("stdout", &pieces[0]);
    let collector = start();
    collector.wait("what is before it, and the piece", |collector| {
        collector.figures().open > 0 && collector.count() == 1
    });
    drop(collector.stop());
    log.entry("stdout", &pieces[1]);
    log.entry("stdout", &pieces[2]);
    let collector = start();
    assert_eq!(collector.wait_texts(1), [long]);
}

/// The container was killed while a line was written, and started again by its restart policy.
#[test]
fn a_full_piece_at_the_end_of_a_run_is_not_glued_to_the_next_run() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    let full = "x".repeat(16_384);
    log.piece("stdout", &full, "2023-11-14T22:13:20.0Z");
    log.piece("stdout", "start\n", "2023-11-14T22:13:20.1Z");
    assert_eq!(collector.wait_texts(2), [full, "start".to_owned()]);
}

/// Podman keeps one file for all runs of a container.
struct PodmanLog {
    root: tempfile::TempDir,
    log: PathBuf,
}

impl PodmanLog {
    fn new() -> PodmanLog {
        let root = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        let containers = root.path().join("storage/overlay-containers");
        let userdata = containers.join(&id).join("userdata");
        fs::create_dir_all(&userdata).unwrap();
        let listed = format!(r#"[{{"id":"{id}","names":["web"]}}]"#);
        fs::write(containers.join("containers.json"), listed).unwrap();
        let log = userdata.join("ctr.log");
        PodmanLog { root, log }
    }

    fn start(&self) -> Collector {
        Collector::start(self.root.path(), &[("Runtime", "podman")])
    }
}

#[test]
fn a_tagged_piece_without_an_end_is_not_glued_to_a_line_an_hour_later() {
    let podman = PodmanLog::new();
    let entries = [
        "2023-11-14T22:13:20.0+00:00 stdout F first",
        "2023-11-14T22:13:21.0+00:00 stdout P cut off",
        "2023-11-14T23:13:21.0+00:00 stdout F next run",
        "2023-11-14T23:13:22.0+00:00 stdout P slow ",
        "2023-11-14T23:13:51.0+00:00 stdout F writer",
    ];
    fs::write(&podman.log, entries.join("\n") + "\n").unwrap();
    let collector = podman.start();
    let texts = collector.wait_texts(4);
    assert_eq!(texts, ["first", "cut off", "next run", "slow writer"]);
}

#[test]
fn a_tagged_piece_without_an_end_ends_with_its_run_however_soon_the_next_one_begins() {
    let pods = PodRoot::new();
    let mut log = pods.container("shop", "cart", "web");
    log.entry("stdout", "P", "cut off");
    log.restart();
    log.line("next run");
    let logs = pods.pods().display().to_string();
    let options = [("Runtime", "cri"), ("Pod_Logs", &*logs)];
    let collector = Collector::start(pods.path(), &options);
    assert_eq!(collector.wait_texts(2), ["cut off", "next run"]);
}

#[test]
fn containers_that_were_removed_while_nothing_was_read_are_counted_and_named() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let start = || Collector::start(root.path(), &[("DB", &db)]);
    let (mut kept, mut lost) = (root.container('a', "web"), root.container('b', "job"));
    let mut finished = root.container('c', "done");
    for log in [&mut kept, &mut lost, &mut finished] {
        log.line("line");
    }
    let collector = start();
    collector.wait_texts(3);
    // This one is read to its end, and its removal seen.
    finished.remove();
    collector.wait("its end", |collector| {
        collector.has_logged("container done") && collector.has_logged("is gone")
    });
    let (_, messages) = collector.stop();
    assert!(messages
        .iter()
        .any(|(_, text)| text.contains("nothing lost")));
    lost.line("unread");
    lost.remove();
    let collector = start();
    kept.line("on");
    collector.wait_texts(1);
    let named = "containers that were read before are missing at this start (1): bbbbbbbbbbbb;";
    assert!(collector.has_logged(named), "{:#?}", collector.log());
    assert_eq!(collector.figures().abandoned.generations, 1);
    let (_, messages) = collector.stop();
    assert!(messages
        .iter()
        .all(|(_, text)| !text.contains("nothing lost")));
    // It is said once.
    let collector = start();
    kept.line("and on");
    collector.wait_texts(1);
    assert!(!collector.has_logged("missing at this start"));
}

#[test]
fn a_pod_that_was_removed_with_an_open_line_while_nothing_was_read_is_counted() {
    let pods = PodRoot::new();
    let mut log = pods.container("shop", "cart", "web");
    let logs = pods.pods().display().to_string();
    let db = pods.path().join("positions.db").display().to_string();
    let options = [("Runtime", "cri"), ("Pod_Logs", &*logs), ("DB", &*db)];
    let start = || Collector::start(pods.path(), &options);
    log.line("whole");
    log.entry("stdout", "P", "open");
    let collector = start();
    collector.wait("the open line", |collector| collector.figures().open > 0);
    collector.wait_texts(1);
    drop(collector.stop());
    fs::remove_dir_all(log.dir.parent().unwrap()).unwrap();
    let collector = start();
    collector.wait("the message", |collector| {
        collector.has_logged("are missing at this start (1)")
    });
    assert_eq!(collector.figures().abandoned.generations, 1);
}
