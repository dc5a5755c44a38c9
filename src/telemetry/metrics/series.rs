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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runtime::id::ContainerId;
use crate::telemetry::account::{About, Account, Figures};
use crate::telemetry::throttle::Once;

/// Number of containers that ever get series, as a multiple of those that may have them at a
/// time.
const TURNOVER: usize = 10;

/// How long a container must have existed to get series once the initial ones are used up.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The figures of one container and the labels of its series.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Name and short id, of a pod's container that of the run with which the series began.
    pub labels: Vec<String>,
    /// The container's figures.
    pub figures: Figures,
    /// Whether these are the last values: the container is gone or was renamed.
    pub has_ended: bool,
}

/// The containers that have series, and the budget spent on them.
#[derive(Debug, Default)]
pub struct ContainerSeries {
    live: BTreeMap<ContainerId, (Vec<String>, Arc<Account>)>,
    /// Labels of every series ever created.
    made: HashSet<Vec<String>>,
    first_seen: HashMap<ContainerId, Instant>,
    is_exhausted: bool,
    exhaustion: Once,
}

impl ContainerSeries {
    /// The series to publish now. `most` containers have series at a time, and as many again
    /// that have lost data.
    pub fn show(&mut self, accounts: Vec<Arc<Account>>, most: usize, now: Instant) -> Vec<Shown> {
        let there: HashMap<ContainerId, &Arc<Account>> = accounts
            .iter()
            .map(|account| (*account.id(), account))
            .collect();
        let mut shown = self.end(&there);
        self.first_seen.retain(|id, _| there.contains_key(id));
        self.admit(&accounts, most, now);
        shown.extend(self.live.values().map(|(labels, account)| Shown {
            labels: labels.clone(),
            figures: account.figures(),
            has_ended: false,
        }));
        shown
    }

    /// Removes containers that are gone or renamed; returns their last figures.
    fn end(&mut self, there: &HashMap<ContainerId, &Arc<Account>>) -> Vec<Shown> {
        let mut ended = Vec::new();
        self.live.retain(|id, (labels, account)| {
            let goes_on = there
                .get(id)
                .is_some_and(|now| Arc::ptr_eq(now, account) && still_fit(labels, now));
            if !goes_on {
                let (labels, figures) = (std::mem::take(labels), account.figures());
                ended.push(Shown {
                    labels,
                    figures,
                    has_ended: true,
                });
            }
            goes_on
        });
        ended
    }

    fn admit(&mut self, accounts: &[Arc<Account>], most: usize, now: Instant) {
        let mut waiting: Vec<(bool, &Arc<Account>)> = Vec::new();
        for account in accounts
            .iter()
            .filter(|account| !self.live.contains_key(account.id()))
        {
            // Containers of users come last, so that a user cannot displace others from the
            // metrics by losing data on purpose.
            waiting.push((
                account.is_of_user() || account.figures().lost() == 0,
                account,
            ));
        }
        waiting.sort_by_key(|(is_whole, account)| (account.is_of_user(), *is_whole, *account.id()));
        for (is_whole, account) in waiting {
            let id = *account.id();
            let seen = *self.first_seen.entry(id).or_insert(now);
            let has_settled = self.made.len() < most || now.duration_since(seen) >= SETTLED_AFTER;
            let room = if is_whole {
                most
            } else {
                most.saturating_mul(2)
            };
            if self.live.len() >= room || (is_whole && !has_settled) {
                continue;
            }
            let labels = labels_of(account);
            let is_new = !self.made.contains(&labels);
            if is_new && self.made.len() >= most.saturating_mul(TURNOVER) {
                self.is_exhausted = true;
                continue;
            }
            self.made.insert(labels.clone());
            self.live.insert(id, (labels, Arc::clone(account)));
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

/// Labels of a container's series. The id comes last and has twelve characters, or none while it is
/// unknown, because cmetrics looks up series by a hash of the concatenated values.
pub const CONTAINER_LABELS: &[&str] = &[
    "container_name",
    "namespace",
    "pod",
    "container",
    "image",
    "container_id",
];

/// The values of `CONTAINER_LABELS`. The id, the last one, is empty while it is unknown.
fn labels_of(account: &Account) -> Vec<String> {
    let About {
        namespace,
        pod,
        container,
        image,
    } = account.about();
    let id = account.known_short_id().unwrap_or_default();
    vec![account.name(), namespace, pod, container, image, id]
}

/// Whether a series goes on under its labels. A container of a pod has another id in each run, but
/// one account over all of them: with a series for each run, sums would count it twice, and a
/// container that restarts all the time would use up the budget. For the same reason, what is known
/// of it besides its name and its id stays as it is when the series begins.
fn still_fit(labels: &[String], account: &Account) -> bool {
    let id = account.known_short_id().unwrap_or_default();
    let has_id = |had: &String| *had == id || !had.is_empty();
    labels.first() == Some(&account.name()) && labels.last().is_some_and(has_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metadata::ContainerMetadata;
    use crate::runtime::Pod;
    use crate::telemetry::account::{Abandoned, Accounts};

    fn id(number: u8) -> ContainerId {
        ContainerId::from_bytes([number; 32])
    }

    fn open(accounts: &Accounts, number: u8) -> Arc<Account> {
        let account = accounts.open(id(number));
        account.set_name(&format!("c{number}"));
        account
    }

    fn names(shown: &[Shown], has_ended: bool) -> Vec<String> {
        let mut names: Vec<String> = shown
            .iter()
            .filter(|one| one.has_ended == has_ended)
            .map(|one| one.labels[0].clone())
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
            names(&series.show(accounts.all(), 2, now), false),
            ["c1", "c2"]
        );
        accounts.close(&id(1));
        let shown = series.show(accounts.all(), 2, now);
        assert_eq!(
            (names(&shown, true), names(&shown, false)),
            (vec!["c1".to_owned()], vec!["c2".to_owned()])
        );
        // The third had not existed long enough until now.
        let later = now + SETTLED_AFTER;
        let shown = series.show(accounts.all(), 2, later);
        assert_eq!(
            (names(&shown, true).len(), names(&shown, false)),
            (0, vec!["c2".to_owned(), "c3".to_owned()])
        );
        assert_eq!(series.exhausted(), None);
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
            let shown = series.show(accounts.all(), 3, now);
            let live = shown.into_iter().filter(|one| !one.has_ended);
            live.filter_map(|one| one.labels.last().cloned())
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
            account.set_about(About::of(metadata));
            account
        };
        let docker = ContainerMetadata {
            name: "web".to_owned(),
            image: "nginx:1.27".to_owned(),
            ..ContainerMetadata::default()
        };
        let of_pod = ContainerMetadata {
            name: "app".to_owned(),
            pod: Some(Pod {
                namespace: "shop".to_owned(),
                name: "cart-0".to_owned(),
                uid: String::new(),
                container_id: None,
                restart_count: 0,
                is_complete: true,
            }),
            ..ContainerMetadata::default()
        };
        let _held = [described(1, &docker), described(2, &of_pod)];
        let shown = series.show(accounts.all(), 9, Instant::now());
        let mut labels: Vec<Vec<String>> = shown.into_iter().map(|one| one.labels).collect();
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
        series.show(accounts.all(), 1, now);
        for account in &held[1..] {
            account.abandon(Abandoned {
                bytes: 1,
                generations: 1,
            });
        }
        assert_eq!(
            names(&series.show(accounts.all(), 1, now), false),
            ["c1", "c2"],
            "twice as many, no more"
        );
        assert_eq!(
            names(&series.show(accounts.all(), 0, now), false),
            ["c1", "c2"]
        );
        assert!(ContainerSeries::default()
            .show(accounts.all(), 0, now)
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
            series.show(accounts.all(), 1, now);
            now += SETTLED_AFTER;
            series.show(accounts.all(), 1, now);
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
            names(&series.show(accounts.all(), 1, now), false),
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
            series.show(
                accounts.all(),
                3,
                now + Duration::from_secs(u64::from(number)),
            );
            accounts.close(&id(number));
        }
        assert_eq!((series.made.len(), series.exhausted()), (3, None));
        assert!(series.first_seen.len() <= 1);
    }
}
