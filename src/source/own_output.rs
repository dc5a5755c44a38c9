//! Ends a loop: Fluent Bit prints each record (`-o stdout`) into the log of a container that is
//! read, so each line of it becomes another one. `Exclude_Self` prevents that where it can be known
//! which container is Fluent Bit's. This is the last net, and does not ask whose container it is:
//!
//! ```text
//!            three looks in a row               the log is quiet
//!            find its id in its log             after 2 s
//! Watching ------------------------> Settling ------------------> Probing: 256 KiB are read
//!    ^                                ^    |                         |          ^
//!    |                                |    | it writes its id        v          | a minute, then
//!    |  the first time                |    | by itself            Reacting      | two, up to an
//!    |<-------------------------------|----+-----------------------' |          | hour
//!    |  the second time               |    nothing is written        |          |
//!    |  Cleared, for an hour          '------------------------------+--> Paused
//!    '------ '                           a quarter of it is          the third
//!                                        written, with its id        time
//! ```
//!
//! A record has the full id of its container, so in a loop the lines of the container have its own;
//! in a pod whose links with the ids are not there, it is the pod's uid that is searched for.
//! The proof is that the log grows because it is read, in proportion and each time, and does not while
//! nothing of it is read. A container that writes its id by itself does so while nothing is read, or
//! does not when something is; it waits some 2 to 4 s. If it is suspected again within 20 s, Fluent
//! Bit may have a long `Flush`, and its reaction is awaited for 6.5 s in place of 2; after that the
//! container is not looked at for an hour. Each further wait to settle is twice as long, so no rhythm
//! of a container's fits them. Nothing is lost: unread lines stay in the log.
//!
//! No line costs anything: of a container of which 64 KiB or more were read since the last look, and
//! whose log has grown by as much meanwhile, what was written since is looked at. Reading a backlog
//! writes nothing, so a backlog never counts. A slower loop is not ended, nor one through the API,
//! or of records without either (`Metadata off`), or with a `Flush` of more than 5 s.

use std::time::{Duration, Instant};

use crate::delivery::link::Link;
use crate::runtime::id::ContainerId;
use crate::runtime::Pod;
use crate::source::describe::Description;
use crate::source::file::tailer::Tailer;
use crate::source::own_output::end::is_uid;
use crate::source::own_output::search::{Found, Search, LOOK_BYTES};
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;
use crate::telemetry::trouble::Trouble;

mod end;
mod search;

/// How often it is checked whether reading may go on.
const HELD_INTERVAL: Duration = Duration::from_millis(200);

/// What is known of whether a container's log has what Fluent Bit prints. Nothing is, and nothing is
/// kept, of one that has not written enough.
#[derive(Debug, Default)]
pub struct OwnOutput {
    known: Option<Box<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    search: Search,
    trouble: Trouble,
}

impl OwnOutput {
    /// Until when nothing is to be read, if so; it may end earlier. `read` tells how many bytes were
    /// read so far.
    pub fn held_until(&self, now: Instant, read: impl FnOnce() -> u64) -> Option<Instant> {
        let known = self.known.as_ref();
        let is_held = known.is_some_and(|known| known.search.is_held(read));
        is_held.then_some(now + HELD_INTERVAL)
    }

    /// Whether there is more to find out, or to report, although nothing of its log may be read.
    pub fn is_under_way(&self) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|it| it.search.is_under_way() || it.trouble.is_to_be_reported())
    }

    /// Why it is not read, if it is a loop.
    pub fn unread(&self) -> Option<Unread> {
        let known = self.known.as_ref();
        let is_paused = known.is_some_and(|known| known.search.is_paused());
        is_paused.then_some(Unread::OwnOutput)
    }

    /// Looks at the log of a container and reports what was found.
    pub fn look(&mut self, about: &Description, tailer: &Tailer, link: &Link, now: Instant) {
        let account = about.account();
        let read = account.figures().read.bytes;
        if self.known.is_none() && read < LOOK_BYTES {
            return;
        }
        let Known { search, trouble } = &mut **self.known.get_or_insert_default();
        let is_to_be_reported = trouble.is_to_be_reported();
        if !search.is_due(read, now) && !is_to_be_reported {
            return;
        }
        let pod = about.template().metadata.pod.as_deref();
        let mark = mark(account.known_id(), pod);
        let (Some(file), Some(mark)) = (tailer.written_files().last(), mark) else {
            return;
        };
        let found = search.look(file, mark.as_bytes(), read, now);
        let (name, short_id) = account.names();
        match found {
            Found::Nothing if is_to_be_reported => {}
            Found::Nothing => return,
            Found::Over => {
                let event = Event::LoopEnded { name, short_id };
                return trouble.end(|| link.report(event));
            }
            Found::Loop => {}
        }
        let event = Event::Loop { name, short_id };
        trouble.begin(Unread::OwnOutput, || link.report(event));
    }
}

/// What each record of a container has: its full id or, of a pod's that is not known, the pod's uid.
fn mark(id: Option<ContainerId>, pod: Option<&Pod>) -> Option<String> {
    match id {
        Some(id) => Some(id.to_string()),
        None => pod.map(|pod| pod.uid.clone()).filter(|uid| is_uid(uid)),
    }
}

#[cfg(test)]
mod tests;
