use std::thread;

use proptest::prelude::*;

use super::*;
use crate::format::position::Timestamp;
use crate::telemetry::account::{Abandoned, Amount, SliceStats};

fn id(byte: u8) -> ContainerId {
    ContainerId::from_bytes([byte; 32])
}

fn at(seconds: u64) -> Timestamp {
    Timestamp {
        seconds: seconds as i64,
        nanos: 0,
    }
}

const LINE: Amount = Amount {
    bytes: 7,
    records: 1,
};

fn read_line(account: &Account, seconds: u64) {
    account.took(&SliceStats {
        read: 10,
        skipped: 3,
        queued: [Some((LINE, at(seconds))), None],
        until: at(seconds),
        ..SliceStats::default()
    });
}

#[derive(Debug, Clone)]
enum Step {
    Read(u8),
    Accept(u8),
    Unread(u8, u64),
    Abandon(u8, u64),
    Close(u8),
    AbandonFiles(u64),
    Publish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = 0..4_u8;
    let step = prop_oneof![
        4 => one.clone().prop_map(Step::Read),
        4 => one.clone().prop_map(Step::Accept),
        2 => (one.clone(), 0..3_u64).prop_map(|(one, bytes)| Step::Unread(one, bytes)),
        1 => (one.clone(), 0..3_u64).prop_map(|(one, bytes)| Step::Abandon(one, bytes)),
        1 => one.prop_map(Step::Close),
        1 => (0..3_u64).prop_map(Step::AbandonFiles),
        2 => Just(Step::Publish),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever was visited in between, the total is the sum over all accounts that ever were.
    #[test]
    fn the_total_is_the_sum_over_all_accounts(steps in steps()) {
        let accounts = Accounts::default();
        let mut closed = Figures::default();
        for (time, step) in (1..).zip(steps) {
            match step {
                Step::Read(one) => read_line(&accounts.open(id(one)), time),
                Step::Accept(one) => {
                    let account = accounts.open(id(one));
                    if account.figures().queued.records > 0 {
                        account.accepted(LINE);
                    }
                }
                Step::Unread(one, bytes) => accounts.open(id(one)).set_unread(bytes),
                Step::Abandon(one, bytes) => accounts.open(id(one)).abandon(Abandoned {
                    bytes,
                    ..Abandoned::default()
                }),
                Step::Close(one) => {
                    let last = accounts.open(id(one)).figures();
                    closed = closed + Figures { unread: 0, waits_since: None, ..last };
                    accounts.close(&id(one));
                }
                Step::AbandonFiles(files) => {
                    accounts.abandon_files(files);
                    closed.abandoned.generations += files;
                }
                Step::Publish => {
                    accounts.take_changed();
                    let waits = accounts.total().waits_since.is_some();
                    prop_assert_eq!(accounts.has_changed(), waits);
                }
            }
            let open = accounts.all().into_iter().map(|account| account.figures());
            prop_assert_eq!(accounts.total(), open.fold(closed, |sum, one| sum + one));
        }
    }
}

#[test]
fn what_changed_is_given_once_and_what_waits_is_given_again() {
    let accounts = Accounts::default();
    let given = || {
        let given = accounts.take_changed();
        let mut given: Vec<_> = given.iter().map(|account| *account.id()).collect();
        given.sort();
        given
    };
    let (one, two) = (accounts.open(id(1)), accounts.open(id(2)));
    assert_eq!(given(), [id(1), id(2)], "opened");
    assert_eq!(given(), []);
    one.took(&SliceStats::default());
    one.set_unread(0);
    one.set_name("");
    accounts.set_held(Held::default());
    assert!(!accounts.has_changed(), "nothing of it is a change");
    two.set_name("two");
    read_line(&one, 1);
    assert_eq!(given(), [id(1), id(2)]);
    assert_eq!(given(), [id(1)], "until the host has it");
    one.accepted(LINE);
    assert_eq!(given(), [id(1)]);
    assert_eq!(given(), []);
    accounts.close(&id(2));
    assert!(two.is_closed() && accounts.has_changed());
    assert_eq!(given(), [id(2)]);
    accounts.abandon_files(1);
    assert!(accounts.has_changed());
    assert_eq!(given(), []);
    assert!(!accounts.has_changed());
}

#[test]
fn an_account_that_is_still_listed_goes_with_its_instance() {
    let accounts = Accounts::default();
    let account = accounts.open(id(1));
    read_line(&account, 1);
    assert!(accounts.has_changed());
    let left = Arc::downgrade(&account);
    drop((account, accounts));
    assert!(left.upgrade().is_none());
}

#[test]
fn no_change_is_missed_between_two_threads() {
    const LINES: u64 = 20_000;
    let accounts = Accounts::default();
    let all: Vec<_> = (0..8).map(|one| accounts.open(id(one))).collect();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for (line, account) in (0..LINES).zip(all.iter().cycle()) {
                read_line(account, line);
            }
        });
        let mut accepted = 0;
        while accepted < LINES {
            for account in &all {
                while account.figures().queued.records > 0 {
                    account.accepted(LINE);
                    accepted += 1;
                }
            }
            for account in accounts.take_changed() {
                assert!(account.figures().is_balanced());
            }
            assert!(accounts.total().is_balanced());
        }
        reader.join().expect("the reader");
    });
    let total = accounts.total();
    assert_eq!(total.delivered.records, LINES);
    assert_eq!((total.read.bytes, total.waits_since), (10 * LINES, None));
}
