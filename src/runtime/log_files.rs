//! The files of one log, by their names.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::runtime::safe_path::SafePath;

/// The meaning of a log file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileRank {
    /// The run of the container that wrote it, if each run has its own file.
    pub run: u32,
    /// 0 for the current file; larger for older files.
    pub age: u64,
    /// Whether it is compressed.
    pub is_gzip: bool,
}

/// The files of one log: those in a directory that share a name prefix. Neither the directory
/// nor a file may be a symlink.
#[derive(Clone)]
pub struct LogFiles {
    /// Their directory.
    pub dir: SafePath,
    /// The common prefix of their names; `None` if that is the name of the current file.
    prefix: Option<Box<str>>,
    /// The current file if its name never changes; otherwise the directory, for messages.
    pub path: SafePath,
    /// How long a file may still be written after its successor has been created.
    pub grace: Duration,
    /// Ranks the part of a name after the prefix; `None` if the runtime gives no file of the log
    /// such a name.
    rank: fn(&str) -> Option<FileRank>,
    /// The run of a file that somebody else has named, from `prefix` and its name; `None` if it
    /// is certainly not part of the log. Only its content shows whether it is.
    run_of_renamed: fn(&str, &str) -> Option<u32>,
}

impl LogFiles {
    /// A log at `current` that is rotated to `.1`, `.2` and so on.
    pub fn numbered(current: impl Into<SafePath>) -> LogFiles {
        let path = current.into();
        LogFiles {
            dir: path.at(path.parent().unwrap_or(&path)),
            prefix: None,
            path,
            grace: Duration::ZERO,
            rank: rank_by_number,
            run_of_renamed: run_of_renamed_log,
        }
    }

    /// A log with a file for each run of its container, all in `dir` and with names that begin with
    /// `prefix`. The other parameters are as the fields of the same names.
    pub fn of_runs(
        dir: SafePath,
        prefix: &str,
        grace: Duration,
        rank: fn(&str) -> Option<FileRank>,
        run_of_renamed: fn(&str, &str) -> Option<u32>,
    ) -> LogFiles {
        LogFiles {
            path: dir.clone(),
            dir,
            prefix: Some(prefix.into()),
            grace,
            rank,
            run_of_renamed,
        }
    }

    /// The same with names that are ranked in another way.
    pub fn ranked_by(self, rank: fn(&str) -> Option<FileRank>) -> LogFiles {
        LogFiles { rank, ..self }
    }

    /// The same of a log that is usually in this folder: then its path is not kept twice.
    pub fn usually_in(self, dir: &SafePath) -> LogFiles {
        match self.dir == *dir {
            true => LogFiles {
                dir: dir.clone(),
                ..self
            },
            false => self,
        }
    }

    /// The common prefix of the names of its files.
    pub fn prefix(&self) -> &str {
        let current = || self.path.file_name()?.to_str();
        self.prefix.as_deref().or_else(current).unwrap_or_default()
    }

    /// The path of the file with this name in its folder.
    pub fn path_of(&self, name: &str) -> SafePath {
        match self.prefix.is_none() && name == self.prefix() {
            true => self.path.clone(),
            false => self.dir.join(name),
        }
    }

    /// The same of a log that may be outside its container's folder `own`. There, other logs may be
    /// beside it, so a renamed file must have all of its name.
    pub fn moved_from(self, own: &Path) -> LogFiles {
        match self.dir.starts_with(own) {
            true => self,
            false => LogFiles {
                run_of_renamed: run_of_renamed_beside_others,
                ..self
            },
        }
    }

    /// Ranks a file name in the directory; `None` if the file is not part of the log.
    pub fn rank_of(&self, name: &str) -> Option<FileRank> {
        (self.rank)(name.strip_prefix(self.prefix())?)
    }

    /// Whether a rotated file gets a higher number at each rotation. Otherwise it keeps its name.
    pub fn renames_at_each_rotation(&self) -> bool {
        let age = |rest| (self.rank)(rest).map(|rank| rank.age);
        age(".1") < age(".2")
    }

    /// The run of a file that the runtime did not name (logrotate's `dateext`, `.old` …), if it
    /// may be part of the log.
    pub fn run_of_renamed(&self, name: &str) -> Option<u32> {
        (self.run_of_renamed)(self.prefix(), name)
    }

    /// Whether a name that the runtime did not give is derived from that of the log, so that no
    /// other file is likely to have it.
    pub fn is_named_after(&self, name: &str) -> bool {
        let stem = self.prefix().strip_suffix(".log").unwrap_or(self.prefix());
        name.starts_with(stem) && self.run_of_renamed(name).is_some()
    }

    /// The path of the current file if its name never changes.
    pub fn current(&self) -> Option<&SafePath> {
        // Called on every read; comparing as paths would split both into components each time.
        (self.path.as_os_str() != self.dir.as_os_str()).then_some(&self.path)
    }
}

impl PartialEq for LogFiles {
    fn eq(&self, other: &LogFiles) -> bool {
        self.dir == other.dir && self.prefix() == other.prefix()
    }
}

impl fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dir.join(self.prefix()).display())
    }
}

/// Ranks an empty suffix (the current file), `.N` or `.N.gz` (rotated files).
pub fn rank_by_number(rest: &str) -> Option<FileRank> {
    if rest.is_empty() {
        return Some(FileRank {
            run: 0,
            age: 0,
            is_gzip: false,
        });
    }
    let (number, is_gzip) = match rest.strip_suffix(".gz") {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let number = number.strip_prefix('.')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let age = number.parse::<u32>().ok().filter(|number| *number > 0)?;
    Some(FileRank {
        run: 0,
        age: age.into(),
        is_gzip,
    })
}

/// What the logs that Docker keeps in one folder are recognised by.
const LOGS_IN_A_FOLDER: [&str; 2] = ["-json", "container-cached"];
/// The files that a runtime keeps beside a log, by the beginnings of their names.
const BESIDE_A_LOG: [&str; 5] = [".", "config.v2", "host", "resolv.conf", "conmon"];
/// How the names of files end that are not part of a log, or not yet.
const NOT_OF_A_LOG: [&str; 3] = [".json", ".tmp", ".pid"];

/// The run, always 0, of a renamed file of a log that has one file for all runs. A name says
/// only that it belongs to something else.
fn run_of_renamed_log(prefix: &str, name: &str) -> Option<u32> {
    let is_of_another_log = |part: &&str| name.contains(*part) && !prefix.contains(*part);
    let is_something_else = LOGS_IN_A_FOLDER.iter().any(is_of_another_log)
        || BESIDE_A_LOG.iter().any(|begin| name.starts_with(begin))
        || NOT_OF_A_LOG.iter().any(|end| name.ends_with(end));
    (!is_something_else).then_some(0)
}

/// As [`run_of_renamed_log`], in a folder that belongs to nobody in particular.
fn run_of_renamed_beside_others(prefix: &str, name: &str) -> Option<u32> {
    let rest = name.strip_prefix(prefix)?;
    let is_separated = rest.starts_with(['-', '.', '_']) && !prefix.is_empty();
    run_of_renamed_log(prefix, name).filter(|_| is_separated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_numbered_generations() {
        let log = LogFiles::numbered(Path::new("/x/x-json.log"));
        for (name, want) in [
            ("x-json.log", Some((0, false))),
            ("x-json.log.1", Some((1, false))),
            ("x-json.log.12.gz", Some((12, true))),
            ("x-json.log.0", None),
            ("x-json.log.", None),
            ("x-json.log.1.tmp", None),
            ("x-json.log.+1", None),
            ("x-json.log2", None),
            ("config.v2.json", None),
            ("x-json.log.99999999999", None),
        ] {
            let got = log.rank_of(name).map(|rank| (rank.age, rank.is_gzip));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_name_that_the_runtime_did_not_give_may_be_of_the_log_unless_it_is_of_something_else() {
        let log = LogFiles::numbered(Path::new("/x/x-json.log"));
        for (name, may_be, is_after) in [
            ("x-json.log-20261126", true, true),
            ("x-json.log-20261126.gz", true, true),
            ("x-json.1.log", true, true),
            ("x-json.log.old", true, true),
            ("backup", true, false),
            ("x-json.log.1.gz.tmp", false, false),
            ("container-cached.log.1", false, false),
            ("config.v2.json", false, false),
            ("hostconfig.json", false, false),
            (".tmp-hostconfig.json1", false, false),
            ("hostname", false, false),
        ] {
            assert_eq!(log.run_of_renamed(name).is_some(), may_be, "{name}");
            assert_eq!(log.is_named_after(name), is_after, "{name}");
        }
        let moved = LogFiles::numbered(Path::new("/var/log/web.log"));
        let moved = moved.moved_from(Path::new("/x"));
        assert!(moved.is_named_after("web.log-20261126"));
        for of_others in [
            "web2.log",
            "web-2.log",
            "web.logs",
            "anything",
            "db.log-20261126",
        ] {
            assert!(moved.run_of_renamed(of_others).is_none(), "{of_others}");
        }
        let cache = LogFiles::numbered(Path::new("/x/container-cached.log"));
        assert!(cache.is_named_after("container-cached.log-20261126"));
        assert!(cache.run_of_renamed("x-json.log-20261126").is_none());
    }
}
