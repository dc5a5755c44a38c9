//! Whether the numbers of rotated files say in which order they were written. dockerd renames all of
//! them at each rotation, the oldest first; somebody else may give numbers beside it, as logrotate does
//! without `dateext`, and people with `mv`.

use std::io;

use crate::format::layout::Layout;
use crate::format::position::Timestamp;
use crate::runtime::file::nanos_of;
use crate::runtime::LogFiles;
use crate::source::file::content::read_head;
use crate::source::file::foreign::{examine, Examined, BEHIND_ALL};
use crate::source::file::listing::renamed::most_renamed;
use crate::source::file::listing::ListedFile;

/// Whether the numbers of rotated files say nothing. Leaves out archives that are being made of the plain
/// files beside them. `has_changed` is set if a name changed meanwhile.
pub fn has_foreign_numbers(
    log: &LogFiles,
    ranked: &mut Vec<ListedFile>,
    has_changed: &mut bool,
) -> bool {
    let mut settle = |answer: io::Result<bool>, or: bool| {
        *has_changed |= matches!(&answer, Err(error) if error.kind() == io::ErrorKind::NotFound);
        answer.unwrap_or(or)
    };
    let layout = Layout::by_name(log.prefix());
    let number = |file: &ListedFile| (file.rank.run, file.rank.age);
    let mut newest = ranked.split_off(ranked.len().saturating_sub(most_renamed(log)));
    ranked.dedup_by_key(|file| number(file));
    let mut is_any_foreign = false;
    newest.dedup_by(|archive, plain| {
        let is_beside = number(archive) == number(plain);
        let is_it = is_beside && settle(is_archive_of(archive, plain, layout), true);
        is_any_foreign |= is_beside && !is_it;
        is_it
    });
    if log.renames_at_each_rotation() {
        let rotated = newest.iter().filter(|file| !file.is_current());
        let rotated: Vec<_> = rotated.collect();
        is_any_foreign |= settle(are_contradicted(&rotated, layout), false);
    }
    ranked.append(&mut newest);
    is_any_foreign
}

/// Whether an archive is, or is becoming, that of a plain file: it holds its beginning. Many begin with
/// a hole of NULs, and are told by their first entries. Fails with `NotFound` if a name now belongs to
/// another file.
fn is_archive_of(archive: &ListedFile, plain: &ListedFile, layout: Layout) -> io::Result<bool> {
    let head = |file: &ListedFile| match read_head(&file.path, file.rank.is_gzip)? {
        (now, head) if now == file.id => Ok(head),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let begins = head(archive)?;
    if begins.iter().any(|byte| *byte != 0) {
        return Ok(head(plain)?.starts_with(&begins));
    }
    let first = |file: &ListedFile| match examine(&file.path, file.id, Some(layout))? {
        Examined::Log { first, .. } => Ok::<_, io::Error>(Some(first)),
        Examined::Unsupported(_) | Examined::Other => Ok(None),
    };
    let archived = first(archive)?;
    Ok(archived.is_none() || archived == first(plain)?)
}

/// Whether of these files, the one with the highest number first, one was written after another that
/// has a lower number. Their first entries do not suffice: a clock that was set back is in them, as is a
/// line that goes on behind a copy. So the times at which they got their names must say so as well (in a
/// copied folder, all of these are new), or a number is missing: one of dockerd's files follows the other.
fn are_contradicted(files: &[&ListedFile], layout: Layout) -> io::Result<bool> {
    let named = |file: &&ListedFile| Some(nanos_of(file.path.stat().ok()?.stx_ctime));
    let named: Vec<Option<u64>> = files.iter().map(named).collect();
    let follows = |pair: &[&ListedFile]| pair[0].rank.age == pair[1].rank.age.saturating_add(1);
    let is_any_missing = !files.windows(2).all(follows);
    if !is_any_missing && named.iter().flatten().is_sorted() {
        return Ok(false);
    }
    let mut before: Vec<(u64, Timestamp)> = Vec::new();
    for (file, named) in files.iter().zip(named) {
        let examined = examine(&file.path, file.id, Some(layout))?;
        let (Some(named), Examined::Log { first, .. }) = (named, examined) else {
            continue;
        };
        // Of two that begin alike, one is a copy.
        let is_later = |of: &(u64, Timestamp)| match is_any_missing {
            true => of.1 >= first,
            false => of.0 > named && of.1 > first,
        };
        if before.iter().any(is_later) {
            return Ok(true);
        }
        // Its first entry is not there yet.
        before.extend((first != BEHIND_ALL).then_some((named, first)));
    }
    Ok(false)
}
