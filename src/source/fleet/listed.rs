//! The containers that the roots list: new ones, and those that are known.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::runtime::id::ContainerId;
use crate::runtime::Found;
use crate::source::container::place::Place;
use crate::source::fleet::copied::Listed;
use crate::source::fleet::{Fleet, Turn};

impl Fleet {
    /// Adds the containers that the roots list; returns the ids of all listed ones.
    pub(super) fn take_listed(&mut self, turn: &mut Turn<'_>) -> HashSet<ContainerId> {
        let (mut listed, mut others) = (Vec::new(), Vec::new());
        let mut first = HashMap::new();
        for (root, it) in self.roots.iter_mut().enumerate() {
            let is_first = it.failure.is_none() && std::mem::take(&mut it.is_first_look);
            for found in std::mem::take(&mut it.listed) {
                let is_known = first.contains_key(&found.id);
                if !is_known {
                    first.insert(found.id, listed.len());
                }
                let listed = if is_known { &mut others } else { &mut listed };
                listed.push(Listed {
                    root,
                    is_first,
                    found,
                });
            }
        }
        let read = |id: &ContainerId| {
            let container = self.containers.get(*self.keys.get(id)?)?;
            Some(container.found().clone())
        };
        self.copied
            .choose(&mut listed, &first, others, &self.roots, read);
        self.is_any_expected = false;
        for it in listed {
            let id = it.found.id;
            match self.keys.get(&id) {
                Some(&key) => {
                    if !self.meet_again(key, it.root, it.found, turn) {
                        first.remove(&id);
                    }
                }
                // A container that has come back is added once all queued batches of its
                // earlier life are accepted: only then is its checkpoint final.
                None if turn.services.link.is_leaving(&id) => self.is_any_expected = true,
                None => self.add_listed(it.root, it.found, it.is_first, turn),
            }
            let container = self.keys.get(&id).copied();
            if let Some(container) = container.and_then(|key| self.containers.get_mut(key)) {
                container.has_copy = self.copied.has(&id);
            }
        }
        first.into_keys().collect()
    }

    /// Handles a listed container that is already known, perhaps only from the API or from
    /// another runtime. Returns whether it is that: an empty folder may cover its own one.
    fn meet_again(&mut self, key: usize, root: usize, found: Found, turn: &mut Turn<'_>) -> bool {
        let Some(container) = self.containers.get_mut(key) else {
            return true;
        };
        let is_moved = match container.root == root {
            true => container.is_elsewhere(&found),
            false => container.is_in_another_folder(&found),
        };
        if is_moved && container.is_covered_by(&found) {
            return false;
        }
        // It is added again once it is read to its end.
        self.is_any_expected |= container.is_gone;
        if self.roots[root].changed.contains(&found.id) {
            container.note_changed();
            turn.schedule.look_into(key);
        }
        let place = Place {
            runtime: Arc::clone(&self.roots[root].runtime),
            root,
            found: found.clone(),
        };
        if is_moved && self.copied.has(&found.id) && container.leaves_for(place.clone()) {
            turn.schedule.activate(key);
        } else if is_moved {
            let (api, cycle) = (container.api(), turn.schedule.cycle());
            let mut around = turn.services.around(key, api, turn.now, cycle);
            container.move_to(place, &mut around);
            turn.schedule.look_into(key);
        } else {
            container.stays();
        }
        if std::mem::take(&mut container.is_remote) {
            // A refused watch has already been reported for another folder.
            let _ = container.watch_folder(&mut turn.services.watch, key);
            turn.schedule.look_into(key);
        }
        // The first runtime keeps it, even if it does not list it for a moment.
        if root < container.root {
            let runtime = Arc::clone(&self.roots[root].runtime);
            container.adopt(runtime, root, found);
            turn.schedule.look_into(key);
        }
        true
    }
}
