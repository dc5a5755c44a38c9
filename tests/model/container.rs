//! One container: what it writes into which of its files, and the truth about what
//! stands where. What becomes of the files is told by those who do it: `dockerd`,
//! `kubelet`, `logrotate` and a user's `hand`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::pipeline::partial::PIECE_GAP;

use super::format::{Entry, Part};
use super::kubelet::Kubelet;
use super::plan::{Format, Settings};
use super::truth::Truth;

const PIECE_BYTES: usize = 16 * 1024;
/// How long the reader waits for the rest of a line that a tag says will come.
const TAGGED_LINE_GRACE: Duration = Duration::from_secs(30);

/// A name in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Of which run of the container, where each has files of its own.
    pub run: u32,
    /// 0 for what is written now; else the number behind the log's name, or the
    /// second of the kubelet's stamp.
    pub number: u32,
    pub is_gzip: bool,
}

impl Name {
    pub const CURRENT: Name = Name {
        run: 0,
        number: 0,
        is_gzip: false,
    };

    /// A rotated file of dockerd's, of conmon's or of logrotate's.
    pub const fn rotated(number: u32, is_gzip: bool) -> Name {
        Name {
            run: 0,
            number,
            is_gzip,
        }
    }
}

/// What a name leads to.
#[derive(Debug, Clone, Copy)]
pub struct Linked {
    pub generation: usize,
    /// All of its bytes can be had from here.
    pub is_whole: bool,
}

/// A compression under way.
pub struct Packing {
    pub generation: usize,
    pub bytes: Vec<u8>,
    /// How many of them are written; `None` before the file is created.
    pub written: Option<usize>,
}

/// A line of which pieces are written.
pub struct OpenLine {
    line: usize,
    pieces: usize,
    time: (i64, u32),
    is_abandoned: bool,
    /// Where the last one is.
    pub generation: usize,
}

pub struct Container {
    id: String,
    /// What its pod is called, and others the container.
    name: String,
    /// What comes and goes with it.
    pub home: PathBuf,
    pub truth: Truth,
    pub settings: Settings,
    /// The folder of its files, and the name of the first.
    pub folder: PathBuf,
    log: PathBuf,
    /// The writer's descriptor, and what it writes to.
    pub file: File,
    pub writes_to: usize,
    pub names: BTreeMap<Name, Linked>,
    pub packing: Option<Packing>,
    pub kubelet: Kubelet,
    /// What is missing of a record.
    pub half: Option<Vec<u8>>,
    pub open: [Option<OpenLine>; 2],
    /// When the last line was written, by the real clock; no two have one time.
    last: Duration,
    /// The time of the last entry.
    pub last_entry: (i64, u32),
    /// Seconds by which the writer's clock is off.
    pub clock: i64,
    /// When a whole entry was written last, by the reader's time.
    pub written_at: Instant,
    /// The reader does not see it, or has not taken it up again for certain.
    pub is_away: bool,
}

impl Container {
    /// Creates and starts container `number`.
    pub fn start(root: &Path, number: usize, settings: &Settings, now: Instant) -> Container {
        let (id, name, format) = (
            format!("{number:064x}"),
            format!("web-{number}"),
            settings.format,
        );
        let home = format.home(root, &id, &name);
        let log = format.log(&home, &id);
        let folder = log.parent().expect("a folder").to_owned();
        fs::create_dir(&home).expect("a container's folder");
        describe(root, &home, settings.format, &id, &name);
        fs::create_dir_all(&folder).expect("the log's folder");
        let mut how = OpenOptions::new();
        let file = how
            .write(true)
            .append(!settings.is_stale)
            .create(true)
            .open(&log)
            .expect("the log");
        let mut truth = Truth::default();
        let writes_to = truth.new_generation();
        let container = Container {
            id,
            name,
            home,
            truth,
            settings: settings.clone(),
            folder,
            log,
            file,
            writes_to,
            names: BTreeMap::from([(
                Name::CURRENT,
                Linked {
                    generation: writes_to,
                    is_whole: true,
                },
            )]),
            packing: None,
            kubelet: Kubelet::default(),
            half: None,
            open: [None, None],
            last: Duration::ZERO,
            last_entry: (0, 0),
            clock: 0,
            written_at: now,
            is_away: false,
        };
        container.link();
        container
    }

    /// Whose record it is.
    pub fn owns(&self, record: &Record) -> bool {
        match self.settings.format {
            Format::Pod => record.text("pod") == self.name,
            _ => record.text("container_id") == self.id,
        }
    }

    pub fn path(&self, name: Name) -> PathBuf {
        let gzip = if name.is_gzip { ".gz" } else { "" };
        if self.settings.format == Format::Pod {
            let (run, second) = (name.run, name.number);
            let stamp = format!(
                ".20231114-{:02}{:02}{:02}",
                second / 3600,
                second / 60 % 60,
                second % 60
            );
            let stamp = if second == 0 { String::new() } else { stamp };
            return self.folder.join(format!("{run}.log{stamp}{gzip}"));
        }
        let number = match name.number {
            0 => String::new(),
            number if self.settings.is_dated => format!("-202611{:02}", 30 - number),
            number => format!(".{number}"),
        };
        PathBuf::from(format!("{}{number}{gzip}", self.log.display()))
    }

    /// The name of what is written now.
    pub fn current(&self) -> Name {
        Name {
            run: self.kubelet.run,
            ..Name::CURRENT
        }
    }

    /// The kubelet's link to the log of a run tells its container's id.
    pub fn link(&self) {
        if self.settings.format == Format::Pod {
            let run = self.kubelet.run;
            let root = self.home.ancestors().nth(2).expect("the root");
            let name = format!("{}_shop_app-{run:064x}.log", self.name);
            let link = root.join("containers").join(name);
            std::os::unix::fs::symlink(self.path(self.current()), link).expect("the link");
        }
    }

    // What the container writes.

    pub fn time(&mut self) -> (i64, u32) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970");
        self.last = now.max(self.last + Duration::from_nanos(1));
        (
            self.last.as_secs() as i64 + self.clock,
            self.last.subsec_nanos(),
        )
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).expect("a write");
    }

    /// Completes the record that is half there.
    pub fn finish_half(&mut self) {
        if let Some(rest) = self.half.take() {
            self.raw(&rest);
        }
    }

    /// The bytes of the next entry, known to the truth.
    fn entry(
        &mut self,
        stream: usize,
        line: usize,
        part: Part,
        time: (i64, u32),
    ) -> (usize, Vec<u8>) {
        let bytes = match part {
            // conmon writes what a read brings.
            Part::Piece(_) if self.settings.format == Format::Podman => 100 + (line * 377) % 8000,
            Part::Piece(_) => PIECE_BYTES,
            _ => 9 + (line * 7) % 23,
        };
        let (number, text) = self.truth.new_part(stream, line, self.writes_to, bytes);
        if !self.is_to_be_had(self.writes_to) {
            self.truth.release(number);
        }
        self.last_entry = time;
        (
            number,
            self.settings.format.encode(&Entry {
                stream,
                line,
                text: &text,
                part,
                time,
            }),
        )
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
                let time = self.time_of(&open);
                let made = self.entry(stream, open.line, Part::Last(open.pieces + 1), time);
                self.truth.close(open.line, Some(made.0));
                made
            }
            open => {
                if let Some(open) = open {
                    self.give_up(&open);
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
        let safe = self
            .settings
            .format
            .unsafe_text(&bytes)
            .unwrap_or(bytes.len());
        self.raw(&bytes[..safe * cut / 1000]);
        self.truth.release(number);
        // A frame's length says that more belongs to it: it takes others behind
        // it to show that it is torn.
        self.write(stream, 6);
    }

    pub fn piece(&mut self, stream: usize) {
        self.finish_half();
        if self.open[stream]
            .as_ref()
            .is_some_and(|open| open.is_abandoned)
        {
            self.abandon(stream);
        }
        let mut open = match self.open[stream].take() {
            Some(open) => open,
            None => {
                let time = self.time();
                let (line, generation) = (self.truth.new_line(), self.writes_to);
                OpenLine {
                    line,
                    pieces: 0,
                    time,
                    is_abandoned: false,
                    generation,
                }
            }
        };
        open.pieces += 1;
        open.generation = self.writes_to;
        let time = self.time_of(&open);
        let (_, bytes) = self.entry(stream, open.line, Part::Piece(open.pieces), time);
        self.raw(&bytes);
        self.open[stream] = Some(open);
    }

    /// dockerd gives all pieces of a line the time of the first, others each its own.
    fn time_of(&mut self, open: &OpenLine) -> (i64, u32) {
        if self.settings.format.is_tagged() {
            self.time()
        } else {
            open.time
        }
    }

    /// The open line never ends, and another begins. Where tags alone say what belongs
    /// together, that is known only from a run of the container to the next.
    pub fn abandon(&mut self, stream: usize) {
        match self.settings.format {
            Format::Podman => return self.piece(stream),
            Format::Pod => self.restart_run(),
            _ => {}
        }
        if let Some(open) = self.open[stream].take() {
            self.give_up(&open);
        }
        self.piece(stream);
    }

    /// The container ends in mid-line, and dockerd starts it again.
    fn give_up(&mut self, open: &OpenLine) {
        self.truth.close(open.line, None);
        if self.settings.format.is_tagged() {
            return;
        }
        // logrotate's copies are told from their log by the clock.
        match self.settings.by_logrotate {
            true => std::thread::sleep(PIECE_GAP),
            false => self.last += PIECE_GAP,
        }
    }

    pub fn tail(&mut self, stream: usize) {
        match self.settings.format {
            Format::Podman => return self.write(stream, 1),
            Format::Pod => {
                self.piece(stream);
                return self.restart_run();
            }
            _ => {}
        }
        self.finish_half();
        if let Some(open) = self.open[stream].take() {
            self.give_up(&open);
        }
        let (_, bytes) = self.only_part(stream, Part::Tail);
        self.raw(&bytes);
    }

    /// A run has ended, and with it its lines.
    pub fn end_lines(&mut self) {
        for open in self.open.iter_mut().filter_map(Option::take) {
            self.truth.close(open.line, None);
        }
    }

    /// Writes the rest of what is open.
    pub fn finish_lines(&mut self) {
        for stream in 0..2 {
            if self.open[stream].is_some() {
                self.write(stream, 1);
            }
        }
    }

    /// Open lines are over, which shows when another begins.
    pub fn abandon_lines(&mut self) {
        self.open
            .iter_mut()
            .flatten()
            .for_each(|open| open.is_abandoned = true);
    }

    /// The clock steps. A tagged line that waits seems to have waited for so long.
    pub fn step_clock(&mut self, seconds: i64) {
        self.clock += seconds;
        if self.settings.format.is_tagged() && seconds > 0 {
            self.truth.allow_cuts();
        }
    }

    /// Whole, or half written, or in pieces: what a tagged line was written of within so
    /// long is waited for.
    pub fn time_passes(&mut self, now: Instant) {
        if self.settings.format.is_tagged()
            && now.duration_since(self.written_at) >= TAGGED_LINE_GRACE
        {
            self.truth.allow_cuts();
        }
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

    pub fn unlink(&mut self, name: Name) {
        if self.names.remove(&name).is_some() {
            fs::remove_file(self.path(name)).expect("unlink");
        }
    }

    pub fn rename(&mut self, from: Name, to: Name) {
        if let Some(linked) = self.names.remove(&from) {
            fs::rename(self.path(from), self.path(to)).expect("rename");
            self.names.insert(to, linked);
        }
    }

    /// The truth of the current name becomes an empty file's: what it held is
    /// truncated, if it was there.
    pub fn empty_current(&mut self) {
        let fresh = self.truth.new_generation();
        let linked = Linked {
            generation: fresh,
            is_whole: true,
        };
        if let Some(old) = self.names.insert(self.current(), linked) {
            // The reader that holds the file holds what is written to it next.
            let is_held = std::mem::take(&mut self.truth.generations[old.generation].is_held);
            self.truth.generations[fresh].is_held = is_held;
            if self.writes_to == old.generation {
                self.writes_to = fresh;
            }
            self.truth.allow_cuts();
        }
    }

    /// The writer opens what it just made, or emptied.
    pub fn writes_to_current(&mut self, file: File) {
        self.file = file;
        self.writes_to = self.names[&self.current()].generation;
    }

    /// What is opened at a start: appended to, or created.
    pub fn open_current(&mut self) {
        let path = self.path(self.current());
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("the log");
        if !self.names.contains_key(&self.current()) {
            self.empty_current();
        }
        self.writes_to_current(file);
    }

    /// `docker rm`, in the order of the directory; the kubelet's is like it.
    pub fn remove(&mut self) {
        self.finish_half();
        self.packing = None;
        self.kubelet = Kubelet::default();
        self.open = [None, None];
        self.truth.close_all();
        fs::remove_dir_all(&self.home).expect("the folder");
        self.names.clear();
        self.release_what_is_gone();
    }

    /// The folder will be away for a moment: to the reader it looks removed, and
    /// what is open then is over.
    pub fn leave(&mut self) -> bool {
        // Its reader comes back to the current file only.
        if self
            .names
            .get(&self.current())
            .is_none_or(|current| current.generation != self.writes_to)
        {
            return false;
        }
        self.finish_half();
        self.is_away = true;
        self.truth.allow_cuts();
        if !self.settings.format.is_tagged() {
            // dockerd lost the folder, too, and starts the container anew.
            self.abandon_lines();
        }
        true
    }

    /// It is back. A reader that looked meanwhile has read what it held, or still
    /// reads it, and then let go of it.
    pub fn come_back(&mut self, was_missed: bool) {
        // It is taken up again when all that was queued of it is accepted.
        self.is_away = was_missed;
        self.truth.may_cut = true;
        if was_missed {
            self.truth
                .generations
                .iter_mut()
                .for_each(|generation| generation.is_held = false);
            self.release_what_is_gone();
        }
    }
}

/// What the runtime says about a container.
fn describe(root: &Path, home: &Path, format: Format, id: &str, name: &str) {
    let driver = match format {
        Format::Json => "json-file",
        Format::Local => "local",
        // The names of its folders tell all.
        Format::Pod => return,
        Format::Podman => {
            let file = root.join("storage/overlay-containers/containers.json");
            let known = fs::read(&file).unwrap_or_else(|_| b"[]".to_vec());
            let mut known: Vec<serde_json::Value> = serde_json::from_slice(&known).expect("JSON");
            known.push(serde_json::json!({"id": id, "names": [name]}));
            let text = serde_json::Value::Array(known).to_string();
            return fs::write(&file, text).expect("containers.json");
        }
    };
    let host_config = serde_json::json!({"LogConfig": {"Type": driver, "Config": {}}});
    fs::write(home.join("hostconfig.json"), host_config.to_string()).expect("hostconfig.json");
    let config = serde_json::json!({
        "Name": format!("/{name}"),
        "Config": {"Image": "web"},
        "State": {"Running": true},
    });
    fs::write(home.join("config.v2.json"), config.to_string()).expect("config.v2.json");
}
