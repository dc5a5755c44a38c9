//! Plays random histories, shrinks what fails and adds up what was owed and came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::history::{self, Totals};
use super::plan;

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
