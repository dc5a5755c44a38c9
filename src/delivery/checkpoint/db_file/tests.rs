use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use rustix::fs::{mknodat, Mode};

use super::*;
use crate::delivery::checkpoint::store::{CheckpointStore, Opened};
use crate::delivery::checkpoint::{inspect, FirstStart, Inspection};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.db");
    (folder, path)
}

/// Names, types, inode numbers, sizes and times of a folder's entries, which a refused start
/// must not change.
fn state(folder: &Path) -> Vec<String> {
    let mut entries: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let (name, is) = (
                entry.file_name(),
                std::fs::symlink_metadata(entry.path()).unwrap(),
            );
            let times = (is.mtime(), is.mtime_nsec(), is.ctime(), is.ctime_nsec());
            format!(
                "{name:?} {:o} {} {} {times:?}",
                is.mode(),
                is.ino(),
                is.len()
            )
        })
        .collect();
    entries.sort();
    entries
}

/// Asserts that start, inspection and reading all fail, give the reason and change nothing.
#[track_caller]
fn assert_refused(path: &Path, why: &str) {
    let folder = path.parent().unwrap();
    let before = state(folder);
    let begun = Instant::now();
    let errors = [
        CheckpointStore::open(path).map(drop).unwrap_err(),
        CheckpointStore::open_read_only(path).map(drop).unwrap_err(),
        inspect(path).map(drop).unwrap_err(),
    ];
    for error in errors {
        let said = error.to_string();
        assert!(matches!(error, CheckpointError::NotOurs { .. }), "{said}");
        assert!(
            said.contains(why) && said.contains(&path.display().to_string()),
            "{why}: {said}"
        );
        assert!(said.contains("nothing was changed"), "{said}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{why}: {:?}",
        begun.elapsed()
    );
    assert_eq!(state(folder), before, "{why}");
}

fn whole_checkpoint() -> Vec<u8> {
    let (_folder, path) = folder();
    drop(CheckpointStore::open(&path).unwrap());
    std::fs::read(path).unwrap()
}

#[test]
fn a_file_of_somebody_else_is_an_error_and_stays_as_it_is() {
    let damaged_magic = {
        let mut bytes = whole_checkpoint();
        bytes[0] ^= 1;
        bytes
    };
    let late = [vec![0; 1 << 20], b"an image begins with NULs".to_vec()].concat();
    let cases: [(&str, Vec<u8>); 13] = [
        (
            "not a checkpoint",
            b"root:x:0:0:root:/root:/bin/sh\n".to_vec(),
        ),
        (
            "tail's database",
            b"SQLite format 3\0\x10\0\x01\x01 and so on".to_vec(),
        ),
        ("not a checkpoint", b"{\"json\": 1}".to_vec()),
        ("not a checkpoint", b"\x7fELF\x02\x01\x01".to_vec()),
        ("not a checkpoint", b"\n".to_vec()),
        ("not a checkpoint", b"x".to_vec()),
        ("not a checkpoint", b"container_logs\n".to_vec()),
        (
            "not a checkpoint",
            b"container_logs\0\x02 of another kind".to_vec(),
        ),
        ("not a checkpoint", b"contained".to_vec()),
        ("not a checkpoint", b"\0container_logs\0\x01".to_vec()),
        ("not a checkpoint", vec![0xff; 100_000]),
        ("not a checkpoint", damaged_magic),
        ("not a checkpoint", late),
    ];
    for (why, bytes) in cases {
        let (_folder, path) = folder();
        std::fs::write(&path, &bytes).unwrap();
        // Far in the past, so that a write would be noticed.
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
            .unwrap();
        assert_refused(&path, why);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn what_is_no_regular_file_is_never_opened_for_good_nor_waited_for() {
    let (_folder, path) = folder();
    std::fs::create_dir(&path).unwrap();
    assert_refused(&path, "a directory");
    let (_folder, path) = folder();
    mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_refused(&path, "a named pipe");
    let (_folder, path) = folder();
    let _listener = UnixListener::bind(&path).unwrap();
    assert_refused(&path, "a socket");
}

#[test]
fn a_device_is_refused() {
    let (_folder, path) = folder();
    let zero = rustix::fs::makedev(1, 5);
    if let Err(error) = mknodat(
        CWD,
        &path,
        rustix::fs::FileType::CharacterDevice,
        Mode::RWXU,
        zero,
    ) {
        println!(
            "SKIPPED checkpoint::db_file::tests::a_device_is_refused: no device can be made here: {error}"
        );
        return;
    }
    assert_refused(&path, "a device");
}

#[test]
fn a_symbolic_link_is_refused_wherever_it_leads() {
    let (_elsewhere, other) = folder();
    for content in [None, Some(b"root:x:0:0".to_vec()), Some(whole_checkpoint())] {
        let (_folder, path) = folder();
        symlink(&other, &path).unwrap();
        if let Some(content) = &content {
            std::fs::write(&other, content).unwrap();
        }
        let before = state(other.parent().unwrap());
        assert_refused(&path, &format!("a symbolic link to {}", other.display()));
        assert_eq!(state(other.parent().unwrap()), before, "{content:?}");
    }
    // Links in parent folders are the operator's business.
    let (real, _) = folder();
    let (_folder, link) = folder();
    symlink(real.path(), &link).unwrap();
    drop(CheckpointStore::open(&link.join("positions.db")).unwrap());
    drop(CheckpointStore::open(&real.path().join("positions.db")).unwrap());
}

#[test]
fn a_second_name_of_a_checkpoint_is_the_same_checkpoint() {
    let (folder, path) = folder();
    let opened = CheckpointStore::open(&path).unwrap();
    let second = folder.path().join("second.db");
    std::fs::hard_link(&path, &second).unwrap();
    assert!(matches!(
        CheckpointStore::open(&second),
        Err(CheckpointError::InUse { .. })
    ));
    drop(opened);
    assert!(CheckpointStore::open(&second).unwrap().set_aside.is_none());
    // If the file is not ours, every name of it is refused.
    std::fs::write(&path, "text").unwrap();
    assert_refused(&second, "not a checkpoint");
}

#[test]
fn what_is_left_of_a_checkpoint_of_ours_is_set_aside_at_whatever_byte_it_was_torn() {
    let whole = whole_checkpoint();
    for length in (0..40).chain([4095]) {
        let (_folder, path) = folder();
        std::fs::write(&path, &whole[..length]).unwrap();
        let Opened {
            set_aside,
            first_start,
            ..
        } = CheckpointStore::open(&path).unwrap();
        let (problem, aside) = set_aside.unwrap();
        assert_eq!(
            std::fs::read(aside).unwrap(),
            &whole[..length],
            "{length}: {problem}"
        );
        assert_eq!(
            first_start,
            FirstStart::Earlier(None),
            "{length}: when is lost"
        );
    }
}

#[test]
fn a_huge_file_is_judged_without_reading_it_whole() {
    let begun = Instant::now();
    for (written, is_ours) in [
        (&b""[..], true),
        (b"text", false),
        (&whole_checkpoint(), true),
    ] {
        let (_folder, path) = folder();
        std::fs::write(&path, written).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(8 << 30)
            .unwrap();
        if is_ours {
            assert!(matches!(inspect(&path).unwrap(), Inspection::Damaged(_)));
            let (problem, aside) = CheckpointStore::open(&path).unwrap().set_aside.unwrap();
            assert!(
                problem.contains("only NUL") || problem.contains("too large"),
                "{problem}"
            );
            assert_eq!(std::fs::metadata(aside).unwrap().len(), 8 << 30);
        } else {
            assert_refused(&path, "not a checkpoint");
        }
    }
    // The last byte of a hole counts, and so does one in its middle.
    for at in [(8 << 30) - 1, 4 << 30] {
        let (_folder, path) = folder();
        let file = File::create(&path).unwrap();
        file.set_len(8 << 30).unwrap();
        file.write_all_at(b"x", at).unwrap();
        assert_refused(&path, "not a checkpoint");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn an_earlier_file_that_was_set_aside_is_not_overwritten() {
    let (folder, path) = folder();
    for round in 0..5u8 {
        std::fs::write(&path, vec![0; usize::from(round) + 1]).unwrap();
        drop(CheckpointStore::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
    let mut sizes: Vec<u64> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|aside| aside.unwrap().metadata().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2, 3, 4, 5]);
}

#[test]
fn a_file_that_lost_its_name_while_its_lock_was_waited_for_is_not_taken() {
    let (folder, path) = folder();
    drop(CheckpointStore::open(&path).unwrap());
    let held = open_locked(&path, Access::Write).unwrap();
    let mut held = Some(held);
    let mut fresh = None;
    let opened = open_when_unlocked(&path, Access::Write, || {
        // The lock holder replaces the file first and releases the lock only then.
        if held.take().is_some() {
            std::fs::rename(&path, folder.path().join("aside")).unwrap();
            fresh = Some(CheckpointStore::open(&path).unwrap().store);
        } else {
            fresh = None;
        }
    });
    let named = std::fs::metadata(&path).unwrap();
    assert_eq!(opened.unwrap().metadata().unwrap().ino(), named.ino());
}

#[test]
fn a_read_only_look_needs_no_right_to_write_and_no_lock_and_leaves_no_trace() {
    let (folder, path) = folder();
    let mut opened = CheckpointStore::open(&path).unwrap();
    let id = crate::runtime::id::ContainerId::from_bytes([7; 32]);
    let checkpoint = crate::delivery::checkpoint::StreamCheckpoint {
        offset: 5,
        ..Default::default()
    };
    opened.store.advance(id, &[Some(checkpoint), None]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let before = (state(folder.path()), std::fs::read(&path).unwrap());
    // While the writer holds the lock.
    let (mut looked_at, problem) = CheckpointStore::open_read_only(&path).unwrap();
    assert_eq!(problem, None);
    assert_eq!(
        looked_at.store.saved(&id).map(|[stdout, _]| stdout.offset),
        Some(5)
    );
    looked_at
        .store
        .advance(
            id,
            &[
                Some(crate::delivery::checkpoint::StreamCheckpoint {
                    offset: 9,
                    ..checkpoint
                }),
                None,
            ],
        )
        .unwrap();
    looked_at.store.mark_started().unwrap();
    looked_at.store.forget(&id, Instant::now()).unwrap();
    looked_at.store.sync().unwrap();
    drop(looked_at);
    assert_eq!(
        (state(folder.path()), std::fs::read(&path).unwrap()),
        before
    );
    drop(opened);
    // A missing file is not created, and a damaged one is not renamed.
    let none = folder.path().join("none.db");
    let (looked_at, problem) = CheckpointStore::open_read_only(&none).unwrap();
    assert!(
        matches!(looked_at.first_start, FirstStart::Now(_))
            && problem.unwrap().contains("does not exist")
    );
    std::fs::write(&none, [0; 10]).unwrap();
    let before = state(folder.path());
    let (looked_at, problem) = CheckpointStore::open_read_only(&none).unwrap();
    assert!(looked_at.store.containers().is_empty() && problem.unwrap().contains("only NUL"));
    assert_eq!(state(folder.path()), before);
}
