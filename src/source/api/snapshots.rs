//! Reads the log of a container that rotates, from a daemon that cannot follow rotation.
//!
//! Before version 23, dockerd's follow is not exact across a rotation, however it is
//! requested: it returns the first entries of the new file twice, skips whole files, or falls
//! silent until the next rotation or for good; with `since`, it omits compressed files
//! (`tests/runtimes/daemon_truth.rs` shows it). Its response without following is exact, because it
//! opens all files under the lock that rotation takes. So entries are taken from that, and a
//! follow only signals that something was written:
//!
//! ```text
//! read what is there ── new entries? ──yes──> pause, read again
//!          ^                  no
//!          '── it signals, or a while has passed ── follow what comes
//! ```
//!
//! Podman's follow of a file is not exact at its end: once the container has stopped, what was
//! not read within a quarter of a second is occasionally omitted (the library that it reads
//! with drops lines while it is being stopped). Its files are read this way as well, from the
//! second of the last entry on.
//!
//! One connection at a time. The last entries suffice if the last one passed on is among them;
//! otherwise more are requested, finally all.

use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use crate::source::api::entries::EntryDecoder;
use crate::source::api::follower::{logs_target, Follower, Wanted};
use crate::source::api::place::{Place, ResponseFilter};
use crate::source::api::StreamEnd;
use crate::telemetry::account::wall_clock;

/// The shortest pause between two responses with entries.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The pause is this many times the duration of the previous response, because the daemon
/// decompresses files for each: this uses at most a tenth of its time.
const PAUSE_FACTOR: u32 = 10;

/// How long a silent follow is trusted, at first and at most. It may have gone silent only
/// because the log rotated after it began.
const FIRST_SILENCE: Duration = Duration::from_secs(1);
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// As [`PAUSE_FACTOR`], if nothing arrived.
const SILENCE_FACTOR: u32 = 100;

/// The number of entries requested at first, in addition to twice those of the last response;
/// the factor for the next request if that did not reach back far enough; and the limit beyond
/// which all are requested.
const FEWEST_ENTRIES: usize = 64;
const ENTRIES_FACTOR: usize = 16;
const MOST_ENTRIES: usize = 100_000;

/// The result of reading a snapshot.
struct Snapshot {
    entries: usize,
    /// How long the daemon took.
    cost: Duration,
}

/// How a follow that only signals ended.
#[derive(PartialEq, Eq)]
enum Signal {
    Written,
    Silent,
    /// The container has stopped.
    Ended,
}

impl Follower {
    /// Reads until the container stops.
    pub(crate) async fn read_snapshots(
        &mut self,
        mut last: Option<usize>,
    ) -> Result<(), StreamEnd> {
        let mut place = self.since().map_or(Place::Beginning, Place::Since);
        let mut silence = FIRST_SILENCE;
        let mut expected = 0;
        loop {
            let snapshot = self
                .read_snapshot(&mut place, expected, last.take())
                .await?;
            let rested = Instant::now() + SHORTEST_PAUSE.max(snapshot.cost * PAUSE_FACTOR);
            expected = snapshot.entries;
            if snapshot.entries > 0 {
                silence = FIRST_SILENCE;
            } else {
                match self
                    .wait_for_signal(silence.max(snapshot.cost * SILENCE_FACTOR))
                    .await?
                {
                    Signal::Written => {}
                    Signal::Silent => silence = (silence * 2).min(LONGEST_SILENCE),
                    Signal::Ended => {
                        return self.read_snapshot(&mut place, 0, None).await.map(drop)
                    }
                }
            }
            sleep_until(rested.into()).await;
        }
    }

    /// Reads what exists now.
    pub(crate) async fn read_existing(&mut self) -> StreamEnd {
        let since = self.since();
        let last = self.take_last(since);
        let mut place = since.map_or(Place::Beginning, Place::Since);
        match self.read_snapshot(&mut place, 0, last).await {
            Ok(_) => StreamEnd::Finished,
            Err(end) => end,
        }
    }

    /// Passes on what exists after `place`; of a log that is read from its beginning, the `last`
    /// entries if there is such a number.
    async fn read_snapshot(
        &mut self,
        place: &mut Place,
        expected: usize,
        last: Option<usize>,
    ) -> Result<Snapshot, StreamEnd> {
        let begun = Instant::now();
        let mut waited = Duration::ZERO;
        let mut tail = (*place != Place::Beginning).then_some(FEWEST_ENTRIES + 2 * expected);
        loop {
            tail = tail.filter(|tail| *tail <= MOST_ENTRIES);
            let wanted = match self.context.podman.get() {
                // With `tail`, Podman may omit pieces of lines at the log's end.
                Some(podman) => {
                    tail = None;
                    Wanted::ExistingSince(place.time().and_then(|time| podman.since(time, false)))
                }
                None => Wanted::Existing(tail.or(last)),
            };
            let answer = self.ask(&logs_target(&self.id, &wanted)).await?;
            let decoder = EntryDecoder::new(self.has_terminal(&answer).await?, wall_clock());
            let mut filter = ResponseFilter::new(*place, tail.is_none());
            self.deliver(answer.body, decoder, &mut filter, false)
                .await?;
            self.context.with_sink(|sink| sink.flush(&self.id));
            waited += self.waited;
            if filter.has_found() {
                *place = filter.place();
                let cost = begun.elapsed().saturating_sub(waited);
                return Ok(Snapshot {
                    entries: filter.count(),
                    cost,
                });
            }
            if let Some(less) = tail {
                tail = Some(less * ENTRIES_FACTOR);
            } else if let Place::After(last) = place {
                *place = Place::LaterThan(last.time());
            }
        }
    }

    /// Waits until something is written, the container stops, or `most` has passed.
    async fn wait_for_signal(&mut self, most: Duration) -> Result<Signal, StreamEnd> {
        let mut answer = self.ask(&logs_target(&self.id, &Wanted::Future)).await?;
        match timeout(most, answer.body.chunk()).await {
            Ok(Some(Ok(_))) => Ok(Signal::Written),
            Ok(Some(Err(reason))) => Err(StreamEnd::Failed(reason)),
            Ok(None) => Ok(Signal::Ended),
            Err(_) => Ok(Signal::Silent),
        }
    }
}
