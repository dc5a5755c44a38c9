//! The containers that are no longer listed: removed, or out of sight because the root or their
//! folder was moved, unmounted or mounted over while their runtime goes on writing to it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::delivery::link::Link;
use crate::runtime::id::ContainerId;
use crate::source::container::Container;
use crate::source::fleet::{Fleet, Turn};
use crate::source::removed;
use crate::source::roots::Root;
use crate::source::schedule::Schedule;
use crate::source::services::Services;

/// How many containers of a user are read on while they are out of sight: a user can move any number
/// of folders, and each keeps a descriptor.
const MOST_HIDDEN_OF_USER: usize = 64;

impl Fleet {
    /// Handles the containers that no readable root lists any longer: those that were removed are
    /// gone, those that are only out of sight are read on. While a root is missing, none is gone.
    pub(super) fn mark_unlisted(&mut self, listed: &HashSet<ContainerId>, turn: &mut Turn<'_>) {
        let places = |root: &Root| root.runtime.places(&root.dir);
        let places: Vec<Vec<PathBuf>> = self.roots.iter().map(places).collect();
        let mut of_users: HashMap<u32, usize> = HashMap::new();
        for (key, container) in self.containers.iter_mut() {
            if listed.contains(container.id()) {
                if std::mem::take(&mut container.is_hidden) {
                    turn.schedule.look_into(key);
                }
                continue;
            }
            let Some(root) = self.roots.get(container.root) else {
                continue;
            };
            let is_readable = root.failure.is_none();
            if !(is_readable || root.is_missing()) || may_be_listed(root, container) {
                continue;
            }
            let user = container.found().dir.user();
            let of_user = user.map(|uid| of_users.entry(uid).or_default());
            let has_room = of_user
                .as_ref()
                .is_none_or(|count| **count < MOST_HIDDEN_OF_USER);
            container.is_hidden = has_room && container.is_out_of_sight(&places[container.root]);
            if container.is_hidden {
                of_user.into_iter().for_each(|count| *count += 1);
            } else if is_readable {
                end(key, container, turn.schedule);
            }
        }
        self.report_hidden(&turn.services.link);
    }

    /// Reports, for each root, that containers of it are out of sight.
    fn report_hidden(&mut self, link: &Link) {
        let mut hidden: Vec<Vec<&Container>> = self.roots.iter().map(|_| Vec::new()).collect();
        for (_, container) in self.containers.iter().filter(|(_, it)| it.is_hidden) {
            hidden[container.root].push(container);
        }
        for (root, hidden) in self.roots.iter_mut().zip(hidden) {
            root.report_hidden(&hidden, link);
        }
    }

    /// Marks the containers of a root as gone that an API no longer lists in its place.
    pub(super) fn mark_gone(
        &mut self,
        listed: &HashSet<ContainerId>,
        schedule: &mut Schedule,
        index: usize,
    ) {
        let Some(root) = self.roots.get(index) else {
            return;
        };
        for (key, container) in self.containers.iter_mut() {
            let is_unlisted = container.root == index && !listed.contains(container.id());
            if is_unlisted && !may_be_listed(root, container) {
                end(key, container, schedule);
            }
        }
    }

    /// Drops the checkpoints of containers that were removed while this process was not
    /// running, unless systemd's journal has more of them.
    pub(super) fn forget_unlisted(&mut self, listed: &HashSet<ContainerId>, turn: &mut Turn<'_>) {
        let known = turn.services.link.checkpoint.containers().into_iter();
        let removed = known.filter(|id| !listed.contains(id) && !self.keys.contains_key(id));
        let removed = self.read_remainders(removed.collect(), turn);
        removed::forget(removed, &turn.services.link);
    }

    /// Forgets a container that is gone and read to its end. Returns the key of another one that
    /// goes on with its log.
    pub fn remove(&mut self, key: usize, services: &mut Services) -> Option<usize> {
        services.watch.forget(key);
        let container = self.containers.remove(key)?;
        self.keys.remove(container.id());
        let (path, end) = container.stopped_at()?;
        self.pass_back(&path, end, services)
    }
}

/// Whether a container may still be there although it is not listed.
fn may_be_listed(root: &Root, container: &Container) -> bool {
    root.hides(container) || container.found().outlives_its_link()
}

fn end(key: usize, container: &mut Container, schedule: &mut Schedule) {
    container.is_gone = true;
    schedule.activate(key);
}
