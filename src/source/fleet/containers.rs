//! The containers of a reader, by key, with a summary of each.
//!
//! A survey and a rescan concern all containers. Most have not changed since the last one and are no
//! longer in the processor's caches, so a visit takes 0.5 to 5 µs each; their summaries are contiguous.
//! A container is visited only if it was borrowed mutably since its summary, or if that depends on more
//! than the container. A list of a root borrows all of them.

use slab::Slab;

use crate::source::container::summary::Summary;
use crate::source::container::Container;

/// The containers of a reader, by key. Keys are small, and used again.
#[derive(Default)]
pub struct Containers {
    all: Slab<Container>,
    /// By key; `None` without a container, and of one that may have changed since its summary.
    summaries: Vec<Option<Summary>>,
}

impl Containers {
    /// Number of containers.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is one with this key.
    pub fn contains(&self, key: usize) -> bool {
        self.all.contains(key)
    }

    /// The container with this key.
    pub fn get(&self, key: usize) -> Option<&Container> {
        self.all.get(key)
    }

    /// The container with this key, for a change.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut Container> {
        let container = self.all.get_mut(key)?;
        self.summaries[key] = None;
        Some(container)
    }

    /// All containers, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Container)> {
        self.all.iter()
    }

    /// All containers, with their keys, for changes.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Container)> {
        self.summaries.fill(None);
        self.all.iter_mut()
    }

    /// Adds a container and returns its key.
    pub fn insert(&mut self, container: Container) -> usize {
        let key = self.all.insert(container);
        if key >= self.summaries.len() {
            self.summaries.resize(key + 1, None);
        }
        key
    }

    /// Removes the container with this key.
    pub fn remove(&mut self, key: usize) -> Option<Container> {
        let container = self.all.try_remove(key)?;
        self.summaries[key] = None;
        Some(container)
    }

    /// Those that a rescan must ask whether they need a look: without a summary, not settled, or
    /// `doubted`.
    pub fn unsettled<'a>(
        &'a self,
        doubted: impl Fn(usize) -> bool + 'a,
    ) -> impl Iterator<Item = (usize, &'a Container)> {
        let all = self.summaries.iter().enumerate();
        all.filter_map(move |(key, summary)| {
            let is_settled = summary.is_some_and(|it| it.is_settled) && !doubted(key);
            debug_assert!(!is_settled || self.get(key).is_some_and(|it| !it.needs_a_look(false)));
            let container = || self.get(key).map(|container| (key, container));
            (!is_settled).then(container).flatten()
        })
    }

    /// The summaries of all containers as of now; `summarize` makes one.
    pub fn summaries(
        &mut self,
        summarize: impl Fn(&Container) -> Summary,
    ) -> impl Iterator<Item = &Summary> {
        for (key, summary) in self.summaries.iter_mut().enumerate() {
            if !summary.is_some_and(|it| it.is_lasting) {
                *summary = self.all.get(key).map(&summarize);
            } else {
                debug_assert_eq!(*summary, self.all.get(key).map(&summarize));
            }
        }
        self.summaries.iter().flatten()
    }
}
