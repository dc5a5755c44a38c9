use super::*;

fn id(byte: u8) -> ContainerId {
    ContainerId::from_bytes([byte; 32])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn amount(bytes: u64, records: u64) -> Amount {
    Amount { bytes, records }
}

fn balanced(account: &Account) -> Figures {
    let figures = account.figures();
    assert!(figures.is_balanced(), "{figures:?}");
    figures
}

#[test]
fn a_slice_is_pending_until_each_of_its_batches_is_accepted() {
    let account = Account::new(id(1));
    account.took(&SliceStats {
        read: 100,
        queued: [Some((amount(60, 3), at(10))), Some((amount(30, 1), at(12)))],
        open: 10,
        until: at(13),
        ..SliceStats::default()
    });
    let figures = balanced(&account);
    assert_eq!(
        (figures.pending(), figures.delivered, figures.lost()),
        (100, amount(0, 0), 0)
    );
    account.accepted(amount(60, 3));
    let figures = balanced(&account);
    assert_eq!((figures.pending(), figures.delivered), (40, amount(60, 3)));
    account.accepted(amount(30, 1));
    let figures = balanced(&account);
    assert_eq!((figures.pending(), figures.delivered), (10, amount(90, 4)));
}

#[test]
fn every_way_a_byte_can_be_lost_is_in_the_sum() {
    let account = Account::new(id(1));
    account.took(&SliceStats {
        read: 100,
        skipped: 20,
        passed_over: 30,
        cut: amount(5, 1),
        queued: [Some((amount(45, 2), at(1))), None],
        ..SliceStats::default()
    });
    account.abandon(Abandoned {
        entries: 0,
        bytes: 1000,
        generations: 2,
    });
    let figures = balanced(&account);
    assert_eq!((figures.lost(), figures.seen()), (1025, 1100));
    account.was_divided();
    let mut reported = None;
    account.refused(amount(15, 1), Instant::now(), |refused| {
        reported = Some(refused);
        true
    });
    assert_eq!(reported, Some(amount(15, 1)));
    assert_eq!(
        balanced(&account).waits_since,
        Some(at(1)),
        "the other part waits"
    );
    account.accepted(amount(30, 1));
    let figures = balanced(&account);
    assert_eq!((figures.lost(), figures.waits_since), (1040, None));
    let losses = figures.losses().unwrap();
    assert!(
        losses.contains("1 records (15 bytes) that Fluent Bit refused"),
        "{losses}"
    );
    let ours = figures.seen() - figures.passed_over;
    assert_eq!(
        ours,
        figures.delivered.bytes + figures.lost() + figures.pending()
    );
}

#[test]
fn a_byte_that_is_forgotten_shows() {
    let account = Account::new(id(1));
    account.took(&SliceStats {
        read: 100,
        skipped: 99,
        ..SliceStats::default()
    });
    assert!(!account.figures().is_balanced());
}

#[test]
fn the_lag_is_the_age_of_the_oldest_entry_that_is_not_delivered() {
    let account = Account::new(id(1));
    let now = Timestamp {
        seconds: 100,
        nanos: 500_000_000,
    };
    assert_eq!(account.figures().lag_seconds(now), 0.0);
    let slice = |first: i64, until: i64| SliceStats {
        read: 10,
        queued: [Some((amount(10, 1), at(first))), None],
        until: at(until),
        ..SliceStats::default()
    };
    account.took(&slice(40, 59));
    account.took(&slice(60, 79));
    assert_eq!(account.figures().lag_seconds(now), 60.5);
    account.accepted(amount(10, 1));
    assert_eq!(account.figures().lag_seconds(now), 40.5);
    account.accepted(amount(10, 1));
    assert_eq!(account.figures().lag_seconds(now), 0.0);
    // There were more bytes after the slice; they are younger than its end.
    account.set_unread(7);
    assert_eq!(
        (
            account.figures().lag_seconds(now),
            account.figures().lag_bytes()
        ),
        (21.5, 7)
    );
    // Bytes that appear where there were none are as old as their first sighting.
    account.set_unread(0);
    account.set_unread(7);
    assert_eq!(account.figures().lag_seconds(now), 0.0);
}

#[test]
fn a_container_that_goes_stays_in_the_total() {
    let accounts = Accounts::default();
    let (one, two) = (accounts.open(id(1)), accounts.open(id(2)));
    for account in [&one, &two] {
        account.took(&SliceStats {
            read: 10,
            skipped: 10,
            ..SliceStats::default()
        });
        account.set_unread(3);
    }
    assert!(
        Arc::ptr_eq(&one, &accounts.open(id(1))),
        "one account a container"
    );
    assert_eq!(accounts.total().unread, 6);
    accounts.close(&id(1));
    accounts.close(&id(1));
    let total = accounts.total();
    assert_eq!((total.skipped, total.unread), (20, 3));
    assert_eq!(accounts.all().len(), 1);
    assert!(
        !Arc::ptr_eq(&one, &accounts.open(id(1))),
        "one that comes back begins anew"
    );
}

#[test]
fn an_account_tells_where_its_log_comes_from_until_that_is_not_read_any_more() {
    let account = Account::new(id(1));
    assert_eq!(account.origin(), None);
    for source in [SourceKind::Nowhere, SourceKind::Cache] {
        account.set_origin(Some(("syslog", source)));
        assert_eq!(
            account.origin(),
            Some(Origin {
                driver: "syslog".to_owned(),
                source
            })
        );
    }
    account.set_origin(None);
    assert_eq!(account.origin(), None);
}
