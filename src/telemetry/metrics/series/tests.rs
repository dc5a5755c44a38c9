use super::*;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::Pod;
use crate::telemetry::account::{Abandoned, Amount, SliceStats};
use crate::telemetry::metrics::figures::FIGURES;

fn id(number: u8) -> ContainerId {
    ContainerId::from_bytes([number; 32])
}

/// No account, no series, and the time.
fn nothing_shown() -> (Accounts, ContainerSeries, Instant) {
    (
        Accounts::default(),
        ContainerSeries::default(),
        Instant::now(),
    )
}

fn open(accounts: &Accounts, number: u8) -> Arc<Account> {
    let account = accounts.open(id(number));
    account.set_name(&format!("c{number}"));
    account
}

/// At this moment, whatever it is by the clock on the wall.
fn at(now: Instant) -> (Instant, Timestamp) {
    (now, Timestamp::default())
}

fn texts(labels: &Labels) -> Vec<String> {
    let values = labels.values();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

fn names(shown: &[Shown], has_ended: bool) -> Vec<String> {
    let mut names: Vec<String> = shown
        .iter()
        .filter(|one| one.has_ended == has_ended)
        .filter_map(|one| texts(&one.labels).into_iter().next())
        .collect();
    names.sort();
    names
}

#[test]
fn who_has_series_keeps_them_and_is_shown_once_more_at_the_end() {
    let (accounts, mut series, now) = nothing_shown();
    let _held: Vec<_> = (1..=3).map(|number| open(&accounts, number)).collect();
    assert_eq!(
        names(&series.show(&accounts, 2, at(now)), false),
        ["c1", "c2"]
    );
    accounts.close(&id(1));
    let shown = series.show(&accounts, 2, at(now));
    assert_eq!(
        (names(&shown, true), names(&shown, false)),
        (vec!["c1".to_owned()], vec!["c2".to_owned()])
    );
    // The third had not existed long enough until now.
    let later = Instant::now() + SETTLED_AFTER;
    let shown = series.show(&accounts, 2, at(later));
    assert_eq!(
        (names(&shown, true).len(), names(&shown, false)),
        (0, vec!["c2".to_owned(), "c3".to_owned()])
    );
    assert_eq!(series.exhausted(), None);
}

#[test]
fn one_that_does_not_change_takes_a_place_that_becomes_free() {
    let (accounts, mut series) = (Accounts::default(), ContainerSeries::default());
    let _held: Vec<_> = (1..=4).map(|number| open(&accounts, number)).collect();
    let now = Instant::now();
    let mut show = |seconds| {
        let now = now + Duration::from_secs(seconds);
        names(&series.show(&accounts, 1, at(now)), false)
    };
    assert_eq!(show(0), ["c1"]);
    assert_eq!(show(70), ["c1"]);
    accounts.close(&id(1));
    assert_eq!(show(71), ["c2"], "at once, as it is old enough");
    accounts.close(&id(2));
    let _late = open(&accounts, 9);
    assert_eq!(show(72), ["c3"]);
    for number in [3, 4] {
        accounts.close(&id(number));
    }
    assert!(show(10).is_empty(), "too new");
    assert!(show(59).is_empty());
    assert_eq!(show(71), ["c9"], "after a minute, without a change");
}

#[test]
fn an_id_that_becomes_known_is_another_series_and_another_run_is_not() {
    let (accounts, mut series, now) = nothing_shown();
    let account = open(&accounts, 1);
    let mut labels = |id: Option<ContainerId>| {
        account.set_names("shop/web-1/app", id);
        let shown = series.show(&accounts, 3, at(now));
        let live = shown.into_iter().filter(|one| !one.has_ended);
        live.filter_map(|one| texts(&one.labels).pop())
            .collect::<Vec<_>>()
    };
    assert_eq!(labels(None), [""]);
    assert_eq!(labels(Some(id(2))), ["020202020202"]);
    assert_eq!(labels(Some(id(3))), ["020202020202"], "in another run");
    assert_eq!(series.made.len(), 2);
}

#[test]
fn labels_have_the_pod_and_the_image_where_they_are_known() {
    let (accounts, mut series) = (Accounts::default(), ContainerSeries::default());
    let described = |number: u8, metadata: &ContainerMetadata| {
        let account = accounts.open(id(number));
        account.set_names(&metadata.title(), Some(id(number)));
        account.set_about(&Arc::new(metadata.clone()));
        account
    };
    let docker = ContainerMetadata {
        name: "web".to_owned(),
        image: "nginx:1.27".to_owned(),
        ..ContainerMetadata::default()
    };
    let of_pod = ContainerMetadata {
        name: "app".to_owned(),
        pod: Some(Box::new(Pod {
            namespace: "shop".to_owned(),
            name: "cart-0".to_owned(),
            uid: String::new(),
            container_id: None,
            restart_count: 0,
            is_complete: true,
        })),
        ..ContainerMetadata::default()
    };
    let _held = [described(1, &docker), described(2, &of_pod)];
    let shown = series.show(&accounts, 9, at(Instant::now()));
    let mut labels: Vec<_> = shown.iter().map(|one| texts(&one.labels)).collect();
    labels.sort();
    assert_eq!(
        labels,
        [
            [
                "shop/cart-0/app",
                "shop",
                "cart-0",
                "app",
                "",
                "020202020202"
            ],
            ["web", "", "", "web", "nginx:1.27", "010101010101"],
        ]
    );
}

#[test]
fn a_loss_is_shown_at_once_beside_those_that_have_series() {
    let (accounts, mut series, now) = nothing_shown();
    let held: Vec<_> = (1..=4).map(|number| open(&accounts, number)).collect();
    series.show(&accounts, 1, at(now));
    for account in &held[1..] {
        account.abandon(Abandoned {
            entries: 0,
            bytes: 1,
            generations: 1,
        });
    }
    assert_eq!(
        names(&series.show(&accounts, 1, at(now)), false),
        ["c1", "c2"],
        "twice as many, no more"
    );
    assert_eq!(
        names(&series.show(&accounts, 0, at(now)), false),
        ["c1", "c2"]
    );
    assert!(ContainerSeries::default()
        .show(&accounts, 0, at(now))
        .is_empty());
}

#[test]
fn another_name_is_another_series_and_all_of_them_are_bounded() {
    let (accounts, mut series, mut now) = nothing_shown();
    let account = open(&accounts, 1);
    for round in 0..30 {
        account.set_name(&format!("name-{round}"));
        series.show(&accounts, 1, at(now));
        now += SETTLED_AFTER;
        series.show(&accounts, 1, at(now));
    }
    assert_eq!(
        (series.made.len(), series.exhausted()),
        (TURNOVER, Some(TURNOVER))
    );
    series.report_exhausted(|_| false);
    let mut told = Vec::new();
    for _ in 0..2 {
        series.report_exhausted(|containers| {
            told.push(containers);
            true
        });
    }
    assert_eq!(told, [TURNOVER], "until it is kept, and once");
    // A container that had these series before gets them again.
    account.set_name("name-0");
    assert_eq!(
        names(&series.show(&accounts, 1, at(now)), false),
        ["name-0"]
    );
}

#[test]
fn short_lived_containers_cost_nothing_once_the_first_ones_have_series() {
    let (accounts, mut series, now) = nothing_shown();
    for number in 1..200 {
        let _held = open(&accounts, number);
        series.show(&accounts, 3, at(now));
        accounts.close(&id(number));
    }
    assert_eq!((series.made.len(), series.exhausted()), (3, None));
    // When one of them would have been old enough, it is gone.
    assert!(series.next_settled.is_some());
    let later = Instant::now() + SETTLED_AFTER;
    assert!(series.show(&accounts, 3, at(later)).is_empty());
    assert_eq!((series.made.len(), series.next_settled), (3, None));
}

/// What every container that has written anything has more than one of.
#[test]
fn a_container_that_writes_no_more_has_one_series_and_one_that_does_has_three() {
    let accounts = Accounts::default();
    let (mut series, now) = (ContainerSeries::default(), Instant::now());
    let account = open(&accounts, 1);
    let write = |bytes: u64| {
        let amount = Amount { bytes, records: 1 };
        account.took(&SliceStats {
            read: bytes,
            queued: [Some((amount, Timestamp::default())), None],
            ..SliceStats::default()
        });
        account.accepted(amount);
    };
    write(100);
    let mut show = |seconds| {
        let now = now + Duration::from_secs(seconds);
        set(&series.show(&accounts, 2, at(now)))
    };
    assert_eq!(show(0), [(0, 1.0)]);
    write(100);
    assert_eq!(show(9), [(0, 2.0)]);
    assert_eq!(show(60), [(0, 2.0)]);
    write(100);
    assert_eq!(show(61), [(0, 3.0), (1, 300.0), (2, 300.0)]);
    // Much of another one is shown at once.
    let mut series = ContainerSeries::default();
    write(65_536);
    let shown = series.show(&accounts, 2, at(now));
    assert_eq!(set(&shown), [(0, 4.0), (1, 65_836.0), (2, 65_836.0)]);
}

/// Which metrics of the only container shown are set, and to what.
fn set(shown: &[Shown]) -> Vec<(usize, f64)> {
    let [shown] = shown else {
        panic!("{shown:?}");
    };
    let all = shown.values.iter().enumerate();
    all.filter_map(|(index, value)| Some((index, (*value)?)))
        .collect()
}

#[test]
fn what_is_zero_has_no_series_and_what_has_not_changed_is_set_once_a_minute() {
    let (accounts, mut series, now) = nothing_shown();
    let index = |name: &str| {
        let place = FIGURES.iter().position(|metric| metric.total.name == name);
        place.expect("a metric")
    };
    let (records, files) = (index("records_total"), index("abandoned_files_total"));
    let lose = |account: &Account| {
        account.abandon(Abandoned {
            generations: 1,
            ..Abandoned::default()
        });
    };
    let account = open(&accounts, 1);
    let mut show = |seconds| {
        let now = now + Duration::from_secs(seconds);
        set(&series.show(&accounts, 2, at(now)))
    };
    assert_eq!(show(0), [(records, 0.0)]);
    assert_eq!(show(1), []);
    lose(&account);
    assert_eq!(show(2), [(files, 1.0)]);
    assert_eq!(show(59), []);
    assert_eq!(show(60), [(records, 0.0), (files, 1.0)]);
    assert_eq!(show(61), []);
    // One that comes back begins at 0, also in the host.
    accounts.close(&id(1));
    assert_eq!(show(62), []);
    let _account = open(&accounts, 1);
    let all: Vec<_> = (0..FIGURES.len()).map(|index| (index, 0.0)).collect();
    assert_eq!(show(63), all);
    assert_eq!(show(64), []);
}
