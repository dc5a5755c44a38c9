//! What once went wrong, or nearly: each case is a sequence that a reader of the
//! code thought of, and that lost, repeated or held up something.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use test_kit::collector::{Collector, PATIENCE};
use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::skip;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn write(log: &mut LogWriter, range: std::ops::Range<usize>) {
    for line in numbers(range) {
        log.line(&line);
    }
}

/// Waits for so many texts, and then for two lines of another container, written one
/// after the other: by then the reader has been round twice, and anything that comes
/// again would have come. Gives the texts without those lines.
fn settled(root: &DockerRoot, collector: &Collector, count: usize) -> Vec<String> {
    const MARKER: &str = "marker ";
    let others = |collector: &Collector| {
        let texts = collector.texts().into_iter();
        texts
            .filter(|text| !text.starts_with(MARKER))
            .collect::<Vec<_>>()
    };
    collector.wait(&format!("{count} texts"), |collector| {
        others(collector).len() >= count
    });
    // A container of its own each time, for one that comes back is read on.
    static MARKED: AtomicUsize = AtomicUsize::new(0);
    let id = format!("{:064x}", MARKED.fetch_add(1, Ordering::SeqCst));
    let mut log = root.created_with_id(&id, "marker");
    log.open_log();
    for number in 0..2 {
        let marker = format!("{MARKER}{number}");
        log.line(&marker);
        collector.wait(&marker, |collector| collector.texts().contains(&marker));
    }
    others(collector)
}

/// Waits until the reader has met two more containers, one after the other: by then it has
/// been round twice since, also where it may not read.
pub fn looked(root: &DockerRoot, collector: &Collector) {
    static MET: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..2 {
        let number = MET.fetch_add(1, Ordering::SeqCst);
        let name = format!("met-{number}");
        let met = root.created_with_id(&format!("{:063x}f", number), &name);
        // It has no log.
        met.write_config(&name, false);
        collector.wait(&name, |collector| {
            collector.has_logged(&format!("container {name} "))
        });
    }
}

/// Waits until the reader, whose output is stalled, has read all that it will of the
/// container that fills the queue.
pub fn stalled(root: &DockerRoot, collector: &Collector, full: &LogWriter) {
    let read = || collector.figures_of("full").read.bytes;
    let written = full.log.metadata().unwrap().len();
    let mut before = written;
    collector.wait("a full queue", |collector| {
        looked(root, collector);
        let now = read();
        std::mem::replace(&mut before, now) == now && collector.figures().queued.bytes > 0
    });
    assert!(read() < written, "the queue takes all");
}

#[track_caller]
fn same(got: Vec<String>, want: Vec<String>) {
    if got == want {
        return;
    }
    let at = got
        .iter()
        .zip(&want)
        .position(|(a, b)| a != b)
        .unwrap_or(got.len().min(want.len()));
    panic!(
        "{} got, {} wanted, first difference at {at}: {:?} for {:?}",
        got.len(),
        want.len(),
        got.get(at..(at + 3).min(got.len())),
        want.get(at..(at + 3).min(want.len()))
    );
}

#[test]
fn refusal_is_retried_at_most_every_100_ms() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    collector.refuse(true);
    log.line("x");
    collector.wait("refusals", |c| c.refusals() >= 3);
    let (before, begun) = (collector.refusals(), Instant::now());
    collector.wait("more refusals", |c| c.refusals() >= before + 20);
    let taken = begun.elapsed();
    collector.refuse(false);
    assert!(taken >= Duration::from_secs(1), "20 retries in {taken:?}");
}

#[test]
fn a_stalled_output_repeats_nothing_when_unread_generations_are_compressed() {
    use std::io::Write;
    let root = DockerRoot::new();
    let mut full = root.container('a', "full");
    let mut log = root.container('b', "web");
    let collector = Collector::start(root.path(), &[("Queue_Limit", "64k")]);
    log.line("line 0");
    collector.wait_texts(1);
    collector.pause();
    for n in 0..5000 {
        full.line(&format!("other {n}"));
    }
    stalled(&root, &collector, &full);
    log.rotate(100, false);
    std::fs::remove_file(format!("{}.1", log.log.display())).unwrap();
    looked(&root, &collector);
    let rounds = 40;
    for round in 1..rounds {
        log.line(&format!("line {round}"));
        let bytes = std::fs::read(&log.log).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        let packed = encoder.finish().unwrap();
        let name = |n: usize, gz: &str| format!("{}.{n}{gz}", log.log.display());
        for n in (2..round + 1).rev() {
            let _ = std::fs::rename(name(n - 1, ".gz"), name(n, ".gz"));
        }
        // As dockerd does, and as fast as it does for a small file.
        std::fs::rename(&log.log, name(1, "")).unwrap();
        let _ = std::fs::File::create_new(&log.log).unwrap();
        std::fs::write(name(1, ".gz"), &packed).unwrap();
        std::fs::remove_file(name(1, "")).unwrap();
        log.open_log();
        // The pace of the writer: the reader looks between two rotations, or does not.
        std::thread::sleep(Duration::from_millis(20));
    }
    collector.resume();
    let texts = settled(&root, &collector, rounds + 5000)
        .into_iter()
        .filter(|t| t.starts_with("line"))
        .collect();
    same(texts, numbers(0..rounds));
}

#[test]
fn a_container_that_vanishes_for_a_moment_under_a_pause_is_not_repeated() {
    let (root, mut log, collector) = Collector::of_one(&[("Rescan_Interval", "20ms")]);
    log.line("line 0");
    collector.wait_texts(1);
    collector.pause();
    write(&mut log, 1..10);
    collector.wait("lines in the queue", |c| c.figures().queued.records == 9);
    let away = root.path().join("away");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&log.dir, &away])
        .status();
    assert!(copied.unwrap().success());
    std::fs::remove_dir_all(&log.dir).unwrap();
    collector.wait("gone", |c| c.has_logged("is gone"));
    std::fs::rename(&away, &log.dir).unwrap();
    log.open_log();
    looked(&root, &collector);
    collector.resume();
    write(&mut log, 10..12);
    same(settled(&root, &collector, 12), numbers(0..12));
}

#[test]
fn a_log_that_opens_but_cannot_be_read_is_said_once() {
    let root = DockerRoot::new();
    let log = root.created_container('a', "web");
    std::fs::create_dir(&log.log).unwrap();
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "20ms")]);
    collector.wait("the message", |c| c.has_logged("json.log"));
    let failed = |c: &Collector| c.metric("read_errors_total");
    let before = failed(&collector);
    collector.wait("more attempts", |c| failed(c) >= before + 20.0);
    let said: Vec<_> = collector
        .log()
        .into_iter()
        .filter(|(_, m)| m.contains("json.log"))
        .collect();
    assert!(said.len() <= 2, "{} messages: {:?}", said.len(), &said[..3]);
}

#[test]
fn a_current_log_deleted_while_we_were_away_repeats_no_older_generation() {
    for compress in [false, true] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db");
        let options = [("DB", db.to_str().unwrap())];
        let mut log = root.container('a', "web");
        let collector = Collector::start(root.path(), &options);
        write(&mut log, 0..10);
        collector.wait_texts(10);
        log.rotate(4, compress);
        write(&mut log, 10..20);
        collector.wait_texts(20);
        collector.stop();
        std::fs::remove_file(&log.log).unwrap();
        let collector = Collector::start(root.path(), &options);
        collector.wait("found", |c| c.has_logged("found"));
        assert_eq!(settled(&root, &collector, 0), Vec::<String>::new());
        log.open_log();
        write(&mut log, 20..25);
        same(settled(&root, &collector, 5), numbers(20..25));
    }
}

#[test]
fn a_glued_record_before_an_open_piece_is_not_repeated_after_a_restart() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().unwrap())];
    let mut log = root.container('a', "web");
    let time = "2023-11-14T22:15:00.25Z";
    let piece = "p".repeat(16_384);
    let whole = record("stdout", "whole\n", "2023-11-14T22:14:00.25Z");
    log.raw(whole.trim_end().as_bytes());
    log.raw(record("stdout", &piece, time).as_bytes());
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(1);
    collector.stop();
    log.piece("stdout", "end\n", time);
    let collector = Collector::start(root.path(), &options);
    same(settled(&root, &collector, 1), vec![format!("{piece}end")]);
}

#[test]
fn a_rename_without_a_reopen_is_read_on() {
    // logrotate without copytruncate: dockerd goes on in the renamed file.
    let (root, mut log, collector) = Collector::of_one(&[]);
    log.line("line 0");
    collector.wait_texts(1);
    std::fs::rename(&log.log, format!("{}.1", log.log.display())).unwrap();
    std::fs::File::create(&log.log).unwrap();
    looked(&root, &collector);
    write(&mut log, 1..5);
    same(settled(&root, &collector, 5), numbers(0..5));
}

#[test]
fn a_long_unfinished_end_is_read_whole() {
    let (root, mut log, collector) = Collector::of_one(&[]);
    log.line("line 0");
    collector.wait_texts(1);
    let text = "y".repeat(600_000);
    let long = record("stdout", &format!("{text}\n"), "2023-11-14T22:15:00.25Z");
    log.raw(long.trim_end().as_bytes());
    looked(&root, &collector);
    log.rotate(3, false);
    log.line("line 1");
    let lengths: Vec<usize> = settled(&root, &collector, 3)
        .iter()
        .map(String::len)
        .collect();
    assert_eq!(lengths, [6, 600_000, 6]);
}

#[test]
fn the_queue_limit_holds_after_a_very_long_entry() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let long = vec![b'x'; 15 << 20];
    log.raw(&long);
    log.raw(b"\n");
    let mut many = Vec::new();
    for n in 0..400_000 {
        many.extend(
            record(
                "stdout",
                &format!("line {n}\n"),
                &format!("2023-11-14T22:15:00.{n:09}Z"),
            )
            .into_bytes(),
        );
    }
    log.raw(&many);
    let collector = Collector::start(root.path(), &[("Queue_Limit", "1M")]);
    collector.wait_texts(400_000);
    let largest = collector.largest_batch();
    assert!(largest < 4 << 20, "a batch of {largest} bytes");
}

#[test]
fn files_recreated_within_a_clock_tick_are_read() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    let rounds = 3000;
    for round in 0..rounds {
        log.line(&format!("line {round}"));
        let end = Instant::now() + Duration::from_secs(5);
        while collector.count() < round + 1 {
            assert!(Instant::now() < end, "stuck at round {round}");
            std::hint::spin_loop();
        }
        log.recreate();
    }
    same(collector.texts(), numbers(0..rounds));
}

#[test]
fn a_log_recreated_several_times_within_a_clock_tick_is_still_read() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    log.line("first");
    collector.wait_texts(1);
    for trial in 0..300u64 {
        for n in 0..10u64 {
            log.recreate();
            let end = Instant::now() + Duration::from_micros(100 + 97 * ((trial * 7 + n) % 9));
            while Instant::now() < end {}
        }
        let last = format!("final {trial}");
        log.line(&last);
        let end = Instant::now() + Duration::from_secs(5);
        while collector.texts().last() != Some(&last) {
            assert!(Instant::now() < end, "trial {trial}: never read again");
            // Between two looks at what has come.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn an_old_generation_that_cannot_be_read_does_not_block_the_current_one() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    std::fs::create_dir(format!("{}.1", log.log.display())).unwrap();
    write(&mut log, 0..5);
    let collector = Collector::start(root.path(), &[("Rescan_Interval", "20ms")]);
    same(settled(&root, &collector, 5), numbers(0..5));
}

#[test]
fn a_fifo_in_a_logs_place_stops_nobody() {
    let root = DockerRoot::new();
    let bad = root.created_container('a', "bad");
    let made = std::process::Command::new("mkfifo").arg(&bad.log).status();
    assert!(made.expect("mkfifo runs").success());
    let mut good = root.container('b', "good");
    write(&mut good, 0..5);
    let collector = Collector::start(root.path(), &[]);
    let is_read = test_kit::holds_within(PATIENCE, || collector.count() >= 5);
    // Lets a reader that hangs go on, so that the test can end.
    let _ = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&bad.log);
    assert!(is_read, "{} lines came", collector.count());
    same(settled(&root, &collector, 5), numbers(0..5));
}

#[test]
fn a_stream_whose_first_batch_was_never_accepted_is_read_from_its_start() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [
        ("DB", db.to_str().unwrap()),
        ("Tag_Template", "{name}.{stream}"),
    ];
    let mut log = root.container('a', "web");
    let collector = Collector::start(root.path(), &options);
    collector.accept_only(1);
    let mut bytes = record("stderr", "err\n", "2023-11-14T22:14:00.1Z");
    bytes.push_str(&record("stdout", "out\n", "2023-11-14T22:14:00.2Z"));
    log.raw(bytes.as_bytes());
    assert_eq!(collector.wait_texts(1), ["out"]);
    collector.wait("a refusal", |c| c.refusals() >= 1);
    collector.stop();
    let collector = Collector::start(root.path(), &options);
    collector.wait("found", |c| c.has_logged("found"));
    same(settled(&root, &collector, 1), vec!["err".to_owned()]);
}

#[test]
fn a_generation_that_was_rotated_and_compressed_before_it_was_read_is_read_once() {
    for _ in 0..60 {
        let (root, mut log, collector) = Collector::of_one(&[]);
        write(&mut log, 0..3);
        log.rotate(4, true);
        write(&mut log, 3..4);
        same(settled(&root, &collector, 4), numbers(0..4));
    }
}

#[test]
fn what_was_copied_and_truncated_before_it_was_read_is_read_from_the_copy() {
    let root = DockerRoot::new();
    let mut full = root.container('a', "full");
    let mut log = root.container('b', "web");
    let collector = Collector::start(root.path(), &[("Queue_Limit", "64k")]);
    full.line("x");
    collector.wait_texts(1);
    collector.pause();
    for n in 0..5000 {
        full.line(&format!("other {n}"));
    }
    stalled(&root, &collector, &full);
    // Nothing of this is read yet.
    write(&mut log, 0..10);
    looked(&root, &collector);
    std::fs::copy(&log.log, format!("{}.1", log.log.display())).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log.log)
        .unwrap();
    looked(&root, &collector);
    write(&mut log, 10..12);
    collector.resume();
    let texts = settled(&root, &collector, 5013).into_iter();
    same(
        texts.filter(|text| text.starts_with("line")).collect(),
        numbers(0..12),
    );
}

/// What follows was found by the model test (`tests/model/`).
#[test]
fn rotated_files_are_read_while_there_is_no_current_one() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    write(&mut log, 0..5);
    // dockerd died between its rename and the new file.
    std::fs::rename(&log.log, format!("{}.1", log.log.display())).unwrap();
    let collector = Collector::start(root.path(), &[]);
    same(collector.wait_texts(5), numbers(0..5));
}

#[test]
fn the_end_of_one_stream_does_not_cut_an_open_line_of_the_other() {
    let (_root, mut log, collector) = Collector::of_one(&[]);
    let piece = "p".repeat(16_384);
    log.piece("stderr", &piece, "2023-11-14T22:15:00.25Z");
    log.piece("stdout", "prompt: ", "2023-11-14T22:15:00.26Z");
    collector.wait("the prompt", |c| c.texts() == ["prompt: "]);
    log.piece("stderr", "end\n", "2023-11-14T22:15:00.25Z");
    same(
        collector.wait_texts(2),
        vec!["prompt: ".to_owned(), format!("{piece}end")],
    );
}

#[test]
fn what_is_copied_and_truncated_twice_while_we_are_away_is_read_from_the_copies() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().unwrap())];
    let mut log = root.container('a', "web");
    write(&mut log, 0..3);
    let collector = Collector::start(root.path(), &options);
    collector.wait_texts(3);
    log.rotate(2, false);
    same(settled(&root, &collector, 3), numbers(0..3));
    collector.stop();
    // Nothing was read of the new file; dockerd, without O_APPEND, leaves a hole.
    for round in 0..2 {
        write(&mut log, 3 + round * 4..7 + round * 4);
        let name = |number: usize| format!("{}.{number}", log.log.display());
        std::fs::rename(name(1), name(2)).unwrap();
        std::fs::copy(&log.log, name(1)).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&log.log)
            .unwrap();
    }
    write(&mut log, 11..12);
    let collector = Collector::start(root.path(), &options);
    same(settled(&root, &collector, 9), numbers(3..12));
}

/// The position is in the copy, and logrotate deletes that while nobody reads: the
/// original is older than it, and holds what came after it.
#[test]
fn a_renamed_original_that_is_still_written_is_read_though_its_copy_is_younger() {
    let name =
        "hard_cases::a_renamed_original_that_is_still_written_is_read_though_its_copy_is_younger";
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().unwrap())];
    let mut log = root.container('a', "web");
    let named = |number: usize| format!("{}.{number}", log.log.display());
    let (first, second) = (named(1), named(2));
    log.line("line 0");
    // Not within the tick of the kernel's clock in which the log was made.
    let birth = |path: &Path| std::fs::metadata(path).unwrap().created().ok();
    loop {
        std::fs::copy(&log.log, &first).unwrap();
        match (birth(&log.log), birth(Path::new(&first))) {
            (Some(log), Some(copy)) if copy > log => break,
            (Some(_), Some(_)) => std::fs::remove_file(&first).unwrap(),
            _ => return skip(name, "the file system keeps no birth times"),
        }
    }
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log.log)
        .unwrap();
    let collector = Collector::start(root.path(), &options);
    same(settled(&root, &collector, 1), numbers(0..1));
    collector.stop();
    std::fs::rename(&first, &second).unwrap();
    std::fs::rename(&log.log, &first).unwrap();
    std::fs::File::create(&log.log).unwrap();
    // dockerd goes on in the renamed file.
    log.line("line 1");
    std::fs::remove_file(&second).unwrap();
    let collector = Collector::start(root.path(), &options);
    same(settled(&root, &collector, 1), numbers(1..2));
}

/// The last line was written between the copy and the truncation: the position is in
/// no file any more, and all of the copy was before it.
#[test]
fn a_copy_without_the_last_line_that_was_read_is_not_read_again() {
    let root = DockerRoot::new();
    let db = root.path().join("positions.db");
    let options = [("DB", db.to_str().unwrap())];
    let mut log = root.container('a', "web");
    let collector = Collector::start(root.path(), &options);
    // More than what a fingerprint covers.
    write(&mut log, 0..20);
    collector.wait_texts(20);
    std::fs::copy(&log.log, format!("{}.1", log.log.display())).unwrap();
    write(&mut log, 20..21);
    collector.wait_texts(21);
    collector.stop();
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log.log)
        .unwrap();
    write(&mut log, 21..22);
    let collector = Collector::start(root.path(), &options);
    same(settled(&root, &collector, 1), numbers(21..22));
}

/// Whoever can write into a container's folder must not have any file of the
/// machine read.
#[test]
fn a_planted_symlink_is_followed_nowhere() {
    use std::os::unix::fs::symlink;

    let outside = DockerRoot::new();
    let mut secret = outside.container('f', "outside");
    write(&mut secret, 0..5);
    let root = DockerRoot::new();
    let current = root.created_container('a', "current");
    symlink(&secret.log, &current.log).unwrap();
    let mut rotated = root.container('b', "rotated");
    symlink(&secret.log, format!("{}.1", rotated.log.display())).unwrap();
    let local = root.created_container('c', "local");
    let folder = outside.path().join("local-logs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&secret.log, folder.join("container.log")).unwrap();
    symlink(&folder, local.dir.join("local-logs")).unwrap();
    let mut named = root.container('d', "named");
    std::fs::remove_file(named.dir.join("config.v2.json")).unwrap();
    symlink(
        secret.dir.join("config.v2.json"),
        named.dir.join("config.v2.json"),
    )
    .unwrap();

    rotated.line("own");
    named.line("own");
    let collector = Collector::start(
        root.path(),
        &[("Rescan_Interval", "20ms"), ("Docker_Socket", "off")],
    );
    same(settled(&root, &collector, 2), vec!["own".to_owned(); 2]);
    assert!(collector
        .records()
        .iter()
        .all(|record| record.text("container_name") != "outside"));
    let said = collector.log();
    for path in [
        &current.log,
        &local.dir.join("local-logs").join("container.log"),
    ] {
        let path = path.display().to_string();
        let times = said.iter().filter(|(_, text)| text.contains(&path)).count();
        assert_eq!(times, 1, "{path} in {said:?}");
    }
}
