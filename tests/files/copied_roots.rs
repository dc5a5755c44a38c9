//! The same container in several folders: a root was copied, or userns-remap left the containers of
//! before where they were. The folder whose log is written is read, and the other one is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::tail_containers::check;

use super::hard_cases::looked;

const QUICK: &[(&str, &str)] = &[("Rescan_Interval", "50ms"), ("Docker_Socket", "off")];
const SAID: &str = "containers are in several folders (1; the first is web (aaaaaaaaaaaa)";

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    lines(range).iter().for_each(|line| log.line(line));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder above")).expect("folders");
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

/// The daemon goes on in the folder `containers`.
fn goes_on(log: &mut LogWriter, containers: &Path) {
    log.dir = containers.join(&log.id);
    log.log = log.dir.join(log.log.file_name().expect("a name"));
    log.open_log();
}

/// A root, and where its copy is.
struct Two {
    root: DockerRoot,
    copy: PathBuf,
}

impl Two {
    fn new(is_remapped: bool) -> Two {
        let root = DockerRoot::at(&tempfile::tempdir().expect("a folder").keep().join("docker"));
        let copy = match is_remapped {
            true => root.path().join("165536.165536/containers"),
            false => root.path().with_file_name("new").join("containers"),
        };
        Two { root, copy }
    }

    fn containers(&self) -> PathBuf {
        self.root.path().join("containers")
    }

    /// `Docker_Root`.
    fn roots(&self) -> String {
        let copy = self.copy.parent().expect("a root");
        format!("{},{}", self.root.path().display(), copy.display())
    }

    fn start(&self, more: &[(&str, &str)]) -> Collector {
        let roots = self.roots();
        let options = [QUICK, &[("Docker_Root", &*roots)], more].concat();
        Collector::start(self.root.path(), &options)
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.root.path().parent().expect("its folder"));
    }
}

#[test]
fn of_two_folders_of_a_container_the_one_that_is_written_is_read_and_the_other_is_said() {
    for is_remapped in [false, true] {
        let two = Two::new(is_remapped);
        let mut log = two.root.container('a', "web");
        write(&mut log, 0..10);
        copy(&two.containers(), &two.copy);
        let before = two.containers();
        goes_on(&mut log, &two.copy);
        write(&mut log, 10..20);
        let collector = two.start(&[]);
        assert_eq!(collector.wait_texts(20), lines(0..20));
        collector.wait("a warning", |collector| collector.has_logged(SAID));
        let both = format!("in {} and in {}", two.copy.display(), before.display());
        assert!(collector.has_logged(&both), "{:?}", collector.log());
        write(&mut log, 20..30);
        assert_eq!(collector.wait_texts(30), lines(0..30));
        assert_eq!(collector.times_logged(SAID), 1);
        let (page, is_all_read) = check(
            two.root.path(),
            &["-o", &format!("Docker_Root={}", two.roots())],
        );
        assert!(is_all_read, "{page}");
        let read = format!(
            "it is in several folders: the one in {}, whose log was written last, is read",
            two.copy.display()
        );
        assert!(page.contains(&read), "{page}");
        assert!(page.contains(&before.display().to_string()), "{page}");
    }
}

#[test]
fn a_daemon_that_goes_on_in_a_copy_of_its_root_is_followed_there_and_back() {
    for is_remapped in [false, true] {
        let two = Two::new(is_remapped);
        let mut log = two.root.container('a', "web");
        write(&mut log, 0..10);
        let collector = two.start(&[]);
        collector.wait_texts(10);
        copy(&two.containers(), &two.copy);
        // It wrote this after the copy was made.
        write(&mut log, 10..12);
        collector.wait_texts(12);
        collector.wait("a warning", |collector| collector.has_logged(SAID));
        goes_on(&mut log, &two.copy);
        write(&mut log, 12..20);
        assert_eq!(collector.wait_texts(20), lines(0..20));
        log.rotate(3, false);
        write(&mut log, 20..30);
        assert_eq!(collector.wait_texts(30), lines(0..30));
        // The administrator goes back.
        goes_on(&mut log, &two.containers());
        write(&mut log, 30..40);
        assert_eq!(collector.wait_texts(40), lines(0..40));
        // And removes one: what is read is not lost with it.
        fs::remove_dir_all(&two.copy).expect("a removal");
        write(&mut log, 40..50);
        assert_eq!(collector.wait_texts(50), lines(0..50));
        assert_eq!((collector.figures().lost(), collector.count()), (0, 50));
    }
}

#[test]
fn the_folder_that_is_read_is_removed_and_its_copy_is_read_on() {
    let two = Two::new(false);
    let mut log = two.root.container('a', "web");
    write(&mut log, 0..10);
    copy(&two.containers(), &two.copy);
    let collector = two.start(&[]);
    collector.wait_texts(10);
    fs::remove_dir_all(two.containers().join(&log.id)).expect("a removal");
    goes_on(&mut log, &two.copy);
    write(&mut log, 10..20);
    assert_eq!(collector.wait_texts(20), lines(0..20));
}

/// The other one has not all of what was read, and nothing new.
#[test]
fn the_folder_that_was_read_whole_is_removed_and_none_of_it_is_lost() {
    let two = Two::new(false);
    let db = two.root.path().join("db");
    let db = [("DB", db.to_str().expect("text"))];
    let mut log = two.root.container('a', "web");
    write(&mut log, 0..10);
    copy(&two.containers(), &two.copy);
    let collector = two.start(&db);
    write(&mut log, 10..20);
    collector.wait_texts(20);
    fs::remove_dir_all(two.containers().join(&log.id)).expect("a removal");
    let roots = [two.root.path(), two.copy.parent().expect("a root")];
    looked(&DockerRoot::at(roots[0]), &collector);
    looked(&DockerRoot::at(roots[1]), &collector);
    assert_eq!(collector.figures().losses(), None);
    collector.stop();
    goes_on(&mut log, &two.copy);
    for lines_since in [0, 5] {
        write(&mut log, 20..20 + lines_since);
        let collector = two.start(&db);
        looked(&DockerRoot::at(roots[1]), &collector);
        assert_eq!(
            collector.wait_texts(lines_since),
            lines(20..20 + lines_since)
        );
        assert_eq!(collector.figures().losses(), None);
        collector.stop();
    }
}

#[test]
fn after_a_restart_the_folder_that_was_written_meanwhile_is_read_on() {
    let two = Two::new(false);
    let db = two.root.path().join("db");
    let db = [("DB", db.to_str().expect("text"))];
    let mut log = two.root.container('a', "web");
    write(&mut log, 0..10);
    let collector = two.start(&db);
    collector.wait_texts(10);
    collector.stop();
    copy(&two.containers(), &two.copy);
    goes_on(&mut log, &two.copy);
    write(&mut log, 10..20);
    let collector = two.start(&db);
    assert_eq!(collector.wait_texts(10), lines(10..20));
    collector.wait("a warning", |collector| collector.has_logged(SAID));
    assert_eq!(collector.count(), 10);
}

/// Two daemons, each over a root of its own: one log cannot be both.
#[test]
fn a_container_that_is_written_in_two_folders_is_said_and_counted() {
    let two = Two::new(false);
    let mut log = two.root.container('a', "web");
    write(&mut log, 0..10);
    copy(&two.containers(), &two.copy);
    let other = two
        .copy
        .join(&log.id)
        .join(log.log.file_name().expect("a name"));
    let mut other = fs::OpenOptions::new()
        .append(true)
        .open(other)
        .expect("a log");
    let collector = two.start(&[]);
    collector.wait_texts(10);
    let mut number = 10;
    collector.wait("a warning and a count", |collector| {
        use std::io::Write;
        log.line(&format!("line {number}"));
        number += 1;
        writeln!(
            other,
            "{{\"log\":\"other\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.9Z\"}}"
        )
        .expect("a line");
        collector.has_logged("web (aaaaaaaaaaaa) is written in two folders at once")
            && collector.metric("containers_unread") == 1.0
    });
}

/// Another path to the same folder is no copy.
#[test]
fn a_root_that_is_given_twice_is_no_copy() {
    let root = DockerRoot::new();
    root.container('a', "web").line("1");
    let link = root.path().join("link");
    std::os::unix::fs::symlink(root.path(), &link).expect("a link");
    let roots = format!("{},{}", root.path().display(), link.display());
    let options = [QUICK, &[("Docker_Root", &*roots)]].concat();
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), ["1"]);
    root.container('b', "other").line("2");
    collector.wait_texts(2);
    assert!(
        !collector.has_logged("several folders"),
        "{:?}",
        collector.log()
    );
}
