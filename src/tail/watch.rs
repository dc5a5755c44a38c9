//! Notification about container folders and log files, on an inotify instance
//! of our own.
//!
//! Why not `notify` here: it asks for every kind of event, so each line a
//! container writes would wake us. A *folder* is watched for names that come
//! and go (rotation, rename of the container, removal), never for writes. A
//! *log file* is watched only while it is idle, and for one event: the first
//! write ends the watch and makes the file hot; a hot file is simply read
//! again until it is idle. The kernel then reports nothing per line.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// What happened to a container, identified by the key it was watched under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Its idle log file was written, truncated, renamed or deleted.
    LogTouched(usize),
    /// A name in its folder came or went.
    FolderChanged(usize),
    /// A file was made in its folder.
    FileMade(usize, String),
    /// A name in a folder of a runtime came or went.
    RootChanged,
    /// Events were lost: look at everything.
    Overflow,
}

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

/// The inotify instance and what it watches.
#[derive(Debug)]
pub struct FileWatch {
    fd: OwnedFd,
    /// A folder may be watched for several reasons, by one watch.
    watched: HashMap<i32, Vec<Watched>>,
}

impl FileWatch {
    /// Fails where the user's inotify instances are used up.
    pub fn new() -> io::Result<FileWatch> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(FileWatch { fd, watched: HashMap::new() })
    }

    /// Watches a container's folder until it goes.
    pub fn watch_folder(&mut self, key: usize, dir: &Path) -> io::Result<()> {
        self.watch_names(Watched::Folder(key), dir)
    }

    /// Watches a folder in which containers come and go, until it goes.
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
        let watch = inotify::add_watch(&self.fd, dir, flags)?;
        self.add(watch, watched);
        Ok(())
    }

    /// Watches an open log file, under whatever name it has now, for the next
    /// thing that happens to it. Read the file once more afterwards: a write
    /// that came before the watch is not reported.
    pub fn watch_log(&mut self, key: usize, file: &File) -> io::Result<()> {
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONESHOT;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = inotify::add_watch(&self.fd, path, flags)?;
        self.add(watch, Watched::Log(key));
        Ok(())
    }

    fn add(&mut self, watch: i32, watched: Watched) {
        let reasons = self.watched.entry(watch).or_default();
        if !reasons.contains(&watched) {
            reasons.push(watched);
        }
    }

    /// Ends every watch under `key`.
    pub fn forget(&mut self, key: usize) {
        let fd = &self.fd;
        self.watched.retain(|watch, reasons| {
            reasons
                .retain(|watched| !matches!(watched, Watched::Folder(at) | Watched::Log(at) if *at == key));
            if reasons.is_empty() {
                // It may have ended by itself, with its file.
                let _ = inotify::remove_watch(fd, *watch);
            }
            !reasons.is_empty()
        });
    }

    /// Takes all notices there are. Several about one container are usual.
    pub fn take(&mut self, notices: &mut Vec<Notice>) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                notices.push(Notice::Overflow);
                continue;
            }
            let Some(reasons) = self.watched.get(&event.wd()) else { continue };
            // A one-shot watch ends with its event; any watch ends with its file.
            let mut ends = event.events().contains(ReadFlags::IGNORED);
            let made = event.file_name().filter(|_| event.events().contains(ReadFlags::CREATE));
            for watched in reasons {
                if let (Watched::Folder(key), Some(name)) = (watched, made) {
                    notices.push(Notice::FileMade(*key, name.to_string_lossy().into_owned()));
                }
                ends |= matches!(watched, Watched::Log(_));
                let notice = watched.notice();
                if notices.last() != Some(&notice) {
                    notices.push(notice);
                }
            }
            if ends {
                self.watched.remove(&event.wd());
            }
        }
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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
        assert_eq!(taken(&mut watch), [Notice::FileMade(7, "log".to_owned()), Notice::FolderChanged(7)]);
    }

    #[test]
    fn an_idle_log_tells_of_its_first_write_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("log")).unwrap();
        let mut watch = FileWatch::new().unwrap();
        watch.watch_log(3, &file).unwrap();
        for _ in 0..10 {
            file.write_all(b"line\n").unwrap();
        }
        assert_eq!(taken(&mut watch), [Notice::LogTouched(3)]);
        file.write_all(b"line\n").unwrap();
        assert_eq!(taken(&mut watch), []);
        watch.watch_log(3, &file).unwrap();
        file.write_all(b"line\n").unwrap();
        assert_eq!(taken(&mut watch), [Notice::LogTouched(3)]);
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
        assert!(watch.watched.is_empty());
    }
}
