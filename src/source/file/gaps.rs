//! Files that are missing between those of a log: the runtime numbers the files that it rotates, or the
//! kubelet the runs of a container, so somebody has deleted the ones whose numbers are not there. In the
//! midst of a rotation, though, a number is free for a moment. The kubelet names rotated files after the
//! time, which tells of none that is missing.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::runtime::safe_path::SafePath;
use crate::runtime::LogFiles;
use crate::source::file::foreign::originals_of;
use crate::source::file::listing::{Listed, ListedFile};

/// Limit on the files that one gap counts for: anybody can give a file any number.
const MOST_MISSING: u64 = 1_000;
/// A rotation takes less.
const ROTATION: Duration = Duration::from_secs(2);

/// Files that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub files: u64,
    /// The name of the newest of them.
    pub path: SafePath,
}

/// The gaps that reading has got to and that are not counted yet.
#[derive(Debug, Default)]
pub struct Gaps {
    reached: Vec<(Missing, Instant)>,
}

impl Gaps {
    /// Reading gets to where files are missing.
    pub fn reach(&mut self, missing: Missing, now: Instant) {
        self.reached.push((missing, now));
    }

    /// Whether there is one that a later look tells more about.
    pub fn is_any_open(&self) -> bool {
        !self.reached.is_empty()
    }

    /// Takes those that are none of a rotation; at the last look, all that are still there.
    pub fn take_lasting(&mut self, now: Instant, is_last: bool) -> Vec<Missing> {
        self.reached.retain(|(missing, _)| !missing.is_filled());
        let lasts =
            |(_, since): &mut (Missing, Instant)| is_last || now.duration_since(*since) >= ROTATION;
        let lasting = self.reached.extract_if(.., lasts);
        lasting.map(|(missing, _)| missing).collect()
    }
}

impl Missing {
    /// Whether there is a file by one of these names now.
    fn is_filled(&self) -> bool {
        let archive = format!("{}.gz", self.path.display());
        [self.path.clone(), self.path.at(archive)]
            .iter()
            .any(|path| path.stat().is_ok())
    }
}

/// What is missing directly before the listed file at this index, behind the one at `first`. A file
/// that somebody has renamed may be one of them, and so may one that cannot be read.
pub fn missing_before(log: &LogFiles, all: &Listed, first: usize, index: usize) -> Option<Missing> {
    let is_named = |file: &&ListedFile| !file.is_renamed;
    let file = all.files.get(index).filter(is_named)?;
    let before = all.files.get(first..index)?;
    let at = before.iter().rposition(|file| !file.is_renamed)?;
    let between = names_between(log, &before[at], file)?;
    let is_missing = |path: &SafePath| {
        let mut unreadable = all.unreadable.iter();
        let begin = format!("{}.", path.display());
        let is_after = |file: &Path| file.to_str().is_some_and(|file| file.starts_with(&begin));
        let is_of = |file: &Path| originals_of(file).any(|original| original == **path);
        !unreadable.any(|file| is_after(&file.path) || is_of(&file.path))
    };
    let mut missing = between.filter(is_missing);
    let renamed = before.len() - at - 1;
    let path = missing.nth(renamed)?;
    Some(Missing {
        files: 1 + missing.count() as u64,
        path,
    })
}

/// The names that the runtime gave to files between two, the newest first.
fn names_between<'a>(
    log: &'a LogFiles,
    older: &ListedFile,
    newer: &ListedFile,
) -> Option<impl Iterator<Item = SafePath> + 'a> {
    let is_pod = log.current().is_none();
    let is_rising = !log.renames_at_each_rotation();
    let number = |file: &ListedFile| match (is_pod, file.is_current()) {
        (true, _) => Some(file.rank.run.into()),
        // What its number will be, nobody knows.
        (false, true) => (!is_rising).then_some(0),
        (false, false) => number_in(log, &file.path),
    };
    let (older, newer) = (number(older)?, number(newer)?);
    let (least, end) = match is_rising {
        true => (older.saturating_add(1), newer),
        false => (newer.saturating_add(1), older),
    };
    let nth = move |nth: u64| match is_rising {
        true => end - 1 - nth,
        false => least + nth,
    };
    let name_of = move |number: u64| match is_pod {
        true => log.dir.join(format!("{}{number}.log", log.prefix())),
        false => log.dir.join(format!("{}.{number}", log.prefix())),
    };
    let count = end.saturating_sub(least).min(MOST_MISSING);
    Some((0..count).map(nth).map(name_of))
}

/// The number in the name of a rotated file.
fn number_in(log: &LogFiles, path: &SafePath) -> Option<u64> {
    let rest = path.file_name()?.to_str()?.strip_prefix(log.prefix())?;
    let number = rest.strip_prefix('.')?;
    number.strip_suffix(".gz").unwrap_or(number).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file::listing;

    const ENTRY: &str =
        "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n";

    /// What is missing before the last of these files, which are written in this order, if the first
    /// one is where reading resumes: how many, and the first of their names.
    fn missing(names: &[&str], first: usize) -> Option<(u64, String)> {
        let dir = tempfile::tempdir().unwrap();
        for (second, name) in names.iter().enumerate() {
            let bytes = match name.ends_with(".xz") {
                true => b"\xfd7zXZ\0...".to_vec(),
                false => ENTRY
                    .replace("20Z", &format!("{}Z", 20 + second))
                    .into_bytes(),
            };
            std::fs::write(dir.path().join(format!("x-json.log{name}")), bytes).unwrap();
        }
        let log = LogFiles::numbered(dir.path().join("x-json.log"));
        let all = listing::list(&log).unwrap();
        let missing = missing_before(&log, &all, first, all.files.len() - 1)?;
        let name = missing.path.file_name().unwrap().to_str().unwrap();
        Some((missing.files, name.to_owned()))
    }

    #[test]
    fn numbers_that_are_not_there_are_missing_unless_a_file_may_be_them() {
        let is = |files: u64, name: &str| Some((files, format!("x-json.log{name}")));
        assert_eq!(missing(&[".2", ".1", ""], 0), None);
        assert_eq!(missing(&[".2", ""], 0), is(1, ".1"));
        assert_eq!(missing(&[".4", ""], 0), is(3, ".1"));
        assert_eq!(missing(&[".5", ".2"], 0), is(2, ".3"));
        // It was renamed or compressed by hand.
        assert_eq!(missing(&[".2", "-20261126", ""], 0), None);
        assert_eq!(missing(&[".3", "-20261126", ""], 0), is(1, ".2"));
        assert_eq!(missing(&[".2", ".1.xz", ""], 0), None);
        // Nothing is known of what was before the position.
        assert_eq!(missing(&[".4", ".1", ""], 1), None);
        assert_eq!(missing(&[".4", ""], 1), None);
        assert_eq!(missing(&[".4000000000", ""], 0), is(1_000, ".1"));
    }
}
