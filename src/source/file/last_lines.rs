//! Where the last lines of a log begin. Walks back from its end and reads no more than it needs:
//! blocks of plain files, and compressed files only if the newer ones have too few lines.
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

/// Bytes per read; more while an entry is longer.
const BLOCK_BYTES: usize = 64 * 1024;
/// Compressed files with more content than this are not searched: reading begins after them.
const MOST_UNPACKED: u64 = 64 << 20;
/// How far back the beginning of a line of the other stream is looked for, in bytes: past a line
/// of each stream of `Partial_Max_Size` (1 MB by default) in which six bytes stand for one.
const LOOK_BACK: usize = 16 << 20;
/// Bytes before an offset that identify it.
const PRECEDING_BYTES: u64 = 1024;

/// The checkpoint from which the last `count` lines of the listed files are read, and what follows.
pub fn before_last_lines(listed: &[ListedFile], count: usize) -> io::Result<ContainerCheckpoint> {
    let mut walk = Walk::new(count);
    let heads: Vec<Head<'_>> = listed.iter().map(Head::of).collect();
    for (index, file) in listed.iter().enumerate().rev() {
        let head = &heads[index];
        if begins_like_later(head, &heads[index + 1..])? {
            continue;
        }
        let mut file = match Backwards::open(file, head) {
            Err(error) if !file.is_current() && is_permanent(&error) => continue,
            opened => opened?,
        };
        if !file.walk(&mut walk)? {
            break;
        }
    }
    // Streams of which the oldest files have no earlier line begin with these.
    let first = walk.stopped_at.unwrap_or_default();
    Ok(walk.begins.map(|begin| begin.unwrap_or(first)))
}

/// The entries passed so far, from the last one back.
struct Walk {
    wanted: usize,
    lines: usize,
    /// The time of the stream's entry passed last; `None` if no line of it is wanted.
    time: PerStream<Option<Timestamp>>,
    begins: PerStream<Option<StreamCheckpoint>>,
    /// Bytes passed since one stream has its beginning.
    passed: usize,
    /// Whether one stream has its beginning and no earlier entry can be of the other one's line.
    is_past_lines: bool,
    /// Where the walk ended before the first file.
    stopped_at: Option<StreamCheckpoint>,
}

impl Walk {
    fn new(wanted: usize) -> Walk {
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
            if self.lines == self.wanted {
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
                let content = MultiGzDecoder::new(file.file());
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
            if walk.begins.iter().any(Option::is_some) {
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
