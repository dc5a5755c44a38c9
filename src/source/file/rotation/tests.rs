use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::delivery::checkpoint::CheckpointStore;
use crate::format::layout::Decoders;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;
use crate::source::file::feed::ReadContext;
use crate::source::file::rotation::Start;
use crate::source::file::tailer::{Step, Tailer};
use crate::telemetry::event::Event;

/// Files that a user puts beside the log must not take a descriptor each.
#[test]
fn of_a_user_who_makes_rotated_files_the_newest_are_opened_and_the_others_reported_once() {
    const FILES: usize = 200;
    let (key, runtime_id) = (
        ContainerId::from_bytes([1; 32]),
        ContainerId::from_bytes([2; 32]),
    );
    for (is_of_user, want) in [(true, MOST_OF_USER), (false, FILES)] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("ctr.log");
        let path = |age: usize| {
            if age == 0 {
                log.clone()
            } else {
                log.with_extension(format!("log.{age}"))
            }
        };
        for age in (0..FILES).rev() {
            let nanos = FILES - age;
            let line = format!("2024-01-01T00:00:00.{nanos:09}+00:00 stdout F {age}\n");
            std::fs::write(path(age), line).unwrap();
        }
        let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
        let account = match is_of_user {
            true => link.accounts.open_as(key, runtime_id),
            false => link.accounts.open(key),
        };
        let template = Arc::new(RecordTemplate::unnamed(&key, ContainerMetadata::default()));
        let mut tailer = Tailer::new(account, LogFiles::numbered(&log), Start::Head, template);
        for _ in 0..3 {
            tailer.refresh(&link).unwrap();
        }
        let opened: Vec<_> = tailer
            .rotation
            .files
            .open
            .iter()
            .map(|one| one.path.to_path_buf())
            .collect();
        assert_eq!(opened, (0..want).rev().map(path).collect::<Vec<_>>());
        let (events, _) = link.events.take();
        let surplus = (FILES - want) as u64;
        assert_eq!(tailer.account().figures().abandoned.generations, surplus);
        let passed_over = Event::FilesPassedOver {
            name: tailer.metadata().title(),
            short_id: runtime_id.short(),
            files: surplus,
        };
        let said = if is_of_user {
            vec![passed_over]
        } else {
            Vec::new()
        };
        assert_eq!(events.into_iter().collect::<Vec<_>>(), said);
    }
}

/// Constant truncation must not flood the log; a loss is reported even right after a
/// truncation without one.
#[test]
fn truncations_are_reported_once_a_minute_and_those_with_a_loss_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    std::fs::write(&log, "").unwrap();
    let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
    let id = ContainerId::from_bytes([1; 32]);
    let template = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
    let mut tailer = Tailer::new(
        link.accounts.open(id),
        LogFiles::numbered(&log),
        Start::Head,
        template,
    );
    tailer.refresh(&link).unwrap();
    let path = tailer
        .rotation
        .files
        .open
        .front()
        .unwrap()
        .path
        .to_path_buf();
    for unread in [0, 7, 0, 8, 0] {
        tailer.feed.losses.truncated(&link, path.clone(), unread);
    }
    let (events, _) = link.events.take();
    let (name, short_id) = tailer.account().names();
    let said = [0, 7].map(|unread| Event::Truncated {
        name: name.clone(),
        short_id: short_id.clone(),
        path: path.clone(),
        unread,
    });
    assert_eq!(events.into_iter().collect::<Vec<_>>(), said);
    assert_eq!(
        tailer.account().figures().abandoned.bytes,
        15,
        "each is counted"
    );
}

/// The number of files met is what tells the reader that there is a new one to watch.
#[test]
fn the_files_of_a_log_are_numbered_on_after_the_last_one_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x-json.log");
    let rotated = log.with_extension("log.1");
    std::fs::write(&rotated, "{}\n").unwrap();
    std::fs::write(&log, "{}\n").unwrap();
    let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
    let id = ContainerId::from_bytes([1; 32]);
    let mut tailer = Tailer::new(
        link.accounts.open(id),
        LogFiles::numbered(&log),
        Start::Head,
        Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default())),
    );
    tailer.refresh(&link).unwrap();
    assert_eq!(tailer.files_met(), 2);
    std::fs::remove_file(&rotated).unwrap();
    std::fs::remove_file(&log).unwrap();
    for number in 0..2 {
        tailer.drop_held(number, &link, String::new());
    }
    assert!(!tailer.is_open());
    std::fs::write(&log, "{}\n{}\n").unwrap();
    tailer.refresh(&link).unwrap();
    assert!(tailer.is_open());
    assert_eq!(tailer.files_met(), 3);
}

/// A late look at a log that was not written since says nothing of a loss.
#[test]
fn a_log_that_was_read_whole_and_is_truncated_lost_nothing_however_late_that_is_seen() {
    for is_written in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x-json.log");
        std::fs::write(&log, entry("one")).unwrap();
        let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
        let id = ContainerId::from_bytes([1; 32]);
        let template = Arc::new(RecordTemplate::unnamed(&id, ContainerMetadata::default()));
        let account = link.accounts.open(id);
        let mut tailer = Tailer::new(account, LogFiles::numbered(&log), Start::Head, template);
        tailer.refresh(&link).unwrap();
        let begin = Instant::now();
        let (mut buffer, mut decoders) = (Vec::new(), Decoders::default());
        let mut read = |tailer: &mut Tailer, after: Duration| {
            let mut context = ReadContext {
                link: &link,
                buffer: &mut buffer,
                decoders: &mut decoders,
                max_line_bytes: 1 << 20,
                now: begin + after,
                slice_time: Duration::from_secs(1),
            };
            tailer.read_slice(&mut context).unwrap()
        };
        let second = Duration::from_secs(1);
        assert_eq!(read(&mut tailer, second), Step::AtEnd { has_read: true });
        tailer.awaits_notice();
        if is_written {
            tailer.is_written(true, begin + 2 * second);
        }
        std::fs::write(&log, "").unwrap();
        assert_eq!(
            read(&mut tailer, 4 * second),
            Step::AtEnd { has_read: false }
        );
        let (events, _) = link.events.take();
        let (name, short_id) = tailer.account().names();
        let (path, unread) = (log.clone(), 0);
        let said = match is_written {
            true => Event::TruncatedBehind {
                name,
                short_id,
                path,
                unread,
            },
            false => Event::Truncated {
                name,
                short_id,
                path,
                unread,
            },
        };
        assert_eq!(events.into_iter().collect::<Vec<_>>(), [said]);
        let lost = tailer.account().figures().abandoned.generations;
        assert_eq!(lost, u64::from(is_written));
    }
}

fn entry(text: &str) -> String {
    format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}}\n")
}
