//! What the reader does right now: what a stop that waits for it in vain can tell the
//! operator. The reader sets it, once or twice for a slice, at the price of a store; the
//! host's thread reads it when a stop has waited for long.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::Accounts;

/// Bits of a container's id beside what is done for it: its short id.
const ID_BITS: u32 = 48;

/// What the reader does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It begins, or waits.
    Nothing,
    /// It lists or watches a folder of the runtimes'.
    Listing,
    /// It looks into a container's folder: its metadata, and new files of its log.
    Looking,
    /// It reads a container's log.
    Reading,
    /// It makes records of what it has read of a container's log.
    Decoding,
}

const ALL: [Doing; 5] = [
    Doing::Nothing,
    Doing::Listing,
    Doing::Looking,
    Doing::Reading,
    Doing::Decoding,
];

/// What the reader does, shared with the host's thread.
#[derive(Debug, Default)]
pub struct Activity {
    /// [`Doing`] above the first bytes of a container's id.
    now: AtomicU64,
    /// The folder of the last [`Doing::Listing`].
    folder: Mutex<PathBuf>,
}

impl Activity {
    /// Nothing to do at the moment.
    pub fn waits(&self) {
        self.now.store(0, Ordering::Relaxed);
    }

    /// Something with a folder of the runtimes'.
    pub fn lists(&self, folder: &Path) {
        lock(&self.folder).clone_from(&folder.to_owned());
        self.now
            .store((Doing::Listing as u64) << ID_BITS, Ordering::Relaxed);
    }

    /// Something for a container.
    pub fn is(&self, doing: Doing, id: &ContainerId) {
        self.now
            .store((doing as u64) << ID_BITS | prefix(id), Ordering::Relaxed);
    }

    /// What that is, in words behind "the reader is", and whether a file system is asked
    /// for it.
    pub fn tell(&self, accounts: &Accounts) -> (Doing, String) {
        let now = self.now.load(Ordering::Relaxed);
        let doing = ALL
            .into_iter()
            .find(|doing| *doing as u64 == now >> ID_BITS)
            .unwrap_or(Doing::Nothing);
        let container = || {
            let wanted = now & ((1 << ID_BITS) - 1);
            let accounts = accounts.all();
            let account = accounts
                .iter()
                .find(|account| prefix(account.id()) == wanted);
            let name = account.map(|account| account.name()).unwrap_or_default();
            format!("container {name} ({wanted:012x})")
        };
        let told = match doing {
            Doing::Nothing => "waiting".to_owned(),
            Doing::Listing => {
                let folder = lock(&self.folder);
                format!("listing {}", folder.display())
            }
            Doing::Looking => format!("checking the log files of {}", container()),
            Doing::Reading => format!("reading the log of {}", container()),
            Doing::Decoding => format!("processing the lines of {}", container()),
        };
        (doing, told)
    }
}

/// The short id as a number.
fn prefix(id: &ContainerId) -> u64 {
    id.bytes()
        .iter()
        .take(ID_BITS as usize / 8)
        .fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_told_with_its_container_or_folder() {
        let (activity, accounts) = (Activity::default(), Accounts::default());
        let id = ContainerId::parse(&"0123456789ab".repeat(6)[..64]).unwrap();
        accounts.open(id).set_name("web");
        let told = |activity: &Activity| activity.tell(&accounts);
        assert_eq!(told(&activity), (Doing::Nothing, "waiting".to_owned()));
        activity.is(Doing::Reading, &id);
        let want = "reading the log of container web (0123456789ab)".to_owned();
        assert_eq!(told(&activity), (Doing::Reading, want));
        activity.is(Doing::Decoding, &ContainerId::from_bytes([0xff; 32]));
        let want = "processing the lines of container  (ffffffffffff)".to_owned();
        assert_eq!(told(&activity), (Doing::Decoding, want));
        activity.lists(Path::new("/var/lib/docker"));
        assert_eq!(
            told(&activity),
            (Doing::Listing, "listing /var/lib/docker".to_owned())
        );
        activity.waits();
        assert_eq!(told(&activity).0, Doing::Nothing);
    }
}
