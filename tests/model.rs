//! Random histories of containers' folders against an obviously right model.
//!
//! A history (`plan`) is a list of actions: of dockerd, of the kubelet or of conmon, of
//! logrotate, of a user's hand, of the host, of the one who kills it and of the one
//! who pulls the plug. It is played in this process without threads: the reader is
//! turned when the history says so, so a history that fails once fails always.
//! `truth` says what must arrive:
//!
//! - whatever was on disk in a file that existed while the reader was up, or that
//!   survived until it was;
//! - in the order of each stream, parts of a line joined;
//! - once, but for the batch that a kill caught between append and checkpoint, and
//!   what the checkpoint on the disk does not know of when the power goes.
//!
//! And the books must balance at each step. What a history does not have, since no
//! reader could know what to do:
//!
//! - A clock that steps under logrotate, or back where dockerd compresses. A position
//!   that is in no file any more, as its lines were truncated away or rotated out,
//!   says nothing but a time; whether a copy, or an archive, was made before or after
//!   it is told by the times of their entries alone.
//! - The current file removed by hand where dockerd compresses. dockerd then renames
//!   nothing, and compresses the file before it once more, with a later time in its
//!   header: what was read looks like what was written since.
//! - A log truncated by hand in mid-line where dockerd compresses. All pieces of a line
//!   have one time, so the archive's does not tell that some came after the position.
//! - A container that goes on with a line after its folder was away. For the same
//!   reason; and dockerd had to start it anew.
//! - A torn entry of the container runtime interface whose text has begun: what is
//!   glued behind it looks like more of it. Or lines that end with their stream and
//!   not with their run, in Podman's one file: the next line looks like their rest.
//! - A folder that goes away and comes back under logrotate. A copy is met when its
//!   original is read on, which the held file allows while the copy is out of sight:
//!   by then its place in the order is past.
//! - A copy of a log whose writer left a hole in it, before all of the log was read.
//!   Heads of nothing but NULs tell neither which file was copied nor from where on
//!   it is unread. So histories with such a writer settle before and after a copy.
//!
//! What fails is shrunk by proptest to a minimal script, printed with its seed.
//! `HISTORIES=100000 SEED=7` play more, and others; history N of a run has the
//! seed SEED + N, so one alone is `HISTORIES=1 SEED=…`.

mod cases;
mod container;
mod dockerd;
mod format;
mod hand;
mod history;
mod instance;
mod kubelet;
mod plan;
mod truth;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use history::Totals;

/// As many as `make test` plays.
const HISTORIES: u64 = 2000;

fn variable(name: &str, or: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(or, |text| text.parse().expect("a number"))
}

#[test]
fn random_histories_lose_nothing_and_repeat_nothing() {
    let (first, count) = (variable("SEED", 1), variable("HISTORIES", HISTORIES));
    let next = AtomicU64::new(first);
    let sums = Mutex::new(Totals::default());
    let failures = Mutex::new(Vec::new());
    let begun = Instant::now();
    // More than there are cores: histories wait for ticks of the clock of files.
    let threads = 4 * std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count || failures.lock().expect("no panic").len() >= 5 {
                    return;
                }
                match one(seed) {
                    Ok(totals) => add(&mut sums.lock().expect("no panic"), &totals),
                    Err(failure) => {
                        eprintln!("SEED {seed}: {failure}\n");
                        failures.lock().expect("no panic").push(seed);
                    }
                }
            });
        }
    });
    let sums = *sums.lock().expect("no panic");
    println!(
        "{count} histories from seed {first} in {:?}: {sums:?}",
        begun.elapsed()
    );
    let failures = failures.into_inner().expect("no panic");
    assert!(
        failures.is_empty(),
        "the histories of these seeds failed: {failures:?}"
    );
    assert!(
        sums.owed > 10 * count as usize / 2,
        "the histories write too little: {sums:?}"
    );
}

fn add(sums: &mut Totals, totals: &Totals) {
    sums.parts += totals.parts;
    sums.owed += totals.owed;
    sums.kills += totals.kills;
    sums.repeated += totals.repeated;
}

/// Plays the history of a seed; an error is the minimal script that fails.
fn one(seed: u64) -> Result<Totals, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = plan::plans()
        .new_tree(&mut runner)
        .map_err(|reason| reason.to_string())?;
    let size = tree.current().actions.len();
    let totals = Mutex::new(Totals::default());
    let played = runner.run_one(tree, |plan| {
        *totals.lock().expect("no panic") = history::play(&plan).map_err(TestCaseError::fail)?;
        Ok(())
    });
    match played {
        Ok(_) => Ok(totals.into_inner().expect("no panic")),
        Err(TestError::Fail(reason, plan)) => Err(format!(
            "{reason}\n  {} of {size} actions: {plan}",
            plan.actions.len()
        )),
        Err(error) => Err(error.to_string()),
    }
}
