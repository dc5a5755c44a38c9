//! Change notification for container folders and log files, on inotify instances of our own.
//!
//! The `notify` crate is not used here because it subscribes to every kind of event, for logs
//! and folders alike, and wakes the reader for each. A *folder* is watched for created,
//! renamed and deleted entries (rotation, renamed container, removal), never for writes. A
//! *log file* is watched while it is written only occasionally: then one read per notice is
//! cheaper than one per cycle. A busy log is not watched. Logs have an inotify instance of
//! their own, which does not wake the reader while other logs are read anyway: its events are
//! then taken in bulk in the next cycle.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::delivery::link::Link;
use crate::telemetry::event::Event;
use crate::telemetry::trouble::Trouble;

/// What happened to a container, identified by the key it is watched under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Its watched log file was written or truncated.
    LogWritten(usize),
    /// Its watched log file was renamed or deleted.
    LogTouched(usize),
    /// An entry of its folder was added or removed.
    FolderChanged(usize),
    /// A file with this name was created in its folder.
    FileMade(usize, String),
    /// An entry of a runtime's folder was added or removed.
    RootChanged,
    /// Events were lost: everything must be checked.
    Overflow,
}

/// Limit on the events taken from each instance in one call, so that someone who creates and
/// renames files as fast as they are taken cannot keep the reader from the logs.
const MOST_EVENTS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Folder(usize),
    Log(usize),
    Root,
}

impl Watched {
    fn notice(self) -> Notice {
        match self {
            Watched::Folder(key) => Notice::FolderChanged(key),
            Watched::Log(key) => Notice::LogTouched(key),
            Watched::Root => Notice::RootChanged,
        }
    }
}

/// The inotify instances and what they watch. Without instances, the default, every watch is
/// refused and changes are found by polling.
#[derive(Debug, Default)]
pub struct FileWatch {
    instances: Option<Instances>,
    /// The last call to [`FileWatch::take`] left events in the kernel's queue.
    has_more: bool,
    /// A watch was refused, so changes are found by polling.
    refusal: Trouble<()>,
}

#[derive(Debug)]
struct Instances {
    names: Instance,
    writes: Instance,
}

#[derive(Debug)]
struct Instance {
    fd: OwnedFd,
    /// By watch descriptor. inotify has one watch per file, which may serve several owners.
    watched: HashMap<i32, Watched>,
    /// Further owners of a watch, which are rare.
    others: HashMap<i32, Vec<Watched>>,
}

impl FileWatch {
    /// Fails if the user's inotify instances are exhausted.
    pub fn new() -> io::Result<FileWatch> {
        Ok(FileWatch {
            instances: Some(Instances {
                names: Instance::new()?,
                writes: Instance::new()?,
            }),
            ..FileWatch::default()
        })
    }

    /// Readable when a folder entry was added or removed.
    pub fn names(&self) -> Option<BorrowedFd<'_>> {
        Some(self.instances.as_ref()?.names.fd.as_fd())
    }

    /// Readable when a watched log was touched.
    pub fn writes(&self) -> Option<BorrowedFd<'_>> {
        Some(self.instances.as_ref()?.writes.fd.as_fd())
    }

    /// Whether a watch was refused, so that changes are found by polling.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_there()
    }

    /// Reports the first refused watch: from then on, rescans find the changes.
    pub fn report_refusal(&mut self, link: &Link, config: &Config, path: PathBuf, reason: String) {
        self.refusal.begin((), || {
            link.report(Event::WatchUnavailable {
                path,
                reason,
                seconds: config.rescan_interval.as_secs_f64(),
            })
        });
    }

    fn instances(&mut self) -> io::Result<&mut Instances> {
        self.instances
            .as_mut()
            .ok_or_else(|| io::Error::other("inotify is not available"))
    }

    /// Watches a container's folder until it is deleted.
    pub fn watch_folder(&mut self, key: usize, dir: &Path) -> io::Result<()> {
        self.watch_names(Watched::Folder(key), dir)
    }

    /// Watches a folder that contains containers' folders until it is deleted.
    pub fn watch_root(&mut self, dir: &Path) -> io::Result<()> {
        self.watch_names(Watched::Root, dir)
    }

    fn watch_names(&mut self, watched: Watched, dir: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        self.instances()?.names.watch(dir, flags, watched)?;
        Ok(())
    }

    /// Watches an open log file, whatever its current name, until it is deleted or
    /// [`FileWatch::unwatch_log`] is called with the returned number. Read the file once more
    /// afterwards: a write before the watch is not reported.
    pub fn watch_log(&mut self, key: usize, file: &File) -> io::Result<i32> {
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.instances()?
            .writes
            .watch(Path::new(&path), flags, Watched::Log(key))
    }

    /// Ends the watch on a log.
    pub fn unwatch_log(&mut self, key: usize, watch: i32) {
        if let Some(instances) = &mut self.instances {
            instances.writes.forget(watch, Watched::Log(key));
        }
    }

    /// Ends the watches on the folders of a container.
    pub fn forget_folders(&mut self, key: usize) {
        if let Some(instances) = &mut self.instances {
            instances.names.forget_all(Watched::Folder(key));
        }
    }

    /// Ends every watch under `key`.
    pub fn forget(&mut self, key: usize) {
        if let Some(instances) = &mut self.instances {
            instances.names.forget_all(Watched::Folder(key));
            instances.writes.forget_all(Watched::Log(key));
        }
    }

    /// Appends the pending notices, several per container as a rule.
    pub fn take(&mut self, notices: &mut Vec<Notice>) {
        let Some(Instances { names, writes }) = &mut self.instances else {
            return;
        };
        let has_more = names.take(notices, MOST_EVENTS);
        self.has_more = writes.take(notices, MOST_EVENTS) || has_more;
    }

    /// Whether the last call to [`FileWatch::take`] left events in the kernel's queue.
    pub fn has_more(&self) -> bool {
        self.has_more
    }
}

impl Instance {
    fn new() -> io::Result<Instance> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Instance {
            fd,
            watched: HashMap::new(),
            others: HashMap::new(),
        })
    }

    fn watch(&mut self, path: &Path, flags: WatchFlags, watched: Watched) -> io::Result<i32> {
        let watch = inotify::add_watch(&self.fd, path, flags)?;
        if *self.watched.entry(watch).or_insert(watched) != watched {
            let others = self.others.entry(watch).or_default();
            if !others.contains(&watched) {
                others.push(watched);
            }
        }
        Ok(watch)
    }

    fn forget(&mut self, watch: i32, watched: Watched) {
        let Some(first) = self.watched.get_mut(&watch) else {
            return;
        };
        let mut next = None;
        if let Some(others) = self.others.get_mut(&watch) {
            others.retain(|other| *other != watched);
            if *first == watched {
                next = others.pop();
            }
            if others.is_empty() {
                self.others.remove(&watch);
            }
        }
        match next {
            Some(next) => *first = next,
            None if *first == watched => {
                self.watched.remove(&watch);
                // Fails if the watch has ended by itself, with its file.
                let _ = inotify::remove_watch(&self.fd, watch);
            }
            None => {}
        }
    }

    fn forget_all(&mut self, watched: Watched) {
        let concerned: Vec<i32> = self
            .watched
            .iter()
            .chain(
                self.others
                    .iter()
                    .flat_map(|(watch, others)| others.iter().map(move |other| (watch, other))),
            )
            .filter(|(_, owner)| **owner == watched)
            .map(|(watch, _)| *watch)
            .collect();
        for watch in concerned {
            self.forget(watch, watched);
        }
    }

    /// Takes up to `most` events, finishing the last buffer read; the rest stays in the
    /// kernel's queue. Returns whether there may be more.
    fn take(&mut self, notices: &mut Vec<Notice>, most: usize) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut taken = 0;
        loop {
            if taken >= most && reader.is_buffer_empty() {
                return true;
            }
            taken += 1;
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                notices.push(Notice::Overflow);
                continue;
            }
            let Some(first) = self.watched.get(&event.wd()) else {
                continue;
            };
            let made = event
                .file_name()
                .filter(|_| event.events().contains(ReadFlags::CREATE));
            let is_write = event.events().contains(ReadFlags::MODIFY);
            let others = self.others.get(&event.wd()).into_iter().flatten();
            for watched in std::iter::once(first).chain(others) {
                if let (Watched::Folder(key), Some(name)) = (watched, made) {
                    notices.push(Notice::FileMade(*key, name.to_string_lossy().into_owned()));
                }
                let notice = match watched {
                    Watched::Log(key) if is_write => Notice::LogWritten(*key),
                    watched => watched.notice(),
                };
                if notices.last() != Some(&notice) {
                    notices.push(notice);
                }
            }
            // The kernel removes a watch together with its file.
            if event.events().contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
                self.others.remove(&event.wd());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn taken(watch: &mut FileWatch) -> Vec<Notice> {
        let mut notices = Vec::new();
        watch.take(&mut notices);
        notices
    }

    #[test]
    fn a_folder_tells_of_names_and_never_of_writes() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut file = File::create(&log).unwrap();
        let mut watch = FileWatch::new().unwrap();
        watch.watch_folder(7, dir.path()).unwrap();
        for _ in 0..10 {
            file.write_all(b"line\n").unwrap();
        }
        assert_eq!(taken(&mut watch), []);
        std::fs::rename(&log, dir.path().join("log.1")).unwrap();
        assert_eq!(taken(&mut watch), [Notice::FolderChanged(7)]);
        File::create(&log).unwrap();
        assert_eq!(
            taken(&mut watch),
            [
                Notice::FileMade(7, "log".to_owned()),
                Notice::FolderChanged(7)
            ]
        );
    }

    /// One call takes what fits into its buffer; each file yields at least two events.
    #[test]
    fn a_flood_of_events_is_taken_bit_by_bit_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = FileWatch::new().unwrap();
        watch.watch_folder(7, dir.path()).unwrap();
        for number in 0..3_000 {
            File::create(dir.path().join(number.to_string())).unwrap();
        }
        let mut made = Vec::new();
        let mut calls = 0;
        loop {
            let mut notices = Vec::new();
            let has_more = watch.instances().unwrap().names.take(&mut notices, 100);
            assert!(notices.len() < 2_000, "{}", notices.len());
            let names = notices.into_iter().filter_map(|notice| match notice {
                Notice::FileMade(7, name) => Some(name),
                _ => None,
            });
            made.extend(names);
            calls += 1;
            if !has_more {
                break;
            }
        }
        assert!(calls > 3, "{calls}");
        assert!(made
            .into_iter()
            .eq((0..3_000).map(|number| number.to_string())));
        assert_eq!(taken(&mut watch), []);
        assert!(!watch.has_more());
    }

    #[test]
    fn a_watched_log_tells_of_each_time_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("log")).unwrap();
        let mut watch = FileWatch::new().unwrap();
        let number = watch.watch_log(3, &file).unwrap();
        for _ in 0..2 {
            for _ in 0..10 {
                file.write_all(b"line\n").unwrap();
            }
            assert_eq!(taken(&mut watch), [Notice::LogWritten(3)]);
            assert_eq!(taken(&mut watch), []);
        }
        watch.unwatch_log(3, number);
        file.write_all(b"line\n").unwrap();
        assert_eq!(taken(&mut watch), []);
        watch.watch_log(3, &file).unwrap();
        file.write_all(b"line\n").unwrap();
        assert_eq!(taken(&mut watch), [Notice::LogWritten(3)]);
    }

    #[test]
    fn a_log_of_two_containers_tells_of_both_until_each_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("log")).unwrap();
        let mut watch = FileWatch::new().unwrap();
        let number = watch.watch_log(3, &file).unwrap();
        assert_eq!(watch.watch_log(4, &file).unwrap(), number);
        file.write_all(b"line\n").unwrap();
        assert_eq!(
            taken(&mut watch),
            [Notice::LogWritten(3), Notice::LogWritten(4)]
        );
        watch.unwatch_log(3, number);
        file.write_all(b"line\n").unwrap();
        assert_eq!(taken(&mut watch), [Notice::LogWritten(4)]);
    }

    #[test]
    fn a_forgotten_container_is_silent() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("log")).unwrap();
        let mut watch = FileWatch::new().unwrap();
        watch.watch_log(3, &file).unwrap();
        watch.watch_folder(3, dir.path()).unwrap();
        watch.forget(3);
        file.write_all(b"line\n").unwrap();
        std::fs::remove_file(dir.path().join("log")).unwrap();
        assert_eq!(taken(&mut watch), []);
        let Instances { names, writes } = watch.instances().unwrap();
        assert!(names.watched.is_empty() && writes.watched.is_empty());
    }
}
