//! The log of one container: its generations in order, the split lines that
//! are open, and what the host may be told once a batch is accepted.
//!
//! A generation is held open from the moment it is seen until it is read to
//! its end, whatever becomes of its name, so rotation and removal lose nothing
//! that was still there when we looked.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::generation::{stat_path, FileId, Found, Generation};
use super::rotation::{self, ListedFile};
use crate::assemble::{Assembler, Identity};
use crate::checkpoint::{ContainerId, Moment, Resume, Saved};
use crate::discover::docker::ContainerMetadata;
use crate::event::Event;
use crate::exchange::{count, Exchange};
use crate::fingerprint::Fingerprint;
use crate::format::json_file::{decode_unusual, Decoder, Unusual};
use crate::format::layout::Layout;
use crate::format::local::{self, first_frame, Frame};
use crate::format::Entry;
use crate::msgpack::put_string_map;
use crate::position::{PerStream, Position, Timestamp};
use crate::queue::{Batch, Progress};

/// Files already read that are remembered per container, so that none is taken
/// for a new one: more than any sensible `max-file`.
const SEEN_FILES: usize = 64;
/// How often opening is tried again while a rotation moves the names.
const OPEN_ATTEMPTS: usize = 5;
/// The least time between two messages about damage in one container's log.
const CORRUPT_REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Where a log is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first byte of the oldest file.
    Head,
    /// Behind the last line there is.
    End,
    /// Where an earlier run left off.
    Saved(Saved),
}

/// What the reader lends a tailer for one slice.
pub struct ReadContext<'a> {
    /// Where batches and events go.
    pub exchange: &'a Exchange,
    /// The read buffer of all files.
    pub buffer: &'a mut Vec<u8>,
    /// The decoder of all files.
    pub decoder: &'a mut Decoder,
    /// `Partial_Max_Size`.
    pub max_line_bytes: usize,
}

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to read now.
    More,
    /// Everything there was is read.
    AtEnd {
        /// Whether this slice read anything.
        has_read: bool,
    },
}

/// A file that is read or passed over.
#[derive(Debug, Clone, Copy)]
struct SeenFile {
    id: FileId,
    fingerprint: Fingerprint,
}

/// The log of one container.
pub struct Tailer {
    id: ContainerId,
    dir: PathBuf,
    log: PathBuf,
    start: Start,
    /// Oldest first; the front is read, the back is still written.
    generations: VecDeque<Generation>,
    next_number: u32,
    seen: Vec<SeenFile>,
    assembler: Assembler,
    /// Entries that begin before this were accepted in an earlier run.
    accepted_before: PerStream<Position>,
    corrupt_reported: Option<Instant>,
}

impl Tailer {
    /// A tailer that has opened nothing yet.
    pub fn new(id: ContainerId, log: &Path, start: Start, identity: Arc<Identity>) -> Tailer {
        Tailer {
            id,
            dir: log.parent().unwrap_or(log).to_owned(),
            log: log.to_owned(),
            start,
            generations: VecDeque::new(),
            next_number: 0,
            seen: Vec::new(),
            assembler: Assembler::new(id, identity),
            accepted_before: PerStream::default(),
            corrupt_reported: None,
        }
    }

    /// Whose log it is.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The path of the current log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Name, image and state as last read.
    pub fn metadata(&self) -> &ContainerMetadata {
        self.assembler.metadata()
    }

    /// Records from now on carry `identity`.
    pub fn set_identity(&mut self, identity: Arc<Identity>) {
        self.assembler.set_identity(identity);
    }

    /// Whether any file of the log is open.
    pub fn is_open(&self) -> bool {
        !self.generations.is_empty()
    }

    /// The file that is being written, if we are reading that one.
    pub fn written_file(&self) -> Option<&std::fs::File> {
        match self.generations.len() {
            1 => self.generations.front().and_then(Generation::plain_file),
            _ => None,
        }
    }

    /// Whether a split line is open whose stream has ended: nothing will
    /// complete it. `is_running` tells whether the container still is.
    pub fn has_dead_line(&self) -> bool {
        self.assembler.has_dead_line()
    }

    /// Ends reading: where another source goes on. What was queued counts as
    /// delivered.
    pub fn hand_over(&mut self) -> Saved {
        if let Some(front) = self.generations.front() {
            return self.assembler.handed_over(front.resume_here());
        }
        match self.start {
            Start::Saved(saved) => saved,
            Start::Head => Saved::default(),
            Start::End => {
                [Resume { moment: Moment { time: wall_clock(), count: 1 }, ..Resume::default() }; 2]
            }
        }
    }

    /// Looks at the folder and opens every file of the log that is not known
    /// yet. Cheap where nothing changed.
    pub fn refresh(&mut self, exchange: &Exchange) -> io::Result<()> {
        for _ in 0..OPEN_ATTEMPTS {
            let listed = rotation::list(&self.dir, &self.log)?;
            let opened = if self.generations.is_empty() {
                self.open_first(&listed, exchange)
            } else {
                self.open_newer(&listed)
            };
            match opened {
                // A name moved between listing and opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        // It keeps moving; the next look catches up.
        Ok(())
    }

    /// Whether the name of the log leads to another file than the newest one
    /// held: for folders that cannot be watched.
    pub fn is_rotated(&self) -> bool {
        match (self.generations.back(), stat_path(&self.log)) {
            (Some(newest), Ok((id, _))) => newest.id != id,
            (None, Ok(_)) => true,
            (_, Err(_)) => false,
        }
    }

    fn open_first(&mut self, listed: &[ListedFile], exchange: &Exchange) -> io::Result<()> {
        if listed.is_empty() {
            // What appears later is new: it is read from its first byte.
            if self.start == Start::End {
                self.start = Start::Head;
            }
            return Ok(());
        }
        let mut found: Vec<Option<Generation>> = listed.iter().map(|_| None).collect();
        let mut accepted_before = [(0, 0); 2];
        if let Start::Saved(saved) = self.start {
            for (place, resume) in accepted_before.iter_mut().zip(&saved) {
                *place = self.find(listed, resume, &mut found, exchange)?;
            }
            self.assembler.resume_from(&saved, saved.map(|resume| resume.is_by_time));
        }
        let first = match self.start {
            Start::End => listed.len() - 1,
            _ => accepted_before.iter().map(|(index, _)| *index).min().unwrap_or(0),
        };
        let mut generations = VecDeque::new();
        for (index, file) in listed.iter().enumerate().skip(first) {
            let generation = match found[index].take() {
                Some(generation) if index == first => generation,
                _ => open_listed(file)?,
            };
            generations.push_back(generation);
        }
        let mut seen = Vec::new();
        for file in &listed[..first] {
            let head = Generation::read_head(&file.path, file.is_gzip)?;
            seen.push(SeenFile { id: file.id, fingerprint: Fingerprint::of(&head) });
        }
        for (number, generation) in generations.iter_mut().enumerate() {
            generation.number = number as u32;
        }
        self.next_number = generations.len() as u32;
        self.accepted_before = accepted_before
            .map(|(index, offset)| Position { generation: index.saturating_sub(first) as u32, offset });
        self.seen = seen;
        if self.start == Start::End {
            if let Some(current) = generations.back_mut() {
                current.seek_to_end()?;
                self.accepted_before = PerStream::default();
                let resume = current.resume_here();
                self.generations = generations;
                self.push_progress(exchange, resume);
            }
        } else {
            self.generations = generations;
        }
        // Should all files vanish and new ones come, they are new.
        self.start = Start::Head;
        Ok(())
    }

    /// Finds the file that a saved position was taken of: its index and the
    /// offset. Where it is gone, the first file that may hold unread bytes.
    fn find(
        &self,
        listed: &[ListedFile],
        resume: &Resume,
        found: &mut [Option<Generation>],
        exchange: &Exchange,
    ) -> io::Result<(usize, u64)> {
        if resume.has_no_file() {
            return Ok((0, 0));
        }
        let is_likely = |file: &ListedFile| file.id.inode == resume.inode && file.id.birth == resume.birth;
        let likely = (0..listed.len()).rev().filter(|index| is_likely(&listed[*index]));
        let others = (0..listed.len()).rev().filter(|index| !is_likely(&listed[*index]));
        for index in likely.chain(others) {
            let mut generation = open_listed(&listed[index])?;
            if generation.seek(resume)? {
                // Both streams may be in one file: reading begins at the lower.
                let is_lower = found[index].as_ref().is_none_or(|other| resume.offset < other.read_offset());
                if is_lower {
                    found[index] = Some(generation);
                }
                return Ok((index, resume.offset));
            }
        }
        if let Some(index) = listed.iter().position(|file| resume.birth != 0 && is_likely(file)) {
            // The same file with other content: truncated while we were away.
            exchange.report(Event::Truncated { path: listed[index].path.clone() });
            return Ok((index, 0));
        }
        exchange
            .report(Event::GenerationLost { name: self.metadata().name.clone(), short_id: self.id.short() });
        let is_newer =
            |file: &ListedFile| file.is_gzip || file.id.birth == 0 || file.id.birth >= resume.birth;
        Ok((listed.iter().position(is_newer).unwrap_or(listed.len() - 1), 0))
    }

    fn open_newer(&mut self, listed: &[ListedFile]) -> io::Result<()> {
        let Some(newest) = self.generations.back() else { return Ok(()) };
        if listed.last().is_some_and(|file| file.number == 0 && file.id == newest.id && file.id.birth != 0) {
            return Ok(());
        }
        let mut first_newer = 0;
        for (index, file) in listed.iter().enumerate().rev() {
            if is_same_file(file, newest.id, &newest.fingerprint())? {
                first_newer = index + 1;
                break;
            }
        }
        let mut opened = Vec::new();
        for file in &listed[first_newer..] {
            if !self.is_known(file)? {
                let mut generation = open_listed(file)?;
                generation.number = self.next_number + opened.len() as u32;
                opened.push(generation);
            }
        }
        self.next_number += opened.len() as u32;
        self.generations.extend(opened);
        Ok(())
    }

    /// Whether a listed file is one that is open or was read before.
    fn is_known(&self, file: &ListedFile) -> io::Result<bool> {
        let held = self.generations.iter().map(|held| (held.id, held.fingerprint()));
        let seen = self.seen.iter().map(|seen| (seen.id, seen.fingerprint));
        for (id, fingerprint) in held.chain(seen) {
            if is_same_file(file, id, &fingerprint)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads on by one slice and queues what it gave.
    pub fn read_slice(&mut self, context: &mut ReadContext<'_>) -> io::Result<Step> {
        loop {
            let Some(front) = self.generations.front_mut() else {
                return Ok(Step::AtEnd { has_read: false });
            };
            match front.read(context.buffer)? {
                Found::Entries { layout, start, end, filled, offset, has_more } => {
                    self.take_entries(context, layout, start..end, filled, offset);
                    return Ok(if has_more || self.generations.len() > 1 {
                        Step::More
                    } else {
                        Step::AtEnd { has_read: true }
                    });
                }
                Found::Skipped { offset, bytes } => {
                    let (path, resume) = (front.path.clone(), front.resume_here());
                    count(&context.exchange.counters.bytes_read, bytes);
                    self.report_corrupt(context.exchange, path, offset, bytes);
                    self.push_progress(context.exchange, resume);
                    return Ok(Step::More);
                }
                Found::Truncated => self.restart_truncated(context)?,
                Found::AtEnd { .. } if self.generations.len() > 1 => self.finish_front(context)?,
                Found::AtEnd { .. } => return Ok(Step::AtEnd { has_read: false }),
            }
        }
    }

    /// Decodes the whole entries of a slice and queues their records.
    fn take_entries(
        &mut self,
        context: &mut ReadContext<'_>,
        layout: Layout,
        range: Range<usize>,
        filled: usize,
        offset: u64,
    ) {
        let exchange = context.exchange;
        self.assembler.begin(exchange);
        let buffer = std::mem::take(context.buffer);
        let corrupt = match layout {
            Layout::JsonLines => self.take_lines(context, &buffer, range.clone(), offset),
            Layout::LocalFrames => self.take_frames(context, &buffer, range.clone(), offset),
        };
        if let Some(front) = self.generations.front_mut() {
            front.consume(&buffer, range.end, filled);
            let (path, resume) = (&front.path, front.resume_here());
            if let Some((offset, bytes)) = corrupt {
                let path = path.clone();
                self.report_corrupt(exchange, path, offset, bytes);
            }
            self.push(exchange, resume, corrupt.is_some());
        }
        count(&exchange.counters.bytes_read, range.len() as u64);
        *context.buffer = buffer;
    }

    /// Lines of json-file; where the first damage is, and how many bytes.
    fn take_lines(
        &mut self,
        context: &mut ReadContext<'_>,
        buffer: &[u8],
        range: Range<usize>,
        offset: u64,
    ) -> Option<(u64, u64)> {
        let mut corrupt = None;
        let start = range.start;
        let mut line_start = start;
        for line_feed in memchr::memchr_iter(b'\n', &buffer[range]) {
            let line = &buffer[line_start..start + line_feed];
            let line_offset = offset + (line_start - start) as u64;
            let skipped = self.take_line(context, line, line_offset, &buffer[..line_start]);
            if skipped > 0 {
                let (first, bytes) = corrupt.unwrap_or((line_offset, 0));
                corrupt = Some((first, bytes + skipped));
            }
            line_start = start + line_feed + 1;
        }
        corrupt
    }

    /// Frames of the local driver; where the first damage is, and how many
    /// bytes.
    fn take_frames(
        &mut self,
        context: &mut ReadContext<'_>,
        buffer: &[u8],
        range: Range<usize>,
        offset: u64,
    ) -> Option<(u64, u64)> {
        let mut corrupt = None;
        let mut at = range.start;
        while let Frame::Whole { message, length } = first_frame(&buffer[at..range.end]) {
            let frame_offset = offset + (at - range.start) as u64;
            match local::decode(message) {
                Some(found) => {
                    let mut attrs = Vec::new();
                    if found.attrs.clone().next().is_some() {
                        let pairs: Vec<_> = found.attrs.collect();
                        put_string_map(&mut attrs, pairs.into_iter());
                    }
                    let entry = Entry {
                        time: found.time,
                        stream: found.stream,
                        text: found.line,
                        ends_line: found.ends_line,
                        is_utf8: false,
                        attrs: &attrs,
                    };
                    self.take_entry(&entry, frame_offset, &buffer[..at], context.max_line_bytes);
                }
                None => {
                    let (first, bytes) = corrupt.unwrap_or((frame_offset, 0));
                    corrupt = Some((first, bytes + length as u64));
                }
            }
            at += length;
        }
        corrupt
    }

    /// One physical line; returns how many of its bytes were no record.
    #[inline]
    fn take_line(
        &mut self,
        context: &mut ReadContext<'_>,
        line: &[u8],
        offset: u64,
        preceding: &[u8],
    ) -> u64 {
        if let Some(entry) = context.decoder.decode(line) {
            self.take_entry(&entry, offset, preceding, context.max_line_bytes);
            return 0;
        }
        self.take_unusual(context, decode_unusual(line), offset, preceding)
    }

    #[cold]
    fn take_unusual(
        &mut self,
        context: &mut ReadContext<'_>,
        unusual: Unusual,
        offset: u64,
        preceding: &[u8],
    ) -> u64 {
        for owned in &unusual.entries {
            let entry = Entry {
                time: owned.time.unwrap_or_else(wall_clock),
                stream: owned.stream,
                text: owned.text.as_bytes(),
                ends_line: owned.ends_line,
                is_utf8: true,
                attrs: &owned.attrs,
            };
            self.take_entry(&entry, offset, preceding, context.max_line_bytes);
        }
        unusual.skipped as u64
    }

    #[inline]
    fn take_entry(&mut self, entry: &Entry<'_>, offset: u64, preceding: &[u8], max_line_bytes: usize) {
        let Some(front) = self.generations.front() else { return };
        if (Position { generation: front.number, offset }) < self.accepted_before[entry.stream.index()] {
            return;
        }
        self.assembler.take(entry, max_line_bytes, || front.resume_at(offset, preceding));
    }

    /// Delivers the lines that are still open: nothing will complete them.
    pub fn flush_open_lines(&mut self, exchange: &Exchange) {
        if !self.assembler.has_open_line() {
            return;
        }
        self.assembler.close_open_lines();
        if let Some(front) = self.generations.front() {
            let resume = front.resume_here();
            self.push(exchange, resume, false);
        }
    }

    /// The container is gone and its log is read: delivers what is left and
    /// lets the checkpoint forget it.
    pub fn finish(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        while !self.generations.is_empty() {
            self.finish_front(context)?;
        }
        self.forget(context.exchange);
        Ok(())
    }

    /// Lets the checkpoint forget the container, once all before is accepted.
    pub fn forget(&self, exchange: &Exchange) {
        let batch = Batch {
            container: self.id,
            tag: None,
            records: 0,
            bytes: Vec::new(),
            progress: Progress::Forget,
        };
        exchange.push(batch);
    }

    /// Where it will begin, or would have.
    pub fn start(&self) -> Start {
        self.start
    }

    /// Begins elsewhere; nothing may be open.
    pub fn set_start(&mut self, start: Start) {
        self.start = start;
    }

    /// The front file is read to its last line feed and nobody writes it any
    /// more: what stands behind the line feed is a record without one, or the
    /// torn end of one.
    fn finish_front(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        let Some(front) = self.generations.front_mut() else { return Ok(()) };
        let range = front.read_unfinished(context.buffer)?;
        let buffer = std::mem::take(context.buffer);
        if !range.is_empty() {
            let offset = front.read_offset();
            let path = front.path.clone();
            let skipped = match front.layout() {
                Layout::JsonLines => {
                    self.take_line(context, &buffer[range.clone()], offset, &buffer[..range.start])
                }
                // A frame without its end was never finished.
                Layout::LocalFrames => range.len() as u64,
            };
            if skipped > 0 {
                self.report_corrupt(context.exchange, path, offset, skipped);
            }
            count(&context.exchange.counters.bytes_read, range.len() as u64);
            if let Some(front) = self.generations.front_mut() {
                front.consume(&buffer, range.end, range.end);
                let resume = front.resume_here();
                self.push(context.exchange, resume, true);
            }
        }
        *context.buffer = buffer;
        if self.generations.len() == 1 {
            self.flush_open_lines(context.exchange);
        }
        if let Some(front) = self.generations.pop_front() {
            if let Some(reason) = front.damage() {
                context
                    .exchange
                    .events
                    .report(Event::DamagedArchive { path: front.path.clone(), reason: reason.to_owned() });
            }
            if self.seen.len() == SEEN_FILES {
                self.seen.remove(0);
            }
            self.seen.push(SeenFile { id: front.id, fingerprint: front.fingerprint() });
        }
        Ok(())
    }

    /// The front file was truncated in place. If someone copied it first
    /// (logrotate's copytruncate), what we had not read is in the copy.
    fn restart_truncated(&mut self, context: &mut ReadContext<'_>) -> io::Result<()> {
        let Some(front) = self.generations.front() else { return Ok(()) };
        let resume = front.resume_here();
        let number = front.number;
        let restarted = front.restarted(number)?;
        context.exchange.report(Event::Truncated { path: front.path.clone() });
        let mut copy = None;
        for file in rotation::list(&self.dir, &self.log)? {
            let mut candidate = open_listed(&file)?;
            if candidate.id != restarted.id && !resume.has_no_file() && candidate.seek(&resume)? {
                candidate.number = number;
                copy = Some(candidate);
            }
        }
        for accepted in &mut self.accepted_before {
            if accepted.generation <= number {
                *accepted = Position::default();
            }
        }
        if copy.is_none() {
            self.flush_open_lines(context.exchange);
        }
        self.generations.pop_front();
        self.generations.push_front(restarted);
        if let Some(copy) = copy {
            self.generations.push_front(copy);
        }
        Ok(())
    }

    fn report_corrupt(&mut self, exchange: &Exchange, path: PathBuf, offset: u64, bytes: u64) {
        count(&exchange.counters.bytes_skipped, bytes);
        let now = Instant::now();
        let is_due =
            self.corrupt_reported.is_none_or(|last| now.duration_since(last) >= CORRUPT_REPORT_INTERVAL);
        if is_due {
            self.corrupt_reported = Some(now);
            exchange.report(Event::Corrupt { path, offset, bytes });
        }
    }

    /// Queues a move of the position without records.
    fn push_progress(&mut self, exchange: &Exchange, resume: Resume) {
        self.push(exchange, resume, true);
    }

    /// Queues what was built. `resume` is the end of what was read; a stream
    /// that an earlier run took further stays there.
    fn push(&mut self, exchange: &Exchange, resume: Resume, always: bool) {
        let number = self.generations.front().map_or(0, |front| front.number);
        let here = Position { generation: number, offset: resume.offset };
        let moves = self.accepted_before.map(|accepted| (here >= accepted).then_some(resume));
        self.assembler.push(exchange, moves, always);
    }
}

fn open_listed(file: &ListedFile) -> io::Result<Generation> {
    let generation =
        if file.is_gzip { Generation::open_gzip(&file.path, 0) } else { Generation::open(&file.path, 0) }?;
    if generation.id == file.id {
        Ok(generation)
    } else {
        // The name leads elsewhere by now: as if it had not been there.
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Whether a listed file is the one with this id and head: by birth where
/// there is one, by content where there is none or where it was compressed.
fn is_same_file(file: &ListedFile, id: FileId, fingerprint: &Fingerprint) -> io::Result<bool> {
    if file.id == id && id.birth != 0 {
        return Ok(true);
    }
    if file.id != id && !file.is_gzip {
        return Ok(false);
    }
    let head = Generation::read_head(&file.path, file.is_gzip)?;
    Ok(fingerprint.matches(&head) || (file.id == id && fingerprint.length == 0 && head.is_empty()))
}

/// For a record that says no time.
fn wall_clock() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: now.subsec_nanos() }
}
