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
mod tests;
