//! The root folders of the runtimes: what they list, whether they can be read,
//! and the watches on them.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::is_shortage;
use super::watch::FileWatch;
use crate::discover::{stamp, FolderStamp, Found, RootWatch, Runtime};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::metrics::Unread;
use crate::trouble::Trouble;

/// The root folder of one runtime.
pub struct Root {
    /// Whose it is.
    pub runtime: Arc<dyn Runtime>,
    /// Where it is.
    pub dir: PathBuf,
    /// Whether a look at it is still the first: what is found then may be older
    /// than us.
    pub is_first_look: bool,
    /// Its containers, to be taken up.
    pub listed: Vec<Found>,
    /// Why the last look failed.
    pub failure: Option<io::Error>,
    /// The same, as far as the folder is missed: one of a runtime that is not used here is not.
    pub trouble: Trouble,
    watch: Option<RootWatch>,
    is_watch_refused: bool,
    folders: HashSet<PathBuf>,
    /// The folders that decided what the last look found, where they alone do.
    looked_at: Option<Vec<(PathBuf, FolderStamp)>>,
}

impl Root {
    /// Nothing was looked at yet.
    pub fn new(runtime: Arc<dyn Runtime>) -> Root {
        Root {
            dir: runtime.root(),
            runtime,
            is_first_look: true,
            listed: Vec::new(),
            failure: None,
            trouble: Trouble::default(),
            watch: None,
            is_watch_refused: false,
            folders: HashSet::new(),
            looked_at: None,
        }
    }

    /// Whether there is no such folder.
    pub fn is_missing(&self) -> bool {
        self.failure.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether another look would list what the last one did.
    pub fn is_same(&self) -> bool {
        if self.trouble.is_to_be_reported() {
            return false;
        }
        // Where it is missed and there is an API, that is asked in its place.
        if self.is_missing() && !(self.trouble.is_there() && self.runtime.api().is_some()) {
            let again = self.runtime.list(&self.runtime.root());
            return again.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        }
        let is_same = |(dir, seen): &(PathBuf, FolderStamp)| stamp(dir) == Some(*seen);
        self.looked_at.as_ref().is_some_and(|folders| folders.iter().all(is_same))
    }

    /// Looks. Where folders are new, another look is needed, since a container
    /// may have come before the watch: then this is true.
    pub fn look(&mut self, watch: Option<&mut FileWatch>) -> bool {
        // The root may have appeared, or been a link to elsewhere, since.
        if self.failure.is_some() {
            self.dir = self.runtime.root();
        }
        self.looked_at = None;
        match self.runtime.list(&self.dir) {
            Ok(listing) => {
                self.failure = None;
                if listing.is_decided_by_folders {
                    let folders = std::iter::once(&self.dir).chain(&listing.folders);
                    // What came or went while we looked is too young for a stamp.
                    let stamped = folders.map(|dir| Some((dir.clone(), stamp(dir)?)));
                    self.looked_at = stamped.collect();
                }
                self.listed = listing.containers;
                self.watch_folders(listing.folders, watch)
            }
            Err(error) => {
                self.watch = None;
                self.failure = Some(error);
                false
            }
        }
    }

    fn watch_folders(&mut self, folders: Vec<PathBuf>, watch: Option<&mut FileWatch>) -> bool {
        let folders: HashSet<PathBuf> = folders.into_iter().collect();
        let known = std::mem::replace(&mut self.folders, folders);
        let Some(watch) = watch else { return false };
        let mut is_new = false;
        for folder in self.folders.difference(&known) {
            // Where it is refused, the rescan looks.
            is_new |= watch.watch_root(folder).is_ok();
        }
        is_new
    }

    /// Whether something changed right below it since the last call.
    pub fn take_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(RootWatch::take_changed)
    }

    /// Watches it, if that is not so yet; says once why not.
    pub fn watch(&mut self, exchange: &Arc<Exchange>) -> Result<(), String> {
        if self.watch.is_some() || self.is_watch_refused || !self.dir.is_dir() {
            return Ok(());
        }
        let bell = Arc::clone(exchange);
        match RootWatch::new(&self.dir, &exchange.threads, move || bell.reader_bell.ring()) {
            Ok(watch) => self.watch = Some(watch),
            Err(reason) => {
                self.is_watch_refused = true;
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Says once that it cannot be read, and once that it can again.
    pub fn report(&mut self, exchange: &Exchange, seconds: f64) {
        let path = self.dir.clone();
        if self.failure.is_some() {
            exchange.tally.read_errors.add_one();
        }
        match &self.failure {
            Some(error) if is_shortage(error) => exchange.report_shortage(error),
            Some(error) => self.trouble.begin(Unread::of_error(error), || {
                let reason = error.to_string();
                exchange.report(Event::RootUnreadable { path, reason, seconds })
            }),
            None => self.trouble.end(|| exchange.report(Event::RootReadable { path })),
        }
    }
}
