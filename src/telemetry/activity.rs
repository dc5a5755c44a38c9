//! The reader's current activity, for the message about a stop that waits in vain. The reader
//! sets it once or twice per slice, at the cost of a store; the host's thread reads it when a
//! stop takes long.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::lock::lock;
use crate::runtime::id::ContainerId;
use crate::telemetry::account::Accounts;

/// Bits of the short id, stored below the kind of activity.
const ID_BITS: u32 = 48;

/// The kinds of activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Starting, or waiting.
    Nothing,
    /// Listing or watching a directory of a runtime.
    Listing,
    /// Checking a container's directory for metadata and new log files.
    Looking,
    /// Reading a container's log.
    Reading,
    /// Making records of what was read of a container's log.
    Decoding,
}

const ALL: [Doing; 5] = [
    Doing::Nothing,
    Doing::Listing,
    Doing::Looking,
    Doing::Reading,
    Doing::Decoding,
];

/// The reader's activity, shared with the host's thread.
#[derive(Debug, Default)]
pub struct Activity {
    /// [`Doing`] in the high bits, the first bytes of the container's id in the low ones.
    now: AtomicU64,
    /// The directory of the last [`Doing::Listing`].
    folder: Mutex<PathBuf>,
}

impl Activity {
    /// Records that the reader is waiting.
    pub fn waits(&self) {
        self.now.store(0, Ordering::Relaxed);
    }

    /// Records that the reader lists or watches `folder`.
    pub fn lists(&self, folder: &Path) {
        lock(&self.folder).clone_from(&folder.to_owned());
        self.now
            .store((Doing::Listing as u64) << ID_BITS, Ordering::Relaxed);
    }

    /// Records that the reader is working on a container.
    pub fn is(&self, doing: Doing, id: &ContainerId) {
        self.now
            .store((doing as u64) << ID_BITS | prefix(id), Ordering::Relaxed);
    }

    /// The current activity, and a phrase to follow "the reader is".
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
            let unknown = || (String::new(), format!("{wanted:012x}"));
            let (name, short_id) = account.map_or_else(unknown, |account| account.names());
            format!("container {name} ({short_id})")
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
