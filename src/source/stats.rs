//! Collects the reader's metrics: at most once a second, less often the more containers there are,
//! and not at all while nothing changes, so that an idle machine stays idle.

use std::time::{Duration, Instant};

use crate::runtime::Hides;
use crate::source::fleet::Fleet;
use crate::source::roots::Root;
use crate::source::services::Services;
use crate::telemetry::metrics::{Survey, Unread};

/// Shortest interval between two surveys; the host exports its metrics as often.
const INTERVAL: Duration = Duration::from_secs(1);
/// The part of the interval for each container: a survey visits those that changed, at worst all.
const INTERVAL_PER_CONTAINER: Duration = Duration::from_micros(500);
/// Longest interval, however many containers there are.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// What is compared to detect a change beside the accounts: the survey and the read errors.
type Seen = (Survey, u64);

/// When the last survey was taken, and its result.
#[derive(Debug)]
pub(in crate::source) struct Surveyor {
    last: Option<Seen>,
    looked: Instant,
    /// When the next survey is due; `None` if the last one saw no change.
    pub(in crate::source) next: Option<Instant>,
}

impl Surveyor {
    pub(in crate::source) fn new(now: Instant) -> Surveyor {
        Surveyor {
            last: None,
            looked: now,
            next: Some(now),
        }
    }

    /// If a survey is due, takes it and, if it changed, passes it to the host.
    pub(in crate::source) fn survey_if_due(
        &mut self,
        fleet: &mut Fleet,
        services: &Services,
        now: Instant,
    ) {
        let link = &services.link;
        let is_due = match self.next {
            Some(next) => now >= next,
            // Something woke the reader; its effect is surveyed an interval later.
            None => {
                self.next = Some((self.looked + interval(fleet)).max(now));
                false
            }
        };
        if !is_due {
            return;
        }
        let errors = link.tally.read_errors.get();
        let seen = (survey(fleet, services, now), errors);
        let has_changed = self.last.as_ref() != Some(&seen) || link.accounts.has_changed();
        self.looked = now;
        self.next = has_changed.then(|| now + interval(fleet));
        if has_changed {
            link.show(seen.0.clone());
            self.last = Some(seen);
        }
    }
}

fn interval(fleet: &Fleet) -> Duration {
    let containers = u32::try_from(fleet.containers.len()).unwrap_or(u32::MAX);
    let interval = INTERVAL_PER_CONTAINER.saturating_mul(containers);
    interval.clamp(INTERVAL, LONGEST_INTERVAL)
}

fn survey(fleet: &mut Fleet, services: &Services, now: Instant) -> Survey {
    let mut survey = Survey {
        polls: services.watch.is_refused(),
        ..Survey::default()
    };
    let is_unwritten = services.journal.is_unwritten();
    for it in fleet.containers.summaries(|container| {
        let streams = container.api().and_then(|api| services.streams.get(api));
        container.summarize(now, streams, is_unwritten)
    }) {
        survey.containers[it.source as usize] += 1;
        if let Some(reason) = it.unread {
            survey.unread[reason as usize] += 1;
        }
        survey.files_open += u64::from(it.files_open);
        survey.open_lines += u64::from(it.open_lines);
    }
    for it in fleet.roots.iter().flat_map(|root| &root.unreadable) {
        let hidden = match it.hides {
            Hides::LinkedLogs(containers) => containers,
            // At least one container that should be read.
            Hides::Containers
            | Hides::UsersContainers
            | Hides::UnknownUser
            | Hides::MovedContainers
            | Hides::UsersMovedContainers(_) => 1,
            // Where no daemon has userns-remap, there is none.
            Hides::ContainerIds
            | Hides::Labels
            | Hides::Names
            | Hides::ImagesAndLabels
            | Hides::RemappedContainers => 0,
        };
        survey.unread[Unread::of_error(&it.error) as usize] += hidden;
    }
    survey.unread[Unread::Copy as usize] += fleet.written_twice() as u64;
    let is_shown = |root: &&Root| root.failure.is_none() || root.trouble.is_there();
    let shown = fleet.roots.iter().filter(is_shown);
    survey.roots = shown
        .map(|root| (root.dir.clone(), root.failure.is_none()))
        .collect();
    for streams in services.streams.iter() {
        survey.open_lines += streams.open_lines();
    }
    survey
}
