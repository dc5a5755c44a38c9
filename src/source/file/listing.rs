//! Lists the files of a container's log, oldest first. The runtime interprets the names that it
//! gives.
//!
//! dockerd names the current file `<id>-json.log` and rotates by renaming it to `.1`, `.1` to
//! `.2` and so on; with compression, rotated files become `.N.gz` shortly afterwards. Numbers
//! may have gaps, and an incomplete `.N.gz` exists beside its `.N` until it is complete.
//!
//! logrotate and people give other names (`dateext`: `<id>-json.log-20261126`), and may move
//! files to a folder below (`olddir`). A file in the log's folder that begins with an entry is
//! part of the log whatever its name; in a folder below, if its name begins like the log's. Its
//! place among the others is that of the time of its first entry.
//!
//! Somebody may also give numbers of his own beside dockerd's (logrotate without `dateext`, `mv`).
//! Then these say nothing, and the place of each rotated file is that of its content.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use rustix::fs::{FileType, Statx};
use rustix::io::Errno;

use crate::runtime::file::{describe, is_shortage, nanos_of, FileId};
use crate::runtime::safe_path::{Folder, SafePath};
use crate::runtime::{FileRank, LogFiles};
use crate::source::file::foreign::{has_end_of_archive, originals_of};
use crate::source::file::listing::numbers::has_foreign_numbers;
use crate::source::file::listing::renamed::Renamed;

mod numbers;
mod renamed;

/// Limit on the names read from a log's folder; rotation leaves a few.
const MOST_NAMES: usize = 10_000;
/// Limit on the listings until two agree.
const LISTINGS: usize = 10;
/// Limit on the looks of which each found that a name had changed before its file was examined.
const LOOKS: usize = 5;
/// Limit on the folders below a log's folder that are searched.
const MOST_FOLDERS: usize = 8;
/// Docker's own folders beside a log.
const FOLDERS_WITHOUT_LOGS: [&str; 3] = ["checkpoints", "mounts", "local-logs"];
/// In nanoseconds. Some programs give an archive the time of its original in whole seconds.
const SECOND: u64 = 1_000_000_000;

/// The identity of a file that cannot be examined.
const UNKNOWN: FileId = FileId {
    device: 0,
    inode: 0,
    birth: 0,
};

/// A file of the log as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its order among the others, from its name.
    pub rank: FileRank,
    /// Its path.
    pub path: SafePath,
    /// Its identity.
    pub id: FileId,
    /// Whether the runtime did not give it its name, so that its place among the others is that
    /// of its content.
    pub is_renamed: bool,
}

impl ListedFile {
    /// Whether it is the current file of its run of the container.
    pub fn is_current(&self) -> bool {
        self.rank.age == 0
    }
}

/// A rotated file that cannot be read.
#[derive(Debug)]
pub struct UnreadableFile {
    /// Its path.
    pub path: SafePath,
    /// Why; `Unsupported` if it can never be read.
    pub error: io::Error,
    /// When it was last written, in nanoseconds since 1970. Programs that compress a file give
    /// the result the time of the original.
    pub modified: u64,
}

/// The files of a log.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that can be read, oldest first.
    pub files: Vec<ListedFile>,
    /// Those that cannot, whatever is tried.
    pub unreadable: Vec<UnreadableFile>,
    /// What has the name of a rotated or earlier file and is none: a pipe, a folder, a device.
    pub no_files: Vec<SafePath>,
    /// How many there are besides, which are older.
    pub surplus: usize,
    /// How many files with other names there are beyond those that are looked at.
    pub unexamined: usize,
    /// Names kept changing before their files were examined, so that a file may be missing: nothing
    /// is to be concluded from that.
    pub has_changed: bool,
}

/// The names in the folder of a log.
#[derive(Debug, Default, PartialEq)]
struct Names {
    ranked: Vec<ListedFile>,
    no_files: Vec<SafePath>,
    renamed: Vec<Renamed>,
    /// A name was gone before its file was looked at.
    has_changed: bool,
}

/// Returns the files of the log. During a rotation, names move from file to file, so listings
/// are repeated until one equals the one before, and until each file is still there when it is
/// examined: of an archive and its original, one is there at any time.
pub fn list(log: &LogFiles) -> io::Result<Listed> {
    let mut listed = look(log)?;
    for _ in 1..LOOKS {
        if !listed.has_changed {
            break;
        }
        listed = look(log)?;
    }
    Ok(listed)
}

fn look(log: &LogFiles) -> io::Result<Listed> {
    let mut names = names_of(log)?;
    for _ in 1..LISTINGS {
        let again = names_of(log)?;
        let is_settled = again == names && !again.has_changed;
        names = again;
        if is_settled {
            break;
        }
    }
    let mut has_changed = false;
    if has_foreign_numbers(log, &mut names.ranked, &mut has_changed) {
        let rotated = names.ranked.extract_if(.., |file| !file.is_current());
        for file in rotated {
            match Renamed::of_numbered(file) {
                Ok(file) => names.renamed.push(file),
                Err(error) => has_changed |= error.kind() == io::ErrorKind::NotFound,
            }
        }
    }
    let Names {
        ranked,
        no_files,
        mut renamed,
        ..
    } = names;
    if let Some(path) = no_files.first().filter(|_| ranked.is_empty()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let reason = format!("{name} is not a regular file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    if ranked.is_empty() {
        // Another log of the container may be the one that is in use.
        renamed.retain(|file| file.is_named_after_log);
    }
    let mut listed = Listed {
        files: ranked,
        no_files,
        has_changed,
        ..Listed::default()
    };
    renamed::place(log, renamed, &mut listed)?;
    Ok(listed)
}

fn names_of(log: &LogFiles) -> io::Result<Names> {
    let mut names = Names::default();
    let folder = match log.dir.open_folder() {
        // The folder was replaced by a symlink.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(names),
        opened => opened?,
    };
    let entries = folder.entries(MOST_NAMES)?;
    if let Some(error) = entries.failure {
        return Err(error);
    }
    let mut folders = Vec::new();
    for (name, kind) in entries.names {
        let rank = log.rank_of(&name);
        let Some(rank) = rank.filter(|_| kind != FileType::Symlink) else {
            match kind {
                FileType::Directory => folders.push(name),
                FileType::RegularFile | FileType::Unknown if rank.is_none() => {
                    names.add_renamed(log, &log.dir, &folder, &name)
                }
                _ => {}
            }
            continue;
        };
        match folder.stat(&name) {
            Ok(stat) => {
                let path = log.path_of(&name);
                // Opening the current file fails, which is reported for the log.
                match is_regular(&stat) || log.current() == Some(&path) {
                    true => names.ranked.push(ListedFile {
                        rank,
                        path,
                        id: describe(&stat).0,
                        is_renamed: false,
                    }),
                    false => names.no_files.push(path),
                }
            }
            // It was renamed or deleted since; the next listing shows it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => names.has_changed = true,
            // The other files are still known; the failure is reported when this one is
            // opened.
            Err(error) if rank.age > 0 && !is_shortage(&error) => {
                names.ranked.push(ListedFile {
                    rank,
                    path: log.path_of(&name),
                    id: UNKNOWN,
                    is_renamed: false,
                });
            }
            Err(error) => return Err(error),
        }
    }
    folders.retain(|name| !FOLDERS_WITHOUT_LOGS.contains(&name.as_str()));
    folders.sort_unstable();
    for name in folders.into_iter().take(MOST_FOLDERS) {
        names.add_folder(log, &log.dir.join(name));
    }
    names.order();
    Ok(names)
}

impl Names {
    /// Adds a file that the runtime did not name, if it may be of the log.
    fn add_renamed(&mut self, log: &LogFiles, dir: &SafePath, folder: &Folder, name: &str) {
        let Some(run) = log.run_of_renamed(name) else {
            return;
        };
        let stat = match folder.stat(name) {
            Ok(stat) => stat,
            // One that cannot be examined is of no use.
            Err(error) => {
                self.has_changed |= error.kind() == io::ErrorKind::NotFound;
                return;
            }
        };
        let (id, size) = describe(&stat);
        let is_file = is_regular(&stat);
        let (is_empty, is_named_after_log) = (size == 0, log.is_named_after(name));
        // Nothing is in an archive that was only begun.
        let may_be_log = !is_empty || is_named_after_log && !has_end_of_archive(name);
        if is_file && may_be_log {
            self.renamed.push(Renamed {
                path: dir.join(name),
                id,
                run,
                modified: nanos_of(stat.stx_mtime),
                is_empty,
                is_named_after_log,
            });
        }
    }

    /// Adds the files that were moved to a folder below the log's.
    fn add_folder(&mut self, log: &LogFiles, dir: &SafePath) {
        let Ok(folder) = dir.open_folder() else {
            return;
        };
        let entries = folder.entries(MOST_NAMES).unwrap_or_default();
        let named = entries.names.iter();
        for (name, _) in named.filter(|(name, _)| log.is_named_after(name)) {
            self.add_renamed(log, dir, &folder, name);
        }
    }

    fn order(&mut self) {
        self.no_files
            .sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
        // Highest age first, and `.N` before `.N.gz`.
        self.ranked
            .sort_by_key(|file| (file.rank.run, Reverse(file.rank.age), file.rank.is_gzip));
        let rotated = self.ranked.iter().filter(|file| !file.is_current());
        let plain: HashMap<PathBuf, SafePath> = rotated
            .map(|file| &file.path)
            .chain(self.renamed.iter().map(|file| &file.path))
            .map(|path| (path.to_path_buf(), path.clone()))
            .collect();
        // An archive that is older than what has the name of its original is of another file.
        let is_original_of = |original: &SafePath, file: &Renamed| {
            let stat = original.stat();
            stat.is_ok_and(|stat| nanos_of(stat.stx_mtime) / SECOND <= file.modified / SECOND)
        };
        self.renamed.retain(|file| {
            let mut originals = originals_of(&file.path).filter_map(|path| plain.get(&path));
            !originals.any(|original| is_original_of(original, file))
        });
        self.renamed
            .sort_by(|one, other| one.path.as_os_str().cmp(other.path.as_os_str()));
    }
}

fn is_regular(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_and_a_plain_file_before_its_unfinished_archive() {
        let dir = tempfile::tempdir().unwrap();
        for suffix in ["", ".1", ".1.gz", ".2.gz", ".10.gz", ".4"] {
            std::fs::write(dir.path().join(format!("x-json.log{suffix}")), suffix).unwrap();
        }
        std::fs::write(dir.path().join("config.v2.json"), "{}").unwrap();
        let listed = list(&LogFiles::numbered(dir.path().join("x-json.log"))).unwrap();
        let shown: Vec<_> = listed
            .files
            .iter()
            .map(|file| (file.rank.age, file.rank.is_gzip))
            .collect();
        assert_eq!(
            shown,
            [(10, true), (4, false), (2, true), (1, false), (0, false)]
        );
    }

    fn record(second: u32) -> String {
        format!(
            "{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:{second}Z\"}}\n"
        )
    }

    /// `mv`, which the kernel dates.
    fn put(dir: &std::path::Path, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(dir.join("new"), bytes).unwrap();
        std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
    }

    fn gzip(bytes: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// The names that are listed of files that are written in this order, each beginning at a second;
    /// and whether the numbers count.
    fn listed(files: &[(&str, u32)]) -> (Vec<String>, bool) {
        let dir = tempfile::tempdir().unwrap();
        for (rest, second) in files {
            let name = format!("x-json.log{rest}");
            match rest.ends_with(".gz") {
                true => put(dir.path(), &name, gzip(&record(*second))),
                false => put(dir.path(), &name, record(*second)),
            }
            // The clock of a file system has ticks.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let listed = list(&LogFiles::numbered(dir.path().join("x-json.log"))).unwrap();
        let rest = |file: &ListedFile| {
            let name = file.path.file_name().unwrap().to_str().unwrap();
            name["x-json.log".len()..].to_owned()
        };
        let is_numbered = listed.files.iter().all(|file| !file.is_renamed);
        (listed.files.iter().map(rest).collect(), is_numbered)
    }

    #[test]
    fn numbers_of_two_series_say_nothing_and_those_of_one_are_the_order() {
        for (files, order, is_numbered) in [
            // A rotation renames the oldest one first. The clock of the entries was set back.
            (
                &[(".2", 30), (".1", 20), ("", 10)][..],
                &[".2", ".1", ""][..],
                true,
            ),
            // A copied folder: each name is younger than the one of the file after it.
            (&[("", 30), (".1", 20), (".2", 10)], &[".2", ".1", ""], true),
            // The log got a number that was free.
            (
                &[(".1", 10), (".2", 20), ("", 30)],
                &[".1", ".2", ""],
                false,
            ),
            (
                &[(".2", 10), (".1", 20), (".3", 30)],
                &[".2", ".1", ".3"],
                false,
            ),
            // And then dockerd renamed it with its own ones.
            (&[(".9", 20), (".2", 10)], &[".2", ".9"], false),
            // A file in between was deleted.
            (&[(".9", 10), (".2", 20)], &[".9", ".2"], true),
            // logrotate's archives beside dockerd's files, and an archive that is being made.
            (
                &[(".2", 10), (".2.gz", 20), (".1", 30), ("", 40)],
                &[".2", ".2.gz", ".1", ""],
                false,
            ),
            (
                &[(".2.gz", 10), (".2", 20), (".1", 30), ("", 40)],
                &[".2.gz", ".2", ".1", ""],
                false,
            ),
            (
                &[(".2", 10), (".2.gz", 10), (".1", 30), ("", 40)],
                &[".2", ".1", ""],
                true,
            ),
        ] {
            let want = order.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(listed(files), (want, is_numbered), "{files:?}");
        }
    }

    /// A writer that does not append leaves one at a truncation; it is longer than a head.
    #[test]
    fn an_archive_that_begins_with_a_hole_is_told_by_its_first_entry() {
        let hole = "\0".repeat(20_000);
        for (second, names) in [(20, 4), (10, 3)] {
            let dir = tempfile::tempdir().unwrap();
            let archive = gzip(&(hole.clone() + &record(second)));
            put(dir.path(), "x-json.log.2.gz", archive);
            put(dir.path(), "x-json.log.2", hole.clone() + &record(10));
            put(dir.path(), "x-json.log.1", record(30));
            put(dir.path(), "x-json.log", record(40));
            let listed = list(&LogFiles::numbered(dir.path().join("x-json.log"))).unwrap();
            assert_eq!(listed.files.len(), names);
            assert_eq!(listed.files[1].rank.is_gzip, names == 4);
        }
    }

    /// The names of the files that are listed, and of those that cannot be read.
    fn names(dir: &std::path::Path) -> (Vec<String>, Vec<String>) {
        let listed = list(&LogFiles::numbered(dir.join("x-json.log"))).unwrap();
        let name = |path: &SafePath| {
            let below = path.strip_prefix(dir).unwrap();
            below.to_str().unwrap().to_owned()
        };
        (
            listed.files.iter().map(|file| name(&file.path)).collect(),
            listed
                .unreadable
                .iter()
                .map(|file| name(&file.path))
                .collect(),
        )
    }

    #[test]
    fn files_that_the_runtime_did_not_name_stand_where_their_content_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, second| std::fs::write(dir.path().join(name), record(second));
        std::fs::create_dir(dir.path().join("old")).unwrap();
        for (name, second) in [
            ("x-json.log", 39),
            ("x-json.log-20261126", 38),
            ("x-json.log.1", 36),
            ("x-json.log-20261125", 37),
            ("anything at all", 34),
            ("x-json.1.log", 35),
            ("old/x-json.log-20261124", 33),
            ("old/something", 20),
            ("config.json", 20),
            ("container-cached.log", 20),
        ] {
            write(name, second).unwrap();
        }
        std::fs::write(dir.path().join("notes"), "none of it\n").unwrap();
        std::fs::write(dir.path().join("x-json.log-2.zst"), b"\x28\xb5\x2f\xfd...").unwrap();
        // Being compressed; the original is complete.
        std::fs::write(
            dir.path().join("x-json.log-20261126.zst"),
            b"\x28\xb5\x2f\xfd",
        )
        .unwrap();
        let (files, unreadable) = names(dir.path());
        assert_eq!(
            files,
            [
                "old/x-json.log-20261124",
                "anything at all",
                "x-json.1.log",
                "x-json.log.1",
                "x-json.log-20261125",
                "x-json.log-20261126",
                "x-json.log"
            ]
        );
        assert_eq!(unreadable, ["x-json.log-2.zst"]);
    }

    /// gzip writes it for a while, under whatever name, and removes the original at the end.
    #[test]
    fn an_archive_that_is_being_written_is_passed_over_and_its_original_listed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, record(20).as_bytes()).unwrap();
        let archive = encoder.finish().unwrap();
        write("x-json.log", record(39).as_bytes()).unwrap();
        write("x-json.log-1", record(20).as_bytes()).unwrap();
        for name in [
            "x-json.log-1.gz",
            "x-json.log-1.gz.tmp",
            ".x-json.log-1.gz.Xy12",
        ] {
            for length in [0, 1, 10, archive.len() / 2, archive.len()] {
                write(name, &archive[..length]).unwrap();
                let (files, unreadable) = names(dir.path());
                assert_eq!(files, ["x-json.log-1", "x-json.log"], "{name} {length}");
                assert_eq!(unreadable, Vec::<String>::new(), "{name} {length}");
            }
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        // Without its original only once something is in it.
        std::fs::remove_file(dir.path().join("x-json.log-1")).unwrap();
        write("x-json.log-1.gz", b"").unwrap();
        assert_eq!(names(dir.path()).0, ["x-json.log"]);
        write("x-json.log-1.gz", &archive).unwrap();
        assert_eq!(names(dir.path()).0, ["x-json.log-1.gz", "x-json.log"]);
    }

    /// `gzip -c LOG > LOG.gz.20261126; : > LOG`, and a rotation since of one that was rotated.
    #[test]
    fn an_archive_of_what_once_had_the_name_of_another_file_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, record(20).as_bytes()).unwrap();
        let archive = encoder.finish().unwrap();
        write("x-json.log.1", record(30).as_bytes()).unwrap();
        write("x-json.log", record(39).as_bytes()).unwrap();
        for name in [
            "x-json.log.gz.1",
            "x-json.log.gz.20261126",
            "x-json.log.1.gz.20261126",
        ] {
            write(name, &archive).unwrap();
            let written = std::fs::File::open(dir.path().join(name)).unwrap();
            written.set_modified(std::time::UNIX_EPOCH).unwrap();
            let (files, _) = names(dir.path());
            assert_eq!(files, [name, "x-json.log.1", "x-json.log"]);
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        // It may be younger than the log: that is written, and no archive of it is being made.
        write("x-json.log.gz.1", &archive).unwrap();
        let (files, _) = names(dir.path());
        assert_eq!(files, ["x-json.log.gz.1", "x-json.log.1", "x-json.log"]);
    }

    /// Of an archive and its original, one is there at any time. A reader that always came too
    /// late is told so.
    #[test]
    fn while_archives_take_the_place_of_their_originals_none_is_ever_missing_unnoticed() {
        const FILES: usize = 150;
        let pause = || std::thread::sleep(std::time::Duration::from_millis(1));
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("x-json.log"), record(39)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, record(20).as_bytes()).unwrap();
        let archive = encoder.finish().unwrap();
        std::fs::write(path("x-json.log-0"), record(20)).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..FILES {
                    std::fs::write(path("x-json.log-0.gz"), b"").unwrap();
                    std::fs::write(path("x-json.log-0.gz"), &archive).unwrap();
                    std::fs::remove_file(path("x-json.log-0")).unwrap();
                    pause();
                    std::fs::write(path("new"), record(20)).unwrap();
                    std::fs::rename(path("new"), path("x-json.log-0")).unwrap();
                    std::fs::remove_file(path("x-json.log-0.gz")).unwrap();
                    pause();
                }
                is_over.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut is_last = false;
            while !is_last {
                is_last = is_over.load(std::sync::atomic::Ordering::Acquire);
                let listed = list(&LogFiles::numbered(path("x-json.log"))).unwrap();
                let is_there = listed.files.iter().any(|file| file.is_renamed);
                assert!(is_there || listed.has_changed && !is_last, "{listed:?}");
            }
        });
    }

    #[test]
    fn without_a_file_of_the_runtime_only_names_after_the_log_count() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x-json.log-20261126", "anything at all"] {
            std::fs::write(dir.path().join(name), record(20)).unwrap();
        }
        assert_eq!(names(dir.path()).0, ["x-json.log-20261126"]);
    }

    #[test]
    fn empty_files_named_after_the_log_come_last_and_may_still_be_written() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x-json.log-20261124", "x-json.log-20261125", "something"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let older = std::fs::File::open(dir.path().join("x-json.log-20261125")).unwrap();
        older.set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::write(dir.path().join("x-json.log"), record(20)).unwrap();
        let (files, _) = names(dir.path());
        assert_eq!(
            files,
            ["x-json.log-20261125", "x-json.log-20261124", "x-json.log"]
        );
    }

    /// A pipe would hold up the reader, and a link could lead anywhere.
    #[test]
    fn only_regular_files_count_and_only_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("x-json.log"), record(20)).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, path("x-json.log-1"), mode).unwrap();
        std::os::unix::fs::symlink(path("x-json.log"), path("x-json.log-2")).unwrap();
        std::os::unix::fs::symlink(dir.path(), path("old")).unwrap();
        assert_eq!(names(dir.path()).0, ["x-json.log"]);
        for number in 0..renamed::MOST_RENAMED + 3 {
            std::fs::write(path(&format!("x-json.log.old{number}")), record(20)).unwrap();
        }
        for number in 0..5 {
            std::fs::write(path(&format!("core.{number}")), record(20)).unwrap();
        }
        let listed = list(&LogFiles::numbered(path("x-json.log"))).unwrap();
        assert_eq!(
            (listed.files.len(), listed.surplus, listed.unexamined),
            (renamed::MOST_RENAMED + 1, 3, 5)
        );
    }
}
