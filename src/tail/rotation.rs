//! Which files make up a container's log, oldest first.
//!
//! dockerd names the current file `<id>-json.log` and rotates by renaming it
//! to `.1`, that to `.2` and so on; with compression the rotated ones become
//! `.N.gz` a moment later. Numbers may have holes, and an incomplete `.N.gz`
//! stands beside its `.N` until it is whole.

use std::io;
use std::path::{Path, PathBuf};

use super::file::{stat_path, FileId};

/// How often the folder is listed until two listings agree.
const LISTINGS: usize = 10;

/// A file of the log as the folder shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// 0 for the current file, then by age.
    pub number: u32,
    /// Whether it is compressed.
    pub is_gzip: bool,
    /// Where it is.
    pub path: PathBuf,
    /// Which file that is.
    pub id: FileId,
}

/// The files of the log, oldest first. While a rotation goes on, names move
/// from file to file; listings are repeated until one equals the one before.
pub fn list(dir: &Path, log: &Path) -> io::Result<Vec<ListedFile>> {
    let mut listed = list_once(dir, log)?;
    for _ in 1..LISTINGS {
        let again = list_once(dir, log)?;
        if again == listed {
            break;
        }
        listed = again;
    }
    Ok(listed)
}

fn list_once(dir: &Path, log: &Path) -> io::Result<Vec<ListedFile>> {
    let current = log.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some((number, is_gzip)) = name.to_str().and_then(|name| parse_name(name, current)) else {
            continue;
        };
        let path = dir.join(name);
        match stat_path(&path) {
            Ok((id, _)) => files.push(ListedFile { number, is_gzip, path, id }),
            // It was renamed or deleted since; the next listing shows it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Highest number first; of .N and .N.gz the plain one, which is whole.
    files.sort_by_key(|file| (std::cmp::Reverse(file.number), file.is_gzip));
    files.dedup_by_key(|file| file.number);
    Ok(files)
}

/// `(0, false)` for the current file, `(N, is_gzip)` for a rotated one.
fn parse_name(name: &str, current: &str) -> Option<(u32, bool)> {
    let rest = name.strip_prefix(current)?;
    if rest.is_empty() {
        return Some((0, false));
    }
    let (number, is_gzip) = match rest.strip_suffix(".gz") {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let number = number.strip_prefix('.')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok().filter(|number| *number > 0)?, is_gzip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_generations() {
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
            assert_eq!(parse_name(name, "x-json.log"), want, "{name}");
        }
    }

    #[test]
    fn the_oldest_comes_first_and_a_plain_file_before_its_unfinished_archive() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x-json.log");
        for suffix in ["", ".1", ".1.gz", ".2.gz", ".10.gz", ".4"] {
            std::fs::write(dir.path().join(format!("x-json.log{suffix}")), suffix).unwrap();
        }
        std::fs::write(dir.path().join("config.v2.json"), "{}").unwrap();
        let listed = list(dir.path(), &log).unwrap();
        let shown: Vec<_> = listed.iter().map(|file| (file.number, file.is_gzip)).collect();
        assert_eq!(shown, [(10, true), (4, false), (2, true), (1, false), (0, false)]);
    }
}
