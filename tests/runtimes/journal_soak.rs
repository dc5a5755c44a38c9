//! The journal is rotated and vacuumed all the time, while 3,000 lines a second are written and
//! read: what arrives and what is counted as missing are together what was written.
//!
//! `SOAK_MINUTES=n` goes on for longer.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::journald::{JournalWriter, Journald};
use test_kit::kills::variable;
use test_kit::or_skip;

use crate::journal::{journaled, start, time};

/// In a second.
const LINES_PER_SECOND: u32 = 3000;
/// Rotations, each with a vacuum, of `make test`. Whatever was written in every second one is not
/// read before.
const ROUNDS: usize = 6;
/// Lines of a round.
const LINES: u64 = 1500;

/// Writes numbered lines until it is to stop; `sent` is how many were.
fn write_until(stopping: &AtomicBool, sent: &AtomicU64, mut dockerd: JournalWriter, id: &str) {
    let begun = Instant::now();
    for number in 0..u32::MAX {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        let ordinal = Some(("00aa", u64::from(number) + 1));
        let text = format!("line {number}");
        dockerd.docker_numbered(id, "stdout", &text, &time(number), false, ordinal);
        sent.fetch_add(1, Ordering::SeqCst);
        let due = Duration::from_secs(1) * number / LINES_PER_SECOND;
        // The load's own pace; nothing is awaited by it.
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    dockerd.finish();
}

/// The numbers of the lines that came.
fn numbers(collector: &Collector) -> Vec<u64> {
    let texts = collector.texts();
    let numbers = texts.iter().map(|text| {
        let number = text.strip_prefix("line ").expect("a line of ours");
        number.parse().expect("a number")
    });
    numbers.collect()
}

#[test]
fn what_is_vacuumed_before_it_is_read_is_counted_and_nothing_else_is_lost() {
    let test =
        "journal_soak::what_is_vacuumed_before_it_is_read_is_counted_and_nothing_else_is_lost";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let collector = start(&root, &journald, &[]);
    let (stopping, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let writing = {
        let (stopping, sent, id) = (Arc::clone(&stopping), Arc::clone(&sent), id.clone());
        let dockerd = journald.writer("dockerd", 0);
        std::thread::spawn(move || write_until(&stopping, &sent, dockerd, &id))
    };
    let await_lines = |what: &str, lines: u64| {
        let until = sent.load(Ordering::SeqCst) + lines;
        collector.wait(what, |_| sent.load(Ordering::SeqCst) >= until);
    };
    let has_come = |number: u64| {
        numbers(&collector)
            .last()
            .is_some_and(|last| *last >= number)
    };
    let (minutes, begun) = (variable("SOAK_MINUTES", 0) as u64, Instant::now());
    let is_over =
        |round| round >= ROUNDS && begun.elapsed() >= Duration::from_secs(60) * minutes as u32;
    // What a vacuum may have removed unread.
    let mut at_risk: Vec<Range<u64>> = Vec::new();
    for round in 0.. {
        if is_over(round) {
            break;
        }
        collector.refuse(round % 2 == 1);
        await_lines("the lines of the round", LINES);
        let next = numbers(&collector).last().map_or(0, |last| last + 1);
        journald.rotate();
        journald.vacuum("1K");
        at_risk.push(next..sent.load(Ordering::SeqCst) + 1);
        collector.refuse(false);
        let next = sent.load(Ordering::SeqCst);
        collector.wait("a line after it", |_| has_come(next));
    }
    stopping.store(true, Ordering::SeqCst);
    writing.join().expect("the writer");
    let sent = sent.load(Ordering::SeqCst);
    collector.wait("the last line", |_| has_come(sent - 1));
    let came = numbers(&collector);
    assert!(
        came.is_sorted_by(|one, next| one < next),
        "a line came twice, or late"
    );
    let mut came_next = came.iter().copied().peekable();
    let lost: Vec<u64> = (0..sent)
        .filter(|number| came_next.next_if_eq(number).is_none())
        .collect();
    let counted = collector.figures().abandoned.entries;
    println!(
        "{} rotations with a vacuum over {sent} lines, {:.0} a second: {} removed before they were read, {counted} counted",
        at_risk.len(),
        sent as f64 / begun.elapsed().as_secs_f64(),
        lost.len()
    );
    let is_excused = |number: &u64| at_risk.iter().any(|range| range.contains(number));
    let unexcused: Vec<&u64> = lost.iter().filter(|number| !is_excused(number)).collect();
    assert!(unexcused.is_empty(), "{unexcused:?} of {at_risk:?}");
    assert_eq!(counted, lost.len() as u64);
    assert!(counted > 0, "nothing was removed unread");
    assert!(collector.has_logged("of its entries are missing in systemd's journal"));
    assert!(
        !collector.has_logged("cannot be read"),
        "{:?}",
        collector.log()
    );
}
