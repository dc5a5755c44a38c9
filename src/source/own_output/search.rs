//! The search for a loop in one log, as a state machine; the picture is in [`super`].

use std::fs::File;
use std::time::{Duration, Instant};

use crate::source::own_output::end::End;

/// Bytes read, and bytes written, between two looks.
pub const LOOK_BYTES: u64 = 64 * 1024;
/// How many looks in a row must find the id.
const LOOKS: u32 = 3;
/// How long after a look that found it the next one is due, and the longest time after others,
/// which doubles: a loop grows by a factor each time that Fluent Bit flushes.
const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(8);
/// After this time, at a usual `Flush`, no record that was read before is on its way any more.
const SETTLE: Duration = Duration::from_millis(1500);
/// By when what was read is printed if it is a loop; at the second suspicion, with a `Flush` of up to
/// five seconds.
const REACT: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(6500)];
/// How long nothing with the id is written before something is read.
const QUIET: Duration = Duration::from_millis(500);
/// How often the id is written meanwhile, with such a time in between, by no Fluent Bit: it prints
/// what was read before at once.
const TIMES: u32 = 3;
/// How much is read to see whether the log grows then.
pub const PROBE_BYTES: u64 = 256 * 1024;
/// How often it must.
const REACTIONS: u32 = 3;
/// So much without the id of any container is not what Fluent Bit prints of records.
const PLAIN_BYTES: u64 = 16 * 1024;
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long after a suspicion another one counts as the second.
const AGAIN: Duration = Duration::from_secs(20);
/// How long a container that writes its id by itself is not looked at again.
const CLEARED: Duration = Duration::from_secs(3600);

/// The search for the container's id in its log.
#[derive(Debug, Default)]
pub struct Search {
    state: State,
    /// Bytes that were read at the last look.
    read: u64,
    /// Until when another suspicion counts as the second one.
    again_until: Option<Instant>,
    /// How often the log has grown because it was read.
    reactions: u32,
    /// Number of pauses since the loop was found.
    pauses: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Watching {
        found: u32,
        next: Option<Instant>,
        interval: Duration,
        seen: Option<End>,
        /// Bytes that were read before the first look that found it.
        read_before: u64,
    },
    /// Nothing is read until what was read before has been printed.
    Settling {
        since: Instant,
        seen: End,
        /// When the id was last written, and how often after a while.
        printed: Instant,
        times: u32,
        /// Bytes written with the id, and how many would be more than what was read before.
        grown: u64,
        most: u64,
    },
    /// Some bytes are read.
    Probing {
        since: Instant,
        seen: End,
        read_before: u64,
        /// Bytes that were read before, and may be printed if there is nothing to read now.
        unprinted: u64,
    },
    /// Nothing is read, to see whether these bytes are printed.
    Reacting {
        since: Instant,
        seen: End,
        probed: u64,
        grown: u64,
        has_id: bool,
    },
    Paused {
        since: Instant,
        until: Instant,
        seen: End,
    },
    Cleared {
        until: Instant,
    },
}

impl Default for State {
    fn default() -> State {
        State::Watching {
            found: 0,
            next: None,
            interval: SOON,
            seen: None,
            read_before: 0,
        }
    }
}

/// What a look found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing new.
    Nothing,
    /// It is a loop; nothing is read for a while.
    Loop,
    /// What was a loop is over.
    Over,
}

impl Search {
    /// Whether nothing is to be read now, after `read` bytes were.
    pub fn is_held(&self, read: impl FnOnce() -> u64) -> bool {
        match self.state {
            State::Watching { .. } | State::Cleared { .. } => false,
            State::Probing { read_before, .. } => read() >= read_before + PROBE_BYTES,
            State::Settling { .. } | State::Reacting { .. } | State::Paused { .. } => true,
        }
    }

    /// Whether it goes on while nothing is read.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Watching { .. } | State::Cleared { .. })
    }

    /// Whether nothing is read because it is a loop.
    pub fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    /// By when what was read is printed if it is a loop.
    fn reacts_within(&self) -> Duration {
        REACT[usize::from(self.again_until.is_some())]
    }

    /// Whether there is anything to look for. Of a log that is not written much, there is not.
    pub fn is_due(&self, read: u64, now: Instant) -> bool {
        match self.state {
            State::Watching { next, .. } => {
                let is_time = next.is_none_or(|next| now >= next);
                is_time && read.saturating_sub(self.read) >= LOOK_BYTES
            }
            _ => true,
        }
    }

    /// Looks at a log, of which `read` bytes were read so far; `mark` is the container's id, or
    /// the uid of its pod. `file` is the newest one.
    pub fn look(&mut self, file: &File, mark: &[u8], read: u64, now: Instant) -> Found {
        if !self.is_due(read, now) {
            return Found::Nothing;
        }
        let Some(mut end) = End::of(file) else {
            return Found::Nothing;
        };
        match self.state {
            State::Watching { .. } => self.watch(end, file, mark, read, now),
            State::Settling {
                since,
                seen,
                mut printed,
                mut times,
                mut grown,
                most,
            } => {
                let written = end.written(&seen, file, mark);
                let mut is_late = false;
                if written.has_own_id {
                    times += u32::from(now >= printed + QUIET);
                    grown += written.bytes;
                    printed = now;
                    is_late = self.reactions > 0 && now >= since + SETTLE;
                }
                let hold = (SETTLE + QUIET) * (1 << self.reactions);
                let longest = if grown > most / 4 { hold * 2 } else { hold };
                let (is_over, is_quiet) = (now >= since + hold, now >= printed + QUIET);
                if end.plain > PLAIN_BYTES {
                    return self.clear(now);
                }
                if is_late || times >= TIMES || grown > most || now > since + longest && !is_quiet {
                    return self.writes_by_itself(read, now);
                }
                self.state = match is_over && is_quiet {
                    true => State::Probing {
                        since: now,
                        seen: end,
                        read_before: read,
                        unprinted: if self.reactions == 0 { most / 2 } else { 0 },
                    },
                    false => State::Settling {
                        since,
                        seen: end,
                        printed,
                        times,
                        grown,
                        most,
                    },
                };
            }
            State::Probing {
                since,
                seen,
                read_before,
                unprinted,
            } => {
                let probed = read.saturating_sub(read_before);
                let is_all_read = read == self.read && now >= since + SOON;
                if probed >= PROBE_BYTES || is_all_read {
                    self.state = State::Reacting {
                        since: now,
                        seen,
                        probed: if probed > 0 { probed } else { unprinted },
                        grown: 0,
                        has_id: false,
                    };
                }
                self.read = read;
            }
            State::Reacting {
                since,
                seen,
                probed,
                grown,
                has_id,
            } => {
                let written = end.written(&seen, file, mark);
                let (grown, has_id) = (grown + written.bytes, has_id || written.has_own_id);
                if end.plain > PLAIN_BYTES {
                    return self.clear(now);
                }
                if has_id && grown >= probed / 4 {
                    return self.reacts(end, probed, now);
                }
                if probed == 0 || now >= since + self.reacts_within() {
                    return self.writes_by_itself(read, now);
                }
                self.state = State::Reacting {
                    since,
                    seen: end,
                    probed,
                    grown,
                    has_id,
                };
            }
            State::Paused { since, until, seen } => {
                let written = end.written(&seen, file, mark);
                let is_settled = now >= since + self.reacts_within();
                if is_settled && (written.has_own_id || end.plain > PLAIN_BYTES) {
                    return self.clear(now);
                }
                self.state = match now >= until {
                    true => State::Probing {
                        since: now,
                        seen: end,
                        read_before: read,
                        unprinted: 0,
                    },
                    false => State::Paused {
                        since,
                        until,
                        seen: end,
                    },
                };
            }
            State::Cleared { until } if now >= until => {
                (self.state, self.read) = (State::default(), read);
            }
            State::Cleared { .. } => {}
        }
        Found::Nothing
    }

    /// Looks for the id in what was written since the last look.
    fn watch(&mut self, mut end: End, file: &File, mark: &[u8], read: u64, now: Instant) {
        let State::Watching {
            found,
            interval,
            seen,
            read_before,
            ..
        } = self.state
        else {
            return;
        };
        self.again_until = self.again_until.filter(|until| now < *until);
        let has_grown = |seen: &End| end.size.saturating_sub(end.after(seen)) >= LOOK_BYTES;
        if seen.as_ref().is_some_and(|seen| !has_grown(seen)) {
            self.state = State::Watching {
                found,
                next: Some(now + interval),
                interval,
                seen,
                read_before,
            };
            return;
        }
        let read_before = match found {
            0 => self.read,
            _ => read_before,
        };
        self.read = read;
        let has_id = seen.is_some_and(|seen| end.written(&seen, file, mark).has_own_id);
        self.state = match has_id {
            true if found + 1 == LOOKS => {
                self.reactions = 0;
                settling(end, read.saturating_sub(read_before) * 2, now)
            }
            true => State::Watching {
                found: found + 1,
                next: Some(now + SOON),
                interval: SOON,
                seen: Some(end),
                read_before,
            },
            false => State::Watching {
                found: 0,
                next: Some(now + interval),
                interval: LATER.min(interval * 2),
                seen: Some(end),
                read_before,
            },
        };
    }

    /// The log has grown because it was read.
    fn reacts(&mut self, end: End, probed: u64, now: Instant) -> Found {
        self.reactions += 1;
        if self.reactions < REACTIONS {
            self.state = settling(end, probed.max(LOOK_BYTES) * 8, now);
            return Found::Nothing;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(6));
        self.pauses += 1;
        // After the pause, one reaction is enough.
        self.reactions = REACTIONS - 1;
        self.state = State::Paused {
            since: now,
            until: now + pause.min(LONGEST_PAUSE),
            seen: end,
        };
        Found::Loop
    }

    /// What the container writes does not come from its being read.
    fn writes_by_itself(&mut self, read: u64, now: Instant) -> Found {
        if self.again_until.is_some() || self.is_paused() {
            return self.clear(now);
        }
        self.again_until = Some(now + AGAIN);
        (self.state, self.read) = (State::default(), read);
        Found::Nothing
    }

    fn clear(&mut self, now: Instant) -> Found {
        self.again_until = None;
        self.state = State::Cleared {
            until: now + CLEARED,
        };
        match std::mem::take(&mut self.pauses) {
            0 => Found::Nothing,
            _ => Found::Over,
        }
    }
}

fn settling(end: End, most: u64, now: Instant) -> State {
    State::Settling {
        since: now,
        seen: end,
        printed: now,
        times: 0,
        grown: 0,
        most,
    }
}
