use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};

use super::*;
use crate::delivery::checkpoint::db_file::open_locked;
use crate::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use crate::delivery::checkpoint::header::HEADER;
use crate::delivery::checkpoint::slot::SlotCopy;
use crate::delivery::checkpoint::slot::GONE_SOME_TIME;
use crate::delivery::checkpoint::StreamCheckpoint;

fn id(digit: char) -> ContainerId {
    ContainerId::parse(&digit.to_string().repeat(64)).unwrap()
}

fn numbered(number: u16) -> ContainerId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    ContainerId::from_bytes(bytes)
}

fn checkpoint(offset: u64) -> StreamCheckpoint {
    StreamCheckpoint {
        fingerprint: Fingerprint::of(b"head"),
        marker: Marker::of(&b"marker"[..offset.min(6) as usize]),
        offset,
        inode: 7,
        birth: 8,
        ..StreamCheckpoint::default()
    }
}

fn db() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("positions.db");
    (dir, path)
}

fn is_first(opened: &Opened) -> bool {
    matches!(opened.first_start, FirstStart::Now(_))
}

#[test]
fn positions_survive_a_reopen() {
    let (_dir, path) = db();
    let mut opened = CheckpointStore::open(&path).unwrap();
    assert!(is_first(&opened));
    for round in 0..5 {
        opened
            .store
            .advance(id('a'), &[Some(checkpoint(round)), None])
            .unwrap();
        opened
            .store
            .advance(id('b'), &[None, Some(checkpoint(100 + round))])
            .unwrap();
    }
    opened.store.mark_started().unwrap();
    drop(opened);
    let opened = CheckpointStore::open(&path).unwrap();
    assert!(!is_first(&opened) && opened.set_aside.is_none());
    assert_eq!(
        opened.store.saved(&id('a')),
        Some([checkpoint(4), StreamCheckpoint::default()])
    );
    assert_eq!(
        opened.store.saved(&id('b')),
        Some([StreamCheckpoint::default(), checkpoint(104)])
    );
    assert_eq!(opened.store.saved(&id('c')), None);
}

#[test]
fn a_second_instance_is_refused() {
    let (_dir, path) = db();
    let first = CheckpointStore::open(&path).unwrap();
    let error = CheckpointStore::open(&path).unwrap_err();
    assert!(matches!(error, CheckpointError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("positions.db"));
    drop(first);
    CheckpointStore::open(&path).unwrap();
}

#[test]
fn a_lock_that_a_forked_child_keeps_for_a_moment_is_waited_for() {
    let (_dir, path) = db();
    drop(CheckpointStore::open(&path).unwrap());
    let ended = open_locked(&path, Access::Write).unwrap();
    // Shares the lock as a child process does before its exec.
    let mut child = Some(ended.try_clone().unwrap());
    drop(ended);
    let mut pauses = 0;
    let opened = open_when_unlocked(&path, Access::Write, || {
        pauses += 1;
        if pauses == 3 {
            child = None;
        }
    });
    assert!(opened.is_ok());
    assert_eq!(pauses, 3);
}

#[test]
fn the_checkpoint_is_for_its_owner_alone_and_the_only_file_that_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, path) = db();
    let mut opened = CheckpointStore::open(&path).unwrap();
    opened
        .store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap();
    opened.store.mark_started().unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let made: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(made, [path]);
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_set_aside() {
    let older = {
        let mut bytes = header::page(None);
        bytes[16] = 0;
        bytes.to_vec()
    };
    let cases: [(&str, Vec<u8>); 5] = [
        ("is empty", vec![]),
        ("only NUL", vec![0; 10_000]),
        ("incomplete", header::page(None)[..100].to_vec()),
        ("version 0", older),
        ("damaged", {
            let mut bytes = header::page(None);
            bytes[30] ^= 1;
            bytes.to_vec()
        }),
    ];
    for (problem, bytes) in cases {
        let (_dir, path) = db();
        crate::fuzz_seeds::keep("checkpoint", [&[0], &bytes[..]].concat());
        std::fs::write(&path, &bytes).unwrap();
        let opened = CheckpointStore::open(&path).unwrap();
        let (found, aside) = opened.set_aside.expect(problem);
        assert!(found.contains(problem), "{found}");
        assert_eq!(std::fs::read(&aside).unwrap(), bytes, "kept as it was");
        assert_eq!(
            opened.first_start,
            FirstStart::Earlier(None),
            "a start came before"
        );
        drop(opened.store);
        assert!(
            CheckpointStore::open(&path).unwrap().set_aside.is_none(),
            "the new file is whole"
        );
    }
}

#[test]
fn a_damaged_entry_does_not_hurt_the_others() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    for digit in ['a', 'b', 'c'] {
        store
            .advance(id(digit), &[Some(checkpoint(1)), None])
            .unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER + SLOT..HEADER + 2 * SLOT].fill(0xee);
    crate::fuzz_seeds::keep("checkpoint", [&[0], &bytes[..]].concat());
    // The fuzz target's format: these bytes at these offsets.
    for at in [0u16, 20, 40, 4096, 4350, 4700] {
        crate::fuzz_seeds::keep(
            "checkpoint",
            [&[1][..], &at.to_le_bytes(), &[0xee, 7, 18, 0]].concat(),
        );
    }
    std::fs::write(&path, bytes).unwrap();
    let opened = CheckpointStore::open(&path).unwrap();
    assert_eq!(opened.damaged_entries, 1);
    assert!(opened.store.saved(&id('a')).is_some());
    assert!(opened.store.saved(&id('b')).is_none());
    assert!(opened.store.saved(&id('c')).is_some());
}

#[test]
fn a_torn_last_slot_is_counted_as_damaged() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap();
    store
        .advance(id('b'), &[Some(checkpoint(1)), None])
        .unwrap();
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..HEADER + SLOT + 300]).unwrap();
    let opened = CheckpointStore::open(&path).unwrap();
    assert_eq!(opened.damaged_entries, 1);
    assert!(opened.store.saved(&id('a')).is_some());
}

#[test]
fn an_entry_is_kept_a_while_after_its_container_is_gone() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap();
    let gone = Instant::now();
    store.forget(&id('a'), gone).unwrap();
    assert!(store.saved(&id('a')).is_some());
    assert!(store.containers().is_empty());
    store.forget(&id('f'), gone + FORGET_AFTER).unwrap();
    assert!(store.saved(&id('a')).is_none());
    store
        .advance(id('b'), &[Some(checkpoint(2)), None])
        .unwrap();
    drop(store);
    assert_eq!(
        std::fs::metadata(&path).unwrap().len(),
        (HEADER + SLOT) as u64,
        "its slot is used again"
    );
    let store = CheckpointStore::open(&path).unwrap().store;
    assert!(store.saved(&id('a')).is_none() && store.saved(&id('b')).is_some());
}

#[test]
fn a_missing_directory_is_an_error_that_names_the_file() {
    let error = CheckpointStore::open(Path::new("/nowhere/at/all.db"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nowhere/at/all.db"), "{error}");
}

#[test]
fn a_start_that_ended_before_its_first_look_is_continued_from_its_time_on() {
    let (_dir, path) = db();
    let first_start = CheckpointStore::open(&path)
        .unwrap()
        .first_start
        .time()
        .unwrap();
    let mut opened = CheckpointStore::open(&path).unwrap();
    assert_eq!(opened.first_start, FirstStart::Now(first_start));
    opened.store.mark_started().unwrap();
    drop(opened);
    for _ in 0..2 {
        let mut opened = CheckpointStore::open(&path).unwrap();
        let known = FirstStart::Earlier(Some(first_start));
        assert_eq!(opened.first_start, known, "at each later start");
        assert!(!opened.store.mark_started().unwrap(), "once is enough");
    }
}

/// Of a clock that was set back since, or as releases left it that stored no time before the end of
/// the first look.
#[test]
fn a_first_start_without_a_time_or_with_one_in_the_future_is_now() {
    for time in [[0; 8], [0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]] {
        let (_dir, path) = db();
        let before = CheckpointStore::open(&path).unwrap().first_start;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let at = HEADER_USED + header::STARTED.len();
        file.write_all_at(&time, at as u64).unwrap();
        drop(file);
        let opened = CheckpointStore::open(&path).unwrap();
        assert!(is_first(&opened));
        let now = opened.first_start.time();
        assert!(before.time() <= now && now <= Some(wall_clock()), "{now:?}");
    }
}

/// As releases that stored no time left it.
#[test]
fn a_checkpoint_without_the_time_of_its_first_start_is_continued_without() {
    let (_dir, path) = db();
    drop(CheckpointStore::open(&path).unwrap());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let page = header::page(None);
    file.write_all_at(&page, 0).unwrap();
    file.write_all_at(&header::STARTED, HEADER_USED as u64)
        .unwrap();
    drop(file);
    for _ in 0..2 {
        let mut opened = CheckpointStore::open(&path).unwrap();
        assert_eq!(opened.first_start, FirstStart::Earlier(None));
        assert!(!opened.store.mark_started().unwrap());
    }
}

#[test]
fn a_container_that_came_back_is_not_forgotten() {
    let mut store = CheckpointStore::in_memory();
    store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap();
    let gone = Instant::now();
    store.forget(&id('a'), gone).unwrap();
    assert!(store.take_up(&id('a')).is_some());
    store.forget(&id('f'), gone + FORGET_AFTER * 2).unwrap();
    assert!(store.saved(&id('a')).is_some());
}

#[test]
fn a_container_that_came_back_and_went_again_is_kept_from_then_on() {
    let mut store = CheckpointStore::in_memory();
    store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap();
    let gone = Instant::now();
    store.forget(&id('a'), gone).unwrap();
    assert!(store.take_up(&id('a')).is_some());
    store.forget(&id('a'), gone + FORGET_AFTER / 2).unwrap();
    store.forget(&id('f'), gone + FORGET_AFTER).unwrap();
    assert!(
        store.saved(&id('a')).is_some(),
        "it went again half the time ago"
    );
    store.forget(&id('f'), gone + FORGET_AFTER * 2).unwrap();
    assert!(store.saved(&id('a')).is_none());
    assert!(store.gone.is_empty(), "nothing is left of either time");
}

/// Each removal must not scan all entries: ten thousand million comparisons would take
/// minutes.
#[test]
fn a_hundred_thousand_containers_that_go_at_once_are_forgotten_in_no_time() {
    let mut store = CheckpointStore::in_memory();
    let ids: Vec<ContainerId> = (0..100_000u32)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            ContainerId::from_bytes(bytes)
        })
        .collect();
    for id in &ids {
        store.advance(*id, &[Some(checkpoint(1)), None]).unwrap();
    }
    let begun = Instant::now();
    for id in &ids {
        store.forget(id, begun).unwrap();
    }
    store.forget(&ids[0], begun + FORGET_AFTER).unwrap();
    assert_eq!(store.len(), 0);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// Writes a checkpoint of one container, and a second, older slot of it, as a power cut can
/// leave one.
fn write_with_older_slot(path: &Path, sequence: u64) {
    let mut store = CheckpointStore::open(path).unwrap().store;
    for offset in 1..4 {
        store
            .advance(id('a'), &[Some(checkpoint(offset)), None])
            .unwrap();
    }
    drop(store);
    let older = slot::encode(&SlotCopy {
        sequence,
        id: id('a'),
        saved: [checkpoint(77); 2],
        gone: None,
    });
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&older, slot_offset(1)).unwrap();
}

#[test]
fn a_container_that_was_read_to_its_end_and_removed_is_known_to_be_so_after_a_restart() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    let advance = [Some(checkpoint(5)), None];
    for digit in ['a', 'b', 'c'] {
        store.advance(id(digit), &advance).unwrap();
    }
    assert!(store.forget(&id('a'), Instant::now()).unwrap());
    assert!(store.forget(&id('b'), Instant::now()).unwrap());
    // It came back, and was read on.
    store.advance(id('b'), &advance).unwrap();
    drop(store);
    let mut store = CheckpointStore::open(&path).unwrap().store;
    let mut left = store.containers();
    left.sort_unstable_by_key(|id| *id.bytes());
    assert_eq!(left, [id('b'), id('c')]);
    assert!(store.take_up(&id('a')).is_some(), "it may still come back");
    assert_eq!(store.containers().len(), 3);
    drop(store);
    let mut store = CheckpointStore::open(&path).unwrap().store;
    let later = Instant::now() + 2 * FORGET_AFTER;
    store.forget(&id('c'), later).unwrap();
    assert!(store.saved(&id('a')).is_none(), "it is not kept for ever");
}

/// Otherwise the entries of all containers that go would add up where Fluent Bit is reloaded more often
/// than they are forgotten.
#[test]
fn the_time_for_which_a_removed_container_is_kept_goes_on_over_restarts() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    let now = u32::try_from(wall_clock().seconds).unwrap();
    let kept = u32::try_from(FORGET_AFTER.as_secs()).unwrap();
    let is_forgotten = [
        ('a', now, false),
        ('b', now - kept + 60, false),
        ('c', now - kept, true),
        ('d', 1_700_000_000, true),
        // The clock was set back since, or an earlier release did not write when.
        ('e', now + 3600, false),
        ('f', GONE_SOME_TIME, false),
    ];
    for (digit, ..) in is_forgotten {
        store
            .advance(id(digit), &[Some(checkpoint(5)), None])
            .unwrap();
    }
    drop(store);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for (number, (digit, gone, _)) in is_forgotten.into_iter().enumerate() {
        let copy = slot::encode(&SlotCopy {
            sequence: 2,
            id: id(digit),
            saved: [checkpoint(5); 2],
            gone: Some(gone),
        });
        file.write_all_at(&copy, slot_offset(number)).unwrap();
    }
    drop(file);
    let mut store = CheckpointStore::open(&path).unwrap().store;
    assert_eq!(store.containers(), []);
    assert_eq!(store.len(), 6, "any of them may have come back");
    store.forget(&id('0'), Instant::now()).unwrap();
    for (digit, gone, is_forgotten) in is_forgotten {
        assert_eq!(store.saved(&id(digit)).is_none(), is_forgotten, "{gone}");
    }
    store
        .forget(&id('0'), Instant::now() + FORGET_AFTER)
        .unwrap();
    assert_eq!(store.len(), 0);
}

#[test]
fn when_a_container_went_is_written() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    store
        .advance(id('a'), &[Some(checkpoint(5)), None])
        .unwrap();
    let went = Instant::now().checked_sub(FORGET_AFTER / 2).unwrap();
    store.forget(&id('a'), went).unwrap();
    drop(store);
    let mut store = CheckpointStore::open(&path).unwrap().store;
    store
        .forget(&id('0'), Instant::now() + FORGET_AFTER / 3)
        .unwrap();
    assert_eq!(store.len(), 1);
    store
        .forget(&id('0'), Instant::now() + FORGET_AFTER / 2)
        .unwrap();
    assert_eq!(store.len(), 0);
}

#[test]
fn a_slot_that_is_used_again_forgets_what_it_held() {
    let (_dir, path) = db();
    write_with_older_slot(&path, 2);
    let mut store = CheckpointStore::open(&path).unwrap().store;
    store
        .advance(id('b'), &[Some(checkpoint(5)), None])
        .unwrap();
    drop(store);
    let store = CheckpointStore::open(&path).unwrap().store;
    assert_eq!(
        store.saved(&id('a')),
        Some([checkpoint(3), StreamCheckpoint::default()])
    );
    assert_eq!(
        store.saved(&id('b')),
        Some([checkpoint(5), StreamCheckpoint::default()])
    );
}

#[test]
fn of_two_slots_of_one_container_the_newer_counts() {
    let (_dir, path) = db();
    write_with_older_slot(&path, 1);
    let store = CheckpointStore::open(&path).unwrap().store;
    assert_eq!(store.saved(&id('a')).unwrap()[0].offset, 3);
}

/// Without a write, nothing is known about the disk.
#[test]
fn each_change_says_whether_a_byte_was_written() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    let gone = Instant::now();
    assert!(store.mark_started().unwrap());
    assert!(store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap());
    assert!(store.forget(&id('a'), gone).unwrap(), "it is marked");
    assert!(
        !store.forget(&id('a'), gone).unwrap(),
        "its entry goes later"
    );
    assert!(!store.forget(&id('b'), gone).unwrap(), "it has none");
    assert!(store.forget(&id('b'), gone + FORGET_AFTER).unwrap());
    let mut store = CheckpointStore::in_memory();
    assert!(!store.mark_started().unwrap());
    assert!(!store
        .advance(id('a'), &[Some(checkpoint(1)), None])
        .unwrap());
}

/// Random groups of positions, removals and returns, over reopened files: the file always has what
/// was written last.
#[test]
fn whatever_is_written_together_is_what_the_next_start_finds() {
    use std::collections::HashMap;
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    let mut expected: HashMap<ContainerId, u64> = HashMap::new();
    let (mut random, mut now) = (1u64, Instant::now());
    let mut below = |end: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % end
    };
    for round in 1..200 {
        for _ in 0..below(300) {
            let id = numbered(below(600) as u16);
            store.advance_unwritten(id, &[Some(checkpoint(round)), None]);
            expected.insert(id, round);
        }
        store.write_advanced().unwrap();
        for _ in 0..below(20) {
            let gone = expected.keys().nth(below(100) as usize).copied();
            if let Some(gone) = gone {
                store.forget(&gone, now).unwrap();
                expected.remove(&gone);
            }
        }
        now += Duration::from_secs(below(300));
        if below(20) == 0 {
            drop(store);
            store = CheckpointStore::open(&path).unwrap().store;
            let offset = |id| store.saved(id).map(|saved| saved[0].offset);
            for (id, round) in &expected {
                assert_eq!(offset(id), Some(*round));
            }
            let mut containers = store.containers();
            containers.retain(|id| !expected.contains_key(id));
            assert_eq!(containers, []);
        }
    }
}

/// The file cannot grow, as on a full disk: a new container has no slot, and the others go on.
#[test]
fn one_that_cannot_be_written_keeps_no_other_from_the_file() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    for (container, offset) in [('a', 1), ('b', 2)] {
        let advance = [Some(checkpoint(offset)), None];
        store.advance(id(container), &advance).unwrap();
    }
    let full = File::from(memfd_create("db", MemfdFlags::ALLOW_SEALING).unwrap());
    (&full).write_all(&std::fs::read(&path).unwrap()).unwrap();
    fcntl_add_seals(&full, SealFlags::GROW).unwrap();
    let mut store = CheckpointStore::load(full.try_clone().unwrap())
        .unwrap()
        .unwrap()
        .store;
    for (container, offset) in [('c', 3), ('a', 4), ('b', 5)] {
        store.advance_unwritten(id(container), &[Some(checkpoint(offset)), None]);
    }
    assert!(store.write_advanced().is_err());
    let read = || {
        CheckpointStore::load(full.try_clone().unwrap())
            .unwrap()
            .unwrap()
            .store
    };
    let offset = |store: &CheckpointStore, container| Some(store.saved(&id(container))?[0].offset);
    assert_eq!(
        ['a', 'b', 'c'].map(|it| offset(&read(), it)),
        [Some(4), Some(5), None]
    );
    assert_eq!(offset(&store, 'c'), Some(3), "in memory");
}

/// As on a disk that was remounted read-only.
#[test]
fn where_nothing_can_be_written_removed_containers_are_forgotten_in_memory() {
    let (_dir, path) = db();
    let mut store = CheckpointStore::open(&path).unwrap().store;
    store.file = Some(File::open(&path).unwrap());
    let mut now = Instant::now();
    for number in 0..1000u16 {
        let id = numbered(number);
        store.advance(id, &[Some(checkpoint(7)), None]).unwrap_err();
        store.forget(&id, now).unwrap_err();
        now += FORGET_AFTER;
    }
    assert!(store.len() <= 2 && store.unwritten.len() <= 2);
}
