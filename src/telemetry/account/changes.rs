//! The accounts that changed since the last look.

use std::sync::{Arc, Mutex};

use crate::lock::lock;
use crate::telemetry::account::{Account, Figures};

/// An account, and its figures before it changed.
pub(super) type Listed = (Arc<Account>, Figures);

/// Accounts that changed since the last look, each once.
///
/// An account adds itself while its own lock is held, so nobody may take an account's lock while
/// holding this one.
#[derive(Debug, Default)]
pub(super) struct Changes {
    accounts: Mutex<Vec<Listed>>,
}

impl Changes {
    pub fn add(&self, account: Arc<Account>, before: Figures) {
        lock(&self.accounts).push((account, before));
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.accounts).is_empty()
    }

    pub fn take(&self) -> Vec<Listed> {
        std::mem::take(&mut lock(&self.accounts))
    }

    pub fn put_back(&self, listed: Vec<Listed>) {
        lock(&self.accounts).extend(listed);
    }
}
