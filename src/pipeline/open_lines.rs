//! The lines of one container that are not complete: split lines, of which pieces are missing,
//! and texts of several lines (`Multiline`) that the next line may continue.

use std::cell::LazyCell;
use std::time::Duration;

use crate::delivery::checkpoint::StreamCheckpoint;
use crate::format::position::{PerStream, Stream};
use crate::format::Entry;
use crate::pipeline::multiline::{MultilineBuffer, MultilineOptions};
use crate::pipeline::partial::{cut_line, Joiner, Line, Pieces, TAGGED_LINE_GRACE};

/// How long an open line whose stream has ended waits for a continuation.
pub const DEAD_LINE_GRACE: Duration = Duration::from_millis(500);

/// The open lines and texts of both streams.
#[derive(Debug)]
pub(crate) struct OpenLines {
    /// Boxed, since few containers have any; kept for the next one until [`OpenLines::rest`].
    lines: PerStream<Option<Box<OpenLine>>>,
    pieces: Pieces,
    /// Lines being joined, for a container with a multiline pattern. Boxed, so that it costs
    /// the many other containers nothing.
    texts: Option<Box<MultilineBuffer>>,
}

/// The open line of one stream.
#[derive(Debug)]
struct OpenLine {
    joiner: Joiner,
    /// Where it begins.
    begins: StreamCheckpoint,
}

impl OpenLine {
    /// None is open yet.
    fn new(pieces: Pieces) -> Box<OpenLine> {
        let mut joiner = Joiner::default();
        joiner.set_pieces(pieces);
        Box::new(OpenLine {
            joiner,
            begins: StreamCheckpoint::default(),
        })
    }
}

impl OpenLines {
    /// Nothing is open.
    pub fn new(multiline: &MultilineOptions) -> OpenLines {
        OpenLines {
            lines: PerStream::default(),
            pieces: Pieces::default(),
            texts: MultilineBuffer::of(multiline),
        }
    }

    /// Sets how the pieces of a line are told from those of the next one.
    pub fn set_pieces(&mut self, pieces: Pieces) {
        self.pieces = pieces;
        self.joiners_mut()
            .for_each(|joiner| joiner.set_pieces(pieces));
    }

    fn joiners(&self) -> impl Iterator<Item = &Joiner> {
        self.lines.iter().flatten().map(|line| &line.joiner)
    }

    fn joiners_mut(&mut self) -> impl Iterator<Item = &mut Joiner> {
        self.lines.iter_mut().flatten().map(|line| &mut line.joiner)
    }

    /// Frees what nothing needs until the next line that stays open.
    pub fn rest(&mut self) {
        for line in &mut self.lines {
            line.take_if(|line| !line.joiner.is_open());
        }
    }

    /// Sets how lines are joined to texts. Drops the open texts.
    pub fn set_multiline(&mut self, multiline: &MultilineOptions) {
        self.texts = MultilineBuffer::of(multiline);
    }

    /// Entries that would have come next are lost.
    pub fn note_loss(&mut self) {
        self.joiners_mut().for_each(Joiner::note_loss);
    }

    /// Drops the open lines, which will be read again.
    pub fn forget_lines(&mut self) {
        self.joiners_mut().for_each(Joiner::forget);
    }

    /// Whether each line is matched against a pattern.
    pub fn joins_lines(&self) -> bool {
        self.texts.is_some()
    }

    /// The line that the entry is by itself. `None` if there is more to it: see
    /// [`OpenLines::push`].
    #[inline(always)]
    pub fn whole_line<'a>(
        &self,
        entry: &Entry<'a>,
        source_bytes: usize,
        max_line_bytes: usize,
    ) -> Option<Line<'a>> {
        let is_within = entry.text.len() <= max_line_bytes;
        let is_line = self.texts.is_none() && self.is_whole(entry) && is_within;
        is_line.then(|| Line::of(entry, source_bytes))
    }

    /// Adds an entry and passes what it completes to `deliver`. `begins` returns the position
    /// of the entry; it is called only if a line or text that stays open begins there.
    pub fn push(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins: impl FnOnce() -> StreamCheckpoint,
        mut deliver: impl FnMut(Stream, Line<'_>),
    ) {
        if self.texts.is_some() {
            let begins = LazyCell::new(begins);
            let begins: &dyn Fn() -> StreamCheckpoint = &|| *begins;
            return self.push_to_texts(entry, source_bytes, max_line_bytes, begins, &mut deliver);
        }
        let stream = entry.stream;
        if self.is_whole(entry) {
            return deliver(stream, cut_line(entry, source_bytes, max_line_bytes));
        }
        let put = &mut |line: Line<'_>| deliver(stream, line);
        if self.push_piece(entry, source_bytes, max_line_bytes, put) {
            self.line_mut(stream).begins = begins();
        }
    }

    /// Adds an entry that is not whole. Returns whether a line that begins with it is open now. Out
    /// of line, to keep the hot path small.
    #[inline(never)]
    fn push_piece(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        deliver: &mut dyn FnMut(Line<'_>),
    ) -> bool {
        let joiner = &mut self.line_mut(entry.stream).joiner;
        joiner.push(entry, source_bytes, max_line_bytes, deliver)
    }

    /// Whether an entry is a line, and not a piece of one.
    #[inline(always)]
    fn is_whole(&self, entry: &Entry<'_>) -> bool {
        let line = &self.lines[entry.stream.index()];
        entry.ends_line && !line.as_ref().is_some_and(|line| line.joiner.is_open())
    }

    fn line_mut(&mut self, stream: Stream) -> &mut OpenLine {
        self.lines[stream.index()].get_or_insert_with(|| OpenLine::new(self.pieces))
    }

    /// Like [`OpenLines::push`], if whole lines may be parts of a text. Out of line, since most
    /// containers have no pattern.
    #[cold]
    fn push_to_texts(
        &mut self,
        entry: &Entry<'_>,
        source_bytes: usize,
        max_line_bytes: usize,
        begins: &dyn Fn() -> StreamCheckpoint,
        deliver: &mut dyn FnMut(Stream, Line<'_>),
    ) {
        let (stream, is_whole) = (entry.stream, self.is_whole(entry));
        let Some(texts) = &mut self.texts else { return };
        texts.time_is(entry.time, &mut *deliver);
        let mut put = |line: Line<'_>, at: &dyn Fn() -> StreamCheckpoint| {
            texts.push(stream, &line, at, |line| deliver(stream, line));
        };
        if is_whole {
            return put(cut_line(entry, source_bytes, max_line_bytes), begins);
        }
        let open = self.lines[stream.index()].get_or_insert_with(|| OpenLine::new(self.pieces));
        // The first completed line is the one that was open, if any.
        let mut open_at = open.joiner.is_open().then_some(open.begins);
        let put = &mut |line: Line<'_>| {
            let open_at = open_at.take();
            put(line, &|| open_at.unwrap_or_else(begins));
        };
        if open.joiner.push(entry, source_bytes, max_line_bytes, put) {
            open.begins = begins();
        }
    }

    /// Delivers the open line of `stream`, if any, without its end. Returns whether pieces of
    /// it may follow.
    pub fn close_line(&mut self, stream: Stream, mut deliver: impl FnMut(Line<'_>)) -> bool {
        let Some(line) = &mut self.lines[stream.index()] else {
            return false;
        };
        let (begins, joiner) = (line.begins, &mut line.joiner);
        let may_go_on = joiner.is_open() && !joiner.stream_ended() && self.pieces != Pieces::Tagged;
        joiner.flush(|line| match &mut self.texts {
            Some(texts) => texts.push(stream, &line, || begins, &mut deliver),
            None => deliver(line),
        });
        may_go_on
    }

    /// Delivers the open texts.
    pub fn close_texts(&mut self, mut deliver: impl FnMut(Stream, Line<'_>)) {
        let Some(texts) = &mut self.texts else { return };
        for stream in Stream::ALL {
            texts.flush(stream, |line| deliver(stream, line));
        }
    }

    /// How long after the last entry an open line or text is considered complete; `None` if
    /// nothing is open or the rest is certain to come. `is_stopped` means that no stream goes
    /// on.
    pub fn grace(&self, is_stopped: bool) -> Option<Duration> {
        // No file of a runtime with tagged pieces says whether a container runs.
        let is_stopped = is_stopped && self.pieces != Pieces::Tagged;
        let line = if self.joiners().any(|joiner| is_dead(joiner, is_stopped)) {
            Some(DEAD_LINE_GRACE)
        } else {
            (self.pieces == Pieces::Tagged && self.count() > 0).then_some(TAGGED_LINE_GRACE)
        };
        line.into_iter().chain(self.texts_grace()).min()
    }

    /// The streams whose open line has timed out after `silence` without an entry.
    pub fn lines_out_of_time(&self, silence: Duration, is_stopped: bool) -> PerStream<bool> {
        let is_stopped = is_stopped && self.pieces != Pieces::Tagged;
        let is_over = self.pieces == Pieces::Tagged && silence >= TAGGED_LINE_GRACE;
        let is_dead = |joiner: &Joiner| silence >= DEAD_LINE_GRACE && is_dead(joiner, is_stopped);
        let lines = self.lines.each_ref();
        lines.map(|line| is_over || line.as_ref().is_some_and(|line| is_dead(&line.joiner)))
    }

    /// Whether the open texts have timed out after `silence` without an entry.
    pub fn texts_are_out_of_time(&self, silence: Duration) -> bool {
        self.texts_grace().is_some_and(|grace| silence >= grace)
    }

    fn texts_grace(&self) -> Option<Duration> {
        let texts = self.texts.as_ref().filter(|texts| texts.is_open())?;
        Some(texts.patience())
    }

    /// Number of split lines that wait for their rest.
    pub fn count(&self) -> u64 {
        self.joiners().filter(|joiner| joiner.is_open()).count() as u64
    }

    /// Whether a line or a text is open.
    pub fn is_open(&self) -> bool {
        self.count() > 0 || self.texts.as_ref().is_some_and(|texts| texts.is_open())
    }

    /// Bytes in the source of all that is open.
    pub fn source_bytes(&self) -> u64 {
        let lines = self.joiners().map(|joiner| joiner.source_bytes() as u64);
        lines.sum::<u64>() + self.texts.as_ref().map_or(0, |texts| texts.source_bytes())
    }

    /// Where the open text of `stream`, or else its open line, begins.
    pub fn begins_at(&self, stream: Stream) -> Option<StreamCheckpoint> {
        let text = self.texts.as_ref().and_then(|texts| texts.open_at(stream));
        let line = self.lines[stream.index()].as_ref();
        let line = line.filter(|line| line.joiner.is_open());
        text.or_else(|| line.map(|line| line.begins))
    }
}

/// Whether nothing can complete the open line because its stream has ended.
fn is_dead(joiner: &Joiner, is_stopped: bool) -> bool {
    joiner.stream_ended() || (is_stopped && joiner.is_open())
}
