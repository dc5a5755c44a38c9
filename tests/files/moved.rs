//! The folder of a root, of a container or the file of a log is replaced while we
//! run, or while we are away: what was read is not read again, what is new is.

use std::fs::{self, File};
use std::os::unix::fs::{lchown, symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use test_kit::collector::Collector;
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::skip;
use test_kit::tail_containers::check;

use super::hard_cases::{looked, stalled};

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    numbers(range).iter().for_each(|line| log.line(line));
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

/// dockerd is started again over the root at this path.
fn follows(log: &mut LogWriter, data_root: &Path) {
    log.dir = data_root.join("containers").join(&log.id);
    log.log = log.dir.join(log.log.file_name().expect("a name"));
    log.open_log();
}

/// A root behind a path that can be made to lead elsewhere.
struct Moving {
    _root: DockerRoot,
    base: PathBuf,
}

impl Moving {
    fn new(root: DockerRoot) -> Moving {
        let base = root.path().join("base");
        fs::create_dir_all(base.join("docker")).expect("a folder");
        fs::rename(
            root.path().join("containers"),
            base.join("docker/containers"),
        )
        .expect("a move");
        Moving { _root: root, base }
    }

    fn docker(&self) -> PathBuf {
        self.base.join("docker")
    }

    /// Moves the data root as an administrator does to another disk.
    fn to_other_disk(&self) {
        copy(&self.docker(), &self.base.join("mnt"));
        fs::rename(self.docker(), self.base.join("docker.old")).expect("a move");
        symlink("mnt", self.docker()).expect("a link");
    }

    /// Mounts a disk over the root: the path is the same, the folders are others.
    fn mounts_over(&self) {
        let containers = self.docker().join("containers");
        let below = self.base.join("below");
        copy(&containers, &self.base.join("disk"));
        fs::rename(&containers, below).expect("a move");
        fs::rename(self.base.join("disk"), containers).expect("a move");
    }
}

/// Entries of this year are later than the files that hold them.
const AFTER: u32 = 2098;

const QUICK: &[(&str, &str)] = &[("Rescan_Interval", "50ms"), ("Docker_Socket", "off")];

/// Containers that come and go are all found, so the root is watched where it is.
fn assert_short_lived_are_read(collector: &Collector, data_root: &Path, known: usize) {
    let seen = collector.count();
    for number in 0..20 {
        let id = format!("{number:02}{}", "b".repeat(62));
        let dir = data_root.join("containers").join(&id);
        fs::create_dir(&dir).expect("a folder");
        let log = record("stdout", "short\n", "2023-11-14T22:13:20.5Z");
        fs::write(dir.join(format!("{id}-json.log")), log).expect("a log");
        fs::write(dir.join("config.v2.json"), "{\"Name\":\"/short\"}").expect("a file");
        collector.wait("a container that lives a moment", |collector| {
            collector.count() > seen + number
        });
        fs::remove_dir_all(dir).expect("it is removed");
    }
    collector.wait("all of them to be gone", |collector| {
        collector.accounts().len() == known
    });
}

/// The collector, if it goes on, and how many of its `seen` lines another one will not have.
fn left(collector: Collector, is_live: bool, seen: usize) -> (usize, Option<Collector>) {
    match is_live {
        true => (0, Some(collector)),
        false => {
            collector.stop();
            (seen, None)
        }
    }
}

#[test]
fn a_data_root_that_moves_to_another_disk_is_read_on_without_a_repeat() {
    for is_mounted_over in [false, true] {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        write(&mut log, 0..100);
        log.rotate(3, false);
        write(&mut log, 100..200);
        let idle = root.container('c', "idle");
        let moving = Moving::new(root);
        let collector = Collector::start(&moving.docker(), QUICK);
        collector.wait_texts(200);
        match is_mounted_over {
            true => moving.mounts_over(),
            false => moving.to_other_disk(),
        }
        follows(&mut log, &moving.docker());
        write(&mut log, 200..300);
        assert_eq!(collector.wait_texts(300), numbers(0..300));
        collector.wait("a message", |collector| {
            collector.has_logged("is now a different folder")
        });
        log.rotate(3, true);
        write(&mut log, 300..350);
        assert_eq!(collector.wait_texts(350), numbers(0..350));
        assert_short_lived_are_read(&collector, &moving.docker(), 2);
        let mut idle = idle;
        follows(&mut idle, &moving.docker());
        idle.line("line idle");
        let texts = collector.wait_texts(371);
        assert_eq!(texts.last().expect("a record"), "line idle");
        assert_eq!(collector.figures().lost(), 0);
    }
}

#[test]
fn a_symlinked_root_that_is_flipped_is_followed_though_the_old_one_stays() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let mut other = root.container('b', "other");
    write(&mut log, 0..10);
    write(&mut other, 0..10);
    let base = root.path().to_owned();
    let (one, two, link) = (base.join("one"), base.join("two"), base.join("link"));
    fs::create_dir(&one).expect("a folder");
    fs::rename(base.join("containers"), one.join("containers")).expect("a move");
    symlink(&one, &link).expect("a link");
    let collector = Collector::start(&link, QUICK);
    collector.wait_texts(20);
    copy(&one, &two);
    // Of one container there is no copy: it is read where it is until it is deleted there.
    fs::remove_dir_all(two.join("containers").join(&other.id)).expect("no copy");
    symlink(&two, base.join("new")).expect("a link");
    fs::rename(base.join("new"), &link).expect("a flip");
    follows(&mut log, &two);
    write(&mut log, 10..20);
    collector.wait("the lines after it", |collector| {
        collector.texts_of(&log.id, "stdout") == numbers(0..20)
    });
    write(&mut other, 10..20);
    collector.wait("the lines in the old place", |collector| {
        collector.texts_of(&other.id, "stdout") == numbers(0..20)
    });
    fs::remove_dir_all(one.join("containers").join(&other.id)).expect("its removal");
    collector.wait("one container", |collector| collector.accounts().len() == 1);
    assert_short_lived_are_read(&collector, &link, 1);
    assert_eq!(collector.count(), 60);
    // One that was copied is gone when its copy is deleted.
    log.remove();
    collector.wait("none", |collector| collector.accounts().is_empty());
}

/// What may happen to a log under its name, and what is written after.
fn replaced(log: &LogWriter, script: &str) {
    let status = Command::new("sh")
        .arg("-ec")
        .arg(script)
        .current_dir(&log.dir)
        .env("L", log.log.file_name().expect("a name"))
        .status();
    assert!(status.expect("sh").success(), "{script}");
}

/// Replaces it while the collector runs, or while it is away.
fn replaced_under(
    collector: Collector,
    is_live: bool,
    log: &LogWriter,
    script: &str,
    start: impl FnOnce() -> Collector,
) -> Collector {
    if is_live {
        replaced(log, script);
        return collector;
    }
    collector.stop();
    replaced(log, script);
    start()
}

#[test]
fn a_log_that_is_replaced_by_its_copy_is_read_on_live_and_after_a_restart() {
    for script in ["cp -a $L y; mv y $L", "sed -i s/nothing/fits/ $L"] {
        for is_live in [true, false] {
            let root = DockerRoot::new();
            let db = root.path().join("positions.db").display().to_string();
            let options = [QUICK, &[("DB", db.as_str())]].concat();
            let mut log = root.container('a', "web");
            write(&mut log, 0..50);
            let collector = Collector::start(root.path(), &options);
            assert_eq!(collector.wait_texts(50), numbers(0..50));
            let collector = replaced_under(collector, is_live, &log, script, || {
                Collector::start(root.path(), &options)
            });
            let mut first = 50;
            if is_live {
                // dockerd has the old file open until the container is started again.
                write(&mut log, 50..60);
                assert_eq!(collector.wait_texts(60), numbers(0..60), "{script}");
                first = 60;
            }
            log.open_log();
            write(&mut log, first..first + 30);
            let expected = match is_live {
                true => numbers(0..90),
                false => numbers(50..80),
            };
            assert_eq!(collector.wait_texts(expected.len()), expected, "{script}");
            write(&mut log, first + 30..first + 31);
            let texts = collector.wait_texts(expected.len() + 1);
            assert_eq!(texts.len(), expected.len() + 1, "{script}");
            assert_eq!(collector.figures().lost(), 0, "{script}");
        }
    }
}

#[test]
fn a_backup_that_is_restored_repeats_nothing_live_and_after_a_restart() {
    for is_live in [true, false] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        let options = [QUICK, &[("DB", db.as_str())]].concat();
        let mut log = root.container('a', "web");
        write(&mut log, 0..30);
        replaced(&log, "cp -a $L backup");
        write(&mut log, 30..50);
        let collector = Collector::start(root.path(), &options);
        assert_eq!(collector.wait_texts(50), numbers(0..50));
        let collector = replaced_under(collector, is_live, &log, "mv backup $L", || {
            Collector::start(root.path(), &options)
        });
        log.open_log();
        write(&mut log, 50..80);
        let (first, count) = if is_live { (0, 80) } else { (50, 30) };
        assert_eq!(collector.wait_texts(count), numbers(first..80));
    }
}

/// `cp backup LOG` keeps the file: it is truncated and written anew.
#[test]
fn a_backup_that_is_copied_over_the_log_repeats_nothing_live_and_after_a_restart() {
    for is_live in [true, false] {
        for (kept, written) in [(30, 3), (30, 100), (2, 1)] {
            let root = DockerRoot::new();
            let db = root.path().join("positions.db").display().to_string();
            let options = [QUICK, &[("DB", db.as_str())]].concat();
            let mut log = root.container('a', "web");
            write(&mut log, 0..kept);
            let backup = fs::read(&log.log).expect("the log");
            write(&mut log, kept..50);
            let collector = Collector::start(root.path(), &options);
            assert_eq!(collector.wait_texts(50), numbers(0..50));
            let (first, collector) = left(collector, is_live, 50);
            fs::write(&log.log, &backup).expect("it is ours");
            write(&mut log, 50..50 + written);
            let collector = collector.unwrap_or_else(|| Collector::start(root.path(), &options));
            let texts = collector.wait_texts(50 - first + written);
            assert_eq!(texts, numbers(first..50 + written), "{kept} {written}");
            write(&mut log, 50 + written..51 + written);
            let texts = collector.wait_texts(51 - first + written);
            assert_eq!(texts, numbers(first..51 + written), "{kept} {written}");
            collector.stop();
            write(&mut log, 51 + written..52 + written);
            let collector = Collector::start(root.path(), &options);
            let last = numbers(51 + written..52 + written);
            assert_eq!(collector.wait_texts(1), last, "{kept} {written}");
        }
    }
}

/// With its rotated files, over those that are there or in their place. The log of now is then an
/// earlier file.
#[test]
fn a_folder_that_is_restored_from_a_backup_repeats_nothing_live_and_after_a_restart() {
    for (is_live, is_new, is_packed) in [
        (true, false, false),
        (false, false, false),
        (false, true, false),
        (false, false, true),
        (false, true, true),
    ] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        let options = [QUICK, &[("DB", db.as_str())]].concat();
        let mut log = root.container('a', "web");
        write(&mut log, 0..30);
        log.rotate(4, is_packed);
        write(&mut log, 30..60);
        let backup = root.path().join("backup");
        copy(&log.dir, &backup);
        write(&mut log, 60..65);
        log.rotate(4, is_packed);
        write(&mut log, 65..74);
        let collector = Collector::start(root.path(), &options);
        assert_eq!(collector.wait_texts(74), numbers(0..74));
        let (first, collector) = left(collector, is_live, 74);
        if is_new {
            fs::remove_dir_all(&log.dir).expect("it is ours");
            copy(&backup, &log.dir);
        } else {
            let mut copied = Command::new("cp");
            let copied = copied
                .arg("-r")
                .args([&backup.join("."), &log.dir])
                .status();
            assert!(copied.expect("cp").success());
        }
        log.open_log();
        write(&mut log, 74..78);
        let collector = collector.unwrap_or_else(|| Collector::start(root.path(), &options));
        let texts = collector.wait_texts(78 - first);
        assert_eq!(texts, numbers(first..78), "{is_live} {is_new} {is_packed}");
        write(&mut log, 78..79);
        let texts = collector.wait_texts(79 - first);
        assert_eq!(texts, numbers(first..79), "{is_live} {is_new} {is_packed}");
    }
}

/// A log that is truncated and then written by `write_on`, lines 50 to 79, after those before were read.
fn truncated_and_read_whole(write_on: impl Fn(&mut LogWriter)) {
    for is_live in [true, false] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        let options = [QUICK, &[("DB", db.as_str())]].concat();
        let mut log = root.container('a', "web");
        log.set_year(AFTER);
        write(&mut log, 0..50);
        let collector = Collector::start(root.path(), &options);
        assert_eq!(collector.wait_texts(50), numbers(0..50));
        let (first, collector) = left(collector, is_live, 50);
        fs::write(&log.log, "").expect("it is ours");
        write_on(&mut log);
        let collector = collector.unwrap_or_else(|| Collector::start(root.path(), &options));
        assert_eq!(collector.wait_texts(80 - first), numbers(first..80));
    }
}

/// A clock that was set back by an hour, of which the file that was truncated is older: what is written
/// has its times, and is written then.
#[test]
fn a_log_that_is_truncated_long_after_it_was_made_is_read_whole_though_the_clock_was_set_back() {
    truncated_and_read_whole(|log| {
        let hour = Duration::from_secs(3600);
        for line in 50..80 {
            let time = jiff::Timestamp::try_from(SystemTime::now() - hour).expect("a time");
            log.piece("stdout", &format!("line {line}\n"), &format!("{time:.9}"));
        }
        let written = File::options().append(true).open(&log.log);
        let written = written.expect("it is ours");
        let now = SystemTime::now() - hour;
        written.set_modified(now).expect("it is ours");
    });
}

/// A clock that was set back makes new entries earlier than those that were read.
#[test]
fn a_log_that_is_truncated_after_the_clock_was_set_back_is_read_whole() {
    truncated_and_read_whole(|log| {
        log.set_year(AFTER - 1);
        write(log, 50..80);
    });
}

/// `rsync` and `tar` make each file anew, under its name; or somebody puts all of them into one. What
/// the files begin with tells, whether it is older than they are or not.
#[test]
fn files_of_a_log_that_are_made_anew_while_it_is_read_repeat_nothing() {
    let by_rsync = "for f in ../../backup/*json.log*; do cp $f .x; mv .x ${f##*/}; done";
    let by_tar = "tar -C ../../backup -cf - . | tar -xf -";
    let joined = "cat $L.2 $L.1 $L > x; mv x $L; rm $L.1 $L.2";
    for (script, is_packed) in [
        (by_rsync, false),
        (by_rsync, true),
        (by_tar, false),
        (by_tar, true),
        (joined, false),
    ] {
        for year in [2023, AFTER] {
            let root = DockerRoot::new();
            let db = root.path().join("positions.db").display().to_string();
            let options = [QUICK, &[("DB", db.as_str())]].concat();
            let mut log = root.container('a', "web");
            log.set_year(year);
            write(&mut log, 0..30);
            log.rotate(4, is_packed);
            write(&mut log, 30..60);
            copy(&log.dir, &root.path().join("backup"));
            write(&mut log, 60..65);
            log.rotate(4, is_packed);
            write(&mut log, 65..74);
            let collector = Collector::start(root.path(), &options);
            assert_eq!(collector.wait_texts(74), numbers(0..74));
            replaced(&log, script);
            log.open_log();
            for range in [74..78, 78..79] {
                let count = range.end;
                write(&mut log, range);
                let texts = collector.wait_texts(count);
                assert_eq!(texts, numbers(0..count), "{script} {is_packed} {year}");
            }
            collector.stop();
            write(&mut log, 79..80);
            let collector = Collector::start(root.path(), &options);
            let texts = collector.wait_texts(1);
            assert_eq!(texts, numbers(79..80), "{script} {is_packed} {year}");
        }
    }
}

/// What is written to the older one then is read where it is.
#[test]
fn two_files_of_a_log_that_change_their_names_are_read_on_without_a_repeat() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let options = [QUICK, &[("DB", db.as_str())]].concat();
    let mut log = root.container('a', "web");
    write(&mut log, 0..30);
    log.rotate(4, false);
    write(&mut log, 30..50);
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(50), numbers(0..50));
    replaced(&log, "mv $L x; mv $L.1 $L; mv x $L.1");
    looked(&root, &collector);
    log.open_log();
    write(&mut log, 50..55);
    assert_eq!(collector.wait_texts(55), numbers(0..55));
    replaced(&log, "mv $L x; mv $L.1 $L; mv x $L.1");
    looked(&root, &collector);
    log.open_log();
    write(&mut log, 55..60);
    assert_eq!(collector.wait_texts(60), numbers(0..60));
    collector.stop();
    write(&mut log, 60..61);
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), numbers(60..61));
}

/// What somebody has put beside a log of it is no part of the log, before and after a rotation.
#[test]
fn extracts_of_a_log_beside_it_are_not_read() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let options = [QUICK, &[("DB", db.as_str())]].concat();
    let mut log = root.container('a', "web");
    write(&mut log, 0..60);
    replaced(
        &log,
        "tail -n20 $L > part.log; head -n5 $L > head.txt; sed -n 10,20p $L > $L.middle",
    );
    let collector = Collector::start(root.path(), &options);
    write(&mut log, 60..65);
    assert_eq!(collector.wait_texts(65), numbers(0..65));
    replaced(&log, "tail -n7 $L > $L.x; tail -n3 $L > z");
    looked(&root, &collector);
    write(&mut log, 65..67);
    log.rotate(5, false);
    write(&mut log, 67..70);
    assert_eq!(collector.wait_texts(70), numbers(0..70));
    assert_eq!(collector.figures().lost(), 0);
    collector.stop();
    write(&mut log, 70..71);
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), numbers(70..71));
}

/// `grep -v` into its place. Its entries are as new as its file.
#[test]
fn a_log_of_which_lines_are_left_out_repeats_none_of_the_others() {
    for script in [
        "grep -v '[02468].n' $L > x; mv x $L",
        "sed -i '1d; /line 3/d' $L",
        "sed 1,3d $L | grep -v '[13579].n' > x; mv x $L",
    ] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        let options = [QUICK, &[("DB", db.as_str())]].concat();
        let mut log = root.container('a', "web");
        log.set_year(AFTER);
        write(&mut log, 0..50);
        let collector = Collector::start(root.path(), &options);
        assert_eq!(collector.wait_texts(50), numbers(0..50), "{script}");
        replaced(&log, script);
        looked(&root, &collector);
        log.open_log();
        write(&mut log, 50..60);
        assert_eq!(collector.wait_texts(60), numbers(0..60), "{script}");
        collector.stop();
        write(&mut log, 60..61);
        let collector = Collector::start(root.path(), &options);
        assert_eq!(collector.wait_texts(1), numbers(60..61), "{script}");
    }
}

/// dockerd writes on to the file that it has open until the container is started again.
#[test]
fn a_log_that_is_renamed_and_has_a_copy_in_its_place_is_read_on_under_its_new_name() {
    for script in [
        "mv $L $L.keep; tail -n20 $L.keep > x; mv x $L",
        "mv $L $L.keep; cp $L.keep x; mv x $L",
        "mv $L $L.1; cp $L.1 x; mv x $L",
        "mv $L $L.1; tail -n20 $L.1 > x; mv x $L",
        "mv $L $L.1; head -n30 $L.1 > $L; tail -n30 $L.1 >> $L",
        "mv $L $L.keep; tail -n20 $L.keep | head -n9 > $L; tail -n11 $L.keep >> $L",
    ] {
        for is_before in [true, false] {
            let root = DockerRoot::new();
            let db = root.path().join("positions.db").display().to_string();
            let options = [QUICK, &[("DB", db.as_str())]].concat();
            let mut log = root.container('a', "web");
            write(&mut log, 0..60);
            if is_before {
                replaced(&log, script);
            }
            let collector = Collector::start(root.path(), &options);
            assert_eq!(collector.wait_texts(60), numbers(0..60), "{script}");
            if !is_before {
                replaced(&log, script);
            }
            write(&mut log, 60..70);
            assert_eq!(collector.wait_texts(70), numbers(0..70), "{script}");
            collector.stop();
            write(&mut log, 70..75);
            let collector = Collector::start(root.path(), &options);
            assert_eq!(collector.wait_texts(5), numbers(70..75), "{script}");
            write(&mut log, 75..76);
            assert_eq!(collector.wait_texts(6), numbers(70..76), "{script}");
            log.open_log();
            for range in [76..80, 80..81] {
                let end = range.end;
                write(&mut log, range);
                let texts = collector.wait_texts(end - 70);
                assert_eq!(texts, numbers(70..end), "{script} {is_before}");
            }
            collector.stop();
            write(&mut log, 81..82);
            let collector = Collector::start(root.path(), &options);
            assert_eq!(collector.wait_texts(1), numbers(81..82), "{script}");
        }
    }
}

#[test]
fn a_line_that_is_deleted_from_a_log_repeats_none_of_the_others() {
    for is_live in [true, false] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        let options = [QUICK, &[("DB", db.as_str())]].concat();
        let mut log = root.container('a', "web");
        write(&mut log, 0..50);
        let collector = Collector::start(root.path(), &options);
        assert_eq!(collector.wait_texts(50), numbers(0..50));
        let script = "sed -i '/line 30\\\\n/d' $L; ! grep -q 'line 30' $L";
        let collector = replaced_under(collector, is_live, &log, script, || {
            Collector::start(root.path(), &options)
        });
        log.open_log();
        write(&mut log, 50..80);
        let (first, count) = if is_live { (0, 80) } else { (50, 30) };
        assert_eq!(collector.wait_texts(count), numbers(first..80));
    }
}

#[test]
fn what_is_written_to_a_log_that_was_edited_before_it_was_read_is_read_too() {
    let root = DockerRoot::new();
    let mut full = root.container('a', "full");
    let mut log = root.container('b', "web");
    let options = [QUICK, &[("Queue_Limit", "64k")]].concat();
    let collector = Collector::start(root.path(), &options);
    write(&mut log, 0..50);
    collector.wait_texts(50);
    collector.pause();
    (0..5_000).for_each(|number| full.line(&format!("other {number}")));
    stalled(&root, &collector, &full);
    write(&mut log, 50..100);
    replaced(&log, "sed -i '/line 70\\\\n/d' $L; ! grep -q 'line 70' $L");
    looked(&root, &collector);
    // dockerd has the old file open until the container is started again.
    write(&mut log, 100..150);
    let id = log.id.clone();
    let texts = |collector: &Collector| collector.texts_of(&id, "stdout");
    collector.resume();
    collector.wait("what dockerd wrote", |collector| {
        texts(collector).len() >= 150
    });
    assert_eq!(texts(&collector), numbers(0..150));
    log.open_log();
    write(&mut log, 150..151);
    collector.wait("what it writes now", |collector| {
        texts(collector).len() > 150
    });
    assert_eq!(texts(&collector), numbers(0..151));
    assert_eq!(collector.figures().lost(), 0);
}

/// Each entry has a time of its own, so the first one is enough to tell.
#[test]
fn a_new_log_that_begins_with_the_same_text_is_read_whole() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..20);
    let collector = Collector::start(root.path(), QUICK);
    collector.wait_texts(20);
    log.recreate();
    write(&mut log, 0..40);
    let texts = collector.wait_texts(60);
    assert_eq!(texts, [numbers(0..20), numbers(0..40)].concat());
}

#[test]
fn a_containers_folder_that_root_moved_and_linked_is_read_through_the_link() {
    let (root, elsewhere) = (DockerRoot::new(), DockerRoot::new());
    let mut log = root.container('a', "web");
    write(&mut log, 0..10);
    let collector = Collector::start(root.path(), QUICK);
    collector.wait_texts(10);
    let moved = elsewhere.path().join("web");
    copy(&log.dir, &moved);
    fs::rename(&log.dir, root.path().join("aside")).expect("a move");
    symlink(&moved, &log.dir).expect("a link");
    log.open_log();
    write(&mut log, 10..20);
    collector.wait_texts(20);
    log.rotate(3, true);
    write(&mut log, 20..30);
    assert_eq!(collector.wait_texts(30), numbers(0..30),);
    let (page, is_all_read) = check(root.path(), &[]);
    assert!(is_all_read && page.contains("1 container\n"), "{page}");
    collector.stop();
    let collector = Collector::start(root.path(), QUICK);
    assert_eq!(collector.wait_texts(30), numbers(0..30));
    fs::remove_file(&log.dir).expect("the link");
    collector.wait("its removal", |collector| collector.accounts().is_empty());
}

#[test]
fn a_containers_folder_that_is_a_link_and_cannot_be_read_is_said_counted_and_checked() {
    let (root, elsewhere) = (DockerRoot::new(), DockerRoot::new());
    let link = root.path().join("containers").join("a".repeat(64));
    let away = elsewhere.path().join("not-mounted");
    symlink(&away, &link).expect("a link");
    let collector = Collector::start(root.path(), QUICK);
    let said = format!(
        "cannot read {}: it is a symlink that leads to no folder",
        link.display()
    );
    collector.wait("a message", |collector| collector.has_logged(&said));
    collector.wait("the count", |collector| {
        collector.metric("containers_unread") == 1.0
    });
    let (page, is_all_read) = check(root.path(), &[]);
    assert!(
        !is_all_read && page.contains("it is a symlink that leads to no folder"),
        "{page}"
    );

    let mut log = elsewhere.container('a', "web");
    write(&mut log, 0..3);
    fs::rename(&log.dir, &away).expect("a mount");
    assert_eq!(collector.wait_texts(3), numbers(0..3));
    collector.wait("the count", |collector| {
        collector.metric("containers_unread") == 0.0
    });

    // Whoever else made it must not have another folder read.
    let foreign = root.path().join("containers").join("b".repeat(64));
    symlink(&away, &foreign).expect("a link");
    if lchown(&foreign, Some(12_345), None).is_err() {
        return skip("moved::a_containers_folder_that_is_a_link_and_cannot_be_read_is_said_counted_and_checked", "only root can give a link away");
    }
    let said = "it is a symlink that belongs to uid 12345, not to root";
    collector.wait("a message", |collector| collector.has_logged(said));
    let (page, is_all_read) = check(root.path(), &[]);
    assert!(!is_all_read && page.contains(said), "{page}");
    assert_eq!(collector.stop().0.len(), 3);
}

/// Whoever can write to the folder above the target can put another folder there.
#[test]
fn a_containers_folder_is_not_read_where_others_can_replace_it() {
    let (root, elsewhere) = (DockerRoot::new(), DockerRoot::new());
    let open = elsewhere.path().canonicalize().unwrap().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let mut log = elsewhere.container('a', "web");
    write(&mut log, 0..1);
    let target = open.join("web");
    fs::rename(&log.dir, &target).expect("a move");
    let link = root.path().join("containers").join("a".repeat(64));
    symlink(&target, &link).expect("a link");
    let inner = elsewhere.path().join("inner");
    symlink(&target, &inner).expect("a link");
    let twice = root.path().join("containers").join("b".repeat(64));
    symlink(&inner, &twice).expect("a link");
    let collector = Collector::start(root.path(), QUICK);
    let said = [
        format!(
            "cannot read {}: it is a symlink that is not followed: users other than root can write to {}",
            link.display(),
            open.display()
        ),
        format!(
            "cannot read {}: it is a symlink to another one, which is not followed",
            twice.display()
        ),
    ];
    for said in &said {
        collector.wait(said, |collector| collector.has_logged(said));
    }
    let (page, is_all_read) = check(root.path(), &[]);
    let is_said = page.contains("users other than root can write to");
    assert!(!is_all_read && is_said, "{page}");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("it is ours");
    assert_eq!(collector.wait_texts(1), numbers(0..1));
}
