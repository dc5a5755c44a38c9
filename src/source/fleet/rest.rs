//! Containers that were removed while nothing was read, whose driver wrote to systemd's journal: what
//! it still has of them is read.

use std::time::{Duration, Instant};

use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::JournalWriter;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::safe_path::SafePath;
use crate::runtime::Found;
use crate::source::fleet::{Fleet, Turn};
use crate::source::journal::rest::{place_of, Rest};

/// How long the journal is searched at a start for containers that were removed. The search uses its
/// index.
const SEARCH_TIME: Duration = Duration::from_secs(5);

impl Fleet {
    /// Has the journal be read for those of these containers of which it has more; returns the others.
    pub(super) fn read_rests(
        &mut self,
        removed: Vec<ContainerId>,
        turn: &mut Turn<'_>,
    ) -> Vec<ContainerId> {
        let link = &turn.services.link;
        let place = |id: &ContainerId| place_of(&link.checkpoint.saved(id)?);
        let places: Vec<_> = removed.iter().map(place).collect();
        if places.iter().all(Option::is_none) {
            return removed;
        }
        let Ok(mut rests) = turn.services.journal.rests(turn.now, link) else {
            return removed;
        };
        let until = Instant::now() + SEARCH_TIME;
        let removed = removed.into_iter().zip(places);
        let others = removed.filter(|(id, place)| {
            let rest = place.map(|place| rests.of(id, &place, until));
            match rest {
                Some(Ok(Rest::Nothing)) => {
                    turn.services.link.leave(*id);
                    false
                }
                Some(Ok(Rest::Entries {
                    writer,
                    name,
                    image,
                })) => !self.read_rest(*id, writer, (name, image), turn),
                _ => true,
            }
        });
        others.map(|(id, _)| id).collect()
    }

    /// Adds a container that was removed and has more entries in the journal. Returns whether it is
    /// read.
    fn read_rest(
        &mut self,
        id: ContainerId,
        writer: JournalWriter,
        (name, image): (String, String),
        turn: &mut Turn<'_>,
    ) -> bool {
        // The one of the machine; users' containers have other ids in the checkpoint.
        let mut roots = self.roots.iter();
        let Some(root) = roots.position(|root| {
            root.runtime.api().is_some() && root.runtime.journal_writer() == Some(writer)
        }) else {
            return false;
        };
        let dir = self.roots[root].dir.join(id.to_string());
        let found = Found::new(id, SafePath::from(&dir), dir);
        let nameless = ContainerMetadata::nameless(&found);
        let api = self.roots[root].runtime.api();
        let key = self.add(root, found, true, turn);
        let metadata = ContainerMetadata {
            name: if name.is_empty() {
                nameless.name.clone()
            } else {
                name
            },
            image,
            runtime: api.map_or("", |api| api.runtime_name()).to_owned(),
            is_running: false,
            ..nameless
        };
        let cycle = turn.schedule.cycle();
        let mut around = turn.services.around(key, api, turn.now, cycle);
        let container = &mut self.containers[key];
        if container.begin_rest(metadata, &mut around) {
            turn.schedule.activate(key);
            return true;
        }
        // What it is selected by is not known any more.
        self.containers.remove(key);
        self.keys.remove(&id);
        false
    }
}
