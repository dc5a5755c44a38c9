//! Kills at random moments, and what arrives over them: nothing is lost, and nothing comes twice
//! but the batch that a kill catches between the append and the move of the checkpoint.
//!
//! `KILLS=n` and `SEED=s` kill oftener and elsewhere.

use std::collections::BTreeMap;

use fluent_bit_container_logs::delivery::host::embedded::Record;

use super::collector::PATIENCE;
use super::holds_within;
use super::playing_host::{Frame, PlayingHost};

/// A number from the environment.
pub fn variable(name: &str, or: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(or, |text| text.parse().expect("a number"))
}

/// Xorshift: moments that differ from run to run of the loop and not of the test.
pub struct Moments(u64);

impl Moments {
    /// Those of `SEED`.
    pub fn new() -> Moments {
        Moments::of(variable("SEED", 1) as u64)
    }

    /// Those of this seed.
    pub fn of(seed: u64) -> Moments {
        Moments(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

fn each(frame: &Frame) -> impl Iterator<Item = (&Frame, &Record)> {
    frame.records.iter().map(move |record| (frame, record))
}

/// The name of the container that a record is of.
fn container_of<'a>(frame: &'a Frame, record: &'a Record) -> &'a str {
    let tag = frame.tag.as_deref();
    tag.unwrap_or_else(|| record.text("container_name"))
}

/// Which line of each container comes next. Lines are `line N`, from 0; the tag of an append is its
/// container's name. Appends without a tag may be of several containers, whose names are in the
/// records.
#[derive(Debug, Default)]
pub struct Arrived {
    next: BTreeMap<String, usize>,
    /// What kills may repeat: what the last append has of a container, from which line on.
    repeatable: BTreeMap<String, usize>,
    /// Lines that came twice.
    pub repeated: usize,
    /// Kills after which lines came twice.
    pub kills_with_repetition: usize,
}

impl Arrived {
    /// A record; it must be the next of its container, or, first after a kill, the first of the
    /// batch that was caught.
    #[track_caller]
    fn take(&mut self, container: &str, text: &str) {
        let number = text
            .strip_prefix("line ")
            .and_then(|number| number.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("a line of ours: {text}"));
        let next = self.next.entry(container.to_owned()).or_default();
        let allowed = self.repeatable.remove(container);
        if number != *next {
            assert_eq!(allowed, Some(number), "{container}: {next} comes next");
            self.repeated += *next - number;
        }
        *next = number + 1;
    }

    /// What a playing host was given next.
    #[track_caller]
    pub fn take_frames(&mut self, frames: &[Frame]) {
        let before = self.repeated;
        for (frame, record) in frames.iter().flat_map(each) {
            self.take(container_of(frame, record), record.text("log"));
        }
        self.kills_with_repetition += usize::from(self.repeated > before);
    }

    /// Kills a playing host of which nothing was taken yet, and takes what it was given.
    #[track_caller]
    pub fn take_killed(&mut self, host: PlayingHost) {
        self.take_killed_from(host, 0);
    }

    /// As [`take_killed`](Arrived::take_killed), of a host of which so many frames were taken.
    #[track_caller]
    pub fn take_killed_from(&mut self, host: PlayingHost, seen: usize) {
        let (frames, is_torn) = host.kill();
        let frames = &frames[seen..];
        self.take_frames(frames);
        // A batch that was torn was not accepted, and those before it are done with.
        if let Some(last) = frames.last().filter(|_| !is_torn) {
            for (_, record) in each(last) {
                let container = container_of(last, record);
                let first = self.repeatable.get(container).copied();
                let first = first.unwrap_or_else(|| self.next_of(container));
                self.repeatable.insert(container.to_owned(), first - 1);
            }
        }
    }

    /// Lets a playing host of which nothing was taken yet run until so many lines of each container
    /// have come. Returns whether they have, in time.
    #[track_caller]
    pub fn take_rest<'a>(
        &mut self,
        host: &mut PlayingHost,
        written: impl Iterator<Item = (&'a str, usize)> + Clone,
    ) -> bool {
        let mut seen = 0;
        holds_within(PATIENCE, || {
            host.run(50);
            let frames = host.frames();
            self.take_frames(&frames[seen..]);
            seen = frames.len();
            self.has_all(written.clone())
        })
    }

    /// The number of the line of a container that comes next.
    pub fn next_of(&self, container: &str) -> usize {
        self.next.get(container).copied().unwrap_or(0)
    }

    /// Whether all lines came that were written: so many of each container.
    pub fn has_all<'a>(&self, written: impl IntoIterator<Item = (&'a str, usize)>) -> bool {
        let mut written = written.into_iter();
        written.all(|(name, count)| self.next_of(name) == count)
    }
}
