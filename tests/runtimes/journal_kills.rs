//! SIGKILL of the host, and orderly restarts, while a real journald takes 3,000 lines a second and
//! begins new files. Every sixth end is a restart.
//!
//! `KILLS=n` and `SEED=s` kill oftener and elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use test_kit::docker_root::DockerRoot;
use test_kit::journald::{JournalWriter, Journald};
use test_kit::kills::{variable, Arrived, Moments};
use test_kit::playing_host::{PlayingHost, Release, PATIENCE};
use test_kit::{or_skip, programs, skip};

use crate::journal::{journaled, write_lines};

/// As many as `make test` has.
const KILLS: usize = 5;
/// Of all containers, in a second.
const LINES_PER_SECOND: u32 = 3000;
const CONTAINERS: [char; 3] = ['a', 'b', 'c'];

/// Writes to the containers in turn until it is to stop; gives how many lines each has.
fn write_until(stopping: &AtomicBool, mut dockerd: JournalWriter, ids: &[String]) -> u32 {
    let begun = Instant::now();
    let mut number = 0;
    while !stopping.load(Ordering::SeqCst) {
        for id in ids {
            write_lines(&mut dockerd, id, number..number + 1);
        }
        number += 1;
        let lines = number * u32::try_from(ids.len()).expect("few");
        let due = Duration::from_secs(1) * lines / LINES_PER_SECOND;
        // The load's own pace; nothing is awaited by it.
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    dockerd.finish();
    number
}

#[test]
fn kills_under_load_lose_nothing_and_repeat_one_batch_at_the_most() {
    let test = "journal_kills::kills_under_load_lose_nothing_and_repeat_one_batch_at_the_most";
    if programs("cc").next().is_none() {
        return skip(test, "no C compiler for the host that is played");
    }
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let containers = CONTAINERS.map(|digit| journaled(&root, digit));
    let ids = containers.each_ref().map(|(id, _)| id.clone());
    let options = format!(
        "docker_root=\"{root}\" runtime=docker \
         db=\"{root}/positions.db\" tag_template={{id}} docker_socket=off rescan_interval=50ms \
         journal_path=\"{journal}\"",
        root = root.path().display(),
        journal = journald.folder().display(),
    );
    let stopping = Arc::new(AtomicBool::new(false));
    let writing = {
        let (stopping, ids) = (Arc::clone(&stopping), ids.clone());
        let dockerd = journald.writer("dockerd", 0);
        std::thread::spawn(move || write_until(&stopping, dockerd, &ids))
    };
    let (mut moments, mut arrived) = (Moments::new(), Arrived::default());
    let (kills, mut restarts, begun) = (variable("KILLS", KILLS), 0, Instant::now());
    for end in 0..kills + kills / 5 {
        let mut host = PlayingHost::with_instance(Release::LATEST, &options);
        // Lines have come, so that each end is in the midst of them.
        if end % 2 == 1 {
            host.run_until(1);
        }
        let moment = Duration::from_micros(moments.below(600_000));
        if end % 6 == 5 {
            let moment = u32::try_from(moment.as_millis()).expect("a moment");
            host.run(moment);
            arrived.take_frames(&host.exit().frames);
            restarts += 1;
        } else {
            host.send(&format!("run {}", PATIENCE.as_millis()));
            // The moment of the kill is random: there is nothing to await.
            std::thread::sleep(moment);
            arrived.take_killed(host);
        }
        if end % 3 == 2 {
            journald.rotate();
        }
    }
    stopping.store(true, Ordering::SeqCst);
    let written = writing.join().expect("the writer") as usize;
    let rate = (written * ids.len()) as f64 / begun.elapsed().as_secs_f64();
    let mut host = PlayingHost::with_instance(Release::LATEST, &options);
    let lines = ids.iter().map(|id| (id.as_str(), written));
    let is_complete = arrived.take_rest(&mut host, lines);
    println!(
        "{kills} kills and {restarts} restarts over the journal: {} lines written, {rate:.0} a second, \
         0 lost, {} repeated after {} of them",
        written * ids.len(),
        arrived.repeated,
        arrived.kills_with_repetition,
    );
    assert!(is_complete, "{arrived:?} of {written}");
    let log = host.exit().log;
    assert!(log.contains("nothing lost by this input"), "{log}");
}
