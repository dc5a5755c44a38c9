//! Containers that were removed while nothing was read, whose driver wrote to systemd's journal: what
//! it still has of them is read.

use std::io;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::JournalPlace;
use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::JournalWriter;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::safe_path::SafePath;
use crate::runtime::Found;
use crate::source::fleet::{Fleet, Turn};
use crate::source::journal::remainder::{place_of, Remainder, Remainders};

/// How long the journal is searched at a start for containers that were removed. The search uses its
/// index.
const SEARCH_TIME: Duration = Duration::from_secs(5);

/// Searches the journal, which is opened if it is not.
fn search(
    of: (&ContainerId, &JournalPlace),
    writers: &[JournalWriter],
    until: Instant,
    remainders: &mut Option<Remainders>,
    turn: &mut Turn<'_>,
) -> io::Result<Remainder> {
    let mut opened = match remainders.take() {
        Some(opened) => opened,
        None => turn
            .services
            .journal
            .remainders(turn.now, &turn.services.link)?,
    };
    let remainder = opened.of(of, writers, until)?;
    *remainders = Some(opened);
    Ok(remainder)
}

impl Fleet {
    /// Has the journal be read for those of these containers of which it has more; returns the others.
    pub(super) fn read_remainders(
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
        // Those of users have other ids for their containers in the checkpoint.
        let of_machine = self
            .roots
            .iter()
            .filter(|root| root.runtime.api().is_some());
        let writers: Vec<_> = of_machine
            .filter_map(|root| root.runtime.journal_writer())
            .collect();
        let until = Instant::now() + SEARCH_TIME;
        let mut remainders = None;
        let removed = removed.into_iter().zip(places);
        let others = removed.filter(|(id, place)| {
            let mut search = |place| {
                let mut remainder = search((id, &place), &writers, until, &mut remainders, turn);
                if remainder.is_err() {
                    // What is left of a removed file, or behind the end of an archived one, fails once.
                    remainder = search((id, &place), &writers, until, &mut remainders, turn);
                }
                remainder.unwrap_or(Remainder::Unknown)
            };
            match place.map_or(Remainder::Unknown, &mut search) {
                Remainder::Nothing => {
                    turn.services.link.leave(*id);
                    false
                }
                Remainder::Entries {
                    writer,
                    name,
                    image,
                } => !self.read_remainder(*id, writer, (name, image), turn),
                Remainder::Unknown => true,
            }
        });
        others.map(|(id, _)| id).collect()
    }

    /// Adds a container that was removed and has more entries in the journal. Returns whether it is
    /// read.
    fn read_remainder(
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
            runtime: api.map_or("", |api| api.runtime_name()),
            is_running: false,
            ..nameless
        };
        let cycle = turn.schedule.cycle();
        let mut around = turn.services.around(key, api, turn.now, cycle);
        let container = self.containers.get_mut(key);
        if container.is_some_and(|it| it.begin_remainder(metadata, &mut around)) {
            turn.schedule.activate(key);
            return true;
        }
        // What it is selected by is not known any more.
        self.containers.remove(key);
        self.keys.remove(&id);
        false
    }
}
