//! One container that is read from the journal: its records under construction, and up to where
//! it was read.
//!
//! Entries reach it from two scans, which overlap: one of its own, which catches up from its
//! place, and then that of all containers. It takes an entry only if its place is after the last
//! one that was taken, so that the order of the scans does not matter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::checkpoint::{ContainerCheckpoint, JournalPlace, StreamCheckpoint};
use crate::delivery::link::Link;
use crate::format::position::{PerStream, Stream};
use crate::format::rfc3339;
use crate::pipeline::assembler::{Assembler, ReadBytes};
use crate::pipeline::partial::Pieces;
use crate::pipeline::template::RecordTemplate;
use crate::runtime::log_driver::JournalWriter;
use crate::source::journal::ordinals::Ordinals;
use crate::source::journal::scan::Scan;
use crate::source::journal::seam::Seek;
use crate::source::journal::trust::Writer;
use crate::source::piece_times::PieceTimes;
use crate::telemetry::account::{Abandoned, Amount};
use crate::telemetry::event::journal::JournalEvent;
use crate::telemetry::event::Event;
use crate::telemetry::throttle::{Once, Paced};

/// What the pieces of a line have in common: the time of its record, and when its first piece was
/// received.
#[derive(Debug, Default)]
struct OfLines {
    times: PieceTimes,
    moments: PieceTimes,
}

/// One container that is read from the journal.
#[derive(Debug)]
pub struct Journaled {
    assembler: Assembler,
    /// Where its files were left; the cursors are ahead of that.
    files: ContainerCheckpoint,
    /// The place of the last entry that was taken.
    at: JournalPlace,
    /// Entries up to here were accepted in an earlier run.
    resume: PerStream<JournalPlace>,
    /// Whose process its runtime is.
    writer: Writer,
    /// With Docker, the pieces of a line have a moment each, and before 23 a time each.
    of_lines: Option<OfLines>,
    /// Bytes of entries since the last push.
    received: u64,
    last_entry: Instant,
    ordinals: Ordinals,
    missing: Paced,
    /// Entries were lost.
    loss: Once,
    /// It has no entry yet, and nobody has asked why.
    is_silent: bool,
    /// Only so many of its lines are wanted.
    last: Option<usize>,
    /// It has caught up, and takes entries of the scan of all containers.
    pub is_live: bool,
    /// The first and the last entry of it that the scan of all passed before it had caught up.
    passed: Option<(JournalPlace, JournalPlace)>,
}

impl Journaled {
    /// Reads from `saved` on.
    pub fn new(
        mut assembler: Assembler,
        saved: ContainerCheckpoint,
        writer: Writer,
        last: Option<usize>,
        now: Instant,
    ) -> Journaled {
        let is_docker = writer.program == JournalWriter::Dockerd;
        assembler.set_pieces(match is_docker {
            true => Pieces::OfOneTime,
            false => Pieces::Tagged,
        });
        // Of a stream without a place, times tell what was delivered.
        assembler.resume_from(&saved, saved.map(|stream| stream.journal.is_none()));
        Journaled {
            assembler,
            files: saved,
            at: JournalPlace::default(),
            resume: saved.map(|stream| stream.journal),
            writer,
            of_lines: is_docker.then(OfLines::default),
            received: 0,
            last_entry: now,
            ordinals: Ordinals::default(),
            missing: Paced::default(),
            loss: Once::default(),
            is_silent: true,
            last,
            is_live: false,
            passed: None,
        }
    }

    /// Where the scan of its own begins.
    pub fn seek(&self) -> Seek {
        if !self.at.is_none() {
            return Seek::To(self.at);
        }
        let places = self.resume.iter().filter(|place| !place.is_none());
        if let Some(first) = places.min_by_key(|place| place.received) {
            return Seek::To(*first);
        }
        match self.assembler.since() {
            Some(time) => Seek::Since(time.since_epoch() / 1000),
            None => Seek::Head,
        }
    }

    /// Records built from now on use `template`.
    pub fn set_template(&mut self, template: Arc<RecordTemplate>, link: &Link) {
        self.assembler.close_before(&template);
        self.push(link);
        self.assembler.set_template(template);
    }

    /// The number of split lines that wait for their rest.
    pub fn open_lines(&self) -> u64 {
        self.assembler.open_lines()
    }

    /// Takes the entry at a place of a scan, unless it was taken before or its runtime did not
    /// write it. Returns how many bytes of it are new.
    pub fn take(
        &mut self,
        place: JournalPlace,
        scan: &mut Scan,
        max_line_bytes: usize,
        link: &Link,
    ) -> u64 {
        if !self.at.is_none() && place.is_within(&self.at) {
            return 0;
        }
        if let Some(entries) = scan.suppressed() {
            self.at = place;
            if !Stream::ALL
                .iter()
                .all(|it| self.was_accepted(place, it.index()))
            {
                self.lose(entries, link);
            }
            return 0;
        }
        if !scan.sender().is(&self.writer) {
            return 0;
        }
        if let Some(ordinal) = scan.ordinal() {
            let missing = self.ordinals.take(ordinal);
            self.lose(missing, link);
        }
        let mut entry = scan.entry(place);
        (self.at, self.is_silent) = (place, false);
        self.last_entry = Instant::now();
        // A daemon's API tells the same, so that either continues where the other one stopped.
        let mut moment = place.time();
        let index = entry.stream.index();
        if let Some(of_lines) = &mut self.of_lines {
            let (stream, length, ends_line) = (entry.stream, entry.text.len(), entry.ends_line);
            let OfLines { times, moments } = of_lines;
            entry.time = times.of_line(stream, entry.time, length, ends_line);
            moment = moments.of_line(stream, moment, length, ends_line);
        }
        let source_bytes = entry.text.len() + usize::from(entry.ends_line);
        self.received += source_bytes as u64;
        if self.was_accepted(place, index) {
            self.assembler.pass_over(source_bytes as u64);
            return 0;
        }
        self.assembler.begin(link, 0);
        let begins_at = StreamCheckpoint {
            is_by_time: true,
            journal: place.before(),
            ..self.files[index]
        };
        self.assembler
            .take_at(&entry, moment, source_bytes, max_line_bytes, || begins_at);
        if self.assembler.is_full(link) {
            self.push(link);
        } else if self.assembler.is_due() {
            let here = self.checkpoint().map(Some);
            self.assembler.mark(here);
        }
        source_bytes as u64
    }

    /// Whether an earlier run delivered an entry.
    fn was_accepted(&self, place: JournalPlace, index: usize) -> bool {
        let resume = self.resume[index];
        !resume.is_none() && place.is_within(&resume)
    }

    /// Where each stream resumes after everything that was taken.
    fn checkpoint(&self) -> ContainerCheckpoint {
        Stream::ALL.map(|stream| {
            let resume = self.resume[stream.index()];
            // An earlier run was ahead with this stream.
            let is_ahead = self.at.is_none() || self.at.is_within(&resume);
            StreamCheckpoint {
                is_by_time: true,
                journal: if is_ahead { resume } else { self.at },
                ..self.files[stream.index()]
            }
        })
    }

    /// Entries of it are known to be missing.
    fn lose(&mut self, entries: u64, link: &Link) {
        if entries == 0 {
            return;
        }
        self.assembler.note_loss();
        let account = self.assembler.account();
        account.abandon(Abandoned {
            entries,
            ..Abandoned::default()
        });
        let (name, short_id) = (self.assembler.metadata().title(), account.short_id());
        let lost = Amount {
            bytes: 0,
            records: entries,
        };
        self.missing.add(lost, Instant::now(), |lost| {
            link.report(Event::Journal(JournalEvent::Missing {
                name,
                short_id,
                entries: lost.records,
            }))
        });
    }

    /// Everything up to these entries, one of each sequence, was read, and nothing of it was this
    /// container's. It goes on in its own sequence: another journald may have written its entries
    /// earlier than this one writes what it received before.
    pub fn is_read_up_to(&mut self, ends: &[JournalPlace], link: &Link) {
        let taken = self.last_taken();
        let mut ends = ends.iter();
        let here = ends.find(|it| it.sequence == taken.sequence);
        if let Some(here) = here.filter(|here| self.is_live && !here.is_within(&taken)) {
            self.at = *here;
            self.push_always(link, true);
        }
    }

    /// The place of the last entry that was taken, in this run or in an earlier one.
    fn last_taken(&self) -> JournalPlace {
        if !self.at.is_none() {
            return self.at;
        }
        let places = self.resume.into_iter();
        places.max_by_key(|it| it.received).unwrap_or_default()
    }

    /// The last lines that are wanted, if not all are, and by whom.
    pub fn last(&self) -> Option<(usize, Writer)> {
        self.last.map(|lines| (lines, self.writer))
    }

    /// The scan of all containers passes an entry of it, which its own scan is to take.
    pub fn pass(&mut self, place: JournalPlace, scan: &Scan) {
        if scan.suppressed().is_some() || scan.sender().is(&self.writer) {
            let (first, _) = self.passed.unwrap_or((place, place));
            self.passed = Some((first, place));
        }
    }

    /// It has caught up. Returns where the scan of all is to go back to, if that has passed an entry
    /// that its own did not find: journald lists an entry first, and in the index a moment later.
    pub fn has_caught_up(&mut self) -> Option<JournalPlace> {
        self.is_live = true;
        self.last = None;
        self.assembler.account().set_unread(0);
        let taken = self.last_taken();
        let (first, last) = self.passed.take()?;
        let back = if taken.is_none() { first } else { taken };
        (!last.is_within(&taken)).then_some(back)
    }

    /// It has not caught up: how much is unread is not known.
    pub fn is_behind(&mut self) {
        self.is_live = false;
        self.assembler.account().set_unread(1);
    }

    /// Entries after the last one that was taken were removed before they were read.
    pub fn note_loss(&mut self, link: &Link) {
        self.assembler.note_loss();
        let account = self.assembler.account();
        account.abandon(Abandoned {
            generations: 1,
            ..Abandoned::default()
        });
        let (name, short_id) = (self.assembler.metadata().title(), account.short_id());
        let last = rfc3339::format(self.last_taken().time());
        self.loss.report(|| {
            link.report(Event::Journal(JournalEvent::Vacuumed {
                name,
                short_id,
                last,
            }))
        });
    }

    /// Queues what was built.
    pub fn push(&mut self, link: &Link) {
        self.push_always(link, false);
    }

    fn push_always(&mut self, link: &Link, always: bool) {
        let here = self.checkpoint().map(Some);
        let read = ReadBytes {
            total: std::mem::take(&mut self.received),
            skipped: 0,
        };
        self.assembler.push(link, here, always, read);
    }

    /// When what is open is to be delivered without its rest; `None` if nothing is open.
    pub fn due(&self) -> Option<Instant> {
        let grace = self.assembler.grace();
        grace.map(|grace| self.last_entry + grace)
    }

    /// Delivers what is open and will not be completed.
    pub fn close_after(&mut self, now: Instant, link: &Link) {
        let silence = now.saturating_duration_since(self.last_entry);
        self.assembler.close_after(silence);
        self.push(link);
    }

    /// Delivers all that is open: no more will come.
    pub fn close(&mut self, link: &Link) {
        let missing = self.ordinals.end();
        self.lose(missing, link);
        self.assembler.close();
        self.push(link);
    }

    /// When its last entry was taken, or reading it began.
    pub fn last_entry(&self) -> Instant {
        self.last_entry
    }

    /// When it has been silent from the start for this long, if it is to be asked then why.
    pub fn silent_for(&self, patience: Duration) -> Option<Instant> {
        self.is_silent.then(|| self.last_entry + patience)
    }

    /// It was asked why.
    pub fn is_asked(&mut self) {
        self.is_silent = false;
    }

    /// Ends it, and returns where another source continues.
    pub fn hand_over(&mut self, link: &Link) -> ContainerCheckpoint {
        self.push(link);
        let here = self.checkpoint();
        let handed_over = self.assembler.handed_over(StreamCheckpoint::default());
        let mut saved = here;
        for (checkpoint, stream) in saved.iter_mut().zip(handed_over) {
            (checkpoint.cursor, checkpoint.is_mid_line) = (stream.cursor, stream.is_mid_line);
            if !stream.journal.is_none() {
                checkpoint.journal = stream.journal;
            }
        }
        saved
    }
}
