//! Where the last lines of a log begin: this many, or those after a time. Walks back from its end and
//! reads no more than it needs: blocks of plain files, and compressed files only if the newer ones
//! have too few lines.
//!
//! A line may have been written in pieces with entries of the other stream between them, so each
//! stream begins at an offset of its own: after its last line that is not among those wanted.

use std::io;

use flate2::read::MultiGzDecoder;

use crate::delivery::checkpoint::{ContainerCheckpoint, StreamCheckpoint};
use crate::format::layout::{Layout, Piece};
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::pipeline::partial::{Pieces, TAGGED_LINE_GRACE};
use crate::runtime::bounded_file::read_at_most;
use crate::runtime::file::{is_permanent, read_exact_at};
use crate::source::file::generation::{Generation, ENTRY_CAP};
use crate::source::file::known::{begins_like_later, Head};
use crate::source::file::listing::ListedFile;
use crate::source::file::resume::{was_written_since, CLOCK_TICK};

/// Bytes per read; more while an entry is longer.
const BLOCK_BYTES: usize = 64 * 1024;
/// Compressed files with more content than this are not searched: reading begins after them.
const MOST_UNPACKED: u64 = 64 << 20;
/// How far back the beginning of a line of the other stream is looked for, in bytes: past a line
/// of each stream of `Partial_Max_Size` (1 MB by default) in which six bytes stand for one.
const LOOK_BACK: usize = 16 << 20;
/// Bytes before an offset that identify it.
const PRECEDING_BYTES: u64 = 1024;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// This many.
    Last(usize),
    /// Those from after the first time to the second one. What is later was stamped by a clock that
    /// was set back since, and may be older.
    Between(Timestamp, Timestamp),
}

/// The checkpoint from which the last `count` lines of the listed files are read, and what follows.
pub fn before_last_lines(listed: &[ListedFile], count: usize) -> io::Result<ContainerCheckpoint> {
    Ok(walk_back(listed, Wanted::Last(count))?.begins_or_first())
}

/// The checkpoint from which the lines of the listed files are read that were written after a time,
/// and what follows. If too much was, nothing is known but the time.
pub fn after_time(
    listed: &[ListedFile],
    time: Timestamp,
    now: Timestamp,
) -> io::Result<ContainerCheckpoint> {
    let walk = walk_back(listed, Wanted::Between(time, now))?;
    let is_too_far = walk.begins == [None; 2] && walk.passed > LOOK_BACK;
    let begins = match is_too_far {
        true => ContainerCheckpoint::default(),
        false => walk.begins_or_first(),
    };
    Ok(begins.map(|begin| begin.or_after(time)))
}

fn walk_back(listed: &[ListedFile], wanted: Wanted) -> io::Result<Walk> {
    let mut walk = Walk::new(wanted);
    let heads: Vec<Head<'_>> = listed.iter().map(Head::of).collect();
    // An empty file has nothing else where the file system has no birth times.
    let is_known = |here: &StreamCheckpoint| here.birth != 0 || here.fingerprint.length > 0;
    let mut start_of_later = None;
    for (index, listed) in listed.iter().enumerate().rev() {
        let head = &heads[index];
        if begins_like_later(head, &heads[index + 1..])? {
            continue;
        }
        let is_older = match wanted {
            Wanted::Last(_) => false,
            Wanted::Between(time, _) => {
                let time = time.since_epoch().saturating_sub(CLOCK_TICK);
                !was_written_since(listed, time)
            }
        };
        if is_older && start_of_later.is_some() {
            walk.stopped_at = start_of_later;
            break;
        }
        let mut file = match Backwards::open(listed, head) {
            Err(error) if !listed.is_current() && is_permanent(&error) => continue,
            opened => opened?,
        };
        if is_older {
            walk.stopped_at = file.checkpoint_at(file.size)?.filter(is_known);
            match walk.stopped_at {
                Some(_) => break,
                None => continue,
            }
        }
        if !file.walk(&mut walk)? {
            break;
        }
        start_of_later = file.checkpoint_at(0)?.filter(is_known);
    }
    Ok(walk)
}

/// The entries passed so far, from the last one back.
struct Walk {
    wanted: Wanted,
    lines: usize,
    /// The time of the stream's entry passed last; `None` if no line of it is wanted.
    time: PerStream<Option<Timestamp>>,
    begins: PerStream<Option<StreamCheckpoint>>,
    /// Bytes passed since one stream has its beginning; all of them, where a time is looked for.
    passed: usize,
    /// Whether one stream has its beginning and no earlier entry can be of the other one's line.
    is_past_lines: bool,
    /// Where the walk ended before the first file.
    stopped_at: Option<StreamCheckpoint>,
}

impl Walk {
    fn new(wanted: Wanted) -> Walk {
        Walk {
            wanted,
            lines: 0,
            time: [None; 2],
            begins: [None; 2],
            passed: 0,
            is_past_lines: false,
            stopped_at: None,
        }
    }

    /// Where each stream begins. Those of which the oldest files have no earlier line begin with
    /// these.
    fn begins_or_first(&self) -> ContainerCheckpoint {
        let first = self.stopped_at.unwrap_or_default();
        self.begins.map(|begin| begin.unwrap_or(first))
    }

    fn is_over(&self) -> bool {
        let has_begins = self.begins.iter().all(Option::is_some);
        has_begins || self.is_past_lines || self.passed > LOOK_BACK
    }

    /// Passes an entry; whether the wanted lines begin after it.
    fn passes(&mut self, piece: Piece, pieces: Pieces) -> bool {
        let stream = piece.stream.index();
        if self.begins[stream].is_some() {
            // No two pieces of a line are further apart. An entry without a valid time tells
            // nothing.
            let gap = |other: Timestamp| piece.time.elapsed_until(other);
            let is_apart = self.time[1 - stream].is_some_and(|it| gap(it) >= TAGGED_LINE_GRACE);
            self.is_past_lines |= is_apart && piece.time != Timestamp::default();
            return false;
        }
        let continues = match self.time[stream] {
            // Nothing follows.
            None => false,
            Some(time) => !piece.ends_line && pieces.continues_piece(&piece, time),
        };
        if !continues {
            let is_wanted = match self.wanted {
                Wanted::Last(count) => self.lines < count,
                Wanted::Between(after, until) => after < piece.time && piece.time <= until,
            };
            if !is_wanted {
                return true;
            }
            self.lines += 1;
        }
        self.time[stream] = Some(piece.time);
        false
    }

    /// The stream begins here, and the other one if none of its lines is wanted.
    fn begin(&mut self, stream: Stream, here: StreamCheckpoint) {
        self.begins[stream.index()] = Some(here);
        for (begin, time) in self.begins.iter_mut().zip(self.time) {
            if time.is_none() {
                begin.get_or_insert(here);
            }
        }
    }
}

/// A file that is read from its end.
struct Backwards {
    file: Generation,
    layout: Layout,
    /// The content of a compressed file; `None` if it is too long.
    unpacked: Option<Vec<u8>>,
    size: u64,
}

impl Backwards {
    fn open(listed: &ListedFile, head: &Head<'_>) -> io::Result<Backwards> {
        let mut file = Generation::open_listed(listed)?;
        let mut unpacked = None;
        let size = match file.plain_file() {
            Some(_) => {
                file.seek_to_end()?;
                file.read_offset()
            }
            None => {
                let mut bytes = Vec::new();
                let content = MultiGzDecoder::new(file.file()?);
                // What a damaged file has before the damage counts.
                let _ = read_at_most(content, MOST_UNPACKED + 1, &mut bytes);
                let size = bytes.len() as u64;
                unpacked = (size <= MOST_UNPACKED).then_some(bytes);
                size
            }
        };
        let layout = head.read()?.and_then(Layout::detect);
        Ok(Backwards {
            layout: layout.unwrap_or_else(|| file.layout()),
            file,
            unpacked,
            size,
        })
    }

    fn is_plain(&self) -> bool {
        self.file.plain_file().is_some()
    }

    /// The bytes of a range; `None` if the file has become shorter.
    fn bytes(&self, from: u64, to: u64) -> io::Result<Option<Vec<u8>>> {
        if let Some(unpacked) = &self.unpacked {
            let range = unpacked.get(from as usize..to as usize);
            return Ok(range.map(<[u8]>::to_vec));
        }
        let Some(file) = self.file.plain_file() else {
            return Ok(None);
        };
        let mut bytes = vec![0; (to - from) as usize];
        Ok(read_exact_at(file, &mut bytes, from)?.then_some(bytes))
    }

    /// Walks through its entries; whether to go on with an older file.
    fn walk(&mut self, walk: &mut Walk) -> io::Result<bool> {
        if !self.is_plain() && self.unpacked.is_none() {
            // Reading begins after it.
            walk.stopped_at = self.checkpoint_at(self.size)?;
            return Ok(false);
        }
        let (mut from, mut end) = (self.size, self.size);
        // The bytes between the two.
        let mut block: Vec<u8> = Vec::new();
        while end > 0 {
            let length = self.layout.last_entry(&block);
            if length == 0 || (length == block.len() && from > 0) {
                let more = (block.len().max(BLOCK_BYTES) as u64).min(from);
                let earlier = match block.len() > ENTRY_CAP || more == 0 {
                    true => None,
                    false => self.bytes(from - more, from)?,
                };
                let Some(mut earlier) = earlier else {
                    // Damage, or an entry that is not read either.
                    walk.stopped_at = self.checkpoint_at(end)?;
                    return Ok(false);
                };
                earlier.append(&mut block);
                (block, from) = (earlier, from - more);
                continue;
            }
            let start = block.len() - length;
            if let Some(piece) = self.layout.first_piece(&block[start..]) {
                if walk.passes(piece, Pieces::of_files(self.layout.is_tagged())) {
                    if let Some(here) = self.checkpoint_at(end)? {
                        walk.begin(piece.stream, here);
                    }
                }
            }
            let is_by_time = matches!(walk.wanted, Wanted::Between(..));
            if is_by_time || walk.begins.iter().any(Option::is_some) {
                walk.passed += length;
            }
            block.truncate(start);
            end -= length as u64;
            if walk.is_over() {
                walk.stopped_at = self.checkpoint_at(end)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The checkpoint at an offset; `None` if the file has become shorter.
    fn checkpoint_at(&mut self, offset: u64) -> io::Result<Option<StreamCheckpoint>> {
        if offset == 0 {
            self.file.move_to(0, &[], Vec::new());
            return Ok(Some(self.file.resume_at_start()));
        }
        if !self.is_plain() && self.unpacked.is_none() {
            return Ok(None);
        }
        let head = self.bytes(0, offset.min(PRECEDING_BYTES))?;
        let preceding = self.bytes(offset.saturating_sub(PRECEDING_BYTES), offset)?;
        Ok(head.zip(preceding).map(|(head, preceding)| {
            self.file.move_to(offset, &head, preceding);
            self.file.resume_here()
        }))
    }
}

#[cfg(test)]
mod tests;
