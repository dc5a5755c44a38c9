//! The accounts of one instance, and their sums.
//!
//! Of ten thousand containers few change within a second, and an account that nobody touched since
//! the last look is no longer in the processor's caches. So nothing visits them all: an account lists
//! itself, with the figures it had, when it changes for the first time since the last look, and the
//! sums are corrected by those that are listed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::changes::{Changes, Listed};
use crate::telemetry::account::{Account, Figures, Held};

/// The accounts of one instance.
#[derive(Debug, Default)]
pub struct Accounts {
    books: Mutex<Books>,
    changes: Arc<Changes>,
}

#[derive(Debug, Default)]
struct Books {
    open: HashMap<ContainerId, Arc<Account>>,
    /// Sums over all containers, present and past, as of the last look.
    settled: Figures,
    held: Held,
    /// Whether a sum that belongs to no account has changed since the last look.
    has_changed: bool,
}

impl Accounts {
    /// The account of a container, created if there is none.
    pub fn open(&self, id: ContainerId) -> Arc<Account> {
        self.open_as(id, id)
    }

    /// Like [`Accounts::open`], for a container whose runtime uses a different id.
    pub fn open_as(&self, id: ContainerId, runtime_id: ContainerId) -> Arc<Account> {
        let changes = &self.changes;
        let new = || {
            let account = Arc::new_cyclic(|itself| {
                Account::of(id, runtime_id, Arc::downgrade(changes), itself.clone())
            });
            account.change(|_| true);
            account
        };
        Arc::clone(self.books().open.entry(id).or_insert_with(new))
    }

    /// Counts `files` of which an unknown part was lost, and whose container has no account or is not
    /// known.
    pub fn abandon_files(&self, files: u64) {
        let mut books = self.books();
        books.settled.abandoned.generations += files;
        books.has_changed |= files > 0;
    }

    /// Closes the account of a container that is gone and completely processed; its sums stay in
    /// the total.
    pub fn close(&self, id: &ContainerId) {
        if let Some(account) = self.books().open.remove(id) {
            account.close();
        }
    }

    /// Resumes reading a container that was held back.
    pub fn read_on(&self, id: &ContainerId) {
        if let Some(account) = self.books().open.get(id) {
            account.hold_back(false);
        }
    }

    /// Sets the deleted files that are held open now.
    pub fn set_held(&self, held: Held) {
        let mut books = self.books();
        books.has_changed |= books.held != held;
        books.held = held;
    }

    /// The deleted files held open, as of the last check.
    pub fn held(&self) -> Held {
        self.books().held
    }

    /// The open accounts, in no particular order.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.books().open.values().map(Arc::clone).collect()
    }

    /// The sums over all containers, present and past.
    pub fn total(&self) -> Figures {
        let books = self.books();
        let listed = self.changes.take();
        let corrected =
            |total: Figures, (account, before): &Listed| total - *before + account.figures();
        let total = listed.iter().fold(books.settled, corrected);
        self.changes.put_back(listed);
        total
    }

    /// Whether anything changed since [`Accounts::take_changed`], or waits, so that its age grows.
    pub fn has_changed(&self) -> bool {
        self.books().has_changed || !self.changes.is_empty()
    }

    /// The accounts that were opened, closed, named or changed since the last call, and those
    /// that wait.
    pub fn take_changed(&self) -> Vec<Arc<Account>> {
        let mut books = self.books();
        books.has_changed = false;
        let listed = self.changes.take();
        let mut changed = Vec::with_capacity(listed.len());
        let mut waiting = Vec::new();
        for (account, before) in listed {
            let figures = account.settle();
            let now = Figures {
                waits_since: None,
                ..figures
            };
            books.settled = books.settled - before + now;
            if figures.waits_since.is_some() {
                waiting.push((Arc::clone(&account), now));
            }
            changed.push(account);
        }
        self.changes.put_back(waiting);
        changed
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

#[cfg(test)]
mod tests;
