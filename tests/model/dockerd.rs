//! dockerd and conmon, which rotate the log that they write.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use super::container::{Container, Linked, Name, Packing};
use super::format::rfc3339;
use super::hand::tick;
use super::plan::{Format, SingleFile};

impl Container {
    /// The runtime rotates, and does so many of the steps at once that a look may come
    /// between.
    pub fn rotate(&mut self, steps: usize) {
        if self.settings.by_logrotate {
            return;
        }
        self.finish_half();
        if self.settings.by_hand {
            // Of two files of one tick, one of them unlinked, nobody can tell which
            // was the newer.
            tick();
        }
        match self.settings.format {
            Format::Pod => return self.rotate_as_kubelet(steps),
            Format::Podman => self.rotate_as_conmon(),
            Format::Json | Format::Local => self.rotate_as_dockerd(steps),
        }
        self.release_what_is_gone();
    }

    fn rotate_as_dockerd(&mut self, steps: usize) {
        while self.packing.is_some() {
            self.pack(1000);
        }
        if self.settings.max_file == 1 {
            match self.settings.single {
                SingleFile::Truncate => {}
                SingleFile::Rename => self.rename(Name::CURRENT, Name::rotated(1, false)),
                SingleFile::Unlink => self.unlink(Name::CURRENT),
            }
            self.open_new();
            return;
        }
        let gz = self.settings.compress;
        self.shift(gz);
        self.open_new();
        let rotated = Name::rotated(1, false);
        if let Some(linked) = self.names.get(&rotated).filter(|_| gz) {
            let generation = linked.generation;
            let bytes = self.packed(&fs::read(self.path(rotated)).expect("the rotated file"));
            self.packing = Some(Packing {
                generation,
                bytes,
                written: None,
            });
        }
        (0..steps).for_each(|_| self.pack(500));
    }

    /// conmon of `--log-size-max`: a new file is made and takes the place of the old
    /// one, of which newer ones keep some. Its name is never missing.
    fn rotate_as_conmon(&mut self) {
        let (current, fresh) = (self.path(Name::CURRENT), self.folder.join("ctr.log.new"));
        let file = File::create(&fresh).expect("a new log");
        if self.settings.max_file > 1 {
            self.shift(false);
        } else {
            self.names.remove(&Name::CURRENT);
        }
        fs::rename(fresh, current).expect("rename");
        self.empty_current();
        self.writes_to_current(file);
    }

    /// The numbers of the rotated files move, and the current one becomes `.1`.
    fn shift(&mut self, is_gzip: bool) {
        let max_file = self.settings.max_file;
        self.unlink(Name::rotated(max_file - 1, is_gzip));
        for number in (1..max_file - 1).rev() {
            self.rename(
                Name::rotated(number, is_gzip),
                Name::rotated(number + 1, is_gzip),
            );
        }
        self.rename(Name::CURRENT, Name::rotated(1, false));
    }

    /// Opens the current name as dockerd does after a rotation: without O_APPEND.
    fn open_new(&mut self) {
        self.empty_current();
        let mut how = OpenOptions::new();
        let file = how
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(Name::CURRENT));
        self.writes_to_current(file.expect("the log"));
    }

    /// dockerd's own header: bare JSON in the extra field, with the time of the entry
    /// written last, whatever the clock says at the packing.
    fn packed(&self, plain: &[u8]) -> Vec<u8> {
        let extra = format!("{{\"lastTime\":\"{}\"}}", rfc3339(self.last_entry));
        let mut encoder = flate2::GzBuilder::new()
            .extra(extra)
            .write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).expect("a buffer takes all");
        encoder.finish().expect("a buffer takes all")
    }

    /// One step: created with some of its bytes, written to its end, the plain
    /// file unlinked. The kubelet has steps of its own.
    pub fn pack(&mut self, cut: usize) {
        if self.settings.format == Format::Pod {
            return self.go_on_as_kubelet(cut);
        }
        let Some(mut packing) = self.packing.take() else {
            return;
        };
        let name = Name::rotated(1, true);
        match packing.written {
            None => {
                if packing.generation.is_multiple_of(2) {
                    // A large file takes longer than a tick: its archive is younger than
                    // the file that is written by then.
                    tick();
                }
                let part = packing.part(cut);
                fs::write(self.path(name), &packing.bytes[..part]).expect("a write");
                packing.written = Some(part);
                self.names.insert(
                    name,
                    Linked {
                        generation: packing.generation,
                        is_whole: false,
                    },
                );
                self.packing = Some(packing);
            }
            Some(part) if part < packing.bytes.len() => {
                let mut file = OpenOptions::new()
                    .append(true)
                    .open(self.path(name))
                    .expect("the archive");
                file.write_all(&packing.bytes[part..]).expect("a write");
                packing.written = Some(packing.bytes.len());
                self.names.insert(
                    name,
                    Linked {
                        generation: packing.generation,
                        is_whole: true,
                    },
                );
                self.packing = Some(packing);
            }
            Some(_) => self.unlink(Name::rotated(1, false)),
        }
        self.release_what_is_gone();
    }

    /// Who rotates dies, in the midst of it perhaps, and comes back.
    pub fn daemon_crash(&mut self) {
        match self.settings.format {
            Format::Json | Format::Local => {
                self.packing = None;
                self.reopen();
            }
            Format::Pod => self.kubelet_crash(),
            // There is none.
            Format::Podman => {}
        }
    }

    /// The container is stopped and started again.
    pub fn reopen(&mut self) {
        match self.settings.format {
            Format::Pod => return self.restart_run(),
            // What was open would look like the start of what comes.
            Format::Podman if self.open.iter().any(Option::is_some) => return,
            _ => {}
        }
        self.finish_half();
        self.open_current();
        self.abandon_lines();
    }
}

impl Packing {
    /// How much of it is written before its end. Of a small file nothing but the header
    /// is.
    pub fn part(&self, cut: usize) -> usize {
        if self.bytes.len() < 4096 {
            10
        } else {
            self.bytes.len() * cut / 1001
        }
    }
}
