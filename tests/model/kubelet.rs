//! The kubelet, which rotates what containerd writes: step by step, and the container
//! is told to open its log anew only then (kubernetes
//! `pkg/kubelet/logs/container_log_manager.go`).

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;

use super::container::{Container, Linked, Name, Packing};
use super::hand::tick;

/// One step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What a crash left is cleared up, and the oldest files are deleted.
    Prune,
    /// The one rotated the last time is compressed, into a temporary file unless the
    /// kubelet is old.
    BeginArchive,
    /// All of it is written, and has its name.
    EndArchive,
    /// The plain file goes.
    DropPlain,
    /// The log gets the name of a rotated one; it is written on under that.
    Rename,
    /// containerd opens its log anew, or fails to, and then it gets its name back.
    Reopen,
    /// What containerd had read of a line when it was told goes into the old file.
    FlushOld,
}

/// What it is at, for one container.
#[derive(Default)]
pub struct Kubelet {
    /// The run of the container.
    pub run: u32,
    steps: VecDeque<Step>,
    /// The second of the last stamp.
    stamp: u32,
    /// What was written before the log was opened anew.
    old: Option<(File, usize)>,
}

impl Container {
    /// Begins a rotation, once the last one is through.
    pub fn rotate_as_kubelet(&mut self, steps: usize) {
        self.finish_rotation();
        if !self.names.contains_key(&self.current()) {
            // It died between the renaming and the reopening.
            self.kubelet.steps.push_back(Step::Reopen);
            return;
        }
        if fs::metadata(self.path(self.current())).is_ok_and(|log| log.len() == 0) {
            // It has a size to reach.
            return;
        }
        use Step::*;
        self.kubelet.steps = [Prune, BeginArchive, EndArchive, DropPlain, Rename, Reopen].into();
        (0..steps).for_each(|_| self.go_on_as_kubelet(500));
    }

    fn finish_rotation(&mut self) {
        while !self.kubelet.steps.is_empty() {
            self.go_on_as_kubelet(500);
        }
    }

    /// One step.
    pub fn go_on_as_kubelet(&mut self, cut: usize) {
        match self.kubelet.steps.pop_front() {
            None => return,
            Some(Step::Prune) => self.prune(),
            Some(Step::BeginArchive) => self.begin_archive(cut),
            Some(Step::EndArchive) => self.end_archive(),
            Some(Step::DropPlain) => {
                if let Some(name) = self.archived() {
                    self.unlink(name);
                }
            }
            Some(Step::Rename) => {
                self.kubelet.stamp += 1;
                let current = self.current();
                self.rename(
                    current,
                    Name {
                        number: self.kubelet.stamp,
                        ..current
                    },
                );
            }
            Some(Step::Reopen) => self.reopen_as_containerd(cut),
            Some(Step::FlushOld) => self.flush_old(),
        }
        self.release_what_is_gone();
    }

    /// The rotated files of this run, oldest first.
    fn rotated(&self, is_gzip: bool) -> Vec<Name> {
        let of_run = |name: &&Name| name.run == self.kubelet.run && name.number > 0;
        self.names
            .keys()
            .filter(of_run)
            .filter(|name| name.is_gzip == is_gzip)
            .copied()
            .collect()
    }

    /// The plain file whose archive is there.
    fn archived(&self) -> Option<Name> {
        let plain = self.rotated(false);
        plain.into_iter().find(|name| {
            self.names.contains_key(&Name {
                is_gzip: true,
                ..*name
            })
        })
    }

    fn prune(&mut self) {
        while let Some(name) = self.archived() {
            self.unlink(name);
        }
        let mut rotated = [self.rotated(true), self.rotated(false)].concat();
        rotated.sort_unstable();
        let keep = self.settings.max_file as usize - 2;
        for name in &rotated[..rotated.len().saturating_sub(keep)] {
            self.unlink(*name);
        }
    }

    fn begin_archive(&mut self, cut: usize) {
        let Some(name) = self.rotated(false).first().copied() else {
            return;
        };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(&fs::read(self.path(name)).expect("a rotated log"))
            .expect("a buffer takes all");
        let bytes = encoder.finish().expect("a buffer takes all");
        let (archive, generation) = (
            Name {
                is_gzip: true,
                ..name
            },
            self.names[&name].generation,
        );
        let packing = Packing {
            generation,
            bytes,
            written: None,
        };
        let mut path = self.path(archive);
        if self.settings.names_early {
            self.names.insert(
                archive,
                Linked {
                    generation,
                    is_whole: false,
                },
            );
        } else {
            path.as_mut_os_string().push(".tmp");
        }
        fs::write(path, &packing.bytes[..packing.part(cut)]).expect("a write");
        self.packing = Some(packing);
    }

    fn end_archive(&mut self) {
        let Some(packing) = self.packing.take() else {
            return;
        };
        let Some(name) = self.rotated(false).first().copied() else {
            return;
        };
        let archive = Name {
            is_gzip: true,
            ..name
        };
        let path = self.path(archive);
        let mut temporary = path.clone();
        if !self.settings.names_early {
            temporary.as_mut_os_string().push(".tmp");
        }
        // What stands there already is written over with the same.
        let mut file = OpenOptions::new()
            .write(true)
            .open(&temporary)
            .expect("the archive");
        file.write_all(&packing.bytes).expect("a write");
        fs::rename(temporary, path).expect("rename the archive");
        self.names.insert(
            archive,
            Linked {
                generation: packing.generation,
                is_whole: true,
            },
        );
    }

    /// containerd opens the current name; what it has read of a line by then follows in
    /// the old file, and the rest of the line in the new one.
    fn reopen_as_containerd(&mut self, cut: usize) {
        let rotated = Name {
            number: self.kubelet.stamp,
            ..self.current()
        };
        let is_renamed = self
            .names
            .get(&rotated)
            .is_some_and(|linked| linked.generation == self.writes_to);
        if cut >= 900 && is_renamed {
            let current = self.current();
            return self.rename(rotated, current);
        }
        tick();
        self.finish_half();
        let old = self.file.try_clone().expect("a descriptor");
        self.kubelet.old = Some((old, self.writes_to));
        self.open_current();
        self.kubelet.steps.push_back(Step::FlushOld);
    }

    /// It comes within milliseconds, whatever else has happened.
    pub fn flush_old(&mut self) {
        self.kubelet.steps.retain(|step| *step != Step::FlushOld);
        let Some((old, generation)) = self.kubelet.old.take() else {
            return;
        };
        // Of a line that has not gone on in the new file.
        if self.open[0]
            .as_ref()
            .is_some_and(|open| open.generation == generation)
        {
            self.finish_half();
            let fresh = (std::mem::replace(&mut self.file, old), self.writes_to);
            self.writes_to = generation;
            self.piece(0);
            (self.file, self.writes_to) = fresh;
        }
    }

    /// A temporary file, or two names of one log, stay as they are; a log that is
    /// missing is opened anew at the next rotation.
    pub fn kubelet_crash(&mut self) {
        self.flush_old();
        self.packing = None;
        self.kubelet.steps.clear();
    }

    /// The container ends and is started anew: its lines end, and it has another file.
    /// Of the runs before, the last one's are kept.
    pub fn restart_run(&mut self) {
        self.finish_half();
        self.kubelet_crash();
        self.end_lines();
        tick();
        self.kubelet.run += 1;
        self.open_current();
        self.link();
        let run = self.kubelet.run;
        let old: Vec<Name> = self
            .names
            .keys()
            .filter(|name| name.run + 1 < run)
            .copied()
            .collect();
        old.into_iter().for_each(|name| self.unlink(name));
        self.release_what_is_gone();
    }
}
