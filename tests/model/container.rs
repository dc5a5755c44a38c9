//! One container: dockerd, logrotate and the hand of a user over its folder, and
//! the truth about what stands where.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fluent_bit_container_logs::fingerprint::HEAD_BYTES;

use super::format::{rfc3339, Entry, Part};
use super::plan::{Format, Settings, SingleFile};
use super::truth::Truth;

const PIECE_BYTES: usize = 16 * 1024;

/// The kernel's clock for files ticks every few milliseconds. dockerd may rotate
/// twice within a tick; people and logrotate are slower.
fn tick() {
    std::thread::sleep(Duration::from_millis(5));
}

/// A name in the folder: the number behind the log's name, and whether `.gz` is
/// behind that.
type Name = (u32, bool);

/// What a name leads to.
#[derive(Debug, Clone, Copy)]
struct Linked {
    generation: usize,
    /// All of its bytes can be had from here.
    is_whole: bool,
}

/// A compression under way.
struct Packing {
    generation: usize,
    bytes: Vec<u8>,
    /// How many of them are written; `None` before the file is created.
    written: Option<usize>,
}

struct OpenLine {
    line: usize,
    pieces: usize,
    time: (i64, u32),
    is_abandoned: bool,
}

pub struct Container {
    pub id: String,
    pub dir: PathBuf,
    pub truth: Truth,
    log: PathBuf,
    format: Format,
    max_file: u32,
    compress: bool,
    by_logrotate: bool,
    by_hand: bool,
    single: SingleFile,
    /// dockerd's descriptor, and what it writes to.
    file: File,
    writes_to: usize,
    names: BTreeMap<Name, Linked>,
    packing: Option<Packing>,
    /// What is missing of a record.
    half: Option<Vec<u8>>,
    open: [Option<OpenLine>; 2],
    /// When the last line was written, by the real clock; no two have one time.
    last: Duration,
    /// The time of the last entry.
    last_entry: (i64, u32),
    /// Seconds by which dockerd's clock is off.
    pub clock: i64,
    /// The reader does not see it, or has not taken it up again for certain.
    pub is_away: bool,
}

impl Container {
    /// Creates and starts container `number`.
    pub fn start(containers: &Path, number: usize, settings: &Settings) -> Container {
        let id = format!("{number:064x}");
        let dir = containers.join(&id);
        let log = settings.format.log(&dir, &id);
        fs::create_dir(&dir).expect("a container's folder");
        let driver = settings.format.driver();
        let host_config = serde_json::json!({"LogConfig": {"Type": driver, "Config": {}}});
        fs::write(dir.join("hostconfig.json"), host_config.to_string()).expect("hostconfig.json");
        let config = serde_json::json!({
            "Name": format!("/web-{number}"),
            "Config": {"Image": "web"},
            "State": {"Running": true},
        });
        fs::write(dir.join("config.v2.json"), config.to_string()).expect("config.v2.json");
        fs::create_dir_all(log.parent().expect("a folder")).expect("the log's folder");
        let mut how = OpenOptions::new();
        let file = how.write(true).append(!settings.is_stale).create(true).open(&log).expect("the log");
        let mut truth = Truth::default();
        let writes_to = truth.new_generation();
        Container {
            id,
            dir,
            truth,
            log,
            format: settings.format,
            max_file: settings.max_file,
            compress: settings.compress,
            by_logrotate: settings.by_logrotate,
            by_hand: settings.by_hand,
            single: settings.single,
            file,
            writes_to,
            names: BTreeMap::from([((0, false), Linked { generation: writes_to, is_whole: true })]),
            packing: None,
            half: None,
            open: [None, None],
            last: Duration::ZERO,
            last_entry: (0, 0),
            clock: 0,
            is_away: false,
        }
    }

    fn path(&self, (number, is_gzip): Name) -> PathBuf {
        let number = if number == 0 { String::new() } else { format!(".{number}") };
        PathBuf::from(format!("{}{number}{}", self.log.display(), if is_gzip { ".gz" } else { "" }))
    }

    // What the container writes.

    fn time(&mut self) -> (i64, u32) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.last = now.max(self.last + Duration::from_nanos(1));
        (self.last.as_secs() as i64 + self.clock, self.last.subsec_nanos())
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).expect("a write");
    }

    /// Completes the record that is half there.
    pub fn finish_half(&mut self) {
        if let Some(rest) = self.half.take() {
            self.raw(&rest);
        }
    }

    /// The bytes of the next entry, known to the truth.
    fn entry(&mut self, stream: usize, line: usize, part: Part, time: (i64, u32)) -> (usize, Vec<u8>) {
        let bytes = match part {
            Part::Piece(_) => PIECE_BYTES,
            _ => 9 + (line * 7) % 23,
        };
        let (number, text) = self.truth.new_part(stream, line, self.writes_to, bytes);
        if !self.is_to_be_had(self.writes_to) {
            self.truth.release(number);
        }
        self.last_entry = time;
        (number, self.format.encode(&Entry { stream, line, text: &text, part, time }))
    }

    /// A line of one entry.
    fn only_part(&mut self, stream: usize, part: Part) -> (usize, Vec<u8>) {
        let (line, time) = (self.truth.new_line(), self.time());
        let made = self.entry(stream, line, part, time);
        self.truth.close(line, Some(made.0));
        made
    }

    /// A whole line, or what ends the open one.
    fn line(&mut self, stream: usize) -> (usize, Vec<u8>) {
        match self.open[stream].take() {
            Some(open) if !open.is_abandoned => {
                let made = self.entry(stream, open.line, Part::Last(open.pieces + 1), open.time);
                self.truth.close(open.line, Some(made.0));
                made
            }
            open => {
                if let Some(open) = open {
                    self.truth.close(open.line, None);
                }
                self.only_part(stream, Part::Whole)
            }
        }
    }

    pub fn write(&mut self, stream: usize, lines: usize) {
        self.finish_half();
        let mut bytes = Vec::new();
        for number in 0..lines {
            // Mostly one stream, so that there are runs, and some of the other.
            let stream = if number % 3 == 2 { 1 - stream } else { stream };
            bytes.extend(self.line(stream).1);
        }
        self.raw(&bytes);
    }

    pub fn half(&mut self, stream: usize, cut: usize) {
        self.finish_half();
        let (_, bytes) = self.line(stream);
        let rest = &bytes[..bytes.len() * cut / 1000];
        self.raw(rest);
        self.half = Some(bytes[rest.len()..].to_vec());
    }

    pub fn torn(&mut self, stream: usize, cut: usize) {
        if self.open[stream].is_some() {
            return;
        }
        self.finish_half();
        let (number, bytes) = self.line(stream);
        self.raw(&bytes[..bytes.len() * cut / 1000]);
        self.truth.release(number);
        // A frame's length says that more belongs to it: it takes others behind
        // it to show that it is torn.
        self.write(stream, 6);
    }

    pub fn piece(&mut self, stream: usize) {
        self.finish_half();
        if self.open[stream].as_ref().is_some_and(|open| open.is_abandoned) {
            self.abandon(stream);
        }
        let mut open = match self.open[stream].take() {
            Some(open) => open,
            None => {
                let time = self.time();
                OpenLine { line: self.truth.new_line(), pieces: 0, time, is_abandoned: false }
            }
        };
        open.pieces += 1;
        let (_, bytes) = self.entry(stream, open.line, Part::Piece(open.pieces), open.time);
        self.raw(&bytes);
        self.open[stream] = Some(open);
    }

    /// The open line never ends, and another begins.
    pub fn abandon(&mut self, stream: usize) {
        if let Some(open) = self.open[stream].take() {
            self.truth.close(open.line, None);
        }
        self.piece(stream);
    }

    pub fn tail(&mut self, stream: usize) {
        self.finish_half();
        if let Some(open) = self.open[stream].take() {
            self.truth.close(open.line, None);
        }
        let (_, bytes) = self.only_part(stream, Part::Tail);
        self.raw(&bytes);
    }

    // What becomes of its files.

    fn is_to_be_had(&self, generation: usize) -> bool {
        let is_linked = |linked: &Linked| linked.generation == generation && linked.is_whole;
        self.truth.generations[generation].is_held || self.names.values().any(is_linked)
    }

    /// To be called whenever names have changed, or the reader has.
    pub fn release_what_is_gone(&mut self) {
        for generation in 0..self.truth.generations.len() {
            if !self.is_to_be_had(generation) {
                self.truth.release_generation(generation);
            }
        }
    }

    /// The reader has looked into the folder.
    pub fn looked_at(&mut self) {
        if self.is_away {
            return;
        }
        for linked in self.names.values().filter(|linked| linked.is_whole) {
            let generation = &mut self.truth.generations[linked.generation];
            generation.is_held |= !generation.is_copy;
        }
    }

    /// The reader has ended.
    pub fn reader_ended(&mut self, was_killed: bool) {
        self.truth.reader_ended(was_killed);
        self.release_what_is_gone();
    }

    fn unlink(&mut self, name: Name) {
        if self.names.remove(&name).is_some() {
            fs::remove_file(self.path(name)).expect("unlink");
        }
    }

    fn rename(&mut self, from: Name, to: Name) {
        if let Some(linked) = self.names.remove(&from) {
            fs::rename(self.path(from), self.path(to)).expect("rename");
            self.names.insert(to, linked);
        }
    }

    /// Opens the current name as dockerd does after a rotation: without O_APPEND.
    fn open_new(&mut self) {
        self.empty_current();
        self.file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path((0, false)))
            .expect("the log");
        self.writes_to = self.names[&(0, false)].generation;
    }

    /// The truth of the current name becomes an empty file's: what it held is
    /// truncated, if it was there.
    fn empty_current(&mut self) {
        let fresh = self.truth.new_generation();
        let linked = Linked { generation: fresh, is_whole: true };
        if let Some(old) = self.names.insert((0, false), linked) {
            // The reader that holds the file holds what is written to it next.
            let is_held = std::mem::take(&mut self.truth.generations[old.generation].is_held);
            self.truth.generations[fresh].is_held = is_held;
            if self.writes_to == old.generation {
                self.writes_to = fresh;
            }
            self.truth.allow_cuts();
        }
    }

    pub fn rotate(&mut self) {
        if self.by_logrotate {
            return;
        }
        self.finish_half();
        if self.by_hand {
            // Of two files of one tick, one of them unlinked, nobody can tell which
            // was the newer.
            tick();
        }
        while self.packing.is_some() {
            self.pack(1000);
        }
        if self.max_file == 1 {
            match self.single {
                SingleFile::Truncate => {}
                SingleFile::Rename => self.rename((0, false), (1, false)),
                SingleFile::Unlink => self.unlink((0, false)),
            }
            self.open_new();
        } else {
            let gz = self.compress;
            self.unlink((self.max_file - 1, gz));
            for number in (1..self.max_file - 1).rev() {
                self.rename((number, gz), (number + 1, gz));
            }
            self.rename((0, false), (1, false));
            self.open_new();
            if let Some(linked) = self.names.get(&(1, false)).filter(|_| gz) {
                let generation = linked.generation;
                let bytes = self.packed(&fs::read(self.path((1, false))).expect("the rotated file"));
                self.packing = Some(Packing { generation, bytes, written: None });
            }
        }
        self.release_what_is_gone();
    }

    /// dockerd's own header: bare JSON in the extra field, with the time of the entry
    /// written last, whatever the clock says at the packing.
    fn packed(&self, plain: &[u8]) -> Vec<u8> {
        let extra = format!("{{\"lastTime\":\"{}\"}}", rfc3339(self.last_entry));
        let mut encoder =
            flate2::GzBuilder::new().extra(extra).write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).expect("a buffer takes all");
        encoder.finish().expect("a buffer takes all")
    }

    /// One step: created with some of its bytes, written to its end, the plain
    /// file unlinked.
    pub fn pack(&mut self, cut: usize) {
        let Some(mut packing) = self.packing.take() else { return };
        let name = (1, true);
        match packing.written {
            None => {
                // Of a small file nothing but the header is written before the end.
                let part = if packing.bytes.len() < 4096 { 10 } else { packing.bytes.len() * cut / 1001 };
                fs::write(self.path(name), &packing.bytes[..part]).expect("a write");
                packing.written = Some(part);
                self.names.insert(name, Linked { generation: packing.generation, is_whole: false });
                self.packing = Some(packing);
            }
            Some(part) if part < packing.bytes.len() => {
                let mut file = OpenOptions::new().append(true).open(self.path(name)).expect("the archive");
                file.write_all(&packing.bytes[part..]).expect("a write");
                packing.written = Some(packing.bytes.len());
                self.names.insert(name, Linked { generation: packing.generation, is_whole: true });
                self.packing = Some(packing);
            }
            Some(_) => self.unlink((1, false)),
        }
        self.release_what_is_gone();
    }

    pub fn daemon_crash(&mut self) {
        self.packing = None;
        self.reopen();
    }

    /// As at a start: appended to, or created.
    pub fn reopen(&mut self) {
        self.finish_half();
        let current = self.path((0, false));
        self.file = OpenOptions::new().append(true).create(true).open(current).expect("the log");
        if !self.names.contains_key(&(0, false)) {
            self.empty_current();
        }
        self.writes_to = self.names[&(0, false)].generation;
        self.open.iter_mut().flatten().for_each(|open| open.is_abandoned = true);
    }

    pub fn truncate(&mut self) {
        if !self.by_hand {
            return;
        }
        if self.format == Format::Local {
            // The rest of a frame alone can look like the start of a long one.
            self.finish_half();
        }
        self.half_is_torn();
        if self.names.contains_key(&(0, false)) {
            File::options().write(true).truncate(true).open(self.path((0, false))).expect("the log");
            self.empty_current();
        }
        self.release_what_is_gone();
    }

    /// The half that is there goes with the file, so the record never gets whole.
    fn half_is_torn(&mut self) {
        if self.half.is_some() {
            self.truth.release_generation(self.writes_to);
        }
    }

    /// logrotate: the numbers of the plain files move, and a copy becomes `.1`.
    /// `look` is called while that is under way.
    pub fn copy_truncate(&mut self, late: bool, mut look: impl FnMut(&mut Container)) {
        self.finish_half();
        if !self.by_logrotate || !self.names.contains_key(&(0, false)) {
            return;
        }
        // What is found at a first look in the midst of it cannot be told from
        // rotated files.
        look(self);
        self.shift_plain();
        tick();
        let bytes = fs::read(self.path((0, false))).expect("the log");
        let mut copy = File::create(self.path((1, false))).expect("the copy");
        copy.write_all(&bytes[..bytes.len() / 2]).expect("a write");
        look(self);
        copy.write_all(&bytes[bytes.len() / 2..]).expect("a write");
        let copied = self.names[&(0, false)];
        let parts = self.truth.generations[copied.generation].parts();
        // The time of a long line is that of its first piece, which is no help in
        // telling that the last one came after the copy.
        if late && self.open[0].is_none() {
            self.write(0, 1);
            // A position behind that line will be nowhere. That all of the copy was
            // before it shows by the head of the copy, unless that is a hole.
            if bytes.iter().take(HEAD_BYTES).all(|byte| *byte == 0) {
                self.truth.allow_generation_again(copied.generation);
            }
        }
        look(self);
        self.truth.release_from(copied.generation, parts);
        File::options().write(true).truncate(true).open(self.path((0, false))).expect("the log");
        self.empty_current();
        self.truth.generations[copied.generation].is_copy = true;
        self.names.insert((1, false), copied);
        self.release_what_is_gone();
        tick();
    }

    fn shift_plain(&mut self) {
        self.unlink((4, false));
        for number in (1..4).rev() {
            self.rename((number, false), (number + 1, false));
        }
    }

    /// logrotate without copytruncate: dockerd writes on in what is `.1` now.
    pub fn rename_current(&mut self, create: bool) {
        if !self.by_logrotate {
            return;
        }
        self.finish_half();
        self.shift_plain();
        self.rename((0, false), (1, false));
        tick();
        if create && !self.names.contains_key(&(0, false)) {
            File::create_new(self.path((0, false))).expect("a new log");
            self.empty_current();
        }
        self.release_what_is_gone();
    }

    pub fn unlink_current(&mut self) {
        // dockerd would compress the one before it a second time, with a later time
        // in its header.
        if !self.by_hand || self.compress {
            return;
        }
        self.unlink((0, false));
        self.release_what_is_gone();
    }

    /// `docker rm`, in the order of the directory.
    pub fn remove(&mut self) {
        self.finish_half();
        self.packing = None;
        self.open = [None, None];
        self.truth.close_all();
        fs::remove_dir_all(&self.dir).expect("the folder");
        self.names.clear();
        self.release_what_is_gone();
    }

    /// The folder will be away for a moment: to the reader it looks removed, and
    /// what is open then is over.
    pub fn leave(&mut self) -> bool {
        // Its reader comes back to the current file only.
        if self.names.get(&(0, false)).is_none_or(|current| current.generation != self.writes_to) {
            return false;
        }
        self.finish_half();
        self.is_away = true;
        self.truth.allow_cuts();
        true
    }

    /// It is back. A reader that looked meanwhile has read what it held, or still
    /// reads it, and then let go of it.
    pub fn come_back(&mut self, was_missed: bool) {
        // It is taken up again when all that was queued of it is accepted.
        self.is_away = was_missed;
        self.truth.may_cut = true;
        if was_missed {
            self.truth.generations.iter_mut().for_each(|generation| generation.is_held = false);
            self.release_what_is_gone();
        }
    }
}
