//! Selects the containers that have series of their own.
//!
//! The host keeps a series for as long as the instance lives: removing one would destroy data
//! that another thread of the host may be traversing (an input that scrapes the host's metrics
//! on its own thread). Series are therefore a budget. A container that is gone leaves its
//! counters at their last values and its gauges at 0. The number of containers that ever get
//! series is bounded; beyond it further containers appear only in the totals, which is logged
//! once.
//!
//! The budget goes to the containers that matter: the first ones immediately, later ones once
//! they have existed for a minute or have lost data. A job that runs for a few seconds costs
//! nothing.
//!
//! The host copies and encodes every series once a second, whether somebody asks for them or not,
//! and finds a series to be set by going through those of its metric. So a series begins with its
//! first value other than 0 (the one of the records at once, those of bytes once they are many, or
//! the container writes although it is not new), and only what has changed is set; once
//! a minute everything is, because outputs that send the metrics on send the time at which they were
//! set, and receivers take what is five minutes old for gone.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::format::position::Timestamp;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::{About, Account, Accounts};
use crate::telemetry::metrics::figures::{values, Values, USUAL};
use crate::telemetry::metrics::Labels;
use crate::telemetry::throttle::Once;

/// Number of containers that ever get series, as a multiple of those that may have them at a
/// time.
const TURNOVER: usize = 10;

/// How long a container must have existed to get series once the initial ones are used up.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// For so long, what is read of a container may have been there when it was found.
const BEGINNING: Duration = Duration::from_secs(10);

/// So many bytes of that have series at once.
const MANY: f64 = 65_536.0;

/// After this time, what has not changed is published as well.
const REFRESH: Duration = Duration::from_secs(60);

/// What is to be published of one container, and the labels of its series.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Name and short id, of a pod's container that of the run with which the series began.
    pub labels: Labels,
    /// The value of each metric that is to be set.
    pub values: Values<Option<f64>>,
    /// Whether these are the last values: the container is gone or was renamed.
    pub has_ended: bool,
}

/// The series of one container.
#[derive(Debug)]
struct Series {
    labels: Labels,
    account: Arc<Account>,
    /// The value of each metric in the host, `None` where there is no series.
    published: Values<Option<f64>>,
    /// When it began, and how many records there were at the end of [`BEGINNING`].
    began: Instant,
    records: f64,
}

impl Series {
    fn show(
        &mut self,
        (now, time): (Instant, Timestamp),
        has_ended: bool,
        is_refresh: bool,
    ) -> Shown {
        let current = values(&self.account.figures(), time, has_ended);
        if now.duration_since(self.began) < BEGINNING {
            self.records = current[0];
        }
        let is_idle = self.records == current[0];
        let mut changed = [None; _];
        let all = self.published.iter_mut().zip(current).zip(&mut changed);
        for (index, ((published, value), changed)) in all.enumerate() {
            let is_due = match *published {
                Some(before) => before != value || is_refresh,
                None if index == 0 => true,
                None if index < USUAL => value != 0.0 && (!is_idle || value >= MANY),
                None => value != 0.0,
            };
            if is_due {
                (*published, *changed) = (Some(value), Some(value));
            }
        }
        Shown {
            labels: self.labels.clone(),
            values: changed,
            has_ended,
        }
    }
}

/// The containers that have series, and the budget spent on them.
#[derive(Debug, Default)]
pub struct ContainerSeries {
    live: BTreeMap<ContainerId, Series>,
    /// When everything was last published.
    refreshed: Option<Instant>,
    /// Labels of every series ever created.
    made: HashSet<Labels>,
    /// When the next one that was too new has existed long enough.
    next_settled: Option<Instant>,
    is_exhausted: bool,
    exhaustion: Once,
}

impl ContainerSeries {
    /// What to publish now. `most` containers have series at a time, and as many again that have
    /// lost data.
    pub fn show(
        &mut self,
        accounts: &Accounts,
        most: usize,
        now: (Instant, Timestamp),
    ) -> Vec<Shown> {
        let is_refresh = self.needs_refresh(now.0);
        if is_refresh {
            self.refreshed = Some(now.0);
        }
        let changed = accounts.take_changed();
        let mut shown = self.end(&changed, now);
        let have_settled = self.next_settled.is_some_and(|next| next <= now.0);
        // All are looked at only where the next one may be one that did not change.
        if !shown.is_empty() || (have_settled && self.live.len() < most) {
            self.next_settled = None;
            self.admit(&accounts.all(), most, now.0);
        } else {
            self.admit(&changed, most, now.0);
        }
        let live = self.live.values_mut();
        shown.extend(live.map(|series| series.show(now, false, is_refresh)));
        shown
    }

    /// Whether everything is to be published, though nothing may have changed.
    pub fn needs_refresh(&self, now: Instant) -> bool {
        self.refreshed
            .is_none_or(|refreshed| now.duration_since(refreshed) >= REFRESH)
    }

    /// Removes containers that are gone or renamed; returns their last values.
    fn end(&mut self, changed: &[Arc<Account>], now: (Instant, Timestamp)) -> Vec<Shown> {
        let mut ended = Vec::new();
        for account in changed {
            let Entry::Occupied(mut of_id) = self.live.entry(*account.id()) else {
                continue;
            };
            let series = of_id.get_mut();
            let is_its = Arc::ptr_eq(account, &series.account);
            if is_its && (account.is_closed() || !still_fit(&series.labels, account)) {
                ended.push(series.show(now, true, false));
                of_id.remove();
            }
        }
        ended
    }

    fn admit(&mut self, accounts: &[Arc<Account>], most: usize, now: Instant) {
        let waiting = accounts
            .iter()
            .filter(|account| !self.live.contains_key(account.id()) && !account.is_closed());
        // Containers of users come last, so that a user cannot displace others from the
        // metrics by losing data on purpose.
        let mut waiting: Vec<_> = waiting
            .map(|account| {
                let is_of_user = account.is_of_user();
                let is_whole = is_of_user || account.figures().lost() == 0;
                (is_of_user, is_whole, *account.id(), account)
            })
            .collect();
        waiting.sort_unstable_by_key(|(is_of_user, is_whole, id, _)| (*is_of_user, *is_whole, *id));
        for (_, is_whole, id, account) in waiting {
            let room = if is_whole {
                most
            } else {
                most.saturating_mul(2)
            };
            if self.live.len() >= room {
                continue;
            }
            let settles = account.opened() + SETTLED_AFTER;
            if is_whole && self.made.len() >= most && now < settles {
                let next = self.next_settled.get_or_insert(settles);
                *next = settles.min(*next);
                continue;
            }
            let labels = labels_of(account);
            let is_new = !self.made.contains(&labels);
            if is_new && self.made.len() >= most.saturating_mul(TURNOVER) {
                self.is_exhausted = true;
                continue;
            }
            self.made.insert(labels.clone());
            // What the host has of a container that was there before is not known any more.
            let published = if is_new { None } else { Some(f64::NAN) };
            let series = Series {
                labels,
                account: Arc::clone(account),
                published: [published; _],
                began: now,
                records: 0.0,
            };
            self.live.insert(id, series);
        }
    }

    /// Once the budget is exhausted, calls `report` with the number of containers that have
    /// had series, until `report` returns that the message was kept.
    pub fn report_exhausted(&mut self, report: impl FnOnce(usize) -> bool) {
        if let Some(containers) = self.exhausted() {
            self.exhaustion.report(|| report(containers));
        }
    }

    /// The number of containers that have had series, if the budget is exhausted.
    pub fn exhausted(&self) -> Option<usize> {
        self.is_exhausted.then_some(self.made.len())
    }
}

/// The values of `CONTAINER_LABELS`. The id, the last one, is empty while it is unknown.
fn labels_of(account: &Account) -> Labels {
    let About {
        namespace,
        pod,
        container,
        image,
    } = account.about();
    let id = account.known_short_id().unwrap_or_default();
    Labels::new([account.name(), namespace, pod, container, image, id])
}

/// Whether a series goes on under its labels. A container of a pod has another id in each run, but
/// one account over all of them: with a series for each run, sums would count it twice, and a
/// container that restarts all the time would use up the budget. For the same reason, what is known
/// of it besides its name and its id stays as it is when the series begins.
fn still_fit(labels: &Labels, account: &Account) -> bool {
    let now = Labels::new([account.name(), account.known_short_id().unwrap_or_default()]);
    let had_id = labels.values().next_back().is_some_and(|id| !id.is_empty());
    let is_same_id = had_id || labels.values().next_back() == now.values().next_back();
    labels.values().next() == now.values().next() && is_same_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metadata::ContainerMetadata;
    use crate::runtime::Pod;
    use crate::telemetry::account::{Abandoned, Amount, SliceStats};
    use crate::telemetry::metrics::figures::FIGURES;

    fn id(number: u8) -> ContainerId {
        ContainerId::from_bytes([number; 32])
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
        let (accounts, mut series, now) = (
            Accounts::default(),
            ContainerSeries::default(),
            Instant::now(),
        );
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
        let (accounts, mut series, now) = (
            Accounts::default(),
            ContainerSeries::default(),
            Instant::now(),
        );
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
        let (accounts, mut series, now) = (
            Accounts::default(),
            ContainerSeries::default(),
            Instant::now(),
        );
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
        let (accounts, mut series, mut now) = (
            Accounts::default(),
            ContainerSeries::default(),
            Instant::now(),
        );
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
        let (accounts, mut series, now) = (
            Accounts::default(),
            ContainerSeries::default(),
            Instant::now(),
        );
        for number in 1..200 {
            let _held = open(&accounts, number);
            series.show(&accounts, 3, at(now));
            accounts.close(&id(number));
        }
        assert_eq!((series.made.len(), series.exhausted()), (3, None));
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
        let (accounts, mut series, now) = (
            Accounts::default(),
            ContainerSeries::default(),
            Instant::now(),
        );
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
}
