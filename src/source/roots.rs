//! The root folders of the runtimes: what they list, whether they can be read, and the watches
//! on them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::delivery::link::Link;
use crate::runtime::file::is_shortage;
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::SafePath;
use crate::runtime::{
    stamp, stamp_listed, FolderStamp, Found, Hides, RootWatch, Runtime, Unreadable,
};
use crate::source::container::Container;
use crate::source::watch::FileWatch;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

/// How many unreadable folders are reported at one look. The rest follow at the next looks,
/// because the host's log has limited room.
const NAMED_AT_A_LOOK: usize = 32;

/// The least time between two messages that one folder cannot be read: its owner may change
/// its permissions at will.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The root folder of one runtime.
pub struct Root {
    /// The runtime whose root this is.
    pub runtime: Arc<dyn Runtime>,
    /// The path, with symlinks resolved.
    pub dir: PathBuf,
    /// The device and the inode that were found there last.
    place: Option<(u64, u64)>,
    /// It was another folder before, which is still to be reported.
    has_moved: bool,
    /// Whether the next successful look is the first: containers found then may be older than
    /// this process.
    pub is_first_look: bool,
    /// The containers found by the last look, until the reader takes them.
    pub listed: Vec<Found>,
    /// Those of them whose metadata changed.
    pub changed: HashSet<ContainerId>,
    /// Why the last look failed.
    pub failure: Option<io::Error>,
    /// The failure as it is reported and counted: unlike `failure`, unset for a missing folder
    /// whose runtime is not used on this machine.
    pub trouble: Trouble,
    /// Containers are out of sight.
    hidden: Trouble<()>,
    watch: Option<RootWatch>,
    is_watch_refused: bool,
    folders: HashSet<SafePath>,
    /// What the last look could not read although it listed the rest: containers in it should
    /// be read and are not. `reported` has the parts that were reported, by path and reason.
    pub unreadable: Vec<Unreadable>,
    reported: HashMap<(PathBuf, String), Hides>,
    /// Folders reported as unreadable within the last minute, and when.
    named: HashMap<PathBuf, Instant>,
    /// The folders, with their stamps, that alone decided the last look's result; `None` if
    /// something else did.
    looked_at: Option<Vec<(PathBuf, FolderStamp)>>,
}

impl Root {
    /// Creates a root that has not been looked at yet.
    pub fn new(runtime: Arc<dyn Runtime>) -> Root {
        Root {
            dir: runtime.root(),
            runtime,
            place: None,
            has_moved: false,
            is_first_look: true,
            listed: Vec::new(),
            changed: HashSet::new(),
            failure: None,
            trouble: Trouble::default(),
            hidden: Trouble::paced(),
            watch: None,
            is_watch_refused: false,
            folders: HashSet::new(),
            unreadable: Vec::new(),
            reported: HashMap::new(),
            named: HashMap::new(),
            looked_at: None,
        }
    }

    /// The folders that exist and in which containers are found.
    pub fn places(&self) -> Vec<PathBuf> {
        let mut places = self.runtime.places(&self.dir);
        places.retain(|place| place.exists());
        places
    }

    /// Whether the folder does not exist.
    pub fn is_missing(&self) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether another look would return the same list as the last one.
    pub fn is_same(&self) -> bool {
        if self.trouble.is_to_be_reported() {
            return false;
        }
        // If it is reported as missing and there is an API, look again: that asks the API
        // instead.
        if self.is_missing() && !(self.trouble.is_there() && self.runtime.api().is_some()) {
            let again = self.runtime.list(&self.runtime.root());
            return again.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        }
        // Links that are missing do not change what is listed.
        let is_same_without = |it: &Unreadable| {
            it.hides == Hides::ContainerIds && std::fs::File::open(&it.path).is_err()
        };
        if !self.unreadable.iter().all(is_same_without) {
            return false;
        }
        let is_same = |(dir, seen): &(PathBuf, FolderStamp)| stamp(dir) == Some(*seen);
        self.looked_at
            .as_ref()
            .is_some_and(|folders| folders.iter().all(is_same))
    }

    /// Finds the root where it is now: it may since have been created, copied elsewhere, mounted
    /// over, or be a symlink that leads to another place. Returns whether it is another folder
    /// than before.
    pub fn find_again(&mut self) -> bool {
        let dir = self.runtime.root();
        let place = dir.metadata().ok().map(|found| (found.dev(), found.ino()));
        if dir == self.dir && (place == self.place || place.is_none()) {
            return false;
        }
        self.has_moved |= place.is_some() && self.place.is_some();
        (self.dir, self.place) = (dir, place.or(self.place));
        // These were of the other folder.
        (self.watch, self.is_watch_refused) = (None, false);
        self.folders.clear();
        self.looked_at = None;
        true
    }

    /// Lists the root. Returns true if folders are newly watched: the caller must look again,
    /// because a container may have been created before the watch.
    pub fn look(&mut self, watch: &mut FileWatch) -> bool {
        self.find_again();
        self.looked_at = None;
        let begun = SystemTime::now();
        match self.runtime.list(&self.dir) {
            Ok(listing) => {
                self.failure = None;
                if listing.is_decided_by_folders {
                    let below = listing.folders.iter().map(|dir| dir.to_path_buf());
                    let folders = std::iter::once(self.dir.clone()).chain(below);
                    let stamped = folders.map(|dir| {
                        let stamp = stamp_listed(&dir, begun)?;
                        Some((dir, stamp))
                    });
                    self.looked_at = stamped.collect();
                }
                let before = std::mem::replace(&mut self.unreadable, listing.unreadable);
                self.listed = listing.containers;
                self.changed = listing.changed;
                if before.iter().any(|it| self.can_be_read_now(it)) {
                    self.changed.extend(self.listed.iter().map(|it| it.id));
                }
                self.watch_folders(listing.folders, watch)
            }
            Err(error) => {
                // There may be none for another watch either.
                if !is_shortage(&error) {
                    self.watch = None;
                }
                self.unreadable = Vec::new();
                self.failure = Some(error);
                false
            }
        }
    }

    /// Whether containers lacked metadata as this could not be read, which it can be now.
    fn can_be_read_now(&self, before: &Unreadable) -> bool {
        let is_shared = matches!(
            before.hides,
            Hides::Labels | Hides::ImagesAndLabels | Hides::Names
        );
        is_shared && self.unreadable.iter().all(|it| it.path != before.path)
    }

    fn watch_folders(&mut self, folders: Vec<SafePath>, watch: &mut FileWatch) -> bool {
        let folders: HashSet<SafePath> = folders.into_iter().collect();
        let known = std::mem::replace(&mut self.folders, folders);
        let mut is_new = false;
        for folder in self.folders.difference(&known) {
            // If the watch is refused, the rescan finds the changes.
            is_new |= folder.with_path(|folder| watch.watch_root(folder)).is_ok();
        }
        is_new
    }

    /// Whether a container that is not listed may still exist in an unreadable part.
    pub fn hides(&self, container: &Container) -> bool {
        self.unreadable
            .iter()
            .any(|it| it.may_hide(container.found()))
    }

    /// Whether the machine's own containers may be hidden in an unreadable part. Users'
    /// containers do not count: hiding them is up to the user.
    pub fn hides_containers(&self) -> bool {
        self.unreadable.iter().any(|it| {
            matches!(
                it.hides,
                Hides::Containers | Hides::MovedContainers | Hides::LinkedLogs(_)
            )
        })
    }

    /// Reports each unreadable part once, and once that it is readable again.
    pub fn report_unreadable(&mut self, link: &Link, seconds: f64, at: Instant) {
        if let Some(shortage) = self.unreadable.iter().find(|it| is_shortage(&it.error)) {
            // A shortage says nothing about any folder.
            return link.report_shortage(&shortage.path, &shortage.error);
        }
        if self.failure.is_some() {
            return;
        }
        let now: HashSet<(PathBuf, String)> = self
            .unreadable
            .iter()
            .map(|it| (it.path.clone(), it.error.to_string()))
            .collect();
        let is_unreadable = |path: &PathBuf| now.iter().any(|(unreadable, _)| unreadable == path);
        let is_listed = |path: &PathBuf| {
            let mut found = self
                .listed
                .iter()
                .flat_map(|found| [&*found.dir, &*found.origin]);
            found.any(|dir| dir.starts_with(path))
                || self.folders.iter().any(|dir| dir.starts_with(path))
        };
        self.reported.retain(|said, hides| {
            let (is_still, path) = (now.contains(said), &said.0);
            // A removed path needs no message. Do not access a user's path just for that.
            let is_there = || match hides {
                Hides::UsersContainers
                | Hides::UnknownUser
                | Hides::UsersMovedContainers(_)
                | Hides::Names
                | Hides::Labels
                | Hides::ImagesAndLabels => is_listed(path),
                _ => path.symlink_metadata().is_ok(),
            };
            let is_news = !is_still && !is_unreadable(path) && is_there();
            let is_kept = !is_news || link.report(Event::FolderReadable { path: path.clone() });
            is_still || !is_kept
        });
        self.named
            .retain(|_, last| at.duration_since(*last) < REPORT_INTERVAL);
        let mut named = 0;
        // A user can give any number of names to what cannot be read.
        let is_enough = |effect, named: &HashMap<_, _>| {
            matches!(
                effect,
                Hides::UsersContainers | Hides::Labels | Hides::Names
            ) && named.len() >= NAMED_AT_A_LOOK
        };
        for it in &self.unreadable {
            let (path, reason, effect) = (it.path.clone(), it.error.to_string(), it.hides);
            if named == NAMED_AT_A_LOOK {
                break;
            }
            let said = (path.clone(), reason.clone());
            let is_known = self.reported.contains_key(&said) || self.named.contains_key(&path);
            if is_known || is_enough(effect, &self.named) {
                continue;
            }
            named += 1;
            let event = match effect {
                Hides::UnknownUser => Event::UserUnknown {
                    path: path.clone(),
                    reason,
                },
                effect => Event::FolderUnreadable {
                    path: path.clone(),
                    reason,
                    effect,
                    seconds,
                },
            };
            if link.report(event) {
                self.reported.insert(said, effect);
                self.named.insert(path, at);
            }
        }
    }

    /// Whether an entry of the root changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(RootWatch::take_changed)
    }

    /// Watches the root unless it is watched already or was refused; returns the reason of a
    /// refusal once.
    pub fn watch(&mut self, link: &Arc<Link>) -> Result<(), String> {
        if self.watch.is_some() || self.is_watch_refused || !self.dir.is_dir() {
            return Ok(());
        }
        let waker = Arc::clone(link);
        match RootWatch::new(&self.dir, &link.threads, move || waker.reader_waker.wake()) {
            Ok(watch) => self.watch = Some(watch),
            Err(reason) => {
                self.is_watch_refused = true;
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Reports once that containers of this root are out of sight, until none is. What makes them
    /// so may begin and end at a user's will.
    pub fn report_hidden(&mut self, hidden: &[&Container], link: &Link) {
        let Some(first) = hidden.first() else {
            return self.hidden.end(|| true);
        };
        let (name, short_id) = first.names();
        self.hidden.begin((), || {
            link.report(Event::OutOfSight {
                count: hidden.len(),
                name,
                short_id,
                path: first.found().origin.to_path_buf(),
            })
        });
    }

    /// Reports once that the root cannot be read, and once that it can be read again.
    pub fn report(&mut self, link: &Link, seconds: f64) {
        let path = self.dir.clone();
        if self.has_moved && self.failure.is_none() {
            self.has_moved = !link.report(Event::RootMoved { path: path.clone() });
        }
        if self.failure.is_some() {
            link.tally.read_errors.add_one();
        }
        match &self.failure {
            Some(error) if is_shortage(error) => link.report_shortage(&path, error),
            Some(error) => self.trouble.begin(Unread::of_error(error), || {
                let reason = error.to_string();
                link.report(Event::RootUnreadable {
                    path,
                    reason,
                    seconds,
                })
            }),
            None => self
                .trouble
                .end(|| link.report(Event::RootReadable { path })),
        }
    }
}

#[cfg(test)]
mod tests;
