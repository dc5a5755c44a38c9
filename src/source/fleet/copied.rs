//! Containers of which several folders are listed, and which of these is read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::delivery::link::Link;
use crate::runtime::copied::{choose, is_same_folder, State, Written};
use crate::runtime::id::ContainerId;
use crate::runtime::Found;
use crate::source::roots::Root;
use crate::telemetry::event::Event;
use crate::telemetry::trouble::Trouble;

/// In how many looks in a row two folders must be written before that is reported: while a root is
/// being copied, the copy is written as well.
const LOOKS_AT_BOTH: u32 = 5;

/// A container that a root lists.
pub(super) struct Listed {
    /// The index of the root.
    pub root: usize,
    /// Whether it is the first look at the root.
    pub is_first: bool,
    /// The container.
    pub found: Found,
}

/// The containers with several folders.
#[derive(Default)]
pub(super) struct Copied {
    known: HashMap<ContainerId, Known>,
    several: Trouble<()>,
    both: Trouble<()>,
}

/// One container with several folders, as it was at the last look.
struct Known {
    /// The folders, the one that is read first.
    folders: Vec<(Found, State)>,
    /// In how many looks in a row that folder and another one were written.
    both: u32,
}

impl Copied {
    /// None is known.
    pub fn new() -> Copied {
        Copied {
            several: Trouble::paced(),
            both: Trouble::paced(),
            ..Copied::default()
        }
    }

    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether this is one of them.
    pub fn has(&self, id: &ContainerId) -> bool {
        self.known.contains_key(id)
    }

    /// Number of containers of which two folders are written.
    pub fn both(&self) -> usize {
        self.known.values().filter(|it| it.is_both()).count()
    }

    /// Puts the folder that is to be read in the place of the first one, for each container of
    /// `others`. `first` has the indexes of the first ones in `listed`; `read` returns what is read.
    pub fn choose(
        &mut self,
        listed: &mut [Listed],
        first: &HashMap<ContainerId, usize>,
        others: Vec<Listed>,
        roots: &[Root],
        read: impl Fn(&ContainerId) -> Option<Found>,
    ) {
        let mut several: HashMap<ContainerId, Vec<Listed>> = HashMap::new();
        for other in others {
            let id = other.found.id;
            let one = first.get(&id).and_then(|index| listed.get(*index));
            let mut known = one
                .into_iter()
                .chain(several.get(&id).into_iter().flatten());
            if !known.any(|known| is_same_folder(&known.found, &other.found)) {
                several.entry(id).or_default().push(other);
            }
        }
        let mut before = std::mem::take(&mut self.known);
        for (id, mut others) in several {
            let Some(one) = first.get(&id).and_then(|index| listed.get_mut(*index)) else {
                continue;
            };
            let all: Vec<&Listed> = std::iter::once(&*one).chain(&others).collect();
            let (chosen, known) = Known::look(&all, before.remove(&id), read(&id), roots);
            self.known.insert(id, known);
            if let Some(other) = chosen.checked_sub(1).and_then(|it| others.get_mut(it)) {
                std::mem::swap(one, other);
            }
        }
    }

    /// Reports once that there are such containers, and once that two folders of one are written.
    /// `names` returns the names of a container.
    pub fn report(&mut self, link: &Link, names: impl Fn(&ContainerId) -> (String, String)) {
        let first = |known: &mut dyn Iterator<Item = (&ContainerId, &Known)>| {
            let first = known.min_by_key(|(id, _)| *id.bytes());
            first.map(|(id, known)| (names(id), known.parents()))
        };
        match first(&mut self.known.iter()) {
            None => self.several.end(|| true),
            Some(((name, short_id), (path, other))) => self.several.begin((), || {
                link.report(Event::Copied {
                    count: self.known.len(),
                    name,
                    short_id,
                    path,
                    other,
                })
            }),
        }
        match first(&mut self.known.iter().filter(|(_, known)| known.is_both())) {
            None => self.both.end(|| true),
            Some(((name, short_id), (path, other))) => self.both.begin((), || {
                link.report(Event::CopyWritten {
                    name,
                    short_id,
                    path,
                    other,
                })
            }),
        }
    }
}

impl Known {
    /// Looks at all folders of a container. `before` is what was known of them, `read` the one that
    /// is read. Returns the index of the one to read.
    fn look(
        all: &[&Listed],
        before: Option<Known>,
        read: Option<Found>,
        roots: &[Root],
    ) -> (usize, Known) {
        let both = before.as_ref().map_or(0, |known| known.both);
        let before = |found: &Found| {
            let mut folders = before.iter().flat_map(|known| &known.folders);
            let known = folders.find(|(known, _)| known.dir == found.dir);
            known.map(|(_, state)| *state)
        };
        let mut folders = Vec::new();
        // Written since the last look; of one that is new, nobody knows.
        let mut is_written = Vec::new();
        for it in all {
            let written = Written::last(&*roots[it.root].runtime, &it.found);
            let before = before(&it.found);
            let has_changed = before.map(|before| before.written != written);
            let has_grown = has_changed == Some(true) || before.is_some_and(|it| it.has_grown);
            is_written.push(has_changed);
            folders.push((it.found.clone(), State { written, has_grown }));
        }
        let is_read = |read: Found| all.iter().position(|it| is_same_folder(&read, &it.found));
        // One that is new may be a copy that is being made.
        let read = read
            .and_then(is_read)
            .map(|read| (read, is_written[read] == Some(false)));
        let states: Vec<State> = folders.iter().map(|(_, state)| *state).collect();
        let chosen = choose(&states, read);
        if read.is_none_or(|(_, is_resting)| is_resting) {
            folders
                .iter_mut()
                .for_each(|(_, state)| state.has_grown = false);
        }
        folders.swap(0, chosen);
        let is_both = is_written.iter().filter(|it| **it == Some(true)).count() > 1
            && is_written[chosen] == Some(true);
        let both = match is_both {
            true => both.saturating_add(1),
            false => 0,
        };
        (chosen, Known { folders, both })
    }

    fn is_both(&self) -> bool {
        self.both >= LOOKS_AT_BOTH
    }

    /// The folder in which the container is that is read, and that of another one.
    fn parents(&self) -> (PathBuf, PathBuf) {
        let parent = |index: usize| {
            let found = self.folders.get(index).map(|(found, _)| &found.origin);
            let parent = found.and_then(|path| path.parent());
            parent.unwrap_or(Path::new("")).to_owned()
        };
        (parent(0), parent(1))
    }
}
